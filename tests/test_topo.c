/* test_topo.c - the kernel's files about nodes, real ones and made-up ones. */
#include "box/topo.h"

#include "box/vmem.h"
#include "unit_nodes.h"

/* Where this thread runs: its row of distances is the one that counts. The trees
 * below hold if it is node 0, as on nearly every machine. */
static bool on_node_0(void)
{
    return tide_topo_this_node() == 0;
}

START_TEST(lists_become_masks)
{
    static const struct {
        const char *text;
        uint64_t mask;
    } rows[] = {
        {"0", 1},
        {"0\n", 1},
        {"3", 8},
        {"0-3", 15},
        {"0-1,4", 19},
        {"1,3,5-6\n", 0x6a},
        {"63", (uint64_t)1 << 63},
        {"0-63\n", UINT64_MAX},
        {"62-70", (uint64_t)3 << 62},
        {"64", 0},
        {"1024-2047", 0},
        {"5-5", 32},
        {"", 0},
        {"\n", 0},
        {"007", 128},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint64_t mask = 4321;
        ck_assert_msg(tide_topo_parse_list(rows[i].text, &mask) == 0, "'%s'", rows[i].text);
        ck_assert_uint_eq(mask, rows[i].mask);
    }
}
END_TEST

START_TEST(what_is_no_list_is_refused)
{
    static const char *const rows[] = {"x",   "-",      "-1",   "1-",    "3-1",        "1--2",
                                       "0 1", "0x1",    ",1",   "1,,2",  "0-3:1/2",    "1.5",
                                       " 0",  "1-2-3",  "1,-2", "none",  "0-x",        "1;2",
                                       "+1",  "0,\t2 ", "9-8",  "1-2,x", "99999999999"};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint64_t mask;
        ck_assert_msg(tide_topo_parse_list(rows[i], &mask) == -EINVAL, "'%s'", rows[i]);
    }
}
END_TEST

START_TEST(one_node)
{
    struct tide_node node[4];
    memset(node, 0x55, sizeof node);
    unit_put_lists("0", "0", "0");
    unit_put_node(0, 16384, 4096, "10");
    ck_assert_int_eq(tide_topo_read(unit_root, node, 4), 1);
    ck_assert_uint_eq(node[0].id, 0);
    ck_assert(node[0].has_cpu && node[0].has_memory);
    ck_assert_uint_eq(node[0].total, 16384 * 1024);
    ck_assert_uint_eq(node[0].free, 4096 * 1024);
    ck_assert(!on_node_0() || node[0].distance == 10);
    ck_assert_uint_eq(node[1].id, 0x55555555); /* nothing is written behind the last one */
    ck_assert_int_eq(tide_topo_far_node(unit_root, UINT64_MAX), -1);
}
END_TEST

START_TEST(a_node_without_processors_is_far)
{
    struct tide_node node[4];
    unit_put_lists("0-1", "0", "0-1");
    unit_put_node(0, 1000, 500, "10 20");
    unit_put_node(1, 2000, 1500, "20 10");
    ck_assert_int_eq(tide_topo_read(unit_root, node, 4), 2);
    ck_assert(!node[1].has_cpu && node[1].has_memory);
    ck_assert_uint_eq(node[1].total, 2000 * 1024);
    ck_assert(!on_node_0() || (node[0].distance == 10 && node[1].distance == 20));
    ck_assert_int_eq(tide_topo_far_node(unit_root, UINT64_MAX), 1);
}
END_TEST

START_TEST(the_nearest_far_node_is_chosen)
{
    if (!on_node_0())
        return;
    unit_put_lists("0-3", "0-1", "0-3");
    unit_put_node(0, 1000, 500, "10 21 39 17");
    unit_put_node(1, 1000, 500, "21 10 17 39");
    unit_put_node(2, 1000, 500, "39 17 10 50");
    unit_put_node(3, 1000, 500, "17 39 50 10");
    ck_assert_int_eq(tide_topo_far_node(unit_root, UINT64_MAX), 3);
}
END_TEST

START_TEST(ids_need_not_be_dense)
{
    struct tide_node node[4];
    unit_put_lists("0,2,40,63", "0", "0,40,63");
    unit_put_node(0, 1000, 500, "10 255 30 20");
    unit_put_node(2, 0, 0, "255 10 255 255");
    unit_put_node(40, 3000, 2500, "30 255 10 20");
    unit_put_node(63, 4000, 3500, "20 255 20 10");
    ck_assert_int_eq(tide_topo_read(unit_root, node, 4), 4);
    ck_assert_uint_eq(node[1].id, 2);
    ck_assert(!node[1].has_memory && !node[1].has_cpu);
    ck_assert_uint_eq(node[2].id, 40);
    ck_assert_uint_eq(node[3].id, 63);
    ck_assert_uint_eq(node[3].free, 3500 * 1024);
    ck_assert(!on_node_0() || (node[2].distance == 30 && node[3].distance == 20));
    ck_assert(!on_node_0() || tide_topo_far_node(unit_root, UINT64_MAX) == 63);
    ck_assert(tide_topo_has_memory(unit_root, 63));
    ck_assert(!tide_topo_has_memory(unit_root, 2));
}
END_TEST

START_TEST(more_nodes_than_room_are_counted)
{
    struct tide_node node[2];
    memset(node, 0x55, sizeof node);
    unit_put_lists("0-2", "0", "0-2");
    for (unsigned id = 0; id < 3; id++)
        unit_put_node(id, 100, 50, "10 20 30");
    ck_assert_int_eq(tide_topo_read(unit_root, node, 1), 3);
    ck_assert_uint_eq(node[0].total, 100 * 1024);
    ck_assert_uint_eq(node[1].id, 0x55555555);
    ck_assert_int_eq(tide_topo_read(unit_root, NULL, 0), 3);
}
END_TEST

START_TEST(no_files_no_nodes)
{
    struct tide_node node[2];
    errno = 4321;
    ck_assert_int_eq(tide_topo_read(unit_root, node, 2), 0);
    ck_assert_int_eq(tide_topo_read("/nowhere/at/all", node, 2), 0);
    ck_assert_int_eq(tide_topo_far_node("/nowhere/at/all", UINT64_MAX), -1);
    ck_assert(!tide_topo_has_memory("/nowhere/at/all", 0));
    ck_assert_int_eq(errno, 4321);
}
END_TEST

START_TEST(broken_lists_mean_no_knowledge)
{
    struct tide_node node[2];
    unit_put_lists("banana", "0", "0-1");
    ck_assert_int_eq(tide_topo_read(unit_root, node, 2), 0);
    ck_assert_int_eq(tide_topo_far_node(unit_root, UINT64_MAX), -1);
    unit_put_lists("0-1", "0", "0-");
    unit_put_node(0, 1, 1, "10 20");
    unit_put_node(1, 1, 1, "20 10");
    ck_assert_int_eq(tide_topo_far_node(unit_root, UINT64_MAX), -1);
    ck_assert(!tide_topo_has_memory(unit_root, 0));
    ck_assert_int_eq(tide_topo_read(unit_root, node, 2), 2);
    ck_assert(!node[0].has_memory && node[0].has_cpu);
}
END_TEST

/* A machine has a processor somewhere: who cannot read where must not guess that
 * every node is without one, the own node among them. */
START_TEST(unknown_processors_mean_no_far_node)
{
    char path[128];
    unit_put_lists("0-1", "0", "0-1");
    unit_put_node(0, 1, 1, "10 20");
    unit_put_node(1, 1, 1, "20 10");
    ck_assert_int_eq(tide_topo_far_node(unit_root, UINT64_MAX), 1);
    unit_put("has_cpu", "?\n");
    ck_assert_int_eq(tide_topo_far_node(unit_root, UINT64_MAX), -1);
    snprintf(path, sizeof path, "%s/has_cpu", unit_root);
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(tide_topo_far_node(unit_root, UINT64_MAX), -1);
}
END_TEST

START_TEST(broken_node_files_are_zeroes)
{
    struct tide_node node[3];
    unit_put_lists("0-2", "0", "0-2");
    unit_put_node(0, 7, 7, "ten twenty");
    unit_put_node(1, 7, 7, NULL);
    unit_put("node0/meminfo", "Node 0 MemTotal: many kB\n");
    unit_put("node1/meminfo", "%s", "");
    ck_assert_int_eq(tide_topo_read(unit_root, node, 3), 3);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(node[i].id, i);
        ck_assert_uint_eq(node[i].total, 0);
        ck_assert_uint_eq(node[i].free, 0);
        ck_assert(!on_node_0() || node[i].distance == 0);
    }
    int far = tide_topo_far_node(unit_root, UINT64_MAX);
    ck_assert(far == 1 || far == 2);
}
END_TEST

/* A distance that the kernel did not tell must not win against one that it did. */
START_TEST(an_unknown_distance_is_not_the_nearest)
{
    if (!on_node_0())
        return;
    unit_put_lists("0-2", "0", "0-2");
    unit_put_node(0, 7, 7, "10 20");
    unit_put_node(1, 7, 7, "20 10");
    unit_put_node(2, 7, 7, "30 30");
    ck_assert_int_eq(tide_topo_far_node(unit_root, UINT64_MAX), 1);
    unit_put("node0/distance", "10 0 90\n");
    ck_assert_int_eq(tide_topo_far_node(unit_root, UINT64_MAX), 2);
    unit_put("node0/distance", "%s", "");
    ck_assert_int_eq(tide_topo_far_node(unit_root, UINT64_MAX), 1);
}
END_TEST

/* nodeID/accessCLASS/initiators with figures, about node `initiator`. */
static void put_performance(unsigned id, int class, unsigned latency, unsigned bandwidth,
                            unsigned initiator)
{
    char name[128], link[192];
    snprintf(name, sizeof name, "%s/node%u/access%d", unit_root, id, class);
    ck_assert(mkdir(name, 0755) == 0 || errno == EEXIST);
    strcat(name, "/initiators");
    ck_assert(mkdir(name, 0755) == 0 || errno == EEXIST);
    snprintf(link, sizeof link, "%s/node%u", name, initiator);
    ck_assert(symlink("../../../node0", link) == 0 || errno == EEXIST);
    snprintf(name, sizeof name, "node%u/access%d/initiators/read_latency", id, class);
    unit_put(name, "%u\n", latency);
    snprintf(name, sizeof name, "node%u/access%d/initiators/read_bandwidth", id, class);
    unit_put(name, "%u\n", bandwidth);
}

START_TEST(performance_is_that_of_processors)
{
    struct tide_node node[4];
    unsigned here = tide_topo_this_node();
    unit_put_lists("0-3", "0", "0-2");
    for (unsigned id = 0; id < 4; id++)
        unit_put_node(id, 7, 7, "10 20 20 20");
    put_performance(0, 0, 80, 100000, here);
    put_performance(1, 0, 111, 222, here); /* a network card is nearer than a processor */
    put_performance(1, 1, 333, 444, here + 1);
    put_performance(3, 0, 1, 1, here);
    ck_assert_int_eq(tide_topo_read(unit_root, node, 4), 4);
    ck_assert(node[0].latency == 80 && node[0].bandwidth == 100000 && node[0].local);
    ck_assert(node[1].latency == 333 && node[1].bandwidth == 444 && !node[1].local);
    ck_assert(node[2].latency == 0 && node[2].bandwidth == 0 && !node[2].local);
    ck_assert(node[3].latency == 0 && !node[3].local); /* it has no memory */
}
END_TEST

START_TEST(latency_decides_on_the_own_socket)
{
    unsigned here = tide_topo_this_node();
    if (!on_node_0())
        return;
    unit_put_lists("0-3", "0", "0-3");
    unit_put_node(0, 7, 7, "10 20 20 17");
    for (unsigned id = 1; id < 4; id++)
        unit_put_node(id, 7, 7, "20 10 10 10");
    put_performance(1, 0, 400, 1, here);
    put_performance(2, 0, 250, 1, here);
    put_performance(3, 0, 300, 1, here);
    ck_assert_int_eq(tide_topo_far_node(unit_root, UINT64_MAX), 2);
    ck_assert_int_eq(tide_topo_far_node(unit_root, 0xb), 3); /* node 2 is not allowed */
    put_performance(3, 0, 250, 1, here);                     /* as quick: the distance */
    ck_assert_int_eq(tide_topo_far_node(unit_root, UINT64_MAX), 3);
    put_performance(3, 0, 0, 1, here); /* not told */
    ck_assert_int_eq(tide_topo_far_node(unit_root, UINT64_MAX), 2);
}
END_TEST

/* What node 3 is to its own socket says nothing about how far it is from here. */
START_TEST(latency_of_another_socket_does_not_count)
{
    unsigned here = tide_topo_this_node();
    if (!on_node_0())
        return;
    unit_put_lists("0-3", "0-1", "0-3");
    unit_put_node(0, 7, 7, "10 21 24 34");
    for (unsigned id = 1; id < 4; id++)
        unit_put_node(id, 7, 7, "20 10 10 10");
    put_performance(2, 0, 250, 1, here);
    put_performance(3, 0, 200, 1, here + 1);
    ck_assert_int_eq(tide_topo_far_node(unit_root, UINT64_MAX), 2);
    unit_put("node0/distance", "10 21 24 24\n");
    ck_assert_int_eq(tide_topo_far_node(unit_root, UINT64_MAX), 2);
    unit_put("node0/distance", "10 21 24 23\n");
    ck_assert_int_eq(tide_topo_far_node(unit_root, UINT64_MAX), 3);
    unit_put("node0/distance", "%s", "");
    ck_assert_int_eq(tide_topo_far_node(unit_root, UINT64_MAX), 2);
}
END_TEST

START_TEST(has_memory_is_the_kernels_list)
{
    unit_put("has_memory", "0,5-6\n");
    static const bool expect[8] = {true, false, false, false, false, true, true, false};
    for (unsigned id = 0; id < 8; id++)
        ck_assert_int_eq(tide_topo_has_memory(unit_root, id), expect[id]);
    ck_assert(!tide_topo_has_memory(unit_root, 64));
    ck_assert(!tide_topo_has_memory(unit_root, 64 + 5));
    ck_assert(!tide_topo_has_memory(unit_root, UINT_MAX));
}
END_TEST

START_TEST(has_cpu_is_the_kernels_list)
{
    unit_put("has_cpu", "1-2,63\n");
    for (unsigned id = 0; id < 80; id++)
        ck_assert_int_eq(tide_topo_has_cpu(unit_root, id), id == 1 || id == 2 || id == 63);
    ck_assert(!tide_topo_has_cpu(unit_root, 64 + 1));
    ck_assert(!tide_topo_has_cpu(unit_root, UINT_MAX));
    unit_put("has_cpu", "1-\n");
    ck_assert(!tide_topo_has_cpu(unit_root, 1));
    ck_assert(!tide_topo_has_cpu("/nowhere/at/all", 0));
}
END_TEST

START_TEST(the_real_machine_makes_sense)
{
    struct tide_node node[TIDE_TOPO_NODES];
    int count = tide_topo_read(TIDE_TOPO_ROOT, node, TIDE_TOPO_NODES);
    if (access(TIDE_TOPO_ROOT "/online", R_OK) != 0) {
        ck_assert_int_eq(count, 0);
        return;
    }
    ck_assert_int_ge(count, 1);
    bool cpu = false, memory = false;
    for (int i = 0; i < count; i++) {
        ck_assert(i == 0 || node[i].id > node[i - 1].id);
        ck_assert(node[i].free <= node[i].total);
        ck_assert(!node[i].has_memory || node[i].total > 0);
        ck_assert_int_eq(tide_topo_has_memory(TIDE_TOPO_ROOT, node[i].id), node[i].has_memory);
        ck_assert_int_eq(tide_topo_has_cpu(TIDE_TOPO_ROOT, node[i].id), node[i].has_cpu);
        cpu = cpu || node[i].has_cpu;
        memory = memory || node[i].has_memory;
    }
    ck_assert(cpu && memory);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("topo");
    TCase *tcase = tcase_create("topo");
    const TTest *const tests[] = {
        lists_become_masks,
        what_is_no_list_is_refused,
        one_node,
        a_node_without_processors_is_far,
        the_nearest_far_node_is_chosen,
        ids_need_not_be_dense,
        more_nodes_than_room_are_counted,
        no_files_no_nodes,
        broken_lists_mean_no_knowledge,
        unknown_processors_mean_no_far_node,
        broken_node_files_are_zeroes,
        an_unknown_distance_is_not_the_nearest,
        performance_is_that_of_processors,
        latency_decides_on_the_own_socket,
        latency_of_another_socket_does_not_count,
        has_memory_is_the_kernels_list,
        has_cpu_is_the_kernels_list,
        the_real_machine_makes_sense,
    };
    tcase_add_checked_fixture(tcase, unit_nodes_setup, unit_nodes_teardown);
    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++)
        tcase_add_test(tcase, tests[i]);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
