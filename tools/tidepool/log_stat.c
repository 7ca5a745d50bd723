/* log_stat.c - tidepool log stat: what is in a log, and who holds whom back */
#define _GNU_SOURCE
#include "log.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LSTAT_JSON, LSTAT_HELP, LSTAT_WATCH, LSTAT_COUNT, LSTAT_FLAGS };

static const struct flag lstat_flags[LSTAT_FLAGS] = {
    [LSTAT_JSON] = {"json", FLAG_PLAIN, false, 0},
    [LSTAT_HELP] = {"help", FLAG_PLAIN, false, 'h'},
    [LSTAT_WATCH] = {"watch", FLAG_VALUE, false, 'w'},
    [LSTAT_COUNT] = {"count", FLAG_VALUE, false, 'n'},
};

struct lstat_wish {
    bool json;
    uint64_t tenths; /* of a second between samples; 0: one sample */
    uint64_t count;  /* 0: without end */
};

void log_stat_help(void)
{
    fputs(
        "tidepool log stat - what is in a log, and who holds whom back\n"
        "\n"
        "usage: tidepool log stat [--json] [-w SECONDS [-n COUNT]] REGION\n"
        "\n"
        "  tidepool log stat /dev/shm/log          once\n"
        "  tidepool log stat -w 1 /dev/shm/log     every second\n"
        "\n"
        "It only reads, also while a process has the log open: figures of one sample may then be\n"
        "a few batches apart.\n"
        "\n"
        "  committed  places below it are final; taken: below it were given to somebody\n"
        "  earliest   what is below was given up; durable: below it is on the file's medium\n"
        "  brokers    slots claimed and released since the log was made, payload in use\n"
        "  readers    cursor: what is below is done with; lag: committed and not done with;\n"
        "             keeps: what stays in the rings for this reader alone. The slowest gating\n"
        "             reader is marked: appends that find a ring full wait for it\n"
        "  sessions   level 4: the number that is expected next, batches that wait for it, and\n"
        "             those that were dropped (late: there already; refused: too early, or of an\n"
        "             epoch that is over)\n"
        "  producers  clients that are open\n"
        "\n"
        "Flags:\n"
        "  -w, --watch=SECONDS  a sample every so often, 0.1 to 86400\n"
        "  -n, --count=COUNT    that many samples\n"
        "      --json           an object; with -w one in each line (see JSON.md)\n",
        stdout);
}

/* --- what both forms tell ------------------------------------------------------------- */

static const char *const lstat_policy[] = {"gate", "skip", "detach"};
static const char *const lstat_retain[] = {"unread", "recent", "all"};

static const char *lstat_owner(enum tide_owner_is is)
{
    static const char *const word[] = {
        [TIDE_OWNER_NOBODY] = "nobody", [TIDE_OWNER_DEAD] = "dead",
        [TIDE_OWNER_ALIVE] = "alive",   [TIDE_OWNER_UNKNOWN] = "unknown",
        [TIDE_OWNER_BEFORE] = "dead",   [TIDE_OWNER_FOREIGN] = "foreign"};
    return word[is];
}

/* Of an entry of a table: does its owner run? */
static const char *lstat_alive(const struct log_look *look, uint64_t whose)
{
    return lstat_owner(log_look_member(look, whose));
}

static unsigned long long lstat_pid(uint64_t whose)
{
    return (uint32_t)whose;
}

struct lstat_reader {
    uint32_t number, broker;
    uint64_t owner, policy, cursor;
    uint64_t lag, keeps, keeps_bytes;
    bool detached, gates, slowest;
};

static bool lstat_gates(const struct log_look *look, uint32_t number, uint32_t broker,
                        struct tide_layout_reader *reader)
{
    tide_peek_words(reader, &look->peek.map.reader[number], sizeof *reader);
    return reader->owner != 0 && reader->fate == 0 && reader->policy != TIDE_LAYOUT_SKIP &&
           (look->peek.map.level != 0 || reader->broker == broker);
}

/* Payload of the batches from one position up to another one. */
static uint64_t lstat_bytes(const struct log_look *look, uint32_t broker, uint64_t from,
                            uint64_t to)
{
    struct tide_layout_entry entry;
    uint64_t bytes = 0, most = look->peek.map.slots.size * look->peek.map.brokers;
    for (uint64_t at = from; at != to && at - from < most; at++)
        if (tide_peek_batch(&look->peek, broker, at, &entry) == TIDE_PEEK_THERE)
            bytes += entry.size;
    return bytes;
}

/* False: nobody has this entry. */
static bool lstat_reader(const struct log_look *look, uint32_t number, struct lstat_reader *out)
{
    struct tide_layout_reader reader, other;
    tide_peek_words(&reader, &look->peek.map.reader[number], sizeof reader);
    if (reader.owner == 0)
        return false;
    *out = (struct lstat_reader){.number = number,
                                 .broker = (uint32_t)reader.broker,
                                 .owner = reader.owner,
                                 .policy = reader.policy,
                                 .cursor = reader.cursor,
                                 .detached = reader.fate != 0};
    if (look->peek.map.level == 0 && out->broker >= look->peek.map.brokers)
        return true; /* damaged: `check` tells */
    out->broker = look->peek.map.level == 0 ? out->broker : 0;
    uint64_t end = tide_peek_end(&look->peek, out->broker), next = end;
    out->gates = lstat_gates(look, number, out->broker, &reader);
    out->slowest = out->gates;
    for (uint32_t i = 0; i < look->peek.map.readers && out->gates; i++) {
        if (i == number || !lstat_gates(look, i, out->broker, &other))
            continue;
        next = (int64_t)(other.cursor - next) < 0 ? other.cursor : next;
        if ((int64_t)(other.cursor - out->cursor) < 0)
            out->slowest = false;
    }
    out->lag = (int64_t)(end - out->cursor) > 0 ? end - out->cursor : 0;
    out->slowest = out->slowest && out->lag > 0;
    if (out->gates && (int64_t)(next - out->cursor) > 0) {
        out->keeps = next - out->cursor;
        out->keeps_bytes = lstat_bytes(look, out->broker, out->cursor, next);
    }
    return true;
}

/* --- text ------------------------------------------------------------------------------ */

static unsigned long long ull(uint64_t number)
{
    return (unsigned long long)number;
}

static void text_head(const struct log_look *look)
{
    const struct tide_logmap *map = &look->peek.map;
    char size[32], payload[32], slots[32];
    enum tide_owner_is is;
    uint32_t pid = log_look_owner(look, &is);
    printf("%s: a log of level %u, %s at offset %llu\n", look->source, map->level,
           bytes_text(size, map->size), ull(look->room.at));
    if (is == TIDE_OWNER_NOBODY)
        printf("nobody has it open\n");
    else if (is == TIDE_OWNER_DEAD)
        printf("process %u had it open, and ended without closing it\n", pid);
    else if (is == TIDE_OWNER_FOREIGN)
        printf("process %u of another machine has it open, or had it when it moved here\n", pid);
    else
        printf("process %u has it open%s\n", pid,
               is == TIDE_OWNER_UNKNOWN ? ", if it runs: nobody here can tell" : "");
    printf("%u broker%s, each %s slots and %s of payload; places %s, keeps %s%s%s\n", map->brokers,
           map->brokers == 1 ? "" : "s", count_text(slots, map->slots.size),
           bytes_text(payload, map->granules.size * TIDE_LAYOUT_GRANULE),
           map->stepped ? "stepped" : "inline", lstat_retain[map->retain],
           map->checksum ? ", check sums" : "", map->mutex ? ", sessions by mutex" : "");
}

static void text_positions(const struct log_look *look)
{
    struct tide_peek_head head;
    if (look->peek.map.level == 0)
        return;
    tide_peek_head(&look->peek, &head);
    uint64_t end = tide_peek_end(&look->peek, 0);
    printf("earliest %llu, committed %llu, taken %llu; next message %llu; epoch %llu",
           ull(head.trimmed), ull(end), ull(head.taken), ull(head.messages), ull(head.epoch));
    struct tide_logroom_said said = tide_logroom_said(tide_logroom_of(&look->region));
    if (said.epoch != 0)
        printf("; durable %llu", ull(said.places));
    if (look->peek.map.level == 4)
        printf("; contention %llu", ull(head.contention));
    printf("\n");
}

static void text_blocks(const struct log_look *look)
{
    struct tide_peek_head head;
    tide_peek_head(&look->peek, &head);
    if (head.retired != 0)
        printf("blocks by reference: %llu were trimmed, %llu of these wait to be given back\n",
               ull(head.retired), ull(head.retired - head.reclaimed));
}

static void text_brokers(const struct log_look *look)
{
    const struct tide_logmap *map = &look->peek.map;
    struct tide_peek_broker broker;
    printf("\nbroker     claimed    released   slots used          payload used");
    puts(map->level == 0 ? "    earliest    end" : "");
    for (uint32_t i = 0; i < map->brokers; i++) {
        char bytes[32];
        tide_peek_broker(&look->peek, i, &broker);
        uint64_t slots = broker.claimed - broker.released;
        uint64_t used = broker.claimed_granule - broker.released_granule;
        printf("%6u  %10llu  %10llu  %7llu (%3.0f%%)  %12s (%3.0f%%)", i,
               ull(broker.claimed - map->first - 1), ull(broker.released - map->first - 1),
               ull(slots), 100.0 * (double)slots / (double)map->slots.size,
               bytes_text(bytes, used * TIDE_LAYOUT_GRANULE),
               100.0 * (double)used / (double)map->granules.size);
        if (map->level == 0)
            printf("  %10llu  %5llu", ull(log_shown(look, tide_peek_earliest(&look->peek, i))),
                   ull(log_shown(look, tide_peek_end(&look->peek, i))));
        if (map->stepped && map->level != 0 && broker.claimed != broker.scanned)
            printf("  %llu not sequenced yet", ull(broker.claimed - broker.scanned));
        printf("\n");
    }
}

static void text_readers(const struct log_look *look)
{
    struct lstat_reader reader;
    unsigned open = 0;
    for (uint32_t i = 0; i < look->peek.map.readers; i++) {
        char bytes[32];
        if (!lstat_reader(look, i, &reader))
            continue;
        if (open++ == 0)
            printf("\nreader  policy      cursor       lag  keeps for itself           owner\n");
        printf("%6u  %-6s  %10llu  %8llu  ", reader.number,
               reader.policy < TIDE_LAYOUT_POLICIES ? lstat_policy[reader.policy] : "?",
               ull(log_shown(look, reader.cursor)), ull(reader.lag));
        if (reader.gates)
            printf("%8llu batches, %8s", ull(reader.keeps), bytes_text(bytes, reader.keeps_bytes));
        else
            printf("%-26s", reader.detached ? "detached" : "nothing");
        printf("  %llu (%s)", lstat_pid(reader.owner), lstat_alive(look, reader.owner));
        if (look->peek.map.level == 0)
            printf(", broker %u", reader.broker);
        printf("%s\n", reader.slowest ? "  <- the slowest: appends wait for it" : "");
    }
    if (open == 0)
        printf("\nno readers\n");
}

static void text_sessions(const struct log_look *look)
{
    struct tide_layout_session session;
    unsigned open = 0;
    for (uint32_t i = 0; i < look->peek.map.sessions; i++) {
        tide_peek_words(&session, &look->peek.map.session[i], sizeof session);
        if (session.epoch == 0)
            continue;
        if (open++ == 0)
            printf("\nsession  epoch    expected     held     late  refused\n");
        printf("%7u  %5llu  %10llu  %7llu  %7llu  %7llu", i, ull(session.epoch),
               ull(session.expected), ull(session.held), ull(session.late), ull(session.refused));
        if (session.held > 0)
            printf("  waits for batch %llu", ull(session.expected));
        puts(session.state == TIDE_LAYOUT_FENCED ? "  fenced" : "");
    }
}

static void text_producers(const struct log_look *look)
{
    struct tide_layout_producer producer;
    unsigned open = 0;
    for (uint32_t i = 0; i < look->peek.map.producers; i++) {
        tide_peek_words(&producer, &look->peek.map.producer[i], sizeof producer);
        if (producer.owner == 0)
            continue;
        if (open++ == 0)
            printf("\nproducer    client  owner\n");
        printf("%8u  %8u  %llu (%s)\n", i, producer.client, lstat_pid(producer.owner),
               lstat_alive(look, producer.owner));
    }
    if (open == 0)
        printf("\nno producers\n");
}

static void lstat_text(const struct log_look *look)
{
    text_head(look);
    text_positions(look);
    text_blocks(look);
    text_brokers(look);
    text_readers(look);
    text_sessions(look);
    text_producers(look);
}

/* --- JSON ---------------------------------------------------------------------------------- */

static void json_geometry(struct json *json, const struct log_look *look)
{
    const struct tide_logmap *map = &look->peek.map;
    enum tide_owner_is is;
    uint32_t pid = log_look_owner(look, &is);
    json_text(json, "region", look->source);
    json_open(json, "owner", '{');
    if (pid != 0)
        json_number(json, "pid", pid);
    else
        json_null(json, "pid");
    json_text(json, "state", lstat_owner(is));
    json_close(json, '}');
    json_open(json, "log", '{');
    json_number(json, "level", map->level);
    json_number(json, "size", map->size);
    json_number(json, "offset", look->room.at);
    json_number(json, "brokers", map->brokers);
    json_number(json, "slots", map->slots.size);
    json_number(json, "payload", map->granules.size * TIDE_LAYOUT_GRANULE);
    json_number(json, "clients", map->producers);
    json_number(json, "readers", map->readers);
    json_number(json, "window", map->window);
    json_number(json, "lease_ms", map->level == 4 ? map->head->lease / 1000000 : 0);
    json_text(json, "sequencing", map->stepped ? "stepped" : "inline");
    json_text(json, "sessions", map->level != 4 ? NULL : map->mutex ? "mutex" : "lockfree");
    json_text(json, "retain", lstat_retain[map->retain]);
    json_bool(json, "checksum", map->checksum);
    json_number(json, "first", map->first);
    json_close(json, '}');
}

static void json_positions(struct json *json, const struct log_look *look)
{
    struct tide_peek_head head;
    if (look->peek.map.level == 0) {
        json_null(json, "order");
        return;
    }
    tide_peek_head(&look->peek, &head);
    json_open(json, "order", '{');
    json_number(json, "earliest", head.trimmed);
    json_number(json, "committed", tide_peek_end(&look->peek, 0));
    json_number(json, "taken", head.taken);
    json_number(json, "messages", head.messages);
    json_number(json, "epoch", head.epoch);
    json_number(json, "contention", head.contention);
    struct tide_logroom_said said = tide_logroom_said(tide_logroom_of(&look->region));
    if (said.epoch != 0)
        json_number(json, "durable", said.places);
    else
        json_null(json, "durable");
    json_close(json, '}');
}

static void json_blocks(struct json *json, const struct log_look *look)
{
    struct tide_peek_head head;
    tide_peek_head(&look->peek, &head);
    json_open(json, "blocks", '{');
    json_number(json, "retired", head.retired);
    json_number(json, "reclaimed", head.reclaimed);
    json_close(json, '}');
}

static void json_brokers(struct json *json, const struct log_look *look)
{
    const struct tide_logmap *map = &look->peek.map;
    struct tide_peek_broker broker;
    json_open(json, "brokers", '[');
    for (uint32_t i = 0; i < map->brokers; i++) {
        tide_peek_broker(&look->peek, i, &broker);
        json_open(json, NULL, '{');
        json_number(json, "claimed", broker.claimed - map->first - 1);
        json_number(json, "released", broker.released - map->first - 1);
        json_number(json, "used_bytes",
                    (broker.claimed_granule - broker.released_granule) *
                        (uint64_t)TIDE_LAYOUT_GRANULE);
        json_number(json, "unsequenced",
                    map->stepped && map->level != 0 ? broker.claimed - broker.scanned : 0);
        if (map->level == 0) {
            json_number(json, "earliest", log_shown(look, tide_peek_earliest(&look->peek, i)));
            json_number(json, "committed", log_shown(look, tide_peek_end(&look->peek, i)));
        }
        json_close(json, '}');
    }
    json_close(json, ']');
}

static void json_readers(struct json *json, const struct log_look *look)
{
    struct lstat_reader reader;
    json_open(json, "readers", '[');
    for (uint32_t i = 0; i < look->peek.map.readers; i++) {
        if (!lstat_reader(look, i, &reader))
            continue;
        json_open(json, NULL, '{');
        json_number(json, "reader", i);
        json_text(json, "policy",
                  reader.policy < TIDE_LAYOUT_POLICIES ? lstat_policy[reader.policy] : NULL);
        if (look->peek.map.level == 0)
            json_number(json, "broker", reader.broker);
        json_number(json, "cursor", log_shown(look, reader.cursor));
        json_number(json, "lag", reader.lag);
        json_number(json, "keeps", reader.keeps);
        json_number(json, "keeps_bytes", reader.keeps_bytes);
        json_bool(json, "detached", reader.detached);
        json_bool(json, "slowest", reader.slowest);
        json_number(json, "pid", lstat_pid(reader.owner));
        json_text(json, "state", lstat_alive(look, reader.owner));
        json_close(json, '}');
    }
    json_close(json, ']');
}

static void json_sessions(struct json *json, const struct log_look *look)
{
    struct tide_layout_session session;
    json_open(json, "sessions", '[');
    for (uint32_t i = 0; i < look->peek.map.sessions; i++) {
        tide_peek_words(&session, &look->peek.map.session[i], sizeof session);
        if (session.epoch == 0)
            continue;
        json_open(json, NULL, '{');
        json_number(json, "client", i);
        json_number(json, "epoch", session.epoch);
        json_number(json, "expected", session.expected);
        json_number(json, "held", session.held);
        json_number(json, "late", session.late);
        json_number(json, "refused", session.refused);
        json_bool(json, "fenced", session.state == TIDE_LAYOUT_FENCED);
        json_close(json, '}');
    }
    json_close(json, ']');
}

static void json_producers(struct json *json, const struct log_look *look)
{
    struct tide_layout_producer producer;
    json_open(json, "producers", '[');
    for (uint32_t i = 0; i < look->peek.map.producers; i++) {
        tide_peek_words(&producer, &look->peek.map.producer[i], sizeof producer);
        if (producer.owner == 0)
            continue;
        json_open(json, NULL, '{');
        json_number(json, "producer", i);
        json_number(json, "client", producer.client);
        json_number(json, "pid", lstat_pid(producer.owner));
        json_text(json, "state", lstat_alive(look, producer.owner));
        json_close(json, '}');
    }
    json_close(json, ']');
}

static void lstat_json(const struct log_look *look, bool line)
{
    struct json json = {.line = line};
    json_begin(&json, "log stat");
    json_geometry(&json, look);
    json_positions(&json, look);
    json_blocks(&json, look);
    json_brokers(&json, look);
    json_readers(&json, look);
    json_sessions(&json, look);
    json_producers(&json, look);
    json_close(&json, '}');
}

/* --- samples -------------------------------------------------------------------------------- */

static bool lstat_take(void *to, int flag, const char *value)
{
    struct lstat_wish *wish = to;
    char whole[16] = "";
    size_t point = value != NULL ? strcspn(value, ".") : 0;
    if (flag == LSTAT_JSON) {
        wish->json = true;
        return true;
    }
    if (flag == LSTAT_COUNT)
        return log_number("log stat", "count", value, false, 1, 1000000000, &wish->count);
    /* Seconds with at most one digit behind the point. */
    bool good = point > 0 && point < 6 && strspn(value, "0123456789") == point &&
                (value[point] == '\0' ||
                 (value[point + 1] >= '0' && value[point + 1] <= '9' && value[point + 2] == '\0'));
    if (good) {
        memcpy(whole, value, point);
        whole[point] = value[point] != '\0' ? value[point + 1] : '0';
        log_number("log stat", "watch", whole, false, 0, UINT64_MAX, &wish->tenths);
    }
    if (good && wish->tenths >= 1 && wish->tenths <= 864000)
        return true;
    complain("log stat", "--watch: '%s' is not allowed; allowed: 0.1 to 86400 seconds", value);
    return false;
}

static int lstat_samples(const struct log_look *look, const struct lstat_wish *wish)
{
    struct timespec pause = {(time_t)(wish->tenths / 10), (long)(wish->tenths % 10) * 100000000};
    bool repeated = wish->tenths > 0;
    for (uint64_t i = 0;; i++) {
        if (!log_look_same(look)) {
            complain("log stat", "%s: the log was removed, or made anew", look->source);
            return EXIT_ABSENT;
        }
        if (repeated && !wish->json)
            fputs(isatty(STDOUT_FILENO) ? "\033[H\033[J" : i > 0 ? "\n" : "", stdout);
        if (wish->json)
            lstat_json(look, repeated);
        else
            lstat_text(look);
        int code = finish_output();
        if (code != EXIT_DONE || !repeated || i + 1 == wish->count)
            return code;
        nanosleep(&pause, NULL);
    }
}

int log_stat(char **argv)
{
    static struct log_look look;
    struct lstat_wish wish = {0};
    struct flags flags = {"log stat", lstat_flags, LSTAT_FLAGS, argv, NULL};
    const char *region;
    int code = log_read_flags(&flags, LSTAT_HELP, lstat_take, &wish, &region);
    if (code != EXIT_DONE)
        return code;
    if (region == NULL) {
        log_stat_help();
        return EXIT_DONE;
    }
    if (wish.count > 0 && wish.tenths == 0)
        wish.tenths = 10;
    code = log_look_open(&look, "log stat", region);
    if (code == EXIT_DONE)
        code = lstat_samples(&look, &wish);
    log_look_close(&look);
    return code;
}
