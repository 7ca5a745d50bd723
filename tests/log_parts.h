/*
 * log_parts.h - a log in lanes in a file, that several handles, as of several hosts, have.
 */
#ifndef TESTS_LOG_PARTS_H
#define TESTS_LOG_PARTS_H

#include "region_case.h"

#include <tidepool/log.h>

enum { NODES = 4 };

#define SECOND INT64_C(1000000000)
#define PATIENCE (100 * SECOND)

/* What each process may do to the log's region. */
struct part {
    tide_region_t *region;
    tide_log_t *log;
    tide_log_client_t *client;
    tide_log_reader_t *reader;
};

static char text[300]; /* of the region */

static inline struct tide_log_options options(unsigned level, uint64_t lease)
{
    return (struct tide_log_options){.level = level,
                                     .brokers = 2,
                                     .clients = 2 * NODES,
                                     .readers = NODES,
                                     .slots = 16,
                                     .payload = 16 << 10,
                                     .sequencing = TIDE_LOG_STEPPED,
                                     .checksum = 1,
                                     .coherence = TIDE_LOG_NONCOHERENT,
                                     .nodes = NODES,
                                     .lease = lease};
}

static inline void name_file(void)
{
    snprintf(text, sizeof text, "file:%s/hosts", unit_disk);
}

/* A log in a file, with a sequencer of its own thread. */
static inline struct part made(struct tide_log_options o)
{
    struct part part = {NULL, NULL, NULL, NULL};
    name_file();
    part.region = region_made(text, REGION_SIZE, 0);
    ck_assert_int_eq(tide_log_create_on(&part.log, part.region, &o), 0);
    ck_assert_int_eq(tide_log_start(part.log, -1), 0);
    return part;
}

static inline int attach(struct part *part, unsigned node, unsigned sequence, int64_t timeout)
{
    struct tide_log_role role = {node, sequence};
    *part = (struct part){NULL, NULL, NULL, NULL};
    part->region = region_opened(text);
    int error = tide_log_attach(&part->log, part->region, &role, timeout);
    if (error != 0)
        UNIT_NEED(tide_region_close(part->region) == 0);
    return error;
}

static inline void leave(struct part *part)
{
    UNIT_NEED(tide_log_client_close(part->client) == 0);
    UNIT_NEED(tide_log_reader_close(part->reader) == 0);
    UNIT_NEED(tide_log_close(part->log) == 0);
    UNIT_NEED(tide_region_close(part->region) == 0);
}

/* The first client, or the second one, of a node. */
static inline int open_client(struct part *part, unsigned id, unsigned ack)
{
    struct tide_log_client_options who = {.id = id, .ack = ack};
    return tide_log_client_open(&part->client, part->log, &who);
}

static inline int send(const struct part *part, unsigned broker, uint64_t value)
{
    return tide_log_append(part->client, broker, &value, sizeof value, PATIENCE, NULL);
}

static inline uint64_t next(const struct part *part, int64_t timeout)
{
    struct tide_log_batch batch;
    uint64_t value = UINT64_MAX;
    size_t at = 0;
    if (tide_log_read(part->reader, &batch, 1, timeout) == 1)
        memcpy(&value, tide_log_next(&batch, &at) + 1, sizeof value);
    return value;
}

static inline const char *words(void)
{
    static char line[256];
    tide_log_explain(line, sizeof line);
    return line;
}

#endif
