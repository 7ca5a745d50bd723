/*
 * tidepool/stats.h - what the library holds, by tier and by class.
 *
 * Nothing is counted on the fast path: figures come from the pages' allocation
 * counts minus the blocks that wait in magazines and undelivered frees. They
 * are exact while no other thread is inside the allocator, and otherwise off
 * by what is in flight. Sizes are block sizes (the class), not requested ones.
 */
#ifndef TIDEPOOL_STATS_H
#define TIDEPOOL_STATS_H

#include <stddef.h>
#include <stdint.h>

#include <tidepool/malloc.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One tier, or one class of a tier. */
struct tide_tier_stats {
    uint64_t live_blocks;   /* handed out and not freed */
    uint64_t live_bytes;    /* their block sizes */
    uint64_t cached_blocks; /* free, in magazines and undelivered frees */
    uint64_t cached_bytes;
    uint64_t taken_blocks; /* blocks that left their pages since start; a block that is
                             * recycled inside a magazine counts once */
    uint64_t mapped_bytes; /* address space in use by the tier's pages */
};

struct tide_stats {
    struct tide_tier_stats tiny, mid, large;
    uint64_t retained_bytes; /* free, still resident, kept for reuse */
    uint64_t decommits;      /* times that memory was given back to the system */
    uint64_t decommit_bytes;
    uint64_t metadata_bytes; /* committed for the library's own tables */
    uint64_t heaps;          /* heaps in use, threads' and first-class ones */
    uint64_t parked_heaps;   /* heaps of ended threads, waiting to be adopted */
    uint64_t remote_batches; /* batches of blocks freed by other threads */
    uint64_t foreign_leaks;  /* foreign pointers ignored (option foreign=) */
    uint64_t misuses;        /* misuse that did not abort (option misuse=) */
    uint64_t mid_spills;     /* windows of Mid that the source could not place */
};

/* Fills *out. Takes every heap's slow-path lock for a moment. Returns 0. */
int tide_stats(struct tide_stats *out);

/* Class number `index` of `tier`: fills *out (mapped_bytes too) and *block_size (usable bytes
 * of a block). 0, or -ENOENT behind the last class, -EINVAL for a bad tier. */
int tide_stats_class(enum tide_tier tier, size_t index, struct tide_tier_stats *out,
                     size_t *block_size);

/* Writes the same as one JSON object and a newline to the descriptor. Uses no
 * heap memory. 0, or -errno of the failing write. */
int tide_stats_json(int fd);

#ifdef __cplusplus
}
#endif

#endif
