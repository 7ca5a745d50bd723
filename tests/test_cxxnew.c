/*
 * test_cxxnew.c - the ends of operator new, with a C++ runtime that is a fake: the
 * test defines the two functions that the library refers to. See tests/cxx.sh for
 * the real ones.
 */
#include <check.h>
#include <errno.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <tidepool/malloc.h>

#include "box/cxxnew.h"

typedef void (*handler_fn)(void);

static handler_fn handler;
static int calls;
static jmp_buf caught;

handler_fn _ZSt15get_new_handlerv(void);
void _ZSt17__throw_bad_allocv(void);

handler_fn _ZSt15get_new_handlerv(void)
{
    return handler;
}

void _ZSt17__throw_bad_allocv(void)
{
    longjmp(caught, 1);
}

static void handler_that_counts(void)
{
    calls++;
}

static void handler_that_resigns(void)
{
    if (++calls == 3)
        handler = NULL;
}

static void use_handler(handler_fn which)
{
    handler = which;
    calls = 0;
}

static const size_t impossible = PTRDIFF_MAX;

/* True when the plain form throws. */
static bool fails(size_t size, size_t align)
{
    if (setjmp(caught) != 0)
        return true;
    tide_free(tide_cxxnew_fail(size, align, NULL));
    return false;
}

START_TEST(plain_form_throws_without_a_handler)
{
    use_handler(NULL);
    ck_assert(fails(impossible, 0));
    ck_assert(fails(100, 64));
}
END_TEST

START_TEST(plain_form_tries_again_after_the_handler)
{
    use_handler(handler_that_counts);
    void *p = tide_cxxnew_fail(100, 0, NULL), *q = tide_cxxnew_fail(100, 4096, NULL);
    ck_assert_ptr_nonnull(p);
    ck_assert_ptr_nonnull(q);
    ck_assert_uint_eq((uintptr_t)q % 4096, 0);
    ck_assert_int_eq(calls, 2);
    tide_free(p);
    tide_free(q);
}
END_TEST

START_TEST(plain_form_calls_the_handler_until_it_resigns)
{
    use_handler(handler_that_resigns);
    ck_assert(fails(impossible, 0));
    ck_assert_int_eq(calls, 3);
}
END_TEST

START_TEST(bad_alignment_throws_at_once)
{
    use_handler(handler_that_counts);
    ck_assert(fails(100, 24));
    ck_assert_int_eq(calls, 0);
}
END_TEST

START_TEST(nothrow_form_gives_null_and_errno)
{
    use_handler(NULL);
    errno = 0;
    ck_assert_ptr_null(tide_cxxnew_nothrow("no_operator", NULL, impossible, 0, NULL));
    ck_assert_int_eq(errno, ENOMEM);
    use_handler(handler_that_resigns);
    errno = 0;
    ck_assert_ptr_null(tide_cxxnew_nothrow("no_operator", NULL, impossible, 64, NULL));
    ck_assert_int_eq(errno, ENOMEM);
    ck_assert_int_eq(calls, 3);
}
END_TEST

START_TEST(nothrow_form_tries_again_after_the_handler)
{
    use_handler(handler_that_counts);
    void *p = tide_cxxnew_nothrow("no_operator", NULL, 100, 0, NULL);
    ck_assert_ptr_nonnull(p);
    ck_assert_int_eq(calls, 1);
    tide_free(p);
}
END_TEST

static size_t plain_size, plain_align;

static void *plain_of_the_program(size_t size, size_t align)
{
    plain_size = size;
    plain_align = align;
    return &plain_size;
}

START_TEST(nothrow_form_asks_the_plain_form_of_the_program)
{
    use_handler(handler_that_counts);
    const void *plain = (const void *)plain_of_the_program;
    ck_assert_ptr_eq(tide_cxxnew_nothrow("no_operator", plain, 100, 64, NULL), &plain_size);
    ck_assert_uint_eq(plain_size, 100);
    ck_assert_uint_eq(plain_align, 64);
    ck_assert_int_eq(calls, 0);
}
END_TEST

int main(void)
{
    TCase *group = tcase_create("cxxnew");
    tcase_add_test(group, plain_form_throws_without_a_handler);
    tcase_add_test(group, plain_form_tries_again_after_the_handler);
    tcase_add_test(group, plain_form_calls_the_handler_until_it_resigns);
    tcase_add_test(group, bad_alignment_throws_at_once);
    tcase_add_test(group, nothrow_form_gives_null_and_errno);
    tcase_add_test(group, nothrow_form_tries_again_after_the_handler);
    tcase_add_test(group, nothrow_form_asks_the_plain_form_of_the_program);
    Suite *suite = suite_create("cxxnew");
    suite_add_tcase(suite, group);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
