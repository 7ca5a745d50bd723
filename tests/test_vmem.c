/* test_vmem.c - address space and pages: what the kernel answers, and no errno. */
#include "box/topo.h"
#include "box/vmem.h"

#include <linux/mempolicy.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "unit_base.h"

enum { SIZE = 1 << 20, KEEP = 4321 };

/* errno is a number nobody else uses, and must be so at the end of each test. */
static void errno_set(void)
{
    errno = KEEP;
}

static void errno_kept(void)
{
    ck_assert_int_eq(errno, KEEP);
}

static bool is_zero(const char *at, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (at[i] != 0)
            return false;
    return true;
}

START_TEST(reserved_space_cannot_be_touched)
{
    char *base = tide_vmem_reserve(SIZE);
    ck_assert_ptr_nonnull(base);
    ck_assert_uint_eq((uintptr_t)base % tide_vmem_page_size(), 0);
    ck_assert(unit_faults(unit_load, base));
    ck_assert(unit_faults(unit_store, base + SIZE - 1));
    ck_assert_int_eq(tide_vmem_unmap(base, SIZE), 0);
}
END_TEST

START_TEST(reserving_costs_no_memory)
{
    size_t before = unit_status("VmData");
    char *base = tide_vmem_reserve((size_t)1 << 40);
    ck_assert_ptr_nonnull(base);
    ck_assert_uint_lt(unit_status("VmData") - before, SIZE);
    ck_assert_int_eq(tide_vmem_unmap(base, (size_t)1 << 40), 0);
}
END_TEST

START_TEST(impossible_sizes_give_null)
{
    errno_set();
    ck_assert_ptr_null(tide_vmem_reserve((size_t)1 << 62));
    ck_assert_ptr_null(tide_vmem_reserve(SIZE_MAX));
    ck_assert_ptr_null(tide_vmem_reserve(0));
    ck_assert_ptr_null(tide_vmem_map((size_t)1 << 62));
    ck_assert_ptr_null(tide_vmem_map(SIZE_MAX));
    ck_assert_ptr_null(tide_vmem_map(0));
    errno_kept();
}
END_TEST

START_TEST(committed_pages_are_zero_and_writable)
{
    size_t page = tide_vmem_page_size();
    char *base = tide_vmem_reserve(SIZE);
    ck_assert_int_eq(tide_vmem_commit(base, 2 * page), 0);
    ck_assert(is_zero(base, 2 * page));
    memset(base, 0x5a, 2 * page);
    ck_assert_int_eq(tide_vmem_commit(base, 4 * page), 0);
    ck_assert(base[0] == 0x5a && base[2 * page - 1] == 0x5a);
    ck_assert(is_zero(base + 2 * page, 2 * page));
    ck_assert(unit_faults(unit_load, base + 4 * page));
    tide_vmem_unmap(base, SIZE);
}
END_TEST

START_TEST(opened_pages_are_zero_and_not_writable)
{
    char *base = tide_vmem_reserve(SIZE);
    ck_assert_int_eq(tide_vmem_open(base, SIZE), 0);
    ck_assert(is_zero(base, SIZE));
    ck_assert(unit_faults(unit_store, base));
    ck_assert_int_eq(tide_vmem_commit(base, SIZE), 0);
    memset(base, 1, SIZE);
    tide_vmem_unmap(base, SIZE);
}
END_TEST

START_TEST(commit_and_open_say_what_is_wrong)
{
    char *base = tide_vmem_reserve(SIZE);
    tide_vmem_unmap(base, SIZE);
    errno_set();
    ck_assert_int_eq(tide_vmem_commit(base, SIZE), -ENOMEM);
    ck_assert_int_eq(tide_vmem_open(base, SIZE), -ENOMEM);
    ck_assert_int_eq(tide_vmem_commit(base + 1, SIZE), -EINVAL);
    ck_assert_int_eq(tide_vmem_open(base + 1, SIZE), -EINVAL);
    errno_kept();
}
END_TEST

START_TEST(mapped_memory_is_zero_until_unmapped)
{
    char *base = tide_vmem_map(SIZE);
    ck_assert_ptr_nonnull(base);
    ck_assert(is_zero(base, SIZE));
    memset(base, 0xff, SIZE);
    ck_assert_int_eq(tide_vmem_unmap(base, SIZE), 0);
    ck_assert(unit_faults(unit_load, base));
    errno_set();
    ck_assert_int_eq(tide_vmem_unmap(base + 1, SIZE), -EINVAL);
    ck_assert_int_eq(tide_vmem_unmap(base, 0), -EINVAL);
    errno_kept();
}
END_TEST

static void count_up(uint32_t *words, size_t bytes)
{
    for (size_t i = 0; i < bytes / sizeof *words; i++)
        words[i] = (uint32_t)i;
}

static bool counts_up(const uint32_t *words, size_t bytes)
{
    for (size_t i = 0; i < bytes / sizeof *words; i++)
        if (words[i] != (uint32_t)i)
            return false;
    return true;
}

START_TEST(remap_takes_the_contents_along)
{
    size_t page = tide_vmem_page_size();
    char *base = tide_vmem_map(SIZE + page);
    /* A page that nothing may grow over: the mapping has to move. */
    ck_assert_int_eq(tide_vmem_unmap(base + SIZE, page), 0);
    char *wall = mmap(base + SIZE, page, PROT_NONE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    ck_assert_ptr_eq(wall, base + SIZE);
    count_up((uint32_t *)base, SIZE);
    char *moved = tide_vmem_remap(base, SIZE, 4 * SIZE);
    ck_assert_ptr_nonnull(moved);
    ck_assert_ptr_ne(moved, base);
    ck_assert(counts_up((uint32_t *)moved, SIZE));
    ck_assert(is_zero(moved + SIZE, 3 * SIZE));
    ck_assert(unit_faults(unit_load, base));
    ck_assert_ptr_eq(tide_vmem_remap(moved, 4 * SIZE, SIZE / 2), moved);
    ck_assert(counts_up((uint32_t *)moved, SIZE / 2));
    ck_assert(unit_faults(unit_load, moved + SIZE / 2));
}
END_TEST

START_TEST(remap_that_fails_leaves_the_mapping)
{
    char *base = tide_vmem_map(SIZE);
    count_up((uint32_t *)base, SIZE);
    errno_set();
    ck_assert_ptr_null(tide_vmem_remap(base, SIZE, (size_t)1 << 62));
    ck_assert_ptr_null(tide_vmem_remap(base, SIZE, 0));
    ck_assert_ptr_null(tide_vmem_remap(base + 1, SIZE, 2 * SIZE));
    errno_kept();
    ck_assert(counts_up((uint32_t *)base, SIZE));
}
END_TEST

START_TEST(decommitted_pages_are_gone_and_zero)
{
    size_t pages = SIZE / tide_vmem_page_size();
    char *base = tide_vmem_map(SIZE);
    memset(base, 7, SIZE);
    ck_assert_uint_eq(unit_resident(base, SIZE), pages);
    ck_assert_int_eq(tide_vmem_decommit(base, SIZE / 2), 0);
    ck_assert_uint_eq(unit_resident(base, SIZE), pages / 2);
    ck_assert(is_zero(base, SIZE / 2));
    ck_assert(base[SIZE / 2] == 7 && base[SIZE - 1] == 7);
}
END_TEST

START_TEST(decommit_says_what_is_wrong)
{
    size_t page = tide_vmem_page_size();
    char *base = tide_vmem_map(2 * page);
    memset(base, 7, 2 * page);
    errno_set();
    ck_assert_int_eq(tide_vmem_decommit(base + 1, page), -EINVAL);
    if (syscall(SYS_mlock, base, page) == 0) { /* the sanitizers' mlock does nothing */
        ck_assert_int_eq(tide_vmem_decommit(base, page), -EINVAL);
        ck_assert_int_eq(base[0], 7);
    }
    tide_vmem_unmap(base, 2 * page);
    errno = KEEP; /* mlock may fail */
    ck_assert_int_eq(tide_vmem_decommit(base, page), -ENOMEM);
    errno_kept();
}
END_TEST

static void need_zeroes(long at)
{
    const char *base = (const char *)at;
    UNIT_NEED(base[0] == 0 && base[8191] == 0);
    UNIT_NEED(base[8192] == 7);
}

START_TEST(forgotten_pages_are_zero_in_a_child_only)
{
    char *base = tide_vmem_map(12288);
    memset(base, 7, 12288);
    ck_assert_int_eq(tide_vmem_advise(base, 8192, TIDE_VMEM_FORGET), 0);
    unit_child_ok(need_zeroes, (long)base);
    ck_assert_int_eq(base[0], 7);
    ck_assert_int_eq(tide_vmem_advise(base + 1, 4096, TIDE_VMEM_FORGET), -EINVAL);
    ck_assert_int_eq(tide_vmem_unmap(base, 12288), 0);
}
END_TEST

START_TEST(figures_of_the_machine)
{
    for (int i = 0; i < 2; i++) /* the second answer is a kept one */
        ck_assert_uint_eq(tide_vmem_page_size(), (size_t)sysconf(_SC_PAGESIZE));
    ck_assert_uint_eq(tide_vmem_physical(),
                      (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE));
    char path[64];
    snprintf(path, sizeof path, "/sys/devices/system/node/node%u", tide_topo_this_node());
    ck_assert(access("/sys/devices/system/node", F_OK) != 0 || access(path, F_OK) == 0);
}
END_TEST

/* The smaller of two limits, as it was at the first question. */
static void limit_is_seen(long which)
{
    size_t high = ((size_t)100 << 40) + 4096;
    unit_limit(RLIMIT_AS, which == 1 ? high : RLIM_INFINITY);
    unit_limit(RLIMIT_DATA, which == 2 ? high : RLIM_INFINITY);
    UNIT_NEED(tide_vmem_limit() == (which == 0 ? SIZE_MAX : high));
    unit_limit(RLIMIT_AS, high - 4096);
    UNIT_NEED(tide_vmem_limit() == (which == 0 ? SIZE_MAX : high));
}

static void limit_is_obeyed(long unused)
{
    (void)unused;
    unit_limit(RLIMIT_AS, unit_status("VmSize") + 4 * SIZE);
    errno = KEEP;
    char *base = tide_vmem_map(SIZE);
    UNIT_NEED(base != NULL);
    UNIT_NEED(tide_vmem_reserve(8 * SIZE) == NULL);
    UNIT_NEED(tide_vmem_map(8 * SIZE) == NULL);
    UNIT_NEED(tide_vmem_remap(base, SIZE, 16 * SIZE) == NULL);
    UNIT_NEED(errno == KEEP);
    base[SIZE - 1] = 1;
}

/* The flags of the mapping at this address, out of smaps; false if it has none of this name. */
static bool mapping_has(const char *base, const char *flag)
{
    char line[512], start[32];
    bool here = false, has = false;
    FILE *maps = fopen("/proc/self/smaps", "r");
    ck_assert_ptr_nonnull(maps);
    snprintf(start, sizeof start, "%lx-", (unsigned long)base);
    while (fgets(line, sizeof line, maps) != NULL) {
        if (strncmp(line, start, strlen(start)) == 0)
            here = true;
        if (here && strncmp(line, "VmFlags:", 8) == 0) {
            has = strstr(line, flag) != NULL;
            break;
        }
    }
    fclose(maps);
    return has;
}

START_TEST(huge_pages_are_asked_for)
{
    char *base = tide_vmem_map(SIZE);
    ck_assert(!mapping_has(base, " hg"));
    int result = tide_vmem_advise(base, SIZE, TIDE_VMEM_HUGE);
    if (access("/sys/kernel/mm/transparent_hugepage/enabled", F_OK) != 0)
        ck_assert_int_eq(result, -EINVAL);
    else
        ck_assert(result == 0 && mapping_has(base, " hg"));
    ck_assert_int_eq(tide_vmem_advise(base + 1, 4096, TIDE_VMEM_HUGE), -EINVAL);
    ck_assert_int_eq(tide_vmem_unmap(base, SIZE), 0);
}
END_TEST

/* Page faults while one byte of each page is read. */
static long faults_of(const volatile char *base)
{
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    for (size_t i = 0; i < SIZE; i += 4096)
        (void)base[i];
    getrusage(RUSAGE_SELF, &after);
    return after.ru_minflt - before.ru_minflt;
}

START_TEST(fetched_pages_are_there)
{
    char *base = tide_vmem_map(SIZE), *other = tide_vmem_map(SIZE);
    madvise(base, SIZE, MADV_NOHUGEPAGE); /* which would come for both at once */
    madvise(other, SIZE, MADV_NOHUGEPAGE);
    errno = KEEP; /* a kernel without huge pages does not know that */
    int result = tide_vmem_advise(base, SIZE, TIDE_VMEM_FETCH);
    ck_assert_int_eq(tide_vmem_advise(base + 1, 4096, TIDE_VMEM_FETCH), -EINVAL);
    if (result == 0)
        ck_assert_int_lt(faults_of(base), faults_of(other));
    else
        ck_assert_int_eq(result, -EINVAL); /* Linux before 5.14 */
    ck_assert_int_eq(tide_vmem_unmap(base, SIZE), 0);
    ck_assert_int_eq(tide_vmem_unmap(other, SIZE), 0);
}
END_TEST

START_TEST(the_limit_of_address_space)
{
    for (long which = 0; which < 3; which++)
        unit_child_ok(limit_is_seen, which);
    unit_child_ok(limit_is_obeyed, 0);
}
END_TEST

/* The same address again, in another thread that waits for nobody: no race for TSan. */
static void *reader(void *out)
{
    char *base = tide_vmem_map(SIZE);
    char sum = 0;
    for (size_t i = 0; base != NULL && i < SIZE; i += 64)
        sum = (char)(sum + base[i]);
    ck_assert_int_eq(sum, 0);
    ck_assert_int_eq(tide_vmem_unmap(base, SIZE), 0);
    __atomic_store_n((char **)out, base, __ATOMIC_RELAXED);
    return NULL;
}

START_TEST(memory_that_comes_back_is_new)
{
    int same = 0;
    for (int i = 0; i < 10; i++) {
        pthread_t thread;
        char *before = NULL;
        ck_assert_int_eq(pthread_create(&thread, NULL, reader, &before), 0);
        while (__atomic_load_n(&before, __ATOMIC_RELAXED) == NULL)
            sched_yield();
        char *base = tide_vmem_map(SIZE);
        same += base == __atomic_load_n(&before, __ATOMIC_RELAXED);
        memset(base, 1, SIZE);
        ck_assert_int_eq(tide_vmem_unmap(base, SIZE), 0);
        pthread_join(thread, NULL);
    }
    ck_assert(same > 0 || UNIT_SANITIZED); /* what ASan keeps there is in the way */
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {reserved_space_cannot_be_touched,
                                  reserving_costs_no_memory,
                                  impossible_sizes_give_null,
                                  committed_pages_are_zero_and_writable,
                                  opened_pages_are_zero_and_not_writable,
                                  commit_and_open_say_what_is_wrong,
                                  mapped_memory_is_zero_until_unmapped,
                                  remap_takes_the_contents_along,
                                  remap_that_fails_leaves_the_mapping,
                                  decommitted_pages_are_gone_and_zero,
                                  decommit_says_what_is_wrong,
                                  forgotten_pages_are_zero_in_a_child_only,
                                  huge_pages_are_asked_for,
                                  fetched_pages_are_there,
                                  figures_of_the_machine,
                                  the_limit_of_address_space,
                                  memory_that_comes_back_is_new,
                                  NULL};
    return unit_main("vmem", tests);
}
