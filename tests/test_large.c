/*
 * test_large.c - mappings of their own: the table, the freed ones that are kept, resizing,
 * and that nobody reads old bytes where zeroes were asked for.
 */
#include "pool_case.h"

#include <pthread.h>

#include "box/large.h"
#include "box/stat.h"
#include "box/vmem.h"

enum { OWNER = 7, MANY = 3000, THREADS = 4 };

static struct tide_mapping found;

static void *map(size_t size)
{
    bool zeroed;
    void *p = tide_large_map(size, 4096, OWNER, &zeroed);
    ck_assert_ptr_nonnull(p);
    return p;
}

static uint64_t live_blocks(void)
{
    uint64_t blocks, bytes, taken;
    tide_large_count(&blocks, &bytes, &taken);
    return blocks;
}

/* Pages of up to 32 MiB that are resident; none where nothing is mapped. */
static size_t resident(const void *p, size_t size)
{
    static unsigned char there[8192];
    size_t count = 0, pages = size / tide_vmem_page_size();
    if (mincore((void *)(uintptr_t)p, size, there) != 0)
        return 0;
    for (size_t i = 0; i < pages; i++)
        count += there[i] & 1;
    return count;
}

static bool is_resident(void *p)
{
    return resident(p, 4096) != 0;
}

START_TEST(a_mapping_lives_from_map_to_unmap)
{
    static const size_t sizes[] = {1, 4096, 4097, 100000, 1 << 20, (1 << 20) + 1, 64 << 20};
    uint64_t blocks, bytes, taken;
    size_t freed;
    for (int i = 0; i < 7; i++) {
        bool zeroed = false;
        char *p = tide_large_map(sizes[i], 4096, OWNER, &zeroed);
        size_t size = tide_align_up(sizes[i], 4096);
        ck_assert(zeroed);
        ck_assert(tide_large_find(p, &found));
        ck_assert_uint_eq(found.base, (uintptr_t)p);
        ck_assert_uint_eq(found.size, size);
        ck_assert_uint_eq(found.owner, OWNER);
        p[0] = p[size - 1] = 1;
        tide_large_count(&blocks, &bytes, &taken);
        ck_assert_uint_eq(blocks, 1);
        ck_assert_uint_eq(bytes, size);
        ck_assert_uint_eq(taken, (unsigned)i + 1);
        ck_assert_int_eq(tide_large_unmap(p), 0);
        ck_assert(!tide_large_find(p, &found));
        ck_assert_int_eq(tide_large_unmap(p), -ENOENT);
        ck_assert(tide_large_was_freed(p, &freed));
        ck_assert_uint_eq(freed, size);
        tide_large_release(0);
    }
    tide_large_count(&blocks, &bytes, &taken);
    ck_assert_uint_eq(blocks + bytes + TIDE_STAT_GET(used), 0);
}
END_TEST

START_TEST(strangers_are_not_found)
{
    size_t size;
    char *p = map(100000);
    ck_assert(!tide_large_find(NULL, &found) && !tide_large_find(p + 4096, &found));
    ck_assert_int_eq(tide_large_unmap(p + 4096), -ENOENT);
    ck_assert_int_eq(tide_large_unmap(NULL), -ENOENT);
    ck_assert(!tide_large_was_freed(NULL, &size));
    ck_assert(!tide_large_was_freed(p + 4096, &size));
    ck_assert(tide_large_is_inside(p + 1, &found));
    ck_assert_uint_eq(found.base, (uintptr_t)p);
    ck_assert(tide_large_is_inside(p + 102399, &found));
    ck_assert(!tide_large_is_inside(p + 102400, &found));
    ck_assert(!tide_large_is_inside(p - 1, &found));
    ck_assert(!tide_large_is_inside(NULL, &found));
}
END_TEST

static size_t address_space(void)
{
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(fscanf(file, "%lu", &pages), 1);
    fclose(file);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

START_TEST(mappings_are_aligned)
{
    size_t before = address_space();
    for (size_t align = 16; align <= (size_t)64 << 20; align *= 2) {
        bool zeroed;
        void *p = tide_large_map(50000, align, OWNER, &zeroed);
        ck_assert_ptr_nonnull(p);
        ck_assert_uint_eq((uintptr_t)p % align, 0);
        memset(p, 1, 50000);
    }
    /* what was cut off at both ends is gone */
    ck_assert_uint_lt(address_space() - before, 8 * MIB);
}
END_TEST

/* --- freed ones that are kept --- */

START_TEST(a_freed_mapping_serves_a_request_that_fits)
{
    bool zeroed;
    tide_segment_set_retain(64 * MIB);
    char *p = map(8 * MIB), *q = map(10 * MIB);
    memset(p, 1, 100);
    tide_large_unmap(q);
    tide_large_unmap(p);
    ck_assert_uint_eq(TIDE_STAT_GET(retained), 18 * MIB);
    /* wastes more than a quarter of the request, or is too small */
    char *small = tide_large_map(6 * MIB, 4096, OWNER, &zeroed);
    char *great = tide_large_map(11 * MIB, 4096, OWNER, &zeroed);
    ck_assert(small != p && small != q && great != p && great != q && zeroed);
    /* the smallest one that fits, which is not zero any more */
    ck_assert_ptr_eq(tide_large_map(7 * MIB, 4096, 9, &zeroed), p);
    ck_assert(!zeroed);
    ck_assert(tide_large_find(p, &found));
    ck_assert_uint_eq(found.size, 8 * MIB);
    ck_assert_uint_eq(found.owner, 9);
    ck_assert_uint_eq(TIDE_STAT_GET(retained), 10 * MIB);
    ck_assert_ptr_eq(map(10 * MIB), q);
    ck_assert_uint_eq(TIDE_STAT_GET(retained), 0);
}
END_TEST

START_TEST(what_cannot_exist_costs_no_kept_mapping)
{
    bool zeroed;
    tide_segment_set_retain(64 * MIB);
    tide_large_unmap(map(8 * MIB));
    ck_assert_ptr_null(tide_large_map(SIZE_MAX / 4, 4096, OWNER, &zeroed));
    ck_assert_ptr_null(tide_large_map((size_t)1 << 47, 4096, OWNER, &zeroed));
    ck_assert_uint_eq(TIDE_STAT_GET(retained), 8 * MIB);
}
END_TEST

START_TEST(a_kept_mapping_must_be_aligned_as_asked)
{
    bool zeroed;
    size_t align = (size_t)32 << 20;
    tide_segment_set_retain(64 * MIB);
    char *p = map(2 * MIB);
    while ((uintptr_t)p % align == 0)
        p = map(2 * MIB);
    tide_large_unmap(p);
    void *q = tide_large_map(2 * MIB, align, OWNER, &zeroed);
    ck_assert_ptr_ne(q, p);
    ck_assert_uint_eq((uintptr_t)q % align, 0);
    ck_assert_ptr_eq(map(2 * MIB), p);
}
END_TEST

START_TEST(what_is_above_the_budget_goes_at_once)
{
    tide_segment_set_retain(3 * MIB);
    void *p[4];
    for (int i = 0; i < 4; i++)
        p[i] = memset(map(MIB), 1, MIB);
    uint64_t decommits = TIDE_STAT_GET(decommits);
    for (int i = 0; i < 4; i++)
        tide_large_unmap(p[i]);
    ck_assert_uint_eq(TIDE_STAT_GET(retained), 3 * MIB);
    ck_assert(!is_resident(p[0]) && is_resident(p[1])); /* the oldest one */
    ck_assert_uint_eq(TIDE_STAT_GET(decommits), decommits + 1);
    void *much = memset(map(5 * MIB), 1, 5 * MIB);
    tide_large_unmap(much); /* does not fit, and costs no other one */
    ck_assert(!is_resident(much) && is_resident(p[1]));
    ck_assert_uint_eq(tide_large_release(2 * MIB), MIB);
    ck_assert_uint_eq(tide_large_release(2 * MIB), 0);
    ck_assert_uint_ge(tide_large_release(0), 2 * MIB);
    ck_assert_uint_eq(TIDE_STAT_GET(retained), 0);
    for (int i = 0; i < 4; i++)
        ck_assert(!is_resident(p[i]));
}
END_TEST

/* The addresses of what is above the budget stay, up to a bound: they read as zeroes. */
START_TEST(addresses_stay_without_memory)
{
    bool zeroed;
    tide_segment_set_retain(MIB);
    char *much = map(80 * MIB), *cold = memset(map(3 * MIB), 1, 3 * MIB), *warm = map(13 * MIB / 4);
    tide_large_unmap(much);
    ck_assert_int_ne(mincore(much, 4096, &(unsigned char){0}), 0); /* too many addresses */
    tide_large_unmap(cold);
    tide_large_unmap(map(4 * MIB));
    ck_assert_uint_eq(resident(cold, 3 * MIB), 0);
    tide_segment_set_retain(64 * MIB);
    tide_large_unmap(warm);
    /* first one that has memory, even if it is greater */
    ck_assert_ptr_eq(tide_large_map(3 * MIB, 4096, OWNER, &zeroed), warm);
    ck_assert(!zeroed);
    ck_assert_ptr_eq(tide_large_map(3 * MIB, 4096, OWNER, &zeroed), cold);
    ck_assert(zeroed && is_filled(cold, 0, 3 * MIB));
}
END_TEST

/* A block that grew to more than the budget leaves its front, and grows there again. */
START_TEST(a_part_of_much_is_kept)
{
    tide_segment_set_retain(4 * MIB);
    char *p = memset(map(16 * MIB), 1, 16 * MIB);
    tide_large_unmap(p);
    size_t kept = TIDE_STAT_GET(retained);
    ck_assert(kept >= MIB && kept <= tide_segment_retain_limit() / 2);
    ck_assert_uint_eq(resident(p, 16 * MIB) * 4096, kept);
    ck_assert_ptr_eq(tide_large_map_roomy(200 * KIB, OWNER), p);
    ck_assert_uint_eq(TIDE_STAT_GET(retained), 0);
    ck_assert_int_eq(tide_large_unmap(p), 0);
    ck_assert_uint_eq(TIDE_STAT_GET(retained), kept); /* what is behind the block counts, too */
}
END_TEST

START_TEST(the_number_of_kept_mappings_is_bounded)
{
    void *p[100];
    tide_segment_set_retain((size_t)1 << 30);
    for (int i = 0; i < 100; i++)
        p[i] = map(64 * KIB);
    for (int i = 0; i < 100; i++)
        tide_large_unmap(p[i]);
    ck_assert_uint_le(TIDE_STAT_GET(retained), 64 * 64 * KIB);
    ck_assert_uint_gt(TIDE_STAT_GET(retained), 0);
}
END_TEST

/* An eighth of what is live may wait beside the budget, until the live bytes ebb. */
START_TEST(what_comes_and_goes_may_wait)
{
    enum { LIVE = 80 };
    static char *p[LIVE];
    tide_segment_set_retain(2 * MIB);
    for (int i = 0; i < LIVE; i++)
        p[i] = memset(map(MIB), 1, MIB);
    size_t budget = tide_segment_retain_limit();
    for (int i = 0; i < LIVE / 4; i++)
        tide_large_unmap(p[i]);
    size_t waits = TIDE_STAT_GET(retained);
    ck_assert_uint_gt(waits, budget + 2 * MIB);
    ck_assert_uint_le(waits, budget + LIVE * MIB / 8);
    ck_assert_uint_gt(tide_segment_retain_limit(), budget + 2 * MIB);
    for (int i = LIVE / 4; i < LIVE; i++)
        tide_large_unmap(p[i]);
    ck_assert_uint_eq(tide_segment_retain_limit(), budget);
    ck_assert_uint_le(TIDE_STAT_GET(retained), budget);
    tide_large_release(0);
}
END_TEST

START_TEST(many_mappings_give_way_to_runs)
{
    enum { CROWD = 16384 };
    static void *p[CROWD];
    ck_assert(tide_large_is_run(256 * KIB));
    ck_assert(!tide_large_is_run(256 * KIB + 1));
    for (int i = 0; i < CROWD; i++)
        p[i] = map(4096);
    ck_assert(tide_large_is_run(256 * KIB + 1));
    ck_assert(tide_large_is_run(TIDE_LARGE_TOP));
    ck_assert(!tide_large_is_run(TIDE_LARGE_TOP + 1));
    for (int i = 0; i < CROWD; i++)
        tide_large_unmap(p[i]);
    ck_assert(!tide_large_is_run(256 * KIB + 1));
    tide_large_release(0);
}
END_TEST

/* --- resizing --- */

START_TEST(a_block_grows_in_the_room_of_a_kept_one)
{
    tide_segment_set_retain(64 * MIB);
    ck_assert_ptr_null(tide_large_map_roomy(200 * KIB, OWNER));
    char *p = map(16 * MIB);
    p[0] = 1;
    tide_large_unmap(p);
    ck_assert_ptr_eq(tide_large_map_roomy(200 * KIB, OWNER), p);
    ck_assert(tide_large_find(p, &found));
    ck_assert_uint_eq(found.size, 200 * KIB);
    ck_assert_uint_eq(found.room, 16 * MIB);
    ck_assert_uint_eq(TIDE_STAT_GET(used), 200 * KIB);
    ck_assert(tide_large_is_inside(p + 4 * MIB, &found));
    for (size_t size = 400 * KIB; size < 16 * MIB; size *= 2) {
        ck_assert_ptr_eq(tide_large_remap(p, size), p);
        ck_assert_uint_eq(TIDE_STAT_GET(used), size);
        p[size - 1] = 1;
    }
    p = tide_large_remap(p, 20 * MIB); /* beyond the room: by the kernel */
    ck_assert_ptr_nonnull(p);
    ck_assert(tide_large_find(p, &found));
    ck_assert_uint_eq(found.room, 20 * MIB);
    p = tide_large_remap(p, 300 * KIB);
    ck_assert(tide_large_find(p, &found));
    ck_assert_uint_eq(found.room, 300 * KIB);
    ck_assert_int_eq(tide_large_unmap(p), 0);
    ck_assert_uint_eq(TIDE_STAT_GET(used), 0);
    tide_segment_set_retain(4 * MIB);
    /* a small block does not get room that holds much memory */
    p = memset(map(3 * MIB), 1, 3 * MIB);
    tide_large_unmap(p);
    ck_assert_ptr_ne(tide_large_map_roomy(200 * KIB, OWNER), p);
}
END_TEST

/* What lies behind growing blocks is nobody's: all of them together get a part of the budget. */
START_TEST(rooms_share_a_budget)
{
    tide_segment_set_retain(4 * MIB);
    char *p = memset(map(3 * MIB / 2), 1, 3 * MIB / 2), *q = memset(map(MIB), 1, MIB);
    tide_large_unmap(p);
    tide_large_unmap(q);
    ck_assert_ptr_eq(tide_large_map_roomy(200 * KIB, OWNER), p);
    ck_assert_ptr_null(tide_large_map_roomy(200 * KIB, OWNER));
    ck_assert_ptr_eq(tide_large_remap(p, MIB), p); /* less is behind it now */
    ck_assert_ptr_eq(tide_large_map_roomy(200 * KIB, OWNER), q);
    ck_assert_uint_gt(tide_large_release(0), 0);
    ck_assert_uint_eq(resident(p + MIB, MIB / 2), 0);
}
END_TEST

/* Of live bytes that were never touched nothing may wait beside the budget: there is a bound. */
START_TEST(untouched_live_bytes_let_little_wait)
{
    tide_segment_set_retain(0);
    map((size_t)1 << 30);
    char *p = map(40 * MIB), *q = map(40 * MIB);
    tide_large_unmap(p);
    ck_assert_uint_eq(tide_segment_aside, 40 * MIB);
    tide_large_unmap(q);
    ck_assert_uint_le(tide_segment_aside, 64 * MIB);
}
END_TEST

/* What waited beside the budget and is taken again leaves it as it was. */
START_TEST(what_is_taken_again_waits_no_more)
{
    tide_segment_set_retain(0);
    map(64 * MIB);
    tide_large_unmap(memset(map(4 * MIB), 1, 4 * MIB));
    ck_assert_uint_eq(tide_segment_aside, 4 * MIB);
    map(4 * MIB);
    ck_assert_uint_eq(tide_segment_aside, 0);
}
END_TEST

/* A vector that grows, again and again: what it was goes along, and it is the same mapping. */
START_TEST(realloc_grows_in_place)
{
    uintptr_t last = 0;
    tide_segment_set_retain(64 * MIB);
    for (int turn = 0; turn < 4; turn++) {
        size_t size = 100 * KIB;
        unsigned char *p = tide_malloc(size);
        memset(p, turn + 1, size);
        for (; size < 8 * MIB; size *= 2) {
            p = tide_realloc(p, 2 * size);
            ck_assert_ptr_nonnull(p);
            ck_assert(is_filled(p, turn + 1, size));
            memset(p + size, turn + 1, size);
            if (turn > 1)
                ck_assert_uint_eq((uintptr_t)p, last);
        }
        last = (uintptr_t)p;
        tide_free(p);
    }
}
END_TEST

START_TEST(remap_keeps_the_contents)
{
    size_t sizes[] = {40 * KIB, 4 * MIB, 2 * MIB, 100 * KIB, 64 * MIB, 4096}, freed,
           least = 40 * KIB;
    char *p = map(40 * KIB);
    memset(p, 0x42, 40 * KIB);
    for (int i = 0; i < 6; i++) {
        char *old = p;
        p = tide_large_remap(p, sizes[i]);
        ck_assert_ptr_nonnull(p);
        least = tide_min(least, sizes[i]);
        ck_assert(is_filled(p, 0x42, least));
        ck_assert(tide_large_find(p, &found));
        ck_assert_uint_eq(found.size, sizes[i]);
        ck_assert_uint_eq(found.owner, OWNER);
        ck_assert_uint_eq(live_blocks(), 1);
        p[sizes[i] - 1] = 0x42;
        /* a place that was left is a freed one */
        ck_assert(tide_large_find(old, &found) == (old == p));
        ck_assert(old == p || tide_large_was_freed(old, &freed));
    }
    ck_assert_uint_eq(TIDE_STAT_GET(used), 4096);
    ck_assert_int_eq(tide_large_unmap(p), 0);
}
END_TEST

START_TEST(remap_that_fails_changes_nothing)
{
    char *p = map(64 * KIB);
    memset(p, 7, 64 * KIB);
    ck_assert_ptr_null(tide_large_remap(p + 4096, 4096));
    ck_assert_ptr_null(tide_large_remap(NULL, 4096));
    ck_assert_ptr_null(tide_large_remap(p, PTRDIFF_MAX));
    ck_assert(tide_large_find(p, &found));
    ck_assert_uint_eq(found.size, 64 * KIB);
    ck_assert(is_filled(p, 7, 64 * KIB));
    ck_assert_uint_eq(live_blocks(), 1);
}
END_TEST

START_TEST(map_fails_when_memory_is_out)
{
    bool zeroed;
    void *p = map(MIB);
    ck_assert_ptr_null(tide_large_map(PTRDIFF_MAX, 4096, OWNER, &zeroed));
    ck_assert_ptr_null(tide_large_map(4096, (size_t)1 << 62, OWNER, &zeroed));
    struct rlimit before = memory_ends();
    void *none = tide_large_map(MIB, 4096, OWNER, &zeroed);
    memory_returns(before);
    ck_assert_ptr_null(none);
    ck_assert_uint_eq(live_blocks(), 1);
    tide_large_unmap(p);
    ck_assert_ptr_nonnull(map(MIB));
}
END_TEST

/* --- the table --- */

START_TEST(the_table_follows_a_model)
{
    static void *mapping[MANY];
    static uint32_t owner[MANY];
    uint64_t seed = 21, count = 0;
    unsigned wrong = 0;
    for (int step = 0; step < 20000; step++) {
        size_t at = next_random(&seed) % MANY;
        bool zeroed;
        if (mapping[at] == NULL) {
            owner[at] = (uint32_t)(next_random(&seed) % 3);
            mapping[at] = tide_large_map(4096 << at % 3, 4096, owner[at], &zeroed);
            wrong += mapping[at] == NULL;
            count++;
        } else {
            wrong += !tide_large_find(mapping[at], &found) || found.owner != owner[at];
            wrong += tide_large_unmap(mapping[at]) != 0;
            mapping[at] = NULL;
            count--;
        }
    }
    ck_assert_uint_eq(live_blocks(), count);
    /* everything of one owner goes, and nothing else */
    tide_large_destroy(1);
    for (int i = 0; i < MANY; i++)
        if (mapping[i] != NULL)
            wrong += tide_large_find(mapping[i], &found) != (owner[i] != 1);
    ck_assert_uint_eq(wrong, 0);
    tide_large_destroy(0);
    tide_large_destroy(2);
    ck_assert_uint_eq(live_blocks() + TIDE_STAT_GET(used), 0);
}
END_TEST

START_TEST(the_last_freed_ones_are_remembered)
{
    void *p[80];
    size_t size;
    for (int i = 0; i < 80; i++)
        p[i] = map(4096 * (size_t)(i + 1));
    for (int i = 0; i < 80; i++)
        tide_large_unmap(p[i]);
    for (int i = 79; i > 79 - 50; i--)
        ck_assert(tide_large_was_freed(p[i], &size) && size == 4096 * (size_t)(i + 1));
}
END_TEST

/* --- zeroes --- */

/* Runs and mappings that were used before: calloc reads as zero all the same. */
START_TEST(calloc_of_recycled_memory_is_zero)
{
    enum { LIVE = 24 };
    char *p[LIVE] = {NULL};
    size_t size[LIVE] = {0};
    uint64_t seed = 31;
    unsigned dirty = 0;
    tide_segment_set_retain(_i ? 0 : 64 * MIB);
    for (int step = 0; step < 1500; step++) {
        size_t at = next_random(&seed) % LIVE;
        tide_free(p[at]);
        size[at] = 33000 + next_random(&seed) % (step % 8 ? 300 * KIB : 3 * MIB);
        p[at] = next_random(&seed) % 2 ? tide_calloc(1, size[at]) : NULL;
        if (p[at] != NULL)
            dirty += !is_filled(p[at], 0, size[at]);
        else
            p[at] = tide_malloc(size[at]);
        memset(p[at], 0xee, size[at]);
        if (step % 100 == 99)
            tide_malloc_trim(0);
    }
    ck_assert_uint_eq(dirty, 0);
}
END_TEST

/* --- threads --- */

static void *map_and_unmap(void *arg)
{
    uintptr_t wrong = 0;
    uint64_t seed = (uintptr_t)arg;
    struct tide_mapping mine;
    for (int i = 0; i < 400; i++) {
        bool zeroed;
        size_t size = 4096 * (1 + next_random(&seed) % 64);
        char *p = tide_large_map(size, 4096, (uint32_t)(uintptr_t)arg, &zeroed);
        wrong += zeroed && p[size - 1] != 0;
        memset(p, (int)(uintptr_t)arg, size);
        if (i % 4 == 0)
            p = tide_large_remap(p, size * 2);
        wrong += !is_filled(p, (int)(uintptr_t)arg, size);
        wrong += !tide_large_find(p, &mine) || mine.owner != (uint32_t)(uintptr_t)arg;
        wrong += tide_large_unmap(p) != 0;
    }
    return (void *)wrong;
}

START_TEST(threads_map_and_unmap_at_once)
{
    pthread_t thread[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&thread[i], NULL, map_and_unmap, (void *)(i + 1)), 0);
    for (int i = 0; i < THREADS; i++) {
        void *wrong;
        pthread_join(thread[i], &wrong);
        ck_assert_ptr_null(wrong);
    }
    ck_assert_uint_eq(live_blocks(), 0);
}
END_TEST

START_TEST(the_lock_is_free_after_a_fork)
{
    tide_large_fork(TIDE_FORK_PREPARE);
    tide_large_fork(TIDE_FORK_RELEASE);
    ck_assert_int_eq(tide_large_unmap(map(4096)), 0);
}
END_TEST

int main(void)
{
    TCase *group = tcase_create("large");
    tcase_add_test(group, a_mapping_lives_from_map_to_unmap);
    tcase_add_test(group, strangers_are_not_found);
    tcase_add_test(group, mappings_are_aligned);
    tcase_add_test(group, a_freed_mapping_serves_a_request_that_fits);
    tcase_add_test(group, what_cannot_exist_costs_no_kept_mapping);
    tcase_add_test(group, a_kept_mapping_must_be_aligned_as_asked);
    tcase_add_test(group, what_is_above_the_budget_goes_at_once);
    tcase_add_test(group, addresses_stay_without_memory);
    tcase_add_test(group, a_part_of_much_is_kept);
    tcase_add_test(group, the_number_of_kept_mappings_is_bounded);
    tcase_add_test(group, what_comes_and_goes_may_wait);
    tcase_add_test(group, many_mappings_give_way_to_runs);
    tcase_add_test(group, a_block_grows_in_the_room_of_a_kept_one);
    tcase_add_test(group, rooms_share_a_budget);
    tcase_add_test(group, untouched_live_bytes_let_little_wait);
    tcase_add_test(group, what_is_taken_again_waits_no_more);
    tcase_add_test(group, realloc_grows_in_place);
    tcase_add_test(group, remap_keeps_the_contents);
    tcase_add_test(group, remap_that_fails_changes_nothing);
    tcase_add_test(group, map_fails_when_memory_is_out);
    tcase_add_test(group, the_table_follows_a_model);
    tcase_add_test(group, the_last_freed_ones_are_remembered);
    tcase_add_loop_test(group, calloc_of_recycled_memory_is_zero, 0, 2);
    tcase_add_test(group, threads_map_and_unmap_at_once);
    tcase_add_test(group, the_lock_is_free_after_a_fork);
    return run_group("large", group);
}
