/*
 * stress_killed.c - a log in a region whose processes are killed at random moments, under load
 * and while they put it in order: what was acknowledged is there, once, where it was said to be.
 *
 * A child opens region and log, and uses them by threads: clients append by message, by claims
 * and by reference, a reader reads all. What is acknowledged, and what was read, goes through a
 * pipe to the parent, which kills the child at a moment of its choice and holds what the next one
 * says against what it knows. After some kills the last child goes to the end, and the region has
 * to be free to the last segment.
 *
 * stress_killed [--ops N | N] [--seconds N] [--seed N] [--only WORD] [--dir DIRECTORY |
 *              --region SOURCE]
 *   N / 5000 kills in all (1000000); or as many as fit into the seconds; WORD: only ways with it
 *   in their names; the region's file is in DIRECTORY (/dev/shm), or it is
 *   SOURCE, as of tide_region_create
 * Exit: 0 nothing found, 1 a finding (one line on stderr), 2 bad arguments.
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <tidepool/tidepool.h>

#include <tidepool/log.h>

#include "stress_options.h"

enum { CLIENTS = 3, BROKERS = 3, REGION = 12 << 20, KILLS = 10, KNOWN = 4096 };
enum { LARGEST = 600, BLOCK = 3000 };

#define PATIENCE INT64_C(60000000000) /* who waits longer is stuck */

static const struct way {
    const char *name;
    unsigned level, sequencing, sessions, checksum;
} ways[] = {
    {"level 0", 0, TIDE_LOG_INLINE, 0, 0},
    {"level 5 inline", 5, TIDE_LOG_INLINE, 0, 1},
    {"level 5 by threads", 5, TIDE_LOG_STEPPED, 0, 0},
    {"level 4 inline", 4, TIDE_LOG_INLINE, TIDE_LOG_LOCKFREE, 0},
    {"level 4 by threads", 4, TIDE_LOG_STEPPED, TIDE_LOG_LOCKFREE, 1},
    {"level 4 inline, mutex", 4, TIDE_LOG_INLINE, TIDE_LOG_MUTEX, 0},
};

enum { WAYS = sizeof ways / sizeof *ways };

static const struct way *way;
static int life;

__attribute__((format(printf, 1, 2), noreturn)) static void fail(const char *format, ...)
{
    char text[300], why[200] = "";
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    tide_log_explain(why, sizeof why);
    dprintf(2,
            "stress_killed: FAIL %s, life %d: %s (%s)\n"
            "once more, with other moments: stress_killed --seed %llu --only '%s'\n",
            way->name, life, text, why, (unsigned long long)seed, way->name);
    _exit(1);
}

static uint64_t draw(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* ---- what the parent knows ------------------------------------------------------------------- */

/* What a child says. */
struct word {
    uint32_t kind, client, broker, pad;
    uint64_t position, number, base;
};

enum { ACKED = 1, READ = 2 };

/* Of the last positions: who is there, and how that is known. */
static struct seat {
    uint64_t position, number, base;
    uint32_t client, known;
} seats[KNOWN];

static uint64_t covered;                 /* positions below were read */
static uint64_t behind[CLIENTS];         /* the number behind the last one that was acknowledged */
static uint64_t lasts[CLIENTS][BROKERS]; /* behind the last one that was read; level 4: [0] */
static uint64_t acks, reads, kills;

/* The next position: nothing comes twice, nothing before what its client sent earlier. */
static void learn_order(const struct word *word)
{
    uint64_t *behind_it = &lasts[word->client][way->level == 4 ? 0 : word->broker];
    if (word->number < *behind_it)
        fail("position %llu: batch %llu of client %u comes twice, or behind batch %llu",
             (unsigned long long)word->position, (unsigned long long)word->number, word->client,
             (unsigned long long)*behind_it - 1);
    *behind_it = word->number + 1;
}

static void learn(const struct word *word)
{
    struct seat *seat = &seats[word->position % KNOWN];
    if (seat->known != 0 && seat->position != word->position) {
        if (seat->position > word->position)
            return;
        if (seat->position >= covered)
            fail("position %llu was acknowledged and never read",
                 (unsigned long long)seat->position);
        seat->known = 0;
    }
    if (seat->known != 0 && (seat->client != word->client || seat->number != word->number ||
                             (way->level != 0 && seat->base != word->base)))
        fail("at position %llu was batch %llu of client %u, now %llu of %u",
             (unsigned long long)word->position, (unsigned long long)seat->number, seat->client,
             (unsigned long long)word->number, word->client);
    *seat = (struct seat){word->position, word->number, word->base, word->client,
                          seat->known | word->kind};
    if (word->kind == ACKED) {
        acks++;
        if (behind[word->client] <= word->number)
            behind[word->client] = word->number + 1;
    } else if (word->position > covered) {
        fail("positions %llu to %llu are lost", (unsigned long long)covered,
             (unsigned long long)word->position - 1);
    } else if (word->position == covered) {
        learn_order(word);
        covered++;
        reads++;
    }
}

/* ---- a child --------------------------------------------------------------------------------- */

static tide_region_t *region;
static tide_heap_t *heap;
static tide_log_t *log_;
static int tell;
static bool last;
static _Atomic int busy;

static struct client {
    pthread_t thread;
    tide_log_client_t *handle;
    unsigned id, ack;
    uint64_t random;
} clients[CLIENTS];

static void say(const struct word *words, size_t count)
{
    if (write(tell, words, count * sizeof *words) != (ssize_t)(count * sizeof *words))
        _exit(3); /* the parent is gone */
}

static unsigned char byte_of(unsigned client, uint64_t number, size_t i)
{
    return (unsigned char)(client * 31 + number * 7 + i);
}

static void write_bytes(unsigned char *to, unsigned client, uint64_t number, size_t size)
{
    for (size_t i = 0; i < size; i++)
        to[i] = byte_of(client, number, i);
}

static int append(struct client *self, uint64_t number, unsigned broker, struct tide_log_at *at)
{
    uint64_t how = draw(&self->random);
    size_t size = 1 + how / 8 % LARGEST;
    unsigned char bytes[LARGEST];
    struct tide_log_claim claim;
    void *block = how % 4 == 0 ? tide_log_block(heap, BLOCK, number) : NULL;
    if (block != NULL) {
        write_bytes(TIDE_LOG_BODY(block), self->id, number, BLOCK);
        int error =
            tide_log_append_block(self->handle, broker, block, TIDE_LOG_ROOM(BLOCK), PATIENCE, at);
        if (error != 0)
            tide_free(block);
        return error;
    }
    if (how % 4 == 1) {
        int error = tide_log_claim(self->handle, broker, TIDE_LOG_ROOM(size), PATIENCE, &claim);
        if (error != 0)
            return error;
        write_bytes(tide_log_put(&claim, size, number), self->id, number, size);
        return tide_log_commit(&claim, at);
    }
    write_bytes(bytes, self->id, number, size);
    struct tide_log_message message = {bytes, size, number};
    return tide_log_append_batch(self->handle, broker, &message, 1, PATIENCE, at);
}

/* Level 4: where the log says; else numbers that no life before has used. */
static uint64_t first_number(struct client *self)
{
    uint64_t number = (uint64_t)life << 32;
    if (way->level == 4 && tide_log_acked(self->handle, &number) != 0)
        fail("no session");
    if (way->level == 4 && number < behind[self->id])
        fail("client %u is to go on at %llu, and was acknowledged up to %llu", self->id,
             (unsigned long long)number, (unsigned long long)behind[self->id]);
    return number;
}

static void *produce(void *argument)
{
    struct client *self = argument;
    struct tide_log_stat stat;
    tide_log_stat(log_, &stat);
    uint64_t number = first_number(self);
    for (int i = 0; i < (last ? 200 : 100000); i++, number++) {
        struct tide_log_at at = {TIDE_LOG_NONE, TIDE_LOG_NONE, 0};
        unsigned broker = (unsigned)(draw(&self->random) % stat.brokers);
        if (tide_log_set_number(self->handle, number) != 0)
            fail("no number");
        int error = append(self, number, broker, &at);
        if (error != 0)
            fail("an append gave %d", error);
        if (at.position != TIDE_LOG_NONE && (way->level == 0 || self->ack != TIDE_LOG_ACK_NONE))
            say(&(struct word){ACKED, self->id, broker, 0, at.position, number, at.base}, 1);
    }
    busy--;
    return NULL;
}

static void look(const struct tide_log_batch *batch)
{
    size_t at = 0;
    const struct tide_log_frame *frame = tide_log_next(batch, &at);
    if (frame == NULL || frame->tag != batch->number || batch->count != 1)
        fail("position %llu has other frames", (unsigned long long)batch->position);
    const unsigned char *bytes = (const unsigned char *)(frame + 1);
    for (size_t i = 0; i < frame->length; i++)
        if (bytes[i] != byte_of(batch->client, batch->number, i))
            fail("position %llu: byte %zu is wrong", (unsigned long long)batch->position, i);
}

/* Until nobody appends any more and all is read. */
static void read_all(tide_log_reader_t *reader)
{
    struct tide_log_batch batch[16];
    struct word words[16];
    for (bool end = false;;) {
        int got = tide_log_read(reader, batch, 16, end ? TIDE_LOG_TRY : INT64_C(5000000));
        for (int i = 0; i < got; i++) {
            look(&batch[i]);
            words[i] = (struct word){READ,
                                     batch[i].client,
                                     batch[i].broker,
                                     0,
                                     batch[i].position,
                                     batch[i].number,
                                     batch[i].base};
        }
        if (got > 0) {
            say(words, (size_t)got);
            continue;
        }
        if (got != -EAGAIN && got != -ETIMEDOUT)
            fail("reading gave %d", got);
        if (end)
            return;
        end = busy == 0;
        while (end && tide_log_poll(log_) > 0)
            ;
    }
}

static struct tide_log_options options_of(void)
{
    struct tide_log_options options = TIDE_LOG_OPTIONS;
    uint64_t random = seed * 7 + 3;
    options.level = way->level;
    options.lease = TIDE_LOG_NO_LEASE; /* who is slow, or stopped, is not to be told so */
    options.sequencing = way->sequencing;
    options.sessions = way->sessions;
    options.checksum = way->checksum;
    options.clients = CLIENTS;
    options.brokers = way->level == 0 ? 1 : 1 + (unsigned)(draw(&random) % BROKERS);
    options.slots = 64 + draw(&random) % 100;
    options.payload = 16384 + 64 * (draw(&random) % 256);
    return options;
}

static void open_all(tide_log_reader_t **reader)
{
    struct tide_log_options options = options_of();
    struct tide_region_error error;
    if (tide_region_open(&region, source, 0, &error) != 0)
        fail("%s", error.text);
    int ret = tide_log_open(&log_, region);
    if (ret == -ENOENT && covered == 0)
        ret = tide_log_create_on(&log_, region, &options);
    if (ret != 0)
        fail("the log cannot be opened: %d", ret);
    if (tide_region_reclaim(region) < 0 || (heap = tide_heap_create_on(region)) == NULL ||
        tide_log_reader_open(reader, log_, NULL) != 0)
        fail("no heap or no reader");
    for (unsigned i = 0; i < CLIENTS; i++) {
        struct client *self = &clients[i];
        bool asks = way->level != 0 && i % 2 == 0;
        struct tide_log_client_options o = {.id = i,
                                            .ack = asks ? TIDE_LOG_ACK_ORDERED : TIDE_LOG_ACK_NONE};
        *self = (struct client){.id = i, .ack = o.ack, .random = (seed + i) * 77 + (unsigned)life};
        if (tide_log_client_open(&self->handle, log_, &o) != 0)
            fail("no client");
    }
}

/* All of the region is free again. */
static void account(void)
{
    struct tide_region_info info;
    for (unsigned i = 0; i < CLIENTS; i++)
        if (tide_log_client_close(clients[i].handle) != 0)
            fail("a client stays open");
    for (unsigned i = 0; i < options_of().brokers; i++)
        tide_log_trim(log_, i, UINT64_MAX, NULL);
    tide_heap_destroy(heap);
    if (tide_region_reclaim(region) < 0 || tide_region_info(region, &info) != 0 ||
        info.left_bytes != 0 || info.free_bytes + info.lent_bytes != info.capacity)
        fail("%zu bytes are left", info.left_bytes);
    if (tide_log_close(log_) != 0 || tide_log_remove(region) != 0 ||
        tide_region_info(region, &info) != 0 || info.free_bytes != info.capacity)
        fail("%zu bytes of %zu are free", info.free_bytes, info.capacity);
}

static void live(void)
{
    tide_log_reader_t *reader;
    open_all(&reader);
    if (way->sequencing == TIDE_LOG_STEPPED &&
        (tide_log_start(log_, -1) != 0 || tide_log_start(log_, -1) != 0))
        fail("no thread to step");
    busy = way->level == 0 ? 1 : CLIENTS;
    for (int i = way->level == 0 ? 1 : CLIENTS; i-- > 0;)
        if (pthread_create(&clients[i].thread, NULL, produce, &clients[i]) != 0)
            fail("no thread");
    read_all(reader);
    for (int i = way->level == 0 ? 1 : CLIENTS; i-- > 0;)
        pthread_join(clients[i].thread, NULL);
    if (tide_log_reader_close(reader) != 0)
        fail("the reader stays open");
    account();
    _exit(0);
}

/* ---- the parent ------------------------------------------------------------------------------ */

static int64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

/* Hears the child until it ends, or until then. False: it has ended. */
static bool hear(int from, int64_t until)
{
    static struct word words[512];
    static size_t part;
    for (;;) {
        int64_t left = until - now();
        struct pollfd wait = {from, POLLIN, 0};
        struct timespec time = {left / 1000000000, left % 1000000000};
        if (left <= 0 || ppoll(&wait, 1, &time, NULL) == 0)
            return true;
        ssize_t got = read(from, (char *)words + part, sizeof words - part);
        if (got <= 0) {
            part = 0;
            return false;
        }
        size_t all = part + (size_t)got, count = all / sizeof *words;
        for (size_t i = 0; i < count; i++)
            learn(&words[i]);
        part = all % sizeof *words;
        memmove(words, words + count, part);
    }
}

/* One child, killed at a moment of the draw, or not at all. */
static void one_life(uint64_t *random)
{
    int ends[2], status;
    uint64_t moment = draw(random);
    if (pipe2(ends, O_CLOEXEC) != 0)
        fail("no pipe");
    pid_t pid = fork();
    if (pid == 0) {
        close(ends[0]);
        tell = ends[1];
        live();
    }
    close(ends[1]);
    /* Half of them early: while the log is put in order. */
    int64_t length = (int64_t)(moment / 2 % (moment % 2 != 0 ? 3000000 : 20000000));
    if (hear(ends[0], last ? INT64_MAX : now() + length)) {
        kill(pid, SIGKILL);
        kills++;
        hear(ends[0], INT64_MAX);
    }
    close(ends[0]);
    waitpid(pid, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) != 0)
        exit(1); /* it has said why */
    if (last && !WIFEXITED(status))
        fail("the last one was ended by signal %d", WTERMSIG(status));
}

static void forget(void)
{
    memset(seats, 0, sizeof seats);
    memset(behind, 0, sizeof behind);
    memset(lasts, 0, sizeof lasts);
    covered = 0;
}

/* A reader of a log says these batches of client 1, {broker, number} each. Is that refused? */
static bool refuses(const struct way *how, const uint64_t (*said)[2], size_t count)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        close(2); /* what it says is of no concern */
        way = how;
        forget();
        for (size_t i = 0; i < count; i++)
            learn(&(struct word){READ, 1, (uint32_t)said[i][0], 0, i, said[i][1], i});
        _exit(0);
    }
    waitpid(pid, &status, 0);
    return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

/* Would it be found? */
static void check_the_check(void)
{
    static const uint64_t right[][2] = {{0, 5}, {1, 6}, {0, 7}, {1, 9}};
    static const uint64_t twice[][2] = {{0, 5}, {0, 6}, {0, 6}};
    static const uint64_t later[][2] = {{0, 5}, {1, 6}, {0, 7}, {0, 5}};
    static const uint64_t turned[][2] = {{0, 6}, {0, 5}};
    static const uint64_t across[][2] = {{0, 6}, {1, 5}}; /* is right at level 5 */
    way = &ways[0];
    for (int i = 0; i < WAYS; i++)
        if (refuses(&ways[i], right, 4) || !refuses(&ways[i], twice, 3) ||
            !refuses(&ways[i], later, 4) || !refuses(&ways[i], turned, 2) ||
            refuses(&ways[i], across, 2) != (ways[i].level == 4))
            fail("the check itself is wrong at level %u", ways[i].level);
}

static void one_region(uint64_t *random)
{
    struct tide_region_error error;
    if (tide_region_create(&region, source, REGION, TIDE_REGION_REPLACE, &error) != 0)
        fail("%s", error.text);
    tide_region_close(region);
    forget();
    for (life = 0; life <= KILLS; life++) {
        last = life == KILLS;
        one_life(random);
    }
    for (size_t i = 0; i < KNOWN; i++)
        if (seats[i].known == ACKED)
            fail("position %llu was acknowledged and never read",
                 (unsigned long long)seats[i].position);
}

int main(int argc, char **argv)
{
    struct stress_options options;
    if (!stress_options_read(&options, argc, argv, "stress_killed"))
        return 2;
    uint64_t random = seed * 0x9e3779b97f4a7c15u | 1;
    int64_t end = now() + (int64_t)options.seconds * 1000000000;
    check_the_check();
    for (uint64_t i = 0; options.seconds != 0 ? now() < end : kills < options.ops / 5000; i++) {
        way = &ways[i % WAYS];
        if (strstr(way->name, options.only) == NULL) {
            if (i > WAYS && kills == 0) {
                dprintf(2, "stress_killed: --only %s: no way has this in its name\n", options.only);
                return 2;
            }
            continue;
        }
        one_region(&random);
        seed += i % WAYS == WAYS - 1;
    }
    if (strncmp(source, "file:", 5) == 0)
        unlink(source + 5);
    printf("stress_killed: ok %llu kills, %llu acknowledged, %llu read\n",
           (unsigned long long)kills, (unsigned long long)acks, (unsigned long long)reads);
    return 0;
}
