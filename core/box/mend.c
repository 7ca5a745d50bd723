/* mend.c - see mend.h */
#include "box/mend.h"

#include "box/mend_slot.h"
#include "box/retire.h"
#include "box/vmem.h"

/* Entries ahead that are asked for; entries whose pages are asked for at once. */
enum { MEND_AHEAD = 16, MEND_PART = 32768 };

/* The slots of a broker that are not released, [from, to). */
struct mend_ring {
    uint64_t from, to;
    uint64_t at;    /* position of `from` */
    uint64_t live;  /* behind the last one that has a place */
    uint64_t ready; /* the first of them that is a claim of somebody who goes on, or `to` */
    uint64_t end;   /* granule behind the last one */
};

struct mend {
    const struct tide_logmap *map;
    struct tide_mend_report *report;
    struct tide_layout_fault *fault;
    const struct tide_mend_crew *crew;
    uint64_t *live; /* a bit per slot: it has a place that is not trimmed */
    uint64_t *out;  /* a bit per slot: a claim of somebody who goes on */
    uint64_t words; /* of either, for each broker */
    size_t bytes;
    uint64_t first, first_at;    /* the first place that is kept, and its position */
    struct tide_order_place end; /* the next place, while they are given */
    bool fences;                 /* sessions of those that do not go on */
    struct mend_ring ring[TIDE_LAYOUT_BROKERS];
};

static void mend_set(_Atomic uint64_t *word, uint64_t value)
{
    tide_coh_set(TIDE_COH_COHERENT, word, value);
}

static uint64_t mend_get(const _Atomic uint64_t *word)
{
    return tide_coh_get(TIDE_COH_COHERENT, word);
}

/* Is it within? If not, that is the fault. */
static bool mend_is(struct mend *self, const char *what, uint64_t value, uint64_t low,
                    uint64_t high)
{
    if (value < low || value > high)
        *self->fault = (struct tide_layout_fault){what, value, low, high};
    return value >= low && value <= high;
}

/* --- slots ------------------------------------------------------------------------------ */

/* Position of a counter in a ring of which one is known. Near that one: without a division. */
static uint64_t mend_at(const struct tide_logmap_ring *ring, uint64_t counter, uint64_t near,
                        uint64_t near_at)
{
    uint64_t above = counter - near, left = ring->size - near_at;
    if (above >= ring->size)
        return tide_logmap_at(ring, counter);
    return above < left ? near_at + above : above - left;
}

static uint64_t mend_slot_at(const struct mend *self, uint32_t broker, uint64_t slot)
{
    return mend_at(&self->map->slots, slot, self->ring[broker].from, self->ring[broker].at);
}

static struct tide_layout_slot *mend_slot_of(const struct mend *self, uint32_t broker,
                                             uint64_t slot)
{
    return &self->map->slot[broker * self->map->slots.size + mend_slot_at(self, broker, slot)];
}

static bool mend_has(const struct mend *self, const uint64_t *bits, uint32_t broker, uint64_t slot)
{
    uint64_t position = mend_slot_at(self, broker, slot);
    return (bits[broker * self->words + position / 64] >> position % 64 & 1) != 0;
}

static void mend_mark(const struct mend *self, uint64_t *bits, uint32_t broker, uint64_t slot)
{
    uint64_t position = mend_slot_at(self, broker, slot);
    bits[broker * self->words + position / 64] |= UINT64_C(1) << position % 64;
}

static bool mend_is_live(const struct mend *self, uint32_t broker, uint64_t slot)
{
    return mend_has(self, self->live, broker, slot);
}

static bool mend_is_out(const struct mend *self, uint32_t broker, uint64_t slot)
{
    return mend_has(self, self->out, broker, slot);
}

static bool mend_is_retired(const struct mend *self, uint32_t broker, uint64_t slot)
{
    const struct tide_logmap *map = self->map;
    uint64_t position = tide_logmap_at(&map->slots, slot);
    return (mend_get(tide_logmap_retired(map, broker, position)) >> position % 64 & 1) != 0;
}

static void mend_set_retired(const struct mend *self, uint32_t broker, uint64_t slot, bool retired)
{
    const struct tide_logmap *map = self->map;
    uint64_t position = tide_logmap_at(&map->slots, slot), bit = UINT64_C(1) << position % 64;
    _Atomic uint64_t *word = tide_logmap_retired(map, broker, position);
    uint64_t was = mend_get(word);
    if (retired != ((was & bit) != 0))
        mend_set(word, was ^ bit);
}

/* The first slot from `slot` on that is not in a row of 64 that are all live, and (judging) not
 * retired, or beyond the ring's end. */
static uint64_t mend_past(const struct mend *self, uint32_t broker, uint64_t slot, uint64_t end,
                          bool judging)
{
    const struct tide_logmap *map = self->map;
    while (end - slot >= 64) {
        uint64_t position = mend_slot_at(self, broker, slot);
        uint64_t live = self->live[broker * self->words + position / 64];
        if (position % 64 != 0 || map->slots.size - position < 64 ||
            (live != UINT64_MAX && !(judging && slot >= self->ring[broker].to)) ||
            (judging && mend_get(tide_logmap_retired(map, broker, position)) != 0))
            break;
        slot += 64;
    }
    return slot;
}

/* --- the order index -------------------------------------------------------------------- */

static struct tide_layout_entry *mend_entry(const struct mend *self, uint64_t place)
{
    return &self->map->index[mend_at(&self->map->entries, place, self->first, self->first_at)];
}

/* The entry of the next place. */
TIDE_INLINE struct tide_layout_entry *mend_behind(const struct mend *self,
                                                  struct tide_layout_entry *entry)
{
    const struct tide_logmap *map = self->map;
    return entry == &map->index[map->entries.size - 1] ? map->index : entry + 1;
}

/* Asks for what comes next: entries, since the processor does not look ahead beyond a page, and
 * their pages many at a time, since each fault costs more than what is on its pages. */
TIDE_INLINE void mend_ask(const struct mend *self, const struct tide_layout_entry *entry,
                          bool first)
{
    const struct tide_logmap *map = self->map;
    uint64_t position = (uint64_t)(entry - map->index);
    __builtin_prefetch(&entry[position + MEND_AHEAD < map->entries.size ? MEND_AHEAD : 0]);
    if (TIDE_LIKELY(position % MEND_PART != 0 && !first))
        return;
    uint64_t count = tide_min(map->entries.size - position, MEND_PART - position % MEND_PART);
    size_t before = (uintptr_t)entry % tide_vmem_page_size();
    tide_vmem_advise((char *)(uintptr_t)entry - before, before + count * sizeof *entry,
                     TIDE_VMEM_FETCH);
}

/* What an entry says, each word read once, and where the bit of its slot is. */
struct mend_seen {
    uint64_t slot, base, number;
    uint32_t count, client, broker;
    uint64_t *word;
    uint64_t bit;
};

/* What stands in the entry of this place, if it is valid, and its slot is one that is not
 * released and has no other place. Whoever fills an entry has published its slot before, and that
 * is released after the place was trimmed: so the slot need not be looked at, which takes twice
 * as long. Inlined where it is used: most of a repair of small batches is this. */
TIDE_INLINE bool mend_see(const struct mend *self, const struct tide_layout_entry *entry,
                          uint64_t place, struct mend_seen *out)
{
    const struct tide_logmap *map = self->map;
    mend_ask(self, entry, place == self->first);
    if (mend_get(&entry->seq) != place + 1)
        return false;
    out->broker = TIDE_RELAXED_GET(&entry->broker);
    if (out->broker >= map->brokers)
        return false;
    const struct mend_ring *ring = &self->ring[out->broker];
    out->slot = TIDE_RELAXED_GET(&entry->slot);
    uint64_t above = out->slot - ring->from, left = map->slots.size - ring->at;
    if (above >= ring->to - ring->from)
        return false;
    uint64_t position = above < left ? ring->at + above : above - left;
    out->word = &self->live[out->broker * self->words + position / 64];
    out->bit = UINT64_C(1) << position % 64;
    out->base = TIDE_RELAXED_GET(&entry->base);
    out->number = TIDE_RELAXED_GET(&entry->number);
    out->count = TIDE_RELAXED_GET(&entry->count);
    out->client = TIDE_RELAXED_GET(&entry->client);
    return (*out->word & out->bit) == 0;
}

/* A batch has its place for good: its client's session is behind it. */
TIDE_INLINE void mend_keep(struct mend *self, const struct mend_seen *seen)
{
    const struct tide_logmap *map = self->map;
    struct mend_ring *ring = &self->ring[seen->broker];
    *seen->word |= seen->bit;
    ring->live = tide_max(ring->live, seen->slot + 1);
    self->end.place++;
    self->end.base += seen->count;
    if (map->level != 4 || seen->client >= map->sessions)
        return;
    _Atomic uint64_t *expected = &map->session[seen->client].expected;
    if (mend_get(expected) <= seen->number)
        mend_set(expected, seen->number + 1);
}

/* Goes through the committed prefix. A slot that stands there twice comes from a repair that
 * was not ended: it was about to move it to the lower place. */
static int mend_prefix(struct mend *self)
{
    const struct tide_logmap *map = self->map;
    uint64_t first = mend_get(&map->head->trimmed_place), known = mend_get(&map->head->committed);
    struct mend_seen seen;
    self->first = first;
    self->first_at = tide_logmap_at(&map->entries, first);
    self->end = (struct tide_order_place){first, mend_get(&map->head->trimmed_base)};
    if (tide_order_see(map, first) != NULL)
        self->end.base = mend_entry(self, first)->base;
    mend_set(&map->head->trimmed_base, self->end.base);
    struct tide_layout_entry *entry = mend_entry(self, first);
    while (self->end.place - first < map->entries.size &&
           mend_see(self, entry, self->end.place, &seen)) {
        if (!mend_is(self, "number of the first message of a batch", seen.base, self->end.base,
                     self->end.base))
            return -EUCLEAN;
        mend_keep(self, &seen);
        entry = mend_behind(self, entry);
    }
    self->report->kept = self->end.place - first;
    if (!mend_is(self, "batches known to be committed", known, first, self->end.place))
        return -EUCLEAN;
    return 0;
}

/* Gives the slot the next place. The entry there may be one that was valid. */
static void mend_place(struct mend *self, uint32_t broker, const struct tide_layout_slot *slot)
{
    uint64_t position = mend_slot_at(self, broker, slot->index);
    const struct mend_seen seen = {.slot = slot->index,
                                   .number = slot->number,
                                   .count = slot->count,
                                   .client = slot->client,
                                   .broker = broker,
                                   .word = &self->live[broker * self->words + position / 64],
                                   .bit = UINT64_C(1) << position % 64};
    mend_set(&mend_entry(self, self->end.place)->seq, 0);
    tide_order_fill(self->map, self->end, broker, slot);
    TIDE_CRASH_POINT(mend_moving);
    mend_keep(self, &seen);
}

/* Places behind the hole, in their order; afterwards no entry is valid that is beyond the end. */
static void mend_move(struct mend *self)
{
    const struct tide_logmap *map = self->map;
    uint64_t top = self->first + map->entries.size, last = self->end.place;
    struct mend_seen seen;
    struct tide_layout_slot slot;
    struct tide_layout_entry *entry = mend_entry(self, self->end.place);
    for (uint64_t place = self->end.place; place < top; place++, entry = mend_behind(self, entry)) {
        if (mend_get(&entry->seq) > self->end.place)
            last = place + 1;
        if (!mend_see(self, entry, place, &seen) ||
            !tide_ring_copy(map, seen.broker, seen.slot, &slot) || slot.index != seen.slot ||
            (slot.flags & TIDE_LAYOUT_PAD) != 0)
            continue;
        mend_place(self, seen.broker, &slot);
        self->report->moved++;
    }
    /* Those of the prefix, and behind the last one, are as they must be. */
    for (uint64_t place = self->end.place; place < last; place++) {
        _Atomic uint64_t *seq = &mend_entry(self, place)->seq;
        if (mend_get(seq) > self->end.place)
            mend_set(seq, 0);
    }
}

/* --- rings ------------------------------------------------------------------------------ */

/* Which slots there are to look at. */
static int mend_rings(struct mend *self)
{
    const struct tide_logmap *map = self->map;
    for (uint32_t i = 0; i < map->brokers; i++) {
        struct mend_ring *ring = &self->ring[i];
        ring->from = ring->live = mend_get(&map->broker[i].released_slot);
        ring->at = tide_logmap_at(&map->slots, ring->from);
        ring->to = tide_ring_head(map, i).slot;
        ring->end = mend_get(&map->broker[i].released_granule);
        if (!mend_is(self, "slots that are not released", ring->to - ring->from, 0,
                     map->slots.size))
            return -EUCLEAN;
    }
    return 0;
}

/* A pad whose payload somebody who was expelled may still write. */
static bool mend_is_kept(const struct mend *self, const struct tide_layout_slot *slot)
{
    uint64_t member = slot->keeper - 1;
    return (slot->flags & TIDE_LAYOUT_KEPT) != 0 && member < TIDE_LAYOUT_MEMBERS &&
           (self->crew->kept >> member & 1) != 0;
}

/* Where the claim of this slot ends, which is out. */
static uint64_t mend_out_end(const struct mend *self, uint32_t number, uint64_t slot)
{
    const struct tide_logmap *map = self->map;
    uint64_t mark = tide_layout_mark(number, slot) | TIDE_LAYOUT_OUT;
    for (uint32_t i = 0; i < map->producers; i++)
        if (mend_get(&map->producer[i].out) == mark &&
            tide_layout_is_of(mend_get(&map->producer[i].owner), self->crew->alive))
            return mend_get(&map->producer[i].out_end);
    return 0;
}

static void mend_pad(const struct mend *self, uint32_t broker, uint64_t index, uint64_t end,
                     uint64_t keeper)
{
    tide_mend_pad(self->map, broker, index, end, keeper);
    self->report->padded++;
}

/* Claims that are out: those of whoever goes on are noted, those of the expelled are pads. */
static void mend_claims(struct mend *self)
{
    const struct tide_logmap *map = self->map;
    for (uint32_t i = 0; i < map->producers; i++) {
        struct tide_layout_producer *producer = &map->producer[i];
        uint64_t slot, owner = mend_get(&producer->owner);
        uint32_t broker;
        if (!tide_mend_find_out(map, producer, &broker, &slot) ||
            tide_ring_see(map, broker, slot) != NULL)
            continue;
        if (tide_layout_is_of(owner, self->crew->alive))
            mend_mark(self, self->out, broker, slot);
        else if (tide_layout_is_of(owner, self->crew->kept))
            mend_pad(self, broker, slot, mend_get(&producer->out_end), owner >> 32);
    }
}

/* Cuts claims off that nobody published. */
static bool mend_cut_claims(struct mend *self, uint32_t number)
{
    struct mend_ring *ring = &self->ring[number];
    for (; ring->to > ring->from; ring->to--, self->report->padded++)
        if (tide_ring_see(self->map, number, ring->to - 1) != NULL ||
            mend_is_out(self, number, ring->to - 1))
            break;
    ring->ready = ring->to;
    return mend_is(self, "slots of batches that have places", ring->live - ring->from, 0,
                   ring->to - ring->from);
}

/* A slot that has no place: a pad of a claim that was not published, but that is between others.
 * The end of the granules, which only grows from slot to slot. */
static void mend_slot(struct mend *self, uint32_t number, uint64_t i)
{
    struct mend_ring *ring = &self->ring[number];
    struct tide_layout_slot *slot = mend_slot_of(self, number, i);
    __builtin_prefetch((const void *)&mend_slot_of(self, number, i + MEND_AHEAD)->publish);
    if (mend_get(&slot->publish) == i) {
        /* A line that needs no change stays clean, or is not looked at. */
        if (slot->size == 0 && (slot->flags & TIDE_LAYOUT_KEPT) != 0 && !mend_is_kept(self, slot))
            slot->flags &= ~(uint32_t)TIDE_LAYOUT_KEPT;
        ring->end = tide_max(ring->end, slot->end);
    } else if (mend_is_out(self, number, i)) {
        ring->end = tide_max(ring->end, mend_out_end(self, number, i));
        ring->ready = tide_min(ring->ready, i);
    } else
        mend_pad(self, number, i, ring->end, 0);
}

/* Goes through the slots that have no place, and finds the end of the granules. */
static int mend_ring(struct mend *self, uint32_t number)
{
    const struct tide_logmap *map = self->map;
    struct mend_ring *ring = &self->ring[number];
    struct tide_layout_broker *broker = &map->broker[number];
    if (!mend_cut_claims(self, number))
        return -EUCLEAN;
    /* By how far it is: somebody may have written that the last slot is 2^64 - 1. */
    for (uint64_t i = ring->from; i - ring->from <= ring->to - ring->from; i++) {
        i = mend_past(self, number, i, ring->to, false);
        if (i < ring->to && mend_is_live(self, number, i))
            continue;
        if (i > ring->from && mend_is_live(self, number, i - 1))
            ring->end = tide_max(ring->end, mend_slot_of(self, number, i - 1)->end);
        if (i < ring->to)
            mend_slot(self, number, i);
    }
    uint64_t released = mend_get(&broker->released_granule);
    if (!mend_is(self, "granules that are not released", ring->end - released, 0,
                 map->granules.size))
        return -EUCLEAN;
    mend_set(&broker->claim, ring->to << 32 | (uint32_t)ring->end);
    TIDE_CRASH_POINT(mend_ring);
    return 0;
}

/* The bit of each slot says whether it is done with; true of those that were let go. */
static void mend_judge(struct mend *self, uint32_t number)
{
    const struct tide_logmap *map = self->map;
    const struct mend_ring *ring = &self->ring[number];
    uint64_t releasing = mend_get(&map->broker[number].releasing);
    uint64_t end = ring->from + map->slots.size;
    for (uint64_t i = ring->from; i < end; i++) {
        i = mend_past(self, number, i, end, true);
        if (i == end)
            break;
        const struct tide_layout_slot *slot = tide_logmap_slot(map, number, i);
        bool inside = i < ring->to && !mend_is_out(self, number, i);
        bool done = inside && !mend_is_live(self, number, i) && !mend_is_kept(self, slot) &&
                    (i < releasing || mend_is_retired(self, number, i) ||
                     (slot->flags & TIDE_LAYOUT_PAD) != 0);
        mend_set_retired(self, number, i, done);
    }
}

/* Slots from `from` on, the first that is not released, but below `end`: their blocks go home to
 * whoever lent them, if they are not in the retire ring yet. Returns the first that stays. */
static uint64_t mend_free(struct mend *self, uint32_t number, uint64_t from, uint64_t end)
{
    const struct tide_logmap *map = self->map;
    struct tide_layout_broker *broker = &map->broker[number];
    struct tide_retire home = tide_retire_begin(map);
    uint64_t slot = from, granule = mend_get(&broker->released_granule);
    bool noted = mend_get(&broker->retiring) != 0;
    while (slot < end && (map->level == 0 || mend_is_retired(self, number, slot)))
        slot++;
    if (!noted && mend_get(&map->head->lender) != 0)
        slot = tide_retire_put_all(map, number, from, slot, &home);
    if (slot > from)
        granule = tide_mend_free_to(map, number, slot, granule, self->ring[number].end);
    mend_set(&broker->releasing, slot);
    if (!noted)
        tide_retire_note(map, number, &home);
    for (uint64_t i = from; i < slot && map->level != 0; i++)
        mend_set_retired(self, number, i, false);
    mend_set(&broker->released_granule, granule);
    mend_set(&broker->released_slot, slot);
    tide_retire_finish(map, number);
    TIDE_CRASH_POINT(mend_freed);
    return slot;
}

/* What was about to be released is; but at level 0, also what else is done with, from the first one
 * on. */
static void mend_release(struct mend *self, uint32_t number)
{
    const struct tide_logmap *map = self->map;
    const struct mend_ring *ring = &self->ring[number];
    struct tide_layout_broker *broker = &map->broker[number];
    uint64_t said = tide_min(mend_get(&broker->releasing), ring->to), from = ring->from;
    if (map->level == 0 || mend_get(&broker->retiring) != 0)
        from = mend_free(self, number, from, said);
    if (map->level != 0)
        mend_free(self, number, from, ring->to);
    mend_set(&broker->scanned, map->stepped ? ring->ready : ring->to);
    mend_set(&broker->scanner, 0);
    TIDE_CRASH_POINT(mend_released);
}

/* Slots that wait for a place, in the order of their ring; where a sequencer goes on behind the
 * first claim that is out, those before it. At level 4 their sessions decide. */
static void mend_order(struct mend *self, uint32_t number)
{
    const struct tide_logmap *map = self->map;
    const struct mend_ring *ring = &self->ring[number];
    struct tide_order_place at;
    uint64_t end = map->stepped ? ring->ready : ring->to;
    for (uint64_t i = ring->from; i < end; i++) {
        i = mend_past(self, number, i, end, false);
        if (i == end)
            break;
        const struct tide_layout_slot *slot = tide_logmap_slot(map, number, i);
        if (mend_is_live(self, number, i) || mend_is_retired(self, number, i) ||
            mend_is_out(self, number, i) || (slot->flags & TIDE_LAYOUT_PAD) != 0)
            continue;
        self->report->placed++;
        enum tide_session_verdict verdict = TIDE_SESSION_PLACED;
        if (map->level == 4)
            verdict = tide_session_submit(map, number, slot, &at);
        else
            tide_order_commit(map, number, slot);
        if (verdict != TIDE_SESSION_LATE && verdict != TIDE_SESSION_REFUSED)
            continue;
        tide_trim_drop(map, number, tide_logmap_at(&map->slots, i));
        self->report->placed--;
        self->report->fenced++;
    }
}

/* --- all of it -------------------------------------------------------------------------- */

static int mend_ordered(struct mend *self)
{
    const struct tide_logmap *map = self->map;
    struct tide_layout_head *head = map->head;
    int error = mend_prefix(self);
    for (uint32_t i = 0; i < map->brokers && error == 0; i++)
        error = mend_ring(self, i);
    if (error != 0)
        return error;
    TIDE_CRASH_POINT(mend_prefix);
    mend_move(self);
    TIDE_CRASH_POINT(mend_moved);
    mend_set(&head->taken, (self->end.place << 32) + self->end.base);
    mend_set(&head->committed, self->end.place);
    TIDE_CRASH_POINT(mend_taken);
    for (uint32_t i = 0; i < map->brokers; i++)
        mend_judge(self, i);
    TIDE_CRASH_POINT(mend_judged);
    tide_mend_sessions(map);
    TIDE_CRASH_POINT(mend_sessions);
    for (uint32_t i = 0; i < map->brokers; i++)
        mend_order(self, i);
    TIDE_CRASH_POINT(mend_ordered);
    for (uint32_t i = 0; i < map->brokers; i++)
        mend_release(self, i);
    return 0;
}

static int mend_slots(struct mend *self)
{
    int error = 0;
    for (uint32_t i = 0; i < self->map->brokers && error == 0; i++)
        error = mend_ring(self, i);
    for (uint32_t i = 0; i < self->map->brokers && error == 0; i++)
        mend_release(self, i);
    return error;
}

static int mend_all(struct mend *self)
{
    const struct tide_logmap *map = self->map;
    int error = mend_rings(self);
    if (error != 0)
        return error;
    mend_set(&map->head->epoch, mend_get(&map->head->epoch) + 1);
    TIDE_CRASH_POINT(mend_begun);
    tide_mend_words(map, self->crew->alive);
    TIDE_CRASH_POINT(mend_tables);
    mend_claims(self);
    error = map->level == 0 ? mend_slots(self) : mend_ordered(self);
    if (error != 0)
        return error;
    tide_mend_producers(map, self->crew, self->fences);
    tide_mend_readers(map, self->crew);
    return 0;
}

static int mend_run(struct mend *self)
{
    const struct tide_logmap *map = self->map;
    *self->report = (struct tide_mend_report){0, 0, 0, 0, 0};
    self->words = (map->slots.size + 63) / 64;
    self->bytes =
        tide_align_up(2 * map->brokers * self->words * sizeof *self->live, tide_vmem_page_size());
    if ((self->live = tide_vmem_map(self->bytes)) == NULL)
        return -ENOMEM;
    self->out = self->live + map->brokers * self->words;
    int error = mend_all(self);
    tide_vmem_unmap(self->live, self->bytes);
    return error;
}

int tide_mend_among(const struct tide_logmap *map, const struct tide_mend_crew *crew,
                    struct tide_mend_report *report, struct tide_layout_fault *fault)
{
    struct mend self = {.map = map, .crew = crew, .report = report, .fault = fault, .fences = true};
    return mend_run(&self);
}

int tide_mend(const struct tide_logmap *map, struct tide_mend_report *report,
              struct tide_layout_fault *fault)
{
    static const struct tide_mend_crew nobody;
    struct mend self = {.map = map, .crew = &nobody, .report = report, .fault = fault};
    return mend_run(&self);
}
