/* logapi_client.c - clients: appends and claims; see logapi.h */
#include "box/logapi_lanes.h"

static bool logapi_is_lane(const tide_log_client_t *client)
{
    return tide_logapi_is(client, TIDE_LOGAPI_LANE_CLIENT);
}

static int logapi_no_client(void)
{
    return tide_logapi_error(-ESTALE, "not an open client of this process", 0, 1, 0);
}

static bool logapi_is_client(const tide_log_client_t *client)
{
    return client != NULL && client->magic == TIDE_LOGAPI_CLIENT;
}

/* --- open and close ------------------------------------------------------------------- */

/* Somebody may have the door; perhaps one who died. */
static int logapi_open_session(tide_log_client_t *client, bool join)
{
    uint64_t end = 0;
    const struct tide_logmap *map = &client->log->map;
    struct tide_broker *broker = &client->broker;
    broker->epoch = tide_session_epoch(map, broker->client);
    if (join && broker->epoch != 0 && tide_session_is_current(map, broker->client, broker->epoch)) {
        broker->next = tide_session_expected(map, broker->client);
        broker->entry->epoch = broker->epoch;
        return 0;
    }
    for (broker->epoch = 0; broker->epoch == 0; tide_rescue_look(&client->log->crew)) {
        if (!tide_logapi_enter(client))
            return tide_logapi_gone(client->log);
        broker->epoch = tide_session_open(map, broker->client, &broker->next);
        broker->entry->epoch = broker->epoch; /* who ends is in the way of this one only */
        tide_logapi_exit(client);
        if (broker->epoch == 0 && !tide_trim_wait(&end))
            return tide_logapi_error(-EBUSY, "somebody keeps the door of the session of client",
                                     broker->client, 1, 0);
    }
    tide_broker_keep(broker);
    tide_logapi_ring(&map->head->space);
    tide_logapi_ring(&map->head->data); /* who waits for an acknowledgement of the old one */
    return 0;
}

/* Takes an entry of the table. */
static int logapi_open_entry(tide_log_client_t *client, tide_log_t *log, uint32_t id)
{
    if (!tide_crew_begin(&log->crew))
        return tide_logapi_gone(log);
    bool open = tide_broker_open(&client->broker, &log->map, id, log->process, 0);
    tide_crew_end(&log->crew);
    if (!open)
        return tide_logapi_error(-ENFILE, "all clients are open", log->map.producers, 1, 0);
    return 0;
}

static int logapi_close_entry(tide_log_client_t *client)
{
    if (!tide_crew_begin(&client->log->crew))
        return tide_crew_error(&client->log->crew) != 0 ? 0 : tide_logapi_gone(client->log);
    tide_broker_close(&client->broker);
    tide_crew_end(&client->log->crew);
    return 0;
}

TIDE_EXPORT int tide_log_client_open(tide_log_client_t **out, tide_log_t *log,
                                     const struct tide_log_client_options *options)
{
    static const struct tide_log_client_options initial;
    const struct tide_log_client_options *o = options != NULL ? options : &initial;
    if (tide_logapi_is(log, TIDE_LOGAPI_LANES))
        return tide_logapi_ends.client_open(out, log, o);
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
    client->log = log;
    client->ack = o->ack;
    if ((error = logapi_open_entry(client, log, o->id)) == 0 && log->map.level == 4 &&
        (error = logapi_open_session(client, o->join != 0)) != 0)
        tide_coh_win(log->map.coh, &client->broker.entry->owner, &(uint64_t){log->process}, 0);
    if (error != 0) {
        tide_logapi_drop(client, sizeof *client);
        return error;
    }
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
    if (logapi_is_lane(client))
        return tide_logapi_ends.client_close(client);
    if (!logapi_is_client(client))
        return logapi_no_client();
    if (client->broker.claimed)
        return logapi_busy();
    int error = logapi_close_entry(client);
    if (error != 0)
        return error;
    client->magic = 0;
    atomic_fetch_sub_explicit(&client->log->handles, 1, memory_order_release);
    tide_logapi_drop(client, sizeof *client);
    return 0;
}

TIDE_EXPORT int tide_log_flush(tide_log_client_t *client)
{
    if (logapi_is_lane(client))
        return tide_logapi_ends.flush(client);
    return logapi_is_client(client) ? 0 : logapi_no_client();
}

/* --- sessions --------------------------------------------------------------------------- */

TIDE_EXPORT int tide_log_set_number(tide_log_client_t *client, uint64_t number)
{
    if (logapi_is_lane(client))
        return tide_logapi_ends.number(client, number);
    if (!logapi_is_client(client))
        return logapi_no_client();
    client->broker.next = number;
    return 0;
}

TIDE_EXPORT int tide_log_acked(tide_log_client_t *client, uint64_t *expected)
{
    if (logapi_is_lane(client))
        return tide_logapi_ends.acked(client, expected);
    if (!logapi_is_client(client))
        return logapi_no_client();
    if (client->log->map.level != 4)
        return tide_logapi_error(-EINVAL, "sessions at order level", client->log->map.level, 4, 4);
    *expected = tide_session_expected(&client->log->map, client->broker.client);
    return 0;
}

static int logapi_fenced(const tide_log_client_t *client)
{
    return tide_logapi_error(-ESTALE, "the session was ended or opened anew: client",
                             client->broker.client, 1, 0);
}

static int logapi_late(const tide_log_client_t *client, uint64_t number)
{
    return tide_logapi_error(-EALREADY, "number of a batch that has its place already", number,
                             tide_session_expected(&client->log->map, client->broker.client),
                             UINT64_MAX);
}

/* Level 4: may the client's next batch go out now? 0; -EAGAIN: it is too far ahead. */
TIDE_NOINLINE static int logapi_check_turn(const tide_log_client_t *client)
{
    const struct tide_broker *broker = &client->broker;
    uint64_t expected = tide_session_expected(broker->map, broker->client);
    if (!tide_session_is_current(broker->map, broker->client, broker->epoch))
        return logapi_fenced(client);
    if (broker->next < expected)
        return logapi_late(client, broker->next);
    return broker->next - expected < tide_session_ahead(broker->map) ? 0 : -EAGAIN;
}

/* The same, and how much of a ring it may fill; in its turn at once. */
TIDE_INLINE int logapi_check_session(const tide_log_client_t *client, enum tide_ring_share *share)
{
    const struct tide_broker *broker = &client->broker;
    *share = TIDE_RING_MOST;
    if (TIDE_LIKELY(tide_session_is_next(broker->map, broker->client, broker->next) &&
                    tide_session_is_current(broker->map, broker->client, broker->epoch)))
        return 0;
    *share = tide_broker_share(broker);
    return logapi_check_turn(client);
}

/* --- claims ------------------------------------------------------------------------------ */

struct logapi_want {
    tide_log_client_t *client;
    uint32_t broker, bytes;
    bool stays; /* with a claim, inside the call: it is filled and committed at once */
};

/* A call of the client has begun. */
TIDE_INLINE void logapi_note(tide_log_client_t *client)
{
    client->generation = atomic_load_explicit(&client->log->crew.generation, memory_order_relaxed);
}

/* One try; -EAGAIN: it is not decided. */
TIDE_INLINE int logapi_try(tide_log_client_t *client, uint32_t broker, uint32_t bytes, bool stays,
                           struct tide_ring_claim *claim)
{
    if (TIDE_UNLIKELY(!tide_logapi_try(client)))
        return tide_logapi_not_now(client->log);
    enum tide_ring_share share = TIDE_RING_ALL;
    int error = client->log->map.level == 4 ? logapi_check_session(client, &share) : 0;
    if (TIDE_LIKELY(error == 0) &&
        TIDE_UNLIKELY(!tide_broker_take(&client->broker, broker, bytes, share, claim)))
        error = -EAGAIN;
    if (stays && TIDE_LIKELY(error == 0))
        logapi_note(client);
    else
        tide_logapi_exit(client);
    return error;
}

/* The same when blocks may have to go home before more is trimmed. */
static int logapi_try_on(const struct logapi_want *want, struct tide_ring_claim *claim)
{
    for (uint64_t i = 0; i <= want->client->log->map.slots.size; i++) {
        int error = logapi_try(want->client, want->broker, want->bytes, want->stays, claim);
        if (error != -EAGAIN || tide_logapi_reclaim(want->client->log) == 0)
            return error;
    }
    return -EAGAIN;
}

/* Space may be there, or an error: either way it is time to try. The claim itself is not
 * made here: the sleeper only looks. */
static bool logapi_may_claim(const void *what)
{
    const struct logapi_want *want = what;
    const struct tide_logmap *map = want->client->broker.map;
    if (!tide_logapi_try(want->client))
        return tide_crew_error(&want->client->log->crew) != 0;
    int error = map->level == 4 ? logapi_check_turn(want->client) : 0;
    bool fits = error == 0 && (tide_ring_fits(map, want->broker, want->bytes,
                                              tide_broker_share(&want->client->broker)) ||
                               tide_trim_for(map, want->broker) != 0);
    tide_logapi_exit(want->client);
    if (error != 0)
        return error != -EAGAIN;
    return fits || tide_logapi_reclaim(want->client->log) != 0;
}

TIDE_COLD static int logapi_repairing(int error)
{
    return tide_logapi_error(error, "others are repairing the log", 0, TIDE_LOGAPI_WORDS, 0);
}

TIDE_NOINLINE static int logapi_claim_slow(tide_log_client_t *client, uint32_t broker,
                                           uint32_t bytes, bool stays, int64_t timeout,
                                           struct tide_ring_claim *claim)
{
    tide_log_t *log = client->log;
    const struct logapi_want want = {client, broker, bytes, stays};
    struct tide_logapi_wait wait = {.log = log,
                                    .bell = &log->map.head->space,
                                    .ready = logapi_may_claim,
                                    .what = &want,
                                    .timeout = timeout};
    int error;
    client->broker.entry->waits += timeout != 0;
    while ((error = logapi_try_on(&want, claim)) == -EAGAIN) {
        error = tide_logapi_wait(&wait);
        if (error != 0 && tide_crew_is_stopped(&log->crew))
            return logapi_repairing(error);
        if (error != 0)
            return tide_logapi_error(error, "full: broker", broker, 1, 0);
    }
    return error;
}

/* Everything else that may be wrong with a claim. */
TIDE_INLINE int logapi_claim_room(tide_log_client_t *client, unsigned broker, uint32_t bytes,
                                  int64_t timeout, bool stays, struct tide_ring_claim *claim)
{
    struct tide_ring_claim other; /* so that *claim may stay in registers */
    if (TIDE_UNLIKELY(client->broker.claimed))
        return logapi_busy();
    if (TIDE_UNLIKELY(client->ack != TIDE_LOG_ACK_NONE)) {
        client->timeout = timeout;
        client->end = 0;
        tide_logapi_left(&client->end, timeout);
    }
    tide_logapi_reclaim(client->log);
    int error = logapi_try(client, broker, bytes, stays, claim);
    if (TIDE_LIKELY(error != -EAGAIN))
        return error;
    if ((error = logapi_claim_slow(client, broker, bytes, stays, timeout, &other)) == 0)
        *claim = other;
    return error;
}

static int logapi_no_broker(const struct tide_logmap *map, unsigned broker)
{
    return tide_logapi_error(-EINVAL, "broker", broker, 0, map->brokers - 1);
}

/* Everything that may be wrong with a claim, cheapest first. `stays`: then it is to be committed
 * at once, for the call has begun and is not over. */
TIDE_INLINE int logapi_claim(tide_log_client_t *client, unsigned broker, size_t bytes,
                             int64_t timeout, bool stays, struct tide_ring_claim *claim)
{
    if (TIDE_UNLIKELY(!logapi_is_client(client)))
        return logapi_no_client();
    const struct tide_logmap *map = &client->log->map;
    if (TIDE_UNLIKELY(broker >= map->brokers))
        return logapi_no_broker(map, broker);
    if (TIDE_UNLIKELY(bytes > tide_ring_most(map) || bytes == 0))
        return tide_logapi_error(bytes == 0 ? -EINVAL : -EMSGSIZE,
                                 "bytes of a batch with its frames", bytes, 1, tide_ring_most(map));
    return logapi_claim_room(client, broker, (uint32_t)bytes, timeout, stays, claim);
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
        tide_logapi_look_behind(client);
        if (result->verdict == TIDE_SESSION_LATE)
            return logapi_late(client, result->number);
        if (result->verdict == TIDE_SESSION_REFUSED)
            return logapi_fenced(client);
    }
    return 0;
}

/* Waits for the acknowledgement; *at is where the batch is then. */
static int logapi_wait_ack(tide_log_client_t *client, struct tide_broker_result *result,
                           uint32_t to, struct tide_log_at *at)
{
    int error = tide_logapi_ack(client, result, to);
    if (at != NULL && client->log->crew.shared && at->position != TIDE_LOG_NONE) {
        at->position = result->ordered ? result->at.place : TIDE_LOG_NONE;
        at->base = result->ordered ? result->at.base : TIDE_LOG_NONE;
    }
    return error;
}

/* The claim is not this process's any more; or it stays, for whoever repairs stands still. */
TIDE_COLD static int logapi_lost_claim(tide_log_client_t *client)
{
    client->broker.claimed = tide_crew_error(&client->log->crew) == 0;
    return tide_logapi_gone(client->log);
}

/* A commit, or an abort, begins as a call of the log. */
TIDE_INLINE bool logapi_begin(tide_log_client_t *client)
{
    if (TIDE_UNLIKELY(!tide_logapi_enter(client)))
        return false;
    logapi_note(client);
    return true;
}

/* Inside a call, which is over then. */
TIDE_INLINE int logapi_commit(tide_log_client_t *client, const struct tide_ring_claim *claim,
                              uint32_t count, uint32_t size, struct tide_log_at *at)
{
    struct tide_broker_result result;
    tide_broker_put(&client->broker, claim, count, size, &result);
    tide_logapi_exit(client);
    int error = logapi_tell(client, &result, at);
    return TIDE_LIKELY(error != 0 || client->ack == TIDE_LOG_ACK_NONE)
               ? error
               : logapi_wait_ack(client, &result, claim->broker, at);
}

static bool logapi_owns_lane(const struct tide_log_claim *claim)
{
    return logapi_is_lane(claim->client) && claim->data != NULL &&
           claim->data == tide_logapi_ends.claimed(claim->client);
}

static bool logapi_owns(const struct tide_log_claim *claim)
{
    return logapi_is_client(claim->client) && claim->client->broker.claimed &&
           claim->data == claim->client->broker.claim.payload;
}

TIDE_EXPORT int tide_log_claim(tide_log_client_t *client, unsigned broker, size_t bytes,
                               int64_t timeout, struct tide_log_claim *claim)
{
    unsigned char *data = NULL;
    int error = 0;
    if (logapi_is_lane(client))
        error = tide_logapi_ends.claim(client, broker, bytes, timeout, &data);
    else if ((error = logapi_claim(client, broker, bytes, timeout, false, &client->broker.claim)) ==
             0) {
        client->broker.claimed = true;
        data = client->broker.claim.payload;
    }
    if (error == 0)
        *claim = (struct tide_log_claim){client, data, (uint32_t)bytes, 0, 0};
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
    bool lane = logapi_owns_lane(claim);
    if (!lane && !logapi_owns(claim))
        return logapi_no_claim();
    if (claim->count == 0)
        return tide_logapi_error(-EINVAL, "messages of a batch", 0, 1, UINT32_MAX);
    if (lane)
        return tide_logapi_ends.commit(claim->client, claim->count, claim->used, 0, at);
    if (TIDE_UNLIKELY(!logapi_begin(claim->client)))
        return logapi_lost_claim(claim->client);
    claim->client->broker.claimed = false;
    return logapi_commit(claim->client, &claim->client->broker.claim, claim->count, claim->used,
                         at);
}

TIDE_EXPORT int tide_log_abort(struct tide_log_claim *claim)
{
    if (logapi_owns_lane(claim))
        return tide_logapi_ends.abort(claim->client);
    if (!logapi_owns(claim))
        return logapi_no_claim();
    struct tide_layout_head *head = claim->client->log->map.head;
    if (!logapi_begin(claim->client))
        return logapi_lost_claim(claim->client);
    tide_broker_abort(&claim->client->broker);
    tide_logapi_exit(claim->client);
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

/* The same in a lane. What went past the caches need not be written back out of them. */
TIDE_NOINLINE static int logapi_append_lane(tide_log_client_t *client, unsigned broker,
                                            const struct tide_log_message *messages, size_t count,
                                            int64_t timeout, struct tide_log_at *at)
{
    struct tide_frame_writer writer;
    unsigned char *data;
    size_t bytes = logapi_sum(messages, count);
    bool stream = TIDE_FRAME_PAST != 0 && bytes >= TIDE_FRAME_STREAM;
    int error = tide_logapi_ends.claim(client, broker, bytes, timeout, &data);
    if (error != 0)
        return error;
    tide_frame_start(&writer, data, stream);
    for (size_t i = 0; i < count; i++)
        tide_frame_put(&writer, messages[i].data, messages[i].size, messages[i].tag);
    tide_frame_end(&writer);
    return tide_logapi_ends.commit(client, (uint32_t)count, (uint32_t)bytes,
                                   stream ? (uint32_t)tide_align_down(bytes, TIDE_LINE) : 0, at);
}

/* No claim: of a lane, or an error. */
TIDE_NOINLINE static int logapi_append_not(tide_log_client_t *client, unsigned broker,
                                           const void *data, size_t size, int64_t timeout,
                                           struct tide_log_at *at, int error)
{
    struct tide_log_message one = {data, size, 0};
    return logapi_is_lane(client) ? logapi_append_lane(client, broker, &one, 1, timeout, at)
                                  : error;
}

TIDE_EXPORT int tide_log_append(tide_log_client_t *client, unsigned broker, const void *data,
                                size_t size, int64_t timeout, struct tide_log_at *at)
{
    struct tide_ring_claim claim = {0};
    size_t bytes = tide_frame_bytes(size);
    int error = logapi_claim(client, broker, bytes != 0 ? bytes : size, timeout, true, &claim);
    if (TIDE_UNLIKELY(error != 0))
        return logapi_append_not(client, broker, data, size, timeout, at, error);
    unsigned char *to = claim.payload;
    if (TIDE_LIKELY(bytes < TIDE_FRAME_STREAM || !client->log->map.stream))
        tide_frame_one(to, data, size);
    else
        tide_frame_one_streamed(to, data, size);
    error = logapi_commit(client, &claim, 1, (uint32_t)bytes, at);
    logapi_count(&client->broker.entry->copied, bytes); /* when others can read it already */
    return error;
}

TIDE_EXPORT int tide_log_append_batch(tide_log_client_t *client, unsigned broker,
                                      const struct tide_log_message *messages, size_t count,
                                      int64_t timeout, struct tide_log_at *at)
{
    struct tide_frame_writer writer;
    struct tide_ring_claim claim = {0};
    size_t bytes = logapi_sum(messages, count);
    int error = logapi_claim(client, broker, bytes, timeout, true, &claim);
    if (TIDE_UNLIKELY(error != 0))
        return logapi_is_lane(client)
                   ? logapi_append_lane(client, broker, messages, count, timeout, at)
                   : error;
    tide_frame_start(&writer, claim.payload, client->log->map.stream && bytes >= TIDE_FRAME_STREAM);
    for (size_t i = 0; i < count; i++)
        tide_frame_put(&writer, messages[i].data, messages[i].size, messages[i].tag);
    tide_frame_end(&writer);
    logapi_count(&client->broker.entry->copied, bytes);
    return logapi_commit(client, &claim, (uint32_t)count, (uint32_t)bytes, at);
}

/* The blocks that go in are this process's. */
static int logapi_lend(tide_log_t *log, int64_t timeout)
{
    struct tide_logapi_wait wait = {.log = log, .bell = &log->map.head->space, .timeout = timeout};
    int error;
    while ((error = tide_crew_lend(&log->crew)) == -EAGAIN) {
        if (tide_crew_error(&log->crew) != 0)
            return tide_logapi_gone(log);
        if ((error = tide_logapi_wait(&wait)) != 0)
            return logapi_repairing(error);
    }
    if (error == 0)
        return 0;
    return tide_logapi_error(error, "blocks are appended by another process, member",
                             tide_coh_get(log->map.coh, &log->map.head->lender), 1, 0);
}

int tide_logapi_append_block(tide_log_client_t *client, unsigned broker,
                             const struct tide_broker_block *block, int64_t timeout,
                             struct tide_log_at *at)
{
    struct tide_broker_result result;
    if (broker >= client->log->map.brokers)
        return logapi_no_broker(&client->log->map, broker);
    int error = logapi_lend(client->log, timeout);
    if (error == 0)
        error = logapi_claim_room(client, broker, 0, timeout, true, &client->broker.claim);
    if (error != 0)
        return error;
    tide_broker_commit_block(&client->broker, block, &result);
    tide_logapi_exit(client);
    if ((error = logapi_tell(client, &result, at)) != 0)
        return error;
    logapi_count(&client->broker.entry->lent, block->size);
    if (client->ack != TIDE_LOG_ACK_NONE)
        error = logapi_wait_ack(client, &result, broker, at);
    return error != 0 ? -EINPROGRESS : 0;
}
