/*
 * prog_pitfall_idle.c - what an idle thread freed goes back to the system.
 *
 * prog_pitfall_idle LOW HIGH [remote|sparse|threads]
 * A thread fills 156 MB of blocks of LOW..HIGH bytes, frees them all and
 * sleeps; with `remote` it sleeps and another thread frees them, with `threads` four
 * have a quarter each. Two seconds later, without a further call, at most a tenth of
 * the peak is resident. With `sparse` every eighth block stays in use; then at most a
 * quarter more than those.
 */
#define _GNU_SOURCE 1
#include "pitfall.h"

enum { BYTES = 156000000, BLOCKS = 1000000 };

static void *all[BLOCKS];
static size_t low, high;
static unsigned threads = 1;
static bool remote, sparse;
static pthread_barrier_t barrier;

struct share {
    void **blocks;
    size_t count;
    uint64_t seed;
};
static struct share shares[4];

static void free_all(const struct share *share)
{
    void **blocks = share->blocks;
    size_t count = share->count;
    /* in an order that no allocator likes: by a stride over all of them */
    for (size_t first = 0; first < 64; first++) {
        for (size_t i = first; i < count; i += 64) {
            if (!sparse || i % 8)
                free(blocks[i]);
        }
    }
}

static void *owner(void *arg)
{
    struct share *share = arg;
    size_t most = BLOCKS / threads;
    for (size_t sum = 0; sum < BYTES / threads && share->count < most; share->count++) {
        size_t size = low + next_random(&share->seed) % (high - low + 1);
        share->blocks[share->count] = malloc(size);
        memset(share->blocks[share->count], 1, size);
        sum += size;
    }
    pthread_barrier_wait(&barrier); /* all is there */
    pthread_barrier_wait(&barrier); /* its size was taken */
    if (!remote)
        free_all(share);
    pthread_barrier_wait(&barrier); /* freed */
    pthread_barrier_wait(&barrier); /* the end */
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t thread[4];
    if (argc < 3)
        die("arguments");
    low = strtoul(argv[1], NULL, 0);
    high = strtoul(argv[2], NULL, 0);
    remote = argc > 3 && strcmp(argv[3], "remote") == 0;
    sparse = argc > 3 && strcmp(argv[3], "sparse") == 0;
    threads = argc > 3 && strcmp(argv[3], "threads") == 0 ? 4 : 1;
    memset(all, 1, sizeof all); /* not malloc's: leave it out of the peak */
    size_t before = resident();
    pthread_barrier_init(&barrier, NULL, threads + 1);
    for (unsigned i = 0; i < threads; i++) {
        shares[i] = (struct share){all + i * (BLOCKS / threads), 0, i + 1};
        thread[i] = start(owner, &shares[i]);
    }
    pthread_barrier_wait(&barrier);
    size_t peak = resident() - before;
    pthread_barrier_wait(&barrier);
    if (remote)
        free_all(&shares[0]);
    pthread_barrier_wait(&barrier);
    sleep(2);
    size_t rest = resident() - before, most = sparse ? peak / 8 + peak / 4 : peak / 10;
    if (rest > most && resident() > before)
        die("%zu of %zu KiB are still resident", rest / KIB, peak / KIB);
    pthread_barrier_wait(&barrier);
    for (unsigned i = 0; i < threads; i++)
        pthread_join(thread[i], NULL);
    return 0;
}
