/* logapi_region.c - logs in regions: made, opened again, left, removed; see logapi.h */
#include "box/logapi.h"

#include "box/mend.h"

static int logapi_fault(int error, const struct tide_layout_fault *fault)
{
    return tide_logapi_error(error, fault->what, fault->value, fault->low, fault->high);
}

/* Becomes the one who may touch the log of this region. */
static int logapi_take(struct tide_region *region)
{
    uint32_t pid;
    if (region == NULL || tide_region_is_stale(region))
        return tide_logapi_error(-ESTALE, "not an open region of this process", 0, 1, 0);
    if (tide_logroom_take(region, &pid) == 0)
        return 0;
    return tide_logapi_error(-EBUSY, "the log in the region is open in process", pid, 1, 0);
}

/* Where blocks may be. */
static void logapi_surround(tide_log_t *log, const struct tide_region *region)
{
    log->map.area = (unsigned char *)region->extent.base;
    log->map.area_size = region->size;
}

static void logapi_opened(tide_log_t *log, struct tide_region *region)
{
    log->region = region;
    logapi_surround(log, region);
    tide_durable_start(&log->durable, &log->map, region);
    tide_durable_begin(&log->durable, region);
    atomic_fetch_add_explicit(&region->logs, 1, memory_order_relaxed);
}

/* --- making ---------------------------------------------------------------------------- */

/* The owner's part: memory, format, and the note that it is there. */
static int logapi_make_on(tide_log_t *log, struct tide_region *region,
                          const struct tide_layout_head *plan)
{
    struct tide_layout_fault fault;
    uint64_t at, most = 0;
    int error = tide_logroom_check(region, &fault);
    if (error == 0)
        return tide_logapi_error(-EEXIST, "there is a log in the region already, of bytes",
                                 tide_logroom_of(region)->size, 1, 0);
    if (error == -EPROTO)
        return logapi_fault(-EEXIST, &fault);
    tide_logroom_clear(region);
    error = tide_logroom_lend(region, plan->size, &at, &most);
    if (error != 0)
        return tide_logapi_error(error, "bytes that are free in a row in the region, for a log",
                                 most, plan->size, tide_max(plan->size, region->size));
    error = tide_logapi_format(log, region->extent.base + at, plan, false);
    if (error == 0)
        tide_logroom_seal(region, at, log->map.head);
    else
        tide_region_return(region, at);
    return error;
}

TIDE_EXPORT int tide_log_create_on(tide_log_t **out, tide_region_t *region,
                                   const struct tide_log_options *options)
{
    struct tide_layout_head plan;
    tide_log_t *log;
    int error = tide_logapi_plan(&plan, options);
    if (error != 0 || (error = tide_logapi_new(&log)) != 0)
        return error;
    if ((error = logapi_take(region)) == 0) {
        if ((error = logapi_make_on(log, region, &plan)) != 0)
            tide_logroom_leave(region);
    }
    if (error != 0) {
        tide_logapi_drop(log, sizeof *log);
        return error;
    }
    logapi_opened(log, region);
    *out = log;
    return 0;
}

/* --- opening --------------------------------------------------------------------------- */

static int logapi_check_room(const struct tide_region *region)
{
    struct tide_layout_fault fault;
    int error = tide_logroom_check(region, &fault);
    if (error == -ENOENT)
        return tide_logapi_error(error, "logs in the region", 0, 1, 1);
    return error != 0 ? logapi_fault(error, &fault) : 0;
}

/* Puts it in order if need be. */
static int logapi_mend(const struct tide_logmap *map, const struct tide_region *region)
{
    struct tide_layout_fault fault = {NULL, 0, 0, 0};
    struct tide_mend_report report;
    const struct tide_logroom *room = tide_logroom_of(region);
    const struct tide_logroom_said said = tide_logroom_said(room);
    const struct tide_mend_mark mark = {said.places, said.base, said.kept};
    enum tide_logroom_need need = tide_logroom_need(region);
    int error = need == TIDE_LOGROOM_OUTAGE ? tide_mend_outage(map, &mark, &fault) : 0;
    if (error == 0 && need != TIDE_LOGROOM_READY)
        error = tide_mend(map, &report, &fault);
    if (error == -ENOMEM)
        return tide_logapi_error(error, "no memory to repair a log of bytes", map->size, 1, 0);
    return error != 0 ? logapi_fault(error, &fault) : 0;
}

/* The owner's part: looks at it, and puts it in order if need be. */
static int logapi_open_on(tide_log_t *log, struct tide_region *region)
{
    struct tide_layout_fault fault = {NULL, 0, 0, 0};
    const struct tide_logroom *room = tide_logroom_of(region);
    int error = logapi_check_room(region);
    if (error != 0)
        return error;
    if (!tide_logmap_open(&log->map, region->extent.base + room->at, room->size, &fault))
        return logapi_fault(-EPROTO, &fault);
    if (memcmp(log->map.head->id, room->id, sizeof room->id) != 0)
        return tide_logapi_error(-EPROTO, "log of another region: first byte of its id",
                                 log->map.head->id[0], room->id[0], room->id[0]);
    logapi_surround(log, region);
    bool repair = tide_logroom_need(region) != TIDE_LOGROOM_READY;
    if ((error = logapi_mend(&log->map, region)) != 0)
        return error;
    tide_durable_start(&log->durable, &log->map, region);
    /* What was put in order is so on the medium before anything new comes. */
    if (repair)
        tide_durable_all(&log->durable);
    tide_logroom_begin(region, repair);
    return 0;
}

TIDE_EXPORT int tide_log_open(tide_log_t **out, tide_region_t *region)
{
    tide_log_t *log;
    int error = tide_logapi_new(&log);
    if (error != 0)
        return error;
    if ((error = logapi_take(region)) == 0) {
        if ((error = logapi_open_on(log, region)) != 0)
            tide_logroom_leave(region);
    }
    if (error != 0) {
        tide_logapi_drop(log, sizeof *log);
        return error;
    }
    logapi_opened(log, region);
    *out = log;
    return 0;
}

/* --- leaving and removing ---------------------------------------------------------------- */

/* What is closed is on the medium, if there is one. A device without one may keep a part. */
int tide_logapi_leave(tide_log_t *log)
{
    struct tide_region *region = log->region;
    int error = tide_durable_all(&log->durable);
    bool device = error == -ENOTSUP && region->source.ops == &tide_source_dax;
    error = error == -ENOTSUP ? 0 : error;
    tide_logroom_end(region, device || error != 0);
    if (log->durable.medium.way != TIDE_MEDIUM_NONE && error == 0)
        error = tide_durable_note(&log->durable);
    tide_logroom_leave(region);
    atomic_fetch_sub_explicit(&region->logs, 1, memory_order_release);
    if (error != 0)
        tide_logapi_error(error, "the log is closed, and perhaps not on its medium: batches",
                          tide_durable_places(&log->durable), 1, 0);
    return error;
}

TIDE_EXPORT int tide_log_remove(tide_region_t *region)
{
    struct tide_layout_fault fault;
    int error = logapi_take(region);
    if (error != 0)
        return error;
    error = tide_logroom_check(region, &fault);
    if (error == -EPROTO && tide_logroom_of(region)->magic != TIDE_LOGROOM_MAGIC)
        logapi_fault(error, &fault);
    else if (tide_logroom_clear(region) == 0 && error == -ENOENT)
        tide_logapi_error(error, "logs in the region", 0, 1, 1);
    else
        error = 0;
    tide_logroom_leave(region);
    return error;
}
