/*
 * layout.h - the log in memory, byte by byte.
 *
 * owns:      the format: offsets, sizes, which word makes what valid
 * threads:   the tables below name the writer and the readers of each line
 * invariant: offsets count from the log's base; there is no pointer in this memory. All
 *            numbers are little-endian. Counters are absolute, 64 bits wide, and never
 *            come back: a position is counter % size
 * uses:      coh, lock
 * used by:   room log, the command
 * not here:  who does the writing (ring, order, session, retire, trim, seq, sub)
 * test:      tests/test_layout.c
 *
 * The parts, in this order, each at the offset that the head names:
 *
 *   head        4096 B                       tide_layout_head
 *   brokers     768 B each                   tide_layout_broker
 *   producers   128 B each                   tide_layout_producer: open handles that append
 *   readers     256 B each                   tide_layout_reader
 *   sessions    256 B each                   tide_layout_session (level 4)
 *   holds       sessions x window x 16 B     tide_layout_hold (level 4)
 *   links       brokers x slots x 8 B        hand-over lists (level 4)
 *   retired     brokers x bits               one bit per slot (levels 4, 5)
 *   retires     slots x 16 B                 tide_layout_retire: blocks on their way home
 *   index       64 B per entry               tide_layout_entry (levels 4, 5)
 *   slots       brokers x slots x 128 B      tide_layout_slot
 *   payload     brokers x payload bytes      frames of messages
 *
 * Lines, their writers (tools/verify_cache_alignment.sh checks them) and their readers. A line
 * with several writers is changed by one atomic operation at a time (RMW) and exists in coherent
 * memory only.
 *
 *   line                    written by                           read by
 *   head.magic, geometry    creator, once, magic last            all, when they open
 *   head.taken              who gives places (RMW)               the same
 *   head.committed          whoever finds more of it (RMW)       clients that want acks, trim
 *   head.trimmed            who holds head.trimmer               producers, readers
 *   head.trimmer            RMW                                  the same
 *   head.epoch              who takes the control over           all
 *   head.bells              sleepers (RMW)                       wakers
 *   head.mutex              sessions in their mutex form (RMW)   the same
 *   head.contention         who finds it, or a door, taken (RMW) stat
 *   head.referred           who appends a block first            trim
 *   head.lender             who lends blocks (RMW), repair       all that would
 *   head.retired            who holds head.trimmer               the blocks' process
 *   head.reclaimed          the blocks' process                  who holds head.trimmer
 *   head.member             its process (RMW), repair            repair
 *   broker.claim            producers (RMW)                      the same, stat
 *   broker.released         who holds head.trimmer               producers, repair
 *   broker.scanned          who holds broker.scanner             stat
 *   broker.scanner          RMW                                  the same
 *   producer                its handle                           repair, stat, who wants its door
 *   reader.cursor           its handle                           trim, stat
 *   reader.fate             who detaches it                      its handle
 *   session.own             who holds session.door               clients, repair
 *   session.lasting         who syncs                            repair
 *   session.door            RMW                                  the same
 *   session.trimmed         who holds head.trimmer               who syncs
 *   hold                    who holds session.door               the same
 *   link                    who hands the slot over, once        who holds session.door
 *   retired                 RMW                                  who holds head.trimmer
 *   retire                  who holds head.trimmer               the blocks' process
 *   entry                   who was given the place              readers, trim, acks
 *   slot                    who claimed it                       seq, session, readers (level 0)
 *   payload                 who claimed it                       readers
 *
 * Valid if and only if:
 *   the log     head.magic == TIDE_LAYOUT_MAGIC, and version, sizes and check fit
 *   slot i      slot[i % slots].publish == i. Index 0 is never given out: zeroes are no slot
 *   place p     entry[p % entries].seq == p + 1. Zeroes are no entry
 *   position    trimmed.place <= p < the first place that is not valid
 * Everything else in a slot or an entry is written before that word, and not changed until
 * the slot is released. The order index alone says what the total order is.
 *
 * A log in a shared region is open in up to 32 processes. Each call that changes or judges the
 * log says so in the `busy` of its handle, or of its process, and looks at the generation in the
 * region's area (logroom): a repair makes it odd, waits until no living process is busy, and
 * then is the only one at work; see crew.h. That stands in for an epoch in the words that
 * acknowledge (head.committed, the room's durable): who waits for them notes the generation, and
 * looks anew where its batch is when there was a repair; an expelled process gets -ESTALE for
 * its calls, whatever the words say (test_logattach: an_expelled_process_comes_too_late).
 *
 * A batch by reference (TIDE_LAYOUT_REF) has its frames in a block of a heap on the region
 * that the log is in. The block is the log's from the publish word until the slot is released;
 * then its offset stands in the retire ring, at positions reclaimed <= i < retired, until the
 * process whose heap it is has given it back there. A slot is not released while the ring has
 * no room for its block. So the blocks that the log has are those of slots that are published
 * and not released, and those in the ring.
 */
#ifndef TIDE_BOX_LAYOUT_H
#define TIDE_BOX_LAYOUT_H

#include "box/coh.h"
#include "box/lock.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the log's memory is little-endian"
#endif

#define TIDE_LAYOUT_MAGIC UINT64_C(0x31676f4c65646974) /* "tideLog1" */

enum {
    TIDE_LAYOUT_VERSION = 2,
    TIDE_LAYOUT_GRANULE = 64, /* payload is claimed in these */
    TIDE_LAYOUT_BROKERS = 32,
    TIDE_LAYOUT_MEMBERS = 32, /* processes at a time */
    TIDE_LAYOUT_FRAME = 16    /* bytes in front of each message */
};

/* Feature bits: an opener refuses the log if it does not know one of them. */
enum tide_layout_feature {
    TIDE_LAYOUT_STEPPED = 1,  /* a sequencer gives the places, not the committing thread */
    TIDE_LAYOUT_MUTEX = 2,    /* sessions in their mutex form */
    TIDE_LAYOUT_CHECKSUM = 4, /* slots and entries carry a CRC32C of the payload */
    TIDE_LAYOUT_FEATURES = 7  /* all that are known */
};

/* What becomes free when a producer needs space. Gating readers hold it back in any case. */
enum tide_layout_retain {
    TIDE_LAYOUT_READ,  /* what the gating readers passed; nothing while there is none */
    TIDE_LAYOUT_OLD,   /* what the gating readers passed; the oldest while there is none */
    TIDE_LAYOUT_ASKED, /* nothing: only what is trimmed explicitly */
    TIDE_LAYOUT_RETAINS
};

/* What becomes of a reader that stands in the way of a producer. */
enum tide_layout_policy {
    TIDE_LAYOUT_GATE,   /* the producer waits */
    TIDE_LAYOUT_SKIP,   /* it is overtaken, told so, and goes on */
    TIDE_LAYOUT_DETACH, /* it is overtaken, told so, and that was it */
    TIDE_LAYOUT_POLICIES
};

/* ---- head ------------------------------------------------------------------------ */

/* Where sleepers wait: they count themselves in, wakers bump the word. */
struct tide_layout_bell {
    _Atomic uint32_t word;
    _Atomic uint32_t sleepers;
    _Atomic uint32_t shared; /* 1: sleepers may be in any process */
    uint8_t pad[116];
};
_Static_assert(sizeof(struct tide_layout_bell) == 128, "size");

enum { TIDE_LAYOUT_BELLS = 3 };

enum tide_layout_standing { TIDE_LAYOUT_MEMBER, TIDE_LAYOUT_EXPELLED };

/* A process that has the log open: who that is stands in the region's area, at the same index. */
struct tide_layout_member {
    _Atomic uint64_t busy;                      /* calls that are at work on the log as a whole */
    _Atomic uint64_t standing;                  /* enum tide_layout_standing */
    _Atomic uint64_t fences;                    /* 1: it orders `busy` itself */
    _Atomic uint32_t asleep[TIDE_LAYOUT_BELLS]; /* of each bell's sleepers */
    uint8_t pad[28];
};
_Static_assert(sizeof(struct tide_layout_member) == 64, "a member is one line");

struct tide_layout_head {
    /* line 0 */
    _Atomic uint64_t magic;
    uint32_t version;
    uint32_t head_size;
    uint64_t features; /* enum tide_layout_feature */
    uint64_t size;     /* bytes of the log, all parts */
    uint8_t id[16];    /* drawn at creation */
    uint64_t first;    /* where all counters began */
    uint32_t check;    /* CRC32C of the lines 0 to 3 with this and magic as 0 */
    uint32_t pad0;
    /* line 1: geometry */
    uint32_t level, brokers;
    uint32_t producers, readers;
    uint32_t sessions, window;
    uint64_t slots;   /* per broker */
    uint64_t payload; /* bytes per broker */
    uint64_t entries; /* of the order index: brokers x slots, or 0 */
    uint64_t retain;  /* enum tide_layout_retain */
    uint64_t lease;   /* of sessions, in ns; 0: none */
    /* lines 2 and 3: where the parts are */
    uint64_t brokers_at, producers_at, readers_at, sessions_at;
    uint64_t holds_at, links_at, retired_at, index_at;
    uint64_t slots_at, payload_at, retires_at, pad3[5];
    /* The next place and the next message number, in one word: (place << 32) + base, modulo
     * 2^64. Both are made whole again with `trimmed`, which is less than 2^32 behind. */
    _Atomic uint64_t taken;
    uint64_t pad4[15];
    _Atomic uint64_t committed; /* all places below are valid */
    uint64_t pad5[15];
    _Atomic uint64_t trimmed_place, trimmed_base; /* what is below may be overwritten */
    uint64_t pad6[14];
    _Atomic uint64_t trimmer; /* 0, or 1 while somebody trims */
    uint64_t pad7[15];
    _Atomic uint64_t epoch; /* of the control, starts at 1 */
    uint64_t pad8[15];
    struct tide_layout_bell data, space, work; /* for readers, for producers, for sequencers */
    struct tide_lock mutex;
    uint8_t pad9[124];
    _Atomic uint64_t contention; /* times that somebody found a door or the mutex taken */
    uint64_t pad10[15];
    _Atomic uint64_t referred; /* 1: there was a batch by reference */
    _Atomic uint64_t lender;   /* 0, or the member whose blocks go in and out, plus 1 */
    uint64_t pad11[14];
    _Atomic uint64_t retired; /* blocks ever put into the retire ring */
    uint64_t pad12[15];
    _Atomic uint64_t reclaimed; /* of these: taken out again */
    uint64_t pad13[15];
    struct tide_layout_member member[TIDE_LAYOUT_MEMBERS];
    _Atomic uint64_t given_up; /* batches, at least: a repair found them damaged */
    uint8_t rest[4096 - 3976];
};
_Static_assert(offsetof(struct tide_layout_head, magic) == 0, "magic");
_Static_assert(offsetof(struct tide_layout_head, version) == 8, "version");
_Static_assert(offsetof(struct tide_layout_head, head_size) == 12, "head_size");
_Static_assert(offsetof(struct tide_layout_head, features) == 16, "features");
_Static_assert(offsetof(struct tide_layout_head, size) == 24, "size");
_Static_assert(offsetof(struct tide_layout_head, id) == 32, "id");
_Static_assert(offsetof(struct tide_layout_head, first) == 48, "first");
_Static_assert(offsetof(struct tide_layout_head, check) == 56, "check");
_Static_assert(offsetof(struct tide_layout_head, level) == 64, "level");
_Static_assert(offsetof(struct tide_layout_head, brokers) == 68, "brokers");
_Static_assert(offsetof(struct tide_layout_head, producers) == 72, "producers");
_Static_assert(offsetof(struct tide_layout_head, readers) == 76, "readers");
_Static_assert(offsetof(struct tide_layout_head, sessions) == 80, "sessions");
_Static_assert(offsetof(struct tide_layout_head, window) == 84, "window");
_Static_assert(offsetof(struct tide_layout_head, slots) == 88, "slots");
_Static_assert(offsetof(struct tide_layout_head, payload) == 96, "payload");
_Static_assert(offsetof(struct tide_layout_head, entries) == 104, "entries");
_Static_assert(offsetof(struct tide_layout_head, retain) == 112, "retain");
_Static_assert(offsetof(struct tide_layout_head, lease) == 120, "lease");
_Static_assert(offsetof(struct tide_layout_head, brokers_at) == 128, "brokers_at");
_Static_assert(offsetof(struct tide_layout_head, holds_at) == 160, "holds_at");
_Static_assert(offsetof(struct tide_layout_head, slots_at) == 192, "slots_at");
_Static_assert(offsetof(struct tide_layout_head, retires_at) == 208, "retires_at");
_Static_assert(offsetof(struct tide_layout_head, taken) == 256, "taken");
_Static_assert(offsetof(struct tide_layout_head, committed) == 384, "committed");
_Static_assert(offsetof(struct tide_layout_head, trimmed_place) == 512, "trimmed_place");
_Static_assert(offsetof(struct tide_layout_head, trimmed_base) == 520, "trimmed_base");
_Static_assert(offsetof(struct tide_layout_head, trimmer) == 640, "trimmer");
_Static_assert(offsetof(struct tide_layout_head, epoch) == 768, "epoch");
_Static_assert(offsetof(struct tide_layout_head, data) == 896, "data");
_Static_assert(offsetof(struct tide_layout_head, space) == 1024, "space");
_Static_assert(offsetof(struct tide_layout_head, work) == 1152, "work");
_Static_assert(offsetof(struct tide_layout_head, mutex) == 1280, "mutex");
_Static_assert(offsetof(struct tide_layout_head, contention) == 1408, "contention");
_Static_assert(offsetof(struct tide_layout_head, referred) == 1536, "referred");
_Static_assert(offsetof(struct tide_layout_head, retired) == 1664, "retired");
_Static_assert(offsetof(struct tide_layout_head, reclaimed) == 1792, "reclaimed");
_Static_assert(offsetof(struct tide_layout_head, lender) == 1544, "lender");
_Static_assert(offsetof(struct tide_layout_head, member) == 1920, "member");
_Static_assert(offsetof(struct tide_layout_head, given_up) == 3968, "given_up");
_Static_assert(offsetof(struct tide_layout_head, rest) == 3976, "rest");
_Static_assert(sizeof(struct tide_layout_head) == 4096, "size");

enum { TIDE_LAYOUT_GEOMETRY = 256 }; /* bytes of the head that `check` is about */

/* ---- tables ---------------------------------------------------------------------- */

struct tide_layout_broker {
    /* What producers write: the next slot index and the next granule, the low halves of both
     * in one word, the index on top; whole again with `released`. */
    _Atomic uint64_t claim;
    uint64_t pad0[31];
    /* What those who trim write: slots and granules below are free. The granule first, and
     * before both of them `releasing`: slots below that are free, too, unless they have a place
     * that is not trimmed; repair finishes what was begun. `retiring`: 0, or what the head's
     * `retired` is about to be, plus 1; the blocks up to there are in the retire ring. */
    _Atomic uint64_t released_slot, released_granule, releasing, retiring;
    uint64_t pad1[28];
    /* What the sequencer writes: slots below were looked at. */
    _Atomic uint64_t scanned;
    uint64_t pad2[15];
    _Atomic uint64_t scanner; /* 0, or 1 while somebody scans */
    uint64_t pad3[15];
};
_Static_assert(offsetof(struct tide_layout_broker, claim) == 0, "claim");
_Static_assert(offsetof(struct tide_layout_broker, released_slot) == 256, "released_slot");
_Static_assert(offsetof(struct tide_layout_broker, released_granule) == 264, "released_granule");
_Static_assert(offsetof(struct tide_layout_broker, releasing) == 272, "releasing");
_Static_assert(offsetof(struct tide_layout_broker, retiring) == 280, "retiring");
_Static_assert(offsetof(struct tide_layout_broker, scanned) == 512, "scanned");
_Static_assert(offsetof(struct tide_layout_broker, scanner) == 640, "scanner");
_Static_assert(sizeof(struct tide_layout_broker) == 768, "size");

struct tide_layout_producer {
    _Atomic uint64_t owner;  /* 0 free, else whose it is, see tide_layout_whose() */
    _Atomic uint64_t claim;  /* (broker << 32) + low half of the slot index it is about to claim */
    uint32_t client, epoch;  /* the session it appends to */
    uint64_t started;        /* of the process, to tell it from a later one with its id */
    uint64_t appends, waits; /* batches; times it found its ring full */
    _Atomic uint64_t lost;   /* compare-and-swaps for room that another producer won */
    _Atomic uint64_t copied; /* bytes of frames that appends wrote from elsewhere */
    _Atomic uint64_t lent;   /* bytes of frames in blocks, by reference */
    /* Of a log that several processes may have open: */
    _Atomic uint64_t busy;    /* 1: a call of the handle is at work */
    _Atomic uint64_t out;     /* the claim that is out, see tide_layout_mark(); 0: none */
    _Atomic uint64_t out_end; /* granule behind it */
    _Atomic uint64_t inside;  /* 1: it may be behind the door that stays with it */
    uint64_t pad[3];
};
_Static_assert(offsetof(struct tide_layout_producer, claim) == 8, "claim");
_Static_assert(offsetof(struct tide_layout_producer, client) == 16, "client");
_Static_assert(offsetof(struct tide_layout_producer, started) == 24, "started");
_Static_assert(offsetof(struct tide_layout_producer, copied) == 56, "copied");
_Static_assert(offsetof(struct tide_layout_producer, lent) == 64, "lent");
_Static_assert(offsetof(struct tide_layout_producer, busy) == 72, "busy");
_Static_assert(offsetof(struct tide_layout_producer, out) == 80, "out");
_Static_assert(offsetof(struct tide_layout_producer, inside) == 96, "inside");
_Static_assert(sizeof(struct tide_layout_producer) == 128, "size");

/* The claims of handles that are out are told apart from none. */
#define TIDE_LAYOUT_OUT (UINT64_C(1) << 63)

struct tide_layout_reader {
    /* line 0: its handle */
    _Atomic uint64_t cursor; /* places below are done with; a slot index at level 0 */
    _Atomic uint64_t owner;  /* 0 free, else whose it is, see tide_layout_whose() */
    _Atomic uint64_t policy; /* enum tide_layout_policy */
    uint64_t broker;         /* level 0 */
    uint64_t started;
    _Atomic uint64_t busy; /* 1: a call of the handle is at work */
    uint64_t pad0[10];
    /* line 2: who detaches it */
    _Atomic uint64_t fate; /* 0, or 1 detached */
    uint64_t pad1[15];
};
_Static_assert(offsetof(struct tide_layout_reader, owner) == 8, "owner");
_Static_assert(offsetof(struct tide_layout_reader, policy) == 16, "policy");
_Static_assert(offsetof(struct tide_layout_reader, busy) == 40, "busy");
_Static_assert(offsetof(struct tide_layout_reader, fate) == 128, "fate");
_Static_assert(sizeof(struct tide_layout_reader) == 256, "size");

enum tide_layout_state { TIDE_LAYOUT_ACTIVE, TIDE_LAYOUT_FENCED };

struct tide_layout_session {
    /* line 0: who holds the door. Batches below `expected` were given their places. */
    _Atomic uint64_t expected;
    _Atomic uint64_t epoch;         /* of the session: raised by each opening, 0 never open */
    _Atomic uint64_t state;         /* enum tide_layout_state */
    _Atomic uint64_t held;          /* batches that wait for their predecessors */
    _Atomic uint64_t late, refused; /* dropped: number below `expected`; epoch or window wrong */
    /* The batch that is being given its place: its number plus 1, and before that its slot, see
     * tide_layout_mark(). Behind `expected` the place is known to have been given. */
    _Atomic uint64_t placing, placing_at;
    /* line 1: who syncs. Of what is expected next where so many places are durable, the pair with
     * the most places that are is in force; the other one is the next to be written. */
    struct tide_layout_lasting {
        _Atomic uint64_t places, expected;
    } lasting[2];
    uint64_t pad0[4];
    /* The door: 0 open, 1 held, else held and the slot on top of the list handed over; or it
     * stays with a handle, or is called for, see door.h. */
    _Atomic uint64_t door;
    _Atomic uint64_t called; /* 1: it was called for once */
    uint64_t pad1[6];
    /* line 3: who holds head.trimmer. The number behind the last batch that was trimmed. */
    _Atomic uint64_t trimmed;
    uint64_t pad2[7];
};
_Static_assert(offsetof(struct tide_layout_session, epoch) == 8, "epoch");
_Static_assert(offsetof(struct tide_layout_session, placing) == 48, "placing");
_Static_assert(offsetof(struct tide_layout_session, placing_at) == 56, "placing_at");
_Static_assert(offsetof(struct tide_layout_session, lasting) == 64, "lasting");
_Static_assert(offsetof(struct tide_layout_session, door) == 128, "door");
_Static_assert(offsetof(struct tide_layout_session, called) == 136, "called");
_Static_assert(offsetof(struct tide_layout_session, trimmed) == 192, "trimmed");
_Static_assert(sizeof(struct tide_layout_session) == 256, "size");

/* An early batch: at position number % window. */
struct tide_layout_hold {
    uint64_t number; /* plus 1; 0: none */
    uint64_t ref;    /* see tide_layout_ref() */
};
_Static_assert(sizeof(struct tide_layout_hold) == 16, "size");

/* ---- slots, the order index, messages ----------------------------------------------- */

enum tide_layout_flag {
    TIDE_LAYOUT_PAD = 1, /* an aborted claim: no batch */
    TIDE_LAYOUT_REF = 2, /* the payload is a block of the region; none of the ring is claimed */
    TIDE_LAYOUT_KEPT = 4 /* with PAD: an expelled process may still write its payload */
};

struct tide_layout_slot {
    /* line 0: identity */
    uint64_t index;
    uint64_t number; /* of the batch, counted by its client */
    uint32_t client, epoch;
    uint32_t count; /* messages */
    uint32_t flags; /* enum tide_layout_flag */
    /* REF: which heap of which process the block is of; those know. KEPT: the member plus 1. */
    uint64_t keeper;
    uint64_t pad0[3];
    /* line 1: place */
    uint64_t offset; /* of the payload, from the log's base; REF: modulo 2^64 */
    uint64_t end;    /* granule behind it, absolute */
    uint32_t size;   /* bytes of frames */
    uint32_t checksum;
    uint64_t pad1[4];
    _Atomic uint64_t publish;
};
_Static_assert(offsetof(struct tide_layout_slot, number) == 8, "number");
_Static_assert(offsetof(struct tide_layout_slot, client) == 16, "client");
_Static_assert(offsetof(struct tide_layout_slot, count) == 24, "count");
_Static_assert(offsetof(struct tide_layout_slot, keeper) == 32, "keeper");
_Static_assert(offsetof(struct tide_layout_slot, offset) == 64, "offset");
_Static_assert(offsetof(struct tide_layout_slot, end) == 72, "end");
_Static_assert(offsetof(struct tide_layout_slot, size) == 80, "size");
_Static_assert(offsetof(struct tide_layout_slot, publish) == 120, "publish");
_Static_assert(sizeof(struct tide_layout_slot) == 128, "size");

struct tide_layout_entry {
    uint64_t slot; /* index */
    uint64_t offset;
    uint64_t base; /* number of its first message */
    uint64_t number;
    uint32_t size, count;
    uint32_t client, epoch;
    uint32_t checksum;
    uint8_t broker, flags;
    uint16_t control; /* low bits of the control epoch */
    _Atomic uint64_t seq;
};
_Static_assert(offsetof(struct tide_layout_entry, offset) == 8, "offset");
_Static_assert(offsetof(struct tide_layout_entry, base) == 16, "base");
_Static_assert(offsetof(struct tide_layout_entry, number) == 24, "number");
_Static_assert(offsetof(struct tide_layout_entry, size) == 32, "size");
_Static_assert(offsetof(struct tide_layout_entry, client) == 40, "client");
_Static_assert(offsetof(struct tide_layout_entry, checksum) == 48, "checksum");
_Static_assert(offsetof(struct tide_layout_entry, broker) == 52, "broker");
_Static_assert(offsetof(struct tide_layout_entry, seq) == 56, "seq");
_Static_assert(sizeof(struct tide_layout_entry) == 64, "size");

/* A block on its way home: at position counter % slots. */
struct tide_layout_retire {
    uint64_t offset, keeper; /* as in its slot */
};
_Static_assert(sizeof(struct tide_layout_retire) == 16, "size");

enum tide_layout_frame_flag { TIDE_LAYOUT_LENT = 1 }; /* first of a block that is the log's */

/* In front of each message, at a multiple of 8; the next frame follows the message, again
 * at a multiple of 8. */
struct tide_layout_frame {
    uint32_t length; /* bytes of the message */
    uint32_t flags;  /* 0, or enum tide_layout_frame_flag */
    uint64_t tag;    /* the user's */
};
_Static_assert(sizeof(struct tide_layout_frame) == TIDE_LAYOUT_FRAME, "size");

/* ---- small arithmetic ------------------------------------------------------------- */

/* A slot named in one word that is never 0 or 1: broker and position in its ring. */
TIDE_INLINE uint64_t tide_layout_ref(uint32_t broker, uint64_t position)
{
    return ((uint64_t)broker + 1) << 32 | position;
}

/* A slot named by its broker and the low 48 bits of its index. */
TIDE_INLINE uint64_t tide_layout_mark(uint32_t broker, uint64_t index)
{
    return (uint64_t)broker << 48 | (index & ((UINT64_C(1) << 48) - 1));
}

/* Whose an entry is: a member of the log's processes, and its process id. */
TIDE_INLINE uint64_t tide_layout_whose(uint32_t member, uint32_t pid)
{
    return ((uint64_t)member + 1) << 32 | pid;
}

/* Is it one of these members'? A bit of `members` each. */
TIDE_INLINE bool tide_layout_is_of(uint64_t whose, uint32_t members)
{
    uint64_t member = (whose >> 32) - 1;
    return member < TIDE_LAYOUT_MEMBERS && (members >> member & 1) != 0;
}

/* How far the index of a mark is above `near`; below it: negative. */
TIDE_INLINE int64_t tide_layout_above(uint64_t mark, uint64_t near)
{
    return (int64_t)((mark - near) << 16) >> 16;
}

/* The counter that has these low 32 bits and is at most 2^32 - 1 above `near`. */
TIDE_INLINE uint64_t tide_layout_widen(uint32_t low, uint64_t near)
{
    return near + (uint32_t)(low - (uint32_t)near);
}

/* Copies words that others may be writing, each of them once: what is looked at and what is used
 * is then the same. */
TIDE_INLINE void tide_layout_words(void *to, const void *from, size_t bytes)
{
    const uint64_t *in = from;
#pragma GCC unroll 16
    for (size_t i = 0; i < bytes / sizeof(uint64_t); i++) {
        uint64_t word = TIDE_RELAXED_GET(&in[i]);
        memcpy((char *)to + i * sizeof word, &word, sizeof word);
    }
}

/* ---- plans -------------------------------------------------------------------------- */

/* What is asked of a new log; zero means the default. */
struct tide_layout_wish {
    uint32_t level, brokers, producers, readers, sessions, window;
    uint64_t slots, payload; /* per broker */
    uint64_t features, retain;
    uint64_t first; /* where counters begin, below 2^64 - 2^48 */
    uint64_t nodes; /* of lanes */
    uint64_t lease; /* of nodes, or sessions */
};

/* A complaint: which value, and what is allowed; low > high: `what` says it. */
struct tide_layout_fault {
    const char *what; /* NULL: none */
    uint64_t value, low, high;
};

/* Fills in the geometry and the offsets of a log: all lines that `check` is about, without
 * magic, id and check. False, and *fault, when it cannot be. */
bool tide_layout_plan(struct tide_layout_head *head, const struct tide_layout_wish *wish,
                      struct tide_layout_fault *fault);

/* The CRC that belongs into head->check. */
uint32_t tide_layout_check(const struct tide_layout_head *head);

/* The head of an existing log in `size` bytes: is it one that this library can use? */
bool tide_layout_valid(const struct tide_layout_head *head, uint64_t size,
                       struct tide_layout_fault *fault);

#endif
