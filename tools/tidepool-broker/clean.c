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

static struct {
    uint64_t left; /* messages to look at */
    bool first, worth, full;
    uint64_t futile; /* not before so many entries are gone */
} clean;

/* An entry that is needed, put behind all others. */
static void clean_entry(struct stream *stream, struct index_at at, struct record *record)
{
    struct store_batch batch;
    uint64_t place;
    record->kind = RECORD_NAMED;
    size_t size = record_size(record);
    if (store_begin(&batch, NULL, store_ring(stream->hash), TIDE_LOG_ROOM(size)) != 0) {
        clean.full = true;
        return;
    }
    char *to = store_put(&batch, size, record->id.ms);
    memcpy(record_write(to, record), record->text, record->text_size);
    int result = store_end(&batch, &place);
    if (result != 0)
        streams_broken("somebody else appends to the log", result);
    index_move(&stream->index, &at, store_short(place), store_cell(to));
    stream->moved = true;
    all.moved++;
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
    if (!record_read(&record, seen->data, seen->size, seen->tag, seen->number))
        return;
    struct stream *stream = streams_find(record.key, record.key_size, false);
    if (stream == NULL || !stream->exists)
        return;
    if (stream->index.count == 0) {
        if (stream->pin == seen->place)
            clean_pin(stream);
        return;
    }
    /* A floor that was told here is about entries in front of it, which go with it. */
    if (!index_from(&stream->index, record.id, &at))
        return;
    struct index_entry entry = index_get(&stream->index, &at);
    if (sid_compare(entry.id, record.id) == 0 && entry.place == store_short(seen->place))
        clean_entry(stream, at, &record);
}

static bool clean_each(const struct store_seen *seen, void *with)
{
    (void)with;
    if (clean.first) {
        uint64_t messages = store_next() - seen->number;
        clean.worth = (all.entries + all.streams) * 100 < messages * CLEAN_LIVE;
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
    if (clean.worth) {
        store_settle();
        streams_reclaim();
    } else {
        clean.futile = all.trimmed + 1 + all.entries / 64;
    }
    return store_earliest() > before;
}
