/*
 * test_log_history.c - the checker of histories: takes a right one, and refuses each way of
 * breaking it by the name of what was broken.
 */
#include "log_history.h"

enum { BATCHES = 40, OPENED = 20, ROOM = 1024, FIRST = 1000 };

static struct log_history *history;
static uint64_t next_number[2];

static uint64_t invoke(unsigned client, unsigned broker, uint32_t epoch, uint64_t number)
{
    return log_note(history, (struct log_event){.kind = LOG_INVOKE,
                                                .client = (uint8_t)client,
                                                .broker = (uint8_t)broker,
                                                .epoch = epoch,
                                                .count = 1 + number % 3,
                                                .number = number});
}

static void note_read(unsigned who, uint64_t ref, uint64_t position, uint64_t base)
{
    struct log_event event = history->event[ref];
    event.kind = LOG_READ;
    event.who = (uint8_t)who;
    event.whole = 1;
    event.position = position;
    event.base = base;
    event.ref = ref;
    log_note(history, event);
}

static void note(enum log_kind kind, unsigned who, uint64_t ref, uint64_t position, uint64_t base)
{
    log_note(history, (struct log_event){.kind = (uint8_t)kind,
                                         .who = (uint8_t)who,
                                         .ref = ref,
                                         .position = position,
                                         .base = base});
}

/* Client 0 opens its session anew in the middle; what its old handle sends is refused. */
static void open_anew(void)
{
    log_note(history, (struct log_event){
                          .kind = LOG_OPEN, .client = 0, .epoch = 2, .number = next_number[0]});
    uint64_t ref = invoke(0, 0, 1, next_number[0]);
    note(LOG_REFUSE, 0, ref, 0, 0);
}

/* Two clients, two brokers; reader 0 follows, reader 1 comes later, reader 2 was overtaken. */
static void record(unsigned level)
{
    uint64_t ref[BATCHES], base[BATCHES + 1] = {FIRST};
    history = log_history_new(level, FIRST, ROOM);
    next_number[0] = next_number[1] = 0;
    for (unsigned i = 0; i < BATCHES; i++) {
        if (i == OPENED)
            open_anew();
        unsigned client = i % 2, epoch = client == 0 && i >= OPENED ? 2 : 1;
        ref[i] = invoke(client, i / 2 % 2, epoch, next_number[client]++);
        base[i + 1] = base[i] + history->event[ref[i]].count;
        note(i % 3 == 0 ? LOG_TAKEN : LOG_ACK, 0, ref[i], FIRST + i, base[i]);
        note_read(0, ref[i], FIRST + i, base[i]);
        note(LOG_COMMIT, i % 2, 0, FIRST + i + 1, 0);
    }
    for (unsigned i = 0; i < BATCHES; i++)
        note_read(1, ref[i], FIRST + i, base[i]);
    note(LOG_GAP, 2, 0, FIRST + 30, FIRST);
    for (unsigned i = 30; i < BATCHES; i++)
        note_read(2, ref[i], FIRST + i, base[i]);
    for (unsigned who = 0; who < 3; who++)
        note(LOG_END, who, 0, FIRST + BATCHES, 0);
    history->taken = FIRST + BATCHES;
    history->messages = base[BATCHES];
}

/* ---- ways to break it ---------------------------------------------------------------------- */

/* The event of this kind that has come `nth`, of this reader (READ, GAP, END, COMMIT). */
static struct log_event *event(enum log_kind kind, unsigned who, unsigned nth)
{
    for (size_t i = 0; i < history->count; i++) {
        struct log_event *at = &history->event[i];
        if (at->kind == kind && at->who == who && nth-- == 0)
            return at;
    }
    ck_abort_msg("no such event");
}

static struct log_event *seen(unsigned who, unsigned position)
{
    return event(LOG_READ, who, who == 2 ? position - 30 : position);
}

static struct log_event *sent(unsigned position)
{
    return &history->event[seen(1, position)->ref];
}

/* Without reader 0, who saw each batch before the next one was sent. */
static void forget_reader_0(void)
{
    for (size_t i = 0; i < history->count; i++)
        if (history->event[i].who == 0 &&
            (history->event[i].kind == LOG_READ || history->event[i].kind == LOG_COMMIT))
            history->event[i].kind = LOG_NOTHING;
}

static void forget_answers(void)
{
    for (size_t i = 0; i < history->count; i++)
        if (history->event[i].kind == LOG_ACK)
            history->event[i].kind = LOG_TAKEN;
}

/* Batches a and b, of as many messages each, change places for everybody. */
static void swap_places(unsigned a, unsigned b)
{
    forget_reader_0();
    struct log_event *x = seen(1, a), *y = seen(1, b), keep = *x;
    ck_assert_uint_eq(x->count, y->count);
    *x = *y;
    x->position = keep.position;
    x->base = keep.base;
    keep.position = y->position;
    keep.base = y->base;
    *y = keep;
    for (size_t i = 0; i < history->count; i++) {
        struct log_event *at = &history->event[i];
        if (at->kind == LOG_ACK && (at->position == FIRST + a || at->position == FIRST + b)) {
            const struct log_event *now = at->position == FIRST + a ? y : x;
            at->position = now->position;
            at->base = now->base;
        }
        if (at->kind == LOG_COMMIT)
            at->kind = LOG_NOTHING;
    }
}

static void hole(void)
{
    for (unsigned who = 0; who < 3; who++)
        seen(who, who == 2 ? 35 : 34)->kind = LOG_NOTHING;
}

static void twice(void)
{
    for (unsigned who = 0; who < 2; who++) {
        struct log_event keep = *seen(who, 8);
        *seen(who, 8) = *seen(who, 4);
        seen(who, 8)->position = keep.position;
        seen(who, 8)->base = keep.base;
    }
}

static void set_number(unsigned position, uint64_t number)
{
    sent(position)->number = number;
    for (unsigned who = 0; who < (position < 30 ? 2 : 3); who++)
        seen(who, position)->number = number;
}

static void shift_base(unsigned position)
{
    for (unsigned who = 0; who < 2; who++)
        seen(who, position)->base++;
}

/* A batch of another count, whose numbers everybody agrees about but not the next one's. */
static void set_count(unsigned position)
{
    sent(position)->count++;
    for (unsigned who = 0; who < 2; who++)
        seen(who, position)->count++;
}

static uint64_t refused(void)
{
    return event(LOG_REFUSE, 0, 0)->ref;
}

#define WAYS(X)                                                                                    \
    X(5, "T1", seen(0, 9)->position--)                                                             \
    X(5, "T1", seen(1, 9)->position++)                                                             \
    X(5, "T1", seen(1, 9)->kind = LOG_NOTHING)                                                     \
    X(5, "T1", hole())                                                                             \
    X(5, "T1", history->taken++)                                                                   \
    X(5, "T1", history->taken--)                                                                   \
    X(5, "T1", history->taken = 0)                                                                 \
    X(5, "T1", event(LOG_GAP, 2, 0)->position = FIRST - 1)                                         \
    X(5, "T1", event(LOG_GAP, 2, 0)->position++)                                                   \
    X(5, "T1", (event(LOG_GAP, 2, 0)->who = 1, seen(2, 30)->who = 1))                              \
    X(5, "T2", seen(0, 9)->base++)                                                                 \
    X(5, "T2", seen(1, 0)->base--)                                                                 \
    X(5, "T2", seen(2, 30)->base++)                                                                \
    X(5, "T2", shift_base(0))                                                                      \
    X(5, "T2", set_count(5))                                                                       \
    X(5, "T2", history->messages++)                                                                \
    X(5, "R2", seen(0, 9)->count++)                                                                \
    X(5, "R2", seen(1, 9)->whole = 0)                                                              \
    X(5, "R2", seen(0, 9)->ref = seen(0, 11)->ref)                                                 \
    X(5, "R2", seen(0, 9)->ref++)                                                                  \
    X(5, "R2", seen(0, 9)->ref = UINT64_MAX)                                                       \
    X(5, "R2", seen(0, 9)->client ^= 1)                                                            \
    X(5, "R2", seen(0, 9)->broker ^= 1)                                                            \
    X(5, "R2", seen(0, 9)->number++)                                                               \
    X(5, "R2", sent(9)->client = LOG_CLIENTS)                                                      \
    X(5, "R1",                                                                                     \
      (seen(1, 9)->ref = seen(1, 13)->ref, seen(1, 9)->number = seen(1, 13)->number,               \
       seen(1, 9)->count = seen(1, 13)->count))                                                    \
    X(5, "R3", swap_places(9, 14))                                                                 \
    X(5, "F1", (forget_answers(), swap_places(9, 21)))                                             \
    X(4, "F1", swap_places(9, 15))                                                                 \
    X(4, "F1", set_number(39, 25))                                                                 \
    X(4, "F1", set_number(1, 1))                                                                   \
    X(4, "D1", set_number(39, 18))                                                                 \
    X(5, "D1", set_number(39, 17))                                                                 \
    X(5, "D1", twice())                                                                            \
    X(5, "A1", event(LOG_ACK, 0, 25)->position = FIRST)                                            \
    X(5, "A1", event(LOG_ACK, 0, 9)->base++)                                                       \
    X(5, "A1", event(LOG_ACK, 0, 9)->ref = refused())                                              \
    X(5, "A1", event(LOG_ACK, 0, 9)->ref = seen(0, 39)->ref)                                       \
    X(5, "A1", event(LOG_TAKEN, 0, 9)->ref = refused())                                            \
    X(5, "A1", event(LOG_TAKEN, 0, 9)->ref = ROOM)                                                 \
    X(5, "F2", event(LOG_REFUSE, 0, 0)->ref = seen(0, 3)->ref)                                     \
    X(5, "A2", event(LOG_COMMIT, 1, 9)->position = FIRST + 3)                                      \
    X(5, "C1", event(LOG_COMMIT, 1, 9)->position = FIRST + 21)                                     \
    X(5, "C1", event(LOG_COMMIT, 1, 19)->position = FIRST + BATCHES + 1)                           \
    X(4, "S1", event(LOG_OPEN, 0, 0)->number = 5)                                                  \
    X(4, "S1", event(LOG_OPEN, 0, 0)->number = 15)                                                 \
    X(4, "S1", sent(30)->epoch = 1)                                                                \
    X(4, "S1", sent(10)->epoch = 2)                                                                \
    X(4, "S1", sent(10)->epoch = LOG_EPOCHS)                                                       \
    X(5, "L1", event(LOG_END, 1, 0)->position--)

#define WAY(level_, broken_, how_) {level_, broken_, #how_},
static const struct {
    unsigned level;
    const char *broken, *how;
} ways[] = {WAYS(WAY)};

enum { COUNT = sizeof ways / sizeof *ways };

static void break_it(int number)
{
    int at = 0;
#define DO(level_, broken_, how_)                                                                  \
    if (at++ == number)                                                                            \
        how_;
    WAYS(DO)
}

START_TEST(right_histories_pass)
{
    record(_i);
    ck_assert_ptr_null(log_check(history));
    log_history_free(history);
}
END_TEST

START_TEST(each_way_of_breaking_one_is_named)
{
    ck_assert_int_ge(COUNT, 30);
    record(ways[_i].level);
    break_it(_i);
    const char *broken = log_check(history);
    ck_assert_msg(broken != NULL && strcmp(broken, ways[_i].broken) == 0, "%s: %s instead of %s",
                  ways[_i].how, broken != NULL ? broken : "passes", ways[_i].broken);
    log_history_free(history);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("log_history");
    TCase *tcase = tcase_create("log_history");
    tcase_add_loop_test(tcase, right_histories_pass, 4, 6);
    tcase_add_loop_test(tcase, each_way_of_breaking_one_is_named, 0, COUNT);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
