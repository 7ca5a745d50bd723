/* record.c - see record.h */
#include "record.h"

#include <string.h>

struct record_head {
    uint8_t kind, zero;
    uint16_t key;
    uint32_t strings;
};

static bool has_second(unsigned kind)
{
    kind &= ~(unsigned)RECORD_FLOOR;
    return kind == RECORD_NAMED || kind == RECORD_TRIM;
}

static size_t head_size(unsigned kind)
{
    return sizeof(struct record_head) + (has_second(kind) ? 8 : 0) +
           ((kind & RECORD_FLOOR) != 0 ? 16 : 0);
}

size_t record_size(const struct record *record)
{
    return head_size(record->kind) + record->key_size + record->text_size;
}

char *record_write(void *to, const struct record *record)
{
    struct record_head head = {(uint8_t)record->kind, 0, (uint16_t)record->key_size,
                               record->strings};
    char *at = to;
    memcpy(at, &head, sizeof head);
    at += sizeof head;
    if (has_second(record->kind)) {
        memcpy(at, &record->id.seq, 8);
        at += 8;
    }
    if ((record->kind & RECORD_FLOOR) != 0) {
        memcpy(at, &record->floor, 16);
        at += 16;
    }
    memcpy(at, record->key, record->key_size);
    return at + record->key_size;
}

bool record_read(struct record *record, const void *data, size_t size, uint64_t tag,
                 uint64_t number)
{
    struct record_head head;
    const char *at = data;
    if (size < sizeof head)
        return false;
    memcpy(&head, at, sizeof head);
    unsigned kind = head.kind & ~(unsigned)RECORD_FLOOR;
    size_t front = head_size(head.kind);
    if (kind < RECORD_ENTRY || kind > RECORD_DROP || head.zero != 0 || size < front + head.key)
        return false;
    *record = (struct record){.kind = head.kind, .id = {tag, number}, .strings = head.strings};
    at += sizeof head;
    if (has_second(kind)) {
        memcpy(&record->id.seq, at, 8);
        at += 8;
    }
    if ((head.kind & RECORD_FLOOR) != 0)
        memcpy(&record->floor, at, 16);
    record->key = (const char *)data + front;
    record->key_size = head.key;
    record->text = record->key + head.key;
    record->text_size = (uint32_t)(size - front - head.key);
    return true;
}
