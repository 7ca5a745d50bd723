/* test_report_names.c - the JSON of the statistics when names are no text. */
#include <sys/socket.h>

#include "unit_base.h"

#include <tidepool/tidepool.h>

static char text[128 << 10];

static bool has_text(const char *part)
{
    return strstr(text, part) != NULL;
}

/* Through a socket that keeps the borders of writes. */
static void read_json(void)
{
    int ends[2];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
    ck_assert_int_eq(tide_stats_json(ends[0]), 0);
    ssize_t got = read(ends[1], text, sizeof text - 1);
    ck_assert_int_gt(got, 0);
    text[got] = '\0';
    close(ends[0]);
    close(ends[1]);
}

/* Names of files are any bytes; JSON is UTF-8. */
START_TEST(json_is_utf_8_whatever_the_name)
{
    static const struct {
        const char *bytes, *expect;
    } rows[] = {
        {"a\xff"
         "b",
         "a\\ufffdb"},
        {"\xe2\x82\xac", "\xe2\x82\xac"},
        {"\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80"},
        {"\xe2\x82", "\\ufffd\\ufffd"}, /* cut short */
        {"\xc0\xaf", "\\ufffd\\ufffd"}, /* longer than need be */
        {"\xe0\x80\xaf", "\\ufffd\\ufffd\\ufffd"},
        {"\xed\xa0\x80", "\\ufffd\\ufffd\\ufffd"}, /* half of a pair */
        {"\xf4\x90\x80\x80", "\\ufffd\\ufffd\\ufffd\\ufffd"},
        {"\x80z", "\\ufffdz"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char expect[128];
        ck_assert_int_eq(tide_option_set("stats_at_exit", rows[i].bytes), 0);
        read_json();
        snprintf(expect, sizeof expect, "\"stats_at_exit\":\"%s\"", rows[i].expect);
        ck_assert_msg(has_text(expect), "row %zu: no %s", i, expect);
    }
    ck_assert_int_eq(tide_option_set("stats_at_exit", ""), 0);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {json_is_utf_8_whatever_the_name, NULL};
    return unit_main("report_names", tests);
}
