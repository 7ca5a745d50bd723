/*
 * info.h - the two forms in which `tidepool info` tells what it found.
 */
#ifndef TIDEPOOL_INFO_H
#define TIDEPOOL_INFO_H

#include "decide.h"

struct info {
    const char *options; /* TIDEPOOL_OPTIONS, or NULL */
    bool too_long;       /* for the library, which ignores it */
    struct settings settings;
    struct machine machine;
    struct decision decision;
};

void info_text(const struct info *info);
void info_json(const struct info *info);

#endif
