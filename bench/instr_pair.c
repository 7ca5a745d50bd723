/*
 * instr_pair.c - the load that bench/instr counts instructions of: malloc and free in pairs.
 *
 * For each case it runs a loop without any pair, then the same loop with one pair in each turn,
 * and calls instr_mark() before, between and behind: callgrind is told to write a part of its
 * counts at each call. What the second part has more than the first is what the pairs cost.
 *
 * All of a case is done once before, uncounted: then no page is new, nothing is resolved for
 * the first time, and the library is asked about every pointer. The end fails unless malloc is
 * the one of the object that is expected, and tidepool, if it is that, has every block in the
 * tier of the case.
 *
 * Stands on libc alone, as all benches do; see bench_mix.h.
 */
#define _GNU_SOURCE 1
#include <dlfcn.h>
#include <getopt.h>

#include "bench_mix.h"

enum { PAIR_SLOTS = 256 };

/* `slots` 1: each block is freed before the next one is taken. Else a random one of so many
 * blocks is replaced in each turn. A size is drawn from the list. */
static const struct pair_case {
    const char *name, *sizes;
    unsigned slots;
    unsigned tiers; /* bits: the tiers that may serve it */
} pair_cases[] = {
    {"tiny/64", "64", 1, 1 << TIDE_TIER_TINY},
    {"tiny/512", "512", 1, 1 << TIDE_TIER_TINY},
    {"mid/2048", "2048", 1, 1 << TIDE_TIER_MID},
    {"mid/4096", "4096", 1, 1 << TIDE_TIER_MID},
    {"mid/16384", "16384", 1, 1 << TIDE_TIER_MID},
    {"gap/1+2+4+8K", "1K,2K,4K,8K", PAIR_SLOTS, 1 << TIDE_TIER_TINY | 1 << TIDE_TIER_MID},
    {"gap/1K-8K", "1K-8K", PAIR_SLOTS, 1 << TIDE_TIER_TINY | 1 << TIDE_TIER_MID},
    {"tiny/8-2047", "8-2047", PAIR_SLOTS, 1 << TIDE_TIER_TINY},
    {"mid/2K-32K", "2K-32K", PAIR_SLOTS, 1 << TIDE_TIER_MID},
    {"large/64K", "64K", 1, 1 << TIDE_TIER_LARGE},
};

enum { PAIR_CASES = sizeof pair_cases / sizeof *pair_cases };

struct pair_turn {
    uint32_t size, slot;
};

static void *volatile pair_block[PAIR_SLOTS];

/* Callgrind finds it by its name. */
__attribute__((noinline)) void instr_mark(void)
{
    __asm__ volatile("");
}

/* ---- the two loops ------------------------------------------------------------------------ */

__attribute__((noinline)) static void run_empty(const struct pair_turn *turns, size_t count)
{
    for (const struct pair_turn *turn = turns; turn < turns + count; turn++) {
        size_t size = turn->size;
        void *block = pair_block[turn->slot];
        __asm__ volatile("" : "+r"(size), "+r"(block));
        pair_block[turn->slot] = block;
    }
}

__attribute__((noinline)) static void run_pairs(const struct pair_turn *turns, size_t count)
{
    for (const struct pair_turn *turn = turns; turn < turns + count; turn++) {
        size_t size = turn->size;
        void *block = pair_block[turn->slot];
        __asm__ volatile("" : "+r"(size), "+r"(block));
        free(block);
        pair_block[turn->slot] = malloc(size);
    }
}

/* ---- proof -------------------------------------------------------------------------------- */

static void check_block(const struct pair_case *load, const void *block, uint32_t size)
{
    if (block == NULL)
        bench_die(BENCH_FAILED, "%s: no memory for %u bytes", load->name, (unsigned)size);
    if (!bench_on_tidepool())
        return;
    enum tide_tier tier = tide_tier_of(block);
    if ((load->tiers >> tier & 1) == 0)
        bench_die(BENCH_FAILED, "%s: a block of %u bytes is in tier %s", load->name, (unsigned)size,
                  bench_tier_name[tier]);
}

/* All turns once, each block shown to the library. */
static void rehearse(const struct pair_case *load, const struct pair_turn *turns, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        void *block = pair_block[turns[i].slot];
        free(block);
        block = malloc(turns[i].size);
        check_block(load, block, turns[i].size);
        pair_block[turns[i].slot] = block;
    }
}

/* Who malloc is, as the loader bound it. */
static const char *malloc_object(void)
{
    Dl_info info;
    void *(*function)(size_t) = malloc;
    if (dladdr((void *)(uintptr_t)function, &info) == 0 || info.dli_fname == NULL)
        return "nowhere";
    const char *slash = strrchr(info.dli_fname, '/');
    return slash != NULL ? slash + 1 : info.dli_fname;
}

static void check_server(const char *object)
{
    if (object == NULL)
        return;
    if (strcmp(malloc_object(), object) != 0)
        bench_die(BENCH_FAILED, "malloc is that of %s, not of %s", malloc_object(), object);
    if (strncmp(object, "libtidepool", 11) == 0 && !bench_on_tidepool())
        bench_die(BENCH_FAILED, "%s does not say that it is tidepool", object);
}

/* ---- a case ------------------------------------------------------------------------------- */

static void run_case(const struct pair_case *load, struct pair_turn *turns, size_t count)
{
    struct bench_list sizes = bench_parse_sizes(load->sizes);
    struct bench_random random = bench_stream(1, 0, 0);
    for (size_t i = 0; i < count; i++) {
        uint64_t bits = bench_draw(&random);
        turns[i].size = bench_size(&sizes, (uint32_t)bits);
        turns[i].slot = bench_pick((uint32_t)(bits >> 32), load->slots);
    }
    rehearse(load, turns, count);
    run_empty(turns, count);
    run_pairs(turns, count);
    instr_mark();
    run_empty(turns, count);
    instr_mark();
    run_pairs(turns, count);
    instr_mark();
    for (size_t i = 0; i < load->slots; i++) {
        if (pair_block[i] != NULL)
            check_block(load, pair_block[i], 0);
        free(pair_block[i]);
        pair_block[i] = NULL;
    }
}

static void usage(void)
{
    puts("Usage: instr_pair [--pairs N] [--object NAME]\n"
         "What bench/instr counts: for each case a loop without and a loop with pairs of malloc\n"
         "and free. Prints the cases, and the object that serves them.\n"
         "  --pairs N      pairs of each case (default 20000)\n"
         "  --object NAME  fail unless malloc is that of this file");
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"pairs", 1, NULL, 'p'},
                                            {"object", 1, NULL, 'o'},
                                            {"help", 0, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    size_t count = 20000;
    const char *object = NULL;
    for (int flag; (flag = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (flag == 'p')
            count = bench_number("--pairs", optarg, 1000, 1, 1000000);
        else if (flag == 'o')
            object = optarg;
        else if (flag == 'h')
            return usage(), BENCH_OK;
        else
            return BENCH_BAD_INPUT;
    }
    if (optind != argc)
        bench_die(BENCH_BAD_INPUT, "'%s': no such argument", argv[optind]);
    check_server(object);
    struct pair_turn *turns = bench_pages(count * sizeof *turns);
    for (size_t i = 0; i < PAIR_CASES; i++)
        run_case(&pair_cases[i], turns, count);
    printf("object %s\n", malloc_object());
    for (size_t i = 0; i < PAIR_CASES; i++)
        printf("case %s\n", pair_cases[i].name);
    return BENCH_OK;
}
