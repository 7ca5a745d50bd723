/* page_budget.c - see page_budget.h */
#include "box/page_budget.h"

#include "box/segment.h"
#include "box/stat.h"

enum {
    PAGE_TELL = 256 << 10, /* bytes that the statistic may be behind, per owner */
    PAGE_SHARE = 128 << 10,
    PAGE_SOME = 8,   /* pages of a class that are looked at */
    PAGE_LOOKS = 64, /* of all classes, at a time */
    PAGE_BINS = TIDE_KINDS * TIDE_CLASSES_MAX,
    PAGE_LITTLE = 8 /* budgets */
};

static bool page_budget_moved(uint64_t change) /* modulo 2^64 */
{
    return change + PAGE_TELL > 2 * PAGE_TELL;
}

/* Where blocks only change between live and free, `touched` stays as it is. */
void tide_page_tell(struct tide_pages *pages, bool exact)
{
    uint64_t slack = pages->slack - pages->told, live = pages->live - pages->told_live;
    if (pages->region != NULL)
        return;
    if (!exact && !page_budget_moved(slack) && !page_budget_moved(slack + live))
        return;
    TIDE_STAT_ADD(slack, slack);
    if (slack + live != 0)
        tide_stat_touch(slack + live);
    pages->told = pages->slack;
    pages->told_live = pages->live;
}

/* Free bytes of all owners. */
static uint64_t page_budget_free(const struct tide_pages *pages)
{
    uint64_t all = TIDE_STAT_GET(slack) + pages->slack - pages->told + TIDE_STAT_GET(retained) +
                   TIDE_STAT_GET(waiting);
    return all < (uint64_t)1 << 63 ? all : 0;
}

/* Has the owner freed most of what it had? Of no interest while all was little. */
static bool page_budget_ebbs(const struct tide_pages *pages, uint64_t limit)
{
    return pages->live <= pages->crest / 2 && limit <= TIDE_STAT_GET(most) / PAGE_LITTLE;
}

/* Free memory over the budget goes back where live memory fell: where blocks come and go at the
 * same pace, free ones are about to be used again, and giving their memory back would only bring
 * it in anew. An owner may swing by the whole budget; one that freed most of what it had, by its
 * share of what is free: sixteen such owners by a sixteenth each. */
bool tide_page_is_over(const struct tide_pages *pages)
{
    uint64_t limit = tide_segment_retain_limit(), all = page_budget_free(pages);
    uint64_t fallen = pages->high - pages->live;
    if (all <= limit)
        return false;
    if (!page_budget_ebbs(pages, limit))
        return fallen > limit;
    return fallen > tide_max(limit / (all / (pages->slack + 1) + 1), tide_min(limit, PAGE_SHARE));
}

bool tide_page_is_ebb(struct tide_pages *pages, uint64_t waiting)
{
    uint64_t limit = tide_segment_retain_limit();
    if (!page_budget_ebbs(pages, limit) || page_budget_free(pages) + waiting <= limit / 2)
        return false;
    pages->crest -= (pages->crest - pages->live) / 16;
    return true;
}

/* Blocks that share system pages with live ones cannot be given back: a page of such that was
 * purged is not looked at again until half of what it had then was freed. */
static size_t page_budget_purge(struct tide_pages *pages, struct tide_page *page)
{
    if (page->purged && page->kind != TIDE_KIND_LARGE && page->used > page->purge_at)
        return 0;
    page->purge_at = page->used / 2;
    return tide_page_purge(pages, page);
}

void tide_page_purge_next(struct tide_pages *pages)
{
    size_t bytes = 0;
    if (!page_budget_ebbs(pages, tide_segment_retain_limit()))
        return;
    for (unsigned i = 0, looked = 0; bytes == 0 && i < PAGE_BINS && looked < PAGE_LOOKS; i++) {
        unsigned next = pages->next_purge++ % PAGE_BINS;
        struct tide_page *page = pages->bin[next / TIDE_CLASSES_MAX][next % TIDE_CLASSES_MAX].tail;
        for (unsigned k = 0; page != NULL && k < PAGE_SOME; page = page->prev, k++, looked++)
            bytes += page_budget_purge(pages, page);
    }
}
