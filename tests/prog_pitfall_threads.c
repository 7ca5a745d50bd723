/*
 * prog_pitfall_threads.c - 24,000 short threads; blocks of each are freed by
 * others long after it is gone. Memory must not grow, and the blocks must
 * keep their content.
 */
#define _GNU_SOURCE 1
#include "pitfall.h"

enum { THREADS = 24000, WARM = 8000, PART = 4000, AT_ONCE = 4, PER_THREAD = 12, SLOTS = 2048 };

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

/* The least that was resident while threads `first` to `last` ran: what waits for its next use
 * comes and goes, what nobody gives back stays. */
static size_t run_threads(uintptr_t first, uintptr_t last)
{
    size_t least = SIZE_MAX;
    for (uintptr_t i = first; i < last; i += AT_ONCE) {
        pthread_t threads[AT_ONCE];
        for (uintptr_t k = 0; k < AT_ONCE; k++)
            threads[k] = start(thread_main, (void *)(i + k));
        for (int k = 0; k < AT_ONCE; k++)
            pthread_join(threads[k], NULL);
        size_t now = i % 64 == 0 ? resident() : SIZE_MAX;
        least = now < least ? now : least;
    }
    return least;
}

int main(void)
{
    run_threads(0, WARM);
    size_t early = run_threads(WARM, WARM + PART);
    run_threads(WARM + PART, THREADS - PART);
    size_t late = run_threads(THREADS - PART, THREADS);
    if (late > early + early / 2 + 8 * MIB)
        die("memory grew from %zu to %zu KiB", early / KIB, late / KIB);
    for (int i = 0; i < SLOTS; i++) {
        if (cells[i].block)
            free_marked(cells[i].block, cells[i].size);
    }
    return 0;
}
