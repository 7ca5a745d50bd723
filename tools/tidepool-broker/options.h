/*
 * options.h - the command line.
 */
#ifndef BROKER_OPTIONS_H
#define BROKER_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "store.h"

enum { OPTIONS_LISTEN = 16 };

struct options {
    const char *listen[OPTIONS_LISTEN]; /* numeric addresses */
    unsigned listens;
    int port; /* 0: no TCP; -1: any that is free */
    const char *unix_path, *pidfile;
    struct store_options store;
    uint64_t max_connections, max_message, max_output, max_buffers;
    uint64_t idle; /* seconds; 0: for ever */
    uint64_t spin; /* microseconds; 0: never */
};

/* 0: go on; 1: what was asked for was said, end with 0; 2: usage, said on stderr. */
int options_read(struct options *options, int argc, char **argv);

/* The rows of CONFIG GET: name and value of number `row`; false: no such row. */
bool options_row(const struct options *options, unsigned row, const char **name, char *value,
                 unsigned len);

#endif
