/* report.c - see report.h */
#include "box/report.h"

#include <tidepool/version.h>

#include "box/file.h"
#include "box/large.h"
#include "box/life.h"
#include "box/meta.h"
#include "box/option.h"
#include "box/region.h"
#include "box/residency.h"
#include "box/segment.h"
#include "box/stat.h"
#include "box/vmem.h"

enum { REPORT_BYTES = 128 << 10 };

/* --- counting ------------------------------------------------------------------ */

static void report_visit_cached(void *context, const void *block)
{
    struct tide_tally *tally = context;
    const struct tide_window *window = tide_pagemap_find((uintptr_t)block);
    if (window == NULL)
        return;
    const struct tide_page *page = tide_window_page(window, (uintptr_t)block);
    /* The block may have gone home by now, and its page have another class. */
    tally->row[TIDE_RELAXED_GET(&page->kind)][TIDE_RELAXED_GET(&page->cls)].cached++;
}

static void report_count_magazines(struct tide_tally *tally, struct tide_cache *cache)
{
    for (enum tide_kind kind = TIDE_KIND_TINY; kind <= TIDE_KIND_MID; kind++) {
        for (unsigned cls = 0; cls < tide_sizeclass_count(kind); cls++) {
            const struct tide_magazine *magazine =
                tide_cache_magazine(cache, tide_slot_of(kind, cls));
            void **top = TIDE_RELAXED_GET(&magazine->top);
            tally->row[kind][cls].cached += (uint64_t)(top - magazine->base);
        }
    }
    for (enum tide_kind kind = TIDE_KIND_MIDAL; kind <= TIDE_KIND_LARGE; kind++)
        for (unsigned cls = 0; cls < tide_sizeclass_count(kind); cls++)
            tally->row[kind][cls].cached += tide_shelf_count(cache->shelf, kind, cls);
}

static void report_count_heap(struct tide_tally *tally, struct tide_heap *heap)
{
    int state = atomic_load_explicit(&heap->state, memory_order_relaxed);
    tally->heaps += state == TIDE_HEAP_LIVE || state == TIDE_HEAP_FIRST;
    tally->parked += state == TIDE_HEAP_PARKED;
    tide_lock_take(&heap->pages.lock);
    for (int kind = 0; kind < TIDE_KINDS; kind++) {
        for (int cls = 0; cls < TIDE_CLASSES_MAX; cls++) {
            const struct tide_bin *bin = &heap->pages.bin[kind][cls];
            struct tide_tally_row *row = &tally->row[kind][cls];
            row->used += bin->used;
            row->taken += bin->taken;
            row->pages += bin->pages;
        }
    }
    tide_remote_each_in(&heap->pages, report_visit_cached, tally);
    report_count_magazines(tally, &heap->cache);
    tide_lock_drop(&heap->pages.lock);
    tide_remote_each_out(&heap->outbox, report_visit_cached, tally);
}

void tide_report_count(struct tide_tally *tally)
{
    memset(tally, 0, sizeof *tally);
    const struct tide_cache *before = tide_life_enter();
    for (struct tide_heap *heap = tide_heap_first(); heap != NULL; heap = heap->next)
        report_count_heap(tally, heap);
    tide_large_count(&tally->mappings, &tally->mapping_bytes, &tally->mappings_taken);
    tide_region_count(&tally->runs, &tally->run_bytes);
    tide_life_leave(before);
}

/* --- public figures ---------------------------------------------------------------- */

static void report_add_row(const struct tide_tally *tally, enum tide_kind kind, unsigned cls,
                           struct tide_tier_stats *out)
{
    static const uint8_t shift[TIDE_KINDS] = {TIDE_SHIFT_SMALL, TIDE_SHIFT_SMALL, TIDE_SHIFT_SMALL,
                                              TIDE_SHIFT_LARGE};
    const struct tide_tally_row *row = &tally->row[kind][cls];
    uint64_t stride = tide_sizeclass_stride(kind, cls);
    uint64_t live = row->used > row->cached ? row->used - row->cached : 0;
    out->live_blocks += live;
    out->live_bytes += live * stride;
    out->cached_blocks += row->cached;
    out->cached_bytes += row->cached * stride;
    out->taken_blocks += row->taken;
    out->mapped_bytes += row->pages << shift[kind];
}

static void report_add_mappings(const struct tide_tally *tally, struct tide_tier_stats *out)
{
    out->live_blocks += tally->mappings;
    out->live_bytes += tally->mapping_bytes;
    out->taken_blocks += tally->mappings_taken;
    out->mapped_bytes += tally->mapping_bytes;
}

static void report_add_kind(const struct tide_tally *tally, enum tide_kind kind,
                            struct tide_stats *out)
{
    struct tide_tier_stats *own = kind == TIDE_KIND_TINY ? &out->tiny : &out->mid;
    for (unsigned cls = 0; cls < tide_sizeclass_count(kind); cls++)
        report_add_row(tally, kind, cls, tide_sizeclass_is_large(kind, cls) ? &out->large : own);
}

void tide_report_stats(const struct tide_tally *tally, struct tide_stats *out)
{
    memset(out, 0, sizeof *out);
    for (enum tide_kind kind = TIDE_KIND_TINY; kind < TIDE_KINDS; kind++)
        report_add_kind(tally, kind, out);
    out->mid.live_blocks += tally->runs;
    out->mid.live_bytes += tally->run_bytes;
    out->mid.mapped_bytes += tally->run_bytes;
    report_add_mappings(tally, &out->large);
    out->retained_bytes = TIDE_STAT_GET(retained);
    out->decommits = TIDE_STAT_GET(decommits);
    out->decommit_bytes = TIDE_STAT_GET(decommit_bytes);
    out->metadata_bytes = tide_meta_bytes();
    out->heaps = tally->heaps;
    out->parked_heaps = tally->parked;
    out->remote_batches = TIDE_STAT_GET(remote_batches);
    out->lost_blocks = TIDE_STAT_GET(lost);
    out->foreign_leaks = TIDE_STAT_GET(foreign_leaks);
    out->misuses = tide_diag_misuses();
    out->mid_spills = TIDE_STAT_GET(mid_spills);
    out->mid_refused = TIDE_STAT_GET(mid_refused);
    out->mid_far_bytes = TIDE_STAT_GET(mid_far);
    out->mid_near_bytes = TIDE_STAT_GET(mid_near);
}

int tide_report_class(const struct tide_tally *tally, enum tide_tier tier, size_t index,
                      struct tide_tier_stats *out, size_t *block_size)
{
    enum tide_kind kind = TIDE_KIND_TINY;
    memset(out, 0, sizeof *out);
    *block_size = 0;
    if (tier != TIDE_TIER_TINY && tier != TIDE_TIER_MID && tier != TIDE_TIER_LARGE)
        return -EINVAL;
    if (tier == TIDE_TIER_MID) {
        kind = index < TIDE_MID_CLASSES ? TIDE_KIND_MID : TIDE_KIND_MIDAL;
        index -= kind == TIDE_KIND_MIDAL ? TIDE_MID_CLASSES : 0;
    } else if (tier == TIDE_TIER_LARGE) {
        kind = index < TIDE_BESIDE_CLASSES ? TIDE_KIND_TINY : TIDE_KIND_LARGE;
        if (index == TIDE_REPORT_MAPPINGS) { /* each has its own size */
            report_add_mappings(tally, out);
            return 0;
        }
        index += kind == TIDE_KIND_TINY ? TIDE_TINY_ALIGNED : -(size_t)TIDE_BESIDE_CLASSES;
    } else if (index >= TIDE_TINY_ALIGNED) {
        return -ENOENT;
    }
    if (index >= tide_sizeclass_count(kind))
        return -ENOENT;
    report_add_row(tally, kind, (unsigned)index, out);
    *block_size = tide_sizeclass_stride(kind, (unsigned)index) -
                  (tide_sizeclass_is_headed(kind, (unsigned)index) ? TIDE_MID_HEADER : 0);
    return 0;
}

/* --- JSON ------------------------------------------------------------------------ */

/* Bytes of the well-formed UTF-8 sequence at `at`; 0 when there is none. */
static int json_sequence(const unsigned char *at)
{
    int more = at[0] >= 0xf0 ? 3 : at[0] >= 0xe0 ? 2 : 1;
    if (at[0] < 0xc2 || at[0] > 0xf4)
        return 0;
    for (int i = 1; i <= more; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    bool overlong = (at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xf0 && at[1] < 0x90);
    bool surrogate = at[0] == 0xed && at[1] > 0x9f;
    return overlong || surrogate || (at[0] == 0xf4 && at[1] > 0x8f) ? 0 : more + 1;
}

/* A file's name need not be UTF-8, JSON must be: other bytes become U+FFFD. */
static void json_string(struct tide_text *text, const char *string)
{
    tide_text_add(text, "\"");
    while (*string != '\0') {
        char plain[8] = {*string, '\0'};
        unsigned char c = (unsigned char)*string;
        int length = c >= 0x80 ? json_sequence((const unsigned char *)string) : 1;
        if (c == '"' || c == '\\') {
            tide_text_add(text, "\\");
        } else if (c < 0x20) {
            tide_text_add(text, c < 0x10 ? "\\u000" : "\\u001");
            plain[0] = "0123456789abcdef"[c & 15];
        }
        if (length > 1)
            memcpy(plain, string, (size_t)length);
        tide_text_add(text, length != 0 ? plain : "\\ufffd");
        string += length != 0 ? length : 1;
    }
    tide_text_add(text, "\"");
}

static void json_number(struct tide_text *text, const char *key, uint64_t value)
{
    tide_text_add(text, ",\"");
    tide_text_add(text, key);
    tide_text_add(text, "\":");
    tide_text_number(text, value, 10);
}

/* The fields behind an opening brace, or behind a first field. */
static void json_figures(struct tide_text *text, const struct tide_tier_stats *stats, bool first)
{
    if (first) {
        tide_text_add(text, "\"live_blocks\":");
        tide_text_number(text, stats->live_blocks, 10);
    } else {
        json_number(text, "live_blocks", stats->live_blocks);
    }
    json_number(text, "live_bytes", stats->live_bytes);
    json_number(text, "cached_blocks", stats->cached_blocks);
    json_number(text, "cached_bytes", stats->cached_bytes);
    json_number(text, "taken_blocks", stats->taken_blocks);
    json_number(text, "mapped_bytes", stats->mapped_bytes);
}

static void json_tier(struct tide_text *text, const struct tide_tally *tally, const char *name,
                      enum tide_tier tier, const struct tide_tier_stats *stats)
{
    struct tide_tier_stats row;
    size_t size;
    bool first = true;
    tide_text_add(text, ",\"");
    tide_text_add(text, name);
    tide_text_add(text, "\":{");
    json_figures(text, stats, true);
    tide_text_add(text, ",\"classes\":[");
    for (size_t i = 0; tide_report_class(tally, tier, i, &row, &size) == 0; i++) {
        if (row.taken_blocks == 0)
            continue;
        tide_text_add(text, first ? "{\"size\":" : ",{\"size\":");
        tide_text_number(text, size, 10);
        json_figures(text, &row, false);
        tide_text_add(text, "}");
        first = false;
    }
    tide_text_add(text, "]}");
}

static void json_options(struct tide_text *text)
{
    struct tide_option_info info;
    char value[TIDE_OPTION_TEXT];
    tide_text_add(text, ",\"options\":{");
    for (size_t i = 0; tide_option_row(i, &info) == 0; i++) {
        if (tide_option_show(info.key, value, sizeof value) < 0)
            continue;
        tide_text_add(text, i == 0 ? "\"" : ",\"");
        tide_text_add(text, info.key);
        tide_text_add(text, "\":");
        json_string(text, value);
    }
    tide_text_add(text, "}");
}

static void json_events(struct tide_text *text, const struct tide_stats *stats)
{
    json_number(text, "retained_bytes", stats->retained_bytes);
    json_number(text, "decommits", stats->decommits);
    json_number(text, "decommit_bytes", stats->decommit_bytes);
    json_number(text, "metadata_bytes", stats->metadata_bytes);
    json_number(text, "heaps", stats->heaps);
    json_number(text, "parked_heaps", stats->parked_heaps);
    json_number(text, "remote_batches", stats->remote_batches);
    json_number(text, "lost_blocks", stats->lost_blocks);
    json_number(text, "foreign_leaks", stats->foreign_leaks);
    json_number(text, "misuses", stats->misuses);
    json_number(text, "mid_spills", stats->mid_spills);
    json_number(text, "mid_refused", stats->mid_refused);
    json_number(text, "mid_far_bytes", stats->mid_far_bytes);
    json_number(text, "mid_near_bytes", stats->mid_near_bytes);
}

/* Where Mid's pages are, when it matters: a sample. */
static void json_residency(struct tide_text *text)
{
    enum { SAMPLE = 4096 };
    struct tide_residency found;
    const struct tide_source *source = tide_segment_source();
    if ((source->node < 0 && !source->shared) ||
        tide_residency_read(TIDE_TIER_MID, SAMPLE, &found) != 0)
        return;
    tide_text_add(text, ",\"mid_residency\":{\"pages\":");
    tide_text_number(text, found.pages, 10);
    json_number(text, "asked", found.asked);
    json_number(text, "resident", found.resident);
    json_number(text, "mapped", found.mapped);
    json_number(text, "error_permille", found.error_permille);
    tide_text_add(text, ",\"nodes\":{");
    const char *before = "\"";
    for (unsigned i = 0; i < TIDE_RESIDENCY_NODES; i++) {
        if (found.node[i] == 0)
            continue;
        tide_text_add(text, before);
        tide_text_number(text, i, 10);
        tide_text_add(text, "\":");
        tide_text_number(text, found.node[i], 10);
        before = ",\"";
    }
    tide_text_add(text, "}}");
}

static void report_json(struct tide_text *text)
{
    struct tide_tally *tally = tide_vmem_map(sizeof *tally);
    struct tide_stats stats;
    char program[512];
    if (tally == NULL)
        return;
    tide_report_count(tally);
    tide_report_stats(tally, &stats);
    if (tide_file_link("/proc/self/exe", program, sizeof program) < 0)
        program[0] = '\0';
    tide_text_add(text, "{\"version\":\"" TIDE_VERSION_STRING "\"");
    json_number(text, "pid", (uint64_t)tide_file_pid());
    tide_text_add(text, ",\"program\":");
    json_string(text, program);
    json_options(text);
    tide_text_add(text, ",\"mid_source\":");
    json_string(text, tide_segment_source()->text);
    tide_text_add(text, ",\"header\":");
    json_string(text, tide_segment_shadow() ? "shadow" : "inband");
    json_tier(text, tally, "tiny", TIDE_TIER_TINY, &stats.tiny);
    json_tier(text, tally, "mid", TIDE_TIER_MID, &stats.mid);
    json_tier(text, tally, "large", TIDE_TIER_LARGE, &stats.large);
    json_events(text, &stats);
    json_residency(text);
    tide_text_add(text, "}\n");
    tide_vmem_unmap(tally, sizeof *tally);
}

int tide_report_write(int fd)
{
    struct tide_text text = {tide_vmem_map(REPORT_BYTES), REPORT_BYTES, 0};
    if (text.buf == NULL)
        return -ENOMEM;
    report_json(&text);
    int ret = tide_file_put(fd, text.buf, text.len);
    tide_vmem_unmap(text.buf, REPORT_BYTES);
    return ret;
}

/* --- at exit ------------------------------------------------------------------------ */

/* The file name with each %p replaced by the process id. */
static void report_expand(const char *pattern, struct tide_text *path)
{
    for (; *pattern != '\0'; pattern++) {
        char plain[2] = {*pattern, '\0'};
        if (pattern[0] == '%' && pattern[1] == 'p') {
            tide_text_number(path, (uint64_t)tide_file_pid(), 10);
            pattern++;
        } else {
            tide_text_add(path, plain);
        }
    }
}

int tide_report_at_exit(void)
{
    char pattern[TIDE_OPTION_TEXT], name[TIDE_OPTION_TEXT + 32];
    struct tide_text path = {name, sizeof name, 0};
    if (tide_option_values.stats_at_exit[0] == '\0') /* a look without a lock: a hint */
        return 0;
    if (tide_option_show("stats_at_exit", pattern, sizeof pattern) <= 0)
        return 0;
    report_expand(pattern, &path);
    int fd = tide_file_append(name);
    if (fd < 0)
        return fd;
    int ret = tide_report_write(fd);
    tide_file_close(fd);
    return ret;
}

__attribute__((destructor)) static void report_destructor(void)
{
    if (tide_report_at_exit() < 0)
        tide_diag_say("the file of the option stats_at_exit cannot be written");
}
