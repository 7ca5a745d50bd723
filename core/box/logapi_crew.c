/* logapi_crew.c - several processes with one log, and sessions that end by time; see logapi.h */
#include "box/logapi_lanes.h"

#include "box/clock.h"

/* Somebody stands still: as far as the room's words say just now, who. */
static int logapi_held_up(const tide_log_t *log)
{
    const struct tide_logroom *room = log->crew.room;
    uint64_t syncer = atomic_load(&room->syncer) - 1;
    bool syncs = syncer < TIDE_LAYOUT_MEMBERS && !tide_crew_is_stopped(&log->crew);
    struct tide_owner_seen seen;
    tide_owner_look_as(syncs ? &room->crew[syncer] : &room->owner, &log->crew.self, &seen);
    return tide_logapi_error(-EBUSY,
                             syncs ? "whoever syncs the log does not end: process"
                                   : "whoever repairs the log does not end: process",
                             seen.pid, 1, 0);
}

int tide_logapi_gone(const tide_log_t *log)
{
    int error = tide_crew_error(&log->crew);
    if (error == 0)
        return logapi_held_up(log);
    return tide_logapi_error(error,
                             error == -EUCLEAN ? "the log is damaged, and cannot be repaired"
                                               : "this process was expelled from the log",
                             0, TIDE_LOGAPI_WORDS, 0);
}

TIDE_EXPORT int tide_log_expel(tide_log_t *log, uint64_t process)
{
    struct tide_layout_fault fault = {NULL, 0, 0, 0};
    uint32_t members;
    if (tide_logapi_is(log, TIDE_LOGAPI_LANES))
        return tide_logapi_lanes.expel(log, process);
    if (log == NULL || log->magic != TIDE_LOGAPI_LOG)
        return tide_logapi_error(-ESTALE, "not an open log of this process", 0, 1, 0);
    if (tide_crew_error(&log->crew) != 0)
        return tide_logapi_gone(log);
    if (!log->crew.shared || process == log->crew.self.pid ||
        (members = tide_rescue_members(&log->crew, process)) == 0)
        return tide_logapi_error(-ESRCH, "no other process that has the log open", process, 1, 0);
    int error = tide_rescue_expel(&log->crew, members, &fault);
    if (error == -EBUSY)
        return tide_logapi_error(error, "in the middle of a call, or others repair: process",
                                 process, 1, 0);
    if (error == -EUCLEAN)
        return tide_logapi_error(error, fault.what, fault.value, fault.low, fault.high);
    return error == 0 ? 0
                      : tide_logapi_error(error, "no memory to repair a log of bytes",
                                          log->map.size, 1, 0);
}

/* --- leases of sessions ------------------------------------------------------------------- */

enum { LEASE_STEPS = 4 }; /* in a lease, at least */

static size_t lease_bytes(const tide_log_t *log)
{
    return tide_align_up(log->map.sessions * sizeof *log->watch, tide_vmem_page_size());
}

/* Of time in which nobody looked little counts: perhaps nobody ran, not even the client. None
 * counts of before the look that first found it waiting: a session that does not wait is noted with
 * epoch 0, which none has. */
static bool lease_watch(tide_log_t *log, uint32_t client, uint64_t step, uint64_t lease)
{
    const struct tide_logmap *map = &log->map;
    struct tide_logapi_watch *watch = &log->watch[client];
    uint64_t expected = tide_session_expected(map, client);
    uint32_t epoch = tide_session_epoch(map, client);
    bool waits = tide_session_waits(map, client);
    if (!waits || watch->expected != expected || watch->epoch != epoch) {
        *watch = (struct tide_logapi_watch){.expected = expected, .epoch = waits ? epoch : 0};
        return false;
    }
    watch->age += step;
    return watch->age >= lease && tide_session_expire(map, client, epoch, expected);
}

/* As a call of the log. How many ended. */
static uint32_t lease_watch_all(tide_log_t *log, uint64_t step, uint64_t lease)
{
    uint32_t ended = 0;
    if (log->watch == NULL && (log->watch = tide_vmem_map(lease_bytes(log))) == NULL)
        return 0;
    if (!tide_crew_try_begin(&log->crew))
        return 0;
    for (uint32_t i = 0; i < log->map.sessions; i++)
        ended += lease_watch(log, i, step, lease);
    tide_crew_end(&log->crew);
    return ended;
}

TIDE_COLD uint64_t tide_logapi_expire(tide_log_t *log)
{
    uint64_t lease = tide_logapi_lease(log), now = tide_clock_now();
    uint64_t before = atomic_load(&log->watched);
    if (now - before < lease / TIDE_LOGAPI_LOOKS || !tide_lock_try(&log->watching))
        return now;
    uint32_t ended = lease_watch_all(log, tide_min(now - before, lease / LEASE_STEPS), lease);
    atomic_store(&log->watched, now);
    tide_lock_drop_own(&log->watching);
    if (ended != 0) {
        tide_logapi_ring(&log->map.head->data); /* who waits for an acknowledgement */
        tide_logapi_ring(&log->map.head->space);
    }
    return now;
}

void tide_logapi_unwatch(tide_log_t *log)
{
    if (log->watch != NULL)
        tide_vmem_unmap(log->watch, lease_bytes(log));
    log->watch = NULL;
}
