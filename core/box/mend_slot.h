/*
 * mend_slot.h - what a slot of a log whose memory was damaged must be.
 *
 * owns:      nothing
 * threads:   one per call, and nobody else is in a call of the log
 * invariant: a batch that is whole has the bytes that it was published with, as far as messages and
 *            check sum tell
 * uses:      ring, frame, crc
 * used by:   mend
 * not here:  what is done about it (mend_cut.c)
 * test:      tests/test_mend_cut.c
 */
#ifndef TIDE_BOX_MEND_SLOT_H
#define TIDE_BOX_MEND_SLOT_H

#include "box/logmap.h"

/* A slot's batch is whole: as many messages as it says, with its check sum if the log has them. */
bool tide_mend_is_whole(const struct tide_logmap *map, uint32_t broker,
                        const struct tide_layout_slot *slot);

/* Entry and slot tell of the same bytes; of the same batch of the same client. */
bool tide_mend_same_bytes(const struct tide_layout_entry *entry,
                          const struct tide_layout_slot *slot);
bool tide_mend_same_names(const struct tide_layout_entry *entry,
                          const struct tide_layout_slot *slot);

/* The slot, which is not published with its index, is not with one that it cannot have had. */
void tide_mend_unpublish(const struct tide_logmap *map, uint32_t broker, uint64_t index);

/* Of a slot behind one that ends at granule `before`, or later: the granule where the bytes of a
 * batch begin, which are in the ring; where they end, or those of one by reference, which has none;
 * whether an end may be right; whether it is a pad. */
uint64_t tide_mend_start(const struct tide_logmap *map, uint32_t broker,
                         const struct tide_layout_slot *slot, uint64_t before);
bool tide_mend_is_end(const struct tide_logmap *map, const struct tide_layout_slot *slot,
                      uint64_t before);
uint64_t tide_mend_end(const struct tide_logmap *map, uint32_t broker,
                       const struct tide_layout_slot *slot, uint64_t before);
bool tide_mend_is_pad(const struct tide_logmap *map, const struct tide_layout_slot *slot,
                      uint64_t index, uint64_t before);

/* What is free behind `granule`, but not beyond `end`, when slots below `slot` are. Of a claim that
 * became a pad nobody knows the size, but where the next batch begins. */
uint64_t tide_mend_free_to(const struct tide_logmap *map, uint32_t broker, uint64_t slot,
                           uint64_t granule, uint64_t end);

#endif
