/* purge.c - see purge.h */
#include "box/purge.h"

#include "box/heap.h"
#include "box/large.h"
#include "box/segment.h"

static size_t purge_pages(struct tide_pages *pages)
{
    size_t bytes = 0;
    tide_lock_take(&pages->lock);
    tide_remote_drain(pages);
    for (int kind = 0; kind < TIDE_KINDS; kind++)
        for (int cls = 0; cls < TIDE_CLASSES_MAX; cls++)
            for (struct tide_page *page = pages->bin[kind][cls].head; page; page = page->next)
                bytes += tide_page_purge(pages, page);
    tide_lock_drop(&pages->lock);
    return bytes;
}

size_t tide_purge_all(size_t keep)
{
    size_t bytes = 0;
    for (struct tide_heap *heap = tide_heap_first(); heap != NULL; heap = heap->next)
        bytes += purge_pages(&heap->pages);
    return bytes + tide_large_release(keep) + tide_segment_release(keep);
}
