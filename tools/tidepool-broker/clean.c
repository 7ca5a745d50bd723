/* clean.c - the oldest of what is needed is written again; see streams.h
 *
 * The log gives up only what is in front of all that is needed. A stream that nobody writes to
 * or trims would hold all that came after its entries. So, where the log becomes full, what is
 * needed of its old end is copied to its new one, like the live blocks of a log-structured file
 * system; an entry keeps its id.
 */
#include <string.h>

#include "streams_inner.h"

/* Parts of a hundred of the log's messages that may be needed, for cleaning to be worth it. */
enum { CLEAN_LIVE = 75 };

/* MOST: runs that are written again at once, as one batch; of BYTES,
 * or a PART of the largest batch, or one run that is larger. */
enum { CLEAN_MOST = 256, CLEAN_BYTES = 64 << 10, CLEAN_PART = 8 };

static struct {
    uint64_t left; /* messages to look at */
    bool first, worth, full;
    uint64_t futile; /* not before so many entries are gone */
    /* the batch: what goes into it stays where it is until then */
    struct {
        struct stream *stream;
        struct index_at at;
        struct record record;
    } run[CLEAN_MOST];
    unsigned runs, ring;
    size_t room;
    uint64_t oldest; /* position of the first of them */
} clean;

/* Puts the runs behind all others. */
static void clean_write(void)
{
    struct store_batch batch;
    uint64_t place;
    if (clean.runs == 0)
        return;
    clean.full = clean.full || store_begin(&batch, NULL, clean.ring, clean.room) != 0;
    for (unsigned i = 0; i < clean.runs && !clean.full; i++) {
        struct stream *stream = clean.run[i].stream;
        struct record *record = &clean.run[i].record;
        char *to = store_put(&batch, record_head(record) + record->size, record->ms);
        memcpy(record_write(to, record), record->text, record->size);
        index_move(&stream->index, &clean.run[i].at, store_short(store_top()), store_cell(to));
        stream->moved = true;
        all.moved += record->count;
    }
    int result = clean.full ? 0 : store_end(&batch, &place);
    if (result != 0)
        streams_broken("somebody else appends to the log", result);
    if (clean.full)
        all.cleaned = clean.oldest;
    else
        all.newest = place;
    clean.runs = 0;
    clean.room = 0;
}

/* A run that is needed. If entries of it are gone it tells so: the message that said it may go. */
static void clean_run(struct stream *stream, struct index_at at, struct record *record,
                      uint64_t place)
{
    struct index_at before = at;
    size_t most = store_most() / CLEAN_PART;
    record->kind &= ~(unsigned)RECORD_FLOOR;
    if (stream->skip > 0 && !index_back(&stream->index, &before))
        record->kind |= RECORD_FLOOR;
    record->floor = stream->floor;
    size_t room = TIDE_LOG_ROOM(record_head(record) + record->size);
    unsigned ring = store_ring(stream->hash);
    if (clean.runs == CLEAN_MOST || (clean.runs > 0 && clean.ring != ring) ||
        clean.room + room > (most < CLEAN_BYTES ? most : CLEAN_BYTES))
        clean_write();
    if (clean.full)
        return;
    if (clean.runs == 0)
        clean.oldest = place;
    clean.run[clean.runs].stream = stream;
    clean.run[clean.runs].at = at;
    clean.run[clean.runs++].record = *record;
    clean.ring = ring;
    clean.room += room;
}

static void clean_pin(struct stream *stream)
{
    uint64_t place;
    if (streams_note(stream, RECORD_TRIM | RECORD_FLOOR, &place))
        stream->pin = place;
    else
        clean.full = true;
}

static void clean_one(const struct store_seen *seen)
{
    struct record record;
    struct index_at at;
    struct sid first, last;
    if (!record_read(&record, seen->data, seen->size, seen->tag))
        return;
    struct stream *stream = streams_find(record.key, record.key_size, false);
    if (stream == NULL || !stream->exists)
        return;
    if (stream->count == 0) {
        if (stream->pin == seen->place)
            clean_pin(stream);
        return;
    }
    /* A floor that was told here is about entries in front of it, which go with it. */
    if (!record_check(&record, &first, &last) || !index_from(&stream->index, first, &at))
        return;
    struct index_entry entry = index_get(&stream->index, &at);
    if (sid_compare(entry.id, first) == 0 && entry.place == store_short(seen->place))
        clean_run(stream, at, &record, seen->place);
}

static bool clean_each(const struct store_seen *seen, void *with)
{
    (void)with;
    if (clean.first) {
        uint64_t messages = store_next() - seen->number;
        clean.worth = (all.runs + all.streams) * 100 < messages * CLEAN_LIVE;
        clean.first = false;
    }
    if (!clean.worth || clean.full)
        return false;
    all.cleaned = seen->place;
    if (clean.left == 0)
        return false;
    clean.left--;
    clean_one(seen);
    return !clean.full;
}

bool streams_clean(uint64_t messages)
{
    uint64_t before = store_earliest();
    if (all.trimmed < clean.futile)
        return false;
    /* Looking at every stream is to cost no more than the messages do. */
    clean.left = messages + all.all / 8;
    clean.first = true;
    clean.worth = clean.full = false;
    store_visit(clean_each, NULL);
    clean_write();
    if (clean.worth) {
        store_settle();
        streams_reclaim();
    } else {
        clean.futile = all.trimmed + 1 + all.entries / 64;
    }
    return store_earliest() > before;
}
