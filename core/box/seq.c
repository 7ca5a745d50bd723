/* seq.c - see seq.h */
#include "box/seq.h"

/* Slots of one pass: they share one step of the counter. */
enum { SEQ_PASS = 64 };

static void seq_drop(const struct tide_logmap *map, uint32_t broker, uint64_t slot)
{
    tide_trim_drop(map, broker, tide_logmap_at(&map->slots, slot));
}

/* Level 5: counts what is there, takes places for all of it at once, fills them in. Nothing
 * of a slot may be read after it got its place: it can be trimmed and reused at once. */
static uint64_t seq_pass(const struct tide_logmap *map, uint32_t broker, uint64_t from,
                         uint64_t most)
{
    const struct tide_layout_slot *seen[SEQ_PASS], *slot;
    uint64_t looked = 0, batches = 0, messages = 0;
    for (; looked < most && batches < SEQ_PASS; looked++) {
        if ((slot = tide_ring_see(map, broker, from + looked)) == NULL)
            break;
        if (slot->flags & TIDE_LAYOUT_PAD) {
            if ((slot->flags & TIDE_LAYOUT_KEPT) == 0)
                seq_drop(map, broker, from + looked);
            continue;
        }
        seen[batches++] = slot;
        messages += slot->count;
    }
    if (batches == 0)
        return looked;
    struct tide_order_place at = tide_order_take(map, batches, messages);
    TIDE_CRASH_POINT(seq_taken);
    for (uint64_t i = 0; i < batches; i++) {
        uint32_t count = seen[i]->count;
        tide_order_fill(map, at, broker, seen[i]);
        at.place++;
        at.base += count;
    }
    return looked;
}

/* Level 4: each slot goes to its client's session. */
static uint64_t seq_submit(const struct tide_logmap *map, uint32_t broker, uint64_t from,
                           uint64_t most)
{
    const struct tide_layout_slot *slot;
    struct tide_order_place at;
    uint64_t looked = 0;
    for (; looked < most && (slot = tide_ring_see(map, broker, from + looked)) != NULL; looked++) {
        enum tide_session_verdict verdict = TIDE_SESSION_REFUSED;
        if ((slot->flags & TIDE_LAYOUT_PAD) == 0)
            verdict = tide_session_submit(map, broker, slot, &at);
        if ((verdict == TIDE_SESSION_LATE || verdict == TIDE_SESSION_REFUSED) &&
            (slot->flags & TIDE_LAYOUT_KEPT) == 0)
            seq_drop(map, broker, from + looked);
    }
    return looked;
}

uint64_t tide_seq_step(const struct tide_logmap *map, uint32_t number, uint64_t most)
{
    struct tide_layout_broker *broker = &map->broker[number];
    uint64_t free = 0;
    if (tide_coh_get(map->coh, &broker->scanner) != 0 ||
        !tide_coh_win(map->coh, &broker->scanner, &free, 1))
        return 0;
    uint64_t from = tide_coh_get(map->coh, &broker->scanned);
    uint64_t looked =
        map->level == 4 ? seq_submit(map, number, from, most) : seq_pass(map, number, from, most);
    TIDE_CRASH_POINT(seq_looked);
    if (looked > 0)
        tide_coh_set(map->coh, &broker->scanned, from + looked);
    TIDE_CRASH_POINT(seq_scanned);
    tide_coh_set(map->coh, &broker->scanner, 0);
    return looked;
}

bool tide_seq_waits_at(const struct tide_logmap *map, uint32_t number)
{
    uint64_t scanned = tide_coh_get(map->coh, &map->broker[number].scanned);
    return tide_ring_see(map, number, scanned) != NULL;
}

bool tide_seq_waits(const struct tide_logmap *map)
{
    for (uint32_t i = 0; i < map->brokers; i++)
        if (tide_seq_waits_at(map, i))
            return true;
    return false;
}
