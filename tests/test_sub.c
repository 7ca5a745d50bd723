/* test_sub.c - the reading side. */
#include "log_case.h"

#include <pthread.h>

static struct tide_logmap map;
static struct tide_broker producer;

static void make(struct tide_layout_wish wish)
{
    log_make(&map, wish);
    producer = log_producer(&map, 0);
}

static void append(int count)
{
    for (int i = 0; i < count; i++)
        ck_assert(log_append(&producer, 0, 2, 100, NULL));
}

static int open_at(struct tide_sub *sub, enum tide_sub_start start, uint64_t position)
{
    return tide_sub_open(sub, &map, 0, TIDE_LAYOUT_GATE, start, position, 1);
}

/* Level 0 or 5, whose positions begin at 1 and 0. */
START_TEST(readers_start_where_they_want)
{
    struct tide_sub sub;
    struct tide_sub_batch batch;
    uint64_t first = _i == 0;
    make((struct tide_layout_wish){.level = (uint32_t)_i, .slots = 16});
    append(10);
    tide_trim_below(&map, 0, first + 4, false);
    ck_assert_int_eq(open_at(&sub, TIDE_SUB_EARLIEST, 0), 0);
    ck_assert_uint_eq(sub.next, first + 4);
    ck_assert_int_eq(open_at(&sub, TIDE_SUB_LATEST, 0), 0);
    ck_assert_uint_eq(sub.next, first + 10);
    ck_assert_int_eq(tide_sub_poll(&sub, &batch, 1), 0);
    ck_assert_int_eq(open_at(&sub, TIDE_SUB_POSITION, first + 7), 0);
    ck_assert_int_eq(tide_sub_poll(&sub, &batch, 1), 1);
    ck_assert_uint_eq(batch.position, first + 7);
    ck_assert_uint_eq(batch.number, 7);
    ck_assert_uint_eq(batch.base, _i ? 14 : UINT64_MAX);
    ck_assert_int_eq(open_at(&sub, TIDE_SUB_POSITION, first + 10), 0);
    ck_assert_int_eq(open_at(&sub, TIDE_SUB_POSITION, first + 3), -ERANGE);
    ck_assert_int_eq(open_at(&sub, TIDE_SUB_POSITION, first + 11), -ENXIO);
    log_drop(&map);
}
END_TEST

START_TEST(batches_are_read_where_they_lie)
{
    struct tide_sub_batch batch[16];
    make((struct tide_layout_wish){.level = 5, .slots = 16});
    struct tide_sub sub = log_reader(&map, 0, TIDE_LAYOUT_GATE);
    append(10);
    ck_assert_int_eq(tide_sub_poll(&sub, batch, 7), 7);
    ck_assert_int_eq(tide_sub_poll(&sub, batch + 7, 9), 3);
    for (uint64_t i = 0; i < 10; i++) {
        ck_assert_uint_eq(batch[i].position, i);
        ck_assert_uint_eq(batch[i].base, 2 * i);
        ck_assert_ptr_eq(batch[i].data, map.base + tide_order_see(&map, i)->offset);
        ck_assert(log_is_right(&batch[i]));
    }
    log_drop(&map);
}
END_TEST

START_TEST(a_skipped_reader_is_told_once_and_reads_copies)
{
    struct tide_sub_batch batch;
    make((struct tide_layout_wish){
        .level = (uint32_t)_i, .slots = 8, .payload = 8 * 128, .retain = TIDE_LAYOUT_OLD});
    uint64_t first = _i == 0;
    struct tide_sub sub = log_reader(&map, 0, TIDE_LAYOUT_SKIP);
    append(3);
    ck_assert_int_eq(tide_sub_poll(&sub, &batch, 1), 1);
    append(20);
    ck_assert(log_is_right(&batch)); /* although its slot was used again */
    ck_assert(batch.data < map.base || batch.data >= map.base + map.size);
    ck_assert(tide_sub_ready(&sub));
    ck_assert_int_eq(tide_sub_poll(&sub, &batch, 1), -EOVERFLOW);
    ck_assert_uint_eq(sub.gap_from, first + 1);
    ck_assert_uint_eq(sub.gap_to, tide_trim_earliest(&map, 0));
    for (uint64_t i = sub.gap_to; i < first + 23; i++) {
        ck_assert_int_eq(tide_sub_poll(&sub, &batch, 1), 1);
        ck_assert_uint_eq(batch.position, i);
        ck_assert_uint_eq(batch.number, i - first);
        ck_assert(log_is_right(&batch));
    }
    ck_assert_int_eq(tide_sub_poll(&sub, &batch, 1), 0);
    ck_assert(!tide_sub_ready(&sub));
    tide_sub_close(&sub);
    log_drop(&map);
}
END_TEST

START_TEST(damage_is_noticed_and_not_delivered)
{
    struct tide_sub_batch batch[4];
    make((struct tide_layout_wish){
        .level = (uint32_t)(_i / 2 ? 5 : 0), .slots = 8, .features = TIDE_LAYOUT_CHECKSUM});
    struct tide_sub sub = log_reader(&map, 0, _i % 2 ? TIDE_LAYOUT_SKIP : TIDE_LAYOUT_GATE);
    append(2);
    map.payload[128 + 99] ^= 1;
    ck_assert_int_eq(tide_sub_poll(&sub, batch, 4), 1);
    ck_assert_int_eq(tide_sub_poll(&sub, batch, 4), -EBADMSG);
    ck_assert_int_eq(tide_sub_poll(&sub, batch, 4), -EBADMSG);
    map.payload[128 + 99] ^= 1;
    ck_assert_int_eq(tide_sub_poll(&sub, batch, 4), 1);
    tide_sub_close(&sub);
    log_drop(&map);
}
END_TEST

/* Where others may have to wait for the end of a call, it does not look at all there is. */
START_TEST(a_call_sums_up_a_part_in_a_shared_log)
{
    enum { SIZE = 4 << 20, COUNT = 6 };
    struct tide_sub_batch batch[COUNT];
    make((struct tide_layout_wish){
        .level = 5, .slots = 8, .payload = 8 * SIZE, .features = TIDE_LAYOUT_CHECKSUM});
    map.shared = _i == 1;
    struct tide_sub sub = log_reader(&map, 0, TIDE_LAYOUT_GATE);
    for (int i = 0; i < COUNT; i++)
        ck_assert(log_append(&producer, 0, 1, SIZE - 64, NULL));
    ck_assert_int_eq(tide_sub_poll(&sub, batch, COUNT), _i == 1 ? 5 : COUNT);
    ck_assert_int_eq(tide_sub_poll(&sub, batch, COUNT), _i == 1 ? 1 : 0);
    tide_sub_close(&sub);
    map.shared = false;
    log_drop(&map);
}
END_TEST

#ifdef TIDE_DEBUG
static struct tide_sub *victim;
static unsigned looks_left;

/* At the n-th look an append that needs room detaches the reader, and uses the room. */
static void detach_and_overwrite(void)
{
    if (looks_left > 0 && --looks_left == 0) {
        atomic_store(&victim->entry->fate, 1);
        memset(map.payload, 0x55, 1024);
    }
}

/* Whenever that is, it gets its batch as it was, or is told what became of it: nothing is
 * damaged. */
START_TEST(a_reader_that_is_detached_meanwhile_is_told_so)
{
    struct tide_sub_batch batch;
    int told = 0;
    for (unsigned i = 1; looks_left == 0; i++) {
        make((struct tide_layout_wish){
            .level = _i == 0 ? 5 : 0, .slots = 8, .features = TIDE_LAYOUT_CHECKSUM});
        struct tide_sub sub = log_reader(&map, 0, TIDE_LAYOUT_DETACH);
        append(1);
        victim = &sub;
        looks_left = i;
        tide_coh_hook = detach_and_overwrite;
        int got = tide_sub_poll(&sub, &batch, 1);
        tide_coh_hook = NULL;
        ck_assert_msg(got == (looks_left == 0 ? -EPIPE : 1), "detached at look %u: %d", i, got);
        told += got == -EPIPE;
        tide_sub_close(&sub);
        log_drop(&map);
        ck_assert_uint_lt(i, 100);
    }
    looks_left = 0;
    ck_assert_int_gt(told, 1); /* not only before it began */
}
END_TEST
#endif

START_TEST(offsets_out_of_the_log_are_not_followed)
{
    struct tide_sub_batch batch;
    static const uint64_t bad[] = {0, 4096, UINT64_MAX, UINT64_MAX - 50, UINT64_C(1) << 40};
    make((struct tide_layout_wish){.level = 5, .slots = 8});
    struct tide_sub sub = log_reader(&map, 0, _i ? TIDE_LAYOUT_SKIP : TIDE_LAYOUT_GATE);
    append(1);
    struct tide_layout_entry *entry = tide_logmap_entry(&map, 0);
    uint64_t right = entry->offset;
    for (int i = 0; i < 5; i++) {
        entry->offset = bad[i];
        ck_assert_int_eq(tide_sub_poll(&sub, &batch, 1), -EBADMSG);
    }
    entry->offset = map.size - 99; /* 100 bytes of payload */
    ck_assert_int_eq(tide_sub_poll(&sub, &batch, 1), -EBADMSG);
    entry->offset = right;
    ck_assert_int_eq(tide_sub_poll(&sub, &batch, 1), 1);
    tide_sub_close(&sub);
    log_drop(&map);
}
END_TEST

/* The cursor is lazy while there is more to read, and right when there is not. */
START_TEST(the_cursor_is_there_when_nothing_is_left)
{
    struct tide_sub_batch batch;
    make((struct tide_layout_wish){.level = 5, .slots = 4096});
    struct tide_sub sub = log_reader(&map, 0, TIDE_LAYOUT_GATE);
    append(100);
    uint64_t moves = 0, cursor = 0;
    for (uint64_t i = 0; i < 100; i++) {
        ck_assert_int_eq(tide_sub_poll(&sub, &batch, 1), 1);
        moves += atomic_load(&sub.entry->cursor) != cursor;
        cursor = atomic_load(&sub.entry->cursor);
        ck_assert_uint_le(cursor, i);
    }
    ck_assert_uint_le(moves, 2);
    ck_assert_int_eq(tide_sub_poll(&sub, &batch, 1), 0);
    ck_assert_uint_eq(atomic_load(&sub.entry->cursor), 100);
    ck_assert(!tide_sub_done(&sub));
    log_drop(&map);
}
END_TEST

START_TEST(the_table_of_readers_can_be_full)
{
    struct tide_sub sub[3];
    make((struct tide_layout_wish){.level = 5, .readers = 2});
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(open_at(&sub[i], TIDE_SUB_EARLIEST, 0), 0);
    ck_assert_int_eq(open_at(&sub[2], TIDE_SUB_EARLIEST, 0), -ENFILE);
    ck_assert(tide_trim_stop(&map));
    ck_assert_int_eq(open_at(&sub[2], TIDE_SUB_EARLIEST, 0), -EAGAIN);
    tide_trim_go_on(&map);
    tide_sub_close(&sub[0]);
    ck_assert_int_eq(open_at(&sub[2], TIDE_SUB_EARLIEST, 0), 0);
    log_drop(&map);
}
END_TEST

/* --- threads ------------------------------------------------------------------------- */

enum { BATCHES = 20000 };

static void *produce(void *unused)
{
    for (int i = 0; i < BATCHES;)
        if (log_append(&producer, 0, 1, 40, NULL))
            i++;
        else
            sched_yield();
    return unused;
}

/* A writer at full speed laps the reader again and again: what it gets is whole. */
START_TEST(overtaken_copies_are_whole)
{
    pthread_t thread;
    struct tide_sub_batch batch;
    make((struct tide_layout_wish){
        .level = (uint32_t)_i, .slots = 3, .payload = 256, .retain = TIDE_LAYOUT_OLD});
    struct tide_sub sub = log_reader(&map, 0, TIDE_LAYOUT_SKIP);
    uint64_t first = sub.next, next = first, last = first + BATCHES;
    ck_assert_int_eq(pthread_create(&thread, NULL, produce, NULL), 0);
    while (next < last) {
        int got = tide_sub_poll(&sub, &batch, 1);
        if (got == 1) {
            UNIT_HOLD(batch.position == next && batch.number == next - first &&
                          log_is_right(&batch),
                      "position %llu", (unsigned long long)next);
            next++;
        } else if (got == -EOVERFLOW) {
            UNIT_HOLD(sub.gap_from == next && sub.gap_to > next, "gap");
            next = sub.gap_to;
        } else {
            UNIT_HOLD(got == 0, "error %d", got);
            sched_yield();
        }
    }
    pthread_join(thread, NULL);
    tide_sub_close(&sub);
    log_drop(&map);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sub");
    TCase *tcase = tcase_create("sub");
    for (int level = 0; level <= 5; level += 5) {
        tcase_add_loop_test(tcase, readers_start_where_they_want, level, level + 1);
        tcase_add_loop_test(tcase, a_skipped_reader_is_told_once_and_reads_copies, level,
                            level + 1);
        tcase_add_loop_test(tcase, overtaken_copies_are_whole, level, level + 1);
    }
    tcase_add_test(tcase, batches_are_read_where_they_lie);
    tcase_add_loop_test(tcase, damage_is_noticed_and_not_delivered, 0, 4);
    tcase_add_loop_test(tcase, a_call_sums_up_a_part_in_a_shared_log, 0, 2);
#ifdef TIDE_DEBUG
    tcase_add_loop_test(tcase, a_reader_that_is_detached_meanwhile_is_told_so, 0, 2);
#endif
    tcase_add_loop_test(tcase, offsets_out_of_the_log_are_not_followed, 0, 2);
    tcase_add_test(tcase, the_cursor_is_there_when_nothing_is_left);
    tcase_add_test(tcase, the_table_of_readers_can_be_full);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
