/*
 * prog_pitfall_adopt.c - a child process takes over the heaps of the threads that it
 * does not have: their free blocks go back, and its own threads get these heaps.
 */
#define _GNU_SOURCE 1
#include "pitfall.h"

#include <sys/wait.h>

#include <tidepool/stats.h>

#pragma weak tide_stats

enum { THREADS = 8, BLOCKS = 60 };

static pthread_barrier_t barrier;

static void figures(struct tide_stats *stats)
{
    if (!tide_stats || tide_stats(stats))
        die("no statistics");
}

/* Leaves free blocks in the thread's caches. */
static void work(void)
{
    void *blocks[BLOCKS];
    for (size_t i = 0; i < BLOCKS; i++)
        blocks[i] = get_marked(16 + i * 500);
    for (size_t i = 0; i < BLOCKS; i++)
        free_marked(blocks[i], 16 + i * 500);
}

static void *parents_thread(void *arg)
{
    work();
    pthread_barrier_wait(&barrier); /* the caches are full */
    pthread_barrier_wait(&barrier); /* the child is done */
    return arg;
}

static void *childs_thread(void *arg)
{
    work();
    pthread_barrier_wait(&barrier); /* all are there at once */
    return arg;
}

static void child(void)
{
    struct tide_stats before, after;
    pthread_t threads[THREADS];
    malloc_trim(0);
    figures(&before);
    if (before.tiny.cached_bytes + before.mid.cached_bytes > 64 * KIB)
        die("%zu KiB wait in caches of threads that are not here",
            (size_t)(before.tiny.cached_bytes + before.mid.cached_bytes) / KIB);
    pthread_barrier_init(&barrier, NULL, THREADS);
    for (int i = 0; i < THREADS; i++)
        threads[i] = start(childs_thread, NULL);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    figures(&after);
    if (after.heaps != before.heaps)
        die("%llu heaps became %llu", (unsigned long long)before.heaps,
            (unsigned long long)after.heaps);
    _exit(0);
}

int main(void)
{
    pthread_t threads[THREADS];
    int status = -1;
    pthread_barrier_init(&barrier, NULL, THREADS + 1);
    for (int i = 0; i < THREADS; i++)
        threads[i] = start(parents_thread, NULL);
    pthread_barrier_wait(&barrier);
    pid_t pid = fork();
    if (pid == 0)
        child();
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
        die("the child ended with status %#x", (unsigned)status);
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    return 0;
}
