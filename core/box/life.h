/*
 * life.h - process start, thread start and end, fork.
 *
 * owns:      the order of initialisation; the thread-exit key; the fork handlers
 * threads:   start once, whichever thread comes first
 * invariant: whatever calls malloc first (ld.so, a constructor, another thread)
 *            finds a library that works before its call returns
 * uses:      everything below
 * used by:   route, heaps, report, api
 * not here:  serving blocks (route)
 * test:      tests/test_life.c
 */
#ifndef TIDE_BOX_LIFE_H
#define TIDE_BOX_LIFE_H

#include "box/heap.h"

/* Reads the options and prepares the tables, once. */
void tide_life_start(void);

/* True when the options that are fixed at start cannot be changed any more. */
bool tide_life_started(void);

/* Gives the calling thread, which has none, a heap and points it there. NULL when
 * there can be none; the thread is then as before. */
struct tide_cache *tide_life_attach(void);

/* Brackets around slow-path work: a thread inside points at tide_cache_slow, so that a
 * signal handler that comes back is seen and ends the process with a message. Enter
 * returns what leave has to be given. */
const struct tide_cache *tide_life_enter(void);
void tide_life_leave(const struct tide_cache *before);

/* Hands the values of live options to the boxes that act on them. */
void tide_life_push_options(void);

/* As pthread_atfork. */
int tide_life_at_fork(void (*prepare)(void), void (*parent)(void), void (*child)(void));

/* The process is set-uid or the like: the environment is not to be trusted. */
bool tide_life_is_secure(void);

#endif
