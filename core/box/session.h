/*
 * session.h - order level 4: each client's batches once, and in the client's order.
 *
 * owns:      the session table but its doors, holds
 * threads:   any; one at a time gives places to the batches of one client
 * invariant: batches below session.expected have places, in order; a held batch has a number
 *            in (expected, expected + window); whoever finds the door taken hands its slot
 *            over and leaves: the holder gives it a place, or drops it, before it leaves
 * uses:      door, order, trim
 * used by:   broker, seq, logapi
 * not here:  numbering (broker)
 * test:      tests/test_session.c
 *
 * The door covers both questions, "is this the next batch of its client?" and "which place
 * is next?". Taking a place before winning the client would leave holes, winning before
 * taking would turn the order round.
 *
 * The mutex form asks both under one mutex for all clients.
 */
#ifndef TIDE_BOX_SESSION_H
#define TIDE_BOX_SESSION_H

#include "box/door.h"
#include "box/trim.h"

enum tide_session_verdict {
    TIDE_SESSION_PLACED, /* it has its place */
    TIDE_SESSION_HELD,   /* it waits for batches before it, or for whoever holds the door */
    TIDE_SESSION_LATE,   /* its number was placed, or is held, already */
    TIDE_SESSION_REFUSED /* its session was reopened, or it is too early */
};

/* What became of a published slot; *at is its place when that is TIDE_SESSION_PLACED. One that
 * is late or refused is the caller's to drop (tide_trim_drop). */
enum tide_session_verdict tide_session_submit(const struct tide_logmap *map, uint32_t broker,
                                              const struct tide_layout_slot *slot,
                                              struct tide_order_place *at);

/* A door that stays with a handle between its batches (see door): of the producer's entry with
 * this number. Returns the word for `kept` below, or 0: it stays with nobody. */
uint64_t tide_session_keep(const struct tide_logmap *map, uint32_t client, uint32_t producer);
void tide_session_part(const struct tide_logmap *map, uint32_t client, uint64_t *kept);

/* As tide_session_submit in two steps: the door first, for who is about to publish a slot of its
 * own. False: somebody has it, or there is none (the mutex form). `kept`: not 0, if it stays with
 * the handle; becomes 0 when it does not any more. */
TIDE_INLINE bool tide_session_try(const struct tide_logmap *map, uint32_t client, uint64_t *kept)
{
    if (TIDE_LIKELY(*kept != 0)) {
        if (tide_door_come(map, client, *kept))
            return true;
        tide_session_part(map, client, kept);
    }
    return !map->mutex && client < map->sessions && tide_door_try(map, client);
}
enum tide_session_verdict tide_session_submit_in(const struct tide_logmap *map, uint32_t client,
                                                 uint64_t kept, uint32_t broker,
                                                 const struct tide_layout_slot *slot,
                                                 struct tide_order_place *at);

/* Opens a client's session anew: what was held is dropped, earlier epochs are refused.
 * *expected is the number of its next batch. Returns the new epoch, or 0: try again. */
uint32_t tide_session_open(const struct tide_logmap *map, uint32_t client, uint64_t *expected);

/* The number of its next batch; all below have places. */
uint64_t tide_session_expected(const struct tide_logmap *map, uint32_t client);

/* How far a batch may be ahead of its turn when its slot is claimed: less than this. The window,
 * but no more than a ring keeps for those that are waited for: all of them may come by the ring
 * where the early one is, and its slot and those behind it are not released before they came. */
uint64_t tide_session_ahead(const struct tide_logmap *map);

/* How much of a ring the client's batch `number` may fill; `follows`: the batch before it was
 * sent by the same hand, so it is not what others wait for. A batch that others wait for finds
 * room where the rest finds none: slots of held batches are not released before it came. (Many
 * clients with gaps at once, batches that are large against the ring, or awaited claims that are
 * aborted, can still fill the rings with batches that wait; opening such a session anew frees
 * them.) */
enum tide_ring_share tide_session_share(const struct tide_logmap *map, uint32_t client,
                                        uint64_t number, bool follows);

/* Ends the session of a client of which a process ended, or was expelled: what waits for batches
 * before it is dropped. Nobody else is at work on the log. */
void tide_session_fence(const struct tide_logmap *map, uint32_t client);

/* The same while others are at work, if batches wait for this one of that epoch all the same.
 * False: they do not, or somebody gives places just now. */
bool tide_session_expire(const struct tide_logmap *map, uint32_t client, uint32_t epoch,
                         uint64_t expected);

/* Batches wait for one before them. */
TIDE_INLINE bool tide_session_waits(const struct tide_logmap *map, uint32_t client)
{
    const struct tide_layout_session *session = &map->session[client];
    return atomic_load_explicit(&session->held, memory_order_relaxed) != 0 &&
           atomic_load_explicit(&session->state, memory_order_relaxed) == TIDE_LAYOUT_ACTIVE;
}

/* Batches of this epoch are taken. */
TIDE_INLINE bool tide_session_is_current(const struct tide_logmap *map, uint32_t client,
                                         uint32_t epoch)
{
    const struct tide_layout_session *session = &map->session[client];
    return (uint32_t)tide_coh_get(map->coh, &session->epoch) == epoch &&
           tide_coh_get(map->coh, &session->state) == TIDE_LAYOUT_ACTIVE;
}

/* It is this batch's turn, and nothing waits for it: the common case, looked at without a call. */
TIDE_INLINE bool tide_session_is_next(const struct tide_logmap *map, uint32_t client,
                                      uint64_t number)
{
    const struct tide_layout_session *session = &map->session[client];
    return client < map->sessions && tide_coh_get(map->coh, &session->expected) == number &&
           tide_coh_get(map->coh, &session->held) == 0;
}

/* Its epoch; 0: it was never open. */
uint32_t tide_session_epoch(const struct tide_logmap *map, uint32_t client);

#endif
