/* block.c - see block.h */
#include "block.h"

#include <stdlib.h>

#include "read.h"

/* One stream of a wait, in the ring of that stream's waiters. */
struct waiter {
    struct waiter *next, *prev;
    struct stream *stream;
    struct wait *wait;
    struct sid after;
};

struct wait {
    struct conn *conn;
    uint64_t count;
    uint32_t keys;
    struct waiter key[];
};

/* ---- the rings ---- */

static void waiter_link(struct waiter *waiter)
{
    struct waiter *first = waiter->stream->waiters;
    if (first == NULL) {
        waiter->next = waiter->prev = waiter;
        waiter->stream->waiters = waiter;
        return;
    }
    waiter->next = first;
    waiter->prev = first->prev;
    first->prev->next = waiter;
    first->prev = waiter;
}

static void waiter_unlink(struct waiter *waiter)
{
    struct stream *stream = waiter->stream;
    waiter->prev->next = waiter->next;
    waiter->next->prev = waiter->prev;
    if (stream->waiters == waiter)
        stream->waiters = waiter->next != waiter ? waiter->next : NULL;
}

/* ---- begin and end ---- */

void block_cancel(struct conn *conn)
{
    struct wait *wait = conn->wait;
    if (wait == NULL)
        return;
    conn->wait = NULL;
    server.blocked--;
    uv_timer_stop(&conn->timer);
    for (uint32_t i = 0; i < wait->keys; i++)
        waiter_unlink(&wait->key[i]);
    /* The same stream may be there twice: only now. */
    for (uint32_t i = 0; i < wait->keys; i++) {
        struct stream *stream = wait->key[i].stream;
        for (uint32_t j = i + 1; j < wait->keys; j++)
            if (wait->key[j].stream == stream)
                stream = NULL;
        if (stream != NULL)
            streams_forget(stream);
    }
    free(wait);
}

static void block_expired(uv_timer_t *timer)
{
    struct conn *conn = timer->data;
    block_cancel(conn);
    out_array(&server.out, -1);
    conn_flush(conn);
    conn_resume(conn);
    conn_end_turn();
}

bool block_start(struct conn *conn, uint64_t timeout, uint64_t count, const struct block_key *key,
                 uint32_t keys)
{
    struct wait *wait = malloc(sizeof *wait + keys * sizeof wait->key[0]);
    if (wait == NULL)
        return false;
    *wait = (struct wait){.conn = conn, .count = count, .keys = keys};
    for (uint32_t i = 0; i < keys; i++) {
        wait->key[i] = (struct waiter){NULL, NULL, key[i].stream, wait, key[i].after};
        waiter_link(&wait->key[i]);
    }
    conn->wait = wait;
    server.blocked++;
    uv_update_time(server.loop);
    if (timeout > 0)
        uv_timer_start(&conn->timer, block_expired, timeout, 0);
    return true;
}

/* ---- serving ---- */

/* The first waiter of the stream who has something to get. */
static struct waiter *block_due(const struct stream *stream)
{
    struct waiter *waiter = stream->waiters;
    if (waiter == NULL)
        return NULL;
    do
        if (sid_compare(stream->last, waiter->after) > 0 && read_has(stream, waiter->after))
            return waiter;
    while ((waiter = waiter->next) != stream->waiters);
    return NULL;
}

static void block_serve_stream(struct stream *stream)
{
    struct waiter *waiter;
    while ((waiter = block_due(stream)) != NULL) {
        struct conn *conn = waiter->wait->conn;
        struct sid after = waiter->after;
        uint64_t count = waiter->wait->count;
        read_stream(stream, after, count);
        block_cancel(conn);
        conn_flush(conn);
        conn_resume(conn);
    }
}

void block_serve(void)
{
    struct stream *stream, *next;
    while ((stream = streams_news()) != NULL)
        for (; stream != NULL; stream = next) {
            next = stream->ready;
            block_serve_stream(stream);
            stream->is_ready = false;
            streams_forget(stream);
        }
}
