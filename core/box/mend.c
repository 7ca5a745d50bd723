/* mend.c - see mend.h */
#include "box/mend.h"

#include "box/vmem.h"

struct mend {
    const struct tide_logmap *map;
    struct tide_mend_report *report;
    struct tide_layout_fault *fault;
    uint64_t *live; /* a bit per slot: it has a place that is not trimmed */
    size_t bytes;
    struct tide_order_place end; /* the next place, while they are given */
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

static uint64_t *mend_live_word(const struct mend *self, uint32_t broker, uint64_t position,
                                uint64_t *bit)
{
    *bit = UINT64_C(1) << position % 64;
    return &self->live[broker * self->map->retired_words + position / 64];
}

static bool mend_is_live(const struct mend *self, uint32_t broker, uint64_t slot)
{
    uint64_t bit, position = tide_logmap_at(&self->map->slots, slot);
    return (*mend_live_word(self, broker, position, &bit) & bit) != 0;
}

static void mend_mark_live(const struct mend *self, uint32_t broker, uint64_t slot)
{
    uint64_t bit, position = tide_logmap_at(&self->map->slots, slot);
    *mend_live_word(self, broker, position, &bit) |= bit;
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
    mend_set(word, retired ? mend_get(word) | bit : mend_get(word) & ~bit);
}

/* --- the order index -------------------------------------------------------------------- */

/* The slot of the entry at this place, if the entry is valid and its slot is one that still has
 * it and has no other place. */
static const struct tide_layout_slot *mend_slot_of(const struct mend *self, uint64_t place)
{
    const struct tide_logmap *map = self->map;
    const struct tide_layout_entry *entry = tide_order_see(map, place);
    if (entry == NULL || entry->broker >= map->brokers ||
        mend_is_live(self, entry->broker, entry->slot))
        return NULL;
    return tide_ring_see(map, entry->broker, entry->slot);
}

/* A batch has its place for good: its client's session is behind it. */
static void mend_keep(struct mend *self, uint32_t broker, const struct tide_layout_slot *slot)
{
    const struct tide_logmap *map = self->map;
    mend_mark_live(self, broker, slot->index);
    self->end.place++;
    self->end.base += slot->count;
    if (map->level != 4 || slot->client >= map->sessions)
        return;
    _Atomic uint64_t *expected = &map->session[slot->client].expected;
    if (mend_get(expected) <= slot->number)
        mend_set(expected, slot->number + 1);
}

/* Goes through the committed prefix. A slot that stands there twice comes from a repair that
 * was not ended: it was about to move it to the lower place. */
static int mend_prefix(struct mend *self)
{
    const struct tide_logmap *map = self->map;
    uint64_t first = mend_get(&map->head->trimmed_place), known = mend_get(&map->head->committed);
    const struct tide_layout_slot *slot;
    self->end = (struct tide_order_place){first, mend_get(&map->head->trimmed_base)};
    if (tide_order_see(map, first) != NULL)
        self->end.base = tide_logmap_entry(map, first)->base;
    mend_set(&map->head->trimmed_base, self->end.base);
    while (self->end.place - first < map->entries.size &&
           (slot = mend_slot_of(self, self->end.place)) != NULL) {
        const struct tide_layout_entry *entry = tide_logmap_entry(map, self->end.place);
        if (!mend_is(self, "number of the first message of a batch", entry->base, self->end.base,
                     self->end.base))
            return -EUCLEAN;
        mend_keep(self, entry->broker, slot);
    }
    self->report->kept = self->end.place - first;
    if (!mend_is(self, "batches known to be committed", known, first, self->end.place))
        return -EUCLEAN;
    return 0;
}

/* Gives the slot the next place. The entry there may be one that was valid. */
static void mend_place(struct mend *self, uint32_t broker, const struct tide_layout_slot *slot)
{
    const struct tide_logmap *map = self->map;
    mend_set(&tide_logmap_entry(map, self->end.place)->seq, 0);
    tide_order_fill(map, self->end, broker, slot);
    mend_keep(self, broker, slot);
}

/* Places behind the hole, in their order; afterwards no entry is valid that is beyond the end. */
static void mend_move(struct mend *self)
{
    const struct tide_logmap *map = self->map;
    uint64_t top = mend_get(&map->head->trimmed_place) + map->entries.size;
    for (uint64_t place = self->end.place; place < top; place++) {
        const struct tide_layout_slot *slot = mend_slot_of(self, place);
        if (slot == NULL)
            continue;
        mend_place(self, tide_logmap_entry(map, place)->broker, slot);
        self->report->moved++;
    }
    for (uint64_t i = 0; i < map->entries.size; i++)
        if (mend_get(&map->index[i].seq) > self->end.place)
            mend_set(&map->index[i].seq, 0);
}

/* --- rings ------------------------------------------------------------------------------ */

/* The slots of a broker that are not released, [from, to). */
struct mend_ring {
    uint64_t from, to;
    uint64_t end; /* granule behind the last one */
};

static void mend_pad(const struct mend *self, uint32_t broker, uint64_t index, uint64_t end)
{
    struct tide_layout_slot *slot = tide_logmap_slot(self->map, broker, index);
    slot->index = index;
    slot->number = 0;
    slot->client = slot->epoch = slot->count = slot->size = slot->checksum = 0;
    slot->flags = TIDE_LAYOUT_PAD;
    slot->offset = (uint64_t)(self->map->payload - self->map->base);
    slot->end = end;
    mend_set(&slot->publish, index);
    self->report->padded++;
}

/* Cuts claims off that nobody published, makes pads of those between others, and goes through
 * the granules. */
static int mend_ring(struct mend *self, uint32_t number, struct mend_ring *ring)
{
    const struct tide_logmap *map = self->map;
    struct tide_layout_broker *broker = &map->broker[number];
    ring->from = mend_get(&broker->released_slot);
    ring->to = tide_ring_head(map, number).slot;
    ring->end = mend_get(&broker->released_granule);
    if (!mend_is(self, "slots that are not released", ring->to - ring->from, 0, map->slots.size))
        return -EUCLEAN;
    for (; ring->to > ring->from; ring->to--, self->report->padded++)
        if (tide_ring_see(map, number, ring->to - 1) != NULL)
            break;
    for (uint64_t i = ring->from; i < ring->to; i++) {
        const struct tide_layout_slot *slot = tide_ring_see(map, number, i);
        if (slot == NULL)
            mend_pad(self, number, i, ring->end);
        else if (slot->end > ring->end)
            ring->end = slot->end;
    }
    uint64_t released = mend_get(&broker->released_granule);
    if (!mend_is(self, "granules that are not released", ring->end - released, 0,
                 map->granules.size))
        return -EUCLEAN;
    mend_set(&broker->claim, ring->to << 32 | (uint32_t)ring->end);
    return 0;
}

/* The bit of each slot says whether it is done with; true of those that were let go. */
static void mend_judge(struct mend *self, uint32_t number, const struct mend_ring *ring)
{
    const struct tide_logmap *map = self->map;
    uint64_t releasing = mend_get(&map->broker[number].releasing);
    for (uint64_t i = ring->from; i < ring->from + map->slots.size; i++) {
        bool inside = i < ring->to;
        bool done = inside && !mend_is_live(self, number, i) &&
                    (i < releasing || mend_is_retired(self, number, i) ||
                     (tide_logmap_slot(map, number, i)->flags & TIDE_LAYOUT_PAD) != 0);
        mend_set_retired(self, number, i, done);
    }
}

/* Level 0: what was about to be released is. Else: what is done with, from the first one on. */
static void mend_release(struct mend *self, uint32_t number, const struct mend_ring *ring)
{
    const struct tide_logmap *map = self->map;
    struct tide_layout_broker *broker = &map->broker[number];
    uint64_t slot = ring->from, granule = mend_get(&broker->released_granule);
    uint64_t releasing = mend_get(&broker->releasing);
    while (slot < ring->to &&
           (map->level == 0 ? slot < releasing : mend_is_retired(self, number, slot)))
        slot++;
    if (slot > ring->from)
        granule = tide_max(granule, tide_logmap_slot(map, number, slot - 1)->end);
    mend_set(&broker->releasing, slot);
    for (uint64_t i = ring->from; i < slot && map->level != 0; i++)
        mend_set_retired(self, number, i, false);
    mend_set(&broker->released_granule, granule);
    mend_set(&broker->released_slot, slot);
    mend_set(&broker->scanned, ring->to);
    mend_set(&broker->scanner, 0);
}

/* Slots that wait for a place, in the order of their ring. At level 4 their sessions decide. */
static void mend_order(struct mend *self, uint32_t number, const struct mend_ring *ring)
{
    const struct tide_logmap *map = self->map;
    struct tide_order_place at;
    for (uint64_t i = ring->from; i < ring->to; i++) {
        const struct tide_layout_slot *slot = tide_logmap_slot(map, number, i);
        if (mend_is_live(self, number, i) || mend_is_retired(self, number, i))
            continue;
        self->report->placed++;
        enum tide_session_verdict verdict = TIDE_SESSION_PLACED;
        if (map->level == 4)
            verdict = tide_session_submit(map, number, slot, &at);
        else
            tide_order_commit(map, number, slot);
        if (verdict == TIDE_SESSION_LATE || verdict == TIDE_SESSION_REFUSED)
            tide_trim_drop(map, number, tide_logmap_at(&map->slots, i));
    }
}

/* A session whose batch got its place, which was trimmed at once, and that was not told yet. */
static void mend_session(struct mend *self, uint32_t client)
{
    const struct tide_logmap *map = self->map;
    struct tide_layout_session *session = &map->session[client];
    uint64_t expected = mend_get(&session->expected), mark = mend_get(&session->placing_at);
    uint32_t broker = (uint32_t)(mark >> 48);
    if (mend_get(&session->placing) != expected + 1 || broker >= map->brokers)
        return;
    uint64_t released = mend_get(&map->broker[broker].released_slot);
    int64_t above = tide_layout_above(mark, released);
    if (above < 0 || mend_is_retired(self, broker, released + (uint64_t)above))
        mend_set(&session->expected, expected + 1);
}

/* --- words that their users left as they were ------------------------------------------- */

static void mend_head(struct mend *self)
{
    struct tide_layout_head *head = self->map->head;
    mend_set(&head->trimmer, 0);
    /* Blocks on their way home went with their process. */
    mend_set(&head->reclaimed, mend_get(&head->retired));
    atomic_store(&head->data.sleepers, 0);
    atomic_store(&head->space.sleepers, 0);
    atomic_store(&head->work.sleepers, 0);
    memset(&head->mutex, 0, sizeof head->mutex);
}

static void mend_tables(struct mend *self)
{
    const struct tide_logmap *map = self->map;
    for (uint32_t i = 0; i < map->producers; i++)
        mend_set(&map->producer[i].owner, 0);
    for (uint32_t i = 0; i < map->readers; i++)
        mend_set(&map->reader[i].owner, 0);
    for (uint32_t i = 0; i < map->sessions; i++) {
        mend_set(&map->session[i].held, 0);
        mend_set(&map->session[i].door, 0);
    }
    memset(map->hold, 0, (size_t)map->sessions * map->window * sizeof *map->hold);
}

/* --- all of it -------------------------------------------------------------------------- */

static int mend_ordered(struct mend *self, struct mend_ring *rings)
{
    const struct tide_logmap *map = self->map;
    struct tide_layout_head *head = map->head;
    int error = mend_prefix(self);
    for (uint32_t i = 0; i < map->brokers && error == 0; i++)
        error = mend_ring(self, i, &rings[i]);
    if (error != 0)
        return error;
    mend_move(self);
    mend_set(&head->taken, (self->end.place << 32) + self->end.base);
    mend_set(&head->committed, self->end.place);
    for (uint32_t i = 0; i < map->brokers; i++)
        mend_judge(self, i, &rings[i]);
    for (uint32_t i = 0; i < map->sessions; i++)
        mend_session(self, i);
    for (uint32_t i = 0; i < map->brokers; i++)
        mend_order(self, i, &rings[i]);
    for (uint32_t i = 0; i < map->brokers; i++)
        mend_release(self, i, &rings[i]);
    return 0;
}

static int mend_slots(struct mend *self, struct mend_ring *rings)
{
    int error = 0;
    for (uint32_t i = 0; i < self->map->brokers && error == 0; i++)
        error = mend_ring(self, i, &rings[i]);
    for (uint32_t i = 0; i < self->map->brokers && error == 0; i++)
        mend_release(self, i, &rings[i]);
    return error;
}

int tide_mend(const struct tide_logmap *map, struct tide_mend_report *report,
              struct tide_layout_fault *fault)
{
    struct mend_ring rings[TIDE_LAYOUT_BROKERS];
    struct mend self = {.map = map, .report = report, .fault = fault};
    *report = (struct tide_mend_report){0, 0, 0, 0};
    if (map->level != 0) {
        self.bytes = tide_align_up(map->brokers * map->retired_words * sizeof *self.live,
                                   tide_vmem_page_size());
        if ((self.live = tide_vmem_map(self.bytes)) == NULL)
            return -ENOMEM;
    }
    mend_set(&map->head->epoch, mend_get(&map->head->epoch) + 1);
    mend_head(&self);
    mend_tables(&self);
    int error = map->level == 0 ? mend_slots(&self, rings) : mend_ordered(&self, rings);
    if (self.live != NULL)
        tide_vmem_unmap(self.live, self.bytes);
    return error;
}
