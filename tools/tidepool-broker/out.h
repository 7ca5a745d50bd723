/*
 * out.h - replies on their way to one connection: small bytes are gathered, large ones are
 * named where they lie in the log.
 *
 * There is one for the whole process, for one connection at a time has its turn. What is named
 * must stay until out_clear: nothing is appended or trimmed in between.
 */
#ifndef BROKER_OUT_H
#define BROKER_OUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sid.h"

struct out_piece {
    const char *at; /* NULL: bytes of `text` from `from` on */
    size_t from, size;
};

struct out {
    char *text;
    struct out_piece *piece;
    size_t used, room; /* of text */
    size_t total;      /* bytes of the replies */
    uint32_t pieces, pieces_room;
    bool names;  /* a piece is in the log */
    bool failed; /* no memory: the connection is to be closed */
};

/* Where a reply begins, to take it back. */
struct out_mark {
    size_t used, total;
    uint32_t pieces;
    size_t last; /* size of the piece that was the last one */
};

void out_bytes(struct out *out, const void *bytes, size_t size);
void out_name(struct out *out, const void *bytes, size_t size);

/* Replies of the protocol. The texts are without the line's end. */
void out_text(struct out *out, const char *text);   /* as it is */
void out_status(struct out *out, const char *text); /* +text */
void out_error(struct out *out, const char *format, ...)
    __attribute__((format(printf, 2, 3))); /* -text, without line ends */
void out_integer(struct out *out, int64_t number);
void out_array(struct out *out, int64_t count); /* below 0: none at all */
void out_string(struct out *out, const char *bytes, size_t size);
void out_id(struct out *out, struct sid id);

struct out_mark out_mark(const struct out *out);
void out_back(struct out *out, struct out_mark mark);

/* Empties it; gives back memory beyond what is common. */
void out_clear(struct out *out);

#endif
