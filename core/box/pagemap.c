/* pagemap.c - see pagemap.h */
#include "box/pagemap.h"

struct tide_window tide_windows[TIDE_WINDOWS];
struct tide_arena tide_arena;
_Atomic unsigned tide_window_count = TIDE_KINDS;

static struct tide_lock pagemap_lock;
static uint64_t pagemap_spare; /* places below the count that are not in use; under the lock */

_Static_assert(TIDE_WINDOWS <= 64, "one word of spare places");

int tide_pagemap_take(void)
{
    int index = -1;
    tide_lock_take(&pagemap_lock);
    unsigned count = atomic_load_explicit(&tide_window_count, memory_order_relaxed);
    if (pagemap_spare != 0) {
        index = __builtin_ctzll(pagemap_spare);
        pagemap_spare &= pagemap_spare - 1;
    } else if (count < TIDE_WINDOWS) {
        index = (int)count;
        atomic_store_explicit(&tide_window_count, count + 1, memory_order_release);
    }
    tide_lock_drop(&pagemap_lock);
    return index;
}

void tide_pagemap_give(unsigned index)
{
    tide_lock_take(&pagemap_lock);
    unsigned count = atomic_load_explicit(&tide_window_count, memory_order_relaxed);
    pagemap_spare |= (uint64_t)1 << index;
    while (count > TIDE_KINDS && (pagemap_spare >> (count - 1) & 1) != 0) {
        count--;
        pagemap_spare &= ~((uint64_t)1 << count);
    }
    atomic_store_explicit(&tide_window_count, count, memory_order_release);
    tide_lock_drop(&pagemap_lock);
}

void tide_pagemap_fork(enum tide_fork phase)
{
    tide_lock_fork(&pagemap_lock, phase);
}

const struct tide_window *tide_pagemap_find(uintptr_t p)
{
    unsigned count = atomic_load_explicit(&tide_window_count, memory_order_acquire);
    for (unsigned i = 0; i < count; i++) {
        const struct tide_window *window = &tide_windows[i];
        if (tide_window_holds(window, p))
            return window;
    }
    return NULL;
}
