/*
 * test_mid.c - the header word of a Mid block: what it binds, that no flipped bit passes,
 * and where it stands in both variants. Loop index 0 is in band, 1 the shadow table.
 */
#include "pool_case.h"

#include <pthread.h>

#include "box/clock.h"
#include "box/judge.h"
#include "box/route.h"

enum { MANY = 1000, CLASSES = 5 };

static const size_t sizes[CLASSES] = {2048, 3000, 4096, 9999, 32768};
static void *block[MANY];

static const struct tide_window *window_of(const void *p)
{
    const struct tide_window *window = tide_pagemap_find((uintptr_t)p);
    ck_assert_ptr_nonnull(window);
    ck_assert_int_eq(window->kind, TIDE_KIND_MID);
    return window;
}

static uint64_t *word_of(const void *p)
{
    return tide_mid_word_at(window_of(p), p);
}

static enum tide_mid_state state_of(const void *p)
{
    uint32_t owner;
    unsigned cls;
    return tide_mid_read(window_of(p), p, &owner, &cls);
}

static void *free_it(void *p)
{
    tide_free(p);
    return NULL;
}

static void free_elsewhere(void *p)
{
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, free_it, p), 0);
    pthread_join(thread, NULL);
}

static void free_plain(void *p)
{
    tide_free(p);
}

START_TEST(a_word_names_class_owner_and_state)
{
    use_header(_i);
    for (int i = 0; i < CLASSES; i++) {
        void *p = tide_malloc(sizes[i]), *q = tide_malloc(sizes[i]);
        uint32_t owner = 0;
        unsigned cls = 99;
        ck_assert_int_eq(tide_mid_read(window_of(p), p, &owner, &cls), TIDE_MID_LIVE);
        ck_assert_uint_eq(owner, tide_self->owner);
        ck_assert_uint_eq(cls, page_of(p)->cls);
        ck_assert_uint_eq(cls, tide_sizeclass_mid(sizes[i]));
        tide_free(p);
        ck_assert_int_eq(state_of(p), TIDE_MID_FREED);
        tide_mid_set_freed(window_of(q), q, TIDE_MID_REMOTE);
        ck_assert_int_eq(state_of(q), TIDE_MID_REMOTE);
        tide_mid_set_live(window_of(q), q, owner, cls);
        ck_assert_int_eq(state_of(q), TIDE_MID_LIVE);
        free_elsewhere(q);
        ck_assert_int_eq(state_of(q), TIDE_MID_REMOTE);
    }
}
END_TEST

START_TEST(seeds_differ_by_class_and_owner)
{
    enum { SEEDS = 40 * TIDE_MID_CLASSES };
    static uint64_t seed[SEEDS];
    unsigned count = 0;
    for (uint32_t owner = 1; owner < 80001; owner += 2000)
        for (unsigned cls = 0; cls < TIDE_MID_CLASSES; cls++)
            seed[count++] = tide_key_word(owner, cls);
    ck_assert_uint_eq(count, SEEDS);
    for (unsigned i = 0; i < count; i++) {
        ck_assert_uint_eq(seed[i] >> 63, 1);
        ck_assert_uint_eq(seed[i] & 0xff, TIDE_KEY_LIVE);
        unsigned same = 0;
        for (unsigned k = 0; k < i; k++)
            same += seed[i] == seed[k];
        ck_assert_uint_eq(same, 0);
    }
}
END_TEST

START_TEST(magazines_know_the_words)
{
    use_header(_i);
    tide_free(tide_malloc(2048));
    for (unsigned cls = 0; cls < TIDE_MID_CLASSES; cls++) {
        const struct tide_magazine *magazine =
            tide_cache_magazine(tide_self, tide_slot_of(TIDE_KIND_MID, cls));
        void *p = tide_route_take(NULL, TIDE_KIND_MID, cls, NULL);
        ck_assert_uint_eq(magazine->checked ^ (uintptr_t)p, *word_of(p));
        ck_assert_int_eq(magazine->headed, 1);
        ck_assert_int_eq(magazine->at, -8);
        ck_assert_uint_eq(magazine->freed ^ magazine->take_turn, magazine->checked);
        ck_assert_uint_eq(magazine->checked ^ magazine->free_turn, magazine->freed);
        tide_free(p);
        ck_assert_uint_eq(magazine->freed ^ (uintptr_t)p, *word_of(p));
    }
}
END_TEST

START_TEST(a_word_fits_no_other_block)
{
    use_header(_i);
    for (int i = 0; i < MANY; i++) {
        block[i] = tide_malloc(sizes[i % CLASSES]);
        if (i < CLASSES)
            continue;
        /* the word of a block of the same class and owner */
        uint64_t own = *word_of(block[i]);
        *word_of(block[i]) = *word_of(block[i - CLASSES]);
        ck_assert_int_eq(state_of(block[i]), TIDE_MID_BROKEN);
        *word_of(block[i]) = own;
        ck_assert_int_eq(state_of(block[i]), TIDE_MID_LIVE);
    }
}
END_TEST

/* A true word of another class or owner is refused all the same. */
START_TEST(a_word_of_another_class_or_owner_is_refused)
{
    struct tide_block verdict;
    use_header(_i);
    void *p = tide_malloc(5000);
    uint32_t owner = tide_self->owner;
    unsigned cls = page_of(p)->cls;
    ck_assert(tide_judge(p, &verdict));
    for (int wrong = 0; wrong < 3; wrong++) {
        tide_mid_set_live(window_of(p), p,
                          wrong == 1   ? owner + 1
                          : wrong == 2 ? owner ^ (1 << TIDE_OWNER_BITS)
                                       : owner,
                          wrong == 0 ? cls + 1 : cls);
        ck_assert(!tide_judge(p, &verdict));
        ck_assert_str_eq(verdict.fault.what, "corrupt header");
        must_die(free_plain, p,
                 fault_line("corrupt header", p, "free", "mid", verdict.usable, owner, "unknown"));
    }
}
END_TEST

/* Each of the 64 bits, in each state, in several classes. */
START_TEST(no_flipped_bit_makes_a_block_live)
{
    struct tide_block verdict;
    use_header(_i);
    for (int i = 0; i < CLASSES; i++) {
        void *p = tide_malloc(sizes[i]);
        uint64_t live = *word_of(p);
        uint64_t words[3] = {live, live ^ tide_key.freed, live ^ tide_key.remote};
        for (int state = 0; state < 3; state++) {
            *word_of(p) = words[state];
            ck_assert(tide_judge(p, &verdict) == (state == 0));
            for (int bit = 0; bit < 64; bit++) {
                *word_of(p) = words[state] ^ (uint64_t)1 << bit;
                ck_assert_int_ne(state_of(p), TIDE_MID_LIVE);
                ck_assert(!tide_judge(p, &verdict));
                ck_assert_str_eq(verdict.fault.what, "corrupt header");
                ck_assert_int_eq(tide_tier_of(p), TIDE_TIER_NONE);
            }
        }
        *word_of(p) = live;
        tide_free(p);
    }
}
END_TEST

static void free_with_flipped_bits(void *p)
{
    tide_diag_policy(TIDE_MISUSE_WARN);
    for (int bit = 0; bit < 64; bit++) {
        *word_of(p) ^= (uint64_t)1 << bit;
        tide_free(p);
        *word_of(p) ^= (uint64_t)1 << bit;
    }
    tide_free(p);
}

START_TEST(free_finds_every_flipped_bit)
{
    static char text[64 * 128];
    size_t len = 0;
    use_header(_i);
    void *p = tide_malloc(4000);
    const char *line = fault_line("corrupt header", p, "free", "mid", tide_malloc_usable_size(p),
                                  tide_self->owner, "unknown");
    for (int bit = 0; bit < 64; bit++)
        len += (size_t)snprintf(text + len, sizeof text - len, "%s", line);
    must_live(free_with_flipped_bits, p, text);
}
END_TEST

/* --- where it stands ---------------------------------------------------------------------- */

START_TEST(the_byte_in_front_is_never_zero)
{
    use_header(false);
    for (int i = 0; i < MANY; i++) {
        unsigned char *p = tide_malloc(sizes[i % CLASSES]);
        ck_assert_ptr_eq(word_of(p), p - 8);
        ck_assert_uint_ge(p[-1], 0x80);
        tide_free(p);
        ck_assert_uint_ge(p[-1], 0x80);
    }
}
END_TEST

/* A string operation that ends one byte too far in front of the block. */
static void zero_in_front(void *p)
{
    ((char *)p)[-1] = '\0';
    tide_free(p);
    tide_route_flush_thread();
}

START_TEST(an_underflow_by_one_zero_byte_is_found)
{
    use_header(_i);
    void *p = tide_malloc(4000), *keep = tide_malloc(4000);
    must_die(zero_in_front, p,
             fault_line("corrupt header", p, "free", "mid", tide_malloc_usable_size(p),
                        tide_self->owner, _i ? "free" : "unknown"));
    tide_free(keep);
}
END_TEST

START_TEST(header_and_first_bytes_share_a_line)
{
    use_header(_i);
    for (int i = 0; i < MANY; i++) {
        uintptr_t p = (uintptr_t)tide_malloc(2048 + (size_t)i * 30);
        ck_assert_uint_eq(p % 32, 16);
        ck_assert_uint_eq((p - 16) / 64, (p + 15) / 64);
        ck_assert_uint_ne(page_of((void *)p)->stride % 1024, 0);
        ck_assert_uint_eq(page_of((void *)p)->stride % 32, 0);
    }
}
END_TEST

/* The shadow has a word for each block, and malloc and free leave the far line alone. */
START_TEST(shadow_words_are_apart_from_the_blocks)
{
    use_header(true);
    for (int i = 0; i < MANY; i++) {
        void *p = block[i] = tide_malloc_on(TIDE_TIER_MID, 1000);
        uint64_t *word = word_of(p);
        const struct tide_window *window = window_of(p);
        ck_assert(word >= window->shadow &&
                  word < window->shadow + (window->reserved >> TIDE_SHADOW_SHIFT));
        *word ^= 1;
        ck_assert_int_eq(state_of(p), TIDE_MID_BROKEN);
        *word ^= 1;
        ck_assert_int_eq(state_of(p), TIDE_MID_LIVE);
        if (i > 0)
            ck_assert_int_eq(state_of(block[i - 1]), TIDE_MID_LIVE);
        ck_assert_uint_eq(((uint64_t *)p)[-1], (uintptr_t)p ^ tide_key.canary);
    }
    for (int i = 0; i < MANY; i++) {
        uint64_t canary = ((uint64_t *)block[i])[-1];
        tide_free(block[i]);
        ck_assert_uint_eq(((uint64_t *)block[i])[-1], canary);
        ck_assert_int_eq(state_of(block[i]), TIDE_MID_FREED);
    }
}
END_TEST

static void free_copied(void *p)
{
    /* a whole true header, in a place where no block starts */
    char *inside = (char *)p + 1024;
    memcpy(inside - 16, (char *)p - 16, 16);
    tide_free(inside);
}

START_TEST(a_copied_header_inside_a_block_is_no_block)
{
    use_header(_i);
    char *p = tide_malloc(8000);
    must_die(free_copied, p,
             fault_line("interior pointer", p + 1024, "free", "mid", tide_malloc_usable_size(p),
                        tide_self->owner, "live"));
}
END_TEST

/* A modelled source makes each access to a cold header word wait. */
START_TEST(a_modelled_source_takes_its_time)
{
    struct tide_source source;
    enum { DELAY = 300000 };
    ck_assert_int_eq(tide_source_open(&source, "near,delay=300000"), 0);
    tide_segment_start(&source, false);
    tide_self_set(&tide_cache_empty);
    void *p = tide_malloc(20000);
    ck_assert(tide_mid_is_modelled(window_of(p)));
    char *far = (char *)p + (size_t)8 * page_of(p)->stride; /* a line that is cold in the model */
    ck_assert_ptr_eq(page_of(far), page_of(p));
    uint64_t start = tide_clock_now();
    tide_mid_set_live(window_of(far), far, tide_self->owner, 3);
    ck_assert_uint_ge(tide_clock_now() - start, DELAY);
    tide_free(p);
}
END_TEST

/* --- misuse ------------------------------------------------------------------------------- */

static void double_now(void *p)
{
    tide_free(p);
    tide_free(p);
}

static void double_flushed(void *p)
{
    tide_free(p);
    tide_route_flush_thread();
    tide_free(p);
}

static void double_from_elsewhere(void *p)
{
    free_elsewhere(p);
    tide_free(p);
}

static void *free_and_wait(void *p)
{
    tide_free(p);
    pause();
    return NULL;
}

/* The first free waits in the outbox of a thread that sleeps. */
static void double_of_waiting(void *p)
{
    pthread_t thread;
    pthread_create(&thread, NULL, free_and_wait, p);
    while (!tide_heap_holds(page_of(p), p))
        usleep(1000);
    tide_free(p);
}

START_TEST(double_free_is_found)
{
    static const struct {
        void (*act)(void *);
        const char *state;
    } row[] = {{double_now, "cached"},
               {double_flushed, "free"},
               {double_from_elsewhere, "remote"},
               {double_of_waiting, "remote"}};
    use_header(_i);
    for (int i = 0; i < CLASSES; i += 2) {
        void *keep = tide_malloc(sizes[i]), *p = tide_malloc(sizes[i]);
        for (int k = 0; k < 4; k++)
            must_die(row[k].act, p,
                     fault_line("double free", p, "free", "mid", tide_malloc_usable_size(p),
                                tide_self->owner, row[k].state));
        tide_free(keep);
    }
}
END_TEST

static uint64_t old_word;

static void malloc_twice(void *p)
{
    int times = 0;
    tide_free(p);
    *word_of(p) = old_word;
    tide_free(p); /* looks live */
    for (int i = 0; i < 40; i++)
        times += tide_malloc(6000) == p;
    APART(times < 2);
}

/* An old live word is written back over a free block, which is then freed again. */
START_TEST(a_block_freed_twice_by_replay_goes_out_once)
{
    use_header(_i);
    tide_free(tide_malloc(6000));
    void *p = tide_malloc(6000);
    old_word = *word_of(p);
    must_die(malloc_twice, p,
             fault_line("double free", p, "malloc", "mid", tide_malloc_usable_size(p),
                        tide_self->owner, "live"));
}
END_TEST

int main(void)
{
    TCase *group = tcase_create("mid");
    tcase_add_loop_test(group, a_word_names_class_owner_and_state, 0, 2);
    tcase_add_test(group, seeds_differ_by_class_and_owner);
    tcase_add_loop_test(group, magazines_know_the_words, 0, 2);
    tcase_add_loop_test(group, a_word_fits_no_other_block, 0, 2);
    tcase_add_loop_test(group, a_word_of_another_class_or_owner_is_refused, 0, 2);
    tcase_add_loop_test(group, no_flipped_bit_makes_a_block_live, 0, 2);
    tcase_add_loop_test(group, free_finds_every_flipped_bit, 0, 2);
    tcase_add_test(group, the_byte_in_front_is_never_zero);
    tcase_add_loop_test(group, an_underflow_by_one_zero_byte_is_found, 0, 2);
    tcase_add_loop_test(group, header_and_first_bytes_share_a_line, 0, 2);
    tcase_add_test(group, shadow_words_are_apart_from_the_blocks);
    tcase_add_loop_test(group, a_copied_header_inside_a_block_is_no_block, 0, 2);
    tcase_add_test(group, a_modelled_source_takes_its_time);
    tcase_add_loop_test(group, double_free_is_found, 0, 2);
    tcase_add_loop_test(group, a_block_freed_twice_by_replay_goes_out_once, 0, 2);
    return run_group("mid", group);
}
