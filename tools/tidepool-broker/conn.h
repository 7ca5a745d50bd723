/*
 * conn.h - connections: bytes in, a turn, bytes out.
 *
 * A turn takes the requests that are complete and runs them. It ends early when the peer waits
 * for entries, or has left as many replies waiting as it may (send.h): then nothing more is read
 * from it. So what a connection holds is bounded by one request, --max-output and what a turn
 * makes.
 */
#ifndef BROKER_CONN_H
#define BROKER_CONN_H

#include <tidepool/log.h>

#include "resp.h"
#include "server.h"

struct wait;
struct send_block;

struct conn {
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } uv;
    uv_timer_t timer; /* of the wait */
    struct conn *next, *prev;
    uint64_t id, active; /* when it last said something, in the loop's milliseconds */
    char *in;            /* the beginning of a request */
    size_t in_size, in_room;
    struct resp_scan scan;
    size_t pending;                        /* bytes that the peer has not taken yet */
    struct send_block *queue, *queue_last; /* they are here, but for what is being sent */
    tide_log_client_t *client;
    struct wait *wait; /* it is blocked */
    char *name;        /* CLIENT SETNAME */
    uint64_t wants;    /* with --ack durable: replies wait until positions below are durable */
    struct conn *held_next, *paused_next;
    bool sending;                /* the loop has a block of them */
    bool held;                   /* the queue waits for a sync */
    bool full;                   /* the next reply is too large to wait behind those that do */
    bool paused, retry;          /* until the turn ends; then it runs what it has already said */
    bool reading, closing, last; /* last: no requests any more, close when all is out */
    unsigned char handles;       /* that are not closed yet */
};

/* Takes the next connection of this listener. */
void conn_accept(uv_stream_t *listener, bool tcp);

/* Sends what server.out has. */
void conn_flush(struct conn *conn);

/* The same when its turn is over. */
void conn_reply(struct conn *conn);

/* The turn of all that had something to say ends: appends that were put off are made and
 * answered, and those served who wait for them. After reading it is called by the loop. */
void conn_end_turn(void);

/* The same by the loop, when all that could be read in this turn was read. */
void conn_next_turn(void);

/* It appended: its replies may have to wait. */
void conn_appended(struct conn *conn);

/* Goes on with requests that came while it was blocked or did not take its replies. */
void conn_resume(struct conn *conn);

/* The same in conn_next_turn. */
void conn_retry(struct conn *conn);

/* Its peer took a block of its replies; good: the connection is whole. */
void conn_sent(struct conn *conn, bool good);

void conn_close(struct conn *conn);
void conn_close_all(void);

/* Closes those that said nothing for so long. */
void conn_sweep(uint64_t idle_ms);

#endif
