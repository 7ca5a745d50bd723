/*
 * counters.h - the library's figures in a page that a tool attaches to from outside.
 *
 * owns:      the page, and the descriptor of the nameless file behind it
 * threads:   any thread on its way out of the slow path may publish; one at a time
 * invariant: a process writes to a page of its own only (a forked child makes one);
 *            the figures are whole when `turn` is even and the same before and after
 * uses:      report, segment, life, option, file, vmem, clock, diag
 * used by:   route; the command knows the layout
 * not here:  counting (report); finding and reading the page (the command's attach.c)
 * test:      tests/test_counters.c
 *
 * Opt-in: counters=1 keeps the page in a nameless file (memfd) that the process holds open:
 * /proc/PID/fd leads to it for whom the kernel lets look at the process, it cannot be
 * written or cut short by others, and it ends with the process. counters=/DIR keeps it in
 * DIR/tidepool.PID, a new file of mode 0600, which stays. A set-uid program has none.
 *
 * There is no timer: figures are as old as the last time that a thread left the slow path
 * and publishing was due. It is due when a hundred times of what the last publishing took
 * (at least a millisecond) has gone by, so that it costs at most a hundredth of the time.
 */
#ifndef TIDE_BOX_COUNTERS_H
#define TIDE_BOX_COUNTERS_H

#include <tidepool/stats.h>

#include "box/def.h"

#define TIDE_COUNTERS_NAME "tidepool-counters" /* of the nameless file */
#define TIDE_COUNTERS_FILE "tidepool."         /* of the others, and the process id */

enum {
    TIDE_COUNTERS_VERSION = 1,
    TIDE_COUNTERS_BYTES = 4096,
    TIDE_COUNTERS_RANGES = 16,
    TIDE_COUNTERS_RUNNING = 1,
    TIDE_COUNTERS_ENDED = 2 /* by exit(): the figures are the last ones */
};

/* "TIDECNT" and a zero byte */
#define TIDE_COUNTERS_MAGIC UINT64_C(0x00544e4345444954)

/* Address space of a tier: what /proc/PID/numa_maps says of it is where its pages are. */
struct tide_counters_range {
    uint64_t base, size;
};

/* Written by the publishing thread, all of it each time. */
struct tide_counters_figures {
    uint64_t turn;      /* odd while it is being written */
    uint64_t published; /* how often */
    uint64_t time;      /* of this one; ns since 1970 */
    uint64_t cost;      /* of this one, ns */
    uint64_t state;     /* TIDE_COUNTERS_RUNNING or _ENDED */
    uint64_t used;      /* bytes in use by segments and mappings */
    uint64_t peak;      /* the most that this ever was */
    uint64_t ranges;    /* of Mid */
    struct tide_stats stats;
    struct tide_counters_range mid[TIDE_COUNTERS_RANGES];
};

/*
 * The page. Head and texts are written once, magic last; then nobody writes them. All numbers
 * are in the byte order of the machine. A change of the layout is a new version.
 */
struct tide_counters_page {
    uint64_t magic;
    uint32_t version, size;
    uint64_t pid;   /* as the process itself sees it */
    uint64_t ticks; /* when the process started: field 22 of /proc/PID/stat; 0 unknown */
    uint64_t begun; /* when the page was made; ns since 1970 */
    uint64_t cap;   /* option cap= */
    uint64_t far;   /* 1: Mid is far, or modelled so */
    uint64_t node;  /* the first node that Mid asks for; UINT64_MAX: none */
    char library[32], header[16], full[16];
    char source[128], why[256], program[256];
    uint64_t empty[32];
    struct tide_counters_figures figures;
};

_Static_assert(offsetof(struct tide_counters_page, library) == 64, "layout of version 1");
_Static_assert(offsetof(struct tide_counters_page, figures) == 1024, "layout of version 1");
_Static_assert(offsetof(struct tide_counters_figures, stats) == 64, "layout of version 1");
_Static_assert(offsetof(struct tide_counters_figures, mid) == 64 + 32 * 8, "layout of version 1");
_Static_assert(sizeof(struct tide_counters_page) <= TIDE_COUNTERS_BYTES, "layout of version 1");

extern _Atomic bool tide_counters_on;

/* Publishes when it is due. The caller holds no lock and is not on the slow path. */
void tide_counters_tick_slow(void);

TIDE_INLINE void tide_counters_tick(void)
{
    if (TIDE_UNLIKELY(atomic_load_explicit(&tide_counters_on, memory_order_relaxed)))
        tide_counters_tick_slow();
}

/* Makes the page as the option counters= says and publishes. 0 (also when the option is 0)
 * or -errno. Once, before main(). */
int tide_counters_start(void);

/* The page, or NULL. */
const struct tide_counters_page *tide_counters_page(void);

#endif
