/*
 * stress_hosts.c - a log in lanes whose nodes are processes that are killed, expelled and, in some
 * ways, stopped at random moments, and followed by others, the sequencer as well: what was
 * acknowledged is there, once, in order.
 *
 * Each node appends and reads; all write down what they did in memory that they share. The
 * sequencer is who opens the log, or now and then, after it was killed or stopped, a node.
 * In the end this process opens the log, reads what is left, log_history.h judges, and the region
 * has to be free to the last segment. The nodes are on one host here: what is written back, and
 * when, is tried by test_lane_sim and vm_hosts.sh.
 *
 * stress_hosts [--ops N | N] [--seconds N] [--seed N] [--only WORD] [--dir DIRECTORY |
 *               --region SOURCE]
 *   N / 50000 kills in all (1000000; with sanitizers a third); or as many as fit into the seconds;
 *   WORD: only ways with it in their names; the region's file is in DIRECTORY (/dev/shm), or it is
 *   SOURCE, as of tide_region_create
 * Exit: 0 nothing found, 1 a finding (one line on stderr), 2 bad arguments.
 */
#define _GNU_SOURCE 1
#include <sys/prctl.h>
#include <sys/wait.h>

#include "hosts_life.h"

enum {
    WAIT = 6,
    KILLS = 8 /* of one region */,
    REGION = 12 << 20,
    LONGEST = 120 /* seconds of it */
};

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

static const struct way ways[] = {
    {"level 5, killed", 5, 0},
    {"level 4, killed", 4, 0},
    {"level 5, stopped", 5, 1},
    {"level 4, stopped", 4, 1},
};

enum { WAYS = sizeof ways / sizeof *ways };

static uint64_t kills, stops, expels, leaders, lost, batches, lives;
static struct {
    pid_t pid;
    uint64_t life;
    unsigned leads;
} slots[NODES];

/* ---- processes ------------------------------------------------------------------------------- */

static void start(unsigned slot, unsigned sequence)
{
    node = slot;
    leads = slots[slot].leads = sequence;
    life = slots[slot].life = ++lives;
    fflush(NULL);
    slots[slot].pid = fork();
    if (slots[slot].pid != 0)
        return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    live();
}

/* It has ended, by a kill, or by itself because it lost its node. */
static void ended(unsigned slot)
{
    int status;
    if (slots[slot].pid == 0)
        return;
    if (waitpid(slots[slot].pid, &status, 0) != slots[slot].pid)
        fail("nobody ended");
    if (atomic_load(&world->failed) != 0)
        _exit(1);
    if (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL)
        fail("node %u ended by signal %d", slot, WTERMSIG(status));
    if (WIFEXITED(status) && WEXITSTATUS(status) != 0)
        fail("node %u ended with %d", slot, WEXITSTATUS(status));
    lost += WIFEXITED(status) && atomic_load(&world->stop) == GO_ON;
    slots[slot].pid = 0;
}

static bool is_there(unsigned slot)
{
    siginfo_t info = {0};
    return slots[slot].pid > 0 &&
           waitid(P_PID, (id_t)slots[slot].pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid == 0;
}

static void kill_one(unsigned slot)
{
    if (slots[slot].pid == 0)
        return;
    kill(slots[slot].pid, SIGKILL);
    ended(slot);
    kills++;
}

static void stop_one(unsigned slot)
{
    if (slots[slot].pid == 0)
        return;
    kill(slots[slot].pid, SIGSTOP);
    stops++;
}

/* Those that lost their nodes are followed. Node 0 comes back when no other node sequences, or
 * tries until then. */
static void follow(void)
{
    for (unsigned i = 0; i < NODES; i++)
        if (!is_there(i)) {
            ended(i);
            start(i, 0);
        }
}

/* Node 0 is gone, or stands still; this one follows it, if it gets there in time. */
static void follow_by(unsigned slot, bool stopped)
{
    if (stopped)
        stop_one(0);
    else
        kill_one(0);
    kill_one(slot);
    start(slot, 1);
    for (int i = 0; i < 2000 && atomic_load(&world->leader) != slots[slot].life; i++) {
        nap(1000);
        if (!is_there(slot))
            break;
    }
    if (stopped && slots[0].pid != 0)
        kill(slots[0].pid, SIGCONT);
}

static void strike(uint64_t *random)
{
    uint64_t how = draw(random) % 8, lease = options_of().lease / 1000;
    unsigned slot = (unsigned)(draw(random) % NODES);
    if (how == 0 && slot != 0)
        follow_by(slot, way->stops != 0 && draw(random) % 2 == 0);
    else if (how < 3 && way->stops != 0) {
        stop_one(slot);
        nap(draw(random) % (3 * lease));
        if (slots[slot].pid != 0)
            kill(slots[slot].pid, SIGCONT);
    } else if (how < 3) {
        atomic_store(&world->expel, slot + 1);
        expels++;
    } else if (how < 7)
        kill_one(slot);
    else
        kill_one(0);
    nap(draw(random) % 2 == 0 ? draw(random) % 400000 : draw(random) % 20000);
    follow();
    nap(draw(random) % 2 == 0 ? draw(random) % 200000 : draw(random) % 8000);
}

/* ---- the end --------------------------------------------------------------------------------- */

static void end_all(uint64_t *random)
{
    bool killed = draw(random) % 2 == 0;
    atomic_store(&world->stop, STOP);
    for (unsigned i = 0; i < NODES; i++) {
        if (killed)
            kill_one(i);
        else if (i != 0 && slots[i].leads == 0)
            ended(i);
    }
    atomic_store(&world->stop, STOP_ALL);
    for (unsigned i = 0; i < NODES; i++)
        ended(i);
}

static void open_log(void)
{
    struct tide_region_error error;
    int ret;
    if (tide_region_open(&region, source, 0, &error) != 0)
        fail("%s", error.text);
    while (is_for_later(ret = tide_log_open(&log_, region)))
        nap(5000);
    if (ret != 0)
        fail("the log cannot be opened: %d", ret);
}

/* Everything that gets a place: also of those that were killed, when their time is up. */
static void read_all(void)
{
    struct tide_log_stat stat;
    unsigned who;
    atomic_store(&world->stop, GO_ON);
    tide_log_reader_t *reader = open_reader(&who);
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    double until =
        (double)now.tv_sec + 1e-9 * ((double)now.tv_nsec + WAIT * (double)options_of().lease);
    while ((double)now.tv_sec + 1e-9 * (double)now.tv_nsec < until ||
           tide_log_stat(log_, &stat) != 0 || stat.taken != stat.committed) {
        while (tide_log_poll(log_) > 0 || read_some(reader, who, 1000000) > 0) {
        }
        clock_gettime(CLOCK_MONOTONIC, &now);
    }
    while (read_some(reader, who, 1000000) > 0) {
    }
    if (tide_log_reader_close(reader) != 0)
        fail("a reader stays open");
}

static void judge(void)
{
    struct log_history *history = &world->history;
    struct tide_log_stat stat;
    if (tide_log_stat(log_, &stat) != 0)
        fail("no figures");
    history->taken = stat.taken;
    history->messages = stat.messages;
    batches += stat.taken;
    leaders += atomic_load(&world->leaders);
    const char *broken = log_check(history);
    if (broken != NULL)
        fail("%s is broken", broken);
}

/* All of the region is free when the log is gone. */
static void account(void)
{
    struct tide_region_info info;
    int closed = tide_log_close(log_), removed = tide_log_remove(region);
    if (closed != 0 || removed != 0)
        fail("the log is not closed, or not removed: %d, %d", closed, removed);
    if (tide_region_info(region, &info) != 0 || info.free_bytes != info.capacity)
        fail("%zu bytes of %zu are free", info.free_bytes, info.capacity);
    tide_region_close(region);
}

static void make_world(void)
{
    struct tide_log_options options = options_of();
    struct tide_region_error error;
    memset((void *)world, 0, sizeof *world);
    world->history =
        (struct log_history){.event = world->event, .room = EVENTS, .level = way->level};
    if (tide_region_create(&region, source, REGION, TIDE_REGION_REPLACE, &error) != 0)
        fail("%s", error.text);
    if (tide_log_create_on(&log_, region, &options) != 0 || tide_log_close(log_) != 0)
        fail("no log");
    tide_region_close(region);
}

static void stuck(int signal)
{
    (void)signal;
    fail("it takes more than %d s", LONGEST);
}

static void one_region(uint64_t *random)
{
    make_world();
    alarm(LONGEST);
    for (unsigned i = 0; i < NODES; i++)
        start(i, 0);
    for (int i = 0; i < 2000 && atomic_load(&world->leaders) == 0; i++)
        nap(1000);
    nap(draw(random) % 300000);
    for (int i = 0; i < KILLS; i++)
        strike(random);
    end_all(random);
    open_log();
    read_all();
    judge();
    account();
    alarm(0);
}

/* So many kills, or as many as fit into the seconds. */
static int campaign(uint64_t most, uint64_t seconds, const char *only)
{
    uint64_t random = seed * 0x9e3779b97f4a7c15u | 1;
    time_t end = time(NULL) + (time_t)seconds;
    for (uint64_t i = 0; seconds != 0 ? time(NULL) < end : kills < most; i++) {
        way = &ways[i % WAYS];
        if (strstr(way->name, only) != NULL)
            one_region(&random);
        else if (i > WAYS && kills == 0) {
            dprintf(2, "stress_hosts: --only %s: no way has this in its name\n", only);
            return 2;
        }
        seed += i % WAYS == WAYS - 1;
    }
    clear();
    printf("stress_hosts: ok %llu kills, %llu stops, %llu to be expelled, %llu nodes lost, %llu "
           "sequencers, "
           "%llu batches\n",
           (unsigned long long)kills, (unsigned long long)stops, (unsigned long long)expels,
           (unsigned long long)lost, (unsigned long long)leaders, (unsigned long long)batches);
    return 0;
}

int main(int argc, char **argv)
{
    struct stress_options options;
    if (!stress_options_read(&options, argc, argv, "stress_hosts"))
        return 2;
    world = mmap(NULL, sizeof *world, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (world == MAP_FAILED)
        return 2;
    signal(SIGALRM, stuck);
    return campaign(options.ops / (SANITIZED ? 150000 : 50000), options.seconds, options.only);
}
