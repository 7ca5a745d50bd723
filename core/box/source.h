/*
 * source.h - where the pages of a window come from.
 *
 * owns:      the table of kinds; the modelled cache of delay=
 * threads:   a source is written at start and then read by all
 * invariant: placing never leaves a window in a state in which touching it can
 *            kill the process: preferences, never MPOL_BIND
 * uses:      topo, vmem, clock
 * used by:   segment, report, the command
 * not here:  which window (segment)
 * test:      tests/test_source.c
 */
#ifndef TIDE_BOX_SOURCE_H
#define TIDE_BOX_SOURCE_H

#include "box/def.h"

enum { TIDE_SOURCE_TEXT = 128 };

struct tide_source;

/* One row per kind. `accept` reads the text behind the kind's name. */
struct tide_source_ops {
    const char *name;
    int (*accept)(struct tide_source *source, const char *rest);
    int (*place)(const struct tide_source *source, void *base, size_t size);
};

struct tide_source {
    const struct tide_source_ops *ops;
    int node;                    /* where it prefers to be; -1: wherever the kernel likes */
    uint32_t delay;              /* ns added to each modelled cache miss; 0: none */
    bool far;                    /* slower than near memory, or modelled so */
    const char *why;             /* the reason of the decision, static text */
    const char *root;            /* where it reads about the nodes */
    char text[TIDE_SOURCE_TEXT]; /* the source in the option's own language */
};

extern const struct tide_source_ops tide_source_anon, tide_source_near, tide_source_node,
    tide_source_auto;

/* Opens the source that `text` names ("auto", "node:1,delay=250"). On success 0.
 * Otherwise the source is near memory, and the result tells why: -EINVAL text that
 * is no source, -ENODEV a node that has no memory. `why` says it in words. */
int tide_source_open(struct tide_source *out, const char *text);

/* The same with the nodes below another directory than /sys/devices/system/node. */
int tide_source_open_below(struct tide_source *out, const char *text, const char *root);

/* Gives the source's policy to a fresh range. 0 or -errno; usable either way. */
int tide_source_place(const struct tide_source *source, void *base, size_t size);

/* The library is about to access `len` bytes at p: waits `delay` ns for each line
 * that the modelled cache (direct-mapped, 2 MiB) does not hold. */
void tide_source_touch_slow(const void *p, size_t len, uint32_t delay);

#endif
