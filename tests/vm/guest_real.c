/*
 * guest_real.c - a real program with its middle-sized blocks in far memory.
 *
 * pipe NODE MIB SCRIPT COMMAND...     starts the command and gives it the script as its input
 * server NODE MIB SCRIPT SOCKET COMMAND...   the command listens there, and gets the script
 *                                     from a client; a line that begins with - is an error
 *
 * When it has answered the line "ready", at least MIB MiB of its memory must be on the node, by
 * what the kernel says of that process. Then its input ends, or the server gets SIGTERM, and it
 * must end with 0.
 */
#include "guest.h"

#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { PATIENCE = 60 };

static char output[8192];

static pid_t start(char **command, int *to, int *from)
{
    int in[2], out[2];
    NEED(pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0, "pipe: %s", strerror(errno));
    fflush(stdout);
    pid_t child = fork();
    NEED(child >= 0, "fork: %s", strerror(errno));
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* no server stays behind where this one gives up */
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

static void far_enough(pid_t process, char **arguments)
{
    size_t pages = pages_on(process, (unsigned)guest_number(arguments[0]));
    NEED(pages >= guest_number(arguments[1]) * (MIB / GUEST_PAGE), "%zu pages on node %s", pages,
         arguments[0]);
}

static void ends_well(pid_t child)
{
    int status;
    NEED(waitpid(child, &status, 0) == child && status == 0, "it ended with %#x: %s", status,
         output);
}

static void pipe_to(char **arguments)
{
    int to, from;
    pid_t child = start(arguments + 3, &to, &from);
    send_file(arguments[2], to);
    NEED(wait_for("ready\n", from), "it said: %s", output);
    far_enough(child, arguments);
    close(to);
    ends_well(child);
}

/* Tries until the server listens. */
static int connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    for (int i = 0; i < PATIENCE * 20; i++) {
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        NEED(fd >= 0, "socket: %s", strerror(errno));
        if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
            return fd;
        close(fd);
        usleep(50000);
    }
    NEED(false, "%s: %s", path, strerror(errno));
    return -1;
}

static void server(char **arguments)
{
    int to, from;
    pid_t child = start(arguments + 4, &to, &from);
    int client = connect_to(arguments[3]);
    send_file(arguments[2], client);
    NEED(wait_for("ready\r\n", client), "it said: %s", output);
    NEED(output[0] != '-' && strstr(output, "\n-") == NULL, "it said: %s", output);
    far_enough(child, arguments);
    close(client);
    NEED(kill(child, SIGTERM) == 0, "%s", strerror(errno));
    ends_well(child);
}

int main(int argc, char **argv)
{
    static const struct guest_case cases[] = {{"pipe", pipe_to}, {"server", server}, {NULL, NULL}};
    NEED(argc > 5, "arguments are missing");
    signal(SIGPIPE, SIG_IGN);
    return guest_main(argv, cases);
}
