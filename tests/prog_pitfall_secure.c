/*
 * prog_pitfall_secure.c - in a set-uid program the environment sets no option.
 *
 * pitfalls.sh links it with the static library and runs a set-uid copy with
 * options in the environment. Prints the value of tiny_max; 77 if the kernel
 * does not treat the program as secure.
 */
#define _GNU_SOURCE 1
#include "pitfall.h"

#include <sys/auxv.h>

extern int tide_option_get(const char *key, char *value, size_t size) __attribute__((weak));

int main(int argc, char **argv)
{
    char value[64] = "";
    bool secure = argc < 2 || strcmp(argv[1], "plain") != 0;
    free(get_marked(5000));
    if (secure && !getauxval(AT_SECURE))
        give_up("set-uid programs do not work here");
    if (!tide_option_get || tide_option_get("tiny_max", value, sizeof value) < 0)
        die("the library is not linked in");
    puts(value);
    return 0;
}
