/* sub.c - see sub.h */
#include "box/sub.h"

#include "box/crc.h"
#include "box/vmem.h"

enum { SUB_PARTS = 16, SUB_LAZY = 64 };

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
    *self = (struct tide_sub){.map = map, .broker = broker, .policy = policy};
    int error = sub_place(self, start, position);
    if (error == 0 && (self->entry = sub_entry(map, process)) == NULL)
        error = -ENFILE;
    if (error == 0) {
        self->entry->broker = broker;
        tide_coh_set(map->coh, &self->entry->fate, 0);
        tide_coh_set(map->coh, &self->entry->policy, policy);
        tide_coh_set(map->coh, &self->entry->cursor, self->cursor);
    }
    tide_trim_go_on(map);
    return error;
}

void tide_sub_close(struct tide_sub *self)
{
    tide_coh_set(self->map->coh, &self->entry->owner, 0);
    if (self->copy != NULL)
        tide_vmem_unmap(self->copy, self->copy_size);
}

/* --- in place ------------------------------------------------------------------------ */

static void sub_tell(struct tide_sub_batch *out, const unsigned char *base,
                     const struct tide_layout_entry *entry, uint64_t place)
{
    *out = (struct tide_sub_batch){
        .position = place,
        .base = entry->base,
        .number = entry->number,
        .data = base + (ptrdiff_t)entry->offset,
        .size = entry->size,
        .count = entry->count,
        .client = entry->client,
        .broker = entry->broker,
    };
}

/* Payload lies where it may: in the log's memory, behind the tables; or as a block in the
 * region. */
static bool sub_is_inside(const struct tide_logmap *map, const struct tide_layout_entry *entry)
{
    uint64_t offset = entry->offset, end = map->size;
    uint64_t first = (uint64_t)(map->payload - map->base);
    if (entry->flags & TIDE_LAYOUT_REF) {
        offset += (uintptr_t)map->base - (uintptr_t)map->area;
        first = 0;
        end = map->area_size;
    }
    return offset >= first && offset <= end && entry->size <= end - offset;
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

/* The entry at this position, or NULL; `buffer` is where it is put together at level 0. */
static const struct tide_layout_entry *sub_see(const struct tide_sub *self, uint64_t position,
                                               struct tide_layout_entry *buffer)
{
    if (self->map->level != 0)
        return tide_order_see(self->map, position);
    const struct tide_layout_slot *slot = tide_ring_see(self->map, self->broker, position);
    if (slot == NULL)
        return NULL;
    sub_as_entry(buffer, slot, self->broker);
    return buffer;
}

static int sub_poll_in_place(struct tide_sub *self, struct tide_sub_batch *out, int most)
{
    const struct tide_logmap *map = self->map;
    struct tide_layout_entry buffer;
    const struct tide_layout_entry *entry;
    int got = 0;
    while (got < most && (entry = sub_see(self, self->next, &buffer)) != NULL) {
        if (entry->flags & TIDE_LAYOUT_PAD) {
            self->next++;
            continue;
        }
        if (!sub_is_inside(map, entry))
            return got > 0 ? got : -EBADMSG;
        tide_coh_fresh(map->coh, map->base + (ptrdiff_t)entry->offset, entry->size);
        sub_tell(&out[got], map->base, entry, self->next);
        if (map->checksum && tide_crc(0, out[got].data, entry->size) != entry->checksum)
            return got > 0 ? got : -EBADMSG;
        self->bytes += entry->size;
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
    if (size <= self->copy_size)
        return true;
    size_t room = tide_align_up(tide_max(size, 2 * self->copy_size), tide_vmem_page_size());
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

static int sub_poll_copy(struct tide_sub *self, struct tide_sub_batch *out)
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
    sub_tell(out, self->copy - (ptrdiff_t)entry.offset, &entry, self->next);
    self->next++;
    return 1;
}

/* --- polls ------------------------------------------------------------------------------ */

bool tide_sub_done(struct tide_sub *self)
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
static bool sub_is_due(const struct tide_sub *self)
{
    const struct tide_logmap *map = self->map;
    return self->next - self->cursor >= tide_min(map->slots.size / SUB_PARTS, SUB_LAZY) ||
           self->bytes >= map->granules.size * TIDE_LAYOUT_GRANULE / SUB_PARTS;
}

int tide_sub_poll(struct tide_sub *self, struct tide_sub_batch *out, int most)
{
    if (tide_coh_get(self->map->coh, &self->entry->fate) != 0)
        return -EPIPE;
    if (sub_is_due(self))
        tide_sub_done(self);
    int got = self->policy == TIDE_LAYOUT_SKIP ? sub_poll_copy(self, out)
                                               : sub_poll_in_place(self, out, most);
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
