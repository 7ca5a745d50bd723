/*
 * prog_pitfall_step.c - interrupts malloc and free at every single instruction,
 * allocating and freeing in the signal handler.
 *
 * The processor's single-step flag is turned on for one call, the handler acts
 * at instruction k, and then no block may have been handed out twice. Each k has
 * a child of its own, which must end well. On the slow path, where a sample of k
 * is tried, it may also end with a message, and at least one must.
 *
 * prog_pitfall_step straight|slow
 */
#define _GNU_SOURCE 1
#include "pitfall.h"

#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>

enum { LIVE = 320, MORE = 300, SAMPLES = 40, LONGEST = 160, TRAP_FLAG = 0x100 };

struct scene {
    size_t size;
    bool frees, cold; /* the call: free or malloc; the slow path */
    int action;
};

enum { PAIR, TAKE_TWO, FREE_TWO, TAKE_MANY, FREE_MANY, OTHER_TIER, ACTIONS };

static const char *const action_names[] = {"pair",      "take two",  "free two",
                                           "take many", "free many", "other tier"};
static void *(*volatile do_malloc)(size_t) = malloc;
static void (*volatile do_free)(void *) = free;
static struct scene scene;
static unsigned char *live[LIVE], *taken[LIVE];
static volatile size_t live_count, taken_count;
static volatile long countdown;
static long *steps; /* shared with the children */
static int messages;

/* Enough to fill or empty a cache, but not all that a thread may keep. */
static size_t many(void)
{
    size_t fit = MIB / scene.size;
    return fit < MORE ? fit : MORE;
}

static void act(void)
{
    size_t count = scene.action == TAKE_TWO || scene.action == FREE_TWO ? 2 : many();
    if (scene.action == PAIR)
        do_free(do_malloc(scene.size));
    else if (scene.action == OTHER_TIER)
        do_free(do_malloc(scene.size < 2048 ? 5000 : 100));
    else if (scene.action == TAKE_TWO || scene.action == TAKE_MANY)
        while (count--)
            taken[taken_count++] = do_malloc(scene.size);
    else
        while (count--)
            do_free(live[--live_count]);
}

static void on_trap(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)info;
    ++*steps;
    if (countdown && --countdown == 0) {
        ((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG;
        act();
    }
}

/* The flag is changed beside the red zone. */
#define STEPPING_ON()                                                                              \
    __asm__ volatile("lea -128(%%rsp), %%rsp\n\tpushfq\n\torq $0x100, (%%rsp)\n\tpopfq\n\t"        \
                     "lea 128(%%rsp), %%rsp" ::                                                    \
                         : "memory", "cc")
#define STEPPING_OFF()                                                                             \
    __asm__ volatile("lea -128(%%rsp), %%rsp\n\tpushfq\n\tandq $-0x101, (%%rsp)\n\tpopfq\n\t"      \
                     "lea 128(%%rsp), %%rsp" ::                                                    \
                         : "memory", "cc")

static int by_address(const void *a, const void *b)
{
    const unsigned char *left = *(unsigned char *const *)a, *right = *(unsigned char *const *)b;
    return left < right ? -1 : left > right;
}

/* All blocks that are in use now, and some new ones, must be apart. */
static void must_be_apart(unsigned char *result)
{
    static unsigned char *all[2 * LIVE + MORE + 1];
    size_t count = 0;
    if (result)
        all[count++] = result;
    for (size_t i = 0; i < live_count; i++)
        all[count++] = live[i];
    for (size_t i = 0; i < taken_count; i++)
        all[count++] = taken[i];
    for (size_t i = 0; i < many(); i++)
        all[count++] = do_malloc(scene.size);
    qsort(all, count, sizeof *all, by_address);
    for (size_t i = 1; i < count; i++) {
        if (all[i - 1] + scene.size > all[i])
            die("%p was handed out twice", (void *)all[i]);
    }
}

/* One pair of malloc and free of which the scene's one is stepped through and
 * interrupted at instruction `at` (0: never). Returns malloc's block. */
static unsigned char *pair(long at)
{
    unsigned char *block;
    *steps = 0;
    countdown = at;
    if (scene.frees) {
        block = do_malloc(scene.cold ? 100000 : scene.size);
        STEPPING_ON();
        do_free(block);
        STEPPING_OFF();
        return NULL;
    }
    STEPPING_ON();
    block = do_malloc(scene.size);
    STEPPING_OFF();
    return block;
}

/* One call, interrupted at instruction `at` (0: never, just counted). */
__attribute__((noreturn)) static void child(long at)
{
    alarm(hang_seconds());
    if (!scene.cold) {
        do_free(do_malloc(scene.size < 2048 ? 5000 : 100));
        do_free(pair(0));
    }
    unsigned char *block = pair(at);
    must_be_apart(block);
    _exit(0);
}

/* 0 when the child ended as it may; else says why not. */
static int run_child(long at)
{
    char line[16] = "";
    int status, said = memfd_create("said", MFD_CLOEXEC);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(said, STDERR_FILENO);
        child(at);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        die("fork failed");
    bool spoke = pread(said, line, sizeof line - 1, 0) > 0 && !strncmp(line, "tidepool: ", 10);
    close(said);
    messages += spoke;
    if (status == 0 && !spoke)
        return 0;
    if (scene.cold && spoke && WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT)
        return 0;
    printf("%s(%zu), %s: instruction %ld, %s: status %#x%s\n", scene.frees ? "free" : "malloc",
           scene.size, scene.cold ? "slow path" : "straight path", at, action_names[scene.action],
           (unsigned)status, spoke ? " with a message" : "");
    return 1;
}

static int run_scene(void)
{
    int bad = run_child(0);
    long count = *steps, stride = scene.cold && count > SAMPLES ? count / SAMPLES : 1;
    if (!scene.cold && count > LONGEST)
        die("the straight path of %s(%zu) has %ld instructions", scene.frees ? "free" : "malloc",
            scene.size, count);
    for (long at = 1; at <= count && bad < 3; at += stride)
        bad += run_child(at);
    return bad;
}

static void fill(size_t size)
{
    while (live_count)
        do_free(live[--live_count]);
    while (live_count < LIVE)
        live[live_count++] = do_malloc(size);
}

static int straight_paths(void)
{
    static const size_t sizes[] = {48, 3000};
    int bad = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        fill(sizes[i]);
        for (int way = 0; way < 2 * ACTIONS && !bad; way++) {
            scene = (struct scene){sizes[i], way % 2, false, way / 2};
            bad = run_scene();
        }
    }
    return bad;
}

static int slow_paths(void)
{
    static const size_t sizes[] = {777, 7777, 150000};
    int bad = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (int way = 0; way < 2 * ACTIONS && !bad; way++) {
            scene = (struct scene){sizes[i], way % 2, true, way / 2};
            if (scene.action != FREE_MANY && scene.action != FREE_TWO)
                bad = run_scene();
        }
    }
    printf("%d interruptions of the slow path ended with a message\n", messages);
    return bad || messages == 0;
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO};
    setvbuf(stdout, NULL, _IONBF, 0);
    steps = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    sigaction(SIGTRAP, &action, NULL);
    if (argc > 1 && strcmp(argv[1], "slow") == 0)
        return slow_paths();
    return straight_paths();
}
