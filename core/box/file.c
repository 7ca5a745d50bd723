/* file.c - see file.h */
#include "box/file.h"

#include <fcntl.h>

#include "box/sys.h"

static int file_openat(const char *path, int flags)
{
    long ret;
    do
        ret = tide_sys4(SYS_openat, AT_FDCWD, (long)path, flags | O_CLOEXEC, 0644);
    while (ret == -EINTR);
    return (int)ret;
}

int tide_file_open(const char *path)
{
    return file_openat(path, O_RDONLY);
}

int tide_file_append(const char *path)
{
    return file_openat(path, O_WRONLY | O_CREAT | O_APPEND);
}

void tide_file_close(int fd)
{
    tide_sys3(SYS_close, fd, 0, 0);
}

long tide_file_get(int fd, void *buf, size_t len)
{
    long ret;
    do
        ret = tide_sys3(SYS_read, fd, (long)buf, (long)len);
    while (ret == -EINTR);
    return ret;
}

int tide_file_put(int fd, const void *buf, size_t len)
{
    const char *at = buf;
    while (len > 0) {
        long ret = tide_sys3(SYS_write, fd, (long)at, (long)len);
        if (ret == -EINTR)
            continue;
        if (ret < 0)
            return (int)ret;
        at += ret;
        len -= (size_t)ret;
    }
    return 0;
}

int tide_file_read(const char *path, char *buf, size_t len)
{
    int fd = tide_file_open(path);
    if (fd < 0)
        return fd;
    size_t have = 0;
    while (have + 1 < len) {
        long got = tide_file_get(fd, buf + have, len - 1 - have);
        if (got < 0) {
            tide_file_close(fd);
            return (int)got;
        }
        if (got == 0)
            break;
        have += (size_t)got;
    }
    buf[have] = '\0';
    tide_file_close(fd);
    return (int)have;
}

int tide_file_pid(void)
{
    return (int)tide_sys3(SYS_getpid, 0, 0, 0);
}

int tide_file_link(const char *path, char *buf, size_t len)
{
    long ret = tide_sys4(SYS_readlinkat, AT_FDCWD, (long)path, (long)buf, (long)len - 1);
    buf[ret < 0 ? 0 : ret] = '\0';
    return (int)ret;
}

bool tide_file_random(void *buf, size_t len)
{
    enum { NONBLOCK = 1 };
    return tide_sys3(SYS_getrandom, (long)buf, (long)len, NONBLOCK) == (long)len;
}
