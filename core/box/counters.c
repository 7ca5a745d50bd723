/* counters.c - see counters.h */
#include "box/counters.h"

#include <pthread.h>
#include <tidepool/version.h>

#include "box/clock.h"
#include "box/diag.h"
#include "box/file.h"
#include "box/life.h"
#include "box/option.h"
#include "box/pagemap.h"
#include "box/report.h"
#include "box/segment.h"
#include "box/stat.h"
#include "box/vmem.h"

enum { COUNTERS_RARE = 100, COUNTERS_LEAST = 1000000 };

_Atomic bool tide_counters_on TIDE_START_DATA;

static struct tide_counters_page *counters_map; /* NULL: no page */
static int counters_fd = -1;
static _Atomic uint64_t counters_due; /* when to publish next, on the monotonic clock */
static _Atomic int counters_busy;     /* the process id of who publishes; 0: nobody */
static struct tide_tally counters_tally;

/* --- publishing --------------------------------------------------------------------- */

/* The windows of Mid, as far as they are filled. */
static uint64_t counters_ranges(struct tide_counters_range *out)
{
    unsigned windows = atomic_load_explicit(&tide_window_count, memory_order_acquire);
    uint64_t count = 0;
    for (unsigned i = 0; i < windows && count < TIDE_COUNTERS_RANGES; i++) {
        const struct tide_window *window = &tide_windows[i];
        size_t span = atomic_load_explicit(&window->span, memory_order_acquire);
        if (span == 0 || (window->kind != TIDE_KIND_MID && window->kind != TIDE_KIND_MIDAL))
            continue;
        out[count].base = window->base;
        out[count].size = span + (window->first - window->base);
        count++;
    }
    return count;
}

/* Between two turns: what a reader sees meanwhile it does not take. */
static void counters_write(struct tide_counters_figures *out, uint64_t state, uint64_t start)
{
    __atomic_fetch_add(&out->turn, 1, __ATOMIC_ACQ_REL); /* no write below comes before it */
    tide_report_stats(&counters_tally, &out->stats);
    out->ranges = counters_ranges(out->mid);
    out->used = TIDE_STAT_GET(used);
    out->peak = TIDE_STAT_GET(peak);
    out->state = state;
    out->published++;
    out->time = tide_clock_date();
    out->cost = tide_clock_now() - start;
    __atomic_store_n(&out->turn, out->turn + 1, __ATOMIC_RELEASE);
}

/* The caller is the one that is busy, and the page is this process's own. */
static void counters_publish(uint64_t state)
{
    uint64_t start = tide_clock_now();
    tide_report_count(&counters_tally);
    counters_write(&counters_map->figures, state, start);
    uint64_t pause = COUNTERS_RARE * counters_map->figures.cost;
    atomic_store_explicit(&counters_due, tide_clock_now() + tide_max(pause, COUNTERS_LEAST),
                          memory_order_relaxed);
}

/* --- the page ----------------------------------------------------------------------- */

/* Field 22 of /proc/self/stat; what is before it in the line has no second ')'. */
static uint64_t counters_ticks(void)
{
    char line[1024];
    uint64_t ticks = 0;
    if (tide_file_read("/proc/self/stat", line, sizeof line) < 0)
        return 0;
    const char *at = strrchr(line, ')');
    for (int field = 2; at != NULL && field < 22; field++)
        at = strchr(at + 1, ' ');
    for (at = at != NULL ? at + 1 : ""; *at >= '0' && *at <= '9'; at++)
        ticks = ticks * 10 + (uint64_t)(*at - '0');
    return ticks;
}

static void counters_text(char *out, size_t size, const char *string)
{
    struct tide_text text = {out, size, 0};
    tide_text_add(&text, string);
}

static void counters_head(struct tide_counters_page *page)
{
    const struct tide_source *source = tide_segment_source();
    bool fail = tide_option_values.full == TIDE_FULL_FAIL;
    page->version = TIDE_COUNTERS_VERSION;
    page->size = TIDE_COUNTERS_BYTES;
    page->pid = (uint64_t)tide_file_pid();
    page->ticks = counters_ticks();
    page->begun = tide_clock_date();
    page->cap = tide_option_values.cap;
    page->far = source->far;
    page->node = source->node >= 0 ? (uint64_t)source->node : UINT64_MAX;
    counters_text(page->library, sizeof page->library, TIDE_VERSION_STRING);
    counters_text(page->header, sizeof page->header, tide_segment_shadow() ? "shadow" : "inband");
    counters_text(page->full, sizeof page->full, fail ? "fail" : "spill");
    counters_text(page->source, sizeof page->source, source->text);
    counters_text(page->why, sizeof page->why, source->why != NULL ? source->why : "");
    tide_file_link("/proc/self/exe", page->program, sizeof page->program);
}

/* DIR/tidepool.PID. What is there of this name is left from an earlier process, or from
 * this one before an exec. */
static int counters_named(const char *directory)
{
    char path[TIDE_OPTION_TEXT + 64];
    struct tide_text text = {path, sizeof path, 0};
    tide_text_add(&text, directory);
    tide_text_add(&text, "/" TIDE_COUNTERS_FILE);
    tide_text_number(&text, (uint64_t)tide_file_pid(), 10);
    return tide_file_fresh(path, TIDE_COUNTERS_BYTES);
}

/* After a fork the parent's descriptor is here, too. The program may have closed it, and its
 * number may be another file's by now. */
static void counters_close(void)
{
    static const char name[] = "/memfd:" TIDE_COUNTERS_NAME;
    char path[64], link[64];
    struct tide_text text = {path, sizeof path, 0};
    if (counters_fd < 0)
        return;
    tide_text_add(&text, "/proc/self/fd/");
    tide_text_number(&text, (uint64_t)counters_fd, 10);
    if (tide_file_link(path, link, sizeof link) > 0 && strncmp(link, name, sizeof name - 1) == 0)
        tide_file_close(counters_fd);
    counters_fd = -1;
}

/* Makes a page, in place of the one that the parent had. 0 or -errno: then there is none. */
static int counters_make(void)
{
    const char *where = tide_option_values.counters;
    bool named = where[0] == '/';
    counters_close();
    int fd =
        named ? counters_named(where) : tide_file_nameless(TIDE_COUNTERS_NAME, TIDE_COUNTERS_BYTES);
    /* of a page of the parent's nothing may stay: in its place comes memory of our own */
    void *map = tide_vmem_share(counters_map, TIDE_COUNTERS_BYTES, fd);
    if (fd >= 0 && map != NULL) {
        if (named)
            tide_file_close(fd);
        else
            counters_fd = tide_file_seal(fd);
        counters_map = map;
        counters_head(counters_map);
        return 0;
    }
    if (fd >= 0)
        tide_file_close(fd);
    atomic_store_explicit(&tide_counters_on, false, memory_order_relaxed);
    return fd < 0 ? fd : -ENOMEM;
}

/* Makes the page's figures, then shows it. */
static int counters_begin(void)
{
    int ret = counters_make();
    if (ret != 0)
        return ret;
    counters_publish(TIDE_COUNTERS_RUNNING);
    __atomic_store_n(&counters_map->magic, TIDE_COUNTERS_MAGIC, __ATOMIC_RELEASE);
    atomic_store_explicit(&tide_counters_on, true, memory_order_relaxed);
    return 0;
}

const struct tide_counters_page *tide_counters_page(void)
{
    return atomic_load_explicit(&tide_counters_on, memory_order_relaxed) ? counters_map : NULL;
}

/* --- who publishes -------------------------------------------------------------------- */

/* False when another thread of this process publishes. What another process left here, in
 * which a thread published while this one was forked off, is taken over. */
static bool counters_enter(int pid)
{
    int found = 0;
    if (atomic_compare_exchange_strong(&counters_busy, &found, pid))
        return true;
    return found != pid && atomic_compare_exchange_strong(&counters_busy, &found, pid);
}

static void counters_leave(void)
{
    atomic_store_explicit(&counters_busy, 0, memory_order_release);
}

/* A child that was made without the fork handlers (_Fork, clone) still has its parent's page:
 * it is known by the process id in it. */
TIDE_COLD void tide_counters_tick_slow(void)
{
    uint64_t due = atomic_load_explicit(&counters_due, memory_order_relaxed);
    if (tide_clock_now() < due)
        return;
    int pid = tide_file_pid();
    if (!counters_enter(pid))
        return;
    if (counters_map->pid != (uint64_t)pid)
        (void)counters_begin();
    else
        counters_publish(TIDE_COUNTERS_RUNNING);
    counters_leave();
}

/* A child has one thread, and whatever another was about in the parent is not going on. */
static void counters_fork_child(void)
{
    if (atomic_load_explicit(&tide_counters_on, memory_order_relaxed)) {
        (void)counters_begin();
        counters_leave();
    }
}

int tide_counters_start(void)
{
    tide_life_start();
    if (strcmp(tide_option_values.counters, "0") == 0 || tide_life_is_secure())
        return 0;
    int ret = counters_begin();
    if (ret == 0)
        (void)tide_life_at_fork(NULL, NULL, counters_fork_child);
    return ret;
}

__attribute__((constructor)) static void counters_constructor(void)
{
    if (tide_counters_start() < 0 && tide_option_values.verbose)
        tide_diag_say("option counters: the page of the counters cannot be made");
}

__attribute__((destructor)) static void counters_destructor(void)
{
    if (!atomic_load_explicit(&tide_counters_on, memory_order_relaxed))
        return;
    int pid = tide_file_pid();
    if (counters_map->pid != (uint64_t)pid || !counters_enter(pid))
        return;
    counters_publish(TIDE_COUNTERS_ENDED);
    counters_leave();
}
