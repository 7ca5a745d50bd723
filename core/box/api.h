/*
 * api.h - C semantics: the functions of tidepool/malloc.h, options.h and stats.h.
 *
 * owns:      nothing
 * threads:   any
 * invariant: every NULL comes with errno; free keeps errno
 * uses:      route, report, purge, option, life
 * used by:   override, cxxnew, programs
 * not here:  the libc names (override)
 * test:      tests/test_api.c, tests/entry.sh
 */
#ifndef TIDE_BOX_API_H
#define TIDE_BOX_API_H

#include <malloc.h>
#include <stdio.h>

#include <tidepool/tidepool.h>

/* mallopt, mallinfo2, malloc_info and malloc_stats over our own figures. */
int tide_api_mallopt(int param, int value);
struct mallinfo2 tide_api_mallinfo2(void);
int tide_api_malloc_info(int options, FILE *stream);
void tide_api_malloc_stats(void);

#endif
