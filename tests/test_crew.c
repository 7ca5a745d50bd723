/* test_crew.c - the table of processes of a log, and how calls are stopped. */
#include "region_case.h"

#include <linux/filter.h>
#include <linux/membarrier.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/syscall.h>

#include <tidepool/log.h>

#include "box/logapi.h"
#include "box/park.h"

static tide_region_t *region;
static tide_log_t *log_;

static void make_of(const char *source, unsigned level)
{
    struct tide_log_options options = TIDE_LOG_OPTIONS;
    options.level = level;
    options.slots = 16;
    options.payload = 4096;
    region = region_made(source, REGION_SIZE, 0);
    ck_assert_int_eq(tide_log_create_on(&log_, region, &options), 0);
}

static void make(const char *source)
{
    make_of(source, 5);
}

static void drop(void)
{
    ck_assert_int_eq(tide_log_close(log_), 0);
    ck_assert_int_eq(tide_region_close(region), 0);
}

/* Of private memory nobody can have a part: calls cost nothing there. */
START_TEST(calls_are_noted_where_others_can_come)
{
    _Atomic uint64_t busy = 0;
    make(_i == 0 ? "memfd" : "anon");
    struct tide_crew *crew = &log_->crew;
    ck_assert(crew->shared == (_i == 0));
    ck_assert(tide_crew_enter(crew, &busy));
    ck_assert_uint_eq(busy, _i == 0);
    tide_crew_leave(crew, &busy);
    ck_assert_uint_eq(busy, 0);
    ck_assert(tide_crew_begin(crew) && tide_crew_begin(crew));
    ck_assert_uint_eq(crew->head->member[0].busy, _i == 0 ? 2 : 0);
    tide_crew_end(crew);
    tide_crew_end(crew);
    ck_assert_uint_eq(crew->head->member[0].busy, 0);
    drop();
}
END_TEST

/* A call that does not end keeps everything as it was; and nobody tries again at once. */
START_TEST(who_is_at_work_is_waited_for)
{
    tide_log_client_t *client;
    tide_log_reader_t *reader;
    make("memfd");
    struct tide_crew *crew = &log_->crew;
    ck_assert_int_eq(tide_log_client_open(&client, log_, NULL), 0);
    ck_assert_int_eq(tide_log_reader_open(&reader, log_, NULL), 0);
    _Atomic uint64_t *busy[] = {&client->broker.entry->busy, &reader->sub.entry->busy,
                                &crew->head->member[0].busy};
    for (int i = 0; i < 3; i++) {
        uint32_t before = crew->room->generation;
        atomic_store(busy[i], 1);
        ck_assert(!tide_crew_stop(crew, 1));
        ck_assert_uint_eq(crew->room->generation, before | 1);
        tide_crew_go_on(crew, false);
        ck_assert_uint_eq(crew->room->generation, before + 2);
        ck_assert_uint_ne(crew->room->again, 0);
        ck_assert(tide_crew_stop(crew, 2)); /* it is nobody of those */
        tide_crew_go_on(crew, true);
        atomic_store(busy[i], 0);
        ck_assert(tide_crew_stop(crew, 1));
        tide_crew_go_on(crew, false); /* what was begun is not left */
        ck_assert_uint_eq(crew->room->generation, before + 5);
        tide_crew_go_on(crew, true);
        ck_assert_uint_eq(crew->room->generation, before + 6);
    }
    ck_assert_int_eq(tide_log_append(client, 0, "x", 1, TIDE_LOG_TRY, NULL), 0);
    ck_assert_int_eq(tide_log_reader_close(reader), 0);
    ck_assert_int_eq(tide_log_client_close(client), 0);
    drop();
}
END_TEST

/* Whoever left forgot nothing: neither sleepers nor the medium stay taken. */
START_TEST(those_that_are_gone_are_forgotten)
{
    make("memfd");
    struct tide_crew *crew = &log_->crew;
    struct tide_layout_head *head = crew->head;
    head->member[3].asleep[1] = 2;
    head->space.sleepers = 3;
    head->member[3].standing = TIDE_LAYOUT_EXPELLED;
    crew->room->syncer = 4;
    tide_owner_put(&crew->room->crew[3], &crew->self);
    tide_crew_forget(crew, 1 << 3);
    ck_assert_uint_eq(head->space.sleepers, 1);
    ck_assert_uint_eq(head->member[3].standing, TIDE_LAYOUT_MEMBER);
    ck_assert_uint_eq(crew->room->syncer, 0);
    ck_assert_uint_eq(crew->room->crew[3].word, 0);
    head->space.sleepers = 0;
    drop();
}
END_TEST

/* An expelled one is told so, and a damaged log is no log. */
START_TEST(errors)
{
    make("memfd");
    struct tide_crew *crew = &log_->crew;
    _Atomic uint64_t busy = 0;
    ck_assert_int_eq(tide_crew_error(crew), 0);
    crew->head->member[0].standing = TIDE_LAYOUT_EXPELLED;
    ck_assert_int_eq(tide_crew_error(crew), -ESTALE);
    ck_assert(tide_crew_stop(crew, 0));
    tide_crew_go_on(crew, true);
    ck_assert(!tide_crew_enter(crew, &busy) && busy == 0);
    ck_assert(!tide_crew_begin(crew) && crew->head->member[0].busy == 0);
    crew->head->member[0].standing = TIDE_LAYOUT_MEMBER;
    crew->room->damaged = 1;
    ck_assert_int_eq(tide_crew_error(crew), -EUCLEAN);
    ck_assert_int_eq(tide_log_poll(log_), -EUCLEAN);
    crew->room->damaged = 0;
    ck_assert(tide_crew_enter(crew, &busy));
    tide_crew_leave(crew, &busy);
    drop();
}
END_TEST

/* Who left a repair has not to be waited for, whenever the last try was. */
START_TEST(a_repair_that_was_left_is_taken_over_at_once)
{
    make("memfd");
    struct tide_crew *crew = &log_->crew;
    atomic_store(&crew->room->again, UINT64_MAX);
    atomic_fetch_add(&crew->room->generation, 1);
    atomic_store(&crew->looked, 0);
    ck_assert(tide_crew_is_stopped(crew));
    ck_assert(tide_crew_glance(crew));
    ck_assert(!tide_crew_glance(crew)); /* not all the time */
    tide_rescue_now(crew);
    ck_assert(!tide_crew_is_stopped(crew));
    atomic_store(&crew->looked, 0);
    ck_assert(!tide_crew_glance(crew));
    drop();
}
END_TEST

/* A process that cannot be reached by others' barriers makes its own, and is known to. */
static void refuse_to_register(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof filter / sizeof filter[0], filter};
    UNIT_NEED(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    UNIT_NEED(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

START_TEST(who_is_not_reached_makes_its_own_barriers)
{
    bool reached = tide_park_ready() && tide_park_barrier();
    if (_i == 1)
        refuse_to_register();
    make("memfd");
    ck_assert(log_->crew.fences == (_i == 1 || !reached));
    ck_assert(log_->crew.head->member[0].fences == log_->crew.fences);
    drop();
}
END_TEST

/* The door of a session stays with a handle where barriers reach all: not if the process cannot be
 * reached, and not of a log that others may have, too. Closed, it stays with nobody. */
START_TEST(a_door_stays_where_barriers_reach_all)
{
    struct tide_log_options options = TIDE_LOG_OPTIONS;
    bool reached = tide_park_ready() && tide_park_barrier();
    tide_log_client_t *client;
    options.level = 4;
    if (_i == 1)
        refuse_to_register();
    if (_i == 2)
        make_of("memfd", 4);
    else
        ck_assert_int_eq(tide_log_create(&log_, &options), 0);
    const struct tide_layout_session *session = &log_->map.session[0];
    ck_assert_int_eq(tide_log_client_open(&client, log_, NULL), 0);
    ck_assert((client->broker.kept != 0) == (_i == 0 && reached));
    ck_assert_uint_eq(session->door, client->broker.kept);
    ck_assert_int_eq(tide_log_append(client, 0, "x", 1, TIDE_LOG_TRY, NULL), 0);
    ck_assert_uint_eq(session->door, client->broker.kept);
    ck_assert_int_eq(tide_log_client_close(client), 0);
    ck_assert_uint_eq(session->door, TIDE_DOOR_OPEN);
    if (_i == 2)
        drop();
    else
        ck_assert_int_eq(tide_log_close(log_), 0);
}
END_TEST

#ifdef TIDE_DEBUG
static unsigned looks_left;

/* Another thread of this process is the first to lend, between the look and the try. */
static void lend_meanwhile(void)
{
    if (looks_left > 0 && --looks_left == 0)
        atomic_store(&log_->crew.head->lender, log_->crew.number + 1);
}

START_TEST(threads_of_one_process_lend_together)
{
    make("memfd");
    looks_left = 2;
    tide_coh_hook = lend_meanwhile;
    int error = tide_crew_lend(&log_->crew);
    tide_coh_hook = NULL;
    ck_assert_uint_eq(looks_left, 0);
    ck_assert_int_eq(error, 0);
    log_->crew.head->lender = log_->crew.number + 2;
    ck_assert_int_eq(tide_crew_lend(&log_->crew), -EPERM);
    log_->crew.head->lender = 0;
    drop();
}
END_TEST

/* Somebody stops all, and gives it up, at the n-th look. */
static void stop_in_vain(void)
{
    if (looks_left > 0 && --looks_left == 0)
        atomic_fetch_add(&log_->crew.room->generation, 2);
}

/* Whatever came between, an append that is in the log is acknowledged, with its place. */
START_TEST(a_stop_in_vain_keeps_no_acknowledgement_back)
{
    struct tide_log_client_options options = {.id = 1, .ack = TIDE_LOG_ACK_ORDERED};
    tide_log_client_t *client;
    struct tide_log_at at;
    make_of("memfd", _i == 0 ? 5 : 4);
    ck_assert_int_eq(tide_log_client_open(&client, log_, &options), 0);
    for (unsigned i = 0; looks_left == 0; i++) {
        looks_left = i + 1;
        tide_coh_hook = stop_in_vain;
        int error = tide_log_append(client, 0, "x", 1, INT64_C(5000000000), &at);
        tide_coh_hook = NULL;
        ck_assert_msg(error == 0, "a stop at look %u: %d", i + 1, error);
        ck_assert_uint_eq(at.position, i);
        ck_assert_int_eq(tide_log_trim(log_, 0, UINT64_MAX, NULL), 0);
        ck_assert_uint_lt(i, 1000);
    }
    looks_left = 0;
    ck_assert_int_eq(tide_log_client_close(client), 0);
    drop();
}
END_TEST

/* This process is expelled at the n-th look, by somebody who saw nobody inside a call. */
static void expel_meanwhile(void)
{
    if (looks_left > 0 && --looks_left == 0) {
        atomic_store(&log_->crew.head->member[0].standing, TIDE_LAYOUT_EXPELLED);
        atomic_fetch_add(&log_->crew.room->generation, 2);
    }
}

START_TEST(who_was_expelled_does_not_go_on)
{
    _Atomic uint64_t busy = 0;
    make("memfd");
    struct tide_crew *crew = &log_->crew;
    for (unsigned i = 1; looks_left == 0; i++) {
        atomic_fetch_add(&crew->room->generation, 2); /* so it has to catch up */
        looks_left = i;
        tide_coh_hook = expel_meanwhile;
        bool goes_on = _i == 0 ? tide_crew_enter(crew, &busy) : tide_crew_begin(crew);
        tide_coh_hook = NULL;
        ck_assert_msg(goes_on == (looks_left != 0), "expelled at look %u", i);
        if (goes_on && _i == 0)
            tide_crew_leave(crew, &busy);
        else if (goes_on)
            tide_crew_end(crew);
        ck_assert(busy == 0 && crew->head->member[0].busy == 0);
        atomic_store(&crew->head->member[0].standing, TIDE_LAYOUT_MEMBER);
        ck_assert(goes_on == (i > 2));
    }
    looks_left = 0;
    drop();
}
END_TEST
#endif

int main(void)
{
    Suite *suite = suite_create("crew");
    TCase *tcase = tcase_create("crew");
    tcase_add_checked_fixture(tcase, unit_files_setup, unit_files_teardown);
    tcase_add_loop_test(tcase, calls_are_noted_where_others_can_come, 0, 2);
    tcase_add_test(tcase, who_is_at_work_is_waited_for);
    tcase_add_test(tcase, those_that_are_gone_are_forgotten);
    tcase_add_test(tcase, errors);
    tcase_add_test(tcase, a_repair_that_was_left_is_taken_over_at_once);
    tcase_add_loop_test(tcase, who_is_not_reached_makes_its_own_barriers, 0, 2);
    tcase_add_loop_test(tcase, a_door_stays_where_barriers_reach_all, 0, 3);
#ifdef TIDE_DEBUG
    tcase_add_test(tcase, threads_of_one_process_lend_together);
    tcase_add_loop_test(tcase, a_stop_in_vain_keeps_no_acknowledgement_back, 0, 2);
    tcase_add_loop_test(tcase, who_was_expelled_does_not_go_on, 0, 2);
#endif
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
