/* source.c - see source.h: the table, and the option's language */
#include "box/source.h"

#include "box/diag.h"
#include "box/numa.h"
#include "box/topo.h"
#include "box/vmem.h"

static const struct tide_source_ops *const source_table[] = {
    &tide_source_auto,
    &tide_source_anon,
    &tide_source_near,
    &tide_source_node,
};

enum { SOURCE_KINDS = sizeof source_table / sizeof source_table[0], SOURCE_DELAY_MAX = 1000000 };

static void source_fall_back(struct tide_source *out, const char *why)
{
    *out = (struct tide_source){.ops = &tide_source_near, .node = -1, .why = why, .text = "near"};
}

/* ",delay=NS" at the end of the text; *end is where it starts. */
static int source_delay(const char *text, size_t *end, uint32_t *delay)
{
    const char *comma = strstr(text, ",delay=");
    *end = comma != NULL ? (size_t)(comma - text) : strlen(text);
    *delay = 0;
    if (comma == NULL)
        return 0;
    if (comma[7] == '\0')
        return -EINVAL;
    for (const char *at = comma + 7; *at != '\0'; at++) {
        if (*at < '0' || *at > '9' || *delay > SOURCE_DELAY_MAX)
            return -EINVAL;
        *delay = *delay * 10 + (uint32_t)(*at - '0');
    }
    return *delay <= SOURCE_DELAY_MAX ? 0 : -EINVAL;
}

static void source_describe(struct tide_source *out)
{
    struct tide_text text = {out->text, sizeof out->text, 0};
    tide_text_add(&text, out->ops->name);
    const char *before = ":";
    for (unsigned node = 0; out->ops == &tide_source_node && node < TIDE_SOURCE_NODES; node++) {
        if ((out->nodes >> node & 1) == 0)
            continue;
        tide_text_add(&text, before);
        tide_text_number(&text, node, 10);
        if (out->weighted) {
            tide_text_add(&text, "*");
            tide_text_number(&text, out->weight[node], 10);
        }
        before = out->weighted ? "+" : ",";
    }
    if (out->delay != 0) {
        tide_text_add(&text, ",delay=");
        tide_text_number(&text, out->delay, 10);
    }
}

int tide_source_open_below(struct tide_source *out, const char *text, const char *root,
                           const uint64_t *allowed)
{
    size_t end;
    uint32_t delay;
    source_fall_back(out, "no source (allowed: auto, anon, near or node:LIST, then "
                          ",delay=NS): near memory is used");
    if (source_delay(text, &end, &delay) != 0)
        return -EINVAL;
    for (unsigned i = 0; i < SOURCE_KINDS; i++) {
        const struct tide_source_ops *ops = source_table[i];
        size_t len = strlen(ops->name);
        char rest[TIDE_SOURCE_TEXT];
        if (strncmp(text, ops->name, len) != 0 || end < len || end - len >= sizeof rest)
            continue;
        memcpy(rest, text + len, end - len);
        rest[end - len] = '\0';
        struct tide_source found = {.ops = ops,
                                    .node = -1,
                                    .delay = delay,
                                    .far = delay != 0,
                                    .root = root,
                                    .allowed = allowed};
        int ret = ops->accept(&found, rest);
        if (ret == -ENODEV)
            source_fall_back(out, found.why);
        if (ret != 0)
            return ret;
        *out = found;
        out->allowed = NULL;
        source_describe(out);
        return 0;
    }
    return -EINVAL;
}

int tide_source_open(struct tide_source *out, const char *text)
{
    return tide_source_open_below(out, text, TIDE_TOPO_ROOT, NULL);
}

int tide_source_place(const struct tide_source *source, void *base, size_t size)
{
    return source->ops->place(source, base, size);
}

/* The nodes that have processors: where hot pages may go. */
static uint64_t source_near_nodes(const char *root)
{
    uint64_t near = 0;
    for (unsigned node = 0; node < TIDE_SOURCE_NODES; node++)
        if (tide_topo_has_cpu(root, node) && tide_topo_has_memory(root, node))
            near |= (uint64_t)1 << node;
    return near;
}

void tide_source_tune(struct tide_source *source, bool migrate, enum tide_thp thp)
{
    source->thp = thp;
    if (!migrate)
        return;
    if (source->nodes == 0) {
        source->migrate_why = "Mid is near memory: there is nothing to bring near";
        return;
    }
    uint64_t near = source_near_nodes(source->root) & ~source->nodes;
    size_t size = tide_vmem_page_size();
    void *scratch = tide_vmem_reserve(size);
    if ((source->nodes & (source->nodes - 1)) != 0)
        source->migrate_why = "several nodes are asked for: pages stay where they are";
    else if (near == 0)
        source->migrate_why = "no node with processors to move pages to";
    else if (scratch == NULL ||
             tide_numa_place(scratch, size, TIDE_NUMA_PROMOTE, source->nodes, near) != 0)
        source->migrate_why = "this kernel refuses the policy for it (Linux 6.12 takes it): "
                              "pages stay where they are";
    else
        source->near = near;
    if (scratch != NULL)
        tide_vmem_unmap(scratch, size);
}
