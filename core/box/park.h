/*
 * park.h - a thread sleeps until a word changes; the waker pays nothing while nobody sleeps.
 *
 * owns:      nothing; the words live in their users' structures
 * threads:   that is its purpose
 * invariant: who changes the word under a sleeper wakes it
 * uses:      sys, clock
 * used by:   logapi
 * not here:  what is waited for
 * test:      tests/test_park.c
 */
#ifndef TIDE_BOX_PARK_H
#define TIDE_BOX_PARK_H

#include "box/def.h"

/* Sleeps while *word == seen, at most `ns` nanoseconds; may return early. `shared`: threads
 * of other processes may wake it. */
void tide_park_sleep(_Atomic uint32_t *word, uint32_t seen, uint64_t ns, bool shared);

#ifdef TIDE_DEBUG
extern bool (*tide_park_hook)(uint64_t ns); /* for tests: true, it has slept */
#endif

/* Wakes all that sleep on the word. */
void tide_park_wake(_Atomic uint32_t *word, bool shared);

/* Every thread of this process (and of others that called tide_park_ready) has gone through
 * a full barrier: what they stored before is seen here. False: the kernel does not offer it,
 * and a sleeper has to look again from time to time. */
bool tide_park_barrier(void);

/* Makes the process one that barriers reach. False: they do not. */
bool tide_park_ready(void);

/* Keeps the calling thread on one processor. 0 or -errno. */
int tide_park_pin(int cpu);

/* Lets another thread run. */
void tide_park_yield(void);

#endif
