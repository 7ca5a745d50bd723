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

/* Fills in the rest for the machine that was read, from the environment. */
void info_collect(struct info *info);

/* Measures the nodes; false after a complaint: the machine is made up. */
bool info_probe(struct info *info, const char *command);

void info_text(const struct info *info);
void info_json(const struct info *info);

#endif
