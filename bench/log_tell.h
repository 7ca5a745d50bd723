/*
 * log_tell.h - the figures of bench_log: medians over the rounds, and ratios of ways within each.
 *
 * Every result has every figure, so that one CSV can have them all; one that has no meaning in
 * a result is 0.
 */
#ifndef TIDE_LOG_TELL_H
#define TIDE_LOG_TELL_H

#include "log_trip.h"
#include "log_wake.h"

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median_of(double *value, size_t count)
{
    qsort(value, count, sizeof *value, by_value);
    return (value[(count - 1) / 2] + value[count / 2]) / 2;
}

/* Least, median and most of figures of the rounds that count. */
struct spread {
    double low, middle, high;
};

static struct spread spread_of(double *value)
{
    double middle = median_of(value, load.rounds);
    return (struct spread){value[0], middle, value[load.rounds - 1]};
}

/* How many times as long as `way` the other one took in the same round. */
static struct spread ratio_of(const struct way *other, const struct way *way)
{
    double ratio[ROUNDS_MOST];
    if (other == NULL || way == NULL)
        return (struct spread){0};
    for (uint32_t i = 0; i < load.rounds; i++)
        ratio[i] = other->wall[i + 1] / way->wall[i + 1];
    return spread_of(ratio);
}

/* The way of this level in its plain form, if it was measured. */
static const struct way *plain_of(int level)
{
    for (size_t i = 0; i < load.ways; i++)
        if (load.way[i].level == level && load.way[i].plain)
            return &load.way[i];
    return NULL;
}

static double timed_of(const struct way *way)
{
    double sum = 0;
    for (uint32_t i = 1; i <= load.rounds; i++)
        sum += way->wall[i];
    return sum;
}

static int brokers_seen(const struct way *way)
{
    return __builtin_popcount(way->seen);
}

static void add_setup(struct bench_result *result, const struct way *way)
{
    bench_add_figure(result, "level", "order level", way->level, 0);
    bench_add_figure(result, "brokers", "brokers", load.brokers, 0);
    bench_add_figure(result, "brokers_seen", "    seen by reader", brokers_seen(way), 0);
    bench_add_figure(result, "clients", "clients", way->clients, 0);
    bench_add_figure(result, "message_bytes", "message (bytes)", load.size, 0);
    bench_add_figure(result, "batch_bytes", "batch (bytes)", (double)load.bytes, 0);
}

static void add_rates(struct bench_result *result, const struct way *way, int trips)
{
    double rate[ROUNDS_MOST], bytes = (double)(load.bytes * load.all);
    for (uint32_t i = 0; i < load.rounds; i++)
        rate[i] = bytes * 1e-9 / way->wall[i + 1];
    struct spread gb = spread_of(rate);
    struct spread pipe = ratio_of(trips ? NULL : plain_of(-1), way);
    bench_add_figure(result, "gb_per_s", "payload (GB/s)", gb.middle, 4);
    bench_add_figure(result, "gb_per_s_min", "    least", gb.low, 4);
    bench_add_figure(result, "gb_per_s_max", "    most", gb.high, 4);
    bench_add_figure(result, "ratio_to_pipe", "ratio to the pipe", pipe.middle, 3);
    bench_add_figure(result, "ratio_to_pipe_min", "    least", pipe.low, 3);
    bench_add_figure(result, "ratio_to_pipe_max", "    most", pipe.high, 3);
}

/* Ratios to other ways of the run. */
static void add_ratios(struct bench_result *result, const struct way *way, int trips)
{
    const struct way *log = trips || way->level < 0 ? NULL : way;
    struct spread raw = ratio_of(way, trips ? plain_of(-1) : NULL);
    struct spread zero = ratio_of(plain_of(0), log), five = ratio_of(plain_of(5), log);
    double trip_ns = trips ? result->wall_s / (double)load.all * 1e9 : 0;
    bench_add_figure(result, "ratio_to_level0", "    to level 0", zero.middle, 3);
    bench_add_figure(result, "ratio_to_level0_min", "    least", zero.low, 3);
    bench_add_figure(result, "ratio_to_level0_max", "    most", zero.high, 3);
    bench_add_figure(result, "ratio_to_level5", "    to level 5", five.middle, 3);
    bench_add_figure(result, "ratio_to_level5_min", "    least", five.low, 3);
    bench_add_figure(result, "ratio_to_level5_max", "    most", five.high, 3);
    bench_add_figure(result, "trip_ns", "round trip (ns)", trip_ns, 1);
    bench_add_figure(result, "times_raw", "    times the raw", raw.middle, 3);
    bench_add_figure(result, "times_raw_min", "    least", raw.low, 3);
    bench_add_figure(result, "times_raw_max", "    most", raw.high, 3);
}

static void add_counts(struct bench_result *result, const struct way *way, int trips)
{
    struct log_contention count = log_contention(way);
    double taken = (double)(count.taken - way->contended.taken);
    double lost = (double)(count.lost - way->contended.lost);
    double all = (double)(load.all * load.rounds);
    bench_add_figure(result, "contention", "session found taken", taken, 0);
    bench_add_figure(result, "claim_retries", "claims lost", lost, 0);
    bench_add_figure(result, "contention_per_s", "    both, each s", (taken + lost) / timed_of(way),
                     1);
    bench_add_figure(result, "reordered_percent", "out of turn (%)",
                     100 * (double)way->displaced / all, 1);
    bench_add_figure(result, "written_of_payload", "written / payload",
                     trips || way->level < 0 || way->apart ? 0 : log_written(way), 4);
}

/* Case wake: how late a sleeper has a message, and what sleeping costs. */
static void add_wakes(struct bench_result *result, struct way *way)
{
    int wakes = way->idle_wall > 0;
    struct spread late = wakes ? spread_of(way->late + 1) : (struct spread){0};
    double middle = wakes ? result->wall_s / (double)load.all : 0;
    bench_add_figure(result, "wake_p50_us", "wake-up, median (us)", middle * 1e6, 2);
    bench_add_figure(result, "wake_p99_us", "    99 of 100", late.middle * 1e6, 2);
    bench_add_figure(result, "idle_percent", "idle: % of a processor",
                     wakes ? 100 * way->idle_cpu / way->idle_wall : 0, 3);
}

/* One line for people. */
static void print_way(const struct way *way, const char *label, int trips)
{
    const struct bench_figure *figure = way->result.figure;
    double value[11] = {0};
    char of_five[32] = "";
    const char *const key[] = {"gb_per_s",    "gb_per_s_min",  "gb_per_s_max",   "ratio_to_pipe",
                               "times_raw",   "times_raw_min", "times_raw_max",  "trip_ns",
                               "wake_p99_us", "idle_percent",  "ratio_to_level5"};
    for (size_t i = 0; i < way->result.figures; i++)
        for (size_t k = 0; k < sizeof key / sizeof *key; k++)
            if (strcmp(figure[i].key, key[k]) == 0)
                value[k] = figure[i].value;
    if (way->apart && value[10] > 0)
        snprintf(of_five, sizeof of_five, "  %6.3f x level 5", value[10]);
    if (way->idle_wall > 0)
        printf("  %-45s %8.1f us  %6.3f x futex  99 %% %.1f us  idle %.2f %%\n", label,
               value[7] / 1000, value[4], value[8], value[9]);
    else if (trips)
        printf("  %-45s %8.1f ns  %6.3f x raw  (%.3f..%.3f)\n", label, value[7], value[4], value[5],
               value[6]);
    else
        printf("  %-45s %8.3f GB/s  (%.3f..%.3f)  %6.3f x pipe%s\n", label, value[0], value[1],
               value[2], value[3], of_five);
}

static int emit_way(const struct bench_plan *all, struct way *way, int trips)
{
    struct bench_plan plan = *all;
    struct bench_result *result = &way->result;
    double wall[ROUNDS_MOST];
    memcpy(wall, way->wall + 1, load.rounds * sizeof *wall);
    result->wall_s = spread_of(wall).middle;
    result->ops = load.all * load.count;
    result->ops_per_thread = result->warmup = way->batches * load.count;
    add_setup(result, way);
    add_rates(result, way, trips);
    add_ratios(result, way, trips);
    add_counts(result, way, trips);
    add_wakes(result, way);
    snprintf(plan.label, sizeof plan.label, "%.20s %u in %llu %s", all->label, load.size,
             (bench_count)load.bytes, way->name);
    if (!plan.quiet)
        print_way(way, plan.label, trips);
    plan.quiet = 1;
    return bench_emit(&plan, result);
}

#endif
