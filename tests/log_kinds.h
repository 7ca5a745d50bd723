/*
 * log_kinds.h - one test for each kind of log that workers as fibers go through: a level, who
 * gives the places, the form of the sessions.
 *
 * The file that includes it has run_seeds(level, features) in front, and ends with
 * LOG_KINDS_MAIN(name).
 */
#ifndef LOG_KINDS_H
#define LOG_KINDS_H

START_TEST(level_0)
{
    run_seeds(0, 0);
}
END_TEST

START_TEST(level_5_inline)
{
    run_seeds(5, 0);
}
END_TEST

START_TEST(level_5_stepped)
{
    run_seeds(5, TIDE_LAYOUT_STEPPED);
}
END_TEST

START_TEST(level_4_inline)
{
    run_seeds(4, 0);
}
END_TEST

START_TEST(level_4_stepped)
{
    run_seeds(4, TIDE_LAYOUT_STEPPED);
}
END_TEST

START_TEST(level_4_inline_by_mutex)
{
    run_seeds(4, TIDE_LAYOUT_MUTEX);
}
END_TEST

START_TEST(level_4_stepped_by_mutex)
{
    run_seeds(4, TIDE_LAYOUT_MUTEX | TIDE_LAYOUT_STEPPED);
}
END_TEST

#define LOG_KINDS_MAIN(name)                                                                       \
    int main(void)                                                                                 \
    {                                                                                              \
        const TTest *const tests[] = {                                                             \
            level_0,         level_5_inline,          level_5_stepped,          level_4_inline,    \
            level_4_stepped, level_4_inline_by_mutex, level_4_stepped_by_mutex, NULL};             \
        return unit_main(name, tests);                                                             \
    }

#endif
