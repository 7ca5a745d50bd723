/*
 * crash_world.h - what lives of a log share (see crash_life.h): the plan of each, the history of
 * all, where one dies, and what is left of its file when the machine stops.
 */
#ifndef TESTS_CRASH_WORLD_H
#define TESTS_CRASH_WORLD_H

#include "region_case.h"

#include <tidepool/log.h>

#include "box/logapi.h"

#include "log_fiber.h"
#include "log_history.h"

enum {
    CRASH_REGION = 4 << 20,
    CRASH_PRODUCERS = 4,
    CRASH_BATCHES = 14,
    CRASH_LIVES = 8,
    CRASH_EVENTS = 100000,
    CRASH_BLOCK = 2000,
    CRASH_LARGE = 600000, /* more than a segment */
    CRASH_PAGE = 4096,
    CRASH_PATIENCE = 200000000 /* ns for a durable acknowledgement */
};

struct crash_plan {
    uint64_t seed;
    struct tide_log_options options;
    bool blocks;  /* by reference too */
    bool durable; /* its file is a medium, and synced */
    int life;
    bool last;     /* goes to the end, and judges */
    bool over;     /* only what is left of the region is looked at */
    bool held;     /* dies when it has done its work, and only claims are out */
    uint64_t stop; /* dies at this access; 0: at none */
    int point;     /* dies here, at the n-th time; the last one only when it has judged. -1: no */
    uint64_t turn;
};

/* What the lives share. */
static struct crash_world {
    struct log_history history;
    struct log_event event[CRASH_EVENTS];
    uint64_t next[CRASH_PRODUCERS];            /* behind the last number that was used */
    uint64_t acked[CRASH_PRODUCERS];           /* level 4: those below have places */
    _Atomic uint64_t deaths[TIDE_CRASH_COUNT]; /* at each point */
    uint64_t durable;                          /* places below were said to be */
    uint64_t numbers[CRASH_PRODUCERS];         /* level 4: those below were said to be */
    bool outage;     /* the machine stopped, and the log was not opened since */
    uint64_t opened; /* accesses before the log was open */
    uint64_t repairs, lost;
    uint64_t lasting; /* batches that were acknowledged as durable */
    uint64_t kept;    /* outages after which numbers of level 4 stayed acknowledged */
    unsigned char disk[CRASH_REGION]; /* what was written of the file */
} * world;

static struct crash_plan plan;
static uint64_t crash_made; /* accesses outside fibers */
static uint64_t crash_random;
static bool crash_is_spared;                     /* no point ends it */
static _Atomic int crash_busy, crash_sequencing; /* producers and sequencers at work */
static bool crash_is_syncing;                    /* one fiber writes the medium, or is about to */
static tide_region_t *region;
static tide_heap_t *heap;
static tide_log_t *log_;
static tide_log_reader_t *reader;

static inline void crash_world_make(void)
{
    world = mmap(NULL, sizeof *world, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(world, MAP_FAILED);
}

static inline void crash_world_begin(const struct crash_plan *first)
{
    memset(world->next, 0, sizeof world->next);
    memset(world->acked, 0, sizeof world->acked);
    memset(world->numbers, 0, sizeof world->numbers);
    world->durable = first->options.first;
    world->outage = false;
    memset(world->event, 0, world->history.count * sizeof *world->event);
    world->history = (struct log_history){.event = world->event,
                                          .room = CRASH_EVENTS,
                                          .level = first->options.level,
                                          .first = first->options.first};
}

static inline void crash_die(void)
{
    kill(getpid(), SIGKILL);
}

/* --- where it dies ----------------------------------------------------------------------- */

/* Now and then a fiber stays there for long, as the others go on. Not where it has a lock. */
static inline void crash_linger(enum tide_crash_point point)
{
    bool locked = point < TIDE_CRASH_ring_claimed || point == TIDE_CRASH_block_given;
    if (tide_coh_hook != fiber_point || locked || unit_random(&crash_random) % 32 != 0)
        return;
    for (uint64_t end = fibers.points + unit_random(&crash_random) % 2000; fibers.points < end;)
        fiber_wait();
}

static inline void crash_at_point(enum tide_crash_point point)
{
    crash_linger(point);
    if ((int)point != plan.point || crash_is_spared || --plan.turn != 0)
        return;
    atomic_fetch_add(&world->deaths[point], 1);
    crash_die();
}

static inline void crash_at_access(void)
{
    if (++crash_made == plan.stop)
        crash_die();
}

static inline void crash_write_page(uint64_t page)
{
    memcpy(world->disk + page * CRASH_PAGE, region->extent.base + page * CRASH_PAGE, CRASH_PAGE);
}

/* Whatever the file is in, it is a medium: page by page, while others go on. */
static inline int crash_at_write(const void *at, size_t bytes)
{
    if (at == NULL || bytes == 0)
        return 0;
    uint64_t from = (uint64_t)((const char *)at - (const char *)region->extent.base);
    for (uint64_t page = from / CRASH_PAGE; page <= (from + bytes - 1) / CRASH_PAGE; page++) {
        crash_write_page(page);
        if (tide_coh_hook == fiber_point && unit_random(&crash_random) % 64 == 0)
            fiber_point();
    }
    return 0;
}

/* All that is to be run is a fiber by now. */
static inline void crash_run_fibers(void)
{
    fibers.random = (plan.seed * 16 + (uint64_t)plan.life + 1) * 0xd6e8feb86659fd93u;
    fibers.most = 2000000;
    fibers.stop = plan.stop > crash_made ? plan.stop - crash_made : 0;
    fiber_run();
    if (fibers.points == fibers.stop && fibers.stop != 0)
        crash_die();
    crash_made += fibers.points;
    tide_coh_hook = crash_at_access;
}

/* --- the machine ------------------------------------------------------------------------- */

static unsigned char *crash_file; /* the region's file, as it is */

/* Another region is begun. */
static inline void crash_watch_file(const char *text)
{
    int fd = open(strchr(text, '/'), O_RDWR | O_CLOEXEC);
    if (crash_file != NULL)
        munmap(crash_file, CRASH_REGION);
    crash_file = mmap(NULL, CRASH_REGION, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
    ck_assert_ptr_ne(crash_file, MAP_FAILED);
    close(fd);
}

/* The machine stops: of each page that was not written since, the file has the old one, the new
 * one, or some lines of each. */
static inline void crash_power_off(uint64_t draw)
{
    unsigned char *file = crash_file;
    uint64_t random = draw | 1, share = draw % 9; /* of new pages, in eighths */
    for (uint64_t at = 0; at < CRASH_REGION; at += CRASH_PAGE) {
        if (memcmp(file + at, world->disk + at, CRASH_PAGE) == 0)
            continue;
        bool torn = unit_random(&random) % 4 == 0, fresh = unit_random(&random) % 8 < share;
        for (uint64_t i = 0; i < CRASH_PAGE; i += TIDE_LINE)
            if (torn ? unit_random(&random) % 2 != 0 : !fresh)
                memcpy(file + at + i, world->disk + at + i, TIDE_LINE);
        memcpy(world->disk + at, file + at, CRASH_PAGE);
    }
    struct tide_logroom *room = (struct tide_logroom *)(void *)(file + TIDE_PLOT_AREA_AT);
    room->boot[0] = draw; /* another start of the machine */
    memcpy(world->disk + TIDE_PLOT_AREA_AT, room, sizeof *room);
    world->outage = true;
}

#endif
