/* durable.c - see durable.h */
#include "box/durable.h"

#include "box/retire.h"
#include "box/trim.h"

enum { DURABLE_TRIES = 10000 };

void tide_durable_start(struct tide_durable *self, const struct tide_logmap *map,
                        const struct tide_region *region)
{
    self->map = map;
    self->region = region;
    self->room = tide_logroom_of(region);
    self->medium = tide_medium_of(region, "");
    atomic_store_explicit(&self->places, tide_logroom_said(self->room).places,
                          memory_order_release);
}

static int durable_fail(struct tide_durable *self, int error)
{
    int none = 0;
    if (error != 0)
        atomic_compare_exchange_strong(&self->error, &none, error);
    return error;
}

static int durable_write(struct tide_durable *self, const void *at, size_t bytes)
{
    return durable_fail(self, tide_medium_write(&self->medium, at, bytes));
}

int tide_durable_note(struct tide_durable *self)
{
    int error = durable_write(self, self->room, sizeof *self->room);
    tide_medium_drain(&self->medium);
    return error;
}

void tide_durable_made(struct tide_durable *self)
{
    if (self->medium.way == TIDE_MEDIUM_NONE)
        return;
    durable_write(self, self->map->base, (size_t)(self->map->payload - self->map->base));
    tide_medium_drain(&self->medium);
}

void tide_durable_begin(struct tide_durable *self, const struct tide_region *region)
{
    if (self->medium.way == TIDE_MEDIUM_NONE)
        return;
    durable_write(self, region->extent.base, region->table.heads * TIDE_REGION_SEGMENT);
    tide_medium_drain(&self->medium);
}

int tide_durable_gone(const struct tide_region *region)
{
    struct tide_durable self = {
        .region = region, .room = tide_logroom_of(region), .medium = tide_medium_of(region, "")};
    atomic_store_explicit(&self.room->magic, 0, memory_order_seq_cst);
    TIDE_CRASH_POINT(durable_gone);
    return self.medium.way != TIDE_MEDIUM_NONE ? tide_durable_note(&self) : 0;
}

/* --- blocks ------------------------------------------------------------------------------ */

/* A block, and the entries of the region's table without which its segments would look free. */
static void durable_block(void *context, const unsigned char *block, size_t bytes)
{
    struct tide_durable *self = context;
    uint64_t at = (uintptr_t)block - (uintptr_t)self->map->area;
    struct tide_region_segment segment = {.length = 1};
    if (at >= self->map->area_size || bytes > self->map->area_size - at)
        return;
    const struct tide_plot *table = &self->region->table;
    uint64_t index = at / TIDE_REGION_SEGMENT;
    tide_plot_read(table, index, &segment);
    uint64_t entries = segment.state == TIDE_REGION_RUN ? segment.length : 1;
    durable_write(self, block, bytes);
    durable_write(self, &table->entry[index],
                  tide_min(entries, table->segments - index) * sizeof(struct tide_plot_entry));
}

/* --- line by line ------------------------------------------------------------------------ */

/* Copies what others may be overwriting: whether they did is found out afterwards. */
__attribute__((no_sanitize("thread"))) static void durable_copy(
    struct tide_layout_entry *to, const struct tide_layout_entry *from)
{
    volatile uint64_t *out = (volatile uint64_t *)(volatile void *)to;
    const volatile uint64_t *in = (const volatile uint64_t *)(const volatile void *)from;
    for (size_t i = 0; i < sizeof *to / sizeof *out; i++)
        out[i] = in[i];
}

/* The entry at this place as it is, if it is still there, and names memory of the log. */
static bool durable_see(const struct tide_durable *self, uint64_t place,
                        struct tide_layout_entry *entry)
{
    const struct tide_logmap *map = self->map;
    const struct tide_layout_entry *at = tide_order_see(map, place);
    if (at == NULL)
        return false;
    durable_copy(entry, at);
    tide_coh_copied();
    return tide_coh_get(map->coh, &map->head->trimmed_place) <= place &&
           entry->broker < map->brokers &&
           ((entry->flags & TIDE_LAYOUT_REF) != 0 ||
            (entry->offset <= map->size && entry->size <= map->size - entry->offset));
}

/* What the batches at these places have in blocks. */
static void durable_blocks(struct tide_durable *self, uint64_t from, uint64_t to)
{
    struct tide_layout_entry entry;
    if (!tide_retire_is_used(self->map))
        return;
    for (uint64_t place = from; place < to; place++)
        if (durable_see(self, place, &entry) && (entry.flags & TIDE_LAYOUT_REF) != 0)
            durable_block(self, (void *)((uintptr_t)self->map->base + entry.offset), entry.size);
}

/* What is trimmed meanwhile needs no writing. */
static void durable_lines(struct tide_durable *self, uint64_t from, uint64_t to)
{
    const struct tide_logmap *map = self->map;
    struct tide_layout_entry entry;
    for (uint64_t place = from; place < to; place++) {
        if (!durable_see(self, place, &entry))
            continue;
        const struct tide_layout_slot *slot = tide_logmap_slot(map, entry.broker, entry.slot);
        if ((entry.flags & TIDE_LAYOUT_REF) == 0)
            tide_medium_write(&self->medium, map->base + entry.offset, entry.size);
        tide_medium_write(&self->medium, slot, sizeof *slot);
    }
    tide_medium_drain(&self->medium);
    for (uint64_t place = from; place < to; place++)
        tide_medium_write(&self->medium, tide_logmap_entry(map, place),
                          sizeof(struct tide_layout_entry));
    tide_medium_write(&self->medium, map->base, (size_t)((char *)map->index - (char *)map->base));
    tide_medium_drain(&self->medium);
}

/* --- page by page ------------------------------------------------------------------------ */

/* The kernel knows which pages were written. */
static int durable_pages(struct tide_durable *self)
{
    const struct tide_logmap *map = self->map;
    size_t front = (size_t)((unsigned char *)map->slot - map->base);
    int error = durable_write(self, map->slot, map->size - front);
    TIDE_CRASH_POINT(durable_slots);
    return error != 0 ? error : durable_write(self, map->base, front);
}

/* --- where it ends ----------------------------------------------------------------------- */

/* The message number at this place, the first one that is not committed. False: it has moved on. */
static bool durable_base(const struct tide_durable *self, uint64_t place, uint64_t *base)
{
    const struct tide_logmap *map = self->map;
    struct tide_layout_entry entry;
    if (place == tide_durable_places(self)) {
        *base = tide_logroom_said(self->room).base;
        return true;
    }
    durable_copy(&entry, tide_logmap_entry(map, place - 1));
    tide_coh_copied();
    *base = entry.base + entry.count;
    if (tide_coh_get(map->coh, &map->head->trimmed_place) < place)
        return true;
    *base = tide_coh_get(map->coh, &map->head->trimmed_base);
    return tide_coh_get(map->coh, &map->head->trimmed_place) == place &&
           tide_coh_get(map->coh, &map->head->committed) == place;
}

/* Others trim and commit meanwhile; but what never stands still, or has trimmed more than was
 * committed, is no log. */
static int durable_end(struct tide_durable *self, struct tide_order_place *end)
{
    for (int i = 0; i < DURABLE_TRIES; i++) {
        end->place = tide_order_frontier(self->map, UINT64_MAX);
        if (durable_base(self, end->place, &end->base))
            return 0;
    }
    return durable_fail(self, -EUCLEAN);
}

/* --- sessions ---------------------------------------------------------------------------- */

/* What a client's next batch is where `places` are durable, as far as is known by now. */
static void durable_raise(const struct tide_durable *self, uint64_t client, uint64_t expected,
                          uint64_t places)
{
    const struct tide_logmap *map = self->map;
    struct tide_layout_session *session = &map->session[client];
    const struct tide_layout_lasting *now =
        tide_logmap_lasting(map, client, tide_durable_places(self));
    struct tide_layout_lasting *next = &session->lasting[now == session->lasting];
    bool begun = tide_coh_get(map->coh, &next->places) == places;
    uint64_t known = tide_coh_get(map->coh, begun ? &next->expected : &now->expected);
    if (expected <= known)
        return;
    tide_coh_set(map->coh, &next->expected, expected);
    tide_coh_set(map->coh, &next->places, places);
}

/* Nobody trims: what is at these places, or was, is known. */
static void durable_sessions(const struct tide_durable *self, uint64_t from, uint64_t to)
{
    const struct tide_logmap *map = self->map;
    struct tide_layout_entry entry;
    if (to - from > map->entries.size) /* what is before them was trimmed */
        from = to - map->entries.size;
    for (uint64_t i = 0; i < map->sessions; i++)
        durable_raise(self, i, tide_coh_get(map->coh, &map->session[i].trimmed), to);
    for (uint64_t place = from; place < to; place++)
        if (durable_see(self, place, &entry) && entry.client < map->sessions)
            durable_raise(self, entry.client, entry.number + 1, to);
}

static bool durable_begin(const struct tide_durable *self)
{
    return self->crew == NULL || tide_crew_try_begin(self->crew);
}

static void durable_leave_call(const struct tide_durable *self)
{
    if (self->crew != NULL)
        tide_crew_end(self->crew);
}

/* A call that did not begin: whoever waits knows for how long. */
static int durable_not_now(const struct tide_durable *self)
{
    int error = tide_crew_error(self->crew);
    return error != 0 ? error : -EBUSY;
}

/* As a call of the log, and with the sessions at a stand: -EAGAIN, somebody trims. */
static int durable_prepare_sessions(struct tide_durable *self, struct tide_order_place *end)
{
    const struct tide_logmap *map = self->map;
    if (map->level != 4)
        return durable_end(self, end);
    if (!tide_trim_stop(map))
        return -EAGAIN;
    int error = durable_end(self, end);
    if (error == 0)
        durable_sessions(self, tide_durable_places(self), end->place);
    tide_trim_go_on(map);
    TIDE_CRASH_POINT(durable_sessions);
    return error;
}

/* Where the next sync ends; at level 4 the sessions are ready for it. */
static int durable_prepare(struct tide_durable *self, struct tide_order_place *end)
{
    uint64_t patience = 0;
    for (;;) {
        if (!durable_begin(self))
            return durable_not_now(self);
        int error = durable_prepare_sessions(self, end);
        durable_leave_call(self);
        if (error != -EAGAIN)
            return error;
        if (!tide_trim_wait(&patience))
            return durable_fail(self, -EUCLEAN);
    }
}

/* --- steps ------------------------------------------------------------------------------- */

/* The word, and what belongs to it, on the medium; then in sight. */
static int durable_say(struct tide_durable *self, struct tide_order_place end, uint64_t kept)
{
    uint64_t epoch = tide_coh_get(self->map->coh, &self->map->head->epoch);
    tide_logroom_say(self->room, (struct tide_logroom_said){end.place, end.base, kept, epoch});
    TIDE_CRASH_POINT(durable_said);
    int error = tide_durable_note(self);
    TIDE_CRASH_POINT(durable_noted);
    if (error == 0) {
        atomic_store_explicit(&self->places, end.place, memory_order_release);
        atomic_store_explicit(&self->room->durable, end.place, memory_order_release);
    }
    return error;
}

static int durable_sync(struct tide_durable *self)
{
    const struct tide_logmap *map = self->map;
    uint64_t from = tide_durable_places(self);
    struct tide_order_place end;
    int error = durable_prepare(self, &end);
    uint64_t kept = tide_coh_get(map->coh, &map->head->trimmed_place);
    if (error == 0)
        error = atomic_load_explicit(&self->error, memory_order_relaxed);
    if (error != 0 || end.place == from)
        return error;
    if (end.place - from > map->entries.size) /* what is before them was trimmed */
        from = end.place - map->entries.size;
    atomic_fetch_add_explicit(&self->syncs, 1, memory_order_relaxed);
    durable_blocks(self, from, end.place);
    TIDE_CRASH_POINT(durable_blocks);
    if ((error = atomic_load_explicit(&self->error, memory_order_relaxed)) != 0)
        return error;
    if (self->medium.way == TIDE_MEDIUM_CACHE)
        durable_lines(self, from, end.place);
    else if ((error = durable_pages(self)) != 0)
        return error;
    TIDE_CRASH_POINT(durable_front);
    return durable_say(self, end, kept);
}

/* One thread of one process. */
static bool durable_take(struct tide_durable *self)
{
    uint32_t idle = 0;
    uint64_t nobody = 0;
    if (!atomic_compare_exchange_strong(&self->busy, &idle, 1))
        return false;
    if (self->crew == NULL ||
        atomic_compare_exchange_strong(&self->room->syncer, &nobody, self->crew->number + 1))
        return true;
    atomic_store_explicit(&self->busy, 0, memory_order_release);
    return false;
}

static void durable_leave(struct tide_durable *self)
{
    if (self->crew != NULL)
        atomic_store_explicit(&self->room->syncer, 0, memory_order_release);
    atomic_store_explicit(&self->busy, 0, memory_order_release);
}

int tide_durable_step(struct tide_durable *self)
{
    if (self->medium.way == TIDE_MEDIUM_NONE)
        return -ENOTSUP;
    if (!durable_take(self))
        return -EBUSY;
    int error = durable_sync(self);
    durable_leave(self);
    return error;
}

int tide_durable_all(struct tide_durable *self)
{
    const struct tide_logmap *map = self->map;
    struct tide_order_place end = {0, 0};
    uint64_t kept = tide_coh_get(map->coh, &map->head->trimmed_place);
    int error = atomic_load_explicit(&self->error, memory_order_relaxed);
    if (self->medium.way == TIDE_MEDIUM_NONE || error != 0)
        return error != 0 ? error : -ENOTSUP;
    if (map->level != 0 && (error = durable_prepare(self, &end)) != 0)
        return error;
    if (tide_retire_is_used(map))
        tide_trim_each_block(map, durable_block, self);
    error = atomic_load_explicit(&self->error, memory_order_relaxed);
    if (error != 0 || (error = durable_pages(self)) != 0)
        return error;
    tide_medium_drain(&self->medium);
    return map->level == 0 ? tide_durable_note(self) : durable_say(self, end, kept);
}
