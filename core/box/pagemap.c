/* pagemap.c - see pagemap.h */
#include "box/pagemap.h"

struct tide_window tide_windows[TIDE_WINDOWS];
struct tide_arena tide_arena;
_Atomic unsigned tide_window_count = TIDE_KINDS;

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
