/*
 * prog_pitfall_seccomp.c - runs a program for which system calls that malloc
 * can do without fail.
 *
 * prog_pitfall_seccomp EPERM|ENOSYS PROGRAM [ARGUMENT...]
 */
#define _GNU_SOURCE 1
#include "pitfall.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

static const unsigned refused[] = {
    SYS_madvise,           SYS_mbind,         SYS_set_mempolicy,   SYS_get_mempolicy,
    SYS_move_pages,        SYS_migrate_pages, SYS_membarrier,      SYS_getcpu,
    SYS_sched_getaffinity, SYS_mlock,         SYS_userfaultfd,     SYS_memfd_create,
    SYS_getrandom,         SYS_sysinfo,       SYS_process_madvise, SYS_mremap,
};

enum { COUNT = sizeof refused / sizeof *refused };

int main(int argc, char **argv)
{
    struct sock_filter code[COUNT + 3];
    unsigned short n = 0;
    if (argc < 3)
        die("arguments");
    unsigned error = strcmp(argv[1], "EPERM") == 0 ? EPERM : ENOSYS;
    code[n++] =
        (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (unsigned i = 0; i < COUNT; i++)
        code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, refused[i],
                                                 (uint8_t)(COUNT - i), 0);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error);
    struct sock_fprog filter = {n, code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter))
        give_up("seccomp filters are not available");
    execv(argv[2], argv + 2);
    die("exec %s: errno %d", argv[2], errno);
}
