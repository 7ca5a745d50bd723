/*
 * prog_pitfall_mlock.c - mlockall, before anything but small blocks was used.
 *
 * prog_pitfall_mlock           locks all memory, now and future: what is only
 *                              reserved must not become resident
 * prog_pitfall_mlock limited   as an ordinary user with a limit of locked
 *                              memory: malloc works on, and ends with NULL
 * Without the right to do so it is skipped.
 */
#define _GNU_SOURCE 1
#include "pitfall.h"

#include <grp.h>
#include <sys/mman.h>
#include <sys/resource.h>

enum { NOBODY = 65534, LIMIT = 96 * MIB, MOST = 512 * MIB };

static void *(*volatile do_malloc)(size_t) = malloc;

/* Makes and frees `bytes` of blocks of all tiers. */
static void work(size_t bytes)
{
    static void *blocks[65536];
    static size_t sizes[65536];
    uint64_t state = 3;
    size_t count = 0;
    for (size_t sum = 0; sum < bytes && count < 65536; sum += sizes[count++]) {
        sizes[count] = mixed_size(&state);
        blocks[count] = get_marked(sizes[count]);
    }
    while (count--)
        free_marked(blocks[count], sizes[count]);
}

static void unlimited(void)
{
    size_t before = resident();
    if (mlockall(MCL_CURRENT | MCL_FUTURE))
        give_up("mlockall is not allowed here");
    size_t locked = resident();
    if (locked > before + 48 * MIB)
        die("mlockall made %zu MiB resident", (locked - before) / MIB);
    work(64 * MIB);
    size_t after = resident();
    if (after > before + 192 * MIB)
        die("after work on 64 MiB %zu MiB are resident", after / MIB);
}

static void limited(void)
{
    struct rlimit limit;
    size_t sum = 0;
    getrlimit(RLIMIT_MEMLOCK, &limit);
    if (limit.rlim_max > LIMIT)
        limit.rlim_max = LIMIT;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_MEMLOCK, &limit) || setgroups(0, NULL) || setgid(NOBODY) || setuid(NOBODY))
        give_up("cannot become an ordinary user");
    if (mlockall(MCL_CURRENT | MCL_FUTURE) && mlockall(MCL_FUTURE))
        give_up("mlockall is not allowed here");
    work(limit.rlim_cur / 8);
    for (void *block; sum < MOST && (block = do_malloc(100000)); sum += 100000)
        memset(block, 1, 100000);
    if (sum < MOST && errno != ENOMEM)
        die("NULL with errno %d", errno);
    free(get_marked(100));
    free(get_marked(5000));
}

int main(int argc, char **argv)
{
    free(get_marked(100));
    if (argc > 1 && strcmp(argv[1], "limited") == 0)
        limited();
    else
        unlimited();
    return 0;
}
