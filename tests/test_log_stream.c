/*
 * test_log_stream.c - the checker that looks at one batch at a time: takes what is right, and
 * refuses each way of breaking it by the name of what was broken.
 */
#include "unit_base.h"

#include "log_stream.h"

enum { BATCHES = 3000, FIRST = 70, HERE = 1500, AHEAD = 40 };

/* What a reader gets: three clients in turn, two brokers; each acknowledged before the next but
 * two is sent. */
static struct log_stream_batch right[BATCHES];
static struct log_stream_batch got[BATCHES];
static uint64_t taken, messages;

static void record(void)
{
    uint64_t base = FIRST;
    for (uint32_t i = 0; i < BATCHES; i++) {
        right[i] = (struct log_stream_batch){.position = FIRST + i,
                                             .base = base,
                                             .number = i / 3,
                                             .floor = i < 3 ? 0 : FIRST + i - 2,
                                             .hash = i * 77,
                                             .client = i % 3,
                                             .broker = i / 3 % 2,
                                             .count = 1 + i % 5,
                                             .whole = true};
        base += right[i].count;
    }
    memcpy(got, right, sizeof got);
    taken = FIRST + BATCHES;
    messages = base;
}

static const char *check(unsigned level, const struct log_stream_batch *batch, uint32_t count,
                         struct log_stream *stream)
{
    const char *broken = NULL;
    log_stream_open(stream, level, FIRST, FIRST, BATCHES);
    for (uint32_t i = 0; i < count && broken == NULL; i++)
        broken = log_stream_take(stream, &batch[i]);
    return broken != NULL ? broken : log_stream_end(stream, BATCHES, taken, messages);
}

/* Against another reader, who got what is right. */
static const char *check_both(unsigned level, uint32_t count)
{
    struct log_stream one, other;
    uint64_t near = 0;
    const char *broken = check(level, got, count, &one);
    check(level, right, BATCHES, &other);
    if (broken == NULL && (broken = log_stream_compare(&one, &other, &near)) != NULL)
        ck_assert_msg(near <= HERE && near + STREAM_STEP > HERE, "near %d", (int)near);
    log_stream_close(&one);
    log_stream_close(&other);
    return broken;
}

/* Two batches of as many messages change places. */
static void swap(uint32_t a, uint32_t b)
{
    struct log_stream_batch keep = got[a];
    ck_assert_uint_eq(got[a].count, got[b].count);
    got[a] = got[b];
    got[b] = keep;
    got[b].position = got[a].position;
    got[a].position = keep.position;
    got[b].base = got[a].base;
    got[a].base = keep.base;
    got[a].floor = got[b].floor = 0;
}

/* Once more, in the place of another one. */
static void repeat(uint32_t what, uint32_t at)
{
    got[at].client = got[what].client;
    got[at].broker = got[what].broker;
    got[at].number = got[what].number;
}

/* It is not there, and whoever comes behind it has its place, and its numbers if they move up. */
static void lose(uint32_t at, bool numbers)
{
    uint64_t base = got[at].base;
    for (uint32_t i = at; i + 1 < BATCHES; i++) {
        got[i] = got[i + 1];
        got[i].position--;
        got[i].floor = 0;
        if (numbers)
            got[i].base = base;
        base += got[i].count;
    }
}

/* The border between two batches is one message further. */
static void shift(uint32_t at)
{
    got[at].count++;
    got[at + 1].base++;
    got[at + 1].count--;
}

#define WAYS(X)                                                                                    \
    X(5, "R2", got[HERE].whole = false)                                                            \
    X(5, "R2", got[HERE].client = STREAM_CLIENTS)                                                  \
    X(5, "R2", got[HERE].broker = STREAM_BROKERS)                                                  \
    X(5, "T1", got[HERE].position++)                                                               \
    X(5, "T1", got[HERE].position--)                                                               \
    X(0, "T1", got[HERE].position--)                                                               \
    X(5, "T1", taken++)                                                                            \
    X(5, "T2", got[HERE].base++)                                                                   \
    X(5, "T2", got[HERE].count++)                                                                  \
    X(5, "T2", messages--)                                                                         \
    X(4, "D1", repeat(HERE - 3, HERE))                                                             \
    X(4, "D1", repeat(HERE - 2, HERE))                                                             \
    X(5, "D1", repeat(HERE - 6, HERE))                                                             \
    X(4, "F1", got[HERE].number++)                                                                 \
    X(4, "F1", swap(HERE, HERE + 15))                                                              \
    X(5, "F1", swap(HERE, HERE + 30))                                                              \
    X(0, "F1", swap(HERE, HERE + 30))                                                              \
    X(5, "R3", got[HERE].floor = FIRST + HERE + 1)                                                 \
    X(5, "L1", count--)                                                                            \
    X(0, "L1", count -= 100)                                                                       \
    X(5, "R1", got[HERE].hash++)                                                                   \
    X(5, "R1", swap(HERE, HERE + 5))                                                               \
    X(0, "R1", swap(HERE, HERE + 5))                                                               \
    X(0, "R2", got[HERE].whole = false)                                                            \
    X(5, "T1", got[HERE] = got[HERE - 1])                                                          \
    X(0, "T1", got[HERE] = got[HERE - 1])                                                          \
    X(5, "T2", got[HERE].base -= UINT64_C(1) << 32)                                                \
    X(5, "T2", lose(HERE, false))                                                                  \
    X(4, "F1", lose(HERE, true))                                                                   \
    X(0, "L1", (lose(HERE, true), count--))                                                        \
    X(0, "D1", repeat(HERE - 6, HERE))                                                             \
    X(5, "D1", got[HERE].client++)                                                                 \
    X(4, "R3", got[HERE].floor = UINT64_MAX)                                                       \
    X(5, "R1", shift(HERE))                                                                        \
    X(5, "R1", got[HERE].broker ^= 1)                                                              \
    X(5, "R1", got[HERE].number++)

#define WAY(level_, broken_, how_) {level_, broken_, #how_},
static const struct {
    unsigned level;
    const char *broken, *how;
} ways[] = {WAYS(WAY)};

enum { COUNT = sizeof ways / sizeof *ways };

static uint32_t break_it(int number)
{
    uint32_t count = BATCHES;
    int at = 0;
#define DO(level_, broken_, how_)                                                                  \
    if (at++ == number)                                                                            \
        how_;
    WAYS(DO)
    return count;
}

START_TEST(what_is_right_passes)
{
    record();
    ck_assert_ptr_null(check_both(_i, BATCHES));
}
END_TEST

START_TEST(each_way_of_breaking_it_is_named)
{
    record();
    uint32_t count = break_it(_i);
    const char *broken = check_both(ways[_i].level, count);
    ck_assert_msg(broken != NULL && strcmp(broken, ways[_i].broken) == 0, "%s: %s instead of %s",
                  ways[_i].how, broken != NULL ? broken : "passes", ways[_i].broken);
}
END_TEST

/* The sender first, or the reader; the cells are used again. */
START_TEST(acknowledgements_meet_what_was_read)
{
    static struct log_acks acks;
    for (uint64_t i = 0; i < 3 * STREAM_ACKS; i++) {
        uint64_t there = log_acks_value(i * 3, i * 5);
        uint64_t said = i % 7 == 0 ? LOG_ACKS_UNKNOWN : there;
        UNIT_HOLD(log_acks_meet(&acks, i, i % 2 ? there : said) == NULL, "the first says A1");
        UNIT_HOLD(log_acks_meet(&acks, i, i % 2 ? said : there) == NULL, "the second says A1");
    }
    ck_assert_ptr_null(log_acks_end(&acks));
    log_acks_meet(&acks, 5, log_acks_value(5, 5));
    ck_assert_ptr_nonnull(log_acks_end(&acks));
    ck_assert_ptr_nonnull(log_acks_meet(&acks, 5, log_acks_value(6, 5)));
    log_acks_meet(&acks, 5, log_acks_value(5, 5));
    ck_assert_ptr_nonnull(log_acks_meet(&acks, 5, log_acks_value(5, 6)));
    log_acks_meet(&acks, 5, LOG_ACKS_UNKNOWN);
    log_acks_forget(&acks, 5);
    ck_assert_ptr_null(log_acks_end(&acks));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("log_stream");
    TCase *tcase = tcase_create("log_stream");
    tcase_add_loop_test(tcase, what_is_right_passes, 0, 1);
    tcase_add_loop_test(tcase, what_is_right_passes, 4, 6);
    tcase_add_loop_test(tcase, each_way_of_breaking_it_is_named, 0, COUNT);
    tcase_add_test(tcase, acknowledgements_meet_what_was_read);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
