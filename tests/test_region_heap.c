/* test_region_heap.c - heaps on regions: where their blocks are, what happens when the region
 * is full, misuse of their blocks, other threads, the end of heap and region. Loop index:
 * the source. */
#include "region_case.h"

#include <pthread.h>

#include "box/pagemap.h"

enum { MANY = 20000, THREADS = 3 };

static tide_region_t *region;
static tide_heap_t *heap;
static char *base;
static void *block[MANY];

static bool start(int i)
{
    const char *text = region_text(i);
    if (text == NULL)
        return false;
    region = region_made(text, REGION_SIZE, 0);
    heap = tide_heap_create_on(region);
    ck_assert_ptr_nonnull(heap);
    base = tide_region_base(region);
    return true;
}

static bool is_inside(const void *p, size_t size)
{
    return (const char *)p >= base + TIDE_REGION_SEGMENT &&
           (const char *)p + size <= base + REGION_SIZE;
}

/* The heap goes, and all of the region is free again. */
static void finish(void)
{
    ck_assert_int_eq(tide_region_close(region), -EBUSY);
    tide_heap_destroy(heap);
    struct tide_region_info info = region_told(region);
    ck_assert_uint_eq(info.free_bytes, info.capacity);
    ck_assert_uint_eq(info.heaps, 0);
    ck_assert_int_eq(tide_region_close(region), 0);
}

START_TEST(blocks_of_every_size_are_in_the_region)
{
    static const size_t sizes[] = {0,     1,      100,    1040,   2048,   32768,
                                   32769, 100000, 262144, 262145, 524288, 1500000};
    if (!start(_i))
        return;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        char *p = tide_heap_malloc(heap, sizes[i]), *q = tide_heap_calloc(heap, 1, sizes[i]);
        size_t usable = tide_malloc_usable_size(p);
        ck_assert_msg(is_inside(p, usable) && is_inside(q, sizes[i]), "%zu bytes", sizes[i]);
        ck_assert_uint_ge(usable, sizes[i]);
        ck_assert_uint_eq((uintptr_t)p % 16, 0);
        ck_assert_int_eq(tide_tier_of(p), TIDE_TIER_MID);
        for (size_t k = 0; k < sizes[i]; k++)
            UNIT_HOLD(q[k] == 0, "calloc of %zu is not zero at %zu", sizes[i], k);
        memset(p, 0x77, usable);
        memset(q, 0x66, tide_malloc_usable_size(q));
        tide_free(p);
        tide_free(q);
        ck_assert_int_eq(tide_tier_of(p), TIDE_TIER_NONE);
    }
    finish();
}
END_TEST

START_TEST(alignments_up_to_a_segment)
{
    if (!start(_i))
        return;
    for (size_t align = 16; align <= TIDE_REGION_SEGMENT; align *= 2) {
        for (size_t size = 1; size <= 1 << 20; size = size * 7 + 1) {
            char *p = tide_heap_aligned_alloc(heap, align, size);
            ck_assert_msg(p != NULL && is_inside(p, size), "%zu at %zu", size, align);
            ck_assert_uint_eq((uintptr_t)p % align, 0);
            ck_assert_uint_ge(tide_malloc_usable_size(p), size);
            memset(p, 1, size);
            tide_free(p);
        }
    }
    errno = 0;
    ck_assert_ptr_null(tide_heap_aligned_alloc(heap, 2 * TIDE_REGION_SEGMENT, 10));
    ck_assert_int_eq(errno, ENOMEM);
    errno = 0;
    ck_assert_ptr_null(tide_heap_aligned_alloc(heap, 48, 10));
    ck_assert_int_eq(errno, EINVAL);
    finish();
}
END_TEST

/* Blocks of so many bytes until there are no more; each is whole and its own. */
static unsigned fill(size_t size)
{
    unsigned count = 0;
    errno = 0;
    while (count < MANY && (block[count] = tide_heap_malloc(heap, size)) != NULL) {
        UNIT_HOLD(is_inside(block[count], size), "a block of %zu bytes elsewhere", size);
        memset(block[count], (int)count, size);
        count++;
    }
    ck_assert_int_eq(errno, ENOMEM);
    for (unsigned i = 0; i < count; i++)
        for (size_t at = 0; at<size; at += size> 64 ? size / 7 : 1)
            UNIT_HOLD(((unsigned char *)block[i])[at] == (unsigned char)i, "block %u changed", i);
    return count;
}

START_TEST(a_full_region_gives_null_and_never_other_memory)
{
    static const size_t sizes[] = {1000, 5000, 32768, 65536, 200000, 262144, 524288, 3000000};
    if (!start(_i))
        return;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        unsigned count = fill(sizes[i]);
        size_t whole = count * sizes[i], all = REGION_SIZE - TIDE_REGION_SEGMENT;
        /* Of the classes an eighth is lost at most, of powers of two a half, of runs more. */
        if (sizes[i] <= 65536)
            ck_assert_uint_ge(whole, all - all / 8);
        for (unsigned k = 0; k < count; k++)
            tide_free(block[k]);
        ck_assert_uint_eq(fill(sizes[i]), count);
        for (unsigned k = count; k-- > 0;)
            tide_free(block[k]);
    }
    errno = 0;
    volatile size_t huge = PTRDIFF_MAX, more = (size_t)5 << 30, most = SIZE_MAX;
    ck_assert_ptr_null(tide_heap_malloc(heap, huge));
    ck_assert_ptr_null(tide_heap_malloc(heap, more));
    ck_assert_ptr_null(tide_heap_malloc(heap, most));
    ck_assert_int_eq(errno, ENOMEM);
    finish();
}
END_TEST

START_TEST(segments_come_home_and_are_lent_to_rings)
{
    if (!start(_i))
        return;
    uint64_t ring[REGION_SEGMENTS], lent = 0;
    unsigned count = fill(30000);
    ck_assert_int_eq(tide_region_take(region, 1, 1, &ring[0]), -ENOMEM);
    for (unsigned i = 0; i < count; i++)
        tide_free(block[i]);
    tide_malloc_trim(0); /* this thread's outbox, the heap's inbox */
    ck_assert_uint_eq(region_told(region).heap_bytes, 0);
    while (tide_region_take(region, 4, 1, &ring[lent]) == 0)
        lent++;
    ck_assert_uint_ge(lent * 4 + 4, REGION_SEGMENTS - 1);
    ck_assert_uint_lt(fill(30000), 4 * TIDE_REGION_SEGMENT / 30000);
    while (lent-- > 0)
        ck_assert_int_eq(tide_region_give(region, ring[lent]), 0);
    ck_assert_uint_gt(fill(30000), 4 * TIDE_REGION_SEGMENT / 30000);
    finish();
}
END_TEST

START_TEST(realloc_stays_in_the_region)
{
    if (!start(_i))
        return;
    uint64_t seed = 7;
    size_t size = 10;
    unsigned char *p = memset(tide_heap_malloc(heap, size), 0x42, size);
    for (int i = 0; i < 300; i++) {
        size_t next = unit_random(&seed) % (i % 3 == 0 ? 900000 : 20000) + 1;
        p = i % 2 == 0 ? tide_realloc(p, next) : tide_heap_realloc(heap, p, next);
        UNIT_HOLD(p != NULL && is_inside(p, next), "%zu bytes", next);
        for (size_t k = 0; k < next && k < size; k += 97)
            UNIT_HOLD(p[k] == 0x42, "lost at %zu of %zu", k, size);
        memset(p, 0x42, next);
        size = next;
    }
    ck_assert_ptr_null(tide_realloc(p, REGION_SIZE)); /* and p is as it was */
    ck_assert_uint_eq(p[0], 0x42);
    ck_assert_ptr_null(tide_realloc(p, 0));
    unsigned char *outside = memset(tide_malloc(5000), 0x24, 5000);
    p = tide_heap_realloc(heap, outside, 6000);
    ck_assert(is_inside(p, 6000) && p[4999] == 0x24);
    finish();
}
END_TEST

START_TEST(two_heaps_share_the_segments_and_not_the_blocks)
{
    if (!start(_i))
        return;
    tide_heap_t *other = tide_heap_create_on(region);
    char *one = tide_heap_malloc(heap, 4000), *two = tide_heap_malloc(other, 4000);
    ck_assert_uint_ne((uintptr_t)(one - base) / TIDE_REGION_SEGMENT,
                      (uintptr_t)(two - base) / TIDE_REGION_SEGMENT);
    memset(one, 1, 4000);
    ck_assert_uint_eq(region_told(region).heaps, 2);
    tide_heap_destroy(other);
    ck_assert_int_eq(tide_tier_of(two), TIDE_TIER_NONE);
    ck_assert_int_eq(tide_tier_of(one), TIDE_TIER_MID);
    ck_assert_int_eq(one[3999], 1);
    finish();
}
END_TEST

START_TEST(figures_count_its_blocks)
{
    struct tide_stats before, with;
    if (!start(_i))
        return;
    tide_stats(&before);
    void *small = tide_heap_malloc(heap, 3000), *run = tide_heap_malloc(heap, 1200000);
    tide_stats(&with);
    ck_assert_uint_eq(with.mid.live_blocks, before.mid.live_blocks + 2);
    ck_assert_uint_ge(with.mid.live_bytes, before.mid.live_bytes + 3000 + 1200000);
    ck_assert_uint_eq(with.mid.mapped_bytes, before.mid.mapped_bytes + 4 * TIDE_REGION_SEGMENT);
    ck_assert_uint_eq(with.large.live_blocks, before.large.live_blocks);
    tide_free(run);
    tide_free(small);
    tide_malloc_trim(0);
    tide_stats(&with);
    ck_assert_uint_eq(with.mid.live_blocks, before.mid.live_blocks);
    ck_assert_uint_eq(with.mid.mapped_bytes, before.mid.mapped_bytes);
    finish();
}
END_TEST

/* --- misuse --------------------------------------------------------------------------------- */

enum misuse { TWICE, TWICE_RUN, INSIDE, INSIDE_RUN, LATE_IN_RUN, RING, HEADER, CLOSED, REALLOCED };

static const struct wrong {
    const char *words;
} wrong[] = {[TWICE] = {"double free"},
             [TWICE_RUN] = {"double free"},
             [INSIDE] = {"interior pointer"},
             [INSIDE_RUN] = {"interior pointer"},
             [LATE_IN_RUN] = {"interior pointer"},
             [RING] = {"invalid pointer"},
             [HEADER] = {"invalid pointer"},
             [CLOSED] = {"foreign pointer"},
             [REALLOCED] = {"double free"}};

static int source_of_misuse;

static void misuse(long which)
{
    UNIT_NEED(start(source_of_misuse));
    char *p = tide_heap_malloc(heap, 5000), *run = tide_heap_malloc(heap, 1500000);
    uint64_t offset;
    UNIT_NEED(tide_region_take(region, 1, 1, &offset) == 0);
    switch ((enum misuse)which) {
    case TWICE:
        tide_free(p);
        tide_free(p);
        break;
    case TWICE_RUN:
        tide_free(run);
        tide_free(run);
        break;
    case INSIDE:
        tide_free(p + 16);
        break;
    case INSIDE_RUN:
        tide_free(run + 16);
        break;
    case LATE_IN_RUN:
        tide_free(run + 2 * TIDE_REGION_SEGMENT);
        break;
    case RING:
        tide_free(base + offset);
        break;
    case HEADER:
        tide_free(base + 4096);
        break;
    case CLOSED:
        tide_heap_destroy(heap);
        UNIT_NEED(tide_region_close(region) == 0);
        tide_free(p);
        break;
    case REALLOCED:
        tide_free(p);
        p = tide_realloc(p, 9000);
        break;
    }
    _exit(5); /* nobody noticed */
}

START_TEST(misuse_ends_the_process_with_its_line)
{
    if (region_text(_i) == NULL)
        return;
    source_of_misuse = _i;
    for (int which = TWICE; which <= REALLOCED; which++) {
        if (which == CLOSED && UNIT_SANITIZED) /* a second malloc: foreign memory is excused */
            continue;
        unlink(unit_path("region"));
        if (unit_tmpfs[0] != '\0' && region_sources[_i].tmpfs)
            unlink(region_text(_i) + 5);
        struct unit_end end = unit_child(misuse, which);
        ck_assert_msg(end.code == 128 + SIGABRT, "case %d ended with %d: %s", which, end.code,
                      end.text);
        ck_assert_msg(strstr(end.text, wrong[which].words) != NULL, "case %d: %s", which, end.text);
    }
}
END_TEST

static void overrun(long unused)
{
    (void)unused;
    UNIT_NEED(start(source_of_misuse));
    char *p = tide_heap_malloc(heap, 5000), *q = tide_heap_malloc(heap, 5000);
    UNIT_NEED(q > p);
    for (volatile char *at = p; at < q; at++) /* over the word in front of q */
        *at = 0;
    tide_free(q);
    tide_malloc_trim(0);
}

START_TEST(a_word_written_over_is_found_when_the_block_comes_home)
{
    if (region_text(_i) == NULL)
        return;
    source_of_misuse = _i;
    struct unit_end end = unit_child(overrun, 0);
    ck_assert_msg(end.code == 128 + SIGABRT && strstr(end.text, "corrupt header") != NULL, "%d: %s",
                  end.code, end.text);
}
END_TEST

/* --- threads and processes ------------------------------------------------------------------- */

static void *free_them(void *arg)
{
    uintptr_t first = (uintptr_t)arg;
    for (uintptr_t i = first; i < MANY && block[i] != NULL; i += THREADS)
        tide_free(block[i]);
    return NULL;
}

START_TEST(other_threads_free_and_the_heap_gets_it_back)
{
    pthread_t thread[THREADS];
    if (!start(_i))
        return;
    for (int round = 0; round < 3; round++) {
        memset(block, 0, sizeof block);
        unsigned count = fill(9000);
        ck_assert_uint_gt(count, 600);
        block[count] = NULL;
        for (uintptr_t i = 0; i < THREADS; i++)
            ck_assert_int_eq(pthread_create(&thread[i], NULL, free_them, (void *)i), 0);
        for (int i = 0; i < THREADS; i++)
            pthread_join(thread[i], NULL);
    }
    ck_assert_uint_gt(fill(9000), 600);
    finish();
}
END_TEST

static void *churn(void *arg)
{
    tide_heap_t *own = tide_heap_create_on(region);
    uint64_t seed = (uintptr_t)arg + 1;
    void *held[16] = {0};
    for (int i = 0; i < 3000; i++) {
        unsigned slot = unit_random(&seed) % 16;
        size_t size = unit_random(&seed) % (i % 50 == 0 ? 600000 : 9000);
        tide_free(held[slot]);
        held[slot] = tide_heap_malloc(own, size);
        if (held[slot] == NULL)
            continue;
        UNIT_NEED(is_inside(held[slot], size));
        memset(held[slot], (int)slot, size);
    }
    tide_heap_destroy(own);
    return NULL;
}

START_TEST(threads_with_heaps_of_their_own)
{
    pthread_t thread[THREADS];
    if (!start(_i))
        return;
    for (uintptr_t i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&thread[i], NULL, churn, (void *)i), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    finish();
}
END_TEST

/* Of a shared region the child gets nothing new, and what it frees stays the parent's. */
static void in_the_child(long shared)
{
    errno = 0;
    void *p = tide_heap_malloc(heap, 3000), *run = tide_heap_malloc(heap, 800000);
    UNIT_NEED((p == NULL) == shared && (run == NULL) == shared && (!shared || errno == ESTALE));
    if (shared) {
        UNIT_NEED(tide_realloc(block[1], 20000) == NULL);
        UNIT_NEED(((char *)block[1])[0] == 'b');
    }
    tide_free(block[0]);
    tide_free(block[1]);
    tide_free(block[2]);
    free(malloc(3000)); /* other memory is as ever */
    tide_heap_destroy(heap);
    UNIT_NEED(tide_region_close(region) == 0);
}

START_TEST(a_child_cannot_disturb_the_heap)
{
    if (!start(_i))
        return;
    block[0] = strcpy(tide_heap_malloc(heap, 3000), "a");
    block[1] = strcpy(tide_heap_malloc(heap, 9000), "b");
    block[2] = strcpy(tide_heap_malloc(heap, 900000), "c");
    struct tide_region_info before = region_told(region), after;
    unit_child_ok(in_the_child, region_sources[_i].shared);
    after = region_told(region);
    ck_assert_uint_eq(after.heap_bytes, before.heap_bytes);
    ck_assert_uint_eq(after.free_bytes, before.free_bytes);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(((char *)block[i])[0], 'a' + i);
        ck_assert_int_eq(tide_tier_of(block[i]), TIDE_TIER_MID);
        tide_free(block[i]);
    }
    ck_assert_uint_gt(fill(9000), 600);
    finish();
}
END_TEST

/* --- the end ---------------------------------------------------------------------- */

START_TEST(after_closing_its_pointers_are_nobodys)
{
    if (!start(_i))
        return;
    char *p = tide_heap_malloc(heap, 3000), *run = tide_heap_malloc(heap, 800000);
    finish();
    ck_assert_int_eq(tide_tier_of(p), TIDE_TIER_NONE);
    ck_assert_int_eq(tide_tier_of(run), TIDE_TIER_NONE);
    ck_assert_int_eq(tide_tier_of(base), TIDE_TIER_NONE);
}
END_TEST

int main(void)
{
    const TTest *plain[] = {NULL};
    const TTest *each[] = {blocks_of_every_size_are_in_the_region,
                           alignments_up_to_a_segment,
                           a_full_region_gives_null_and_never_other_memory,
                           segments_come_home_and_are_lent_to_rings,
                           realloc_stays_in_the_region,
                           two_heaps_share_the_segments_and_not_the_blocks,
                           figures_count_its_blocks,
                           misuse_ends_the_process_with_its_line,
                           a_word_written_over_is_found_when_the_block_comes_home,
                           other_threads_free_and_the_heap_gets_it_back,
                           threads_with_heaps_of_their_own,
                           a_child_cannot_disturb_the_heap,
                           after_closing_its_pointers_are_nobodys,
                           NULL};
    return region_main("region_heap", plain, each);
}
