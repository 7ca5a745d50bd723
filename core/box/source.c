/* source.c - see source.h: the table, and the option's language */
#include "box/source.h"

#include "box/diag.h"
#include "box/topo.h"

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
    const char *comma = strchr(text, ',');
    *end = comma != NULL ? (size_t)(comma - text) : strlen(text);
    *delay = 0;
    if (comma == NULL)
        return 0;
    if (strncmp(comma, ",delay=", 7) != 0 || comma[7] == '\0')
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
    if (out->ops == &tide_source_node) {
        tide_text_add(&text, ":");
        tide_text_number(&text, (uint64_t)out->node, 10);
    }
    if (out->delay != 0) {
        tide_text_add(&text, ",delay=");
        tide_text_number(&text, out->delay, 10);
    }
}

int tide_source_open_below(struct tide_source *out, const char *text, const char *root)
{
    size_t end;
    uint32_t delay;
    source_fall_back(out, "no source (allowed: auto, anon, near or node:N, then ,delay=NS): "
                          "near memory is used");
    if (source_delay(text, &end, &delay) != 0)
        return -EINVAL;
    for (unsigned i = 0; i < SOURCE_KINDS; i++) {
        const struct tide_source_ops *ops = source_table[i];
        size_t len = strlen(ops->name);
        char rest[32];
        if (strncmp(text, ops->name, len) != 0 || end < len || end - len >= sizeof rest)
            continue;
        memcpy(rest, text + len, end - len);
        rest[end - len] = '\0';
        struct tide_source found = {
            .ops = ops, .node = -1, .delay = delay, .far = delay != 0, .root = root};
        int ret = ops->accept(&found, rest);
        if (ret == -ENODEV)
            source_fall_back(out, found.why);
        if (ret != 0)
            return ret;
        *out = found;
        source_describe(out);
        return 0;
    }
    return -EINVAL;
}

int tide_source_open(struct tide_source *out, const char *text)
{
    return tide_source_open_below(out, text, TIDE_TOPO_ROOT);
}

int tide_source_place(const struct tide_source *source, void *base, size_t size)
{
    return source->ops->place(source, base, size);
}
