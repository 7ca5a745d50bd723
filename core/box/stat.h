/*
 * stat.h - counters of events, each declared once.
 *
 * owns:      the counters
 * threads:   any; relaxed atomics, touched on slow paths only
 * invariant: event counters only grow; gauges (retained) go both ways
 * uses:      def
 * used by:   mem, pool, front
 * not here:  blocks and bytes in use (page counts them under its lock)
 * test:      tests/test_stat.c
 */
#ifndef TIDE_BOX_STAT_H
#define TIDE_BOX_STAT_H

#include "box/def.h"

/* name: what it counts */
#define TIDE_STATS(X)                                                                              \
    X(decommits)      /* ranges given back to the system */                                        \
    X(decommit_bytes) /* their bytes */                                                            \
    X(retained)       /* gauge: bytes free, resident and kept for reuse */                         \
    X(slack)          /* gauge: bytes free in the pages of all heaps, nearly (see page.h) */       \
    X(touched)        /* gauge: bytes of blocks and of free ones in pages, nearly; of mappings */  \
    X(most)           /* the most that was */                                                      \
    X(peak)           /* the most bytes ever in use by segments and mappings */                    \
    X(used)           /* gauge: bytes in use by segments and mappings */                           \
    X(regret)         /* bytes given back under the budget and needed again */                     \
    X(remote_batches) /* batches handed to other heaps */                                          \
    X(waiting)        /* gauge: bytes in all inboxes */                                            \
    X(lost)           /* Tiny blocks set aside: written to after they were freed */                \
    X(foreign_leaks)  /* foreign pointers ignored */                                               \
    X(mid_spills)     /* segments of Mid taken from near memory: cap=, or no placing */            \
    X(mid_refused)    /* segments of Mid refused under full=fail */                                \
    X(mid_far)        /* gauge: bytes of Mid's segments in use that the source placed */           \
    X(mid_near)       /* gauge: bytes of those it did not place */

struct tide_stat {
#define X(name) _Atomic uint64_t name;
    TIDE_STATS(X)
#undef X
} __attribute__((aligned(2 * TIDE_LINE)));

extern struct tide_stat tide_stat;

#define TIDE_STAT_ADD(name, n)                                                                     \
    atomic_fetch_add_explicit(&tide_stat.name, (uint64_t)(n), memory_order_relaxed)
#define TIDE_STAT_SUB(name, n)                                                                     \
    atomic_fetch_sub_explicit(&tide_stat.name, (uint64_t)(n), memory_order_relaxed)
#define TIDE_STAT_GET(name) atomic_load_explicit(&tide_stat.name, memory_order_relaxed)

/* Adds to `used` and raises `peak` to it. */
void tide_stat_use(size_t bytes);

/* Adds to `touched` (modulo 2^64) and raises `most` to it. */
void tide_stat_touch(uint64_t bytes);

#endif
