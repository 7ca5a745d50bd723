/*
 * bench_run.h - threads that start together, what they cost, memory while they run, and
 * main(): every case in turn.
 *
 * When there is more than one case, each runs in a process of its own: it starts with an
 * empty heap, its peak is its own, and one that crashes leaves the other results alone.
 */
#ifndef TIDE_BENCH_RUN_H
#define TIDE_BENCH_RUN_H

#include <pthread.h>
#include <semaphore.h>
#include <sys/wait.h>

#include "bench_result.h"

struct bench_team;

/* One thread. Only the thread itself writes here while it runs; main reads after the join. */
struct bench_worker {
    struct bench_team *team;
    const struct bench_plan *plan;
    pthread_t thread;
    uint32_t index;
    int failed; /* errno of an allocation that returned NULL */
    uint64_t checksum, switches, damaged;
    double start, end, cpu;
    struct bench_mix mix;
    void *own; /* what the bench adds */
} __attribute__((aligned(128)));

struct bench_team {
    const struct bench_plan *plan;
    uint32_t count;
    pthread_barrier_t barrier; /* of the workers */
    sem_t ended;               /* one post for each worker that ended */
    void *(*body)(struct bench_worker *);
    struct bench_worker *worker;
};

static inline struct bench_team *bench_make_team(const struct bench_plan *plan, uint32_t count)
{
    struct bench_team *team = bench_pages(sizeof *team);
    team->plan = plan;
    team->count = count;
    team->worker = bench_pages(count * sizeof *team->worker);
    pthread_barrier_init(&team->barrier, NULL, count);
    sem_init(&team->ended, 0, 0);
    for (uint32_t i = 0; i < count; i++) {
        team->worker[i].team = team;
        team->worker[i].plan = plan;
        team->worker[i].index = i;
    }
    return team;
}

/* ---- the timed part of a thread --------------------------------------------------------- */

static inline void bench_begin(struct bench_worker *self)
{
    pthread_barrier_wait(&self->team->barrier);
    self->switches = bench_switches(RUSAGE_THREAD);
    self->cpu = bench_seconds(CLOCK_THREAD_CPUTIME_ID);
    self->start = bench_seconds(CLOCK_MONOTONIC);
}

static inline void bench_end(struct bench_worker *self)
{
    self->end = bench_seconds(CLOCK_MONOTONIC);
    self->cpu = bench_seconds(CLOCK_THREAD_CPUTIME_ID) - self->cpu;
    self->switches = bench_switches(RUSAGE_THREAD) - self->switches;
}

/* ---- memory over time ------------------------------------------------------------------- */

static inline void bench_sample(struct bench_result *result, double start)
{
    char text[128], *at = text;
    bench_read("/proc/self/statm", text, sizeof text);
    strtoull(text, &at, 10);
    uint64_t pages = strtoull(at, NULL, 10);
    result->point[result->points++] = (struct bench_point){
        bench_seconds(CLOCK_MONOTONIC) - start, pages * (uint64_t)sysconf(_SC_PAGESIZE) / 1024};
}

/* Takes samples until every worker has ended: evenly spaced, at most BENCH_POINTS of them,
 * so the pause doubles whenever they are full. */
static inline void bench_watch(struct bench_team *team, struct bench_result *result)
{
    double start = bench_seconds(CLOCK_MONOTONIC), pause = 0.002, next = start;
    uint32_t ended = 0;
    result->point = bench_pages(BENCH_POINTS * sizeof *result->point);
    while (ended < team->count) {
        bench_sample(result, start);
        next += pause;
        if (result->points == BENCH_POINTS) {
            for (size_t i = 0; i < BENCH_POINTS / 2; i++)
                result->point[i] = result->point[2 * i];
            result->points /= 2;
            pause *= 2;
        }
        double left = next - bench_seconds(CLOCK_MONOTONIC);
        double wake = bench_seconds(CLOCK_REALTIME) + (left > 0 ? left : 0);
        struct timespec until = {(time_t)wake, (long)((wake - (double)(time_t)wake) * 1e9)};
        while (ended < team->count && sem_timedwait(&team->ended, &until) == 0)
            ended++;
    }
}

/* The mean of the series from one part of the time to another (0..1). */
static inline double bench_mean_kib(const struct bench_result *result, double from, double to)
{
    double sum = 0, count = 0;
    double all = result->points ? result->point[result->points - 1].seconds : 0;
    for (size_t i = 0; i < result->points; i++) {
        double at = all > 0 ? result->point[i].seconds / all : 0;
        if (at < from || at > to)
            continue;
        sum += (double)result->point[i].kib;
        count++;
    }
    if (count == 0) /* too short a run for as many samples */
        return result->points ? (double)result->point[result->points - 1].kib : 0;
    return sum / count;
}

/* What the series says about growth; the first eighth is the start-up. */
static inline void bench_add_growth(struct bench_result *result)
{
    double early = bench_mean_kib(result, 0.125, 0.375), late = bench_mean_kib(result, 0.75, 1);
    bench_add_figure(result, "rss_early_kib", "RSS early (KiB)", early, 0);
    bench_add_figure(result, "rss_late_kib", "RSS late (KiB)", late, 0);
    bench_add_figure(result, "rss_growth", "RSS late/early", early > 0 ? late / early : 0, 3);
}

/* ---- all threads ------------------------------------------------------------------------ */

static inline void *bench_thread(void *argument)
{
    struct bench_worker *self = argument;
    self->team->body(self);
    sem_post(&self->team->ended);
    return NULL;
}

/* Runs `body` in every worker; with a result, memory is sampled meanwhile. */
static inline void bench_run_team(struct bench_team *team, void *(*body)(struct bench_worker *),
                                  struct bench_result *sampled)
{
    team->body = body;
    for (uint32_t i = 0; i < team->count; i++) {
        struct bench_worker *worker = &team->worker[i];
        int error = pthread_create(&worker->thread, NULL, bench_thread, worker);
        if (error)
            bench_die(BENCH_FAILED, "thread %u: %s", i, strerror(error));
    }
    if (sampled != NULL)
        bench_watch(team, sampled);
    for (uint32_t i = 0; i < team->count; i++)
        pthread_join(team->worker[i].thread, NULL);
    while (sem_trywait(&team->ended) == 0)
        continue;
    for (uint32_t i = 0; i < team->count; i++)
        if (team->worker[i].failed)
            bench_die(BENCH_FAILED, "malloc failed: %s", strerror(team->worker[i].failed));
}

/* What the machine and this process had spent when the measurement began. */
struct bench_meter {
    double machine, own;
};

static inline struct bench_meter bench_meter_start(void)
{
    return (struct bench_meter){bench_machine_cpu(), bench_seconds(CLOCK_PROCESS_CPUTIME_ID)};
}

static inline double bench_meter_others(const struct bench_meter *meter)
{
    double own = bench_seconds(CLOCK_PROCESS_CPUTIME_ID) - meter->own;
    double others = bench_machine_cpu() - meter->machine - own;
    if (meter->machine < 0)
        return -1;
    return others > 0 ? others : 0;
}

/* Adds up the timed parts: wall time from the first start to the last end. */
static inline void bench_gather(const struct bench_team *team, struct bench_result *result)
{
    double start = team->worker[0].start, end = team->worker[0].end;
    for (uint32_t i = 0; i < team->count; i++) {
        const struct bench_worker *worker = &team->worker[i];
        start = worker->start < start ? worker->start : start;
        end = worker->end > end ? worker->end : end;
        result->cpu_s += worker->cpu;
        result->switches += worker->switches;
        result->checksum += worker->checksum;
    }
    result->wall_s = end - start + 1e-9;
    result->cpu_s += 1e-9;
}

/* Adds up what the replay found. */
static inline void bench_gather_proof(const struct bench_team *team, struct bench_result *result)
{
    uint64_t damaged = 0;
    for (uint32_t i = 0; i < team->count; i++) {
        bench_add_mix(&result->mix, &team->worker[i].mix);
        damaged += team->worker[i].damaged;
    }
    if (damaged)
        bench_die(BENCH_FAILED, "%llu blocks did not hold what was written to them",
                  (bench_count)damaged);
}

/* The timed run and its figures. */
static inline void bench_time_team(struct bench_team *team, void *(*body)(struct bench_worker *),
                                   struct bench_result *result, int sampled)
{
    struct bench_meter meter = bench_meter_start();
    bench_run_team(team, body, sampled ? result : NULL);
    result->other_s = bench_meter_others(&meter);
    result->peak_kib = bench_status_kib("VmHWM:");
    result->final_kib = bench_status_kib("VmRSS:");
    bench_gather(team, result);
}

/* ---- blocks ----------------------------------------------------------------------------- */

/* Writes to a fresh block what --touch says. */
static inline __attribute__((always_inline)) void bench_write(void *block, size_t size,
                                                              uint64_t word, enum bench_touch touch)
{
    if (touch == BENCH_TOUCH_ALL)
        memset(block, (int)(word & 0xff), size);
    if (touch != BENCH_TOUCH_NONE)
        memcpy(block, &word, sizeof word);
}

/* The first word of a block, 0 if nothing was written to it. */
static inline uint64_t bench_word(const void *block, enum bench_touch touch)
{
    uint64_t word = 0;
    if (touch != BENCH_TOUCH_NONE)
        memcpy(&word, block, sizeof word);
    return word;
}

/* ---- main ------------------------------------------------------------------------------- */

/* Runs a case in a process of its own. */
static inline int bench_in_child(const struct bench_plan *plan)
{
    int status = 0;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0)
        exit(plan->about->measure(plan));
    if (child < 0 || waitpid(child, &status, 0) != child)
        bench_die(BENCH_FAILED, "case %s: no process: %s", plan->label, strerror(errno));
    if (WIFEXITED(status))
        return WEXITSTATUS(status);
    fprintf(stderr, "%s: case %s: killed by signal %d\n", plan->about->name, plan->label,
            WTERMSIG(status));
    return BENCH_FAILED;
}

/* Every case: only looks whether it can be run, or runs it. The worst status of all. */
static inline int bench_each_case(const struct bench_plan *plan, int only_check)
{
    int worst = BENCH_OK;
    size_t cases = 0;
    for (uint32_t i = 0; plan->about->cases[i].name != NULL; i++)
        cases += plan->chosen >> i & 1;
    int alone = cases * plan->thread_list.count * plan->slot_list.count == 1;
    for (uint32_t i = 0; plan->about->cases[i].name != NULL; i++)
        for (size_t t = 0; (plan->chosen >> i & 1) && t < plan->thread_list.count; t++)
            for (size_t s = 0; s < plan->slot_list.count; s++) {
                struct bench_plan one =
                    bench_narrow(plan, i, plan->thread_list.at[t].low, plan->slot_list.at[s].low);
                if (only_check && plan->about->check != NULL)
                    plan->about->check(&one);
                if (only_check)
                    continue;
                int status = alone ? plan->about->measure(&one) : bench_in_child(&one);
                worst = status > worst ? status : worst;
            }
    return worst;
}

static inline int bench_main(int argc, char **argv, const struct bench_about *about)
{
    struct bench_plan plan = {.about = about};
    plan.first = mmap(NULL, sizeof(int), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (plan.first == MAP_FAILED)
        bench_die(BENCH_FAILED, "no memory");
    *plan.first = 1;
    bench_check_preload();
    if (!bench_parse(&plan, argc, argv))
        return BENCH_OK;
    bench_each_case(&plan, 1);
    return bench_each_case(&plan, 0);
}

#endif
