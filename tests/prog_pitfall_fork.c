/*
 * prog_pitfall_fork.c - 400 forks while four threads allocate and handlers of
 * pthread_atfork allocate too. Each child frees blocks of threads that it does
 * not have, allocates, starts a thread, and some fork again.
 */
#define _GNU_SOURCE 1
#include "pitfall.h"

#include <sys/wait.h>

enum { FORKS = 400, THREADS = 4, SLOTS = 64 };

static _Atomic(void *) slots[THREADS][SLOTS];
static atomic_bool over;
static void *from_prepare;

static void prepare(void)
{
    from_prepare = get_marked(5000);
    free(get_marked(100));
}

static void parent_or_child(void)
{
    free_marked(from_prepare, 5000);
    free(get_marked(40000));
}

/* Before main, so that it stands before or behind the allocator's handlers. */
__attribute__((constructor(101))) static void handlers_early(void)
{
    if (pthread_atfork(prepare, parent_or_child, parent_or_child))
        die("pthread_atfork failed");
}

/* A block with its size in front, so that whoever takes it can check it. */
static void *get_sized(size_t size)
{
    size_t *block = malloc(size + 2 * sizeof *block);
    if (!block)
        die("malloc failed under fork");
    block[0] = size;
    mark((unsigned char *)(block + 2), size);
    return block;
}

static void free_sized_block(void *block)
{
    if (block)
        must_be_marked((unsigned char *)block + 16, *(size_t *)block);
    free(block);
}

static void work(uint64_t *state, int rounds)
{
    for (int i = 0; i < rounds; i++) {
        uint64_t pick = next_random(state);
        _Atomic(void *) *slot = &slots[pick % THREADS][pick / THREADS % SLOTS];
        free_sized_block(atomic_exchange(slot, get_sized(mixed_size(state))));
    }
}

static void *worker(void *arg)
{
    uint64_t state = (uintptr_t)arg;
    while (!atomic_load(&over)) {
        work(&state, 256);
        usleep(100); /* leaves some of the processor to the forks */
    }
    return NULL;
}

static void *child_thread(void *arg)
{
    uint64_t state = (uintptr_t)arg;
    work(&state, 50);
    return NULL;
}

static void wait_for(pid_t pid, int number)
{
    int status;
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        die("fork %d failed", number);
    if (status)
        die("child %d ended with status %#x%s", number, (unsigned)status,
            WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM ? ": it hung" : "");
}

static void child(int number)
{
    uint64_t state = (uint64_t)number;
    alarm(hang_seconds());
    work(&state, 100);
    if (number % 4 == 1)
        pthread_join(start(child_thread, (void *)7), NULL);
    if (number % 16 == 2) {
        pid_t pid = fork();
        if (pid == 0)
            work(&state, 50);
        else
            wait_for(pid, number);
    }
    for (int i = 0; i < THREADS * SLOTS; i++)
        free_sized_block(atomic_exchange(&slots[i / SLOTS][i % SLOTS], NULL));
    _exit(0);
}

int main(void)
{
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        threads[i] = start(worker, (void *)(i + 1));
    for (int i = 0; i < FORKS; i++) {
        pid_t pid = fork();
        if (pid == 0)
            child(i);
        wait_for(pid, i);
    }
    atomic_store(&over, true);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    return 0;
}
