/*
 * prog_pitfall_second.c - a plugin brings a malloc of its own (RTLD_DEEPBIND),
 * and the program frees a block of that one. That is one counted leak and no
 * reason to end the process.
 *
 * prog_pitfall_second PLUGIN
 */
#define _GNU_SOURCE 1
#include "pitfall.h"

#include <dlfcn.h>

#include <tidepool/stats.h>

#pragma weak tide_stats

int main(int argc, char **argv)
{
    struct tide_stats stats;
    void *object = argc > 1 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND) : NULL;
    void *(*get)(size_t) = object ? (void *(*)(size_t))dlsym(object, "plug_get") : NULL;
    if (!get)
        die("no plugin");
    free(get(100));
    free(get(5000));
    free(get_marked(5000));
    if (!tide_stats || tide_stats(&stats))
        die("no statistics");
    if (stats.foreign_leaks != 2)
        die("%llu leaks are counted, not 2", (unsigned long long)stats.foreign_leaks);
    return 0;
}
