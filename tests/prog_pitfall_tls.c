/*
 * prog_pitfall_tls.c - threads whose destructors free and allocate late: those
 * of thread_local objects, and those of keys, which run in four rounds, so
 * some of them after the allocator's own. Many threads one after another must
 * not grow memory.
 */
#define _GNU_SOURCE 1
#include "pitfall.h"

enum { KEYS = 12, WARM = 300, THREADS = 3000, LEFT = 4 };

/* What a C++ compiler calls for a thread_local object. */
extern int __cxa_thread_atexit_impl(void (*function)(void *), void *object, void *dso);
extern void *__dso_handle;

struct cell {
    void *block;
    size_t size;
    int key, rounds;
};

static pthread_key_t keys[KEYS];
static struct cell left[LEFT]; /* outlive their thread; the next one frees them */

/* Frees a block, makes another one, and asks for one more round. */
static void key_round(void *arg)
{
    struct cell *cell = arg;
    free_marked(cell->block, cell->size);
    if (++cell->rounds == 4) {
        free(cell);
        return;
    }
    cell->size = 24 + (size_t)cell->rounds * 1700;
    cell->block = get_marked(cell->size);
    pthread_setspecific(keys[cell->key], cell);
}

static void object_end(void *arg)
{
    struct cell *cell = arg;
    free_marked(cell->block, cell->size);
    free(get_marked(3000));
    free(cell);
}

static struct cell *cell_get(size_t size)
{
    struct cell *cell = malloc(sizeof *cell);
    *cell = (struct cell){.block = get_marked(size), .size = size};
    return cell;
}

static void *thread_main(void *arg)
{
    (void)arg;
    for (int i = 0; i < KEYS; i++) {
        struct cell *cell = cell_get(100 + (size_t)i * 900);
        cell->key = i;
        pthread_setspecific(keys[i], cell);
    }
    for (size_t i = 0; i < 6; i++)
        __cxa_thread_atexit_impl(object_end, cell_get(40 + i * 7000), &__dso_handle);
    for (size_t i = 0; i < LEFT; i++) {
        if (left[i].block)
            free_marked(left[i].block, left[i].size);
        left[i].size = 64 << (i * 3);
        left[i].block = get_marked(left[i].size);
    }
    return NULL;
}

int main(void)
{
    size_t before = 0;
    for (int i = 0; i < KEYS; i++) {
        if (pthread_key_create(&keys[i], key_round))
            die("pthread_key_create failed");
    }
    for (int i = 0; i < THREADS; i++) {
        if (i == WARM)
            before = resident();
        pthread_join(start(thread_main, NULL), NULL);
    }
    size_t after = resident();
    if (after > before + 4 * MIB)
        die("%d threads grew memory from %zu to %zu KiB", THREADS - WARM, before / KIB,
            after / KIB);
    return 0;
}
