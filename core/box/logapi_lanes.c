/* logapi_lanes.c - logs in memory that is not coherent: sequenced, waited for, looked at; see
 * logapi_lanes.h */
#include "box/logapi_lanes.h"

#include "box/clock.h"

enum { LANES_STEP = 64 };

#define LANES_LOOK INT64_C(1000000) /* sleepers look each so many ns: other hosts ring no bell */

/* --- living ---------------------------------------------------------------------------- */

static int logapi_lane_gone(void)
{
    return tide_logapi_error(-ESTALE, "this process has lost its node of the log", 0,
                             TIDE_LOGAPI_WORDS, 0);
}

/* When it is time for it, or now. */
static void logapi_lane_pulse(struct tide_logapi_lanelog *self, bool at_once)
{
    uint64_t now = tide_clock_now();
    if (!at_once && !tide_lanecrew_is_due(&self->node, now))
        return;
    tide_lock_take_own(&self->pulse);
    now = tide_clock_now();
    if ((at_once || tide_lanecrew_is_due(&self->node, now)) &&
        tide_lanecrew_beat(&self->node, now) != 0)
        atomic_store_explicit(&self->gone, true, memory_order_release);
    tide_lock_drop_own(&self->pulse);
}

int tide_logapi_lane_live(struct tide_logapi_lanelog *self, bool at_once)
{
    if (self->map.nodes == 1)
        return 0; /* nobody else can have it */
    if (!atomic_load_explicit(&self->gone, memory_order_acquire))
        logapi_lane_pulse(self, at_once);
    return atomic_load_explicit(&self->gone, memory_order_acquire) ? logapi_lane_gone() : 0;
}

/* --- waiting -------------------------------------------------------------------------- */

int tide_logapi_lane_wait(struct tide_logapi_patience *self)
{
    if (tide_logapi_lane_beat(self->log) != 0)
        return -ESTALE;
    if (self->timeout == 0)
        return -EAGAIN;
    int64_t left = tide_logapi_left(&self->end, self->timeout);
    if (left == 0)
        return -ETIMEDOUT;
    self->wait.timeout = left < 0 || left > LANES_LOOK ? LANES_LOOK : left;
    self->wait.end = 0;
    tide_logapi_wait(&self->wait);
    return 0;
}

/* --- the sequencer ----------------------------------------------------------------------- */

static bool logapi_lane_leads(const struct tide_logapi_lanelog *self)
{
    return atomic_load_explicit(&self->leads, memory_order_acquire);
}

/* Under the lock: is this process the sequencer, still? */
static bool logapi_lane_may_step(struct tide_logapi_lanelog *self, uint64_t now)
{
    if (logapi_lane_leads(self) && tide_lanecrew_lead(&self->crew, now) != 0)
        atomic_store_explicit(&self->leads, false, memory_order_release);
    return logapi_lane_leads(self);
}

/* With other processes: whether they live is looked at, too. */
static uint64_t logapi_lane_step_among(struct tide_logapi_lanelog *self)
{
    uint64_t now = tide_clock_now(), done = 0;
    if (!logapi_lane_may_step(self, now))
        return 0;
    done = tide_laneseq_step(&self->seq, LANES_STEP);
    return done + tide_lanecrew_serve(&self->crew, now);
}

uint64_t tide_logapi_lane_step(struct tide_logapi_lanelog *self)
{
    if (!logapi_lane_leads(self) || !tide_lock_try(&self->step))
        return 0;
    if (self->map.nodes > 1)
        tide_logapi_lane_beat(self);
    uint64_t done = self->map.nodes > 1 ? logapi_lane_step_among(self)
                                        : tide_laneseq_step(&self->seq, LANES_STEP);
    tide_lock_drop_own(&self->step);
    if (done > 0)
        tide_logapi_ring(&self->data);
    return done;
}

static int64_t logapi_lane_poll(tide_log_t *log)
{
    struct tide_logapi_lanelog *self = tide_logapi_lanelog(log);
    int error = tide_logapi_lane_beat(self);
    uint64_t done = tide_logapi_lane_step(self);
    if (self->sequenced && !logapi_lane_leads(self))
        return tide_logapi_error(-ESTALE, "another process is the sequencer by now", 0,
                                 TIDE_LOGAPI_WORDS, 0);
    return error != 0 ? error : (int64_t)done;
}

void tide_logapi_lane_call(struct tide_logapi_lanelog *self)
{
    atomic_fetch_add_explicit(&self->calls, 1, memory_order_release);
    tide_logapi_ring(&self->work);
}

struct logapi_lane_turn {
    struct tide_logapi_lanelog *log;
    uint64_t calls;
};

static bool logapi_lane_is_called(const void *what)
{
    const struct logapi_lane_turn *turn = what;
    return atomic_load_explicit(&turn->log->calls, memory_order_acquire) != turn->calls;
}

static void *logapi_lane_run(void *argument)
{
    struct tide_logapi_thread *thread = argument;
    struct tide_logapi_lanelog *self = tide_logapi_lanelog(thread->log);
    struct logapi_lane_turn turn = {self, 0};
    struct tide_logapi_patience wait =
        tide_logapi_patience(self, &self->work, logapi_lane_is_called, &turn, TIDE_LOG_BLOCK);
    while (atomic_load_explicit(&self->log.stop, memory_order_acquire) == 0) {
        turn.calls = atomic_load_explicit(&self->calls, memory_order_acquire);
        if (tide_logapi_lane_step(self) > 0)
            wait.wait.turns = 0;
        else if (tide_logapi_lane_wait(&wait) != 0 && !logapi_lane_leads(self))
            break; /* there is nothing left to do for it */
    }
    return NULL;
}

uint64_t tide_logapi_lane_word(struct tide_logapi_lanelog *self, const _Atomic uint64_t *word)
{
    tide_coh_fresh(self->map.coh, word, sizeof *word);
    return tide_coh_get(self->map.coh, word);
}

static uint64_t logapi_lane_committed(tide_log_t *log)
{
    struct tide_logapi_lanelog *self = tide_logapi_lanelog(log);
    return tide_logapi_lane_word(self, &self->map.head->committed);
}

struct logapi_lane_goal {
    tide_log_t *log;
    uint64_t position;
};

static bool logapi_lane_is_committed(const void *what)
{
    const struct logapi_lane_goal *goal = what;
    return logapi_lane_committed(goal->log) > goal->position;
}

static int logapi_lane_wait_committed(tide_log_t *log, uint64_t position, int64_t timeout)
{
    struct logapi_lane_goal goal = {log, position};
    struct tide_logapi_lanelog *self = tide_logapi_lanelog(log);
    struct tide_logapi_patience wait =
        tide_logapi_patience(self, &self->data, logapi_lane_is_committed, &goal, timeout);
    while (!logapi_lane_is_committed(&goal)) {
        int error = tide_logapi_lane_wait(&wait);
        if (error != 0)
            return tide_logapi_lane_error(error, "not committed yet: position", position);
    }
    return 0;
}

static int logapi_lane_not_here(void)
{
    return tide_logapi_error(-ENOTSUP, "only in the process that is the sequencer", 0,
                             TIDE_LOGAPI_WORDS, 0);
}

static int logapi_lane_trim(tide_log_t *log, uint64_t position, uint64_t *earliest)
{
    struct tide_logapi_lanelog *self = tide_logapi_lanelog(log);
    tide_lock_take_own(&self->step);
    bool may = logapi_lane_may_step(self, tide_clock_now());
    if (may)
        tide_laneseq_trim(&self->seq, position);
    tide_lock_drop_own(&self->step);
    if (!may)
        return logapi_lane_not_here();
    tide_logapi_ring(&self->data);
    if (earliest != NULL)
        *earliest = tide_logapi_lane_word(self, &self->map.head->trimmed_place);
    return 0;
}

/* The number of the first message that has no place. */
static uint64_t logapi_lane_messages(struct tide_logapi_lanelog *self, uint64_t committed)
{
    const struct tide_lanes *map = &self->map;
    if (committed == map->first)
        return map->first;
    const struct tide_lanes_entry *entry = tide_lanes_entry(map, committed - 1);
    tide_coh_fresh(map->coh, entry, sizeof *entry);
    return entry->base + entry->count;
}

static int logapi_lane_stat(tide_log_t *log, struct tide_log_stat *out)
{
    struct tide_logapi_lanelog *self = tide_logapi_lanelog(log);
    const struct tide_lanes *map = &self->map;
    uint64_t committed = logapi_lane_committed(log);
    *out = (struct tide_log_stat){
        .level = map->level,
        .brokers = map->brokers,
        .clients = map->clients,
        .readers = map->readers,
        .sequencing = TIDE_LOG_STEPPED,
        .retain = (unsigned)map->retain,
        .checksum = map->checksum,
        .slots = map->slots.size,
        .payload = map->granules.size * TIDE_LAYOUT_GRANULE,
        .size = map->size,
        .earliest = tide_logapi_lane_word(self, &map->head->trimmed_place),
        .committed = committed,
        .taken = committed,
        .messages = logapi_lane_messages(self, committed),
        .coherence = TIDE_LOG_NONCOHERENT,
    };
    return 0;
}

static int logapi_lane_expel(tide_log_t *log, uint64_t node)
{
    struct tide_logapi_lanelog *self = tide_logapi_lanelog(log);
    int error = -ESRCH;
    uint64_t now = tide_clock_now();
    tide_lock_take_own(&self->step);
    bool may = logapi_lane_may_step(self, now);
    if (may && node < self->map.nodes && node != self->node.number)
        error = tide_lanecrew_expel(&self->crew, (uint32_t)node, now);
    tide_lock_drop_own(&self->step);
    if (!may)
        return logapi_lane_not_here();
    return error == 0 ? 0 : tide_logapi_error(error, "no other process that has node", node, 1, 0);
}

const struct tide_logapi_lanes tide_logapi_lanes = {
    .poll = logapi_lane_poll,
    .run = logapi_lane_run,
    .committed = logapi_lane_committed,
    .wait_committed = logapi_lane_wait_committed,
    .trim = logapi_lane_trim,
    .stat = logapi_lane_stat,
    .expel = logapi_lane_expel,
};
