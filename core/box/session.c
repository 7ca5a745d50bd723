/* session.c - see session.h */
#include "box/session.h"

enum { SESSION_OPEN = 0, SESSION_TAKEN = 1 };

/* Only whoever holds the door writes these words. */
static void session_add(const struct tide_logmap *map, _Atomic uint64_t *word, uint64_t more)
{
    tide_coh_set(map->coh, word, atomic_load_explicit(word, memory_order_relaxed) + more);
}

static void session_count_contention(const struct tide_logmap *map)
{
    tide_coh_add(map->coh, &map->head->contention, 1);
}

static const struct tide_layout_slot *session_slot(const struct tide_logmap *map, uint64_t ref)
{
    return &map->slot[((ref >> 32) - 1) * map->slots.size + (uint32_t)ref];
}

static void session_drop(const struct tide_logmap *map, uint64_t ref)
{
    tide_trim_drop(map, (uint32_t)(ref >> 32) - 1, (uint32_t)ref);
}

static struct tide_layout_hold *session_hold(const struct tide_logmap *map, uint32_t client,
                                             uint64_t number)
{
    return &map->hold[(uint64_t)client * map->window + number % map->window];
}

/* --- behind the door ------------------------------------------------------------- */

/* Gives the next batch of its client its place. It is said before which one that is: who puts
 * the log in order after a crash can tell whether it got it. */
static struct tide_order_place session_place(const struct tide_logmap *map, uint64_t ref,
                                             const struct tide_layout_slot *slot)
{
    struct tide_layout_session *session = &map->session[slot->client];
    uint32_t broker = (uint32_t)(ref >> 32) - 1;
    uint64_t number = slot->number;
    tide_coh_set(map->coh, &session->placing_at, tide_layout_mark(broker, slot->index));
    tide_coh_set(map->coh, &session->placing, number + 1);
    struct tide_order_place at = tide_order_commit(map, broker, slot);
    tide_coh_set(map->coh, &session->expected, number + 1);
    return at;
}

/* Batches that waited for the one that was just placed. */
static void session_place_held(const struct tide_logmap *map, uint32_t client)
{
    struct tide_layout_session *session = &map->session[client];
    for (;;) {
        uint64_t number = atomic_load_explicit(&session->expected, memory_order_relaxed);
        struct tide_layout_hold *hold = session_hold(map, client, number);
        if (hold->number != number + 1)
            return;
        hold->number = 0;
        session_place(map, hold->ref, session_slot(map, hold->ref));
        session_add(map, &session->held, UINT64_MAX);
    }
}

static enum tide_session_verdict session_late(const struct tide_logmap *map,
                                              struct tide_layout_session *session)
{
    session_add(map, &session->late, 1);
    return TIDE_SESSION_LATE;
}

static enum tide_session_verdict session_judge(const struct tide_logmap *map, uint64_t ref,
                                               struct tide_order_place *at)
{
    const struct tide_layout_slot *slot = session_slot(map, ref);
    uint32_t client = slot->client;
    struct tide_layout_session *session = &map->session[client];
    uint64_t number = slot->number,
             expected = atomic_load_explicit(&session->expected, memory_order_relaxed);
    if (slot->epoch != atomic_load_explicit(&session->epoch, memory_order_relaxed) ||
        atomic_load_explicit(&session->state, memory_order_relaxed) != TIDE_LAYOUT_ACTIVE ||
        (number > expected && number - expected >= map->window)) {
        session_add(map, &session->refused, 1);
        return TIDE_SESSION_REFUSED;
    }
    if (number < expected)
        return session_late(map, session);
    if (number == expected) {
        *at = session_place(map, ref, slot);
        session_place_held(map, client);
        return TIDE_SESSION_PLACED;
    }
    struct tide_layout_hold *hold = session_hold(map, client, number);
    if (hold->number == number + 1)
        return session_late(map, session);
    *hold = (struct tide_layout_hold){number + 1, ref};
    session_add(map, &session->held, 1);
    return TIDE_SESSION_HELD;
}

/* --- the door --------------------------------------------------------------------- */

/* Takes the door, or leaves the slot with whoever has it. */
static bool session_enter(const struct tide_logmap *map, struct tide_layout_session *session,
                          uint64_t ref)
{
    uint64_t seen = SESSION_OPEN, position = (uint32_t)ref;
    _Atomic uint64_t *link = &map->link[((ref >> 32) - 1) * map->slots.size + position];
    while (
        !tide_coh_win(map->coh, &session->door, &seen, seen == SESSION_OPEN ? SESSION_TAKEN : ref))
        if (seen != SESSION_OPEN)
            tide_coh_set(map->coh, link, seen);
    if (seen == SESSION_OPEN)
        return true;
    session_count_contention(map);
    return false;
}

/* Judges a list that was handed over; it begins with the youngest, so it is turned first. */
static void session_judge_list(const struct tide_logmap *map, uint64_t ref)
{
    uint64_t turned = SESSION_TAKEN;
    struct tide_order_place at;
    while (ref != SESSION_TAKEN) {
        _Atomic uint64_t *link = &map->link[((ref >> 32) - 1) * map->slots.size + (uint32_t)ref];
        uint64_t next = atomic_load_explicit(link, memory_order_relaxed);
        atomic_store_explicit(link, turned, memory_order_relaxed);
        turned = ref;
        ref = next;
    }
    while (turned != SESSION_TAKEN) {
        ref = turned;
        uint64_t where = ((ref >> 32) - 1) * map->slots.size + (uint32_t)ref;
        turned = atomic_load_explicit(&map->link[where], memory_order_relaxed);
        enum tide_session_verdict verdict = session_judge(map, ref, &at);
        if (verdict == TIDE_SESSION_LATE || verdict == TIDE_SESSION_REFUSED)
            session_drop(map, ref);
    }
}

static void session_leave(const struct tide_logmap *map, struct tide_layout_session *session)
{
    for (;;) {
        uint64_t seen = SESSION_TAKEN;
        if (tide_coh_win(map->coh, &session->door, &seen, SESSION_OPEN))
            return;
        session_judge_list(map, tide_coh_swap(map->coh, &session->door, SESSION_TAKEN));
    }
}

/* --- the mutex form ---------------------------------------------------------------- */

static void session_lock(const struct tide_logmap *map)
{
    if (tide_lock_try(&map->head->mutex))
        return;
    session_count_contention(map);
    while (tide_coh_hooked())
        if (tide_lock_try(&map->head->mutex))
            return;
    tide_lock_take(&map->head->mutex);
}

static void session_unlock(const struct tide_logmap *map)
{
    tide_lock_drop(&map->head->mutex);
}

/* --- for everybody ----------------------------------------------------------------- */

enum tide_session_verdict tide_session_submit(const struct tide_logmap *map, uint32_t broker,
                                              const struct tide_layout_slot *slot,
                                              struct tide_order_place *at)
{
    enum tide_session_verdict verdict;
    uint64_t ref = tide_layout_ref(broker, tide_logmap_at(&map->slots, slot->index));
    if (slot->client >= map->sessions)
        return TIDE_SESSION_REFUSED;
    struct tide_layout_session *session = &map->session[slot->client];
    if (map->mutex) {
        session_lock(map);
        verdict = session_judge(map, ref, at);
        session_unlock(map);
        return verdict;
    }
    if (!session_enter(map, session, ref))
        return TIDE_SESSION_HELD;
    verdict = session_judge(map, ref, at);
    session_leave(map, session);
    return verdict;
}

/* The new epoch is there before anything is dropped: who sees a batch gone finds out why. */
static uint32_t session_renew(const struct tide_logmap *map, uint32_t client, uint64_t *expected)
{
    struct tide_layout_session *session = &map->session[client];
    uint32_t epoch = (uint32_t)atomic_load_explicit(&session->epoch, memory_order_relaxed) + 1;
    epoch += epoch == 0;
    tide_coh_set(map->coh, &session->epoch, epoch);
    tide_coh_set(map->coh, &session->state, TIDE_LAYOUT_ACTIVE);
    for (uint32_t i = 0; i < map->window; i++) {
        struct tide_layout_hold *hold = &map->hold[(uint64_t)client * map->window + i];
        if (hold->number != 0)
            session_drop(map, hold->ref);
        hold->number = 0;
    }
    tide_coh_set(map->coh, &session->held, 0);
    *expected = atomic_load_explicit(&session->expected, memory_order_relaxed);
    return epoch;
}

uint32_t tide_session_open(const struct tide_logmap *map, uint32_t client, uint64_t *expected)
{
    struct tide_layout_session *session = &map->session[client];
    uint64_t open = SESSION_OPEN;
    uint32_t epoch;
    if (map->mutex) {
        session_lock(map);
        epoch = session_renew(map, client, expected);
        session_unlock(map);
        return epoch;
    }
    if (!tide_coh_win(map->coh, &session->door, &open, SESSION_TAKEN))
        return 0;
    epoch = session_renew(map, client, expected);
    session_leave(map, session);
    return epoch;
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
