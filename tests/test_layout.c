/* test_layout.c - the plan of a log, and which heads are taken for one. */
#include "log_case.h"

#include "box/crc.h"

static bool plan(struct tide_layout_head *head, struct tide_layout_wish wish,
                 struct tide_layout_fault *fault)
{
    *fault = (struct tide_layout_fault){NULL, 0, 0, 0};
    return tide_layout_plan(head, &wish, fault);
}

/* The parts stand one behind the other, aligned, within the size. */
static void check_parts(const struct tide_layout_head *head)
{
    uint64_t all = head->brokers * head->slots;
    bool held = head->level == 4;
    ck_assert_uint_ge(head->brokers_at, sizeof *head);
    ck_assert_uint_ge(head->producers_at,
                      head->brokers_at + head->brokers * sizeof(struct tide_layout_broker));
    ck_assert_uint_ge(head->readers_at,
                      head->producers_at + head->producers * sizeof(struct tide_layout_producer));
    ck_assert_uint_ge(head->sessions_at,
                      head->readers_at + head->readers * sizeof(struct tide_layout_reader));
    ck_assert_uint_ge(head->holds_at,
                      head->sessions_at + head->sessions * sizeof(struct tide_layout_session));
    ck_assert_uint_ge(head->links_at, head->holds_at + (uint64_t)head->sessions * head->window *
                                                           sizeof(struct tide_layout_hold));
    ck_assert_uint_ge(head->retired_at, head->links_at + (held ? 8 * all : 0));
    ck_assert_uint_ge(head->retires_at, head->retired_at + (head->level ? all / 8 : 0));
    ck_assert_uint_ge(head->index_at,
                      head->retires_at + head->slots * sizeof(struct tide_layout_retire));
    ck_assert_uint_ge(head->slots_at,
                      head->index_at + head->entries * sizeof(struct tide_layout_entry));
    ck_assert_uint_ge(head->payload_at, head->slots_at + all * sizeof(struct tide_layout_slot));
    ck_assert_uint_ge(head->size, head->payload_at + head->brokers * head->payload);
    ck_assert_uint_eq(head->entries, head->level ? all : 0);
    ck_assert_uint_eq((head->brokers_at | head->producers_at | head->readers_at |
                       head->sessions_at | head->holds_at | head->links_at | head->retired_at |
                       head->retires_at) %
                          128,
                      0);
    ck_assert_uint_eq((head->index_at | head->slots_at | head->payload_at | head->size) % 4096, 0);
}

START_TEST(parts_do_not_overlap_in_any_plan)
{
    static const uint32_t level[] = {0, 4, 5}, brokers[] = {1, 3, 32};
    static const uint64_t slots[] = {2, 3, 63, 64, 65, 1000};
    struct tide_layout_head head;
    struct tide_layout_fault fault;
    for (int l = 0; l < 3; l++)
        for (int b = 0; b < 3; b++)
            for (int s = 0; s < 6; s++) {
                ck_assert(plan(&head,
                               (struct tide_layout_wish){.level = level[l],
                                                         .brokers = brokers[b],
                                                         .slots = slots[s],
                                                         .payload = 64 * (4 + slots[s])},
                               &fault));
                check_parts(&head);
            }
}
END_TEST

START_TEST(levels_in_between_are_refused)
{
    struct tide_layout_head head;
    struct tide_layout_fault fault;
    for (uint32_t level = 0; level < 10; level++) {
        bool right = level == 0 || level == 4 || level == 5;
        ck_assert_int_eq(plan(&head, (struct tide_layout_wish){.level = level}, &fault), right);
        if (!right) {
            ck_assert_str_eq(fault.what, "order level (there are 0, 4 and 5)");
            ck_assert_uint_eq(fault.value, level);
        }
    }
}
END_TEST

#define REFUSED(field, bad, least, most)                                                           \
    do {                                                                                           \
        struct tide_layout_wish wish = {.level = 4, .field = (bad)};                               \
        ck_assert_msg(!plan(&head, wish, &fault), #field);                                         \
        ck_assert_uint_eq(fault.value, (bad));                                                     \
        ck_assert_uint_eq(fault.low, (least));                                                     \
        ck_assert_uint_eq(fault.high, (most));                                                     \
    } while (0)

START_TEST(values_out_of_range_are_named_with_the_range)
{
    struct tide_layout_head head;
    struct tide_layout_fault fault;
    REFUSED(brokers, 33, 1, 32);
    REFUSED(slots, 1, 2, 1 << 24);
    REFUSED(slots, (1 << 24) + 1, 2, 1 << 24);
    REFUSED(payload, 192, 256, UINT64_C(1) << 36);
    REFUSED(readers, 4097, 1, 4096);
    REFUSED(window, 65537, 1, 65536);
    REFUSED(features, 8, 0, 7);
    REFUSED(retain, 3, 0, 2);
    REFUSED(first, UINT64_MAX, 0, UINT64_MAX - (UINT64_C(1) << 48));
    struct tide_layout_wish odd = {.level = 5, .payload = 1000};
    ck_assert(!plan(&head, odd, &fault));
    ck_assert_uint_eq(fault.value, 1000 % 64);
    struct tide_layout_wish vast = {.level = 5, .payload = UINT64_C(1) << 35, .brokers = 2};
    ck_assert(!plan(&head, vast, &fault));
    ck_assert_str_eq(fault.what, "payload bytes of all brokers");
    struct tide_layout_wish timed = {.level = 4, .lease = UINT64_C(9999999)};
    ck_assert(!plan(&head, timed, &fault));
    ck_assert_str_eq(fault.what, "lease, of sessions");
    ck_assert_uint_eq(fault.low, 10000000);
    ck_assert_uint_eq(fault.high, UINT64_C(3600000000000));
    timed.lease++;
    ck_assert(plan(&head, timed, &fault));
    ck_assert_uint_eq(head.lease, 10000000);
    timed.level = 5;
    ck_assert(!plan(&head, timed, &fault));
    ck_assert_uint_eq(fault.value, 10000000);
}
END_TEST

static struct tide_layout_head good_head(void)
{
    struct tide_layout_head head = {.version = 0};
    struct tide_layout_fault fault;
    ck_assert(plan(&head, (struct tide_layout_wish){.level = 5, .slots = 8}, &fault));
    head.check = tide_layout_check(&head);
    atomic_store(&head.magic, TIDE_LAYOUT_MAGIC);
    ck_assert(tide_layout_valid(&head, head.size, &fault));
    return head;
}

/* What it says, with both values. */
static void check_refused(const struct tide_layout_head *head, uint64_t size, const char *what,
                          uint64_t value, uint64_t want)
{
    struct tide_layout_fault fault;
    ck_assert(!tide_layout_valid(head, size, &fault));
    ck_assert_str_eq(fault.what, what);
    ck_assert_uint_eq(fault.value, value);
    ck_assert_uint_eq(fault.low, want);
}

START_TEST(another_version_a_short_or_a_foreign_log_is_refused)
{
    struct tide_layout_head head = good_head();
    check_refused(&head, head.size - 1, "bytes of memory", head.size - 1, head.size);
    atomic_store(&head.magic, 5);
    check_refused(&head, head.size, "magic", 5, TIDE_LAYOUT_MAGIC);
    head = good_head();
    head.version++;
    check_refused(&head, head.size, "layout version", TIDE_LAYOUT_VERSION + 1, TIDE_LAYOUT_VERSION);
    head = good_head();
    head.features |= 1 << 20;
    head.check = tide_layout_check(&head);
    check_refused(&head, head.size, "features", 1 << 20, 0);
}
END_TEST

START_TEST(every_flipped_bit_of_the_geometry_is_noticed)
{
    for (size_t bit = 0; bit < 8 * TIDE_LAYOUT_GEOMETRY; bit++) {
        struct tide_layout_head head = good_head();
        struct tide_layout_fault fault;
        ((unsigned char *)&head)[bit / 8] ^= (unsigned char)(1 << bit % 8);
        UNIT_HOLD(!tide_layout_valid(&head, UINT64_MAX, &fault), "bit %zu", bit);
    }
}
END_TEST

/* Whoever writes a check sum of his own still cannot move a part out of the memory. */
START_TEST(offsets_that_do_not_follow_from_the_geometry_are_refused)
{
    for (size_t at = offsetof(struct tide_layout_head, brokers_at);
         at < offsetof(struct tide_layout_head, pad3); at += 8) {
        struct tide_layout_head head = good_head();
        uint64_t offset;
        memcpy(&offset, (char *)&head + at, 8);
        offset += 4096;
        memcpy((char *)&head + at, &offset, 8);
        head.check = tide_layout_check(&head);
        check_refused(&head, UINT64_MAX, "offsets of the parts", 1, 0);
    }
    struct tide_layout_head head = good_head();
    head.size += 4096;
    head.check = tide_layout_check(&head);
    check_refused(&head, UINT64_MAX, "bytes of the log", head.size, head.size - 4096);
}
END_TEST

START_TEST(halves_are_made_whole)
{
    static const uint64_t near[] = {0,
                                    1,
                                    0x7fffffff,
                                    0xffffffff,
                                    UINT64_C(1) << 32,
                                    UINT64_C(1) << 63,
                                    (UINT64_C(1) << 63) - 5,
                                    UINT64_MAX - 9};
    static const uint64_t ahead[] = {0, 1, 5, 0x80000000, 0xffffffff};
    for (size_t i = 0; i < sizeof near / sizeof *near; i++)
        for (size_t j = 0; j < 5; j++)
            ck_assert_uint_eq(tide_layout_widen((uint32_t)(near[i] + ahead[j]), near[i]),
                              near[i] + ahead[j]);
    ck_assert_uint_gt(tide_layout_ref(0, 0), 1);
    ck_assert_uint_eq(tide_layout_ref(31, 77), UINT64_C(32) << 32 | 77);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {parts_do_not_overlap_in_any_plan,
                                  levels_in_between_are_refused,
                                  values_out_of_range_are_named_with_the_range,
                                  another_version_a_short_or_a_foreign_log_is_refused,
                                  every_flipped_bit_of_the_geometry_is_noticed,
                                  offsets_that_do_not_follow_from_the_geometry_are_refused,
                                  halves_are_made_whole,
                                  NULL};
    return unit_main("layout", tests);
}
