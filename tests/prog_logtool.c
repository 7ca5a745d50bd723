/*
 * prog_logtool.c - a program with a log in a region, for the command to look at: opens the log
 * of the region REGION (made by `tidepool log create`), whatever its level, and
 *
 *   prog_logtool REGION fill N           appends N batches, of one to three messages, and
 *                                        closes it
 *   prog_logtool REGION hold READY GO    appends five batches, has a gating reader that read
 *                                        two of them, and one that may be skipped; at level 4
 *                                        a batch that is ahead of its turn. Makes the file
 *                                        READY and waits until the file GO is there
 *   prog_logtool REGION stream READY GO  appends without end, and makes READY when the rings
 *                                        were full once, until GO is there; of the log that is
 *                                        left all is in order
 *   prog_logtool REGION lend READY GO    appends three batches, and two blocks of a heap on the
 *                                        region by reference; waits, and trims all
 *   prog_logtool REGION expelled READY GO  appends five batches, has a gating reader,
 *                                        and waits; with GO it must have been expelled
 *   prog_logtool REGION die              claims room, and is killed before it commits
 *   prog_logtool REGION remove           removes the log from the region
 *   prog_logtool REGION lanes            the same, and makes one in lanes there, of two batches
 *   prog_logtool REGION lanes LEVEL N    the same of N batches, with check sums
 *   prog_logtool REGION lanes LEVEL N READY GO  waits before it closes it
 *   prog_logtool REGION lanes LEVEL N die  appends three more that have no place yet, and is
 *                                        killed
 *   prog_logtool REGION more N           opens a log in lanes, reads all that is there, and
 *                                        appends N batches; says how many there are
 *   prog_logtool memfd new READY GO      makes a region in a memfd, and a log of five batches;
 *                                        READY has its name for others; waits for GO
 *
 * Ends with 0 when all calls did what they must, with 2 without the library.
 */
#define _GNU_SOURCE 1
#include <tidepool/log.h>

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#pragma weak tide_region_open
#pragma weak tide_region_close
#pragma weak tide_log_open
#pragma weak tide_log_close
#pragma weak tide_log_stat
#pragma weak tide_log_poll
#pragma weak tide_log_client_open
#pragma weak tide_log_client_close
#pragma weak tide_log_reader_open
#pragma weak tide_log_reader_close
#pragma weak tide_log_append
#pragma weak tide_log_append_batch
#pragma weak tide_log_claim
#pragma weak tide_log_read
#pragma weak tide_log_done
#pragma weak tide_log_set_number
#pragma weak tide_log_acked
#pragma weak tide_region_create
#pragma weak tide_region_info
#pragma weak tide_log_create_on
#pragma weak tide_log_remove
#pragma weak tide_log_block
#pragma weak tide_log_append_block
#pragma weak tide_log_reclaim
#pragma weak tide_log_trim
#pragma weak tide_heap_create_on
#pragma weak tide_heap_destroy
#pragma weak tide_log_flush
#pragma weak tide_log_explain

#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition))                                                                          \
            fail(__LINE__, #condition);                                                            \
    } while (0)

static tide_region_t *region;
static tide_log_t *the_log;
static tide_log_client_t *client;
static struct tide_log_stat about;

__attribute__((noreturn)) static void fail(int line, const char *condition)
{
    char words[256] = "";
    tide_log_explain(words, sizeof words);
    fprintf(stderr, "line %d: %s: %s\n", line, condition, words);
    exit(1);
}

static void wait_for(const char *file)
{
    while (access(file, F_OK) != 0)
        usleep(20000);
}

static void make_file(const char *name)
{
    FILE *file = fopen(name, "w");
    MUST(file != NULL);
    fprintf(file, "%ld\n", (long)getpid());
    fclose(file);
}

static void open_all(const char *source)
{
    struct tide_region_error error;
    struct tide_log_client_options who = {.id = 1};
    if (tide_region_open(&region, source, 0, &error) != 0) {
        fprintf(stderr, "%s\n", error.text);
        exit(1);
    }
    MUST(tide_log_open(&the_log, region) == 0);
    MUST(tide_log_stat(the_log, &about) == 0);
    MUST(tide_log_client_open(&client, the_log, &who) == 0);
}

static int append(unsigned i)
{
    static const char *const words[] = {"first\n", "a \"second\" one", "\xff\x01"};
    struct tide_log_message message[3];
    for (unsigned m = 0; m < 3; m++)
        message[m] = (struct tide_log_message){words[m], strlen(words[m]), i * 10 + m};
    int ret =
        tide_log_append_batch(client, i % about.brokers, message, i % 3 + 1, TIDE_LOG_TRY, NULL);
    tide_log_poll(the_log);
    return ret;
}

static void fill(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        MUST(append(i) == 0);
}

static void hold(const char *ready, const char *go)
{
    struct tide_log_reader_options how = {TIDE_LOG_GATE, TIDE_LOG_EARLIEST, 0, 0};
    tide_log_reader_t *gating, *skipping;
    struct tide_log_batch batch;
    fill(5);
    MUST(tide_log_reader_open(&gating, the_log, &how) == 0);
    how.policy = TIDE_LOG_SKIP;
    MUST(tide_log_reader_open(&skipping, the_log, &how) == 0);
    for (int i = 0; i < 2; i++)
        MUST(tide_log_read(gating, &batch, 1, TIDE_LOG_TRY) == 1);
    MUST(tide_log_done(gating) == 0);
    while (tide_log_read(skipping, &batch, 1, TIDE_LOG_TRY) == 1)
        ;
    if (about.level == 4) {
        uint64_t expected;
        MUST(tide_log_acked(client, &expected) == 0);
        MUST(tide_log_set_number(client, expected + 1) == 0);
        MUST(tide_log_append(client, 0, "early", 5, TIDE_LOG_TRY, NULL) == 0);
        tide_log_poll(the_log);
    }
    make_file(ready);
    wait_for(go);
    MUST(tide_log_reader_close(gating) == 0 && tide_log_reader_close(skipping) == 0);
}

/* With GO, this process must have been expelled. */
static void be_expelled(const char *ready, const char *go)
{
    tide_log_reader_t *reader;
    struct tide_log_batch batch;
    fill(5);
    MUST(tide_log_reader_open(&reader, the_log, NULL) == 0);
    make_file(ready);
    wait_for(go);
    MUST(append(5) == -ESTALE);
    MUST(tide_log_read(reader, &batch, 1, TIDE_LOG_TRY) == -ESTALE);
    tide_log_reader_close(reader);
    tide_log_client_close(client);
    MUST(tide_log_close(the_log) == 0 && tide_region_close(region) == 0);
    exit(0);
}

/* The log keeps what is recent: appending never ends. */
static void stream(const char *ready, const char *go)
{
    for (unsigned i = 0; access(go, F_OK) != 0; i++) {
        for (unsigned j = 0; j < 100; j++)
            MUST(append(i * 100 + j) == 0);
        if (i == 50)
            make_file(ready);
    }
}

static void lend(const char *ready, const char *go)
{
    tide_heap_t *heap = tide_heap_create_on(region);
    MUST(heap != NULL);
    fill(3);
    for (unsigned i = 0; i < 2; i++) {
        char *block = tide_log_block(heap, 3000, 70 + i);
        MUST(block != NULL);
        memset(TIDE_LOG_BODY(block), 'a' + (int)i, 3000);
        MUST(tide_log_append_block(client, 0, block, TIDE_LOG_ROOM(3000), TIDE_LOG_TRY, NULL) == 0);
    }
    make_file(ready);
    wait_for(go);
    MUST(tide_log_trim(the_log, 0, UINT64_MAX, NULL) == 0);
    MUST(tide_log_reclaim(the_log) >= 0);
    tide_heap_destroy(heap);
}

static void die(void)
{
    struct tide_log_claim claim;
    fill(3);
    MUST(tide_log_claim(client, 0, 100, TIDE_LOG_TRY, &claim) == 0);
    kill(getpid(), SIGKILL);
    pause();
}

static void make_new(const char *ready, const char *go)
{
    struct tide_region_info info;
    struct tide_log_options options = {.level = 5, .slots = 16, .payload = 4096};
    MUST(tide_region_create(&region, "memfd", 2 << 20, 0, NULL) == 0);
    MUST(tide_log_create_on(&the_log, region, &options) == 0);
    MUST(tide_log_stat(the_log, &about) == 0 && tide_region_info(region, &info) == 0);
    MUST(tide_log_client_open(&client, the_log, NULL) == 0);
    fill(5);
    FILE *file = fopen(ready, "w");
    MUST(file != NULL);
    fprintf(file, "file:/proc/%ld/fd/%d\n", (long)getpid(), info.fd);
    fclose(file);
    wait_for(go);
}

static void lane_append(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        MUST(tide_log_append(client, 0, "lane", 4, TIDE_LOG_TRY, NULL) == 0);
        tide_log_poll(the_log);
    }
}

static void lane_close(void)
{
    MUST(tide_log_client_close(client) == 0);
    MUST(tide_log_close(the_log) == 0 && tide_region_close(region) == 0);
}

/* The arguments behind `lanes'. */
static void make_lanes(const char *name, char **more)
{
    bool plain = more[0] == NULL;
    struct tide_log_options o = {.level = plain ? 5 : (unsigned)atoi(more[0]),
                                 .slots = 16,
                                 .payload = 4096,
                                 .clients = 2,
                                 .nodes = 2,
                                 .readers = 2,
                                 .checksum = !plain,
                                 .sequencing = TIDE_LOG_STEPPED,
                                 .coherence = TIDE_LOG_NONCOHERENT};
    MUST(tide_region_open(&region, name, 0, NULL) == 0 && tide_log_remove(region) == 0);
    MUST(tide_log_create_on(&the_log, region, &o) == 0);
    MUST(tide_log_client_open(&client, the_log, NULL) == 0);
    lane_append(plain ? 2 : (unsigned)atoi(more[1]));
    if (!plain && more[2] != NULL && strcmp(more[2], "die") == 0) {
        for (int i = 0; i < 3; i++)
            MUST(tide_log_append(client, 0, "late", 4, TIDE_LOG_TRY, NULL) == 0);
        MUST(tide_log_flush(client) == 0);
        kill(getpid(), SIGKILL);
        pause();
    }
    if (!plain && more[2] != NULL) {
        make_file(more[2]);
        wait_for(more[3]);
    }
    lane_close();
}

static void more_lanes(const char *name, unsigned count)
{
    struct tide_log_reader_options how = {TIDE_LOG_GATE, TIDE_LOG_EARLIEST, 0, 0};
    tide_log_reader_t *reader;
    struct tide_log_batch batch;
    unsigned read = 0;
    MUST(tide_region_open(&region, name, 0, NULL) == 0);
    MUST(tide_log_open(&the_log, region) == 0);
    MUST(tide_log_reader_open(&reader, the_log, &how) == 0);
    MUST(tide_log_client_open(&client, the_log, NULL) == 0);
    while (tide_log_read(reader, &batch, 1, TIDE_LOG_TRY) == 1)
        read++;
    MUST(tide_log_reader_close(reader) == 0);
    lane_append(count);
    lane_close();
    printf("%u\n", read);
}

int main(int argc, char **argv)
{
    const char *what = argc > 2 ? argv[2] : "";
    if (tide_log_open == NULL || argc < 3)
        return 2;
    if (strcmp(what, "remove") == 0) {
        MUST(tide_region_open(&region, argv[1], 0, NULL) == 0);
        MUST(tide_log_remove(region) == 0 && tide_region_close(region) == 0);
        return 0;
    }
    if (strcmp(what, "lanes") == 0) {
        make_lanes(argv[1], argv + 3);
        return 0;
    }
    if (strcmp(what, "more") == 0 && argc == 4) {
        more_lanes(argv[1], (unsigned)atoi(argv[3]));
        return 0;
    }
    if (strcmp(argv[1], "memfd") != 0)
        open_all(argv[1]);
    if (strcmp(what, "new") == 0 && argc == 5)
        make_new(argv[3], argv[4]);
    else if (strcmp(what, "fill") == 0 && argc == 4)
        fill((unsigned)atoi(argv[3]));
    else if (strcmp(what, "hold") == 0 && argc == 5)
        hold(argv[3], argv[4]);
    else if (strcmp(what, "expelled") == 0 && argc == 5)
        be_expelled(argv[3], argv[4]);
    else if (strcmp(what, "stream") == 0 && argc == 5)
        stream(argv[3], argv[4]);
    else if (strcmp(what, "lend") == 0 && argc == 5)
        lend(argv[3], argv[4]);
    else if (strcmp(what, "die") == 0)
        die();
    else
        return 2;
    MUST(tide_log_client_close(client) == 0);
    MUST(tide_log_close(the_log) == 0 && tide_region_close(region) == 0);
    return 0;
}
