/*
 * stress_shadow.c - random work against a shadow model.
 *
 * Many threads allocate, resize, hand over and free blocks through every entry
 * point; threads die and are replaced, their blocks live on; processes fork in
 * the middle of it; first-class heaps come and go. Every block is filled over
 * its whole usable size and verified when it is touched again, and no byte may
 * belong to two live blocks (stress_block.h, stress_model.h).
 *
 * One source, two builds: as it stands it calls the prefixed API; with
 * -DSTRESS_PLAIN the libc names, for a run under LD_PRELOAD.
 *
 * stress_shadow [--ops N | N] [--threads N] [--seed N] [--seconds N] [--no-fork]
 * Exit: 0 nothing found, 1 a finding (one line on stderr), 2 bad arguments.
 */
#define _GNU_SOURCE 1
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include "stress_block.h"

/* There in the builds with sanitizers: ThreadSanitizer does not follow the fork
 * of a process with threads, and a child of AddressSanitizer may hang when it
 * starts a thread. */
void __tsan_init(void) __attribute__((weak));
void __asan_init(void) __attribute__((weak));

enum {
    LANE_SLOTS = 512,   /* blocks of one lane */
    SHARED_SLOTS = 512, /* blocks handed over in bursts */
    ROOMS = 6,          /* first-class heaps at a time */
    ROOM_SLOTS = 64,
    LATE = 8, /* blocks that a dying thread leaves to its key destructor */
    MAX_THREADS = 256,
    STACK_SIZE = 1 << 20,
    THREAD_OPS = 20000, /* mean operations in the life of one thread */
    FORK_EVERY = 50000,
    TRIM_EVERY = 20000,
    DESTROY_EVERY = 200, /* operations on heaps */
    CHILD_SECONDS = 300, /* a child that is still there hangs */
};

/* A place for one block. Whoever turns the state to BUSY owns the block until
 * it stores another state; a child ignores slots that were BUSY at the fork. */
enum slot_state { EMPTY, LIVE, BUSY };

struct slot {
    _Atomic int state;
    struct block block;
};

/* A chain of threads, one at a time: when one dies, the next goes on. */
struct lane {
    struct maker maker;
    unsigned number;
    uint64_t op, quota;
    pthread_t thread;
    void *stack;
    enum { IDLE, RUNNING, ENDED } state; /* under lanes_lock */
    struct slot *late[LATE];
    unsigned late_rounds;
    uint64_t forks;
    bool stay; /* in a child: no forks and no thread exits */
};

/* A first-class heap; its slots are worked on under the read lock. */
struct room {
    pthread_rwlock_t lock;
    tide_heap_t *heap;
    struct slot *slots;
};

static struct {
    uint64_t seed, ops, seconds;
    unsigned threads;
    bool no_fork;
    struct timespec end;
} run = {.ops = 1000000, .threads = 8};

static struct lane *lanes;
static struct slot *slots; /* lanes' slots, then shared ones, then rooms' ones */
static size_t slot_count;
static struct room rooms[ROOMS];
static atomic_bool out_of_time;
static pthread_mutex_t lanes_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t lanes_cond = PTHREAD_COND_INITIALIZER;
static pthread_key_t late_key;
static unsigned threads_made;

/* ---- slots ---- */

/* The state that the slot had; unless BUSY the caller owns it now. */
static int slot_claim(struct slot *slot)
{
    return atomic_exchange_explicit(&slot->state, BUSY, memory_order_acquire);
}

static void slot_release(struct slot *slot, int state)
{
    atomic_store_explicit(&slot->state, state, memory_order_release);
}

/* Mostly the lane's own, sometimes shared, sometimes another lane's. */
static struct slot *slot_pick(struct lane *lane)
{
    uint64_t pick = rng_below(&lane->maker.rng, 10);
    struct slot *shared = slots + run.threads * LANE_SLOTS;
    if (pick == 0)
        return shared + rng_below(&lane->maker.rng, SHARED_SLOTS);
    uint64_t number = pick == 1 ? rng_below(&lane->maker.rng, run.threads) : lane->number;
    return slots + number * LANE_SLOTS + rng_below(&lane->maker.rng, LANE_SLOTS);
}

/* Hands a verified block over to another slot. Returns the state of the old. */
static int slot_move(struct lane *lane, struct slot *from)
{
    struct slot *to = slot_pick(lane);
    int state = slot_claim(to);
    if (state == BUSY)
        return LIVE;
    block_verify(&from->block);
    struct block other = to->block;
    to->block = from->block;
    from->block = other;
    slot_release(to, LIVE);
    return state;
}

static void slot_work(struct lane *lane, struct slot *slot, tide_heap_t *heap)
{
    uint64_t pick = rng_below(&lane->maker.rng, 20);
    int state = slot_claim(slot);
    if (state == BUSY)
        return;
    if (state == EMPTY) {
        block_make(&lane->maker, &slot->block, heap);
        state = LIVE;
    } else if (pick < 11) {
        block_free(&lane->maker, &slot->block);
        state = EMPTY;
    } else if (pick < 15) {
        block_resize_chain(&lane->maker, &slot->block);
    } else if (pick < 18 && !heap) {
        state = slot_move(lane, slot);
    } else {
        block_verify(&slot->block);
    }
    slot_release(slot, state);
}

/* Fills or empties a run of shared slots: one thread makes, another frees. */
static void slot_burst(struct lane *lane)
{
    struct slot *shared = slots + run.threads * LANE_SLOTS;
    uint64_t first = rng_below(&lane->maker.rng, SHARED_SLOTS),
             count = 32 + rng_below(&lane->maker.rng, 64);
    int wanted = rng_below(&lane->maker.rng, 2) ? EMPTY : LIVE;
    for (uint64_t i = first; i < first + count && i < SHARED_SLOTS; i++) {
        int state = slot_claim(&shared[i]);
        if (state == BUSY)
            continue;
        if (state == wanted && wanted == EMPTY)
            block_make(&lane->maker, &shared[i].block, NULL);
        else if (state == wanted)
            block_free(&lane->maker, &shared[i].block);
        slot_release(&shared[i], state == wanted ? LIVE - wanted : state);
    }
}

/* ---- first-class heaps ---- */

static void room_open(struct room *room)
{
    room->heap = tide_heap_create();
    if (!room->heap)
        fail("tide_heap_create gave NULL, errno %d", errno);
}

/* Under the write lock: the blocks die with their heap. */
static void room_close(struct room *room)
{
    for (size_t i = 0; i < ROOM_SLOTS; i++) {
        if (slot_claim(&room->slots[i]) == LIVE) {
            block_verify(&room->slots[i].block);
            block_leave(&room->slots[i].block);
        }
        slot_release(&room->slots[i], EMPTY);
    }
    tide_heap_destroy(room->heap);
}

static void room_work(struct lane *lane)
{
    struct room *room = &rooms[rng_below(&lane->maker.rng, ROOMS)];
    if (rng_one_in(&lane->maker.rng, DESTROY_EVERY)) {
        if (pthread_rwlock_trywrlock(&room->lock))
            return;
        room_close(room);
        room_open(room);
    } else {
        if (pthread_rwlock_tryrdlock(&room->lock))
            return;
        slot_work(lane, &room->slots[rng_below(&lane->maker.rng, ROOM_SLOTS)], room->heap);
    }
    pthread_rwlock_unlock(&room->lock);
}

/* ---- requests that must fail ---- */

static void must_be_null(const char *call, void *ptr)
{
    if (ptr || errno != ENOMEM)
        fail("impossible %s gave %p, errno %d", call, ptr, errno);
    errno = 0;
}

static void impossible(struct lane *lane)
{
    size_t huge = (size_t)PTRDIFF_MAX + 1 + rng_below(&lane->maker.rng, 4096);
    void *block = CALL(malloc)(24);
    __asm__("" : "+r"(huge));
    pattern_fill(block, 24, 7);
    errno = 0;
    must_be_null("malloc", CALL(malloc)(huge));
    must_be_null("calloc", CALL(calloc)(huge / 8, 32));
    must_be_null("aligned_alloc", CALL(aligned_alloc)(64, huge));
    must_be_null("realloc", CALL(realloc)(launder(block), huge));
    must_be_null("reallocarray", CALL(reallocarray)(launder(block), huge / 4, 32));
    if (pattern_check(block, 24, 7) != 24)
        fail("a failed realloc changed its block");
    CALL(free)(block);
}

/* ---- forks ---- */

static void step(struct lane *lane);

static void *child_thread(void *arg)
{
    struct lane *lane = arg;
    here.child = true;
    here.seed = run.seed;
    here.lane = lane->number;
    for (int i = 0; i < 300; i++)
        step(lane);
    return NULL;
}

/* The child: verifies every block that no thread held at the fork, frees half
 * of them (whichever thread made them), goes on working, with a thread too. */
__attribute__((noreturn)) static void child_main(struct lane *lane)
{
    pthread_t thread;
    here.child = true;
    lane->stay = true;
    lane->maker.rng.state ^= (uint64_t)getpid();
    alarm(CHILD_SECONDS);
    for (size_t i = 0; i < slot_count; i++) {
        int state = slot_claim(&slots[i]);
        if (state == BUSY)
            continue;
        if (state == LIVE && rng_below(&lane->maker.rng, 2)) {
            block_free(&lane->maker, &slots[i].block);
            state = EMPTY;
        } else if (state == LIVE) {
            block_verify(&slots[i].block);
        }
        slot_release(&slots[i], state);
    }
    for (int i = 0; i < 1000; i++)
        step(lane);
    if (!__asan_init && rng_below(&lane->maker.rng, 2)) {
        struct lane other = *lane;
        other.maker.rng.state = rng_next(&lane->maker.rng);
        if (pthread_create(&thread, NULL, child_thread, &other) == 0)
            pthread_join(thread, NULL);
    }
    _exit(0);
}

static void fork_here(struct lane *lane)
{
    int status;
    pid_t pid = fork();
    if (pid == 0)
        child_main(lane);
    if (pid < 0)
        fail("fork: errno %d", errno);
    lane->forks++;
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR)
            fail("waitpid: errno %d", errno);
    }
    if (WIFSIGNALED(status))
        fail("the forked child was killed by signal %d%s", WTERMSIG(status),
             WTERMSIG(status) == SIGALRM ? " (it hung)" : "");
    if (status)
        _exit(1); /* the child has said what it found */
}

/* ---- threads ---- */

static void step(struct lane *lane)
{
    uint64_t pick = rng_below(&lane->maker.rng, 1000);
    here.op = ++lane->op;
    if (pick < 2)
        impossible(lane);
    else if (pick < 12)
        slot_burst(lane);
    else if (pick < 42 && HAVE(tide_heap_create))
        room_work(lane);
    else
        slot_work(lane, slot_pick(lane), NULL);
    if (rng_one_in(&lane->maker.rng, TRIM_EVERY))
        CALL(malloc_trim)(rng_below(&lane->maker.rng, 1 << 20));
    if (!run.no_fork && !lane->stay && rng_one_in(&lane->maker.rng, FORK_EVERY))
        fork_here(lane);
}

/* Runs when the thread is almost gone, twice: frees what it left, and works. */
static void late_frees(void *arg)
{
    struct lane *lane = arg;
    for (size_t i = lane->late_rounds ? 0 : LATE / 2; i < LATE; i++) {
        if (lane->late[i]) {
            block_free(&lane->maker, &lane->late[i]->block);
            slot_release(lane->late[i], EMPTY);
        }
        lane->late[i] = NULL;
        slot_work(lane, slot_pick(lane), NULL);
    }
    if (lane->late_rounds++ == 0)
        pthread_setspecific(late_key, lane);
}

static void late_leave(struct lane *lane)
{
    lane->late_rounds = 0;
    for (size_t i = 0; i < LATE; i++) {
        struct slot *slot = slot_pick(lane);
        int state = slot_claim(slot);
        if (state == LIVE)
            lane->late[i] = slot;
        else if (state == EMPTY)
            slot_release(slot, EMPTY);
    }
    if (pthread_setspecific(late_key, lane))
        fail("pthread_setspecific failed");
}

static bool time_is_over(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (now.tv_sec < run.end.tv_sec)
        return false;
    atomic_store_explicit(&out_of_time, true, memory_order_relaxed);
    return true;
}

static void *lane_main(void *arg)
{
    struct lane *lane = arg;
    uint64_t left = 1 + rng_below(&lane->maker.rng, 2 * THREAD_OPS);
    here = (struct where){.seed = run.seed, .lane = lane->number, .serial = lane->maker.serial};
    while (left-- && lane->op < lane->quota &&
           !atomic_load_explicit(&out_of_time, memory_order_relaxed)) {
        step(lane);
        if (run.seconds && lane->op % 64 == 0 && time_is_over())
            break;
    }
    late_leave(lane);
    pthread_mutex_lock(&lanes_lock);
    lane->state = ENDED;
    pthread_cond_signal(&lanes_cond);
    pthread_mutex_unlock(&lanes_lock);
    return NULL;
}

/* A stack of the lane's own, which is never unmapped: else the allocator could
 * get its addresses later by a system call that ThreadSanitizer does not see. */
static void lane_start(struct lane *lane)
{
    pthread_attr_t attr;
    lane->maker.serial = ++threads_made;
    lane->state = RUNNING;
    if (!lane->stack)
        lane->stack = model_memory(STACK_SIZE);
    pthread_attr_init(&attr);
    if (pthread_attr_setstack(&attr, lane->stack, STACK_SIZE) ||
        pthread_create(&lane->thread, &attr, lane_main, lane))
        fail("pthread_create failed");
    pthread_attr_destroy(&attr);
}

/* Joins dead threads and starts their successors until all lanes are done. */
static void lanes_run(void)
{
    unsigned running = run.threads;
    pthread_mutex_lock(&lanes_lock);
    for (unsigned i = 0; i < run.threads; i++)
        lane_start(&lanes[i]);
    while (running) {
        unsigned i = 0;
        while (i < run.threads && lanes[i].state != ENDED)
            i++;
        if (i == run.threads) {
            pthread_cond_wait(&lanes_cond, &lanes_lock);
            continue;
        }
        lanes[i].state = IDLE;
        pthread_mutex_unlock(&lanes_lock);
        pthread_join(lanes[i].thread, NULL);
        pthread_mutex_lock(&lanes_lock);
        if (lanes[i].op < lanes[i].quota && !atomic_load(&out_of_time))
            lane_start(&lanes[i]);
        else
            running--;
    }
    pthread_mutex_unlock(&lanes_lock);
}

/* ---- start and end ---- */

/* Adds where the thread was to the death of the process by a signal. */
static struct sigaction old_actions[NSIG];

static void say_signal(int number)
{
    char text[] = "died by signal 00";
    text[sizeof text - 3] = (char)('0' + number / 10);
    text[sizeof text - 2] = (char)('0' + number % 10);
    say_where("CRASH", text);
    sigaction(number, &old_actions[number], NULL);
}

static void signals_init(void)
{
    static const int numbers[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
    struct sigaction action = {.sa_handler = say_signal};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        sigaction(numbers[i], &action, &old_actions[numbers[i]]);
}

static void rooms_init(struct slot *first)
{
    for (size_t i = 0; i < ROOMS && HAVE(tide_heap_create); i++) {
        pthread_rwlock_init(&rooms[i].lock, NULL);
        rooms[i].slots = first + i * ROOM_SLOTS;
        room_open(&rooms[i]);
    }
}

static void run_init(void)
{
    char value[32];
    size_t room_slots = run.threads * LANE_SLOTS + SHARED_SLOTS;
    slot_count = room_slots + ROOMS * ROOM_SLOTS;
    slots = model_memory(slot_count * sizeof *slots);
    lanes = model_memory(run.threads * sizeof *lanes);
    for (unsigned i = 0; i < run.threads; i++) {
        lanes[i].number = i;
        lanes[i].quota = run.ops / run.threads + (i < run.ops % run.threads);
        lanes[i].maker.rng.state = mix64(run.seed + i);
    }
    if (HAVE(tide_option_get) && tide_option_get("tiny_max", value, sizeof value) > 0)
        tiny_max = strtoul(value, NULL, 10);
    if (pthread_key_create(&late_key, late_frees))
        fail("pthread_key_create failed");
    rooms_init(slots + room_slots);
    clock_gettime(CLOCK_MONOTONIC, &run.end);
    run.end.tv_sec += (time_t)run.seconds;
}

/* Frees everything that is left. */
static void run_drain(void)
{
    for (size_t i = 0; i < ROOMS && HAVE(tide_heap_create); i++)
        room_close(&rooms[i]);
    for (size_t i = 0; i < slot_count; i++) {
        if (slot_claim(&slots[i]) == LIVE)
            block_free(&lanes[0].maker, &slots[i].block);
        slot_release(&slots[i], EMPTY);
    }
    if (live_bytes)
        fail("model broken: %zu bytes left", (size_t)live_bytes);
}

/* What the library believes to be live now must be what was before. */
static void live_check(const char *tier, uint64_t before, uint64_t after)
{
    uint64_t allowed = LIVE_SLACK ? before + LIVE_SLACK : 0;
    if (after > allowed)
        fail("everything is freed, but %llu blocks of tier %s count as live",
             (unsigned long long)after, tier);
}

static void run_report(void)
{
    uint64_t ops = 0, blocks = 0, remote = 0, bytes = 0, forks = 0;
    for (unsigned i = 0; i < run.threads; i++) {
        ops += lanes[i].op;
        blocks += lanes[i].maker.blocks;
        remote += lanes[i].maker.remote_frees;
        bytes += lanes[i].maker.bytes;
        forks += lanes[i].forks;
    }
    printf("stress: ok seed=%llu ops=%llu threads=%u blocks=%llu remote_frees=%llu forks=%llu "
           "filled_MB=%llu\n",
           (unsigned long long)run.seed, (unsigned long long)ops, threads_made,
           (unsigned long long)blocks, (unsigned long long)remote, (unsigned long long)forks,
           (unsigned long long)(bytes / 1000000));
}

static uint64_t number_or_die(const char *text)
{
    char *end;
    errno = 0;
    uint64_t value = strtoull(text, &end, 0);
    if (errno || *end || end == text) {
        fprintf(stderr, "stress: not a number: %s\n", text);
        exit(2);
    }
    return value;
}

static void arguments(int argc, char **argv)
{
    static const struct option known[] = {
        {"ops", required_argument, NULL, 'o'},  {"threads", required_argument, NULL, 't'},
        {"seed", required_argument, NULL, 's'}, {"seconds", required_argument, NULL, 'd'},
        {"no-fork", no_argument, NULL, 'n'},    {NULL, 0, NULL, 0}};
    int letter;
    run.seed = mix64((uint64_t)time(NULL) ^ ((uint64_t)getpid() << 32)) >> 32;
    while ((letter = getopt_long(argc, argv, "", known, NULL)) != -1) {
        if (letter == 'o')
            run.ops = number_or_die(optarg);
        else if (letter == 't')
            run.threads = (unsigned)number_or_die(optarg);
        else if (letter == 's')
            run.seed = number_or_die(optarg);
        else if (letter == 'd')
            run.seconds = number_or_die(optarg);
        else if (letter == 'n')
            run.no_fork = true;
        else
            exit(2);
    }
    if (optind < argc)
        run.ops = number_or_die(argv[optind++]);
    if (optind < argc || run.threads < 1 || run.threads > MAX_THREADS) {
        fprintf(stderr, "stress: bad arguments\n");
        exit(2);
    }
    if (run.seconds)
        run.ops = UINT64_MAX;
    run.no_fork |= __tsan_init != NULL;
}

int main(int argc, char **argv)
{
    struct tide_stats before = {.misuses = 0}, after = before;
    arguments(argc, argv);
    here.seed = run.seed;
    printf("stress: seed=%llu threads=%u\n", (unsigned long long)run.seed, run.threads);
    fflush(stdout);
    signals_init();
    model_init();
    if (HAVE(tide_stats))
        tide_stats(&before);
    run_init();
    lanes_run();
    run_drain();
    if (HAVE(tide_stats))
        tide_stats(&after);
    live_check("tiny", before.tiny.live_blocks, after.tiny.live_blocks);
    live_check("mid", before.mid.live_blocks, after.mid.live_blocks);
    live_check("large", before.large.live_blocks, after.large.live_blocks);
    run_report();
    return 0;
}
