/*
 * test_log_threads.c - the public calls under real threads: 4 brokers, 4 clients, 2 readers,
 * 10^6 messages in all, every batch noted and checked.
 *
 * LOG_MESSAGES=N sets how many of each kind.
 */
#include "log_history.h"

#include <pthread.h>

#include <tidepool/log.h>

enum { CLIENTS = 4, BROKERS = 4, READERS = 2, MESSAGES = 260000, MOST = 64 };

static tide_log_t *log_;
static struct log_history *history;
static uint64_t batches; /* of each client */
static bool shared;      /* level 4: client 0 and 1 are handles of one session */

static struct client {
    pthread_t thread;
    tide_log_client_t *handle;
    unsigned id;
    uint64_t random, first, step, waits;
} client[CLIENTS];

static struct reader {
    pthread_t thread;
    tide_log_reader_t *handle;
    uint8_t who;
    uint64_t messages;
} reader[READERS];

static _Atomic int sending;

/* Message i of a batch: its tag is made of the event of its invocation, and so are its bytes. */
static void fill(unsigned char *data, size_t size, uint64_t ref, uint32_t i)
{
    for (size_t at = 0; at < size; at++)
        data[at] = (unsigned char)(ref * 3 + i + at);
}

static size_t size_of(uint64_t ref, uint32_t i)
{
    return (ref * 7 + i * 5) % 33;
}

static int send_batch(struct client *self, unsigned broker, uint64_t ref, uint32_t count,
                      struct tide_log_at *at)
{
    static _Thread_local unsigned char bytes[MOST][40];
    struct tide_log_message message[MOST];
    for (uint32_t i = 0; i < count; i++) {
        message[i] = (struct tide_log_message){bytes[i], size_of(ref, i), ref << 8 | i};
        fill(bytes[i], message[i].size, ref, i);
    }
    return tide_log_append_batch(self->handle, broker, message, count, TIDE_LOG_BLOCK, at);
}

/* The same in the ring itself; some claims are given up first. */
static int claim_batch(struct client *self, unsigned broker, uint64_t ref, uint32_t count,
                       struct tide_log_at *at)
{
    struct tide_log_claim claim;
    size_t room = 0;
    for (uint32_t i = 0; i < count; i++)
        room += TIDE_LOG_ROOM(size_of(ref, i));
    int error = tide_log_claim(self->handle, broker, room, TIDE_LOG_BLOCK, &claim);
    if (error != 0)
        return error;
    if (ref % 8 == 0) {
        tide_log_abort(&claim);
        error = tide_log_claim(self->handle, broker, room, TIDE_LOG_BLOCK, &claim);
        if (error != 0)
            return error;
    }
    for (uint32_t i = 0; i < count; i++)
        fill(tide_log_put(&claim, size_of(ref, i), ref << 8 | i), size_of(ref, i), ref, i);
    return tide_log_commit(&claim, at);
}

static void *send_all(void *argument)
{
    struct client *self = argument;
    struct tide_log_at at;
    for (uint64_t i = 0; i < batches; i++) {
        uint64_t draw = unit_random(&self->random);
        struct log_event event = {.kind = LOG_INVOKE,
                                  .client = (uint8_t)self->id,
                                  .broker = (uint8_t)(draw / 256 % BROKERS),
                                  .count = MOST / 2 + draw % (MOST / 2),
                                  .number = self->first + i * self->step};
        if (self->step > 1)
            tide_log_set_number(self->handle, event.number);
        uint64_t ref = log_note(history, event);
        int error = (draw / 4096 % 4 == 0 ? claim_batch : send_batch)(self, event.broker, ref,
                                                                      event.count, &at);
        UNIT_HOLD(error == 0 && at.number == event.number, "append: %d", error);
        if (at.position != TIDE_LOG_NONE)
            log_note(history,
                     (struct log_event){
                         .kind = LOG_ACK, .ref = ref, .position = at.position, .base = at.base});
        else
            log_note(history, (struct log_event){.kind = LOG_TAKEN, .ref = ref});
        if (i % 64 == 0)
            log_note(history, (struct log_event){.kind = LOG_COMMIT,
                                                 .who = (uint8_t)(4 + (self - client)),
                                                 .position = tide_log_committed(log_)});
    }
    atomic_fetch_sub(&sending, 1);
    return NULL;
}

static bool is_whole(const struct tide_log_batch *batch, uint64_t ref)
{
    size_t at = 0;
    uint32_t i = 0;
    unsigned char bytes[40];
    const struct tide_log_frame *frame;
    for (; (frame = tide_log_next(batch, &at)) != NULL; i++) {
        if (frame->tag != (ref << 8 | i) || frame->length != size_of(ref, i))
            return false;
        fill(bytes, frame->length, ref, i);
        if (memcmp(bytes, frame + 1, frame->length) != 0)
            return false;
    }
    return i == batch->count && at == batch->size;
}

static void note_batch(struct reader *self, const struct tide_log_batch *batch)
{
    size_t at = 0;
    const struct tide_log_frame *frame = tide_log_next(batch, &at);
    uint64_t ref = frame != NULL ? frame->tag >> 8 : UINT64_MAX;
    self->messages += batch->count;
    log_note(history, (struct log_event){.kind = LOG_READ,
                                         .who = self->who,
                                         .client = (uint8_t)batch->client,
                                         .broker = (uint8_t)batch->broker,
                                         .whole = is_whole(batch, ref),
                                         .count = batch->count,
                                         .number = batch->number,
                                         .position = batch->position,
                                         .base = batch->base,
                                         .ref = ref});
}

static void *read_all(void *argument)
{
    struct reader *self = argument;
    struct tide_log_batch batch[16];
    uint64_t left = batches * CLIENTS, last = 0;
    while (left > 0) {
        int got = tide_log_read(self->handle, batch, 1 + self->who * 15, INT64_C(60000000000));
        UNIT_HOLD(got > 0, "read: %d, %llu left", got, (unsigned long long)left);
        for (int i = 0; i < got; i++)
            note_batch(self, &batch[i]);
        last = batch[got - 1].position;
        left -= (uint64_t)got;
    }
    UNIT_HOLD(tide_log_read(self->handle, batch, 1, TIDE_LOG_TRY) == -EAGAIN, "one too many");
    log_note(history, (struct log_event){.kind = LOG_END, .who = self->who, .position = last + 1});
    return NULL;
}

static void open_all(const struct tide_log_options *options)
{
    ck_assert_int_eq(tide_log_create(&log_, options), 0);
    for (uint8_t i = 0; i < READERS; i++) {
        reader[i].who = i;
        ck_assert_int_eq(tide_log_reader_open(&reader[i].handle, log_, NULL), 0);
    }
    for (unsigned i = 0; i < CLIENTS; i++) {
        bool joins = shared && i < 2;
        struct tide_log_client_options who = {.id = joins ? 0 : i, .join = joins};
        client[i] = (struct client){.id = who.id,
                                    .random = 0x9e3779b97f4a7c15u * (i + 1),
                                    .first = joins ? i : 0,
                                    .step = joins ? 2 : 1};
        ck_assert_int_eq(tide_log_client_open(&client[i].handle, log_, &who), 0);
    }
    if (options->sequencing == TIDE_LOG_STEPPED)
        for (int i = 0; i < 2; i++)
            ck_assert_int_eq(tide_log_start(log_, -1), 0);
}

static void close_all(void)
{
    for (int i = 0; i < CLIENTS; i++)
        ck_assert_int_eq(tide_log_client_close(client[i].handle), 0);
    for (int i = 0; i < READERS; i++)
        ck_assert_int_eq(tide_log_reader_close(reader[i].handle), 0);
    ck_assert_int_eq(tide_log_close(log_), 0);
}

static void run(struct tide_log_options options)
{
    struct tide_log_stat stat;
    const char *text = getenv("LOG_MESSAGES");
    uint64_t messages = text != NULL ? strtoull(text, NULL, 10) : MESSAGES;
    batches = messages * 4 / 3 / MOST / CLIENTS + 1;
    shared = options.level == 4;
    options.brokers = BROKERS;
    options.slots = 67;
    options.payload = 64 * 1501;
    options.checksum = 1;
    history = log_history_new(options.level, options.first, batches * CLIENTS * 8);
    open_all(&options);
    atomic_store(&sending, CLIENTS);
    for (int i = 0; i < READERS; i++)
        ck_assert_int_eq(pthread_create(&reader[i].thread, NULL, read_all, &reader[i]), 0);
    for (int i = 0; i < CLIENTS; i++)
        ck_assert_int_eq(pthread_create(&client[i].thread, NULL, send_all, &client[i]), 0);
    for (int i = 0; i < CLIENTS; i++)
        pthread_join(client[i].thread, NULL);
    for (int i = 0; i < READERS; i++)
        pthread_join(reader[i].thread, NULL);
    ck_assert_int_eq(tide_log_stat(log_, &stat), 0);
    history->taken = stat.taken;
    history->messages = stat.messages;
    ck_assert_uint_eq(stat.committed, stat.taken);
    ck_assert_uint_eq(stat.taken - options.first, batches * CLIENTS);
    ck_assert_uint_eq(reader[0].messages, reader[1].messages);
    ck_assert_uint_eq(stat.messages - options.first, reader[0].messages);
    const char *broken = log_check(history);
    ck_assert_msg(broken == NULL, "%s is broken", broken);
    close_all();
    log_history_free(history);
}

START_TEST(level_5_inline)
{
    run((struct tide_log_options){.level = 5, .first = 0xffffff00});
}
END_TEST

START_TEST(level_5_stepped)
{
    run((struct tide_log_options){.level = 5, .sequencing = TIDE_LOG_STEPPED});
}
END_TEST

START_TEST(level_4_inline)
{
    run((struct tide_log_options){.level = 4, .first = (UINT64_C(1) << 63) - 100});
}
END_TEST

START_TEST(level_4_stepped_by_mutex)
{
    run((struct tide_log_options){
        .level = 4, .sequencing = TIDE_LOG_STEPPED, .sessions = TIDE_LOG_MUTEX});
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {level_5_inline, level_5_stepped, level_4_inline,
                                  level_4_stepped_by_mutex, NULL};
    return unit_main("log_threads", tests);
}
