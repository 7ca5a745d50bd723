/* claims.c - see claims.h */
#include "box/claims.h"

#include "box/door.h"
#include "box/retire.h"
#include "box/seq.h"

static void claims_set(_Atomic uint64_t *word, uint64_t value)
{
    tide_coh_set(TIDE_COH_COHERENT, word, value);
}

static uint64_t claims_get(const _Atomic uint64_t *word)
{
    return tide_coh_get(TIDE_COH_COHERENT, word);
}

enum { CLAIMS_LOOKS = 1 << 17 }; /* places: 8 MiB */

/* --- what a handle left ------------------------------------------------------------------- */

/* What there is to do about the claim of a handle that is gone. */
enum claims_left {
    CLAIMS_NOTHING,
    CLAIMS_PAD,    /* it was not published */
    CLAIMS_DROP,   /* it was, as a pad, which waits for nothing */
    CLAIMS_PLACE,  /* it was, and the handle ended before it gave it a place */
    CLAIMS_UNKNOWN /* nobody can tell from here */
};

/* It ends behind what is released, and not behind what was claimed. */
static bool claims_end_fits(const struct tide_logmap *map, uint32_t broker, uint64_t end)
{
    uint64_t released = claims_get(&map->broker[broker].released_granule);
    return end - released <= map->granules.size &&
           tide_ring_head(map, broker).granule - end <= map->granules.size;
}

static bool claims_is_noted(const struct tide_logmap *map, uint64_t out)
{
    for (uint32_t i = 0; i < map->producers; i++)
        if (claims_get(&map->producer[i].out) == out)
            return true;
    return false;
}

/* In a call, with no claim that is noted: it may have made the one that it wanted, and not noted
 * it yet. Whoever goes on has noted its own. */
static bool claims_is_lost(const struct tide_logmap *map,
                           const struct tide_layout_producer *producer)
{
    uint64_t wanted = claims_get(&producer->claim);
    uint32_t broker = (uint32_t)(wanted >> 32);
    if (broker >= map->brokers)
        return true;
    uint64_t released = claims_get(&map->broker[broker].released_slot);
    uint64_t slot = tide_layout_widen((uint32_t)wanted, released);
    uint64_t claimed = tide_ring_head(map, broker).slot - released;
    if (claimed > map->slots.size)
        return true;
    return slot - released < claimed && tide_ring_see(map, broker, slot) == NULL &&
           !claims_is_noted(map, tide_layout_mark(broker, slot) | TIDE_LAYOUT_OUT);
}

/* Among the last places; of all, when it is settled (see claims_settle). */
static enum claims_left claims_find(const struct tide_logmap *map, uint32_t broker, uint64_t slot,
                                    bool settle)
{
    uint64_t first = claims_get(&map->head->trimmed_place), place = tide_order_head(map).place;
    uint64_t last = place, looks = settle ? UINT64_MAX : CLAIMS_LOOKS;
    if (place - first > map->entries.size || tide_order_frontier(map, UINT64_MAX) != place)
        return CLAIMS_UNKNOWN;
    while (place != first && last - place < looks) {
        const struct tide_layout_entry *entry = tide_logmap_entry(map, --place);
        if (entry->slot == slot && entry->broker == broker)
            return CLAIMS_NOTHING;
    }
    return place == first ? CLAIMS_PLACE : CLAIMS_UNKNOWN;
}

/* Its producer gives the places, and ended in that. */
static enum claims_left claims_judge_order(const struct tide_logmap *map, uint32_t broker,
                                           uint64_t slot, const struct tide_layout_slot *seen,
                                           bool settle)
{
    uint64_t position = tide_logmap_at(&map->slots, slot);
    if ((claims_get(tide_logmap_retired(map, broker, position)) >> position % 64 & 1) != 0)
        return CLAIMS_NOTHING;
    if ((seen->flags & TIDE_LAYOUT_PAD) != 0)
        return CLAIMS_DROP;
    if (map->level == 4 && (seen->client >= map->sessions ||
                            (!settle && claims_get(&map->session[seen->client].held) != 0)))
        return CLAIMS_UNKNOWN;
    return claims_find(map, broker, slot, settle);
}

/* The note of a claim is there from the claim on until nothing is left to do about it. */
static enum claims_left claims_judge(const struct tide_logmap *map,
                                     const struct tide_layout_producer *producer, uint32_t *broker,
                                     uint64_t *slot, bool settle)
{
    uint64_t out = claims_get(&producer->out), released;
    bool inside = claims_get(&producer->busy) != 0;
    if (out == 0)
        return inside && claims_is_lost(map, producer) ? CLAIMS_UNKNOWN : CLAIMS_NOTHING;
    if (!tide_mend_find_out(map, producer, broker, slot))
        return CLAIMS_UNKNOWN;
    released = claims_get(&map->broker[*broker].released_slot);
    uint64_t claimed = tide_ring_head(map, *broker).slot - released;
    if (claimed > map->slots.size || *slot - released >= claimed)
        return CLAIMS_UNKNOWN;
    const struct tide_layout_slot *seen = tide_ring_see(map, *broker, *slot);
    if (seen == NULL)
        return claims_end_fits(map, *broker, claims_get(&producer->out_end)) ? CLAIMS_PAD
                                                                             : CLAIMS_UNKNOWN;
    if (!inside)
        return CLAIMS_UNKNOWN;
    return map->level == 0 || map->stepped /* others see to it */
               ? CLAIMS_NOTHING
               : claims_judge_order(map, *broker, *slot, seen, settle);
}

/* --- is that all? ------------------------------------------------------------------------- */

static bool claims_is_gone(const struct tide_layout_producer *producer, uint32_t alive)
{
    uint64_t owner = claims_get(&producer->owner);
    return owner != 0 && !tide_layout_is_of(owner, alive);
}

/* No call of those that are gone was at work on the log as a whole, and none of them was
 * expelled, who may have left pads that are to be kept. */
static bool claims_are_members_out(const struct tide_logmap *map, uint32_t alive)
{
    for (uint32_t i = 0; i < TIDE_LAYOUT_MEMBERS; i++) {
        const struct tide_layout_member *member = &map->head->member[i];
        if ((alive >> i & 1) == 0 &&
            (claims_get(&member->busy) != 0 || claims_get(&member->standing) != TIDE_LAYOUT_MEMBER))
            return false;
    }
    return true;
}

/* Who dies in front of the door of its session has published nothing: of those that are gone it is
 * the only one in there, and nobody handed anything over. */
static bool claims_is_door_idle(const struct tide_logmap *map, uint32_t client, uint32_t alive)
{
    uint32_t inside = 0, broker;
    uint64_t door = claims_get(&map->session[client].door), slot;
    for (uint32_t i = 0; i < map->producers && door == TIDE_DOOR_TAKEN; i++) {
        const struct tide_layout_producer *producer = &map->producer[i];
        if (!claims_is_gone(producer, alive) || producer->client != client ||
            claims_get(&producer->busy) == 0)
            continue;
        if (claims_judge(map, producer, &broker, &slot, false) != CLAIMS_PAD)
            return false;
        inside++;
    }
    return door == TIDE_DOOR_OPEN || inside == 1;
}

/* Level 0: the slots that were about to be released are. The last one of them, or NULL. */
static const struct tide_layout_slot *claims_released(const struct tide_logmap *map,
                                                      uint32_t broker)
{
    uint64_t released = claims_get(&map->broker[broker].released_slot);
    uint64_t releasing = claims_get(&map->broker[broker].releasing);
    uint64_t claimed = tide_ring_head(map, broker).slot;
    if (releasing == released || claimed - released > map->slots.size ||
        releasing - released > claimed - released)
        return NULL;
    const struct tide_layout_slot *last = tide_ring_see(map, broker, releasing - 1);
    return last != NULL && claims_end_fits(map, broker, last->end) ? last : NULL;
}

/* Level 0: nothing was about to be released, or no block is among it that has to go home. */
static bool claims_is_easy_to_release(const struct tide_logmap *map, uint32_t broker)
{
    return claims_get(&map->broker[broker].releasing) ==
               claims_get(&map->broker[broker].released_slot) ||
           (!tide_retire_is_used(map) && claims_released(map, broker) != NULL);
}

/* What those that are gone held is nothing, or what is easily put right. */
static bool claims_are_locks_simple(const struct tide_logmap *map, uint32_t alive)
{
    bool simple = atomic_load(&map->head->mutex.word) == 0 &&
                  (map->level == 0 || claims_get(&map->head->trimmer) == 0);
    for (uint32_t i = 0; i < map->brokers && simple; i++) {
        const struct tide_layout_broker *broker = &map->broker[i];
        simple = claims_get(&broker->scanner) == 0 && claims_get(&broker->retiring) == 0 &&
                 (map->level != 0 || claims_is_easy_to_release(map, i));
    }
    for (uint32_t i = 0; i < map->sessions && simple; i++)
        simple = claims_is_door_idle(map, i, alive);
    return simple;
}

/* Claims are all that is not in order. */
static bool claims_are_all(const struct tide_logmap *map, const struct tide_mend_crew *crew)
{
    uint32_t broker;
    uint64_t slot;
    if (crew->kept != 0 || !claims_are_members_out(map, crew->alive) ||
        !claims_are_locks_simple(map, crew->alive))
        return false;
    for (uint32_t i = 0; i < map->producers; i++)
        if (claims_is_gone(&map->producer[i], crew->alive) &&
            claims_judge(map, &map->producer[i], &broker, &slot, false) == CLAIMS_UNKNOWN)
            return false;
    /* Nobody is left who gave places: from where it is known to be, the order has no hole. */
    return crew->alive != 0 || map->level == 0 ||
           tide_order_frontier(map, UINT64_MAX) == tide_order_head(map).place;
}

/* --- putting it right --------------------------------------------------------------------- */

/* Where the granules of the claim of this slot begin, which is the last one: behind the batch or
 * the claim before it. False: that is not known. */
static bool claims_begin(const struct tide_logmap *map, uint32_t broker, uint64_t slot,
                         uint64_t *granule)
{
    const struct tide_layout_broker *at = &map->broker[broker];
    *granule = claims_get(&at->released_granule);
    if (slot == claims_get(&at->released_slot))
        return true;
    const struct tide_layout_slot *before = tide_ring_see(map, broker, slot - 1);
    uint64_t mark = tide_layout_mark(broker, slot - 1) | TIDE_LAYOUT_OUT;
    bool known = before != NULL;
    if (known)
        *granule = before->end;
    for (uint32_t i = 0; i < map->producers && !known; i++)
        if ((known = claims_get(&map->producer[i].out) == mark))
            *granule = claims_get(&map->producer[i].out_end);
    return known && claims_end_fits(map, broker, *granule);
}

/* The last claim of its ring is taken back, as if it had not been made. */
static bool claims_cut(const struct tide_logmap *map, const struct tide_layout_producer *producer)
{
    uint32_t broker;
    uint64_t slot, granule;
    if (!tide_mend_find_out(map, producer, &broker, &slot) ||
        slot + 1 != tide_ring_head(map, broker).slot || tide_ring_see(map, broker, slot) != NULL ||
        !claims_begin(map, broker, slot, &granule))
        return false;
    claims_set(&map->broker[broker].claim, slot << 32 | (uint32_t)granule);
    TIDE_CRASH_POINT(claims_cut);
    return true;
}

static void claims_place(const struct tide_logmap *map, uint32_t broker, uint64_t slot,
                         struct tide_mend_report *report)
{
    const struct tide_layout_slot *seen = tide_logmap_slot(map, broker, slot);
    enum tide_session_verdict verdict = TIDE_SESSION_PLACED;
    struct tide_order_place at;
    if (map->level == 4)
        verdict = tide_session_submit(map, broker, seen, &at);
    else
        tide_order_commit(map, broker, seen);
    bool dropped = verdict == TIDE_SESSION_LATE || verdict == TIDE_SESSION_REFUSED;
    if (dropped)
        tide_trim_drop(map, broker, tide_logmap_at(&map->slots, slot));
    report->fenced += dropped;
    report->placed += verdict == TIDE_SESSION_PLACED;
}

/* As its producer would have done it that aborts the claim, or goes on. That it is known what to do
 * was found out before; the claims that were settled since have given places, and may have made
 * their sessions wait for numbers, which changes nothing about this one. */
static void claims_settle(const struct tide_logmap *map, struct tide_layout_producer *producer,
                          struct tide_mend_report *report)
{
    uint32_t broker;
    uint64_t slot;
    enum claims_left left = claims_judge(map, producer, &broker, &slot, true);
    if (left == CLAIMS_PAD) {
        tide_mend_pad(map, broker, slot, claims_get(&producer->out_end), 0);
        report->padded++;
    }
    if (left == CLAIMS_PLACE)
        claims_place(map, broker, slot, report);
    if ((left == CLAIMS_PAD || left == CLAIMS_DROP) && map->level != 0 && !map->stepped)
        tide_trim_drop(map, broker, tide_logmap_at(&map->slots, slot));
}

/* Those at the end of a ring first, of which there may be several. */
static void claims_settle_all(const struct tide_logmap *map, uint32_t alive,
                              struct tide_mend_report *report)
{
    uint64_t cut = 1; /* no more often than there are claims, whoever writes to them meanwhile */
    for (uint32_t left = map->producers; cut != 0 && left > 0; left--) {
        cut = 0;
        for (uint32_t i = 0; i < map->producers; i++)
            if (claims_is_gone(&map->producer[i], alive) && claims_cut(map, &map->producer[i])) {
                claims_set(&map->producer[i].out, 0);
                cut++;
            }
        report->padded += cut;
    }
    for (uint32_t i = 0; i < map->producers; i++)
        if (claims_is_gone(&map->producer[i], alive))
            claims_settle(map, &map->producer[i], report);
}

static void claims_open_locks(const struct tide_logmap *map, uint32_t alive)
{
    tide_mend_head(map, alive);
    for (uint32_t i = 0; i < map->brokers && map->level == 0; i++) {
        const struct tide_layout_slot *last = claims_released(map, i);
        struct tide_layout_broker *broker = &map->broker[i];
        if (last == NULL)
            continue;
        claims_set(&broker->released_granule, last->end);
        claims_set(&broker->released_slot, claims_get(&broker->releasing));
    }
    for (uint32_t i = 0; i < map->sessions; i++)
        if (claims_get(&map->session[i].door) != 0)
            claims_set(&map->session[i].door, TIDE_DOOR_OPEN);
}

/* A step may stop before it is through. */
static void claims_step(const struct tide_logmap *map, uint32_t broker)
{
    uint64_t done = 1;
    for (uint64_t left = map->slots.size; left > 0 && done > 0; left -= tide_min(left, done))
        done = tide_seq_step(map, broker, left);
}

bool tide_claims_mend(const struct tide_logmap *map, const struct tide_mend_crew *crew,
                      struct tide_mend_report *report)
{
    *report = (struct tide_mend_report){0, 0, 0, 0, 0};
    if (!claims_are_all(map, crew))
        return false;
    claims_set(&map->head->epoch, claims_get(&map->head->epoch) + 1);
    TIDE_CRASH_POINT(claims_begun);
    claims_open_locks(map, crew->alive);
    claims_settle_all(map, crew->alive, report);
    /* What is in the log for the sequencer: before their sessions are fenced, and for a while it
     * may be that nobody polls. */
    for (uint32_t i = 0; i < map->brokers && map->level != 0 && map->stepped; i++)
        claims_step(map, i);
    TIDE_CRASH_POINT(claims_settled);
    tide_mend_producers(map, crew, crew->alive != 0);
    tide_mend_readers(map, crew);
    return true;
}
