/* source_node.c - see source.h: anonymous memory preferred on one NUMA node, by
 * number ("node:1") or the nearest node without processors ("auto").
 *
 * MPOL_PREFERRED, not MPOL_BIND: a full node under MPOL_BIND ends in the kernel
 * killing the process at the next touch, a preference spills to near memory. */
#include "box/source.h"
#include "box/topo.h"
#include "box/vmem.h"

static int node_accept(struct tide_source *source, const char *rest)
{
    unsigned node = 0;
    if (rest[0] != ':' || rest[1] == '\0')
        return -EINVAL;
    for (const char *at = rest + 1; *at != '\0'; at++) {
        if (*at < '0' || *at > '9' || node >= 1024)
            return -EINVAL;
        node = node * 10 + (unsigned)(*at - '0');
    }
    source->node = (int)node;
    source->why = "the node asked for";
    if (!tide_topo_has_memory(source->root, node)) {
        source->why = "the node asked for has no memory here: near memory is used";
        return -ENODEV;
    }
    /* A node with processors is far for those of the others. */
    if (!tide_topo_has_cpu(source->root, node) || node != tide_topo_this_node())
        source->far = true;
    return 0;
}

static int node_place(const struct tide_source *source, void *base, size_t size)
{
    return tide_vmem_prefer_node(base, size, (unsigned)source->node);
}

static int auto_accept(struct tide_source *source, const char *rest)
{
    if (*rest != '\0')
        return -EINVAL;
    source->node = tide_topo_far_node(source->root);
    if (source->node < 0) {
        source->why = "no memory node without processors on this machine: near memory is used";
        source->ops = &tide_source_near;
        return 0;
    }
    source->ops = &tide_source_node;
    source->why = "the nearest memory node without processors";
    source->far = true;
    return 0;
}

const struct tide_source_ops tide_source_node = {"node", node_accept, node_place};
const struct tide_source_ops tide_source_auto = {"auto", auto_accept, node_place};
