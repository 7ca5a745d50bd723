/*
 * prog_region.c - a region over a source that the caller names, and Mid of a process in such
 * a source: the same program for plain machines and for guests with devices.
 *
 *   prog_region SOURCE [BYTES]   a region of so many bytes (0, the default for devices: as
 *                                large as the source; else 8 MiB): segments, a heap, a full
 *                                region, fork, another process, opening again
 *   prog_region mid COUNT SIZE   so many blocks of malloc, filled, checked and freed; tells
 *                                how many there were, and how many of them are Mid
 *
 * Touches few of a large region's pages: emulated devices are slow. Prints one verdict per
 * case; ends with 0 when all are good, with 2 when the library is not there.
 */
#define _GNU_SOURCE 1
#include <tidepool/tidepool.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#pragma weak tide_region_create
#pragma weak tide_region_open
#pragma weak tide_region_close
#pragma weak tide_region_base
#pragma weak tide_region_info
#pragma weak tide_region_take
#pragma weak tide_region_give
#pragma weak tide_region_segment
#pragma weak tide_region_area
#pragma weak tide_region_reclaim
#pragma weak tide_heap_create_on
#pragma weak tide_heap_destroy
#pragma weak tide_heap_malloc
#pragma weak tide_free
#pragma weak tide_realloc
#pragma weak tide_tier_of
#pragma weak tide_malloc_usable_size

enum { BLOCKS = 40, BLOCK = 3000, RUN = 900000, SEGMENT = TIDE_REGION_SEGMENT, STEP = 64 << 10 };

#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            printf("# line %d: %s (errno %d)\n", __LINE__, #condition, errno);                     \
            return false;                                                                          \
        }                                                                                          \
    } while (0)

static const char *source;
static size_t size;
static tide_region_t *region;
static struct tide_region_info info;
static struct tide_region_error error;

static bool is_device(void)
{
    return strncmp(source, "dax:", 4) == 0;
}

static bool can_reopen(void)
{
    return is_device() || strncmp(source, "file:", 5) == 0;
}

/* First and last bytes of each 64 KiB. */
static void stamp(char *at, size_t bytes, char value)
{
    for (size_t i = 0; i < bytes; i += STEP)
        at[i] = at[i + STEP - 1 < bytes ? i + STEP - 1 : bytes - 1] = value;
}

static bool is_stamped(const char *at, size_t bytes, char value)
{
    for (size_t i = 0; i < bytes; i += STEP)
        if (at[i] != value || at[i + STEP - 1 < bytes ? i + STEP - 1 : bytes - 1] != value)
            return false;
    return true;
}

static bool create(void)
{
    int ret = tide_region_create(&region, source, size, TIDE_REGION_REPLACE, &error);
    if (ret != 0)
        printf("# %d: %s\n", ret, error.text);
    MUST(ret == 0);
    MUST(tide_region_info(region, &info) == 0);
    MUST(size == 0 || info.size == size);
    MUST(info.free_bytes == info.capacity && info.capacity >= info.size - info.size / 2);
    MUST((uintptr_t)info.base % info.align == 0);
    printf("# %s: %llu bytes, aligned to %llu, %s%s\n", info.source, (unsigned long long)info.size,
           (unsigned long long)info.align, info.shared ? "shared" : "private",
           info.sync ? ", MAP_SYNC" : "");
    return true;
}

static bool segments(void)
{
    struct tide_region_segment segment;
    uint64_t one, two;
    char *base = info.base;
    MUST(tide_region_take(region, 2, 11, &one) == 0 && tide_region_take(region, 1, 12, &two) == 0);
    stamp(base + one, 2 * SEGMENT, 'a');
    stamp(base + two, SEGMENT, 'b');
    MUST(is_stamped(base + one, 2 * SEGMENT, 'a') && is_stamped(base + two, SEGMENT, 'b'));
    MUST(tide_region_segment(region, one / SEGMENT, &segment) == 0);
    MUST(segment.state == TIDE_REGION_LENT && segment.tag == 11 && segment.length == 2);
    MUST(tide_region_give(region, one) == 0 && tide_region_give(region, two) == 0);
    MUST(tide_region_give(region, two) == -EINVAL);
    MUST(tide_region_info(region, &info) == 0 && info.free_bytes == info.capacity);
    return true;
}

static bool is_in(const void *p, size_t bytes)
{
    const char *at = p, *base = info.base;
    return at >= base + SEGMENT && at + bytes <= base + info.size;
}

static bool heap(void)
{
    char *block[BLOCKS];
    tide_heap_t *heap = tide_heap_create_on(region);
    MUST(heap != NULL && tide_region_close(region) == -EBUSY);
    for (int i = 0; i < BLOCKS; i++) {
        block[i] = tide_heap_malloc(heap, BLOCK);
        MUST(block[i] != NULL && is_in(block[i], BLOCK));
        MUST(tide_tier_of(block[i]) == TIDE_TIER_MID);
        memset(block[i], i, BLOCK);
    }
    char *run = tide_heap_malloc(heap, RUN);
    MUST(run != NULL && is_in(run, RUN) && tide_malloc_usable_size(run) >= RUN);
    stamp(run, RUN, 'r');
    for (int i = 0; i < BLOCKS; i++)
        MUST(block[i][0] == i && block[i][BLOCK - 1] == i);
    block[7] = tide_realloc(block[7], 2 * BLOCK);
    MUST(block[7] != NULL && is_in(block[7], 2 * BLOCK) && block[7][BLOCK - 1] == 7);
    MUST(is_stamped(run, RUN, 'r'));
    for (int i = 0; i < BLOCKS; i++)
        tide_free(block[i]);
    tide_free(run);
    tide_heap_destroy(heap);
    MUST(tide_region_info(region, &info) == 0 && info.free_bytes == info.capacity);
    return true;
}

/* Large blocks, whose memory nobody touches, until there is no more: then NULL. */
static bool full(void)
{
    uint64_t count = 0;
    tide_heap_t *heap = tide_heap_create_on(region);
    errno = 0;
    for (void *p; (p = tide_heap_malloc(heap, 200000)) != NULL; count++)
        MUST(is_in(p, 200000));
    MUST(errno == ENOMEM && count == info.capacity / SEGMENT * 2);
    MUST(tide_heap_malloc(heap, BLOCK) == NULL && tide_heap_malloc(heap, RUN) == NULL);
    tide_heap_destroy(heap);
    MUST(tide_region_info(region, &info) == 0 && info.free_bytes == info.capacity);
    return true;
}

static bool child_ended_well(pid_t child)
{
    int status = -1;
    MUST(waitpid(child, &status, 0) == child && status == 0);
    return true;
}

/* The memory is shared or copied; the handle is the parent's. */
static bool forked(void)
{
    uint64_t offset, mine;
    MUST(tide_region_take(region, 1, 1, &offset) == 0);
    volatile char *at = (char *)info.base + offset;
    at[0] = 'p';
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        int wanted = info.shared ? -ESTALE : 0;
        bool good = at[0] == 'p' && tide_region_take(region, 1, 2, &mine) == wanted &&
                    tide_region_give(region, offset) == wanted;
        at[0] = 'c';
        _exit(!good || tide_region_close(region) != 0);
    }
    MUST(child_ended_well(child));
    MUST(at[0] == (info.shared ? 'c' : 'p'));
    MUST(tide_region_give(region, offset) == 0);
    return true;
}

/* Another process opens it, takes a segment and writes; this one sees both. */
static bool attached(void)
{
    char text[300];
    struct tide_region_segment segment;
    if (!info.shared)
        return true;
    if (can_reopen())
        snprintf(text, sizeof text, "%s", source);
    else
        snprintf(text, sizeof text, "file:/proc/%d/fd/%d", getpid(), info.fd);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        tide_region_t *own = NULL;
        uint64_t offset;
        bool good = tide_region_open(&own, text, 0, &error) == 0 &&
                    tide_region_take(own, 1, 4711, &offset) == 0;
        if (good)
            strcpy((char *)tide_region_base(own) + offset, "hello");
        _exit(!good || tide_region_close(own) != 0);
    }
    MUST(child_ended_well(child));
    for (uint64_t i = 0; tide_region_segment(region, i, &segment) == 0; i++) {
        if (segment.state != TIDE_REGION_LENT)
            continue;
        MUST(segment.tag == 4711 && strcmp((char *)info.base + i * SEGMENT, "hello") == 0);
        return tide_region_give(region, i * SEGMENT) == 0;
    }
    MUST(!"the other process's segment");
    return false;
}

static bool again(void)
{
    uint64_t offset;
    tide_region_t *other;
    if (!can_reopen()) {
        MUST(tide_region_close(region) == 0);
        return true;
    }
    MUST(tide_region_create(&other, source, 0, 0, &error) == -EBUSY);
    MUST(tide_region_take(region, 3, 99, &offset) == 0);
    strcpy((char *)info.base + offset + SEGMENT, "kept");
    strcpy(tide_region_area(region, TIDE_REGION_AREA_USER), "kept, too");
    MUST(tide_region_close(region) == 0);
    MUST(tide_region_create(&other, source, 0, 0, &error) == -EEXIST);
    MUST(tide_region_open(&region, source, info.size + SEGMENT, &error) == -EPROTO);
    int ret = tide_region_open(&region, source, info.size, &error);
    if (ret != 0)
        printf("# %d: %s\n", ret, error.text);
    MUST(ret == 0 && tide_region_info(region, &info) == 0);
    MUST(info.lent_bytes == 3 * SEGMENT && info.fresh == 0);
    MUST(strcmp((char *)info.base + offset + SEGMENT, "kept") == 0);
    MUST(strcmp(tide_region_area(region, TIDE_REGION_AREA_USER), "kept, too") == 0);
    MUST(tide_region_give(region, offset) == 0 && tide_region_reclaim(region) == 0);
    MUST(tide_region_close(region) == 0);
    return true;
}

/* --- malloc itself --------------------------------------------------------------------- */

static int mid(long count, size_t bytes)
{
    long got = 0, in_mid = 0;
    char **block = calloc((size_t)count, sizeof *block);
    while (got < count && (block[got] = malloc(bytes)) != NULL) {
        memset(block[got], (int)got, bytes);
        in_mid += tide_tier_of(block[got]) == TIDE_TIER_MID;
        got++;
    }
    for (long i = 0; i < got; i++) {
        for (size_t at = 0; at < bytes; at += 61) {
            if (block[i][at] == (char)i)
                continue;
            printf("block %ld was written over\n", i);
            return 1;
        }
    }
    for (long i = 0; i < got; i++)
        free(block[i]);
    printf("blocks %ld mid %ld\n", got, in_mid);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct step {
        const char *name;
        bool (*run)(void);
    } steps[] = {{"is made", create},
                 {"lends segments", segments},
                 {"has a heap", heap},
                 {"is full", full},
                 {"is forked with", forked},
                 {"is opened by another process", attached},
                 {"is closed and opened again", again}};
    if (argc < 2 || tide_region_create == NULL) {
        fprintf(stderr, "usage: prog_region SOURCE [BYTES], with the library preloaded\n");
        return 2;
    }
    if (strcmp(argv[1], "mid") == 0)
        return argc == 4 ? mid(atol(argv[2]), strtoul(argv[3], NULL, 10)) : 2;
    source = argv[1];
    size = argc > 2 ? strtoul(argv[2], NULL, 10) : is_device() ? 0 : 8 << 20;
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        bool good = steps[i].run();
        printf("%sok - %s: %s\n", good ? "" : "not ", source, steps[i].name);
        if (!good)
            return 1;
    }
    return 0;
}
