/* test_loghosts.c - a log in lanes that several processes have: nodes, leases, the sequencer. */
#include "log_history.h"
#include "log_parts.h"

enum { EVENTS = 100000, BATCHES = 300 };

static struct part self;

START_TEST(roles_are_looked_at)
{
    struct tide_log_options o = options(5, 0), one = options(5, 0);
    struct part first = made(o), other;
    ck_assert_int_eq(attach(&other, 0, 0, PATIENCE), -EINVAL);
    ck_assert_str_eq(words(), "node: 0, allowed: 1 to 3");
    ck_assert_int_eq(attach(&other, NODES, 0, PATIENCE), -EINVAL);
    ck_assert_int_eq(attach(&other, 1, 2, PATIENCE), -EINVAL);
    ck_assert_int_eq(attach(&other, 1, 0, PATIENCE), 0);
    struct tide_log_role role = {2, 0};
    ck_assert_int_eq(tide_log_attach(&first.log, other.region, &role, PATIENCE), -EBUSY);
    /* Whose are which clients and readers. */
    ck_assert_int_eq(open_client(&other, 1, 0), -EINVAL);
    ck_assert_str_eq(words(), "client id: 1, allowed: 2 to 3");
    ck_assert_int_eq(open_client(&other, 4, 0), -EINVAL);
    ck_assert_int_eq(open_client(&other, 3, 0), 0);
    ck_assert_int_eq(tide_log_reader_open(&other.reader, other.log, NULL), 0);
    tide_log_reader_t *more;
    ck_assert_int_eq(tide_log_reader_open(&more, other.log, NULL), -ENFILE);
    /* What is the sequencer's alone. */
    ck_assert_int_eq(tide_log_trim(other.log, 0, 1, NULL), -ENOTSUP);
    ck_assert_int_eq(tide_log_expel(other.log, 0), -ENOTSUP);
    ck_assert_int_eq(tide_log_expel(first.log, 0), -ESRCH);
    ck_assert_int_eq(tide_log_expel(first.log, 2), -ESRCH);
    ck_assert_int_eq(tide_log_poll(other.log), 0);
    leave(&other);
    ck_assert_int_eq(tide_log_close(first.log), 0);
    ck_assert_int_eq(attach(&other, 1, 0, TIDE_LOG_TRY), -EAGAIN); /* who should answer? */
    ck_assert_int_eq(attach(&other, 1, 0, SECOND / 50), -ETIMEDOUT);
    ck_assert_int_eq(tide_log_remove(first.region), 0);
    ck_assert_int_eq(attach(&other, 1, 0, PATIENCE), -ENOENT);
    one.nodes = 1;
    ck_assert_int_eq(tide_log_create_on(&first.log, first.region, &one), 0);
    ck_assert_int_eq(attach(&other, 1, 0, PATIENCE), -EINVAL);
    ck_assert_str_eq(words(), "nodes that the log was made with: 1, allowed: 2 to 32");
    ck_assert_int_eq(tide_log_close(first.log), 0);
    ck_assert_int_eq(tide_log_remove(first.region), 0);
    o = (struct tide_log_options){.level = 5, .payload = 4096, .slots = 16};
    ck_assert_int_eq(tide_log_create_on(&first.log, first.region, &o), 0);
    ck_assert_int_eq(attach(&other, 1, 0, PATIENCE), -EPROTO);
    leave(&first);
    ck_assert_int_eq(tide_log_attach(&first.log, NULL, &role, PATIENCE), -ESTALE);
}
END_TEST

START_TEST(bad_wishes_are_refused)
{
    tide_log_t *log;
    struct tide_log_options o = options(5, 1);
    ck_assert_int_eq(tide_log_create(&log, &o), -EINVAL);
    o = options(5, 3601 * (uint64_t)SECOND);
    ck_assert_int_eq(tide_log_create(&log, &o), -EINVAL);
    o = options(5, 0);
    o.nodes = 33;
    ck_assert_int_eq(tide_log_create(&log, &o), -EINVAL);
    o.nodes = 3;
    ck_assert_int_eq(tide_log_create(&log, &o), -EINVAL);
    ck_assert_str_eq(words(), "clients beyond as many for each node: 2, allowed: 0 to 0");
    o = (struct tide_log_options)TIDE_LOG_OPTIONS;
    o.nodes = 2;
    ck_assert_int_eq(tide_log_create(&log, &o), -EINVAL);
    o.nodes = 0;
    o.lease = 1;
    ck_assert_int_eq(tide_log_create(&log, &o), -EINVAL);
}
END_TEST

START_TEST(a_node_that_is_held_is_refused_until_it_is_closed)
{
    struct part first = made(options(5, 0)), node, second;
    ck_assert_int_eq(attach(&node, 1, 0, PATIENCE), 0);
    ck_assert_int_eq(attach(&second, 1, 0, PATIENCE), -EBUSY);
    ck_assert_str_eq(words(), "somebody has node: 1");
    ck_assert_int_eq(open_client(&node, 2, TIDE_LOG_ACK_ORDERED), 0);
    ck_assert_int_eq(send(&node, 0, 7), 0);
    leave(&node);
    ck_assert_int_eq(attach(&second, 1, 0, PATIENCE), 0); /* at once */
    ck_assert_int_eq(tide_log_reader_open(&second.reader, second.log, NULL), 0);
    ck_assert_uint_eq(next(&second, PATIENCE), 7);
    struct tide_log_stat stat;
    ck_assert_int_eq(tide_log_stat(second.log, &stat), 0);
    ck_assert_uint_eq(stat.committed, 1);
    ck_assert_uint_eq(stat.messages, 1);
    leave(&second);
    leave(&first);
}
END_TEST

START_TEST(who_is_expelled_is_told_so_and_holds_nobody_back)
{
    struct part first = made(options(5, 4 * SECOND)), node;
    struct tide_log_claim claim;
    ck_assert_int_eq(attach(&node, 2, 0, PATIENCE), 0);
    ck_assert_int_eq(open_client(&node, 4, 0), 0);
    ck_assert_int_eq(tide_log_reader_open(&node.reader, node.log, NULL), 0);
    ck_assert_int_eq(tide_log_claim(node.client, 1, 64, PATIENCE, &claim), 0);
    memcpy(tide_log_put(&claim, 8, 0), "12345678", 8);
    ck_assert_int_eq(tide_log_expel(first.log, 2), 0);
    /* It finds out in less than a lease, whatever it does. */
    while (tide_log_poll(node.log) == 0)
        usleep(1000);
    ck_assert_str_eq(words(), "this process has lost its node of the log");
    ck_assert_int_eq(tide_log_commit(&claim, NULL), -ESTALE);
    ck_assert_int_eq(send(&node, 0, 1), -ESTALE);
    ck_assert_uint_eq(next(&node, PATIENCE), UINT64_MAX);
    ck_assert_int_eq(tide_log_done(node.reader), -ESTALE);
    tide_log_reader_t *more;
    ck_assert_int_eq(tide_log_reader_open(&more, node.log, NULL), -ESTALE);
    /* More than the lanes hold: the reader of the node gates no more. */
    ck_assert_int_eq(open_client(&first, 0, TIDE_LOG_ACK_ORDERED), 0);
    ck_assert_int_eq(tide_log_reader_open(&first.reader, first.log, NULL), 0);
    for (uint64_t i = 0; i < 100; i++) {
        ck_assert_int_eq(send(&first, i % 2, i), 0);
        ck_assert_uint_eq(next(&first, PATIENCE), i);
    }
    leave(&node);
    ck_assert_int_eq(attach(&node, 2, 0, PATIENCE), 0); /* when a lease is over */
    leave(&node);
    leave(&first);
}
END_TEST

/* Nobody keeps for it any more what it was about to read: that is no damage. */
START_TEST(a_reader_of_a_lost_node_is_told_so)
{
    struct tide_log_options o = options(5, 60 * SECOND);
    o.retain = TIDE_LOG_KEEP_RECENT;
    struct part first = made(o), node;
    unsigned char large[4000] = {0};
    ck_assert_int_eq(attach(&node, 2, 0, PATIENCE), 0);
    ck_assert_int_eq(tide_log_reader_open(&node.reader, node.log, NULL), 0);
    ck_assert_int_eq(open_client(&first, 0, TIDE_LOG_ACK_ORDERED), 0);
    ck_assert_int_eq(tide_log_expel(first.log, 2), 0);
    for (int i = 0; i < 8; i++) { /* twice what the lane holds */
        memset(large, i + 1, sizeof large);
        ck_assert_int_eq(tide_log_append(first.client, 0, large, sizeof large, PATIENCE, NULL), 0);
    }
    struct tide_log_batch batch;
    ck_assert_int_eq(tide_log_read(node.reader, &batch, 1, PATIENCE), -ESTALE);
    ck_assert_str_eq(words(), "this process has lost its node of the log");
    leave(&node);
    leave(&first);
}
END_TEST

/* --- processes ----------------------------------------------------------------------------- */

/* Shared by all. */
static struct crowd {
    struct log_history history;
    _Atomic int producing, ready;
    _Atomic bool go;
    struct log_event event[EVENTS];
} * crowd;

static void crowd_make(unsigned level)
{
    crowd = mmap(NULL, sizeof *crowd, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert(crowd != MAP_FAILED);
    crowd->history = (struct log_history){.event = crowd->event, .room = EVENTS, .level = level};
}

static pid_t start(void (*body)(unsigned), unsigned node)
{
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        body(node);
        _exit(0);
    }
    return child;
}

static void ends_well(pid_t child)
{
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
}

static void join(unsigned node)
{
    UNIT_NEED(attach(&self, node, 0, PATIENCE) == 0);
}

/* Sends a batch, and notes what becomes of it. False: the client was fenced. */
static bool note_send(unsigned id, unsigned broker, uint64_t number)
{
    uint64_t ref = log_note(&crowd->history, (struct log_event){.kind = LOG_INVOKE,
                                                                .client = (uint8_t)id,
                                                                .broker = (uint8_t)broker,
                                                                .count = 1,
                                                                .number = number});
    int error = send(&self, broker, ref);
    UNIT_NEED(error == 0 || error == -ESTALE);
    if (error == 0)
        log_note(&crowd->history, (struct log_event){.kind = LOG_TAKEN, .ref = ref});
    return error == 0;
}

static void produce(unsigned node)
{
    unsigned id = 2 * node + 1;
    join(node);
    UNIT_NEED(open_client(&self, id, node % 2 ? TIDE_LOG_ACK_ORDERED : TIDE_LOG_ACK_NONE) == 0);
    atomic_fetch_add(&crowd->ready, 1);
    for (uint64_t i = 0; i < BATCHES; i++)
        UNIT_NEED(note_send(id, (unsigned)(i / 3) % 2, i));
    leave(&self);
    atomic_fetch_sub(&crowd->producing, 1);
}

static void note_read(uint8_t who, const struct tide_log_batch *batch)
{
    uint64_t ref = UINT64_MAX;
    size_t at = 0;
    const struct tide_log_frame *frame = tide_log_next(batch, &at);
    UNIT_NEED(frame != NULL && frame->length == sizeof ref);
    memcpy(&ref, frame + 1, sizeof ref);
    UNIT_NEED(ref < atomic_load(&crowd->history.count));
    log_note(&crowd->history, (struct log_event){.kind = LOG_READ,
                                                 .who = who,
                                                 .client = (uint8_t)batch->client,
                                                 .broker = (uint8_t)batch->broker,
                                                 .whole = 1,
                                                 .count = batch->count,
                                                 .number = batch->number,
                                                 .position = batch->position,
                                                 .base = batch->base,
                                                 .ref = ref});
}

/* Reads until nobody produces and all is read. */
static void consume(unsigned node)
{
    struct tide_log_batch batch[4];
    uint64_t seen = 0;
    join(node);
    UNIT_NEED(tide_log_reader_open(&self.reader, self.log, NULL) == 0);
    atomic_fetch_add(&crowd->ready, 1);
    while (atomic_load(&crowd->producing) > 0 || seen < tide_log_committed(self.log)) {
        int got = tide_log_read(self.reader, batch, 4, SECOND / 20);
        UNIT_NEED(got > 0 || got == -ETIMEDOUT);
        for (int i = 0; i < got; i++, seen++)
            note_read((uint8_t)node, &batch[i]);
    }
    log_note(&crowd->history,
             (struct log_event){.kind = LOG_END, .who = (uint8_t)node, .position = seen});
    leave(&self);
}

static void holds(tide_log_t *log, uint64_t least)
{
    struct tide_log_stat stat;
    /* Who asked for no acknowledgement may have ended before the sequencer saw its last batch. */
    ck_assert_int_eq(tide_log_wait_committed(log, least - 1, PATIENCE), 0);
    ck_assert_int_eq(tide_log_stat(log, &stat), 0);
    ck_assert_uint_ge(stat.committed, least);
    crowd->history.taken = stat.taken;
    crowd->history.messages = stat.messages;
    const char *broken = log_check(&crowd->history);
    ck_assert_msg(broken == NULL, "%s", broken);
}

START_TEST(processes_have_one_log)
{
    unsigned level = _i == 0 ? 4 : 5;
    crowd_make(level);
    crowd->producing = 2;
    struct part first = made(options(level, 60 * SECOND));
    pid_t reader = start(consume, 3);
    pid_t producer[2] = {start(produce, 1), start(produce, 2)};
    ends_well(producer[0]);
    ends_well(producer[1]);
    ends_well(reader);
    holds(first.log, 2 * BATCHES);
    leave(&first);
}
END_TEST

/* Has the log until it is killed: a reader that does not go on, and batches that wait. */
static void hold_up(unsigned node)
{
    struct tide_log_batch batch;
    while (!atomic_load(&crowd->go))
        usleep(1000);
    join(node);
    UNIT_NEED(open_client(&self, 2 * node, TIDE_LOG_ACK_NONE) == 0);
    UNIT_NEED(tide_log_reader_open(&self.reader, self.log, NULL) == 0);
    UNIT_NEED(tide_log_start(self.log, -1) == 0); /* which keeps the node */
    UNIT_NEED(send(&self, 0, 1) == 0);
    UNIT_NEED(tide_log_read(self.reader, &batch, 1, PATIENCE) == 1);
    UNIT_NEED(tide_log_set_number(self.client, 5) == 0);
    UNIT_NEED(send(&self, 0, 2) == 0); /* waits for four others */
    atomic_fetch_add(&crowd->ready, 1);
    for (;;)
        pause();
}

START_TEST(a_process_that_is_killed_is_fenced_after_a_lease)
{
    struct tide_log_options o = options(4, 2 * SECOND);
    int status;
    struct part node;
    o.retain = TIDE_LOG_KEEP_RECENT;
    crowd_make(4);
    name_file();
    pid_t child = start(hold_up, 1); /* before there are threads: it will have one, too */
    struct part first = made(o);
    atomic_store(&crowd->go, true);
    while (atomic_load(&crowd->ready) == 0)
        usleep(1000);
    usleep(3000000); /* more than a lease: its thread keeps it */
    ck_assert_int_eq(attach(&node, 1, 0, PATIENCE), -EBUSY);
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    ck_assert_int_eq(open_client(&first, 0, TIDE_LOG_ACK_ORDERED), 0);
    for (uint64_t i = 0; i < 100; i++) /* the dead reader holds them up for a while */
        ck_assert_int_eq(send(&first, i % 2, i), 0);
    while (attach(&node, 1, 0, PATIENCE) == -EBUSY)
        usleep(1000);
    ck_assert_int_eq(open_client(&node, 2, TIDE_LOG_ACK_ORDERED), 0);
    uint64_t expected;
    ck_assert_int_eq(tide_log_acked(node.client, &expected), 0);
    ck_assert_uint_eq(expected, 1);
    ck_assert_int_eq(send(&node, 1, 3), 0);
    leave(&node);
    leave(&first);
}
END_TEST

/* The sequencer, which ends in the middle of it. */
static void sequence(unsigned unused)
{
    (void)unused;
    struct part part = made(options(4, 2 * SECOND));
    atomic_store(&crowd->go, true);
    while (tide_log_committed(part.log) < BATCHES / 2)
        usleep(100);
    kill(getpid(), SIGKILL);
}

START_TEST(a_sequencer_that_is_killed_is_followed)
{
    struct part next_one, more;
    int status;
    crowd_make(4);
    crowd->producing = 1;
    name_file();
    pid_t child = start(sequence, 0);
    while (!atomic_load(&crowd->go))
        usleep(1000);
    pid_t reader = start(consume, 3), producer = start(produce, 1);
    /* While it lives, nobody gets there; when it is dead, one does. */
    ck_assert_int_eq(attach(&next_one, 2, 1, TIDE_LOG_TRY), -EAGAIN);
    waitpid(child, &status, 0);
    ck_assert_int_eq(WTERMSIG(status), SIGKILL);
    while (attach(&next_one, 2, 1, PATIENCE) == -EBUSY)
        ;
    ck_assert_int_eq(tide_log_start(next_one.log, -1), 0);
    ck_assert_int_eq(attach(&more, 2, 1, PATIENCE), -EBUSY);
    /* Nobody is beside it on its host, but it is not the room's. */
    more.region = region_opened(text);
    ck_assert_int_eq(tide_log_open(&more.log, more.region), -EBUSY);
    ck_assert_str_eq(words(), "the sequencer is a process that attached");
    ends_well(producer);
    ends_well(reader);
    holds(next_one.log, BATCHES);
    leave(&next_one);
    ck_assert_int_eq(tide_log_open(&more.log, more.region), 0);
    ck_assert_uint_ge(tide_log_committed(more.log), BATCHES);
    leave(&more);
}
END_TEST

START_TEST(who_opens_it_on_the_same_host_follows_at_once)
{
    struct part again;
    int status;
    crowd_make(4);
    crowd->producing = 1;
    name_file();
    pid_t child = start(sequence, 0);
    while (!atomic_load(&crowd->go))
        usleep(1000);
    again.region = region_opened(text);
    ck_assert_int_eq(tide_log_open(&again.log, again.region), -EBUSY);
    pid_t reader = start(consume, 3), producer = start(produce, 1);
    waitpid(child, &status, 0);
    ck_assert_int_eq(tide_log_open(&again.log, again.region), 0);
    again.client = NULL;
    again.reader = NULL;
    ck_assert_int_eq(tide_log_start(again.log, -1), 0);
    ends_well(producer);
    ends_well(reader);
    holds(again.log, BATCHES);
    leave(&again);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("loghosts");
    TCase *tcase = tcase_create("loghosts");
    tcase_add_checked_fixture(tcase, unit_files_setup, unit_files_teardown);
    tcase_add_test(tcase, roles_are_looked_at);
    tcase_add_test(tcase, bad_wishes_are_refused);
    tcase_add_test(tcase, a_node_that_is_held_is_refused_until_it_is_closed);
    tcase_add_test(tcase, a_reader_of_a_lost_node_is_told_so);
    tcase_add_test(tcase, who_is_expelled_is_told_so_and_holds_nobody_back);
    tcase_add_loop_test(tcase, processes_have_one_log, 0, 2);
    tcase_add_test(tcase, a_process_that_is_killed_is_fenced_after_a_lease);
    tcase_add_test(tcase, a_sequencer_that_is_killed_is_followed);
    tcase_add_test(tcase, who_opens_it_on_the_same_host_follows_at_once);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
