/* options.c - see options.h */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tidepool/version.h>

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

static const char help[] =
    "tidepool-broker - streams over the Redis protocol, kept in a tidepool log\n"
    "\n"
    "  tidepool-broker [OPTION...]\n"
    "\n"
    "Any client of Redis Streams speaks to it:\n"
    "  redis-cli XADD orders '*' item tea count 2\n"
    "  redis-cli XREAD BLOCK 0 STREAMS orders '$'\n"
    "Commands: XADD XLEN XRANGE XREVRANGE XREAD XTRIM DEL, PING ECHO HELLO CLIENT COMMAND INFO\n"
    "CONFIG QUIT SHUTDOWN; protocol version 2. Entries are kept until they are trimmed (XADD\n"
    "MAXLEN, MINID, XTRIM, DEL); when the log is full, XADD says -OOM.\n"
    "\n"
    "Where it listens\n"
    "  --listen ADDRESS      a numeric address, up to 16 times (127.0.0.1). There is no\n"
    "                        password: what can reach the address can read and write all\n"
    "  --port N              0: no TCP, any: a free one, told at the start (6379)\n"
    "  --unix PATH           a Unix socket as well\n"
    "The log; of one that is there already sizes stay, and another --level is refused\n"
    "  --source SOURCE       where it lives: anon, memory of this process; file:PATH,\n"
    "                        dax:/dev/daxX.Y, which are there after the end: the next start\n"
    "                        finds all streams again; node:N, auto, memfd (anon)\n"
    "  --replace             makes a new log, whatever the source has\n"
    "  --payload SIZE        bytes for entries, of all rings together (256M)\n"
    "  --slots N             batches of all rings together (payload / 256)\n"
    "  --brokers N           rings, 1 to 32: a stream is always in the same one (1)\n"
    "  --level N             5: one order over all streams; 4: each client's own order is\n"
    "                        guarded by a session of the log as well (5)\n"
    "  --sessions N          level 4: connections that append, at once (1000)\n"
    "  --ack WHEN            XADD is answered when the entry has its place in the order:\n"
    "                        ordered; or when it is on the medium of file: or dax: as well:\n"
    "                        durable. All that wait share a sync (ordered)\n"
    "Limits\n"
    "  --max-connections N   (10000)\n"
    "  --max-message SIZE    bytes of one request (16M, at most a quarter of a ring)\n"
    "  --max-output SIZE     bytes of one reply; more is an error that asks for COUNT. Also of\n"
    "                        replies that a client has not taken: with more it is not read\n"
    "                        from (64M)\n"
    "  --max-buffers SIZE    requests in parts and replies not yet taken, of all connections:\n"
    "                        from half on clients who take no replies are not read from; who\n"
    "                        wants more is disconnected (256M)\n"
    "  --idle SECONDS        disconnects who says nothing for so long; 0: never (0)\n"
    "The process\n"
    "  --spin MICROSECONDS   while clients send small requests one at a time, the process\n"
    "                        waits awake, so that it serves them so far apart, as long as that\n"
    "                        saves sleeping; 0: never (8)\n"
    "  --pidfile PATH        written when it listens, removed at the end\n"
    "  --help, --version\n"
    "\n"
    "It prints a line when it is ready. SIGTERM, SIGINT and SHUTDOWN end it with status 0.\n"
    "Sizes: bytes, or with K, M or G. Exit codes: 0 done, 1 it cannot run, 2 usage.\n";

__attribute__((format(printf, 1, 2))) static bool options_wrong(const char *format, ...)
{
    va_list args;
    fputs("tidepool-broker: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    return false;
}

/* A number or a size, of what is allowed. */
static bool options_number(const char *name, const char *text, bool size, uint64_t low,
                           uint64_t high, uint64_t *number)
{
    char *end;
    unsigned shift = 0;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (size && *end != '\0' && end[1] == '\0') {
        shift = *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : 0;
        end += shift != 0;
    }
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 ||
        value > (UINT64_MAX >> shift) || value << shift < low || value << shift > high)
        return options_wrong("--%s %s: not a %s from %llu to %llu", name, text,
                             size ? "size" : "number", (unsigned long long)low,
                             (unsigned long long)high);
    *number = value << shift;
    return true;
}

enum {
    OPT_LISTEN = 1,
    OPT_PORT,
    OPT_UNIX,
    OPT_SOURCE,
    OPT_REPLACE,
    OPT_PAYLOAD,
    OPT_SLOTS,
    OPT_BROKERS,
    OPT_LEVEL,
    OPT_SESSIONS,
    OPT_ACK,
    OPT_CONNECTIONS,
    OPT_MESSAGE,
    OPT_OUTPUT,
    OPT_BUFFERS,
    OPT_IDLE,
    OPT_SPIN,
    OPT_PIDFILE,
    OPT_HELP,
    OPT_VERSION
};

static const struct option names[] = {
    {"listen", required_argument, NULL, OPT_LISTEN},
    {"port", required_argument, NULL, OPT_PORT},
    {"unix", required_argument, NULL, OPT_UNIX},
    {"source", required_argument, NULL, OPT_SOURCE},
    {"replace", no_argument, NULL, OPT_REPLACE},
    {"payload", required_argument, NULL, OPT_PAYLOAD},
    {"slots", required_argument, NULL, OPT_SLOTS},
    {"brokers", required_argument, NULL, OPT_BROKERS},
    {"level", required_argument, NULL, OPT_LEVEL},
    {"sessions", required_argument, NULL, OPT_SESSIONS},
    {"ack", required_argument, NULL, OPT_ACK},
    {"max-connections", required_argument, NULL, OPT_CONNECTIONS},
    {"max-message", required_argument, NULL, OPT_MESSAGE},
    {"max-output", required_argument, NULL, OPT_OUTPUT},
    {"max-buffers", required_argument, NULL, OPT_BUFFERS},
    {"idle", required_argument, NULL, OPT_IDLE},
    {"spin", required_argument, NULL, OPT_SPIN},
    {"pidfile", required_argument, NULL, OPT_PIDFILE},
    {"help", no_argument, NULL, OPT_HELP},
    {"version", no_argument, NULL, OPT_VERSION},
    {NULL, 0, NULL, 0},
};

/* What has a number: where it goes, and what is allowed. */
static bool options_figure(struct options *options, int which, const char *name, const char *text)
{
    uint64_t number = 0;
    struct store_options *store = &options->store;
    switch (which) {
    case OPT_PAYLOAD:
        return options_number(name, text, true, 64 << 10, 16 * GIB, &store->payload);
    case OPT_SLOTS:
        return options_number(name, text, true, 64, UINT64_C(1) << 28, &store->slots);
    case OPT_CONNECTIONS:
        return options_number(name, text, false, 1, 1000000, &options->max_connections);
    case OPT_MESSAGE:
        return options_number(name, text, true, 1 << 10, GIB, &options->max_message);
    case OPT_OUTPUT:
        return options_number(name, text, true, 1 << 10, GIB, &options->max_output);
    case OPT_BUFFERS:
        return options_number(name, text, true, 64 << 10, 1024 * GIB, &options->max_buffers);
    case OPT_IDLE:
        return options_number(name, text, false, 0, 1000000, &options->idle);
    case OPT_SPIN:
        return options_number(name, text, false, 0, 1000, &options->spin);
    case OPT_BROKERS:
        if (!options_number(name, text, false, 1, 32, &number))
            return false;
        store->brokers = (unsigned)number;
        return true;
    default:
        if (!options_number(name, text, false, 1, 65535, &number))
            return false;
        store->sessions = (unsigned)number;
        return true;
    }
}

static bool options_port(struct options *options, const char *text)
{
    uint64_t number = 0;
    if (strcmp(text, "any") == 0) {
        options->port = -1;
        return true;
    }
    if (!options_number("port", text, false, 0, 65535, &number))
        return false;
    options->port = (int)number;
    return true;
}

static bool options_take(struct options *options, int which, const char *name, const char *text)
{
    switch (which) {
    case OPT_LISTEN:
        if (options->listens == OPTIONS_LISTEN)
            return options_wrong("--listen %s: at most %d addresses", text, OPTIONS_LISTEN);
        options->listen[options->listens++] = text;
        return true;
    case OPT_PORT:
        return options_port(options, text);
    case OPT_UNIX:
        options->unix_path = text;
        return true;
    case OPT_PIDFILE:
        options->pidfile = text;
        return true;
    case OPT_SOURCE:
        options->store.source = text;
        return true;
    case OPT_REPLACE:
        options->store.replace = true;
        return true;
    case OPT_LEVEL:
        options->store.level = text[0] == '4' ? 4 : 5;
        return ((text[0] == '4' || text[0] == '5') && text[1] == '\0') ||
               options_wrong("--level %s: not 4 or 5", text);
    case OPT_ACK:
        options->store.durable = strcmp(text, "durable") == 0;
        return options->store.durable || strcmp(text, "ordered") == 0 ||
               options_wrong("--ack %s: not ordered or durable", text);
    default:
        return options_figure(options, which, name, text);
    }
}

/* What depends on other options: the rings' shares, and what was not given. */
static bool options_settle(struct options *options)
{
    struct store_options *store = &options->store;
    store->payload = store->payload / store->brokers / 64 * 64;
    store->slots = store->slots != 0 ? store->slots / store->brokers : store->payload / 256;
    if (store->slots < 64)
        store->slots = 64;
    if (store->slots > 1 << 24)
        store->slots = 1 << 24;
    uint64_t most = store->payload / 4;
    if (options->max_message == 0)
        options->max_message = most < 16 * MIB ? most : 16 * MIB;
    if (options->max_message > most)
        return options_wrong("--max-message %llu: at most a quarter of a ring of --payload: %llu",
                             (unsigned long long)options->max_message, (unsigned long long)most);
    if (options->listens == 0)
        options->listen[options->listens++] = "127.0.0.1";
    if (options->port == 0 && options->unix_path == NULL)
        return options_wrong("--port 0 without --unix: nowhere to listen");
    return true;
}

int options_read(struct options *options, int argc, char **argv)
{
    int which, row = 0;
    *options = (struct options){
        .port = 6379,
        .store = {.source = "anon", .brokers = 1, .sessions = 1000, .payload = 256 * MIB},
        .max_connections = 10000,
        .max_output = 64 * MIB,
        .max_buffers = 256 * MIB,
        .spin = 8,
    };
    opterr = 0;
    while ((which = getopt_long(argc, argv, ":", names, &row)) != -1) {
        if (which == OPT_HELP || which == OPT_VERSION) {
            fputs(which == OPT_HELP ? help : "tidepool-broker " TIDE_VERSION_STRING "\n", stdout);
            return 1;
        }
        if (which == ':' || which == '?') {
            options_wrong("%s: %s (see --help)", argv[optind - 1],
                          which == ':' ? "wants a value" : "no such option");
            return 2;
        }
        if (!options_take(options, which, names[row].name, optarg))
            return 2;
    }
    if (optind < argc) {
        options_wrong("%s: not an option (see --help)", argv[optind]);
        return 2;
    }
    return options_settle(options) ? 0 : 2;
}

/* ---- CONFIG GET ---- */

static void row_listen(const struct options *options, char *value, unsigned len)
{
    unsigned used = 0;
    value[0] = '\0';
    for (unsigned i = 0; options->port != 0 && i < options->listens && used < len; i++)
        used += (unsigned)snprintf(value + used, len - used, "%s%s", i > 0 ? " " : "",
                                   options->listen[i]);
}

bool options_row(const struct options *options, unsigned row, const char **name, char *value,
                 unsigned len)
{
    const struct store_options *store = &options->store;
    const struct {
        const char *name, *text;
        uint64_t number;
    } rows[] = {
        {"appendonly", "no", 0},
        {"save", "", 0},
        {"databases", NULL, 1},
        {"maxmemory", NULL, 0},
        {"bind", NULL, 0},
        {"port", NULL, options->port > 0 ? (uint64_t)options->port : 0},
        {"unixsocket", options->unix_path != NULL ? options->unix_path : "", 0},
        {"pidfile", options->pidfile != NULL ? options->pidfile : "", 0},
        {"maxclients", NULL, options->max_connections},
        {"proto-max-bulk-len", NULL, options->max_message},
        {"timeout", NULL, options->idle},
        {"spin", NULL, options->spin},
        {"max-output", NULL, options->max_output},
        {"max-buffers", NULL, options->max_buffers},
        {"source", store->source, 0},
        {"payload", NULL, store->payload * store->brokers},
        {"slots", NULL, store->slots * store->brokers},
        {"brokers", NULL, store->brokers},
        {"level", NULL, store->level},
        {"sessions", NULL, store->level == 4 ? store->sessions : 0},
        {"ack", options->store.durable ? "durable" : "ordered", 0},
    };
    if (row >= sizeof rows / sizeof rows[0])
        return false;
    *name = rows[row].name;
    if (strcmp(*name, "bind") == 0)
        row_listen(options, value, len);
    else if (rows[row].text != NULL)
        snprintf(value, len, "%s", rows[row].text);
    else
        snprintf(value, len, "%llu", (unsigned long long)rows[row].number);
    return true;
}
