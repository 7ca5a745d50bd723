/*
 * owner.h - a lock in shared memory that names its holder, and whether that one still runs.
 *
 * owns:      the words of struct tide_owner
 * threads:   any; taking is one compare-and-swap. A place in a table that is guarded by
 *            somebody else's lock is filled by tide_owner_put
 * invariant: the word is 0, or names a process; the fields beside it belong to that one if
 *            the word's upper half says so
 * uses:      sys, file, clock
 * used by:   logroom, crew
 * not here:  what is locked
 * test:      tests/test_owner.c
 *
 * A process is known by the boot it runs in, its namespace of process ids, its id, when it
 * started, and a number drawn by each program that runs in it (exec keeps the rest). A holder
 * in another namespace is neither known to run nor to be dead: whoever asks needs other means
 * then. One of another boot of this machine (/etc/machine-id) is dead; of another machine nothing
 * that is found here says anything; if machines are not known it may be either. One that took the
 * word and has not written its fields is dead if no process has its id.
 */
#ifndef TIDE_BOX_OWNER_H
#define TIDE_BOX_OWNER_H

#include "box/def.h"

/* In shared memory, on a line of its own. */
struct tide_owner {
    /* 0: nobody; else the process id (22 bits), a sum of boot and space (16), one of the rest */
    _Atomic uint64_t word;
    _Atomic uint64_t boot[2];
    _Atomic uint64_t space; /* inode of its namespace of process ids */
    _Atomic uint64_t started;
    _Atomic uint64_t image;
    _Atomic uint64_t machine; /* 0: not known */
    uint64_t spare;
};
_Static_assert(offsetof(struct tide_owner, boot) == 8, "boot");
_Static_assert(offsetof(struct tide_owner, space) == 24, "space");
_Static_assert(offsetof(struct tide_owner, started) == 32, "started");
_Static_assert(offsetof(struct tide_owner, image) == 40, "image");
_Static_assert(offsetof(struct tide_owner, machine) == 48, "machine");
_Static_assert(sizeof(struct tide_owner) == TIDE_LINE, "an owner is one line");

/* A process in these words. */
struct tide_owner_self {
    uint64_t boot[2], space, started, image, machine;
    uint64_t word;
    uint32_t pid;
};

enum tide_owner_is {
    TIDE_OWNER_NOBODY,
    TIDE_OWNER_DEAD,
    TIDE_OWNER_ALIVE,
    TIDE_OWNER_UNKNOWN, /* of another namespace, or half written */
    TIDE_OWNER_BEFORE,  /* of another boot, perhaps of this machine: then it is dead */
    TIDE_OWNER_FOREIGN  /* of another boot, and another machine */
};

/* What was found: for tide_owner_win. */
struct tide_owner_seen {
    uint64_t word;
    uint32_t pid;
};

enum tide_owner_is tide_owner_look(const struct tide_owner *owner, struct tide_owner_seen *seen);

/* The calling process: asks the kernel. And the same question by somebody who knows that. */
void tide_owner_self(struct tide_owner_self *self);
void tide_owner_sum(struct tide_owner_self *self); /* its word, from the rest */
enum tide_owner_is tide_owner_look_as(const struct tide_owner *owner,
                                      const struct tide_owner_self *self,
                                      struct tide_owner_seen *seen);

/* Fills a free place that nobody else fills now: the word last. */
void tide_owner_put(struct tide_owner *owner, const struct tide_owner_self *self);

/* Takes it from whoever was seen. False: it changed hands since. */
bool tide_owner_win(struct tide_owner *owner, const struct tide_owner_seen *seen);

/* Gives it up; whoever holds it. */
void tide_owner_drop(struct tide_owner *owner);

/* The machine's boot in two words; zeroes when nobody tells. */
void tide_owner_boot(uint64_t boot[2]);

#endif
