/*
 * log_trip.h - there and back: 32 bytes to another thread, which sends them back, for bench_log.
 *
 * Way raw: each direction is one cache line, the bytes and behind them a number that is written
 * last. The other ways: each direction is a log of one broker; who waits does not sleep. A round
 * tells the median of its pieces of 64 trips, so that a thread that lost its processor once does
 * not count.
 *
 * Through a sequencer: a third thread polls both logs. Where there is no processor for a third
 * thread that never sleeps, the thread that sends back is the sequencer too: what the first one
 * appends gets its place there, and so does what it gets back.
 */
#ifndef TIDE_LOG_TRIP_H
#define TIDE_LOG_TRIP_H

#include "log_ways.h"

enum { TRIP = 32, TRIP_PIECE = 64, TRIP_LINES = 2 };

/* One direction in way raw: one line. */
struct trip_line {
    unsigned char data[TRIP];
    _Atomic uint64_t number;
} __attribute__((aligned(128)));

static struct trip {
    struct trip_line line[TRIP_LINES];
    _Atomic uint32_t over; /* the sequencer may end */
    uint64_t pieces;       /* of a round */
    double *piece;         /* what each took */
} trip;

static void trip_send_raw(struct trip_line *line, const void *data)
{
    uint64_t number = atomic_load_explicit(&line->number, memory_order_relaxed);
    memcpy(line->data, data, TRIP);
    atomic_store_explicit(&line->number, number + 1, memory_order_release);
}

static void trip_take_raw(struct trip_line *line, uint64_t number, void *data)
{
    uint32_t turns = 0;
    while (atomic_load_explicit(&line->number, memory_order_acquire) != number)
        log_pause(&turns);
    memcpy(data, line->data, TRIP);
}

/* One turn of the sequencer over both directions. */
static int64_t trip_poll(struct way *way)
{
    int64_t there = tide_log_poll(way->log), back = tide_log_poll(way->back);
    log_need((int)(there < 0 ? there : back < 0 ? back : 0), "poll");
    return there + back;
}

/* `polls`: who waits here is the sequencer. */
static void trip_take_log(struct way *way, int from, int polls, void *data)
{
    struct tide_log_batch batch;
    uint32_t turns = 0;
    size_t at = 0;
    int got;
    while ((got = tide_log_read(way->reader[from], &batch, 1, TIDE_LOG_TRY)) == -EAGAIN)
        if (!polls || trip_poll(way) == 0)
            log_pause(&turns);
    log_need(got, "read");
    const struct tide_log_frame *frame = tide_log_next(&batch, &at);
    if (frame == NULL || frame->length != TRIP)
        bench_die(BENCH_FAILED, "a message of another size came back");
    memcpy(data, frame + 1, TRIP);
}

/* The thread that sends back is the sequencer. */
static int trip_polls(const struct way *way)
{
    return way->stepped && way->team->count == 2;
}

/* Sends in direction `to`, 0 or 1; takes what comes from the other one. */
static void trip_send(struct way *way, int to, const void *data)
{
    if (way->level < 0)
        trip_send_raw(&trip.line[to], data);
    else
        log_need(tide_log_append(way->client[to], 0, data, TRIP, PATIENCE, NULL), "append");
}

static void trip_take(struct way *way, int from, uint64_t number, void *data)
{
    if (way->level < 0)
        trip_take_raw(&trip.line[from], number, data);
    else
        trip_take_log(way, from, from == 0 && trip_polls(way), data);
}

static void trip_go(struct way *way, uint64_t first)
{
    uint64_t data[TRIP / 8] = {0}, back[TRIP / 8];
    for (uint64_t i = 0; i < trip.pieces; i++) {
        double start = bench_seconds(CLOCK_MONOTONIC);
        for (uint64_t k = 0; k < TRIP_PIECE; k++) {
            data[TRIP / 8 - 1] = ++data[0];
            trip_send(way, 0, data);
            trip_take(way, 1, first + data[0], back);
            if (memcmp(data, back, TRIP) != 0)
                bench_die(BENCH_FAILED, "what came back is not what was sent");
        }
        trip.piece[i] = bench_seconds(CLOCK_MONOTONIC) - start;
    }
    atomic_store(&trip.over, 1);
}

static void trip_echo(struct way *way, uint64_t first)
{
    uint64_t data[TRIP / 8];
    for (uint64_t i = 1; i <= trip.pieces * TRIP_PIECE; i++) {
        trip_take(way, 0, first + i, data);
        trip_send(way, 1, data);
        if (trip_polls(way))
            trip_poll(way);
    }
}

static void trip_sequence(struct way *way)
{
    uint32_t turns = 0;
    while (!atomic_load_explicit(&trip.over, memory_order_relaxed))
        if (trip_poll(way) == 0)
            log_pause(&turns);
}

static void *trip_run(struct bench_worker *self)
{
    uint64_t first = atomic_load(&trip.line[0].number);
    log_take_core(self);
    bench_begin(self);
    if (self->index == 0)
        trip_go(load.now, first);
    else if (self->index == 1)
        trip_echo(load.now, first);
    else
        trip_sequence(load.now);
    bench_end(self);
    return NULL;
}

static void trip_open(struct way *way)
{
    struct tide_log_options options = options_of(way);
    tide_log_t **log[] = {&way->log, &way->back};
    way->client = bench_pages(TRIP_LINES * sizeof(tide_log_client_t *));
    for (int i = 0; i < TRIP_LINES; i++) {
        log_need(tide_log_create(log[i], &options), "log");
        log_need(tide_log_reader_open(&way->reader[i], *log[i], NULL), "reader");
        log_need(tide_log_client_open(&way->client[i], *log[i], NULL), "client");
    }
    way->clients = TRIP_LINES;
}

static void trip_shut(struct way *way)
{
    log_shut(way);
    log_need(tide_log_close(way->back), "log");
}

#endif
