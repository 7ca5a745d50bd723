/* logapi_client.c - clients: appends and claims; see logapi.h */
#include "box/logapi.h"

#include "box/park.h"

static int logapi_no_client(void)
{
    return tide_logapi_error(-ESTALE, "not an open client of this process", 0, 1, 0);
}

static bool logapi_is_client(const tide_log_client_t *client)
{
    return client != NULL && client->magic == TIDE_LOGAPI_CLIENT;
}

/* --- open and close ------------------------------------------------------------------- */

static void logapi_open_session(tide_log_client_t *client, bool join)
{
    const struct tide_logmap *map = &client->log->map;
    struct tide_broker *broker = &client->broker;
    if (join && (broker->epoch = tide_session_epoch(map, broker->client)) != 0) {
        broker->next = tide_session_expected(map, broker->client);
        return;
    }
    while ((broker->epoch = tide_session_open(map, broker->client, &broker->next)) == 0)
        tide_park_yield();
    tide_logapi_ring(&map->head->space);
    tide_logapi_ring(&map->head->data); /* who waits for an acknowledgement of the old one */
}

TIDE_EXPORT int tide_log_client_open(tide_log_client_t **out, tide_log_t *log,
                                     const struct tide_log_client_options *options)
{
    static const struct tide_log_client_options initial;
    const struct tide_log_client_options *o = options != NULL ? options : &initial;
    if (log == NULL || log->magic != TIDE_LOGAPI_LOG)
        return tide_logapi_error(-ESTALE, "not an open log of this process", 0, 1, 0);
    int error = tide_logapi_check_ack(log, o->ack);
    if (error != 0)
        return error;
    if (log->map.level == 4 && o->id >= log->map.sessions)
        return tide_logapi_error(-EINVAL, "client id", o->id, 0, log->map.sessions - 1);
    tide_log_client_t *client = tide_logapi_handle(sizeof *client);
    if (client == NULL)
        return tide_logapi_error(-ENOMEM, "no memory for bytes of a handle", sizeof *client, 1, 0);
    if (!tide_broker_open(&client->broker, &log->map, o->id, log->process, 0)) {
        tide_logapi_drop(client, sizeof *client);
        return tide_logapi_error(-ENFILE, "all clients are open", log->map.producers, 1, 0);
    }
    client->log = log;
    client->ack = o->ack;
    if (log->map.level == 4)
        logapi_open_session(client, o->join != 0);
    atomic_fetch_add_explicit(&log->handles, 1, memory_order_relaxed);
    client->magic = TIDE_LOGAPI_CLIENT;
    *out = client;
    return 0;
}

static int logapi_busy(void)
{
    return tide_logapi_error(-EBUSY, "claims of this client that are out", 1, 0, 0);
}

TIDE_EXPORT int tide_log_client_close(tide_log_client_t *client)
{
    if (client == NULL)
        return 0;
    if (!logapi_is_client(client))
        return logapi_no_client();
    if (client->broker.claimed)
        return logapi_busy();
    client->magic = 0;
    tide_broker_close(&client->broker);
    atomic_fetch_sub_explicit(&client->log->handles, 1, memory_order_release);
    tide_logapi_drop(client, sizeof *client);
    return 0;
}

/* --- sessions --------------------------------------------------------------------------- */

TIDE_EXPORT int tide_log_set_number(tide_log_client_t *client, uint64_t number)
{
    if (!logapi_is_client(client))
        return logapi_no_client();
    client->broker.next = number;
    return 0;
}

TIDE_EXPORT int tide_log_acked(tide_log_client_t *client, uint64_t *expected)
{
    if (!logapi_is_client(client))
        return logapi_no_client();
    if (client->log->map.level != 4)
        return tide_logapi_error(-EINVAL, "sessions at order level", client->log->map.level, 4, 4);
    *expected = tide_session_expected(&client->log->map, client->broker.client);
    return 0;
}

static int logapi_fenced(const tide_log_client_t *client)
{
    return tide_logapi_error(-ESTALE, "the session was opened anew: client", client->broker.client,
                             1, 0);
}

static int logapi_late(const tide_log_client_t *client, uint64_t number)
{
    return tide_logapi_error(-EALREADY, "number of a batch that has its place already", number,
                             tide_session_expected(&client->log->map, client->broker.client),
                             UINT64_MAX);
}

/* Level 4: may the client's next batch go out now? 0; -EAGAIN: it is too far ahead. */
static int logapi_check_session(const tide_log_client_t *client)
{
    const struct tide_broker *broker = &client->broker;
    uint64_t expected = tide_session_expected(broker->map, broker->client);
    if (broker->epoch != tide_session_epoch(broker->map, broker->client))
        return logapi_fenced(client);
    if (broker->next < expected)
        return logapi_late(client, broker->next);
    return broker->next - expected < tide_session_ahead(broker->map) ? 0 : -EAGAIN;
}

/* --- claims ------------------------------------------------------------------------------ */

struct logapi_want {
    tide_log_client_t *client;
    uint32_t broker, bytes;
    int error;
};

/* One try; true when it is decided: a claim, or an error. */
TIDE_INLINE bool logapi_try(struct logapi_want *want)
{
    tide_log_client_t *client = want->client;
    want->error = client->log->map.level == 4 ? logapi_check_session(client) : 0;
    if (want->error == 0 && !tide_broker_claim(&client->broker, want->broker, want->bytes))
        want->error = -EAGAIN;
    return want->error != -EAGAIN;
}

/* The same when blocks may have to go home before more is trimmed. */
static bool logapi_try_on(struct logapi_want *want)
{
    while (!logapi_try(want))
        if (tide_logapi_reclaim(want->client->log) == 0)
            return false;
    return true;
}

/* Space may be there, or an error: either way it is time to try. The claim itself is not
 * made here: the sleeper only looks. */
static bool logapi_may_claim(const void *what)
{
    const struct logapi_want *want = what;
    const struct tide_logmap *map = want->client->broker.map;
    int error = map->level == 4 ? logapi_check_session(want->client) : 0;
    if (error != 0)
        return error != -EAGAIN;
    return tide_ring_fits(map, want->broker, want->bytes,
                          tide_broker_share(&want->client->broker)) ||
           tide_trim_for(map, want->broker) != 0 || tide_logapi_reclaim(want->client->log) != 0;
}

TIDE_NOINLINE static int logapi_claim_slow(struct logapi_want *want, int64_t timeout)
{
    tide_log_t *log = want->client->log;
    struct tide_logapi_wait wait = {
        .bell = &log->map.head->space, .ready = logapi_may_claim, .what = want, .timeout = timeout};
    want->client->broker.entry->waits += timeout != 0;
    while (!logapi_try_on(want)) {
        int error = tide_logapi_wait(&wait);
        if (error != 0)
            return tide_logapi_error(error, "full: broker", want->broker, 1, 0);
    }
    return want->error;
}

/* Everything else that may be wrong with a claim. */
TIDE_INLINE int logapi_claim_room(tide_log_client_t *client, unsigned broker, uint32_t bytes,
                                  int64_t timeout)
{
    struct logapi_want want = {client, broker, bytes, 0};
    if (TIDE_UNLIKELY(client->broker.claimed))
        return logapi_busy();
    if (TIDE_UNLIKELY(client->ack != TIDE_LOG_ACK_NONE)) {
        client->timeout = timeout;
        client->end = 0;
        tide_logapi_left(&client->end, timeout);
    }
    tide_logapi_reclaim(client->log);
    return TIDE_LIKELY(logapi_try(&want)) ? want.error : logapi_claim_slow(&want, timeout);
}

static int logapi_no_broker(const struct tide_logmap *map, unsigned broker)
{
    return tide_logapi_error(-EINVAL, "broker", broker, 0, map->brokers - 1);
}

/* Everything that may be wrong with a claim, cheapest first. */
static int logapi_claim(tide_log_client_t *client, unsigned broker, size_t bytes, int64_t timeout)
{
    if (TIDE_UNLIKELY(!logapi_is_client(client)))
        return logapi_no_client();
    const struct tide_logmap *map = &client->log->map;
    if (TIDE_UNLIKELY(broker >= map->brokers))
        return logapi_no_broker(map, broker);
    if (TIDE_UNLIKELY(bytes > tide_ring_most(map) || bytes == 0))
        return tide_logapi_error(bytes == 0 ? -EINVAL : -EMSGSIZE,
                                 "bytes of a batch with its frames", bytes, 1, tide_ring_most(map));
    return logapi_claim_room(client, broker, (uint32_t)bytes, timeout);
}

/* What is said of a batch that was committed. */
TIDE_INLINE int logapi_tell(tide_log_client_t *client, const struct tide_broker_result *result,
                            struct tide_log_at *at)
{
    const struct tide_logmap *map = &client->log->map;
    tide_logapi_ring(map->stepped && map->level != 0 ? &map->head->work : &map->head->data);
    tide_logapi_ring(&map->head->space); /* this batch may be what kept others from trimming */
    if (at != NULL) {
        at->number = result->number;
        at->position = result->ordered ? result->at.place : TIDE_LOG_NONE;
        at->base = result->ordered ? result->at.base : TIDE_LOG_NONE;
        if (map->level == 0)
            at->position = result->slot - 1;
    }
    if (TIDE_UNLIKELY(map->level == 4)) {
        if (result->verdict == TIDE_SESSION_LATE)
            return logapi_late(client, result->number);
        if (result->verdict == TIDE_SESSION_REFUSED)
            return logapi_fenced(client);
    }
    return 0;
}

static int logapi_commit(tide_log_client_t *client, uint32_t count, uint32_t size,
                         struct tide_log_at *at)
{
    struct tide_broker_result result;
    uint32_t to = client->broker.claim.broker;
    tide_broker_commit(&client->broker, count, size, &result);
    int error = logapi_tell(client, &result, at);
    return TIDE_LIKELY(error != 0 || client->ack == TIDE_LOG_ACK_NONE)
               ? error
               : tide_logapi_ack(client, &result, to, client->timeout);
}

static bool logapi_owns(const struct tide_log_claim *claim)
{
    return logapi_is_client(claim->client) && claim->client->broker.claimed &&
           claim->data == claim->client->broker.claim.payload;
}

TIDE_EXPORT int tide_log_claim(tide_log_client_t *client, unsigned broker, size_t bytes,
                               int64_t timeout, struct tide_log_claim *claim)
{
    int error = logapi_claim(client, broker, bytes, timeout);
    if (error == 0)
        *claim =
            (struct tide_log_claim){client, client->broker.claim.payload, (uint32_t)bytes, 0, 0};
    return error;
}

TIDE_EXPORT void *tide_log_put(struct tide_log_claim *claim, size_t size, uint64_t tag)
{
    size_t bytes = tide_frame_bytes(size);
    if (bytes == 0 || claim->used > claim->size || bytes > claim->size - claim->used) {
        tide_logapi_error(-EMSGSIZE, "bytes of a message in this claim, with its frame", bytes, 0,
                          claim->size - claim->used);
        return NULL;
    }
    struct tide_layout_frame frame = {(uint32_t)size, 0, tag};
    unsigned char *at = claim->data + claim->used;
    memcpy(at, &frame, sizeof frame);
    claim->used += (uint32_t)bytes;
    claim->count++;
    return at + sizeof frame;
}

static int logapi_no_claim(void)
{
    return tide_logapi_error(-ESTALE, "not a claim that is out", 0, 1, 0);
}

TIDE_EXPORT int tide_log_commit(struct tide_log_claim *claim, struct tide_log_at *at)
{
    if (!logapi_owns(claim))
        return logapi_no_claim();
    if (claim->count == 0)
        return tide_logapi_error(-EINVAL, "messages of a batch", 0, 1, UINT32_MAX);
    return logapi_commit(claim->client, claim->count, claim->used, at);
}

TIDE_EXPORT int tide_log_abort(struct tide_log_claim *claim)
{
    if (!logapi_owns(claim))
        return logapi_no_claim();
    struct tide_layout_head *head = claim->client->log->map.head;
    tide_broker_abort(&claim->client->broker);
    tide_logapi_ring(&head->work);
    tide_logapi_ring(&head->space);
    return 0;
}

/* --- appends ------------------------------------------------------------------------------- */

/* One writer for each word: the client's thread. */
static void logapi_count(_Atomic uint64_t *word, uint64_t bytes)
{
    uint64_t sum = atomic_load_explicit(word, memory_order_relaxed) + bytes;
    atomic_store_explicit(word, sum, memory_order_relaxed);
}

/* A small message that goes the plain way, without a writer. */
static void logapi_write_one(unsigned char *to, const void *data, size_t size)
{
    struct tide_layout_frame frame = {(uint32_t)size, 0, 0};
    memcpy(to, &frame, sizeof frame);
    if (size > 0)
        memcpy(to + sizeof frame, data, size);
}

TIDE_EXPORT int tide_log_append(tide_log_client_t *client, unsigned broker, const void *data,
                                size_t size, int64_t timeout, struct tide_log_at *at)
{
    size_t bytes = tide_frame_bytes(size);
    int error = logapi_claim(client, broker, bytes != 0 ? bytes : size, timeout);
    if (TIDE_UNLIKELY(error != 0))
        return error;
    unsigned char *to = client->broker.claim.payload;
    if (bytes < TIDE_FRAME_STREAM || !client->log->map.stream) {
        logapi_write_one(to, data, size);
    } else {
        struct tide_frame_writer writer;
        tide_frame_start(&writer, to, true);
        tide_frame_put(&writer, data, size, 0);
        tide_frame_end(&writer);
    }
    logapi_count(&client->broker.entry->copied, bytes);
    return logapi_commit(client, 1, (uint32_t)bytes, at);
}

/* Bytes of all frames; more than any ring takes when that overflows. */
static size_t logapi_sum(const struct tide_log_message *messages, size_t count)
{
    size_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        size_t bytes = tide_frame_bytes(messages[i].size);
        if (bytes == 0)
            return messages[i].size;
        if (__builtin_add_overflow(sum, bytes, &sum))
            return SIZE_MAX;
    }
    return sum;
}

TIDE_EXPORT int tide_log_append_batch(tide_log_client_t *client, unsigned broker,
                                      const struct tide_log_message *messages, size_t count,
                                      int64_t timeout, struct tide_log_at *at)
{
    struct tide_frame_writer writer;
    size_t bytes = logapi_sum(messages, count);
    int error = logapi_claim(client, broker, bytes, timeout);
    if (TIDE_UNLIKELY(error != 0))
        return error;
    tide_frame_start(&writer, client->broker.claim.payload,
                     client->log->map.stream && bytes >= TIDE_FRAME_STREAM);
    for (size_t i = 0; i < count; i++)
        tide_frame_put(&writer, messages[i].data, messages[i].size, messages[i].tag);
    tide_frame_end(&writer);
    logapi_count(&client->broker.entry->copied, bytes);
    return logapi_commit(client, (uint32_t)count, (uint32_t)bytes, at);
}

int tide_logapi_append_block(tide_log_client_t *client, unsigned broker,
                             const struct tide_broker_block *block, int64_t timeout,
                             struct tide_log_at *at)
{
    struct tide_broker_result result;
    if (broker >= client->log->map.brokers)
        return logapi_no_broker(&client->log->map, broker);
    int error = logapi_claim_room(client, broker, 0, timeout);
    if (error != 0)
        return error;
    tide_broker_commit_block(&client->broker, block, &result);
    if ((error = logapi_tell(client, &result, at)) != 0)
        return error;
    logapi_count(&client->broker.entry->lent, block->size);
    if (client->ack != TIDE_LOG_ACK_NONE)
        error = tide_logapi_ack(client, &result, broker, client->timeout);
    return error != 0 ? -EINPROGRESS : 0;
}
