/*
 * numa.h - which node a page comes from: the only way to the kernel's policy calls.
 *
 * owns:      nothing
 * threads:   any; every function is a system call or a few
 * invariant: errno is never touched; nothing here can get the process killed: no
 *            MPOL_BIND, ever. Results are 0 or -errno
 * uses:      sys, def
 * used by:   source, segment, report
 * not here:  the choice of nodes (source), what the nodes are (topo)
 * test:      tests/test_numa.c
 *
 * Node ids are below 64: bit i of a mask is node i.
 */
#ifndef TIDE_BOX_NUMA_H
#define TIDE_BOX_NUMA_H

#include "box/def.h"

enum tide_numa_how {
    TIDE_NUMA_DEFAULT,    /* the task's own policy; `nodes` is not read */
    TIDE_NUMA_PREFER,     /* one node while it has room, then others: pages stay where they are */
    TIDE_NUMA_PROMOTE,    /* the same, but the kernel may move hot pages to `near` (from Linux
                           * 6.12 on, where it is known to work; older ones may refuse) */
    TIDE_NUMA_INTERLEAVE, /* pages in turn over the nodes */
    TIDE_NUMA_WEIGHTED    /* the same by the machine's weights (from Linux 6.9 on) */
};

/* Gives a range its policy. -EINVAL: an absent node, or a kernel that does not know
 * the policy; -EPERM, -ENOSYS: a sandbox. */
int tide_numa_place(void *base, size_t size, enum tide_numa_how how, uint64_t nodes, uint64_t near);

/* The nodes that this process may take memory from; 0 when the kernel does not say. */
uint64_t tide_numa_allowed(void);

/* True when the process was started under a memory policy of its own (numactl). */
bool tide_numa_inherited(void);

/* node[i] = the node that holds the page of page[i], or -errno: -ENOENT no memory yet,
 * -EFAULT nothing mapped or the zero page. At most 65536 at once. */
int tide_numa_where(void *const *page, size_t count, int *node);

/* Moves pages to the nodes want[i]; got[i] as in tide_numa_where. */
int tide_numa_move(void *const *page, size_t count, const int *want, int *got);

/* Makes every page of a writable range resident, keeping what it holds. */
int tide_numa_populate(void *base, size_t size);

/* Asks for huge pages in a range, or for none. */
int tide_numa_huge(void *base, size_t size, bool wanted);

#endif
