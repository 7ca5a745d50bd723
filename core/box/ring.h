/*
 * ring.h - a broker's ring: slots and payload claimed together, published one by one.
 *
 * owns:      broker.claim; each slot from its claim to its publish word
 * threads:   any number of producers at once; no producer ever waits for another
 * invariant: released <= slot < released + slots for each claim that is out, and the same
 *            for its granules; granules are given in the order of the slots
 * uses:      logmap
 * used by:   broker, seq, sub, trim
 * not here:  places (order), what becomes free when (trim)
 * test:      tests/test_ring.c
 */
#ifndef TIDE_BOX_RING_H
#define TIDE_BOX_RING_H

#include "box/logmap.h"

struct tide_ring_claim {
    uint64_t slot;          /* index */
    uint64_t granule, end;  /* absolute */
    uint64_t granules;      /* end - granule */
    unsigned char *payload; /* first byte, 64-byte aligned */
    uint32_t broker;
    uint32_t room; /* bytes */
    uint32_t lost; /* compare-and-swaps that another producer won meanwhile */
};

/* What the producer says about a batch. */
struct tide_ring_batch {
    uint64_t number;
    uint32_t client, epoch, count, size, flags;
    uint64_t keeper; /* TIDE_LAYOUT_REF */
};

/* The largest batch in bytes: a quarter of the payload ring, below 1 GiB. */
uint32_t tide_ring_most(const struct tide_logmap *map);

/* How much of the ring a claim may fill. */
enum tide_ring_share {
    TIDE_RING_ALL,
    TIDE_RING_MOST, /* leaves an eighth of the slots (at least one) and a quarter of the payload */
    TIDE_RING_HALF
};

/* The slots that TIDE_RING_MOST leaves. */
uint64_t tide_ring_kept(const struct tide_logmap *map);

/* Claims a slot and `bytes` (0 .. tide_ring_most) of payload. `note` is where the producer
 * says beforehand what it is about to claim. False: the ring is full. */
bool tide_ring_claim(const struct tide_logmap *map, uint32_t broker, uint32_t bytes,
                     enum tide_ring_share share, _Atomic uint64_t *note,
                     struct tide_ring_claim *claim);

/* A claim would succeed now. */
bool tide_ring_fits(const struct tide_logmap *map, uint32_t broker, uint32_t bytes,
                    enum tide_ring_share share);

/* Makes the claimed slot valid: others may read it and its payload. */
void tide_ring_publish(const struct tide_logmap *map, const struct tide_ring_claim *claim,
                       const struct tide_ring_batch *batch, uint32_t checksum);

/* Next slot index and granule that would be claimed. */
struct tide_ring_head {
    uint64_t slot, granule;
};
struct tide_ring_head tide_ring_head(const struct tide_logmap *map, uint32_t broker);

/* The slot, or NULL while it is not published. */
TIDE_INLINE struct tide_layout_slot *tide_ring_see(const struct tide_logmap *map, uint32_t broker,
                                                   uint64_t index)
{
    struct tide_layout_slot *slot = tide_logmap_slot(map, broker, index);
    tide_coh_fresh(TIDE_COH_COHERENT, slot, sizeof *slot);
    return tide_coh_get(map->coh, &slot->publish) == index ? slot : NULL;
}

/* A copy of the slot; false while it is not published. */
TIDE_INLINE bool tide_ring_copy(const struct tide_logmap *map, uint32_t broker, uint64_t index,
                                struct tide_layout_slot *out)
{
    const struct tide_layout_slot *slot = tide_ring_see(map, broker, index);
    if (slot != NULL)
        tide_layout_words(out, slot, sizeof *out);
    return slot != NULL;
}

#endif
