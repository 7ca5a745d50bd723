/* test_broker_resp.c - tidepool-broker: requests taken apart, ids */
#include "unit_base.h"

#include "../tools/tidepool-broker/resp.c"
#include "../tools/tidepool-broker/sid.c"

enum { MOST = 4096 };

static struct resp_args args;
static char error[RESP_ERROR_MAX];

/* One request in one piece. */
static enum resp_result parse(const char *text, size_t len, size_t *used)
{
    struct resp_scan scan = {0, 0, 0, 0};
    return resp_next(&scan, &args, text, len, MOST, used, error);
}

static enum resp_result parse_text(const char *text, size_t *used)
{
    return parse(text, strlen(text), used);
}

/* The arguments, each behind a bar. */
static const char *words(const char *data)
{
    static char text[MOST * 2];
    size_t len = 0;
    for (uint32_t i = 0; i < args.count; i++)
        len += (size_t)snprintf(text + len, sizeof text - len, "|%.*s", (int)args.arg[i].size,
                                resp_base(&args, data) + args.arg[i].at);
    text[len] = '\0';
    return text;
}

START_TEST(test_takes_an_array_apart)
{
    const char *text = "*3\r\n$4\r\nECHO\r\n$0\r\n\r\n$2\r\n\r\n\r\nnext";
    size_t used = 0;
    ck_assert_int_eq(parse_text(text, &used), RESP_REQUEST);
    ck_assert_uint_eq(used, strlen(text) - 4);
    ck_assert_str_eq(words(text), "|ECHO||\r\n");
    ck_assert(!args.line);
}
END_TEST

START_TEST(test_takes_a_line_apart)
{
    const char *text = "  set\tx  y \r\nrest";
    size_t used = 0;
    ck_assert_int_eq(parse_text(text, &used), RESP_REQUEST);
    ck_assert_uint_eq(used, strlen(text) - 4);
    ck_assert_str_eq(words(text), "|set|x|y");
    ck_assert(args.line);
    ck_assert_int_eq(parse_text("\r\n", &used), RESP_REQUEST);
    ck_assert_uint_eq(args.count, 0);
    ck_assert_int_eq(parse_text("*0\r\n", &used), RESP_REQUEST);
    ck_assert_uint_eq(args.count, 0);
    ck_assert_int_eq(parse_text("*-1\r\n", &used), RESP_REQUEST);
}
END_TEST

START_TEST(test_quotes_are_taken_off)
{
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"\"a b\" 'c d'\n", "|a b|c d"},
        {"\"\" ''\r\n", "||"},
        {"a\"b\" c'd e'\n", "|ab|cd e"},
        {"\"\\n\\r\\t\\b\\a\\\\\\\"\\q\"\n", "|\n\r\t\b\a\\\"q"},
        {"\"\\x41\\x7e\\x4\\xg1\\x@1\\x1`\"\n", "|A~x4xg1x@1x1`"},
        {"'\\n\\'\\x41\"'\n", "|\\n'\\x41\""},
        {"\"it's\"\n", "|it's"},
        {"a\\b \\x41\n", "|a\\b|\\x41"},
        {"\"a\"\v'b'\fc\n", "|a|b|c"},
        {"a\vb\n", "|a\vb"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t used = 0;
        ck_assert_msg(parse_text(cases[i].text, &used) == RESP_REQUEST, "case %zu: %s", i, error);
        ck_assert_uint_eq(used, strlen(cases[i].text));
        ck_assert_str_eq(words(cases[i].text), cases[i].words);
    }
    size_t used = 0;
    ck_assert_int_eq(parse("a \"\\x00b\" c\n", 13, &used), RESP_REQUEST);
    ck_assert(args.count == 3 && args.arg[1].size == 2 && args.typed[args.arg[1].at] == '\0');
}
END_TEST

/* However it is cut, what comes out is the same. */
START_TEST(test_a_request_may_come_in_any_parts)
{
    const char *text = "*4\r\n$4\r\nXADD\r\n$1\r\ns\r\n$12\r\nhello\r\nthere\r\n$3\r\n$1\r\r\n";
    size_t len = strlen(text);
    for (size_t cut = 0; cut < len; cut++)
        for (size_t second = cut; second < len; second++) {
            struct resp_scan scan = {0, 0, 0, 0};
            size_t used = 0;
            UNIT_HOLD(resp_next(&scan, &args, text, cut, MOST, &used, error) == RESP_MORE,
                      "complete after %zu bytes", cut);
            UNIT_HOLD(resp_next(&scan, &args, text, second, MOST, &used, error) == RESP_MORE,
                      "complete after %zu, %zu bytes", cut, second);
            UNIT_HOLD(resp_next(&scan, &args, text, len, MOST, &used, error) == RESP_REQUEST,
                      "not complete: cut at %zu, %zu: %s", cut, second, error);
            UNIT_HOLD(used == len && strcmp(words(text), "|XADD|s|hello\r\nthere|$1\r") == 0,
                      "cut at %zu, %zu: %s", cut, second, words(text));
        }
}
END_TEST

START_TEST(test_says_what_is_wrong)
{
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"*x\r\n", "invalid multibulk length"},
        {"*+1\r\n$1\r\na\r\n", "invalid multibulk length"},
        {"*01\r\n$1\r\na\r\n", "invalid multibulk length"},
        {"*1048577\r\n", "invalid multibulk length"},
        {"*99999999999999999999999\r\n", "invalid multibulk length"},
        {"*11111111111111111111111111111111111", "invalid multibulk length"},
        {"*1\rx", "invalid multibulk length"},
        {"*1\r\n:1\r\n", "expected '$', got ':'"},
        {"*1\r\n\001", "expected '$', got '?'"},
        {"*1\r\n$-1\r\n", "invalid bulk length"},
        {"*1\r\n$ 1\r\na\r\n", "invalid bulk length"},
        {"*1\r\n$5000\r\n", "invalid bulk length"},
        {"*2\r\n$4090\r\n", "request is larger than max-message"},
        {"*1\r\n$1\r\nabc", "no line end behind a bulk string"},
        {"get \"x\r\n", "unbalanced quotes in request"},
        {"get 'x\r\n", "unbalanced quotes in request"},
        {"get \"x\"y\r\n", "unbalanced quotes in request"},
        {"get 'x''y'\r\n", "unbalanced quotes in request"},
        {"get 'x\\'\r\n", "unbalanced quotes in request"},
        {"get \"x\\\"\r\n", "unbalanced quotes in request"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char want[RESP_ERROR_MAX];
        size_t used;
        snprintf(want, sizeof want, "Protocol error: %s", cases[i].error);
        ck_assert_msg(parse_text(cases[i].text, &used) == RESP_BAD, "case %zu is taken", i);
        ck_assert_str_eq(error, want);
    }
}
END_TEST

START_TEST(test_a_request_has_a_largest_size)
{
    static char text[MOST + 64];
    size_t used;
    memset(text, 'x', sizeof text);
    ck_assert_int_eq(parse(text, MOST - 1, &used), RESP_MORE);
    ck_assert_int_eq(parse(text, MOST, &used), RESP_BAD);
    ck_assert_str_eq(error, "Protocol error: too big inline request");
    int head = snprintf(text, sizeof text, "*1\r\n$%d\r\n", MOST - 13);
    text[head] = 'x';
    memcpy(text + MOST - 2, "\r\n", 2);
    ck_assert_int_eq(parse(text, MOST - 1, &used), RESP_MORE);
    ck_assert_int_eq(parse(text, MOST, &used), RESP_REQUEST);
    ck_assert_uint_eq(used, MOST);
}
END_TEST

/* What is announced takes no memory until it comes. */
START_TEST(test_announced_arguments_take_no_memory)
{
    size_t used;
    resp_free(&args);
    ck_assert_int_eq(parse_text("*1048576\r\n$1\r\na\r\n$1", &used), RESP_MORE);
    ck_assert_uint_le(args.room, 64);
}
END_TEST

START_TEST(test_numbers_have_one_form)
{
    static const char *const bad[] = {
        "", "-", "+1", "01", "-0", "1 ", " 1", "1a", "--1", "0x1", "9223372036854775808"};
    int64_t number = 7;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ck_assert_msg(!resp_number(bad[i], strlen(bad[i]), INT64_MIN, INT64_MAX, &number),
                      "'%s' is taken for a number", bad[i]);
    ck_assert(resp_number("-9223372036854775808", 20, INT64_MIN, INT64_MAX, &number));
    ck_assert(number == INT64_MIN);
    ck_assert(resp_number("9223372036854775807", 19, INT64_MIN, INT64_MAX, &number));
    ck_assert(number == INT64_MAX);
    ck_assert(resp_number("0", 1, 0, 0, &number) && number == 0);
    ck_assert(!resp_number("3", 1, 0, 2, &number));
}
END_TEST

/* ---- ids ---- */

static bool id_is(const char *text, uint64_t ms, uint64_t seq)
{
    struct sid id;
    return sid_parse(text, strlen(text), 77, &id, NULL) && id.ms == ms && id.seq == seq;
}

START_TEST(test_ids_are_read)
{
    static const char *const bad[] = {"",
                                      "-",
                                      "-1",
                                      "1-",
                                      "a",
                                      "1-a",
                                      "1-2-3",
                                      "1-*",
                                      "1 -2",
                                      "18446744073709551616",
                                      "1-18446744073709551616"};
    struct sid id;
    bool any;
    ck_assert(id_is("12-34", 12, 34));
    ck_assert(id_is("12", 12, 77));
    ck_assert(id_is("0-0", 0, 0));
    ck_assert(id_is("007-08", 7, 8));
    ck_assert(id_is("18446744073709551615-18446744073709551615", UINT64_MAX, UINT64_MAX));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ck_assert_msg(!sid_parse(bad[i], strlen(bad[i]), 0, &id, NULL), "'%s' is an id", bad[i]);
    ck_assert(sid_parse("5-*", 3, 0, &id, &any) && any && id.ms == 5 && id.seq == 0);
    ck_assert(sid_parse("5-1", 3, 0, &id, &any) && !any && id.seq == 1);
}
END_TEST

START_TEST(test_ids_are_written_and_counted)
{
    char text[SID_TEXT + 1];
    struct sid id = {1526919030474, 55}, top = SID_MAX, zero = {0, 0};
    text[sid_write(text, id)] = '\0';
    ck_assert_str_eq(text, "1526919030474-55");
    text[sid_write(text, top)] = '\0';
    ck_assert_str_eq(text, "18446744073709551615-18446744073709551615");
    ck_assert(!sid_up(&top) && sid_compare(top, SID_MAX) == 0);
    ck_assert(!sid_down(&zero) && zero.ms == 0 && zero.seq == 0);
    id = (struct sid){4, UINT64_MAX};
    ck_assert(sid_up(&id) && id.ms == 5 && id.seq == 0);
    ck_assert(sid_down(&id) && id.ms == 4 && id.seq == UINT64_MAX);
    ck_assert_int_lt(sid_compare((struct sid){4, 9}, (struct sid){5, 0}), 0);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {test_takes_an_array_apart,
                                  test_takes_a_line_apart,
                                  test_quotes_are_taken_off,
                                  test_a_request_may_come_in_any_parts,
                                  test_says_what_is_wrong,
                                  test_a_request_has_a_largest_size,
                                  test_announced_arguments_take_no_memory,
                                  test_numbers_have_one_form,
                                  test_ids_are_read,
                                  test_ids_are_written_and_counted,
                                  NULL};
    return unit_main("broker_resp", tests);
}
