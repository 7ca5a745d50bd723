/*
 * prog_entry_names.c - the less known entry points: old names, names that glibc
 * lacks, statistics, trimming, settings. See entry_case.h.
 */
#define _GNU_SOURCE
#include <unistd.h>

#include "entry_case.h"

extern void cfree(void *ptr) MAYBE;
extern void free_sized(void *ptr, size_t size) MAYBE;
extern void free_aligned_sized(void *ptr, size_t alignment, size_t size) MAYBE;
extern int __posix_memalign(void **out, size_t alignment, size_t size) MAYBE;
extern __typeof__(tide_free) tide_free MAYBE;
extern __typeof__(tide_realloc) tide_realloc MAYBE;

/* ---- Names ---- */

static void old_names_work(void)
{
    for (size_t i = 0; i < SIZES; i++) {
        size_t n = sizes[i];
        char *p = __libc_malloc(opaque(n));
        char *q = __libc_calloc(opaque(n), 1);
        char *r = __libc_memalign(128, opaque(n));
        char *s = __libc_valloc(opaque(n));
        char *t = __libc_pvalloc(opaque(n));
        EXPECT(p && q && r && s && t);
        EXPECT(all_zero(q, n) && is_aligned(r, 128) && is_aligned(s, 4096) && is_aligned(t, 4096));
        fill(p, n, i);
        p = __libc_realloc(p, opaque(n * 2));
        EXPECT(p != NULL && holds(p, n, i));
        __libc_free(p);
        free(q);
        __libc_free(r);
        free(s);
        __libc_free(t);
    }
}

static void names_that_glibc_lacks_work(void)
{
    EXPECT(cfree && free_sized && free_aligned_sized && __posix_memalign);
    if (case_failed)
        return;
    for (size_t i = 0; i < SIZES; i++) {
        void *p = malloc(opaque(sizes[i])), *q = calloc(1, opaque(sizes[i]));
        void *r = aligned_alloc(512, opaque(sizes[i])), *s = NULL;
        EXPECT(__posix_memalign(&s, 256, opaque(sizes[i])) == 0 && is_aligned(s, 256));
        errno = EXDEV;
        cfree(p);
        free_sized(q, sizes[i]);
        free_aligned_sized(r, 512, sizes[i]);
        free_aligned_sized(s, 256, sizes[i]);
        EXPECT(errno_now() == EXDEV);
    }
    cfree(NULL);
    free_sized(NULL, 1);
    free_aligned_sized(NULL, 32, 1);
    void *out = &out;
    EXPECT(__posix_memalign(&out, 24, 1) == EINVAL && out == (void *)&out);
}

static void own_names_and_libc_names_mix(void)
{
    EXPECT(tide_malloc && tide_free && tide_realloc && tide_tier_of);
    if (case_failed)
        return;
    for (size_t i = 0; i < SIZES; i++) {
        void *p = tide_malloc(opaque(sizes[i])), *q = malloc(opaque(sizes[i]));
        EXPECT(p != NULL && q != NULL);
        EXPECT(tide_tier_of(p) != TIDE_TIER_NONE && tide_tier_of(p) == tide_tier_of(q));
        p = realloc(p, opaque(sizes[i] + 100));
        q = tide_realloc(q, opaque(sizes[i] + 100));
        EXPECT(p != NULL && q != NULL && tide_tier_of(p) == tide_tier_of(q));
        free(p);
        tide_free(q);
    }
}

/* Blocks that libc allocates and the program frees. */
static void blocks_of_libc_may_be_freed(void)
{
    char *text = strdup("a copy of a string"), *made = NULL, *line = NULL, *stream = NULL;
    size_t room = 0, length = 0;
    EXPECT(text != NULL && strcmp(text, "a copy of a string") == 0);
    EXPECT(asprintf(&made, "%s %d", text, 42) == 21);
    FILE *f = open_memstream(&stream, &length);
    EXPECT(f != NULL);
    for (int i = 0; i < 20000; i++)
        fprintf(f, "%d\n", i);
    EXPECT(fclose(f) == 0 && length > 100000);
    f = fmemopen(stream, length, "r");
    EXPECT(f != NULL && getline(&line, &room, f) == 2 && strcmp(line, "0\n") == 0);
    fclose(f);
    if (ours)
        EXPECT(tide_tier_of(text) == TIDE_TIER_TINY && tide_tier_of(stream) == TIDE_TIER_LARGE);
    free(text);
    free(made);
    free(line);
    stream = realloc(stream, length / 2);
    EXPECT(stream != NULL && memcmp(stream, "0\n1\n2\n", 6) == 0);
    free(stream);
}

/* ---- What is in use, and giving it back ---- */

static size_t in_use(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd; /* glibc counts mappings apart */
}

static void mallinfo_sees_allocations(void)
{
    static const struct {
        size_t size, count;
    } sets[] = {{100, 5000}, {4000, 500}, {20000, 100}, {100000, 20}, {3000000, 5}, {50000000, 1}};
    static void *blocks[5000];
    for (size_t s = 0; s < sizeof sets / sizeof *sets; s++) {
        size_t before = in_use(), total = sets[s].size * sets[s].count;
        for (size_t i = 0; i < sets[s].count; i++) {
            blocks[i] = malloc(opaque(sets[s].size));
            EXPECT(blocks[i] != NULL);
        }
        size_t full = in_use();
        for (size_t i = 0; i < sets[s].count; i++)
            free(blocks[i]);
        size_t after = in_use();
        EXPECT(full >= before + total && full <= before + total * 3);
        EXPECT(after < before + total / 2);
        if (ours)
            EXPECT(after == before);
    }
}

static void mallinfo_and_mallinfo2_agree(void)
{
    void *p = malloc(opaque(5000));
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    struct mallinfo old = mallinfo();
#pragma GCC diagnostic pop
    struct mallinfo2 info = mallinfo2();
    EXPECT(info.uordblks > 0 && old.uordblks > 0);
    EXPECT((size_t)old.uordblks == info.uordblks || info.uordblks > INT32_MAX);
    EXPECT((size_t)old.hblkhd == info.hblkhd || info.hblkhd > INT32_MAX);
    free(p);
}

static void free_a_few_megabytes(void)
{
    enum { COUNT = 700 };
    static void *blocks[COUNT];
    for (int i = 0; i < COUNT; i++) {
        blocks[i] = malloc(opaque(4000));
        EXPECT(blocks[i] != NULL);
        memset(blocks[i], 1, 4000);
    }
    for (int i = 0; i < COUNT; i++)
        free(blocks[i]);
}

static void malloc_trim_returns_0_or_1(void)
{
    for (int i = 0; i < 3; i++) {
        free_a_few_megabytes();
        int first = malloc_trim(0), second = malloc_trim(SIZE_MAX / 2);
        EXPECT((first == 0 || first == 1) && (second == 0 || second == 1));
    }
}

static void malloc_trim_finds_freed_memory(void)
{
    free_a_few_megabytes();
    EXPECT(malloc_trim(0) == 1);
}

/* ---- Reports ---- */

/* Checks that the tags are nested properly; returns their number, 0 if not. */
static int count_tags(const char *xml)
{
    const char *open[32];
    size_t length[32], depth = 0;
    int tags = 0;
    for (const char *at = strchr(xml, '<'); at != NULL; at = strchr(at, '<')) {
        const char *end = strchr(++at, '>');
        if (end == NULL || memchr(at, '<', (size_t)(end - at)) != NULL)
            return 0;
        if (*at == '?' || *at == '!')
            continue;
        if (*at == '/') {
            size_t n = (size_t)(end - at) - 1;
            if (depth == 0 || length[depth - 1] != n || memcmp(open[depth - 1], at + 1, n) != 0)
                return 0;
            depth--;
        } else if (tags++, end[-1] != '/') {
            if (depth == sizeof open / sizeof *open)
                return 0;
            open[depth] = at;
            length[depth++] = strcspn(at, " \n\t>");
        }
    }
    return depth == 0 ? tags : 0;
}

/* Attribute values are quoted, no & or > stands alone. */
static bool quotes_are_even(const char *xml)
{
    int quotes = 0;
    for (; *xml != '\0'; xml++) {
        quotes += *xml == '"';
        if (*xml == '>' && quotes % 2 != 0)
            return false;
        if (*xml == '&')
            return false;
    }
    return quotes % 2 == 0;
}

static void malloc_info_writes_xml(void)
{
    char *text = NULL;
    size_t length = 0;
    void *some[3] = {malloc(100), malloc(5000), malloc(100000)};
    FILE *f = open_memstream(&text, &length);
    EXPECT(f != NULL);
    EXPECT(malloc_info(0, f) == 0);
    EXPECT(fclose(f) == 0);
    EXPECT(text != NULL && strlen(text) == length);
    EXPECT(strncmp(text, "<malloc version=\"", 17) == 0 || strncmp(text, "<?xml", 5) == 0);
    EXPECT(strstr(text, "</malloc>") != NULL);
    EXPECT(count_tags(text) >= 1 && quotes_are_even(text));
    free(text);
    for (int i = 0; i < 3; i++)
        free(some[i]);
    EXPECT(malloc_info(opaque(1) != 0, stdout) == EINVAL);
}

static void malloc_stats_writes_to_stderr(void)
{
    char text[200] = "";
    int saved = dup(2);
    FILE *f = tmpfile();
    EXPECT(f != NULL && saved >= 0);
    if (case_failed)
        return;
    dup2(fileno(f), 2);
    malloc_stats();
    fflush(stderr);
    dup2(saved, 2);
    close(saved);
    rewind(f);
    EXPECT(fread(text, 1, sizeof text, f) > 20);
    fclose(f);
}

static void mallopt_knows_its_parameters(void)
{
    static const int known[][2] = {{M_MXFAST, 64},       {M_TRIM_THRESHOLD, 1 << 17},
                                   {M_TOP_PAD, 1 << 17}, {M_MMAP_THRESHOLD, 1 << 17},
                                   {M_MMAP_MAX, 65536},  {M_CHECK_ACTION, 3},
                                   {M_PERTURB, 0},       {M_ARENA_TEST, 8},
                                   {M_ARENA_MAX, 8}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        EXPECT(mallopt(known[i][0], known[i][1]) == 1);
}

/* malloc(3) promises 0, glibc 2.36 returns 1. */
static void mallopt_refuses_unknown_parameters(void)
{
    EXPECT(mallopt(99, 1) == 0);
    EXPECT(mallopt(-99, 1) == 0);
    EXPECT(mallopt(12345, 0) == 0);
}

static const struct entry_case cases[] = {
    {CASE(BOTH, old_names_work)},
    {CASE(OURS, names_that_glibc_lacks_work)},
    {CASE(OURS, own_names_and_libc_names_mix)},
    {CASE(BOTH, blocks_of_libc_may_be_freed)},
    {CASE(BOTH, mallinfo_sees_allocations)},
    {CASE(BOTH, mallinfo_and_mallinfo2_agree)},
    {CASE(BOTH, malloc_trim_returns_0_or_1)},
    {CASE(OURS, malloc_trim_finds_freed_memory)},
    {CASE(BOTH, malloc_info_writes_xml)},
    {CASE(BOTH, malloc_stats_writes_to_stderr)},
    {CASE(BOTH, mallopt_knows_its_parameters)},
    {CASE(OURS, mallopt_refuses_unknown_parameters)},
};

int main(int argc, char **argv)
{
    return entry_main(argc, argv, cases, sizeof cases / sizeof *cases);
}
