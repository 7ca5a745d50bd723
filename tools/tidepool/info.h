/*
 * info.h - what `info` and `doctor` start from, and the two forms in which `info` tells it.
 */
#ifndef TIDEPOOL_INFO_H
#define TIDEPOOL_INFO_H

#include "decide.h"
#include "probe.h"

struct info {
    const char *options; /* TIDEPOOL_OPTIONS, or NULL */
    bool too_long;       /* for the library, which ignores it */
    struct settings settings;
    struct machine machine;
    struct decision decision;
    struct probe probe[TIDE_TOPO_NODES]; /* by machine.node; asked: --probe */
};

/* Reads the flags of `info` or `doctor`, the machine and the environment, and probes if asked.
 * Below 0: go on, *json tells in which form; else the command's exit code. */
int info_begin(struct info *info, char **argv, const char *command, void (*help)(void), bool *json);

void info_text(const struct info *info);
void info_json(const struct info *info);

#endif
