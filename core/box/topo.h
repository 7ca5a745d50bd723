/*
 * topo.h - the machine's memory nodes, as the kernel tells of them.
 *
 * owns:      nothing; reads /sys/devices/system/node each time it is asked
 * threads:   any
 * invariant: node ids need not be dense
 * uses:      file
 * used by:   source, the command
 * not here:  the choice among the nodes (source)
 * test:      tests/test_topo.c
 */
#ifndef TIDE_BOX_TOPO_H
#define TIDE_BOX_TOPO_H

#include "box/def.h"

enum { TIDE_TOPO_NODES = 64 };

struct tide_node {
    unsigned id;
    bool has_cpu, has_memory;
    uint64_t total, free; /* bytes */
    unsigned distance;    /* from the node this thread runs on; 10 is itself, 0 unknown */
    /* What the firmware says (HMAT) of accesses by the nodes nearest to it; 0 unknown. */
    unsigned latency;   /* of a read, ns */
    unsigned bandwidth; /* of reads, MiB/s */
    bool local;         /* the node this thread runs on is one of these nearest ones */
};

/* Sets bit i of *mask for each number i < 64 in a kernel list ("0-3,8").
 * Returns 0, or -EINVAL for text that is no list. */
int tide_topo_parse_list(const char *text, uint64_t *mask);

/* Fills nodes, at most max of them; returns how many there are. 0: no NUMA
 * information (no sysfs). `root` replaces /sys/devices/system/node, for tests. */
int tide_topo_read(const char *root, struct tide_node *nodes, int max);

/* The nearest node among those of the mask that has memory and no processor; -1 when
 * there is none. Of nodes that the firmware calls local to this one (of the own socket) the
 * one with the lowest latency, else with the lowest distance; and so is the best of them
 * compared to the best of the others, whose latency from here nobody tells: by distance. */
int tide_topo_far_node(const char *root, uint64_t allowed);

/* True when the kernel lists `node` as one with memory. */
bool tide_topo_has_memory(const char *root, unsigned node);

/* True when the kernel lists `node` as one with processors. */
bool tide_topo_has_cpu(const char *root, unsigned node);

/* The node of the processor that this thread runs on. */
unsigned tide_topo_this_node(void);

#define TIDE_TOPO_ROOT "/sys/devices/system/node"

#endif
