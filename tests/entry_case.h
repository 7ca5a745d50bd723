/*
 * entry_case.h - what the two programs that test the entry points share.
 *
 * A program is called as `PROGRAM LABEL libc|tidepool [thread]`. It does not know
 * the library: it runs as it is, under preload, or linked with the static archive.
 * Cases marked BOTH hold for glibc too and run everywhere, so a claim that
 * something is "as glibc does it" is checked against glibc. Cases marked OURS are
 * promises of tidepool alone. Each case prints one line.
 */
#ifndef ENTRY_CASE_H
#define ENTRY_CASE_H

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tidepool/malloc.h>

/* Names that may be missing: in libc's own malloc, or in its headers. */
#define MAYBE __attribute__((weak))
extern void *__libc_malloc(size_t size) MAYBE;
extern void *__libc_calloc(size_t count, size_t size) MAYBE;
extern void *__libc_realloc(void *ptr, size_t size) MAYBE;
extern void __libc_free(void *ptr) MAYBE;
extern void *__libc_memalign(size_t alignment, size_t size) MAYBE;
extern void *__libc_valloc(size_t size) MAYBE;
extern void *__libc_pvalloc(size_t size) MAYBE;
extern __typeof__(tide_malloc) tide_malloc MAYBE;
extern __typeof__(tide_tier_of) tide_tier_of MAYBE;

static const char *label;
static bool ours;        /* run with tidepool */
static bool case_failed; /* of the current case */

#define EXPECT(cond)                                                                               \
    do {                                                                                           \
        if (!(cond))                                                                               \
            complain(__FILE__, __LINE__, #cond);                                                   \
    } while (0)

/* The first complaint of a case is shown. */
static void complain(const char *file, int line, const char *cond)
{
    if (!case_failed)
        printf("# %s:%d: expected %s (errno %d)\n", file, line, cond, errno);
    case_failed = true;
}

/* A value and a pointer that the compiler knows nothing about: it can neither
 * warn about the size, nor drop a call, nor guess what the call did to errno. */
static inline size_t opaque(size_t value)
{
    __asm__ volatile("" : "+r"(value));
    return value;
}

static inline void *keep(void *ptr)
{
    __asm__ volatile("" : "+r"(ptr) : : "memory");
    return ptr;
}

static inline int errno_now(void)
{
    __asm__ volatile("" : : : "memory");
    return errno;
}

#define EXPECT_FAILURE(call, error)                                                                \
    do {                                                                                           \
        errno = 0;                                                                                 \
        EXPECT(keep(call) == NULL);                                                                \
        EXPECT(errno == (error));                                                                  \
    } while (0)

static inline bool is_aligned(const void *ptr, size_t alignment)
{
    return ((uintptr_t)ptr & (alignment - 1)) == 0;
}

/* A pattern that differs from block to block and from byte to byte. */
static inline unsigned char pattern_at(uintptr_t seed, size_t i)
{
    return (unsigned char)((seed * 131 + i * 7 + (i >> 8) * 13) | 1);
}

static inline void fill(void *ptr, size_t size, uintptr_t seed)
{
    unsigned char *bytes = ptr;
    for (size_t i = 0; i < size; i++)
        bytes[i] = pattern_at(seed, i);
}

static inline bool holds(const void *ptr, size_t size, uintptr_t seed)
{
    const unsigned char *bytes = ptr;
    for (size_t i = 0; i < size; i++)
        if (bytes[i] != pattern_at(seed, i))
            return false;
    return true;
}

static inline bool all_zero(const void *ptr, size_t size)
{
    const unsigned char *bytes = ptr;
    for (size_t i = 0; i < size; i++)
        if (bytes[i] != 0)
            return false;
    return true;
}

/* Sizes at and around every border between tiers, then huge ones. */
static const size_t sizes[] = {1,     8,     16,    17,     100,    1000,    1023,    1024,
                               1025,  2047,  2048,  2049,   4096,   10000,   32767,   32768,
                               32769, 65536, 70000, 200000, 524288, 1048576, 1048577, 2200000};
enum { SIZES = sizeof sizes / sizeof *sizes };

struct entry_case {
    enum { BOTH, OURS } who;
    const char *name;
    void (*run)(void);
};
#define CASE(who, function) who, #function, function

struct entry_list {
    const struct entry_case *cases;
    size_t count;
    int failures;
};

static void *entry_run(void *data)
{
    struct entry_list *list = data;
    for (size_t i = 0; i < list->count; i++) {
        if (list->cases[i].who == OURS && !ours)
            continue;
        case_failed = false;
        list->cases[i].run();
        list->failures += case_failed;
        printf("%s - %s: %s\n", case_failed ? "not ok" : "ok", label, list->cases[i].name);
        fflush(stdout);
    }
    return NULL;
}

static inline int entry_main(int argc, char **argv, const struct entry_case *cases, size_t count)
{
    struct entry_list list = {cases, count, 0};
    pthread_t thread;
    if (argc < 3)
        return 2;
    label = argv[1];
    ours = strcmp(argv[2], "tidepool") == 0;
    if (ours != (tide_malloc != NULL)) {
        printf("not ok - %s: runs with %s\n", label, argv[2]);
        return 1;
    }
    if (argc > 3 && pthread_create(&thread, NULL, entry_run, &list) == 0)
        pthread_join(thread, NULL);
    else
        entry_run(&list);
    return list.failures != 0;
}

#endif
