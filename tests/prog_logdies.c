/*
 * prog_logdies.c - the command, of the debug build, that is killed at a moment between two stores:
 *
 *   CRASH_AT=NAME:COUNT prog_logdies log repair --yes REGION
 *
 * ends itself by SIGKILL where it comes to the point NAME (core/box/crash.h) for the COUNTth time.
 * This file is only what is added to the command's own.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "box/crash.h"

static const char *dies_at;
static size_t dies_length;
static long dies_count;

static void dies_here(enum tide_crash_point point)
{
    const char *name = tide_crash_names[point];
    if (strlen(name) == dies_length && strncmp(name, dies_at, dies_length) == 0 &&
        --dies_count == 0)
        raise(SIGKILL);
}

__attribute__((constructor)) static void dies_begin(void)
{
    dies_at = getenv("CRASH_AT");
    const char *count = dies_at != NULL ? strchr(dies_at, ':') : NULL;
    if (count == NULL)
        return;
    dies_length = (size_t)(count - dies_at);
    dies_count = strtol(count + 1, NULL, 10);
    tide_crash_hook = dies_here;
}
