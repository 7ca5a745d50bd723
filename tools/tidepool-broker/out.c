/* out.c - see out.h */
#include "out.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* From this size on bytes are named, not copied: a system call's vector costs as much. */
enum { OUT_COPY = 1024, OUT_COMMON = 1 << 20 };

/* Makes *all, of `size` each, hold `need`. */
static bool out_grow(void **all, size_t *room, size_t need, size_t size)
{
    size_t more = *room != 0 ? *room : 256;
    if (need <= *room)
        return true;
    while (more < need)
        more *= 2;
    void *larger = realloc(*all, more * size);
    if (larger == NULL)
        return false;
    *all = larger;
    *room = more;
    return true;
}

static bool out_piece(struct out *out, const char *at, size_t from, size_t size)
{
    size_t room = out->pieces_room;
    void *piece = out->piece;
    bool grown = out_grow(&piece, &room, (size_t)out->pieces + 1, sizeof *out->piece);
    out->piece = piece;
    out->pieces_room = (uint32_t)room;
    if (grown)
        out->piece[out->pieces++] = (struct out_piece){at, from, size};
    return grown;
}

void out_bytes(struct out *out, const void *bytes, size_t size)
{
    void *text = out->text;
    if (size == 0)
        return;
    if (!out_grow(&text, &out->room, out->used + size, 1)) {
        out->failed = true;
        return;
    }
    out->text = text;
    memcpy(out->text + out->used, bytes, size);
    if (out->pieces > 0 && out->piece[out->pieces - 1].at == NULL)
        out->piece[out->pieces - 1].size += size;
    else if (!out_piece(out, NULL, out->used, size))
        out->failed = true;
    out->used += size;
    out->total += size;
}

void out_name(struct out *out, const void *bytes, size_t size)
{
    if (size < OUT_COPY) {
        out_bytes(out, bytes, size);
        return;
    }
    if (!out_piece(out, bytes, 0, size))
        out->failed = true;
    out->total += size;
    out->names = true;
}

void out_text(struct out *out, const char *text)
{
    out_bytes(out, text, strlen(text));
    out_bytes(out, "\r\n", 2);
}

void out_status(struct out *out, const char *text)
{
    out_bytes(out, "+", 1);
    out_text(out, text);
}

void out_error(struct out *out, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    for (char *at = text; *at != '\0'; at++)
        if (*at == '\r' || *at == '\n')
            *at = ' ';
    out_bytes(out, "-", 1);
    out_text(out, text);
}

/* A sign, a number and the line's end. */
static void out_head(struct out *out, char sign, int64_t number)
{
    char text[32];
    size_t len = 0;
    text[len++] = sign;
    if (number < 0)
        text[len++] = '-';
    len += sid_digits(text + len, number < 0 ? 0 - (uint64_t)number : (uint64_t)number);
    text[len++] = '\r';
    text[len++] = '\n';
    out_bytes(out, text, len);
}

void out_integer(struct out *out, int64_t number)
{
    out_head(out, ':', number);
}

void out_array(struct out *out, int64_t count)
{
    out_head(out, '*', count < 0 ? -1 : count);
}

void out_string(struct out *out, const char *bytes, size_t size)
{
    out_head(out, '$', (int64_t)size);
    out_bytes(out, bytes, size);
    out_bytes(out, "\r\n", 2);
}

void out_id(struct out *out, struct sid id)
{
    char text[SID_TEXT + 8], *at = text + 8;
    size_t len = sid_write(at, id), front = len < 10 ? 4 : 5;
    at[len] = '\r';
    at[len + 1] = '\n';
    at -= front;
    *at = '$';
    sid_digits(at + 1, len);
    memcpy(at + front - 2, "\r\n", 2);
    out_bytes(out, at, front + len + 2);
}

struct out_mark out_mark(const struct out *out)
{
    return (struct out_mark){out->used, out->total, out->pieces,
                             out->pieces > 0 ? out->piece[out->pieces - 1].size : 0};
}

void out_back(struct out *out, struct out_mark mark)
{
    out->used = mark.used;
    out->total = mark.total;
    out->pieces = mark.pieces;
    if (mark.pieces > 0)
        out->piece[mark.pieces - 1].size = mark.last;
}

void out_clear(struct out *out)
{
    if (out->room > OUT_COMMON) {
        free(out->text);
        out->text = NULL;
        out->room = 0;
    }
    if (out->pieces_room > OUT_COMMON / sizeof *out->piece) {
        free(out->piece);
        out->piece = NULL;
        out->pieces_room = 0;
    }
    out->used = out->total = 0;
    out->pieces = 0;
    out->names = out->failed = false;
}
