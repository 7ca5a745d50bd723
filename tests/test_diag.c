/* test_diag.c - the exact words of misuse under each policy, and texts that fit. */
#define _GNU_SOURCE
#include "box/diag.h"

#include <fcntl.h>
#include <pthread.h>

#include "unit_base.h"

enum { ABORTED = 128 + SIGABRT };

static const struct tide_fault fault = {"double free",  "free", "mid", "cached",
                                        0x7f0012345670, 4112,   7};
static const char fault_line[] =
    "tidepool: double free: 0x7f0012345670 in free: tier=mid size=4112 owner=7 state=cached\n";

static void misuse_under(long policy)
{
    if (policy >= 0)
        tide_diag_policy((enum tide_misuse)policy);
    errno = 4321;
    tide_diag_misuse(&fault);
    tide_diag_misuse(&fault);
    UNIT_NEED(errno == 4321);
    UNIT_NEED(tide_diag_misuses() == 2);
}

static void ends_with(long policy, int code, int lines)
{
    char expect[4 * sizeof fault_line] = "";
    struct unit_end end = unit_child(misuse_under, policy);
    for (int i = 0; i < lines; i++)
        strcat(expect, fault_line);
    ck_assert_str_eq(end.text, expect);
    ck_assert_int_eq(end.code, code);
}

START_TEST(misuse_aborts_after_one_line_by_default)
{
    ends_with(-1, ABORTED, 1);
    ends_with(TIDE_MISUSE_ABORT, ABORTED, 1);
}
END_TEST

START_TEST(misuse_warns_each_time_and_goes_on)
{
    ends_with(TIDE_MISUSE_WARN, 0, 2);
}
END_TEST

START_TEST(misuse_ignored_is_silent_but_counted)
{
    ends_with(TIDE_MISUSE_IGNORE, 0, 0);
}
END_TEST

static void misuse_of_nothing(long unused)
{
    (void)unused;
    const struct tide_fault nothing = {"foreign pointer", "malloc_usable_size", "none",
                                       "unknown",         UINTPTR_MAX,          SIZE_MAX,
                                       UINT32_MAX};
    tide_diag_misuse(&nothing);
}

START_TEST(figures_of_any_size_are_written_out)
{
    struct unit_end end = unit_child(misuse_of_nothing, 0);
    ck_assert_str_eq(end.text, "tidepool: foreign pointer: 0xffffffffffffffff in "
                               "malloc_usable_size: tier=none size=18446744073709551615 "
                               "owner=4294967295 state=unknown\n");
    ck_assert_int_eq(end.code, ABORTED);
}
END_TEST

/* A pipe in packet mode hands out one write at a time. */
START_TEST(a_line_is_one_write)
{
    int ends[2], copy = dup(2);
    char buf[1024] = "";
    ck_assert_int_eq(pipe2(ends, O_DIRECT | O_NONBLOCK), 0);
    tide_diag_policy(TIDE_MISUSE_WARN);
    dup2(ends[1], 2);
    tide_diag_misuse(&fault);
    tide_diag_say("second");
    dup2(copy, 2);
    ck_assert_int_eq(read(ends[0], buf, sizeof buf), sizeof fault_line - 1);
    ck_assert_mem_eq(buf, fault_line, sizeof fault_line - 1);
    ck_assert_int_eq(read(ends[0], buf, sizeof buf), 17);
    ck_assert_mem_eq(buf, "tidepool: second\n", 17);
    ck_assert_int_eq(read(ends[0], buf, sizeof buf), -1);
}
END_TEST

static void *warn_often(void *unused)
{
    (void)unused;
    for (int i = 0; i < 100; i++)
        tide_diag_misuse(&fault);
    return NULL;
}

START_TEST(threads_do_not_mix_their_lines)
{
    static char buf[400 * sizeof fault_line];
    pthread_t thread[4];
    int ends[2], copy = dup(2);
    size_t len = 0, line = sizeof fault_line - 1;
    ck_assert_int_eq(pipe(ends), 0);
    tide_diag_policy(TIDE_MISUSE_WARN);
    dup2(ends[1], 2);
    close(ends[1]);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&thread[i], NULL, warn_often, NULL), 0);
    for (ssize_t got; len < 400 * line && (got = read(ends[0], buf + len, sizeof buf - len)) > 0;)
        len += (size_t)got;
    for (int i = 0; i < 4; i++)
        pthread_join(thread[i], NULL);
    dup2(copy, 2);
    ck_assert_uint_eq(tide_diag_misuses(), 400);
    for (size_t at = 0; at < 400 * line; at += line)
        ck_assert_mem_eq(buf + at, fault_line, line);
}
END_TEST

static void be_fatal(long unused)
{
    (void)unused;
    tide_diag_fatal("nothing works");
}

static void fail_a_check(long value)
{
    TIDE_CHECK(value == 1);
}

static void fail_an_assertion(long value)
{
    TIDE_ASSERT(value < 1);
}

START_TEST(fatal_and_checks_tell_why)
{
    struct unit_end end = unit_child(be_fatal, 0);
    ck_assert_str_eq(end.text, "tidepool: nothing works\n");
    ck_assert_int_eq(end.code, ABORTED);
    end = unit_child(fail_a_check, 2);
    ck_assert_str_eq(end.text, "tidepool: internal check failed: value == 1\n");
    ck_assert_int_eq(end.code, ABORTED);
    unit_child_ok(fail_a_check, 1);
    end = unit_child(fail_an_assertion, 1); /* these tests are a debug build */
    ck_assert_str_eq(end.text, "tidepool: internal check failed: value < 1\n");
    ck_assert_int_eq(end.code, ABORTED);
}
END_TEST

static void say_much(long unused)
{
    (void)unused;
    static char much[2000];
    memset(much, 'm', sizeof much - 1);
    tide_diag_say(much);
    tide_diag_say("");
}

START_TEST(a_long_line_is_cut_but_ends)
{
    struct unit_end end = unit_child(say_much, 0);
    char *newline = strchr(end.text, '\n');
    ck_assert_int_eq(end.code, 0);
    ck_assert_ptr_nonnull(newline);
    ck_assert_int_ge(newline - end.text, 256);
    ck_assert_int_lt(newline - end.text, 600);
    ck_assert_uint_eq(strspn(end.text + 10, "m"), (size_t)(newline - end.text) - 10);
    ck_assert_str_eq(newline, "\ntidepool: \n");
}
END_TEST

START_TEST(text_stops_at_the_end_of_its_buffer)
{
    char buf[8];
    memset(buf, 'x', sizeof buf);
    struct tide_text text = {buf, 6, 0};
    tide_text_add(&text, "abc");
    ck_assert_uint_eq(text.len, 3);
    ck_assert_str_eq(buf, "abc");
    tide_text_add(&text, "");
    tide_text_add(&text, "de");
    ck_assert_str_eq(buf, "abcde");
    tide_text_add(&text, "fgh");
    tide_text_number(&text, 12345, 10);
    ck_assert_uint_eq(text.len, 5);
    ck_assert_mem_eq(buf, "abcde\0xx", 8);
    struct tide_text one = {buf, 1, 0};
    tide_text_add(&one, "abc");
    ck_assert_uint_eq(one.len, 0);
    ck_assert_mem_eq(buf, "\0bcde\0xx", 8);
}
END_TEST

START_TEST(numbers_are_written_in_their_base)
{
    static const struct {
        uint64_t value;
        unsigned base;
        const char *expect;
    } rows[] = {
        {0, 10, "0"},
        {0, 16, "0"},
        {9, 10, "9"},
        {10, 10, "10"},
        {15, 16, "f"},
        {16, 16, "10"},
        {0xdeadbeef, 16, "deadbeef"},
        {UINT64_MAX, 10, "18446744073709551615"},
        {UINT64_MAX, 16, "ffffffffffffffff"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char buf[32];
        struct tide_text text = {buf, sizeof buf, 0};
        tide_text_number(&text, rows[i].value, rows[i].base);
        ck_assert_str_eq(buf, rows[i].expect);
        ck_assert_uint_eq(text.len, strlen(rows[i].expect));
    }
}
END_TEST

static void without_stderr(long unused)
{
    (void)unused;
    close(2);
    tide_diag_policy(TIDE_MISUSE_WARN);
    tide_diag_misuse(&fault);
    tide_diag_say("nobody hears");
    if (tide_diag_misuses() != 1)
        _exit(1);
}

START_TEST(a_closed_stderr_does_no_harm)
{
    unit_child_ok(without_stderr, 0);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {misuse_aborts_after_one_line_by_default,
                                  misuse_warns_each_time_and_goes_on,
                                  misuse_ignored_is_silent_but_counted,
                                  figures_of_any_size_are_written_out,
                                  a_line_is_one_write,
                                  threads_do_not_mix_their_lines,
                                  fatal_and_checks_tell_why,
                                  a_long_line_is_cut_but_ends,
                                  text_stops_at_the_end_of_its_buffer,
                                  numbers_are_written_in_their_base,
                                  a_closed_stderr_does_no_harm,
                                  NULL};
    return unit_main("diag", tests);
}
