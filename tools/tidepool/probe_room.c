/* probe_room.c - see probe.h: how much memory may be taken */
#include "probe.h"

#include <stdlib.h>
#include <string.h>

#include "box/file.h"

enum { ROOM_MOST = 64 << 20, ROOM_PART = 4 };

static void lower(uint64_t *room, uint64_t bytes)
{
    if (bytes < *room)
        *room = bytes;
}

/* What a cgroup leaves below its limit; nothing is known: no limit. */
static void lower_by_group(uint64_t *room, const char *directory, const char *limit,
                           const char *usage)
{
    char most[MACHINE_WORD], now[MACHINE_WORD];
    machine_line(most, "%s/%s", directory, limit);
    machine_line(now, "%s/%s", directory, usage);
    if (most[0] < '0' || most[0] > '9') /* "max", or no such file */
        return;
    uint64_t all = strtoull(most, NULL, 10), used = strtoull(now, NULL, 10);
    lower(room, all > used ? all - used : 0);
}

/* The process's group and all above it, of both versions. In a container the path may be that
 * of the host: then only its top is found, which is the container's own group. */
static void lower_by_groups(const struct machine *machine, uint64_t *room)
{
    char name[2 * MACHINE_PATH], text[4096], path[2 * MACHINE_PATH];
    snprintf(name, sizeof name, "%s/self/cgroup", machine->proc);
    if (tide_file_read(name, text, sizeof text) < 0)
        return;
    for (const char *at = text; *at != '\0'; at += strcspn(at, "\n"), at += *at == '\n') {
        int length = (int)strcspn(at, "\n");
        const char *old = strstr(at, ":memory:"), *new = strstr(at, "::");
        bool is_old = old != NULL && old < at + length, is_new = new != NULL &&new < at + length;
        if (!is_old && !is_new)
            continue;
        const char *group = is_old ? old + strlen(":memory:") : new + 2;
        snprintf(path, sizeof path, "%s/fs/cgroup%s%.*s", machine->sys, is_old ? "/memory" : "",
                 (int)(at + length - group), group);
        size_t top = strlen(machine->sys) + strlen("/fs/cgroup");
        for (;;) {
            lower_by_group(room, path, is_old ? "memory.limit_in_bytes" : "memory.max",
                           is_old ? "memory.usage_in_bytes" : "memory.current");
            char *slash = strrchr(path, '/');
            if (slash == NULL || slash < path + top)
                break;
            *slash = '\0';
        }
    }
}

uint64_t probe_room(const struct machine *machine, const struct tide_node *node)
{
    char name[2 * MACHINE_PATH], text[8192];
    uint64_t room = node->free;
    snprintf(name, sizeof name, "%s/meminfo", machine->proc);
    const char *at =
        tide_file_read(name, text, sizeof text) > 0 ? strstr(text, "MemAvailable:") : NULL;
    if (at != NULL)
        lower(&room, strtoull(at + strlen("MemAvailable:"), NULL, 10) * 1024);
    lower_by_groups(machine, &room);
    room /= ROOM_PART;
    lower(&room, ROOM_MOST);
    return room;
}
