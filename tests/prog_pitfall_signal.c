/*
 * prog_pitfall_signal.c - a storm of timer signals whose handler allocates and
 * frees while the program does the same.
 *
 * prog_pitfall_signal steady   few blocks of few sizes, after a warm-up: the
 *                              straight paths only, so it must run to its end
 * prog_pitfall_signal wild     all sizes: may also end with a message, when a
 *                              signal met the slow path
 * A block that two owners have is found by its mark.
 */
#define _GNU_SOURCE 1
#include "pitfall.h"

#include <sys/time.h>

enum { SLOTS = 32, ROUNDS = 1500000, MICROSECONDS = 40 };

struct pool {
    uint64_t state;
    void *blocks[SLOTS];
    size_t sizes[SLOTS];
};

static bool wild;
static struct pool of_main = {.state = 1}, of_handler = {.state = 2};
static volatile uint64_t signals;

static size_t size_for(struct pool *pool)
{
    static const size_t few[] = {48, 300, 3000, 9000};
    return wild ? mixed_size(&pool->state) : few[next_random(&pool->state) % 4];
}

static void swap(struct pool *pool, bool keep)
{
    size_t at = next_random(&pool->state) % SLOTS;
    if (pool->blocks[at]) {
        void *block = pool->blocks[at];
        pool->blocks[at] = NULL;
        free_marked(block, pool->sizes[at]);
    }
    pool->sizes[at] = size_for(pool);
    void *block = get_marked(pool->sizes[at]);
    if (keep)
        pool->blocks[at] = block;
    else
        free_marked(block, pool->sizes[at]);
}

static void handler(int number)
{
    int saved = errno;
    (void)number;
    swap(&of_handler, wild);
    signals++;
    errno = saved;
}

int main(int argc, char **argv)
{
    struct itimerval often = {{0, MICROSECONDS}, {0, MICROSECONDS}}, never = {{0, 0}, {0, 0}};
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    wild = argc > 1 && strcmp(argv[1], "wild") == 0;
    for (int i = 0; i < 10000; i++) {
        swap(&of_main, wild);
        swap(&of_handler, wild);
    }
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
    for (int i = 0; i < ROUNDS; i++)
        swap(&of_main, wild);
    setitimer(ITIMER_REAL, &never, NULL);
    for (int i = 0; i < SLOTS; i++) {
        if (of_main.blocks[i])
            must_be_marked(of_main.blocks[i], of_main.sizes[i]);
        if (of_handler.blocks[i])
            must_be_marked(of_handler.blocks[i], of_handler.sizes[i]);
    }
    if (signals < 100)
        die("only %llu signals came", (unsigned long long)signals);
    return 0;
}
