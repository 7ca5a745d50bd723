/* judge.c - see judge.h */
#include "box/judge.h"

#include "box/large.h"
#include "box/mid.h"
#include "box/tiny.h"

static bool judge_fault(struct tide_block *block, const char *what, const char *state)
{
    block->fault.what = what;
    block->fault.state = state;
    return false;
}

/* p is in reserved address space of ours that holds no block. */
static bool judge_in_reserve(uintptr_t p)
{
    unsigned count = atomic_load_explicit(&tide_window_count, memory_order_acquire);
    for (unsigned i = 0; i < count; i++)
        if (atomic_load_explicit(&tide_windows[i].span, memory_order_acquire) != 0 &&
            p - tide_windows[i].base < tide_windows[i].reserved)
            return true;
    return false;
}

/* Outside of all windows: a mapping of its own, or none of ours. */
static bool judge_mapping(const void *p, struct tide_block *block)
{
    struct tide_mapping mapping;
    size_t size = 0;
    block->fault.tier = "large";
    if (tide_large_find(p, &mapping)) {
        block->kind = TIDE_KIND_LARGE;
        block->owner = mapping.owner;
        block->usable = mapping.size;
        return true;
    }
    if (tide_large_was_freed(p, &size)) {
        block->fault.size = size;
        return judge_fault(block, "double free", "free");
    }
    if (tide_large_is_inside(p, &mapping)) {
        block->fault.size = mapping.size;
        block->fault.owner = mapping.owner & (TIDE_OWNER_IDS - 1);
        return judge_fault(block, "interior pointer", "live");
    }
    block->fault.tier = "none";
    if (judge_in_reserve((uintptr_t)p))
        return judge_fault(block, "invalid pointer", "none");
    block->foreign = true;
    return judge_fault(block, "foreign pointer", "unknown");
}

/* p is in a page, but at no block's start. */
static bool judge_interior(struct tide_page *page, uintptr_t p, struct tide_block *block)
{
    uint64_t index = (p - tide_page_base(page)) / page->stride;
    bool live = index < page->blocks && tide_page_is_out(page, (unsigned)index);
    return judge_fault(block, "interior pointer", live ? "live" : "free");
}

static bool judge_mid(const void *p, const struct tide_page *page, struct tide_block *block)
{
    uint32_t owner;
    unsigned cls;
    switch (tide_mid_read(block->window, p, &owner, &cls)) {
    case TIDE_MID_LIVE:
        if (owner == block->owner && cls == page->cls)
            return true;
        return judge_fault(block, "corrupt header", "unknown");
    case TIDE_MID_FREED:
        return judge_fault(block, "double free", "cached");
    case TIDE_MID_REMOTE:
        return judge_fault(block, "double free", "remote");
    default:
        return judge_fault(block, "corrupt header", "unknown");
    }
}

static bool judge_in_page(const void *p, struct tide_page *page, struct tide_block *block)
{
    if (page->stride == 0) /* committed, but no block was ever here */
        return judge_fault(block, "invalid pointer", "none");
    int index = tide_page_index(page, (uintptr_t)p);
    block->page = page;
    block->kind = page->kind;
    block->owner = atomic_load_explicit(&page->owner, memory_order_relaxed);
    block->usable = tide_page_usable(page);
    block->fault.tier = tide_sizeclass_tier((enum tide_kind)page->kind, page->cls);
    block->fault.size = block->usable;
    block->fault.owner = block->owner & (TIDE_OWNER_IDS - 1);
    if (index < 0)
        return block->owner != 0 ? judge_interior(page, (uintptr_t)p, block)
                                 : judge_fault(block, "invalid pointer", "none");
    if (block->owner == 0 || !tide_page_is_out(page, (unsigned)index))
        return index < page->bump ? judge_fault(block, "double free", "free")
                                  : judge_fault(block, "invalid pointer", "none");
    if (tide_page_headed(page))
        return judge_mid(p, page, block);
    if (page->kind == TIDE_KIND_TINY && tide_tiny_is_marked(p) && tide_heap_holds(page, p))
        return judge_fault(block, "double free", "cached");
    if (page->kind != TIDE_KIND_TINY && tide_shelf_holds(page, (unsigned)index))
        return judge_fault(block, "double free", "cached");
    return true;
}

bool tide_judge(const void *p, struct tide_block *out)
{
    const struct tide_window *window = tide_pagemap_find((uintptr_t)p);
    *out = (struct tide_block){.window = window, .fault = {.tier = "none", .addr = (uintptr_t)p}};
    if (window == NULL)
        return judge_mapping(p, out);
    struct tide_page *page = tide_window_page(window, (uintptr_t)p);
    return judge_in_page(p, page->part ? page->next : page, out);
}
