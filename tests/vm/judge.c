/*
 * judge.c - runs the cases of a file in a guest, each under the preload, and says of each
 * "ok - NAME", "not ok - NAME (why)" or "skip - NAME: reason".
 *
 *   judge FILE
 *
 * A line of the file: NAME | OPTIONS | COMMAND, and perhaps | PATTERN. OPTIONS are the
 * library's. The command must end with 0 (77: cannot be done here, the last line of its
 * output says why), say nothing on stderr - or one line that matches the pattern, and
 * nothing else - and the kernel must not have killed anything for want of memory.
 * A case that hangs is ended by SIGALRM. Empty lines and lines that begin with # are none.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <regex.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define OUT "/tmp/judge.out"
#define ERR "/tmp/judge.err"

enum { SKIPPED = 77, COLUMNS = 4, CASE_SECONDS = 200 };

struct test {
    char *name, *options, *command, *pattern;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Cuts a line at " | "; false when there is nothing in it. */
static bool read_test(char *line, struct test *out)
{
    char *column[COLUMNS] = {NULL};
    line[strcspn(line, "\n")] = '\0';
    if (line[0] == '\0' || line[0] == '#')
        return false;
    for (int i = 0; i < COLUMNS && line != NULL; i++) {
        column[i] = line + strspn(line, " ");
        line = strchr(line, '|');
        if (line != NULL)
            *line++ = '\0';
        for (char *end = column[i] + strlen(column[i]); end > column[i] && end[-1] == ' ';)
            *--end = '\0';
    }
    *out = (struct test){column[0], column[1], column[2], column[3]};
    return true;
}

/* Processes that the kernel killed for want of memory, since the start. */
static long killed(void)
{
    char line[256];
    long count = 0;
    FILE *file = fopen("/proc/vmstat", "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        sscanf(line, "oom_kill %ld", &count);
    if (file != NULL)
        fclose(file);
    return count;
}

static void become(const struct test *test)
{
    char *words[64], *rest = test->command;
    int count = 0;
    while (count < 63 && (words[count] = strsep(&rest, " ")) != NULL)
        count += words[count][0] != '\0';
    words[count] = NULL;
    dup2(open(OUT, O_WRONLY | O_CREAT | O_TRUNC, 0600), 1);
    dup2(open(ERR, O_WRONLY | O_CREAT | O_TRUNC, 0600), 2);
    setenv("LD_PRELOAD", "/t/libtidepool.so", 1);
    if (test->options[0] != '\0')
        setenv("TIDEPOOL_OPTIONS", test->options, 1);
    alarm(CASE_SECONDS);
    execvp(words[0], words);
    perror(words[0]);
    _exit(127);
}

/* Prints a file, each line behind a mark, at most so many. */
static void show(const char *path)
{
    char line[512];
    int left = 20;
    FILE *file = fopen(path, "r");
    while (file != NULL && left-- > 0 && fgets(line, sizeof line, file) != NULL)
        printf("    | %s%s", line, strchr(line, '\n') != NULL ? "" : "\n");
    if (file != NULL)
        fclose(file);
}

/* The last line of a file. */
static void last_line(const char *path, char *out, size_t size)
{
    FILE *file = fopen(path, "r");
    out[0] = '\0';
    while (file != NULL && fgets(out, (int)size, file) != NULL)
        out[strcspn(out, "\n")] = '\0';
    if (file != NULL)
        fclose(file);
}

/* What the case said on stderr is what it should: nothing, or one line. */
static bool spoke_well(const char *pattern)
{
    char line[1024], more[2];
    regex_t regex;
    FILE *file = fopen(ERR, "r");
    bool any = file != NULL && fgets(line, sizeof line, file) != NULL, well = !any;
    if (pattern != NULL) {
        if (regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB | REG_NEWLINE) != 0)
            return false;
        well =
            any && regexec(&regex, line, 0, NULL, 0) == 0 && fgets(more, sizeof more, file) == NULL;
        regfree(&regex);
    }
    if (file != NULL)
        fclose(file);
    return well;
}

static void judge(const struct test *test)
{
    char why[160] = "";
    int status = 0;
    long before = killed(), count;
    double begin = now();
    fflush(stdout);
    pid_t child = fork();
    if (child == 0)
        become(test);
    waitpid(child, &status, 0);
    count = killed() - before;
    printf("    # %.1f s\n", now() - begin);
    if (WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED) {
        last_line(OUT, why, sizeof why);
        printf("skip - %s: %s\n", test->name, why);
        return;
    }
    if (count != 0)
        snprintf(why, sizeof why, "the kernel killed %ld processes for want of memory", count);
    else if (WIFSIGNALED(status))
        snprintf(why, sizeof why, "signal %d", WTERMSIG(status));
    else if (WEXITSTATUS(status) != 0)
        snprintf(why, sizeof why, "exit %d", WEXITSTATUS(status));
    else if (!spoke_well(test->pattern))
        snprintf(why, sizeof why, test->pattern == NULL ? "it said something" : "not the line");
    if (why[0] == '\0') {
        printf("ok - %s\n", test->name);
        return;
    }
    printf("not ok - %s (%s)\n", test->name, why);
    show(OUT);
    show(ERR);
}

int main(int argc, char **argv)
{
    char line[1024];
    struct test test;
    FILE *file = argc == 2 ? fopen(argv[1], "r") : NULL;
    if (file == NULL) {
        fprintf(stderr, "usage: judge FILE\n");
        return 2;
    }
    while (fgets(line, sizeof line, file) != NULL)
        if (read_test(line, &test))
            judge(&test);
    fclose(file);
    return 0;
}
