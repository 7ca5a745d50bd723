/*
 * prog_limits_filter.c - malloc inside a sandbox that was closed after the start.
 *
 * prog_limits_filter kill [threads] [-CALL]   every system call but a few ends the process;
 *     threads: with those that libc needs to start threads; -CALL: and this one does so too
 * prog_limits_filter refuse CALL ERROR        one system call fails with EPERM or ENOSYS
 *
 * Threads that were there before work side by side with the main thread, on all tiers.
 */
#define _GNU_SOURCE 1
#include "inject_block.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

enum { WORKERS = 3, SHARE = 800, MOST = 64 };

static const struct call {
    const char *name;
    unsigned number;
} ours[] =
    {
        {"mmap", SYS_mmap},       {"munmap", SYS_munmap}, {"mprotect", SYS_mprotect},
        {"madvise", SYS_madvise}, {"mremap", SYS_mremap}, {"futex", SYS_futex},
},
  ends[] =
      {
          {"write", SYS_write},
          {"exit", SYS_exit},
          {"exit_group", SYS_exit_group},
          {"rt_sigreturn", SYS_rt_sigreturn},
          {"rt_sigprocmask", SYS_rt_sigprocmask},
},
  starts[] = {
      {"clone", SYS_clone},
      {"clone3", SYS_clone3},
      {"set_robust_list", SYS_set_robust_list},
      {"rseq", SYS_rseq},
};

#define COUNT(table) (sizeof(table) / sizeof *(table))

static pthread_barrier_t barrier;
static bool refusing;

static void must(bool done, const char *what)
{
    if (!done && !refusing)
        die("%s gave no memory", what);
}

static void share_of_work(size_t first)
{
    uint64_t state = first;
    for (size_t i = first; i < first + 500; i++)
        must(take(i, mixed_size(&state)), "malloc");
    for (size_t i = first + 500; i < first + 510; i++)
        must(take(i, 1200000 + 1000 * (i - first)), "malloc of much");
    for (size_t i = first + 510; i < first + 600; i++)
        must(take_aligned(i, 64 << i % 8, mixed_size(&state)), "memalign");
    for (size_t i = first; i < first + 600; i += 2)
        drop(i);
    for (size_t i = first; i < first + 300; i += 2)
        must(take_zero(i, mixed_size(&state)), "calloc");
    must(take(first + 600, 1000), "malloc");
    for (size_t size = 1500; size < 5 * MIB && slots[first + 600].at; size += size / 2)
        must(resize(first + 600, size), "realloc");
    for (size_t i = first; i < first + SHARE; i++)
        must_hold(&slots[i]);
}

/* Half of each thread's blocks are freed by the next one. */
static void *work(void *arg)
{
    size_t self = (size_t)arg, next = (self + 1) % (WORKERS + 1);
    if (self > 0) /* libc has started this thread: the sandbox may be closed */
        pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    share_of_work(self * SHARE);
    pthread_barrier_wait(&barrier);
    for (size_t i = next * SHARE; i < next * SHARE + SHARE; i += 2)
        drop(i);
    pthread_barrier_wait(&barrier);
    for (size_t i = self * SHARE; i < self * SHARE + SHARE; i++)
        drop(i);
    return NULL;
}

static void heaps(void)
{
    uint64_t state = 4;
    tide_heap_t *heap = tide_heap_create();
    must(heap, "tide_heap_create");
    for (size_t i = 0; i < 300 && heap; i++) {
        size_t size = i % 100 ? mixed_size(&state) : 2 * MIB;
        errno = 0;
        must(keep(i, tide_heap_malloc(heap, size), size), "tide_heap_malloc");
    }
    check_all();
    for (size_t i = 0; i < 300; i++)
        slots[i].at = NULL;
    tide_heap_destroy(heap);
}

static size_t add(struct sock_filter *code, size_t n, const struct call *table, size_t count,
                  const char *but)
{
    for (size_t i = 0; i < count; i++) {
        if (but && strcmp(but, table[i].name) == 0)
            continue;
        code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, table[i].number, 0, 1);
        code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    }
    return n;
}

/* For all threads of the process. */
static void install(struct sock_filter *code, size_t n)
{
    struct sock_fprog filter = {(unsigned short)n, code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
        syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &filter))
        give_up("seccomp filters are not available");
}

static void kill_others(bool threads, const char *but)
{
    struct sock_filter code[MOST];
    size_t n = 0;
    code[n++] =
        (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    n = add(code, n, ours, COUNT(ours), but);
    n = add(code, n, ends, COUNT(ends), NULL);
    if (threads)
        n = add(code, n, starts, COUNT(starts), NULL);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    install(code, n);
}

static void refuse(const char *name, unsigned error)
{
    struct sock_filter code[4];
    size_t i = 0, n = 0;
    while (i < COUNT(ours) && strcmp(ours[i].name, name))
        i++;
    if (i == COUNT(ours))
        die("no call of that name");
    code[n++] =
        (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ours[i].number, 0, 1);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    refusing = true;
    install(code, n);
}

static void *end_soon(void *arg)
{
    free(do_malloc(3000));
    return arg;
}

int main(int argc, char **argv)
{
    pthread_t thread[WORKERS];
    bool threads = argc > 2 && strcmp(argv[2], "threads") == 0;
    pthread_barrier_init(&barrier, NULL, WORKERS + 1);
    for (size_t i = 0; i < WORKERS; i++)
        thread[i] = start(work, (void *)(i + 1));
    pthread_barrier_wait(&barrier);
    if (argc == 4 && strcmp(argv[1], "refuse") == 0)
        refuse(argv[2], strcmp(argv[3], "EPERM") == 0 ? EPERM : ENOSYS);
    else if (argc > 1 && strcmp(argv[1], "kill") == 0)
        kill_others(threads, argv[argc - 1][0] == '-' ? argv[argc - 1] + 1 : NULL);
    else
        die("arguments");
    work(NULL);
    for (size_t i = 0; i < WORKERS; i++)
        pthread_join(thread[i], NULL);
    heaps();
    for (int i = 0; i < 20 && threads; i++)
        pthread_join(start(end_soon, NULL), NULL);
    malloc_trim(0);
    _exit(0);
}
