/* test_log_start.c - threads that give the places: on the processor that was asked for, or not
 * there at all. */
#define _GNU_SOURCE
#include "unit_base.h"

#include <dirent.h>
#include <limits.h>
#include <sched.h>
#include <stdlib.h>

#include <tidepool/log.h>

enum { TASKS = 64, THREADS = 32, FAILURES = 2 * THREADS };

static const struct tide_log_options forms[] = {
    {.level = 5, .sequencing = TIDE_LOG_STEPPED},
    {.level = 4, .sequencing = TIDE_LOG_STEPPED},
    {.level = 4, .sequencing = TIDE_LOG_STEPPED, .coherence = TIDE_LOG_NONCOHERENT},
};

enum { FORMS = sizeof forms / sizeof *forms };

static tide_log_t *log_;

/* Ids of the threads of this process; how many. */
static int see_tasks(pid_t *id)
{
    DIR *all = opendir("/proc/self/task");
    int count = 0;
    ck_assert_ptr_nonnull(all);
    for (struct dirent *entry; (entry = readdir(all)) != NULL;)
        if (entry->d_name[0] != '.' && count < TASKS)
            id[count++] = (pid_t)atoi(entry->d_name);
    closedir(all);
    return count;
}

static int count_tasks(void)
{
    pid_t id[TASKS];
    return see_tasks(id);
}

/* The one that is there now and was not before. */
static pid_t new_task(const pid_t *before, int count)
{
    pid_t now[TASKS], found = 0;
    int all = see_tasks(now);
    ck_assert_int_eq(all, count + 1);
    for (int i = 0; i < all; i++) {
        bool old = false;
        for (int j = 0; j < count; j++)
            old |= before[j] == now[i];
        found = old ? found : now[i];
    }
    ck_assert_int_ne(found, 0);
    return found;
}

/* A batch gets its place with no step of ours. */
static void check_it_runs(uint64_t place)
{
    tide_log_client_t *client;
    ck_assert_int_eq(tide_log_client_open(&client, log_, NULL), 0);
    ck_assert_int_eq(tide_log_append(client, 0, "x", 1, TIDE_LOG_BLOCK, NULL), 0);
    ck_assert_int_eq(tide_log_wait_committed(log_, place, TIDE_LOG_BLOCK), 0);
    ck_assert_int_eq(tide_log_client_close(client), 0);
}

START_TEST(a_thread_is_on_its_processor)
{
    cpu_set_t may, has;
    pid_t before[TASKS];
    ck_assert_int_eq(sched_getaffinity(0, sizeof may, &may), 0);
    ck_assert_int_eq(tide_log_create(&log_, &forms[_i]), 0);
    for (int cpu = 0, started = 0; cpu < CPU_SETSIZE && started < 4; cpu++) {
        if (!CPU_ISSET(cpu, &may))
            continue;
        int count = see_tasks(before);
        ck_assert_int_eq(tide_log_start(log_, cpu), 0);
        /* It is there when the call is back, not some time later. */
        ck_assert_int_eq(sched_getaffinity(new_task(before, count), sizeof has, &has), 0);
        ck_assert_int_eq(CPU_COUNT(&has), 1);
        ck_assert(CPU_ISSET(cpu, &has));
        started++;
    }
    ck_assert_int_eq(sched_getaffinity(0, sizeof has, &has), 0); /* the caller stays where it was */
    ck_assert(CPU_EQUAL(&may, &has));
    check_it_runs(0);
    ck_assert_int_eq(tide_log_close(log_), 0);
}
END_TEST

START_TEST(any_processor_is_those_of_the_caller)
{
    cpu_set_t may, has;
    pid_t before[TASKS];
    ck_assert_int_eq(sched_getaffinity(0, sizeof may, &may), 0);
    ck_assert_int_eq(tide_log_create(&log_, &forms[_i]), 0);
    int count = see_tasks(before);
    ck_assert_int_eq(tide_log_start(log_, -1), 0);
    ck_assert_int_eq(sched_getaffinity(new_task(before, count), sizeof has, &has), 0);
    ck_assert(CPU_EQUAL(&may, &has));
    ck_assert_int_eq(tide_log_close(log_), 0);
}
END_TEST

static void refuse(int cpu, const char *words)
{
    char text[200];
    ck_assert_int_eq(tide_log_start(log_, cpu), -EINVAL);
    tide_log_explain(text, sizeof text);
    ck_assert_str_eq(text, words);
}

/* Refused as often as one likes, and no thread is left, nor the place of one. */
START_TEST(a_processor_that_is_not_there_is_refused)
{
    pid_t before[TASKS];
    ck_assert_int_eq(tide_log_create(&log_, &forms[_i]), 0);
    int count = see_tasks(before);
    for (int i = 0; i < FAILURES; i++) {
        refuse(5000, "no such processor, or not for this process: 5000");
        refuse(1023, "no such processor, or not for this process: 1023");
    }
    while (count_tasks() != count) /* the kernel forgets a thread a little after it ended */
        sched_yield();
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(tide_log_start(log_, -1), 0);
    ck_assert_int_eq(tide_log_start(log_, -1), -ENFILE);
    check_it_runs(0);
    ck_assert_int_eq(tide_log_close(log_), 0);
}
END_TEST

START_TEST(a_number_that_is_no_processor_is_refused)
{
    ck_assert_int_eq(tide_log_create(&log_, &forms[_i]), 0);
    int count = count_tasks();
    refuse(-7, "below -1, which is any processor: minus: 7");
    refuse(-2, "below -1, which is any processor: minus: 2");
    refuse(INT_MIN, "below -1, which is any processor: minus: 2147483648");
    ck_assert_int_eq(count_tasks(), count);
    ck_assert_int_eq(tide_log_close(log_), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("log_start");
    TCase *tcase = tcase_create("log_start");
    tcase_add_loop_test(tcase, a_thread_is_on_its_processor, 0, FORMS);
    tcase_add_loop_test(tcase, any_processor_is_those_of_the_caller, 0, FORMS);
    tcase_add_loop_test(tcase, a_processor_that_is_not_there_is_refused, 0, FORMS);
    tcase_add_loop_test(tcase, a_number_that_is_no_processor_is_refused, 0, FORMS);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
