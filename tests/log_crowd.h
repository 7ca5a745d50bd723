/*
 * log_crowd.h - processes that use one log together, some of which end in the middle of it, and
 * the history of what all of them did, in memory that they share.
 *
 * A child opens the region and the log by itself, as any program would. It ends itself at the
 * n-th time that it gets to a named point of the library, if it was told so.
 */
#ifndef TESTS_LOG_CROWD_H
#define TESTS_LOG_CROWD_H

#include "log_history.h"
#include "region_case.h"

#include <time.h>

#include <tidepool/log.h>

#include "box/crash.h"
#include "box/logroom.h"

enum { CROWD_EVENTS = 120000, CROWD_BATCHES = 400, CROWD_WORDS = 6 };

/* Shared by all. */
struct crowd {
    struct log_history history;
    _Atomic int producing; /* who still appends */
    _Atomic int hits;      /* of the point that somebody dies at */
    _Atomic int firsts;    /* of the point that the first one dies at */
    _Atomic int ready;     /* children that got so far */
    _Atomic int go;
    _Atomic bool done[LOG_CLIENTS]; /* of the producers: is no more */
};

static struct crowd *crowd;
static tide_region_t *crowd_region;
static tide_log_t *crowd_log;
static struct tide_log_options crowd_options;
static char crowd_text[300];

static inline struct tide_log_options crowd_small(unsigned level, unsigned sequencing)
{
    struct tide_log_options options = TIDE_LOG_OPTIONS;
    options.level = level;
    options.lease = TIDE_LOG_NO_LEASE; /* who is slow, or stopped, is not to be told so */
    options.brokers = level == 0 ? 1 : 2;
    options.slots = 64;
    options.payload = 64 << 10;
    options.clients = 12;
    options.sequencing = sequencing;
    options.checksum = 1;
    return options;
}

/* --- the region --------------------------------------------------------------------------- */

/* A log that children can open: `kind` 0: memfd, 1: a file on a disk. */
static inline void crowd_make(struct tide_log_options options, int kind)
{
    size_t events = CROWD_EVENTS * sizeof(struct log_event);
    crowd = mmap(NULL, sizeof *crowd + events, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                 -1, 0);
    UNIT_NEED(crowd != MAP_FAILED);
    crowd->history = (struct log_history){.event = (struct log_event *)(void *)(crowd + 1),
                                          .room = CROWD_EVENTS,
                                          .level = options.level};
    snprintf(crowd_text, sizeof crowd_text, "file:%s/crowd", unit_disk);
    crowd_region = region_made(kind == 0 ? "memfd" : crowd_text, REGION_SIZE, 0);
    if (kind == 0)
        snprintf(crowd_text, sizeof crowd_text, "file:/proc/self/fd/%d",
                 region_told(crowd_region).fd);
    crowd_options = options;
    UNIT_NEED(tide_log_create_on(&crowd_log, crowd_region, &options) == 0);
}

static inline void crowd_join(void)
{
    crowd_region = region_opened(crowd_text);
    int error = tide_log_open(&crowd_log, crowd_region);
    char words[256] = "";
    tide_log_explain(words, sizeof words);
    if (error != 0)
        dprintf(2, "open: %d, %s\n", error, words);
    UNIT_NEED(error == 0);
}

static inline void crowd_leave(void)
{
    UNIT_NEED(tide_log_close(crowd_log) == 0);
    UNIT_NEED(tide_region_close(crowd_region) == 0);
}

/* --- points ------------------------------------------------------------------------------- */

static const char *crowd_point;
static int crowd_left;
static int crowd_signal = SIGKILL;

static inline void crowd_hook(enum tide_crash_point point)
{
    if (strcmp(tide_crash_names[point], crowd_point) != 0 || --crowd_left != 0)
        return;
    atomic_fetch_add(&crowd->hits, 1);
    kill(getpid(), crowd_signal);
}

/* The calling process ends, or whatever the signal does, at the n-th time. */
static inline void crowd_end_at(const char *point, int times, int signal)
{
    crowd_point = point;
    crowd_left = times;
    crowd_signal = signal;
#ifdef TIDE_DEBUG
    tide_crash_hook = crowd_hook;
#endif
}

static inline void crowd_hook_first(enum tide_crash_point point)
{
    if (strcmp(tide_crash_names[point], crowd_point) == 0 &&
        atomic_fetch_add(&crowd->firsts, 1) == 0)
        kill(getpid(), SIGKILL);
}

/* The first of all processes that gets there ends. */
static inline void crowd_end_first(const char *point)
{
    crowd_point = point;
#ifdef TIDE_DEBUG
    tide_crash_hook = crowd_hook_first;
#endif
}

/* --- what they do ------------------------------------------------------------------------- */

/* A message: which event it is, whose, and words that follow from these. */
static inline void crowd_fill(uint64_t *words, uint64_t ref, uint64_t client, uint64_t number)
{
    words[0] = ref;
    words[1] = client;
    words[2] = number;
    for (int i = 3; i < CROWD_WORDS; i++)
        words[i] = ref * 31 + client * 7 + number + (uint64_t)i;
}

static inline bool crowd_is_whole(const struct tide_log_batch *batch, const uint64_t *words)
{
    uint64_t want[CROWD_WORDS];
    crowd_fill(want, words[0], words[1], words[2]);
    return batch->count == 1 && batch->client == words[1] && batch->number == words[2] &&
           memcmp(want, words, sizeof want) == 0;
}

static inline tide_log_client_t *crowd_client(uint32_t id, unsigned ack)
{
    struct tide_log_client_options options = {.id = id, .ack = ack};
    tide_log_client_t *client;
    UNIT_NEED(tide_log_client_open(&client, crowd_log, &options) == 0);
    return client;
}

/* One batch; true when it is in. A session that was ended is opened anew, and what it lacks is
 * sent again. */
static inline bool crowd_append(tide_log_client_t **client, uint32_t id, unsigned ack,
                                uint64_t *number)
{
    uint64_t words[CROWD_WORDS];
    struct tide_log_at at;
    struct log_event event = {.kind = LOG_INVOKE,
                              .client = (uint8_t)id,
                              .broker = (uint8_t)(*number % crowd_options.brokers),
                              .number = *number,
                              .count = 1};
    uint64_t ref = log_note(&crowd->history, event);
    crowd_fill(words, ref, id, *number);
    UNIT_NEED(tide_log_set_number(*client, *number) == 0);
    int error = tide_log_append(*client, event.broker, words, sizeof words, TIDE_LOG_BLOCK, &at);
    if (error == 0) {
        bool known = ack == TIDE_LOG_ACK_ORDERED && at.position != TIDE_LOG_NONE;
        log_note(&crowd->history, (struct log_event){.kind = known ? LOG_ACK : LOG_TAKEN,
                                                     .ref = ref,
                                                     .position = at.position,
                                                     .base = at.base});
        ++*number;
        return true;
    }
    if (error != -ESTALE || crowd_options.level != 4)
        dprintf(2, "append: %d\n", error);
    UNIT_NEED(error == -ESTALE && crowd_options.level == 4);
    UNIT_NEED(tide_log_client_close(*client) == 0);
    *client = crowd_client(id, ack);
    UNIT_NEED(tide_log_acked(*client, number) == 0);
    return false;
}

/* It appends no more, be it because it was killed. */
static inline void crowd_done(uint32_t id)
{
    if (!atomic_exchange(&crowd->done[id], true))
        atomic_fetch_sub(&crowd->producing, 1);
}

static inline void crowd_produce(uint32_t id)
{
    unsigned ack =
        crowd_options.level == 0 || id % 2 == 0 ? TIDE_LOG_ACK_NONE : TIDE_LOG_ACK_ORDERED;
    tide_log_client_t *client = crowd_client(id, ack);
    uint64_t number = 0;
    while (number < CROWD_BATCHES) {
        crowd_append(&client, id, ack, &number);
        if (crowd_options.level == 4 && number == CROWD_BATCHES &&
            crowd_options.sequencing == TIDE_LOG_INLINE)
            UNIT_NEED(tide_log_acked(client, &number) == 0); /* all of it has places */
        if (number % 64 == 0)
            tide_log_trim(crowd_log, 0, 0, NULL);
    }
    UNIT_NEED(tide_log_client_close(client) == 0);
    crowd_done(id);
}

static inline void crowd_note_read(uint8_t who, const struct tide_log_batch *batch)
{
    uint64_t words[CROWD_WORDS];
    memcpy(words, batch->data + sizeof(struct tide_log_frame), sizeof words);
    log_note(&crowd->history, (struct log_event){.kind = LOG_READ,
                                                 .who = who,
                                                 .whole = crowd_is_whole(batch, words),
                                                 .ref = words[0],
                                                 .client = (uint8_t)batch->client,
                                                 .broker = (uint8_t)batch->broker,
                                                 .number = batch->number,
                                                 .count = batch->count,
                                                 .position = batch->position,
                                                 .base = batch->base});
}

/* All that has a place is below `next`, and nothing else is about to get one. At level 0 a place is
 * taken before there is something to read, and the dead leave such: nobody can tell. */
static inline bool crowd_is_all(uint64_t next)
{
    struct tide_log_stat stat;
    UNIT_NEED(tide_log_stat(crowd_log, &stat) == 0);
    return crowd_options.level == 0 || (stat.taken == stat.committed && stat.committed == next);
}

/* Everything, until all producers are done and nothing more comes: not for a while, for who gives
 * the places may not run, and not before all places were read, unless that takes a minute. */
static inline void crowd_read(uint8_t who)
{
    struct tide_log_batch batch[8];
    struct tide_log_reader_options options = {.start = TIDE_LOG_EARLIEST};
    tide_log_reader_t *reader;
    uint64_t next = 0;
    UNIT_NEED(tide_log_reader_open(&reader, crowd_log, &options) == 0);
    atomic_fetch_add(&crowd->ready, 1);
    for (int idle = 0; idle < 40 || (idle < 1200 && !crowd_is_all(next));) {
        bool over = atomic_load(&crowd->producing) == 0;
        int got = tide_log_read(reader, batch, 8, 50000000);
        UNIT_NEED(got > 0 || got == -ETIMEDOUT);
        for (int i = 0; i < got; i++)
            crowd_note_read(who, &batch[i]);
        next = got > 0 ? batch[got - 1].position + 1 : next;
        idle = over && got <= 0 ? idle + 1 : 0;
        if (over && idle >= 10 && crowd_options.level != 0 && crowd_is_all(next))
            break;
    }
    UNIT_NEED(tide_log_reader_close(reader) == 0);
}

/* --- children ----------------------------------------------------------------------------- */

static inline void crowd_wait_for(_Atomic int *word, int value)
{
    struct timespec nap = {0, 500000};
    while (atomic_load(word) < value)
        nanosleep(&nap, NULL);
}

/* A child with the log open, which begins when all are there. */
#define CROWD_CHILD(pid) for (pid = crowd_fork(); (pid) == 0; crowd_leave(), _exit(0))

static inline pid_t crowd_fork(void)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        crowd_join();
        atomic_fetch_add(&crowd->ready, 1);
        crowd_wait_for(&crowd->go, 1);
    }
    return pid;
}

/* How it ended: exit code, or 128 + signal. */
static inline int crowd_ended(pid_t pid)
{
    int status;
    UNIT_NEED(waitpid(pid, &status, 0) == pid);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static inline uint64_t crowd_repairs(void)
{
    return atomic_load(&tide_logroom_of(crowd_region)->repairs);
}

/* Level 0: what the dead left of their claims are positions without a batch. The others count. */
static inline uint64_t crowd_close_up(struct log_history *history, uint64_t end)
{
    uint64_t *rank = calloc(end + 1, sizeof *rank), next = 0;
    for (size_t i = 0; i < history->count; i++)
        if (history->event[i].kind == LOG_READ && history->event[i].position < end)
            rank[history->event[i].position] = 1;
    for (uint64_t i = 0; i < end; i++)
        rank[i] = rank[i] != 0 ? next++ : 0;
    for (size_t i = 0; i < history->count; i++)
        if (history->event[i].kind == LOG_READ && history->event[i].position < end)
            history->event[i].position = rank[history->event[i].position];
    free(rank);
    return next;
}

/* The verdict; all slots and bytes are free once everything is trimmed. */
static inline void crowd_check(void)
{
    struct log_history *history = &crowd->history;
    struct tide_log_broker_stat broker;
    struct tide_log_stat stat;
    while (tide_log_poll(crowd_log) > 0)
        ;
    UNIT_NEED(tide_log_stat(crowd_log, &stat) == 0);
    UNIT_NEED(tide_log_stat_broker(crowd_log, 0, &broker) == 0);
    history->taken =
        crowd_options.level == 0 ? crowd_close_up(history, broker.claimed) : stat.taken;
    history->messages = stat.messages;
    UNIT_NEED(crowd_options.level == 0 || stat.taken == stat.committed);
    const char *broken = log_check(history);
    UNIT_HOLD(broken == NULL, "level %u breaks %s", crowd_options.level, broken);
    UNIT_NEED(tide_log_trim(crowd_log, 0, UINT64_MAX, NULL) == 0);
    for (unsigned i = 0; i < crowd_options.brokers; i++) {
        UNIT_NEED(tide_log_stat_broker(crowd_log, i, &broker) == 0);
        UNIT_NEED(broker.claimed == broker.released && broker.used_bytes == 0);
    }
}

#endif
