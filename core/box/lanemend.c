/* lanemend.c - the places of a damaged log in lanes; see lanemend.h */
#include "box/lanemend.h"

#include "box/crc.h"
#include "box/frame.h"
#include "box/vmem.h"

enum { LANEMEND_LOST, LANEMEND_SOUND, LANEMEND_FOUND, LANEMEND_FENCED };

/* --- what is told ------------------------------------------------------------------------- */

void tide_lanemend_say(struct tide_lanemend *self, const struct tide_lanemend_change *change)
{
    self->count[change->kind]++;
    self->tell(self->who, change);
}

void tide_lanemend_set(struct tide_lanemend *self, struct tide_lanemend_change at,
                       _Atomic uint64_t *word, uint64_t value)
{
    at.was = tide_lanemend_get(word);
    at.now = value;
    if (at.was == value)
        return;
    tide_lanemend_say(self, &at);
    tide_coh_set(self->map->coh, word, value);
    tide_coh_wrote(self->map->coh, word, sizeof *word);
}

static void lanemend_say_place(struct tide_lanemend *self, enum tide_lanemend_kind kind,
                               uint64_t place, uint64_t was, uint64_t now)
{
    const struct tide_lanemend_change change = {
        .kind = kind, .where = TIDE_AUDIT_PLACE, .position = place, .was = was, .now = now};
    tide_lanemend_say(self, &change);
}

/* --- is a batch whole? -------------------------------------------------------------------- */

bool tide_lanemend_is_whole(const struct tide_lanes *map, uint32_t lane,
                            const struct tide_lanes_slot *slot)
{
    size_t at = 0;
    uint64_t count = 0;
    if (slot->size < TIDE_LAYOUT_FRAME || slot->size > tide_lanes_most(map) || slot->count == 0)
        return false;
    const unsigned char *data = tide_lanes_payload(map, lane, slot->end, slot->size);
    if (data == NULL || (map->checksum && tide_crc(0, data, slot->size) != slot->checksum))
        return false;
    while (tide_frame_next(data, slot->size, &at) != NULL)
        count++;
    return count == slot->count && at == slot->size;
}

bool tide_lanemend_see(const struct tide_lanes *map, uint64_t place, struct tide_lanes_slot *slot,
                       uint32_t *lane)
{
    struct tide_lanes_entry entry;
    struct tide_lanes_slot says;
    tide_layout_words(&entry, tide_lanes_entry(map, place), sizeof entry);
    *lane = tide_lanemend_read(map, &entry, &says);
    if (tide_lanemend_get(&entry.seq) != place + 1 || *lane == map->lanes)
        return false;
    tide_layout_words(slot, tide_lanes_slot(map, *lane, entry.slot), sizeof *slot);
    return tide_lanemend_get(&slot->publish) == entry.slot && slot->number == says.number &&
           slot->end == says.end && slot->size == says.size && slot->count == says.count &&
           slot->epoch == says.epoch && slot->checksum == says.checksum && slot->epoch != 0;
}

/* --- lanes -------------------------------------------------------------------------------- */

/* The lane goes on behind this batch. */
static void lanemend_take(struct tide_lanemend *self, uint32_t lane,
                          const struct tide_lanes_slot *slot)
{
    struct tide_lanemend_lane *at = &self->lane[lane];
    uint64_t index = tide_lanemend_get(&slot->publish);
    *tide_lanemend_word(self, lane, index) |= tide_lanemend_bit(self, index);
    if (!at->any) {
        at->low = index;
        at->low_granule = tide_lanemend_start(slot);
        at->any = true;
    }
    at->slot = at->top = index + 1;
    at->granule = at->top_granule = slot->end;
}

/* The lanes as before the first place; their slots are those that its line, or else what is sound,
 * leaves. */
static void lanemend_rewind(struct tide_lanemend *self)
{
    const struct tide_lanes *map = self->map;
    for (uint32_t i = 0; i < map->lanes; i++) {
        struct tide_lanemend_lane *at = &self->lane[i], was = *at;
        uint64_t from = tide_lanemend_get(&map->lane[i].released);
        uint64_t done = tide_lanemend_get(&map->lane[i].done);
        bool sane = tide_lanemend_is_sane(map, from) && from != map->first;
        if (was.any && (!sane || (int64_t)(was.low - from) < 0 || was.top - from > map->slots.size))
            from = was.low;
        else if (!was.any && !sane)
            from = done - map->first > map->slots.size && tide_lanemend_is_sane(map, done)
                       ? done - map->slots.size
                       : map->first + 1;
        *at = (struct tide_lanemend_lane){.slot = from,
                                          .granule = map->first,
                                          .next = from,
                                          .spare = from,
                                          .from = from,
                                          .to = from + map->slots.size};
    }
}

/* --- what has which place ----------------------------------------------------------------- */

/* Entries that agree with their slots, of batches that are whole; places go on as far as there are
 * such. */
static void lanemend_judge(struct tide_lanemend *self)
{
    const struct tide_lanes *map = self->map;
    struct tide_lanes_slot slot;
    uint32_t lane;
    for (uint64_t i = 0; i < map->entries.size; i++) {
        bool sound = tide_lanemend_see(map, self->first + i, &slot, &lane) &&
                     tide_lanemend_is_behind(self, lane, &slot) &&
                     tide_lanemend_is_whole(map, lane, &slot);
        if (!sound && i >= self->end - self->first)
            break;
        self->end = tide_max(i + 1, self->end - self->first) + self->first;
        if (!sound)
            continue;
        struct tide_lanemend_client *client = &self->client[lane / map->brokers];
        if (!client->hinted)
            client->hint = slot.number;
        client->hinted = true;
        self->batch[i] =
            (struct tide_lanemend_batch){tide_lanemend_get(&slot.publish), lane, LANEMEND_SOUND};
        lanemend_take(self, lane, &slot);
    }
}

/* The batch of a place, as its slot says. */
static void lanemend_slot_of(const struct tide_lanemend *self, uint64_t place,
                             struct tide_lanes_slot *slot)
{
    const struct tide_lanemend_batch *batch = &self->batch[place - self->first];
    tide_layout_words(slot, tide_lanes_slot(self->map, batch->lane, batch->slot), sizeof *slot);
}

static void lanemend_decide(struct tide_lanemend *self, uint64_t place)
{
    struct tide_lanemend_batch *batch = &self->batch[place - self->first];
    struct tide_lanes_slot slot;
    if (batch->state == LANEMEND_SOUND) {
        lanemend_slot_of(self, place, &slot);
    } else {
        if (!tide_lanemend_find(self, place, &batch->lane, &slot))
            return;
        batch->slot = tide_lanemend_get(&slot.publish);
        batch->state = LANEMEND_FOUND;
    }
    lanemend_take(self, batch->lane, &slot);
    if (tide_lanemend_turn(self, batch->lane, slot.number) != 0) {
        batch->state = LANEMEND_FENCED;
        return;
    }
    struct tide_lanemend_client *client = &self->client[batch->lane / self->map->brokers];
    client->next = slot.number + 1;
    client->known = true;
    client->epoch = tide_max(client->epoch, slot.epoch);
}

static bool lanemend_is_kept(const struct tide_lanemend *self, uint64_t place)
{
    uint32_t state = self->batch[place - self->first].state;
    return state == LANEMEND_SOUND || state == LANEMEND_FOUND;
}

/* The places at the end whose entries were never written were not committed. */
static uint64_t lanemend_written(struct tide_lanemend *self)
{
    const struct tide_lanes *map = self->map;
    uint64_t end = self->end;
    while (end != self->first && self->batch[end - 1 - self->first].state == LANEMEND_LOST) {
        uint64_t seq = tide_lanemend_get(&tide_lanes_entry(map, end - 1)->seq);
        bool before = seq == 0 || (tide_logmap_at(&map->entries, seq - 1) ==
                                       tide_logmap_at(&map->entries, end - 1) &&
                                   (int64_t)(seq - end) < 0);
        if (!before)
            break;
        end--;
    }
    return end == self->end || tide_lanemend_has_spare(self) ? self->end : end;
}

/* --- numbers of messages ------------------------------------------------------------------ */

/* The number of the first message at `from`: what most of the entries say from there on to the
 * first one that is lost. */
static uint64_t lanemend_base(const struct tide_lanemend *self, uint64_t from)
{
    const struct tide_lanes *map = self->map;
    uint64_t base = tide_lanemend_get(&map->head->trimmed_base), weight = from == self->first,
             sum = 0;
    if (!tide_lanemend_is_sane(map, base)) {
        base = map->first;
        weight = 0;
    }
    for (uint64_t place = from; place != self->end && lanemend_is_kept(self, place); place++) {
        const struct tide_lanes_entry *entry = tide_lanes_entry(map, place);
        uint64_t says = TIDE_RELAXED_GET(&entry->base) - sum;
        struct tide_lanes_slot slot;
        lanemend_slot_of(self, place, &slot);
        sum += slot.count;
        if (tide_lanemend_get(&entry->seq) != place + 1 || !tide_lanemend_is_sane(map, says))
            continue;
        if (weight == 0)
            base = says;
        weight += weight == 0 || says == base ? 1 : UINT64_MAX;
    }
    return base;
}

/* The same where no batch is left. */
static uint64_t lanemend_end_base(const struct tide_lanemend *self)
{
    const struct tide_lanes *map = self->map;
    uint64_t base = tide_lanemend_get(&map->head->trimmed_base);
    for (uint64_t place = self->end; place != self->first; place--) {
        const struct tide_lanes_entry *entry = tide_lanes_entry(map, place - 1);
        uint64_t next = TIDE_RELAXED_GET(&entry->base) + TIDE_RELAXED_GET(&entry->count);
        if (tide_lanemend_get(&entry->seq) == place && tide_lanemend_is_sane(map, next))
            return next + (self->end - place);
    }
    return tide_lanemend_is_sane(map, base) ? base + (self->end - self->first) : map->first;
}

/* --- writing ------------------------------------------------------------------------------ */

static void lanemend_write_entry(const struct tide_lanes *map, struct tide_lanes_entry *to,
                                 const struct tide_lanes_entry *entry)
{
    tide_coh_set(map->coh, &to->seq, 0);
    to->slot = entry->slot;
    to->end = entry->end;
    to->base = entry->base;
    to->number = entry->number;
    to->size = entry->size;
    to->count = entry->count;
    to->client = entry->client;
    to->epoch = entry->epoch;
    to->checksum = entry->checksum;
    to->broker = entry->broker;
    to->control = entry->control;
    tide_coh_set(map->coh, &to->seq, tide_lanemend_get(&entry->seq));
    tide_coh_wrote(map->coh, to, sizeof *to);
}

/* The batch that was at `from` is at `place`, with this number. */
static void lanemend_place(struct tide_lanemend *self, uint64_t from, uint64_t place,
                           const struct tide_lanes_slot *slot, uint64_t base)
{
    const struct tide_lanes *map = self->map;
    const struct tide_lanemend_batch *batch = &self->batch[from - self->first];
    struct tide_lanes_entry *to = tide_lanes_entry(map, place), was;
    tide_layout_words(&was, to, sizeof was);
    struct tide_lanes_entry entry = {.slot = batch->slot,
                                     .end = slot->end,
                                     .base = base,
                                     .number = slot->number,
                                     .size = slot->size,
                                     .count = slot->count,
                                     .client = batch->lane / map->brokers,
                                     .epoch = slot->epoch,
                                     .checksum = slot->checksum,
                                     .broker = (uint8_t)(batch->lane % map->brokers),
                                     .pad0 = was.pad0,
                                     .control = was.control,
                                     .seq = place + 1};
    self->kept += from == place;
    if (memcmp((const void *)&entry, (const void *)&was, sizeof was) == 0)
        return;
    if (from == place)
        lanemend_say_place(self, TIDE_LANEMEND_RESTORED, place, batch->slot, base);
    else
        lanemend_say_place(self, TIDE_LANEMEND_MOVED, from, from, place);
    lanemend_write_entry(map, to, &entry);
}

/* What is left of the batch gets no place any more. */
static void lanemend_drop(struct tide_lanemend *self, uint64_t place)
{
    const struct tide_lanes *map = self->map;
    const struct tide_lanemend_batch *batch = &self->batch[place - self->first];
    bool fenced = batch->state == LANEMEND_FENCED;
    struct tide_lanes_entry entry;
    struct tide_lanes_slot says;
    tide_layout_words(&entry, tide_lanes_entry(map, place), sizeof entry);
    uint32_t lane = fenced ? batch->lane : tide_lanemend_read(map, &entry, &says);
    uint64_t index = fenced ? batch->slot : entry.slot;
    if (!fenced && tide_lanemend_see(map, place, &says, &lane) &&
        tide_lanemend_is_taken(self, lane, index))
        return; /* a repair that did not end moved it */
    lanemend_say_place(self, fenced ? TIDE_LANEMEND_FENCED : TIDE_LANEMEND_CUT, place, place,
                       place);
    if (lane == map->lanes)
        return;
    struct tide_lanes_slot *slot = tide_lanes_slot(map, lane, index);
    tide_layout_words(&says, slot, sizeof says);
    if (tide_lanemend_get(&says.publish) != index ||
        (!fenced && tide_lanemend_is_whole(map, lane, &says)))
        return;
    slot->flags = TIDE_LAYOUT_PAD;
    tide_coh_wrote(map->coh, slot, sizeof *slot);
}

static void lanemend_clear(const struct tide_lanes *map, struct tide_lanes_entry *entry)
{
    tide_coh_set(map->coh, &entry->seq, 0);
    tide_coh_wrote(map->coh, entry, sizeof *entry);
}

/* No entry says that it is of a place from `end` on, or of another position. From the last one
 * down: what is left when it ends in the middle has no gap. */
static void lanemend_wipe(struct tide_lanemend *self, uint64_t end)
{
    const struct tide_lanes *map = self->map;
    for (uint64_t place = self->end; place != end; place--)
        if (tide_lanemend_get(&tide_lanes_entry(map, place - 1)->seq) == place)
            lanemend_clear(map, tide_lanes_entry(map, place - 1));
    for (uint64_t i = 0; i < map->entries.size; i++) {
        struct tide_lanes_entry *entry = &map->index[i];
        uint64_t place = tide_lanemend_get(&entry->seq) - 1;
        if (place == UINT64_MAX ||
            (tide_logmap_at(&map->entries, place) == i && tide_lanemend_is_sane(map, place) &&
             (int64_t)(place - end) < 0))
            continue;
        lanemend_say_place(self, TIDE_LANEMEND_WIPED, i, place, 0);
        lanemend_clear(map, entry);
    }
}

static void lanemend_set_head(struct tide_lanemend *self, const char *what, _Atomic uint64_t *word,
                              uint64_t value)
{
    const struct tide_lanemend_change at = {
        .kind = TIDE_LANEMEND_HEAD, .where = TIDE_AUDIT_HEAD, .what = what};
    tide_lanemend_set(self, at, word, value);
}

/* At least as high as that of any entry, as far as these tell it. */
static uint64_t lanemend_epoch(const struct tide_lanes *map)
{
    uint64_t epoch = tide_lanemend_get(&map->head->epoch), most = 1;
    if (epoch - 1 < INT64_MAX)
        return epoch;
    for (uint64_t i = 0; i < map->entries.size; i++)
        most = tide_max(most, TIDE_RELAXED_GET(&map->index[i].control));
    return most;
}

static void lanemend_write(struct tide_lanemend *self)
{
    const struct tide_lanes *map = self->map;
    struct tide_lanes_slot slot;
    uint64_t begin = self->first, place;
    while (begin != self->end && !lanemend_is_kept(self, begin))
        begin++;
    uint64_t base = begin != self->end ? lanemend_base(self, begin) : lanemend_end_base(self);
    uint64_t end = begin, first_base = base;
    for (place = self->first; place != self->end; place++) {
        if (!lanemend_is_kept(self, place)) {
            lanemend_drop(self, place);
            continue;
        }
        lanemend_slot_of(self, place, &slot);
        lanemend_place(self, place, end++, &slot, base);
        base += slot.count;
    }
    tide_coh_drain(map->coh);
    lanemend_wipe(self, end);
    lanemend_set_head(self, "epoch of the control", &map->head->epoch, lanemend_epoch(map));
    lanemend_set_head(self, "number of the first message that is kept", &map->head->trimmed_base,
                      first_base);
    lanemend_set_head(self, "first place that is kept", &map->head->trimmed_place, begin);
    lanemend_set_head(self, "places that are committed", &map->head->committed, end);
    tide_coh_drain(map->coh);
}

/* --- all ---------------------------------------------------------------------------------- */

static void lanemend_all(struct tide_lanemend *self)
{
    const struct tide_lanes *map = self->map;
    for (uint32_t i = 0; i < map->lanes; i++)
        self->lane[i] = (struct tide_lanemend_lane){.slot = map->first + 1, .granule = map->first};
    for (uint32_t i = 0; i < map->clients; i++)
        self->client[i].hint = tide_lanemend_get(&map->session[i].expected);
    tide_lanemend_head(self);
    lanemend_judge(self);
    lanemend_rewind(self);
    for (uint64_t place = self->first; place != self->end; place++)
        lanemend_decide(self, place);
    self->end = lanemend_written(self);
    lanemend_write(self);
    tide_lanemend_lines(self);
    tide_coh_drain(map->coh);
}

int tide_lanemend_run(struct tide_lanemend *self)
{
    const struct tide_lanes *map = self->map;
    self->words = (map->slots.size + 63) / 64;
    size_t lanes = map->lanes * sizeof *self->lane, clients = map->clients * sizeof *self->client;
    size_t batches = map->entries.size * sizeof *self->batch;
    size_t bytes = lanes + clients + batches + map->lanes * self->words * sizeof *self->taken;
    bytes = tide_align_up(bytes, tide_vmem_page_size());
    unsigned char *scratch = tide_vmem_map(bytes);
    if (scratch == NULL)
        return -ENOMEM;
    tide_coh_fresh(map->coh, map->base, map->size);
    self->lane = (void *)scratch;
    self->client = (void *)(scratch + lanes);
    self->batch = (void *)(scratch + lanes + clients);
    self->taken = (void *)(scratch + lanes + clients + batches);
    self->kept = 0;
    memset(self->count, 0, sizeof self->count);
    lanemend_all(self);
    tide_vmem_unmap(scratch, bytes);
    return 0;
}
