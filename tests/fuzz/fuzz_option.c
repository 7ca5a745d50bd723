/*
 * fuzz_option.c - hostile texts for the option parser: the list in the environment, single
 *   values, the language of mid=, and what is told about them.
 *
 * The oracle is a second parser, made from what `tide_option_info` and the headers say,
 * that works on spans of the text and never on copies of it. Every text lies in a block of
 * exactly its size, so that the sanitizer sees a byte read behind it.
 *
 * The first byte chooses what the rest is: a list, one value by the internal or by the
 * public call, a source of Mid, the environment as a whole.
 *
 * Faults (FUZZ_PLANT): value (the oracle takes 1022 for tiny_max), keep (a refused value is
 * expected to be taken), told (another text is expected).
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <sys/mman.h>

#include <tidepool/tidepool.h>

#include "box/option.h"
#include "box/source.h"

#include "fuzz.h"

enum { ROWS_MAX = 32, SHOWN = 256, QUOTED = 64, LIST_MAX = 2047, JSON_MAX = 128 << 10 };

/* A piece of a text. */
struct span {
    const char *at;
    size_t len;
};

static struct row {
    struct tide_option_info info;
    char value[SHOWN]; /* what the oracle holds it for */
} row[ROWS_MAX];

static unsigned rows;
static int json;

/* ---- the oracle: values ---- */

static bool span_is(struct span span, const char *text)
{
    return strlen(text) == span.len && memcmp(span.at, text, span.len) == 0;
}

static struct span span_of(const char *text)
{
    return (struct span){text, strlen(text)};
}

static struct row *row_find(struct span key)
{
    for (unsigned i = 0; i < rows; i++)
        if (span_is(key, row[i].info.key))
            return &row[i];
    return NULL;
}

/* Digits and perhaps one suffix; counts in 128 bits, so that nothing can wrap. */
static bool number_read(struct span span, uint64_t *out)
{
    static const char suffixes[] = "KMGT";
    unsigned __int128 value = 0;
    unsigned shift = 0;
    if (span.len > 1 && memchr(suffixes, span.at[span.len - 1], 4) != NULL)
        shift = 10 * (unsigned)(strchr(suffixes, span.at[--span.len]) - suffixes + 1);
    if (span.len == 0)
        return false;
    for (size_t i = 0; i < span.len; i++) {
        if (span.at[i] < '0' || span.at[i] > '9' || value > UINT64_MAX)
            return false;
        value = value * 10 + (unsigned)(span.at[i] - '0');
    }
    if (value > UINT64_MAX || value << shift > UINT64_MAX)
        return false;
    *out = (uint64_t)(value << shift);
    return true;
}

static bool number_allowed(const char *values, const char *dots, struct span value, char *shown)
{
    uint64_t least, most, number;
    number_read((struct span){values, (size_t)(dots - values)}, &least);
    number_read(span_of(dots + 2), &most);
    if (fuzz_plays("value") && least == 1023)
        least--;
    if (!number_read(value, &number) || number < least || number > most)
        return false;
    snprintf(shown, SHOWN, "%llu", (unsigned long long)number);
    return true;
}

static bool choice_allowed(const char *values, struct span value, char *shown)
{
    for (const char *word = values; word != NULL;) {
        const char *bar = strchr(word, '|');
        size_t len = bar != NULL ? (size_t)(bar - word) : strlen(word);
        if (len == value.len && memcmp(word, value.at, len) == 0) {
            snprintf(shown, SHOWN, "%.*s", (int)len, word);
            return true;
        }
        word = bar != NULL ? bar + 1 : NULL;
    }
    return false;
}

/* The value as it is shown once it was taken; false: it is refused. mid= and file names
 * are texts, looked at when they are used. */
static bool value_allowed(const struct row *at, struct span value, char *shown)
{
    const char *values = at->info.values, *dots = strstr(values, "..");
    if (strcmp(at->info.key, "mid") != 0) {
        if (dots != NULL)
            return number_allowed(values, dots, value, shown);
        bool place = strstr(values, "|/DIR") != NULL && value.len > 0 && value.at[0] == '/';
        if (strchr(values, '|') != NULL && !place)
            return choice_allowed(values, value, shown);
    }
    if (value.len >= SHOWN)
        return false;
    memcpy(shown, value.at, value.len);
    shown[value.len] = '\0';
    return true;
}

/* ---- the library's side ---- */

static void row_check(struct row *at)
{
    char *shown = malloc(SHOWN);
    size_t want = strlen(at->value);
    int len = tide_option_show(at->info.key, shown, SHOWN);
    if (len != (int)want || strcmp(shown, at->value) != 0)
        fuzz_fail("option %s is '%s' (%d), not '%s'", at->info.key, len < 0 ? "" : shown, len,
                  at->value);
    free(shown);
    shown = malloc(want + 1); /* exactly enough, and too little by one */
    if (tide_option_get(at->info.key, shown, want + 1) != (int)want ||
        (want > 0 && tide_option_get(at->info.key, shown, want) != -ERANGE))
        fuzz_fail("option %s: room for %zu characters is not what counts", at->info.key, want);
    free(shown);
}

static void rows_check(void)
{
    for (unsigned i = 0; i < rows; i++)
        row_check(&row[i]);
}

/* What is told first stays until it is forgotten here. */
static void complaint_forget(void)
{
    char *complaint = (char *)(uintptr_t)tide_option_complaint();
    if (complaint != NULL)
        complaint[0] = '\0';
}

static void rows_reset(void)
{
    for (unsigned i = 0; i < rows; i++) {
        if (tide_option_assign(row[i].info.key, row[i].info.initial, false) != 0)
            fuzz_fail("option %s does not take its default", row[i].info.key);
        value_allowed(&row[i], span_of(row[i].info.initial), row[i].value);
    }
    complaint_forget();
}

/* ---- a list ---- */

/* What has to be told about the first bad entry. */
struct told {
    int error;
    char text[512];
};

static void told_of(struct told *told, int error, const char *format, ...)
{
    va_list args;
    if (told->error != 0)
        return;
    told->error = error;
    va_start(args, format);
    vsnprintf(told->text, sizeof told->text, format, args);
    va_end(args);
    told->text[0] ^= fuzz_plays("told");
}

/* How a word of the user's is told: not too much of it, and no control characters. */
static const char *quote(struct span span, char *out)
{
    size_t len = span.len < QUOTED ? span.len : QUOTED;
    for (size_t i = 0; i < len; i++)
        out[i] = (unsigned char)span.at[i] < ' ' || span.at[i] == 0x7f ? '?' : span.at[i];
    strcpy(out + len, span.len > QUOTED ? "..." : "");
    return out;
}

static void list_entry(struct span entry, struct told *told)
{
    const char *equals = memchr(entry.at, '=', entry.len);
    struct span key = {entry.at, equals != NULL ? (size_t)(equals - entry.at) : entry.len};
    struct span value = {equals != NULL ? equals + 1 : entry.at + entry.len, 0};
    value.len = (size_t)(entry.at + entry.len - value.at);
    struct row *at = row_find(key);
    char word[QUOTED + 8];
    if (entry.len == 0)
        return;
    if (at == NULL)
        told_of(told, -ENOENT, "unknown option '%s' (see: tidepool options)", quote(key, word));
    else if (equals == NULL || !value_allowed(at, value, at->value))
        told_of(told, -EINVAL, "bad value of option '%s': '%s' (allowed: %s); the default stays",
                at->info.key, quote(value, word), at->info.values);
}

/* Length of the entry that text begins with. A comma ends it; that of mid= only when
 * nothing, or a known key, follows. */
static size_t list_entry_length(const char *text)
{
    bool mid = strncmp(text, "mid=", 4) == 0;
    for (size_t i = 0;; i++) {
        if (text[i] == '\0')
            return i;
        if (text[i] != ',')
            continue;
        struct span next = {text + i + 1, strcspn(text + i + 1, "=,")};
        if (!mid || next.len == 0 || row_find(next) != NULL)
            return i;
    }
}

static void told_check(const struct told *told)
{
    const char *is = tide_option_complaint();
    if (told->error != 0 ? is == NULL || strcmp(is, told->text) != 0 : is != NULL)
        fuzz_fail("told: %s, but should be: %s", is != NULL ? is : "nothing", told->text);
}

static void try_list(const char *text)
{
    static struct told told;
    told.error = 0;
    told.text[0] = '\0';
    if (strlen(text) > LIST_MAX) {
        told_of(&told, -EINVAL, "the options are longer than %d characters and are ignored",
                LIST_MAX);
    } else {
        for (const char *at = text; *at != '\0';) {
            size_t len = list_entry_length(at);
            list_entry((struct span){at, len}, &told);
            at += len + (at[len] != '\0');
        }
    }
    int result = tide_option_parse(text);
    FUZZ_TELL("list '%s' gave %d", text, result);
    if (result != told.error)
        fuzz_fail("'%s' gave %d, not %d", text, result, told.error);
    told_check(&told);
    rows_check();
}

/* ---- one value ---- */

/* The key is what stands before the first equals sign, if it is there. `started`: only
 * live keys may change; `public`: by the call of the public header. */
static void try_value(char *text, bool started, bool public)
{
    char *equals = strchr(text, '=');
    char *value = equals != NULL ? equals + 1 : text;
    char keep[SHOWN];
    if (equals != NULL)
        *equals = '\0';
    const char *key = equals != NULL ? text : row[strlen(text) % rows].info.key;
    struct row *at = row_find(span_of(key));
    bool late = at != NULL && (started || public) && !at->info.live;
    bool good = at != NULL && !late && value_allowed(at, span_of(value), keep);
    int want = at == NULL ? -ENOENT : late ? -EBUSY : good ? 0 : -EINVAL;
    int result = public ? tide_option_set(key, value) : tide_option_assign(key, value, started);
    FUZZ_TELL("%s=%s gave %d", key, value, result);
    if (result != want)
        fuzz_fail("%s=%s gave %d, not %d", key, value, result, want);
    if (good)
        memcpy(at->value, keep, sizeof keep);
    if (result != 0 && at != NULL && fuzz_plays("keep"))
        strcpy(at->value, "taken");
    if (tide_option_complaint() != NULL)
        fuzz_fail("a call that returns its error also told it");
    rows_check();
}

/* ---- the language of mid= ---- */

/* The digits that text begins with, as a number that does not wrap; NULL: none. */
static const char *digits(const char *text, uint64_t *out)
{
    const char *start = text;
    for (*out = 0; *text >= '0' && *text <= '9'; text++)
        *out = *out < UINT64_MAX / 20 ? *out * 10 + (uint64_t)(*text - '0') : *out;
    return text != start ? text : NULL;
}

/* "1", "1,2" or "0*3+1*1" up to `end`: is it a list of nodes? *odd: with a number that no
 * node can have, or of many digits. */
static bool nodes_wanted(const char *text, const char *end, bool *odd)
{
    uint64_t seen = 0, node, weight = 1;
    const char *star = memchr(text, '*', (size_t)(end - text));
    for (;; text++) {
        const char *start = text;
        text = digits(text, &node);
        if (text == NULL || (star != NULL && *text != '*'))
            return false;
        if (star != NULL && (text = digits(text + 1, &weight)) == NULL)
            return false;
        if (weight < 1 || weight > 255 || (node < 64 && (seen >> node & 1) != 0))
            return false;
        *odd = *odd || node > 1023 || text - start > 8;
        seen |= node < 64 ? (uint64_t)1 << node : 0;
        if (text == end)
            return true;
        if (*text != (star != NULL ? '+' : ','))
            return false;
    }
}

static bool begins(struct span span, const char *with)
{
    size_t len = strlen(with);
    return span.len > len && memcmp(span.at, with, len) == 0;
}

/* 0 a source; -EINVAL no source; -ENODEV nodes that are not there (none is, below the
 * directory that is looked at), or a file, which may be there. *odd: it may count as one or
 * the other. */
static int source_wanted(const char *text, uint64_t *delay, bool *odd)
{
    static const char *const names[] = {"auto", "anon", "near", "memfd"};
    const char *comma = strstr(text, ",delay="), *end;
    struct span name = {text, comma != NULL ? (size_t)(comma - text) : strlen(text)};
    *delay = 0;
    *odd = name.len > 100;
    if (comma != NULL &&
        ((end = digits(comma + 7, delay)) == NULL || *end != '\0' || *delay > 1000000))
        return -EINVAL;
    for (unsigned i = 0; i < 4; i++)
        if (span_is(name, names[i]))
            return 0;
    if (begins(name, "file:") || begins(name, "dax:"))
        return -ENODEV;
    if (!begins(name, "node:"))
        return -EINVAL;
    return nodes_wanted(text + 5, text + name.len, odd) ? -ENODEV : -EINVAL;
}

static void try_source(const char *text)
{
    struct tide_source source;
    uint64_t delay, all = UINT64_MAX;
    bool odd;
    int want = source_wanted(text, &delay, &odd);
    int result = tide_source_open_below(&source, text, "/nowhere", &all);
    FUZZ_TELL("mid=%s gave %d: %s (%s)", text, result, source.text, source.why);
    bool path = result == 0 && source.path[0] != '\0';
    if (result != want && !(odd && result == -EINVAL) && !(want == -ENODEV && path))
        fuzz_fail("mid=%s gave %d, not %d", text, result, want);
    if (source.ops == NULL || source.why == NULL || memchr(source.text, '\0', SHOWN / 2) == NULL)
        fuzz_fail("mid=%s left no source behind", text);
    if (result != 0 ? source.far || source.delay != 0 || strcmp(source.text, "near") != 0
                    : source.delay != delay || source.far != (delay != 0 || source.shared))
        fuzz_fail("mid=%s is not what it says: %s, %u ns", text, source.text, source.delay);
    if (result == 0 && tide_source_open_below(&source, source.text, "/nowhere", &all) != 0)
        fuzz_fail("mid=%s describes itself as %s, which is refused", text, source.text);
}

/* ---- the environment ---- */

/* Each piece up to a newline is a variable; the buffer takes a part of the value. */
static void try_environment(char *text, size_t room)
{
    static const char name[] = "TIDEPOOL_OPTIONS=";
    char *entry[64], **before = environ;
    const char *want = NULL;
    unsigned count = 0;
    for (char *save, *at = strtok_r(text, "\n", &save); at != NULL && count < 63;
         at = strtok_r(NULL, "\n", &save)) {
        entry[count++] = at;
        if (want == NULL && strncmp(at, name, sizeof name - 1) == 0)
            want = at + sizeof name - 1;
    }
    entry[count] = NULL;
    char *buf = malloc(room);
    environ = entry;
    bool found = tide_option_environment("TIDEPOOL_OPTIONS", buf, room);
    environ = before;
    if (found != (want != NULL))
        fuzz_fail("the variable is %sfound", found ? "" : "not ");
    size_t len = want != NULL ? strlen(want) : 0;
    len = len < room ? len : room - 1;
    if (found && (memcmp(buf, want, len) != 0 || buf[len] != '\0'))
        fuzz_fail("the variable is %s, not %s", buf, want);
    free(buf);
}

/* ---- JSON ---- */

/* Bytes of the well-formed UTF-8 sequence at `at`, or 0. */
static unsigned sequence(const char *at)
{
    static const unsigned least[] = {0, 0, 0x80, 0x800, 0x10000};
    unsigned first = (unsigned char)*at, code;
    unsigned len = first < 0x80 ? 1 : first < 0xc0 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if (len <= 1 || first > 0xf7)
        return len * (first < 0x80);
    code = first & (0x7f >> len);
    for (unsigned i = 1; i < len; i++) {
        if (((unsigned char)at[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | ((unsigned char)at[i] & 0x3f);
    }
    return code < least[len] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000) ? 0 : len;
}

/* The character behind *at in a JSON string, as text; moves *at behind it. */
static void json_character(const char **at, char *out)
{
    unsigned code = 0, len = sequence(*at);
    if (len == 0 || (unsigned char)**at < ' ')
        fuzz_fail("the JSON line is not well formed at %.40s", *at);
    memcpy(out, *at, len);
    out[len] = '\0';
    *at += len;
    if (out[0] != '\\')
        return;
    if (**at != 'u') {
        out[0] = *(*at)++;
        return;
    }
    sscanf(*at + 1, "%4x", &code);
    *at += 5;
    out[0] = (char)code;
    if (code >= 0x80)
        strcpy(out, code == 0xfffd ? "\xef\xbf\xbd" : "not one that is written so");
}

/* The value of stats_at_exit comes back out of the JSON line as it went in, with U+FFFD
 * for each byte that is no UTF-8. */
static void json_check(void)
{
    static const char head[] = "\"stats_at_exit\":\"";
    static char text[JSON_MAX];
    char is[32];
    const char *want = row_find(span_of("stats_at_exit"))->value;
    if (ftruncate(json, 0) != 0 || lseek(json, 0, SEEK_SET) != 0 || tide_stats_json(json) != 0)
        fuzz_fail("tide_stats_json failed");
    ssize_t got = pread(json, text, sizeof text - 1, 0);
    text[got > 0 ? got : 0] = '\0';
    const char *at = strstr(text, head);
    if (at == NULL)
        fuzz_fail("no stats_at_exit in the JSON line");
    for (at += sizeof head - 1; *at != '"';) {
        unsigned len = sequence(want);
        json_character(&at, is);
        if (len != 0 ? strncmp(is, want, len) != 0 || is[len] != '\0'
                     : strcmp(is, "\xef\xbf\xbd") != 0)
            fuzz_fail("the JSON line has stats_at_exit wrong from '%s' on", want);
        want += len != 0 ? len : 1;
    }
    if (*want != '\0')
        fuzz_fail("the JSON line lacks '%s' of stats_at_exit", want);
}

/* ---- the input ---- */

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    fuzz_start();
    while (rows < ROWS_MAX && tide_option_info(rows, &row[rows].info) == 0)
        rows++;
    json = memfd_create("json", MFD_CLOEXEC);
    if (rows < 5 || json < 0 || tide_option_complaint() != NULL)
        fuzz_fail("cannot begin");
    rows_reset();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, data + size};
    unsigned way = fuzz_byte(&in);
    size_t len = (size_t)(in.end - in.at);
    char *text = malloc(len + 1);
    memcpy(text, in.at, len);
    text[len] = '\0';
    char *exact = strdup(text); /* up to the first NUL */
    free(text);
    switch (way % 8) {
    case 0:
        try_value(exact, false, false);
        break;
    case 1:
        try_value(exact, true, false);
        break;
    case 2:
        try_value(exact, true, true);
        json_check();
        break;
    case 3:
        try_source(exact);
        break;
    case 4:
        try_environment(exact, 1 + way / 8 * 4);
        break;
    default:
        try_list(exact);
        if (way == 5)
            json_check();
    }
    free(exact);
    rows_reset();
    return 0;
}
