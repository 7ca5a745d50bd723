/* shelf.c - see shelf.h */
#include "box/shelf.h"

/* The places of a class, or NULL for a kind that has magazines. */
static void *const *shelf_row(const struct tide_shelf *shelf, enum tide_kind kind, unsigned cls)
{
    if (kind == TIDE_KIND_MIDAL)
        return shelf->block[cls];
    return kind == TIDE_KIND_LARGE ? shelf->block[TIDE_MIDAL_ALL + cls] : NULL;
}

void *tide_shelf_take(struct tide_shelf *shelf, enum tide_kind kind, unsigned cls)
{
    void **row = (void **)shelf_row(shelf, kind, cls);
    if (row == NULL || row[0] == NULL)
        return NULL;
    unsigned last = 0;
    while (last + 1 < TIDE_SHELF && row[last + 1] != NULL)
        last++;
    void *block = row[last];
    TIDE_RELAXED_SET(&row[last], NULL);
    shelf->bytes -= tide_sizeclass_stride(kind, cls);
    return block;
}

void *tide_shelf_put(struct tide_shelf *shelf, const struct tide_page *page, void *block)
{
    void **row = (void **)shelf_row(shelf, (enum tide_kind)page->kind, page->cls);
    void *home = NULL;
    unsigned free = 0;
    if (row == NULL || page->stride > TIDE_SHELF_LARGEST)
        return block;
    while (free < TIDE_SHELF && row[free] != NULL)
        free++;
    if (free == TIDE_SHELF) {
        free = shelf->turn++ % TIDE_SHELF;
        home = row[free];
    } else if (shelf->bytes + page->stride > TIDE_SHELF_BYTES) {
        return block;
    } else {
        shelf->bytes += page->stride;
    }
    TIDE_RELAXED_SET(&row[free], block);
    return home;
}

bool tide_shelf_holds(const struct tide_shelf *shelf, const struct tide_page *page,
                      const void *block)
{
    void *const *row = shelf_row(shelf, (enum tide_kind)page->kind, page->cls);
    bool found = false;
    for (unsigned i = 0; row != NULL && i < TIDE_SHELF; i++)
        found = found || TIDE_RELAXED_GET(&row[i]) == block;
    return found;
}

unsigned tide_shelf_count(const struct tide_shelf *shelf, enum tide_kind kind, unsigned cls)
{
    void *const *row = shelf_row(shelf, kind, cls);
    unsigned count = 0;
    for (unsigned i = 0; row != NULL && i < TIDE_SHELF; i++)
        count += TIDE_RELAXED_GET(&row[i]) != NULL;
    return count;
}

void tide_shelf_empty(struct tide_shelf *shelf, struct tide_pages *pages)
{
    void **place = &shelf->block[0][0];
    for (unsigned i = 0; i < TIDE_SHELF_CLASSES * TIDE_SHELF; i++) {
        void *block = place[i];
        if (block == NULL)
            continue;
        TIDE_RELAXED_SET(&place[i], NULL);
        tide_page_flush(pages, &block, 1, "free");
    }
    shelf->bytes = 0;
}
