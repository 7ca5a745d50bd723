/* test_peek.c - a log's memory looked at from outside: what is there, what was given up, what
 * is torn or damaged. */
#include "unit_base.h"

#include <pthread.h>

#include "audit_case.h"

static void peek_at(struct tide_peek *peek, const tide_log_t *log)
{
    struct tide_layout_fault fault;
    ck_assert(tide_peek_open(peek, log->map.base, log->map.size, &fault));
}

static void append(tide_log_client_t *client, unsigned broker, const char *text)
{
    ck_assert_int_eq(tide_log_append(client, broker, text, strlen(text), TIDE_LOG_TRY, NULL), 0);
}

/* The batch at the position is one message with this text. */
static void check_text(const struct tide_peek *peek, uint32_t broker, uint64_t position,
                       const char *text)
{
    struct tide_layout_entry entry;
    unsigned char copy[256];
    struct tide_layout_frame frame;
    ck_assert_int_eq(tide_peek_batch(peek, broker, position, &entry), TIDE_PEEK_THERE);
    ck_assert_uint_eq(entry.count, 1);
    ck_assert_uint_eq(entry.size, TIDE_LOG_ROOM(strlen(text)));
    ck_assert(tide_peek_inside(peek, &entry));
    ck_assert_int_eq(tide_peek_payload(peek, broker, position, &entry, copy), TIDE_PEEK_THERE);
    memcpy(&frame, copy, sizeof frame);
    ck_assert_uint_eq(frame.length, strlen(text));
    ck_assert_int_eq(memcmp(copy + sizeof frame, text, frame.length), 0);
}

START_TEST(what_was_appended_is_there)
{
    static const char *const texts[] = {"one", "two and more", "", "three"};
    static const unsigned levels[] = {0, 4, 5};
    for (int l = 0; l < 3; l++) {
        struct tide_log_options options = {
            .level = levels[l], .brokers = 2, .slots = 5, .payload = 4096, .first = 50};
        struct tide_peek peek;
        struct tide_layout_entry entry;
        tide_log_t *log;
        tide_log_client_t *client;
        ck_assert_int_eq(tide_log_create(&log, &options), 0);
        ck_assert_int_eq(tide_log_client_open(&client, log, NULL), 0);
        peek_at(&peek, log);
        uint32_t broker = levels[l] == 0;
        uint64_t first = tide_peek_earliest(&peek, broker);
        ck_assert_uint_eq(first, levels[l] == 0 ? 51 : 50);
        ck_assert_uint_eq(tide_peek_end(&peek, broker), first);
        for (uint64_t i = 0; i < 4; i++) {
            ck_assert_int_eq(tide_peek_batch(&peek, broker, first + i, &entry), TIDE_PEEK_NONE);
            append(client, 1, texts[i]);
            ck_assert_uint_eq(tide_peek_end(&peek, broker), first + i + 1);
        }
        for (uint64_t i = 0; i < 4; i++)
            check_text(&peek, broker, first + i, texts[i]);
        ck_assert_int_eq(tide_peek_batch(&peek, broker, first - 1, &entry), TIDE_PEEK_GONE);
        ck_assert_int_eq(tide_peek_batch(&peek, broker, first + 4, &entry), TIDE_PEEK_NONE);
        ck_assert_int_eq(tide_log_client_close(client), 0);
        ck_assert_int_eq(tide_log_close(log), 0);
    }
}
END_TEST

START_TEST(what_is_given_up_is_gone_also_between_two_looks)
{
    struct tide_log_options options = {.level = 5, .slots = 8, .payload = 4096};
    struct tide_peek peek;
    struct tide_layout_entry entry;
    unsigned char copy[256];
    tide_log_t *log;
    tide_log_client_t *client;
    ck_assert_int_eq(tide_log_create(&log, &options), 0);
    ck_assert_int_eq(tide_log_client_open(&client, log, NULL), 0);
    peek_at(&peek, log);
    append(client, 0, "gone");
    append(client, 0, "kept");
    ck_assert_int_eq(tide_peek_batch(&peek, 0, 0, &entry), TIDE_PEEK_THERE);
    ck_assert_int_eq(tide_log_trim(log, 0, 1, NULL), 0);
    ck_assert_int_eq(tide_peek_payload(&peek, 0, 0, &entry, copy), TIDE_PEEK_GONE);
    ck_assert_int_eq(tide_peek_batch(&peek, 0, 0, &entry), TIDE_PEEK_GONE);
    ck_assert_uint_eq(tide_peek_earliest(&peek, 0), 1);
    check_text(&peek, 0, 1, "kept");
    tide_log_client_close(client);
    tide_log_close(log);
}
END_TEST

START_TEST(payload_that_lies_elsewhere_is_not_touched)
{
    struct tide_log_options options = {.level = 5, .payload = 4096, .slots = 8, .checksum = 1};
    struct tide_peek peek;
    struct tide_layout_entry entry, other;
    unsigned char copy[256];
    tide_log_t *log;
    tide_log_client_t *client;
    ck_assert_int_eq(tide_log_create(&log, &options), 0);
    ck_assert_int_eq(tide_log_client_open(&client, log, NULL), 0);
    peek_at(&peek, log);
    append(client, 0, "text");
    ck_assert_int_eq(tide_peek_batch(&peek, 0, 0, &entry), TIDE_PEEK_THERE);
    uint64_t first = log->map.head->payload_at, size = log->map.size;
    const uint64_t offsets[] = {0, first - 1, size - entry.size + 1, size, UINT64_MAX - 8};
    for (int i = 0; i < 5; i++) {
        other = entry;
        other.offset = offsets[i];
        ck_assert(!tide_peek_inside(&peek, &other));
        ck_assert_int_eq(tide_peek_payload(&peek, 0, 0, &other, copy), TIDE_PEEK_OUTSIDE);
    }
    other = entry;
    other.size = 1025; /* more than a quarter of the ring */
    ck_assert(!tide_peek_inside(&peek, &other));
    other = entry;
    other.checksum++;
    ck_assert_int_eq(tide_peek_payload(&peek, 0, 0, &other, copy), TIDE_PEEK_SUM);
    tide_log_client_close(client);
    tide_log_close(log);
}
END_TEST

START_TEST(what_is_no_log_is_refused_with_the_value)
{
    size_t size;
    struct tide_peek peek;
    struct tide_layout_fault fault;
    unsigned char *image = audit_image((struct tide_log_options){.level = 5, .slots = 64}, &size);
    struct tide_layout_head *head = (void *)image;
    ck_assert(!tide_peek_open(&peek, image, size - 1, &fault));
    ck_assert_uint_eq(fault.value, size - 1);
    ck_assert(!tide_peek_open(&peek, image, 100, &fault));
    for (unsigned i = 0; i < TIDE_LAYOUT_GEOMETRY; i++) {
        image[i] ^= 1;
        ck_assert_msg(!tide_peek_open(&peek, image, size, &fault), "byte %u", i);
        image[i] ^= 1;
    }
    ck_assert(tide_peek_open(&peek, image, size, &fault));
    head->slots = UINT64_MAX; /* the view has its own copy of the geometry */
    ck_assert_uint_gt(audit_look(&peek), 0);
    free(image);
}
END_TEST

START_TEST(the_head_and_the_brokers_tell_what_the_log_tells)
{
    struct audit_log log;
    struct tide_peek peek;
    struct tide_peek_head head;
    struct tide_peek_broker broker;
    struct tide_log_stat stat;
    struct tide_log_broker_stat ring;
    audit_use_log(
        &log, (struct tide_log_options){.level = 4, .brokers = 2, .sequencing = 1, .slots = 32});
    peek_at(&peek, log.log);
    tide_peek_head(&peek, &head);
    ck_assert_int_eq(tide_log_stat(log.log, &stat), 0);
    ck_assert_uint_eq(head.trimmed, stat.earliest);
    ck_assert_uint_eq(tide_peek_end(&peek, 0), stat.committed);
    ck_assert_uint_eq(head.taken, stat.taken);
    ck_assert_uint_eq(head.messages, stat.messages);
    for (unsigned i = 0; i < 2; i++) {
        tide_peek_broker(&peek, i, &broker);
        ck_assert_int_eq(tide_log_stat_broker(log.log, i, &ring), 0);
        ck_assert_uint_eq(broker.claimed - AUDIT_FIRST - 1, ring.claimed);
        ck_assert_uint_eq(broker.released - AUDIT_FIRST - 1, ring.released);
        ck_assert_uint_eq((broker.claimed_granule - broker.released_granule) * 64, ring.used_bytes);
        ck_assert_uint_eq(broker.claimed - broker.scanned, ring.unscanned);
    }
    audit_close_log(&log);
}
END_TEST

/* --- against a writer that overtakes ---------------------------------------------------- */

static _Atomic bool stop;

static void *append_much(void *argument)
{
    tide_log_client_t *client = argument;
    for (uint64_t i = 0; !stop; i++) {
        uint64_t words[40];
        for (int w = 0; w < 40; w++)
            words[w] = i;
        AUDIT_MUST(tide_log_append(client, 0, words, 8 + i % 40 * 8, TIDE_LOG_BLOCK, NULL) == 0);
    }
    return NULL;
}

/* Every word of a batch that is delivered whole is its number. */
static bool is_whole(const uint64_t *copy, const struct tide_layout_entry *entry)
{
    for (uint64_t w = 2; w < entry->size / 8; w++)
        if (copy[w] != entry->number)
            return false;
    return entry->size == 16 + 8 + entry->number % 40 * 8;
}

START_TEST(no_torn_batch_is_delivered)
{
    for (unsigned level = 0; level <= 5; level += 5) {
        struct tide_log_options options = {
            .level = level, .slots = 7, .payload = 2048, .retain = TIDE_LOG_KEEP_RECENT};
        struct tide_peek peek;
        tide_log_t *log;
        tide_log_client_t *client;
        pthread_t thread;
        uint64_t whole = 0, gone = 0, at = 0;
        ck_assert_int_eq(tide_log_create(&log, &options), 0);
        ck_assert_int_eq(tide_log_client_open(&client, log, NULL), 0);
        peek_at(&peek, log);
        stop = false;
        ck_assert_int_eq(pthread_create(&thread, NULL, append_much, client), 0);
        while (whole < 2000 || gone < 20) {
            struct tide_layout_entry entry;
            uint64_t copy[64];
            enum tide_peek_found found = tide_peek_batch(&peek, 0, at, &entry);
            if (found == TIDE_PEEK_THERE)
                found = tide_peek_payload(&peek, 0, at, &entry, copy);
            UNIT_HOLD(found != TIDE_PEEK_OUTSIDE, "position %llu", (unsigned long long)at);
            UNIT_HOLD(found != TIDE_PEEK_THERE || is_whole(copy, &entry), "torn: %llu",
                      (unsigned long long)at);
            whole += found == TIDE_PEEK_THERE;
            gone += found == TIDE_PEEK_GONE;
            at = found == TIDE_PEEK_GONE ? tide_peek_earliest(&peek, 0)
                                         : at + (found == TIDE_PEEK_THERE);
        }
        stop = true;
        pthread_join(thread, NULL);
        tide_log_client_close(client);
        tide_log_close(log);
    }
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {what_was_appended_is_there,
                                  what_is_given_up_is_gone_also_between_two_looks,
                                  payload_that_lies_elsewhere_is_not_touched,
                                  what_is_no_log_is_refused_with_the_value,
                                  the_head_and_the_brokers_tell_what_the_log_tells,
                                  no_torn_batch_is_delivered,
                                  NULL};
    return unit_main("peek", tests);
}
