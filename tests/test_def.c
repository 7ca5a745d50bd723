/* test_def.c - the words everybody uses: rounding, powers of two, the mixer. */
#include "box/def.h"

#include "unit_base.h"

START_TEST(rounding_is_to_the_next_multiple)
{
    for (size_t to = 1; to <= (size_t)1 << 40; to *= 2) {
        const size_t around[] = {0, 1, to - 1, to, to + 1, 3 * to - 1, 3 * to, 3 * to + 1};
        for (size_t i = 0; i < sizeof around / sizeof around[0]; i++) {
            size_t n = around[i], up = tide_align_up(n, to), down = tide_align_down(n, to);
            ck_assert_uint_eq(up % to, 0);
            ck_assert_uint_eq(down % to, 0);
            ck_assert(up >= n && up - n < to);
            ck_assert(down <= n && n - down < to);
        }
    }
}
END_TEST

START_TEST(powers_of_two_have_one_bit)
{
    ck_assert(!tide_is_pow2(0));
    for (unsigned bit = 0; bit < 64; bit++) {
        size_t n = (size_t)1 << bit;
        ck_assert(tide_is_pow2(n));
        ck_assert(bit == 0 || !tide_is_pow2(n | 1));
        ck_assert(bit < 2 || !tide_is_pow2(n - 1));
    }
    ck_assert(!tide_is_pow2(SIZE_MAX));
}
END_TEST

START_TEST(min_and_max_take_either_order)
{
    ck_assert_uint_eq(tide_min(3, 5), 3);
    ck_assert_uint_eq(tide_min(5, 3), 3);
    ck_assert_uint_eq(tide_max(3, 5), 5);
    ck_assert_uint_eq(tide_max(5, 3), 5);
    ck_assert_uint_eq(tide_min(SIZE_MAX, 0), 0);
    ck_assert_uint_eq(tide_max(SIZE_MAX, 0), SIZE_MAX);
}
END_TEST

/* The generator splitmix64 started at 0 gives these numbers (its reference output). */
START_TEST(mix_is_the_finaliser_of_splitmix64)
{
    const uint64_t gamma = 0x9e3779b97f4a7c15ULL;
    ck_assert_uint_eq(tide_mix(gamma), 0xe220a8397b1dcdafULL);
    ck_assert_uint_eq(tide_mix(2 * gamma), 0x6e789e6aa1b965f4ULL);
    ck_assert_uint_eq(tide_mix(3 * gamma), 0x06c45d188009454fULL);
    ck_assert_uint_eq(tide_mix(0), 0);
}
END_TEST

START_TEST(sizes_fit_together)
{
    ck_assert(tide_is_pow2(TIDE_LINE));
    ck_assert(tide_is_pow2(TIDE_ALIGN_MIN));
    ck_assert_uint_ge(TIDE_ALIGN_MIN, _Alignof(max_align_t));
    ck_assert_int_lt(TIDE_TINY_TOP, TIDE_MID_TOP);
    ck_assert_int_lt(TIDE_MID_TOP, TIDE_LARGE_TOP);
    ck_assert_int_eq(TIDE_KINDS, TIDE_KIND_LARGE + 1);
}
END_TEST

START_TEST(relaxed_accesses_keep_the_value)
{
    uint64_t word = 0;
    TIDE_RELAXED_SET(&word, UINT64_MAX - 1);
    ck_assert_uint_eq(TIDE_RELAXED_GET(&word), UINT64_MAX - 1);
    ck_assert(TIDE_LIKELY(2) == 1 && TIDE_UNLIKELY(0) == 0);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {rounding_is_to_the_next_multiple,
                                  powers_of_two_have_one_bit,
                                  min_and_max_take_either_order,
                                  mix_is_the_finaliser_of_splitmix64,
                                  sizes_fit_together,
                                  relaxed_accesses_keep_the_value,
                                  NULL};
    return unit_main("def", tests);
}
