/* streams.c - the streams by name, and what becomes of them; see streams.h */
#include "streams_inner.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "entries.h"

struct streams all;

/* ---- by name ---- */

uint64_t streams_hash(const char *key, size_t size)
{
    uint64_t hash, part;
    while (all.seed == 0)
        if (getrandom(&all.seed, sizeof all.seed, 0) < 0)
            all.seed = (uintptr_t)&hash;
    hash = all.seed ^ size;
    for (; size > 0; key += 8, size -= size < 8 ? size : 8) {
        part = 0;
        memcpy(&part, key, size < 8 ? size : 8);
        __uint128_t product = (__uint128_t)(hash ^ part) * UINT64_C(0x9e3779b97f4a7c15);
        hash = (uint64_t)product ^ (uint64_t)(product >> 64) ^ all.seed;
        if (size <= 8)
            break;
    }
    return hash ^ hash >> 29;
}

static bool streams_spread(void)
{
    uint64_t buckets = all.buckets != 0 ? all.buckets * 2 : 64;
    if (all.all < all.buckets)
        return true;
    struct stream **bucket = calloc(buckets, sizeof *bucket);
    if (bucket == NULL)
        return all.buckets != 0;
    for (uint64_t i = 0; i < all.buckets; i++)
        for (struct stream *stream = all.bucket[i], *next; stream != NULL; stream = next) {
            next = stream->next;
            stream->next = bucket[stream->hash & (buckets - 1)];
            bucket[stream->hash & (buckets - 1)] = stream;
        }
    free(all.bucket);
    all.bucket = bucket;
    all.buckets = buckets;
    return true;
}

struct stream *streams_find(const char *key, size_t size, bool make)
{
    uint64_t hash = streams_hash(key, size);
    struct stream *stream = NULL;
    if (all.buckets != 0)
        for (stream = all.bucket[hash & (all.buckets - 1)]; stream != NULL; stream = stream->next)
            if (stream->hash == hash && stream->key_size == size &&
                memcmp(stream->key, key, size) == 0)
                return stream;
    if (!make || !streams_spread() || (stream = malloc(sizeof *stream + size)) == NULL)
        return NULL;
    *stream = (struct stream){
        .next = all.bucket[hash & (all.buckets - 1)], .hash = hash, .key_size = (uint32_t)size};
    memcpy(stream->key, key, size);
    all.bucket[hash & (all.buckets - 1)] = stream;
    all.all++;
    all.bytes += sizeof *stream + size;
    return stream;
}

void streams_forget(struct stream *stream)
{
    if (stream->exists || stream->waiters != NULL || stream->is_ready)
        return;
    struct stream **at = &all.bucket[stream->hash & (all.buckets - 1)];
    while (*at != stream)
        at = &(*at)->next;
    *at = stream->next;
    all.all--;
    all.bytes -= sizeof *stream + stream->key_size;
    index_clear(&stream->index);
    free(stream);
}

/* ---- trims ---- */

void streams_run(const struct stream *stream, const struct index_at *at, struct record *record)
{
    int32_t cell = index_get(&stream->index, at).data;
    if (gather_shows(cell, record))
        return;
    const char *data = store_data(cell);
    const struct tide_log_frame *frame = (const struct tide_log_frame *)(const void *)data - 1;
    record_read(record, data, frame->length, frame->tag);
}

void streams_drop_run(struct stream *stream)
{
    index_drop(&stream->index);
    stream->skip = 0;
    all.runs--;
}

/* How many entries the trim takes of the oldest run, of which `left` are there. */
static uint64_t trim_takes(const struct stream *stream, const struct trim *trim,
                           const struct record *record, uint64_t left)
{
    if (trim->kind == TRIM_COUNT) {
        uint64_t more = stream->count > trim->most ? stream->count - trim->most : 0;
        return more < left ? more : left;
    }
    uint32_t below = 0;
    struct record_at at = {.from = 0};
    struct record_entry entry;
    while (record_next(record, &at, &entry) && sid_compare(entry.id, trim->first) < 0)
        below++;
    return below > stream->skip ? below - stream->skip : 0;
}

/* Takes from the oldest run on; how many went. */
static uint64_t streams_take(struct stream *stream, const struct trim *trim)
{
    uint64_t gone = 0;
    struct index_at at;
    struct record record;
    while (index_from(&stream->index, (struct sid){0, 0}, &at)) {
        streams_run(stream, &at, &record);
        uint64_t left = record.count - stream->skip;
        uint64_t takes = trim_takes(stream, trim, &record, left);
        if (trim->about && (takes < left || (trim->limit != 0 && gone + left > trim->limit)))
            break;
        gone += takes;
        stream->count -= takes;
        stream->skip += (uint32_t)takes;
        if (takes < left)
            break;
        streams_drop_run(stream);
    }
    return gone;
}

uint64_t streams_cut(struct stream *stream, const struct trim *trim)
{
    struct entries_at at;
    uint64_t gone = streams_take(stream, trim);
    if (gone == 0)
        return 0;
    all.entries -= gone;
    all.trimmed += gone;
    all.dropped += gone;
    /* Where the entries begin that are left. */
    stream->floor = stream->last;
    if (entries_from(&at, stream, (struct sid){0, 0}))
        stream->floor = at.entry.id;
    else
        sid_up(&stream->floor);
    return gone;
}

void streams_tell(struct stream *stream)
{
    if (stream->waiters == NULL || stream->is_ready)
        return;
    stream->is_ready = true;
    stream->ready = all.news;
    all.news = stream;
}

/* The log and what is said about it differ: going on would make it worse. */
void streams_broken(const char *what, int result)
{
    fprintf(stderr, "tidepool-broker: %s: %s; ending\n", what, strerror(-result));
    _Exit(3);
}

/* ---- XTRIM, DEL ---- */

bool streams_note(const struct stream *stream, unsigned kind, uint64_t *place)
{
    struct store_batch batch;
    struct record record = {.kind = kind,
                            .number = all.number,
                            .seq = stream->last.seq,
                            .floor = stream->floor,
                            .key = stream->key,
                            .key_size = stream->key_size};
    size_t size = record_head(&record);
    unsigned ring = store_ring(stream->hash);
    int result = store_begin(&batch, NULL, ring, TIDE_LOG_ROOM(size));
    if (result == -EAGAIN) {
        streams_reclaim();
        result = store_begin(&batch, NULL, ring, TIDE_LOG_ROOM(size));
    }
    if (result != 0)
        return false;
    record_write(store_put(&batch, size, stream->last.ms), &record);
    if ((result = store_end(&batch, place)) != 0)
        streams_broken("somebody else appends to the log", result);
    all.newest = *place;
    return true;
}

int64_t streams_trim(struct stream *stream, const struct trim *trim)
{
    uint64_t place, gone;
    streams_commit();
    if ((gone = streams_cut(stream, trim)) == 0)
        return 0;
    stream->pin = store_top();
    /* A full log has no room for the note until what went is given up: hence not before. */
    if (!streams_note(stream, RECORD_TRIM | RECORD_FLOOR, &place))
        return -1;
    stream->pin = place;
    return (int64_t)gone;
}

bool streams_drop(struct stream *stream)
{
    uint64_t place;
    streams_commit();
    all.dropped += stream->count + 1;
    all.trimmed += stream->count;
    all.entries -= stream->count;
    all.runs -= stream->index.count;
    all.streams--;
    index_clear(&stream->index);
    stream->count = stream->skip = 0;
    stream->exists = false;
    stream->last = stream->floor = (struct sid){0, 0};
    bool noted = streams_note(stream, RECORD_DROP, &place);
    streams_forget(stream);
    return noted;
}

struct stream *streams_news(void)
{
    struct stream *news = all.news;
    all.news = NULL;
    return news;
}

/* ---- what is not needed any more ---- */

static uint64_t streams_needs(const struct stream *stream)
{
    struct index_at at;
    if (!stream->exists)
        return UINT64_MAX;
    if (!index_from(&stream->index, (struct sid){0, 0}, &at))
        return stream->pin;
    if (stream->moved)
        return all.cleaned;
    return store_place(index_get(&stream->index, &at).place);
}

void streams_reclaim(void)
{
    /* The newest message stays: it tells the number that entries have come to. */
    uint64_t first = all.newest;
    for (uint64_t i = 0; i < all.buckets; i++)
        for (const struct stream *stream = all.bucket[i]; stream != NULL; stream = stream->next) {
            uint64_t needs = streams_needs(stream);
            first = needs < first ? needs : first;
        }
    store_trim(first);
    all.dropped = 0;
    all.reclaims++;
}

struct streams_stat streams_stat(void)
{
    uint64_t bytes = all.bytes + index_bytes() + all.buckets * sizeof *all.bucket;
    return (struct streams_stat){all.streams, all.entries,  all.runs,  all.added,
                                 all.trimmed, all.reclaims, all.moved, bytes};
}

void streams_close(void)
{
    for (uint64_t i = 0; i < all.buckets; i++)
        for (struct stream *stream = all.bucket[i], *next; stream != NULL; stream = next) {
            next = stream->next;
            index_clear(&stream->index);
            free(stream);
        }
    free(all.bucket);
    memset(&all, 0, sizeof all);
}
