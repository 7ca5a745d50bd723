/* layout.c - see layout.h */
#include "box/layout.h"

#include "box/crc.h"

enum { LAYOUT_ALIGN = 128, LAYOUT_PAGE = 4096, LAYOUT_SLOTS_TOP = 1 << 24 };

#define LAYOUT_PAYLOAD_TOP (UINT64_C(1) << 36)
#define LAYOUT_LEASE_LEAST UINT64_C(10000000) /* ns */
#define LAYOUT_LEASE_MOST UINT64_C(3600000000000)

static bool layout_is_within(struct tide_layout_fault *fault, const char *what, uint64_t value,
                             uint64_t low, uint64_t high)
{
    if (value >= low && value <= high)
        return true;
    if (fault->what == NULL)
        *fault = (struct tide_layout_fault){what, value, low, high};
    return false;
}

static uint64_t layout_or(uint64_t value, uint64_t initial)
{
    return value != 0 ? value : initial;
}

/* The geometry of `head` is one that this library makes. Levels 1 to 3 have no meaning here. */
static bool layout_fits(const struct tide_layout_head *head, struct tide_layout_fault *fault)
{
    bool held = head->level == 4;
    fault->what = NULL;
    if (head->level != 0 && head->level != 4 && head->level != 5)
        layout_is_within(fault, "order level (there are 0, 4 and 5)", head->level, 1, 0);
    layout_is_within(fault, "brokers", head->brokers, 1, TIDE_LAYOUT_BROKERS);
    layout_is_within(fault, "producers", head->producers, 1, 65536);
    layout_is_within(fault, "readers", head->readers, 1, 4096);
    layout_is_within(fault, "sessions", head->sessions, held ? 1 : 0, held ? 1 << 20 : 0);
    layout_is_within(fault, "window", head->window, held ? 1 : 0, held ? 65536 : 0);
    layout_is_within(fault, "slots of a broker", head->slots, 2, LAYOUT_SLOTS_TOP);
    layout_is_within(fault, "payload bytes of a broker", head->payload, 4 * TIDE_LAYOUT_GRANULE,
                     LAYOUT_PAYLOAD_TOP);
    if (fault->what == NULL && head->payload % TIDE_LAYOUT_GRANULE != 0)
        layout_is_within(fault, "payload bytes beyond a multiple of 64",
                         head->payload % TIDE_LAYOUT_GRANULE, 0, 0);
    /* Messages that are not trimmed must be fewer than 2^32: each takes a frame. */
    layout_is_within(fault, "payload bytes of all brokers", head->brokers * head->payload, 0,
                     LAYOUT_PAYLOAD_TOP - 1);
    layout_is_within(fault, "first number", head->first, 0, UINT64_MAX - (UINT64_C(1) << 48));
    layout_is_within(fault, "retention", head->retain, 0, TIDE_LAYOUT_RETAINS - 1);
    if (fault->what == NULL && head->lease != 0)
        layout_is_within(fault, "lease, of sessions", head->lease, held ? LAYOUT_LEASE_LEAST : 0,
                         held ? LAYOUT_LEASE_MOST : 0);
    layout_is_within(fault, "features", head->features, 0, TIDE_LAYOUT_FEATURES);
    return fault->what == NULL;
}

static uint64_t layout_part(uint64_t *end, uint64_t bytes, uint64_t align)
{
    uint64_t at = tide_align_up(*end, align);
    *end = at + bytes;
    return at;
}

static void layout_place(struct tide_layout_head *head)
{
    bool held = head->level == 4, ordered = head->level != 0;
    uint64_t all = head->brokers * head->slots, end = sizeof *head;
    uint64_t bits = tide_align_up((head->slots + 7) / 8, LAYOUT_ALIGN);
    head->entries = ordered ? all : 0;
    head->brokers_at =
        layout_part(&end, head->brokers * sizeof(struct tide_layout_broker), LAYOUT_ALIGN);
    head->producers_at =
        layout_part(&end, head->producers * sizeof(struct tide_layout_producer), LAYOUT_ALIGN);
    head->readers_at =
        layout_part(&end, head->readers * sizeof(struct tide_layout_reader), LAYOUT_ALIGN);
    head->sessions_at =
        layout_part(&end, head->sessions * sizeof(struct tide_layout_session), LAYOUT_ALIGN);
    head->holds_at =
        layout_part(&end, (uint64_t)head->sessions * head->window * sizeof(struct tide_layout_hold),
                    LAYOUT_ALIGN);
    head->links_at = layout_part(&end, held ? all * sizeof(uint64_t) : 0, LAYOUT_ALIGN);
    head->retired_at = layout_part(&end, ordered ? head->brokers * bits : 0, LAYOUT_ALIGN);
    head->retires_at =
        layout_part(&end, head->slots * sizeof(struct tide_layout_retire), LAYOUT_ALIGN);
    head->index_at =
        layout_part(&end, head->entries * sizeof(struct tide_layout_entry), LAYOUT_PAGE);
    head->slots_at = layout_part(&end, all * sizeof(struct tide_layout_slot), LAYOUT_PAGE);
    head->payload_at = layout_part(&end, head->brokers * head->payload, LAYOUT_PAGE);
    head->size = tide_align_up(end, LAYOUT_PAGE);
}

bool tide_layout_plan(struct tide_layout_head *head, const struct tide_layout_wish *wish,
                      struct tide_layout_fault *fault)
{
    bool held = wish->level == 4;
    memset((void *)head, 0, TIDE_LAYOUT_GEOMETRY);
    head->version = TIDE_LAYOUT_VERSION;
    head->head_size = sizeof *head;
    head->features = wish->features;
    head->retain = wish->retain;
    head->lease = wish->lease;
    head->first = wish->first;
    head->level = wish->level;
    head->brokers = (uint32_t)layout_or(wish->brokers, 1);
    head->producers = (uint32_t)layout_or(wish->producers, 64);
    head->readers = (uint32_t)layout_or(wish->readers, 16);
    head->sessions = held ? (uint32_t)layout_or(wish->sessions, 64) : 0;
    head->window = held ? (uint32_t)layout_or(wish->window, 64) : 0;
    head->slots = layout_or(wish->slots, 4096);
    head->payload = layout_or(wish->payload, 16 << 20);
    if (!layout_fits(head, fault))
        return false;
    layout_place(head);
    return true;
}

uint32_t tide_layout_check(const struct tide_layout_head *head)
{
    unsigned char copy[TIDE_LAYOUT_GEOMETRY];
    memcpy(copy, (const void *)head, sizeof copy);
    memset(copy + offsetof(struct tide_layout_head, magic), 0, sizeof head->magic);
    memset(copy + offsetof(struct tide_layout_head, check), 0, sizeof head->check);
    return tide_crc(0, copy, sizeof copy);
}

bool tide_layout_valid(const struct tide_layout_head *head, uint64_t size,
                       struct tide_layout_fault *fault)
{
    struct tide_layout_head again = {.version = head->version};
    fault->what = NULL;
    layout_is_within(fault, "magic", atomic_load_explicit(&head->magic, memory_order_acquire),
                     TIDE_LAYOUT_MAGIC, TIDE_LAYOUT_MAGIC);
    layout_is_within(fault, "layout version", head->version, TIDE_LAYOUT_VERSION,
                     TIDE_LAYOUT_VERSION);
    layout_is_within(fault, "bytes of the head", head->head_size, sizeof *head, sizeof *head);
    if (fault->what != NULL)
        return false;
    uint32_t check = tide_layout_check(head);
    layout_is_within(fault, "check sum of the head", head->check, check, check);
    if (fault->what != NULL || !layout_fits(head, fault))
        return false;
    /* The offsets follow from the geometry: one that differs was not made by us. */
    memcpy((void *)&again, (const void *)head, TIDE_LAYOUT_GEOMETRY);
    layout_place(&again);
    layout_is_within(fault, "bytes of the log", head->size, again.size, again.size);
    layout_is_within(fault, "entries of the order index", head->entries, again.entries,
                     again.entries);
    if (memcmp(&again.brokers_at, &head->brokers_at, 11 * sizeof(uint64_t)) != 0)
        layout_is_within(fault, "offsets of the parts", 1, 0, 0);
    layout_is_within(fault, "bytes of memory", size, head->size, UINT64_MAX);
    return fault->what == NULL;
}
