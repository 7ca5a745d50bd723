/* logapi_sync.c - acknowledgements: ordered, durable; see logapi.h */
#include "box/logapi.h"

#include "box/clock.h"
#include "box/park.h"

static int logapi_check(const tide_log_t *log)
{
    if (log == NULL || log->magic != TIDE_LOGAPI_LOG)
        return tide_logapi_error(-ESTALE, "not an open log of this process", 0, 1, 0);
    if (log->map.level == 0)
        return tide_logapi_error(-EINVAL, "commits at order level", 0, 4, 5);
    return 0;
}

/* A log that can be durable at all. */
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
    return tide_durable_places(durable) >= depth->places ||
           atomic_load_explicit(&durable->busy, memory_order_acquire) == 0;
}

/* Whoever finds nobody at it syncs for all; the others wait for that, and look again. All
 * places below are committed. */
static int logapi_sync(tide_log_t *log, uint64_t places, int64_t timeout)
{
    struct logapi_depth depth = {log, places};
    struct tide_logapi_wait wait = {
        .bell = &log->synced, .ready = logapi_is_synced, .what = &depth, .timeout = timeout};
    while (tide_durable_places(&log->durable) < places) {
        int error = timeout != 0 ? tide_durable_step(&log->durable) : -EBUSY;
        if (error == -EBUSY) {
            if ((error = tide_logapi_wait(&wait)) != 0)
                return tide_logapi_error(error, "not durable yet: position", places - 1, 1, 0);
            continue;
        }
        tide_logapi_ring(&log->synced);
        if (error != 0)
            return tide_logapi_error(error, "the medium failed; durable batches",
                                     tide_durable_places(&log->durable), 1, 0);
        wait.turns = 0;
    }
    return 0;
}

TIDE_EXPORT int tide_log_sync(tide_log_t *log)
{
    int error = logapi_check_medium(log);
    if (error != 0)
        return error;
    return logapi_sync(log, tide_order_frontier(&log->map, UINT64_MAX), TIDE_LOG_BLOCK);
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

/* A batch whose append did not learn its place. */
struct logapi_pending {
    tide_log_client_t *client;
    const struct tide_broker_result *result;
    uint32_t broker;
};

static bool logapi_is_fenced(const tide_log_client_t *client)
{
    const struct tide_broker *broker = &client->broker;
    return broker->epoch != tide_session_epoch(broker->map, broker->client);
}

/* It has its place now, or never will. */
static bool logapi_is_placed(const void *what)
{
    const struct logapi_pending *pending = what;
    const struct tide_logmap *map = pending->client->broker.map;
    if (pending->result->ordered)
        return true;
    if (map->level == 5)
        return tide_coh_get(map->coh, &map->broker[pending->broker].scanned) >
               pending->result->slot;
    return tide_session_expected(map, pending->client->broker.client) > pending->result->number ||
           logapi_is_fenced(pending->client);
}

static int logapi_late_ack(int error, const struct tide_broker_result *result)
{
    if (error != -EAGAIN && error != -ETIMEDOUT)
        return error;
    return tide_logapi_error(-EINPROGRESS, "in the log, not acknowledged yet: number of a batch",
                             result->number, 1, 0);
}

int tide_logapi_ack(tide_log_client_t *client, const struct tide_broker_result *result,
                    uint32_t broker, int64_t timeout)
{
    tide_log_t *log = client->log;
    struct logapi_pending pending = {client, result, broker};
    struct tide_logapi_wait wait = {.bell = &log->map.head->data,
                                    .ready = logapi_is_placed,
                                    .what = &pending,
                                    .timeout = tide_logapi_left(&client->end, timeout)};
    int error = 0;
    while (error == 0 && !logapi_is_placed(&pending))
        error = tide_logapi_wait(&wait);
    if (error == 0 && log->map.level == 4 && !result->ordered && logapi_is_fenced(client) &&
        tide_session_expected(&log->map, client->broker.client) <= result->number)
        return tide_logapi_error(-ESTALE, "the session was opened anew: client",
                                 client->broker.client, 1, 0);
    /* Where it is, or not below: all that has a place by now. */
    uint64_t places = result->ordered ? result->at.place + 1 : tide_order_head(&log->map).place;
    if (error == 0 && places > 0)
        error = tide_log_wait_committed(log, places - 1, tide_logapi_left(&client->end, timeout));
    if (error == 0 && client->ack == TIDE_LOG_ACK_DURABLE)
        error = logapi_sync(log, places, tide_logapi_left(&client->end, timeout));
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
