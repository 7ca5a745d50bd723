/*
 * prog_inject_start.c - each system call of the library fails while a process starts.
 *
 * prog_inject_start LIBRARY PROGRAM [ARGUMENT...]   for every call that LIBRARY makes
 *     when PROGRAM is run under its preload: the call fails, alone or with all after it
 * prog_inject_start --target                        a program to be run like that
 *
 * The program has to reach its end with the exit status that it has without failures
 * (--target does without memory, where it must), and nobody may say a word.
 */
#define _GNU_SOURCE 1
#include "pitfall.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>

static const unsigned watched[] = {
    SYS_mmap, SYS_mprotect, SYS_madvise,   SYS_munmap,     SYS_mremap,  SYS_mbind,  SYS_openat,
    SYS_read, SYS_close,    SYS_prlimit64, SYS_readlinkat, SYS_sysinfo, SYS_getpid, SYS_getrandom};

enum { WATCHED = sizeof watched / sizeof *watched, MOST_CALLS = 1000, HANG_SECONDS = 120 };

/* Of the calls of one process number `from` and the `count` - 1 after it fail. */
struct plan {
    unsigned from, count;
    int error;
};

struct text_range {
    unsigned long from, to;
};

static int words; /* what the program wrote to stderr: must stay empty */

/* --- the program ------------------------------------------------------------------------ */

static void *(*volatile do_malloc)(size_t) = malloc;

static void try_size(size_t size)
{
    errno = 0;
    unsigned char *block = do_malloc(size);
    if (!block && errno != ENOMEM)
        die("NULL with errno %d", errno);
    if (block)
        mark(block, size);
    free(block);
}

static void *try_sizes(void *arg)
{
    static const size_t sizes[] = {16, 1000, 5000, 30000, 100000, 3000000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        try_size(sizes[i]);
    return arg;
}

static int be_target(void)
{
    pthread_t thread;
    try_sizes(NULL);
    if (pthread_create(&thread, NULL, try_sizes, NULL) == 0)
        pthread_join(thread, NULL);
    void *aligned = NULL;
    if (posix_memalign(&aligned, 4096, 100) == 0)
        free(aligned);
    return 0;
}

/* --- the tracer ------------------------------------------------------------------------- */

/* From the program that is to come on, the kernel tells the tracer about these calls. */
static void watch(void)
{
    struct sock_filter code[WATCHED + 3];
    unsigned short n = 0;
    code[n++] =
        (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (int i = 0; i < WATCHED; i++)
        code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, watched[i],
                                                 (uint8_t)(WATCHED - i), 0);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE);
    struct sock_fprog filter = {n, code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter))
        _exit(EXIT_SKIP);
}

static pid_t launch(char **argv)
{
    pid_t child = fork();
    if (child != 0)
        return child;
    dup2(words, STDERR_FILENO);
    setenv("LD_PRELOAD", argv[1], 1);
    alarm(HANG_SECONDS);
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
        _exit(EXIT_SKIP);
    raise(SIGSTOP);
    watch();
    execvp(argv[2], argv + 2);
    _exit(127);
}

/* Where the library's text is in the process; false while it is not there. */
static bool find_text(pid_t child, const char *library, struct text_range *text)
{
    char path[64], line[512];
    snprintf(path, sizeof path, "/proc/%d/maps", child);
    FILE *maps = fopen(path, "r");
    if (!maps)
        die("%s cannot be read", path);
    bool found = false;
    while (!found && fgets(line, sizeof line, maps))
        found = strstr(line, library) && strstr(line, " r-xp ") &&
                sscanf(line, "%lx-%lx", &text->from, &text->to) == 2;
    fclose(maps);
    return found;
}

/* The process stands before a call. Counts it if it is the library's, and makes it fail. */
static void judge_call(pid_t child, const char *library, const struct plan *plan,
                       struct text_range *text, unsigned *calls)
{
    struct user_regs_struct regs;
    if (ptrace(PTRACE_GETREGS, child, NULL, &regs))
        die("ptrace: errno %d", errno);
    if (text->to == 0)
        find_text(child, library, text);
    if (regs.rip - text->from >= text->to - text->from)
        return;
    ++*calls;
    if (*calls < plan->from || *calls - plan->from >= plan->count)
        return;
    regs.orig_rax = (unsigned long long)-1;
    regs.rax = (unsigned long long)-plan->error;
    if (ptrace(PTRACE_SETREGS, child, NULL, &regs))
        die("ptrace: errno %d", errno);
}

/* Runs the program to its end; returns its wait status and how many calls it made. */
static int trace(char **argv, const struct plan *plan, unsigned *calls)
{
    const long options = PTRACE_O_TRACESECCOMP | PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL;
    struct text_range text = {0, 0};
    pid_t first = launch(argv);
    int status;
    *calls = 0;
    if (waitpid(first, &status, 0) != first || !WIFSTOPPED(status))
        give_up("ptrace is not allowed here");
    ptrace(PTRACE_SETOPTIONS, first, NULL, options);
    ptrace(PTRACE_CONT, first, NULL, NULL);
    for (;;) {
        pid_t child = waitpid(-1, &status, __WALL);
        if (child < 0)
            die("wait: errno %d", errno);
        if (!WIFSTOPPED(status)) {
            if (child == first)
                return status;
            continue;
        }
        int signal = WSTOPSIG(status);
        if (status >> 8 == (SIGTRAP | PTRACE_EVENT_SECCOMP << 8))
            judge_call(child, argv[1], plan, &text, calls);
        bool pass = signal != SIGTRAP && signal != SIGSTOP;
        ptrace(PTRACE_CONT, child, NULL, (void *)(long)(pass ? signal : 0));
    }
}

static unsigned bad_cases;

static bool run_case(char **argv, const struct plan *plan, int expected, unsigned *calls)
{
    char text[256] = "";
    int status = trace(argv, plan, calls);
    ssize_t said = pread(words, text, sizeof text - 1, 0);
    if (ftruncate(words, 0) || lseek(words, 0, SEEK_SET))
        die("the file for words: errno %d", errno);
    if (status == expected && said <= 0)
        return true;
    text[strcspn(text, "\n")] = '\0';
    if (bad_cases++ < 3)
        printf("# call %u, %s: errno %d: status %#x %s\n", plan->from,
               plan->count == 1 ? "alone" : "and those after it", plan->error, (unsigned)status,
               text);
    return false;
}

static int verdict(const char *name, const char *what)
{
    int bad = bad_cases > 0;
    if (bad)
        printf("not ok - start: %s: %s (%u cases)\n", name, what, bad_cases);
    else
        printf("ok - start: %s: %s\n", name, what);
    bad_cases = 0;
    return bad;
}

int main(int argc, char **argv)
{
    static const int errors[] = {ENOMEM, EPERM};
    struct plan none = {0, 0, 0};
    unsigned calls, ignored;
    int bad = 0;
    if (argc == 2 && strcmp(argv[1], "--target") == 0)
        return be_target();
    if (argc < 3)
        die("arguments");
    const char *slash = strrchr(argv[2], '/');
    const char *name = argc > 3 ? argv[3] : slash ? slash + 1 : argv[2];
    argv[1] = realpath(argv[1], NULL); /* as /proc shows it */
    if (!argv[1])
        die("no such library");
    words = memfd_create("words", MFD_CLOEXEC);
    int expected = trace(argv, &none, &calls);
    printf("# start: %s: %u calls, status %#x\n", name, calls, (unsigned)expected);
    bad_cases = calls < 5 || calls > MOST_CALLS;
    bad += verdict(name, "makes the calls that are to fail");
    for (int e = 0; e < 2; e++)
        for (unsigned from = 1; from <= calls; from++)
            run_case(argv, &(struct plan){from, 1, errors[e]}, expected, &ignored);
    bad += verdict(name, "one call fails");
    for (int e = 0; e < 2; e++)
        for (unsigned from = 1; from <= calls; from++)
            run_case(argv, &(struct plan){from, 1u << 30, errors[e]}, expected, &ignored);
    return bad + verdict(name, "all calls fail from one on") > 0;
}
