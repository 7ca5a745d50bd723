/*
 * bench_mix.h - which tier served how many blocks, as the library itself tells for every
 * pointer, and whether that is what was claimed.
 */
#ifndef TIDE_BENCH_MIX_H
#define TIDE_BENCH_MIX_H

#include <tidepool/malloc.h>
#include <tidepool/version.h>

#include "bench.h"

/* Null unless the preloaded library exports them: the only way in which a bench learns that
 * tidepool serves it. */
extern __typeof__(tide_tier_of) tide_tier_of __attribute__((weak));
extern __typeof__(tide_version) tide_version __attribute__((weak));

enum { BENCH_TIERS = 4 };

static const char *const bench_tier_name[BENCH_TIERS] = {"none", "tiny", "mid", "large"};

/* Blocks served by each tier. */
struct bench_mix {
    uint64_t ops[BENCH_TIERS];
};

static inline int bench_on_tidepool(void)
{
    return tide_tier_of != NULL;
}

/* Asks the library where a live block is. */
static inline void bench_ask(struct bench_mix *mix, const void *block)
{
    if (bench_on_tidepool())
        mix->ops[(unsigned)tide_tier_of(block) % BENCH_TIERS]++;
}

static inline void bench_add_mix(struct bench_mix *to, const struct bench_mix *from)
{
    for (size_t tier = 0; tier < BENCH_TIERS; tier++)
        to->ops[tier] += from->ops[tier];
}

/* What is claimed about the mix; `given` is 0 if nothing is. */
struct bench_claim {
    int given;
    double percent[BENCH_TIERS];
    double tolerance;
};

/* One NAME=VALUE of a claim. Returns what follows it. */
static inline const char *bench_parse_share(struct bench_claim *claim, const char *text)
{
    size_t name = strcspn(text, "=,"), which = BENCH_TIERS;
    char *end = (char *)text + name;
    double value = text[name] == '=' ? strtod(text + name + 1, &end) : -1;
    if (end == text + name + 1 || (*end != ',' && *end != '\0') || !(value >= 0 && value <= 100))
        bench_die(BENCH_BAD_INPUT, "--expect-mix: '%s' is not TIER=PERCENT,...", text);
    for (size_t tier = 1; tier < BENCH_TIERS; tier++)
        if (strlen(bench_tier_name[tier]) == name && memcmp(bench_tier_name[tier], text, name) == 0)
            which = tier;
    if (which < BENCH_TIERS)
        claim->percent[which] = value;
    else if (name == 9 && memcmp(text, "tolerance", 9) == 0)
        claim->tolerance = value;
    else
        bench_die(BENCH_BAD_INPUT, "--expect-mix: no tier named '%.*s'", (int)name, text);
    return *end == ',' ? end + 1 : end;
}

/* "tiny=25,mid=75[,tolerance=1]": percent of the operations; a tier not named must serve none. */
static inline struct bench_claim bench_parse_claim(const char *text)
{
    struct bench_claim claim = {.given = 1, .tolerance = 1};
    double total = 0;
    while (*text != '\0')
        text = bench_parse_share(&claim, text);
    for (size_t tier = 1; tier < BENCH_TIERS; tier++)
        total += claim.percent[tier];
    if (__builtin_fabs(total - 100) > 0.01)
        bench_die(BENCH_BAD_INPUT, "--expect-mix: the tiers add up to %g %%, not 100 %%", total);
    return claim;
}

static inline uint64_t bench_asked(const struct bench_mix *mix)
{
    uint64_t total = 0;
    for (size_t tier = 0; tier < BENCH_TIERS; tier++)
        total += mix->ops[tier];
    return total;
}

static inline double bench_percent(const struct bench_mix *mix, size_t tier)
{
    uint64_t total = bench_asked(mix);
    return total ? 100.0 * (double)mix->ops[tier] / (double)total : 0;
}

/* BENCH_OK if the mix is what was claimed and the library knew every pointer; else says on
 * stderr what is wrong. */
static inline int bench_check_mix(const struct bench_mix *mix, const struct bench_claim *claim)
{
    int status = BENCH_OK;
    if (!bench_on_tidepool()) {
        if (claim->given)
            fprintf(stderr, "tier mix: cannot be shown, this is not tidepool\n");
        return claim->given ? BENCH_FAILED : BENCH_OK;
    }
    if (bench_asked(mix) == 0) {
        fprintf(stderr, "tier mix: the library was asked about no pointer\n");
        return BENCH_FAILED;
    }
    if (mix->ops[TIDE_TIER_NONE] != 0) {
        fprintf(stderr, "tier mix: %llu returned pointers are in no tier\n",
                (bench_count)mix->ops[TIDE_TIER_NONE]);
        status = BENCH_FAILED;
    }
    for (size_t tier = 1; claim->given && tier < BENCH_TIERS; tier++) {
        double percent = bench_percent(mix, tier);
        if (__builtin_fabs(percent - claim->percent[tier]) <= claim->tolerance)
            continue;
        fprintf(stderr, "tier mix: %s served %.2f %%, claimed were %g %% (tolerance %g)\n",
                bench_tier_name[tier], percent, claim->percent[tier], claim->tolerance);
        status = BENCH_FAILED;
    }
    return status;
}

static inline void bench_print_mix(const struct bench_mix *mix)
{
    if (!bench_on_tidepool()) {
        printf("  tier mix          not tidepool\n");
        return;
    }
    for (size_t tier = 0; tier < BENCH_TIERS; tier++)
        printf("  served by %-7s %llu operations (%.2f %%)\n", bench_tier_name[tier],
               (bench_count)mix->ops[tier], bench_percent(mix, tier));
}

/* The mix as a JSON value: an object of operation counts, or null. */
static inline void bench_json_mix(const struct bench_mix *mix)
{
    if (!bench_on_tidepool()) {
        printf("null");
        return;
    }
    for (size_t tier = 0; tier < BENCH_TIERS; tier++)
        printf("%s\"%s\":%llu", tier ? "," : "{", bench_tier_name[tier],
               (bench_count)mix->ops[tier]);
    printf("}");
}

/* Three CSV cells, empty without tidepool. */
static inline void bench_csv_mix(const struct bench_mix *mix)
{
    for (size_t tier = 1; tier < BENCH_TIERS; tier++)
        if (bench_on_tidepool())
            printf(",%llu", (bench_count)mix->ops[tier]);
        else
            printf(",");
}

#endif
