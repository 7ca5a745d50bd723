/*
 * plug_faulty.c - a malloc with a planted fault, to see whether the stress finds
 * it. Preloaded in front of the library, to which it passes every call.
 *
 * FAULT names the fault; it happens from the 20,000th allocation on: once for
 * those that hand out memory wrongly, always for the others.
 */
#include <errno.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <tidepool/malloc.h>

enum { FIRST = 20000 };

static char fault[16];
static pid_t parent;
static _Atomic long allocations;
static _Atomic(char *) victim; /* a live block */
static char *volatile planted; /* what was handed out wrongly, and its size */
static volatile size_t planted_size;
static atomic_flag done = ATOMIC_FLAG_INIT;

__attribute__((constructor)) static void load(void)
{
    const char *name = getenv("FAULT");
    strncpy(fault, name ? name : "", sizeof fault - 1);
    parent = getpid();
}

static bool now(const char *name)
{
    return allocations > FIRST && strcmp(fault, name) == 0;
}

static bool once(const char *name)
{
    return now(name) && !atomic_flag_test_and_set(&done);
}

void *malloc(size_t size)
{
    allocations++;
    if (now("null") && size > 100) {
        errno = ENOMEM;
        return NULL;
    }
    if (now("crash") && getpid() != parent)
        abort();
    if (now("align") && size > 100)
        return (char *)tide_malloc(size + 64) + 8;
    char *block = tide_malloc(size);
    if (!block || size < 100 || size > 30000)
        return block;
    char *old = atomic_exchange(&victim, block);
    size_t room = old ? tide_malloc_usable_size(old) - 16 : 0;
    if (room >= size && (once("twice") || once("inside"))) {
        planted_size = room;
        return planted = old + (fault[0] == 'i' ? 16 : 0);
    }
    if (old && once("byte"))
        old[99] ^= 1;
    return block;
}

static void forget(void *block)
{
    char *expected = block;
    atomic_compare_exchange_strong(&victim, &expected, NULL);
}

void free(void *block)
{
    forget(block);
    if (block && block == planted)
        return;
    tide_free(block);
    if (now("errno"))
        errno = EBADF;
}

void *calloc(size_t count, size_t size)
{
    char *block = tide_calloc(count, size);
    if (now("zero") && block && count * size > 100)
        block[count * size - 1] = 1;
    return block;
}

void *realloc(void *block, size_t size)
{
    forget(block);
    if (now("lose") && block && size > 100) {
        size_t old = tide_malloc_usable_size(block);
        void *moved = tide_malloc(size);
        return memcpy(moved, block, (old < size ? old : size) - 1);
    }
    return tide_realloc(block, size);
}

size_t malloc_usable_size(void *block)
{
    if (block && block == planted)
        return planted_size;
    return tide_malloc_usable_size(block) + (now("usable") ? 1 : 0);
}
