/* test_numa.c - policies on ranges, where pages are, moving them, bringing them in.
 *
 * A machine without NUMA or a container's filter refuses some calls; then what is left
 * to see is that nothing else happens. */
#include "box/numa.h"

#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "box/topo.h"
#include "unit_base.h"

enum { SIZE = 1 << 20, PAGES = SIZE / 4096 };

static char *fresh(void)
{
    char *base = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(base, MAP_FAILED);
    return base;
}

/* The kernel's own word on the policy of an address. */
static int policy_at(const void *p, unsigned long *nodes)
{
    unsigned long mask[16] = {0};
    int mode = -1;
    if (syscall(SYS_get_mempolicy, &mode, mask, 1024L, p, MPOL_F_ADDR) != 0)
        return -1;
    *nodes = mask[0];
    return mode;
}

static uint64_t here(void)
{
    return (uint64_t)1 << tide_topo_this_node();
}

START_TEST(a_range_gets_the_policy_asked_for)
{
    static const struct {
        enum tide_numa_how how;
        int mode;
    } rows[] = {{TIDE_NUMA_PREFER, MPOL_PREFERRED}, {TIDE_NUMA_INTERLEAVE, MPOL_INTERLEAVE}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *base = fresh();
        unsigned long nodes = 0;
        int ret = tide_numa_place(base, SIZE, rows[i].how, here(), 0);
        if (ret == -ENOSYS || ret == -EPERM)
            return;
        ck_assert_int_eq(ret, 0);
        ck_assert_int_eq(policy_at(base + SIZE - 1, &nodes) & 0xff, rows[i].mode);
        ck_assert_uint_eq(nodes, here());
        memset(base, 1, SIZE);
        ck_assert_int_eq(tide_numa_place(base, SIZE, TIDE_NUMA_DEFAULT, 0, 0), 0);
        ck_assert_int_eq(policy_at(base, &nodes), MPOL_DEFAULT);
    }
}
END_TEST

/* No row of the table binds: under MPOL_BIND a full node kills. */
START_TEST(nothing_ever_binds)
{
    for (int how = TIDE_NUMA_DEFAULT; how <= TIDE_NUMA_WEIGHTED; how++) {
        char *base = fresh();
        unsigned long nodes = 0;
        tide_numa_place(base, SIZE, (enum tide_numa_how)how, here(), here());
        ck_assert_int_ne(policy_at(base, &nodes) & 0xff, MPOL_BIND);
        memset(base, 1, SIZE);
        munmap(base, SIZE);
    }
}
END_TEST

START_TEST(absent_nodes_and_odd_ranges_are_refused)
{
    char *base = fresh();
    uint64_t absent = ~tide_numa_allowed();
    errno = 4321;
    ck_assert_int_lt(tide_numa_place(base, SIZE, TIDE_NUMA_PREFER, 0, 0), 0);
    ck_assert_int_lt(tide_numa_place(base + 1, SIZE, TIDE_NUMA_PREFER, here(), 0), 0);
    if (absent != UINT64_MAX)
        ck_assert_int_lt(tide_numa_place(base, SIZE, TIDE_NUMA_INTERLEAVE, absent, 0), 0);
    ck_assert_int_eq(errno, 4321);
    memset(base, 1, SIZE); /* and the memory is none the worse */
}
END_TEST

START_TEST(the_allowed_nodes_hold_the_own_one)
{
    uint64_t allowed = tide_numa_allowed();
    ck_assert(allowed == 0 || (allowed & here()) != 0);
}
END_TEST

START_TEST(an_inherited_policy_is_seen)
{
    unsigned long mask = here();
    ck_assert(!tide_numa_inherited());
    if (syscall(SYS_set_mempolicy, MPOL_PREFERRED, &mask, 65L) != 0)
        return;
    ck_assert(tide_numa_inherited());
    ck_assert_int_eq(syscall(SYS_set_mempolicy, MPOL_DEFAULT, NULL, 0L), 0);
    ck_assert(!tide_numa_inherited());
}
END_TEST

START_TEST(where_tells_resident_pages_from_absent_ones)
{
    char *base = fresh();
    void *page[3] = {base, base + 4096, base + 8192};
    int node[3] = {99, 99, 99};
    base[0] = base[8192] = 1;
    int ret = tide_numa_where(page, 3, node);
    if (ret == -ENOSYS || ret == -EPERM)
        return;
    ck_assert_int_eq(ret, 0);
    ck_assert_int_ge(node[0], 0);
    ck_assert_int_ge(node[2], 0);
    ck_assert_int_lt(node[1], 0);
    ck_assert_int_eq(tide_numa_where(page, (size_t)1 << 40, node), -EINVAL);
}
END_TEST

START_TEST(moving_to_where_a_page_is_changes_nothing)
{
    char *base = fresh();
    void *page[1] = {base};
    int node[1] = {99}, want[1], got[1] = {99};
    base[0] = 77;
    if (tide_numa_where(page, 1, node) != 0)
        return;
    want[0] = node[0];
    ck_assert_int_eq(tide_numa_move(page, 1, want, got), 0);
    ck_assert_int_eq(got[0], node[0]);
    ck_assert_int_eq(base[0], 77);
}
END_TEST

START_TEST(populate_brings_every_page_in_and_keeps_it)
{
    char *base = fresh();
    base[5000] = 42;
    ck_assert_int_eq(tide_numa_populate(base, SIZE), 0);
    ck_assert_uint_eq(unit_resident(base, SIZE), PAGES);
    ck_assert_int_eq(base[5000], 42);
    ck_assert_int_eq(base[4096], 0);
    ck_assert_int_eq(mprotect(base, 4096, PROT_NONE), 0);
    ck_assert_int_lt(tide_numa_populate(base, SIZE), 0); /* told, not a crash */
}
END_TEST

START_TEST(huge_pages_are_a_wish)
{
    char *base = fresh();
    for (int wanted = 0; wanted < 2; wanted++) {
        int ret = tide_numa_huge(base, SIZE, wanted);
        ck_assert(ret == 0 || ret == -EINVAL); /* a kernel built without them */
    }
    memset(base, 1, SIZE);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {a_range_gets_the_policy_asked_for,
                                  nothing_ever_binds,
                                  absent_nodes_and_odd_ranges_are_refused,
                                  the_allowed_nodes_hold_the_own_one,
                                  an_inherited_policy_is_seen,
                                  where_tells_resident_pages_from_absent_ones,
                                  moving_to_where_a_page_is_changes_nothing,
                                  populate_brings_every_page_in_and_keeps_it,
                                  huge_pages_are_a_wish,
                                  NULL};
    return unit_main("numa", tests);
}
