/*
 * medium.h - what makes stores to a region last when the machine stops.
 *
 * owns:      nothing
 * threads:   any
 * invariant: what was written, and drained, is on the medium before anything that is written
 *            afterwards; where nobody can promise that, there is no medium
 * uses:      region, store, file, diag
 * used by:   durable
 * not here:  what has to be written in which order (durable)
 * test:      tests/test_medium.c
 *
 * A file on a disk is synced by msync, which returns when the blocks are written. Where the
 * file's blocks, or a device, are the memory itself, stores last as soon as they leave the
 * processor's caches, if the platform says that what left them survives ("memory_controller"),
 * or as soon as they are visible ("cpu_cache"): the persistence domain of the region in sysfs.
 * Where no domain is told, a file is still synced by msync, and a device has no medium.
 */
#ifndef TIDE_BOX_MEDIUM_H
#define TIDE_BOX_MEDIUM_H

#include "box/region.h"

enum tide_medium_way {
    TIDE_MEDIUM_NONE, /* `why` says why */
    TIDE_MEDIUM_FILE,
    TIDE_MEDIUM_CACHE
};

struct tide_medium {
    enum tide_medium_way way;
    const char *why;
};

/* The medium of a region. `root` stands before /sys; "" but in tests. */
struct tide_medium tide_medium_of(const struct tide_region *region, const char *root);

/* Starts these bytes on their way; with a file, they are there when it returns. 0 or -errno:
 * then nobody knows what of it is on the medium, and trying again does not tell. */
int tide_medium_write(const struct tide_medium *medium, const void *at, size_t bytes);

/* All that was written is there. */
void tide_medium_drain(const struct tide_medium *medium);

#ifdef TIDE_DEBUG
/* Called first by each write, and by each drain (at NULL): what a test sees, or fails by a
 * result below 0. While it is set, files in memory are a medium, too. */
extern int (*tide_medium_hook)(const void *at, size_t bytes);
#endif

#endif
