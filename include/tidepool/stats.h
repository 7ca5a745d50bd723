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
    uint64_t lost_blocks;    /* Tiny blocks never used again, because they were written to
                              * after they were freed; they count as live */
    uint64_t foreign_leaks;  /* foreign pointers ignored (option foreign=) */
    uint64_t misuses;        /* misuse that did not abort (option misuse=) */
    uint64_t mid_spills;     /* segments (512 KiB) of Mid that had to come from near memory: the
                              * option cap=, or a source that could not be used */
    uint64_t mid_refused;    /* segments refused with full=fail */
    uint64_t mid_far_bytes;  /* of Mid's segments in use, what the source placed; where its pages
                              * are in fact is what tide_residency tells */
    uint64_t mid_near_bytes; /* of Mid's segments in use, the rest */
};

/* Fills *out. Takes every heap's slow-path lock for a moment. Returns 0. */
int tide_stats(struct tide_stats *out);

/* Class number `index` of `tier`: fills *out (mapped_bytes too) and *block_size (usable bytes
 * of a block). 0, or -ENOENT behind the last class, -EINVAL for a bad tier. */
int tide_stats_class(enum tide_tier tier, size_t index, struct tide_tier_stats *out,
                     size_t *block_size);

enum { TIDE_RESIDENCY_NODES = 64 };

/* Where the pages of a tier are, as the kernel says. */
struct tide_residency {
    uint64_t pages;                      /* system pages of the tier's address space in use */
    uint64_t asked;                      /* how many of them the kernel was asked about */
    uint64_t resident;                   /* of these: have memory */
    uint64_t node[TIDE_RESIDENCY_NODES]; /* of these: on node N */
    uint64_t mapped; /* of those asked about: the kernel tells nothing, but they are in the mapping
                      * of a file, memfd or device, which has memory for them */
    uint32_t error_permille; /* in 19 of 20 samples a node's share of `asked` is off by at most
                              * so many thousandths (1 / sqrt(asked)); 0: all pages were asked */
};

/* Fills *out for the tier, from a random sample of at most `most` pages (0: of all pages).
 * Asks the kernel (move_pages), about 50 ns a page. 0, -EINVAL for a bad tier, or the
 * kernel's refusal (-EPERM, -ENOSYS). The library's cache of freed large mappings and
 * blocks above 256 KiB are not looked at. Safe from any thread. */
int tide_residency(enum tide_tier tier, uint64_t most, struct tide_residency *out);

/* Writes the same as one JSON object and a newline to the descriptor. Uses no
 * heap memory. 0, or -errno of the failing write. */
int tide_stats_json(int fd);

#ifdef __cplusplus
}
#endif

#endif
