/*
 * prog_pitfall_keys.c - the program makes more keys and more fork handlers than libc has
 * room for without allocating: then pthread_setspecific and pthread_atfork call malloc,
 * for the allocator too. A few handlers come before the first block in any case: they
 * run while the allocator's own hold its locks.
 *
 * prog_pitfall_keys            the keys come before the first block, then the handlers
 * prog_pitfall_keys handlers   the handlers come before the first block as well
 */
#define _GNU_SOURCE 1
#include "pitfall.h"

#include <sys/wait.h>

enum { KEYS = 64, FEW = 10, HANDLERS = 200, THREADS = 8 };

static pthread_key_t keys[KEYS];
static int prepared;

static void prepare(void)
{
    prepared++;
    free(get_marked(3000));
    free(get_marked(300000)); /* never without a lock */
}

static void after(void)
{
    free(get_marked(100));
}

static void make_handlers(int count)
{
    for (int i = 0; i < count; i++) {
        if (pthread_atfork(prepare, after, after))
            _exit(3);
    }
}

static void before_all(int argc, char **argv, char **environment)
{
    (void)argv;
    (void)environment;
    make_handlers(FEW);
    for (int i = 0; i < KEYS; i++) {
        if (pthread_key_create(&keys[i], free))
            _exit(3);
    }
    if (argc == 1)
        free(get_marked(100));
    make_handlers(HANDLERS);
}

__attribute__((section(".preinit_array"), used)) static void (*const preinit)(int, char **,
                                                                              char **) = before_all;

/* Leaves a block at each key: its destructor frees them. */
static void *thread_main(void *arg)
{
    for (size_t i = 0; i < KEYS; i++) {
        if (pthread_setspecific(keys[i], get_marked(16 + i * 700)))
            die("pthread_setspecific failed");
    }
    return arg;
}

int main(void)
{
    int status = -1;
    alarm(hang_seconds());
    for (int round = 0; round < 3; round++) {
        pthread_t threads[THREADS];
        for (int i = 0; i < THREADS; i++)
            threads[i] = start(thread_main, NULL);
        for (int i = 0; i < THREADS; i++)
            pthread_join(threads[i], NULL);
        pid_t pid = fork();
        if (pid == 0) {
            pthread_join(start(thread_main, NULL), NULL);
            _exit(0);
        }
        if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
            die("the child ended with status %#x", (unsigned)status);
    }
    if (prepared != 3 * (FEW + HANDLERS))
        die("%d handlers ran", prepared);
    return 0;
}
