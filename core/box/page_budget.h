/*
 * page_budget.h - how much of what is free in pages may stay resident.
 *
 * owns:      the sums over all owners: statistics slack, touched, most
 * threads:   everything of one struct tide_pages under its lock
 * invariant: the sums are behind each owner by at most 256 KiB after refill and flush
 * uses:      page, segment, stat
 * used by:   page, magazine
 * not here:  what segments keep (segment)
 * test:      tests/test_page_budget.c
 */
#ifndef TIDE_BOX_PAGE_BUDGET_H
#define TIDE_BOX_PAGE_BUDGET_H

#include "box/page.h"

/* Is more memory free than the budget, all owners together, and has this one freed its share
 * of that? Lock held. */
bool tide_page_is_over(const struct tide_pages *pages);

/* Has the owner freed most of what it had, and is half the budget in use, with the `waiting` bytes
 * that it may have in its magazines? Then what waits for its next allocations shall go home.
 * Each yes makes the next one need more. Lock held. */
bool tide_page_is_ebb(struct tide_pages *pages, uint64_t waiting);

/* Counts the owner's slack and live bytes in the statistics if they changed by more than 256 KiB,
 * or in any case (exact). Lock held. */
void tide_page_tell(struct tide_pages *pages, bool exact);

/* Purges some pages of the next class that has any to give, if the owner freed most of
 * what it had: what was freed before too much was free. Lock held. */
void tide_page_purge_next(struct tide_pages *pages);

#endif
