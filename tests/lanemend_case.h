/*
 * lanemend_case.h - a log in lanes of twelve batches that is damaged, put in order, and looked at.
 */
#ifndef TESTS_LANEMEND_CASE_H
#define TESTS_LANEMEND_CASE_H

#include "lane_case.h"

#include <inttypes.h>

#include "box/frame.h"
#include "box/laneaudit.h"
#include "box/lanemend.h"

enum { BATCHES = 12, TRIMMED = 2, CLIENTS = 2 };

static struct tide_lanes map;
static struct tide_laneseq seq;
static struct tide_lane lane[CLIENTS];
static struct tide_lanemend mend;
static char words[4096];
static unsigned char *good; /* what stood in the log */

static inline void tell(void *unused, const struct tide_audit_finding *finding)
{
    (void)unused;
    if (!finding->note && strlen(words) + 200 < sizeof words)
        sprintf(words + strlen(words), " %s (%s: %" PRIu64 ", %" PRIu64 " to %" PRIu64 ")",
                finding->word, finding->what, finding->found, finding->low, finding->high);
}

/* The errors that the checker finds, as of a log that was closed; "" of one that is right. */
static inline const char *look(void)
{
    struct tide_audit audit = {.tell = tell, .closed = true};
    words[0] = '\0';
    ck_assert(tide_laneaudit_run(&audit, &map));
    return words;
}

static inline void keep_quiet(void *unused, const struct tide_lanemend_change *change)
{
    (void)unused;
    ck_assert_uint_lt(change->kind, TIDE_LANEMEND_KINDS);
}

static inline void run(void)
{
    mend = (struct tide_lanemend){.map = &map, .tell = keep_quiet};
    ck_assert_int_eq(tide_lanemend_run(&mend), 0);
}

static inline uint64_t changes(void)
{
    uint64_t sum = 0;
    for (int i = 0; i < TIDE_LANEMEND_KINDS; i++)
        sum += mend.count[i];
    return sum;
}

/* A batch of one message, its value, and some bytes: no two in a row are of one size. */
static inline void send(uint32_t client, uint32_t broker, uint64_t value)
{
    struct tide_lane_result result;
    uint32_t length = 8 + 56 * (value % 3);
    uint32_t size = (uint32_t)tide_frame_bytes(length);
    ck_assert(tide_lane_claim(&lane[client], broker, size));
    memset(lane[client].claim.payload, 0, size);
    struct tide_layout_frame frame = {.length = length};
    memcpy(lane[client].claim.payload, &frame, sizeof frame);
    memcpy(lane[client].claim.payload + sizeof frame, &value, sizeof value);
    tide_lane_commit(&lane[client], 1, size, &result);
    tide_lane_flush(&lane[client]);
}

static inline void settle(void)
{
    while (tide_laneseq_step(&seq, 99) != 0)
        ;
}

/* Twelve batches in four lanes, each in its own step, so that its value is its place; the first
 * two are trimmed. */
static inline void make(uint32_t level, uint64_t features, uint64_t first)
{
    lane_make(&map, (struct tide_layout_wish){
                        .level = level, .brokers = 2, .features = features, .first = first});
    ck_assert_int_eq(tide_laneseq_open(&seq, &map), 0);
    for (uint32_t i = 0; i < CLIENTS; i++)
        lane_join(&lane[i], &seq, &map, i);
    for (uint64_t i = 0; i < BATCHES; i++) {
        send(i % 2, i / 2 % 2, i);
        settle();
    }
    tide_laneseq_trim(&seq, map.first + TRIMMED);
    settle();
    good = malloc(map.size);
    memcpy(good, map.base, map.size);
    ck_assert_str_eq(look(), "");
}

static inline void begin(uint32_t level)
{
    make(level, TIDE_LAYOUT_CHECKSUM, 0);
}

static inline void end(void)
{
    tide_laneseq_close(&seq);
    lane_drop(&map);
    free(good);
}

static inline void again(void)
{
    memcpy(map.base, good, map.size);
}

static inline struct tide_lanes_entry *entry_of(uint64_t place)
{
    return tide_lanes_entry(&map, map.first + place);
}

static inline uint32_t lane_of(uint64_t place)
{
    return tide_lanes_number(&map, entry_of(place)->client, entry_of(place)->broker);
}

static inline struct tide_lanes_slot *slot_of(uint64_t place)
{
    return tide_lanes_slot(&map, lane_of(place), entry_of(place)->slot);
}

static inline unsigned char *payload_of(uint64_t place)
{
    return tide_lanes_payload(&map, lane_of(place), entry_of(place)->end, entry_of(place)->size);
}

/* The values of the batches that have places, in order. */
static inline const char *values(void)
{
    static char text[256];
    text[0] = '\0';
    for (uint64_t place = map.head->trimmed_place; place != map.head->committed; place++) {
        const struct tide_lanes_entry *entry = tide_lanes_entry(&map, place);
        const unsigned char *data = tide_lanes_payload(
            &map, tide_lanes_number(&map, entry->client, entry->broker), entry->end, entry->size);
        uint64_t value;
        memcpy(&value, data + sizeof(struct tide_layout_frame), sizeof value);
        sprintf(text + strlen(text), "%s%" PRIu64, text[0] == '\0' ? "" : " ", value);
    }
    return text;
}

/* The log goes on: its sequencer opens it, and it takes another batch of each client. With `room`
 * all that it has is trimmed before. */
static inline void goes_on(bool room)
{
    uint64_t before;
    tide_laneseq_close(&seq);
    ck_assert_int_eq(tide_laneseq_open(&seq, &map), 0);
    settle();
    if (room)
        tide_laneseq_trim(&seq, map.head->committed);
    before = map.head->committed;
    for (uint32_t i = 0; i < CLIENTS; i++) {
        lane_join(&lane[i], &seq, &map, i);
        send(i, 0, 77);
        settle();
    }
    ck_assert_uint_eq(map.head->committed, before + CLIENTS);
    ck_assert_str_eq(look(), "");
}

/* What is left without the batch at this place: at level 4 its client's later ones go with it if
 * there are some before it. */
static inline const char *without(uint64_t lost, uint64_t *fenced)
{
    static char text[256];
    text[0] = '\0';
    *fenced = 0;
    for (uint64_t i = TRIMMED; i < BATCHES; i++) {
        bool follows = map.level == 4 && i > lost && i % 2 == lost % 2 && lost - 2 >= TRIMMED;
        *fenced += follows;
        if (i != lost && !follows)
            sprintf(text + strlen(text), "%s%" PRIu64, text[0] == '\0' ? "" : " ", i);
    }
    return text;
}

#endif
