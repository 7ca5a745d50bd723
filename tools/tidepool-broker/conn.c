/* conn.c - see conn.h */
#include "conn.h"

#include <stdlib.h>
#include <string.h>

#include "block.h"
#include "command.h"
#include "send.h"
#include "store.h"
#include "streams.h"
#include "write.h"

enum {
    CONN_READ = 32 << 10,    /* bytes that are read at once; then it is the turn of others */
    CONN_REST = 8 << 10,     /* of a request that are copied to be read on behind them */
    CONN_TURN = 256 << 10,   /* bytes of replies after which they are sent */
    CONN_ENOUGH = 64 << 10,  /* bytes of appends after which they are made and answered */
    CONN_BLOCKED = 64 << 10, /* bytes of requests that are read from one that is blocked */
    CONN_FIRST = 4 << 10,
    CONN_KEEPALIVE = 300
};

static struct {
    char buffer[CONN_REST + CONN_READ];
    struct resp_args args;
    struct conn *first;
    uint64_t id;
    bool ending;
    struct conn *paused; /* that have more to say, and had their part of the turn */
    bool crowded;        /* somebody is not read from, because of what others have waiting */
} conns;

/* ---- closing ---- */

/* It is not to be read again at the end of the turn. */
static void conn_unpause(struct conn *conn)
{
    struct conn **at = &conns.paused;
    if (!conn->paused)
        return;
    while (*at != conn)
        at = &(*at)->paused_next;
    *at = conn->paused_next;
    conn->paused = false;
}

static void conn_relax(void);

static void conn_free(uv_handle_t *handle)
{
    struct conn *conn = handle->data;
    if (--conn->handles > 0)
        return;
    server.buffers -= conn->in_room;
    free(conn->in);
    free(conn->name);
    free(conn);
    conn_relax();
}

void conn_close(struct conn *conn)
{
    if (conn->closing)
        return;
    conn->closing = true;
    write_forget(conn);
    block_cancel(conn);
    send_forget(conn);
    conn_unpause(conn);
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
    resp_free(&conns.args);
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

void conn_flush(struct conn *conn)
{
    if (!send_out(conn))
        conn_overfull(conn);
    else if (conn->last && conn->pending == 0)
        conn_close(conn);
}

void conn_appended(struct conn *conn)
{
    conn->wants = store_top();
}

/* ---- in ---- */

static void conn_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buf)
{
    struct conn *conn = handle->data;
    (void)size;
    if (conn->in_size <= CONN_REST) {
        if (conn->in_size > 0)
            memcpy(conns.buffer, conn->in, conn->in_size);
        *buf = uv_buf_init(conns.buffer + conn->in_size, CONN_READ);
        return;
    }
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
    if (size > conn->in_room) {
        size_t room = CONN_FIRST;
        while (room < size)
            room *= 2;
        char *in = NULL;
        if (server.buffers + room - conn->in_room <= server.is.max_buffers)
            in = realloc(conn->in, room);
        if (in == NULL)
            return false;
        server.buffers += room - conn->in_room;
        conn->in = in;
        conn->in_room = room;
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
    bool room = send_room(conn);
    bool want = room && !conn->last && !conn->paused &&
                (conn->wait == NULL || conn->in_size < CONN_BLOCKED);
    conns.crowded = conns.crowded || (!room && send_crowded());
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
    while (!conn->closing && !conn->last && conn->wait == NULL && send_room(conn)) {
        enum resp_result result = resp_next(&conn->scan, &conns.args, data + at, size - at,
                                            (uint32_t)server.is.max_message, &used, error);
        if (result == RESP_MORE)
            break;
        if (result == RESP_REQUEST) {
            if (!command_run(conn, &conns.args, data + at, used))
                break;
            at += used;
        } else {
            write_settle(conn);
            conn_refuse(conn, result == RESP_BAD ? error : "no memory for this request");
        }
        if (server.out.total >= CONN_TURN)
            conn_flush(conn);
    }
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
}

void conn_reply(struct conn *conn)
{
    conn_flush(conn);
    conn_steer(conn);
}

/* Reads no more from it in this turn: libuv would go on while the buffer becomes full. */
static void conn_pause(struct conn *conn)
{
    conn->paused = true;
    conn->paused_next = conns.paused;
    conns.paused = conn;
    conn_steer(conn);
}

void conn_retry(struct conn *conn)
{
    conn->retry = true;
    if (!conn->paused)
        conn_pause(conn);
}

void conn_next_turn(void)
{
    conn_end_turn();
    while (conns.paused != NULL) {
        struct conn *conn = conns.paused;
        bool retry = conn->retry;
        conn_unpause(conn);
        conn->retry = false;
        if (retry)
            conn_resume(conn);
        else
            conn_steer(conn);
    }
    /* Those that were tried again may have appended. */
    conn_end_turn();
}

/* There is room again for the replies of those who have some waiting. */
static void conn_relax(void)
{
    if (!conns.crowded || !send_relaxed())
        return;
    conns.crowded = false;
    for (struct conn *conn = conns.first; conn != NULL; conn = conn->next)
        if (!conn->reading)
            conn_retry(conn);
    conn_next_turn();
}

void conn_sent(struct conn *conn, bool good)
{
    conn->active = uv_now(server.loop);
    if (!good || (conn->last && conn->pending == 0))
        conn_close(conn);
    else if (send_room(conn))
        conn_resume(conn);
    conn_end_turn();
    conn_relax();
}

void conn_end_turn(void)
{
    if (conns.ending)
        return;
    conns.ending = true;
    write_finish();
    do
        block_serve();
    while (write_finish());
    conns.ending = false;
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
        /* It may have said no more than that this is all, and wait for its answers. */
        conn_end_turn();
        conn->last = true;
        if (got == UV_EOF && conn->pending > 0)
            conn_steer(conn);
        else
            conn_close(conn);
        return;
    }
    server.bytes_in += (uint64_t)got;
    conn->active = uv_now(server.loop);
    if (!server.spin.busy && server.spin.ns > 0)
        spin_hears(&server.spin, uv_hrtime());
    bool more = (size_t)got == buf->len;
    if (buf->base == conns.buffer + conn->in_size)
        conn_turn(conn, conns.buffer, conn->in_size + (size_t)got);
    else
        conn_turn(conn, conn->in, conn->in_size + (size_t)got);
    if (more && !conn->closing)
        conn_pause(conn);
    /* A batch that is large gains nothing by growing, and others wait for it. */
    if (streams_gathered() >= CONN_ENOUGH)
        conn_end_turn();
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
