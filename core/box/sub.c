/* sub.c - see sub.h */
#include "box/sub.h"

#include "box/crc.h"
#include "box/vmem.h"

enum { SUB_PARTS = 16, SUB_LAZY = 64, SUB_SUMMED = 16 << 20 };

/* --- open and close ----------------------------------------------------------------- */

/* The first position that is not valid. */
static uint64_t sub_end(const struct tide_logmap *map, uint32_t broker)
{
    if (map->level != 0)
        return tide_order_frontier(map, UINT64_MAX);
    uint64_t slot = tide_trim_earliest(map, broker);
    while (tide_ring_see(map, broker, slot) != NULL)
        slot++;
    return slot;
}

static int sub_place(struct tide_sub *self, enum tide_sub_start start, uint64_t position)
{
    uint64_t first = tide_trim_earliest(self->map, self->broker);
    uint64_t end = sub_end(self->map, self->broker);
    if (start == TIDE_SUB_POSITION && position < first)
        return -ERANGE;
    if (start == TIDE_SUB_POSITION && position > end)
        return -ENXIO;
    self->next = start == TIDE_SUB_EARLIEST ? first : start == TIDE_SUB_LATEST ? end : position;
    self->cursor = self->next;
    return 0;
}

static struct tide_layout_reader *sub_entry(const struct tide_logmap *map, uint64_t process)
{
    for (uint32_t i = 0; i < map->readers; i++) {
        struct tide_layout_reader *entry = &map->reader[i];
        uint64_t nobody = 0;
        if (tide_coh_get(map->coh, &entry->owner) == 0 &&
            tide_coh_win(map->coh, &entry->owner, &nobody, process))
            return entry;
    }
    return NULL;
}

/* Nobody trims while the cursor is set: afterwards it holds. */
int tide_sub_open(struct tide_sub *self, const struct tide_logmap *map, uint32_t broker,
                  enum tide_layout_policy policy, enum tide_sub_start start, uint64_t position,
                  uint64_t process)
{
    if (!tide_trim_stop(map))
        return -EAGAIN;
    *self = (struct tide_sub){.map = map,
                              .broker = broker,
                              .policy = policy,
                              .lazy_batches = tide_min(map->slots.size / SUB_PARTS, SUB_LAZY),
                              .lazy_bytes = map->granules.size * TIDE_LAYOUT_GRANULE / SUB_PARTS};
    int error = sub_place(self, start, position);
    if (error == 0 && (self->entry = sub_entry(map, process)) == NULL)
        error = -ENFILE;
    if (error == 0) {
        self->entry->broker = broker;
        tide_coh_set(map->coh, &self->entry->fate, 0);
        tide_coh_set(map->coh, &self->entry->busy, 0);
        tide_coh_set(map->coh, &self->entry->policy, policy);
        tide_coh_set(map->coh, &self->entry->cursor, self->cursor);
    }
    tide_trim_go_on(map);
    return error;
}

void tide_sub_leave(struct tide_sub *self)
{
    if (self->copy != NULL)
        tide_vmem_unmap(self->copy, self->copy_size);
}

void tide_sub_close(struct tide_sub *self)
{
    tide_coh_set(self->map->coh, &self->entry->owner, 0);
    tide_sub_leave(self);
}

/* --- in place ------------------------------------------------------------------------ */

TIDE_INLINE void sub_tell(struct tide_sub_batch *out, const unsigned char *data,
                          const struct tide_layout_entry *entry, uint64_t place)
{
    *out = (struct tide_sub_batch){
        .position = place,
        .base = entry->base,
        .number = entry->number,
        .data = data,
        .size = entry->size,
        .count = entry->count,
        .client = entry->client,
        .broker = entry->broker,
    };
}

/* Payload lies where it may: in the log's memory, behind the tables; or as a block in the
 * region; and at a multiple of 8, as frames do. */
TIDE_INLINE bool sub_is_inside(const struct tide_logmap *map, const struct tide_layout_entry *entry)
{
    uint64_t offset = entry->offset, end = map->size;
    uint64_t first = (uint64_t)(map->payload - map->base);
    if (entry->flags & TIDE_LAYOUT_REF) {
        offset += (uintptr_t)map->base - (uintptr_t)map->area;
        first = 0;
        end = map->area_size;
    }
    return offset >= first && offset <= end && entry->size <= end - offset &&
           entry->offset % 8 == 0;
}

/* The batch of a slot in the form of an entry (level 0). */
static void sub_as_entry(struct tide_layout_entry *entry, const struct tide_layout_slot *slot,
                         uint32_t broker)
{
    *entry = (struct tide_layout_entry){
        .slot = slot->index,
        .offset = slot->offset,
        .base = UINT64_MAX,
        .number = slot->number,
        .size = slot->size,
        .count = slot->count,
        .client = slot->client,
        .epoch = slot->epoch,
        .checksum = slot->checksum,
        .broker = (uint8_t)broker,
        .flags = (uint8_t)slot->flags,
    };
}

/* What a reader tells of the batch at this position, each word read once; false: there is none
 * yet. */
TIDE_INLINE bool sub_see_entry(const struct tide_sub *self, uint64_t position,
                               struct tide_layout_entry *entry)
{
    const struct tide_layout_entry *at = tide_order_see(self->map, position);
    if (at == NULL)
        return false;
    entry->offset = TIDE_RELAXED_GET(&at->offset);
    entry->base = TIDE_RELAXED_GET(&at->base);
    entry->number = TIDE_RELAXED_GET(&at->number);
    entry->size = TIDE_RELAXED_GET(&at->size);
    entry->count = TIDE_RELAXED_GET(&at->count);
    entry->client = TIDE_RELAXED_GET(&at->client);
    entry->checksum = TIDE_RELAXED_GET(&at->checksum);
    entry->broker = TIDE_RELAXED_GET(&at->broker);
    entry->flags = TIDE_RELAXED_GET(&at->flags);
    return true;
}

/* The same of a slot (level 0). */
TIDE_INLINE bool sub_see_slot(const struct tide_sub *self, uint64_t position,
                              struct tide_layout_entry *entry)
{
    const struct tide_layout_slot *at = tide_ring_see(self->map, self->broker, position);
    if (at == NULL)
        return false;
    entry->offset = TIDE_RELAXED_GET(&at->offset);
    entry->base = UINT64_MAX;
    entry->number = TIDE_RELAXED_GET(&at->number);
    entry->size = TIDE_RELAXED_GET(&at->size);
    entry->count = TIDE_RELAXED_GET(&at->count);
    entry->client = TIDE_RELAXED_GET(&at->client);
    entry->checksum = TIDE_RELAXED_GET(&at->checksum);
    entry->broker = (uint8_t)self->broker;
    entry->flags = (uint8_t)TIDE_RELAXED_GET(&at->flags);
    return true;
}

TIDE_INLINE bool sub_see(const struct tide_sub *self, uint64_t position,
                         struct tide_layout_entry *entry)
{
    return self->map->level != 0 ? sub_see_entry(self, position, entry)
                                 : sub_see_slot(self, position, entry);
}

/* Of a log that other processes have, too, not more than so many bytes are summed up at once:
 * whoever repairs it waits for that. */
TIDE_INLINE int sub_poll_in_place(struct tide_sub *self, struct tide_sub_batch *out, int most)
{
    const struct tide_logmap *map = self->map;
    struct tide_layout_entry entry;
    uint64_t summed = 0;
    int got = 0;
    while (got < most && summed < SUB_SUMMED && sub_see(self, self->next, &entry)) {
        if (entry.flags & TIDE_LAYOUT_PAD) {
            self->next++;
            continue;
        }
        if (!sub_is_inside(map, &entry))
            return got > 0 ? got : -EBADMSG;
        tide_coh_fresh(TIDE_COH_COHERENT, map->base + (ptrdiff_t)entry.offset, entry.size);
        sub_tell(&out[got], map->base + (ptrdiff_t)entry.offset, &entry, self->next);
        if (map->checksum && tide_crc(0, out[got].data, entry.size) != entry.checksum)
            return got > 0 ? got : -EBADMSG;
        summed += map->checksum && map->shared ? entry.size : 0;
        self->bytes += entry.size;
        self->next++;
        got++;
    }
    return got;
}

/* --- as a copy ------------------------------------------------------------------------ */

/* Copies what others may be overwriting: whether they did is found out afterwards. */
__attribute__((no_sanitize("thread"))) static void sub_copy(void *to, const void *from, size_t size)
{
    volatile unsigned char *out = to;
    const volatile unsigned char *in = from;
    for (; size >= 8; size -= 8, out += 8, in += 8)
        *(volatile uint64_t *)(volatile void *)out =
            *(const volatile uint64_t *)(const volatile void *)in;
    for (; size > 0; size--)
        *out++ = *in++;
}

static bool sub_has_room(struct tide_sub *self, size_t size)
{
    if (self->copy != NULL && size <= self->copy_size)
        return true;
    size_t room = tide_align_up(tide_max(size, 2 * self->copy_size + 1), tide_vmem_page_size());
    void *copy = tide_vmem_map(room);
    if (copy == NULL)
        return false;
    if (self->copy != NULL)
        tide_vmem_unmap(self->copy, self->copy_size);
    self->copy = copy;
    self->copy_size = room;
    return true;
}

static int sub_gap(struct tide_sub *self)
{
    self->gap_from = self->next;
    self->gap_to = tide_trim_earliest(self->map, self->broker);
    self->next = self->gap_to;
    return -EOVERFLOW;
}

/* The words of an entry or a slot, as they are, whether published or not. */
static bool sub_copy_entry(const struct tide_sub *self, struct tide_layout_entry *entry)
{
    const struct tide_logmap *map = self->map;
    struct tide_layout_slot slot;
    if (map->level != 0) {
        const struct tide_layout_entry *at = tide_logmap_entry(map, self->next);
        if (tide_coh_get(map->coh, &at->seq) != self->next + 1)
            return false;
        sub_copy(entry, at, sizeof *entry);
        return true;
    }
    const struct tide_layout_slot *at = tide_ring_see(map, self->broker, self->next);
    if (at == NULL)
        return false;
    sub_copy(&slot, at, sizeof slot);
    sub_as_entry(entry, &slot, self->broker);
    return true;
}

static bool sub_is_late(const struct tide_sub *self)
{
    return tide_trim_earliest(self->map, self->broker) > self->next;
}

TIDE_NOINLINE static int sub_poll_copy(struct tide_sub *self, struct tide_sub_batch *out)
{
    const struct tide_logmap *map = self->map;
    struct tide_layout_entry entry;
    for (;; self->next++) {
        bool seen = sub_copy_entry(self, &entry);
        tide_coh_copied();
        if (sub_is_late(self))
            return sub_gap(self);
        if (!seen)
            return 0;
        if ((entry.flags & TIDE_LAYOUT_PAD) == 0)
            break;
    }
    if (!sub_is_inside(map, &entry))
        return -EBADMSG;
    if (!sub_has_room(self, entry.size))
        return -ENOMEM;
    sub_copy(self->copy, map->base + (ptrdiff_t)entry.offset, entry.size);
    tide_coh_copied();
    if (sub_is_late(self))
        return sub_gap(self);
    if (map->checksum && tide_crc(0, self->copy, entry.size) != entry.checksum)
        return -EBADMSG;
    sub_tell(out, self->copy, &entry, self->next);
    self->next++;
    return 1;
}

/* --- polls ------------------------------------------------------------------------------ */

TIDE_INTO bool tide_sub_done(struct tide_sub *self)
{
    if (self->next == self->cursor)
        return false;
    self->cursor = self->next;
    self->bytes = 0;
    tide_coh_set(self->map->coh, &self->entry->cursor, self->cursor);
    return true;
}

/* The cursor's line is read by those who need space: it moves now and then, and always
 * before the reader has nothing to do. */
TIDE_INLINE bool sub_is_due(const struct tide_sub *self)
{
    return self->next - self->cursor >= self->lazy_batches || self->bytes >= self->lazy_bytes;
}

TIDE_INTO int tide_sub_poll(struct tide_sub *self, struct tide_sub_batch *out, int most)
{
    if (tide_coh_get(self->map->coh, &self->entry->fate) != 0)
        return -EPIPE;
    if (sub_is_due(self))
        tide_sub_done(self);
    int got = TIDE_UNLIKELY(self->policy == TIDE_LAYOUT_SKIP) ? sub_poll_copy(self, out)
                                                              : sub_poll_in_place(self, out, most);
    /* What it was reading may have been overwritten meanwhile. */
    if (got == -EBADMSG && tide_coh_get(self->map->coh, &self->entry->fate) != 0)
        return -EPIPE;
    if (got <= 0)
        tide_sub_done(self);
    return got;
}

bool tide_sub_ready(const struct tide_sub *self)
{
    const struct tide_logmap *map = self->map;
    if (tide_coh_get(map->coh, &self->entry->fate) != 0 ||
        (self->policy == TIDE_LAYOUT_SKIP && sub_is_late(self)))
        return true;
    return map->level != 0 ? tide_order_see(map, self->next) != NULL
                           : tide_ring_see(map, self->broker, self->next) != NULL;
}
