/* test_plot.c - the head and the segment table in a region's memory: what is refused, what
 * is taken and given back, two views on one memory, and what dead processes leave. */
#include "box/plot.h"

#include <pthread.h>
#include <signal.h>

#include "unit_base.h"

enum { SEGMENTS = 40, SIZE = SEGMENTS * TIDE_REGION_SEGMENT, THREADS = 4, ROUNDS = 20000 };

#ifdef __SANITIZE_THREAD__
#define THREAD_SANITIZED true /* it holds a lock while the write to an atomic word faults */
#else
#define THREAD_SANITIZED false
#endif

static char *memory;
static struct tide_plot plot, other;

static void setup(void)
{
    memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(memory, MAP_FAILED);
    memset(memory, 0xa5, 64 << 10); /* devices are not zeroed */
    tide_plot_format(memory, SIZE);
    tide_plot_open(&plot, memory, SIZE);
    tide_plot_open(&other, memory, SIZE);
}

static void teardown(void)
{
    munmap(memory, SIZE);
}

static int64_t take(struct tide_plot *view, enum tide_region_state state, uint64_t segments,
                    uint64_t tag)
{
    const struct tide_plot_wish wish = {
        .state = state, .kind = 1, .block = 4128, .tag = tag, .segments = segments};
    return tide_plot_take(view, &wish);
}

static struct tide_region_segment read_one(uint64_t index)
{
    struct tide_region_segment segment;
    ck_assert_int_eq(tide_plot_read(&plot, index, &segment), 0);
    return segment;
}

static uint64_t free_ones(void)
{
    uint64_t count = 0;
    for (uint64_t i = 0; i < SEGMENTS; i++)
        count += read_one(i).state == TIDE_REGION_FREE;
    return count;
}

/* --- the head ------------------------------------------------------------------------- */

START_TEST(a_new_region_is_all_free_behind_its_head)
{
    char line[200];
    struct tide_text why = {line, sizeof line, 0};
    ck_assert_int_eq(tide_plot_check(memory, SIZE, SIZE, &why), 0);
    ck_assert_int_eq(tide_plot_check(memory, SIZE + 4096, 0, &why), 0);
    ck_assert_int_eq(read_one(0).state, TIDE_REGION_HEAD);
    ck_assert_uint_eq(free_ones(), SEGMENTS - 1);
    struct tide_region_segment segment;
    ck_assert_int_eq(tide_plot_read(&plot, SEGMENTS, &segment), -ENOENT);
    for (size_t at = TIDE_PLOT_AREA_AT; at < TIDE_PLOT_AT; at++)
        UNIT_HOLD(memory[at] == 0, "the areas are not zero at %zu", at);
    ck_assert_uint_eq(plot.session, 1);
    ck_assert_uint_eq(other.session, 2);
    ck_assert_uint_eq(memory[0] | (uint64_t)memory[7] << 8, 'T' | '1' << 8);
    uint8_t id[16];
    memcpy(id, plot.head->id, 16);
    tide_plot_format(memory, SIZE);
    ck_assert_int_ne(memcmp(id, plot.head->id, 16), 0);
}
END_TEST

/* Every field changed makes it no region of ours, with both values in the words. */
static void is_refused(int code, size_t capacity, size_t size, const char *words)
{
    char line[200] = "";
    struct tide_text why = {line, sizeof line, 0};
    int ret = tide_plot_check(memory, capacity, size, &why);
    ck_assert_msg(ret == code, "gave %d (%s), not %s", ret, line, words);
    ck_assert_msg(strstr(line, words) != NULL, "'%s' for '%s'", line, words);
}

START_TEST(what_is_no_region_of_this_layout)
{
    struct tide_plot_head *head = plot.head, good = *head;
    head->magic = 7;
    is_refused(-EPROTO, SIZE, 0, "the first word is 0x7, and not 0x314e474552444954");
    *head = good;
    head->endian = 0x04030201;
    is_refused(-EPROTO, SIZE, 0, "another byte order: its mark is 0x4030201, and not 0x1020304");
    *head = good;
    head->version = 9;
    is_refused(-EPROTO, SIZE, 0, "the region's layout is 9, and not 1");
    *head = good;
    head->features = 4;
    is_refused(-EPROTO, SIZE, 0, "unknown features: their mask is 0x4, and not 0x0");
    *head = good;
    for (size_t at = offsetof(struct tide_plot_head, size);
         at < offsetof(struct tide_plot_head, check); at += 3) {
        ((char *)head)[at] ^= 0x10;
        is_refused(-EPROTO, SIZE, 0, "the region's header is damaged: its sum is 0x");
        *head = good;
    }
    is_refused(-EPROTO, SIZE, SIZE - TIDE_REGION_SEGMENT,
               "the size of the region is 20971520, and not 20447232");
    is_refused(-EBADFD, SIZE - 4096, 0, "cut off: 20967424 bytes are there, and it needs 20971520");
    is_refused(-EBADFD, 4096, 0, "cut off: 4096 bytes are there, and it needs 20971520");
    head->magic = 7;
    is_refused(-EBADFD, 4096, 0, "its size is 4096, and not 1048576");
    *head = good;
    is_refused(-EBADFD, 0, 0, "its size is 0, and not 1048576");
    ck_assert_int_eq(tide_plot_check(memory, SIZE, SIZE, NULL), 0);
}
END_TEST

/* A sum that is right: whoever wrote this head meant it. */
static void mend_sum(void)
{
    char line[200] = "";
    struct tide_text why = {line, sizeof line, 0};
    plot.head->check = 0;
    ck_assert_int_eq(tide_plot_check(memory, SIZE, 0, &why), -EPROTO);
    const char *sum = strstr(line, "and not 0x");
    ck_assert_ptr_nonnull(sum);
    plot.head->check = strtoull(sum + 8, NULL, 16);
}

START_TEST(what_is_a_region_of_another_make)
{
    struct tide_plot_head *head = plot.head, good = *head;
    mend_sum();
    ck_assert_uint_eq(head->check, good.check);
    head->segment *= 2;
    mend_sum();
    is_refused(-EPROTO, SIZE, 0, "the size of the region's segments is 1048576, and not 524288");
    *head = good;
    head->entry *= 2;
    mend_sum();
    is_refused(-EPROTO, SIZE, 0, "the size of the region's segments");
    *head = good;
    head->table += 4096;
    mend_sum();
    is_refused(-EPROTO, SIZE, 0, "the size of the region's segments");
    *head = good;
    head->segments += 1;
    mend_sum();
    is_refused(-EPROTO, SIZE, 0, "the number of the region's segments is 41, and not 40");
    *head = good;
    head->heads = 0;
    mend_sum();
    is_refused(-EPROTO, SIZE, 0, "the number of the region's segments");
    *head = good;
    head->segments = (uint64_t)1 << 45; /* their bytes are 0 modulo 2^64 */
    head->size = 0;
    head->heads =
        (TIDE_PLOT_AT + head->segments * sizeof(struct tide_plot_entry) + TIDE_REGION_SEGMENT - 1) /
        TIDE_REGION_SEGMENT;
    mend_sum();
    is_refused(-EPROTO, SIZE, 0, "the number of the region's segments is 35184372088832");
    *head = good;
}
END_TEST

START_TEST(a_large_table_takes_more_than_one_segment)
{
    enum { MANY = 20000 };
    size_t size = (size_t)MANY * TIDE_REGION_SEGMENT;
    char *large = mmap(NULL, size, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    struct tide_plot view = {0};
    ck_assert_ptr_ne(large, MAP_FAILED);
    tide_plot_format(large, size);
    tide_plot_open(&view, large, size);
    ck_assert_uint_eq(view.heads, 3); /* 16 KiB and 20,000 lines */
    ck_assert_int_eq(take(&view, TIDE_REGION_LENT, MANY - 3, 0), 3);
    ck_assert_int_eq(take(&view, TIDE_REGION_LENT, 1, 0), -ENOMEM);
    ck_assert_int_eq(tide_plot_give(&view, 2, TIDE_REGION_LENT), -EINVAL);
    ck_assert_int_eq(tide_plot_give(&view, 3, TIDE_REGION_LENT), MANY - 3);
    munmap(large, size);
}
END_TEST

/* --- taking and giving ------------------------------------------------------------------ */

START_TEST(runs_are_contiguous_and_described)
{
    ck_assert_int_eq(take(&plot, TIDE_REGION_LENT, 3, 77), 1);
    ck_assert_int_eq(take(&plot, TIDE_REGION_HEAP, 1, 5), 4);
    ck_assert_int_eq(take(&other, TIDE_REGION_RUN, 2, 6), 5);
    struct tide_region_segment first = read_one(1), part = read_one(3), heap = read_one(4);
    ck_assert_int_eq(first.state, TIDE_REGION_LENT);
    ck_assert_uint_eq(first.length, 3);
    ck_assert_uint_eq(first.tag, 77);
    ck_assert_uint_eq(first.session, 1);
    ck_assert_int_eq(part.state, TIDE_REGION_PART);
    ck_assert_uint_eq(part.length, 2);
    ck_assert_int_eq(heap.state, TIDE_REGION_HEAP);
    ck_assert_uint_eq(heap.block, 4128);
    ck_assert_uint_eq(heap.tag, 5);
    ck_assert_uint_eq(read_one(5).session, 2);
    ck_assert_uint_eq(free_ones(), SEGMENTS - 7);
}
END_TEST

START_TEST(only_what_begins_there_is_given_back)
{
    ck_assert_int_eq(take(&plot, TIDE_REGION_LENT, 3, 0), 1);
    ck_assert_int_eq(take(&plot, TIDE_REGION_RUN, 2, 0), 4);
    ck_assert_int_eq(tide_plot_give(&plot, 0, TIDE_REGION_LENT), -EINVAL);
    ck_assert_int_eq(tide_plot_give(&plot, 2, TIDE_REGION_LENT), -EINVAL);
    ck_assert_int_eq(tide_plot_give(&plot, 4, TIDE_REGION_LENT), -EINVAL);
    ck_assert_int_eq(tide_plot_give(&plot, 6, TIDE_REGION_LENT), -EINVAL);
    ck_assert_int_eq(tide_plot_give(&plot, SEGMENTS, TIDE_REGION_LENT), -EINVAL);
    ck_assert_int_eq(tide_plot_give(&plot, UINT64_MAX, TIDE_REGION_LENT), -EINVAL);
    ck_assert_int_eq(tide_plot_give(&other, 4, TIDE_REGION_RUN), -EINVAL); /* not its heap's */
    ck_assert_int_eq(tide_plot_give(&plot, 4, TIDE_REGION_RUN), 2);
    ck_assert_int_eq(tide_plot_give(&other, 1, TIDE_REGION_LENT), 3); /* rings are anybody's */
    ck_assert_int_eq(tide_plot_give(&plot, 1, TIDE_REGION_LENT), -EINVAL);
    ck_assert_uint_eq(free_ones(), SEGMENTS - 1);
}
END_TEST

START_TEST(the_first_fit_is_taken_up_to_the_last_segment)
{
    for (int64_t i = 1; i < SEGMENTS; i++)
        ck_assert_int_eq(take(&plot, TIDE_REGION_LENT, 1, 0), i);
    ck_assert_int_eq(take(&plot, TIDE_REGION_LENT, 1, 0), -ENOMEM);
    ck_assert_int_eq(take(&other, TIDE_REGION_LENT, 1, 0), -ENOMEM);
    for (uint64_t i = 5; i < 30; i += 5)
        ck_assert_int_eq(tide_plot_give(&plot, i, TIDE_REGION_LENT), 1);
    ck_assert_int_eq(take(&plot, TIDE_REGION_LENT, 2, 0), -ENOMEM);
    ck_assert_int_eq(tide_plot_give(&other, 26, TIDE_REGION_LENT), 1);
    ck_assert_int_eq(take(&plot, TIDE_REGION_LENT, 2, 0), 25);
    ck_assert_int_eq(take(&plot, TIDE_REGION_LENT, 1, 0), 5);
    ck_assert_int_eq(tide_plot_give(&plot, 3, TIDE_REGION_LENT), 1);
    ck_assert_int_eq(take(&plot, TIDE_REGION_LENT, 1, 0), 3);
    ck_assert_int_eq(take(&plot, TIDE_REGION_LENT, 0, 0), -ENOMEM);
    ck_assert_int_eq(take(&plot, TIDE_REGION_LENT, SEGMENTS, 0), -ENOMEM);
    ck_assert_int_eq(take(&plot, TIDE_REGION_LENT, UINT64_MAX, 0), -ENOMEM);
}
END_TEST

/* Takes runs, writes its name into them, looks and gives them back. */
static void churn(struct tide_plot *view, uint64_t seed)
{
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t count = unit_random(&seed) % 3 + 1, mark = unit_random(&seed);
        int64_t at = take(view, TIDE_REGION_LENT, count, mark);
        if (at < 0)
            continue;
        for (uint64_t k = 0; k < count; k++)
            *(volatile uint64_t *)(memory + ((uint64_t)at + k) * TIDE_REGION_SEGMENT) = mark;
        for (uint64_t k = 0; k < count; k++)
            UNIT_NEED(*(volatile uint64_t *)(memory + ((uint64_t)at + k) * TIDE_REGION_SEGMENT) ==
                      mark);
        UNIT_NEED(tide_plot_give(view, (uint64_t)at, TIDE_REGION_LENT) == (int64_t)count);
    }
}

static pthread_barrier_t together;

/* A view, and so a lock, of its own: as if it were another process. */
static void *churn_thread(void *arg)
{
    struct tide_plot view = {0};
    tide_plot_open(&view, memory, SIZE);
    pthread_barrier_wait(&together);
    churn(&view, (uintptr_t)arg * 977 + 1);
    return NULL;
}

static void run_threads(void *(*body)(void *))
{
    pthread_t thread[THREADS];
    ck_assert_int_eq(pthread_barrier_init(&together, NULL, THREADS), 0);
    for (uintptr_t i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&thread[i], NULL, body, (void *)i), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    pthread_barrier_destroy(&together);
}

/* Few segments are left to fight for. */
START_TEST(nobody_gets_what_another_has)
{
    ck_assert_int_eq(take(&plot, TIDE_REGION_LENT, SEGMENTS - 6, 0), 1);
    run_threads(churn_thread);
    ck_assert_uint_eq(free_ones(), 5);
    struct tide_plot view = {0};
    pid_t pid = fork();
    if (pid == 0) {
        tide_plot_open(&view, memory, SIZE);
        churn(&view, 5);
        _exit(0);
    }
    churn(&plot, 6);
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
    ck_assert_uint_eq(free_ones(), 5);
}
END_TEST

/* --- another process between a look at an entry and its change --------------------------- */

enum { WIDE = 80, EDGE = 63 }; /* the entry of EDGE is the last one on its page */

static char *entry_page;
static int64_t other_did;
static void (*other_acts)(void);

/* The first write to the page: the other one is faster. */
static void on_write(int number, siginfo_t *info, void *context)
{
    (void)number, (void)context;
    UNIT_NEED((char *)info->si_addr - entry_page < 4096);
    UNIT_NEED(mprotect(entry_page, 4096, PROT_READ | PROT_WRITE) == 0);
    other_acts();
}

static void other_takes_one(void)
{
    other_did = take(&other, TIDE_REGION_LENT, 1, 2);
}

static void other_takes_two(void)
{
    other_did = take(&other, TIDE_REGION_LENT, 2, 2);
}

static void other_gives(void)
{
    other_did = tide_plot_give(&other, EDGE, TIDE_REGION_LENT);
}

/* A region that is free from EDGE on. */
static void wide_setup(void)
{
    struct sigaction action = {.sa_sigaction = on_write, .sa_flags = SA_SIGINFO};
    memory = mmap(NULL, (size_t)WIDE * TIDE_REGION_SEGMENT, PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(memory, MAP_FAILED);
    tide_plot_format(memory, (size_t)WIDE * TIDE_REGION_SEGMENT);
    tide_plot_open(&plot, memory, (size_t)WIDE * TIDE_REGION_SEGMENT);
    tide_plot_open(&other, memory, (size_t)WIDE * TIDE_REGION_SEGMENT);
    ck_assert_int_eq(take(&plot, TIDE_REGION_LENT, EDGE - 1, 0), 1);
    ck_assert_int_eq(sigaction(SIGSEGV, &action, NULL), 0);
}

static void wide_teardown(void)
{
    munmap(memory, (size_t)WIDE * TIDE_REGION_SEGMENT);
}

/* The other one acts before the entry's page is written the next time. */
static void acts_before(uint64_t entry, void (*acts)(void))
{
    other_acts = acts;
    other_did = 0;
    entry_page = (char *)((uintptr_t)&plot.entry[entry] / 4096 * 4096);
    ck_assert_int_eq(mprotect(entry_page, 4096, PROT_READ), 0);
}

START_TEST(who_is_faster_has_the_first_segment)
{
    acts_before(EDGE, _i ? other_takes_two : other_takes_one);
    int64_t at = take(&plot, TIDE_REGION_LENT, 2, 1);
    ck_assert_int_eq(other_did, EDGE);
    ck_assert_int_eq(at, EDGE + 1 + _i);
    ck_assert_uint_eq(read_one((uint64_t)at).tag, 1);
    ck_assert_uint_eq(read_one(EDGE).tag, 2);
}
END_TEST

START_TEST(who_comes_too_late_for_the_second_gives_the_first_back)
{
    acts_before(EDGE + 1, other_takes_one);
    ck_assert_int_eq(take(&plot, TIDE_REGION_LENT, 2, 1), EDGE + 2);
    ck_assert_int_eq(other_did, EDGE + 1);
    ck_assert_int_eq(read_one(EDGE).state, TIDE_REGION_FREE);
}
END_TEST

START_TEST(a_run_is_given_back_once)
{
    ck_assert_int_eq(take(&plot, TIDE_REGION_LENT, 3, 1), EDGE);
    acts_before(EDGE, other_gives);
    ck_assert_int_eq(tide_plot_give(&plot, EDGE, TIDE_REGION_LENT), -EINVAL);
    ck_assert_int_eq(other_did, 3);
    ck_assert_int_eq(take(&other, TIDE_REGION_LENT, WIDE - EDGE, 0), EDGE);
}
END_TEST

/* --- memory of several hosts ---------------------------------------------------------------- */

START_TEST(a_view_reads_until_it_is_engaged)
{
    struct tide_plot view = {0};
    struct tide_region_segment segment;
    ck_assert_int_eq(take(&plot, TIDE_REGION_LENT, 2, 7), 1);
    ck_assert_int_eq(mprotect(memory, SIZE, PROT_READ), 0);
    tide_plot_view(&view, memory, SIZE);
    ck_assert_int_eq(tide_plot_read(&view, 1, &segment), 0);
    ck_assert_uint_eq(segment.tag, 7);
    ck_assert_uint_eq(view.session, TIDE_PLOT_NONE);
    ck_assert_int_eq(mprotect(memory, SIZE, PROT_READ | PROT_WRITE), 0);
    for (int i = 0; i < 2; i++) {
        tide_plot_engage(&view);
        ck_assert_uint_eq(view.session, 3);
    }
    ck_assert_int_eq(take(&view, TIDE_REGION_HEAP, 1, 7), 3);
    ck_assert_uint_eq(read_one(3).session, 3);
    ck_assert_int_eq(tide_plot_give(&view, 1, TIDE_REGION_LENT), 2);
}
END_TEST

static void take_or_give(long what)
{
    struct tide_plot view = {0};
    tide_plot_view(&view, memory, SIZE);
    if (what == 0)
        take(&view, TIDE_REGION_LENT, 1, 7);
    else if (what == 1)
        tide_plot_give(&view, 1, TIDE_REGION_LENT);
    else
        tide_plot_sweep(&view, false, NULL);
}

START_TEST(a_view_that_is_not_engaged_ends_the_process)
{
    ck_assert_int_eq(take(&plot, TIDE_REGION_LENT, 2, 7), 1);
    atomic_store(&plot.entry[5].word, TIDE_REGION_MOVE);
    ck_assert_int_gt(unit_child(take_or_give, _i).code, 128);
    ck_assert_uint_eq(free_ones(), SEGMENTS - 4);
}
END_TEST

/* --- what is left behind ------------------------------------------------------------------ */

static void set_word(uint64_t index, uint64_t state, uint64_t length)
{
    atomic_store(&plot.entry[index].word, state | length << 16);
}

/* Every state in which a process can die between two stores of a call. */
START_TEST(what_another_gives_back_is_found)
{
    int64_t first = take(&plot, TIDE_REGION_LENT, SEGMENTS - 2, 1);
    ck_assert_int_ge(first, 1);
    ck_assert_int_eq(take(&other, TIDE_REGION_LENT, 1, 2), SEGMENTS - 1);
    ck_assert_int_eq(take(&other, TIDE_REGION_LENT, 1, 2), -ENOMEM);
    ck_assert_int_eq(tide_plot_give(&plot, (uint64_t)first, TIDE_REGION_LENT), SEGMENTS - 2);
    ck_assert_int_eq(take(&other, TIDE_REGION_LENT, SEGMENTS - 2, 3), first);
}
END_TEST

START_TEST(calls_that_never_ended_are_swept)
{
    ck_assert_int_eq(take(&plot, TIDE_REGION_LENT, 4, 1), 1);
    for (uint64_t i = 5; i < 9; i++)
        set_word(i, TIDE_REGION_MOVE, 0); /* taking: claimed, */
    set_word(10, TIDE_REGION_MOVE, 0);    /* parts written, the first one not yet, */
    set_word(11, TIDE_REGION_PART, 1);
    set_word(12, TIDE_REGION_PART, 2);
    set_word(14, TIDE_REGION_MOVE, 0); /* giving: the last part is free */
    set_word(15, TIDE_REGION_PART, 1);
    set_word(18, TIDE_REGION_LENT, 3); /* and what no call leaves: parts missing, */
    set_word(19, TIDE_REGION_PART, 1);
    set_word(25, TIDE_REGION_LENT, 0);           /* no length, */
    set_word(SEGMENTS - 1, TIDE_REGION_LENT, 2); /* or a run over the end */
    set_word(30, 99, 1);
    ck_assert_uint_eq(tide_plot_sweep(&plot, false, NULL), 4 + 3 + 2 + 2 + 1 + 1 + 1);
    ck_assert_uint_eq(free_ones(), SEGMENTS - 5);
    ck_assert_int_eq(read_one(1).state, TIDE_REGION_LENT);
    ck_assert_uint_eq(tide_plot_sweep(&plot, true, NULL), 0);
    ck_assert_int_eq(take(&plot, TIDE_REGION_LENT, SEGMENTS - 5, 0), 5);
}
END_TEST

/* A table that somebody wrote over: nothing outside of it is touched. */
START_TEST(runs_that_cannot_be_are_not_given_back)
{
    set_word(0, TIDE_REGION_LENT, 1);
    set_word(SEGMENTS - 1, TIDE_REGION_LENT, 2);
    set_word(7, TIDE_REGION_LENT, 0);
    ck_assert_int_eq(tide_plot_give(&plot, 0, TIDE_REGION_LENT), -EINVAL);
    ck_assert_int_eq(tide_plot_give(&plot, SEGMENTS - 1, TIDE_REGION_LENT), -EINVAL);
    ck_assert_int_eq(tide_plot_give(&plot, 7, TIDE_REGION_LENT), -EINVAL);
}
END_TEST

START_TEST(what_is_left_is_nobodys)
{
    ck_assert_int_eq(take(&plot, TIDE_REGION_HEAP, 1, 7), 1);
    ck_assert_int_eq(take(&plot, TIDE_REGION_RUN, 2, 7), 2);
    ck_assert_int_eq(take(&plot, TIDE_REGION_LENT, 1, 7), 4);
    ck_assert_int_eq(take(&other, TIDE_REGION_HEAP, 1, 7), 5);
    tide_plot_leave(&plot, 1, 8);
    ck_assert_uint_eq(read_one(1).session, plot.session);
    for (uint64_t i = 1; i <= 6; i++)
        tide_plot_leave(&plot, i, 7);
    ck_assert_uint_eq(read_one(1).session, 0);
    ck_assert_uint_eq(read_one(2).session, 0);
    ck_assert_uint_eq(read_one(4).session, plot.session);
    ck_assert_uint_eq(read_one(5).session, other.session);
    ck_assert_int_eq(tide_plot_give(&plot, 1, TIDE_REGION_HEAP), -EINVAL);
    ck_assert_int_eq(tide_plot_give(&plot, 2, TIDE_REGION_RUN), -EINVAL);
    ck_assert_uint_eq(tide_plot_sweep(&plot, false, NULL), 0);
    ck_assert_uint_eq(tide_plot_sweep(&plot, true, NULL), 4);
    ck_assert_uint_eq(free_ones(), SEGMENTS - 2);
}
END_TEST

START_TEST(what_is_to_be_kept_is_not_swept)
{
    uint64_t keep[(SEGMENTS + 63) / 64] = {UINT64_C(1) << 2 | UINT64_C(1) << 7};
    for (unsigned i = 1; i <= 3; i++)
        ck_assert_int_eq(take(&other, TIDE_REGION_HEAP, 1, 1), i);
    ck_assert_int_eq(take(&other, TIDE_REGION_RUN, 3, 1), 4);
    ck_assert_int_eq(take(&other, TIDE_REGION_RUN, 3, 1), 7);
    ck_assert_uint_eq(tide_plot_sweep(&plot, true, keep), 5);
    ck_assert_int_eq(read_one(1).state, TIDE_REGION_FREE);
    ck_assert_int_eq(read_one(2).state, TIDE_REGION_HEAP);
    ck_assert_int_eq(read_one(4).state, TIDE_REGION_FREE);
    ck_assert_int_eq(read_one(7).state, TIDE_REGION_RUN);
    ck_assert_int_eq(read_one(9).state, TIDE_REGION_PART);
    ck_assert_uint_eq(tide_plot_sweep(&plot, true, NULL), 4);
    ck_assert_uint_eq(free_ones(), SEGMENTS - 1);
}
END_TEST

START_TEST(heaps_of_others_are_swept_on_demand)
{
    ck_assert_int_eq(take(&plot, TIDE_REGION_HEAP, 1, 1), 1);
    ck_assert_int_eq(take(&other, TIDE_REGION_HEAP, 1, 1), 2);
    ck_assert_int_eq(take(&other, TIDE_REGION_RUN, 3, 1), 3);
    ck_assert_int_eq(take(&other, TIDE_REGION_LENT, 2, 1), 6);
    ck_assert_int_eq(take(&plot, TIDE_REGION_LENT, 1, 1), 8);
    ck_assert_uint_eq(tide_plot_sweep(&plot, false, NULL), 0);
    ck_assert_uint_eq(tide_plot_sweep(&plot, true, NULL), 4);
    ck_assert_int_eq(read_one(1).state, TIDE_REGION_HEAP);
    ck_assert_int_eq(read_one(2).state, TIDE_REGION_FREE);
    ck_assert_int_eq(read_one(6).state, TIDE_REGION_LENT);
    ck_assert_uint_eq(free_ones(), SEGMENTS - 5);
    ck_assert_int_eq(take(&plot, TIDE_REGION_LENT, 1, 1), 2); /* the first fit is there again */
}
END_TEST

int main(void)
{
    const TTest *tests[] = {a_new_region_is_all_free_behind_its_head,
                            what_is_no_region_of_this_layout,
                            what_is_a_region_of_another_make,
                            a_large_table_takes_more_than_one_segment,
                            runs_are_contiguous_and_described,
                            only_what_begins_there_is_given_back,
                            the_first_fit_is_taken_up_to_the_last_segment,
                            nobody_gets_what_another_has,
                            what_another_gives_back_is_found,
                            calls_that_never_ended_are_swept,
                            runs_that_cannot_be_are_not_given_back,
                            what_is_left_is_nobodys,
                            what_is_to_be_kept_is_not_swept,
                            heaps_of_others_are_swept_on_demand,
                            a_view_reads_until_it_is_engaged,
                            NULL};
    Suite *suite = suite_create("plot");
    TCase *tcase = tcase_create("plot");
    tcase_add_checked_fixture(tcase, setup, teardown);
    for (const TTest *const *test = tests; *test != NULL; test++)
        tcase_add_test(tcase, *test);
    tcase_add_loop_test(tcase, a_view_that_is_not_engaged_ends_the_process, 0, 3);
    suite_add_tcase(suite, tcase);
    TCase *wide = tcase_create("wide");
    tcase_add_checked_fixture(wide, wide_setup, wide_teardown);
    tcase_add_loop_test(wide, who_is_faster_has_the_first_segment, 0, 2);
    tcase_add_test(wide, who_comes_too_late_for_the_second_gives_the_first_back);
    tcase_add_test(wide, a_run_is_given_back_once);
    if (!THREAD_SANITIZED)
        suite_add_tcase(suite, wide);
    return unit_run(suite);
}
