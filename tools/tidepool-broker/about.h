/*
 * about.h - commands about the server and the connection.
 */
#ifndef BROKER_ABOUT_H
#define BROKER_ABOUT_H

#include "command.h"

void about_ping(struct conn *conn, const struct request *request);
void about_echo(struct conn *conn, const struct request *request);
void about_hello(struct conn *conn, const struct request *request);
void about_client(struct conn *conn, const struct request *request);
void about_command(struct conn *conn, const struct request *request);
void about_info(struct conn *conn, const struct request *request);
void about_config(struct conn *conn, const struct request *request);
void about_quit(struct conn *conn, const struct request *request);
void about_shutdown(struct conn *conn, const struct request *request);

#endif
