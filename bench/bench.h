/*
 * bench.h - what every bench stands on: its ends, memory of its own, numbers on the command
 * line, random draws, clocks and memory figures.
 *
 * A bench is linked with libc only and meets an allocator by LD_PRELOAD. What it keeps for
 * itself (tables, results) comes from bench_pages(), so that the allocator under test serves
 * nothing but the load. Exit status: 0 done, 1 failed or disproved, 2 bad input.
 *
 * The rest of the frame: bench_mix.h (which tier served what), bench_plan.h (flags),
 * bench_result.h (output), bench_run.h (threads, cases, main).
 */
#ifndef TIDE_BENCH_H
#define TIDE_BENCH_H

#include <errno.h>
#include <fcntl.h>
#include <link.h>
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

#ifndef __PIC__
#error "a bench must be position-independent: in a fixed program a weak name is null for ever"
#endif

enum { BENCH_OK = 0, BENCH_FAILED = 1, BENCH_BAD_INPUT = 2, BENCH_LIMIT = 1 << 30 };

typedef unsigned long long bench_count; /* what %llu prints */

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

/* What looks for an object among those that are loaded. */
struct bench_object {
    const char *name; /* behind the last slash */
    size_t length;
};

static inline int bench_is_object(struct dl_phdr_info *info, size_t size, void *argument)
{
    const struct bench_object *object = argument;
    const char *slash = strrchr(info->dlpi_name, '/');
    const char *name = slash != NULL ? slash + 1 : info->dlpi_name;
    (void)size;
    return strlen(name) == object->length && memcmp(name, object->name, object->length) == 0;
}

/* The loader goes on without an object that it cannot preload; then another allocator would be
 * measured under its name. Ends unless all are here. Allocates nothing. */
static inline void bench_check_preload(void)
{
    const char *separators = ": ", *at = getenv("LD_PRELOAD");
    for (size_t length = 0; at != NULL && *at != '\0'; at += length) {
        at += strspn(at, separators);
        length = strcspn(at, separators);
        const char *name = at;
        for (size_t i = 0; i < length; i++)
            if (at[i] == '/')
                name = at + i + 1;
        struct bench_object object = {name, (size_t)(at + length - name)};
        if (object.length != 0 && dl_iterate_phdr(bench_is_object, &object) == 0)
            bench_die(BENCH_BAD_INPUT, "LD_PRELOAD: %.*s does not load", (int)length, at);
    }
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
        bench_die(BENCH_BAD_INPUT, "%s: %s is not within %llu..%llu", what, text, (bench_count)low,
                  (bench_count)high);
    return value * unit;
}

/* Both ends belong to it. */
struct bench_range {
    uint32_t low, high;
};

struct bench_list {
    size_t count;
    int ranged; /* some entry has low < high */
    struct bench_range *at;
    const char *text; /* as it was given */
};

/* The next entry of a list: ends it with a NUL, and returns where the one behind it begins,
 * or NULL. */
static inline char *bench_cut(const char *what, char *entry, int first)
{
    char *comma = strchr(entry, ',');
    if (comma != NULL)
        *comma++ = '\0';
    if (*entry == '\0')
        bench_die(BENCH_BAD_INPUT, "%s: empty %s", what,
                  first && comma == NULL ? "list" : "entry in the list");
    return comma;
}

static inline char *bench_copy(const char *text)
{
    size_t length = strlen(text) + 1;
    return memcpy(bench_pages(length), text, length);
}

/* A list such as "1,2,8" of counts (base 1000) or, in base 1024, of sizes and ranges such as
 * "1024,4K,8K-32K". Of any length; an entry may stand several times. */
static inline struct bench_list bench_parse_list(const char *what, const char *text, uint64_t base,
                                                 uint64_t low, uint64_t high)
{
    struct bench_list list = {.text = text};
    list.at = bench_pages((strlen(text) / 2 + 1) * sizeof *list.at);
    for (char *entry = bench_copy(text), *next; entry != NULL; entry = next) {
        next = bench_cut(what, entry, list.count == 0);
        char *dash = base == 1024 ? strchr(entry + 1, '-') : NULL;
        if (dash != NULL)
            *dash++ = '\0';
        struct bench_range *range = &list.at[list.count++];
        range->low = range->high = (uint32_t)bench_number(what, entry, base, low, high);
        if (dash != NULL)
            range->high = (uint32_t)bench_number(what, dash, base, range->low, high);
        list.ranged |= range->low < range->high;
    }
    return list;
}

static inline struct bench_list bench_parse_sizes(const char *text)
{
    return bench_parse_list("--sizes", text, 1024, 8, BENCH_LIMIT);
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

/* 32 random bits as a size: each entry is equally likely, and so is each size of a range. */
static inline uint32_t bench_size(const struct bench_list *sizes, uint32_t bits)
{
    uint64_t product = (uint64_t)bits * sizes->count;
    const struct bench_range *range = &sizes->at[product >> 32];
    return range->low + bench_pick((uint32_t)product, range->high - range->low + 1);
}

/* The mean of what bench_size returns. */
static inline double bench_mean_size(const struct bench_list *sizes)
{
    double sum = 0;
    for (size_t i = 0; i < sizes->count; i++)
        sum += 0.5 * ((double)sizes->at[i].low + sizes->at[i].high);
    return sum / (double)sizes->count;
}

/* ---- clocks and memory ------------------------------------------------------------------ */

static inline double bench_seconds(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* Involuntary context switches so far: of this thread, or (RUSAGE_SELF) of all. */
static inline uint64_t bench_switches(int who)
{
    struct rusage usage;
    getrusage(who, &usage);
    return (uint64_t)usage.ru_nivcsw;
}

/* The beginning of a small file of /proc or /sys, without malloc; "" if there is none. */
static inline void bench_read(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, text, size - 1);
    if (fd >= 0)
        close(fd);
    text[length > 0 ? length : 0] = '\0';
}

/* The number behind `key` in such a file; `missing` when there is none. */
static inline uint64_t bench_read_key(const char *path, const char *key, uint64_t missing)
{
    char text[4096];
    bench_read(path, text, sizeof text);
    const char *line = strstr(text, key);
    char *end = NULL;
    uint64_t value = line ? strtoull(line + strlen(key), &end, 10) : 0;
    return line && end != line + strlen(key) ? value : missing;
}

/* A line of /proc/self/status in KiB: "VmHWM:" peak, "VmRSS:" now. */
static inline uint64_t bench_status_kib(const char *key)
{
    uint64_t value = bench_read_key("/proc/self/status", key, UINT64_MAX);
    if (value == UINT64_MAX)
        bench_die(BENCH_FAILED, "/proc/self/status does not tell %s", key);
    return value;
}

/* CPU seconds that the whole machine has spent so far, on us and on others; negative when
 * the system does not tell. */
static inline double bench_machine_cpu(void)
{
    char text[512];
    double ticks = 0;
    bench_read("/proc/stat", text, sizeof text);
    if (strncmp(text, "cpu ", 4) != 0)
        return -1;
    char *at = text + 4;
    /* user nice system idle iowait irq softirq steal */
    for (int column = 0; column < 8; column++) {
        double value = strtod(at, &at);
        if (column != 3 && column != 4)
            ticks += value;
    }
    return ticks / (double)sysconf(_SC_CLK_TCK);
}

#endif
