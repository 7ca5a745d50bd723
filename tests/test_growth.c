/* test_growth.c - which blocks are given room to grow by realloc. */
#include "pool_case.h"

#include "box/growth.h"
#include "box/route.h"

enum { CROWD = 30 };

static bool nothing_lives(const void *block)
{
    (void)block;
    return false;
}

static bool all_live(const void *block)
{
    (void)block;
    return true;
}

/* Any address does: a table does not look at blocks. */
static void *block_at(int i)
{
    return (void *)((uintptr_t)0x10000 * (unsigned)(i + 1));
}

static void fill_table(struct tide_growth *growth)
{
    for (int i = 0; i < TIDE_GROWTH_BLOCKS; i++) {
        int place = tide_growth_place(growth, all_live);
        ck_assert_int_ge(place, 0);
        ck_assert_int_eq(tide_growth_find(growth, block_at(i)), TIDE_GROWTH_NONE);
        tide_growth_set(growth, place, block_at(i), 2000);
    }
}

START_TEST(room_is_in_the_same_tier)
{
    static const struct {
        size_t size, room;
    } rows[] = {{1, 1007},      {800, 1007},    {900, 900},     {1007, 1007},   {1008, 32768},
                {20000, 32768}, {28671, 32768}, {28672, 28672}, {32768, 32768}, {32769, 65536},
                {57343, 65536}, {57344, 57344}, {65536, 65536}, {65537, 65537}, {1 << 20, 1 << 20}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        ck_assert_uint_eq(tide_growth_room(rows[i].size, 1007), rows[i].room);
}
END_TEST

START_TEST(a_table_tells_growing_from_shrinking)
{
    struct tide_growth growth = {0};
    tide_growth_set(&growth, 3, block_at(0), 2000);
    ck_assert(!tide_growth_goes_on(&growth, block_at(1), 3000, 32768));
    ck_assert(tide_growth_goes_on(&growth, block_at(0), 3000, 32768));
    ck_assert(tide_growth_goes_on(&growth, block_at(0), 3000, 32768));
    ck_assert(!tide_growth_goes_on(&growth, block_at(0), 2999, 32768));
    ck_assert_int_eq(tide_growth_find(&growth, block_at(0)), TIDE_GROWTH_NONE); /* shrank */
    tide_growth_set(&growth, 3, block_at(0), 2000);
    ck_assert(tide_growth_goes_on(&growth, block_at(0), 30000, 32768));
    ck_assert_int_eq(tide_growth_find(&growth, block_at(0)), TIDE_GROWTH_NONE); /* is full */
}
END_TEST

START_TEST(a_full_table_has_room_for_few)
{
    struct tide_growth growth = {0};
    int given = 0;
    fill_table(&growth);
    for (int i = 0; i < 640; i++)
        given += tide_growth_place(&growth, all_live) >= 0;
    ck_assert_int_eq(given, 10);
    ck_assert_int_ge(tide_growth_place(&growth, nothing_lives), 0);
}
END_TEST

/* A block that was freed, and came from malloc again, has one entry. */
START_TEST(a_block_is_there_once)
{
    struct tide_growth growth = {0};
    fill_table(&growth);
    int place = tide_growth_find(&growth, block_at(5));
    tide_growth_set(&growth, place == 0 ? 1 : 0, block_at(5), 4000);
    ck_assert_int_eq(growth.block[place], 0);
    int now = tide_growth_find(&growth, block_at(5));
    ck_assert_int_eq(now, place == 0 ? 1 : 0);
    ck_assert_uint_eq(growth.size[now], 4000);
    tide_growth_set(&growth, now, block_at(5), 5000);
    ck_assert_int_eq(tide_growth_find(&growth, block_at(5)), now);
}
END_TEST

/* --- through realloc ------------------------------------------------------------- */

static enum tide_tier tier_of_size(size_t size)
{
    return size <= tide_sizeclass.tiny_max ? TIDE_TIER_TINY
           : size <= TIDE_MID_TOP          ? TIDE_TIER_MID
                                           : TIDE_TIER_LARGE;
}

START_TEST(a_vector_moves_once_in_each_tier)
{
    for (int turn = 0; turn < 20; turn++) {
        size_t size = 16, next;
        int moves = 0;
        unsigned char *p = memset(tide_malloc(size), turn, size);
        for (; size < 64 * KIB; size = next) {
            next = tide_min(size * 3 / 2, 64 * KIB);
            unsigned char *q = tide_realloc(p, next);
            ck_assert_ptr_nonnull(q);
            ck_assert(is_filled(q, (unsigned char)turn, size));
            ck_assert_int_eq(tide_tier_of(q), tier_of_size(next));
            memset(q, turn, next);
            moves += q != p;
            p = q;
        }
        ck_assert_int_le(moves, 4); /* the first step is within 64 bytes, or not */
        tide_free(p);
    }
}
END_TEST

static int grow_crowd(void **crowd, size_t size)
{
    int roomy = 0;
    for (int i = 0; i < CROWD; i++) {
        crowd[i] = tide_malloc(size);
        crowd[i] = tide_realloc(crowd[i], tide_malloc_usable_size(crowd[i]) + 1);
        ck_assert_ptr_nonnull(crowd[i]);
        roomy += tide_malloc_usable_size(crowd[i]) > 2 * size;
    }
    return roomy;
}

static void free_crowd(void **crowd)
{
    for (int i = 0; i < CROWD; i++)
        tide_free(crowd[i]);
}

/* As many again when those are gone: they give their places back. */
START_TEST(few_have_room_at_a_time)
{
    static const size_t sizes[] = {100, 2000, 9000};
    void *crowd[2][CROWD];
    for (int i = 0; i < 3; i++) {
        if (i > 0)
            ((struct tide_heap *)tide_self)->growth.late = 0; /* nobody is to be the 64th */
        ck_assert_int_eq(grow_crowd(crowd[0], sizes[i]), TIDE_GROWTH_BLOCKS);
        ck_assert_int_eq(grow_crowd(crowd[1], sizes[i]), 0);
        free_crowd(crowd[1]);
        free_crowd(crowd[0]);
    }
}
END_TEST

START_TEST(what_shrinks_gives_its_room_back)
{
    static const size_t sizes[] = {100, 3000, 35000};
    for (int i = 0; i < 3; i++) {
        size_t size = sizes[i];
        char *p = tide_malloc(size / 2);
        p = tide_realloc(p, size);
        size_t usable = tide_malloc_usable_size(p);
        memset(p, 7, size);
        ck_assert_uint_gt(usable, size + size / 2);
        ck_assert_ptr_eq(tide_realloc(p, size + 10), p);
        char *q = tide_realloc(p, size / 3);
        ck_assert_ptr_ne(q, p);
        ck_assert(is_filled(q, 7, size / 3));
        ck_assert_uint_lt(tide_malloc_usable_size(q), size);
        tide_free(q);
    }
}
END_TEST

/* A block that only malloc has seen is as large as it was asked to be, and one that somebody
 * shrinks without being known for its growth is moved as ever. */
START_TEST(others_have_no_room)
{
    char *p = tide_malloc(30000);
    ck_assert_uint_lt(tide_malloc_usable_size(p), 32768);
    char *q = tide_realloc(p, 5000);
    ck_assert_ptr_ne(q, p);
    ck_assert_uint_lt(tide_malloc_usable_size(q), 6000);
    tide_free(q);
}
END_TEST

int main(void)
{
    TCase *group = tcase_create("growth");
    tcase_add_test(group, room_is_in_the_same_tier);
    tcase_add_test(group, a_table_tells_growing_from_shrinking);
    tcase_add_test(group, a_full_table_has_room_for_few);
    tcase_add_test(group, a_block_is_there_once);
    tcase_add_test(group, a_vector_moves_once_in_each_tier);
    tcase_add_test(group, few_have_room_at_a_time);
    tcase_add_test(group, what_shrinks_gives_its_room_back);
    tcase_add_test(group, others_have_no_room);
    return run_group("growth", group);
}
