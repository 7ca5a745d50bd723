/*
 * prog_pitfall_commit.c - what the kernel is asked for, and how.
 *
 * prog_pitfall_commit charge   with overcommit_memory=2 the kernel charges all private
 *                              writable memory, used or not: there must not be much
 *                              more of it than is in use
 * prog_pitfall_commit huge     no memory is advised to be in huge pages, and where it is
 *                              (here by this program, elsewhere by "always"), what is
 *                              freed goes back to the system all the same
 */
#define _GNU_SOURCE 1
#include "pitfall.h"

#include <sys/mman.h>

enum { BLOCKS = 200000, BYTES = 64 * MIB, SPARE = 48 * MIB, HUGE_PAGE = 2 * MIB };

static void *blocks[BLOCKS];
static size_t sizes[BLOCKS], count;

/* Calls visit with the bounds of each mapping whose mode has `letter` at `at`. */
static void each_mapping(int at, char letter, void (*visit)(uintptr_t from, uintptr_t to))
{
    static char line[512], mode[8];
    uintptr_t from, to;
    FILE *maps = fopen("/proc/self/maps", "r");
    if (!maps)
        die("/proc/self/maps cannot be read");
    while (fgets(line, sizeof line, maps)) {
        if (sscanf(line, "%zx-%zx %7s", &from, &to, mode) == 3 && mode[at] == letter &&
            mode[3] == 'p')
            visit(from, to);
    }
    fclose(maps);
}

static size_t writable_bytes;

static void count_writable(uintptr_t from, uintptr_t to)
{
    writable_bytes += to - from;
}

static size_t writable(void)
{
    writable_bytes = 0;
    each_mapping(1, 'w', count_writable);
    return writable_bytes;
}

static void make(size_t low, size_t high, size_t bytes)
{
    uint64_t state = 5;
    count = 0;
    for (size_t sum = 0; sum < bytes && count < BLOCKS; sum += sizes[count++]) {
        sizes[count] = low + next_random(&state) % (high - low + 1);
        blocks[count] = malloc(sizes[count]);
        memset(blocks[count], 1, sizes[count]);
    }
}

static void drop(void)
{
    while (count > 0)
        free(blocks[--count]);
}

static void charge(void)
{
    free(get_marked(100));
    free(get_marked(5000));
    free(get_marked(100000));
    size_t first = writable();
    if (first > SPARE)
        die("%zu MiB are writable at the start", first / MIB);
    make(16, 60000, BYTES);
    size_t full = writable();
    if (full > first + BYTES + SPARE)
        die("%zu MiB are writable for %d MiB in use", (full - first) / MIB, BYTES / MIB);
    drop();
}

static void must_not_be_advised(void)
{
    static char line[512];
    FILE *maps = fopen("/proc/self/smaps", "r");
    if (!maps)
        give_up("/proc/self/smaps cannot be read");
    while (fgets(line, sizeof line, maps)) {
        if (strncmp(line, "VmFlags:", 8) == 0 && strstr(line, " hg"))
            die("a mapping is advised to be in huge pages");
    }
    fclose(maps);
}

static void advise(uintptr_t from, uintptr_t to)
{
    if (to - from >= HUGE_PAGE)
        madvise((void *)from, to - from, MADV_HUGEPAGE);
}

/* The reserved parts too: they keep the advice when they come into use. */
static void huge(void)
{
    static const size_t ranges[][2] = {{16, 2000}, {2048, 32768}, {33000, 500000}};
    for (size_t i = 0; i < 3; i++) {
        free(get_marked(ranges[i][0]));
        free(get_marked(ranges[i][1]));
    }
    must_not_be_advised();
    each_mapping(0, '-', advise);
    each_mapping(1, 'w', advise);
    for (size_t i = 0; i < 3; i++) {
        size_t before = resident();
        make(ranges[i][0], ranges[i][1], 2 * BYTES);
        drop();
        size_t after = resident();
        if (after > before + BYTES / 2)
            die("%zu..%zu bytes: %zu MiB stay resident", ranges[i][0], ranges[i][1],
                (after - before) / MIB);
    }
}

int main(int argc, char **argv)
{
    memset(blocks, 0, sizeof blocks);
    memset(sizes, 0, sizeof sizes);
    if (argc > 1 && strcmp(argv[1], "huge") == 0)
        huge();
    else
        charge();
    return 0;
}
