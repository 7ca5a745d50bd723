/*
 * unit_base.h - what the unit tests of the boxes share: a runner, children whose
 * words are caught, and figures of the process.
 *
 * libcheck runs each test in a process of its own, so that each finds the state of
 * the boxes as it was at start.
 */
#ifndef TESTS_UNIT_BASE_H
#define TESTS_UNIT_BASE_H

#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define UNIT_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define UNIT_SANITIZED 1
#endif
#endif
#ifndef UNIT_SANITIZED
#define UNIT_SANITIZED 0
#endif

/* Without huge pages, which make more memory resident than was touched: some kernels give
 * them to everybody. Children inherit it. */
static inline int unit_run(Suite *suite)
{
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}

/* Registers the tests of a NULL-terminated list and runs them. */
static inline int unit_main(const char *name, const TTest *const *tests)
{
    Suite *suite = suite_create(name);
    TCase *tcase = tcase_create(name);
    for (; *tests != NULL; tests++)
        tcase_add_test(tcase, *tests);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}

/* How a child ended: its exit code, or 128 + the signal; what it said on stderr. */
struct unit_end {
    int code;
    size_t len;
    char text[8192];
};

/* Inside a child: a condition that must hold. ck_assert does not work there. */
#define UNIT_NEED(cond)                                                                            \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            dprintf(2, "%s:%d: needed: %s\n", __FILE__, __LINE__, #cond);                          \
            _exit(99);                                                                             \
        }                                                                                          \
    } while (0)

/* ck_assert_msg for inner loops: a ck_assert that holds is a system call. */
#define UNIT_HOLD(cond, ...)                                                                       \
    do {                                                                                           \
        if (!(cond))                                                                               \
            ck_abort_msg(__VA_ARGS__);                                                             \
    } while (0)

/* What __builtin_trap ends a process by. */
#if defined(__x86_64__)
enum { UNIT_TRAP = SIGILL };
#else
enum { UNIT_TRAP = SIGTRAP };
#endif

/* Where another processor is emulated, the emulator has a line of its own to say when a signal
 * ends the process: that one goes. */
static inline void unit_own_words(char *text)
{
    char *at = strstr(text, "qemu: uncaught target signal"), *end;
    if (at != NULL && (at == text || at[-1] == '\n') && (end = strchr(at, '\n')) != NULL)
        memmove(at, end + 1, strlen(end + 1) + 1);
}

static inline struct unit_end unit_wait(pid_t pid, int fd)
{
    struct unit_end end = {0, 0, ""};
    int status = 0;
    for (ssize_t got = 1; got > 0 && end.len + 1 < sizeof end.text;) {
        got = read(fd, end.text + end.len, sizeof end.text - 1 - end.len);
        end.len += got > 0 ? (size_t)got : 0;
    }
    close(fd);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    unit_own_words(end.text);
    end.len = strlen(end.text);
    end.code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    return end;
}

/* Runs body(arg) in a child process; the child ends with 0 when it returns. */
static inline struct unit_end unit_child(void (*body)(long), long arg)
{
    int ends[2];
    ck_assert_int_eq(pipe(ends), 0);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        dup2(ends[1], 2);
        close(ends[0]);
        close(ends[1]);
        body(arg);
        _exit(0);
    }
    close(ends[1]);
    return unit_wait(pid, ends[0]);
}

/* The child must end well and say nothing. */
static inline void unit_child_ok(void (*body)(long), long arg)
{
    struct unit_end end = unit_child(body, arg);
    ck_assert_msg(end.code == 0 && end.len == 0, "child ended with %d: %s", end.code, end.text);
}

static void (*unit_access_body)(long);

static inline void unit_access_in_child(long at)
{
    signal(SIGSEGV, SIG_DFL);
    signal(SIGBUS, SIG_DFL);
    unit_access_body(at);
}

/* True when body(at) ends a child by SIGSEGV. */
static inline bool unit_faults(void (*body)(long), const volatile void *at)
{
    unit_access_body = body;
    return unit_child(unit_access_in_child, (long)(uintptr_t)at).code == 128 + SIGSEGV;
}

static inline void unit_load(long at)
{
    (void)*(volatile char *)at;
}

static inline void unit_store(long at)
{
    *(volatile char *)at = 1;
}

/* A figure of /proc/self/status ("VmSize", "VmData", ...) in bytes. */
static inline size_t unit_status(const char *name)
{
    char line[256];
    size_t kib = 0;
    FILE *file = fopen("/proc/self/status", "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, name, strlen(name)) == 0 && line[strlen(name)] == ':')
            kib = strtoul(line + strlen(name) + 1, NULL, 10);
    if (file != NULL)
        fclose(file);
    return kib * 1024;
}

/* Resident pages of a range. */
static inline size_t unit_resident(const void *base, size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), count = 0;
    unsigned char there[4096];
    for (size_t at = 0; at < size; at += sizeof there * page) {
        size_t part = size - at < sizeof there * page ? size - at : sizeof there * page;
        if (mincore((char *)base + at, part, there) != 0)
            return SIZE_MAX;
        for (size_t i = 0; i < (part + page - 1) / page; i++)
            count += there[i] & 1;
    }
    return count;
}

static inline void unit_limit(int what, size_t bytes)
{
    struct rlimit limit;
    getrlimit(what, &limit);
    limit.rlim_cur = bytes;
    UNIT_NEED(setrlimit(what, &limit) == 0);
}

static inline uint64_t unit_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

#endif
