/*
 * crash_life.h - lives of a log in a region: each is a process that opens it, uses it in every
 * way by a number of fibers, and dies at a point that its plan names; the last one goes to the
 * end and judges the history of all of them.
 *
 * A life is a child process, for there is no other way to lose what a process has outside the
 * region. What it did is noted in memory that the lives share. Death is SIGKILL by its own hand:
 * at the n-th access of shared words, or the n-th time that it comes to a named point.
 */
#ifndef TESTS_CRASH_LIFE_H
#define TESTS_CRASH_LIFE_H

#include "crash_world.h"

/* --- producers --------------------------------------------------------------------------- */

struct crash_producer {
    tide_log_client_t *client;
    uint64_t random, end;
    unsigned id, ack;
};

/* What a batch is to be. */
struct crash_batch {
    uint64_t ref, number;
    int64_t timeout;
    uint32_t size, count; /* of each message; messages */
    unsigned broker, how; /* how: 0, 1 appended; 2 claimed; 3 aborted; 4 a block */
};

static inline unsigned char crash_byte(uint64_t ref, uint32_t i)
{
    return (unsigned char)(ref * 11 + i * 3);
}

static inline void crash_write(unsigned char *to, const struct crash_batch *batch)
{
    memcpy(to, &batch->ref, sizeof batch->ref);
    for (uint32_t i = 8; i < batch->size; i++)
        to[i] = crash_byte(batch->ref, i);
}

static inline int crash_claim(tide_log_client_t *client, const struct crash_batch *batch,
                              struct tide_log_at *at)
{
    struct tide_log_claim claim;
    int error = tide_log_claim(client, batch->broker, batch->count * TIDE_LOG_ROOM(batch->size),
                               batch->timeout, &claim);
    if (error != 0)
        return error;
    for (uint32_t i = 0; i < batch->count; i++)
        crash_write(tide_log_put(&claim, batch->size, i), batch);
    if (batch->how == 3)
        return tide_log_abort(&claim) != 0 ? -EBADFD : -ECANCELED;
    return tide_log_commit(&claim, at);
}

static inline int crash_block(tide_log_client_t *client, const struct crash_batch *batch,
                              struct tide_log_at *at)
{
    struct crash_batch whole = *batch;
    whole.size = batch->ref % 16 == 3 ? CRASH_LARGE : CRASH_BLOCK;
    void *block = tide_log_block(heap, whole.size, 0);
    if (block == NULL)
        return -EAGAIN;
    crash_write(TIDE_LOG_BODY(block), &whole);
    int error = tide_log_append_block(client, batch->broker, block, TIDE_LOG_ROOM(whole.size),
                                      batch->timeout, at);
    if (error != 0 && error != -EINPROGRESS)
        tide_free(block);
    return error;
}

static inline int crash_append(tide_log_client_t *client, const struct crash_batch *batch,
                               struct tide_log_at *at)
{
    unsigned char bytes[512];
    struct tide_log_message message[4];
    if (batch->how >= 2)
        return batch->how == 4 ? crash_block(client, batch, at) : crash_claim(client, batch, at);
    crash_write(bytes, batch);
    for (uint32_t i = 0; i < batch->count; i++)
        message[i] = (struct tide_log_message){bytes, batch->size, i};
    return tide_log_append_batch(client, batch->broker, message, batch->count, batch->timeout, at);
}

/* Level 4: all numbers below have their places. */
static inline void crash_acked(unsigned id, uint64_t number)
{
    world->acked[id] = tide_max(world->acked[id], number);
}

/* What it was told: only what the log promises is noted as said. Where a sequencer gives places,
 * who is told that a batch is durable does not know its place: LOG_TAKEN, and `whole`; at level 4
 * it is the number that is in the log, perhaps from a sending before. */
static inline void crash_note(const struct crash_producer *self, const struct crash_batch *batch,
                              int error, const struct tide_log_at *at)
{
    struct log_event event = {.kind = LOG_NOTHING, .ref = batch->ref};
    unsigned level = plan.options.level;
    bool placed = at->position != TIDE_LOG_NONE;
    bool lasts = error == 0 && self->ack == TIDE_LOG_ACK_DURABLE;
    bool sure = error == 0 && (level == 0 || (placed && (self->ack != TIDE_LOG_ACK_NONE ||
                                                         tide_log_committed(log_) > at->position)));
    if (sure && placed) {
        event.kind = LOG_ACK;
        event.position = at->position;
        event.base = at->base;
    } else if ((error == 0 || error == -EINPROGRESS) && (level == 5 || placed)) {
        event.kind = LOG_TAKEN;
        event.whole = lasts;
    } else if (error == -EALREADY || error == -ECANCELED) {
        event.kind = LOG_REFUSE;
    }
    if (event.kind != LOG_NOTHING)
        log_note(&world->history, event);
    if (lasts && placed)
        world->durable = tide_max(world->durable, at->position + 1);
    if (lasts && level == 4)
        world->numbers[self->id] = tide_max(world->numbers[self->id], batch->number + 1);
    world->lasting += lasts;
    if (error == 0 && level == 4 && self->ack != TIDE_LOG_ACK_NONE)
        crash_acked(self->id, batch->number + 1);
}

/* The session is open anew: goes on where the log says. */
static inline void crash_open_client(struct crash_producer *self)
{
    struct tide_log_client_options options = {.id = self->id, .ack = self->ack};
    int error = tide_log_client_open(&self->client, log_, &options);
    UNIT_NEED(error == 0);
    if (plan.options.level != 4)
        return;
    const struct tide_broker *broker = &self->client->broker;
    log_note(&world->history, (struct log_event){.kind = LOG_OPEN,
                                                 .client = (uint8_t)self->id,
                                                 .epoch = broker->epoch,
                                                 .number = broker->next});
    UNIT_NEED(broker->next >= world->acked[self->id]);
}

/* Some wait until they are durable. That one fiber alone writes the medium, for who waits for
 * another one's end does not let it run; and that there is room, for the same reason. At level 4
 * it must be its turn. */
static inline bool crash_may_wait(const struct crash_producer *self,
                                  const struct crash_batch *batch)
{
    struct tide_log_broker_stat stat;
    uint64_t next = batch->number;
    if (self->ack != TIDE_LOG_ACK_DURABLE || batch->ref % 2 != 0 || batch->how == 3)
        return false;
    if (plan.options.level == 4)
        UNIT_NEED(tide_log_acked(self->client, &next) == 0);
    UNIT_NEED(tide_log_stat_broker(log_, batch->broker, &stat) == 0);
    bool room = (stat.claimed - stat.released) * 2 <= plan.options.slots &&
                stat.used_bytes * 2 <= plan.options.payload;
    return next == batch->number && room && !crash_is_syncing;
}

static inline int crash_try(const struct crash_producer *self, struct crash_batch *batch,
                            struct tide_log_at *at)
{
    *at = (struct tide_log_at){TIDE_LOG_NONE, TIDE_LOG_NONE, 0};
    bool waits = crash_may_wait(self, batch);
    batch->timeout = waits ? CRASH_PATIENCE : TIDE_LOG_TRY;
    crash_is_syncing |= waits;
    int error = crash_append(self->client, batch, at);
    crash_is_syncing &= !waits;
    return error == -ETIMEDOUT ? -EAGAIN : error;
}

/* One batch, tried until it is decided: 0, or what it was told instead. */
static inline int crash_send(struct crash_producer *self, uint64_t number)
{
    uint64_t draw = unit_random(&self->random);
    struct crash_batch batch = {.number = number,
                                .size = 8 + (uint32_t)(draw % 120),
                                .count = 1 + (uint32_t)(draw / 128 % 3),
                                .broker = (unsigned)(draw / 512 % log_->map.brokers),
                                .how = (unsigned)(draw / 65536 % 5)};
    if ((batch.how == 3 && plan.options.level != 5) || (batch.how == 4 && !plan.blocks))
        batch.how = 0;
    if (batch.how == 4)
        batch.count = 1;
    batch.ref = log_note(&world->history, (struct log_event){.kind = LOG_INVOKE,
                                                             .client = (uint8_t)self->id,
                                                             .broker = (uint8_t)batch.broker,
                                                             .epoch = self->client->broker.epoch,
                                                             .count = batch.count,
                                                             .number = number});
    for (int tries = 0;; tries++) {
        struct tide_log_at at;
        UNIT_NEED(tide_log_set_number(self->client, number) == 0);
        int error = crash_try(self, &batch, &at);
        crash_note(self, &batch, error, &at);
        if (error != -EAGAIN || tries == 40)
            return error;
        fiber_wait();
    }
}

/* Level 4: early ones, repeated ones, and the session opened anew. */
static inline void crash_turn_4(struct crash_producer *self)
{
    uint64_t draw = unit_random(&self->random), next = 0;
    if (draw % 16 == 0) {
        UNIT_NEED(tide_log_client_close(self->client) == 0);
        crash_open_client(self);
    }
    UNIT_NEED(tide_log_acked(self->client, &next) == 0);
    crash_acked(self->id, next);
    if (draw % 8 == 1 && next > 0)
        crash_send(self, next - 1);
    if (draw % 4 == 2)
        crash_send(self, next + 1);
    crash_send(self, next);
}

static inline void crash_produce(void *argument)
{
    struct crash_producer *self = argument;
    for (int i = 0; i < CRASH_BATCHES; i++)
        if (plan.options.level == 4)
            crash_turn_4(self);
        else
            crash_send(self, world->next[self->id]++);
    if (plan.options.level == 4) { /* what waits for a batch that found no room waits no longer */
        UNIT_NEED(tide_log_client_close(self->client) == 0);
        crash_open_client(self);
    }
    atomic_fetch_sub(&crash_busy, 1);
}

/* --- the others -------------------------------------------------------------------------- */

static inline bool crash_is_over(void)
{
    return atomic_load(&crash_busy) == 0 && atomic_load(&crash_sequencing) == 0;
}

static inline void crash_sequence(void *unused)
{
    (void)unused;
    for (bool last = false; !last || tide_seq_waits(&log_->map);) {
        last = atomic_load(&crash_busy) == 0;
        if (tide_log_poll(log_) == 0)
            fiber_wait();
    }
    atomic_fetch_sub(&crash_sequencing, 1);
}

static inline void crash_trim(void *unused)
{
    (void)unused;
    while (!crash_is_over()) {
        if (plan.options.level != 0)
            log_note(&world->history, (struct log_event){.kind = LOG_COMMIT,
                                                         .who = 0,
                                                         .position = tide_log_committed(log_)});
        UNIT_NEED(tide_log_trim(log_, 0, UINT64_MAX, NULL) == 0);
        for (int i = 0; i < 24; i++)
            fiber_wait();
    }
}

/* Syncs, and the kernel that writes what it likes. */
static inline void crash_sync(void *unused)
{
    (void)unused;
    while (!crash_is_over()) {
        if (crash_is_syncing) {
            fiber_wait();
            continue;
        }
        crash_is_syncing = true;
        UNIT_NEED(tide_log_sync(log_) == 0);
        crash_is_syncing = false;
        world->durable = tide_log_durable(log_);
        for (uint64_t i = unit_random(&crash_random) % 60; i > 0; i--) {
            if (unit_random(&crash_random) % 8 == 0)
                crash_write_page(unit_random(&crash_random) % (CRASH_REGION / CRASH_PAGE));
            fiber_wait();
        }
    }
}

static inline void crash_note_read(const struct tide_log_batch *batch)
{
    uint64_t ref = UINT64_MAX;
    const struct tide_log_frame *frame;
    bool whole = true;
    for (size_t at = 0; (frame = tide_log_next(batch, &at)) != NULL;) {
        const unsigned char *body = (const unsigned char *)(frame + 1);
        memcpy(&ref, body, sizeof ref);
        for (uint32_t i = 8; i < frame->length; i++)
            whole &= body[i] == crash_byte(ref, i);
    }
    log_note(&world->history, (struct log_event){.kind = LOG_READ,
                                                 .who = (uint8_t)(plan.life + 1),
                                                 .client = (uint8_t)batch->client,
                                                 .broker = (uint8_t)batch->broker,
                                                 .whole = whole && ref != UINT64_MAX,
                                                 .count = batch->count,
                                                 .number = batch->number,
                                                 .position = batch->position,
                                                 .base = batch->base,
                                                 .ref = ref});
}

static inline void crash_read(void *unused)
{
    struct tide_log_batch batch[4];
    (void)unused;
    for (bool last = false;;) {
        int got = tide_log_read(reader, batch, 4, TIDE_LOG_TRY);
        for (int i = 0; i < got; i++)
            crash_note_read(&batch[i]);
        UNIT_NEED(got > 0 || got == -EAGAIN);
        if (got > 0)
            continue;
        if (last)
            break;
        last = crash_is_over();
        fiber_wait();
    }
    UNIT_NEED(tide_log_done(reader) == 0);
}

/* --- a life ------------------------------------------------------------------------------ */

static inline void crash_say(const char *what)
{
    char text[256] = "";
    tide_log_explain(text, sizeof text);
    dprintf(2, "%s; the log says: %s\n", what, text);
}

/* Level 4: sessions go on behind what is durable, so these numbers stay acknowledged. */
static inline void crash_keep_numbers(void)
{
    bool kept = false;
    for (size_t i = 0; i < CRASH_PRODUCERS; i++) {
        world->acked[i] = world->numbers[i];
        kept |= world->numbers[i] != 0;
    }
    for (size_t i = 0; i < world->history.count && plan.options.level == 4; i++) {
        const struct log_event *event = &world->event[i];
        if (event->kind == LOG_ACK && event->position < world->durable)
            crash_acked(world->event[event->ref].client, world->event[event->ref].number + 1);
    }
    world->kept += kept;
}

/* The machine had stopped: what was said of places that are lost is void, and so is what was to
 * get one. What was said to be durable is there. */
static inline void crash_forget(void)
{
    uint64_t end = tide_log_committed(log_);
    UNIT_NEED(end >= world->durable);
    crash_keep_numbers();
    for (size_t i = 0; i < world->history.count; i++) {
        struct log_event *event = &world->event[i];
        bool placed = event->kind == LOG_ACK || event->kind == LOG_READ;
        world->lost += event->kind == LOG_ACK && event->position >= end;
        if ((placed && event->position >= end) || (event->kind == LOG_TAKEN && !event->whole) ||
            event->kind == LOG_OPEN || (event->kind == LOG_COMMIT && event->position > end))
            event->kind = LOG_NOTHING;
        if (event->kind == LOG_INVOKE)
            event->epoch = 0; /* numbers of epochs are used again */
    }
    world->outage = false;
}

/* Finds the log as the life before left it, or makes it. */
static inline void crash_open(void)
{
    int error = tide_log_open(&log_, region);
    if (error == -ENOENT)
        error = tide_log_create_on(&log_, region, &plan.options);
    if (error != 0) {
        crash_say("the log is not to be opened");
        _exit(98);
    }
    if (world->outage)
        crash_forget();
    world->repairs += tide_logroom_of(region)->repairs;
    UNIT_NEED(tide_region_reclaim(region) >= 0);
    if (plan.blocks)
        UNIT_NEED((heap = tide_heap_create_on(region)) != NULL);
}

/* Dies between calls, with claims that are out: at the end of a ring, or before another batch. */
static inline void crash_die_holding(struct crash_producer *producer, int producers)
{
    struct tide_log_claim claim;
    for (int i = 0; i < producers; i++) {
        tide_log_claim(producer[i].client, 0, 100, TIDE_LOG_TRY, &claim);
        if (i == 0 && plan.options.level == 5 && !plan.durable)
            crash_send(&producer[1], world->next[1]++);
    }
    crash_die();
}

static inline void crash_work(void)
{
    static struct crash_producer producer[CRASH_PRODUCERS];
    int producers = plan.options.level == 0 ? 1 : CRASH_PRODUCERS;
    struct tide_log_reader_options options = {.policy = TIDE_LOG_GATE};
    UNIT_NEED(tide_log_reader_open(&reader, log_, &options) == 0);
    fiber_add(crash_read, NULL);
    for (int i = 0; i < producers; i++) {
        unsigned ack = plan.options.level == 0  ? TIDE_LOG_ACK_NONE
                       : plan.durable && i == 2 ? TIDE_LOG_ACK_DURABLE
                                                : (unsigned)i % 2;
        producer[i] = (struct crash_producer){.id = (unsigned)i, .ack = ack};
        producer[i].random =
            ((plan.seed * 8 + (uint64_t)plan.life) * 8 + (uint64_t)i + 1) * 0x9e3779b9u;
        crash_open_client(&producer[i]);
        fiber_add(crash_produce, &producer[i]);
    }
    atomic_store(&crash_busy, producers);
    int sequencers = plan.options.sequencing == TIDE_LOG_STEPPED ? 2 : 0;
    atomic_store(&crash_sequencing, sequencers);
    for (int i = 0; i < sequencers; i++)
        fiber_add(crash_sequence, NULL);
    fiber_add(crash_trim, NULL);
    if (plan.durable)
        fiber_add(crash_sync, NULL);
    crash_run_fibers();
    if (plan.held)
        crash_die_holding(producer, producers);
    for (int i = 0; i < producers; i++)
        UNIT_NEED(tide_log_client_close(producer[i].client) == 0);
}

/* Nothing is left of all that the lives took. */
static inline void crash_account(void)
{
    for (unsigned i = 0; i < log_->map.brokers; i++)
        UNIT_NEED(tide_log_trim(log_, i, UINT64_MAX, NULL) == 0);
    for (unsigned i = 0; i < log_->map.brokers; i++) {
        struct tide_log_broker_stat stat;
        UNIT_NEED(tide_log_stat_broker(log_, i, &stat) == 0);
        UNIT_NEED(stat.used_bytes == 0 && stat.claimed == stat.released);
    }
    if (heap != NULL)
        tide_heap_destroy(heap);
    UNIT_NEED(tide_region_reclaim(region) >= 0);
    struct tide_region_info info = region_told(region);
    UNIT_NEED(info.left_bytes == 0 && info.free_bytes + info.lent_bytes == info.capacity);
    UNIT_NEED(tide_log_close(log_) == 0);
    UNIT_NEED(tide_log_remove(region) == 0);
    info = region_told(region);
    UNIT_NEED(info.free_bytes == info.capacity);
}

/* Every number that was acknowledged was read. */
static inline void crash_judge_numbers(const struct log_history *history)
{
    uint64_t read[CRASH_PRODUCERS] = {0};
    for (size_t i = 0; i < history->count; i++) {
        const struct log_event *event = &history->event[i];
        if (event->kind == LOG_READ && event->client < CRASH_PRODUCERS)
            read[event->client] = tide_max(read[event->client], event->number + 1);
    }
    for (unsigned i = 0; i < CRASH_PRODUCERS; i++)
        UNIT_NEED(read[i] >= world->acked[i]);
}

static inline void crash_judge(void)
{
    struct log_history *history = &world->history;
    struct tide_log_broker_stat broker;
    struct tide_log_stat stat;
    UNIT_NEED(tide_log_stat(log_, &stat) == 0 && tide_log_stat_broker(log_, 0, &broker) == 0);
    history->taken = plan.options.level == 0 ? plan.options.first + broker.claimed : stat.taken;
    history->messages = stat.messages;
    log_note(history,
             (struct log_event){.kind = LOG_END,
                                .who = (uint8_t)(plan.life + 1),
                                .position = reader->sub.next - tide_logapi_shift(&log_->map)});
    crash_judge_numbers(history);
    const char *broken = log_check(history);
    if (broken != NULL) {
        dprintf(2, "the history breaks %s\n", broken);
        _exit(97);
    }
}

/* Whatever the last life left of the log goes. */
static inline void crash_bury(void)
{
    int error = tide_log_remove(region);
    UNIT_NEED(error == 0 || error == -ENOENT);
    UNIT_NEED(tide_region_reclaim(region) >= 0);
    struct tide_region_info info = region_told(region);
    UNIT_NEED(info.free_bytes == info.capacity);
    UNIT_NEED(tide_region_close(region) == 0);
    _exit(0);
}

static inline void crash_live(const char *text)
{
    region = region_opened(text);
    crash_random = (plan.seed + 7) * 0x9e3779b97f4a7c15u + (uint64_t)plan.life;
    tide_coh_hook = crash_at_access;
    tide_crash_hook = crash_at_point;
    tide_medium_hook = plan.durable ? crash_at_write : NULL;
    crash_is_spared = plan.last;
    tide_trim_patience = UINT64_MAX / 2; /* who lingers may do so for long */
    if (plan.over)
        crash_bury();
    crash_open();
    world->opened = crash_made;
    crash_work();
    if (plan.last)
        crash_judge();
    crash_is_spared = false;
    UNIT_NEED(tide_log_reader_close(reader) == 0);
    if (plan.last)
        crash_account();
    else {
        if (heap != NULL)
            tide_heap_destroy(heap);
        uint64_t all = tide_log_committed(log_);
        UNIT_NEED(tide_log_close(log_) == 0);
        world->durable = all;
    }
    UNIT_NEED(tide_region_close(region) == 0);
    _exit(0);
}

/* Lives once, by the plan: how it ended. */
static inline struct unit_end crash_once(const char *text)
{
    int ends[2];
    ck_assert_int_eq(pipe(ends), 0);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        dup2(ends[1], 2);
        close(ends[0]);
        close(ends[1]);
        crash_live(text);
    }
    close(ends[1]);
    return unit_wait(pid, ends[0]);
}

#endif
