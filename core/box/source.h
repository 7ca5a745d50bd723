/*
 * source.h - where the pages of a window come from.
 *
 * owns:      the table of kinds; the modelled cache of delay=
 * threads:   a source is written at start and then read by all
 * invariant: placing never leaves a window in a state in which touching it can
 *            kill the process: preferences, never MPOL_BIND
 * uses:      topo, numa, vmem, file, clock
 * used by:   segment, report, the command
 * not here:  which window (segment)
 * test:      tests/test_source.c
 */
#ifndef TIDE_BOX_SOURCE_H
#define TIDE_BOX_SOURCE_H

#include "box/def.h"

enum { TIDE_SOURCE_TEXT = 128, TIDE_SOURCE_NODES = 64 };

enum tide_thp { TIDE_THP_DEFAULT, TIDE_THP_ALWAYS, TIDE_THP_NEVER };

struct tide_source;

/* One row per kind. `accept` reads the text behind the kind's name. */
struct tide_source_ops {
    const char *name;
    int (*accept)(struct tide_source *source, const char *rest);
    int (*place)(const struct tide_source *source, void *base, size_t size);
};

struct tide_source {
    const struct tide_source_ops *ops;
    int node;                    /* the first node it asks for; -1: wherever the kernel likes */
    uint64_t nodes;              /* all of them; 0 with node -1 */
    uint64_t near;               /* promotes: where hot pages may go; else 0 */
    uint32_t delay;              /* ns added to each modelled cache miss; 0: none */
    bool far;                    /* slower than near memory, or modelled so */
    bool weighted;               /* the nodes get shares by weight */
    bool by_kernel;              /* and the machine's own weights are these */
    enum tide_thp thp;           /* huge pages in its windows */
    const char *why;             /* the reason of the decision, static text */
    const char *migrate_why;     /* why the kernel may not move pages although asked, or NULL */
    const char *root;            /* where it reads about the nodes */
    const uint64_t *allowed;     /* while it is opened: see tide_source_open_below */
    char text[TIDE_SOURCE_TEXT]; /* the source in the option's own language */
    uint8_t weight[TIDE_SOURCE_NODES]; /* by node, when there are several */
};

extern const struct tide_source_ops tide_source_anon, tide_source_near, tide_source_node,
    tide_source_auto;

/* Opens the source that `text` names ("auto", "node:1,delay=250"). On success 0.
 * Otherwise the source is near memory, and the result tells why: -EINVAL text that
 * is no source, -ENODEV a node that has no memory. `why` says it in words. */
int tide_source_open(struct tide_source *out, const char *text);

/* The same with the nodes below another directory than /sys/devices/system/node, for a
 * process that may use the nodes of the mask. NULL: those that this one may use. */
int tide_source_open_below(struct tide_source *out, const char *text, const char *root,
                           const uint64_t *allowed);

/* Further wishes: huge pages, and whether the kernel may move hot pages to near memory.
 * Where this kernel refuses that, pages stay where they are and migrate_why says so. */
void tide_source_tune(struct tide_source *source, bool migrate, enum tide_thp thp);

/* Gives the source's policy to a fresh range. 0 or -errno; usable either way. */
int tide_source_place(const struct tide_source *source, void *base, size_t size);

/* Weights that the kernel itself does not take: places bytes [from, to) of a window, by
 * chunks. Other sources are placed whole, and this does nothing. */
int tide_source_extend(const struct tide_source *source, void *base, size_t from, size_t to);

/* Brings every page of a range in and makes sure that the source's nodes hold it: 0, or
 * -ENOMEM when some page is elsewhere and cannot be moved. Never leaves a policy behind
 * under which a later touch could kill. A node may be emptied again by the kernel later. */
int tide_source_secure(const struct tide_source *source, void *base, size_t size);

/* The library is about to access `len` bytes at p: waits `delay` ns for each line
 * that the modelled cache (direct-mapped, 2 MiB) does not hold. */
void tide_source_touch_slow(const void *p, size_t len, uint32_t delay);

#endif
