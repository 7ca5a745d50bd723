/*
 * bench_result.h - what a measurement gives, as a table for people, a JSON line and CSV.
 *
 * Every bench prints the same keys and columns, and behind them the figures that only it has.
 * Ratios of results from one run are all that means anything on another machine.
 */
#ifndef TIDE_BENCH_RESULT_H
#define TIDE_BENCH_RESULT_H

#include "bench_plan.h"

enum { BENCH_FIGURES = 32, BENCH_POINTS = 256 };

/* A figure of one bench; the unit stands in the key, and in the text for people. */
struct bench_figure {
    const char *key, *text;
    double value;
    int digits; /* behind the point */
};

/* Memory over time. */
struct bench_point {
    double seconds;
    uint64_t kib;
};

struct bench_result {
    uint64_t ops, ops_per_thread, warmup; /* warm-up operations per thread */
    double wall_s, cpu_s;
    double other_s; /* CPU seconds of other programs meanwhile; negative: not known */
    uint64_t peak_kib, final_kib, switches, checksum;
    struct bench_mix mix;
    size_t figures, points;
    struct bench_figure figure[BENCH_FIGURES];
    struct bench_point *point;
};

static inline void bench_add_figure(struct bench_result *result, const char *key, const char *text,
                                    double value, int digits)
{
    if (result->figures == BENCH_FIGURES)
        bench_die(BENCH_FAILED, "more than %d figures", BENCH_FIGURES);
    result->figure[result->figures++] = (struct bench_figure){key, text, value, digits};
}

/* ---- the sizes -------------------------------------------------------------------------- */

/* "1024" or, with a dash between its ends, a range. */
static inline void bench_print_size(const struct bench_range *range, const char *format)
{
    if (range->low == range->high)
        printf("%u", range->low);
    else
        printf(format, range->low, range->high);
}

static inline void bench_table_sizes(const struct bench_list *sizes)
{
    enum { MOST = 12 };
    for (size_t i = 0; i < sizes->count && i < MOST; i++) {
        printf("%s", i ? " " : "");
        bench_print_size(&sizes->at[i], "%u-%u");
    }
    if (sizes->count > MOST)
        printf(" ... (%zu sizes)", sizes->count);
}

/* A size as a number, a range as an array of both ends. */
static inline void bench_json_sizes(const struct bench_list *sizes)
{
    for (size_t i = 0; i < sizes->count; i++) {
        printf("%s", i ? "," : "");
        bench_print_size(&sizes->at[i], "[%u,%u]");
    }
}

/* ---- for people ------------------------------------------------------------------------- */

/* About ten points out of all. */
static inline void bench_table_points(const struct bench_result *result)
{
    size_t step = result->points / 10 + 1;
    if (result->points == 0)
        return;
    printf("  RSS over time     ");
    for (size_t i = 0; i < result->points; i += step)
        printf("%llu ", (bench_count)result->point[i].kib);
    printf("KiB, within %.2f s\n", result->point[result->points - 1].seconds);
}

static inline void bench_table_plan(const struct bench_plan *plan,
                                    const struct bench_result *result)
{
    static const char *const touched[] = {"the first 8 bytes are written", "every byte is written",
                                          "nothing"};
    printf("%s, case %s: one operation = %s\n", plan->about->name, plan->label,
           plan->about->operation);
    if (!plan->about->asks_nobody)
        printf("  allocator         %s%s\n", bench_on_tidepool() ? "tidepool " : "not tidepool",
               tide_version != NULL ? tide_version() : "");
    printf("  sizes (bytes)     ");
    bench_table_sizes(&plan->sizes);
    printf("\n  touched           %s\n", touched[plan->touch]);
    printf("  threads           %u, with %u slots each; seed %llu\n", plan->threads, plan->slots,
           (bench_count)plan->seed);
    printf("  operations        %llu timed per thread, after %llu of untimed warm-up\n",
           (bench_count)result->ops_per_thread, (bench_count)result->warmup);
}

static inline void bench_table(const struct bench_plan *plan, const struct bench_result *result)
{
    double mops = (double)result->ops * 1e-6;
    bench_table_plan(plan, result);
    printf("  wall time         %.4f s    %.4g Mops/s\n", result->wall_s, mops / result->wall_s);
    printf("  CPU time          %.4f s    %.4g Mops per CPU second\n", result->cpu_s,
           mops / result->cpu_s);
    printf("  peak RSS          %llu KiB; %llu KiB after every block was freed\n",
           (bench_count)result->peak_kib, (bench_count)result->final_kib);
    for (size_t i = 0; i < result->figures; i++)
        printf("  %-17s %.*f\n", result->figure[i].text, result->figure[i].digits,
               result->figure[i].value);
    bench_table_points(result);
    printf("  context switches  %llu involuntary", (bench_count)result->switches);
    if (result->other_s >= 0)
        printf("; other programs took %.2f CPU s meanwhile", result->other_s);
    printf("\n  checksum          %016llx\n", (bench_count)result->checksum);
    if (!plan->about->asks_nobody)
        bench_print_mix(&result->mix);
}

/* ---- for programs ----------------------------------------------------------------------- */

static inline void bench_json_points(const struct bench_result *result)
{
    printf(",\"rss_series_s_kib\":[");
    for (size_t i = 0; i < result->points; i++)
        printf("%s[%.4f,%llu]", i ? "," : "", result->point[i].seconds,
               (bench_count)result->point[i].kib);
    printf("]");
}

static inline void bench_json_plan(const struct bench_plan *plan, const struct bench_result *result)
{
    printf("{\"bench\":\"%s\",\"threads\":%u,\"slots\":%u,\"seed\":%llu,\"case\":\"%s\","
           "\"touch\":\"%s\",\"ops\":%llu,\"ops_per_thread\":%llu,\"warmup_ops_per_thread\":%llu,"
           "\"sizes\":[",
           plan->about->name, plan->threads, plan->slots, (bench_count)plan->seed, plan->label,
           bench_touch_name[plan->touch], (bench_count)result->ops,
           (bench_count)result->ops_per_thread, (bench_count)result->warmup);
    bench_json_sizes(&plan->sizes);
    printf("]");
}

static inline void bench_json(const struct bench_plan *plan, const struct bench_result *result)
{
    double mops = (double)result->ops * 1e-6;
    bench_json_plan(plan, result);
    printf(",\"mops_per_s\":%.6g,\"mops_per_cpu_s\":%.6g,\"wall_s\":%.6f,\"cpu_s\":%.6f,"
           "\"peak_rss_kib\":%llu,\"final_rss_kib\":%llu,\"invol_switches\":%llu,"
           "\"checksum\":\"%016llx\",\"other_cpu_s\":",
           mops / result->wall_s, mops / result->cpu_s, result->wall_s, result->cpu_s,
           (bench_count)result->peak_kib, (bench_count)result->final_kib,
           (bench_count)result->switches, (bench_count)result->checksum);
    printf(result->other_s >= 0 ? "%.2f" : "null", result->other_s);
    for (size_t i = 0; i < result->figures; i++)
        printf(",\"%s\":%.*f", result->figure[i].key, result->figure[i].digits,
               result->figure[i].value);
    if (result->points != 0)
        bench_json_points(result);
    printf(",\"tier_ops\":");
    if (plan->about->asks_nobody)
        printf("null");
    else
        bench_json_mix(&result->mix);
    printf("}\n");
}

static inline void bench_csv_header(const struct bench_result *result)
{
    printf("threads,slots,seed,touch,ops,mops_per_s,mops_per_cpu_s,wall_s,cpu_s,peak_rss_kib,"
           "final_rss_kib,invol_switches,checksum,tiny_ops,mid_ops,large_ops,case,other_cpu_s");
    for (size_t i = 0; i < result->figures; i++)
        printf(",%s", result->figure[i].key);
    printf("\n");
}

static inline void bench_csv(const struct bench_plan *plan, const struct bench_result *result)
{
    double mops = (double)result->ops * 1e-6;
    if (*plan->first)
        bench_csv_header(result);
    *plan->first = 0;
    printf("%u,%u,%llu,%s,%llu,%.6g,%.6g,%.6f,%.6f,%llu,%llu,%llu,%016llx", plan->threads,
           plan->slots, (bench_count)plan->seed, bench_touch_name[plan->touch],
           (bench_count)result->ops, mops / result->wall_s, mops / result->cpu_s, result->wall_s,
           result->cpu_s, (bench_count)result->peak_kib, (bench_count)result->final_kib,
           (bench_count)result->switches, (bench_count)result->checksum);
    if (plan->about->asks_nobody)
        printf(",,,");
    else
        bench_csv_mix(&result->mix);
    printf(",%s,", plan->label);
    if (result->other_s >= 0)
        printf("%.2f", result->other_s);
    for (size_t i = 0; i < result->figures; i++)
        printf(",%.*f", result->figure[i].digits, result->figure[i].value);
    printf("\n");
}

/* Prints a result. Returns BENCH_OK, or BENCH_FAILED if its tier mix is not what was claimed. */
static inline int bench_emit(const struct bench_plan *plan, const struct bench_result *result)
{
    if (!plan->quiet)
        bench_table(plan, result);
    if (plan->json)
        bench_json(plan, result);
    if (plan->csv)
        bench_csv(plan, result);
    if (fflush(stdout) != 0 || ferror(stdout))
        bench_die(BENCH_FAILED, "cannot write the result: %s", strerror(errno));
    return plan->about->asks_nobody ? BENCH_OK : bench_check_mix(&result->mix, &plan->claim);
}

#endif
