/*
 * write.h - commands that write: XADD, XTRIM, DEL; and XDEL, which is refused.
 *
 * XADDs are put off: those that come in one turn of the loop become one batch of the log, and
 * are answered when the turn ends, or when another command comes behind them.
 */
#ifndef BROKER_WRITE_H
#define BROKER_WRITE_H

#include "command.h"

void write_add(struct conn *conn, const struct request *request);
void write_trim(struct conn *conn, const struct request *request);
void write_del(struct conn *conn, const struct request *request);
void write_xdel(struct conn *conn, const struct request *request);

/* All that was put off is in the log; this connection's answers stand in server.out. */
void write_settle(struct conn *conn);

/* The turn ends: the same, and all answers are sent. False: nothing was put off. */
bool write_finish(void);

/* The connection goes away. */
void write_forget(struct conn *conn);

#endif
