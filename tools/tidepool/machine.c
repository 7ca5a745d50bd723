/* machine.c - see machine.h */
#define _GNU_SOURCE
#include "machine.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "box/file.h"
#include "box/topo.h"
#include "box/vmem.h"

/* --- small files ------------------------------------------------------------------ */

/* The first line of a file; "" when it cannot be read. */
static void line_of(const char *path, char *buf, size_t size)
{
    buf[0] = '\0';
    if (tide_file_read(path, buf, size) < 0)
        buf[0] = '\0';
    buf[strcspn(buf, "\n")] = '\0';
}

static uint64_t number_of(const char *directory, const char *name)
{
    char path[4 * MACHINE_PATH], line[64];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    line_of(path, line, sizeof line);
    return strtoull(line, NULL, 0);
}

/* --- nodes ------------------------------------------------------------------------ */

bool machine_is_far(const struct tide_node *node)
{
    return node->has_memory && !node->has_cpu;
}

const struct tide_node *machine_node(const struct machine *machine, int id)
{
    for (int i = 0; i < machine->nodes; i++)
        if ((int)machine->node[i].id == id)
            return &machine->node[i];
    return NULL;
}

void machine_memory_nodes(const struct machine *machine, char *buf, size_t size)
{
    size_t used = 0;
    buf[0] = '\0';
    for (int i = 0; i < machine->nodes; i++)
        if (machine->node[i].has_memory && used < size)
            used += (size_t)snprintf(buf + used, size - used, "%s%u", used > 0 ? "," : "",
                                     machine->node[i].id);
}

bool machine_may_use(const struct machine *machine, unsigned id)
{
    return id < TIDE_TOPO_NODES && (machine->allowed >> id & 1) != 0;
}

static void read_nodes(struct machine *machine)
{
    int count = tide_topo_read(machine->root, machine->node, TIDE_TOPO_NODES);
    machine->nodes = count < TIDE_TOPO_NODES ? count : TIDE_TOPO_NODES;
    machine->here = (int)tide_topo_this_node();
    for (int i = 0; i < machine->nodes; i++) {
        char path[2 * MACHINE_PATH];
        snprintf(path, sizeof path, "%s/node%u/cpulist", machine->root, machine->node[i].id);
        line_of(path, machine->cpus[i], sizeof machine->cpus[i]);
    }
}

/* --- dax devices ------------------------------------------------------------------ */

static void read_device(const char *directory, const char *name, struct dax_device *out)
{
    char path[3 * MACHINE_PATH], link[MACHINE_PATH], target[64];
    snprintf(out->name, sizeof out->name, "%.60s", name);
    snprintf(path, sizeof path, "%s/%s", directory, name);
    out->size = number_of(path, "size");
    out->align = number_of(path, "align");
    size_t end = strlen(path);
    snprintf(path + end, sizeof path - end, "/target_node");
    line_of(path, target, sizeof target);
    out->target_node = target[0] != '\0' ? atoi(target) : -1;
    snprintf(path + end, sizeof path - end, "/driver");
    const char *driver = tide_file_link(path, link, sizeof link) > 0 ? strrchr(link, '/') : NULL;
    driver = driver != NULL ? driver + 1 : "unbound";
    if (strcmp(driver, "device_dax") == 0)
        driver = "devdax";
    else if (strcmp(driver, "kmem") == 0)
        driver = "system-ram";
    snprintf(out->mode, sizeof out->mode, "%s", driver);
}

static int by_name(const void *a, const void *b)
{
    const struct dax_device *x = a, *y = b;
    return strverscmp(x->name, y->name);
}

static void read_devices(struct machine *machine, const char *sysfs)
{
    char path[MACHINE_PATH + 32];
    snprintf(path, sizeof path, "%s/bus/dax/devices", sysfs);
    DIR *directory = opendir(path);
    if (directory == NULL)
        return;
    const struct dirent *entry;
    while (machine->devices < MACHINE_DAX && (entry = readdir(directory)) != NULL)
        if (entry->d_name[0] != '.')
            read_device(path, entry->d_name, &machine->dax[machine->devices++]);
    closedir(directory);
    qsort(machine->dax, (size_t)machine->devices, sizeof machine->dax[0], by_name);
}

/* --- limits ----------------------------------------------------------------------- */

static uint64_t limit_of(int resource)
{
    struct rlimit limit;
    if (getrlimit((__rlimit_resource_t)resource, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
        return UINT64_MAX;
    return limit.rlim_cur;
}

/* The word in brackets: "always [madvise] never". */
static void read_thp(struct machine *machine, const char *sysfs)
{
    char path[MACHINE_PATH + 64], line[MACHINE_WORD];
    snprintf(path, sizeof path, "%s/kernel/mm/transparent_hugepage/enabled", sysfs);
    line_of(path, line, sizeof line);
    const char *from = strchr(line, '[');
    if (from != NULL)
        snprintf(machine->thp, sizeof machine->thp, "%.*s", (int)strcspn(from + 1, "]"), from + 1);
}

static void read_mems_allowed(struct machine *machine)
{
    static const char name[] = "Mems_allowed_list:";
    char text[8192];
    if (tide_file_read("/proc/self/status", text, sizeof text) < 0)
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

/* What mems= says, else everything on a made-up machine, else what the kernel says. */
static bool read_allowed(struct machine *machine, const char *mems)
{
    machine->allowed = UINT64_MAX;
    machine->allowed_given = machine->fake || mems != NULL;
    if (mems != NULL) {
        if (strlen(mems) < MACHINE_WORD && mems[0] != '\0' &&
            tide_topo_parse_list(mems, &machine->allowed) == 0) {
            snprintf(machine->mems_allowed, sizeof machine->mems_allowed, "%s", mems);
            return true;
        }
        complain("info", "--mems=%s: no list of nodes (allowed: as 0-3,8)", mems);
        return false;
    }
    uint64_t mask;
    if (machine->fake)
        machine->mems_allowed[0] = '\0';
    else if (tide_topo_parse_list(machine->mems_allowed, &mask) == 0 && mask != 0)
        machine->allowed = mask;
    return true;
}

static void read_limits(struct machine *machine, const char *sysfs)
{
    struct utsname name;
    if (uname(&name) == 0)
        snprintf(machine->kernel, sizeof machine->kernel, "%.100s", name.release);
    machine->page_size = tide_vmem_page_size();
    machine->address_space = limit_of(RLIMIT_AS);
    machine->locked_memory = limit_of(RLIMIT_MEMLOCK);
    line_of("/proc/sys/vm/overcommit_memory", machine->overcommit, sizeof machine->overcommit);
    line_of("/proc/sys/vm/max_map_count", machine->map_count, sizeof machine->map_count);
    read_thp(machine, sysfs);
    read_mems_allowed(machine);
    read_policy(machine);
}

bool machine_read(struct machine *machine, const char *sysfs, const char *mems)
{
    struct stat status;
    memset(machine, 0, sizeof *machine);
    machine->fake = sysfs != NULL;
    if (sysfs == NULL)
        sysfs = "/sys";
    else if (strlen(sysfs) >= MACHINE_PATH - 64 || stat(sysfs, &status) != 0 ||
             !S_ISDIR(status.st_mode)) {
        complain("info", "--sysfs=%s: no such directory", sysfs);
        return false;
    }
    snprintf(machine->root, sizeof machine->root, "%s%s", sysfs, &TIDE_TOPO_ROOT[strlen("/sys")]);
    read_nodes(machine);
    read_devices(machine, sysfs);
    read_limits(machine, sysfs);
    return read_allowed(machine, mems);
}
