/* trim.c - see trim.h */
#include "box/trim.h"

#include "box/clock.h"
#include "box/park.h"
#include "box/retire.h"

enum { TRIM_WORK = 4096, TRIM_PARTS = 16, TRIM_MOMENT = 1000000, TRIM_NAP = 200000 /* ns */ };

#ifndef TIDE_DEBUG
static const
#endif
    uint64_t tide_trim_patience = UINT64_C(10000000000);

bool tide_trim_wait(uint64_t *end)
{
    _Atomic uint32_t dummy = 0;
    uint64_t now = tide_clock_now();
    *end = *end != 0 ? *end : now + tide_trim_patience;
    if (tide_coh_hooked())
        return now < *end; /* one thread plays all: nobody else will run meanwhile */
    if (*end - now + TRIM_MOMENT > tide_trim_patience)
        tide_park_yield();
    else
        tide_park_sleep(&dummy, 0, TRIM_NAP, false); /* whoever has it may not run */
    return now < *end;
}

bool tide_trim_stop(const struct tide_logmap *map)
{
    uint64_t open = 0;
    return tide_coh_get(map->coh, &map->head->trimmer) == 0 &&
           tide_coh_win(map->coh, &map->head->trimmer, &open, 1);
}

void tide_trim_go_on(const struct tide_logmap *map)
{
    tide_coh_set(map->coh, &map->head->trimmer, 0);
}

void tide_trim_drop(const struct tide_logmap *map, uint32_t broker, uint64_t position)
{
    tide_coh_mark(map->coh, tide_logmap_retired(map, broker, position),
                  UINT64_C(1) << position % 64);
    TIDE_CRASH_POINT(trim_dropped);
}

uint64_t tide_trim_earliest(const struct tide_logmap *map, uint32_t broker)
{
    return tide_coh_get(map->coh, map->level == 0 ? &map->broker[broker].released_slot
                                                  : &map->head->trimmed_place);
}

/* --- readers --------------------------------------------------------------------- */

/* Lowers `limit` to the least cursor of those that hold it back; *gated: there is one, or was
 * one that is detached now. */
static uint64_t trim_gate(const struct tide_logmap *map, uint32_t broker, uint64_t limit,
                          bool detach, bool *gated)
{
    *gated = false;
    for (uint32_t i = 0; i < map->readers; i++) {
        struct tide_layout_reader *reader = &map->reader[i];
        if (tide_coh_get(map->coh, &reader->owner) == 0 ||
            tide_coh_get(map->coh, &reader->fate) != 0)
            continue;
        uint64_t policy = tide_coh_get(map->coh, &reader->policy);
        if (policy == TIDE_LAYOUT_SKIP || (map->level == 0 && reader->broker != broker))
            continue;
        uint64_t cursor = tide_coh_get(map->coh, &reader->cursor);
        if (policy == TIDE_LAYOUT_DETACH && detach && cursor < limit) {
            tide_coh_set(map->coh, &reader->fate, 1);
            *gated = true;
            continue;
        }
        *gated = true;
        limit = cursor < limit ? cursor : limit;
    }
    return limit;
}

/* --- slots ----------------------------------------------------------------------- */

static bool trim_is_retired(const struct tide_logmap *map, uint32_t broker, uint64_t slot)
{
    uint64_t position = tide_logmap_at(&map->slots, slot);
    return tide_coh_get(map->coh, tide_logmap_retired(map, broker, position)) >> position % 64 & 1;
}

static void trim_forget(const struct tide_logmap *map, uint32_t broker, uint64_t slot)
{
    uint64_t position = tide_logmap_at(&map->slots, slot);
    tide_coh_clear(map->coh, tide_logmap_retired(map, broker, position),
                   UINT64_C(1) << position % 64);
}

/* Slots below `slot` are free; said first, for whoever has to finish this. Then their blocks
 * can be taken out of the retire ring. */
static void trim_release(const struct tide_logmap *map, uint32_t number, uint64_t slot,
                         const struct tide_retire *ring)
{
    struct tide_layout_broker *broker = &map->broker[number];
    uint64_t end = tide_logmap_slot(map, number, slot - 1)->end;
    tide_coh_set(map->coh, &broker->releasing, slot);
    TIDE_CRASH_POINT(release_said);
    tide_retire_note(map, number, ring);
    tide_coh_set(map->coh, &broker->released_granule, end);
    TIDE_CRASH_POINT(release_granule);
    tide_coh_set(map->coh, &broker->released_slot, slot);
    TIDE_CRASH_POINT(release_slot);
    tide_retire_publish(map, number, ring);
    TIDE_CRASH_POINT(release_done);
}

/* Slots from `known`, the first that is not released, to `next` are trimmed: so are those behind
 * them that were retired before. What they are is noted before their bits go; and those that have
 * to wait get theirs. Returns how many slots became free. What others wrote for `known` may lie
 * before 0, so numbers are told by how far they are from there. */
static uint64_t trim_broker(const struct tide_logmap *map, uint32_t broker, uint64_t known,
                            uint64_t next)
{
    struct tide_retire ring = {0, 0};
    uint64_t slot = next;
    while (slot - known < map->slots.size && trim_is_retired(map, broker, slot))
        slot++;
    slot = tide_retire_put_all(map, broker, known, slot, &ring);
    for (uint64_t held = slot; held - known < next - known; held++)
        tide_trim_drop(map, broker, tide_logmap_at(&map->slots, held));
    if (slot == known)
        return 0;
    if (slot - known > next - known)
        tide_coh_set(map->coh, &map->broker[broker].releasing, slot);
    TIDE_CRASH_POINT(trim_behind);
    while (next - known < slot - known)
        trim_forget(map, broker, next++);
    TIDE_CRASH_POINT(trim_forgotten);
    trim_release(map, broker, slot, &ring);
    return slot - known;
}

/* The first place up to `to` whose block finds no room in the retire ring. */
static uint64_t trim_stop_at(const struct tide_logmap *map, uint64_t from, uint64_t to)
{
    uint64_t room = tide_retire_is_used(map) ? tide_retire_begin(map).room : UINT64_MAX;
    for (uint64_t place = from; room < to - place; place++)
        if ((tide_logmap_entry(map, place)->flags & TIDE_LAYOUT_REF) && room-- == 0)
            return place;
    return to;
}

/* Where the block of this slot is, or NULL. The slot may be released, and written to, while it
 * is looked at; the caller finds that out. */
__attribute__((no_sanitize("thread"))) static const unsigned char *trim_block(
    const struct tide_logmap *map, const struct tide_layout_slot *slot, size_t *bytes)
{
    *bytes = slot->size;
    if ((slot->flags & TIDE_LAYOUT_REF) == 0)
        return NULL;
    return (const unsigned char *)((uintptr_t)map->base + slot->offset); /* perhaps no block */
}

void tide_trim_each_block(const struct tide_logmap *map, tide_trim_visit *visit, void *context)
{
    for (uint32_t i = 0; i < map->brokers; i++) {
        const _Atomic uint64_t *released = &map->broker[i].released_slot;
        uint64_t from = tide_coh_get(map->coh, released);
        for (uint64_t slot = from; slot < from + map->slots.size; slot++) {
            const struct tide_layout_slot *seen = tide_ring_see(map, i, slot);
            size_t bytes = 0;
            const unsigned char *block = seen != NULL ? trim_block(map, seen, &bytes) : NULL;
            tide_coh_copied();
            if (block != NULL && tide_coh_get(map->coh, released) <= slot)
                visit(context, block, bytes);
        }
    }
}

/* For whoever has to know what was there when the entry is gone. */
static void trim_note_session(const struct tide_logmap *map, const struct tide_layout_entry *entry)
{
    if (map->level == 4 && map->checksum && entry->client < map->sessions)
        tide_coh_set(map->coh, &map->session[entry->client].trimmed, entry->number + 1);
}

/* Levels 4 and 5. Places in order; slots of one broker may have theirs in any order. */
static uint64_t trim_places(const struct tide_logmap *map, uint64_t from, uint64_t to)
{
    struct tide_layout_head *head = map->head;
    uint64_t known[TIDE_LAYOUT_BROKERS], next[TIDE_LAYOUT_BROKERS], base = 0, freed;
    struct tide_layout_entry entry;
    for (uint32_t i = 0; i < map->brokers; i++)
        next[i] = known[i] = tide_coh_get(map->coh, &map->broker[i].released_slot);
    to = trim_stop_at(map, from, to);
    for (uint64_t place = from; place < to; place++) {
        if (!tide_order_copy(map, place, &entry)) { /* whatever says that it is committed */
            to = place;
            break;
        }
        base = entry.base + entry.count;
        if (entry.broker >= map->brokers)
            continue;
        trim_note_session(map, &entry);
        if (entry.slot == next[entry.broker])
            next[entry.broker]++;
        else
            tide_trim_drop(map, entry.broker, tide_logmap_at(&map->slots, entry.slot));
    }
    freed = to - from;
    if (to != from) {
        for (uint32_t i = 0; i < map->brokers; i++)
            tide_coh_set(map->coh, &map->broker[i].releasing, next[i]);
        TIDE_CRASH_POINT(trim_said);
        tide_coh_set(map->coh, &head->trimmed_base, base);
        TIDE_CRASH_POINT(trim_base);
        tide_coh_set(map->coh, &head->trimmed_place, to);
        TIDE_CRASH_POINT(trim_place);
    }
    for (uint32_t i = 0; i < map->brokers; i++)
        freed += trim_broker(map, i, known[i], next[i]);
    return freed;
}

/* What trim_by is to mind besides gating readers. */
enum {
    TRIM_DETACH = 1, /* those that may be are detached */
    TRIM_UNREAD = 2  /* where nobody gates, all is unread and stays */
};

static uint64_t trim_ordered(const struct tide_logmap *map, uint64_t limit, unsigned mind,
                             bool *gated)
{
    uint64_t from = tide_trim_earliest(map, 0), most = from + TRIM_WORK;
    uint64_t known = tide_coh_get(map->coh, &map->head->committed);
    limit = limit < most ? limit : most;
    if (limit > known)
        known = tide_order_frontier(map, limit - known);
    limit = trim_gate(map, 0, limit < known ? limit : known, (mind & TRIM_DETACH) != 0, gated);
    if ((mind & TRIM_UNREAD) != 0 && !*gated)
        limit = from;
    return trim_places(map, from, limit > from ? limit : from);
}

/* Level 0: published slots in order. */
static uint64_t trim_slots(const struct tide_logmap *map, uint32_t broker, uint64_t limit,
                           unsigned mind, bool *gated)
{
    struct tide_retire ring = {0, 0};
    const struct tide_layout_slot *slot;
    uint64_t from = tide_trim_earliest(map, broker), to = from;
    limit = limit < from + TRIM_WORK ? limit : from + TRIM_WORK;
    limit = trim_gate(map, broker, limit, (mind & TRIM_DETACH) != 0, gated);
    if ((mind & TRIM_UNREAD) != 0 && !*gated)
        limit = from;
    while (to < limit && (slot = tide_ring_see(map, broker, to)) != NULL &&
           (slot->flags & TIDE_LAYOUT_KEPT) == 0)
        to++;
    to = tide_retire_put_all(map, broker, from, to, &ring);
    if (to > from)
        trim_release(map, broker, to, &ring);
    return to - from;
}

/* With the trimmer held. *gated: some reader gates. */
static uint64_t trim_by(const struct tide_logmap *map, uint32_t broker, uint64_t limit,
                        unsigned mind, bool *gated)
{
    TIDE_CRASH_POINT(trim_holding);
    return map->level == 0 ? trim_slots(map, broker, limit, mind, gated)
                           : trim_ordered(map, limit, mind, gated);
}

uint64_t tide_trim_below(const struct tide_logmap *map, uint32_t broker, uint64_t limit,
                         bool detach)
{
    if (!tide_trim_stop(map))
        return 0;
    bool gated;
    uint64_t freed = trim_by(map, broker, limit, detach ? TRIM_DETACH : 0, &gated);
    tide_trim_go_on(map);
    return freed;
}

bool tide_trim_try(const struct tide_logmap *map, uint32_t broker, uint64_t limit, uint64_t *freed)
{
    bool gated;
    if (!tide_trim_stop(map))
        return false;
    *freed = trim_by(map, broker, limit, 0, &gated);
    tide_trim_go_on(map);
    return true;
}

/* A part of the ring, so that what readers may still want to go back to stays as long as
 * there is room for it. All under one hold of the trimmer: a reader that comes or goes in
 * between must not make unread batches look read, nor one that trims look like a reader in the
 * way. What was dropped is freed in any case. */
TIDE_NOINLINE uint64_t tide_trim_for(const struct tide_logmap *map, uint32_t broker)
{
    uint64_t part = (map->level == 0 ? map->slots.size : map->entries.size) / TRIM_PARTS + 1;
    if (!tide_trim_stop(map))
        return 0;
    if (map->retain == TIDE_LAYOUT_ASKED)
        part = 0;
    uint64_t limit = tide_trim_earliest(map, broker) + part;
    unsigned mind = map->retain == TIDE_LAYOUT_READ ? TRIM_UNREAD : 0;
    bool gated;
    uint64_t freed = trim_by(map, broker, limit, mind, &gated);
    if (freed == 0 && part != 0 && gated && !tide_retire_is_full(map))
        freed = trim_by(map, broker, limit, mind | TRIM_DETACH, &gated);
    tide_trim_go_on(map);
    return freed;
}
