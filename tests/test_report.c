/*
 * test_report.c - the figures: exact at rest, the classes add up to the tiers, the JSON is
 * JSON, and stats_at_exit= appends one line.
 */
#include "pool_case.h"

#include <ctype.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/socket.h>

#include "box/foreign.h"
#include "box/report.h"
#include "box/route.h"

enum { MANY = 2000, THREADS = 4, TEXT = 256 * 1024 };

static char text[TEXT];
static struct tide_stats stats;

static const struct tide_tier_stats *tier_of(int tier)
{
    return tier == TIDE_TIER_TINY ? &stats.tiny : tier == TIDE_TIER_MID ? &stats.mid : &stats.large;
}

static void take_stats(void)
{
    ck_assert_int_eq(tide_stats(&stats), 0);
}

static uint64_t all_live(void)
{
    take_stats();
    return stats.tiny.live_blocks + stats.mid.live_blocks + stats.large.live_blocks;
}

/* Bytes that the block takes from its page. */
static size_t block_bytes(const void *p)
{
    const struct tide_window *window = tide_pagemap_find((uintptr_t)p);
    return window != NULL ? tide_window_page(window, (uintptr_t)p)->stride
                          : tide_malloc_usable_size(p);
}

static size_t any_size(uint64_t *seed)
{
    static const size_t most[] = {64, 2047, 2047, 9000, 32768, 60000, 1300000};
    return next_random(seed) % most[next_random(seed) % 7];
}

/* --- counting -------------------------------------------------------------------------- */

/* What the test itself has, tier by tier. */
static struct {
    uint64_t blocks, bytes;
} model[4];

static void model_add(const void *p, int sign)
{
    enum tide_tier tier = tide_tier_of(p);
    ck_assert_int_ne(tier, TIDE_TIER_NONE);
    model[tier].blocks += (uint64_t)(int64_t)sign;
    model[tier].bytes += (uint64_t)(int64_t)sign * block_bytes(p);
}

static void must_match_model(void)
{
    take_stats();
    for (int tier = 1; tier < 4; tier++) {
        ck_assert_uint_eq(tier_of(tier)->live_blocks, model[tier].blocks);
        ck_assert_uint_eq(tier_of(tier)->live_bytes, model[tier].bytes);
        ck_assert_uint_le(model[tier].bytes + tier_of(tier)->cached_bytes,
                          tier_of(tier)->mapped_bytes);
    }
}

START_TEST(live_figures_are_exact_at_rest)
{
    enum { LIVE = 300 };
    static void *p[LIVE];
    uint64_t seed = 40, taken = 0;
    use_header(_i);
    must_match_model();
    for (int step = 0; step < 4000; step++) {
        size_t at = next_random(&seed) % LIVE;
        if (p[at] != NULL)
            model_add(p[at], -1);
        tide_free(p[at]);
        p[at] = step % 9 ? tide_malloc(any_size(&seed))
                         : tide_aligned_alloc((size_t)32 << step % 8, any_size(&seed));
        model_add(p[at], 1);
        if (step % 100 == 0)
            must_match_model();
    }
    for (int tier = 1; tier < 4; tier++) {
        ck_assert_uint_ge(tier_of(tier)->taken_blocks, tier_of(tier)->live_blocks);
        taken += tier_of(tier)->taken_blocks;
    }
    ck_assert_uint_ge(taken, LIVE);
    for (int i = 0; i < LIVE; i++)
        tide_free(p[i]);
    ck_assert_uint_eq(all_live(), 0);
    ck_assert_uint_gt(stats.tiny.cached_blocks, 0);
    tide_malloc_trim(0);
    take_stats();
    ck_assert_uint_eq(stats.tiny.cached_blocks + stats.mid.cached_blocks, 0);
    ck_assert_uint_eq(stats.tiny.mapped_bytes + stats.mid.mapped_bytes, 0);
    ck_assert_uint_eq(stats.large.mapped_bytes + stats.retained_bytes, 0);
    ck_assert_uint_gt(stats.decommits, 0);
    ck_assert_uint_gt(stats.decommit_bytes, stats.decommits);
}
END_TEST

static sem_t arrived, leave;

/* Allocates MANY blocks, frees half of its own and those that main left, and waits. */
static void *count_worker(void *arg)
{
    void **p = arg;
    uint64_t seed = (uintptr_t)p[0];
    for (int i = 1; i <= MANY; i++)
        p[i] = tide_malloc(any_size(&seed) / 4);
    for (int i = 2; i <= MANY; i += 2)
        tide_free(p[i]);
    tide_free(p[MANY + 1]);
    sem_post(&arrived);
    sem_wait(&leave);
    return NULL;
}

START_TEST(figures_are_exact_while_threads_rest)
{
    static void *p[THREADS][MANY + 2];
    pthread_t thread[THREADS];
    use_header(_i);
    sem_init(&arrived, 0, 0);
    sem_init(&leave, 0, 0);
    for (int i = 0; i < THREADS; i++) {
        p[i][0] = (void *)(uintptr_t)(i + 1);
        p[i][MANY + 1] = tide_malloc(700); /* will wait in an outbox of the thread */
        ck_assert_int_eq(pthread_create(&thread[i], NULL, count_worker, p[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        sem_wait(&arrived);
    ck_assert_uint_eq(all_live(), THREADS * MANY / 2);
    ck_assert_uint_ge(stats.heaps, THREADS + 1);
    ck_assert_uint_eq(stats.parked_heaps, 0);
    for (int i = 0; i < THREADS; i++)
        for (int k = 1; k <= MANY; k += 4)
            tide_free(p[i][k]); /* some are under way, some have arrived */
    ck_assert_uint_eq(all_live(), THREADS * MANY / 4);
    ck_assert_uint_gt(stats.remote_batches, 0);
    for (int i = 0; i < THREADS; i++)
        sem_post(&leave);
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    ck_assert_uint_eq(all_live(), THREADS * MANY / 4);
    ck_assert_uint_eq(stats.parked_heaps, THREADS);
    for (int i = 0; i < THREADS; i++)
        for (int k = 3; k <= MANY; k += 4)
            tide_free(p[i][k]);
    ck_assert_uint_eq(all_live(), 0);
}
END_TEST

/* Frees of a heap that is gone by now are no free blocks of anybody. */
START_TEST(what_waits_for_a_destroyed_heap_does_not_count)
{
    void *p[30];
    for (int i = 0; i < 30; i++)
        p[i] = tide_malloc(100);
    tide_heap_t *heap = tide_heap_create();
    for (int i = 0; i < 10; i++)
        tide_free(tide_heap_malloc(heap, 100));
    take_stats();
    uint64_t cached = stats.tiny.cached_blocks;
    tide_heap_destroy(heap);
    ck_assert_uint_eq(all_live(), 30);
    ck_assert_uint_eq(stats.tiny.cached_blocks, cached - 10);
    for (int i = 0; i < 30; i++)
        tide_free(p[i]);
    ck_assert_uint_eq(all_live(), 0);
}
END_TEST

static void must_add_up(void)
{
    uint64_t sum[6];
    take_stats();
    for (int tier = 1; tier < 4; tier++) {
        struct tide_tier_stats row;
        size_t size, rows = 0;
        memset(sum, 0, sizeof sum);
        for (; tide_stats_class((enum tide_tier)tier, rows, &row, &size) == 0; rows++) {
            sum[0] += row.live_blocks;
            sum[1] += row.live_bytes;
            sum[2] += row.cached_blocks;
            sum[3] += row.cached_bytes;
            sum[4] += row.taken_blocks;
            sum[5] += row.mapped_bytes;
        }
        ck_assert_uint_ge(rows, 40);
        ck_assert_uint_eq(sum[0], tier_of(tier)->live_blocks);
        ck_assert_uint_eq(sum[1], tier_of(tier)->live_bytes);
        ck_assert_uint_eq(sum[2], tier_of(tier)->cached_blocks);
        ck_assert_uint_eq(sum[3], tier_of(tier)->cached_bytes);
        ck_assert_uint_eq(sum[4], tier_of(tier)->taken_blocks);
        ck_assert_uint_eq(sum[5], tier_of(tier)->mapped_bytes);
        ck_assert_int_eq(tide_stats_class((enum tide_tier)tier, rows, &row, &size), -ENOENT);
        ck_assert_int_eq(tide_stats_class((enum tide_tier)tier, SIZE_MAX, &row, &size), -ENOENT);
    }
}

START_TEST(classes_add_up_to_tiers)
{
    static void *p[MANY];
    uint64_t seed = 41;
    use_header(_i);
    must_add_up();
    for (int i = 0; i < MANY; i++)
        p[i] = i % 5 ? tide_malloc(any_size(&seed)) : tide_aligned_alloc(256, any_size(&seed));
    must_add_up();
    for (int i = 0; i < MANY; i += 2)
        tide_free(p[i]);
    must_add_up();
}
END_TEST

START_TEST(a_class_is_named_by_its_usable_bytes)
{
    static const size_t sizes[] = {16, 2048, 5000, 40000};
    static const enum tide_tier tiers[] = {TIDE_TIER_TINY, TIDE_TIER_MID, TIDE_TIER_MID,
                                           TIDE_TIER_LARGE};
    struct tide_tier_stats row;
    size_t size;
    for (int i = 0; i < 4; i++) {
        void *p = tide_malloc(sizes[i]);
        uint64_t found = 0;
        for (size_t k = 0; tide_stats_class(tiers[i], k, &row, &size) == 0; k++)
            if (row.live_blocks == 1) {
                ck_assert_uint_eq(size, tide_malloc_usable_size(p));
                ck_assert_uint_eq(row.live_bytes, block_bytes(p));
                ck_assert_uint_ge(row.mapped_bytes, 256 * KIB);
                found++;
            }
        ck_assert_uint_eq(found, 1);
        tide_free(p);
    }
    ck_assert_int_eq(tide_stats_class(TIDE_TIER_NONE, 0, &row, &size), -EINVAL);
    ck_assert_int_eq(tide_stats_class((enum tide_tier)4, 0, &row, &size), -EINVAL);
}
END_TEST

START_TEST(events_are_counted)
{
    int local;
    take_stats();
    ck_assert_uint_eq(stats.misuses + stats.foreign_leaks, 0);
    ck_assert_int_eq(tide_option_set("misuse", "ignore"), 0);
    void *p = tide_malloc(100);
    tide_free(p);
    tide_free(p);
    tide_free((char *)tide_malloc(100) + 8);
    ck_assert_int_eq(tide_option_set("foreign", "leak"), 0);
    tide_free(&local);
    take_stats();
    ck_assert_uint_gt(stats.metadata_bytes, 0);
    ck_assert_uint_eq(stats.misuses, 2);
    ck_assert_uint_eq(stats.foreign_leaks, 1);
}
END_TEST

START_TEST(an_empty_tally_gives_no_figures)
{
    static struct tide_tally tally;
    struct tide_tier_stats row = {1, 1, 1, 1, 1, 1};
    size_t size = 1;
    tide_report_stats(&tally, &stats);
    for (int tier = 1; tier < 4; tier++)
        ck_assert(is_filled(tier_of(tier), 0, sizeof(struct tide_tier_stats)));
    ck_assert_int_eq(tide_report_class(&tally, TIDE_TIER_MID, 3, &row, &size), 0);
    ck_assert(is_filled(&row, 0, sizeof row));
    tally.row[TIDE_KIND_MID][3].used = 10;
    tally.row[TIDE_KIND_MID][3].cached = 4;
    tally.mappings = 2;
    tally.mapping_bytes = 3 * MIB;
    tide_report_stats(&tally, &stats);
    ck_assert_uint_eq(stats.mid.live_blocks, 6);
    ck_assert_uint_eq(stats.mid.cached_bytes, 4 * tide_sizeclass_stride(TIDE_KIND_MID, 3));
    ck_assert_uint_eq(stats.large.live_blocks, 2);
    ck_assert_uint_eq(stats.large.live_bytes, 3 * MIB);
    /* a magazine that was read a moment later must not give a negative number */
    tally.row[TIDE_KIND_MID][3].cached = 11;
    tide_report_stats(&tally, &stats);
    ck_assert_uint_eq(stats.mid.live_blocks, 0);
}
END_TEST

/* --- JSON -------------------------------------------------------------------------------- */

static const char *json_value(const char *at);

static const char *json_string(const char *at)
{
    if (*at++ != '"')
        return NULL;
    for (; *at != '"'; at++) {
        if ((unsigned char)*at < 0x20)
            return NULL;
        if (*at == '\\' && *++at == 'u')
            for (int i = 0; i < 4; i++)
                if (!isxdigit((unsigned char)*++at))
                    return NULL;
    }
    return at + 1;
}

/* What is between brackets: pairs of an object, or values. */
static const char *json_list(const char *at, bool object)
{
    char end = object ? '}' : ']';
    if (*++at == end)
        return at + 1;
    for (;; at++) {
        if (object && ((at = json_string(at)) == NULL || *at++ != ':'))
            return NULL;
        if ((at = json_value(at)) == NULL)
            return NULL;
        if (*at == end)
            return at + 1;
        if (*at != ',')
            return NULL;
    }
}

/* The end of the value that starts at `at`; NULL: it is none. */
static const char *json_value(const char *at)
{
    if (*at == '{' || *at == '[')
        return json_list(at, *at == '{');
    if (*at == '"')
        return json_string(at);
    if (!isdigit((unsigned char)*at) || (*at == '0' && isdigit((unsigned char)at[1])))
        return NULL;
    while (isdigit((unsigned char)*at))
        at++;
    return at;
}

static void must_be_one_line_of_json(const char *line)
{
    const char *end = json_value(line);
    ck_assert_ptr_nonnull(end);
    ck_assert_str_eq(end, "\n");
    ck_assert_int_eq(line[0], '{');
}

/* The number behind "key": after the first `from`. */
static uint64_t number_of(const char *from, const char *key)
{
    char name[64];
    const char *at = strstr(text, from);
    snprintf(name, sizeof name, "\"%s\":", key);
    ck_assert_ptr_nonnull(at);
    at = strstr(at, name);
    ck_assert_ptr_nonnull(at);
    return strtoull(at + strlen(name), NULL, 10);
}

static bool has_text(const char *part)
{
    return strstr(text, part) != NULL;
}

/* Through a socket that keeps the borders of writes. */
static void read_json(void)
{
    int ends[2];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
    ck_assert_int_eq(tide_stats_json(ends[0]), 0);
    ssize_t got = read(ends[1], text, sizeof text - 1);
    ck_assert_int_gt(got, 0);
    text[got] = '\0';
    close(ends[0]);
    ck_assert_int_eq(read(ends[1], text + got, 1), 0); /* it was one write */
    close(ends[1]);
    must_be_one_line_of_json(text);
}

START_TEST(json_says_the_same)
{
    void *p[200];
    uint64_t seed = 6;
    use_header(_i);
    for (int i = 0; i < 200; i++)
        p[i] = tide_malloc(any_size(&seed));
    for (int i = 0; i < 200; i += 3)
        tide_free(p[i]);
    read_json();
    uint64_t before = all_live();
    ck_assert_uint_eq(number_of("\"tiny\":{", "live_blocks"), stats.tiny.live_blocks);
    ck_assert_uint_eq(number_of("\"tiny\":{", "cached_bytes"), stats.tiny.cached_bytes);
    ck_assert_uint_eq(number_of("\"mid\":{", "live_bytes"), stats.mid.live_bytes);
    ck_assert_uint_eq(number_of("\"mid\":{", "taken_blocks"), stats.mid.taken_blocks);
    ck_assert_uint_eq(number_of("\"large\":{", "mapped_bytes"), stats.large.mapped_bytes);
    ck_assert_uint_eq(number_of("{", "retained_bytes"), stats.retained_bytes);
    ck_assert_uint_eq(number_of("{", "metadata_bytes"), stats.metadata_bytes);
    ck_assert_uint_eq(number_of("{", "heaps"), stats.heaps);
    ck_assert_uint_eq(number_of("{", "pid"), (uint64_t)getpid());
    ck_assert(has_text("\"version\":\"" TIDE_VERSION_STRING "\""));
    ck_assert(has_text("/test_report\""));
    ck_assert(has_text("\"classes\":[{\"size\":"));
    ck_assert(has_text(_i ? "\"header\":\"shadow\"" : "\"header\":\"inband\""));
    ck_assert(has_text("\"mid_source\":\"near\""));
    ck_assert(has_text("\"misuse\":\"abort\"") && has_text("\"tiny_max\":\"2047\""));
    ck_assert_uint_eq(all_live(), before);
}
END_TEST

START_TEST(json_escapes_strings)
{
    ck_assert_int_eq(tide_option_set("stats_at_exit", "/a\"b\\c\n\x01\x1f.d\xc3\xa9"), 0);
    read_json();
    ck_assert(has_text("\"stats_at_exit\":\"/a\\\"b\\\\c\\u000a\\u0001\\u001f.d\xc3\xa9\""));
    ck_assert_int_eq(tide_option_set("stats_at_exit", ""), 0);
}
END_TEST

START_TEST(errors_of_writing_are_returned)
{
    int full = open("/dev/full", O_WRONLY);
    ck_assert_int_ge(full, 0);
    errno = 0;
    ck_assert_int_eq(tide_stats_json(-1), -EBADF);
    ck_assert_int_eq(tide_stats_json(full), -ENOSPC);
    ck_assert_int_eq(errno, 0);
    struct rlimit before = memory_ends();
    int none = tide_stats_json(full), figures = tide_stats(&stats);
    memory_returns(before);
    ck_assert_int_eq(none, -ENOMEM);
    ck_assert_int_eq(figures, -ENOMEM);
}
END_TEST

/* --- at exit ------------------------------------------------------------------------------- */

static char path[64];

static unsigned read_lines(const char *name)
{
    unsigned lines = 0;
    FILE *file = fopen(name, "r");
    ck_assert_ptr_nonnull(file);
    while (fgets(text, sizeof text, file) != NULL) {
        must_be_one_line_of_json(text);
        lines++;
    }
    fclose(file);
    return lines;
}

static void make_path(void)
{
    strcpy(path, "/tmp/test_report.XXXXXX");
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    close(fd);
}

START_TEST(each_call_appends_a_line)
{
    make_path();
    ck_assert_int_eq(tide_report_at_exit(), 0); /* no file, no line */
    ck_assert_int_eq(tide_option_set("stats_at_exit", path), 0);
    for (unsigned i = 1; i < 4; i++) {
        ck_assert_int_eq(tide_report_at_exit(), 0);
        ck_assert_uint_eq(read_lines(path), i);
    }
    ck_assert_int_eq(tide_option_set("stats_at_exit", "/no/such/directory"), 0);
    ck_assert_int_eq(tide_report_at_exit(), -ENOENT);
    unlink(path);
    ck_assert_int_eq(tide_option_set("stats_at_exit", ""), 0);
}
END_TEST

START_TEST(the_pid_may_be_in_the_name)
{
    char name[128], expected[128];
    make_path();
    snprintf(name, sizeof name, "%s.%%p-%%p.%%", path);
    snprintf(expected, sizeof expected, "%s.%d-%d.%%", path, (int)getpid(), (int)getpid());
    ck_assert_int_eq(tide_option_set("stats_at_exit", name), 0);
    ck_assert_int_eq(tide_report_at_exit(), 0);
    ck_assert_uint_eq(read_lines(expected), 1);
    unlink(expected);
    unlink(path);
    ck_assert_int_eq(tide_option_set("stats_at_exit", ""), 0);
}
END_TEST

/* Another process, from start to exit. */
START_TEST(a_process_writes_its_line_at_exit)
{
    char option[128];
    struct scene scene = {"allocate", option};
    make_path();
    snprintf(option, sizeof option, "stats_at_exit=%s", path);
    must_live(run_scene, &scene, "");
    must_live(run_scene, &scene, "");
    ck_assert_uint_eq(read_lines(path), 2);
    ck_assert_uint_eq(number_of("\"tiny\":{", "live_blocks"), 5);
    ck_assert_uint_eq(number_of("\"mid\":{", "live_blocks"), 1);
    unlink(path);
    snprintf(option, sizeof option, "stats_at_exit=/no/such/directory");
    must_live(run_scene, &scene,
              "tidepool: the file of the option stats_at_exit cannot be written\n");
}
END_TEST

static int scene_allocate(void)
{
    int missing = 0;
    for (int i = 0; i < 5; i++)
        missing += tide_malloc(100) == NULL;
    return missing + (tide_malloc(5000) == NULL);
}

/* --- at work --------------------------------------------------------------------------------- */

static _Atomic bool done;

static void *come_and_go(void *arg)
{
    uint64_t seed = (uintptr_t)arg;
    static _Atomic(void *) common[16];
    for (int i = 0; i < 400; i++) {
        void *p = tide_malloc(any_size(&seed) / 8);
        tide_free(atomic_exchange(&common[next_random(&seed) % 16], p));
    }
    for (int i = 0; i < 16; i++)
        tide_free(atomic_exchange(&common[i], NULL));
    return NULL;
}

static void *watch(void *arg)
{
    struct tide_stats seen;
    int null = open("/dev/null", O_WRONLY);
    while (!done) {
        tide_stats(&seen);
        tide_stats_json(null);
    }
    close(null);
    return arg;
}

START_TEST(figures_can_be_taken_at_any_time)
{
    pthread_t thread[THREADS], watcher;
    use_header(_i);
    ck_assert_int_eq(pthread_create(&watcher, NULL, watch, NULL), 0);
    for (int round = 0; round < 10; round++) {
        for (uintptr_t i = 0; i < THREADS; i++)
            ck_assert_int_eq(pthread_create(&thread[i], NULL, come_and_go, (void *)(i + 1)), 0);
        for (int i = 0; i < THREADS; i++)
            pthread_join(thread[i], NULL);
    }
    done = true;
    pthread_join(watcher, NULL);
    ck_assert_uint_eq(all_live(), 0);
}
END_TEST

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "allocate") == 0)
        return scene_allocate();
    TCase *group = tcase_create("report");
    tcase_add_loop_test(group, live_figures_are_exact_at_rest, 0, 2);
    tcase_add_loop_test(group, figures_are_exact_while_threads_rest, 0, 2);
    tcase_add_test(group, what_waits_for_a_destroyed_heap_does_not_count);
    tcase_add_loop_test(group, classes_add_up_to_tiers, 0, 2);
    tcase_add_test(group, a_class_is_named_by_its_usable_bytes);
    tcase_add_test(group, events_are_counted);
    tcase_add_test(group, an_empty_tally_gives_no_figures);
    tcase_add_loop_test(group, json_says_the_same, 0, 2);
    tcase_add_test(group, json_escapes_strings);
    tcase_add_test(group, errors_of_writing_are_returned);
    tcase_add_test(group, each_call_appends_a_line);
    tcase_add_test(group, the_pid_may_be_in_the_name);
    tcase_add_test(group, a_process_writes_its_line_at_exit);
    tcase_add_loop_test(group, figures_can_be_taken_at_any_time, 0, 2);
    return run_group("report", group);
}
