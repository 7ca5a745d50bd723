/* logapi_reader.c - readers; see logapi.h */
#include "box/logapi_lanes.h"

_Static_assert(sizeof(struct tide_log_frame) == sizeof(struct tide_layout_frame), "frame");
_Static_assert(offsetof(struct tide_log_frame, tag) == offsetof(struct tide_layout_frame, tag),
               "tag");
_Static_assert((int)TIDE_LOG_GATE == (int)TIDE_LAYOUT_GATE, "gate");
_Static_assert((int)TIDE_LOG_SKIP == (int)TIDE_LAYOUT_SKIP, "skip");
_Static_assert((int)TIDE_LOG_DETACH == (int)TIDE_LAYOUT_DETACH, "detach");
_Static_assert((int)TIDE_LOG_EARLIEST == (int)TIDE_SUB_EARLIEST, "earliest");
_Static_assert((int)TIDE_LOG_LATEST == (int)TIDE_SUB_LATEST, "latest");
_Static_assert((int)TIDE_LOG_POSITION == (int)TIDE_SUB_POSITION, "position");
_Static_assert(sizeof(struct tide_log_batch) == sizeof(struct tide_sub_batch), "batch");
_Static_assert(offsetof(struct tide_log_batch, broker) == offsetof(struct tide_sub_batch, broker),
               "broker");

static bool logapi_is_lane_reader(const tide_log_reader_t *reader)
{
    return tide_logapi_is(reader, TIDE_LOGAPI_LANE_READER);
}

static int logapi_no_reader(const tide_log_reader_t *reader)
{
    if (logapi_is_lane_reader(reader))
        return tide_logapi_lanes_not();
    return tide_logapi_error(-ESTALE, "not an open reader of this process", 0, 1, 0);
}

static bool logapi_is_reader(const tide_log_reader_t *reader)
{
    return reader != NULL && reader->magic == TIDE_LOGAPI_READER;
}

/* --- open and close ------------------------------------------------------------------- */

static int logapi_check_reader(const tide_log_t *log, const struct tide_log_reader_options *o)
{
    if (log == NULL || log->magic != TIDE_LOGAPI_LOG)
        return tide_logapi_error(-ESTALE, "not an open log of this process", 0, 1, 0);
    if (o->policy > TIDE_LOG_DETACH)
        return tide_logapi_error(-EINVAL, "policy", o->policy, 0, TIDE_LOG_DETACH);
    if (o->start > TIDE_LOG_POSITION)
        return tide_logapi_error(-EINVAL, "start", o->start, 0, TIDE_LOG_POSITION);
    if (log->map.level == 0 && o->broker >= log->map.brokers)
        return tide_logapi_error(-EINVAL, "broker", o->broker, 0, log->map.brokers - 1);
    return 0;
}

static int logapi_open_error(int error, const tide_log_t *log,
                             const struct tide_log_reader_options *o)
{
    uint64_t shift = tide_logapi_shift(&log->map);
    uint64_t first = tide_trim_earliest(&log->map, log->map.level == 0 ? o->broker : 0) - shift;
    if (error == -ESTALE)
        return tide_logapi_gone(log);
    if (error == -ERANGE)
        return tide_logapi_error(error, "position, trimmed", o->position, first, UINT64_MAX);
    if (error == -ENXIO)
        return tide_logapi_error(error, "position, in the future", o->position, 1, 0);
    if (error == -EAGAIN)
        return tide_logapi_error(-EBUSY, "somebody is trimming, and does not end; lock of trimming",
                                 1, 0, 0);
    return tide_logapi_error(error, "all readers are open", log->map.readers, 1, 0);
}

/* -EAGAIN: somebody trims; perhaps one who died. */
static int logapi_try_reader(tide_log_reader_t *reader, tide_log_t *log,
                             const struct tide_log_reader_options *o)
{
    if (!tide_crew_begin(&log->crew))
        return -ESTALE;
    int error = tide_sub_open(&reader->sub, &log->map, log->map.level == 0 ? o->broker : 0,
                              (enum tide_layout_policy)o->policy, (enum tide_sub_start)o->start,
                              o->position + tide_logapi_shift(&log->map), log->process);
    tide_crew_end(&log->crew);
    return error;
}

TIDE_EXPORT int tide_log_reader_open(tide_log_reader_t **out, tide_log_t *log,
                                     const struct tide_log_reader_options *options)
{
    static const struct tide_log_reader_options initial;
    const struct tide_log_reader_options *o = options != NULL ? options : &initial;
    if (tide_logapi_is(log, TIDE_LOGAPI_LANES))
        return tide_logapi_ends.reader_open(out, log, o);
    int error = logapi_check_reader(log, o);
    if (error != 0)
        return error;
    tide_log_reader_t *reader = tide_logapi_handle(sizeof *reader);
    if (reader == NULL)
        return tide_logapi_error(-ENOMEM, "no memory for bytes of a handle", sizeof *reader, 1, 0);
    uint64_t end = 0;
    while ((error = logapi_try_reader(reader, log, o)) == -EAGAIN) {
        tide_rescue_look(&log->crew);
        if (!tide_trim_wait(&end))
            break;
    }
    tide_logapi_ring(&log->map.head->space); /* nobody could trim meanwhile */
    if (error != 0) {
        tide_logapi_drop(reader, sizeof *reader);
        return logapi_open_error(error, log, o);
    }
    reader->log = log;
    atomic_fetch_add_explicit(&log->handles, 1, memory_order_relaxed);
    reader->magic = TIDE_LOGAPI_READER;
    *out = reader;
    return 0;
}

TIDE_EXPORT int tide_log_reader_close(tide_log_reader_t *reader)
{
    if (reader == NULL)
        return 0;
    if (logapi_is_lane_reader(reader))
        return tide_logapi_ends.reader_close(reader);
    if (!logapi_is_reader(reader))
        return logapi_no_reader(reader);
    tide_log_t *log = reader->log;
    if (tide_crew_begin(&log->crew)) {
        tide_sub_close(&reader->sub);
        tide_crew_end(&log->crew);
    } else if (tide_crew_error(&log->crew) != 0) {
        tide_sub_leave(&reader->sub);
    } else {
        return tide_logapi_gone(log);
    }
    reader->magic = 0;
    tide_logapi_ring(&log->map.head->space);
    atomic_fetch_sub_explicit(&log->handles, 1, memory_order_release);
    tide_logapi_drop(reader, sizeof *reader);
    return 0;
}

/* --- reading ----------------------------------------------------------------------------- */

/* Level 0 counts from slot 1 on. */
TIDE_NOINLINE static void logapi_shift_down(struct tide_log_batch *batches, int count)
{
    for (int i = 0; i < count; i++)
        batches[i].position--;
}

TIDE_INLINE int logapi_poll(tide_log_reader_t *reader, struct tide_log_batch *batches, int most)
{
    struct tide_sub *sub = &reader->sub;
    uint64_t cursor = sub->cursor;
    if (TIDE_UNLIKELY(!tide_crew_try(&reader->log->crew, &sub->entry->busy)))
        return tide_crew_error(&reader->log->crew) != 0 ? -ESTALE : 0;
    int got = tide_sub_poll(sub, (struct tide_sub_batch *)(void *)batches, most);
    tide_crew_leave(&reader->log->crew, &sub->entry->busy);
    if (sub->cursor != cursor)
        tide_logapi_ring(&reader->log->map.head->space);
    if (got > 0 && sub->map->level == 0)
        logapi_shift_down(batches, got);
    return got;
}

static bool logapi_is_ready(const void *what)
{
    const tide_log_reader_t *reader = what;
    return tide_sub_ready(&reader->sub) || tide_crew_error(&reader->log->crew) != 0;
}

static int logapi_read_error(const tide_log_reader_t *reader, int error)
{
    const struct tide_sub *sub = &reader->sub;
    uint64_t shift = tide_logapi_shift(sub->map);
    switch (error) {
    case -ESTALE:
        return tide_logapi_gone(reader->log);
    case -EOVERFLOW:
        return tide_logapi_error(error, "overtaken at position, now going on behind",
                                 sub->gap_from - shift, 1, 0);
    case -EPIPE:
        return tide_logapi_error(error, "detached, for it held appends back: position",
                                 sub->cursor - shift, 1, 0);
    case -EBADMSG:
        return tide_logapi_error(error, "damaged batch at position", sub->next - shift, 1, 0);
    default:
        return tide_logapi_error(error, "no memory for a copy of position", sub->next - shift, 1,
                                 0);
    }
}

static int logapi_nothing(const tide_log_reader_t *reader, int error)
{
    return tide_logapi_error(error, "nothing to read at position",
                             reader->sub.next - tide_logapi_shift(reader->sub.map), 1, 0);
}

/* The first poll returned `got`, which is no batch. */
TIDE_NOINLINE static int logapi_read_on(tide_log_reader_t *reader, struct tide_log_batch *batches,
                                        int most, int64_t timeout, int got)
{
    struct tide_logapi_wait wait = {.log = reader->log,
                                    .bell = &reader->log->map.head->data,
                                    .ready = logapi_is_ready,
                                    .what = reader,
                                    .timeout = timeout};
    while (got == 0) {
        int error = tide_logapi_wait(&wait);
        if (error != 0)
            return logapi_nothing(reader, error);
        got = logapi_poll(reader, batches, most);
    }
    return got > 0 ? got : logapi_read_error(reader, got);
}

TIDE_EXPORT int tide_log_read(tide_log_reader_t *reader, struct tide_log_batch *batches, int most,
                              int64_t timeout)
{
    if (TIDE_UNLIKELY(!logapi_is_reader(reader)))
        return logapi_is_lane_reader(reader) ? tide_logapi_ends.read(reader, batches, most, timeout)
                                             : logapi_no_reader(reader);
    if (TIDE_UNLIKELY(most < 1))
        return tide_logapi_error(-EINVAL, "batches to read at once", 0, 1, INT_MAX);
    int got = logapi_poll(reader, batches, most);
    if (TIDE_LIKELY(got > 0))
        return got;
    if (got != 0 || timeout != TIDE_LOG_TRY)
        return logapi_read_on(reader, batches, most, timeout, got);
    if (reader->log->crew.shared)
        tide_rescue_look(&reader->log->crew);
    return logapi_nothing(reader, -EAGAIN);
}

TIDE_EXPORT int tide_log_done(tide_log_reader_t *reader)
{
    if (logapi_is_lane_reader(reader))
        return tide_logapi_ends.done(reader);
    if (!logapi_is_reader(reader))
        return logapi_no_reader(reader);
    struct tide_crew *crew = &reader->log->crew;
    if (!tide_crew_enter(crew, &reader->sub.entry->busy))
        return tide_logapi_gone(reader->log);
    bool detached = tide_coh_get(reader->sub.map->coh, &reader->sub.entry->fate) != 0;
    bool moved = !detached && tide_sub_done(&reader->sub);
    tide_crew_leave(crew, &reader->sub.entry->busy);
    if (detached)
        return logapi_read_error(reader, -EPIPE);
    if (moved)
        tide_logapi_ring(&reader->log->map.head->space);
    return 0;
}

TIDE_EXPORT int tide_log_gap(tide_log_reader_t *reader, uint64_t *from, uint64_t *to)
{
    if (!logapi_is_reader(reader))
        return logapi_no_reader(reader);
    *from = reader->sub.gap_from - tide_logapi_shift(reader->sub.map);
    *to = reader->sub.gap_to - tide_logapi_shift(reader->sub.map);
    return 0;
}
