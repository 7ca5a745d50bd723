/*
 * log_wake.h - how soon somebody who sleeps has what was appended, and what sleeping costs, for
 * bench_log.
 *
 * One thread waits for a message without a time-out; the other one lets it fall asleep, and then
 * appends the time of day. Way futex: the time and a word that says so, and the kernel's call to
 * wake who waits for it. Before the messages of a round nothing happens for a while: what the
 * process uses of its processors then is the price of waiting.
 */
#ifndef TIDE_LOG_WAKE_H
#define TIDE_LOG_WAKE_H

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "log_ways.h"

enum { WAKE_DOZE_NS = 1000000, WAKE_SETTLE_NS = 50000000, WAKE_IDLE_NS = 300000000 };

static struct wake {
    double *took; /* of each message of a round, seconds */
    _Atomic uint32_t word;
    double sent; /* way futex */
} wake;

static void wake_pause(long ns)
{
    struct timespec time = {0, ns};
    while (nanosleep(&time, &time) != 0) {
    }
}

/* Processor time of a while in which nothing happens, of the whole process. */
static void wake_idle(struct way *way)
{
    wake_pause(WAKE_SETTLE_NS);
    double start = bench_seconds(CLOCK_MONOTONIC), cpu = bench_seconds(CLOCK_PROCESS_CPUTIME_ID);
    wake_pause(WAKE_IDLE_NS);
    way->idle_cpu += bench_seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    way->idle_wall += bench_seconds(CLOCK_MONOTONIC) - start;
}

static void wake_send(struct way *way)
{
    double now = bench_seconds(CLOCK_MONOTONIC);
    if (way->level >= 0) {
        log_need(tide_log_append(way->client[0], 0, &now, sizeof now, PATIENCE, NULL), "append");
        return;
    }
    wake.sent = now;
    atomic_fetch_add(&wake.word, 1);
    syscall(SYS_futex, &wake.word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static double wake_take(struct way *way, uint32_t word)
{
    struct tide_log_batch batch;
    size_t at = 0;
    double sent;
    if (way->level < 0) {
        while (atomic_load(&wake.word) == word)
            syscall(SYS_futex, &wake.word, FUTEX_WAIT_PRIVATE, word, NULL, NULL, 0);
        return bench_seconds(CLOCK_MONOTONIC) - wake.sent;
    }
    log_need(tide_log_read(way->reader[0], &batch, 1, TIDE_LOG_BLOCK), "read");
    double now = bench_seconds(CLOCK_MONOTONIC);
    const struct tide_log_frame *frame = tide_log_next(&batch, &at);
    if (frame == NULL || frame->length != sizeof sent)
        bench_die(BENCH_FAILED, "a message of another size came");
    memcpy(&sent, frame + 1, sizeof sent);
    return now - sent;
}

static void *wake_run(struct bench_worker *self)
{
    uint32_t word = atomic_load(&wake.word);
    log_take_core(self);
    bench_begin(self);
    if (self->index == 0)
        wake_idle(load.now);
    for (uint64_t i = 0; i < load.all; i++)
        if (self->index == 0) {
            wake_pause(WAKE_DOZE_NS);
            wake_send(load.now);
        } else {
            wake.took[i] = wake_take(load.now, word + (uint32_t)i);
        }
    bench_end(self);
    return NULL;
}

#endif
