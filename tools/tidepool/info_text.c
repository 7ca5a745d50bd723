/* info_text.c - see info.h: the text for people */
#include "info.h"

#include <string.h>

#include <tidepool/version.h>

/* --- the picture of the tiers ------------------------------------------------------ */

enum { BOX_WIDTH = 34, BOX_LINES = 3 };

struct box {
    char title[BOX_WIDTH + 3];
    char line[BOX_LINES][BOX_WIDTH + 1]; /* empty ones are left out at the end */
    int lines;
};

static void box_add(struct box *box, const char *tier, const char *range)
{
    snprintf(box->line[box->lines++], sizeof box->line[0], "%-6s %.26s", tier, range);
}

static void draw_rule(int boxes)
{
    static const char dashes[] = "------------------------------------";
    for (int i = 0; i < boxes; i++)
        printf("  +-%.*s-+", BOX_WIDTH, dashes);
    putchar('\n');
}

static void draw(const struct box *box, int boxes)
{
    for (int i = 0; i < boxes - 1; i++)
        printf("  %-*s", BOX_WIDTH + 4, box[i].title);
    printf("  %s\n", box[boxes - 1].title);
    draw_rule(boxes);
    for (int line = 0; line < BOX_LINES; line++) {
        if (line >= box[0].lines && line >= box[boxes - 1].lines)
            break;
        for (int i = 0; i < boxes; i++)
            printf("  | %-*s |", BOX_WIDTH, line < box[i].lines ? box[i].line[line] : "");
        putchar('\n');
    }
    draw_rule(boxes);
}

static void far_title(char *title, size_t size, const struct info *info)
{
    const struct tide_source *mid = &info->decision.mid;
    const struct tide_node *node = machine_node(&info->machine, mid->node);
    if (mid->shared)
        snprintf(title, size, "shared with others: a %s", mid->ops->name);
    else if (mid->node < 0)
        snprintf(title, size, "modelled: near, %u ns a miss", mid->delay);
    else
        snprintf(title, size, "%s node %d, %s",
                 node != NULL && node->has_cpu ? "chosen:" : "far:", mid->node,
                 node != NULL && node->has_cpu ? "with CPUs" : "no CPUs");
}

static void picture(const struct info *info)
{
    const struct decision *decision = &info->decision;
    struct box box[2] = {0};
    char range[64], size[32];
    snprintf(box[0].title, sizeof box[0].title, "near memory");
    snprintf(range, sizeof range, "up to %llu B", (unsigned long long)decision->tiny_max);
    box_add(&box[0], "Tiny", range);
    snprintf(range, sizeof range, "%llu B .. %s", (unsigned long long)decision->tiny_max + 1,
             bytes_text(size, TIDE_MID_TOP));
    if (decision->mid.far)
        far_title(box[1].title, sizeof box[1].title, info);
    box_add(&box[decision->mid.far ? 1 : 0], "Mid", range);
    snprintf(range, sizeof range, "above %s", bytes_text(size, TIDE_MID_TOP));
    box_add(&box[0], "Large", range);
    puts("Where the library puts blocks here");
    draw(box, decision->mid.far ? 2 : 1);
    putchar('\n');
}

/* --- the decision ------------------------------------------------------------------ */

static void row(const char *name, const char *text)
{
    printf("  %-13s%s\n", name, text);
}

static void decision_text(const struct decision *decision)
{
    char line[2 * DECIDE_LINE];
    row("Tiny, Large", "near memory, always");
    snprintf(line, sizeof line, "%s: %s", decision->mid.text, decision->mid.why);
    row("Mid", line);
    snprintf(line, sizeof line, "mid=%s%s", decision->asked,
             decision->asked_by_default ? ", the default" : "");
    row("  asked for", line);
    snprintf(line, sizeof line, "%s: %s", decision->header, decision->header_why);
    row("  header", line);
    for (int i = 0; i < decision->rejections; i++) {
        snprintf(line, sizeof line, "%s: %s", decision->rejected[i].what,
                 decision->rejected[i].why);
        row(i == 0 ? "  not taken" : "", line);
    }
    for (int i = 0; i < decision->notes; i++)
        row("  note", decision->note[i]);
    if (decision->numactl[0] != '\0') {
        snprintf(line, sizeof line, "%s PROGRAM   (all of its memory, not Mid alone)",
                 decision->numactl);
        row("  same place", line);
    }
    if (decision->daxctl[0] != '\0') {
        snprintf(line, sizeof line, "%s   (made the node)", decision->daxctl);
        row("", line);
    }
    putchar('\n');
}

/* --- the machine ------------------------------------------------------------------- */

/* "250 ns, 48000 MiB/s by HMAT", as far as it is known. */
static void performance_text(char *buf, size_t size, const struct tide_node *node,
                             const struct probe *probe)
{
    char bandwidth[48] = "";
    if (probe->asked && node->latency != 0) {
        size_t used = (size_t)snprintf(buf, size, "%u ns (HMAT), ", node->latency);
        probe_text(probe, buf + used, size - used);
        return;
    }
    if (probe->asked && node->has_memory) {
        probe_text(probe, buf, size);
        return;
    }
    if (node->bandwidth != 0)
        snprintf(bandwidth, sizeof bandwidth, ", %u MiB/s", node->bandwidth);
    if (node->latency == 0)
        snprintf(buf, size, "%s", node->has_memory ? "unknown (distance decides)" : "");
    else
        snprintf(buf, size, "%u ns%s (HMAT%s)", node->latency, bandwidth,
                 node->local ? "" : ", from the nodes next to it");
}

static void nodes_text(const struct info *info)
{
    const struct machine *machine = &info->machine;
    char total[32], free[32], distance[32], reads[128];
    if (machine->nodes == 0) {
        puts("Memory nodes\n  the kernel tells nothing about nodes: all memory counts as near\n");
        return;
    }
    printf("Memory nodes, seen from node %d\n  %4s  %-14s %10s %10s  %-13s %s\n", machine->here,
           "node", "CPUs", "total", "free", "distance", "latency and bandwidth of reads");
    for (int i = 0; i < machine->nodes; i++) {
        const struct tide_node *node = &machine->node[i];
        const char *far = machine_is_far(node) ? "  far" : "";
        if (node->distance != 0)
            snprintf(distance, sizeof distance, "%u%s", node->distance, far);
        else
            snprintf(distance, sizeof distance, "unknown%s", far);
        performance_text(reads, sizeof reads, node, &info->probe[i]);
        printf("  %4u  %-14s %10s %10s  %-13s %s\n", node->id,
               machine->cpus[i][0] != '\0' ? machine->cpus[i] : "none",
               node->has_memory ? bytes_text(total, node->total) : "none",
               node->has_memory ? bytes_text(free, node->free) : "none", distance, reads);
    }
    putchar('\n');
}

static void devices_text(const struct machine *machine)
{
    char size[32], align[32], node[32];
    if (machine->devices == 0)
        return;
    printf("Dax devices\n  %-12s %10s %10s  %-12s %-12s %s\n", "name", "size", "align", "mode",
           "target node", "permission");
    for (int i = 0; i < machine->devices; i++) {
        const struct dax_device *device = &machine->dax[i];
        snprintf(node, sizeof node, device->target_node >= 0 ? "%d" : "none", device->target_node);
        printf("  %-12s %10s %10s  %-12s %-12s %s\n", device->name, bytes_text(size, device->size),
               bytes_text(align, device->align), device->mode, node,
               device->permission != NULL ? device->permission : "-");
    }
    putchar('\n');
}

static void limit(const char *name, const char *value, const char *comment)
{
    printf("  %-36s%s%s\n", name, value[0] != '\0' ? value : "unknown", comment);
}

static const char *overcommit_words(const char *mode)
{
    if (strcmp(mode, "0") == 0)
        return " (heuristic)";
    if (strcmp(mode, "1") == 0)
        return " (always)";
    return strcmp(mode, "2") == 0 ? " (strict: what is committed is charged)" : "";
}

static void limits_text(const struct machine *machine)
{
    char bytes[32];
    puts("Limits of this process");
    limit("address space (RLIMIT_AS)",
          machine->address_space == UINT64_MAX ? "unlimited"
                                               : bytes_text(bytes, machine->address_space),
          "");
    limit("locked memory (RLIMIT_MEMLOCK)",
          machine->locked_memory == UINT64_MAX ? "unlimited"
                                               : bytes_text(bytes, machine->locked_memory),
          "");
    limit("overcommit_memory", machine->overcommit, overcommit_words(machine->overcommit));
    limit("max_map_count", machine->map_count, "");
    limit("transparent huge pages", machine->thp, "");
    limit("nodes allowed (Mems_allowed_list)", machine->mems_allowed, "");
    limit("memory policy", machine->policy, "");
    putchar('\n');
}

static void options_text(const struct info *info)
{
    if (info->options == NULL) {
        puts("TIDEPOOL_OPTIONS is not set (see: tidepool options)");
        return;
    }
    printf("TIDEPOOL_OPTIONS=%s\n", info->options);
    if (info->too_long)
        puts("  too long: the library ignores it");
    for (int i = 0; i < info->settings.count; i++)
        if (info->settings.entry[i].error != 0)
            printf("  %s\n", info->settings.entry[i].why);
}

void info_text(const struct info *info)
{
    char page[32];
    printf("tidepool %s, Linux %s, pages of %s\n\n", tide_version(), info->machine.kernel,
           bytes_text(page, info->machine.page_size));
    picture(info);
    decision_text(&info->decision);
    nodes_text(info);
    devices_text(&info->machine);
    limits_text(&info->machine);
    options_text(info);
}
