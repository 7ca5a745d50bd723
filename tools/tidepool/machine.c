/* machine.c - see machine.h: nodes and devices */
#define _GNU_SOURCE
#include "machine.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "box/file.h"

/* --- small files ------------------------------------------------------------------ */

bool machine_line(char line[MACHINE_WORD], const char *format, ...)
{
    char path[4 * MACHINE_PATH];
    va_list list;
    va_start(list, format);
    vsnprintf(path, sizeof path, format, list);
    va_end(list);
    bool found = tide_file_read(path, line, MACHINE_WORD) >= 0;
    line[found ? strcspn(line, "\n") : 0] = '\0';
    return found;
}

static uint64_t number_of(const char *directory, const char *name)
{
    char line[MACHINE_WORD];
    machine_line(line, "%s/%s", directory, name);
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
    for (int i = 0; i < machine->nodes; i++)
        machine_line(machine->cpus[i], "%s/node%u/cpulist", machine->root, machine->node[i].id);
}

/* --- dax devices ------------------------------------------------------------------ */

/* The kernel's answer for this user and group; nothing is opened. */
static const char *permission_of(const char *dev, const char *name)
{
    char path[2 * MACHINE_PATH];
    snprintf(path, sizeof path, "%s/%s", dev, name);
    if (faccessat(AT_FDCWD, path, F_OK, AT_EACCESS) != 0)
        return "absent";
    if (faccessat(AT_FDCWD, path, R_OK, AT_EACCESS) != 0)
        return "none";
    return faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) == 0 ? "rw" : "r";
}

static void read_device(const struct machine *machine, const char *directory, const char *name,
                        struct dax_device *out)
{
    char path[3 * MACHINE_PATH], link[MACHINE_PATH], target[MACHINE_WORD];
    snprintf(out->name, sizeof out->name, "%.60s", name);
    snprintf(path, sizeof path, "%s/%s", directory, name);
    out->size = number_of(path, "size");
    out->align = number_of(path, "align");
    out->target_node = machine_line(target, "%s/target_node", path) ? atoi(target) : -1;
    snprintf(path, sizeof path, "%s/%.60s/driver", directory, name);
    const char *driver = tide_file_link(path, link, sizeof link) > 0 ? strrchr(link, '/') : NULL;
    driver = driver != NULL ? driver + 1 : "unbound";
    if (strcmp(driver, "device_dax") == 0)
        driver = "devdax";
    else if (strcmp(driver, "kmem") == 0)
        driver = "system-ram";
    snprintf(out->mode, sizeof out->mode, "%s", driver);
    if (strcmp(driver, "devdax") == 0)
        out->permission = permission_of(machine->dev, out->name);
}

static int by_name(const void *a, const void *b)
{
    const struct dax_device *x = a, *y = b;
    return strverscmp(x->name, y->name);
}

static void read_devices(struct machine *machine)
{
    char path[MACHINE_PATH + 32];
    snprintf(path, sizeof path, "%s/bus/dax/devices", machine->sys);
    DIR *directory = opendir(path);
    if (directory == NULL)
        return;
    const struct dirent *entry;
    while (machine->devices < MACHINE_DAX && (entry = readdir(directory)) != NULL)
        if (entry->d_name[0] != '.')
            read_device(machine, path, entry->d_name, &machine->dax[machine->devices++]);
    closedir(directory);
    qsort(machine->dax, (size_t)machine->devices, sizeof machine->dax[0], by_name);
}

/* --- where, and what a process may use --------------------------------------------- */

/* What mems= says, else everything with another /sys, else what the kernel says. */
static bool read_allowed(struct machine *machine, const struct machine_where *where)
{
    const char *mems = where->mems;
    machine->allowed = UINT64_MAX;
    machine->allowed_given = machine->fake || mems != NULL;
    if (mems != NULL) {
        if (strlen(mems) < MACHINE_WORD && mems[0] != '\0' &&
            tide_topo_parse_list(mems, &machine->allowed) == 0) {
            snprintf(machine->mems_allowed, sizeof machine->mems_allowed, "%s", mems);
            return true;
        }
        complain(where->command, "--mems=%s: no list of nodes (allowed: as 0-3,8)", mems);
        return false;
    }
    uint64_t mask;
    if (machine->fake && !machine->made_up)
        machine->mems_allowed[0] = '\0';
    else if (tide_topo_parse_list(machine->mems_allowed, &mask) == 0 && mask != 0)
        machine->allowed = mask;
    return true;
}

static bool is_directory(const struct machine_where *where, const char *flag, const char *path)
{
    struct stat status;
    if (path == NULL ||
        (strlen(path) < MACHINE_PATH - 64 && stat(path, &status) == 0 && S_ISDIR(status.st_mode)))
        return true;
    complain(where->command, "--%s=%s: no such directory", flag, path);
    return false;
}

bool machine_read(struct machine *machine, const struct machine_where *where)
{
    const char *root = where->root != NULL ? where->root : "";
    memset(machine, 0, sizeof *machine);
    if (!is_directory(where, "root", where->root) || !is_directory(where, "sysfs", where->sysfs))
        return false;
    machine->made_up = where->root != NULL;
    machine->fake = machine->made_up || where->sysfs != NULL;
    snprintf(machine->sys, sizeof machine->sys, "%s/sys", root);
    snprintf(machine->proc, sizeof machine->proc, "%s/proc", root);
    snprintf(machine->dev, sizeof machine->dev, "%s/dev", root);
    if (where->sysfs != NULL)
        snprintf(machine->sys, sizeof machine->sys, "%s", where->sysfs);
    snprintf(machine->root, sizeof machine->root, "%.*s%s", MACHINE_PATH - 64, machine->sys,
             &TIDE_TOPO_ROOT[strlen("/sys")]);
    read_nodes(machine);
    read_devices(machine);
    machine_read_limits(machine);
    return read_allowed(machine, where);
}
