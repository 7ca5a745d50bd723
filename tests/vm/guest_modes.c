/*
 * guest_modes.c - more Mid than the far nodes have room for, whatever the options are: the
 * program goes on, and what came of it is counted.
 *
 * spill NODES MIB ELSEWHERE [NODE*MIB]...   so many MiB, of which at least ELSEWHERE, but
 *                     not all, are on other nodes: they do not fit, or a cap is set
 * fail NODES LEAST [NODE*MIB]...   full=fail: at least LEAST MiB, all of them on the nodes,
 *                     and then a refusal
 *
 * NODE*MIB is memory that others have taken before. Each case fills, gives half of it back and
 * fills again, then forks, and parent and child write to all of it; at no time may a mapping
 * of the process be bound to nodes.
 */
#include "guest.h"

extern __typeof__(tide_option_get) tide_option_get __attribute__((weak));

/* What is asked for. */
struct want {
    const char *nodes;
    size_t bytes, elsewhere, cap;
    size_t moved; /* brought_near() at the start */
    bool fails;
};

/* Under MPOL_BIND the next touch on a full node would be the end. */
static void nothing_bound(void)
{
    char line[1024];
    FILE *file = fopen("/proc/self/numa_maps", "r");
    NEED(file != NULL, "no numa_maps");
    while (fgets(line, sizeof line, file) != NULL)
        NEED(strstr(line, " bind") == NULL, "%s", line);
    fclose(file);
}

/* Pages that the kernel brought nearer to who uses them, as migrate=kernel lets it, since the
 * machine began. */
static size_t brought_near(void)
{
    char line[256];
    size_t pages = 0;
    FILE *file = fopen("/proc/vmstat", "r");
    NEED(file != NULL, "no vmstat");
    while (fgets(line, sizeof line, file) != NULL)
        sscanf(line, "numa_pages_migrated %zu", &pages);
    fclose(file);
    return pages;
}

/* Pages of Mid on none of the nodes. */
static size_t elsewhere(const struct tide_residency *mid, const char *nodes)
{
    size_t other = mid->resident;
    for (const char *at = nodes; *at != '\0'; at += strspn(at, ",")) {
        char *end;
        unsigned long node = strtoul(at, &end, 10);
        NEED(end != at && node < GUEST_NODES, "%s", nodes);
        other -= mid->node[node];
        at = end;
    }
    return other;
}

/* Where a node has no whole huge page left the kernel takes one elsewhere: of the rest, too,
 * not everything is on the nodes. */
static void counted(const struct set *set, const struct want *want)
{
    struct tide_stats stats;
    struct tide_residency mid = mid_residency();
    size_t other = elsewhere(&mid, want->nodes) * GUEST_PAGE;
    size_t moved = (brought_near() - want->moved) * GUEST_PAGE;
    nothing_bound();
    set_check(set);
    NEED(tide_stats(&stats) == 0, "no statistics");
    NEED(mid.resident * GUEST_PAGE >= set->bytes / 10 * 9, "%zu pages of %zu bytes",
         (size_t)mid.resident, set->bytes);
    if (want->fails) {
        NEED(set->refused && set->bytes >= want->bytes, "refused after %zu bytes", set->bytes);
        NEED(other <= moved && stats.mid_near_bytes == 0, "%zu bytes are elsewhere, %zu were moved",
             other, moved);
        NEED(stats.mid_refused > 0, "no refusal was counted");
        return;
    }
    NEED(!set->refused && stats.mid_refused == 0, "refused after %zu bytes", set->bytes);
    NEED(other >= want->elsewhere, "only %zu bytes are elsewhere", other);
    NEED(other <= want->bytes / 4 * 3, "%zu bytes are elsewhere", other);
    if (want->cap < want->bytes)
        NEED(stats.mid_spills > 0 && stats.mid_near_bytes >= want->bytes - want->cap &&
                 stats.mid_far_bytes <= want->cap,
             "%zu spills, near %zu", (size_t)stats.mid_spills, (size_t)stats.mid_near_bytes);
    else
        NEED(stats.mid_spills == 0, "%zu spills", (size_t)stats.mid_spills);
}

static void fill(struct set *set, const struct want *want)
{
    set_fill(set, want->fails ? SIZE_MAX : want->bytes);
    counted(set, want);
}

/* What is written after the fork is copied, wherever there is room. */
static void write_on_both_sides(struct set *set)
{
    int status;
    fflush(stdout);
    pid_t child = fork();
    NEED(child >= 0, "fork: %s", strerror(errno));
    set->seed += child == 0;
    for (size_t i = 0; i < set->count; i++)
        set_mark(set, i);
    nothing_bound();
    if (child == 0) {
        set_check(set);
        set_drop(set);
        set_fill(set, 8 * MIB);
        set_check(set);
        fflush(stdout);
        _exit(0);
    }
    NEED(waitpid(child, &status, 0) == child && status == 0, "the child ended with %#x", status);
    set_check(set);
}

static void go(const struct want *want)
{
    struct set set = {0};
    fill(&set, want);
    set_thin(&set);
    malloc_trim(0);
    fill(&set, want);
    write_on_both_sides(&set);
    set_drop(&set);
}

/* Others have memory of the node: "1*64". */
static void take(const char *part)
{
    struct places places = {{0}, 0};
    unsigned node, mib;
    NEED(sscanf(part, "%u*%u", &node, &mib) == 2 && node < GUEST_NODES, "%s", part);
    size_t bytes = mib * MIB;
    char *map = guest_map(bytes);
    NEED(guest_policy(map, bytes, MPOL_PREFERRED, 1UL << node) == 0, "%s", strerror(errno));
    memset(map, 1, bytes);
    NEED(guest_policy(map, bytes, MPOL_DEFAULT, 0) == 0, "%s", strerror(errno));
    guest_where(map, bytes, &places);
    NEED(places.node[node] >= bytes / GUEST_PAGE / 16 * 15, "%zu pages taken", places.node[node]);
}

static size_t cap_of_far(void)
{
    char text[32];
    NEED(tide_option_get != NULL && tide_option_get("cap", text, sizeof text) > 0, "no cap");
    size_t cap = guest_number(text);
    return cap == 0 ? SIZE_MAX : cap;
}

static void spill(char **arguments)
{
    struct want want = {.nodes = arguments[0],
                        .bytes = guest_number(arguments[1]) * MIB,
                        .elsewhere = guest_number(arguments[2]) * MIB,
                        .cap = cap_of_far()};
    for (char **part = arguments + 3; *part != NULL; part++)
        take(*part);
    go(&want);
}

static void fail(char **arguments)
{
    struct want want = {.nodes = arguments[0],
                        .bytes = guest_number(arguments[1]) * MIB,
                        .cap = cap_of_far(),
                        .moved = brought_near(),
                        .fails = true};
    for (char **part = arguments + 2; *part != NULL; part++)
        take(*part);
    go(&want);
}

int main(int argc, char **argv)
{
    static const struct guest_case cases[] = {{"spill", spill}, {"fail", fail}, {NULL, NULL}};
    (void)argc;
    return guest_main(argv, cases);
}
