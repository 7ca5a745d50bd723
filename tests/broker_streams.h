/*
 * broker_streams.h - streams of tidepool-broker over a log, without its network: for unit tests.
 *
 * An entry has the field f, and came in the millisecond 1000.
 */
#ifndef TESTS_BROKER_STREAMS_H
#define TESTS_BROKER_STREAMS_H

#define _GNU_SOURCE 1
#include "unit_base.h"

#include "../tools/tidepool-broker/index.c"
#include "../tools/tidepool-broker/record.c"
#include "../tools/tidepool-broker/sid.c"
#include "../tools/tidepool-broker/store.c"
#include "../tools/tidepool-broker/streams.c"

#include "../tools/tidepool-broker/clean.c"
#include "../tools/tidepool-broker/entries.c"
#include "../tools/tidepool-broker/gather.c"
#include "../tools/tidepool-broker/load.c"

#define UNUSED __attribute__((unused))

static char error[256];

static UNUSED void start(uint64_t payload, uint64_t slots, unsigned level, unsigned brokers)
{
    struct store_options options = {.source = "anon",
                                    .level = level,
                                    .brokers = brokers,
                                    .sessions = 4,
                                    .payload = payload,
                                    .slots = slots};
    ck_assert_msg(store_open(&options, error, sizeof error), "%s", error);
    ck_assert_msg(streams_load(error, sizeof error), "%s", error);
}

/* One entry with the field f and this value, gathered; returns its error so far. */
static UNUSED int gather_with(struct add *add, const char *key, const char *value)
{
    static char text[64];
    int size = snprintf(text, sizeof text, "$1\r\nf\r\n$%zu\r\n%s\r\n", strlen(value), value);
    add->key = key;
    add->key_size = (uint32_t)strlen(key);
    add->text = text;
    add->text_size = (uint32_t)size;
    add->strings = 2;
    UNIT_HOLD(streams_fits(NULL, add) || streams_commit()[0] == 0, "full");
    return streams_add(NULL, add, 1000);
}

/* The same, and in the log. */
static UNUSED int add_with(struct add *add, const char *key, const char *value)
{
    int error = gather_with(add, key, value);
    return error != 0 ? error : streams_commit()[add->run];
}

static UNUSED int add_plain(const char *key, const char *text)
{
    return add_with(&(struct add){.how = ADD_AUTO}, key, text);
}

static UNUSED struct stream *stream_of(const char *key)
{
    struct stream *stream = streams_find(key, strlen(key), false);
    return stream != NULL && stream->exists ? stream : NULL;
}

/* The ids and values of a stream in one text. */
static UNUSED const char *shown(const char *key)
{
    static char texts[3][1 << 16];
    static unsigned turn;
    char *text = texts[turn++ % 3];
    struct stream *stream = stream_of(key);
    static struct entries_at at;
    size_t len = 0;
    text[0] = '\0';
    if (stream == NULL)
        return "none";
    for (bool more = entries_from(&at, stream, (struct sid){0, 0}); more;
         more = entries_forward(&at)) {
        const char *value = at.entry.text + (at.entry.names != NULL ? 0 : 7);
        int size = (int)record_bulk(value) - (value[3] == '\r' ? 7 : 6);
        value = strchr(value, '\n') + 1;
        len += (size_t)snprintf(text + len, sizeof texts[0] - len, "%llu-%llu:%.*s ",
                                (unsigned long long)at.entry.id.ms,
                                (unsigned long long)at.entry.id.seq, size, value);
    }
    return text;
}

/* So many entries, in batches of so many. */
static UNUSED void fill(const char *key, int count, int together)
{
    for (int i = 0; i < count; i++) {
        struct add add = {.how = ADD_AUTO};
        UNIT_HOLD(gather_with(&add, key, "x") == 0, "refused after %d", i);
        UNIT_HOLD((i + 1) % together != 0 || streams_commit()[add.run] == 0, "full at %d", i);
    }
}

#endif
