/*
 * seq.h - the sequencer in its stepped form: gives places to published slots.
 *
 * owns:      broker.scanned
 * threads:   any number of steppers; one at a time per broker, others pass it by
 * invariant: scanned <= the first slot of the broker that is not published; the slots of a
 *            broker get their places in the order of its ring (level 4: reach their sessions)
 * uses:      ring, session
 * used by:   logapi
 * not here:  threads (logapi)
 * test:      tests/test_seq.c
 */
#ifndef TIDE_BOX_SEQ_H
#define TIDE_BOX_SEQ_H

#include "box/session.h"

/* Looks at up to `most` slots of a broker. Returns how many it dealt with. */
uint64_t tide_seq_step(const struct tide_logmap *map, uint32_t broker, uint64_t most);

/* There is a published slot that nobody looked at yet: in this broker, or in any. */
bool tide_seq_waits_at(const struct tide_logmap *map, uint32_t number);
bool tide_seq_waits(const struct tide_logmap *map);

#endif
