/* index.c - see index.h */
#include "index.h"

#include <stdlib.h>
#include <string.h>

/* Ids are told from the chunk's first one. */
struct index_cell {
    uint32_t ms;
    int32_t seq;
    uint32_t place;
    int32_t data;
};

struct index_chunk {
    struct sid base;
    uint32_t first, end, room; /* cells first..end are entries */
    struct index_cell cell[];
};

static uint64_t bytes;

uint64_t index_bytes(void)
{
    return bytes;
}

static size_t chunk_size(uint32_t room)
{
    return sizeof(struct index_chunk) + room * sizeof(struct index_cell);
}

static struct sid cell_id(const struct index_chunk *chunk, uint32_t cell)
{
    return (struct sid){chunk->base.ms + chunk->cell[cell].ms,
                        chunk->base.seq + (uint64_t)(int64_t)chunk->cell[cell].seq};
}

/* Puts the entry into this chunk; false: it has no room, or cannot tell the id. */
static bool chunk_put(struct index_chunk *chunk, const struct index_entry *entry)
{
    uint64_t ms = entry->id.ms - chunk->base.ms;
    int64_t seq = (int64_t)(entry->id.seq - chunk->base.seq);
    if (chunk->end == chunk->room || ms > UINT32_MAX || seq != (int32_t)seq)
        return false;
    chunk->cell[chunk->end++] =
        (struct index_cell){(uint32_t)ms, (int32_t)seq, entry->place, entry->data};
    return true;
}

/* Room for one chunk more in the array: moves them to its beginning, or makes it larger. */
static bool index_spread(struct index *index)
{
    uint32_t count = index->tail - index->head;
    if (index->tail < index->room)
        return true;
    if (index->head > index->room / 2) {
        memmove(index->chunk, index->chunk + index->head, count * sizeof *index->chunk);
    } else {
        uint32_t room = index->room != 0 ? index->room * 2 : 4;
        struct index_chunk **chunk = realloc(index->chunk, room * sizeof *chunk);
        if (chunk == NULL)
            return false;
        bytes += (room - index->room) * sizeof *chunk;
        index->chunk = chunk;
        index->room = room;
        return true;
    }
    index->head = 0;
    index->tail = count;
    return true;
}

/* A full chunk that is small becomes a larger one. */
static bool chunk_grow(struct index_chunk **chunk)
{
    uint32_t room = (*chunk)->room * 2;
    struct index_chunk *larger;
    if ((*chunk)->end != (*chunk)->room || room > INDEX_CHUNK)
        return false;
    larger = realloc(*chunk, chunk_size(room));
    if (larger == NULL)
        return false;
    bytes += chunk_size(room) - chunk_size(larger->room);
    larger->room = room;
    *chunk = larger;
    return true;
}

bool index_add(struct index *index, const struct index_entry *entry)
{
    uint32_t room = INDEX_SMALL;
    if (index->tail > index->head) {
        struct index_chunk **last = &index->chunk[index->tail - 1];
        if (chunk_put(*last, entry) || (chunk_grow(last) && chunk_put(*last, entry))) {
            index->count++;
            return true;
        }
        room = (*last)->end >= INDEX_CHUNK ? INDEX_CHUNK : INDEX_SMALL;
    }
    if (!index_spread(index))
        return false;
    struct index_chunk *chunk = malloc(chunk_size(room));
    if (chunk == NULL)
        return false;
    bytes += chunk_size(room);
    *chunk = (struct index_chunk){.base = entry->id, .room = room};
    index->chunk[index->tail++] = chunk;
    index->count++;
    return chunk_put(chunk, entry);
}

static void index_free_first(struct index *index)
{
    struct index_chunk *chunk = index->chunk[index->head++];
    bytes -= chunk_size(chunk->room);
    free(chunk);
    if (index->head == index->tail)
        index->head = index->tail = 0;
}

void index_clear(struct index *index)
{
    while (index->head < index->tail)
        index_free_first(index);
    bytes -= index->room * sizeof *index->chunk;
    free(index->chunk);
    *index = (struct index){NULL, 0, 0, 0, 0};
}

/* The first chunk whose last id is not below this one. */
static uint32_t index_chunk_from(const struct index *index, struct sid id)
{
    uint32_t low = index->head, high = index->tail;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct index_chunk *chunk = index->chunk[middle];
        if (sid_compare(cell_id(chunk, chunk->end - 1), id) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool index_from(const struct index *index, struct sid id, struct index_at *at)
{
    at->chunk = index_chunk_from(index, id);
    if (at->chunk == index->tail)
        return false;
    const struct index_chunk *chunk = index->chunk[at->chunk];
    uint32_t low = chunk->first, high = chunk->end - 1;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (sid_compare(cell_id(chunk, middle), id) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    at->cell = low;
    return true;
}

bool index_upto(const struct index *index, struct sid id, struct index_at *at)
{
    if (index->count == 0)
        return false;
    if (index_from(index, id, at))
        return sid_compare(index_get(index, at).id, id) == 0 || index_back(index, at);
    at->chunk = index->tail - 1;
    at->cell = index->chunk[at->chunk]->end - 1;
    return true;
}

bool index_forward(const struct index *index, struct index_at *at)
{
    if (++at->cell < index->chunk[at->chunk]->end)
        return true;
    if (++at->chunk == index->tail)
        return false;
    at->cell = index->chunk[at->chunk]->first;
    return true;
}

bool index_back(const struct index *index, struct index_at *at)
{
    if (at->cell-- > index->chunk[at->chunk]->first)
        return true;
    if (at->chunk-- == index->head)
        return false;
    at->cell = index->chunk[at->chunk]->end - 1;
    return true;
}

struct index_entry index_get(const struct index *index, const struct index_at *at)
{
    const struct index_chunk *chunk = index->chunk[at->chunk];
    const struct index_cell *cell = &chunk->cell[at->cell];
    return (struct index_entry){cell_id(chunk, at->cell), cell->place, cell->data};
}

void index_move(struct index *index, const struct index_at *at, uint32_t place, int32_t data)
{
    struct index_cell *cell = &index->chunk[at->chunk]->cell[at->cell];
    cell->place = place;
    cell->data = data;
}

void index_drop(struct index *index)
{
    struct index_chunk *chunk = index->chunk[index->head];
    index->count--;
    if (++chunk->first == chunk->end)
        index_free_first(index);
}
