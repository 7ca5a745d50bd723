/* region.c - see region.h */
#include "box/region.h"

#include "box/coh.h"
#include "box/file.h"
#include "box/meta.h"
#include "box/store.h"
#include "box/store_room.h"
#include "box/vmem.h"

static struct tide_lock region_lock;
static _Atomic(struct tide_region *) region_all;

static struct tide_region *region_first(void)
{
    return atomic_load_explicit(&region_all, memory_order_acquire);
}

/* A handle whose fields may be read. */
static bool region_is_ready(const struct tide_region *region)
{
    return atomic_load_explicit(&region->phase, memory_order_acquire) == TIDE_REGION_READY;
}

static void region_set_phase(struct tide_region *region, enum tide_region_phase phase)
{
    atomic_store_explicit(&region->phase, (int)phase, memory_order_release);
}

/* --- words --------------------------------------------------------------------------- */

static int region_fail(struct tide_region_error *error, int code, const char *text)
{
    if (error != NULL) {
        struct tide_text words = {error->text, sizeof error->text, 0};
        error->code = code;
        error->text[0] = '\0';
        tide_text_add(&words, text);
    }
    return code;
}

static int region_fail_about(struct tide_region_error *error, int code, const char *source,
                             const char *text)
{
    char line[TIDE_REGION_TEXT];
    struct tide_text words = {line, sizeof line, 0};
    tide_text_add(&words, "'");
    tide_text_quote(&words, source);
    tide_text_add(&words, "': ");
    tide_text_add(&words, text);
    return region_fail(error, code, line);
}

/* What the source box says, without the end that is about heaps. */
static int region_fail_source(struct tide_region_error *error, int code, const char *source,
                              const struct tide_source *found)
{
    char line[TIDE_SOURCE_SAID];
    if (found->said[0] != '\0')
        return region_fail(error, code, found->said);
    struct tide_text words = {line, sizeof line, 0};
    tide_text_add(&words, found->why);
    char *end = strstr(line, ": near memory is used");
    if (end != NULL)
        *end = '\0';
    return region_fail_about(error, code, source, line);
}

static int region_fail_size(struct tide_region_error *error, size_t size)
{
    char line[TIDE_REGION_TEXT];
    struct tide_text words = {line, sizeof line, 0};
    tide_text_add(&words, "the size ");
    tide_text_number(&words, size, 10);
    tide_text_add(&words,
                  size < TIDE_REGION_LEAST ? " is less than the least, " : " is no multiple of ");
    tide_text_number(&words, size < TIDE_REGION_LEAST ? TIDE_REGION_LEAST : TIDE_REGION_SEGMENT,
                     10);
    return region_fail(error, -EINVAL, line);
}

/* --- handles --------------------------------------------------------------------------- */

/* A blank handle that counts as open from now on. */
static struct tide_region *region_new(void)
{
    unsigned open = 0;
    struct tide_region *region = NULL;
    tide_lock_take(&region_lock);
    for (struct tide_region *at = region_first(); at != NULL; at = at->next) {
        if (atomic_load_explicit(&at->phase, memory_order_acquire) != TIDE_REGION_SPARE)
            open++;
        else
            region = at;
    }
    if (region == NULL && open < TIDE_REGION_HANDLES) {
        region = tide_meta_take(sizeof *region);
        if (region != NULL) {
            region->next = region_first();
            atomic_store_explicit(&region_all, region, memory_order_release);
        }
    }
    if (region != NULL)
        region_set_phase(region, TIDE_REGION_MAKING);
    tide_lock_drop(&region_lock);
    if (region == NULL)
        return NULL;
    region->extent = (struct tide_extent){.fd = -1};
    region->fresh = region->strict = false;
    atomic_store_explicit(&region->stale, false, memory_order_relaxed);
    atomic_store_explicit(&region->moved, false, memory_order_relaxed);
    atomic_store_explicit(&region->apart, false, memory_order_relaxed);
    atomic_store_explicit(&region->heaps, 0, memory_order_relaxed);
    atomic_store_explicit(&region->logs, 0, memory_order_relaxed);
    atomic_store_explicit(&region->numbers, 0, memory_order_relaxed);
    return region;
}

static void region_drop(struct tide_region *region)
{
    tide_lock_take(&region_lock);
    if (region->extent.base != NULL)
        tide_vmem_unmap(region->extent.base, region->extent.size);
    region->extent.base = NULL;
    tide_lock_drop(&region_lock);
    tide_source_release(&region->extent);
    region_set_phase(region, TIDE_REGION_SPARE);
}

/* --- mapping ---------------------------------------------------------------------------- */

/* Address space that starts at a multiple of align; what lies around it goes back. As
 * unmapping, under the list's lock: whoever gets an address comes after who had it. */
static char *region_reserve(size_t size, size_t align)
{
    tide_lock_take(&region_lock);
    char *raw = size <= PTRDIFF_MAX - align ? tide_vmem_reserve(size + align) : NULL;
    tide_lock_drop(&region_lock);
    if (raw == NULL)
        return NULL;
    char *base = (char *)tide_align_up((uintptr_t)raw, align);
    if (base > raw)
        tide_vmem_unmap(raw, (size_t)(base - raw));
    if (base + size < raw + size + align)
        tide_vmem_unmap(base + size, (size_t)(raw + align - base));
    return base;
}

/* Gets the memory of the opened source and maps it. */
static int region_map(struct tide_region *region, size_t size, struct tide_region_error *error)
{
    struct tide_extent *extent = &region->extent;
    struct tide_source *source = &region->source;
    int ret = tide_source_grab(source, size, extent);
    if (ret != 0)
        return region_fail(error, ret, source->said);
    size_t align = tide_max(extent->align, TIDE_REGION_SEGMENT);
    char *base = region_reserve(extent->size, align);
    if (base == NULL)
        return region_fail(error, -ENOMEM, "no address space is left for a region of that size");
    extent->base = base;
    ret = tide_source_map(source, extent, base, 0, extent->size);
    if (ret != 0)
        return region_fail_about(error, ret, source->text,
                                 ret == -ENOMEM ? "there is not that much memory"
                                                : "the kernel refuses to map it");
    return 0;
}

/* Descriptors and shadow words, then the window. */
static int region_show(struct tide_region *region, struct tide_region_error *error)
{
    size_t page = tide_vmem_page_size(), heads = region->table.heads << TIDE_SHIFT_SMALL;
    size_t pages = tide_align_up(region->table.segments * TIDE_PAGE_BYTES, page);
    size_t shadow = tide_align_up((region->size >> TIDE_SHADOW_SHIFT) * sizeof(uint64_t), page);
    int index = tide_pagemap_take();
    if (index < 0)
        return region_fail(error, -ENFILE, "too many regions are open");
    char *tables = region_reserve(pages + shadow, page);
    if (tables == NULL || tide_vmem_commit(tables, pages + shadow) != 0) {
        if (tables != NULL)
            tide_vmem_unmap(tables, pages + shadow);
        tide_pagemap_give((unsigned)index);
        return region_fail(error, -ENOMEM, "no memory for the descriptors of a region");
    }
    struct tide_window *window = &tide_windows[index];
    region->window = (uint8_t)index;
    region->tables = pages + shadow;
    window->base = (uintptr_t)region->extent.base;
    TIDE_RELAXED_SET(&window->first, window->base + heads);
    window->pages = (struct tide_page *)tables;
    window->bits = NULL;
    window->words = 0;
    window->shadow = (uint64_t *)(tables + pages);
    window->delay = region->source.delay;
    window->mode = TIDE_MODE_SHADOW | (region->source.delay != 0 ? TIDE_MODE_MODEL : 0);
    window->kind = TIDE_KIND_MID;
    window->shift = TIDE_SHIFT_SMALL;
    window->fail = false;
    window->far = 0;
    window->shared = region->extent.fd >= 0 ? region->size : 0;
    window->reserved = region->size;
    window->segments = window->next = region->table.segments;
    window->region = region;
    for (size_t i = 0; i < region->table.segments; i++)
        window->pages[i].window = (uint8_t)index;
    atomic_store_explicit(&window->span, region->size - heads, memory_order_release);
    return 0;
}

static void region_hide(struct tide_region *region)
{
    struct tide_window *window = &tide_windows[region->window];
    atomic_store_explicit(&window->span, 0, memory_order_release);
    tide_lock_take(&region_lock);
    tide_vmem_unmap(window->pages, region->tables);
    tide_lock_drop(&region_lock);
    window->region = NULL;
    tide_pagemap_give(region->window);
}

/* --- making ------------------------------------------------------------------------------- */

static int region_lock_file(struct tide_region *region, enum tide_store_lock how)
{
    return region->extent.fd >= 0 ? tide_store_lock(region->extent.fd, how) : 0;
}

/* What is in the memory already must not be a region, unless it may be replaced. */
static int region_may_format(struct tide_region *region, unsigned flags,
                             struct tide_region_error *error)
{
    if (region_lock_file(region, TIDE_STORE_EXCLUDE) == -EAGAIN)
        return region_fail_about(error, -EBUSY, region->source.text,
                                 "somebody has the region in it open");
    if ((flags & TIDE_REGION_REPLACE) != 0 || region->extent.fd < 0 || region->extent.made)
        return 0;
    char line[TIDE_REGION_TEXT];
    struct tide_text why = {line, sizeof line, 0};
    if (tide_plot_check(region->extent.base, region->extent.size, 0, &why) != 0)
        return 0;
    return region_fail_about(error, -EEXIST, region->source.text,
                             "there is a region in it already (TIDE_REGION_REPLACE)");
}

/* TIDE_REGION_STRICT: all of it is brought in, and is where it was asked to be. */
static int region_secure(struct tide_region *region, struct tide_region_error *error)
{
    if (region->source.node < 0)
        return region_fail_about(error, -ENODEV, region->source.text,
                                 "TIDE_REGION_STRICT is about nodes, and it has none");
    if (region->extent.size > tide_store_room(""))
        return region_fail_about(error, -ENOMEM, region->source.text,
                                 "the machine has not that much free memory");
    if (tide_source_secure(&region->source, region->extent.base, region->extent.size) != 0)
        return region_fail_about(error, -ENOMEM, region->source.text,
                                 "the node has not that much free memory");
    return 0;
}

static int region_format(struct tide_region *region, size_t size, unsigned flags,
                         struct tide_region_error *error)
{
    int ret = region_map(region, size, error);
    if (ret != 0)
        return ret;
    region->size = tide_align_down(region->extent.size, TIDE_REGION_SEGMENT);
    if (region->size < TIDE_REGION_LEAST)
        return region_fail_size(error, region->size);
    ret = region_may_format(region, flags, error);
    if (ret == 0 && (flags & TIDE_REGION_STRICT) != 0)
        ret = region_secure(region, error);
    if (ret != 0)
        return ret;
    tide_plot_view(&region->table, region->extent.base, region->size);
    ret = region_show(region, error);
    if (ret != 0)
        return ret; /* what is in the memory stays as it is */
    tide_plot_format(region->extent.base, region->size);
    region_lock_file(region, TIDE_STORE_SHARE);
    region->fresh = true;
    region->strict = (flags & TIDE_REGION_STRICT) != 0;
    tide_plot_open(&region->table, region->extent.base, region->size);
    return 0;
}

/* Of what could not be made nothing stays, but for what somebody else made meanwhile. */
static void region_undo(const struct tide_region *region, int code)
{
    const struct tide_source_ops *ops = region->source.ops;
    if (region->extent.fd >= 0 && ops->undo != NULL && code != -EEXIST && code != -EBUSY)
        ops->undo(&region->source, &region->extent);
}

int tide_region_make(struct tide_region **out, const char *text, size_t size, unsigned flags,
                     struct tide_region_error *error)
{
    if ((flags & ~(unsigned)(TIDE_REGION_REPLACE | TIDE_REGION_STRICT)) != 0)
        return region_fail(error, -EINVAL, "a flag that tide_region_create does not know");
    if (size != 0 && (size < TIDE_REGION_LEAST || size % TIDE_REGION_SEGMENT != 0))
        return region_fail_size(error, size);
    struct tide_region *region = region_new();
    if (region == NULL)
        return region_fail(error, -ENFILE, "too many regions are open");
    int ret = tide_source_open_region(&region->source, text, true);
    if (ret != 0)
        region_fail_source(error, ret, text, &region->source);
    else
        ret = region_format(region, size, flags, error);
    if (ret != 0) {
        region_undo(region, ret);
        region_drop(region);
        return ret;
    }
    region_set_phase(region, TIDE_REGION_READY);
    *out = region;
    return 0;
}

/* --- opening ------------------------------------------------------------------------------ */

/* A file that is too short may have been a region; and of one in memory the first page may be a
 * hole that no memory is left for: their heads are read before they are mapped. */
static int region_glance(struct tide_region *region, struct tide_region_error *error)
{
    char line[TIDE_REGION_TEXT];
    struct tide_text why = {line, sizeof line, 0};
    struct tide_plot_head head;
    const struct tide_source *source = &region->source;
    bool small = source->capacity < TIDE_REGION_LEAST;
    int fd = tide_store_open(source->path, false);
    bool whole =
        (small || tide_store_is_memory(fd)) && tide_file_get(fd, &head, sizeof head) == sizeof head;
    if (fd >= 0)
        tide_file_close(fd);
    if (!small && !whole)
        return 0;
    int ret = tide_plot_check(whole ? &head : NULL, source->capacity, 0, &why);
    return ret == 0 ? 0 : region_fail_about(error, ret, source->text, line);
}

/* The memory is mapped: is a region in it, and all of it there? */
static int region_verify(struct tide_region *region, size_t size, struct tide_region_error *error)
{
    char line[TIDE_REGION_TEXT];
    struct tide_text why = {line, sizeof line, 0};
    const struct tide_plot_head *head = (const struct tide_plot_head *)region->extent.base;
    /* Another host may have written it. */
    tide_coh_fresh(TIDE_COH_NONCOHERENT, head, tide_min(sizeof *head, region->extent.size));
    uint64_t found = TIDE_RELAXED_GET(&head->size); /* it may not be the same for long */
    int ret = tide_plot_check(region->extent.base, region->extent.size,
                              size != 0 || found == 0 ? size : found, &why);
    if (ret == 0 && size == 0 && found == 0)
        ret = -EPROTO;
    if (ret != 0)
        return region_fail_about(error, ret, region->source.text, line);
    region->size = size != 0 ? size : found;
    struct tide_source *source = &region->source;
    if (source->ops->fill != NULL)
        ret = source->ops->fill(source, region->extent.fd, region->size);
    return ret == 0 ? 0 : region_fail(error, ret, source->said);
}

/* Other hosts may have it open, and no lock tells. */
static bool region_has_hosts(const struct tide_region *region)
{
    const struct tide_plot_head *head = (const struct tide_plot_head *)region->extent.base;
    return region->source.ops == &tide_source_dax ||
           atomic_load_explicit(&head->hosts, memory_order_acquire) != 0;
}

/* `alone`: nobody else of this host has it: what calls that never ended left behind can be mended,
 * where there are no other hosts. */
static void region_enter(struct tide_region *region, bool alone)
{
    if (region_has_hosts(region)) {
        tide_plot_view(&region->table, region->extent.base, region->size);
        atomic_store_explicit(&region->apart, true, memory_order_release);
        return;
    }
    tide_plot_open(&region->table, region->extent.base, region->size);
    if (alone)
        tide_plot_sweep(&region->table, false, NULL);
}

static int region_reopen(struct tide_region *region, size_t size, struct tide_region_error *error)
{
    struct tide_source *source = &region->source;
    if (!source->shared || source->ops == &tide_source_memfd)
        return region_fail_about(error, -EINVAL, source->text,
                                 "only what is in a file or a device can be opened again (a "
                                 "memfd as file:/proc/PID/fd/N)");
    int ret = region_glance(region, error);
    if (ret == 0)
        ret = region_map(region, 0, error);
    if (ret != 0)
        return ret;
    bool alone = region_lock_file(region, TIDE_STORE_EXCLUDE) == 0;
    if (!alone)
        region_lock_file(region, TIDE_STORE_SHARE);
    ret = region_verify(region, size, error);
    if (ret != 0)
        return ret;
    region_enter(region, alone);
    region_lock_file(region, TIDE_STORE_SHARE);
    return region_show(region, error);
}

int tide_region_attach(struct tide_region **out, const char *text, size_t size,
                       struct tide_region_error *error)
{
    struct tide_region *region = region_new();
    if (region == NULL)
        return region_fail(error, -ENFILE, "too many regions are open");
    int ret = tide_source_open_region(&region->source, text, false);
    region->source.later = true;
    if (ret != 0)
        region_fail_source(error, ret, text, &region->source);
    else
        ret = region_reopen(region, size, error);
    if (ret != 0) {
        region_drop(region);
        return ret;
    }
    region_set_phase(region, TIDE_REGION_READY);
    *out = region;
    return 0;
}

/* --- closing ------------------------------------------------------------------------------ */

/* Head and table, for whoever takes segments on another host next. */
static void region_tell(const struct tide_region *region)
{
    if (atomic_load_explicit(&region->apart, memory_order_acquire) || !region_has_hosts(region))
        return;
    tide_coh_wrote(TIDE_COH_NONCOHERENT, region->extent.base, tide_plot_bytes(&region->table));
    tide_coh_drain(TIDE_COH_NONCOHERENT);
}

int tide_region_detach(struct tide_region *region)
{
    if (atomic_load_explicit(&region->heaps, memory_order_acquire) != 0)
        return -EBUSY;
    if (atomic_load_explicit(&region->logs, memory_order_acquire) != 0)
        return -EBUSY;
    tide_lock_take(&region_lock);
    region_set_phase(region, TIDE_REGION_MAKING);
    tide_lock_drop(&region_lock);
    region_tell(region);
    region_hide(region);
    region_drop(region);
    return 0;
}

/* True: with the exclusive lock now. */
static bool region_is_alone(struct tide_region *region)
{
    if (region_lock_file(region, TIDE_STORE_EXCLUDE) != -EAGAIN)
        return true;
    region_lock_file(region, TIDE_STORE_SHARE); /* the try may have lost it */
    return false;
}

void tide_region_engage(struct tide_region *region)
{
    tide_lock_take(&region_lock);
    if (atomic_load_explicit(&region->apart, memory_order_acquire)) {
        tide_coh_fresh(TIDE_COH_NONCOHERENT, region->extent.base, tide_plot_bytes(&region->table));
        tide_plot_engage(&region->table);
        if (region_is_alone(region))
            tide_plot_sweep(&region->table, false, NULL);
        region_lock_file(region, TIDE_STORE_SHARE);
        atomic_store_explicit(&region->apart, false, memory_order_release);
    }
    tide_lock_drop(&region_lock);
}

int tide_region_alone(struct tide_region *region)
{
    if (tide_region_is_stale(region))
        return -ESTALE;
    if (!region_is_alone(region))
        return -EBUSY;
    region_lock_file(region, TIDE_STORE_SHARE);
    return 0;
}

static long region_sweep(struct tide_region *region, tide_region_keeper *keeper)
{
    size_t bytes =
        tide_align_up((region->table.segments + 63) / 64 * sizeof(uint64_t), tide_vmem_page_size());
    uint64_t *keep = tide_vmem_map(bytes);
    if (keep == NULL)
        return -ENOMEM;
    long ret = keeper(region, keep);
    if (ret == 0)
        ret = (long)tide_plot_sweep(&region->table, true, keep);
    tide_vmem_unmap(keep, bytes);
    return ret;
}

long tide_region_sweep(struct tide_region *region, tide_region_keeper *keeper)
{
    if (tide_region_is_stale(region))
        return -ESTALE;
    tide_region_ready(region);
    if (!region_is_alone(region))
        return -EBUSY;
    long ret = region_sweep(region, keeper);
    region_lock_file(region, TIDE_STORE_SHARE);
    return ret;
}

int tide_region_find(const volatile void *address, struct tide_text *out)
{
    for (struct tide_region *region = region_first(); region != NULL; region = region->next) {
        size_t at = (uintptr_t)address - (uintptr_t)region->extent.base;
        if (!region_is_ready(region) || at >= region->size)
            continue;
        tide_text_add(out, region->source.text);
        tide_text_add(out, ", offset 0x");
        tide_text_number(out, at, 16);
        return 0;
    }
    return -ENOENT;
}

void tide_region_count(uint64_t *blocks, uint64_t *bytes)
{
    *blocks = *bytes = 0;
    for (struct tide_region *region = region_first(); region != NULL; region = region->next) {
        struct tide_region_segment segment;
        tide_lock_take(&region_lock); /* against closing */
        bool ready = region_is_ready(region);
        for (uint64_t i = 0; ready && tide_plot_read(&region->table, i, &segment) == 0; i++) {
            if (segment.state != TIDE_REGION_RUN ||
                segment.session != TIDE_RELAXED_GET(&region->table.session))
                continue;
            ++*blocks;
            *bytes += segment.length * TIDE_REGION_SEGMENT;
        }
        tide_lock_drop(&region_lock);
    }
}

/* --- fork ------------------------------------------------------------------------------------ */

void tide_region_fork(enum tide_fork phase)
{
    if (phase == TIDE_FORK_PREPARE)
        tide_lock_take(&region_lock);
    for (struct tide_region *region = region_first(); region != NULL; region = region->next)
        tide_lock_fork(&region->table.lock, phase);
    tide_pagemap_fork(phase);
    if (phase == TIDE_FORK_RELEASE)
        tide_lock_drop(&region_lock);
}

void tide_region_fork_child(void)
{
    for (struct tide_region *region = region_first(); region != NULL; region = region->next) {
        /* A child has no log: its parent's handles are gone. */
        atomic_store_explicit(&region->logs, 0, memory_order_relaxed);
        if (region->extent.fd >= 0)
            atomic_store_explicit(&region->stale, true, memory_order_relaxed);
    }
}
