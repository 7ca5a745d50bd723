/*
 * tidepool/malloc.h - the malloc family under the library's own names.
 *
 * Every function behaves as its libc namesake (C11/C23, POSIX, glibc) and may
 * be called from any thread at any time, before main() and in TLS destructors
 * too. Blocks are interchangeable: what any of these functions returned, any
 * other of them may resize, measure or free, and so may the libc names when
 * the library replaces them.
 *
 * Common rules
 *   - All sizes and alignments are in bytes. Every block is aligned to 16.
 *   - Routing by size: 0..2047 Tiny (near memory), 2048..32768 Mid (the Mid
 *     source: CXL, a far NUMA node, or near memory), above that Large (near).
 *     The Tiny ceiling is the option tiny_max.
 *   - A failed call returns NULL with errno ENOMEM (EINVAL for a bad
 *     alignment); a size above PTRDIFF_MAX or an overflowing product fails.
 *   - tide_free never changes errno.
 *   - A pointer that is not a live block (freed before, interior, foreign,
 *     corrupt header) is misuse: one line on stderr and abort(), unless the
 *     option misuse= says otherwise.
 *   - None of them is async-signal-safe in the sense of POSIX. A handler that
 *     interrupts the fast path may allocate and free; one that interrupts the
 *     slow path ends the process with a message instead of corrupting it.
 */
#ifndef TIDEPOOL_MALLOC_H
#define TIDEPOOL_MALLOC_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define TIDE_ATTR_MALLOC __attribute__((malloc))
#define TIDE_ATTR_SIZE(...) __attribute__((alloc_size(__VA_ARGS__)))
#define TIDE_ATTR_UNUSED_RESULT __attribute__((warn_unused_result))
#else
#define TIDE_ATTR_MALLOC
#define TIDE_ATTR_SIZE(...)
#define TIDE_ATTR_UNUSED_RESULT
#endif

/* The tiers of memory a block can live in. The numbers are part of the ABI. */
enum tide_tier {
    TIDE_TIER_NONE = 0,  /* not a live block of this library */
    TIDE_TIER_TINY = 1,  /* near memory, size classes up to 2 KiB */
    TIDE_TIER_MID = 2,   /* the Mid source, up to 32 KiB */
    TIDE_TIER_LARGE = 3, /* near memory, above 32 KiB */
};

/* malloc(3): `size` bytes, not initialised. Size 0 gives a unique block. */
void *tide_malloc(size_t size) TIDE_ATTR_MALLOC TIDE_ATTR_SIZE(1) TIDE_ATTR_UNUSED_RESULT;

/* calloc(3): count * size bytes of zeroes; an overflowing product fails. */
void *tide_calloc(size_t count, size_t size) TIDE_ATTR_MALLOC TIDE_ATTR_SIZE(1, 2)
    TIDE_ATTR_UNUSED_RESULT;

/* realloc(3), as glibc does it: ptr NULL allocates, size 0 frees ptr and
 * returns NULL. On failure the old block stays as it was. */
void *tide_realloc(void *ptr, size_t size) TIDE_ATTR_SIZE(2) TIDE_ATTR_UNUSED_RESULT;

/* reallocarray(3): tide_realloc(ptr, count * size) that fails on overflow. */
void *tide_reallocarray(void *ptr, size_t count, size_t size) TIDE_ATTR_SIZE(2, 3)
    TIDE_ATTR_UNUSED_RESULT;

/* free(3). NULL is ignored. */
void tide_free(void *ptr);

/* C23 free_sized / free_aligned_sized: `size` (and `alignment`) must be those
 * of the allocation. They are trusted in the default build. */
void tide_free_sized(void *ptr, size_t size);
void tide_free_aligned_sized(void *ptr, size_t alignment, size_t size);

/* C11 aligned_alloc: alignment must be a power of two (EINVAL otherwise);
 * size need not be a multiple of it. */
void *tide_aligned_alloc(size_t alignment, size_t size) TIDE_ATTR_MALLOC TIDE_ATTR_SIZE(2)
    TIDE_ATTR_UNUSED_RESULT;

/* posix_memalign(3): 0 and *out, or EINVAL / ENOMEM with *out unchanged;
 * errno is not touched. alignment: a power of two, multiple of sizeof(void*). */
int tide_posix_memalign(void **out, size_t alignment, size_t size) TIDE_ATTR_UNUSED_RESULT;

/* memalign(3), as glibc: an alignment that is no power of two is rounded up
 * to one. */
void *tide_memalign(size_t alignment, size_t size) TIDE_ATTR_MALLOC TIDE_ATTR_SIZE(2)
    TIDE_ATTR_UNUSED_RESULT;

/* valloc(3): page-aligned; pvalloc rounds the size up to whole pages too. */
void *tide_valloc(size_t size) TIDE_ATTR_MALLOC TIDE_ATTR_SIZE(1) TIDE_ATTR_UNUSED_RESULT;
void *tide_pvalloc(size_t size) TIDE_ATTR_MALLOC TIDE_ATTR_UNUSED_RESULT;

/* malloc_usable_size(3): bytes that may be used at ptr; 0 for NULL. */
size_t tide_malloc_usable_size(const volatile void *ptr);

/* malloc_trim(3): gives all free memory back to the system that can be
 * reached: empty and partly empty pages and undelivered frees of every heap,
 * retained mappings; everything but the other threads' magazines. `pad` bytes
 * of free memory may be kept. Returns 1 if something was returned, else 0. */
int tide_malloc_trim(size_t pad);

/* Like tide_malloc, but on the named tier whatever the size class would say.
 * TIDE_TIER_TINY serves up to 2048 bytes, TIDE_TIER_MID up to 32768 and
 * TIDE_TIER_LARGE any size. A size that the tier cannot hold, or an unknown
 * tier, gives NULL with errno EINVAL. */
void *tide_malloc_on(enum tide_tier tier, size_t size) TIDE_ATTR_MALLOC TIDE_ATTR_SIZE(2)
    TIDE_ATTR_UNUSED_RESULT;

/* The tier that the live block at ptr is in; TIDE_TIER_NONE for NULL, for
 * pointers into the middle of a block, for freed and for foreign memory. Never
 * faults and never ends the process, whatever ptr is. Takes a lock for memory
 * that is not Tiny or Mid: meant for tests and tools, not for hot paths. */
enum tide_tier tide_tier_of(const volatile void *ptr);

#ifdef __cplusplus
}
#endif

#endif
