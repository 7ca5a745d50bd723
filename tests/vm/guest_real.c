/*
 * guest_real.c - a real program with its middle-sized blocks in far memory.
 *
 *   real NODE MIB SCRIPT COMMAND...
 *
 * Starts the command and gives it the script as its input. When it has printed the line
 * "ready", at least MIB MiB of its memory must be on the node, by what the kernel says of that
 * process. Then its input ends, and it must end with 0.
 */
#include "guest.h"

static char output[8192];

static pid_t start(char **command, int *to, int *from)
{
    int in[2], out[2];
    NEED(pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0, "pipe: %s", strerror(errno));
    fflush(stdout);
    pid_t child = fork();
    NEED(child >= 0, "fork: %s", strerror(errno));
    if (child == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        execvp(command[0], command);
        NEED(false, "%s: %s", command[0], strerror(errno));
    }
    close(in[0]);
    close(out[1]);
    *to = in[1];
    *from = out[0];
    return child;
}

static void send_file(const char *path, int to)
{
    char buffer[4096];
    int fd = open(path, O_RDONLY);
    NEED(fd >= 0, "%s: %s", path, strerror(errno));
    for (ssize_t got; (got = read(fd, buffer, sizeof buffer)) > 0;)
        NEED(write(to, buffer, (size_t)got) == got, "the program takes no more");
    close(fd);
}

/* Reads on until the line is there. */
static bool wait_for(const char *line, int from)
{
    size_t len = 0;
    while (strstr(output, line) == NULL && len + 1 < sizeof output) {
        ssize_t got = read(from, output + len, sizeof output - 1 - len);
        if (got <= 0)
            return false;
        len += (size_t)got;
        output[len] = '\0';
    }
    return true;
}

/* Pages of the process on the node. */
static size_t pages_on(pid_t process, unsigned node)
{
    char path[64], line[1024], key[16];
    size_t pages = 0;
    snprintf(path, sizeof path, "/proc/%d/numa_maps", process);
    int len = snprintf(key, sizeof key, " N%u=", node);
    FILE *file = fopen(path, "r");
    NEED(file != NULL, "%s: %s", path, strerror(errno));
    while (fgets(line, sizeof line, file) != NULL) {
        const char *at = strstr(line, key);
        if (at != NULL)
            pages += strtoul(at + len, NULL, 10);
    }
    fclose(file);
    return pages;
}

int main(int argc, char **argv)
{
    int to, from, status;
    guest_start();
    NEED(argc > 4, "arguments are missing");
    signal(SIGPIPE, SIG_IGN);
    pid_t child = start(argv + 4, &to, &from);
    send_file(argv[3], to);
    NEED(wait_for("ready\n", from), "it said: %s", output);
    size_t pages = pages_on(child, (unsigned)guest_number(argv[1]));
    NEED(pages >= guest_number(argv[2]) * (MIB / GUEST_PAGE), "%zu pages on node %s", pages,
         argv[1]);
    close(to);
    NEED(waitpid(child, &status, 0) == child && status == 0, "it ended with %#x: %s", status,
         output);
    return 0;
}
