/*
 * unit_files.h - a directory of its own for a test's files, on a disk or on tmpfs.
 *
 * unit_files_setup and unit_files_teardown are the fixture.
 */
#ifndef TESTS_UNIT_FILES_H
#define TESTS_UNIT_FILES_H

#include <fcntl.h>
#include <stdarg.h>
#include <sys/stat.h>

#include "unit_base.h"

static char unit_disk[64];  /* a directory below /tmp */
static char unit_tmpfs[64]; /* one below /dev/shm; "" where there is none */

static inline void unit_files_setup(void)
{
    strcpy(unit_disk, "/tmp/tide_files_XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(unit_disk));
    strcpy(unit_tmpfs, "/dev/shm/tide_files_XXXXXX");
    if (mkdtemp(unit_tmpfs) == NULL)
        unit_tmpfs[0] = '\0';
}

static inline void unit_files_teardown(void)
{
    char command[256];
    snprintf(command, sizeof command, "rm -rf %s %s", unit_disk, unit_tmpfs);
    ck_assert_int_eq(system(command), 0);
}

/* A path in the directory on the disk, in one of a few buffers that take turns. */
__attribute__((format(printf, 1, 2))) static inline const char *unit_path(const char *format, ...)
{
    static char path[8][256];
    static unsigned turn;
    char *at = path[turn++ % 8];
    va_list args;
    int len = snprintf(at, 256, "%s/", unit_disk);
    va_start(args, format);
    vsnprintf(at + len, 256 - (size_t)len, format, args);
    va_end(args);
    return at;
}

/* A file of so many bytes without blocks. */
static inline void unit_make(const char *path, off_t size)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ck_assert_msg(fd >= 0, "cannot make %s", path);
    ck_assert_int_eq(ftruncate(fd, size), 0);
    close(fd);
}

static inline off_t unit_size(const char *path)
{
    struct stat found;
    return stat(path, &found) == 0 ? found.st_size : -1;
}

static inline bool unit_is_allocated(const char *path)
{
    struct stat found;
    ck_assert_int_eq(stat(path, &found), 0);
    return found.st_blocks * 512 >= found.st_size;
}

#endif
