/* topo.c - see topo.h */
#include "box/topo.h"

#include <sched.h>

#include "box/diag.h"
#include "box/file.h"

static const char *topo_number(const char *at, unsigned *out)
{
    unsigned value = 0;
    const char *start = at;
    for (; *at >= '0' && *at <= '9' && value < 100000; at++)
        value = value * 10 + (unsigned)(*at - '0');
    *out = value;
    return at == start ? NULL : at;
}

int tide_topo_parse_list(const char *text, uint64_t *mask)
{
    *mask = 0;
    while (*text != '\0' && *text != '\n') {
        unsigned from, to;
        text = topo_number(text, &from);
        if (text == NULL)
            return -EINVAL;
        to = from;
        if (*text == '-') {
            text = topo_number(text + 1, &to);
            if (text == NULL || to < from)
                return -EINVAL;
        }
        for (; from <= to && from < 64; from++)
            *mask |= (uint64_t)1 << from;
        if (*text == ',')
            text++;
        else if (*text != '\0' && *text != '\n')
            return -EINVAL;
    }
    return 0;
}

/* Reads ROOT/NAME, or ROOT/nodeN/NAME. */
static int topo_file(const char *root, int node, const char *name, char *buf, size_t len)
{
    char path[256];
    struct tide_text text = {path, sizeof path, 0};
    tide_text_add(&text, root);
    if (node >= 0) {
        tide_text_add(&text, "/node");
        tide_text_number(&text, (uint64_t)node, 10);
    }
    tide_text_add(&text, "/");
    tide_text_add(&text, name);
    return tide_file_read(path, buf, len);
}

static uint64_t topo_mask(const char *root, const char *name)
{
    char buf[512];
    uint64_t mask = 0;
    if (topo_file(root, -1, name, buf, sizeof buf) < 0 || tide_topo_parse_list(buf, &mask) != 0)
        return 0;
    return mask;
}

/* The bytes of a meminfo line "Node 0 MemTotal:  123 kB". */
static uint64_t topo_meminfo(const char *text, const char *name)
{
    unsigned long long kib = 0;
    const char *at = strstr(text, name);
    if (at == NULL)
        return 0;
    at += strlen(name);
    while (*at == ' ' || *at == ':')
        at++;
    for (; *at >= '0' && *at <= '9'; at++)
        kib = kib * 10 + (unsigned long long)(*at - '0');
    return kib * 1024;
}

/* Entry `index` (among the online nodes, in order) of a distance line. */
static unsigned topo_distance(const char *root, int from, int index)
{
    char buf[512];
    unsigned value = 0;
    if (topo_file(root, from, "distance", buf, sizeof buf) < 0)
        return 0;
    const char *at = buf;
    for (int i = 0; i <= index; i++) {
        while (*at == ' ')
            at++;
        at = topo_number(at, &value);
        if (at == NULL)
            return 0;
    }
    return value;
}

/* The number in a file of node `id`; 0 when there is none. */
static unsigned topo_figure(const char *root, unsigned id, const char *name)
{
    char buf[64];
    unsigned value = 0;
    if (topo_file(root, (int)id, name, buf, sizeof buf) < 0 || topo_number(buf, &value) == NULL)
        return 0;
    return value;
}

/* Is node `here` among the initiators that a class of figures of node `id` is about? */
static bool topo_is_initiator(const char *root, unsigned id, const char *class, unsigned here)
{
    char path[256], target[256];
    struct tide_text text = {path, sizeof path, 0};
    tide_text_add(&text, root);
    tide_text_add(&text, "/node");
    tide_text_number(&text, id, 10);
    tide_text_add(&text, class);
    tide_text_add(&text, "node");
    tide_text_number(&text, here, 10);
    return tide_file_link(path, target, sizeof target) > 0;
}

/* Class 1 is about processors, class 0 about whatever is nearest; older kernels have 0 only. */
static void topo_performance(const char *root, struct tide_node *node)
{
    unsigned here = tide_topo_this_node();
    node->latency = topo_figure(root, node->id, "access1/initiators/read_latency");
    if (node->latency != 0) {
        node->bandwidth = topo_figure(root, node->id, "access1/initiators/read_bandwidth");
        node->local = topo_is_initiator(root, node->id, "/access1/initiators/", here);
        return;
    }
    node->latency = topo_figure(root, node->id, "access0/initiators/read_latency");
    node->bandwidth = topo_figure(root, node->id, "access0/initiators/read_bandwidth");
    node->local = topo_is_initiator(root, node->id, "/access0/initiators/", here);
}

unsigned tide_topo_this_node(void)
{
    unsigned cpu = 0, node = 0;
    getcpu(&cpu, &node);
    return node;
}

int tide_topo_read(const char *root, struct tide_node *nodes, int max)
{
    uint64_t online = topo_mask(root, "online");
    uint64_t cpu = topo_mask(root, "has_cpu"), memory = topo_mask(root, "has_memory");
    int here = (int)tide_topo_this_node(), count = 0;
    for (int id = 0; id < TIDE_TOPO_NODES; id++) {
        if ((online >> id & 1) == 0)
            continue;
        if (count < max) {
            char info[2048] = "";
            topo_file(root, id, "meminfo", info, sizeof info);
            nodes[count] = (struct tide_node){
                .id = (unsigned)id,
                .has_cpu = cpu >> id & 1,
                .has_memory = memory >> id & 1,
                .total = topo_meminfo(info, "MemTotal"),
                .free = topo_meminfo(info, "MemFree"),
                .distance = topo_distance(root, here, count),
            };
            if (nodes[count].has_memory)
                topo_performance(root, &nodes[count]);
        }
        count++;
    }
    return count;
}

bool tide_topo_has_memory(const char *root, unsigned node)
{
    return node < 64 && (topo_mask(root, "has_memory") >> node & 1) != 0;
}

bool tide_topo_has_cpu(const char *root, unsigned node)
{
    return node < 64 && (topo_mask(root, "has_cpu") >> node & 1) != 0;
}

/* Is node a nearer than b? What is not known is farther than anything. */
static bool topo_nearer(const struct tide_node *a, const struct tide_node *b)
{
    return a->distance != 0 && (b->distance == 0 || a->distance < b->distance);
}

/* The same of two local nodes. */
static bool topo_quicker(const struct tide_node *a, const struct tide_node *b)
{
    if (a->latency == b->latency)
        return topo_nearer(a, b);
    return a->latency != 0 && (b->latency == 0 || a->latency < b->latency);
}

int tide_topo_far_node(const char *root, uint64_t allowed)
{
    uint64_t memory = topo_mask(root, "has_memory");
    if ((memory & (memory - 1)) == 0)
        return -1; /* one node: the usual machine, answered with one small file */
    if (topo_mask(root, "has_cpu") == 0)
        return -1; /* not known which nodes have processors: none is taken for far */
    struct tide_node nodes[TIDE_TOPO_NODES];
    int count = tide_topo_read(root, nodes, TIDE_TOPO_NODES);
    const struct tide_node *local = NULL, *other = NULL;
    for (const struct tide_node *node = nodes; node < nodes + count; node++) {
        if (!node->has_memory || node->has_cpu || (allowed >> node->id & 1) == 0)
            continue;
        if (node->local && (local == NULL || topo_quicker(node, local)))
            local = node;
        if (!node->local && (other == NULL || topo_nearer(node, other)))
            other = node;
    }
    if (local == NULL || (other != NULL && topo_nearer(other, local)))
        local = other;
    return local == NULL ? -1 : (int)local->id;
}
