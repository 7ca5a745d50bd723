/* vmem.c - see vmem.h */
#include "box/vmem.h"

#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>

#include "box/sys.h"

enum { VMEM_POPULATE_READ = 22 }; /* MADV_POPULATE_READ, which older headers do not have */

static void *vmem_answer(long ret)
{
    return ret < 0 && ret > -4096 ? NULL : (void *)ret;
}

/* ThreadSanitizer has to see the calls: else it takes memory that comes to an address of before
 * for that of before, and reports races with whoever used that. Not so what is only reserved:
 * there is more of it than it can follow. */
#ifdef __SANITIZE_THREAD__
static long vmem_sys_mmap(void *at, size_t size, int prot, int flags, int fd)
{
    int keep = errno;
    void *got = mmap(at, size, prot, flags, fd, 0);
    long ret = got == MAP_FAILED ? -errno : (long)got;
    errno = keep;
    return ret;
}

static int vmem_sys_munmap(void *base, size_t size)
{
    int keep = errno, ret = munmap(base, size) == 0 ? 0 : -errno;
    errno = keep;
    return ret;
}
#else
static long vmem_sys_mmap(void *at, size_t size, int prot, int flags, int fd)
{
    return tide_sys6(SYS_mmap, (long)at, (long)size, prot, flags, fd, 0);
}

static int vmem_sys_munmap(void *base, size_t size)
{
    return (int)tide_sys3(SYS_munmap, (long)base, (long)size, 0);
}
#endif

void *tide_vmem_reserve(size_t size)
{
    int flags = MAP_NORESERVE | MAP_PRIVATE | MAP_ANONYMOUS;
    return vmem_answer(tide_sys6(SYS_mmap, 0, (long)size, PROT_NONE, flags, -1, 0));
}

int tide_vmem_commit(void *base, size_t size)
{
    return (int)tide_sys3(SYS_mprotect, (long)base, (long)size, PROT_READ | PROT_WRITE);
}

int tide_vmem_open(void *base, size_t size)
{
    return (int)tide_sys3(SYS_mprotect, (long)base, (long)size, PROT_READ);
}

void *tide_vmem_map(size_t size)
{
    int prot = PROT_READ | PROT_WRITE;
    return vmem_answer(vmem_sys_mmap(NULL, size, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1));
}

void *tide_vmem_share(void *at, size_t size, int fd)
{
    int place = at != NULL ? MAP_FIXED : 0, prot = PROT_READ | PROT_WRITE;
    long ret = fd < 0 ? -EBADF : vmem_sys_mmap(at, size, prot, MAP_SHARED | place, fd);
    if (ret >= 0 || ret <= -4096)
        return (void *)ret;
    if (at != NULL)
        vmem_sys_mmap(at, size, prot, MAP_PRIVATE | MAP_ANONYMOUS | place, -1);
    return NULL;
}

int tide_vmem_unmap(void *base, size_t size)
{
    return vmem_sys_munmap(base, size);
}

void *tide_vmem_remap(void *base, size_t old_size, size_t new_size)
{
    long ret = tide_sys4(SYS_mremap, (long)base, (long)old_size, (long)new_size, MREMAP_MAYMOVE);
    return vmem_answer(ret);
}

int tide_vmem_decommit(void *base, size_t size)
{
    return (int)tide_sys3(SYS_madvise, (long)base, (long)size, MADV_DONTNEED);
}

int tide_vmem_advise(void *base, size_t size, enum tide_vmem_advice advice)
{
    static const int known[] = {MADV_WIPEONFORK, MADV_HUGEPAGE, VMEM_POPULATE_READ};
    return (int)tide_sys3(SYS_madvise, (long)base, (long)size, known[advice]);
}

size_t tide_vmem_page_size(void)
{
    static _Atomic size_t known;
    size_t size = atomic_load_explicit(&known, memory_order_relaxed);
    if (size == 0) {
        size = getauxval(AT_PAGESZ);
        if (size == 0)
            size = 4096;
        atomic_store_explicit(&known, size, memory_order_relaxed);
    }
    return size;
}

static size_t vmem_rlimit(int resource)
{
    struct rlimit lim = {0, 0};
    if (tide_sys4(SYS_prlimit64, 0, resource, 0, (long)&lim) != 0 ||
        lim.rlim_cur == RLIM_INFINITY || lim.rlim_cur == 0)
        return SIZE_MAX;
    return lim.rlim_cur;
}

/* Asked once: later a sandbox may end the process for it. */
TIDE_START_CODE size_t tide_vmem_limit(void)
{
    static _Atomic size_t known TIDE_START_DATA;
    size_t limit = atomic_load_explicit(&known, memory_order_relaxed);
    if (limit == 0) {
        limit = tide_min(vmem_rlimit(RLIMIT_AS), vmem_rlimit(RLIMIT_DATA));
        atomic_store_explicit(&known, limit, memory_order_relaxed);
    }
    return limit;
}

/* As above. */
TIDE_START_CODE size_t tide_vmem_physical(void)
{
    static _Atomic size_t known TIDE_START_DATA;
    size_t bytes = atomic_load_explicit(&known, memory_order_relaxed);
    if (bytes == 0) {
        struct sysinfo info;
        bool none = tide_sys3(SYS_sysinfo, (long)&info, 0, 0) != 0;
        bytes = none ? (size_t)16 << 30 : (size_t)info.totalram * info.mem_unit;
        atomic_store_explicit(&known, bytes, memory_order_relaxed);
    }
    return bytes;
}
