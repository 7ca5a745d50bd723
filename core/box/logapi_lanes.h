/*
 * logapi_lanes.h - the public calls for logs in memory that is not coherent.
 *
 * owns:      the handles of such logs, the bell that their sleepers share
 * threads:   as log.h says
 * invariant: a handle's magic tells such a log from others; nothing that several threads change
 *            is in the log's memory
 * uses:      lane, lanesub, lanecrew, logroom, medium, owner, park, vmem, file, clock
 * used by:   logapi
 * not here:  what the log does (the boxes above)
 * test:      tests/test_loglanes.c
 */
#ifndef TIDE_BOX_LOGAPI_LANES_H
#define TIDE_BOX_LOGAPI_LANES_H

#include "box/lane.h"
#include "box/lanecrew.h"
#include "box/lanesub.h"
#include "box/logapi.h"

#define TIDE_LOGAPI_LANES UINT64_C(0x736e616c20646172)
#define TIDE_LOGAPI_LANE_CLIENT UINT64_C(0x6e61696c63206c6e)
#define TIDE_LOGAPI_LANE_READER UINT64_C(0x7264616572206c6e)

/* How long an answer of the sequencer may take, in ns: 10 s, but for tests. */
extern int64_t tide_logapi_lane_patience;

/* The calls for logs in memory that is not coherent: each public call that finds the handle of
 * such a log goes on here. What is not in the tables is -ENOTSUP. */
struct tide_logapi_lanes {
    int64_t (*poll)(tide_log_t *log);
    void *(*run)(void *thread); /* of tide_log_start */
    uint64_t (*committed)(tide_log_t *log);
    int (*wait_committed)(tide_log_t *log, uint64_t position, int64_t timeout);
    int (*trim)(tide_log_t *log, uint64_t position, uint64_t *earliest);
    int (*stat)(tide_log_t *log, struct tide_log_stat *out);
    int (*expel)(tide_log_t *log, uint64_t node);
};
extern const struct tide_logapi_lanes tide_logapi_lanes;

/* Those that make handles of such logs, and end them. */
struct tide_logapi_parts {
    /* `region` NULL: in memory of its own. */
    int (*create)(tide_log_t **out, struct tide_region *region,
                  const struct tide_log_options *options);
    /* As the room's owner, who found that it is such a log. */
    int (*open)(tide_log_t **out, struct tide_region *region);
    int (*attach)(tide_log_t **out, struct tide_region *region, const struct tide_log_role *role,
                  int64_t timeout);
    int64_t (*size)(const struct tide_log_options *options);
    int (*close)(tide_log_t *log);
    /* As the owner of a room that nobody has open: nobody of other hosts has the log either, and
     * nobody finds it from now on. 0, or -EBUSY. With the room cleared, others are told. */
    int (*remove)(struct tide_region *region);
    void (*tell)(const struct tide_region *region);
};
extern const struct tide_logapi_parts tide_logapi_parts;

/* Those of clients and readers. */
struct tide_logapi_ends {
    int (*client_open)(tide_log_client_t **out, tide_log_t *log,
                       const struct tide_log_client_options *options);
    int (*client_close)(tide_log_client_t *client);
    int (*number)(tide_log_client_t *client, uint64_t number);
    int (*acked)(tide_log_client_t *client, uint64_t *expected);
    int (*flush)(tide_log_client_t *client);
    int (*claim)(tide_log_client_t *client, unsigned broker, size_t bytes, int64_t timeout,
                 unsigned char **data);
    const unsigned char *(*claimed)(const tide_log_client_t *client); /* NULL: no claim is out */
    /* `past`: bytes at the front that were written past the caches. */
    int (*commit)(tide_log_client_t *client, uint32_t count, uint32_t size, uint32_t past,
                  struct tide_log_at *at);
    int (*abort)(tide_log_client_t *client);
    int (*reader_open)(tide_log_reader_t **out, tide_log_t *log,
                       const struct tide_log_reader_options *options);
    int (*reader_close)(tide_log_reader_t *reader);
    int (*read)(tide_log_reader_t *reader, struct tide_log_batch *batches, int most,
                int64_t timeout);
    int (*done)(tide_log_reader_t *reader);
};
extern const struct tide_logapi_ends tide_logapi_ends;

/* A handle that begins with this magic. */
TIDE_INLINE bool tide_logapi_is(const void *handle, uint64_t magic)
{
    return handle != NULL && *(const uint64_t *)handle == magic;
}

/* The options of a log in memory that is not coherent. */
TIDE_INLINE bool tide_logapi_is_apart(const struct tide_log_options *options)
{
    return options != NULL && options->coherence == TIDE_LOG_NONCOHERENT;
}

/* What a log in memory that is not coherent has not. */
TIDE_INLINE int tide_logapi_lanes_not(void)
{
    return tide_logapi_error(-ENOTSUP, "not for a log in memory that is not coherent", 0,
                             TIDE_LOGAPI_WORDS, 0);
}

/* All that is not in the log's memory: that has one writer per line, and no bells. */
struct tide_logapi_lanelog {
    struct tide_log log;
    struct tide_lanes map;
    struct tide_laneseq seq; /* this, and crew: of the sequencer */
    struct tide_lanecrew crew;
    struct tide_lanecrew_node node;
    struct tide_lock step;  /* guards seq and crew */
    struct tide_lock pulse; /* guards node */
    _Atomic uint64_t calls; /* raised when there may be something for the sequencer */
    _Atomic bool leads;     /* the sequencer is here */
    _Atomic bool gone;      /* the node is not this process's any more */
    bool sequenced;         /* seq and crew are there */
    bool roomed;            /* it is in the room's table of processes */
    struct tide_layout_bell work, data;
    unsigned char *taken; /* of clients, then of readers: a handle has it; under log.lock */
    size_t taken_bytes;
};

TIDE_INLINE struct tide_logapi_lanelog *tide_logapi_lanelog(tide_log_t *log)
{
    return (struct tide_logapi_lanelog *)(void *)log;
}

/* What somebody waits for, and how long. */
struct tide_logapi_patience {
    struct tide_logapi_lanelog *log;
    struct tide_logapi_wait wait;
    int64_t timeout;
    uint64_t end;
};

TIDE_INLINE struct tide_logapi_patience tide_logapi_patience(struct tide_logapi_lanelog *log,
                                                             struct tide_layout_bell *bell,
                                                             bool (*ready)(const void *),
                                                             const void *what, int64_t timeout)
{
    return (struct tide_logapi_patience){
        .log = log, .wait = {.bell = bell, .ready = ready, .what = what}, .timeout = timeout};
}

/* Waits a little. 0: look again; -EAGAIN, -ETIMEDOUT; -ESTALE: as tide_logapi_lane_beat. */
int tide_logapi_lane_wait(struct tide_logapi_patience *self);

/* Something changed that the sequencer looks at. */
void tide_logapi_lane_call(struct tide_logapi_lanelog *self);

/* The error `error` in these words, unless it is -ESTALE, which was told already. */
TIDE_INLINE int tide_logapi_lane_error(int error, const char *what, uint64_t value)
{
    return error == -ESTALE ? error : tide_logapi_error(error, what, value, 1, 0);
}

/* 0, or -ESTALE when this process has lost its node, as it was an eighth of a lease ago at most, or
 * is at this moment. Tells others then that it lives. */
int tide_logapi_lane_live(struct tide_logapi_lanelog *self, bool at_once);

/* Before others' memory is written, or read. */
TIDE_INLINE int tide_logapi_lane_beat(struct tide_logapi_lanelog *self)
{
    return tide_logapi_lane_live(self, false);
}

/* May clients of this log ask for such acknowledgements (enum tide_log_ack)? 0 or an error. */
int tide_logapi_check_ack(const tide_log_t *log, unsigned ack);

/* Forgets what tide_logapi_expire noted. */
void tide_logapi_unwatch(tide_log_t *log);

/* The time that is left of a time-out; *end: when it is over, 0 before the first call. */
int64_t tide_logapi_left(uint64_t *end, int64_t timeout);

/* Becomes the room's owner. Whoever is it will not be for long. And the same, if nobody has the
 * log open. */
int tide_logapi_hold(struct tide_region *region);
int tide_logapi_take(struct tide_region *region);

/* The error of a log that a process of another machine has, or had. */
int tide_logapi_foreign(uint32_t pid);

/* The owner finds that there is no log, and room for one of so many bytes. */
int tide_logapi_lend(struct tide_region *region, uint64_t size, uint64_t *at);

/* One step of the sequencer, unless it is not here, or somebody else is at it. */
uint64_t tide_logapi_lane_step(struct tide_logapi_lanelog *self);

/* A word of the sequencer's, as it is now. */
uint64_t tide_logapi_lane_word(struct tide_logapi_lanelog *self, const _Atomic uint64_t *word);

#endif
