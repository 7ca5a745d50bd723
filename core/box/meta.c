/* meta.c - see meta.h */
#include "box/meta.h"

#include "box/vmem.h"

enum { META_CHUNK = 1 << 20 };

static struct tide_lock_apart meta_lock;
static char *meta_at, *meta_end; /* under meta_lock */
static _Atomic size_t meta_bytes;

void tide_meta_account(size_t bytes)
{
    atomic_fetch_add_explicit(&meta_bytes, bytes, memory_order_relaxed);
}

size_t tide_meta_bytes(void)
{
    return atomic_load_explicit(&meta_bytes, memory_order_relaxed);
}

void tide_meta_fork(enum tide_fork phase)
{
    tide_lock_fork(&meta_lock.lock, phase);
}

/* Opens a chunk with room for size bytes: a whole one, or less under a limit. */
static bool meta_refill(size_t size)
{
    size_t page = tide_vmem_page_size();
    size_t chunk = tide_align_up(tide_max(size, META_CHUNK), page);
    char *base = tide_vmem_map(chunk);
    if (base == NULL) {
        chunk = tide_align_up(size, page);
        base = tide_vmem_map(chunk);
    }
    if (base == NULL)
        return false;
    tide_meta_account(chunk);
    meta_at = base;
    meta_end = base + chunk;
    return true;
}

void *tide_meta_take(size_t size)
{
    if (size > PTRDIFF_MAX)
        return NULL;
    size = tide_align_up(size, 2 * TIDE_LINE);
    void *taken = NULL;
    tide_lock_take(&meta_lock.lock);
    if ((size_t)(meta_end - meta_at) >= size || meta_refill(size)) {
        taken = meta_at;
        meta_at += size;
    }
    tide_lock_drop(&meta_lock.lock);
    return taken;
}
