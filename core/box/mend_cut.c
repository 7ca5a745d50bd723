/* mend_cut.c - what is left of a log whose memory was damaged; see mend.h */
#include "box/match.h"
#include "box/mend.h"
#include "box/mend_slot.h"
#include "box/vmem.h"

struct cut {
    const struct tide_logmap *map;
    struct tide_mend_damage *damage;
    uint64_t *live;                 /* a bit per slot: a whole batch has it, at a place */
    uint64_t *next;                 /* level 4: number of each client's next batch; 0: unknown */
    struct tide_match_place *place; /* those that are bad */
    struct tide_match_batch *batch; /* those without a place */
    struct tide_match_batch *spare;
    uint64_t bad, batches;
    uint64_t first, count; /* the prefix */
    uint64_t lost;         /* places of it that are given up */
    uint64_t open;         /* so far, of those whose batches are not known yet */
    uint64_t base;         /* of the next message */
    uint16_t control;      /* of the last place */
};

/* An entry and its slot. */
struct cut_batch {
    struct tide_layout_entry entry;
    struct tide_layout_slot slot;
};

static uint64_t *cut_word(const struct cut *self, uint32_t broker, uint64_t slot)
{
    uint64_t position = tide_logmap_at(&self->map->slots, slot);
    return &self->live[broker * self->map->retired_words + position / 64];
}

static uint64_t cut_bit(const struct cut *self, uint64_t slot)
{
    return UINT64_C(1) << tide_logmap_at(&self->map->slots, slot) % 64;
}

static bool cut_is_live(const struct cut *self, uint32_t broker, uint64_t slot)
{
    return (*cut_word(self, broker, slot) & cut_bit(self, slot)) != 0;
}

static void cut_mark(const struct cut *self, uint32_t broker, uint64_t slot)
{
    *cut_word(self, broker, slot) |= cut_bit(self, slot);
}

/* --- an entry and its slot ---------------------------------------------------------------- */

/* The slot of this index, if there is a whole batch in it that no place has yet. */
static bool cut_has_slot(const struct cut *self, uint32_t broker, uint64_t index,
                         struct tide_layout_slot *slot)
{
    const struct tide_logmap *map = self->map;
    return broker < map->brokers && !cut_is_live(self, broker, index) &&
           index - tide_coh_get(map->coh, &map->broker[broker].released_slot) < map->slots.size &&
           tide_ring_copy(map, broker, index, slot) && slot->index == index &&
           tide_mend_is_whole(map, broker, slot);
}

/* What the entry of a place says, whether it is valid or not, and its slot. */
static bool cut_has_own(const struct cut *self, uint64_t place, struct cut_batch *batch)
{
    tide_layout_words(&batch->entry, tide_logmap_entry(self->map, place), sizeof batch->entry);
    return cut_has_slot(self, batch->entry.broker, batch->entry.slot, &batch->slot);
}

static bool cut_is_good(const struct cut *self, uint64_t place, struct cut_batch *batch)
{
    return tide_order_see(self->map, place) != NULL && cut_has_own(self, place, batch) &&
           tide_mend_same_bytes(&batch->entry, &batch->slot) &&
           tide_mend_same_names(&batch->entry, &batch->slot);
}

/* The entry is valid, and its slot is at a place. */
static bool cut_is_placed(const struct cut *self, uint64_t place, struct tide_layout_entry *entry)
{
    return tide_order_copy(self->map, place, entry) && entry->broker < self->map->brokers &&
           cut_is_live(self, entry->broker, entry->slot);
}

/* --- which places there are ---------------------------------------------------------------- */

/* How far the prefix is known to go, unless the word was damaged. */
static uint64_t cut_known(struct cut *self)
{
    const struct tide_logmap *map = self->map;
    uint64_t known = tide_coh_get(map->coh, &map->head->committed) - self->first;
    self->damage->head = known > map->entries.size;
    return self->damage->head != 0 ? 0 : known;
}

/* The prefix goes on as far as entries are valid: readers may have been told so. But not over
 * those that a repair which did not end moved to a lower place. */
static bool cut_goes_on(const struct cut *self, uint64_t place)
{
    struct tide_layout_entry entry;
    return self->damage->head == 0 && tide_order_see(self->map, place) != NULL &&
           !cut_is_placed(self, place, &entry);
}

/* A slot whose entry says the same, and that has a place, was published. */
static void cut_publish(const struct cut *self)
{
    const struct tide_logmap *map = self->map;
    struct cut_batch batch;
    for (uint64_t i = 0; i < map->entries.size; i++) {
        const struct tide_layout_entry *entry = &batch.entry;
        if (!tide_order_copy(map, self->first + i, &batch.entry) || entry->broker >= map->brokers)
            continue;
        struct tide_layout_slot *slot = tide_logmap_slot(map, entry->broker, entry->slot);
        tide_layout_words(&batch.slot, slot, sizeof batch.slot);
        uint64_t from = tide_coh_get(map->coh, &map->broker[entry->broker].released_slot);
        if (batch.slot.publish != entry->slot && batch.slot.index == entry->slot &&
            entry->slot - from < map->slots.size && tide_mend_same_bytes(entry, &batch.slot) &&
            tide_mend_same_names(entry, &batch.slot) &&
            tide_mend_is_whole(map, entry->broker, &batch.slot))
            tide_coh_set(map->coh, &slot->publish, entry->slot);
    }
}

/* The length of the prefix, how many of its places are bad, and the slots of those that are not.
 * With `bad` these are noted. */
static void cut_count(struct cut *self, struct tide_match_place *bad)
{
    const struct tide_logmap *map = self->map;
    uint64_t known = cut_known(self), i;
    struct cut_batch batch;
    self->bad = 0;
    memset(self->live, 0, map->brokers * map->retired_words * sizeof *self->live);
    for (i = 0; i < map->entries.size; i++) {
        uint64_t place = self->first + i;
        bool good = cut_is_good(self, place, &batch);
        if (!good && i >= known && !cut_goes_on(self, place))
            break;
        if (good)
            cut_mark(self, batch.entry.broker, batch.entry.slot);
        else if (bad != NULL)
            bad[self->bad] = (struct tide_match_place){.place = place};
        self->bad += !good;
    }
    self->count = i;
}

/* --- which batches were there -------------------------------------------------------------- */

static uint64_t cut_key(const struct tide_logmap *map, uint32_t broker, uint32_t client)
{
    if (map->level == 4)
        return client;
    return map->stepped ? broker : (uint64_t)broker << 32 | client;
}

/* The entry's own slot, if enough of what they say is the same. */
static void cut_keep_own(struct cut *self)
{
    struct cut_batch batch;
    for (uint64_t i = 0; i < self->bad; i++) {
        struct tide_match_place *place = &self->place[i];
        place->given = cut_has_own(self, place->place, &batch) &&
                       (tide_mend_same_bytes(&batch.entry, &batch.slot) ||
                        tide_mend_same_names(&batch.entry, &batch.slot));
        place->own = place->given;
        if (!place->own)
            continue;
        place->broker = batch.entry.broker;
        place->slot = batch.entry.slot;
        place->count = batch.slot.count;
        cut_mark(self, place->broker, place->slot);
    }
}

/* A batch that may have had a place: it was not given up, and none of those that are trimmed. */
static bool cut_is_loose(const struct cut *self, uint32_t broker, uint64_t index)
{
    const struct tide_logmap *map = self->map;
    uint64_t position = tide_logmap_at(&map->slots, index);
    uint64_t done = tide_coh_get(map->coh, tide_logmap_retired(map, broker, position));
    uint64_t from = tide_coh_get(map->coh, &map->broker[broker].released_slot);
    uint64_t releasing = tide_coh_get(map->coh, &map->broker[broker].releasing);
    if (map->level == 0)
        return true;
    if (releasing - from <= map->slots.size && index - from < releasing - from)
        return false;
    return (done >> position % 64 & 1) == 0 && !cut_is_live(self, broker, index);
}

static void cut_gather(struct cut *self)
{
    const struct tide_logmap *map = self->map;
    struct tide_layout_slot slot;
    for (uint32_t b = 0; b < map->brokers; b++) {
        uint64_t from = tide_coh_get(map->coh, &map->broker[b].released_slot);
        for (uint64_t i = from; i - from < map->slots.size; i++) {
            if (!cut_is_loose(self, b, i) || !cut_has_slot(self, b, i, &slot))
                continue;
            self->batch[self->batches++] =
                (struct tide_match_batch){.key = cut_key(map, b, slot.client),
                                          .order = map->level == 4 ? slot.number : i,
                                          .slot = i,
                                          .broker = b,
                                          .count = slot.count};
        }
    }
}

/* The batch of a place that has one: as its slot says. */
static bool cut_is_known(const struct cut *self, uint64_t place, uint64_t *bad, uint32_t *broker,
                         struct tide_layout_slot *slot)
{
    struct tide_layout_entry entry;
    uint64_t index;
    if (*bad < self->bad && self->place[*bad].place == place) {
        const struct tide_match_place *at = &self->place[(*bad)++];
        *broker = at->broker;
        index = at->slot;
        if (!at->own)
            return false;
    } else {
        tide_layout_words(&entry, tide_logmap_entry(self->map, place), sizeof entry);
        *broker = entry.broker;
        index = entry.slot;
    }
    return tide_ring_copy(self->map, *broker, index, slot);
}

/* --- whose batches they are ------------------------------------------------------------------ */

/* Level 4: what the first batch of each client was of which entry and slot say the same. */
static void cut_begin_numbers(struct cut *self)
{
    const struct tide_logmap *map = self->map;
    struct cut_batch batch;
    memset(self->next, 0, map->sessions * sizeof *self->next);
    for (uint64_t i = self->count; i-- > 0 && map->level == 4;) {
        if (cut_is_placed(self, self->first + i, &batch.entry) &&
            tide_ring_copy(map, batch.entry.broker, batch.entry.slot, &batch.slot) &&
            tide_mend_same_names(&batch.entry, &batch.slot) && batch.entry.client < map->sessions)
            self->next[batch.entry.client] = batch.entry.number + 1;
    }
}

/* Level 4: the client's next batch, or the one before the first that is known; or one that comes
 * later by as many as there are places between whose batches are not known yet. */
static bool cut_is_next(const struct cut *self, uint32_t client, uint32_t epoch, uint64_t number)
{
    const struct tide_logmap *map = self->map;
    return client < map->sessions && self->next[client] != 0 &&
           number + 2 - self->next[client] <= 1 + self->open &&
           epoch - UINT64_C(1) < tide_coh_get(map->coh, &map->session[client].epoch);
}

/* Level 4: the slot's client and number are wrong if those of the entry are next, and its own are
 * not. */
static void cut_name(const struct cut *self, uint64_t place, struct tide_layout_slot *slot)
{
    const struct tide_logmap *map = self->map;
    struct cut_batch batch = {.slot = *slot};
    if (map->level != 4)
        return;
    tide_layout_words(&batch.entry, tide_logmap_entry(map, place), sizeof batch.entry);
    const struct tide_layout_entry *entry = &batch.entry;
    if (entry->slot != slot->index || !tide_mend_same_bytes(&batch.entry, &batch.slot) ||
        !cut_is_next(self, entry->client, entry->epoch, entry->number) ||
        cut_is_next(self, slot->client, slot->epoch, slot->number))
        return;
    struct tide_layout_slot *at = tide_logmap_slot(map, entry->broker, slot->index);
    at->number = slot->number = entry->number;
    at->client = slot->client = entry->client;
    at->epoch = slot->epoch = entry->epoch;
}

static void cut_passed(struct cut *self, uint32_t client, uint64_t number, uint32_t count)
{
    self->base += count;
    if (self->map->level == 4 && client < self->map->sessions)
        self->next[client] = number + 2;
}

/* Level 4: whose batch a place has, where its entry and its slot say two things. */
static void cut_names(struct cut *self)
{
    struct tide_layout_slot slot;
    uint64_t bad = 0;
    uint32_t broker;
    cut_begin_numbers(self);
    for (uint64_t i = 0; i < self->count && self->map->level == 4; i++) {
        uint64_t place = self->first + i;
        if (!cut_is_known(self, place, &bad, &broker, &slot)) {
            self->open++;
            continue;
        }
        cut_name(self, place, &slot);
        cut_passed(self, slot.client, slot.number, slot.count);
    }
    self->open = 0;
}

/* What stands at places that are known. */
static void cut_see(struct cut *self)
{
    const struct tide_logmap *map = self->map;
    struct tide_layout_slot slot;
    uint64_t bad = 0;
    uint32_t broker;
    for (uint64_t i = 0; i < self->count; i++)
        if (cut_is_known(self, self->first + i, &bad, &broker, &slot))
            tide_match_see(self->batch, self->batches, cut_key(map, broker, slot.client),
                           map->level == 4 ? slot.number : slot.index, self->first + i);
}

/* Places between two that are good have as many messages as the numbers of these say. */
static void cut_weigh(struct cut *self)
{
    for (uint64_t i = 0, end; i < self->bad; i = end) {
        struct tide_layout_entry before, behind;
        for (end = i + 1; end < self->bad; end++)
            if (self->place[end].place != self->place[end - 1].place + 1)
                break;
        if (self->place[i].place == self->first ||
            self->place[end - 1].place + 1 == self->first + self->count ||
            !cut_is_placed(self, self->place[i].place - 1, &before) ||
            !cut_is_placed(self, self->place[end - 1].place + 1, &behind))
            continue;
        for (uint64_t at = i; at < end; at++)
            self->place[at].total = behind.base - before.base - before.count;
    }
}

static void cut_match(struct cut *self)
{
    cut_keep_own(self);
    cut_names(self);
    cut_gather(self);
    tide_match_begin(self->batch, self->batches);
    cut_see(self);
    cut_weigh(self);
    self->damage->guessed = tide_match_give(self->batch, self->spare, self->batches, self->place,
                                            self->bad, self->map->level == 4);
    for (uint64_t i = 0; i < self->bad; i++) {
        self->lost += !self->place[i].given;
        if (self->place[i].given)
            cut_mark(self, self->place[i].broker, self->place[i].slot);
    }
}

/* --- writing it ---------------------------------------------------------------------------- */

/* Messages at a place of the prefix; 0: nobody knows. *base: what its entry says of the first,
 * where that is good. */
static uint32_t cut_messages(const struct cut *self, uint64_t place, uint64_t *bad, bool *good,
                             uint64_t *base)
{
    struct tide_layout_entry entry;
    struct tide_layout_slot slot;
    *good = *bad >= self->bad || self->place[*bad].place != place;
    if (*good) {
        tide_layout_words(&entry, tide_logmap_entry(self->map, place), sizeof entry);
        *base = entry.base;
        return entry.count;
    }
    const struct tide_match_place *at = &self->place[(*bad)++];
    if (!at->given || !tide_ring_copy(self->map, at->broker, at->slot, &slot))
        return 0;
    return slot.count;
}

/* The number of the first message: as two good places say, if the head says something else. */
static uint64_t cut_base(const struct cut *self)
{
    const struct tide_logmap *map = self->map;
    uint64_t head = tide_coh_get(map->coh, &map->head->trimmed_base), bad = 0, sum = 0, base = 0;
    uint64_t said = 0;
    bool good, one = false;
    for (uint64_t i = 0; i < self->count; i++) {
        uint32_t count = cut_messages(self, self->first + i, &bad, &good, &base);
        if (good && (base - sum == head || (one && base - sum == said)))
            return base - sum;
        if (good && one)
            return head; /* they contradict each other */
        if (good)
            said = base - sum;
        one |= good;
        if (count == 0)
            return head; /* what is behind gets new numbers */
        sum += count;
    }
    return one && self->count == 1 ? said : head;
}

/* The control's epoch only grows from place to place: this one's is not between its neighbours'. */
static bool cut_is_odd(const struct cut *self, uint64_t place,
                       const struct tide_layout_entry *entry)
{
    uint16_t now = (uint16_t)tide_coh_get(self->map->coh, &self->map->head->epoch);
    uint16_t mine = (uint16_t)(now - entry->control), before = (uint16_t)(now - self->control);
    uint16_t behind = 0;
    struct tide_layout_entry next;
    if (place + 1 < self->first + self->count && cut_is_placed(self, place + 1, &next))
        behind = (uint16_t)(now - next.control);
    bool first = place == self->first;
    return (behind <= before || first) && (mine < behind || (mine > before && !first));
}

static void cut_write(struct cut *self, uint64_t place, uint32_t broker, uint64_t index)
{
    const struct tide_logmap *map = self->map;
    struct tide_layout_slot slot;
    tide_layout_words(&slot, tide_logmap_slot(map, broker, index), sizeof slot);
    cut_name(self, place, &slot);
    tide_order_write(map, (struct tide_order_place){place, self->base}, broker, &slot,
                     self->control);
    TIDE_CRASH_POINT(mend_restored);
    cut_passed(self, slot.client, slot.number, slot.count);
    self->damage->restored++;
}

/* A place that is good, but perhaps for the number of its first message, or its epoch. `behind`: it
 * is behind one that is given up, and gets another number anyway. */
static void cut_look(struct cut *self, uint64_t place, bool behind)
{
    struct tide_layout_entry entry;
    tide_layout_words(&entry, tide_logmap_entry(self->map, place), sizeof entry);
    bool odd = cut_is_odd(self, place, &entry);
    if (odd || (entry.base != self->base && !behind)) {
        self->control = odd ? self->control : entry.control;
        cut_write(self, place, entry.broker, entry.slot);
        return;
    }
    self->control = entry.control;
    cut_passed(self, entry.client, entry.number, entry.count);
}

/* The epoch of the first place whose entry is good. */
static uint16_t cut_first_control(const struct cut *self)
{
    struct tide_layout_entry entry = {.control = 0};
    uint64_t bad = 0;
    while (bad < self->bad && self->place[bad].place == self->first + bad)
        bad++;
    if (bad == self->count)
        return (uint16_t)tide_coh_get(self->map->coh, &self->map->head->epoch);
    tide_layout_words(&entry, tide_logmap_entry(self->map, self->first + bad), sizeof entry);
    return entry.control;
}

/* Each damaged entry is written anew. */
static void cut_restore(struct cut *self)
{
    uint64_t bad = 0;
    bool behind = false;
    self->base = cut_base(self);
    self->control = cut_first_control(self);
    cut_begin_numbers(self);
    if (self->count > 0)
        tide_coh_set(self->map->coh, &self->map->head->trimmed_base, self->base);
    for (uint64_t place = self->first; place < self->first + self->count; place++) {
        if (bad == self->bad || self->place[bad].place != place) {
            cut_look(self, place, behind);
            continue;
        }
        const struct tide_match_place *at = &self->place[bad++];
        behind |= !at->given;
        if (at->given)
            cut_write(self, place, at->broker, at->slot);
    }
}

/* What stands where this place will be is no batch without one, nor of a place before. */
static bool cut_is_stray(const struct cut *self, uint64_t place)
{
    const struct tide_logmap *map = self->map;
    struct tide_layout_entry entry;
    struct cut_batch batch;
    uint64_t was = tide_coh_get(map->coh, &tide_logmap_entry(map, place)->seq) - 1;
    if (was == place)
        return !cut_is_placed(self, place, &entry) && !cut_is_good(self, place, &batch);
    return was != UINT64_MAX &&
           (was - map->first >= place - map->first || (place - was) % map->entries.size != 0);
}

/* Only then places are given up, and last the prefix ends before the first one: whoever is killed
 * before leaves a log that says that it is damaged. */
static void cut_give_up(struct cut *self)
{
    const struct tide_logmap *map = self->map;
    uint64_t end = self->first + self->count;
    tide_coh_add(map->coh, &map->head->given_up, self->lost);
    for (uint64_t i = self->bad; i-- > 0;) {
        if (self->place[i].given)
            continue;
        end = self->place[i].place;
        tide_coh_set(map->coh, &tide_logmap_entry(map, end)->seq, 0);
        TIDE_CRASH_POINT(mend_given_up);
    }
    /* Behind the prefix nobody was told of a place. */
    for (uint64_t i = self->count; i < map->entries.size; i++)
        if (cut_is_stray(self, self->first + i))
            tide_coh_set(map->coh, &tide_logmap_entry(map, self->first + i)->seq, 0);
    tide_coh_set(map->coh, &map->head->committed, end);
    TIDE_CRASH_POINT(mend_shortened);
}

/* --- slots --------------------------------------------------------------------------------- */

/* One that was published, behind a slot that ends at *end. What has no place and is not whole
 * becomes a pad of no bytes. True: a batch is lost with that. */
static bool cut_slot(struct cut *self, uint32_t broker, uint64_t index, uint64_t *end)
{
    const struct tide_logmap *map = self->map;
    struct tide_layout_slot slot;
    if (!tide_ring_copy(map, broker, index, &slot)) {
        tide_mend_unpublish(map, broker, index);
        return false;
    }
    bool loose = cut_is_loose(self, broker, index), pad = tide_mend_is_pad(map, &slot, index, *end);
    bool live = map->level != 0 && cut_is_live(self, broker, index);
    bool lost = loose && !pad && (slot.index != index || !tide_mend_is_whole(map, broker, &slot));
    bool odd = !pad && (slot.index != index || (slot.flags & ~(uint32_t)TIDE_LAYOUT_REF) != 0 ||
                        !tide_mend_is_end(map, &slot, *end));
    if (lost || (odd && !loose && !live)) {
        tide_mend_pad(map, broker, index, *end, 0);
        return lost;
    }
    if (odd)
        tide_logmap_slot(map, broker, index)->end = slot.end =
            tide_mend_end(map, broker, &slot, *end);
    *end = slot.end;
    return false;
}

static uint64_t cut_slots(struct cut *self, uint32_t broker)
{
    const struct tide_logmap *map = self->map;
    uint64_t from = tide_coh_get(map->coh, &map->broker[broker].released_slot), lost = 0;
    uint64_t end = tide_coh_get(map->coh, &map->broker[broker].released_granule);
    for (uint64_t i = from; i - from < map->slots.size; i++)
        lost += cut_slot(self, broker, i, &end);
    return lost;
}

/* --- all of it ------------------------------------------------------------------------------ */

static bool cut_has_room(struct cut *self, size_t *bytes)
{
    const struct tide_logmap *map = self->map;
    size_t slots = map->level != 0 ? map->brokers * map->slots.size : 0;
    size_t places = self->bad * sizeof *self->place, batches = slots * sizeof *self->batch;
    *bytes = tide_align_up(places + 2 * batches, tide_vmem_page_size());
    if (self->bad == 0)
        return true;
    unsigned char *room = tide_vmem_map(*bytes);
    self->batch = (void *)room;
    self->spare = (void *)(room + batches);
    self->place = (void *)(room + 2 * batches);
    return room != NULL;
}

static int cut_places(struct cut *self)
{
    size_t bytes;
    self->first = tide_coh_get(self->map->coh, &self->map->head->trimmed_place);
    cut_publish(self);
    cut_count(self, NULL);
    if (!cut_has_room(self, &bytes))
        return -ENOMEM;
    if (self->bad != 0) {
        cut_count(self, self->place);
        cut_match(self);
    }
    cut_restore(self);
    cut_give_up(self);
    if (self->batch != NULL)
        tide_vmem_unmap(self->batch, bytes);
    return 0;
}

int tide_mend_cut(const struct tide_logmap *map, struct tide_mend_damage *damage)
{
    struct cut self = {.map = map, .damage = damage};
    *damage = (struct tide_mend_damage){0, 0, 0, 0};
    uint64_t words = map->brokers * map->retired_words;
    size_t bytes =
        tide_align_up((words + map->sessions) * sizeof *self.live, tide_vmem_page_size());
    if ((self.live = tide_vmem_map(bytes)) == NULL)
        return -ENOMEM;
    self.next = self.live + words;
    int error = map->level != 0 ? cut_places(&self) : 0;
    uint64_t lost = 0;
    for (uint32_t i = 0; i < map->brokers && error == 0; i++)
        lost += cut_slots(&self, i);
    damage->cut = tide_max(self.lost, lost);
    tide_vmem_unmap(self.live, bytes);
    return error;
}
