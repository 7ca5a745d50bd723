/*
 * mend.h - puts a log in order of which a process ended without closing it.
 *
 * owns:      all of the log, for the time of the call
 * threads:   one, and nobody else is in a call of the log; it may end in the middle and be done
 *            again
 * invariant: a batch in the committed prefix keeps its place, its number and its bytes; each
 *            published batch has one place afterwards, or waits for its turn (level 4), or was
 *            given up before; claims that were never published are pads, or gone, but for those
 *            of processes that go on
 * uses:      session, trim, retire, match, order, ring, crc, vmem
 * used by:   claims, rescue, logapi
 * not here:  who may do it (logroom), the short way (claims)
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
 * then: tide_mend has to follow. Sessions expect what they did where that many places were
 * durable, and what is behind the batches that are kept beyond. Without checksums nobody can tell
 * what is whole, and level 0 has no order that tells what was there: -EUCLEAN, as for damage.
 * -ENOMEM. */
int tide_mend_outage(const struct tide_logmap *map, const struct tide_mend_mark *mark,
                     struct tide_layout_fault *fault);

/* A lock of the log is taken: somebody ended in the middle, whatever else says that all is well.
 * While nobody uses the log. */
bool tide_mend_is_due(const struct tide_logmap *map);

/* Of a log whose memory was damaged. */
struct tide_mend_damage {
    uint64_t restored; /* entries that were written anew from their slots */
    uint64_t guessed;  /* of these: places where another batch could have been as well */
    uint64_t cut;      /* batches that were given up: they are not whole, or cannot be found */
    uint64_t head;     /* words of the head that were put right */
};

/* Entries of the committed prefix that are not what their slots say are written anew, with the
 * place and the number that they had: from their own slot, if entry and slot agree on the bytes
 * or on the client and its number, else from one that has no place and may have had this one, see
 * match. Batches that are lost are given up, and what is behind them loses its place: tide_mend
 * has to follow. Batches without a place that are not whole become pads. Done again, if whoever
 * did it ended in the middle, it comes to the same; until then tide_mend may refuse the log.
 * 0, -ENOMEM. */
int tide_mend_cut(const struct tide_logmap *map, struct tide_mend_damage *damage);

/* What was done. */
struct tide_mend_report {
    uint64_t kept;   /* batches in the committed prefix */
    uint64_t moved;  /* that had places behind a hole */
    uint64_t placed; /* that had none */
    uint64_t padded; /* claims that were not published */
    uint64_t fenced; /* batches whose sessions refused them: given up */
};

/* Whose handles there are besides those of processes that are gone: bits of the members. */
struct tide_mend_crew {
    uint32_t alive; /* they go on: their claims that are out stay, their readers too */
    uint32_t kept;  /* expelled, but not gone: their claims are pads, whose payload stays theirs;
                       their readers are detached */
};

/* Parts of a repair. First: locks, sleepers and early batches, unless their members are alive; and
 * of these, what stands in the head. */
void tide_mend_words(const struct tide_logmap *map, uint32_t alive);
void tide_mend_head(const struct tide_logmap *map, uint32_t alive);

/* Which slot the producer's claim has that is out. False: none is, or it cannot be. */
bool tide_mend_find_out(const struct tide_logmap *map, const struct tide_layout_producer *producer,
                        uint32_t *broker, uint64_t *slot);

/* Makes a claim a pad that ends there; for the keeper, if not 0. */
void tide_mend_pad(const struct tide_logmap *map, uint32_t broker, uint64_t index, uint64_t end,
                   uint64_t keeper);

/* Sessions that were not told of their last batch, whose slot is judged: done with, or below
 * what is released. */
void tide_mend_sessions(const struct tide_logmap *map);

/* Last, for a repair that ends before begins with them: the handles of those that do not go on.
 * With `fences`, what waits for a batch that one of them may have been about to append waits no
 * longer. */
void tide_mend_producers(const struct tide_logmap *map, const struct tide_mend_crew *crew,
                         bool fences);
void tide_mend_readers(const struct tide_logmap *map, const struct tide_mend_crew *crew);

/* 0; -ENOMEM; -EUCLEAN and *fault: something that no process can have left behind. Sessions of
 * those that do not go on are fenced. */
int tide_mend_among(const struct tide_logmap *map, const struct tide_mend_crew *crew,
                    struct tide_mend_report *report, struct tide_layout_fault *fault);

/* The same where nobody has the log open. Sessions stay as they are. */
int tide_mend(const struct tide_logmap *map, struct tide_mend_report *report,
              struct tide_layout_fault *fault);

#endif
