/*
 * crew_life.h - one process of stress_crew.c: it opens the log that all of them share, appends in
 * every way, reads and sequences, writes down what it did, and goes on until it is told to end, is
 * expelled, or is killed.
 */
#ifndef TESTS_CREW_LIFE_H
#define TESTS_CREW_LIFE_H

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <tidepool/tidepool.h>

#include <tidepool/log.h>

#include "box/crash.h"

static void panic(const char *text);
#define LOG_HISTORY_PANIC(text) panic(text)
#include "log_history.h"

enum {
    SLOTS = 4,   /* processes at once */
    CLIENTS = 2, /* of each */
    EVENTS = 200000,
    ENOUGH = EVENTS - 20000, /* then nothing new is begun */
    BLOCK = 3000,
    READERS = 16
};

#define PATIENCE INT64_C(30000000000) /* who waits longer is stuck */

struct way {
    const char *name;
    unsigned level, sequencing, checksum;
};

/* What all share. */
static struct world {
    struct log_history history;
    _Atomic int stop;                         /* nothing new is begun; close the log */
    _Atomic int started;                      /* processes that had the log open */
    _Atomic int who;                          /* readers so far */
    _Atomic int failed;                       /* somebody said why */
    _Atomic uint64_t number[SLOTS * CLIENTS]; /* levels 0 and 5: the next one of each client */
    struct slot {
        _Atomic uint64_t expel;    /* this one's work: to expel that process (pid, slot, life) */
        _Atomic uint64_t expelled; /* the life that was expelled from here */
    } slot[SLOTS];
    struct log_event event[EVENTS];
} * world;

static const struct way *way;

#define PROGRAM "stress_crew"
#define SENT EVENTS
#include "life.h"

/* ---- a process: appends ---------------------------------------------------------------------- */

static tide_region_t *region;
static tide_heap_t *heap;
static tide_log_t *log_;
static struct slot *mine;
static int number_of_mine;
static uint64_t life;
static unsigned brokers;

static struct client {
    pthread_t thread;
    tide_log_client_t *handle;
    unsigned id, ack;
    uint64_t random;
} clients[CLIENTS];

static int append_claim(struct client *self, const uint64_t *words, unsigned broker,
                        int64_t timeout, struct tide_log_at *at)
{
    struct tide_log_claim claim;
    size_t size = WORDS * sizeof *words, room = TIDE_LOG_ROOM(size) + draw(&self->random) % 2000;
    int error = tide_log_claim(self->handle, broker, room, timeout, &claim);
    if (error != 0)
        return error;
    memcpy(tide_log_put(&claim, size, 0), words, size);
    if (draw(&self->random) % 8 == 0)
        nap(draw(&self->random) % 3000);
    if (draw(&self->random) % 8 != 0)
        return tide_log_commit(&claim, at);
    error = tide_log_abort(&claim);
    return error != 0 ? error : -ECANCELED;
}

static int append_block(struct client *self, const uint64_t *words, unsigned broker,
                        int64_t timeout, struct tide_log_at *at)
{
    void *block = tide_log_block(heap, BLOCK, 0);
    if (block == NULL)
        return -EPERM;
    memcpy(TIDE_LOG_BODY(block), words, WORDS * sizeof *words);
    int error =
        tide_log_append_block(self->handle, broker, block, TIDE_LOG_ROOM(BLOCK), timeout, at);
    if (error != 0 && error != -EINPROGRESS)
        tide_free(block);
    return error;
}

static int append(struct client *self, const uint64_t *words, unsigned broker, int64_t timeout,
                  struct tide_log_at *at)
{
    unsigned char bytes[WORDS * sizeof *words + 700];
    uint64_t how = draw(&self->random);
    size_t size = WORDS * sizeof *words;
    int error = -EPERM;
    if (how % 8 == 0 && heap != NULL)
        error = append_block(self, words, broker, timeout, at);
    if (error != -EPERM) /* else the blocks are another process's just now */
        return error;
    if (how % 8 == 1)
        return append_claim(self, words, broker, timeout, at);
    memcpy(bytes, words, size);
    memset(bytes + size, (int)how, sizeof bytes - size);
    return tide_log_append(self->handle, broker, bytes, size + how / 64 % 700, timeout, at);
}

static int64_t some_time(uint64_t *random)
{
    static const int64_t times[] = {TIDE_LOG_TRY, 200000, 5000000, PATIENCE, PATIENCE};
    return times[draw(random) % 5];
}

/* The process was expelled, by its word, or somebody else's. */
static bool is_expelled(void)
{
    return atomic_load(&mine->expelled) == life;
}

/* It will be read; level 4: unless its session is opened anew before it has its place, and then
 * it is sent again. */
static void note_taken(uint64_t ref, const struct tide_log_at *at)
{
    if (way->level != 4 || at->position != TIDE_LOG_NONE)
        note((struct log_event){.kind = LOG_TAKEN, .ref = ref});
}

/* What became of it is written down. True: the next one has the next number. */
static bool answer(struct client *self, uint64_t ref, int error, int64_t timeout,
                   const struct tide_log_at *at)
{
    bool known = self->ack != TIDE_LOG_ACK_NONE && at->position != TIDE_LOG_NONE;
    switch (error) {
    case 0:
        if (known)
            note((struct log_event){
                .kind = LOG_ACK, .ref = ref, .position = at->position, .base = at->base});
        else
            note_taken(ref, at);
        return true;
    case -EINPROGRESS:
        if (timeout == PATIENCE && tide_log_poll(log_) != -ESTALE)
            fail("an append waits for its acknowledgement for ever");
        note_taken(ref, at);
        return true;
    case -ETIMEDOUT:
        if (timeout == PATIENCE)
            fail("an append waits for ever");
        /* fall through */
    case -EAGAIN:
    case -ECANCELED:
        note((struct log_event){.kind = LOG_REFUSE, .ref = ref});
        return false;
    default:
        fail("an append gave %d", error);
    }
}

/* One batch. False: the process is expelled. */
static bool produce_one(struct client *self, uint64_t *number)
{
    uint64_t words[WORDS];
    struct tide_log_at at = {TIDE_LOG_NONE, TIDE_LOG_NONE, 0};
    unsigned broker = (unsigned)(draw(&self->random) % brokers);
    int64_t timeout = some_time(&self->random);
    if (way->level != 4)
        *number = atomic_fetch_add(&world->number[self->id], 1);
    bool over = is_expelled();
    uint64_t ref = note((struct log_event){.kind = LOG_INVOKE,
                                           .client = (uint8_t)self->id,
                                           .broker = (uint8_t)broker,
                                           .number = *number,
                                           .count = 1});
    fill(words, ref, self->id, *number);
    tide_log_set_number(self->handle, *number);
    int error = append(self, words, broker, timeout, &at);
    if (over && error != -ESTALE)
        fail("an append of a process that was expelled gave %d", error);
    if (error == -ESTALE && tide_log_poll(log_) == -ESTALE)
        return false;
    if (error == -ESTALE)
        fail("the session was ended, though its process lives");
    *number += answer(self, ref, error, timeout, &at);
    return true;
}

static void *produce(void *argument)
{
    struct client *self = argument;
    uint64_t number = 0;
    if (way->level == 4 && tide_log_acked(self->handle, &number) != 0)
        fail("no session");
    while (atomic_load(&world->stop) == 0) {
        if (atomic_load(&world->history.count) > ENOUGH)
            nap(1000);
        else if (!produce_one(self, &number))
            break;
        if (draw(&self->random) % 8 == 0)
            nap(draw(&self->random) % 400);
    }
    return NULL;
}

/* ---- a process: reads ------------------------------------------------------------------------ */

/* What somebody reads who was expelled may have been overwritten: false. */
static bool note_read(unsigned who, const struct tide_log_batch *batch)
{
    uint64_t words[WORDS];
    if (!look(batch, words)) {
        if (tide_log_poll(log_) == -ESTALE)
            return false;
        fail("position %llu is not as it was sent", (unsigned long long)batch->position);
    }
    note((struct log_event){.kind = LOG_READ,
                            .who = (uint8_t)who,
                            .whole = true,
                            .ref = words[0],
                            .client = (uint8_t)batch->client,
                            .broker = (uint8_t)batch->broker,
                            .number = batch->number,
                            .count = batch->count,
                            .position = batch->position,
                            .base = batch->base});
    return true;
}

/* Some of what is there. What is below the cursor is written down, for it moves with the next
 * call. */
static int read_some(tide_log_reader_t *reader, unsigned who, int64_t timeout)
{
    struct tide_log_batch batch[8];
    int got = tide_log_read(reader, batch, 8, timeout);
    for (int i = 0; i < got; i++)
        if (!note_read(who, &batch[i]))
            return -ESTALE;
    return got;
}

static tide_log_reader_t *open_reader(unsigned *who)
{
    tide_log_reader_t *reader;
    int error = tide_log_reader_open(&reader, log_, NULL);
    if (error == -ESTALE)
        return NULL;
    if (error != 0)
        fail("no reader: %d", error);
    *who = (unsigned)atomic_fetch_add(&world->who, 1);
    if (*who >= LOG_WHO)
        fail("too many readers");
    return reader;
}

static void *consume(void *argument)
{
    uint64_t *random = argument;
    unsigned who;
    tide_log_reader_t *reader = open_reader(&who);
    while (reader != NULL && atomic_load(&world->stop) == 0) {
        int64_t timeout = some_time(random);
        int got = read_some(reader, who, timeout == PATIENCE ? 20000000 : timeout);
        if (got == -ESTALE)
            break;
        if (got <= 0 && got != -EAGAIN && got != -ETIMEDOUT)
            fail("reading gave %d", got);
        if (draw(random) % 16 == 0)
            nap(draw(random) % 2000);
    }
    if (reader != NULL && tide_log_reader_close(reader) != 0)
        fail("a reader stays open");
    return NULL;
}

/* ---- a process ------------------------------------------------------------------------------- */

static struct tide_log_options options_of(void)
{
    struct tide_log_options options = TIDE_LOG_OPTIONS;
    uint64_t random = seed * 7 + 3;
    options.level = way->level;
    options.lease = TIDE_LOG_NO_LEASE; /* who is slow, or stopped, is not to be told so */
    options.sequencing = way->sequencing;
    options.checksum = way->checksum;
    options.clients = SLOTS * CLIENTS + 4;
    options.readers = READERS;
    options.brokers = way->level == 0 ? 1 : 1 + (unsigned)(draw(&random) % 3);
    options.slots = 64 + draw(&random) % 100;
    options.payload = 16384 + 64 * (draw(&random) % 256);
    options.retain = TIDE_LOG_KEEP_UNREAD;
    return options;
}

static void open_log(void)
{
    struct tide_region_error error;
    if (tide_region_open(&region, source, 0, &error) != 0)
        fail("%s", error.text);
    int ret = tide_log_open(&log_, region);
    if (ret != 0)
        fail("the log cannot be opened: %d", ret);
    brokers = options_of().brokers;
}

static void open_clients(uint64_t *random)
{
    for (unsigned i = 0; i < CLIENTS; i++) {
        struct client *self = &clients[i];
        bool asks = way->level != 0 && draw(random) % 4 != 0;
        *self = (struct client){.id = (unsigned)number_of_mine * CLIENTS + i,
                                .ack = asks ? TIDE_LOG_ACK_ORDERED : TIDE_LOG_ACK_NONE,
                                .random = draw(random) | 1};
        struct tide_log_client_options options = {.id = self->id, .ack = self->ack};
        int error = tide_log_client_open(&self->handle, log_, &options);
        if (error == -ESTALE)
            _exit(0); /* expelled before it began */
        if (error != 0 || pthread_create(&self->thread, NULL, produce, self) != 0)
            fail("no client: %d", error);
    }
}

/* Until all is over, or the process is expelled: whatever else there is to do. */
static void look_after(uint64_t *random)
{
    while (atomic_load(&world->stop) == 0) {
        uint64_t victim = atomic_exchange(&mine->expel, 0);
        if (victim != 0) {
            int error = tide_log_expel(log_, victim >> 32);
            if (error == 0)
                atomic_store(&world->slot[victim >> 24 & 0xff].expelled, victim & 0xffffff);
            else if (error != -EBUSY && error != -ESRCH && error != -ESTALE)
                fail("expelling gave %d", error);
        }
        if (tide_log_poll(log_) == -ESTALE)
            return;
        if (draw(random) % 8 == 0)
            tide_log_trim(log_, 0, 0, NULL);
        nap(500 + draw(random) % 2000);
    }
}

static void close_all(bool reads, pthread_t reader)
{
    for (unsigned i = 0; i < CLIENTS; i++) {
        pthread_join(clients[i].thread, NULL);
        if (tide_log_client_close(clients[i].handle) != 0)
            fail("a client stays open");
    }
    if (reads)
        pthread_join(reader, NULL);
    int error = tide_log_close(log_);
    if (error != 0)
        fail("the log stays open: %d", error);
    if (heap != NULL)
        tide_heap_destroy(heap);
    tide_region_close(region);
}

#ifdef TIDE_DEBUG
/* The library is at a named point, inside a call: now and then its thread lingers there, or its
 * process ends. */
static void linger(enum tide_crash_point point)
{
    static _Thread_local uint64_t random;
    if (random == 0)
        random = (seed * 257 + life) * 0x9e3779b97f4a7c15u ^ (uintptr_t)&random;
    uint64_t what = draw(&random) + point;
    if (what % 256 == 0)
        nap(what / 256 % 5000);
    if (what % 20000 == 1)
        kill(getpid(), SIGKILL);
}
#endif

static void live(void)
{
#ifdef TIDE_DEBUG
    tide_crash_hook = linger;
#endif
    uint64_t random = (seed * 131 + (uint64_t)life) * 0x9e3779b97f4a7c15u | 1;
    bool reads = number_of_mine == 0 || draw(&random) % 2 == 0;
    bool steps = way->sequencing == TIDE_LOG_STEPPED && (reads || draw(&random) % 2 == 0);
    pthread_t reader;
    open_log();
    heap = draw(&random) % 2 == 0 ? tide_heap_create_on(region) : NULL;
    atomic_fetch_add(&world->started, 1);
    open_clients(&random);
    uint64_t other = draw(&random) | 1;
    if (reads && pthread_create(&reader, NULL, consume, &other) != 0)
        fail("no thread");
    if (steps && tide_log_start(log_, -1) != 0)
        fail("no thread to step");
    look_after(&random);
    if (draw(&random) % 2 == 0 && is_expelled())
        _exit(0); /* without a word */
    close_all(reads, reader);
    _exit(0);
}

#endif
