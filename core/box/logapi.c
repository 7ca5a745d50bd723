/* logapi.c - see logapi.h */
#include "box/logapi.h"

#include <signal.h>

#include "box/clock.h"
#include "box/diag.h"
#include "box/file.h"
#include "box/park.h"

enum { LOGAPI_THREADS = 256, LOGAPI_PROBES = 16 };

tide_logapi_drain *tide_logapi_drainer;

/* --- errors ---------------------------------------------------------------------- */

/* The last error of each thread, told apart by where its errno is: a thread variable of our own
 * would take up room that dlopen is short of. A thread that finds no free place takes the place
 * of another one, whose words may then be mixed with its own. */
static struct logapi_last {
    _Atomic(const void *) thread;
    _Atomic(const char *) what;
    _Atomic uint64_t value, low, high;
} logapi_last[LOGAPI_THREADS];

static struct logapi_last *logapi_mine(bool take)
{
    const void *me = &errno;
    size_t first = (size_t)tide_mix((uintptr_t)me);
    for (size_t i = 0; i < LOGAPI_PROBES; i++) {
        struct logapi_last *last = &logapi_last[(first + i) % LOGAPI_THREADS];
        const void *found = atomic_load_explicit(&last->thread, memory_order_relaxed);
        if (found == me ||
            (take && found == NULL && atomic_compare_exchange_strong(&last->thread, &found, me)))
            return last;
    }
    if (!take)
        return NULL;
    struct logapi_last *last = &logapi_last[first % LOGAPI_THREADS];
    atomic_store_explicit(&last->thread, me, memory_order_relaxed);
    return last;
}

TIDE_COLD int tide_logapi_error(int error, const char *what, uint64_t value, uint64_t low,
                                uint64_t high)
{
    struct logapi_last *last = logapi_mine(true);
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
    const struct logapi_last *last = logapi_mine(false);
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

static int logapi_no_log(void)
{
    return tide_logapi_error(-ESTALE, "not an open log of this process", 0, 1, 0);
}

/* --- waiting ---------------------------------------------------------------------- */

/* Nanoseconds of sleep: for as long as nobody rings, or, where a sleeper cannot be sure to be
 * seen, for a moment. */
#define LOGAPI_NAP UINT64_C(3600000000000)
#define LOGAPI_BLINK UINT64_C(1000000)

enum { LOGAPI_SPINS = 200, LOGAPI_YIELDS = 16 };

TIDE_COLD void tide_logapi_wake_slow(struct tide_layout_bell *bell)
{
    atomic_fetch_add_explicit(&bell->word, 1, memory_order_release);
    tide_park_wake(&bell->word, false);
}

/* Counts itself in, makes sure that whoever rings from now on sees that, and looks again. */
static void logapi_sleep(struct tide_logapi_wait *wait, uint64_t most)
{
    struct tide_layout_bell *bell = wait->bell;
    uint32_t word = atomic_load_explicit(&bell->word, memory_order_acquire);
    atomic_fetch_add_explicit(&bell->sleepers, 1, memory_order_seq_cst);
    uint64_t nap = tide_park_barrier() ? LOGAPI_NAP : LOGAPI_BLINK;
    if (!wait->ready(wait->what))
        tide_park_sleep(&bell->word, word, most < nap ? most : nap, false);
    atomic_fetch_sub_explicit(&bell->sleepers, 1, memory_order_relaxed);
}

int tide_logapi_wait(struct tide_logapi_wait *wait)
{
    if (wait->timeout == 0)
        return -EAGAIN;
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
    };
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
    int error = tide_logapi_plan(&plan, options);
    if (error != 0 || (error = tide_logapi_new(&log)) != 0)
        return error;
    if ((error = logapi_make(log, &plan)) != 0) {
        tide_logapi_drop(log, sizeof *log);
        return error;
    }
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
    if (!logapi_is_log(log))
        return logapi_no_log();
    uint32_t handles = atomic_load_explicit(&log->handles, memory_order_acquire);
    if (handles != 0)
        return tide_logapi_error(-EBUSY, "clients and readers that are open", handles, 0, 0);
    int error = 0;
    logapi_stop_threads(log);
    tide_logapi_reclaim(log);
    log->magic = 0;
    if (log->region != NULL)
        error = tide_logapi_leave(log);
    else
        tide_vmem_unmap(log->map.base, log->map.size);
    tide_logapi_drop(log, sizeof *log);
    return error;
}

/* --- the sequencer ----------------------------------------------------------------------- */

enum { LOGAPI_STEP = 64 };

static uint64_t logapi_step(tide_log_t *log)
{
    uint64_t done = 0;
    for (uint32_t i = 0; i < log->map.brokers; i++)
        done += tide_seq_step(&log->map, i, LOGAPI_STEP);
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
    if (!logapi_is_log(log))
        return logapi_no_log();
    tide_logapi_reclaim(log);
    return logapi_is_stepped(log) ? (int64_t)logapi_step(log) : 0;
}

static bool logapi_has_work(const void *what)
{
    const tide_log_t *log = what;
    return tide_seq_waits(&log->map) || atomic_load_explicit(&log->stop, memory_order_acquire) != 0;
}

static void *logapi_run(void *argument)
{
    struct tide_logapi_thread *self = argument;
    tide_log_t *log = self->log;
    struct tide_logapi_wait wait = {
        .bell = &log->map.head->work, .ready = logapi_has_work, .what = log, .timeout = -1};
    if (self->cpu >= 0)
        tide_park_pin(self->cpu);
    while (atomic_load_explicit(&log->stop, memory_order_acquire) == 0)
        if (logapi_step(log) > 0)
            wait.turns = 0;
        else
            tide_logapi_wait(&wait);
    return NULL;
}

/* Signals are for the program's own threads. */
static int logapi_start(struct tide_logapi_thread *thread)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&thread->thread, NULL, logapi_run, thread);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

TIDE_EXPORT int tide_log_start(tide_log_t *log, int cpu)
{
    if (!logapi_is_log(log))
        return logapi_no_log();
    if (!logapi_is_stepped(log))
        return tide_logapi_error(-EINVAL, "a thread for a log that is sequenced inline", 1, 0, 0);
    tide_lock_take(&log->lock);
    int error = -ENFILE;
    if (log->threads < TIDE_LOGAPI_THREADS) {
        struct tide_logapi_thread *thread = &log->thread[log->threads];
        *thread = (struct tide_logapi_thread){.log = log, .cpu = cpu};
        error = -logapi_start(thread);
        log->threads += error == 0;
    }
    tide_lock_drop(&log->lock);
    if (error != 0)
        tide_logapi_error(error, "threads of this log", log->threads, 0, TIDE_LOGAPI_THREADS);
    return error;
}

/* --- the committed prefix, trim ------------------------------------------------------------ */

TIDE_EXPORT uint64_t tide_log_committed(tide_log_t *log)
{
    if (!logapi_is_log(log) || log->map.level == 0)
        return 0;
    return tide_order_frontier(&log->map, UINT64_MAX);
}

struct logapi_goal {
    tide_log_t *log;
    uint64_t position;
};

static bool logapi_is_committed(const void *what)
{
    const struct logapi_goal *goal = what;
    return tide_order_frontier(&goal->log->map, UINT64_MAX) > goal->position;
}

TIDE_EXPORT int tide_log_wait_committed(tide_log_t *log, uint64_t position, int64_t timeout)
{
    struct logapi_goal goal = {log, position};
    if (!logapi_is_log(log))
        return logapi_no_log();
    if (log->map.level == 0)
        return tide_logapi_error(-EINVAL, "commits at order level", 0, 4, 5);
    struct tide_logapi_wait wait = {.bell = &log->map.head->data,
                                    .ready = logapi_is_committed,
                                    .what = &goal,
                                    .timeout = timeout};
    while (!logapi_is_committed(&goal)) {
        int error = tide_logapi_wait(&wait);
        if (error != 0)
            return tide_logapi_error(error, "not committed yet: position", position, 1, 0);
    }
    return 0;
}

static int logapi_check_broker(const tide_log_t *log, unsigned broker)
{
    if (broker < log->map.brokers)
        return 0;
    return tide_logapi_error(-EINVAL, "broker", broker, 0, log->map.brokers - 1);
}

TIDE_EXPORT int tide_log_trim(tide_log_t *log, unsigned broker, uint64_t position,
                              uint64_t *earliest)
{
    if (!logapi_is_log(log))
        return logapi_no_log();
    if (log->map.level == 0 && logapi_check_broker(log, broker) != 0)
        return -EINVAL;
    broker = log->map.level == 0 ? broker : 0;
    uint64_t shift = tide_logapi_shift(&log->map);
    position = tide_min(position, UINT64_MAX - shift) + shift;
    while (tide_trim_surely(&log->map, broker, position) != 0 || tide_logapi_reclaim(log) != 0)
        ;
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
        return logapi_no_log();
    while ((held = logapi_held(log, &fullest)) > bytes)
        if (tide_trim_surely(&log->map, fullest, tide_trim_earliest(&log->map, fullest) + 1) == 0 &&
            tide_logapi_reclaim(log) == 0)
            break;
    tide_logapi_reclaim(log);
    tide_logapi_ring(&log->map.head->space);
    return (int64_t)held;
}
