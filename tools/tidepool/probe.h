/*
 * probe.h - reading a node's memory to see how slow it is.
 *
 * Bounded: at most 64 MiB, and a quarter of what is free on the node, in the machine and
 * under the process's cgroups; half a second or so for each node. Never in danger of being
 * killed: the memory is placed by preference, and then the kernel is asked where it is.
 */
#ifndef TIDEPOOL_PROBE_H
#define TIDEPOOL_PROBE_H

#include "json.h"
#include "machine.h"

struct probe {
    bool asked, measured;
    unsigned latency;   /* of a read that no cache answers, ns */
    unsigned bandwidth; /* of reads, MiB/s */
    unsigned threads;   /* that read together, for the bandwidth */
    uint64_t bytes;     /* that were read */
    const char *why;    /* not measured: the reason */
};

/* probe[i] is of machine->node[i]. Of this machine only. */
void probe_nodes(const struct machine *machine, struct probe probe[TIDE_TOPO_NODES]);

/* The members of an object that is open; "95 ns, 9000 MiB/s (measured: 64 MiB, 2 threads)". */
void probe_json(struct json *json, const struct probe *probe);
const char *probe_text(const struct probe *probe, char *buf, size_t size);

/* Bytes that may be taken from the node: probe_nodes takes no more. */
uint64_t probe_room(const struct machine *machine, const struct tide_node *node);

#endif
