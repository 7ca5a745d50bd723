/* test_counters.c - the page of counters: who can read it, who writes it, and what it says. */
#define _GNU_SOURCE
#include "box/counters.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#include <tidepool/tidepool.h>

#include "box/option.h"
#include "unit_base.h"

enum { BLOCKS = 200, SIZE = 10000, LARGE = 300000 };

static char dir[64];

static void start(const char *value)
{
    ck_assert_int_eq(tide_option_assign("counters", value, false), 0);
    ck_assert_int_eq(tide_counters_start(), 0);
}

/* Descriptors of this process that are nameless pages; the last one in *fd. */
static int pages(int *fd)
{
    char link[128];
    int count = 0;
    DIR *list = opendir("/proc/self/fd");
    for (const struct dirent *entry; (entry = readdir(list)) != NULL;) {
        ssize_t length = readlinkat(dirfd(list), entry->d_name, link, sizeof link - 1);
        link[length > 0 ? length : 0] = '\0';
        if (strstr(link, "memfd:" TIDE_COUNTERS_NAME) == NULL)
            continue;
        count++;
        *fd = atoi(entry->d_name);
    }
    closedir(list);
    return count;
}

/* The page as a reader from outside gets it. */
static struct tide_counters_page outside(int fd)
{
    struct tide_counters_page page;
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int other = open(path, O_RDONLY);
    UNIT_NEED(other >= 0 && pread(other, &page, sizeof page, 0) == (ssize_t)sizeof page);
    close(other);
    return page;
}

/* Time, and a slow path. The next publishing is due in a hundred times of what the last one took;
 * that is long where its thread had to wait for a processor in the middle of it. */
static void let_time_pass(void)
{
    struct timespec pause = {0, 2000000};
    nanosleep(&pause, NULL);
    tide_free(tide_malloc(LARGE));
}

enum { PATIENCE = 40000 /* times 2 ms */ };

/* Slow paths until the page is newer than `than`; false when it never is. */
static bool work(uint64_t than)
{
    for (int i = 0; i < PATIENCE; i++) {
        if (tide_counters_page()->figures.published > than)
            return true;
        let_time_pass();
    }
    return false;
}

START_TEST(without_the_option_there_is_no_page)
{
    int fd;
    ck_assert_int_eq(tide_counters_start(), 0);
    tide_free(tide_malloc(LARGE));
    ck_assert(!atomic_load(&tide_counters_on));
    ck_assert_ptr_null(tide_counters_page());
    ck_assert_int_eq(pages(&fd), 0);
}
END_TEST

START_TEST(the_nameless_page_says_who_and_how)
{
    int fd = -1;
    start("1");
    ck_assert_int_eq(pages(&fd), 1);
    struct tide_counters_page page = outside(fd);
    ck_assert_uint_eq(page.magic, TIDE_COUNTERS_MAGIC);
    ck_assert_mem_eq(&page.magic, "TIDECNT", 8);
    ck_assert_uint_eq(page.version, TIDE_COUNTERS_VERSION);
    ck_assert_uint_eq(page.size, TIDE_COUNTERS_BYTES);
    ck_assert_uint_eq(page.pid, (uint64_t)getpid());
    ck_assert_uint_gt(page.ticks, 0);
    ck_assert_uint_le(page.begun / 1000000000, (uint64_t)time(NULL) + 1);
    ck_assert_str_eq(page.library, TIDE_VERSION_STRING);
    ck_assert_str_eq(page.full, "spill");
    ck_assert_ptr_nonnull(strstr(page.program, "test_counters"));
    ck_assert_uint_gt(strlen(page.source), 0);
    ck_assert_uint_gt(strlen(page.why), 0);
    ck_assert_uint_eq(page.figures.turn % 2, 0);
    ck_assert_uint_eq(page.figures.state, TIDE_COUNTERS_RUNNING);
}
END_TEST

START_TEST(nobody_else_can_write_to_the_nameless_page)
{
    int fd = -1;
    struct stat status;
    char path[64];
    start("1");
    ck_assert_int_eq(pages(&fd), 1);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int other = open(path, O_RDWR);
    ck_assert_int_eq(fstat(fd, &status), 0);
    ck_assert_uint_eq(status.st_mode & 0777, 0600);
    ck_assert_int_eq(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    ck_assert_int_ge(fd, 256);
    ck_assert(pwrite(other, "x", 1, 0) < 0 && errno == EPERM);
    ck_assert(ftruncate(other, 0) < 0 && errno == EPERM);
    ck_assert_ptr_eq(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, other, 0), MAP_FAILED);
    ck_assert_ptr_ne(mmap(NULL, 4096, PROT_READ, MAP_SHARED, other, 0), MAP_FAILED);
    tide_free(tide_malloc(LARGE));
    ck_assert_uint_eq(outside(fd).magic, TIDE_COUNTERS_MAGIC);
    close(other);
}
END_TEST

START_TEST(figures_are_those_of_tide_stats)
{
    static void *block[BLOCKS];
    struct tide_stats stats;
    start("1");
    uint64_t before = tide_counters_page()->figures.stats.mid.live_blocks;
    for (int i = 0; i < BLOCKS; i++)
        ck_assert_ptr_nonnull(block[i] = tide_malloc(SIZE));
    ck_assert(work(tide_counters_page()->figures.published));
    struct tide_counters_figures figures = tide_counters_page()->figures;
    tide_stats(&stats);
    ck_assert_uint_eq(figures.stats.mid.live_blocks, stats.mid.live_blocks);
    ck_assert_uint_eq(figures.stats.mid.mapped_bytes, stats.mid.mapped_bytes);
    ck_assert_uint_eq(figures.stats.mid_near_bytes + figures.stats.mid_far_bytes,
                      stats.mid_near_bytes + stats.mid_far_bytes);
    ck_assert_uint_ge(figures.stats.mid.live_blocks, before + BLOCKS);
    ck_assert_uint_ge(figures.used, figures.stats.mid.mapped_bytes);
    ck_assert_uint_ge(figures.peak, figures.used);
    ck_assert_uint_ge(figures.ranges, 1);
    bool found = false;
    for (uint64_t i = 0; i < figures.ranges; i++)
        found = found || (uintptr_t)block[0] - figures.mid[i].base < figures.mid[i].size;
    ck_assert(found);
    for (int i = 0; i < BLOCKS; i++)
        tide_free(block[i]);
    ck_assert(work(tide_counters_page()->figures.published));
    ck_assert_uint_le(tide_counters_page()->figures.stats.mid.live_blocks, before);
}
END_TEST

/* The pause is a hundred times the cost, at least a millisecond: of many passages in a row
 * few publish. */
START_TEST(publishing_is_rare)
{
    start("1");
    uint64_t before = tide_counters_page()->figures.published;
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (int i = 0; i < 20000; i++)
        tide_free(tide_malloc(LARGE));
    clock_gettime(CLOCK_MONOTONIC, &to);
    uint64_t ms =
        (uint64_t)((to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000);
    ck_assert_uint_le(tide_counters_page()->figures.published - before, ms + 2);
}
END_TEST

/* --- fork -------------------------------------------------------------------------------- */

static void child_has_its_own(long parent)
{
    int fd = -1;
    UNIT_NEED(pages(&fd) == 1);
    UNIT_NEED(outside(fd).pid == (uint64_t)getpid() && outside(fd).pid != (uint64_t)parent);
    UNIT_NEED(outside(fd).magic == TIDE_COUNTERS_MAGIC);
    for (int i = 0; i < BLOCKS; i++)
        UNIT_NEED(tide_malloc(SIZE) != NULL);
    UNIT_NEED(work(tide_counters_page()->figures.published));
    UNIT_NEED(outside(fd).figures.stats.mid.live_blocks >= BLOCKS);
}

START_TEST(a_child_has_a_page_of_its_own)
{
    int fd = -1;
    start("1");
    ck_assert_int_eq(pages(&fd), 1);
    struct tide_counters_figures before = outside(fd).figures;
    unit_child_ok(child_has_its_own, getpid());
    ck_assert_uint_eq(outside(fd).pid, (uint64_t)getpid());
    struct tide_counters_figures after = outside(fd).figures;
    ck_assert_mem_eq(&after, &before, sizeof before);
}
END_TEST

static void child_keeps_strangers(long fd)
{
    struct stat status;
    UNIT_NEED(fstat((int)fd, &status) == 0 && S_ISCHR(status.st_mode)); /* still /dev/null */
    UNIT_NEED(tide_counters_page()->pid == (uint64_t)getpid());
}

START_TEST(a_reused_descriptor_is_left_alone)
{
    int fd = -1;
    start("1");
    ck_assert_int_eq(pages(&fd), 1);
    ck_assert_int_eq(dup2(open("/dev/null", O_RDONLY), fd), fd);
    unit_child_ok(child_keeps_strangers, fd);
}
END_TEST

/* A child that no fork handler knows of must not write to the parent's page. */
START_TEST(a_child_without_handlers_makes_its_page)
{
    int fd = -1, status;
    start("1");
    ck_assert_int_eq(pages(&fd), 1);
    uint64_t before = outside(fd).figures.published;
    pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (pid == 0) {
        for (int i = 0; i < PATIENCE; i++) {
            let_time_pass();
            if (tide_counters_page() != NULL && tide_counters_page()->pid == (uint64_t)getpid())
                _exit(0);
        }
        _exit(1);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
    ck_assert_uint_eq(outside(fd).figures.published, before);
    ck_assert_uint_eq(outside(fd).pid, (uint64_t)getpid());
}
END_TEST

/* --- files -------------------------------------------------------------------------------- */

static const char *own_file(void)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/" TIDE_COUNTERS_FILE "%d", dir, getpid());
    return path;
}

static void in_directory(void)
{
    strcpy(dir, "/tmp/tide_counters_XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
}

static void out_of_directory(void)
{
    char path[512];
    DIR *list = opendir(dir);
    for (const struct dirent *entry; (entry = readdir(list)) != NULL;) {
        snprintf(path, sizeof path, "%s/%s", dir, entry->d_name);
        unlink(path);
    }
    closedir(list);
    rmdir(dir);
}

START_TEST(a_directory_gets_a_file_for_the_owner)
{
    struct stat status;
    int fd;
    umask(0);
    start(dir);
    ck_assert_int_eq(lstat(own_file(), &status), 0);
    ck_assert_uint_eq(status.st_mode, S_IFREG | 0600);
    ck_assert_int_eq(status.st_size, TIDE_COUNTERS_BYTES);
    ck_assert_int_eq(pages(&fd), 0);
    fd = open(own_file(), O_RDONLY);
    ck_assert_uint_eq(outside(fd).pid, (uint64_t)getpid());
    close(fd);
}
END_TEST

START_TEST(a_planted_link_is_not_followed)
{
    char victim[128];
    struct stat status;
    snprintf(victim, sizeof victim, "%s/victim", dir);
    int fd = open(victim, O_WRONLY | O_CREAT, 0644);
    ck_assert_int_eq((int)write(fd, "precious", 8), 8);
    close(fd);
    ck_assert_int_eq(symlink(victim, own_file()), 0);
    start(dir);
    ck_assert_int_eq(stat(victim, &status), 0);
    ck_assert_int_eq(status.st_size, 8);
    ck_assert_int_eq(lstat(own_file(), &status), 0);
    ck_assert(S_ISREG(status.st_mode)); /* the link was ours to take away */
}
END_TEST

START_TEST(an_older_file_is_not_written_to)
{
    char other[160];
    struct stat status;
    int fd = open(own_file(), O_WRONLY | O_CREAT, 0666);
    ck_assert_int_eq((int)write(fd, "old", 3), 3);
    snprintf(other, sizeof other, "%s/second-name", dir);
    ck_assert_int_eq(link(own_file(), other), 0);
    start(dir);
    ck_assert_int_eq(stat(other, &status), 0);
    ck_assert_int_eq(status.st_size, 3);
    ck_assert_int_eq(stat(own_file(), &status), 0);
    ck_assert_int_eq(status.st_size, TIDE_COUNTERS_BYTES);
    close(fd);
}
END_TEST

START_TEST(a_bad_directory_is_an_error_and_no_page)
{
    char none[128];
    snprintf(none, sizeof none, "%s/none", dir);
    ck_assert_int_eq(tide_option_assign("counters", none, false), 0);
    ck_assert_int_eq(tide_counters_start(), -ENOENT);
    ck_assert_ptr_null(tide_counters_page());
    tide_free(tide_malloc(LARGE));
    ck_assert_int_eq(tide_option_assign("counters", "2", false), -EINVAL);
    ck_assert_int_eq(tide_option_assign("counters", "relative/dir", false), -EINVAL);
    ck_assert_int_eq(tide_option_assign("counters", "", false), -EINVAL);
}
END_TEST

static void work_and_exit(long unused)
{
    (void)unused;
    for (int i = 0; i < BLOCKS; i++)
        UNIT_NEED(tide_malloc(SIZE) != NULL);
    exit(0);
}

START_TEST(exit_leaves_the_last_figures)
{
    start(dir);
    struct tide_counters_page page;
    int found = 0;
    struct unit_end end = unit_child(work_and_exit, 0);
    ck_assert_int_eq(end.code, 0);
    DIR *list = opendir(dir);
    for (const struct dirent *entry; (entry = readdir(list)) != NULL;) {
        int fd = openat(dirfd(list), entry->d_name, O_RDONLY | O_CLOEXEC);
        if (read(fd, &page, sizeof page) == (ssize_t)sizeof page &&
            page.pid != (uint64_t)getpid()) {
            found++;
            ck_assert_uint_eq(page.figures.state, TIDE_COUNTERS_ENDED);
            ck_assert_uint_ge(page.figures.stats.mid.live_blocks, BLOCKS);
        }
        close(fd);
    }
    closedir(list);
    ck_assert_int_eq(found, 1);
    ck_assert_uint_eq(tide_counters_page()->figures.state, TIDE_COUNTERS_RUNNING);
}
END_TEST

int main(void)
{
    const TTest *const plain[] = {without_the_option_there_is_no_page,
                                  the_nameless_page_says_who_and_how,
                                  nobody_else_can_write_to_the_nameless_page,
                                  figures_are_those_of_tide_stats,
                                  publishing_is_rare,
                                  a_child_has_a_page_of_its_own,
                                  a_reused_descriptor_is_left_alone,
                                  a_child_without_handlers_makes_its_page,
                                  NULL};
    const TTest *const named[] = {
        a_directory_gets_a_file_for_the_owner, a_planted_link_is_not_followed,
        an_older_file_is_not_written_to,       a_bad_directory_is_an_error_and_no_page,
        exit_leaves_the_last_figures,          NULL};
    Suite *suite = suite_create("counters");
    TCase *nameless = tcase_create("nameless"), *files = tcase_create("files");
    for (int i = 0; plain[i] != NULL; i++)
        tcase_add_test(nameless, plain[i]);
    for (int i = 0; named[i] != NULL; i++)
        tcase_add_test(files, named[i]);
    tcase_add_checked_fixture(files, in_directory, out_of_directory);
    suite_add_tcase(suite, nameless);
    suite_add_tcase(suite, files);
    return unit_run(suite);
}
