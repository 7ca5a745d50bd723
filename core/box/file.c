/* file.c - see file.h */
#include "box/file.h"

#include <fcntl.h>
#include <sys/mman.h>

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

/* The descriptor with its file at `size` bytes; closed when that fails. */
static int file_sized(long fd, size_t size)
{
    long ret = fd < 0 ? fd : tide_sys3(SYS_ftruncate, fd, (long)size, 0);
    if (ret < 0 && fd >= 0)
        tide_file_close((int)fd);
    return (int)(ret < 0 ? ret : fd);
}

int tide_file_fresh(const char *path, size_t size)
{
    enum { FLAGS = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC };
    long fd = tide_sys4(SYS_openat, AT_FDCWD, (long)path, FLAGS, 0600);
    if (fd == -EEXIST && tide_sys3(SYS_unlinkat, AT_FDCWD, (long)path, 0) == 0)
        fd = tide_sys4(SYS_openat, AT_FDCWD, (long)path, FLAGS, 0600);
    return file_sized(fd, size);
}

int tide_file_nameless(const char *name, size_t size)
{
    enum { FLAGS = MFD_CLOEXEC | MFD_ALLOW_SEALING, NOEXEC = 8 }; /* NOEXEC: from Linux 6.3 */
    long fd = tide_sys3(SYS_memfd_create, (long)name, FLAGS | NOEXEC, 0);
    if (fd == -EINVAL)
        fd = tide_sys3(SYS_memfd_create, (long)name, FLAGS, 0);
    if (fd >= 0)
        tide_sys3(SYS_fchmod, fd, 0600, 0);
    return file_sized(fd, size);
}

int tide_file_seal(int fd)
{
    enum { FAR = 900 }; /* below the usual limit of 1024, above what programs count on */
    int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE;
    tide_sys3(SYS_fcntl, fd, F_ADD_SEALS, seals);
    tide_sys3(SYS_fcntl, fd, F_ADD_SEALS, F_SEAL_SEAL);
    long moved = tide_sys3(SYS_fcntl, fd, F_DUPFD_CLOEXEC, FAR);
    if (moved < 0)
        return fd;
    tide_file_close(fd);
    return (int)moved;
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

TIDE_START_CODE bool tide_file_random(void *buf, size_t len)
{
    enum { NONBLOCK = 1 };
    return tide_sys3(SYS_getrandom, (long)buf, (long)len, NONBLOCK) == (long)len;
}
