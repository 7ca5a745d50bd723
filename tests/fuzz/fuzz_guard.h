/*
 * fuzz_guard.h - what of a region may be touched, and where that what is handed out lies.
 *
 * Owns: the pages around a region, the sanitizer's marks in it. Threads: one at a time.
 * Invariant: while no word is changed that says where the log, or a batch, lies in the region, what
 * is neither the log's nor its heap's is poisoned.
 * Uses: fuzz_words.h. Used by: fuzz_hostile.c, fuzz_lanes.h. Not here: what is done with the log.
 */
#ifndef TIDE_FUZZ_GUARD_H
#define TIDE_FUZZ_GUARD_H

#include <sanitizer/asan_interface.h>
#include <sys/mman.h>

#include "box/logapi_lanes.h"

#include "fuzz_words.h"

enum { GUARD = 256 << 10 };

static const char *words(void)
{
    static char text[200];
    tide_log_explain(text, sizeof text);
    return text;
}

static void must(bool good, const char *what)
{
    if (!good)
        fuzz_fail("%s: %s", what, words());
}

/* Pages in front of it and behind it that cannot be touched; NULL where something else is, which is
 * not to be unmapped in the end. */
struct guards {
    void *side[2];
};

static struct guards guard(const unsigned char *base)
{
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE;
    struct guards made = {{(void *)(uintptr_t)(base - GUARD), (void *)(uintptr_t)(base + SIZE)}};
    for (int i = 0; i < 2; i++)
        if (mmap(made.side[i], GUARD, PROT_NONE, flags, -1, 0) == MAP_FAILED)
            made.side[i] = NULL;
    return made;
}

static void unguard(struct guards made)
{
    for (int i = 0; i < 2; i++)
        if (made.side[i] != NULL)
            munmap(made.side[i], GUARD);
}

/* Words are changed that say where the log and the heap lie, or which bytes of the region a batch
 * is: a log that is not in lanes may have it in a block, and so anywhere in the region. */
static bool is_moved(const struct made *it)
{
    for (unsigned i = 0; i < changed; i++) {
        size_t at = changes[i].at;
        bool says = at - it->log_at < TIDE_LAYOUT_GEOMETRY ||
                    (at >= it->log_at + it->index_at && at < it->payload_at);
        if (at < HEAD || (!it->lanes && says))
            return true;
    }
    return false;
}

/* What stays readable and writable: head and table, the log, the blocks of a log that nobody
 * changes, and their whole segment when words of the log say where a block is. */
static void poison(const struct made *it, unsigned char *base, bool on)
{
    __asan_unpoison_memory_region(base, SIZE);
    if (!on || is_moved(it))
        return;
    __asan_poison_memory_region(base + HEAD, SIZE - HEAD);
    __asan_unpoison_memory_region(base + it->log_at, it->log_size);
    __asan_unpoison_memory_region(base + it->heap_at, changed == 0 ? BLOCKS : TIDE_REGION_SEGMENT);
}

/* --- what is handed out ------------------------------------------------------------------- */

static bool is_in(const void *at, size_t bytes, const unsigned char *from, size_t size)
{
    size_t offset = (size_t)((const unsigned char *)at - from);
    return offset <= size && bytes <= size - offset;
}

/* These bytes are payload of the broker, or of the client's lane in it. */
static bool is_payload(const tide_log_t *log, const void *at, size_t bytes, size_t client,
                       size_t broker)
{
    const struct tide_lanes *lanes = &((const struct tide_logapi_lanelog *)(const void *)log)->map;
    const struct tide_logmap *map = &log->map;
    if (tide_logapi_is(log, TIDE_LOGAPI_LANES)) {
        size_t ring = lanes->granules.size * TIDE_LAYOUT_GRANULE;
        return client < lanes->clients && broker < lanes->brokers &&
               is_in(at, bytes, lanes->payload + (client * lanes->brokers + broker) * ring, ring);
    }
    size_t ring = map->granules.size * TIDE_LAYOUT_GRANULE;
    return broker < map->brokers && is_in(at, bytes, map->payload + broker * ring, ring);
}

/* A batch that is not a copy is payload of its client in its broker. Where it is not in lanes, its
 * offset is whatever an entry says: payload of the log, or a block of the region. */
static void look_at_batch(const struct made *it, const tide_log_t *log, const unsigned char *base,
                          const struct tide_log_batch *batch)
{
    size_t bytes = batch->size + (fuzz_plays("beside") ? SIZE : 0);
    bool inside = it->lanes ? is_payload(log, batch->data, bytes, batch->client, batch->broker)
                            : is_in(batch->data, bytes, base, SIZE);
    if (!inside)
        fuzz_fail("a batch of %zu bytes at %zd is beside the payload of client %u in broker %u",
                  bytes, batch->data - base, batch->client, batch->broker);
}

static void look_at_claim(const tide_log_t *log, const struct tide_log_claim *claim, size_t client,
                          size_t broker)
{
    if (claim->data == NULL || !is_payload(log, claim->data, claim->size, client, broker))
        fuzz_fail("a claim of %u bytes is beside the payload of broker %zu", claim->size, broker);
}

#endif
