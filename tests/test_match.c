/* test_match.c - batches find the places that damaged entries leave open. */
#include "box/match.h"

#include "unit_base.h"

enum { MOST = 24 };

/* What is at one place of a log that was made up, and whether its entry is damaged. */
struct laid {
    uint64_t key, order, count;
    bool bad;
};

static struct tide_match_batch batch[MOST], spare[MOST];
static struct tide_match_place place[MOST];
static uint64_t batches, places;

/* Places are 0, 1, ...; all that is known is told. Returns what giving did. */
static uint64_t match(const struct laid *laid, uint64_t count, bool totals, bool dense)
{
    batches = places = 0;
    for (uint64_t i = 0; i < count; i++)
        if (laid[i].bad) {
            uint64_t total = 0, from = i, to = i;
            while (from > 0 && laid[from - 1].bad)
                from--;
            for (; totals && to < count && laid[to].bad; to++)
                continue;
            while (totals && from < to)
                total += laid[from++].count;
            place[places++] = (struct tide_match_place){.place = i, .total = total};
            batch[batches++] = (struct tide_match_batch){.key = laid[i].key,
                                                         .order = laid[i].order,
                                                         .slot = i,
                                                         .broker = (uint32_t)laid[i].key,
                                                         .count = (uint32_t)laid[i].count};
        }
    tide_match_begin(batch, batches);
    for (uint64_t i = 0; i < count; i++)
        if (!laid[i].bad)
            tide_match_see(batch, batches, laid[i].key, laid[i].order, i);
    return tide_match_give(batch, spare, batches, place, places, dense);
}

static uint64_t given(void)
{
    uint64_t count = 0;
    for (uint64_t i = 0; i < places; i++)
        count += place[i].given;
    return count;
}

/* --- single ones --------------------------------------------------------------------------- */

START_TEST(a_place_between_those_of_one_key_is_known)
{
    const struct laid laid[] = {{1, 5, 1, false}, {2, 8, 1, false}, {1, 6, 1, true},
                                {1, 7, 1, false}, {2, 9, 1, true},  {2, 10, 1, false}};
    ck_assert_uint_eq(match(laid, 6, false, false), 0);
    ck_assert_uint_eq(given(), 2);
    ck_assert_uint_eq(place[0].slot, 2);
    ck_assert_uint_eq(place[1].slot, 4);
    ck_assert_uint_eq(place[1].broker, 2);
    ck_assert_uint_eq(place[1].count, 1);
}
END_TEST

/* Both may be at both: guessed, unless the messages of the row tell. */
START_TEST(messages_of_a_row_tell_two_apart)
{
    const struct laid laid[] = {{1, 5, 3, true}, {3, 1, 1, false}, {2, 0, 4, true}};
    const struct laid turned[] = {{2, 0, 4, true}, {3, 1, 1, false}, {1, 5, 3, true}};
    ck_assert_uint_eq(match(laid, 3, false, false), 1);
    ck_assert_uint_eq(match(laid, 3, true, false), 0);
    ck_assert_uint_eq(place[0].slot, 0);
    ck_assert_uint_eq(place[1].slot, 2);
    ck_assert_uint_eq(match(turned, 3, true, false), 0);
    ck_assert_uint_eq(place[0].slot, 0);
    ck_assert_uint_eq(place[0].count, 4);
    ck_assert_uint_eq(place[1].slot, 2);
}
END_TEST

/* A number that is impossible is not believed: no place goes without a batch for it. */
START_TEST(messages_of_a_row_that_fit_nothing_are_not_kept_to)
{
    const struct laid laid[] = {{1, 5, 3, true}, {3, 1, 1, false}, {2, 0, 4, true}};
    match(laid, 3, true, false);
    place[0].total = 9;
    place[0].given = place[1].given = false;
    tide_match_give(batch, spare, batches, place, places, false);
    ck_assert_uint_eq(given(), 2);
}
END_TEST

START_TEST(a_place_that_has_its_own_takes_none)
{
    struct tide_match_batch one[1] = {{.key = 1, .order = 3, .slot = 7, .count = 2}}, other[1];
    struct tide_match_place two[2] = {
        {.place = 4, .slot = 99, .count = 1, .given = true, .own = true}, {.place = 5}};
    tide_match_begin(one, 1);
    ck_assert_uint_eq(tide_match_give(one, other, 1, two, 2, false), 0);
    ck_assert_uint_eq(two[0].slot, 99);
    ck_assert(two[1].given);
    ck_assert_uint_eq(two[1].slot, 7);
}
END_TEST

/* Behind the last known place of its key, and before all of them, none is given. */
START_TEST(a_place_on_the_wrong_side_stays_empty)
{
    struct tide_match_batch one[1] = {{.key = 1, .order = 3}}, other[1];
    struct tide_match_place where[1] = {{.place = 4}};
    tide_match_begin(one, 1);
    tide_match_see(one, 1, 1, 2, 6);
    tide_match_give(one, other, 1, where, 1, false);
    ck_assert(!where[0].given);
    tide_match_begin(one, 1);
    tide_match_see(one, 1, 1, 4, 2);
    tide_match_give(one, other, 1, where, 1, false);
    ck_assert(!where[0].given);
    tide_match_begin(one, 1);
    tide_match_see(one, 1, 1, 2, 3);
    tide_match_see(one, 1, 1, 4, 5);
    tide_match_see(one, 1, 2, 0, 5);
    tide_match_give(one, other, 1, where, 1, false);
    ck_assert(where[0].given);
}
END_TEST

/* Level 4: a batch behind a number that nobody has waits, where others are taken. */
START_TEST(of_a_dense_key_the_next_is_taken)
{
    for (int dense = 0; dense < 2; dense++) {
        struct tide_match_batch two[2] = {{.key = 1, .order = 9}, {.key = 1, .order = 10}},
                                other[2];
        struct tide_match_place where[2] = {{.place = 4}, {.place = 5}};
        tide_match_begin(two, 2);
        tide_match_see(two, 2, 1, 7, 3);
        tide_match_give(two, other, 2, where, 2, dense != 0);
        ck_assert_int_eq(where[0].given, dense == 0);
        ck_assert_int_eq(where[1].given, dense == 0);
        tide_match_begin(two, 2);
        tide_match_see(two, 2, 1, 8, 3);
        tide_match_give(two, other, 2, where, 2, dense != 0);
        ck_assert(where[0].given && where[1].given);
    }
}
END_TEST

/* --- any ------------------------------------------------------------------------------------ */

static uint64_t state;

static uint64_t pick(uint64_t below)
{
    return tide_mix(state += 0x9e3779b97f4a7c15ULL) % below;
}

static uint64_t lay(struct laid *laid, uint64_t keys)
{
    uint64_t next[8] = {0}, count = 2 + pick(MOST - 2);
    for (uint64_t key = 0; key < keys; key++)
        next[key] = pick(3);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t key = pick(keys);
        laid[i] = (struct laid){key, next[key]++, 1 + pick(3), pick(2) != 0};
    }
    return count;
}

/* What is at a place afterwards. */
static const struct laid *now_at(const struct laid *laid, uint64_t at)
{
    if (!laid[at].bad)
        return &laid[at];
    for (uint64_t i = 0; i < places; i++)
        if (place[i].place == at)
            return place[i].given ? &laid[place[i].slot] : NULL;
    return NULL;
}

/* Each place has one of its own, since they were there once; each key goes on in its order. */
static void check(const struct laid *laid, uint64_t count)
{
    bool taken[MOST] = {false};
    ck_assert_uint_eq(given(), places);
    for (uint64_t i = 0; i < count; i++) {
        const struct laid *now = now_at(laid, i);
        ck_assert_ptr_nonnull(now);
        ck_assert(!taken[now - laid]);
        taken[now - laid] = true;
        for (uint64_t before = 0; before < i; before++) {
            const struct laid *other = now_at(laid, before);
            ck_assert(other->key != now->key || other->order < now->order);
        }
    }
}

START_TEST(what_was_there_once_is_there_again)
{
    struct laid laid[MOST];
    for (state = 0; state < 20000;) {
        uint64_t seed = ++state, count = lay(laid, 1 + seed % 6);
        match(laid, count, seed % 4 < 2, seed % 2 != 0);
        check(laid, count);
        state = seed;
    }
}
END_TEST

/* With more batches than places nothing is given twice, nor out of order. */
START_TEST(batches_without_a_place_are_left_out)
{
    struct laid laid[MOST];
    for (state = 0; state < 20000;) {
        uint64_t seed = ++state, count = lay(laid, 1 + seed % 4);
        match(laid, count, false, false);
        if (places > 1) {
            places -= 1 + pick(places - 1);
            for (uint64_t i = 0; i < places; i++)
                place[i].given = false;
            tide_match_give(batch, spare, batches, place, places, false);
            uint64_t until = place[places - 1].place + 1;
            bool taken[MOST] = {false};
            for (uint64_t i = 0; i < until; i++) {
                const struct laid *now = now_at(laid, i);
                ck_assert(now == NULL || !taken[now - laid]);
                if (now != NULL)
                    taken[now - laid] = true;
                for (uint64_t before = 0; now != NULL && before < i; before++) {
                    const struct laid *other = now_at(laid, before);
                    ck_assert(other == NULL || other->key != now->key || other->order < now->order);
                }
            }
        }
        state = seed;
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("match");
    TCase *tcase = tcase_create("match");
    tcase_add_test(tcase, a_place_between_those_of_one_key_is_known);
    tcase_add_test(tcase, messages_of_a_row_tell_two_apart);
    tcase_add_test(tcase, messages_of_a_row_that_fit_nothing_are_not_kept_to);
    tcase_add_test(tcase, a_place_that_has_its_own_takes_none);
    tcase_add_test(tcase, a_place_on_the_wrong_side_stays_empty);
    tcase_add_test(tcase, of_a_dense_key_the_next_is_taken);
    tcase_add_test(tcase, what_was_there_once_is_there_again);
    tcase_add_test(tcase, batches_without_a_place_are_left_out);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
