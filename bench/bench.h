/*
 * bench.h - what every bench needs: bad input, numbers, random draws, clocks, memory figures
 * and the proof of which tier served how many blocks.
 *
 * A bench is linked with libc only and meets an allocator by LD_PRELOAD. What it keeps for
 * itself (tables, results) comes from bench_pages(), so that the allocator under test serves
 * nothing but the load. Exit status: 0 done, 1 failed or disproved, 2 bad input.
 */
#ifndef TIDE_BENCH_H
#define TIDE_BENCH_H

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <tidepool/malloc.h>
#include <tidepool/version.h>

#ifndef __PIC__
#error "a bench must be position-independent: in a fixed program a weak name is null for ever"
#endif

/* Null unless the preloaded library exports them: the only way in which a bench learns that
 * tidepool serves it. */
extern __typeof__(tide_tier_of) tide_tier_of __attribute__((weak));
extern __typeof__(tide_version) tide_version __attribute__((weak));

enum { BENCH_OK = 0, BENCH_FAILED = 1, BENCH_BAD_INPUT = 2, BENCH_TIERS = 4 };

static const char *const bench_tier_name[BENCH_TIERS] = {"none", "tiny", "mid", "large"};

/* ---- ends ------------------------------------------------------------------------------- */

/* The message goes to stderr, behind the name of the bench. */
static inline void bench_die(int status, const char *format, ...)
    __attribute__((noreturn, format(printf, 2, 3)));
static inline void bench_die(int status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fflush(stdout);
    fprintf(stderr, "%s: ", program_invocation_short_name);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(status);
}

/* Zeroed memory of the bench's own, never given back. */
static inline void *bench_pages(size_t bytes)
{
    void *pages =
        mmap(NULL, bytes ? bytes : 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED)
        bench_die(BENCH_FAILED, "no memory for %zu bytes of tables", bytes);
    return pages;
}

/* ---- numbers on the command line -------------------------------------------------------- */

/* What a suffix multiplies by: K, M, G (bytes: 1024, counts: 1000), 0 for anything else. */
static inline uint64_t bench_suffix(const char *suffix, uint64_t base)
{
    if (*suffix == '\0')
        return 1;
    if (suffix[1] != '\0')
        return 0;
    switch (*suffix) {
    case 'k':
    case 'K':
        return base;
    case 'm':
    case 'M':
        return base * base;
    case 'g':
    case 'G':
        return base * base * base;
    default:
        return 0;
    }
}

/* `text` as a number between low and high, or the end with a message that names `what`. */
static inline uint64_t bench_number(const char *what, const char *text, uint64_t base, uint64_t low,
                                    uint64_t high)
{
    char *end = NULL;
    uint64_t value = 0, unit = 0;
    errno = 0;
    if (*text >= '0' && *text <= '9') {
        value = strtoull(text, &end, 10);
        unit = bench_suffix(end, base);
    }
    if (unit == 0)
        bench_die(BENCH_BAD_INPUT, "%s: '%s' is not a number", what, text);
    if (errno || value > high / unit || value * unit > high || value * unit < low)
        bench_die(BENCH_BAD_INPUT, "%s: %s is not within %llu..%llu", what, text,
                  (unsigned long long)low, (unsigned long long)high);
    return value * unit;
}

struct bench_list {
    size_t count;
    uint32_t *at;
};

/* A list such as "1024,4K,32K", of any length. An entry may stand several times. */
static inline struct bench_list bench_size_list(const char *what, const char *text, uint32_t low,
                                                uint32_t high)
{
    struct bench_list list = {0};
    size_t length = strlen(text);
    char *copy = bench_pages(length + 1);
    memcpy(copy, text, length + 1);
    list.at = bench_pages((length / 2 + 1) * sizeof *list.at);
    for (char *entry = copy; entry != NULL;) {
        char *comma = strchr(entry, ',');
        if (comma != NULL)
            *comma++ = '\0';
        if (*entry == '\0')
            bench_die(BENCH_BAD_INPUT, "%s: empty %s", what, length ? "entry in the list" : "list");
        list.at[list.count++] = (uint32_t)bench_number(what, entry, 1024, low, high);
        entry = comma;
    }
    munmap(copy, length + 1);
    return list;
}

/* ---- random draws ----------------------------------------------------------------------- */

/* One addition and one multiplication per draw, and no table: the draws cost every allocator
 * the same and leave the caches alone. */
struct bench_random {
    uint64_t state;
};

static inline uint64_t bench_fold(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t bench_draw(struct bench_random *random)
{
    random->state += 0x9e3779b97f4a7c15u;
    return bench_fold(random->state, random->state ^ 0xd6e8feb86659fd93u);
}

/* A stream of its own for each (seed, thread, phase). */
static inline struct bench_random bench_stream(uint64_t seed, uint64_t thread, uint64_t phase)
{
    struct bench_random random = {bench_fold(seed ^ 0xa0761d6478bd642fu, 0xe7037ed1a0b428dbu)};
    random.state ^= bench_fold(thread + 0x8ebc6af09c88c6e3u, phase + 0x589965cc75374cc3u);
    bench_draw(&random);
    return random;
}

/* 32 random bits as an index below `count`. */
static inline uint32_t bench_pick(uint32_t bits, uint32_t count)
{
    return (uint32_t)(((uint64_t)bits * count) >> 32);
}

/* ---- clocks and memory ------------------------------------------------------------------ */

static inline double bench_seconds(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* Involuntary context switches of this thread so far. */
static inline uint64_t bench_switches(void)
{
    struct rusage usage;
    getrusage(RUSAGE_THREAD, &usage);
    return (uint64_t)usage.ru_nivcsw;
}

/* A line of /proc/self/status in KiB ("VmHWM:" peak, "VmRSS:" now), read without malloc. */
static inline uint64_t bench_status_kib(const char *key)
{
    char text[4096];
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    text[length > 0 ? length : 0] = '\0';
    const char *line = strstr(text, key);
    if (line == NULL)
        bench_die(BENCH_FAILED, "/proc/self/status does not tell %s", key);
    return strtoull(line + strlen(key), NULL, 10);
}

/* ---- the tier mix ----------------------------------------------------------------------- */

/* Blocks served by each tier, as tide_tier_of told for each pointer. */
struct bench_mix {
    uint64_t ops[BENCH_TIERS];
};

static inline int bench_on_tidepool(void)
{
    return tide_tier_of != NULL;
}

/* What the caller claims about the mix; `given` is 0 if nothing was claimed. */
struct bench_claim {
    int given;
    double percent[BENCH_TIERS];
    double tolerance;
};

/* "tiny=25,mid=75[,tolerance=1]": percent of the operations; a tier not named must serve none. */
static inline struct bench_claim bench_parse_claim(const char *text)
{
    struct bench_claim claim = {.given = 1, .tolerance = 1};
    double total = 0;
    while (*text != '\0') {
        size_t name = strcspn(text, "=,"), which = BENCH_TIERS;
        char *end = (char *)text + name;
        double value = text[name] == '=' ? strtod(text + name + 1, &end) : -1;
        if (end == text + name + 1 || (*end != ',' && *end != '\0') ||
            !(value >= 0 && value <= 100))
            bench_die(BENCH_BAD_INPUT, "--expect-mix: '%s' is not TIER=PERCENT,...", text);
        for (size_t tier = 1; tier < BENCH_TIERS; tier++)
            if (strlen(bench_tier_name[tier]) == name &&
                memcmp(bench_tier_name[tier], text, name) == 0)
                which = tier;
        if (which < BENCH_TIERS) {
            claim.percent[which] = value;
        } else if (name == 9 && memcmp(text, "tolerance", 9) == 0) {
            claim.tolerance = value;
        } else {
            bench_die(BENCH_BAD_INPUT, "--expect-mix: no tier named '%.*s'", (int)name, text);
        }
        text = *end == ',' ? end + 1 : end;
    }
    for (size_t tier = 1; tier < BENCH_TIERS; tier++)
        total += claim.percent[tier];
    if (__builtin_fabs(total - 100) > 0.01)
        bench_die(BENCH_BAD_INPUT, "--expect-mix: the tiers add up to %g %%, not 100 %%", total);
    return claim;
}

static inline double bench_percent(const struct bench_mix *mix, size_t tier)
{
    uint64_t total = 0;
    for (size_t i = 0; i < BENCH_TIERS; i++)
        total += mix->ops[i];
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
    if (mix->ops[TIDE_TIER_NONE] != 0) {
        fprintf(stderr, "tier mix: %llu returned pointers are in no tier\n",
                (unsigned long long)mix->ops[TIDE_TIER_NONE]);
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
               (unsigned long long)mix->ops[tier], bench_percent(mix, tier));
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
               (unsigned long long)mix->ops[tier]);
    printf("}");
}

#endif
