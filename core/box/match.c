/* match.c - see match.h */
#include "box/match.h"

typedef bool match_before(const struct tide_match_batch *a, const struct tide_match_batch *b);

enum { MATCH_TRIES = 64 }; /* batches that are looked at for one place of a known count */

/* --- orders ------------------------------------------------------------------------ */

static bool match_by_key(const struct tide_match_batch *a, const struct tide_match_batch *b)
{
    return a->key != b->key ? a->key < b->key : a->order < b->order;
}

static bool match_by_low(const struct tide_match_batch *a, const struct tide_match_batch *b)
{
    return a->low != b->low ? a->low < b->low : match_by_key(a, b);
}

/* Which can wait least. Clients that write in turns are the likeliest: by number before by key. */
static bool match_by_high(const struct tide_match_batch *a, const struct tide_match_batch *b)
{
    if (a->high != b->high)
        return a->high < b->high;
    return a->order != b->order ? a->order < b->order : a->key < b->key;
}

/* --- heaps ------------------------------------------------------------------------- */

static void match_swap(struct tide_match_batch *a, struct tide_match_batch *b)
{
    struct tide_match_batch keep = *a;
    *a = *b;
    *b = keep;
}

/* batch[at] goes down to where none below it comes before it. */
static void match_down(struct tide_match_batch *batch, uint64_t count, uint64_t at,
                       match_before *before)
{
    for (;;) {
        uint64_t child = 2 * at + 1;
        if (child >= count)
            return;
        if (child + 1 < count && before(&batch[child + 1], &batch[child]))
            child++;
        if (!before(&batch[child], &batch[at]))
            return;
        match_swap(&batch[at], &batch[child]);
        at = child;
    }
}

static void match_up(struct tide_match_batch *batch, uint64_t at, match_before *before)
{
    for (uint64_t parent; at > 0 && before(&batch[at], &batch[parent = (at - 1) / 2]); at = parent)
        match_swap(&batch[at], &batch[parent]);
}

/* Takes the first one off. */
static struct tide_match_batch match_pop(struct tide_match_batch *heap, uint64_t *count,
                                         match_before *before)
{
    match_swap(&heap[0], &heap[--*count]);
    match_down(heap, *count, 0, before);
    return heap[*count];
}

static void match_push(struct tide_match_batch *heap, uint64_t *count,
                       struct tide_match_batch batch, match_before *before)
{
    heap[*count] = batch;
    match_up(heap, (*count)++, before);
}

/* By `before`, whatever the order was. */
static void match_sort(struct tide_match_batch *batch, uint64_t count, match_before *before)
{
    for (uint64_t i = count / 2; i-- > 0;)
        match_down(batch, count, i, before);
    for (uint64_t left = count; left > 1;)
        match_pop(batch, &left, before);
    for (uint64_t i = 0; i < count / 2; i++)
        match_swap(&batch[i], &batch[count - 1 - i]);
}

/* --- what is known ------------------------------------------------------------------ */

void tide_match_begin(struct tide_match_batch *batch, uint64_t batches)
{
    match_sort(batch, batches, match_by_key);
    for (uint64_t i = 0; i < batches; i++) {
        batch[i].low = batch[i].last = 0;
        batch[i].high = UINT64_MAX;
    }
}

/* The first one that is not before (key, order). */
static uint64_t match_find(const struct tide_match_batch *batch, uint64_t batches, uint64_t key,
                           uint64_t order)
{
    const struct tide_match_batch wanted = {.key = key, .order = order};
    uint64_t low = 0, high = batches;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (match_by_key(&batch[middle], &wanted))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void tide_match_see(struct tide_match_batch *batch, uint64_t batches, uint64_t key, uint64_t order,
                    uint64_t place)
{
    uint64_t at = match_find(batch, batches, key, order);
    if (at < batches && batch[at].key == key && order != batch[at].order) {
        batch[at].low = place + 1;
        batch[at].last = tide_max(batch[at].last, order + 1);
    }
    if (at > 0 && batch[at - 1].key == key)
        batch[at - 1].high = tide_min(batch[at - 1].high, place);
}

/* What is known of one batch holds for those behind it, and before it. */
static void match_spread(struct tide_match_batch *batch, uint64_t batches)
{
    for (uint64_t i = 1; i < batches; i++)
        if (batch[i].key == batch[i - 1].key) {
            batch[i].low = tide_max(batch[i].low, batch[i - 1].low);
            batch[i].last = tide_max(batch[i].last, batch[i - 1].last);
        }
    for (uint64_t i = batches; i-- > 1;)
        if (batch[i].key == batch[i - 1].key)
            batch[i - 1].high = tide_min(batch[i].high, batch[i - 1].high);
}

/* Only those stay before which none of their key is missing. Returns how many. */
static uint64_t match_drop(struct tide_match_batch *batch, uint64_t batches)
{
    uint64_t kept = 0;
    for (uint64_t i = 0; i < batches; i++) {
        bool first = kept == 0 || batch[kept - 1].key != batch[i].key;
        bool next = batch[i].last == batch[i].order && batch[i].last != 0;
        if (first ? next || batch[i].last == 0
                  : next || batch[kept - 1].order + 1 == batch[i].order)
            batch[kept++] = batch[i];
    }
    return kept;
}

/* --- giving -------------------------------------------------------------------------- */

/* Those that may be at a place: the front of the batches, as a heap. */
struct match_heap {
    struct tide_match_batch *batch;
    uint64_t count;
};

/* The first one with so many messages (0: with any) among those that can wait least. */
static bool match_take(struct match_heap *heap, uint64_t count, struct tide_match_batch *out)
{
    struct tide_match_batch aside[MATCH_TRIES];
    unsigned tries = 0;
    bool found = false;
    while (!found && heap->count > 0 && tries < MATCH_TRIES) {
        *out = match_pop(heap->batch, &heap->count, match_by_high);
        found = count == 0 || out->count == count;
        if (!found)
            aside[tries++] = *out;
    }
    /* Those of its key were before it, and here is no place for them. */
    for (; tries > 0; tries--)
        if (!found || aside[tries - 1].key != out->key)
            match_push(heap->batch, &heap->count, aside[tries - 1], match_by_high);
    return found;
}

/* Messages that the last place of a row must have, when the others have `sum`; 0: any. */
static uint64_t match_left(const struct tide_match_place *place, uint64_t at, uint64_t places,
                           uint64_t sum)
{
    bool last = at + 1 == places || place[at + 1].place != place[at].place + 1;
    return last && place[at].total > sum ? place[at].total - sum : 0;
}

/* Gives what it can; *missing: places that get none. `exact`: by the counts of rows. */
static uint64_t match_try(struct tide_match_batch *batch, uint64_t batches,
                          struct tide_match_place *place, uint64_t places, bool exact,
                          uint64_t *missing)
{
    struct match_heap heap = {batch, 0};
    uint64_t next = 0, others = 0, sum = 0;
    *missing = 0;
    for (uint64_t i = 0; i < places; i++) {
        struct tide_match_batch taken;
        bool row = i > 0 && place[i - 1].place + 1 == place[i].place;
        sum = row ? sum + place[i - 1].count : 0;
        for (; next < batches && batch[next].low <= place[i].place; next++)
            match_push(batch, &heap.count, batch[next], match_by_high);
        /* What should have been before has no place left. */
        while (heap.count > 0 && batch[0].high <= place[i].place)
            match_pop(batch, &heap.count, match_by_high);
        if (place[i].own)
            continue;
        uint64_t left = exact ? match_left(place, i, places, sum) : 0;
        place[i].given = match_take(&heap, left, &taken);
        *missing += !place[i].given;
        if (!place[i].given)
            continue;
        place[i].broker = taken.broker;
        place[i].slot = taken.slot;
        place[i].count = taken.count;
        /* Another one may be here, and this one elsewhere. */
        others += taken.high > (i + 1 < places ? place[i + 1].place : UINT64_MAX - 1) &&
                  heap.count > 0 && batch[0].key != taken.key &&
                  (left == 0 || left == batch[0].count);
    }
    return others;
}

uint64_t tide_match_give(struct tide_match_batch *batch, struct tide_match_batch *spare,
                         uint64_t batches, struct tide_match_place *place, uint64_t places,
                         bool dense)
{
    uint64_t missing;
    match_spread(batch, batches);
    if (dense)
        batches = match_drop(batch, batches);
    match_sort(batch, batches, match_by_low);
    memcpy(spare, batch, batches * sizeof *batch);
    uint64_t others = match_try(spare, batches, place, places, true, &missing);
    return missing == 0 ? others : match_try(batch, batches, place, places, false, &missing);
}
