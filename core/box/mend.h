/*
 * mend.h - puts a log in order whose process ended without closing it.
 *
 * owns:      all of the log, for the time of the call
 * threads:   one, and nobody else uses the log; it may end in the middle and be done again
 * invariant: a batch in the committed prefix keeps its place, its number and its bytes; each
 *            published batch has one place afterwards, or waits for its turn (level 4), or was
 *            given up before; claims that were never published are pads, or gone
 * uses:      session, trim, order, ring, crc, vmem
 * used by:   logapi
 * not here:  who may do it (logroom)
 * test:      tests/test_mend.c
 *
 * The order index says what the order is. The committed prefix ends at the first place that
 * is not valid: what follows was given places that nobody can have read, and gets the next
 * ones in the same order. Then come slots that were published and had no place yet.
 *
 * What a slot is: with a place that is not trimmed it is live. Otherwise it is done with if it
 * is a pad, if its bit among the retired ones is set, or if it is below `releasing` of its
 * broker. If it is none of these, it waits for a place.
 */
#ifndef TIDE_BOX_MEND_H
#define TIDE_BOX_MEND_H

#include "box/session.h"

/* What is durable: places below `durable`, where message `base` comes next;
 * those below `kept` were trimmed by then. */
struct tide_mend_mark {
    uint64_t durable, base, kept;
};

/* After the machine stopped: the medium has pages of different moments. Of what is durable all
 * is kept that was not trimmed and written over since; of what came later, batches that are
 * whole, up to the first one that is not. Sets the log up as if the process had been killed
 * then: tide_mend has to follow. Without checksums nobody can tell what is whole, and at level 4
 * nobody knows what sessions were told: -EUCLEAN, as for damage. -ENOMEM. */
int tide_mend_outage(const struct tide_logmap *map, const struct tide_mend_mark *mark,
                     struct tide_layout_fault *fault);

/* What was done. */
struct tide_mend_report {
    uint64_t kept;   /* batches in the committed prefix */
    uint64_t moved;  /* that had places behind a hole */
    uint64_t placed; /* that had none */
    uint64_t padded; /* claims that were not published */
};

/* 0; -ENOMEM; -EUCLEAN and *fault: something that no process can have left behind. */
int tide_mend(const struct tide_logmap *map, struct tide_mend_report *report,
              struct tide_layout_fault *fault);

#endif
