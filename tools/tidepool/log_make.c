/* log_make.c - tidepool log create and trim: those that want the log for themselves */
#define _GNU_SOURCE
#include "log.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <tidepool/log.h>

#include "box/store.h"

#define LOG_MOST (UINT64_C(1) << 46) /* bytes that a flag can ask for */
#define LEASE_LEAST 10               /* ms, as <tidepool/log.h> says */
#define LEASE_MOST 3600000
#define NS_PER_MS 1000000

/* --- create: flags -------------------------------------------------------------------- */

enum {
    MAKE_SIZE,
    MAKE_PAYLOAD,
    MAKE_SLOTS,
    MAKE_BROKERS,
    MAKE_CLIENTS,
    MAKE_READERS,
    MAKE_WINDOW,
    MAKE_LEASE,
    MAKE_FIRST,
    MAKE_LEVEL,
    MAKE_SEQUENCING,
    MAKE_SESSIONS,
    MAKE_RETAIN,
    MAKE_CHECKSUM,
    MAKE_REPLACE,
    MAKE_JSON,
    MAKE_HELP,
    MAKE_FLAGS
};

static const struct flag make_flags[MAKE_FLAGS] = {
    [MAKE_SIZE] = {"size", FLAG_VALUE, false, 0},
    [MAKE_PAYLOAD] = {"payload", FLAG_VALUE, false, 0},
    [MAKE_SLOTS] = {"slots", FLAG_VALUE, false, 0},
    [MAKE_BROKERS] = {"brokers", FLAG_VALUE, false, 0},
    [MAKE_CLIENTS] = {"clients", FLAG_VALUE, false, 0},
    [MAKE_READERS] = {"readers", FLAG_VALUE, false, 0},
    [MAKE_WINDOW] = {"window", FLAG_VALUE, false, 0},
    [MAKE_LEASE] = {"lease", FLAG_VALUE, false, 0},
    [MAKE_FIRST] = {"first", FLAG_VALUE, false, 0},
    [MAKE_LEVEL] = {"level", FLAG_VALUE, false, 0},
    [MAKE_SEQUENCING] = {"sequencing", FLAG_VALUE, false, 0},
    [MAKE_SESSIONS] = {"sessions", FLAG_VALUE, false, 0},
    [MAKE_RETAIN] = {"retain", FLAG_VALUE, false, 0},
    [MAKE_CHECKSUM] = {"checksum", FLAG_PLAIN, false, 0},
    [MAKE_REPLACE] = {"replace", FLAG_PLAIN, false, 0},
    [MAKE_JSON] = {"json", FLAG_PLAIN, false, 0},
    [MAKE_HELP] = {"help", FLAG_PLAIN, false, 'h'},
};

struct make_wish {
    uint64_t size; /* of the region; 0: as large as needed, or as there is */
    uint64_t number[MAKE_FIRST + 1];
    struct tide_log_options options;
    const char *lease; /* as it was given, or NULL */
    bool replace, json;
};

void log_create_help(void)
{
    fputs(
        "tidepool log create - makes a log in a region, and the region if there is none\n"
        "\n"
        "usage: tidepool log create [FLAGS] REGION\n"
        "\n"
        "  tidepool log create /dev/shm/log                     level 5, 16 MiB, one broker\n"
        "  tidepool log create --brokers=4 --payload=64M --checksum file:/var/tmp/log\n"
        "  tidepool log create --level=4 --clients=16 dax:/dev/dax0.0\n"
        "  tidepool log create --size=1G --payload=64M /dev/shm/both   and room for heaps\n"
        "\n"
        "Flags of the log (units: K, M, G behind a number):\n"
        "  --level=N           5: one order of all batches; 4: and each client's own order over\n"
        "                      all brokers; 0: the order in each broker only. Default 5\n"
        "  --brokers=N         rings that clients append to, 1 to 32; default 1\n"
        "  --payload=BYTES     of messages that each broker's ring holds; default 16M\n"
        "  --slots=N           batches that it holds, from 2; default 4096\n"
        "  --clients=N         open at once; default 64\n"
        "  --readers=N         open at once; default 16\n"
        "  --window=N          level 4: how far a batch may be ahead of its turn; default 64\n"
        "  --lease=MS          level 4: milliseconds after which a session is ended whose next\n"
        "                      batch does not come, 10 to 3600000, or never; default 10000\n"
        "  --sequencing=WHO    who gives the places: inline (who appends, the default), stepped\n"
        "                      (a sequencer)\n"
        "  --sessions=FORM     level 4: lockfree (default), mutex\n"
        "  --retain=WHAT       what a full ring overwrites: unread (the default: what all readers\n"
        "                      read; nothing without readers), recent (the oldest, if no reader\n"
        "                      gates), all (nothing before it is trimmed)\n"
        "  --checksum          a CRC32C for each batch\n"
        "  --first=N           where positions and message numbers begin; default 0\n"
        "Flags of the region:\n"
        "  --size=BYTES        of the region, a multiple of 512 KiB. Default: what the log needs;\n"
        "                      of a device or a file that is there, all of it\n"
        "  --replace           a log that is there, or whatever else the file holds, is lost.\n"
        "                      (What else is in a region, heaps and other runs, stays.)\n"
        "  --json              tells what was made as one object (see JSON.md)\n"
        "When it fails, a file that is there stays as it is, and one that is not there is not "
        "made.\n",
        stdout);
}

static bool make_take_number(struct make_wish *wish, int flag, const char *value)
{
    bool units = flag <= MAKE_PAYLOAD;
    bool small = flag >= MAKE_BROKERS && flag <= MAKE_WINDOW;
    uint64_t least = flag == MAKE_FIRST ? 0 : flag == MAKE_SIZE ? TIDE_REGION_LEAST : 1;
    uint64_t most = units ? LOG_MOST : small ? UINT32_MAX : INT64_MAX;
    return log_number("log create", make_flags[flag].name, value, units, least, most,
                      &wish->number[flag]);
}

static bool make_take_lease(struct make_wish *wish, const char *value)
{
    uint64_t ms = 0;
    if (strcmp(value, "never") == 0) {
        wish->options.lease = TIDE_LOG_NO_LEASE;
        return true;
    }
    if (!log_digits(value, false, &ms) || ms < LEASE_LEAST || ms > LEASE_MOST) {
        complain("log create",
                 "--lease: '%s' is not allowed; allowed: %d to %d milliseconds, never", value,
                 LEASE_LEAST, LEASE_MOST);
        return false;
    }
    wish->lease = value;
    wish->options.lease = ms * NS_PER_MS;
    return true;
}

static bool make_take(void *to, int flag, const char *value)
{
    static const char *const level[] = {"0", "4", "5"}, *const who[] = {"inline", "stepped"};
    static const char *const form[] = {"lockfree", "mutex"};
    static const char *const retain[] = {"unread", "recent", "all"};
    static const unsigned levels[] = {0, 4, 5};
    struct make_wish *wish = to;
    struct tide_log_options *options = &wish->options;
    unsigned index = 0;
    const char *command = "log create";
    switch (flag) {
    case MAKE_LEVEL:
        if (!log_word(command, "level", value, level, 3, &index))
            return false;
        options->level = levels[index];
        return true;
    case MAKE_SEQUENCING:
        return log_word(command, "sequencing", value, who, 2, &options->sequencing);
    case MAKE_SESSIONS:
        return log_word(command, "sessions", value, form, 2, &options->sessions);
    case MAKE_RETAIN:
        return log_word(command, "retain", value, retain, 3, &options->retain);
    case MAKE_LEASE:
        return make_take_lease(wish, value);
    case MAKE_CHECKSUM:
        options->checksum = 1;
        return true;
    case MAKE_REPLACE:
        wish->replace = true;
        return true;
    case MAKE_JSON:
        wish->json = true;
        return true;
    default:
        return make_take_number(wish, flag, value);
    }
}

/* --- create: the region ------------------------------------------------------------------- */

/* Bytes of the longest run that a new region of this size has. */
static uint64_t make_room(uint64_t size)
{
    const uint64_t segment = TIDE_REGION_SEGMENT, all = size / segment;
    uint64_t heads = (TIDE_PLOT_AT + all * sizeof(struct tide_plot_entry) + segment - 1) / segment;
    return all > heads ? (all - heads) * segment : 0;
}

/* Bytes of a region that has room for a run of this many, and nothing else. */
static uint64_t make_region_size(uint64_t bytes)
{
    uint64_t size = (bytes / TIDE_REGION_SEGMENT + 1) * TIDE_REGION_SEGMENT;
    while (make_room(size) < bytes)
        size += TIDE_REGION_SEGMENT;
    return size;
}

/* Before anything is written. */
static int make_check_room(const struct log_look *look, uint64_t bytes, uint64_t most)
{
    if (most >= bytes)
        return EXIT_DONE;
    complain("log create",
             "%s: the log takes %llu bytes; the longest run that is free in the region, or "
             "would be, has %llu",
             look->source, (unsigned long long)bytes, (unsigned long long)most);
    return EXIT_ERROR;
}

/* The first page holds nothing: a new file, or a device that was wiped. */
static bool make_is_blank(const struct log_look *look)
{
    for (size_t i = 0; look->base != NULL && i < 4096; i++)
        if (look->base[i] != 0)
            return false;
    return look->base != NULL || look->size == 0;
}

static int make_new_region(const struct log_look *look, const struct make_wish *wish,
                           uint64_t bytes, tide_region_t **region)
{
    struct tide_region_error error;
    bool there = look->state != LOG_NO_FILE && look->size != 0;
    uint64_t size = wish->size != 0 || there ? wish->size : make_region_size(bytes);
    if (there && !make_is_blank(look) && !wish->replace) {
        complain("log create", "%s: holds something that is no region (--replace overwrites it)",
                 look->path);
        return EXIT_ERROR;
    }
    if (there && look->size < TIDE_REGION_LEAST) {
        complain("log create", "%s: %llu bytes; a region has at least %d", look->path,
                 (unsigned long long)look->size, TIDE_REGION_LEAST);
        return EXIT_ERROR;
    }
    uint64_t most = make_room(size != 0 ? size : look->size);
    if (size % TIDE_REGION_SEGMENT == 0 && make_check_room(look, bytes, most) != EXIT_DONE)
        return EXIT_ERROR;
    unsigned flags = wish->replace ? TIDE_REGION_REPLACE : 0;
    if (tide_region_create(region, look->source, size, flags, &error) == 0)
        return EXIT_DONE;
    complain("log create", "%s", error.text);
    return EXIT_ERROR;
}

/* Bytes of the longest run of segments that are free once the log is gone. */
static uint64_t make_longest(const struct log_look *look)
{
    struct tide_region_segment segment;
    uint64_t run = 0, longest = 0, step;
    for (uint64_t i = 0; tide_plot_read(&look->region.table, i, &segment) == 0; i += step) {
        bool ours = segment.state == TIDE_REGION_LENT && segment.tag == TIDE_LOGROOM_TAG;
        step = ours && segment.length > 0 ? segment.length : 1;
        run = ours || segment.state == TIDE_REGION_FREE ? run + step : 0;
        longest = run > longest ? run : longest;
    }
    return longest * TIDE_REGION_SEGMENT;
}

static int make_old_region(const struct log_look *look, const struct make_wish *wish,
                           uint64_t bytes, tide_region_t **region)
{
    struct tide_region_error error;
    if (look->state != LOG_NO_LOG && !wish->replace) {
        complain("log create", "%s: there is a log in it already (--replace makes a new one)",
                 look->path);
        return EXIT_ERROR;
    }
    if (make_check_room(look, bytes, make_longest(look)) != EXIT_DONE)
        return EXIT_ERROR;
    if (tide_region_open(region, look->source, wish->size, &error) != 0) {
        complain("log create", "%s", error.text);
        return EXIT_ERROR;
    }
    int gone = wish->replace ? tide_log_remove(*region) : 0;
    return gone == 0 || gone == -ENOENT ? EXIT_DONE : log_complain("log create", look->source);
}

/* --- create: telling ----------------------------------------------------------------------- */

static void make_json(tide_log_t *log, tide_region_t *region)
{
    struct json json = {0};
    struct tide_region_info info;
    struct tide_log_stat stat;
    tide_region_info(region, &info);
    tide_log_stat(log, &stat);
    json_begin(&json, "log create");
    json_open(&json, "region", '{');
    json_text(&json, "source", info.source);
    json_number(&json, "size", info.size);
    json_number(&json, "free", info.free_bytes);
    json_bool(&json, "new", info.fresh != 0);
    json_close(&json, '}');
    json_open(&json, "log", '{');
    json_number(&json, "size", stat.size);
    json_number(&json, "level", stat.level);
    json_number(&json, "brokers", stat.brokers);
    json_number(&json, "slots", stat.slots);
    json_number(&json, "payload", stat.payload);
    json_close(&json, '}');
    json_close(&json, '}');
}

static void make_text(tide_log_t *log, tide_region_t *region)
{
    char size[32], payload[32], all[32], free[32];
    struct tide_region_info info;
    struct tide_log_stat stat;
    tide_region_info(region, &info);
    tide_log_stat(log, &stat);
    printf("made a log of level %u in %s: %llu bytes (%s)\n", stat.level, info.source,
           (unsigned long long)stat.size, bytes_text(size, stat.size));
    printf("  %u broker%s, each %llu slots and %s of payload\n", stat.brokers,
           stat.brokers == 1 ? "" : "s", (unsigned long long)stat.slots,
           bytes_text(payload, stat.payload));
    printf("  the region has %s, %s of them free\n", bytes_text(all, info.size),
           bytes_text(free, info.free_bytes));
}

static int make_log(const struct log_look *look, const struct make_wish *wish,
                    tide_region_t *region)
{
    tide_log_t *log;
    if (tide_log_create_on(&log, region, &wish->options) != 0)
        return log_complain("log create", look->source);
    (wish->json ? make_json : make_text)(log, region);
    return tide_log_close(log) == 0 ? finish_output() : log_complain("log create", look->source);
}

/* The region was made for nothing: no file again, or an empty one. */
static void make_undo(const struct log_look *look)
{
    bool empty = look->state != LOG_NO_FILE && look->size == 0;
    int fd = empty ? tide_store_open(look->path, false) : -1;
    if (look->state == LOG_NO_FILE)
        tide_store_unlink(look->path);
    if (fd >= 0) {
        tide_store_empty(fd);
        close(fd);
    }
}

static int make_all(struct log_look *look, struct make_wish *wish)
{
    tide_region_t *region = NULL;
    int64_t bytes = tide_log_size(&wish->options);
    if (bytes < 0) {
        log_complain("log create", look->source);
        return EXIT_USAGE;
    }
    bool old = look->state >= LOG_NO_LOG;
    int code = old ? make_old_region(look, wish, (uint64_t)bytes, &region)
                   : make_new_region(look, wish, (uint64_t)bytes, &region);
    if (code == EXIT_DONE)
        code = make_log(look, wish, region);
    if (region == NULL)
        return code;
    tide_region_close(region);
    if (code != EXIT_DONE)
        make_undo(look);
    return code;
}

int log_create(char **argv)
{
    static struct log_look look;
    static const struct tide_log_options initial = TIDE_LOG_OPTIONS;
    struct make_wish wish = {.options = initial};
    struct flags flags = {"log create", make_flags, MAKE_FLAGS, argv, NULL};
    const char *region;
    int code = log_read_flags(&flags, MAKE_HELP, make_take, &wish, &region);
    if (code != EXIT_DONE)
        return code;
    if (region == NULL) {
        log_create_help();
        return EXIT_DONE;
    }
    wish.size = wish.number[MAKE_SIZE];
    wish.options.payload = wish.number[MAKE_PAYLOAD];
    wish.options.slots = wish.number[MAKE_SLOTS];
    wish.options.brokers = (unsigned)wish.number[MAKE_BROKERS];
    wish.options.clients = (unsigned)wish.number[MAKE_CLIENTS];
    wish.options.readers = (unsigned)wish.number[MAKE_READERS];
    wish.options.window = (unsigned)wish.number[MAKE_WINDOW];
    wish.options.first = wish.number[MAKE_FIRST];
    if (wish.lease != NULL && wish.options.level != 4) {
        complain("log create", "--lease: '%s' is not allowed at level %u: it is for level 4 only",
                 wish.lease, wish.options.level);
        return EXIT_USAGE;
    }
    code = log_look_any(&look, "log create", region);
    if (code == EXIT_DONE)
        code = make_all(&look, &wish);
    log_look_close(&look);
    return code;
}

/* --- trim ------------------------------------------------------------------------------------ */

enum { TRIM_TO, TRIM_KEEP, TRIM_ALL, TRIM_BROKER, TRIM_JSON, TRIM_HELP, TRIM_FLAGS };

static const struct flag trim_flags[TRIM_FLAGS] = {
    [TRIM_TO] = {"to", FLAG_VALUE, false, 0},     [TRIM_KEEP] = {"keep", FLAG_VALUE, false, 0},
    [TRIM_ALL] = {"all", FLAG_PLAIN, false, 0},   [TRIM_BROKER] = {"broker", FLAG_VALUE, false, 0},
    [TRIM_JSON] = {"json", FLAG_PLAIN, false, 0}, [TRIM_HELP] = {"help", FLAG_PLAIN, false, 'h'},
};

struct trim_wish {
    uint64_t to, keep, broker;
    unsigned ways; /* of --to, --keep and --all */
    bool all, keeps, one, json;
};

void log_trim_help(void)
{
    fputs("tidepool log trim - gives up the oldest batches\n"
          "\n"
          "usage: tidepool log trim --to=POSITION|--keep=BYTES|--all [--broker=N] [--json] REGION\n"
          "\n"
          "  tidepool log trim --to=100 /dev/shm/log      batches below position 100\n"
          "  tidepool log trim --keep=16M /dev/shm/log    until 16 MiB of payload are left\n"
          "  tidepool log trim --all /dev/shm/log         everything that is committed\n"
          "\n"
          "The log is opened for it, as one more of its processes. What is given up is told; what\n"
          "readers still need stays.\n"
          "\n"
          "Flags:\n"
          "  --to=POSITION  the first one that is kept\n"
          "  --keep=BYTES   of payload, of all brokers together; K, M, G\n"
          "  --all          all of it\n"
          "  --broker=N     level 0: of this broker only, where positions are each broker's own;\n"
          "                 --to needs it\n"
          "  --json         one object (see JSON.md)\n",
          stdout);
}

static bool trim_take(void *to, int flag, const char *value)
{
    struct trim_wish *wish = to;
    wish->ways += flag <= TRIM_ALL;
    switch (flag) {
    case TRIM_TO:
        return log_number("log trim", "to", value, false, 0, UINT64_MAX - 1, &wish->to);
    case TRIM_KEEP:
        wish->keeps = true;
        return log_number("log trim", "keep", value, true, 0, LOG_MOST, &wish->keep);
    case TRIM_ALL:
        wish->all = true;
        return true;
    case TRIM_BROKER:
        wish->one = true;
        return log_number("log trim", "broker", value, false, 0, TIDE_LAYOUT_BROKERS - 1,
                          &wish->broker);
    default:
        wish->json = true;
        return true;
    }
}

/* What is kept, now. */
struct trim_kept {
    uint64_t earliest[TIDE_LAYOUT_BROKERS], bytes;
};

static void trim_look(const struct log_look *look, struct trim_kept *kept)
{
    const struct tide_peek *peek = &look->peek;
    struct tide_peek_broker broker;
    kept->bytes = 0;
    for (uint32_t i = 0; i < peek->map.brokers; i++) {
        tide_peek_broker(peek, i, &broker);
        kept->bytes += (broker.claimed_granule - broker.released_granule) * TIDE_LAYOUT_GRANULE;
        kept->earliest[i] = log_shown(look, tide_peek_earliest(peek, i));
    }
}

static void trim_text(const struct log_look *look, const struct trim_kept *before,
                      const struct trim_kept *now)
{
    char was[32], is[32];
    uint32_t lists = look->peek.map.level == 0 ? look->peek.map.brokers : 1;
    for (uint32_t i = 0; i < lists; i++) {
        if (look->peek.map.level == 0)
            printf("broker %u: ", i);
        if (now->earliest[i] == before->earliest[i])
            printf("nothing given up, the earliest is %llu\n",
                   (unsigned long long)now->earliest[i]);
        else
            printf("gave up %llu batches: %llu to %llu; the earliest is %llu now\n",
                   (unsigned long long)(now->earliest[i] - before->earliest[i]),
                   (unsigned long long)before->earliest[i],
                   (unsigned long long)now->earliest[i] - 1, (unsigned long long)now->earliest[i]);
    }
    printf("payload held: %s, before %s\n", bytes_text(is, now->bytes),
           bytes_text(was, before->bytes));
}

static void trim_json(const struct log_look *look, const struct trim_kept *before,
                      const struct trim_kept *now)
{
    struct json json = {0};
    uint32_t lists = look->peek.map.level == 0 ? look->peek.map.brokers : 1;
    json_begin(&json, "log trim");
    json_number(&json, "held_before", before->bytes);
    json_number(&json, "held", now->bytes);
    json_open(&json, "trimmed", '[');
    for (uint32_t i = 0; i < lists; i++) {
        json_open(&json, NULL, '{');
        if (look->peek.map.level == 0)
            json_number(&json, "broker", i);
        else
            json_null(&json, "broker");
        json_number(&json, "from", before->earliest[i]);
        json_number(&json, "to", now->earliest[i]);
        json_close(&json, '}');
    }
    json_close(&json, ']');
    json_close(&json, '}');
}

static int trim_do(const struct log_look *look, const struct trim_wish *wish, tide_log_t *log)
{
    const struct tide_logmap *map = &look->peek.map;
    int64_t error = 0;
    if (wish->keeps)
        error = tide_log_trim_to(log, wish->keep);
    for (uint32_t i = 0; i < map->brokers && !wish->keeps && error >= 0; i++)
        if (map->level != 0 ? i == 0 : !wish->one || i == wish->broker)
            error = tide_log_trim(log, i, wish->all ? UINT64_MAX : wish->to, NULL);
    return error < 0 ? log_complain("log trim", look->source) : EXIT_DONE;
}

/* Numbers that only the log itself can judge. */
static bool trim_fits(const struct log_look *look, const struct trim_wish *wish)
{
    const struct tide_logmap *map = &look->peek.map;
    if (wish->one && map->level != 0)
        complain("log trim", "--broker is about level 0, and the log is of level %u", map->level);
    else if (wish->one && wish->broker >= map->brokers)
        complain("log trim", "--broker: '%llu' is not allowed; allowed: 0 to %u",
                 (unsigned long long)wish->broker, map->brokers - 1);
    else if (!wish->all && !wish->keeps && map->level == 0 && !wish->one)
        complain("log trim", "--to at level 0 needs --broker: each has positions of its own");
    else
        return true;
    return false;
}

static int trim_log(struct log_look *look, const struct trim_wish *wish)
{
    tide_region_t *region;
    tide_log_t *log;
    struct tide_region_error error;
    struct trim_kept before, now;
    if (tide_region_open(&region, look->source, 0, &error) != 0) {
        complain("log trim", "%s", error.text);
        return EXIT_ERROR;
    }
    int code = EXIT_DONE;
    if (tide_log_open(&log, region) != 0) {
        code = log_complain("log trim", look->source);
    } else {
        trim_look(look, &before);
        code = trim_do(look, wish, log);
        trim_look(look, &now);
        if (tide_log_close(log) != 0)
            code = log_complain("log trim", look->source);
    }
    tide_region_close(region);
    if (code != EXIT_DONE)
        return code;
    (wish->json ? trim_json : trim_text)(look, &before, &now);
    return finish_output();
}

int log_trim(char **argv)
{
    static struct log_look look;
    struct trim_wish wish = {0};
    struct flags flags = {"log trim", trim_flags, TRIM_FLAGS, argv, NULL};
    const char *region;
    int code = log_read_flags(&flags, TRIM_HELP, trim_take, &wish, &region);
    if (code != EXIT_DONE)
        return code;
    if (region == NULL) {
        log_trim_help();
        return EXIT_DONE;
    }
    if (wish.ways != 1) {
        complain("log trim", "say one of --to=POSITION, --keep=BYTES and --all");
        return EXIT_USAGE;
    }
    code = log_look_open(&look, "log trim", region);
    if (code == EXIT_DONE)
        code = trim_fits(&look, &wish) ? trim_log(&look, &wish) : EXIT_USAGE;
    log_look_close(&look);
    return code;
}
