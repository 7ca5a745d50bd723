/* test_logregion.c - logs in regions: made, opened again here and elsewhere, refused, removed. */
#include "region_case.h"

#include <pthread.h>

#include <tidepool/log.h>

#include "box/logroom.h"

static tide_log_t *log_;
static tide_log_client_t *client;
static tide_log_reader_t *reader;

/* A log of about a MiB. */
static struct tide_log_options small(unsigned level)
{
    struct tide_log_options options = TIDE_LOG_OPTIONS;
    options.level = level;
    options.brokers = 2;
    options.slots = 64;
    options.payload = 256 << 10;
    return options;
}

static void says(const char *want)
{
    char text[256];
    tide_log_explain(text, sizeof text);
    UNIT_NEED(strstr(text, want) != NULL || (dprintf(2, "said: %s\n", text), 0));
}

/* Appends batches first .. first + count - 1, each its number as text, to the brokers in turn. */
static void append(int first, int count)
{
    char text[16];
    for (int i = first; i < first + count; i++) {
        int len = snprintf(text, sizeof text, "%d", i);
        UNIT_NEED(tide_log_append(client, (unsigned)i % 2, text, (size_t)len + 1, TIDE_LOG_TRY,
                                  NULL) == 0);
    }
}

/* Reads from the earliest; they must be first .. first + count - 1, and no more. */
static void expect(int first, int count)
{
    struct tide_log_batch batch;
    UNIT_NEED(tide_log_reader_open(&reader, log_, NULL) == 0);
    for (int i = first; i < first + count; i++) {
        UNIT_NEED(tide_log_read(reader, &batch, 1, TIDE_LOG_TRY) == 1);
        UNIT_NEED(batch.position == (uint64_t)i && batch.base == (uint64_t)i);
        UNIT_NEED(atoi((const char *)batch.data + sizeof(struct tide_log_frame)) == i);
    }
    UNIT_NEED(tide_log_read(reader, &batch, 1, TIDE_LOG_TRY) == -EAGAIN);
    UNIT_NEED(tide_log_reader_close(reader) == 0);
}

static void open_client(void)
{
    UNIT_NEED(tide_log_client_open(&client, log_, NULL) == 0);
}

static void close_log(void)
{
    UNIT_NEED(tide_log_client_close(client) == 0);
    UNIT_NEED(tide_log_close(log_) == 0);
}

/* --- in each kind of region ----------------------------------------------------------- */

static void made_again(tide_region_t *region, unsigned level)
{
    struct tide_log_options options = small(level);
    struct tide_log_client_options who = {.id = 3};
    uint64_t earliest, free_bytes = region_told(region).free_bytes, acked;
    UNIT_NEED(tide_log_create_on(&log_, region, &options) == 0);
    UNIT_NEED(region_told(region).lent_bytes >= (uint64_t)tide_log_size(&options));
    UNIT_NEED(tide_log_client_open(&client, log_, &who) == 0);
    append(0, 40);
    UNIT_NEED(tide_log_trim(log_, 0, 10, &earliest) == 0 && earliest == 10);
    close_log();
    UNIT_NEED(tide_log_open(&log_, region) == 0);
    UNIT_NEED(tide_log_committed(log_) == 40);
    expect(10, 30);
    UNIT_NEED(tide_log_client_open(&client, log_, &who) == 0);
    if (level == 4) /* the session goes on where it was */
        UNIT_NEED(tide_log_acked(client, &acked) == 0 && acked == 40);
    append(40, 20);
    UNIT_NEED(tide_log_trim(log_, 0, 30, &earliest) == 0 && earliest == 30);
    append(60, 40); /* round the ring's end */
    expect(30, 70);
    UNIT_NEED(tide_region_close(region) == -EBUSY);
    close_log();
    UNIT_NEED(tide_log_remove(region) == 0);
    UNIT_NEED(region_told(region).free_bytes == free_bytes);
    UNIT_NEED(tide_log_open(&log_, region) == -ENOENT);
    UNIT_NEED(tide_log_remove(region) == -ENOENT);
}

START_TEST(what_is_closed_is_opened_with_all_that_it_held)
{
    const char *text = region_text(_i);
    if (text == NULL)
        return;
    tide_region_t *region = region_made(text, REGION_SIZE, 0);
    made_again(region, 5);
    made_again(region, 4);
    UNIT_NEED(tide_region_close(region) == 0);
}
END_TEST

/* A child opens the file and the log, reads, and appends; then so does its parent. */
START_TEST(another_process_opens_it)
{
    struct tide_log_options options = small(5);
    const char *text = region_text(_i);
    int status;
    if (text == NULL || !region_sources[_i].again)
        return;
    tide_region_t *region = region_made(text, REGION_SIZE, 0);
    UNIT_NEED(tide_log_create_on(&log_, region, &options) == 0);
    open_client();
    append(0, 30);
    pid_t child = fork();
    if (child == 0) {
        tide_region_t *mine = region_opened(text);
        char words[64];
        UNIT_NEED(tide_log_append(client, 0, "x", 1, TIDE_LOG_TRY, NULL) == -ESTALE);
        UNIT_NEED(tide_log_close(log_) == -ESTALE);
        UNIT_NEED(tide_log_open(&log_, region) == -ESTALE);
        UNIT_NEED(tide_log_create_on(&log_, region, &options) == -ESTALE);
        UNIT_NEED(tide_log_remove(region) == -ESTALE);
        UNIT_NEED(tide_log_create_on(&log_, mine, &options) == -EBUSY);
        snprintf(words, sizeof words, "open in process: %d", (int)getppid());
        says(words);
        UNIT_NEED(tide_log_remove(mine) == -EBUSY);
        UNIT_NEED(tide_log_open(&log_, mine) == 0); /* its parent has it as well */
        expect(0, 30);
        UNIT_NEED(tide_region_close(mine) == -EBUSY);
        UNIT_NEED(tide_log_close(log_) == 0);
        UNIT_NEED(tide_region_close(mine) == 0);
        UNIT_NEED(tide_region_close(region) == 0); /* the parent's log is none of it */
        _exit(0);
    }
    waitpid(child, &status, 0);
    ck_assert_int_eq(status, 0);
    close_log();
    UNIT_NEED(tide_region_close(region) == 0);
    child = fork();
    if (child == 0) {
        region = region_opened(text);
        UNIT_NEED(tide_log_open(&log_, region) == 0);
        expect(0, 30);
        open_client();
        append(30, 12);
        close_log();
        _exit(0);
    }
    waitpid(child, &status, 0);
    ck_assert_int_eq(status, 0);
    region = region_opened(text);
    UNIT_NEED(tide_log_open(&log_, region) == 0);
    expect(0, 42);
    UNIT_NEED(tide_log_close(log_) == 0);
    UNIT_NEED(tide_region_close(region) == 0);
}
END_TEST

/* A child's copy of private memory holds a copy of the log, open in a process that is not there:
 * it can be opened, and what happens to it is nothing to the parent. */
START_TEST(a_copy_of_a_log)
{
    struct tide_log_options options = small(5);
    int status;
    tide_region_t *region = region_made("anon", REGION_SIZE, 0);
    UNIT_NEED(tide_log_create_on(&log_, region, &options) == 0);
    open_client();
    append(0, 7);
    pid_t child = fork();
    if (child == 0) {
        UNIT_NEED(tide_log_close(log_) == -ESTALE);
        UNIT_NEED(tide_log_open(&log_, region) == 0);
        expect(0, 7);
        open_client();
        append(7, 9);
        expect(0, 16);
        close_log();
        UNIT_NEED(tide_region_close(region) == 0);
        _exit(0);
    }
    waitpid(child, &status, 0);
    ck_assert_int_eq(status, 0);
    expect(0, 7);
    append(7, 1);
    expect(0, 8);
    close_log();
    UNIT_NEED(tide_region_close(region) == 0);
}
END_TEST

/* --- killed ---------------------------------------------------------------------------- */

enum { WRITERS = 3 };

/* In memory that the child and its parent share: batches whose append was back. */
static _Atomic uint64_t *sent;

/* Appends numbers until it is killed. */
static void *write_on(void *argument)
{
    uint64_t who = (uint64_t)(uintptr_t)argument;
    struct tide_log_client_options options = {.id = (unsigned)who};
    tide_log_client_t *mine;
    UNIT_NEED(tide_log_client_open(&mine, log_, &options) == 0);
    for (uint64_t number = 0;; number++) {
        uint64_t message[9] = {who, number};
        UNIT_NEED(tide_log_append(mine, (unsigned)(who + number) % 2, message, sizeof message,
                                  TIDE_LOG_BLOCK, NULL) == 0);
        atomic_store(&sent[who], number + 1);
    }
    return NULL;
}

static _Noreturn void be_killed(const char *text, const struct tide_log_options *options)
{
    pthread_t thread;
    tide_region_t *region = region_made(text, REGION_SIZE, 0);
    UNIT_NEED(tide_log_create_on(&log_, region, options) == 0);
    if (options->sequencing == TIDE_LOG_STEPPED)
        UNIT_NEED(tide_log_start(log_, -1) == 0);
    for (uintptr_t i = 0; i < WRITERS; i++) {
        UNIT_NEED(pthread_create(&thread, NULL, write_on, (void *)i) == 0);
    }
    for (;;)
        pause();
}

/* What is left: each writer's numbers in each broker, every other one, without a gap, in order,
 * up to all that it was told. */
static void look_after(void)
{
    struct tide_log_batch batch;
    uint64_t next[WRITERS][2] = {{0}}, position = UINT64_MAX, base = 0, earliest;
    UNIT_NEED(tide_log_trim(log_, 0, 0, &earliest) == 0);
    UNIT_NEED(tide_log_reader_open(&reader, log_, NULL) == 0);
    while (tide_log_read(reader, &batch, 1, TIDE_LOG_TRY) == 1) {
        uint64_t message[2];
        memcpy(message, batch.data + sizeof(struct tide_log_frame), sizeof message);
        UNIT_NEED(message[0] < WRITERS && batch.client == message[0]);
        uint64_t *want = &next[message[0]][batch.broker];
        UNIT_NEED(*want == 0 || message[1] == *want);
        UNIT_NEED(position == UINT64_MAX || (batch.position == position + 1 && batch.base == base));
        *want = message[1] + 2;
        position = batch.position;
        base = batch.base + 1;
    }
    for (int i = 0; i < WRITERS; i++)
        for (int k = 0; k < 2; k++)
            UNIT_NEED(next[i][k] == 0 || next[i][k] >= atomic_load(&sent[i]));
    /* With a slow claim in the way all may have been trimmed to make room. */
    UNIT_NEED(tide_log_committed(log_) == (position == UINT64_MAX ? earliest : position + 1));
    UNIT_NEED(tide_log_reader_close(reader) == 0);
}

/* The log goes on: every slot and byte of the rings can be used, several times round. */
static void go_on(const struct tide_log_options *options)
{
    char block[512] = "";
    uint64_t before = tide_log_committed(log_), count = 3 * 2 * options->slots;
    UNIT_NEED(tide_log_client_open(&client, log_, NULL) == 0);
    for (uint64_t i = 0; i < count; i++)
        UNIT_NEED(tide_log_append(client, (unsigned)i % 2, block, 1 + i % sizeof block, 0, NULL) ==
                  0);
    while (tide_log_poll(log_) > 0)
        ;
    UNIT_NEED(tide_log_committed(log_) == before + count);
    UNIT_NEED(tide_log_client_close(client) == 0);
}

static void kill_one(const char *text, const struct tide_log_options *options, uint64_t after)
{
    int status;
    for (int i = 0; i < WRITERS; i++)
        atomic_store(&sent[i], 0);
    pid_t child = fork();
    if (child == 0)
        be_killed(text, options);
    while (atomic_load(&sent[0]) + atomic_load(&sent[1]) + atomic_load(&sent[2]) < after) {
        UNIT_NEED(waitpid(child, &status, WNOHANG) == 0);
        usleep(200);
    }
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    UNIT_NEED(WIFSIGNALED(status));
    tide_region_t *region = region_opened(text);
    UNIT_NEED(tide_log_open(&log_, region) == 0);
    look_after();
    if (options->sequencing == TIDE_LOG_INLINE)
        go_on(options);
    UNIT_NEED(tide_log_close(log_) == 0);
    UNIT_NEED(tide_region_close(region) == 0);
    UNIT_NEED(unlink(strchr(text, ':') + 1) == 0);
}

/* Writers are killed in the middle of what they do; what they were told stays true. */
START_TEST(a_killed_writer_leaves_a_log)
{
    struct tide_log_options options = small(_i % 2 == 0 ? 5 : 4);
    options.retain = TIDE_LOG_KEEP_RECENT;
    options.sequencing = _i / 2 % 2 == 0 ? TIDE_LOG_INLINE : TIDE_LOG_STEPPED;
    char text[300];
    sent = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    const char *where = _i < 4 && unit_tmpfs[0] != '\0' ? unit_tmpfs : unit_disk;
    snprintf(text, sizeof text, "file:%s/region", where);
    for (uint64_t round = 0; round < 4; round++)
        kill_one(text, &options, 50 + 711 * round);
}
END_TEST

/* The log is open here, as far as another boot (machine 0: of which one is not known) or another
 * machine knows. */
static void become(tide_region_t *region, uint64_t boot, uint64_t machine)
{
    struct tide_owner *place = &tide_logroom_of(region)->crew[0];
    struct tide_owner_self self;
    tide_owner_self(&self);
    self.boot[0] ^= boot;
    self.machine = machine != 0 ? self.machine ^ machine : 0;
    tide_owner_sum(&self);
    tide_owner_put(place, &self);
}

static void nobody_gets(tide_region_t *region, const char *why_open, const char *why_remove)
{
    tide_log_t *log;
    UNIT_NEED(tide_log_open(&log, region) == -EBUSY);
    says(why_open);
    UNIT_NEED(tide_log_remove(region) == -EBUSY);
    says(why_remove);
}

/* A living owner of another boot is not repaired away; one of another machine only by an act. */
START_TEST(what_another_boot_or_machine_has_open)
{
    struct tide_log_options options = small(5);
    struct tide_owner_self self;
    char text[300];
    options.checksum = 1;
    tide_owner_self(&self);
    snprintf(text, sizeof text, "file:%s/region", unit_disk);
    tide_region_t *region = region_made(text, REGION_SIZE, 0), *other = region_opened(text);
    UNIT_NEED(tide_log_create_on(&log_, region, &options) == 0);
    open_client();
    append(0, 10);
    become(region, 1, 0);
    tide_logroom_of(region)->boot[0] ^= 1;
    nobody_gets(other, "another boot had", "open in process");
    append(10, 5);
    expect(0, 15);
    if (self.machine != 0) {
        become(region, 1, 2);
        nobody_gets(other, "another machine", "another machine");
        append(15, 5);
        ck_assert_int_eq(tide_region_moved(other), 0); /* as if it had: nobody is asked */
        ck_assert_int_eq(tide_log_remove(other), 0);
    }
}
END_TEST

/* --- refusals -------------------------------------------------------------------------- */

START_TEST(a_region_too_small)
{
    struct tide_log_options options = small(5);
    char words[64];
    tide_region_t *region = region_made("anon", TIDE_REGION_LEAST, 0);
    uint64_t free_bytes = region_told(region).free_bytes;
    ck_assert_int_eq(tide_log_create_on(&log_, region, &options), -ENOSPC);
    snprintf(words, sizeof words, "in a row in the region, for a log: %llu, allowed: %lld",
             (unsigned long long)free_bytes, (long long)tide_log_size(&options));
    says(words);
    ck_assert_uint_eq(region_told(region).free_bytes, free_bytes);
    ck_assert_int_eq(tide_log_open(&log_, region), -ENOENT);
    says("logs in the region: 0");
    options.slots = 1;
    ck_assert_int_eq(tide_log_create_on(&log_, region, &options), -EINVAL);
    ck_assert_int_eq(tide_log_open(&log_, NULL), -ESTALE);
    says("not an open region of this process");
    ck_assert_int_eq(tide_region_close(region), 0);
}
END_TEST

START_TEST(one_log_and_one_handle)
{
    struct tide_log_options options = small(5);
    tide_log_t *other;
    tide_region_t *region = region_made("memfd", REGION_SIZE, 0);
    char text[64];
    snprintf(text, sizeof text, "file:/proc/self/fd/%d", region_told(region).fd);
    tide_region_t *again = region_opened(text);
    ck_assert_int_eq(tide_log_create_on(&log_, region, &options), 0);
    ck_assert_int_eq(tide_log_open(&other, region), -EBUSY);
    ck_assert_int_eq(tide_log_open(&other, again), -EBUSY);
    ck_assert_int_eq(tide_log_create_on(&other, again, &options), -EBUSY);
    ck_assert_int_eq(tide_log_remove(again), -EBUSY);
    ck_assert_int_eq(tide_region_close(region), -EBUSY);
    ck_assert_int_eq(tide_log_close(log_), 0);
    ck_assert_int_eq(tide_log_create_on(&other, again, &options), -EEXIST);
    says("there is a log in the region already, of bytes: ");
    ck_assert_int_eq(tide_region_close(region), 0);
    ck_assert_int_eq(tide_log_open(&log_, again), 0);
    open_client();
    append(0, 5);
    close_log();
    ck_assert_int_eq(tide_region_close(again), 0);
}
END_TEST

static void refused(tide_region_t *region, const char *words)
{
    ck_assert_int_eq(tide_log_open(&log_, region), -EPROTO);
    says(words);
}

/* Both values are in the words; what is not ours is not touched. */
START_TEST(what_is_no_log_of_this_library)
{
    struct tide_log_options options = small(5);
    tide_region_t *region = region_made("anon", REGION_SIZE, 0);
    uint32_t *area = tide_region_area(region, TIDE_REGION_AREA_LOG), was;
    ck_assert_int_eq(tide_log_create_on(&log_, region, &options), 0);
    ck_assert_int_eq(tide_log_close(log_), 0);
    uint64_t at = *(uint64_t *)(area + 6); /* see logroom.h */
    uint32_t *head = (uint32_t *)((char *)tide_region_base(region) + at);
    was = head[2];
    head[2] = 9;
    refused(region, "layout version: 9, allowed: 2 to 2");
    head[2] = was;
    was = head[16];
    head[16] = 3; /* a level that does not exist */
    refused(region, "check sum of the head: ");
    head[16] = was;
    was = head[8]; /* of the id, which is in the sum as well */
    head[8]++;
    refused(region, "check sum of the head: ");
    head[8] = was;
    was = area[2];
    area[2] = 1;
    refused(region, "version of the area for a log: 1, allowed: 2 to 2");
    area[2] = was;
    was = area[8];
    area[8] = 1;
    refused(region, "check sum of the area for a log: ");
    area[8] = was;
    ck_assert_int_eq(tide_log_open(&log_, region), 0);
    ck_assert_int_eq(tide_log_close(log_), 0);
    was = area[0];
    area[0] = 1; /* foreign: not even removed */
    refused(region, "first word of the region's area for a log: ");
    ck_assert_int_eq(tide_log_create_on(&log_, region, &options), -EEXIST);
    ck_assert_int_eq(tide_log_remove(region), -EPROTO);
    area[0] = was;
    area[2] = 1; /* ours, and damaged */
    ck_assert_int_eq(tide_log_remove(region), 0);
    ck_assert_uint_eq(region_told(region).lent_bytes, 0);
    ck_assert_int_eq(tide_region_close(region), 0);
}
END_TEST

/* Somebody gave the log's segments back behind its back, and took others. */
START_TEST(segments_that_are_not_the_logs)
{
    struct tide_log_options options = small(5);
    tide_region_t *region = region_made("anon", REGION_SIZE, 0);
    uint64_t at;
    ck_assert_int_eq(tide_log_create_on(&log_, region, &options), 0);
    ck_assert_int_eq(tide_log_close(log_), 0);
    memcpy(&at, (char *)tide_region_area(region, TIDE_REGION_AREA_LOG) + 24, sizeof at);
    ck_assert_int_eq(tide_region_give(region, at), 0);
    refused(region, "state of the log's first segment: 0, allowed: 4 to 4");
    ck_assert_int_eq(tide_region_close(region), 0);
}
END_TEST

int main(void)
{
    const TTest *const plain[] = {a_region_too_small,
                                  one_log_and_one_handle,
                                  what_is_no_log_of_this_library,
                                  segments_that_are_not_the_logs,
                                  a_copy_of_a_log,
                                  what_another_boot_or_machine_has_open,
                                  NULL};
    const TTest *const each[] = {what_is_closed_is_opened_with_all_that_it_held,
                                 another_process_opens_it, a_killed_writer_leaves_a_log, NULL};
    return region_main("logregion", plain, each);
}
