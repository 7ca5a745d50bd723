/* test_shelf.c - the free blocks of aligned Mid and of Large that a thread keeps. */
#include "pool_case.h"

#include <pthread.h>

#include "box/route.h"
#include "box/shelf.h"

static const size_t sizes[] = {3000, 30000, 40000, 65536, 200000};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

/* Below 32 KiB with an alignment: aligned Mid; above: Large. */
static void *take(size_t size)
{
    void *p = tide_aligned_alloc(64, size);
    ck_assert_ptr_nonnull(p);
    return memset(p, 1, size);
}

static struct tide_shelf *mine(void)
{
    return tide_self->shelf;
}

static unsigned count_of(const void *p)
{
    const struct tide_page *page = page_of(p);
    return tide_shelf_count(mine(), (enum tide_kind)page->kind, page->cls);
}

static bool is_here(const void *p)
{
    struct tide_page *page = page_of(p);
    return tide_shelf_holds(page, (unsigned)tide_page_index(page, (uintptr_t)p));
}

/* What came with a block from the pages goes home. */
static void clear_shelf(void)
{
    tide_route_flush_thread();
    ck_assert_uint_eq(mine()->bytes, 0);
}

/* A fork may come between the count of a row and the bytes: the child begins anew. */
START_TEST(an_empty_shelf_has_no_bytes)
{
    tide_free(take(sizes[0]));
    mine()->bytes += 100000;
    clear_shelf();
}
END_TEST

START_TEST(a_freed_block_is_the_next_one)
{
    size_t size = sizes[_i];
    void *p = take(size);
    struct tide_page *page = page_of(p);
    clear_shelf();
    uint64_t taken = tide_self->pages->bin[page->kind][page->cls].taken;
    for (int i = 0; i < 100; i++) {
        tide_free(p);
        ck_assert_uint_eq(count_of(p), 1);
        ck_assert(is_here(p));
        ck_assert_uint_eq(mine()->bytes, page->stride);
        ck_assert_ptr_eq(take(size), p);
        ck_assert(!is_here(p));
        ck_assert_uint_eq(mine()->bytes, 0);
    }
    ck_assert_uint_eq(tide_self->pages->bin[page->kind][page->cls].taken, taken);
    tide_free(p);
    must_be_all_free();
}
END_TEST

/* Aligned Mid comes in batches of 64 KiB; of Large only the pages know what is zero. */
START_TEST(what_comes_from_the_pages_comes_in_batches)
{
    void *small = take(3072), *middle = take(20480), *large = take(40000);
    ck_assert_uint_eq(count_of(small), TIDE_SHELF_MIDAL / 2 - 1);
    ck_assert_uint_eq(count_of(middle), TIDE_SHELF_BATCH / 20480 - 1);
    ck_assert_uint_eq(count_of(large), 0);
    char *next = take(3072);
    ck_assert_ptr_eq(next, (char *)small + 3072);
    tide_free(small);
    tide_free(middle);
    tide_free(large);
    tide_free(next);
    must_be_all_free();
}
END_TEST

START_TEST(it_keeps_so_many_of_a_class_and_bytes_in_all)
{
    enum { EACH = TIDE_SHELF_MIDAL + 4 };
    static void *p[SIZES][EACH];
    for (int s = 0; s < SIZES; s++)
        for (int i = 0; i < EACH; i++)
            p[s][i] = take(sizes[s]);
    clear_shelf();
    mine()->room = TIDE_SHELF_BYTES;
    for (int s = 0; s < SIZES; s++) {
        unsigned most = sizes[s] <= 32768 ? TIDE_SHELF_MIDAL : TIDE_SHELF_LARGE, peak = 0;
        for (int i = 0; i < EACH; i++) {
            mine()->missed = true;
            tide_free(p[s][i]);
            ck_assert_uint_le(mine()->bytes, TIDE_SHELF_BYTES);
            ck_assert(is_here(p[s][i]));
            peak = (unsigned)tide_max(peak, count_of(p[s][i]));
        }
        ck_assert_uint_le(peak, most);
        ck_assert(sizes[s] > 100000 || peak == most);
        ck_assert(!is_here(p[s][0])); /* the oldest went first */
    }
    int cls = tide_sizeclass_aligned(TIDE_KIND_LARGE, TIDE_SHELF_LARGEST + 1, 16);
    void *large = tide_route_take(NULL, TIDE_KIND_LARGE, (unsigned)cls, NULL);
    tide_free(large);
    ck_assert_uint_eq(count_of(large), 0);
    clear_shelf();
    for (int s = 0; s < SIZES; s++)
        ck_assert_uint_eq(count_of(p[s][0]), 0);
    must_be_all_free();
}
END_TEST

/* Room for what comes and goes; where blocks only come it would only keep them. */
START_TEST(room_follows_use)
{
    enum { MANY = 64 };
    static void *p[MANY];
    uint64_t random = 1;
    for (int i = 0; i < MANY; i++)
        p[i] = take(40000);
    for (int i = 0; i < 4000; i++) {
        uint64_t draw = next_random(&random);
        tide_free(p[draw % MANY]);
        p[draw % MANY] = take(40000 + (draw >> 32) % 4 * 8192);
    }
    ck_assert_uint_gt(mine()->room, TIDE_SHELF_FIRST);
    for (int i = 0; i < MANY; i++)
        tide_free(p[i]);
    for (int i = 0; i < MANY; i++)
        p[i] = take(200000);
    clear_shelf();
    for (int i = 0; i < MANY; i++)
        tide_free(p[i]);
    ck_assert_uint_eq(mine()->room, TIDE_SHELF_FIRST);
    ck_assert_uint_le(mine()->bytes, TIDE_SHELF_FIRST);
    must_be_all_free();
}
END_TEST

/* A class that was in use before makes room for one that is in use now. */
START_TEST(when_bytes_run_out_other_classes_give)
{
    void *old[8], *fresh[TIDE_SHELF_LARGE];
    unsigned left = 0;
    for (int i = 0; i < TIDE_SHELF_LARGE; i++)
        fresh[i] = take(229376);
    for (int i = 0; i < 8; i++)
        old[i] = take(131072);
    clear_shelf();
    mine()->room = 2 << 20;
    for (int i = 0; i < 8; i++)
        tide_free(old[i]);
    for (int i = 0; i < TIDE_SHELF_LARGE; i++) {
        tide_free(fresh[i]);
        ck_assert(is_here(fresh[i]));
    }
    for (int i = 0; i < 8; i++)
        left += is_here(old[i]);
    ck_assert_uint_lt(left, 8);
    ck_assert_uint_gt(count_of(fresh[0]), 0);
    must_be_all_free();
}
END_TEST

/* More than four threads share what four may have. */
START_TEST(many_threads_have_less_each)
{
    void *p[TIDE_SHELF_LARGE];
    for (int i = 0; i < TIDE_SHELF_LARGE; i++)
        p[i] = take(262144);
    clear_shelf();
    tide_shelf_users(31);
    for (int i = 0; i < TIDE_SHELF_LARGE; i++) {
        mine()->missed = true;
        tide_free(p[i]);
    }
    ck_assert_uint_eq(mine()->room, TIDE_SHELF_BYTES / 8);
    ck_assert_uint_le(mine()->bytes, TIDE_SHELF_BYTES / 8);
    tide_shelf_users(-31);
    must_be_all_free();
}
END_TEST

/* A small block with an alignment is one of Tiny's magazine, like any other. */
START_TEST(aligned_tiny_blocks_take_the_ordinary_way)
{
    char *p = take(100);
    unsigned slot = tide_sizeclass_slot(128);
    ck_assert_uint_eq((uintptr_t)p % 64, 0);
    ck_assert_uint_eq(tide_malloc_usable_size(p), 128);
    void **top = tide_self->slot[slot].top;
    tide_free(p);
    ck_assert_ptr_eq(tide_self->slot[slot].top, top + 1);
    ck_assert_ptr_eq(take(100), p);
    ck_assert_ptr_eq(tide_self->slot[slot].top, top);
    tide_free(p);
    must_be_all_free();
}
END_TEST

static void free_twice(void *p)
{
    tide_free(p);
    tide_free(p);
}

static void ask_freed(void *p)
{
    tide_free(p);
    tide_malloc_usable_size(p);
}

static void *free_it(void *p)
{
    tide_free(p);
    return NULL;
}

static void free_here_and_there(void *p)
{
    pthread_t thread;
    tide_free(p);
    APART(pthread_create(&thread, NULL, free_it, p) == 0);
    pthread_join(thread, NULL);
}

START_TEST(what_is_on_a_shelf_is_not_live)
{
    void *p = take(sizes[_i]);
    const char *tier = sizes[_i] <= 32768 ? "mid" : "large";
    size_t usable = tide_malloc_usable_size(p);
    uint32_t owner = tide_self->owner;
    must_die(free_twice, p, fault_line("double free", p, "free", tier, usable, owner, "cached"));
    must_die(free_here_and_there, p,
             fault_line("double free", p, "free", tier, usable, owner, "cached"));
    must_die(ask_freed, p,
             fault_line("double free", p, "malloc_usable_size", tier, usable, owner, "cached"));
    tide_free(p);
}
END_TEST

/* Blocks of others, of first-class heaps and of threads that end stay on no shelf. */
static void *take_and_end(void *out)
{
    void *p = take(65536);
    tide_free(take(65536));
    *(void **)out = p;
    return NULL;
}

START_TEST(only_the_owners_thread_keeps_blocks)
{
    pthread_t thread;
    void *theirs = NULL;
    tide_free(tide_malloc(1));
    ck_assert_int_eq(pthread_create(&thread, NULL, take_and_end, &theirs), 0);
    pthread_join(thread, NULL);
    tide_free(theirs);
    ck_assert_uint_eq(mine()->bytes, 0);
    tide_heap_t *heap = tide_heap_create();
    tide_free(tide_heap_malloc(heap, 65536));
    ck_assert_uint_eq(mine()->bytes, 0);
    tide_heap_destroy(heap);
    must_be_all_free();
}
END_TEST

/* Blocks of all classes are on the shelf, and the one that comes is large enough, aligned, and
 * no larger than the sizes between classes make it. */
START_TEST(a_block_off_the_shelf_fits)
{
    enum { MOST = 260 << 10 };
    for (size_t size = 1100; size < MOST; size += size / 20)
        tide_free(take(size));
    for (size_t align = 32; align <= 32 << 10; align *= 2) {
        for (size_t size = 1010; size < MOST; size += size / 40) {
            bool plain = align == 32 && size > TIDE_LARGE_BESIDE;
            char *p = plain ? tide_malloc(size) : tide_aligned_alloc(align, size);
            size_t usable = tide_malloc_usable_size(p);
            UNIT_HOLD((uintptr_t)p % align == 0, "%zu at %p, to %zu", size, (void *)p, align);
            UNIT_HOLD(usable >= size && usable <= tide_align_up(size + size / 8, align) + 4096,
                      "%zu of %zu, aligned to %zu", usable, size, align);
            tide_free(p);
        }
    }
    clear_shelf();
    must_be_all_free();
}
END_TEST

/* The row that malloc looks at is the one that a page of the smallest class for the size has. */
START_TEST(malloc_finds_the_row_of_the_class)
{
    for (size_t size = TIDE_LARGE_BESIDE + 1; size <= TIDE_SHELF_LARGEST; size++) {
        int cls = tide_sizeclass_aligned(TIDE_KIND_LARGE, size, 1);
        UNIT_NEED(cls >= 0);
        UNIT_HOLD(tide_shelf_row_of[(size - 1) >> 12] ==
                      tide_sizeclass_kept(TIDE_KIND_LARGE, (unsigned)cls),
                  "%zu", size);
    }
    void *p = take(200000);
    ck_assert_uint_eq(page_of(p)->magazine, tide_sizeclass_kept(TIDE_KIND_LARGE, page_of(p)->cls));
    tide_free(p);
    must_be_all_free();
}
END_TEST

/* Aligned blocks come by two short ways, both from what their size comes to in multiples of the
 * alignment: a size of malloc that has a class of Tiny with that alignment, and a row of aligned
 * Mid. They are the classes that a look at the whole table finds. */
START_TEST(aligned_blocks_find_the_smallest_class)
{
    size_t top = tide_sizeclass.tiny_max;
    for (size_t align = 32; align <= TIDE_MID_TOP; align *= 2) {
        for (size_t least = align; least <= TIDE_MID_TOP; least += align) {
            enum tide_kind kind = least <= top ? TIDE_KIND_TINY : TIDE_KIND_MIDAL;
            int cls = tide_sizeclass_aligned(kind, least, align);
            UNIT_NEED(cls >= 0);
            size_t found = kind == TIDE_KIND_TINY ? tide_sizeclass_offset(least)
                                                  : tide_shelf_row_of_midal[(least - 1) >> 7];
            UNIT_HOLD(found == tide_sizeclass_kept(kind, (unsigned)cls), "%zu, to %zu", least,
                      align);
        }
    }
}
END_TEST

/* No size, sizes that the alignment takes out of Tiny or of all classes, the ends of both ways. */
START_TEST(aligned_blocks_of_the_last_sizes)
{
    static const size_t sizes[] = {0,    1,     63,    64,    1985,  1986,  2047,
                                   2048, 32704, 32705, 32767, 32768, 32769, 65536};
    for (int round = 0; round < 3; round++) {
        for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            for (size_t align = 32; align <= 128 << 10; align *= 2) {
                char *p = tide_aligned_alloc(align, sizes[i]);
                UNIT_HOLD((uintptr_t)p % align == 0 && tide_malloc_usable_size(p) >= sizes[i],
                          "%zu, to %zu", sizes[i], align);
                enum tide_tier tier = sizes[i] <= 2047           ? TIDE_TIER_TINY
                                      : sizes[i] <= TIDE_MID_TOP ? TIDE_TIER_MID
                                                                 : TIDE_TIER_LARGE;
                UNIT_HOLD(align > 65536 || tide_tier_of(p) == tier, "%zu, to %zu", sizes[i], align);
                memset(p, 0xa5, sizes[i]);
                tide_free(p);
            }
        }
    }
    clear_shelf();
    must_be_all_free();
}
END_TEST

static void free_inside(void *p)
{
    tide_free((char *)p + 1024);
}

START_TEST(a_place_inside_a_block_stays_off_the_shelf)
{
    char *p = take(sizes[_i]);
    const char *tier = sizes[_i] <= 32768 ? "mid" : "large";
    must_die(free_inside, p,
             fault_line("interior pointer", p + 1024, "free", tier, tide_malloc_usable_size(p),
                        tide_self->owner, "live"));
    tide_free(p);
}
END_TEST

int main(void)
{
    TCase *group = tcase_create("shelf");
    tcase_add_loop_test(group, a_freed_block_is_the_next_one, 0, SIZES);
    tcase_add_test(group, what_comes_from_the_pages_comes_in_batches);
    tcase_add_test(group, it_keeps_so_many_of_a_class_and_bytes_in_all);
    tcase_add_test(group, room_follows_use);
    tcase_add_test(group, when_bytes_run_out_other_classes_give);
    tcase_add_test(group, many_threads_have_less_each);
    tcase_add_test(group, aligned_tiny_blocks_take_the_ordinary_way);
    tcase_add_test(group, aligned_blocks_find_the_smallest_class);
    tcase_add_test(group, aligned_blocks_of_the_last_sizes);
    tcase_add_loop_test(group, what_is_on_a_shelf_is_not_live, 0, SIZES);
    tcase_add_loop_test(group, a_place_inside_a_block_stays_off_the_shelf, 0, SIZES);
    tcase_add_test(group, malloc_finds_the_row_of_the_class);
    tcase_add_test(group, only_the_owners_thread_keeps_blocks);
    tcase_add_test(group, an_empty_shelf_has_no_bytes);
    tcase_add_test(group, a_block_off_the_shelf_fits);
    return run_group("shelf", group);
}
