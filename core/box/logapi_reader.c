/* logapi_reader.c - readers; see logapi.h */
#include "box/logapi.h"

#include "box/park.h"

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

static int logapi_no_reader(void)
{
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
    if (error == -ERANGE)
        return tide_logapi_error(error, "position, trimmed", o->position, first, UINT64_MAX);
    if (error == -ENXIO)
        return tide_logapi_error(error, "position, in the future", o->position, 1, 0);
    return tide_logapi_error(error, "all readers are open", log->map.readers, 1, 0);
}

TIDE_EXPORT int tide_log_reader_open(tide_log_reader_t **out, tide_log_t *log,
                                     const struct tide_log_reader_options *options)
{
    static const struct tide_log_reader_options initial;
    const struct tide_log_reader_options *o = options != NULL ? options : &initial;
    int error = logapi_check_reader(log, o);
    if (error != 0)
        return error;
    tide_log_reader_t *reader = tide_logapi_handle(sizeof *reader);
    if (reader == NULL)
        return tide_logapi_error(-ENOMEM, "no memory for bytes of a handle", sizeof *reader, 1, 0);
    while ((error = tide_sub_open(&reader->sub, &log->map, log->map.level == 0 ? o->broker : 0,
                                  (enum tide_layout_policy)o->policy, (enum tide_sub_start)o->start,
                                  o->position + tide_logapi_shift(&log->map), log->process)) ==
           -EAGAIN)
        tide_park_yield();
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
    if (!logapi_is_reader(reader))
        return logapi_no_reader();
    reader->magic = 0;
    tide_sub_close(&reader->sub);
    tide_logapi_ring(&reader->log->map.head->space);
    atomic_fetch_sub_explicit(&reader->log->handles, 1, memory_order_release);
    tide_logapi_drop(reader, sizeof *reader);
    return 0;
}

/* --- reading ----------------------------------------------------------------------------- */

static int logapi_poll(tide_log_reader_t *reader, struct tide_log_batch *batches, int most)
{
    struct tide_sub *sub = &reader->sub;
    uint64_t cursor = sub->cursor;
    int got = tide_sub_poll(sub, (struct tide_sub_batch *)(void *)batches, most);
    if (sub->cursor != cursor)
        tide_logapi_ring(&reader->log->map.head->space);
    if (TIDE_UNLIKELY(sub->map->level == 0))
        for (int i = 0; i < got; i++)
            batches[i].position--;
    return got;
}

static bool logapi_is_ready(const void *what)
{
    const tide_log_reader_t *reader = what;
    return tide_sub_ready(&reader->sub);
}

static int logapi_read_error(const tide_log_reader_t *reader, int error)
{
    const struct tide_sub *sub = &reader->sub;
    uint64_t shift = tide_logapi_shift(sub->map);
    switch (error) {
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

TIDE_EXPORT int tide_log_read(tide_log_reader_t *reader, struct tide_log_batch *batches, int most,
                              int64_t timeout)
{
    if (TIDE_UNLIKELY(!logapi_is_reader(reader)))
        return logapi_no_reader();
    if (TIDE_UNLIKELY(most < 1))
        return tide_logapi_error(-EINVAL, "batches to read at once", 0, 1, INT_MAX);
    int got = logapi_poll(reader, batches, most);
    if (TIDE_LIKELY(got > 0))
        return got;
    struct tide_logapi_wait wait = {.bell = &reader->log->map.head->data,
                                    .ready = logapi_is_ready,
                                    .what = reader,
                                    .timeout = timeout};
    while (got == 0) {
        int error = tide_logapi_wait(&wait);
        if (error != 0)
            return tide_logapi_error(error, "nothing to read at position",
                                     reader->sub.next - tide_logapi_shift(reader->sub.map), 1, 0);
        got = logapi_poll(reader, batches, most);
    }
    return got > 0 ? got : logapi_read_error(reader, got);
}

TIDE_EXPORT int tide_log_done(tide_log_reader_t *reader)
{
    if (!logapi_is_reader(reader))
        return logapi_no_reader();
    if (tide_coh_get(reader->sub.map->coh, &reader->sub.entry->fate) != 0)
        return logapi_read_error(reader, -EPIPE);
    if (tide_sub_done(&reader->sub))
        tide_logapi_ring(&reader->log->map.head->space);
    return 0;
}

TIDE_EXPORT int tide_log_gap(tide_log_reader_t *reader, uint64_t *from, uint64_t *to)
{
    if (!logapi_is_reader(reader))
        return logapi_no_reader();
    *from = reader->sub.gap_from - tide_logapi_shift(reader->sub.map);
    *to = reader->sub.gap_to - tide_logapi_shift(reader->sub.map);
    return 0;
}
