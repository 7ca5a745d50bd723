/* share.c - see share.h */
#include "box/share.h"

#include "box/store.h"

static struct tide_extent share_extent = {.fd = -1};
static size_t share_first; /* bytes of Mid's part; the rest is for aligned blocks */

int tide_share_get(struct tide_source *source, size_t cap, size_t *granule)
{
    if (source->capacity == 0 && cap == SIZE_MAX)
        return tide_source_say(source, -EINVAL, "a memfd has no size of its own: say cap=");
    *granule = tide_max(source->align, (size_t)1 << TIDE_SHIFT_SMALL);
    source->capacity = source->capacity == 0 ? cap : tide_min(cap, source->capacity);
    size_t size = tide_max(tide_align_down(source->capacity, *granule), *granule);
    int ret = tide_source_grab(source, size, &share_extent);
    if (ret != 0)
        return ret;
    /* The lock lasts as long as the mapping: no other process gets the same memory, above all
     * no program that this one starts with the same options. */
    if (tide_store_lock(share_extent.fd, TIDE_STORE_EXCLUDE) == -EAGAIN) {
        tide_source_release(&share_extent);
        return tide_source_say(source, -EBUSY, "is in use by another process");
    }
    size_t rest = tide_max(tide_align_down(size / 8, *granule), *granule);
    share_first = size >= 2 * *granule ? size - rest : size;
    return 0;
}

size_t tide_share_lay(const struct tide_source *source, enum tide_kind kind, uintptr_t base,
                      size_t reserved)
{
    size_t offset = kind == TIDE_KIND_MID ? 0 : share_first;
    size_t size = kind == TIDE_KIND_MID ? share_first : share_extent.size - share_first;
    size = tide_min(size, tide_align_down(reserved, share_extent.align));
    size = share_extent.fd >= 0 ? tide_align_down(size, (size_t)1 << TIDE_SHIFT_SMALL) : 0;
    if (size == 0 || tide_source_map(source, &share_extent, (char *)base, offset, size) != 0)
        return 0;
    return size;
}

void tide_share_done(void)
{
    tide_source_release(&share_extent);
}
