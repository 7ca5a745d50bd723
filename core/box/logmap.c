/* logmap.c - see logmap.h */
#include "box/logmap.h"

enum { LOGMAP_L2 = 1 << 20 };

static struct tide_logmap_ring logmap_ring(uint64_t size)
{
    return (struct tide_logmap_ring){size, tide_is_pow2(size) ? size - 1 : 0};
}

static void logmap_view(struct tide_logmap *map, unsigned char *base,
                        const struct tide_layout_head *head)
{
    *map = (struct tide_logmap){
        .base = base,
        .size = head->size,
        .head = (void *)base,
        .broker = (void *)(base + head->brokers_at),
        .producer = (void *)(base + head->producers_at),
        .reader = (void *)(base + head->readers_at),
        .session = (void *)(base + head->sessions_at),
        .hold = (void *)(base + head->holds_at),
        .link = (void *)(base + head->links_at),
        .retired = (void *)(base + head->retired_at),
        .retire = (void *)(base + head->retires_at),
        .index = (void *)(base + head->index_at),
        .slot = (void *)(base + head->slots_at),
        .payload = base + head->payload_at,
        .slots = logmap_ring(head->slots),
        .granules = logmap_ring(head->payload / TIDE_LAYOUT_GRANULE),
        .batch_most = (uint32_t)tide_min(
            head->payload / TIDE_LAYOUT_GRANULE / 4 * TIDE_LAYOUT_GRANULE, 1 << 30),
        .entries = logmap_ring(head->entries),
        .retired_words = tide_align_up((head->slots + 7) / 8, 128) / 8,
        .first = head->first,
        .retain = (enum tide_layout_retain)head->retain,
        .level = head->level,
        .brokers = head->brokers,
        .producers = head->producers,
        .readers = head->readers,
        .sessions = head->sessions,
        .window = head->window,
        .coh = TIDE_COH_COHERENT,
        .stepped = (head->features & TIDE_LAYOUT_STEPPED) != 0,
        .mutex = (head->features & TIDE_LAYOUT_MUTEX) != 0,
        .checksum = (head->features & TIDE_LAYOUT_CHECKSUM) != 0,
        .stream = head->payload > LOGMAP_L2,
    };
}

static void logmap_start(_Atomic uint64_t *word, uint64_t value)
{
    atomic_store_explicit(word, value, memory_order_relaxed);
}

/* All counters begin at `first`; slot indexes one later, for 0 is no index. */
static void logmap_count_from(const struct tide_logmap *map, uint64_t first)
{
    struct tide_layout_head *head = map->head;
    logmap_start(&head->taken, (first << 32) + first);
    logmap_start(&head->committed, first);
    logmap_start(&head->trimmed_place, first);
    logmap_start(&head->trimmed_base, first);
    logmap_start(&head->epoch, 1);
    for (uint32_t i = 0; i < map->brokers; i++) {
        struct tide_layout_broker *broker = &map->broker[i];
        logmap_start(&broker->claim, (first + 1) << 32 | (uint32_t)first);
        logmap_start(&broker->released_slot, first + 1);
        logmap_start(&broker->released_granule, first);
        logmap_start(&broker->releasing, first + 1);
        logmap_start(&broker->scanned, first + 1);
    }
    for (uint32_t i = 0; i < map->sessions; i++)
        logmap_start(&map->session[i].expected, 0);
}

void tide_logmap_format(void *base, const struct tide_layout_head *plan, const uint8_t id[16],
                        bool zeroed)
{
    struct tide_logmap map;
    struct tide_layout_head *head = base, own; /* nothing of it is read back */
    atomic_store_explicit(&head->magic, 0, memory_order_release);
    if (!zeroed)
        memset(base, 0, plan->payload_at);
    memcpy((void *)&own, (const void *)plan, TIDE_LAYOUT_GEOMETRY);
    memcpy(own.id, id, sizeof own.id);
    own.check = tide_layout_check(&own);
    memcpy(base, (const void *)&own, TIDE_LAYOUT_GEOMETRY);
    logmap_view(&map, base, &own);
    logmap_count_from(&map, own.first);
    tide_coh_wrote(TIDE_COH_COHERENT, base, plan->payload_at);
    tide_coh_drain(TIDE_COH_COHERENT);
    tide_coh_set(map.coh, &head->magic, TIDE_LAYOUT_MAGIC);
}

bool tide_logmap_open(struct tide_logmap *map, void *base, uint64_t size,
                      struct tide_layout_fault *fault)
{
    struct tide_layout_head head; /* others may write there: copy, then look */
    if (size < sizeof head) {
        *fault = (struct tide_layout_fault){"bytes of memory", size, sizeof head, UINT64_MAX};
        return false;
    }
    tide_layout_words(&head, base, TIDE_LAYOUT_GEOMETRY);
    if (!tide_layout_valid(&head, size, fault))
        return false;
    logmap_view(map, base, &head);
    return true;
}
