/*
 * frame.h - messages inside a batch: written, also past the caches, and walked through.
 *
 * owns:      nothing; a writer lives on its user's stack
 * threads:   one writer per batch
 * invariant: a frame starts at a multiple of 8, and its message right behind it; frames and
 *            messages never reach beyond the batch
 * uses:      layout
 * used by:   broker, logapi
 * not here:  which batch (ring)
 * test:      tests/test_frame.c
 */
#ifndef TIDE_BOX_FRAME_H
#define TIDE_BOX_FRAME_H

#include "box/layout.h"

/* Batches from here on go past the caches when the ring is larger than these. */
enum { TIDE_FRAME_STREAM = 4096, TIDE_FRAME_MOST = 1 << 30 };

/* 1: the whole lines of such a batch are in no cache when it ends; nobody has to write them
 * back. Where the processor cannot do that they are ordinary stores. */
#if defined(__SSE2__)
enum { TIDE_FRAME_PAST = 1 };
#else
enum { TIDE_FRAME_PAST = 0 };
#endif

/* Bytes of a message with its frame, padded; 0 when that is more than TIDE_FRAME_MOST. */
TIDE_INLINE size_t tide_frame_bytes(size_t length)
{
    return length > TIDE_FRAME_MOST ? 0 : tide_align_up(length + TIDE_LAYOUT_FRAME, 8);
}

/* Writes a batch front to back. With `stream`, whole lines leave together, past the caches. */
struct tide_frame_writer {
    unsigned char line[TIDE_LINE] __attribute__((aligned(TIDE_LINE)));
    unsigned char *at; /* where the line goes, or the next byte */
    uint32_t used;     /* bytes in the line */
    bool stream;
};

void tide_frame_start(struct tide_frame_writer *writer, unsigned char *payload, bool stream);

/* Appends a frame and its message. */
void tide_frame_put(struct tide_frame_writer *writer, const void *data, size_t length,
                    uint64_t tag);

/* All of it is on its way; publishing may follow. */
void tide_frame_end(struct tide_frame_writer *writer);

/* A batch of one small message needs no writer. */
TIDE_INLINE void tide_frame_one(unsigned char *payload, const void *data, size_t length)
{
    struct tide_layout_frame frame = {(uint32_t)length, 0, 0};
    memcpy(payload, &frame, sizeof frame);
    if (length > 0)
        memcpy(payload + sizeof frame, data, length);
}

/* One large message, past the caches. */
void tide_frame_one_streamed(unsigned char *payload, const void *data, size_t length);

/* The message at *at of a batch of `size` bytes; moves *at behind it. NULL at the end, or
 * when no whole frame is there. */
const struct tide_layout_frame *tide_frame_next(const unsigned char *batch, size_t size,
                                                size_t *at);

#endif
