/*
 * claims.h - the short way to put a log in order: what its dead left is known without a look at
 * all of it.
 *
 * owns:      as mend does
 * threads:   one, and nobody else is in a call of the log; it may end in the middle, and then the
 *            log is to be put in order by mend
 * invariant: as mend's; a claim at the end of its ring is gone afterwards, another one is a pad
 * uses:      mend, seq, session, trim, retire, order, ring, door
 * used by:   rescue, logapi
 * not here:  everything that takes a look at all entries or slots (mend)
 * test:      tests/test_claims.c, tests/test_crash.c
 *
 * A handle notes its claim from the moment it has it until nothing is left to do about it (`out`),
 * and that it is in a call (`busy`). So most of those who end leave a claim, a batch that waits
 * for its place, a door they had only taken, and entries of tables, and nothing else that is not
 * in order. Where the note does not tell whether a published batch has its place, the last places
 * of the order do; behind a hole there, in calls on the log as a whole, with locks held and with
 * members expelled there may be more.
 */
#ifndef TIDE_BOX_CLAIMS_H
#define TIDE_BOX_CLAIMS_H

#include "box/mend.h"

/* Takes no longer the larger the log is, but for batches that nobody knows to be committed yet.
 * False: what it does may not be all there is to do; nothing was done. Not for a log in which a
 * repair was begun, or that is known to be damaged. */
bool tide_claims_mend(const struct tide_logmap *map, const struct tide_mend_crew *crew,
                      struct tide_mend_report *report);

#endif
