/*
 * test_magazine.c - a thread's stacks of free blocks: their capacities, the budget, when
 * they fill and what they give back.
 */
#include "pool_case.h"

#include "box/stat.h"
#include "box/tiny.h"

enum { MANY = 20000, SMALL = 4 /* a Tiny slot */, GREAT = TIDE_TINY_ALL + 24 /* one of Mid */ };

static struct tide_heap *heap;
static struct tide_cache *cache;
static size_t first[TIDE_SLOTS]; /* capacities at birth */
static void *out[MANY];
static unsigned out_count;

static struct tide_magazine *magazine_of(unsigned slot)
{
    return tide_cache_magazine(cache, slot);
}

static size_t capacity(unsigned slot)
{
    return (size_t)(magazine_of(slot)->lim - magazine_of(slot)->base);
}

static size_t have(unsigned slot)
{
    return (size_t)(magazine_of(slot)->top - magazine_of(slot)->base);
}

static enum tide_kind kind_of(unsigned slot)
{
    return slot < TIDE_TINY_ALL ? TIDE_KIND_TINY : TIDE_KIND_MID;
}

static unsigned class_of(unsigned slot)
{
    return slot < TIDE_TINY_ALL ? slot : slot - TIDE_TINY_ALL;
}

static size_t stride_of(unsigned slot)
{
    return tide_sizeclass_stride(kind_of(slot), class_of(slot));
}

static void setup(void)
{
    tide_segment_set_retain((size_t)1 << 30);
    heap = tide_heap_birth();
    ck_assert_ptr_nonnull(heap);
    cache = &heap->cache;
    for (unsigned slot = 0; slot < TIDE_SLOTS; slot++)
        first[slot] = capacity(slot);
}

/* What is wrong with the cache, or NULL. */
static const char *cache_fault(void)
{
    size_t held = 0, waiting = 0;
    for (unsigned slot = 0; slot < TIDE_SLOTS; slot++) {
        const struct tide_magazine *magazine = magazine_of(slot);
        if (magazine->base > magazine->top || magazine->top > magazine->lim)
            return "top is not between base and lim";
        if (slot + 1 < TIDE_SLOTS && magazine->lim > magazine_of(slot + 1)->base)
            return "a magazine reaches into the next one";
        if (capacity(slot) < first[slot])
            return "less than the first capacity";
        held += (capacity(slot) - first[slot]) * stride_of(slot);
        waiting += have(slot);
        for (void **at = magazine->base; at < magazine->top; at++)
            if (page_of(*at)->cls != class_of(slot) || page_of(*at)->kind != kind_of(slot))
                return "a block of another class";
    }
    if (held != cache->held)
        return "held is not what the capacities have grown";
    if (pages_sum(&heap->pages, false) != waiting + out_count)
        return "blocks that are nowhere";
    return pages_fault(&heap->pages);
}

#define CACHE_MUST_BE_VALID() ck_assert_ptr_null(cache_fault())

static void *take_from(unsigned slot)
{
    struct tide_magazine *magazine = magazine_of(slot);
    if (magazine->top == magazine->base)
        ck_assert(tide_magazine_fill(cache, slot));
    return *--magazine->top;
}

static void give_to(unsigned slot, void *p)
{
    struct tide_magazine *magazine = magazine_of(slot);
    if (magazine->top == magazine->lim)
        tide_magazine_spill(cache, slot);
    ck_assert(magazine->top < magazine->lim);
    *magazine->top++ = p;
}

/* Only takes, blocks that were out before, until the capacity does not grow any more. */
static size_t grow(unsigned slot)
{
    static void *odd[600], *even[600];
    unsigned before = out_count;
    for (unsigned i = 0; i < 600; i++) {
        take_many(&heap->pages, kind_of(slot), class_of(slot), &odd[i], 1);
        take_many(&heap->pages, kind_of(slot), class_of(slot), &even[i], 1);
    }
    give_blocks(&heap->pages, even, 600);
    for (size_t trips = 0; trips < 12; trips++) {
        while (have(slot) > 0)
            out[out_count++] = take_from(slot);
        ck_assert(tide_magazine_fill(cache, slot));
    }
    give_blocks(&heap->pages, out + before, out_count - before);
    give_blocks(&heap->pages, odd, 600);
    out_count = before;
    return capacity(slot);
}

START_TEST(a_new_cache_is_empty_and_small)
{
    size_t places = 0;
    for (unsigned slot = 0; slot < TIDE_SLOTS; slot++) {
        ck_assert_uint_eq(have(slot), 0);
        ck_assert_uint_ge(capacity(slot), 2);
        ck_assert_uint_le(capacity(slot), 8);
        places += capacity(slot);
    }
    ck_assert_uint_le(places, tide_magazine_places());
    ck_assert_uint_eq(cache->held, 0);
    CACHE_MUST_BE_VALID();
}
END_TEST

START_TEST(slots_follow_kind_and_class)
{
    for (unsigned slot = 0; slot < TIDE_SLOTS; slot++) {
        ck_assert_uint_eq(tide_slot_of(kind_of(slot), class_of(slot)), slot);
        ck_assert_ptr_eq(magazine_of(slot), &cache->slot[slot]);
    }
}
END_TEST

START_TEST(constant_caches_are_empty_and_full_at_once)
{
    const struct tide_cache *constant[] = {&tide_cache_empty, &tide_cache_busy, &tide_cache_slow,
                                           &tide_cache_dead};
    for (int i = 0; i < 4; i++) {
        ck_assert_ptr_null(tide_page_find_owner(constant[i]->owner));
        for (unsigned slot = 0; slot < TIDE_SLOTS; slot++) {
            ck_assert_ptr_eq(constant[i]->slot[slot].top, constant[i]->slot[slot].base);
            ck_assert_ptr_eq(constant[i]->slot[slot].top, constant[i]->slot[slot].lim);
        }
    }
    const struct tide_cache *before = tide_self;
    tide_self_set(&tide_cache_slow);
    ck_assert_ptr_eq(tide_self, &tide_cache_slow);
    tide_self_set(before);
}
END_TEST

START_TEST(fill_brings_half_the_capacity_lowest_address_first)
{
    for (unsigned slot = 0; slot < TIDE_SLOTS; slot++) {
        ck_assert(tide_magazine_fill(cache, slot));
        ck_assert_uint_eq(capacity(slot), first[slot]);
        ck_assert_uint_ge(have(slot), 1);
        ck_assert_uint_le(have(slot), (first[slot] + 1) / 2);
        for (size_t i = 1; i < have(slot); i++)
            ck_assert(magazine_of(slot)->base[i - 1] > magazine_of(slot)->base[i]);
    }
    CACHE_MUST_BE_VALID();
}
END_TEST

START_TEST(capacity_grows_with_use_up_to_a_bound)
{
    tide_magazine_set_budget((size_t)1 << 30);
    for (unsigned slot = 0; slot < TIDE_SLOTS; slot++) {
        size_t most = grow(slot);
        ck_assert_uint_ge(most, 16);
        ck_assert_uint_le(most, 256);
        ck_assert_uint_le(most * stride_of(slot),
                          (slot < TIDE_TINY_ALIGNED ? 128 * KIB : 2048 * KIB) +
                              16 * stride_of(slot));
        CACHE_MUST_BE_VALID();
    }
    size_t places = 0;
    for (unsigned slot = 0; slot < TIDE_SLOTS; slot++)
        places += capacity(slot);
    ck_assert_uint_eq(places, tide_magazine_places());
}
END_TEST

/* A second fill in a row doubles the capacity; so does the first spill after a fill. */
START_TEST(a_magazine_grows_by_the_second_trip)
{
    ck_assert(tide_magazine_fill(cache, SMALL));
    size_t cap = capacity(SMALL);
    while (have(SMALL) > 0)
        out[out_count++] = take_from(SMALL);
    ck_assert(tide_magazine_fill(cache, SMALL));
    ck_assert_uint_eq(capacity(SMALL), 2 * cap);
    while (out_count < 100)
        out_count += take_blocks(&heap->pages, TIDE_KIND_TINY, SMALL, out + out_count, 50, NULL);
    while (have(SMALL) < 2 * cap)
        give_to(SMALL, out[--out_count]);
    give_to(SMALL, out[--out_count]);
    ck_assert_uint_eq(capacity(SMALL), 4 * cap);
    ck_assert_uint_eq(have(SMALL), 2 * cap + 1);
    CACHE_MUST_BE_VALID();
}
END_TEST

/* Blocks only come: the magazine does not grow for ever and gives the oldest ones back. */
START_TEST(spills_in_a_row_give_blocks_back)
{
    take_many(&heap->pages, TIDE_KIND_MID, class_of(GREAT), out, 300);
    out_count = 300;
    void *oldest = out[out_count - 1];
    while (have(GREAT) < capacity(GREAT))
        give_to(GREAT, out[--out_count]);
    for (int trip = 0; trip < 4; trip++) { /* three may come by chance: they make room */
        size_t cap = capacity(GREAT);
        tide_magazine_spill(cache, GREAT);
        ck_assert_uint_eq(capacity(GREAT), 2 * cap);
        while (have(GREAT) < capacity(GREAT))
            give_to(GREAT, out[--out_count]);
        CACHE_MUST_BE_VALID();
    }
    for (int trip = 0; trip < 10; trip++) {
        size_t cap = capacity(GREAT);
        tide_magazine_spill(cache, GREAT);
        ck_assert_uint_eq(capacity(GREAT), tide_max(cap / 2, first[GREAT]));
        ck_assert_uint_le(have(GREAT), cap / 4);
        while (have(GREAT) < capacity(GREAT))
            give_to(GREAT, out[--out_count]);
        CACHE_MUST_BE_VALID();
    }
    ck_assert(!tide_page_is_out(page_of(oldest),
                                (unsigned)tide_page_index(page_of(oldest), (uintptr_t)oldest)));
}
END_TEST

START_TEST(the_budget_bounds_what_is_held)
{
    size_t budget = 256 * KIB;
    tide_magazine_set_budget(budget);
    for (unsigned slot = 0; slot < TIDE_SLOTS; slot++) {
        grow(slot);
        ck_assert_uint_le(cache->held, budget);
        CACHE_MUST_BE_VALID();
    }
    ck_assert_uint_gt(cache->held, budget / 2);
}
END_TEST

/* Many threads have no more room together than a few. */
START_TEST(threads_share_the_budget)
{
    tide_magazine_set_budget(MIB);
    tide_magazine_users(15); /* and this one */
    for (unsigned slot = 0; slot < TIDE_SLOTS; slot++)
        grow(slot);
    ck_assert_uint_le(cache->held, 256 * KIB);
    ck_assert_uint_gt(cache->held, 128 * KIB);
    tide_magazine_users(-15);
    grow(GREAT);
    for (unsigned slot = 0; slot < TIDE_SLOTS; slot++)
        grow(slot);
    ck_assert_uint_gt(cache->held, 512 * KIB);
    CACHE_MUST_BE_VALID();
}
END_TEST

START_TEST(a_busy_class_takes_room_from_an_idle_one)
{
    tide_magazine_set_budget(200 * KIB);
    size_t before = grow(GREAT), waiting = have(GREAT);
    ck_assert_uint_gt(before, first[GREAT]);
    ck_assert_uint_gt(waiting, first[GREAT]);
    for (unsigned slot = GREAT + 1; slot < GREAT + 6; slot++)
        grow(slot);
    ck_assert_uint_lt(capacity(GREAT), before);
    ck_assert_uint_lt(have(GREAT), waiting);
    ck_assert_uint_ge(capacity(GREAT), first[GREAT]);
    CACHE_MUST_BE_VALID();
}
END_TEST

/* Takes all that is there and fills the magazine again. */
static void use(unsigned slot)
{
    unsigned before = out_count;
    while (have(slot) > 0)
        out[out_count++] = take_from(slot);
    ck_assert(tide_magazine_fill(cache, slot));
    give_blocks(&heap->pages, out + before, out_count - before);
    out_count = before;
}

START_TEST(a_full_grown_magazine_in_use_is_spared)
{
    tide_magazine_set_budget((size_t)1 << 30);
    size_t most = grow(GREAT);
    ck_assert_uint_eq(grow(GREAT), most);
    tide_magazine_set_budget(cache->held + 2 * stride_of(GREAT));
    for (int trip = 0; trip < 50; trip++) {
        use(GREAT);
        use(GREAT + 1);
        ck_assert_uint_eq(capacity(GREAT), most);
    }
    for (int trip = 0; trip < 50; trip++)
        use(GREAT + 1);
    ck_assert_uint_lt(capacity(GREAT), most); /* idle now */
    CACHE_MUST_BE_VALID();
}
END_TEST

/* The thread freed most of what it had, and much is free: what its magazines keep goes home.
 * Where it has what it always has, they keep it. */
START_TEST(magazines_are_emptied_when_memory_ebbs)
{
    enum { SLOTS = 12 };
    bool ebbs = _i == 1;
    unsigned kept = 0;
    for (unsigned i = 1; i <= SLOTS; i++)
        ck_assert(tide_magazine_fill(cache, GREAT + i));
    for (int i = 0; i < 1500; i++)
        out[out_count++] = take_from(SMALL);
    tide_segment_set_retain(4 << 20);
    tide_stat_touch(512 << 20);
    TIDE_STAT_ADD(slack, ebbs || _i == 2 ? 64 << 20 : 0);
    heap->pages.crest = _i == 2 ? heap->pages.live : (uint64_t)256 << 20;
    while (out_count > 0)
        give_to(SMALL, out[--out_count]);
    for (unsigned i = 1; i <= SLOTS; i++)
        kept += have(GREAT + i) > 0;
    ck_assert_uint_eq(kept, ebbs ? 0 : SLOTS);
    CACHE_MUST_BE_VALID();
    if (ebbs) /* each time, it needs more */
        ck_assert_uint_lt(heap->pages.crest, 256 << 20);
}
END_TEST

START_TEST(a_sweep_empties_the_shelf_too)
{
    void *p;
    ck_assert_uint_eq(take_blocks(&heap->pages, TIDE_KIND_LARGE, 0, &p, 1, NULL), 1);
    struct tide_page *page = page_of(p);
    unsigned index = (unsigned)tide_page_index(page, (uintptr_t)p);
    ck_assert(tide_shelf_put(cache->shelf, page, index, p));
    tide_magazine_sweep(cache);
    ck_assert_uint_eq(tide_shelf_count(cache->shelf, TIDE_KIND_LARGE, 0), 1);
    tide_stat_touch((uint64_t)32 << 30);
    TIDE_STAT_ADD(slack, (uint64_t)16 << 30);
    heap->pages.crest = (uint64_t)256 << 20;
    tide_magazine_sweep(cache);
    ck_assert_uint_eq(tide_shelf_count(cache->shelf, TIDE_KIND_LARGE, 0), 0);
}
END_TEST

START_TEST(the_option_cache_is_the_budget)
{
    ck_assert_int_eq(tide_option_set("cache", "64K"), 0);
    for (unsigned slot = 0; slot < TIDE_SLOTS; slot++)
        grow(slot);
    ck_assert_uint_le(cache->held, 64 * KIB);
    ck_assert_int_eq(tide_option_set("cache", "1M"), 0);
    grow(GREAT);
    ck_assert_uint_gt(cache->held, 64 * KIB);
    ck_assert_uint_le(cache->held, MIB);
}
END_TEST

START_TEST(empty_gives_everything_back)
{
    for (unsigned slot = 0; slot < TIDE_SLOTS; slot++)
        grow(slot);
    out[out_count++] = take_from(SMALL);
    tide_magazine_empty(cache);
    for (unsigned slot = 0; slot < TIDE_SLOTS; slot++) {
        ck_assert_uint_eq(have(slot), 0);
        ck_assert_uint_eq(capacity(slot), first[slot]);
    }
    ck_assert_uint_eq(pages_sum(&heap->pages, false), 1);
    CACHE_MUST_BE_VALID();
    tide_magazine_empty(cache);
    give_to(SMALL, out[--out_count]);
    tide_magazine_empty(cache);
    ck_assert_uint_eq(pages_sum(&heap->pages, true), 0);
}
END_TEST

START_TEST(fill_drains_the_inbox_first)
{
    struct tide_outbox outbox = {{NULL}};
    void *p = take_from(SMALL), *q = take_from(GREAT);
    out_count = 2;
    put_remote(&outbox, p);
    put_remote(&outbox, q);
    tide_remote_flush(&outbox);
    ck_assert_uint_eq(pages_sum(&heap->pages, false), have(SMALL) + have(GREAT) + 2);
    ck_assert(tide_magazine_fill(cache, SMALL + 1));
    out_count = 0;
    CACHE_MUST_BE_VALID();
}
END_TEST

START_TEST(fill_fails_when_memory_is_out)
{
    struct rlimit before = memory_ends();
    while (out_count < MANY && (have(GREAT) > 0 || tide_magazine_fill(cache, GREAT)))
        out[out_count++] = *--magazine_of(GREAT)->top;
    bool filled = tide_magazine_fill(cache, GREAT);
    memory_returns(before);
    ck_assert_uint_lt(out_count, MANY);
    ck_assert(!filled);
    ck_assert_uint_eq(have(GREAT), 0);
    CACHE_MUST_BE_VALID();
    ck_assert(tide_magazine_fill(cache, GREAT));
}
END_TEST

/* Where Mid is a model of far memory, its magazines are apart, and the ones that the fast paths see
 * have neither blocks nor room. Where its words are in the shadow table, those of Tiny are as well,
 * and the arena looks empty. Loop index: shadow. */
START_TEST(deep_magazines_hide_from_the_fast_paths)
{
    struct tide_source source;
    unsigned first = _i ? 0 : TIDE_TINY_ALL;
    ck_assert_int_eq(tide_source_open(&source, "near,delay=10"), 0);
    tide_segment_start(&source, _i);
    tide_self_set(&tide_cache_empty);
    setup();
    ck_assert_ptr_nonnull(cache->deep);
    for (unsigned slot = 0; slot < TIDE_SLOTS; slot++)
        ck_assert_ptr_eq(magazine_of(slot),
                         slot < first ? &cache->slot[slot] : &cache->deep[slot].magazine);
    grow(GREAT);
    grow(SMALL);
    CACHE_MUST_BE_VALID();
    ck_assert_uint_gt(have(GREAT), 0);
    ck_assert_uint_gt(have(SMALL), 0);
    for (unsigned slot = first; slot < TIDE_SLOTS; slot++) {
        ck_assert_ptr_null(cache->slot[slot].top);
        ck_assert_ptr_null(cache->slot[slot].base);
        ck_assert_ptr_null(cache->slot[slot].lim);
    }
    ck_assert_uint_eq(_i ? cache->arena_size : cache->arena_deep, 0);
    ck_assert_uint_eq(_i ? cache->arena_deep : cache->arena_size, tide_arena.size);
    tide_magazine_empty(cache);
    ck_assert_uint_eq(pages_sum(&heap->pages, true), 0);
}
END_TEST

/* Random takes and gives over all slots: the cache stays valid, no block gets lost and
 * none is in two places. */
START_TEST(no_block_is_lost_or_doubled)
{
    static uint8_t slot_of_out[MANY];
    uint64_t seed = 11;
    tide_magazine_set_budget(_i ? 512 * KIB : 64 * MIB);
    for (int step = 0; step < 60000; step++) {
        unsigned slot = (unsigned)(next_random(&seed) % 12) * 7;
        bool more = next_random(&seed) % 1000 < (step / 10000 % 2 ? 300 : 700);
        if (more && out_count < MANY) {
            slot_of_out[out_count] = (uint8_t)slot;
            out[out_count++] = take_from(slot);
            ((uint64_t *)out[out_count - 1])[0] = out_count;
        } else if (out_count > 0) {
            ck_assert_uint_eq(((uint64_t *)out[out_count - 1])[0], out_count);
            --out_count;
            give_to(slot_of_out[out_count], out[out_count]);
        }
        if (step % 5000 == 0)
            CACHE_MUST_BE_VALID();
    }
    while (out_count > 0) {
        out_count--;
        give_to(slot_of_out[out_count], out[out_count]);
    }
    CACHE_MUST_BE_VALID();
    tide_magazine_empty(cache);
    ck_assert_uint_eq(pages_sum(&heap->pages, true), 0);
}
END_TEST

int main(void)
{
    TCase *group = tcase_create("magazine");
    tcase_add_checked_fixture(group, setup, NULL);
    tcase_add_test(group, a_new_cache_is_empty_and_small);
    tcase_add_test(group, slots_follow_kind_and_class);
    tcase_add_test(group, constant_caches_are_empty_and_full_at_once);
    tcase_add_test(group, fill_brings_half_the_capacity_lowest_address_first);
    tcase_add_test(group, capacity_grows_with_use_up_to_a_bound);
    tcase_add_test(group, a_magazine_grows_by_the_second_trip);
    tcase_add_test(group, spills_in_a_row_give_blocks_back);
    tcase_add_test(group, the_budget_bounds_what_is_held);
    tcase_add_test(group, a_busy_class_takes_room_from_an_idle_one);
    tcase_add_test(group, threads_share_the_budget);
    tcase_add_test(group, a_full_grown_magazine_in_use_is_spared);
    tcase_add_loop_test(group, magazines_are_emptied_when_memory_ebbs, 0, 3);
    tcase_add_test(group, a_sweep_empties_the_shelf_too);
    tcase_add_test(group, the_option_cache_is_the_budget);
    tcase_add_test(group, empty_gives_everything_back);
    tcase_add_test(group, fill_drains_the_inbox_first);
    tcase_add_test(group, fill_fails_when_memory_is_out);
    tcase_add_loop_test(group, deep_magazines_hide_from_the_fast_paths, 0, 2);
    tcase_add_loop_test(group, no_block_is_lost_or_doubled, 0, 2);
    return run_group("magazine", group);
}
