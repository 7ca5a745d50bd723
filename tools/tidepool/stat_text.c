/* stat_text.c - see stat.h: the text and the picture for people */
#include "stat.h"

#include <string.h>
#include <time.h>

enum { BAR = 40 };

static void clock_text(uint64_t date, char *buf, size_t size)
{
    time_t seconds = (time_t)(date / 1000000000u);
    struct tm parts;
    if (localtime_r(&seconds, &parts) == NULL || strftime(buf, size, "%H:%M:%S", &parts) == 0)
        snprintf(buf, size, "unknown");
}

static void span_text(uint64_t ns, char *buf, size_t size)
{
    double seconds = (double)ns / 1e9;
    if (seconds < 120)
        snprintf(buf, size, "%.1f s", seconds);
    else if (seconds < 7200)
        snprintf(buf, size, "%.0f min", seconds / 60);
    else
        snprintf(buf, size, "%.0f h", seconds / 3600);
}

static void head_text(const struct attach *attach)
{
    const struct tide_counters_page *page = &attach->page;
    char program[sizeof page->program], source[sizeof page->source], why[sizeof page->why];
    char at[32], age[32];
    const char *base = strrchr(stat_plain(program, sizeof program, page->program), '/');
    printf("process %llu (%s), %s, tidepool %s\n",
           (unsigned long long)(attach->pid != 0 ? (uint64_t)attach->pid : page->pid),
           base != NULL ? base + 1 : program, stat_state(attach), page->library);
    printf("Mid is %s: %s; header %s\n", stat_plain(source, sizeof source, page->source),
           stat_plain(why, sizeof why, page->why), page->header);
    clock_text(page->figures.time, at, sizeof at);
    span_text(stat_age(attach), age, sizeof age);
    printf("figures of %s, %s ago%s\n\n", at, age,
           attach->alive ? ": no thread has published since (see --help)" : ": the last ones");
}

/* `bytes` on a bar where `whole` is all of it; what is there shows. */
static int bar_length(uint64_t bytes, uint64_t whole)
{
    if (bytes == 0 || whole == 0)
        return 0;
    int length = (int)((double)bytes / (double)whole * BAR + 0.5);
    return length == 0 ? 1 : length > BAR ? BAR : length;
}

static void bar(char out[BAR + 1], const struct tide_tier_stats *tier, uint64_t whole)
{
    int mapped = bar_length(tier->mapped_bytes, whole);
    int live = bar_length(tier->live_bytes, whole);
    int cached = bar_length(tier->live_bytes + tier->cached_bytes, whole);
    memset(out, ' ', BAR);
    memset(out, '.', (size_t)mapped);
    memset(out, '+', (size_t)(cached < mapped ? cached : mapped));
    memset(out, '#', (size_t)(live < mapped ? live : mapped));
    out[BAR] = '\0';
}

static void tier_text(const struct attach *attach, int index, uint64_t whole)
{
    struct stat_tier tier = stat_tier(attach, index);
    char picture[BAR + 1], live[32], blocks[32], cached[32], mapped[32];
    const char *where = index == 1 && attach->page.far != 0 ? "far" : "near";
    bar(picture, tier.figures, whole);
    printf("  %-5s %-4s |%s| %10s %12s %10s %10s\n", tier.name, where, picture,
           bytes_text(live, tier.figures->live_bytes),
           count_text(blocks, tier.figures->live_blocks),
           bytes_text(cached, tier.figures->cached_bytes),
           bytes_text(mapped, tier.figures->mapped_bytes));
}

static void tiers_text(const struct attach *attach)
{
    uint64_t whole = 0;
    for (int i = 0; i < STAT_TIERS; i++) {
        uint64_t mapped = stat_tier(attach, i).figures->mapped_bytes;
        whole = mapped > whole ? mapped : whole;
    }
    printf("  %-10s  %-*s %11s %12s %10s %10s\n", "tier", BAR, "# live  + cached  . rest", "live",
           "blocks", "cached", "mapped");
    for (int i = 0; i < STAT_TIERS; i++)
        tier_text(attach, i, whole);
    putchar('\n');
}

/* A bar of far and near by the library's books, and what the kernel says of the pages. */
static void places_text(const struct attach *attach)
{
    const struct tide_counters_page *page = &attach->page;
    const struct tide_stats *stats = &page->figures.stats;
    char far[32], near[32], cap[32], picture[BAR + 1];
    uint64_t whole = stats->mid_far_bytes + stats->mid_near_bytes;
    int length = bar_length(stats->mid_far_bytes, whole);
    memset(picture, 'n', BAR);
    memset(picture, 'F', (size_t)length);
    picture[whole != 0 ? BAR : 0] = '\0';
    printf("  %-10s  %-*s  F far %s, n near %s (the library's books)\n", "Mid's place", BAR,
           picture, bytes_text(far, stats->mid_far_bytes), bytes_text(near, stats->mid_near_bytes));
    if (page->cap != 0)
        printf("  %-10s  %s of far memory at most, then %s\n", "cap", bytes_text(cap, page->cap),
               strcmp(page->full, "fail") == 0 ? "none (full=fail)" : "near");
    for (int node = 0; attach->pages_known && node < ATTACH_NODES; node++)
        if (attach->node_bytes[node] != 0)
            printf("  node %-5d  %s of Mid's pages (the kernel, now)\n", node,
                   bytes_text(far, attach->node_bytes[node]));
}

static void event(const char *name, uint64_t count, const char *what)
{
    char text[32];
    printf("  %-10s %14s  %s\n", name, count_text(text, count), what);
}

static void amount(const char *name, uint64_t bytes, const char *what)
{
    char text[32];
    printf("  %-10s %14s  %s\n", name, bytes_text(text, bytes), what);
}

static void events_text(const struct tide_counters_figures *figures)
{
    const struct tide_stats *stats = &figures->stats;
    amount("in use", figures->used, "segments and mappings");
    amount("peak", figures->peak, "the most of them at once");
    amount("retained", stats->retained_bytes, "free, resident, kept for reuse");
    amount("tables", stats->metadata_bytes, "the library's own");
    event("taken", stats->tiny.taken_blocks + stats->mid.taken_blocks + stats->large.taken_blocks,
          "blocks that left their pages since the start");
    event("spills", stats->mid_spills, "segments of Mid that had to be near memory");
    event("refused", stats->mid_refused, "segments of Mid refused (full=fail)");
    event("lost", stats->lost_blocks, "blocks set aside: written to after they were freed");
    event("misuses", stats->misuses, "cases of misuse that did not end the process");
    event("heaps", stats->heaps, "in use");
}

void stat_text(const struct attach *attach)
{
    head_text(attach);
    tiers_text(attach);
    places_text(attach);
    events_text(&attach->page.figures);
}
