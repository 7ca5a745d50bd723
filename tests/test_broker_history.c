/* test_broker_history.c - tidepool-broker: 16 writers and two readers over sockets, and the
 * checker of histories of the log over what they saw.
 *
 * An entry is a batch of one message; its position is the second half of its id, for ids tell
 * the one order. Streams stand for brokers. BROKER_ENTRIES: how many; BUILD: where the program
 * is. */
#define _GNU_SOURCE 1
#include "log_history.h"

#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { WRITERS = 16, READERS = 2, STREAMS = 4, DEPTH = 32, PAD = 200, TEXT = 1024 };

static struct log_history *history;
static char path[108];
static uint64_t entries;

/* ---- a connection ---- */

struct peer {
    int fd;
    size_t at, end;
    char bytes[1 << 16];
};

static void peer_open(struct peer *peer)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    memcpy(to.sun_path, path, sizeof path);
    peer->at = peer->end = 0;
    peer->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    for (int i = 0; connect(peer->fd, (const struct sockaddr *)&to, sizeof to) != 0; i++) {
        UNIT_HOLD(i < 3000, "nobody listens at %s", path);
        usleep(10000);
    }
}

static void peer_send(const struct peer *peer, const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t sent = send(peer->fd, bytes, size, MSG_NOSIGNAL);
        UNIT_HOLD(sent > 0, "the connection broke: errno %d", errno);
        bytes += sent;
        size -= (size_t)sent;
    }
}

static char peer_byte(struct peer *peer)
{
    if (peer->at == peer->end) {
        ssize_t got = recv(peer->fd, peer->bytes, sizeof peer->bytes, 0);
        UNIT_HOLD(got > 0, "the connection ended");
        peer->at = 0;
        peer->end = (size_t)got;
    }
    return peer->bytes[peer->at++];
}

/* A line of the protocol with this sign: its number. */
static long long peer_number(struct peer *peer, char sign)
{
    char text[256];
    size_t len = 0;
    for (char c = peer_byte(peer); c != '\r'; c = peer_byte(peer))
        if (len < sizeof text - 1)
            text[len++] = c;
    text[len] = '\0';
    peer_byte(peer);
    UNIT_HOLD(text[0] == sign, "not %c: %s", sign, text);
    return atoll(text + 1);
}

static void peer_string(struct peer *peer, char text[TEXT])
{
    long long size = peer_number(peer, '$');
    UNIT_HOLD(size >= 0 && size < TEXT, "a string of %lld bytes", size);
    for (long long i = 0; i < size; i++)
        text[i] = peer_byte(peer);
    text[size] = '\0';
    peer_byte(peer);
    peer_byte(peer);
}

static uint64_t peer_id(struct peer *peer)
{
    char text[TEXT];
    peer_string(peer, text);
    const char *dash = strchr(text, '-');
    UNIT_HOLD(dash != NULL, "no id: %s", text);
    return strtoull(dash + 1, NULL, 10);
}

/* ---- writers ---- */

/* What an entry says besides its event: so many bytes of this letter. */
static size_t pad(char text[PAD + 1], uint64_t ref)
{
    size_t size = ref * 7 % PAD;
    memset(text, (int)('a' + ref % 26), size);
    text[size] = '\0';
    return size;
}

static size_t put(char *to, size_t room, const struct log_event *sent, uint64_t ref)
{
    char what[96], text[PAD + 1];
    int len = snprintf(what, sizeof what, "%llu %u %u %llu", (unsigned long long)ref, sent->client,
                       sent->broker, (unsigned long long)sent->number);
    size_t size = pad(text, ref);
    return (size_t)snprintf(to, room,
                            "*7\r\n$4\r\nXADD\r\n$2\r\nh%u\r\n$1\r\n*\r\n$1\r\nw\r\n$%d\r\n%s\r\n"
                            "$1\r\np\r\n$%zu\r\n%s\r\n",
                            sent->broker, len, what, size, text);
}

static void *write_entries(void *with)
{
    struct peer *peer = malloc(sizeof *peer);
    unsigned client = (unsigned)(uintptr_t)with;
    uint64_t number = 0, count = entries / WRITERS, ref[DEPTH];
    char *bytes = malloc(DEPTH * TEXT);
    peer_open(peer);
    while (number < count) {
        unsigned depth = 1 + (unsigned)(number * 31 + client) % DEPTH;
        size_t size = 0;
        if (depth > count - number)
            depth = (unsigned)(count - number);
        for (unsigned i = 0; i < depth; i++, number++) {
            struct log_event sent = {.kind = LOG_INVOKE,
                                     .client = (uint8_t)client,
                                     .broker = (uint8_t)((number * 13 + client) % STREAMS),
                                     .number = number,
                                     .count = 1};
            ref[i] = log_note(history, sent);
            size += put(bytes + size, TEXT, &sent, ref[i]);
        }
        peer_send(peer, bytes, size);
        for (unsigned i = 0; i < depth; i++) {
            uint64_t at = peer_id(peer);
            log_note(history, (struct log_event){
                                  .kind = LOG_ACK, .ref = ref[i], .position = at, .base = at});
        }
    }
    close(peer->fd);
    free(peer);
    free(bytes);
    return NULL;
}

/* ---- readers ---- */

struct reading {
    struct peer peer;
    struct log_event *seen; /* by position; kind LOG_NOTHING: not yet */
    uint64_t next;
    char last[STREAMS][TEXT];
    uint8_t who;
};

/* One entry of the stream; what is next in the one order is noted. */
static void read_entry(struct reading *reading, unsigned stream)
{
    char what[TEXT], text[TEXT], want[PAD + 1];
    unsigned long long ref, number;
    unsigned client, broker;
    UNIT_HOLD(peer_number(&reading->peer, '*') == 2, "an entry");
    peer_string(&reading->peer, reading->last[stream]);
    uint64_t at = strtoull(strchr(reading->last[stream], '-') + 1, NULL, 10);
    UNIT_HOLD(peer_number(&reading->peer, '*') == 4, "fields");
    peer_string(&reading->peer, text);
    peer_string(&reading->peer, what);
    UNIT_HOLD(sscanf(what, "%llu %u %u %llu", &ref, &client, &broker, &number) == 4, "%s", what);
    peer_string(&reading->peer, text);
    peer_string(&reading->peer, text);
    pad(want, ref);
    UNIT_HOLD(at < entries && reading->seen[at].kind == LOG_NOTHING, "position %llu again",
              (unsigned long long)at);
    reading->seen[at] = (struct log_event){.kind = LOG_READ,
                                           .who = reading->who,
                                           .client = (uint8_t)client,
                                           .broker = (uint8_t)stream,
                                           .whole = broker == stream && strcmp(text, want) == 0,
                                           .count = 1,
                                           .number = number,
                                           .position = at,
                                           .base = at,
                                           .ref = ref};
    while (reading->next < entries && reading->seen[reading->next].kind == LOG_READ)
        log_note(history, reading->seen[reading->next++]);
}

static void read_some(struct reading *reading)
{
    char bytes[TEXT], name[TEXT];
    size_t len =
        (size_t)snprintf(bytes, sizeof bytes,
                         "*%d\r\n$5\r\nXREAD\r\n$5\r\nBLOCK\r\n$3\r\n200\r\n$5\r\nCOUNT\r\n"
                         "$3\r\n300\r\n$7\r\nSTREAMS\r\n",
                         6 + 2 * STREAMS);
    for (unsigned i = 0; i < STREAMS; i++)
        len += (size_t)snprintf(bytes + len, sizeof bytes - len, "$2\r\nh%u\r\n", i);
    for (unsigned i = 0; i < STREAMS; i++)
        len += (size_t)snprintf(bytes + len, sizeof bytes - len, "$%zu\r\n%s\r\n",
                                strlen(reading->last[i]), reading->last[i]);
    peer_send(&reading->peer, bytes, len);
    for (long long streams = peer_number(&reading->peer, '*'); streams > 0; streams--) {
        UNIT_HOLD(peer_number(&reading->peer, '*') == 2, "a stream");
        peer_string(&reading->peer, name);
        for (long long count = peer_number(&reading->peer, '*'); count > 0; count--)
            read_entry(reading, (unsigned)(name[1] - '0') % STREAMS);
    }
}

static void *read_entries(void *with)
{
    struct reading *reading = calloc(1, sizeof *reading);
    reading->seen = calloc(entries, sizeof *reading->seen);
    reading->who = (uint8_t)(uintptr_t)with;
    for (unsigned i = 0; i < STREAMS; i++)
        strcpy(reading->last[i], "0-0");
    peer_open(&reading->peer);
    while (reading->next < entries)
        read_some(reading);
    log_note(history,
             (struct log_event){.kind = LOG_END, .who = reading->who, .position = reading->next});
    close(reading->peer.fd);
    free(reading->seen);
    free(reading);
    return NULL;
}

/* ---- the run ---- */

static pid_t start_broker(const char *level)
{
    char program[4096];
    const char *build = getenv("BUILD");
    snprintf(program, sizeof program, "%s/tidepool-broker", build != NULL ? build : "build");
    snprintf(path, sizeof path, "/tmp/test_broker_history.%d", (int)getpid());
    ck_assert_msg(access(program, X_OK) == 0, "%s is not there: make broker", program);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execl(program, program, "--port", "0", "--unix", path, "--level", level, "--brokers", "3",
              "--payload", "1G", (char *)NULL);
        _exit(127);
    }
    return pid;
}

/* Under a sanitizer few: it is this program that is slow then. */
static void run(unsigned level, uint64_t most)
{
    pthread_t thread[WRITERS + READERS];
    const char *wanted = getenv("BROKER_ENTRIES");
    int status;
    entries = wanted != NULL ? strtoull(wanted, NULL, 10) : UNIT_SANITIZED ? 16000 : most;
    entries -= entries % WRITERS;
    history = log_history_new(level, 0, entries * (2 + READERS) + 64);
    pid_t pid = start_broker(level == 4 ? "4" : "5");
    for (uintptr_t i = 0; i < WRITERS + READERS; i++)
        ck_assert_int_eq(pthread_create(&thread[i], NULL,
                                        i < WRITERS ? write_entries : read_entries,
                                        (void *)(i < WRITERS ? i : i - WRITERS)),
                         0);
    for (int i = 0; i < WRITERS + READERS; i++)
        pthread_join(thread[i], NULL);
    kill(pid, SIGTERM);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
    history->taken = history->messages = entries;
    const char *broken = log_check(history);
    ck_assert_msg(broken == NULL, "%s is broken", broken);
    log_history_free(history);
}

START_TEST(test_the_order_of_level_5)
{
    run(5, 1000000);
}
END_TEST

START_TEST(test_the_order_of_level_4)
{
    run(4, 100000);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {test_the_order_of_level_5, test_the_order_of_level_4, NULL};
    return unit_main("broker_history", tests);
}
