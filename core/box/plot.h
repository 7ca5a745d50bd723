/*
 * plot.h - what stands in a region's memory: its head, and what each segment is.
 *
 * owns:      the layout, all that is ever written to head and entries
 * threads:   any, under the table's lock; against other processes of this host on the same
 *            memory by compare-and-swap of an entry's word. A view for memory that several hosts
 *            have writes nothing before tide_plot_engage: the debug build stops there
 * invariant: a segment is head, free, a heap's, lent, a part of a run, or (for the time of
 *            one call) on the move. The words of a run's parts are written before that of
 *            its first segment; that one is on the move while parts are cleared
 * uses:      lock, diag, file, coh
 * used by:   region, regions
 * not here:  where the memory comes from (region)
 * test:      tests/test_plot.c
 *
 * All little-endian, offsets from the region's first byte, never a pointer:
 *     0      struct tide_plot_head; the magic is written last, and cleared first
 *     4096   area 0: the log's          8192   area 1: the program's
 *     16384  one struct tide_plot_entry per segment, the head's own ones included
 * The head takes whole segments.
 */
#ifndef TIDE_BOX_PLOT_H
#define TIDE_BOX_PLOT_H

#include <tidepool/region.h>

#include "box/coh.h"
#include "box/def.h"
#include "box/diag.h"
#include "box/lock.h"

#define TIDE_PLOT_MAGIC 0x314e474552444954ULL /* "TIDREGN1" */

enum {
    TIDE_PLOT_VERSION = 1,
    TIDE_PLOT_ENDIAN = 0x01020304,
    TIDE_PLOT_AREA_AT = 4096,
    TIDE_PLOT_AT = 16384
};

/* Written once, by whoever makes the region, but for hosts, and for sessions: the views that ever
 * were to take segments. */
struct tide_plot_head {
    _Atomic uint64_t magic;
    uint32_t version;
    uint32_t endian;
    uint64_t features; /* a bit that is not known here: not to be opened */
    uint64_t size;     /* bytes */
    uint32_t segment;  /* bytes of each */
    uint32_t entry;    /* bytes of an entry */
    uint64_t segments;
    uint64_t table; /* offset */
    uint64_t heads; /* segments in front of the first one that can be lent */
    uint8_t id[16]; /* random */
    uint64_t check; /* over the fields above but the magic */
    /* 1: processes of several hosts have the log in it. By the process that makes or removes it. */
    _Atomic uint64_t hosts;
    uint8_t spare[32];
    _Atomic uint64_t sessions; /* on a pair of lines of its own */
    uint8_t rest[TIDE_PLOT_AREA_AT - 136];
};

/* word: state in bits 0..7, kind in 8..15, length in 16..63 (segments of a run; of a part:
 * how far back the first one is). All else is written while the word says "on the move". */
struct tide_plot_entry {
    _Atomic uint64_t word;
    uint64_t tag;
    uint64_t session;
    uint64_t block;
    uint64_t spare[4];
};

_Static_assert(offsetof(struct tide_plot_head, magic) == 0, "magic");
_Static_assert(offsetof(struct tide_plot_head, version) == 8, "version");
_Static_assert(offsetof(struct tide_plot_head, endian) == 12, "endian");
_Static_assert(offsetof(struct tide_plot_head, features) == 16, "features");
_Static_assert(offsetof(struct tide_plot_head, size) == 24, "size");
_Static_assert(offsetof(struct tide_plot_head, segment) == 32, "segment");
_Static_assert(offsetof(struct tide_plot_head, entry) == 36, "entry");
_Static_assert(offsetof(struct tide_plot_head, segments) == 40, "segments");
_Static_assert(offsetof(struct tide_plot_head, table) == 48, "table");
_Static_assert(offsetof(struct tide_plot_head, heads) == 56, "heads");
_Static_assert(offsetof(struct tide_plot_head, id) == 64, "id");
_Static_assert(offsetof(struct tide_plot_head, check) == 80, "check");
_Static_assert(offsetof(struct tide_plot_head, hosts) == 88, "hosts");
_Static_assert(offsetof(struct tide_plot_head, sessions) == 128, "sessions");
_Static_assert(offsetof(struct tide_plot_entry, word) == 0, "word");
_Static_assert(offsetof(struct tide_plot_entry, tag) == 8, "tag");
_Static_assert(offsetof(struct tide_plot_entry, session) == 16, "session");
_Static_assert(offsetof(struct tide_plot_entry, block) == 24, "block");
_Static_assert(sizeof(struct tide_plot_head) == TIDE_PLOT_AREA_AT, "the head is one page");
_Static_assert(sizeof(struct tide_plot_entry) == TIDE_LINE, "an entry is one line");
_Static_assert(TIDE_PLOT_AREA_AT + 2 * TIDE_REGION_AREA <= TIDE_PLOT_AT, "two areas");

#define TIDE_PLOT_NONE UINT64_MAX

/* A process's view of a head and its entries. */
struct tide_plot {
    struct tide_lock lock;
    struct tide_plot_head *head;
    struct tide_plot_entry *entry;
    uint64_t segments, heads;
    uint64_t session; /* of this view; TIDE_PLOT_NONE: it took nothing yet */
    enum tide_coh coh;
    uint64_t hint; /* no free segment below, as far as this view knows; under lock */
};

/* Of head, areas and table. */
TIDE_INLINE size_t tide_plot_bytes(const struct tide_plot *table)
{
    return TIDE_PLOT_AT + table->segments * sizeof(struct tide_plot_entry);
}

/* What a segment is wanted for. */
struct tide_plot_wish {
    enum tide_region_state state; /* HEAP, RUN or LENT */
    unsigned kind;                /* enum tide_kind, for HEAP and RUN */
    uint64_t block;               /* HEAP: bytes from block to block */
    uint64_t tag;
    uint64_t segments; /* how many */
};

/* Makes head and table at `base` for a region of `size` bytes, a multiple of segments. */
void tide_plot_format(void *base, size_t size);

/* Is there a region at `base`, of which `capacity` bytes can be read? 0, -EPROTO or -EBADFD,
 * and the reason with both values as text. size: what it has to have, or 0. */
int tide_plot_check(const void *base, size_t capacity, size_t size, struct tide_text *why);

/* Opens a view with a session of its own, on what tide_plot_check found good: a region of `size`
 * bytes, whatever its head says by now. */
void tide_plot_open(struct tide_plot *table, void *base, size_t size);

/* The same, of memory that other hosts may have: reads only, until it is engaged. That draws the
 * session's number, and is for one host at a time. */
void tide_plot_view(struct tide_plot *table, void *base, size_t size);
void tide_plot_engage(struct tide_plot *table);

/* Says that processes of several hosts have the log in it, or do not any more. */
TIDE_INLINE void tide_plot_set_hosts(struct tide_plot_head *head, bool several)
{
    atomic_store_explicit(&head->hosts, several, memory_order_release);
}

/* Index of the first of so many free segments, which are taken now, or -ENOMEM. */
int64_t tide_plot_take(struct tide_plot *table, const struct tide_plot_wish *wish);

/* Frees the segment, or the run that begins there, if its state is this one and this view
 * took it (LENT: whoever did). The length of it, or -EINVAL. */
int64_t tide_plot_give(struct tide_plot *table, uint64_t index, enum tide_region_state state);

/* The segment, or the run that begins there, is nobody's from now on, if this view took it for a
 * heap with this tag: it is swept with those of views that ended. */
void tide_plot_leave(struct tide_plot *table, uint64_t index, uint64_t tag);

/* 0, or -ENOENT behind the last one. */
int tide_plot_read(const struct tide_plot *table, uint64_t index, struct tide_region_segment *out);

/* Frees what calls that never ended left on the move, and parts of no run; with `heaps` also
 * what other views' heaps have, but for segments, or first segments of runs, whose bit in
 * `keep` (may be NULL) is set. Nobody else may be at work on the memory. Segments freed. */
uint64_t tide_plot_sweep(struct tide_plot *table, bool heaps, const uint64_t *keep);

#endif
