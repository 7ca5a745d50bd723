/* frame.c - see frame.h */
#include "box/frame.h"

#if defined(__SSE2__)
#include <emmintrin.h>

/* `count` whole lines, from anywhere to the start of a line. */
static void frame_stream(unsigned char *to, const unsigned char *from, size_t count)
{
    for (; count > 0; count--, to += TIDE_LINE, from += TIDE_LINE) {
        const __m128i *in = (const __m128i *)(const void *)from;
        __m128i *out = (__m128i *)(void *)to;
        __m128i a = _mm_loadu_si128(in), b = _mm_loadu_si128(in + 1);
        __m128i c = _mm_loadu_si128(in + 2), d = _mm_loadu_si128(in + 3);
        _mm_stream_si128(out, a);
        _mm_stream_si128(out + 1, b);
        _mm_stream_si128(out + 2, c);
        _mm_stream_si128(out + 3, d);
    }
}
#else
static void frame_stream(unsigned char *to, const unsigned char *from, size_t count)
{
    memcpy(to, from, count * TIDE_LINE);
}
#endif

void tide_frame_start(struct tide_frame_writer *writer, unsigned char *payload, bool stream)
{
    writer->at = payload;
    writer->used = 0;
    writer->stream = stream;
}

static void frame_bytes(struct tide_frame_writer *writer, const unsigned char *from, size_t size)
{
    if (writer->used > 0) {
        size_t part = tide_min(size, TIDE_LINE - writer->used);
        memcpy(writer->line + writer->used, from, part);
        writer->used += (uint32_t)part;
        from += part;
        size -= part;
        if (writer->used < TIDE_LINE)
            return;
        frame_stream(writer->at, writer->line, 1);
        writer->at += TIDE_LINE;
    }
    frame_stream(writer->at, from, size / TIDE_LINE);
    writer->at += tide_align_down(size, TIDE_LINE);
    writer->used = (uint32_t)(size % TIDE_LINE);
    memcpy(writer->line, from + size - writer->used, writer->used);
}

void tide_frame_put(struct tide_frame_writer *writer, const void *data, size_t length, uint64_t tag)
{
    static const unsigned char zeroes[8];
    struct tide_layout_frame frame = {(uint32_t)length, 0, tag};
    size_t pad = tide_frame_bytes(length) - sizeof frame - length;
    if (writer->stream) {
        frame_bytes(writer, (const unsigned char *)&frame, sizeof frame);
        frame_bytes(writer, data, length);
        frame_bytes(writer, zeroes, pad);
        return;
    }
    memcpy(writer->at, &frame, sizeof frame);
    if (length > 0)
        memcpy(writer->at + sizeof frame, data, length);
    memset(writer->at + sizeof frame + length, 0, pad);
    writer->at += sizeof frame + length + pad;
}

void tide_frame_end(struct tide_frame_writer *writer)
{
    if (!writer->stream)
        return;
    memcpy(writer->at, writer->line, writer->used);
    tide_coh_streamed();
}

void tide_frame_one_streamed(unsigned char *payload, const void *data, size_t length)
{
    struct tide_frame_writer writer;
    tide_frame_start(&writer, payload, true);
    tide_frame_put(&writer, data, length, 0);
    tide_frame_end(&writer);
}

const struct tide_layout_frame *tide_frame_next(const unsigned char *batch, size_t size, size_t *at)
{
    const struct tide_layout_frame *frame = (const void *)(batch + *at);
    if (*at > size || size - *at < sizeof *frame)
        return NULL;
    uint32_t length = *(const volatile uint32_t *)&frame->length; /* others may write there */
    if (length > size - *at - sizeof *frame)
        return NULL;
    *at += tide_frame_bytes(length);
    return frame;
}
