/* test_loghosts_closed.c - a log in lanes that is closed, opened in another boot, and removed,
 * while other processes have it or not. */
#include "log_parts.h"

#include "box/lanecrew.h"
#include "box/medium.h"

/* Nobody who keeps a node, or beats, is without a processor for so long. */
#define LEASE (2 * SECOND)

START_TEST(a_sequencer_that_closes_leaves_nothing_without_a_place)
{
    struct tide_log_options o = options(5, LEASE);
    struct part first = {NULL, NULL, NULL, NULL}, node;
    name_file();
    first.region = region_made(text, REGION_SIZE, 0);
    ck_assert_int_eq(tide_log_create_on(&first.log, first.region, &o), 0);
    ck_assert_int_eq(open_client(&first, 0, 0), 0);
    for (uint64_t i = 0; i < 10; i++)
        ck_assert_int_eq(send(&first, i % 2, i), 0);
    leave(&first);
    ck_assert_int_eq(attach(&node, 1, 1, PATIENCE), 0);
    ck_assert_uint_eq(tide_log_committed(node.log), 10);
    leave(&node);
}
END_TEST

/* The machine is started again. */
static void boot_again(const struct part *part)
{
    uint64_t *boot = (uint64_t *)tide_region_area(part->region, TIDE_REGION_AREA_LOG) + 35;
    ck_assert_uint_ne(boot[0], 0); /* see logroom.h */
    boot[0]++;
}

/* Made, closed with five batches. */
static struct part closed(struct tide_log_options o, int error)
{
    struct part first = made(o);
    ck_assert_int_eq(open_client(&first, 0, TIDE_LOG_ACK_NONE), 0);
    for (uint64_t i = 0; i < 5; i++)
        ck_assert_int_eq(send(&first, 0, i), 0);
    ck_assert_int_eq(tide_log_client_close(first.client), 0);
    ck_assert_int_eq(tide_log_close(first.log), error);
    return first;
}

START_TEST(what_was_closed_is_there_in_another_boot)
{
    struct part first = closed(options(5, LEASE), 0), node;
    boot_again(&first);
    ck_assert_int_eq(tide_log_open(&first.log, first.region), 0);
    ck_assert_int_eq(tide_log_reader_open(&first.reader, first.log, NULL), 0);
    for (uint64_t i = 0; i < 5; i++)
        ck_assert_uint_eq(next(&first, TIDE_LOG_TRY), i);
    ck_assert_int_eq(tide_log_reader_close(first.reader), 0);
    ck_assert_int_eq(tide_log_close(first.log), 0);
    /* Of a sequencer that attached nobody knows what is on the medium. */
    ck_assert_int_eq(attach(&node, 1, 1, PATIENCE), 0);
    ck_assert_int_eq(tide_log_close(node.log), 0);
    boot_again(&first);
    ck_assert_int_eq(tide_log_open(&first.log, first.region), -EUCLEAN);
    ck_assert_str_eq(words(), "the machine stopped, and nothing was synced");
    leave(&(struct part){.region = node.region});
    ck_assert_int_eq(attach(&node, 1, 1, PATIENCE), 0);
    ck_assert_uint_eq(tide_log_committed(node.log), 5);
    leave(&node);
    leave(&(struct part){.region = first.region});
}
END_TEST

START_TEST(what_others_have_is_not_closed)
{
    struct part first = made(options(5, 0)), node;
    ck_assert_int_eq(attach(&node, 1, 0, PATIENCE), 0);
    ck_assert_int_eq(tide_log_close(first.log), 0);
    leave(&node);
    boot_again(&first);
    ck_assert_int_eq(tide_log_open(&first.log, first.region), -EUCLEAN);
    leave(&(struct part){.region = first.region});
}
END_TEST

static int lose(const void *at, size_t bytes)
{
    return at != NULL && bytes > 1 << 20 ? -EIO : 0; /* all of the log */
}

START_TEST(what_the_medium_did_not_take_is_not_closed)
{
    tide_medium_hook = lose;
    struct tide_log_options o = options(5, 0);
    o.payload = 64 << 10;
    struct part first = closed(o, -EIO);
    ck_assert_str_eq(words(), "the log is closed, and perhaps not on its medium: batches: 5");
    boot_again(&first);
    ck_assert_int_eq(tide_log_open(&first.log, first.region), -EUCLEAN);
    leave(&(struct part){.region = first.region});
}
END_TEST

START_TEST(what_a_node_has_is_not_removed)
{
    struct part first = made(options(5, LEASE)), node;
    struct tide_log_claim claim;
    ck_assert_int_eq(attach(&node, 1, 0, PATIENCE), 0);
    ck_assert_int_eq(open_client(&node, 2, 0), 0);
    ck_assert_int_eq(tide_log_start(node.log, -1), 0); /* which keeps the node */
    ck_assert_int_eq(tide_log_claim(node.client, 0, 64, PATIENCE, &claim), 0);
    ck_assert_int_eq(tide_log_remove(first.region), -EBUSY);
    ck_assert_int_eq(tide_log_close(first.log), 0);
    ck_assert_int_eq(tide_log_remove(first.region), -EBUSY);
    ck_assert_str_eq(words(), "somebody has node: 1");
    memcpy(tide_log_put(&claim, 8, 0), "12345678", 8);
    ck_assert_int_eq(tide_log_commit(&claim, NULL), 0);
    /* One that was fenced may be writing still. */
    ck_assert_int_eq(tide_log_open(&first.log, first.region), 0);
    ck_assert_int_eq(tide_log_expel(first.log, 1), 0);
    ck_assert_int_eq(tide_log_close(first.log), 0);
    ck_assert_int_eq(tide_log_remove(first.region), -EBUSY);
    ck_assert_int_eq(tide_log_open(&first.log, first.region), 0);
    ck_assert_int_eq(tide_log_start(first.log, -1), 0);
    struct part other;
    ck_assert_int_eq(attach(&other, 1, 0, PATIENCE), 0); /* when a lease is over */
    leave(&other);
    ck_assert_int_eq(tide_log_close(first.log), 0);
    ck_assert_int_eq(tide_log_remove(first.region), 0);
    ck_assert_int_eq(attach(&other, 1, 0, PATIENCE), -ENOENT);
    ck_assert_int_eq(send(&node, 0, 1), -ESTALE);
    leave(&node);
    ck_assert_int_eq(tide_region_close(first.region), 0);
}
END_TEST

/* The sequencer's beat is all that another host shows of it. */
START_TEST(where_somebody_leads_it_is_not_removed)
{
    struct part first = made(options(5, LEASE));
    uint64_t *area = tide_region_area(first.region, TIDE_REGION_AREA_LOG);
    ck_assert_int_eq(tide_log_close(first.log), 0);
    struct tide_lanes_head *head = (void *)((char *)area - 4096 + area[3]);
    ck_assert_uint_eq(head->magic, TIDE_LANES_MAGIC);
    atomic_store(&head->lead_way, TIDE_LANECREW_BID);
    atomic_store(&head->lead, 77);
    pid_t child = fork();
    while (child == 0) {
        atomic_fetch_add(&head->lead_beat, 1);
        usleep(10000);
    }
    ck_assert_int_eq(tide_log_remove(first.region), -EBUSY);
    ck_assert_str_eq(words(), "there is a sequencer");
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    ck_assert_int_eq(tide_log_remove(first.region), 0); /* a lease later */
    ck_assert_uint_eq(head->magic, 0);
    ck_assert_int_eq(tide_region_close(first.region), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("loghosts_closed");
    TCase *tcase = tcase_create("loghosts_closed");
    tcase_add_checked_fixture(tcase, unit_files_setup, unit_files_teardown);
    tcase_add_test(tcase, a_sequencer_that_closes_leaves_nothing_without_a_place);
    tcase_add_test(tcase, what_was_closed_is_there_in_another_boot);
    tcase_add_test(tcase, what_others_have_is_not_closed);
    tcase_add_test(tcase, what_the_medium_did_not_take_is_not_closed);
    tcase_add_test(tcase, what_a_node_has_is_not_removed);
    tcase_add_test(tcase, where_somebody_leads_it_is_not_removed);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
