/* read.c - see read.h */
#include "read.h"

#include <stdlib.h>

#include "block.h"
#include "entries.h"

static void range_error(void)
{
    command_error("ERR Invalid stream ID specified as stream command argument");
}

/* ---- replies ---- */

/* The reply became larger than it may: an error instead of it. */
static bool read_limit(struct out_mark mark)
{
    if (server.out.total - mark.total <= server.is.max_output)
        return true;
    out_back(&server.out, mark);
    command_error("ERR the reply is larger than max-output (%llu bytes): ask for less by COUNT",
                  (unsigned long long)server.is.max_output);
    return false;
}

/* Strings of which the names stand elsewhere. */
static void read_values(const struct record_entry *entry)
{
    const char *text = entry->text, *names = entry->names, *end = text + entry->size;
    while (text < end) {
        uint32_t name = record_bulk(names), value = record_bulk(text);
        out_bytes(&server.out, names, name);
        out_name(&server.out, text, value);
        names += name;
        names += record_bulk(names);
        text += value;
    }
}

static void read_entry(const struct record_entry *entry)
{
    out_array(&server.out, 2);
    out_id(&server.out, entry->id);
    out_array(&server.out, entry->strings);
    if (entry->names != NULL)
        read_values(entry);
    else
        out_name(&server.out, entry->text, entry->size);
}

static bool read_more(struct entries_at *at, bool reverse)
{
    return reverse ? entries_back(at) : entries_forward(at);
}

/* How many entries there are from `at` on up to `end`, at most `most` (0: all of them). */
static uint64_t read_count(struct entries_at at, struct sid end, uint64_t most, bool reverse)
{
    uint64_t count = 0;
    for (bool more = true; more && (most == 0 || count < most); count++) {
        int side = sid_compare(at.entry.id, end);
        if (reverse ? side < 0 : side > 0)
            break;
        more = read_more(&at, reverse);
    }
    return count;
}

/* The entries from first to last, or the other way round, as an array. */
static bool read_entries(const struct stream *stream, struct sid first, struct sid last,
                         uint64_t most, bool reverse, struct out_mark mark)
{
    static struct entries_at at;
    bool some = sid_compare(first, last) <= 0 &&
                (reverse ? entries_upto(&at, stream, last) : entries_from(&at, stream, first));
    uint64_t count = some ? read_count(at, reverse ? first : last, most, reverse) : 0;
    out_array(&server.out, (int64_t)count);
    for (uint64_t i = 0; i < count; i++) {
        read_entry(&at.entry);
        if (!read_limit(mark))
            return false;
        read_more(&at, reverse);
    }
    return true;
}

bool read_has(const struct stream *stream, struct sid after)
{
    return stream->count > 0 && sid_compare(stream->last, after) > 0;
}

static bool read_one(const struct stream *stream, struct sid after, uint64_t count,
                     struct out_mark mark)
{
    out_array(&server.out, 2);
    out_string(&server.out, stream->key, stream->key_size);
    return sid_up(&after) && read_entries(stream, after, SID_MAX, count, false, mark);
}

bool read_stream(const struct stream *stream, struct sid after, uint64_t count)
{
    struct out_mark mark = {.used = 0};
    out_clear(&server.out);
    out_array(&server.out, 1);
    return read_one(stream, after, count, mark);
}

/* ---- XRANGE, XREVRANGE, XLEN ---- */

/* An end of an interval: an id, - or +, or an id with ( in front, which is not part of it. */
static bool range_end(struct text text, bool low, struct sid *id)
{
    bool open = text.size > 1 && text.at[0] == '(';
    if (!open && text.size == 1 && (text.at[0] == '-' || text.at[0] == '+')) {
        *id = text.at[0] == '-' ? (struct sid){0, 0} : SID_MAX;
        return true;
    }
    if (!sid_parse(text.at + open, text.size - open, low ? 0 : UINT64_MAX, id, NULL)) {
        range_error();
        return false;
    }
    if (open && !(low ? sid_up(id) : sid_down(id))) {
        command_error("ERR invalid %s ID for the interval", low ? "start" : "end");
        return false;
    }
    return true;
}

static bool range_count(const struct request *request, int64_t *count)
{
    *count = -1;
    for (uint32_t i = 4; i < request_count(request); i += 2) {
        if (!text_is(request_arg(request, i), "count") || i + 1 == request_count(request)) {
            command_syntax();
            return false;
        }
        if (!text_number(request_arg(request, i + 1), count))
            return false;
        *count = *count < 0 ? 0 : *count;
    }
    return true;
}

static void read_interval(const struct request *request, bool reverse)
{
    struct text key = request_arg(request, 1);
    struct sid first, last;
    int64_t count;
    if (!range_end(request_arg(request, reverse ? 3 : 2), true, &first) ||
        !range_end(request_arg(request, reverse ? 2 : 3), false, &last) ||
        !range_count(request, &count))
        return;
    const struct stream *stream = streams_find(key.at, key.size, false);
    if (stream == NULL || !stream->exists)
        out_array(&server.out, 0);
    else if (count == 0)
        out_array(&server.out, -1);
    else
        read_entries(stream, first, last, count < 0 ? 0 : (uint64_t)count, reverse,
                     out_mark(&server.out));
}

void read_range(struct conn *conn, const struct request *request)
{
    (void)conn;
    read_interval(request, false);
}

void read_reverse(struct conn *conn, const struct request *request)
{
    (void)conn;
    read_interval(request, true);
}

void read_length(struct conn *conn, const struct request *request)
{
    struct text key = request_arg(request, 1);
    const struct stream *stream = streams_find(key.at, key.size, false);
    (void)conn;
    out_integer(&server.out, stream != NULL ? (int64_t)stream->count : 0);
}

/* ---- XREAD ---- */

struct reading {
    int64_t count, timeout; /* timeout below 0: does not block */
    uint32_t first, keys;   /* argument of the first name; how many */
};

static bool reading_timeout(struct text text, int64_t *timeout)
{
    if (!resp_number(text.at, text.size, INT64_MIN, INT64_MAX / 2, timeout))
        command_error("ERR timeout is not an integer or out of range");
    else if (*timeout < 0)
        command_error("ERR timeout is negative");
    else
        return true;
    return false;
}

/* The options in front of the names; false: an error was replied. */
static bool reading_options(const struct request *request, struct reading *reading)
{
    uint32_t count = request_count(request);
    for (uint32_t i = 1; i + 1 < count; i += 2) {
        struct text word = request_arg(request, i), next = request_arg(request, i + 1);
        if (text_is(word, "streams")) {
            reading->first = i + 1;
            reading->keys = (count - i - 1) / 2;
            if ((count - i - 1) % 2 == 0)
                return true;
            command_error("ERR Unbalanced XREAD list of streams: for each stream key an ID or "
                          "'$' must be specified.");
            return false;
        }
        if (text_is(word, "block")) {
            if (!reading_timeout(next, &reading->timeout))
                return false;
        } else if (text_is(word, "count")) {
            if (!text_number(next, &reading->count))
                return false;
        } else {
            break;
        }
    }
    command_syntax();
    return false;
}

/* The streams and their ids. */
static bool reading_ids(const struct request *request, const struct reading *reading,
                        struct block_key *key)
{
    for (uint32_t i = 0; i < reading->keys; i++) {
        struct text name = request_arg(request, reading->first + i);
        struct text id = request_arg(request, reading->first + reading->keys + i);
        key[i].stream = streams_find(name.at, name.size, false);
        if (id.size == 1 && id.at[0] == '$') {
            key[i].after = key[i].stream != NULL ? key[i].stream->last : (struct sid){0, 0};
        } else if (id.size == 1 && id.at[0] == '>') {
            command_error("ERR The > ID can be specified only when calling XREADGROUP using the "
                          "GROUP <group> <consumer> option.");
            return false;
        } else if (!sid_parse(id.at, id.size, 0, &key[i].after, NULL)) {
            range_error();
            return false;
        }
    }
    return true;
}

/* Streams that are not there are made, to be waited for. */
static bool reading_make(const struct request *request, const struct reading *reading,
                         struct block_key *key)
{
    for (uint32_t i = 0; i < reading->keys; i++) {
        struct text name = request_arg(request, reading->first + i);
        if (key[i].stream == NULL && name.size <= RECORD_KEY_MAX)
            key[i].stream = streams_find(name.at, name.size, true);
        if (key[i].stream == NULL)
            return false;
    }
    return true;
}

static void reading_block(struct conn *conn, const struct request *request,
                          const struct reading *reading, struct block_key *key)
{
    if (reading_make(request, reading, key) &&
        block_start(conn, (uint64_t)reading->timeout, (uint64_t)reading->count, key, reading->keys))
        return;
    for (uint32_t i = 0; i < reading->keys; i++) {
        struct text name = request_arg(request, reading->first + i);
        struct stream *stream = streams_find(name.at, name.size, false);
        if (stream != NULL)
            streams_forget(stream);
    }
    command_error("OOM no memory to wait, or a key of more than %d bytes", RECORD_KEY_MAX);
}

void read_read(struct conn *conn, const struct request *request)
{
    struct reading reading = {0, -1, 0, 0};
    struct out_mark mark = out_mark(&server.out);
    uint32_t found = 0;
    if (!reading_options(request, &reading))
        return;
    reading.count = reading.count < 0 ? 0 : reading.count;
    struct block_key *key = malloc((reading.keys + 1) * sizeof *key);
    if (key == NULL) {
        command_error("OOM no memory for the names of %u streams", reading.keys);
        return;
    }
    if (!reading_ids(request, &reading, key))
        goto done;
    for (uint32_t i = 0; i < reading.keys; i++)
        found += key[i].stream != NULL && read_has(key[i].stream, key[i].after);
    if (found > 0)
        out_array(&server.out, found);
    else if (reading.timeout < 0)
        out_array(&server.out, -1);
    else
        reading_block(conn, request, &reading, key);
    for (uint32_t i = 0; found > 0 && i < reading.keys; i++)
        if (key[i].stream != NULL && read_has(key[i].stream, key[i].after) &&
            !read_one(key[i].stream, key[i].after, (uint64_t)reading.count, mark))
            break;
done:
    free(key);
}
