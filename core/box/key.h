/*
 * key.h - the process secret that header words and free marks are bound to.
 *
 * owns:      the secret
 * threads:   written once at start, read by all
 * invariant: the low 40 bits and the top bit of freed and remote are those that mid.h
 *            asks for
 * uses:      file, clock
 * used by:   page, tiny, mid, route
 * not here:  the layout of a header word (mid)
 * test:      tests/test_key.c
 *
 * A child process inherits the secret: blocks freed before fork are still
 * recognised after it.
 */
#ifndef TIDE_BOX_KEY_H
#define TIDE_BOX_KEY_H

#include "box/def.h"

/* A Mid word is tag | owner | class | state. The secret is in the tag's bits; the
 * state bytes live, freed and remote differ from each other in four bits or more,
 * so that no single flipped bit turns one into another. */
enum { TIDE_KEY_LIVE = 0x5c, TIDE_KEY_FREED = 0x5c ^ 0xa5, TIDE_KEY_REMOTE = 0x5c ^ 0x33 };
enum { TIDE_KEY_CLASS_SHIFT = 8, TIDE_KEY_OWNER_SHIFT = 16 };
#define TIDE_KEY_TAG 0x7fffff0000000000ULL

struct tide_key {
    uint64_t mark;   /* see tide_key_mark() */
    uint64_t seed;   /* binds owner and class */
    uint64_t freed;  /* turns a live Mid word into a free one, and back */
    uint64_t remote; /* the same for a block freed by a thread that does not own it */
    uint64_t canary; /* see tide_key_canary() */
};

extern struct tide_key tide_key;

void tide_key_start(void);

/* The live word of a Mid block of this class and owner at address 0; see mid.h. At another
 * address it is this ^ address. */
uint64_t tide_key_word(uint32_t owner, unsigned cls);

/* What stands in the second word of a free Tiny block. */
TIDE_INLINE uint64_t tide_key_mark(const void *block)
{
    return (uintptr_t)block ^ tide_key.mark;
}

/* What stands in front of a Mid block whose checked word is in the shadow. */
TIDE_INLINE uint64_t tide_key_canary(const void *block)
{
    return (uintptr_t)block ^ tide_key.canary;
}

#endif
