/* test_broker_index.c - tidepool-broker: the index of a stream, against a plain array */
#include "unit_base.h"

#include "../tools/tidepool-broker/index.c"
#include "../tools/tidepool-broker/record.c"
#include "../tools/tidepool-broker/sid.c"

enum { MODEL = 5000 };

/* The entries first..end of an array are the index. */
static struct {
    struct index index;
    struct index_entry is[MODEL];
    uint32_t first, end;
} model;

static uint64_t next_random(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *state >> 33;
}

/* An id above all others: mostly near, at times so far that a chunk cannot tell it. */
static struct sid next_id(uint64_t *state, struct sid last)
{
    switch (next_random(state) % 8) {
    case 0:
        return (struct sid){last.ms + 1 + next_random(state) % 5, next_random(state) % 9};
    case 1:
        return (struct sid){last.ms + (UINT64_C(1) << 33), 0};
    case 2:
        return (struct sid){last.ms, last.seq + (UINT64_C(1) << 32)};
    default:
        return (struct sid){last.ms, last.seq + 1};
    }
}

static bool same(struct index_entry a, struct index_entry b)
{
    return sid_compare(a.id, b.id) == 0 && a.place == b.place && a.data == b.data;
}

static void check_seek(struct sid id)
{
    struct index_at at;
    uint32_t from = model.first, upto;
    while (from < model.end && sid_compare(model.is[from].id, id) < 0)
        from++;
    bool found = index_from(&model.index, id, &at);
    UNIT_HOLD(found == (from < model.end), "from: found %d", found);
    UNIT_HOLD(!found || same(index_get(&model.index, &at), model.is[from]), "from: another one");
    upto = from < model.end && sid_compare(model.is[from].id, id) == 0 ? from + 1 : from;
    found = index_upto(&model.index, id, &at);
    UNIT_HOLD(found == (upto > model.first), "upto: found %d", found);
    UNIT_HOLD(!found || same(index_get(&model.index, &at), model.is[upto - 1]),
              "upto: another one");
}

static void check_walk(void)
{
    struct index_at at;
    bool more = index_from(&model.index, (struct sid){0, 0}, &at);
    for (uint32_t i = model.first; i < model.end; i++) {
        UNIT_HOLD(more && same(index_get(&model.index, &at), model.is[i]), "entry %u", i);
        more = index_forward(&model.index, &at);
    }
    UNIT_HOLD(!more, "more entries than there are");
    more = index_upto(&model.index, SID_MAX, &at);
    for (uint32_t i = model.end; i > model.first; i--) {
        UNIT_HOLD(more && same(index_get(&model.index, &at), model.is[i - 1]), "entry %u", i);
        more = index_back(&model.index, &at);
    }
    UNIT_HOLD(!more, "more entries than there are, backwards");
    UNIT_HOLD(model.index.count == model.end - model.first, "count");
}

START_TEST(test_says_what_a_plain_array_says)
{
    uint64_t state = 1;
    struct sid last = {1, 0};
    for (uint32_t i = 0; i < MODEL; i++) {
        last = next_id(&state, last);
        model.is[i] = (struct index_entry){last, i, (int32_t)(i * 3) - 1000};
        UNIT_HOLD(index_add(&model.index, &model.is[i]), "no memory");
        model.end = i + 1;
        if (next_random(&state) % 3 == 0 || (i > 3000 && model.end - model.first > 40)) {
            index_drop(&model.index);
            model.first++;
        }
        if (model.first < model.end && next_random(&state) % 5 == 0) {
            struct index_at at;
            uint32_t which = model.first + (uint32_t)next_random(&state) % (i + 1 - model.first);
            index_from(&model.index, model.is[which].id, &at);
            index_move(&model.index, &at, model.is[which].place += 7, model.is[which].data -= 9);
        }
        struct sid near = model.is[next_random(&state) % (i + 1)].id;
        check_seek(near);
        near.seq += next_random(&state) % 3;
        check_seek(near);
        if (i % 50 == 0)
            check_walk();
    }
    check_walk();
    index_clear(&model.index);
    ck_assert_uint_eq(index_bytes(), 0);
}
END_TEST

/* Many entries of the usual kind: 16 bytes each, and little besides. */
START_TEST(test_an_entry_takes_little)
{
    struct index index = {NULL, 0, 0, 0, 0};
    for (uint64_t i = 0; i < 100000; i++)
        UNIT_HOLD(index_add(&index, &(struct index_entry){{1700000000000 + i / 50, i}, 0, 0}),
                  "no memory");
    ck_assert_uint_lt(index_bytes(), 100000 * 18);
    index_clear(&index);
}
END_TEST

/* A ring of few entries that goes on for ever does not grow. */
START_TEST(test_a_short_stream_stays_small)
{
    struct index index = {NULL, 0, 0, 0, 0};
    for (uint64_t i = 0; i < 2000000; i++) {
        UNIT_HOLD(index_add(&index, &(struct index_entry){{i, 1}, 0, 0}), "no memory");
        if (i >= 100)
            index_drop(&index);
    }
    ck_assert_uint_eq(index.count, 100);
    ck_assert_uint_lt(index_bytes(), 20000);
    index_clear(&index);
}
END_TEST

/* ---- records ---- */

static void check_record(unsigned kind, const char *text)
{
    char bytes[256];
    struct record record = {.kind = kind,
                            .id = {5, 6},
                            .floor = {8, 9},
                            .key = "name",
                            .key_size = 4,
                            .text = text,
                            .text_size = (uint32_t)strlen(text),
                            .strings = 2};
    struct record again;
    size_t size = record_size(&record);
    ck_assert_uint_le(size, sizeof bytes);
    memcpy(record_write(bytes, &record), text, strlen(text));
    ck_assert(record_read(&again, bytes, size, 5, 6));
    ck_assert(again.kind == kind && again.id.ms == 5 && again.id.seq == 6 && again.strings == 2);
    ck_assert(again.floor.seq == ((kind & RECORD_FLOOR) != 0 ? 9 : 0));
    ck_assert(again.key_size == 4 && memcmp(again.key, "name", 4) == 0);
    ck_assert(again.text_size == strlen(text) && memcmp(again.text, text, strlen(text)) == 0);
    for (size_t cut = 0; cut < size - strlen(text); cut++)
        ck_assert_msg(!record_read(&again, bytes, cut, 5, 6), "%zu bytes are a record", cut);
}

START_TEST(test_records_come_back)
{
    for (unsigned kind = RECORD_ENTRY; kind <= RECORD_DROP; kind++) {
        check_record(kind, "$1\r\na\r\n$1\r\nb\r\n");
        check_record(kind | RECORD_FLOOR, "");
    }
    struct record again;
    ck_assert(!record_read(&again, "\0\0\0\0\0\0\0\0", 8, 0, 0));
    ck_assert(!record_read(&again, "\5\0\0\0\0\0\0\0", 8, 0, 0));
    ck_assert(!record_read(&again, "\1\1\0\0\0\0\0\0", 8, 0, 0));
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {test_says_what_a_plain_array_says, test_an_entry_takes_little,
                                  test_a_short_stream_stays_small, test_records_come_back, NULL};
    return unit_main("broker_index", tests);
}
