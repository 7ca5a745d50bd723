/* test_sizeclass.c - every size has a class that holds it and wastes little. */
#include "box/sizeclass.h"

#include "unit_base.h"

/* What a block of the class offers its user. */
static size_t usable(enum tide_kind kind, unsigned cls)
{
    return tide_sizeclass_stride(kind, cls) -
           (tide_sizeclass_is_headed(kind, cls) ? TIDE_MID_HEADER : 0);
}

START_TEST(tables_ascend)
{
    static const unsigned counts[TIDE_KINDS] = {TIDE_TINY_ALL, TIDE_MID_CLASSES, TIDE_MIDAL_ALL,
                                                TIDE_LARGE_CLASSES};
    for (int kind = 0; kind < TIDE_KINDS; kind++) {
        unsigned count = tide_sizeclass_count((enum tide_kind)kind);
        ck_assert_uint_eq(count, counts[kind]);
        ck_assert_uint_le(count, TIDE_CLASSES_MAX);
        for (unsigned cls = 1; cls < count; cls++)
            if (kind != TIDE_KIND_TINY || cls != TIDE_TINY_ALIGNED) /* Large begins */
                ck_assert_uint_gt(tide_sizeclass_stride((enum tide_kind)kind, cls),
                                  tide_sizeclass_stride((enum tide_kind)kind, cls - 1));
    }
}
END_TEST

START_TEST(strides_keep_blocks_aligned)
{
    for (int kind = 0; kind < TIDE_KINDS; kind++)
        for (unsigned cls = 0; cls < tide_sizeclass_count((enum tide_kind)kind); cls++)
            ck_assert_uint_eq(tide_sizeclass_stride((enum tide_kind)kind, cls) % TIDE_ALIGN_MIN, 0);
}
END_TEST

/* Header and first payload bytes in one line, blocks spread over the cache, and one
 * word per KiB is enough for the shadow table. */
START_TEST(mid_strides_are_skewed)
{
    for (unsigned cls = 0; cls < TIDE_MID_CLASSES; cls++) {
        uint32_t stride = tide_sizeclass_stride(TIDE_KIND_MID, cls);
        ck_assert_uint_eq(stride % 32, 0);
        ck_assert_uint_ne(stride % 1024, 0);
        ck_assert_uint_gt(stride, 1024);
        for (uint32_t block = 0; block < 64; block++) {
            uint32_t payload = block * stride + TIDE_MID_HEADER;
            UNIT_HOLD((payload - 8) / TIDE_LINE == payload / TIDE_LINE && payload % 32 == 16,
                      "block %u of class %u", block, cls);
        }
    }
}
END_TEST

START_TEST(named_borders_are_where_they_should_be)
{
    ck_assert_uint_eq(tide_sizeclass_stride(TIDE_KIND_TINY, 0), 16);
    ck_assert_uint_eq(tide_sizeclass_stride(TIDE_KIND_TINY, TIDE_TINY_CLASSES - 1), TIDE_TINY_TOP);
    ck_assert_uint_eq(tide_sizeclass_stride(TIDE_KIND_TINY, TIDE_TINY_ALIGNED - 1), 65536);
    ck_assert_uint_eq(tide_sizeclass_stride(TIDE_KIND_MID, 0), 1024 + TIDE_MID_EXTRA);
    ck_assert_uint_eq(tide_sizeclass_stride(TIDE_KIND_MID, TIDE_MID_CLASSES - 1),
                      TIDE_MID_TOP + TIDE_MID_EXTRA);
    ck_assert_uint_eq(tide_sizeclass_stride(TIDE_KIND_MIDAL, TIDE_MIDAL_ALL - 1), 1 << 18);
    ck_assert_uint_eq(tide_sizeclass_stride(TIDE_KIND_LARGE, 0), 36 << 10);
    ck_assert_uint_eq(tide_sizeclass_stride(TIDE_KIND_LARGE, TIDE_LARGE_CLASSES - 1),
                      TIDE_LARGE_TOP);
}
END_TEST

/* Slots of all sizes up to 32 KiB for one setting of tiny_max. */
static void check_slots(size_t asked, size_t tiny_max)
{
    tide_sizeclass_start(asked);
    ck_assert_uint_eq(tide_sizeclass.tiny_max, tiny_max);
    for (size_t n = 0; n <= TIDE_MID_TOP; n++) {
        unsigned slot = tide_sizeclass_slot(n);
        bool tiny = slot < TIDE_TINY_ALL;
        enum tide_kind kind = tiny ? TIDE_KIND_TINY : TIDE_KIND_MID;
        unsigned cls = tiny ? slot : slot - TIDE_TINY_ALL;
        UNIT_HOLD(tiny == (n <= tiny_max), "%zu: tier with tiny_max=%zu", n, asked);
        UNIT_HOLD(cls < (tiny ? TIDE_TINY_CLASSES : TIDE_MID_CLASSES), "%zu: slot %u", n, slot);
        UNIT_HOLD(usable(kind, cls) >= n, "%zu does not fit slot %u", n, slot);
        size_t smallest = tiny ? 0 : 1024 + 16; /* of the tier; below it there is no choice */
        UNIT_HOLD(n < smallest || usable(kind, cls) - n <= n / 8 + 16, "%zu wastes", n);
        /* Mid's table has one entry for 16 sizes: a size that would fill the smaller class
         * to the last byte goes to the next one. */
        UNIT_HOLD(cls == 0 || usable(kind, cls - 1) < n + !tiny, "%zu: a smaller one would do", n);
    }
}

START_TEST(every_size_has_its_slot)
{
    check_slots(2047, 2047);
}
END_TEST

START_TEST(every_size_has_its_slot_with_a_low_ceiling)
{
    check_slots(1023, 1023);
    check_slots(1039, 1039);
}
END_TEST

START_TEST(the_table_that_is_built_in_is_that_of_the_default)
{
    struct tide_sizeclass before = tide_sizeclass;
    check_slots(2047, 2047); /* makes nothing: the default is there */
    tide_sizeclass_start(1023);
    ck_assert_mem_ne(&before, &tide_sizeclass, sizeof before);
    check_slots(2047, 2047);
    ck_assert_mem_eq(&before, &tide_sizeclass, sizeof before);
}
END_TEST

START_TEST(tiny_max_is_rounded_down_to_15_mod_16)
{
    for (size_t asked = 1023; asked <= 2047; asked++) {
        tide_sizeclass_start(asked);
        ck_assert_uint_eq(tide_sizeclass.tiny_max % 16, 15);
        ck_assert(tide_sizeclass.tiny_max <= asked && asked - tide_sizeclass.tiny_max < 16);
    }
    check_slots(1038, 1023);
    check_slots(1500, 1487);
}
END_TEST

START_TEST(classes_of_an_explicit_tier)
{
    for (size_t n = 0; n <= TIDE_TINY_TOP; n++) {
        unsigned cls = tide_sizeclass_tiny(n);
        UNIT_HOLD(cls < TIDE_TINY_CLASSES && usable(TIDE_KIND_TINY, cls) >= n, "Tiny %zu", n);
        UNIT_HOLD(cls == 0 || usable(TIDE_KIND_TINY, cls - 1) < n, "Tiny %zu wastes", n);
    }
    for (size_t n = 0; n <= TIDE_MID_TOP; n++) {
        unsigned cls = tide_sizeclass_mid(n);
        UNIT_HOLD(cls < TIDE_MID_CLASSES && usable(TIDE_KIND_MID, cls) >= n, "Mid %zu", n);
        UNIT_HOLD(cls == 0 || usable(TIDE_KIND_MID, cls - 1) < n, "Mid %zu wastes", n);
    }
}
END_TEST

/* The answer is the first class that fits; -1 only if none does. */
static void check_aligned(enum tide_kind kind, size_t size, size_t align)
{
    int cls = tide_sizeclass_aligned(kind, size, align),
        count = (int)(kind == TIDE_KIND_TINY ? TIDE_TINY_ALIGNED : tide_sizeclass_count(kind));
    for (int i = 0; i < count && (cls < 0 || i < cls); i++) {
        uint32_t stride = tide_sizeclass_stride(kind, (unsigned)i);
        UNIT_HOLD(stride < size || stride % align != 0, "kind %d, %zu of %zu: %d, not %d", kind,
                  size, align, i, cls);
    }
    uint32_t stride = cls >= 0 ? tide_sizeclass_stride(kind, (unsigned)cls) : 0;
    UNIT_HOLD(cls < count && (cls < 0 || (stride >= size && stride % align == 0)),
              "kind %d, %zu of %zu: class %d does not fit", kind, size, align, cls);
}

START_TEST(aligned_lookups_find_the_first_that_fits)
{
    static const enum tide_kind kinds[] = {TIDE_KIND_TINY, TIDE_KIND_MIDAL, TIDE_KIND_LARGE};
    for (int i = 0; i < 3; i++) {
        for (unsigned bit = 0; bit < 64; bit++) {
            size_t align = (size_t)1 << bit;
            for (size_t size = 0; size <= TIDE_MID_TOP + 64; size += 16)
                check_aligned(kinds[i], size + (size / 16) % 3, align);
            for (size_t size = TIDE_MID_TOP; size < 2 * TIDE_LARGE_TOP; size += 4096)
                check_aligned(kinds[i], size + bit, align);
            check_aligned(kinds[i], SIZE_MAX, align);
        }
    }
}
END_TEST

START_TEST(aligned_lookups_at_their_ends)
{
    ck_assert_int_eq(tide_sizeclass_aligned(TIDE_KIND_TINY, 0, 16), 0);
    ck_assert_int_eq(tide_sizeclass_aligned(TIDE_KIND_TINY, 1, 65536), TIDE_TINY_ALIGNED - 1);
    ck_assert_int_eq(tide_sizeclass_aligned(TIDE_KIND_TINY, 1, 131072), -1);
    ck_assert_int_eq(tide_sizeclass_aligned(TIDE_KIND_MIDAL, 4096, 1 << 18), TIDE_MIDAL_ALL - 1);
    ck_assert_int_eq(tide_sizeclass_aligned(TIDE_KIND_MIDAL, 4096, 1 << 19), -1);
    ck_assert_int_eq(tide_sizeclass_aligned(TIDE_KIND_LARGE, TIDE_LARGE_TOP, 1),
                     TIDE_LARGE_CLASSES - 1);
    ck_assert_int_eq(tide_sizeclass_aligned(TIDE_KIND_LARGE, TIDE_LARGE_TOP + 1, 1), -1);
    ck_assert_int_eq(tide_sizeclass_aligned(TIDE_KIND_LARGE, 1, TIDE_LARGE_TOP),
                     TIDE_LARGE_CLASSES - 1);
    ck_assert_int_eq(tide_sizeclass_aligned(TIDE_KIND_LARGE, 1, 2 * TIDE_LARGE_TOP), -1);
}
END_TEST

/* Malloc's classes of Large up to 64 KiB: each size has the smallest class that holds it; first
 * lines of blocks are in many sets of a cache of 64; and all names of tiers. */
START_TEST(large_beside_tiny)
{
    uint64_t sets = 0;
    for (size_t n = TIDE_MID_TOP + 1; n <= TIDE_LARGE_BESIDE; n++) {
        unsigned slot = tide_sizeclass_slot_large(n);
        unsigned cls = tide_slot_class(slot);
        UNIT_HOLD(tide_slot_kind(slot) == TIDE_KIND_TINY && cls >= TIDE_TINY_ALIGNED &&
                      cls < TIDE_TINY_ALL && usable(TIDE_KIND_TINY, cls) >= n &&
                      usable(TIDE_KIND_TINY, cls) < n + 4096 + 1024,
                  "%zu", n);
        UNIT_HOLD(cls == TIDE_TINY_ALIGNED || 32768 + 4096 * (cls - TIDE_TINY_ALIGNED) < n, "%zu",
                  n);
    }
    for (unsigned cls = 0; cls < TIDE_TINY_ALL; cls++) {
        bool large = cls >= TIDE_TINY_ALIGNED;
        ck_assert_int_eq(tide_sizeclass_is_large(TIDE_KIND_TINY, cls), large);
        ck_assert_str_eq(tide_sizeclass_tier(TIDE_KIND_TINY, cls), large ? "large" : "tiny");
        for (uint32_t block = 0; large && block < 7; block++)
            sets |=
                (uint64_t)1 << block * tide_sizeclass_stride(TIDE_KIND_TINY, cls) / TIDE_LINE % 64;
    }
    ck_assert_int_ge(__builtin_popcountll(sets), 24);
    ck_assert_str_eq(tide_sizeclass_tier(TIDE_KIND_MID, 40), "mid");
    ck_assert_str_eq(tide_sizeclass_tier(TIDE_KIND_MIDAL, 43), "mid");
    ck_assert_str_eq(tide_sizeclass_tier(TIDE_KIND_LARGE, 0), "large");
}
END_TEST

/* Every alignment up to a page's has a class for every size of its tier. */
START_TEST(alignments_up_to_a_page_never_lack_a_class)
{
    for (size_t align = 32; align <= 4096; align *= 2) {
        for (size_t size = 0; size < 2048; size++)
            UNIT_HOLD(tide_sizeclass_aligned(TIDE_KIND_TINY, size, align) >= 0, "%zu", size);
        for (size_t size = 2048; size <= TIDE_MID_TOP; size += 13)
            UNIT_HOLD(tide_sizeclass_aligned(TIDE_KIND_MIDAL, size, align) >= 0, "%zu", size);
    }
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {tables_ascend,
                                  large_beside_tiny,
                                  strides_keep_blocks_aligned,
                                  mid_strides_are_skewed,
                                  named_borders_are_where_they_should_be,
                                  every_size_has_its_slot,
                                  every_size_has_its_slot_with_a_low_ceiling,
                                  the_table_that_is_built_in_is_that_of_the_default,
                                  tiny_max_is_rounded_down_to_15_mod_16,
                                  classes_of_an_explicit_tier,
                                  aligned_lookups_find_the_first_that_fits,
                                  aligned_lookups_at_their_ends,
                                  alignments_up_to_a_page_never_lack_a_class,
                                  NULL};
    return unit_main("sizeclass", tests);
}
