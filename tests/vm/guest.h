/*
 * guest.h - what the programs of a guest share: conditions that end the program, sets of
 * blocks that know what they hold, and where pages are as the kernel tells it, asked
 * without the library.
 *
 * The programs run under the preload; the library's own functions are weak here.
 */
#ifndef TESTS_VM_GUEST_H
#define TESTS_VM_GUEST_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <malloc.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <tidepool/tidepool.h>

extern __typeof__(tide_stats) tide_stats __attribute__((weak));
extern __typeof__(tide_residency) tide_residency __attribute__((weak));
extern __typeof__(tide_tier_of) tide_tier_of __attribute__((weak));

enum { GUEST_NODES = 64, GUEST_PAGE = 4096, GUEST_BATCH = 512, GUEST_BLOCKS = 1 << 17 };

#define MIB ((size_t)1 << 20)

/* A condition that must hold; the rest says what was found. */
#define NEED(cond, ...)                                                                            \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            printf("%s:%d: needed: %s; ", __FILE__, __LINE__, #cond);                              \
            printf("" __VA_ARGS__);                                                                \
            printf("\n");                                                                          \
            fflush(stdout);                                                                        \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

/* First of all: output without memory of the heap, and the library is there. */
static inline void guest_start(void)
{
    static char buffer[4096];
    setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
    NEED(tide_stats != NULL && tide_residency != NULL && tide_tier_of != NULL,
         "the library is not preloaded");
}

static inline size_t guest_number(const char *text)
{
    char *end;
    NEED(text != NULL, "an argument is missing");
    size_t number = strtoull(text, &end, 10);
    NEED(end != text && *end == '\0', "%s is no number", text);
    return number;
}

/* Memory that no allocator sees. */
static inline void *guest_map(size_t size)
{
    void *map = mmap(NULL, size, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    NEED(map != MAP_FAILED, "%zu bytes: %s", size, strerror(errno));
    return map;
}

static inline void guest_write(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY);
    ssize_t written = fd < 0 ? -1 : write(fd, text, strlen(text));
    NEED(written == (ssize_t)strlen(text), "%s > %s: %s", text, path, strerror(errno));
    close(fd);
}

/* --- where pages are ---------------------------------------------------------------- */

struct places {
    size_t node[GUEST_NODES];
    size_t resident;
};

static inline void guest_ask(void *const *page, size_t count, struct places *out)
{
    int node[GUEST_BATCH];
    long ret = syscall(SYS_move_pages, 0, count, page, NULL, node, 0);
    NEED(ret == 0, "move_pages: %s", strerror(errno));
    for (size_t i = 0; i < count; i++) {
        if (node[i] < 0)
            continue;
        out->resident++;
        out->node[node[i] < GUEST_NODES ? node[i] : GUEST_NODES - 1]++;
    }
}

/* The pages of [base, base + size) that begin in it. */
static inline void guest_where(const char *base, size_t size, struct places *out)
{
    void *page[GUEST_BATCH];
    size_t count = 0;
    uintptr_t at = ((uintptr_t)base + GUEST_PAGE - 1) & -(uintptr_t)GUEST_PAGE;
    for (; at < (uintptr_t)base + size; at += GUEST_PAGE) {
        page[count++] = (void *)at;
        if (count == GUEST_BATCH) {
            guest_ask(page, count, out);
            count = 0;
        }
    }
    if (count > 0)
        guest_ask(page, count, out);
}

/* mbind or set_mempolicy (base NULL) with a mask of one word. */
static inline long guest_policy(void *base, size_t size, int mode, unsigned long nodes)
{
    unsigned long mask[2] = {nodes, 0};
    if (base == NULL)
        return syscall(SYS_set_mempolicy, mode, mask, 65);
    return syscall(SYS_mbind, base, size, mode, mask, 65, 0);
}

/* --- sets of blocks ------------------------------------------------------------------ */

struct set {
    char **block;
    uint32_t *size;
    size_t count, bytes;
    bool refused; /* a request got NULL with ENOMEM: this set is full */
    uint64_t seed;
};

static inline uint64_t set_word(const struct set *set, size_t index, size_t at)
{
    return (set->seed + index * 0x10000 + at) * 0x9e3779b97f4a7c15U;
}

/* Writes to each page of a block, and to its last bytes. */
static inline void set_mark(const struct set *set, size_t i)
{
    size_t last = set->size[i] - sizeof(uint64_t);
    for (size_t at = 0; at < last; at += GUEST_PAGE)
        *(volatile uint64_t *)(set->block[i] + at) = set_word(set, i, at);
    *(volatile uint64_t *)(set->block[i] + last) = set_word(set, i, last);
}

static inline bool set_holds(const struct set *set, size_t i)
{
    size_t last = set->size[i] - sizeof(uint64_t);
    for (size_t at = 0; at < last; at += GUEST_PAGE)
        if (*(volatile uint64_t *)(set->block[i] + at) != set_word(set, i, at))
            return false;
    return *(volatile uint64_t *)(set->block[i] + last) == set_word(set, i, last);
}

/* Blocks of all sizes of Mid, some of them aligned, until they are `bytes` or one is
 * refused. */
static inline void set_fill(struct set *set, size_t bytes)
{
    static const uint32_t sizes[] = {2048, 3008, 4096, 6144, 8192, 12000, 16384, 32000};
    if (set->block == NULL) {
        set->block = guest_map(GUEST_BLOCKS * sizeof *set->block);
        set->size = guest_map(GUEST_BLOCKS * sizeof *set->size);
        set->seed = (uintptr_t)set->block;
    }
    set->refused = false;
    while (set->bytes < bytes && set->count < GUEST_BLOCKS) {
        uint32_t size = sizes[set->count % 8];
        errno = 0;
        char *block = set->count % 16 == 5 ? memalign(256, size) : malloc(size);
        if (block == NULL) {
            NEED(errno == ENOMEM, "a refused request says: %s", strerror(errno));
            set->refused = true;
            return;
        }
        set->block[set->count] = block;
        set->size[set->count] = size;
        set_mark(set, set->count++);
        set->bytes += size;
    }
}

static inline void set_check(const struct set *set)
{
    for (size_t i = 0; i < set->count; i++) {
        NEED(set_holds(set, i), "block %zu of %zu has changed", i, set->count);
        NEED(tide_tier_of(set->block[i]) == TIDE_TIER_MID, "block %zu is not of Mid", i);
    }
}

static inline void set_drop(struct set *set)
{
    for (size_t i = 0; i < set->count; i++)
        free(set->block[i]);
    set->count = set->bytes = 0;
}

/* Frees every second block. */
static inline void set_thin(struct set *set)
{
    size_t kept = 0;
    struct set old = *set;
    set->bytes = 0;
    for (size_t i = 0; i < old.count; i++) {
        if (i % 2 == 1) {
            free(old.block[i]);
            continue;
        }
        set->block[kept] = old.block[i];
        set->size[kept] = old.size[i];
        set->bytes += set->size[kept++];
    }
    set->count = kept;
    for (size_t i = 0; i < kept; i++)
        set_mark(set, i);
}

static inline struct places set_where(const struct set *set)
{
    struct places places = {{0}, 0};
    for (size_t i = 0; i < set->count; i++)
        guest_where(set->block[i], set->size[i], &places);
    return places;
}

/* The library's own answer, of all pages of Mid; while other threads work it may miss some. */
static inline struct tide_residency mid_residency_now(void)
{
    struct tide_residency mid;
    int ret = tide_residency(TIDE_TIER_MID, 0, &mid);
    NEED(ret == 0, "tide_residency: %d", ret);
    return mid;
}

static inline struct tide_residency mid_residency(void)
{
    struct tide_residency mid = mid_residency_now();
    NEED(mid.asked == mid.pages && mid.error_permille == 0, "asked %zu of %zu pages",
         (size_t)mid.asked, (size_t)mid.pages);
    return mid;
}

/* --- cases ---------------------------------------------------------------------------- */

struct guest_case {
    const char *name;
    void (*body)(char **arguments);
};

/* For a program that needs no library. */
static inline int guest_choose(char **argv, const struct guest_case *cases)
{
    NEED(argv[1] != NULL, "no case named");
    for (; cases->name != NULL; cases++) {
        if (strcmp(argv[1], cases->name) == 0) {
            cases->body(argv + 2);
            return 0;
        }
    }
    NEED(false, "no case %s", argv[1]);
    return 2;
}

static inline int guest_main(char **argv, const struct guest_case *cases)
{
    guest_start();
    return guest_choose(argv, cases);
}

#endif
