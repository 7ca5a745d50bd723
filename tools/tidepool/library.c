/* library.c - see program.h: the library that is preloaded */
#define _GNU_SOURCE
#include "program.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Where Debian and its kin put libraries, below lib. */
#if defined(__x86_64__)
#define MULTIARCH(lib) lib "/x86_64-linux-gnu"
#elif defined(__aarch64__)
#define MULTIARCH(lib) lib "/aarch64-linux-gnu"
#elif defined(__riscv)
#define MULTIARCH(lib) lib "/riscv64-linux-gnu"
#else
#define MULTIARCH(lib) lib
#endif

static const char *const library_names[] = {"libtidepool.so", "libtidepool.so.0"};

/* Below the directory of the command; then where libraries are installed. */
static const char *const library_near[] = {".", "../lib", "../lib64", MULTIARCH("../lib")};
static const char *const library_places[] = {
    "/usr/local/lib", "/usr/local/lib64", MULTIARCH("/usr/local/lib"),
    "/usr/lib",       "/usr/lib64",       MULTIARCH("/usr/lib")};

enum {
    NAMES = sizeof library_names / sizeof library_names[0],
    NEAR = sizeof library_near / sizeof library_near[0],
    PLACES = sizeof library_places / sizeof library_places[0]
};

static bool is_library(const char *path)
{
    char ignored[PROGRAM_PATH];
    return access(path, R_OK) == 0 && program_kind(path, ignored) == PROGRAM_SHARED;
}

static bool library_in(const char *base, const char *directory, char path[PROGRAM_PATH])
{
    char candidate[2 * PROGRAM_PATH];
    for (int i = 0; i < NAMES; i++) {
        snprintf(candidate, sizeof candidate, "%s%s%s/%s", base, base[0] != '\0' ? "/" : "",
                 directory, library_names[i]);
        if (realpath(candidate, path) != NULL && is_library(path))
            return true;
    }
    return false;
}

static bool library_by_name(const char *name, char path[PROGRAM_PATH])
{
    errno = 0;
    if (realpath(name, path) == NULL)
        complain("run", "TIDEPOOL_LIBRARY=%s: %s", name, strerror(errno));
    else if (!is_library(path))
        complain("run", "TIDEPOOL_LIBRARY=%s: no shared library for this processor", name);
    else
        return true;
    return false;
}

static bool library_search(char path[PROGRAM_PATH])
{
    char own[PROGRAM_PATH];
    ssize_t length = readlink("/proc/self/exe", own, sizeof own - 1);
    if (length > 0) {
        own[length] = '\0';
        *strrchr(own, '/') = '\0';
        for (int i = 0; i < NEAR; i++)
            if (library_in(own[0] != '\0' ? own : "/", library_near[i], path))
                return true;
    }
    for (int i = 0; i < PLACES; i++)
        if (library_in("", library_places[i], path))
            return true;
    complain("run", "libtidepool.so is neither next to this command nor in ../lib nor in the "
                    "system's library directories; TIDEPOOL_LIBRARY=PATH names it");
    return false;
}

bool library_find(char path[PROGRAM_PATH])
{
    const char *name = getenv("TIDEPOOL_LIBRARY");
    bool named = name != NULL && name[0] != '\0';
    if (!(named ? library_by_name(name, path) : library_search(path)))
        return false;
    if (strpbrk(path, " :") == NULL)
        return true;
    complain("run", "%s: the loader cannot preload a path with a space or a colon in it", path);
    return false;
}
