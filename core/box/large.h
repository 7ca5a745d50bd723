/*
 * large.h - mappings of their own, for blocks above 256 KiB or of great alignment.
 *
 * owns:      the table of live mappings, freed ones that are kept for reuse
 * threads:   any, under one lock
 * invariant: an entry is a live block that starts at its mapping's first byte, and
 *            size <= room; what may be resident of a kept one counts in stat.retained: what
 *            was handed out of it since it came from the kernel, asked by nobody
 * uses:      vmem, meta, segment (the budget), sizeclass, stat
 * used by:   route, judge, heaps, purge
 * not here:  blocks of 36 KiB to 256 KiB, where mappings are many or address space is
 *            scarce others as well: runs in segments (page)
 * test:      tests/test_large.c
 */
#ifndef TIDE_BOX_LARGE_H
#define TIDE_BOX_LARGE_H

#include "box/def.h"
#include "box/lock.h"

/* Shall a block of so many bytes be a run? Not above 256 KiB, or less where address space is
 * limited; but up to 1 MiB if there are so many mappings that the process may run out of them. */
bool tide_large_is_run(size_t size);

/* One live mapping. */
struct tide_mapping {
    uintptr_t base; /* 0: an empty place of the table */
    size_t size;    /* bytes, all usable */
    size_t room;    /* bytes that are mapped; the block can grow to that where it is */
    uint32_t owner;
    uint32_t behind; /* pages right behind `size` that may be resident */
};

/* A mapping of at least size bytes, aligned to `align` (a power of two); *zeroed
 * tells whether it reads as zero. NULL when memory is out. */
void *tide_large_map(size_t size, size_t align, uint32_t owner, bool *zeroed);

/* The same for a block that grows and may go on: the kept mapping with the most room. NULL: there
 * is none, or more than a little may be resident behind what is asked for, or live blocks have
 * 64 MiB of room already. */
void *tide_large_map_roomy(size_t size, uint32_t owner);

/* The live mapping that starts at p: false when there is none. */
bool tide_large_find(const void *p, struct tide_mapping *out);

/* Frees it: 0, or -ENOENT when no live mapping starts at p. */
int tide_large_unmap(const void *p);

/* Resizes it: in its room, else by the kernel, perhaps moving it. NULL and unchanged when memory
 * is out. */
void *tide_large_remap(void *p, size_t size);

/* True when p was the start of one of the mappings freed last. *size: its bytes. */
bool tide_large_was_freed(const void *p, size_t *size);

/* True when p lies inside a live mapping, but not at its start. */
bool tide_large_is_inside(const void *p, struct tide_mapping *out);

/* Frees all mappings of an owner. */
void tide_large_destroy(uint32_t owner);

/* Unmaps kept mappings until at most `keep` bytes are retained, with 0 all of them; and then gives
 * back what is resident behind live blocks. How many bytes that were. */
size_t tide_large_release(size_t keep);

/* Live blocks and bytes, blocks since start. */
void tide_large_count(uint64_t *blocks, uint64_t *bytes, uint64_t *taken);

void tide_large_fork(enum tide_fork phase);

#endif
