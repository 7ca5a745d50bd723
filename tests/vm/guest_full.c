/*
 * guest_full.c - a node that is full, and that others fill while memory is given back.
 *
 * With full=fail what is handed out is on the node, and the rest is refused:
 * refuses NODE LEAST   blocks until one is refused, at least LEAST MiB; all are on the node,
 *                      everything can be freed, and as much is served again
 * again NODE           half of it is freed and given back, another takes the memory: what
 *                      is served then is on the node, or refused
 * threads NODE LEAST   four threads at once, until each is refused: at least LEAST MiB in all
 * With full=spill:
 * others NODE MIB      as `again`, from so many MiB: what the node has no room for is elsewhere
 */
#include <pthread.h>

#include "guest.h"

static void all_there(const struct set *set, unsigned node)
{
    struct places places = set_where(set);
    struct tide_residency mid = mid_residency();
    set_check(set);
    NEED(places.node[node] == places.resident, "of blocks: %zu of %zu pages on node %u",
         places.node[node], places.resident, node);
    NEED(mid.node[node] == mid.resident, "of Mid: %zu of %zu pages on node %u",
         (size_t)mid.node[node], (size_t)mid.resident, node);
}

/* Fills until something is refused. */
static void fill_all(struct set *set, unsigned node)
{
    set_fill(set, SIZE_MAX);
    NEED(set->refused, "%zu blocks, and none was refused", set->count);
    all_there(set, node);
}

/* When Mid is full the others serve, and a block that cannot grow stays as it was. */
static void others_serve(struct set *set)
{
    char *tiny = malloc(100), *large = malloc(100000), *middle = malloc(8000);
    NEED(tiny != NULL && large != NULL, "refused");
    memset(large, 1, 100000);
    free(tiny);
    free(large);
    free(middle);
    for (size_t i = 0; i < 64; i += 8) {
        errno = 0;
        char *moved = realloc(set->block[i], 30000);
        NEED(moved != NULL || errno == ENOMEM, "realloc says: %s", strerror(errno));
        if (moved != NULL)
            set->block[i] = moved;
        NEED(set_holds(set, i), "block %zu has changed", i);
    }
}

static void refuses(char **arguments)
{
    unsigned node = (unsigned)guest_number(arguments[0]);
    size_t least = guest_number(arguments[1]) * MIB, first;
    struct set set = {0};
    struct tide_stats stats;
    fill_all(&set, node);
    NEED(set.bytes >= least, "only %zu bytes", set.bytes);
    NEED(tide_stats(&stats) == 0 && stats.mid_refused > 0 && stats.mid_near_bytes == 0,
         "refused %zu, near %zu", (size_t)stats.mid_refused, (size_t)stats.mid_near_bytes);
    others_serve(&set);
    first = set.bytes;
    for (int round = 0; round < 2; round++) {
        set_drop(&set);
        if (round == 1)
            malloc_trim(0);
        fill_all(&set, node);
        NEED(set.bytes >= first / 10 * 9, "only %zu bytes of %zu", set.bytes, first);
    }
    set_drop(&set);
}

/* Takes what the node has left. A preference spills when there is nothing more. */
static size_t occupy(char *map, size_t size, unsigned node)
{
    NEED(guest_policy(map, size, MPOL_PREFERRED, 1UL << node) == 0, "%s", strerror(errno));
    madvise(map, size, MADV_NOHUGEPAGE);
    for (size_t at = 0; at < size; at += MIB) {
        struct places places = {{0}, 0};
        memset(map + at, 1, MIB);
        guest_where(map + at, MIB, &places);
        if (places.node[node] == 0)
            return at;
    }
    return size;
}

/* Frees half of the set, gives the memory back, and lets another mapping take it. Returns
 * the bytes that it took. */
static size_t lose_half(struct set *set, char *map, size_t size, unsigned node)
{
    size_t before = set->bytes, taken;
    set_thin(set);
    malloc_trim(0);
    taken = occupy(map, size, node);
    NEED(taken >= before / 8 && taken < size, "%zu bytes of %zu were given back", taken, before);
    return taken;
}

static void again(char **arguments)
{
    unsigned node = (unsigned)guest_number(arguments[0]);
    size_t size = 512 * MIB, taken, before;
    struct set set = {0};
    char *map = guest_map(size);
    fill_all(&set, node);
    before = set.bytes;
    taken = lose_half(&set, map, size, node);
    fill_all(&set, node);
    NEED(set.bytes < before - taken / 2, "%zu bytes on a full node", set.bytes);
    munmap(map, size);
    fill_all(&set, node);
    NEED(set.bytes >= before / 10 * 9, "only %zu bytes of %zu", set.bytes, before);
    set_drop(&set);
}

static void *fill_one(void *set)
{
    set_fill(set, SIZE_MAX);
    return NULL;
}

static void threads(char **arguments)
{
    enum { THREADS = 4, ROUNDS = 2 };
    unsigned node = (unsigned)guest_number(arguments[0]);
    size_t least = guest_number(arguments[1]) * MIB;
    struct set set[THREADS] = {{0}};
    pthread_t thread[THREADS];
    for (int round = 0; round < ROUNDS; round++) {
        size_t bytes = 0;
        for (int i = 0; i < THREADS; i++)
            NEED(pthread_create(&thread[i], NULL, fill_one, &set[i]) == 0, "no thread");
        for (int i = 0; i < THREADS; i++)
            pthread_join(thread[i], NULL);
        for (int i = 0; i < THREADS; i++) {
            NEED(set[i].refused, "%zu blocks, and none was refused", set[i].count);
            all_there(&set[i], node);
            bytes += set[i].bytes;
        }
        NEED(bytes >= least, "only %zu bytes", bytes);
        for (int i = 0; i < THREADS; i++)
            set_drop(&set[i]);
    }
}

static void others(char **arguments)
{
    unsigned node = (unsigned)guest_number(arguments[0]);
    size_t size = 512 * MIB, bytes = guest_number(arguments[1]) * MIB, before;
    struct set set = {0};
    char *map = guest_map(size);
    set_fill(&set, bytes);
    before = set_where(&set).node[node];
    lose_half(&set, map, size, node);
    set_fill(&set, bytes);
    NEED(!set.refused, "refused after %zu bytes", set.bytes);
    set_check(&set);
    struct places places = set_where(&set);
    NEED(places.node[node] < before * 3 / 4 && places.resident > bytes / GUEST_PAGE * 9 / 10,
         "%zu of %zu pages on a full node", places.node[node], places.resident);
    munmap(map, size);
    set_drop(&set);
}

int main(int argc, char **argv)
{
    static const struct guest_case cases[] = {{"refuses", refuses},
                                              {"again", again},
                                              {"threads", threads},
                                              {"others", others},
                                              {NULL, NULL}};
    (void)argc;
    return guest_main(argv, cases);
}
