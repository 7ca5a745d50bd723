/*
 * log_case.h - what the tests of the log share: a log in guarded memory, and batches whose
 * bytes tell whose they are.
 */
#ifndef TESTS_LOG_CASE_H
#define TESTS_LOG_CASE_H

#include "unit_base.h"

#include "box/broker.h"
#include "box/seq.h"
#include "box/sub.h"
#include "box/vmem.h"

enum { LOG_GUARD = 4096 };

/* A log with this wish, between two pages that nobody may touch. */
static inline void log_make(struct tide_logmap *map, struct tide_layout_wish wish)
{
    static const uint8_t id[16] = {1, 2, 3};
    struct tide_layout_head plan;
    struct tide_layout_fault fault = {NULL, 0, 0, 0};
    if (!tide_layout_plan(&plan, &wish, &fault))
        ck_abort_msg("%s: %llu", fault.what, (unsigned long long)fault.value);
    unsigned char *at = tide_vmem_reserve(plan.size + 2 * LOG_GUARD);
    UNIT_HOLD(at != NULL && tide_vmem_commit(at + LOG_GUARD, plan.size) == 0, "no memory");
    tide_logmap_format(at + LOG_GUARD, &plan, id, true);
    UNIT_HOLD(tide_logmap_open(map, at + LOG_GUARD, plan.size, &fault), "%s", fault.what);
}

static inline void log_drop(struct tide_logmap *map)
{
    tide_vmem_unmap(map->base - LOG_GUARD, map->size + 2 * LOG_GUARD);
}

static inline struct tide_broker log_producer(const struct tide_logmap *map, uint32_t client)
{
    struct tide_broker self;
    UNIT_HOLD(tide_broker_open(&self, map, client, 1, 0), "no producer entry");
    if (map->level == 4) {
        uint64_t next;
        while ((self.epoch = tide_session_open(map, client, &next)) == 0)
            ;
        self.next = next;
    }
    return self;
}

/* One batch: every byte of its `size` is made of client and number. */
static inline unsigned char log_byte(uint32_t client, uint64_t number, uint32_t i)
{
    return (unsigned char)(client * 31 + number * 7 + i);
}

static inline void log_write(struct tide_broker *self, uint64_t number, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++)
        self->claim.payload[i] = log_byte(self->client, number, i);
}

static inline bool log_is_right(const struct tide_sub_batch *batch)
{
    for (uint32_t i = 0; i < batch->size; i++)
        if (batch->data[i] != log_byte(batch->client, batch->number, i))
            return false;
    return true;
}

/* False: full. */
static inline bool log_append(struct tide_broker *self, uint32_t broker, uint32_t count,
                              uint32_t size, struct tide_broker_result *result)
{
    struct tide_broker_result unused;
    if (!tide_broker_claim(self, broker, size))
        return false;
    log_write(self, self->next, size);
    tide_broker_commit(self, count, size, result != NULL ? result : &unused);
    return true;
}

static inline struct tide_sub log_reader(const struct tide_logmap *map, uint32_t broker,
                                         enum tide_layout_policy policy)
{
    struct tide_sub self;
    ck_assert_int_eq(tide_sub_open(&self, map, broker, policy, TIDE_SUB_EARLIEST, 0, 1), 0);
    return self;
}

#endif
