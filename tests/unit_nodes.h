/*
 * unit_nodes.h - a made-up /sys/devices/system/node in a directory of its own.
 *
 * unit_nodes_setup and unit_nodes_teardown are the fixture; unit_root is the path.
 */
#ifndef TESTS_UNIT_NODES_H
#define TESTS_UNIT_NODES_H

#include <stdarg.h>
#include <sys/stat.h>

#include "unit_base.h"

static char unit_root[64];

static inline void unit_nodes_setup(void)
{
    strcpy(unit_root, "/tmp/tide_topo_XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(unit_root));
}

static inline void unit_nodes_teardown(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", unit_root);
    ck_assert_int_eq(system(command), 0);
}

__attribute__((format(printf, 2, 3))) static inline void unit_put(const char *name,
                                                                  const char *format, ...)
{
    char path[256];
    va_list args;
    snprintf(path, sizeof path, "%s/%s", unit_root, name);
    FILE *file = fopen(path, "w");
    ck_assert_msg(file != NULL, "cannot write %s", path);
    va_start(args, format);
    vfprintf(file, format, args);
    va_end(args);
    fclose(file);
}

/* nodeID with its meminfo as the kernel writes it, and one distance line. */
static inline void unit_put_node(unsigned id, uint64_t total_kib, uint64_t free_kib,
                                 const char *distance)
{
    char name[128];
    snprintf(name, sizeof name, "%s/node%u", unit_root, id);
    ck_assert_int_eq(mkdir(name, 0755), 0);
    snprintf(name, sizeof name, "node%u/meminfo", id);
    unit_put(name,
             "Node %u MemTotal:       %8llu kB\nNode %u MemFree:        %8llu kB\n"
             "Node %u MemUsed:               1 kB\n",
             id, (unsigned long long)total_kib, id, (unsigned long long)free_kib, id);
    snprintf(name, sizeof name, "node%u/distance", id);
    if (distance != NULL)
        unit_put(name, "%s\n", distance);
}

static inline void unit_put_lists(const char *online, const char *has_cpu, const char *has_memory)
{
    unit_put("online", "%s\n", online);
    unit_put("has_cpu", "%s\n", has_cpu);
    unit_put("has_memory", "%s\n", has_memory);
}

#endif
