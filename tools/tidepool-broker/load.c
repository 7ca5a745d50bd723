/* load.c - the streams from the log alone; see streams.h */
#include <stdio.h>
#include <stdlib.h>

#include "streams_inner.h"

/* A run that came behind ones with higher ids: it was written again. */
struct stray {
    struct stream *stream;
    struct index_entry entry;
    uint64_t place;
};

static struct {
    struct stray *stray;
    size_t count, room;
    bool strange, memory; /* what went wrong */
} load;

static void load_stray(struct stream *stream, const struct index_entry *entry, uint64_t place)
{
    if (load.count == load.room) {
        size_t room = load.room != 0 ? load.room * 2 : 64;
        struct stray *stray = realloc(load.stray, room * sizeof *stray);
        if (stray == NULL) {
            load.memory = true;
            return;
        }
        load.stray = stray;
        load.room = room;
    }
    load.stray[load.count++] = (struct stray){stream, *entry, place};
}

static void load_run(struct stream *stream, struct sid first, const struct store_seen *seen)
{
    struct index_entry entry = {first, store_short(seen->place), store_cell(seen->data)};
    struct index_at at;
    if (index_upto(&stream->index, SID_MAX, &at) &&
        sid_compare(first, index_get(&stream->index, &at).id) <= 0)
        load_stray(stream, &entry, seen->place);
    else if (!index_add(&stream->index, &entry))
        load.memory = true;
}

static void load_drop(struct stream *stream)
{
    size_t kept = 0;
    for (size_t i = 0; i < load.count; i++)
        if (load.stray[i].stream != stream)
            load.stray[kept++] = load.stray[i];
    load.count = kept;
    index_clear(&stream->index);
    stream->exists = false;
    stream->last = stream->floor = (struct sid){0, 0};
    streams_forget(stream);
}

/* The stream is as the message says. */
static void load_state(struct stream *stream, const struct record *record, struct sid last)
{
    stream->exists = true;
    if (sid_compare(last, stream->last) > 0)
        stream->last = last;
    if ((record->kind & RECORD_FLOOR) != 0 && sid_compare(record->floor, stream->floor) > 0)
        stream->floor = record->floor;
}

/* The clock does not go back: to the run's time, nor to that of its last entry, if it got it. */
static void load_time(const struct record *record, struct sid last)
{
    uint64_t ms = record->ms;
    if (last.seq == record->number + record->count - 1 && last.ms > ms)
        ms = last.ms;
    all.ms = ms > all.ms ? ms : all.ms;
}

static bool load_one(const struct store_seen *seen, void *with)
{
    struct record record;
    struct sid first, last = {0, 0};
    (void)with;
    bool good = record_read(&record, seen->data, seen->size, seen->tag);
    unsigned kind = good ? record.kind & ~(unsigned)RECORD_FLOOR : 0;
    if (!good || (kind == RECORD_RUN && !record_check(&record, &first, &last))) {
        load.strange = true;
        return true;
    }
    all.newest = seen->place;
    if (record.number + record.count > all.number)
        all.number = record.number + record.count;
    struct stream *stream = streams_find(record.key, record.key_size, kind != RECORD_DROP);
    if (stream == NULL) {
        load.memory = load.memory || kind != RECORD_DROP;
        return true;
    }
    if (kind == RECORD_DROP) {
        load_drop(stream);
        return true;
    }
    stream->pin = seen->place;
    if (kind == RECORD_RUN) {
        load_run(stream, first, seen);
        load_time(&record, last);
    } else {
        last = (struct sid){record.ms, record.seq};
    }
    load_state(stream, &record, last);
    return true;
}

/* By stream, by id; of the same id the one that was written last comes first. */
static int stray_compare(const void *one, const void *other)
{
    const struct stray *a = one, *b = other;
    if (a->stream != b->stream)
        return (uintptr_t)a->stream < (uintptr_t)b->stream ? -1 : 1;
    int side = sid_compare(a->entry.id, b->entry.id);
    return side != 0 ? side : a->place > b->place ? -1 : a->place < b->place;
}

static void load_put(struct index *index, const struct index_entry *entry)
{
    if (!index_add(index, entry))
        load.memory = true;
}

/* The index of the stream with its strays among the others; they win. */
static void load_merge(struct stream *stream, const struct stray *stray, size_t count)
{
    struct index merged = {NULL, 0, 0, 0, 0};
    struct index_at at;
    bool more = index_from(&stream->index, (struct sid){0, 0}, &at);
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && sid_compare(stray[i].entry.id, stray[i - 1].entry.id) == 0)
            continue;
        for (; more; more = index_forward(&stream->index, &at)) {
            struct index_entry entry = index_get(&stream->index, &at);
            int side = sid_compare(entry.id, stray[i].entry.id);
            if (side > 0)
                break;
            if (side < 0)
                load_put(&merged, &entry);
        }
        load_put(&merged, &stray[i].entry);
    }
    for (; more; more = index_forward(&stream->index, &at)) {
        struct index_entry entry = index_get(&stream->index, &at);
        load_put(&merged, &entry);
    }
    index_clear(&stream->index);
    stream->index = merged;
    stream->moved = true;
}

static void load_strays(void)
{
    size_t end;
    if (load.count > 0)
        qsort(load.stray, load.count, sizeof load.stray[0], stray_compare);
    for (size_t i = 0; i < load.count; i = end) {
        for (end = i; end < load.count && load.stray[end].stream == load.stray[i].stream;)
            end++;
        load_merge(load.stray[i].stream, &load.stray[i], end - i);
    }
    free(load.stray);
    load.stray = NULL;
    load.count = load.room = 0;
}

/* What was trimmed goes, and the figures are made. */
static void load_finish(struct stream *stream)
{
    struct index_at at;
    struct record record;
    struct trim trim = {.kind = TRIM_FROM, .first = stream->floor};
    bool more = index_from(&stream->index, (struct sid){0, 0}, &at);
    for (; more; more = index_forward(&stream->index, &at)) {
        streams_run(stream, &at, &record);
        stream->count += record.count;
    }
    all.streams += stream->exists;
    all.entries += stream->count;
    all.runs += stream->index.count;
    streams_cut(stream, &trim);
}

bool streams_load(char *error, size_t len)
{
    load.strange = load.memory = false;
    bool good = store_walk(load_one, NULL, error, len);
    load_strays();
    all.cleaned = store_earliest();
    for (uint64_t i = 0; i < all.buckets; i++)
        for (struct stream *stream = all.bucket[i]; stream != NULL; stream = stream->next)
            load_finish(stream);
    if (good && load.strange)
        snprintf(error, len, "the log has messages that no broker wrote");
    else if (good && load.memory)
        snprintf(error, len, "no memory for the streams of the log");
    all.trimmed = 0;
    streams_reclaim();
    return good && !load.strange && !load.memory;
}
