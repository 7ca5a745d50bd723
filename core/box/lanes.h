/*
 * lanes.h - a log in memory that is not coherent, byte by byte, and the view of it.
 *
 * owns:      the format: offsets, sizes, who writes which line; the view
 * threads:   the table below names the one writer of each line
 * invariant: each line of 64 bytes has one writer, and nothing is read and changed in one
 *            step. Offsets count from the log's base. All numbers are little-endian; counters
 *            are absolute, 64 bits wide, and never come back: a position is counter % size
 * uses:      layout, logmap, crc
 * used by:   lane, laneseq, lanesub, lanecrew, logapi
 * not here:  who does the writing (lane, laneseq, lanesub, lanecrew)
 * test:      tests/test_lanes.c
 *
 * The hosts that share such memory see what others wrote only if these wrote it back, and only
 * in lines that they fetch again. So there is a lane, slots and payload of its own, for each
 * client in each broker. One sequencer looks at all lanes and gives the places; it alone writes
 * the order index. Sessions and readers are asked for by a line of theirs, and answered in
 * another one. Which process may write as which client and reader: each process is a node, to
 * which an equal share of both belongs.
 *
 *   head        4096 B                       tide_lanes_head
 *   sessions    256 B for each client        tide_lanes_session
 *   readers     256 B each                   tide_lanes_reader
 *   nodes       384 B each                   tide_lanes_node
 *   lanes       128 B each                   tide_lanes_lane: number client x brokers + broker
 *   index       64 B per entry               tide_lanes_entry
 *   slots       lanes x slots x 64 B         tide_lanes_slot
 *   payload     lanes x payload bytes        frames of messages
 *
 *   line                     written by               read by
 *   head lines 0 to 2        creator, once            all, when they open
 *   head.epoch               sequencer                its successor
 *   head.committed           sequencer                clients, readers
 *   head.trimmed             sequencer                readers, its successor
 *   head.lead                sequencer, and whoever   both
 *                            wants to be it
 *   node.door                whoever wants the node   sequencer
 *   node.holder, beat        the node                 sequencer
 *   node.granted ...         sequencer                nodes, its successor
 *   session.request          the client               sequencer
 *   session.granted ...      sequencer                the client, its successor
 *   reader.request, cursor   the reader               sequencer
 *   reader.granted ...       sequencer                the reader, its successor
 *   lane                     sequencer                the client, its successor
 *   entry                    sequencer                readers, its successor
 *   slot, payload            the client               sequencer (slot), readers (payload)
 *
 * The lines of `lead` and `door` have several writers: who wrote last is the one that counts, and
 * whoever wrote finds out whether that is it (lanecrew). `the client' and `the reader' are those
 * of the process that has the node.
 *
 * Valid if and only if:
 *   slot i    slot[i % slots].publish == i, and its epoch is that of the session
 *   place p   entry[p % entries].seq == p + 1, and all places from `trimmed` to p are valid
 * Everything else in a slot or an entry is on the same line and was written before that word,
 * so that whoever sees the word sees it all. The payload is there before the slot says so.
 *
 * Order of what is written back, with a fence (the seam's drain) between: payload, then slots;
 * entries, then committed, sessions and lanes; trimmed, then what is free of the lanes.
 */
#ifndef TIDE_BOX_LANES_H
#define TIDE_BOX_LANES_H

#include "box/logmap.h"

#define TIDE_LANES_MAGIC UINT64_C(0x3173656e614c6974) /* "tiLanes1" */

enum {
    TIDE_LANES_VERSION = 2,
    TIDE_LANES_NODES = 32,
    TIDE_LANES_GROUP = 8,          /* batches that are made visible together, at most */
    TIDE_LANES_GROUP_BYTES = 65536 /* or bytes */
};

struct tide_lanes_head {
    /* line 0 */
    _Atomic uint64_t magic;
    uint32_t version;
    uint32_t head_size;
    uint64_t features; /* TIDE_LAYOUT_CHECKSUM */
    uint64_t size;     /* bytes of the log, all parts */
    uint8_t id[16];    /* drawn at creation */
    uint64_t first;    /* where all counters began */
    uint32_t check;    /* CRC32C of the lines 0 to 3 with this and magic as 0 */
    uint32_t pad0;
    /* line 1: geometry */
    uint32_t level, brokers, clients, readers;
    uint64_t slots;   /* of a lane */
    uint64_t payload; /* bytes of a lane */
    uint64_t entries; /* lanes x slots */
    uint64_t retain;  /* enum tide_layout_retain */
    uint32_t nodes, pad1;
    uint64_t lease; /* ns: a node that is not heard of for so long is gone */
    /* line 2: where the parts are */
    uint64_t sessions_at, readers_at, nodes_at, lanes_at, index_at, slots_at, payload_at;
    uint64_t pad2[9];
    /* the sequencer's */
    _Atomic uint64_t epoch; /* of the control, raised by each sequencer that begins */
    uint64_t pad3[15];
    _Atomic uint64_t committed; /* all places below are valid, and stay so */
    uint64_t pad4[15];
    _Atomic uint64_t trimmed_place, trimmed_base; /* what is below may be overwritten */
    uint64_t pad5[14];
    /* Who the sequencer is (0: nobody), a count that it raises, and how it became so. */
    _Atomic uint64_t lead, lead_beat, lead_way;
    uint64_t pad6[13];
    uint8_t rest[4096 - 768];
};
_Static_assert(offsetof(struct tide_lanes_head, version) == 8, "version");
_Static_assert(offsetof(struct tide_lanes_head, features) == 16, "features");
_Static_assert(offsetof(struct tide_lanes_head, size) == 24, "size");
_Static_assert(offsetof(struct tide_lanes_head, id) == 32, "id");
_Static_assert(offsetof(struct tide_lanes_head, first) == 48, "first");
_Static_assert(offsetof(struct tide_lanes_head, check) == 56, "check");
_Static_assert(offsetof(struct tide_lanes_head, level) == 64, "level");
_Static_assert(offsetof(struct tide_lanes_head, slots) == 80, "slots");
_Static_assert(offsetof(struct tide_lanes_head, retain) == 104, "retain");
_Static_assert(offsetof(struct tide_lanes_head, nodes) == 112, "nodes");
_Static_assert(offsetof(struct tide_lanes_head, sessions_at) == 128, "sessions_at");
_Static_assert(offsetof(struct tide_lanes_head, payload_at) == 176, "payload_at");
_Static_assert(offsetof(struct tide_lanes_head, epoch) == 256, "epoch");
_Static_assert(offsetof(struct tide_lanes_head, committed) == 384, "committed");
_Static_assert(offsetof(struct tide_lanes_head, trimmed_place) == 512, "trimmed_place");
_Static_assert(offsetof(struct tide_lanes_head, lead) == 640, "lead");
_Static_assert(sizeof(struct tide_lanes_head) == 4096, "size");

struct tide_lanes_session {
    _Atomic uint64_t request; /* line 0, the client's: raised to ask for a new epoch */
    uint64_t pad0[15];
    /* line 2, the sequencer's: batches below `expected` have places (level 4) */
    _Atomic uint64_t epoch, state; /* 0 never open; enum tide_layout_state */
    _Atomic uint64_t expected, late;
    _Atomic uint64_t granted; /* the request that this answers */
    uint64_t pad1[11];
};
_Static_assert(offsetof(struct tide_lanes_session, epoch) == 128, "epoch");
_Static_assert(offsetof(struct tide_lanes_session, granted) == 160, "granted");
_Static_assert(sizeof(struct tide_lanes_session) == 256, "size");

/* What a reader asks for. */
enum tide_lanes_start {
    TIDE_LANES_GONE, /* to be forgotten */
    TIDE_LANES_EARLIEST,
    TIDE_LANES_LATEST,
    TIDE_LANES_POSITION,
    TIDE_LANES_STARTS
};

struct tide_lanes_reader {
    /* line 0, the reader's: places below `cursor` are done with, if joined == granted */
    _Atomic uint64_t cursor, joined;
    _Atomic uint64_t start, position; /* enum tide_lanes_start */
    _Atomic uint64_t request;         /* raised to ask */
    uint64_t pad0[11];
    /* line 2, the sequencer's */
    _Atomic uint64_t from, error; /* its first place; 0, ERANGE or ENXIO */
    _Atomic uint64_t granted;     /* the request that this answers */
    uint64_t pad1[13];
};
_Static_assert(offsetof(struct tide_lanes_reader, request) == 32, "request");
_Static_assert(offsetof(struct tide_lanes_reader, from) == 128, "from");
_Static_assert(offsetof(struct tide_lanes_reader, granted) == 144, "granted");
_Static_assert(sizeof(struct tide_lanes_reader) == 256, "size");

enum tide_lanes_standing {
    TIDE_LANES_FREE,   /* whoever knocks may get it */
    TIDE_LANES_HELD,   /* `granted` has it */
    TIDE_LANES_FENCED, /* nobody has it, and nobody gets it before a lease is over */
    TIDE_LANES_STANDINGS
};

struct tide_lanes_node {
    /* line 0, of whoever wants the node: a number of its own, and one of it and of the turn
     * that it saw */
    _Atomic uint64_t door, seal;
    uint64_t pad0[14];
    /* line 2, of the process that has it: the same number, and a count, or GONE_BEAT */
    _Atomic uint64_t holder, beat;
    uint64_t pad1[14];
    /* line 4, the sequencer's; the turn is raised with each grant */
    _Atomic uint64_t granted, turn, standing; /* enum tide_lanes_standing */
    uint64_t pad2[13];
};
#define TIDE_LANES_GONE_BEAT UINT64_MAX
_Static_assert(offsetof(struct tide_lanes_node, holder) == 128, "holder");
_Static_assert(offsetof(struct tide_lanes_node, granted) == 256, "granted");
_Static_assert(sizeof(struct tide_lanes_node) == 384, "size");

struct tide_lanes_lane {
    _Atomic uint64_t done, done_granule;      /* slots below are committed, or never will be */
    _Atomic uint64_t released, granule;       /* slots, and granules, below are free again */
    _Atomic uint64_t from_slot, from_granule; /* where the session's epoch begins */
    uint64_t pad0[10];
};
_Static_assert(offsetof(struct tide_lanes_lane, released) == 16, "released");
_Static_assert(offsetof(struct tide_lanes_lane, from_granule) == 40, "from_granule");
_Static_assert(sizeof(struct tide_lanes_lane) == 128, "size");

struct tide_lanes_slot {
    uint64_t number; /* of the batch, counted by its client */
    uint64_t end;    /* granule behind the payload, absolute */
    uint32_t size;   /* bytes of frames */
    uint32_t count;  /* messages */
    uint32_t epoch;
    uint32_t flags; /* 0 or TIDE_LAYOUT_PAD */
    uint32_t checksum;
    uint32_t pad0;
    uint64_t pad1[2];
    _Atomic uint64_t publish;
};
_Static_assert(offsetof(struct tide_lanes_slot, end) == 8, "end");
_Static_assert(offsetof(struct tide_lanes_slot, epoch) == 24, "epoch");
_Static_assert(offsetof(struct tide_lanes_slot, checksum) == 32, "checksum");
_Static_assert(offsetof(struct tide_lanes_slot, publish) == 56, "publish");
_Static_assert(sizeof(struct tide_lanes_slot) == TIDE_LINE, "size");

struct tide_lanes_entry {
    uint64_t slot, end; /* index; granule behind the payload */
    uint64_t base;      /* number of its first message */
    uint64_t number;
    uint32_t size, count;
    uint32_t client, epoch;
    uint32_t checksum;
    uint8_t broker, pad0;
    uint16_t control; /* low bits of the control epoch */
    _Atomic uint64_t seq;
};
_Static_assert(offsetof(struct tide_lanes_entry, base) == 16, "base");
_Static_assert(offsetof(struct tide_lanes_entry, client) == 40, "client");
_Static_assert(offsetof(struct tide_lanes_entry, broker) == 52, "broker");
_Static_assert(offsetof(struct tide_lanes_entry, seq) == 56, "seq");
_Static_assert(sizeof(struct tide_lanes_entry) == TIDE_LINE, "size");

/* ---- the view ---------------------------------------------------------------------------- */

struct tide_lanes {
    unsigned char *base;
    uint64_t size;
    struct tide_lanes_head *head;
    struct tide_lanes_session *session;
    struct tide_lanes_reader *reader;
    struct tide_lanes_node *node;
    struct tide_lanes_lane *lane;
    struct tide_lanes_entry *index;
    struct tide_lanes_slot *slot;
    unsigned char *payload;
    struct tide_logmap_ring slots, granules, entries; /* the first two: of each lane */
    uint64_t first;
    enum tide_layout_retain retain;
    uint32_t level, brokers, clients, readers, nodes, lanes;
    uint64_t lease;
    enum tide_coh coh;
    bool checksum;
};

/* Plans the head of a new log. Of the wish: level (4 or 5), brokers, producers (clients; 8),
 * readers, slots and payload (of each lane; 1024 and 1 MiB), features (TIDE_LAYOUT_CHECKSUM),
 * retain, first, nodes (1) and lease (10 s). False, and *fault, when it cannot be. */
bool tide_lanes_plan(struct tide_lanes_head *head, const struct tide_layout_wish *wish,
                     struct tide_layout_fault *fault);

/* Writes a new log into base[0..head->size), `zeroed` if these bytes are 0 already. */
void tide_lanes_format(enum tide_coh coh, void *base, const struct tide_lanes_head *plan,
                       const uint8_t id[16], bool zeroed);

/* The view of the log at `base`, in `size` bytes; false, and *fault, when there is none. */
bool tide_lanes_open(struct tide_lanes *map, enum tide_coh coh, void *base, uint64_t size,
                     struct tide_layout_fault *fault);

TIDE_INLINE uint32_t tide_lanes_number(const struct tide_lanes *map, uint32_t client,
                                       uint32_t broker)
{
    return client * map->brokers + broker;
}

TIDE_INLINE struct tide_lanes_slot *tide_lanes_slot(const struct tide_lanes *map, uint32_t lane,
                                                    uint64_t index)
{
    return &map->slot[lane * map->slots.size + tide_logmap_at(&map->slots, index)];
}

TIDE_INLINE struct tide_lanes_entry *tide_lanes_entry(const struct tide_lanes *map, uint64_t place)
{
    return &map->index[tide_logmap_at(&map->entries, place)];
}

/* Granules of so many bytes. */
TIDE_INLINE uint64_t tide_lanes_granules(uint64_t bytes)
{
    return (bytes + TIDE_LAYOUT_GRANULE - 1) / TIDE_LAYOUT_GRANULE;
}

/* Payload of `size` bytes that ends before this granule; NULL: no lane has it so, in a row. */
TIDE_INLINE unsigned char *tide_lanes_payload(const struct tide_lanes *map, uint32_t lane,
                                              uint64_t end, uint32_t size)
{
    uint64_t granules = tide_lanes_granules(size);
    uint64_t at = tide_logmap_at(&map->granules, end - granules);
    if (granules > map->granules.size || at + granules > map->granules.size)
        return NULL;
    return map->payload + (lane * map->granules.size + at) * TIDE_LAYOUT_GRANULE;
}

/* The largest batch in bytes: a quarter of a lane's payload, below 1 GiB. */
TIDE_INLINE uint32_t tide_lanes_most(const struct tide_lanes *map)
{
    return (uint32_t)(tide_min(map->granules.size / 4, (1 << 30) / TIDE_LAYOUT_GRANULE - 1) *
                      TIDE_LAYOUT_GRANULE);
}

/* How many counters from `at` on lie in a row in the ring, `most` at most. */
TIDE_INLINE uint64_t tide_lanes_row(const struct tide_logmap_ring *ring, uint64_t at, uint64_t most)
{
    return tide_min(most, ring->size - tide_logmap_at(ring, at));
}

#endif
