/* option.c - see option.h */
#include "box/option.h"

#include "box/diag.h"
#include "box/file.h"

extern const char *tide_options __attribute__((weak));
extern char **environ;

enum option_type {
    OPTION_BYTES,
    OPTION_CHOICE,
    OPTION_TEXT,
    OPTION_PLACE /* a text: one of the words, or an absolute path */
};

struct option_row {
    const char *key, *values, *initial, *help;
    enum option_type type;
    bool live;
    size_t offset;
    uint64_t least, most; /* OPTION_BYTES */
};

#define OPTION_AT(field) offsetof(struct tide_option_values, field)

static const struct option_row option_rows[] = {
    {"tiny_max", "1023..2047", "2047",
     "largest size that goes to Tiny, in steps of 16 (1023, 1039, ...); 1023 sends 1-2 KiB to Mid",
     OPTION_BYTES, false, OPTION_AT(tiny_max), 1023, 2047},
    {"mid", "auto|anon|near|node:LIST|memfd|file:PATH|dax:PATH[,delay=NS]", "auto",
     "where Mid takes its memory from; LIST: 1, or 1,2 in turn, or 0*3+1*1 by shares", OPTION_TEXT,
     false, OPTION_AT(mid), 0, 0},
    {"shared_mid", "0|1", "0",
     "mid= may be a memfd, file or dax, though a child after fork then shares Mid's blocks",
     OPTION_CHOICE, false, OPTION_AT(shared_mid), 0, 0},
    {"cap", "0..64T", "0", "most bytes of far memory that Mid may take; 0: as much as there is",
     OPTION_BYTES, false, OPTION_AT(cap), 0, (uint64_t)64 << 40},
    {"full", "spill|fail", "spill",
     "when far memory is full: take near memory, or return NULL with ENOMEM", OPTION_CHOICE, false,
     OPTION_AT(full), 0, 0},
    {"migrate", "pin|kernel", "pin",
     "Mid's pages stay in far memory, or the kernel may bring hot ones near", OPTION_CHOICE, false,
     OPTION_AT(migrate), 0, 0},
    {"thp", "default|always|never", "default", "transparent huge pages under Mid", OPTION_CHOICE,
     false, OPTION_AT(thp), 0, 0},
    {"header", "auto|inband|shadow", "auto",
     "Mid's checked word: in front of the block, or in a near table (auto: shadow when Mid is far)",
     OPTION_CHOICE, false, OPTION_AT(header), 0, 0},
    {"cache", "16K..1G", "32M",
     "free bytes a thread keeps for itself; more than 4 threads share 4x", OPTION_BYTES, true,
     OPTION_AT(cache), 16 << 10, 1 << 30},
    {"retain", "0..1T", "4M",
     "free bytes kept resident, at least 5 % of the peak; up to 3 x as many if needed again",
     OPTION_BYTES, true, OPTION_AT(retain), 0, (uint64_t)1 << 40},
    {"misuse", "abort|warn|ignore", "abort", "what a double free or an invalid pointer does",
     OPTION_CHOICE, true, OPTION_AT(misuse), 0, 0},
    {"foreign", "abort|leak", "abort", "what freeing memory of somebody else does", OPTION_CHOICE,
     true, OPTION_AT(foreign), 0, 0},
    {"verbose", "0|1", "0", "tell facts about the machine on stderr at start", OPTION_CHOICE, false,
     OPTION_AT(verbose), 0, 0},
    {"strict", "0|1", "0", "end the process at start when an option is bad", OPTION_CHOICE, false,
     OPTION_AT(strict), 0, 0},
    {"stats_at_exit", "FILE", "", "append statistics as a line of JSON at exit; %p is the pid",
     OPTION_TEXT, true, OPTION_AT(stats_at_exit), 0, 0},
    {"counters", "0|1|/DIR", "0",
     "keep figures for `tidepool stat`: in a nameless page of memory, or in DIR/tidepool.PID",
     OPTION_PLACE, false, OPTION_AT(counters), 0, 0},
};

enum { OPTION_ROWS = sizeof option_rows / sizeof option_rows[0], OPTION_LINE = 2048 };

struct tide_option_values tide_option_values TIDE_START_DATA = {
    .tiny_max = 2047,
    .cache = 32 << 20,
    .retain = 4 << 20,
    .mid = "auto",
    .counters = "0",
};

static char option_variable[] TIDE_START_DATA = "TIDEPOOL_OPTIONS"; /* only read */
static struct tide_lock option_lock TIDE_START_DATA;
static bool option_loaded TIDE_START_DATA;         /* under option_lock */
static char option_complaint[320] TIDE_START_DATA; /* written once, at load */

void tide_option_fork(enum tide_fork phase)
{
    tide_lock_fork(&option_lock, phase);
}

TIDE_START_CODE void tide_option_copy(struct tide_option_values *out)
{
    tide_lock_take(&option_lock);
    *out = tide_option_values;
    tide_lock_drop(&option_lock);
}

static const struct option_row *option_find(const char *key, size_t len)
{
    for (size_t i = 0; i < OPTION_ROWS; i++)
        if (strlen(option_rows[i].key) == len && memcmp(option_rows[i].key, key, len) == 0)
            return &option_rows[i];
    return NULL;
}

static void *option_field(const struct option_row *row)
{
    return (char *)&tide_option_values + row->offset;
}

/* Digits with an optional suffix K, M, G or T. */
static bool option_bytes(const char *text, uint64_t *out)
{
    uint64_t value = 0;
    const char *at = text;
    for (; *at >= '0' && *at <= '9'; at++) {
        if (value > (UINT64_MAX - 9) / 10)
            return false;
        value = value * 10 + (uint64_t)(*at - '0');
    }
    if (at == text)
        return false;
    unsigned shift = *at == 'K' ? 10 : *at == 'M' ? 20 : *at == 'G' ? 30 : *at == 'T' ? 40 : 0;
    if (shift != 0)
        at++;
    *out = value << shift;
    return *at == '\0' && (value << shift) >> shift == value;
}

/* Position of `text` among the words of "a|b|c", or -1. */
static int option_choice(const char *values, const char *text)
{
    size_t len = strlen(text);
    for (int i = 0;; i++) {
        const char *end = strchr(values, '|');
        size_t word = end != NULL ? (size_t)(end - values) : strlen(values);
        if (word == len && memcmp(values, text, len) == 0)
            return i;
        if (end == NULL)
            return -1;
        values = end + 1;
    }
}

static int option_store(const struct option_row *row, const char *value)
{
    uint64_t number = 0;
    if (row->type == OPTION_PLACE && value[0] != '/' && option_choice(row->values, value) < 0)
        return -EINVAL;
    if (row->type == OPTION_TEXT || row->type == OPTION_PLACE) {
        if (strlen(value) >= TIDE_OPTION_TEXT)
            return -EINVAL;
        memcpy(option_field(row), value, strlen(value) + 1);
        return 0;
    }
    if (row->type == OPTION_CHOICE) {
        int choice = option_choice(row->values, value);
        if (choice < 0)
            return -EINVAL;
        number = (uint64_t)choice;
    } else if (!option_bytes(value, &number) || number < row->least || number > row->most) {
        return -EINVAL;
    }
    memcpy(option_field(row), &number, sizeof number);
    return 0;
}

static void option_complain(const char *key, const char *value, const struct option_row *row)
{
    if (option_complaint[0] != '\0')
        return;
    struct tide_text text = {option_complaint, sizeof option_complaint, 0};
    tide_text_add(&text, row != NULL ? "bad value of option '" : "unknown option '");
    tide_text_quote(&text, key);
    tide_text_add(&text, "'");
    if (row == NULL) {
        tide_text_add(&text, " (see: tidepool options)");
        return;
    }
    tide_text_add(&text, ": '");
    tide_text_quote(&text, value);
    tide_text_add(&text, "' (allowed: ");
    tide_text_add(&text, row->values);
    tide_text_add(&text, "); the default stays");
}

static int option_entry(char *key, char *value)
{
    const struct option_row *row = option_find(key, strlen(key));
    int ret = row == NULL ? -ENOENT : value == NULL ? -EINVAL : option_store(row, value);
    if (ret != 0)
        option_complain(key, value != NULL ? value : "", row);
    return ret;
}

/* The end of the entry at `at`: the next comma that a known key follows. What
 * follows any other comma belongs to mid=, whose values have commas. */
static char *option_entry_end(char *at)
{
    bool mid = strncmp(at, "mid=", 4) == 0;
    for (char *comma = strchr(at, ','); comma != NULL; comma = strchr(comma + 1, ',')) {
        const char *key = comma + 1;
        size_t len = strcspn(key, "=,");
        if (!mid || len == 0 || option_find(key, len) != NULL)
            return comma;
    }
    return at + strlen(at);
}

int tide_option_parse(const char *text)
{
    char copy[OPTION_LINE];
    int first = 0;
    size_t len = strlen(text);
    if (len >= sizeof copy) {
        struct tide_text words = {option_complaint, sizeof option_complaint, 0};
        if (option_complaint[0] == '\0')
            tide_text_add(&words, "the options are longer than 2047 characters and are ignored");
        return -EINVAL;
    }
    memcpy(copy, text, len + 1);
    for (char *at = copy; *at != '\0';) {
        char *end = option_entry_end(at);
        char *next = *end != '\0' ? end + 1 : end;
        *end = '\0';
        char *equals = strchr(at, '=');
        if (equals != NULL)
            *equals = '\0';
        int ret = *at == '\0' && equals == NULL ? 0 : option_entry(at, equals ? equals + 1 : NULL);
        if (first == 0)
            first = ret;
        at = next;
    }
    return first;
}

/* /proc/self/environ, for calls that come before libc knows its environment. */
static bool option_proc_environment(const char *name, char *buf, size_t len)
{
    size_t want = strlen(name);
    size_t at = 0; /* position in the entry under way */
    bool match = true, found = false;
    char part[512];
    int fd = tide_file_open("/proc/self/environ");
    long got = fd < 0 ? 0 : tide_file_get(fd, part, sizeof part);
    for (; got > 0 && !found; got = found ? 0 : tide_file_get(fd, part, sizeof part)) {
        for (long i = 0; i < got && !found; i++) {
            char c = part[i];
            if (at < want)
                match = match && c == name[at];
            else if (at == want)
                match = match && c == '=';
            else if (match && at - want - 1 < len)
                buf[at - want - 1] = at - want == len ? '\0' : c;
            found = match && c == '\0' && at > want;
            at = c == '\0' ? 0 : at + 1;
            match = c == '\0' ? true : match;
        }
    }
    if (fd >= 0)
        tide_file_close(fd);
    return found;
}

TIDE_START_CODE bool tide_option_environment(const char *name, char *buf, size_t len)
{
    if (environ == NULL)
        return option_proc_environment(name, buf, len);
    size_t want = strlen(name);
    for (char **entry = environ; *entry != NULL; entry++) {
        if (strncmp(*entry, name, want) != 0 || (*entry)[want] != '=')
            continue;
        const char *value = *entry + want + 1;
        size_t size = tide_min(strlen(value), len - 1);
        memcpy(buf, value, size);
        buf[size] = '\0';
        return true;
    }
    return false;
}

TIDE_START_CODE void tide_option_load(bool secure)
{
    char text[OPTION_LINE + 64]; /* more than is allowed: a longer one is told, not cut */
    tide_lock_take(&option_lock);
    bool first = !option_loaded;
    option_loaded = true;
    if (first && &tide_options != NULL && tide_options != NULL)
        tide_option_parse(tide_options);
    if (first && !secure && tide_option_environment(option_variable, text, sizeof text))
        tide_option_parse(text);
    tide_lock_drop(&option_lock);
}

int tide_option_assign(const char *key, const char *value, bool started)
{
    const struct option_row *row = option_find(key, strlen(key));
    if (row == NULL)
        return -ENOENT;
    tide_lock_take(&option_lock);
    int ret = started && !row->live ? -EBUSY : option_store(row, value);
    tide_lock_drop(&option_lock);
    return ret;
}

static void option_show_choice(struct tide_text *text, const char *values, uint64_t index)
{
    for (; index > 0; index--)
        values = strchr(values, '|') + 1;
    for (; *values != '\0' && *values != '|'; values++) {
        char letter[2] = {*values, '\0'};
        tide_text_add(text, letter);
    }
}

int tide_option_show(const char *key, char *buf, size_t len)
{
    const struct option_row *row = option_find(key, strlen(key));
    if (row == NULL)
        return -ENOENT;
    char value[TIDE_OPTION_TEXT];
    struct tide_text text = {value, sizeof value, 0};
    uint64_t number = 0;
    value[0] = '\0';
    tide_lock_take(&option_lock);
    if (row->type == OPTION_TEXT || row->type == OPTION_PLACE) {
        tide_text_add(&text, option_field(row));
    } else {
        memcpy(&number, option_field(row), sizeof number);
        if (row->type == OPTION_CHOICE)
            option_show_choice(&text, row->values, number);
        else
            tide_text_number(&text, number, 10);
    }
    tide_lock_drop(&option_lock);
    if (text.len >= len)
        return -ERANGE;
    memcpy(buf, value, text.len + 1);
    return (int)text.len;
}

int tide_option_row(size_t index, struct tide_option_info *out)
{
    if (index >= OPTION_ROWS)
        return -ENOENT;
    const struct option_row *row = &option_rows[index];
    *out = (struct tide_option_info){row->key, row->values, row->initial, row->help, row->live};
    return 0;
}

const char *tide_option_complaint(void)
{
    return option_complaint[0] != '\0' ? option_complaint : NULL;
}
