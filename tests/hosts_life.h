/*
 * hosts_life.h - one process of stress_hosts.c: it has a node of the log in lanes that all of them
 * share, or is the sequencer; appends and reads, writes down what it did, and goes on until it is
 * told to end, finds out that it lost its node, or is killed.
 */
#ifndef TESTS_HOSTS_LIFE_H
#define TESTS_HOSTS_LIFE_H

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>

#include <tidepool/tidepool.h>

static void panic(const char *text);
#define LOG_HISTORY_PANIC(text) panic(text)
#include "log_history.h"

enum {
    NODES = 4,
    CLIENTS = 2, /* of each, as readers */
    EVENTS = 200000,
    ENOUGH = EVENTS - 40000, /* then nothing new is begun */
    SHOWN = 20000            /* what one client made visible and did not wait for */
};

#define PATIENCE INT64_C(30000000000) /* who waits longer is stuck */

enum { GO_ON, STOP, STOP_ALL }; /* who sequences goes on until all others stopped */

struct way {
    const char *name;
    unsigned level, stops;
};

static struct world {
    struct log_history history;
    _Atomic int stop, failed;
    _Atomic int who;                          /* readers so far */
    _Atomic uint32_t expel;                   /* node + 1, for the sequencer */
    _Atomic uint64_t leader, leaders;         /* the last life that became it; how many did */
    _Atomic uint64_t number[NODES * CLIENTS]; /* level 5: the next one of each client */
    struct log_event event[EVENTS];
} * world;

static const struct way *way;

#define PROGRAM "stress_hosts"
#define SENT EVENTS
#include "life.h"

static tide_region_t *region;
static tide_log_t *log_;
static unsigned node, leads, brokers;
static uint64_t life;
static _Atomic bool closes; /* nobody waits for what is read here */

static struct client {
    pthread_t thread;
    tide_log_client_t *handle;
    unsigned id, ack, shown;
    uint64_t random, ref[SHOWN];
} clients[CLIENTS];

static struct tide_log_options options_of(void)
{
    static const uint64_t leases[] = {60, 150, 400};
    struct tide_log_options options = TIDE_LOG_OPTIONS;
    uint64_t random = seed * 7 + 3;
    options.level = way->level;
    options.sequencing = TIDE_LOG_STEPPED;
    options.coherence = TIDE_LOG_NONCOHERENT;
    options.checksum = 1;
    options.nodes = NODES;
    options.clients = options.readers = NODES * CLIENTS;
    options.lease = leases[draw(&random) % 3] * 1000000;
    options.brokers = 1 + (unsigned)(draw(&random) % 3);
    options.slots = 16 + draw(&random) % 100;
    options.payload = 8192 + 64 * (draw(&random) % 128);
    options.retain = TIDE_LOG_KEEP_UNREAD;
    return options;
}

/* It sequences, if it has the log. */
static bool is_first(void)
{
    return node == 0 || leads != 0;
}

/* What others wait for goes on until they ended. */
static bool is_over(void)
{
    return atomic_load(&world->stop) >= (is_first() ? STOP_ALL : STOP);
}

/* Nobody answers yet, or any more: the same again. */
static bool is_for_later(int error)
{
    return error == -EBUSY || error == -EAGAIN || error == -ETIMEDOUT;
}

/* Its node was taken from it, or the sequencing. */
static bool is_lost(void)
{
    return tide_log_poll(log_) == -ESTALE;
}

/* The same, as soon as it can know: whoever loses its node finds out in less than a lease. */
static bool is_lost_by_now(void)
{
    uint64_t left = 2 * options_of().lease / 1000000;
    while (!is_lost() && left-- > 0)
        nap(1000);
    return is_lost();
}

/* ---- appends --------------------------------------------------------------------------------- */

static int64_t some_time(uint64_t *random)
{
    static const int64_t times[] = {TIDE_LOG_TRY, 200000, 5000000, PATIENCE, PATIENCE};
    return times[draw(random) % 5];
}

static int append(struct client *self, const uint64_t *words, unsigned broker, int64_t timeout)
{
    unsigned char bytes[WORDS * sizeof *words + 700];
    struct tide_log_claim claim;
    uint64_t how = draw(&self->random);
    size_t size = WORDS * sizeof *words;
    if (how % 8 != 1) {
        memcpy(bytes, words, size);
        memset(bytes + size, (int)how, sizeof bytes - size);
        return tide_log_append(self->handle, broker, bytes, size + how / 64 % 700, timeout, NULL);
    }
    int error = tide_log_claim(self->handle, broker, TIDE_LOG_ROOM(size) + how / 64 % 1900, timeout,
                               &claim);
    if (error != 0)
        return error;
    memcpy(tide_log_put(&claim, size, 0), words, size);
    if (how >> 32 & 1)
        nap(how >> 40 & 2047);
    if (how >> 33 & 7)
        return tide_log_commit(&claim, NULL);
    error = tide_log_abort(&claim);
    return error != 0 ? error : -ECANCELED;
}

/* What became of it is written down. True: the next one has the next number. */
static bool answer(struct client *self, uint64_t ref, int error, int64_t timeout)
{
    switch (error) {
    case 0:
    case -EINPROGRESS:
        if (error != 0 && timeout == PATIENCE && !is_lost())
            fail("an append waits for its acknowledgement for ever");
        if (error == 0 && self->ack != TIDE_LOG_ACK_NONE)
            note((struct log_event){.kind = LOG_TAKEN, .ref = ref});
        else if (self->shown < SHOWN)
            self->ref[self->shown++] = ref;
        return true;
    case -ETIMEDOUT:
        if (timeout == PATIENCE)
            fail("an append waits for ever");
        /* fall through */
    case -EAGAIN:
    case -ECANCELED:
        note((struct log_event){.kind = LOG_REFUSE, .ref = ref});
        return false;
    default:
        fail("an append gave %d", error);
    }
}

/* One batch. False: the node is lost. */
static bool produce_one(struct client *self, uint64_t *number)
{
    uint64_t words[WORDS];
    unsigned broker = (unsigned)(draw(&self->random) % brokers);
    int64_t timeout = some_time(&self->random);
    if (way->level != 4)
        *number = atomic_fetch_add(&world->number[self->id], 1);
    uint64_t ref = note((struct log_event){.kind = LOG_INVOKE,
                                           .client = (uint8_t)self->id,
                                           .broker = (uint8_t)broker,
                                           .number = *number,
                                           .count = 1});
    fill(words, ref, self->id, *number);
    tide_log_set_number(self->handle, *number);
    int error = append(self, words, broker, timeout);
    if (error == -ESTALE && is_lost_by_now())
        return false;
    if (error == -ESTALE)
        fail("the session was ended, though its node lives");
    *number += answer(self, ref, error, timeout);
    return true;
}

static void *produce(void *argument)
{
    struct client *self = argument;
    uint64_t number = 0;
    int error = way->level == 4 ? tide_log_acked(self->handle, &number) : 0;
    if (error != 0 && !is_lost_by_now())
        fail("no session: %d", error);
    while (error == 0 && atomic_load(&world->stop) == GO_ON) {
        if (atomic_load(&world->history.count) > ENOUGH)
            nap(1000);
        else if (!produce_one(self, &number))
            break;
        if (draw(&self->random) % 8 == 0)
            nap(draw(&self->random) % 1000);
    }
    return NULL;
}

/* What it made visible stays when it closes. */
static void close_client(struct client *self)
{
    int error = tide_log_client_close(self->handle);
    if (error != 0 && !is_lost_by_now())
        fail("a client stays open: %d", error);
    for (unsigned i = 0; i < self->shown && error == 0 && !is_lost(); i++)
        note((struct log_event){.kind = LOG_TAKEN, .ref = self->ref[i]});
}

/* ---- reads ----------------------------------------------------------------------------------- */

/* What somebody reads who lost its node may have been overwritten: false. */
static bool note_read(unsigned who, const struct tide_log_batch *batch)
{
    uint64_t words[WORDS];
    if (!look(batch, words)) {
        if (is_lost_by_now())
            return false;
        fail("position %llu is not as it was sent", (unsigned long long)batch->position);
    }
    note((struct log_event){.kind = LOG_READ,
                            .who = (uint8_t)who,
                            .whole = true,
                            .ref = words[0],
                            .client = (uint8_t)batch->client,
                            .broker = (uint8_t)batch->broker,
                            .number = batch->number,
                            .count = batch->count,
                            .position = batch->position,
                            .base = batch->base});
    return true;
}

/* What is below the cursor is written down, for it moves with the next call. */
static int read_some(tide_log_reader_t *reader, unsigned who, int64_t timeout)
{
    struct tide_log_batch batch[8];
    int got = tide_log_read(reader, batch, 8, timeout);
    for (int i = 0; i < got; i++)
        if (!note_read(who, &batch[i]))
            return -ESTALE;
    return got;
}

/* NULL: the node is lost, or all is over. */
static tide_log_reader_t *open_reader(unsigned *who)
{
    tide_log_reader_t *reader;
    int error;
    while (is_for_later(error = tide_log_reader_open(&reader, log_, NULL)) &&
           atomic_load(&world->stop) == GO_ON)
        nap(1000);
    if (error == -ESTALE || is_for_later(error))
        return NULL;
    if (error != 0)
        fail("no reader: %d", error);
    *who = (unsigned)atomic_fetch_add(&world->who, 1);
    if (*who >= LOG_WHO)
        fail("too many readers");
    return reader;
}

static void *consume(void *argument)
{
    uint64_t *random = argument;
    unsigned who;
    tide_log_reader_t *reader = open_reader(&who);
    int got = 0;
    while (reader != NULL && !atomic_load(&closes) && got != -ESTALE) {
        int64_t timeout = some_time(random);
        got = read_some(reader, who, timeout == PATIENCE ? 20000000 : timeout);
        if (got <= 0 && got != -EAGAIN && got != -ETIMEDOUT &&
            !(got == -ESTALE && is_lost_by_now()))
            fail("reading gave %d", got);
        if (draw(random) % 16 == 0)
            nap(draw(random) % 2000);
    }
    if (reader != NULL)
        tide_log_reader_close(reader);
    return NULL;
}

/* ---- a process ------------------------------------------------------------------------------- */

/* The log, when it can be had; false: all is over. */
static bool get_log(void)
{
    struct tide_region_error why;
    struct tide_log_role role = {node, leads};
    int error = tide_region_open(&region, source, 0, &why);
    if (error != 0)
        fail("%s", why.text);
    for (;;) {
        error = node == 0 ? tide_log_open(&log_, region)
                          : tide_log_attach(&log_, region, &role, 20000000);
        if (error == 0 || atomic_load(&world->stop) != GO_ON)
            break;
        if (!is_for_later(error))
            fail("node %u cannot have the log: %d", node, error);
        nap(2000);
    }
    brokers = options_of().brokers;
    return error == 0;
}

static bool open_client(struct client *self, unsigned i, uint64_t *random)
{
    int error;
    self->id = node * CLIENTS + i;
    self->ack = draw(random) % 3 != 0 ? TIDE_LOG_ACK_ORDERED : TIDE_LOG_ACK_NONE;
    self->random = draw(random) | 1;
    struct tide_log_client_options options = {.id = self->id, .ack = self->ack};
    options.hold = draw(random) % 2;
    while (is_for_later(error = tide_log_client_open(&self->handle, log_, &options)) &&
           atomic_load(&world->stop) == GO_ON)
        nap(1000);
    if (error != 0 && error != -ESTALE && !is_for_later(error))
        fail("no client: %d", error);
    return error == 0;
}

/* Until all is over, or the node is lost. */
static void look_after(uint64_t *random)
{
    bool first = is_first();
    if (first) {
        atomic_store(&world->leader, life);
        atomic_fetch_add(&world->leaders, 1);
    }
    while (!is_over() && !is_lost()) {
        uint32_t victim = first ? atomic_exchange(&world->expel, 0) : 0;
        int error = victim != 0 ? tide_log_expel(log_, victim - 1) : 0;
        if (error != 0 && error != -ESRCH && error != -ESTALE)
            fail("expelling gave %d", error);
        nap(500 + draw(random) % 2000);
    }
}

static void live(void)
{
    uint64_t random = (seed * 131 + life) * 0x9e3779b97f4a7c15u | 1;
    unsigned open = 0;
    pthread_t reader;
    draw(&random);
    if (!get_log())
        _exit(0);
    int error = tide_log_start(log_, -1);
    if (error != 0 && error != -ESTALE)
        fail("no thread to step: %d", error);
    uint64_t other = draw(&random) | 1;
    bool reads = is_first() || node == 1 || draw(&random) % 2 == 0;
    if (reads && pthread_create(&reader, NULL, consume, &other) != 0)
        fail("no thread");
    for (; open < CLIENTS && open_client(&clients[open], open, &random); open++)
        if (pthread_create(&clients[open].thread, NULL, produce, &clients[open]) != 0)
            fail("no thread");
    look_after(&random);
    if (is_lost() && draw(&random) % 2 == 0)
        _exit(0); /* without a word */
    for (unsigned i = 0; i < open; i++) {
        pthread_join(clients[i].thread, NULL);
        close_client(&clients[i]);
    }
    atomic_store(&closes, true);
    if (reads)
        pthread_join(reader, NULL);
    bool lost = is_lost();
    error = tide_log_close(log_);
    if (error != 0 && !lost && error != -ESTALE)
        fail("the log stays open: %d", error);
    tide_region_close(region);
    _exit(0);
}

#endif
