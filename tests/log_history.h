/*
 * log_history.h - what happened to a log, and whether it may have happened: one pass over
 * the events, one over the positions.
 *
 * There are two checkers. This one keeps every event, and so can judge what was said, and when;
 * its histories have to fit in memory. log_stream.h looks at one batch at a time, in constant
 * memory, for runs of 10^6 messages and more; it knows nothing of F2, A2, C1 and S1.
 *
 * An event's place in the history is its time: a call's invocation is noted before the call,
 * its answer after it. Every batch carries the number of the event of its invocation, so that
 * whoever reads it can tell which of several sendings it is.
 *
 * log_check returns NULL, or the name of the invariant that was broken:
 *   T1  positions are contiguous, each once, and as many as were taken
 *   T2  numbers of messages are contiguous
 *   F1  level 4: the batches of a client, others: of a client in a broker, are in its order
 *   F2  what was refused is not in the log
 *   D1  no batch is in the log twice
 *   A1  what was acknowledged is in the log, where it was said to be
 *   A2  what an observer sees of the committed prefix grows
 *   C1  the committed prefix holds only batches that were sent before
 *   S1  nothing of an epoch is in the log behind the opening of the next one
 *   R1  all readers see the same
 *   R2  batches that are read were sent before, and are whole
 *   R3  what was acknowledged before another batch was sent is before it
 *   L1  readers get to the end
 *
 * Where each invariant is broken on purpose and found, besides test_log_history: test_log_stream.
 * Where the log is held to it, by all orders or seeds (test_log_steps, test_log_ways), by threads
 * (test_log_threads, stress_log), as a model (models.sh), and one by one:
 *   T1  test_order  places_and_numbers_go_on_over_the_borders_of_their_halves; models.sh order
 *   T2  test_log_limits  batches_of_one_and_of_the_most_messages
 *   F1  test_session  threads_that_share_a_client_keep_its_order; models.sh session
 *   F2  test_session  what_is_too_early_is_refused; test_log_gaps  who_is_too_far_ahead_is_told_so
 *   D1  test_session  repeated_and_late_batches_are_recognised_and_dropped; models.sh session
 *   A1, A2  test_log_limits  acknowledgements_begin_where_the_counters_do
 *   S1  test_session  an_opened_session_refuses_the_epoch_before; models.sh session
 *   R1  test_sub  readers_start_where_they_want; stress_log closes and opens them
 *   R2  test_sub  damage_is_noticed_and_not_delivered  overtaken_copies_are_whole; models.sh claim
 *   R3  stress_log, test_log_threads
 *   B1  test_broker  a_full_ring_says_so_and_goes_on; test_log_steps
 *   B2  test_log_limits  a_sequencer_that_stops_and_starts; test_log_gaps
 *   B3  test_log_limits  a_batch_stays_in_its_ring
 *   L1  test_logapi  the_last_batch_is_seen_without_more_traffic;
 *       test_log_limits  what_was_appended_stays_when_its_client_closes
 *   L2  test_seq  bursts_are_consumed_whole; test_log_bells
 *   C1  test_order  the_frontier_stops_at_the_first_place_that_is_not_filled; models.sh order
 *   E1  test_log_gaps  a_session_opened_anew_is_the_way_out; test_logapi  a_child_has_no_log
 */
#ifndef TESTS_LOG_HISTORY_H
#define TESTS_LOG_HISTORY_H

/* A program that is no unit test says beforehand what it does with one line of a finding. */
#ifndef LOG_HISTORY_PANIC
#include "unit_base.h"
#define LOG_HISTORY_PANIC(text) ck_abort_msg(text)
#else
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#endif

enum log_kind {
    LOG_NOTHING, /* was not used */
    LOG_INVOKE,  /* client, broker, epoch, number, count */
    LOG_ACK,     /* ref, position, base: it has its place */
    LOG_TAKEN,   /* ref: it will have one */
    LOG_REFUSE,  /* ref: it has none */
    LOG_READ,    /* who, ref, position, base, whole; client, broker, number, count as read */
    LOG_GAP,     /* who, position (goes on there), base (from) */
    LOG_COMMIT,  /* who, position: all below is committed */
    LOG_OPEN,    /* client, epoch, number: it goes on with this one */
    LOG_END,     /* who: a reader has no more; position: its next */
    LOG_KINDS
};

struct log_event {
    uint8_t kind, who, client, broker;
    uint8_t whole, pad[3];
    uint32_t epoch, count;
    uint64_t number, position, base, ref;
};

enum { LOG_WHO = 64, LOG_CLIENTS = 16, LOG_BROKERS = 8, LOG_EPOCHS = 64 };

struct log_history {
    struct log_event *event;
    _Atomic size_t count;
    size_t room;
    unsigned level;
    uint64_t first;           /* first position, and number of the first message */
    uint64_t taken, messages; /* at the end: the next of both */
};

/* What the checker knows of a position. */
struct log_seat {
    uint64_t ref, base; /* ref + 1; 0: nobody read it */
};

static inline struct log_history *log_history_new(unsigned level, uint64_t first, size_t room)
{
    struct log_history *history = calloc(1, sizeof *history);
    history->event = calloc(room, sizeof *history->event);
    history->room = room;
    history->level = level;
    history->first = first;
    return history;
}

static inline void log_history_free(struct log_history *history)
{
    free(history->event);
    free(history);
}

/* Notes an event; returns its number. */
static inline uint64_t log_note(struct log_history *history, struct log_event event)
{
    size_t at = atomic_fetch_add(&history->count, 1);
    uint8_t kind = event.kind;
    if (at >= history->room)
        LOG_HISTORY_PANIC("the history is too small");
    event.kind = LOG_NOTHING;
    history->event[at] = event;
    /* Last: whoever is killed before has noted nothing. */
    __atomic_store_n(&history->event[at].kind, kind, __ATOMIC_RELEASE);
    return at;
}

/* ---- the checker ------------------------------------------------------------------------ */

struct log_checker {
    const struct log_history *history;
    size_t count;
    struct log_seat *seat;
    uint64_t seats;
    uint64_t *place; /* of each invocation: position + 1 */
    uint64_t *floor; /* of each invocation: position + 1 of the last that was acknowledged */
    uint64_t acked;  /* position + 1 */
    uint64_t next[LOG_WHO], base[LOG_WHO], committed[LOG_WHO];
    bool began[LOG_WHO], numbered[LOG_WHO];
};

static inline bool log_is_sent(const struct log_checker *self, uint64_t ref, size_t now)
{
    return ref < now && self->history->event[ref].kind == LOG_INVOKE;
}

/* The same batch: what was read is what was sent. */
static inline bool log_is_same(const struct log_event *sent, const struct log_event *read)
{
    return sent->client == read->client && sent->broker == read->broker &&
           sent->number == read->number && sent->count == read->count;
}

static inline const char *log_check_read(struct log_checker *self, const struct log_event *event,
                                         size_t now)
{
    const struct log_event *sent = &self->history->event[event->ref];
    uint64_t at = event->position - self->history->first;
    if (!event->whole || !log_is_sent(self, event->ref, now) || !log_is_same(sent, event))
        return "R2";
    if (self->began[event->who] && event->position != self->next[event->who])
        return "T1";
    if (self->history->level != 0 && self->numbered[event->who] &&
        event->base != self->base[event->who])
        return "T2";
    if (at >= self->seats)
        return "T1";
    self->began[event->who] = self->numbered[event->who] = true;
    self->next[event->who] = event->position + 1;
    self->base[event->who] = event->base + event->count;
    struct log_seat *seat = &self->seat[at];
    if (seat->ref != 0 && seat->ref != event->ref + 1)
        return "R1";
    if (seat->ref != 0 && seat->base != event->base)
        return "T2";
    if (self->place[event->ref] != 0 && self->place[event->ref] != event->position + 1)
        return "D1";
    *seat = (struct log_seat){event->ref + 1, event->base};
    self->place[event->ref] = event->position + 1;
    return NULL;
}

static inline const char *log_check_event(struct log_checker *self, size_t now)
{
    const struct log_event *event = &self->history->event[now];
    switch (event->kind) {
    case LOG_INVOKE:
        self->floor[now] = self->acked;
        return event->client < LOG_CLIENTS && event->broker < LOG_BROKERS ? NULL : "R2";
    case LOG_ACK:
        if (!log_is_sent(self, event->ref, now))
            return "A1";
        self->acked = event->position + 1 > self->acked ? event->position + 1 : self->acked;
        return NULL;
    case LOG_TAKEN:
    case LOG_REFUSE:
        return log_is_sent(self, event->ref, now) ? NULL : "A1";
    case LOG_READ:
        return log_check_read(self, event, now);
    case LOG_GAP:
        if (event->position <= event->base ||
            (self->began[event->who] && event->base != self->next[event->who]))
            return "T1";
        self->next[event->who] = event->position;
        self->numbered[event->who] = false;
        self->began[event->who] = true;
        return NULL;
    case LOG_COMMIT:
        if (event->position < self->committed[event->who])
            return "A2";
        self->committed[event->who] = event->position;
        return NULL;
    default:
        return NULL;
    }
}

/* What the positions say, in their order. */
static inline const char *log_check_seats(const struct log_checker *self)
{
    const struct log_history *history = self->history;
    static uint64_t next[LOG_CLIENTS][LOG_BROKERS];
    static bool began[LOG_CLIENTS][LOG_BROKERS];
    uint64_t base = history->first;
    memset(began, 0, sizeof began);
    for (uint64_t i = 0; i < self->seats; i++) {
        if (self->seat[i].ref == 0)
            return "T1";
        const struct log_event *sent = &history->event[self->seat[i].ref - 1];
        unsigned broker = history->level == 4 ? 0 : sent->broker;
        uint64_t *expected = &next[sent->client][broker];
        if (history->level != 0 && self->seat[i].base != base)
            return "T2";
        base += sent->count;
        if (history->level == 4) {
            if (began[sent->client][0] ? sent->number < *expected : false)
                return "D1";
            if (sent->number != (began[sent->client][0] ? *expected : 0))
                return "F1";
        } else if (began[sent->client][broker] && sent->number < *expected) {
            return sent->number + 1 == *expected ? "D1" : "F1";
        }
        *expected = sent->number + 1;
        began[sent->client][broker] = true;
        if (history->first + i < self->floor[self->seat[i].ref - 1])
            return "R3";
    }
    return history->level == 0 || base == history->messages ? NULL : "T2";
}

/* Acknowledgements and refusals against what is in the log. */
static inline const char *log_check_answer(const struct log_checker *self,
                                           const struct log_event *event)
{
    switch (event->kind) {
    case LOG_ACK:
        if (self->place[event->ref] != event->position + 1)
            return "A1";
        return self->seat[event->position - self->history->first].base == event->base ? NULL : "A1";
    case LOG_TAKEN:
        return self->place[event->ref] != 0 ? NULL : "A1";
    case LOG_REFUSE:
        return self->place[event->ref] == 0 ? NULL : "F2";
    case LOG_END:
        return event->position == self->history->taken ? NULL : "L1";
    default:
        return NULL;
    }
}

/* Everything below a committed position was sent before: `youngest` of each position. */
static inline const char *log_check_commits(const struct log_checker *self)
{
    uint64_t *youngest = calloc(self->seats + 1, sizeof *youngest);
    const char *broken = NULL;
    for (uint64_t i = 0; i < self->seats; i++) {
        uint64_t ref = self->seat[i].ref;
        youngest[i + 1] = youngest[i] > ref ? youngest[i] : ref;
    }
    for (size_t now = 0; now < self->count && broken == NULL; now++) {
        const struct log_event *event = &self->history->event[now];
        if (event->kind != LOG_COMMIT)
            continue;
        uint64_t at = event->position - self->history->first;
        if (at > self->seats || youngest[at] > now)
            broken = "C1";
    }
    free(youngest);
    return broken;
}

/* A batch of an epoch has a number from where that epoch began, and below where the next one
 * did. */
static inline const char *log_check_epochs(const struct log_checker *self)
{
    static uint64_t from[LOG_CLIENTS][LOG_EPOCHS + 1]; /* plus 1; 0: never opened */
    memset(from, 0, sizeof from);
    for (size_t now = 0; now < self->count; now++) {
        const struct log_event *open = &self->history->event[now];
        if (open->kind == LOG_OPEN && (open->client >= LOG_CLIENTS || open->epoch >= LOG_EPOCHS))
            return "S1";
        if (open->kind == LOG_OPEN)
            from[open->client][open->epoch] = open->number + 1;
    }
    for (uint64_t i = 0; i < self->seats; i++) {
        const struct log_event *sent = &self->history->event[self->seat[i].ref - 1];
        if (sent->epoch >= LOG_EPOCHS)
            return "S1";
        const uint64_t *begin = &from[sent->client][sent->epoch];
        if ((begin[0] != 0 && sent->number + 1 < begin[0]) ||
            (begin[1] != 0 && sent->number + 1 >= begin[1]))
            return "S1";
    }
    return NULL;
}

static inline const char *log_check_all(struct log_checker *self)
{
    const char *broken = NULL;
    for (size_t now = 0; now < self->count && broken == NULL; now++)
        broken = log_check_event(self, now);
    if (broken == NULL)
        broken = log_check_seats(self);
    for (size_t now = 0; now < self->count && broken == NULL; now++)
        broken = log_check_answer(self, &self->history->event[now]);
    if (broken == NULL)
        broken = log_check_commits(self);
    return broken == NULL ? log_check_epochs(self) : broken;
}

static inline const char *log_check(const struct log_history *history)
{
    struct log_checker self = {.history = history, .count = history->count};
    if (history->taken < history->first)
        return "T1";
    self.seats = history->taken - history->first;
    self.seat = calloc(self.seats + 1, sizeof *self.seat);
    self.place = calloc(self.count + 1, sizeof *self.place);
    self.floor = calloc(self.count + 1, sizeof *self.floor);
    const char *broken = log_check_all(&self);
    free(self.seat);
    free(self.place);
    free(self.floor);
    return broken;
}

#endif
