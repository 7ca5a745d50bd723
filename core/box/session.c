/* session.c - see session.h */
#include "box/session.h"

#include "box/park.h"

enum { SESSION_NAP = 100000000 /* ns */ };

/* Only whoever holds the door writes these words. */
static void session_add(const struct tide_logmap *map, _Atomic uint64_t *word, uint64_t more)
{
    tide_coh_set(map->coh, word, atomic_load_explicit(word, memory_order_relaxed) + more);
}

static void session_count_contention(const struct tide_logmap *map)
{
    tide_coh_add(map->coh, &map->head->contention, 1);
}

/* Does the word name a slot? The words are in the log's memory, and may say anything. */
static bool session_is_ref(const struct tide_logmap *map, uint64_t ref)
{
    return (ref >> 32) - 1 < map->brokers && (uint32_t)ref < map->slots.size;
}

static uint32_t session_broker(uint64_t ref)
{
    return (uint32_t)(ref >> 32) - 1;
}

static uint64_t session_where(const struct tide_logmap *map, uint64_t ref)
{
    return ((ref >> 32) - 1) * map->slots.size + (uint32_t)ref;
}

/* A copy of what an entry has of the slot, if it is one of this client. */
TIDE_INLINE bool session_see(const struct tide_logmap *map, uint32_t client, uint64_t ref,
                             struct tide_layout_slot *slot)
{
    if (TIDE_UNLIKELY(!session_is_ref(map, ref)))
        return false;
    const struct tide_layout_slot *at = &map->slot[session_where(map, ref)];
    slot->client = TIDE_RELAXED_GET(&at->client);
    slot->epoch = TIDE_RELAXED_GET(&at->epoch);
    slot->number = TIDE_RELAXED_GET(&at->number);
    slot->index = TIDE_RELAXED_GET(&at->index);
    slot->count = TIDE_RELAXED_GET(&at->count);
    slot->flags = TIDE_RELAXED_GET(&at->flags);
    slot->offset = TIDE_RELAXED_GET(&at->offset);
    slot->size = TIDE_RELAXED_GET(&at->size);
    slot->checksum = TIDE_RELAXED_GET(&at->checksum);
    return slot->client == client;
}

static void session_drop(const struct tide_logmap *map, uint64_t ref)
{
    if (session_is_ref(map, ref))
        tide_trim_drop(map, session_broker(ref), (uint32_t)ref);
}

static struct tide_layout_hold *session_hold(const struct tide_logmap *map, uint32_t client,
                                             uint64_t number)
{
    return &map->hold[(uint64_t)client * map->window + number % map->window];
}

/* --- behind the door ------------------------------------------------------------- */

/* Gives the next batch of its client its place. It is said before which one that is: who puts
 * the log in order after a crash can tell whether it got it. */
TIDE_INLINE struct tide_order_place session_place(const struct tide_logmap *map, uint32_t client,
                                                  uint32_t broker,
                                                  const struct tide_layout_slot *slot)
{
    struct tide_layout_session *session = &map->session[client];
    uint64_t number = slot->number;
    tide_coh_set(map->coh, &session->placing_at, tide_layout_mark(broker, slot->index));
    TIDE_CRASH_POINT(session_named);
    tide_coh_set(map->coh, &session->placing, number + 1);
    TIDE_CRASH_POINT(session_placing);
    struct tide_order_place at = tide_order_commit(map, broker, slot);
    TIDE_CRASH_POINT(session_placed);
    tide_coh_set(map->coh, &session->expected, number + 1);
    TIDE_CRASH_POINT(session_expected);
    return at;
}

/* Batches that waited for the one that was just placed. */
TIDE_NOINLINE static void session_place_held(const struct tide_logmap *map, uint32_t client)
{
    struct tide_layout_session *session = &map->session[client];
    struct tide_layout_slot slot;
    for (uint32_t i = 0; i < map->window; i++) {
        uint64_t number = atomic_load_explicit(&session->expected, memory_order_relaxed);
        struct tide_layout_hold *hold = session_hold(map, client, number), held;
        tide_layout_words(&held, hold, sizeof held);
        if (held.number != number + 1)
            return;
        hold->number = 0;
        TIDE_CRASH_POINT(session_unheld);
        bool good = session_see(map, client, held.ref, &slot) && slot.number == number;
        if (good)
            session_place(map, client, session_broker(held.ref), &slot);
        session_add(map, &session->held, UINT64_MAX);
        if (!good)
            return;
    }
}

static enum tide_session_verdict session_late(const struct tide_logmap *map,
                                              struct tide_layout_session *session)
{
    session_add(map, &session->late, 1);
    return TIDE_SESSION_LATE;
}

TIDE_INLINE enum tide_session_verdict session_judge(const struct tide_logmap *map, uint32_t client,
                                                    uint64_t ref, struct tide_order_place *at)
{
    struct tide_layout_session *session = &map->session[client];
    struct tide_layout_slot slot;
    if (!session_see(map, client, ref, &slot))
        return TIDE_SESSION_REFUSED;
    uint64_t number = slot.number,
             expected = atomic_load_explicit(&session->expected, memory_order_relaxed);
    if (slot.epoch != atomic_load_explicit(&session->epoch, memory_order_relaxed) ||
        atomic_load_explicit(&session->state, memory_order_relaxed) != TIDE_LAYOUT_ACTIVE ||
        (number > expected && number - expected >= map->window)) {
        session_add(map, &session->refused, 1);
        return TIDE_SESSION_REFUSED;
    }
    if (number < expected)
        return session_late(map, session);
    if (number == expected) {
        *at = session_place(map, client, session_broker(ref), &slot);
        if (TIDE_UNLIKELY(atomic_load_explicit(&session->held, memory_order_relaxed) != 0))
            session_place_held(map, client);
        return TIDE_SESSION_PLACED;
    }
    struct tide_layout_hold *hold = session_hold(map, client, number);
    if (hold->number == number + 1)
        return session_late(map, session);
    *hold = (struct tide_layout_hold){number + 1, ref};
    TIDE_CRASH_POINT(session_held);
    session_add(map, &session->held, 1);
    return TIDE_SESSION_HELD;
}

/* --- the door --------------------------------------------------------------------- */

/* Judges a list that was handed over; it begins with the youngest, so it is turned first. It ends
 * where a word names no slot, and no list has more members than there are slots. */
TIDE_NOINLINE static void session_judge_list(const struct tide_logmap *map, uint32_t client,
                                             uint64_t ref)
{
    uint64_t turned = TIDE_DOOR_TAKEN, count = 0, most = map->brokers * map->slots.size;
    struct tide_order_place at;
    for (; session_is_ref(map, ref) && count < most; count++) {
        _Atomic uint64_t *link = &map->link[session_where(map, ref)];
        uint64_t next = atomic_load_explicit(link, memory_order_relaxed);
        atomic_store_explicit(link, turned, memory_order_relaxed);
        turned = ref;
        ref = next;
    }
    for (; session_is_ref(map, turned) && count > 0; count--) {
        ref = turned;
        turned = atomic_load_explicit(&map->link[session_where(map, ref)], memory_order_relaxed);
        enum tide_session_verdict verdict = session_judge(map, client, ref, &at);
        if (verdict == TIDE_SESSION_LATE || verdict == TIDE_SESSION_REFUSED)
            session_drop(map, ref);
    }
}

TIDE_INLINE void session_leave(const struct tide_logmap *map, uint32_t client)
{
    uint64_t list;
    while (TIDE_UNLIKELY((list = tide_door_leave(map, client)) != 0))
        session_judge_list(map, client, list);
}

/* What was handed over to a door that was called for; 0: nothing is to be done. */
static void session_answer(const struct tide_logmap *map, uint32_t client, uint64_t list)
{
    if (list == 0)
        return;
    session_judge_list(map, client, list);
    session_leave(map, client);
}

/* Others may want it, too: it stays with nobody any more. */
TIDE_NOINLINE static void session_call(const struct tide_logmap *map, uint32_t client)
{
    session_answer(map, client, tide_door_call(map, client));
}

/* Takes the door, or leaves the slot with whoever has it. */
TIDE_INLINE bool session_enter(const struct tide_logmap *map, uint32_t client, uint64_t ref)
{
    _Atomic uint64_t *link = &map->link[session_where(map, ref)];
    enum tide_door_got got;
    while (TIDE_UNLIKELY((got = tide_door_enter(map, client, ref, link)) == TIDE_DOOR_STAYS))
        session_call(map, client);
    if (got == TIDE_DOOR_MINE)
        return true;
    TIDE_CRASH_POINT(session_handed);
    session_count_contention(map);
    return false;
}

/* Out of the door that stays with the handle. */
TIDE_INLINE void session_go(const struct tide_logmap *map, uint32_t client, uint64_t kept)
{
    if (TIDE_UNLIKELY(!tide_door_go(map, client, kept)))
        session_answer(map, client, tide_door_answer(map, client));
}

uint64_t tide_session_keep(const struct tide_logmap *map, uint32_t client, uint32_t producer)
{
    if (!map->keeps || map->mutex || !tide_door_try(map, client))
        return 0;
    uint64_t kept = tide_door_keep(map, client, producer);
    if (kept == 0)
        session_leave(map, client);
    return kept;
}

TIDE_NOINLINE void tide_session_part(const struct tide_logmap *map, uint32_t client, uint64_t *kept)
{
    if (!tide_door_part(map, client, *kept))
        session_answer(map, client, tide_door_answer(map, client));
    *kept = 0;
}

/* --- the mutex form ---------------------------------------------------------------- */

/* False: somebody has it for longer than anybody needs it. */
static bool session_lock(const struct tide_logmap *map)
{
    struct tide_lock *lock = &map->head->mutex;
    uint64_t end = 0;
    if (tide_lock_try(lock))
        return true;
    session_count_contention(map);
    while (tide_coh_hooked())
        if (tide_lock_try(lock))
            return true;
    while (atomic_exchange_explicit(&lock->word, 2, memory_order_acquire) != 0) {
        if (!tide_trim_wait(&end))
            return false;
        tide_park_sleep(&lock->word, 2, SESSION_NAP, false);
    }
    return true;
}

static void session_unlock(const struct tide_logmap *map)
{
    tide_lock_drop_own(&map->head->mutex);
}

/* --- for everybody ----------------------------------------------------------------- */

static uint64_t session_ref(const struct tide_logmap *map, uint32_t broker,
                            const struct tide_layout_slot *slot)
{
    return tide_layout_ref(broker, tide_logmap_at(&map->slots, (uint64_t)(slot - map->slot)));
}

TIDE_NOINLINE enum tide_session_verdict tide_session_submit(const struct tide_logmap *map,
                                                            uint32_t broker,
                                                            const struct tide_layout_slot *slot,
                                                            struct tide_order_place *at)
{
    enum tide_session_verdict verdict;
    uint64_t ref = session_ref(map, broker, slot);
    uint32_t client = TIDE_RELAXED_GET(&slot->client);
    if (client >= map->sessions)
        return TIDE_SESSION_REFUSED;
    if (map->mutex) {
        if (!session_lock(map))
            return TIDE_SESSION_REFUSED;
        verdict = session_judge(map, client, ref, at);
        session_unlock(map);
        return verdict;
    }
    if (!session_enter(map, client, ref))
        return TIDE_SESSION_HELD;
    verdict = session_judge(map, client, ref, at);
    session_leave(map, client);
    return verdict;
}

/* The same out of line. */
TIDE_NOINLINE static enum tide_session_verdict session_judge_own(
    const struct tide_logmap *map, uint32_t client, uint32_t broker,
    const struct tide_layout_slot *slot, struct tide_order_place *at)
{
    return session_judge(map, client, session_ref(map, broker, slot), at);
}

/* The door is the caller's, and so is the slot: nobody changes it but who breaks the rules. */
TIDE_INTO enum tide_session_verdict tide_session_submit_in(const struct tide_logmap *map,
                                                           uint32_t client, uint64_t kept,
                                                           uint32_t broker,
                                                           const struct tide_layout_slot *slot,
                                                           struct tide_order_place *at)
{
    enum tide_session_verdict verdict = TIDE_SESSION_PLACED;
    if (TIDE_LIKELY(tide_session_is_next(map, client, slot->number) &&
                    tide_session_is_current(map, client, slot->epoch)))
        *at = session_place(map, client, broker, slot);
    else
        verdict = session_judge_own(map, client, broker, slot, at);
    if (TIDE_LIKELY(kept != 0))
        session_go(map, client, kept);
    else
        session_leave(map, client);
    return verdict;
}

/* Drops what waits. */
static void session_drop_held(const struct tide_logmap *map, uint32_t client)
{
    for (uint32_t i = 0; i < map->window; i++) {
        struct tide_layout_hold *hold = &map->hold[(uint64_t)client * map->window + i], held;
        tide_layout_words(&held, hold, sizeof held);
        if (held.number != 0)
            session_drop(map, held.ref);
        hold->number = 0;
    }
    TIDE_CRASH_POINT(session_emptied);
    tide_coh_set(map->coh, &map->session[client].held, 0);
}

/* The end is in sight before anything is dropped: who sees a batch gone finds out why. */
void tide_session_fence(const struct tide_logmap *map, uint32_t client)
{
    tide_coh_set(map->coh, &map->session[client].state, TIDE_LAYOUT_FENCED);
    session_drop_held(map, client);
}

/* The new epoch is there before anything is dropped: who sees a batch gone finds out why. */
static uint32_t session_renew(const struct tide_logmap *map, uint32_t client, uint64_t *expected)
{
    struct tide_layout_session *session = &map->session[client];
    uint32_t epoch = (uint32_t)atomic_load_explicit(&session->epoch, memory_order_relaxed) + 1;
    epoch += epoch == 0;
    tide_coh_set(map->coh, &session->epoch, epoch);
    TIDE_CRASH_POINT(session_renewed);
    tide_coh_set(map->coh, &session->state, TIDE_LAYOUT_ACTIVE);
    session_drop_held(map, client);
    *expected = atomic_load_explicit(&session->expected, memory_order_relaxed);
    return epoch;
}

uint32_t tide_session_open(const struct tide_logmap *map, uint32_t client, uint64_t *expected)
{
    uint32_t epoch;
    if (map->mutex) {
        if (!session_lock(map))
            return 0;
        epoch = session_renew(map, client, expected);
        session_unlock(map);
        return epoch;
    }
    session_call(map, client);
    if (!tide_door_try(map, client))
        return 0;
    epoch = session_renew(map, client, expected);
    session_leave(map, client);
    return epoch;
}

static bool session_expire(const struct tide_logmap *map, uint32_t client, uint32_t epoch,
                           uint64_t expected)
{
    bool due = tide_session_waits(map, client) && tide_session_epoch(map, client) == epoch &&
               tide_session_expected(map, client) == expected;
    if (due)
        tide_session_fence(map, client);
    return due;
}

bool tide_session_expire(const struct tide_logmap *map, uint32_t client, uint32_t epoch,
                         uint64_t expected)
{
    bool due;
    if (map->mutex) {
        if (!session_lock(map))
            return false;
        due = session_expire(map, client, epoch, expected);
        session_unlock(map);
        return due;
    }
    session_call(map, client);
    if (!tide_door_try(map, client))
        return false;
    due = session_expire(map, client, epoch, expected);
    session_leave(map, client);
    return due;
}

uint64_t tide_session_expected(const struct tide_logmap *map, uint32_t client)
{
    return tide_coh_get(map->coh, &map->session[client].expected);
}

uint32_t tide_session_epoch(const struct tide_logmap *map, uint32_t client)
{
    return (uint32_t)tide_coh_get(map->coh, &map->session[client].epoch);
}

uint64_t tide_session_ahead(const struct tide_logmap *map)
{
    return tide_min(map->window, tide_ring_kept(map));
}

enum tide_ring_share tide_session_share(const struct tide_logmap *map, uint32_t client,
                                        uint64_t number, bool follows)
{
    if (client >= map->sessions)
        return TIDE_RING_MOST;
    if (number > tide_session_expected(map, client))
        return follows ? TIDE_RING_MOST : TIDE_RING_HALF;
    return tide_coh_get(map->coh, &map->session[client].held) > 0 ? TIDE_RING_ALL : TIDE_RING_MOST;
}
