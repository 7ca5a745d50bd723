/*
 * guest_far.c - blocks of Mid come from the nodes that were asked for.
 *
 * placed NODE MIB            all pages of so many blocks are on the node, and placed there
 * near NODE MIB              the same, but as near memory
 * spill NODE LEAST AGAIN MIB the node holds at least LEAST MiB of them, others the rest;
 *                            when half was given back and filled again, at least AGAIN (the
 *                            kernel keeps parts of huge pages until memory is short); when
 *                            all was given back, LEAST
 * cap NODE MOST MIB          at most MOST MiB are far
 * shares PERMILLE MIB NODE*PARTS...   each node has its share, give or take PERMILLE
 * fork MIB                   parent and child write to all blocks
 * bound NODE COMMAND...      runs the command under MPOL_BIND to the node
 * weigh PARTS NODE COMMAND...   gives the node its weight in the machine's own list, runs
 *                            the command
 * huge none|some             transparent huge pages under Mid
 */
#include "guest.h"

#define THP "/sys/kernel/mm/transparent_hugepage/enabled"

static size_t pages_of(size_t mib)
{
    return mib * (MIB / GUEST_PAGE);
}

static struct tide_stats statistics(void)
{
    struct tide_stats stats;
    NEED(tide_stats(&stats) == 0, "tide_stats failed");
    return stats;
}

/* The library and the kernel agree about these blocks. */
static struct tide_residency agreed(const struct set *set)
{
    struct places places = set_where(set);
    struct tide_residency mid = mid_residency();
    size_t other = mid.resident;
    for (unsigned node = 0; node < GUEST_NODES; node++) {
        NEED(mid.node[node] >= places.node[node], "node %u: %zu pages, %zu of blocks", node,
             (size_t)mid.node[node], places.node[node]);
        other -= mid.node[node];
    }
    NEED(other == 0, "%zu resident pages are on no node", other);
    NEED(mid.resident >= set->bytes / GUEST_PAGE * 9 / 10, "%zu pages", (size_t)mid.resident);
    return mid;
}

static void all_on(unsigned node, const struct set *set)
{
    struct tide_residency mid = agreed(set);
    set_check(set);
    NEED(mid.node[node] == mid.resident, "%zu of %zu pages are on node %u", (size_t)mid.node[node],
         (size_t)mid.resident, node);
}

/* Tiny and Large are near wherever Mid is. */
static void others_near(unsigned far)
{
    struct places places = {{0}, 0};
    char *tiny = calloc(1, 2000), *large = calloc(1, 100000), *mapped = malloc(4 * MIB);
    NEED(tiny != NULL && large != NULL && mapped != NULL, "no memory");
    memset(mapped, 1, 4 * MIB);
    guest_where((char *)((uintptr_t)tiny & -(uintptr_t)GUEST_PAGE), 1, &places);
    guest_where(large, 100000, &places);
    guest_where(mapped, 4 * MIB, &places);
    NEED(places.resident > 1000 && places.node[far] == 0, "%zu of %zu pages are on node %u",
         places.node[far], places.resident, far);
    free(tiny);
    free(large);
    free(mapped);
}

static void placed(char **arguments)
{
    unsigned node = (unsigned)guest_number(arguments[0]);
    struct set set = {0};
    set_fill(&set, guest_number(arguments[1]) * MIB);
    all_on(node, &set);
    struct tide_stats stats = statistics();
    NEED(stats.mid_near_bytes == 0 && stats.mid_spills == 0 && stats.mid_refused == 0,
         "near %zu, spills %zu, refused %zu", (size_t)stats.mid_near_bytes,
         (size_t)stats.mid_spills, (size_t)stats.mid_refused);
    NEED(stats.mid_far_bytes >= set.bytes, "far %zu", (size_t)stats.mid_far_bytes);
    others_near(node);
    set_drop(&set);
}

static void near(char **arguments)
{
    struct set set = {0};
    set_fill(&set, guest_number(arguments[1]) * MIB);
    all_on((unsigned)guest_number(arguments[0]), &set);
    struct tide_stats stats = statistics();
    NEED(stats.mid_far_bytes == 0 && stats.mid_near_bytes >= set.bytes, "far %zu, near %zu",
         (size_t)stats.mid_far_bytes, (size_t)stats.mid_near_bytes);
    set_drop(&set);
}

static void spilled(const struct set *set, unsigned node, size_t least)
{
    struct tide_residency mid = agreed(set);
    NEED(!set->refused, "refused after %zu bytes", set->bytes);
    set_check(set);
    NEED(mid.node[node] >= pages_of(least), "only %zu pages are on node %u", (size_t)mid.node[node],
         node);
    NEED(mid.resident - mid.node[node] >= set->bytes / GUEST_PAGE / 10, "%zu of %zu pages there",
         (size_t)mid.node[node], (size_t)mid.resident);
}

/* Of this process, as the kernel counts. */
static size_t resident_kib(void)
{
    size_t pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    NEED(file != NULL && fscanf(file, "%*s %zu", &pages) == 1, "no statm");
    fclose(file);
    return pages * (GUEST_PAGE / 1024);
}

static void spill(char **arguments)
{
    unsigned node = (unsigned)guest_number(arguments[0]);
    size_t least = guest_number(arguments[1]), bytes = guest_number(arguments[3]) * MIB;
    struct set set = {0};
    set_fill(&set, 0); /* the set's own tables, not touched yet */
    size_t before = resident_kib();
    set_fill(&set, bytes);
    spilled(&set, node, least);
    set_thin(&set);
    malloc_trim(0);
    set_check(&set);
    set_fill(&set, bytes);
    spilled(&set, node, guest_number(arguments[2]));
    set_drop(&set);
    malloc_trim(0);
    NEED(resident_kib() < before + 8192, "%zu KiB stay", resident_kib() - before);
    set_fill(&set, bytes);
    spilled(&set, node, least);
    set_drop(&set);
}

static void cap(char **arguments)
{
    unsigned node = (unsigned)guest_number(arguments[0]);
    size_t most = guest_number(arguments[1]), bytes = guest_number(arguments[2]) * MIB;
    struct set set = {0};
    for (int round = 0; round < 2; round++) {
        set_fill(&set, bytes);
        struct tide_residency mid = agreed(&set);
        struct tide_stats stats = statistics();
        set_check(&set);
        NEED(mid.node[node] <= pages_of(most) && mid.node[node] >= pages_of(most) * 3 / 4,
             "%zu pages are on node %u", (size_t)mid.node[node], node);
        NEED(stats.mid_far_bytes <= most * MIB, "far %zu", (size_t)stats.mid_far_bytes);
        if (set.refused)
            NEED(stats.mid_near_bytes == 0, "near %zu", (size_t)stats.mid_near_bytes);
        else
            NEED(stats.mid_spills > 0, "nothing was spilled");
        set_drop(&set);
        malloc_trim(0);
    }
}

static void shares(char **arguments)
{
    size_t permille = guest_number(arguments[0]), total = 0, parts[GUEST_NODES] = {0};
    struct set set = {0};
    set_fill(&set, guest_number(arguments[1]) * MIB);
    struct tide_residency mid = agreed(&set);
    set_check(&set);
    for (char **at = arguments + 2; *at != NULL; at++) {
        unsigned node, part;
        NEED(sscanf(*at, "%u*%u", &node, &part) == 2 && node < GUEST_NODES, "%s", *at);
        parts[node] = part;
        total += part;
    }
    for (unsigned node = 0; node < GUEST_NODES; node++) {
        size_t have = mid.node[node] * 1000 / mid.resident, want = parts[node] * 1000 / total;
        NEED(have + permille >= want && have <= want + permille,
             "node %u has %zu thousandths, should have %zu", node, have, want);
    }
    set_drop(&set);
}

static void fork_both(char **arguments)
{
    struct set set = {0};
    int status;
    set_fill(&set, guest_number(arguments[0]) * MIB);
    NEED(set.count > 0, "no block at all");
    fflush(stdout);
    pid_t child = fork();
    NEED(child >= 0, "fork: %s", strerror(errno));
    set_check(&set);
    set.seed += child == 0; /* from here on both write, each something else */
    for (size_t i = 0; i < set.count; i++)
        set_mark(&set, i);
    set_check(&set);
    if (child == 0) {
        set_drop(&set);
        set_fill(&set, 8 * MIB);
        set_check(&set);
        fflush(stdout);
        _exit(0);
    }
    NEED(waitpid(child, &status, 0) == child && status == 0, "the child ended with %#x", status);
    set_check(&set);
    set_drop(&set);
}

static void bound(char **arguments)
{
    unsigned node = (unsigned)guest_number(arguments[0]);
    NEED(guest_policy(NULL, 0, MPOL_BIND, 1UL << node) == 0, "%s", strerror(errno));
    execvp(arguments[1], arguments + 1);
    NEED(false, "%s: %s", arguments[1], strerror(errno));
}

static void weigh(char **arguments)
{
    char path[128];
    snprintf(path, sizeof path, "/sys/kernel/mm/mempolicy/weighted_interleave/node%zu",
             guest_number(arguments[1]));
    guest_write(path, arguments[0]);
    execvp(arguments[2], arguments + 2);
    NEED(false, "%s: %s", arguments[2], strerror(errno));
}

/* KiB of huge pages in the mapping that holds p. */
static size_t huge_at(const void *p)
{
    char line[512];
    unsigned long from, to;
    size_t kib = 0, found = 0;
    bool here = false;
    FILE *file = fopen("/proc/self/smaps", "r");
    NEED(file != NULL, "no smaps");
    while (fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
            here = from <= (uintptr_t)p && (uintptr_t)p < to;
        else if (here && sscanf(line, "AnonHugePages: %zu kB", &kib) == 1)
            found += kib;
    }
    fclose(file);
    return found;
}

static void huge(char **arguments)
{
    struct set set = {0};
    bool some = strcmp(arguments[0], "some") == 0;
    if (some) /* otherwise there would be some in any case */
        guest_write(THP, "madvise");
    set_fill(&set, 64 * MIB);
    size_t kib = huge_at(set.block[0]);
    if (some)
        guest_write(THP, "always");
    NEED(some ? kib >= 2048 : kib == 0, "%zu KiB of huge pages", kib);
    set_check(&set);
    set_drop(&set);
}

int main(int argc, char **argv)
{
    static const struct guest_case cases[] = {
        {"placed", placed},  {"near", near},   {"spill", spill}, {"cap", cap},   {"shares", shares},
        {"fork", fork_both}, {"bound", bound}, {"weigh", weigh}, {"huge", huge}, {NULL, NULL}};
    (void)argc;
    return guest_main(argv, cases);
}
