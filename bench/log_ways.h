/*
 * log_ways.h - a log of bench_log: made, appended to by its clients, read in order by one
 * reader that checks the order.
 */
#ifndef TIDE_LOG_WAYS_H
#define TIDE_LOG_WAYS_H

#include "log_load.h"

enum { READ = 16, WHO_MOST = CLIENTS_MOST * CROWD };

/* ---- appending -------------------------------------------------------------------------- */

/* Batch `number` of a client, to the broker whose turn it is with that number. */
static void append_one(tide_log_client_t *client, unsigned who, uint64_t number)
{
    unsigned broker = (unsigned)((number + who) % load.brokers);
    struct tide_log_at at;
    int error =
        load.count == 1
            ? tide_log_append(client, broker, load.data, load.size, PATIENCE, &at)
            : tide_log_append_batch(client, broker, load.message, load.count, PATIENCE, &at);
    log_need(error, "append");
    if (load.ordered && load.now->level != 0 && at.position != TIDE_LOG_NONE)
        log_need(tide_log_wait_committed(load.now->log, at.position, PATIENCE), "ack");
}

static void append_all(struct bench_worker *self)
{
    tide_log_client_t *client = load.now->client[self->index];
    for (uint64_t i = 0; i < load.now->batches; i++)
        append_one(client, self->index, i);
    log_need(tide_log_flush(client), "flush");
}

/* Two batches at a time; every other pair, by lot, with the second one first. Returns how many
 * batches were not in their turn. */
static uint64_t append_swapped(struct way *way, unsigned who, uint64_t seed)
{
    struct bench_random random = bench_stream(seed, who, 1);
    uint64_t first = 0, displaced = 0;
    log_need(tide_log_acked(way->client[who], &first), "acked");
    for (uint64_t i = 0; i < way->batches; i += 2) {
        uint64_t pair = way->batches - i >= 2 ? 2 : 1;
        uint64_t swap = pair == 2 && bench_draw(&random) >> 63;
        for (uint64_t k = 0; k < pair; k++) {
            uint64_t number = first + i + (k ^ swap);
            log_need(tide_log_set_number(way->client[who], number), "number");
            append_one(way->client[who], who, number);
        }
        displaced += 2 * swap;
    }
    return displaced;
}

/* ---- reading ---------------------------------------------------------------------------- */

static uint64_t *number_of(struct way *way, const struct tide_log_batch *batch)
{
    if (way->level == 0)
        return &way->number[batch->broker];
    return &way->number[batch->client + (way->level == 5 ? batch->broker * WHO_MOST : 0)];
}

/* The order of the log, and of the client as far as the level has it. */
static void check_turn(struct way *way, const struct tide_log_batch *batch)
{
    uint64_t *next = number_of(way, batch), number = batch->number;
    if (way->level == 0)
        number = batch->position;
    else if (batch->position != way->position++)
        bench_die(BENCH_FAILED, "position %llu came out of its turn", (bench_count)batch->position);
    if (number < *next || (way->level != 5 && number > *next))
        bench_die(BENCH_FAILED, "batch %llu of broker %u, client %u came out of its turn",
                  (bench_count)number, batch->broker, batch->client);
    *next = number + 1;
    way->seen |= 1u << batch->broker;
}

static uint64_t take_batch(struct way *way, const struct tide_log_batch *batch)
{
    const struct tide_log_frame *frame;
    uint64_t sum = 0;
    size_t at = 0;
    check_turn(way, batch);
    while ((frame = tide_log_next(batch, &at)) != NULL)
        sum += log_sum((const unsigned char *)(frame + 1), frame->length);
    return sum;
}

/* So many batches: with several readers each in turn, without waiting. */
static uint64_t read_some(struct way *way, uint64_t left)
{
    struct tide_log_batch batch[READ];
    uint64_t sum = 0;
    uint32_t readers = way->level == 0 ? load.brokers : 1, turns = 0;
    for (uint32_t which = 0; left > 0; which = (which + 1) % readers) {
        int got =
            tide_log_read(way->reader[which], batch, READ, readers == 1 ? PATIENCE : TIDE_LOG_TRY);
        if (got == -EAGAIN && which + 1 == readers)
            log_pause(&turns);
        if (got == -EAGAIN)
            continue;
        log_need(got, "read");
        for (int i = 0; i < got; i++)
            sum += take_batch(way, &batch[i]);
        left -= (uint64_t)got;
    }
    return sum;
}

static uint64_t read_all(struct way *way)
{
    uint64_t sum = read_some(way, load.all);
    for (uint32_t i = 0; i < (way->level == 0 ? load.brokers : 1); i++)
        log_need(tide_log_done(way->reader[i]), "done");
    return sum;
}

/* One thread alone: what a call costs when no other processor wants the same lines. */
static uint64_t append_and_read(struct way *way)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < load.all;) {
        uint64_t part = load.all - i < load.step ? load.all - i : load.step;
        for (uint64_t end = i + part; i < end; i++)
            append_one(way->client[0], 0, i);
        log_need(tide_log_flush(way->client[0]), "flush");
        while (way->stepped && tide_log_poll(way->log) > 0)
            continue;
        sum += read_some(way, part);
    }
    return sum;
}

static void *log_run(struct bench_worker *self)
{
    struct way *way = load.now;
    self->damaged = 0;
    log_take_core(self);
    bench_begin(self);
    if (self->team->count == 1)
        self->checksum = append_and_read(way);
    else if (self->index == way->clients)
        self->checksum = read_all(way);
    else if (way->reordered)
        self->damaged = append_swapped(way, self->index, load.seed);
    else
        append_all(self);
    bench_end(self);
    return NULL;
}

/* ---- made and ended --------------------------------------------------------------------- */

static struct tide_log_options options_of(const struct way *way)
{
    uint32_t lanes = load.brokers * (way->apart ? way->clients : 1);
    return (struct tide_log_options){
        .level = (unsigned)way->level,
        .brokers = load.brokers,
        .clients = way->clients + !way->apart,
        .readers = load.brokers,
        .slots = load.slots,
        .payload = RING / lanes / 64 * 64,
        .sequencing = way->stepped ? TIDE_LOG_STEPPED : TIDE_LOG_INLINE,
        .sessions = way->mutex ? TIDE_LOG_MUTEX : TIDE_LOG_LOCKFREE,
        .coherence = way->apart ? TIDE_LOG_NONCOHERENT : TIDE_LOG_COHERENT};
}

static void log_open(struct way *way)
{
    struct tide_log_options options = options_of(way);
    log_need(tide_log_create(&way->log, &options), "log");
    for (unsigned i = 0; i < (way->level == 0 ? load.brokers : 1); i++) {
        struct tide_log_reader_options at = {.broker = i};
        log_need(tide_log_reader_open(&way->reader[i], way->log, &at), "reader");
    }
    way->client = bench_pages(way->clients * sizeof(tide_log_client_t *));
    for (unsigned i = 0; i < way->clients; i++) {
        struct tide_log_client_options who = {.id = i, .hold = (unsigned)way->hold};
        log_need(tide_log_client_open(&way->client[i], way->log, &who), "client");
    }
    way->number = bench_pages(sizeof(uint64_t) * WHO_MOST * BROKERS_MOST);
    if (way->stepped && way->level != 0 && way->team->count > 1)
        log_need(tide_log_start(way->log, -1), "sequencer");
}

static void log_shut(struct way *way)
{
    for (unsigned i = 0; i < way->clients; i++)
        log_need(tide_log_client_close(way->client[i]), "client");
    for (unsigned i = 0; i < BROKERS_MOST; i++)
        log_need(tide_log_reader_close(way->reader[i]), "reader");
    log_need(tide_log_close(way->log), "log");
}

static struct log_contention log_contention(const struct way *way)
{
    struct tide_log_stat stat = {0};
    if (way->log != NULL)
        log_need(tide_log_stat(way->log, &stat), "stat");
    return (struct log_contention){stat.contention, stat.collisions};
}

/* Bytes that the log writes for one of its payload: the room that a batch takes of the ring, with
 * its frames, and what another slot adds to the size of the log: slot and index entry. Its place
 * in the ring of retired blocks is written for batches by reference alone. */
enum { LOG_RETIRED = 16 };

static double log_written(const struct way *way)
{
    struct tide_log_options options = options_of(way);
    struct tide_log_broker_stat stat;
    struct way one = {.level = way->level, .clients = 1};
    uint64_t ordered = load.ordered;
    load.now = &one;
    load.ordered = 0;
    log_open(&one);
    append_one(one.client[0], 0, 0);
    log_need(tide_log_stat_broker(one.log, 0, &stat), "stat");
    log_shut(&one);
    load.ordered = (uint32_t)ordered;
    options.slots = 1 << 10;
    int64_t small = tide_log_size(&options);
    options.slots = 1 << 11;
    double slot = (double)(tide_log_size(&options) - small) / (double)(load.brokers << 10);
    return ((double)stat.used_bytes + slot - LOG_RETIRED) / (double)load.bytes;
}

#endif
