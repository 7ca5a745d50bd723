/* gather.c - entries on their way into the log; see streams.h
 *
 * What comes in one turn of the loop, from whichever connections, is one batch: the log's slot
 * and the entry of its order are paid once. Entries of one stream that follow each other are one
 * run. A run's ids and the state of its stream are settled when an entry is added, for the order
 * is that of the adding; the index and the trims follow when the log has the batch.
 *
 * Where nobody else can see the log, and it ends with the process, a batch that is small stays
 * open when the turn ends: its runs are shown, which is all that the log would do for them, and
 * what comes later joins them. So entries that come alone share a batch as well. Nothing else is
 * appended to the log before the batch is, and there is room for it.
 */
#include "streams_inner.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { GATHER_RUNS = 512, GATHER_BYTES = 1 << 20, GATHER_KEEP = 2 * GATHER_BYTES };

/* OPEN: bytes of a batch that stays open, or a PART of the largest one. SMALL: entries are
 * shorter, so that no reply names them where they are. */
enum { GATHER_OPEN = 16 << 10, GATHER_PART = 4, GATHER_SMALL = 1024 };

struct gather_run {
    struct stream *stream;
    struct record record; /* key and text are found at the end */
    struct trim trim;
    size_t from; /* of its entries in the bytes */
    struct sid first, last;
    struct sid before; /* the stream's last one in front of it */
    bool existed;
    uint32_t shown; /* entries of it that are part of the stream already */
    bool lost;      /* there was no memory for its index */
    /* its first entry, as a model for the names of fields */
    size_t names;
    uint32_t strings;
};

static struct {
    tide_log_client_t *client;
    char *bytes;
    size_t used, room;
    size_t need;  /* bytes of the log, at most */
    size_t heads; /* of these: for all but the entries */
    size_t shown; /* bytes of entries that are shown; nothing else is appended then */
    unsigned ring, runs;
    bool closed;     /* it cannot stay open */
    uint64_t number; /* of the first one */
    struct gather_run run[GATHER_RUNS];
    unsigned char error[GATHER_RUNS];
} gather;

/* ---- adding ---- */

/* The id that the next entry gets. */
static int add_resolve(struct add *add, const struct stream *stream, struct sid own)
{
    const struct sid last = stream->last;
    struct sid id = own;
    if (sid_compare(last, SID_MAX) == 0)
        return ADD_EXHAUSTED;
    if (add->how == ADD_ID)
        id = add->id;
    else if (add->how == ADD_MS && add->id.ms == last.ms)
        id = (struct sid){last.ms, last.seq + 1};
    else if (add->how == ADD_MS)
        id = (struct sid){add->id.ms, 0};
    else if (sid_compare(id, last) <= 0) {
        /* The second half stays the entry's number, if there is room for it. */
        id.ms = last.ms + (last.seq >= own.seq);
        if (id.ms < last.ms) {
            id = last;
            sid_up(&id);
        }
    }
    if (sid_compare(id, last) <= 0)
        return ADD_SMALL;
    add->id = id;
    return 0;
}

size_t streams_room(const struct add *add)
{
    struct record record = {.kind = RECORD_RUN | RECORD_FLOOR, .key_size = add->key_size};
    return TIDE_LOG_ROOM(record_head(&record) + RECORD_EXTRA + add->text_size);
}

/* Bytes of a batch that stays open, at most. */
static size_t gather_open_most(void)
{
    size_t part = store_most() / GATHER_PART;
    return part < GATHER_OPEN ? part : GATHER_OPEN;
}

bool streams_fits(const tide_log_client_t *client, const struct add *add)
{
    size_t room = streams_room(add), need = gather.need + room;
    if (gather.runs == 0)
        return true;
    /* There is room for what is shown, not for more. */
    if (gather.shown > 0 && gather.used + gather.heads + room > gather_open_most())
        return false;
    return gather.client == client && gather.runs < GATHER_RUNS && need <= GATHER_BYTES &&
           need <= store_most() && gather.ring == store_ring(streams_hash(add->key, add->key_size));
}

size_t streams_gathered(void)
{
    return gather.used - gather.shown;
}

static bool gather_grow(size_t more)
{
    size_t room = gather.room != 0 ? gather.room : 4096;
    if (gather.used + more <= gather.room)
        return true;
    while (room < gather.used + more)
        room *= 2;
    char *bytes = realloc(gather.bytes, room);
    if (bytes == NULL)
        return false;
    gather.bytes = bytes;
    gather.room = room;
    return true;
}

static bool trim_same(const struct trim *a, const struct trim *b)
{
    return a->kind == b->kind && a->about == b->about && a->most == b->most &&
           a->limit == b->limit && sid_compare(a->first, b->first) == 0;
}

/* The run that the entry becomes part of: the last one, if it can be, or a new one. */
static struct gather_run *gather_join(struct stream *stream, const struct add *add)
{
    struct gather_run *last = gather.runs > 0 ? &gather.run[gather.runs - 1] : NULL;
    if (last != NULL && last->stream == stream && last->record.count < RECORD_RUN_MAX &&
        !last->lost && trim_same(&last->trim, &add->trim))
        return last;
    last = &gather.run[gather.runs];
    *last = (struct gather_run){
        .stream = stream,
        .record = {.kind = RECORD_RUN | (add->trim.kind != TRIM_NONE ? RECORD_FLOOR : 0),
                   .key_size = stream->key_size,
                   .ms = all.ms,
                   .number = all.number},
        .trim = add->trim,
        .from = gather.used,
        .first = add->id,
        .last = {.ms = all.ms},
        .before = stream->last,
        .existed = stream->exists,
        .names = gather.used,
        .strings = add->strings,
    };
    gather.error[gather.runs++] = 0;
    gather.heads += TIDE_LOG_ROOM(record_head(&last->record));
    return last;
}

static void gather_put(struct gather_run *run, const struct add *add)
{
    struct record_entry entry = {add->id, add->text, NULL, add->text_size, add->strings};
    char *to = gather.bytes + gather.used;
    if (run->record.count > 0 && run->strings == add->strings)
        entry.names = gather.bytes + run->names;
    to = record_put(to, &entry, (struct sid){run->last.ms, all.number});
    gather.used = (size_t)(to - gather.bytes);
    if (run->record.count++ == 0)
        run->names = gather.used - add->text_size;
    run->record.size = (uint32_t)(gather.used - run->from);
    run->last = add->id;
}

int streams_add(tide_log_client_t *client, struct add *add, uint64_t now)
{
    struct stream *stream = streams_find(add->key, add->key_size, !add->only_existing);
    if (stream == NULL || (add->only_existing && !stream->exists))
        return add->only_existing ? ADD_MISSING : ADD_MEMORY;
    all.ms = now > all.ms ? now : all.ms;
    if (gather.runs == 0) {
        gather.client = client;
        gather.ring = store_ring(stream->hash);
        gather.number = all.number;
    }
    int error = add_resolve(add, stream, (struct sid){all.ms, all.number});
    if (error == 0 && !gather_grow(RECORD_EXTRA + (size_t)add->text_size))
        error = ADD_MEMORY;
    if (error != 0) {
        streams_forget(stream);
        return error;
    }
    struct gather_run *run = gather_join(stream, add);
    gather_put(run, add);
    gather.need += streams_room(add);
    gather.closed = gather.closed || add->trim.kind != TRIM_NONE || add->text_size >= GATHER_SMALL;
    add->run = (unsigned)(run - gather.run);
    all.number++;
    if (!stream->exists) {
        all.streams++;
        stream->exists = true;
        stream->pin = UINT64_MAX; /* the log has nothing of it yet */
    }
    stream->last = add->id;
    return 0;
}

/* ---- into the log ---- */

/* Entries leave some room for notes and for the cleaning. */
static int gather_try(struct store_batch *batch, size_t room)
{
    return store_full(gather.ring) < STREAMS_FULL
               ? store_begin(batch, gather.client, gather.ring, room)
               : -EAGAIN;
}

/* A batch for the runs, after some cleaning if the ring is rather full. */
static int gather_begin(struct store_batch *batch, size_t room)
{
    if (store_full(gather.ring) >= STREAMS_CLEAN) {
        if (all.dropped * 8 > all.all)
            streams_reclaim();
        if (store_full(gather.ring) >= STREAMS_CLEAN)
            streams_clean(STREAMS_STEP + 4 * (uint64_t)gather.runs);
    }
    int result = gather_try(batch, room);
    /* One that is large, or a ring that others keep full. */
    if (result == -EAGAIN && all.dropped > 0) {
        streams_reclaim();
        result = gather_try(batch, room);
    }
    while (result == -EAGAIN && streams_clean(STREAMS_STEP * 8))
        result = gather_try(batch, room);
    return result;
}

/* As if it had not been added. */
static void run_undo(struct gather_run *run)
{
    struct stream *stream = run->stream;
    stream->last = run->before;
    if (!run->existed) {
        stream->exists = false;
        all.streams--;
        streams_forget(stream);
    }
}

/* What is new in the run becomes part of its stream; `data` is where it is. False: no memory. */
static bool run_show(struct gather_run *run, int32_t data)
{
    struct stream *stream = run->stream;
    struct index_entry entry = {run->first, store_short(store_top()), data};
    uint32_t more = run->record.count - run->shown;
    if (run->shown == 0) {
        if (!index_add(&stream->index, &entry))
            return false;
        stream->moved = stream->moved && stream->index.count > 1;
        all.runs++;
    }
    stream->count += more;
    all.entries += more;
    all.added += more;
    run->shown = run->record.count;
    if (more > 0)
        streams_tell(stream);
    return true;
}

/* The run becomes a message, and part of its stream as far as it is not yet. */
static bool run_write(struct gather_run *run, struct store_batch *batch)
{
    struct stream *stream = run->stream;
    struct record *record = &run->record;
    struct index_at at;
    int32_t data = store_cell(store_spot(batch));
    record->key = stream->key;
    record->floor = stream->floor;
    if (run->shown > 0 && index_from(&stream->index, run->first, &at))
        index_move(&stream->index, &at, store_short(store_top()), data);
    if (run->lost || !run_show(run, data))
        return false;
    char *to = store_put(batch, record_head(record) + record->size, record->ms);
    memcpy(record_write(to, record), gather.bytes + run->from, record->size);
    /* Others may come behind it in this batch, and are not there yet. */
    stream->last = run->last;
    stream->pin = store_top();
    if (run->trim.kind != TRIM_NONE) {
        streams_cut(stream, &run->trim);
        record->floor = stream->floor;
        record_write(to, record);
    }
    return true;
}

/* All runs have this error. */
static void gather_undo(unsigned char error)
{
    if (gather.shown > 0)
        streams_broken("no room for what is shown", EAGAIN);
    memset(gather.error, error, gather.runs);
    for (unsigned i = gather.runs; i > 0; i--)
        run_undo(&gather.run[i - 1]);
    all.number = gather.number;
}

static void gather_write(struct store_batch *batch)
{
    uint64_t place;
    for (unsigned i = 0; i < gather.runs; i++)
        if (!run_write(&gather.run[i], batch))
            gather.error[i] = ADD_MEMORY;
    int result = store_end(batch, &place);
    if (result != 0)
        streams_broken("somebody else appends to the log", result);
    all.newest = place;
}

const unsigned char *streams_commit(void)
{
    struct store_batch batch;
    size_t room = 0;
    if (gather.runs == 0)
        return gather.error;
    for (unsigned i = 0; i < gather.runs; i++)
        room += TIDE_LOG_ROOM(record_head(&gather.run[i].record) + gather.run[i].record.size);
    if (gather_begin(&batch, room) == 0)
        gather_write(&batch);
    else
        gather_undo(ADD_FULL);
    gather.runs = 0;
    gather.used = gather.need = gather.heads = gather.shown = 0;
    gather.closed = false;
    if (gather.room > GATHER_KEEP) {
        free(gather.bytes);
        gather.bytes = NULL;
        gather.room = 0;
    }
    if (all.dropped >= 1024 && all.dropped * 8 >= all.entries + all.all)
        streams_reclaim();
    return gather.error;
}

/* ---- batches that stay open ---- */

/* Cells of the index that are a run of the open batch: no message is so near the beginning of
 * what addresses reach. */
static int32_t gather_cell(unsigned run)
{
    return INT32_MIN + (int32_t)run;
}

bool gather_shows(int32_t cell, struct record *record)
{
    if (cell >= gather_cell(gather.runs))
        return false;
    const struct gather_run *run = &gather.run[cell - INT32_MIN];
    *record = run->record;
    record->key = run->stream->key;
    record->text = gather.bytes + run->from;
    return true;
}

/* It can stay open: then there will be room for it. */
static bool gather_stays(void)
{
    return !gather.closed && gather.runs > 0 && store_private() &&
           gather.used + gather.heads <= gather_open_most() &&
           (gather.shown > 0 || store_full(gather.ring) < STREAMS_CLEAN);
}

const unsigned char *streams_settle(void)
{
    if (!gather_stays())
        return streams_commit();
    for (unsigned i = 0; i < gather.runs; i++) {
        struct gather_run *run = &gather.run[i];
        run->lost = run->lost || !run_show(run, gather_cell(i));
        if (run->lost)
            gather.error[i] = ADD_MEMORY;
    }
    gather.shown = gather.used;
    return gather.error;
}
