/*
 * misuse.h - what the programs prog_misuse.c and prog_corrupt.c are made of.
 *
 * Owns: the protocol with misuse.sh. PROGRAM CASE SIZE runs one case on blocks
 *   of SIZE bytes, which chooses the tier; PROGRAM --list names the cases.
 *   Before the misuse a case prints the address that it is going to pass and
 *   the usable size of the block. If the process is still alive afterwards, it
 *   allocates on and looks whether a block is handed out twice, whether memory
 *   is handed out that never belonged to malloc, or such memory was written.
 *   Exit: 0 alive and sound, 3 unsound, 4 bad arguments, 77 the case cannot be
 *   set up here; mostly the process dies by SIGABRT before that.
 * Used by: prog_misuse.c, prog_corrupt.c.
 * Not here: the cases, and which end of a case is right (misuse.sh).
 */
#ifndef TIDE_TEST_MISUSE_H
#define TIDE_TEST_MISUSE_H

#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    MANY = 400,      /* allocations that look for a block handed out twice */
    DECOY = 1 << 20, /* memory that is not malloc's and must stay as it is */
    DECOY_BYTE = 0x5a,
    HEADER = 16,   /* bytes in front of a Mid block */
    BIG = 1 << 18, /* from here on fewer blocks are enough */
    EXIT_UNSOUND = 3,
    EXIT_ARGUMENTS = 4,
    EXIT_SKIP = 77,
};

/* Called through volatile pointers: the compiler must not see what is done. */
static void *(*volatile do_malloc)(size_t) = malloc;
static void *(*volatile do_realloc)(void *, size_t) = realloc;
static void (*volatile do_free)(void *) = free;
static size_t (*volatile do_usable)(void *) = malloc_usable_size;

static size_t size;          /* of the blocks of this run */
static unsigned char *decoy; /* filled with DECOY_BYTE */

struct misuse {
    const char *name;
    void (*run)(void);
};

static void announce(const void *ptr, size_t usable)
{
    printf("%#zx %zu\n", (size_t)ptr, usable);
    fflush(stdout);
}

__attribute__((noreturn)) static void stop(int status, const char *text)
{
    printf("%s\n", text);
    exit(status);
}

static unsigned char *get(size_t bytes)
{
    unsigned char *ptr = do_malloc(bytes);
    if (!ptr)
        stop(EXIT_UNSOUND, "malloc gave NULL");
    return ptr;
}

/* A block of the run's size, announced with the address of ptr + offset. */
static unsigned char *get_announced(ptrdiff_t offset)
{
    unsigned char *ptr = get(size);
    announce(ptr + offset, do_usable(ptr));
    return ptr;
}

static void *in_thread(void *(*function)(void *), void *arg)
{
    pthread_t thread;
    void *result;
    if (pthread_create(&thread, NULL, function, arg))
        stop(EXIT_SKIP, "no thread");
    pthread_join(thread, &result);
    return result;
}

static int by_address(const void *a, const void *b)
{
    const unsigned char *left = *(unsigned char *const *)a, *right = *(unsigned char *const *)b;
    return left < right ? -1 : left > right;
}

/* No two of the blocks share a byte, and none lies in the decoy. */
static void must_be_apart(unsigned char **blocks, size_t count)
{
    qsort(blocks, count, sizeof *blocks, by_address);
    for (size_t i = 0; i < count; i++) {
        if (i && blocks[i - 1] + size > blocks[i])
            stop(EXIT_UNSOUND, "handed out twice");
        if (blocks[i] + size > decoy && blocks[i] < decoy + DECOY)
            stop(EXIT_UNSOUND, "handed out memory that is not malloc's");
    }
}

static void decoy_must_be_whole(void)
{
    for (size_t i = 0; i < DECOY; i++) {
        if (decoy[i] != DECOY_BYTE)
            stop(EXIT_UNSOUND, "wrote to memory that is not malloc's");
    }
}

/* Takes many blocks and looks where they are; `live` is a block that is still in use
 * (or NULL). */
static void take_and_look(unsigned char *live)
{
    static unsigned char *blocks[MANY + 1];
    size_t count = size < BIG ? MANY : 20;
    for (size_t i = 0; i < count; i++) {
        blocks[i] = get(size);
        memset(blocks[i], 1, size < BIG ? size : 64);
    }
    if (live)
        blocks[count++] = live;
    must_be_apart(blocks, count);
    for (size_t i = 0; i < count; i++) {
        if (blocks[i] != live)
            do_free(blocks[i]);
    }
    decoy_must_be_whole();
}

/* Allocates on after a misuse that did not end the process. */
static void go_on(unsigned char *live)
{
    malloc_trim(0);
    take_and_look(live);
    malloc_trim(0);
    decoy_must_be_whole();
}

static int run_case(const struct misuse *cases, size_t count, int argc, char **argv)
{
    decoy = mmap(NULL, DECOY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(decoy, DECOY_BYTE, DECOY);
    size = argc == 3 ? strtoul(argv[2], NULL, 0) : 0;
    for (size_t i = 0; i < count; i++) {
        if (argc == 2 && strcmp(argv[1], "--list") == 0)
            puts(cases[i].name);
        if (size == 0 || strcmp(argv[1], cases[i].name) != 0)
            continue;
        cases[i].run();
        puts("alive");
        return 0;
    }
    return argc == 2 ? 0 : EXIT_ARGUMENTS;
}

#endif
