/*
 * door.h - the door of a session: one at a time behind it, who finds it taken hands over.
 *
 * owns:      session.door, session.called, producer.inside; links
 * threads:   any
 * invariant: one at a time is behind the door; what was handed over is taken by whoever leaves,
 *            or by whoever called; a door that was called once stays with nobody again
 * uses:      logmap, park
 * used by:   session, broker, audit
 * not here:  what is done behind it (session)
 * test:      tests/test_door.c, tests/models/door.pml
 *
 * A door that is called for by nobody may stay with a handle between its calls (keep). It goes
 * in and out by plain stores then: in, it says that it is inside, and looks whether the door is
 * still its own; out, the other way round. Whoever else wants the door calls: marks it, makes all
 * threads of the process go through a barrier, and looks who is inside. Nobody: the caller takes
 * it. Somebody: whoever it is sees the mark on the way out, for the barrier came between. So a
 * door stays with a handle only where the barrier reaches all: in a log of one process.
 */
#ifndef TIDE_BOX_DOOR_H
#define TIDE_BOX_DOOR_H

#include "box/logmap.h"

enum { TIDE_DOOR_OPEN = 0, TIDE_DOOR_TAKEN = 1 };

/* Bits of the word: it stays with the handle whose entry has this number; called for, and below
 * it the list of what was handed over since. */
#define TIDE_DOOR_KEPT (UINT64_C(1) << 62)
#define TIDE_DOOR_CALLED (UINT64_C(1) << 63)

/* Takes it if it is open. */
TIDE_INLINE bool tide_door_try(const struct tide_logmap *map, uint32_t client)
{
    uint64_t open = TIDE_DOOR_OPEN;
    return tide_coh_win(map->coh, &map->session[client].door, &open, TIDE_DOOR_TAKEN);
}

/* Takes it, or hands the slot over: `link` is the slot's. It may have to be called for first. */
enum tide_door_got { TIDE_DOOR_MINE, TIDE_DOOR_HANDED, TIDE_DOOR_STAYS };
TIDE_INLINE enum tide_door_got tide_door_enter(const struct tide_logmap *map, uint32_t client,
                                               uint64_t ref, _Atomic uint64_t *link)
{
    _Atomic uint64_t *door = &map->session[client].door;
    uint64_t seen = TIDE_DOOR_OPEN, next = TIDE_DOOR_TAKEN;
    while (!tide_coh_win(map->coh, door, &seen, next)) {
        next = seen == TIDE_DOOR_OPEN ? TIDE_DOOR_TAKEN : ref | (seen & TIDE_DOOR_CALLED);
        if (seen != TIDE_DOOR_OPEN && map->keeps && (seen & TIDE_DOOR_KEPT) != 0)
            return TIDE_DOOR_STAYS;
        if (seen != TIDE_DOOR_OPEN)
            tide_coh_set(map->coh, link, seen & ~TIDE_DOOR_CALLED);
    }
    return seen == TIDE_DOOR_OPEN ? TIDE_DOOR_MINE : TIDE_DOOR_HANDED;
}

/* Leaves it: 0. Or the list of what was handed over meanwhile, which comes first. */
TIDE_INLINE uint64_t tide_door_leave(const struct tide_logmap *map, uint32_t client)
{
    _Atomic uint64_t *door = &map->session[client].door;
    uint64_t seen = TIDE_DOOR_TAKEN;
    return TIDE_LIKELY(tide_coh_win(map->coh, door, &seen, TIDE_DOOR_OPEN))
               ? 0
               : tide_coh_swap(map->coh, door, TIDE_DOOR_TAKEN);
}

/* Leaves it so that it stays with the handle of this entry; the word to go in and out with, or 0:
 * it does not, and is not left. */
uint64_t tide_door_keep(const struct tide_logmap *map, uint32_t client, uint32_t producer);

/* Who keeps it goes in. False: it is not kept any more; then tide_door_answer. */
TIDE_INLINE bool tide_door_come(const struct tide_logmap *map, uint32_t client, uint64_t kept)
{
    tide_coh_set(map->coh, &map->producer[(uint32_t)kept].inside, 1);
    TIDE_FENCE_SIGNAL();
    return TIDE_LIKELY(tide_coh_get(map->coh, &map->session[client].door) == kept);
}

/* ... and out, the same. */
TIDE_INLINE bool tide_door_go(const struct tide_logmap *map, uint32_t client, uint64_t kept)
{
    tide_coh_set(map->coh, &map->producer[(uint32_t)kept].inside, 0);
    TIDE_FENCE_SIGNAL();
    return TIDE_LIKELY(tide_coh_get(map->coh, &map->session[client].door) == kept);
}

/* Goes out for good: it is open. False: it was called for; then tide_door_answer. */
bool tide_door_part(const struct tide_logmap *map, uint32_t client, uint64_t kept);

/* Calls for a door that somebody keeps; afterwards it is kept no longer. Returns what
 * tide_door_answer does. */
uint64_t tide_door_call(const struct tide_logmap *map, uint32_t client);

/* Takes a door that was called for, and that nobody is behind: returns the list of what was
 * handed over, which may be TIDE_DOOR_TAKEN, an empty one. 0: somebody else took it. */
uint64_t tide_door_answer(const struct tide_logmap *map, uint32_t client);

#endif
