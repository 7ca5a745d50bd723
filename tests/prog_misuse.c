/*
 * prog_misuse.c - frees what it must not: freed blocks, interior and foreign
 * pointers. One case per run, see misuse.h; misuse.sh knows how each must end.
 */
#define _GNU_SOURCE 1
#include "misuse.h"

#include <tidepool/stats.h>

#pragma weak tide_stats

/* ---- double frees ---- */

static void *thread_free(void *ptr)
{
    do_free(ptr);
    return NULL;
}

static void *thread_get(void *unused)
{
    (void)unused;
    return get(size);
}

/* The freed block is the next one that malloc would hand out. */
static void double_now(void)
{
    void *ptr = get_announced(0);
    do_free(ptr);
    do_free(ptr);
    go_on(NULL);
}

/* After a few operations on other sizes. */
static void double_later(void)
{
    void *ptr = get_announced(0);
    do_free(ptr);
    for (size_t i = 1; i < 20; i++)
        do_free(get(i * 1500));
    do_free(ptr);
    go_on(NULL);
}

/* The block goes through many hands of its own class, and is free in the end. */
static void double_300_same(void)
{
    void *ptr = get_announced(0);
    do_free(ptr);
    for (int i = 0; i < 300; i++)
        do_free(get(size));
    do_free(ptr);
    go_on(NULL);
}

static void double_300_other(void)
{
    void *ptr = get_announced(0);
    do_free(ptr);
    for (size_t i = 0; i < 300; i++)
        do_free(get(i * 331 % 32000));
    do_free(ptr);
    go_on(NULL);
}

/* 300 later frees of the same class push the block out of every cache. */
static void double_flushed(void)
{
    void *others[300], *ptr = get_announced(0);
    for (int i = 0; i < 300; i++)
        others[i] = get(size);
    do_free(ptr);
    for (int i = 0; i < 300; i++)
        do_free(others[i]);
    do_free(ptr);
    go_on(NULL);
}

/* The page may be gone to the system when the second free comes. */
static void double_trimmed(void)
{
    void *ptr = get_announced(0);
    do_free(ptr);
    malloc_trim(0);
    do_free(ptr);
    go_on(NULL);
}

/* Aligned blocks have no header: other bookkeeping must know. */
static void double_aligned(void)
{
    unsigned char *ptr = aligned_alloc(256, size);
    announce(ptr, do_usable(ptr));
    do_free(ptr);
    do_free(ptr);
    go_on(NULL);
}

/* The old block of a realloc that moved. */
static void double_moved(void)
{
    unsigned char *old = get_announced(0), *ptr = do_realloc(old, size * 3);
    if (ptr == old)
        stop(EXIT_SKIP, "realloc grew in place");
    do_free(old);
    go_on(ptr);
}

/* The owner freed it, then a thread that has no heap yet does. */
static void double_by_thread(void)
{
    void *ptr = get_announced(0);
    do_free(ptr);
    in_thread(thread_free, ptr);
    go_on(NULL);
}

/* The first free may still wait in the other thread's batch or the inbox. */
static void double_remote_own(void)
{
    void *ptr = get_announced(0);
    in_thread(thread_free, ptr);
    do_free(ptr);
    go_on(NULL);
}

/* Both are in batches; the owner meets them when it drains. */
static void double_remote_two(void)
{
    void *ptr = get_announced(0);
    in_thread(thread_free, ptr);
    in_thread(thread_free, ptr);
    go_on(NULL);
}

static void *thread_free_twice(void *ptr)
{
    do_free(ptr);
    do_free(ptr);
    return NULL;
}

/* The same batch holds the block twice. */
static void double_remote_same(void)
{
    void *ptr = get_announced(0);
    in_thread(thread_free_twice, ptr);
    go_on(NULL);
}

enum { RACERS = 64 };

static pthread_barrier_t barrier;
static void *raced[RACERS];

static void *thread_race(void *unused)
{
    for (int i = 0; i < RACERS; i++) {
        pthread_barrier_wait(&barrier);
        do_free(raced[i]);
    }
    return unused;
}

/* Two threads free the same blocks at the same time. */
static void double_remote_race(void)
{
    pthread_t one, two;
    pthread_barrier_init(&barrier, NULL, 2);
    for (int i = 0; i < RACERS; i++)
        raced[i] = get(size);
    announce(raced[0], do_usable(raced[0]));
    for (int i = 0; i < RACERS; i++)
        printf("raced %#zx\n", (size_t)raced[i]);
    fflush(stdout);
    if (pthread_create(&one, NULL, thread_race, NULL) ||
        pthread_create(&two, NULL, thread_race, NULL))
        stop(EXIT_SKIP, "no thread");
    pthread_join(one, NULL);
    pthread_join(two, NULL);
    go_on(NULL);
}

/* A block of a thread that is gone. */
static void double_of_dead(void)
{
    void *ptr = in_thread(thread_get, NULL);
    announce(ptr, do_usable(ptr));
    do_free(ptr);
    do_free(ptr);
    go_on(NULL);
}

/* Again in a forked child; ends as the child did. */
static void free_in_child(void *ptr)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        do_free(ptr);
        go_on(NULL);
        exit(0);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        stop(EXIT_SKIP, "no child");
    go_on(NULL);
    exit(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
}

/* The child has a copy of the heap with the block free in it. */
static void double_in_child(void)
{
    void *ptr = get_announced(0);
    do_free(ptr);
    free_in_child(ptr);
}

/* The freeing thread does not exist in the child. */
static void double_remote_child(void)
{
    void *ptr = get_announced(0);
    in_thread(thread_free, ptr);
    free_in_child(ptr);
}

/* A realloc of a freed block must not move its content anywhere. */
static void realloc_freed(void)
{
    void *ptr = get_announced(0);
    do_free(ptr);
    go_on(do_realloc(ptr, size + 100));
}

static void usable_freed(void)
{
    void *ptr = get_announced(0);
    do_free(ptr);
    printf("usable %zu\n", do_usable(ptr));
    go_on(NULL);
}

/* ---- interior pointers ---- */

static void interior(ptrdiff_t offset)
{
    unsigned char *ptr = get_announced(offset);
    do_free(ptr + offset);
    go_on(ptr);
}

static void interior_16(void)
{
    interior(16);
}

/* No block starts at an odd address. */
static void interior_1(void)
{
    interior(1);
}

/* The middle may be what a start of another class would look like. */
static void interior_half(void)
{
    interior((ptrdiff_t)(size / 2));
}

/* In front of a block that is neither the first nor the last of its kind. */
static void before_16(void)
{
    unsigned char *blocks[3] = {get(size), get(size), get(size)};
    qsort(blocks, 3, sizeof *blocks, by_address);
    announce(blocks[1] - 16, do_usable(blocks[1]));
    do_free(blocks[1] - 16);
    go_on(blocks[1]);
}

static void realloc_32(void)
{
    unsigned char *ptr = get_announced(32);
    void *moved = do_realloc(ptr + 32, size + 100);
    if (moved)
        stop(EXIT_UNSOUND, "realloc of an interior pointer gave a block");
    go_on(ptr);
}

/* Only asking is misuse as well. */
static void usable_16(void)
{
    unsigned char *ptr = get_announced(16);
    printf("usable %zu\n", do_usable(ptr + 16));
    go_on(ptr);
}

/* A start for a smaller alignment. */
static void aligned_64(void)
{
    unsigned char *ptr = aligned_alloc(256, size);
    announce(ptr + 64, do_usable(ptr));
    do_free(ptr + 64);
    go_on(ptr);
}

/* ---- foreign pointers ---- */

static char static_data[256];

/* How many foreign pointers the library let go: misuse.sh knows how many it should. */
static void tell_leaks(void)
{
    struct tide_stats stats;
    if (tide_stats && tide_stats(&stats) == 0)
        printf("leaks %llu\n", (unsigned long long)stats.foreign_leaks);
}

static void foreign(void *ptr)
{
    void *mine = get(size);
    announce(ptr, 0);
    do_free(ptr);
    tell_leaks();
    do_free(mine);
    go_on(NULL);
}

static void foreign_stack(void)
{
    _Alignas(32) char here[256];
    foreign(here + 32);
}

static void foreign_static(void)
{
    foreign(static_data + 64);
}

static void foreign_code(void)
{
    foreign((void *)(uintptr_t)foreign_code);
}

/* Mapped, readable and aligned like a block, but not ours. */
static void foreign_mapping(void)
{
    foreign(decoy + 4096 + 16);
}

static void foreign_low(void)
{
    foreign((void *)0x1000);
}

/* Not canonical: touching it would fault in another way than a hole does. */
static void foreign_wild(void)
{
    foreign((void *)0xdead000000001010);
}

/* Canonical, but never readable from here. */
static void foreign_kernel(void)
{
    foreign((void *)0xffffffff81000010);
}

/* p + size wraps around. */
static void foreign_last(void)
{
    foreign((void *)(uintptr_t)-16);
}

static void foreign_realloc(void)
{
    announce(static_data + 32, 0);
    go_on(do_realloc(static_data + 32, size));
}

static void foreign_usable(void)
{
    announce(static_data + 32, 0);
    printf("usable %zu\n", do_usable(static_data + 32));
    go_on(NULL);
}

/* The brk heap may hold blocks of a malloc that was there before ours. */
static void foreign_brk(void)
{
    char *heap = sbrk(1 << 16);
    if (heap == (void *)-1)
        stop(EXIT_SKIP, "no brk");
    foreign(heap + 1024);
}

/* So may the writable memory of the loader. */
static void foreign_loader(void)
{
    char line[512], mode[8];
    uintptr_t from, to, found = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (maps && fgets(line, sizeof line, maps)) {
        if (sscanf(line, "%zx-%zx %7s", &from, &to, mode) == 3 && strstr(line, "/ld-linux") &&
            mode[1] == 'w')
            found = to;
    }
    if (maps)
        fclose(maps);
    if (!found)
        stop(EXIT_SKIP, "there is no loader");
    foreign((void *)(found - 256));
}

/* The first address behind the mapped memory around ptr that is not readable:
 * reserved by the library, or not mapped at all. */
static uintptr_t hole_behind(const void *ptr)
{
    static char line[512];
    FILE *maps = fopen("/proc/self/maps", "r");
    uintptr_t from, to, hole = 0;
    char mode[8];
    while (maps && fgets(line, sizeof line, maps)) {
        if (sscanf(line, "%zx-%zx %7s", &from, &to, mode) != 3)
            continue;
        if ((!hole && from <= (uintptr_t)ptr && (uintptr_t)ptr < to) ||
            (hole == from && mode[0] == 'r'))
            hole = to;
        else if (hole == from)
            hole += (to - from) / 2 & ~(uintptr_t)4095;
    }
    if (maps)
        fclose(maps);
    return hole;
}

/* Reserved for the tier, not yet in use: no header may be read there. */
static void hole(void)
{
    foreign((void *)(hole_behind(get(size)) + HEADER));
}

static void hole_far(void)
{
    foreign((void *)(hole_behind(get(size)) + ((size_t)1 << 29) + HEADER));
}

#define CASE(name)                                                                                 \
    {                                                                                              \
#name, name                                                                                \
    }

static const struct misuse cases[] = {CASE(double_now),
                                      CASE(double_later),
                                      CASE(double_300_same),
                                      CASE(double_300_other),
                                      CASE(double_flushed),
                                      CASE(double_trimmed),
                                      CASE(double_aligned),
                                      CASE(double_moved),
                                      CASE(double_by_thread),
                                      CASE(double_remote_own),
                                      CASE(double_remote_two),
                                      CASE(double_remote_same),
                                      CASE(double_remote_race),
                                      CASE(double_of_dead),
                                      CASE(double_in_child),
                                      CASE(double_remote_child),
                                      CASE(realloc_freed),
                                      CASE(usable_freed),
                                      CASE(interior_16),
                                      CASE(interior_1),
                                      CASE(interior_half),
                                      CASE(before_16),
                                      CASE(realloc_32),
                                      CASE(usable_16),
                                      CASE(aligned_64),
                                      CASE(foreign_stack),
                                      CASE(foreign_static),
                                      CASE(foreign_code),
                                      CASE(foreign_mapping),
                                      CASE(foreign_low),
                                      CASE(foreign_wild),
                                      CASE(foreign_kernel),
                                      CASE(foreign_last),
                                      CASE(foreign_realloc),
                                      CASE(foreign_usable),
                                      CASE(foreign_brk),
                                      CASE(foreign_loader),
                                      CASE(hole),
                                      CASE(hole_far)};

int main(int argc, char **argv)
{
    return run_case(cases, sizeof cases / sizeof *cases, argc, argv);
}
