/* store.c - see store.h */
#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

enum { STORE_SESSIONS_MAX = 65536, STORE_READ = 64 };

static struct {
    tide_log_t *log;
    tide_log_client_t *client; /* level 5: of all; level 4: of the program itself, session 0 */
    tide_log_reader_t *guard;  /* nobody trims what is not below its position */
    struct store_options is;
    uint64_t next, top, earliest;
    uintptr_t origin; /* addresses are told from here */
    tide_region_t *region;
    bool alone;                                     /* no other process can have the log */
    tide_log_client_t *session[STORE_SESSIONS_MAX]; /* level 4, by id from 1 on */
    unsigned hint;                                  /* no free id below */
} store;

static bool store_fail(char *error, size_t len, const char *what)
{
    char why[256];
    tide_log_explain(why, sizeof why);
    snprintf(error, len, "%s: %s", what, why);
    return false;
}

/* ---- open and close ---- */

/* Bytes around the origin that short addresses reach, to each side. */
#define STORE_REACH ((uint64_t)8 << 31)

/* A region has its beginning; a log of its own is told by a first batch that is nowhere. */
static bool store_find_origin(char *error, size_t len)
{
    struct tide_log_claim claim;
    if (store.region != NULL) {
        store.origin = (uintptr_t)tide_region_base(store.region) + STORE_REACH;
        return true;
    }
    if (tide_log_claim(store.client, 0, 64, TIDE_LOG_TRY, &claim) != 0)
        return store_fail(error, len, "the log takes no batch");
    store.origin = (uintptr_t)claim.data;
    tide_log_abort(&claim);
    return true;
}

/* A region with room for the log and for its own table. */
static bool store_make_region(const struct tide_log_options *want, char *error, size_t len)
{
    struct tide_region_error why;
    int64_t size = tide_log_size(want);
    if (size < 0)
        return store_fail(error, len, "no log");
    uint64_t segments = (uint64_t)size / TIDE_REGION_SEGMENT + 1;
    segments += 2 + segments / 2048;
    if (segments * TIDE_REGION_SEGMENT > 2 * STORE_REACH) {
        snprintf(error, len, "a log of %lld bytes: at most 32 GiB", (long long)size);
        return false;
    }
    /* A device has its size. */
    size_t bytes = strncmp(store.is.source, "dax:", 4) == 0 ? 0 : segments * TIDE_REGION_SEGMENT;
    unsigned flags = store.is.replace ? TIDE_REGION_REPLACE : 0;
    if (tide_region_create(&store.region, store.is.source, bytes, flags, &why) == 0)
        return true;
    snprintf(error, len, "--source %s: %s", store.is.source, why.text);
    return false;
}

static bool store_lives_on(const char *source)
{
    return strncmp(source, "file:", 5) == 0 || strncmp(source, "dax:", 4) == 0;
}

/* The region that is there, if one is to be; or a new one. */
static bool store_region(const struct tide_log_options *want, char *error, size_t len)
{
    struct tide_region_error why;
    if (!store_lives_on(store.is.source) || store.is.replace)
        return store_make_region(want, error, len);
    int result = tide_region_open(&store.region, store.is.source, 0, &why);
    if (result == -ENOENT && strncmp(store.is.source, "file:", 5) == 0)
        return store_make_region(want, error, len);
    if (result != 0)
        snprintf(error, len, "--source %s: %s%s", store.is.source, why.text,
                 result == -EPROTO ? " (--replace makes a new one; what is there is lost)" : "");
    return result == 0;
}

/* A log may be open in several processes, what a broker knows of it cannot: one at a time has the
 * first byte of the file or device, by a record lock, which ends with its process. */
static bool store_alone(char *error, size_t len)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1}, other = lock;
    struct tide_region_info info;
    if (tide_region_info(store.region, &info) != 0 || info.fd < 0 ||
        fcntl(info.fd, F_SETLK, &lock) == 0)
        return true;
    int reason = errno;
    bool told = fcntl(info.fd, F_GETLK, &other) == 0 && other.l_type != F_UNLCK;
    if (reason != EAGAIN && reason != EACCES)
        snprintf(error, len, "--source %s: a lock of its first byte: %s", store.is.source,
                 strerror(reason));
    else
        snprintf(error, len, "--source %s: the log is open in the broker that is process %ld",
                 store.is.source, told ? (long)other.l_pid : 0L);
    return false;
}

static bool store_log(const struct tide_log_options *want, char *error, size_t len)
{
    if (strcmp(store.is.source, "anon") == 0)
        return tide_log_create(&store.log, want) == 0 || store_fail(error, len, "no log");
    if (!store_region(want, error, len) || !store_alone(error, len))
        return false;
    int result = tide_log_open(&store.log, store.region);
    if (result == -ENOENT)
        result = tide_log_create_on(&store.log, store.region, want);
    return result == 0 || store_fail(error, len, "no log in the source");
}

/* Its memory has no name, and no descriptor. */
static bool store_is_own(void)
{
    struct tide_region_info info;
    return store.region == NULL || (tide_region_info(store.region, &info) == 0 && info.fd < 0);
}

/* What the log has, whatever was wanted. */
static bool store_adopt(char *error, size_t len)
{
    struct tide_log_stat stat;
    tide_log_stat(store.log, &stat);
    if (store.is.level != 0 && stat.level != store.is.level) {
        snprintf(error, len, "the log in %s has level %u, not %u", store.is.source, stat.level,
                 store.is.level);
        return false;
    }
    if (stat.retain != TIDE_LOG_KEEP_ALL || stat.sequencing != TIDE_LOG_INLINE || stat.level < 4) {
        snprintf(error, len, "the log in %s is not a broker's", store.is.source);
        return false;
    }
    if (store.is.durable && store_lives_on(store.is.source) && stat.checksum == 0) {
        snprintf(error, len, "--ack durable: the log in %s has no checksums", store.is.source);
        return false;
    }
    store.is.level = stat.level;
    store.is.brokers = stat.brokers;
    store.is.payload = stat.payload;
    store.is.slots = stat.slots;
    if (stat.level == 4)
        store.is.sessions = stat.clients - 1;
    store.alone = stat.level == 5 && store_is_own();
    store.next = stat.messages;
    store.top = stat.committed;
    store.earliest = stat.earliest;
    return true;
}

/* Others may have the log open, and trim it, too: not what is needed here. */
static int store_guard(uint64_t place)
{
    struct tide_log_reader_options options = {.start = TIDE_LOG_POSITION, .position = place};
    tide_log_reader_t *guard;
    int result = tide_log_reader_open(&guard, store.log, store.guard != NULL ? &options : NULL);
    if (result != 0)
        return result;
    tide_log_reader_close(store.guard);
    store.guard = guard;
    return 0;
}

static bool store_guard_all(char *error, size_t len)
{
    return store_guard(0) == 0 || store_fail(error, len, "no reader of the log");
}

bool store_open(struct store_options *options, char *error, size_t len)
{
    struct tide_log_options want = TIDE_LOG_OPTIONS;
    want.level = options->level != 0 ? options->level : 5;
    want.brokers = options->brokers;
    want.clients = want.level == 4 ? options->sessions + 1 : 4;
    want.window = 1;
    want.lease = TIDE_LOG_NO_LEASE; /* nothing comes early, so nothing ever waits */
    /* What a machine that stops leaves can be told from what is whole. */
    want.checksum = store_lives_on(options->source);
    want.retain = TIDE_LOG_KEEP_ALL;
    want.slots = options->slots;
    want.payload = options->payload;
    store.is = *options;
    if (!store_log(&want, error, len) || !store_guard_all(error, len) || !store_adopt(error, len)) {
        store_close();
        return false;
    }
    *options = store.is;
    if (tide_log_client_open(&store.client, store.log, NULL) != 0)
        return store_fail(error, len, "no client of the log");
    return store_find_origin(error, len);
}

void store_close(void)
{
    for (unsigned i = 1; i < STORE_SESSIONS_MAX; i++)
        tide_log_client_close(store.session[i]);
    tide_log_client_close(store.client);
    tide_log_reader_close(store.guard);
    tide_log_close(store.log);
    tide_region_close(store.region);
    memset(&store, 0, sizeof store);
}

/* ---- the medium ---- */

uint64_t store_durable(void)
{
    return tide_log_durable(store.log);
}

int store_sync(void)
{
    return tide_log_sync(store.log);
}

bool store_lasts(void)
{
    return store.region != NULL && tide_log_sync(store.log) == 0;
}

bool store_private(void)
{
    return store.alone;
}

void store_settle(void)
{
    if (store.is.durable && tide_log_durable(store.log) < store.top)
        tide_log_sync(store.log);
}

/* ---- who appends ---- */

tide_log_client_t *store_join(void)
{
    struct tide_log_client_options options = {.id = store.hint != 0 ? store.hint : 1};
    if (store.is.level != 4)
        return store.client;
    while (options.id <= store.is.sessions && store.session[options.id] != NULL)
        options.id++;
    store.hint = options.id;
    if (options.id > store.is.sessions ||
        tide_log_client_open(&store.session[options.id], store.log, &options) != 0)
        return NULL;
    return store.session[options.id];
}

void store_leave(tide_log_client_t *client)
{
    unsigned id = 1;
    if (client == NULL || client == store.client)
        return;
    while (id < STORE_SESSIONS_MAX - 1 && store.session[id] != client)
        id++;
    store.session[id] = NULL;
    store.hint = id < store.hint ? id : store.hint;
    tide_log_client_close(client);
}

/* ---- appending ---- */

unsigned store_ring(uint64_t hash)
{
    return (unsigned)((hash >> 32) % store.is.brokers);
}

size_t store_most(void)
{
    return store.is.payload / 4 - 64;
}

int store_begin(struct store_batch *batch, tide_log_client_t *client, unsigned ring, size_t bytes)
{
    batch->next = store.next;
    return tide_log_claim(client != NULL ? client : store.client, ring, bytes, TIDE_LOG_TRY,
                          &batch->claim);
}

const void *store_spot(const struct store_batch *batch)
{
    return batch->claim.data + batch->claim.used + sizeof(struct tide_log_frame);
}

void *store_put(struct store_batch *batch, size_t size, uint64_t tag)
{
    void *to = tide_log_put(&batch->claim, size, tag);
    if (to != NULL)
        batch->next++;
    return to;
}

int store_end(struct store_batch *batch, uint64_t *place)
{
    struct tide_log_at at;
    if (batch->claim.count == 0)
        return tide_log_abort(&batch->claim);
    int result = tide_log_commit(&batch->claim, &at);
    if (result != 0)
        return result;
    /* Nobody else appends to this log: the numbers are those that were promised. */
    if (at.base != store.next)
        return -EPROTO;
    store.next = at.base + batch->claim.count;
    store.top = at.position + 1;
    *place = at.position;
    return 0;
}

uint64_t store_next(void)
{
    return store.next;
}

uint64_t store_top(void)
{
    return store.top;
}

void store_trim(uint64_t place)
{
    uint64_t earliest;
    if (place > store.earliest && store_guard(place) == 0 &&
        tide_log_trim(store.log, 0, place, &earliest) == 0)
        store.earliest = earliest;
}

/* ---- reading ---- */

/* The messages of a batch; false: enough. */
static bool store_show(const struct tide_log_batch *batch,
                       bool (*each)(const struct store_seen *seen, void *with), void *with)
{
    size_t at = 0;
    const struct tide_log_frame *frame;
    for (uint64_t i = 0; (frame = tide_log_next(batch, &at)) != NULL; i++) {
        struct store_seen seen = {frame + 1, frame->length, frame->tag, batch->base + i,
                                  batch->position};
        if (!each(&seen, with))
            return false;
    }
    return true;
}

/* Returns what the last read said, or 1: enough. */
static int store_read(tide_log_reader_t *reader, int most,
                      bool (*each)(const struct store_seen *seen, void *with), void *with)
{
    struct tide_log_batch batch[STORE_READ];
    int got;
    while ((got = tide_log_read(reader, batch, most, TIDE_LOG_TRY)) > 0)
        for (int i = 0; i < got; i++)
            if (!store_show(&batch[i], each, with))
                return 1;
    return got;
}

bool store_walk(bool (*each)(const struct store_seen *seen, void *with), void *with, char *error,
                size_t len)
{
    tide_log_reader_t *reader;
    if (tide_log_reader_open(&reader, store.log, NULL) != 0)
        return store_fail(error, len, "no reader of the log");
    int result = store_read(reader, STORE_READ, each, with);
    if (result != -EAGAIN)
        store_fail(error, len, "the log cannot be read");
    tide_log_reader_close(reader);
    return result == -EAGAIN;
}

void store_visit(bool (*each)(const struct store_seen *seen, void *with), void *with)
{
    tide_log_reader_t *reader;
    if (tide_log_reader_open(&reader, store.log, NULL) != 0)
        return;
    store_read(reader, 8, each, with);
    tide_log_reader_close(reader);
}

uint64_t store_earliest(void)
{
    return store.earliest;
}

/* ---- short forms ---- */

uint32_t store_short(uint64_t place)
{
    return (uint32_t)place;
}

uint64_t store_place(uint32_t place)
{
    return store.earliest + (uint32_t)(place - (uint32_t)store.earliest);
}

int32_t store_cell(const void *data)
{
    return (int32_t)((int64_t)((uintptr_t)data - store.origin) / 8);
}

const void *store_data(int32_t cell)
{
    /* An address in a mapping that the log has: never one made up from numbers alone. */
    return (const void *)(store.origin + (uintptr_t)((int64_t)cell * 8));
}

/* ---- looking at it ---- */

unsigned store_full(unsigned ring)
{
    struct tide_log_broker_stat stat;
    if (tide_log_stat_broker(store.log, ring, &stat) != 0)
        return 0;
    uint64_t payload = stat.used_bytes * 1000 / store.is.payload;
    uint64_t slots = (stat.claimed - stat.released) * 1000 / store.is.slots;
    return (unsigned)(payload > slots ? payload : slots);
}

struct tide_log_stat store_stat(void)
{
    struct tide_log_stat stat = {0};
    tide_log_stat(store.log, &stat);
    return stat;
}

uint64_t store_used(void)
{
    struct tide_log_broker_stat stat;
    uint64_t sum = 0;
    for (unsigned i = 0; i < store.is.brokers; i++)
        if (tide_log_stat_broker(store.log, i, &stat) == 0)
            sum += stat.used_bytes;
    return sum;
}
