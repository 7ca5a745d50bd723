/*
 * sizeclass.h - from a size to a class, from a class to its block.
 *
 * owns:      the class tables
 * threads:   constant after start
 * invariant: class tables ascend; a class holds every size that maps to it;
 *            Mid strides are multiples of 32 and never of 1024, so that header and
 *            first payload bytes share a line and blocks spread over the cache
 * uses:      def
 * used by:   large, page, shelf, magazine, tiny, mid, heap, judge, route, heaps, residency, report
 * not here:  which tier a size goes to (route)
 * test:      tests/test_sizeclass.c
 *
 * Eight classes per doubling: at most 12.5 % of a block is slack. Tiny goes in
 * steps of 16 up to 256. Some classes of Tiny and the last ones of aligned Mid exist only for
 * alignments that no smaller stride is a multiple of. malloc takes Large up to 64 KiB, of which a
 * program may have as many as of Mid, from the last classes of Tiny's kind: they have magazines,
 * and headers as Mid has.
 */
#ifndef TIDE_BOX_SIZECLASS_H
#define TIDE_BOX_SIZECLASS_H

#include "box/def.h"

enum {
    TIDE_TINY_CLASSES = 40,  /* reachable by size: 16..2048 */
    TIDE_TINY_ALIGNED = 45,  /* and 4 KiB..64 KiB, for alignments */
    TIDE_BESIDE_CLASSES = 8, /* 36 KiB..64 KiB: blocks of Large beside Tiny */
    TIDE_TINY_ALL = TIDE_TINY_ALIGNED + TIDE_BESIDE_CLASSES,
    TIDE_MID_CLASSES = 41,   /* 1024..32768 */
    TIDE_MIDAL_ALL = 44,     /* and 64 KiB..256 KiB, for alignments */
    TIDE_LARGE_CLASSES = 40, /* 36 KiB..1 MiB */
    TIDE_CLASSES_MAX = 53,
    TIDE_LARGE_SHIFT = 15, /* Large: eight classes per doubling above 1 << shift */
    TIDE_MID_HEADER = 16,
    TIDE_MID_EXTRA = 32 /* stride of a Mid class beyond the size in its name */
};

/* Slots: Tiny classes first, then those of Mid. A thread has one magazine a slot. */
enum {
    TIDE_SLOTS = TIDE_TINY_ALL + TIDE_MID_CLASSES,
    TIDE_SLOT_TABLE = (TIDE_MID_TOP + 16) / 16 + 1
};

/* What a thread keeps of a class without a magazine: so many blocks at most, in a row of its shelf.
 * In bytes: the heads of the shelf and of a row, a place. */
enum { TIDE_MIDAL_KEPT = 32, TIDE_LARGE_KEPT = 16 };
enum { TIDE_KEPT_HEAD = 24, TIDE_KEPT_ROW = 8, TIDE_KEPT_PLACE = 16 };

/* Slot of a size up to 32 KiB, as the offset of its magazine in a thread's cache, see
 * tide_sizeclass_offset(). */
struct tide_sizeclass {
    size_t tiny_max; /* the largest size that goes to Tiny: 15 mod 16 */
    uint16_t slot[TIDE_SLOT_TABLE];
};

extern struct tide_sizeclass tide_sizeclass;

/* Fills the lookup table. tiny_max is rounded down to 15 mod 16. */
void tide_sizeclass_start(size_t tiny_max);

/* Bytes from block to block of a class. */
uint32_t tide_sizeclass_stride(enum tide_kind kind, unsigned cls);

/* How many classes the kind has. */
unsigned tide_sizeclass_count(enum tide_kind kind);

/* The smallest class of a kind without header whose stride is at least `size` and
 * a multiple of `align` (a power of two), or -1. Not those of Large beside Tiny. */
int tide_sizeclass_aligned(enum tide_kind kind, size_t size, size_t align);

/* The place of n > 1 << shift among eight sizes per doubling, of which that is the base. */
TIDE_INLINE unsigned tide_sizeclass_eighth(size_t n, unsigned shift)
{
    unsigned power = 63 - (unsigned)__builtin_clzll(n - 1);
    return (power - shift) * 8 + ((unsigned)((n - 1) >> (power - 3)) & 7);
}

/* n <= 32768. One table for both tiers and no branch between them: which of the two
 * it is cannot be predicted. Tiny sizes are rounded up to 16; those of Mid need not be,
 * since a Mid class serves 16 bytes more than its name (stride + 32, header 16). */
TIDE_INLINE size_t tide_sizeclass_offset(size_t n)
{
    return tide_sizeclass.slot[(n + 15 + (n > tide_sizeclass.tiny_max)) >> 4];
}

TIDE_INLINE unsigned tide_sizeclass_slot(size_t n)
{
    return (unsigned)tide_sizeclass_offset(n) / TIDE_LINE;
}

/* The slot of n > 32768, up to 65536. */
TIDE_INLINE unsigned tide_sizeclass_slot_large(size_t n)
{
    return TIDE_TINY_ALIGNED + tide_sizeclass_eighth(n, TIDE_LARGE_SHIFT);
}

/* Are these blocks of Large, whatever kind they are of? */
TIDE_INLINE bool tide_sizeclass_is_large(enum tide_kind kind, unsigned cls)
{
    return kind == TIDE_KIND_LARGE || (kind == TIDE_KIND_TINY && cls >= TIDE_TINY_ALIGNED);
}

/* Do these blocks have a header, Mid's? */
TIDE_INLINE bool tide_sizeclass_is_headed(enum tide_kind kind, unsigned cls)
{
    return kind == TIDE_KIND_MID || (kind == TIDE_KIND_TINY && cls >= TIDE_TINY_ALIGNED);
}

/* "tiny", "mid" or "large". */
const char *tide_sizeclass_tier(enum tide_kind kind, unsigned cls);

/* The class of Tiny for n <= 2048, of Mid for n <= 32768, whatever tiny_max is. */
unsigned tide_sizeclass_tiny(size_t n);
unsigned tide_sizeclass_mid(size_t n);

/* A slot from kind (Tiny or Mid) and class, and back. */
TIDE_INLINE unsigned tide_slot_of(enum tide_kind kind, unsigned cls)
{
    return kind == TIDE_KIND_TINY ? cls : TIDE_TINY_ALL + cls;
}

TIDE_INLINE enum tide_kind tide_slot_kind(unsigned slot)
{
    return slot < TIDE_TINY_ALL ? TIDE_KIND_TINY : TIDE_KIND_MID;
}

TIDE_INLINE unsigned tide_slot_class(unsigned slot)
{
    return slot < TIDE_TINY_ALL ? slot : slot - (unsigned)TIDE_TINY_ALL;
}

/* Where a thread keeps free blocks of the class: the offset of the magazine in its cache, of the
 * row in its shelf. */
TIDE_INLINE uint16_t tide_sizeclass_kept(enum tide_kind kind, unsigned cls)
{
    size_t midal = TIDE_KEPT_ROW + TIDE_KEPT_PLACE * TIDE_MIDAL_KEPT;
    size_t large = TIDE_KEPT_ROW + TIDE_KEPT_PLACE * TIDE_LARGE_KEPT;
    if (kind == TIDE_KIND_TINY || kind == TIDE_KIND_MID)
        return (uint16_t)(TIDE_LINE * tide_slot_of(kind, cls));
    if (kind == TIDE_KIND_MIDAL)
        return (uint16_t)(TIDE_KEPT_HEAD + cls * midal);
    return (uint16_t)(TIDE_KEPT_HEAD + TIDE_MIDAL_ALL * midal + cls * large);
}

#endif
