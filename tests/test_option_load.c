/* test_option_load.c - where options come from: which of program, environment and
 * caller wins, before libc is ready too, and among threads. */
#include "box/option.h"

#include <pthread.h>

#include "unit_base.h"

extern char **environ;

const char *tide_options; /* this program's own; each test sets what it needs */

enum { LIMIT = 2047 };

static void setup(void)
{
    unsetenv("TIDEPOOL_OPTIONS");
}

/* A list of `len` characters that ends with verbose=1. */
static const char *long_list(size_t len)
{
    static char text[2 * LIMIT];
    memset(text, ',', len);
    strcpy(text + len - strlen("verbose=1"), "verbose=1");
    return text;
}

START_TEST(the_environment_has_the_same_limit)
{
    setenv("TIDEPOOL_OPTIONS", long_list(LIMIT), 1);
    tide_option_load(false);
    ck_assert_uint_eq(tide_option_values.verbose, 1);
    ck_assert_ptr_null(tide_option_complaint());
}
END_TEST

START_TEST(an_environment_beyond_the_limit_is_told)
{
    setenv("TIDEPOOL_OPTIONS", long_list(LIMIT + 1), 1);
    tide_option_load(false);
    ck_assert_uint_eq(tide_option_values.verbose, 0);
    ck_assert_ptr_nonnull(tide_option_complaint());
}
END_TEST

START_TEST(the_environment_wins_over_the_program)
{
    tide_options = "tiny_max=1023,cache=1M";
    setenv("TIDEPOOL_OPTIONS", "tiny_max=1039,retain=2M", 1);
    tide_option_load(false);
    ck_assert_uint_eq(tide_option_values.tiny_max, 1039);
    ck_assert_uint_eq(tide_option_values.cache, 1 << 20);
    ck_assert_uint_eq(tide_option_values.retain, 2 << 20);
}
END_TEST

START_TEST(a_secure_program_ignores_the_environment)
{
    tide_options = "tiny_max=1023";
    setenv("TIDEPOOL_OPTIONS", "tiny_max=1039,retain=2M", 1);
    tide_option_load(true);
    ck_assert_uint_eq(tide_option_values.tiny_max, 1023);
    ck_assert_uint_eq(tide_option_values.retain, 4 << 20);
    tide_option_load(false); /* nor later */
    ck_assert_uint_eq(tide_option_values.tiny_max, 1023);
}
END_TEST

START_TEST(options_are_loaded_once)
{
    setenv("TIDEPOOL_OPTIONS", "tiny_max=1023", 1);
    tide_option_load(false);
    setenv("TIDEPOOL_OPTIONS", "tiny_max=1039", 1);
    ck_assert_int_eq(tide_option_assign("tiny_max", "1055", false), 0);
    tide_option_load(false);
    ck_assert_uint_eq(tide_option_values.tiny_max, 1055);
}
END_TEST

START_TEST(no_options_at_all)
{
    tide_options = NULL;
    tide_option_load(false);
    ck_assert_uint_eq(tide_option_values.tiny_max, 2047);
    ck_assert_ptr_null(tide_option_complaint());
    clearenv();
}
END_TEST

START_TEST(variables_are_found_by_their_whole_name)
{
    char buf[8] = "kept";
    setenv("TIDE_UNIT", "1234567", 1);
    setenv("TIDE_UNIT_LONG", "x", 1);
    setenv("TIDE_EMPTY", "", 1);
    ck_assert(!tide_option_environment("TIDE_UNI", buf, sizeof buf));
    ck_assert(!tide_option_environment("TIDE_UNIT=", buf, sizeof buf));
    ck_assert_str_eq(buf, "kept");
    ck_assert(tide_option_environment("TIDE_UNIT", buf, 5)); /* what fits, and a NUL */
    ck_assert_mem_eq(buf, "1234\0\0\0", 8);
    ck_assert(tide_option_environment("TIDE_UNIT", buf, 8));
    ck_assert_str_eq(buf, "1234567");
    ck_assert(tide_option_environment("TIDE_EMPTY", buf, 1));
    ck_assert_str_eq(buf, "");
}
END_TEST

/* --- before libc knows its environment ----------------------------------------- */

/* A program started anew: /proc/self/environ is that of the exec. */
static int early_program(void)
{
    char buf[1500];
    environ = NULL;
    errno = 4321;
    UNIT_NEED(!tide_option_environment("TIDE_NONE", buf, sizeof buf));
    UNIT_NEED(!tide_option_environment("TIDE_UNI", buf, sizeof buf));
    UNIT_NEED(tide_option_environment("TIDE_UNIT", buf, sizeof buf));
    UNIT_NEED(strcmp(buf, "first") == 0);
    UNIT_NEED(tide_option_environment("TIDE_EMPTY", buf, sizeof buf));
    UNIT_NEED(strcmp(buf, "") == 0);
    UNIT_NEED(tide_option_environment("TIDE_LONG", buf, sizeof buf));
    UNIT_NEED(strlen(buf) == 1200 && strspn(buf, "v") == 1200);
    memset(buf, 'x', sizeof buf);
    UNIT_NEED(tide_option_environment("TIDE_LONG", buf, 1001)); /* what fits, and a NUL */
    UNIT_NEED(strlen(buf) == 1000 && strspn(buf, "v") == 1000 && buf[1001] == 'x');
    UNIT_NEED(tide_option_environment("TIDE_EMPTY", buf, 1) && buf[0] == '\0');
    UNIT_NEED(tide_option_environment("TIDE_LAST", buf, 5));
    UNIT_NEED(strcmp(buf, "=x=y") == 0);
    tide_option_load(false);
    UNIT_NEED(tide_option_values.tiny_max == 1039);
    UNIT_NEED(errno == 4321);
    return 0;
}

static void exec_early(long unused)
{
    (void)unused;
    static char longest[1300] = "TIDE_LONG=";
    char *argv[] = {"test_option_load", "early", NULL};
    char *env[] = {"XTIDE_UNIT=no",   "TIDE_UNITS=no",  "TIDE_UNIT",
                   "TIDE_UNIT=first", "TIDE_EMPTY=",    "TIDEPOOL_OPTIONS=tiny_max=1039",
                   longest,           "TIDE_LAST==x=y", NULL};
    memset(longest + 10, 'v', 1200);
    execve("/proc/self/exe", argv, env);
    _exit(98);
}

START_TEST(the_environment_is_found_before_libc_has_it)
{
    unit_child_ok(exec_early, 0);
}
END_TEST

/* --- threads ------------------------------------------------------------------- */

static _Atomic bool stop;

static void *set_often(void *letter)
{
    char text[201];
    memset(text, *(const char *)letter, 200);
    text[200] = '\0';
    for (int i = 0; i < 3000; i++)
        tide_option_assign("stats_at_exit", text, true);
    return NULL;
}

static void *show_often(void *bad)
{
    char buf[TIDE_OPTION_TEXT];
    while (!atomic_load(&stop)) {
        int len = tide_option_show("stats_at_exit", buf, sizeof buf);
        if (len != 0 && (len != 200 || memcmp(buf, buf + 1, 199) != 0))
            *(bool *)bad = true;
    }
    return NULL;
}

START_TEST(a_shown_value_is_never_half_of_two)
{
    pthread_t thread[4];
    bool bad[2] = {false, false};
    char letter[2] = {'a', 'b'};
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(pthread_create(&thread[i], NULL, set_often, &letter[i]), 0);
        ck_assert_int_eq(pthread_create(&thread[2 + i], NULL, show_often, &bad[i]), 0);
    }
    pthread_join(thread[0], NULL);
    pthread_join(thread[1], NULL);
    atomic_store(&stop, true);
    pthread_join(thread[2], NULL);
    pthread_join(thread[3], NULL);
    ck_assert(!bad[0] && !bad[1]);
}
END_TEST

static void *assign_once(void *done)
{
    tide_option_assign("cache", "1M", true);
    atomic_store((_Atomic bool *)done, true);
    return NULL;
}

START_TEST(fork_holds_its_lock)
{
    pthread_t thread;
    _Atomic bool done = false;
    tide_option_fork(TIDE_FORK_PREPARE);
    ck_assert_int_eq(pthread_create(&thread, NULL, assign_once, (void *)&done), 0);
    usleep(30000);
    ck_assert(!atomic_load(&done));
    tide_option_fork(TIDE_FORK_RELEASE);
    pthread_join(thread, NULL);
    ck_assert(atomic_load(&done));
}
END_TEST

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "early") == 0)
        return early_program();
    Suite *suite = suite_create("option_load");
    TCase *tcase = tcase_create("option_load");
    const TTest *const tests[] = {
        the_environment_has_the_same_limit,
        an_environment_beyond_the_limit_is_told,
        the_environment_wins_over_the_program,
        a_secure_program_ignores_the_environment,
        options_are_loaded_once,
        no_options_at_all,
        variables_are_found_by_their_whole_name,
        the_environment_is_found_before_libc_has_it,
        a_shown_value_is_never_half_of_two,
        fork_holds_its_lock,
    };
    tcase_add_checked_fixture(tcase, setup, NULL);
    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++)
        tcase_add_test(tcase, tests[i]);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
