/* test_public.c - every function of the public headers does what its comment says. */
#include <tidepool/tidepool.h>

#include "unit_base.h"

/* Sizes at the borders of tiers and classes. */
static const size_t border[] = {0,     1,     15,    16,    17,      100,     1023,    1024,
                                1025,  2047,  2048,  2049,  4096,    8191,    16384,   32767,
                                32768, 32769, 65536, 99999, 1 << 20, 1048577, 5 << 20, 40 << 20};

enum { BORDERS = sizeof border / sizeof border[0] };

static enum tide_tier tier_for(size_t size)
{
    return size <= 2047 ? TIDE_TIER_TINY : size <= 32768 ? TIDE_TIER_MID : TIDE_TIER_LARGE;
}

/* A live block of the library, aligned, as large as asked, all of it writable. */
static void check_block(void *block, size_t align, size_t size)
{
    ck_assert_ptr_nonnull(block);
    UNIT_HOLD((uintptr_t)block % align == 0 && (uintptr_t)block % 16 == 0, "%p of %zu bytes", block,
              size);
    size_t usable = tide_malloc_usable_size(block);
    UNIT_HOLD(usable >= size, "%zu bytes usable of %zu", usable, size);
    UNIT_HOLD(tide_tier_of(block) != TIDE_TIER_NONE, "no tier of a block of %zu bytes", size);
    for (size_t at = 0; at < usable; at += at < 70000 ? 1 : 997)
        ((char *)block)[at] = (char)0xa5;
    if (usable > 0)
        ((char *)block)[usable - 1] = 1;
}

/* NULL with this errno. */
static void check_null(const void *block, int error)
{
    int found = errno;
    ck_assert_ptr_null(block);
    ck_assert_int_eq(found, error);
    errno = 0;
}

/* The step through a pattern: every byte at first, later a few of each page. */
static size_t next(size_t i)
{
    return i + (i < 4096 ? 1 : 509);
}

static void fill(char *block, size_t size)
{
    for (size_t i = 0; i < size; i = next(i))
        block[i] = (char)(i * 7 + i / 251);
}

static bool is_filled(const char *block, size_t size)
{
    for (size_t i = 0; i < size; i = next(i))
        if (block[i] != (char)(i * 7 + i / 251))
            return false;
    return true;
}

static bool is_zero(const char *block, size_t size)
{
    return size == 0 || (block[0] == 0 && memcmp(block, block + 1, size - 1) == 0);
}

static uint64_t live_blocks(void)
{
    struct tide_stats stats;
    ck_assert_int_eq(tide_stats(&stats), 0);
    return stats.tiny.live_blocks + stats.mid.live_blocks + stats.large.live_blocks;
}

static const size_t too_much[] = {(size_t)PTRDIFF_MAX + 1, SIZE_MAX - 4095, SIZE_MAX - 15,
                                  SIZE_MAX};

enum { TOO_MUCH = sizeof too_much / sizeof too_much[0] };

/* --- malloc.h ------------------------------------------------------------------ */

START_TEST(malloc_routes_by_size)
{
    void *block[BORDERS];
    for (int i = 0; i < BORDERS; i++) {
        block[i] = tide_malloc(border[i]);
        check_block(block[i], 16, border[i]);
        ck_assert_int_eq(tide_tier_of(block[i]), tier_for(border[i]));
    }
    ck_assert_uint_eq(live_blocks(), BORDERS);
    for (int i = 0; i < BORDERS; i++)
        tide_free(block[i]);
    ck_assert_uint_eq(live_blocks(), 0);
}
END_TEST

START_TEST(malloc_of_nothing_is_unique)
{
    void *one = tide_malloc(0), *two = tide_malloc(0);
    ck_assert(one != NULL && two != NULL && one != two);
}
END_TEST

START_TEST(impossible_sizes_give_null_and_enomem)
{
    char *kept = tide_malloc(3000);
    tide_heap_t *heap = tide_heap_create();
    fill(kept, 3000);
    errno = 0;
    for (int i = 0; i < TOO_MUCH; i++) {
        volatile size_t size = too_much[i];
        check_null(tide_malloc(size), ENOMEM);
        check_null(tide_calloc(1, size), ENOMEM);
        check_null(tide_realloc(kept, size), ENOMEM);
        check_null(tide_realloc(NULL, size), ENOMEM);
        check_null(tide_reallocarray(kept, size, 1), ENOMEM);
        check_null(tide_aligned_alloc(64, size), ENOMEM);
        check_null(tide_memalign(64, size), ENOMEM);
        check_null(tide_valloc(size), ENOMEM);
        check_null(tide_pvalloc(size), ENOMEM);
        check_null(tide_malloc_on(TIDE_TIER_LARGE, size), ENOMEM);
        check_null(tide_heap_malloc(heap, size), ENOMEM);
        check_null(tide_heap_calloc(heap, 1, size), ENOMEM);
        check_null(tide_heap_realloc(heap, kept, size), ENOMEM);
        check_null(tide_heap_aligned_alloc(heap, 64, size), ENOMEM);
    }
    ck_assert(is_filled(kept, 3000));
    ck_assert_int_eq(tide_tier_of(kept), TIDE_TIER_MID);
    ck_assert_uint_eq(live_blocks(), 1);
}
END_TEST

START_TEST(products_that_overflow_give_null_and_enomem)
{
    char *kept = tide_malloc(100);
    tide_heap_t *heap = tide_heap_create();
    volatile size_t half = (size_t)1 << 32, more = half + 1;
    fill(kept, 100);
    errno = 0;
    check_null(tide_calloc(half, half), ENOMEM);
    check_null(tide_calloc(more, more), ENOMEM); /* the product's low half is small */
    check_null(tide_reallocarray(kept, more, more), ENOMEM);
    check_null(tide_reallocarray(NULL, half, half), ENOMEM);
    check_null(tide_heap_calloc(heap, more, more), ENOMEM);
    ck_assert(is_filled(kept, 100));
}
END_TEST

START_TEST(calloc_zeroes_memory_that_was_used)
{
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < BORDERS; i++) {
            char *block = tide_malloc(border[i]);
            memset(block, 0xff, tide_malloc_usable_size(block));
            tide_free(block);
            block = tide_calloc(border[i], 1);
            ck_assert(is_zero(block, border[i]));
            check_block(block, 16, border[i]);
            tide_free(block);
        }
    }
    ck_assert_ptr_nonnull(tide_calloc(0, 100));
    ck_assert_ptr_nonnull(tide_calloc(100, 0));
}
END_TEST

START_TEST(realloc_keeps_the_contents)
{
    for (int from = 0; from < BORDERS; from++) {
        for (int to = 1; to < BORDERS; to++) {
            size_t less = border[from] < border[to] ? border[from] : border[to];
            char *block = tide_malloc(border[from]);
            fill(block, border[from]);
            block = tide_realloc(block, border[to]);
            ck_assert(is_filled(block, less));
            ck_assert_uint_ge(tide_malloc_usable_size(block), border[to]);
            tide_free(block);
        }
    }
    ck_assert_uint_eq(live_blocks(), 0);
}
END_TEST

START_TEST(realloc_at_its_ends)
{
    char *block = tide_realloc(NULL, 5000);
    check_block(block, 16, 5000);
    errno = 4321;
    ck_assert_ptr_null(tide_realloc(block, 0));
    ck_assert_uint_eq(live_blocks(), 0);
    block = tide_reallocarray(NULL, 50, 100);
    fill(block, 5000);
    block = tide_reallocarray(block, 1000, 100);
    ck_assert(is_filled(block, 5000));
    ck_assert_ptr_null(tide_reallocarray(block, 0, 100));
    ck_assert_uint_eq(live_blocks(), 0);
    ck_assert_int_eq(errno, 4321);
}
END_TEST

START_TEST(free_keeps_errno_and_ignores_null)
{
    errno = 4321;
    tide_free(NULL);
    tide_free_sized(NULL, 10);
    tide_free_aligned_sized(NULL, 64, 10);
    for (int i = 0; i < BORDERS; i++) {
        void *one = tide_malloc(border[i]), *two = tide_malloc(border[i]);
        void *three = tide_aligned_alloc(64, border[i]);
        tide_free(one);
        tide_free_sized(two, border[i]);
        tide_free_aligned_sized(three, 64, border[i]);
        ck_assert_int_eq(errno, 4321);
    }
    ck_assert_uint_eq(live_blocks(), 0);
}
END_TEST

START_TEST(alignment_is_kept)
{
    for (size_t align = 1; align <= 4 << 20; align *= 2) {
        for (int i = 0; i < BORDERS - 1; i++) {
            void *out = NULL, *block = tide_aligned_alloc(align, border[i]);
            check_block(block, align, border[i]);
            if (align > 16 || border[i] > 32768)
                ck_assert_int_ge(tide_tier_of(block), tier_for(border[i]));
            tide_free(block);
            block = tide_memalign(align, border[i]);
            check_block(block, align, border[i]);
            tide_free(block);
            if (align < sizeof(void *))
                continue;
            ck_assert_int_eq(tide_posix_memalign(&out, align, border[i]), 0);
            check_block(out, align, border[i]);
            tide_free(out);
        }
    }
    ck_assert_uint_eq(live_blocks(), 0);
}
END_TEST

START_TEST(bad_alignments_are_refused)
{
    static const size_t bad[] = {0, 3, 6, 24, 48, 100, SIZE_MAX, ((size_t)1 << 63) + 1};
    tide_heap_t *heap = tide_heap_create();
    void *out = &out;
    errno = 0;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        check_null(tide_aligned_alloc(bad[i], 100), EINVAL);
        check_null(tide_heap_aligned_alloc(heap, bad[i], 100), EINVAL);
        errno = 4321;
        ck_assert_int_eq(tide_posix_memalign(&out, bad[i], 100), EINVAL);
        ck_assert_int_eq(errno, 4321);
    }
    ck_assert_int_eq(tide_posix_memalign(&out, 4, 100), EINVAL); /* less than a pointer */
    ck_assert_int_eq(tide_posix_memalign(&out, 64, SIZE_MAX), ENOMEM);
    ck_assert_int_eq(tide_posix_memalign(&out, (size_t)1 << 63, 100), ENOMEM);
    ck_assert_int_eq(errno, 4321);
    ck_assert_ptr_eq(out, &out);
    check_null(tide_aligned_alloc((size_t)1 << 63, 100), ENOMEM);
    check_null(tide_heap_aligned_alloc(heap, (size_t)1 << 63, 100), ENOMEM);
}
END_TEST

START_TEST(memalign_rounds_the_alignment_up)
{
    check_block(tide_memalign(0, 100), 16, 100);
    check_block(tide_memalign(24, 100), 32, 100);
    check_block(tide_memalign(33, 5000), 64, 5000);
    check_block(tide_memalign(4097, 100000), 8192, 100000);
    errno = 0;
    ck_assert_ptr_null(tide_memalign(SIZE_MAX, 1));
    ck_assert(errno == EINVAL || errno == ENOMEM);
}
END_TEST

START_TEST(valloc_gives_whole_pages)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (int i = 0; i < BORDERS; i++) {
        check_block(tide_valloc(border[i]), page, border[i]);
        check_block(tide_pvalloc(border[i]), page, (border[i] + page - 1) / page * page);
    }
    check_block(tide_pvalloc(0), page, page);
}
END_TEST

START_TEST(usable_size_is_at_least_what_was_asked)
{
    ck_assert_uint_eq(tide_malloc_usable_size(NULL), 0);
    for (size_t size = 0; size <= 70000; size += size / 16 + 1) {
        void *block = tide_malloc(size);
        size_t usable = tide_malloc_usable_size(block);
        ck_assert_uint_ge(usable, size);
        ck_assert_uint_le(usable, size + size / 8 + 32);
        memset(block, 1, usable);
        ck_assert_ptr_eq(tide_realloc(block, usable), block); /* so it may be used */
        tide_free(block);
    }
}
END_TEST

START_TEST(malloc_on_obeys_the_tier)
{
    static const size_t most[] = {0, 2048, 32768, 8 << 20};
    for (int tier = TIDE_TIER_TINY; tier <= TIDE_TIER_LARGE; tier++) {
        for (int i = 0; i < BORDERS && border[i] <= most[tier]; i++) {
            void *block = tide_malloc_on((enum tide_tier)tier, border[i]);
            check_block(block, 16, border[i]);
            ck_assert_int_eq(tide_tier_of(block), tier);
            tide_free(block);
        }
    }
    errno = 0;
    check_null(tide_malloc_on(TIDE_TIER_TINY, 2049), EINVAL);
    check_null(tide_malloc_on(TIDE_TIER_MID, 32769), EINVAL);
    check_null(tide_malloc_on(TIDE_TIER_NONE, 1), EINVAL);
    check_null(tide_malloc_on((enum tide_tier)4, 1), EINVAL);
    ck_assert_uint_eq(live_blocks(), 0);
}
END_TEST

START_TEST(tier_of_never_faults)
{
    char on_stack = 0;
    const uintptr_t wild[] = {0,
                              1,
                              16,
                              0x1000,
                              (uintptr_t)1 << 47,
                              (uintptr_t)1 << 63,
                              UINTPTR_MAX,
                              UINTPTR_MAX - 15,
                              (uintptr_t)&on_stack,
                              (uintptr_t)border,
                              (uintptr_t)tier_for};
    errno = 4321;
    for (size_t i = 0; i < sizeof wild / sizeof wild[0]; i++)
        ck_assert_int_eq(tide_tier_of((void *)wild[i]), TIDE_TIER_NONE);
    for (int i = 0; i < BORDERS; i++) {
        char *block = tide_malloc(border[i]);
        size_t usable = tide_malloc_usable_size(block);
        for (size_t at = 1; at < usable; at += at) /* 1, 2, 4, ... into the block */
            ck_assert_int_eq(tide_tier_of(block + at), TIDE_TIER_NONE);
        tide_free(block);
        ck_assert_int_eq(tide_tier_of(block), TIDE_TIER_NONE);
    }
    ck_assert_int_eq(errno, 4321);
}
END_TEST

START_TEST(trim_gives_back_all_that_is_free)
{
    enum { BLOCKS = 400, SIZE = 20000, KEPT = 16 };
    static char *block[BLOCKS];
    struct tide_stats before, after;
    for (int i = 0; i < BLOCKS; i++)
        memset(block[i] = tide_malloc(SIZE), 1, SIZE);
    for (int i = 0; i < BLOCKS; i++)
        if (i % KEPT != 0)
            tide_free(block[i]);
    tide_stats(&before);
    ck_assert_int_eq(tide_malloc_trim(0), 1);
    tide_stats(&after);
    ck_assert_uint_gt(after.decommit_bytes, before.decommit_bytes);
    ck_assert_uint_eq(after.retained_bytes, 0);
    ck_assert_uint_eq(after.mid.cached_blocks, 0); /* this thread's magazines too */
    ck_assert_int_eq(tide_malloc_trim(0), 0);
    for (int i = 0; i < BLOCKS; i += KEPT)
        for (int at = 0; at < SIZE; at++)
            UNIT_HOLD(block[i][at] == 1, "block %d lost its contents", i);
}
END_TEST

START_TEST(trim_keeps_the_pad)
{
    enum { BLOCKS = 100, SIZE = 30000 };
    static char *block[BLOCKS];
    struct tide_stats stats;
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < BLOCKS; i++)
            memset(block[i] = tide_malloc(SIZE), 1, SIZE);
        for (int i = 0; i < BLOCKS; i++)
            tide_free(block[i]);
        tide_malloc_trim(round == 0 ? SIZE_MAX : 1 << 20);
        tide_stats(&stats);
        if (round == 0)
            ck_assert_uint_gt(stats.retained_bytes, 2 << 20);
        else
            ck_assert_uint_le(stats.retained_bytes, 1 << 20);
    }
}
END_TEST

static void misuse_of(long which)
{
    char *block = tide_malloc(100);
    if (which == 0)
        tide_free(block);
    tide_free(which == 0 ? block : block + 16);
}

START_TEST(misuse_ends_the_process_with_one_line)
{
    static const char *const expect[] = {"tidepool: double free: 0x",
                                         "tidepool: interior pointer: "};
    for (int i = 0; i < 2; i++) {
        struct unit_end end = unit_child(misuse_of, i);
        ck_assert_int_eq(end.code, 128 + SIGABRT);
        ck_assert_ptr_eq(strstr(end.text, expect[i]), end.text);
        ck_assert_ptr_eq(strchr(end.text, '\n'), end.text + end.len - 1);
    }
}
END_TEST

/* --- version.h, heap.h ------------------------------------------------------------- */

START_TEST(version_is_the_one_compiled_against)
{
    char text[32];
    snprintf(text, sizeof text, "%d.%d.%d", TIDE_VERSION_MAJOR, TIDE_VERSION_MINOR,
             TIDE_VERSION_PATCH);
    ck_assert_str_eq(TIDE_VERSION_STRING, text);
    ck_assert_str_eq(tide_version(), text);
}
END_TEST

START_TEST(a_heap_serves_like_malloc)
{
    tide_heap_t *heap = tide_heap_create();
    ck_assert_ptr_nonnull(heap);
    for (int i = 0; i < BORDERS; i++) {
        size_t size = border[i];
        char *block = tide_heap_malloc(heap, size);
        check_block(block, 16, size);
        ck_assert_int_eq(tide_tier_of(block), tier_for(size));
        tide_free(block);
        block = tide_heap_calloc(heap, size, 1);
        ck_assert(is_zero(block, size));
        fill(block, size);
        block = tide_heap_realloc(heap, block, 2 * size + 1);
        ck_assert(is_filled(block, size));
        ck_assert_ptr_null(tide_heap_realloc(heap, block, 0));
        check_block(tide_heap_realloc(heap, NULL, size), 16, size);
        check_block(tide_heap_aligned_alloc(heap, 8, size), 16, size);
        check_block(tide_heap_aligned_alloc(heap, 256, size), 256, size);
        check_block(tide_heap_aligned_alloc(heap, 1 << 21, size), 1 << 21, size);
    }
    ck_assert_uint_eq(live_blocks(), 4 * BORDERS);
    tide_heap_destroy(heap);
    ck_assert_uint_eq(live_blocks(), 0);
}
END_TEST

START_TEST(destroy_frees_this_heaps_blocks_only)
{
    tide_heap_t *heap = tide_heap_create(), *other = tide_heap_create();
    void *mine[BORDERS], *others[BORDERS], *threads[BORDERS];
    for (int i = 0; i < BORDERS; i++) {
        mine[i] = tide_heap_malloc(heap, border[i]);
        others[i] = tide_heap_malloc(other, border[i]);
        threads[i] = tide_malloc(border[i]);
        fill(others[i], border[i]);
        fill(threads[i], border[i]);
    }
    tide_heap_destroy(heap);
    tide_heap_destroy(NULL);
    ck_assert_uint_eq(live_blocks(), 2 * BORDERS);
    for (int i = 0; i < BORDERS; i++) {
        ck_assert_int_eq(tide_tier_of(mine[i]), TIDE_TIER_NONE);
        ck_assert(is_filled(others[i], border[i]) && is_filled(threads[i], border[i]));
        tide_free(threads[i]);
    }
    tide_heap_destroy(other);
    ck_assert_uint_eq(live_blocks(), 0);
}
END_TEST

START_TEST(heap_realloc_moves_a_block_of_another_heap)
{
    tide_heap_t *heap = tide_heap_create();
    for (int i = 1; i < BORDERS; i++) {
        char *block = tide_malloc(border[i]);
        fill(block, border[i]);
        block = tide_heap_realloc(heap, block, border[i]); /* it would fit where it is */
        ck_assert(is_filled(block, border[i]));
    }
    ck_assert_uint_eq(live_blocks(), BORDERS - 1);
    tide_heap_destroy(heap);
    ck_assert_uint_eq(live_blocks(), 0);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {malloc_routes_by_size,
                                  malloc_of_nothing_is_unique,
                                  impossible_sizes_give_null_and_enomem,
                                  products_that_overflow_give_null_and_enomem,
                                  calloc_zeroes_memory_that_was_used,
                                  realloc_keeps_the_contents,
                                  realloc_at_its_ends,
                                  free_keeps_errno_and_ignores_null,
                                  alignment_is_kept,
                                  bad_alignments_are_refused,
                                  memalign_rounds_the_alignment_up,
                                  valloc_gives_whole_pages,
                                  usable_size_is_at_least_what_was_asked,
                                  malloc_on_obeys_the_tier,
                                  tier_of_never_faults,
                                  trim_gives_back_all_that_is_free,
                                  trim_keeps_the_pad,
                                  misuse_ends_the_process_with_one_line,
                                  version_is_the_one_compiled_against,
                                  a_heap_serves_like_malloc,
                                  destroy_frees_this_heaps_blocks_only,
                                  heap_realloc_moves_a_block_of_another_heap,
                                  NULL};
    return unit_main("public", tests);
}
