/*
 * guest_takeover.c - three guests with the same device and one log in lanes on it, whose sequencer
 * is on one host after the other: the machine of the first one stands still, that of the second
 * one is killed.
 *
 * reign PATH     makes region and log, is the sequencer (node 0), and stops its own machine. When
 *                that goes on it finds that it may do nothing any more. Then it wants to be the
 *                sequencer anew (node 3), and is it when the second one is gone. It reads the whole
 *                log, and holds what all readers got to the invariants of log_history.h
 * produce PATH   appends all the time (node 1), by a client that waits for each acknowledgement and
 *                one that never does; has the second sequencer's machine killed meanwhile
 * succeed PATH   two processes: one reads all that comes (node 2), the other one wants to be the
 *                sequencer (node 4), is it when the first one stands still, takes that one's node
 *                away, and lets it go on
 *
 * What is to become of machines is said at the console: tests/vm/run does it. The programs of
 * guest_hosts.c are over when these begin.
 */
#include "hosts.h"

#pragma weak tide_log_claim
#pragma weak tide_log_put
#pragma weak tide_log_commit
#pragma weak tide_log_trim
#pragma weak tide_log_expel

enum { NODES = 5, BATCHES = 1500, SENDERS = 3, ROUND = 4, ROUNDS = BATCHES / ROUND - 10 };

/* Batches of the first sequencer; that are committed when it stops; and by the next one before that
 * goes on. */
enum { OWN = 10, STOP_AT = 100, GO_ON = 60 };

#define LEASE INT64_C(6000000000)

/* What a reader got, as it tells others. */
struct seen {
    uint64_t position, base, ref;
};

struct meeting {
    struct steps steps;
    _Alignas(64) _Atomic uint64_t acked, sent; /* host 1's, of its clients */
    _Alignas(64) _Atomic uint64_t count;       /* host 2's */
    struct seen seen[SENDERS * BATCHES];
};
_Static_assert(sizeof(struct meeting) <= MEET_BYTES, "meeting");

/* Their client's id of each sender: of the first sequencer, acknowledged, and not. */
static const unsigned client_of[SENDERS] = {0, 2, 3};

static struct meeting *meeting;
static struct log_history *history;

static void begin(char **arguments)
{
    const struct steps *before = meet(arguments[0], MEET_HOSTS);
    meeting = meet(arguments[0], MEET_TAKEOVER);
    wait_for(before, 1, 3);
    wait_for(before, 2, 3);
}

/* To whoever started the guests. */
static void say(const char *line)
{
    int fd = open("/dev/console", O_WRONLY | O_NOCTTY);
    NEED(fd >= 0 && write(fd, line, strlen(line)) == (ssize_t)strlen(line), "the console: %s",
         strerror(errno));
    close(fd);
}

static void open_region(void)
{
    struct tide_region_error error;
    wait_for(&meeting->steps, 0, 1);
    NEED(tide_region_open(&region, source, 0, &error) == 0, "%s", error.text);
}

static void open_client(tide_log_client_t **client, unsigned sender, unsigned ack)
{
    struct tide_log_client_options who = {.id = client_of[sender], .ack = ack};
    NEED(tide_log_client_open(client, log_, &who) == 0, "%s", words());
}

static int send_next(tide_log_client_t *client, unsigned sender, uint64_t i)
{
    struct log_event batch = sent(client_of[sender], i);
    return send_batch(client, &batch, sender * BATCHES + i);
}

static uint64_t committed(void)
{
    struct tide_log_stat stat;
    NEED(tide_log_stat(log_, &stat) == 0, "%s", words());
    return stat.committed;
}

/* Becomes the sequencer when there is none, as this node. */
static void stand_by(unsigned node)
{
    struct tide_log_role role = {.node = node, .sequence = 1};
    time_t begin = seconds();
    int ret;
    while ((ret = tide_log_attach(&log_, region, &role, 2 * LEASE)) != 0)
        NEED((ret == -EBUSY || ret == -ETIMEDOUT) && seconds() - begin < WAIT_SECONDS, "%d: %s",
             ret, words());
    NEED(tide_log_start(log_, -1) == 0, "%s", words());
}

/* --- the first sequencer ------------------------------------------------------------------ */

static tide_log_client_t *client;
static tide_log_reader_t *reader;

/* Notes what there is to read; how many batches. */
static int read_some(unsigned who, int64_t timeout)
{
    struct tide_log_batch batch[8];
    int got = tide_log_read(reader, batch, 8, timeout);
    NEED(got > 0 || got == -EAGAIN || got == -ETIMEDOUT, "%d: %s", got, words());
    for (int i = 0; i < got; i++)
        log_note(history, was_read(who, &batch[i]));
    return got > 0 ? got : 0;
}

static void make(void)
{
    struct tide_region_error error;
    struct tide_log_options options = {.level = 4,
                                       .brokers = 2,
                                       .clients = 2 * NODES,
                                       .readers = NODES,
                                       .slots = BATCHES,
                                       .payload = 512 << 10,
                                       .sequencing = TIDE_LOG_STEPPED,
                                       .checksum = 1,
                                       .retain = TIDE_LOG_KEEP_ALL,
                                       .coherence = TIDE_LOG_NONCOHERENT,
                                       .nodes = NODES,
                                       .lease = LEASE};
    NEED(tide_region_create(&region, source, 64 * MIB, TIDE_REGION_REPLACE, &error) == 0, "%s",
         error.text);
    NEED(tide_log_create_on(&log_, region, &options) == 0, "%s", words());
    open_client(&client, 0, TIDE_LOG_ACK_NONE);
    NEED(tide_log_reader_open(&reader, log_, NULL) == 0, "%s", words());
    for (uint64_t i = 0; i < OWN; i++)
        NEED(send_next(client, 0, i) == 0, "batch %d: %s", (int)i, words());
    step(&meeting->steps, 0, 1);
}

/* Until others appended enough; each call is over when the machine stops. */
static void sequence(void)
{
    time_t begin = seconds();
    for (int seen = 0; seen < STOP_AT;) {
        NEED(tide_log_poll(log_) >= 0 && seconds() - begin < WAIT_SECONDS, "after %d: %s", seen,
             words());
        seen += read_some(0, TIDE_LOG_TRY);
    }
}

/* Stops the machine until another one lets it go on: its clock tells that it did. */
static void stand_still(void)
{
    time_t begin = seconds(), last = begin, longest = 0;
    say("@@stop 0\n");
    while (!has_come(&meeting->steps, 2, 2)) {
        usleep(10000);
        time_t now = seconds();
        longest = now - last > longest ? now - last : longest;
        last = now;
        NEED(now - begin < WAIT_SECONDS, "nobody is the sequencer");
    }
    NEED(longest >= LEASE / 1000000000, "it was stopped for %d of %d s", (int)longest,
         (int)(last - begin));
}

/* Whatever it does, it does nothing: neither as the sequencer nor as a node. */
static void is_refused(struct tide_log_claim *claim)
{
    struct tide_log_batch batch;
    NEED(tide_log_trim(log_, 0, UINT64_MAX, NULL) == -ENOTSUP, "it trims");
    NEED(tide_log_poll(log_) == -ESTALE, "it is the sequencer");
    NEED(strcmp(words(), "another process is the sequencer by now") == 0, "%s", words());
    NEED(tide_log_commit(claim, NULL) == -ESTALE, "it commits");
    NEED(send_next(client, 0, OWN) == -ESTALE, "it appends");
    NEED(tide_log_read(reader, &batch, 1, TIDE_LOG_TRY) == -ESTALE, "it reads");
    NEED(tide_log_client_close(client) == 0 && tide_log_reader_close(reader) == 0 &&
             tide_log_close(log_) == 0,
         "%s", words());
}

/* --- the end ------------------------------------------------------------------------------- */

/* What the living reader of another host got before that was killed. */
static void note_seen(void)
{
    uint64_t count = atomic_load_explicit(&meeting->count, memory_order_acquire);
    NEED(count >= STOP_AT + GO_ON && count <= SENDERS * BATCHES, "%d were read", (int)count);
    for (uint64_t i = 0; i < count; i++) {
        struct seen *seen = &meeting->seen[i];
        NEED(seen->ref < SENDERS * BATCHES, "%d", (int)seen->ref);
        struct log_event event = history->event[seen->ref];
        event.kind = LOG_READ;
        event.who = 1;
        event.whole = 1;
        event.position = seen->position;
        event.base = seen->base;
        event.ref = seen->ref;
        log_note(history, event);
    }
}

/* Everything is there, once, in order, where it was for all who read it before. */
static void check(void)
{
    struct tide_log_stat stat;
    uint64_t acked = meeting->acked, total = OWN + acked + meeting->sent, seen = 0;
    NEED(tide_log_reader_open(&reader, log_, NULL) == 0, "%s", words());
    while (seen < total) {
        int got = read_some(2, LEASE * 5);
        NEED(got > 0, "%d of %d: %s", (int)seen, (int)total, words());
        seen += (uint64_t)got;
    }
    note_seen();
    for (uint64_t i = 0; i < acked; i++)
        log_note(history, (struct log_event){.kind = LOG_TAKEN, .ref = BATCHES + i});
    log_note(history, (struct log_event){.kind = LOG_REFUSE, .ref = OWN});
    log_note(history, (struct log_event){.kind = LOG_END, .who = 2, .position = total});
    NEED(tide_log_stat(log_, &stat) == 0 && stat.committed == total, "%d committed, %d sent",
         (int)stat.committed, (int)total);
    history->taken = stat.taken;
    history->messages = stat.messages;
    const char *broken = log_check(history);
    NEED(broken == NULL, "%s", broken);
    NEED(tide_log_reader_close(reader) == 0, "%s", words());
}

static void reign(char **arguments)
{
    struct tide_log_claim claim;
    begin(arguments);
    history = log_history_new(4, 0, 5 * SENDERS * BATCHES);
    for (uint64_t i = 0; i < SENDERS * BATCHES; i++)
        log_note(history, sent(client_of[i / BATCHES], i % BATCHES));
    make();
    sequence();
    NEED(tide_log_claim(client, 0, SIZE, TIDE_LOG_TRY, &claim) == 0, "%s", words());
    message(tide_log_put(&claim, SIZE / 2, 0), OWN, 0);
    stand_still();
    is_refused(&claim);
    step(&meeting->steps, 0, 2);
    stand_by(3);
    step(&meeting->steps, 0, 3);
    wait_for(&meeting->steps, 1, 2);
    check();
    step(&meeting->steps, 0, 4);
    wait_for(&meeting->steps, 1, 3);
    NEED(tide_log_close(log_) == 0 && tide_region_close(region) == 0, "%s", words());
}

/* --- the others --------------------------------------------------------------------------- */

/* One batch that is acknowledged, and some that are not. */
static void append_some(tide_log_client_t *const *clients, uint64_t round)
{
    NEED(send_next(clients[0], 1, round) == 0, "round %d: %s", (int)round, words());
    for (uint64_t i = 0; i < ROUND; i++)
        NEED(send_next(clients[1], 2, round * ROUND + i) == 0, "round %d: %s", (int)round, words());
    meeting->acked = round + 1;
    meeting->sent = (round + 1) * ROUND;
}

static void produce(char **arguments)
{
    struct tide_log_role role = {.node = 1};
    tide_log_client_t *clients[2];
    const struct steps *steps;
    uint64_t round = 0;
    bool killed = false;
    begin(arguments);
    steps = &meeting->steps;
    open_region();
    NEED(tide_log_attach(&log_, region, &role, TIDE_LOG_BLOCK) == 0, "%s", words());
    NEED(tide_log_start(log_, -1) == 0, "%s", words()); /* tells that it lives */
    open_client(&clients[0], 1, TIDE_LOG_ACK_ORDERED);
    open_client(&clients[1], 2, TIDE_LOG_ACK_NONE);
    while (!has_come(steps, 0, 3) && round < ROUNDS) {
        append_some(clients, round++);
        if (!killed && has_come(steps, 0, 2)) {
            say("@@kill 2\n");
            killed = true;
        }
        usleep(10000);
    }
    wait_for(steps, 0, 3);
    for (int i = 0; i < 5; i++)
        append_some(clients, round++);
    NEED(killed && tide_log_client_close(clients[0]) == 0 && tide_log_client_close(clients[1]) == 0,
         "%s", words());
    step(&meeting->steps, 1, 2);
    wait_for(steps, 0, 4);
    NEED(tide_log_close(log_) == 0 && tide_region_close(region) == 0, "%s", words());
    step(&meeting->steps, 1, 3);
}

static void follow(void)
{
    open_region();
    stand_by(4);
    time_t begin = seconds();
    for (uint64_t before = committed(); committed() < before + GO_ON; usleep(10000))
        NEED(seconds() - begin < WAIT_SECONDS, "%d are committed", (int)committed());
    NEED(tide_log_expel(log_, 0) == 0, "%s", words()); /* or its node would stay */
    step(&meeting->steps, 2, 2);
    say("@@continue 0\n");
    sleep(WAIT_SECONDS);
    NEED(false, "its machine was not killed");
}

static void tell_all(const struct tide_log_batch *batch, int count)
{
    uint64_t at = meeting->count;
    for (int i = 0; i < count; i++)
        meeting->seen[at++] = (struct seen){batch[i].position, batch[i].base, ref_of(&batch[i])};
    atomic_store_explicit(&meeting->count, at, memory_order_release);
}

static void succeed(char **arguments)
{
    struct tide_log_role role = {.node = 2};
    struct tide_log_batch batch[8];
    int got, status;
    begin(arguments);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0)
        follow();
    open_region();
    NEED(tide_log_attach(&log_, region, &role, TIDE_LOG_BLOCK) == 0, "%s", words());
    NEED(tide_log_reader_open(&reader, log_, NULL) == 0, "%s", words());
    while (waitpid(child, &status, WNOHANG) == 0) {
        got = tide_log_read(reader, batch, 8, LEASE / 20);
        NEED(got > 0 || got == -ETIMEDOUT, "%d: %s", got, words());
        if (got > 0)
            tell_all(batch, got);
    }
    NEED(false, "the sequencer ended with %#x", status);
}

int main(int argc, char **argv)
{
    static const struct guest_case cases[] = {
        {"reign", reign}, {"produce", produce}, {"succeed", succeed}, {NULL, NULL}};
    NEED(argc == 3, "arguments are missing");
    NEED(tide_log_attach != NULL, "the library has no logs of several hosts");
    return guest_main(argv, cases);
}
