/* sizeclass.c - see sizeclass.h */
#include "box/sizeclass.h"

/* Eight sizes above `base` in steps of `step`. */
#define EIGHT(base, step)                                                                          \
    (base) + 1 * (step), (base) + 2 * (step), (base) + 3 * (step), (base) + 4 * (step),            \
        (base) + 5 * (step), (base) + 6 * (step), (base) + 7 * (step), (base) + 8 * (step)

#define MID_SIZES                                                                                  \
    1024, EIGHT(1024, 128), EIGHT(2048, 256), EIGHT(4096, 512), EIGHT(8192, 1024),                 \
        EIGHT(16384, 2048)

/* Large beside Tiny: each class some lines more than its size, which has room for the header and
 * spreads the first lines of blocks over the sets of a cache. */
#define BESIDE(cls) (32768 + ((cls) + 1) * 4096 + (2 * (cls) + 1) * TIDE_LINE)

static const uint32_t class_tiny[TIDE_TINY_ALL] = {
    EIGHT(0, 16), EIGHT(128, 16), EIGHT(256, 32), EIGHT(512, 64), EIGHT(1024, 128), 4096,
    8192,         16384,          32768,          65536,          BESIDE(0),        BESIDE(1),
    BESIDE(2),    BESIDE(3),      BESIDE(4),      BESIDE(5),      BESIDE(6),        BESIDE(7)};

static const uint32_t class_mid[TIDE_MID_CLASSES] = {MID_SIZES};

static const uint32_t class_midal[TIDE_MIDAL_ALL] = {MID_SIZES, 65536, 131072, 262144};

static const uint32_t class_large[TIDE_LARGE_CLASSES] = {EIGHT(32768, 4096), EIGHT(65536, 8192),
                                                         EIGHT(131072, 16384), EIGHT(262144, 32768),
                                                         EIGHT(524288, 65536)};

/* The stride rules, for the whole table: every Mid size is a multiple of 128, so
 * size + 32 is a multiple of 32 and leaves 32 when divided by 128. */
#define MID_STRIDE_OK(size) (((size) + TIDE_MID_EXTRA) % 32 == 0 && (size) % 128 == 0)
#define MID_EIGHT_OK(base, step)                                                                   \
    _Static_assert(MID_STRIDE_OK((base) + (step)) && (step) % 128 == 0, "Mid stride rule")
_Static_assert(MID_STRIDE_OK(1024), "Mid stride rule");
MID_EIGHT_OK(1024, 128);
MID_EIGHT_OK(2048, 256);
MID_EIGHT_OK(4096, 512);
MID_EIGHT_OK(8192, 1024);
MID_EIGHT_OK(16384, 2048);
_Static_assert(TIDE_MID_EXTRA % 128 != 0, "no Mid stride is a multiple of 1 KiB");
_Static_assert(TIDE_MID_EXTRA - TIDE_MID_HEADER == 16, "the slack that tide_sizeclass_mid uses");

static const struct class_table {
    const uint32_t *size;
    unsigned count;
    uint32_t extra;
} class_table[TIDE_KINDS] = {
    [TIDE_KIND_TINY] = {class_tiny, TIDE_TINY_ALL, 0},
    [TIDE_KIND_MID] = {class_mid, TIDE_MID_CLASSES, TIDE_MID_EXTRA},
    [TIDE_KIND_MIDAL] = {class_midal, TIDE_MIDAL_ALL, 0},
    [TIDE_KIND_LARGE] = {class_large, TIDE_LARGE_CLASSES, 0},
};

/* The entries of eight classes, of which the first is `cls`. Entry i of Tiny serves sizes up to
 * 16 i; of Mid up to 16 i - 1, and a class serves its name and 16 more. */
#define RUN(from, to, more, cls) [(from) / 16 + (more) + 1 ...(to) / 16 + (more)] = (cls)*TIDE_LINE
#define RUNS(base, step, more, cls)                                                                \
    RUN(base, (base) + (step), more, cls),                                                         \
        RUN((base) + (step), (base) + 2 * (step), more, (cls) + 1),                                \
        RUN((base) + 2 * (step), (base) + 3 * (step), more, (cls) + 2),                            \
        RUN((base) + 3 * (step), (base) + 4 * (step), more, (cls) + 3),                            \
        RUN((base) + 4 * (step), (base) + 5 * (step), more, (cls) + 4),                            \
        RUN((base) + 5 * (step), (base) + 6 * (step), more, (cls) + 5),                            \
        RUN((base) + 6 * (step), (base) + 7 * (step), more, (cls) + 6),                            \
        RUN((base) + 7 * (step), (base) + 8 * (step), more, (cls) + 7)
#define TINY_RUNS(base, step, cls) RUNS(base, step, 0, cls)
#define MID_RUNS(base, step, cls) RUNS(base, step, 1, TIDE_TINY_ALL + (cls))

/* As tide_sizeclass_start would make it of the default: few processes have to. */
struct tide_sizeclass tide_sizeclass = {
    .tiny_max = TIDE_TINY_TOP - 1,
    .slot = {TINY_RUNS(0, 16, 0), TINY_RUNS(128, 16, 8), TINY_RUNS(256, 32, 16),
             TINY_RUNS(512, 64, 24), TINY_RUNS(1024, 128, 32),
             [TIDE_TINY_TOP / 16 + 1] = (TIDE_TINY_ALL + 8) * TIDE_LINE, MID_RUNS(2048, 256, 9),
             MID_RUNS(4096, 512, 17), MID_RUNS(8192, 1024, 25), MID_RUNS(16384, 2048, 33)}};

static unsigned class_least(const uint32_t *size, size_t n)
{
    unsigned cls = 0;
    while (size[cls] < n)
        cls++;
    return cls;
}

unsigned tide_sizeclass_tiny(size_t n)
{
    return class_least(class_tiny, n);
}

unsigned tide_sizeclass_mid(size_t n)
{
    return class_least(class_mid, n <= 16 ? 0 : n - 16);
}

/* One walk over the table and the classes. */
TIDE_START_CODE void tide_sizeclass_start(size_t tiny_max)
{
    tiny_max = tide_align_down(tiny_max + 1, 16) - 1;
    if (tiny_max == tide_sizeclass.tiny_max)
        return;
    tide_sizeclass.tiny_max = tiny_max;
    unsigned entry = 0, tiny_end = (unsigned)(tiny_max + 1) / 16 + 1;
    for (unsigned cls = 0; entry < tiny_end; entry++) {
        while (class_tiny[cls] < entry * 16)
            cls++;
        tide_sizeclass.slot[entry] = (uint16_t)(cls * TIDE_LINE);
    }
    for (unsigned cls = 0; entry < TIDE_SLOT_TABLE; entry++) {
        while (cls + 1 < TIDE_MID_CLASSES && class_mid[cls] + 16 < entry * 16 - 1)
            cls++;
        tide_sizeclass.slot[entry] = (uint16_t)((TIDE_TINY_ALL + cls) * TIDE_LINE);
    }
}

uint32_t tide_sizeclass_stride(enum tide_kind kind, unsigned cls)
{
    return class_table[kind].size[cls] + class_table[kind].extra;
}

unsigned tide_sizeclass_count(enum tide_kind kind)
{
    return class_table[kind].count;
}

const char *tide_sizeclass_tier(enum tide_kind kind, unsigned cls)
{
    if (tide_sizeclass_is_large(kind, cls))
        return "large";
    return kind == TIDE_KIND_TINY ? "tiny" : "mid";
}

/* No class below this one holds n bytes, n > 0. The tables have eight sizes per doubling, but
 * for small ones and for those behind `last`. */
static unsigned class_guess(enum tide_kind kind, size_t n)
{
    static const struct {
        uint8_t shift; /* of the first doubling, */
        uint8_t first; /* the class that it begins with */
        uint8_t last;
    } guess[TIDE_KINDS] = {
        [TIDE_KIND_TINY] = {7, 8, TIDE_TINY_CLASSES},
        [TIDE_KIND_MID] = {10, 1, TIDE_MID_CLASSES - 1},
        [TIDE_KIND_MIDAL] = {10, 1, TIDE_MID_CLASSES},
        [TIDE_KIND_LARGE] = {15, 0, TIDE_LARGE_CLASSES - 1},
    };
    unsigned shift = guess[kind].shift;
    if (n <= (size_t)1 << shift)
        return kind == TIDE_KIND_TINY ? (unsigned)(n - 1) / 16 : 0;
    return tide_min(guess[kind].first + tide_sizeclass_eighth(n, shift), guess[kind].last);
}

int tide_sizeclass_aligned(enum tide_kind kind, size_t size, size_t align)
{
    const struct class_table *table = &class_table[kind];
    unsigned count = kind == TIDE_KIND_TINY ? TIDE_TINY_ALIGNED : table->count;
    size_t least = tide_align_up(tide_max(size, 1), align); /* so much it has to be */
    if (least < size || least > table->size[count - 1])
        return -1;
    for (unsigned cls = class_guess(kind, least); cls < count; cls++)
        if (table->size[cls] >= size && (table->size[cls] & (align - 1)) == 0)
            return (int)cls;
    return -1;
}
