/* summary.c - see stats.h: the sum over the statistics of many processes */
#include "stats.h"

#include <stdlib.h>
#include <string.h>

/* The number behind "key": in text that ends at `end`. Quotes inside the texts of a
 * JSON object have a backslash in front, so that no text is taken for a key. */
static uint64_t figure(const char *text, const char *end, const char *key)
{
    char quoted[64];
    snprintf(quoted, sizeof quoted, "\"%s\":", key);
    const char *at = strstr(text, quoted);
    if (at == NULL || at >= end)
        return 0;
    return strtoull(at + strlen(quoted), NULL, 10);
}

static void word(const char *text, const char *key, char *buf, size_t size)
{
    char quoted[64];
    snprintf(quoted, sizeof quoted, "\"%s\":\"", key);
    const char *at = strstr(text, quoted);
    buf[0] = '\0';
    if (at == NULL)
        return;
    at += strlen(quoted);
    snprintf(buf, size, "%.*s", (int)strcspn(at, "\""), at);
}

/* A tier's own figures stand in front of its classes. */
static bool add_tier(struct tier_sum *tier, const char *line, const char *name)
{
    char quoted[32];
    snprintf(quoted, sizeof quoted, "\"%s\":{", name);
    const char *at = strstr(line, quoted);
    if (at == NULL)
        return false;
    at += strlen(quoted);
    const char *end = at + strcspn(at, "[}");
    tier->taken += figure(at, end, "taken_blocks");
    tier->live_blocks += figure(at, end, "live_blocks");
    tier->live_bytes += figure(at, end, "live_bytes");
    tier->mapped += figure(at, end, "mapped_bytes");
    return true;
}

void sum_add(struct stats_sum *sum, const char *line)
{
    static const char *const tiers[] = {"tiny", "mid", "large"};
    struct tier_sum add[3] = {0};
    const char *end = line + strlen(line);
    char source[sizeof sum->source], header[sizeof sum->header];
    for (int i = 0; i < 3; i++) {
        if (!add_tier(&add[i], line, tiers[i])) {
            sum->broken++;
            return;
        }
    }
    for (int i = 0; i < 3; i++) {
        sum->tier[i].taken += add[i].taken;
        sum->tier[i].live_blocks += add[i].live_blocks;
        sum->tier[i].live_bytes += add[i].live_bytes;
        sum->tier[i].mapped += add[i].mapped;
    }
    sum->spills += figure(line, end, "mid_spills");
    sum->misuses += figure(line, end, "misuses");
    sum->leaks += figure(line, end, "foreign_leaks");
    word(line, "mid_source", source, sizeof source);
    /* "header" is the name of an option, too; what was decided stands behind the source */
    const char *decided = strstr(line, "\"mid_source\":");
    word(decided != NULL ? decided : line, "header", header, sizeof header);
    if (sum->processes++ == 0) {
        memcpy(sum->source, source, sizeof source);
        memcpy(sum->header, header, sizeof header);
    }
    sum->mixed = sum->mixed || strcmp(sum->source, source) != 0 || strcmp(sum->header, header) != 0;
}

static void print_tier(const char *name, const struct tier_sum *tier)
{
    char taken[32], live[32], bytes[32], mapped[32];
    fprintf(stderr, "  %-6s %16s %16s %14s %14s\n", name, count_text(taken, tier->taken),
            count_text(live, tier->live_blocks), bytes_text(bytes, tier->live_bytes),
            bytes_text(mapped, tier->mapped));
}

static void print_event(uint64_t count, const char *what)
{
    char text[32];
    if (count > 0)
        fprintf(stderr, "  %s %s\n", count_text(text, count), what);
}

void sum_print(const struct stats_sum *sum)
{
    char count[32];
    if (sum->processes == 0) {
        complain(NULL, "no process left statistics: none was served by the library, or none "
                       "ended by exit()");
        return;
    }
    fprintf(stderr, "tidepool: %s %s, Mid from %s, header %s%s\n",
            count_text(count, sum->processes), sum->processes == 1 ? "process" : "processes",
            sum->source, sum->header, sum->mixed ? " (not the same in all)" : "");
    fprintf(stderr, "  %-6s %16s %16s %14s %14s\n", "tier", "blocks taken", "live at exit",
            "live bytes", "mapped");
    print_tier("Tiny", &sum->tier[0]);
    print_tier("Mid", &sum->tier[1]);
    print_tier("Large", &sum->tier[2]);
    print_event(sum->spills, "times Mid got near memory, because its source had none to give");
    print_event(sum->misuses, "cases of misuse (option misuse)");
    print_event(sum->leaks, "foreign pointers left alone (option foreign)");
    print_event(sum->broken, "statistics that were cut off");
}
