/* test_store.c - files, memfds and devices as memory: what they are, allocating all of
 * them, mapping, sealing, locking. */
#include "box/store.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/syscall.h>

#include "box/store_room.h"
#include "unit_files.h"

enum { SIZE = 1 << 20 };

START_TEST(what_a_name_or_a_descriptor_is)
{
    struct tide_store by_name, by_fd;
    const char *path = unit_path("some");
    unit_make(path, 12345);
    ck_assert_int_eq(tide_store_look(path, &by_name), 0);
    ck_assert_int_eq(by_name.kind, TIDE_STORE_FILE);
    ck_assert_uint_eq(by_name.size, 12345);
    ck_assert_uint_eq(by_name.allocated, 0);
    ck_assert_uint_eq(by_name.huge, 0);
    int fd = tide_store_open(path, false);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
    ck_assert_int_eq(tide_store_stat(fd, &by_fd), 0);
    ck_assert_uint_eq(by_fd.inode, by_name.inode);
    ck_assert_uint_eq(by_fd.device, by_name.device);
    ck_assert_uint_eq(by_fd.size, 12345);
    close(fd);
    ck_assert_int_eq(tide_store_stat(fd, &by_fd), -EBADF);
    ck_assert_int_eq(tide_store_look("/dev/zero", &by_name), 0);
    ck_assert_int_eq(by_name.kind, TIDE_STORE_CHAR);
    ck_assert_uint_eq(by_name.major, 1);
    ck_assert_uint_eq(by_name.minor, 5);
    ck_assert_int_eq(tide_store_look(unit_disk, &by_name), 0);
    ck_assert_int_eq(by_name.kind, TIDE_STORE_OTHER);
    ck_assert_int_eq(tide_store_look(unit_path("none"), &by_name), -ENOENT);
}
END_TEST

START_TEST(a_new_file_is_private_and_new)
{
    struct stat found;
    const char *path = unit_path("new");
    umask(0);
    ck_assert_int_eq(tide_store_open(path, false), -ENOENT);
    int fd = tide_store_open(path, true);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fstat(fd, &found), 0);
    ck_assert_uint_eq(found.st_mode & 07777, 0600);
    close(fd);
    ck_assert_int_eq(tide_store_open(path, true), -EEXIST);
    ck_assert_int_eq(tide_store_unlink(path), 0);
    ck_assert_int_eq(tide_store_unlink(path), -ENOENT);
    ck_assert_int_eq(unit_size(path), -1);
}
END_TEST

START_TEST(nothing_but_a_file_is_removed)
{
    unit_make(unit_path("file"), SIZE);
    ck_assert_int_eq(mkfifo(unit_path("fifo"), 0600), 0);
    ck_assert_int_eq(tide_store_unlink(unit_path("file")), 0);
    ck_assert_int_eq(tide_store_unlink(unit_path("file")), -ENOENT);
    ck_assert_int_eq(unit_size(unit_path("file")), -1);
    ck_assert_int_eq(tide_store_unlink(unit_path("fifo")), -EPERM);
    ck_assert_int_eq(unit_size(unit_path("fifo")), 0); /* it is there */
}
END_TEST

START_TEST(a_file_is_emptied_that_nobody_else_has_locked)
{
    const char *path = unit_path("full");
    unit_make(path, SIZE);
    int fd = tide_store_open(path, false), other = tide_store_open(path, false);
    ck_assert_int_eq(tide_store_lock(other, TIDE_STORE_SHARE), 0);
    ck_assert_int_eq(tide_store_empty(fd), -EAGAIN);
    ck_assert_int_eq(unit_size(path), SIZE);
    close(other);
    ck_assert_int_eq(tide_store_empty(fd), 0);
    ck_assert_int_eq(unit_size(path), 0);
    close(fd);
}
END_TEST

START_TEST(a_sealed_memfd_keeps_its_length)
{
    int fd = tide_store_memfd("unit");
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(tide_store_allocate(fd, SIZE, NULL), 0);
    ck_assert_int_eq(tide_store_seal(fd), 0);
    ck_assert_int_eq(ftruncate(fd, SIZE / 2), -1);
    ck_assert_int_eq(ftruncate(fd, SIZE * 2), -1);
    struct tide_store found;
    ck_assert_int_eq(tide_store_stat(fd, &found), 0);
    ck_assert_uint_eq(found.size, SIZE);
    ck_assert_uint_ge(found.allocated, SIZE);
    close(fd);
}
END_TEST

static void check_allocating(const char *path)
{
    char word[8] = "";
    unit_make(path, SIZE);
    int fd = tide_store_open(path, false);
    UNIT_NEED(fd >= 0 && pwrite(fd, "keep", 4, 300000) == 4 && pwrite(fd, "end", 3, SIZE - 3) == 3);
    UNIT_NEED(tide_store_allocate(fd, 2 * SIZE, NULL) == 0);
    UNIT_NEED(unit_size(path) == 2 * SIZE && unit_is_allocated(path));
    UNIT_NEED(pread(fd, word, 4, 300000) == 4 && memcmp(word, "keep", 4) == 0);
    UNIT_NEED(pread(fd, word, 3, SIZE - 3) == 3 && memcmp(word, "end", 3) == 0);
    UNIT_NEED(tide_store_allocate(fd, SIZE, NULL) == 0 && unit_size(path) == 2 * SIZE);
    close(fd);
}

static void forbid_fallocate(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fallocate, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EOPNOTSUPP),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog program = {sizeof code / sizeof code[0], code};
    UNIT_NEED(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    UNIT_NEED(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

static void without_fallocate(long unused)
{
    (void)unused;
    forbid_fallocate();
    check_allocating(unit_path("slow"));
}

START_TEST(all_blocks_are_there_and_hold_what_they_held)
{
    check_allocating(unit_path("quick"));
    unit_child_ok(without_fallocate, 0);
}
END_TEST

static void over_the_limit(long unused)
{
    struct tide_store_need need;
    const char *path = unit_path("limited");
    (void)unused;
    unit_limit(RLIMIT_FSIZE, SIZE); /* whose signal ends the process */
    int fd = tide_store_open(path, true);
    UNIT_NEED(fd >= 0 && ftruncate(fd, 5000) == 0);
    UNIT_NEED(tide_store_allocate(fd, 2 * SIZE, &need) == -EFBIG);
    UNIT_NEED(need.wanted == 2 * SIZE && need.left == SIZE);
    UNIT_NEED(unit_size(path) == 5000);
    UNIT_NEED(tide_store_allocate(fd, SIZE, NULL) == 0);
}

/* Block by block, up to the limit. */
static void over_the_limit_by_steps(long unused)
{
    forbid_fallocate();
    over_the_limit(unused);
}

START_TEST(what_cannot_be_allocated_is_left_as_it_was)
{
    unit_child_ok(over_the_limit, 0);
    ck_assert_int_eq(unlink(unit_path("limited")), 0);
    unit_child_ok(over_the_limit_by_steps, 0);
}
END_TEST

/* Under a limit that catches it should the library not: the kernel would take memory for the
 * file until its killer comes. */
static void more_than_there_is(long unused)
{
    struct tide_store found;
    (void)unused;
    signal(SIGXFSZ, SIG_IGN);
    unit_limit(RLIMIT_FSIZE, 64 << 20);
    int fd = tide_store_memfd("unit");
    UNIT_NEED(tide_store_allocate(fd, (uint64_t)1 << 60, NULL) == -ENOMEM);
    UNIT_NEED(tide_store_allocate(fd, tide_store_room("") + (64 << 20), NULL) == -ENOMEM);
    UNIT_NEED(tide_store_stat(fd, &found) == 0 && found.size == 0 && found.allocated == 0);
    UNIT_NEED(tide_store_allocate(fd, SIZE, NULL) == 0);
}

START_TEST(a_file_in_memory_does_not_bring_the_killer)
{
    ck_assert_uint_gt(tide_store_room(""), SIZE);
    ck_assert_uint_lt(tide_store_room(""), (uint64_t)1 << 50);
    unit_child_ok(more_than_there_is, 0);
}
END_TEST

static void put(const char *name, const char *text)
{
    char command[600];
    snprintf(command, sizeof command, "mkdir -p $(dirname %s/%s) && printf '%s' >%s/%s", unit_disk,
             name, text, unit_disk, name);
    ck_assert_int_eq(system(command), 0);
}

START_TEST(the_room_is_what_machine_and_groups_leave)
{
    enum { MIB = 1 << 20, KEEP = 4096 / 32 }; /* of 4 GiB, in MiB */
    ck_assert_uint_eq(tide_store_room(unit_path("nowhere")), UINT64_MAX);
    put("proc/meminfo", "MemTotal: 4194304 kB\\nMemFree: 1 kB\\nMemAvailable:  2097152 kB\\n");
    ck_assert_uint_eq(tide_store_room(unit_disk) / MIB, 2048 - KEEP);
    put("proc/self/cgroup", "3:cpu:/x\\n0::/a/b\\n");
    ck_assert_uint_eq(tide_store_room(unit_disk) / MIB, 2048 - KEEP);
    put("sys/fs/cgroup/a/b/memory.max", "max\\n");
    put("sys/fs/cgroup/a/b/memory.current", "104857600\\n");
    ck_assert_uint_eq(tide_store_room(unit_disk) / MIB, 2048 - KEEP);
    put("sys/fs/cgroup/a/memory.max", "1073741824\\n"); /* the group above has a limit */
    put("sys/fs/cgroup/a/memory.current", "536870912\\n");
    ck_assert_uint_eq(tide_store_room(unit_disk) / MIB, 512 - KEEP);
    put("sys/fs/cgroup/a/memory.stat", "anon 5\\ninactive_file 104857600\\nactive_file 7\\n");
    ck_assert_uint_eq(tide_store_room(unit_disk) / MIB, 612 - KEEP);
    put("proc/self/cgroup", "4:memory:/old\\n0::/none\\n");
    put("sys/fs/cgroup/memory/old/memory.limit_in_bytes", "314572800\\n");
    put("sys/fs/cgroup/memory/old/memory.usage_in_bytes", "104857600\\n");
    ck_assert_uint_eq(tide_store_room(unit_disk) / MIB, 200 - KEEP);
    put("sys/fs/cgroup/memory/old/memory.usage_in_bytes", "314572801\\n");
    ck_assert_uint_eq(tide_store_room(unit_disk), 0);
}
END_TEST

START_TEST(two_mappings_are_the_same_memory)
{
    bool sync = true;
    char *at = mmap(NULL, 2 * SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int fd = tide_store_memfd("unit");
    ck_assert_int_eq(tide_store_allocate(fd, 2 * SIZE, NULL), 0);
    ck_assert_int_eq(tide_store_map(at, SIZE, fd, SIZE, &sync), 0);
    ck_assert_int_eq(tide_store_map(at + SIZE, SIZE, fd, SIZE, &sync), 0);
    ck_assert(!sync); /* that is for memory that is a file system */
    strcpy(at + 5000, "here");
    ck_assert_str_eq(at + SIZE + 5000, "here");
    ck_assert_int_eq(at[0], 0);
    ck_assert_int_lt(tide_store_map(at, SIZE, -1, 0, &sync), 0);
    ck_assert_int_lt(tide_store_map(at, SIZE, fd, 100, &sync), 0);
    close(fd);
    munmap(at, 2 * SIZE);
}
END_TEST

START_TEST(locks_keep_others_out)
{
    const char *path = unit_path("lock");
    int one = tide_store_open(path, true), two = tide_store_open(path, false);
    ck_assert_int_eq(tide_store_lock(one, TIDE_STORE_EXCLUDE), 0);
    ck_assert_int_eq(tide_store_lock(two, TIDE_STORE_EXCLUDE), -EAGAIN);
    ck_assert_int_eq(tide_store_lock(one, TIDE_STORE_SHARE), 0);
    ck_assert_int_eq(tide_store_lock(two, TIDE_STORE_SHARE), 0);
    ck_assert_int_eq(tide_store_lock(two, TIDE_STORE_EXCLUDE), -EAGAIN);
    ck_assert_int_eq(tide_store_lock(one, TIDE_STORE_UNLOCK), 0);
    ck_assert_int_eq(tide_store_lock(two, TIDE_STORE_EXCLUDE), 0);
    close(one);
    close(two);
}
END_TEST

int main(void)
{
    const TTest *tests[] = {what_a_name_or_a_descriptor_is,
                            a_new_file_is_private_and_new,
                            nothing_but_a_file_is_removed,
                            a_file_is_emptied_that_nobody_else_has_locked,
                            a_sealed_memfd_keeps_its_length,
                            all_blocks_are_there_and_hold_what_they_held,
                            what_cannot_be_allocated_is_left_as_it_was,
                            a_file_in_memory_does_not_bring_the_killer,
                            the_room_is_what_machine_and_groups_leave,
                            two_mappings_are_the_same_memory,
                            locks_keep_others_out,
                            NULL};
    Suite *suite = suite_create("store");
    TCase *tcase = tcase_create("store");
    tcase_add_checked_fixture(tcase, unit_files_setup, unit_files_teardown);
    for (const TTest *const *test = tests; *test != NULL; test++)
        tcase_add_test(tcase, *test);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
