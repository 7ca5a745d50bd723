/*
 * report.h - what the library holds, as numbers and as JSON.
 *
 * owns:      nothing; adds up what the heaps have
 * threads:   any; takes each heap's lock for a moment
 * invariant: live = used - cached, exact while nobody else is inside
 * uses:      heap, large, meta, option, segment, stat
 * used by:   counters, api
 * not here:  counting (page counts under its lock; nothing on the fast path)
 * test:      tests/test_report.c
 */
#ifndef TIDE_BOX_REPORT_H
#define TIDE_BOX_REPORT_H

#include <tidepool/stats.h>

#include "box/diag.h"
#include "box/heap.h"

/* Everything by kind and class, as counted in one pass over the heaps. */
struct tide_tally {
    struct tide_tally_row {
        uint64_t used, cached, taken, pages;
    } row[TIDE_KINDS][TIDE_CLASSES_MAX];
    uint64_t heaps, parked;
    uint64_t mappings, mapping_bytes, mappings_taken;
    uint64_t runs, run_bytes; /* blocks in regions that are whole segments */
};

void tide_report_count(struct tide_tally *tally);

/* The public figures of a tally. */
void tide_report_stats(const struct tide_tally *tally, struct tide_stats *out);

/* The class of Large that stands for mappings, behind those of runs. */
enum { TIDE_REPORT_MAPPINGS = TIDE_BESIDE_CLASSES + TIDE_LARGE_CLASSES };

/* Class `index` of a tier; see tide_stats_class(). */
int tide_report_class(const struct tide_tally *tally, enum tide_tier tier, size_t index,
                      struct tide_tier_stats *out, size_t *block_size);

/* Writes the line of tide_stats_json() with one write. 0 or -errno. */
int tide_report_write(int fd);

/* Appends the line to the file that stats_at_exit= names, if any. */
int tide_report_at_exit(void);

#endif
