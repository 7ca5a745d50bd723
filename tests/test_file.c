/* test_file.c - small files: whole reads and writes in spite of signals, no errno. */
#define _GNU_SOURCE
#include "box/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include "unit_base.h"

enum { KEEP = 4321 };

static char dir[64];

/* A file in a fresh directory; the path is valid until the next call. */
static const char *in_dir(const char *name)
{
    static char path[128];
    if (dir[0] == '\0') {
        strcpy(dir, "/tmp/tide_file_XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(dir));
    }
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static const char *make(const char *name, const char *text)
{
    const char *path = in_dir(name);
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    fputs(text, file);
    fclose(file);
    return path;
}

static void setup(void)
{
    dir[0] = '\0';
    errno = KEEP;
}

static void teardown(void)
{
    const char *const names[] = {"a", "b", "empty", "log", "link"};
    for (size_t i = 0; dir[0] != '\0' && i < sizeof names / sizeof names[0]; i++)
        unlink(in_dir(names[i]));
    rmdir(dir);
}

static int open_descriptors(void)
{
    int count = 0;
    DIR *list = opendir("/proc/self/fd");
    while (readdir(list) != NULL)
        count++;
    closedir(list);
    return count;
}

START_TEST(read_gives_the_whole_file)
{
    char buf[16];
    memset(buf, 'x', sizeof buf);
    ck_assert_int_eq(tide_file_read(make("a", "hello\n"), buf, sizeof buf), 6);
    ck_assert_str_eq(buf, "hello\n");
    ck_assert_int_eq(tide_file_read(make("empty", ""), buf, sizeof buf), 0);
    ck_assert_str_eq(buf, "");
}
END_TEST

START_TEST(read_cuts_at_the_buffer)
{
    char buf[8];
    const char *path = make("a", "0123456789");
    memset(buf, 'x', sizeof buf);
    ck_assert_int_eq(tide_file_read(path, buf, 5), 4);
    ck_assert_mem_eq(buf, "0123\0xxx", 8);
    ck_assert_int_eq(tide_file_read(path, buf, 1), 0);
    ck_assert_mem_eq(buf, "\000123\0xxx", 8);
    ck_assert_int_eq(tide_file_read(make("b", "1234567"), buf, 8), 7);
    ck_assert_str_eq(buf, "1234567");
}
END_TEST

START_TEST(read_goes_on_after_short_reads)
{
    static char buf[1 << 20], again[1 << 20];
    int len = tide_file_read("/proc/self/maps", buf, sizeof buf);
    ck_assert_int_gt(len, 100);
    ck_assert_uint_eq(strlen(buf), (size_t)len);
    /* A pipe gives its bytes in the pieces in which they were written. */
    char path[32];
    int ends[2];
    ck_assert_int_eq(pipe(ends), 0);
    if (fork() == 0) {
        for (int i = 0; i < 10; i++) {
            usleep(3000);
            UNIT_NEED(write(ends[1], "piece ", 6) == 6);
        }
        _exit(0);
    }
    close(ends[1]);
    snprintf(path, sizeof path, "/proc/self/fd/%d", ends[0]);
    ck_assert_int_eq(tide_file_read(path, again, sizeof again), 60);
    ck_assert_mem_eq(again + 48, "piece piece ", 13);
}
END_TEST

START_TEST(read_says_what_is_wrong_and_leaks_nothing)
{
    char buf[16];
    make("a", "text");
    in_dir("none");
    int before = open_descriptors();
    errno = KEEP;
    ck_assert_int_eq(tide_file_read(in_dir("none"), buf, sizeof buf), -ENOENT);
    ck_assert_int_eq(tide_file_read(dir, buf, sizeof buf), -EISDIR);
    ck_assert_int_eq(tide_file_read(in_dir("a/b"), buf, sizeof buf), -ENOTDIR);
    ck_assert_int_eq(tide_file_read(in_dir("a"), buf, sizeof buf), 4);
    ck_assert_int_eq(errno, KEEP);
    ck_assert_int_eq(open_descriptors(), before);
}
END_TEST

START_TEST(opened_files_are_read_only_and_not_inherited)
{
    char buf[8] = "";
    int fd = tide_file_open(make("a", "text"));
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    ck_assert_int_eq(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
    ck_assert_int_eq(tide_file_get(fd, buf, 3), 3);
    ck_assert_int_eq(tide_file_get(fd, buf + 3, 3), 1);
    ck_assert_int_eq(tide_file_get(fd, buf, 3), 0);
    ck_assert_str_eq(buf, "text");
    ck_assert_int_eq(tide_file_put(fd, "x", 1), -EBADF);
    tide_file_close(fd);
    ck_assert_int_eq(fcntl(fd, F_GETFD), -1);
    errno = KEEP;
    ck_assert_int_eq(tide_file_open(in_dir("none")), -ENOENT);
    ck_assert_int_eq(tide_file_get(fd, buf, 1), -EBADF);
    tide_file_close(fd);
    ck_assert_int_eq(errno, KEEP);
}
END_TEST

START_TEST(append_creates_and_never_overwrites)
{
    char buf[32];
    struct stat info;
    umask(0);
    const char *path = in_dir("log");
    int one = tide_file_append(path), two = tide_file_append(path);
    ck_assert(one >= 0 && two >= 0);
    ck_assert_int_eq(fstat(one, &info), 0);
    ck_assert_uint_eq(info.st_mode & 07777, 0644);
    ck_assert_int_eq(fcntl(one, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    ck_assert_int_eq(tide_file_put(one, "one\n", 4), 0);
    ck_assert_int_eq(tide_file_put(two, "two\n", 4), 0);
    ck_assert_int_eq(tide_file_put(one, "three\n", 6), 0);
    tide_file_close(one);
    tide_file_close(two);
    ck_assert_int_eq(tide_file_read(path, buf, sizeof buf), 14);
    ck_assert_str_eq(buf, "one\ntwo\nthree\n");
    ck_assert_int_eq(tide_file_append(in_dir("none/log")), -ENOENT);
    ck_assert_int_eq(tide_file_append(dir), -EISDIR);
}
END_TEST

static _Atomic int *ticks; /* a child sees them, too */

static void tick(int signal)
{
    (void)signal;
    atomic_fetch_add(ticks, 1);
}

static void share_ticks(void)
{
    ticks = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(ticks, MAP_FAILED);
}

/* A timer whose signal interrupts system calls. */
static void start_ticking(void)
{
    struct sigaction action = {.sa_handler = tick};
    struct itimerval every = {{0, 2000}, {0, 2000}};
    ck_assert_int_eq(sigaction(SIGALRM, &action, NULL), 0);
    ck_assert_int_eq(setitimer(ITIMER_REAL, &every, NULL), 0);
}

static void stop_ticking(void)
{
    struct itimerval never = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &never, NULL);
}

START_TEST(get_goes_on_after_a_signal)
{
    int ends[2];
    char c = 0;
    ck_assert_int_eq(pipe(ends), 0);
    share_ticks();
    pid_t pid = fork();
    if (pid == 0) { /* several ticks later, however late the first one is */
        while (atomic_load(ticks) < 5)
            usleep(1000);
        _exit(write(ends[1], "c", 1) != 1);
    }
    start_ticking();
    ck_assert_int_eq(tide_file_get(ends[0], &c, 1), 1);
    stop_ticking();
    ck_assert_int_eq(c, 'c');
    ck_assert_int_ge(*ticks, 5);
    waitpid(pid, NULL, 0);
}
END_TEST

static void read_slowly(int fd)
{
    unsigned char buf[4096];
    size_t total = 0;
    while (atomic_load(ticks) < 5) /* the pipe is full, and a write of nothing yet interrupted */
        usleep(1000);
    for (ssize_t got; (got = read(fd, buf, sizeof buf)) > 0;) {
        for (ssize_t i = 0; i < got; i++, total++)
            UNIT_NEED(buf[i] == (unsigned char)(total * 31 >> 8));
        usleep(1000);
    }
    _exit(total == 1 << 18 ? 0 : 1);
}

START_TEST(put_writes_all_in_spite_of_signals)
{
    static unsigned char data[1 << 18];
    int ends[2], status;
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (unsigned char)(i * 31 >> 8);
    ck_assert_int_eq(pipe(ends), 0);
    fcntl(ends[1], F_SETPIPE_SZ, 4096);
    share_ticks();
    pid_t pid = fork();
    if (pid == 0) {
        close(ends[1]);
        read_slowly(ends[0]);
    }
    close(ends[0]);
    start_ticking();
    ck_assert_int_eq(tide_file_put(ends[1], data, sizeof data), 0);
    stop_ticking();
    close(ends[1]);
    waitpid(pid, &status, 0);
    ck_assert_int_eq(status, 0);
    ck_assert_int_ge(*ticks, 5);
}
END_TEST

START_TEST(put_says_what_is_wrong)
{
    int ends[2];
    signal(SIGPIPE, SIG_IGN);
    ck_assert_int_eq(pipe(ends), 0);
    close(ends[0]);
    errno = KEEP;
    ck_assert_int_eq(tide_file_put(ends[1], "x", 1), -EPIPE);
    ck_assert_int_eq(tide_file_put(-1, "x", 1), -EBADF);
    ck_assert_int_eq(tide_file_put(-1, "x", 0), 0);
    ck_assert_int_eq(errno, KEEP);
}
END_TEST

static void put_to_full(long unused)
{
    (void)unused;
    int fd = tide_file_append("/dev/full");
    UNIT_NEED(fd >= 0);
    UNIT_NEED(tide_file_put(fd, "x", 1) == -ENOSPC);
}

START_TEST(put_to_a_full_device_fails)
{
    if (access("/dev/full", W_OK) == 0)
        unit_child_ok(put_to_full, 0);
}
END_TEST

static void pid_is_mine(long parent)
{
    UNIT_NEED(tide_file_pid() == getpid());
    UNIT_NEED(tide_file_pid() != (int)parent);
}

START_TEST(pid_is_that_of_the_process)
{
    ck_assert_int_eq(tide_file_pid(), getpid());
    unit_child_ok(pid_is_mine, getpid());
}
END_TEST

START_TEST(link_gives_the_target)
{
    char buf[32], path[128];
    strcpy(path, in_dir("link"));
    ck_assert_int_eq(symlink("some/where/else", path), 0);
    errno = KEEP;
    memset(buf, 'x', sizeof buf);
    ck_assert_int_eq(tide_file_link(path, buf, sizeof buf), 15);
    ck_assert_str_eq(buf, "some/where/else");
    memset(buf, 'x', sizeof buf);
    ck_assert_int_eq(tide_file_link(path, buf, 5), 4);
    ck_assert_mem_eq(buf, "some\0xxx", 8);
    ck_assert_int_eq(tide_file_link(in_dir("none"), buf, sizeof buf), -ENOENT);
    ck_assert_str_eq(buf, "");
    ck_assert_int_eq(tide_file_link(dir, buf, sizeof buf), -EINVAL);
    ck_assert_int_eq(errno, KEEP);
}
END_TEST

START_TEST(random_bytes_are_never_the_same)
{
    uint64_t seen[64], mask = 0;
    for (int i = 0; i < 64; i++) {
        seen[i] = 0;
        ck_assert(tide_file_random(&seen[i], sizeof seen[i]));
        mask |= seen[i];
        for (int j = 0; j < i; j++)
            ck_assert_uint_ne(seen[i], seen[j]);
    }
    ck_assert_uint_eq(mask, UINT64_MAX);
    errno = KEEP;
    ck_assert(!tide_file_random(NULL, 8));
    ck_assert_int_eq(errno, KEEP);
}
END_TEST

static void without_getrandom(long unused)
{
    (void)unused;
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getrandom, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof code[0], code};
    uint64_t raw = 0;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        return;
    UNIT_NEED(!tide_file_random(&raw, sizeof raw));
}

START_TEST(random_without_the_system_call_is_false)
{
    unit_child_ok(without_getrandom, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("file");
    TCase *tcase = tcase_create("file");
    const TTest *const tests[] = {
        read_gives_the_whole_file,
        read_cuts_at_the_buffer,
        read_goes_on_after_short_reads,
        read_says_what_is_wrong_and_leaks_nothing,
        opened_files_are_read_only_and_not_inherited,
        append_creates_and_never_overwrites,
        get_goes_on_after_a_signal,
        put_writes_all_in_spite_of_signals,
        put_says_what_is_wrong,
        put_to_a_full_device_fails,
        pid_is_that_of_the_process,
        link_gives_the_target,
        random_bytes_are_never_the_same,
        random_without_the_system_call_is_false,
    };
    tcase_add_checked_fixture(tcase, setup, teardown);
    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++)
        tcase_add_test(tcase, tests[i]);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
