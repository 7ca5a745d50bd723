/* lanes.c - see lanes.h */
#include "box/lanes.h"

#include "box/crc.h"

enum { LANES_PAGE = 4096, LANES_LINES = 256, LANES_SLOTS_TOP = 1 << 24 };

#define LANES_TOP (UINT64_C(1) << 36)
#define LANES_LEASE UINT64_C(10000000000)
#define LANES_LEASE_LEAST UINT64_C(10000000)
#define LANES_LEASE_MOST UINT64_C(3600000000000)

static bool lanes_is_within(struct tide_layout_fault *fault, const char *what, uint64_t value,
                            uint64_t low, uint64_t high)
{
    if (value >= low && value <= high)
        return true;
    if (fault->what == NULL)
        *fault = (struct tide_layout_fault){what, value, low, high};
    return false;
}

/* The geometry of `head` is one that this library makes. */
static bool lanes_fits(const struct tide_lanes_head *head, struct tide_layout_fault *fault)
{
    fault->what = NULL;
    lanes_is_within(fault, "order level where memory is not coherent", head->level, 4, 5);
    lanes_is_within(fault, "brokers", head->brokers, 1, TIDE_LAYOUT_BROKERS);
    lanes_is_within(fault, "clients", head->clients, 1, 65536);
    lanes_is_within(fault, "readers", head->readers, 1, 4096);
    lanes_is_within(fault, "slots of a lane", head->slots, 2, LANES_SLOTS_TOP);
    lanes_is_within(fault, "payload bytes of a lane", head->payload, 4 * TIDE_LAYOUT_GRANULE,
                    LANES_TOP);
    if (fault->what == NULL && head->payload % TIDE_LAYOUT_GRANULE != 0)
        lanes_is_within(fault, "payload bytes beyond a multiple of 64",
                        head->payload % TIDE_LAYOUT_GRANULE, 0, 0);
    if (fault->what != NULL)
        return false;
    uint64_t lanes = (uint64_t)head->brokers * head->clients;
    lanes_is_within(fault, "slots of all lanes", lanes * head->slots, 2, UINT32_MAX);
    lanes_is_within(fault, "payload bytes of a lane, where there are so many", head->payload, 0,
                    LANES_TOP / lanes - 1);
    lanes_is_within(fault, "nodes", head->nodes, 1, TIDE_LANES_NODES);
    lanes_is_within(fault, "lease in ns", head->lease, LANES_LEASE_LEAST, LANES_LEASE_MOST);
    if (fault->what == NULL) {
        lanes_is_within(fault, "clients beyond as many for each node", head->clients % head->nodes,
                        0, 0);
        lanes_is_within(fault, "readers beyond as many for each node", head->readers % head->nodes,
                        0, 0);
    }
    lanes_is_within(fault, "first number", head->first, 0, UINT64_MAX - (UINT64_C(1) << 48));
    lanes_is_within(fault, "retention", head->retain, 0, TIDE_LAYOUT_RETAINS - 1);
    if ((head->features & ~(uint64_t)TIDE_LAYOUT_CHECKSUM) != 0)
        lanes_is_within(fault, "features (there are 0 and 4)", head->features, 1, 0);
    return fault->what == NULL;
}

static uint64_t lanes_part(uint64_t *end, uint64_t bytes, uint64_t align)
{
    uint64_t at = tide_align_up(*end, align);
    *end = at + bytes;
    return at;
}

static void lanes_place(struct tide_lanes_head *head)
{
    uint64_t lanes = (uint64_t)head->brokers * head->clients, end = sizeof *head;
    head->entries = lanes * head->slots;
    head->sessions_at =
        lanes_part(&end, head->clients * sizeof(struct tide_lanes_session), LANES_PAGE);
    head->readers_at =
        lanes_part(&end, head->readers * sizeof(struct tide_lanes_reader), LANES_PAGE);
    head->nodes_at = lanes_part(&end, head->nodes * sizeof(struct tide_lanes_node), LANES_PAGE);
    head->lanes_at = lanes_part(&end, lanes * sizeof(struct tide_lanes_lane), LANES_PAGE);
    head->index_at = lanes_part(&end, head->entries * sizeof(struct tide_lanes_entry), LANES_PAGE);
    head->slots_at = lanes_part(&end, head->entries * sizeof(struct tide_lanes_slot), LANES_PAGE);
    head->payload_at = lanes_part(&end, lanes * head->payload, LANES_PAGE);
    head->size = tide_align_up(end, LANES_PAGE);
}

static uint64_t lanes_or(uint64_t value, uint64_t initial)
{
    return value != 0 ? value : initial;
}

/* So many, or the next number that has as many for each node. */
static uint64_t lanes_each(uint64_t count, uint64_t nodes)
{
    return (count + nodes - 1) / nodes * nodes;
}

bool tide_lanes_plan(struct tide_lanes_head *head, const struct tide_layout_wish *wish,
                     struct tide_layout_fault *fault)
{
    memset((void *)head, 0, LANES_LINES);
    head->version = TIDE_LANES_VERSION;
    head->head_size = sizeof *head;
    head->features = wish->features;
    head->retain = wish->retain;
    head->first = wish->first;
    head->level = wish->level;
    head->brokers = (uint32_t)lanes_or(wish->brokers, 1);
    head->nodes = (uint32_t)tide_min(lanes_or(wish->nodes, 1), UINT32_MAX);
    head->lease = lanes_or(wish->lease, LANES_LEASE);
    head->clients = (uint32_t)lanes_or(wish->producers, lanes_each(8, head->nodes));
    head->readers = (uint32_t)lanes_or(wish->readers, lanes_each(16, head->nodes));
    head->slots = lanes_or(wish->slots, 1024);
    head->payload = lanes_or(wish->payload, 1 << 20);
    if (!lanes_fits(head, fault))
        return false;
    lanes_place(head);
    return true;
}

static uint32_t lanes_check(const struct tide_lanes_head *head)
{
    unsigned char copy[LANES_LINES];
    memcpy(copy, (const void *)head, sizeof copy);
    memset(copy + offsetof(struct tide_lanes_head, magic), 0, sizeof head->magic);
    memset(copy + offsetof(struct tide_lanes_head, check), 0, sizeof head->check);
    return tide_crc(0, copy, sizeof copy);
}

static struct tide_logmap_ring lanes_ring(uint64_t size)
{
    return (struct tide_logmap_ring){size, tide_is_pow2(size) ? size - 1 : 0};
}

static void lanes_view(struct tide_lanes *map, enum tide_coh coh, unsigned char *base,
                       const struct tide_lanes_head *head)
{
    *map = (struct tide_lanes){
        .base = base,
        .size = head->size,
        .head = (void *)base,
        .session = (void *)(base + head->sessions_at),
        .reader = (void *)(base + head->readers_at),
        .node = (void *)(base + head->nodes_at),
        .lane = (void *)(base + head->lanes_at),
        .index = (void *)(base + head->index_at),
        .slot = (void *)(base + head->slots_at),
        .payload = base + head->payload_at,
        .slots = lanes_ring(head->slots),
        .granules = lanes_ring(head->payload / TIDE_LAYOUT_GRANULE),
        .entries = lanes_ring(head->entries),
        .first = head->first,
        .retain = (enum tide_layout_retain)head->retain,
        .level = head->level,
        .brokers = head->brokers,
        .clients = head->clients,
        .readers = head->readers,
        .nodes = head->nodes,
        .lease = head->lease,
        .lanes = head->brokers * head->clients,
        .coh = coh,
        .checksum = (head->features & TIDE_LAYOUT_CHECKSUM) != 0,
    };
}

static void lanes_start(_Atomic uint64_t *word, uint64_t value)
{
    atomic_store_explicit(word, value, memory_order_relaxed);
}

void tide_lanes_format(enum tide_coh coh, void *base, const struct tide_lanes_head *plan,
                       const uint8_t id[16], bool zeroed)
{
    struct tide_lanes map;
    struct tide_lanes_head *head = base;
    lanes_start(&head->magic, 0);
    tide_coh_wrote(coh, head, sizeof head->magic);
    tide_coh_drain(coh);
    if (!zeroed)
        memset((unsigned char *)base + TIDE_LINE, 0, plan->payload_at - TIDE_LINE);
    memcpy(base, (const void *)plan, LANES_LINES);
    memcpy(head->id, id, sizeof head->id);
    head->check = lanes_check(head);
    lanes_view(&map, coh, base, head);
    lanes_start(&head->committed, map.first);
    lanes_start(&head->trimmed_place, map.first);
    lanes_start(&head->trimmed_base, map.first);
    /* Slot 0 is never given out: zeroes are no slot. */
    for (uint32_t i = 0; i < map.lanes; i++) {
        lanes_start(&map.lane[i].done, map.first + 1);
        lanes_start(&map.lane[i].done_granule, map.first);
        lanes_start(&map.lane[i].released, map.first + 1);
        lanes_start(&map.lane[i].granule, map.first);
        lanes_start(&map.lane[i].from_slot, map.first + 1);
        lanes_start(&map.lane[i].from_granule, map.first);
    }
    tide_coh_wrote(coh, base, plan->payload_at);
    tide_coh_drain(coh);
    tide_coh_set(coh, &head->magic, TIDE_LANES_MAGIC);
    tide_coh_wrote(coh, head, sizeof head->magic);
    tide_coh_drain(coh);
}

bool tide_lanes_open(struct tide_lanes *map, enum tide_coh coh, void *base, uint64_t size,
                     struct tide_layout_fault *fault)
{
    struct tide_lanes_head head, again = {.version = TIDE_LANES_VERSION};
    fault->what = NULL;
    if (!lanes_is_within(fault, "bytes of memory", size, sizeof head, UINT64_MAX))
        return false;
    tide_coh_fresh(coh, base, LANES_LINES);
    tide_layout_words(&head, base, LANES_LINES); /* others may write there: copy, then look */
    lanes_is_within(fault, "magic", atomic_load_explicit(&head.magic, memory_order_acquire),
                    TIDE_LANES_MAGIC, TIDE_LANES_MAGIC);
    lanes_is_within(fault, "layout version", head.version, TIDE_LANES_VERSION, TIDE_LANES_VERSION);
    lanes_is_within(fault, "bytes of the head", head.head_size, sizeof head, sizeof head);
    uint32_t check = lanes_check(&head);
    lanes_is_within(fault, "check sum of the head", head.check, check, check);
    if (fault->what != NULL || !lanes_fits(&head, fault))
        return false;
    memcpy((void *)&again, (const void *)&head, LANES_LINES);
    lanes_place(&again);
    lanes_is_within(fault, "bytes of the log", head.size, again.size, again.size);
    lanes_is_within(fault, "entries of the order index", head.entries, again.entries,
                    again.entries);
    if (memcmp(&again.sessions_at, &head.sessions_at, 7 * sizeof(uint64_t)) != 0)
        lanes_is_within(fault, "offsets of the parts", 1, 0, 0);
    lanes_is_within(fault, "bytes of memory", size, head.size, UINT64_MAX);
    if (fault->what != NULL)
        return false;
    lanes_view(map, coh, base, &head);
    return true;
}
