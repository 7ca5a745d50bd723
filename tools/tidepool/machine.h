/*
 * machine.h - what `info` and `doctor` know of the machine: nodes, dax devices, limits.
 *
 * Read once, from directories that tests may replace. With another /sys alone the limits
 * are those of this process; a made-up machine has limits of its own.
 */
#ifndef TIDEPOOL_MACHINE_H
#define TIDEPOOL_MACHINE_H

#include "command.h"

#include "box/topo.h"

enum { MACHINE_DAX = 64, MACHINE_PATH = 256, MACHINE_WORD = 128 };

/* Which machine to read; all NULL: this one. */
struct machine_where {
    const char *command; /* for complaints */
    const char *root;    /* made up: DIR/sys, DIR/proc and DIR/dev */
    const char *sysfs;   /* instead of /sys */
    const char *mems;    /* the nodes that a process may use, as a list */
};

struct dax_device {
    char name[64], mode[32]; /* mode: devdax, system-ram, unbound, or the driver's name */
    uint64_t size, align;
    int target_node;        /* -1: none, or not told */
    const char *permission; /* of this user on /dev/NAME: rw, r, none, absent; NULL: not devdax,
                             * so nobody opens it */
};

struct machine {
    bool fake;    /* not /sys */
    bool made_up; /* nothing of it is this machine's */
    char sys[MACHINE_PATH], proc[MACHINE_PATH], dev[MACHINE_PATH];
    char root[MACHINE_PATH]; /* of the nodes */

    int nodes; /* 0: the kernel tells nothing about nodes */
    int here;  /* the node that distances are counted from */
    struct tide_node node[TIDE_TOPO_NODES];
    char cpus[TIDE_TOPO_NODES][MACHINE_WORD];

    int devices;
    struct dax_device dax[MACHINE_DAX];

    char kernel[MACHINE_WORD];
    uint64_t page_size;
    uint64_t address_space, data, locked_memory;            /* UINT64_MAX: unlimited */
    char overcommit[MACHINE_WORD], map_count[MACHINE_WORD]; /* "": unknown */
    char thp[MACHINE_WORD], mems_allowed[MACHINE_WORD];
    uint64_t allowed;          /* the nodes that a process may use, as a mask */
    bool allowed_given;        /* it was given, or the machine is made up */
    char policy[MACHINE_WORD]; /* memory policy of this process, "default", "bind:0" */
};

/* False after a complaint: a directory that is too long a path or none, or mems is no list of
 * nodes. Without mems: the nodes that this process may use (with another /sys all). */
bool machine_read(struct machine *machine, const struct machine_where *where);

/* For machine_read: all but the nodes and devices. */
void machine_read_limits(struct machine *machine);

/* The first line of a file, whose path is formatted; "" and false when it cannot be read. */
bool machine_line(char line[MACHINE_WORD], const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* A memory node without processors. */
bool machine_is_far(const struct tide_node *node);

/* The node with this number, or NULL. */
const struct tide_node *machine_node(const struct machine *machine, int id);

/* The numbers of the nodes that have memory, "0,2". */
void machine_memory_nodes(const struct machine *machine, char *buf, size_t size);

/* False when the process may not use the node. */
bool machine_may_use(const struct machine *machine, unsigned id);

#endif
