/*
 * test_loghosts_front.c - what a second host writes that opens a region, has the log in it, and
 * closes both: nothing of the region's head, areas and table, and nowhere by an exchange.
 *
 * The second host is a second mapping. That flock does not reach another host is played by the
 * first one dropping its lock.
 */
#define _GNU_SOURCE 1
#include "log_parts.h"

#include "box/logroom.h"
#include "box/store.h"

#include <ucontext.h>

enum { FRONT = TIDE_PLOT_AT + REGION_SEGMENTS * sizeof(struct tide_plot_entry) };

static unsigned char before[FRONT];

/* A log that the first host has, in the middle of taking segments 14 and 15. */
static struct part first_host(void)
{
    struct part first = made(options(5, 0));
    ck_assert_int_eq(tide_store_lock(first.region->extent.fd, TIDE_STORE_UNLOCK), 0);
    atomic_store(&first.region->table.entry[14].word, TIDE_REGION_MOVE);
    atomic_store(&first.region->table.entry[15].word, TIDE_REGION_MOVE);
    memcpy(before, first.region->extent.base, FRONT);
    return first;
}

static void is_as_before(const struct part *first)
{
    const unsigned char *now = (const unsigned char *)first->region->extent.base;
    for (size_t i = 0; i < FRONT; i++)
        UNIT_HOLD(now[i] == before[i], "byte %zu is %u, and was %u", i, now[i], before[i]);
}

/* A client that appends, a reader that gets it: with the sequencer here (NULL) or elsewhere. */
static void append_and_read(struct part *part, unsigned node, bool leads)
{
    struct tide_log_claim claim;
    ck_assert_int_eq(open_client(part, 2 * node, leads ? 0 : TIDE_LOG_ACK_ORDERED), 0);
    ck_assert_int_eq(tide_log_reader_open(&part->reader, part->log, NULL), 0);
    for (uint64_t i = 0; i < 20; i++) {
        ck_assert_int_eq(send(part, i % 2, i), 0);
        while (leads && tide_log_committed(part->log) <= i)
            ck_assert_int_ge(tide_log_poll(part->log), 0);
        ck_assert_uint_eq(next(part, PATIENCE), i);
        ck_assert_int_eq(tide_log_done(part->reader), 0);
    }
    ck_assert_int_eq(tide_log_claim(part->client, 1, 64, PATIENCE, &claim), 0);
    ck_assert_int_eq(tide_log_abort(&claim), 0);
}

static void end_log(struct part *part)
{
    ck_assert_int_eq(tide_log_client_close(part->client), 0);
    ck_assert_int_eq(tide_log_reader_close(part->reader), 0);
    ck_assert_int_eq(tide_log_close(part->log), 0);
    part->client = NULL;
    part->reader = NULL;
    part->log = NULL;
}

START_TEST(another_host_leaves_head_and_table_as_they_are)
{
    struct part first = first_host(), second = {.region = region_opened(text)};
    struct tide_log_role role = {.node = 1};
    is_as_before(&first);
    /* Whoever writes there ends. */
    ck_assert_int_eq(mprotect(second.region->extent.base, tide_align_up(FRONT, 4096), PROT_READ),
                     0);
    struct tide_region_info info = region_told(second.region);
    ck_assert_uint_eq(info.heap_bytes, 0);
    ck_assert_int_eq(tide_log_attach(&second.log, second.region, &role, PATIENCE), 0);
    append_and_read(&second, 1, false);
    end_log(&second);
    ck_assert_int_eq(tide_region_close(second.region), 0);
    is_as_before(&first);
    leave(&first);
}
END_TEST

/* The log is open, as far as this host can see, on another machine. */
START_TEST(what_another_machine_has_is_refused_without_a_write)
{
    struct part first = first_host(), second = {.region = region_opened(text)};
    struct tide_owner *place = &tide_logroom_of(first.region)->crew[0];
    struct tide_owner_self self;
    tide_owner_self(&self);
    self.boot[0] ^= 1;
    self.machine = 7;
    tide_owner_sum(&self);
    tide_owner_put(place, &self);
    memcpy(before, first.region->extent.base, FRONT);
    ck_assert_int_eq(mprotect(second.region->extent.base, tide_align_up(FRONT, 4096), PROT_READ),
                     0);
    tide_owner_self(&self);
    if (self.machine != 0) { /* else nobody has told this machine's name */
        ck_assert_int_eq(tide_log_open(&second.log, second.region), -EBUSY);
        ck_assert_ptr_nonnull(strstr(words(), "another machine has the log open"));
    }
    ck_assert_int_eq(tide_region_close(second.region), 0);
    is_as_before(&first);
    leave(&first);
}
END_TEST

/* --- instructions ------------------------------------------------------------------------- */

#if defined(__x86_64__)

/* The second host's mapping may only be read: each write to it is looked at, and done alone. */
static struct {
    char *base;
    size_t size;
    uint64_t writes, front, locked;
    unsigned char code[15]; /* of the first one that locks */
} watch;

static void watch_allow(bool writes)
{
    UNIT_NEED(mprotect(watch.base, watch.size, PROT_READ | (writes ? PROT_WRITE : 0)) == 0);
}

/* A lock prefix, or an exchange with memory, which locks without one. */
static bool is_locked(const unsigned char *code)
{
    for (;; code++) {
        bool prefix = *code == 0x66 || *code == 0x67 || *code == 0xf2 || *code == 0xf3 ||
                      (*code & 0xf0) == 0x40 || *code == 0x64 || *code == 0x65 || *code == 0x2e ||
                      *code == 0x3e || *code == 0x26 || *code == 0x36;
        if (!prefix)
            break;
    }
    return *code == 0xf0 || *code == 0x86 || *code == 0x87;
}

enum { TRAP_FLAG = 1 << 8 };

static void on_write(int number, siginfo_t *info, void *context)
{
    greg_t *state = ((ucontext_t *)context)->uc_mcontext.gregs;
    const unsigned char *code = (const unsigned char *)state[REG_RIP];
    size_t at = (size_t)((char *)info->si_addr - watch.base);
    UNIT_NEED(number == SIGSEGV && at < watch.size);
    watch.writes++;
    watch.front += at < FRONT;
    if (is_locked(code) && watch.locked++ == 0)
        memcpy(watch.code, code, sizeof watch.code);
    watch_allow(true);
    state[REG_EFL] |= TRAP_FLAG;
}

static void on_step(int number, siginfo_t *info, void *context)
{
    (void)number, (void)info;
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] &= ~(greg_t)TRAP_FLAG;
    watch_allow(false);
}

static void watch_begin(tide_region_t *region)
{
    struct sigaction write = {.sa_sigaction = on_write, .sa_flags = SA_SIGINFO};
    struct sigaction step = {.sa_sigaction = on_step, .sa_flags = SA_SIGINFO};
    watch.base = region->extent.base;
    watch.size = region->extent.size;
    watch.writes = watch.front = watch.locked = 0;
    ck_assert_int_eq(sigaction(SIGSEGV, &write, NULL), 0);
    ck_assert_int_eq(sigaction(SIGTRAP, &step, NULL), 0);
    watch_allow(false);
}

static void watch_end(void)
{
    watch_allow(true);
    signal(SIGSEGV, SIG_DFL);
    signal(SIGTRAP, SIG_DFL);
}

/* The watch sees what it is there for. */
START_TEST(exchanges_are_seen)
{
    struct part first = first_host();
    _Atomic uint64_t *word = tide_region_area(first.region, TIDE_REGION_AREA_USER);
    ck_assert_int_eq(tide_log_close(first.log), 0);
    watch_begin(first.region);
    atomic_store_explicit(word, 1, memory_order_release);
    ck_assert_uint_eq(watch.locked, 0);
    atomic_fetch_add(word, 1);
    atomic_exchange(word, 5);
    uint64_t seen = 5;
    atomic_compare_exchange_strong(word, &seen, 6);
    ck_assert_uint_eq(watch.locked, 3);
    ck_assert_uint_eq(watch.front, 4);
    ck_assert_uint_eq(*word, 6);
    watch_end();
    ck_assert_int_eq(tide_region_close(first.region), 0);
}
END_TEST

/* _i: the sequencer is the first host, or this one. */
START_TEST(another_host_exchanges_nothing)
{
    struct tide_log_options o = options(_i % 2 ? 4 : 5, SECOND / 2);
    bool leads = _i / 2 == 1;
    struct part first = made(o);
    struct tide_log_role role = {.node = 1, .sequence = leads};
    if (leads)
        ck_assert_int_eq(tide_log_close(first.log), 0);
    first.log = leads ? NULL : first.log;
    struct part second = {.region = region_opened(text)};
    watch_begin(second.region);
    ck_assert_int_eq(tide_log_attach(&second.log, second.region, &role, PATIENCE), 0);
    append_and_read(&second, 1, leads);
    end_log(&second);
    watch_end();
    ck_assert_uint_gt(watch.writes, 100);
    ck_assert_uint_eq(watch.front, 0);
    ck_assert_msg(watch.locked == 0, "%d exchanges, the first one is %02x %02x %02x %02x",
                  (int)watch.locked, watch.code[0], watch.code[1], watch.code[2], watch.code[3]);
    ck_assert_int_eq(tide_region_close(second.region), 0);
    leave(&first);
}
END_TEST

#endif

/* --- segments ------------------------------------------------------------------------------- */

/* What calls that never ended left is there until somebody takes segments: then nobody of another
 * host does. _i: how. */
START_TEST(what_dead_calls_left_is_mended_at_the_first_take)
{
    struct part first = first_host();
    uint64_t offset, sessions = atomic_load(&first.region->table.head->sessions);
    leave(&first);
    tide_region_t *region = region_opened(text), *other = NULL;
    uint64_t free_bytes = region_told(region).free_bytes;
    ck_assert_uint_eq(atomic_load(&region->table.head->sessions), sessions);
    if (_i == 0) {
        ck_assert_int_eq(tide_region_take(region, 1, 9, &offset), 0);
        ck_assert_int_eq(tide_region_give(region, offset), 0);
    } else if (_i == 1) {
        ck_assert_int_eq(tide_region_reclaim(region), -EPROTO); /* such a log has no blocks */
    } else if (_i == 2) {
        tide_heap_t *heap = tide_heap_create_on(region);
        tide_free(tide_heap_malloc(heap, 100));
        tide_heap_destroy(heap);
    } else if (_i == 3) {
        ck_assert_int_eq(tide_region_give(region, 3 * TIDE_REGION_SEGMENT + 1), -EINVAL);
        ck_assert_int_eq(tide_region_give(region, 14 * TIDE_REGION_SEGMENT), -EINVAL);
    } else { /* somebody else of this host may be at it */
        other = region_opened(text);
        ck_assert_int_eq(tide_region_take(region, 1, 9, &offset), 0);
        ck_assert_int_eq(tide_region_give(region, offset), 0);
    }
    ck_assert_uint_eq(region_told(region).free_bytes,
                      free_bytes + (other == NULL ? 2 * TIDE_REGION_SEGMENT : 0));
    ck_assert_uint_eq(atomic_load(&region->table.head->sessions), sessions + 1);
    ck_assert_int_eq(tide_region_close(other), 0);
    ck_assert_int_eq(tide_region_close(region), 0);
}
END_TEST

/* A region is one of several hosts as long as such a log is in it. */
START_TEST(the_region_says_that_several_hosts_have_it)
{
    struct tide_log_options o = options(5, 0), one = o;
    struct part first = made(o);
    const struct tide_plot_head *head = first.region->table.head;
    one.nodes = 1;
    ck_assert_uint_eq(head->hosts, 1);
    ck_assert_int_eq(tide_log_close(first.log), 0);
    ck_assert_uint_eq(head->hosts, 1);
    ck_assert_int_eq(tide_log_remove(first.region), 0);
    ck_assert_uint_eq(head->hosts, 0);
    ck_assert_int_eq(tide_log_create_on(&first.log, first.region, &one), 0);
    ck_assert_uint_eq(head->hosts, 0);
    tide_region_t *second = region_opened(text); /* as ever */
    ck_assert_uint_eq(atomic_load(&head->sessions), 2);
    ck_assert_int_eq(tide_region_close(second), 0);
    leave(&first);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("loghosts_front");
    TCase *tcase = tcase_create("loghosts_front");
    tcase_add_checked_fixture(tcase, unit_files_setup, unit_files_teardown);
    tcase_add_test(tcase, another_host_leaves_head_and_table_as_they_are);
    tcase_add_test(tcase, what_another_machine_has_is_refused_without_a_write);
#if defined(__x86_64__)
    tcase_add_test(tcase, exchanges_are_seen);
    tcase_add_loop_test(tcase, another_host_exchanges_nothing, 0, 4);
#endif
    tcase_add_loop_test(tcase, what_dead_calls_left_is_mended_at_the_first_take, 0, 5);
    tcase_add_test(tcase, the_region_says_that_several_hosts_have_it);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
