/*
 * log_stream.h - whether what a reader gets may be so, batch by batch: for logs of any length,
 * since nothing is kept of what was checked but sums.
 *
 * A batch carries who sent it, its number, and the floor: the first position behind all that
 * were acknowledged when it was sent. log_history.h checks more, but keeps every event.
 *
 * Each check returns NULL, or the name of the invariant that was broken (see log_history.h):
 *   T1 T2 D1 F1 R2 R3   log_stream_take, for each batch that a reader gets
 *   T1 T2 L1            log_stream_end, when it has got all
 *   R1                  log_stream_compare, two readers
 *   A1                  log_acks_meet: a batch is where its sender was told that it is
 */
#ifndef TESTS_LOG_STREAM_H
#define TESTS_LOG_STREAM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

enum { STREAM_CLIENTS = 8, STREAM_BROKERS = 8, STREAM_STEP = 1024, STREAM_ACKS = 1 << 14 };

/* What a reader got. */
struct log_stream_batch {
    uint64_t position, base, number, floor;
    uint64_t hash; /* of its bytes */
    uint32_t client, broker, count;
    bool whole; /* the bytes are the sender's */
};

struct log_stream {
    unsigned level;
    uint64_t position, base; /* that come next */
    uint64_t batches;
    uint64_t number[STREAM_CLIENTS][STREAM_BROKERS]; /* the last one, plus 1 */
    uint64_t chain;                                  /* of everything up to here */
    uint64_t *mark;                                  /* chain at each STREAM_STEP batches */
    size_t marks, room;
};

static inline uint64_t log_stream_mix(uint64_t a, uint64_t b)
{
    a = (a ^ b) * UINT64_C(0x9e3779b97f4a7c15);
    a ^= a >> 32;
    a *= UINT64_C(0xd6e8feb86659fd93);
    return a ^ a >> 29;
}

static inline void log_stream_open(struct log_stream *self, unsigned level, uint64_t position,
                                   uint64_t base, uint64_t most)
{
    *self = (struct log_stream){.level = level, .position = position, .base = base};
    self->room = most / STREAM_STEP + 1;
    self->mark = calloc(self->room, sizeof *self->mark);
}

static inline void log_stream_close(struct log_stream *self)
{
    free(self->mark);
}

static inline void log_stream_note(struct log_stream *self, const struct log_stream_batch *batch)
{
    uint64_t chain = log_stream_mix(self->chain, batch->number);
    chain = log_stream_mix(chain, (uint64_t)batch->client << 32 | batch->broker);
    chain = log_stream_mix(chain, batch->base + ((uint64_t)batch->count << 40));
    self->chain = log_stream_mix(chain, batch->hash);
    self->position = batch->position + 1;
    self->base += batch->count;
    if (++self->batches % STREAM_STEP == 0 && self->marks < self->room)
        self->mark[self->marks++] = self->chain;
}

/* Is this the batch that comes next? Level 4: a client's numbers are without a gap. Others: the
 * numbers of a client in a broker grow. Level 0: positions that were claimed in vain are left
 * out. */
static inline const char *log_stream_take(struct log_stream *self,
                                          const struct log_stream_batch *batch)
{
    if (batch->client >= STREAM_CLIENTS || batch->broker >= STREAM_BROKERS || !batch->whole)
        return "R2";
    if (self->level == 0 ? batch->position < self->position : batch->position != self->position)
        return "T1";
    if (self->level != 0 && batch->base != self->base)
        return "T2";
    uint64_t *next = &self->number[batch->client][self->level == 4 ? 0 : batch->broker];
    if (batch->number < *next)
        return self->level == 4 || batch->number + 1 == *next ? "D1" : "F1";
    if (self->level == 4 && batch->number > *next)
        return "F1";
    if (self->level != 0 && batch->position < batch->floor)
        return "R3";
    *next = batch->number + 1;
    log_stream_note(self, batch);
    return NULL;
}

/* It has got all: as many batches as were sent, up to the places and numbers that were taken. */
static inline const char *log_stream_end(const struct log_stream *self, uint64_t batches,
                                         uint64_t taken, uint64_t messages)
{
    if (self->batches != batches)
        return "L1";
    if (self->level != 0 && self->position != taken)
        return "T1";
    return self->level == 0 || self->base == messages ? NULL : "T2";
}

/* Two readers of the same. *near: a batch not far before the first that is not the same. */
static inline const char *log_stream_compare(const struct log_stream *a, const struct log_stream *b,
                                             uint64_t *near)
{
    for (size_t i = 0; i < a->marks && i < b->marks; i++) {
        *near = i * STREAM_STEP;
        if (a->mark[i] != b->mark[i])
            return "R1";
    }
    return a->batches == b->batches && a->chain == b->chain ? NULL : "R1";
}

/* ---- acknowledgements -------------------------------------------------------------------- */

/* Where a client's batches are, said by it and by a reader. Whoever comes second compares: so
 * as many cells are enough as batches can be on their way. */
struct log_acks {
    _Atomic uint64_t cell[STREAM_ACKS];
};

/* Not told where. */
#define LOG_ACKS_UNKNOWN UINT64_C(2)

static inline uint64_t log_acks_value(uint64_t position, uint64_t base)
{
    return log_stream_mix(position + 1, base) | 1;
}

static inline const char *log_acks_meet(struct log_acks *self, uint64_t number, uint64_t value)
{
    _Atomic uint64_t *cell = &self->cell[number % STREAM_ACKS];
    uint64_t seen = 0;
    if (atomic_compare_exchange_strong(cell, &seen, value))
        return NULL;
    atomic_store(cell, 0);
    return seen == value || seen == LOG_ACKS_UNKNOWN || value == LOG_ACKS_UNKNOWN ? NULL : "A1";
}

/* What was said about this one does not count: it was dropped, and is sent again. */
static inline void log_acks_forget(struct log_acks *self, uint64_t number)
{
    atomic_store(&self->cell[number % STREAM_ACKS], 0);
}

/* Everybody said everything. */
static inline const char *log_acks_end(const struct log_acks *self)
{
    for (size_t i = 0; i < STREAM_ACKS; i++)
        if (atomic_load(&self->cell[i]) != 0)
            return "A1";
    return NULL;
}

#endif
