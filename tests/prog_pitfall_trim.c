/*
 * prog_pitfall_trim.c - malloc_trim gives back what is free: in partly used
 * pages, in other threads' heaps, in frees that a sleeping thread never saw.
 */
#define _GNU_SOURCE 1
#include "pitfall.h"

enum { BYTES = 64 * MIB, BLOCKS = 400000, PART = 64, SLEEPERS = 24, EACH = 100, EACH_SIZE = 8000 };

static void *blocks[BLOCKS];
static size_t sizes[BLOCKS], count;
static pthread_barrier_t barrier;

static void make(size_t low, size_t high)
{
    uint64_t state = 1;
    count = 0;
    for (size_t sum = 0; sum < BYTES && count < BLOCKS; sum += sizes[count++]) {
        sizes[count] = low + next_random(&state) % (high - low + 1);
        blocks[count] = malloc(sizes[count]);
        memset(blocks[count], 1, sizes[count]);
        mark(blocks[count], sizes[count]);
    }
}

/* Frees all but runs of PART blocks in 8 * PART. */
static void free_most(void)
{
    for (size_t i = 0; i < count; i++) {
        if (i / PART % 8) {
            free_marked(blocks[i], sizes[i]);
            blocks[i] = NULL;
        }
    }
}

static void free_rest(void)
{
    for (size_t i = 0; i < count; i++) {
        if (blocks[i])
            free_marked(blocks[i], sizes[i]);
    }
}

static void must_shrink(const char *what, size_t before, size_t live)
{
    size_t now = resident();
    if (now > before + live + 8 * MIB)
        die("%s: %zu KiB more than before are resident, %zu KiB are live", what,
            (now - before) / KIB, live / KIB);
}

static void round_of(const char *what, size_t low, size_t high)
{
    malloc_trim(0);
    size_t before = resident();
    make(low, high);
    free_most();
    malloc_trim(0);
    must_shrink(what, before, BYTES / 8 + BYTES / 16);
    free_rest();
    malloc_trim(0);
    must_shrink(what, before, 0);
}

static void *sleeper(void *arg)
{
    make(1000, 20000);
    pthread_barrier_wait(&barrier); /* made */
    pthread_barrier_wait(&barrier); /* freed by the other, trimmed, measured */
    return arg;
}

/* Takes its EACH blocks, which the main thread frees: too few to be noticed by then. */
static void *small_sleeper(void *arg)
{
    void **own = arg;
    for (int i = 0; i < EACH; i++) {
        own[i] = malloc(EACH_SIZE);
        memset(own[i], 1, EACH_SIZE);
    }
    pthread_barrier_wait(&barrier); /* made */
    pthread_barrier_wait(&barrier); /* as above */
    return NULL;
}

static void many_sleepers(void)
{
    pthread_t threads[SLEEPERS];
    pthread_barrier_init(&barrier, NULL, SLEEPERS + 1);
    malloc_trim(0);
    size_t before = resident();
    for (int i = 0; i < SLEEPERS; i++)
        threads[i] = start(small_sleeper, blocks + (ptrdiff_t)i * EACH);
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < SLEEPERS * EACH; i++)
        free(blocks[i]);
    malloc_trim(0);
    must_shrink("a few blocks of each of many sleeping threads", before, 0);
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < SLEEPERS; i++)
        pthread_join(threads[i], NULL);
}

int main(void)
{
    memset(blocks, 0, sizeof blocks);
    memset(sizes, 0, sizeof sizes);
    round_of("tiny", 16, 2000);
    round_of("mid", 2048, 32000);
    round_of("large", 33000, 500000);
    pthread_barrier_init(&barrier, NULL, 2);
    malloc_trim(0);
    size_t before = resident();
    pthread_t thread = start(sleeper, NULL);
    pthread_barrier_wait(&barrier);
    free_rest();
    malloc_trim(0);
    must_shrink("blocks of a sleeping thread", before, 0);
    pthread_barrier_wait(&barrier);
    pthread_join(thread, NULL);
    many_sleepers();
    return 0;
}
