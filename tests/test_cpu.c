/* test_cpu.c - the processor's extras: the high product, the pause, valgrind. */
#include "box/cpu.h"

#include "unit_base.h"

/* The high half by schoolbook multiplication in halves. */
static uint64_t mulhi_by_hand(uint64_t a, uint64_t b)
{
    uint64_t al = a & UINT32_MAX, ah = a >> 32, bl = b & UINT32_MAX, bh = b >> 32;
    uint64_t mid = ah * bl + (al * bl >> 32);
    uint64_t low = al * bh + (mid & UINT32_MAX);
    return ah * bh + (mid >> 32) + (low >> 32);
}

START_TEST(mulhi_is_the_high_half)
{
    uint64_t state = 88172645463325252ULL;
    ck_assert_uint_eq(tide_cpu_mulhi(0, UINT64_MAX), 0);
    ck_assert_uint_eq(tide_cpu_mulhi(1, UINT64_MAX), 0);
    ck_assert_uint_eq(tide_cpu_mulhi(2, UINT64_MAX), 1);
    ck_assert_uint_eq(tide_cpu_mulhi(UINT64_MAX, UINT64_MAX), UINT64_MAX - 1);
    for (int i = 0; i < 100000; i++) {
        uint64_t a = unit_random(&state), b = unit_random(&state) >> (i & 63);
        ck_assert_uint_eq(tide_cpu_mulhi(a, b), mulhi_by_hand(a, b));
    }
}
END_TEST

/* What the allocator uses it for: dividing an offset by a stride. */
START_TEST(mulhi_by_a_reciprocal_divides)
{
    for (uint64_t stride = 16; stride <= 65536; stride += 16) {
        uint64_t recip = UINT64_MAX / stride + 1;
        for (uint64_t n = 1; n <= 8; n++) {
            uint64_t at = ((4u << 20) / stride / n) * stride;
            ck_assert_uint_eq(tide_cpu_mulhi(at, recip), at / stride);
            ck_assert_uint_eq(tide_cpu_mulhi(at + stride - 1, recip), at / stride);
        }
    }
}
END_TEST

START_TEST(pause_comes_back)
{
    volatile int turns = 0;
    for (; turns < 1000; turns++)
        tide_cpu_pause();
    ck_assert_int_eq(turns, 1000);
}
END_TEST

START_TEST(a_real_processor_is_not_valgrind)
{
    for (int i = 0; i < 1000; i++)
        ck_assert(!tide_cpu_on_valgrind());
}
END_TEST

static void run_valgrind(long unused)
{
    (void)unused;
    char self[4096] = "";
    UNIT_NEED(readlink("/proc/self/exe", self, sizeof self - 1) > 0);
    execlp("valgrind", "valgrind", "-q", "--tool=none", self, "on-valgrind", NULL);
    _exit(77);
}

START_TEST(valgrind_is_recognised)
{
    struct unit_end end = unit_child(run_valgrind, 0);
    ck_assert_msg(end.code == 42, "valgrind's program ended with %d: %s", end.code, end.text);
}
END_TEST

static bool have_valgrind(void)
{
    return !UNIT_SANITIZED && system("command -v valgrind >/dev/null 2>&1") == 0;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "on-valgrind") == 0)
        return tide_cpu_on_valgrind() ? 42 : 1;
    const TTest *const tests[] = {mulhi_is_the_high_half,
                                  mulhi_by_a_reciprocal_divides,
                                  pause_comes_back,
                                  a_real_processor_is_not_valgrind,
                                  have_valgrind() ? valgrind_is_recognised : NULL,
                                  NULL};
    return unit_main("cpu", tests);
}
