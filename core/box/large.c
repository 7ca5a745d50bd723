/* large.c - see large.h */
#include "box/large.h"

#include "box/meta.h"
#include "box/segment.h"
#include "box/sizeclass.h"
#include "box/stat.h"
#include "box/vmem.h"

enum {
    LARGE_FIRST_SLOTS = 256,
    LARGE_SPARES = 64, /* bits of a word */
    LARGE_BINS = 8 * (64 - 12),
    LARGE_FREED = 1024,
    LARGE_RUN = 256 << 10,       /* above, mappings are preferred, */
    LARGE_CROWD = 16384,         /* until there are so many */
    LARGE_SWING = 8,             /* part of the live bytes that may wait, while they do not ebb, */
    LARGE_SWING_MOST = 64 << 20, /* and at most: nobody knows which of them were touched */
    LARGE_COLD = 64 << 20,       /* address space without memory: of kept ones, and of rooms */
};

/* A freed mapping that is kept. */
struct large_spare {
    uintptr_t base; /* 0: an empty place */
    size_t size;
    size_t warm;   /* bytes at its front that were handed out and may be resident */
    uint64_t turn; /* the least came first */
};

/* Open addressing with linear probing; at most half full. All under large_lock. */
static struct tide_lock_apart large_lock;
static struct tide_mapping *large_table;
static size_t large_slots, large_live;
static uint64_t large_bytes, large_taken;
static uint64_t large_crest; /* the highest large_bytes, lowered little by little */
static struct large_spare large_spare[LARGE_SPARES];
static uint64_t large_kept;            /* bit i: place i has one */
static uint64_t large_bin[LARGE_BINS]; /* the same by size, see spare_bin() */
static size_t large_idle, large_cold;  /* their bytes, warm ones and the others */
static size_t large_behind;            /* pages behind live blocks, see struct tide_mapping */
static size_t large_rooms;             /* bytes there, resident or not */
static uint64_t large_turn;
static uintptr_t large_freed[LARGE_FREED][2]; /* base and size, a ring: for a message's words */
static unsigned large_freed_next;

void tide_large_fork(enum tide_fork phase)
{
    tide_lock_fork(&large_lock.lock, phase);
}

/* The largest size that can be served from runs. Runs leave parts of segments unused,
 * which matters where address space is limited. */
static size_t large_run_max(void)
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

bool tide_large_is_run(size_t size)
{
    if (size > large_run_max())
        return false;
    return size <= LARGE_RUN || tide_vmem_limit() != SIZE_MAX ||
           TIDE_RELAXED_GET(&large_live) >= LARGE_CROWD;
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

/* What is behind may be cold where address space costs nothing. */
static size_t large_cold_most(void)
{
    return tide_vmem_limit() == SIZE_MAX ? LARGE_COLD : 0;
}

/* Sets how much of a kept one may be resident. */
static void spare_set_warm(struct large_spare *spare, size_t warm)
{
    TIDE_STAT_ADD(retained, warm - spare->warm);
    large_idle += warm - spare->warm;
    large_cold -= warm - spare->warm;
    spare->warm = warm;
}

/* Eight bins for each doubling of 4 KiB. */
static unsigned spare_bin(size_t size)
{
    return tide_sizeclass_eighth(size + 1, 12);
}

/* A place is taken, or empty again. */
static void spare_turn(const struct large_spare *spare)
{
    uint64_t bit = (uint64_t)1 << (spare - large_spare);
    large_kept ^= bit;
    large_bin[spare_bin(spare->size)] ^= bit;
}

static void spare_forget(struct large_spare *spare)
{
    spare_set_warm(spare, 0);
    large_cold -= spare->size;
    spare_turn(spare);
    spare->base = 0;
}

static bool spare_count(size_t bytes)
{
    TIDE_STAT_ADD(decommits, 1);
    TIDE_STAT_ADD(decommit_bytes, bytes);
    return true;
}

/* False: the kernel took neither the addresses nor the memory back. */
static bool spare_unmap(const struct large_spare *spare)
{
    /* With too many mappings in the process the address space has to stay. */
    if (tide_vmem_unmap((void *)spare->base, spare->size) != 0 &&
        tide_vmem_decommit((void *)spare->base, spare->size) != 0)
        return false;
    return spare_count(spare->warm);
}

static bool spare_drop(struct large_spare *spare)
{
    if (!spare_unmap(spare))
        return false;
    spare_forget(spare);
    return true;
}

/* Gives back what is resident behind `keep` bytes; the addresses stay. */
static bool spare_cool(const struct large_spare *spare, size_t keep)
{
    return tide_vmem_decommit((char *)spare->base + keep, spare->warm - keep) == 0 &&
           spare_count(spare->warm - keep);
}

enum spare_which { SPARE_ANY, SPARE_WARM, SPARE_COLD };

static struct large_spare *spare_oldest(enum spare_which which)
{
    struct large_spare *oldest = NULL;
    for (uint64_t left = large_kept; left != 0; left &= left - 1) {
        struct large_spare *at = &large_spare[__builtin_ctzll(left)];
        bool fits = which == SPARE_WARM ? at->warm > 0 : at->warm < at->size;
        if ((fits || which == SPARE_ANY) && (oldest == NULL || at->turn < oldest->turn))
            oldest = at;
    }
    return oldest;
}

/* The memory of a kept one goes; its addresses too if there are enough of such. */
static bool spare_chill(struct large_spare *spare)
{
    if (large_kept == UINT64_MAX || large_cold + spare->warm > large_cold_most() ||
        !spare_cool(spare, 0))
        return spare_drop(spare);
    spare_set_warm(spare, 0);
    return true;
}

/* The smallest one that fits and wastes at most a quarter, first of those with memory. */
static struct large_spare *spare_fit(size_t size, size_t align)
{
    size_t waste = size / 4, most = 2 * waste + 2;
    struct large_spare *best = NULL;
    unsigned last = spare_bin(size + waste);
    for (unsigned bin = spare_bin(size); bin <= last && most > waste; bin++) {
        for (uint64_t fit = large_bin[bin]; fit != 0; fit &= fit - 1) {
            struct large_spare *at = &large_spare[__builtin_ctzll(fit)];
            size_t more = at->size - size, rank = more + (at->warm == 0 ? waste + 1 : 0);
            bool good = (more <= waste) & (rank < most) & ((at->base & (align - 1)) == 0);
            best = good ? at : best;
            most = good ? rank : most;
        }
    }
    return best;
}

/* The one with the most room, at least `size`, if the budgets have room for what is behind that,
 * of memory and of addresses. */
static struct large_spare *spare_roomy(size_t size)
{
    struct large_spare *best = NULL;
    size_t limit = tide_segment_retain_limit() / 2, behind = large_behind * tide_vmem_page_size();
    size_t warm = size + (limit > behind ? limit - behind : 0);
    size_t most = size + (LARGE_COLD > large_rooms ? LARGE_COLD - large_rooms : 0);
    for (uint64_t left = large_kept; left != 0; left &= left - 1) {
        struct large_spare *at = &large_spare[__builtin_ctzll(left)];
        if (at->size >= size && at->size <= most && at->warm <= warm &&
            (best == NULL || at->size > best->size))
            best = at;
    }
    return best;
}

/* Do the live bytes ebb? Else a part of them may wait, too: they come and go. */
static bool large_ebbs(void)
{
    if (large_bytes > large_crest / 2)
        return false;
    large_crest -= (large_crest - large_bytes) / 16;
    return true;
}

/* What waits of the mappings is beside the budget, up to `most` bytes. */
static void large_put_aside(size_t most)
{
    atomic_store_explicit(&tide_segment_aside, tide_min(large_idle, most), memory_order_relaxed);
}

/* Older ones make way until `bytes` more may stay. How many may: of much, what there is room for,
 * but not for all of the budget, and it costs no other one. */
static size_t spare_make_way(size_t bytes, size_t swing)
{
    for (;;) {
        size_t limit = tide_segment_retain_limit(), used = TIDE_STAT_GET(retained);
        if (used + bytes <= limit || large_idle + bytes <= swing)
            return bytes;
        if (bytes > tide_max(limit, swing))
            return tide_min(limit > used ? limit - used : 0, limit / 2);
        struct large_spare *oldest = spare_oldest(SPARE_WARM);
        if (oldest == NULL || !spare_chill(oldest))
            return 0;
    }
}

/* The same for addresses: false if there are too many. */
static bool spare_make_room(size_t bytes)
{
    size_t most = large_cold_most();
    while (bytes > 0 && large_cold + bytes > most) {
        struct large_spare *oldest = bytes <= most ? spare_oldest(SPARE_COLD) : NULL;
        if (oldest == NULL || !spare_drop(oldest))
            return false;
    }
    return true;
}

/* An empty place; the oldest one goes for it. */
static struct large_spare *spare_place(void)
{
    if (large_kept == UINT64_MAX && !spare_drop(spare_oldest(SPARE_ANY)))
        return NULL;
    return &large_spare[__builtin_ctzll(~large_kept)];
}

/* Is a freed mapping to be kept? What the budget has no room for goes. Memory that the kernel does
 * not take back is kept as well, as long as there is a place. */
static bool spare_stays(struct large_spare *fresh, size_t swing)
{
    size_t page = tide_vmem_page_size();
    size_t keep = spare_make_way(fresh->warm, swing) / page * page;
    if (!spare_make_room(fresh->size - keep) || (keep < fresh->warm && !spare_cool(fresh, keep)))
        return !spare_unmap(fresh);
    fresh->warm = keep;
    return true;
}

/* Keeps a freed mapping as far as the budget has room for it. */
static void spare_put(const struct tide_mapping *mapping)
{
    size_t seen = mapping->size + mapping->behind * tide_vmem_page_size();
    size_t warm = large_cold_most() == 0 ? mapping->room : seen; /* all or nothing */
    struct large_spare fresh = {mapping->base, mapping->room, warm, ++large_turn};
    bool ebbs = large_ebbs();
    size_t swing = ebbs ? 0 : tide_min(large_bytes / LARGE_SWING, LARGE_SWING_MOST);
    if (ebbs)
        large_put_aside(0);
    bool stays = spare_stays(&fresh, swing);
    struct large_spare *place = stays ? spare_place() : NULL;
    if (place != NULL) {
        *place = fresh;
        place->warm = 0;
        large_cold += fresh.size;
        spare_turn(place);
        spare_set_warm(place, fresh.warm);
    } else if (stays) {
        (void)spare_unmap(&fresh);
    }
    large_put_aside(swing);
}

static size_t spare_release(size_t keep)
{
    size_t bytes = 0;
    for (struct large_spare *oldest; (oldest = spare_oldest(SPARE_ANY)) != NULL;) {
        size_t size = keep > 0 ? oldest->warm : oldest->size;
        if ((keep > 0 && TIDE_STAT_GET(retained) <= keep) || !spare_drop(oldest))
            break;
        bytes += size;
    }
    large_put_aside(atomic_load_explicit(&tide_segment_aside, memory_order_relaxed));
    return bytes;
}

/* What lies behind live blocks that have room to grow. */
static size_t large_release_rooms(void)
{
    size_t bytes = 0;
    for (size_t i = 0; i < large_slots; i++) {
        struct tide_mapping *at = &large_table[i];
        if (at->base == 0 || at->behind == 0 ||
            tide_vmem_decommit((char *)at->base + at->size, at->room - at->size) != 0)
            continue;
        bytes += at->behind * tide_vmem_page_size();
        large_behind -= at->behind;
        at->behind = 0;
    }
    return bytes;
}

size_t tide_large_release(size_t keep)
{
    tide_lock_take(&large_lock.lock);
    size_t bytes = spare_release(keep) + (keep == 0 ? large_release_rooms() : 0);
    tide_lock_drop(&large_lock.lock);
    return bytes;
}

/* --- mapping ------------------------------------------------------------------- */

/* Fresh memory: maps more than needed and cuts the ends off. */
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
    *out = (struct tide_mapping){.base = (uintptr_t)base, .size = size, .room = size};
    return true;
}

/* A kept mapping becomes a live one; false when there is none. */
static bool large_from_spare(struct large_spare *spare, size_t size, struct tide_mapping *out)
{
    if (spare == NULL)
        return false;
    size_t behind = spare->warm > size ? spare->warm - size : 0;
    *out = (struct tide_mapping){.base = spare->base, .size = size, .room = spare->size};
    out->behind = (uint32_t)tide_min(behind / tide_vmem_page_size(), UINT32_MAX);
    large_behind += out->behind;
    large_rooms += out->room - size;
    spare_forget(spare);
    large_put_aside(atomic_load_explicit(&tide_segment_aside, memory_order_relaxed));
    return true;
}

/* Counts size more live bytes. */
static void large_count(size_t size)
{
    large_bytes += size;
    large_crest = tide_max(large_crest, large_bytes);
    tide_stat_use(size);
    tide_stat_touch(size);
}

static void *large_enter(struct tide_mapping *mapping, uint32_t owner)
{
    mapping->owner = owner;
    table_insert(mapping);
    TIDE_RELAXED_SET(&large_live, large_live + 1);
    large_count(mapping->size);
    return (void *)mapping->base;
}

void *tide_large_map(size_t size, size_t align, uint32_t owner, bool *zeroed)
{
    struct tide_mapping mapping = {.base = 0};
    void *block = NULL;
    size = tide_align_up(tide_max(size, 1), tide_vmem_page_size());
    tide_lock_take(&large_lock.lock);
    bool done = table_reserve();
    if (done) {
        struct large_spare *spare = spare_fit(size, align);
        size_t most = tide_min(tide_vmem_limit(), (size_t)1 << 47); /* more is asked for to fail */
        *zeroed = spare == NULL || spare->warm == 0;
        done = large_from_spare(spare, spare != NULL ? spare->size : 0, &mapping) ||
               large_from_kernel(size, align, &mapping) ||
               (size < most && spare_release(0) > 0 && large_from_kernel(size, align, &mapping));
    }
    if (done)
        block = large_enter(&mapping, owner);
    large_taken += done;
    tide_lock_drop(&large_lock.lock);
    return block;
}

void *tide_large_map_roomy(size_t size, uint32_t owner)
{
    struct tide_mapping mapping;
    void *block = NULL;
    size = tide_align_up(size, tide_vmem_page_size());
    tide_lock_take(&large_lock.lock);
    if (table_reserve() && large_from_spare(spare_roomy(size), size, &mapping)) {
        block = large_enter(&mapping, owner);
        large_taken++;
    }
    tide_lock_drop(&large_lock.lock);
    return block;
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

static void large_forget(struct tide_mapping *entry)
{
    large_freed[large_freed_next % LARGE_FREED][0] = entry->base;
    large_freed[large_freed_next++ % LARGE_FREED][1] = entry->size;
    TIDE_RELAXED_SET(&large_live, large_live - 1);
    large_bytes -= entry->size;
    TIDE_STAT_SUB(used, entry->size);
    TIDE_STAT_SUB(touched, entry->size);
    large_behind -= entry->behind;
    large_rooms -= entry->room - entry->size;
    table_remove(entry);
}

int tide_large_unmap(const void *p)
{
    tide_lock_take(&large_lock.lock);
    struct tide_mapping *entry = table_find((uintptr_t)p);
    if (entry != NULL) {
        struct tide_mapping mapping = *entry;
        large_forget(entry);
        spare_put(&mapping);
    }
    tide_lock_drop(&large_lock.lock);
    return entry != NULL ? 0 : -ENOENT;
}

/* The kernel resizes it. Lock held. */
static void *large_resize(struct tide_mapping *entry, size_t size)
{
    void *p = (void *)entry->base, *moved = tide_vmem_remap(p, entry->room, size);
    if (moved == NULL)
        return NULL;
    struct tide_mapping mapping = {.base = (uintptr_t)moved, .size = size, .room = size};
    uint32_t owner = entry->owner;
    large_forget(entry);
    if (moved == p) /* resized in place: not freed */
        large_freed[(large_freed_next - 1) % LARGE_FREED][0] = 0;
    return large_enter(&mapping, owner);
}

void *tide_large_remap(void *p, size_t size)
{
    void *moved = NULL;
    size = tide_align_up(size, tide_vmem_page_size());
    tide_lock_take(&large_lock.lock);
    struct tide_mapping *entry = table_find((uintptr_t)p);
    if (entry != NULL && size >= entry->size && size <= entry->room) {
        large_count(size - entry->size);
        size_t passed = tide_min(entry->behind, (size - entry->size) / tide_vmem_page_size());
        entry->behind -= (uint32_t)passed;
        large_behind -= passed;
        large_rooms -= size - entry->size;
        entry->size = size;
        moved = p;
    } else if (entry != NULL) {
        moved = large_resize(entry, size);
    }
    tide_lock_drop(&large_lock.lock);
    return moved;
}

bool tide_large_was_freed(const void *p, size_t *size)
{
    bool found = false;
    tide_lock_take(&large_lock.lock);
    for (int i = 0; i < LARGE_FREED && !found; i++) {
        found = p != NULL && large_freed[i][0] == (uintptr_t)p;
        *size = large_freed[i][1];
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
            large_table[i].base != 0 && (uintptr_t)p - large_table[i].base < large_table[i].room;
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
            spare_put(&mapping);
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
