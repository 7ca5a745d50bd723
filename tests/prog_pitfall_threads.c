/*
 * prog_pitfall_threads.c - 20,000 short threads; blocks of each are freed by
 * others long after it is gone. Memory must not grow, and the blocks must
 * keep their content.
 */
#define _GNU_SOURCE 1
#include "pitfall.h"

enum { THREADS = 20000, WARM = 5000, AT_ONCE = 4, PER_THREAD = 12, SLOTS = 2048 };

struct cell {
    void *block;
    size_t size;
};

static struct cell cells[SLOTS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* Puts a block of its own in place of another thread's, and frees that. */
static void swap(size_t at, uint64_t *state)
{
    struct cell mine = {.size = mixed_size(state) % 20000 + 16};
    mine.block = get_marked(mine.size);
    pthread_mutex_lock(&lock);
    struct cell other = cells[at];
    cells[at] = mine;
    pthread_mutex_unlock(&lock);
    if (other.block)
        free_marked(other.block, other.size);
}

static void *thread_main(void *arg)
{
    uint64_t state = (uintptr_t)arg;
    for (int i = 0; i < PER_THREAD; i++)
        swap(next_random(&state) % SLOTS, &state);
    return NULL;
}

int main(void)
{
    size_t most = 0, warm = 0;
    for (uintptr_t i = 0; i < THREADS; i += AT_ONCE) {
        pthread_t threads[AT_ONCE];
        for (uintptr_t k = 0; k < AT_ONCE; k++)
            threads[k] = start(thread_main, (void *)(i + k));
        for (int k = 0; k < AT_ONCE; k++)
            pthread_join(threads[k], NULL);
        size_t now = i % 64 == 0 ? resident() : 0;
        most = now > most ? now : most;
        if (i == WARM)
            warm = most;
    }
    if (most > warm + warm / 4 + 8 * MIB)
        die("memory grew from %zu to %zu KiB", warm / KIB, most / KIB);
    for (int i = 0; i < SLOTS; i++) {
        if (cells[i].block)
            free_marked(cells[i].block, cells[i].size);
    }
    return 0;
}
