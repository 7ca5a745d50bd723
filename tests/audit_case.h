/*
 * audit_case.h - what the tests and the fuzzer of peek and audit share: logs that were really
 * used, as images, and a look at all that is in one.
 */
#ifndef TESTS_AUDIT_CASE_H
#define TESTS_AUDIT_CASE_H

#include <stdlib.h>
#include <string.h>

#include <tidepool/log.h>

#include "box/audit.h"
#include "box/logapi.h"

#define AUDIT_MUST(cond)                                                                           \
    do {                                                                                           \
        if (!(cond))                                                                               \
            abort();                                                                               \
    } while (0)

enum { AUDIT_FIRST = 1000 };

/* A log that went through several laps: batches of several messages, aborted claims, some that
 * are read and given up, some that are kept; at level 4 one that waits. */
struct audit_log {
    tide_log_t *log;
    tide_log_client_t *client[2];
    tide_log_reader_t *reader;
};

static inline void audit_append(struct audit_log *self, unsigned i, unsigned brokers)
{
    static const char text[] = "the quick brown fox jumps over the lazy dog";
    struct tide_log_message message[3];
    struct tide_log_claim claim;
    unsigned broker = i * 7 / 3 % brokers;
    tide_log_client_t *client = self->client[i % 2];
    for (unsigned m = 0; m < 3; m++)
        message[m] = (struct tide_log_message){text, (i * 5 + m * 11) % 44, i + m};
    if (i % 9 == 4) {
        AUDIT_MUST(tide_log_claim(client, broker, 100, TIDE_LOG_TRY, &claim) == 0);
        AUDIT_MUST(tide_log_abort(&claim) == 0);
    }
    AUDIT_MUST(tide_log_append_batch(client, broker, message, i % 3 + 1, TIDE_LOG_TRY, NULL) == 0);
    tide_log_poll(self->log);
}

static inline void audit_read(struct audit_log *self, unsigned level)
{
    struct tide_log_batch batch;
    if (level != 0) {
        while (tide_log_read(self->reader, &batch, 1, TIDE_LOG_TRY) == 1)
            ;
        tide_log_done(self->reader);
        AUDIT_MUST(tide_log_trim(self->log, 0, batch.position, NULL) == 0);
    }
    for (unsigned i = 0; level == 0 && i < self->log->map.brokers; i++)
        AUDIT_MUST(tide_log_trim(self->log, i, UINT64_MAX, NULL) == 0);
}

static inline void audit_open_log(struct audit_log *self, struct tide_log_options options)
{
    struct tide_log_client_options who = {.id = 0};
    struct tide_log_reader_options how = {TIDE_LOG_GATE, TIDE_LOG_EARLIEST, 0, 1};
    options.first = AUDIT_FIRST;
    options.retain = TIDE_LOG_KEEP_ALL;
    AUDIT_MUST(tide_log_create(&self->log, &options) == 0);
    AUDIT_MUST(tide_log_client_open(&self->client[0], self->log, &who) == 0);
    who.id = 1;
    AUDIT_MUST(tide_log_client_open(&self->client[1], self->log, &who) == 0);
    self->reader = NULL;
    if (options.level != 0)
        AUDIT_MUST(tide_log_reader_open(&self->reader, self->log, &how) == 0);
}

static inline void audit_use_log(struct audit_log *self, struct tide_log_options options)
{
    audit_open_log(self, options);
    for (unsigned i = 0; i < 61; i++) {
        audit_append(self, i, self->log->map.brokers);
        if (i % 6 == 5 && i < 54)
            audit_read(self, options.level);
    }
    if (options.level == 4) { /* ahead of its turn */
        AUDIT_MUST(tide_log_set_number(self->client[1], 32) == 0);
        AUDIT_MUST(tide_log_append(self->client[1], 0, "early", 5, TIDE_LOG_TRY, NULL) == 0);
        tide_log_poll(self->log);
    }
    tide_log_committed(self->log); /* the word of the head goes up to the end */
}

static inline void audit_close_log(struct audit_log *self)
{
    tide_log_reader_close(self->reader);
    tide_log_client_close(self->client[0]);
    tide_log_client_close(self->client[1]);
    AUDIT_MUST(tide_log_close(self->log) == 0);
}

/* The memory of such a log, in a block of exactly its size. */
static inline unsigned char *audit_image(struct tide_log_options options, size_t *size)
{
    struct audit_log log;
    audit_use_log(&log, options);
    *size = log.log->map.size;
    unsigned char *image = aligned_alloc(4096, *size);
    AUDIT_MUST(image != NULL);
    memcpy(image, log.log->map.base, *size);
    audit_close_log(&log);
    return image;
}

static inline void audit_no_tell(void *who, const struct tide_audit_finding *finding)
{
    (void)who;
    AUDIT_MUST(finding->word != NULL && finding->what != NULL);
}

/* Goes over all that can be looked at. Returns how many batches were whole. */
static inline uint64_t audit_look(const struct tide_peek *peek)
{
    const struct tide_logmap *map = &peek->map;
    struct tide_layout_entry entry;
    struct tide_layout_slot slot;
    struct tide_peek_head head;
    struct tide_peek_broker broker;
    uint64_t whole = 0;
    tide_peek_head(peek, &head);
    for (uint32_t b = 0; b < map->brokers; b++) {
        tide_peek_broker(peek, b, &broker);
        for (uint64_t i = 0; i < 2 * map->slots.size; i++)
            tide_peek_slot(peek, b, broker.released + i, &slot);
        if (b > 0 && map->level != 0)
            continue;
        uint64_t at = tide_peek_earliest(peek, b), end = tide_peek_end(peek, b);
        end = end - at > map->brokers * map->slots.size ? at : end; /* somebody writes there */
        for (; at != end; at++) {
            if (tide_peek_batch(peek, b, at, &entry) != TIDE_PEEK_THERE ||
                (entry.flags & TIDE_LAYOUT_PAD) != 0 || !tide_peek_inside(peek, &entry))
                continue;
            unsigned char *copy = malloc(entry.size);
            whole += tide_peek_payload(peek, b, at, &entry, copy) == TIDE_PEEK_THERE;
            free(copy);
        }
    }
    return whole;
}

#endif
