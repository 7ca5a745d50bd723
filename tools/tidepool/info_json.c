/* info_json.c - see info.h; the schema is in JSON.md */
#include "info.h"
#include "json.h"

#include <stdlib.h>

/* A text that may be empty: null then. */
static void maybe_text(struct json *json, const char *key, const char *text)
{
    json_text(json, key, text[0] != '\0' ? text : NULL);
}

static void maybe_number(struct json *json, const char *key, const char *digits)
{
    if (digits[0] != '\0')
        json_number(json, key, strtoull(digits, NULL, 10));
    else
        json_null(json, key);
}

static void maybe_limit(struct json *json, const char *key, uint64_t limit)
{
    if (limit != UINT64_MAX)
        json_number(json, key, limit);
    else
        json_null(json, key);
}

static void maybe_node(struct json *json, const char *key, int node)
{
    if (node >= 0)
        json_number(json, key, (uint64_t)node);
    else
        json_null(json, key);
}

/* 0: not known. */
static void maybe_figure(struct json *json, const char *key, unsigned figure)
{
    if (figure != 0)
        json_number(json, key, figure);
    else
        json_null(json, key);
}

/* What there is to compare the node by. */
static const char *performance_source(const struct tide_node *node)
{
    return node->latency != 0 ? "hmat" : node->distance != 0 ? "distance" : NULL;
}

static void json_nodes(struct json *json, const struct info *info)
{
    const struct machine *machine = &info->machine;
    json_open(json, "nodes", '[');
    for (int i = 0; i < machine->nodes; i++) {
        const struct tide_node *node = &machine->node[i];
        json_open(json, NULL, '{');
        json_number(json, "node", node->id);
        maybe_text(json, "cpus", machine->cpus[i]);
        json_bool(json, "memory", node->has_memory);
        json_number(json, "total", node->total);
        json_number(json, "free", node->free);
        maybe_figure(json, "distance", node->distance);
        maybe_figure(json, "latency_ns", node->latency);
        maybe_figure(json, "bandwidth_mib", node->bandwidth);
        json_text(json, "performance_source", performance_source(node));
        json_bool(json, "local", node->local);
        json_bool(json, "far", machine_is_far(node));
        if (info->probe[i].asked) {
            json_open(json, "probe", '{');
            probe_json(json, &info->probe[i]);
            json_close(json, '}');
        }
        json_close(json, '}');
    }
    json_close(json, ']');
    json_open(json, "far_nodes", '[');
    for (int i = 0; i < machine->nodes; i++)
        if (machine_is_far(&machine->node[i]))
            json_number(json, NULL, machine->node[i].id);
    json_close(json, ']');
}

static void json_devices(struct json *json, const struct machine *machine)
{
    json_open(json, "dax", '[');
    for (int i = 0; i < machine->devices; i++) {
        const struct dax_device *device = &machine->dax[i];
        json_open(json, NULL, '{');
        json_text(json, "name", device->name);
        json_number(json, "size", device->size);
        json_number(json, "align", device->align);
        json_text(json, "mode", device->mode);
        maybe_node(json, "target_node", device->target_node);
        json_text(json, "permission", device->permission);
        json_close(json, '}');
    }
    json_close(json, ']');
}

static void json_limits(struct json *json, const struct machine *machine)
{
    json_open(json, "limits", '{');
    maybe_limit(json, "address_space", machine->address_space);
    maybe_limit(json, "locked_memory", machine->locked_memory);
    maybe_number(json, "overcommit_memory", machine->overcommit);
    maybe_number(json, "max_map_count", machine->map_count);
    maybe_text(json, "thp", machine->thp);
    maybe_text(json, "mems_allowed", machine->mems_allowed);
    maybe_text(json, "memory_policy", machine->policy);
    json_close(json, '}');
}

static void json_options(struct json *json, const struct info *info)
{
    json_open(json, "options", '{');
    json_text(json, "text", info->options);
    json_open(json, "bad", '[');
    if (info->too_long) {
        json_open(json, NULL, '{');
        json_text(json, "option", "TIDEPOOL_OPTIONS");
        json_text(json, "why", "too long: the library ignores it");
        json_close(json, '}');
    }
    for (int i = 0; i < info->settings.count; i++) {
        const struct setting *entry = &info->settings.entry[i];
        if (entry->error == 0)
            continue;
        json_open(json, NULL, '{');
        json_text(json, "option", entry->key);
        json_text(json, "why", entry->why);
        json_close(json, '}');
    }
    json_close(json, ']');
    json_close(json, '}');
}

static void json_mid(struct json *json, const struct decision *decision)
{
    json_open(json, "mid", '{');
    json_number(json, "from", decision->tiny_max + 1);
    json_number(json, "to", TIDE_MID_TOP);
    json_text(json, "asked", decision->asked);
    json_text(json, "source", decision->mid.text);
    maybe_node(json, "node", decision->mid.node);
    json_bool(json, "far", decision->mid.far);
    json_number(json, "delay_ns", decision->mid.delay);
    json_text(json, "why", decision->mid.why);
    json_text(json, "placing", decision->placing);
    json_text(json, "header", decision->header);
    json_text(json, "header_why", decision->header_why);
    json_close(json, '}');
}

static void json_decision(struct json *json, const struct decision *decision)
{
    json_open(json, "decision", '{');
    json_open(json, "tiny", '{');
    json_number(json, "from", 0);
    json_number(json, "to", decision->tiny_max);
    json_text(json, "source", "near");
    json_close(json, '}');
    json_mid(json, decision);
    json_open(json, "large", '{');
    json_number(json, "from", TIDE_MID_TOP + 1);
    json_null(json, "to");
    json_text(json, "source", "near");
    json_close(json, '}');
    json_open(json, "rejected", '[');
    for (int i = 0; i < decision->rejections; i++) {
        json_open(json, NULL, '{');
        json_text(json, "what", decision->rejected[i].what);
        json_text(json, "why", decision->rejected[i].why);
        json_close(json, '}');
    }
    json_close(json, ']');
    json_open(json, "notes", '[');
    for (int i = 0; i < decision->notes; i++)
        json_text(json, NULL, decision->note[i]);
    json_close(json, ']');
    maybe_text(json, "numactl", decision->numactl);
    maybe_text(json, "daxctl", decision->daxctl);
    json_close(json, '}');
}

void info_json(const struct info *info)
{
    struct json json = {0};
    json_begin(&json, "info");
    maybe_text(&json, "kernel", info->machine.kernel);
    json_number(&json, "page_size", info->machine.page_size);
    json_nodes(&json, info);
    json_devices(&json, &info->machine);
    json_limits(&json, &info->machine);
    json_options(&json, info);
    json_decision(&json, &info->decision);
    json_close(&json, '}');
}
