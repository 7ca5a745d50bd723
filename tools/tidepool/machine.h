/*
 * machine.h - what `tidepool info` knows of the machine: nodes, dax devices, limits.
 *
 * Read once, from below a sysfs root that tests may replace; the limits are those
 * of this process and come from the real kernel whatever the root is.
 */
#ifndef TIDEPOOL_MACHINE_H
#define TIDEPOOL_MACHINE_H

#include "command.h"

#include "box/topo.h"

enum { MACHINE_DAX = 64, MACHINE_PATH = 256, MACHINE_WORD = 128 };

struct dax_device {
    char name[64], mode[32]; /* mode: devdax, system-ram, unbound, or the driver's name */
    uint64_t size, align;
    int target_node; /* -1: none, or not told */
};

struct machine {
    bool fake;               /* the root is not /sys */
    char root[MACHINE_PATH]; /* of the nodes */

    int nodes; /* 0: the kernel tells nothing about nodes */
    int here;  /* the node that distances are counted from */
    struct tide_node node[TIDE_TOPO_NODES];
    char cpus[TIDE_TOPO_NODES][MACHINE_WORD];

    int devices;
    struct dax_device dax[MACHINE_DAX];

    char kernel[MACHINE_WORD];
    uint64_t page_size;
    uint64_t address_space, locked_memory;                  /* UINT64_MAX: unlimited */
    char overcommit[MACHINE_WORD], map_count[MACHINE_WORD]; /* "": unknown */
    char thp[MACHINE_WORD], mems_allowed[MACHINE_WORD];
    uint64_t allowed;          /* the nodes that a process may use, as a mask */
    bool allowed_given;        /* it was given, or the machine is made up */
    char policy[MACHINE_WORD]; /* memory policy of this process, "default", "bind:0" */
};

/* False after a complaint: sysfs is too long a path or no directory, or mems no list of
 * nodes. NULL: this machine; the nodes that this process may use (of a made-up one all). */
bool machine_read(struct machine *machine, const char *sysfs, const char *mems);

/* A memory node without processors. */
bool machine_is_far(const struct tide_node *node);

/* The node with this number, or NULL. */
const struct tide_node *machine_node(const struct machine *machine, int id);

/* The numbers of the nodes that have memory, "0,2". */
void machine_memory_nodes(const struct machine *machine, char *buf, size_t size);

/* False when the process may not use the node. */
bool machine_may_use(const struct machine *machine, unsigned id);

#endif
