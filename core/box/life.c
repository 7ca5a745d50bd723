/* life.c - see life.h */
#include "box/life.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/auxv.h>

#include "box/diag.h"
#include "box/foreign.h"
#include "box/key.h"
#include "box/large.h"
#include "box/meta.h"
#include "box/mid.h"
#include "box/option.h"
#include "box/region.h"
#include "box/segment.h"
#include "box/stat.h"

/* Rounds of exit destructors in which we let others go first. glibc makes four; a
 * thread may get its heap in one of them. */
enum { LIFE_ROUNDS = 1 };

static struct tide_lock life_lock TIDE_START_DATA;
static _Atomic bool life_ready TIDE_START_DATA;
static pthread_key_t life_key TIDE_START_DATA;
static bool life_has_key TIDE_START_DATA; /* under life_lock, then constant */
static char life_words[TIDE_SOURCE_SAID + 256];
static const char *life_complaint TIDE_START_DATA; /* about mid=: NULL, or life_words */

/* Set in the environment of children after a warning, so that they are silent. */
static const char life_warned[] = "TIDEPOOL_WARNED";

bool tide_life_is_secure(void)
{
    return getauxval(AT_SECURE) != 0;
}

bool tide_life_started(void)
{
    return atomic_load_explicit(&life_ready, memory_order_acquire);
}

TIDE_START_CODE void tide_life_push_options(void)
{
    struct tide_option_values values;
    tide_option_copy(&values);
    tide_diag_policy((enum tide_misuse)values.misuse);
    tide_foreign_policy((enum tide_foreign)values.foreign);
    tide_magazine_set_budget(values.cache);
    tide_segment_set_retain(values.retain);
}

/* --- threads ------------------------------------------------------------------- */

/* The key's destructor: lets the destructors of others, which may still allocate
 * and free, run first; then gives the heap away. What comes later still is served
 * from the shared heap. ThreadSanitizer holds a thread for finished by now: the memory
 * of its thread-local variables is the next thread's, and writes to it look like races. */
__attribute__((no_sanitize("thread"))) static void life_thread_end(void *arg)
{
    struct tide_heap *heap = arg;
    if (heap->rounds++ < LIFE_ROUNDS && pthread_setspecific(life_key, heap) == 0)
        return;
    tide_self_set(&tide_cache_slow);
    tide_heap_death(heap);
    tide_self_set(&tide_cache_dead);
}

/* --- fork ----------------------------------------------------------------------- */

/* What pthread_atfork calls, which brings a function at the far end of our code and needs
 * crtbegin.o: one page of both is not worth a fault in each process. The last argument tells
 * whose handlers these are, to take them away when that library is unloaded: the one that an
 * archive of ours is part of has such a handle. Ours stays; it is linked without. */
extern int __register_atfork(void (*)(void), void (*)(void), void (*)(void), void *);
extern void *__dso_handle __attribute__((weak, visibility("hidden")));

TIDE_START_CODE int tide_life_at_fork(void (*prepare)(void), void (*parent)(void),
                                      void (*child)(void))
{
    return __register_atfork(prepare, parent, child, &__dso_handle != NULL ? __dso_handle : NULL);
}

static void life_fork_locks(enum tide_fork phase)
{
    tide_lock_fork(&life_lock, phase);
    tide_option_fork(phase);
    tide_heap_fork(phase);
    tide_remote_fork(phase);
    tide_segment_fork(phase);
    tide_region_fork(phase);
    tide_large_fork(phase);
    tide_meta_fork(phase);
}

static void life_fork_prepare(void)
{
    if (tide_self == &tide_cache_slow)
        tide_diag_fatal("fork called by a signal handler that interrupted the slow path of "
                        "malloc or free");
    life_fork_locks(TIDE_FORK_PREPARE);
    atomic_store_explicit(&tide_lock_forker.thread, (const void *)&errno, memory_order_relaxed);
}

static void life_fork_parent(void)
{
    atomic_store_explicit(&tide_lock_forker.thread, NULL, memory_order_relaxed);
    life_fork_locks(TIDE_FORK_RELEASE);
}

static void life_fork_child(void)
{
    life_fork_parent();
    tide_region_fork_child();
    /* Not tide_self: the fork may come from a handler that interrupted a fast path. */
    const struct tide_heap *own = life_has_key ? pthread_getspecific(life_key) : NULL;
    tide_heap_fork_child(own != NULL ? &own->cache : tide_self);
}

/* --- start ------------------------------------------------------------------------ */

/* A text that names no source is a bad option, and so is a file that is not there. A node that
 * is not there is a fact about the machine: near memory takes its place in silence, unless
 * strict=1. */
static void life_complain_mid(int ret, const struct tide_source *source)
{
    struct tide_text text = {life_words, sizeof life_words, 0};
    if (ret == -ENODEV && source->said[0] == '\0' && !tide_option_values.strict)
        return;
    life_complaint = life_words;
    tide_text_add(&text, "option 'mid': '");
    tide_text_quote(&text, tide_option_values.mid);
    tide_text_add(&text, "': ");
    tide_text_add(&text, source->why);
    if (strstr(source->why, "near memory is used") == NULL)
        tide_text_add(&text, ": near memory is used");
}

/* Near memory instead, for the reason that the source gave. */
static void life_use_near(struct tide_source *out, const struct tide_source *failed)
{
    tide_source_open(out, "near");
    memcpy(out->said, failed->said, sizeof out->said);
    out->why = out->said;
}

TIDE_START_CODE static int life_find_mid(struct tide_source *source)
{
    int ret = tide_source_open(source, tide_option_values.mid);
    return ret == 0 && !tide_option_values.shared_mid ? tide_source_keep_private(source) : ret;
}

TIDE_START_CODE static void life_use_mid(struct tide_source *source)
{
    bool shadow = tide_option_values.header == TIDE_HEADER_SHADOW ||
                  (tide_option_values.header == TIDE_HEADER_AUTO && source->far);
    tide_source_tune(source, tide_option_values.migrate == TIDE_MIGRATE_KERNEL,
                     (enum tide_thp)tide_option_values.thp);
    tide_segment_start(source, shadow);
    tide_segment_bound(tide_option_values.cap != 0 ? tide_option_values.cap : SIZE_MAX,
                       tide_option_values.full == TIDE_FULL_FAIL);
}

TIDE_START_CODE static void life_open_mid(void)
{
    struct tide_source source;
    int ret = life_find_mid(&source);
    life_use_mid(&source);
    if (ret == 0 && source.shared)
        ret = tide_segment_share();
    if (ret != 0 && source.shared) {
        life_use_near(&source, tide_segment_source());
        if (tide_windows[TIDE_KIND_MID].base == 0)
            life_use_mid(&source);
    }
    if (ret != 0)
        life_complain_mid(ret, &source);
}

TIDE_START_CODE void tide_life_start(void)
{
    if (tide_life_started())
        return;
    tide_lock_take(&life_lock);
    if (!tide_life_started()) {
        tide_key_start();
        tide_option_load(tide_life_is_secure());
        tide_sizeclass_start(tide_option_values.tiny_max);
        life_open_mid();
        tide_life_push_options();
        life_has_key = pthread_key_create(&life_key, life_thread_end) == 0;
        atomic_store_explicit(&life_ready, true, memory_order_release);
    }
    tide_lock_drop(&life_lock);
}

struct tide_cache *tide_life_attach(void)
{
    const struct tide_cache *before = tide_self;
    tide_self_set(&tide_cache_slow);
    tide_life_start();
    struct tide_heap *heap = tide_heap_birth();
    if (heap == NULL) {
        tide_self_set(before);
        return NULL;
    }
    tide_self_set(&heap->cache); /* from here on the thread can allocate */
    if (life_has_key && pthread_setspecific(life_key, heap) != 0) {
        /* Nobody would park it when the thread ends: the shared heap serves this time. */
        tide_self_set(&tide_cache_slow);
        tide_heap_death(heap);
        tide_self_set(before);
        return NULL;
    }
    return &heap->cache;
}

const struct tide_cache *tide_life_enter(void)
{
    const struct tide_cache *before = tide_self;
    if (before == &tide_cache_slow)
        tide_diag_fatal("malloc or free called by a signal handler that interrupted "
                        "the slow path of malloc or free");
    tide_self_set(&tide_cache_slow);
    return before;
}

void tide_life_leave(const struct tide_cache *before)
{
    tide_self_set(before);
}

/* --- words ---------------------------------------------------------------------------- */

static void life_warn(const char *complaint)
{
    char seen[8];
    if (tide_option_values.strict)
        tide_diag_fatal(complaint);
    if (tide_option_environment(life_warned, seen, sizeof seen))
        return;
    tide_diag_say(complaint);
    setenv(life_warned, "1", 1);
}

static void life_tell_source(void)
{
    const struct tide_source *source = tide_segment_source();
    char line[448];
    struct tide_text text = {line, sizeof line, 0};
    tide_text_add(&text, "Mid is ");
    tide_text_add(&text, source->text);
    tide_text_add(&text, " (");
    tide_text_add(&text, source->why);
    tide_text_add(&text, ")");
    if (source->migrate_why != NULL) {
        tide_text_add(&text, "; migrate=kernel: ");
        tide_text_add(&text, source->migrate_why);
    }
    tide_diag_say(line);
}

/* Before main(): a bad option is told once per process tree, facts only on request. The fork
 * handlers not at the first allocation: it may be one that pthread_atfork makes itself, inside
 * its own lock. Handlers of others that run while ours holds the locks may allocate
 * (tide_lock_forker). */
__attribute__((constructor)) static void life_constructor(void)
{
    tide_life_start();
    (void)tide_life_at_fork(life_fork_prepare, life_fork_parent, life_fork_child);
    const char *complaint = tide_option_complaint();
    if (complaint == NULL)
        complaint = life_complaint;
    if (complaint != NULL)
        life_warn(complaint);
    if (tide_option_values.verbose)
        life_tell_source();
}
