/* test_broker_open.c - tidepool-broker: batches that stay open for entries that come alone. */
#include "broker_streams.h"

/* Entries that come alone are there at once, and share a batch of a log that nobody else has. */
START_TEST(test_a_batch_stays_open)
{
    char before[1 << 12];
    start(4 << 20, 8192, 5, 1);
    for (int i = 0; i < 100; i++) {
        struct add add = {.how = ADD_AUTO};
        ck_assert_int_eq(gather_with(&add, i % 10 == 9 ? "t" : "s", "x"), 0);
        ck_assert_int_eq(streams_settle()[add.run], 0);
        ck_assert_uint_eq(streams_stat().entries, i + 1);
        ck_assert_uint_eq(streams_gathered(), 0);
    }
    ck_assert_uint_eq(store_stat().committed, 0);
    ck_assert_uint_eq(stream_of("s")->count, 90);
    snprintf(before, sizeof before, "%s", shown("s"));
    ck_assert_int_eq(strncmp(before + strlen(before) - 10, "1000-98:x ", 10), 0);
    streams_commit();
    ck_assert_uint_eq(store_stat().committed, 1);
    ck_assert_str_eq(shown("s"), before);
    /* In the long run it is as if they had come together. */
    uint64_t used = store_used();
    for (int i = 0; i < 10000; i++) {
        struct add add = {.how = ADD_AUTO};
        UNIT_HOLD(gather_with(&add, "s", "x") == 0 && streams_settle()[add.run] == 0, "%d", i);
    }
    streams_commit();
    ck_assert_uint_le(store_used() - used, 10000 * 9);
    ck_assert_uint_le(store_stat().committed, 12);
    ck_assert_uint_eq(streams_stat().entries, 10100);
}
END_TEST

/* It ends for a large entry, one that trims, a trim, and one that is deleted; not at level 4. */
START_TEST(test_what_ends_an_open_batch)
{
    static char large[1 << 11];
    struct trim trim = {.kind = TRIM_COUNT, .most = 2};
    struct add add = {.how = ADD_AUTO, .trim = trim};
    start(4 << 20, 8192, 5, 1);
    for (uint64_t turn = 0; turn < 4; turn++) {
        struct add plain = {.how = ADD_AUTO};
        ck_assert(gather_with(&plain, "s", "x") == 0 && streams_settle()[plain.run] == 0);
        ck_assert_uint_eq(store_stat().committed, turn < 3 ? turn : turn + 1);
        if (turn == 0) {
            ck_assert(gather_with(&add, "s", "y") == 0 && streams_settle()[add.run] == 0);
        } else if (turn == 1) {
            int size = snprintf(large, sizeof large, "$1\r\nf\r\n$1500\r\n%01500d\r\n", 1);
            add = (struct add){.key = "s", .key_size = 1, .text = large, .strings = 2};
            add.text_size = (uint32_t)size;
            ck_assert(streams_add(NULL, &add, 1000) == 0 && streams_settle()[add.run] == 0);
        } else if (turn == 2) {
            ck_assert_int_eq(streams_trim(stream_of("s"), &trim), 3);
        } else {
            ck_assert(streams_drop(stream_of("s")));
            ck_assert_str_eq(shown("s"), "none");
        }
    }
    ck_assert_uint_eq(store_stat().committed, 6);
    ck_assert_uint_eq(streams_stat().entries, 0);
    streams_close();
    store_close();
    start(4 << 20, 8192, 4, 1);
    add = (struct add){.how = ADD_AUTO};
    ck_assert(gather_with(&add, "s", "x") == 0 && streams_settle()[add.run] == 0);
    ck_assert_uint_eq(store_stat().committed, 1);
}
END_TEST

/* As many as the log takes, one by one: none that was said to be there is lost. */
START_TEST(test_an_open_batch_has_its_room)
{
    int count = 0, error = 0;
    start(64 << 10, 64, 5, 1);
    for (; error == 0; count++) {
        struct add add = {.how = ADD_AUTO};
        if (!streams_fits(NULL, &add))
            ck_assert_int_eq(streams_commit()[0], 0);
        error = gather_with(&add, "s", "x");
        error = error != 0 ? error : streams_settle()[add.run];
    }
    ck_assert_int_eq(error, ADD_FULL);
    ck_assert_int_gt(count, 2000);
    ck_assert_uint_eq(stream_of("s")->count, count - 1);
    ck_assert_ptr_nonnull(strstr(shown("s"), "1000-0:x "));
}
END_TEST

/* One of nearly a kilobyte, gathered; *run: for the error of streams_commit. */
static int gather_large(const char *key, unsigned *run)
{
    static char text[1 << 10];
    struct add add = {.how = ADD_AUTO, .key = key, .key_size = 1, .text = text, .strings = 2};
    add.text_size = (uint32_t)snprintf(text, sizeof text, "$1\r\nf\r\n$900\r\n%0900d\r\n", 1);
    int error = streams_add(NULL, &add, 1000);
    *run = add.run;
    return error;
}

/* What comes in one turn and is too much for the log does not take along what was there. */
START_TEST(test_a_large_turn_leaves_what_is_shown)
{
    unsigned run;
    struct add small = {.how = ADD_AUTO};
    start(64 << 10, 1024, 5, 1);
    while (store_full(0) < 780)
        ck_assert(gather_large("s", &run) == 0 && streams_commit()[run] == 0);
    uint64_t count = stream_of("s")->count;
    ck_assert(gather_with(&small, "t", "x") == 0 && streams_settle()[small.run] == 0);
    ck_assert_uint_eq(store_stat().committed, count);
    for (int i = 0; i < 16; i++) {
        struct add next = {.how = ADD_AUTO, .key = "s", .key_size = 1, .text_size = 916};
        if (!streams_fits(NULL, &next))
            ck_assert_int_eq(streams_commit()[0], 0);
        ck_assert_int_eq(gather_large("s", &run), 0);
    }
    ck_assert_int_eq(streams_commit()[run], ADD_FULL);
    ck_assert_ptr_nonnull(strstr(shown("t"), ":x "));
    ck_assert_uint_ge(stream_of("s")->count, count);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {test_a_batch_stays_open, test_what_ends_an_open_batch,
                                  test_an_open_batch_has_its_room,
                                  test_a_large_turn_leaves_what_is_shown, NULL};
    return unit_main("broker_open", tests);
}
