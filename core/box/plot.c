/* plot.c - see plot.h */
#include "box/plot.h"

#include "box/crash.h"
#include "box/file.h"

enum { PLOT_KIND_SHIFT = 8, PLOT_LENGTH_SHIFT = 16 };

#define PLOT_FREE ((uint64_t)TIDE_REGION_FREE)
#define PLOT_NOBODY UINT64_C(0) /* views count from 1 */

static uint64_t plot_word(enum tide_region_state state, unsigned kind, uint64_t length)
{
    return (uint64_t)state | (uint64_t)kind << PLOT_KIND_SHIFT | length << PLOT_LENGTH_SHIFT;
}

static enum tide_region_state plot_state(uint64_t word)
{
    return (enum tide_region_state)(word & 0xff);
}

static uint64_t plot_length(uint64_t word)
{
    return word >> PLOT_LENGTH_SHIFT;
}

static uint64_t plot_get(const struct tide_plot *table, uint64_t index)
{
    return atomic_load_explicit(&table->entry[index].word, memory_order_acquire);
}

static void plot_set(struct tide_plot *table, uint64_t index, uint64_t word)
{
    TIDE_COH_ALONE(table->coh);
    atomic_store_explicit(&table->entry[index].word, word, memory_order_release);
}

static bool plot_swap(struct tide_plot *table, uint64_t index, uint64_t from, uint64_t to)
{
    TIDE_COH_ALONE(table->coh);
    return atomic_compare_exchange_strong_explicit(&table->entry[index].word, &from, to,
                                                   memory_order_acq_rel, memory_order_acquire);
}

/* --- the head ------------------------------------------------------------------------ */

static uint64_t plot_heads(uint64_t segments)
{
    uint64_t bytes = TIDE_PLOT_AT + segments * sizeof(struct tide_plot_entry);
    return (bytes + TIDE_REGION_SEGMENT - 1) / TIDE_REGION_SEGMENT;
}

static uint64_t plot_sum(const struct tide_plot_head *head)
{
    uint64_t sum = TIDE_PLOT_MAGIC, part;
    for (size_t at = 8; at < offsetof(struct tide_plot_head, check); at += sizeof part) {
        memcpy(&part, (const char *)head + at, sizeof part);
        sum = tide_mix(sum ^ part) + at;
    }
    return sum;
}

void tide_plot_format(void *base, size_t size)
{
    struct tide_plot_head *head = base;
    struct tide_plot_entry *entry = (struct tide_plot_entry *)((char *)base + TIDE_PLOT_AT);
    atomic_store_explicit(&head->magic, 0, memory_order_seq_cst);
    memset((char *)base + sizeof head->magic, 0, TIDE_PLOT_AT - sizeof head->magic);
    head->version = TIDE_PLOT_VERSION;
    head->endian = TIDE_PLOT_ENDIAN;
    head->size = size;
    head->segment = TIDE_REGION_SEGMENT;
    head->entry = sizeof *entry;
    head->segments = size / TIDE_REGION_SEGMENT;
    head->table = TIDE_PLOT_AT;
    head->heads = plot_heads(head->segments);
    (void)tide_file_random(head->id, sizeof head->id);
    head->check = plot_sum(head);
    memset(entry, 0, head->segments * sizeof *entry);
    for (uint64_t i = 0; i < head->heads; i++)
        atomic_store_explicit(&entry[i].word, TIDE_REGION_HEAD, memory_order_relaxed);
    atomic_store_explicit(&head->magic, TIDE_PLOT_MAGIC, memory_order_release);
}

/* "WHAT is FOUND, and not WANTED" */
static int plot_differs(struct tide_text *why, int code, const char *what, uint64_t found,
                        uint64_t wanted, unsigned base)
{
    const char *prefix = base == 16 ? "0x" : "";
    tide_text_add(why, what);
    tide_text_add(why, " is ");
    tide_text_add(why, prefix);
    tide_text_number(why, found, base);
    tide_text_add(why, ", and not ");
    tide_text_add(why, prefix);
    tide_text_number(why, wanted, base);
    return code;
}

/* The fields of a head, each word once. */
static void plot_copy(struct tide_plot_head *to, const void *from)
{
    const volatile uint64_t *in = from;
    for (size_t at = 0; at < offsetof(struct tide_plot_head, spare); at += sizeof(uint64_t)) {
        uint64_t word = *in++;
        memcpy((char *)to + at, &word, sizeof word);
    }
}

/* A head whose sum is right, of a region that is too short to be one. */
static bool plot_is_head(const void *base, size_t capacity)
{
    struct tide_plot_head head;
    if (base == NULL || capacity < offsetof(struct tide_plot_head, spare))
        return false;
    plot_copy(&head, base);
    return head.magic == TIDE_PLOT_MAGIC && head.check == plot_sum(&head);
}

static int plot_is_cut(struct tide_text *why, uint64_t found, uint64_t wanted)
{
    tide_text_add(why, "the region is cut off: ");
    tide_text_number(why, found, 10);
    tide_text_add(why, " bytes are there, and it needs ");
    tide_text_number(why, wanted, 10);
    return -EBADFD;
}

int tide_plot_check(const void *base, size_t capacity, size_t size, struct tide_text *why)
{
    struct tide_plot_head copy; /* others may write there: copy, then look */
    const struct tide_plot_head *head = &copy;
    if (capacity < TIDE_REGION_LEAST && !plot_is_head(base, capacity))
        return plot_differs(why, -EBADFD, "no region: its size", capacity, TIDE_REGION_LEAST, 10);
    uint64_t magic =
        atomic_load_explicit(&((const struct tide_plot_head *)base)->magic, memory_order_acquire);
    plot_copy(&copy, base);
    if (magic != TIDE_PLOT_MAGIC)
        return plot_differs(why, -EPROTO, "no region: the first word", magic, TIDE_PLOT_MAGIC, 16);
    if (head->endian != TIDE_PLOT_ENDIAN)
        return plot_differs(why, -EPROTO, "a region of another byte order: its mark", head->endian,
                            TIDE_PLOT_ENDIAN, 16);
    if (head->version != TIDE_PLOT_VERSION)
        return plot_differs(why, -EPROTO, "the version of the region's layout", head->version,
                            TIDE_PLOT_VERSION, 10);
    if (head->features != 0)
        return plot_differs(why, -EPROTO, "a region with unknown features: their mask",
                            head->features, 0, 16);
    if (head->check != plot_sum(head))
        return plot_differs(why, -EPROTO, "the region's header is damaged: its sum", head->check,
                            plot_sum(head), 16);
    if (head->segment != TIDE_REGION_SEGMENT || head->entry != sizeof(struct tide_plot_entry) ||
        head->table != TIDE_PLOT_AT)
        return plot_differs(why, -EPROTO, "the size of the region's segments", head->segment,
                            TIDE_REGION_SEGMENT, 10);
    if (size != 0 && size != head->size)
        return plot_differs(why, -EPROTO, "the size of the region", head->size, size, 10);
    if (head->size > capacity)
        return plot_is_cut(why, capacity, head->size);
    if (head->size % TIDE_REGION_SEGMENT != 0 ||
        head->size / TIDE_REGION_SEGMENT != head->segments || head->segments < 2 ||
        head->heads != plot_heads(head->segments))
        return plot_differs(why, -EPROTO, "the number of the region's segments", head->segments,
                            head->size / TIDE_REGION_SEGMENT, 10);
    return 0;
}

/* The view is to take segments. */
static void plot_draw(struct tide_plot *table)
{
    table->coh = TIDE_COH_COHERENT;
    TIDE_RELAXED_SET(&table->session,
                     atomic_fetch_add_explicit(&table->head->sessions, 1, memory_order_acq_rel) +
                         1);
}

void tide_plot_view(struct tide_plot *table, void *base, size_t size)
{
    table->head = base; /* the lock is left alone: a fork may be holding it */
    table->entry = (struct tide_plot_entry *)((char *)base + TIDE_PLOT_AT);
    table->segments = size / TIDE_REGION_SEGMENT;
    table->heads = table->hint = plot_heads(table->segments);
    table->session = TIDE_PLOT_NONE;
    table->coh = TIDE_COH_NONCOHERENT;
}

void tide_plot_engage(struct tide_plot *table)
{
    tide_lock_take(&table->lock);
    if (table->coh != TIDE_COH_COHERENT)
        plot_draw(table);
    tide_lock_drop(&table->lock);
}

void tide_plot_open(struct tide_plot *table, void *base, size_t size)
{
    tide_plot_view(table, base, size);
    plot_draw(table);
}

/* --- segments -------------------------------------------------------------------------- */

/* Claims [first, first + count) one by one; gives back what it got when one is not free. */
static bool plot_claim(struct tide_plot *table, uint64_t first, uint64_t count)
{
    uint64_t move = plot_word(TIDE_REGION_MOVE, 0, 0);
    for (uint64_t i = 0; i < count; i++) {
        if (plot_swap(table, first + i, PLOT_FREE, move))
            continue;
        while (i-- > 0)
            plot_set(table, first + i, PLOT_FREE);
        return false;
    }
    return true;
}

static void plot_fill(struct tide_plot *table, uint64_t first, const struct tide_plot_wish *wish)
{
    for (uint64_t i = wish->segments; i-- > 0;) {
        struct tide_plot_entry *entry = &table->entry[first + i];
        bool part = i > 0;
        entry->tag = part ? 0 : wish->tag;
        entry->session = table->session;
        entry->block = part ? 0 : wish->block;
        plot_set(table, first + i,
                 part ? plot_word(TIDE_REGION_PART, 0, i)
                      : plot_word(wish->state, wish->kind, wish->segments));
    }
}

/* The first of `count` segments in a row that look free, at or after `at`. */
static uint64_t plot_find(const struct tide_plot *table, uint64_t at, uint64_t count)
{
    while (at <= table->segments - count) {
        uint64_t i = 0;
        while (i < count && plot_get(table, at + i) == PLOT_FREE)
            i++;
        if (i == count)
            return at;
        at += i + 1;
    }
    return UINT64_MAX;
}

/* The first of so many free segments, claimed, from the hint on; or UINT64_MAX. */
static uint64_t plot_take(struct tide_plot *table, uint64_t segments)
{
    uint64_t at = plot_find(table, table->hint, 1);
    if (at != UINT64_MAX)
        table->hint = at;
    if (at != UINT64_MAX)
        at = plot_find(table, at, segments);
    while (at != UINT64_MAX && !plot_claim(table, at, segments))
        at = plot_find(table, at + 1, segments);
    return at;
}

int64_t tide_plot_take(struct tide_plot *table, const struct tide_plot_wish *wish)
{
    if (wish->segments == 0 || wish->segments > table->segments - table->heads)
        return -ENOMEM;
    tide_lock_take(&table->lock);
    uint64_t at = plot_take(table, wish->segments);
    if (at == UINT64_MAX && table->hint > table->heads) {
        table->hint = table->heads; /* other views have given back, perhaps */
        at = plot_take(table, wish->segments);
    }
    if (at != UINT64_MAX) {
        TIDE_CRASH_POINT(plot_claimed);
        plot_fill(table, at, wish);
        TIDE_CRASH_POINT(plot_filled);
    }
    tide_lock_drop(&table->lock);
    return at != UINT64_MAX ? (int64_t)at : -ENOMEM;
}

/* The first segment is on the move: frees the rest, then it. Lock held. */
static void plot_clear(struct tide_plot *table, uint64_t first, uint64_t count)
{
    TIDE_CRASH_POINT(plot_parting);
    for (uint64_t i = count; i-- > 0;)
        plot_set(table, first + i, PLOT_FREE);
    TIDE_CRASH_POINT(plot_cleared);
    if (first < table->hint)
        table->hint = first;
}

int64_t tide_plot_give(struct tide_plot *table, uint64_t index, enum tide_region_state state)
{
    if (index < table->heads || index >= table->segments)
        return -EINVAL;
    tide_lock_take(&table->lock);
    uint64_t word = plot_get(table, index), length = plot_length(word);
    bool mine = state == TIDE_REGION_LENT || table->entry[index].session == table->session;
    bool good = mine && plot_state(word) == state && length != 0 &&
                length <= table->segments - index &&
                plot_swap(table, index, word, plot_word(TIDE_REGION_MOVE, 0, 0));
    if (good)
        plot_clear(table, index, length);
    tide_lock_drop(&table->lock);
    return good ? (int64_t)length : -EINVAL;
}

void tide_plot_leave(struct tide_plot *table, uint64_t index, uint64_t tag)
{
    struct tide_plot_entry *entry = &table->entry[index];
    tide_lock_take(&table->lock);
    enum tide_region_state state = plot_state(plot_get(table, index));
    if ((state == TIDE_REGION_HEAP || state == TIDE_REGION_RUN) && entry->tag == tag &&
        entry->session == table->session)
        TIDE_RELAXED_SET(&entry->session, PLOT_NOBODY);
    tide_lock_drop(&table->lock);
}

int tide_plot_read(const struct tide_plot *table, uint64_t index, struct tide_region_segment *out)
{
    if (index >= table->segments)
        return -ENOENT;
    const struct tide_plot_entry *entry = &table->entry[index];
    uint64_t word = plot_get(table, index);
    enum tide_region_state state = plot_state(word);
    *out = (struct tide_region_segment){.state = state};
    if (state == TIDE_REGION_FREE || state == TIDE_REGION_HEAD || state == TIDE_REGION_MOVE)
        return 0;
    out->length = plot_length(word);
    out->tag = entry->tag;
    out->session = TIDE_RELAXED_GET(&entry->session);
    out->block = state == TIDE_REGION_HEAP ? (uint32_t)entry->block : 0;
    return 0;
}

/* --- sweeping --------------------------------------------------------------------------- */

/* Is the run that begins at `index` whole? */
static bool plot_is_whole(const struct tide_plot *table, uint64_t index)
{
    uint64_t length = plot_length(plot_get(table, index));
    if (length == 0 || length > table->segments - index)
        return false;
    for (uint64_t i = 1; i < length; i++)
        if (plot_get(table, index + i) != plot_word(TIDE_REGION_PART, 0, i))
            return false;
    return true;
}

/* Segments from `index` on that have to stay as they are; 0: free this one. */
static uint64_t plot_keep(const struct tide_plot *table, uint64_t index, bool heaps,
                          const uint64_t *keep)
{
    uint64_t word = plot_get(table, index);
    enum tide_region_state state = plot_state(word);
    bool heap = state == TIDE_REGION_HEAP || state == TIDE_REGION_RUN;
    if (state == TIDE_REGION_FREE)
        return 1;
    if ((!heap && state != TIDE_REGION_LENT) || !plot_is_whole(table, index))
        return 0;
    bool kept = keep != NULL && (keep[index / 64] >> index % 64 & 1) != 0;
    if (heap && heaps && !kept && table->entry[index].session != table->session)
        return 0;
    return plot_length(word);
}

uint64_t tide_plot_sweep(struct tide_plot *table, bool heaps, const uint64_t *keep)
{
    uint64_t freed = 0;
    tide_lock_take(&table->lock);
    for (uint64_t at = table->heads; at < table->segments;) {
        uint64_t stay = plot_keep(table, at, heaps, keep);
        if (stay == 0) {
            plot_set(table, at, PLOT_FREE);
            TIDE_CRASH_POINT(plot_swept);
            freed++;
        }
        at += stay != 0 ? stay : 1;
    }
    table->hint = table->heads;
    tide_lock_drop(&table->lock);
    return freed;
}
