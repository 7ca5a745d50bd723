/*
 * claims_case.h - a log in which some are gone, to be put in order the short way: their handles, in
 * any state, belong to a process that is none.
 */
#ifndef TESTS_CLAIMS_CASE_H
#define TESTS_CLAIMS_CASE_H

#include "region_case.h"

#include <tidepool/log.h>

#include "box/claims.h"
#include "box/door.h"
#include "box/logapi.h"
#include "box/order.h"
#include "box/seq.h"

enum { DEAD = 5, OLD = 5 };

static tide_region_t *region;
static tide_log_t *log_;
static tide_log_client_t *theirs, *other, *mine;
static struct tide_mend_report report;
static uint64_t slots = 64;

struct kind {
    unsigned level, sequencing;
};
static const struct kind kinds[] = {{0, TIDE_LOG_INLINE},
                                    {5, TIDE_LOG_INLINE},
                                    {4, TIDE_LOG_INLINE},
                                    {5, TIDE_LOG_STEPPED},
                                    {4, TIDE_LOG_STEPPED}};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

static struct tide_log_options options_of(struct kind kind)
{
    struct tide_log_options options = TIDE_LOG_OPTIONS;
    options.level = kind.level;
    options.sequencing = kind.sequencing;
    options.slots = slots;
    options.payload = slots * UINT64_C(1024);
    return options;
}

static tide_log_client_t *open_client(unsigned id)
{
    struct tide_log_client_options options = {.id = id};
    tide_log_client_t *client;
    ck_assert_int_eq(tide_log_client_open(&client, log_, &options), 0);
    return client;
}

static void poll_all(void)
{
    while (tide_log_poll(log_) > 0) {
    }
}

static void append(tide_log_client_t *client)
{
    ck_assert_int_eq(tide_log_append(client, 0, "batch", 5, TIDE_LOG_TRY, NULL), 0);
    poll_all();
}

/* A log with a few batches in it. */
static void make(struct kind kind)
{
    struct tide_log_options options = options_of(kind);
    region = region_made("memfd", REGION_SIZE, 0);
    ck_assert_int_eq(tide_log_create_on(&log_, region, &options), 0);
    theirs = open_client(1);
    other = open_client(2);
    mine = open_client(3);
    for (int i = 0; i < OLD; i++)
        append(mine);
}

/* The entries of those that are gone are free. */
static void drop(void)
{
    ck_assert_uint_eq(theirs->broker.entry->owner, 0);
    ck_assert_uint_eq(theirs->broker.entry->out, 0);
    theirs->broker.claimed = other->broker.claimed = false;
    ck_assert_int_eq(tide_log_client_close(theirs), 0);
    ck_assert_int_eq(tide_log_client_close(other), 0);
    ck_assert_int_eq(tide_log_client_close(mine), 0);
    ck_assert_int_eq(tide_log_close(log_), 0);
    ck_assert_int_eq(tide_region_close(region), 0);
}

static void give(tide_log_client_t *client)
{
    atomic_store(&client->broker.entry->owner, tide_layout_whose(DEAD, 1));
}

static struct tide_mend_crew living(void)
{
    return (struct tide_mend_crew){.alive = UINT32_C(1) << log_->crew.number};
}

static bool mend(void)
{
    struct tide_mend_crew crew = living();
    return tide_claims_mend(&log_->map, &crew, &report);
}

__attribute__((unused)) static void mend_whole(void)
{
    struct tide_layout_fault fault;
    struct tide_mend_crew crew = living();
    ck_assert_int_eq(tide_mend_among(&log_->map, &crew, &report, &fault), 0);
}

static void claim(tide_log_client_t *client, uint32_t bytes)
{
    static struct tide_log_claim out[4];
    struct tide_log_claim *at = &out[client->broker.client];
    ck_assert_int_eq(tide_log_claim(client, 0, bytes, TIDE_LOG_TRY, at), 0);
}

static struct tide_log_broker_stat stat_broker(void)
{
    struct tide_log_broker_stat stat;
    ck_assert_int_eq(tide_log_stat_broker(log_, 0, &stat), 0);
    return stat;
}

static int read_all(void)
{
    struct tide_log_batch batch;
    tide_log_reader_t *reader;
    int got = 0;
    poll_all();
    ck_assert_int_eq(tide_log_reader_open(&reader, log_, NULL), 0);
    while (tide_log_read(reader, &batch, 1, TIDE_LOG_TRY) == 1)
        got++;
    ck_assert_int_eq(tide_log_reader_close(reader), 0);
    return got;
}

/* All that was claimed becomes free. */
static void all_is_free_again(void)
{
    poll_all();
    ck_assert_int_eq(tide_log_trim(log_, 0, UINT64_MAX, NULL), 0);
    struct tide_log_broker_stat stat = stat_broker();
    ck_assert_uint_eq(stat.claimed, stat.released);
    ck_assert_uint_eq(stat.used_bytes, 0);
}

#endif
