/* test_key.c - the secret has the form that headers rely on, and differs. */
#include "box/key.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "unit_base.h"

static struct tide_key *shared; /* what children found */

static void setup(void)
{
    shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(shared, MAP_FAILED);
}

static void check_form(const struct tide_key *key)
{
    ck_assert_uint_eq(key->mark >> 63, 1);
    ck_assert_uint_eq(key->canary >> 63, 1); /* so its last byte is never zero */
    ck_assert_uint_eq(key->freed & ~TIDE_KEY_TAG, TIDE_KEY_FREED);
    ck_assert_uint_eq(key->remote & ~TIDE_KEY_TAG, TIDE_KEY_REMOTE);
}

START_TEST(form_is_what_headers_rely_on)
{
    for (int i = 0; i < 100; i++) {
        tide_key_start();
        check_form(&tide_key);
    }
}
END_TEST

START_TEST(states_differ_in_four_bits_or_more)
{
    const unsigned live = TIDE_KEY_LIVE, freed = live ^ TIDE_KEY_FREED,
                   remote = live ^ TIDE_KEY_REMOTE;
    ck_assert_int_ge(__builtin_popcount(live ^ freed), 4);
    ck_assert_int_ge(__builtin_popcount(live ^ remote), 4);
    ck_assert_int_ge(__builtin_popcount(freed ^ remote), 4);
    ck_assert_uint_eq((live | freed | remote) >> 8, 0);
    ck_assert_uint_eq(TIDE_KEY_TAG & 0x800000ffffffffffULL, 0);
}
END_TEST

/* Over many starts each bit that may vary is seen as 0 and as 1. */
START_TEST(every_secret_bit_varies)
{
    struct tide_key ones = {0}, zeroes = {0};
    uint64_t apart = 0;
    for (int i = 0; i < 100; i++) {
        tide_key_start();
        const uint64_t *word = (const uint64_t *)&tide_key;
        apart |= tide_key.freed ^ tide_key.remote;
        for (size_t j = 0; j < sizeof ones / sizeof *word; j++) {
            ((uint64_t *)&ones)[j] |= word[j];
            ((uint64_t *)&zeroes)[j] |= ~word[j];
        }
    }
    ck_assert_uint_eq(ones.mark & zeroes.mark, UINT64_MAX >> 1);
    ck_assert_uint_eq(ones.seed & zeroes.seed, UINT64_MAX);
    ck_assert_uint_eq(ones.canary & zeroes.canary, UINT64_MAX >> 1);
    ck_assert_uint_eq(ones.freed & zeroes.freed, TIDE_KEY_TAG);
    ck_assert_uint_eq(ones.remote & zeroes.remote, TIDE_KEY_TAG);
    ck_assert_uint_eq(apart & TIDE_KEY_TAG, TIDE_KEY_TAG); /* each has bits of its own */
}
END_TEST

static bool refuse_getrandom(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getrandom, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof code[0], code};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static void start_without_random(long index)
{
    if (refuse_getrandom()) {
        errno = 4321;
        tide_key_start();
        UNIT_NEED(errno == 4321);
        shared[index] = tide_key;
    }
}

START_TEST(without_random_numbers_it_still_differs)
{
    for (int i = 0; i < 4; i++)
        unit_child_ok(start_without_random, i);
    if (shared[0].mark == 0)
        return; /* no seccomp here */
    for (int i = 0; i < 4; i++) {
        check_form(&shared[i]);
        ck_assert_uint_ne(shared[i].seed, shared[i].canary);
        for (int j = 0; j < i; j++) {
            ck_assert_uint_ne(shared[i].mark, shared[j].mark);
            ck_assert_uint_ne(shared[i].seed, shared[j].seed);
            ck_assert_uint_ne(shared[i].canary, shared[j].canary);
            ck_assert_uint_ne(shared[i].freed, shared[j].freed);
        }
    }
}
END_TEST

static void child_has_it(long unused)
{
    (void)unused;
    UNIT_NEED(memcmp(&tide_key, shared, sizeof tide_key) == 0);
}

START_TEST(a_child_inherits_the_secret)
{
    tide_key_start();
    *shared = tide_key;
    unit_child_ok(child_has_it, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("key");
    TCase *tcase = tcase_create("key");
    tcase_add_checked_fixture(tcase, setup, NULL);
    tcase_add_test(tcase, form_is_what_headers_rely_on);
    tcase_add_test(tcase, states_differ_in_four_bits_or_more);
    tcase_add_test(tcase, every_secret_bit_varies);
    tcase_add_test(tcase, without_random_numbers_it_still_differs);
    tcase_add_test(tcase, a_child_inherits_the_secret);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
