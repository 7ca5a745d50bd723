/*
 * demo_watch - runs a command and looks at the memory map of every process that it starts.
 *
 *     demo_watch LIBRARY LOG COMMAND [ARGUMENT]...
 *
 * Traces the whole tree of processes, so none is missed, however short it lives. Each one is
 * held when it is about to end, with its map still in place, and gets one line in LOG:
 *     PID <tab> yes|no <tab> PROGRAM <tab> COMMAND LINE
 * where yes means that LIBRARY was mapped executable. Exit status: that of the command, or
 * 120 if this machine does not let a process trace its children.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NOT_ALLOWED = 120, NOT_RUN = 127 };

static const char *library;
static FILE *log_file;

static FILE *open_proc(pid_t pid, const char *name)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    return fopen(path, "re");
}

/* Whether `pid` is the thread that stands for its process. */
static int is_process(pid_t pid)
{
    char line[256];
    int leader = 0;
    FILE *status = open_proc(pid, "status");
    while (status != NULL && fgets(line, sizeof line, status) != NULL)
        if (sscanf(line, "Tgid: %d", &leader) == 1)
            break;
    if (status != NULL)
        fclose(status);
    return leader == (int)pid;
}

static int has_library(pid_t pid)
{
    char line[8192], access[8];
    int found = 0;
    FILE *maps = open_proc(pid, "maps");
    while (maps != NULL && !found && fgets(line, sizeof line, maps) != NULL) {
        const char *path = strchr(line, '/');
        line[strcspn(line, "\n")] = '\0';
        found = path != NULL && strcmp(path, library) == 0 &&
                sscanf(line, "%*s %7s", access) == 1 && strchr(access, 'x') != NULL;
    }
    if (maps != NULL)
        fclose(maps);
    return found;
}

/* Writes the command line with a space for every separator and control character. */
static void note_arguments(pid_t pid)
{
    int byte;
    FILE *arguments = open_proc(pid, "cmdline");
    while (arguments != NULL && (byte = fgetc(arguments)) != EOF)
        fputc(byte < ' ' ? ' ' : byte, log_file);
    if (arguments != NULL)
        fclose(arguments);
}

/* The process is held at its end: writes its line. */
static void note_end(pid_t pid)
{
    char link[64], program[4096];
    snprintf(link, sizeof link, "/proc/%d/exe", (int)pid);
    ssize_t length = readlink(link, program, sizeof program - 1);
    program[length > 0 ? length : 0] = '\0';
    fprintf(log_file, "%d\t%s\t%s\t", (int)pid, has_library(pid) ? "yes" : "no",
            length > 0 ? program : "?");
    note_arguments(pid);
    fputc('\n', log_file);
}

/* Lets a stopped process go on; what it was stopped for is in `status`. */
static void resume(pid_t pid, int status)
{
    int signal = WSTOPSIG(status), event = status >> 16;
    int stops = signal == SIGSTOP || signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU;
    if (event == PTRACE_EVENT_EXIT && is_process(pid))
        note_end(pid);
    if (event == PTRACE_EVENT_STOP && stops)
        ptrace(PTRACE_LISTEN, pid, NULL, NULL);
    else
        ptrace(PTRACE_CONT, pid, NULL, (void *)(long)(event ? 0 : signal));
}

/* Runs until every process has ended. Returns the exit status of `first`. */
static int watch(pid_t first)
{
    int status, result = 1;
    for (;;) {
        pid_t pid = waitpid(-1, &status, __WALL);
        if (pid < 0 && errno == EINTR)
            continue;
        if (pid < 0)
            return result;
        if (WIFSTOPPED(status))
            resume(pid, status);
        else if (pid == first)
            result = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
}

/* The command, held until the tracer has written one byte to `gate`. */
static pid_t start(char **command, int gate[2])
{
    char byte;
    pid_t child = fork();
    if (child != 0)
        return child;
    close(gate[1]);
    if (read(gate[0], &byte, 1) != 1)
        _exit(NOT_RUN);
    close(gate[0]);
    execvp(command[0], command);
    fprintf(stderr, "demo_watch: %s: %s\n", command[0], strerror(errno));
    _exit(NOT_RUN);
}

int main(int argc, char **argv)
{
    const long events = PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE |
                        PTRACE_O_TRACEEXEC | PTRACE_O_TRACEEXIT | PTRACE_O_EXITKILL;
    int gate[2];
    if (argc < 4) {
        fprintf(stderr, "usage: demo_watch LIBRARY LOG COMMAND [ARGUMENT]...\n");
        return 2;
    }
    library = argv[1];
    log_file = fopen(argv[2], "we");
    pid_t child = log_file != NULL && pipe(gate) == 0 ? start(argv + 3, gate) : -1;
    if (child < 0) {
        fprintf(stderr, "demo_watch: cannot start: %s\n", strerror(errno));
        return 1;
    }
    close(gate[0]);
    if (ptrace(PTRACE_SEIZE, child, NULL, (void *)events) != 0) {
        fprintf(stderr, "demo_watch: tracing is not allowed here: %s\n", strerror(errno));
        return NOT_ALLOWED;
    }
    if (write(gate[1], "", 1) != 1)
        return 1;
    close(gate[1]);
    int result = watch(child);
    return fclose(log_file) == 0 ? result : 1;
}
