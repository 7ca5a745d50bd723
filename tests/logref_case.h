/*
 * logref_case.h - what the tests of append by reference share: a region, a log in it, a heap
 * on it, and blocks whose messages tell whose they are.
 */
#ifndef TESTS_LOGREF_CASE_H
#define TESTS_LOGREF_CASE_H

#include "region_case.h"

#include <tidepool/log.h>

#include "box/logapi.h"

static tide_region_t *region;
static tide_heap_t *heap;
static tide_log_t *log_;
static tide_log_client_t *client;
static tide_log_reader_t *reader;

/* A log of some hundred KiB. */
static inline struct tide_log_options logref_options(unsigned level)
{
    struct tide_log_options options = TIDE_LOG_OPTIONS;
    options.level = level;
    options.lease = TIDE_LOG_NO_LEASE; /* who is slow, or stopped, is not to be told so */
    options.brokers = 2;
    options.slots = level == 4 ? 64 : 16; /* early batches may take an eighth */
    options.payload = 64 << 10;
    return options;
}

static inline void logref_start(const char *source, size_t size, struct tide_log_options options)
{
    region = region_made(source, size, 0);
    heap = tide_heap_create_on(region);
    UNIT_NEED(heap != NULL);
    UNIT_NEED(tide_log_create_on(&log_, region, &options) == 0);
    UNIT_NEED(tide_log_client_open(&client, log_, NULL) == 0);
}

/* All that is left in the log goes home; then heap and log go, and the region is free. */
static inline void logref_finish(void)
{
    UNIT_NEED(tide_log_client_close(client) == 0);
    for (unsigned i = 0; i < log_->map.brokers; i++)
        UNIT_NEED(tide_log_trim(log_, i, UINT64_MAX, NULL) == 0);
    UNIT_NEED(tide_log_close(log_) == 0);
    UNIT_NEED(tide_log_remove(region) == 0);
    tide_heap_destroy(heap);
    struct tide_region_info info = region_told(region);
    ck_assert_uint_eq(info.free_bytes, info.capacity);
    ck_assert_int_eq(tide_region_close(region), 0);
}

static inline void logref_says(const char *want)
{
    char text[256];
    tide_log_explain(text, sizeof text);
    if (strstr(text, want) == NULL)
        ck_abort_msg("said: %s, and not: %s", text, want);
}

static inline struct tide_log_stat logref_stat(void)
{
    struct tide_log_stat stat;
    UNIT_NEED(tide_log_stat(log_, &stat) == 0);
    return stat;
}

/* A block of one message, all bytes of which are made of its number. */
static inline void *logref_block(tide_heap_t *from, size_t size, unsigned number)
{
    void *block = tide_log_block(from, size, number);
    if (block != NULL)
        memset(TIDE_LOG_BODY(block), (int)(number % 251), size);
    return block;
}

static inline int logref_append(void *block, size_t size, unsigned broker)
{
    return tide_log_append_block(client, broker, block, TIDE_LOG_ROOM(size), TIDE_LOG_TRY, NULL);
}

/* One message of that size and number, whole. */
static inline bool logref_is_right(const struct tide_log_batch *batch, size_t size)
{
    size_t at = 0;
    const struct tide_log_frame *frame = tide_log_next(batch, &at);
    if (batch->count != 1 || frame == NULL || frame->length != size || at != batch->size)
        return false;
    const unsigned char *body = (const unsigned char *)(frame + 1);
    for (size_t i = 0; i < size; i++)
        if (body[i] != frame->tag % 251)
            return false;
    return true;
}

static inline void logref_read_as(unsigned policy)
{
    struct tide_log_reader_options options = {.policy = policy};
    UNIT_NEED(tide_log_reader_open(&reader, log_, &options) == 0);
}

static inline struct tide_log_batch logref_read_one(void)
{
    struct tide_log_batch batch;
    tide_log_poll(log_);
    UNIT_NEED(tide_log_read(reader, &batch, 1, TIDE_LOG_TRY) == 1);
    return batch;
}

static inline void logref_read_nothing(void)
{
    struct tide_log_batch batch;
    tide_log_poll(log_);
    ck_assert_int_eq(tide_log_read(reader, &batch, 1, TIDE_LOG_TRY), -EAGAIN);
}

static inline bool logref_is_free(void *block)
{
    return tide_log_append_block(client, 0, block, 64, TIDE_LOG_TRY, NULL) == -EFAULT;
}

#endif
