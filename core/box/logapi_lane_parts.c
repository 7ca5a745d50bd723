/* logapi_lane_parts.c - logs in memory that is not coherent: made, opened, attached to, closed; see
 * logapi_lanes.h */
#include "box/logapi_lanes.h"

#include "box/clock.h"
#include "box/file.h"
#include "box/medium.h"
#include "box/park.h"

/* --- planned ------------------------------------------------------------------------------- */

static int logapi_lane_fault(int error, const struct tide_layout_fault *fault)
{
    return tide_logapi_error(error, fault->what, fault->value, fault->low, fault->high);
}

static int logapi_lane_plan(struct tide_lanes_head *plan, const struct tide_log_options *o)
{
    struct tide_layout_fault fault = {NULL, 0, 0, 0};
    struct tide_layout_wish wish = {
        .level = o->level,
        .brokers = o->brokers,
        .producers = o->clients,
        .readers = o->readers,
        .slots = o->slots,
        .payload = o->payload,
        .features = o->checksum != 0 ? TIDE_LAYOUT_CHECKSUM : 0,
        .retain = o->retain,
        .first = o->first,
        .nodes = o->nodes,
        .lease = o->lease,
    };
    if (o->sequencing != TIDE_LOG_STEPPED)
        return tide_logapi_error(-EINVAL, "sequencing where memory is not coherent", o->sequencing,
                                 TIDE_LOG_STEPPED, TIDE_LOG_STEPPED);
    if (o->sessions != TIDE_LOG_LOCKFREE)
        return tide_logapi_error(-EINVAL, "form of sessions where memory is not coherent",
                                 o->sessions, TIDE_LOG_LOCKFREE, TIDE_LOG_LOCKFREE);
    if (o->window != 0)
        return tide_logapi_error(-EINVAL, "window where memory is not coherent", o->window, 0, 0);
    return tide_lanes_plan(plan, &wish, &fault) ? 0 : logapi_lane_fault(-EINVAL, &fault);
}

static int64_t logapi_lane_size(const struct tide_log_options *options)
{
    struct tide_lanes_head plan;
    int error = logapi_lane_plan(&plan, options);
    return error != 0 ? error : (int64_t)plan.size;
}

/* --- becoming one of them ------------------------------------------------------------------ */

static void logapi_lane_drop(struct tide_logapi_lanelog *self)
{
    if (self->taken != NULL)
        tide_vmem_unmap(self->taken, self->taken_bytes);
    if (self->sequenced)
        tide_laneseq_close(&self->seq);
    tide_logapi_drop(self, sizeof *self);
}

/* NULL: -ENOMEM, in words. */
static struct tide_logapi_lanelog *logapi_lane_new(void)
{
    struct tide_logapi_lanelog *self = tide_logapi_handle(sizeof *self);
    if (self == NULL)
        tide_logapi_error(-ENOMEM, "no memory for bytes of a handle", sizeof *self, 1, 0);
    return self;
}

/* A number that nobody else has. */
static uint64_t logapi_lane_name(const void *salt)
{
    uint64_t name = 0;
    if (!tide_file_random(&name, sizeof name) || name == 0)
        name = tide_mix(tide_clock_date() ^ (uintptr_t)salt) | 1;
    return name;
}

/* What every process needs that has the log; its map is there. */
static int logapi_lane_prepare(struct tide_logapi_lanelog *self)
{
    self->taken_bytes = tide_align_up(self->map.clients + self->map.readers, tide_vmem_page_size());
    self->taken = tide_vmem_map(self->taken_bytes);
    if (self->taken == NULL)
        return tide_logapi_error(-ENOMEM, "no memory for a table of clients", self->map.clients, 1,
                                 0);
    tide_park_ready();
    self->log.process = (uint64_t)tide_file_pid();
    return 0;
}

/* The sequencer is here from now on. */
static int logapi_lane_lead(struct tide_logapi_lanelog *self, uint64_t name,
                            enum tide_lanecrew_way way)
{
    if (tide_laneseq_open(&self->seq, &self->map) != 0)
        return tide_logapi_error(-ENOMEM, "no memory for a sequencer of clients", self->map.clients,
                                 1, 0);
    self->sequenced = true;
    self->seq.clock = self->map.nodes > 1 ? tide_clock_now : NULL;
    tide_lanecrew_begin(&self->crew, &self->seq, name, way, tide_clock_now());
    atomic_store_explicit(&self->leads, true, memory_order_release);
    return 0;
}

/* Gives places to all that is visible by now: each step that finds something finds some of it. */
static void logapi_lane_drain(struct tide_logapi_lanelog *self)
{
    const struct tide_lanes *map = &self->map;
    for (uint64_t i = map->entries.size + map->clients + map->readers; i > 0; i--)
        if (tide_lanecrew_lead(&self->crew, tide_clock_now()) != 0 ||
            tide_laneseq_step(&self->seq, map->slots.size) == 0)
            break;
}

/* Whoever makes it, or opens it, has the sequencer and node 0. Who had node 0 before is known to be
 * gone, with all that it stored in place: that gets places before its clients are fenced. */
static int logapi_lane_begin(struct tide_logapi_lanelog *self)
{
    uint64_t name = logapi_lane_name(self);
    int error = logapi_lane_prepare(self);
    if (error != 0 || (error = logapi_lane_lead(self, name, TIDE_LANECREW_ROOM)) != 0)
        return error;
    logapi_lane_drain(self);
    self->node.map = &self->map;
    self->node.self = name;
    tide_lanecrew_seat(&self->crew, &self->node, tide_clock_now());
    self->log.magic = TIDE_LOGAPI_LANES;
    return 0;
}

/* --- made ------------------------------------------------------------------------------------ */

/* A new log at `base`. */
static int logapi_lane_format(struct tide_logapi_lanelog *self, void *base,
                              const struct tide_lanes_head *plan, bool zeroed)
{
    struct tide_layout_fault fault = {NULL, 0, 0, 0};
    uint8_t id[16];
    if (!tide_file_random(id, sizeof id))
        memcpy(id, &(uint64_t[2]){tide_clock_now(), (uintptr_t)base}, sizeof id);
    tide_lanes_format(TIDE_COH_NONCOHERENT, base, plan, id, zeroed);
    if (!tide_lanes_open(&self->map, TIDE_COH_NONCOHERENT, base, plan->size, &fault))
        return logapi_lane_fault(-EINVAL, &fault);
    return logapi_lane_begin(self);
}

static int logapi_lane_make(struct tide_logapi_lanelog *self, const struct tide_lanes_head *plan)
{
    void *base = tide_vmem_map(plan->size);
    if (base == NULL)
        return tide_logapi_error(-ENOMEM, "no memory for bytes of a log", plan->size, 1, 0);
    tide_vmem_advise(base, plan->size, TIDE_VMEM_HUGE);
    int error = logapi_lane_format(self, base, plan, true);
    if (error != 0)
        tide_vmem_unmap(base, plan->size);
    return error;
}

/* Other hosts look for it. */
static void logapi_lane_tell(const struct tide_region *region)
{
    tide_coh_wrote(TIDE_COH_NONCOHERENT, region->extent.base, tide_plot_bytes(&region->table));
    tide_coh_drain(TIDE_COH_NONCOHERENT);
}

/* These bytes are on the medium, if there is one. */
static int logapi_lane_note(const struct tide_medium *medium, const void *at, size_t bytes)
{
    if (medium->way == TIDE_MEDIUM_NONE)
        return 0;
    int error = tide_medium_write(medium, at, bytes);
    tide_medium_drain(medium);
    return error;
}

/* The room's owner has it in this region, alone of all processes of its host. */
static void logapi_lane_settle(struct tide_logapi_lanelog *self, struct tide_region *region)
{
    struct tide_owner_self who;
    tide_owner_self(&who);
    tide_owner_put(&tide_logroom_of(region)->crew[0], &who);
    self->roomed = true;
    self->log.region = region;
    atomic_fetch_add_explicit(&region->logs, 1, memory_order_relaxed);
    logapi_lane_tell(region);
    const struct tide_medium medium = tide_medium_of(region, "");
    logapi_lane_note(&medium, region->extent.base, tide_plot_bytes(&region->table));
}

static int logapi_lane_make_on(struct tide_logapi_lanelog *self, struct tide_region *region,
                               const struct tide_lanes_head *plan)
{
    uint64_t at;
    int error = tide_logapi_lend(region, plan->size, &at);
    if (error != 0)
        return error;
    if ((error = logapi_lane_format(self, region->extent.base + at, plan, false)) != 0) {
        tide_region_return(region, at);
        return error;
    }
    tide_plot_set_hosts(region->table.head, plan->nodes > 1);
    tide_logroom_seal(region, at, (const struct tide_layout_head *)(void *)self->map.head);
    logapi_lane_settle(self, region);
    return 0;
}

static int logapi_lane_make_in(struct tide_logapi_lanelog *self, struct tide_region *region,
                               const struct tide_lanes_head *plan)
{
    int error = tide_logapi_take(region);
    if (error != 0)
        return error;
    error = logapi_lane_make_on(self, region, plan);
    tide_logroom_leave(region);
    return error;
}

static int logapi_lane_create(tide_log_t **out, struct tide_region *region,
                              const struct tide_log_options *options)
{
    struct tide_lanes_head plan;
    int error = logapi_lane_plan(&plan, options);
    if (error != 0)
        return error;
    struct tide_logapi_lanelog *self = logapi_lane_new();
    if (self == NULL)
        return -ENOMEM;
    error =
        region != NULL ? logapi_lane_make_in(self, region, &plan) : logapi_lane_make(self, &plan);
    if (error != 0) {
        logapi_lane_drop(self);
        return error;
    }
    *out = &self->log;
    return 0;
}

/* --- opened ---------------------------------------------------------------------------------- */

/* The log that the region's area names. */
static int logapi_lane_find(struct tide_logapi_lanelog *self, const struct tide_region *region)
{
    struct tide_layout_fault fault = {NULL, 0, 0, 0};
    struct tide_logroom_place room;
    int error = tide_logroom_find(region, &room, &fault);
    if (error == -ENOENT)
        return tide_logapi_error(error, "logs in the region", 0, 1, 1);
    if (error != 0)
        return logapi_lane_fault(error, &fault);
    if (!tide_lanes_open(&self->map, TIDE_COH_NONCOHERENT, region->extent.base + room.at, room.size,
                         &fault))
        return logapi_lane_fault(-EPROTO, &fault);
    if (memcmp(self->map.head->id, room.id, sizeof room.id) != 0)
        return tide_logapi_error(-EPROTO, "log of another region: first byte of its id",
                                 self->map.head->id[0], room.id[0], room.id[0]);
    return 0;
}

/* Of this host nobody has it. On another one the sequencer may be, if it got there by a bid. */
static int logapi_lane_check_lead(struct tide_logapi_lanelog *self)
{
    const struct tide_lanes_head *head = self->map.head;
    uint64_t lead = tide_logapi_lane_word(self, &head->lead);
    if (lead == 0 || tide_logapi_lane_word(self, &head->lead_way) == TIDE_LANECREW_ROOM)
        return 0;
    return tide_logapi_error(-EBUSY, "the sequencer is a process that attached", 0,
                             TIDE_LOGAPI_WORDS, 0);
}

/* Who attached and led since it was closed left another epoch, and perhaps no more than that on the
 * medium. */
static enum tide_logroom_need logapi_lane_need(struct tide_logapi_lanelog *self,
                                               struct tide_region *region)
{
    struct tide_logroom *room = tide_logroom_of(region);
    if (atomic_load(&room->state) == TIDE_LOGROOM_CLOSED &&
        tide_logroom_said(room).epoch != tide_logapi_lane_word(self, &self->map.head->epoch))
        tide_logroom_end(region, true);
    return tide_logroom_need(region);
}

/* The owner's part. */
static int logapi_lane_open_on(struct tide_logapi_lanelog *self, struct tide_region *region)
{
    struct tide_owner_self who;
    tide_owner_self(&who);
    struct tide_logroom_crew crew = tide_logroom_crew(region, &who);
    if (crew.other == TIDE_OWNER_FOREIGN)
        return tide_logapi_foreign(crew.pid);
    if (crew.alive != 0)
        return tide_logapi_error(-EBUSY, "the log in the region is open in process", crew.pid, 1,
                                 0);
    int error = logapi_lane_find(self, region);
    if (error != 0)
        return error;
    enum tide_logroom_need need = logapi_lane_need(self, region);
    if (need == TIDE_LOGROOM_OUTAGE)
        return tide_logapi_error(-EUCLEAN, "the machine stopped, and nothing was synced", 0,
                                 TIDE_LOGAPI_WORDS, 0);
    if ((error = logapi_lane_check_lead(self)) != 0 || (error = logapi_lane_begin(self)) != 0)
        return error;
    tide_logroom_begin(region, need != TIDE_LOGROOM_READY);
    logapi_lane_settle(self, region);
    return 0;
}

static int logapi_lane_open(tide_log_t **out, struct tide_region *region)
{
    struct tide_logapi_lanelog *self = logapi_lane_new();
    if (self == NULL)
        return -ENOMEM;
    int error = logapi_lane_open_on(self, region);
    if (error != 0) {
        logapi_lane_drop(self);
        return error;
    }
    *out = &self->log;
    return 0;
}

/* --- attached to ----------------------------------------------------------------------------- */

#define LANES_TURN UINT64_C(1000000) /* ns from look to look */

/* How long somebody waits who is nobody yet. */
struct logapi_lane_term {
    int64_t timeout;
    uint64_t end;
};

static int logapi_lane_nap(struct logapi_lane_term *term)
{
    _Atomic uint32_t dummy = 0;
    int64_t left = tide_logapi_left(&term->end, term->timeout);
    if (left == 0)
        return term->timeout == 0 ? -EAGAIN : -ETIMEDOUT;
    tide_park_sleep(&dummy, 0, left > 0 ? tide_min((uint64_t)left, LANES_TURN) : LANES_TURN, false);
    return 0;
}

/* The log that was found is still there: others may have removed it meanwhile. */
static int logapi_lane_still(struct tide_logapi_lanelog *self)
{
    if (tide_logapi_lane_word(self, &self->map.head->magic) == TIDE_LANES_MAGIC)
        return 0;
    return tide_logapi_error(-ENOENT, "logs in the region", 0, 1, 1);
}

/* Becomes the sequencer, in place of one that left or is gone. */
static int logapi_lane_bid(struct tide_logapi_lanelog *self, uint64_t name,
                           struct logapi_lane_term *term)
{
    struct tide_lanecrew_bid bid;
    int error;
    tide_lanecrew_bid(&bid, &self->map, name, tide_clock_now());
    while ((error = tide_lanecrew_won(&bid, tide_clock_now())) == -EAGAIN)
        if ((error = logapi_lane_nap(term)) != 0)
            return tide_logapi_error(error, "no lease is over yet, of ns", self->map.lease, 1, 0);
    if (error != 0)
        return tide_logapi_error(error, "there is a sequencer", 0, TIDE_LOGAPI_WORDS, 0);
    if ((error = logapi_lane_still(self)) != 0)
        return error;
    return logapi_lane_lead(self, name, TIDE_LANECREW_BID);
}

static int logapi_lane_knock(struct tide_logapi_lanelog *self, uint32_t number, uint64_t name,
                             struct logapi_lane_term *term)
{
    int error = tide_lanecrew_knock(&self->node, &self->map, number, name);
    while (error == 0) {
        if (self->sequenced && tide_lanecrew_lead(&self->crew, tide_clock_now()) == 0)
            tide_lanecrew_serve(&self->crew, tide_clock_now());
        if ((error = tide_lanecrew_granted(&self->node, tide_clock_now())) != -EAGAIN)
            break;
        if ((error = logapi_lane_nap(term)) != 0)
            return tide_logapi_error(error, "no sequencer answered to node", number, 1, 0);
        if ((error = logapi_lane_still(self)) != 0)
            return error;
    }
    return error == 0 ? 0 : tide_logapi_error(error, "somebody has node", number, 1, 0);
}

static int logapi_lane_check_role(const struct tide_logapi_lanelog *self,
                                  const struct tide_log_role *role)
{
    if (self->map.nodes == 1)
        return tide_logapi_error(-EINVAL, "nodes that the log was made with", 1, 2,
                                 TIDE_LANES_NODES);
    if (role->node == 0 || role->node >= self->map.nodes)
        return tide_logapi_error(-EINVAL, "node", role->node, 1, self->map.nodes - 1);
    if (role->sequence > 1)
        return tide_logapi_error(-EINVAL, "sequence", role->sequence, 0, 1);
    return 0;
}

static int logapi_lane_attach_on(struct tide_logapi_lanelog *self, struct tide_region *region,
                                 const struct tide_log_role *role, int64_t timeout)
{
    struct logapi_lane_term term = {timeout, 0};
    uint64_t name = logapi_lane_name(self);
    tide_coh_fresh(TIDE_COH_NONCOHERENT, region->extent.base, tide_plot_bytes(&region->table));
    int error = logapi_lane_find(self, region);
    if (error != 0 || (error = logapi_lane_check_role(self, role)) != 0 ||
        (error = logapi_lane_prepare(self)) != 0)
        return error;
    if (role->sequence != 0 && (error = logapi_lane_bid(self, name, &term)) == 0) {
        const struct tide_medium medium = tide_medium_of(region, "");
        logapi_lane_note(&medium, self->map.head, sizeof *self->map.head);
    }
    if (error == 0)
        error = logapi_lane_knock(self, role->node, name, &term);
    if (error != 0) {
        if (self->sequenced)
            tide_lanecrew_resign(&self->crew);
        return error;
    }
    self->log.region = region;
    atomic_fetch_add_explicit(&region->logs, 1, memory_order_relaxed);
    self->log.magic = TIDE_LOGAPI_LANES;
    return 0;
}

static int logapi_lane_attach(tide_log_t **out, struct tide_region *region,
                              const struct tide_log_role *role, int64_t timeout)
{
    if (region == NULL || tide_region_is_stale(region))
        return tide_logapi_error(-ESTALE, "not an open region of this process", 0, 1, 0);
    if (atomic_load_explicit(&region->logs, memory_order_relaxed) != 0)
        return tide_logapi_error(-EBUSY, "the log in the region is open in process",
                                 (uint64_t)tide_file_pid(), 1, 0);
    struct tide_logapi_lanelog *self = logapi_lane_new();
    if (self == NULL)
        return -ENOMEM;
    int error = logapi_lane_attach_on(self, region, role, timeout);
    if (error != 0) {
        logapi_lane_drop(self);
        return error;
    }
    *out = &self->log;
    return 0;
}

/* --- closed ---------------------------------------------------------------------------------- */

/* Somebody has a node other than the room's, or had it shortly ago: its number, else 0. */
static uint32_t logapi_lane_held(const struct tide_lanes *map)
{
    for (uint32_t i = 1; i < map->nodes; i++) {
        const struct tide_lanes_node *line = &map->node[i];
        tide_coh_fresh(map->coh, line, sizeof *line);
        uint64_t standing = tide_coh_get(map->coh, &line->standing);
        bool left =
            tide_coh_get(map->coh, &line->holder) == tide_coh_get(map->coh, &line->granted) &&
            tide_coh_get(map->coh, &line->beat) == TIDE_LANES_GONE_BEAT;
        if (standing == TIDE_LANES_FENCED || (standing == TIDE_LANES_HELD && !left))
            return i;
    }
    return 0;
}

/* All of it is on the medium, if there is one, before the room says so. A device without one may
 * keep a part. */
static int logapi_lane_rest(struct tide_logapi_lanelog *self, struct tide_region *region)
{
    const struct tide_laneseq *seq = &self->seq;
    const struct tide_medium medium = tide_medium_of(region, "");
    bool none = medium.way == TIDE_MEDIUM_NONE;
    int error = logapi_lane_note(&medium, self->map.base, self->map.size);
    tide_logroom_say(
        tide_logroom_of(region),
        (struct tide_logroom_said){seq->committed, seq->base, seq->trimmed_place, seq->epoch});
    tide_logroom_end(region, error != 0 || (none && region->source.ops == &tide_source_dax));
    if (error == 0)
        error = logapi_lane_note(&medium, tide_logroom_of(region), sizeof(struct tide_logroom));
    if (error != 0)
        tide_logapi_error(error, "the log is closed, and perhaps not on its medium: batches",
                          seq->committed, 1, 0);
    return error;
}

/* A log in a region stays there. `last`: it led to the end, and nobody else writes there. */
static int logapi_lane_leave(struct tide_logapi_lanelog *self, bool last)
{
    struct tide_region *region = self->log.region;
    int error = 0;
    if (region == NULL) {
        tide_vmem_unmap(self->map.base, self->map.size);
        return 0;
    }
    if (self->roomed) {
        bool held = tide_logapi_hold(region) == 0;
        tide_owner_drop(&tide_logroom_of(region)->crew[0]);
        if (held) { /* else as if it died */
            if (last)
                error = logapi_lane_rest(self, region);
            else
                tide_logroom_end(region, true);
            tide_logroom_leave(region);
        }
        logapi_lane_tell(region);
    }
    atomic_fetch_sub_explicit(&region->logs, 1, memory_order_release);
    return error;
}

/* Others learn that it is not here any more; whoever was fenced does not touch their lines. True:
 * nobody else has it. */
static bool logapi_lane_part(struct tide_logapi_lanelog *self)
{
    if (atomic_load(&self->leads))
        logapi_lane_drain(self);
    bool mine = tide_logapi_lane_beat(self) == 0;
    if (mine && self->map.nodes > 1)
        tide_lanecrew_leave(&self->node);
    bool led = atomic_load(&self->leads) && tide_lanecrew_lead(&self->crew, tide_clock_now()) == 0;
    bool last = led && logapi_lane_held(&self->map) == 0;
    if (led)
        tide_lanecrew_resign(&self->crew);
    return last;
}

static int logapi_lane_close(tide_log_t *log)
{
    struct tide_logapi_lanelog *self = tide_logapi_lanelog(log);
    uint32_t handles = atomic_load_explicit(&log->handles, memory_order_acquire);
    if (handles != 0)
        return tide_logapi_error(-EBUSY, "clients and readers that are open", handles, 0, 0);
    atomic_store_explicit(&log->stop, 1, memory_order_release);
    tide_logapi_lane_call(self);
    for (uint32_t i = 0; i < log->threads; i++)
        pthread_join(log->thread[i].thread, NULL);
    log->magic = 0;
    int error = logapi_lane_leave(self, logapi_lane_part(self));
    logapi_lane_drop(self);
    return error;
}

/* --- removed --------------------------------------------------------------------------------- */

/* What a sequencer changes as long as it lives. */
static uint64_t logapi_lane_signs(const struct tide_lanes *map, uint64_t *beat)
{
    tide_coh_fresh(map->coh, &map->head->lead, TIDE_LINE);
    *beat = tide_coh_get(map->coh, &map->head->lead_beat);
    return tide_coh_get(map->coh, &map->head->lead);
}

/* Somebody is the sequencer, and is seen to live within a lease. Of the room's own processes it
 * is known that they ended; those of other hosts are of another boot. */
static bool logapi_lane_is_led(const struct tide_lanes *map, const struct tide_region *region)
{
    struct logapi_lane_term term = {(int64_t)(map->lease + map->lease / 8), 0};
    uint64_t beat, now, lead = logapi_lane_signs(map, &beat);
    bool here = tide_logroom_need(region) != TIDE_LOGROOM_OUTAGE;
    if (here && tide_coh_get(map->coh, &map->head->lead_way) == TIDE_LANECREW_ROOM)
        return false;
    while (lead != 0 && logapi_lane_nap(&term) == 0)
        if (logapi_lane_signs(map, &now) != lead || now != beat)
            return true;
    return false;
}

static int logapi_lane_remove(struct tide_region *region)
{
    struct tide_layout_fault fault;
    struct tide_logroom_place room;
    struct tide_lanes map;
    if (tide_logroom_find(region, &room, &fault) != 0 ||
        !tide_lanes_open(&map, TIDE_COH_NONCOHERENT, region->extent.base + room.at, room.size,
                         &fault))
        return 0; /* nobody can have it */
    uint32_t node = logapi_lane_held(&map);
    if (node != 0)
        return tide_logapi_error(-EBUSY, "somebody has node", node, 1, 0);
    if (map.nodes > 1 && logapi_lane_is_led(&map, region))
        return tide_logapi_error(-EBUSY, "there is a sequencer", 0, TIDE_LOGAPI_WORDS, 0);
    tide_coh_set(map.coh, &map.head->magic, 0);
    tide_coh_wrote(map.coh, &map.head->magic, sizeof map.head->magic);
    tide_coh_drain(map.coh);
    return 0;
}

const struct tide_logapi_parts tide_logapi_parts = {
    .create = logapi_lane_create,
    .open = logapi_lane_open,
    .attach = logapi_lane_attach,
    .size = logapi_lane_size,
    .close = logapi_lane_close,
    .remove = logapi_lane_remove,
    .tell = logapi_lane_tell,
};
