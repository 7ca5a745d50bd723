/*
 * inject_trap.h - makes system calls of the library fail, and nobody else's.
 *
 * Owns: a seccomp filter that traps the memory calls made by the text that malloc
 *   is in, and the handler of SIGSYS that lets them pass or makes them fail.
 * Used by: prog_inject_run.c, under the preload or linked with the archive.
 * Not here: what to allocate meanwhile, and whether it went well.
 *
 * The filter cannot be taken off again: children and threads inherit it.
 */
#ifndef TIDE_TEST_INJECT_TRAP_H
#define TIDE_TEST_INJECT_TRAP_H

#include "pitfall.h"

#include <link.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>

enum trap_kind { TRAP_MMAP, TRAP_MPROTECT, TRAP_MADVISE, TRAP_MUNMAP, TRAP_MREMAP, TRAP_OTHER };

enum { TRAP_KINDS = TRAP_OTHER + 1, TRAP_ALL = (1 << TRAP_KINDS) - 1, TRAP_FOR_EVER = 1 << 30 };

/* The calls of each kind; whatever stands behind the last kind is TRAP_OTHER too. */
static const unsigned trap_calls[] = {SYS_mmap,   SYS_mprotect, SYS_madvise, SYS_munmap,
                                      SYS_mremap, SYS_mbind,    SYS_sysinfo, SYS_prlimit64};

enum { TRAP_CALLS = sizeof trap_calls / sizeof *trap_calls };

/* Of the calls of these kinds, counted from 1, number `from` and the `count - 1` after it
 * fail with this error. */
struct trap_plan {
    unsigned kinds, from, count;
    int error;
};

/* Shared with the children. */
struct trap_figures {
    _Atomic bool armed;
    _Atomic unsigned seen; /* calls of the plan's kinds */
    _Atomic unsigned failed;
    _Atomic unsigned calls[TRAP_KINDS];
    _Atomic unsigned nulls; /* requests that got no memory */
    _Atomic size_t anonymous;
};

static struct trap_figures *trap;
static struct trap_plan trap_plan;

static void trap_arm(const struct trap_plan *plan)
{
    trap_plan = *plan;
    trap->seen = trap->failed = trap->nulls = 0;
    for (int i = 0; i < TRAP_KINDS; i++)
        trap->calls[i] = 0;
    trap->armed = true;
}

static void trap_disarm(void)
{
    trap->armed = false;
}

static bool trap_must_fail(unsigned call)
{
    unsigned kind = 0;
    if (!trap->armed)
        return false;
    while (kind < TRAP_OTHER && trap_calls[kind] != call)
        kind++;
    trap->calls[kind]++;
    if ((trap_plan.kinds >> kind & 1) == 0)
        return false;
    unsigned number = ++trap->seen;
    if (number < trap_plan.from || number - trap_plan.from >= trap_plan.count)
        return false;
    trap->failed++;
    return true;
}

/* libc's syscall() is not in the text that the filter is about. */
static void trap_handle(int number, siginfo_t *info, void *context)
{
    int before = errno;
    greg_t *reg = ((ucontext_t *)context)->uc_mcontext.gregs;
    long result = -trap_plan.error;
    (void)number;
    if (!trap_must_fail((unsigned)info->si_syscall)) {
        result = syscall(info->si_syscall, reg[REG_RDI], reg[REG_RSI], reg[REG_RDX], reg[REG_R10],
                         reg[REG_R8], reg[REG_R9]);
        if (result == -1)
            result = -errno;
    }
    reg[REG_RAX] = result;
    errno = before;
}

struct trap_range {
    uintptr_t from, to;
};

/* The executable segment that malloc is in. */
static int trap_visit(struct dl_phdr_info *info, size_t size, void *context)
{
    struct trap_range *range = context;
    (void)size;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        uintptr_t from = info->dlpi_addr + part->p_vaddr;
        if (part->p_type != PT_LOAD || (uintptr_t)malloc - from >= part->p_memsz)
            continue;
        *range = (struct trap_range){from, from + part->p_memsz};
        return 1;
    }
    return 0;
}

enum {
    TRAP_AT_CALL = offsetof(struct seccomp_data, nr),
    TRAP_AT_LOW = offsetof(struct seccomp_data, instruction_pointer),
    TRAP_AT_HIGH = TRAP_AT_LOW + 4
};

#define TRAP_LOAD(at) (struct sock_filter) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, at)
#define TRAP_IF(how, value, yes, no)                                                               \
    (struct sock_filter) BPF_JUMP(BPF_JMP | BPF_##how | BPF_K, value, yes, no)
#define TRAP_END(value) (struct sock_filter) BPF_STMT(BPF_RET | BPF_K, value)

/* False: the kernel allows no filters here. */
static bool trap_filter(const struct trap_range *range)
{
    struct sock_filter code[TRAP_CALLS + 9];
    unsigned short n = 0;
    uint32_t high = (uint32_t)(range->from >> 32);
    code[n++] = TRAP_LOAD(TRAP_AT_CALL);
    for (int i = 0; i < TRAP_CALLS; i++)
        code[n++] = TRAP_IF(JEQ, trap_calls[i], (uint8_t)(TRAP_CALLS - i), 0);
    code[n++] = TRAP_END(SECCOMP_RET_ALLOW);
    code[n++] = TRAP_LOAD(TRAP_AT_HIGH);
    code[n++] = TRAP_IF(JEQ, high, 0, 4);
    code[n++] = TRAP_LOAD(TRAP_AT_LOW);
    code[n++] = TRAP_IF(JGE, (uint32_t)range->from, 0, 2);
    code[n++] = TRAP_IF(JGE, (uint32_t)range->to, 1, 0);
    code[n++] = TRAP_END(SECCOMP_RET_TRAP);
    code[n++] = TRAP_END(SECCOMP_RET_ALLOW);
    struct sock_fprog filter = {n, code};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

/* Sets the trap for this process. A text that lies across a border of 4 GiB, which no
 * comparison of halves can describe, is left by starting anew, elsewhere. */
static void trap_set(char **argv)
{
    struct trap_range range = {0, 0};
    struct sigaction action = {.sa_sigaction = trap_handle, .sa_flags = SA_SIGINFO | SA_NODEFER};
    trap = mmap(NULL, sizeof *trap, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (trap == MAP_FAILED || !dl_iterate_phdr(trap_visit, &range))
        die("the text of malloc is not to be found");
    if (range.from >> 32 != (range.to - 1) >> 32 || (uint32_t)range.to == 0) {
        execv("/proc/self/exe", argv);
        die("exec: errno %d", errno);
    }
    sigaction(SIGSYS, &action, NULL);
    if (!trap_filter(&range))
        give_up("seccomp filters are not available");
}

#endif
