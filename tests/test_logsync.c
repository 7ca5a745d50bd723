/* test_logsync.c - acknowledgements as programs see them: none, ordered, durable. */
#include "log_disk.h"
#include "region_case.h"

#include <pthread.h>

#include <tidepool/log.h>

#include "box/logroom.h"
#include "box/medium.h"

static tide_region_t *region;
static tide_log_t *log_;
static tide_log_client_t *client;

static struct tide_log_options small(unsigned level)
{
    struct tide_log_options options = TIDE_LOG_OPTIONS;
    options.level = level;
    options.brokers = 2;
    options.slots = 64;
    options.payload = 256 << 10;
    options.checksum = 1;
    return options;
}

static void make_on(const char *text, unsigned level, unsigned sequencing)
{
    struct tide_log_options options = small(level);
    options.sequencing = sequencing;
    region = region_made(text, REGION_SIZE, TIDE_REGION_REPLACE);
    UNIT_NEED(tide_log_create_on(&log_, region, &options) == 0);
}

static void open_client(unsigned ack)
{
    struct tide_log_client_options options = {.id = 1, .ack = ack};
    UNIT_NEED(tide_log_client_open(&client, log_, &options) == 0);
}

static void drop(void)
{
    UNIT_NEED(tide_log_client_close(client) == 0);
    UNIT_NEED(tide_log_close(log_) == 0);
    UNIT_NEED(tide_region_close(region) == 0);
}

static void says(const char *want)
{
    char text[256];
    tide_log_explain(text, sizeof text);
    ck_assert_msg(strstr(text, want) != NULL, "said: %s", text);
}

static int append(int64_t timeout, struct tide_log_at *at)
{
    return tide_log_append(client, 0, "x", 1, timeout, at);
}

/* --- where nothing can be durable --------------------------------------------------------- */

static void refused(int error, const char *words)
{
    struct tide_log_client_options options = {.ack = TIDE_LOG_ACK_DURABLE};
    ck_assert_int_eq(tide_log_sync(log_), error);
    says(words);
    ck_assert_int_eq(tide_log_wait_durable(log_, 0, TIDE_LOG_BLOCK), error);
    ck_assert_int_eq(tide_log_client_open(&client, log_, &options), error);
    says(words);
    ck_assert_uint_eq(tide_log_durable(log_), 0);
}

START_TEST(what_has_no_medium)
{
    struct tide_log_options options = small(5);
    const char *text = region_text(_i);
    ck_assert_int_eq(tide_log_create(&log_, &options), 0);
    refused(-ENOTSUP, "not durable: the log is in no region");
    ck_assert_int_eq(tide_log_close(log_), 0);
    if (text == NULL || (!region_sources[_i].tmpfs && region_sources[_i].again))
        return;
    make_on(text, 5, 0);
    refused(-ENOTSUP, region_sources[_i].shared ? "a file in memory ends with the machine"
                                                : "private memory ends with the process");
    open_client(TIDE_LOG_ACK_ORDERED); /* that is possible anywhere */
    ck_assert_int_eq(append(TIDE_LOG_TRY, NULL), 0);
    drop();
}
END_TEST

START_TEST(what_has_no_checksums)
{
    struct tide_log_options options = small(5);
    options.checksum = 0;
    region = region_made(log_disk_region(), REGION_SIZE, TIDE_REGION_REPLACE);
    ck_assert_int_eq(tide_log_create_on(&log_, region, &options), 0);
    refused(-ENOTSUP, "not durable: the log has no checksums");
    open_client(TIDE_LOG_ACK_ORDERED);
    ck_assert_int_eq(append(TIDE_LOG_TRY, NULL), 0);
    drop();
    unlink(log_disk_region() + 5);
}
END_TEST

START_TEST(level_0_has_no_commits)
{
    struct tide_log_client_options options = {.ack = TIDE_LOG_ACK_ORDERED};
    make_on(log_disk_region(), 0, 0);
    refused(-EINVAL, "commits at order level: 0");
    ck_assert_int_eq(tide_log_client_open(&client, log_, &options), -EINVAL);
    options.ack = 3;
    ck_assert_int_eq(tide_log_client_open(&client, log_, &options), -EINVAL);
    says("acknowledgement: 3, allowed: 0 to 2");
    open_client(TIDE_LOG_ACK_NONE);
    ck_assert_int_eq(append(TIDE_LOG_TRY, NULL), 0);
    drop();
    unlink(log_disk_region() + 5);
}
END_TEST

/* --- syncs -------------------------------------------------------------------------------- */

START_TEST(a_count_that_grows_by_syncs)
{
    make_on(log_disk_region(), 5, 0);
    const char *path = region_told(region).source + 5;
    open_client(TIDE_LOG_ACK_NONE);
    ck_assert_uint_eq(tide_log_durable(log_), 0);
    ck_assert_int_eq(tide_log_sync(log_), 0); /* of nothing */
    ck_assert_int_eq(tide_log_wait_durable(log_, 0, 1000), -ETIMEDOUT);
    ck_assert_int_eq(append(TIDE_LOG_TRY, NULL), 0);
    ck_assert_uint_eq(tide_log_durable(log_), 0);
    ck_assert_int_eq(tide_log_wait_durable(log_, 0, TIDE_LOG_TRY), -EAGAIN);
    says("not durable yet: position: 0");
    ck_assert_uint_eq(tide_log_durable(log_), 0);
    ck_assert_int_eq(tide_log_sync(log_), 0);
    ck_assert_uint_eq(tide_log_durable(log_), 1);
    ck_assert_int_eq(append(TIDE_LOG_TRY, NULL), 0);
    ck_assert_int_eq(append(TIDE_LOG_TRY, NULL), 0);
    ck_assert_int_eq(tide_log_wait_durable(log_, 0, TIDE_LOG_TRY), 0);
    ck_assert_int_eq(tide_log_wait_durable(log_, 1, TIDE_LOG_BLOCK), 0);
    ck_assert_uint_eq(tide_log_durable(log_), 3);
    ck_assert_int_eq(append(TIDE_LOG_TRY, NULL), 0);
    char text[300];
    snprintf(text, sizeof text, "file:%s", path);
    drop();
    region = region_opened(text); /* closing made the rest durable */
    ck_assert_int_eq(tide_log_open(&log_, region), 0);
    ck_assert_uint_eq(tide_log_durable(log_), 4);
    open_client(TIDE_LOG_ACK_DURABLE);
    ck_assert_int_eq(append(TIDE_LOG_BLOCK, NULL), 0);
    ck_assert_uint_eq(tide_log_durable(log_), 5);
    pid_t child = fork();
    if (child == 0) {
        UNIT_NEED(tide_log_sync(log_) == -ESTALE && tide_log_durable(log_) == 0);
        UNIT_NEED(tide_log_wait_durable(log_, 0, TIDE_LOG_BLOCK) == -ESTALE);
        _exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    ck_assert_int_eq(status, 0);
    unlink(path);
    drop();
}
END_TEST

/* The first sync stands still until all have appended; then one sync is for all of them. */
enum { WAITERS = 8 };
static _Atomic int appended;
static int writes;

static int stand_still(const void *at, size_t bytes)
{
    (void)bytes;
    writes += at != NULL;
    while (atomic_load(&appended) < WAITERS)
        usleep(100);
    return 0;
}

static void *append_and_wait(void *unused)
{
    struct tide_log_at at;
    tide_log_client_t *mine;
    (void)unused;
    UNIT_NEED(tide_log_client_open(&mine, log_, NULL) == 0);
    UNIT_NEED(tide_log_append(mine, 1, "y", 1, TIDE_LOG_BLOCK, &at) == 0);
    if (atomic_fetch_add(&appended, 1) != 0) /* the first one syncs alone */
        while (atomic_load(&appended) < WAITERS)
            usleep(100);
    UNIT_NEED(tide_log_wait_durable(log_, at.position, TIDE_LOG_BLOCK) == 0);
    UNIT_NEED(tide_log_durable(log_) > at.position);
    UNIT_NEED(tide_log_client_close(mine) == 0);
    return NULL;
}

START_TEST(one_sync_for_many)
{
    pthread_t thread[WAITERS];
    make_on(log_disk_region(), 5, 0);
    const char *path = region_told(region).source + 5;
    open_client(TIDE_LOG_ACK_NONE);
    tide_medium_hook = stand_still;
    for (int i = 0; i < WAITERS; i++)
        ck_assert_int_eq(pthread_create(&thread[i], NULL, append_and_wait, NULL), 0);
    for (int i = 0; i < WAITERS; i++)
        pthread_join(thread[i], NULL);
    tide_medium_hook = NULL;
    ck_assert_uint_eq(tide_log_durable(log_), WAITERS);
    ck_assert_int_le(writes, 3 * 2); /* three writes each, for at most two syncs */
    unlink(path);
    drop();
}
END_TEST

/* That a log is open is on the medium before anything of it changes. */
static int opened_first;

static int watch_opening(const void *at, size_t bytes)
{
    const char *area = tide_region_area(region, TIDE_REGION_AREA_LOG);
    uint64_t state;
    if (at == NULL || (const char *)at > area || (const char *)at + bytes < area + 4096)
        return 0;
    memcpy(&state, area + 256, sizeof state); /* see logroom.h */
    opened_first = state == 1 ? 1 : opened_first;
    return 0;
}

START_TEST(that_it_is_open_is_known)
{
    make_on(log_disk_region(), 5, 0);
    ck_assert_int_eq(tide_log_close(log_), 0);
    tide_medium_hook = watch_opening;
    ck_assert_int_eq(tide_log_open(&log_, region), 0);
    ck_assert_int_eq(opened_first, 1);
    tide_medium_hook = NULL;
    open_client(TIDE_LOG_ACK_NONE);
    unlink(region_told(region).source + 5);
    drop();
}
END_TEST

static int refuse_all(const void *at, size_t bytes)
{
    (void)bytes;
    return at != NULL ? -EIO : 0;
}

START_TEST(a_medium_that_fails)
{
    char path[300];
    make_on(log_disk_region(), 5, 0);
    snprintf(path, sizeof path, "%s", region_told(region).source + 5);
    open_client(TIDE_LOG_ACK_DURABLE);
    ck_assert_int_eq(append(TIDE_LOG_BLOCK, NULL), 0);
    tide_medium_hook = refuse_all;
    ck_assert_int_eq(append(TIDE_LOG_BLOCK, NULL), -EIO);
    says("the medium failed; durable batches: 1");
    tide_medium_hook = NULL;
    ck_assert_int_eq(tide_log_sync(log_), -EIO); /* from now on */
    ck_assert_int_eq(append(TIDE_LOG_BLOCK, NULL), -EIO);
    ck_assert_uint_eq(tide_log_committed(log_), 3); /* the log itself goes on */
    ck_assert_int_eq(tide_log_client_close(client), 0);
    ck_assert_int_eq(tide_log_close(log_), -EIO);
    says("perhaps not on its medium: batches: 1");
    ck_assert_int_eq(tide_log_open(&log_, region), 0);
    ck_assert_uint_eq(tide_log_committed(log_), 3);
    ck_assert_int_eq(tide_log_close(log_), 0);
    ck_assert_int_eq(tide_region_close(region), 0);
    unlink(path);
}
END_TEST

/* --- appends with acknowledgements -------------------------------------------------------- */

/* Every sequencing and both levels: an append is back when what it asked for is so. */
static void acked(unsigned level, unsigned sequencing, unsigned ack)
{
    struct tide_log_message two[2] = {{"a", 1, 1}, {"b", 1, 2}};
    struct tide_log_claim claim;
    struct tide_log_at at;
    make_on(log_disk_region(), level, sequencing);
    if (sequencing == TIDE_LOG_STEPPED)
        ck_assert_int_eq(tide_log_start(log_, -1), 0);
    open_client(ack);
    for (uint64_t i = 1; i <= 12; i += 3) {
        ck_assert_int_eq(append(TIDE_LOG_BLOCK, &at), 0);
        ck_assert_uint_eq(tide_log_committed(log_), i);
        ck_assert_int_eq(tide_log_append_batch(client, 1, two, 2, TIDE_LOG_BLOCK, &at), 0);
        ck_assert_uint_eq(tide_log_committed(log_), i + 1);
        ck_assert_int_eq(tide_log_claim(client, 1, 64, INT64_MAX / 2, &claim), 0);
        ck_assert_ptr_nonnull(tide_log_put(&claim, 8, 5));
        ck_assert_int_eq(tide_log_commit(&claim, &at), 0);
        ck_assert_uint_eq(tide_log_committed(log_), i + 2);
        ck_assert_uint_eq(tide_log_durable(log_), ack == TIDE_LOG_ACK_DURABLE ? i + 2 : 0);
    }
    unlink(region_told(region).source + 5);
    drop();
}

/* As if others repaired it for ever. */
static void disturb(void)
{
    atomic_fetch_or(&tide_logroom_of(region)->generation, 1);
}

/* -EBUSY would say that it is open, and may be closed again. */
START_TEST(what_is_closed_is_not_busy)
{
    char text[300];
    snprintf(text, sizeof text, "file:%s/region", unit_disk);
    make_on(text, 5, TIDE_LOG_INLINE);
    open_client(TIDE_LOG_ACK_NONE);
    ck_assert_int_eq(append(TIDE_LOG_TRY, NULL), 0);
    ck_assert_int_eq(tide_log_client_close(client), 0);
    tide_coh_hook = disturb;
    int error = tide_log_close(log_);
    tide_coh_hook = NULL;
    ck_assert_int_eq(error, -EIO);
    says("the log is closed, and perhaps not on its medium");
    ck_assert_int_eq(tide_log_open(&log_, region), 0);
    ck_assert_uint_eq(tide_log_committed(log_), 1);
    ck_assert_int_eq(tide_log_close(log_), 0);
    ck_assert_int_eq(tide_region_close(region), 0);
}
END_TEST

START_TEST(an_append_is_back_when_it_may_be)
{
    acked(_i & 1 ? 4 : 5, _i & 2 ? TIDE_LOG_STEPPED : TIDE_LOG_INLINE,
          _i & 4 ? TIDE_LOG_ACK_DURABLE : TIDE_LOG_ACK_ORDERED);
}
END_TEST

/* Nobody gives places: the batch is in the log, and the answer says so. */
START_TEST(in_the_log_and_not_acknowledged)
{
    struct tide_log_at at = {0, 0, 99};
    make_on("anon", 5, TIDE_LOG_STEPPED);
    open_client(TIDE_LOG_ACK_ORDERED);
    ck_assert_int_eq(append(TIDE_LOG_TRY, &at), -EINPROGRESS);
    says("in the log, not acknowledged yet: number of a batch: 0");
    ck_assert_uint_eq(at.number, 0);
    ck_assert_int_eq(append(2000000, NULL), -EINPROGRESS);
    ck_assert_uint_eq(tide_log_committed(log_), 0);
    ck_assert_int_eq(tide_log_poll(log_), 2);
    ck_assert_uint_eq(tide_log_committed(log_), 2);
    drop();
}
END_TEST

/* Level 4: an early batch is acknowledged when those before it came, or never when its session
 * is opened anew. */
START_TEST(an_early_batch)
{
    struct tide_log_client_options join = {.id = 1, .join = 1, .ack = TIDE_LOG_ACK_ORDERED};
    tide_log_client_t *other;
    make_on("anon", 4, TIDE_LOG_INLINE);
    open_client(TIDE_LOG_ACK_ORDERED);
    ck_assert_int_eq(tide_log_client_open(&other, log_, &join), 0);
    ck_assert_int_eq(tide_log_set_number(other, 1), 0);
    ck_assert_int_eq(tide_log_append(other, 1, "b", 1, 1000000, NULL), -EINPROGRESS);
    ck_assert_int_eq(append(TIDE_LOG_TRY, NULL), 0);
    ck_assert_uint_eq(tide_log_committed(log_), 2);
    ck_assert_int_eq(tide_log_client_close(other), 0);
    drop();
}
END_TEST

/* A reader that gates, and a full ring: the time-out is for both. */
START_TEST(full_is_not_in_the_log)
{
    tide_log_reader_t *reader;
    make_on("anon", 5, TIDE_LOG_INLINE);
    open_client(TIDE_LOG_ACK_ORDERED);
    ck_assert_int_eq(tide_log_reader_open(&reader, log_, NULL), 0);
    for (int i = 0; i < 64; i++)
        ck_assert_int_eq(append(TIDE_LOG_TRY, NULL), 0);
    ck_assert_int_eq(append(TIDE_LOG_TRY, NULL), -EAGAIN);
    ck_assert_int_eq(append(1000000, NULL), -ETIMEDOUT);
    ck_assert_uint_eq(tide_log_committed(log_), 64);
    ck_assert_int_eq(tide_log_reader_close(reader), 0);
    drop();
}
END_TEST

/* --- killed ------------------------------------------------------------------------------- */

enum { THREADS = 3 };

/* Shared with the child: position + 1 of the last batch that each thread was told of. */
static _Atomic uint64_t *told;

static void *append_for_ever(void *argument)
{
    uint64_t who = (uint64_t)(uintptr_t)argument;
    struct tide_log_client_options options = {.id = (unsigned)who, .ack = TIDE_LOG_ACK_ORDERED};
    struct tide_log_at at;
    tide_log_client_t *mine;
    UNIT_NEED(tide_log_client_open(&mine, log_, &options) == 0);
    for (uint64_t number = 0;; number++) {
        uint64_t message[2] = {who, number};
        UNIT_NEED(tide_log_append(mine, (unsigned)number % 2, message, sizeof message,
                                  TIDE_LOG_BLOCK, &at) == 0);
        atomic_store(&told[2 * who + 1], at.position);
        atomic_store(&told[2 * who], number + 1);
    }
    return NULL;
}

static _Noreturn void be_killed(const char *text)
{
    pthread_t thread;
    struct tide_log_options options = small(5);
    options.retain = TIDE_LOG_KEEP_RECENT;
    options.slots = 4096;
    region = region_made(text, REGION_SIZE, TIDE_REGION_REPLACE);
    UNIT_NEED(tide_log_create_on(&log_, region, &options) == 0);
    for (uintptr_t i = 0; i < THREADS; i++)
        UNIT_NEED(pthread_create(&thread, NULL, append_for_ever, (void *)i) == 0);
    for (;;)
        pause();
}

/* What was acknowledged is where it was said to be: the position is that of this batch, or,
 * when the next one was told half, of that one. */
static void look_after(void)
{
    struct tide_log_batch batch;
    tide_log_reader_t *reader;
    for (uint64_t who = 0; who < THREADS; who++) {
        struct tide_log_reader_options from = {.start = TIDE_LOG_POSITION,
                                               .position = atomic_load(&told[2 * who + 1])};
        uint64_t number = atomic_load(&told[2 * who]), message[2];
        if (number == 0)
            continue;
        int error = tide_log_reader_open(&reader, log_, &from);
        if (error == -ERANGE) /* trimmed */
            continue;
        ck_assert_int_eq(error, 0);
        ck_assert_int_eq(tide_log_read(reader, &batch, 1, TIDE_LOG_TRY), 1);
        memcpy(message, batch.data + sizeof(struct tide_log_frame), sizeof message);
        ck_assert_uint_eq(message[0], who);
        ck_assert(message[1] == number - 1 || message[1] == number);
        ck_assert_int_eq(tide_log_reader_close(reader), 0);
    }
}

START_TEST(what_was_acknowledged_keeps_its_place)
{
    char text[300];
    int status;
    snprintf(text, sizeof text, "file:%s/region", unit_tmpfs[0] != '\0' ? unit_tmpfs : unit_disk);
    told = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 2 * THREADS; i++)
            atomic_store(&told[i], 0);
        pid_t child = fork();
        if (child == 0)
            be_killed(text);
        while (atomic_load(&told[0]) < 20 + 300u * (unsigned)round) {
            ck_assert_int_eq(waitpid(child, &status, WNOHANG), 0);
            usleep(200);
        }
        kill(child, SIGKILL);
        waitpid(child, &status, 0);
        region = region_opened(text);
        ck_assert_int_eq(tide_log_open(&log_, region), 0);
        look_after();
        ck_assert_int_eq(tide_log_close(log_), 0);
        ck_assert_int_eq(tide_region_close(region), 0);
    }
}
END_TEST

/* --- the machine stopped ------------------------------------------------------------------- */

/* A log that was open when its process ended, in an earlier boot; with three durable batches. */
static void leave_open(const char *text, unsigned level, unsigned checksum, bool other_boot)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        struct tide_log_options options = small(level);
        options.checksum = checksum;
        region = region_made(text, REGION_SIZE, TIDE_REGION_REPLACE);
        UNIT_NEED(tide_log_create_on(&log_, region, &options) == 0);
        open_client(TIDE_LOG_ACK_NONE);
        for (int i = 0; i < 5; i++) {
            UNIT_NEED(append(TIDE_LOG_TRY, NULL) == 0);
            UNIT_NEED(i != 2 || tide_log_sync(log_) == (checksum ? 0 : -ENOTSUP));
        }
        _exit(0);
    }
    waitpid(child, &status, 0);
    ck_assert_int_eq(status, 0);
    region = region_opened(text);
    uint64_t *boot = (uint64_t *)tide_region_area(region, TIDE_REGION_AREA_LOG) + 35;
    ck_assert_uint_ne(boot[0], 0); /* see logroom.h */
    boot[0] += other_boot;
}

START_TEST(an_outage)
{
    char text[4300];
    uint64_t next;
    snprintf(text, sizeof text, "%s", log_disk_region());
    leave_open(text, 5, 1, true);
    ck_assert_int_eq(tide_log_open(&log_, region), 0);
    ck_assert_uint_eq(tide_log_committed(log_), 5); /* here the medium has all of it */
    ck_assert_uint_eq(tide_log_durable(log_), 5);
    open_client(TIDE_LOG_ACK_DURABLE);
    ck_assert_int_eq(append(TIDE_LOG_BLOCK, NULL), 0);
    drop();
    leave_open(text, 5, 0, true);
    ck_assert_int_eq(tide_log_open(&log_, region), -EUCLEAN);
    says("with checksums at levels 4 and 5, and not of one at level: 5");
    ck_assert_int_eq(tide_log_open(&log_, region), -EUCLEAN); /* that is not forgotten */
    ck_assert_int_eq(tide_log_remove(region), 0);
    ck_assert_int_eq(tide_region_close(region), 0);
    leave_open(text, 4, 1, true);
    ck_assert_int_eq(tide_log_open(&log_, region), 0);
    ck_assert_uint_eq(tide_log_committed(log_), 5);
    open_client(TIDE_LOG_ACK_DURABLE);
    ck_assert_int_eq(tide_log_acked(client, &next), 0);
    ck_assert_uint_eq(next, 5);
    drop();
    leave_open(text, 4, 1, false); /* only the process ended */
    ck_assert_int_eq(tide_log_open(&log_, region), 0);
    ck_assert_uint_eq(tide_log_committed(log_), 5);
    ck_assert_uint_eq(tide_log_durable(log_), 5); /* the repair was synced */
    ck_assert_int_eq(tide_log_close(log_), 0);
    uint64_t *boot = (uint64_t *)tide_region_area(region, TIDE_REGION_AREA_LOG) + 35;
    boot[0]++; /* closed before: another boot is nothing */
    ck_assert_int_eq(tide_log_open(&log_, region), 0);
    ck_assert_int_eq(tide_log_close(log_), 0);
    ck_assert_int_eq(tide_region_close(region), 0);
    unlink(text + 5);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("logsync");
    TCase *tcase = tcase_create("logsync");
    tcase_add_checked_fixture(tcase, unit_files_setup, unit_files_teardown);
    tcase_add_loop_test(tcase, what_has_no_medium, 0, REGION_SOURCES);
    tcase_add_test(tcase, what_has_no_checksums);
    tcase_add_test(tcase, level_0_has_no_commits);
    tcase_add_test(tcase, a_count_that_grows_by_syncs);
    tcase_add_test(tcase, one_sync_for_many);
    tcase_add_test(tcase, that_it_is_open_is_known);
    tcase_add_test(tcase, a_medium_that_fails);
    tcase_add_test(tcase, what_is_closed_is_not_busy);
    tcase_add_loop_test(tcase, an_append_is_back_when_it_may_be, 0, 8);
    tcase_add_test(tcase, in_the_log_and_not_acknowledged);
    tcase_add_test(tcase, an_early_batch);
    tcase_add_test(tcase, full_is_not_in_the_log);
    tcase_add_test(tcase, what_was_acknowledged_keeps_its_place);
    tcase_add_test(tcase, an_outage);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
