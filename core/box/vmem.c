/* vmem.c - see vmem.h */
#include "box/vmem.h"

#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>

#include "box/sys.h"

static long vmem_mmap_raw(size_t size, int prot, int flags)
{
    return tide_sys6(SYS_mmap, 0, (long)size, prot, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
}

static void *vmem_mmap(size_t size, int prot, int flags)
{
    long ret = vmem_mmap_raw(size, prot, flags);
    return ret < 0 && ret > -4096 ? NULL : (void *)ret;
}

static size_t vmem_rlimit(int resource)
{
    struct rlimit lim = {0, 0};
    if (tide_sys4(SYS_prlimit64, 0, resource, 0, (long)&lim) != 0 || lim.rlim_cur == RLIM_INFINITY)
        return SIZE_MAX;
    return lim.rlim_cur;
}

void *tide_vmem_reserve(size_t size)
{
    return vmem_mmap(size, PROT_NONE, MAP_NORESERVE);
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
    return vmem_mmap(size, PROT_READ | PROT_WRITE, 0);
}

int tide_vmem_unmap(void *base, size_t size)
{
    return (int)tide_sys3(SYS_munmap, (long)base, (long)size, 0);
}

void *tide_vmem_remap(void *base, size_t old_size, size_t new_size)
{
    long ret = tide_sys4(SYS_mremap, (long)base, (long)old_size, (long)new_size, MREMAP_MAYMOVE);
    return ret < 0 && ret > -4096 ? NULL : (void *)ret;
}

int tide_vmem_decommit(void *base, size_t size)
{
    return (int)tide_sys3(SYS_madvise, (long)base, (long)size, MADV_DONTNEED);
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

size_t tide_vmem_limit(void)
{
    return vmem_rlimit(RLIMIT_AS);
}

bool tide_vmem_lock_bound(size_t size, size_t *limit)
{
    *limit = vmem_rlimit(RLIMIT_MEMLOCK);
    if (*limit == SIZE_MAX)
        return false;
    long ret = vmem_mmap_raw(size, PROT_NONE, MAP_NORESERVE);
    if (ret >= 0 || ret < -4095)
        tide_vmem_unmap((void *)ret, size);
    return ret == -EAGAIN;
}

size_t tide_vmem_physical(void)
{
    struct sysinfo info;
    if (tide_sys3(SYS_sysinfo, (long)&info, 0, 0) != 0)
        return (size_t)16 << 30;
    return (size_t)info.totalram * info.mem_unit;
}
