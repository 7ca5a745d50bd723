/*
 * stress_crew.c - a log that several processes have open at once, which are killed, stopped and
 * expelled at random moments, and followed by others: what was acknowledged is there, once, in
 * order, and where it was said to be.
 *
 * Each process appends (messages, batches, claims, blocks; with and without acknowledgements; with
 * all kinds of time-outs), and many read or run the sequencer as well. All write down what they
 * did in memory that they share. In the end the last ones close the log, this process reads what
 * is left, log_history.h judges, and the region has to be free to the last segment.
 *
 * stress_crew [--ops N | N] [--seconds N] [--seed N] [--only WORD] [--dir DIRECTORY |
 *              --region SOURCE]
 *   N / 16000 kills in all (1000000; with sanitizers a third); or as many as fit into the seconds;
 *   WORD: only ways with it in their names; the region's file is in DIRECTORY (/dev/shm), or it is
 *   SOURCE, as of tide_region_create
 * Exit: 0 nothing found, 1 a finding (one line on stderr), 2 bad arguments.
 */
#define _GNU_SOURCE 1
#include <sys/prctl.h>
#include <sys/wait.h>

#include "crew_life.h"

enum { KILLS = 10 /* of one region */, REGION = 12 << 20, LONGEST = 90 /* seconds of it */ };

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

static const struct way ways[] = {
    {"level 5 inline", 5, TIDE_LOG_INLINE, 1},      {"level 4 inline", 4, TIDE_LOG_INLINE, 0},
    {"level 5 by threads", 5, TIDE_LOG_STEPPED, 0}, {"level 0", 0, TIDE_LOG_INLINE, 1},
    {"level 4 by threads", 4, TIDE_LOG_STEPPED, 1},
};

enum { WAYS = sizeof ways / sizeof *ways };

static uint64_t kills, expels, stops, batches;

/* ---- the parent ------------------------------------------------------------------------------ */

static uint64_t lives, lives_of[SLOTS];
static pid_t pids[SLOTS];

static void start(int slot)
{
    life = lives_of[slot] = ++lives;
    number_of_mine = slot;
    mine = &world->slot[slot];
    atomic_store(&mine->expel, 0);
    fflush(NULL);
    pids[slot] = fork();
    if (pids[slot] != 0)
        return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    live();
}

/* It has ended, by a kill, or by itself because it was expelled. */
static void ended(int slot)
{
    int status;
    if (waitpid(pids[slot], &status, 0) != pids[slot])
        fail("nobody ended");
    if (atomic_load(&world->failed) != 0)
        _exit(1);
    if (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL)
        fail("process %d ended by signal %d", slot, WTERMSIG(status));
    if (WIFEXITED(status) && WEXITSTATUS(status) != 0)
        fail("process %d ended with %d", slot, WEXITSTATUS(status));
    pids[slot] = 0;
}

static void kill_one(int slot)
{
    kill(pids[slot], SIGKILL);
    ended(slot);
    kills++;
}

/* Half of the others stand still, or go on. */
static void stop_others(uint64_t which, int slot, int signal)
{
    for (int i = 0; i < SLOTS; i++)
        if (i != slot && (which >> i & 1) != 0) {
            kill(pids[i], signal);
            stops += signal == SIGSTOP;
        }
}

/* One of the processes is killed at a moment of the draw; perhaps others stand still meanwhile, or
 * it did before, or is expelled first. */
static void strike(uint64_t *random)
{
    int slot = (int)(draw(random) % SLOTS), other = (slot + 1 + (int)(draw(random) % 3)) % SLOTS;
    uint64_t how = draw(random) % 8, which = how < 4 ? draw(random) : 0;
    stop_others(which, slot, SIGSTOP);
    if (how == 4) {
        kill(pids[slot], SIGSTOP);
        stops++;
        nap(draw(random) % 100000);
    } else if (how == 5) {
        atomic_store(&world->slot[other].expel,
                     (uint64_t)pids[slot] << 32 | (uint64_t)slot << 24 | lives_of[slot]);
        expels++;
        nap(draw(random) % 30000);
    }
    kill_one(slot);
    nap(draw(random) % (how < 4 ? 100000 : 20000));
    stop_others(which, slot, SIGCONT);
    start(slot);
    nap(draw(random) % (draw(random) % 2 == 0 ? 60000 : 8000));
}

/* ---- the end --------------------------------------------------------------------------------- */

/* Everything that is there. */
static void read_all(tide_log_reader_t *reader, unsigned who)
{
    while (tide_log_poll(log_) > 0 || read_some(reader, who, 1000000) > 0) {
    }
}

static bool is_there(int slot)
{
    siginfo_t info = {0};
    return pids[slot] > 0 &&
           waitid(P_PID, (id_t)pids[slot], &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid == 0;
}

/* The processes end, by themselves or not; whoever of them waits for room or a place gets it from
 * here. */
static void end_all(uint64_t *random)
{
    unsigned who;
    open_log();
    tide_log_reader_t *reader = open_reader(&who);
    bool killed = draw(random) % 2 == 0;
    atomic_store(&world->stop, 1);
    for (int i = 0; i < SLOTS; i++) {
        while (!killed && is_there(i))
            read_all(reader, who);
        if (killed)
            kill_one(i);
        else
            ended(i);
    }
    read_all(reader, who);
    if (tide_log_reader_close(reader) != 0 || tide_log_close(log_) != 0)
        fail("the log stays open");
    tide_region_close(region);
}

/* Level 0: what the dead left of their claims are positions without a batch. The others count. */
static uint64_t close_up(struct log_history *history)
{
    static uint64_t rank[EVENTS];
    uint64_t next = 0;
    memset(rank, 0, sizeof rank);
    for (size_t i = 0; i < history->count; i++)
        if (history->event[i].kind == LOG_READ && history->event[i].position < EVENTS)
            rank[history->event[i].position] = 1;
    for (uint64_t i = 0; i < EVENTS; i++)
        rank[i] = rank[i] != 0 ? next++ : 0;
    for (size_t i = 0; i < history->count; i++)
        if (history->event[i].kind == LOG_READ && history->event[i].position < EVENTS)
            history->event[i].position = rank[history->event[i].position];
    return next;
}

static void judge(void)
{
    struct log_history *history = &world->history;
    struct tide_log_stat stat;
    if (tide_log_stat(log_, &stat) != 0 || (way->level != 0 && stat.taken != stat.committed))
        fail("%llu places were taken, %llu are committed", (unsigned long long)stat.taken,
             (unsigned long long)stat.committed);
    history->taken = way->level == 0 ? close_up(history) : stat.taken;
    history->messages = stat.messages;
    batches += history->taken;
    const char *broken = log_check(history);
    if (broken != NULL)
        fail("%s is broken", broken);
}

/* No entry of a table is left, no slot, no byte; and all of the region is free again. */
static void account(void)
{
    tide_log_client_t *client[SLOTS * CLIENTS + 4];
    tide_log_reader_t *reader[READERS];
    struct tide_log_broker_stat stat;
    struct tide_region_info info;
    for (unsigned i = 0; i < SLOTS * CLIENTS + 4; i++) {
        struct tide_log_client_options options = {.id = i};
        if (tide_log_client_open(&client[i], log_, &options) != 0)
            fail("client %u cannot be opened", i);
    }
    for (unsigned i = 0; i < READERS; i++)
        if (tide_log_reader_open(&reader[i], log_, NULL) != 0)
            fail("reader %u cannot be opened", i);
    for (unsigned i = 0; i < SLOTS * CLIENTS + 4; i++)
        tide_log_client_close(client[i]);
    for (unsigned i = 0; i < READERS; i++)
        tide_log_reader_close(reader[i]);
    for (unsigned i = 0; i < brokers; i++) {
        tide_log_trim(log_, i, UINT64_MAX, NULL);
        if (tide_log_stat_broker(log_, i, &stat) != 0 || stat.claimed != stat.released ||
            stat.used_bytes != 0)
            fail("%llu bytes of a ring are not free", (unsigned long long)stat.used_bytes);
    }
    if (tide_region_reclaim(region) < 0 || tide_region_info(region, &info) != 0 ||
        info.left_bytes != 0 || info.free_bytes + info.lent_bytes != info.capacity)
        fail("%zu bytes are left", info.left_bytes);
    if (tide_log_close(log_) != 0 || tide_log_remove(region) != 0 ||
        tide_region_info(region, &info) != 0 || info.free_bytes != info.capacity)
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
    unsigned who;
    make_world();
    alarm(LONGEST);
    for (int i = 0; i < SLOTS; i++)
        start(i);
    for (int i = 0; i < 2000 && atomic_load(&world->started) < SLOTS; i++)
        nap(1000);
    for (int i = 0; i < KILLS; i++)
        strike(random);
    end_all(random);
    open_log();
    tide_log_reader_t *reader = open_reader(&who);
    read_all(reader, who);
    tide_log_reader_close(reader);
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
            dprintf(2, "stress_crew: --only %s: no way has this in its name\n", only);
            return 2;
        }
        seed += i % WAYS == WAYS - 1;
    }
    clear();
    printf("stress_crew: ok %llu kills, %llu stops, %llu to be expelled, %llu batches\n",
           (unsigned long long)kills, (unsigned long long)stops, (unsigned long long)expels,
           (unsigned long long)batches);
    return 0;
}

int main(int argc, char **argv)
{
    struct stress_options options;
    if (!stress_options_read(&options, argc, argv, "stress_crew"))
        return 2;
    world = mmap(NULL, sizeof *world, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (world == MAP_FAILED)
        return 2;
    signal(SIGALRM, stuck);
    return campaign(options.ops / (SANITIZED ? 48000 : 16000), options.seconds, options.only);
}
