/*
 * test_lane_sim.c - a log of lanes in simulated memory that is not coherent: what readers got is
 * held to every invariant, with and without nodes that crash.
 *
 * LANE_SEED=N repeats one run, LANE_SEEDS=N makes that many of each kind, LANE_STEPS=N with so
 * many points each.
 */
#include "lane_run.h"

#if UNIT_SANITIZED
enum { SEEDS = 6, STEPS = 100000, RIVAL_STEPS = 400000 };
#else
enum { SEEDS = 6, STEPS = 1000000, RIVAL_STEPS = 1000000 };
#endif

static uint64_t from_environment(const char *name, uint64_t initial)
{
    const char *text = getenv(name);
    return text != NULL ? strtoull(text, NULL, 10) : initial;
}

static void run_seeds(uint32_t level, bool crashes, bool rivals)
{
    uint64_t steps = from_environment("LANE_STEPS", rivals ? RIVAL_STEPS : STEPS);
    uint64_t turns = 0, leads = 0, stopped = 0, kept = 0;
    uint64_t seed = from_environment("LANE_SEED", 0), end = seed + 1;
    if (getenv("LANE_SEED") == NULL)
        end = from_environment("LANE_SEEDS", SEEDS);
    for (; seed < end; seed++) {
        const char *broken = run_with(level, seed, steps, crashes, rivals);
        UNIT_HOLD(broken == NULL, "level %u, seed %llu: %s", level, (unsigned long long)seed,
                  broken);
        turns += run.turns;
        leads += run.leads;
        stopped += run.stopped;
        kept += run.kept;
    }
    /* Of one seed it may be that nobody had to be followed. */
    UNIT_HOLD(!rivals || getenv("LANE_SEED") != NULL || (turns > 12 && leads > 2 && stopped > 2),
              "%llu had nodes, %llu were sequencers, %llu of them stopped in a step",
              (unsigned long long)turns, (unsigned long long)leads, (unsigned long long)stopped);
    UNIT_HOLD(rivals || getenv("LANE_SEED") != NULL || kept > 100, "%llu were kept",
              (unsigned long long)kept);
}

START_TEST(level_5_holds)
{
    run_seeds(5, false, false);
}
END_TEST

START_TEST(level_4_holds)
{
    run_seeds(4, false, false);
}
END_TEST

START_TEST(level_5_survives_crashes)
{
    run_seeds(5, true, false);
}
END_TEST

START_TEST(level_4_survives_crashes)
{
    run_seeds(4, true, false);
}
END_TEST

START_TEST(one_process_at_a_time_has_a_node_or_is_the_sequencer)
{
    run_seeds(_i % 2 == 0 ? 5 : 4, _i >= 2, true);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("lane_sim");
    TCase *tcase = tcase_create("lane_sim");
    tcase_add_test(tcase, level_5_holds);
    tcase_add_test(tcase, level_4_holds);
    tcase_add_test(tcase, level_5_survives_crashes);
    tcase_add_test(tcase, level_4_survives_crashes);
    tcase_add_loop_test(tcase, one_process_at_a_time_has_a_node_or_is_the_sequencer, 0, 4);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
