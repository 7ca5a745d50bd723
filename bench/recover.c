/*
 * recover - how long tide_log_open takes to put a log in order whose process ended without closing
 * it, by the size of the region and of its batches: of the clock, and of the processor, which other
 * load on the machine does not lengthen so much.
 *
 * A child fills a log that takes up nearly all of a region in memory, with batches of one size,
 * and ends. Then, round by round, another child opens it, says how long that took, and ends as
 * well, so that the next one has the same to do. `recover --help` tells of the other ways.
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <tidepool/tidepool.h>

#include <tidepool/log.h>

enum {
    BOOT_WORD = 35,
    MENDING_WORD = 66,
    ROUNDS_MOST = 99,
    LIST_MOST = 8,
    ROUND_SLOTS = 4
}; /* the words: see box/logroom.h */

static const char help[] =
    "recover - how long a log is out of order whose process was killed\n"
    "\n"
    "recover [--sizes LIST] [--batches LIST] [--levels LIST] [--rounds N] [--dir DIRECTORY]\n"
    "        [--outage | --among | --lanes] [--whole] [--json]\n"
    "\n"
    "  --sizes    of the region in MiB (256)\n"
    "  --batches  bytes of a batch (256,4096,65536)\n"
    "  --levels   order levels (0,4,5; 0 not with --outage and --lanes)\n"
    "  --rounds   of which it gives the median, the least and the most (5; at most 99)\n"
    "  --dir      where the region is (/dev/shm)\n"
    "  --whole    as if a repair had been begun before, and not ended: who was killed in a call "
    "of\n"
    "             the log may have left more than a claim, and index and slots are gone through\n"
    "  --json     one object a line instead of the table\n"
    "  --help     this\n"
    "\n"
    "One region and size of batches a line: how long tide_log_open takes, of the clock and of the\n"
    "processor, and the latter for a GiB. Nobody else has the log open, unless:\n"
    "  --outage   the machine is said to have stopped as well: then every payload is read and its\n"
    "             check sum made\n"
    "  --among    another process has the log open, and waits in tide_log_read. In each round a\n"
    "             process that holds a claim is killed; one that lives opens the log, which finds\n"
    "             that and repairs it, and appends a batch. `reader` is the time from the "
    "beginning\n"
    "             of that call, when the death is known, until the waiting reader has the batch,\n"
    "             `kill` (since_kill_ms) that from the kill, which is a little earlier: now and\n"
    "             then the reader finds the death in between, and repairs the log itself\n"
    "  --lanes    a log in lanes: how long the one takes that follows a sequencer that was "
    "killed\n";

static char source[300];
static int rounds = 5, as_json, whole;
static enum { KILLED, OUTAGE, AMONG, LANES } way;

/* What a round says, in ms: of the processor and the clock for opening it; --among: when the reader
 * has its batch, from the beginning of that and from the kill. Batches in the log. */
struct round {
    double cpu, wall, reader, kill, batches;
};

static void need(int good, const char *what)
{
    char why[256] = "";
    if (good)
        return;
    tide_log_explain(why, sizeof why);
    dprintf(2, "recover: %s: %s\n", what, why);
    _exit(1);
}

static double clock_ms(clockid_t which)
{
    struct timespec time;
    clock_gettime(which, &time);
    return (double)time.tv_sec * 1e3 + (double)time.tv_nsec / 1e6;
}

/* Slots and payload in their right proportion, and nearly the whole region. */
static struct tide_log_options options_of(uint64_t size, uint64_t batch, unsigned level)
{
    struct tide_log_options options = TIDE_LOG_OPTIONS;
    uint64_t room = size - (8 << 20);
    options.level = level;
    options.retain = TIDE_LOG_KEEP_ALL;
    options.checksum = 1;
    if (way == LANES) {
        options.coherence = TIDE_LOG_NONCOHERENT;
        options.sequencing = TIDE_LOG_STEPPED;
        options.clients = 1;
    }
    for (options.slots = room / batch;; options.slots -= options.slots / 64 + 1) {
        options.payload = options.slots * batch;
        int64_t bytes = tide_log_size(&options);
        if (bytes > 0 && (uint64_t)bytes <= room)
            return options;
    }
}

static void fill(uint64_t size, uint64_t batch, unsigned level)
{
    struct tide_log_options options = options_of(size, batch, level);
    struct tide_region_error error;
    tide_region_t *region;
    tide_log_client_t *client;
    tide_log_t *log;
    unsigned char *bytes = calloc(1, batch);
    need(tide_region_create(&region, source, size, TIDE_REGION_REPLACE, &error) == 0, error.text);
    need(tide_log_create_on(&log, region, &options) == 0, "log");
    need(tide_log_client_open(&client, log, NULL) == 0, "client");
    while (tide_log_append(client, 0, bytes, batch - 16, TIDE_LOG_TRY, NULL) == 0)
        ;
    /* Room for what is appended in the rounds. */
    need(way != AMONG || tide_log_trim(log, 0, ROUND_SLOTS * (uint64_t)rounds, NULL) == 0, "trim");
    while (way == LANES && tide_log_poll(log) > 0)
        ;
    _exit(0);
}

static void start(int ends[2])
{
    need(pipe(ends) == 0, "pipe");
}

static tide_log_t *open_log(tide_region_t **region)
{
    struct tide_region_error error;
    tide_log_t *log;
    if (*region == NULL)
        need(tide_region_open(region, source, 0, &error) == 0, error.text);
    need(tide_log_open(&log, *region) == 0, "open");
    return log;
}

static void say(int tell, const void *what, size_t bytes)
{
    need(write(tell, what, bytes) == (ssize_t)bytes, "write");
}

static void hear(int from, void *what, size_t bytes)
{
    need(read(from, what, bytes) == (ssize_t)bytes, "read");
}

/* Opens the log as the one that repairs it. */
static tide_log_t *open_measured(tide_region_t *region, double *start, struct round *said)
{
    struct tide_log_stat stat;
    *start = clock_ms(CLOCK_MONOTONIC);
    double cpu = clock_ms(CLOCK_PROCESS_CPUTIME_ID);
    tide_log_t *log = open_log(&region);
    said->wall = clock_ms(CLOCK_MONOTONIC) - *start;
    said->cpu = clock_ms(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    need(tide_log_stat(log, &stat) == 0, "stat");
    said->batches = (double)stat.messages;
    return log;
}

/* A repair was begun, and not ended: the next one is whole. */
static void begin_whole(tide_region_t *region)
{
    uint64_t *word = tide_region_area(region, TIDE_REGION_AREA_LOG);
    if (whole)
        __atomic_store_n(&word[MENDING_WORD], 1, __ATOMIC_SEQ_CST);
}

static void open_again(int tell)
{
    struct tide_region_error error;
    struct round said = {0};
    tide_region_t *region;
    double start;
    need(tide_region_open(&region, source, 0, &error) == 0, error.text);
    if (way == OUTAGE)
        ((uint64_t *)tide_region_area(region, TIDE_REGION_AREA_LOG))[BOOT_WORD]++;
    begin_whole(region);
    open_measured(region, &start, &said);
    say(tell, &said, sizeof said);
    _exit(0);
}

/* --- among others ------------------------------------------------------------------------ */

/* Waits in tide_log_read, and says when it gets the batch of each round. */
static void read_on(int tell)
{
    struct tide_log_reader_options options = {.start = TIDE_LOG_LATEST};
    struct tide_log_batch batch;
    tide_log_reader_t *reader;
    tide_region_t *region = NULL;
    tide_log_t *log = open_log(&region);
    double now = 0;
    need(tide_log_reader_open(&reader, log, &options) == 0, "reader");
    say(tell, &now, sizeof now);
    for (int i = 0; i < rounds; i++) {
        need(tide_log_read(reader, &batch, 1, TIDE_LOG_BLOCK) == 1, "read a batch");
        now = clock_ms(CLOCK_MONOTONIC);
        say(tell, &now, sizeof now);
    }
    _exit(0);
}

/* Claims room for a batch, says so, and waits for its end. */
static void hold_a_claim(int tell, uint64_t batch)
{
    struct tide_log_claim claim;
    tide_log_client_t *client;
    tide_region_t *region = NULL;
    tide_log_t *log = open_log(&region);
    need(tide_log_client_open(&client, log, NULL) == 0, "client");
    need(tide_log_claim(client, 0, batch, TIDE_LOG_TRY, &claim) == 0, "claim");
    say(tell, "", 1);
    for (;;)
        pause();
}

/* Kills the one that holds a claim: when. */
static double kill_holder(uint64_t batch)
{
    int ends[2];
    char byte;
    start(ends);
    pid_t pid = fork();
    if (pid == 0)
        hold_a_claim(ends[1], batch);
    close(ends[1]);
    need(pid > 0, "fork");
    hear(ends[0], &byte, 1);
    close(ends[0]);
    double now = clock_ms(CLOCK_MONOTONIC);
    need(kill(pid, SIGKILL) == 0 && waitpid(pid, NULL, 0) == pid, "kill");
    return now;
}

/* Lives on: finds the dead one, and appends a batch. Its times are points, not lengths. */
static void live_on(int tell, uint64_t batch)
{
    struct tide_region_error error;
    struct round said = {0};
    tide_log_client_t *client;
    tide_region_t *region;
    unsigned char *bytes = calloc(1, batch);
    need(tide_region_open(&region, source, 0, &error) == 0, error.text);
    begin_whole(region);
    said.kill = kill_holder(batch);
    tide_log_t *log = open_measured(region, &said.reader, &said);
    need(tide_log_client_open(&client, log, NULL) == 0, "client");
    need(tide_log_append(client, 0, bytes, batch - 16, TIDE_LOG_BLOCK, NULL) == 0, "append");
    need(tide_log_client_close(client) == 0 && tide_log_close(log) == 0, "close");
    say(tell, &said, sizeof said);
    _exit(0);
}

static int compare(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static void child_is_well(pid_t pid)
{
    int status;
    need(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0, "child");
}

/* What a child that opens the log says; the reader's times come from there. */
static void open_once(struct round *said, uint64_t batch, int reader)
{
    int ends[2];
    double got;
    start(ends);
    pid_t pid = fork();
    if (pid == 0) {
        if (way == AMONG)
            live_on(ends[1], batch);
        open_again(ends[1]);
    }
    close(ends[1]);
    hear(ends[0], said, sizeof *said);
    child_is_well(pid);
    close(ends[0]);
    if (way != AMONG)
        return;
    hear(reader, &got, sizeof got);
    said->reader = got - said->reader;
    said->kill = got - said->kill;
}

/* The process that has the log open, and reads; *from says when it got what. */
static pid_t reader_of(int *from)
{
    int ends[2];
    double ready;
    start(ends);
    pid_t pid = fork();
    if (pid == 0)
        read_on(ends[1]);
    close(ends[1]);
    hear(ends[0], &ready, sizeof ready);
    *from = ends[0];
    return pid;
}

/* Column `which` of the rounds in its order, by the place of the double in them. */
static const double *in_order(const struct round *all, size_t which)
{
    static double one[ROUNDS_MOST];
    for (int i = 0; i < rounds; i++)
        memcpy(&one[i], (const char *)&all[i] + which, sizeof *one);
    qsort(one, (size_t)rounds, sizeof *one, compare);
    return one;
}

/* Median, least and most of a column. */
static void print_column(const char *name, const struct round *all, size_t which)
{
    const double *one = in_order(all, which);
    if (as_json)
        printf(",\"%s_ms\":%.3f,\"%s_least_ms\":%.3f,\"%s_most_ms\":%.3f", name, one[rounds / 2],
               name, one[0], name, one[rounds - 1]);
    else
        printf(" %9.2f %9.2f %9.2f", one[rounds / 2], one[0], one[rounds - 1]);
}

static void print_rounds(uint64_t size, uint64_t batch, unsigned level, const struct round *all)
{
    static const char *const name[] = {"killed", "outage", "among", "lanes"};
    double mib = (double)size / (1 << 20),
           cpu = in_order(all, offsetof(struct round, cpu))[rounds / 2];
    printf(as_json ? "{\"bench\":\"recover\",\"case\":\"%s\",\"mib\":%.0f,\"level\":%u,"
                     "\"batch_bytes\":%llu,\"batches\":%.0f,\"rounds\":%d"
                   : "%.0s%6.0f %6u %8llu %10.0f",
           name[way], mib, level, (unsigned long long)batch, all[rounds - 1].batches, rounds);
    print_column("open", all, offsetof(struct round, wall));
    printf(as_json ? ",\"cpu_ms\":%.3f,\"cpu_ms_per_gib\":%.2f" : " %9.2f %11.1f", cpu,
           cpu / mib * 1024);
    if (way == AMONG) {
        print_column("reader", all, offsetof(struct round, reader));
        printf(as_json ? ",\"since_kill_ms\":%.3f" : " %9.2f",
               in_order(all, offsetof(struct round, kill))[rounds / 2]);
    }
    puts(as_json ? "}" : "");
    fflush(stdout);
}

static void measure(uint64_t size, uint64_t batch, unsigned level)
{
    struct round all[ROUNDS_MOST] = {{0}};
    int reader = -1;
    unlink(source + strlen("file:"));
    pid_t pid = fork();
    if (pid == 0)
        fill(size, batch, level);
    child_is_well(pid);
    if (way == AMONG)
        pid = reader_of(&reader);
    for (int i = 0; i < rounds; i++)
        open_once(&all[i], batch, reader);
    if (way == AMONG) {
        child_is_well(pid);
        close(reader);
    }
    print_rounds(size, batch, level, all);
}

static int list_of(const char *text, uint64_t *out)
{
    int count = 0;
    char *end;
    while (count < LIST_MOST && *text != '\0') {
        out[count++] = strtoull(text, &end, 10);
        text = *end == ',' ? end + 1 : "";
    }
    return count;
}

int main(int argc, char **argv)
{
    static const struct option known[] = {
        {"sizes", 1, 0, 's'},     {"batches", 1, 0, 'b'}, {"levels", 1, 0, 'l'},
        {"rounds", 1, 0, 'r'},    {"dir", 1, 0, 'd'},     {"outage", 0, 0, 'o'},
        {"among", 0, 0, 'a'},     {"lanes", 0, 0, 'n'},   {"whole", 0, &whole, 1},
        {"json", 0, &as_json, 1}, {"help", 0, 0, 'h'},    {0, 0, 0, 0}};
    uint64_t sizes[LIST_MOST] = {256}, batches[LIST_MOST] = {256, 4096, 65536},
             levels[LIST_MOST] = {0, 4, 5};
    int a = 1, b = 3, c = 3;
    const char *dir = "/dev/shm";
    for (int flag; (flag = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        if (flag == 's')
            a = list_of(optarg, sizes);
        else if (flag == 'b')
            b = list_of(optarg, batches);
        else if (flag == 'l')
            c = list_of(optarg, levels);
        else if (flag == 'r')
            rounds = atoi(optarg) < 1 ? 1 : atoi(optarg) > ROUNDS_MOST ? ROUNDS_MOST : atoi(optarg);
        else if (flag == 'd')
            dir = optarg;
        else if (flag == 'o' || flag == 'a' || flag == 'n')
            way = flag == 'o' ? OUTAGE : flag == 'a' ? AMONG : LANES;
        else if (flag != 0)
            return flag == 'h' ? fputs(help, stdout) < 0 : 2;
    }
    snprintf(source, sizeof source, "file:%s/recover.%d", dir, (int)getpid());
    if (!as_json)
        printf("   MiB  level    batch    batches   wall ms     least      most    cpu ms  "
               "cpu ms/GiB%s\n",
               way == AMONG ? " reader ms     least      most      kill" : "");
    for (int i = 0; i < a; i++)
        for (int k = 0; k < c; k++)
            for (int j = 0; j < b; j++)
                if (levels[k] != 0 || way == KILLED || way == AMONG)
                    measure(sizes[i] << 20, batches[j], (unsigned)levels[k]);
    unlink(source + strlen("file:"));
    return 0;
}
