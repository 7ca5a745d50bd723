/*
 * plug_faulty.c - a malloc with a planted fault, to see whether the stress finds
 * it. Preloaded in front of the library, to which it passes every call.
 *
 * FAULT names the fault; it happens from the 20,000th allocation on: once for
 * those that hand out memory wrongly, always for the others.
 */
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <tidepool/malloc.h>

enum { FIRST = 20000 };

static char fault[16];
static bool keeps_victim; /* for faults that need a live block; not for use with fork */
static pid_t parent;
static _Atomic long allocations;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char *victim;           /* a live block, under the lock */
static char *volatile planted; /* what was handed out wrongly, and its size */
static volatile size_t planted_size;

__attribute__((constructor)) static void load(void)
{
    const char *name = getenv("FAULT");
    strncpy(fault, name ? name : "", sizeof fault - 1);
    keeps_victim = !strcmp(fault, "twice") || !strcmp(fault, "inside") || !strcmp(fault, "byte");
    parent = getpid();
}

static bool now(const char *name)
{
    return allocations > FIRST && strcmp(fault, name) == 0;
}

/* What to hand out: the new block, or the victim, once. Lock held. */
static char *plant(char *block, size_t size)
{
    size_t room = tide_malloc_usable_size(victim) - 16;
    if (now("byte"))
        victim[99] ^= 1;
    if (now("byte") || planted || room < size || !(now("twice") || now("inside")))
        return block;
    planted_size = room;
    return planted = victim + (now("inside") ? 16 : 0);
}

static char *pass_victim(char *block, size_t size)
{
    pthread_mutex_lock(&lock);
    char *result = victim ? plant(block, size) : block;
    victim = block;
    pthread_mutex_unlock(&lock);
    return result;
}

static void forget(void *block)
{
    if (!keeps_victim)
        return;
    pthread_mutex_lock(&lock);
    if (victim == block)
        victim = NULL;
    pthread_mutex_unlock(&lock);
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
    bool askew = now("align") && size > 100 && size < PTRDIFF_MAX;
    char *block = tide_malloc(askew ? size + 64 : size);
    if (askew && block)
        return block + 8;
    return keeps_victim && block && size > 100 && size < 30000 ? pass_victim(block, size) : block;
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

void free_sized(void *block, size_t size)
{
    (void)size;
    free(block);
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
        return moved ? memcpy(moved, block, (old < size ? old : size) - 1) : NULL;
    }
    return tide_realloc(block, size);
}

void *reallocarray(void *block, size_t count, size_t size)
{
    if (count > PTRDIFF_MAX / size)
        return tide_reallocarray(NULL, count, size);
    return realloc(block, count * size);
}

size_t malloc_usable_size(void *block)
{
    if (block && block == planted)
        return planted_size;
    return tide_malloc_usable_size(block) + (now("usable") ? 1 : 0);
}
