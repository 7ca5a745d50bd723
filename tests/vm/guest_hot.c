/*
 * guest_hot.c - may the kernel bring hot pages of Mid to near memory?
 *
 * stay NODE MODE   memory of our own with the usual policy is heated beside blocks of Mid, until
 *                  the kernel has moved half of it: the blocks are still on the node
 * move NODE MODE   the blocks are moved, too; they began on the node
 *
 * kernel.numa_balancing gets the value MODE and then 0: 2 moves what is hot up to a faster
 * tier of memory, 1 moves memory to the processors that use it.
 */
#include <time.h>

#include "guest.h"

#define BALANCING "/proc/sys/kernel/numa_balancing"

enum { HOT_MIB = 8, PATIENCE = 100, PREFERRED_MANY = 5, BALANCED = 1 << 13 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Memory that the kernel may promote, all of it on the node. */
static char *control_on(unsigned node)
{
    size_t size = HOT_MIB * MIB;
    char *map = guest_map(size);
    struct places places = {{0}, 0};
    madvise(map, size, MADV_NOHUGEPAGE);
    NEED(guest_policy(map, size, MPOL_PREFERRED, 1UL << node) == 0, "%s", strerror(errno));
    memset(map, 1, size);
    NEED(guest_policy(map, size, MPOL_DEFAULT, 0) == 0, "%s", strerror(errno));
    guest_where(map, size, &places);
    NEED(places.node[node] == size / GUEST_PAGE, "%zu pages on node %u", places.node[node], node);
    return map;
}

static void heat(const volatile char *map, size_t size)
{
    for (size_t at = 0; at < size; at += GUEST_PAGE)
        (void)map[at];
}

static void heat_set(const struct set *set)
{
    for (size_t i = 0; i < set->count; i++)
        heat(set->block[i], set->size[i]);
}

/* Heats both until half of the control has left the node, and (all) half of the set. */
static void heat_until(char *control, const struct set *set, unsigned node, bool all)
{
    double begin = now();
    struct places at, blocks;
    do {
        for (int i = 0; i < 50; i++) {
            heat(control, HOT_MIB * MIB);
            heat_set(set);
        }
        at = (struct places){{0}, 0};
        guest_where(control, HOT_MIB * MIB, &at);
        blocks = set_where(set);
        NEED(now() - begin < PATIENCE, "after %d s %zu of %zu pages, and %zu of %zu of blocks",
             PATIENCE, at.resident - at.node[node], at.resident,
             blocks.resident - blocks.node[node], blocks.resident);
    } while (at.node[node] > at.resident / 2 || (all && blocks.node[node] > blocks.resident / 2));
}

static struct set hot_set(unsigned node)
{
    struct set set = {0};
    set_fill(&set, HOT_MIB * MIB);
    struct places places = set_where(&set);
    NEED(places.node[node] == places.resident, "%zu of %zu pages on node %u", places.node[node],
         places.resident, node);
    return set;
}

static void policy_of(const void *p, int *mode, unsigned long *nodes)
{
    unsigned long mask[16] = {0};
    NEED(syscall(SYS_get_mempolicy, mode, mask, 1024, p, MPOL_F_ADDR) == 0, "%s", strerror(errno));
    *nodes = mask[0];
}

static void stay(char **arguments)
{
    unsigned node = (unsigned)guest_number(arguments[0]);
    guest_write(BALANCING, arguments[1]);
    struct set set = hot_set(node);
    heat_until(control_on(node), &set, node, false);
    guest_write(BALANCING, "0");
    struct places places = set_where(&set);
    NEED(places.node[node] == places.resident, "%zu of %zu pages are still on node %u",
         places.node[node], places.resident, node);
    set_check(&set);
    set_drop(&set);
}

static void move(char **arguments)
{
    unsigned node = (unsigned)guest_number(arguments[0]);
    unsigned long nodes;
    int mode;
    guest_write(BALANCING, arguments[1]);
    struct set set = hot_set(node);
    policy_of(set.block[0], &mode, &nodes);
    NEED(mode == (PREFERRED_MANY | BALANCED) && nodes == (1UL << node | 1),
         "policy %#x, nodes %#lx", (unsigned)mode, nodes);
    heat_until(control_on(node), &set, node, true);
    guest_write(BALANCING, "0");
    set_check(&set);
    set_drop(&set);
}

int main(int argc, char **argv)
{
    static const struct guest_case cases[] = {{"stay", stay}, {"move", move}, {NULL, NULL}};
    (void)argc;
    return guest_main(argv, cases);
}
