/*
 * prog_pitfall_idle.c - what an idle thread freed goes back to the system.
 *
 * prog_pitfall_idle LOW HIGH [remote|sparse]
 * A thread fills 156 MB of blocks of LOW..HIGH bytes, frees them all and
 * sleeps; with `remote` it sleeps and another thread frees them. Two seconds
 * later, without a further call, at most a tenth of the peak is resident. With
 * `sparse` every eighth block stays in use; then at most a quarter more than those.
 */
#define _GNU_SOURCE 1
#include "pitfall.h"

enum { BYTES = 156000000, BLOCKS = 1000000 };

static void *blocks[BLOCKS];
static size_t count, low, high;
static bool remote, sparse;
static pthread_barrier_t barrier;

static void free_all(void)
{
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
    uint64_t state = 1;
    for (size_t sum = 0; sum < BYTES && count < BLOCKS; count++) {
        size_t size = low + next_random(&state) % (high - low + 1);
        blocks[count] = malloc(size);
        memset(blocks[count], 1, size);
        sum += size;
    }
    pthread_barrier_wait(&barrier); /* all is there */
    pthread_barrier_wait(&barrier); /* its size was taken */
    if (!remote)
        free_all();
    pthread_barrier_wait(&barrier); /* freed */
    pthread_barrier_wait(&barrier); /* the end */
    return arg;
}

int main(int argc, char **argv)
{
    if (argc < 3)
        die("arguments");
    low = strtoul(argv[1], NULL, 0);
    high = strtoul(argv[2], NULL, 0);
    remote = argc > 3 && strcmp(argv[3], "remote") == 0;
    sparse = argc > 3 && strcmp(argv[3], "sparse") == 0;
    memset(blocks, 1, sizeof blocks); /* not malloc's: leave it out of the peak */
    size_t before = resident();
    pthread_barrier_init(&barrier, NULL, 2);
    pthread_t thread = start(owner, NULL);
    pthread_barrier_wait(&barrier);
    size_t peak = resident() - before;
    pthread_barrier_wait(&barrier);
    if (remote)
        free_all();
    pthread_barrier_wait(&barrier);
    sleep(2);
    size_t rest = resident() - before, most = sparse ? peak / 8 + peak / 4 : peak / 10;
    if (rest > most && resident() > before)
        die("%zu of %zu KiB are still resident", rest / KIB, peak / KIB);
    pthread_barrier_wait(&barrier);
    pthread_join(thread, NULL);
    return 0;
}
