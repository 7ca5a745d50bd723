/* order.c - see order.h */
#include "box/order.h"

enum { ORDER_LOOKS = 1000 }; /* until what is trimmed stands still for a moment */

/* The halves made whole. What is trimmed is read after the word was, by somebody whose place
 * is not trimmed: so it is not above, and less than 2^32 below. */
static struct tide_order_place order_whole(uint64_t word, uint64_t near_place, uint64_t near_base)
{
    struct tide_order_place at;
    at.base = tide_layout_widen((uint32_t)word, near_base);
    at.place = tide_layout_widen((uint32_t)((word - at.base) >> 32), near_place);
    return at;
}

TIDE_INTO struct tide_order_place tide_order_take(const struct tide_logmap *map, uint64_t batches,
                                                  uint64_t messages)
{
    struct tide_layout_head *head = map->head;
    uint64_t word = tide_coh_add(map->coh, &head->taken, (batches << 32) + messages);
    return order_whole(word, tide_coh_get(map->coh, &head->trimmed_place),
                       tide_coh_get(map->coh, &head->trimmed_base));
}

struct tide_order_place tide_order_head(const struct tide_logmap *map)
{
    struct tide_layout_head *head = map->head;
    struct tide_order_place at = {0, 0};
    for (int look = 0; look < ORDER_LOOKS; look++) {
        uint64_t place = tide_coh_get(map->coh, &head->trimmed_place);
        uint64_t word = tide_coh_get(map->coh, &head->taken);
        at = order_whole(word, place, tide_coh_get(map->coh, &head->trimmed_base));
        if (place == tide_coh_get(map->coh, &head->trimmed_place))
            break;
    }
    return at;
}

TIDE_INTO void tide_order_write(const struct tide_logmap *map, struct tide_order_place at,
                                uint32_t broker, const struct tide_layout_slot *slot,
                                uint16_t control)
{
    struct tide_layout_entry *entry = tide_logmap_entry(map, at.place);
    entry->slot = slot->index;
    entry->offset = slot->offset;
    entry->base = at.base;
    entry->number = slot->number;
    entry->size = slot->size;
    entry->count = slot->count;
    entry->client = slot->client;
    entry->epoch = slot->epoch;
    entry->checksum = slot->checksum;
    entry->broker = (uint8_t)broker;
    entry->flags = (uint8_t)slot->flags;
    entry->control = control;
    tide_coh_wrote(TIDE_COH_COHERENT, entry, sizeof *entry);
    tide_coh_drain(TIDE_COH_COHERENT);
    TIDE_CRASH_POINT(order_written);
    tide_coh_set(map->coh, &entry->seq, at.place + 1);
    TIDE_CRASH_POINT(order_placed);
}

TIDE_INTO void tide_order_fill(const struct tide_logmap *map, struct tide_order_place at,
                               uint32_t broker, const struct tide_layout_slot *slot)
{
    uint64_t epoch = tide_coh_get(map->coh, &map->head->epoch);
    tide_order_write(map, at, broker, slot, (uint16_t)epoch);
}

TIDE_INTO struct tide_order_place tide_order_commit(const struct tide_logmap *map, uint32_t broker,
                                                    const struct tide_layout_slot *slot)
{
    struct tide_order_place at = tide_order_take(map, 1, slot->count);
    TIDE_CRASH_POINT(order_taken);
    tide_order_fill(map, at, broker, slot);
    return at;
}

uint64_t tide_order_frontier(const struct tide_logmap *map, uint64_t most)
{
    _Atomic uint64_t *word = &map->head->committed;
    uint64_t known = tide_coh_get(map->coh, word), place = known;
    most = tide_min(most, map->entries.size);
    while (place - known < most && tide_order_see(map, place) != NULL)
        place++;
    /* Others look too: the word only grows. */
    while (place > known)
        if (tide_coh_win(map->coh, word, &known, place))
            return place;
    return known;
}
