/*
 * test_large_kept.c - which of the freed mappings a request gets, against a look at all of them.
 */
#include "pool_case.h"

#include "box/large.h"
#include "box/stat.h"

enum { OWNER = 7, KEPT = 60, LIVE = 40, STEPS = 20000 }; /* fewer than are kept at most */

struct mapping {
    char *base;
    size_t size;
};

static struct mapping kept[KEPT], live[LIVE];
static unsigned all_kept, all_live;

static void take_out(struct mapping *from, unsigned *all, unsigned at)
{
    from[at] = from[--*all];
}

/* The index of the smallest one that is aligned and wastes at most a quarter; -1: there is none. */
static int best(size_t size, size_t align)
{
    int found = -1;
    for (unsigned i = 0; i < all_kept; i++) {
        bool fits = kept[i].size >= size && kept[i].size - size <= size / 4 / 4096 * 4096;
        if (fits && (uintptr_t)kept[i].base % align == 0 &&
            (found < 0 || kept[i].size < kept[found].size))
            found = (int)i;
    }
    return found;
}

static void take(size_t size, size_t align)
{
    bool zeroed;
    int expected = best(size, align);
    char *p = tide_large_map(size, align, OWNER, &zeroed);
    ck_assert_ptr_nonnull(p);
    unsigned at = 0;
    while (at < all_kept && kept[at].base != p)
        at++;
    if (expected < 0)
        UNIT_HOLD(at == all_kept, "%zu got %zu bytes", size, kept[at].size);
    else
        UNIT_HOLD(at < all_kept && kept[at].size == kept[expected].size, "%zu, of %zu bytes", size,
                  kept[expected].size);
    struct tide_mapping mapping;
    UNIT_NEED(tide_large_find(p, &mapping));
    live[all_live++] = (struct mapping){p, mapping.size};
    if (at < all_kept)
        take_out(kept, &all_kept, at);
}

static void give(unsigned at)
{
    ck_assert_int_eq(tide_large_unmap(live[at].base), 0);
    kept[all_kept++] = live[at];
    take_out(live, &all_live, at);
}

/* From a page on: in small sizes the bins are coarse, and a quarter is less than a page. */
static size_t draw_size(uint64_t *seed)
{
    size_t most = (size_t)4096 << next_random(seed) % 10;
    return 4096 * (1 + next_random(seed) % (most / 4096));
}

START_TEST(a_request_gets_the_smallest_that_fits)
{
    uint64_t seed = 7;
    tide_segment_set_retain((size_t)1 << 30);
    for (int step = 0; step < STEPS; step++) {
        if (all_live == LIVE || (all_live > 0 && all_kept < KEPT && next_random(&seed) % 2 == 0)) {
            if (all_kept == KEPT)
                take_out(live, &all_live, 0); /* forgotten here alone */
            else
                give((unsigned)(next_random(&seed) % all_live));
        } else {
            take(draw_size(&seed), (size_t)4096 << (next_random(&seed) % 4 == 0 ? 3 : 0));
        }
    }
    ck_assert_uint_gt(all_kept, KEPT / 2);
}
END_TEST

/* A quarter is not too much, a page more is. */
START_TEST(a_quarter_may_be_wasted)
{
    static const size_t pages[] = {4, 64, 100, 128, 1000, 16384};
    tide_segment_set_retain((size_t)1 << 30);
    for (unsigned i = 0; i < sizeof pages / sizeof pages[0]; i++) {
        bool zeroed;
        size_t size = pages[i] * 4096, quarter = pages[i] / 4 * 4096;
        char *p = tide_large_map(size + quarter, 4096, OWNER, &zeroed);
        tide_large_unmap(p);
        char *less = tide_large_map((pages[i] - 1) / 5 * 4 * 4096, 4096, OWNER, &zeroed);
        ck_assert_ptr_ne(less, p);
        char *more = tide_large_map(size + quarter + 4096, 4096, OWNER, &zeroed);
        ck_assert_ptr_ne(more, p);
        ck_assert_ptr_eq(tide_large_map(size, 4096, OWNER, &zeroed), p);
    }
}
END_TEST

int main(void)
{
    TCase *group = tcase_create("kept");
    tcase_set_timeout(group, 60);
    tcase_add_test(group, a_request_gets_the_smallest_that_fits);
    tcase_add_test(group, a_quarter_may_be_wasted);
    return run_group("large_kept", group);
}
