/*
 * test_page.c - the accounting of blocks: bits, lists, slack, and what goes back to the
 * system when blocks do.
 */
#include "pool_case.h"

#include <sys/syscall.h>

#include "box/key.h"
#include "box/stat.h"

enum { MANY = 4096 };

static struct tide_pages *pages;
static void *block[MANY];

/* A class of each kind, with small and with great blocks. */
static const struct {
    enum tide_kind kind;
    unsigned cls;
    const char *tier;
} some[] = {
    {TIDE_KIND_TINY, 0, "tiny"},  {TIDE_KIND_TINY, 39, "tiny"},  {TIDE_KIND_TINY, 44, "tiny"},
    {TIDE_KIND_MID, 0, "mid"},    {TIDE_KIND_MID, 40, "mid"},    {TIDE_KIND_MIDAL, 3, "mid"},
    {TIDE_KIND_MIDAL, 43, "mid"}, {TIDE_KIND_LARGE, 0, "large"}, {TIDE_KIND_LARGE, 39, "large"}};

enum { SOME = sizeof some / sizeof some[0] };

static void setup(void)
{
    tide_segment_set_retain((size_t)1 << 30);
    pages = new_owner();
}

static size_t segment_bytes(const struct tide_page *page)
{
    return (size_t)1 << tide_page_window(page)->shift;
}

START_TEST(a_block_is_where_its_index_says)
{
    for (enum tide_kind kind = 0; kind < TIDE_KINDS; kind++) {
        for (unsigned cls = 0; cls < tide_sizeclass_count(kind); cls++) {
            unsigned got = take_blocks(pages, kind, cls, block, 3, NULL);
            struct tide_page *page = page_of(block[0]);
            ck_assert_uint_ge(got, 1);
            ck_assert_uint_eq(page->stride, tide_sizeclass_stride(kind, cls));
            ck_assert_uint_eq(page->blocks, segment_bytes(page) / page->stride);
            for (unsigned i = 0; i < got; i++) {
                uintptr_t p = (uintptr_t)block[i];
                ck_assert_uint_eq(p - tide_page_base(page), i * page->stride + page->lead);
                ck_assert_int_eq(tide_page_index(page, p), (int)i);
                ck_assert(tide_page_is_out(page, i));
                ck_assert_int_eq(tide_page_index(page, p + 1), -1);
                ck_assert_int_eq(tide_page_index(page, p + page->stride / 2), -1);
                ck_assert_int_eq(tide_page_index(page, p - 1), -1);
                ck_assert_uint_eq(p % TIDE_ALIGN_MIN, 0);
                ck_assert_uint_eq(p % 32, kind == TIDE_KIND_MID ? 16 : p % 32);
                ck_assert_uint_le(p + tide_page_usable(page),
                                  tide_page_base(page) + segment_bytes(page));
            }
        }
    }
    MUST_BE_VALID(pages);
}
END_TEST

START_TEST(an_index_behind_the_last_block_is_none)
{
    take_blocks(pages, TIDE_KIND_TINY, tide_sizeclass_tiny(1792), block, 1, NULL);
    struct tide_page *page = page_of(block[0]);
    uintptr_t end = tide_page_base(page) + (uintptr_t)page->blocks * page->stride;
    ck_assert_int_eq(tide_page_index(page, end - page->stride), page->blocks - 1);
    ck_assert_int_eq(tide_page_index(page, end), -1);
    ck_assert_int_eq(tide_page_index(page, tide_page_base(page) - page->stride), -1);
}
END_TEST

START_TEST(refill_takes_up_to_a_page_and_then_another)
{
    struct tide_bin *bin = &pages->bin[TIDE_KIND_MIDAL][8];
    take_blocks(pages, TIDE_KIND_MIDAL, 8, block, 1, NULL);
    struct tide_page *first = page_of(block[0]);
    unsigned n = first->blocks;
    ck_assert_uint_eq(take_blocks(pages, TIDE_KIND_MIDAL, 8, block + 1, MANY, NULL), n - 1);
    ck_assert_ptr_eq(bin->full, first);
    ck_assert_ptr_null(bin->head);
    ck_assert_uint_eq(take_blocks(pages, TIDE_KIND_MIDAL, 8, block + n, n - 28, NULL), n - 28);
    MUST_BE_VALID(pages);
    ck_assert_ptr_ne(page_of(block[n]), first);
    ck_assert_uint_eq(bin->pages, 2);
    /* A full page that gets a block back goes behind those with more room. */
    give_blocks(pages, block + 5, 1);
    ck_assert_ptr_eq(bin->tail, first);
    ck_assert_uint_eq(take_blocks(pages, TIDE_KIND_MIDAL, 8, block + 2 * n - 28, MANY, NULL), 29);
    ck_assert_ptr_eq(block[2 * n], block[5]);
    MUST_BE_VALID(pages);
    ck_assert_uint_eq(bin->used, 2 * n);
    ck_assert_uint_eq(bin->taken, 2 * n + 1);
}
END_TEST

START_TEST(refill_touches_little_memory_of_fresh_blocks)
{
    ck_assert_uint_ge(take_blocks(pages, TIDE_KIND_MIDAL, 20, block, 40, NULL), 10);
    ck_assert_uint_eq(take_blocks(pages, TIDE_KIND_LARGE, 0, block, 40, NULL), 40);
    ck_assert_uint_eq(resident_blocks(), 0);
    take_blocks(pages, TIDE_KIND_TINY, 20, block, MANY, NULL);
    ck_assert_uint_le(resident_blocks(), 4096);
    ck_assert_uint_le(take_blocks(pages, TIDE_KIND_MID, 8, block, 40, NULL), 8);
    ck_assert_uint_eq(take_blocks(pages, TIDE_KIND_MID, TIDE_MID_CLASSES - 1, block, 40, NULL), 1);
    ck_assert_uint_le(resident_blocks(), 4096 + 4 * 4096 + 4096);
}
END_TEST

/* The words of blocks are there before malloc looks at them: of fresh ones, of such whose memory
 * went back, and of those of a segment that had other blocks before. */
START_TEST(blocks_of_mid_are_taken_with_the_word_of_free_ones)
{
    static const unsigned classes[] = {8, 8, 16, 8};
    tide_key_start();
    for (unsigned i = 0; i < 4; i++) {
        unsigned cls = classes[i], got = 0, n = 40;
        for (unsigned more; got < n; got += more) {
            more = take_blocks(pages, TIDE_KIND_MID, cls, block + got, n - got, NULL);
            for (unsigned k = got; k < got + more; k++)
                ck_assert_uint_eq(((const uint64_t *)block[k])[-1],
                                  (tide_key_word(pages->owner, cls) ^ tide_key.freed) ^
                                      (uintptr_t)block[k]);
        }
        for (unsigned k = 0; k < n; k++)
            memset(block[k], 0x55, 2000);
        give_blocks(pages, block + 1, n - 1);
        ck_assert_uint_gt(tide_page_purge(pages, page_of(block[0])), 0);
        if (i % 2)
            give_blocks(pages, block, 1);
    }
}
END_TEST

/* What was resident before can be taken without a bound. */
START_TEST(resident_blocks_are_taken_all_at_once)
{
    unsigned n = 60;
    take_many(pages, TIDE_KIND_MID, 8, block, n);
    struct tide_page *page = page_of(block[0]);
    give_blocks(pages, block, n);
    ck_assert_uint_eq(take_blocks(pages, TIDE_KIND_MID, 8, block, n, NULL), n);
    ck_assert_ptr_eq(page_of(block[0]), page);
}
END_TEST

/* Blocks come and go in random numbers and order: the books stay right. */
START_TEST(books_are_right_after_any_sequence)
{
    enum tide_kind kind = some[_i].kind;
    unsigned cls = some[_i].cls, have = 0;
    uint64_t seed = (uint64_t)_i + 1;
    for (int round = 0; round < 400; round++) {
        unsigned room = (unsigned)(next_random(&seed) % 300);
        if (next_random(&seed) % 2 && have + room < MANY) {
            have += take_blocks(pages, kind, cls, block + have, room + 1, NULL);
        } else {
            shuffle(block, have, &seed);
            unsigned less = (unsigned)tide_min(room, have);
            give_blocks(pages, block + have - less, less);
            have -= less;
        }
        ck_assert_uint_eq(pages->bin[kind][cls].used, have);
        MUST_BE_VALID(pages);
    }
    give_blocks(pages, block, have);
    ck_assert_uint_eq(pages_sum(pages, true), 0);
    ck_assert_uint_eq(pages->slack, 0);
    MUST_BE_VALID(pages);
}
END_TEST

START_TEST(no_block_is_out_twice)
{
    enum tide_kind kind = some[_i].kind;
    unsigned got = 0;
    for (unsigned more = 1; got + 300 < MANY && more > 0 && got < 1000; got += more)
        more = take_blocks(pages, kind, some[_i].cls, block + got, 300, NULL);
    for (unsigned i = 0; i < got; i++) {
        struct tide_page *page = page_of(block[i]);
        int index = tide_page_index(page, (uintptr_t)block[i]);
        ck_assert_int_ge(index, 0);
        give_blocks(pages, block + i, 1);
        if (atomic_load(&page->owner) != 0)
            ck_assert(!tide_page_is_out(page, (unsigned)index));
    }
    ck_assert_uint_eq(pages_sum(pages, false), 0);
}
END_TEST

/* --- double free ------------------------------------------------------------------- */

static void flush_named(void *blocks)
{
    tide_lock_take(&pages->lock);
    tide_page_flush(pages, blocks, 2, "realloc");
}

START_TEST(double_free_is_found_at_flush)
{
    unsigned got = take_blocks(pages, some[_i].kind, some[_i].cls, block, 3, NULL);
    struct tide_page *page = page_of(block[0]);
    size_t usable = tide_page_usable(page);
    /* in one flush, while the page lives on */
    void *twice[2] = {block[0], block[0]};
    if (got > 1) {
        must_die(flush_named, twice,
                 fault_line("double free", twice[0], "realloc", some[_i].tier, usable, pages->owner,
                            "free"));
    }
    /* after the page was given back */
    give_blocks(pages, block, got);
    must_die(flush_named, twice,
             fault_line("double free", twice[0], "realloc", some[_i].tier, usable, 0, "free"));
}
END_TEST

START_TEST(flush_of_what_is_not_out_or_not_ours_is_found)
{
    struct tide_pages *other = new_owner();
    take_blocks(pages, TIDE_KIND_TINY, 10, block, 1, NULL);
    take_blocks(other, TIDE_KIND_TINY, 10, block + 1, 1, NULL);
    size_t usable = tide_sizeclass_stride(TIDE_KIND_TINY, 10);
    void *never[2] = {(char *)block[0] + 5 * usable, NULL};
    must_die(flush_named, never,
             fault_line("double free", never[0], "realloc", "tiny", usable, pages->owner, "free"));
    must_die(flush_named, block + 1,
             fault_line("double free", block[1], "realloc", "tiny", usable, other->owner, "free"));
}
END_TEST

static void flush_with_warnings(void *unused)
{
    (void)unused;
    void *mixed[5] = {block[0], block[0], block[2], block[1], block[2]};
    tide_diag_policy(TIDE_MISUSE_WARN);
    give_blocks(pages, mixed, 5);
    APART(pages_fault(pages) == NULL);
    APART(pages_sum(pages, false) == 7);
    APART(tide_diag_misuses() == 2);
    APART(take_blocks(pages, TIDE_KIND_MID, 5, block, 3, NULL) == 3);
    APART(pages_fault(pages) == NULL);
}

START_TEST(a_reported_block_is_left_alone)
{
    char text[1024];
    take_many(pages, TIDE_KIND_MID, 5, block, 10);
    size_t usable = tide_page_usable(page_of(block[0]));
    size_t len = (size_t)snprintf(
        text, sizeof text, "%s",
        fault_line("double free", block[0], "free", "mid", usable, pages->owner, "free"));
    snprintf(text + len, sizeof text - len, "%s",
             fault_line("double free", block[2], "free", "mid", usable, pages->owner, "free"));
    must_live(flush_with_warnings, NULL, text);
}
END_TEST

static void report_nothing(void *p)
{
    tide_page_report(NULL, p, "invalid pointer", "free", "none");
}

START_TEST(report_without_a_page)
{
    void *p = (void *)0x1234;
    must_die(report_nothing, p, fault_line("invalid pointer", p, "free", "none", 0, 0, "none"));
}
END_TEST

/* --- canaries of the shadow variant --------------------------------------------------- */

static void flush_two(void *blocks)
{
    give_blocks(pages, blocks, 2);
}

static void flush_broken(void *unused)
{
    (void)unused;
    tide_diag_policy(TIDE_MISUSE_WARN);
    give_blocks(pages, block, 3);
    APART(pages_fault(pages) == NULL);
    APART(pages_sum(pages, false) == 2); /* the broken one and the one that stayed */
}

START_TEST(a_broken_canary_is_found_at_flush)
{
    use_header(true);
    take_blocks(pages, TIDE_KIND_MID, 8, block, 4, NULL);
    size_t usable = tide_page_usable(page_of(block[0]));
    uint64_t *canary = (uint64_t *)block[1] - 1;
    ck_assert_uint_eq(*canary, (uintptr_t)block[1] ^ tide_key.canary);
    for (int bit = 0; bit < 64; bit += 21) {
        *canary ^= (uint64_t)1 << bit;
        const char *line =
            fault_line("corrupt header", block[1], "free", "mid", usable, pages->owner, "free");
        must_die(flush_two, block, line);
        must_live(flush_broken, NULL, line);
        *canary ^= (uint64_t)1 << bit;
    }
    must_live(flush_two, block, "");
}
END_TEST

START_TEST(in_band_words_are_no_canaries)
{
    use_header(false);
    take_blocks(pages, TIDE_KIND_MID, 8, block, 4, NULL);
    ((uint64_t *)block[1])[-1] = 0;
    must_live(flush_two, block, "");
}
END_TEST

/* --- memory that goes back ------------------------------------------------------------ */

/* Takes all blocks of one page and fills them. */
static unsigned fill_page(enum tide_kind kind, unsigned cls, void **out)
{
    unsigned got = 0, blocks = 1;
    for (; got < blocks; blocks = page_of(out[0])->blocks) {
        unsigned more = take_blocks(pages, kind, cls, out + got, blocks - got, NULL);
        ck_assert_uint_gt(more, 0);
        for (; more > 0; more--, got++)
            memset(out[got], (int)(got % 251), tide_page_usable(page_of(out[got])));
    }
    return got;
}

START_TEST(purge_gives_free_blocks_back_and_spares_the_others)
{
    static const struct {
        enum tide_kind kind;
        unsigned cls;
    } kinds[] = {
        {TIDE_KIND_TINY, 31}, {TIDE_KIND_MID, 20}, {TIDE_KIND_MIDAL, 16}, {TIDE_KIND_LARGE, 3}};
    enum tide_kind kind = kinds[_i].kind;
    unsigned got = fill_page(kind, kinds[_i].cls, block), keep = 0;
    struct tide_page *page = page_of(block[0]);
    uintptr_t base = tide_page_base(page);
    for (unsigned i = 0; i < got; i++) {
        if (i % 8 == 3)
            block[keep++] = block[i];
        else
            give_blocks(pages, block + i, 1);
    }
    size_t before = resident_in(base, segment_bytes(page));
    ck_assert_uint_ge(before, (size_t)got * page->stride);
    ck_assert_uint_gt(tide_page_purge(pages, page), before / 3);
    size_t after = resident_in(base, segment_bytes(page));
    ck_assert_uint_le(after, before * 2 / 3);
    ck_assert_uint_le(after, page->slack + (size_t)page->used * page->stride + 2 * 4096);
    /* the marks of free blocks of Tiny are gone; those of Mid need none */
    ck_assert_uint_eq(page->limit, kind == TIDE_KIND_MID ? page->bump * page->stride : 0);
    MUST_BE_VALID(pages);
    ck_assert_uint_eq(tide_page_purge(pages, page), 0);
    for (unsigned i = 0; i < keep; i++)
        ck_assert(is_filled(block[i], (int)((i * 8 + 3) % 251), tide_page_usable(page)));
    /* the page serves on, and is as quick as before when it is full again */
    unsigned more = keep;
    while (page->used < page->blocks)
        more += take_blocks(pages, kind, kinds[_i].cls, block + more, page->blocks - more, NULL);
    ck_assert_uint_eq(more, got);
    ck_assert(page->limit != 0 || kind == TIDE_KIND_MIDAL || kind == TIDE_KIND_LARGE);
    MUST_BE_VALID(pages);
    give_blocks(pages, block, got);
    ck_assert_uint_eq(pages_sum(pages, true), 0);
}
END_TEST

/* One block of each page stays: their pages go back without a further call. */
START_TEST(free_memory_above_the_budget_goes_back_by_itself)
{
    enum { PAGES = 64 };
    static void *all[PAGES * 2048];
    enum tide_kind kind = _i ? TIDE_KIND_MID : TIDE_KIND_TINY;
    unsigned cls = _i ? tide_sizeclass_mid(4000) : tide_sizeclass_tiny(512), got = 0, less = 0;
    uint64_t seed = 7;
    tide_segment_set_retain(0);
    for (int i = 0; i < PAGES; i++)
        got += fill_page(kind, cls, all + got);
    for (unsigned i = 0; i < got; i++)
        if (tide_page_index(page_of(all[i]), (uintptr_t)all[i]) != 11)
            all[less++] = all[i];
    shuffle(all, less, &seed);
    size_t peak = resident_blocks();
    for (unsigned i = 0; i < less; i++)
        give_blocks(pages, all + i, 1);
    MUST_BE_VALID(pages);
    ck_assert_uint_eq(pages_sum(pages, false), PAGES);
    ck_assert_uint_eq(pages_sum(pages, true), PAGES);
    ck_assert_uint_le(pages->slack, tide_segment_retain_limit());
    ck_assert_uint_lt(resident_blocks(), peak / 2);
}
END_TEST

/* A page need not be nearly empty for that: its free blocks may never find another use. */
START_TEST(above_the_budget_half_a_page_goes_back)
{
    tide_segment_set_retain(0);
    unsigned n = 252;
    take_many(pages, TIDE_KIND_MID, 8, block, n);
    for (unsigned i = 0; i < n; i++)
        memset(block[i], 1, 2000);
    size_t before = resident_blocks();
    give_blocks(pages, block, n / 8 * 5);
    ck_assert_uint_lt(resident_blocks(), before / 4 * 3);
    MUST_BE_VALID(pages);
}
END_TEST

START_TEST(large_memory_is_zero_when_it_is_said_to_be)
{
    uint64_t seed = 3;
    unsigned have = 0, cleans = 0, dirties = 0;
    tide_segment_set_retain(_i ? 0 : 64 * MIB);
    for (int round = 0; round < 600; round++) {
        unsigned cls = (unsigned)(next_random(&seed) % 4);
        bool zeroed = false;
        if (next_random(&seed) % 2 && have < 60) {
            ck_assert_uint_eq(take_blocks(pages, TIDE_KIND_LARGE, cls, block + have, 1, &zeroed),
                              1);
            size_t size = tide_page_usable(page_of(block[have]));
            cleans += zeroed;
            dirties += !zeroed;
            ck_assert(!zeroed || is_filled(block[have], 0, size));
            memset(block[have++], 0xff, size);
        } else if (have > 0) {
            shuffle(block, have, &seed);
            give_blocks(pages, block + --have, 1);
        }
        if (next_random(&seed) % 16 == 0 && pages->bin[TIDE_KIND_LARGE][cls].head != NULL)
            tide_page_purge(pages, pages->bin[TIDE_KIND_LARGE][cls].head);
        MUST_BE_VALID(pages);
    }
    ck_assert_uint_gt(cleans, 10); /* both answers are given */
    ck_assert_uint_gt(dirties, 10);
}
END_TEST

START_TEST(large_memory_that_stays_is_not_said_to_be_zero)
{
    bool zeroed = true;
    take_blocks(pages, TIDE_KIND_LARGE, 5, block, 3, NULL);
    size_t size = tide_page_usable(page_of(block[1]));
    memset(block[1], 0x55, size);
    if (syscall(SYS_mlock, block[1], size) != 0)
        size = 0; /* not allowed here: then the memory does go */
    give_blocks(pages, block + 1, 1);
    tide_page_purge(pages, page_of(block[1]));
    ck_assert_uint_eq(take_blocks(pages, TIDE_KIND_LARGE, 5, block + 3, 1, &zeroed), 1);
    ck_assert_ptr_eq(block[3], block[1]);
    ck_assert(zeroed == (size == 0));
    MUST_BE_VALID(pages);
}
END_TEST

START_TEST(destroy_gives_all_pages_back)
{
    uint64_t retained = TIDE_STAT_GET(retained), used = TIDE_STAT_GET(used);
    for (int i = 0; i < SOME; i++) {
        unsigned got = take_blocks(pages, some[i].kind, some[i].cls, block, 200, NULL);
        give_blocks(pages, block, got / 3);
    }
    unsigned got = fill_page(TIDE_KIND_TINY, 30, block);
    struct tide_page *page = page_of(block[0]);
    size_t full = (size_t)got * page->stride;
    tide_lock_take(&pages->lock);
    tide_page_destroy(pages);
    tide_lock_drop(&pages->lock);
    MUST_BE_VALID(pages);
    ck_assert_uint_eq(pages_sum(pages, true), 0);
    ck_assert_uint_eq(pages_sum(pages, false), 0);
    ck_assert_uint_eq(pages->slack, 0);
    ck_assert_uint_eq(atomic_load(&page->owner), 0);
    ck_assert_uint_eq(TIDE_STAT_GET(used), used);
    ck_assert_uint_ge(TIDE_STAT_GET(retained), retained + full);
}
END_TEST

START_TEST(destroyed_pages_count_live_blocks_after_a_purge)
{
    unsigned got = 0, n = 0;
    for (int i = 0; i < 60; i++)
        got += n = fill_page(TIDE_KIND_MID, 30, block + got);
    for (unsigned i = 0; i < got; i += n) {
        struct tide_page *page = page_of(block[i]);
        give_blocks(pages, block + i, 1);
        ck_assert_uint_gt(tide_page_purge(pages, page), 0);
    }
    tide_segment_set_retain(0);
    size_t before = resident_blocks();
    tide_lock_take(&pages->lock);
    tide_page_destroy(pages);
    tide_lock_drop(&pages->lock);
    ck_assert_uint_lt(resident_blocks(), before / 10);
}
END_TEST

START_TEST(refill_gives_nothing_when_memory_is_out)
{
    enum tide_kind kind = some[_i].kind;
    unsigned cls = some[_i].cls, got = 0, most = 0;
    struct rlimit before = memory_ends();
    do { /* what is committed already */
        got = take_blocks(pages, kind, cls, block, MANY, NULL);
        most += got;
    } while (got > 0 && most < 1 << 20);
    memory_returns(before);
    ck_assert_uint_eq(got, 0);
    MUST_BE_VALID(pages);
    ck_assert_uint_ge(take_blocks(pages, kind, cls, block, 1, NULL), 1);
    give_blocks(pages, block, 1);
    ck_assert_uint_eq(pages_sum(pages, false), most);
    MUST_BE_VALID(pages);
}
END_TEST

/* --- owners ------------------------------------------------------------------------- */

START_TEST(owners_are_found_by_id_and_generation)
{
    struct tide_pages *other = new_owner();
    uint32_t next = (uint32_t)1 << TIDE_OWNER_BITS;
    ck_assert_ptr_eq(tide_page_find_owner(pages->owner), pages);
    ck_assert_ptr_eq(tide_page_find_owner(other->owner), other);
    ck_assert_ptr_null(tide_page_find_owner(0));
    ck_assert_ptr_null(tide_page_find_owner(pages->owner + next));
    ck_assert_ptr_null(tide_page_find_owner(pages->owner & (TIDE_OWNER_IDS - 1)));
    ck_assert_ptr_null(tide_page_find_owner(TIDE_OWNER_IDS - 1));
    ck_assert_ptr_null(tide_page_find_owner(UINT32_MAX));
}
END_TEST

int main(void)
{
    TCase *group = tcase_create("page");
    tcase_add_checked_fixture(group, setup, NULL);
    tcase_add_test(group, a_block_is_where_its_index_says);
    tcase_add_test(group, an_index_behind_the_last_block_is_none);
    tcase_add_test(group, refill_takes_up_to_a_page_and_then_another);
    tcase_add_test(group, refill_touches_little_memory_of_fresh_blocks);
    tcase_add_test(group, blocks_of_mid_are_taken_with_the_word_of_free_ones);
    tcase_add_test(group, resident_blocks_are_taken_all_at_once);
    tcase_add_loop_test(group, books_are_right_after_any_sequence, 0, SOME);
    tcase_add_loop_test(group, no_block_is_out_twice, 0, SOME);
    tcase_add_loop_test(group, double_free_is_found_at_flush, 0, SOME);
    tcase_add_test(group, flush_of_what_is_not_out_or_not_ours_is_found);
    tcase_add_test(group, a_reported_block_is_left_alone);
    tcase_add_test(group, report_without_a_page);
    tcase_add_test(group, a_broken_canary_is_found_at_flush);
    tcase_add_test(group, in_band_words_are_no_canaries);
    tcase_add_loop_test(group, purge_gives_free_blocks_back_and_spares_the_others, 0, TIDE_KINDS);
    tcase_add_loop_test(group, free_memory_above_the_budget_goes_back_by_itself, 0, 2);
    tcase_add_test(group, above_the_budget_half_a_page_goes_back);
    tcase_add_loop_test(group, large_memory_is_zero_when_it_is_said_to_be, 0, 2);
    tcase_add_test(group, large_memory_that_stays_is_not_said_to_be_zero);
    tcase_add_test(group, destroy_gives_all_pages_back);
    tcase_add_test(group, destroyed_pages_count_live_blocks_after_a_purge);
    tcase_add_loop_test(group, refill_gives_nothing_when_memory_is_out, 0, SOME);
    tcase_add_test(group, owners_are_found_by_id_and_generation);
    return run_group("page", group);
}
