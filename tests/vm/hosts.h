/*
 * hosts.h - what guests share that have one log in lanes on one device.
 *
 * Nothing passes between the guests but loads and stores: this is a device whose exchanges hold
 * within one guest only. They meet at the device's end, which is zero at first; a line there is
 * written by one of them. What is sent is known beforehand: who reads it knows it, too. The
 * history that the log is held to begins with all that may be sent; a message says which of these
 * events it is of.
 */
#ifndef TESTS_VM_HOSTS_H
#define TESTS_VM_HOSTS_H

#include "guest.h"

#include <stdatomic.h>
#include <time.h>

#include <tidepool/log.h>

#define LOG_HISTORY_PANIC(text) NEED(false, "%s", text)
#include "../log_history.h"

#pragma weak tide_region_create
#pragma weak tide_region_open
#pragma weak tide_region_close
#pragma weak tide_log_create_on
#pragma weak tide_log_attach
#pragma weak tide_log_start
#pragma weak tide_log_poll
#pragma weak tide_log_close
#pragma weak tide_log_client_open
#pragma weak tide_log_client_close
#pragma weak tide_log_append_batch
#pragma weak tide_log_reader_open
#pragma weak tide_log_reader_close
#pragma weak tide_log_read
#pragma weak tide_log_stat
#pragma weak tide_log_explain

enum { HOSTS = 3, SIZE = 300, WAIT_SECONDS = 150, MEET_BYTES = 2 << 20 };

/* Where the hosts of each program meet, in MiB. */
enum { MEET_HOSTS = 254, MEET_TAKEOVER = 252 };

/* How far each host is: the first lines where they meet. */
struct steps {
    struct {
        _Alignas(64) _Atomic uint32_t step;
    } of[HOSTS];
};

static char source[128];
static tide_region_t *region;
static tide_log_t *log_;

static inline const char *words(void)
{
    static char line[256];
    tide_log_explain(line, sizeof line);
    return line;
}

static inline time_t seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec;
}

/* So many MiB behind the device's beginning; the log's region is before. */
static inline void *meet(const char *path, off_t at)
{
    int fd = open(path, O_RDWR);
    NEED(fd >= 0, "%s: %s", path, strerror(errno));
    void *map = mmap(NULL, MEET_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, at * (off_t)MIB);
    NEED(map != MAP_FAILED, "mmap: %s", strerror(errno));
    snprintf(source, sizeof source, "dax:%s", path);
    close(fd);
    return map;
}

static inline void step(struct steps *steps, unsigned me, uint32_t value)
{
    atomic_store_explicit(&steps->of[me].step, value, memory_order_release);
}

static inline bool has_come(const struct steps *steps, unsigned host, uint32_t value)
{
    return atomic_load_explicit(&steps->of[host].step, memory_order_acquire) >= value;
}

static inline void wait_for(const struct steps *steps, unsigned host, uint32_t value)
{
    time_t begin = seconds();
    while (!has_come(steps, host, value)) {
        NEED(seconds() - begin < WAIT_SECONDS, "host %u did not come to step %u", host, value);
        usleep(10000);
    }
}

/* --- batches ------------------------------------------------------------------------------ */

/* Batch number i of a client. */
static inline struct log_event sent(unsigned client, uint64_t i)
{
    return (struct log_event){.kind = LOG_INVOKE,
                              .client = (uint8_t)client,
                              .broker = (uint8_t)(i / 3 % 2),
                              .count = 1 + (uint32_t)(i % 3),
                              .number = i};
}

/* Message k of a batch: the number of its event, and bytes of that. */
static inline size_t message(unsigned char *out, uint64_t ref, uint32_t k)
{
    size_t size = sizeof ref + (ref * 7 + k * 31) % (SIZE - sizeof ref);
    memcpy(out, &ref, sizeof ref);
    for (size_t i = sizeof ref; i < size; i++)
        out[i] = (unsigned char)(ref * 13 + k * 5 + i);
    return size;
}

/* Appends a batch whose event is `ref`. */
static inline int send_batch(tide_log_client_t *client, const struct log_event *batch, uint64_t ref)
{
    static unsigned char bytes[3][SIZE];
    struct tide_log_message messages[3];
    for (uint32_t k = 0; k < batch->count; k++)
        messages[k] = (struct tide_log_message){bytes[k], message(bytes[k], ref, k), k};
    return tide_log_append_batch(client, batch->broker, messages, batch->count, TIDE_LOG_BLOCK,
                                 NULL);
}

/* The number of the event of its sending; all messages of it are as they were sent. */
static inline uint64_t ref_of(const struct tide_log_batch *batch)
{
    unsigned char expected[SIZE];
    const struct tide_log_frame *frame;
    uint64_t ref = UINT64_MAX;
    uint32_t k = 0;
    for (size_t at = 0; (frame = tide_log_next(batch, &at)) != NULL; k++) {
        NEED(frame->length >= sizeof ref && frame->length <= SIZE, "%u bytes", frame->length);
        memcpy(&ref, frame + 1, sizeof ref);
        size_t size = message(expected, ref, k);
        NEED(size == frame->length && memcmp(expected, frame + 1, size) == 0 && frame->tag == k,
             "position %d, message %u", (int)batch->position, k);
    }
    NEED(k == batch->count, "%u of %u messages", k, batch->count);
    return ref;
}

/* What a reader got. */
static inline struct log_event was_read(unsigned who, const struct tide_log_batch *batch)
{
    return (struct log_event){.kind = LOG_READ,
                              .who = (uint8_t)who,
                              .client = (uint8_t)batch->client,
                              .broker = (uint8_t)batch->broker,
                              .whole = 1,
                              .count = batch->count,
                              .number = batch->number,
                              .position = batch->position,
                              .base = batch->base,
                              .ref = ref_of(batch)};
}

#endif
