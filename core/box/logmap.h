/*
 * logmap.h - a log's memory seen by this process: its parts, as pointers.
 *
 * owns:      the view; the memory is its maker's
 * threads:   made by one, then constant
 * invariant: the geometry is a copy that was checked: nothing that others write later moves
 *            a pointer out of the memory
 * uses:      layout
 * used by:   the boxes of room log below it
 * not here:  where the memory comes from (logapi)
 * test:      tests/test_logmap.c
 */
#ifndef TIDE_BOX_LOGMAP_H
#define TIDE_BOX_LOGMAP_H

#include "box/layout.h"

/* A ring's size; positions in it without a division where it is a power of two. */
struct tide_logmap_ring {
    uint64_t size, mask; /* mask: size - 1, or 0 when the size is no power of two */
};

struct tide_logmap {
    unsigned char *base;
    uint64_t size;
    struct tide_layout_head *head;
    struct tide_layout_broker *broker;
    struct tide_layout_producer *producer;
    struct tide_layout_reader *reader;
    struct tide_layout_session *session;
    struct tide_layout_hold *hold;
    _Atomic uint64_t *link;
    _Atomic uint64_t *retired;
    struct tide_layout_retire *retire;
    struct tide_layout_entry *index;
    struct tide_layout_slot *slot;
    unsigned char *payload;
    struct tide_logmap_ring slots, granules, entries; /* the first two: of each broker */
    uint64_t retired_words;                           /* of each broker */
    uint64_t first;
    /* The region that the log is in, where blocks may be; NULL and 0: none. */
    unsigned char *area;
    uint64_t area_size;
    enum tide_layout_retain retain;
    uint32_t level, brokers, producers, readers, sessions, window;
    uint32_t batch_most; /* bytes: see ring */
    enum tide_coh coh;
    bool stepped, mutex, checksum;
    bool shared; /* processes may come and go while others use it: see crew */
    bool keeps;  /* level 4: a door may stay with a handle, for a barrier reaches all: see door */
    bool stream; /* the payload ring is larger than the caches that a core has for itself */
};

/* Writes a new log into base[0..head->size), `zeroed` if these bytes are 0 already. `plan` is
 * a planned head. The magic comes last. */
void tide_logmap_format(void *base, const struct tide_layout_head *plan, const uint8_t id[16],
                        bool zeroed);

/* The view of the log at `base`, in `size` bytes; false, and *fault, when there is none. */
bool tide_logmap_open(struct tide_logmap *map, void *base, uint64_t size,
                      struct tide_layout_fault *fault);

TIDE_INLINE uint64_t tide_logmap_at(const struct tide_logmap_ring *ring, uint64_t counter)
{
    return TIDE_LIKELY(ring->mask != 0) ? counter & ring->mask : counter % ring->size;
}

TIDE_INLINE struct tide_layout_slot *tide_logmap_slot(const struct tide_logmap *map,
                                                      uint32_t broker, uint64_t index)
{
    return &map->slot[broker * map->slots.size + tide_logmap_at(&map->slots, index)];
}

TIDE_INLINE struct tide_layout_entry *tide_logmap_entry(const struct tide_logmap *map,
                                                        uint64_t place)
{
    return &map->index[tide_logmap_at(&map->entries, place)];
}

/* What the client's next batch was where so many places are durable. */
TIDE_INLINE struct tide_layout_lasting *tide_logmap_lasting(const struct tide_logmap *map,
                                                            uint64_t client, uint64_t durable)
{
    struct tide_layout_lasting *pair = map->session[client].lasting;
    uint64_t first = tide_coh_get(map->coh, &pair[0].places);
    uint64_t second = tide_coh_get(map->coh, &pair[1].places);
    return &pair[second <= durable && (first > durable || second > first)];
}

/* The word with the bit that says that this slot's batch is done with. */
TIDE_INLINE _Atomic uint64_t *tide_logmap_retired(const struct tide_logmap *map, uint32_t broker,
                                                  uint64_t position)
{
    return &map->retired[broker * map->retired_words + position / 64];
}

#endif
