/*
 * conn.h - connections: bytes in, a turn, bytes out.
 *
 * A turn takes the requests that are complete and runs them. It ends early when the peer does
 * not take its replies, or waits for entries: then nothing more is read from it. So what a
 * connection holds is bounded by one request, one reply and what a turn makes.
 */
#ifndef BROKER_CONN_H
#define BROKER_CONN_H

#include <tidepool/log.h>

#include "resp.h"
#include "server.h"

struct wait;
struct conn_block;

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
    size_t pending; /* bytes that the peer has not taken yet */
    tide_log_client_t *client;
    struct wait *wait; /* it is blocked */
    char *name;        /* CLIENT SETNAME */
    uint64_t wants;    /* with --ack durable: replies wait until positions below are durable */
    struct conn_block *held; /* they are here */
    struct conn *held_next;
    bool reading, closing, last; /* last: no requests any more, close when all is out */
    unsigned char handles;       /* that are not closed yet */
};

/* Takes the next connection of this listener. */
void conn_accept(uv_stream_t *listener, bool tcp);

/* Sends what server.out has. */
void conn_flush(struct conn *conn);

/* It appended: its replies may have to wait. */
void conn_appended(struct conn *conn);

/* Goes on with requests that came while it was blocked or did not take its replies. */
void conn_resume(struct conn *conn);

void conn_close(struct conn *conn);
void conn_close_all(void);

/* Closes those that said nothing for so long. */
void conn_sweep(uint64_t idle_ms);

#endif
