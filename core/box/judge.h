/*
 * judge.h - is this a live block, and if not, what is wrong with it.
 *
 * owns:      nothing
 * threads:   any; takes locks of large and of heaps, on suspicion only
 * invariant: any 64-bit value may be asked; only memory proven to be ours is read
 * uses:      pagemap, page, tiny, mid, large, heap
 * used by:   route, heaps, api
 * not here:  what happens then (route), foreign memory (foreign)
 * test:      tests/test_judge.c, tests/misuse.sh
 */
#ifndef TIDE_BOX_JUDGE_H
#define TIDE_BOX_JUDGE_H

#include "box/diag.h"
#include "box/heap.h"

/* What is known about a pointer. `fault.what` is NULL for a live block. */
struct tide_block {
    const struct tide_window *window; /* NULL: a mapping of its own, or foreign */
    struct tide_page *page;           /* NULL with window */
    enum tide_kind kind;              /* mappings count as Large */
    uint32_t owner;
    size_t usable;
    bool foreign; /* not in any memory of ours */
    struct tide_fault fault;
};

/* True when p is the start of a live block. */
bool tide_judge(const void *p, struct tide_block *out);

#endif
