/* store.c - see store.h */
#include "box/store.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/magic.h>
#include <linux/memfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "box/store_room.h"
#include "box/sys.h"

enum { STORE_BLOCK = 4096, STORE_STEP = 32 << 20 };

/* From <linux/fcntl.h>, which cannot be read together with <fcntl.h>. */
enum { STORE_ADD_SEALS = 1033, STORE_SEAL_SEAL = 1, STORE_SEAL_SHRINK = 2, STORE_SEAL_GROW = 4 };

static void store_describe(const struct stat *from, struct tide_store *out)
{
    uint64_t id = from->st_rdev;
    out->kind = S_ISREG(from->st_mode)   ? TIDE_STORE_FILE
                : S_ISCHR(from->st_mode) ? TIDE_STORE_CHAR
                                         : TIDE_STORE_OTHER;
    out->size = (uint64_t)from->st_size;
    out->allocated = (uint64_t)from->st_blocks * 512;
    out->device = from->st_dev;
    out->inode = from->st_ino;
    out->major = (uint32_t)((id >> 8 & 0xfff) | (id >> 32 & ~(uint64_t)0xfff));
    out->minor = (uint32_t)((id & 0xff) | (id >> 12 & ~(uint64_t)0xff));
    out->huge = 0;
}

int tide_store_look(const char *path, struct tide_store *out)
{
    struct stat found;
    long ret = tide_sys4(SYS_newfstatat, AT_FDCWD, (long)path, (long)&found, 0);
    if (ret != 0)
        return (int)ret;
    store_describe(&found, out);
    struct statfs system;
    if (out->kind == TIDE_STORE_FILE && tide_sys3(SYS_statfs, (long)path, (long)&system, 0) == 0 &&
        system.f_type == HUGETLBFS_MAGIC)
        out->huge = (uint64_t)system.f_bsize;
    return 0;
}

int tide_store_stat(int fd, struct tide_store *out)
{
    struct stat found;
    long ret = tide_sys3(SYS_fstat, fd, (long)&found, 0);
    if (ret != 0)
        return (int)ret;
    store_describe(&found, out);
    struct statfs system;
    if (out->kind == TIDE_STORE_FILE && tide_sys3(SYS_fstatfs, fd, (long)&system, 0) == 0 &&
        system.f_type == HUGETLBFS_MAGIC)
        out->huge = (uint64_t)system.f_bsize;
    return 0;
}

int tide_store_open(const char *path, bool fresh)
{
    int flags = O_RDWR | O_CLOEXEC | O_NONBLOCK | (fresh ? O_CREAT | O_EXCL : 0);
    long ret;
    do
        ret = tide_sys4(SYS_openat, AT_FDCWD, (long)path, flags, 0600);
    while (ret == -EINTR);
    return (int)ret;
}

int tide_store_memfd(const char *name)
{
    return (int)tide_sys3(SYS_memfd_create, (long)name, MFD_CLOEXEC | MFD_ALLOW_SEALING, 0);
}

int tide_store_seal(int fd)
{
    return (int)tide_sys3(SYS_fcntl, fd, STORE_ADD_SEALS,
                          STORE_SEAL_SHRINK | STORE_SEAL_GROW | STORE_SEAL_SEAL);
}

/* For file systems without the call: writes one byte of every block, the one that is there. */
static int store_touch(int fd, uint64_t size)
{
    for (uint64_t at = 0; at < size; at += STORE_BLOCK) {
        uint64_t last = tide_min(at + STORE_BLOCK, size) - 1;
        char byte = 0;
        long ret = tide_sys4(SYS_pread64, fd, (long)&byte, 1, (long)last);
        if (ret >= 0)
            ret = tide_sys4(SYS_pwrite64, fd, (long)&byte, 1, (long)last);
        if (ret == -EINTR) {
            at -= STORE_BLOCK;
            continue;
        }
        if (ret < 0)
            return (int)ret;
    }
    return 0;
}

static int store_fallocate(int fd, uint64_t at, uint64_t size)
{
    long ret;
    do
        ret = tide_sys4(SYS_fallocate, fd, 0, (long)at, (long)size);
    while (ret == -EINTR);
    return (int)ret;
}

/* Bytes of the longest file that this process may make. */
static uint64_t store_limit(void)
{
    struct rlimit limit;
    long ret = tide_sys4(SYS_prlimit64, 0, RLIMIT_FSIZE, 0, (long)&limit);
    return ret != 0 || limit.rlim_cur == RLIM_INFINITY ? UINT64_MAX : limit.rlim_cur;
}

/* Longer than it is, and than this process may make it: the kernel would send a signal. */
static bool store_is_over(const struct tide_store *before, uint64_t size)
{
    return size > before->size && size > store_limit();
}

/* A file in memory: step by step, and only while there is room. */
static int store_fill_memory(int fd, const struct tide_store *before, uint64_t size)
{
    if (before->size >= size && before->allocated >= before->size)
        return 0;
    uint64_t more = size > before->allocated ? size - before->allocated : 0;
    int ret = more > tide_store_room("") ? -ENOMEM : store_is_over(before, size) ? -EFBIG : 0;
    for (uint64_t at = 0; at < size && ret == 0; at += STORE_STEP) {
        uint64_t step = tide_min(STORE_STEP, size - at);
        ret = at > 0 && step > tide_store_room("") ? -ENOMEM : store_fallocate(fd, at, step);
    }
    return ret;
}

bool tide_store_is_memory(int fd)
{
    struct statfs system;
    return tide_sys3(SYS_fstatfs, fd, (long)&system, 0) == 0 && system.f_type == TMPFS_MAGIC;
}

/* What the file lacks, before a part of it is taken. */
static struct tide_store_need store_need(int fd, const struct tide_store *before, uint64_t size)
{
    uint64_t wanted = size > before->allocated ? size - before->allocated : 0, left = UINT64_MAX;
    struct statfs system;
    if (tide_sys3(SYS_fstatfs, fd, (long)&system, 0) == 0 && system.f_blocks != 0)
        left = (uint64_t)system.f_bavail * (uint64_t)system.f_bsize;
    return (struct tide_store_need){wanted, left};
}

static int store_allocate(int fd, const struct tide_store *before, uint64_t size)
{
    long ret;
    if (tide_store_is_memory(fd))
        ret = store_fill_memory(fd, before, size);
    else if (store_is_over(before, size))
        ret = -EFBIG;
    else
        ret = store_fallocate(fd, 0, size);
    if (ret == -EOPNOTSUPP || ret == -ENOSYS)
        ret = store_touch(fd, size);
    if (ret != 0 && before->size < size)
        tide_sys3(SYS_ftruncate, fd, (long)before->size, 0);
    return (int)ret;
}

int tide_store_allocate(int fd, uint64_t size, struct tide_store_need *need)
{
    struct tide_store before;
    int ret = tide_store_stat(fd, &before);
    if (ret != 0)
        return ret;
    struct tide_store_need found = store_need(fd, &before, size);
    ret = store_allocate(fd, &before, size);
    if (ret == -ENOMEM)
        found.left = tide_store_room("");
    if (ret == -EFBIG)
        found = (struct tide_store_need){size, store_limit()};
    if (need != NULL)
        *need = found;
    return ret;
}

int tide_store_map(void *base, size_t size, int fd, uint64_t offset, bool *sync)
{
    const int prot = PROT_READ | PROT_WRITE;
    long ret = tide_sys6(SYS_mmap, (long)base, (long)size, prot,
                         MAP_FIXED | MAP_SHARED_VALIDATE | MAP_SYNC, fd, (long)offset);
    *sync = ret == (long)base;
    if (!*sync)
        ret = tide_sys6(SYS_mmap, (long)base, (long)size, prot, MAP_FIXED | MAP_SHARED, fd,
                        (long)offset);
    return ret == (long)base ? 0 : (int)ret;
}

int tide_store_sync(const void *at, size_t bytes)
{
    long ret;
    do
        ret = tide_sys3(SYS_msync, (long)at, (long)bytes, MS_SYNC);
    while (ret == -EINTR);
    return (int)ret;
}

int tide_store_lock(int fd, enum tide_store_lock how)
{
    static const int operation[] = {LOCK_UN, LOCK_SH, LOCK_EX | LOCK_NB};
    long ret;
    do
        ret = tide_sys3(SYS_flock, fd, operation[how], 0);
    while (ret == -EINTR);
    return (int)ret;
}

int tide_store_unlink(const char *path)
{
    struct tide_store found;
    int ret = tide_store_look(path, &found);
    if (ret != 0 || found.kind != TIDE_STORE_FILE)
        return ret != 0 ? ret : -EPERM;
    return (int)tide_sys3(SYS_unlinkat, AT_FDCWD, (long)path, 0);
}

int tide_store_empty(int fd)
{
    int ret = tide_store_lock(fd, TIDE_STORE_EXCLUDE);
    return ret != 0 ? ret : (int)tide_sys3(SYS_ftruncate, fd, 0, 0);
}
