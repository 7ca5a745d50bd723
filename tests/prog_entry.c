/*
 * prog_entry.c - what malloc, calloc, realloc and the aligned forms must do, to
 * the letter: results, contents, alignment, errno. See entry_case.h.
 */
#define _GNU_SOURCE
#include <unistd.h>

#include "entry_case.h"

static const size_t too_big[] = {(size_t)PTRDIFF_MAX + 1, SIZE_MAX - 4096, SIZE_MAX};
enum { TOO_BIG = sizeof too_big / sizeof *too_big };

#define EXPECT_NO_MEMORY(call) EXPECT_FAILURE(call, ENOMEM)

/* ---- malloc ---- */

static void every_block_is_aligned_to_16(void)
{
    for (size_t n = 0; n <= 65536; n++) {
        void *p = malloc(opaque(n));
        EXPECT(p != NULL && is_aligned(p, 16));
        EXPECT(malloc_usable_size(p) >= n);
        void *q = calloc(1, opaque(n));
        EXPECT(q != NULL && is_aligned(q, 16));
        q = realloc(q, opaque(n + 1));
        EXPECT(q != NULL && is_aligned(q, 16));
        free(q);
        free(p);
    }
}

static void malloc_zero_is_unique(void)
{
    enum { COUNT = 300 };
    static void *blocks[COUNT];
    for (int i = 0; i < COUNT; i++) {
        blocks[i] = i % 3 == 0   ? malloc(opaque(0))
                    : i % 3 == 1 ? calloc(opaque(0), 8)
                                 : aligned_alloc(64, opaque(0));
        EXPECT(blocks[i] != NULL);
        for (int j = 0; j < i; j++)
            EXPECT(blocks[i] != blocks[j]);
    }
    for (int i = 0; i < COUNT; i++)
        free(blocks[i]);
}

static void usable_bytes_are_writable(void)
{
    enum { COUNT = SIZES * 8 };
    static void *blocks[COUNT];
    static size_t usable[COUNT];
    EXPECT(malloc_usable_size(NULL) == 0);
    for (size_t i = 0; i < COUNT; i++) {
        size_t n = sizes[i % SIZES] + i / SIZES;
        blocks[i] = malloc(opaque(n));
        EXPECT(blocks[i] != NULL);
        usable[i] = malloc_usable_size(blocks[i]);
        EXPECT(usable[i] >= n);
        fill(blocks[i], usable[i], i);
    }
    for (size_t i = 0; i < COUNT; i++) {
        EXPECT(malloc_usable_size(blocks[i]) == usable[i]);
        EXPECT(holds(blocks[i], usable[i], i));
        free(blocks[i]);
    }
}

/* ---- Failure ---- */

static void too_big_gives_enomem(void)
{
    char *old = malloc(100);
    EXPECT(old != NULL);
    fill(old, 100, 1);
    for (int i = 0; i < TOO_BIG; i++) {
        size_t n = opaque(too_big[i]);
        EXPECT_NO_MEMORY(malloc(n));
        EXPECT_NO_MEMORY(calloc(1, n));
        EXPECT_NO_MEMORY(calloc(n, 1));
        EXPECT_NO_MEMORY(realloc(NULL, n));
        EXPECT_NO_MEMORY(realloc(old, n));
        EXPECT_NO_MEMORY(reallocarray(NULL, 1, n));
        EXPECT_NO_MEMORY(reallocarray(old, n, 1));
        EXPECT_NO_MEMORY(aligned_alloc(16, n));
        EXPECT_NO_MEMORY(aligned_alloc(4096, n));
        EXPECT_NO_MEMORY(memalign(64, n));
        EXPECT_NO_MEMORY(valloc(n));
        EXPECT_NO_MEMORY(pvalloc(n));
        EXPECT_NO_MEMORY(__libc_malloc(n));
        EXPECT_NO_MEMORY(__libc_calloc(n, 1));
        EXPECT_NO_MEMORY(__libc_realloc(old, n));
        EXPECT_NO_MEMORY(__libc_memalign(64, n));
        EXPECT_NO_MEMORY(__libc_valloc(n));
        EXPECT_NO_MEMORY(__libc_pvalloc(n));
        void *out = old;
        EXPECT(posix_memalign(&out, 64, n) == ENOMEM);
        EXPECT(out == old);
    }
    EXPECT(holds(old, 100, 1));
    free(old);
}

/* Sizes below the limit that no address space has room for. */
static void impossible_gives_enomem(void)
{
    char *old = malloc(5000);
    EXPECT(old != NULL);
    fill(old, 5000, 2);
    size_t n = opaque(PTRDIFF_MAX);
    for (int i = 0; i < 8; i++, n -= 4097) {
        EXPECT_NO_MEMORY(malloc(n));
        EXPECT_NO_MEMORY(calloc(n, 1));
        EXPECT_NO_MEMORY(realloc(old, n));
        EXPECT_NO_MEMORY(memalign(1 << 20, n));
        EXPECT_NO_MEMORY(pvalloc(n));
    }
    EXPECT_NO_MEMORY(memalign(opaque((size_t)1 << 62), 100));
    EXPECT_NO_MEMORY(aligned_alloc(opaque((size_t)1 << 63), 100));
    void *out = old;
    EXPECT(posix_memalign(&out, opaque((size_t)1 << 63), 100) == ENOMEM && out == old);
    EXPECT(holds(old, 5000, 2));
    free(old);
}

static void products_that_overflow_give_enomem(void)
{
    static const size_t pairs[][2] = {{SIZE_MAX / 2, 3},
                                      {SIZE_MAX, SIZE_MAX},
                                      {(size_t)1 << 32, (size_t)1 << 32},
                                      {((size_t)1 << 63) + 1, 2},
                                      {SIZE_MAX / 16 + 2, 16}};
    char *old = malloc(3000);
    EXPECT(old != NULL);
    fill(old, 3000, 3);
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        size_t a = opaque(pairs[i][0]), b = opaque(pairs[i][1]);
        EXPECT_NO_MEMORY(calloc(a, b));
        EXPECT_NO_MEMORY(calloc(b, a));
        EXPECT_NO_MEMORY(reallocarray(old, a, b));
        EXPECT_NO_MEMORY(reallocarray(NULL, b, a));
        EXPECT_NO_MEMORY(__libc_calloc(a, b));
    }
    EXPECT(holds(old, 3000, 3));
    free(old);
}

/* ---- errno ---- */

static void free_keeps_errno(void)
{
    static const int values[] = {0, EBADF, ENOMEM};
    for (size_t i = 0; i < SIZES + 2; i++) {
        size_t n = i < SIZES ? sizes[i] : i == SIZES ? 40000000 : 200000000;
        for (int v = 0; v < 3; v++) {
            void *p = malloc(opaque(n)), *q = aligned_alloc(4096, opaque(n));
            EXPECT(p != NULL && q != NULL);
            errno = values[v];
            free(p);
            EXPECT(errno_now() == values[v]);
            free(q);
            EXPECT(errno_now() == values[v]);
            free(NULL);
            EXPECT(errno_now() == values[v]);
        }
    }
}

static void success_keeps_errno(void)
{
    for (size_t i = 0; i < SIZES; i++) {
        errno = EXDEV;
        void *p = malloc(opaque(sizes[i]));
        EXPECT(errno_now() == EXDEV);
        p = realloc(p, opaque(sizes[i] * 2));
        EXPECT(errno_now() == EXDEV);
        void *q = calloc(opaque(sizes[i]), 1);
        EXPECT(errno_now() == EXDEV);
        EXPECT(malloc_usable_size(q) >= sizes[i] && errno_now() == EXDEV);
        free(q);
        free(p);
    }
}

/* ---- calloc ---- */

static void calloc_zeroes_dirty_memory(void)
{
    enum { COUNT = 6 };
    char *blocks[COUNT];
    for (size_t i = 0; i < SIZES; i++) {
        for (int round = 0; round < 4; round++) {
            for (int j = 0; j < COUNT; j++) {
                blocks[j] = malloc(opaque(sizes[i]));
                EXPECT(blocks[j] != NULL);
                memset(blocks[j], 0xa5, malloc_usable_size(blocks[j]));
            }
            for (int j = 0; j < COUNT; j++)
                free(blocks[j]);
            for (int j = 0; j < COUNT; j++) {
                blocks[j] = j % 2 ? calloc(opaque(sizes[i]), 1) : calloc(1, opaque(sizes[i]));
                EXPECT(blocks[j] != NULL && all_zero(blocks[j], sizes[i]));
                memset(blocks[j], 0x5a, sizes[i]);
            }
            for (int j = 0; j < COUNT; j++)
                free(blocks[j]);
        }
    }
}

static void calloc_zeroes_huge_dirty_memory(void)
{
    size_t n = (size_t)48 << 20;
    for (int round = 0; round < 3; round++) {
        char *p = malloc(opaque(n + (size_t)round * 4096));
        EXPECT(p != NULL);
        memset(p, 0xa5, n);
        free(p);
        p = calloc(opaque(n), 1);
        EXPECT(p != NULL && all_zero(p, n));
        free(p);
    }
}

/* ---- realloc ---- */

static void realloc_null_allocates(void)
{
    for (size_t i = 0; i < SIZES; i++) {
        char *p = realloc(NULL, opaque(sizes[i]));
        EXPECT(p != NULL);
        fill(p, sizes[i], i);
        EXPECT(holds(p, sizes[i], i));
        free(p);
    }
    void *p = realloc(NULL, opaque(0)), *q = reallocarray(NULL, opaque(0), 0);
    EXPECT(p != NULL && q != NULL && p != q);
    free(p);
    free(q);
}

static void realloc_zero_frees(void)
{
    for (size_t i = 0; i < SIZES; i++) {
        void *p = malloc(opaque(sizes[i])), *q = malloc(opaque(sizes[i]));
        uintptr_t at = (uintptr_t)p;
        EXPECT(p != NULL && q != NULL);
        errno = EXDEV;
        EXPECT(realloc(p, opaque(0)) == NULL);
        EXPECT(reallocarray(q, opaque(0), 8) == NULL);
        EXPECT(errno_now() == EXDEV);
        if (ours)
            EXPECT(tide_tier_of((void *)at) == TIDE_TIER_NONE);
    }
}

/* Every ordered pair of sizes, so every border between tiers both ways. */
static void realloc_keeps_contents(void)
{
    for (size_t i = 0; i < SIZES; i++) {
        for (size_t j = 0; j < SIZES; j++) {
            size_t from = sizes[i], to = sizes[j], both = from < to ? from : to;
            char *p = j % 2 ? malloc(opaque(from)) : aligned_alloc(256, opaque(from));
            EXPECT(p != NULL);
            fill(p, from, i);
            p = realloc(p, opaque(to));
            EXPECT(p != NULL && is_aligned(p, 16) && malloc_usable_size(p) >= to);
            EXPECT(holds(p, both, i));
            fill(p, to, j);
            p = reallocarray(p, opaque(from), 1);
            EXPECT(p != NULL && holds(p, both, j));
            free(p);
        }
    }
}

static void realloc_chain_keeps_contents(void)
{
    char *p = NULL;
    size_t have = 0, peak = (size_t)40 << 20;
    for (size_t n = 1; n < peak; n += n / 3 + 1) {
        p = realloc(p, opaque(n));
        EXPECT(p != NULL && holds(p, have, 9));
        fill(p, n, 9);
        have = n;
    }
    for (size_t n = have; n > 0; n -= n / 3 + 1) {
        p = realloc(p, opaque(n));
        EXPECT(p != NULL && holds(p, n, 9));
    }
    free(p);
}

/* ---- Alignment ---- */

static void *aligned_by(int how, size_t alignment, size_t size)
{
    void *p = NULL;
    switch (how) {
    case 0:
        return aligned_alloc(alignment, opaque(size));
    case 1:
        return memalign(alignment, opaque(size));
    default:
        return posix_memalign(&p, alignment, opaque(size)) == 0 ? p : NULL;
    }
}

static void aligned_blocks_are_aligned(void)
{
    for (size_t alignment = 16; alignment <= 1 << 20; alignment *= 2) {
        void *blocks[3][SIZES];
        for (size_t i = 0; i < SIZES; i++) {
            for (int how = 0; how < 3; how++) {
                void *p = aligned_by(how, alignment, sizes[i]);
                EXPECT(p != NULL && is_aligned(p, alignment));
                EXPECT(malloc_usable_size(p) >= sizes[i]);
                fill(p, sizes[i], i + (uintptr_t)how);
                blocks[how][i] = p;
            }
        }
        for (size_t i = 0; i < SIZES; i++) {
            for (int how = 0; how < 3; how++) {
                EXPECT(holds(blocks[how][i], sizes[i], i + (uintptr_t)how));
                free(blocks[how][i]);
            }
        }
    }
}

static void aligned_usable_bytes_are_writable(void)
{
    enum { COUNT = 64 };
    char *blocks[COUNT];
    for (size_t alignment = 32; alignment <= 65536; alignment *= 4) {
        for (size_t i = 0; i < COUNT; i++) {
            blocks[i] = aligned_alloc(alignment, opaque(sizes[i % 14] + i));
            EXPECT(blocks[i] != NULL);
            fill(blocks[i], malloc_usable_size(blocks[i]), i);
        }
        for (size_t i = 0; i < COUNT; i++) {
            EXPECT(holds(blocks[i], malloc_usable_size(blocks[i]), i));
            free(blocks[i]);
        }
    }
}

static void small_alignments_are_accepted(void)
{
    for (size_t alignment = 1; alignment <= 8; alignment *= 2) {
        void *p = aligned_alloc(opaque(alignment), 100), *q = memalign(opaque(alignment), 100);
        EXPECT(p != NULL && q != NULL && is_aligned(p, 16) && is_aligned(q, 16));
        free(p);
        free(q);
    }
    void *p = NULL;
    EXPECT(posix_memalign(&p, opaque(8), 100) == 0 && p != NULL && is_aligned(p, 16));
    free(p);
}

static void posix_memalign_refuses_bad_alignments(void)
{
    static const size_t bad[] = {0, 1, 2, 3, 4, 7, 15, 24, 40, 4097, SIZE_MAX};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        void *out = &out;
        errno = EXDEV;
        EXPECT(posix_memalign(&out, opaque(bad[i]), 100) == EINVAL);
        EXPECT(out == (void *)&out);
        EXPECT(errno_now() == EXDEV);
    }
}

static void posix_memalign_leaves_errno_alone(void)
{
    void *out = &out;
    errno = EXDEV;
    EXPECT(posix_memalign(&out, 64, opaque(SIZE_MAX / 2 + 1)) == ENOMEM);
    EXPECT(posix_memalign(&out, 4096, opaque(PTRDIFF_MAX)) == ENOMEM);
    EXPECT(out == (void *)&out);
    EXPECT(errno_now() == EXDEV);
}

static void memalign_rounds_bad_alignments_up(void)
{
    static const size_t pairs[][2] = {{0, 16},      {3, 16},        {15, 16}, {17, 32},
                                      {24, 32},     {33, 64},       {48, 64}, {100, 128},
                                      {5000, 8192}, {65537, 131072}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        for (size_t j = 0; j < 18; j++) {
            char *p = memalign(opaque(pairs[i][0]), opaque(sizes[j]));
            EXPECT(p != NULL && is_aligned(p, pairs[i][1]));
            fill(p, sizes[j], j);
            EXPECT(holds(p, sizes[j], j));
            free(p);
        }
    }
}

static void memalign_refuses_what_cannot_be_rounded(void)
{
    EXPECT_FAILURE(memalign(opaque(SIZE_MAX / 2 + 2), 100), EINVAL);
    EXPECT_FAILURE(memalign(opaque(SIZE_MAX), 100), EINVAL);
    EXPECT_FAILURE(memalign(opaque(SIZE_MAX / 2 + 1), 100), ENOMEM);
}

/* glibc up to 2.37 rounds up here too; C17 and later glibc refuse. */
static void aligned_alloc_refuses_bad_alignments(void)
{
    static const size_t bad[] = {0, 3, 15, 24, 48, 4097, SIZE_MAX};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        EXPECT_FAILURE(aligned_alloc(opaque(bad[i]), 96), EINVAL);
}

static void valloc_and_pvalloc_give_pages(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (size_t i = 0; i < SIZES; i++) {
        void *p = valloc(opaque(sizes[i])), *q = pvalloc(opaque(sizes[i]));
        size_t rounded = (sizes[i] + page - 1) & ~(page - 1);
        EXPECT(p != NULL && is_aligned(p, page) && malloc_usable_size(p) >= sizes[i]);
        EXPECT(q != NULL && is_aligned(q, page) && malloc_usable_size(q) >= rounded);
        fill(p, sizes[i], i);
        fill(q, rounded, i + 1);
        EXPECT(holds(p, sizes[i], i) && holds(q, rounded, i + 1));
        free(p);
        free(q);
    }
    void *p = pvalloc(opaque(0));
    EXPECT(p != NULL && is_aligned(p, page));
    free(p);
}

static const struct entry_case cases[] = {
    {CASE(BOTH, every_block_is_aligned_to_16)},
    {CASE(BOTH, malloc_zero_is_unique)},
    {CASE(BOTH, usable_bytes_are_writable)},
    {CASE(BOTH, too_big_gives_enomem)},
    {CASE(BOTH, impossible_gives_enomem)},
    {CASE(BOTH, products_that_overflow_give_enomem)},
    {CASE(BOTH, free_keeps_errno)},
    {CASE(BOTH, success_keeps_errno)},
    {CASE(BOTH, calloc_zeroes_dirty_memory)},
    {CASE(BOTH, calloc_zeroes_huge_dirty_memory)},
    {CASE(BOTH, realloc_null_allocates)},
    {CASE(BOTH, realloc_zero_frees)},
    {CASE(BOTH, realloc_keeps_contents)},
    {CASE(BOTH, realloc_chain_keeps_contents)},
    {CASE(BOTH, aligned_blocks_are_aligned)},
    {CASE(BOTH, aligned_usable_bytes_are_writable)},
    {CASE(BOTH, small_alignments_are_accepted)},
    {CASE(BOTH, posix_memalign_refuses_bad_alignments)},
    {CASE(OURS, posix_memalign_leaves_errno_alone)},
    {CASE(BOTH, memalign_rounds_bad_alignments_up)},
    {CASE(BOTH, memalign_refuses_what_cannot_be_rounded)},
    {CASE(OURS, aligned_alloc_refuses_bad_alignments)},
    {CASE(BOTH, valloc_and_pvalloc_give_pages)},
};

int main(int argc, char **argv)
{
    return entry_main(argc, argv, cases, sizeof cases / sizeof *cases);
}
