/*
 * match.h - which batch was at which place, of places whose entries are damaged?
 *
 * owns:      nothing: it sorts what the caller has
 * threads:   one per call
 * invariant: no batch gets two places; batches with one key get places in their order, and
 *            between those of the same key that are known
 * uses:      nothing
 * used by:   mend
 * not here:  which places are damaged, which batches are whole (mend)
 * test:      tests/test_match.c
 *
 * A batch that has to have had a place is behind all places of its key (client, or ring) that
 * are before it in the key's order, and before all that are behind it. Places are gone through
 * upwards, and of the batches that may be there the one is taken which can wait least: earliest
 * deadline first, which finds an assignment whenever there is one (J. R. Jackson, 1955, for jobs
 * of one unit with release times and deadlines).
 */
#ifndef TIDE_BOX_MATCH_H
#define TIDE_BOX_MATCH_H

#include "box/def.h"

/* A batch that looks for its place. */
struct tide_match_batch {
    uint64_t key;       /* batches of one key have an order */
    uint64_t order;     /* in which this is its number */
    uint64_t slot;      /* the caller's, and `broker` */
    uint64_t low, high; /* its place is low, or above, and below high */
    uint64_t last;      /* order of the one that is known to be before `low`, plus 1; 0: of none */
    uint32_t broker, count;
};

/* A place that looks for its batch. */
struct tide_match_place {
    uint64_t place;
    uint64_t total; /* messages of all places of its row, one behind the other; 0: nobody knows */
    uint64_t count; /* messages of what it has, if `given` */
    uint64_t slot;  /* what it got, if `given` */
    uint32_t broker;
    bool given, own; /* own: the caller gave it */
};

/* First: sorts the batches, and forgets what is known of places. */
void tide_match_begin(struct tide_match_batch *batch, uint64_t batches);

/* Then, upwards, what is at places that are known. */
void tide_match_see(struct tide_match_batch *batch, uint64_t batches, uint64_t key, uint64_t order,
                    uint64_t place);

/* Then: gives batches to places, which are sorted upwards and may have their own already; with the
 * count that a row must have, if that leaves no place without a batch. `spare`: room for as many
 * batches. `dense`: of one key all batches have places, up to some number: one is only taken behind
 * the one before it. Returns at how many of the places another batch may have been as well. */
uint64_t tide_match_give(struct tide_match_batch *batch, struct tide_match_batch *spare,
                         uint64_t batches, struct tide_match_place *place, uint64_t places,
                         bool dense);

#endif
