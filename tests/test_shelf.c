/* test_shelf.c - the few free blocks of aligned Mid and of Large that a thread keeps. */
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

/* Nothing is out of the pages once the shelf is empty. */
static void must_be_all_free(void)
{
    tide_route_flush_thread();
    for (struct tide_heap *heap = tide_heap_first(); heap != NULL; heap = heap->next) {
        MUST_BE_VALID(&heap->pages);
        ck_assert_uint_eq(pages_sum(&heap->pages, false), 0);
    }
}

static struct tide_shelf *mine(void)
{
    return &tide_self->shelf;
}

static unsigned count_of(const void *p)
{
    const struct tide_page *page = page_of(p);
    return tide_shelf_count(mine(), (enum tide_kind)page->kind, page->cls);
}

START_TEST(a_freed_block_is_the_next_one)
{
    size_t size = sizes[_i];
    void *p = take(size);
    struct tide_page *page = page_of(p);
    uint64_t taken = tide_self->pages->bin[page->kind][page->cls].taken;
    for (int i = 0; i < 100; i++) {
        tide_free(p);
        ck_assert_uint_eq(count_of(p), 1);
        ck_assert(tide_shelf_holds(mine(), page, p));
        ck_assert_uint_eq(mine()->bytes, page->stride);
        ck_assert_ptr_eq(take(size), p);
        ck_assert_uint_eq(mine()->bytes, 0);
    }
    ck_assert_uint_eq(tide_self->pages->bin[page->kind][page->cls].taken, taken);
    tide_free(p);
    must_be_all_free();
}
END_TEST

START_TEST(it_keeps_a_few_of_a_class_and_bytes_in_all)
{
    void *p[SIZES][8];
    for (int s = 0; s < SIZES; s++)
        for (int i = 0; i < 8; i++)
            p[s][i] = take(sizes[s]);
    for (int s = 0; s < SIZES; s++) {
        for (int i = 0; i < 8; i++)
            tide_free(p[s][i]);
        ck_assert_uint_le(count_of(p[s][0]), TIDE_SHELF);
        ck_assert_uint_le(mine()->bytes, TIDE_SHELF_BYTES);
        ck_assert(sizes[s] > 100000 || count_of(p[s][0]) == TIDE_SHELF);
        ck_assert(sizes[s] > 100000 || tide_shelf_holds(mine(), page_of(p[s][7]), p[s][7]));
    }
    void *large = take(TIDE_SHELF_LARGEST + 1);
    tide_free(large);
    ck_assert_uint_eq(count_of(large), 0);
    tide_route_flush_thread();
    ck_assert_uint_eq(mine()->bytes, 0);
    for (int s = 0; s < SIZES; s++)
        ck_assert_uint_eq(count_of(p[s][0]), 0);
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

int main(void)
{
    TCase *group = tcase_create("shelf");
    tcase_add_loop_test(group, a_freed_block_is_the_next_one, 0, SIZES);
    tcase_add_test(group, it_keeps_a_few_of_a_class_and_bytes_in_all);
    tcase_add_loop_test(group, what_is_on_a_shelf_is_not_live, 0, SIZES);
    tcase_add_test(group, only_the_owners_thread_keeps_blocks);
    return run_group("shelf", group);
}
