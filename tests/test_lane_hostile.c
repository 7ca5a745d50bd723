/* test_lane_hostile.c - a log in lanes in memory that others may write to: words that mean no good.
 * What was found by tests/fuzz/fuzz_hostile.c, and by looking, one case each. */
#include "unit_base.h"

#include <tidepool/log.h>

#include "box/logapi_lanes.h"

enum { PATIENCE = 20000000 };

static tide_log_t *log_;
static const struct tide_lanes *map;

static void says(const char *want)
{
    char text[256];
    tide_log_explain(text, sizeof text);
    ck_assert_msg(strstr(text, want) != NULL, "'%s' for '%s'", text, want);
}

static void begin(void)
{
    struct tide_log_options options = {.level = 4,
                                       .clients = 2,
                                       .readers = 2,
                                       .sequencing = TIDE_LOG_STEPPED,
                                       .coherence = TIDE_LOG_NONCOHERENT};
    ck_assert_int_eq(tide_log_create(&log_, &options), 0);
    map = &tide_logapi_lanelog(log_)->map;
}

static void end(void)
{
    tide_coh_hook = NULL;
    ck_assert_int_eq(tide_log_close(log_), 0);
}

/* --- answers of a sequencer --------------------------------------------------------------- */

/* Whatever is answered, something else stands there. */
static void spoil_answers(void)
{
    map->session[0].granted += 7;
    map->reader[0].granted += 7;
}

START_TEST(an_answer_that_never_comes_is_not_waited_for)
{
    tide_log_client_t *client;
    tide_log_reader_t *reader;
    begin();
    tide_logapi_lane_patience = PATIENCE;
    tide_coh_hook = spoil_answers;
    ck_assert_int_eq(tide_log_client_open(&client, log_, NULL), -ETIMEDOUT);
    says("no sequencer answered for ns: 20000000");
    ck_assert_int_eq(tide_log_reader_open(&reader, log_, NULL), -ETIMEDOUT);
    says("no sequencer answered for ns: 20000000");
    end();
}
END_TEST

static uint64_t error_word;

static void spoil_error(void)
{
    map->reader[0].error = error_word;
}

START_TEST(an_error_that_there_is_not_is_damage)
{
    static const uint64_t words[] = {EAGAIN, 1, (uint64_t)-5, UINT64_C(1) << 31, UINT64_MAX};
    tide_log_reader_t *reader;
    begin();
    error_word = words[_i];
    tide_coh_hook = spoil_error;
    ck_assert_int_eq(tide_log_reader_open(&reader, log_, NULL), -EUCLEAN);
    says("answer to a reader");
    end();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("lane_hostile");
    TCase *tcase = tcase_create("words");
    tcase_add_test(tcase, an_answer_that_never_comes_is_not_waited_for);
    tcase_add_loop_test(tcase, an_error_that_there_is_not_is_damage, 0, 5);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
