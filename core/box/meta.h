/*
 * meta.h - near memory for the library's own structures.
 *
 * owns:      chunks from the kernel, cut by a bump pointer
 * threads:   any, under its lock
 * invariant: zeroed when given, aligned to two lines; never returned: users keep
 *            free lists of their own
 * uses:      vmem, lock
 * used by:   page, remote, heap, large
 * not here:  memory for blocks (segment)
 * test:      tests/test_meta.c
 */
#ifndef TIDE_BOX_META_H
#define TIDE_BOX_META_H

#include "box/def.h"
#include "box/lock.h"

/* `size` zeroed bytes, or NULL. */
void *tide_meta_take(size_t size);

/* Bytes taken from the kernel so far. */
size_t tide_meta_bytes(void);

/* Accounts for tables that other boxes mapped themselves. */
void tide_meta_account(size_t bytes);

void tide_meta_fork(enum tide_fork phase);

#endif
