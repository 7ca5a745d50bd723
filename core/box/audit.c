/* audit.c - see audit.h; the head, and what all parts share */
#include "box/audit.h"

#include "box/frame.h"
#include "box/vmem.h"

/* --- findings ---------------------------------------------------------------------- */

void tide_audit_say(struct tide_audit *self, const char *word, const char *what, bool note)
{
    self->at.word = word;
    self->at.what = what;
    self->at.note = note;
    *(note ? &self->notes : &self->errors) += 1;
    self->tell(self->who, &self->at);
}

/* What a repair that ended in the middle may have left half written: places, and slots. */
static bool audit_is_unfinished(const struct tide_audit *self, const char *word)
{
    static const char *const words[] = {
        "head-order",   "entry-seq",    "entry-stray", "entry-base", "entry-slot",
        "entry-number", "slot-publish", "slot-index",  "slot-flags", "slot-count",
        "slot-entry",   "slot-retired", "granules"};
    for (size_t i = 0; i < sizeof words / sizeof words[0] && self->mending; i++)
        if (strcmp(word, words[i]) == 0)
            return true;
    return false;
}

bool tide_audit_within(struct tide_audit *self, const char *word, const char *what, uint64_t found,
                       uint64_t low, uint64_t high)
{
    if ((int64_t)(high - low) >= 0 && found - low <= high - low)
        return true;
    self->at.found = found;
    self->at.low = low;
    self->at.high = high;
    tide_audit_say(self, word, what, audit_is_unfinished(self, word));
    return false;
}

void tide_audit_number(struct tide_audit *self, const char *word, const char *what, uint64_t found,
                       uint64_t next)
{
    if (found - next - 1 >= self->missing) {
        tide_audit_within(self, word, what, found, next, next);
        return;
    }
    self->missing -= found - next;
    self->at.found = found;
    self->at.low = self->at.high = next;
    tide_audit_say(self, word, what, true);
}

/* --- payload ------------------------------------------------------------------------ */

static bool audit_has_room(struct tide_audit *self, size_t size)
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

/* As many frames as the entry says, one behind the other, and nothing behind the last one. */
static void audit_frames(struct tide_audit *self, const struct tide_layout_entry *entry)
{
    const struct tide_layout_frame *frame;
    size_t at = 0;
    uint64_t count = 0;
    uint32_t flags = 0, lent = entry->flags & TIDE_LAYOUT_REF ? TIDE_LAYOUT_LENT : 0;
    while ((frame = tide_frame_next(self->copy, entry->size, &at)) != NULL) {
        flags |= count++ == 0 ? frame->flags & ~lent : frame->flags;
    }
    if (tide_audit_within(self, "payload-frame", "messages in its payload", count, entry->count,
                          entry->count) &&
        tide_audit_within(self, "payload-frame", "end of its last message", at, entry->size,
                          entry->size))
        tide_audit_within(self, "payload-frame", "flags of its messages", flags, 0, 0);
}

bool tide_audit_payload(struct tide_audit *self, uint64_t position,
                        const struct tide_layout_entry *entry)
{
    struct tide_peek_room room = tide_peek_room(self->peek, entry);
    if (!tide_audit_within(self, "entry-size", "bytes of its payload", entry->size,
                           TIDE_LAYOUT_FRAME, room.most) ||
        !tide_audit_within(self, "payload-place", "offset of its payload", entry->offset,
                           room.first, room.first + room.bytes - entry->size) ||
        !audit_has_room(self, entry->size))
        return true;
    enum tide_peek_found found =
        tide_peek_payload(self->peek, entry->broker, position, entry, self->copy);
    if (found == TIDE_PEEK_GONE)
        return false;
    if (found == TIDE_PEEK_SUM) {
        self->at.found = entry->checksum;
        self->at.low = 1;
        self->at.high = 0;
        tide_audit_say(self, "payload-sum", "check sum is not that of its payload", false);
    } else {
        audit_frames(self, entry);
    }
    self->batches++;
    self->messages += entry->count;
    self->bytes += entry->size;
    return true;
}

/* --- head --------------------------------------------------------------------------- */

/* Words that somebody who ended in the middle leaves at 1. */
static void audit_lock(struct tide_audit *self, uint64_t word, const char *what)
{
    if (!tide_audit_within(self, "head-lock", what, word, 0, 1) || self->live || word == 0)
        return;
    self->at.found = word;
    self->at.low = self->at.high = 0;
    tide_audit_say(self, "head-lock", what, !self->closed);
}

/* What only grows is read before what stays above it. */
static void audit_head(struct tide_audit *self)
{
    const struct tide_logmap *map = &self->peek->map;
    struct tide_peek_head head;
    self->at.where = TIDE_AUDIT_HEAD;
    tide_peek_head(self->peek, &head);
    audit_lock(self, head.trimmer, "lock of trimming");
    tide_audit_within(self, "head-epoch", "epoch of the control", head.epoch, 1, INT64_MAX);
    for (uint32_t i = 0; i < map->brokers; i++) {
        uint64_t word = tide_coh_get(map->coh, &map->broker[i].scanner);
        self->at.table = i;
        self->at.where = TIDE_AUDIT_BROKER;
        audit_lock(self, word, "lock of the sequencer");
    }
    self->at.where = TIDE_AUDIT_HEAD;
    audit_lock(self, atomic_load(&map->head->mutex.word) != 0, "mutex of the sessions");
    if (!self->live)
        tide_audit_within(self, "retire-order", "blocks that wait to be given back",
                          head.retired - head.reclaimed, 0, map->slots.size);
    if (map->level == 0 || self->live)
        return;
    const char *word = "head-order";
    tide_audit_within(self, word, "first place that is kept", head.trimmed, map->first,
                      map->first + INT64_MAX);
    tide_audit_within(self, word, "number of the first message that is kept", head.trimmed_base,
                      map->first, map->first + INT64_MAX);
    if (tide_audit_within(self, word, "next place", head.taken, head.trimmed,
                          head.trimmed + map->entries.size))
        tide_audit_within(self, word, "places that are committed", head.committed, head.trimmed,
                          head.taken);
}

/* --- all ------------------------------------------------------------------------------- */

bool tide_audit_run(struct tide_audit *self)
{
    const struct tide_logmap *map = &self->peek->map;
    size_t places = map->level != 0 ? map->entries.size * sizeof(uint64_t) : 0;
    size_t clients = map->level == 4 ? map->sessions : 1 << 12;
    size_t bytes = tide_align_up(places + clients * sizeof *self->client, tide_vmem_page_size());
    unsigned char *scratch = tide_vmem_map(bytes);
    if (scratch == NULL)
        return false;
    self->errors = self->notes = self->batches = self->messages = self->bytes = 0;
    self->place = (void *)scratch;
    self->client = (void *)(scratch + places);
    self->clients = clients;
    self->missing = tide_coh_get(map->coh, &map->head->given_up);
    self->copy = NULL;
    self->copy_size = 0;
    audit_head(self);
    if (map->level != 0)
        tide_audit_order(self);
    tide_audit_slots(self);
    tide_audit_tables(self);
    if (self->copy != NULL)
        tide_vmem_unmap(self->copy, self->copy_size);
    tide_vmem_unmap(scratch, bytes);
    return true;
}
