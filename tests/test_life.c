/*
 * test_life.c - the start of the process, of threads and their ends, forks, and the options
 * that are read once.
 */
#include "pool_case.h"

#include <pthread.h>
#include <semaphore.h>

#include "box/foreign.h"
#include "box/key.h"
#include "box/life.h"
#include "box/option.h"
#include "box/route.h"

enum { THREADS = 3 };

static unsigned count_heaps(int state)
{
    unsigned count = 0;
    for (struct tide_heap *heap = tide_heap_first(); heap != NULL; heap = heap->next)
        count += atomic_load(&heap->state) == state;
    return count;
}

static void run_thread(void *(*function)(void *), void *arg)
{
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, function, arg), 0);
    pthread_join(thread, NULL);
}

/* --- start ---------------------------------------------------------------------------- */

START_TEST(the_library_has_started_before_main)
{
    ck_assert(tide_life_started());
    ck_assert(!tide_life_is_secure());
    ck_assert_uint_ne(tide_key.seed, 1); /* it has its secret */
    ck_assert_ptr_eq(tide_self, &tide_cache_empty);
    ck_assert_ptr_null(tide_heap_first()); /* a program that allocates nothing has nothing */
}
END_TEST

START_TEST(a_second_start_changes_nothing)
{
    struct tide_key key = tide_key;
    void *p = tide_malloc(5000);
    tide_life_start();
    ck_assert_int_eq(memcmp(&key, &tide_key, sizeof key), 0);
    ck_assert_int_eq(tide_tier_of(p), TIDE_TIER_MID);
    ck_assert_int_eq(tide_option_set("tiny_max", "1023"), -EBUSY);
    ck_assert_int_eq(tide_option_set("header", "shadow"), -EBUSY);
}
END_TEST

START_TEST(attach_gives_the_thread_a_heap)
{
    struct tide_cache *cache = tide_life_attach();
    ck_assert_ptr_nonnull(cache);
    ck_assert_ptr_eq(cache, tide_self);
    ck_assert_ptr_eq(&tide_heap_first()->cache, cache);
    ck_assert_uint_eq(count_heaps(TIDE_HEAP_LIVE), 1);
}
END_TEST

START_TEST(brackets_of_the_slow_path)
{
    tide_free(tide_malloc(10));
    const struct tide_cache *self = tide_self, *before = tide_life_enter();
    ck_assert_ptr_eq(before, self);
    ck_assert_ptr_eq(tide_self, &tide_cache_slow);
    tide_life_leave(before);
    ck_assert_ptr_eq(tide_self, self);
}
END_TEST

static void enter_twice(void *unused)
{
    (void)unused;
    tide_life_enter();
    tide_life_enter();
}

START_TEST(the_slow_path_is_entered_once)
{
    must_die(enter_twice, NULL,
             "tidepool: malloc or free called by a signal handler that interrupted "
             "the slow path of malloc or free\n");
}
END_TEST

static void misuse_with_policy(void *policy)
{
    int local;
    tide_option_values.misuse = (uint64_t)(uintptr_t)policy;
    tide_option_values.foreign = TIDE_FOREIGN_LEAK;
    tide_option_values.retain = 77 * (uint64_t)MIB;
    tide_life_push_options();
    APART(tide_segment_retain_limit() == 77 * MIB);
    APART(tide_foreign_excuse(&local));
    tide_free((char *)tide_malloc(100) + 8);
}

START_TEST(options_are_handed_down)
{
    struct ending end = run_apart(misuse_with_policy, (void *)TIDE_MISUSE_WARN);
    ck_assert_int_eq(end.status, 0);
    ck_assert_ptr_nonnull(strstr(end.said, "tidepool: interior pointer: "));
    must_live(misuse_with_policy, (void *)TIDE_MISUSE_IGNORE, "");
    end = run_apart(misuse_with_policy, (void *)TIDE_MISUSE_ABORT);
    ck_assert(WIFSIGNALED(end.status) && WTERMSIG(end.status) == SIGABRT);
}
END_TEST

/* --- options of another process -------------------------------------------------------- */

/* The exit status tells what it found: tier of 1500 bytes, shadow, live heaps. */
static int scene_look(void)
{
    void *p = tide_malloc(1500), *q = tide_malloc(5000);
    int status = tide_tier_of(p) * 10 + tide_segment_shadow();
    tide_free(p);
    tide_free(q);
    return status;
}

static int look_with(const char *options, char *said, size_t len)
{
    struct scene scene = {"look", options};
    struct ending end = run_apart(run_scene, &scene);
    snprintf(said, len, "%s", end.said);
    return WIFEXITED(end.status) ? WEXITSTATUS(end.status) : -WTERMSIG(end.status);
}

START_TEST(options_come_from_the_environment)
{
    char said[2048];
    ck_assert_int_eq(look_with("", said, sizeof said), 10);
    ck_assert_str_eq(said, "");
    ck_assert_int_eq(look_with("tiny_max=1023", said, sizeof said), 20);
    ck_assert_int_eq(look_with("header=shadow", said, sizeof said), 11);
    ck_assert_int_eq(look_with("header=inband,mid=near,delay=1", said, sizeof said), 10);
    ck_assert_int_eq(look_with("mid=near,delay=1,tiny_max=1023", said, sizeof said), 21);
    ck_assert_str_eq(said, "");
    ck_assert_int_eq(look_with("verbose=1,mid=near", said, sizeof said), 10);
    ck_assert_msg(strncmp(said, "tidepool: Mid is near (", 23) == 0, "%s", said);
}
END_TEST

START_TEST(bad_options_are_told_once)
{
    char said[2048];
    ck_assert_int_eq(look_with("tiny_max=5,header=shadow", said, sizeof said), 11);
    ck_assert_ptr_nonnull(strstr(said, "bad value of option 'tiny_max'"));
    ck_assert_ptr_eq(strchr(said, '\n'), said + strlen(said) - 1);
    ck_assert_int_eq(look_with("mid=moon", said, sizeof said), 10);
    ck_assert_ptr_nonnull(strstr(said, "moon"));
    ck_assert_int_eq(look_with("mid=moon,strict=1", said, sizeof said), -SIGABRT);
    setenv("TIDEPOOL_WARNED", "1", 1); /* the parent has said it */
    ck_assert_int_eq(look_with("tiny_max=5", said, sizeof said), 10);
    ck_assert_str_eq(said, "");
}
END_TEST

/* --- threads ------------------------------------------------------------------------------ */

static void *attach_and_tell(void *out)
{
    *(struct tide_cache **)out = tide_life_attach();
    return NULL;
}

START_TEST(a_thread_gives_its_heap_away)
{
    struct tide_cache *first, *second;
    run_thread(attach_and_tell, &first);
    ck_assert_uint_eq(count_heaps(TIDE_HEAP_PARKED), 1);
    ck_assert_uint_eq(count_heaps(TIDE_HEAP_LIVE), 0);
    run_thread(attach_and_tell, &second);
    ck_assert_ptr_eq(first, second);
    ck_assert_uint_eq(count_heaps(TIDE_HEAP_PARKED), 1);
}
END_TEST

/* --- fork ----------------------------------------------------------------------------------- */

static void *many[400];

static void check_in_child(void *unused)
{
    (void)unused;
    for (int i = 0; i < 400; i++) {
        APART(many[i] == NULL || is_filled(many[i], i % 251, (size_t)i * 50));
        tide_free(many[i]);
    }
    for (int i = 0; i < 400; i++)
        many[i] = memset(tide_malloc((size_t)i * 99), i % 251, (size_t)i * 99);
    for (int i = 0; i < 400; i++)
        APART(is_filled(many[i], i % 251, (size_t)i * 99));
    tide_malloc_trim(0);
    for (struct tide_heap *heap = tide_heap_first(); heap != NULL; heap = heap->next)
        APART(pages_fault(&heap->pages) == NULL);
}

START_TEST(a_child_goes_on_with_the_blocks_of_its_parent)
{
    use_header(_i);
    for (int i = 0; i < 400; i++)
        many[i] = memset(tide_malloc((size_t)i * 50), i % 251, (size_t)i * 50);
    for (int i = 0; i < 400; i += 3) {
        tide_free(many[i]);
        many[i] = NULL;
    }
    must_live(check_in_child, NULL, "");
    check_in_child(NULL);
}
END_TEST

static sem_t ready, leave;

static void *hold_blocks(void *arg)
{
    void **p = arg;
    for (int i = 0; i < 100; i++)
        p[i] = memset(tide_malloc((size_t)i * 50), i % 251, (size_t)i * 50);
    for (int i = 0; i < 50; i++)
        tide_free(tide_malloc((size_t)i * 100));
    sem_post(&ready);
    sem_wait(&leave);
    return NULL;
}

static void adopt_in_child(void *unused)
{
    (void)unused;
    APART(count_heaps(TIDE_HEAP_LIVE) == 1);
    APART(count_heaps(TIDE_HEAP_PARKED) == THREADS);
    if (!THREAD_SANITIZED) {
        struct tide_cache *adopted;
        pthread_t thread;
        APART(pthread_create(&thread, NULL, attach_and_tell, &adopted) == 0);
        pthread_join(thread, NULL);
        APART(adopted != NULL && count_heaps(TIDE_HEAP_PARKED) == THREADS);
    }
    check_in_child(NULL);
    struct tide_stats stats;
    tide_stats(&stats);
    APART(stats.heaps == 1 && stats.parked_heaps == THREADS);
}

START_TEST(a_child_adopts_the_heaps_of_absent_threads)
{
    pthread_t thread[THREADS];
    sem_init(&ready, 0, 0);
    sem_init(&leave, 0, 0);
    tide_free(tide_malloc(10));
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&thread[i], NULL, hold_blocks, many + i * 100), 0);
    for (int i = 0; i < THREADS; i++)
        sem_wait(&ready);
    for (int i = 100; i < 400; i++) { /* only those of the first thread match the pattern */
        tide_free(many[i]);
        many[i] = NULL;
    }
    must_live(adopt_in_child, NULL, "");
    for (int i = 0; i < THREADS; i++)
        sem_post(&leave);
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
}
END_TEST

static _Atomic bool done;
static _Atomic(void *) common[32];

/* Everything that takes locks, magazines and outboxes of others. */
static void *allocate_until_done(void *arg)
{
    uint64_t seed = (uintptr_t)arg;
    while (!done) {
        size_t size = next_random(&seed) % (next_random(&seed) % 8 ? 5000 : 100000);
        void *p = tide_malloc(size);
        tide_free(atomic_exchange(&common[next_random(&seed) % 32], p));
    }
    return NULL;
}

static void *start_and_end(void *arg)
{
    while (!done)
        run_thread(attach_and_tell, &(struct tide_cache *){NULL});
    return arg;
}

static void use_in_child(void *unused)
{
    (void)unused;
    for (int i = 0; i < 100; i++)
        tide_free(tide_malloc((size_t)i * 400));
    tide_malloc_trim(0);
    for (struct tide_heap *heap = tide_heap_first(); heap != NULL; heap = heap->next)
        APART(pages_fault(&heap->pages) == NULL);
}

static void fork_under_load(int forks)
{
    pthread_t thread[THREADS];
    tide_free(tide_malloc(10));
    for (uintptr_t i = 0; i < THREADS; i++)
        ck_assert_int_eq(
            pthread_create(&thread[i], NULL,
                           i == 0 && !THREAD_SANITIZED ? start_and_end : allocate_until_done,
                           (void *)(i + 1)),
            0);
    for (int i = 0; i < forks; i++) {
        usleep((useconds_t)(i * 37 % 1000));
        must_live(use_in_child, NULL, "");
    }
    done = true;
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    for (int i = 0; i < 32; i++)
        tide_free(common[i]);
    use_in_child(NULL);
}

START_TEST(forks_while_other_threads_allocate)
{
    use_header(_i);
    fork_under_load(60);
}
END_TEST

/* Far memory that is slow: a fork finds threads in the middle of a refill. */
START_TEST(forks_while_others_wait_for_far_memory)
{
    struct tide_source source;
    ck_assert_int_eq(tide_source_open(&source, "near,delay=20000"), 0);
    tide_segment_start(&source, true);
    fork_under_load(30);
}
END_TEST

/* A handler that interrupted the fast path may fork: its child goes on with the own heap. */
static void return_from_handler(void *cache)
{
    APART(atomic_load(&((struct tide_heap *)cache)->state) == TIDE_HEAP_LIVE);
    tide_self_set(cache);
    use_in_child(NULL);
}

START_TEST(a_handler_that_interrupted_the_fast_path_may_fork)
{
    tide_free(tide_malloc(10));
    struct tide_cache *self = tide_self;
    tide_self_set(&tide_cache_busy);
    struct ending end = run_apart(return_from_handler, self);
    tide_self_set(self);
    ck_assert_str_eq(end.said, "");
    ck_assert_int_eq(end.status, 0);
}
END_TEST

static void fork_in_slow(void *unused)
{
    (void)unused;
    tide_self_set(&tide_cache_slow);
    _exit(fork() == 0 ? 0 : 1);
}

START_TEST(a_handler_that_interrupted_the_slow_path_may_not_fork)
{
    tide_free(tide_malloc(10));
    must_die(fork_in_slow, NULL,
             "tidepool: fork called by a signal handler that interrupted the slow path of "
             "malloc or free\n");
}
END_TEST

/* Handlers of the program that run between ours, while all our locks are held. */
static void *from_handler;

static void allocate_in_handler(void)
{
    tide_free(from_handler);
    from_handler = tide_malloc(3000);
    tide_free(tide_malloc(70000));
    tide_heap_destroy(tide_heap_create());
    tide_malloc_trim(0);
}

START_TEST(atfork_handlers_may_allocate)
{
    ck_assert_int_eq(pthread_atfork(allocate_in_handler, allocate_in_handler, allocate_in_handler),
                     0);
    for (int i = 0; i < 5; i++)
        must_live(use_in_child, NULL, "");
    use_in_child(NULL);
    for (struct tide_heap *heap = tide_heap_first(); heap != NULL; heap = heap->next)
        ck_assert_uint_eq(atomic_load(&heap->pages.lock.word), 0);
}
END_TEST

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "look") == 0)
        return scene_look();
    TCase *group = tcase_create("life");
    tcase_add_test(group, the_library_has_started_before_main);
    tcase_add_test(group, a_second_start_changes_nothing);
    tcase_add_test(group, attach_gives_the_thread_a_heap);
    tcase_add_test(group, brackets_of_the_slow_path);
    tcase_add_test(group, the_slow_path_is_entered_once);
    tcase_add_test(group, options_are_handed_down);
    tcase_add_test(group, options_come_from_the_environment);
    tcase_add_test(group, bad_options_are_told_once);
    tcase_add_test(group, a_thread_gives_its_heap_away);
    tcase_add_loop_test(group, a_child_goes_on_with_the_blocks_of_its_parent, 0, 2);
    tcase_add_test(group, a_child_adopts_the_heaps_of_absent_threads);
    tcase_add_loop_test(group, forks_while_other_threads_allocate, 0, 2);
    tcase_add_test(group, forks_while_others_wait_for_far_memory);
    tcase_add_test(group, a_handler_that_interrupted_the_fast_path_may_fork);
    tcase_add_test(group, a_handler_that_interrupted_the_slow_path_may_not_fork);
    tcase_add_test(group, atfork_handlers_may_allocate);
    return run_group("life", group);
}
