/*
 * lane_case.h - a log of lanes in memory of this process, with the processor's own write-backs,
 * its sequencer, and batches that can be told apart.
 */
#ifndef TESTS_LANE_CASE_H
#define TESTS_LANE_CASE_H

#include "unit_base.h"

#include "box/lane.h"
#include "box/laneseq.h"
#include "box/lanesub.h"

static inline void lane_make(struct tide_lanes *map, struct tide_layout_wish wish)
{
    struct tide_lanes_head plan;
    struct tide_layout_fault fault;
    wish.producers = wish.producers != 0 ? wish.producers : 2;
    wish.readers = wish.readers != 0 ? wish.readers : 2;
    wish.slots = wish.slots != 0 ? wish.slots : 8;
    wish.payload = wish.payload != 0 ? wish.payload : 4096;
    ck_assert_msg(tide_lanes_plan(&plan, &wish, &fault), "%s", fault.what);
    void *base = aligned_alloc(4096, plan.size);
    memset(base, 0x5a, plan.size);
    tide_lanes_format(TIDE_COH_NONCOHERENT, base, &plan, (const uint8_t[16]){7}, false);
    ck_assert(tide_lanes_open(map, TIDE_COH_NONCOHERENT, base, plan.size, &fault));
}

static inline void lane_drop(struct tide_lanes *map)
{
    free(map->base);
}

static inline void lane_join(struct tide_lane *self, struct tide_laneseq *seq,
                             const struct tide_lanes *map, uint32_t client)
{
    tide_lane_ask(self, map, client);
    ck_assert_int_eq(tide_lane_granted(self), -EAGAIN);
    tide_laneseq_step(seq, 8);
    ck_assert_int_eq(tide_lane_granted(self), 0);
}

static inline int lane_attach(struct tide_lanesub *self, struct tide_laneseq *seq,
                              const struct tide_lanes *map, uint32_t reader,
                              enum tide_lanes_start start, uint64_t position)
{
    tide_lanesub_ask(self, map, reader, start, position);
    tide_laneseq_step(seq, 8);
    return tide_lanesub_granted(self);
}

/* A batch of one message of 8 bytes, visible at once. False: full. */
static inline bool lane_send(struct tide_lane *self, uint32_t broker, uint64_t value)
{
    struct tide_lane_result result;
    if (!tide_lane_claim(self, broker, sizeof value))
        return false;
    memcpy(self->claim.payload, &value, sizeof value);
    tide_lane_commit(self, 1, sizeof value, &result);
    tide_lane_flush(self);
    return true;
}

/* The next value that a reader gets; UINT64_MAX: none. */
static inline uint64_t lane_next(struct tide_lanesub *self)
{
    struct tide_lanesub_batch batch;
    uint64_t value = UINT64_MAX;
    if (tide_lanesub_poll(self, &batch, 1) == 1)
        memcpy(&value, batch.data, sizeof value);
    return value;
}

#endif
