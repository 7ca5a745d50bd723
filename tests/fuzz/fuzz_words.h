/*
 * fuzz_words.h - the words of a region with a log in it, and how an input says what they become.
 *
 * Owns: the list of changes of one input. Threads: made by one, applied by two at once.
 * Invariant: a change lies in the head of the region, in the log, or in the blocks of its heap.
 * Uses: fuzz.h, the layout. Used by: fuzz_hostile.c. Not here: what is done with the log then.
 */
#ifndef TIDE_FUZZ_WORDS_H
#define TIDE_FUZZ_WORDS_H

#include "../audit_case.h"

#include "box/lanes.h"

#include "fuzz.h"

enum {
    STATES = 3, /* closed, killed, outage */
    SIZE = 3 << 20,
    CHANGES = 24,
    BLOCKS = 16 << 10 /* bytes of the heap's segment that are used */
};

enum { HEAD = TIDE_PLOT_AT + SIZE / TIDE_REGION_SEGMENT * sizeof(struct tide_plot_entry) };

/* A region, and what stood in it when its log was left. */
struct made {
    tide_region_t *region;
    unsigned char *base;
    tide_heap_t *heap;
    char path[64];
    size_t log_at, log_size, heap_at;
    size_t payload_at, payload_size, entries; /* of the log */
    size_t index_at;                          /* in the log */
    bool lanes;                               /* it is one in memory that is not coherent, */
    unsigned nodes;                           /* with so many processes */
    unsigned char *image[STATES];             /* head, log, blocks */
};

/* --- changes ------------------------------------------------------------------------------ */

struct change {
    unsigned char when, width;
    bool add;
    size_t at; /* in the region */
    uint64_t value;
};

static struct change changes[CHANGES];
static unsigned changed;

struct table {
    size_t at, bytes, count;
    size_t span; /* of each element: what can be changed; 0: all */
};

/* The same for each kind of log. */
static struct table table_of_region(unsigned which)
{
    const struct table list[] = {
        {0, 256, 1, 0},
        {TIDE_PLOT_AT, sizeof(struct tide_plot_entry), SIZE / TIDE_REGION_SEGMENT, 0},
        {TIDE_PLOT_AREA_AT, 512, 1, 0},
    };
    return list[which];
}

static struct table table_of_log(const struct made *it, unsigned which)
{
    const struct tide_layout_head *h = (const void *)(it->image[0] + HEAD);
    size_t slots = h->brokers * h->slots;
    struct table list[] = {
        table_of_region(0),
        table_of_region(1),
        table_of_region(2),
        {it->log_at, TIDE_LAYOUT_GEOMETRY, 1, 0},
        {it->log_at, 128, 16, 0}, /* words of the head */
        {it->log_at + h->brokers_at, sizeof(struct tide_layout_broker), h->brokers, 0},
        {it->log_at + h->producers_at, sizeof(struct tide_layout_producer), 4, 0},
        {it->log_at + h->readers_at, sizeof(struct tide_layout_reader), h->readers, 0},
        {it->log_at + h->sessions_at, sizeof(struct tide_layout_session), h->sessions, 0},
        {it->log_at + h->holds_at, sizeof(struct tide_layout_hold), (size_t)h->sessions * h->window,
         0},
        {it->log_at + h->links_at, 8, h->sessions != 0 ? slots : 0, 0},
        {it->log_at + h->retired_at, 128, h->level != 0 ? h->brokers : 0, 0},
        {it->log_at + h->retires_at, sizeof(struct tide_layout_retire), h->slots, 0},
        {it->log_at + h->index_at, sizeof(struct tide_layout_entry), h->entries, 0},
        {it->log_at + h->slots_at, sizeof(struct tide_layout_slot), slots, 0},
        {it->payload_at, 64, it->payload_size / 64, 0},
        {it->heap_at, 64, BLOCKS / 64, 0},
        {it->log_at + 512, 16, 1, 0}, /* what is trimmed */
        {it->log_at + h->brokers_at + 256, 24, 1, 0},
    };
    struct table found = list[which % (sizeof list / sizeof list[0])];
    return found.count != 0 ? found : list[4];
}

/* Each line of a writer of its own is a table, for what lies between them is used by nobody. */
static struct table table_of_lanes(const struct made *it, unsigned which)
{
    const struct tide_lanes_head *h = (const void *)(it->image[0] + HEAD);
    const size_t session = sizeof(struct tide_lanes_session);
    const size_t reader = sizeof(struct tide_lanes_reader), node = sizeof(struct tide_lanes_node);
    struct table list[] = {
        table_of_region(0),
        table_of_region(1),
        table_of_region(2),
        {it->log_at, 256, 1, 0},
        {it->log_at + offsetof(struct tide_lanes_head, epoch), 128, 4, 24},
        {it->log_at + h->sessions_at, session, h->clients, 8},
        {it->log_at + h->sessions_at + 128, session, h->clients, 40},
        {it->log_at + h->readers_at, reader, h->readers, 40},
        {it->log_at + h->readers_at + 128, reader, h->readers, 24},
        {it->log_at + h->nodes_at, node, h->nodes, 16},
        {it->log_at + h->nodes_at + 128, node, h->nodes, 16},
        {it->log_at + h->nodes_at + 256, node, h->nodes, 24},
        {it->log_at + h->lanes_at, sizeof(struct tide_lanes_lane), (size_t)h->clients * h->brokers,
         48},
        {it->log_at + h->index_at, sizeof(struct tide_lanes_entry), h->entries, 0},
        {it->log_at + h->slots_at, sizeof(struct tide_lanes_slot), h->entries, 0},
        {it->payload_at, 64, it->payload_size / 64, 0},
    };
    return list[which % (sizeof list / sizeof list[0])];
}

static uint64_t value_of(const struct made *it, unsigned which, uint32_t raw)
{
    const uint64_t list[] = {
        0,
        1,
        UINT64_MAX,
        INT64_MAX,
        UINT64_C(1) << 63,
        UINT32_MAX,
        UINT64_C(1) << 32,
        UINT64_C(1) << 31,
        UINT64_C(1) << 48,
        raw,
        (uint64_t)raw << 32,
        (uint64_t)(int64_t)(int32_t)raw,
        (uint64_t)(int64_t)(int8_t)raw,
        UINT64_MAX - (raw & 0xff),
        (uint64_t)(raw >> 16) << 32 | (raw & 0xffff),
        AUDIT_FIRST + raw % 64,
        it->log_size - (raw & 0xfff),
        SIZE - (raw & 0xffff),
        it->payload_at - it->log_at + raw % it->payload_size,
        ((uint64_t)raw << 32) + AUDIT_FIRST,
        (uint64_t)raw << 48 | (raw >> 8),
        (uint64_t)TIDE_REGION_SEGMENT * (raw % 8),
        TIDE_REGION_LENT | (uint64_t)raw << 16,
        it->entries + raw % 4,
    };
    return list[which % (sizeof list / sizeof list[0])];
}

static struct change read_change(const struct made *it, struct fuzz_input *in)
{
    struct change c;
    uint8_t how = fuzz_byte(in), where = fuzz_byte(in), element = fuzz_byte(in);
    uint8_t field = fuzz_byte(in), which = fuzz_byte(in);
    uint32_t raw = 0;
    for (int i = 0; i < 4; i++)
        raw |= (uint32_t)fuzz_byte(in) << 8 * i;
    struct table table = (it->lanes ? table_of_lanes : table_of_log)(it, where);
    size_t span = table.span != 0 ? table.span : table.bytes;
    c.when = how & 3;
    c.width = (unsigned char)(how & 4 ? 8 : 1 << (how >> 3 & 3));
    c.add = (how & 32) != 0;
    c.at = table.at + element % table.count * table.bytes + field * 8 % span;
    if (c.width < 8)
        c.at += (how >> 6) * 2 & ~(size_t)(c.width - 1);
    c.value = value_of(it, which, raw);
    FUZZ_TELL("at %u, table %u, element %zu, byte %zu: %s %u bytes %#llx", c.when, where,
              (size_t)(element % table.count), c.at - table.at, c.add ? "add" : "set", c.width,
              (unsigned long long)c.value);
    return c;
}

/* Plain loads and stores, as any process can do them, behind the sanitizer's back. */
FUZZ_PLAIN static uint64_t load(const unsigned char *base, const struct change *c)
{
    const volatile unsigned char *at = base + c->at;
    uint64_t value = 0;
    for (unsigned i = c->width; i-- > 0;)
        value = value << 8 | at[i];
    return value;
}

FUZZ_PLAIN static void apply(unsigned char *base, const struct change *c, uint64_t value)
{
    volatile unsigned char *at = base + c->at;
    value += c->add ? load(base, c) : 0;
    if (c->width == 8)
        *(volatile uint64_t *)(volatile void *)at = value;
    for (unsigned i = 0; c->width < 8 && i < c->width; i++)
        at[i] = (unsigned char)(value >> 8 * i);
}

static void apply_all(unsigned char *base, unsigned when)
{
    for (unsigned i = 0; i < changed; i++)
        if (changes[i].when == when)
            apply(base, &changes[i], changes[i].value);
}

#endif
