/* record.c - see record.h */
#include "record.h"

#include <string.h>

struct record_front {
    uint8_t kind, zero;
    uint16_t key;
    uint32_t count;
    uint64_t number;
};

static unsigned plain_kind(unsigned kind)
{
    return kind & ~(unsigned)RECORD_FLOOR;
}

static size_t front_size(unsigned kind)
{
    return sizeof(struct record_front) + (plain_kind(kind) == RECORD_TRIM ? 8 : 0) +
           ((kind & RECORD_FLOOR) != 0 ? 16 : 0);
}

size_t record_head(const struct record *record)
{
    return front_size(record->kind) + record->key_size;
}

char *record_write(void *to, const struct record *record)
{
    struct record_front front = {(uint8_t)record->kind, 0, (uint16_t)record->key_size,
                                 record->count, record->number};
    char *at = to;
    memcpy(at, &front, sizeof front);
    at += sizeof front;
    if (plain_kind(record->kind) == RECORD_TRIM) {
        memcpy(at, &record->seq, 8);
        at += 8;
    }
    if ((record->kind & RECORD_FLOOR) != 0) {
        memcpy(at, &record->floor, 16);
        at += 16;
    }
    memcpy(at, record->key, record->key_size);
    return at + record->key_size;
}

bool record_read(struct record *record, const void *data, size_t size, uint64_t tag)
{
    struct record_front front;
    const char *at = data;
    if (size < sizeof front)
        return false;
    memcpy(&front, at, sizeof front);
    unsigned kind = plain_kind(front.kind);
    size_t head = front_size(front.kind) + front.key;
    if (kind < RECORD_TRIM || kind > RECORD_RUN || front.zero != 0 || size < head ||
        (kind == RECORD_RUN) != (front.count > 0) || front.count > RECORD_RUN_MAX)
        return false;
    *record = (struct record){.kind = front.kind,
                              .count = front.count,
                              .ms = tag,
                              .number = front.number,
                              .key_size = front.key};
    at += sizeof front;
    if (kind == RECORD_TRIM) {
        memcpy(&record->seq, at, 8);
        at += 8;
    }
    if ((front.kind & RECORD_FLOOR) != 0) {
        memcpy(&record->floor, at, 16);
        at += 16;
    }
    record->key = at;
    record->text = at + front.key;
    record->size = (uint32_t)(size - head);
    return true;
}

/* ---- entries ---- */

static char *number_put(char *to, uint64_t number)
{
    for (; number >= 128; number >>= 7)
        *to++ = (char)(number | 128);
    *to++ = (char)number;
    return to;
}

/* The number at *at, which moves behind it; false: it does not end before `end`. */
static bool number_get(const char **at, const char *end, uint64_t *number)
{
    *number = 0;
    for (unsigned shift = 0; *at < end && shift < 64; shift += 7) {
        uint8_t byte = (uint8_t) * (*at)++;
        *number |= (uint64_t)(byte & 127) << shift;
        if (byte < 128)
            return true;
    }
    return false;
}

/* A difference, of either sign, as a number; and what is so much away from `from`. */
static char *offset_put(char *to, uint64_t from, uint64_t is)
{
    uint64_t away = is - from;
    return number_put(to, away << 1 ^ (away >> 63 != 0 ? UINT64_MAX : 0));
}

static bool offset_get(const char **at, const char *end, uint64_t *is)
{
    uint64_t away;
    if (!number_get(at, end, &away))
        return false;
    *is += away >> 1 ^ ((away & 1) != 0 ? UINT64_MAX : 0);
    return true;
}

/* An entry as it stands there; the names that it leaves out are not looked for. */
static bool entry_get(const struct record *record, struct record_at *at, struct record_entry *entry,
                      bool *values)
{
    const char *text = record->text + at->from, *end = record->text + record->size;
    uint64_t head, strings = 0;
    if (at->number == record->count || !number_get(&text, end, &head))
        return false;
    *values = (head & RECORD_ONLY_VALUES) != 0;
    entry->id = (struct sid){at->number == 0 ? record->ms : at->ms, record->number + at->number};
    if ((head & RECORD_NAMED) != 0 &&
        (!offset_get(&text, end, &entry->id.ms) || !offset_get(&text, end, &entry->id.seq)))
        return false;
    if ((!*values && !number_get(&text, end, &strings)) || head >> 2 > (uint64_t)(end - text))
        return false;
    entry->text = text;
    entry->names = NULL;
    entry->size = (uint32_t)(head >> 2);
    entry->strings = (uint32_t)strings;
    at->from = (uint32_t)(text - record->text) + entry->size;
    at->ms = entry->id.ms;
    at->number++;
    return true;
}

bool record_next(const struct record *record, struct record_at *at, struct record_entry *entry)
{
    bool values;
    if (!entry_get(record, at, entry, &values))
        return false;
    if (values) {
        struct record_at first = {.from = 0};
        struct record_entry model;
        if (!entry_get(record, &first, &model, &values) || values)
            return false;
        entry->names = model.text;
        entry->strings = model.strings;
    }
    return true;
}

/* The strings of the entry fill it. */
static bool strings_fill(const struct record_entry *entry)
{
    const char *at = entry->text, *end = at + entry->size;
    uint32_t strings = entry->names != NULL ? entry->strings / 2 : entry->strings;
    for (; strings > 0; strings--) {
        const char *line = memchr(at, '\r', (size_t)(end - at));
        uint64_t size = 0;
        if (line == NULL || *at != '$' || line - at > 11)
            return false;
        for (const char *digit = at + 1; digit < line; digit++)
            size = size * 10 + (uint64_t)(unsigned char)(*digit - '0');
        if (size + 4 > (uint64_t)(end - line))
            return false;
        at = line + size + 4;
    }
    return at == end;
}

bool record_check(const struct record *record, struct sid *first, struct sid *last)
{
    struct record_at at = {.from = 0};
    struct record_entry entry;
    for (uint32_t i = 0; i < record->count; i++, *last = entry.id) {
        if (!record_next(record, &at, &entry) || entry.strings < 2 || entry.strings % 2 != 0 ||
            !strings_fill(&entry) || (i > 0 && sid_compare(entry.id, *last) <= 0))
            return false;
        if (i == 0)
            *first = entry.id;
    }
    return record->count > 0 && at.from == record->size;
}

/* The names are those that it has itself. */
static bool names_same(const struct record_entry *entry)
{
    const char *text = entry->text, *names = entry->names, *end = text + entry->size;
    while (text < end) {
        uint32_t size = record_bulk(names);
        if (size > (size_t)(end - text) || memcmp(text, names, size) != 0)
            return false;
        text += size;
        names += size;
        text += record_bulk(text);
        names += record_bulk(names);
    }
    return true;
}

char *record_put(char *to, const struct record_entry *entry, struct sid usual)
{
    const char *text = entry->text, *end = text + entry->size;
    bool told = sid_compare(entry->id, usual) != 0;
    uint64_t size = entry->size, kind = told ? RECORD_NAMED : 0;
    bool values = entry->names != NULL && names_same(entry);
    if (values) {
        kind |= RECORD_ONLY_VALUES;
        for (const char *at = text; at < end; at += record_bulk(at)) {
            size -= record_bulk(at);
            at += record_bulk(at);
        }
    }
    to = number_put(to, size << 2 | kind);
    if (told)
        to = offset_put(offset_put(to, usual.ms, entry->id.ms), usual.seq, entry->id.seq);
    if (!values) {
        to = number_put(to, entry->strings);
        memcpy(to, text, entry->size);
        return to + entry->size;
    }
    while (text < end) {
        text += record_bulk(text);
        uint32_t value = record_bulk(text);
        memcpy(to, text, value);
        to += value;
        text += value;
    }
    return to;
}
