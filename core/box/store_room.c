/* store_room.c - see store_room.h: how much memory a file in memory may still take.
 *
 * Whoever allocates one larger than that is not told so: the kernel's killer comes, and it
 * takes whatever process it likes. */
#include "box/store_room.h"

#include "box/file.h"

enum { ROOM_TEXT = 4096, ROOM_PATH = 512, ROOM_RESERVE = 32, ROOM_LEAST = 16 << 20 };

static bool room_join(char *path, const char *a, const char *b, const char *c, const char *d)
{
    const char *const parts[] = {a, b, c, d};
    size_t len = 0;
    for (int i = 0; i < 4; i++) {
        size_t more = strlen(parts[i]);
        if (len + more >= ROOM_PATH)
            return false;
        memcpy(path + len, parts[i], more);
        len += more;
    }
    path[len] = '\0';
    return true;
}

/* The number behind `key`, or at the start; false for "max" and for nothing. */
static bool room_number(const char *text, const char *key, uint64_t *out)
{
    const char *at = strstr(text, key);
    if (at == NULL)
        return false;
    at += strlen(key);
    while (*at == ' ')
        at++;
    *out = 0;
    if (*at < '0' || *at > '9')
        return false;
    for (; *at >= '0' && *at <= '9'; at++)
        *out = *out * 10 + (uint64_t)(*at - '0');
    return true;
}

static bool room_file(const char *path, const char *key, uint64_t *out)
{
    char text[ROOM_TEXT];
    return tide_file_read(path, text, sizeof text) > 0 && room_number(text, key, out);
}

/* One group: what its limit leaves, where file pages that are not in use can go. */
static uint64_t room_group(const char *base, const char *group, const char *limit,
                           const char *usage)
{
    char path[ROOM_PATH];
    uint64_t most, used, cache = 0;
    if (!room_join(path, base, group, limit, "") || !room_file(path, "", &most) ||
        !room_join(path, base, group, usage, "") || !room_file(path, "", &used))
        return UINT64_MAX;
    if (room_join(path, base, group, "/memory.stat", "") &&
        room_file(path, "inactive_file ", &cache))
        used -= cache < used ? cache : used;
    return most > used ? most - used : 0;
}

/* The group of the path and all above it. */
static uint64_t room_groups(const char *base, char *group, const char *limit, const char *usage)
{
    uint64_t room = UINT64_MAX;
    for (;;) {
        room = tide_min(room, room_group(base, group, limit, usage));
        char *slash = strrchr(group, '/');
        if (slash == NULL)
            return room;
        *slash = '\0';
    }
}

/* The control groups of this process, of both versions. */
static uint64_t room_limits(const char *root)
{
    char path[ROOM_PATH], text[ROOM_TEXT];
    uint64_t room = UINT64_MAX;
    if (!room_join(path, root, "/proc/self/cgroup", "", "") ||
        tide_file_read(path, text, sizeof text) <= 0)
        return room;
    for (char *line = text; *line != '\0';) {
        char *end = line + strcspn(line, "\n"), *next = end + (*end == '\n');
        *end = '\0';
        char *group = strchr(line, '/');
        bool second = strncmp(line, "0::", 3) == 0, first = strstr(line, ":memory:") != NULL;
        if (group != NULL && second && room_join(path, root, "/sys/fs/cgroup", "", ""))
            room = tide_min(room, room_groups(path, group, "/memory.max", "/memory.current"));
        if (group != NULL && first && room_join(path, root, "/sys/fs/cgroup/memory", "", ""))
            room = tide_min(
                room, room_groups(path, group, "/memory.limit_in_bytes", "/memory.usage_in_bytes"));
        line = next;
    }
    return room;
}

uint64_t tide_store_room(const char *root)
{
    char path[ROOM_PATH], text[ROOM_TEXT];
    uint64_t total, available, room, keep;
    if (!room_join(path, root, "/proc/meminfo", "", "") ||
        tide_file_read(path, text, sizeof text) <= 0 || !room_number(text, "MemTotal:", &total) ||
        !room_number(text, "MemAvailable:", &available))
        return UINT64_MAX;
    keep = tide_max(total * 1024 / ROOM_RESERVE, ROOM_LEAST);
    room = tide_min(available * 1024, room_limits(root));
    return room > keep ? room - keep : 0;
}
