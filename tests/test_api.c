/*
 * test_api.c - C semantics: what stays in place, what errno is, what is rounded, and the
 * figures in the forms of glibc. See also test_public.c and entry.sh.
 */
#include "pool_case.h"

#include <pthread.h>

#include "box/api.h"
#include "box/large.h"
#include "box/route.h"

static volatile size_t most = SIZE_MAX; /* so that the compiler does not warn of it */

#define MUST_FAIL(call, why)                                                                       \
    do {                                                                                           \
        errno = 0;                                                                                 \
        ck_assert_ptr_null(call);                                                                  \
        ck_assert_int_eq(errno, why);                                                              \
    } while (0)

/* --- realloc --- */

/* A block stays while the size fits it and does not waste half of it. */
START_TEST(realloc_stays_while_the_block_fits)
{
    static const size_t sizes[] = {100, 1000, 2047, 2048, 9000, 32768, 40000, 700000};
    for (int i = 0; i < 8; i++) {
        char *p = tide_malloc(sizes[i]), *q;
        size_t usable = tide_malloc_usable_size(p);
        memset(p, 0x31, usable);
        ck_assert_ptr_eq(tide_realloc(p, usable), p);
        ck_assert_ptr_eq(tide_realloc(p, usable / 2), p);
        ck_assert_uint_eq(tide_malloc_usable_size(p), usable);
        q = tide_realloc(p, usable + 1);
        ck_assert_ptr_ne(q, p);
        ck_assert(is_filled(q, 0x31, usable));
        ck_assert_int_eq(tide_tier_of(p), TIDE_TIER_NONE);
        p = tide_realloc(q, usable / 2 - 1);
        ck_assert(is_filled(p, 0x31, usable / 2 - 1));
        ck_assert_uint_lt(tide_malloc_usable_size(p), usable);
        tide_free(p);
    }
    char *p = tide_malloc(64);
    ck_assert_ptr_eq(tide_realloc(p, 1), p); /* not worth a move */
    tide_free(p);
}
END_TEST

START_TEST(realloc_crosses_all_tiers_and_keeps_the_contents)
{
    static const size_t sizes[] = {10, 3000, 40000, 2000000, 5000000, 1100000, 33000, 2100, 5};
    unsigned char *p = NULL;
    size_t before = 0;
    for (int i = 0; i < 9; i++) {
        p = tide_realloc(p, sizes[i]);
        ck_assert_ptr_nonnull(p);
        ck_assert(is_filled(p, 0x55, tide_min(before, sizes[i])));
        ck_assert_uint_ge(tide_malloc_usable_size(p), sizes[i]);
        memset(p, 0x55, sizes[i]);
        before = sizes[i];
    }
    ck_assert_ptr_null(tide_realloc(p, 0));
    ck_assert_int_eq(tide_tier_of(p), TIDE_TIER_NONE);
}
END_TEST

/* Above 1 MiB it grows by moving pages, not bytes. */
START_TEST(realloc_of_a_mapping_is_a_remap)
{
    char *p = tide_malloc(4 * MIB);
    uint64_t taken, blocks, bytes, again;
    memset(p, 1, 4 * MIB);
    tide_large_count(&blocks, &bytes, &taken);
    p = tide_realloc(p, 64 * MIB);
    ck_assert(is_filled(p, 1, 4 * MIB) && p[64 * MIB - 1] == 0);
    p = tide_realloc(p, 2 * MIB);
    ck_assert_uint_eq(tide_malloc_usable_size(p), 2 * MIB);
    tide_large_count(&blocks, &bytes, &again);
    ck_assert_uint_eq(blocks, 1);
    ck_assert_uint_eq(again, taken); /* still the same block */
    tide_free(p);
}
END_TEST

/* Who begins with realloc, and what is a mapping already, grows in the room of a freed block. */
START_TEST(realloc_of_nothing_begins_with_room)
{
    size_t size = 100 * KIB;
    char *freed = tide_malloc(16 * MIB);
    tide_free(freed);
    ck_assert_ptr_ne(tide_malloc(size), freed);
    char *p = tide_realloc(NULL, size);
    ck_assert_ptr_eq(p, freed);
    for (; size < 8 * MIB; size *= 2) {
        memset(p, 1, size);
        ck_assert_ptr_eq(tide_realloc(p, 2 * size), p);
        ck_assert(is_filled(p, 1, size));
    }
    ck_assert_ptr_ne(tide_realloc(NULL, size), p);
    tide_free(p);
}
END_TEST

START_TEST(failed_realloc_leaves_the_block)
{
    static const size_t sizes[] = {100, 5000, 50000, 5000000};
    for (int i = 0; i < 4; i++) {
        void *p = memset(tide_malloc(sizes[i]), 3, sizes[i]);
        MUST_FAIL(tide_realloc(p, most), ENOMEM);
        MUST_FAIL(tide_realloc(p, most / 2 - 100), ENOMEM);
        MUST_FAIL(tide_reallocarray(p, most / 2, 3), ENOMEM);
        ck_assert(is_filled(p, 3, sizes[i]));
        ck_assert_uint_ge(tide_malloc_usable_size(p), sizes[i]);
        tide_free(p);
    }
    MUST_FAIL(tide_realloc(NULL, most), ENOMEM);
    ck_assert_int_eq(tide_diag_misuses(), 0);
}
END_TEST

static void realloc_with_warning(void *p)
{
    tide_option_set("misuse", "warn");
    errno = 0;
    APART(tide_realloc((char *)p + 16, 1000) == NULL);
    APART(errno == EINVAL);
    APART(tide_malloc_usable_size((char *)p + 16) == 0);
    APART(tide_malloc_usable_size(p) == 208);
}

START_TEST(misuse_that_is_tolerated_gives_an_error)
{
    char text[512], *p = tide_malloc(200);
    int len = snprintf(
        text, sizeof text, "%s",
        fault_line("interior pointer", p + 16, "realloc", "tiny", 208, tide_self->owner, "live"));
    snprintf(text + len, sizeof text - (size_t)len, "%s",
             fault_line("interior pointer", p + 16, "malloc_usable_size", "tiny", 208,
                        tide_self->owner, "live"));
    must_live(realloc_with_warning, p, text);
}
END_TEST

/* --- zeroes --- */

START_TEST(calloc_zeroes_used_memory_and_refuses_overflow)
{
    for (int round = 0; round < 3; round++) {
        for (size_t size = 1; size < 2000000; size = size * 3 + 1) {
            void *p = tide_calloc(size, 1), *q = tide_calloc(3, size);
            ck_assert(is_filled(p, 0, size) && is_filled(q, 0, 3 * size));
            memset(p, 0xff, tide_malloc_usable_size(p));
            memset(q, 0xff, tide_malloc_usable_size(q));
            tide_free(p);
            tide_free(q);
        }
    }
    MUST_FAIL(tide_calloc(most / 2, 3), ENOMEM);
    MUST_FAIL(tide_calloc(most / 2, 2), ENOMEM);
    MUST_FAIL(tide_calloc(1, most), ENOMEM);
    void *none = tide_calloc(0, most), *other = tide_calloc(most, 0);
    ck_assert(none != NULL && other != NULL && none != other);
    tide_free(none);
    tide_free(other);
}
END_TEST

/* --- alignment --- */

START_TEST(memalign_rounds_up_and_aligned_alloc_refuses)
{
    static const struct {
        size_t asked, given;
    } row[] = {{0, 16}, {1, 16}, {17, 32}, {24, 32}, {4095, 4096}, {4097, 8192}, {100000, 131072}};
    for (int i = 0; i < 7; i++) {
        void *p[4];
        for (int k = 0; k < 4; k++) {
            p[k] = tide_memalign(row[i].asked, 100);
            ck_assert_ptr_nonnull(p[k]);
            ck_assert_uint_eq((uintptr_t)p[k] % row[i].given, 0);
        }
        for (int k = 0; k < 4; k++)
            tide_free(p[k]);
        if (!tide_is_pow2(row[i].asked))
            MUST_FAIL(tide_aligned_alloc(row[i].asked, 100), EINVAL);
    }
    MUST_FAIL(tide_memalign(most, 100), EINVAL);
    MUST_FAIL(tide_memalign(most / 2 + 1, 100), ENOMEM);
    MUST_FAIL(tide_aligned_alloc(64, most), ENOMEM);
    MUST_FAIL(tide_aligned_alloc(most / 4 + 1, 100), ENOMEM);
    MUST_FAIL(tide_aligned_alloc(1, most), ENOMEM);
}
END_TEST

START_TEST(posix_memalign_returns_its_error)
{
    static const size_t bad[] = {0, 1, 2, 4, 12, 24, 48, 4097};
    void *const same = &errno, *p = same;
    errno = 77;
    for (int i = 0; i < 8; i++)
        ck_assert_int_eq(tide_posix_memalign(&p, bad[i], 100), EINVAL);
    ck_assert_int_eq(tide_posix_memalign(&p, 8, most), ENOMEM);
    ck_assert_int_eq(tide_posix_memalign(&p, 64, most / 2), ENOMEM);
    ck_assert_int_eq(tide_posix_memalign(&p, most / 4 + 1, 8), ENOMEM);
    ck_assert_ptr_eq(p, same);
    for (size_t align = sizeof(void *); align <= 65536; align *= 2) {
        ck_assert_int_eq(tide_posix_memalign(&p, align, 0), 0);
        ck_assert_uint_eq((uintptr_t)p % align, 0);
        tide_free(p);
    }
    ck_assert_int_eq(errno, 77);
}
END_TEST

START_TEST(valloc_and_pvalloc_give_pages)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (size_t size = 0; size < 100000; size = size * 2 + 1) {
        void *p = tide_valloc(size), *q = tide_pvalloc(size);
        ck_assert_uint_eq((uintptr_t)p % page + (uintptr_t)q % page, 0);
        ck_assert_uint_ge(tide_malloc_usable_size(p), size);
        ck_assert_uint_ge(tide_malloc_usable_size(q), tide_max(tide_align_up(size, page), page));
        tide_free(p);
        tide_free(q);
    }
    MUST_FAIL(tide_valloc(most), ENOMEM);
    MUST_FAIL(tide_pvalloc(most), ENOMEM);
    MUST_FAIL(tide_pvalloc(most - page), ENOMEM);
}
END_TEST

/* --- free --- */

START_TEST(free_in_all_forms_keeps_errno)
{
    static const size_t sizes[] = {0, 100, 5000, 50000, 5000000};
    errno = 77;
    for (int i = 0; i < 5; i++) {
        tide_free(tide_malloc(sizes[i]));
        tide_free_sized(tide_malloc(sizes[i]), sizes[i]);
        tide_free_aligned_sized(tide_aligned_alloc(64, sizes[i]), 64, sizes[i]);
    }
    tide_free(NULL);
    tide_free_sized(NULL, 100);
    tide_free_aligned_sized(NULL, 64, 100);
    ck_assert_int_eq(errno, 77);
    ck_assert_uint_eq(tide_malloc_usable_size(NULL), 0);
    ck_assert_int_eq(tide_tier_of(NULL), TIDE_TIER_NONE);
    struct tide_stats stats;
    tide_stats(&stats);
    ck_assert_uint_eq(stats.tiny.live_blocks + stats.mid.live_blocks + stats.large.live_blocks, 0);
}
END_TEST

START_TEST(malloc_on_obeys_or_refuses)
{
    for (int tier = 1; tier < 4; tier++) {
        for (size_t size = 0; size <= 2048; size += 128) {
            void *p = tide_malloc_on((enum tide_tier)tier, size);
            ck_assert_int_eq(tide_tier_of(p), tier);
            ck_assert_uint_ge(tide_malloc_usable_size(p), size);
            memset(p, 1, size);
            tide_free(p);
        }
    }
    void *p = tide_malloc_on(TIDE_TIER_MID, 32768), *q = tide_malloc_on(TIDE_TIER_LARGE, 9000000);
    ck_assert_int_eq(tide_tier_of(p), TIDE_TIER_MID);
    ck_assert_int_eq(tide_tier_of(q), TIDE_TIER_LARGE);
    tide_free(p);
    tide_free(q);
    MUST_FAIL(tide_malloc_on(TIDE_TIER_TINY, 2049), EINVAL);
    MUST_FAIL(tide_malloc_on(TIDE_TIER_MID, 32769), EINVAL);
    MUST_FAIL(tide_malloc_on(TIDE_TIER_NONE, 1), EINVAL);
    MUST_FAIL(tide_malloc_on((enum tide_tier)4, 1), EINVAL);
    MUST_FAIL(tide_malloc_on(TIDE_TIER_LARGE, most), ENOMEM);
}
END_TEST

/* --- glibc's figures --- */

START_TEST(mallopt_accepts_what_glibc_knows)
{
    static const int known[] = {M_MXFAST,         M_TRIM_THRESHOLD, M_TOP_PAD,
                                M_MMAP_THRESHOLD, M_MMAP_MAX,       M_CHECK_ACTION,
                                M_PERTURB,        M_ARENA_TEST,     M_ARENA_MAX};
    for (int i = 0; i < 9; i++)
        ck_assert_int_eq(tide_api_mallopt(known[i], 1), 1);
    ck_assert_int_eq(tide_api_mallopt(-100, 1), 0);
    ck_assert_int_eq(tide_api_mallopt(100, 1), 0);
}
END_TEST

START_TEST(mallinfo2_matches_the_figures)
{
    struct tide_stats stats;
    void *p[4] = {tide_malloc(100), tide_malloc(5000), tide_malloc(50000), tide_malloc(5000000)};
    tide_free(tide_malloc(200));
    struct mallinfo2 info = tide_api_mallinfo2();
    tide_stats(&stats);
    ck_assert_uint_eq(info.hblks, 1);
    ck_assert_uint_eq(info.hblkhd, tide_malloc_usable_size(p[3]));
    ck_assert_uint_eq(info.uordblks + info.hblkhd,
                      stats.tiny.live_bytes + stats.mid.live_bytes + stats.large.live_bytes);
    ck_assert_uint_eq(info.arena, info.uordblks + info.fordblks);
    ck_assert_uint_eq(info.fsmblks,
                      stats.tiny.cached_bytes + stats.mid.cached_bytes + stats.large.cached_bytes);
    ck_assert_uint_eq(info.keepcost, stats.retained_bytes);
    for (int i = 0; i < 4; i++)
        tide_free(p[i]);
    tide_malloc_trim(0);
    info = tide_api_mallinfo2();
    ck_assert_uint_eq(info.arena + info.hblkhd + info.uordblks, 0);
}
END_TEST

/* Each element is closed in the right order; attributes are quoted. */
static void must_be_xml(const char *at)
{
    char open[16][32];
    int depth = 0;
    for (at = strchr(at, '<'); at != NULL; at = strchr(at, '<')) {
        const char *end = strchr(at, '>');
        ck_assert_ptr_nonnull(end);
        size_t len = strcspn(at + 1, " >/");
        int quotes = 0;
        for (const char *c = at; c < end; c++)
            quotes += *c == '"';
        ck_assert_int_eq(quotes % 2, 0);
        if (at[1] == '/') {
            ck_assert_int_gt(depth, 0);
            depth--;
            ck_assert_int_eq(strncmp(open[depth], at + 2, strlen(open[depth])), 0);
        } else if (end[-1] != '/') {
            ck_assert_int_lt(depth, 16);
            snprintf(open[depth++], 32, "%.*s", (int)len, at + 1);
        }
        at = end;
    }
    ck_assert_int_eq(depth, 0);
}

START_TEST(malloc_info_writes_xml)
{
    static char text[65536];
    void *p[3] = {tide_malloc(100), tide_malloc(5000), tide_malloc(50000)};
    FILE *stream = fmemopen(text, sizeof text, "w");
    ck_assert_int_eq(tide_api_malloc_info(1, stream), EINVAL);
    ck_assert_int_eq(tide_api_malloc_info(0, stream), 0);
    fclose(stream);
    must_be_xml(text);
    ck_assert_int_eq(strncmp(text, "<malloc version=\"1\">\n", 21), 0);
    ck_assert_ptr_nonnull(strstr(text, "tier=\"mid\""));
    ck_assert_ptr_nonnull(strstr(text, "<size to=\"112\" total=\"112\" count=\"1\""));
    for (int i = 0; i < 3; i++)
        tide_free(p[i]);
}
END_TEST

static void write_stats(void *unused)
{
    (void)unused;
    tide_api_malloc_stats();
}

START_TEST(malloc_stats_writes_to_stderr)
{
    void *p = tide_malloc(100);
    struct ending end = run_apart(write_stats, NULL);
    ck_assert_int_eq(end.status, 0);
    ck_assert_int_eq(strncmp(end.said, "tidepool " TIDE_VERSION_STRING ", 1 heaps", 23), 0);
    ck_assert_ptr_nonnull(strstr(end.said, "tiny   live 1 blocks, 112 bytes;"));
    ck_assert_ptr_nonnull(strstr(end.said, "large  live 0 blocks, 0 bytes;"));
    tide_free(p);
}
END_TEST

/* --- options --- */

static void *set_options(void *arg)
{
    static const char *const values[] = {"64K", "1M", "4M"};
    for (int i = 0; i < 200; i++) {
        tide_option_set("cache", values[i % 3]);
        tide_option_set("retain", values[i % 2]);
        tide_option_set("foreign", i % 2 ? "leak" : "abort");
        tide_free(tide_malloc((size_t)i * 100));
    }
    return arg;
}

START_TEST(two_threads_set_options)
{
    pthread_t thread[2];
    char value[32];
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&thread[i], NULL, set_options, NULL), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(thread[i], NULL);
    ck_assert_int_eq(tide_option_get("cache", value, sizeof value), 7);
    ck_assert_str_eq(value, "1048576"); /* the last one of both */
}
END_TEST

int main(void)
{
    TCase *group = tcase_create("api");
    tcase_add_test(group, realloc_stays_while_the_block_fits);
    tcase_add_test(group, realloc_crosses_all_tiers_and_keeps_the_contents);
    tcase_add_test(group, realloc_of_a_mapping_is_a_remap);
    tcase_add_test(group, realloc_of_nothing_begins_with_room);
    tcase_add_test(group, failed_realloc_leaves_the_block);
    tcase_add_test(group, misuse_that_is_tolerated_gives_an_error);
    tcase_add_test(group, calloc_zeroes_used_memory_and_refuses_overflow);
    tcase_add_test(group, memalign_rounds_up_and_aligned_alloc_refuses);
    tcase_add_test(group, posix_memalign_returns_its_error);
    tcase_add_test(group, valloc_and_pvalloc_give_pages);
    tcase_add_test(group, free_in_all_forms_keeps_errno);
    tcase_add_test(group, malloc_on_obeys_or_refuses);
    tcase_add_test(group, mallopt_accepts_what_glibc_knows);
    tcase_add_test(group, mallinfo2_matches_the_figures);
    tcase_add_test(group, malloc_info_writes_xml);
    tcase_add_test(group, malloc_stats_writes_to_stderr);
    tcase_add_test(group, two_threads_set_options);
    return run_group("api", group);
}
