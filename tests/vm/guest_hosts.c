/*
 * guest_hosts.c - three guests with the same device and one log in lanes on it: one is the
 * sequencer and appends, one appends and reads, one reads; both hold what they got to the
 * invariants of log_history.h.
 *
 * sequence PATH   makes a region and the log; node 0
 * append PATH     node 1
 * read PATH       node 2
 */
#include "hosts.h"

enum { BATCHES = 150, SENDERS = 2 };

static struct steps *steps;

static void send_all(unsigned sender)
{
    struct tide_log_client_options who = {.id = sender, .ack = TIDE_LOG_ACK_ORDERED};
    tide_log_client_t *client;
    NEED(tide_log_client_open(&client, log_, &who) == 0, "%s", words());
    for (uint64_t i = 0; i < BATCHES; i++) {
        struct log_event batch = sent(sender, i);
        NEED(send_batch(client, &batch, sender * BATCHES + i) == 0, "batch %d: %s", (int)i,
             words());
    }
    NEED(tide_log_client_close(client) == 0, "%s", words());
}

/* --- what is read ------------------------------------------------------------------------- */

/* The whole log, in a history behind all that is sent. */
static void read_all(struct log_history *history)
{
    tide_log_reader_t *reader;
    struct tide_log_batch batch[8];
    size_t at = SENDERS * BATCHES;
    NEED(tide_log_reader_open(&reader, log_, NULL) == 0, "%s", words());
    for (size_t i = 0; i < at; i++)
        history->event[i] = sent((unsigned)(i / BATCHES), i % BATCHES);
    while (at < 2 * SENDERS * BATCHES) {
        int got = tide_log_read(reader, batch, 8, INT64_C(1000000000) * WAIT_SECONDS);
        NEED(got > 0, "%d: %s", got, words());
        for (int i = 0; i < got; i++)
            history->event[at++] = was_read(0, &batch[i]);
    }
    history->event[at++] = (struct log_event){.kind = LOG_END, .position = SENDERS * BATCHES};
    history->count = at;
    NEED(tide_log_reader_close(reader) == 0, "%s", words());
}

static void check_all(void)
{
    struct log_history *history = log_history_new(4, 0, 2 * SENDERS * BATCHES + 1);
    struct tide_log_stat stat;
    read_all(history);
    NEED(tide_log_stat(log_, &stat) == 0 && stat.committed == SENDERS * BATCHES, "%d committed",
         (int)stat.committed);
    history->taken = stat.taken;
    history->messages = stat.messages;
    const char *broken = log_check(history);
    NEED(broken == NULL, "%s", broken);
    log_history_free(history);
}

/* --- the hosts ---------------------------------------------------------------------------- */

static void sequence(char **arguments)
{
    struct tide_region_error error;
    struct tide_log_options options = {.level = 4,
                                       .brokers = 2,
                                       .clients = HOSTS,
                                       .readers = HOSTS,
                                       .slots = BATCHES, /* all is kept */
                                       .payload = BATCHES * 1024,
                                       .sequencing = TIDE_LOG_STEPPED,
                                       .checksum = 1,
                                       .retain = TIDE_LOG_KEEP_ALL,
                                       .coherence = TIDE_LOG_NONCOHERENT,
                                       .nodes = HOSTS,
                                       .lease = UINT64_C(60000000000)};
    steps = meet(arguments[0], MEET_HOSTS);
    NEED(tide_region_create(&region, source, 64 * MIB, 0, &error) == 0, "%s", error.text);
    NEED(tide_log_create_on(&log_, region, &options) == 0, "%s", words());
    NEED(tide_log_start(log_, -1) == 0, "%s", words());
    step(steps, 0, 1);
    send_all(0);
    wait_for(steps, 1, 2);
    wait_for(steps, 2, 2);
    NEED(tide_log_close(log_) == 0 && tide_region_close(region) == 0, "%s", words());
}

static void attach(char **arguments, unsigned node)
{
    struct tide_region_error error;
    struct tide_log_role role = {.node = node};
    steps = meet(arguments[0], MEET_HOSTS);
    wait_for(steps, 0, 1);
    NEED(tide_region_open(&region, source, 0, &error) == 0, "%s", error.text);
    NEED(tide_log_attach(&log_, region, &role, TIDE_LOG_BLOCK) == 0, "%s", words());
    step(steps, node, 1);
}

static void leave(unsigned node)
{
    step(steps, node, 2);
    NEED(tide_log_close(log_) == 0 && tide_region_close(region) == 0, "%s", words());
    step(steps, node, 3); /* guest_takeover.c makes another region here */
}

static void append_here(char **arguments)
{
    attach(arguments, 1);
    send_all(1);
    check_all();
    wait_for(steps, 2, 2); /* which tries to have this node */
    leave(1);
}

static void read_here(char **arguments)
{
    struct tide_log_role role = {.node = 1};
    tide_region_t *other;
    struct tide_region_error error;
    tide_log_t *log;
    attach(arguments, 2);
    check_all();
    wait_for(steps, 1, 1);
    NEED(tide_region_open(&other, source, 0, &error) == 0, "%s", error.text);
    int ret = tide_log_attach(&log, other, &role, TIDE_LOG_BLOCK);
    NEED(ret == -EBUSY, "%d: a node of another host", ret);
    NEED(tide_region_close(other) == 0, "not closed");
    leave(2);
}

int main(int argc, char **argv)
{
    static const struct guest_case cases[] = {
        {"sequence", sequence}, {"append", append_here}, {"read", read_here}, {NULL, NULL}};
    NEED(argc == 3, "arguments are missing");
    NEED(tide_log_attach != NULL, "the library has no logs of several hosts");
    return guest_main(argv, cases);
}
