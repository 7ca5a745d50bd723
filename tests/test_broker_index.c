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

static const char one[] = "$1\r\na\r\n$1\r\nb\r\n", other[] = "$1\r\na\r\n$0\r\n\r\n";

/* A record with entries of these two kinds; its size. */
static size_t write_record(char *bytes, unsigned kind, unsigned count)
{
    struct record record = {.kind = kind,
                            .count = count,
                            .number = 6,
                            .seq = 77,
                            .floor = {8, 9},
                            .key = "name",
                            .key_size = 4};
    char *at = record_write(bytes, &record), *first = at + 2;
    ck_assert_uint_eq(record_head(&record), (size_t)(at - bytes));
    for (unsigned i = 0; i < count; i++) {
        const char *text = i % 2 == 0 ? one : other;
        struct record_entry entry = {
            {5, i == 2 ? 300 : 6 + i}, text, i > 0 ? first : NULL, (uint32_t)strlen(text), 2};
        at = record_put(at, &entry, (struct sid){5, 6 + i});
    }
    return (size_t)(at - bytes);
}

START_TEST(test_records_come_back)
{
    char bytes[256];
    struct record record;
    for (unsigned kind = RECORD_TRIM; kind <= RECORD_RUN; kind++)
        for (unsigned floor = 0; floor <= RECORD_FLOOR; floor += RECORD_FLOOR) {
            size_t size = write_record(bytes, kind | floor, kind == RECORD_RUN);
            ck_assert(record_read(&record, bytes, size, 5));
            ck_assert(record.kind == (kind | floor) && record.ms == 5 && record.number == 6);
            ck_assert_uint_eq(record.seq, kind == RECORD_TRIM ? 77 : 0);
            ck_assert_uint_eq(record.floor.seq, floor != 0 ? 9 : 0);
            ck_assert(record.key_size == 4 && memcmp(record.key, "name", 4) == 0);
            for (size_t cut = 0; cut < size - record.size; cut++)
                ck_assert_msg(!record_read(&record, bytes, cut, 5), "%zu bytes are one", cut);
        }
    for (unsigned kind = 0; kind < 256; kind++) {
        unsigned plain = kind & ~(unsigned)RECORD_FLOOR;
        write_record(bytes, RECORD_DROP | RECORD_FLOOR, 0);
        bytes[0] = (char)kind;
        ck_assert_int_eq(record_read(&record, bytes, 200, 5),
                         plain == RECORD_TRIM || plain == RECORD_DROP);
    }
    bytes[0] = RECORD_DROP;
    bytes[1] = 1;
    ck_assert(!record_read(&record, bytes, 200, 5));
}
END_TEST

START_TEST(test_entries_of_a_record)
{
    char bytes[256];
    struct record record;
    struct record_at at = {.from = 0};
    struct record_entry entry;
    struct sid first, last;
    size_t size = write_record(bytes, RECORD_RUN, 2);
    ck_assert_uint_eq(size, 16 + 4 + 2 + strlen(one) + 1 + strlen(other) - 7);
    ck_assert(record_read(&record, bytes, size, 5));
    ck_assert(record_check(&record, &first, &last));
    ck_assert(first.ms == 5 && first.seq == 6 && last.ms == 5 && last.seq == 7);
    ck_assert(record_next(&record, &at, &entry) && entry.names == NULL && entry.strings == 2);
    ck_assert(entry.size == strlen(one) && memcmp(entry.text, one, entry.size) == 0);
    ck_assert(record_next(&record, &at, &entry) && entry.strings == 2);
    ck_assert(entry.size == strlen(other) - 7 && memcmp(entry.text, other + 7, entry.size) == 0);
    ck_assert_int_eq(memcmp(entry.names, one, 7), 0);
    ck_assert(!record_next(&record, &at, &entry));
    /* Cut anywhere, it is none. */
    for (size_t cut = record_head(&record); cut < size; cut++)
        ck_assert_msg(!record_read(&record, bytes, cut, 5) || !record_check(&record, &first, &last),
                      "%zu bytes are one", cut);
}
END_TEST

START_TEST(test_entries_with_ids_of_their_own)
{
    char bytes[256];
    struct record record;
    struct sid first, last;
    size_t size = write_record(bytes, RECORD_RUN, 3);
    ck_assert(record_read(&record, bytes, size, 5) && record_check(&record, &first, &last));
    ck_assert(last.ms == 5 && last.seq == 300);
    size = write_record(bytes, RECORD_RUN, 4); /* of the last two the ids fall */
    ck_assert(record_read(&record, bytes, size, 5) && !record_check(&record, &first, &last));
}
END_TEST

/* Whatever stands there, nothing behind it is looked at, and what is whole is told apart. */
START_TEST(test_noise_is_no_record)
{
    uint64_t state = 3;
    for (int i = 0; i < 20000; i++) {
        struct record record;
        struct sid first, last;
        char whole[256];
        size_t size = write_record(whole, RECORD_RUN, 3);
        char *bytes = malloc(size);
        memcpy(bytes, whole, size);
        for (unsigned j = 0; j < 2; j++)
            bytes[next_random(&state) % size] = (char)next_random(&state);
        if (record_read(&record, bytes, size, 5) && record_check(&record, &first, &last))
            ck_assert_int_lt(sid_compare(first, last), 1);
        free(bytes);
    }
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        test_says_what_a_plain_array_says, test_an_entry_takes_little,
        test_a_short_stream_stays_small,   test_records_come_back,
        test_entries_of_a_record,          test_entries_with_ids_of_their_own,
        test_noise_is_no_record,           NULL};
    return unit_main("broker_index", tests);
}
