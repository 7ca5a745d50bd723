/*
 * crash.h - the moments between two stores that a repair has to know, by name.
 *
 * owns:      the list of them
 * threads:   any
 * invariant: nothing happens there but in the debug build, and there only if a test has set the
 *            hook
 * uses:      def
 * used by:   plot, and the boxes of room log
 * not here:  what is repaired (mend, mend_outage, plot)
 * test:      tests/test_crash.c: a process dies at each of them
 *
 * A point says what has just been done. The one that is missing from the list does not compile;
 * the one that nothing comes to any more fails the test.
 */
#ifndef TIDE_BOX_CRASH_H
#define TIDE_BOX_CRASH_H

#include "box/def.h"

#define TIDE_CRASH_POINTS(X)                                                                       \
    /* segments of the region */                                                                   \
    X(plot_claimed) /* all of a run are on the move */                                             \
    X(plot_filled)                                                                                 \
    X(plot_parting) /* the first one is on the move, the rest stands */                            \
    X(plot_cleared) /* and the rest is free */                                                     \
    X(plot_swept)                                                                                  \
    /* a producer */                                                                               \
    X(ring_claimed)                                                                                \
    X(ring_written) /* slot and payload, all but the publish word */                               \
    X(ring_published)                                                                              \
    X(block_marked) /* a block has the flag of those that are in the log */                        \
    X(block_expected)                                                                              \
    X(block_given) /* back to its heap */                                                          \
    /* places */                                                                                   \
    X(order_taken)                                                                                 \
    X(order_written) /* all but the entry's sequence number */                                     \
    X(order_placed)                                                                                \
    X(seq_taken) /* places for a pass */                                                           \
    X(seq_looked)                                                                                  \
    X(seq_scanned)                                                                                 \
    /* sessions */                                                                                 \
    X(session_handed)                                                                              \
    X(session_held)                                                                                \
    X(session_named) /* the slot of the batch that is about to get its place */                    \
    X(session_placing)                                                                             \
    X(session_placed)                                                                              \
    X(session_expected)                                                                            \
    X(session_unheld)                                                                              \
    X(session_renewed)                                                                             \
    X(session_emptied)                                                                             \
    /* trim and retire */                                                                          \
    X(trim_holding)                                                                                \
    X(trim_dropped)                                                                                \
    X(trim_said) /* `releasing` of all brokers */                                                  \
    X(trim_base)                                                                                   \
    X(trim_place)                                                                                  \
    X(trim_behind) /* `releasing` over slots that were retired before */                           \
    X(trim_forgotten)                                                                              \
    X(release_said)                                                                                \
    X(release_granule)                                                                             \
    X(release_slot)                                                                                \
    X(release_done)                                                                                \
    X(retire_put)                                                                                  \
    X(retire_noted) /* `retiring` of the broker */                                                 \
    X(retire_published)                                                                            \
    X(retire_taking)                                                                               \
    X(retire_taken)                                                                                \
    /* on the medium */                                                                            \
    X(durable_sessions)                                                                            \
    X(durable_blocks)                                                                              \
    X(durable_slots) /* payload, slots and the order index */                                      \
    X(durable_front)                                                                               \
    X(durable_said)                                                                                \
    X(durable_noted)                                                                               \
    X(durable_gone) /* the log has no name any more */                                             \
    X(mark_open)    /* the mark that is not in force is being written */                           \
    X(mark_written)                                                                                \
    /* the region's area for a log */                                                              \
    X(room_taken)                                                                                  \
    X(room_lent)                                                                                   \
    X(room_formatted)                                                                              \
    X(room_filled) /* all but the magic */                                                         \
    X(room_sealed)                                                                                 \
    X(room_booted)                                                                                 \
    X(room_begun)                                                                                  \
    X(room_ended)                                                                                  \
    X(room_left)                                                                                   \
    X(room_cleared)                                                                                \
    X(room_returned)                                                                               \
    /* repair */                                                                                   \
    X(mend_begun)                                                                                  \
    X(mend_tables)                                                                                 \
    X(mend_prefix)                                                                                 \
    X(mend_padded)                                                                                 \
    X(mend_ring)                                                                                   \
    X(mend_moving)                                                                                 \
    X(mend_moved)                                                                                  \
    X(mend_taken)                                                                                  \
    X(mend_judged)                                                                                 \
    X(mend_sessions)                                                                               \
    X(mend_ordered)                                                                                \
    X(mend_freed)                                                                                  \
    X(mend_released)                                                                               \
    X(claims_begun)                                                                                \
    X(claims_cut)                                                                                  \
    X(claims_settled) /* but the tables still name them */                                         \
    X(open_mended)                                                                                 \
    X(open_synced)                                                                                 \
    X(outage_walked)                                                                               \
    X(outage_ring)                                                                                 \
    X(outage_set)                                                                                  \
    /* repair of damage: TIDE_CRASH_DAMAGE */                                                      \
    X(mend_restored)                                                                               \
    X(mend_given_up)                                                                               \
    X(mend_shortened)

#define TIDE_CRASH_ENUM(name) TIDE_CRASH_##name,
enum tide_crash_point { TIDE_CRASH_POINTS(TIDE_CRASH_ENUM) TIDE_CRASH_COUNT };
enum { TIDE_CRASH_DAMAGE = TIDE_CRASH_mend_restored }; /* the first that needs damage */
#undef TIDE_CRASH_ENUM

#ifdef TIDE_DEBUG
extern void (*tide_crash_hook)(enum tide_crash_point point);
extern const char *const tide_crash_names[TIDE_CRASH_COUNT];
#define TIDE_CRASH_POINT(name)                                                                     \
    do {                                                                                           \
        if (tide_crash_hook != NULL)                                                               \
            tide_crash_hook(TIDE_CRASH_##name);                                                    \
    } while (0)
#else
#define TIDE_CRASH_POINT(name) ((void)0)
#endif

#endif
