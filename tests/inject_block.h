/*
 * inject_block.h - blocks of a run in which requests may fail.
 *
 * Owns: a table of blocks, each filled with a pattern of its own; the rule of what a
 *   failure may look like (NULL with ENOMEM); how much is live and resident.
 * Used by: prog_inject_run.c, prog_limits_load.c.
 * Not here: what makes requests fail.
 */
#ifndef TIDE_TEST_INJECT_BLOCK_H
#define TIDE_TEST_INJECT_BLOCK_H

#include "pitfall.h"

#include <tidepool/heap.h>
#include <tidepool/options.h>
#include <tidepool/stats.h>

#pragma weak tide_heap_create
#pragma weak tide_heap_destroy
#pragma weak tide_heap_malloc
#pragma weak tide_heap_calloc
#pragma weak tide_heap_realloc
#pragma weak tide_heap_aligned_alloc
#pragma weak tide_option_set
#pragma weak tide_stats
#pragma weak tide_stats_json

/* After PATIENCE refusals only one request in RARELY is made: refusals take long. */
enum { SLOTS = 4096, STEP = 1024, LEAP = 16 * STEP, PATIENCE = 20, RARELY = 16 };

/* The compiler must not know what these do. */
static void *(*volatile do_malloc)(size_t) = malloc;
static void *(*volatile do_calloc)(size_t, size_t) = calloc;
static void *(*volatile do_realloc)(void *, size_t) = realloc;
static void *(*volatile do_aligned_alloc)(size_t, size_t) = aligned_alloc;
static void *(*volatile do_memalign)(size_t, size_t) = memalign;

static struct slot {
    unsigned char *at;
    size_t size;
} slots[SLOTS];

static _Atomic unsigned nulls;

/* Calls visit(at, index of the word) for the words of a block that carry its pattern: all
 * of a small one, of others one in STEP bytes or, to bring in less memory, in LEAP; and
 * the last one. */
static bool each_word(const struct slot *slot, size_t size, bool (*visit)(void *, uint64_t))
{
    size_t step = size <= STEP ? 8 : size <= LEAP ? STEP : LEAP;
    for (size_t at = 0; at + 16 <= size; at += step)
        if (!visit(slot->at + at, at))
            return false;
    return visit(slot->at + slot->size - 8, slot->size);
}

static uint64_t word_of(const void *at, uint64_t index)
{
    return ((uintptr_t)at + index) * 0x9e3779b97f4a7c15u;
}

static bool write_word(void *at, uint64_t index)
{
    uint64_t word = word_of(at, index);
    memcpy(at, &word, sizeof word);
    return true;
}

static bool is_word(void *at, uint64_t index)
{
    uint64_t word = word_of(at, index);
    return memcmp(at, &word, sizeof word) == 0;
}

static void must_hold(const struct slot *slot)
{
    if (slot->at && !each_word(slot, slot->size, is_word))
        die("block %p of %zu bytes was overwritten", (void *)slot->at, slot->size);
}

/* What a request gave goes into the slot; NULL is right only with ENOMEM. */
static bool keep(size_t index, void *block, size_t size)
{
    if (!block && errno != ENOMEM)
        die("NULL for %zu bytes with errno %d", size, errno);
    nulls += !block;
    slots[index] = (struct slot){block, size};
    if (block)
        each_word(&slots[index], size, write_word);
    return block;
}

static bool is_vain(size_t index)
{
    return nulls > PATIENCE && index % RARELY != 0;
}

static bool take(size_t index, size_t size)
{
    errno = ENOMEM;
    if (is_vain(index))
        return keep(index, NULL, size);
    errno = 0;
    return keep(index, do_malloc(size), size);
}

static bool is_zero(const unsigned char *block, size_t size)
{
    return size == 0 || (block[0] == 0 && memcmp(block, block + 1, size - 1) == 0);
}

static bool take_zero(size_t index, size_t size)
{
    if (is_vain(index))
        return take(index, size);
    errno = 0;
    unsigned char *block = do_calloc(size, 1);
    if (block && !is_zero(block, size))
        die("calloc(%zu) gave memory that is not zero", size);
    return keep(index, block, size);
}

/* By three ways, in turn; posix_memalign does not set errno. */
static bool take_aligned(size_t index, size_t align, size_t size)
{
    void *block = NULL;
    if (is_vain(index))
        return take(index, size);
    errno = 0;
    if (index % 3 == 0)
        block = do_aligned_alloc(align, size);
    else if (index % 3 == 1)
        block = do_memalign(align, size);
    else
        errno = posix_memalign(&block, align, size);
    if ((uintptr_t)block % align)
        die("%p is not aligned to %zu", block, align);
    return keep(index, block, size);
}

static void drop(size_t index)
{
    must_hold(&slots[index]);
    errno = 4321;
    free(slots[index].at);
    if (errno != 4321)
        die("free set errno to %d", errno);
    slots[index].at = NULL;
}

/* On failure the block stays as it was. */
static bool resize(size_t index, size_t size)
{
    struct slot *slot = &slots[index];
    errno = 0;
    must_hold(slot);
    uint64_t first = 0, last = 0;
    size_t less = size < slot->size ? size : slot->size;
    memcpy(&first, slot->at, sizeof first);
    memcpy(&last, slot->at + (less - 16) / LEAP * LEAP, sizeof last);
    unsigned char *moved = do_realloc(slot->at, size);
    if (!moved) {
        if (errno != ENOMEM)
            die("realloc gave NULL with errno %d", errno);
        nulls++;
        must_hold(slot);
        return false;
    }
    if (memcmp(moved, &first, sizeof first) ||
        memcmp(moved + (less - 16) / LEAP * LEAP, &last, sizeof last))
        die("realloc to %zu bytes lost what was in the block", size);
    return keep(index, moved, size);
}

static void check_all(void)
{
    for (size_t i = 0; i < SLOTS; i++)
        must_hold(&slots[i]);
}

UNUSED static void drop_all(void)
{
    for (size_t i = 0; i < SLOTS; i++)
        if (slots[i].at)
            drop(i);
}

/* Blocks that are live, by the library's books. */
UNUSED static uint64_t live_blocks(void)
{
    struct tide_stats stats;
    if (tide_stats(&stats))
        die("no statistics");
    return stats.tiny.live_blocks + stats.mid.live_blocks + stats.large.live_blocks;
}

/* The figure in bytes of a line of /proc/self/smaps_rollup or status, exact where statm
 * is not; without stdio. */
UNUSED static size_t kernel_figure(const char *file, const char *line)
{
    char text[4096] = "";
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, text, sizeof text - 1) <= 0)
        die("%s cannot be read", file);
    close(fd);
    const char *at = strstr(text, line);
    return at ? strtoul(at + strlen(line), NULL, 10) * KIB : 0;
}

UNUSED static size_t anonymous(void)
{
    return kernel_figure("/proc/self/smaps_rollup", "\nAnonymous:");
}

#endif
