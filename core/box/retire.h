/*
 * retire.h - blocks that were appended by reference, on their way home.
 *
 * owns:      head.referred, retired and reclaimed, the retire ring between them, and `retiring` of
 *            each broker
 * threads:   one at a time puts (who holds head.trimmer), one at a time takes (in the process
 *            that the blocks are of); both at once
 * invariant: reclaimed <= retired <= reclaimed + slots; what is put is not to be seen before
 *            it is published
 * uses:      logmap
 * used by:   broker, trim, claims, mend, logapi; logref, which gives the blocks back
 * not here:  when a block is done with (trim), whose it is (logref)
 * test:      tests/test_retire.c, tests/test_retire_killed.c
 */
#ifndef TIDE_BOX_RETIRE_H
#define TIDE_BOX_RETIRE_H

#include "box/logmap.h"

/* The trimmer's view of the ring while it frees slots. */
struct tide_retire {
    uint64_t head, room;
};

/* A batch by reference is about to be published. */
void tide_retire_expect(const struct tide_logmap *map);

/* Starts putting. room 0: there is none, or there was never a batch by reference. */
struct tide_retire tide_retire_begin(const struct tide_logmap *map);

/* Puts the slot's block, if it has one. False: it has, and there is no room. */
bool tide_retire_put(const struct tide_logmap *map, struct tide_retire *to,
                     const struct tide_layout_slot *slot);

/* Puts the blocks of a broker's slots [from, to). The first slot whose block finds no room. */
uint64_t tide_retire_put_all(const struct tide_logmap *map, uint32_t broker, uint64_t from,
                             uint64_t to, struct tide_retire *ring);

/* Their slots are about to be released, as `releasing` says: notes what was put. Then, when they
 * are: it may be taken, and the note goes. Whoever ends in between leaves the note, and whoever
 * finishes the release finishes this, too, or puts the blocks if there is no note. */
void tide_retire_note(const struct tide_logmap *map, uint32_t broker,
                      const struct tide_retire *ring);
void tide_retire_publish(const struct tide_logmap *map, uint32_t broker,
                         const struct tide_retire *ring);
void tide_retire_finish(const struct tide_logmap *map, uint32_t broker);

/* Takes up to `most` blocks; how many. */
uint32_t tide_retire_take(const struct tide_logmap *map, struct tide_layout_retire *out,
                          uint32_t most);

/* There was a batch by reference. */
TIDE_INLINE bool tide_retire_is_used(const struct tide_logmap *map)
{
    return tide_coh_get(map->coh, &map->head->referred) != 0;
}

/* How many blocks wait to be taken. */
TIDE_INLINE uint64_t tide_retire_waiting(const struct tide_logmap *map)
{
    uint64_t reclaimed = tide_coh_get(map->coh, &map->head->reclaimed);
    return tide_coh_get(map->coh, &map->head->retired) - reclaimed;
}

/* Blocks must be taken before slots that have some are released. */
TIDE_INLINE bool tide_retire_is_full(const struct tide_logmap *map)
{
    return tide_retire_waiting(map) >= map->slots.size;
}

#endif
