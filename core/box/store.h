/*
 * store.h - descriptors that memory can be mapped from: files, memfds, devices.
 *
 * owns:      nothing
 * threads:   any; every function is one or more system calls
 * invariant: errno is never touched; results are >= 0 or -errno. Nothing is opened that
 *            tide_store_stat did not find harmless to open: callers ask it first
 * uses:      sys, file
 * used by:   source, region
 * not here:  which files are good for what (source), what is in them (region)
 * test:      tests/test_store.c
 */
#ifndef TIDE_BOX_STORE_H
#define TIDE_BOX_STORE_H

#include "box/def.h"

enum tide_store_kind { TIDE_STORE_FILE, TIDE_STORE_CHAR, TIDE_STORE_OTHER };

struct tide_store {
    enum tide_store_kind kind;
    uint64_t size;
    uint64_t allocated; /* bytes of it that have blocks */
    uint64_t device, inode;
    uint32_t major, minor; /* of a device file */
    uint64_t huge;         /* bytes of a huge page on hugetlbfs; else 0 */
};

/* Why there is no room. Bytes that a file lacks, and those that there are: on its file system, of
 * memory (-ENOMEM); -EFBIG: its length, and the longest that this process may make. UINT64_MAX:
 * nobody tells, or there is no limit. */
struct tide_store_need {
    uint64_t wanted, left;
};

/* About the file of that name, or of the descriptor. 0 or -errno. */
int tide_store_look(const char *path, struct tide_store *out);
int tide_store_stat(int fd, struct tide_store *out);

/* Opens for reading and writing, close-on-exec; `fresh`: makes it, with mode 0600, and
 * fails with -EEXIST when it is there. */
int tide_store_open(const char *path, bool fresh);

/* A nameless file in memory that can be sealed. */
int tide_store_memfd(const char *name);

/* No longer to be shrunk or grown by anybody. */
int tide_store_seal(int fd);

/* Gives blocks to all of the first `size` bytes, keeping what they hold, and makes the file
 * so long if it is shorter. -ENOSPC and the like leave its length as it was. Of a file in
 * memory (memfd, tmpfs) no more than tide_store_room: -ENOMEM. No longer than the process may
 * make files (ulimit -f): -EFBIG, without the kernel's signal. `need` may be NULL. */
int tide_store_allocate(int fd, uint64_t size, struct tide_store_need *need);

/* Maps a part of it, shared, in place of whatever is at base. *sync: tells whether the
 * file's blocks are the memory itself (MAP_SYNC), so that a flushed line is durable. */
int tide_store_map(void *base, size_t size, int fd, uint64_t offset, bool *sync);

/* What was stored in these pages of a mapping is on the file's medium afterwards. */
int tide_store_sync(const void *at, size_t bytes);

/* The file is in memory that can be swapped: memfd, tmpfs. */
bool tide_store_is_memory(int fd);

/* Advisory lock of the open file: exclusive (at once, or -EAGAIN; a shared one is lost
 * then), shared (waits), or none. */
enum tide_store_lock { TIDE_STORE_UNLOCK, TIDE_STORE_SHARE, TIDE_STORE_EXCLUDE };
int tide_store_lock(int fd, enum tide_store_lock how);

/* Only of a regular file: else -EPERM. */
int tide_store_unlink(const char *path);

/* Nothing is in the file any more, unless it is locked elsewhere: -EAGAIN. */
int tide_store_empty(int fd);

#endif
