/* send.c - see send.h */
#include "send.h"

#include <stdlib.h>
#include <string.h>

#include "store.h"

/* LEAST, MOST: room of a block behind others, which small replies share. */
enum { SEND_PIECES = 64, SEND_LEAST = 512, SEND_MOST = 64 << 10 };

static struct {
    struct conn *held; /* whose replies wait for a sync */
    uv_work_t sync;
    int sync_result;
    bool syncing, broken;
} sends;

/* Bytes that wait. */
struct send_block {
    uv_write_t request;
    struct conn *conn;
    struct send_block *next;
    size_t size, room;
    char data[];
};

/* ---- how much may wait ---- */

bool send_crowded(void)
{
    return server.buffers >= server.is.max_buffers / 2;
}

bool send_relaxed(void)
{
    return server.buffers <= server.is.max_buffers / 4;
}

bool send_room(const struct conn *conn)
{
    if (conn->pending == 0)
        return true;
    return !conn->held && !conn->full && !send_crowded() &&
           conn->pending + server.out.total < server.is.max_output;
}

/* ---- the queue ---- */

static void block_free(struct send_block *block)
{
    block->conn->pending -= block->size;
    server.buffers -= sizeof *block + block->room;
    free(block);
}

/* A block with room behind all others, for some of `size` bytes. */
static struct send_block *queue_space(struct conn *conn, size_t size)
{
    struct send_block *last = conn->queue_last;
    if (last != NULL && last->size < last->room)
        return last;
    size_t extra = conn->pending < SEND_MOST ? conn->pending : SEND_MOST;
    if (conn->pending > 0 && extra < SEND_LEAST)
        extra = SEND_LEAST;
    size_t room = size > extra ? size : extra, cost = sizeof *last + room;
    if (cost > server.is.max_buffers || server.buffers > server.is.max_buffers - cost)
        return NULL;
    struct send_block *block = malloc(cost);
    if (block == NULL)
        return NULL;
    *block = (struct send_block){.conn = conn, .room = room};
    server.buffers += cost;
    if (last != NULL)
        last->next = block;
    else
        conn->queue = block;
    conn->queue_last = block;
    return block;
}

/* Copies `size` bytes, of `left` that are to follow each other. */
static bool queue_put(struct conn *conn, const char *from, size_t size, size_t left)
{
    while (size > 0) {
        struct send_block *block = queue_space(conn, left);
        if (block == NULL)
            return false;
        size_t part = block->room - block->size < size ? block->room - block->size : size;
        memcpy(block->data + block->size, from, part);
        block->size += part;
        conn->pending += part;
        from += part;
        size -= part;
        left -= part;
    }
    return true;
}

static void block_written(uv_write_t *request, int status);

/* Hands the first block to the loop, if it is time; false: the connection broke. */
static bool queue_start(struct conn *conn)
{
    struct send_block *block = conn->queue;
    if (block == NULL || conn->sending || conn->held)
        return true;
    conn->queue = block->next;
    if (conn->queue == NULL)
        conn->queue_last = NULL;
    uv_buf_t all = uv_buf_init(block->data, (unsigned)block->size);
    conn->sending = uv_write(&block->request, &conn->uv.stream, &all, 1, block_written) == 0;
    if (!conn->sending)
        block_free(block);
    return conn->sending;
}

static void block_written(uv_write_t *request, int status)
{
    struct send_block *block = (struct send_block *)(void *)request;
    struct conn *conn = block->conn;
    conn->sending = false;
    block_free(block);
    conn->full = conn->full && conn->pending > 0;
    if (!conn->closing)
        conn_sent(conn, status == 0 && queue_start(conn));
}

/* ---- replies that wait for the medium ---- */

static bool send_waits(const struct conn *conn)
{
    return server.is.store.durable && conn->wants > store_durable();
}

/* In a thread of the loop's. */
static void sync_work(uv_work_t *work)
{
    (void)work;
    sends.sync_result = store_sync();
}

static void sync_done(uv_work_t *work, int status);

/* One at a time; all that wait when it begins share it. */
static void sync_start(void)
{
    if (!sends.syncing && uv_queue_work(server.loop, &sends.sync, sync_work, sync_done) == 0)
        sends.syncing = true;
}

static void sync_done(uv_work_t *work, int status)
{
    struct conn *conn = sends.held, *next;
    (void)work;
    sends.syncing = false;
    if (status == 0 && sends.sync_result != 0 && !sends.broken) {
        server_say("the medium failed: %s; connections that wait for it are closed",
                   strerror(-sends.sync_result));
        sends.broken = true;
    }
    sends.held = NULL;
    for (; conn != NULL; conn = next) {
        next = conn->held_next;
        conn->held = sends.sync_result == 0 && send_waits(conn);
        if (conn->held) {
            conn->held_next = sends.held;
            sends.held = conn;
        } else if (sends.sync_result == 0 && queue_start(conn)) {
            conn_retry(conn);
        } else {
            conn_close(conn);
        }
    }
    if (sends.held != NULL)
        sync_start();
    conn_next_turn();
}

static void send_hold(struct conn *conn)
{
    if (conn->held)
        return;
    conn->held = true;
    conn->held_next = sends.held;
    sends.held = conn;
    sync_start();
}

void send_forget(struct conn *conn)
{
    struct conn **at = &sends.held;
    while (conn->held && *at != conn)
        at = &(*at)->held_next;
    if (conn->held)
        *at = conn->held_next;
    conn->held = false;
    for (struct send_block *block = conn->queue, *next; block != NULL; block = next) {
        next = block->next;
        block_free(block);
    }
    conn->queue = conn->queue_last = NULL;
}

/* ---- sending ---- */

static const char *piece_at(const struct out_piece *piece)
{
    return piece->at != NULL ? piece->at : server.out.text + piece->from;
}

/* The pieces from number *piece on, without the first `skip` bytes, as vectors. */
static unsigned send_vectors(uv_buf_t vector[SEND_PIECES], uint32_t piece, size_t skip)
{
    const struct out *out = &server.out;
    unsigned count = 0;
    for (; piece < out->pieces && count < SEND_PIECES; piece++, skip = 0) {
        const struct out_piece *is = &out->piece[piece];
        vector[count++] =
            uv_buf_init((char *)(uintptr_t)(piece_at(is) + skip), (unsigned)(is->size - skip));
    }
    return count;
}

/* Sends what the socket takes at once; false: the connection broke. */
static bool send_now(struct conn *conn, uint32_t *piece, size_t *skip)
{
    uv_buf_t vector[SEND_PIECES];
    while (*piece < server.out.pieces) {
        unsigned count = send_vectors(vector, *piece, *skip);
        int sent = uv_try_write(&conn->uv.stream, vector, count);
        if (sent == UV_EAGAIN)
            return true;
        if (sent < 0)
            return false;
        server.bytes_out += (uint64_t)sent;
        for (*skip += (size_t)sent;
             *piece < server.out.pieces && *skip >= server.out.piece[*piece].size; ++*piece)
            *skip -= server.out.piece[*piece].size;
    }
    return true;
}

/* Copies what is left, for later: what it names in the log may change. */
static bool send_keep(struct conn *conn, uint32_t piece, size_t skip)
{
    const struct out *out = &server.out;
    size_t left = 0;
    for (uint32_t i = piece; i < out->pieces; i++)
        left += out->piece[i].size;
    left -= skip;
    server.bytes_out += left;
    for (; piece < out->pieces; piece++, skip = 0) {
        size_t size = out->piece[piece].size - skip;
        if (!queue_put(conn, piece_at(&out->piece[piece]) + skip, size, left))
            return false;
        left -= size;
    }
    if (send_waits(conn))
        send_hold(conn);
    return queue_start(conn);
}

bool send_out(struct conn *conn)
{
    struct out *out = &server.out;
    uint32_t piece = 0;
    size_t skip = 0;
    bool good = !out->failed;
    if (out->pieces > 0 && !conn->closing && good) {
        server.flushes++;
        good = (conn->pending > 0 || send_waits(conn) || send_now(conn, &piece, &skip)) &&
               (piece == out->pieces || send_keep(conn, piece, skip));
    }
    out_clear(out);
    return good;
}
