/*
 * heap.h - everything that one thread owns: birth, death, adoption.
 *
 * owns:      all heaps, the ids of owners
 * threads:   birth and death under one lock; a heap belongs to one thread, to
 *            nobody (parked), or to a program (first-class)
 * invariant: a heap's structure is never returned to the system, so that an owner
 *            id can be followed at any time; a new generation makes old blocks
 *            and batches of a destroyed heap recognisable
 * uses:      magazine, remote, growth, page, mid, meta
 * used by:   purge, life, judge, route, heaps, report
 * not here:  when threads begin and end (life)
 * test:      tests/test_heap.c
 */
#ifndef TIDE_BOX_HEAP_H
#define TIDE_BOX_HEAP_H

#include "box/growth.h"
#include "box/magazine.h"

enum tide_heap_state {
    TIDE_HEAP_LIVE,   /* a thread's */
    TIDE_HEAP_PARKED, /* of a thread that ended: pages, but nothing in magazines */
    TIDE_HEAP_FIRST,  /* first-class */
    TIDE_HEAP_SPARE,  /* was first-class, destroyed */
    TIDE_HEAP_SHARED  /* serves threads that cannot have one of their own */
};

struct tide_heap {
    struct tide_cache cache; /* first: the thread's pointer is to it */
    struct tide_outbox outbox;
    struct tide_pages pages;
    struct tide_heap *next;  /* all heaps; pushed once, never removed */
    struct tide_heap *spare; /* parked or spare ones; under the heap lock */
    _Atomic int state;
    uint8_t rounds; /* of thread-exit destructors seen */
    struct tide_growth growth __attribute__((aligned(2 * TIDE_LINE))); /* the thread's */
};

/* A heap for the calling thread: a parked one, else a new one. NULL: no memory, or
 * 65,535 heaps are in use. */
struct tide_heap *tide_heap_birth(void);

/* The thread ends: its free blocks go back, the heap waits for another thread. */
void tide_heap_death(struct tide_heap *heap);

/* The heap that serves threads without one, and signal handlers. NULL: no memory. */
struct tide_heap *tide_heap_shared(void);

/* First-class heaps: pages and an owner id without magazines. */
struct tide_heap *tide_heap_found(void);
void tide_heap_raze(struct tide_heap *heap);

/* The first of all heaps; follow `next`. */
struct tide_heap *tide_heap_first(void);

/* True when the block waits in some magazine, outbox or inbox. Reads what other
 * threads are writing: sure only for what holds still. */
bool tide_heap_holds(const struct tide_page *page, const void *block);

void tide_heap_fork(enum tide_fork phase);

/* In a child after fork: parks the heaps of the threads that are not here. */
void tide_heap_fork_child(const struct tide_cache *self);

#endif
