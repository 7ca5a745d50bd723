/*
 * prog_cxx_host.c - a C program without a C++ runtime.
 *
 * prog_cxx_host LABEL libc|tidepool PLUGIN...  runs plug_cxx_run() of every plugin;
 *                                              all are loaded before the first runs
 * prog_cxx_host LABEL starve                   asks operator new for too much, with
 *                                              nobody there to throw an exception
 */
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { PLUGINS = 8 };

/* Found by name: the program is not linked with what defines them. */
extern void *_Znwm(size_t size) __attribute__((weak));
extern void __cxa_throw(void) __attribute__((weak));

static int starve(const char *label)
{
    if (_Znwm == NULL) {
        printf("not ok - %s: operator new is there\n", label);
        return 1;
    }
    void *volatile p = _Znwm(SIZE_MAX / 2);
    printf("not ok - %s: operator new ended the process (it gave %p)\n", label, p);
    return 1;
}

int main(int argc, char **argv)
{
    int (*run[PLUGINS])(const char *, const char *);
    int failures = 0;
    if (argc == 3 && strcmp(argv[2], "starve") == 0)
        return starve(argv[1]);
    if (argc < 4 || argc - 3 > PLUGINS)
        return 2;
    if (__cxa_throw != NULL) {
        printf("not ok - %s: the program is without a C++ runtime\n", argv[1]);
        return 1;
    }
    for (int i = 3; i < argc; i++) {
        void *plugin = dlopen(argv[i], RTLD_NOW | RTLD_LOCAL);
        void *symbol = plugin == NULL ? NULL : dlsym(plugin, "plug_cxx_run");
        if (symbol == NULL) {
            printf("not ok - %s: %s\n", argv[1], dlerror());
            return 1;
        }
        memcpy(&run[i - 3], &symbol, sizeof symbol);
    }
    for (int i = 3; i < argc; i++)
        failures += run[i - 3](argv[1], argv[2]);
    return failures != 0;
}
