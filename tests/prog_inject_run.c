/*
 * prog_inject_run.c - each system call of the library fails once, and from there on,
 * for every call of some small runs.
 *
 * prog_inject_run RUN [NAME]   NAME: of the run in the verdicts
 *
 * A request then gives NULL with ENOMEM, or succeeds by another way. What is live
 * stays whole and can be freed, calloc gives zeroes, nothing is said on stderr. When
 * the failures are over everything works again, and in the end nothing is live and no
 * memory is lost. Every case has a child process of its own.
 */
#define _GNU_SOURCE 1
#include "inject_block.h"
#include "inject_trap.h"

#include <sys/wait.h>

enum {
    HANG_SECONDS = 120,
    LOST = 256 * KIB, /* twice as much between threads: whose memory it is differs by run */
    SHOWN = 3,
    WORKERS = 3,
    WORKER_SLOTS = 200,
    HEAPS = 100
};

struct run {
    const char *name;
    void (*work)(void);
    const char *retain; /* the option: how much stays resident for reuse */
    unsigned calls;     /* kinds of calls that it must make to be worth anything */
};

/* --- the runs: they may fail everywhere, and free on ------------------------------------ */

static void churn(size_t count, size_t low, size_t high)
{
    uint64_t state = 1;
    for (size_t i = 0; i < count; i++)
        take(i, low + next_random(&state) % (high - low + 1));
    for (size_t i = 0; i < count; i += 2)
        drop(i);
    for (size_t i = 0; i < count; i += 2)
        take(i, low + next_random(&state) % (high - low + 1));
    for (size_t i = 0; i < count; i++)
        if (i % 50)
            drop(i);
}

static void work_tiny(void)
{
    churn(2000, 16, 2040);
}

static void work_mid(void)
{
    churn(600, 2048, 32000); /* more than small magazines keep */
}

static void work_large(void)
{
    churn(60, 33000, 600000);
}

/* More addresses than are kept without memory. */
static void work_huge(void)
{
    churn(14, 6 * MIB, 9 * MIB);
}

static void work_aligned(void)
{
    static const size_t sizes[] = {24, 700, 5000, 20000, 60000, 1500000};
    size_t index = 0;
    for (size_t align = 32; align <= 4 * MIB; align *= 4)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
            take_aligned(index++, align, sizes[i]);
    for (size_t i = 0; i < index; i += 2)
        drop(i);
    for (size_t i = 0; i < index; i += 2)
        take_aligned(i, i % 4 ? 4096 : MIB, sizes[i % 6]);
}

/* Three blocks grow in turn, through all tiers, and shrink again. */
static void work_realloc(void)
{
    for (size_t i = 0; i < 3; i++)
        take(i, 16);
    for (size_t size = 24; size < 6 * MIB; size += size / 2)
        for (size_t i = 0; i < 3; i++)
            if (slots[i].at)
                resize(i, size + i);
    for (size_t size = 5 * MIB; size > 1000; size /= 3)
        for (size_t i = 0; i < 3; i++)
            if (slots[i].at)
                resize(i, size);
}

/* What calloc takes was written to and freed before. */
static void work_calloc(void)
{
    static const size_t sizes[] = {100, 1500, 4096, 20000, 40000, 100000, 300000, 1100000};
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < 16; i++)
            if (take_zero(i, sizes[i % 8] + 64 * i))
                memset(slots[i].at, 0xff, slots[i].size);
        for (size_t i = 0; i < 16; i++) {
            free(slots[i].at);
            slots[i].at = NULL;
        }
        if (round == 1)
            malloc_trim(0);
    }
}

/* Takes blocks, leaves half of them to the main thread, frees some of the main thread's. */
static void *worker(void *arg)
{
    size_t first = (size_t)arg * WORKER_SLOTS;
    uint64_t state = first;
    for (size_t i = first; i < first + WORKER_SLOTS / 2; i++)
        take(i, mixed_size(&state));
    for (size_t i = first; i < first + WORKER_SLOTS / 2; i += 2)
        drop(i);
    for (size_t i = first + WORKER_SLOTS / 2; i < first + WORKER_SLOTS; i++)
        drop(i);
    return NULL;
}

/* The first one alone, the others side by side. */
static void work_threads(void)
{
    pthread_t thread[WORKERS];
    bool runs[WORKERS];
    uint64_t state = 7;
    for (size_t i = 0; i < WORKERS * WORKER_SLOTS; i++)
        if (i % WORKER_SLOTS >= WORKER_SLOTS / 2)
            take(i, mixed_size(&state));
    for (size_t i = 0; i < WORKERS; i++) {
        runs[i] = pthread_create(&thread[i], NULL, worker, (void *)i) == 0;
        if (i == 0 && runs[i])
            pthread_join(thread[i], NULL);
    }
    for (size_t i = 1; i < WORKERS; i++)
        if (runs[i])
            pthread_join(thread[i], NULL);
    for (size_t i = 0; i < WORKERS * WORKER_SLOTS; i += 3)
        drop(i);
}

static void *free_all(void *arg)
{
    drop_all();
    return arg;
}

/* Heaps until the tables of the library are full, a block of each; another thread frees
 * them, which takes room in the tables for each heap. */
static void work_remote(void)
{
    tide_heap_t *heap[HEAPS];
    pthread_t thread;
    for (size_t i = 0; i < HEAPS; i++) {
        heap[i] = tide_heap_create();
        errno = ENOMEM;
        keep(i, heap[i] ? tide_heap_malloc(heap[i], 100) : NULL, 100);
    }
    if (pthread_create(&thread, NULL, free_all, NULL) == 0)
        pthread_join(thread, NULL);
    drop_all();
    for (size_t i = 0; i < HEAPS; i++)
        tide_heap_destroy(heap[i]);
}

static void work_fork(void)
{
    uint64_t state = 3;
    int status;
    for (size_t i = 0; i < 80; i++)
        take(i, mixed_size(&state));
    pid_t child = fork();
    if (child < 0)
        die("fork: errno %d", errno);
    for (size_t i = 80; i < 160; i++)
        take(i, mixed_size(&state));
    for (size_t i = 0; i < 160; i += 2)
        drop(i);
    if (child == 0) {
        check_all();
        drop_all();
        _exit(0);
    }
    if (waitpid(child, &status, 0) != child || status)
        die("the forked child ended with status %#x", (unsigned)status);
}

static void work_trim(void)
{
    uint64_t state = 5;
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < 160; i++)
            if (!slots[i].at)
                take(i, round == 1 ? 16 + next_random(&state) % 2000 : mixed_size(&state));
        take(160, 2000000);
        for (size_t i = 0; i <= 160; i++)
            if (i % 7)
                drop(i);
        malloc_trim(0);
    }
}

static void work_heaps(void)
{
    tide_heap_t *heap[2] = {tide_heap_create(), tide_heap_create()};
    uint64_t state = 9;
    for (size_t i = 0; i < 240; i++) {
        size_t size = i % 40 ? mixed_size(&state) : 1300000;
        tide_heap_t *from = heap[i % 2];
        errno = 0;
        if (!from)
            take(i, size);
        else if (i % 5)
            keep(i, tide_heap_malloc(from, size), size);
        else
            keep(i, tide_heap_aligned_alloc(from, 256, size), size);
    }
    for (size_t i = 0; i < 240; i += 3)
        drop(i);
    check_all();
    for (size_t i = 0; i < 240; i++)
        if (heap[i % 2])
            slots[i].at = NULL; /* goes with the heap */
    tide_heap_destroy(heap[0]);
    tide_heap_destroy(heap[1]);
}

/* More than the windows hold that there are at first under a limit. */
static void work_windows(void)
{
    size_t count = 0;
    for (size_t i = 0; i < 2400; i++)
        take(count++, 2000);
    for (size_t i = 0; i < 180; i++)
        take(count++, 28000);
    for (size_t i = 0; i < 600; i++)
        take_aligned(count++, 4096, 32000);
    for (size_t i = 0; i < count; i++)
        if (i % 100)
            drop(i);
}

static void work_figures(void)
{
    struct tide_stats stats;
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    for (size_t i = 0; i < 3; i++) {
        int ret = tide_stats(&stats);
        if (ret && ret != -ENOMEM)
            die("tide_stats gave %d", ret);
        ret = tide_stats_json(null);
        if (ret && ret != -ENOMEM)
            die("tide_stats_json gave %d", ret);
        take(i, 100);
        if (slots[i].at && malloc_usable_size(slots[i].at) < 100)
            die("usable size");
        mallinfo2();
        malloc_trim(0);
    }
    close(null);
}

enum {
    MAPS = 1 << TRAP_MMAP,
    PROTECTS = 1 << TRAP_MPROTECT,
    ADVISES = 1 << TRAP_MADVISE,
    UNMAPS = 1 << TRAP_MUNMAP,
    REMAPS = 1 << TRAP_MREMAP
};

static const struct run runs[] = {
    {"tiny", work_tiny, "0", PROTECTS | ADVISES},
    {"mid", work_mid, "0", PROTECTS | ADVISES},
    {"large", work_large, "0", PROTECTS | ADVISES},
    {"huge", work_huge, "0", MAPS | UNMAPS},
    {"aligned", work_aligned, "0", MAPS | PROTECTS | UNMAPS},
    {"realloc", work_realloc, "0", MAPS | PROTECTS | ADVISES | REMAPS},
    {"calloc", work_calloc, "8M", MAPS | PROTECTS},
    {"threads", work_threads, "0", MAPS | PROTECTS},
    {"remote", work_remote, "0", MAPS | PROTECTS},
    {"fork", work_fork, "0", PROTECTS},
    {"trim", work_trim, "64M", PROTECTS | ADVISES | UNMAPS},
    {"heaps", work_heaps, "0", MAPS | PROTECTS | ADVISES},
    {"windows", work_windows, "64M", MAPS | PROTECTS},
    {"figures", work_figures, "0", MAPS | UNMAPS},
};

/* --- one case --------------------------------------------------------------------------- */

/* After the failures: some of everything, and all of it is given. */
static void recover(void)
{
    uint64_t state = 11;
    size_t first = SLOTS - 36;
    for (size_t i = first; i < SLOTS; i++) {
        size_t size = i % 16 ? mixed_size(&state) : 1200000;
        bool done = i % 3 == 0   ? take(i, size)
                    : i % 3 == 1 ? take_zero(i, size)
                                 : take_aligned(i, 128, size);
        if (!done)
            die("%zu bytes are refused after the failures were over", size);
    }
}

static void *warm(void *arg)
{
    free(do_malloc(100));
    return arg;
}

/* The threads' stacks stay with libc, and some blocks of its own with them. */
static void warm_up(void)
{
    pthread_t thread[WORKERS];
    for (int i = 0; i < WORKERS; i++)
        thread[i] = start(warm, NULL);
    for (int i = 0; i < WORKERS; i++)
        pthread_join(thread[i], NULL);
}

static void be_case(const struct run *run, const struct trap_plan *plan)
{
    alarm(HANG_SECONDS);
    if (run->work == work_threads || run->work == work_remote)
        warm_up();
    uint64_t before = live_blocks();
    trap_arm(plan);
    run->work();
    check_all();
    trap_disarm();
    trap->nulls = nulls;
    nulls = 0;
    recover();
    check_all();
    drop_all();
    malloc_trim(0);
    uint64_t after = live_blocks();
    if (after != before)
        die("%llu blocks are live in the end", (unsigned long long)(after - before));
    size_t bytes = anonymous();
    if (plan->count == 0)
        trap->anonymous = bytes;
    else if (bytes > trap->anonymous + (run->work == work_threads ? 2 : 1) * LOST)
        die("%zu KiB of memory were lost", (bytes - trap->anonymous) / KIB);
    _exit(0);
}

static int words; /* what a case wrote, to stdout or stderr: must stay empty */
static unsigned bad_cases;

/* Shows what a case said, or how it ended. */
static void complain(const struct trap_plan *plan, int status)
{
    char text[256] = "";
    if (bad_cases++ >= SHOWN)
        return;
    if (pread(words, text, sizeof text - 1, 0) <= 0)
        snprintf(text, sizeof text, "status %#x", (unsigned)status);
    text[strcspn(text, "\n")] = '\0';
    printf("# call %u of kinds %#x, %s: errno %d: %s\n", plan->from, plan->kinds,
           plan->count == 1 ? "alone" : "and those after it", plan->error, text);
}

static bool run_case(const struct run *run, const struct trap_plan *plan)
{
    int status = 0;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        dup2(words, STDOUT_FILENO);
        dup2(words, STDERR_FILENO);
        be_case(run, plan);
    }
    if (child < 0 || waitpid(child, &status, 0) != child)
        die("fork or wait: errno %d", errno);
    bool good = status == 0 && lseek(words, 0, SEEK_END) == 0;
    if (!good)
        complain(plan, status);
    if (ftruncate(words, 0) || lseek(words, 0, SEEK_SET))
        die("the file for words: errno %d", errno);
    return good;
}

/* --- all cases of a run ----------------------------------------------------------------- */

static int failures;

static void verdict(const char *name, const char *what, unsigned cases)
{
    failures += bad_cases > 0;
    if (bad_cases)
        printf("not ok - %s: %s (%u of %u cases)\n", name, what, bad_cases, cases);
    else
        printf("ok - %s: %s\n", name, what);
    bad_cases = 0;
}

/* For every number of a call: it fails, or all from it on (count: TRAP_FOR_EVER). */
static unsigned each_call(const struct run *run, unsigned kinds, unsigned calls, unsigned count,
                          int error)
{
    unsigned got_nulls = 0;
    for (unsigned from = 1; from <= calls; from++) {
        struct trap_plan plan = {kinds, from, count, error};
        run_case(run, &plan);
        got_nulls += trap->nulls;
    }
    return got_nulls;
}

static void try_all(const struct run *run)
{
    static const int errors[TRAP_OTHER] = {EAGAIN, EPERM, EINVAL, EINVAL, ENOSYS};
    static const struct trap_plan none = {0, 0, 0, 0};
    unsigned calls[TRAP_KINDS], all = 0, made = 0, cases = 0;
    if (!run_case(run, &none)) {
        verdict(run->name, "nothing fails", 1);
        return;
    }
    for (int i = 0; i < TRAP_KINDS; i++) {
        calls[i] = trap->calls[i];
        all += calls[i];
        made |= (calls[i] > 0) << i;
    }
    printf("# %s: %u calls: mmap %u, mprotect %u, madvise %u, munmap %u, mremap %u, other %u\n",
           run->name, all, calls[0], calls[1], calls[2], calls[3], calls[4], calls[5]);
    bad_cases += (run->calls & ~made) != 0 || calls[TRAP_OTHER] != 0;
    verdict(run->name, "makes the calls that are to fail, and no other", 1);
    each_call(run, TRAP_ALL, all, 1, ENOMEM);
    verdict(run->name, "one call fails", all);
    bad_cases += each_call(run, TRAP_ALL, all, TRAP_FOR_EVER, ENOMEM) == 0;
    verdict(run->name, "all calls fail from one on", all);
    for (int i = 0; i < TRAP_OTHER; i++) {
        each_call(run, 1u << i, calls[i], TRAP_FOR_EVER, errors[i]);
        cases += calls[i];
    }
    verdict(run->name, "calls of one kind fail from one on", cases);
}

int main(int argc, char **argv)
{
    static char buffer[4096];
    if (argc < 2)
        die("arguments");
    if (!tide_option_set || !tide_stats)
        die("the library is not there");
    setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
    words = memfd_create("words", MFD_CLOEXEC);
    trap_set(argv);
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        if (strcmp(argv[1], runs[i].name))
            continue;
        struct run run = runs[i];
        if (argc > 2)
            run.name = argv[2];
        tide_option_set("retain", run.retain);
        try_all(&run);
        return failures > 0;
    }
    die("no run of that name");
}
