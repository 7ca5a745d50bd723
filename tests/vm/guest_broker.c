/*
 * guest_broker.c - tidepool-broker with its log in far memory.
 *
 * keeps DEVICE   entries are added over a Unix socket, and read back; the broker is killed, and
 *                ended, and each time the next one has the same on the device
 * node NUMBER    what it has is in memory of that node
 */
#include "guest.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#define SOCKET "/tmp/broker.sock"

enum { PATIENCE = 100, REPLY = 4 << 20, ENTRIES = 600, KEPT = 400, LARGE = 20000 };

static char source[256];
static pid_t broker;
static int peer;

static time_t seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec;
}

static int reach(void)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX, .sun_path = SOCKET};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    NEED(fd >= 0, "%s", strerror(errno));
    if (connect(fd, (const struct sockaddr *)&at, sizeof at) == 0)
        return fd;
    close(fd);
    return -1;
}

/* A broker on the source; the program has a malloc of its own. `fresh`: what is there goes. */
static void start(bool fresh)
{
    char *words[] = {"tidepool-broker",
                     "--source",
                     source,
                     "--port",
                     "0",
                     "--unix",
                     SOCKET,
                     "--payload",
                     "32M",
                     "--max-connections",
                     "16",
                     NULL,
                     NULL};
    words[11] = fresh ? "--replace" : NULL;
    broker = fork();
    NEED(broker >= 0, "%s", strerror(errno));
    if (broker == 0) {
        unsetenv("LD_PRELOAD");
        execvp(words[0], words);
        _exit(127);
    }
    time_t begin = seconds();
    while ((peer = reach()) < 0) {
        int status;
        NEED(waitpid(broker, &status, WNOHANG) == 0, "the broker ended: %x", status);
        NEED(seconds() - begin < PATIENCE, "the broker does not answer");
        usleep(10000);
    }
}

static void stop(int signal, int want)
{
    int status;
    close(peer);
    NEED(kill(broker, signal) == 0 && waitpid(broker, &status, 0) == broker, "%s", strerror(errno));
    NEED(status == want, "it ended with %x", status);
}

static void say(const char *text, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t sent = write(peer, text + done, size - done);
        NEED(sent > 0, "%s", strerror(errno));
        done += (size_t)sent;
    }
}

/* What it answers, up to the reply of a PING that was sent behind. */
static size_t hear(char *reply)
{
    static const char end[] = "+PONG\r\n";
    size_t size = 0, len = strlen(end);
    say("PING\r\n", 6);
    while (size < len || memcmp(reply + size - len, end, len) != 0) {
        ssize_t got = read(peer, reply + size, REPLY - 1 - size);
        NEED(got > 0, "after %zu bytes: %s", size, strerror(errno));
        size += (size_t)got;
    }
    reply[size - len] = '\0';
    return size - len;
}

/* One request, in words without blanks; the reply is there until the next one. */
static const char *ask(const char *request)
{
    static char reply[REPLY];
    say(request, strlen(request));
    say("\r\n", 2);
    hear(reply);
    return reply;
}

/* Everything that the streams have. */
static const char *all(void)
{
    static char text[3][REPLY];
    static unsigned turn;
    char *to = text[turn++ % 3];
    size_t size = 0;
    for (int i = 0; i < 3; i++) {
        char request[64];
        snprintf(request, sizeof request, "XRANGE s%d - +\r\n", i);
        say(request, strlen(request));
        size += hear(to + size);
    }
    return to;
}

static void fill(void)
{
    static char value[LARGE + 1];
    char request[64];
    memset(value, 'v', LARGE);
    for (int i = 0; i < ENTRIES; i++) {
        snprintf(request, sizeof request, "XADD s%d * n %d", i % 2, i);
        NEED(ask(request)[0] == '$', "%s: %s", request, ask("PING"));
    }
    for (int i = 0; i < 5; i++) {
        say("XADD s2 * large ", 16);
        NEED(ask(value)[0] == '$', "a large entry");
    }
    snprintf(request, sizeof request, "XTRIM s0 MAXLEN %d", KEPT / 2);
    snprintf(value, sizeof value, ":%d\r\n", (ENTRIES - KEPT) / 2);
    NEED(strcmp(ask(request), value) == 0, "%s", request);
}

/* Its log is in the device's memory: the process maps it. */
static void is_there(const char *device)
{
    char path[64], line[512];
    bool found = false;
    snprintf(path, sizeof path, "/proc/%d/maps", (int)broker);
    FILE *file = fopen(path, "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        found = found || strstr(line, device) != NULL;
    NEED(file != NULL && found, "%s is not mapped", device);
    fclose(file);
}

static void case_keeps(char **arguments)
{
    char before[32];
    const char *device = arguments[0];
    NEED(device != NULL, "no device named");
    snprintf(source, sizeof source, "dax:%s", device);
    start(true);
    fill();
    is_there(device);
    const char *first = all();
    NEED(strstr(first, "\r\n599\r\n") != NULL, "the last entry is not there");
    NEED(strlen(first) > (size_t)5 * LARGE, "the large ones are not there");
    NEED(strcmp(ask("XLEN s0"), ":200\r\n") == 0, "not %d entries", KEPT / 2);
    stop(SIGKILL, SIGKILL);
    start(false);
    NEED(strcmp(all(), first) == 0, "after SIGKILL something else is there");
    is_there(device);
    snprintf(before, sizeof before, "%.31s", ask("XADD s1 * n after"));
    NEED(before[0] == '$', "nothing can be added after SIGKILL: %s", before);
    first = all();
    stop(SIGTERM, 0);
    start(false);
    NEED(strcmp(all(), first) == 0, "after a clean end something else is there");
    stop(SIGTERM, 0);
}

/* Pages of the broker that are on the node. */
static size_t pages_on(size_t node)
{
    char path[64], word[32], line[4096];
    size_t pages = 0;
    snprintf(path, sizeof path, "/proc/%d/numa_maps", (int)broker);
    snprintf(word, sizeof word, " N%zu=", node);
    FILE *file = fopen(path, "r");
    NEED(file != NULL, "%s: %s", path, strerror(errno));
    while (fgets(line, sizeof line, file) != NULL) {
        const char *at = strstr(line, word);
        pages += at != NULL ? strtoull(at + strlen(word), NULL, 10) : 0;
    }
    fclose(file);
    return pages;
}

static void case_node(char **arguments)
{
    size_t node = guest_number(arguments[0]);
    snprintf(source, sizeof source, "node:%zu", node);
    start(false);
    size_t before = pages_on(node);
    fill();
    const char *all_of_it = all();
    size_t want = strlen(all_of_it) / 2 / GUEST_PAGE, now = pages_on(node);
    NEED(now >= before + want, "%zu pages on node %zu, then %zu: not %zu more", before, node, now,
         want);
    stop(SIGTERM, 0);
}

int main(int argc, char **argv)
{
    (void)argc;
    return guest_choose(argv, (const struct guest_case[]){
                                  {"keeps", case_keeps}, {"node", case_node}, {NULL, NULL}});
}
