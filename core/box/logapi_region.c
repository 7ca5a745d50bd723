/* logapi_region.c - logs in regions: made, opened again, left, removed; see logapi.h */
#include "box/logapi_lanes.h"

#include "box/claims.h"
#include "box/clock.h"
#include "box/park.h"

static int logapi_fault(int error, const struct tide_layout_fault *fault)
{
    return tide_logapi_error(error, fault->what, fault->value, fault->low, fault->high);
}

/* How long others may be opening, closing or repairing. */
#define LOGAPI_TURN UINT64_C(1000000)

int tide_logapi_foreign(uint32_t pid)
{
    return tide_logapi_error(-EBUSY,
                             "another machine has the log open, or had it when the region moved "
                             "here (tide_region_moved): process",
                             pid, 1, 0);
}

int tide_logapi_hold(struct tide_region *region)
{
    _Atomic uint32_t dummy = 0;
    uint32_t pid;
    if (region == NULL || tide_region_is_stale(region))
        return tide_logapi_error(-ESTALE, "not an open region of this process", 0, 1, 0);
    uint64_t end = tide_clock_now() + tide_trim_patience;
    for (int error; (error = tide_logroom_hold(region, &pid)) != 0;) {
        if (error == -EREMOTE)
            return tide_logapi_foreign(pid);
        if (tide_clock_now() > end)
            return tide_logapi_error(-EBUSY, "the log is being opened or repaired by process", pid,
                                     1, 0);
        tide_park_sleep(&dummy, 0, LOGAPI_TURN, false);
    }
    return 0;
}

static int logapi_is_open_in(uint32_t pid)
{
    return tide_logapi_error(-EBUSY, "the log in the region is open in process", pid, 1, 0);
}

int tide_logapi_take(struct tide_region *region)
{
    uint32_t pid;
    int error = tide_logapi_hold(region);
    if (error != 0)
        return error;
    error = tide_logroom_unused(region, &pid);
    if (error == -EREMOTE)
        return tide_logapi_foreign(pid);
    return error == 0 ? 0 : logapi_is_open_in(pid);
}

/* Where blocks may be. */
static void logapi_surround(tide_log_t *log, const struct tide_region *region)
{
    log->map.area = (unsigned char *)region->extent.base;
    log->map.area_size = region->size;
}

static void logapi_opened(tide_log_t *log, struct tide_region *region)
{
    logapi_surround(log, region);
    tide_durable_start(&log->durable, &log->map, region);
    log->durable.crew = &log->crew;
    tide_durable_begin(&log->durable, region);
    atomic_fetch_add_explicit(&region->logs, 1, memory_order_relaxed);
}

static void logapi_repair(struct tide_crew *crew)
{
    tide_rescue_now(crew);
}

/* As the room's owner: one of the processes that have it. */
static int logapi_join(tide_log_t *log, struct tide_region *region)
{
    struct tide_layout_head *head = log->map.head;
    if (tide_crew_join(&log->crew, region, &log->map) != 0)
        return tide_logapi_error(-ENFILE, "processes that have the log open", TIDE_LAYOUT_MEMBERS,
                                 1, 0);
    log->crew.repair = logapi_repair;
    log->process = tide_layout_whose(log->crew.number, log->crew.self.pid);
    log->map.shared = log->crew.shared;
    log->region = region;
    atomic_store(&log->synced.shared, log->crew.shared);
    atomic_store(&head->data.shared, log->crew.shared);
    atomic_store(&head->space.shared, log->crew.shared);
    atomic_store(&head->work.shared, log->crew.shared);
    return 0;
}

/* --- making ---------------------------------------------------------------------------- */

int tide_logapi_lend(struct tide_region *region, uint64_t size, uint64_t *at)
{
    struct tide_layout_fault fault;
    uint64_t most = 0;
    int error = tide_logroom_check(region, &fault);
    if (error == 0)
        return tide_logapi_error(-EEXIST, "there is a log in the region already, of bytes",
                                 tide_logroom_of(region)->size, 1, 0);
    if (error == -EPROTO)
        return logapi_fault(-EEXIST, &fault);
    tide_logroom_clear(region);
    if ((error = tide_logroom_lend(region, size, at, &most)) != 0)
        return tide_logapi_error(error, "bytes that are free in a row in the region, for a log",
                                 most, size, tide_max(size, region->size));
    TIDE_CRASH_POINT(room_lent);
    return 0;
}

/* The owner's part: memory, format, and the note that it is there. */
static int logapi_make_on(tide_log_t *log, struct tide_region *region,
                          const struct tide_layout_head *plan)
{
    uint64_t at;
    int error = tide_logapi_lend(region, plan->size, &at);
    if (error != 0)
        return error;
    error = tide_logapi_format(log, region->extent.base + at, plan, false);
    TIDE_CRASH_POINT(room_formatted);
    if (error != 0) {
        tide_region_return(region, at);
        return error;
    }
    tide_durable_start(&log->durable, &log->map, region);
    tide_durable_made(&log->durable);
    tide_logroom_seal(region, at, log->map.head);
    return logapi_join(log, region);
}

TIDE_EXPORT int tide_log_create_on(tide_log_t **out, tide_region_t *region,
                                   const struct tide_log_options *options)
{
    struct tide_layout_head plan;
    tide_log_t *log;
    if (tide_logapi_is_apart(options))
        return tide_logapi_parts.create(out, region, options);
    int error = tide_logapi_plan(&plan, options);
    if (error != 0 || (error = tide_logapi_new(&log)) != 0)
        return error;
    if ((error = tide_logapi_take(region)) == 0) {
        if ((error = logapi_make_on(log, region, &plan)) == 0)
            logapi_opened(log, region);
        tide_logroom_leave(region);
    }
    if (error != 0) {
        tide_logapi_drop(log, sizeof *log);
        return error;
    }
    *out = log;
    return 0;
}

/* --- opening --------------------------------------------------------------------------- */

static int logapi_find_room(const struct tide_region *region, struct tide_logroom_place *place)
{
    struct tide_layout_fault fault;
    int error = tide_logroom_find(region, place, &fault);
    if (error == -ENOENT)
        return tide_logapi_error(error, "logs in the region", 0, 1, 1);
    return error != 0 ? logapi_fault(error, &fault) : 0;
}

static enum tide_logroom_need logapi_need(const struct tide_logmap *map,
                                          const struct tide_region *region)
{
    enum tide_logroom_need need = tide_logroom_need(region);
    return need == TIDE_LOGROOM_READY && tide_mend_is_due(map) ? TIDE_LOGROOM_KILLED : need;
}

static int logapi_no_memory(const struct tide_logmap *map)
{
    return tide_logapi_error(-ENOMEM, "no memory to repair a log of bytes", map->size, 1, 0);
}

/* Puts it in order if need be. */
static int logapi_mend(const struct tide_logmap *map, const struct tide_region *region,
                       enum tide_logroom_need need)
{
    struct tide_layout_fault fault = {NULL, 0, 0, 0};
    struct tide_mend_report report;
    static const struct tide_mend_crew nobody;
    struct tide_logroom *room = tide_logroom_of(region);
    const struct tide_logroom_said said = tide_logroom_said(room);
    const struct tide_mend_mark mark = {said.places, said.base, said.kept};
    uint64_t unfinished = atomic_exchange(&room->mending, need == TIDE_LOGROOM_KILLED);
    bool whole = unfinished != 0 || need == TIDE_LOGROOM_OUTAGE || atomic_load(&room->damaged) != 0;
    int error = need == TIDE_LOGROOM_OUTAGE ? tide_mend_outage(map, &mark, &fault) : 0;
    if (error == 0 && need != TIDE_LOGROOM_READY &&
        (whole || !tide_claims_mend(map, &nobody, &report)))
        error = tide_mend(map, &report, &fault);
    if (error != 0) /* and it left nothing half written */
        atomic_store(&room->mending, unfinished);
    if (error == -ENOMEM)
        return logapi_no_memory(map);
    return error != 0 ? logapi_fault(error, &fault) : 0;
}

/* Nobody has it open: puts it in order if need be. */
static int logapi_open_alone(tide_log_t *log, struct tide_region *region)
{
    enum tide_logroom_need need = logapi_need(&log->map, region);
    int error = logapi_mend(&log->map, region, need);
    if (error != 0)
        return error;
    TIDE_CRASH_POINT(open_mended);
    tide_durable_start(&log->durable, &log->map, region);
    /* What was put in order is so on the medium before anything new comes. */
    if (need != TIDE_LOGROOM_READY)
        tide_durable_all(&log->durable);
    TIDE_CRASH_POINT(open_synced);
    tide_logroom_begin(region, need != TIDE_LOGROOM_READY);
    return logapi_join(log, region);
}

/* Others have it open. Of those that died the repair may have to wait for somebody's call. */
static int logapi_open_among(tide_log_t *log, struct tide_region *region,
                             const struct tide_logroom_crew *crew)
{
    struct tide_layout_fault fault = {NULL, 0, 0, 0};
    if (crew->mine != 0 || log->map.mutex)
        return logapi_is_open_in(crew->pid);
    int error = logapi_join(log, region);
    if (error != 0)
        return error;
    tide_logroom_raise(&log->crew.room->opens, 1);
    error = tide_rescue_held(&log->crew, 0, &fault);
    if (error == 0 || error == -EBUSY)
        return 0;
    tide_crew_quit(&log->crew);
    return error == -ENOMEM ? logapi_no_memory(&log->map) : logapi_fault(error, &fault);
}

/* The room's owner's part: looks at it, and becomes one of those who have it. */
static int logapi_open_on(tide_log_t *log, struct tide_region *region)
{
    struct tide_layout_fault fault = {NULL, 0, 0, 0};
    struct tide_logroom_place place;
    struct tide_owner_self self;
    int error = logapi_find_room(region, &place);
    if (error != 0)
        return error;
    if (!tide_logmap_open(&log->map, region->extent.base + place.at, place.size, &fault))
        return logapi_fault(-EPROTO, &fault);
    if (memcmp(log->map.head->id, place.id, sizeof place.id) != 0)
        return tide_logapi_error(-EPROTO, "log of another region: first byte of its id",
                                 log->map.head->id[0], place.id[0], place.id[0]);
    logapi_surround(log, region);
    tide_owner_self(&self);
    struct tide_logroom_crew crew = tide_logroom_crew(region, &self);
    if (crew.other == TIDE_OWNER_FOREIGN)
        return tide_logapi_foreign(crew.pid);
    if (crew.other == TIDE_OWNER_BEFORE)
        return tide_logapi_error(-EBUSY,
                                 "another boot had the log open, and somebody has the region open "
                                 "now: process",
                                 crew.pid, 1, 0);
    return crew.alive != 0 ? logapi_open_among(log, region, &crew) : logapi_open_alone(log, region);
}

/* It is a log in lanes. */
static bool logapi_is_lanes(const struct tide_region *region)
{
    struct tide_layout_fault fault;
    struct tide_logroom_place place;
    return tide_logroom_find(region, &place, &fault) == 0 &&
           place.size >= sizeof(struct tide_lanes_head) &&
           tide_coh_get(TIDE_COH_NONCOHERENT,
                        (const _Atomic uint64_t *)(region->extent.base + place.at)) ==
               TIDE_LANES_MAGIC;
}

static int logapi_open(tide_log_t **out, tide_region_t *region)
{
    tide_log_t *log;
    int error = tide_logapi_new(&log);
    if (error != 0)
        return error;
    if ((error = logapi_open_on(log, region)) != 0) {
        tide_logapi_drop(log, sizeof *log);
        return error;
    }
    logapi_opened(log, region);
    *out = log;
    return 0;
}

/* A log in lanes that another machine has is refused before anything is written: the owner's word
 * is for the processes of one host. */
static int logapi_look(struct tide_region *region)
{
    struct tide_owner_self self;
    if (region == NULL || tide_region_is_stale(region) || !logapi_is_lanes(region))
        return 0;
    tide_coh_fresh(TIDE_COH_NONCOHERENT, tide_logroom_of(region), sizeof(struct tide_logroom));
    tide_owner_self(&self);
    struct tide_logroom_crew crew = tide_logroom_crew(region, &self);
    return crew.other == TIDE_OWNER_FOREIGN ? tide_logapi_foreign(crew.pid) : 0;
}

TIDE_EXPORT int tide_log_open(tide_log_t **out, tide_region_t *region)
{
    int error = logapi_look(region);
    if (error != 0 || (error = tide_logapi_hold(region)) != 0)
        return error;
    error =
        logapi_is_lanes(region) ? tide_logapi_parts.open(out, region) : logapi_open(out, region);
    tide_logroom_leave(region);
    return error;
}

TIDE_EXPORT int tide_log_attach(tide_log_t **out, tide_region_t *region,
                                const struct tide_log_role *role, int64_t timeout)
{
    return tide_logapi_parts.attach(out, region, role, timeout);
}

/* --- leaving and removing ---------------------------------------------------------------- */

/* What the last one closes is on the medium, if there is one. A device without one may keep a
 * part. */
static int logapi_leave_last(tide_log_t *log)
{
    struct tide_region *region = log->region;
    int error = tide_durable_all(&log->durable);
    bool device = error == -ENOTSUP && region->source.ops == &tide_source_dax;
    /* Somebody writes to it who should not: -EBUSY would say that it is not closed. */
    error = error == -ENOTSUP ? 0 : error == -EBUSY ? -EIO : error;
    tide_logroom_end(region, device || error != 0);
    if (log->durable.medium.way != TIDE_MEDIUM_NONE && error == 0)
        error = tide_durable_note(&log->durable);
    if (error != 0)
        tide_logapi_error(error, "the log is closed, and perhaps not on its medium: batches",
                          tide_durable_places(&log->durable), 1, 0);
    return error;
}

/* Whoever was expelled leaves what it had: nobody has to mind it any more. Then, as whenever
 * somebody died, the log has to be put in order; where that cannot be done now, those who stay
 * do it, or whoever opens it next. */
static void logapi_quit(tide_log_t *log)
{
    struct tide_layout_fault fault;
    if (tide_crew_error(&log->crew) == -ESTALE)
        tide_owner_drop(&log->crew.room->crew[log->crew.number]);
    tide_rescue_held(&log->crew, 0, &fault);
    tide_crew_quit(&log->crew);
}

int tide_logapi_leave(tide_log_t *log)
{
    struct tide_region *region = log->region;
    int error = 0;
    if (tide_logapi_hold(region) != 0) {
        tide_crew_quit(&log->crew); /* as if this process died */
    } else {
        logapi_quit(log);
        struct tide_logroom_crew crew = tide_logroom_crew(region, &log->crew.self);
        if ((crew.alive | crew.dead) == 0 && atomic_load(&log->crew.room->mending) == 0)
            error = logapi_leave_last(log);
        tide_logroom_leave(region);
    }
    atomic_fetch_sub_explicit(&region->logs, 1, memory_order_release);
    return error;
}

/* What is said to be gone is so after an outage as well: others may be in its memory by then. */
static int logapi_clear(struct tide_region *region, bool none)
{
    int error = tide_durable_gone(region);
    if (error != 0)
        return tide_logapi_error(error, "the medium failed; bytes of a log that are not free yet",
                                 tide_logroom_of(region)->length, 1, 0);
    if (tide_logroom_clear(region) == 0 && none)
        return tide_logapi_error(-ENOENT, "logs in the region", 0, 1, 1);
    return 0;
}

static int logapi_clear_lanes(struct tide_region *region)
{
    int error = tide_logapi_parts.remove(region);
    if (error != 0 || (error = logapi_clear(region, false)) != 0)
        return error;
    tide_plot_set_hosts(region->table.head, false);
    tide_logapi_parts.tell(region);
    return 0;
}

TIDE_EXPORT int tide_log_remove(tide_region_t *region)
{
    struct tide_layout_fault fault;
    int error = tide_logapi_take(region);
    if (error != 0)
        return error;
    error = tide_logroom_check(region, &fault);
    if (error == -EPROTO && tide_logroom_of(region)->magic != TIDE_LOGROOM_MAGIC)
        logapi_fault(error, &fault);
    else if (logapi_is_lanes(region))
        error = logapi_clear_lanes(region);
    else
        error = logapi_clear(region, error == -ENOENT);
    tide_logroom_leave(region);
    return error;
}
