/*
 * fuzz_books.h - what the library says about itself, against the model: statistics by
 *   tier and class, the JSON line, counts of heaps and of misuse.
 *
 * Owns: struct books: what the figures must be beside those of blocks.
 * Threads: nobody else may be in the allocator meanwhile.
 * Invariant: changes nothing.
 * Uses: fuzz_model.h, fuzz_valid.h.
 * Used by: fuzz_api.c.
 * Not here: what is checked at each call (fuzz_calls.h).
 *
 * Faults (FUZZ_PLANT): books (one block too many is expected).
 */
#ifndef TIDE_FUZZ_BOOKS_H
#define TIDE_FUZZ_BOOKS_H

#include <sys/mman.h>

#include "fuzz_calls.h"
#include "fuzz_valid.h"

enum { JSON_MAX = 128 << 10, METADATA_MAX = 256 << 20, TINY_TOP = 65536 }; /* with an alignment */

static struct {
    unsigned threads, heaps, parked; /* that have a heap; first-class; left by threads */
    uint64_t faults;                 /* misuse that was reported or excused, since start */
    uint64_t lost;                   /* blocks that were set aside before this input */
    int json;                        /* a file in memory */
} books;

static uint64_t faults_now(const struct tide_stats *stats)
{
    return stats->misuses + stats->foreign_leaks;
}

static void same(const char *what, uint64_t is, uint64_t want)
{
    if (is != want)
        fuzz_fail("%s: the library says %llu, the model %llu", what, (unsigned long long)is,
                  (unsigned long long)want);
}

/* The same, but for some of `lost` blocks of Tiny that count as live. */
static void about(const char *what, uint64_t is, uint64_t want, uint64_t lost)
{
    if (is < want || is > want + lost)
        same(what, is, want);
}

static void books_tier(const struct tide_tier_stats *stats, enum tide_tier tier, uint64_t lost)
{
    static const char *const names[] = {"none", "tiny", "mid", "large"};
    char what[64];
    snprintf(what, sizeof what, "live blocks of %s", names[tier]);
    about(what, stats->live_blocks, model.blocks[tier] + fuzz_plays("books"), lost);
    snprintf(what, sizeof what, "live bytes of %s", names[tier]);
    about(what, stats->live_bytes, model.bytes[tier], lost * TINY_TOP);
    if (stats->mapped_bytes < stats->live_bytes + stats->cached_bytes)
        fuzz_fail("%s: %llu bytes mapped, but %llu live", names[tier],
                  (unsigned long long)stats->mapped_bytes, (unsigned long long)stats->live_bytes);
}

/* Blocks of Tiny that were set aside in this input: somebody wrote to them while they were
 * free (step_write). */
static uint64_t books_lost(void)
{
    struct tide_stats stats;
    if (tide_stats(&stats) != 0)
        fuzz_fail("tide_stats failed");
    return stats.lost_blocks - books.lost;
}

/* Live blocks of the model with that usable size. */
FUZZ_PLAIN static uint64_t model_of_class(enum tide_tier tier, size_t usable)
{
    uint64_t count = 0;
    for (unsigned i = 0; i < model.live; i++) {
        const struct block *block = model.extent[i].block;
        count += block->tier == tier && block->usable == usable;
    }
    return count;
}

/* One row. In Large a mapping may be as large as a run: its rows tell no more than the
 * tier does. */
static void books_class(enum tide_tier tier, size_t index)
{
    struct tide_tier_stats row;
    size_t usable = 1;
    char what[64];
    int result = tide_stats_class(tier, index, &row, &usable);
    if (result != 0 && result != -ENOENT)
        fuzz_fail("tide_stats_class(%d, %zu) gave %d", (int)tier, index, result);
    snprintf(what, sizeof what, "live blocks of tier %d, size %zu", (int)tier, usable);
    if (result == 0 && tier != TIDE_TIER_LARGE)
        about(what, row.live_blocks, model_of_class(tier, usable),
              tier == TIDE_TIER_TINY ? books_lost() : 0);
}

static void books_check(void)
{
    struct tide_stats stats;
    if (tide_stats(&stats) != 0)
        fuzz_fail("tide_stats failed");
    books_tier(&stats.tiny, TIDE_TIER_TINY, stats.lost_blocks - books.lost);
    books_tier(&stats.mid, TIDE_TIER_MID, 0);
    books_tier(&stats.large, TIDE_TIER_LARGE, 0);
    same("far and near bytes of mid", stats.mid_far_bytes + stats.mid_near_bytes,
         stats.mid.mapped_bytes);
    same("heaps", stats.heaps, books.threads + books.heaps);
    same("parked heaps", stats.parked_heaps, books.parked);
    same("misuse", faults_now(&stats), books.faults);
    if (stats.metadata_bytes > METADATA_MAX)
        fuzz_fail("%llu bytes of metadata", (unsigned long long)stats.metadata_bytes);
}

/* ---- JSON ---- */

/* Brackets in pairs outside of strings, one line. */
FUZZ_PLAIN static void json_shape(const char *text)
{
    int depth = 0;
    bool string = false;
    const char *at = text;
    for (; *at != '\0' && (depth > 0 || at == text); at++) {
        if (string && *at == '\\' && at[1] != '\0')
            at++;
        else if (*at == '"')
            string = !string;
        else if (!string && (*at == '{' || *at == '['))
            depth++;
        else if (!string && (*at == '}' || *at == ']'))
            depth--;
    }
    if (depth != 0 || string || at[0] != '\n' || at[1] != '\0')
        fuzz_fail("the JSON line has no end, or text behind it");
}

/* As strstr, which would measure the whole line each time. */
FUZZ_PLAIN static const char *json_find(const char *text, const char *name)
{
    for (; *text != '\0'; text++) {
        size_t i = 0;
        while (name[i] != '\0' && text[i] == name[i])
            i++;
        if (name[i] == '\0')
            return text;
    }
    return NULL;
}

/* Reads `NAME:NUMBER` at or behind *at, and moves *at there. */
FUZZ_PLAIN static uint64_t json_number(const char **at, const char *name)
{
    uint64_t number = 0;
    const char *found = json_find(*at, name);
    if (found == NULL)
        fuzz_fail("the JSON line lacks %s", name);
    *at = found + strlen(name);
    for (; **at >= '0' && **at <= '9'; ++*at)
        number = number * 10 + (uint64_t)(**at - '0');
    return number;
}

/* The tier's figures and its rows, which must add up to them. */
static void json_tier(const char *text, const char *head, enum tide_tier tier)
{
    uint64_t blocks = json_number(&text, head), bytes = json_number(&text, "\"live_bytes\":");
    const char *end = json_find(text, "]}");
    uint64_t lost = tier == TIDE_TIER_TINY ? books_lost() : 0;
    about(head, blocks, model.blocks[tier], lost);
    about(head, bytes, model.bytes[tier], lost * TINY_TOP);
    for (const char *row; (row = json_find(text, "{\"size\":")) != NULL && row < end;) {
        uint64_t usable = json_number(&text, "{\"size\":");
        uint64_t live = json_number(&text, "\"live_blocks\":");
        blocks -= live;
        bytes -= json_number(&text, "\"live_bytes\":");
        if (tier != TIDE_TIER_LARGE)
            about("live blocks of a row", live, model_of_class(tier, usable), lost);
    }
    same("blocks beside the rows", blocks, 0);
    same("bytes beside the rows", bytes, 0);
}

static const char *json_read(void)
{
    static char text[JSON_MAX];
    if (ftruncate(books.json, 0) != 0 || tide_stats_json(books.json) != 0)
        fuzz_fail("tide_stats_json failed");
    ssize_t got = pread(books.json, text, sizeof text - 1, 0);
    if (lseek(books.json, 0, SEEK_SET) != 0 || got <= 0)
        fuzz_fail("the JSON line cannot be read back");
    text[got] = '\0';
    return text;
}

static void books_json(void)
{
    const char *text = json_read();
    json_shape(text);
    json_tier(text, "\"tiny\":{\"live_blocks\":", TIDE_TIER_TINY);
    json_tier(text, "\"mid\":{\"live_blocks\":", TIDE_TIER_MID);
    json_tier(text, "\"large\":{\"live_blocks\":", TIDE_TIER_LARGE);
}

/* Where the pages of a tier are: a kernel may refuse to tell. */
static void books_residency(enum tide_tier tier, uint64_t most)
{
    struct tide_residency found;
    uint64_t sum = 0;
    int result = tide_residency(tier, most, &found);
    if (result == -EPERM || result == -ENOSYS)
        return;
    for (unsigned i = 0; i < TIDE_RESIDENCY_NODES; i++)
        sum += found.node[i];
    if (result != 0 || found.asked > found.pages || found.resident > found.asked ||
        sum != found.resident || (most != 0 && found.asked > most) ||
        (most == 0 && found.asked != found.pages))
        fuzz_fail(
            "residency of tier %d gave %d: %llu pages, %llu asked, %llu resident, %llu placed",
            (int)tier, result, (unsigned long long)found.pages, (unsigned long long)found.asked,
            (unsigned long long)found.resident, (unsigned long long)sum);
}

/* ---- all of it ---- */

static void books_all(void)
{
    books_check();
    valid_all();
}

/* Everything is freed and trimmed: nothing may be left. */
static void books_empty(void)
{
    struct tide_stats stats;
    books_all();
    tide_stats(&stats);
    books.lost = stats.lost_blocks;
    same("live at the end", stats.tiny.live_blocks + stats.mid.live_blocks, 0);
    same("live mappings at the end", stats.large.live_blocks, 0);
    same("cached at the end", stats.tiny.cached_blocks + stats.mid.cached_blocks, 0);
    same("mapped at the end",
         stats.tiny.mapped_bytes + stats.mid.mapped_bytes + stats.large.mapped_bytes, 0);
    same("retained at the end", stats.retained_bytes, 0);
}

#endif
