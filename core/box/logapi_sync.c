/* logapi_sync.c - acknowledgements: ordered, durable; see logapi.h */
#include "box/logapi_lanes.h"

#include "box/clock.h"
#include "box/park.h"

static int logapi_check(const tide_log_t *log)
{
    if (tide_logapi_is(log, TIDE_LOGAPI_LANES))
        return tide_logapi_lanes_not();
    if (log == NULL || log->magic != TIDE_LOGAPI_LOG)
        return tide_logapi_error(-ESTALE, "not an open log of this process", 0, 1, 0);
    if (log->map.level == 0)
        return tide_logapi_error(-EINVAL, "commits at order level", 0, 4, 5);
    return 0;
}

/* --- the committed prefix ----------------------------------------------------------------- */

struct logapi_goal {
    tide_log_t *log;
    uint64_t position;
};

static bool logapi_is_committed(const void *what)
{
    const struct logapi_goal *goal = what;
    return tide_crew_frontier(&goal->log->crew, &goal->log->map) > goal->position ||
           tide_crew_error(&goal->log->crew) != 0;
}

TIDE_EXPORT int tide_log_wait_committed(tide_log_t *log, uint64_t position, int64_t timeout)
{
    struct logapi_goal goal = {log, position};
    if (tide_logapi_is(log, TIDE_LOGAPI_LANES))
        return tide_logapi_lanes.wait_committed(log, position, timeout);
    int error = logapi_check(log);
    if (error != 0)
        return error;
    struct tide_logapi_wait wait = {.log = log,
                                    .bell = &log->map.head->data,
                                    .ready = logapi_is_committed,
                                    .what = &goal,
                                    .timeout = timeout};
    while (!logapi_is_committed(&goal)) {
        if ((error = tide_logapi_wait(&wait)) != 0)
            return tide_logapi_error(error, "not committed yet: position", position, 1, 0);
    }
    return tide_crew_error(&log->crew) != 0 ? tide_logapi_gone(log) : 0;
}

/* --- durable ------------------------------------------------------------------------------ */

/* A log that can be durable at all, and be opened after the machine stopped. */
static int logapi_check_medium(const tide_log_t *log)
{
    int error = logapi_check(log);
    if (error != 0)
        return error;
    if (log->region == NULL)
        return tide_logapi_error(-ENOTSUP, "not durable: the log is in no region", 0,
                                 TIDE_LOGAPI_WORDS, 0);
    if (log->durable.medium.way == TIDE_MEDIUM_NONE)
        return tide_logapi_error(-ENOTSUP, log->durable.medium.why, 0, TIDE_LOGAPI_WORDS, 0);
    if (!log->map.checksum)
        return tide_logapi_error(-ENOTSUP, "not durable: the log has no checksums", 0,
                                 TIDE_LOGAPI_WORDS, 0);
    return 0;
}

int64_t tide_logapi_left(uint64_t *end, int64_t timeout)
{
    if (timeout <= 0)
        return timeout;
    uint64_t now = tide_clock_now();
    if (*end == 0)
        *end = now + (uint64_t)timeout;
    return *end > now ? (int64_t)(*end - now) : 0;
}

/* --- durable ---------------------------------------------------------------------------- */

struct logapi_depth {
    tide_log_t *log;
    uint64_t places;
};

/* There is something to do for whoever waits: it is durable, or nobody is at it. */
static bool logapi_is_synced(const void *what)
{
    const struct logapi_depth *depth = what;
    const struct tide_durable *durable = &depth->log->durable;
    return tide_durable_places(durable) >= depth->places || !tide_durable_is_busy(durable);
}

/* Whoever finds nobody at it syncs for all; the others wait for that, and look again. All
 * places below are committed. */
static int logapi_sync(tide_log_t *log, uint64_t places, int64_t timeout)
{
    struct logapi_depth depth = {log, places};
    struct tide_logapi_wait wait = {.log = log,
                                    .bell = &log->synced,
                                    .ready = logapi_is_synced,
                                    .what = &depth,
                                    .timeout = timeout};
    for (uint64_t known; (known = tide_durable_places(&log->durable)) < places;) {
        int error = timeout != 0 ? tide_durable_step(&log->durable) : -EBUSY;
        if (error == -EBUSY) {
            if ((error = tide_logapi_wait(&wait)) != 0)
                return tide_logapi_error(error, "not durable yet: position", places - 1, 1, 0);
            continue;
        }
        tide_logapi_ring(&log->synced);
        if (error != 0 && tide_crew_error(&log->crew) != 0)
            return tide_logapi_gone(log);
        if (error != 0)
            return tide_logapi_error(error, "the medium failed; durable batches",
                                     tide_durable_places(&log->durable), 1, 0);
        if (tide_durable_places(&log->durable) == known) /* a repair, or somebody's doing */
            return tide_logapi_error(-EUCLEAN, "batches that were committed", places, 0, known);
        wait.turns = 0;
    }
    return 0;
}

TIDE_EXPORT int tide_log_sync(tide_log_t *log)
{
    int error = logapi_check_medium(log);
    if (error != 0)
        return error;
    /* What is known while others repair is less than what is committed. */
    if (!tide_crew_begin(&log->crew))
        return tide_logapi_gone(log);
    uint64_t known, places = tide_order_frontier(&log->map, UINT64_MAX);
    tide_crew_end(&log->crew);
    do { /* a thread of this process does not stand still alone */
        known = tide_durable_places(&log->durable);
        error = logapi_sync(log, places, (int64_t)tide_crew_patience);
    } while (error == -ETIMEDOUT &&
             (tide_durable_places(&log->durable) != known || atomic_load(&log->durable.busy) != 0));
    return error == -ETIMEDOUT ? tide_logapi_gone(log) : error;
}

TIDE_EXPORT uint64_t tide_log_durable(tide_log_t *log)
{
    return logapi_check_medium(log) == 0 ? tide_durable_places(&log->durable) : 0;
}

TIDE_EXPORT int tide_log_wait_durable(tide_log_t *log, uint64_t position, int64_t timeout)
{
    uint64_t end = 0;
    int error = logapi_check_medium(log);
    if (error != 0)
        return error;
    if (tide_durable_places(&log->durable) > position)
        return 0;
    if (timeout == 0)
        return tide_logapi_error(-EAGAIN, "not durable yet: position", position, 1, 0);
    tide_logapi_left(&end, timeout);
    if ((error = tide_log_wait_committed(log, position, timeout)) != 0)
        return error;
    int64_t left = tide_logapi_left(&end, timeout);
    return logapi_sync(log, position + 1, left);
}

/* --- appends ---------------------------------------------------------------------------- */

/* A batch that is to be acknowledged. */
struct logapi_pending {
    tide_log_client_t *client;
    const struct tide_broker_result *result;
    uint32_t broker;
    /* What was found out: */
    uint64_t places; /* it is below */
    uint32_t generation;
    bool moved; /* the log was repaired since: it may have another place than it was told */
};

static uint32_t logapi_generation(const tide_log_t *log)
{
    return log->crew.shared
               ? atomic_load_explicit(&log->crew.room->generation, memory_order_acquire)
               : 0;
}

static bool logapi_is_fenced(const tide_log_client_t *client)
{
    const struct tide_broker *broker = &client->broker;
    return !tide_session_is_current(broker->map, broker->client, broker->epoch);
}

/* It has its place now, or never will. */
static bool logapi_has_place(const struct logapi_pending *pending)
{
    const struct tide_logmap *map = pending->client->broker.map;
    if (pending->result->ordered && !pending->moved)
        return true;
    if (map->level == 5 && !map->stepped) /* whoever committed it gave it one, or the repair */
        return true;
    if (map->level == 5)
        return tide_coh_get(map->coh, &map->broker[pending->broker].scanned) >
               pending->result->slot;
    return tide_session_expected(map, pending->client->broker.client) > pending->result->number ||
           logapi_is_fenced(pending->client);
}

/* Where it is, or not below: all that has a place by now. A call of the log, for its words are
 * of different moments while it is repaired. */
static bool logapi_is_placed(const void *what)
{
    const struct logapi_pending *pending = what;
    return tide_crew_error(&pending->client->log->crew) != 0 || logapi_has_place(pending);
}

static bool logapi_find_out(struct logapi_pending *pending)
{
    tide_log_client_t *client = pending->client;
    if (!tide_logapi_try(client))
        return tide_crew_error(&client->log->crew) != 0;
    pending->generation = logapi_generation(client->log);
    pending->moved = pending->generation != client->generation && client->log->crew.shared;
    bool placed = logapi_has_place(pending);
    pending->places = pending->result->ordered && !pending->moved
                          ? pending->result->at.place + 1
                          : tide_order_head(&client->log->map).place;
    tide_logapi_exit(client);
    return placed;
}

/* All places below are committed, or that has to be found out again. */
static bool logapi_is_sure(const void *what)
{
    const struct logapi_pending *pending = what;
    tide_log_t *log = pending->client->log;
    return logapi_generation(log) != pending->generation ||
           tide_crew_frontier(&log->crew, &log->map) >= pending->places ||
           tide_crew_error(&log->crew) != 0;
}

static int logapi_wait_until(struct logapi_pending *pending, bool (*ready)(const void *))
{
    tide_log_client_t *client = pending->client;
    struct tide_logapi_wait wait = {.log = client->log,
                                    .bell = &client->log->map.head->data,
                                    .ready = ready,
                                    .what = pending,
                                    .timeout = tide_logapi_left(&client->end, client->timeout)};
    int error = 0;
    while (error == 0 && !(ready == logapi_is_placed ? logapi_find_out(pending) : ready(pending)))
        error = tide_logapi_wait(&wait);
    return error == 0 && tide_crew_error(&client->log->crew) != 0 ? tide_logapi_gone(client->log)
                                                                  : error;
}

/* Until it is in the committed prefix; again when a repair came between. */
static int logapi_wait_order(struct logapi_pending *pending)
{
    tide_log_client_t *client = pending->client;
    const struct tide_logmap *map = &client->log->map;
    for (;;) {
        int error = logapi_wait_until(pending, logapi_is_placed);
        if (error == 0 && map->level == 4 && (!pending->result->ordered || pending->moved) &&
            logapi_is_fenced(client) &&
            tide_session_expected(map, client->broker.client) <= pending->result->number)
            return tide_logapi_error(-ESTALE, "the session was ended or opened anew: client",
                                     client->broker.client, 1, 0);
        if (error == 0)
            error = logapi_wait_until(pending, logapi_is_sure);
        /* What was committed before a repair stays where it is. */
        bool committed =
            tide_crew_frontier(&client->log->crew, &client->log->map) >= pending->places;
        if (error != 0 || (committed && logapi_generation(client->log) == pending->generation))
            return error;
    }
}

/* Begins a call of the log, which others may be repairing. */
static int logapi_enter(tide_log_client_t *client)
{
    struct tide_logapi_wait wait = {.log = client->log,
                                    .bell = &client->log->map.head->data,
                                    .timeout = tide_logapi_left(&client->end, client->timeout)};
    int error = 0;
    while (error == 0 && !tide_logapi_try(client))
        error = tide_crew_error(&client->log->crew) != 0 ? tide_logapi_gone(client->log)
                                                         : tide_logapi_wait(&wait);
    return error;
}

/* Where the batch is after a repair; not `ordered` if it is trimmed already. */
static int logapi_find(tide_log_client_t *client, struct tide_broker_result *result,
                       uint32_t broker)
{
    const struct tide_logmap *map = &client->log->map;
    result->ordered = false;
    int error = logapi_enter(client);
    if (error != 0)
        return error;
    uint64_t first = tide_trim_earliest(map, 0), looks = map->entries.size;
    for (uint64_t place = tide_order_head(map).place;
         place > first && looks-- > 0 && !result->ordered; place--) {
        const struct tide_layout_entry *entry = tide_order_see(map, place - 1);
        if (entry != NULL && entry->broker == broker && entry->slot == result->slot) {
            result->at = (struct tide_order_place){place - 1, entry->base};
            result->ordered = true;
        }
    }
    tide_logapi_exit(client);
    return 0;
}

static int logapi_late_ack(int error, const struct tide_broker_result *result)
{
    if (error != -EAGAIN && error != -ETIMEDOUT)
        return error;
    return tide_logapi_error(-EINPROGRESS, "in the log, not acknowledged yet: number of a batch",
                             result->number, 1, 0);
}

TIDE_NOINLINE int tide_logapi_ack(tide_log_client_t *client, struct tide_broker_result *result,
                                  uint32_t broker)
{
    tide_log_t *log = client->log;
    struct logapi_pending pending = {.client = client, .result = result, .broker = broker};
    int error = logapi_wait_order(&pending), found = 0;
    if (pending.moved)
        found = logapi_find(client, result, broker);
    error = error != 0 ? error : found;
    if (error == 0 && client->ack == TIDE_LOG_ACK_DURABLE)
        error = logapi_sync(log, pending.places, tide_logapi_left(&client->end, client->timeout));
    return logapi_late_ack(error, result);
}

/* May clients of this log ask for such acknowledgements? */
int tide_logapi_check_ack(const tide_log_t *log, unsigned ack)
{
    if (ack > TIDE_LOG_ACK_DURABLE)
        return tide_logapi_error(-EINVAL, "acknowledgement", ack, 0, TIDE_LOG_ACK_DURABLE);
    if (ack == TIDE_LOG_ACK_NONE)
        return 0;
    return ack == TIDE_LOG_ACK_DURABLE ? logapi_check_medium(log) : logapi_check(log);
}
