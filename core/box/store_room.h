/*
 * store_room.h - how much memory a file in memory may still take.
 *
 * owns:      nothing
 * threads:   any
 * invariant: errno is never touched
 * uses:      file
 * used by:   store, region
 * not here:  space on disks (store)
 * test:      tests/test_store.c
 */
#ifndef TIDE_BOX_STORE_ROOM_H
#define TIDE_BOX_STORE_ROOM_H

#include "box/def.h"

/* Bytes of memory that can be taken without bringing the kernel's killer: what the machine
 * has available, what the process's control groups leave, less a reserve. UINT64_MAX: nobody
 * knows. `root` stands before /proc and /sys; "" but in tests. */
uint64_t tide_store_room(const char *root);

#endif
