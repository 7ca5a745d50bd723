/* log_dump.c - tidepool log dump and tail: batches and their messages */
#define _GNU_SOURCE
#include "log.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "box/frame.h"

enum dump_format { DUMP_TEXT, DUMP_HEX, DUMP_RAW };

/* Of both commands; a flag that a command does not have is none of its table. */
struct dump_wish {
    const char *command;
    bool tail, follow, json, one, ranged;
    unsigned format;
    uint64_t from, to, count, bytes, broker;
};

/* What is under way. */
struct dump {
    const struct log_look *look;
    const struct dump_wish *wish;
    struct json json;
    unsigned char *payload;
    char *text;
    size_t room; /* of payload */
    uint64_t told, damaged;
    bool full; /* as many as were asked for */
};

void log_dump_help(void)
{
    fputs("tidepool log dump - the batches and messages of a log, in order\n"
          "\n"
          "usage: tidepool log dump [FLAGS] REGION\n"
          "\n"
          "  tidepool log dump /dev/shm/log                        all that is kept\n"
          "  tidepool log dump --from=100 --to=200 /dev/shm/log    positions 100 to 199\n"
          "  tidepool log dump --format=raw /dev/shm/log >bytes    the messages' bytes alone\n"
          "  tidepool log dump --broker=1 /dev/shm/log             level 0: one broker\n"
          "\n"
          "It only reads, also while a process has the log open. At level 0 each broker has\n"
          "positions of its own, and they come one broker after the other.\n"
          "\n"
          "Flags:\n"
          "  --from=POSITION   the first one; default: the earliest that is kept\n"
          "  --to=POSITION     the one behind the last one; default: the end\n"
          "  --count=N         at most so many batches\n"
          "  --broker=N        level 0: only this broker\n"
          "  --format=HOW      text: with the escapes of C (the default); hex; raw: the bytes of\n"
          "                    the messages, nothing else\n"
          "  --bytes=N         of each message, at most; 0: all. Default 256 (raw: all)\n"
          "  --json            one object (see JSON.md)\n",
          stdout);
}

void log_tail_help(void)
{
    fputs("tidepool log tail - the last batches of a log, and what comes\n"
          "\n"
          "usage: tidepool log tail [-f] [-n N] [FLAGS] REGION\n"
          "\n"
          "  tidepool log tail /dev/shm/log          the last 10 batches\n"
          "  tidepool log tail -f -n 0 /dev/shm/log  what is appended from now on\n"
          "\n"
          "It is no reader of the log: nobody waits for it. When it is overtaken it says which\n"
          "positions it has missed, and goes on. -f ends when the log is removed, or by a signal.\n"
          "\n"
          "Flags:\n"
          "  -n, --lines=N     so many batches from the end (level 0: of each broker); default 10\n"
          "  -f, --follow      and what comes behind them\n"
          "  --count=N         end after so many batches\n"
          "  --broker=N        level 0: only this broker\n"
          "  --format=HOW      text, hex or raw, as in dump\n"
          "  --bytes=N         of each message, at most; 0: all. Default 256 (raw: all)\n"
          "  --json            an object in each line for each batch or gap (see JSON.md)\n",
          stdout);
}

/* --- messages ------------------------------------------------------------------------------ */

static unsigned long long ull(uint64_t number)
{
    return (unsigned long long)number;
}

static size_t dump_shown(const struct dump *dump, uint32_t length)
{
    uint64_t most = dump->wish->bytes;
    return most != 0 && length > most ? (size_t)most : length;
}

static void message_text(struct dump *dump, const struct tide_layout_frame *frame, uint64_t number)
{
    const unsigned char *data = (const unsigned char *)(frame + 1);
    size_t shown = dump_shown(dump, frame->length);
    bool hex = dump->wish->format == DUMP_HEX;
    if (dump->wish->format == DUMP_RAW) {
        fwrite(data, 1, shown, stdout);
        return;
    }
    (hex ? log_hex : log_escape)(dump->text, data, shown);
    printf("  message %llu, tag %llu, %u B: %s%s%s%s\n", ull(number), ull(frame->tag),
           frame->length, hex ? "" : "\"", dump->text, hex ? "" : "\"",
           shown < frame->length ? "..." : "");
}

static void message_json(struct dump *dump, const struct tide_layout_frame *frame, uint64_t number)
{
    struct json *json = &dump->json;
    const unsigned char *data = (const unsigned char *)(frame + 1);
    size_t shown = dump_shown(dump, frame->length);
    bool hex = dump->wish->format == DUMP_HEX;
    (hex ? log_hex : log_escape)(dump->text, data, shown);
    json_open(json, NULL, '{');
    if (dump->look->peek.map.level != 0)
        json_number(json, "number", number);
    else
        json_null(json, "number");
    json_number(json, "tag", frame->tag);
    json_number(json, "size", frame->length);
    json_text(json, hex ? "hex" : "text", dump->text);
    json_bool(json, "cut", shown < frame->length);
    json_close(json, '}');
}

static void dump_messages(struct dump *dump, const struct tide_layout_entry *entry)
{
    const struct tide_layout_frame *frame;
    size_t at = 0;
    uint64_t number = dump->look->peek.map.level != 0 ? entry->base : 0;
    while ((frame = tide_frame_next(dump->payload, entry->size, &at)) != NULL) {
        (dump->wish->json ? message_json : message_text)(dump, frame, number);
        number++;
    }
}

/* --- batches -------------------------------------------------------------------------------- */

static void batch_text(struct dump *dump, uint64_t position, const struct tide_layout_entry *entry,
                       const char *damage)
{
    if (dump->wish->format == DUMP_RAW && damage == NULL) {
        dump_messages(dump, entry);
        return;
    }
    if (dump->wish->format == DUMP_RAW) {
        complain(dump->wish->command, "batch %llu is damaged: %s",
                 ull(log_shown(dump->look, position)), damage);
        return;
    }
    printf("batch %llu, broker %u, client %u, number %llu: %u message%s, %u B%s%s%s\n",
           ull(log_shown(dump->look, position)), entry->broker, entry->client, ull(entry->number),
           entry->count, entry->count == 1 ? "" : "s", entry->size,
           (entry->flags & TIDE_LAYOUT_REF) != 0 ? " by reference" : "", damage != NULL ? ": " : "",
           damage != NULL ? damage : "");
    if (damage == NULL)
        dump_messages(dump, entry);
}

static void batch_json(struct dump *dump, uint64_t position, const struct tide_layout_entry *entry,
                       const char *damage)
{
    struct json *json = &dump->json;
    if (dump->wish->tail)
        json_begin(json, "log tail");
    else
        json_open(json, NULL, '{');
    json_number(json, "position", log_shown(dump->look, position));
    json_number(json, "broker", entry->broker);
    json_number(json, "client", entry->client);
    json_number(json, "number", entry->number);
    json_number(json, "size", entry->size);
    json_bool(json, "lent", (entry->flags & TIDE_LAYOUT_REF) != 0);
    json_text(json, "damage", damage);
    json_open(json, "messages", '[');
    if (damage == NULL)
        dump_messages(dump, entry);
    json_close(json, ']');
    json_close(json, '}');
}

/* Positions that were given up before they could be read. */
static void dump_gap(struct dump *dump, uint32_t broker, uint64_t from, uint64_t to)
{
    uint64_t first = log_shown(dump->look, from), next = log_shown(dump->look, to);
    struct json *json = &dump->json;
    if (!dump->wish->json) {
        complain(dump->wish->command, "gap: positions %llu to %llu were given up meanwhile",
                 ull(first), ull(next - 1));
        return;
    }
    if (dump->wish->tail)
        json_begin(json, "log tail");
    else
        json_open(json, NULL, '{');
    json_open(json, "gap", '{');
    json_number(json, "broker", broker);
    json_number(json, "from", first);
    json_number(json, "to", next);
    json_close(json, '}');
    json_close(json, '}');
}

static bool dump_has_room(struct dump *dump, size_t size)
{
    if (size <= dump->room)
        return true;
    free(dump->payload);
    free(dump->text);
    dump->payload = aligned_alloc(64, tide_align_up(size, 64));
    dump->text = malloc(4 * size + 1);
    dump->room = dump->payload != NULL && dump->text != NULL ? size : 0;
    return dump->room != 0;
}

/* The batch at *position, which moves on; false: there is none yet. */
static bool dump_batch(struct dump *dump, uint32_t broker, uint64_t *position)
{
    const struct tide_peek *peek = &dump->look->peek;
    struct tide_layout_entry entry;
    enum tide_peek_found found = tide_peek_batch(peek, broker, *position, &entry);
    if (found == TIDE_PEEK_NONE)
        return false;
    if (found == TIDE_PEEK_THERE && (entry.flags & TIDE_LAYOUT_PAD) != 0) {
        ++*position;
        return true;
    }
    const char *damage = NULL;
    if (found == TIDE_PEEK_THERE) {
        if (!tide_peek_inside(peek, &entry))
            damage = "damaged: its payload is outside of the log";
        else if (!dump_has_room(dump, entry.size))
            damage = "there is not enough memory for it";
        else
            found = tide_peek_payload(peek, broker, *position, &entry, dump->payload);
        if (found == TIDE_PEEK_SUM)
            damage = "damaged: the check sum is not that of its payload";
    }
    if (found == TIDE_PEEK_GONE) {
        uint64_t next = tide_peek_earliest(peek, broker);
        dump_gap(dump, broker, *position, next);
        *position = next;
        return true;
    }
    dump->damaged += damage != NULL;
    (dump->wish->json ? batch_json : batch_text)(dump, *position, &entry, damage);
    ++*position;
    dump->full = ++dump->told == dump->wish->count && dump->wish->count != 0;
    return true;
}

/* --- dump -------------------------------------------------------------------------------- */

/* Which lists of positions there are: one for each broker at level 0. */
static bool dump_is_list(const struct dump *dump, uint32_t broker)
{
    if (dump->look->peek.map.level != 0)
        return broker == 0;
    return !dump->wish->one || dump->wish->broker == broker;
}

static void dump_list(struct dump *dump, uint32_t broker)
{
    const struct tide_peek *peek = &dump->look->peek;
    uint64_t shift = peek->map.level == 0, end = tide_peek_end(peek, broker);
    uint64_t at = tide_peek_earliest(peek, broker);
    if (dump->wish->ranged && (int64_t)(dump->wish->from + shift - at) > 0)
        at = dump->wish->from + shift;
    if (dump->wish->to != UINT64_MAX && (int64_t)(dump->wish->to + shift - end) < 0)
        end = dump->wish->to + shift;
    while ((int64_t)(end - at) > 0 && !dump->full)
        if (!dump_batch(dump, broker, &at))
            break;
}

static void dump_all(struct dump *dump)
{
    if (dump->wish->json) {
        json_begin(&dump->json, "log dump");
        json_text(&dump->json, "region", dump->look->source);
        json_open(&dump->json, "batches", '[');
    }
    for (uint32_t i = 0; i < dump->look->peek.map.brokers; i++)
        if (dump_is_list(dump, i))
            dump_list(dump, i);
    if (dump->wish->json) {
        json_close(&dump->json, ']');
        json_close(&dump->json, '}');
    }
}

/* A position that is not there is an error, and not nothing. */
static bool dump_fits(const struct dump *dump)
{
    const struct tide_peek *peek = &dump->look->peek;
    const struct dump_wish *wish = dump->wish;
    if (wish->one && peek->map.level != 0) {
        complain(wish->command, "--broker is about level 0, and the log is of level %u",
                 peek->map.level);
        return false;
    }
    if (wish->one && wish->broker >= peek->map.brokers) {
        complain(wish->command, "--broker: '%llu' is not allowed; allowed: 0 to %u",
                 ull(wish->broker), peek->map.brokers - 1);
        return false;
    }
    uint32_t broker = wish->one ? (uint32_t)wish->broker : 0;
    uint64_t first = log_shown(dump->look, tide_peek_earliest(peek, broker));
    uint64_t end = log_shown(dump->look, tide_peek_end(peek, broker));
    if (!wish->ranged || (peek->map.level == 0 && !wish->one) ||
        (wish->from >= first && wish->from <= end))
        return true;
    complain(wish->command, "--from: position %llu is not there; the log has %llu to %llu",
             ull(wish->from), ull(first), ull(end));
    return false;
}

/* --- tail ------------------------------------------------------------------------------------ */

/* The position from which there are n batches up to the end; aborted claims are none. */
static uint64_t tail_start(const struct dump *dump, uint32_t broker, uint64_t n)
{
    const struct tide_peek *peek = &dump->look->peek;
    struct tide_layout_entry entry;
    uint64_t first = tide_peek_earliest(peek, broker), at = tide_peek_end(peek, broker);
    while (n > 0 && (int64_t)(at - first) > 0) {
        at--;
        if (tide_peek_batch(peek, broker, at, &entry) != TIDE_PEEK_THERE)
            return at + 1;
        n -= (entry.flags & TIDE_LAYOUT_PAD) == 0;
    }
    return at;
}

static int tail_all(struct dump *dump)
{
    const struct timespec pause = {0, 20000000};
    uint64_t at[TIDE_LAYOUT_BROKERS];
    uint32_t brokers = dump->look->peek.map.brokers;
    for (uint32_t i = 0; i < brokers; i++)
        at[i] = tail_start(dump, i, dump->wish->from);
    for (;;) {
        bool more = false;
        for (uint32_t i = 0; i < brokers && !dump->full; i++)
            while (!dump->full && dump_is_list(dump, i) && dump_batch(dump, i, &at[i]))
                more = true;
        int code = more ? finish_output() : EXIT_DONE;
        if (code != EXIT_DONE || dump->full || !dump->wish->follow)
            return code;
        if (!log_look_same(dump->look)) {
            complain("log tail", "%s: the log was removed, or made anew", dump->look->source);
            return EXIT_ABSENT;
        }
        nanosleep(&pause, NULL);
    }
}

/* --- both ------------------------------------------------------------------------------------- */

static int dump_run(struct dump_wish *wish, const char *region)
{
    static struct log_look look;
    struct dump dump = {.look = &look, .wish = wish, .json = {.line = wish->tail}};
    int code = log_look_open(&look, wish->command, region);
    if (wish->format == DUMP_RAW && wish->json && code == EXIT_DONE) {
        complain(wish->command, "--format=raw and --json do not go together");
        code = EXIT_USAGE;
    }
    if (wish->bytes == UINT64_MAX)
        wish->bytes = wish->format == DUMP_RAW ? 0 : 256;
    if (code == EXIT_DONE && !dump_fits(&dump))
        code = EXIT_USAGE;
    if (code == EXIT_DONE && wish->tail)
        code = tail_all(&dump);
    else if (code == EXIT_DONE)
        dump_all(&dump);
    if (code == EXIT_DONE)
        code = finish_output();
    if (code == EXIT_DONE && dump.damaged > 0) {
        complain(wish->command, "%llu batch%s damaged (tidepool log check tells more)",
                 ull(dump.damaged), dump.damaged == 1 ? " is" : "es are");
        code = EXIT_ERROR;
    }
    free(dump.payload);
    free(dump.text);
    log_look_close(&look);
    return code;
}

static bool dump_take_format(struct dump_wish *wish, const char *value)
{
    static const char *const formats[] = {"text", "hex", "raw"};
    return log_word(wish->command, "format", value, formats, 3, &wish->format);
}

enum {
    DUMP_FROM,
    DUMP_TO,
    DUMP_COUNT,
    DUMP_BROKER,
    DUMP_FORMAT,
    DUMP_BYTES,
    DUMP_JSON,
    DUMP_HELP,
    DUMP_FLAGS
};

static const struct flag dump_flags[DUMP_FLAGS] = {
    [DUMP_FROM] = {"from", FLAG_VALUE, false, 0},
    [DUMP_TO] = {"to", FLAG_VALUE, false, 0},
    [DUMP_COUNT] = {"count", FLAG_VALUE, false, 'n'},
    [DUMP_BROKER] = {"broker", FLAG_VALUE, false, 0},
    [DUMP_FORMAT] = {"format", FLAG_VALUE, false, 0},
    [DUMP_BYTES] = {"bytes", FLAG_VALUE, false, 0},
    [DUMP_JSON] = {"json", FLAG_PLAIN, false, 0},
    [DUMP_HELP] = {"help", FLAG_PLAIN, false, 'h'},
};

static bool dump_take(void *to, int flag, const char *value)
{
    struct dump_wish *wish = to;
    const char *command = wish->command;
    switch (flag) {
    case DUMP_FROM:
        wish->ranged = true;
        return log_number(command, "from", value, false, 0, UINT64_MAX - 1, &wish->from);
    case DUMP_TO:
        return log_number(command, "to", value, false, 0, UINT64_MAX - 1, &wish->to);
    case DUMP_COUNT:
        return log_number(command, "count", value, false, 1, INT64_MAX, &wish->count);
    case DUMP_BROKER:
        wish->one = true;
        return log_number(command, "broker", value, false, 0, TIDE_LAYOUT_BROKERS - 1,
                          &wish->broker);
    case DUMP_FORMAT:
        return dump_take_format(wish, value);
    case DUMP_BYTES:
        return log_number(command, "bytes", value, true, 0, INT64_MAX, &wish->bytes);
    default:
        wish->json = true;
        return true;
    }
}

int log_dump(char **argv)
{
    struct dump_wish wish = {.command = "log dump", .to = UINT64_MAX, .bytes = UINT64_MAX};
    struct flags flags = {"log dump", dump_flags, DUMP_FLAGS, argv, NULL};
    const char *region;
    int code = log_read_flags(&flags, DUMP_HELP, dump_take, &wish, &region);
    if (code == EXIT_DONE && region == NULL)
        log_dump_help();
    return code != EXIT_DONE || region == NULL ? code : dump_run(&wish, region);
}

enum { TAIL_LINES = DUMP_FLAGS, TAIL_FOLLOW, TAIL_FLAGS };

static const struct flag tail_flags[TAIL_FLAGS] = {
    [DUMP_FROM] = {"", FLAG_PLAIN, true, 0},
    [DUMP_TO] = {"", FLAG_PLAIN, true, 0},
    [DUMP_COUNT] = {"count", FLAG_VALUE, false, 0},
    [DUMP_BROKER] = {"broker", FLAG_VALUE, false, 0},
    [DUMP_FORMAT] = {"format", FLAG_VALUE, false, 0},
    [DUMP_BYTES] = {"bytes", FLAG_VALUE, false, 0},
    [DUMP_JSON] = {"json", FLAG_PLAIN, false, 0},
    [DUMP_HELP] = {"help", FLAG_PLAIN, false, 'h'},
    [TAIL_LINES] = {"lines", FLAG_VALUE, false, 'n'},
    [TAIL_FOLLOW] = {"follow", FLAG_PLAIN, false, 'f'},
};

static bool tail_take(void *to, int flag, const char *value)
{
    struct dump_wish *wish = to;
    if (flag == TAIL_LINES)
        return log_number("log tail", "lines", value, false, 0, INT64_MAX, &wish->from);
    if (flag != TAIL_FOLLOW)
        return dump_take(to, flag, value);
    wish->follow = true;
    return true;
}

int log_tail(char **argv)
{
    struct dump_wish wish = {
        .command = "log tail", .tail = true, .to = UINT64_MAX, .bytes = UINT64_MAX, .from = 10};
    struct flags flags = {"log tail", tail_flags, TAIL_FLAGS, argv, NULL};
    const char *region;
    int code = log_read_flags(&flags, DUMP_HELP, tail_take, &wish, &region);
    if (code == EXIT_DONE && region == NULL)
        log_tail_help();
    return code != EXIT_DONE || region == NULL ? code : dump_run(&wish, region);
}
