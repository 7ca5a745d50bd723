/* test_retire_killed.c - a process is killed while it trims the log of another one, whose blocks
 * are in it: each of them comes home, once. So they do when who repairs the log is killed, too. */
#define _GNU_SOURCE 1
#include "log_crowd.h"

#include "box/heap.h"
#include "box/logapi.h"

enum { BLOCKS = 20, AT_ALL = 1, AT_4_5 = 2 };

static const struct {
    const char *point;
    int where, times;
} deaths[] = {
    {"trim_holding", AT_ALL, 1},     {"trim_said", AT_4_5, 1},
    {"trim_base", AT_4_5, 1},        {"trim_place", AT_4_5, 1},
    {"trim_forgotten", AT_4_5, 1},   {"trim_forgotten", AT_4_5, 2},
    {"retire_put", AT_ALL, 1},       {"retire_put", AT_ALL, 3},
    {"retire_put", AT_4_5, 5},       {"release_said", AT_ALL, 1},
    {"release_said", AT_4_5, 2},     {"retire_noted", AT_ALL, 1},
    {"retire_noted", AT_4_5, 2},     {"release_granule", AT_ALL, 1},
    {"release_granule", AT_4_5, 2},  {"release_slot", AT_ALL, 1},
    {"release_slot", AT_4_5, 2},     {"retire_published", AT_ALL, 1},
    {"retire_published", AT_4_5, 2}, {"release_done", AT_ALL, 1},
    {"release_done", AT_4_5, 2},
};
enum { DEATHS = sizeof deaths / sizeof deaths[0] };

static const char *const repairs[] = {"",           "retire_put",       "retire_noted",
                                      "mend_freed", "retire_published", "mend_released"};
enum { REPAIRS = sizeof repairs / sizeof repairs[0] };

static const unsigned levels[] = {0, 4, 5};

/* Blocks of a heap of ours, to both brokers in turns. */
static tide_heap_t *lend(tide_log_client_t *client)
{
    tide_heap_t *heap = tide_heap_create_on(crowd_region);
    ck_assert_ptr_nonnull(heap);
    for (unsigned i = 0; i < BLOCKS; i++)
        ck_assert_int_eq(tide_log_append_block(client, i % 2, tide_log_block(heap, 40, 0), 56,
                                               TIDE_LOG_TRY, NULL),
                         0);
    return heap;
}

/* Another process calls `does`, and is killed at the point, if it comes there. */
static bool dies(const char *point, int times, void (*does)(void))
{
    pid_t other;
    CROWD_CHILD(other)
    {
        crowd_end_at(point, times, SIGKILL);
        does();
        _exit(3);
    }
    int how = crowd_ended(other);
    ck_assert(how == 128 + SIGKILL || how == 3);
    return how != 3;
}

static void trims(void)
{
    for (unsigned broker = 0; broker < 2; broker++)
        tide_log_trim(crowd_log, broker, 7, NULL);
}

/* Its rings are full: it frees a part of them. */
static void appends(void)
{
    tide_log_client_t *client = crowd_client(2, TIDE_LOG_ACK_NONE);
    for (unsigned i = 0; i < 400; i++)
        tide_log_append(client, i % 2, &i, sizeof i, TIDE_LOG_TRY, NULL);
}

static void repairs_it(void)
{
    for (int i = 0; i < 2000 && crowd_repairs() == 0; i++) {
        tide_log_poll(crowd_log);
        usleep(1000);
    }
}

/* All that is in the log is given up. How many blocks were on their way home. */
static uint64_t come_home(void)
{
    for (unsigned broker = 0; broker < 2; broker++)
        ck_assert_int_eq(tide_log_trim(crowd_log, broker, UINT64_MAX, NULL), 0);
    ck_assert_int_ge(tide_log_reclaim(crowd_log), 0);
    ck_assert_uint_eq(tide_retire_waiting(&crowd_log->map), 0);
    return crowd_log->map.head->retired;
}

START_TEST(each_block_comes_home_once)
{
    unsigned level = levels[_i % 3], repair = (unsigned)_i / 3 % REPAIRS;
    unsigned death = (unsigned)_i / 3 / REPAIRS % DEATHS;
    bool full = (unsigned)_i / 3 / REPAIRS / DEATHS != 0;
    if (level == 0 && deaths[death].where != AT_ALL)
        return;
    struct tide_log_options options = crowd_small(level, TIDE_LOG_INLINE);
    options.brokers = 2;
    options.retain = TIDE_LOG_KEEP_RECENT;
    crowd_make(options, 0);
    tide_log_client_t *client = crowd_client(1, TIDE_LOG_ACK_NONE);
    tide_heap_t *heap = lend(client);
    atomic_store(&crowd->go, 1);
    ck_assert(dies(deaths[death].point, deaths[death].times, full ? appends : trims) || full);
    if (repair != 0)
        dies(repairs[repair], 1, repairs_it);
    repairs_it();
    ck_assert(full || crowd_repairs() > 0);
    ck_assert_uint_eq(come_home(), BLOCKS);
    ck_assert_uint_eq(((struct tide_heap *)heap)->pages.live, 0);
    ck_assert_int_eq(tide_log_client_close(client), 0);
    ck_assert_int_eq(tide_log_close(crowd_log), 0);
    tide_heap_destroy(heap);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("retire_killed");
    TCase *tcase = tcase_create("retire_killed");
    tcase_add_checked_fixture(tcase, unit_files_setup, unit_files_teardown);
    tcase_add_loop_test(tcase, each_block_comes_home_once, 0, 2 * 3 * REPAIRS * DEATHS);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
