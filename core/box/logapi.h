/*
 * logapi.h - the public calls of tidepool/log.h: handles, errors, waiting, threads.
 *
 * owns:      the handles, the threads that step the sequencer, the last error of a thread
 * threads:   as log.h says
 * invariant: a handle's magic is right while it is open, and 0 in a child process
 * uses:      broker, seq, sub, retire, mend, rescue, durable, logroom, crew, park, vmem, file,
 *            clock
 * used by:   programs, the command, logref
 * not here:  what the log does (the boxes above)
 * test:      tests/test_logapi.c
 */
#ifndef TIDE_BOX_LOGAPI_H
#define TIDE_BOX_LOGAPI_H

#include <pthread.h>

#include <tidepool/log.h>

#include "box/broker.h"
#include "box/cpu.h"
#include "box/durable.h"
#include "box/logroom.h"
#include "box/rescue.h"
#include "box/retire.h"
#include "box/seq.h"
#include "box/sub.h"
#include "box/vmem.h"

#define TIDE_LOGAPI_LOG UINT64_C(0x676f6c2064616572)
#define TIDE_LOGAPI_CLIENT UINT64_C(0x746e65696c63206c)
#define TIDE_LOGAPI_READER UINT64_C(0x726564616572206c)

#define TIDE_LOGAPI_WORDS UINT64_MAX

enum { TIDE_LOGAPI_THREADS = 32, TIDE_LOGAPI_LOOKS = 8 /* in a lease, at most */ };
enum { TIDE_LOGAPI_UNSEEN = 31, TIDE_LOGAPI_QUICK = 256 }; /* see tide_logapi_look_behind */

/* Each handle is in pages of its own, which a child process finds empty. */
struct tide_log {
    uint64_t magic;
    struct tide_logmap map;
    struct tide_lock drain; /* one at a time takes blocks out of the retire ring */
    uint64_t process;
    struct tide_region *region; /* that its memory is in; NULL: of its own */
    struct tide_crew crew;      /* the processes that have it open, of a log in a region */
    struct tide_durable durable;
    struct tide_layout_bell synced; /* for those who wait for `durable` */
    _Atomic uint32_t handles;       /* clients and readers that are open */
    _Atomic uint32_t stop;
    struct tide_lock watching;  /* guards watch */
    _Atomic uint64_t watched;   /* clock: when sessions were last looked at */
    struct tide_logapi_watch {  /* of each session, once one was looked at; with a lease */
        uint64_t expected, age; /* what waits for this one, and ns that somebody saw it do so */
        uint32_t epoch;
    } * watch;
    struct tide_lock lock; /* guards threads */
    uint32_t threads;
    struct tide_logapi_thread {
        struct tide_log *log;
        pthread_t thread;
        void *(*run)(void *);
        int cpu;
        _Atomic uint32_t began; /* 0: not yet; 1 and an errno: it did not get its processor */
    } thread[TIDE_LOGAPI_THREADS];
};

struct tide_log_client {
    uint64_t magic;
    tide_log_t *log;
    struct tide_broker broker;
    unsigned ack;        /* enum tide_log_ack */
    int64_t timeout;     /* of the append or claim that is under way */
    uint64_t end;        /* of it, once it is known */
    uint32_t generation; /* in which its last batch was committed */
    uint32_t unseen;     /* appends that need not look at leases */
    uint64_t looked;     /* clock: when one did */
};

struct tide_log_reader {
    uint64_t magic;
    tide_log_t *log;
    struct tide_sub sub;
};

/* Positions at level 0 are slot indexes less one, for index 0 does not exist. */
TIDE_INLINE uint64_t tide_logapi_shift(const struct tide_logmap *map)
{
    return map->level == 0;
}

/* What somebody waits for, and since when. */
struct tide_logapi_wait {
    tide_log_t *log; /* NULL: nobody else can have it */
    struct tide_layout_bell *bell;
    bool (*ready)(const void *); /* NULL: until others have repaired the log */
    const void *what;
    int64_t timeout;
    uint64_t end; /* 0: not known yet */
    uint32_t turns;
    uint32_t vain; /* times that it was ready, one after the other, and still waits */
};

/* Waits a little, longer each time, at last in sleep. 0: look again; -EAGAIN, -ETIMEDOUT. */
int tide_logapi_wait(struct tide_logapi_wait *wait);

void tide_logapi_wake_slow(struct tide_layout_bell *bell);

/* Something changed that those who wait at the bell look at. */
TIDE_INLINE void tide_logapi_ring(struct tide_layout_bell *bell)
{
    TIDE_FENCE_SIGNAL(); /* the sleeper's barrier does the rest */
    if (TIDE_UNLIKELY(atomic_load_explicit(&bell->sleepers, memory_order_relaxed) != 0))
        tide_logapi_wake_slow(bell);
}

TIDE_INLINE bool tide_logapi_enter(tide_log_client_t *client)
{
    return tide_crew_enter(&client->log->crew, &client->broker.entry->busy);
}

/* The same, but not while others repair the log. */
TIDE_INLINE bool tide_logapi_try(tide_log_client_t *client)
{
    return tide_crew_try(&client->log->crew, &client->broker.entry->busy);
}

TIDE_INLINE void tide_logapi_exit(tide_log_client_t *client)
{
    tide_crew_leave(&client->log->crew, &client->broker.entry->busy);
}

/* Looks now and then which sessions have waited for a batch for as long as the log's lease, and
 * ends them; the time is returned. And that, where there is a lease. */
uint64_t tide_logapi_expire(tide_log_t *log);
TIDE_INLINE uint64_t tide_logapi_lease(const tide_log_t *log)
{
    return log->map.level == 4 ? log->map.head->lease : 0;
}

TIDE_INLINE void tide_logapi_look(tide_log_t *log)
{
    if (TIDE_UNLIKELY(tide_logapi_lease(log) != 0))
        tide_logapi_expire(log);
}

/* The same behind an append. To ask for the time takes a good part of what a small one does: those
 * that follow each other quickly look now and then, slow ones each time. */
TIDE_INLINE void tide_logapi_look_behind(tide_log_client_t *client)
{
    uint64_t lease = tide_logapi_lease(client->log);
    if (TIDE_LIKELY(lease == 0 || client->unseen-- > 0))
        return;
    uint64_t now = tide_logapi_expire(client->log);
    client->unseen = now - client->looked < lease / TIDE_LOGAPI_QUICK ? TIDE_LOGAPI_UNSEEN : 0;
    client->looked = now;
}

/* Gives the blocks of the retire ring back; how many. The log itself never calls the
 * allocator: who does that registers here before the program begins. NULL: nobody. */
typedef int64_t tide_logapi_drain(tide_log_t *log);
extern tide_logapi_drain *tide_logapi_drainer;

/* Gives back blocks that wait for it. How many. */
TIDE_INLINE int64_t tide_logapi_reclaim(tide_log_t *log)
{
    if (TIDE_LIKELY(log->map.area == NULL) || tide_retire_waiting(&log->map) == 0 ||
        tide_logapi_drainer == NULL)
        return 0;
    return tide_logapi_drainer(log);
}

/* As tide_log_append_block, with a block that is known to be good and the caller's. */
int tide_logapi_append_block(tide_log_client_t *client, unsigned broker,
                             const struct tide_broker_block *block, int64_t timeout,
                             struct tide_log_at *at);

/* Notes the error for tide_log_explain, and returns it. low > high: no range; low ==
 * TIDE_LOGAPI_WORDS: no value either. */
int tide_logapi_error(int error, const char *what, uint64_t value, uint64_t low, uint64_t high);

/* The error of a call in a process that was expelled, or on a log that is damaged, or that
 * somebody repairs who stands still. */
int tide_logapi_gone(const tide_log_t *log);

/* Of a call that did not begin: the same, or -EAGAIN, for others repair the log. */
TIDE_INLINE int tide_logapi_not_now(const tide_log_t *log)
{
    return tide_crew_error(&log->crew) != 0 ? tide_logapi_gone(log) : -EAGAIN;
}

/* A zeroed handle, or NULL. */
void *tide_logapi_handle(size_t size);

TIDE_INLINE void tide_logapi_drop(void *handle, size_t size)
{
    tide_vmem_unmap(handle, tide_align_up(size, tide_vmem_page_size()));
}

/* The steps of making a log: what is asked for, a handle, the format. */
int tide_logapi_plan(struct tide_layout_head *plan, const struct tide_log_options *options);
int tide_logapi_new(tide_log_t **out);
int tide_logapi_format(tide_log_t *log, void *base, const struct tide_layout_head *plan,
                       bool zeroed);

/* Ends the use of a log that is in a region; it stays there. 0, or an error of its medium. */
int tide_logapi_leave(tide_log_t *log);

/* Waits until the batch, which went to this broker, is acknowledged as the client asks for. A
 * repair meanwhile may have given it another place: *result says so. */
int tide_logapi_ack(tide_log_client_t *client, struct tide_broker_result *result, uint32_t broker);

#endif
