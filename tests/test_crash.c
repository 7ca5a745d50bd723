/*
 * test_crash.c - processes that use a log in every way die at each of the named points, and at
 * points that a seed says; so do those that put it in order. In the end nothing that was
 * acknowledged is lost, twice, or elsewhere, and the region is free to the last segment.
 *
 * CRASH_SEED=N repeats one run of each kind; CRASH_DEATHS=N makes that many deaths of all kinds,
 * CRASH_SECONDS=N as many as fit into these seconds, from seed CRASH_FIRST on.
 */
#include "crash_life.h"

#include "box/clock.h"

enum { DEATHS = UNIT_SANITIZED ? 700 : 10010, TURNS = UNIT_SANITIZED ? 1 : 3 };

static const struct crash_kind {
    const char *name;
    unsigned level, sequencing, sessions;
    bool blocks, durable;
} kinds[] = {
    {"level 0", 0, TIDE_LOG_INLINE, 0, true, false},
    {"level 5 inline", 5, TIDE_LOG_INLINE, 0, true, false},
    {"level 5 stepped", 5, TIDE_LOG_STEPPED, 0, true, false},
    {"level 4 inline", 4, TIDE_LOG_INLINE, TIDE_LOG_LOCKFREE, true, false},
    {"level 4 stepped", 4, TIDE_LOG_STEPPED, TIDE_LOG_LOCKFREE, true, false},
    {"level 4 inline by mutex", 4, TIDE_LOG_INLINE, TIDE_LOG_MUTEX, false, false},
    {"level 4 stepped by mutex", 4, TIDE_LOG_STEPPED, TIDE_LOG_MUTEX, true, false},
    {"level 5 inline, durable", 5, TIDE_LOG_INLINE, 0, true, true},
    {"level 5 stepped, durable", 5, TIDE_LOG_STEPPED, 0, true, true},
    {"level 4 inline, durable", 4, TIDE_LOG_INLINE, TIDE_LOG_LOCKFREE, true, true},
    {"level 4 stepped, durable", 4, TIDE_LOG_STEPPED, TIDE_LOG_MUTEX, true, true},
};

enum { KINDS = sizeof kinds / sizeof kinds[0] };

static char place[300];

static struct crash_plan first_plan(const struct crash_kind *kind, uint64_t seed)
{
    static const uint64_t slots[] = {4, 7, 8, 16, 33}, first[] = {0, 0x7fffffe0, 0xffffffe0};
    bool roomy = kind->level == 4;
    struct crash_plan made = {.seed = seed,
                              .options = TIDE_LOG_OPTIONS,
                              .blocks = kind->blocks,
                              .durable = kind->durable,
                              .point = -1};
    made.options.level = kind->level;
    made.options.lease = TIDE_LOG_NO_LEASE; /* the clock has no part in a schedule */
    made.options.sequencing = kind->sequencing;
    made.options.sessions = kind->sessions;
    made.options.brokers = kind->level == 0 ? 1 : 1 + (unsigned)(seed / 3 % 3);
    made.options.slots = slots[seed % 5] * (roomy ? 16 : 1);
    made.options.payload = 4096 + 64 * (seed / 5 % 13);
    made.options.clients = CRASH_PRODUCERS;
    made.options.checksum = kind->durable;
    made.options.first = first[seed / 2 % 3];
    return made;
}

/* A fresh region, the log of which is not there yet. */
static void begin(const struct crash_plan *with)
{
    snprintf(place, sizeof place, "file:%s/region", unit_tmpfs[0] != '\0' ? unit_tmpfs : unit_disk);
    tide_region_t *fresh = region_made(place, CRASH_REGION, TIDE_REGION_REPLACE);
    memcpy(world->disk, fresh->extent.base, CRASH_REGION); /* of the region nothing gets lost */
    ck_assert_int_eq(tide_region_close(fresh), 0);
    if (with->durable)
        crash_watch_file(place);
    crash_world_begin(with);
}

static void judge(const struct unit_end *end, const struct crash_kind *kind, int code)
{
    UNIT_HOLD(end->code == code,
              "%s, seed %llu, life %d: ended with %d: %s\nonce more: CRASH_SEED=%llu test_crash",
              kind->name, (unsigned long long)plan.seed, plan.life, end->code, end->text,
              (unsigned long long)plan.seed);
}

/* Several lives, each of which dies somewhere; every third one early, in what puts the log in
 * order. How many deaths. */
static uint64_t run_once(const struct crash_kind *kind, uint64_t seed)
{
    uint64_t random = (seed + 1) * 0x2545f4914f6cdd1du, deaths = 0;
    struct crash_plan lives = first_plan(kind, seed);
    begin(&lives);
    for (int life = 0; life < CRASH_LIVES; life++) {
        uint64_t draw = unit_random(&random);
        plan = lives;
        plan.life = life;
        plan.last = life + 1 == CRASH_LIVES;
        bool early = draw % 3 == 0 && life > 0;
        plan.held = !plan.last && !early && draw / 3 % 8 == 0;
        plan.stop = plan.last || plan.held ? 0 : 1 + draw / 4 % (early ? world->opened + 1 : 3000);
        struct unit_end end = crash_once(place);
        deaths += end.code == 128 + SIGKILL;
        judge(&end, kind, end.code == 0 || plan.last ? 0 : 128 + SIGKILL);
        if (kind->durable) /* after a clean end, too */
            crash_power_off(unit_random(&random));
    }
    return deaths;
}

static uint64_t from_environment(const char *name, uint64_t initial)
{
    const char *text = getenv(name);
    return text != NULL ? strtoull(text, NULL, 10) : initial;
}

/* Loop index: kind. */
START_TEST(deaths_at_any_access)
{
    uint64_t seed = from_environment("CRASH_SEED", UINT64_MAX), deaths = 0;
    uint64_t seconds = from_environment("CRASH_SECONDS", 0);
    uint64_t enough = from_environment("CRASH_DEATHS", DEATHS) / KINDS;
    uint64_t end = tide_clock_now() + seconds * UINT64_C(1000000000) / KINDS;
    crash_world_make();
    if (seed != UINT64_MAX) {
        run_once(&kinds[_i], seed);
        return;
    }
    seed = from_environment("CRASH_FIRST", 0);
    while (seconds != 0 ? tide_clock_now() < end : deaths < enough)
        deaths += run_once(&kinds[_i], seed++);
    if (deaths < 100)
        return;
    ck_assert_uint_gt(world->repairs, 0);
    ck_assert(!kinds[_i].durable || world->lasting > 0);
    ck_assert(!kinds[_i].durable || kinds[_i].level != 4 || world->kept > 0);
    if (getenv("LOG_TELL") != NULL)
        dprintf(2, "%s: %llu deaths, %llu durable, numbers kept %llu times\n", kinds[_i].name,
                (unsigned long long)deaths, (unsigned long long)world->lasting,
                (unsigned long long)world->kept);
}
END_TEST

static enum tide_crash_point told;

static void tell(enum tide_crash_point point)
{
    told = point;
}

START_TEST(a_point_says_its_name)
{
    TIDE_CRASH_POINT(ring_claimed);
    tide_crash_hook = tell;
    TIDE_CRASH_POINT(release_slot);
    tide_crash_hook = NULL;
    ck_assert_str_eq(tide_crash_names[told], "release_slot");
}
END_TEST

/* A life that dies early, so that the next one has much to do, or that leaves claims and nothing
 * else; two more that die at the point if
 * they come there, and one that looks at what is left. */
static void die_at(const struct crash_kind *kind, int point, uint64_t seed)
{
    uint64_t random = (seed + 1) * 0x2545f4914f6cdd1du;
    struct crash_plan lives = first_plan(kind, seed);
    begin(&lives);
    for (int life = 0; life < 4; life++) {
        uint64_t draw = unit_random(&random);
        plan = lives;
        plan.life = life;
        plan.last = life == 2;
        plan.over = life == 3;
        plan.held = life == 0 && draw % 4 == 0;
        plan.stop = life == 0 && !plan.held ? 1 + draw % 3000 : 0;
        plan.point = life < 3 ? point : -1;
        plan.turn = 1 + draw / 4096 % 4 * (draw / 65536 % 4);
        struct unit_end end = crash_once(place);
        judge(&end, kind, end.code == 128 + SIGKILL && !plan.over ? end.code : 0);
        if (kind->durable && end.code != 0 && life < 2)
            crash_power_off(unit_random(&random));
    }
}

/* Loop index: the point. Those of damaged logs are test_mend_cut's. */
START_TEST(deaths_at_each_point)
{
    crash_world_make();
    for (uint64_t seed = 0; world->deaths[_i] < TURNS && seed < 200; seed++)
        die_at(&kinds[(seed + (uint64_t)_i) % KINDS], _i, seed);
    ck_assert_msg(world->deaths[_i] >= TURNS, "nothing comes to the point %s",
                  tide_crash_names[_i]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("crash");
    TCase *tcase = tcase_create("crash");
    tcase_add_checked_fixture(tcase, unit_files_setup, unit_files_teardown);
    tcase_add_test(tcase, a_point_says_its_name);
    tcase_add_loop_test(tcase, deaths_at_each_point, 0, TIDE_CRASH_DAMAGE);
    suite_add_tcase(suite, tcase);
    tcase = tcase_create("lives");
    tcase_add_checked_fixture(tcase, unit_files_setup, unit_files_teardown);
    tcase_add_loop_test(tcase, deaths_at_any_access, 0, KINDS);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
