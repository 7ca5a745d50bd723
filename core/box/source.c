/* source.c - see source.h: the table, and the option's language */
#include "box/source.h"

#include "box/diag.h"
#include "box/file.h"
#include "box/numa.h"
#include "box/store.h"
#include "box/topo.h"
#include "box/vmem.h"

static const struct tide_source_ops *const source_table[] = {
    &tide_source_auto, &tide_source_anon,  &tide_source_near, &tide_source_node,
    &tide_source_file, &tide_source_memfd, &tide_source_dax,
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
    if (out->path[0] != '\0') {
        tide_text_add(&text, ":");
        tide_text_add(&text, out->path);
    }
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

/* The kind of the text, whose first `end` characters are not about the delay. */
static int source_read(struct tide_source *found, const char *text, size_t end)
{
    for (unsigned i = 0; i < SOURCE_KINDS; i++) {
        const struct tide_source_ops *ops = source_table[i];
        size_t len = strlen(ops->name);
        char rest[TIDE_SOURCE_TEXT];
        if (strncmp(text, ops->name, len) != 0 || end < len || end - len >= sizeof rest)
            continue;
        memcpy(rest, text + len, end - len);
        rest[end - len] = '\0';
        found->ops = ops;
        return ops->accept(found, rest);
    }
    return -EINVAL;
}

/* `asked`: the wishes that accept looks at. */
static int source_open(struct tide_source *out, const char *text, const struct tide_source *asked)
{
    size_t end;
    struct tide_source found = *asked;
    source_fall_back(out, "no source (allowed: auto, anon, near, node:LIST, memfd, file:PATH or "
                          "dax:/dev/daxX.Y, then ,delay=NS): near memory is used");
    found.node = -1;
    if (source_delay(text, &end, &found.delay) != 0)
        return -EINVAL;
    found.far = found.delay != 0;
    int ret = source_read(&found, text, end);
    if (ret == -EINVAL && found.said[0] == '\0')
        return ret;
    if (ret != 0) {
        source_fall_back(out, found.why);
        memcpy(out->said, found.said, sizeof out->said);
        if (found.said[0] != '\0')
            out->why = out->said;
        return ret;
    }
    *out = found;
    out->allowed = NULL;
    source_describe(out);
    return 0;
}

int tide_source_open_below(struct tide_source *out, const char *text, const char *root,
                           const uint64_t *allowed)
{
    struct tide_source asked = {.root = root, .allowed = allowed};
    int ret = source_open(out, text, &asked);
    return ret == 0 || ret == -EINVAL ? ret : -ENODEV;
}

/* What most processes find: node 0 alone is allowed, and that one has processors. The files in
 * /sys, which tell the same, take a hundred times as long. */
static bool source_is_usual(const char *text)
{
    static char usual[] TIDE_START_DATA = "auto"; /* only read */
    return strcmp(text, usual) == 0 && tide_numa_allowed() == 1;
}

TIDE_START_CODE int tide_source_open(struct tide_source *out, const char *text)
{
    if (source_is_usual(text)) {
        source_fall_back(out, TIDE_SOURCE_ALONE);
        out->root = TIDE_TOPO_ROOT;
        return 0;
    }
    return tide_source_open_below(out, text, TIDE_TOPO_ROOT, NULL);
}

int tide_source_open_region(struct tide_source *out, const char *text, bool create)
{
    struct tide_source asked = {.root = TIDE_TOPO_ROOT, .create = create};
    return source_open(out, text, &asked);
}

int tide_source_say(struct tide_source *source, int code, const char *what)
{
    struct tide_text text = {source->said, sizeof source->said, 0};
    source->said[0] = '\0';
    if (source->path[0] != '\0') {
        tide_text_add(&text, "'");
        tide_text_add(&text, source->path);
        tide_text_add(&text, "' ");
    }
    tide_text_add(&text, what);
    source->why = source->said;
    return code;
}

/* --- memory ----------------------------------------------------------------------- */

static int source_misfit(struct tide_source *source, size_t size)
{
    struct tide_text text = {source->said, sizeof source->said, 0};
    bool small = source->capacity != 0 && size > source->capacity;
    tide_source_say(source, 0, small ? "has " : "takes sizes that are multiples of ");
    text.len = strlen(source->said);
    tide_text_number(&text, small ? source->capacity : source->align, 10);
    tide_text_add(&text, small ? " bytes, and not the " : " bytes, and not ");
    tide_text_number(&text, size, 10);
    tide_text_add(&text, small ? " that are asked for" : "");
    return small ? -EFBIG : -EINVAL;
}

int tide_source_grab(struct tide_source *source, size_t size, struct tide_extent *out)
{
    size_t page = tide_vmem_page_size();
    *out = (struct tide_extent){.fd = -1};
    source->align = tide_max(source->align, page);
    if (size == 0)
        size = tide_align_down(source->capacity, source->align);
    if (size == 0)
        return tide_source_say(source, -EINVAL, "needs a size: it has none of its own");
    if (size % source->align != 0 || (source->capacity != 0 && size > source->capacity))
        return source_misfit(source, size);
    out->size = size;
    out->align = source->align;
    int ret = source->ops->grab != NULL ? source->ops->grab(source, size, out) : 0;
    if (ret != 0)
        out->fd = -1;
    return ret;
}

int tide_source_map(const struct tide_source *source, struct tide_extent *extent, char *base,
                    size_t offset, size_t size)
{
    if (extent->fd >= 0)
        return tide_store_map(base, size, extent->fd, offset, &extent->sync);
    int ret = tide_vmem_commit(base, size);
    if (ret == 0)
        tide_source_place(source, base, size);
    return ret;
}

void tide_source_release(struct tide_extent *extent)
{
    struct tide_store now;
    /* A program that closes all descriptors it does not know may have another one there. */
    if (extent->fd >= 0 && tide_store_stat(extent->fd, &now) == 0 &&
        now.device == extent->file[0] && now.inode == extent->file[1])
        tide_file_close(extent->fd);
    extent->fd = -1;
}

int tide_source_place(const struct tide_source *source, void *base, size_t size)
{
    return source->ops->place != NULL ? source->ops->place(source, base, size) : 0;
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

TIDE_START_CODE void tide_source_tune(struct tide_source *source, bool migrate, enum tide_thp thp)
{
    source->thp = thp;
    if (!migrate)
        return;
    if (source->shared) {
        source->migrate_why = "the pages of files and devices stay where they are";
        return;
    }
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
