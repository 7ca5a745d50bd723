/*
 * write.h - commands that write: XADD, XTRIM, DEL; and XDEL, which is refused.
 *
 * XADDs that come together for one ring of the log become one batch of it.
 */
#ifndef BROKER_WRITE_H
#define BROKER_WRITE_H

#include "command.h"

void write_add(struct conn *conn, const struct request *request);
void write_trim(struct conn *conn, const struct request *request);
void write_del(struct conn *conn, const struct request *request);
void write_xdel(struct conn *conn, const struct request *request);

/* Appends what was put off, and replies. */
void write_end(struct conn *conn);

#endif
