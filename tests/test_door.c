/* test_door.c - one at a time behind a session's door, whether it stays with a handle or not. */
#include "log_case.h"

#include <pthread.h>

#include "box/door.h"
#include "box/park.h"

enum { KEEPER = 1, OTHER = 2 }; /* entries of the producer table */

static struct tide_logmap map;

static void make(uint32_t sessions)
{
    log_make(&map, (struct tide_layout_wish){
                       .level = 4, .slots = 2048, .sessions = sessions, .producers = 4});
    map.keeps = tide_park_ready() && tide_park_barrier();
    UNIT_HOLD(map.keeps, "the kernel makes no barrier");
}

static uint64_t door_of(uint32_t client)
{
    return atomic_load(&map.session[client].door);
}

/* The door of this client stays with KEEPER. */
static uint64_t keep(uint32_t client)
{
    ck_assert(tide_door_try(&map, client));
    uint64_t kept = tide_door_keep(&map, client, KEEPER);
    ck_assert_uint_eq(kept, TIDE_DOOR_KEPT | KEEPER);
    return kept;
}

static enum tide_door_got enter(uint64_t ref)
{
    return tide_door_enter(&map, 0, ref, &map.link[(uint32_t)ref]);
}

START_TEST(who_finds_it_taken_hands_over)
{
    make(1);
    ck_assert_int_eq(enter(tide_layout_ref(0, 2)), TIDE_DOOR_MINE);
    ck_assert(!tide_door_try(&map, 0));
    ck_assert_int_eq(enter(tide_layout_ref(0, 3)), TIDE_DOOR_HANDED);
    ck_assert_int_eq(enter(tide_layout_ref(0, 4)), TIDE_DOOR_HANDED);
    ck_assert_uint_eq(tide_door_leave(&map, 0), tide_layout_ref(0, 4));
    ck_assert_uint_eq(atomic_load(&map.link[4]), tide_layout_ref(0, 3));
    ck_assert_uint_eq(atomic_load(&map.link[3]), TIDE_DOOR_TAKEN);
    ck_assert(!tide_door_try(&map, 0)); /* it is not left before the list was seen to */
    ck_assert_uint_eq(tide_door_leave(&map, 0), 0);
    ck_assert_uint_eq(door_of(0), TIDE_DOOR_OPEN);
    log_drop(&map);
}
END_TEST

START_TEST(it_stays_with_a_handle_until_that_parts)
{
    make(1);
    uint64_t kept = keep(0);
    for (int i = 0; i < 3; i++) {
        ck_assert(tide_door_come(&map, 0, kept));
        ck_assert_uint_eq(atomic_load(&map.producer[KEEPER].inside), 1);
        ck_assert(!tide_door_try(&map, 0));
        ck_assert(tide_door_go(&map, 0, kept));
        ck_assert_uint_eq(atomic_load(&map.producer[KEEPER].inside), 0);
        ck_assert(!tide_door_try(&map, 0));
    }
    ck_assert(tide_door_part(&map, 0, kept));
    ck_assert_uint_eq(door_of(0), TIDE_DOOR_OPEN);
    ck_assert_uint_eq(tide_door_call(&map, 0), 0); /* nobody keeps it */
    keep(0);
    log_drop(&map);
}
END_TEST

/* Nobody is inside: whoever calls has it, and it stays with nobody again. */
START_TEST(who_calls_for_it_takes_it)
{
    make(1);
    uint64_t kept = keep(0);
    ck_assert_int_eq(enter(tide_layout_ref(0, 2)), TIDE_DOOR_STAYS);
    ck_assert_uint_eq(tide_door_call(&map, 0), TIDE_DOOR_TAKEN);
    ck_assert_uint_eq(door_of(0), TIDE_DOOR_TAKEN);
    ck_assert(!tide_door_come(&map, 0, kept));
    ck_assert(!tide_door_part(&map, 0, kept));
    ck_assert_uint_eq(atomic_load(&map.producer[KEEPER].inside), 0);
    ck_assert_uint_eq(tide_door_answer(&map, 0), 0); /* that was done by who called */
    ck_assert_uint_eq(tide_door_leave(&map, 0), 0);
    ck_assert(tide_door_try(&map, 0));
    ck_assert_uint_eq(tide_door_keep(&map, 0, OTHER), 0);
    ck_assert_uint_eq(tide_door_leave(&map, 0), 0);
    log_drop(&map);
}
END_TEST

/* Somebody is inside: that one finds what was handed over when it goes. */
START_TEST(who_is_inside_answers)
{
    make(1);
    uint64_t kept = keep(0);
    ck_assert(tide_door_come(&map, 0, kept));
    ck_assert_uint_eq(tide_door_call(&map, 0), 0);
    ck_assert(!tide_door_try(&map, 0));
    ck_assert_int_eq(enter(tide_layout_ref(0, 2)), TIDE_DOOR_HANDED);
    ck_assert_int_eq(enter(tide_layout_ref(0, 3)), TIDE_DOOR_HANDED);
    ck_assert(!tide_door_go(&map, 0, kept));
    ck_assert_uint_eq(tide_door_answer(&map, 0), tide_layout_ref(0, 3));
    ck_assert_uint_eq(atomic_load(&map.link[3]), tide_layout_ref(0, 2));
    ck_assert_uint_eq(atomic_load(&map.link[2]), TIDE_DOOR_TAKEN);
    ck_assert_uint_eq(tide_door_answer(&map, 0), 0);
    ck_assert_uint_eq(tide_door_leave(&map, 0), 0);
    log_drop(&map);
}
END_TEST

/* In memory that others write the words may say anything: no entry is looked up by them. */
START_TEST(it_stays_with_nobody_where_no_barrier_reaches_all)
{
    make(1);
    map.keeps = false;
    ck_assert(tide_door_try(&map, 0));
    ck_assert_uint_eq(tide_door_keep(&map, 0, KEEPER), 0);
    atomic_store(&map.session[0].door, TIDE_DOOR_KEPT | UINT32_MAX);
    ck_assert_uint_eq(tide_door_call(&map, 0), 0);
    ck_assert_int_eq(enter(tide_layout_ref(0, 2)), TIDE_DOOR_HANDED);
    log_drop(&map);
}
END_TEST

/* --- threads ------------------------------------------------------------------------ */

enum { DOORS = 600, TURNS = 200 };

static uint64_t count[DOORS]; /* written behind the door only */
static uint64_t word_of[DOORS];
static _Atomic uint32_t at;           /* the door that the keeper is at */
static _Atomic bool taken[3 * DOORS]; /* slots that were handed over: whose turn came */

/* One more turn for each slot of the list. Its link is read before it is its own's again. */
static void count_list(uint32_t client, uint64_t list)
{
    while (list != TIDE_DOOR_TAKEN) {
        uint32_t slot = (uint32_t)list;
        list = atomic_load(&map.link[slot]);
        count[client]++;
        atomic_store(&taken[slot], true);
    }
}

/* All who come to an end behind the door; what was handed over comes first. */
static void leave(uint32_t client)
{
    for (uint64_t list; (list = tide_door_leave(&map, client)) != 0;)
        count_list(client, list);
}

static void answer(uint32_t client, uint64_t list)
{
    if (list == 0)
        return;
    count_list(client, list);
    leave(client);
}

/* Each has a slot of its own at each door, which must not be handed over twice at a time. */
static void take_turn(uint32_t client, uint32_t who)
{
    uint32_t slot = 3 * client + who;
    enum tide_door_got got;
    while ((got = tide_door_enter(&map, client, tide_layout_ref(0, slot), &map.link[slot])) ==
           TIDE_DOOR_STAYS)
        answer(client, tide_door_call(&map, client));
    if (got == TIDE_DOOR_MINE) {
        count[client]++;
        leave(client);
    } else {
        while (!atomic_load(&taken[slot]))
            sched_yield();
        atomic_store(&taken[slot], false);
    }
}

static void part(uint32_t client)
{
    uint64_t *kept = &word_of[client];
    if (*kept != 0 && !tide_door_part(&map, client, *kept))
        answer(client, tide_door_answer(&map, client));
    *kept = 0;
}

/* One turn of the handle that a door stays with, until it does not any more. */
static void take_kept_turn(uint32_t client)
{
    uint64_t *kept = &word_of[client];
    if (*kept != 0 && tide_door_come(&map, client, *kept)) {
        count[client]++;
        if (!tide_door_go(&map, client, *kept))
            answer(client, tide_door_answer(&map, client));
        return;
    }
    part(client);
    take_turn(client, 0);
}

static void *play_keeper(void *unused)
{
    for (uint32_t client = 0; client < DOORS; client++) {
        atomic_store(&at, client);
        for (int i = 0; i < TURNS; i++)
            take_kept_turn(client);
        part(client); /* its entry is the next door's */
    }
    return unused;
}

/* Comes once to each door, while its keeper goes in and out. */
static void *play_rival(void *who)
{
    for (uint32_t client = 0; client < DOORS; client++) {
        while (atomic_load(&at) < client)
            sched_yield();
        take_turn(client, *(uint32_t *)who);
    }
    return NULL;
}

START_TEST(threads_are_behind_it_one_at_a_time)
{
    static uint32_t who[] = {1, 2};
    pthread_t keeper, rival[2];
    make(DOORS);
    for (uint32_t client = 0; client < DOORS; client++)
        word_of[client] = keep(client);
    ck_assert_int_eq(pthread_create(&keeper, NULL, play_keeper, NULL), 0);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&rival[i], NULL, play_rival, &who[i]), 0);
    pthread_join(keeper, NULL);
    for (int i = 0; i < 2; i++)
        pthread_join(rival[i], NULL);
    for (uint32_t client = 0; client < DOORS; client++) {
        UNIT_HOLD(count[client] == TURNS + 2, "door %u: %llu turns", client,
                  (unsigned long long)count[client]);
        ck_assert_uint_eq(door_of(client), TIDE_DOOR_OPEN);
    }
    log_drop(&map);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("door");
    TCase *tcase = tcase_create("door");
    tcase_add_test(tcase, who_finds_it_taken_hands_over);
    tcase_add_test(tcase, it_stays_with_a_handle_until_that_parts);
    tcase_add_test(tcase, who_calls_for_it_takes_it);
    tcase_add_test(tcase, who_is_inside_answers);
    tcase_add_test(tcase, it_stays_with_nobody_where_no_barrier_reaches_all);
    tcase_add_test(tcase, threads_are_behind_it_one_at_a_time);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
