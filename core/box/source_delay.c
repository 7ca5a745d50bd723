/* source_delay.c - see source.h: the latency model behind ",delay=NS".
 *
 * A direct-mapped table of line numbers stands for the cache. A line that is in
 * it costs nothing; another one costs the delay and takes its place. The table
 * is shared by all threads without order: a model, and labelled so everywhere. */
#include "box/clock.h"
#include "box/source.h"

enum { DELAY_LINES = 32768 }; /* 2 MiB of 64-byte lines */

static _Atomic uint64_t delay_line[DELAY_LINES];

TIDE_COLD void tide_source_touch_slow(const void *p, size_t len, uint32_t delay)
{
    uint64_t line = (uintptr_t)p / TIDE_LINE;
    uint64_t last = ((uintptr_t)p + len - 1) / TIDE_LINE;
    for (; line <= last; line++) {
        _Atomic uint64_t *slot = &delay_line[line % DELAY_LINES];
        if (atomic_load_explicit(slot, memory_order_relaxed) == line)
            continue;
        atomic_store_explicit(slot, line, memory_order_relaxed);
        tide_clock_spin(delay);
    }
}
