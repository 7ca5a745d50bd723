/* lanesub.c - see lanesub.h */
#include "box/lanesub.h"

#include "box/crc.h"

enum { LANESUB_ROW = 8, LANESUB_PARTS = 16, LANESUB_LAZY = 64 };

/* --- open and close ----------------------------------------------------------------- */

/* The reader's line as a whole. */
static void lanesub_tell(const struct tide_lanesub *self)
{
    const struct tide_lanes *map = self->map;
    tide_coh_wrote(map->coh, &map->reader[self->reader].cursor, TIDE_LINE);
    tide_coh_drain(map->coh);
}

static void lanesub_request(struct tide_lanesub *self, enum tide_lanes_start start,
                            uint64_t position)
{
    const struct tide_lanes *map = self->map;
    struct tide_lanes_reader *line = &map->reader[self->reader];
    tide_coh_set(map->coh, &line->start, start);
    tide_coh_set(map->coh, &line->position, position);
    tide_coh_set(map->coh, &line->request, ++self->request);
    lanesub_tell(self);
}

void tide_lanesub_ask(struct tide_lanesub *self, const struct tide_lanes *map, uint32_t reader,
                      enum tide_lanes_start start, uint64_t position)
{
    struct tide_lanes_reader *line = &map->reader[reader];
    *self = (struct tide_lanesub){.map = map, .reader = reader};
    tide_coh_fresh(map->coh, &line->cursor, TIDE_LINE);
    self->request = tide_coh_get(map->coh, &line->request);
    lanesub_request(self, start, position);
}

/* From `joined` on the cursor counts; until then, the place that was granted. */
static void lanesub_join(struct tide_lanesub *self, uint64_t from)
{
    const struct tide_lanes *map = self->map;
    struct tide_lanes_reader *line = &map->reader[self->reader];
    self->next = self->cursor = self->seen = from;
    tide_coh_set(map->coh, &line->cursor, from);
    tide_coh_set(map->coh, &line->joined, self->request);
    lanesub_tell(self);
}

int tide_lanesub_granted(struct tide_lanesub *self)
{
    const struct tide_lanes *map = self->map;
    struct tide_lanes_reader *line = &map->reader[self->reader];
    tide_coh_fresh(map->coh, &line->from, TIDE_LINE);
    if (tide_coh_get(map->coh, &line->granted) != self->request)
        return -EAGAIN;
    uint64_t error = tide_coh_get(map->coh, &line->error);
    if (error == 0)
        lanesub_join(self, tide_coh_get(map->coh, &line->from));
    bool known = error == 0 || error == ERANGE || error == ENXIO || error == ESTALE;
    return known ? -(int)error : -EUCLEAN;
}

void tide_lanesub_close(struct tide_lanesub *self)
{
    lanesub_request(self, TIDE_LANES_GONE, 0);
}

/* --- reading ----------------------------------------------------------------------------- */

void tide_lanesub_done(struct tide_lanesub *self)
{
    const struct tide_lanes *map = self->map;
    if (self->next == self->cursor)
        return;
    self->cursor = self->next;
    self->bytes = 0;
    tide_coh_set(map->coh, &map->reader[self->reader].cursor, self->cursor);
    lanesub_tell(self);
}

/* The cursor moves now and then, and always before the reader has nothing to do. */
static bool lanesub_is_due(const struct tide_lanesub *self)
{
    const struct tide_lanes *map = self->map;
    return self->next - self->cursor >= tide_min(map->slots.size / LANESUB_PARTS, LANESUB_LAZY) ||
           self->bytes >= map->granules.size * TIDE_LAYOUT_GRANULE / LANESUB_PARTS;
}

/* The next entry, or NULL while it is not valid. Several lines are fetched at once; one that
 * was not valid by then is fetched again by the next call. */
static const struct tide_lanes_entry *lanesub_see(struct tide_lanesub *self)
{
    const struct tide_lanes *map = self->map;
    const struct tide_lanes_entry *entry = tide_lanes_entry(map, self->next);
    if (self->next >= self->seen) {
        uint64_t row = tide_lanes_row(&map->entries, self->next, LANESUB_ROW);
        tide_coh_fresh(map->coh, entry, row * sizeof *entry);
        self->seen = self->next + row;
    }
    if (tide_coh_get(map->coh, &entry->seq) == self->next + 1)
        return entry;
    self->seen = self->next;
    return NULL;
}

/* 0, or -EBADMSG. The values are the sequencer's, the payload is the client's: neither is
 * believed. */
static int lanesub_take(struct tide_lanesub *self, const struct tide_lanes_entry *entry,
                        struct tide_lanesub_batch *out)
{
    const struct tide_lanes *map = self->map;
    struct tide_lanes_entry copy;
    tide_layout_words(&copy, entry, sizeof copy);
    if (copy.client >= map->clients || copy.broker >= map->brokers)
        return -EBADMSG;
    const unsigned char *data = tide_lanes_payload(
        map, tide_lanes_number(map, copy.client, copy.broker), copy.end, copy.size);
    if (data == NULL)
        return -EBADMSG;
    tide_coh_fresh(map->coh, data, copy.size);
    if (map->checksum && tide_crc(0, data, copy.size) != copy.checksum)
        return -EBADMSG;
    *out = (struct tide_lanesub_batch){self->next, copy.base,  copy.number, data,
                                       copy.size,  copy.count, copy.client, copy.broker};
    self->bytes += copy.size;
    self->next++;
    return 0;
}

int tide_lanesub_poll(struct tide_lanesub *self, struct tide_lanesub_batch *out, int most)
{
    const struct tide_lanes_entry *entry;
    int got = 0, error = 0;
    if (lanesub_is_due(self))
        tide_lanesub_done(self);
    while (got < most && error == 0 && (entry = lanesub_see(self)) != NULL) {
        error = lanesub_take(self, entry, &out[got]);
        got += error == 0;
    }
    if (got == 0)
        tide_lanesub_done(self);
    return got > 0 ? got : error;
}
