/* test_lanemend_hostile.c - repairs that end in the middle, and of logs where anything stands. */
#include <setjmp.h>

#include "lanemend_case.h"

/* --- in the middle -------------------------------------------------------------------------- */

static jmp_buf killed;
static unsigned left;

static void die(void)
{
    if (left-- == 0)
        longjmp(killed, 1);
}

/* A repair that ends before each of its writes is done again. */
START_TEST(it_may_end_in_the_middle)
{
    uint64_t fenced;
    begin((uint32_t)_i);
    const char *all = without(6, &fenced);
    unsigned volatile writes = 0;
    for (bool volatile done = false; !done; writes++) {
        again();
        payload_of(6)[20] ^= 1;
        map.lane[2].released = 0;
        left = writes;
        if (setjmp(killed) == 0) {
            tide_coh_hook = die;
            run();
            done = true;
        }
        tide_coh_hook = NULL;
        run();
        ck_assert_uint_le(mend.count[TIDE_LANEMEND_CUT], 1);
        ck_assert_str_eq(values(), all);
        ck_assert_str_eq(look(), "");
    }
    ck_assert_uint_gt(writes, 12);
    end();
}
END_TEST

/* --- hostile values ------------------------------------------------------------------------- */

static uint64_t random_of(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* One that is near to something, or wild. */
static uint64_t random_value(uint64_t *state, uint64_t was)
{
    uint64_t how = random_of(state) % 6, by = random_of(state) % 40;
    return how == 0   ? was + by
           : how == 1 ? was - by
           : how == 2 ? map.first + by
           : how == 3 ? random_of(state)
           : how == 4 ? 0
                      : UINT64_MAX >> by;
}

/* Wherever the words lead, the log is whole afterwards, and nothing else was touched. */
START_TEST(no_word_leads_astray)
{
    static const uint64_t first[] = {0, 0xffffffe0, (UINT64_C(1) << 63) - 32};
    uint64_t state = 77 + (uint64_t)_i;
    make(4 + (uint32_t)_i % 2, _i % 4 < 2 ? TIDE_LAYOUT_CHECKSUM : 0, first[_i % 3]);
    uint64_t most = (uint64_t)((unsigned char *)map.payload - map.base) / 8;
    for (int turn = 0; turn < 400; turn++) {
        again();
        for (uint64_t i = 1 + random_of(&state) % (turn % 8 == 0 ? 300 : 8); i > 0; i--) {
            uint64_t at = 32 + random_of(&state) % (most - 32), was;
            unsigned char *word = map.base + 8 * at;
            if (turn % 2 == 0) /* where it matters */
                word = random_of(&state) % 2 == 0
                           ? (unsigned char *)entry_of(random_of(&state) % BATCHES) +
                                 random_of(&state) % 8 * 8
                           : (unsigned char *)&map.slot[random_of(&state) % map.entries.size] +
                                 random_of(&state) % 8 * 8;
            memcpy(&was, word, 8);
            was = random_value(&state, was);
            memcpy(word, &was, 8);
        }
        run();
        ck_assert_msg(look()[0] == '\0', "turn %d: %s", turn, words);
        goes_on(true);
    }
    end();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("lanemend_hostile");
    TCase *tcase = tcase_create("lanemend_hostile");
    tcase_add_loop_test(tcase, it_may_end_in_the_middle, 4, 6);
    tcase_add_loop_test(tcase, no_word_leads_astray, 0, 12);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
