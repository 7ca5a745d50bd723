/* source_secure.c - see source.h: full=fail without a kill.
 *
 * The range is touched under the source's preference, so that a full node
 * spills instead of killing. Then the kernel tells where each page is, is asked
 * to move those that lie elsewhere, and tells again. */
#include "box/numa.h"
#include "box/source.h"
#include "box/vmem.h"

enum { SECURE_PAGES = 128, SECURE_TRIES = 8 };

static bool secure_is_there(const struct tide_source *source, int node)
{
    return node >= 0 && node < TIDE_SOURCE_NODES && (source->nodes >> node & 1) != 0;
}

/* Moves the pages that are elsewhere to the first node, then to the next ones.
 * 0, -ENOMEM, or -EAGAIN when only pages that the kernel has in hand are in the
 * way. */
static int secure_move(const struct tide_source *source, void **page, size_t count, int *node)
{
    int want[SECURE_PAGES];
    for (uint64_t nodes = source->nodes; nodes != 0; nodes &= nodes - 1) {
        size_t stray = 0;
        for (size_t i = 0; i < count; i++)
            if (!secure_is_there(source, node[i]))
                page[stray++] = page[i];
        if (stray == 0)
            return 0;
        for (size_t i = 0; i < stray; i++)
            want[i] = __builtin_ctzll(nodes);
        count = stray;
        tide_numa_move(page, count, want, node);
        if (tide_numa_where(page, count, node) != 0)
            return -ENOMEM;
    }
    int ret = 0;
    for (size_t i = 0; i < count; i++) {
        if (secure_is_there(source, node[i]))
            continue;
        if (node[i] >= 0)
            return -ENOMEM;
        ret = -EAGAIN;
    }
    return ret;
}

static int secure_batch(const struct tide_source *source, char *base, size_t count)
{
    size_t step = tide_vmem_page_size();
    for (int i = 0; i < SECURE_TRIES; i++) {
        void *page[SECURE_PAGES];
        int node[SECURE_PAGES];
        for (size_t k = 0; k < count; k++)
            page[k] = base + k * step;
        if (tide_numa_where(page, count, node) != 0)
            return -ENOMEM;
        int ret = secure_move(source, page, count, node);
        if (ret != -EAGAIN)
            return ret;
        if (tide_numa_populate(base, count * step) != 0)
            return -ENOMEM;
    }
    return -ENOMEM;
}

int tide_source_secure(const struct tide_source *source, void *base, size_t size)
{
    size_t step = tide_vmem_page_size();
    if (tide_numa_populate(base, size) != 0)
        return -ENOMEM;
    for (size_t at = 0; at < size; at += SECURE_PAGES * step)
        if (secure_batch(source, (char *)base + at,
                         tide_min((size - at) / step, (size_t)SECURE_PAGES)) != 0)
            return -ENOMEM;
    return 0;
}
