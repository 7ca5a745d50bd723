/*
 * pitfall.h - what the programs prog_pitfall_*.c share.
 *
 * HANG_SECONDS in the environment: after that time a child hangs, default 300.
 *
 * Owns: the way to fail (one line, status 1), resident memory, random numbers,
 *   blocks that carry a mark and are checked before they are freed.
 * Used by: prog_pitfall_*.c; they are built without the library and run under
 *   the preload by pitfalls.sh.
 * Not here: pass or fail of a comparison between two runs (pitfalls.sh).
 */
#ifndef TIDE_TEST_PITFALL_H
#define TIDE_TEST_PITFALL_H

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))

enum { EXIT_SKIP = 77, KIB = 1024, MIB = 1024 * 1024 };

/* Says what is wrong and ends the process with status 1; allocates nothing. */
__attribute__((noreturn, format(printf, 1, 2))) UNUSED static void die(const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(text, sizeof text - 1, format, args);
    va_end(args);
    length = length < (int)sizeof text - 1 ? length : (int)sizeof text - 2;
    text[length++] = '\n';
    if (write(STDOUT_FILENO, text, (size_t)length) < 0)
        _exit(3);
    _exit(1);
}

__attribute__((noreturn)) UNUSED static void give_up(const char *why)
{
    puts(why);
    exit(EXIT_SKIP);
}

/* After that time a child counts as hanging. */
UNUSED static unsigned hang_seconds(void)
{
    const char *seconds = getenv("HANG_SECONDS");
    return seconds ? (unsigned)atoi(seconds) : 300;
}

/* Bytes of this process that are resident, read without stdio. */
UNUSED static size_t resident(void)
{
    char text[128] = "";
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, text, sizeof text - 1) <= 0)
        die("/proc/self/statm cannot be read");
    close(fd);
    char *after = strchr(text, ' ');
    return after ? strtoul(after, NULL, 10) * (size_t)sysconf(_SC_PAGESIZE) : 0;
}

UNUSED static uint64_t next_random(uint64_t *state)
{
    uint64_t x = *state += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* A size of 16 bytes to 128 KiB: half Tiny, most others Mid. */
UNUSED static size_t mixed_size(uint64_t *state)
{
    uint64_t pick = next_random(state) % 16;
    if (pick < 8)
        return 16 + next_random(state) % 2000;
    return pick < 15 ? 2048 + next_random(state) % 30000 : 33000 + next_random(state) % 90000;
}

/* Blocks with a mark: the first and the last 8 bytes name the block. */
UNUSED static void mark(unsigned char *block, size_t size)
{
    uint64_t name = (uintptr_t)block ^ size;
    memcpy(block, &name, sizeof name);
    memcpy(block + size - sizeof name, &name, sizeof name);
}

UNUSED static void must_be_marked(const unsigned char *block, size_t size)
{
    uint64_t name = (uintptr_t)block ^ size;
    if (memcmp(block, &name, sizeof name) || memcmp(block + size - sizeof name, &name, sizeof name))
        die("block %p of %zu bytes was overwritten", (const void *)block, size);
}

UNUSED static void *get_marked(size_t size)
{
    unsigned char *block = malloc(size);
    if (!block)
        die("malloc(%zu) failed, errno %d", size, errno);
    mark(block, size);
    return block;
}

UNUSED static void free_marked(void *block, size_t size)
{
    must_be_marked(block, size);
    free(block);
}

UNUSED static pthread_t start(void *(*function)(void *), void *arg)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, function, arg))
        die("pthread_create failed");
    return thread;
}

#endif
