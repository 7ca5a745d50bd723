/* streams.c - the streams by name, and what becomes of them; see streams.h */
#include "streams_inner.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

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

static void streams_drop_oldest(struct stream *stream)
{
    index_drop(&stream->index);
    all.entries--;
    all.trimmed++;
    all.dropped++;
}

/* May the entries up to this id, `count` of them, go? */
static bool trim_takes(const struct stream *stream, const struct trim *trim, uint64_t count,
                       struct sid last)
{
    if (trim->kind == TRIM_COUNT)
        return stream->index.count >= trim->most && stream->index.count - trim->most >= count;
    return trim->kind == TRIM_FROM && sid_compare(last, trim->first) < 0;
}

/* Where the entries begin that are left. */
static void streams_set_floor(struct stream *stream)
{
    struct index_at at;
    stream->floor = stream->last;
    if (index_from(&stream->index, (struct sid){0, 0}, &at))
        stream->floor = index_get(&stream->index, &at).id;
    else
        sid_up(&stream->floor);
}

/* Whole chunks while that is allowed; then, if it is to be exact, one by one. */
static uint64_t streams_take(struct stream *stream, const struct trim *trim)
{
    uint64_t before = stream->index.count, gone = 0;
    struct sid last;
    uint32_t count;
    while ((count = index_oldest(&stream->index, &last)) > 0 &&
           trim_takes(stream, trim, count, last) &&
           (trim->limit == 0 || gone + count <= trim->limit))
        for (gone += count; count > 0; count--)
            streams_drop_oldest(stream);
    if (trim->about)
        return before - stream->index.count;
    struct index_at at;
    while (index_from(&stream->index, (struct sid){0, 0}, &at) &&
           trim_takes(stream, trim, 1, index_get(&stream->index, &at).id))
        streams_drop_oldest(stream);
    return before - stream->index.count;
}

static uint64_t streams_cut(struct stream *stream, const struct trim *trim)
{
    uint64_t gone = streams_take(stream, trim);
    if (gone > 0)
        streams_set_floor(stream);
    return gone;
}

/* ---- appends ---- */

/* The id that the next entry gets; *named: not the one that its place gives. */
static int add_resolve(struct add *add, uint64_t number, uint64_t now)
{
    const struct sid last = add->stream->last;
    struct sid id = {now, number};
    if (sid_compare(last, SID_MAX) == 0)
        return ADD_EXHAUSTED;
    if (add->how == ADD_ID)
        id = add->id;
    else if (add->how == ADD_MS && add->id.ms == last.ms)
        id = (struct sid){last.ms, last.seq + 1};
    else if (add->how == ADD_MS)
        id = (struct sid){add->id.ms, 0};
    else if (sid_compare(id, last) <= 0) {
        id = last;
        sid_up(&id);
    }
    if (sid_compare(id, last) <= 0)
        return ADD_SMALL;
    add->id = id;
    add->named = id.ms != now || id.seq != number;
    return 0;
}

static void add_record(const struct add *add, struct record *record)
{
    *record = (struct record){
        .kind = (add->named ? RECORD_NAMED : RECORD_ENTRY) | (add->cuts ? RECORD_FLOOR : 0),
        .id = add->id,
        .key = add->key,
        .text = add->text,
        .key_size = add->key_size,
        .text_size = add->text_size,
        .strings = add->strings,
    };
}

size_t streams_room(const struct add *add)
{
    struct add most = *add;
    struct record record;
    most.named = true;
    most.cuts = add->trim.kind != TRIM_NONE;
    add_record(&most, &record);
    return TIDE_LOG_ROOM(record_size(&record));
}

static void streams_tell(struct stream *stream)
{
    if (stream->waiters == NULL || stream->is_ready)
        return;
    stream->is_ready = true;
    stream->ready = all.news;
    all.news = stream;
}

static int add_one(struct store_batch *batch, struct add *add, uint64_t now)
{
    struct record record;
    add->stream = streams_find(add->key, add->key_size, !add->only_existing);
    if (add->stream == NULL || (add->only_existing && !add->stream->exists))
        return add->only_existing ? ADD_MISSING : ADD_MEMORY;
    int error = add_resolve(add, batch->next, now);
    if (error != 0)
        return error;
    struct stream *stream = add->stream;
    const char *data =
        (const char *)batch->claim.data + batch->claim.used + sizeof(struct tide_log_frame);
    struct index_entry entry = {add->id, store_short(store_top()), store_cell(data)};
    if (!index_add(&stream->index, &entry))
        return ADD_MEMORY;
    all.streams += !stream->exists;
    all.entries++;
    all.added++;
    stream->exists = true;
    stream->last = add->id;
    stream->pin = store_top();
    stream->moved = stream->moved && stream->index.count > 1;
    add->cuts = add->trim.kind != TRIM_NONE && streams_cut(stream, &add->trim) > 0;
    add_record(add, &record);
    record.floor = stream->floor;
    char *to = store_put(batch, record_size(&record), add->id.ms);
    memcpy(record_write(to, &record), record.text, record.text_size);
    streams_tell(stream);
    return 0;
}

/* The log and what is said about it differ: going on would make it worse. */
void streams_broken(const char *what, int result)
{
    fprintf(stderr, "tidepool-broker: %s: %s; ending\n", what, strerror(-result));
    _Exit(3);
}

/* Entries leave some room for notes and for the cleaning. */
static int streams_try(struct store_batch *batch, tide_log_client_t *client, unsigned ring,
                       size_t room)
{
    return store_full(ring) < STREAMS_FULL ? store_begin(batch, client, ring, room) : -EAGAIN;
}

/* A batch for entries, after some cleaning if the ring is rather full. */
static int streams_begin(struct store_batch *batch, tide_log_client_t *client, unsigned ring,
                         size_t room, unsigned count)
{
    if (store_full(ring) >= STREAMS_CLEAN) {
        if (all.dropped * 8 > all.all)
            streams_reclaim();
        if (store_full(ring) >= STREAMS_CLEAN)
            streams_clean(STREAMS_STEP + 4 * (uint64_t)count);
    }
    int result = streams_try(batch, client, ring, room);
    /* One that is large, or a ring that others keep full. */
    if (result == -EAGAIN && all.dropped > 0) {
        streams_reclaim();
        result = streams_try(batch, client, ring, room);
    }
    while (result == -EAGAIN && streams_clean(STREAMS_STEP * 8))
        result = streams_try(batch, client, ring, room);
    return result;
}

void streams_add(tide_log_client_t *client, struct add *adds, unsigned count, size_t room,
                 uint64_t now)
{
    struct store_batch batch;
    uint64_t place;
    unsigned ring = store_ring(streams_hash(adds[0].key, adds[0].key_size));
    int result = streams_begin(&batch, client, ring, room, count);
    all.ms = now > all.ms ? now : all.ms;
    for (unsigned i = 0; i < count; i++) {
        adds[i].error = result != 0 ? ADD_FULL : add_one(&batch, &adds[i], all.ms);
        if (adds[i].error != 0 && adds[i].stream != NULL)
            streams_forget(adds[i].stream);
    }
    if (result == 0 && (result = store_end(&batch, &place)) != 0)
        streams_broken("somebody else appends to the log", result);
    if (all.dropped >= 1024 && all.dropped * 8 >= all.entries + all.all)
        streams_reclaim();
}

/* ---- XTRIM, DEL ---- */

/* A message without strings, about this stream. */
bool streams_note(const struct stream *stream, unsigned kind, uint64_t *place)
{
    struct store_batch batch;
    struct record record = {.kind = kind,
                            .id = stream->last,
                            .floor = stream->floor,
                            .key = stream->key,
                            .key_size = stream->key_size};
    size_t size = record_size(&record);
    unsigned ring = store_ring(stream->hash);
    int result = store_begin(&batch, NULL, ring, TIDE_LOG_ROOM(size));
    if (result == -EAGAIN) {
        streams_reclaim();
        result = store_begin(&batch, NULL, ring, TIDE_LOG_ROOM(size));
    }
    if (result != 0)
        return false;
    record_write(store_put(&batch, size, record.id.ms), &record);
    if ((result = store_end(&batch, place)) != 0)
        streams_broken("somebody else appends to the log", result);
    return true;
}

int64_t streams_trim(struct stream *stream, const struct trim *trim)
{
    uint64_t place, gone = streams_cut(stream, trim);
    if (gone == 0)
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
    all.dropped += stream->index.count + 1;
    all.trimmed += stream->index.count;
    all.entries -= stream->index.count;
    all.streams--;
    index_clear(&stream->index);
    stream->exists = false;
    stream->last = stream->floor = (struct sid){0, 0};
    bool noted = streams_note(stream, RECORD_DROP, &place);
    streams_forget(stream);
    return noted;
}

/* ---- reading ---- */

struct entry streams_entry(const struct stream *stream, const struct index_at *at)
{
    struct index_entry cell = index_get(&stream->index, at);
    const char *data = store_data(cell.data);
    const struct tide_log_frame *frame = (const struct tide_log_frame *)(const void *)data - 1;
    struct record record = {0};
    record_read(&record, data, frame->length, frame->tag, 0);
    return (struct entry){cell.id, record.text, record.text_size, record.strings};
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
    uint64_t first = store_top();
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
    return (struct streams_stat){all.streams,  all.entries, all.added, all.trimmed,
                                 all.reclaims, all.moved,   bytes};
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
