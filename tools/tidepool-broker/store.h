/*
 * store.h - the log, as this program uses it: messages go in one at a time or many as one
 * batch, stay where they are until they are given up, and are found by their address.
 *
 * One store per process, one thread. The log gives nothing up by itself (it keeps all until it
 * is trimmed), so an address that a claim or a reader gave is good until store_trim.
 */
#ifndef BROKER_STORE_H
#define BROKER_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <tidepool/log.h>
#include <tidepool/region.h>

struct store_options {
    const char *source; /* of tidepool/region.h; "anon": no region */
    bool replace;       /* what is there already is lost */
    bool durable;       /* what was acknowledged is on the medium */
    unsigned level;     /* 4 or 5; 0: that of the log that is there, or 5 */
    unsigned brokers;   /* rings of the log */
    unsigned sessions;  /* level 4: clients that append at once */
    uint64_t payload;   /* bytes of each ring */
    uint64_t slots;     /* batches of each ring */
};

/* A batch that is being written. */
struct store_batch {
    struct tide_log_claim claim;
    uint64_t next; /* number that the next message gets */
};

/* What a message is known by. */
struct store_seen {
    const void *data;
    size_t size;
    uint64_t tag, number, place;
};

/* Opens the log that is in the source, or makes one. The options become what it has. False,
 * with the reason in error: no log. */
bool store_open(struct store_options *options, char *error, size_t len);
void store_close(void);

/* Level 4: a session of its own for somebody who appends; NULL: all are taken. Level 5: the
 * one client of all. */
tide_log_client_t *store_join(void);
void store_leave(tide_log_client_t *client);

/* The ring for what has this hash. */
unsigned store_ring(uint64_t hash);

/* A batch of `bytes` (TIDE_LOG_ROOM of each message). 0, -EAGAIN: full, -EMSGSIZE. */
int store_begin(struct store_batch *batch, tide_log_client_t *client, unsigned ring, size_t bytes);

/* Where its next message will be, and room for it. */
const void *store_spot(const struct store_batch *batch);
void *store_put(struct store_batch *batch, size_t size, uint64_t tag);

/* Puts it in its place, or nowhere if it has no message. *place: its position. */
int store_end(struct store_batch *batch, uint64_t *place);

/* Number that the next message gets. */
uint64_t store_next(void);

/* Gives up all in front of this position. */
void store_trim(uint64_t place);

/* The position behind all. */
uint64_t store_top(void);

/* Positions below this one are on the medium; store_sync puts all there that is committed, and
 * may be called by another thread. store_lasts: there is a medium at all. */
uint64_t store_durable(void);
int store_sync(void);
bool store_lasts(void);

/* Level 5, and nobody but this process can have the log, which ends with it. */
bool store_private(void);

/* Where acknowledged entries were written again: so are these, before the old ones go. */
void store_settle(void);

/* Goes through all that the log has, oldest first; the data stays. False: damaged, see error. */
bool store_walk(bool (*each)(const struct store_seen *seen, void *with), void *with, char *error,
                size_t len);

/* The same as long as `each` says so, from the oldest on. What is appended meanwhile may be seen,
 * too; nothing is given up. */
void store_visit(bool (*each)(const struct store_seen *seen, void *with), void *with);

/* The oldest position. */
uint64_t store_earliest(void);

/* Short forms of positions and addresses, and back. */
uint32_t store_short(uint64_t place);
uint64_t store_place(uint32_t place);
int32_t store_cell(const void *data);
const void *store_data(int32_t cell);

/* How full the ring is, in parts of a thousand: payload or slots, whichever is more. */
unsigned store_full(unsigned ring);

struct tide_log_stat store_stat(void);
uint64_t store_used(void);

/* The largest message. */
size_t store_most(void);

#endif
