/*
 * large.h - mappings of their own, for blocks above 1 MiB or of great alignment.
 *
 * owns:      the table of live mappings, a few freed ones kept for reuse
 * threads:   any, under one lock
 * invariant: an entry is a live block that starts at its mapping's first byte;
 *            freed mappings in the cache count in stat.retained
 * uses:      vmem, segment (the budget), stat, diag
 * used by:   route, judge, heaps, purge
 * not here:  blocks of 36 KiB to 1 MiB: runs in segments (page)
 * test:      tests/test_large.c
 */
#ifndef TIDE_BOX_LARGE_H
#define TIDE_BOX_LARGE_H

#include "box/def.h"
#include "box/lock.h"

/* The largest size that is served from runs. Runs leave parts of segments unused,
 * which matters where address space is limited. */
size_t tide_large_run_max(void);

/* One live mapping. */
struct tide_mapping {
    uintptr_t base; /* 0: an empty place of the table */
    size_t size;    /* bytes, all usable */
    uint32_t owner;
};

/* A mapping of at least size bytes, aligned to `align` (a power of two); *zeroed
 * tells whether it reads as zero. NULL when memory is out. */
void *tide_large_map(size_t size, size_t align, uint32_t owner, bool *zeroed);

/* The live mapping that starts at p: false when there is none. */
bool tide_large_find(const void *p, struct tide_mapping *out);

/* Frees it: 0, or -ENOENT when no live mapping starts at p. */
int tide_large_unmap(const void *p);

/* Resizes it, perhaps moving it; NULL and unchanged when memory is out. */
void *tide_large_remap(void *p, size_t size);

/* True when p was the start of one of the mappings freed last. *size: its bytes. */
bool tide_large_was_freed(const void *p, size_t *size);

/* True when p lies inside a live mapping, but not at its start. */
bool tide_large_is_inside(const void *p, struct tide_mapping *out);

/* Frees all mappings of an owner. */
void tide_large_destroy(uint32_t owner);

/* Unmaps cached mappings until at most `keep` bytes are retained. Bytes unmapped. */
size_t tide_large_release(size_t keep);

/* Live blocks and bytes, blocks since start. */
void tide_large_count(uint64_t *blocks, uint64_t *bytes, uint64_t *taken);

void tide_large_fork(enum tide_fork phase);

#endif
