/* conn.c - see conn.h */
#include "conn.h"

#include <stdlib.h>
#include <string.h>

#include "block.h"
#include "command.h"
#include "store.h"

enum {
    CONN_READ = 256 << 10,   /* bytes that are read at once */
    CONN_TURN = 256 << 10,   /* bytes of replies after which they are sent */
    CONN_BLOCKED = 64 << 10, /* bytes of requests that are read from one that is blocked */
    CONN_FIRST = 4 << 10,
    CONN_PIECES = 64,
    CONN_KEEPALIVE = 300
};

static struct {
    char buffer[CONN_READ];
    struct resp_args args;
    struct conn *first;
    uint64_t id;
    bool serving;
    struct conn *held; /* whose replies wait for a sync */
    uv_work_t sync;
    int sync_result;
    bool syncing, broken;
} conns;

/* Bytes that wait in this connection: `size` is what was there before. */
struct conn_block {
    uv_write_t request;
    struct conn *conn;
    size_t size;
    char data[];
};

/* ---- closing ---- */

/* Nothing of it waits for a sync any more. */
static void conn_unhold(struct conn *conn)
{
    struct conn **at = &conns.held;
    if (conn->held == NULL)
        return;
    while (*at != conn)
        at = &(*at)->held_next;
    *at = conn->held_next;
    conn->pending -= conn->held->size;
    server.buffers -= conn->held->size;
    free(conn->held);
    conn->held = NULL;
}

static void conn_free(uv_handle_t *handle)
{
    struct conn *conn = handle->data;
    if (--conn->handles > 0)
        return;
    server.buffers -= conn->in_room;
    free(conn->in);
    free(conn->name);
    free(conn);
}

void conn_close(struct conn *conn)
{
    if (conn->closing)
        return;
    conn->closing = true;
    block_cancel(conn);
    conn_unhold(conn);
    store_leave(conn->client);
    conn->client = NULL;
    if (conn->prev != NULL)
        conn->prev->next = conn->next;
    else
        conns.first = conn->next;
    if (conn->next != NULL)
        conn->next->prev = conn->prev;
    server.connections--;
    uv_close(&conn->uv.handle, conn_free);
    uv_close((uv_handle_t *)&conn->timer, conn_free);
}

void conn_close_all(void)
{
    while (conns.first != NULL)
        conn_close(conns.first);
    free(conns.args.arg);
    conns.args = (struct resp_args){NULL, 0, 0, false};
}

void conn_sweep(uint64_t idle_ms)
{
    uint64_t now = uv_now(server.loop);
    for (struct conn *conn = conns.first, *next; conn != NULL; conn = next) {
        next = conn->next;
        if (conn->wait == NULL && now - conn->active >= idle_ms) {
            server.closed_idle++;
            conn_close(conn);
        }
    }
}

static void conn_overfull(struct conn *conn)
{
    server.closed_buffers++;
    conn_close(conn);
}

/* ---- out ---- */

static void conn_sync(void);

static void conn_written(uv_write_t *request, int status)
{
    struct conn_block *block = (struct conn_block *)(void *)request;
    struct conn *conn = block->conn;
    conn->pending -= block->size;
    server.buffers -= block->size;
    free(block);
    if (conn->closing)
        return;
    conn->active = uv_now(server.loop);
    if (status < 0 || (conn->last && conn->pending == 0))
        conn_close(conn);
    else if (conn->pending == 0)
        conn_resume(conn);
}

/* The pieces from number *piece on, without the first `skip` bytes, as vectors. */
static unsigned conn_vectors(uv_buf_t vector[CONN_PIECES], uint32_t piece, size_t skip)
{
    const struct out *out = &server.out;
    unsigned count = 0;
    for (; piece < out->pieces && count < CONN_PIECES; piece++, skip = 0) {
        const struct out_piece *is = &out->piece[piece];
        const char *at = is->at != NULL ? is->at : out->text + is->from;
        vector[count++] = uv_buf_init((char *)(uintptr_t)(at + skip), (unsigned)(is->size - skip));
    }
    return count;
}

/* Sends what the socket takes at once; false: the connection broke. */
static bool conn_send(struct conn *conn, uint32_t *piece, size_t *skip)
{
    uv_buf_t vector[CONN_PIECES];
    while (*piece < server.out.pieces) {
        unsigned count = conn_vectors(vector, *piece, *skip);
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

/* Hands the block to the loop; false: the connection broke. */
static bool conn_write(struct conn *conn, struct conn_block *block)
{
    uv_buf_t all = uv_buf_init(block->data, (unsigned)block->size);
    if (uv_write(&block->request, &conn->uv.stream, &all, 1, conn_written) == 0)
        return true;
    conn->pending -= block->size;
    server.buffers -= block->size;
    free(block);
    return false;
}

/* ---- replies that wait for the medium ---- */

static bool conn_waits(const struct conn *conn)
{
    return server.is.store.durable && conn->wants > store_durable();
}

void conn_appended(struct conn *conn)
{
    conn->wants = store_top();
}

/* In a thread of the loop's. */
static void conn_sync_work(uv_work_t *work)
{
    (void)work;
    conns.sync_result = store_sync();
}

static void conn_synced(uv_work_t *work, int status)
{
    struct conn *conn = conns.held, *next;
    (void)work;
    conns.syncing = false;
    if (status == 0 && conns.sync_result != 0 && !conns.broken) {
        server_say("the medium failed: %s; connections that wait for it are closed",
                   strerror(-conns.sync_result));
        conns.broken = true;
    }
    conns.held = NULL;
    for (; conn != NULL; conn = next) {
        struct conn_block *block = conn->held;
        next = conn->held_next;
        if (conns.sync_result == 0 && conn_waits(conn)) {
            conn->held_next = conns.held;
            conns.held = conn;
            continue;
        }
        conn->held = NULL;
        if (conns.sync_result == 0 && conn_write(conn, block))
            continue;
        if (conns.sync_result != 0) {
            conn->pending -= block->size;
            server.buffers -= block->size;
            free(block);
        }
        conn_close(conn);
    }
    if (conns.held != NULL)
        conn_sync();
}

/* One at a time; all that wait when it begins share it. */
static void conn_sync(void)
{
    if (!conns.syncing && uv_queue_work(server.loop, &conns.sync, conn_sync_work, conn_synced) == 0)
        conns.syncing = true;
}

/* ---- sending ---- */

/* Copies what is left, for later. */
static bool conn_keep(struct conn *conn, uint32_t piece, size_t skip)
{
    uv_buf_t vector[CONN_PIECES];
    size_t size = 0;
    for (uint32_t i = piece; i < server.out.pieces; i++)
        size += server.out.piece[i].size;
    size -= skip;
    struct conn_block *block = NULL;
    if (size <= server.is.max_buffers && server.buffers <= server.is.max_buffers - size)
        block = malloc(sizeof *block + size);
    if (block == NULL)
        return false;
    *block = (struct conn_block){.conn = conn, .size = size};
    for (char *to = block->data; piece < server.out.pieces; piece += CONN_PIECES, skip = 0) {
        unsigned count = conn_vectors(vector, piece, skip);
        for (unsigned i = 0; i < count; to += vector[i++].len)
            memcpy(to, vector[i].base, vector[i].len);
    }
    conn->pending += size;
    server.buffers += size;
    server.bytes_out += size;
    if (conn_waits(conn)) {
        conn->held = block;
        conn->held_next = conns.held;
        conns.held = conn;
        conn_sync();
        return true;
    }
    return conn_write(conn, block);
}

void conn_flush(struct conn *conn)
{
    struct out *out = &server.out;
    uint32_t piece = 0;
    size_t skip = 0;
    bool good = !out->failed;
    if (out->pieces > 0 && !conn->closing && good) {
        server.flushes++;
        good = (conn->pending > 0 || conn_waits(conn) || conn_send(conn, &piece, &skip)) &&
               (piece == out->pieces || conn_keep(conn, piece, skip));
    }
    out_clear(out);
    if (!good)
        conn_overfull(conn);
    else if (conn->last && conn->pending == 0)
        conn_close(conn);
}

/* ---- in ---- */

static void conn_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buf)
{
    struct conn *conn = handle->data;
    (void)size;
    *buf = uv_buf_init(conns.buffer, sizeof conns.buffer);
    if (conn->in_size == 0)
        return;
    /* As much again as came: what was announced and not sent takes no memory. */
    size_t room = conn->in_room * 2;
    if (conn->in_size == conn->in_room) {
        char *in = NULL;
        if (server.buffers + conn->in_room <= server.is.max_buffers)
            in = realloc(conn->in, room);
        if (in == NULL) {
            *buf = uv_buf_init(NULL, 0);
            return;
        }
        server.buffers += room - conn->in_room;
        conn->in = in;
        conn->in_room = room;
    }
    *buf = uv_buf_init(conn->in + conn->in_size, (unsigned)(conn->in_room - conn->in_size));
}

/* Keeps what was not used of data for later; data is the shared buffer or its own. */
static bool conn_save(struct conn *conn, const char *data, size_t size)
{
    if (size == 0) {
        server.buffers -= conn->in_room;
        free(conn->in);
        conn->in = NULL;
        conn->in_size = conn->in_room = 0;
        return true;
    }
    if (conn->in == NULL) {
        size_t room = CONN_FIRST;
        while (room < size)
            room *= 2;
        if (server.buffers + room > server.is.max_buffers || (conn->in = malloc(room)) == NULL)
            return false;
        conn->in_room = room;
        server.buffers += room;
    }
    if (conn->in != data)
        memmove(conn->in, data, size);
    conn->in_size = size;
    return true;
}

static void conn_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *buf);

/* Reads from it, or not. */
static void conn_steer(struct conn *conn)
{
    bool want =
        conn->pending == 0 && !conn->last && (conn->wait == NULL || conn->in_size < CONN_BLOCKED);
    if (conn->closing || want == conn->reading)
        return;
    conn->reading = want;
    if (!want)
        uv_read_stop(&conn->uv.stream);
    else if (uv_read_start(&conn->uv.stream, conn_alloc, conn_read) != 0)
        conn_close(conn);
}

static void conn_refuse(struct conn *conn, const char *error)
{
    out_error(&server.out, "ERR %s", error);
    server.errors++;
    server.closed_protocol++;
    conn->last = true;
}

/* Runs requests; returns how many bytes they took. */
static size_t conn_run(struct conn *conn, const char *data, size_t size)
{
    char error[RESP_ERROR_MAX];
    size_t at = 0, used;
    while (!conn->closing && !conn->last && conn->wait == NULL && conn->pending == 0) {
        enum resp_result result = resp_next(&conn->scan, &conns.args, data + at, size - at,
                                            (uint32_t)server.is.max_message, &used, error);
        if (result == RESP_MORE)
            break;
        if (result == RESP_REQUEST) {
            command_run(conn, &conns.args, data + at, used);
            at += used;
        } else {
            command_end(conn);
            conn_refuse(conn, result == RESP_BAD ? error : "no memory for this request");
        }
        if (server.out.total >= CONN_TURN)
            conn_flush(conn);
    }
    command_end(conn);
    return at;
}

static void conn_turn(struct conn *conn, const char *data, size_t size)
{
    size_t used = conn_run(conn, data, size);
    if (conn->closing)
        out_clear(&server.out);
    else
        conn_flush(conn);
    if (!conn->closing && !conn_save(conn, data + used, size - used))
        conn_overfull(conn);
    conn_steer(conn);
    if (conns.serving)
        return;
    conns.serving = true;
    block_serve();
    conns.serving = false;
}

void conn_resume(struct conn *conn)
{
    if (!conn->closing)
        conn_turn(conn, conn->in, conn->in_size);
}

static void conn_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *buf)
{
    struct conn *conn = stream->data;
    if (got == 0)
        return;
    if (got == UV_ENOBUFS) {
        conn_overfull(conn);
        return;
    }
    if (got < 0) {
        conn_close(conn);
        return;
    }
    server.bytes_in += (uint64_t)got;
    conn->active = uv_now(server.loop);
    if (buf->base == conns.buffer)
        conn_turn(conn, buf->base, (size_t)got);
    else
        conn_turn(conn, conn->in, conn->in_size + (size_t)got);
}

/* ---- accepting ---- */

static int conn_init(struct conn *conn, bool tcp)
{
    int result = tcp ? uv_tcp_init(server.loop, &conn->uv.tcp)
                     : uv_pipe_init(server.loop, &conn->uv.pipe, 0);
    if (result == 0)
        result = uv_timer_init(server.loop, &conn->timer);
    conn->uv.handle.data = conn;
    conn->timer.data = conn;
    conn->handles = 2;
    return result;
}

void conn_accept(uv_stream_t *listener, bool tcp)
{
    static const char full[] = "-ERR max number of clients reached\r\n";
    struct conn *conn = calloc(1, sizeof *conn);
    if (conn == NULL || conn_init(conn, tcp) != 0) {
        free(conn);
        return;
    }
    conn->id = ++conns.id;
    conn->active = uv_now(server.loop);
    conn->next = conns.first;
    if (conns.first != NULL)
        conns.first->prev = conn;
    conns.first = conn;
    server.connections++;
    if (uv_accept(listener, &conn->uv.stream) != 0) {
        conn_close(conn);
        return;
    }
    server.accepted++;
    if (server.connections > server.is.max_connections) {
        uv_buf_t text = uv_buf_init((char *)(uintptr_t)full, sizeof full - 1);
        server.refused++;
        uv_try_write(&conn->uv.stream, &text, 1);
        conn_close(conn);
        return;
    }
    if (tcp) {
        uv_tcp_nodelay(&conn->uv.tcp, 1);
        uv_tcp_keepalive(&conn->uv.tcp, 1, CONN_KEEPALIVE);
    }
    conn_steer(conn);
}
