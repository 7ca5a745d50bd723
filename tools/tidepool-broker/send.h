/*
 * send.h - replies on their way out: what the peer does not take at once is copied and waits in
 * the connection's queue, in order.
 *
 * A client may say all that it has to say before it reads an answer. So requests are run on
 * while replies wait, but only so far: up to --max-output bytes of one connection, and as long
 * as all buffers together are below half of --max-buffers. Beyond that a connection is not read
 * from until its peer takes what there is; who needs more than --max-buffers is disconnected.
 */
#ifndef BROKER_SEND_H
#define BROKER_SEND_H

#include "conn.h"

/* Sends what server.out has, or keeps it, and empties that. False: the connection broke, or
 * there is no room. */
bool send_out(struct conn *conn);

/* One request more may be run, and read. */
bool send_room(const struct conn *conn);

/* So much is waiting, of all connections, that who has replies waiting is not read from; it is
 * over. */
bool send_crowded(void);
bool send_relaxed(void);

/* The connection goes away. */
void send_forget(struct conn *conn);

#endif
