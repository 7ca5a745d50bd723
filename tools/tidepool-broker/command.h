/*
 * command.h - which commands there are, and running one.
 */
#ifndef BROKER_COMMAND_H
#define BROKER_COMMAND_H

#include "conn.h"

struct text {
    const char *at;
    size_t size;
};

/* A request that is complete. */
struct request {
    const struct resp_args *args;
    const char *data;
    size_t size;
};

static inline struct text request_arg(const struct request *request, uint32_t i)
{
    const struct resp_arg *arg = &request->args->arg[i];
    return (struct text){resp_base(request->args, request->data) + arg->at, arg->size};
}

static inline uint32_t request_count(const struct request *request)
{
    return request->args->count;
}

/* A row of the table. */
struct command {
    const char *name; /* small letters */
    int arity;
    const char *flags;
    int first, last, step; /* arguments that are keys */
    void (*run)(struct conn *conn, const struct request *request);
};
const struct command *command_row(unsigned row); /* NULL behind the last one */
const struct command *command_find(struct text name);

/* The word, in any case of letters; `word` is small letters. */
bool text_is(struct text text, const char *word);

/* The number of an argument, or an error is replied. */
bool text_number(struct text text, int64_t *number);

/* An error reply; it is counted. */
void command_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void command_syntax(void);

/* Runs it. Appends are put off, see write.h. False: its reply is too large to wait behind those
 * that do (--max-output); it is to be run again when they are gone. */
bool command_run(struct conn *conn, const struct resp_args *args, const char *data, size_t size);

#endif
