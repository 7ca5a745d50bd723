/* test_deep.c - the straight ways of malloc and free where Mid is far: what they take and give, and
 * what they leave to the slow ones. */
#include "pool_case.h"
#include "box/deep.h"

/* One of each tier, by size, and of Large beside Tiny. */
static const size_t sizes[] = {100, 2000, 3000, 32000, 40000};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

static unsigned slot_of(size_t size)
{
    return size <= TIDE_MID_TOP ? tide_sizeclass_slot(size) : tide_sizeclass_slot_large(size);
}

static struct tide_deep *deep_of(size_t size)
{
    return &tide_self->deep[slot_of(size)];
}

static size_t offset_of(size_t size)
{
    return slot_of(size) * sizeof(struct tide_magazine);
}

/* Blocks of all of them wait in the magazines. */
static void begin(void)
{
    use_header(true);
    for (unsigned i = 0; i < SIZES; i++)
        tide_free(tide_malloc(sizes[i]));
    ck_assert_uint_ne(tide_self->arena_deep, 0);
    ck_assert_uint_eq(tide_self->arena_size, 0);
}

START_TEST(words_are_where_blocks_have_them)
{
    begin();
    for (unsigned i = 0; i < SIZES; i++) {
        struct tide_deep *deep = deep_of(sizes[i]);
        char *block = tide_malloc(sizes[i]);
        bool mid = page_of(block)->kind == TIDE_KIND_MID;
        const struct tide_window *window = tide_pagemap_find((uintptr_t)block);
        const void *at = mid ? tide_mid_word_at(window, block) : block + deep->magazine.at;
        ck_assert_ptr_eq(tide_deep_word(deep, block), at);
        ck_assert_int_eq(mid, sizes[i] > 2047 && sizes[i] <= TIDE_MID_TOP);
        tide_free(block);
    }
    must_be_all_free();
}
END_TEST

START_TEST(what_is_given_is_taken_next)
{
    begin();
    for (unsigned i = 0; i < SIZES; i++) {
        struct tide_cache *cache = tide_self;
        struct tide_magazine *magazine = &deep_of(sizes[i])->magazine;
        void *block = tide_malloc(sizes[i]), *again = NULL, **top = magazine->top;
        ck_assert(tide_deep_give(cache, block));
        ck_assert_ptr_eq(magazine->top, top + 1);
        ck_assert(!tide_deep_give(cache, block)); /* twice */
        tide_self_set(&tide_cache_busy);
        ck_assert(tide_deep_take(cache, offset_of(sizes[i]), &again));
        ck_assert_ptr_eq(tide_self, cache);
        ck_assert_ptr_eq(again, block);
        ck_assert_ptr_eq(magazine->top, top);
        tide_free(block);
    }
    must_be_all_free();
}
END_TEST

START_TEST(what_is_not_that_simple_is_left)
{
    begin();
    for (unsigned i = 0; i < SIZES; i++) {
        struct tide_cache *cache = tide_self;
        struct tide_magazine *magazine = &deep_of(sizes[i])->magazine, kept = *magazine;
        char *block = tide_malloc(sizes[i]);
        void *taken = NULL, **top = magazine->top;
        ck_assert(!tide_deep_give(cache, block + 16));
        ck_assert(!tide_deep_give(cache, block - 16));
        ck_assert(!tide_deep_give(cache, &taken)); /* nobody's */
        cache->owner++;                            /* somebody else's */
        ck_assert(!tide_deep_give(cache, block));
        cache->owner--;
        magazine->lim = top; /* full */
        ck_assert(!tide_deep_give(cache, block));
        magazine->lim = kept.lim;
        ck_assert(tide_deep_give(cache, block));
        *(uint64_t *)tide_deep_word(deep_of(sizes[i]), block) ^=
            magazine->freed ^ magazine->checked;
        if (magazine->headed) /* a user has it */
            ck_assert(!tide_deep_take(cache, offset_of(sizes[i]), &taken));
        *(uint64_t *)tide_deep_word(deep_of(sizes[i]), block) ^=
            magazine->freed ^ magazine->checked;
        magazine->base = magazine->top; /* empty */
        ck_assert(!tide_deep_take(cache, offset_of(sizes[i]), &taken));
        magazine->base = kept.base;
        ck_assert_ptr_null(taken);
        ck_assert_ptr_eq(magazine->top, top + 1);
    }
    must_be_all_free();
}
END_TEST

int main(void)
{
    TCase *group = tcase_create("deep");
    tcase_add_test(group, words_are_where_blocks_have_them);
    tcase_add_test(group, what_is_given_is_taken_next);
    tcase_add_test(group, what_is_not_that_simple_is_left);
    return run_group("deep", group);
}
