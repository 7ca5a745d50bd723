/* laneseq.c - see laneseq.h */
#include "box/laneseq.h"

#include "box/vmem.h"

enum { LANESEQ_ROW = 8, LANESEQ_TRIM = 256, LANESEQ_AHEAD = 16 };

/* --- answers ---------------------------------------------------------------------------- */

/* The sequencer's line of a session, as a whole, `granted` last. The epoch before the state: the
 * line may go between them, and an epoch that was fenced is never active. */
static void laneseq_tell_session(struct tide_laneseq *self, uint32_t client)
{
    const struct tide_lanes *map = self->map;
    struct tide_lanes_session *line = &map->session[client];
    struct tide_laneseq_session *session = &self->session[client];
    tide_coh_set(map->coh, &line->epoch, session->epoch);
    tide_coh_set(map->coh, &line->state, session->state);
    tide_coh_set(map->coh, &line->expected, session->expected);
    tide_coh_set(map->coh, &line->late, session->late);
    tide_coh_set(map->coh, &line->granted, session->request);
    tide_coh_wrote(map->coh, &line->epoch, TIDE_LINE);
    session->told = session->expected + session->late;
}

/* The epoch that begins goes on where the lanes were looked at. What stands there of epochs
 * before is overwritten. */
static void laneseq_grant(struct tide_laneseq *self, uint32_t client, uint64_t request)
{
    const struct tide_lanes *map = self->map;
    struct tide_laneseq_session *session = &self->session[client];
    for (uint32_t i = 0; i < map->brokers; i++) {
        uint32_t number = tide_lanes_number(map, client, i);
        struct tide_lanes_lane *line = &map->lane[number];
        tide_coh_set(map->coh, &line->from_slot, self->lane[number].slot);
        tide_coh_set(map->coh, &line->from_granule, self->lane[number].granule);
        tide_coh_wrote(map->coh, line, TIDE_LINE);
    }
    tide_coh_drain(map->coh);
    session->request = request;
    session->epoch++;
    session->state = TIDE_LAYOUT_ACTIVE;
    laneseq_tell_session(self, client);
    tide_coh_drain(map->coh);
}

/* --- what is told of it -------------------------------------------------------------------- */

static void laneseq_tell(struct tide_laneseq *self)
{
    const struct tide_lanes *map = self->map;
    tide_coh_drain(map->coh); /* the entries are there */
    self->untold = !tide_laneseq_may(self);
    if (self->untold)
        return;
    if (self->committed != self->place) {
        self->committed = self->place;
        tide_coh_set(map->coh, &map->head->committed, self->place);
        tide_coh_wrote(map->coh, &map->head->committed, sizeof map->head->committed);
    }
    for (uint32_t i = 0; i < map->lanes; i++) {
        struct tide_laneseq_lane *at = &self->lane[i];
        if (at->done == at->slot)
            continue;
        at->done = at->slot;
        tide_coh_set(map->coh, &map->lane[i].done, at->done);
        tide_coh_set(map->coh, &map->lane[i].done_granule, at->granule);
        tide_coh_wrote(map->coh, &map->lane[i], TIDE_LINE);
    }
    for (uint32_t i = 0; map->level == 4 && i < map->clients; i++)
        if (self->session[i].told != self->session[i].expected + self->session[i].late)
            laneseq_tell_session(self, i);
    tide_coh_drain(map->coh);
}

void tide_laneseq_fence(struct tide_laneseq *self, uint32_t client)
{
    struct tide_laneseq_session *session = &self->session[client];
    session->state = TIDE_LAYOUT_FENCED;
    session->epoch++;
    laneseq_tell_session(self, client);
    tide_coh_drain(self->map->coh);
}

/* The lane that an entry is about, and its client, or NULL. */
TIDE_INLINE struct tide_laneseq_lane *laneseq_lane_of(const struct tide_laneseq *self,
                                                      const struct tide_lanes_entry *entry,
                                                      uint32_t *client)
{
    uint32_t broker = TIDE_RELAXED_GET(&entry->broker);
    *client = TIDE_RELAXED_GET(&entry->client);
    if (*client >= self->map->clients || broker >= self->map->brokers)
        return NULL;
    return &self->lane[tide_lanes_number(self->map, *client, broker)];
}

/* --- places ------------------------------------------------------------------------------- */

static void laneseq_place(struct tide_laneseq *self, uint32_t lane,
                          const struct tide_lanes_slot *slot)
{
    const struct tide_lanes *map = self->map;
    struct tide_lanes_entry *entry = tide_lanes_entry(map, self->place);
    entry->slot = self->lane[lane].slot;
    entry->end = slot->end;
    entry->base = self->base;
    entry->number = slot->number;
    entry->size = slot->size;
    entry->count = slot->count;
    entry->client = lane / map->brokers;
    entry->epoch = slot->epoch;
    entry->checksum = slot->checksum;
    entry->broker = (uint8_t)(lane % map->brokers);
    entry->control = (uint16_t)self->epoch;
    tide_coh_set(map->coh, &entry->seq, self->place + 1);
    tide_coh_wrote(map->coh, entry, sizeof *entry);
    self->base += slot->count;
    self->place++;
    self->lane[lane].placed = self->lane[lane].slot + 1;
}

/* What a client says of its lane may be: the slot was free, and its payload is behind that of the
 * slot before, in a row, and not beyond what is free. */
static bool laneseq_is_sound(const struct tide_laneseq *self, uint32_t lane,
                             const struct tide_lanes_slot *slot)
{
    const struct tide_laneseq_lane *at = &self->lane[lane];
    uint64_t granules = tide_lanes_granules(slot->size);
    return at->slot - at->released < self->map->slots.size && slot->end >= at->granule &&
           slot->end - at->granule >= granules &&
           slot->end - at->released_granule <= self->map->granules.size &&
           slot->size <= tide_lanes_most(self->map) &&
           tide_lanes_payload(self->map, lane, slot->end, slot->size) != NULL;
}

/* The next slot of the lane, copied; false while there is none. */
static bool laneseq_see(const struct tide_laneseq *self, uint32_t lane,
                        struct tide_lanes_slot *copy)
{
    const struct tide_lanes *map = self->map;
    uint64_t index = self->lane[lane].slot;
    const struct tide_lanes_slot *slot = tide_lanes_slot(map, lane, index);
    if (tide_coh_get(map->coh, &slot->publish) != index)
        return false;
    tide_layout_words(copy, slot, sizeof *copy);
    return copy->epoch == (uint32_t)self->session[lane / map->brokers].epoch;
}

/* Deals with one published slot; false: it waits for others, or its client is not to be
 * trusted. */
static bool laneseq_deal(struct tide_laneseq *self, uint32_t lane,
                         const struct tide_lanes_slot *slot)
{
    const struct tide_lanes *map = self->map;
    struct tide_laneseq_session *session = &self->session[lane / map->brokers];
    if (!laneseq_is_sound(self, lane, slot)) {
        laneseq_tell(self);
        tide_laneseq_fence(self, lane / map->brokers);
        return false;
    }
    bool pad = (slot->flags & TIDE_LAYOUT_PAD) != 0, late = false;
    if (!pad && map->level == 4) {
        if (slot->number > session->expected)
            return false;
        late = slot->number < session->expected;
        session->late += late;
        session->expected += !late;
    }
    if (!pad && !late)
        laneseq_place(self, lane, slot);
    self->lane[lane].slot++;
    self->lane[lane].granule = slot->end;
    return true;
}

/* Up to `most` slots of a lane, some of whose lines are fetched at once. */
static uint64_t laneseq_scan(struct tide_laneseq *self, uint32_t lane, uint64_t most)
{
    const struct tide_lanes *map = self->map;
    struct tide_laneseq_lane *at = &self->lane[lane];
    struct tide_lanes_slot slot;
    uint64_t done = 0, fetched = 0;
    if (self->session[lane / map->brokers].state != TIDE_LAYOUT_ACTIVE)
        return 0;
    for (; done < most; done++) {
        if (done == fetched) {
            uint64_t row = tide_lanes_row(&map->slots, at->slot, LANESEQ_ROW);
            tide_coh_fresh(map->coh, tide_lanes_slot(map, lane, at->slot), row * sizeof slot);
            fetched += row;
        }
        if (!laneseq_see(self, lane, &slot) || !tide_laneseq_may(self) ||
            !laneseq_deal(self, lane, &slot))
            break;
    }
    return done;
}

/* --- requests ------------------------------------------------------------------------------ */

/* What the epoch that ends made visible before its client asked gets its places, or waits for
 * numbers that never come (level 4). Nothing is released meanwhile, so that it ends. */
static void laneseq_settle(struct tide_laneseq *self, uint32_t client)
{
    const struct tide_lanes *map = self->map;
    uint64_t done;
    do {
        done = 0;
        for (uint32_t i = 0; i < map->brokers; i++)
            done += laneseq_scan(self, tide_lanes_number(map, client, i), map->slots.size);
    } while (done > 0);
    laneseq_tell(self);
}

static bool laneseq_serve_client(struct tide_laneseq *self, uint32_t client)
{
    const struct tide_lanes *map = self->map;
    const struct tide_lanes_session *line = &map->session[client];
    tide_coh_fresh(map->coh, &line->request, TIDE_LINE);
    uint64_t request = tide_coh_get(map->coh, &line->request);
    if (request == self->session[client].request)
        return false;
    laneseq_settle(self, client);
    if (!tide_laneseq_may(self))
        return false;
    laneseq_grant(self, client, request);
    return true;
}

/* Where a reader begins; 0, ERANGE or ENXIO. */
static uint64_t laneseq_start(const struct tide_laneseq *self, uint64_t start, uint64_t position,
                              uint64_t *from)
{
    *from = start == TIDE_LANES_EARLIEST   ? self->trimmed_place
            : start == TIDE_LANES_POSITION ? position
                                           : self->committed;
    return *from < self->trimmed_place ? ERANGE : *from > self->committed ? ENXIO : 0;
}

static bool laneseq_serve_reader(struct tide_laneseq *self, uint32_t number)
{
    const struct tide_lanes *map = self->map;
    struct tide_lanes_reader *line = &map->reader[number];
    struct tide_laneseq_reader *reader = &self->reader[number];
    tide_coh_fresh(map->coh, &line->cursor, TIDE_LINE);
    uint64_t request = tide_coh_get(map->coh, &line->request);
    if (request == reader->request || !tide_laneseq_may(self))
        return false;
    uint64_t start = tide_coh_get(map->coh, &line->start), from;
    uint64_t error = laneseq_start(self, start, tide_coh_get(map->coh, &line->position), &from);
    *reader = (struct tide_laneseq_reader){request, from, error == 0 && start != TIDE_LANES_GONE};
    tide_coh_set(map->coh, &line->from, from);
    tide_coh_set(map->coh, &line->error, error);
    tide_coh_set(map->coh, &line->granted, request);
    tide_coh_wrote(map->coh, &line->from, TIDE_LINE);
    tide_coh_drain(map->coh);
    return true;
}

/* One request line in each step, or all of them. */
static uint64_t laneseq_serve(struct tide_laneseq *self, bool all)
{
    const struct tide_lanes *map = self->map;
    uint32_t lines = map->clients + map->readers;
    uint64_t served = 0;
    for (uint32_t i = all ? lines : 1; i > 0; i--) {
        uint32_t number = self->request_turn++ % lines;
        served += number < map->clients ? laneseq_serve_client(self, number)
                                        : laneseq_serve_reader(self, number - map->clients);
    }
    return served;
}

/* --- trimming ------------------------------------------------------------------------------ */

void tide_laneseq_forget(struct tide_laneseq *self, uint32_t reader)
{
    const struct tide_lanes *map = self->map;
    struct tide_lanes_reader *line = &map->reader[reader];
    if (!self->reader[reader].open)
        return;
    self->reader[reader].open = false;
    tide_coh_set(map->coh, &line->error, ESTALE);
    tide_coh_wrote(map->coh, &line->from, TIDE_LINE);
    tide_coh_drain(map->coh);
}

/* The lowest place that a reader still needs; *none: there is no reader. */
static uint64_t laneseq_needed(struct tide_laneseq *self, bool *none)
{
    const struct tide_lanes *map = self->map;
    uint64_t least = UINT64_MAX;
    *none = true;
    for (uint32_t i = 0; i < map->readers; i++) {
        struct tide_laneseq_reader *reader = &self->reader[i];
        const struct tide_lanes_reader *line = &map->reader[i];
        if (!reader->open)
            continue;
        tide_coh_fresh(map->coh, &line->cursor, TIDE_LINE);
        if (tide_coh_get(map->coh, &line->joined) == reader->request)
            reader->from = tide_max(reader->from, tide_coh_get(map->coh, &line->cursor));
        least = tide_min(least, reader->from);
        *none = false;
    }
    return least;
}

/* Half of the lane is taken. */
static bool laneseq_is_pressed(const struct tide_laneseq *self, uint32_t lane)
{
    const struct tide_laneseq_lane *at = &self->lane[lane];
    return at->slot - at->released >= (self->map->slots.size + 1) / 2 ||
           at->granule - at->released_granule >= self->map->granules.size / 2;
}

static bool laneseq_has_pressure(const struct tide_laneseq *self)
{
    for (uint32_t i = 0; i < self->map->lanes; i++)
        if (laneseq_is_pressed(self, i))
            return true;
    return false;
}

/* Places below may be trimmed. With *spare, only while there is pressure. */
static uint64_t laneseq_limit(struct tide_laneseq *self, bool *spare)
{
    bool none;
    uint64_t limit = tide_min(laneseq_needed(self, &none), self->committed);
    *spare = none && self->map->retain == TIDE_LAYOUT_OLD;
    if (*spare || (!none && self->map->retain != TIDE_LAYOUT_ASKED))
        return limit;
    return tide_min(limit, self->asked);
}

/* What the place had is free. */
static void laneseq_free(struct tide_laneseq *self, uint64_t place)
{
    const struct tide_lanes_entry *entry = tide_lanes_entry(self->map, place);
    uint32_t client;
    struct tide_laneseq_lane *at = laneseq_lane_of(self, entry, &client);
    if (at == NULL)
        return; /* somebody else wrote there: what it had stays taken */
    at->released = tide_min(entry->slot + 1, at->placed);
    at->released_granule = tide_min(entry->end, at->granule);
    self->trimmed_base = entry->base + entry->count;
}

/* Slots that were looked at and never get a place are free with the last one before them. */
static void laneseq_tell_free(struct tide_laneseq *self)
{
    const struct tide_lanes *map = self->map;
    bool told = false;
    for (uint32_t i = 0; i < map->lanes; i++) {
        struct tide_laneseq_lane *at = &self->lane[i];
        struct tide_lanes_lane *line = &map->lane[i];
        if (at->released >= at->placed && at->released < at->done) {
            at->released = at->done;
            at->released_granule = at->granule;
        }
        if (tide_coh_get(map->coh, &line->released) == at->released)
            continue;
        tide_coh_set(map->coh, &line->released, at->released);
        tide_coh_set(map->coh, &line->granule, at->released_granule);
        tide_coh_wrote(map->coh, line, TIDE_LINE);
        told = true;
    }
    if (told)
        tide_coh_drain(map->coh);
}

static void laneseq_release(struct tide_laneseq *self)
{
    const struct tide_lanes *map = self->map;
    bool spare;
    uint64_t begin = self->trimmed_place, limit = laneseq_limit(self, &spare);
    if (!tide_laneseq_may(self))
        return;
    limit = tide_min(limit, begin + LANESEQ_TRIM);
    while (self->trimmed_place < limit &&
           (!spare || self->trimmed_place < self->asked || laneseq_has_pressure(self)))
        laneseq_free(self, self->trimmed_place++);
    if (self->trimmed_place != begin) {
        /* The place last: a line may go between them, and entries below it are no more. */
        tide_coh_set(map->coh, &map->head->trimmed_base, self->trimmed_base);
        tide_coh_set(map->coh, &map->head->trimmed_place, self->trimmed_place);
        tide_coh_wrote(map->coh, &map->head->trimmed_place, TIDE_LINE);
        tide_coh_drain(map->coh);
    }
    laneseq_tell_free(self);
}

void tide_laneseq_trim(struct tide_laneseq *self, uint64_t place)
{
    uint64_t before;
    self->asked = tide_max(self->asked, place);
    do {
        before = self->trimmed_place;
        laneseq_release(self);
    } while (self->trimmed_place != before);
}

/* --- steps ----------------------------------------------------------------------------------- */

uint64_t tide_laneseq_step(struct tide_laneseq *self, uint64_t most)
{
    const struct tide_lanes *map = self->map;
    uint64_t done = self->untold, served = laneseq_serve(self, false);
    bool pressed = false;
    for (uint32_t i = 0; i < map->lanes; i++) {
        uint32_t lane = (self->turn + i) % map->lanes;
        done += laneseq_scan(self, lane, most);
        pressed = pressed || laneseq_is_pressed(self, lane);
    }
    self->turn++;
    if (done > 0)
        laneseq_tell(self);
    else
        served += laneseq_serve(self, true);
    if (done == 0 || pressed)
        laneseq_release(self);
    return done + served;
}

/* --- beginning -------------------------------------------------------------------------------- */

static uint64_t laneseq_get(const struct tide_laneseq *self, const _Atomic uint64_t *word)
{
    return tide_coh_get(self->map->coh, word);
}

/* What the lines say; the one before told of places only when they were there. */
static void laneseq_recall(struct tide_laneseq *self)
{
    const struct tide_lanes *map = self->map;
    for (uint32_t i = 0; i < map->lanes; i++) {
        const struct tide_lanes_lane *line = &map->lane[i];
        struct tide_laneseq_lane *at = &self->lane[i];
        at->released = laneseq_get(self, &line->released);
        at->released_granule = laneseq_get(self, &line->granule);
        at->placed = at->released;
        at->slot = tide_max(at->released, laneseq_get(self, &line->from_slot));
        at->slot = tide_max(at->slot, laneseq_get(self, &line->done));
        at->granule = tide_max(at->released_granule, laneseq_get(self, &line->from_granule));
        at->granule = tide_max(at->granule, laneseq_get(self, &line->done_granule));
        at->done = laneseq_get(self, &line->done);
    }
    for (uint32_t i = 0; i < map->clients; i++) {
        const struct tide_lanes_session *line = &map->session[i];
        struct tide_laneseq_session *session = &self->session[i];
        session->request = laneseq_get(self, &line->granted);
        session->epoch = laneseq_get(self, &line->epoch);
        session->expected = laneseq_get(self, &line->expected);
        session->late = laneseq_get(self, &line->late);
        session->told = session->expected + session->late;
        session->state = laneseq_get(self, &line->state) == TIDE_LAYOUT_ACTIVE && session->epoch > 0
                             ? TIDE_LAYOUT_ACTIVE
                             : TIDE_LAYOUT_FENCED;
    }
    for (uint32_t i = 0; i < map->readers; i++) {
        const struct tide_lanes_reader *line = &map->reader[i];
        uint64_t granted = laneseq_get(self, &line->granted);
        self->reader[i] =
            (struct tide_laneseq_reader){granted, laneseq_get(self, &line->from),
                                         granted != 0 && laneseq_get(self, &line->error) == 0 &&
                                             laneseq_get(self, &line->start) != TIDE_LANES_GONE};
    }
}

/* The next entry of the ring. */
static struct tide_lanes_entry *laneseq_next(const struct tide_lanes *map,
                                             const struct tide_lanes_entry *entry)
{
    size_t next = (size_t)(entry - map->index) + 1;
    return &map->index[next < map->entries.size ? next : 0];
}

/* The index as far as it has no gap: what has a place keeps it. */
static void laneseq_replay(struct tide_laneseq *self)
{
    const struct tide_lanes *map = self->map;
    uint64_t place = self->place, last = self->trimmed_place + map->entries.size;
    const struct tide_lanes_entry *entry = tide_lanes_entry(map, place);
    const struct tide_lanes_entry *ahead = tide_lanes_entry(map, place + LANESEQ_AHEAD);
    struct tide_laneseq_lane *at;
    uint32_t client;
    while (place != last && laneseq_get(self, &entry->seq) == place + 1 &&
           (at = laneseq_lane_of(self, entry, &client)) != NULL) {
        struct tide_laneseq_session *session = &self->session[client];
        at->placed = entry->slot + 1;
        at->slot = tide_max(at->slot, entry->slot + 1);
        at->granule = tide_max(at->granule, entry->end);
        session->expected = tide_max(session->expected, entry->number + 1);
        self->base = entry->base + entry->count;
        entry = laneseq_next(map, entry);
        ahead = laneseq_next(map, ahead);
        /* Nobody writes entries now, and all of them were fetched anew. */
        __builtin_prefetch(ahead);
        place++;
    }
    self->place = place;
}

/* Entries behind a gap are of places that will be given anew; all the others are replayed. */
static void laneseq_wipe(struct tide_laneseq *self)
{
    const struct tide_lanes *map = self->map;
    uint64_t last = self->trimmed_place + map->entries.size;
    struct tide_lanes_entry *entry = tide_lanes_entry(map, self->place);
    for (uint64_t place = self->place; place != last; place++, entry = laneseq_next(map, entry)) {
        if (laneseq_get(self, &entry->seq) <= self->place)
            continue;
        tide_coh_set(map->coh, &entry->seq, 0);
        tide_coh_wrote(map->coh, entry, sizeof *entry);
    }
    tide_coh_set(map->coh, &map->head->epoch, self->epoch);
    tide_coh_wrote(map->coh, &map->head->epoch, sizeof map->head->epoch);
    tide_coh_drain(map->coh);
}

int tide_laneseq_open(struct tide_laneseq *self, const struct tide_lanes *map)
{
    size_t lanes = map->lanes * sizeof *self->lane, clients = map->clients * sizeof *self->session;
    size_t bytes = lanes + clients + map->readers * sizeof *self->reader;
    bytes = tide_align_up(bytes, tide_vmem_page_size());
    unsigned char *memory = tide_vmem_map(bytes);
    if (memory == NULL)
        return -ENOMEM;
    *self = (struct tide_laneseq){.map = map, .bytes = bytes};
    self->lane = (void *)memory;
    self->session = (void *)(memory + lanes);
    self->reader = (void *)(memory + lanes + clients);
    size_t lines = (size_t)((unsigned char *)map->slot - map->base);
    size_t before = (uintptr_t)map->base % tide_vmem_page_size();
    tide_vmem_advise(map->base - before, before + lines, TIDE_VMEM_FETCH);
    tide_coh_fresh(map->coh, map->base, lines);
    self->epoch = laneseq_get(self, &map->head->epoch) + 1;
    self->trimmed_place = self->place = laneseq_get(self, &map->head->trimmed_place);
    self->trimmed_base = self->base = laneseq_get(self, &map->head->trimmed_base);
    laneseq_recall(self);
    laneseq_replay(self);
    laneseq_wipe(self);
    self->committed = laneseq_get(self, &map->head->committed);
    laneseq_tell(self);
    return 0;
}

void tide_laneseq_close(struct tide_laneseq *self)
{
    tide_vmem_unmap(self->lane, self->bytes);
}
