/* numa.c - see numa.h */
#include "box/numa.h"

#include <linux/mempolicy.h>
#include <sys/mman.h>

#include "box/sys.h"

/* Of kernels newer than the headers this may be built with. */
enum {
    NUMA_PREFERRED_MANY = 5,
    NUMA_WEIGHTED_INTERLEAVE = 6,
    NUMA_BALANCING = 1 << 13,
    NUMA_STATIC_NODES = 1 << 15, /* a cpuset that changes does not rename the nodes */
    NUMA_POPULATE_WRITE = 23,    /* MADV_POPULATE_WRITE */
    NUMA_MAX_PAGES = 65536,
    NUMA_BITS = 64 + 1 /* what the kernel wants to hear for masks of 64 bits */
};

#ifndef SYS_set_mempolicy_home_node
#define SYS_set_mempolicy_home_node 450
#endif

static int numa_mbind(void *base, size_t size, int mode, uint64_t nodes)
{
    unsigned long mask[2] = {nodes, 0};
    return (int)tide_sys6(SYS_mbind, (long)base, (long)size, mode, nodes != 0 ? (long)mask : 0,
                          nodes != 0 ? NUMA_BITS : 0, 0);
}

/* Far first and yet promotable: both nodes are allowed, the far one is home. */
static int numa_promote(void *base, size_t size, uint64_t nodes, uint64_t near)
{
    int home = __builtin_ctzll(nodes);
    int ret = numa_mbind(base, size, NUMA_PREFERRED_MANY | NUMA_BALANCING, nodes | near);
    if (ret != 0)
        return ret;
    ret = (int)tide_sys4(SYS_set_mempolicy_home_node, (long)base, (long)size, home, 0);
    if (ret != 0) /* without a home the near nodes would come first */
        numa_mbind(base, size, MPOL_DEFAULT, 0);
    return ret;
}

int tide_numa_place(void *base, size_t size, enum tide_numa_how how, uint64_t nodes, uint64_t near)
{
    if (how == TIDE_NUMA_DEFAULT)
        return numa_mbind(base, size, MPOL_DEFAULT, 0);
    if (nodes == 0)
        return -EINVAL;
    switch (how) {
    case TIDE_NUMA_PREFER:
        return numa_mbind(base, size, MPOL_PREFERRED, nodes & -nodes);
    case TIDE_NUMA_PROMOTE:
        return numa_promote(base, size, nodes, near);
    case TIDE_NUMA_INTERLEAVE:
        return numa_mbind(base, size, MPOL_INTERLEAVE | NUMA_STATIC_NODES, nodes);
    default:
        return numa_mbind(base, size, NUMA_WEIGHTED_INTERLEAVE | NUMA_STATIC_NODES, nodes);
    }
}

TIDE_START_CODE uint64_t tide_numa_allowed(void)
{
    unsigned long mask[16] = {0};
    long ret = tide_sys6(SYS_get_mempolicy, 0, (long)mask, 1024, 0, MPOL_F_MEMS_ALLOWED, 0);
    return ret == 0 ? mask[0] : 0;
}

bool tide_numa_inherited(void)
{
    unsigned long mask[16] = {0};
    int mode = MPOL_DEFAULT;
    long ret = tide_sys6(SYS_get_mempolicy, (long)&mode, (long)mask, 1024, 0, 0, 0);
    mode &= 0xff; /* without flags */
    return ret == 0 && mode != MPOL_DEFAULT && mode != MPOL_LOCAL;
}

int tide_numa_move(void *const *page, size_t count, const int *want, int *got)
{
    if (count > NUMA_MAX_PAGES)
        return -EINVAL;
    long ret = tide_sys6(SYS_move_pages, 0, (long)count, (long)page, (long)want, (long)got,
                         want != NULL ? MPOL_MF_MOVE : 0);
    return ret < 0 ? (int)ret : 0;
}

int tide_numa_where(void *const *page, size_t count, int *node)
{
    return tide_numa_move(page, count, NULL, node);
}

int tide_numa_populate(void *base, size_t size)
{
    enum { PAGE = 4096 }; /* the smallest there is */
    int ret;
    do
        ret = (int)tide_sys3(SYS_madvise, (long)base, (long)size, NUMA_POPULATE_WRITE);
    while (ret == -EINTR || ret == -EAGAIN);
    /* -EINVAL: not writable memory, or a kernel before 5.14, which knows no such advice
     * even for no bytes at all. */
    if (ret != -EINVAL || tide_sys3(SYS_madvise, (long)base, 0, NUMA_POPULATE_WRITE) == 0)
        return ret;
    for (size_t at = 0; at < size; at += PAGE)
        __atomic_fetch_or((char *)base + at, 0, __ATOMIC_RELAXED);
    return 0;
}

int tide_numa_huge(void *base, size_t size, bool wanted)
{
    return (int)tide_sys3(SYS_madvise, (long)base, (long)size,
                          wanted ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
}
