/*
 * foreign.h - pointers to memory that we never gave out.
 *
 * owns:      the policy foreign=
 * threads:   any; slow: reads /proc and walks the loaded objects
 * invariant: nothing at the pointer is ever read
 * uses:      file, option, stat
 * used by:   life, route
 * not here:  pointers into our own windows (judge)
 * test:      tests/test_foreign.c
 */
#ifndef TIDE_BOX_FOREIGN_H
#define TIDE_BOX_FOREIGN_H

#include "box/def.h"
#include "box/option.h"

/* True when a free of p is to be ignored, as one counted leak: p is memory of ld.so's
 * start-up malloc or of the brk heap, a second malloc is loaded, or foreign=leak. */
bool tide_foreign_excuse(const void *p);

void tide_foreign_policy(enum tide_foreign policy);

#endif
