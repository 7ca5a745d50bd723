/*
 * peek.h - a log's memory looked at from outside: copies that were checked, nothing written.
 *
 * owns:      nothing; the memory is its mapper's, and may be mapped for reading only
 * threads:   any, also while others append, trim and read
 * invariant: no access leaves the memory that was given, whatever stands in it; nothing is
 *            ever written to it
 * uses:      logmap, ring, order, trim, crc
 * used by:   audit, the command
 * not here:  what is wrong with a log (audit), where its memory comes from
 * test:      tests/test_peek.c
 *
 * A position is a place, at level 0 an index of the broker's slots. What is copied is valid if
 * it was before the copy and is kept after it: the frontier of trimming moves before anything
 * is written anew.
 */
#ifndef TIDE_BOX_PEEK_H
#define TIDE_BOX_PEEK_H

#include "box/trim.h"

struct tide_peek {
    struct tide_logmap map; /* the memory behind its pointers is only read */
};

enum tide_peek_found {
    TIDE_PEEK_THERE,   /* a whole copy */
    TIDE_PEEK_NONE,    /* not there, or not yet */
    TIDE_PEEK_GONE,    /* given up: it may have been overwritten */
    TIDE_PEEK_OUTSIDE, /* its payload is not where payload can be */
    TIDE_PEEK_SUM      /* its payload has another check sum */
};

/* The log at `base`, of which `size` bytes can be read. False, and *fault: there is none. */
bool tide_peek_open(struct tide_peek *self, const void *base, uint64_t size,
                    struct tide_layout_fault *fault);

/* Where the region is that the log is in: blocks that were appended by reference may be there.
 * Without this they count as outside. */
void tide_peek_region(struct tide_peek *self, const void *base, uint64_t size);

/* Words of the head; each is right, all together only while nobody is at work. */
struct tide_peek_head {
    uint64_t trimmed, trimmed_base;
    uint64_t committed;       /* as the word says; see tide_peek_end */
    uint64_t taken, messages; /* the next place, the next message number */
    uint64_t epoch, trimmer, contention;
    uint64_t retired, reclaimed; /* blocks by reference that were trimmed, and given back */
};
void tide_peek_head(const struct tide_peek *self, struct tide_peek_head *out);

struct tide_peek_broker {
    uint64_t released, claimed, scanned; /* slot indexes */
    uint64_t released_granule, claimed_granule;
    uint64_t scanner;
};
void tide_peek_broker(const struct tide_peek *self, uint32_t number, struct tide_peek_broker *out);

/* The first position that is kept, and the first one behind it that is not there: at most the
 * ring's size apart. */
uint64_t tide_peek_earliest(const struct tide_peek *self, uint32_t broker);
uint64_t tide_peek_end(const struct tide_peek *self, uint32_t broker);

/* A copy of the batch's entry; at level 0 put together from its slot, without a base.
 * Aborted claims are there, too, with TIDE_LAYOUT_PAD. THERE, NONE or GONE. */
enum tide_peek_found tide_peek_batch(const struct tide_peek *self, uint32_t broker,
                                     uint64_t position, struct tide_layout_entry *out);

/* A copy of the slot as it stands; true: its publish word is this index. */
bool tide_peek_slot(const struct tide_peek *self, uint32_t broker, uint64_t index,
                    struct tide_layout_slot *out);

/* The offsets where its payload can be, of a log with or without a region, from the log's base
 * (modulo 2^64), and how large it can be. */
struct tide_peek_room {
    uint64_t first, bytes, most;
};
struct tide_peek_room tide_peek_room(const struct tide_peek *self,
                                     const struct tide_layout_entry *entry);

/* Its payload lies in the memory, where payload can be. */
bool tide_peek_inside(const struct tide_peek *self, const struct tide_layout_entry *entry);

/* Copies entry->size bytes of payload to `to`, and looks at the check sum if the log has them.
 * Anything but NONE. */
enum tide_peek_found tide_peek_payload(const struct tide_peek *self, uint32_t broker,
                                       uint64_t position, const struct tide_layout_entry *entry,
                                       void *to);

/* Copies words of the log that others may be writing. */
void tide_peek_words(void *to, const void *from, size_t size);

#endif
