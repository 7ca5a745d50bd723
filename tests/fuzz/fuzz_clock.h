/* fuzz_clock.h - a clock that goes on while somebody waits: what takes seconds is done at once */
#ifndef FUZZ_CLOCK_H
#define FUZZ_CLOCK_H

#include "box/clock.h"
#include "box/park.h"

/* Where nobody else has the log, who waits for somebody's lease to be over does so on a clock that
 * goes on meanwhile: leases are of seconds. */
static _Thread_local bool hurries;

static bool hurry(uint64_t ns)
{
    if (hurries)
        tide_clock_ahead += ns;
    return hurries;
}

#endif
