/* stats.c - see stats.h: running the program, and collecting what it leaves */
#define _GNU_SOURCE
#include "stats.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- executing ---------------------------------------------------------------------- */

int exec_failed(const char *name, int error)
{
    complain("run", "%s: %s", name, strerror(error));
    return error == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_EXEC;
}

int run_program(char **argv)
{
    execvp(argv[0], argv);
    return exec_failed(argv[0], errno);
}

/* --- signals ------------------------------------------------------------------------ */

/* What somebody may send to the command and means for the program. */
static const int passed[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGCONT};

enum { PASSED = sizeof passed / sizeof passed[0] };

static volatile sig_atomic_t passed_to; /* the program's process id */

/* What a terminal sends goes to every process of its foreground: the program has it
 * already. What a process sends to the command alone is passed on. */
static void pass_on(int number, siginfo_t *info, void *context)
{
    int saved = errno;
    (void)context;
    if (info->si_code <= 0 && passed_to > 0 && info->si_pid != passed_to)
        kill((pid_t)passed_to, number);
    errno = saved;
}

struct signals {
    struct sigaction before[PASSED], child_before;
    sigset_t mask;
};

/* Blocks what will be passed on, until the program's id is known. */
static void signals_take(struct signals *signals)
{
    struct sigaction action = {.sa_sigaction = pass_on, .sa_flags = SA_SIGINFO | SA_RESTART};
    struct sigaction usual = {.sa_handler = SIG_DFL};
    sigset_t block;
    sigemptyset(&action.sa_mask);
    sigemptyset(&usual.sa_mask);
    sigemptyset(&block);
    for (int i = 0; i < PASSED; i++)
        sigaddset(&block, passed[i]);
    sigprocmask(SIG_BLOCK, &block, &signals->mask);
    for (int i = 0; i < PASSED; i++) {
        sigaction(passed[i], NULL, &signals->before[i]);
        if (signals->before[i].sa_handler != SIG_IGN)
            sigaction(passed[i], &action, NULL);
    }
    sigaction(SIGCHLD, &usual, &signals->child_before); /* ignored, nothing could be waited for */
}

static void signals_give_back(const struct signals *signals)
{
    for (int i = 0; i < PASSED; i++)
        sigaction(passed[i], &signals->before[i], NULL);
    sigaction(SIGCHLD, &signals->child_before, NULL);
    sigprocmask(SIG_SETMASK, &signals->mask, NULL);
}

/* Ends this process as the program ended, for whoever asks; without a second core. */
static void end_by_signal(int number)
{
    struct rlimit none = {0, 0};
    struct sigaction usual = {.sa_handler = SIG_DFL};
    sigset_t only;
    setrlimit(RLIMIT_CORE, &none);
    sigaction(number, &usual, NULL);
    sigemptyset(&only);
    sigaddset(&only, number);
    raise(number);
    sigprocmask(SIG_UNBLOCK, &only, NULL);
}

/* --- the directory ------------------------------------------------------------------- */

static bool stats_directory(struct stats_run *run, const char *parent)
{
    int length =
        snprintf(run->directory, sizeof run->directory, "%s/tidepool-stats.XXXXXX", parent);
    /* a comma would end the option; %p in it would be replaced; room for "/%p.json" */
    return parent[0] == '/' && strpbrk(parent, ",%") == NULL &&
           length < (int)sizeof run->directory - 16 && mkdtemp(run->directory) != NULL;
}

bool stats_begin(struct stats_run *run, const char *name, char pattern[STATS_PATH])
{
    const char *parent = getenv("TMPDIR");
    run->copy = NULL;
    run->name = name;
    if (name != NULL && (run->copy = fopen(name, "we")) == NULL) {
        complain("run", "--stats=%s: %s", name, strerror(errno));
        return false;
    }
    if ((parent == NULL || !stats_directory(run, parent)) && !stats_directory(run, "/tmp")) {
        complain("run", "cannot make a directory in /tmp for the statistics: %s", strerror(errno));
        return false;
    }
    snprintf(pattern, STATS_PATH, "%.200s/%%p.json", run->directory);
    return true;
}

static void read_file(struct stats_sum *sum, struct stats_run *run, const char *path)
{
    char *line = NULL;
    size_t size = 0;
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return;
    while (getline(&line, &size, file) > 0) {
        sum_add(sum, line);
        if (run->copy != NULL)
            fputs(line, run->copy);
    }
    free(line);
    fclose(file);
}

/* Sums up and removes the files, and the directory unless somebody still needs it. */
static void collect(struct stats_sum *sum, struct stats_run *run, bool keep)
{
    char path[STATS_PATH + 300];
    DIR *directory = opendir(run->directory);
    const struct dirent *entry;
    while (directory != NULL && (entry = readdir(directory)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", run->directory, entry->d_name);
        read_file(sum, run, path);
        unlink(path);
    }
    if (directory != NULL)
        closedir(directory);
    if (!keep)
        rmdir(run->directory);
}

/* --- the run ------------------------------------------------------------------------- */

/* Forks and executes; execvp's error comes back through a pipe that a successful
 * execution closes. Returns the process id, or -1 with the error in *error. */
static pid_t start_program(char **argv, const struct signals *signals, int *error)
{
    int channel[2];
    *error = 0;
    if (pipe2(channel, O_CLOEXEC) != 0) {
        *error = errno;
        return -1;
    }
    pid_t child = fork();
    if (child == 0) {
        signals_give_back(signals);
        execvp(argv[0], argv);
        int why = errno;
        ssize_t told = write(channel[1], &why, sizeof why);
        _exit(told == (ssize_t)sizeof why ? EXIT_NOT_FOUND : EXIT_CANNOT_EXEC);
    }
    if (child < 0)
        *error = errno;
    close(channel[1]);
    if (child > 0) {
        ssize_t got;
        do
            got = read(channel[0], error, sizeof *error);
        while (got < 0 && errno == EINTR);
        if (got != (ssize_t)sizeof *error)
            *error = 0;
    }
    close(channel[0]);
    return child;
}

/* Waits for the program, and takes in those of its children that outlived their
 * parents meanwhile. Returns its status; *others tells whether some still run. */
static int wait_program(pid_t child, bool *others)
{
    int status = 0, found = 0;
    pid_t ended;
    do
        ended = waitpid(-1, &found, 0);
    while (ended != child && (ended > 0 || errno == EINTR));
    status = ended == child ? found : status;
    passed_to = 0;
    do
        ended = waitpid(-1, &found, WNOHANG);
    while (ended > 0);
    *others = ended == 0;
    return status;
}

static bool finish_copy(struct stats_run *run)
{
    if (run->copy == NULL)
        return true;
    bool failed = ferror(run->copy) != 0;
    if (fclose(run->copy) == 0 && !failed)
        return true;
    complain("run", "--stats=%s: cannot write: %s", run->name, strerror(errno));
    return false;
}

static bool summarise(struct stats_run *run, bool others)
{
    static struct stats_sum sum;
    collect(&sum, run, others);
    sum_print(&sum);
    if (others)
        complain("run",
                 "some processes of the program still run: they are not counted, and leave their "
                 "statistics in %s",
                 run->directory);
    return finish_copy(run);
}

int stats_run(struct stats_run *run, char **argv)
{
    struct signals signals;
    int error;
    bool others;
    /* orphans come to this process, so that it knows of those that still run */
    prctl(PR_SET_CHILD_SUBREAPER, 1UL);
    signals_take(&signals);
    pid_t child = start_program(argv, &signals, &error);
    passed_to = child;
    sigprocmask(SIG_SETMASK, &signals.mask, NULL);
    if (child < 0) {
        complain("run", "cannot start a process: %s", strerror(error));
        rmdir(run->directory);
        return EXIT_ERROR;
    }
    int status = wait_program(child, &others);
    if (error != 0) {
        rmdir(run->directory);
        return exec_failed(argv[0], error);
    }
    bool written = summarise(run, others);
    if (WIFSIGNALED(status)) {
        end_by_signal(WTERMSIG(status));
        return 128 + WTERMSIG(status);
    }
    return WEXITSTATUS(status) == 0 && !written ? EXIT_ERROR : WEXITSTATUS(status);
}
