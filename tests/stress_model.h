/*
 * stress_model.h - the shadow model of the stress program.
 *
 * Owns: random numbers, the failure report, memory that does not come from the
 *   allocator under test, the map of granules in use, the fill patterns.
 * Threads: all functions may be called from any thread; the map is lock-free.
 * Invariant: a set bit in the map belongs to a block that is live. Bits are set
 *   after a block was handed out and cleared before it is given back, so a bit
 *   found set when a new block is entered means two owners of one byte.
 * Uses: mmap only; never malloc, stdio or locale.
 * Used by: stress_shadow.c.
 * Not here: which operations run, and records of blocks.
 */
#ifndef TIDE_STRESS_MODEL_H
#define TIDE_STRESS_MODEL_H

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- random numbers: splitmix64, one state per thread ---- */

struct rng {
    uint64_t state;
};

static inline uint64_t mix64(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static inline uint64_t rng_next(struct rng *rng)
{
    return mix64(rng->state += 0x9e3779b97f4a7c15u);
}

/* 0 .. bound - 1; the slight bias of the product is of no interest here. */
static inline uint64_t rng_below(struct rng *rng, uint64_t bound)
{
    return (uint64_t)(((unsigned __int128)rng_next(rng) * bound) >> 64);
}

static inline bool rng_one_in(struct rng *rng, uint64_t n)
{
    return rng_below(rng, n) == 0;
}

/* ---- who is at work, for the report ---- */

struct where {
    uint64_t seed;
    uint64_t op;     /* operations of this lane so far */
    unsigned lane;   /* the chain of threads that this one belongs to */
    unsigned serial; /* number of the thread in the whole run */
    bool child;      /* in a forked child */
};

static _Thread_local struct where here;

/* One line on stderr without allocating. */
static void say_where(const char *head, const char *text)
{
    char line[512];
    int len = snprintf(line, sizeof line, "stress: %s seed=%llu op=%llu thread=%u.%u%s: %s\n", head,
                       (unsigned long long)here.seed, (unsigned long long)here.op, here.lane,
                       here.serial, here.child ? " (forked child)" : "", text);
    if (len > (int)sizeof line - 1)
        len = sizeof line - 1;
    if (write(STDERR_FILENO, line, (size_t)len) < 0)
        _exit(3);
}

/* A finding: prints it and ends the process with status 1. */
__attribute__((noreturn, format(printf, 1, 2))) static void fail(const char *format, ...)
{
    char text[320];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    say_where("FAIL", text);
    _exit(1);
}

/* ---- the map of granules: one bit for each 16 bytes of address space ----
 * A leaf covers 64 MiB and is made by the first block that touches it. */

enum { GRANULE_SHIFT = 4, LEAF_SHIFT = 26, ADDRESS_BITS = 47 };
#define LEAF_WORDS ((size_t)1 << (LEAF_SHIFT - GRANULE_SHIFT - 6))
#define LEAF_COUNT ((size_t)1 << (ADDRESS_BITS - LEAF_SHIFT))

typedef _Atomic uint64_t leaf_word;
static _Atomic(leaf_word *) *leaves;

static void *map_pages(size_t size)
{
    void *mem = mmap(NULL, size, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mem == MAP_FAILED)
        fail("mmap of %zu bytes for the model failed", size);
    return mem;
}

static void model_init(void)
{
    leaves = map_pages(LEAF_COUNT * sizeof *leaves);
}

static leaf_word *leaf_of(uintptr_t addr)
{
    _Atomic(leaf_word *) *place = &leaves[addr >> LEAF_SHIFT];
    leaf_word *leaf = atomic_load_explicit(place, memory_order_acquire);
    if (leaf)
        return leaf;
    leaf_word *fresh = map_pages(LEAF_WORDS * sizeof *fresh);
    if (atomic_compare_exchange_strong(place, &leaf, fresh))
        return fresh;
    munmap(fresh, LEAF_WORDS * sizeof *fresh);
    return leaf;
}

/* Sets or clears the bits of [addr, addr + size), at least one. Returns the
 * address of the first bit that already was as wanted, or 0. */
static uintptr_t granules_change(uintptr_t addr, size_t size, bool set)
{
    uintptr_t at = addr >> GRANULE_SHIFT;
    uintptr_t end = (addr + (size ? size : 1) + 15) >> GRANULE_SHIFT;
    while (at < end) {
        uintptr_t next = (at | 63) + 1;
        uint64_t mask = ~(uint64_t)0 << (at & 63);
        if (next > end)
            mask &= ~(uint64_t)0 >> (next - end);
        leaf_word *word = leaf_of(at << GRANULE_SHIFT) + (at >> 6) % LEAF_WORDS;
        /* relaxed: the model must not order what the allocator fails to order */
        uint64_t old = set ? atomic_fetch_or_explicit(word, mask, memory_order_relaxed)
                           : ~atomic_fetch_and_explicit(word, ~mask, memory_order_relaxed);
        if (old & mask)
            return ((at & ~(uintptr_t)63) + (unsigned)__builtin_ctzll(old & mask)) << GRANULE_SHIFT;
        at = next;
    }
    return 0;
}

static void granules_enter(const void *ptr, size_t size)
{
    uintptr_t addr = (uintptr_t)ptr;
    if ((addr + size) >> ADDRESS_BITS)
        fail("block %p of %zu bytes is outside of user memory", ptr, size);
    uintptr_t hit = granules_change(addr, size, true);
    if (hit)
        fail("overlap: new block %p of %zu bytes, but %#zx already belongs to a live one", ptr,
             size, (size_t)hit);
}

static void granules_leave(const void *ptr, size_t size)
{
    uintptr_t hit = granules_change((uintptr_t)ptr, size, false);
    if (hit)
        fail("model broken: block %p of %zu bytes does not own %#zx", ptr, size, (size_t)hit);
}

/* Memory for the program's own tables, entered in the map: a block that an
 * allocator places over it is found like any overlap. */
static void *model_memory(size_t size)
{
    void *mem = map_pages(size);
    granules_enter(mem, size);
    return mem;
}

/* ---- patterns: word i of a block is key + i * PATTERN_STEP ---- */

#define PATTERN_STEP 0x9e3779b97f4a7c15u

static inline uint64_t pattern_key(const void *ptr, uint64_t nonce)
{
    return mix64((uintptr_t)ptr ^ nonce);
}

static void pattern_fill(void *ptr, size_t size, uint64_t key)
{
    uint64_t *word = ptr;
    size_t count = size / sizeof *word;
    for (size_t i = 0; i < count; i++, key += PATTERN_STEP)
        word[i] = key;
    memcpy(word + count, &key, size % sizeof *word);
}

/* Offset of the first byte that differs from the pattern, or size. */
static size_t pattern_check(const void *ptr, size_t size, uint64_t key)
{
    const uint64_t *word = ptr;
    size_t count = size / sizeof *word;
    size_t i = 0;
    while (i < count && word[i] == key) {
        i++;
        key += PATTERN_STEP;
    }
    const unsigned char *rest = (const unsigned char *)(word + i);
    unsigned char wanted[sizeof key];
    memcpy(wanted, &key, sizeof key);
    size_t at = i * sizeof *word;
    for (size_t k = 0; at < size && k < sizeof key && rest[k] == wanted[k]; k++)
        at++;
    return at;
}

/* Offset of the first byte that is not zero, or size. */
static size_t zero_check(const void *ptr, size_t size)
{
    const unsigned char *byte = ptr;
    const uint64_t *word = ptr;
    size_t i = 0;
    while (i < size / sizeof *word && word[i] == 0)
        i++;
    for (i *= sizeof *word; i < size && byte[i] == 0;)
        i++;
    return i;
}

#endif
