/*
 * bench_start - what it costs to start and end a process.
 *
 * Starts a program (default: /bin/true) again and again in three environments, one after the
 * other in the same run: with nothing preloaded (arm bare), with a shared object that does
 * next to nothing (arm empty), and as this bench itself was started (arm given, if something
 * is preloaded). One result for each arm; the last one is that of the environment given.
 *
 * The processes that are timed need not allocate anything. So in each environment one more,
 * untimed, is this bench itself as a probe: it allocates a block of every size, asks the
 * library about each, and tells its own peak RSS.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <spawn.h>

#include "bench_run.h"

enum arm { ARM_BARE, ARM_EMPTY, ARM_GIVEN, ARMS };

static const char *const arm_name[ARMS] = {"bare", "empty", "given"};

static const char *program = "/bin/true", *empty_object = "libutil.so.1";
static char probe_variable[] = "TIDE_BENCH_PROBE=1";

/* One thread: seconds of every start, for each arm. */
struct starts {
    float *seconds[ARMS];
    double cpu[ARMS];
};

/* What a probe tells. */
struct report {
    struct bench_mix mix;
    uint64_t peak_kib;
};

static char **environment[ARMS]; /* NULL: no such arm */
static struct report report[ARMS];

/* ---- environments ----------------------------------------------------------------------- */

/* Ours with LD_PRELOAD as `preload` says (NULL: without it) and one variable more (or NULL). */
static char **make_environment(const char *preload, char *more)
{
    size_t count = 0, n = 0;
    while (environ[count] != NULL)
        count++;
    char **list = bench_pages((count + 3) * sizeof *list);
    for (size_t i = 0; i < count; i++)
        if (strncmp(environ[i], "LD_PRELOAD=", 11) != 0)
            list[n++] = environ[i];
    if (preload != NULL) {
        size_t length = strlen(preload) + sizeof "LD_PRELOAD=";
        list[n] = bench_pages(length);
        snprintf(list[n++], length, "LD_PRELOAD=%s", preload);
    }
    list[n++] = more;
    return list;
}

static const char *preload_of(enum arm arm)
{
    return arm == ARM_BARE ? NULL : arm == ARM_EMPTY ? empty_object : getenv("LD_PRELOAD");
}

/* Arm given is left out when nothing is preloaded. */
static void make_environments(void)
{
    const char *preload = getenv("LD_PRELOAD");
    if (dlopen(empty_object, RTLD_LAZY) == NULL)
        bench_die(BENCH_FAILED, "--empty: %s", dlerror());
    for (int arm = ARM_BARE; arm < ARMS; arm++)
        if (arm != ARM_GIVEN || (preload != NULL && *preload != '\0'))
            environment[arm] = make_environment(preload_of(arm), NULL);
}

/* ---- starting --------------------------------------------------------------------------- */

/* One start and its end, on the clock. */
static void start_once(struct starts *own, enum arm arm, uint64_t number)
{
    char *arguments[] = {(char *)program, NULL};
    struct rusage usage;
    int status = -1;
    pid_t child, ended;
    double start = bench_seconds(CLOCK_MONOTONIC);
    int error = posix_spawn(&child, program, NULL, NULL, arguments, environment[arm]);
    if (error)
        bench_die(BENCH_FAILED, "%s: %s", program, strerror(error));
    while ((ended = wait4(child, &status, 0, &usage)) < 0 && errno == EINTR)
        continue;
    own->seconds[arm][number] = (float)(bench_seconds(CLOCK_MONOTONIC) - start);
    own->cpu[arm] += (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                     (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
    if (ended != child || status != 0)
        bench_die(BENCH_FAILED, "%s: ended with status %#x (arm %s)", program, (unsigned)status,
                  arm_name[arm]);
}

/* --slots starts of one arm, then as many of the next one. The arm that begins changes. */
static void *run_starts(struct bench_worker *self)
{
    const struct bench_plan *plan = self->plan;
    struct starts *own = self->own;
    bench_begin(self);
    for (uint64_t done = 0, turn = 0; done < plan->ops; done += plan->slots, turn++)
        for (uint32_t k = 0; k < ARMS; k++) {
            enum arm arm = (enum arm)((turn + k) % ARMS);
            for (uint64_t i = done; i < done + plan->slots && i < plan->ops; i++)
                if (environment[arm] != NULL)
                    start_once(own, arm, i);
        }
    bench_end(self);
    return NULL;
}

/* ---- the proof -------------------------------------------------------------------------- */

/* As the probe: a block of each size, and where it is, to standard output. */
static int probe(const struct bench_plan *plan)
{
    struct report mine = {0};
    for (size_t i = 0; i < plan->sizes.count; i++)
        for (int end = 0; end < 2; end++) {
            void *block = malloc(end ? plan->sizes.at[i].high : plan->sizes.at[i].low);
            if (block == NULL)
                return BENCH_FAILED;
            bench_ask(&mine.mix, block);
            free(block);
        }
    mine.peak_kib = bench_status_kib("VmHWM:");
    return write(STDOUT_FILENO, &mine, sizeof mine) == sizeof mine ? BENCH_OK : BENCH_FAILED;
}

/* Starts the probe in the arm's environment and reads what it found. */
static void send_probe(const struct bench_plan *plan, enum arm arm)
{
    char path[4096] = "";
    char *arguments[] = {(char *)plan->about->name, "--sizes", (char *)plan->sizes.text, NULL};
    posix_spawn_file_actions_t actions;
    int ends[2], status = -1;
    pid_t child;
    if (readlink("/proc/self/exe", path, sizeof path - 1) < 0 || pipe2(ends, O_CLOEXEC) != 0)
        bench_die(BENCH_FAILED, "probe: %s", strerror(errno));
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    int error = posix_spawn(&child, path, &actions, NULL, arguments,
                            make_environment(preload_of(arm), probe_variable));
    close(ends[1]);
    if (error)
        bench_die(BENCH_FAILED, "probe: %s", strerror(error));
    ssize_t length = read(ends[0], &report[arm], sizeof report[arm]);
    if (waitpid(child, &status, 0) != child || status != 0 || length != sizeof report[arm])
        bench_die(BENCH_FAILED, "probe: ended with status %#x (arm %s)", (unsigned)status,
                  arm_name[arm]);
    close(ends[0]);
    posix_spawn_file_actions_destroy(&actions);
}

/* ---- results ---------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* All threads' times of an arm, in order. */
static float *sorted_times(const struct bench_team *team, enum arm arm, size_t *count)
{
    uint64_t ops = team->plan->ops;
    *count = ops * team->count;
    float *all = bench_pages(*count * sizeof *all);
    for (uint32_t i = 0; i < team->count; i++)
        memcpy(all + i * ops, ((struct starts *)team->worker[i].own)->seconds[arm],
               ops * sizeof *all);
    qsort(all, *count, sizeof *all, by_value);
    return all;
}

static void add_times(const struct bench_team *team, enum arm arm, struct bench_result *result,
                      double empty_us)
{
    size_t count;
    const float *times = sorted_times(team, arm, &count);
    double median = (double)times[count / 2] * 1e6;
    result->ops = count;
    result->ops_per_thread = team->plan->ops;
    result->wall_s = result->cpu_s = 1e-9;
    for (size_t i = 0; i < count; i++)
        result->wall_s += (double)times[i] / team->count;
    for (uint32_t i = 0; i < team->count; i++)
        result->cpu_s += ((const struct starts *)team->worker[i].own)->cpu[arm];
    bench_add_figure(result, "start_us", "median (us)", median, 1);
    bench_add_figure(result, "start_p10_us", "fastest tenth (us)", (double)times[count / 10] * 1e6,
                     1);
    bench_add_figure(result, "start_cpu_us", "CPU time (us)", result->cpu_s * 1e6 / (double)count,
                     1);
    bench_add_figure(result, "of_empty", "of arm empty", median / empty_us, 3);
}

/* One arm's result. Only the last arm is served by what this process is served by. */
static int emit_arm(const struct bench_team *team, enum arm arm, enum arm last, double empty_us,
                    const struct bench_result *all)
{
    struct bench_about about = *team->plan->about;
    struct bench_plan plan = *team->plan;
    struct bench_result result = *all;
    add_times(team, arm, &result, empty_us);
    about.asks_nobody = arm != last;
    plan.about = &about;
    snprintf(plan.label, sizeof plan.label, "%s%s", arm_name[arm],
             team->plan->label + strlen(team->plan->which->name));
    result.mix = report[arm].mix;
    result.peak_kib = result.final_kib = report[arm].peak_kib;
    result.checksum = result.ops;
    return bench_emit(&plan, &result);
}

static int measure(const struct bench_plan *plan)
{
    struct bench_team *team = bench_make_team(plan, plan->threads);
    struct bench_result result = {0};
    int worst = BENCH_OK;
    if (getenv("TIDE_BENCH_PROBE") != NULL)
        return probe(plan);
    make_environments();
    for (uint32_t i = 0; i < plan->threads; i++) {
        struct starts *own = team->worker[i].own = bench_pages(sizeof *own);
        for (int arm = 0; arm < ARMS; arm++)
            own->seconds[arm] = bench_pages(plan->ops * sizeof(float));
    }
    bench_time_team(team, run_starts, &result, 0);
    size_t count;
    const float *empty = sorted_times(team, ARM_EMPTY, &count);
    static const enum arm order[] = {ARM_EMPTY, ARM_BARE, ARM_GIVEN};
    enum arm last = environment[ARM_GIVEN] != NULL ? ARM_GIVEN : ARM_BARE;
    for (size_t i = 0; i < ARMS; i++) {
        if (environment[order[i]] == NULL)
            continue;
        send_probe(plan, order[i]);
        int status = emit_arm(team, order[i], last, (double)empty[count / 2] * 1e6, &result);
        worst = status > worst ? status : worst;
    }
    return worst;
}

/* ---- the command line ------------------------------------------------------------------- */

static void take_program(const char *value)
{
    program = value;
}

static void take_empty(const char *value)
{
    empty_object = value;
}

static const struct bench_flag flags[] = {
    {"program", "FILE", "the program to start, a path (default /bin/true)", take_program},
    {"empty", "FILE", "the shared object of arm empty (default libutil.so.1)", take_empty},
    {0},
};

static const struct bench_case cases[] = {
    {"start", "16,4K,64K", 500, NULL, "/bin/true, in three environments"},
    {0},
};

static const struct bench_about about = {
    .name = "bench_start",
    .text = "Starts a program bare, with an empty shared object preloaded, and with what this\n"
            "bench has preloaded; tells the time from start to end. The RSS is that of a probe.",
    .operation = "one start of a process and its end",
    .cases = cases,
    .flags = flags,
    .threads = "1",
    .threads_text = "processes at one time",
    .threads_most = 256,
    .ops_text = "starts of a thread in each environment",
    .ops_most = 100000000,
    .sizes_text = "blocks that the probe allocates, in bytes; of a range both ends",
    .slots = "1",
    .slots_text = "starts in one environment before the next one has its turn",
    .measure = measure,
};

int main(int argc, char **argv)
{
    return bench_main(argc, argv, &about);
}
