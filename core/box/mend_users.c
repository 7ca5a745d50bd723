/* mend_users.c - what users of a log that are gone left in words of theirs; see mend.h */
#include "box/mend.h"

static void users_set(_Atomic uint64_t *word, uint64_t value)
{
    tide_coh_set(TIDE_COH_COHERENT, word, value);
}

static uint64_t users_get(const _Atomic uint64_t *word)
{
    return tide_coh_get(TIDE_COH_COHERENT, word);
}

void tide_mend_head(const struct tide_logmap *map, uint32_t alive)
{
    struct tide_layout_head *head = map->head;
    uint64_t lender = users_get(&head->lender) - 1;
    users_set(&head->trimmer, 0);
    if (lender >= TIDE_LAYOUT_MEMBERS || (alive >> lender & 1) == 0) {
        /* Blocks on their way home went with their process. */
        users_set(&head->reclaimed, users_get(&head->retired));
        users_set(&head->lender, 0);
    }
    if (alive != 0) /* some of them may sleep now */
        return;
    atomic_store(&head->data.sleepers, 0);
    atomic_store(&head->space.sleepers, 0);
    atomic_store(&head->work.sleepers, 0);
    memset(&head->mutex, 0, sizeof head->mutex);
    memset((void *)head->member, 0, sizeof head->member);
}

void tide_mend_words(const struct tide_logmap *map, uint32_t alive)
{
    tide_mend_head(map, alive);
    for (uint32_t i = 0; i < map->sessions; i++) {
        users_set(&map->session[i].held, 0);
        users_set(&map->session[i].door, 0);
    }
    memset(map->hold, 0, (size_t)map->sessions * map->window * sizeof *map->hold);
}

bool tide_mend_is_due(const struct tide_logmap *map)
{
    uint64_t taken = users_get(&map->head->trimmer) | atomic_load(&map->head->mutex.word);
    for (uint32_t i = 0; i < map->brokers; i++)
        taken |= users_get(&map->broker[i].scanner);
    for (uint32_t i = 0; i < map->sessions; i++)
        taken |= users_get(&map->session[i].door);
    return taken != 0;
}

void tide_mend_producers(const struct tide_logmap *map, const struct tide_mend_crew *crew,
                         bool fences)
{
    for (uint32_t i = 0; i < map->producers; i++) {
        struct tide_layout_producer *producer = &map->producer[i];
        uint64_t owner = users_get(&producer->owner);
        if (owner == 0 || tide_layout_is_of(owner, crew->alive))
            continue;
        if (fences && producer->client < map->sessions &&
            producer->epoch == tide_session_epoch(map, producer->client))
            tide_session_fence(map, producer->client);
        users_set(&producer->out, 0);
        if (tide_layout_is_of(owner, crew->kept))
            continue;
        users_set(&producer->busy, 0);
        users_set(&producer->owner, 0);
    }
}

/* A session whose batch got its place, which was trimmed at once, and that was not told yet. */
static void users_session(const struct tide_logmap *map, uint32_t client)
{
    struct tide_layout_session *session = &map->session[client];
    uint64_t expected = users_get(&session->expected), mark = users_get(&session->placing_at);
    uint32_t broker = (uint32_t)(mark >> 48);
    if (users_get(&session->placing) != expected + 1 || broker >= map->brokers)
        return;
    uint64_t released = users_get(&map->broker[broker].released_slot);
    int64_t above = tide_layout_above(mark, released);
    uint64_t position = tide_logmap_at(&map->slots, released + (uint64_t)above);
    if (above < 0 ||
        (users_get(tide_logmap_retired(map, broker, position)) >> position % 64 & 1) != 0)
        users_set(&session->expected, expected + 1);
}

void tide_mend_sessions(const struct tide_logmap *map)
{
    for (uint32_t i = 0; i < map->sessions; i++)
        users_session(map, i);
}

void tide_mend_readers(const struct tide_logmap *map, const struct tide_mend_crew *crew)
{
    for (uint32_t i = 0; i < map->readers; i++) {
        struct tide_layout_reader *reader = &map->reader[i];
        uint64_t owner = users_get(&reader->owner);
        if (owner == 0 || tide_layout_is_of(owner, crew->alive))
            continue;
        if (tide_layout_is_of(owner, crew->kept)) {
            users_set(&reader->fate, 1);
            continue;
        }
        users_set(&reader->busy, 0);
        users_set(&reader->owner, 0);
    }
}

/* --- claims ------------------------------------------------------------------------ */

bool tide_mend_find_out(const struct tide_logmap *map, const struct tide_layout_producer *producer,
                        uint32_t *broker, uint64_t *slot)
{
    uint64_t out = users_get(&producer->out), mark = out & ~TIDE_LAYOUT_OUT;
    *broker = (uint32_t)(mark >> 48);
    if (out == 0 || *broker >= map->brokers)
        return false;
    uint64_t released = users_get(&map->broker[*broker].released_slot);
    int64_t above = tide_layout_above(mark, released);
    *slot = released + (uint64_t)above;
    return above >= 0 && (uint64_t)above < map->slots.size;
}

void tide_mend_pad(const struct tide_logmap *map, uint32_t broker, uint64_t index, uint64_t end,
                   uint64_t keeper)
{
    struct tide_layout_slot *slot = tide_logmap_slot(map, broker, index);
    slot->index = index;
    slot->number = 0;
    slot->client = slot->epoch = slot->count = slot->size = slot->checksum = 0;
    slot->flags = TIDE_LAYOUT_PAD | (keeper != 0 ? TIDE_LAYOUT_KEPT : 0);
    slot->keeper = keeper;
    slot->offset = (uint64_t)(map->payload - map->base);
    slot->end = end;
    users_set(&slot->publish, index);
    TIDE_CRASH_POINT(mend_padded);
}
