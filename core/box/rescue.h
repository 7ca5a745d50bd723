/*
 * rescue.h - a process that had the log open ended, or is expelled: the others stop, one of them
 * puts the log in order, and all go on.
 *
 * owns:      nothing but the time in which all others stop
 * threads:   any that is not inside a call of the log; one process at a time, the others wait. It
 *            may end in the middle: then another one does it again
 * invariant: who is repaired for is dead by its owner's words, or was expelled by name
 * uses:      crew, mend, logroom, vmem
 * used by:   logapi
 * not here:  what is repaired (mend), how others are stopped (crew)
 * test:      tests/test_rescue.c, tests/test_logattach.c
 */
#ifndef TIDE_BOX_RESCUE_H
#define TIDE_BOX_RESCUE_H

#include "box/crew.h"

/* Looks now and then who died, and does what is to be done. */
void tide_rescue_look(struct tide_crew *self);

/* At once. 0: nothing is to be done, or it is done; -EBUSY: not now; -ENOMEM, -EUCLEAN. */
int tide_rescue_now(struct tide_crew *self);

/* The same as the room's owner. `expel`: members that do not go on though they live. *fault: what
 * -EUCLEAN is about. */
int tide_rescue_held(struct tide_crew *self, uint32_t expel, struct tide_layout_fault *fault);

/* The members that are this process, and live, and were not expelled. */
uint32_t tide_rescue_members(const struct tide_crew *self, uint64_t process);

/* Expels them. Besides the errors above, -EBUSY: they are inside a call, or write the medium. */
int tide_rescue_expel(struct tide_crew *self, uint32_t members, struct tide_layout_fault *fault);

#endif
