/*
 * fuzz_api.c - turns bytes into calls of the whole API, checked against a shadow model.
 *
 * Each step is five bytes: what and which thread, slot, size (two), extra. Up to three
 * threads besides the first take turns: a step runs on one of them while the others wait,
 * so that an input does the same each time. Between inputs everything is freed, all
 * threads end and all memory is given back.
 *
 * Checked: no byte belongs to two blocks (headers included); contents, alignment, usable
 * size, tier, zeroes of calloc, errno; statistics exactly, by tier and class; what the
 * library's own books must fulfil (fuzz_valid.h); misuse of every kind is counted and
 * changes nothing (misuse=ignore); nothing is left at the end.
 * TIDEPOOL_OPTIONS chooses the options that are fixed at start.
 *
 * Faults (FUZZ_PLANT): see fuzz_calls.h and fuzz_books.h; quiet (misuse is not made).
 */
#define _GNU_SOURCE 1
#include <pthread.h>
#include <semaphore.h>
#include <sys/wait.h>

#include "fuzz_steps.h"

enum {
    THREADS = 4, /* the first is the one that reads the input */
    STEPS_MAX = 400,
    CHILD_SECONDS = 100, /* a child that is still there hangs */
};

/* A thread waits for a step, runs it and says so. */
struct worker {
    pthread_t id;
    sem_t go, done;
    struct step step;
    bool alive, ends, late; /* late: works on in a destructor of thread-specific data */
    unsigned rounds;        /* of that one */
};

static struct worker worker[THREADS];
static pthread_key_t late_key;
static bool has_forked;

/* ---- steps: threads and forks ---- */

static void step_run(const struct step *step);

/* Runs when the thread is almost gone; in the third round its heap was given away. */
static void late_work(void *arg)
{
    struct worker *self = arg;
    struct step step = self->step;
    struct block *block = slot_of(&step);
    struct wish wish = {.how = BY_MALLOC, .size = size_of(&step)};
    if (self->rounds++ < 2) {
        pthread_setspecific(late_key, self);
        return;
    }
    for (unsigned i = 0; i < 4 && block < model.slot + SLOTS; i++, block++) {
        if (block->ptr != NULL)
            block_free(block, step.extra);
        else
            block_make(block, &wish, false);
    }
}

static void *worker_main(void *arg)
{
    struct worker *self = arg;
    tide_free(launder(tide_malloc(1))); /* the thread has a heap from here on */
    sem_post(&self->done);
    for (;;) {
        while (sem_wait(&self->go) != 0)
            continue;
        if (self->ends)
            break;
        step_run(&self->step);
        sem_post(&self->done);
    }
    if (self->late && pthread_setspecific(late_key, self) != 0)
        fuzz_fail("no thread-specific data");
    return NULL;
}

static void worker_wait(struct worker *self)
{
    while (sem_wait(&self->done) != 0)
        continue;
}

static void worker_start(struct worker *self)
{
    self->ends = false;
    sem_init(&self->go, 0, 0);
    sem_init(&self->done, 0, 0);
    if (pthread_create(&self->id, NULL, worker_main, self) != 0)
        fuzz_fail("no thread");
    worker_wait(self);
    self->alive = true;
    books.threads++;
    books.parked -= books.parked > 0;
}

static void worker_end(struct worker *self, bool late)
{
    self->ends = true;
    self->late = late;
    self->rounds = 0;
    sem_post(&self->go);
    pthread_join(self->id, NULL);
    self->alive = false;
    books.threads--;
    books.parked++;
}

/* From the first thread only: it waits for the others. */
static void step_thread(const struct step *step)
{
    struct worker *other = &worker[1 + step->extra % (THREADS - 1)];
    FUZZ_TELL("thread %td %s", other - worker, other->alive ? "ends" : "begins");
    other->step = *step;
    if (!other->alive)
        worker_start(other);
    else
        worker_end(other, step->extra & 64);
}

/* The child has this thread alone: it looks at every block and frees half of them. */
__attribute__((noreturn)) static void child_main(const struct step *step)
{
    fuzz.child = true;
    alarm(CHILD_SECONDS);
    books.parked += books.threads - 1;
    books.threads = 1;
    books_check();
    for (unsigned i = 0; i < SLOTS; i++) {
        struct block *block = &model.slot[i];
        if (block->ptr != NULL && (i + step->low) % 2 == 0)
            block_free(block, step->extra);
        else if (block->ptr != NULL)
            model_verify(block);
    }
    step_many(step, true);
    step_many(step, false);
    books_all();
    _exit(0);
}

static void step_fork(const struct step *step)
{
    int status = 0;
    if (step->extra % 16 != 7 || has_forked)
        return;
    has_forked = true;
    FUZZ_TELL("fork");
    pid_t pid = fork();
    if (pid == 0)
        child_main(step);
    while (pid > 0 && waitpid(pid, &status, 0) < 0)
        continue;
    if (pid > 0 && status != 0) /* no process to be had: nothing was tested */
        fuzz_fail("the forked child ended with status %#x", (unsigned)status);
}

/* ---- the input ---- */

static void step_run(const struct step *step)
{
    fuzz.thread = step->thread;
    switch (step->what) {
    case 8 ... 11:
        step_free(step);
        break;
    case 12 ... 14:
        step_resize(step);
        break;
    case 15 ... 16:
        step_aligned(step);
        break;
    case 17:
        step_tier(step);
        break;
    case 18:
        step_many(step, true);
        break;
    case 19:
        step_many(step, false);
        break;
    case 20:
        step_heap(step);
        break;
    case 21:
        step_heap_end(step);
        break;
    case 22 ... 23:
        step_misuse(step);
        break;
    case 24:
        step->extra & 1 ? step_flip(step) : step_write(step);
        break;
    case 25:
        step->extra & 1 ? step_huge(step) : step_bad_alignment(step);
        break;
    case 26:
        step_trim(step);
        break;
    case 27:
        step_option(step);
        break;
    case 28:
        step_books(step);
        break;
    case 29:
        step_verify(step);
        break;
    case 30:
        step->extra & 1 ? step_fork(step) : step_wild(step);
        break;
    default:
        step_make(step);
    }
}

/* Threads 4 to 6 of the byte are the others, when they are there. */
static void step_turn(struct step *step)
{
    struct worker *other = &worker[step->thread >= 4 && step->thread < 7 ? step->thread - 3 : 0];
    step->thread = (unsigned)(other - worker);
    if (step->what == 31) {
        step->thread = 0;
        step_thread(step);
    } else if (other->alive) {
        other->step = *step;
        sem_post(&other->go);
        worker_wait(other);
    } else {
        step->thread = 0;
        step_run(step);
    }
    fuzz.thread = 0;
}

static struct step step_read(struct fuzz_input *in)
{
    unsigned first = fuzz_byte(in);
    struct step step = {.what = first & 31, .thread = first >> 5};
    step.slot = fuzz_byte(in);
    step.low = fuzz_byte(in);
    step.high = fuzz_byte(in);
    step.extra = fuzz_byte(in);
    return step;
}

/* Back to where the process was before the input. */
static void give_all_back(void)
{
    fuzz.thread = 0;
    for (unsigned i = 1; i < THREADS; i++)
        if (worker[i].alive)
            worker_end(&worker[i], false);
    for (unsigned i = 0; i < SLOTS; i++)
        if (model.slot[i].ptr != NULL && model.slot[i].heap == NULL)
            block_free(&model.slot[i], i);
    for (unsigned i = 0; i < HEAPS; i++)
        if (heap[i] != NULL)
            heap_end(&heap[i]);
    tide_option_set("cache", "4M");
    tide_option_set("retain", "4M");
    tide_option_set("foreign", "abort");
    tide_malloc_trim(0);
    books_empty();
    forget_peaks();
    memset(model.grave, 0, sizeof model.grave);
    model.graves = model.writes = 0;
    model.work = 0;
    has_forked = false;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    char value[32];
    struct tide_stats stats;
    (void)argc;
    (void)argv;
    fuzz_start();
    page_size = (size_t)sysconf(_SC_PAGESIZE);
    if (tide_option_get("tiny_max", value, sizeof value) <= 0)
        fuzz_fail("no option tiny_max");
    tiny_max = strtoul(value, NULL, 10);
    tide_free(launder(tide_malloc(1)));
    books.threads = 1;
    books.json = memfd_create("json", MFD_CLOEXEC);
    in_band = strstr(json_read(), "\"header\":\"inband\"") != NULL;
    if (tide_option_set("misuse", "ignore") != 0 || pthread_key_create(&late_key, late_work) != 0)
        fuzz_fail("cannot begin");
    tide_stats(&stats);
    books.faults = faults_now(&stats);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, data + size};
    for (fuzz.step = 0; fuzz.step < STEPS_MAX && in.at < in.end && model.work < WORK_MAX;
         fuzz.step++) {
        struct step step = step_read(&in);
        step_turn(&step);
    }
    give_all_back();
    return 0;
}
