/*
 * log_disk.h - a directory on a medium: msync there is more than a word.
 */
#ifndef TESTS_LOG_DISK_H
#define TESTS_LOG_DISK_H

#include "unit_files.h"

#include <linux/magic.h>
#include <sys/vfs.h>

static inline bool log_disk_is_memory(const char *path)
{
    struct statfs system;
    return statfs(path, &system) != 0 || system.f_type == TMPFS_MAGIC;
}

/* "file:PATH" of a region that is not there yet: in the fixture's directory, or beside the
 * program where that one is in memory. */
static inline const char *log_disk_region(void)
{
    static char text[4200], self[4096];
    if (!log_disk_is_memory(unit_disk)) {
        snprintf(text, sizeof text, "file:%s/medium", unit_disk);
        return text;
    }
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    UNIT_NEED(length > 0);
    self[length] = '\0';
    snprintf(text, sizeof text, "file:%s.%d.region", self, (int)getpid());
    unlink(text + 5);
    UNIT_NEED(!log_disk_is_memory("/proc/self/exe"));
    return text;
}

#endif
