/* machine_limits.c - see machine.h: what holds for a process here */
#define _GNU_SOURCE
#include "machine.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "box/file.h"
#include "box/vmem.h"

/* The soft limit behind `name` in PROC/self/limits; for another machine than this. */
static uint64_t limit_in_file(const struct machine *machine, const char *name)
{
    char path[2 * MACHINE_PATH], text[4096];
    snprintf(path, sizeof path, "%s/self/limits", machine->proc);
    if (tide_file_read(path, text, sizeof text) < 0)
        return UINT64_MAX;
    const char *at = strstr(text, name);
    if (at == NULL)
        return UINT64_MAX;
    at += strlen(name);
    at += strspn(at, " ");
    return *at >= '0' && *at <= '9' ? strtoull(at, NULL, 10) : UINT64_MAX;
}

static uint64_t limit_of(const struct machine *machine, int resource, const char *name)
{
    struct rlimit limit;
    if (machine->made_up)
        return limit_in_file(machine, name);
    if (getrlimit((__rlimit_resource_t)resource, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
        return UINT64_MAX;
    return limit.rlim_cur;
}

/* The word in brackets: "always [madvise] never". */
static void read_thp(struct machine *machine)
{
    char line[MACHINE_WORD];
    machine_line(line, "%s/kernel/mm/transparent_hugepage/enabled", machine->sys);
    const char *from = strchr(line, '[');
    if (from != NULL)
        snprintf(machine->thp, sizeof machine->thp, "%.*s", (int)strcspn(from + 1, "]"), from + 1);
}

static void read_mems_allowed(struct machine *machine)
{
    static const char name[] = "Mems_allowed_list:";
    char path[2 * MACHINE_PATH], text[8192];
    snprintf(path, sizeof path, "%s/self/status", machine->proc);
    if (tide_file_read(path, text, sizeof text) < 0)
        return;
    const char *at = strstr(text, name);
    if (at == NULL)
        return;
    at += sizeof name - 1;
    at += strspn(at, " \t");
    snprintf(machine->mems_allowed, sizeof machine->mems_allowed, "%.*s", (int)strcspn(at, "\n"),
             at);
}

/* "bind:0,2": as numactl or a parent left it. libc has no name for this call. */
static void read_policy(struct machine *machine)
{
    static const char *const names[] = {
        "default",        "preferred",          "bind", "interleave", "local",
        "preferred-many", "weighted-interleave"};
    enum { BITS = 4096, WORD = 8 * sizeof(long), KNOWN = sizeof names / sizeof names[0] };
    unsigned long mask[BITS / WORD] = {0};
    int mode = 0;
    if (syscall(SYS_get_mempolicy, &mode, mask, (unsigned long)BITS, NULL, 0UL) != 0)
        return;
    mode &= 0xff; /* above: flags of the mode */
    size_t size = sizeof machine->policy;
    size_t used = (size_t)snprintf(machine->policy, size, "%s", mode < KNOWN ? names[mode] : "?");
    char between = ':';
    for (int i = 0; i < BITS && used < size; i++) {
        if ((mask[i / WORD] >> (i % WORD) & 1) == 0)
            continue;
        used += (size_t)snprintf(machine->policy + used, size - used, "%c%d", between, i);
        between = ',';
    }
}

static void read_kernel(struct machine *machine)
{
    struct utsname name;
    if (machine->made_up)
        machine_line(machine->kernel, "%s/sys/kernel/osrelease", machine->proc);
    else if (uname(&name) == 0)
        snprintf(machine->kernel, sizeof machine->kernel, "%.100s", name.release);
}

void machine_read_limits(struct machine *machine)
{
    read_kernel(machine);
    machine->page_size = tide_vmem_page_size();
    machine->address_space = limit_of(machine, RLIMIT_AS, "Max address space");
    machine->data = limit_of(machine, RLIMIT_DATA, "Max data size");
    machine->locked_memory = limit_of(machine, RLIMIT_MEMLOCK, "Max locked memory");
    machine_line(machine->overcommit, "%s/sys/vm/overcommit_memory", machine->proc);
    machine_line(machine->map_count, "%s/sys/vm/max_map_count", machine->proc);
    read_thp(machine);
    read_mems_allowed(machine);
    if (!machine->made_up)
        read_policy(machine);
}
