/*
 * file.h - small files and descriptors, without stdio and without malloc.
 *
 * owns:      nothing
 * threads:   any; every function is one or more system calls
 * invariant: errno is never touched; results are >= 0 or -errno
 * uses:      sys
 * used by:   diag, option, topo, life, foreign, report, counters
 * not here:  what the files mean
 * test:      tests/test_file.c
 */
#ifndef TIDE_BOX_FILE_H
#define TIDE_BOX_FILE_H

#include "box/def.h"

/* Reads up to len - 1 bytes of the file and ends them with a NUL. Returns the
 * number of bytes, or -errno. */
int tide_file_read(const char *path, char *buf, size_t len);

/* Opens for reading, or for appending (created with mode 0644). Close-on-exec. */
int tide_file_open(const char *path);
int tide_file_append(const char *path);
void tide_file_close(int fd);

/* A new file for reading and writing, of `size` zero bytes and mode 0600; an older one of this
 * name goes away, a link is never followed. Descriptor (close-on-exec) or -errno. */
int tide_file_fresh(const char *path, size_t size);

/* The same without a name in any directory (memfd), and of fixed size. */
int tide_file_nameless(const char *name, size_t size);

/* From now on nobody can write to or map for writing such a file; who has it mapped goes on.
 * Moves the descriptor out of the program's way; returns its number. */
int tide_file_seal(int fd);

/* One read(2), again after a signal. */
long tide_file_get(int fd, void *buf, size_t len);

/* Writes all of it, again after a signal or a short write. 0 or -errno. */
int tide_file_put(int fd, const void *buf, size_t len);

/* The process id. */
int tide_file_pid(void);

/* Target of a symbolic link, NUL-terminated. Its length, or -errno. */
int tide_file_link(const char *path, char *buf, size_t len);

/* Fills buf with random bytes; false when the kernel has no such call. */
bool tide_file_random(void *buf, size_t len);

#endif
