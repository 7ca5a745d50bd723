/*
 * stat.h - the two forms in which `tidepool stat` tells what a page of counters says.
 */
#ifndef TIDEPOOL_STAT_COMMAND_H
#define TIDEPOOL_STAT_COMMAND_H

#include "attach.h"

enum { STAT_TIERS = 3 };

/* A tier with its name: 0 Tiny, 1 Mid, 2 Large. */
struct stat_tier {
    const char *name, *key;
    const struct tide_tier_stats *figures;
};

struct stat_tier stat_tier(const struct attach *attach, int index);

/* "running", "ended" (by exit), "gone" (without). */
const char *stat_state(const struct attach *attach);

/* ns since the figures were published; 0 when the clock was set back. */
uint64_t stat_age(const struct attach *attach);

/* Text that holds what somebody else wrote, without control characters; buf is returned. */
char *stat_plain(char *buf, size_t size, const char *text);

void stat_text(const struct attach *attach);
void stat_json(const struct attach *attach, bool line);

#endif
