/*
 * fuzz_lanes.h - a log in lanes, in memory that is not coherent, for fuzz_hostile.c.
 *
 * Owns: the kinds of such logs, what other processes do with one. Threads: one at a time.
 * Invariant: what is opened here is closed here.
 * Uses: fuzz_guard.h, the boxes of lanes. Used by: fuzz_hostile.c. Not here: what is the same for
 * each kind of log.
 */
#ifndef TIDE_FUZZ_LANES_H
#define TIDE_FUZZ_LANES_H

#include "box/crc.h"
#include "box/laneaudit.h"
#include "box/lanemend.h"
#include "box/logapi_lanes.h"

#include "fuzz_guard.h"

enum { LANES = 4, NODES = 2, CALLS = 12 };

/* ns that somebody waits for an answer: of a log that nobody changed, where the sequencer is, and
 * from another process. */
#define LONG_TERM INT64_C(20000000000)
#define SHORT_TERM INT64_C(300000)
#define TERM INT64_C(20000000)

/* The lease is that of 10 s, for a slow machine should not look like a hostile one; changes of the
 * head make it shorter. */
#define APART .brokers = 2, .coherence = TIDE_LOG_NONCOHERENT, .sequencing = TIDE_LOG_STEPPED
static const struct tide_log_options lanes_kinds[LANES] = {
    {.level = 5, .slots = 24, .payload = 8192, .clients = 2, .checksum = 1, APART},
    {.level = 4, .slots = 23, .payload = 8128, .clients = 2, APART},
    {.level = 5, .slots = 24, .payload = 8192, .clients = 4, .nodes = NODES, APART},
    {.level = 4, .slots = 23, .payload = 8128, .clients = 4, .checksum = 1, .nodes = NODES, APART},
};

/* The check sum over the lines of the head, without itself and the magic. */
static uint32_t lanes_sum(const struct tide_lanes_head *head)
{
    struct tide_lanes_head copy;
    memcpy((void *)&copy, (const void *)head, 256);
    memset((void *)&copy.magic, 0, sizeof copy.magic);
    copy.check = 0;
    return tide_crc(0, (const void *)&copy, 256);
}

/* --- hosts among each other, on a clock of their own ----------------------------------------- */

static uint64_t lanes_clock;

static uint64_t lanes_now(const struct tide_lanes *map)
{
    return lanes_clock += map->lease / 5;
}

/* Knocks, beats until it has lost the node, or leaves. */
static void lanes_visit(struct tide_lanecrew *crew, const struct tide_lanes *map, uint32_t number)
{
    struct tide_lanecrew_node node;
    if (tide_lanecrew_knock(&node, map, number, 77 + number) != 0)
        return;
    int error = -EAGAIN;
    for (int i = 0; i < CALLS && error == -EAGAIN; i++) {
        tide_lanecrew_serve(crew, lanes_now(map));
        error = tide_lanecrew_granted(&node, lanes_now(map));
    }
    for (int i = 0; i < CALLS && error == 0; i++) {
        if (i < CALLS / 2)
            error = tide_lanecrew_beat(&node, lanes_now(map));
        tide_lanecrew_serve(crew, lanes_now(map));
    }
    if (number % 2 != 0)
        tide_lanecrew_expel(crew, number, lanes_now(map));
    else if (error == 0)
        tide_lanecrew_leave(&node);
    tide_lanecrew_serve(crew, lanes_now(map));
}

/* One host after the other bids for the sequencer, and serves the nodes. */
static void lanes_hosts(const struct made *it, unsigned char *base)
{
    struct tide_layout_fault fault;
    struct tide_lanes map;
    struct tide_laneseq seq;
    struct tide_lanecrew crew;
    struct tide_lanecrew_bid bid;
    if (!tide_lanes_open(&map, TIDE_COH_NONCOHERENT, base + it->log_at, it->log_size, &fault))
        return;
    tide_lanecrew_bid(&bid, &map, 55, lanes_now(&map));
    for (int i = 0; i < CALLS && tide_lanecrew_won(&bid, lanes_now(&map)) == -EAGAIN; i++)
        ;
    must(tide_laneseq_open(&seq, &map) == 0, "no memory");
    tide_lanecrew_begin(&crew, &seq, 55, TIDE_LANECREW_BID, lanes_now(&map));
    for (uint32_t i = 0; i < map.nodes; i++)
        lanes_visit(&crew, &map, i);
    for (int i = 0; i < CALLS && tide_lanecrew_lead(&crew, lanes_now(&map)) == 0; i++)
        tide_laneseq_step(&seq, 8);
    tide_lanecrew_resign(&crew);
    tide_laneseq_close(&seq);
}

/* --- a repair ------------------------------------------------------------------------------- */

static void lanes_no_change(void *who, const struct tide_lanemend_change *change)
{
    (void)who;
    if (change->kind >= TIDE_LANEMEND_KINDS)
        fuzz_fail("a change of no kind");
}

static void lanes_no_finding(void *who, const struct tide_audit_finding *finding)
{
    if (!finding->note)
        *(const struct tide_audit_finding **)who = finding;
    if (!finding->note)
        FUZZ_TELL("%s: %s", finding->word, finding->what);
}

/* Of a copy: whatever stands there, it is in order afterwards, and nothing else is touched. */
static void lanes_mend(const struct made *it, const unsigned char *base)
{
    static unsigned char *copy;
    static size_t size;
    const struct tide_audit_finding *found = NULL;
    struct tide_layout_fault fault;
    struct tide_lanes map;
    struct tide_audit audit = {.tell = lanes_no_finding, .who = &found, .closed = true};
    if (size != it->log_size) {
        free(copy);
        must((copy = aligned_alloc(4096, it->log_size)) != NULL, "no memory");
        size = it->log_size;
    }
    memcpy(copy, base + it->log_at, it->log_size);
    if (!tide_lanes_open(&map, TIDE_COH_COHERENT, copy, it->log_size, &fault))
        return;
    struct tide_lanemend mend = {.map = &map, .tell = lanes_no_change};
    must(tide_lanemend_run(&mend) == 0, "no memory");
    must(tide_laneaudit_run(&audit, &map), "no memory");
    if (audit.errors != 0)
        fuzz_fail("a repair leaves %llu errors (%s)", (unsigned long long)audit.errors,
                  found->word);
}

/* --- another process -------------------------------------------------------------------------- */

/* One that has the region at other addresses attaches, while a thread here is the sequencer; what
 * it does there is `use`. */
static void lanes_attach(const struct made *it, tide_log_t *log,
                         void (*use)(const struct made *, tide_log_t *, unsigned char *))
{
    struct tide_log_role role = {.node = 1};
    struct tide_region_error why;
    tide_region_t *region;
    tide_log_t *other;
    if (tide_log_start(log, -1) != 0 || tide_region_open(&region, it->path, 0, &why) != 0)
        return;
    unsigned char *base = tide_region_base(region);
    struct guards guards = guard(base);
    poison(it, base, true);
    tide_logapi_lane_patience = changed == 0 ? LONG_TERM : TERM;
    int error = tide_log_attach(&other, region, &role, tide_logapi_lane_patience);
    FUZZ_TELL("attached: %d (%s)", error, error != 0 ? words() : "");
    if (error == 0) {
        use(it, other, base);
        must(tide_log_close(other) == 0, "not closed");
    }
    if (changed == 0 && error != 0)
        fuzz_fail("nobody may attach to a log that nobody changed: %d (%s)", error, words());
    poison(it, base, false);
    unguard(guards);
    tide_region_close(region);
}

#endif
