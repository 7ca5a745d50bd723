/*
 * def.h - the words everybody uses: attributes, sizes, small arithmetic.
 *
 * owns:      nothing at run time
 * threads:   pure functions and macros
 * invariant: sizes are bytes, in size_t or uintN_t
 * uses:      the compiler's headers
 * used by:   every box
 * not here:  anything with state
 * test:      tests/test_def.c
 */
#ifndef TIDE_BOX_DEF_H
#define TIDE_BOX_DEF_H

#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define TIDE_LIKELY(x) __builtin_expect(!!(x), 1)
#define TIDE_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define TIDE_INLINE static inline __attribute__((always_inline))
/* Of a function of another box: inlined where its definition is in sight, as in unity builds. */
#ifdef __clang__ /* has its own mind about what such a function may call */
#define TIDE_INTO
#else
#define TIDE_INTO inline __attribute__((always_inline))
#endif
#define TIDE_COLD __attribute__((cold, noinline))
#define TIDE_EXPORT __attribute__((visibility("default")))
#define TIDE_NOINLINE __attribute__((noinline))
/* What every process runs and writes when it starts lies together: each page more is a page
 * fault more. */
#define TIDE_START_CODE __attribute__((section(".text.startup")))
#define TIDE_START_DATA __attribute__((section(".data.start")))

/* The compiler may not move memory accesses across this point: what a signal
 * handler of the same thread sees is in program order. Costs no instruction. */
#define TIDE_FENCE_SIGNAL() atomic_signal_fence(memory_order_seq_cst)

#define TIDE_RELAXED_GET(p) __atomic_load_n((p), __ATOMIC_RELAXED)
/* The same of an aligned word on a fast path, where gcc may use it from memory: it does not
 * do that with atomic loads. Read once, it is one value or the other. */
#ifdef __SANITIZE_THREAD__
#define TIDE_RACY_GET(p) TIDE_RELAXED_GET(p)
#else
#define TIDE_RACY_GET(p) (*(p))
#endif
#define TIDE_RELAXED_SET(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)

/* The same value, which the compiler takes for another one: on a fast path, where it would
 * keep a sum or a loaded field in a register for a second use that costs nothing either. */
#define TIDE_AGAIN(x)                                                                              \
    __extension__({                                                                                \
        __typeof__(x) again = (x);                                                                 \
        __asm__("" : "+r"(again));                                                                 \
        again;                                                                                     \
    })

enum {
    TIDE_LINE = 64,            /* bytes of a cache line */
    TIDE_ALIGN_MIN = 16,       /* alignment of every block */
    TIDE_TINY_TOP = 2048,      /* largest Tiny block that a size can ask for */
    TIDE_MID_TOP = 32768,      /* largest size that goes to Mid */
    TIDE_LARGE_BESIDE = 65536, /* up to this size malloc takes blocks of Large beside Tiny */
    TIDE_LARGE_TOP = 1 << 20   /* largest size that can be a run; above: a mapping of its own */
};

/* What a window of address space is cut into. */
enum tide_kind {
    TIDE_KIND_TINY,  /* near, no header; Large up to 64 KiB as well */
    TIDE_KIND_MID,   /* Mid source, 16-byte header (or its shadow) */
    TIDE_KIND_MIDAL, /* Mid source, no header: alignment above 16 */
    TIDE_KIND_LARGE, /* near, no header, runs of 36 KiB..1 MiB */
    TIDE_KINDS
};

TIDE_INLINE size_t tide_align_up(size_t n, size_t to)
{
    return (n + to - 1) & ~(to - 1);
}

TIDE_INLINE size_t tide_align_down(size_t n, size_t to)
{
    return n & ~(to - 1);
}

TIDE_INLINE bool tide_is_pow2(size_t n)
{
    return n != 0 && (n & (n - 1)) == 0;
}

TIDE_INLINE size_t tide_min(size_t a, size_t b)
{
    return a < b ? a : b;
}

TIDE_INLINE size_t tide_max(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Multiplies the bits of x over the whole word (the finaliser of splitmix64). */
TIDE_INLINE uint64_t tide_mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    return x ^ (x >> 31);
}

#endif
