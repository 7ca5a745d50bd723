/* test_regions.c - the functions of tidepool/region.h over every source that a plain machine
 * has: figures, segments, areas, opening again, fork. Loop index: the source. */
#include "region_case.h"

#include <pthread.h>

#define SOURCE_OR_RETURN(text)                                                                     \
    const char *text = region_text(_i);                                                            \
    if (text == NULL)                                                                              \
    return

START_TEST(a_region_tells_what_it_is)
{
    SOURCE_OR_RETURN(text);
    const struct region_source *kind = &region_sources[_i];
    tide_region_t *region = region_made(text, REGION_SIZE, 0);
    struct tide_region_info info = region_told(region);
    ck_assert_ptr_eq(info.base, tide_region_base(region));
    ck_assert_uint_eq((uintptr_t)info.base % TIDE_REGION_SEGMENT, 0);
    ck_assert_uint_eq(info.size, REGION_SIZE);
    ck_assert_uint_eq(info.segments, REGION_SEGMENTS);
    ck_assert_uint_eq(info.capacity, (REGION_SEGMENTS - 1) * TIDE_REGION_SEGMENT);
    ck_assert_uint_eq(info.free_bytes, info.capacity);
    ck_assert_uint_eq(info.lent_bytes + info.heap_bytes + info.left_bytes + info.heaps, 0);
    ck_assert_uint_eq(info.largest, REGION_SEGMENTS - 1);
    ck_assert_uint_ge(info.align, 4096);
    ck_assert_int_eq(info.shared, kind->shared);
    ck_assert_int_eq(info.fd >= 0, kind->shared);
    ck_assert_int_eq(info.fresh, 1);
    ck_assert_int_eq(info.sync, 0);
    if (strcmp(text, "auto") != 0)
        ck_assert_str_eq(info.source, text);
    if (info.shared)
        ck_assert_int_eq(fcntl(info.fd, F_GETFD), FD_CLOEXEC);
    uint64_t first, second;
    ck_assert_int_eq(tide_region_take(region, 2, 0, &first), 0);
    ck_assert_int_eq(tide_region_take(region, 1, 0, &second), 0);
    ck_assert_int_eq(tide_region_give(region, first), 0);
    info = region_told(region);
    ck_assert_uint_eq(info.largest, REGION_SEGMENTS - 4); /* not those in front of it, too */
    ck_assert_uint_eq(info.free_bytes, info.capacity - TIDE_REGION_SEGMENT);
    ck_assert_int_eq(tide_region_close(region), 0);
    if (info.shared)
        ck_assert_int_eq(fcntl(info.fd, F_GETFD), -1);
    ck_assert_int_eq(tide_region_close(NULL), 0);
}
END_TEST

START_TEST(every_byte_can_be_written)
{
    SOURCE_OR_RETURN(text);
    tide_region_t *region = region_made(text, REGION_SIZE, 0);
    uint64_t offset = 0, more;
    ck_assert_int_eq(tide_region_take(region, REGION_SEGMENTS - 1, 1, &offset), 0);
    ck_assert_uint_eq(offset, TIDE_REGION_SEGMENT);
    ck_assert_int_eq(tide_region_take(region, 1, 1, &more), -ENOMEM);
    memset((char *)tide_region_base(region) + offset, 0x11, REGION_SIZE - offset);
    for (unsigned which = 0; which < 2; which++) {
        char *area = tide_region_area(region, which);
        ck_assert_ptr_eq(area, (char *)tide_region_base(region) + 4096 * (which + 1));
        for (int i = 0; i < TIDE_REGION_AREA; i++)
            UNIT_HOLD(area[i] == 0, "area %u is not zero at %d", which, i);
        memset(area, 0xee, TIDE_REGION_AREA);
    }
    ck_assert_ptr_null(tide_region_area(region, 2));
    struct tide_region_segment segment; /* nothing of it went over the table */
    ck_assert_int_eq(tide_region_segment(region, 1, &segment), 0);
    ck_assert_int_eq(segment.state, TIDE_REGION_LENT);
    ck_assert_uint_eq(segment.length, REGION_SEGMENTS - 1);
    ck_assert_int_eq(tide_region_segment(region, REGION_SEGMENTS, &segment), -ENOENT);
    ck_assert_uint_eq(region_told(region).lent_bytes, REGION_SIZE - TIDE_REGION_SEGMENT);
    ck_assert_int_eq(tide_region_give(region, offset + 1), -EINVAL);
    ck_assert_int_eq(tide_region_give(region, offset + TIDE_REGION_SEGMENT), -EINVAL);
    ck_assert_int_eq(tide_region_give(region, 0), -EINVAL);
    ck_assert_int_eq(tide_region_give(region, offset), 0);
    ck_assert_int_eq(tide_region_give(region, offset), -EINVAL);
    ck_assert_int_eq(tide_region_take(region, 0, 1, &more), -EINVAL);
    ck_assert_uint_eq(region_told(region).free_bytes, REGION_SIZE - TIDE_REGION_SEGMENT);
    ck_assert_int_eq(tide_region_close(region), 0);
}
END_TEST

START_TEST(an_address_has_a_name)
{
    SOURCE_OR_RETURN(text);
    char words[320], wanted[400];
    tide_region_t *region = region_made(text, REGION_SIZE, 0);
    char *base = tide_region_base(region);
    snprintf(wanted, sizeof wanted, "%s, offset 0x4c123", region_told(region).source);
    ck_assert_int_eq(tide_region_where(base + 0x4c123, words, sizeof words), (int)strlen(wanted));
    ck_assert_str_eq(words, wanted);
    ck_assert_int_gt(tide_region_where(base + REGION_SIZE - 1, words, sizeof words), 0);
    ck_assert_int_eq(tide_region_where(base + REGION_SIZE, words, sizeof words), -ENOENT);
    ck_assert_int_eq(tide_region_where(base - 1, words, sizeof words), -ENOENT);
    ck_assert_int_eq(tide_region_where(base, words, 0), -EINVAL);
    ck_assert_int_eq(tide_region_where(base, words, 5), 4);
    ck_assert_int_eq(tide_region_close(region), 0);
    ck_assert_int_eq(tide_region_where(base, words, sizeof words), -ENOENT);
}
END_TEST

/* --- opening again ---------------------------------------------------------------------- */

START_TEST(what_was_lent_is_there_when_it_is_opened_again)
{
    SOURCE_OR_RETURN(text);
    tide_region_t *region = region_made(text, REGION_SIZE, 0);
    struct tide_region_info first = region_told(region), second;
    uint64_t one, two;
    ck_assert_int_eq(tide_region_take(region, 2, 7, &one), 0);
    ck_assert_int_eq(tide_region_take(region, 3, 8, &two), 0);
    strcpy((char *)first.base + two + 5000, "still here");
    strcpy(tide_region_area(region, TIDE_REGION_AREA_USER), "and here");
    ck_assert_int_eq(tide_region_give(region, one), 0);
    ck_assert_int_eq(tide_region_close(region), 0);
    if (!region_sources[_i].again) {
        ck_assert_int_eq(tide_region_open(&region, text, 0, &region_error), -EINVAL);
        ck_assert_int_eq(region_error.code, -EINVAL);
        ck_assert_ptr_nonnull(strstr(region_error.text, "can be opened again"));
        return;
    }
    region = region_opened(text);
    second = region_told(region);
    ck_assert_int_eq(second.fresh, 0);
    ck_assert_uint_eq(second.size, REGION_SIZE);
    ck_assert_mem_eq(second.id, first.id, sizeof first.id);
    ck_assert_uint_eq(second.lent_bytes, 3 * TIDE_REGION_SEGMENT);
    ck_assert_str_eq((char *)second.base + two + 5000, "still here");
    ck_assert_str_eq(tide_region_area(region, TIDE_REGION_AREA_USER), "and here");
    struct tide_region_segment segment;
    ck_assert_int_eq(tide_region_segment(region, two / TIDE_REGION_SEGMENT, &segment), 0);
    ck_assert_uint_eq(segment.tag, 8);
    ck_assert_uint_eq(segment.length, 3);
    ck_assert_int_eq(tide_region_give(region, two), 0);
    ck_assert_int_eq(tide_region_close(region), 0);
    ck_assert_int_eq(tide_region_open(&region, text, REGION_SIZE, &region_error), 0);
    ck_assert_int_eq(tide_region_close(region), 0);
}
END_TEST

START_TEST(two_handles_are_one_region)
{
    SOURCE_OR_RETURN(text);
    char again[300];
    tide_region_t *one = region_made(text, REGION_SIZE, 0), *two = NULL;
    struct tide_region_info info = region_told(one);
    if (!info.shared)
        return;
    snprintf(again, sizeof again, "file:/proc/self/fd/%d", info.fd);
    two = region_opened(region_sources[_i].again ? text : again);
    uint64_t offset, other;
    ck_assert_int_eq(tide_region_take(one, 2, 1, &offset), 0);
    ck_assert_int_eq(tide_region_take(two, 2, 2, &other), 0);
    ck_assert_uint_ne(offset, other);
    strcpy((char *)tide_region_base(one) + offset, "seen");
    ck_assert_str_eq((char *)tide_region_base(two) + offset, "seen");
    ck_assert_uint_eq(region_told(one).lent_bytes, 4 * TIDE_REGION_SEGMENT);
    ck_assert_int_eq(tide_region_give(two, offset), 0);
    ck_assert_uint_eq(region_told(one).lent_bytes, 2 * TIDE_REGION_SEGMENT);
    tide_region_t *three = NULL; /* nobody makes a new one under their feet */
    if (region_sources[_i].again) {
        ck_assert_int_eq(
            tide_region_create(&three, text, REGION_SIZE, TIDE_REGION_REPLACE, &region_error),
            -EBUSY);
        ck_assert_ptr_null(three);
    }
    ck_assert_int_eq(tide_region_reclaim(one), -EBUSY);
    ck_assert_int_eq(tide_region_close(two), 0);
    ck_assert_int_eq(tide_region_reclaim(one), 0);
    ck_assert_int_eq(tide_region_close(one), 0);
}
END_TEST

/* --- processes ------------------------------------------------------------------------------ */

static tide_region_t *before_fork;
static uint64_t lent_before_fork;

static void in_the_child(long shared)
{
    struct tide_region_info info;
    struct tide_region_segment segment;
    uint64_t offset;
    char *base = tide_region_base(before_fork);
    int wanted = shared ? -ESTALE : 0;
    UNIT_NEED(tide_region_info(before_fork, &info) == wanted);
    UNIT_NEED(tide_region_segment(before_fork, 1, &segment) == wanted);
    UNIT_NEED(tide_region_take(before_fork, 2, 1, &offset) == wanted);
    UNIT_NEED(tide_region_give(before_fork, lent_before_fork) == wanted);
    UNIT_NEED(tide_region_reclaim(before_fork) == wanted);
    errno = 0;
    tide_heap_t *heap = tide_heap_create_on(before_fork);
    UNIT_NEED((heap == NULL) == shared && (!shared || errno == ESTALE));
    tide_heap_destroy(heap);
    UNIT_NEED(strcmp(base + lent_before_fork, "parent") == 0);
    strcpy(base + lent_before_fork, "child");
    UNIT_NEED(tide_region_close(before_fork) == 0);
    UNIT_NEED(unit_faults(unit_load, base));
    before_fork = region_made("memfd", REGION_SIZE, 0); /* the child's own */
    UNIT_NEED(tide_region_take(before_fork, 2, 1, &offset) == 0);
    UNIT_NEED(tide_region_close(before_fork) == 0);
}

START_TEST(a_child_shares_the_memory_and_not_the_handle)
{
    SOURCE_OR_RETURN(text);
    before_fork = region_made(text, REGION_SIZE, 0);
    char *base = tide_region_base(before_fork);
    bool shared = region_sources[_i].shared;
    ck_assert_int_eq(tide_region_take(before_fork, 1, 9, &lent_before_fork), 0);
    strcpy(base + lent_before_fork, "parent");
    unit_child_ok(in_the_child, shared);
    ck_assert_str_eq(base + lent_before_fork, shared ? "child" : "parent");
    ck_assert_uint_eq(region_told(before_fork).lent_bytes, TIDE_REGION_SEGMENT);
    ck_assert_int_eq(tide_region_give(before_fork, lent_before_fork), 0);
    ck_assert_int_eq(tide_region_close(before_fork), 0);
}
END_TEST

static void open_and_die(long i)
{
    tide_region_t *region = region_opened(region_text((int)i));
    tide_heap_t *heap = tide_heap_create_on(region);
    uint64_t offset;
    UNIT_NEED(tide_heap_malloc(heap, 5000) != NULL && tide_heap_malloc(heap, 2000000) != NULL);
    UNIT_NEED(tide_region_take(region, 1, 3, &offset) == 0);
    UNIT_NEED(region_told(region).heap_bytes == 5 * TIDE_REGION_SEGMENT);
    kill(getpid(), SIGKILL);
}

START_TEST(what_a_dead_process_had_is_reclaimed)
{
    SOURCE_OR_RETURN(text);
    if (!region_sources[_i].again)
        return;
    ck_assert_int_eq(tide_region_close(region_made(text, REGION_SIZE, 0)), 0);
    ck_assert_int_eq(unit_child(open_and_die, _i).code, 128 + SIGKILL);
    tide_region_t *region = region_opened(text);
    struct tide_region_info info = region_told(region);
    ck_assert_uint_eq(info.left_bytes, 5 * TIDE_REGION_SEGMENT);
    ck_assert_uint_eq(info.lent_bytes, TIDE_REGION_SEGMENT);
    ck_assert_uint_eq(info.heap_bytes, 0);
    ck_assert_int_eq(tide_region_reclaim(region), 5);
    info = region_told(region);
    ck_assert_uint_eq(info.left_bytes, 0);
    ck_assert_uint_eq(info.lent_bytes, TIDE_REGION_SEGMENT);    /* rings are not a heap's */
    tide_region_t *second = region_opened(text), *third = NULL; /* nobody is kept out */
    ck_assert_int_eq(tide_region_reclaim(region), -EBUSY);
    ck_assert_int_eq(tide_region_close(second), 0);
    ck_assert_int_eq(tide_region_create(&third, text, 0, TIDE_REGION_REPLACE, NULL), -EBUSY);
    ck_assert_int_eq(tide_region_close(region), 0);
}
END_TEST

/* --- threads ---------------------------------------------------------------------------------- */

enum { THREADS = 4, ROUNDS = 400 };

static void *take_and_give(void *arg)
{
    tide_region_t *region = arg;
    uint64_t seed = (uintptr_t)&seed | 1, offset;
    for (int i = 0; i < ROUNDS; i++) {
        size_t count = unit_random(&seed) % 3 + 1;
        if (tide_region_take(region, count, seed, &offset) != 0)
            continue;
        uint64_t *at = (uint64_t *)((char *)tide_region_base(region) + offset);
        uint64_t *last = at + (count * TIDE_REGION_SEGMENT / sizeof *at - 1);
        *at = *last = seed;
        UNIT_NEED(*at == seed && *last == seed);
        UNIT_NEED(tide_region_give(region, offset) == 0);
    }
    return NULL;
}

START_TEST(threads_take_and_give)
{
    SOURCE_OR_RETURN(text);
    pthread_t thread[THREADS];
    tide_region_t *region = region_made(text, REGION_SIZE, 0);
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&thread[i], NULL, take_and_give, region), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    ck_assert_uint_eq(region_told(region).free_bytes, REGION_SIZE - TIDE_REGION_SEGMENT);
    ck_assert_int_eq(tide_region_close(region), 0);
}
END_TEST

static void *make_and_close(void *arg)
{
    const char *text = arg;
    int rounds = getenv("TEST_BRIEF") != NULL ? 5 : 40; /* an emulated machine */
    for (int i = 0; i < rounds; i++) {
        tide_region_t *region = region_made(text, 2 * TIDE_REGION_LEAST, 0);
        tide_heap_t *heap = tide_heap_create_on(region);
        void *block = tide_heap_malloc(heap, 3000);
        memset(block, i, 3000);
        tide_free(block);
        free(malloc(100000)); /* and ownership is asked meanwhile */
        tide_heap_destroy(heap);
        UNIT_NEED(tide_region_close(region) == 0);
    }
    return NULL;
}

static _Atomic bool churning;

static void *churn(void *arg)
{
    while (churning)
        take_and_give(arg);
    return NULL;
}

static void take_in_child(long unused)
{
    uint64_t offset;
    (void)unused;
    alarm(30);
    UNIT_NEED(tide_region_take(before_fork, 1, 0, &offset) == 0);
    UNIT_NEED(tide_region_give(before_fork, offset) == 0);
}

/* A lock that another thread held is free in the child. */
START_TEST(a_child_of_a_busy_process)
{
    pthread_t thread;
    SOURCE_OR_RETURN(text);
    if (region_sources[_i].shared || UNIT_SANITIZED)
        return;
    before_fork = region_made(text, REGION_SIZE, 0);
    churning = true;
    ck_assert_int_eq(pthread_create(&thread, NULL, churn, before_fork), 0);
    for (int i = 0; i < 100; i++)
        unit_child_ok(take_in_child, 0);
    churning = false;
    pthread_join(thread, NULL);
    ck_assert_int_eq(tide_region_close(before_fork), 0);
}
END_TEST

START_TEST(threads_make_and_close_regions)
{
    SOURCE_OR_RETURN(text);
    if (region_sources[_i].again)
        return;
    pthread_t thread[THREADS];
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&thread[i], NULL, make_and_close, (void *)text), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
}
END_TEST

int main(void)
{
    const TTest *plain[] = {NULL};
    const TTest *each[] = {a_region_tells_what_it_is,
                           every_byte_can_be_written,
                           an_address_has_a_name,
                           what_was_lent_is_there_when_it_is_opened_again,
                           two_handles_are_one_region,
                           a_child_shares_the_memory_and_not_the_handle,
                           what_a_dead_process_had_is_reclaimed,
                           threads_take_and_give,
                           a_child_of_a_busy_process,
                           threads_make_and_close_regions,
                           NULL};
    return region_main("regions", plain, each);
}
