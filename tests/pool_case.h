/*
 * pool_case.h - what the libcheck files of the rooms pool and front share.
 *
 * Owns: ends of child processes and what they said on stderr, resident memory,
 *   random numbers, the two header variants, the books of an owner's pages.
 * Used by: tests/test_*.c of those boxes.
 * Not here: what a box promises; that is in its own test file.
 */
#ifndef TIDE_TEST_POOL_CASE_H
#define TIDE_TEST_POOL_CASE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include "unit_base.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <tidepool/tidepool.h>

#include "box/diag.h"
#include "box/heap.h"
#include "box/mid.h"
#include "box/remote.h"
#include "box/route.h"
#include "box/segment.h"
#include "box/tiny.h"

#define UNUSED __attribute__((unused))

#if defined(__has_feature)
#define HAS_FEATURE(name) __has_feature(name)
#else
#define HAS_FEATURE(name) 0
#endif
#if defined(__SANITIZE_THREAD__) || HAS_FEATURE(thread_sanitizer)
#define THREAD_SANITIZED 1 /* a child of a process with threads can start none */
#else
#define THREAD_SANITIZED 0
#endif
#if THREAD_SANITIZED || defined(__SANITIZE_ADDRESS__) || HAS_FEATURE(address_sanitizer)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

enum { KIB = 1 << 10, MIB = 1 << 20 };

/* --- random numbers ------------------------------------------------------------ */

/* splitmix64: the same numbers in every run */
UNUSED static uint64_t next_random(uint64_t *state)
{
    return tide_mix(*state += 0x9e3779b97f4a7c15ULL);
}

UNUSED static void shuffle(void **items, size_t count, uint64_t *state)
{
    for (size_t i = count; i > 1; i--) {
        size_t at = next_random(state) % i;
        void *item = items[at];
        items[at] = items[i - 1];
        items[i - 1] = item;
    }
}

/* --- child processes ------------------------------------------------------------ */

struct ending {
    int status;
    char said[16 * 1024]; /* on stderr */
};

/* Runs act(arg) in a child process with stderr caught; the child ends with 0 when
 * act returns. */
UNUSED static struct ending run_apart(void (*act)(void *), void *arg)
{
    struct ending end = {-1, ""};
    int said = memfd_create("said", MFD_CLOEXEC);
    ck_assert_int_ge(said, 0);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) { /* no ck_assert in here: another thread may have held its lock */
        dup2(said, STDERR_FILENO);
        act(arg);
        _exit(0);
    }
    ck_assert_int_gt(pid, 0);
    ck_assert_int_eq(waitpid(pid, &end.status, 0), pid);
    ssize_t got = pread(said, end.said, sizeof end.said - 1, 0);
    end.said[got > 0 ? got : 0] = '\0';
    unit_own_words(end.said);
    close(said);
    return end;
}

/* act(arg) must end by abort, after exactly this text. */
UNUSED static void must_die(void (*act)(void *), void *arg, const char *text)
{
    struct ending end = run_apart(act, arg);
    ck_assert_str_eq(end.said, text);
    ck_assert_msg(WIFSIGNALED(end.status) && WTERMSIG(end.status) == SIGABRT, "status %#x",
                  (unsigned)end.status);
}

/* The line that a fault gives, as it must be. */
UNUSED static const char *fault_line(const char *what, const void *p, const char *call,
                                     const char *tier, size_t size, uint32_t owner,
                                     const char *state)
{
    static char line[512];
    snprintf(line, sizeof line, "tidepool: %s: 0x%llx in %s: tier=%s size=%zu owner=%u state=%s\n",
             what, (unsigned long long)(uintptr_t)p, call, tier, size, owner & (TIDE_OWNER_IDS - 1),
             state);
    return line;
}

/* act(arg) must end well and say nothing but `text`. */
UNUSED static void must_live(void (*act)(void *), void *arg, const char *text)
{
    struct ending end = run_apart(act, arg);
    ck_assert_str_eq(end.said, text);
    ck_assert_msg(WIFEXITED(end.status) && WEXITSTATUS(end.status) == 0, "status %#x",
                  (unsigned)end.status);
}

/* In such a child: leaves with a status that tells where. */
#define APART(cond)                                                                                \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            dprintf(STDERR_FILENO, "%s:%d: %s\n", __FILE__, __LINE__, #cond);                      \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

/* Runs this program again with TIDEPOOL_OPTIONS and the argument `scene`. */
struct scene {
    const char *name, *options;
};

UNUSED static void run_scene(void *arg)
{
    const struct scene *scene = arg;
    if (scene->options != NULL)
        setenv("TIDEPOOL_OPTIONS", scene->options, 1);
    execl("/proc/self/exe", "scene", scene->name, (char *)NULL);
    _exit(3);
}

/* --- memory ---------------------------------------------------------------------- */

/* Resident bytes of a range. */
UNUSED static size_t resident_in(uintptr_t base, size_t size)
{
    static unsigned char seen[4096];
    size_t page = (size_t)sysconf(_SC_PAGESIZE), bytes = 0;
    for (size_t at = 0; at < size; at += sizeof seen * page) {
        size_t part = tide_min(size - at, sizeof seen * page);
        ck_assert_int_eq(mincore((void *)(base + at), part, seen), 0);
        for (size_t i = 0; i < (part + page - 1) / page; i++)
            bytes += (seen[i] & 1) * page;
    }
    return bytes;
}

/* Resident bytes of all windows: blocks, not the tables beside them. */
UNUSED static size_t resident_blocks(void)
{
    size_t bytes = 0;
    for (unsigned i = 0; i < atomic_load(&tide_window_count); i++) {
        const struct tide_window *window = &tide_windows[i];
        if (window->segments != 0)
            bytes += resident_in(window->base, window->segments << window->shift);
    }
    return bytes;
}

UNUSED static bool is_filled(const void *block, int byte, size_t size)
{
    const unsigned char *at = block;
    return size == 0 || (at[0] == byte && memcmp(at, at + 1, size - 1) == 0);
}

/* The kernel makes no more writable memory from here on. The old limit. */
UNUSED static struct rlimit memory_ends(void)
{
    struct rlimit before, none;
    ck_assert_int_eq(getrlimit(RLIMIT_DATA, &before), 0);
    none = before;
    none.rlim_cur = 4096; /* 0 would count as no limit */
    ck_assert_int_eq(setrlimit(RLIMIT_DATA, &none), 0);
    return before;
}

UNUSED static void memory_returns(struct rlimit before)
{
    ck_assert_int_eq(setrlimit(RLIMIT_DATA, &before), 0);
}

/* --- variants --------------------------------------------------------------------- */

/* Puts Mid's checked words into the shadow table or in band, for the whole test; the
 * calling thread gets a heap that knows. Before the first block of Tiny or Mid. */
UNUSED static void use_header(bool shadow)
{
    struct tide_source source;
    ck_assert_uint_eq(tide_windows[TIDE_KIND_MID].base, 0);
    ck_assert_int_eq(tide_source_open(&source, "near"), 0);
    tide_segment_start(&source, shadow);
    tide_self_set(&tide_cache_empty);
}

/* malloc without its fast path. */
UNUSED static void *malloc_slow(size_t size, void *odd)
{
    if (size > TIDE_MID_TOP)
        return tide_route_malloc_large(size, tide_self);
    unsigned slot = tide_sizeclass_slot(size);
    return tide_route_malloc_slow(size, tide_self, odd, &tide_self->slot[slot]);
}

UNUSED static struct tide_page *page_of(const void *p)
{
    const struct tide_window *window = tide_pagemap_find((uintptr_t)p);
    ck_assert_ptr_nonnull(window);
    return tide_window_page(window, (uintptr_t)p);
}

/* --- the books of an owner's pages --------------------------------------------------- */

/* What is wrong with a page, or NULL. */
UNUSED static const char *page_fault(const struct tide_pages *pages, struct tide_page *page,
                                     bool full)
{
    unsigned set = 0;
    for (unsigned i = 0; i < page->blocks; i++) {
        bool out = tide_page_is_out(page, i);
        set += out;
        if (out && i >= page->bump)
            return "a bit is set above bump";
        if (!out && i < page->bump && i / 64 < page->hint)
            return "a free block below the hint";
    }
    if (set != page->used || page->bump > page->blocks)
        return "used is not the number of set bits";
    if (full != (page->used == page->blocks) || page->used == 0)
        return "a page in the wrong list";
    if (page->slack > (page->bump - page->used) * page->stride)
        return "more slack than free blocks";
    if (page->limit != 0 && page->limit != page->bump * page->stride)
        return "a limit that is not bump * stride";
    return atomic_load(&page->owner) == pages->owner ? NULL : "another owner";
}

UNUSED static const char *bin_fault(const struct tide_pages *pages, const struct tide_bin *bin,
                                    uint64_t *slack)
{
    const struct tide_page *before = NULL;
    const char *fault = NULL;
    uint64_t used = 0, count = 0;
    for (int full = 0; full < 2; full++) {
        before = NULL;
        for (struct tide_page *page = full ? bin->full : bin->head; page != NULL && fault == NULL;
             before = page, page = page->next) {
            fault = page->prev != before ? "links do not match" : page_fault(pages, page, full);
            used += page->used;
            *slack += page->slack;
            count++;
        }
        if (fault == NULL && !full && bin->tail != before)
            fault = "the tail is not the last page";
    }
    if (fault == NULL && (used != bin->used || count != bin->pages || bin->taken < bin->used))
        fault = "the sums of a bin";
    return fault;
}

/* What is wrong with an owner's pages, or NULL. Takes the lock. */
UNUSED static const char *pages_fault(struct tide_pages *pages)
{
    const char *fault = NULL;
    uint64_t slack = 0, live = 0;
    tide_lock_take(&pages->lock);
    for (enum tide_kind kind = 0; kind < TIDE_KINDS && fault == NULL; kind++) {
        for (unsigned cls = 0; cls < tide_sizeclass_count(kind) && fault == NULL; cls++) {
            fault = bin_fault(pages, &pages->bin[kind][cls], &slack);
            live += pages->bin[kind][cls].used * tide_sizeclass_stride(kind, cls);
        }
    }
    if (fault == NULL && slack != pages->slack)
        fault = "the sum of slack";
    if (fault == NULL && (live != pages->live || live > pages->high))
        fault = "live is not the sum of used blocks";
    tide_lock_drop(&pages->lock);
    return fault;
}

UNUSED static uint64_t pages_sum(struct tide_pages *pages, bool of_pages)
{
    uint64_t sum = 0;
    for (int kind = 0; kind < TIDE_KINDS; kind++)
        for (int cls = 0; cls < TIDE_CLASSES_MAX; cls++)
            sum += of_pages ? pages->bin[kind][cls].pages : pages->bin[kind][cls].used;
    return sum;
}

#define MUST_BE_VALID(pages) ck_assert_ptr_null(pages_fault(pages))

/* A first-class owner without blocks. */
UNUSED static struct tide_pages *new_owner(void)
{
    struct tide_heap *heap = tide_heap_found();
    ck_assert_ptr_nonnull(heap);
    return &heap->pages;
}

/* Takes blocks as the boxes above do. */
UNUSED static unsigned take_blocks(struct tide_pages *pages, enum tide_kind kind, unsigned cls,
                                   void **out, unsigned want, bool *zeroed)
{
    tide_lock_take(&pages->lock);
    unsigned got = tide_page_refill(pages, kind, cls, out, want, zeroed);
    tide_lock_drop(&pages->lock);
    return got;
}

/* The same as often as it takes to get `want` blocks. */
UNUSED static void take_many(struct tide_pages *pages, enum tide_kind kind, unsigned cls,
                             void **out, unsigned want)
{
    for (unsigned got = 0; got < want;)
        got += take_blocks(pages, kind, cls, out + got, want - got, NULL);
}

/* As free does it: a free block of Tiny has its mark. */
UNUSED static void give_blocks(struct tide_pages *pages, void *const *blocks, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        const struct tide_window *window = tide_pagemap_find((uintptr_t)blocks[i]);
        if (window != NULL && window->kind == TIDE_KIND_TINY &&
            !tide_page_headed(page_of(blocks[i])))
            ((uint64_t *)blocks[i])[1] = tide_key_mark(blocks[i]);
    }
    tide_lock_take(&pages->lock);
    tide_page_flush(pages, blocks, count, "free");
    tide_lock_drop(&pages->lock);
}

/* As a thread does it that frees a block of somebody else: the word of Mid says so, the first
 * word of Tiny does. */
UNUSED static void put_remote(struct tide_outbox *box, void *p)
{
    const struct tide_window *window = tide_pagemap_find((uintptr_t)p);
    const struct tide_page *page = page_of(p);
    if (tide_page_headed(page)) {
        tide_mid_set_live(window, p, atomic_load(&page->owner), page->cls);
        tide_mid_set_freed(window, p, TIDE_MID_REMOTE);
    } else if (page->kind == TIDE_KIND_TINY) {
        tide_tiny_set_mark(p);
        tide_tiny_set_coming(p);
    }
    tide_remote_put(box, page, p);
}

/* --- the runner --------------------------------------------------------------------- */

/* Without huge pages, which make more memory resident than was touched. */
UNUSED static int run_group(const char *name, TCase *group)
{
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    Suite *suite = suite_create(name);
    suite_add_tcase(suite, group);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}

/* Nothing is live, and nothing is lost. */
UNUSED static void must_be_all_free(void)
{
    tide_route_flush_thread();
    for (struct tide_heap *heap = tide_heap_first(); heap != NULL; heap = heap->next) {
        tide_lock_take(&heap->pages.lock);
        tide_remote_drain(&heap->pages);
        tide_lock_drop(&heap->pages.lock);
        MUST_BE_VALID(&heap->pages);
        ck_assert_uint_eq(pages_sum(&heap->pages, false), 0);
    }
}

#endif
