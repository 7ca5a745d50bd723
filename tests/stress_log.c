/*
 * stress_log.c - the shared log under load: 4 brokers, 4 clients, 2 readers, every order level
 * and every way of giving the places, each batch checked by whoever reads it.
 *
 * Clients append by message, by batch and by claims, give claims up, send twice, open their
 * sessions anew; two of them share a session at level 4. One reader pauses and is closed and
 * opened again where it was. Rings, counters and sizes of batches follow from the seed; what the
 * threads do follows from it too, but not when. Memory does not grow with the number of messages
 * (log_stream.h).
 *
 * stress_log [--ops N | N] [--seed N] [--only WORD]
 *   N messages in all (1000000), shared by the ways; WORD: only ways with it in their names
 * Exit: 0 nothing found, 1 a finding (one line on stderr), 2 bad arguments.
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <tidepool/log.h>

#include "log_stream.h"

enum { CLIENTS = 4, BROKERS = 4, READERS = 2, MOST = 64, LARGEST = 4096 };

#define PATIENCE INT64_C(120000000000) /* who waits longer is stuck */

enum poller { NOBODY, THREADS, PROGRAM };

static const struct way {
    const char *name;
    unsigned level;
    enum poller poller;
    unsigned sessions;
} ways[] = {
    {"level 0", 0, NOBODY, 0},
    {"level 5 inline", 5, NOBODY, 0},
    {"level 5 by threads", 5, THREADS, 0},
    {"level 5 by the program", 5, PROGRAM, 0},
    {"level 4 inline", 4, NOBODY, TIDE_LOG_LOCKFREE},
    {"level 4 by threads", 4, THREADS, TIDE_LOG_LOCKFREE},
    {"level 4 inline, mutex", 4, NOBODY, TIDE_LOG_MUTEX},
    {"level 4 by the program, mutex", 4, PROGRAM, TIDE_LOG_MUTEX},
};

enum { WAYS = sizeof ways / sizeof *ways };

static uint64_t seed = 1;
static const struct way *way;
static tide_log_t *log_;
static struct log_acks acks[CLIENTS];
static uint64_t batches[CLIENTS], in_broker[BROKERS], all_batches, all_messages;
static _Atomic uint64_t acked; /* the first position behind all that were acknowledged */
static _Atomic int stop;

static struct client {
    pthread_t thread;
    tide_log_client_t *handle;
    unsigned id;
    uint64_t random, number, step, committed;
} client[CLIENTS];

static struct reader {
    pthread_t thread;
    tide_log_reader_t *handle[BROKERS];
    struct log_stream stream[BROKERS];
    unsigned who, streams;
    uint64_t random;
} reader[READERS];

static void fail(const char *what, uint64_t where, long value)
{
    fprintf(stderr, "stress_log: seed %llu: %s: %s is broken, at %llu (%ld)\n",
            (unsigned long long)seed, way->name, what, (unsigned long long)where, value);
    _exit(1);
}

static void must(const char *broken, uint64_t where)
{
    if (broken != NULL)
        fail(broken, where, 0);
}

static void must_be(long found, long wanted, const char *what, uint64_t where)
{
    if (found != wanted)
        fail(what, where, found);
}

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* ---- what a batch is made of ---------------------------------------------------------------- */

static uint64_t about(unsigned id, uint64_t number)
{
    return log_stream_mix(seed * 64 + way->level, (uint64_t)id << 56 | number);
}

static uint32_t count_of(unsigned id, uint64_t number)
{
    uint64_t draw = about(id, number);
    return draw % 8 == 0 ? 1 : 1 + (uint32_t)(draw / 8 % MOST);
}

/* Level 4 sends a batch where it likes. */
static unsigned broker_of(unsigned id, uint64_t number)
{
    return (unsigned)(about(id, number) >> 32) % BROKERS;
}

static uint64_t tag_of(unsigned id, uint64_t number, uint32_t i)
{
    return (uint64_t)id << 56 | number << 8 | i;
}

/* The first message of a batch has room for its floor. */
static size_t size_of(uint64_t tag)
{
    uint64_t draw = log_stream_mix(tag, seed);
    size_t size = draw % 2048 == 0 ? draw / 2048 % LARGEST : draw / 2048 % 49;
    return (tag & 0xff) == 0 ? size + 8 : size;
}

static uint64_t word_of(uint64_t tag, size_t at)
{
    return (tag ^ seed) * UINT64_C(0x9e3779b97f4a7c15) + at * UINT64_C(0xd6e8feb86659fd93);
}

static void fill(unsigned char *data, size_t size, uint64_t tag, uint64_t floor)
{
    for (size_t at = 0; at < size; at += 8) {
        uint64_t word = at == 0 && (tag & 0xff) == 0 ? floor : word_of(tag, at);
        memcpy(data + at, &word, size - at < 8 ? size - at : 8);
    }
}

static bool is_filled(const unsigned char *data, size_t size, uint64_t tag)
{
    for (size_t at = (tag & 0xff) == 0 ? 8 : 0; at < size; at += 8) {
        uint64_t word = word_of(tag, at);
        if (memcmp(data + at, &word, size - at < 8 ? size - at : 8) != 0)
            return false;
    }
    return true;
}

/* How many batches each client has to send, so that all have their share of `messages`. */
static void plan(uint64_t messages)
{
    memset(in_broker, 0, sizeof in_broker);
    all_batches = all_messages = 0;
    for (unsigned id = 0; id < CLIENTS; id++) {
        uint64_t share = messages / CLIENTS, sum = 0;
        if (way->level == 4 && id < 2)
            share = id == 0 ? 2 * share : 0;
        for (batches[id] = 0; sum < share; batches[id]++) {
            sum += count_of(id, batches[id]);
            in_broker[broker_of(id, batches[id])]++;
        }
        all_batches += batches[id];
        all_messages += sum;
    }
}

/* ---- clients ------------------------------------------------------------------------------- */

static int send_batch(struct client *self, unsigned broker, uint64_t floor, struct tide_log_at *at)
{
    static _Thread_local unsigned char bytes[MOST][LARGEST + 16];
    struct tide_log_message message[MOST];
    uint32_t count = count_of(self->id, self->number);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t tag = tag_of(self->id, self->number, i);
        message[i] = (struct tide_log_message){bytes[i], size_of(tag), tag};
        fill(bytes[i], message[i].size, tag, floor);
    }
    return tide_log_append_batch(self->handle, broker, message, count, PATIENCE, at);
}

/* In the ring itself; some claims are given up first. */
static int claim_batch(struct client *self, unsigned broker, uint64_t floor, uint64_t draw,
                       struct tide_log_at *at)
{
    struct tide_log_claim claim;
    uint32_t count = count_of(self->id, self->number);
    size_t room = 0;
    for (uint32_t i = 0; i < count; i++)
        room += TIDE_LOG_ROOM(size_of(tag_of(self->id, self->number, i)));
    int error = tide_log_claim(self->handle, broker, room, PATIENCE, &claim);
    if (error == 0 && draw % 8 == 0) {
        memset(claim.data, 0xee, room);
        tide_log_abort(&claim);
        error = tide_log_claim(self->handle, broker, room, PATIENCE, &claim);
    }
    if (error != 0)
        return error;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t tag = tag_of(self->id, self->number, i);
        fill(tide_log_put(&claim, size_of(tag), tag), size_of(tag), tag, floor);
    }
    return tide_log_commit(&claim, at);
}

static int send_by_draw(struct client *self, uint64_t draw, struct tide_log_at *at)
{
    uint64_t floor = atomic_load(&acked);
    unsigned broker =
        way->level == 4 ? (unsigned)(draw / 64 % BROKERS) : broker_of(self->id, self->number);
    return draw % 4 == 0 ? claim_batch(self, broker, floor, draw / 256, at)
                         : send_batch(self, broker, floor, at);
}

/* What was acknowledged is in the committed prefix, which never shrinks. */
static void look_at_commits(struct client *self, uint64_t position)
{
    if (position != TIDE_LOG_NONE)
        must_be(tide_log_wait_committed(log_, position, PATIENCE), 0, "A1", position);
    uint64_t committed = tide_log_committed(log_);
    if (committed < self->committed)
        fail("A2", committed, 0);
    if (position != TIDE_LOG_NONE && committed <= position)
        fail("A1", position, 0);
    self->committed = committed;
}

static void send_next(struct client *self, uint64_t draw)
{
    struct tide_log_at at;
    must_be(send_by_draw(self, draw, &at), 0, "an append", self->number);
    must_be((long)at.number, (long)self->number, "the number of a batch", self->number);
    bool known = at.position != TIDE_LOG_NONE;
    must(log_acks_meet(&acks[self->id], self->number,
                       known ? log_acks_value(at.position, at.base) : LOG_ACKS_UNKNOWN),
         self->number);
    uint64_t seen = atomic_load(&acked);
    while (known && seen <= at.position &&
           !atomic_compare_exchange_weak(&acked, &seen, at.position + 1))
        ;
    if (way->level != 0 && draw / 1024 % 64 == 0)
        look_at_commits(self, at.position);
    self->number += self->step;
}

/* The batch before once more, perhaps to another broker: it must not be there twice. */
static void send_again(struct client *self, uint64_t draw)
{
    struct tide_log_at at;
    self->number--;
    must_be(tide_log_set_number(self->handle, self->number), 0, "set_number", self->number);
    int error = send_by_draw(self, draw, &at);
    if (error != -EALREADY && (error != 0 || way->poller == NOBODY))
        fail("D1", self->number, error);
    self->number++;
    must_be(tide_log_set_number(self->handle, self->number), 0, "set_number", self->number);
}

/* The session is opened anew, and its old handle is good for nothing. What had no place is sent
 * once more. */
static void open_anew(struct client *self)
{
    struct tide_log_client_options who = {.id = self->id};
    tide_log_client_t *old = self->handle;
    uint64_t expected = 0;
    must_be(tide_log_client_open(&self->handle, log_, &who), 0, "an opening", self->number);
    must_be(tide_log_append(old, 0, "x", 1, PATIENCE, NULL), -ESTALE, "E1", self->number);
    must_be(tide_log_client_close(old), 0, "a closing", self->number);
    must_be(tide_log_acked(self->handle, &expected), 0, "acked", self->number);
    if (expected > self->number || (way->poller == NOBODY && expected != self->number))
        fail("S1", expected, (long)self->number);
    for (uint64_t number = expected; number < self->number; number++)
        log_acks_forget(&acks[self->id], number);
    self->number = expected;
}

static void *send_all(void *argument)
{
    struct client *self = argument;
    while (self->number < batches[self->id]) {
        uint64_t draw = next_random(&self->random);
        bool alone = way->level == 4 && self->step == 1;
        if (alone && draw % 512 == 0)
            open_anew(self);
        else if (alone && draw % 32 == 1 && self->number > 0)
            send_again(self, draw / 4096);
        if (self->step > 1)
            must_be(tide_log_set_number(self->handle, self->number), 0, "set_number", 0);
        if (self->number < batches[self->id])
            send_next(self, draw / 4096);
    }
    return NULL;
}

/* ---- readers ------------------------------------------------------------------------------- */

/* Looks through the messages of a batch; out->whole says whether they are as they were sent. */
static void examine(const struct tide_log_batch *in, struct log_stream_batch *out)
{
    const struct tide_log_frame *frame;
    uint32_t i = 0;
    size_t at = 0;
    *out = (struct log_stream_batch){.position = in->position,
                                     .base = in->base,
                                     .number = in->number,
                                     .hash = in->size,
                                     .client = in->client,
                                     .broker = in->broker,
                                     .count = in->count};
    if (in->client >= CLIENTS || in->count != count_of(in->client, in->number) ||
        (way->level != 4 && in->broker != broker_of(in->client, in->number)))
        return;
    for (; (frame = tide_log_next(in, &at)) != NULL; i++) {
        uint64_t tag = tag_of(in->client, in->number, i);
        const unsigned char *data = (const void *)(frame + 1);
        if (frame->tag != tag || frame->length != size_of(tag) ||
            !is_filled(data, frame->length, tag))
            return;
        if (i == 0)
            memcpy(&out->floor, data, sizeof out->floor);
    }
    out->hash = log_stream_mix(out->floor, in->size);
    out->whole = i == in->count && at == in->size;
}

static void take(struct reader *self, struct log_stream *stream, const struct tide_log_batch *in)
{
    struct log_stream_batch batch;
    examine(in, &batch);
    must(log_stream_take(stream, &batch), in->position);
    if (self->who == 0)
        must(log_acks_meet(&acks[in->client], in->number, log_acks_value(in->position, in->base)),
             in->position);
}

static void open_reader(struct reader *self, unsigned i, unsigned start)
{
    struct tide_log_reader_options options = {
        .broker = i, .start = start, .position = self->stream[i].position};
    must_be(tide_log_reader_open(&self->handle[i], log_, &options), 0, "opening a reader",
            options.position);
}

/* A pause, or an end and another beginning. */
static void disturb(struct reader *self, unsigned i)
{
    uint64_t draw = next_random(&self->random);
    tide_log_reader_t *old = self->handle[i];
    if (draw % 128 == 0)
        usleep(draw / 128 % 200);
    if (draw % 128 != 1)
        return;
    open_reader(self, i, TIDE_LOG_POSITION);
    must_be(tide_log_reader_close(old), 0, "closing a reader", self->stream[i].position);
}

static void *read_all(void *argument)
{
    struct reader *self = argument;
    struct tide_log_batch batch[16];
    uint64_t left = all_batches;
    while (left > 0) {
        uint64_t before = left;
        for (unsigned i = 0; i < self->streams; i++) {
            int got = tide_log_read(self->handle[i], batch, self->who == 0 ? 16 : 3,
                                    self->streams == 1 ? PATIENCE : TIDE_LOG_TRY);
            if (got < 0 && (got != -EAGAIN || self->streams == 1))
                fail("L1", self->stream[i].position, got);
            for (int n = 0; n < got; n++)
                take(self, &self->stream[i], &batch[n]);
            left -= got > 0 ? (uint64_t)got : 0;
            if (self->who == 1 && got > 0)
                disturb(self, i);
        }
        if (left == before)
            usleep(50);
    }
    for (unsigned i = 0; i < self->streams; i++)
        must_be(tide_log_read(self->handle[i], batch, 1, TIDE_LOG_TRY), -EAGAIN, "T1",
                self->stream[i].position);
    return NULL;
}

/* ---- one way ------------------------------------------------------------------------------- */

/* A sequencer that stops now and then: the rings fill up, and work goes on when it does. */
static void *poll_all(void *unused)
{
    uint64_t random = seed * 2 + 1;
    while (atomic_load(&stop) == 0) {
        if (next_random(&random) % 512 == 0)
            usleep(2000);
        if (tide_log_poll(log_) == 0)
            usleep(20);
    }
    return unused;
}

static void open_log(void)
{
    static const uint64_t first[] = {0, 0x7fffff00, 0xffffff00, (UINT64_C(1) << 63) - 300};
    static const uint64_t slots[] = {16, 67, 256, 1021};
    uint64_t draw = log_stream_mix(seed, (uint64_t)(way - ways));
    struct tide_log_options options = {
        .level = way->level,
        .brokers = BROKERS,
        .clients = 16,
        .window = 8 + (unsigned)(draw / 64 % 57),
        .sequencing = way->poller != NOBODY && way->level != 0,
        .sessions = way->sessions,
        .lease = TIDE_LOG_NO_LEASE, /* a thread may be kept from running */
        .checksum = draw / 32 % 2,
        .slots = slots[draw % 4],
        .payload = 64 * (7001 + draw / 4096 % 4000),
        .first = first[draw / 4 % 4],
    };
    must_be(tide_log_create(&log_, &options), 0, "the creation", options.slots);
    for (unsigned who = 0; who < READERS; who++) {
        struct reader *self = &reader[who];
        self->who = who;
        self->random = draw * 2 + who + 1;
        self->streams = way->level == 0 ? BROKERS : 1;
        for (unsigned i = 0; i < self->streams; i++) {
            log_stream_open(&self->stream[i], way->level, options.first, options.first,
                            all_batches);
            open_reader(self, i, TIDE_LOG_EARLIEST);
        }
    }
    atomic_store(&acked, options.first);
    for (int i = 0; i < 2 && way->poller == THREADS; i++)
        must_be(tide_log_start(log_, -1), 0, "a start", 0);
}

static void open_clients(void)
{
    for (unsigned i = 0; i < CLIENTS; i++) {
        bool shared = way->level == 4 && i < 2;
        struct tide_log_client_options who = {.id = shared ? 0 : i, .join = shared};
        client[i] = (struct client){.id = who.id,
                                    .random = log_stream_mix(seed, i) | 1,
                                    .number = shared ? i : 0,
                                    .step = shared ? 2 : 1};
        must_be(tide_log_client_open(&client[i].handle, log_, &who), 0, "opening a client", i);
    }
}

static void start(pthread_t *thread, void *(*body)(void *), void *argument)
{
    must_be(pthread_create(thread, NULL, body, argument), 0, "a thread", 0);
}

static void check_and_close(void)
{
    struct tide_log_stat stat;
    uint64_t near = 0;
    must_be(tide_log_stat(log_, &stat), 0, "stat", 0);
    for (unsigned who = 0; who < READERS; who++)
        for (unsigned i = 0; i < reader[who].streams; i++)
            must(log_stream_end(&reader[who].stream[i],
                                way->level == 0 ? in_broker[i] : all_batches, stat.taken,
                                stat.messages),
                 reader[who].stream[i].position);
    for (unsigned i = 0; i < reader[0].streams; i++)
        must(log_stream_compare(&reader[0].stream[i], &reader[1].stream[i], &near), near);
    for (unsigned i = 0; i < CLIENTS; i++) {
        must(log_acks_end(&acks[i]), i);
        must_be(tide_log_client_close(client[i].handle), 0, "closing a client", i);
    }
    for (unsigned who = 0; who < READERS; who++)
        for (unsigned i = 0; i < reader[who].streams; i++) {
            must_be(tide_log_reader_close(reader[who].handle[i]), 0, "closing a reader", i);
            log_stream_close(&reader[who].stream[i]);
        }
    must_be(tide_log_close(log_), 0, "closing", 0);
}

static void run(uint64_t messages)
{
    pthread_t poller;
    plan(messages);
    open_log();
    open_clients();
    atomic_store(&stop, 0);
    if (way->poller == PROGRAM)
        start(&poller, poll_all, NULL);
    for (int i = 0; i < READERS; i++)
        start(&reader[i].thread, read_all, &reader[i]);
    for (int i = 0; i < CLIENTS; i++)
        start(&client[i].thread, send_all, &client[i]);
    for (int i = 0; i < CLIENTS; i++)
        pthread_join(client[i].thread, NULL);
    for (int i = 0; i < READERS; i++)
        pthread_join(reader[i].thread, NULL);
    atomic_store(&stop, 1);
    if (way->poller == PROGRAM)
        pthread_join(poller, NULL);
    check_and_close();
}

static int usage(void)
{
    fputs("usage: stress_log [--ops N | N] [--seed N] [--only WORD]\n", stderr);
    return 2;
}

static bool to_number(const char *text, uint64_t *out)
{
    char *end;
    errno = 0;
    *out = strtoull(text, &end, 10);
    return errno == 0 && end != text && *end == '\0' && *text != '-';
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"ops", 1, NULL, 'o'}, {"seed", 1, NULL, 's'}, {"only", 1, NULL, 'w'}, {NULL, 0, NULL, 0}};
    uint64_t ops = 1000000, sum = 0, took = 0;
    const char *only = "";
    bool good = true;
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;)
        if (c == 'w')
            only = optarg;
        else
            good = good && c != '?' && to_number(optarg, c == 'o' ? &ops : &seed);
    if (optind < argc)
        good = good && optind + 1 == argc && to_number(argv[optind], &ops);
    if (!good)
        return usage();
    for (int i = 0; i < WAYS; i++)
        took += strstr(ways[i].name, only) != NULL;
    for (way = ways; way < ways + WAYS; way++) {
        if (strstr(way->name, only) == NULL)
            continue;
        run(ops / took + 1);
        sum += all_messages;
    }
    printf("stress_log: ok %llu messages, %llu ways, seed %llu\n", (unsigned long long)sum,
           (unsigned long long)took, (unsigned long long)seed);
    return took > 0 ? 0 : usage();
}
