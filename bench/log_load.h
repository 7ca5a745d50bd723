/*
 * log_load.h - what the ways of bench_log share: the messages, one log or pipe and what its
 * rounds took, and the pipe itself.
 */
#ifndef TIDE_LOG_LOAD_H
#define TIDE_LOG_LOAD_H

#include <sched.h>
#include <stdatomic.h>

#include <tidepool/log.h>

#include "bench_run.h"

enum {
    RING = 64 << 20,
    ROUNDS_MOST = 99,
    WAYS_MOST = 10,
    BROKERS_MOST = 32,
    CLIENTS_MOST = 64,
    CROWD = 5 /* times as many clients */
};

#define PATIENCE INT64_C(120000000000) /* a way that makes no progress for so long has failed */

/* Times that somebody found a session or the mutex taken, or lost a claim to somebody else. */
struct log_contention {
    uint64_t taken, lost;
};

/* One log or the pipe, made once for all rounds. */
struct way {
    char name[32];
    int level; /* -1: no log, but the pipe or the raw line */
    int plain; /* the one of its level that others are compared with */
    int mutex, reordered, stepped;
    int apart, hold; /* in memory that is not coherent; made visible in groups */
    uint32_t clients;
    uint64_t batches; /* of one client, in one round */
    tide_log_t *log, *back;
    tide_log_client_t **client;
    tide_log_reader_t *reader[BROKERS_MOST]; /* one, or at level 0 one for each broker */
    struct bench_team *team;
    /* Of the reader: what comes next; at level 0 of a broker, at level 4 of a client, at level 5
     * at least, of a client by one broker. */
    uint64_t position, *number;
    uint32_t seen;                   /* a bit for each broker that batches came from */
    uint64_t displaced;              /* batches out of turn */
    struct log_contention contended; /* by the warm-up */
    double wall[ROUNDS_MOST + 1];
    double late[ROUNDS_MOST + 1]; /* case wake: what 99 of 100 messages took at most */
    double idle_cpu, idle_wall;
    struct bench_result result;
};

/* What all ways of one message size share. */
static struct load {
    uint32_t size, count, brokers, ordered, rounds;
    uint64_t all;    /* batches of a round, of all clients */
    uint64_t bytes;  /* of a batch, without frames */
    uint64_t sum;    /* of a batch, message by message */
    uint64_t in_one; /* of its bytes in one piece, as the pipe reads them */
    uint64_t slots, seed;
    uint64_t ahead; /* chunks that the writer of the pipe may be ahead; 0: its whole ring */
    uint64_t step;  /* batches that one thread alone appends before it reads them */
    unsigned char *data;
    struct tide_log_message *message;
    size_t ways;
    struct way way[WAYS_MOST], *now;
} load;

static inline void log_need(int error, const char *what)
{
    char text[256];
    if (error >= 0)
        return;
    tide_log_explain(text, sizeof text);
    bench_die(BENCH_FAILED, "%s: %s: %s", what, strerror(-error), text);
}

static uint32_t log_turns = 256; /* of waiting, until a thread gives its processor away */
static int log_wander;           /* threads run where the kernel puts them */

static inline void log_pause(uint32_t *turns)
{
    if (++*turns % log_turns != 0)
        __asm__ volatile("pause" ::: "memory");
    else
        sched_yield();
}

/* How many processors this process may use. */
static inline uint32_t log_cores(cpu_set_t *all)
{
    CPU_ZERO(all);
    if (sched_getaffinity(0, sizeof *all, all) != 0)
        bench_die(BENCH_FAILED, "processors: %s", strerror(errno));
    return (uint32_t)CPU_COUNT(all);
}

/* Threads that hand each other things are often woken on one processor, which no pipe between two
 * is about: where there are enough processors each thread gets its own. */
static inline void log_take_core(const struct bench_worker *self)
{
    cpu_set_t all, one;
    uint32_t turn = 0;
    if (log_wander || self->team->count > log_cores(&all))
        return;
    CPU_ZERO(&one);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &all) && turn++ == self->index)
            CPU_SET(cpu, &one);
    sched_setaffinity(0, sizeof one, &one);
}

/* The sum of all words, and of the bytes behind the last one. */
static uint64_t log_sum(const unsigned char *at, size_t size)
{
    uint64_t sum[4] = {0}, word[4], all = 0;
    for (; size >= sizeof word; size -= sizeof word, at += sizeof word) {
        memcpy(word, at, sizeof word);
        for (int i = 0; i < 4; i++)
            sum[i] += word[i];
    }
    for (; size >= 8; size -= 8, at += 8) {
        memcpy(word, at, 8);
        all += word[0];
    }
    while (size-- > 0)
        all += *at++;
    return all + sum[0] + sum[1] + sum[2] + sum[3];
}

/* ---- the pipe --------------------------------------------------------------------------- */

/* Counts of chunks. */
static struct pipe {
    _Atomic uint64_t head __attribute__((aligned(128))); /* written by the writer */
    _Atomic uint64_t tail __attribute__((aligned(128))); /* written by the reader */
    unsigned char *ring __attribute__((aligned(128)));
    uint64_t chunks, stride, ahead;
} pipe_;

static void pipe_write(uint64_t chunks)
{
    uint64_t first = atomic_load(&pipe_.head), seen = first;
    uint32_t turns = 0;
    for (uint64_t i = first; i < first + chunks; i++) {
        while (i - seen >= pipe_.ahead) {
            seen = atomic_load_explicit(&pipe_.tail, memory_order_acquire);
            if (i - seen >= pipe_.ahead)
                log_pause(&turns);
        }
        memcpy(pipe_.ring + i % pipe_.chunks * pipe_.stride, load.data, load.bytes);
        atomic_store_explicit(&pipe_.head, i + 1, memory_order_release);
    }
}

/* The tail moves as seldom as a cursor of the log. */
static uint64_t pipe_read(uint64_t chunks)
{
    uint64_t at = atomic_load(&pipe_.tail), end = at + chunks, told = at, seen = at, sum = 0;
    uint32_t turns = 0;
    for (; at < end; at++) {
        if (at == seen || at - told >= pipe_.ahead / 16 + 1) {
            atomic_store_explicit(&pipe_.tail, at, memory_order_release);
            told = at;
        }
        while (at == seen) {
            seen = atomic_load_explicit(&pipe_.head, memory_order_acquire);
            if (at == seen)
                log_pause(&turns);
        }
        sum += log_sum(pipe_.ring + at % pipe_.chunks * pipe_.stride, load.bytes);
    }
    atomic_store_explicit(&pipe_.tail, at, memory_order_release);
    return sum;
}

/* One thread in turn at both ends. */
static uint64_t pipe_solo(void)
{
    uint64_t sum = 0;
    for (uint64_t left = load.all, part; left > 0; left -= part) {
        part = left < load.step ? left : load.step;
        pipe_write(part);
        sum += pipe_read(part);
    }
    return sum;
}

static void *pipe_run(struct bench_worker *self)
{
    log_take_core(self);
    bench_begin(self);
    if (self->team->count == 1)
        self->checksum = pipe_solo();
    else if (self->index == 0)
        pipe_write(load.all);
    else
        self->checksum = pipe_read(load.all);
    bench_end(self);
    return NULL;
}

static void pipe_make(void)
{
    pipe_.stride = (load.bytes + 63) / 64 * 64;
    pipe_.chunks = RING / pipe_.stride;
    pipe_.ahead = load.ahead != 0 && load.ahead < pipe_.chunks ? load.ahead : pipe_.chunks;
    pipe_.ring = bench_pages(RING);
    madvise(pipe_.ring, RING, MADV_HUGEPAGE); /* as the log's memory is */
}

#endif
