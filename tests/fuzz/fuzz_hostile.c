/*
 * fuzz_hostile.c - a region with a log in it that somebody writes to who means no good.
 *
 * The input: which log (its level, who gives the places, in lanes or not), how it was left (closed,
 * its process killed, the machine stopped), whether the region is opened again, or another process
 * attaches, which sums are made right
 * afterwards, whether a thread goes on changing the words, or they change between two accesses of
 * the log's own, which is the same each time. Then come changes of 9 bytes each:
 *   when (before opening, after opening, after appending, after reading), how wide, set or add
 *   which table      which element of it      which bytes of it      which value      4 bytes
 * The whole life of the log follows: looked at from outside, opened, read, appended to, trimmed,
 * synced, closed, removed, and its region swept.
 *
 * The oracle: the sanitizers. Around the region lie pages that cannot be touched; what is not the
 * log's in it is poisoned as long as nobody changes words of the region's own. Batches and claims
 * are payload of their broker, or of the client's lane. What is flushed lies in the region. A log
 * that nobody changed is opened, has no findings and takes a batch.
 *
 * Faults (FUZZ_PLANT): refuse (an error where all is right), flush (of a byte behind the
 * region), behind (a byte behind the log is written), beside (a batch is longer than it is).
 */
#define _GNU_SOURCE 1
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>

#include <tidepool/tidepool.h>

#include "../audit_case.h"

#include "box/crc.h"
#include "box/retire.h"

#include "fuzz.h"
#include "fuzz_clock.h"
#include "fuzz_guard.h"
#include "fuzz_lanes.h"
#include "fuzz_words.h"

enum { KINDS = 6, ALL = KINDS + LANES, READS = 40, TURNS = 256, STEPS = 3000 };

static const struct tide_log_options kinds[KINDS] = {
    {.level = 0, .brokers = 2, .slots = 24, .payload = 8192, .checksum = 1},
    {.level = 5, .brokers = 2, .slots = 24, .payload = 8192, .checksum = 1},
    {.level = 4, .brokers = 2, .slots = 24, .payload = 8192, .clients = 2, .window = 8},
    {.level = 4, .brokers = 3, .slots = 23, .payload = 8128, .clients = 2, .sessions = 1},
    {.level = 5, .brokers = 2, .slots = 23, .payload = 8128, .sequencing = 1, .checksum = 1},
    {.level = 4, .brokers = 2, .slots = 24, .payload = 8192, .clients = 2, .sequencing = 1},
};

static struct made all[ALL];

/* --- how often what was done ------------------------------------------------------------- */

enum { WAYS = 16 }; /* sums made right, words change meanwhile, opened again, between accesses */

static uint64_t counts[ALL][STATES][WAYS][2]; /* the last one: was the log opened? */

/* FUZZ_COUNTS=FILE: a line for each way in which inputs were run, at the end. */
static void tell_counts(void)
{
    const char *name = getenv("FUZZ_COUNTS");
    FILE *file = name != NULL ? fopen(name, "a") : NULL;
    if (file == NULL)
        return;
    for (unsigned i = 0; i < ALL * STATES * WAYS; i++) {
        unsigned kind = i / WAYS / STATES, state = i / WAYS % STATES, way = i % WAYS;
        const uint64_t *count = counts[kind][state][way];
        fprintf(file,
                "kind=%u state=%u signed=%u meddled=%u again=%u stepped=%u refused=%llu "
                "opened=%llu\n",
                kind, state, way & 1, way >> 1 & 1, way >> 2 & 1, way >> 3,
                (unsigned long long)count[0], (unsigned long long)count[1]);
    }
    fclose(file);
}

/* --- making ------------------------------------------------------------------------------- */

static void save(struct made *it, int state)
{
    unsigned char *to = malloc(HEAD + it->log_size + BLOCKS);
    memcpy(to, it->base, HEAD);
    memcpy(to + HEAD, it->base + it->log_at, it->log_size);
    memcpy(to + HEAD + it->log_size, it->base + it->heap_at, BLOCKS);
    it->image[state] = to;
}

static void restore(const struct made *it, int state, unsigned char *base)
{
    const unsigned char *from = it->image[state];
    memcpy(base, from, HEAD);
    memcpy(base + it->log_at, from + HEAD, it->log_size);
    memcpy(base + it->heap_at, from + HEAD + it->log_size, BLOCKS);
}

static void *make_block(struct made *it)
{
    void *block = tide_log_block(it->heap, 100, 7);
    must(block != NULL, "no block");
    memset(TIDE_LOG_BODY(block), 'b', 100);
    it->heap_at =
        (size_t)((unsigned char *)block - it->base) / TIDE_REGION_SEGMENT * TIDE_REGION_SEGMENT;
    return block;
}

static void append_block(struct made *it, tide_log_client_t *client, unsigned broker)
{
    must(tide_log_append_block(client, broker, make_block(it), TIDE_LOG_ROOM(100), TIDE_LOG_TRY,
                               NULL) == 0,
         "no append by reference");
}

/* A few laps; then some batches that are kept, one of them in a block, one that waits. */
static void use(struct made *it, struct audit_log *log, struct tide_log_options options)
{
    for (unsigned i = 0; i < 38; i++) {
        audit_append(log, i, options.brokers);
        if ((i == 17 || i == 31) && !it->lanes)
            append_block(it, log->client[i % 2], i % options.brokers);
        tide_log_poll(log->log);
        if (i % 6 == 5 && i < 36)
            audit_read(log, options.level);
    }
    if (options.level == 4) { /* ahead of its turn */
        uint64_t expected;
        must(tide_log_acked(log->client[0], &expected) == 0, "no session");
        must(tide_log_set_number(log->client[0], expected + 1) == 0, "no number");
        must(tide_log_append(log->client[0], 0, "early", 5, TIDE_LOG_TRY, NULL) == 0, "no early");
        tide_log_poll(log->log);
    }
    tide_log_committed(log->log);
}

static struct tide_logroom *room_of(unsigned char *base)
{
    return (struct tide_logroom *)(void *)(base + TIDE_PLOT_AREA_AT);
}

/* Where the parts of the log are that nobody changed yet. */
static void find(struct made *it, tide_log_t *log)
{
    const struct tide_lanes *lanes = &tide_logapi_lanelog(log)->map;
    const struct tide_logmap *map = &log->map;
    unsigned char *base = it->lanes ? lanes->base : map->base;
    unsigned char *payload = it->lanes ? lanes->payload : map->payload;
    uint64_t granules =
        it->lanes ? lanes->granules.size * lanes->lanes : map->granules.size * map->brokers;
    it->log_at = (size_t)(base - it->base);
    it->log_size = it->lanes ? lanes->size : map->size;
    it->payload_at = (size_t)(payload - it->base);
    it->index_at = it->lanes ? lanes->head->index_at : map->head->index_at;
    it->payload_size = granules * TIDE_LAYOUT_GRANULE;
    it->entries = it->lanes         ? lanes->entries.size
                  : map->level != 0 ? map->entries.size
                                    : map->slots.size;
}

/* As the machine leaves it that stops: the kind of log that knows what is durable says so. */
static void stop_machine(struct made *it)
{
    struct tide_logroom_said said = {AUDIT_FIRST + 30, 0, AUDIT_FIRST + 20, 1};
    struct tide_layout_head *head = (void *)(it->base + it->log_at);
    struct tide_layout_entry *index = (void *)((unsigned char *)head + head->index_at);
    room_of(it->base)->boot[0] ^= 1;
    if (it->lanes)
        return;
    if (head->level != 0) {
        said.kept = head->trimmed_place;
        said.places = head->committed - 2;
        said.base = index[said.places % head->entries].base;
    }
    tide_logroom_say(room_of(it->base), said);
}

static void make(struct made *it, struct tide_log_options options)
{
    struct audit_log log = {NULL, {NULL, NULL}, NULL};
    struct tide_log_client_options who = {.id = 0};
    struct tide_region_error error;
    options.first = AUDIT_FIRST;
    options.retain = TIDE_LOG_KEEP_ALL;
    options.readers = 4;
    it->lanes = options.coherence == TIDE_LOG_NONCOHERENT;
    it->nodes = options.nodes;
    must(tide_region_create(&it->region, "memfd", SIZE, 0, &error) == 0, "no region");
    it->base = tide_region_base(it->region);
    snprintf(it->path, sizeof it->path, "file:/proc/self/fd/%d", it->region->extent.fd);
    must(tide_log_create_on(&log.log, it->region, &options) == 0, "no log");
    must((it->heap = tide_heap_create_on(it->region)) != NULL, "no heap");
    find(it, log.log);
    for (who.id = 0; who.id < 2; who.id++)
        must(tide_log_client_open(&log.client[who.id], log.log, &who) == 0, "no client");
    if (options.level != 0)
        must(tide_log_reader_open(&log.reader, log.log, NULL) == 0, "no reader");
    if (it->lanes)
        make_block(it);
    use(it, &log, options);
    save(it, 1); /* as a process leaves it that is killed */
    struct tide_logroom *room = (struct tide_logroom *)(void *)(it->image[1] + TIDE_PLOT_AREA_AT);
    room->owner.word = 0;
    for (int i = 0; i < TIDE_LAYOUT_MEMBERS; i++)
        room->crew[i].word = 0; /* or it would be this process, which runs */
    audit_close_log(&log);
    save(it, 0);
    restore(it, 1, it->base);
    stop_machine(it);
    save(it, 2);
    guard(it->base);
}

/* --- sums --------------------------------------------------------------------------------- */

static uint64_t plot_sum(const unsigned char *head)
{
    uint64_t sum = TIDE_PLOT_MAGIC, part;
    for (size_t at = 8; at < offsetof(struct tide_plot_head, check); at += sizeof part) {
        memcpy(&part, head + at, sizeof part);
        sum = tide_mix(sum ^ part) + at;
    }
    return sum;
}

/* What a writer who knows the format makes right: what he changed is believed. */
static void sign(const struct made *it, unsigned char *base)
{
    struct tide_logroom *room = room_of(base);
    struct tide_layout_head *head = (void *)(base + it->log_at);
    struct tide_lanes_head *lanes = (void *)(base + it->log_at);
    ((struct tide_plot_head *)(void *)base)->check = plot_sum(base);
    room->check = tide_crc(0, (unsigned char *)room + 8, offsetof(struct tide_logroom, check) - 8);
    if (it->lanes)
        lanes->check = lanes_sum(lanes);
    else
        head->check = tide_layout_check(head);
    for (int i = 0; i < 2; i++)
        room->mark[i].check = UINT64_C(1) << 32 | tide_crc(0, (void *)&room->mark[i], 40);
}

/* --- the other thread ----------------------------------------------------------------------- */

static sem_t begin, end;
static unsigned char *target;
static _Atomic bool stop;

/* Each word in turn is what was asked for, and what it was. */
FUZZ_PLAIN static void *meddle(void *unused)
{
    (void)unused;
    for (;;) {
        uint64_t before[CHANGES];
        while (sem_wait(&begin) != 0)
            ;
        unsigned char *base = target;
        for (unsigned i = 0; i < changed; i++)
            before[i] = load(base, &changes[i]);
        for (unsigned turn = 0; !stop; turn++) {
            for (unsigned i = 0; i < changed; i++)
                apply(base, &changes[i],
                      turn % 2 != 0 && !changes[i].add ? before[i] : changes[i].value);
            if (turn % TURNS == TURNS - 1)
                sched_yield(); /* where there are fewer processors than threads */
        }
        sem_post(&end);
    }
    return NULL;
}

static void meddle_start(unsigned char *base)
{
    target = base;
    stop = false;
    sem_post(&begin);
}

static void meddle_stop(void)
{
    if (target == NULL)
        return;
    stop = true;
    while (sem_wait(&end) != 0)
        ;
    target = NULL;
}

/* The same between two accesses of shared words by the library: one change, there or back. It ends
 * some time, for who tries an exchange until it wins (the door of a session) never would. */
static unsigned steps;
static uint64_t held[CHANGES];

FUZZ_PLAIN static void meddle_step(void)
{
    unsigned i = steps % changed, turn = steps / changed;
    if (steps >= STEPS)
        return;
    apply(target, &changes[i], turn % 2 != 0 && !changes[i].add ? held[i] : changes[i].value);
    steps++;
}

static void steps_start(unsigned char *base)
{
    target = base;
    steps = 0;
    for (unsigned i = 0; i < changed; i++)
        held[i] = load(base, &changes[i]);
    tide_coh_hook = meddle_step;
}

static void steps_stop(void)
{
    tide_coh_hook = NULL;
    target = NULL;
}

/* --- the life of a log ------------------------------------------------------------------------ */

static unsigned char *now;
static unsigned char scratch[1 << 16];

/* What is written to the medium lies in the region. */
static int flushed(const void *at, size_t bytes)
{
    size_t from = (size_t)((const unsigned char *)at - now) + (fuzz_plays("flush") ? SIZE : 0);
    if (at != NULL && (from > SIZE || bytes > SIZE - from))
        fuzz_fail("%zu bytes at %zu are flushed, outside the region", bytes, from);
    return 0;
}

static uint64_t audit_region(const struct made *it, unsigned char *base)
{
    struct tide_peek peek;
    struct tide_layout_fault fault;
    if (!tide_peek_open(&peek, base + it->log_at, it->log_size, &fault))
        return 1;
    tide_peek_region(&peek, base, SIZE);
    audit_look(&peek);
    struct tide_audit audit = {.peek = &peek, .tell = audit_no_tell};
    must(tide_audit_run(&audit), "no memory");
    audit.live = true;
    must(tide_audit_run(&audit), "no memory");
    return audit.errors;
}

/* As a program goes over the messages. What it reads twice may differ: it copies the length. */
static void read_some(const struct made *it, tide_log_t *log, tide_log_reader_t *reader,
                      const unsigned char *base, bool copies)
{
    struct tide_log_batch batch[3];
    for (int i = 0; i < READS; i++) {
        int got = tide_log_read(reader, batch, 3, TIDE_LOG_TRY);
        if (got == -EOVERFLOW || got == -ENOMEM)
            continue;
        if (got <= 0)
            break;
        for (int k = 0; k < got; k++) {
            size_t at = 0, from = 0;
            if (!copies)
                look_at_batch(it, log, base, &batch[k]);
            while (tide_log_next(&batch[k], &at) != NULL && at <= batch[k].size) {
                memcpy(scratch, batch[k].data + from, tide_min(at - from, sizeof scratch));
                from = at;
            }
        }
    }
    tide_log_done(reader);
}

static void stat_all(tide_log_t *log)
{
    struct tide_log_stat stat;
    struct tide_log_broker_stat broker;
    struct tide_log_reader_stat reader;
    struct tide_log_session_stat session;
    tide_log_stat(log, &stat);
    for (unsigned i = 0; i < 4; i++) {
        tide_log_stat_broker(log, i, &broker);
        tide_log_stat_reader(log, i, &reader);
        tide_log_stat_session(log, i, &session);
    }
}

static void claim_some(tide_log_t *log, tide_log_client_t *client, unsigned id)
{
    struct tide_log_claim claim;
    if (tide_log_claim(client, 0, 900, TIDE_LOG_TRY, &claim) == 0) {
        look_at_claim(log, &claim, id, 0);
        void *to = tide_log_put(&claim, 700, 3);
        if (to != NULL)
            memset(to, 'c', 700);
        tide_log_commit(&claim, NULL);
    }
    if (tide_log_claim(client, 1, 64, TIDE_LOG_TRY, &claim) == 0) {
        look_at_claim(log, &claim, id, 1);
        tide_log_abort(&claim);
    }
}

/* How many were taken. */
static int append_some(tide_log_t *log, unsigned id)
{
    static const char text[300] = "text";
    struct tide_log_message messages[2] = {{text, 300, 1}, {text, 5, 2}};
    struct tide_log_client_options who = {.id = id};
    struct tide_log_stat stat;
    tide_log_client_t *client;
    int taken = 0;
    if (tide_log_stat(log, &stat) != 0 || tide_log_client_open(&client, log, &who) != 0)
        return 0;
    for (unsigned i = 0; i < 6; i++) {
        unsigned broker = i % stat.brokers;
        taken += tide_log_append(client, broker, text, i * 20, TIDE_LOG_TRY, NULL) == 0;
        taken += tide_log_append_batch(client, broker, messages, 2, TIDE_LOG_TRY, NULL) == 0;
        tide_log_poll(log);
    }
    claim_some(log, client, id);
    tide_log_client_close(client);
    return taken;
}

static void trim_some(tide_log_t *log)
{
    uint64_t earliest;
    log->durable.medium = (struct tide_medium){TIDE_MEDIUM_CACHE, NULL};
    if (log->map.level != 0)
        tide_log_sync(log);
    for (unsigned i = 0; i < 2; i++)
        tide_log_trim(log, i, AUDIT_FIRST + 33, &earliest);
    tide_log_trim_to(log, 500);
    for (unsigned i = 0; i < 2; i++)
        tide_log_trim(log, i, UINT64_MAX, &earliest);
    tide_log_reclaim(log);
    tide_log_committed(log);
}

/* What a process does with the log that is not the sequencer. */
static void use_attached(const struct made *it, tide_log_t *log, unsigned char *base)
{
    tide_log_reader_t *reader;
    if (tide_log_reader_open(&reader, log, NULL) != 0)
        reader = NULL;
    append_some(log, 2);
    if (reader != NULL)
        read_some(it, log, reader, base, false);
    stat_all(log);
    tide_log_reader_close(reader);
}

/* Of a log in lanes, whose readers all gate, `how` says where the reader begins; of others, what
 * becomes of it when it is slow. */
static struct tide_log_reader_options reader_of(const struct made *it, unsigned how)
{
    unsigned policy = how % 3;
    if (it->lanes)
        return (struct tide_log_reader_options){.start = how & 3, .position = AUDIT_FIRST + 35};
    return (struct tide_log_reader_options){policy, TIDE_LOG_EARLIEST, 0, policy % 2};
}

/* 0, or the error of opening. */
static int live(const struct made *it, tide_region_t *region, unsigned char *base, unsigned how,
                bool attaches)
{
    tide_log_t *log;
    tide_log_reader_t *reader = NULL;
    struct tide_log_reader_options who = reader_of(it, how);
    hurries = true;
    int error = tide_log_open(&log, region);
    hurries = false;
    if (error != 0)
        return error;
    apply_all(base, 1);
    stat_all(log);
    if (tide_log_reader_open(&reader, log, &who) != 0)
        reader = NULL;
    if (reader != NULL)
        read_some(it, log, reader, base, who.policy == TIDE_LOG_SKIP);
    int taken = append_some(log, 1);
    if (changed == 0 && taken == 0)
        fuzz_fail("a log that nobody changed takes nothing");
    apply_all(base, 2);
    append_some(log, 0);
    if (reader != NULL)
        read_some(it, log, reader, base, who.policy == TIDE_LOG_SKIP);
    apply_all(base, 3);
    if (it->lanes && attaches && it->nodes > 1)
        lanes_attach(it, log, use_attached);
    trim_some(log);
    stat_all(log);
    tide_log_reader_close(reader);
    if (tide_log_close(log) == -EBUSY)
        fuzz_fail("not closed");
    return 0;
}

static void run(struct made *it, int state, unsigned flags)
{
    struct tide_region_error why;
    tide_region_t *region = it->region;
    unsigned char *base = it->base;
    struct guards guards = {{NULL, NULL}};
    bool again = (flags & 12) == 12;
    poison(it, base, true);
    uint64_t errors = state == 0 && !it->lanes ? audit_region(it, base) : 0;
    if (it->lanes)
        lanes_mend(it, base);
    if (again && tide_region_open(&region, it->path, 0, &why) != 0) {
        counts[it - all][state][(flags & 3) | 4 | (flags >> 3 & 8)][0]++;
        if (changed == 0)
            fuzz_fail("a region that nobody changed is refused: %s", why.text);
        return;
    }
    if (again) {
        base = tide_region_base(region);
        guards = guard(base);
        poison(it, base, true);
    }
    now = base;
    int error = live(it, region, base, flags >> 4, (flags & 0xf8) == 0x80);
    error = fuzz_plays("refuse") && error == 0 ? -EPROTO : error;
    counts[it - all][state][(flags & 3) | (again ? 4 : 0) | (flags >> 3 & 8)][error == 0]++;
    FUZZ_TELL("opened: %d (%s)", error, error != 0 ? words() : "");
    if (it->lanes)
        lanes_hosts(it, base);
    if (changed == 0 && errors + (uint64_t)-error != 0 && (state != 2 || error == -EPROTO))
        fuzz_fail("a log that nobody changed has %llu errors, and gives %d (%s)",
                  (unsigned long long)errors, error, words());
    tide_region_reclaim(region);
    hurries = true;
    tide_log_remove(region);
    hurries = false;
    tide_region_reclaim(region);
    if (fuzz_plays("behind"))
        base[it->log_at + it->log_size] = 1;
    poison(it, base, false);
    if (again) {
        unguard(guards);
        tide_region_close(region);
    }
}

static void stopped(const char *report)
{
    (void)report;
    fuzz_fail("stopped by the sanitizer");
}

/* --- entries --------------------------------------------------------------------------------- */

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static pthread_t thread;
    (void)argc;
    (void)argv;
    fuzz_start();
    atexit(tell_counts);
    sem_init(&begin, 0, 0);
    sem_init(&end, 0, 0);
    must(pthread_create(&thread, NULL, meddle, NULL) == 0, "no thread");
    for (int i = 0; i < ALL; i++)
        make(&all[i], i < KINDS ? kinds[i] : lanes_kinds[i - KINDS]);
    __asan_set_error_report_callback(stopped);
    tide_medium_hook = flushed;
    tide_park_hook = hurry;
    tide_trim_patience = 100000; /* whoever waits for a lock, nobody lets it go */
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, data + size};
    unsigned first = fuzz_byte(&in), flags = fuzz_byte(&in);
    unsigned kind = first / KINDS / STATES % 2 == 0 ? first % KINDS : KINDS + first % LANES;
    struct made *it = &all[kind];
    int state = (int)(first / KINDS % STATES);
    FUZZ_TELL("kind %u, state %d, flags %#x", kind, state, flags);
    for (changed = 0; changed < CHANGES && in.at < in.end; changed++)
        changes[changed] = read_change(it, &in);
    tide_logapi_lane_patience = changed == 0 ? LONG_TERM : SHORT_TERM;
    restore(it, state, it->base);
    apply_all(it->base, 0);
    if ((flags & 1) != 0)
        sign(it, it->base);
    /* Who waits for the mutex among steps waits without an end. */
    bool stepped = (flags & 64) != 0 && (it->lanes || kinds[kind].sessions == 0);
    if ((flags & 2) != 0 && changed != 0)
        (stepped ? steps_start : meddle_start)(it->base);
    run(it, state, flags);
    (stepped ? steps_stop : meddle_stop)();
    poison(it, it->base, false);
    return 0;
}
