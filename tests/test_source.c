/* test_source.c - every text that names a source, every one that does not, and the
 * latency model. */
#include "box/source.h"

#include <linux/mempolicy.h>
#include <sys/syscall.h>

#include "box/clock.h"
#include "box/topo.h"
#include "box/vmem.h"
#include "unit_nodes.h"

enum { SIZE = 1 << 20 };

static const uint64_t all = UINT64_MAX; /* any node may be used */

static bool has_node(unsigned node)
{
    return tide_topo_has_memory(TIDE_TOPO_ROOT, node);
}

START_TEST(near_memory_under_both_names)
{
    static const char *const texts[] = {"near", "anon"};
    for (int i = 0; i < 2; i++) {
        struct tide_source source;
        memset(&source, 0x55, sizeof source);
        ck_assert_int_eq(tide_source_open(&source, texts[i]), 0);
        ck_assert_ptr_eq(source.ops, i == 0 ? &tide_source_near : &tide_source_anon);
        ck_assert_int_eq(source.node, -1);
        ck_assert_uint_eq(source.delay, 0);
        ck_assert(!source.far);
        ck_assert_str_eq(source.text, texts[i]);
        ck_assert_str_eq(source.why, "near memory, as asked");
    }
}
END_TEST

START_TEST(auto_is_the_far_node_or_near)
{
    struct tide_source source;
    int far = tide_topo_far_node(TIDE_TOPO_ROOT, UINT64_MAX);
    ck_assert_int_eq(tide_source_open(&source, "auto"), 0);
    ck_assert_int_eq(source.node, far);
    ck_assert_int_eq(source.far, far >= 0);
    ck_assert_ptr_eq(source.ops, far >= 0 ? &tide_source_node : &tide_source_near);
    if (far < 0)
        ck_assert_str_eq(source.text, "near");
    ck_assert_ptr_nonnull(strstr(source.why, "memory node without processors"));
    ck_assert_int_eq(tide_source_open(&source, "auto,delay=30"), 0);
    ck_assert(source.far);
    ck_assert_uint_eq(source.delay, 30);
}
END_TEST

START_TEST(a_node_by_its_number)
{
    struct tide_source source;
    for (unsigned node = 0; node < 64; node++) {
        char text[32];
        snprintf(text, sizeof text, "node:%u", node);
        int ret = tide_source_open(&source, text);
        ck_assert_int_eq(ret, has_node(node) ? 0 : -ENODEV);
        if (ret == 0) {
            ck_assert_ptr_eq(source.ops, &tide_source_node);
            ck_assert_int_eq(source.node, (int)node);
            ck_assert_str_eq(source.text, text);
            ck_assert_str_eq(source.why, "the node asked for");
        }
    }
}
END_TEST

/* A machine with this thread's node N, N+6 with other processors, N+7 and N+9 without.
 * Returns N. */
static unsigned make_machine(void)
{
    char online[64], cpu[64];
    unsigned here = tide_topo_this_node(), base = here + 5;
    snprintf(online, sizeof online, "%u,%u-%u,%u", here, base + 1, base + 2, base + 4);
    snprintf(cpu, sizeof cpu, "%u,%u", here, base + 1);
    unit_put_lists(online, cpu, online);
    unit_put_node(here, 1000, 500, "10 21 39 24");
    unit_put_node(base + 1, 1000, 500, "21 10 24 39");
    unit_put_node(base + 2, 1000, 500, "39 24 10 50");
    unit_put_node(base + 4, 1000, 500, "24 39 50 10");
    return here;
}

START_TEST(auto_is_the_nearest_node_without_processors)
{
    struct tide_source source;
    unsigned here = make_machine();
    char expect[32];
    snprintf(expect, sizeof expect, "node:%u", here + 9);
    ck_assert_int_eq(tide_source_open_below(&source, "auto", unit_root, &all), 0);
    ck_assert_ptr_eq(source.ops, &tide_source_node);
    ck_assert_int_eq(source.node, (int)here + 9);
    ck_assert(source.far);
    ck_assert_str_eq(source.text, expect);
    ck_assert_str_eq(source.why, "the nearest memory node without processors");
    strcat(expect, ",delay=7");
    ck_assert_int_eq(tide_source_open_below(&source, "auto,delay=7", unit_root, &all), 0);
    ck_assert_str_eq(source.text, expect);
    ck_assert_int_eq(tide_source_open_below(&source, "auto", "/nowhere/at/all", &all), 0);
    ck_assert_ptr_eq(source.ops, &tide_source_near);
    ck_assert(!source.far);
}
END_TEST

START_TEST(lists_of_nodes)
{
    static const struct {
        const char *pattern, *text; /* A, B: ids of two nodes of the made-up machine */
        int ret;
        unsigned a, b; /* weights */
    } rows[] = {
        {"node:A,B", "node:A,B", 0, 1, 1},
        {"node:B,A", "node:A,B", 0, 1, 1},
        {"node:A*3+B*1", "node:A*3+B*1", 0, 3, 1},
        {"node:B*255+A*2,delay=4", "node:A*2+B*255,delay=4", 0, 2, 255},
        {"node:A*7", "node:A*7", 0, 7, 0},
        {"node:A,A", "", -EINVAL, 0, 0},
        {"node:A*3,B*1", "", -EINVAL, 0, 0},
        {"node:A+B", "", -EINVAL, 0, 0},
        {"node:A*3+B", "", -EINVAL, 0, 0},
        {"node:A*0", "", -EINVAL, 0, 0},
        {"node:A*256", "", -EINVAL, 0, 0},
        {"node:A,", "", -EINVAL, 0, 0},
        {"node:,A", "", -EINVAL, 0, 0},
        {"node:A*", "", -EINVAL, 0, 0},
        {"node:A,63", "", -ENODEV, 0, 0},
        {"node:A,99", "", -ENODEV, 0, 0},
    };
    unsigned here = make_machine(), a = here + 7, b = here + 9;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[2][64];
        const char *from[2] = {rows[i].pattern, rows[i].text};
        for (int k = 0; k < 2; k++) {
            size_t len = 0;
            for (const char *at = from[k]; *at != '\0'; at++)
                len += (size_t)snprintf(text[k] + len, sizeof text[k] - len,
                                        *at == 'A' || *at == 'B' ? "%u" : "%c",
                                        *at == 'A'   ? a
                                        : *at == 'B' ? b
                                                     : (unsigned)*at);
            text[k][len] = '\0';
        }
        struct tide_source source;
        ck_assert_msg(tide_source_open_below(&source, text[0], unit_root, &all) == rows[i].ret,
                      "%s", text[0]);
        if (rows[i].ret != 0)
            continue;
        ck_assert_str_eq(source.text, text[1]);
        ck_assert_int_eq(source.node, (int)a);
        ck_assert_uint_eq(source.nodes, (uint64_t)1 << a | (uint64_t)(rows[i].b != 0) << b);
        ck_assert_uint_eq(source.weight[a], rows[i].a);
        ck_assert_uint_eq(source.weight[b], rows[i].b);
        ck_assert(source.far);
    }
}
END_TEST

/* Shares by weight are laid out in runs of 4 MiB a unit; the kernel tells the policy of each. */
START_TEST(shares_by_weight_alternate)
{
    enum { CHUNK = 4 << 20, CHUNKS = 9 };
    struct tide_source source;
    if (!has_node(0) || tide_source_open(&source, "node:0*1") != 0)
        return;
    source.nodes |= (uint64_t)1 << 63; /* not there: its runs cannot be placed */
    source.weighted = true;
    source.weight[0] = 2;
    source.weight[63] = 1;
    char *base = mmap(NULL, CHUNKS * CHUNK, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(base, MAP_FAILED);
    for (size_t chunk = 0; chunk < CHUNKS; chunk++) {
        int ret = tide_source_extend(&source, base, chunk * CHUNK, (chunk + 1) * CHUNK);
        if (ret == -EPERM || ret == -ENOSYS)
            return;
        ck_assert_int_eq(ret, chunk % 3 < 2 ? 0 : -EINVAL);
    }
    ck_assert_int_eq(tide_source_extend(&source, base, 0, 2 * CHUNK), 0);
    ck_assert_int_eq(tide_source_extend(&source, base, CHUNK, 3 * CHUNK), -EINVAL);
    ck_assert_int_eq(tide_source_extend(&source, base, CHUNK, CHUNK), 0);
}
END_TEST

START_TEST(promotion_needs_a_node_to_go_to)
{
    struct tide_source source;
    ck_assert_int_eq(tide_source_open(&source, "near"), 0);
    tide_source_tune(&source, true, TIDE_THP_NEVER);
    ck_assert_ptr_nonnull(strstr(source.migrate_why, "Mid is near memory"));
    ck_assert_uint_eq(source.near, 0);
    ck_assert_int_eq(source.thp, TIDE_THP_NEVER);
    unsigned here = make_machine();
    char text[32];
    snprintf(text, sizeof text, "node:%u,%u", here + 7, here + 9);
    ck_assert_int_eq(tide_source_open_below(&source, text, unit_root, &all), 0);
    tide_source_tune(&source, false, TIDE_THP_DEFAULT);
    ck_assert_ptr_null(source.migrate_why);
    tide_source_tune(&source, true, TIDE_THP_DEFAULT);
    ck_assert_ptr_nonnull(strstr(source.migrate_why, "several nodes"));
    ck_assert_uint_eq(source.near, 0);
    if (has_node(0) && tide_source_open(&source, "node:0") == 0) {
        tide_source_tune(&source, true, TIDE_THP_DEFAULT);
        ck_assert(source.near != 0 || source.migrate_why != NULL);
    }
}
END_TEST

START_TEST(securing_tells_where_pages_are)
{
    struct tide_source source;
    char *base = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(base, MAP_FAILED);
    if (!has_node(0) || tide_source_open(&source, "node:0") != 0)
        return;
    base[5000] = 9;
    unsigned here = tide_topo_this_node();
    int ret = tide_source_secure(&source, base, 1 << 20);
    ck_assert(here != 0 || ret == 0 || ret == -ENOMEM);
    ck_assert_int_eq(base[5000], 9);
    source.nodes = (uint64_t)1 << 63;
    ck_assert_int_eq(tide_source_secure(&source, base, 1 << 20), -ENOMEM);
    ck_assert_int_eq(base[5000], 9);
    ck_assert_int_eq(mprotect(base, 4096, PROT_NONE), 0);
    ck_assert_int_eq(tide_source_secure(&source, base, 1 << 20), -ENOMEM);
}
END_TEST

/* Far is what the own processor has to go out for. */
START_TEST(only_the_own_node_is_near)
{
    static const struct {
        unsigned more;
        int ret;
        bool far;
    } rows[] = {{0, 0, false}, {6, 0, true},        {7, 0, true},
                {9, 0, true},  {8, -ENODEV, false}, {1, -ENODEV, false}};
    unsigned here = make_machine();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[32];
        struct tide_source source;
        snprintf(text, sizeof text, "node:%u", here + rows[i].more);
        ck_assert_int_eq(tide_source_open_below(&source, text, unit_root, &all), rows[i].ret);
        ck_assert_int_eq(source.far, rows[i].far);
        ck_assert_int_eq(source.node, rows[i].ret == 0 ? (int)(here + rows[i].more) : -1);
        strcat(text, ",delay=5");
        ck_assert_int_eq(tide_source_open_below(&source, text, unit_root, &all), rows[i].ret);
        ck_assert_int_eq(source.far, rows[i].ret == 0);
    }
}
END_TEST

static void is_near(const struct tide_source *source, const char *why)
{
    ck_assert_ptr_eq(source->ops, &tide_source_near);
    ck_assert_int_eq(source->node, -1);
    ck_assert_uint_eq(source->delay, 0);
    ck_assert(!source->far);
    ck_assert_str_eq(source->text, "near");
    ck_assert_ptr_nonnull(strstr(source->why, why));
    ck_assert_int_eq(tide_source_place(source, NULL, 0), 0);
}

START_TEST(an_absent_node_is_near_memory)
{
    static const char *const texts[] = {"node:64", "node:64,delay=5", "node:1023", "node:1024",
                                        "node:10239"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct tide_source source;
        memset(&source, 0x55, sizeof source);
        ck_assert_msg(tide_source_open(&source, texts[i]) == -ENODEV, "'%s'", texts[i]);
        is_near(&source, "the node asked for has no memory here");
    }
}
END_TEST

START_TEST(delay_makes_any_source_far)
{
    static const struct {
        const char *text, *expect;
        uint32_t delay;
    } rows[] = {
        {"near,delay=250", "near,delay=250", 250},
        {"anon,delay=1", "anon,delay=1", 1},
        {"anon,delay=007", "anon,delay=7", 7},
        {"near,delay=1000000", "near,delay=1000000", 1000000},
        {"near,delay=0", "near", 0},
    };
    struct tide_source source;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ck_assert_msg(tide_source_open(&source, rows[i].text) == 0, "'%s'", rows[i].text);
        ck_assert_uint_eq(source.delay, rows[i].delay);
        ck_assert_int_eq(source.far, rows[i].delay != 0);
        ck_assert_str_eq(source.text, rows[i].expect);
    }
    ck_assert_int_eq(tide_source_open(&source, "near,delay=250"), 0);
    ck_assert_str_eq(source.why, "near memory with a modelled delay, as asked");
    if (has_node(0)) {
        ck_assert_int_eq(tide_source_open(&source, "node:0,delay=99"), 0);
        ck_assert_str_eq(source.text, "node:0,delay=99");
    }
}
END_TEST

START_TEST(what_names_no_source_is_near_memory)
{
    static const char *const texts[] = {
        "",
        " ",
        "a",
        "aut",
        "autox",
        "auto:1",
        "auto ",
        "AUTO",
        "near ",
        "nearer",
        "near:0",
        "anon:",
        "Near",
        "node",
        "node:",
        "node:x",
        "node:-1",
        "node:+0",
        "node: 0",
        "node:0x0",
        "node:0 ",
        "node:1:2",
        "node0",
        "node:10240",
        "node:99999999999999999999",
        "node:00000000000000000000000000000000",
        "dax:",
        "dax",
        "file:",
        "file",
        "memfd:",
        "memfd:/tmp",
        "near,",
        "near,delay",
        "near,delay=",
        "near,delay=x",
        "near,delay=-1",
        "near,delay=1ns",
        "near,delay= 1",
        "near,delay=1000001",
        "near,delay=10000000",
        "near,delay=4294967297",
        "near,delay=99999999999999999999",
        "near,delay=1,delay=2",
        "near,cap=1",
        "near,,delay=1",
        ",delay=1",
        "delay=1",
        "near delay=1",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct tide_source source;
        memset(&source, 0x55, sizeof source);
        errno = 4321;
        ck_assert_msg(tide_source_open(&source, texts[i]) == -EINVAL, "'%s'", texts[i]);
        ck_assert_int_eq(errno, 4321);
        is_near(&source, "near memory is used");
    }
}
END_TEST

static int policy_of(void *base, unsigned long *mask)
{
    int mode = -1;
    long ret = syscall(SYS_get_mempolicy, &mode, mask, 1024L, base, MPOL_F_ADDR);
    return ret == 0 ? mode : -1;
}

START_TEST(placing_near_memory_changes_nothing)
{
    static const char *const texts[] = {"near", "anon", "near,delay=5"};
    unsigned long mask[16] = {0};
    char *base = mmap(NULL, SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int before = policy_of(base, mask);
    for (int i = 0; i < 3; i++) {
        struct tide_source source;
        ck_assert_int_eq(tide_source_open(&source, texts[i]), 0);
        ck_assert_int_eq(tide_source_place(&source, base, SIZE), 0);
        ck_assert_int_eq(policy_of(base, mask), before);
    }
}
END_TEST

/* A preference and never MPOL_BIND: see the card. */
START_TEST(placing_on_a_node_is_a_preference)
{
    struct tide_source source;
    unsigned long mask[16] = {0};
    char *base = mmap(NULL, SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!has_node(0) || policy_of(base, mask) < 0)
        return; /* a kernel without NUMA, or a container's filter */
    ck_assert_int_eq(tide_source_open(&source, "node:0"), 0);
    ck_assert_int_eq(tide_source_place(&source, base, SIZE), 0);
    ck_assert_int_eq(policy_of(base, mask), MPOL_PREFERRED);
    ck_assert_uint_eq(mask[0], 1);
    ck_assert_int_eq(mprotect(base, SIZE, PROT_READ | PROT_WRITE), 0);
    ck_assert_int_eq(policy_of(base, mask), MPOL_PREFERRED);
    memset(base, 1, SIZE);
    ck_assert_int_eq(tide_source_place(&source, base + 1, SIZE), -EINVAL);
    munmap(base, SIZE);
    ck_assert_int_eq(tide_source_place(&source, base, SIZE), -EFAULT);
}
END_TEST

static uint64_t touch_time(uintptr_t at, size_t len, uint32_t delay)
{
    uint64_t begin = tide_clock_now();
    tide_source_touch_slow((const void *)at, len, delay);
    return tide_clock_now() - begin;
}

/* The model never reads the memory: addresses are enough. A miss waits 5 ms; what
 * must not wait is tried several times, since the machine may be busy. */
enum { MISS = 5000000, LONG_MISS = 2000000000, LINES = 32768, HERE = 1 << 28 };

static void is_miss(uintptr_t at, size_t len, unsigned lines)
{
    ck_assert_uint_ge(touch_time(at, len, MISS), (uint64_t)lines * MISS);
    for (int i = 0; i < 20; i++) /* and it is there now */
        if (touch_time(at, len, MISS) < MISS)
            return;
    ck_abort_msg("lines that were touched still wait");
}

START_TEST(each_line_misses_once)
{
    is_miss(HERE, 1, 1);
    is_miss(HERE + 64, 64, 1);
    ck_assert_uint_lt(touch_time(HERE + 3, 16, LONG_MISS), LONG_MISS);
    is_miss(HERE + 128 + 63, 2, 2); /* the end of one line, the beginning of the next */
    is_miss(HERE + 256, 256, 4);
    is_miss(HERE + 1024 + 32, 64, 2);
}
END_TEST

START_TEST(lines_2_mib_apart_push_each_other_out)
{
    const uintptr_t other = HERE + (uintptr_t)LINES * TIDE_LINE;
    is_miss(HERE, 8, 1);
    is_miss(other, 8, 1);
    is_miss(HERE, 8, 1);
    is_miss(other + TIDE_LINE, 8, 1);
    ck_assert_uint_lt(touch_time(HERE, 8, LONG_MISS), LONG_MISS);
}
END_TEST

START_TEST(a_whole_cache_of_lines_stays_warm)
{
    tide_source_touch_slow((const void *)(uintptr_t)HERE, (size_t)LINES * TIDE_LINE, 0);
    /* One miss among them would take longer than this. */
    uint64_t spent = touch_time(HERE, (size_t)LINES * TIDE_LINE, LONG_MISS);
    ck_assert_uint_lt(spent, LONG_MISS);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("source");
    TCase *tcase = tcase_create("source");
    const TTest *const tests[] = {
        near_memory_under_both_names,
        auto_is_the_far_node_or_near,
        a_node_by_its_number,
        auto_is_the_nearest_node_without_processors,
        only_the_own_node_is_near,
        lists_of_nodes,
        shares_by_weight_alternate,
        promotion_needs_a_node_to_go_to,
        securing_tells_where_pages_are,
        an_absent_node_is_near_memory,
        delay_makes_any_source_far,
        what_names_no_source_is_near_memory,
        placing_near_memory_changes_nothing,
        placing_on_a_node_is_a_preference,
        each_line_misses_once,
        lines_2_mib_apart_push_each_other_out,
        a_whole_cache_of_lines_stays_warm,
    };
    tcase_add_checked_fixture(tcase, unit_nodes_setup, unit_nodes_teardown);
    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++)
        tcase_add_test(tcase, tests[i]);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
