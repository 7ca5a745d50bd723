/*
 * fuzz_steps.h - what one step of fuzz_api.c does on the thread that it runs on.
 *
 * Owns: struct step, the first-class heaps of the input.
 * Threads: one at a time.
 * Invariant: model and library agree after each step.
 * Uses: fuzz_calls.h, fuzz_books.h.
 * Used by: fuzz_api.c.
 * Not here: threads, forks, how steps are read.
 */
#ifndef TIDE_FUZZ_STEPS_H
#define TIDE_FUZZ_STEPS_H

#include "fuzz_books.h"

enum {
    HEAPS = 4,
    LIVE_MAX = 12 << 20, /* bytes; above it only small blocks are made */
    WORK_MAX = 16 << 20, /* bytes filled per input */
};

struct step {
    unsigned what, thread, slot, low, high, extra;
};

static tide_heap_t *heap[HEAPS];
static bool in_band; /* headers are in front of their blocks */

/* ---- numbers out of bytes ---- */

/* Each eighth of the high byte's values stands for a region; both bytes choose in it. */
static size_t size_wanted(const struct step *step)
{
    static const size_t border[] = {0,     16,    128,   256,    1023,   1024,    2047,    2048,
                                    4096,  16384, 32752, 32768,  32784,  65536,   131072,  262144,
                                    36864, 40960, 98304, 524288, 983040, 1048576, 1050000, 2097152};
    size_t low = (step->high & 31) << 8 | step->low;
    switch (step->high >> 5) {
    case 0:
        return low & 255;
    case 1:
        return low & 2047;
    case 2:
        return 1008 + low % 1056;
    case 3:
        return 2048 + low;
    case 4:
        return low * 4 + 3;
    case 5:
        low = border[(low >> 3) % (sizeof border / sizeof *border)] + (low & 7);
        return low >= 4 ? low - 4 : low;
    case 6:
        return 32768 + low * 64;
    default:
        return low * 512;
    }
}

static size_t size_of(const struct step *step)
{
    size_t size = size_wanted(step);
    return model_live_bytes() + size > LIVE_MAX ? size % 1024 : size;
}

static struct block *slot_of(const struct step *step)
{
    return &model.slot[(step->slot * 2 + (step->extra >> 7)) % SLOTS];
}

static size_t align_of(unsigned extra)
{
    return (size_t)1 << (extra % 23); /* up to 4 MiB */
}

/* ---- steps: blocks ---- */

/* A live block makes room first. */
static void make_in(struct block *block, const struct wish *wish, unsigned entry)
{
    if (block->ptr != NULL)
        block_free(block, entry);
    block_make(block, wish, false);
}

static void step_make(const struct step *step)
{
    static const enum how how[] = {BY_MALLOC, BY_CALLOC, BY_REALLOC, BY_ARRAY};
    struct wish wish = {.how = how[step->extra % 4], .size = size_of(step)};
    make_in(slot_of(step), &wish, step->extra >> 2);
}

static void step_aligned(const struct step *step)
{
    static const enum how how[] = {BY_ALIGNED, BY_POSIX, BY_MEMALIGN, BY_VALLOC, BY_PVALLOC};
    struct wish wish = {.how = how[step->low % 5], .size = size_of(step)};
    wish.align = align_of(step->extra);
    if (wish.align > 65536 && wish.size > 65536)
        wish.align = 65536; /* not too much memory at once */
    if (wish.how == BY_POSIX && wish.align < sizeof(void *))
        wish.align = sizeof(void *);
    if (wish.how == BY_MEMALIGN && wish.align > 2)
        wish.align -= step->slot % 2; /* is rounded up again */
    make_in(slot_of(step), &wish, step->slot);
}

static void step_tier(const struct step *step)
{
    struct wish wish = {.how = BY_TIER, .size = size_of(step)};
    wish.tier = TIDE_TIER_TINY + (enum tide_tier)(step->extra % 3);
    size_t most = wish.tier == TIDE_TIER_TINY ? 2048 : wish.tier == TIDE_TIER_MID ? 32768 : -1;
    errno = 0;
    if (wish.size > most && (tide_malloc_on(wish.tier, wish.size) != NULL || errno != EINVAL))
        fuzz_fail("malloc_on(%d, %zu) did not fail with EINVAL", (int)wish.tier, wish.size);
    wish.size %= most == SIZE_MAX ? SIZE_MAX : most + 1;
    make_in(slot_of(step), &wish, step->extra >> 2);
}

static void step_free(const struct step *step)
{
    struct block *block = slot_of(step);
    if (block->ptr != NULL)
        block_free(block, step->low);
    tide_free(NULL);
}

static void step_resize(const struct step *step)
{
    struct block *block = slot_of(step);
    size_t size = size_of(step);
    if (block->ptr == NULL)
        return;
    if (step->extra % 8 == 1) /* by a little */
        size = block->size + step->low % 33 > 16 ? block->size + step->low % 33 - 16 : 1;
    if (step->extra % 8 == 2)
        size = block->usable + step->low % 2;
    block_resize(block, size, NULL, step->extra & 8);
}

/* A run of slots: all are filled, or all are emptied. Few large ones, many small ones. */
static void step_many(const struct step *step, bool make)
{
    enum { BYTES = 512 << 10, FEW = 4 };
    unsigned count = 8 + step->extra % 128, stride = 1 + step->extra / 128;
    unsigned first = step->slot * 2 + step->low % 2;
    size_t size = size_of(step);
    if (make && count * size > BYTES)
        count = size < BYTES / FEW ? (unsigned)(BYTES / size) : FEW;
    for (unsigned i = 0; i < count && model.work < WORK_MAX; i++) {
        struct block *block = &model.slot[(first + i * stride) % SLOTS];
        struct wish wish = {.how = BY_MALLOC, .size = size};
        if (make && block->ptr == NULL)
            block_make(block, &wish, false);
        else if (!make && block->ptr != NULL)
            block_free(block, i);
    }
}

static void step_verify(const struct step *step)
{
    for (unsigned i = 0; i <= step->extra; i++) {
        struct block *block = &model.slot[(step->slot * 2 + i) % SLOTS];
        if (block->ptr == NULL)
            continue;
        model_verify(block);
        if (tide_malloc_usable_size(block->ptr) != block->usable)
            fuzz_fail("%p: usable size was %zu", (void *)block->ptr, block->usable);
        if (i == 0 && tide_tier_of(block->ptr) != block->tier)
            fuzz_fail("%p: tier was %d", (void *)block->ptr, (int)block->tier);
    }
}

/* ---- steps: first-class heaps ---- */

static void heap_end(tide_heap_t **place)
{
    for (unsigned i = 0; i < SLOTS; i++) {
        struct block *block = &model.slot[i];
        if (block->ptr == NULL || block->heap != *place)
            continue;
        if (block->unsure) {
            block_free(block, 3);
            continue;
        }
        model_verify(block);
        model_leave(block);
        block->ptr = NULL;
    }
    FUZZ_TELL("heap %td: destroy", place - heap);
    tide_heap_destroy(*place);
    *place = NULL;
    books.heaps--;
}

static void step_heap(const struct step *step)
{
    static const enum how how[] = {BY_HEAP, BY_HEAP_CALLOC, BY_HEAP_REALLOC, BY_HEAP_ALIGNED};
    tide_heap_t **place = &heap[step->extra % HEAPS];
    struct wish wish = {.how = how[step->extra / HEAPS % 4], .size = size_of(step)};
    struct block *block = slot_of(step);
    if (*place == NULL) {
        *place = tide_heap_create();
        FUZZ_TELL("heap %td: create", place - heap);
        if (*place == NULL)
            fuzz_fail("tide_heap_create gave NULL, errno %d", errno);
        books.heaps++;
    }
    wish.heap = *place;
    wish.align = align_of(step->low);
    if (wish.size > 65536 && wish.align > 65536)
        wish.align = 65536;
    if (block->ptr != NULL && step->extra & 64)
        block_resize(block, wish.size, *place, false);
    else
        make_in(block, &wish, step->low);
}

static void step_heap_end(const struct step *step)
{
    tide_heap_t **place = &heap[step->extra % HEAPS];
    if (*place != NULL)
        heap_end(place);
    tide_heap_destroy(NULL);
}

/* ---- steps: requests that fail ---- */

static void must_fail(const char *call, const void *ptr, int error)
{
    if (ptr != NULL || errno != error)
        fuzz_fail("%s gave %p with errno %d, not NULL with %d", call, ptr, errno, error);
    errno = 0;
}

static void step_huge(const struct step *step)
{
    size_t huge = ((size_t)1 << (47 + step->extra % 17)) + step->low;
    size_t over = SIZE_MAX / (step->high + 2) + 1 + step->low;
    struct block *block = slot_of(step);
    __asm__("" : "+r"(huge), "+r"(over));
    errno = 0;
    must_fail("malloc", tide_malloc(huge), ENOMEM);
    must_fail("calloc", tide_calloc(step->high + 2, over), ENOMEM);
    must_fail("aligned_alloc", tide_aligned_alloc(64, huge), ENOMEM);
    struct wish wish = {.how = BY_POSIX, .align = 32, .size = huge};
    must_fail("posix_memalign", call_posix(&wish), ENOMEM);
    must_fail("pvalloc", tide_pvalloc(SIZE_MAX - step->low), ENOMEM);
    must_fail("malloc_on", tide_malloc_on(TIDE_TIER_LARGE, huge), ENOMEM);
    must_fail("reallocarray", tide_reallocarray(block->ptr, over, step->high + 2), ENOMEM);
    must_fail("realloc", launder(tide_realloc(block->ptr, huge)), ENOMEM);
    if (heap[0] != NULL) {
        must_fail("heap_malloc", tide_heap_malloc(heap[0], huge), ENOMEM);
        must_fail("heap_calloc", tide_heap_calloc(heap[0], over, step->high + 2), ENOMEM);
        must_fail("heap_realloc", launder(tide_heap_realloc(heap[0], block->ptr, huge)), ENOMEM);
    }
    if (block->ptr != NULL)
        model_verify(block);
}

static void step_bad_alignment(const struct step *step)
{
    size_t align = (size_t)step->high << 8 | step->low, size = step->extra;
    bool power = align != 0 && (align & (align - 1)) == 0;
    void *out = &out;
    __asm__("" : "+r"(align));
    errno = 0;
    if (!power) {
        must_fail("aligned_alloc", tide_aligned_alloc(align, size), EINVAL);
        if (heap[0] != NULL)
            must_fail("heap_aligned", tide_heap_aligned_alloc(heap[0], align, size), EINVAL);
        must_fail("malloc_on", tide_malloc_on((enum tide_tier)(align | 4), size), EINVAL);
        must_fail("memalign", tide_memalign(SIZE_MAX - align, size), EINVAL);
    }
    if (!power || align < sizeof(void *)) {
        int error = tide_posix_memalign(&out, align, size);
        if (error != EINVAL || out != &out || errno != 0)
            fuzz_fail("posix_memalign(%zu) gave %d, errno %d", align, error, errno);
    }
    if (power) { /* far above what can be had, or just had */
        struct wish wish = {.how = BY_ALIGNED, .size = size, .align = align << 24};
        struct block *block = slot_of(step);
        if (block->ptr == NULL)
            block_make(block, &wish, true);
    }
}

/* ---- steps: misuse ---- */

/* A place that is no start of a live block, or NULL. */
static char *misuse_place(const struct step *step)
{
    static const int offset[] = {0, 1, 8, 16, -16, -8, 32, 64, 48, 4096, 2048, -32, 15, 65536};
    const struct block *block = slot_of(step);
    const struct grave *grave = &model.grave[step->slot % FREED];
    char *from = block->ptr != NULL && step->low & 1 ? block->ptr : grave->ptr;
    size_t usable = from == block->ptr ? block->usable : grave->usable;
    unsigned pick = step->high % 18;
    if (from == NULL)
        return NULL;
    char *place = pick < 14   ? from + offset[pick]
                  : pick < 16 ? from + usable / 2 + pick - 14
                              : from + usable - (pick - 16);
    if (model_start((uintptr_t)place) != NULL || model_written((uintptr_t)place - 16, 32))
        return NULL;
    return place;
}

static void misuse_call(char *place, unsigned extra)
{
    errno = E2BIG;
    switch (extra % 8) {
    case 0:
        if (tide_malloc_usable_size(place) != 0)
            fuzz_fail("usable size of %p, which is no block", (void *)place);
        break;
    case 1:
        must_fail("realloc of no block", launder(tide_realloc(place, extra * 9 + 1)), EINVAL);
        break;
    case 2:
        must_fail("realloc of no block", launder(tide_realloc(place, 0)), EINVAL);
        break;
    case 3:
        if (heap[0] != NULL)
            must_fail("heap_realloc", launder(tide_heap_realloc(heap[0], place, 9)), EINVAL);
        else
            tide_free(place);
        break;
    case 4:
        tide_free_sized(place, extra);
        break;
    default:
        tide_free(place);
    }
    if (extra % 8 > 3 && errno != E2BIG)
        fuzz_fail("free of no block set errno to %d", errno);
}

static void step_misuse(const struct step *step)
{
    char *place = misuse_place(step);
    if (place == NULL)
        return;
    FUZZ_TELL("misuse %u of %p", step->extra % 8, (void *)place);
    if (tide_tier_of(place) != TIDE_TIER_NONE)
        fuzz_fail("tier of %p, which is no block", (void *)place);
    if (!fuzz_plays("quiet"))
        misuse_call(place, step->extra);
    books.faults++;
    books_check();
}

/* Any 64-bit value may be asked. */
static void step_wild(const struct step *step)
{
    uint64_t value = (uint64_t)step->slot << 56 | (uint64_t)step->high << 36 |
                     (uint64_t)step->low << 12 | step->extra;
    value = step->extra & 1 ? ~value : value;
    if (model_start(value) == NULL && tide_tier_of((void *)value) != TIDE_TIER_NONE)
        fuzz_fail("tier of %#llx, which is no block", (unsigned long long)value);
    if (step->slot % 16 != 0 || value == 0 || model_start(value) != NULL)
        return;
    tide_free((void *)value);
    books.faults++;
    books_check();
}

/* One bit of a live header: whatever is called then is refused. */
static void step_flip(const struct step *step)
{
    struct block *block = slot_of(step);
    if (block->ptr == NULL || !block->headed || !in_band)
        return;
    uint64_t word, flipped;
    memcpy(&word, block->ptr - 8, sizeof word);
    flipped = word ^ (uint64_t)1 << step->low % 64;
    memcpy(block->ptr - 8, &flipped, sizeof word);
    FUZZ_TELL("bit %u of the header of %p", step->low % 64, (void *)block->ptr);
    misuse_call(block->ptr, step->extra);
    books.faults++;
    memcpy(block->ptr - 8, &word, sizeof word);
    books_check();
    model_verify(block);
}

/* Writes to a freed block. Of Large the library may know that it reads as zero. A block of
 * Tiny whose mark is gone is never used again: so only in heaps, which end with the input. */
static void step_write(const struct step *step)
{
    enum { MARK = 8, BEHIND = 16 };
    struct grave *grave = &model.grave[step->slot % FREED];
    size_t size = step->extra + 1u;
    if (grave->ptr == NULL || grave->tier == TIDE_TIER_LARGE || model.writes == WRITTEN)
        return;
    bool first_class;
    size = size < grave->usable ? size : grave->usable;
    if (model_touched((uintptr_t)grave->ptr, size) != NULL ||
        !valid_is_free(grave->ptr, grave->usable, &first_class))
        return;
    FUZZ_TELL("%zu bytes are written to %p, which is free", size, (void *)grave->ptr);
    if (grave->tier == TIDE_TIER_MID || first_class || size <= MARK) {
        memset(grave->ptr, (int)step->low, size);
    } else {
        memset(grave->ptr, (int)step->low, MARK);
        if (size > BEHIND)
            memset(grave->ptr + BEHIND, (int)step->low, size - BEHIND);
    }
    model.written[model.writes++] = *grave;
}

/* ---- steps: the whole ---- */

static void step_trim(const struct step *step)
{
    struct tide_stats stats;
    size_t pad = step->extra % 4 == 0 ? 0 : (size_t)step->low << (step->extra % 24);
    int first = tide_malloc_trim(pad);
    FUZZ_TELL("trim(%zu): %d", pad, first);
    tide_stats(&stats);
    if (stats.retained_bytes > pad)
        fuzz_fail("%llu bytes are retained after trim(%zu)",
                  (unsigned long long)stats.retained_bytes, pad);
    if ((first != 0 && first != 1) || (pad == 0 && tide_malloc_trim(0) != 0))
        fuzz_fail("trim(%zu) gave %d, and the next found more", pad, first);
    books_check();
}

static void option_is(const char *key, const char *want)
{
    char value[64];
    int len = tide_option_get(key, value, sizeof value);
    if (len != (int)strlen(want) || strcmp(value, want) != 0)
        fuzz_fail("option %s is %s, not %s", key, len < 0 ? "refused" : value, want);
}

static void step_option(const struct step *step)
{
    static const struct {
        const char *key, *value, *shown;
        int result;
    } row[] = {{"cache", "16K", "16384", 0},
               {"cache", "64K", "65536", 0},
               {"cache", "1M", "1048576", 0},
               {"cache", "1G", "1073741824", 0},
               {"retain", "0", "0", 0},
               {"retain", "64K", "65536", 0},
               {"retain", "1M", "1048576", 0},
               {"retain", "1G", "1073741824", 0},
               {"foreign", "leak", "leak", 0},
               {"foreign", "abort", "abort", 0},
               {"cache", "1", NULL, -EINVAL},
               {"retain", "9Z", NULL, -EINVAL},
               {"tiny_max", "1023", NULL, -EBUSY},
               {"mid", "near", NULL, -EBUSY},
               {"colour", "red", NULL, -ENOENT},
               {"misuse", "ignore", "ignore", 0}};
    unsigned pick = step->extra % (sizeof row / sizeof *row);
    FUZZ_TELL("option %s=%s", row[pick].key, row[pick].value);
    int result = tide_option_set(row[pick].key, row[pick].value);
    if (result != row[pick].result)
        fuzz_fail("option %s=%s gave %d", row[pick].key, row[pick].value, result);
    if (row[pick].shown != NULL)
        option_is(row[pick].key, row[pick].shown);
}

static void step_books(const struct step *step)
{
    books_all();
    books_class(TIDE_TIER_TINY + (enum tide_tier)(step->low % 3), step->high % 90);
    if (step->extra % 4 == 0)
        books_json();
    if (step->extra % 8 == 1)
        books_residency(TIDE_TIER_TINY + (enum tide_tier)(step->low % 3), step->extra / 8);
}

#endif
