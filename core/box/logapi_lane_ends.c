/* logapi_lane_ends.c - their clients and readers; see logapi_lanes.h */
#include "box/logapi_lanes.h"

#include "box/park.h"

_Static_assert(sizeof(struct tide_log_batch) == sizeof(struct tide_lanesub_batch), "batch");
_Static_assert(offsetof(struct tide_log_batch, broker) ==
                   offsetof(struct tide_lanesub_batch, broker),
               "broker");
_Static_assert((int)TIDE_LOG_POSITION + 1 == (int)TIDE_LANES_POSITION, "start");

struct logapi_lane_client {
    struct tide_log_client client;
    struct tide_lane lane;
    bool hold;
};

struct logapi_lane_reader {
    struct tide_log_reader reader;
    struct tide_lanesub sub;
};

/* --- clients ------------------------------------------------------------------------------- */

static struct logapi_lane_client *logapi_lane_client(tide_log_client_t *client)
{
    return (struct logapi_lane_client *)(void *)client;
}

/* Takes the place of a client or a reader, `number` among all of them. */
static bool logapi_lane_take(struct tide_logapi_lanelog *self, uint32_t number)
{
    tide_lock_take_own(&self->log.lock);
    bool was = self->taken[number] != 0;
    self->taken[number] = 1;
    tide_lock_drop_own(&self->log.lock);
    if (!was)
        atomic_fetch_add_explicit(&self->log.handles, 1, memory_order_relaxed);
    return !was;
}

static void logapi_lane_give(struct tide_logapi_lanelog *self, uint32_t number)
{
    tide_lock_take_own(&self->log.lock);
    self->taken[number] = 0;
    tide_lock_drop_own(&self->log.lock);
    atomic_fetch_sub_explicit(&self->log.handles, 1, memory_order_release);
}

int64_t tide_logapi_lane_patience = INT64_C(10000000000);

static bool logapi_lane_never(const void *unused)
{
    (void)unused;
    return false;
}

static struct tide_logapi_patience logapi_lane_question(struct tide_logapi_lanelog *self)
{
    return tide_logapi_patience(self, &self->data, logapi_lane_never, NULL,
                                tide_logapi_lane_patience);
}

static int logapi_lane_tired(int error)
{
    return tide_logapi_lane_error(error, "no sequencer answered for ns",
                                  (uint64_t)tide_logapi_lane_patience);
}

/* Where the sequencer is, nobody else may be there to answer: whoever asks does a step. Its answer
 * may be overwritten each time, by somebody who should not. */
static int logapi_lane_help(struct tide_logapi_patience *wait)
{
    struct tide_logapi_lanelog *self = wait->log;
    if (!atomic_load_explicit(&self->leads, memory_order_acquire)) {
        int error = tide_logapi_lane_wait(wait);
        return error == 0 ? 0 : logapi_lane_tired(error);
    }
    if (tide_logapi_left(&wait->end, wait->timeout) == 0)
        return logapi_lane_tired(-ETIMEDOUT);
    tide_logapi_lane_call(self);
    if (tide_logapi_lane_step(self) == 0)
        tide_park_yield();
    return 0;
}

static int logapi_lane_check_client(const struct tide_logapi_lanelog *self,
                                    const struct tide_log_client_options *o)
{
    uint32_t share = self->map.clients / self->map.nodes, first = self->node.number * share;
    if (o->id < first || o->id - first >= share)
        return tide_logapi_error(-EINVAL, "client id", o->id, first, first + share - 1);
    if (o->join != 0)
        return tide_logapi_error(-EINVAL, "joined sessions where memory is not coherent", o->join,
                                 0, 0);
    if (o->ack > TIDE_LOG_ACK_DURABLE)
        return tide_logapi_error(-EINVAL, "acknowledgement", o->ack, 0, TIDE_LOG_ACK_DURABLE);
    if (o->ack == TIDE_LOG_ACK_DURABLE)
        return tide_logapi_error(-ENOTSUP, "not durable: the log's memory is not coherent", 0,
                                 TIDE_LOGAPI_WORDS, 0);
    return 0;
}

static int logapi_lane_client_open(tide_log_client_t **out, tide_log_t *log,
                                   const struct tide_log_client_options *o)
{
    struct tide_logapi_lanelog *self = tide_logapi_lanelog(log);
    int error = logapi_lane_check_client(self, o);
    if (error != 0 || (error = tide_logapi_lane_beat(self)) != 0)
        return error;
    struct logapi_lane_client *client = tide_logapi_handle(sizeof *client);
    if (client == NULL)
        return tide_logapi_error(-ENOMEM, "no memory for bytes of a handle", sizeof *client, 1, 0);
    if (!logapi_lane_take(self, o->id)) {
        tide_logapi_drop(client, sizeof *client);
        return tide_logapi_error(-EBUSY, "a client that is open has the id", o->id, 1, 0);
    }
    struct tide_logapi_patience wait = logapi_lane_question(self);
    tide_lane_ask(&client->lane, &self->map, o->id);
    while (error == 0 && tide_lane_granted(&client->lane) != 0)
        error = logapi_lane_help(&wait);
    if (error != 0) {
        logapi_lane_give(self, o->id);
        tide_logapi_drop(client, sizeof *client);
        return error;
    }
    client->hold = o->hold != 0;
    client->client.log = log;
    client->client.ack = o->ack;
    client->client.magic = TIDE_LOGAPI_LANE_CLIENT;
    *out = &client->client;
    return 0;
}

static int logapi_lane_busy(void)
{
    return tide_logapi_error(-EBUSY, "claims of this client that are out", 1, 0, 0);
}

static int logapi_lane_flush(tide_log_client_t *client)
{
    struct logapi_lane_client *self = logapi_lane_client(client);
    if (self->lane.held > 0) {
        int error = tide_logapi_lane_beat(tide_logapi_lanelog(client->log));
        if (error != 0)
            return error;
        tide_lane_flush(&self->lane);
        tide_logapi_lane_call(tide_logapi_lanelog(client->log));
    }
    return 0;
}

static int logapi_lane_client_close(tide_log_client_t *client)
{
    struct logapi_lane_client *self = logapi_lane_client(client);
    if (self->lane.claimed)
        return logapi_lane_busy();
    logapi_lane_flush(client);
    client->magic = 0;
    logapi_lane_give(tide_logapi_lanelog(client->log), self->lane.client);
    tide_logapi_drop(self, sizeof *self);
    return 0;
}

static int logapi_lane_number(tide_log_client_t *client, uint64_t number)
{
    logapi_lane_client(client)->lane.next = number;
    return 0;
}

static int logapi_lane_acked(tide_log_client_t *client, uint64_t *expected)
{
    const struct tide_lane *lane = &logapi_lane_client(client)->lane;
    if (lane->map->level != 4)
        return tide_logapi_error(-EINVAL, "sessions at order level", lane->map->level, 4, 4);
    *expected = tide_lane_expected(lane);
    return 0;
}

/* May the next batch go there? Asked where the answer may be no. */
static int logapi_lane_check(const struct tide_lane *lane, unsigned broker)
{
    int error = tide_lane_check(lane, broker);
    if (error == -ESTALE)
        return tide_logapi_error(error, "the session was opened anew: client", lane->client, 1, 0);
    if (error == -EALREADY)
        return tide_logapi_error(error, "number of a batch that has its place already", lane->next,
                                 tide_lane_expected(lane), UINT64_MAX);
    if (error == -EINVAL)
        return tide_logapi_error(error, "number below one that waits in the same lane", lane->next,
                                 lane->at[broker].above, UINT64_MAX);
    return 0;
}

struct logapi_lane_want {
    struct logapi_lane_client *client;
    uint32_t broker, bytes;
};

/* The claim itself is made by whoever waits: a try that succeeds is thrown away here, for
 * nobody else can take the room. */
static bool logapi_lane_may_claim(const void *what)
{
    const struct logapi_lane_want *want = what;
    struct tide_lane *lane = &want->client->lane;
    bool fits = tide_lane_claim(lane, want->broker, want->bytes);
    lane->claimed = false;
    return fits || tide_lane_check(lane, want->broker) != 0;
}

static int logapi_lane_claim_slow(struct logapi_lane_want *want, int64_t timeout)
{
    struct tide_logapi_lanelog *log = tide_logapi_lanelog(want->client->client.log);
    struct tide_lane *lane = &want->client->lane;
    struct tide_logapi_patience wait =
        tide_logapi_patience(log, &log->data, logapi_lane_may_claim, want, timeout);
    while (!tide_lane_claim(lane, want->broker, want->bytes)) {
        int error = logapi_lane_check(lane, want->broker);
        if (error != 0)
            return error;
        tide_logapi_lane_call(log);
        if ((error = tide_logapi_lane_wait(&wait)) != 0)
            return tide_logapi_lane_error(error, "full: broker", want->broker);
    }
    return 0;
}

static int logapi_lane_claim(tide_log_client_t *client, unsigned broker, size_t bytes,
                             int64_t timeout, unsigned char **data)
{
    struct logapi_lane_client *self = logapi_lane_client(client);
    struct tide_lane *lane = &self->lane;
    const struct tide_lanes *map = lane->map;
    struct logapi_lane_want want = {self, broker, (uint32_t)bytes};
    if (lane->claimed)
        return logapi_lane_busy();
    if (broker >= map->brokers)
        return tide_logapi_error(-EINVAL, "broker", broker, 0, map->brokers - 1);
    if (bytes > tide_lanes_most(map) || bytes == 0)
        return tide_logapi_error(bytes == 0 ? -EINVAL : -EMSGSIZE,
                                 "bytes of a batch with its frames", bytes, 1,
                                 tide_lanes_most(map));
    client->timeout = timeout;
    client->end = 0;
    tide_logapi_left(&client->end, timeout);
    int error = tide_logapi_lane_beat(tide_logapi_lanelog(client->log));
    if (error == 0 && map->level == 4 && lane->next < lane->sent)
        error = logapi_lane_check(lane, broker);
    if (error == 0 && !tide_lane_claim(lane, broker, (uint32_t)bytes))
        error = logapi_lane_claim_slow(&want, timeout);
    *data = lane->claim.payload;
    return error;
}

/* A batch that was sent. */
struct logapi_lane_sent {
    struct logapi_lane_client *client;
    struct tide_lane_result result;
    uint32_t broker;
};

static bool logapi_lane_is_placed(const void *what)
{
    const struct logapi_lane_sent *sent = what;
    const struct tide_lane *lane = &sent->client->lane;
    if (lane->map->level == 4 ? tide_lane_expected(lane) > sent->result.number
                              : tide_lane_done(lane, sent->broker) > sent->result.slot)
        return true;
    return tide_lane_check(lane, sent->broker) == -ESTALE;
}

/* Waits until it has its place, and that is committed: both are told together. */
static int logapi_lane_ack(const struct logapi_lane_sent *sent)
{
    struct tide_log_client *client = &sent->client->client;
    struct tide_logapi_lanelog *log = tide_logapi_lanelog(client->log);
    int64_t left = tide_logapi_left(&client->end, client->timeout);
    struct tide_logapi_patience wait =
        tide_logapi_patience(log, &log->data, logapi_lane_is_placed, sent, left);
    while (!logapi_lane_is_placed(sent)) {
        int error = tide_logapi_lane_wait(&wait);
        if (error != 0)
            return tide_logapi_lane_error(error == -ESTALE ? error : -EINPROGRESS,
                                          "in the log, not acknowledged yet: number of a batch",
                                          sent->result.number);
    }
    const struct tide_lane *lane = &sent->client->lane;
    bool fenced = tide_lane_check(lane, sent->broker) == -ESTALE;
    if (fenced && (lane->map->level == 5 || tide_lane_expected(lane) <= sent->result.number))
        return tide_logapi_error(-ESTALE, "the session was opened anew: client", lane->client, 1,
                                 0);
    return 0;
}

static int logapi_lane_commit(tide_log_client_t *client, uint32_t count, uint32_t size,
                              uint32_t past, struct tide_log_at *at)
{
    struct logapi_lane_client *self = logapi_lane_client(client);
    struct logapi_lane_sent sent = {.client = self, .broker = self->lane.claim.broker};
    int error = tide_logapi_lane_beat(tide_logapi_lanelog(client->log));
    if (error != 0) {
        self->lane.claimed = false;
        return error;
    }
    self->lane.claim.past = past;
    tide_lane_commit(&self->lane, count, size, &sent.result);
    if (at != NULL)
        *at = (struct tide_log_at){TIDE_LOG_NONE, TIDE_LOG_NONE, sent.result.number};
    if (!self->hold || client->ack != TIDE_LOG_ACK_NONE)
        logapi_lane_flush(client);
    else if (self->lane.held == 0)
        tide_logapi_lane_call(tide_logapi_lanelog(client->log));
    return client->ack != TIDE_LOG_ACK_NONE ? logapi_lane_ack(&sent) : 0;
}

static int logapi_lane_abort(tide_log_client_t *client)
{
    struct tide_lane *lane = &logapi_lane_client(client)->lane;
    int error = tide_logapi_lane_beat(tide_logapi_lanelog(client->log));
    if (error != 0) {
        lane->claimed = false;
        return error;
    }
    tide_lane_abort(lane);
    return logapi_lane_flush(client);
}

static const unsigned char *logapi_lane_claimed(const tide_log_client_t *client)
{
    const struct logapi_lane_client *self = (const void *)client;
    return self->lane.claimed ? self->lane.claim.payload : NULL;
}

/* --- readers ------------------------------------------------------------------------------- */

static struct logapi_lane_reader *logapi_lane_reader(tide_log_reader_t *reader)
{
    return (struct logapi_lane_reader *)(void *)reader;
}

static int logapi_lane_open_error(struct tide_logapi_lanelog *self, int error, uint64_t position)
{
    if (error == -ERANGE)
        return tide_logapi_error(error, "position, trimmed", position,
                                 tide_logapi_lane_word(self, &self->map.head->trimmed_place),
                                 UINT64_MAX);
    if (error == -ESTALE)
        return tide_logapi_error(error, "this process has lost its node of the log", 0,
                                 TIDE_LOGAPI_WORDS, 0);
    if (error == -EUCLEAN)
        return tide_logapi_error(error, "answer to a reader that there is not, at position",
                                 position, 1, 0);
    return tide_logapi_error(error, "position, in the future", position, 1, 0);
}

static int logapi_lane_join(struct tide_logapi_lanelog *self, struct logapi_lane_reader *reader,
                            uint32_t number, const struct tide_log_reader_options *o)
{
    struct tide_logapi_patience wait = logapi_lane_question(self);
    int error;
    tide_lanesub_ask(&reader->sub, &self->map, number,
                     (enum tide_lanes_start)(o->start + TIDE_LANES_EARLIEST), o->position);
    while ((error = tide_lanesub_granted(&reader->sub)) == -EAGAIN)
        if ((error = logapi_lane_help(&wait)) != 0) {
            if (error != -ESTALE)
                tide_lanesub_close(&reader->sub); /* or a late answer held others back */
            return error;
        }
    if (error == -EUCLEAN)
        tide_lanesub_close(&reader->sub); /* what the sequencer itself knows of it is sound */
    return error != 0 ? logapi_lane_open_error(self, error, o->position) : 0;
}

static int logapi_lane_reader_open(tide_log_reader_t **out, tide_log_t *log,
                                   const struct tide_log_reader_options *o)
{
    struct tide_logapi_lanelog *self = tide_logapi_lanelog(log);
    uint32_t clients = self->map.clients, share = self->map.readers / self->map.nodes;
    uint32_t number = self->node.number * share, end = number + share;
    if (o->policy != TIDE_LOG_GATE)
        return tide_logapi_error(-EINVAL, "policy where memory is not coherent", o->policy,
                                 TIDE_LOG_GATE, TIDE_LOG_GATE);
    if (o->start > TIDE_LOG_POSITION)
        return tide_logapi_error(-EINVAL, "start", o->start, 0, TIDE_LOG_POSITION);
    int error = tide_logapi_lane_beat(self);
    struct logapi_lane_reader *reader = tide_logapi_handle(sizeof *reader);
    if (reader == NULL)
        return tide_logapi_error(-ENOMEM, "no memory for bytes of a handle", sizeof *reader, 1, 0);
    while (number < end && !logapi_lane_take(self, clients + number))
        number++;
    if (error == 0)
        error = number == end ? tide_logapi_error(-ENFILE, "all readers are open", share, 1, 0)
                              : logapi_lane_join(self, reader, number, o);
    if (error != 0) {
        if (number < end)
            logapi_lane_give(self, clients + number);
        tide_logapi_drop(reader, sizeof *reader);
        return error;
    }
    reader->reader.log = log;
    reader->reader.magic = TIDE_LOGAPI_LANE_READER;
    *out = &reader->reader;
    return 0;
}

static int logapi_lane_reader_close(tide_log_reader_t *reader)
{
    struct logapi_lane_reader *self = logapi_lane_reader(reader);
    struct tide_logapi_lanelog *log = tide_logapi_lanelog(reader->log);
    reader->magic = 0;
    if (tide_logapi_lane_beat(log) == 0)
        tide_lanesub_close(&self->sub);
    tide_logapi_lane_call(log);
    logapi_lane_give(log, log->map.clients + self->sub.reader);
    tide_logapi_drop(self, sizeof *self);
    return 0;
}

static bool logapi_lane_is_ready(const void *what)
{
    const struct logapi_lane_reader *self = what;
    const struct tide_lanes_entry *entry = tide_lanes_entry(self->sub.map, self->sub.next);
    tide_coh_fresh(self->sub.map->coh, entry, sizeof *entry);
    return tide_coh_get(self->sub.map->coh, &entry->seq) == self->sub.next + 1;
}

/* One poll; a cursor that moved is the sequencer's business. */
static int logapi_lane_look(struct logapi_lane_reader *self, struct tide_log_batch *batches,
                            int most)
{
    uint64_t cursor = self->sub.cursor;
    int got = tide_lanesub_poll(&self->sub, (struct tide_lanesub_batch *)(void *)batches, most);
    if (self->sub.cursor != cursor)
        tide_logapi_lane_call(tide_logapi_lanelog(self->reader.log));
    return got;
}

static int logapi_lane_read(tide_log_reader_t *reader, struct tide_log_batch *batches, int most,
                            int64_t timeout)
{
    struct logapi_lane_reader *self = logapi_lane_reader(reader);
    struct tide_logapi_lanelog *log = tide_logapi_lanelog(reader->log);
    if (most < 1)
        return tide_logapi_error(-EINVAL, "batches to read at once", 0, 1, INT_MAX);
    struct tide_logapi_patience wait =
        tide_logapi_patience(log, &log->data, logapi_lane_is_ready, self, timeout);
    int got, error = tide_logapi_lane_beat(log);
    if (error != 0)
        return error;
    while ((got = logapi_lane_look(self, batches, most)) == 0)
        if ((error = tide_logapi_lane_wait(&wait)) != 0)
            return tide_logapi_lane_error(error, "nothing to read at position", self->sub.next);
    if (got < 0 && (error = tide_logapi_lane_live(log, true)) != 0)
        return error; /* what it reads is kept for it no longer */
    if (got < 0)
        return tide_logapi_error(got, "damaged batch at position", self->sub.next, 1, 0);
    return got;
}

static int logapi_lane_done(tide_log_reader_t *reader)
{
    int error = tide_logapi_lane_beat(tide_logapi_lanelog(reader->log));
    if (error != 0)
        return error;
    tide_lanesub_done(&logapi_lane_reader(reader)->sub);
    tide_logapi_lane_call(tide_logapi_lanelog(reader->log));
    return 0;
}

const struct tide_logapi_ends tide_logapi_ends = {
    .client_open = logapi_lane_client_open,
    .client_close = logapi_lane_client_close,
    .number = logapi_lane_number,
    .acked = logapi_lane_acked,
    .flush = logapi_lane_flush,
    .claim = logapi_lane_claim,
    .claimed = logapi_lane_claimed,
    .commit = logapi_lane_commit,
    .abort = logapi_lane_abort,
    .reader_open = logapi_lane_reader_open,
    .reader_close = logapi_lane_reader_close,
    .read = logapi_lane_read,
    .done = logapi_lane_done,
};
