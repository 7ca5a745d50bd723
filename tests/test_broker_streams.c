/* test_broker_streams.c - tidepool-broker: streams over a log, against a model; what the log
 * gives up; and all of it again from the log alone. */
#include "broker_streams.h"

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
    /* The clock is behind the last id: above it, and its number stays the second half. */
    add = (struct add){.how = ADD_AUTO};
    ck_assert_int_eq(add_with(&add, "s", "z"), 0);
    ck_assert(add.id.ms == 2001 && add.id.seq == 2);
    add = (struct add){.how = ADD_ID, .id = SID_MAX};
    ck_assert_int_eq(add_with(&add, "s", "top"), 0);
    ck_assert_int_eq(add_plain("s", "x"), ADD_EXHAUSTED);
    add = (struct add){.how = ADD_AUTO, .only_existing = true};
    ck_assert_int_eq(add_with(&add, "none", "x"), ADD_MISSING);
    ck_assert_ptr_null(stream_of("none"));
    ck_assert_str_eq(shown("s"),
                     "2000-5:x 2000-6:y 2001-2:z 18446744073709551615-18446744073709551615:top ");
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

/* About: whole runs only, and never more than is allowed. */
START_TEST(test_trims_about)
{
    struct trim about = {.kind = TRIM_COUNT, .most = 10, .about = true};
    start(4 << 20, 8192, 5, 1);
    fill("s", 2000, 100);
    ck_assert_uint_eq(stream_of("s")->index.count, 20);
    about.limit = 299;
    ck_assert_int_eq(streams_trim(stream_of("s"), &about), 200);
    about.limit = 0;
    ck_assert_int_eq(streams_trim(stream_of("s"), &about), 1700);
    ck_assert_uint_eq(stream_of("s")->count, 100);
    about.most = 99;
    ck_assert_int_eq(streams_trim(stream_of("s"), &about), 0);
    about.about = false;
    ck_assert_int_eq(streams_trim(stream_of("s"), &about), 1);
    about = (struct trim){.kind = TRIM_FROM, .about = true, .first = {1000, 1950}};
    ck_assert_int_eq(streams_trim(stream_of("s"), &about), 0);
    about.about = false;
    ck_assert_int_eq(streams_trim(stream_of("s"), &about), 49);
    ck_assert_uint_eq(stream_of("s")->count, 50);
    ck_assert_int_eq(strncmp(shown("s"), "1000-1950:x ", 12), 0);
}
END_TEST

/* Entries that come together are few messages: what a lone one pays they share. */
START_TEST(test_entries_share_a_batch)
{
    start(4 << 20, 8192, 5, 1);
    fill("s", 10 * RECORD_RUN_MAX, 2 * RECORD_RUN_MAX);
    ck_assert_uint_eq(store_stat().committed, 5);
    ck_assert_uint_eq(store_stat().messages, 10);
    ck_assert_uint_eq(streams_stat().runs, 10);
    /* $1 x: 7 bytes, a byte in front; the run's share of frame, name and index is less than one. */
    ck_assert_uint_le(store_used(), 10 * RECORD_RUN_MAX * 9);
    ck_assert_uint_eq(stream_of("s")->count, 10 * RECORD_RUN_MAX);
}
END_TEST

/* Other names, other counts of strings, and ids of their own among the others. */
START_TEST(test_entries_of_a_run_may_differ)
{
    static const char *const text[] = {
        "$1\r\na\r\n$1\r\n1\r\n", "$1\r\na\r\n$0\r\n\r\n", "$1\r\nb\r\n$1\r\n1\r\n",
        "$1\r\na\r\n$2\r\n\r\n\r\n$1\r\na\r\n$1\r\n4\r\n", "$1\r\na\r\n$1\r\n5\r\n"};
    static struct entries_at at;
    start(1 << 20, 1024, 5, 1);
    for (unsigned i = 0; i < 5; i++) {
        struct add add = {.key = "s", .key_size = 1, .text = text[i], .strings = i == 3 ? 4 : 2};
        add.text_size = (uint32_t)strlen(text[i]);
        add.how = i == 2 ? ADD_ID : ADD_AUTO;
        add.id = (struct sid){2000, 7};
        ck_assert_int_eq(streams_add(NULL, &add, 1000), 0);
    }
    ck_assert_int_eq(streams_commit()[0], 0);
    ck_assert_uint_eq(streams_stat().runs, 1);
    ck_assert(entries_from(&at, stream_of("s"), (struct sid){0, 0}));
    for (unsigned i = 0; i < 5; i++) {
        ck_assert_uint_eq(at.entry.id.ms, i < 2 ? 1000 : i == 2 ? 2000 : 2001);
        ck_assert_uint_eq(at.entry.strings, i == 3 ? 4 : 2);
        ck_assert_uint_eq(at.entry.id.seq, i == 2 ? 7 : i);
        ck_assert_int_eq(at.entry.names != NULL, i == 1 || i == 4);
        const char *want = at.entry.names != NULL ? text[i] + 7 : text[i];
        ck_assert_uint_eq(at.entry.size, strlen(want));
        ck_assert_int_eq(memcmp(at.entry.text, want, at.entry.size), 0);
        ck_assert(at.entry.names == NULL || memcmp(at.entry.names, text[0], 7) == 0);
        ck_assert_int_eq(entries_forward(&at), i < 4);
    }
}
END_TEST

/* Seeking and both directions, in runs of which the oldest lacks some entries. */
START_TEST(test_entries_are_found)
{
    static struct entries_at at;
    start(4 << 20, 8192, 5, 1);
    fill("s", 1000, 70);
    streams_commit();
    struct trim trim = {.kind = TRIM_COUNT, .most = 800};
    ck_assert_int_eq(streams_trim(stream_of("s"), &trim), 200);
    const struct stream *stream = stream_of("s");
    for (uint64_t i = 0; i < 1003; i++) {
        struct sid id = {1000, i};
        uint64_t first = i < 200 ? 200 : i, last = i < 1000 ? i : 999;
        UNIT_HOLD(entries_from(&at, stream, id) == (i < 1000), "from %d", (int)i);
        UNIT_HOLD(i >= 1000 || at.entry.id.seq == first, "from %d", (int)i);
        UNIT_HOLD(i >= 999 || (entries_forward(&at) && at.entry.id.seq == first + 1), "%d", (int)i);
        UNIT_HOLD(entries_upto(&at, stream, id) == (i >= 200), "up to %d", (int)i);
        UNIT_HOLD(i < 200 || at.entry.id.seq == last, "up to %d", (int)i);
        UNIT_HOLD(i < 200 || entries_back(&at) == (last > 200), "back from %d", (int)i);
        UNIT_HOLD(i <= 200 || at.entry.id.seq == last - 1, "back from %d", (int)i);
    }
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
    /* One of which a run is there in part. */
    fill("part", 20, 20);
    ck_assert_int_eq(streams_trim(stream_of("part"), &(struct trim){.kind = TRIM_COUNT, .most = 5}),
                     15);
    snprintf(before, sizeof before, "%s%s%s", shown("idle"), shown("calm"), shown("part"));
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
        snprintf(after, sizeof after, "%s%s%s", shown("idle"), shown("calm"), shown("part"));
        ck_assert_str_eq(after, before);
        ck_assert_str_eq(shown("slow"), slow);
        ck_assert_uint_eq(stream_of("slow")->count, 167);
        ck_assert_str_eq(shown("empty"), "");
        ck_assert(stream_of("empty")->last.ms == 5 && stream_of("empty")->last.seq == 5);
        ck_assert_uint_eq(stream_of("busy")->count, 50);
        streams_close();
        ck_assert_msg(streams_load(error, sizeof error), "%s", error);
    }
}
END_TEST

/* Several of a batch, some of them refused. */
START_TEST(test_a_batch_is_in_order)
{
    start(1 << 20, 1024, 4, 1);
    for (int i = 0; i < 4; i++) {
        struct add add = {.how = i == 1 ? ADD_ID : ADD_AUTO, .id = {1, 1}};
        ck_assert_int_eq(gather_with(&add, i == 3 ? "t" : "s", i == 2 ? "y" : "x"),
                         i == 1 ? ADD_SMALL : 0);
    }
    ck_assert_int_eq(streams_commit()[0], 0);
    ck_assert_str_eq(shown("s"), "1000-0:x 1000-1:y ");
    ck_assert_str_eq(shown("t"), "1000-2:x ");
    ck_assert_uint_eq(store_stat().committed, 1);
}
END_TEST

/* What has no room is as if it had not been there: ids, numbers, streams. */
START_TEST(test_a_batch_without_room_is_undone)
{
    static char large[20000];
    struct add add = {.how = ADD_ID, .id = {5000, 1}};
    start(64 << 10, 1024, 5, 1);
    fill("s", 3, 1);
    snprintf(large, sizeof large, "$1\r\nf\r\n$9000\r\n%9000d\r\n", 1);
    for (int i = 0; i < 7; i++) {
        struct add more = {.key = "u", .key_size = 1, .text = large, .strings = 2};
        more.text_size = (uint32_t)strlen(large);
        ck_assert_int_eq(streams_add(NULL, &more, 1000), 0);
        ck_assert_int_eq(streams_commit()[0], 0);
    }
    ck_assert_int_eq(gather_with(&add, "s", "x"), 0);
    struct add last = {.key = "t", .key_size = 1, .text = large, .strings = 2};
    last.text_size = (uint32_t)strlen(large);
    ck_assert_int_eq(streams_add(NULL, &last, 1000), 0);
    const unsigned char *error = streams_commit();
    ck_assert(error[add.run] == ADD_FULL && error[last.run] == ADD_FULL && last.run == 1);
    ck_assert_ptr_null(stream_of("t"));
    ck_assert_uint_eq(streams_stat().streams, 2);
    ck_assert(streams_drop(stream_of("u")));
    ck_assert_int_eq(add_plain("s", "y"), 0);
    ck_assert_str_eq(shown("s"), "1000-0:x 1000-1:x 1000-2:x 1000-10:y ");
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
    unsigned which = next_random(state) % 12;
    UNIT_HOLD(which > 1 || streams_settle()[0] == 0, "full at %d", i);
    switch (which) {
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
    UNIT_HOLD(gather_with(&add, key, text) == 0, "%s refused after %d", key, i);
    UNIT_HOLD(next_random(state) % 3 != 0 || streams_settle()[add.run] == 0, "full at %d", i);
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
        ck_assert_int_eq(streams_settle()[0], 0);
        uint64_t entries = streams_stat().entries;
        for (int i = 0; i < 6; i++) {
            char key[2] = {(char)('a' + i), '\0'};
            snprintf(before[i], sizeof before[i], "%s", shown(key));
        }
        ck_assert_int_eq(streams_commit()[0], 0);
        for (int i = 0; i < 6; i++) {
            char key[2] = {(char)('a' + i), '\0'};
            ck_assert_str_eq(shown(key), before[i]);
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

/* What a batch trims is in front of what comes behind it in the same batch. */
START_TEST(test_a_trim_within_a_batch)
{
    struct add none = {.how = ADD_AUTO, .trim = {.kind = TRIM_COUNT, .most = 0}};
    struct add plain = {.how = ADD_AUTO};
    start(1 << 20, 1024, 5, 1);
    ck_assert_int_eq(gather_with(&none, "s", "x"), 0);
    ck_assert_int_eq(gather_with(&plain, "s", "y"), 0);
    ck_assert_int_eq(gather_with(&none, "t", "x"), 0);
    ck_assert_int_eq(streams_commit()[0], 0);
    for (int round = 0; round < 2; round++) {
        ck_assert_str_eq(shown("s"), "1000-1:y ");
        ck_assert_str_eq(shown("t"), "");
        ck_assert_uint_eq(stream_of("t")->last.seq, 2);
        streams_close();
        ck_assert_msg(streams_load(error, sizeof error), "%s", error);
    }
    ck_assert_int_eq(add_plain("t", "z"), 0);
    ck_assert_str_eq(shown("t"), "1000-3:z ");
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
                                  test_entries_share_a_batch,
                                  test_entries_of_a_run_may_differ,
                                  test_entries_are_found,
                                  test_the_log_is_given_up_behind_streams,
                                  test_a_full_log_says_so_and_goes_on,
                                  test_idle_streams_do_not_hold_the_log,
                                  test_a_batch_is_in_order,
                                  test_a_batch_without_room_is_undone,
                                  test_sessions_are_counted,
                                  test_the_log_tells_all,
                                  test_a_trim_within_a_batch,
                                  test_a_strange_log_is_refused,
                                  test_many_names_and_none_left,
                                  NULL};
    return unit_main("broker_streams", tests);
}
