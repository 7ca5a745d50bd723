/*
 * guest_cpuset.c - the far node is taken away by a control group (cpuset.mems), and given
 * back, while a program allocates.
 *
 * within LIST COMMAND...   runs the command in a group that may use these nodes
 * shrink LIST ROUNDS       so many times: the nodes go and come, while a thread works
 * refuse NODE              full=fail: without the node requests are refused, with it served
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "guest.h"

#define GROUPS "/sys/fs/cgroup"
#define GROUP GROUPS "/guest"

static void allow(const char *nodes)
{
    guest_write(GROUP "/cpuset.mems", nodes);
}

/* This process goes to a group of its own. */
static void enter(const char *nodes)
{
    char number[32];
    guest_write(GROUPS "/cgroup.subtree_control", "+cpuset");
    NEED(mkdir(GROUP, 0755) == 0 || errno == EEXIST, "%s: %s", GROUP, strerror(errno));
    allow(nodes);
    snprintf(number, sizeof number, "%d", getpid());
    guest_write(GROUP "/cgroup.procs", number);
}

static void within(char **arguments)
{
    enter(arguments[0]);
    execvp(arguments[1], arguments + 1);
    NEED(false, "%s: %s", arguments[1], strerror(errno));
}

/* --- a thread that works ---------------------------------------------------------------- */

static _Atomic size_t rounds_done;
static atomic_bool ended;

/* Fills and frees; keeps a part from one round to the next. */
static void *work(void *argument)
{
    struct set set = {0};
    (void)argument;
    while (!ended) {
        set_fill(&set, 6 * MIB);
        NEED(!set.refused, "refused after %zu bytes", set.bytes);
        set_check(&set);
        set_thin(&set);
        atomic_fetch_add(&rounds_done, 1);
    }
    set_drop(&set);
    return NULL;
}

static void wait_for_work(void)
{
    size_t until = atomic_load(&rounds_done) + 3;
    while (atomic_load(&rounds_done) < until)
        sched_yield();
}

/* Pages of a set that are on none of the nodes of a list ("1,2"). */
static size_t elsewhere(const struct set *set, const char *list)
{
    struct places places = set_where(set);
    size_t other = places.resident;
    for (const char *at = list; *at != '\0'; at += strspn(at, ",")) {
        char *end;
        unsigned long node = strtoul(at, &end, 10);
        NEED(end != at && node < GUEST_NODES, "%s", list);
        other -= places.node[node];
        at = end;
    }
    return other;
}

static void shrink(char **arguments)
{
    const char *list = arguments[0];
    size_t rounds = guest_number(arguments[1]), other;
    char all[64];
    pthread_t thread;
    struct set set = {0};
    snprintf(all, sizeof all, "0,%s", list);
    enter(all);
    set_fill(&set, 16 * MIB);
    other = elsewhere(&set, list);
    NEED(other == 0, "%zu pages", other);
    NEED(pthread_create(&thread, NULL, work, NULL) == 0, "no thread");
    for (size_t i = 0; i < rounds; i++) {
        allow("0");
        wait_for_work();
        set_check(&set);
        struct tide_residency mid = mid_residency_now();
        NEED(mid.node[0] == mid.resident, "%zu of %zu pages", (size_t)mid.node[0],
             (size_t)mid.resident);
        allow(all);
        wait_for_work();
        set_check(&set);
    }
    ended = true;
    pthread_join(thread, NULL);
    set_drop(&set);
    malloc_trim(0);
    set_fill(&set, 16 * MIB);
    other = elsewhere(&set, list);
    NEED(other == 0, "afterwards: %zu pages", other);
}

static void refuse(char **arguments)
{
    unsigned node = (unsigned)guest_number(arguments[0]);
    char both[32];
    struct set set = {0}, more = {0};
    snprintf(both, sizeof both, "0,%u", node);
    enter(both);
    set_fill(&set, 16 * MIB);
    NEED(!set.refused, "refused after %zu bytes", set.bytes);
    allow("0");
    set_check(&set);
    set_fill(&more, 64 * MIB);
    NEED(more.refused, "%zu bytes without the node", more.bytes);
    NEED(more.bytes < 16 * MIB, "%zu bytes without the node", more.bytes);
    allow(both);
    set_fill(&more, 32 * MIB);
    NEED(!more.refused, "refused after %zu bytes, with the node", more.bytes);
    set_check(&set);
    set_check(&more);
    set_drop(&set);
    set_drop(&more);
}

int main(int argc, char **argv)
{
    static const struct guest_case cases[] = {
        {"within", within}, {"shrink", shrink}, {"refuse", refuse}, {NULL, NULL}};
    (void)argc;
    return guest_main(argv, cases);
}
