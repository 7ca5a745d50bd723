/* logapi.c - see logapi.h */
#include "box/logapi_lanes.h"

#include <signal.h>

#include "box/clock.h"
#include "box/diag.h"
#include "box/file.h"
#include "box/park.h"

enum { LOGAPI_THREADS = 256, LOGAPI_PROBES = 16 };

tide_logapi_drain *tide_logapi_drainer TIDE_START_DATA;

/* --- errors ---------------------------------------------------------------------- */

/* The last error of each thread, told apart by where its errno is: a thread variable of our own
 * would take up room that dlopen is short of. A thread that finds no free place takes the place
 * of another one, whose words may then be mixed with its own. */
static struct logapi_last {
    _Atomic(const void *) thread;
    _Atomic(const char *) what;
    _Atomic uint64_t value, low, high;
} __attribute__((aligned(TIDE_LINE))) logapi_last[LOGAPI_THREADS];

static size_t logapi_first(const void *me)
{
    return (size_t)((uintptr_t)me * UINT64_C(0x9e3779b97f4a7c15) >> 40) % LOGAPI_THREADS;
}

TIDE_NOINLINE static struct logapi_last *logapi_mine(const void *me, bool take)
{
    size_t first = logapi_first(me);
    for (size_t i = 0; i < LOGAPI_PROBES; i++) {
        struct logapi_last *last = &logapi_last[(first + i) % LOGAPI_THREADS];
        const void *found = atomic_load_explicit(&last->thread, memory_order_relaxed);
        if (found == me ||
            (take && found == NULL && atomic_compare_exchange_strong(&last->thread, &found, me)))
            return last;
    }
    if (!take)
        return NULL;
    struct logapi_last *last = &logapi_last[first];
    atomic_store_explicit(&last->thread, me, memory_order_relaxed);
    return last;
}

/* Not so rare: a read, or an append, that was but tried. */
TIDE_NOINLINE int tide_logapi_error(int error, const char *what, uint64_t value, uint64_t low,
                                    uint64_t high)
{
    const void *me = &errno;
    struct logapi_last *last = &logapi_last[logapi_first(me)];
    if (TIDE_UNLIKELY(atomic_load_explicit(&last->thread, memory_order_relaxed) != me))
        last = logapi_mine(me, true);
    atomic_store_explicit(&last->what, what, memory_order_relaxed);
    atomic_store_explicit(&last->value, value, memory_order_relaxed);
    atomic_store_explicit(&last->low, low, memory_order_relaxed);
    atomic_store_explicit(&last->high, high, memory_order_relaxed);
    return error;
}

TIDE_EXPORT int tide_log_explain(char *buf, size_t len)
{
    char all[256];
    struct tide_text text = {all, sizeof all, 0};
    const struct logapi_last *last = logapi_mine(&errno, false);
    const char *what = last != NULL ? last->what : NULL;
    tide_text_add(&text, what != NULL ? what : "no error");
    if (what != NULL && last->low != TIDE_LOGAPI_WORDS) {
        tide_text_add(&text, ": ");
        tide_text_number(&text, last->value, 10);
    }
    if (what != NULL && last->low <= last->high) {
        tide_text_add(&text, ", allowed: ");
        tide_text_number(&text, last->low, 10);
        tide_text_add(&text, " to ");
        tide_text_number(&text, last->high, 10);
    }
    if (len > 0) {
        size_t part = tide_min(text.len, len - 1);
        memcpy(buf, all, part);
        buf[part] = '\0';
    }
    return (int)text.len;
}

/* --- handles --------------------------------------------------------------------- */

void *tide_logapi_handle(size_t size)
{
    size = tide_align_up(size, tide_vmem_page_size());
    void *handle = tide_vmem_map(size);
    if (handle != NULL && tide_vmem_advise(handle, size, TIDE_VMEM_FORGET) != 0) {
        tide_vmem_unmap(handle, size);
        return NULL;
    }
    return handle;
}

static bool logapi_is_log(const tide_log_t *log)
{
    return log != NULL && log->magic == TIDE_LOGAPI_LOG;
}

static int logapi_no_log(const tide_log_t *log)
{
    if (tide_logapi_is(log, TIDE_LOGAPI_LANES))
        return tide_logapi_lanes_not();
    return tide_logapi_error(-ESTALE, "not an open log of this process", 0, 1, 0);
}

/* --- waiting ---------------------------------------------------------------------- */

/* Nanoseconds of sleep: for as long as nobody rings, or, where a sleeper cannot be sure to be
 * seen, for a moment. */
#define LOGAPI_NAP UINT64_C(3600000000000)
#define LOGAPI_BLINK UINT64_C(1000000)
#define LOGAPI_LOOK UINT64_C(10000000) /* where others may die */

/* Who may go on, but never gets what it waits for, naps as well: from this long on, twice as long
 * each fourth time, seven times. */
#define LOGAPI_WINK UINT64_C(50000)

enum { LOGAPI_SPINS = 200, LOGAPI_YIELDS = 16, LOGAPI_VAIN = 64, LOGAPI_WINKS = 7 };

TIDE_COLD void tide_logapi_wake_slow(struct tide_layout_bell *bell)
{
    bool shared = atomic_load_explicit(&bell->shared, memory_order_relaxed) != 0;
    atomic_fetch_add_explicit(&bell->word, 1, memory_order_release);
    tide_park_wake(&bell->word, shared);
}

/* Who repairs the log finds out how many of the bell's sleepers are in a process that ended: so
 * never more than there are. */
static void logapi_sleepers(const struct tide_logapi_wait *wait, bool in)
{
    struct tide_layout_bell *bell = wait->bell;
    _Atomic uint32_t none = 0, *mine = &none;
    if (wait->log != NULL && wait->log->crew.shared && bell != &wait->log->synced)
        mine = &wait->log->map.head->member[wait->log->crew.number]
                    .asleep[bell - &wait->log->map.head->data];
    if (in)
        atomic_fetch_add_explicit(&bell->sleepers, 1, memory_order_seq_cst);
    atomic_fetch_add_explicit(mine, in ? 1 : UINT32_MAX, memory_order_seq_cst);
    if (!in)
        atomic_fetch_sub_explicit(&bell->sleepers, 1, memory_order_relaxed);
}

/* Somebody has a lock of the log, and does not run: the way is free, and leads nowhere. */
static uint64_t logapi_wink(struct tide_logapi_wait *wait)
{
    if (++wait->vain <= LOGAPI_VAIN || tide_coh_hooked())
        return 0;
    return LOGAPI_WINK << tide_min((wait->vain - LOGAPI_VAIN) / 4, LOGAPI_WINKS);
}

/* Counts itself in, makes sure that whoever rings from now on sees that, and looks again. While
 * others repair the log there is nothing to see; whoever ends that rings. */
static void logapi_sleep(struct tide_logapi_wait *wait, uint64_t most)
{
    struct tide_layout_bell *bell = wait->bell;
    bool shared = wait->log != NULL && wait->log->crew.shared;
    uint32_t word = atomic_load_explicit(&bell->word, memory_order_acquire);
    logapi_sleepers(wait, true);
    uint64_t nap = !tide_park_barrier() ? LOGAPI_BLINK : shared ? LOGAPI_LOOK : LOGAPI_NAP;
    if (!shared || !tide_crew_is_stopped(&wait->log->crew)) {
        if (wait->ready == NULL || wait->ready(wait->what))
            nap = logapi_wink(wait);
        else
            wait->vain = 0;
    }
    if (wait->log != NULL && tide_logapi_lease(wait->log) != 0)
        nap = tide_min(nap, tide_logapi_lease(wait->log) / TIDE_LOGAPI_LOOKS);
    if (nap != 0)
        tide_park_sleep(&bell->word, word, tide_min(most, nap), shared);
    logapi_sleepers(wait, false);
    if (shared)
        tide_rescue_look(&wait->log->crew);
    if (wait->log != NULL)
        tide_logapi_look(wait->log);
}

int tide_logapi_wait(struct tide_logapi_wait *wait)
{
    if (wait->timeout == 0) {
        if (wait->log != NULL) {
            tide_rescue_look(&wait->log->crew);
            tide_logapi_look(wait->log);
        }
        return -EAGAIN;
    }
    if (wait->turns < LOGAPI_SPINS) {
        for (uint32_t i = 0; i <= wait->turns / 8; i++)
            tide_cpu_pause();
    } else if (wait->turns < LOGAPI_SPINS + LOGAPI_YIELDS) {
        tide_park_yield();
    }
    wait->turns++;
    /* The clock is asked rarely while spinning. */
    if (wait->turns < LOGAPI_SPINS && wait->turns % 16 != 0)
        return 0;
    uint64_t left = UINT64_MAX;
    if (wait->timeout > 0) {
        uint64_t now = tide_clock_now();
        wait->end = wait->end != 0 ? wait->end : now + (uint64_t)wait->timeout;
        if (now >= wait->end)
            return -ETIMEDOUT;
        left = wait->end - now;
    }
    if (wait->turns > LOGAPI_SPINS + LOGAPI_YIELDS)
        logapi_sleep(wait, left);
    return 0;
}

/* --- create and close ----------------------------------------------------------------- */

#define LOGAPI_LEASE UINT64_C(10000000000) /* of sessions, unless something else is asked for */

/* What the head says, where 0 is never. */
static uint64_t logapi_lease(const struct tide_log_options *o)
{
    if (o->lease == TIDE_LOG_NO_LEASE)
        return 0;
    return o->lease == 0 && o->level == 4 ? LOGAPI_LEASE : o->lease;
}

int tide_logapi_plan(struct tide_layout_head *plan, const struct tide_log_options *options)
{
    static const struct tide_log_options initial = TIDE_LOG_OPTIONS;
    struct tide_layout_fault fault = {NULL, 0, 0, 0};
    const struct tide_log_options *o = options != NULL ? options : &initial;
    struct tide_layout_wish wish = {
        .level = o->level,
        .brokers = o->brokers,
        .producers = o->clients,
        .readers = o->readers,
        .sessions = o->clients,
        .window = o->window,
        .slots = o->slots,
        .payload = o->payload,
        .features = (o->sequencing == TIDE_LOG_STEPPED ? TIDE_LAYOUT_STEPPED : 0) |
                    (o->sessions == TIDE_LOG_MUTEX ? TIDE_LAYOUT_MUTEX : 0) |
                    (o->checksum != 0 ? TIDE_LAYOUT_CHECKSUM : 0),
        .retain = o->retain,
        .first = o->first,
        .lease = logapi_lease(o),
    };
    if (o->coherence > TIDE_LOG_NONCOHERENT)
        return tide_logapi_error(-EINVAL, "coherence", o->coherence, 0, TIDE_LOG_NONCOHERENT);
    if (o->nodes != 0)
        return tide_logapi_error(-EINVAL, "nodes, where memory is coherent", o->nodes, 0, 0);
    if (o->sequencing > TIDE_LOG_STEPPED)
        return tide_logapi_error(-EINVAL, "sequencing", o->sequencing, 0, TIDE_LOG_STEPPED);
    if (o->sessions > TIDE_LOG_MUTEX)
        return tide_logapi_error(-EINVAL, "form of sessions", o->sessions, 0, TIDE_LOG_MUTEX);
    if (!tide_layout_plan(plan, &wish, &fault))
        return tide_logapi_error(-EINVAL, fault.what, fault.value, fault.low, fault.high);
    return 0;
}

TIDE_EXPORT int64_t tide_log_size(const struct tide_log_options *options)
{
    struct tide_layout_head plan;
    if (tide_logapi_is_apart(options))
        return tide_logapi_parts.size(options);
    int error = tide_logapi_plan(&plan, options);
    return error != 0 ? error : (int64_t)plan.size;
}

int tide_logapi_format(tide_log_t *log, void *base, const struct tide_layout_head *plan,
                       bool zeroed)
{
    struct tide_layout_fault fault = {NULL, 0, 0, 0};
    uint8_t id[16];
    if (!tide_file_random(id, sizeof id))
        memcpy(id, &(uint64_t[2]){tide_clock_now(), (uintptr_t)base}, sizeof id);
    tide_logmap_format(base, plan, id, zeroed);
    if (tide_logmap_open(&log->map, base, plan->size, &fault))
        return 0;
    return tide_logapi_error(-EINVAL, fault.what, fault.value, fault.low, fault.high);
}

static int logapi_make(tide_log_t *log, const struct tide_layout_head *plan)
{
    void *base = tide_vmem_map(plan->size);
    if (base == NULL)
        return tide_logapi_error(-ENOMEM, "no memory for bytes of a log", plan->size, 1, 0);
    tide_vmem_advise(base, plan->size, TIDE_VMEM_HUGE); /* rings are written all over */
    int error = tide_logapi_format(log, base, plan, true);
    if (error != 0)
        tide_vmem_unmap(base, plan->size);
    return error;
}

int tide_logapi_new(tide_log_t **out)
{
    tide_log_t *log = tide_logapi_handle(sizeof *log);
    if (log == NULL)
        return tide_logapi_error(-ENOMEM, "no memory for bytes of a handle", sizeof *log, 1, 0);
    tide_park_ready();
    log->process = (uint64_t)tide_file_pid();
    log->magic = TIDE_LOGAPI_LOG;
    *out = log;
    return 0;
}

TIDE_EXPORT int tide_log_create(tide_log_t **out, const struct tide_log_options *options)
{
    struct tide_layout_head plan;
    tide_log_t *log;
    if (tide_logapi_is_apart(options))
        return tide_logapi_parts.create(out, NULL, options);
    int error = tide_logapi_plan(&plan, options);
    if (error != 0 || (error = tide_logapi_new(&log)) != 0)
        return error;
    if ((error = logapi_make(log, &plan)) != 0) {
        tide_logapi_drop(log, sizeof *log);
        return error;
    }
    log->map.keeps =
        log->map.level == 4 && !log->map.stepped && tide_park_ready() && tide_park_barrier();
    *out = log;
    return 0;
}

static void logapi_stop_threads(tide_log_t *log)
{
    atomic_store_explicit(&log->stop, 1, memory_order_release);
    tide_logapi_wake_slow(&log->map.head->work);
    for (uint32_t i = 0; i < log->threads; i++)
        pthread_join(log->thread[i].thread, NULL);
    log->threads = 0;
}

TIDE_EXPORT int tide_log_close(tide_log_t *log)
{
    if (log == NULL)
        return 0;
    if (tide_logapi_is(log, TIDE_LOGAPI_LANES))
        return tide_logapi_parts.close(log);
    if (!logapi_is_log(log))
        return logapi_no_log(log);
    uint32_t handles = atomic_load_explicit(&log->handles, memory_order_acquire);
    if (handles != 0)
        return tide_logapi_error(-EBUSY, "clients and readers that are open", handles, 0, 0);
    int error = 0;
    logapi_stop_threads(log);
    tide_logapi_reclaim(log);
    log->magic = 0;
    tide_logapi_unwatch(log);
    if (log->region != NULL)
        error = tide_logapi_leave(log);
    else
        tide_vmem_unmap(log->map.base, log->map.size);
    tide_logapi_drop(log, sizeof *log);
    return error;
}

/* --- the sequencer ----------------------------------------------------------------------- */

enum { LOGAPI_STEP = 64 };

/* Who finds nothing to do is not inside a call meanwhile: if it stands still then, others can expel
 * it. */
static uint64_t logapi_step(tide_log_t *log)
{
    uint64_t done = 0;
    for (uint32_t i = 0; i < log->map.brokers; i++) {
        if (log->crew.shared && !tide_seq_waits_at(&log->map, i))
            continue;
        if (!tide_crew_try_begin(&log->crew))
            break;
        done += tide_seq_step(&log->map, i, LOGAPI_STEP);
        tide_crew_end(&log->crew);
    }
    if (done > 0) {
        tide_logapi_ring(&log->map.head->data);
        tide_logapi_ring(&log->map.head->space); /* pads, and batches that were too early */
    }
    return done;
}

static bool logapi_is_stepped(const tide_log_t *log)
{
    return log->map.stepped && log->map.level != 0;
}

TIDE_EXPORT int64_t tide_log_poll(tide_log_t *log)
{
    if (tide_logapi_is(log, TIDE_LOGAPI_LANES))
        return tide_logapi_lanes.poll(log);
    if (!logapi_is_log(log))
        return logapi_no_log(log);
    tide_rescue_look(&log->crew);
    tide_logapi_look(log);
    if (tide_crew_error(&log->crew) != 0)
        return tide_logapi_gone(log);
    tide_logapi_reclaim(log);
    return logapi_is_stepped(log) ? (int64_t)logapi_step(log) : 0;
}

static bool logapi_has_work(const void *what)
{
    const tide_log_t *log = what;
    if (atomic_load_explicit(&log->stop, memory_order_acquire) != 0)
        return true;
    return tide_crew_error(&log->crew) == 0 && tide_seq_waits(&log->map);
}

static void *logapi_run(void *argument)
{
    struct tide_logapi_thread *self = argument;
    tide_log_t *log = self->log;
    struct tide_logapi_wait wait = {.log = log,
                                    .bell = &log->map.head->work,
                                    .ready = logapi_has_work,
                                    .what = log,
                                    .timeout = -1};
    for (; atomic_load_explicit(&log->stop, memory_order_acquire) == 0; tide_logapi_look(log))
        if (logapi_step(log) > 0)
            wait.turns = wait.vain = 0;
        else
            tide_logapi_wait(&wait);
    return NULL;
}

/* Goes to its processor first; whoever starts it waits for the answer. */
static void *logapi_live(void *argument)
{
    struct tide_logapi_thread *self = argument;
    int error = self->cpu < 0 ? 0 : tide_park_pin(self->cpu);
    atomic_store_explicit(&self->began, 1 + (uint32_t)-error, memory_order_release);
    tide_park_wake(&self->began, false);
    return error == 0 ? self->run(self) : NULL;
}

/* Signals are for the program's own threads. */
static int logapi_start(struct tide_logapi_thread *thread)
{
    uint32_t began;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&thread->thread, NULL, logapi_live, thread);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0)
        return tide_logapi_error(-error, "threads of this log", thread->log->threads, 1, 0);
    while ((began = atomic_load_explicit(&thread->began, memory_order_acquire)) == 0)
        tide_park_sleep(&thread->began, 0, LOGAPI_LOOK, false);
    if (began == 1)
        return 0;
    pthread_join(thread->thread, NULL);
    return tide_logapi_error(1 - (int)began, "no such processor, or not for this process",
                             (uint64_t)thread->cpu, 1, 0);
}

TIDE_EXPORT int tide_log_start(tide_log_t *log, int cpu)
{
    bool lanes = tide_logapi_is(log, TIDE_LOGAPI_LANES);
    if (!lanes && !logapi_is_log(log))
        return logapi_no_log(log);
    if (!lanes && !logapi_is_stepped(log))
        return tide_logapi_error(-EINVAL, "a thread for a log that is sequenced inline", 1, 0, 0);
    if (cpu < -1)
        return tide_logapi_error(-EINVAL, "below -1, which is any processor: minus",
                                 -(uint64_t)(int64_t)cpu, 1, 0);
    tide_lock_take_own(&log->lock);
    struct tide_logapi_thread *thread = &log->thread[log->threads % TIDE_LOGAPI_THREADS];
    int error = -ENFILE;
    if (log->threads == TIDE_LOGAPI_THREADS) {
        tide_logapi_error(error, "threads of this log", log->threads, 0, TIDE_LOGAPI_THREADS);
    } else {
        *thread = (struct tide_logapi_thread){
            .log = log, .cpu = cpu, .run = lanes ? tide_logapi_lanes.run : logapi_run};
        error = logapi_start(thread);
        log->threads += error == 0;
    }
    tide_lock_drop_own(&log->lock);
    return error;
}

/* --- the committed prefix, trim ------------------------------------------------------------ */

TIDE_EXPORT uint64_t tide_log_committed(tide_log_t *log)
{
    if (tide_logapi_is(log, TIDE_LOGAPI_LANES))
        return tide_logapi_lanes.committed(log);
    if (!logapi_is_log(log) || log->map.level == 0)
        return 0;
    return tide_crew_frontier(&log->crew, &log->map);
}

static int logapi_check_broker(const tide_log_t *log, unsigned broker)
{
    if (broker < log->map.brokers)
        return 0;
    return tide_logapi_error(-EINVAL, "broker", broker, 0, log->map.brokers - 1);
}

/* So many times there can be something to trim; more often only if somebody makes a fool of us. */
static uint64_t logapi_trims(const struct tide_logmap *map)
{
    return 2 * (map->entries.size + map->brokers * map->slots.size) + 2;
}

static int logapi_trimming(void)
{
    return tide_logapi_error(-EBUSY, "somebody is trimming, and does not end; lock of trimming", 1,
                             0, 0);
}

/* Waits while somebody else is at it; that may be one who died. How many places, or slots, became
 * free, or an error. */
static int64_t logapi_trim(tide_log_t *log, uint32_t broker, uint64_t limit)
{
    uint64_t freed = 0, end = 0;
    for (;;) {
        if (!tide_crew_begin(&log->crew))
            return tide_logapi_gone(log);
        bool tried = tide_trim_try(&log->map, broker, limit, &freed);
        tide_crew_end(&log->crew);
        if (tried)
            return (int64_t)tide_min(freed, INT64_MAX);
        tide_rescue_look(&log->crew);
        if (!tide_trim_wait(&end))
            return logapi_trimming();
    }
}

TIDE_EXPORT int tide_log_trim(tide_log_t *log, unsigned broker, uint64_t position,
                              uint64_t *earliest)
{
    if (tide_logapi_is(log, TIDE_LOGAPI_LANES))
        return tide_logapi_lanes.trim(log, position, earliest);
    if (!logapi_is_log(log))
        return logapi_no_log(log);
    if (log->map.level == 0 && logapi_check_broker(log, broker) != 0)
        return -EINVAL;
    broker = log->map.level == 0 ? broker : 0;
    uint64_t shift = tide_logapi_shift(&log->map);
    position = tide_min(position, UINT64_MAX - shift) + shift;
    int64_t freed;
    for (uint64_t most = logapi_trims(&log->map); most > 0; most--)
        if ((freed = logapi_trim(log, broker, position)) < 0)
            return (int)freed;
        else if (freed == 0 && tide_logapi_reclaim(log) == 0)
            break;
    tide_logapi_ring(&log->map.head->space);
    if (earliest != NULL)
        *earliest = tide_trim_earliest(&log->map, broker) - shift;
    return 0;
}

/* Bytes of payload claimed and not released; *fullest: the broker with most of them. */
static uint64_t logapi_held(const tide_log_t *log, uint32_t *fullest)
{
    uint64_t sum = 0, top = 0;
    *fullest = 0;
    for (uint32_t i = 0; i < log->map.brokers; i++) {
        uint64_t head = tide_ring_head(&log->map, i).granule;
        uint64_t bytes = (head - tide_coh_get(log->map.coh, &log->map.broker[i].released_granule)) *
                         TIDE_LAYOUT_GRANULE;
        if (bytes > top) {
            top = bytes;
            *fullest = i;
        }
        sum += bytes;
    }
    return sum;
}

TIDE_EXPORT int64_t tide_log_trim_to(tide_log_t *log, uint64_t bytes)
{
    uint32_t fullest;
    uint64_t held;
    if (!logapi_is_log(log))
        return logapi_no_log(log);
    uint64_t most = logapi_trims(&log->map);
    while ((held = logapi_held(log, &fullest)) > bytes && most-- > 0) {
        uint64_t next = tide_trim_earliest(&log->map, fullest) + 1;
        int64_t freed = logapi_trim(log, fullest, next);
        if (freed < 0)
            return freed;
        if (freed == 0 && tide_logapi_reclaim(log) == 0)
            break;
    }
    tide_logapi_reclaim(log);
    tide_logapi_ring(&log->map.head->space);
    return (int64_t)held;
}
