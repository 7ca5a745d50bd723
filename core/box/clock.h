/*
 * clock.h - time.
 *
 * owns:      nothing
 * threads:   any
 * invariant: monotone, but for the date
 * uses:      sys
 * used by:   key, source, residency, counters
 * not here:  timers; the library has none
 * test:      tests/test_clock.c
 */
#ifndef TIDE_BOX_CLOCK_H
#define TIDE_BOX_CLOCK_H

#include "box/def.h"

/* Nanoseconds of the monotonic clock. */
uint64_t tide_clock_now(void);

#ifdef TIDE_DEBUG
extern _Atomic uint64_t tide_clock_ahead; /* of the clock, for tests that do not wait */
#endif

/* Nanoseconds since 1970, as the machine believes. */
uint64_t tide_clock_date(void);

/* Keeps the processor busy for `ns` nanoseconds. */
void tide_clock_spin(uint64_t ns);

#endif
