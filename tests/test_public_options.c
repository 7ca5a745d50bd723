/* test_public_options.c - tidepool/options.h and tidepool/stats.h as a program sees
 * them: what is set where, what is told once, and that the figures add up. */
#include <tidepool/tidepool.h>

#include <pthread.h>

#include "unit_base.h"

const char *tide_options = "retain=5M,foreign=leak"; /* see tidepool/options.h */

static const char *value_of(const char *key)
{
    static char buf[300];
    int len = tide_option_get(key, buf, sizeof buf);
    ck_assert_int_ge(len, 0);
    ck_assert_uint_eq(strlen(buf), (size_t)len);
    return buf;
}

START_TEST(a_program_has_options_of_its_own)
{
    ck_assert_str_eq(value_of("retain"), "5242880");
    ck_assert_str_eq(value_of("foreign"), "leak");
    ck_assert_str_eq(value_of("tiny_max"), "2047");
}
END_TEST

START_TEST(live_keys_can_be_set_at_any_time)
{
    ck_assert_int_eq(tide_option_set("cache", "2M"), 0);
    ck_assert_str_eq(value_of("cache"), "2097152");
    ck_assert_int_eq(tide_option_set("misuse", "warn"), 0);
    ck_assert_str_eq(value_of("misuse"), "warn");
    ck_assert_int_eq(tide_option_set("misuse", "banana"), -EINVAL);
    ck_assert_int_eq(tide_option_set("cache", "2"), -EINVAL);
    ck_assert_int_eq(tide_option_set("colour", "red"), -ENOENT);
    ck_assert_int_eq(tide_option_set("tiny_max", "1023"), -EBUSY);
    ck_assert_int_eq(tide_option_set("mid", "near"), -EBUSY);
    ck_assert_str_eq(value_of("misuse"), "warn");
    ck_assert_str_eq(value_of("cache"), "2097152");
    ck_assert_str_eq(value_of("tiny_max"), "2047");
}
END_TEST

START_TEST(get_tells_what_is_wrong)
{
    char buf[8] = "kept";
    ck_assert_int_eq(tide_option_get("colour", buf, sizeof buf), -ENOENT);
    ck_assert_int_eq(tide_option_get("tiny_max", buf, 4), -ERANGE);
    ck_assert_str_eq(buf, "kept");
    ck_assert_int_eq(tide_option_get("tiny_max", buf, 5), 4);
    ck_assert_str_eq(buf, "2047");
}
END_TEST

START_TEST(info_lists_every_key)
{
    struct tide_option_info info;
    size_t count = 0;
    bool seen_live = false, seen_fixed = false;
    char bad[400]; /* too long for any key */
    memset(bad, 'x', sizeof bad);
    bad[sizeof bad - 1] = '\0';
    for (; tide_option_info(count, &info) == 0; count++) {
        char buf[300];
        ck_assert_int_ge(tide_option_get(info.key, buf, sizeof buf), 0);
        ck_assert_int_eq(tide_option_set(info.key, bad), info.live ? -EINVAL : -EBUSY);
        seen_live = seen_live || info.live;
        seen_fixed = seen_fixed || !info.live;
    }
    ck_assert(count >= 10 && seen_live && seen_fixed);
    ck_assert_int_eq(tide_option_info(count, &info), -ENOENT);
}
END_TEST

static void free_twice(long unused)
{
    (void)unused;
    void *block = tide_malloc(100);
    UNIT_NEED(tide_option_set("misuse", "warn") == 0);
    tide_free(block);
    tide_free(block);
    UNIT_NEED(tide_option_set("misuse", "ignore") == 0);
    tide_free(block);
    struct tide_stats stats;
    UNIT_NEED(tide_stats(&stats) == 0);
    UNIT_NEED(stats.misuses == 2);
}

START_TEST(a_value_that_is_set_takes_effect)
{
    struct unit_end end = unit_child(free_twice, 0);
    ck_assert_int_eq(end.code, 0);
    ck_assert_ptr_eq(strstr(end.text, "tidepool: double free: "), end.text);
    ck_assert_ptr_eq(strchr(end.text, '\n'), end.text + end.len - 1);
}
END_TEST

static void *set_often(void *value)
{
    for (int i = 0; i < 2000; i++) {
        tide_option_set("cache", value);
        tide_option_set("retain", value);
        tide_option_set("misuse", i % 2 ? "abort" : "warn");
    }
    return NULL;
}

/* "Safe from any thread." */
START_TEST(threads_may_set_and_allocate_together)
{
    pthread_t thread[2];
    char buf[32];
    ck_assert_int_eq(tide_option_set("cache", "1M"), 0);
    ck_assert_int_eq(pthread_create(&thread[0], NULL, set_often, "1M"), 0);
    ck_assert_int_eq(pthread_create(&thread[1], NULL, set_often, "2M"), 0);
    for (int i = 0; i < 2000; i++) {
        tide_free(tide_malloc((size_t)i * 16));
        ck_assert_int_eq(tide_option_get("cache", buf, sizeof buf), 7);
    }
    pthread_join(thread[0], NULL);
    pthread_join(thread[1], NULL);
}
END_TEST

/* --- a program started anew, with an environment ------------------------------------ */

static const char *environment;
static const char *more;

static void start_program(long program)
{
    char *argv[] = {"test_public_options", (char *)program, NULL};
    char *env[] = {(char *)environment, (char *)more, NULL};
    execve("/proc/self/exe", argv, env);
    _exit(98);
}

static struct unit_end run_program(const char *name, const char *options, const char *second)
{
    environment = options;
    more = second;
    return unit_child(start_program, (long)(uintptr_t)name);
}

static int tier_program(void)
{
    void *block = tide_malloc(1500);
    return 10 + (int)tide_tier_of(block);
}

/* Starts itself again: what the grandchild says comes to the same stderr. */
static int nested_program(void)
{
    char *argv[] = {"test_public_options", "tier", NULL};
    extern char **environ;
    return execve("/proc/self/exe", argv, environ);
}

START_TEST(the_environment_sets_options)
{
    struct unit_end end = run_program("tier", "X=1", NULL);
    ck_assert_msg(end.code == 10 + TIDE_TIER_TINY && end.len == 0, "%d %s", end.code, end.text);
    end = run_program("tier", "TIDEPOOL_OPTIONS=tiny_max=1023", NULL);
    ck_assert_msg(end.code == 10 + TIDE_TIER_MID && end.len == 0, "%d %s", end.code, end.text);
}
END_TEST

START_TEST(a_bad_option_is_told_once_per_tree)
{
    const char *bad = "TIDEPOOL_OPTIONS=tiny_max=1023,colour=red";
    const char *line = "tidepool: unknown option 'colour' (see: tidepool options)\n";
    struct unit_end end = run_program("tier", bad, NULL);
    ck_assert_str_eq(end.text, line);
    ck_assert_int_eq(end.code, 10 + TIDE_TIER_MID);
    end = run_program("nested", bad, NULL);
    ck_assert_str_eq(end.text, line);
    ck_assert_int_eq(end.code, 10 + TIDE_TIER_MID);
}
END_TEST

START_TEST(strict_makes_a_bad_option_fatal)
{
    struct unit_end end = run_program("tier", "TIDEPOOL_OPTIONS=colour=red,strict=1", NULL);
    ck_assert_int_eq(end.code, 128 + SIGABRT);
    ck_assert_str_eq(end.text, "tidepool: unknown option 'colour' (see: tidepool options)\n");
    end = run_program("tier", "TIDEPOOL_OPTIONS=strict=1,mid=nonsense", NULL);
    ck_assert_int_eq(end.code, 128 + SIGABRT);
    ck_assert_ptr_eq(strstr(end.text, "tidepool: "), end.text);
    end = run_program("tier", "TIDEPOOL_OPTIONS=strict=1,tiny_max=1023", NULL);
    ck_assert_int_eq(end.code, 10 + TIDE_TIER_MID);
}
END_TEST

/* --- stats.h ------------------------------------------------------------------------ */

static void add(struct tide_tier_stats *sum, const struct tide_tier_stats *more_stats)
{
    sum->live_blocks += more_stats->live_blocks;
    sum->live_bytes += more_stats->live_bytes;
    sum->cached_blocks += more_stats->cached_blocks;
    sum->cached_bytes += more_stats->cached_bytes;
    sum->taken_blocks += more_stats->taken_blocks;
    sum->mapped_bytes += more_stats->mapped_bytes;
}

static void check_sum(enum tide_tier tier, const struct tide_tier_stats *expect)
{
    struct tide_tier_stats sum = {0}, one;
    size_t size = 0, index = 0;
    for (; tide_stats_class(tier, index, &one, &size) == 0; index++)
        add(&sum, &one);
    ck_assert_uint_ge(index, 40);
    ck_assert_int_eq(tide_stats_class(tier, index, &one, &size), -ENOENT);
    ck_assert_int_eq(tide_stats_class(tier, SIZE_MAX, &one, &size), -ENOENT);
    ck_assert_mem_eq(&sum, expect, sizeof sum);
}

START_TEST(classes_add_up_to_their_tier)
{
    static void *block[3000];
    struct tide_stats stats;
    struct tide_tier_stats one;
    uint64_t state = 77;
    size_t size;
    for (int i = 0; i < 3000; i++)
        block[i] = tide_malloc(unit_random(&state) % (i % 100 == 0 ? 3000000 : 20000));
    for (int i = 0; i < 3000; i += 3)
        tide_free(block[i]);
    ck_assert_int_eq(tide_stats(&stats), 0);
    check_sum(TIDE_TIER_TINY, &stats.tiny);
    check_sum(TIDE_TIER_MID, &stats.mid);
    check_sum(TIDE_TIER_LARGE, &stats.large);
    ck_assert_uint_eq(stats.tiny.live_blocks + stats.mid.live_blocks + stats.large.live_blocks,
                      2000);
    ck_assert_int_eq(tide_stats_class(TIDE_TIER_NONE, 0, &one, &size), -EINVAL);
    ck_assert_int_eq(tide_stats_class((enum tide_tier)4, 0, &one, &size), -EINVAL);
}
END_TEST

START_TEST(figures_follow_what_happens)
{
    struct tide_stats stats[3];
    tide_free(tide_malloc(1)); /* this thread has a heap from here on */
    tide_stats(&stats[0]);
    void *mid = tide_malloc(5000), *large = tide_malloc(5 << 20);
    tide_heap_t *heap = tide_heap_create();
    tide_stats(&stats[1]);
    ck_assert_uint_eq(stats[1].mid.live_blocks, 1);
    ck_assert_uint_ge(stats[1].mid.live_bytes, tide_malloc_usable_size(mid));
    ck_assert_uint_ge(stats[1].mid.taken_blocks, 1);
    ck_assert_uint_ge(stats[1].mid.mapped_bytes, stats[1].mid.live_bytes);
    ck_assert_uint_eq(stats[1].large.live_bytes, 5 << 20);
    ck_assert_uint_eq(stats[1].heaps, stats[0].heaps + 1);
    ck_assert_uint_gt(stats[1].metadata_bytes, 0);
    tide_free(mid);
    tide_free(large);
    tide_heap_destroy(heap);
    tide_malloc_trim(0);
    tide_stats(&stats[2]);
    ck_assert_uint_eq(stats[2].mid.live_blocks + stats[2].large.live_blocks, 0);
    ck_assert_uint_eq(stats[2].heaps, stats[0].heaps);
    ck_assert_uint_gt(stats[2].decommits, stats[1].decommits);
    ck_assert_uint_ge(stats[2].decommit_bytes, 5 << 20);
}
END_TEST

static void *make_and_end(void *out)
{
    *(void **)out = tide_malloc(5000);
    return NULL;
}

START_TEST(an_ended_thread_leaves_a_parked_heap)
{
    pthread_t thread;
    struct tide_stats before, after;
    void *block = NULL;
    tide_free(tide_malloc(1));
    tide_stats(&before);
    ck_assert_int_eq(pthread_create(&thread, NULL, make_and_end, &block), 0);
    pthread_join(thread, NULL);
    tide_stats(&after);
    ck_assert_uint_eq(after.heaps, before.heaps);
    ck_assert_uint_eq(after.parked_heaps, before.parked_heaps + 1);
    ck_assert_uint_eq(after.mid.live_blocks, 1);
    tide_free(block);
    tide_malloc_trim(0);
    tide_stats(&after);
    ck_assert_uint_eq(after.mid.live_blocks, 0);
    ck_assert_uint_gt(after.remote_batches, before.remote_batches);
}
END_TEST

START_TEST(json_is_one_line_with_the_same_figures)
{
    static char text[1 << 18];
    FILE *file = tmpfile();
    void *block = tide_malloc(5000);
    ck_assert_int_eq(tide_stats_json(fileno(file)), 0);
    rewind(file);
    size_t len = fread(text, 1, sizeof text - 1, file);
    ck_assert_uint_gt(len, 100);
    ck_assert_int_eq(text[0], '{');
    ck_assert_mem_eq(text + len - 2, "}\n", 2);
    ck_assert_ptr_eq(strchr(text, '\n'), text + len - 1);
    const char *mid = strstr(text, "\"mid\":{");
    ck_assert_ptr_nonnull(mid);
    const char *live = strstr(mid, "\"live_blocks\":1,"), *classes = strstr(mid, "\"classes\"");
    ck_assert(live != NULL && classes != NULL && live < classes);
    ck_assert_ptr_nonnull(strstr(text, "\"version\":\"" TIDE_VERSION_STRING "\""));
    ck_assert_int_eq(tide_stats_json(-1), -EBADF);
    tide_free(block);
    fclose(file);
}
END_TEST

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "tier") == 0)
        return tier_program();
    if (argc == 2 && strcmp(argv[1], "nested") == 0)
        return nested_program();
    const TTest *const tests[] = {a_program_has_options_of_its_own,
                                  live_keys_can_be_set_at_any_time,
                                  get_tells_what_is_wrong,
                                  info_lists_every_key,
                                  a_value_that_is_set_takes_effect,
                                  threads_may_set_and_allocate_together,
                                  the_environment_sets_options,
                                  a_bad_option_is_told_once_per_tree,
                                  strict_makes_a_bad_option_fatal,
                                  classes_add_up_to_their_tier,
                                  figures_follow_what_happens,
                                  an_ended_thread_leaves_a_parked_heap,
                                  json_is_one_line_with_the_same_figures,
                                  NULL};
    return unit_main("public_options", tests);
}
