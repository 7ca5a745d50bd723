/*
 * vmem.h - address space and pages: the only way to the kernel's memory calls.
 *
 * owns:      nothing
 * threads:   any; every function is a system call
 * invariant: errno is never touched; results are 0 or -errno, or NULL
 * uses:      sys
 * used by:   meta, source, segment, large, purge, tools
 * not here:  who uses which address (pagemap, segment)
 * test:      tests/test_vmem.c
 */
#ifndef TIDE_BOX_VMEM_H
#define TIDE_BOX_VMEM_H

#include "box/def.h"

/* Address space without memory (PROT_NONE, not charged). NULL on failure. */
void *tide_vmem_reserve(size_t size);

/* Makes a reserved range readable and writable; new pages read as zero. */
int tide_vmem_commit(void *base, size_t size);

/* Makes a reserved range readable: zeroes, without memory behind them. */
int tide_vmem_open(void *base, size_t size);

/* Private, writable, zeroed memory. NULL on failure. */
void *tide_vmem_map(size_t size);

/* `size` bytes of the file, shared with whoever maps them; with `at` in place of what is mapped
 * there. Without a file (fd < 0): nothing, and at `at` zeroed memory of our own. NULL on failure
 * and without a file. */
void *tide_vmem_share(void *at, size_t size, int fd);

int tide_vmem_unmap(void *base, size_t size);

/* Grows or shrinks a mapping, moving it if it must. NULL on failure. */
void *tide_vmem_remap(void *base, size_t old_size, size_t new_size);

/* Gives the pages of a range back; they read as zero when touched again.
 * Fails (-EINVAL) on locked memory. */
int tide_vmem_decommit(void *base, size_t size);

enum tide_vmem_advice {
    TIDE_VMEM_FORGET, /* a child process finds zeroes there; not on kernels before 4.14 */
    TIDE_VMEM_HUGE,   /* huge pages, if there are some: for what will be used all over */
    TIDE_VMEM_FETCH   /* all pages are there afterwards, to be read; not before 5.14 */
};

/* Fails (-EINVAL) where the kernel does not know that. */
int tide_vmem_advise(void *base, size_t size, enum tide_vmem_advice advice);

/* Bytes in a page. */
size_t tide_vmem_page_size(void);

/* What the limits of address space and data leave, in bytes, SIZE_MAX when there are none,
 * and physical memory: both as they were when first asked for, at the start. */
size_t tide_vmem_limit(void);
size_t tide_vmem_physical(void);

#endif
