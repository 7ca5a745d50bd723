/* doctor_memory.c - see doctor_checks.h: CXL and dax devices, and memory nodes */
#include "doctor_checks.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "box/file.h"

/* --- commands ---------------------------------------------------------------------- */

void doctor_mend_device(char text[DOCTOR_TEXT], const char *name)
{
    doctor_say(text, "daxctl reconfigure-device --mode=system-ram %s", name);
}

void doctor_mend_node(const struct machine *machine, char text[DOCTOR_TEXT], int node)
{
    for (int i = 0; i < machine->devices; i++) {
        if (machine->dax[i].target_node == node) {
            doctor_say(text, "daxctl online-memory %s", machine->dax[i].name);
            return;
        }
    }
    doctor_say(text,
               "for s in /sys/devices/system/node/node%d/memory*/state; do echo online_movable "
               ">$s; done",
               node);
}

/* Where the process's cpuset is: of version 1, where there is one, else of version 2. */
static void cpuset_of(const struct machine *machine, char path[MACHINE_PATH])
{
    char name[2 * MACHINE_PATH], text[4096], line[MACHINE_PATH];
    snprintf(name, sizeof name, "%s/self/cgroup", machine->proc);
    snprintf(path, MACHINE_PATH, "/sys/fs/cgroup");
    if (tide_file_read(name, text, sizeof text) < 0)
        return;
    for (const char *at = text; *at != '\0'; at += strcspn(at, "\n"), at += *at == '\n') {
        snprintf(line, sizeof line, "%.*s", (int)strcspn(at, "\n"), at);
        char *group = strchr(line, ':');
        bool old = group != NULL && strncmp(group, ":cpuset:", 8) == 0;
        if (!old && (group == NULL || strncmp(group, "::", 2) != 0))
            continue;
        group = strchr(group + 1, ':') + 1;
        snprintf(path, MACHINE_PATH, "/sys/fs/cgroup%s%.200s", old ? "/cpuset" : "",
                 strcmp(group, "/") == 0 ? "" : group);
        if (old)
            return;
    }
}

void doctor_mend_cpuset(const struct machine *machine, char text[DOCTOR_TEXT])
{
    char nodes[MACHINE_WORD], path[MACHINE_PATH];
    machine_memory_nodes(machine, nodes, sizeof nodes);
    cpuset_of(machine, path);
    doctor_say(text, "echo %s >%s/cpuset.mems   (a container: docker run --cpuset-mems=%s)", nodes,
               path, nodes);
}

/* --- devices ----------------------------------------------------------------------- */

static bool is_asked_for(const struct doctor *doctor, const struct dax_device *device)
{
    const struct decision *decision = &doctor->info.decision;
    size_t length = strlen(device->name);
    const char *at = strstr(decision->asked, device->name);
    return strncmp(decision->asked, "dax:", 4) == 0 && at != NULL &&
           (at[length] == '\0' || at[length] == ',');
}

void doctor_mend_file(char text[DOCTOR_TEXT], const struct dax_device *device)
{
    char path[128];
    snprintf(path, sizeof path, "/dev/%s", device->name);
    if (strcmp(device->permission, "absent") == 0)
        doctor_say(text,
                   "udevadm trigger --subsystem-match=dax   (a container: docker run --device=%s)",
                   path);
    else
        doctor_mend_access(text, path);
}

static void check_permission(struct doctor *doctor, const struct dax_device *device)
{
    if (device->permission == NULL || strcmp(device->permission, "rw") == 0)
        return;
    struct finding *finding = doctor_find(doctor, DOCTOR_WARNING, "dax");
    if (strcmp(device->permission, "absent") == 0)
        doctor_say(finding->found, "/dev/%s does not exist", device->name);
    else
        doctor_say(finding->found, "/dev/%s may not be %s by this user", device->name,
                   strcmp(device->permission, "r") == 0 ? "written" : "read and written");
    doctor_say(finding->means, "neither a region nor mid=dax:/dev/%s can use it", device->name);
    doctor_mend_file(finding->mend, device);
}

static void check_mode(struct doctor *doctor, const struct dax_device *device)
{
    char bytes[32];
    bool unbound = strcmp(device->mode, "unbound") == 0;
    if (device->size == 0 || is_asked_for(doctor, device) ||
        (!unbound && strcmp(device->mode, "devdax") != 0))
        return;
    struct finding *finding = doctor_find(doctor, DOCTOR_WARNING, "dax");
    if (unbound) {
        doctor_say(finding->found, "%s (%s) has no driver", device->name,
                   bytes_text(bytes, device->size));
        doctor_say(finding->means, "nobody can use this memory");
    } else {
        doctor_say(finding->found, "%s (%s) is in devdax mode, not system-ram", device->name,
                   bytes_text(bytes, device->size));
        doctor_say(finding->means, "its mappings are shared after fork: it is good for regions, "
                                   "and Mid gets nothing of it. As system RAM it is a node, which "
                                   "mid=auto takes");
    }
    doctor_mend_device(finding->mend, device->name);
}

static void check_online(struct doctor *doctor, const struct dax_device *device)
{
    if (strcmp(device->mode, "system-ram") != 0 || device->target_node < 0 ||
        machine_node(&doctor->info.machine, device->target_node) != NULL)
        return;
    struct finding *finding = doctor_find(doctor, DOCTOR_WARNING, "dax");
    doctor_say(finding->found, "%s is in system-ram mode, but node %d is not online", device->name,
               device->target_node);
    doctor_say(finding->means, "Mid cannot have its memory");
    doctor_mend_node(&doctor->info.machine, finding->mend, device->target_node);
}

/* CXL memory of which nobody has made a region. */
static void check_cxl(struct doctor *doctor)
{
    const struct machine *machine = &doctor->info.machine;
    char path[2 * MACHINE_PATH], line[MACHINE_WORD], bytes[32], first[32] = "";
    uint64_t size = 0;
    bool regions = false;
    const struct dirent *entry;
    snprintf(path, sizeof path, "%s/bus/cxl/devices", machine->sys);
    DIR *directory = opendir(path);
    while (directory != NULL && (entry = readdir(directory)) != NULL) {
        regions = regions || strncmp(entry->d_name, "region", 6) == 0;
        if (strncmp(entry->d_name, "mem", 3) != 0)
            continue;
        machine_line(line, "%s/%s/ram/size", path, entry->d_name);
        uint64_t own = strtoull(line, NULL, 0);
        size += own;
        if (own != 0 && (first[0] == '\0' || strcmp(entry->d_name, first) < 0))
            snprintf(first, sizeof first, "%.31s", entry->d_name);
    }
    if (directory != NULL)
        closedir(directory);
    if (size == 0 || regions || machine->devices != 0)
        return;
    struct finding *finding = doctor_find(doctor, DOCTOR_WARNING, "cxl");
    doctor_say(finding->found, "CXL memory (%s, first: %s) belongs to no region",
               bytes_text(bytes, size), first);
    doctor_say(finding->means, "it is neither a node nor a dax device, so nothing can use it");
    doctor_say(finding->mend, "cxl create-region -m -t ram %s   (ndctl 77 or later)", first);
}

void doctor_check_devices(struct doctor *doctor)
{
    const struct machine *machine = &doctor->info.machine;
    for (int i = 0; i < machine->devices; i++) {
        check_mode(doctor, &machine->dax[i]);
        check_permission(doctor, &machine->dax[i]);
        check_online(doctor, &machine->dax[i]);
    }
    check_cxl(doctor);
}

/* --- nodes ------------------------------------------------------------------------- */

uint64_t doctor_offline(const struct machine *machine, unsigned node)
{
    char path[2 * MACHINE_PATH], line[MACHINE_WORD];
    uint64_t blocks = 0;
    const struct dirent *entry;
    snprintf(path, sizeof path, "%s/node%u", machine->root, node);
    DIR *directory = opendir(path);
    while (directory != NULL && (entry = readdir(directory)) != NULL)
        if (strncmp(entry->d_name, "memory", 6) == 0 &&
            machine_line(line, "%s/%s/state", path, entry->d_name) && strcmp(line, "offline") == 0)
            blocks++;
    if (directory != NULL)
        closedir(directory);
    machine_line(line, "%s/devices/system/memory/block_size_bytes", machine->sys);
    return blocks * strtoull(line, NULL, 16);
}

/* Only of nodes that could be far: processors' memory is not our affair. */
static void check_offline(struct doctor *doctor, const struct tide_node *node)
{
    const struct machine *machine = &doctor->info.machine;
    char offline[32], total[32];
    uint64_t bytes = doctor_offline(machine, node->id);
    if (node->has_cpu)
        return;
    if (bytes != 0) {
        struct finding *finding = doctor_find(doctor, DOCTOR_WARNING, "node");
        doctor_say(finding->found, "node %u has %s of memory offline, %s online", node->id,
                   bytes_text(offline, bytes), bytes_text(total, node->total));
        doctor_say(finding->means, node->has_memory ? "Mid gets that much less of it"
                                                    : "Mid cannot have its memory");
        doctor_mend_node(machine, finding->mend, (int)node->id);
    } else if (!node->has_memory) {
        struct finding *finding = doctor_find(doctor, DOCTOR_NOTE, "node");
        doctor_say(finding->found, "node %u has neither memory nor processors", node->id);
        doctor_say(finding->means, "Mid passes it over, until a device gives it memory");
        doctor_say(finding->mend, "daxctl list -Du   (devices and their target_node)");
    }
}

static void check_allowed(struct doctor *doctor, const struct tide_node *node)
{
    const struct machine *machine = &doctor->info.machine;
    if (!machine_is_far(node) || machine_may_use(machine, node->id))
        return;
    struct finding *finding = doctor_find(doctor, DOCTOR_WARNING, "cpuset");
    doctor_say(finding->found, "node %u is far memory, but this process may use only %s", node->id,
               machine->mems_allowed);
    doctor_say(finding->means, "Mid cannot be there: the cpuset (cgroup) leaves it out");
    doctor_mend_cpuset(machine, finding->mend);
}

void doctor_check_nodes(struct doctor *doctor)
{
    const struct machine *machine = &doctor->info.machine;
    for (int i = 0; i < machine->nodes; i++) {
        check_offline(doctor, &machine->node[i]);
        check_allowed(doctor, &machine->node[i]);
    }
}
