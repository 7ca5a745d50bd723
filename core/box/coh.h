/*
 * coh.h - the seam through which shared memory is read and written.
 *
 * owns:      nothing
 * threads:   any; every access is atomic or is ordered by one that is
 * invariant: what was written before a set, a win or an add is seen by whoever gets the
 *            new value; no fence stands alone
 * uses:      crash, def
 * used by:   plot, region (what other hosts wrote), the boxes of room log
 * not here:  which word says that others may look (layout, lanes), memory that survives the
 *            machine (medium)
 * test:      tests/test_coh.c
 *
 * Each function takes the back end of the region it works on. Coherent memory needs no
 * more than the order of the accesses: wrote, drain and fresh compile to nothing there.
 * Memory that other hosts change needs all of them: wrote for each range that was written,
 * one drain before the word that publishes it, fresh before a read. Words that several
 * writers change (win, add, swap, mark, clear) exist in coherent memory only: elsewhere the
 * debug build stops there, as it does where a region's table is changed by a view that may
 * only read (TIDE_COH_ALONE). A line that is written has one writer, and nobody prefetches it
 * while it has.
 *
 * The third back end, of the debug build, is a model that a test provides (tide_coh_model):
 * nodes with an image each, between which only what is written back and fetched travels.
 *
 * In the debug build every access of shared words first calls tide_coh_hook, if there is
 * one: a test that runs threads as fibers switches there.
 */
#ifndef TIDE_BOX_COH_H
#define TIDE_BOX_COH_H

#include "box/crash.h"
#include "box/def.h"

enum tide_coh {
    TIDE_COH_COHERENT,
    TIDE_COH_NONCOHERENT,
#ifdef TIDE_DEBUG
    TIDE_COH_SIMULATED,
#endif
};

#ifdef TIDE_DEBUG
/* What wrote, drain and fresh do in simulated memory. */
struct tide_coh_model {
    void (*wrote)(const void *at, size_t bytes);
    void (*drain)(void);
    void (*fresh)(const void *at, size_t bytes);
};
extern const struct tide_coh_model *tide_coh_model;

extern void (*tide_coh_hook)(void);
#define TIDE_COH_POINT()                                                                           \
    do {                                                                                           \
        if (tide_coh_hook != NULL)                                                                 \
            tide_coh_hook();                                                                       \
    } while (0)
#define TIDE_COH_ALONE(coh)                                                                        \
    do {                                                                                           \
        if ((coh) != TIDE_COH_COHERENT)                                                            \
            __builtin_trap(); /* other hosts do not take part in it */                             \
    } while (0)
#else
#define TIDE_COH_POINT() ((void)0)
#define TIDE_COH_ALONE(coh) ((void)(coh))
#endif
#define TIDE_COH_ATOMIC(coh)                                                                       \
    do {                                                                                           \
        TIDE_COH_ALONE(coh);                                                                       \
        TIDE_COH_POINT();                                                                          \
    } while (0)

/* True while a test drives the threads: then a wait must come back here. */
TIDE_INLINE bool tide_coh_hooked(void)
{
#ifdef TIDE_DEBUG
    TIDE_COH_POINT();
    return tide_coh_hook != NULL;
#else
    return false;
#endif
}

TIDE_INLINE uint64_t tide_coh_get(enum tide_coh coh, const _Atomic uint64_t *word)
{
    (void)coh;
    TIDE_COH_POINT();
    return atomic_load_explicit(word, memory_order_acquire);
}

TIDE_INLINE void tide_coh_set(enum tide_coh coh, _Atomic uint64_t *word, uint64_t value)
{
    (void)coh;
    TIDE_COH_POINT();
    atomic_store_explicit(word, value, memory_order_release);
}

/* Compare and swap; on failure *seen is what stands there. */
TIDE_INLINE bool tide_coh_win(enum tide_coh coh, _Atomic uint64_t *word, uint64_t *seen,
                              uint64_t value)
{
    TIDE_COH_ATOMIC(coh);
    return atomic_compare_exchange_strong_explicit(word, seen, value, memory_order_acq_rel,
                                                   memory_order_acquire);
}

/* Adds; returns what stood there before. */
TIDE_INLINE uint64_t tide_coh_add(enum tide_coh coh, _Atomic uint64_t *word, uint64_t value)
{
    TIDE_COH_ATOMIC(coh);
    return atomic_fetch_add_explicit(word, value, memory_order_acq_rel);
}

/* Replaces; returns what stood there before. */
TIDE_INLINE uint64_t tide_coh_swap(enum tide_coh coh, _Atomic uint64_t *word, uint64_t value)
{
    TIDE_COH_ATOMIC(coh);
    return atomic_exchange_explicit(word, value, memory_order_acq_rel);
}

/* Sets bits; returns what stood there before. */
TIDE_INLINE uint64_t tide_coh_mark(enum tide_coh coh, _Atomic uint64_t *word, uint64_t bits)
{
    TIDE_COH_ATOMIC(coh);
    return atomic_fetch_or_explicit(word, bits, memory_order_acq_rel);
}

/* Clears bits; returns what stood there before. */
TIDE_INLINE uint64_t tide_coh_clear(enum tide_coh coh, _Atomic uint64_t *word, uint64_t bits)
{
    TIDE_COH_ATOMIC(coh);
    return atomic_fetch_and_explicit(word, ~bits, memory_order_acq_rel);
}

/* The work of the three below where memory is not coherent. */
void tide_coh_write_back(enum tide_coh coh, const void *at, size_t bytes);
void tide_coh_fence(enum tide_coh coh);
void tide_coh_fetch(enum tide_coh coh, const void *at, size_t bytes);

/* These bytes were written: start them on their way. */
TIDE_INLINE void tide_coh_wrote(enum tide_coh coh, const void *at, size_t bytes)
{
    if (coh != TIDE_COH_COHERENT)
        tide_coh_write_back(coh, at, bytes);
}

/* All that `wrote` named is there before anything written from now on. */
TIDE_INLINE void tide_coh_drain(enum tide_coh coh)
{
    if (coh != TIDE_COH_COHERENT)
        tide_coh_fence(coh);
}

/* The next read of these bytes sees what is there now. Not for lines with bytes of the
 * caller's that are not on their way: those go there first. */
TIDE_INLINE void tide_coh_fresh(enum tide_coh coh, const void *at, size_t bytes)
{
    if (coh != TIDE_COH_COHERENT)
        tide_coh_fetch(coh, at, bytes);
}

/* Stores that went past the caches (fill) come before all that follow. */
TIDE_INLINE void tide_coh_streamed(void)
{
#if defined(__x86_64__)
    __builtin_ia32_sfence();
#endif
}

/* Loads before it come before loads after it: for a reader that copies what may be
 * overwritten meanwhile, and then looks whether it was. */
TIDE_INLINE void tide_coh_copied(void)
{
#if defined(__x86_64__)
    __asm__ volatile("" ::: "memory");
#else
    __asm__ volatile("dmb ishld" ::: "memory");
#endif
}

#endif
