/* stat_json.c - see stat.h; the schema is in JSON.md */
#include "stat.h"
#include "json.h"

static void json_process(struct json *json, const struct attach *attach)
{
    static const char *const way[] = {"nameless", "file", "memory"};
    const struct tide_counters_page *page = &attach->page;
    json_open(json, "process", '{');
    json_number(json, "pid", attach->pid != 0 ? (uint64_t)attach->pid : page->pid);
    json_text(json, "program", page->program);
    json_text(json, "state", stat_state(attach));
    json_text(json, "library", page->library);
    json_text(json, "page", way[attach->way]);
    json_number(json, "begun", page->begun);
    json_close(json, '}');
    json_open(json, "sample", '{');
    json_number(json, "time", page->figures.time);
    json_number(json, "age", stat_age(attach));
    json_number(json, "published", page->figures.published);
    json_number(json, "cost", page->figures.cost);
    json_close(json, '}');
}

static void json_source(struct json *json, const struct tide_counters_page *page)
{
    json_open(json, "mid", '{');
    json_text(json, "source", page->source);
    json_text(json, "why", page->why);
    json_text(json, "header", page->header);
    json_bool(json, "far", page->far != 0);
    if (page->node < ATTACH_NODES)
        json_number(json, "node", page->node);
    else
        json_null(json, "node");
    if (page->cap != 0)
        json_number(json, "cap", page->cap);
    else
        json_null(json, "cap");
    json_text(json, "full", page->full);
    json_close(json, '}');
}

static void json_tier(struct json *json, struct stat_tier tier)
{
    json_open(json, tier.key, '{');
    json_number(json, "live_blocks", tier.figures->live_blocks);
    json_number(json, "live_bytes", tier.figures->live_bytes);
    json_number(json, "cached_blocks", tier.figures->cached_blocks);
    json_number(json, "cached_bytes", tier.figures->cached_bytes);
    json_number(json, "taken_blocks", tier.figures->taken_blocks);
    json_number(json, "mapped_bytes", tier.figures->mapped_bytes);
    json_close(json, '}');
}

static void json_totals(struct json *json, const struct tide_counters_figures *figures)
{
    const struct tide_stats *stats = &figures->stats;
    json_open(json, "totals", '{');
    json_number(json, "used_bytes", figures->used);
    json_number(json, "peak_bytes", figures->peak);
    json_number(json, "mid_far_bytes", stats->mid_far_bytes);
    json_number(json, "mid_near_bytes", stats->mid_near_bytes);
    json_number(json, "mid_spills", stats->mid_spills);
    json_number(json, "mid_refused", stats->mid_refused);
    json_number(json, "retained_bytes", stats->retained_bytes);
    json_number(json, "metadata_bytes", stats->metadata_bytes);
    json_number(json, "decommits", stats->decommits);
    json_number(json, "decommit_bytes", stats->decommit_bytes);
    json_number(json, "heaps", stats->heaps);
    json_number(json, "parked_heaps", stats->parked_heaps);
    json_number(json, "remote_batches", stats->remote_batches);
    json_number(json, "lost_blocks", stats->lost_blocks);
    json_number(json, "foreign_leaks", stats->foreign_leaks);
    json_number(json, "misuses", stats->misuses);
    json_close(json, '}');
}

static void json_pages(struct json *json, const struct attach *attach)
{
    if (!attach->pages_known) {
        json_null(json, "mid_pages");
        return;
    }
    json_open(json, "mid_pages", '[');
    for (int node = 0; node < ATTACH_NODES; node++) {
        if (attach->node_bytes[node] == 0)
            continue;
        json_open(json, NULL, '{');
        json_number(json, "node", (uint64_t)node);
        json_number(json, "bytes", attach->node_bytes[node]);
        json_close(json, '}');
    }
    json_close(json, ']');
}

void stat_json(const struct attach *attach, bool line)
{
    struct json json = {.line = line};
    json_begin(&json, "stat");
    json_process(&json, attach);
    json_source(&json, &attach->page);
    json_open(&json, "tiers", '{');
    for (int i = 0; i < STAT_TIERS; i++)
        json_tier(&json, stat_tier(attach, i));
    json_close(&json, '}');
    json_totals(&json, &attach->page.figures);
    json_pages(&json, attach);
    json_close(&json, '}');
}
