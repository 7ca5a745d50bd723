/* test_broker_spin.c - tidepool-broker: when its loop waits awake */
#include "unit_base.h"

#include "../tools/tidepool-broker/spin.c"

enum { APART = 8000, TURN = 2000, SLEPT = 20000, TURNS = 1000 };

static uint64_t now;

/* A turn that began by a request and ended TURN later; then the loop waits if it wants to, and asks
 * for events. True: it waited. */
static bool turn_ends(struct spin *spin, uint64_t turn)
{
    now += turn;
    uint64_t until = spin_until(spin, now);
    if (until != 0) {
        ck_assert_uint_gt(until, now);
        ck_assert_uint_le(until - now, spin->ns);
        now = until;
    }
    spin_polls(spin, now);
    return until != 0;
}

/* How many of TURNS turns are followed by a wait, when requests come `after_wait` ns after the loop
 * asked for events if it had waited, and `after` if it had not. */
static unsigned waits_of(struct spin *spin, uint64_t turn, uint64_t after, uint64_t after_wait)
{
    unsigned waits = 0;
    spin_hears(spin, now);
    for (unsigned i = 0; i < TURNS; i++) {
        bool waited = turn_ends(spin, turn);
        waits += waited;
        now += waited ? after_wait : after;
        spin_hears(spin, now);
    }
    return waits;
}

START_TEST(it_waits_while_that_saves_sleeping)
{
    struct spin spin = {.ns = APART};
    ck_assert_uint_ge(waits_of(&spin, TURN, SLEPT, 500), TURNS - SPIN_PROBE);
    ck_assert_uint_eq(spin.waits, spin.paid);
}
END_TEST

START_TEST(a_client_that_is_alone_is_not_waited_for)
{
    struct spin spin = {.ns = APART};
    ck_assert_uint_le(waits_of(&spin, TURN, SLEPT, SLEPT), TURNS / SPIN_PROBE + 1);
    ck_assert_uint_gt(spin.waits, 0);
    ck_assert_uint_eq(spin.paid, 0);
}
END_TEST

START_TEST(it_finds_out_that_things_changed)
{
    struct spin spin = {.ns = APART};
    waits_of(&spin, TURN, SLEPT, 500);
    ck_assert_uint_le(waits_of(&spin, TURN, SLEPT, SLEPT), TURNS / SPIN_PROBE + SPIN_MOST + 1);
    ck_assert_uint_ge(waits_of(&spin, TURN, SLEPT, 500), TURNS - 2 * SPIN_PROBE);
}
END_TEST

START_TEST(turns_that_are_long_are_not_longer)
{
    struct spin spin = {.ns = APART};
    ck_assert_uint_eq(waits_of(&spin, APART, 500, 500), 0);
    ck_assert_uint_eq(spin.waits, 0);
}
END_TEST

START_TEST(turns_without_requests_have_no_wait)
{
    struct spin spin = {.ns = APART};
    for (unsigned i = 0; i < 4 * SPIN_PROBE + 1; i++) {
        now += SLEPT;
        spin_hears(&spin, now);
        turn_ends(&spin, TURN);
        ck_assert(!turn_ends(&spin, TURN));
    }
    ck_assert_uint_eq(spin.waits, 4);
}
END_TEST

/* Paid half of the time: worth it. A fifth of the time: not. */
START_TEST(it_weighs_what_it_gains)
{
    static const struct {
        unsigned of;
        bool worth;
    } cases[] = {{2, true}, {5, false}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct spin spin = {.ns = APART, .credit = SPIN_MOST};
        unsigned waits = 0;
        spin_hears(&spin, now);
        for (unsigned turn = 0; turn < TURNS; turn++) {
            waits += turn_ends(&spin, TURN);
            now += turn % cases[i].of == 0 ? 500 : SLEPT;
            spin_hears(&spin, now);
        }
        if (cases[i].worth)
            ck_assert_uint_ge(waits, TURNS * 9 / 10);
        else
            ck_assert_uint_le(waits, TURNS / 4);
    }
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {it_waits_while_that_saves_sleeping,
                                  a_client_that_is_alone_is_not_waited_for,
                                  it_finds_out_that_things_changed,
                                  turns_that_are_long_are_not_longer,
                                  turns_without_requests_have_no_wait,
                                  it_weighs_what_it_gains,
                                  NULL};
    return unit_main("broker_spin", tests);
}
