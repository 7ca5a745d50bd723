/*
 * prog_pitfall_valgrind.c - a program to be run under valgrind.
 *
 * prog_pitfall_valgrind [served | fault]   works on blocks of all tiers in two threads;
 * `served`: all of them must be the library's, and what it reserves must leave room for
 * valgrind: 16 GiB at most in one piece. `fault`: then reads behind a block.
 */
#define _GNU_SOURCE 1
#include "pitfall.h"

#include <tidepool/malloc.h>

#pragma weak tide_tier_of

enum { SLOTS = 64, ROUNDS = 4000 };

static bool served;

static void work(uint64_t state)
{
    void *blocks[SLOTS] = {NULL};
    size_t sizes[SLOTS] = {0};
    for (int i = 0; i < ROUNDS; i++) {
        size_t at = next_random(&state) % SLOTS;
        if (blocks[at])
            free_marked(blocks[at], sizes[at]);
        sizes[at] = mixed_size(&state);
        blocks[at] = get_marked(sizes[at]);
        if (served && (!tide_tier_of || tide_tier_of(blocks[at]) == TIDE_TIER_NONE))
            die("a block of %zu bytes is not the library's", sizes[at]);
    }
    for (int i = 0; i < SLOTS; i++) {
        if (blocks[i])
            free_marked(blocks[i], sizes[i]);
    }
}

static void *thread_main(void *arg)
{
    work((uintptr_t)arg);
    return NULL;
}

static void must_leave_room(void)
{
    static char line[512], mode[8];
    size_t from, to;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (maps && fgets(line, sizeof line, maps)) {
        if (sscanf(line, "%zx-%zx %7s", &from, &to, mode) == 3 && mode[0] == '-' &&
            to - from > (size_t)17 << 30)
            die("%zu GiB are reserved in one piece", (to - from) >> 30);
    }
    if (maps)
        fclose(maps);
}

int main(int argc, char **argv)
{
    volatile unsigned char *block;
    served = argc > 1 && strcmp(argv[1], "served") == 0;
    pthread_t thread = start(thread_main, (void *)2);
    work(1);
    pthread_join(thread, NULL);
    if (served)
        must_leave_room();
    if (argc > 1 && strcmp(argv[1], "fault") == 0) {
        block = get_marked(100);
        printf("%d\n", block[100] == 1 ? 1 : 2);
    }
    return 0;
}
