/*
 * prog_written.c - two threads on the fast paths, one after the other, with marks around
 * what each does: somebody who records all stores sees which lines each of them writes.
 *
 * prog_written fast      blocks of Tiny and Mid, each freed before the next one is taken
 * prog_written batches   so many blocks at once that magazines are filled and spilled
 * prog_written shared    as fast, with a counter that both threads write: must be seen
 *
 * Prints the address of the marks and the number of operations of a thread. The marks are
 * words 64 bytes apart: thread 0 begins, ends, thread 1 begins, ends.
 */
#define _GNU_SOURCE 1
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 2, ROUNDS = 20, BATCHES = 4, BLOCKS = 600 };

static const size_t sizes[] = {1, 16, 64, 200, 1000, 2047, 2048, 4096, 9000, 16384, 32768};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

static _Alignas(4096) volatile unsigned long marks[4 * 8];
static _Alignas(4096) _Atomic unsigned long counter;
static _Alignas(4096) sem_t turn[THREADS], done;
static int batches, shared;

/* A volatile pointer keeps the compiler from leaving the calls out. */
static void *volatile seen;

static void pairs(void)
{
    for (size_t i = 0; i < SIZES; i++) {
        void *p = malloc(sizes[i]);
        void **volatile at = &p;
        free(*at);
        if (shared)
            counter++;
    }
}

/* One block stays in use, so that its page does not come and go. */
static void many(void **blocks, size_t size)
{
    for (int i = 0; i < BLOCKS; i++)
        blocks[i] = malloc(size);
    for (int i = 1; i < BLOCKS; i++)
        free(blocks[i]);
}

static void work(void **blocks)
{
    for (int round = 0; round < ROUNDS && !batches; round++)
        pairs();
    for (int round = 0; round < BATCHES && batches; round++)
        many(blocks, round % 2 ? 64 : 2048);
}

static void *run(void *arg)
{
    static void *blocks[THREADS][BLOCKS + 64];
    size_t me = (size_t)arg;
    sem_wait(&turn[me]);
    work(blocks[me]); /* magazines have blocks and room after that */
    sem_post(&done);
    sem_wait(&turn[me]);
    marks[16 * me] = 1;
    work(blocks[me]);
    marks[16 * me + 8] = 1;
    sem_post(&done);
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t thread[THREADS];
    if (argc != 2)
        return 2;
    batches = strcmp(argv[1], "batches") == 0;
    shared = strcmp(argv[1], "shared") == 0;
    printf("%lx %d\n", (unsigned long)marks, batches ? BATCHES * BLOCKS : ROUNDS * (int)SIZES);
    fflush(stdout);
    sem_init(&done, 0, 0);
    for (size_t i = 0; i < THREADS; i++) {
        sem_init(&turn[i], 0, 0);
        pthread_create(&thread[i], NULL, run, (void *)i);
    }
    for (size_t i = 0; i < 2 * THREADS; i++) {
        sem_post(&turn[i % THREADS]);
        sem_wait(&done);
    }
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    seen = NULL;
    return 0;
}
