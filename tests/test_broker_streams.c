/* test_broker_streams.c - tidepool-broker: streams over a log, against a model; what the log
 * gives up; and all of it again from the log alone. */
#define _GNU_SOURCE 1
#include "unit_base.h"

#include "../tools/tidepool-broker/index.c"
#include "../tools/tidepool-broker/record.c"
#include "../tools/tidepool-broker/sid.c"
#include "../tools/tidepool-broker/store.c"
#include "../tools/tidepool-broker/streams.c"

#include "../tools/tidepool-broker/clean.c"
#include "../tools/tidepool-broker/load.c"

static char error[256];

static void start(uint64_t payload, uint64_t slots, unsigned level, unsigned brokers)
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

/* One entry whose string is `text`; returns its error. */
static int add_with(struct add *add, const char *key, const char *text)
{
    add->key = key;
    add->key_size = (uint32_t)strlen(key);
    add->text = text;
    add->text_size = (uint32_t)strlen(text);
    add->strings = 2;
    streams_add(NULL, add, 1, streams_room(add), 1000);
    return add->error;
}

static int add_plain(const char *key, const char *text)
{
    return add_with(&(struct add){.how = ADD_AUTO}, key, text);
}

static struct stream *stream_of(const char *key)
{
    struct stream *stream = streams_find(key, strlen(key), false);
    return stream != NULL && stream->exists ? stream : NULL;
}

/* The ids and strings of a stream in one text. */
static const char *shown(const char *key)
{
    static char text[1 << 16];
    struct stream *stream = stream_of(key);
    struct index_at at;
    size_t len = 0;
    text[0] = '\0';
    if (stream == NULL)
        return "none";
    for (bool more = index_from(&stream->index, (struct sid){0, 0}, &at); more;
         more = index_forward(&stream->index, &at)) {
        struct entry entry = streams_entry(stream, &at);
        len += (size_t)snprintf(text + len, sizeof text - len, "%llu-%llu:%.*s ",
                                (unsigned long long)entry.id.ms, (unsigned long long)entry.id.seq,
                                (int)entry.size, entry.text);
    }
    return text;
}

START_TEST(test_ids_tell_the_one_order)
{
    start(1 << 20, 1024, 5, 2);
    ck_assert_int_eq(add_plain("a", "x"), 0);
    ck_assert_int_eq(add_plain("b", "y"), 0);
    ck_assert_int_eq(add_plain("a", "z"), 0);
    ck_assert_str_eq(shown("a"), "1000-0:x 1000-2:z ");
    ck_assert_str_eq(shown("b"), "1000-1:y ");
    ck_assert_str_eq(shown("c"), "none");
}
END_TEST

START_TEST(test_ids_are_checked)
{
    struct add add = {.how = ADD_ID, .id = {2000, 5}};
    start(1 << 20, 1024, 5, 1);
    ck_assert_int_eq(add_with(&add, "s", "x"), 0);
    add = (struct add){.how = ADD_ID, .id = {2000, 5}};
    ck_assert_int_eq(add_with(&add, "s", "x"), ADD_SMALL);
    add = (struct add){.how = ADD_MS, .id = {2000, 0}};
    ck_assert_int_eq(add_with(&add, "s", "y"), 0);
    ck_assert_uint_eq(add.id.seq, 6);
    add = (struct add){.how = ADD_MS, .id = {1999, 0}};
    ck_assert_int_eq(add_with(&add, "s", "x"), ADD_SMALL);
    /* The clock is behind the last id: one above it. */
    add = (struct add){.how = ADD_AUTO};
    ck_assert_int_eq(add_with(&add, "s", "z"), 0);
    ck_assert(add.id.ms == 2000 && add.id.seq == 7);
    add = (struct add){.how = ADD_ID, .id = SID_MAX};
    ck_assert_int_eq(add_with(&add, "s", "top"), 0);
    ck_assert_int_eq(add_plain("s", "x"), ADD_EXHAUSTED);
    add = (struct add){.how = ADD_AUTO, .only_existing = true};
    ck_assert_int_eq(add_with(&add, "none", "x"), ADD_MISSING);
    ck_assert_ptr_null(stream_of("none"));
    ck_assert_str_eq(shown("s"),
                     "2000-5:x 2000-6:y 2000-7:z 18446744073709551615-18446744073709551615:top ");
}
END_TEST

START_TEST(test_trims)
{
    struct add add = {.how = ADD_AUTO, .trim = {.kind = TRIM_COUNT, .most = 2}};
    start(1 << 20, 1024, 5, 1);
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(add_plain("s", "x"), 0);
    ck_assert_int_eq(add_with(&add, "s", "last"), 0);
    ck_assert_str_eq(shown("s"), "1000-4:x 1000-5:last ");
    struct trim from = {.kind = TRIM_FROM, .first = {1000, 5}};
    ck_assert_int_eq(streams_trim(stream_of("s"), &from), 1);
    ck_assert_int_eq(streams_trim(stream_of("s"), &from), 0);
    struct trim all_of_it = {.kind = TRIM_COUNT, .most = 0};
    ck_assert_int_eq(streams_trim(stream_of("s"), &all_of_it), 1);
    ck_assert_str_eq(shown("s"), "");
    /* An empty stream still knows its last id. */
    add = (struct add){.how = ADD_ID, .id = {1000, 5}};
    ck_assert_int_eq(add_with(&add, "s", "x"), ADD_SMALL);
}
END_TEST

/* About: whole chunks of the index only, and never more than is allowed. */
START_TEST(test_trims_about)
{
    struct trim about = {.kind = TRIM_COUNT, .most = 10, .about = true};
    start(4 << 20, 8192, 5, 1);
    for (int i = 0; i < 2000; i++)
        ck_assert_int_eq(add_plain("s", "x"), 0);
    about.limit = 300;
    ck_assert_int_eq(streams_trim(stream_of("s"), &about), INDEX_CHUNK);
    about.limit = 0;
    ck_assert_int_gt(streams_trim(stream_of("s"), &about), 1000);
    ck_assert_uint_ge(stream_of("s")->index.count, 10);
    ck_assert_uint_lt(stream_of("s")->index.count, 10 + INDEX_CHUNK);
}
END_TEST

/* A log that is written through many times, by streams that are kept short. */
START_TEST(test_the_log_is_given_up_behind_streams)
{
    start(256 << 10, 1024, 5, 2);
    for (int i = 0; i < 50000; i++) {
        char key[2] = {(char)('a' + i % 3), '\0'};
        struct add add = {.how = ADD_AUTO, .trim = {.kind = TRIM_COUNT, .most = 5}};
        UNIT_HOLD(add_with(&add, key, "some string") == 0, "refused after %d", i);
    }
    ck_assert_uint_eq(streams_stat().entries, 15);
    ck_assert_uint_gt(streams_stat().reclaims, 10);
}
END_TEST

START_TEST(test_a_full_log_says_so_and_goes_on)
{
    int added = 0, result;
    start(64 << 10, 4096, 5, 1);
    while ((result = add_plain("s", "some string")) == 0)
        added++;
    ck_assert_int_eq(result, ADD_FULL);
    ck_assert_int_gt(added, 500);
    ck_assert_int_eq(add_plain("s", "some string"), ADD_FULL);
    struct trim most = {.kind = TRIM_COUNT, .most = 100};
    ck_assert_int_eq(streams_trim(stream_of("s"), &most), added - 100);
    ck_assert_int_eq(add_plain("s", "some string"), 0);
    while (add_plain("t", "some string") == 0)
        ;
    /* What s has is older than all of t, and in front of it. */
    ck_assert(streams_drop(stream_of("t")));
    ck_assert_ptr_null(stream_of("t"));
    ck_assert_int_eq(add_plain("t", "some string"), 0);
    ck_assert_uint_eq(streams_stat().entries, 102);
    ck_assert_uint_gt(streams_stat().moved, 0);
}
END_TEST

/* Entries that nobody touches, an empty stream, and others that are written for ever. */
START_TEST(test_idle_streams_do_not_hold_the_log)
{
    static char before[4096];
    struct add add = {.how = ADD_ID, .id = {5, 5}};
    start(128 << 10, 1024, 5, 2);
    ck_assert_int_eq(add_with(&add, "empty", "x"), 0);
    ck_assert_int_eq(
        streams_trim(stream_of("empty"), &(struct trim){.kind = TRIM_COUNT, .most = 0}), 1);
    for (int i = 0; i < 20; i++)
        ck_assert_int_eq(add_plain(i % 2 != 0 ? "idle" : "calm", "some string"), 0);
    snprintf(before, sizeof before, "%s%s", shown("idle"), shown("calm"));
    for (int i = 0; i < 50000; i++) {
        struct add more = {.how = ADD_AUTO, .trim = {.kind = TRIM_COUNT, .most = 50}};
        UNIT_HOLD(add_with(&more, "busy", "some string") == 0, "refused after %d", i);
        if (i % 300 == 0)
            ck_assert_int_eq(add_plain("slow", "some string"), 0);
    }
    ck_assert_uint_gt(streams_stat().moved, 20);
    /* Old entries of this one are in the log behind newer ones. */
    static char slow[1 << 16];
    snprintf(slow, sizeof slow, "%s", shown("slow"));
    for (int round = 0; round < 2; round++) {
        char after[4096];
        snprintf(after, sizeof after, "%s%s", shown("idle"), shown("calm"));
        ck_assert_str_eq(after, before);
        ck_assert_str_eq(shown("slow"), slow);
        ck_assert_uint_eq(stream_of("slow")->index.count, 167);
        ck_assert_str_eq(shown("empty"), "");
        ck_assert(stream_of("empty")->last.ms == 5 && stream_of("empty")->last.seq == 5);
        ck_assert_uint_eq(stream_of("busy")->index.count, 50);
        streams_close();
        ck_assert_msg(streams_load(error, sizeof error), "%s", error);
    }
}
END_TEST

/* Several of a batch, some of them refused. */
START_TEST(test_a_batch_is_in_order)
{
    struct add adds[4];
    size_t room = 0;
    start(1 << 20, 1024, 4, 1);
    for (int i = 0; i < 4; i++) {
        adds[i] = (struct add){.key = "s", .key_size = 1, .text = &"wxyz"[i], .text_size = 1};
        adds[i].strings = 2;
        adds[i].how = i == 1 ? ADD_ID : ADD_AUTO;
        adds[i].id = (struct sid){1, 1};
        room += streams_room(&adds[i]);
    }
    tide_log_client_t *client = store_join();
    ck_assert_ptr_nonnull(client);
    streams_add(client, adds, 4, room, 1000);
    ck_assert(adds[0].error == 0 && adds[1].error == ADD_SMALL && adds[3].error == 0);
    ck_assert_str_eq(shown("s"), "1000-0:w 1000-1:y 1000-2:z ");
    ck_assert_uint_eq(store_stat().committed, 1);
    store_leave(client);
}
END_TEST

START_TEST(test_sessions_are_counted)
{
    tide_log_client_t *client[5];
    start(1 << 20, 1024, 4, 1);
    for (int i = 0; i < 4; i++)
        ck_assert_ptr_nonnull(client[i] = store_join());
    ck_assert_ptr_null(store_join());
    store_leave(client[1]);
    ck_assert_ptr_nonnull(client[1] = store_join());
    ck_assert_ptr_null(store_join());
    for (int i = 0; i < 4; i++)
        store_leave(client[i]);
}
END_TEST

/* ---- from the log alone ---- */

static uint64_t next_random(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *state >> 33;
}

static void some_change(uint64_t *state, int i)
{
    char key[2] = {(char)('a' + next_random(state) % 6), '\0'}, text[32];
    struct add add = {.how = ADD_AUTO};
    struct stream *stream = stream_of(key);
    snprintf(text, sizeof text, "text %d", i);
    switch (next_random(state) % 12) {
    case 0:
        if (stream != NULL)
            streams_trim(stream,
                         &(struct trim){.kind = TRIM_COUNT, .most = next_random(state) % 20});
        return;
    case 1:
        if (stream != NULL && next_random(state) % 4 == 0)
            streams_drop(stream);
        return;
    case 2:
        add.trim = (struct trim){.kind = TRIM_COUNT, .most = next_random(state) % 10};
        break;
    case 3:
        if (stream != NULL) {
            add.how = ADD_ID;
            add.id = (struct sid){stream->last.ms + 1, next_random(state) % 3};
        }
        break;
    case 4:
        add.trim = (struct trim){.kind = TRIM_FROM, .first = {1000, (uint64_t)(i - 30)}};
        break;
    default:
        break;
    }
    UNIT_HOLD(add_with(&add, key, text) == 0, "%s refused after %d", key, i);
}

START_TEST(test_the_log_tells_all)
{
    static char before[6][1 << 16];
    uint64_t state = 7;
    start(256 << 10, 2048, 5, 2);
    for (int round = 0; round < 40; round++) {
        struct sid last[6] = {{0, 0}};
        for (int i = 0; i < 500; i++)
            some_change(&state, round * 500 + i);
        uint64_t entries = streams_stat().entries;
        for (int i = 0; i < 6; i++) {
            char key[2] = {(char)('a' + i), '\0'};
            snprintf(before[i], sizeof before[i], "%s", shown(key));
            last[i] = stream_of(key) != NULL ? stream_of(key)->last : last[i];
        }
        streams_close();
        ck_assert_uint_eq(streams_stat().bytes, 0);
        ck_assert_msg(streams_load(error, sizeof error), "%s", error);
        for (int i = 0; i < 6; i++) {
            char key[2] = {(char)('a' + i), '\0'};
            ck_assert_str_eq(shown(key), before[i]);
            if (stream_of(key) != NULL)
                ck_assert_int_eq(sid_compare(stream_of(key)->last, last[i]), 0);
        }
        ck_assert_uint_eq(streams_stat().entries, entries);
    }
}
END_TEST

START_TEST(test_a_strange_log_is_refused)
{
    struct store_batch batch;
    uint64_t place;
    start(1 << 20, 1024, 5, 1);
    ck_assert_int_eq(store_begin(&batch, NULL, 0, TIDE_LOG_ROOM(4)), 0);
    memcpy(store_put(&batch, 4, 0), "what", 4);
    ck_assert_int_eq(store_end(&batch, &place), 0);
    streams_close();
    ck_assert(!streams_load(error, sizeof error));
    ck_assert_ptr_nonnull(strstr(error, "no broker wrote"));
}
END_TEST

/* ---- names ---- */

START_TEST(test_many_names_and_none_left)
{
    char key[32];
    start(16 << 20, 65536, 5, 4);
    for (int i = 0; i < 20000; i++) {
        snprintf(key, sizeof key, "stream:%d", i);
        UNIT_HOLD(add_plain(key, "x") == 0, "refused %d", i);
    }
    ck_assert_uint_eq(streams_stat().streams, 20000);
    for (int i = 0; i < 20000; i++) {
        snprintf(key, sizeof key, "stream:%d", i);
        UNIT_HOLD(streams_drop(stream_of(key)), "not dropped %d", i);
    }
    ck_assert_uint_eq(streams_stat().streams, 0);
    ck_assert_uint_eq(streams_stat().entries, 0);
    ck_assert_uint_eq(index_bytes(), 0);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {test_ids_tell_the_one_order,
                                  test_ids_are_checked,
                                  test_trims,
                                  test_trims_about,
                                  test_the_log_is_given_up_behind_streams,
                                  test_a_full_log_says_so_and_goes_on,
                                  test_idle_streams_do_not_hold_the_log,
                                  test_a_batch_is_in_order,
                                  test_sessions_are_counted,
                                  test_the_log_tells_all,
                                  test_a_strange_log_is_refused,
                                  test_many_names_and_none_left,
                                  NULL};
    return unit_main("broker_streams", tests);
}
