/*
 * log_run.h - a log under load, as steps: producers, sequencers, readers, an observer and
 * whoever trims, for fibers and for threads, each noting what it does.
 */
#ifndef TESTS_LOG_RUN_H
#define TESTS_LOG_RUN_H

#include "log_case.h"
#include "log_history.h"

enum { LOG_RUN_PRODUCERS = 8, LOG_RUN_READERS = 6, LOG_RUN_BROKERS = 3 };

struct log_run {
    struct tide_logmap map;
    struct log_history *history;
    struct log_history *apart[LOG_RUN_BROKERS]; /* level 0: of the brokers from 1 on */
    void (*wait)(void);                         /* lets others go on */
    _Atomic int producing;                      /* producers that have not ended */
    _Atomic int sequencing;                     /* sequencers that have not ended */
    uint32_t most;                              /* bytes of a batch */
    bool aborts, resends, reopens;
    uint64_t expires;          /* sessions that expect one below may be ended by time; 0: none is */
    uint32_t expired;          /* so many were */
    _Atomic uint32_t detached; /* readers */
};

struct log_producer {
    struct log_run *run;
    struct tide_broker broker;
    uint64_t random;
    uint64_t first, step, end; /* numbers: first, first + step, ... below end */
};

struct log_reader {
    struct log_run *run;
    struct tide_sub sub;
    uint8_t who;
    uint64_t random;
};

/* At level 0 each broker has an order of its own. */
static inline struct log_history *log_run_history(const struct log_run *run, uint32_t broker)
{
    return run->map.level == 0 && broker != 0 ? run->apart[broker] : run->history;
}

/* ---- producers ---------------------------------------------------------------------------- */

static inline unsigned char log_run_byte(uint64_t ref, uint32_t i)
{
    return (unsigned char)(ref * 5 + i);
}

static inline void log_run_answer(struct log_run *run, uint32_t broker, uint64_t ref,
                                  const struct tide_broker_result *result)
{
    struct log_event event = {.kind = LOG_NOTHING, .ref = ref};
    if (run->map.level == 0) {
        event.kind = LOG_ACK;
        event.position = result->slot;
        event.base = UINT64_MAX;
    } else if (result->ordered) {
        event.kind = LOG_ACK;
        event.position = result->at.place;
        event.base = result->at.base;
    } else if (result->verdict == TIDE_SESSION_LATE || result->verdict == TIDE_SESSION_REFUSED) {
        event.kind = LOG_REFUSE;
    } else if (run->map.level == 5) {
        event.kind = LOG_TAKEN;
    }
    if (event.kind != LOG_NOTHING)
        log_note(log_run_history(run, broker), event);
}

/* It is worth noting an attempt. */
static inline bool log_run_fits(const struct tide_broker *broker, uint32_t to, uint32_t size)
{
    return tide_ring_fits(broker->map, to, size, tide_broker_share(broker)) ||
           tide_trim_for(broker->map, to) != 0;
}

/* One batch with the producer's next number, to any broker; false: full. */
static inline bool log_run_send(struct log_producer *self, struct tide_broker_result *result)
{
    struct log_run *run = self->run;
    struct tide_broker *broker = &self->broker;
    uint64_t draw = unit_random(&self->random);
    uint32_t size = 8 + (uint32_t)(draw % (run->most - 7));
    uint32_t to = (uint32_t)(draw / 4096 % run->map.brokers);
    struct log_event event = {.kind = LOG_INVOKE,
                              .client = (uint8_t)broker->client,
                              .broker = (uint8_t)to,
                              .epoch = broker->epoch,
                              .count = 1 + (uint32_t)(draw / 65536 % 3),
                              .number = broker->next};
    if (!log_run_fits(broker, to, size))
        return false;
    uint64_t ref = log_note(log_run_history(run, to), event);
    if (!tide_broker_claim(broker, to, size))
        return false;
    if (run->aborts && draw % 16 == 0) {
        tide_broker_abort(broker);
        return false;
    }
    memcpy(broker->claim.payload, &ref, sizeof ref);
    for (uint32_t i = 8; i < size; i++)
        broker->claim.payload[i] = log_run_byte(ref, i);
    tide_broker_commit(broker, event.count, size, result);
    log_run_answer(run, to, ref, result);
    return true;
}

/* The session is opened anew: goes on where the log says. */
static inline void log_run_reopen(struct log_producer *self)
{
    struct tide_broker *broker = &self->broker;
    while ((broker->epoch = tide_session_open(broker->map, broker->client, &broker->next)) == 0)
        self->run->wait();
    log_note(self->run->history, (struct log_event){.kind = LOG_OPEN,
                                                    .client = (uint8_t)broker->client,
                                                    .epoch = broker->epoch,
                                                    .number = broker->next});
}

static inline bool log_run_may_send(const struct log_producer *self)
{
    const struct tide_logmap *map = &self->run->map;
    return map->level != 4 ||
           self->broker.next < tide_session_expected(map, self->broker.client) + map->window;
}

/* The next but one before the next one: it waits for that, perhaps until the session is ended.
 * True: that is so, and it was opened anew. */
static inline bool log_run_hurry(struct log_producer *self, uint64_t draw)
{
    struct tide_broker *broker = &self->broker;
    struct tide_broker_result result;
    if (self->run->expires == 0 || self->step != 1)
        return false;
    if (!tide_session_is_current(broker->map, broker->client, broker->epoch)) {
        log_run_reopen(self);
        return true;
    }
    uint64_t number = broker->next;
    if (draw % 8 == 3 && number + 1 < self->end) {
        broker->next = number + 1;
        if (log_run_may_send(self))
            log_run_send(self, &result);
        broker->next = number;
    }
    return false;
}

static inline void log_run_produce(void *argument)
{
    struct log_producer *self = argument;
    struct log_run *run = self->run;
    struct tide_broker_result result;
    self->broker.next = self->first;
    while (self->broker.next < self->end) {
        uint64_t number = self->broker.next, draw = unit_random(&self->random);
        if (run->reopens && self->step == 1 && draw % 32 == 0) {
            log_run_reopen(self);
            continue;
        }
        if (log_run_hurry(self, draw))
            continue;
        if (run->resends && draw % 8 == 1 && number > self->first) {
            self->broker.next = number - self->step; /* once more, perhaps elsewhere */
            log_run_send(self, &result);
            self->broker.next = number;
            continue;
        }
        bool sent = log_run_may_send(self) && log_run_send(self, &result);
        self->broker.next = sent ? number + self->step : number;
        if (!sent)
            run->wait();
    }
    atomic_fetch_sub(&run->producing, 1);
}

/* ---- sequencers, the observer, whoever trims ------------------------------------------------ */

static inline void log_run_sequence(void *argument)
{
    struct log_run *run = argument;
    uint64_t turn = 0;
    for (bool last = false; !last || tide_seq_waits(&run->map);) {
        last = atomic_load(&run->producing) == 0;
        uint64_t done = 0;
        for (uint32_t i = 0; i < run->map.brokers; i++)
            done += tide_seq_step(&run->map, i, 1 + turn++ % 5);
        if (done == 0)
            run->wait();
    }
    atomic_fetch_sub(&run->sequencing, 1);
}

static inline bool log_run_is_over(struct log_run *run)
{
    return atomic_load(&run->producing) == 0 && atomic_load(&run->sequencing) == 0;
}

static inline void log_run_observe(void *argument)
{
    struct log_run *run = argument;
    while (!log_run_is_over(run)) {
        uint64_t frontier = tide_order_frontier(&run->map, 3);
        log_note(run->history,
                 (struct log_event){.kind = LOG_COMMIT, .who = 0, .position = frontier});
        for (int i = 0; i < 8; i++)
            run->wait();
    }
}

/* A lease is over at any moment. */
static inline void log_run_expire(void *argument)
{
    struct log_run *run = argument;
    for (uint32_t i = 0; !log_run_is_over(run); i++) {
        uint32_t client = i % 2, epoch = tide_session_epoch(&run->map, client);
        uint64_t expected = tide_session_expected(&run->map, client);
        run->wait();
        if (expected < run->expires && epoch < LOG_EPOCHS / 2)
            run->expired += tide_session_expire(&run->map, client, epoch, expected);
        for (int k = 0; k < 3; k++)
            run->wait();
    }
}

static inline void log_run_trim(void *argument)
{
    struct log_run *run = argument;
    while (!log_run_is_over(run)) {
        for (uint32_t i = 0; i < (run->map.level == 0 ? run->map.brokers : 1); i++)
            tide_trim_below(&run->map, i, UINT64_MAX, false);
        for (int i = 0; i < 16; i++)
            run->wait();
    }
}

/* ---- readers -------------------------------------------------------------------------------- */

/* What it has in hand may be overwritten. */
static inline bool log_run_is_detached(const struct log_reader *self)
{
    return self->sub.policy == TIDE_LAYOUT_DETACH &&
           tide_coh_get(self->run->map.coh, &self->sub.entry->fate) != 0;
}

static inline void log_run_note_read(const struct log_reader *self,
                                     const struct tide_sub_batch *batch)
{
    uint64_t ref = UINT64_MAX;
    bool whole = batch->size >= 8;
    if (whole)
        memcpy(&ref, batch->data, sizeof ref);
    for (uint32_t i = 8; i < batch->size && whole; i++)
        whole = batch->data[i] == log_run_byte(ref, i);
    if (log_run_is_detached(self))
        return;
    log_note(log_run_history(self->run, self->sub.broker),
             (struct log_event){.kind = LOG_READ,
                                .who = self->who,
                                .client = (uint8_t)batch->client,
                                .broker = (uint8_t)batch->broker,
                                .whole = whole,
                                .count = batch->count,
                                .number = batch->number,
                                .position = batch->position,
                                .base = batch->base,
                                .ref = ref});
}

static inline void log_run_read(void *argument)
{
    struct log_reader *self = argument;
    struct log_history *history = log_run_history(self->run, self->sub.broker);
    struct tide_sub_batch batch[4];
    for (bool last = false;;) {
        int got = tide_sub_poll(&self->sub, batch, 1 + (int)(unit_random(&self->random) % 4));
        for (int i = 0; i < got; i++)
            log_run_note_read(self, &batch[i]);
        if (got == -EPIPE && self->sub.policy == TIDE_LAYOUT_DETACH) {
            atomic_fetch_add(&self->run->detached, 1);
            return;
        }
        if (got == -EOVERFLOW)
            log_note(history, (struct log_event){.kind = LOG_GAP,
                                                 .who = self->who,
                                                 .base = self->sub.gap_from,
                                                 .position = self->sub.gap_to});
        else
            UNIT_HOLD(got >= 0, "reading: %d", got);
        /* Who may be detached is slow. */
        for (int i = 0; self->sub.policy == TIDE_LAYOUT_DETACH && i < 20; i++)
            self->run->wait();
        if (got != 0)
            continue;
        if (last)
            break;
        last = log_run_is_over(self->run);
        self->run->wait();
    }
    log_note(history,
             (struct log_event){.kind = LOG_END, .who = self->who, .position = self->sub.next});
}

/* ---- the end ------------------------------------------------------------------------------- */

/* Everything was freed: exactly empty, at any moment when nothing is under way. */
static inline void log_run_check_empty(struct log_run *run)
{
    for (uint32_t i = 0; i < run->map.brokers; i++)
        while (tide_trim_below(&run->map, i, UINT64_MAX, false) != 0)
            ;
    for (uint32_t i = 0; i < run->map.brokers; i++) {
        struct tide_ring_head head = tide_ring_head(&run->map, i);
        ck_assert_uint_eq(atomic_load(&run->map.broker[i].released_slot), head.slot);
        ck_assert_uint_eq(atomic_load(&run->map.broker[i].released_granule), head.granule);
    }
    for (uint64_t i = 0; run->map.level != 0 && i < run->map.brokers * run->map.retired_words; i++)
        ck_assert_uint_eq(atomic_load(&run->map.retired[i]), 0);
}

/* What was taken, for the history; and the verdict over it. */
static inline void log_run_check(struct log_run *run, uint64_t seed)
{
    struct log_history *history = run->history;
    const char *broken = NULL;
    for (uint32_t i = 0; run->map.level == 0 && i < run->map.brokers; i++) {
        history = log_run_history(run, i);
        history->first = run->map.first + 1;
        history->taken = tide_ring_head(&run->map, i).slot;
        broken = broken != NULL ? broken : log_check(history);
    }
    if (run->map.level != 0) {
        struct tide_order_place head = tide_order_head(&run->map);
        history->first = run->map.first;
        history->taken = head.place;
        history->messages = head.base;
        ck_assert_uint_eq(tide_order_frontier(&run->map, UINT64_MAX), head.place);
        broken = log_check(history);
    }
    UNIT_HOLD(broken == NULL, "seed %llu breaks %s", (unsigned long long)seed, broken);
}

#endif
