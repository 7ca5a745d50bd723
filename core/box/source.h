/*
 * source.h - where the pages of a window come from.
 *
 * owns:      the table of kinds; the modelled cache of delay=
 * threads:   a source is written at start and then read by all
 * invariant: placing never leaves a window in a state in which touching it can
 *            kill the process: preferences, never MPOL_BIND
 * uses:      topo, numa, vmem, store, file, clock, diag
 * used by:   region, segment, report, the command
 * not here:  which window (segment)
 * test:      tests/test_source.c, tests/test_source_file.c
 */
#ifndef TIDE_BOX_SOURCE_H
#define TIDE_BOX_SOURCE_H

#include "box/def.h"

/* Why mid=auto stays near on most machines. */
#define TIDE_SOURCE_ALONE "no memory node without processors for this process: near memory is used"

enum { TIDE_SOURCE_TEXT = 256, TIDE_SOURCE_SAID = 384, TIDE_SOURCE_NODES = 64 };

enum tide_thp { TIDE_THP_DEFAULT, TIDE_THP_ALWAYS, TIDE_THP_NEVER };

struct tide_source;

/* Memory that was got from a source, to be mapped. */
struct tide_extent {
    char *base;  /* once it is mapped */
    size_t size; /* bytes */
    size_t align;
    int fd;           /* -1: private memory */
    bool sync;        /* mapped with MAP_SYNC */
    bool made;        /* the file is new */
    bool grown;       /* it was empty */
    uint64_t file[2]; /* device and inode: is the descriptor still this file's? */
};

/* One row per kind. `accept` reads the text behind the kind's name and looks whether what
 * it names is there. `place` gives private memory its policy. `grab` opens shared memory of
 * so many bytes, all of them allocated. `fill` allocates what `grab` left to later: 0, or -errno
 * and source->said. `undo`, before the memory is given back, leaves things as they were before
 * `grab`: no file, or an empty one. NULL: nothing to be done. */
struct tide_source_ops {
    const char *name;
    int (*accept)(struct tide_source *source, const char *rest);
    int (*place)(const struct tide_source *source, void *base, size_t size);
    int (*grab)(struct tide_source *source, size_t size, struct tide_extent *out);
    int (*fill)(struct tide_source *source, int fd, uint64_t size);
    void (*undo)(const struct tide_source *source, const struct tide_extent *extent);
};

struct tide_source {
    const struct tide_source_ops *ops;
    int node;                /* the first node it asks for; -1: wherever the kernel likes */
    uint64_t nodes;          /* all of them; 0 with node -1 */
    uint64_t near;           /* promotes: where hot pages may go; else 0 */
    uint32_t delay;          /* ns added to each modelled cache miss; 0: none */
    bool far;                /* slower than near memory, or modelled so */
    bool weighted;           /* the nodes get shares by weight */
    bool by_kernel;          /* and the machine's own weights are these */
    bool shared;             /* memory that others may have, too: after fork the child */
    bool create;             /* while it is opened: a file need not be there */
    bool later;              /* grab leaves allocating a file's blocks to others */
    enum tide_thp thp;       /* huge pages in its windows */
    const char *why;         /* the reason of the decision: static text, or `said` */
    const char *migrate_why; /* why the kernel may not move pages although asked, or NULL */
    const char *root;        /* where it reads about the nodes */
    const uint64_t *allowed; /* while it is opened: see tide_source_open_below */
    char text[TIDE_SOURCE_TEXT + 32];  /* the source in the option's own language */
    uint8_t weight[TIDE_SOURCE_NODES]; /* by node, when there are several */
    size_t capacity;             /* shared: bytes that are there; 0: as many as are asked for */
    size_t align;                /* shared: of addresses and sizes; a power of two */
    char path[TIDE_SOURCE_TEXT]; /* of a file or device */
    char said[TIDE_SOURCE_SAID]; /* a reason with names and numbers in it, or "" */
};

extern const struct tide_source_ops tide_source_anon, tide_source_near, tide_source_node,
    tide_source_auto, tide_source_file, tide_source_memfd, tide_source_dax;

/* Where sysfs is, for the tests of dax. */
extern const char *tide_source_sysfs;

/* Opens the source that `text` names ("auto", "node:1,delay=250", "file:PATH"). On success 0.
 * Otherwise the source is near memory, and the result tells why: -EINVAL text that
 * is no source, -ENODEV a node that has no memory, a file or a device that cannot be used.
 * `why` says it in words. */
int tide_source_open(struct tide_source *out, const char *text);

/* The same with the nodes below another directory than /sys/devices/system/node, for a
 * process that may use the nodes of the mask. NULL: those that this one may use. */
int tide_source_open_below(struct tide_source *out, const char *text, const char *root,
                           const uint64_t *allowed);

/* The same for a region: files need not exist if `create`, and files and devices that cannot
 * be used give an error of their own. */
int tide_source_open_region(struct tide_source *out, const char *text, bool create);

/* A copy, whose words are its own. */
TIDE_INLINE void tide_source_copy(struct tide_source *out, const struct tide_source *from)
{
    *out = *from;
    if (from->why == from->said)
        out->why = out->said;
}

/* Shared memory is not for a process's heap, unless its options say so: near memory instead,
 * and -EPERM. */
TIDE_INLINE int tide_source_keep_private(struct tide_source *source)
{
    if (!source->shared)
        return 0;
    *source = (struct tide_source){
        .ops = &tide_source_near,
        .node = -1,
        .why = "after a fork parent and child would write to the same blocks: near memory is used "
               "(shared_mid=1 allows it; regions are made for such memory)",
        .root = source->root,
        .text = "near"};
    return -EPERM;
}

/* Gets `size` bytes of the source (0: its capacity), not mapped yet. 0, or -errno and
 * source->said. Maps a part of them at base, which is reserved address space; offsets and
 * bases are multiples of the extent's align. Gives it all back. */
int tide_source_grab(struct tide_source *source, size_t size, struct tide_extent *out);
int tide_source_map(const struct tide_source *source, struct tide_extent *extent, char *base,
                    size_t offset, size_t size);
void tide_source_release(struct tide_extent *extent);

/* For the kinds: source->said = "PATH WHAT", and the code back. */
int tide_source_say(struct tide_source *source, int code, const char *what);

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
