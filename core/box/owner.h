/*
 * owner.h - a lock in shared memory that names its holder, and whether that one still runs.
 *
 * owns:      the words of struct tide_owner
 * threads:   any; taking is one compare-and-swap
 * invariant: the word is 0, or names a process; the fields beside it belong to that one if
 *            the word's upper half says so
 * uses:      sys, file, clock
 * used by:   logroom
 * not here:  what is locked
 * test:      tests/test_owner.c
 *
 * A process is known by the boot it runs in, its namespace of process ids, its id, when it
 * started, and a number drawn by each program that runs in it (exec keeps the rest). A holder
 * in another namespace, or one that died before it had written its fields, is neither known
 * to run nor to be dead: whoever asks needs other means then.
 */
#ifndef TIDE_BOX_OWNER_H
#define TIDE_BOX_OWNER_H

#include "box/def.h"

/* In shared memory, on a line of its own. */
struct tide_owner {
    _Atomic uint64_t word; /* 0: nobody; else the process id and, on top, a sum of the rest */
    _Atomic uint64_t boot[2];
    _Atomic uint64_t space; /* inode of its namespace of process ids */
    _Atomic uint64_t started;
    _Atomic uint64_t image;
    uint64_t spare[2];
};
_Static_assert(offsetof(struct tide_owner, boot) == 8, "boot");
_Static_assert(offsetof(struct tide_owner, space) == 24, "space");
_Static_assert(offsetof(struct tide_owner, started) == 32, "started");
_Static_assert(offsetof(struct tide_owner, image) == 40, "image");
_Static_assert(sizeof(struct tide_owner) == TIDE_LINE, "an owner is one line");

enum tide_owner_is { TIDE_OWNER_NOBODY, TIDE_OWNER_DEAD, TIDE_OWNER_ALIVE, TIDE_OWNER_UNKNOWN };

/* What was found: for tide_owner_win. */
struct tide_owner_seen {
    uint64_t word;
    uint32_t pid;
};

enum tide_owner_is tide_owner_look(const struct tide_owner *owner, struct tide_owner_seen *seen);

/* Takes it from whoever was seen. False: it changed hands since. */
bool tide_owner_win(struct tide_owner *owner, const struct tide_owner_seen *seen);

/* Gives it up; whoever holds it. */
void tide_owner_drop(struct tide_owner *owner);

/* The machine's boot in two words; zeroes when nobody tells. */
void tide_owner_boot(uint64_t boot[2]);

#endif
