/*
 * server.h - what the parts of the program share: its options, its figures, its loop.
 */
#ifndef BROKER_SERVER_H
#define BROKER_SERVER_H

#include <uv.h>

#include "options.h"
#include "out.h"
#include "spin.h"

struct server {
    struct options is;
    uv_loop_t *loop;
    struct out out; /* replies of the connection whose turn it is */
    struct spin spin;
    uint64_t started;
    uint64_t commands, errors, bytes_in, bytes_out, flushes;
    uint64_t accepted, refused, closed_buffers, closed_idle, closed_protocol;
    uint64_t connections, blocked;
    uint64_t buffers; /* bytes of requests and replies that wait */
    int port;         /* the real one; 0: none */
};
extern struct server server;

/* Milliseconds since 1970. */
uint64_t server_clock(void);

/* A line on stderr. */
void server_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Ends the program with status 0, as SIGTERM does. */
void server_stop(void);

#endif
