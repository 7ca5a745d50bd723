/*
 * order.h - the total order: places, message numbers, the order index.
 *
 * owns:      head.taken, head.committed; each entry from its place being taken to its seq
 * threads:   any number of takers at once; no taker waits for another
 * invariant: places are given out once each, without a gap; base(p + 1) = base(p) + count(p);
 *            taken - trimmed <= entries, for each place that is not trimmed has a slot
 * uses:      logmap
 * used by:   session, broker, seq, sub, trim
 * not here:  which batch is next (session, seq)
 * test:      tests/test_order.c
 */
#ifndef TIDE_BOX_ORDER_H
#define TIDE_BOX_ORDER_H

#include "box/logmap.h"

/* A place and the number of the first message there. */
struct tide_order_place {
    uint64_t place, base;
};

/* Takes `batches` places with `messages` messages in all; returns the first one. Whoever
 * takes a place has a published slot for it, and fills its entry at once. */
struct tide_order_place tide_order_take(const struct tide_logmap *map, uint64_t batches,
                                        uint64_t messages);

/* Fills the entry of a place that was taken. */
void tide_order_fill(const struct tide_logmap *map, struct tide_order_place at, uint32_t broker,
                     const struct tide_layout_slot *slot);

/* The same, as it was done in that epoch of the control. */
void tide_order_write(const struct tide_logmap *map, struct tide_order_place at, uint32_t broker,
                      const struct tide_layout_slot *slot, uint16_t control);

/* Taking and filling, for one slot. */
struct tide_order_place tide_order_commit(const struct tide_logmap *map, uint32_t broker,
                                          const struct tide_layout_slot *slot);

/* The next place that will be given. While others trim each time that it is looked, which nobody
 * does who means well, it may be wrong by 2^32. */
struct tide_order_place tide_order_head(const struct tide_logmap *map);

/* The first place that is not valid: all below are. Looks at most at `most` entries beyond
 * what was known. */
uint64_t tide_order_frontier(const struct tide_logmap *map, uint64_t most);

/* The entry, or NULL while it is not valid. */
TIDE_INLINE struct tide_layout_entry *tide_order_see(const struct tide_logmap *map, uint64_t place)
{
    struct tide_layout_entry *entry = tide_logmap_entry(map, place);
    tide_coh_fresh(TIDE_COH_COHERENT, entry, sizeof *entry);
    return tide_coh_get(map->coh, &entry->seq) == place + 1 ? entry : NULL;
}

/* A copy of the entry; false while it is not valid. */
TIDE_INLINE bool tide_order_copy(const struct tide_logmap *map, uint64_t place,
                                 struct tide_layout_entry *out)
{
    const struct tide_layout_entry *entry = tide_order_see(map, place);
    if (entry != NULL)
        tide_layout_words(out, entry, sizeof *out);
    return entry != NULL;
}

#endif
