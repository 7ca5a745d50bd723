/*
 * lock.h - the slow path's mutex: one word, spins a little, then sleeps.
 *
 * owns:      nothing; a lock lives in its user's structure
 * threads:   that is its purpose; not recursive
 * invariant: word = 0 free, 1 held, 2 held and perhaps somebody sleeps
 * uses:      sys, cpu
 * used by:   every box with a slow-path lock; never the fast path
 * not here:  lock order (life knows it: fork takes them all)
 * test:      tests/test_lock.c
 *
 * The three-state word is the mutex of Ulrich Drepper, "Futexes Are Tricky".
 */
#ifndef TIDE_BOX_LOCK_H
#define TIDE_BOX_LOCK_H

#include "box/def.h"

struct tide_lock {
    _Atomic uint32_t word; /* all threads */
};

/* A lock that all threads take, alone in its pair of lines (pairs are fetched together). */
struct tide_lock_apart {
    struct tide_lock lock;
} __attribute__((aligned(2 * TIDE_LINE)));

/* What a box does with its locks when the process forks. */
enum tide_fork { TIDE_FORK_PREPARE, TIDE_FORK_RELEASE };

/* While a thread forks it holds every lock. What it calls meanwhile (atfork handlers
 * of others) may take them again: for that thread, known by the address of its
 * errno, taking and dropping do nothing. NULL at all other times. */
extern struct tide_lock_forker {
    _Atomic(const void *) thread;
} __attribute__((aligned(2 * TIDE_LINE))) tide_lock_forker;

void tide_lock_wait_slow(struct tide_lock *lock);
void tide_lock_sleep_slow(struct tide_lock *lock); /* a forker, too */
void tide_lock_wake_slow(struct tide_lock *lock);

TIDE_INLINE bool tide_lock_try(struct tide_lock *lock)
{
    uint32_t expected = 0;
    return atomic_compare_exchange_strong_explicit(&lock->word, &expected, 1, memory_order_acquire,
                                                   memory_order_relaxed);
}

TIDE_INLINE void tide_lock_take(struct tide_lock *lock)
{
    if (TIDE_UNLIKELY(!tide_lock_try(lock)))
        tide_lock_wait_slow(lock);
}

TIDE_INLINE bool tide_lock_is_forker(void)
{
    const void *forker = atomic_load_explicit(&tide_lock_forker.thread, memory_order_relaxed);
    return TIDE_UNLIKELY(forker != NULL) && forker == (const void *)&errno;
}

/* For locks that fork does not take: in its handlers they are like everywhere else. What they
 * guard must not wait for a lock that fork takes. */
TIDE_INLINE void tide_lock_take_own(struct tide_lock *lock)
{
    if (TIDE_UNLIKELY(!tide_lock_try(lock)))
        tide_lock_sleep_slow(lock);
}

TIDE_INLINE void tide_lock_drop_own(struct tide_lock *lock)
{
    if (TIDE_UNLIKELY(atomic_exchange_explicit(&lock->word, 0, memory_order_release) == 2))
        tide_lock_wake_slow(lock);
}

TIDE_INLINE void tide_lock_drop(struct tide_lock *lock)
{
    if (!tide_lock_is_forker())
        tide_lock_drop_own(lock);
}

/* Takes the lock before a fork, lets it go after it, in parent and child. */
TIDE_INLINE void tide_lock_fork(struct tide_lock *lock, enum tide_fork phase)
{
    if (phase == TIDE_FORK_PREPARE)
        tide_lock_take(lock);
    else
        tide_lock_drop(lock);
}

#endif
