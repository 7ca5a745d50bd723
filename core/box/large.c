/* large.c - see large.h */
#include "box/large.h"

#include "box/meta.h"
#include "box/segment.h"
#include "box/stat.h"
#include "box/vmem.h"

enum { LARGE_FIRST_SLOTS = 256, LARGE_CACHED = 16, LARGE_FREED = 1024 };

/* Open addressing with linear probing; at most half full. All under large_lock. */
static struct tide_lock_apart large_lock;
static struct tide_mapping *large_table;
static size_t large_slots, large_live;
static uint64_t large_bytes, large_taken;
static struct tide_mapping large_cached[LARGE_CACHED];
static struct tide_mapping large_freed[LARGE_FREED]; /* a ring: for the words of a message */
static unsigned large_freed_next;

void tide_large_fork(enum tide_fork phase)
{
    tide_lock_fork(&large_lock.lock, phase);
}

size_t tide_large_run_max(void)
{
    enum { TIGHT = 128 << 10, LITTLE = 1 << 30 };
    static _Atomic size_t known;
    size_t max = atomic_load_explicit(&known, memory_order_relaxed);
    if (max == 0) {
        size_t limit = tide_vmem_limit();
        max = limit == SIZE_MAX ? TIDE_LARGE_TOP : limit >= LITTLE ? TIGHT : TIDE_MID_TOP;
        atomic_store_explicit(&known, max, memory_order_relaxed);
    }
    return max;
}

/* --- the table --------------------------------------------------------------- */

static size_t table_home(uintptr_t base)
{
    return (size_t)tide_mix(base) & (large_slots - 1);
}

static struct tide_mapping *table_find(uintptr_t base)
{
    if (large_slots == 0 || base == 0)
        return NULL;
    size_t at = table_home(base);
    while (large_table[at].base != 0 && large_table[at].base != base)
        at = (at + 1) & (large_slots - 1);
    return large_table[at].base != 0 ? &large_table[at] : NULL;
}

static void table_insert(const struct tide_mapping *mapping)
{
    size_t at = table_home(mapping->base);
    while (large_table[at].base != 0)
        at = (at + 1) & (large_slots - 1);
    large_table[at] = *mapping;
}

/* Empties a place and moves up the entries that were displaced over it. */
static void table_remove(struct tide_mapping *entry)
{
    size_t hole = (size_t)(entry - large_table), at = hole;
    for (;;) {
        at = (at + 1) & (large_slots - 1);
        if (large_table[at].base == 0)
            break;
        size_t home = table_home(large_table[at].base);
        if (((at - home) & (large_slots - 1)) >= ((at - hole) & (large_slots - 1))) {
            large_table[hole] = large_table[at];
            hole = at;
        }
    }
    large_table[hole].base = 0;
}

/* Makes room for one more entry. */
static bool table_reserve(void)
{
    if (2 * (large_live + 1) <= large_slots)
        return true;
    size_t slots = large_slots != 0 ? 2 * large_slots : LARGE_FIRST_SLOTS;
    struct tide_mapping *fresh = tide_vmem_map(slots * sizeof *fresh);
    if (fresh == NULL)
        return false;
    struct tide_mapping *old = large_table;
    size_t old_slots = large_slots;
    large_table = fresh;
    large_slots = slots;
    for (size_t i = 0; i < old_slots; i++)
        if (old[i].base != 0)
            table_insert(&old[i]);
    if (old != NULL)
        tide_vmem_unmap(old, old_slots * sizeof *old);
    tide_meta_account((slots - old_slots) * sizeof *fresh);
    return true;
}

/* --- freed mappings ------------------------------------------------------------ */

/* False: the kernel took neither the addresses nor the memory back. */
static bool cached_drop(struct tide_mapping *mapping)
{
    /* With too many mappings in the process the address space has to stay. */
    if (tide_vmem_unmap((void *)mapping->base, mapping->size) != 0 &&
        tide_vmem_decommit((void *)mapping->base, mapping->size) != 0)
        return false;
    TIDE_STAT_SUB(retained, mapping->size);
    TIDE_STAT_ADD(decommits, 1);
    TIDE_STAT_ADD(decommit_bytes, mapping->size);
    mapping->base = 0;
    return true;
}

/* The smallest cached mapping that fits and wastes at most a quarter. */
static bool cached_take(size_t size, size_t align, struct tide_mapping *out)
{
    struct tide_mapping *best = NULL;
    for (int i = 0; i < LARGE_CACHED; i++) {
        struct tide_mapping *at = &large_cached[i];
        if (at->base != 0 && at->size >= size && at->size <= size + size / 4 &&
            at->base % align == 0 && (best == NULL || at->size < best->size))
            best = at;
    }
    if (best == NULL)
        return false;
    *out = *best;
    best->base = 0;
    TIDE_STAT_SUB(retained, out->size);
    return true;
}

/* Keeps a freed mapping if the budget has room for it, else unmaps it. Memory that
 * the kernel does not take back is kept as well, as long as there is a place. */
static void cached_put(const struct tide_mapping *mapping)
{
    struct tide_mapping copy = *mapping, *place = NULL;
    bool fits = TIDE_STAT_GET(retained) + mapping->size <= tide_segment_retain_limit();
    TIDE_STAT_ADD(retained, mapping->size);
    for (int i = 0; i < LARGE_CACHED && place == NULL; i++)
        if (large_cached[i].base == 0)
            place = &large_cached[i];
    if (place != NULL && (fits || !cached_drop(&copy)))
        *place = copy;
    else if (place == NULL && !cached_drop(&copy))
        TIDE_STAT_SUB(retained, copy.size);
}

static size_t cached_release(size_t keep)
{
    size_t bytes = 0;
    for (int i = 0; i < LARGE_CACHED; i++) {
        if (large_cached[i].base != 0 && TIDE_STAT_GET(retained) > keep) {
            size_t size = large_cached[i].size;
            bytes += cached_drop(&large_cached[i]) ? size : 0;
        }
    }
    return bytes;
}

size_t tide_large_release(size_t keep)
{
    tide_lock_take(&large_lock.lock);
    size_t bytes = cached_release(keep);
    tide_lock_drop(&large_lock.lock);
    return bytes;
}

/* --- mapping ------------------------------------------------------------------- */

/* Fresh memory from the kernel: maps more than needed and cuts the ends off. */
static bool large_from_kernel(size_t size, size_t align, struct tide_mapping *out)
{
    size_t page = tide_vmem_page_size();
    size_t more = align > page ? align - page : 0;
    char *raw = more <= SIZE_MAX - size ? tide_vmem_map(size + more) : NULL;
    if (raw == NULL)
        return false;
    char *base = (char *)tide_align_up((uintptr_t)raw, align);
    size_t front = (size_t)(base - raw);
    if (front > 0)
        tide_vmem_unmap(raw, front);
    if (more > front)
        tide_vmem_unmap(base + size, more - front);
    *out = (struct tide_mapping){(uintptr_t)base, size, 0};
    return true;
}

/* False for what no address space has room for, as programs ask for to see it fail:
 * the cached mappings need not go for that. */
static bool large_can_exist(size_t size)
{
    return size < tide_min(tide_vmem_limit(), (size_t)1 << 47);
}

void *tide_large_map(size_t size, size_t align, uint32_t owner, bool *zeroed)
{
    struct tide_mapping mapping = {0, 0, 0};
    size = tide_align_up(tide_max(size, 1), tide_vmem_page_size());
    tide_lock_take(&large_lock.lock);
    bool done = table_reserve();
    if (done) {
        *zeroed = !cached_take(size, align, &mapping);
        if (*zeroed)
            done = large_from_kernel(size, align, &mapping) ||
                   (large_can_exist(size) && cached_release(0) > 0 &&
                    large_from_kernel(size, align, &mapping));
    }
    if (done) {
        mapping.owner = owner;
        table_insert(&mapping);
        large_live++;
        large_taken++;
        large_bytes += mapping.size;
        tide_stat_use(mapping.size);
        tide_stat_touch(mapping.size);
    }
    tide_lock_drop(&large_lock.lock);
    return done ? (void *)mapping.base : NULL;
}

bool tide_large_find(const void *p, struct tide_mapping *out)
{
    tide_lock_take(&large_lock.lock);
    const struct tide_mapping *entry = table_find((uintptr_t)p);
    if (entry != NULL)
        *out = *entry;
    tide_lock_drop(&large_lock.lock);
    return entry != NULL;
}

/* Takes an entry out of the table and the counts. */
static void large_forget(struct tide_mapping *entry)
{
    large_freed[large_freed_next++ % LARGE_FREED] = *entry;
    large_live--;
    large_bytes -= entry->size;
    TIDE_STAT_SUB(used, entry->size);
    TIDE_STAT_SUB(touched, entry->size);
    table_remove(entry);
}

int tide_large_unmap(const void *p)
{
    tide_lock_take(&large_lock.lock);
    struct tide_mapping *entry = table_find((uintptr_t)p);
    if (entry != NULL) {
        struct tide_mapping mapping = *entry;
        large_forget(entry);
        cached_put(&mapping);
    }
    tide_lock_drop(&large_lock.lock);
    return entry != NULL ? 0 : -ENOENT;
}

void *tide_large_remap(void *p, size_t size)
{
    void *moved = NULL;
    size = tide_align_up(size, tide_vmem_page_size());
    tide_lock_take(&large_lock.lock);
    struct tide_mapping *entry = table_find((uintptr_t)p);
    if (entry != NULL)
        moved = tide_vmem_remap(p, entry->size, size);
    if (moved != NULL) {
        struct tide_mapping mapping = {(uintptr_t)moved, size, entry->owner};
        large_forget(entry);
        if (moved == p) /* resized in place: not freed */
            large_freed[(large_freed_next - 1) % LARGE_FREED].base = 0;
        table_insert(&mapping);
        large_live++;
        large_bytes += size;
        tide_stat_use(size);
        tide_stat_touch(size);
    }
    tide_lock_drop(&large_lock.lock);
    return moved;
}

bool tide_large_was_freed(const void *p, size_t *size)
{
    bool found = false;
    tide_lock_take(&large_lock.lock);
    for (int i = 0; i < LARGE_FREED && !found; i++) {
        found = p != NULL && large_freed[i].base == (uintptr_t)p;
        *size = large_freed[i].size;
    }
    tide_lock_drop(&large_lock.lock);
    return found;
}

bool tide_large_is_inside(const void *p, struct tide_mapping *out)
{
    bool found = false;
    tide_lock_take(&large_lock.lock);
    for (size_t i = 0; i < large_slots && !found; i++) {
        found =
            large_table[i].base != 0 && (uintptr_t)p - large_table[i].base < large_table[i].size;
        *out = large_table[i];
    }
    tide_lock_drop(&large_lock.lock);
    return found;
}

void tide_large_destroy(uint32_t owner)
{
    tide_lock_take(&large_lock.lock);
    for (size_t i = 0; i < large_slots;) {
        struct tide_mapping mapping = large_table[i];
        if (mapping.base != 0 && mapping.owner == owner) {
            large_forget(&large_table[i]); /* may move another entry to this place */
            cached_put(&mapping);
        } else {
            i++;
        }
    }
    tide_lock_drop(&large_lock.lock);
}

void tide_large_count(uint64_t *blocks, uint64_t *bytes, uint64_t *taken)
{
    tide_lock_take(&large_lock.lock);
    *blocks = large_live;
    *bytes = large_bytes;
    *taken = large_taken;
    tide_lock_drop(&large_lock.lock);
}
