/*
 * bench_plan.h - the flags: the same in every bench, plus what a bench has of its own.
 *
 * A bench describes itself in a struct bench_about. It has one or more cases; each case, for
 * each number of threads and of slots that was asked for, is one result.
 */
#ifndef TIDE_BENCH_PLAN_H
#define TIDE_BENCH_PLAN_H

#include <getopt.h>

#include "bench_mix.h"

enum bench_touch { BENCH_TOUCH_FIRST, BENCH_TOUCH_ALL, BENCH_TOUCH_NONE };

static const char *const bench_touch_name[] = {"first", "all", "none"};

/* A list of cases ends with a name that is NULL. */
struct bench_case {
    const char *name;
    const char *sizes; /* default of --sizes */
    uint64_t ops;      /* default of --ops */
    const char *claim; /* the tier mix of these sizes under tidepool, or NULL */
    const char *text;
};

/* A flag that only one bench has; a list of them ends with a name that is NULL. */
struct bench_flag {
    const char *name, *value; /* "bytes", "N" */
    const char *text;
    void (*take)(const char *value);
};

struct bench_plan;

struct bench_about {
    const char *name;      /* of the program */
    const char *text;      /* what it does, for --help */
    const char *operation; /* "one operation is ..." */
    const char *threads, *slots;
    const char *threads_text, *ops_text, *sizes_text, *slots_text;
    const struct bench_case *cases;
    const struct bench_flag *flags;
    enum bench_touch touch; /* default of --touch */
    int asks_nobody;        /* it measures no allocator: there is no tier mix */
    uint64_t ops_most;      /* upper bound of --ops */
    uint32_t threads_most;
    /* NULL, or ends the process with BENCH_BAD_INPUT if a case cannot be run so. */
    void (*check)(const struct bench_plan *plan);
    /* Runs one case and emits its result or results. BENCH_OK or BENCH_FAILED. */
    int (*measure)(const struct bench_plan *plan);
};

/* What was asked for; and, narrowed to one case, what a bench's measure() gets. */
struct bench_plan {
    const struct bench_about *about;
    const struct bench_case *which;
    struct bench_list thread_list, slot_list;
    struct bench_list sizes; /* count is 0 until --sizes or the case fills it */
    uint32_t threads, slots;
    uint64_t ops, seed; /* ops is 0 until --ops or the case fills it */
    uint32_t chosen;    /* bit i: case i is wanted */
    enum bench_touch touch;
    struct bench_claim claim;
    int json, csv, quiet;
    int *first; /* 1 until the CSV has its header; shared by all cases */
    char label[64];
};

/* ---- the parts of a plan ---------------------------------------------------------------- */

static inline enum bench_touch bench_parse_touch(const char *text)
{
    for (size_t i = 0; i < sizeof bench_touch_name / sizeof *bench_touch_name; i++)
        if (strcmp(text, bench_touch_name[i]) == 0)
            return (enum bench_touch)i;
    bench_die(BENCH_BAD_INPUT, "--touch: '%s' is not first, all or none", text);
}

static inline uint32_t bench_parse_cases(const struct bench_about *about, const char *text)
{
    uint32_t chosen = 0;
    for (char *entry = bench_copy(text), *next; entry != NULL; entry = next) {
        uint32_t before = chosen;
        next = bench_cut("--case", entry, entry[0] == '\0' && chosen == 0);
        for (uint32_t i = 0; about->cases[i].name != NULL; i++)
            if (strcmp(about->cases[i].name, entry) == 0)
                chosen |= 1u << i;
        if (chosen == before)
            bench_die(BENCH_BAD_INPUT, "--case: no other case is named '%s'; try --help", entry);
    }
    return chosen;
}

/* ---- help ------------------------------------------------------------------------------- */

/* One flag; the lines of its text stand below each other. */
static inline void bench_print_flag(const char *flag, const char *text)
{
    printf("  %-17s ", flag);
    for (const char *at = text; *at != '\0'; at++) {
        putchar(*at);
        if (*at == '\n')
            printf("%20s", "");
    }
    putchar('\n');
}

static inline void bench_print_cases(const struct bench_about *about)
{
    for (const struct bench_case *one = about->cases; one->name != NULL; one++)
        printf("  %-17s %s\n  %-17s %s B, %llu operations%s%s\n", one->name, one->text, "",
               one->sizes, (bench_count)one->ops, one->claim ? ", tier mix " : "",
               one->claim ? one->claim : "");
}

static inline void bench_help(const struct bench_about *about)
{
    char line[512];
    printf("Usage: %s [OPTION]...\n%s\nOne operation is %s.\n\nCases:\n", about->name, about->text,
           about->operation);
    bench_print_cases(about);
    printf("\nOptions (in counts K, M, G are 10^3, 10^6, 10^9; in sizes 2^10, 2^20, 2^30):\n");
    bench_print_flag("--case LIST", "these cases only");
    snprintf(line, sizeof line, "%s (default %s);\nwith several numbers one result for each",
             about->threads_text, about->threads);
    bench_print_flag("--threads LIST", line);
    bench_print_flag("--ops N", about->ops_text);
    bench_print_flag("--sizes LIST", about->sizes_text);
    snprintf(line, sizeof line, "%s (default %s);\nwith several numbers one result for each",
             about->slots_text, about->slots);
    bench_print_flag("--slots LIST", line);
    bench_print_flag("--seed N", "seed of the draws (default 1)");
    snprintf(line, sizeof line,
             "first: write the first 8 bytes of each block; all: write every byte;\n"
             "none: write nothing (default %s)",
             bench_touch_name[about->touch]);
    bench_print_flag("--touch WHAT", line);
    for (const struct bench_flag *flag = about->flags; flag && flag->name; flag++) {
        snprintf(line, sizeof line, "--%s %s", flag->name, flag->value);
        bench_print_flag(line, flag->text);
    }
    bench_print_flag("--expect-mix MIX",
                     "fail unless the tiers of tidepool served these shares, in percent:\n"
                     "tiny=25,mid=75[,large=..][,tolerance=POINTS] (tolerance 1 by default;\n"
                     "a tier that is not named must serve nothing)");
    bench_print_flag("--json, --csv", "add JSON, one line a result, or CSV to standard output");
    bench_print_flag("--quiet", "no table");
    bench_print_flag("--help", "this text");
    printf("\nThe tier mix comes from an untimed replay of the same draws that asks the library\n"
           "about every pointer. Exit status: 0 done, 1 failed or not the expected mix, 2 bad\n"
           "input.\n");
}

/* ---- the command line ------------------------------------------------------------------- */

enum { BENCH_OWN_FLAG = 1000, BENCH_OPTIONS = 24 };

/* One option. Returns 0 when it was --help. */
static inline int bench_take_option(struct bench_plan *plan, int option, const char *value)
{
    const struct bench_about *about = plan->about;
    switch (option) {
    case 't':
        plan->thread_list = bench_parse_list("--threads", value, 1000, 1, about->threads_most);
        return 1;
    case 'o':
        plan->ops = bench_number("--ops", value, 1000, 1, about->ops_most);
        return 1;
    case 's':
        plan->sizes = bench_parse_sizes(value);
        return 1;
    case 'n':
        plan->slot_list = bench_parse_list("--slots", value, 1000, 1, BENCH_LIMIT);
        return 1;
    case 'r':
        plan->seed = bench_number("--seed", value, 1000, 0, UINT64_MAX);
        return 1;
    case 'w':
        plan->touch = bench_parse_touch(value);
        return 1;
    case 'm':
        plan->claim = bench_parse_claim(value);
        return 1;
    case 'c':
        plan->chosen = bench_parse_cases(about, value);
        return 1;
    case 'h':
        bench_help(about);
        return 0;
    default:
        if (option < BENCH_OWN_FLAG)
            exit(BENCH_BAD_INPUT); /* getopt has said why */
        about->flags[option - BENCH_OWN_FLAG].take(value);
        return 1;
    }
}

/* The common options and the bench's own, as getopt wants them. */
static inline void bench_list_options(struct bench_plan *plan, struct option *options)
{
    const struct option common[] = {
        {"threads", 1, NULL, 't'},     {"ops", 1, NULL, 'o'},       {"sizes", 1, NULL, 's'},
        {"slots", 1, NULL, 'n'},       {"seed", 1, NULL, 'r'},      {"touch", 1, NULL, 'w'},
        {"expect-mix", 1, NULL, 'm'},  {"json", 0, &plan->json, 1}, {"csv", 0, &plan->csv, 1},
        {"quiet", 0, &plan->quiet, 1}, {"help", 0, NULL, 'h'},      {"case", 1, NULL, 'c'},
    };
    size_t count = sizeof common / sizeof *common;
    memcpy(options, common, sizeof common);
    for (const struct bench_flag *flag = plan->about->flags; flag && flag->name; flag++)
        options[count++] =
            (struct option){flag->name, 1, NULL, BENCH_OWN_FLAG + (int)(flag - plan->about->flags)};
    options[count] = (struct option){0};
}

/* Returns 0 when there is nothing to run. */
static inline int bench_parse(struct bench_plan *plan, int argc, char **argv)
{
    const struct bench_about *about = plan->about;
    struct option options[BENCH_OPTIONS];
    int option;
    plan->seed = 1;
    plan->touch = about->touch;
    plan->chosen = ~0u;
    plan->thread_list = bench_parse_list("--threads", about->threads, 1000, 1, BENCH_LIMIT);
    plan->slot_list = bench_parse_list("--slots", about->slots, 1000, 1, BENCH_LIMIT);
    bench_list_options(plan, options);
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
        if (option != 0 && !bench_take_option(plan, option, optarg))
            return 0;
    if (optind < argc)
        bench_die(BENCH_BAD_INPUT, "'%s' is no option; try --help", argv[optind]);
    if (about->asks_nobody && plan->claim.given)
        bench_die(BENCH_BAD_INPUT, "--expect-mix: this bench measures no allocator");
    return 1;
}

/* The plan for case `which` with that many threads and slots. */
static inline struct bench_plan bench_narrow(const struct bench_plan *plan, uint32_t which,
                                             uint32_t threads, uint32_t slots)
{
    struct bench_plan one = *plan;
    size_t length;
    one.which = &plan->about->cases[which];
    one.threads = threads;
    one.slots = slots;
    if (one.ops == 0)
        one.ops = one.which->ops;
    /* What a case claims holds for its own sizes only. */
    if (one.sizes.count == 0 && one.which->claim && !one.claim.given && bench_on_tidepool())
        one.claim = bench_parse_claim(one.which->claim);
    if (one.sizes.count == 0)
        one.sizes = bench_parse_sizes(one.which->sizes);
    length = (size_t)snprintf(one.label, sizeof one.label, "%s", one.which->name);
    if (plan->thread_list.count > 1)
        length +=
            (size_t)snprintf(one.label + length, sizeof one.label - length, " threads=%u", threads);
    if (plan->slot_list.count > 1)
        snprintf(one.label + length, sizeof one.label - length, " slots=%u", slots);
    return one;
}

#endif
