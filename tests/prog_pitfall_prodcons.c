/*
 * prog_pitfall_prodcons.c - one thread only allocates, another only frees.
 *
 * prog_pitfall_prodcons [BLOCKS]   memory must not grow while they do so, with
 * the consumer being a thread that never allocates itself.
 */
#define _GNU_SOURCE 1
#include "pitfall.h"

enum { RING = 1024, WARM_PART = 5 };

struct cell {
    void *block;
    size_t size;
};

static struct cell ring[RING];
static _Atomic uint64_t made, freed;
static uint64_t blocks = 2000000;

static void *consumer(void *arg)
{
    for (uint64_t i = 0; i < blocks; i++) {
        while (i == atomic_load_explicit(&made, memory_order_acquire))
            sched_yield();
        free_marked(ring[i % RING].block, ring[i % RING].size);
        atomic_store_explicit(&freed, i + 1, memory_order_release);
    }
    return arg;
}

int main(int argc, char **argv)
{
    uint64_t state = 1;
    size_t warm = 0, most = 0;
    if (argc > 1)
        blocks = strtoull(argv[1], NULL, 0);
    pthread_t thread = start(consumer, NULL);
    for (uint64_t i = 0; i < blocks; i++) {
        while (i - atomic_load_explicit(&freed, memory_order_acquire) >= RING)
            sched_yield();
        ring[i % RING].size = mixed_size(&state) % 32768 + 16;
        ring[i % RING].block = get_marked(ring[i % RING].size);
        atomic_store_explicit(&made, i + 1, memory_order_release);
        size_t now = i % 4096 == 0 ? resident() : 0;
        most = now > most ? now : most;
        if (i == blocks / WARM_PART)
            warm = most;
    }
    pthread_join(thread, NULL);
    if (most > warm + warm / 4 + 8 * MIB)
        die("memory grew from %zu to %zu KiB", warm / KIB, most / KIB);
    return 0;
}
