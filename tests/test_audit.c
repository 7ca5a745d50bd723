/* test_audit.c - logs that are as they must be, and every kind of damage. */
#include "unit_base.h"

#include <pthread.h>

#include "audit_case.h"

#include "box/door.h"
#include "box/mend.h"

/* --- findings ---------------------------------------------------------------------- */

enum { SAID = 64 };

struct said {
    struct tide_audit_finding finding[SAID];
    unsigned count;
};

static void tell(void *who, const struct tide_audit_finding *finding)
{
    struct said *said = who;
    if (said->count < SAID)
        said->finding[said->count] = *finding;
    said->count++;
}

static bool has_said(const struct said *said, const char *word, bool note)
{
    for (unsigned i = 0; i < said->count && i < SAID; i++)
        if (strcmp(said->finding[i].word, word) == 0 && said->finding[i].note == note)
            return true;
    return false;
}

static struct tide_audit audit(const void *base, size_t size, bool live, struct said *said)
{
    static struct tide_peek peek;
    struct tide_layout_fault fault;
    *said = (struct said){.count = 0};
    struct tide_audit self = {.peek = &peek, .live = live, .tell = tell, .who = said};
    ck_assert(tide_peek_open(&peek, base, size, &fault));
    ck_assert(tide_audit_run(&self));
    ck_assert_uint_eq(self.errors + self.notes, said->count);
    return self;
}

static void check_clean(const void *base, size_t size, bool live, const char *when)
{
    struct said said;
    struct tide_audit self = audit(base, size, live, &said);
    const struct tide_audit_finding *first = &said.finding[0];
    ck_assert_msg(self.errors == 0 && self.notes == 0,
                  "%s: %s: %s: where %d, table %u, position %llu: %llu, not %llu..%llu", when,
                  first->word, first->what, (int)first->where, first->table,
                  (unsigned long long)first->position, (unsigned long long)first->found,
                  (unsigned long long)first->low, (unsigned long long)first->high);
}

/* --- logs that are right ------------------------------------------------------------ */

static const struct tide_log_options kinds[] = {
    {.level = 0, .brokers = 3, .slots = 32, .payload = 8192, .checksum = 1},
    {.level = 5, .brokers = 3, .slots = 32, .payload = 8192, .checksum = 1},
    {.level = 5, .brokers = 3, .slots = 31, .payload = 64 * 111, .checksum = 0},
    {.level = 5, .brokers = 2, .slots = 33, .payload = 8192, .checksum = 1, .sequencing = 1},
    {.level = 4, .brokers = 3, .slots = 32, .payload = 8192, .checksum = 1, .clients = 4},
    {.level = 4, .brokers = 3, .slots = 37, .payload = 8192, .clients = 4, .sessions = 1},
    {.level = 4, .brokers = 2, .slots = 32, .payload = 8192, .clients = 2, .sequencing = 1},
};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

START_TEST(a_log_that_was_used_is_right_at_every_step)
{
    for (int kind = 0; kind < KINDS; kind++) {
        char when[64];
        struct audit_log log;
        audit_open_log(&log, kinds[kind]);
        for (unsigned i = 0; i < 300; i++) {
            snprintf(when, sizeof when, "kind %d, step %u", kind, i);
            check_clean(log.log->map.base, log.log->map.size, i % 2, when);
            audit_append(&log, i, log.log->map.brokers);
            if (i % 6 == 5)
                audit_read(&log, kinds[kind].level);
        }
        audit_close_log(&log);
    }
}
END_TEST

START_TEST(the_sums_are_those_of_what_is_kept)
{
    size_t size;
    struct said said;
    for (int kind = 0; kind < KINDS; kind++) {
        unsigned char *image = audit_image(kinds[kind], &size);
        check_clean(image, size, false, "an image");
        struct tide_audit self = audit(image, size, false, &said);
        ck_assert_uint_gt(self.batches, 5);
        ck_assert_uint_gt(self.messages, self.batches);
        ck_assert_uint_ge(self.bytes, self.messages * 16);
        struct tide_audit live = audit(image, size, true, &said);
        ck_assert_uint_eq(live.batches, self.batches);
        ck_assert_uint_eq(live.bytes, self.bytes);
        free(image);
    }
}
END_TEST

/* --- damage ------------------------------------------------------------------------- */

enum place { HEAD, BROKER, ENTRY, SLOT, UNUSED, RETIRED, PAYLOAD, SESSION, HOLD, READER, PRODUCER };

/* So many bytes at `offset` of the thing number `which` get `value` more, or become it. */
enum change { ADD, SET };
struct damage {
    const char *word;
    unsigned level;
    enum place place;
    unsigned which;
    size_t offset;
    int bytes;
    enum change change;
    uint64_t value;
    bool note, stepped;
};

#define IN(type, field) offsetof(struct tide_layout_##type, field)
#define ENTRY_OF(field, bytes, change, value)                                                      \
    5, ENTRY, 2, IN(entry, field), bytes, change, value, false, false
#define SLOT_OF(field, bytes, change, value)                                                       \
    5, SLOT, 2, IN(slot, field), bytes, change, value, false, false
#define HEAD_OF(field, change, value) 5, HEAD, 0, IN(head, field), 8, change, value, false, false
#define BROKER_OF(field, change, value)                                                            \
    5, BROKER, 1, IN(broker, field), 8, change, value, false, false
#define SESSION_OF(field, change, value)                                                           \
    4, SESSION, 0, IN(session, field), 8, change, value, false, false
#define LESS(n) (UINT64_MAX - (n) + 1)

static const struct damage damages[] = {
    {"head-order", HEAD_OF(trimmed_place, SET, AUDIT_FIRST - 1)},
    {"head-order", HEAD_OF(trimmed_base, SET, 7)},
    {"head-order", HEAD_OF(committed, ADD, 50)},
    {"head-order", HEAD_OF(committed, SET, 0)},
    {"head-order", HEAD_OF(taken, ADD, UINT64_C(200) << 32)},
    {"head-epoch", HEAD_OF(epoch, SET, 0)},
    {"head-lock", HEAD_OF(trimmer, SET, 2)},
    {"head-lock", 5, HEAD, 0, IN(head, trimmer), 8, SET, 1, true, false},
    {"head-lock", 4, SESSION, 0, IN(session, door), 8, SET, 1, true, false},
    {"head-lock", 4, SESSION, 0, IN(session, door), 8, SET, TIDE_DOOR_KEPT | 3, true, false},
    {"head-lock", 5, BROKER, 0, IN(broker, scanner), 8, SET, 1, true, true},
    {"entry-base", HEAD_OF(taken, ADD, 1)},
    {"entry-base", HEAD_OF(trimmed_base, ADD, 1)},
    {"entry-base", ENTRY_OF(base, 8, ADD, 1)},
    {"entry-base", ENTRY_OF(base, 8, ADD, UINT64_C(1) << 40)},
    {"entry-base", ENTRY_OF(count, 4, ADD, 1)},
    {"entry-seq", ENTRY_OF(seq, 8, SET, 0)},
    {"entry-seq", ENTRY_OF(seq, 8, ADD, 96)},
    {"entry-stray", ENTRY_OF(seq, 8, ADD, 1)},
    {"entry-stray", 5, UNUSED, 0, IN(entry, seq), 8, ADD, 192, false, false},
    {"entry-broker", ENTRY_OF(broker, 1, SET, 3)},
    {"entry-broker", ENTRY_OF(broker, 1, SET, 255)},
    {"entry-flags", ENTRY_OF(flags, 1, SET, 1)},
    {"entry-flags", ENTRY_OF(flags, 1, SET, 128)},
    {"entry-epoch", ENTRY_OF(control, 2, ADD, 1)},
    {"entry-epoch", ENTRY_OF(control, 2, ADD, LESS(1))},
    {"entry-count", ENTRY_OF(count, 4, SET, 0)},
    {"entry-count", ENTRY_OF(count, 4, SET, 1000)},
    {"entry-size", ENTRY_OF(size, 4, SET, 0)},
    {"entry-size", ENTRY_OF(size, 4, SET, UINT32_MAX)},
    {"entry-slot", ENTRY_OF(slot, 8, ADD, 1)},
    {"entry-slot", ENTRY_OF(slot, 8, ADD, 32)},
    {"entry-slot", ENTRY_OF(slot, 8, SET, 0)},
    {"entry-number", 4, ENTRY, 4, IN(entry, number), 8, ADD, 1, false, false},
    {"entry-number", 4, ENTRY, 4, IN(entry, client), 4, SET, 9, false, false},
    {"entry-number", 4, ENTRY, 0, IN(entry, epoch), 4, ADD, 1, false, false},
    {"entry-number", 5, ENTRY, 2, IN(entry, number), 8, ADD, 99, true, false},
    {"entry-hole", 5, HEAD, 0, IN(head, taken), 8, ADD, UINT64_C(1) << 32, true, false},
    {"slot-entry", ENTRY_OF(number, 8, ADD, 1)},
    {"slot-entry", ENTRY_OF(client, 4, ADD, 1)},
    {"slot-entry", ENTRY_OF(checksum, 4, ADD, 1)},
    {"slot-entry", ENTRY_OF(offset, 8, ADD, 64)},
    {"slot-entry", SLOT_OF(number, 8, ADD, 1)},
    {"slot-entry", SLOT_OF(epoch, 4, ADD, 1)},
    {"slot-entry", SLOT_OF(size, 4, ADD, LESS(8))},
    {"slot-publish", SLOT_OF(publish, 8, ADD, 1)},
    {"slot-publish", SLOT_OF(publish, 8, SET, 0)},
    {"slot-publish", SLOT_OF(publish, 8, ADD, LESS(32))},
    {"retire-use", SLOT_OF(flags, 4, SET, 2)},
    {"retire-order", HEAD_OF(retired, SET, 1000)},
    {"retire-order", HEAD_OF(reclaimed, SET, 1)},
    {"entry-size", ENTRY_OF(flags, 1, SET, 2)},
    {"slot-index", SLOT_OF(index, 8, ADD, 1)},
    {"slot-flags", SLOT_OF(flags, 4, SET, 3)},
    {"slot-count", SLOT_OF(count, 4, SET, 0)},
    {"slot-count", SLOT_OF(flags, 4, SET, 1)},
    {"slot-retired", 5, RETIRED, 2, 0, 8, SET, UINT64_MAX, false, false},
    {"slot-unplaced", 4, HOLD, 0, IN(hold, number), 8, SET, 0, true, false},
    {"entry-stray", HEAD_OF(taken, ADD, LESS(UINT64_C(1) << 32))},
    {"granules", SLOT_OF(offset, 8, ADD, 64)},
    {"granules", SLOT_OF(offset, 8, ADD, 1)},
    {"granules", SLOT_OF(offset, 8, SET, 0)},
    {"granules", SLOT_OF(end, 8, ADD, 1)},
    {"granules", SLOT_OF(end, 8, SET, UINT64_MAX)},
    {"granules", BROKER_OF(released_granule, ADD, 1)},
    {"granules", BROKER_OF(claim, ADD, 1)},
    {"slot-open", 5, BROKER, 1, IN(broker, claim), 8, ADD, UINT64_C(1) << 32, true, false},
    {"broker-order", BROKER_OF(released_slot, SET, AUDIT_FIRST)},
    {"broker-order", BROKER_OF(released_slot, ADD, 40)},
    {"broker-order", BROKER_OF(released_granule, SET, 1)},
    {"broker-order", BROKER_OF(released_granule, ADD, 200)},
    {"broker-order", BROKER_OF(claim, ADD, UINT64_C(100) << 32)},
    {"broker-order", BROKER_OF(scanned, ADD, 1000)},
    {"broker-order", BROKER_OF(releasing, ADD, 33)},
    {"broker-order", BROKER_OF(releasing, ADD, LESS(1))},
    {"payload-sum", 5, PAYLOAD, 2, 17, 1, ADD, 1, false, false},
    {"payload-sum", 5, PAYLOAD, 0, 0, 4, ADD, 1, false, false},
    {"payload-sum", ENTRY_OF(checksum, 4, ADD, 77)},
    {"payload-sum", 0, PAYLOAD, 0, 3, 1, ADD, 1, false, false},
    {"payload-place", ENTRY_OF(offset, 8, SET, 0)},
    {"payload-place", ENTRY_OF(offset, 8, SET, UINT64_MAX)},
    {"payload-place", ENTRY_OF(offset, 8, ADD, 1 << 20)},
    {"session-state", SESSION_OF(state, SET, 2)},
    {"session-epoch", SESSION_OF(epoch, SET, UINT64_C(1) << 32)},
    {"session-epoch", SESSION_OF(epoch, SET, 0)},
    {"session-number", SESSION_OF(expected, ADD, 1)},
    {"session-number", SESSION_OF(expected, ADD, LESS(1))},
    {"session-held", SESSION_OF(held, ADD, 1)},
    {"session-held", 4, HOLD, 0, IN(hold, number), 8, ADD, 1, false, false},
    {"session-held", 4, HOLD, 0, IN(hold, number), 8, ADD, 64, false, false},
    {"session-held", 4, HOLD, 0, IN(hold, number), 8, SET, 0, false, false},
    {"session-slot", 4, HOLD, 0, IN(hold, ref), 8, ADD, UINT64_C(9) << 32, false, false},
    {"session-slot", 4, HOLD, 0, IN(hold, ref), 8, ADD, 1, false, false},
    {"session-slot", 4, HOLD, 0, IN(hold, ref), 8, SET, 0, false, false},
    {"session-slot", 4, HOLD, 0, IN(hold, ref), 8, ADD, 1 << 20, false, false},
    {"reader-cursor", 5, READER, 0, IN(reader, cursor), 8, SET, AUDIT_FIRST - 1, false, false},
    {"reader-cursor", 5, READER, 0, IN(reader, cursor), 8, ADD, 1000, false, false},
    {"reader-policy", 5, READER, 0, IN(reader, policy), 8, SET, 3, false, false},
    {"reader-policy", 5, READER, 0, IN(reader, fate), 8, SET, 2, false, false},
    {"producer-claim", 5, PRODUCER, 0, IN(producer, claim), 8, SET, UINT64_MAX, false, false},
    {"producer-client", 4, PRODUCER, 0, IN(producer, client), 4, SET, 4, false, false},
    {"producer-epoch", 4, PRODUCER, 1, IN(producer, epoch), 4, SET, 77, false, false},
};
enum { DAMAGES = sizeof damages / sizeof damages[0] };

/* The hold that is in use. */
static struct tide_layout_hold *used_hold(const struct tide_logmap *map)
{
    struct tide_layout_hold *hold = map->hold;
    while (hold->number == 0)
        hold++;
    return hold;
}

static unsigned char *target(const struct tide_logmap *map, const struct damage *damage)
{
    uint64_t place = map->head->trimmed_place + damage->which;
    struct tide_layout_entry *entry = map->level != 0 ? tide_logmap_entry(map, place) : NULL;
    uint64_t index = map->broker[0].released_slot + damage->which;
    struct tide_layout_slot *slot = map->level != 0
                                        ? tide_logmap_slot(map, entry->broker, entry->slot)
                                        : tide_logmap_slot(map, 0, index);
    switch (damage->place) {
    case HEAD:
        return map->base;
    case BROKER:
        return (void *)&map->broker[damage->which];
    case ENTRY:
        return (void *)entry;
    case SLOT:
        return (void *)slot;
    case UNUSED:
        return (void *)tide_logmap_entry(map, map->head->trimmed_place - 1);
    case RETIRED:
        return (void *)&map->retired[damage->which * map->retired_words];
    case PAYLOAD:
        return map->base + slot->offset;
    case SESSION:
        return (void *)&map->session[damage->which];
    case HOLD:
        return (void *)used_hold(map);
    case READER:
        return (void *)&map->reader[damage->which];
    default:
        return (void *)&map->producer[damage->which];
    }
}

static void apply(unsigned char *image, size_t size, const struct damage *damage)
{
    struct tide_logmap map;
    struct tide_layout_fault fault;
    ck_assert(tide_logmap_open(&map, image, size, &fault));
    unsigned char *at = target(&map, damage) + damage->offset;
    uint64_t value = 0;
    memcpy(&value, at, (size_t)damage->bytes);
    value = damage->change == ADD ? value + damage->value : damage->value;
    memcpy(at, &value, (size_t)damage->bytes);
}

START_TEST(every_kind_of_damage_is_called_by_its_name)
{
    for (int i = 0; i < DAMAGES; i++) {
        const struct damage *damage = &damages[i];
        struct said said;
        size_t size;
        int kind = damage->stepped ? 3 : damage->level == 0 ? 0 : damage->level == 5 ? 1 : 4;
        unsigned char *image = audit_image(kinds[kind], &size);
        apply(image, size, damage);
        audit(image, size, false, &said);
        ck_assert_msg(has_said(&said, damage->word, damage->note), "damage %d: not %s but %s (%u)",
                      i, damage->word, said.count > 0 ? said.finding[0].word : "nothing",
                      said.count);
        audit(image, size, true, &said); /* and nothing bad happens if it is looked at alive */
        free(image);
    }
}
END_TEST

/* A log that was closed has nothing in it that is half done. */
START_TEST(what_an_orderly_end_cannot_leave_is_an_error)
{
    unsigned notes = 0;
    for (int i = 0; i < DAMAGES; i++) {
        struct tide_peek peek;
        struct tide_layout_fault fault;
        struct said said = {.count = 0};
        struct tide_audit self = {.peek = &peek, .closed = true, .tell = tell, .who = &said};
        size_t size;
        int kind = damages[i].stepped ? 3 : damages[i].level == 5 ? 1 : 4;
        if (!damages[i].note || strcmp(damages[i].word, "entry-number") == 0)
            continue;
        unsigned char *image = audit_image(kinds[kind], &size);
        apply(image, size, &damages[i]);
        ck_assert(tide_peek_open(&peek, image, size, &fault) && tide_audit_run(&self));
        ck_assert(has_said(&said, damages[i].word, false));
        notes++;
        free(image);
    }
    ck_assert_uint_ge(notes, 6);
}
END_TEST

/* Under ThreadSanitizer, which has no say here, only some. */
#ifdef __SANITIZE_THREAD__
enum { ROUNDS = 50 };
#else
enum { ROUNDS = 3000 };
#endif

/* Any bytes may be anything: what is looked at stays inside, and it ends. */
START_TEST(random_damage_never_leads_outside)
{
    uint64_t state = 88172645463325252u;
    for (int round = 0; round < ROUNDS; round++) {
        struct said said;
        struct tide_peek peek;
        struct tide_layout_fault fault;
        size_t size;
        unsigned char *image = audit_image(kinds[round % KINDS], &size);
        struct tide_layout_head *head = (void *)image;
        size_t end = round % 2 ? size : head->payload_at;
        unsigned count = 1u << unit_random(&state) % 10;
        while (count-- > 0) {
            size_t at = unit_random(&state) % (end - TIDE_LAYOUT_GEOMETRY);
            image[TIDE_LAYOUT_GEOMETRY + at] ^= (unsigned char)(1u << unit_random(&state) % 8);
        }
        audit(image, size, round % 3 == 0, &said);
        ck_assert(tide_peek_open(&peek, image, size, &fault));
        audit_look(&peek);
        free(image);
    }
}
END_TEST

START_TEST(nothing_is_written)
{
    struct said said;
    for (int kind = 0; kind < KINDS; kind++) {
        struct tide_peek peek;
        struct tide_layout_fault fault;
        size_t size;
        unsigned char *image = audit_image(kinds[kind], &size);
        unsigned char *fixed =
            mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        memcpy(fixed, image, size);
        ck_assert_int_eq(mprotect(fixed, size, PROT_READ), 0);
        struct tide_audit self = audit(fixed, size, false, &said);
        ck_assert(tide_peek_open(&peek, fixed, size, &fault));
        ck_assert_uint_eq(audit_look(&peek), self.batches);
        munmap(fixed, size);
        free(image);
    }
}
END_TEST

/* Claims that nobody commits, between batches and behind them: repair makes it a log that was
 * closed. */
START_TEST(a_log_that_was_put_in_order_is_right)
{
    for (int kind = 0; kind < KINDS; kind++) {
        struct audit_log log;
        struct tide_log_claim claim[2];
        struct tide_mend_report report;
        struct tide_layout_fault fault = {NULL, 0, 0, 0};
        struct said said;
        audit_open_log(&log, kinds[kind]);
        for (unsigned i = 0; i < 12; i++)
            audit_append(&log, i, log.log->map.brokers);
        audit_read(&log, kinds[kind].level);
        ck_assert_int_eq(tide_log_claim(log.client[0], 1, 90, TIDE_LOG_TRY, &claim[0]), 0);
        for (unsigned i = 0; i < 4; i++) /* of the other client: no claim is out there */
            ck_assert_int_eq(tide_log_append(log.client[1], i % 2, "text", 4, TIDE_LOG_TRY, NULL),
                             0);
        tide_log_poll(log.log); /* level 4 leaves room for those that others wait for */
        int ret = tide_log_claim(log.client[1], 0, 90, TIDE_LOG_TRY, &claim[1]);
        ck_assert_msg(ret == 0, "kind %d: claim gave %d", kind, ret);
        struct tide_audit self = audit(log.log->map.base, log.log->map.size, false, &said);
        ck_assert_uint_eq(self.errors, 0);
        ck_assert(has_said(&said, "slot-open", true));
        ck_assert_int_eq(tide_mend(&log.log->map, &report, &fault), 0);
        struct tide_peek peek;
        self = (struct tide_audit){.peek = &peek, .closed = true, .tell = tell, .who = &said};
        said.count = 0;
        ck_assert(tide_peek_open(&peek, log.log->map.base, log.log->map.size, &fault));
        ck_assert(tide_audit_run(&self));
        ck_assert_msg(self.errors + self.notes == 0, "kind %d: %s: %s", kind, said.finding[0].word,
                      said.finding[0].what);
        ck_assert_uint_ge(self.batches, 4);
    }
}
END_TEST

/* --- while others are at it ----------------------------------------------------------- */

static _Atomic bool stop;

static void *append_and_read(void *argument)
{
    struct audit_log *log = argument;
    for (unsigned i = 0; !stop; i++) {
        audit_append(log, i, log->log->map.brokers);
        if (i % 6 == 5)
            audit_read(log, log->log->map.level);
    }
    return NULL;
}

START_TEST(a_log_in_use_is_right)
{
    for (int kind = 0; kind < KINDS; kind++) {
        struct audit_log log;
        pthread_t thread;
        struct tide_peek peek;
        struct tide_layout_fault fault;
        audit_open_log(&log, kinds[kind]);
        stop = false;
        ck_assert_int_eq(pthread_create(&thread, NULL, append_and_read, &log), 0);
        ck_assert(tide_peek_open(&peek, log.log->map.base, log.log->map.size, &fault));
        uint64_t whole = 0;
        for (int i = 0; i < 200 || whole == 0; i++) {
            check_clean(log.log->map.base, log.log->map.size, true, "a log in use");
            whole += audit_look(&peek);
        }
        stop = true;
        pthread_join(thread, NULL);
        check_clean(log.log->map.base, log.log->map.size, false, "afterwards");
        audit_close_log(&log);
    }
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {a_log_that_was_used_is_right_at_every_step,
                                  the_sums_are_those_of_what_is_kept,
                                  every_kind_of_damage_is_called_by_its_name,
                                  what_an_orderly_end_cannot_leave_is_an_error,
                                  random_damage_never_leads_outside,
                                  nothing_is_written,
                                  a_log_that_was_put_in_order_is_right,
                                  a_log_in_use_is_right,
                                  NULL};
    return unit_main("audit", tests);
}
