/* source_node.c - see source.h: anonymous memory preferred on NUMA nodes, by number
 * ("node:1"), in turn over several ("node:1,2"), by shares ("node:0*3+1*1"), or on the
 * nearest node without processors ("auto").
 *
 * Preferences, not MPOL_BIND: a full node under MPOL_BIND ends in the kernel killing
 * the process at the next touch, a preference spills to near memory. */
#include "box/diag.h"
#include "box/file.h"
#include "box/numa.h"
#include "box/source.h"
#include "box/topo.h"

enum {
    NODE_WEIGHT_MAX = 255,
    NODE_ID_MAX = 10239, /* what the kernel could have, ten times over */
    /* Shares are laid out in runs of this many bytes per unit of weight. Each run costs the
     * process one mapping, of which it has 65,530: so there are not many. */
    NODE_CHUNK = 4 << 20,
    NODE_RUNS = 4096
};

/* A number up to `most` at *at, which is moved behind it. */
static int node_number(const char **at, unsigned most, unsigned *out)
{
    const char *start = *at;
    *out = 0;
    for (; **at >= '0' && **at <= '9'; (*at)++) {
        *out = *out * 10 + (unsigned)(**at - '0');
        if (*out > most || *at - start >= 8)
            return -EINVAL;
    }
    return *at == start ? -EINVAL : 0;
}

/* "1", "1,2", "0*3+1*1": either all nodes have a weight or none. Ids that no mask of ours
 * can hold are nodes that are not there. */
static int node_list(struct tide_source *source, const char *at)
{
    int ret = 0;
    for (bool first = true;; first = false) {
        unsigned node, weight = 1;
        if (node_number(&at, NODE_ID_MAX, &node) != 0)
            return -EINVAL;
        bool weighted = *at == '*';
        if (weighted) {
            at++;
            if (node_number(&at, NODE_WEIGHT_MAX, &weight) != 0 || weight == 0)
                return -EINVAL;
        }
        if (!first && weighted != source->weighted)
            return -EINVAL;
        source->weighted = weighted;
        if (node >= TIDE_SOURCE_NODES) {
            ret = -ENODEV;
        } else {
            if ((source->nodes >> node & 1) != 0)
                return -EINVAL;
            source->nodes |= (uint64_t)1 << node;
            source->weight[node] = (uint8_t)weight;
        }
        if (*at == '\0')
            return ret;
        if (*at != (weighted ? '+' : ','))
            return -EINVAL;
        at++;
    }
}

static bool node_is_single(const struct tide_source *source)
{
    return (source->nodes & (source->nodes - 1)) == 0;
}

/* Nodes that the process may use, as far as is known. */
static uint64_t node_allowed(const struct tide_source *source)
{
    uint64_t allowed = source->allowed != NULL ? *source->allowed : tide_numa_allowed();
    return allowed != 0 ? allowed : UINT64_MAX;
}

/* Has the administrator given the nodes just these shares? Then the kernel deals the pages
 * out, one by one. Weights of a process's own it does not take. */
static bool node_kernel_weights(const struct tide_source *source)
{
    unsigned first_kernel = 0, first_own = 0;
    if (!source->weighted || node_is_single(source))
        return false;
    for (uint64_t nodes = source->nodes; nodes != 0; nodes &= nodes - 1) {
        unsigned node = (unsigned)__builtin_ctzll(nodes), weight = 0;
        char path[96], buf[32];
        const char *at = buf;
        struct tide_text text = {path, sizeof path, 0};
        tide_text_add(&text, "/sys/kernel/mm/mempolicy/weighted_interleave/node");
        tide_text_number(&text, node, 10);
        if (tide_file_read(path, buf, sizeof buf) < 0 ||
            node_number(&at, NODE_WEIGHT_MAX, &weight) != 0 || weight == 0)
            return false;
        first_kernel = first_kernel != 0 ? first_kernel : weight;
        first_own = first_own != 0 ? first_own : source->weight[node];
        if (weight * first_own != source->weight[node] * first_kernel)
            return false;
    }
    return true;
}

static int node_accept(struct tide_source *source, const char *rest)
{
    int ret = rest[0] == ':' ? node_list(source, rest + 1) : -EINVAL;
    if (ret == -EINVAL)
        return ret;
    bool single = node_is_single(source);
    source->why = single ? "the node asked for has no memory here: near memory is used"
                         : "one of the nodes asked for has no memory here: near memory is used";
    if (ret != 0)
        return ret;
    source->node = __builtin_ctzll(source->nodes);
    for (uint64_t rest_of = source->nodes; rest_of != 0; rest_of &= rest_of - 1) {
        unsigned node = (unsigned)__builtin_ctzll(rest_of);
        if (!tide_topo_has_memory(source->root, node))
            return -ENODEV;
        /* A node with processors is far for those of the others. */
        if (!tide_topo_has_cpu(source->root, node) || node != tide_topo_this_node())
            source->far = true;
    }
    source->why = "this process may not use the node asked for (Mems_allowed_list): near memory "
                  "is used";
    if ((source->nodes & ~node_allowed(source)) != 0)
        return -ENODEV;
    source->by_kernel = node_kernel_weights(source);
    source->why = single ? "the node asked for" : "the nodes asked for";
    return 0;
}

static int auto_accept(struct tide_source *source, const char *rest)
{
    if (*rest != '\0')
        return -EINVAL;
    source->node = tide_topo_far_node(source->root, UINT64_MAX);
    if (source->node >= 0) /* only then it is worth asking what is allowed */
        source->node = tide_topo_far_node(source->root, node_allowed(source));
    bool inherited =
        source->node >= 0 && strcmp(source->root, TIDE_TOPO_ROOT) == 0 && tide_numa_inherited();
    if (source->node < 0 || inherited) {
        source->why =
            source->node < 0
                ? TIDE_SOURCE_ALONE
                : "the process was started with a memory policy of its own (as by numactl), "
                  "which mid=auto respects";
        source->node = -1;
        source->ops = &tide_source_near;
        return 0;
    }
    source->why = "the nearest memory node without processors";
    source->nodes = (uint64_t)1 << source->node;
    source->ops = &tide_source_node;
    source->far = true;
    return 0;
}

/* --- placing ---------------------------------------------------------------------- */

static int node_place(const struct tide_source *source, void *base, size_t size)
{
    if (source->by_kernel && tide_numa_place(base, size, TIDE_NUMA_WEIGHTED, source->nodes, 0) == 0)
        return 0;
    if (!node_is_single(source))
        return tide_numa_place(base, size, TIDE_NUMA_INTERLEAVE, source->nodes, 0);
    if (source->near != 0)
        return tide_numa_place(base, size, TIDE_NUMA_PROMOTE, source->nodes, source->near);
    return tide_numa_place(base, size, TIDE_NUMA_PREFER, source->nodes, 0);
}

/* The node of the run that begins in chunk `chunk`, and the chunk that ends it. */
static unsigned node_of_chunk(const struct tide_source *source, size_t chunk, size_t *end)
{
    unsigned total = 0, last = 0;
    for (uint64_t nodes = source->nodes; nodes != 0; nodes &= nodes - 1)
        total += source->weight[__builtin_ctzll(nodes)];
    size_t turn = chunk - chunk % total, at = turn;
    for (uint64_t nodes = source->nodes; nodes != 0 && at <= chunk; nodes &= nodes - 1) {
        last = (unsigned)__builtin_ctzll(nodes);
        at += source->weight[last];
    }
    *end = at;
    return last;
}

int tide_source_extend(const struct tide_source *source, void *base, size_t from, size_t to)
{
    if (source->ops != &tide_source_node || !source->weighted || source->by_kernel ||
        node_is_single(source))
        return 0;
    int ret = 0;
    while (from < to && ret == 0) {
        size_t end;
        unsigned node = node_of_chunk(source, from / NODE_CHUNK, &end);
        if (from / NODE_CHUNK >= NODE_RUNS) /* the rest stays interleaved without weights */
            break;
        size_t stop = tide_min(end * NODE_CHUNK, to);
        ret = tide_numa_place((char *)base + from, stop - from, TIDE_NUMA_PREFER,
                              (uint64_t)1 << node, 0);
        from = stop;
    }
    return ret;
}

const struct tide_source_ops tide_source_node = {"node", node_accept, node_place, NULL, NULL, NULL};
const struct tide_source_ops tide_source_auto = {"auto", auto_accept, node_place, NULL, NULL, NULL};
