/* test_segment_limit.c - segments when memory or address space is short, further
 * windows, and segments among threads. */
#include "box/segment.h"

#include <pthread.h>
#include <sys/syscall.h>

#include "box/large.h"
#include "box/meta.h"
#include "box/stat.h"
#include "box/vmem.h"
#include "unit_base.h"

enum {
    SMALL = 1 << TIDE_SHIFT_SMALL,
    LARGE = 1 << TIDE_SHIFT_LARGE,
    MOST = 4096,
    THREADS = 4,
    ROUNDS = 2000
};

static struct tide_page *lent[MOST];

static size_t size_of(enum tide_kind kind)
{
    return kind == TIDE_KIND_LARGE ? LARGE : SMALL;
}

static char *memory(const struct tide_page *page)
{
    return (char *)tide_page_base(page);
}

/* Takes all there is, each with its number at both ends. */
static unsigned take_all(enum tide_kind kind)
{
    unsigned count = 0;
    while (count < MOST && (lent[count] = tide_segment_take(kind, 0)) != NULL) {
        atomic_store(&lent[count]->owner, 1);
        UNIT_NEED(*(uint64_t *)memory(lent[count]) == 0);
        *(uint64_t *)memory(lent[count]) = count;
        ((uint64_t *)(memory(lent[count]) + size_of(kind)))[-1] = count;
        lent[count]->dirty = 4096;
        count++;
    }
    return count;
}

static void check_all(enum tide_kind kind, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        char *at = memory(lent[i]);
        UNIT_NEED((uintptr_t)at % size_of(kind) == 0);
        UNIT_NEED(*(uint64_t *)at == i);
        UNIT_NEED(((uint64_t *)(at + size_of(kind)))[-1] == i);
        UNIT_NEED(tide_pagemap_find((uintptr_t)at + 16) == tide_page_window(lent[i]));
        UNIT_NEED(tide_page_window(lent[i])->kind == kind);
        UNIT_NEED(tide_window_page(tide_page_window(lent[i]), (uintptr_t)at) == lent[i]);
    }
}

/* --- limited address space ------------------------------------------------------- */

enum { ROOM = 256 << 20, MUCH = 1 << 30 };

static void exhaust(long kind)
{
    unit_limit(RLIMIT_AS, unit_status("VmSize") + MUCH);
    errno = 4321;
    unsigned count = take_all((enum tide_kind)kind);
    UNIT_NEED(count < MOST);
    UNIT_NEED(tide_segment_take((enum tide_kind)kind, 0) == NULL);
    UNIT_NEED(errno == 4321);
    check_all((enum tide_kind)kind, count);
    dprintf(2, "%zu", count * size_of((enum tide_kind)kind));
}

/* Under a limit most of the address space must be of use to one kind. A sanitizer fills
 * nearly all of it before we come: the first windows are then a large part of the rest,
 * and Tiny and Mid have theirs together. */
START_TEST(one_kind_gets_most_of_a_limited_space)
{
    const size_t least = UNIT_SANITIZED ? 60 : 80;
    for (int kind = 0; kind < TIDE_KINDS; kind++) {
        struct unit_end end = unit_child(exhaust, kind);
        ck_assert_msg(end.code == 0, "%s", end.text);
        size_t got = strtoul(end.text, NULL, 10);
        ck_assert_msg(got >= (size_t)MUCH / 100 * least, "kind %d: %zu of %d bytes", kind, got,
                      MUCH);
    }
}
END_TEST

static void exhaust_and_recover(long kind)
{
    unit_limit(RLIMIT_AS, unit_status("VmSize") + ROOM);
    unsigned count = take_all((enum tide_kind)kind);
    for (unsigned i = 0; i < count; i += 2)
        tide_segment_give(lent[i]);
    for (unsigned i = 0; i < count; i += 2)
        UNIT_NEED((lent[i] = tide_segment_take((enum tide_kind)kind, 0)) != NULL);
    UNIT_NEED(tide_segment_take((enum tide_kind)kind, 0) == NULL);
    for (unsigned i = 0; i < count; i++)
        tide_segment_give(lent[i]);
    UNIT_NEED(TIDE_STAT_GET(used) == 0);
    tide_segment_release(0);
    UNIT_NEED(TIDE_STAT_GET(retained) == 0);
    UNIT_NEED(take_all((enum tide_kind)kind) == count);
    check_all((enum tide_kind)kind, count);
}

START_TEST(what_is_given_back_can_be_taken_again)
{
    for (int kind = 0; kind < TIDE_KINDS; kind++)
        unit_child_ok(exhaust_and_recover, kind);
}
END_TEST

static void open_windows(long kind)
{
    unit_limit(RLIMIT_AS, unit_status("VmSize") + ROOM);
    unsigned count = take_all((enum tide_kind)kind), windows = atomic_load(&tide_window_count);
    size_t committed = 0;
    UNIT_NEED(windows > TIDE_KINDS && windows <= TIDE_WINDOWS);
    UNIT_NEED(tide_page_window(lent[0]) == &tide_windows[kind]);
    UNIT_NEED(tide_page_window(lent[count - 1]) >= &tide_windows[TIDE_KINDS]);
    for (unsigned i = TIDE_KINDS; i < windows; i++) {
        const struct tide_window *window = &tide_windows[i];
        UNIT_NEED(window->kind == kind);
        UNIT_NEED(window->reserved >= size_of((enum tide_kind)kind));
        for (unsigned j = 0; j < i; j++)
            UNIT_NEED(window->base + window->reserved <= tide_windows[j].base ||
                      tide_windows[j].base + tide_windows[j].reserved <= window->base);
        committed += window->segments;
    }
    UNIT_NEED(committed + tide_windows[kind].segments == count);
}

START_TEST(further_windows_open_when_one_is_full)
{
    for (int kind = 0; kind < TIDE_KINDS; kind++)
        unit_child_ok(open_windows, kind);
}
END_TEST

/* Whatever the limit is, the first segment of each kind is in its primary window: only
 * there malloc and free are fast. */
static void under_odd_limit(long limit)
{
    unit_limit(RLIMIT_AS, (size_t)limit);
    for (int kind = 0; kind < TIDE_KINDS; kind++) {
        struct tide_page *page = tide_segment_take((enum tide_kind)kind, 0);
        UNIT_NEED(page != NULL);
        UNIT_NEED(tide_page_window(page) == &tide_windows[kind]);
        UNIT_NEED((uintptr_t)page % TIDE_LINE == 0);
        memset(memory(page), 1, size_of((enum tide_kind)kind));
    }
    UNIT_NEED(atomic_load(&tide_window_count) == TIDE_KINDS);
}

START_TEST(primary_windows_serve_under_any_limit)
{
    size_t least = unit_status("VmSize") + ((size_t)768 << 20);
    for (size_t limit = least; limit < least + (least >> 1); limit += (least >> 4) + 4096)
        unit_child_ok(under_odd_limit, (long)limit);
    unit_child_ok(under_odd_limit, (long)((size_t)1000000 << 10) + (long)unit_status("VmSize"));
}
END_TEST

static void with_nothing(long kind)
{
    unit_limit(RLIMIT_AS, unit_status("VmSize") + (64 << 10));
    errno = 4321;
    for (int i = 0; i < 3; i++)
        UNIT_NEED(tide_segment_take((enum tide_kind)kind, 0) == NULL);
    UNIT_NEED(errno == 4321);
    UNIT_NEED(TIDE_STAT_GET(used) == 0);
    unit_limit(RLIMIT_AS, unit_status("VmSize") + ROOM);
    UNIT_NEED(take_all((enum tide_kind)kind) > 0);
}

START_TEST(without_address_space_there_is_none_until_there_is)
{
    for (int kind = 0; kind < TIDE_KINDS; kind++)
        unit_child_ok(with_nothing, kind);
}
END_TEST

/* Somebody else has nearly all of what the limit allows. */
static void beside_a_giant(long unused)
{
    (void)unused;
    const size_t giant = (size_t)64 << 30;
    UNIT_NEED(tide_vmem_reserve(giant) != NULL);
    unit_limit(RLIMIT_AS, unit_status("VmSize") + ROOM);
    for (int kind = 0; kind < TIDE_KINDS; kind++) {
        struct tide_page *page = tide_segment_take((enum tide_kind)kind, 0);
        UNIT_NEED(page != NULL && tide_page_window(page) == &tide_windows[kind]);
        UNIT_NEED((size_t)tide_page_window(page)->reserved < ROOM);
    }
}

START_TEST(windows_shrink_to_what_is_left)
{
    unit_child_ok(beside_a_giant, 0);
}
END_TEST

/* All future memory is locked, and the limit of an ordinary user stands against it: what
 * is only reserved counts too. */
static void with_locked_future(long unused)
{
    (void)unused;
    struct rlimit limit;
    getrlimit(RLIMIT_MEMLOCK, &limit);
    size_t most = tide_min(limit.rlim_max, 64 << 20);
    unit_limit(RLIMIT_MEMLOCK, most);
    if (most < 8 << 20 || (getuid() == 0 && setuid(65534) != 0) ||
        syscall(SYS_mlockall, MCL_FUTURE) != 0)
        return;
    for (int kind = 0; kind < (most == 64 << 20 ? TIDE_KINDS : TIDE_KIND_LARGE); kind++) {
        struct tide_page *page = tide_segment_take((enum tide_kind)kind, 0);
        UNIT_NEED(page != NULL);
        memset(memory(page), 1, size_of((enum tide_kind)kind));
    }
    UNIT_NEED(tide_vmem_map(1 << 20) != NULL); /* there is room for others */
}

START_TEST(windows_leave_room_where_all_is_locked)
{
    if (!UNIT_SANITIZED) /* a sanitizer's own memory would not fit */
        unit_child_ok(with_locked_future, 0);
}
END_TEST

/* --- memory that cannot be committed ----------------------------------------------- */

static size_t bytes_of_tables(void)
{
    size_t bytes = 0;
    for (unsigned i = 0; i < atomic_load(&tide_window_count); i++) {
        const struct tide_window *window = &tide_windows[i];
        size_t each = TIDE_PAGE_BYTES + window->words * sizeof(uint64_t);
        if (window->shadow != NULL)
            each += ((size_t)1 << window->shift >> TIDE_SHADOW_SHIFT) * sizeof(uint64_t);
        bytes += window->segments * each + 3 * tide_vmem_page_size();
    }
    return bytes;
}

/* RLIMIT_DATA lets address space be reserved, but not be committed. */
static void without_commit(long kind)
{
    struct tide_source source = {.ops = &tide_source_near, .node = -1};
    tide_segment_start(&source, true);
    unit_limit(RLIMIT_DATA, unit_status("VmData") + (64 << 20));
    unsigned count = take_all((enum tide_kind)kind);
    size_t windows = atomic_load(&tide_window_count), space = unit_status("VmSize");
    UNIT_NEED(count * size_of((enum tide_kind)kind) >= 40 << 20);
    UNIT_NEED(count < MOST);
    for (int i = 0; i < 200; i++)
        UNIT_NEED(tide_segment_take((enum tide_kind)kind, 0) == NULL);
    check_all((enum tide_kind)kind, count);
    dprintf(2, "%zu %zu %zu %zu %zu %zu", windows, (size_t)atomic_load(&tide_window_count), space,
            unit_status("VmSize"), tide_meta_bytes(), bytes_of_tables());
    unit_limit(RLIMIT_DATA, RLIM_INFINITY);
    if (tide_segment_take((enum tide_kind)kind, 0) == NULL)
        _exit(1);
}

struct short_of_memory {
    size_t windows, windows_later, space, space_later, meta, tables;
};

static struct short_of_memory run_without_commit(int kind)
{
    struct short_of_memory out = {0};
    struct unit_end end = unit_child(without_commit, kind);
    ck_assert_msg(end.code == 0, "%s", end.text);
    ck_assert_int_eq(sscanf(end.text, "%zu %zu %zu %zu %zu %zu", &out.windows, &out.windows_later,
                            &out.space, &out.space_later, &out.meta, &out.tables),
                     6);
    return out;
}

/* There are 64 windows in all: a program that tries again must not use them up. */
START_TEST(a_failed_commit_opens_no_window_each_time)
{
    for (int kind = 0; kind < TIDE_KINDS; kind++) {
        struct short_of_memory end = run_without_commit(kind);
        ck_assert_uint_le(end.windows_later, TIDE_KINDS + 2);
        ck_assert_uint_eq(end.windows_later, end.windows);
        ck_assert_uint_eq(end.space_later, end.space);
    }
}
END_TEST

START_TEST(a_failed_commit_counts_no_table_twice)
{
    for (int kind = 0; kind < TIDE_KINDS; kind++) {
        struct short_of_memory end = run_without_commit(kind);
        ck_assert_msg(end.meta <= end.tables + (1 << 20), "kind %d: %zu bytes counted, %zu used",
                      kind, end.meta, end.tables);
    }
}
END_TEST

/* What could not be committed has not used up any of the cap. */
static void capped_without_commit(long unused)
{
    (void)unused;
    struct tide_source source = {.ops = &tide_source_near, .node = -1, .far = true, .why = ""};
    tide_segment_start(&source, false);
    tide_segment_bound(4 * SMALL, false);
    struct tide_page *first = tide_segment_take(TIDE_KIND_MID, 0);
    UNIT_NEED(first != NULL);
    unit_limit(RLIMIT_DATA, 4096);
    for (int i = 0; i < 20; i++)
        UNIT_NEED(tide_segment_take(TIDE_KIND_MID, 0) == NULL);
    unit_limit(RLIMIT_DATA, RLIM_INFINITY);
    for (int i = 1; i < 8; i++)
        UNIT_NEED((lent[i] = tide_segment_take(TIDE_KIND_MID, 0)) != NULL);
    UNIT_NEED(tide_page_window(first)->far == 4 * (size_t)SMALL);
}

START_TEST(a_failed_commit_leaves_the_cap)
{
    unit_child_ok(capped_without_commit, 0);
}
END_TEST

/* --- threads ----------------------------------------------------------------------- */

static _Atomic bool failed;

/* What a thread writes into a segment stays there as long as it is lent. */
static void *take_and_give(void *arg)
{
    uint64_t me = (uint64_t)(uintptr_t)arg, state = me * 77;
    struct tide_page *mine[8] = {NULL};
    for (int i = 0; i < ROUNDS; i++) {
        struct tide_page **at = &mine[unit_random(&state) % 8];
        if (*at == NULL) {
            *at = tide_segment_take((enum tide_kind)(unit_random(&state) % TIDE_KIND_LARGE), 0);
            atomic_store(&(*at)->owner, (uint32_t)me);
            *(uint64_t *)memory(*at) = me;
        } else {
            if (*(uint64_t *)memory(*at) != me || atomic_load(&(*at)->owner) != me)
                atomic_store(&failed, true);
            (*at)->dirty = 4096;
            tide_segment_give(*at);
            *at = NULL;
        }
        if (i % 256 == 0)
            tide_segment_release(0);
    }
    for (int i = 0; i < 8; i++)
        if (mine[i] != NULL)
            tide_segment_give(mine[i]);
    return NULL;
}

START_TEST(threads_never_get_the_same_segment)
{
    pthread_t thread[THREADS];
    tide_segment_set_retain(16384);
    for (uintptr_t i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&thread[i], NULL, take_and_give, (void *)(i + 1)), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    ck_assert(!atomic_load(&failed));
    ck_assert_uint_eq(TIDE_STAT_GET(used), 0);
    tide_segment_release(0);
    ck_assert_uint_eq(TIDE_STAT_GET(retained), 0);
    ck_assert_uint_le(TIDE_STAT_GET(peak), THREADS * 8 * (size_t)SMALL);
}
END_TEST

static _Atomic bool stop;

/* Asks about values that are never ours, and about the newest segment. */
static void *ask_often(void *newest)
{
    while (!atomic_load(&stop)) {
        uintptr_t p = atomic_load((_Atomic uintptr_t *)newest);
        if (tide_pagemap_find(0) != NULL || tide_pagemap_find(0x1000) != NULL ||
            tide_pagemap_find(UINTPTR_MAX) != NULL || tide_pagemap_find((uintptr_t)1 << 63) != NULL)
            atomic_store(&failed, true);
        if (p != 0 && tide_pagemap_find(p + 16) == NULL)
            atomic_store(&failed, true);
    }
    return NULL;
}

START_TEST(addresses_can_be_asked_about_while_windows_open)
{
    pthread_t thread[2];
    _Atomic uintptr_t newest = 0;
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&thread[i], NULL, ask_often, (void *)&newest), 0);
    usleep(1000);
    for (int i = 0; i < 200; i++) {
        struct tide_page *page = tide_segment_take((enum tide_kind)(i % TIDE_KINDS), 0);
        ck_assert_ptr_nonnull(page);
        atomic_store(&newest, tide_page_base(page));
    }
    atomic_store(&stop, true);
    for (int i = 0; i < 2; i++)
        pthread_join(thread[i], NULL);
    ck_assert(!atomic_load(&failed));
}
END_TEST

static void *take_one(void *kind)
{
    tide_segment_take((enum tide_kind)(uintptr_t)kind, 0);
    atomic_store(&stop, true);
    return NULL;
}

START_TEST(fork_holds_its_locks)
{
    for (uintptr_t kind = 0; kind < TIDE_KINDS; kind++) {
        pthread_t thread;
        atomic_store(&stop, false);
        tide_segment_fork(TIDE_FORK_PREPARE);
        ck_assert_int_eq(pthread_create(&thread, NULL, take_one, (void *)kind), 0);
        usleep(20000);
        ck_assert(!atomic_load(&stop));
        tide_segment_fork(TIDE_FORK_RELEASE);
        pthread_join(thread, NULL);
        ck_assert(atomic_load(&stop));
    }
}
END_TEST

/* The end of far memory is found by one thread while the others take and give. */
START_TEST(threads_share_one_cap)
{
    struct tide_source source = {.ops = &tide_source_near, .node = -1, .far = true, .why = ""};
    pthread_t thread[THREADS];
    tide_segment_start(&source, false);
    tide_segment_bound(5 * SMALL, false);
    for (uintptr_t i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&thread[i], NULL, take_and_give, (void *)(i + 1)), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    ck_assert(!atomic_load(&failed));
    ck_assert_uint_eq(TIDE_STAT_GET(mid_far) + TIDE_STAT_GET(mid_near), 0);
    ck_assert_uint_eq(tide_windows[TIDE_KIND_MID].far + tide_windows[TIDE_KIND_MIDAL].far,
                      5 * SMALL);
}
END_TEST

/* Under a limit runs, which leave parts of segments unused, are short; below 1 GiB there
 * are none. */
static void runs_follow_the_limit(long which)
{
    static const rlim_t limit[] = {RLIM_INFINITY, (rlim_t)1 << 40, (rlim_t)1 << 29};
    static const size_t expect[] = {256 << 10, 128 << 10, TIDE_MID_TOP};
    unit_limit(RLIMIT_AS, limit[which]);
    UNIT_NEED(tide_large_is_run(expect[which]) && !tide_large_is_run(expect[which] + 1));
    unit_limit(RLIMIT_AS, limit[0]);
    UNIT_NEED(tide_large_is_run(expect[which]) && !tide_large_is_run(expect[which] + 1));
}

START_TEST(runs_are_short_where_address_space_is_scarce)
{
    for (long which = 0; which < (UNIT_SANITIZED ? 1 : 3); which++)
        unit_child_ok(runs_follow_the_limit, which);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {one_kind_gets_most_of_a_limited_space,
                                  what_is_given_back_can_be_taken_again,
                                  further_windows_open_when_one_is_full,
                                  primary_windows_serve_under_any_limit,
                                  without_address_space_there_is_none_until_there_is,
                                  windows_shrink_to_what_is_left,
                                  windows_leave_room_where_all_is_locked,
                                  a_failed_commit_opens_no_window_each_time,
                                  a_failed_commit_counts_no_table_twice,
                                  a_failed_commit_leaves_the_cap,
                                  threads_never_get_the_same_segment,
                                  threads_share_one_cap,
                                  addresses_can_be_asked_about_while_windows_open,
                                  fork_holds_its_locks,
                                  runs_are_short_where_address_space_is_scarce,
                                  NULL};
    return unit_main("segment_limit", tests);
}
