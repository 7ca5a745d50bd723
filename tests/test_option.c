/* test_option.c - the table of options, and what the parser takes and refuses. Where
 * options come from: test_option_load.c. */
#include "box/option.h"

#include "box/diag.h"
#include "unit_base.h"

enum { LIMIT = 2047 };

static const char *shown(const char *key)
{
    static char buf[TIDE_OPTION_TEXT];
    int len = tide_option_show(key, buf, sizeof buf);
    ck_assert_int_ge(len, 0);
    ck_assert_uint_eq(strlen(buf), (size_t)len);
    return buf;
}

/* The number that "64", "16K", "4M" or "1T" stands for. */
static uint64_t number_of(const char *text)
{
    char *end;
    uint64_t value = strtoull(text, &end, 10);
    for (const char *unit = "KMGT"; *unit != '\0'; unit++) {
        value *= 1024;
        if (*end == *unit)
            return value;
    }
    return strtoull(text, NULL, 10);
}

START_TEST(rows_describe_each_option_once)
{
    struct tide_option_info row, other;
    size_t count = 0;
    for (; tide_option_row(count, &row) == 0; count++) {
        ck_assert(row.key[0] != '\0' && row.values[0] != '\0');
        ck_assert_uint_gt(strlen(row.help), 10);
        ck_assert_ptr_null(strchr(row.help, '\n'));
        ck_assert(row.live == 0 || row.live == 1);
        for (size_t i = 0; i < count; i++) {
            tide_option_row(i, &other);
            ck_assert_str_ne(row.key, other.key);
        }
    }
    ck_assert_uint_eq(count, 16);
    ck_assert_int_eq(tide_option_row(count, &row), -ENOENT);
    ck_assert_int_eq(tide_option_row(SIZE_MAX, &row), -ENOENT);
}
END_TEST

START_TEST(initial_values_are_those_of_the_table)
{
    struct tide_option_info row;
    for (size_t i = 0; tide_option_row(i, &row) == 0; i++) {
        if (strstr(row.values, "..") != NULL)
            ck_assert_uint_eq(strtoull(shown(row.key), NULL, 10), number_of(row.initial));
        else
            ck_assert_str_eq(shown(row.key), row.initial);
    }
    ck_assert_ptr_null(tide_option_complaint());
}
END_TEST

START_TEST(what_the_table_allows_is_taken)
{
    struct tide_option_info row;
    for (size_t i = 0; tide_option_row(i, &row) == 0; i++) {
        char values[64], *rest = values;
        strcpy(values, row.values);
        if (strstr(values, "..") != NULL || strcmp(row.key, "mid") == 0 ||
            strcmp(row.key, "stats_at_exit") == 0)
            continue;
        for (char *word; (word = strsep(&rest, "|")) != NULL;) {
            ck_assert_int_eq(tide_option_assign(row.key, word, false), 0);
            ck_assert_str_eq(shown(row.key), word);
        }
    }
}
END_TEST

/* Both ends of "LEAST..MOST" as the table writes them, and their neighbours. */
START_TEST(ranges_hold_at_both_ends)
{
    struct tide_option_info row;
    int ranges = 0;
    for (size_t i = 0; tide_option_row(i, &row) == 0; i++) {
        char least[64], text[32];
        strcpy(least, row.values);
        char *most = strstr(least, "..");
        if (most == NULL)
            continue;
        *most = '\0';
        most += 2;
        ranges++;
        const uint64_t bad[] = {number_of(least) - 1, number_of(most) + 1, UINT64_MAX};
        const char *const good[] = {least, most};
        for (int j = 0; j < 2; j++) {
            ck_assert_msg(tide_option_assign(row.key, good[j], false) == 0,
                          "%s=%s is refused, but the table says %s", row.key, good[j], row.values);
            ck_assert_uint_eq(strtoull(shown(row.key), NULL, 10), number_of(good[j]));
        }
        for (int j = 0; j < 3; j++) {
            snprintf(text, sizeof text, "%llu", (unsigned long long)bad[j]);
            ck_assert_int_eq(tide_option_assign(row.key, text, false), -EINVAL);
            ck_assert_uint_eq(strtoull(shown(row.key), NULL, 10), number_of(most));
        }
    }
    ck_assert_int_eq(ranges, 4);
}
END_TEST

START_TEST(numbers_take_suffixes)
{
    static const struct {
        const char *text;
        uint64_t value;
    } rows[] = {
        {"16K", 16384},  {"16384", 16384},      {"17K", 17408},     {"1M", 1 << 20},
        {"1G", 1 << 30}, {"0000016384", 16384}, {"1024M", 1 << 30}, {"64K", 64 << 10},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ck_assert_msg(tide_option_assign("cache", rows[i].text, false) == 0, "%s", rows[i].text);
        ck_assert_uint_eq(tide_option_values.cache, rows[i].value);
    }
}
END_TEST

START_TEST(bad_numbers_are_refused)
{
    static const char *const rows[] = {"",
                                       "K",
                                       "16k",
                                       "16KB",
                                       "16KK",
                                       "16 K",
                                       " 16K",
                                       "16K ",
                                       "0x10000",
                                       "-1",
                                       "+16K",
                                       "1e6",
                                       "1.5M",
                                       "1M1",
                                       "many",
                                       "16383",
                                       "15K",
                                       "18446744073709551615", /* 2^64 - 1 */
                                       "18446744073709551616",
                                       "18446744073709568000",
                                       "99999999999999999999999999",
                                       "17179869184G", /* 2^64 */
                                       "17179869185G",
                                       "18014398509481985K",
                                       "36893488147419103232",
                                       "1152921504606846976G"};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ck_assert_msg(tide_option_assign("cache", rows[i], false) == -EINVAL, "'%s'", rows[i]);
        ck_assert_uint_eq(tide_option_values.cache, 32 << 20);
    }
}
END_TEST

START_TEST(choices_are_whole_words)
{
    static const char *const rows[] = {"",     "a",      "abor",       "abort ", " abort", "aborts",
                                       "WARN", "warn|i", "abort|warn", "|",      "0",      "leak"};
    ck_assert_int_eq(tide_option_assign("misuse", "warn", false), 0);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ck_assert_msg(tide_option_assign("misuse", rows[i], false) == -EINVAL, "'%s'", rows[i]);
        ck_assert_uint_eq(tide_option_values.misuse, TIDE_MISUSE_WARN);
    }
    ck_assert_int_eq(tide_option_assign("misuse", "ignore", false), 0);
    ck_assert_uint_eq(tide_option_values.misuse, TIDE_MISUSE_IGNORE);
    ck_assert_int_eq(tide_option_assign("header", "shadow", false), 0);
    ck_assert_uint_eq(tide_option_values.header, TIDE_HEADER_SHADOW);
    ck_assert_int_eq(tide_option_assign("foreign", "leak", false), 0);
    ck_assert_uint_eq(tide_option_values.foreign, TIDE_FOREIGN_LEAK);
}
END_TEST

START_TEST(texts_fit_or_are_refused)
{
    char text[300];
    memset(text, 't', sizeof text);
    text[255] = '\0';
    ck_assert_int_eq(tide_option_assign("stats_at_exit", text, false), 0);
    ck_assert_str_eq(shown("stats_at_exit"), text);
    text[255] = 't';
    text[256] = '\0';
    ck_assert_int_eq(tide_option_assign("stats_at_exit", text, false), -EINVAL);
    ck_assert_uint_eq(strlen(shown("stats_at_exit")), 255);
    ck_assert_int_eq(tide_option_assign("stats_at_exit", "", false), 0);
    ck_assert_str_eq(shown("stats_at_exit"), "");
}
END_TEST

START_TEST(unknown_keys_are_refused)
{
    static const char *const keys[] = {"", "tiny", "tiny_max ", "TINY_MAX", "tiny_maxx", "=", ","};
    char buf[8] = "kept";
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        ck_assert_int_eq(tide_option_assign(keys[i], "1", false), -ENOENT);
        ck_assert_int_eq(tide_option_assign(keys[i], "1", true), -ENOENT);
        ck_assert_int_eq(tide_option_show(keys[i], buf, sizeof buf), -ENOENT);
    }
    ck_assert_str_eq(buf, "kept");
}
END_TEST

START_TEST(a_key_that_comes_too_late_is_busy)
{
    struct tide_option_info row;
    int late = 0;
    for (size_t i = 0; tide_option_row(i, &row) == 0; i++) {
        char before[TIDE_OPTION_TEXT];
        const char *value = strcmp(row.key, "tiny_max") == 0 ? "1023" : "1";
        if (row.live)
            continue;
        late++;
        strcpy(before, shown(row.key));
        ck_assert_int_eq(tide_option_assign(row.key, value, true), -EBUSY);
        ck_assert_str_eq(shown(row.key), before);
    }
    /* tiny_max mid shared_mid cap full migrate thp header verbose strict counters */
    ck_assert_int_eq(late, 11);
    ck_assert_int_eq(tide_option_assign("cache", "1M", true), 0);
    ck_assert_int_eq(tide_option_assign("retain", "1M", true), 0);
    ck_assert_int_eq(tide_option_assign("misuse", "warn", true), 0);
    ck_assert_int_eq(tide_option_assign("foreign", "leak", true), 0);
    ck_assert_int_eq(tide_option_assign("stats_at_exit", "x", true), 0);
    ck_assert_int_eq(tide_option_assign("cache", "1", true), -EINVAL);
    ck_assert_uint_eq(tide_option_values.cache, 1 << 20);
}
END_TEST

START_TEST(show_needs_room_for_the_nul)
{
    char buf[16];
    memset(buf, 'x', sizeof buf);
    ck_assert_int_eq(tide_option_show("tiny_max", buf, 4), -ERANGE);
    ck_assert_int_eq(tide_option_show("tiny_max", buf, 0), -ERANGE);
    ck_assert_mem_eq(buf, "xxxxx", 5);
    ck_assert_int_eq(tide_option_show("tiny_max", buf, 5), 4);
    ck_assert_mem_eq(buf, "2047\0x", 6);
    ck_assert_int_eq(tide_option_show("stats_at_exit", buf, 1), 0);
    ck_assert_str_eq(buf, "");
}
END_TEST

START_TEST(parse_takes_a_list)
{
    ck_assert_int_eq(tide_option_parse("tiny_max=1023,cache=64K,misuse=warn,stats_at_exit=/t/%p"),
                     0);
    ck_assert_uint_eq(tide_option_values.tiny_max, 1023);
    ck_assert_uint_eq(tide_option_values.cache, 65536);
    ck_assert_uint_eq(tide_option_values.misuse, TIDE_MISUSE_WARN);
    ck_assert_str_eq(tide_option_values.stats_at_exit, "/t/%p");
    ck_assert_int_eq(tide_option_parse("tiny_max=1039,tiny_max=1055"), 0); /* the last one wins */
    ck_assert_uint_eq(tide_option_values.tiny_max, 1055);
    ck_assert_int_eq(tide_option_parse("stats_at_exit=a=b"), 0);
    ck_assert_str_eq(tide_option_values.stats_at_exit, "a=b");
    ck_assert_int_eq(tide_option_parse("stats_at_exit="), 0);
    ck_assert_str_eq(tide_option_values.stats_at_exit, "");
    ck_assert_ptr_null(tide_option_complaint());
}
END_TEST

START_TEST(empty_entries_are_nothing)
{
    static const char *const rows[] = {"", ",", ",,,", ",verbose=1", "verbose=1,", ",,verbose=1,,"};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        tide_option_values.verbose = 0;
        ck_assert_msg(tide_option_parse(rows[i]) == 0, "'%s'", rows[i]);
        ck_assert_uint_eq(tide_option_values.verbose, strchr(rows[i], '1') != NULL);
    }
    ck_assert_ptr_null(tide_option_complaint());
}
END_TEST

START_TEST(commas_of_mid_belong_to_mid)
{
    static const struct {
        const char *text, *mid;
        uint64_t tiny_max;
    } rows[] = {
        {"mid=anon", "anon", 2047},
        {"mid=node:1,delay=250", "node:1,delay=250", 2047},
        {"mid=node:1,delay=250,tiny_max=1023", "node:1,delay=250", 1023},
        {"tiny_max=1023,mid=near,delay=5", "near,delay=5", 1023},
        {"mid=anon,tiny_max=1039,verbose=1", "anon", 1039},
        {"mid=a,b,c=d,e,tiny_max=1039", "a,b,c=d,e", 1039},
        {"mid=a,tiny_maxi=1023", "a,tiny_maxi=1023", 2047},
        {"mid=,tiny_max=1023", "", 1023},
        {"mid=x,mid=near", "near", 2047},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        tide_option_values.tiny_max = 2047;
        ck_assert_msg(tide_option_parse(rows[i].text) == 0, "'%s'", rows[i].text);
        ck_assert_str_eq(tide_option_values.mid, rows[i].mid);
        ck_assert_uint_eq(tide_option_values.tiny_max, rows[i].tiny_max);
    }
}
END_TEST

/* A list that a script glued together: mid must not get the comma. */
START_TEST(empty_entries_after_mid_are_nothing)
{
    static const char *const rows[] = {"mid=near,", "mid=near,,", "mid=near,,verbose=1"};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ck_assert_int_eq(tide_option_parse(rows[i]), 0);
        ck_assert_str_eq(tide_option_values.mid, "near");
    }
    ck_assert_uint_eq(tide_option_values.verbose, 1);
}
END_TEST

START_TEST(the_first_error_is_told_and_the_good_entries_count)
{
    static const struct {
        const char *text;
        int ret;
    } rows[] = {
        {"colour=red,verbose=1", -ENOENT},
        {"verbose=1,colour", -ENOENT},
        {"tiny_max=9,verbose=1", -EINVAL},
        {"verbose=1,tiny_max", -EINVAL},
        {"tiny_max=9,colour=1,verbose=1", -EINVAL},
        {"colour=1,tiny_max=9,verbose=1", -ENOENT},
        {"=1,verbose=1", -ENOENT},
        {"=,verbose=1", -ENOENT},
        {" verbose=1,verbose=1", -ENOENT},
        {"verbose=2,verbose=1", -EINVAL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        tide_option_values.verbose = 0;
        ck_assert_msg(tide_option_parse(rows[i].text) == rows[i].ret, "'%s'", rows[i].text);
        ck_assert_uint_eq(tide_option_values.verbose, 1);
        ck_assert_uint_eq(tide_option_values.tiny_max, 2047);
    }
    ck_assert_str_eq(tide_option_complaint(), "unknown option 'colour' (see: tidepool options)");
}
END_TEST

START_TEST(a_complaint_names_key_value_and_choice)
{
    ck_assert_int_eq(tide_option_parse("verbose=1"), 0);
    ck_assert_ptr_null(tide_option_complaint());
    ck_assert_int_eq(tide_option_parse("tiny_max=99,colour=red"), -EINVAL);
    ck_assert_str_eq(tide_option_complaint(), "bad value of option 'tiny_max': '99' "
                                              "(allowed: 1023..2047); the default stays");
}
END_TEST

/* What is allowed is told however long the value, and in one line of plain characters. */
START_TEST(a_complaint_quotes_with_care)
{
    char text[512] = "tiny_max=1\n\033[31m\177";
    memset(text + strlen(text), 'x', 400);
    ck_assert_int_eq(tide_option_parse(text), -EINVAL);
    const char *complaint = tide_option_complaint();
    ck_assert_ptr_nonnull(strstr(complaint, "'1??[31m?xxx"));
    ck_assert_ptr_nonnull(strstr(complaint, "xxx...' (allowed: 1023..2047); the default stays"));
    ck_assert_uint_lt(strlen(complaint), 200);
}
END_TEST

START_TEST(a_complaint_without_end_is_cut)
{
    char text[1000];
    memset(text, 'k', sizeof text);
    text[sizeof text - 1] = '\0';
    ck_assert_int_eq(tide_option_parse(text), -ENOENT);
    ck_assert_uint_lt(strlen(tide_option_complaint()), 320);
    ck_assert_ptr_eq(strstr(tide_option_complaint(), "unknown option 'kkk"),
                     tide_option_complaint());
}
END_TEST

/* A list of `len` characters that ends with verbose=1. */
static const char *long_list(size_t len)
{
    static char text[2 * LIMIT];
    memset(text, ',', len);
    strcpy(text + len - strlen("verbose=1"), "verbose=1");
    return text;
}

START_TEST(a_list_has_at_most_2047_characters)
{
    ck_assert_int_eq(tide_option_parse(long_list(LIMIT)), 0);
    ck_assert_uint_eq(tide_option_values.verbose, 1);
    tide_option_values.verbose = 0;
    ck_assert_ptr_null(tide_option_complaint());
    ck_assert_int_eq(tide_option_parse(long_list(LIMIT + 1)), -EINVAL);
    ck_assert_uint_eq(tide_option_values.verbose, 0);
    ck_assert_ptr_nonnull(strstr(tide_option_complaint(), "longer than 2047 characters"));
}
END_TEST

START_TEST(a_list_too_long_names_no_other_option)
{
    tide_option_parse(long_list(LIMIT + 1));
    ck_assert_ptr_null(strstr(tide_option_complaint(), "FILE"));
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {rows_describe_each_option_once,
                                  initial_values_are_those_of_the_table,
                                  what_the_table_allows_is_taken,
                                  ranges_hold_at_both_ends,
                                  numbers_take_suffixes,
                                  bad_numbers_are_refused,
                                  choices_are_whole_words,
                                  texts_fit_or_are_refused,
                                  unknown_keys_are_refused,
                                  a_key_that_comes_too_late_is_busy,
                                  show_needs_room_for_the_nul,
                                  parse_takes_a_list,
                                  empty_entries_are_nothing,
                                  commas_of_mid_belong_to_mid,
                                  empty_entries_after_mid_are_nothing,
                                  the_first_error_is_told_and_the_good_entries_count,
                                  a_complaint_names_key_value_and_choice,
                                  a_complaint_quotes_with_care,
                                  a_complaint_without_end_is_cut,
                                  a_list_has_at_most_2047_characters,
                                  a_list_too_long_names_no_other_option,
                                  NULL};
    return unit_main("option", tests);
}
