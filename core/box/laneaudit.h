/*
 * laneaudit.h - is what stands in the memory of a log in lanes what it must be? Looks at all of
 * it, once.
 *
 * owns:      nothing but scratch memory while it runs
 * threads:   one per audit, of a log that nobody has open
 * invariant: time and scratch memory grow with the log's size; the log is never written to, and
 *            nothing outside of it is read, whatever stands in it
 * uses:      audit, lanes, crc, frame, vmem
 * used by:   the command
 * not here:  the head's sum and its geometry (tide_lanes_open); who has the log open (the command)
 * test:      tests/test_laneaudit.c
 *
 * Findings are those of audit.h. An error is explained by no order of events; a note is what a
 * process that ended in the middle leaves behind. Their words:
 *
 *   head-order      first <= trimmed <= committed, the index holds what is between
 *   head-epoch      the epoch of the control is at least 1
 *   entry-seq       every place that is committed has an entry
 *   entry-stray     no entry says that it is one of another position
 *   entry-ahead     (also as a note) an entry is of a place that is not committed
 *   entry-client, entry-broker, entry-size, entry-count, entry-epoch
 *   entry-base      message numbers go on without a gap
 *   entry-slot      slots of a lane come in their order, and are not released
 *   entry-number    level 4: a client's batches are numbered without a gap
 *   granules        payload of a lane is in the order of its slots, and not released
 *   payload-place, payload-sum, payload-frame
 *   slot-publish    a slot that an entry is of is published with its index; others with none that
 *                   is of another position
 *   slot-entry      slot and entry say the same
 *   slot-waits      (note) a batch is visible and has no place: whoever opens the log gives it one,
 *                   at level 4 in its turn
 *   lane-order      released <= begin of the epoch <= done, the lane holds what is between
 *   session-state, session-number
 *   reader-cursor, reader-start
 *   node-standing
 *   node-held       (note) a process has the node, or ended without leaving it
 */
#ifndef TIDE_BOX_LANEAUDIT_H
#define TIDE_BOX_LANEAUDIT_H

#include "box/audit.h"
#include "box/lanes.h"

/* Goes over the whole log and tells each finding; then the sums are filled in. Of `self` tell, who
 * and closed count. False: no memory for it. */
bool tide_laneaudit_run(struct tide_audit *self, const struct tide_lanes *map);

#endif
