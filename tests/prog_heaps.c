/*
 * prog_heaps.c - first-class heaps from a user's side, under the preload: their
 * blocks mix with those of malloc and free, and a destroyed heap leaves nothing.
 *
 * Prints one verdict per case.
 */
#define _GNU_SOURCE 1
#include "pitfall.h"

#include <sys/wait.h>

#include <tidepool/heap.h>
#include <tidepool/stats.h>

#pragma weak tide_heap_create
#pragma weak tide_heap_destroy
#pragma weak tide_heap_malloc
#pragma weak tide_heap_calloc
#pragma weak tide_heap_realloc
#pragma weak tide_heap_aligned_alloc
#pragma weak tide_tier_of
#pragma weak tide_stats

enum { BLOCKS = 400, ROUNDS = 2000, AT_ONCE = 500 };

#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            printf("# line %d: %s\n", __LINE__, #condition);                                       \
            return false;                                                                          \
        }                                                                                          \
    } while (0)

static void *blocks[BLOCKS];
static size_t sizes[BLOCKS];

static uint64_t live_blocks(void)
{
    struct tide_stats stats;
    tide_stats(&stats);
    return stats.tiny.live_blocks + stats.mid.live_blocks + stats.large.live_blocks;
}

static uint64_t heap_count(void)
{
    struct tide_stats stats;
    tide_stats(&stats);
    return stats.heaps;
}

/* Fills blocks[] from the heap, of all tiers; some aligned. */
static void fill(tide_heap_t *heap)
{
    uint64_t state = 5;
    for (size_t i = 0; i < BLOCKS; i++) {
        sizes[i] = mixed_size(&state);
        blocks[i] = i % 8 ? tide_heap_malloc(heap, sizes[i])
                          : tide_heap_aligned_alloc(heap, 64 << i / 8 % 8, sizes[i]);
        if (!blocks[i])
            die("a heap gave NULL, errno %d", errno);
        mark(blocks[i], sizes[i]);
    }
}

static void *thread_fill(void *heap)
{
    fill(heap);
    return NULL;
}

/* Frees every `step`th block with plain free. */
static void *thread_free(void *step)
{
    for (size_t i = 0; i < BLOCKS; i += *(size_t *)step)
        free_marked(blocks[i], sizes[i]);
    return NULL;
}

/* Nothing of the heap counts as live any more, and no address of it is a block. */
static bool destroy_frees_all(void)
{
    uint64_t live = live_blocks(), heaps = heap_count();
    tide_heap_t *heap = tide_heap_create();
    MUST(heap && heap_count() == heaps + 1);
    fill(heap);
    MUST(live_blocks() >= live + BLOCKS);
    void *tiny = tide_heap_malloc(heap, 100), *large = tide_heap_malloc(heap, 100000);
    MUST(tide_tier_of(tiny) == TIDE_TIER_TINY && tide_tier_of(large) == TIDE_TIER_LARGE);
    tide_heap_destroy(heap);
    MUST(live_blocks() == live && heap_count() == heaps);
    MUST(tide_tier_of(tiny) == TIDE_TIER_NONE && tide_tier_of(large) == TIDE_TIER_NONE);
    return true;
}

/* Made by one thread that is gone, in part freed by another one. */
static bool others_allocate_and_free(void)
{
    uint64_t live = live_blocks();
    size_t third = 3;
    tide_heap_t *heap = tide_heap_create();
    pthread_join(start(thread_fill, heap), NULL);
    pthread_join(start(thread_free, &third), NULL);
    for (size_t i = 0; i < BLOCKS; i++) {
        if (i % 3)
            must_be_marked(blocks[i], sizes[i]);
    }
    tide_heap_destroy(heap);
    MUST(live_blocks() <= live + 8); /* libc keeps what it needs for threads */
    return true;
}

/* The block goes where realloc was told to, and dies with that heap alone. */
static bool realloc_changes_the_heap(void)
{
    tide_heap_t *from = tide_heap_create(), *to = tide_heap_create();
    char *moved = tide_heap_malloc(from, 3000), *stays = tide_heap_malloc(from, 50);
    char *mine = malloc(9000);
    strcpy(moved, "moved");
    strcpy(stays, "stays");
    strcpy(mine, "mine");
    moved = tide_heap_realloc(to, moved, 5000);
    mine = tide_heap_realloc(to, mine, 9000);
    stays = tide_heap_realloc(from, stays, 5000);
    MUST(strcmp(stays, "stays") == 0);
    tide_heap_destroy(from);
    MUST(strcmp(moved, "moved") == 0 && strcmp(mine, "mine") == 0);
    MUST(tide_tier_of(stays) == TIDE_TIER_NONE && tide_tier_of(mine) == TIDE_TIER_MID);
    tide_heap_destroy(to);
    MUST(tide_tier_of(moved) == TIDE_TIER_NONE && tide_tier_of(mine) == TIDE_TIER_NONE);
    return true;
}

/* Over blocks that were written to and freed, and over fresh ones. */
static bool calloc_is_zero(void)
{
    static const size_t units[] = {1, 24, 700, 4096, 20000};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        tide_heap_t *heap = tide_heap_create();
        for (int round = 0; round < 4; round++) {
            unsigned char *block = tide_heap_calloc(heap, 3, units[i]);
            for (size_t k = 0; k < 3 * units[i]; k++)
                MUST(block[k] == 0);
            memset(block, 0xff, 3 * units[i]);
            if (round % 2)
                free(block);
        }
        tide_heap_destroy(heap);
    }
    return true;
}

static bool impossible_requests_fail(void)
{
    volatile size_t huge = (size_t)PTRDIFF_MAX + 1;
    tide_heap_t *heap = tide_heap_create();
    char *block = tide_heap_malloc(heap, 100);
    errno = 0;
    MUST(!tide_heap_malloc(heap, huge) && errno == ENOMEM);
    errno = 0;
    MUST(!tide_heap_calloc(heap, huge / 2, 4) && errno == ENOMEM);
    errno = 0;
    MUST(!tide_heap_realloc(heap, block, huge) && errno == ENOMEM);
    errno = 0;
    MUST(!tide_heap_aligned_alloc(heap, 24, 100) && errno == EINVAL);
    tide_heap_destroy(heap);
    tide_heap_destroy(NULL);
    return true;
}

/* Ids and memory of destroyed heaps are used again. */
static bool many_one_after_another(void)
{
    size_t warm = 0;
    uint64_t heaps = heap_count();
    for (int round = 0; round < ROUNDS; round++) {
        tide_heap_t *heap = tide_heap_create();
        MUST(heap);
        for (size_t i = 0; i < 40; i++)
            memset(tide_heap_malloc(heap, 100 + i * 1000), 1, 100 + i * 1000);
        tide_heap_destroy(heap);
        if (round == ROUNDS / 10)
            warm = resident();
    }
    MUST(heap_count() == heaps);
    MUST(resident() < warm + 8 * MIB);
    return true;
}

/* More heaps than threads anybody has. */
static bool many_at_once(void)
{
    static tide_heap_t *heaps[AT_ONCE];
    static unsigned char *first[AT_ONCE], *second[AT_ONCE];
    for (size_t i = 0; i < AT_ONCE; i++) {
        heaps[i] = tide_heap_create();
        MUST(heaps[i]);
        mark(first[i] = tide_heap_malloc(heaps[i], 64), 64);
        mark(second[i] = tide_heap_malloc(heaps[i], 4000), 4000);
    }
    /* in an order that mixes young and old: 7 and AT_ONCE have no common factor */
    for (size_t i = 0, at = 0; i < AT_ONCE; i++, at = (at + 7) % AT_ONCE) {
        must_be_marked(first[at], 64);
        must_be_marked(second[at], 4000);
        tide_heap_destroy(heaps[at]);
    }
    return true;
}

static void *thread_create_heap(void *unused)
{
    (void)unused;
    tide_heap_t *heap = tide_heap_create();
    fill(heap);
    return heap;
}

/* A heap belongs to no thread, not even to the one that made it. */
static bool outlives_its_thread(void)
{
    void *heap;
    size_t second = 2;
    uint64_t heaps = heap_count();
    pthread_join(start(thread_create_heap, NULL), &heap);
    thread_free(&second);
    void *more = tide_heap_malloc(heap, 5000);
    MUST(more);
    for (size_t i = 1; i < BLOCKS; i += 2)
        must_be_marked(blocks[i], sizes[i]);
    tide_heap_destroy(heap);
    MUST(tide_tier_of(more) == TIDE_TIER_NONE && heap_count() <= heaps + 1);
    return true;
}

static int in_child(void (*function)(tide_heap_t *), tide_heap_t *heap)
{
    int status = -1;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        close(STDERR_FILENO);
        function(heap);
        _exit(0);
    }
    waitpid(pid, &status, 0);
    return status;
}

static void use_and_destroy(tide_heap_t *heap)
{
    for (size_t i = 0; i < BLOCKS; i += 2)
        free_marked(blocks[i], sizes[i]);
    memset(tide_heap_malloc(heap, 3000), 1, 3000);
    tide_heap_destroy(heap);
}

/* The child destroys its copy; the parent's blocks stay as they are. */
static bool forks_with_the_process(void)
{
    tide_heap_t *heap = tide_heap_create();
    fill(heap);
    MUST(in_child(use_and_destroy, heap) == 0);
    for (size_t i = 0; i < BLOCKS; i++)
        must_be_marked(blocks[i], sizes[i]);
    tide_heap_destroy(heap);
    return true;
}

static void free_after_destroy(tide_heap_t *heap)
{
    void *volatile block = tide_heap_malloc(heap, 5000);
    tide_heap_destroy(heap);
    free(block);
}

/* A block of a destroyed heap is a freed block. */
static bool free_of_its_blocks_aborts(void)
{
    int status = in_child(free_after_destroy, tide_heap_create());
    MUST(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    return true;
}

int main(void)
{
    static const struct {
        const char *name;
        bool (*run)(void);
    } cases[] = {{"destroy frees all", destroy_frees_all},
                 {"other threads allocate and free", others_allocate_and_free},
                 {"realloc changes the heap", realloc_changes_the_heap},
                 {"calloc is zero", calloc_is_zero},
                 {"impossible requests fail", impossible_requests_fail},
                 {"many one after another", many_one_after_another},
                 {"many at once", many_at_once},
                 {"outlives its thread", outlives_its_thread},
                 {"forks with the process", forks_with_the_process},
                 {"a free after destroy aborts", free_of_its_blocks_aborts}};
    int bad = 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (!tide_heap_create)
        give_up("the library is not there");
    free(get_marked(100)); /* the thread's own heap is there before any is counted */
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bool good = cases[i].run();
        printf("%s - heaps: %s\n", good ? "ok" : "not ok", cases[i].name);
        bad += !good;
    }
    return bad != 0;
}
