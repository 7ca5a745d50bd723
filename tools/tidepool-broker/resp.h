/*
 * resp.h - requests of the Redis protocol, version 2, taken apart. Pure: no memory but the
 * caller's arguments, no input and output.
 *
 * A request is an array of bulk strings (*2\r\n$4\r\nECHO\r\n$2\r\nhi\r\n), or a line of words
 * that somebody typed, with quotes as Redis takes them ("\x00 \n \"", 'it\'s'). Numbers have
 * one form only, without signs and leading zeroes, so the bytes of a run of arguments can be
 * kept as they came and sent to others later.
 */
#ifndef BROKER_RESP_H
#define BROKER_RESP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RESP_ARGS_MAX = 1 << 20, RESP_LINE_MAX = 64 << 10, RESP_ERROR_MAX = 128 };

/* Where an argument is, from resp_base of its request. */
struct resp_arg {
    uint32_t at, size;
};

/* The arguments of one request; `arg` and `typed` grow by realloc and are freed by resp_free. */
struct resp_args {
    struct resp_arg *arg;
    uint32_t count, room;
    uint32_t typed_room;
    char *typed; /* the words of a line, without quotes, one behind the other */
    bool line;   /* typed: the request has not the form of an array */
};

/* From where the arguments of the request in `data` are told. */
static inline const char *resp_base(const struct resp_args *args, const char *data)
{
    return args->line ? args->typed : data;
}

void resp_free(struct resp_args *args);

/* How far a request was read that is not complete yet. All zero at the beginning of one. */
struct resp_scan {
    uint32_t want, got; /* arguments announced and seen */
    uint32_t at;        /* where the next one begins */
    uint32_t need;      /* bytes that the request has at least */
};

enum resp_result {
    RESP_MORE = 0, /* not complete */
    RESP_REQUEST,  /* complete; no arguments: nothing to do */
    RESP_BAD,      /* no request: error says why */
    RESP_MEMORY    /* no memory for the arguments */
};

/* Takes the request at the beginning of data apart, of at most `most` bytes; its size goes to
 * *used. After RESP_MORE call again with the same scan and more data, whose beginning is the
 * same; it may have moved. */
enum resp_result resp_next(struct resp_scan *scan, struct resp_args *args, const char *data,
                           size_t len, uint32_t most, size_t *used, char error[RESP_ERROR_MAX]);

/* A decimal number in its only form: false if it is none, or outside of low..high. */
bool resp_number(const char *text, size_t len, int64_t low, int64_t high, int64_t *number);

#endif
