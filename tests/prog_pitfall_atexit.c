/*
 * prog_pitfall_atexit.c - allocates before all constructors, in constructors,
 * in handlers of the end and in destructors; blocks of the start are freed at
 * the very end. Prints one letter for each of them: pcmoad. With an argument the
 * first call is aligned_alloc.
 */
#define _GNU_SOURCE 1
#include "pitfall.h"

static void *early, *from_start, *from_main;

static void say(char letter)
{
    if (write(STDOUT_FILENO, &letter, 1) != 1)
        _exit(3);
}

/* The sizes count already. */
static void must_be_apart(size_t size)
{
    unsigned char *one = malloc(size), *two = malloc(size);
    memset(one, 1, size);
    memset(two, 2, size);
    if (one[0] != 1 || one[size - 1] != 1)
        die("blocks of %zu bytes overlap", size);
    free(one);
    free(two);
}

/* As the first call of the process: with tiny_max=1023 the block is one of Mid. */
static void must_be_aligned(void)
{
    void *volatile aligned = aligned_alloc(64, 1100); /* the compiler would believe it */
    if ((uintptr_t)aligned % 64 != 0)
        die("a first block at %p, which was to be a multiple of 64", aligned);
    free(aligned);
}

/* The loader calls it as main is called. */
static void before_all(int argc)
{
    if (argc > 1)
        must_be_aligned();
    early = get_marked(100);
    must_be_apart(100);
    must_be_apart(9000);
    say('p');
}

__attribute__((section(".preinit_array"), used)) static void (*const preinit)(int) = before_all;

__attribute__((constructor(101))) static void at_start(void)
{
    from_start = calloc(3, 3000);
    mark(from_start, 9000);
    say('c');
}

__attribute__((destructor(101))) static void at_end(void)
{
    free_marked(from_start, 9000);
    free(get_marked(70000));
    say('d');
}

static void *thread_main(void *arg)
{
    free(get_marked(6000));
    return arg;
}

static void handler(void)
{
    free_marked(from_main, 50000);
    pthread_join(start(thread_main, NULL), NULL);
    say('a');
}

static void handler_with_status(int status, void *arg)
{
    (void)status;
    free_marked(arg, 20000);
    void *more = realloc(get_marked(1000), 30000);
    free(more);
    say('o');
}

static void small_handler(void)
{
    free(get_marked(2500));
}

/* More handlers than libc has room for without allocating. */
int main(void)
{
    from_main = get_marked(50000);
    say('m');
    free_marked(early, 100);
    atexit(handler);
    on_exit(handler_with_status, get_marked(20000));
    for (int i = 0; i < 100; i++) {
        if (atexit(small_handler))
            die("atexit failed");
    }
    return 0;
}
