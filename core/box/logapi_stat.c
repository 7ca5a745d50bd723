/* logapi_stat.c - what a log tells about itself; see logapi.h */
#include "box/logapi_lanes.h"

/* Of all producers, those of before too: an entry that is used again goes on counting. */
static uint64_t logapi_lost(const struct tide_logmap *map)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < map->producers; i++)
        sum += tide_coh_get(map->coh, &map->producer[i].lost);
    return sum;
}

static int logapi_check_log(const tide_log_t *log)
{
    if (log != NULL && log->magic == TIDE_LOGAPI_LOG)
        return 0;
    if (tide_logapi_is(log, TIDE_LOGAPI_LANES))
        return tide_logapi_lanes_not();
    return tide_logapi_error(-ESTALE, "not an open log of this process", 0, 1, 0);
}

/* What all clients ever appended: bytes that were copied, and by reference. */
static void logapi_sum_clients(const struct tide_logmap *map, struct tide_log_stat *out)
{
    for (uint32_t i = 0; i < map->producers; i++) {
        const struct tide_layout_producer *at = &map->producer[i];
        out->copied += atomic_load_explicit(&at->copied, memory_order_relaxed);
        out->lent += atomic_load_explicit(&at->lent, memory_order_relaxed);
    }
}

TIDE_EXPORT int tide_log_stat(tide_log_t *log, struct tide_log_stat *out)
{
    if (tide_logapi_is(log, TIDE_LOGAPI_LANES))
        return tide_logapi_lanes.stat(log, out);
    int error = logapi_check_log(log);
    if (error != 0)
        return error;
    const struct tide_logmap *map = &log->map;
    struct tide_order_place head = {map->first, map->first};
    if (map->level != 0)
        head = tide_order_head(map);
    *out = (struct tide_log_stat){
        .level = map->level,
        .brokers = map->brokers,
        .clients = map->producers,
        .readers = map->readers,
        .sequencing = map->stepped,
        .sessions = map->mutex,
        .retain = (unsigned)map->retain,
        .checksum = map->checksum,
        .slots = map->slots.size,
        .payload = map->granules.size * TIDE_LAYOUT_GRANULE,
        .size = map->size,
        .earliest = map->level != 0 ? tide_trim_earliest(map, 0) : map->first,
        .committed = map->level != 0 ? tide_crew_frontier(&log->crew, &log->map) : map->first,
        .taken = head.place,
        .messages = head.base,
        .collisions = logapi_lost(map),
        .contention = tide_coh_get(map->coh, &map->head->contention),
        .retired = tide_retire_waiting(map),
    };
    logapi_sum_clients(map, out);
    return 0;
}

TIDE_EXPORT int tide_log_stat_broker(tide_log_t *log, unsigned broker,
                                     struct tide_log_broker_stat *out)
{
    int error = logapi_check_log(log);
    if (error != 0)
        return error;
    const struct tide_logmap *map = &log->map;
    if (broker >= map->brokers)
        return tide_logapi_error(-ENOENT, "broker", broker, 0, map->brokers - 1);
    const struct tide_layout_broker *at = &map->broker[broker];
    uint64_t first = map->first + 1; /* slot index */
    struct tide_ring_head head = tide_ring_head(map, broker);
    *out = (struct tide_log_broker_stat){
        .claimed = head.slot - first,
        .released = tide_coh_get(map->coh, &at->released_slot) - first,
        .used_bytes =
            (head.granule - tide_coh_get(map->coh, &at->released_granule)) * TIDE_LAYOUT_GRANULE,
        .unscanned = map->stepped ? head.slot - tide_coh_get(map->coh, &at->scanned) : 0,
    };
    return 0;
}

/* The positions that a reader could have: from the earliest to the end. */
static uint64_t logapi_end(tide_log_t *log, uint32_t broker)
{
    return log->map.level != 0 ? tide_crew_frontier(&log->crew, &log->map)
                               : tide_ring_head(&log->map, broker).slot;
}

/* The least cursor of the other readers that gate, or the end. */
static uint64_t logapi_next_gate(const struct tide_logmap *map, unsigned number, uint64_t broker,
                                 uint64_t end)
{
    for (uint32_t i = 0; i < map->readers; i++) {
        const struct tide_layout_reader *other = &map->reader[i];
        if (i == number || tide_coh_get(map->coh, &other->owner) == 0 ||
            tide_coh_get(map->coh, &other->fate) != 0 ||
            tide_coh_get(map->coh, &other->policy) == TIDE_LAYOUT_SKIP ||
            (map->level == 0 && TIDE_RELAXED_GET(&other->broker) != broker))
            continue;
        uint64_t cursor = tide_coh_get(map->coh, &other->cursor);
        end = cursor < end ? cursor : end;
    }
    return end;
}

TIDE_EXPORT int tide_log_stat_reader(tide_log_t *log, unsigned reader,
                                     struct tide_log_reader_stat *out)
{
    int error = logapi_check_log(log);
    if (error != 0)
        return error;
    const struct tide_logmap *map = &log->map;
    if (reader >= map->readers)
        return tide_logapi_error(-ENOENT, "reader", reader, 0, map->readers - 1);
    const struct tide_layout_reader *at = &map->reader[reader];
    *out = (struct tide_log_reader_stat){0};
    if (tide_coh_get(map->coh, &at->owner) == 0)
        return 0;
    uint64_t cursor = tide_coh_get(map->coh, &at->cursor), broker = TIDE_RELAXED_GET(&at->broker);
    if (broker >= map->brokers)
        return tide_logapi_error(-EUCLEAN, "broker of a reader", broker, 0, map->brokers - 1);
    uint64_t end = logapi_end(log, (uint32_t)broker);
    uint64_t next = logapi_next_gate(map, reader, broker, end);
    out->open = 1;
    out->policy = (unsigned)tide_coh_get(map->coh, &at->policy);
    out->broker = (unsigned)broker;
    out->detached = tide_coh_get(map->coh, &at->fate) != 0;
    out->cursor = cursor - (map->level == 0);
    out->lag = end > cursor ? end - cursor : 0;
    if (out->policy != TIDE_LOG_SKIP && !out->detached) {
        out->holds = next > cursor ? next - cursor : 0;
        out->slowest = out->lag > 0 && cursor <= next;
    }
    return 0;
}

TIDE_EXPORT int tide_log_stat_session(tide_log_t *log, unsigned client,
                                      struct tide_log_session_stat *out)
{
    int error = logapi_check_log(log);
    if (error != 0)
        return error;
    const struct tide_logmap *map = &log->map;
    if (client >= map->sessions)
        return tide_logapi_error(-ENOENT, "session", client, 1, 0);
    const struct tide_layout_session *at = &map->session[client];
    *out = (struct tide_log_session_stat){
        .epoch = tide_session_epoch(map, client),
        .expected = tide_session_expected(map, client),
        .held = tide_coh_get(map->coh, &at->held),
        .late = tide_coh_get(map->coh, &at->late),
        .refused = tide_coh_get(map->coh, &at->refused),
    };
    return 0;
}
