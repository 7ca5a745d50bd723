/* doctor_limits.c - see doctor_checks.h: limits of the process and of the machine */
#include "doctor_checks.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "box/file.h"

enum { MAP_COUNT = 65530 }; /* the kernel's default */

/* Bytes of a line of PROC/meminfo; 0 when it is not there. */
static uint64_t meminfo(const struct machine *machine, const char *name)
{
    char path[2 * MACHINE_PATH], text[8192];
    snprintf(path, sizeof path, "%s/meminfo", machine->proc);
    if (tide_file_read(path, text, sizeof text) < 0)
        return 0;
    const char *at = strstr(text, name);
    return at != NULL ? strtoull(at + strlen(name), NULL, 10) * 1024 : 0;
}

/* --- the process ------------------------------------------------------------------- */

/* `ulimit` raises a limit up to the hard one; beyond that only root does. */
static void mend_limit(const struct machine *machine, char text[DOCTOR_TEXT], int resource,
                       const char *flag, const char *name)
{
    struct rlimit limit;
    if (machine->made_up ||
        (getrlimit((__rlimit_resource_t)resource, &limit) == 0 && limit.rlim_max == RLIM_INFINITY))
        doctor_say(text, "ulimit -S %s unlimited", flag);
    else
        doctor_say(text, "sudo prlimit --pid $$ --%s=unlimited", name);
}

static void check_space(struct doctor *doctor, uint64_t limit, int resource, const char *flag,
                        const char *name, const char *words)
{
    const struct machine *machine = &doctor->info.machine;
    uint64_t memory = meminfo(machine, "MemTotal:");
    char bytes[32], all[32];
    if (limit == UINT64_MAX)
        return;
    bool tight = memory == 0 || limit < memory;
    struct finding *finding = doctor_find(doctor, tight ? DOCTOR_WARNING : DOCTOR_NOTE, "limits");
    doctor_say(finding->found, "%s is limited to %s (ulimit %s)%s%s", words,
               bytes_text(bytes, limit), flag, memory != 0 ? "; memory: " : "",
               memory != 0 ? bytes_text(all, memory) : "");
    doctor_say(finding->means, "address space stays with the tier that took it: a program that "
                               "fills it with small blocks, frees them and wants large ones gets "
                               "little");
    mend_limit(machine, finding->mend, resource, flag, name);
}

/* Matters to a program that locks its memory; root may lock all. */
static void check_locked(struct doctor *doctor)
{
    const struct machine *machine = &doctor->info.machine;
    char bytes[32];
    if (machine->locked_memory == UINT64_MAX || (geteuid() == 0 && !machine->made_up))
        return;
    struct finding *finding = doctor_find(doctor, DOCTOR_NOTE, "limits");
    doctor_say(finding->found, "locked memory is limited to %s (ulimit -l)",
               bytes_text(bytes, machine->locked_memory));
    doctor_say(finding->means, "mlockall(MCL_CURRENT) fails: the kernel counts the address space "
                               "that the library reserves");
    mend_limit(machine, finding->mend, RLIMIT_MEMLOCK, "-l", "memlock");
}

/* --- the machine ------------------------------------------------------------------- */

static void check_overcommit(struct doctor *doctor)
{
    enum { LITTLE = 1 << 30 };
    const struct machine *machine = &doctor->info.machine;
    uint64_t most = meminfo(machine, "CommitLimit:"), now = meminfo(machine, "Committed_AS:");
    char left[32], all[32];
    if (strcmp(machine->overcommit, "2") != 0)
        return;
    uint64_t rest = most > now ? most - now : 0;
    struct finding *finding =
        doctor_find(doctor, rest < LITTLE ? DOCTOR_WARNING : DOCTOR_NOTE, "overcommit");
    doctor_say(finding->found, "vm.overcommit_memory is 2: %s of %s are left to commit",
               bytes_text(left, rest), bytes_text(all, most));
    doctor_say(finding->means, "what the library commits is charged whether it is touched or not; "
                               "at the limit malloc returns NULL");
    doctor_say(finding->mend, "sysctl -w vm.overcommit_memory=0");
}

static void check_map_count(struct doctor *doctor)
{
    const char *count = doctor->info.machine.map_count;
    if (count[0] == '\0' || strtoull(count, NULL, 10) >= MAP_COUNT)
        return;
    struct finding *finding = doctor_find(doctor, DOCTOR_WARNING, "limits");
    doctor_say(finding->found, "vm.max_map_count is %s (usual: %d)", count, MAP_COUNT);
    doctor_say(finding->means, "a large block may take a mapping of its own, and memory that goes "
                               "back to the system splits mappings: with none left malloc returns "
                               "NULL");
    doctor_say(finding->mend, "sysctl -w vm.max_map_count=%d", MAP_COUNT);
}

void doctor_check_limits(struct doctor *doctor)
{
    const struct machine *machine = &doctor->info.machine;
    check_space(doctor, machine->address_space, RLIMIT_AS, "-v", "as", "address space");
    check_space(doctor, machine->data, RLIMIT_DATA, "-d", "data", "data");
    check_map_count(doctor);
    check_locked(doctor);
    check_overcommit(doctor);
}
