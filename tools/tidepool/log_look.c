/* log_look.c - see log.h: a log found in a file or a device, and mapped for reading */
#define _GNU_SOURCE
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "box/lanes.h"
#include "box/store.h"

/* --- the file --------------------------------------------------------------------------- */

static const struct log_look *look_last; /* for the handler of its signal */

/* Why a page of it is not there. */
static void look_cause(const struct log_look *look, struct tide_text *text)
{
    struct tide_store now;
    struct statfs system;
    if (tide_store_stat(look->fd, &now) != 0 || now.kind != TIDE_STORE_FILE) {
        tide_text_add(text, "the device is broken, or gone");
    } else if (now.size < look->size) {
        tide_text_add(text, "the file was made shorter, from ");
        tide_text_number(text, look->size, 10);
        tide_text_add(text, " to ");
        tide_text_number(text, now.size, 10);
        tide_text_add(text, " bytes");
    } else if (now.allocated < now.size && fstatfs(look->fd, &system) == 0) {
        tide_text_add(text, "the file has holes of ");
        tide_text_number(text, now.size - now.allocated, 10);
        tide_text_add(text, " bytes, and its file system has ");
        tide_text_number(text, (uint64_t)system.f_bavail * (uint64_t)system.f_bsize, 10);
        tide_text_add(text, " left to fill them");
    } else {
        tide_text_add(text, "its disk is broken");
    }
}

/* A page of the mapping that is not there. */
static void look_signal(int number)
{
    static char line[2 * LOG_TEXT];
    struct tide_text text = {line, sizeof line, 0};
    (void)number;
    tide_text_add(&text, "tidepool ");
    tide_text_add(&text, look_last->command);
    tide_text_add(&text, ": ");
    tide_text_add(&text, look_last->path);
    tide_text_add(&text, ": cannot be read to its end: ");
    look_cause(look_last, &text);
    tide_text_add(&text, "\n");
    ssize_t written = write(STDERR_FILENO, line, text.len);
    (void)written;
    _exit(EXIT_ERROR);
}

/* The size of a dax device, as sysfs tells it; 0: it is none. */
static uint64_t look_device(const struct stat *about)
{
    char path[96];
    unsigned long long size = 0;
    snprintf(path, sizeof path, "/sys/dev/char/%u:%u/size", major(about->st_rdev),
             minor(about->st_rdev));
    FILE *file = fopen(path, "re");
    if (file == NULL || fscanf(file, "%llu", &size) != 1)
        size = 0;
    if (file != NULL)
        fclose(file);
    return size;
}

/* EXIT_DONE with look->size set, else an exit code after a complaint; LOG_NO_FILE: not there. */
static int look_stat(struct log_look *look)
{
    struct stat about;
    if (stat(look->path, &about) != 0) {
        if (errno == ENOENT || errno == ENOTDIR)
            return EXIT_DONE;
        complain(look->command, "%s: %s", look->path, strerror(errno));
        return EXIT_ERROR;
    }
    bool device = strncmp(look->source, "dax:", 4) == 0;
    if (device ? !S_ISCHR(about.st_mode) : !S_ISREG(about.st_mode)) {
        complain(look->command, device ? "%s: is no device" : "%s: is no regular file%s",
                 look->path, S_ISCHR(about.st_mode) ? " (for devdax say dax:PATH)" : "");
        return EXIT_ERROR;
    }
    look->size = device ? look_device(&about) : (uint64_t)about.st_size;
    if (device && look->size == 0) {
        complain(look->command, "%s: is no dax device", look->path);
        return EXIT_ERROR;
    }
    look->state = LOG_NO_REGION;
    return EXIT_DONE;
}

static int look_map(struct log_look *look)
{
    look->fd = open(look->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (look->fd < 0) {
        int code = errno == ENOENT ? EXIT_ABSENT : EXIT_ERROR;
        complain(look->command, "%s: %s", look->path, strerror(errno));
        return code;
    }
    if (look->size < TIDE_REGION_LEAST)
        return EXIT_DONE;
    void *base = mmap(NULL, look->size, PROT_READ, MAP_SHARED, look->fd, 0);
    if (base == MAP_FAILED) {
        complain(look->command, "%s: cannot be mapped: %s", look->path, strerror(errno));
        return EXIT_ERROR;
    }
    look->base = base;
    return EXIT_DONE;
}

/* --- what is in it ------------------------------------------------------------------------ */

/* The region's words; those of its head are copied before they are believed. */
static bool look_region(struct log_look *look)
{
    static struct tide_plot_head head;
    char words[TIDE_REGION_TEXT];
    struct tide_text why = {words, sizeof words, 0};
    struct tide_region *region = &look->region;
    if (look->base == NULL)
        return false;
    memcpy((void *)&head, look->base, sizeof head);
    if (tide_plot_check(&head, look->size, 0, &why) != 0 ||
        head.size / TIDE_REGION_SEGMENT != head.segments)
        return false;
    region->extent.base = (char *)look->base;
    region->extent.fd = look->fd;
    region->size = head.size;
    region->table.head = (void *)look->base;
    region->table.entry = (void *)(look->base + TIDE_PLOT_AT);
    region->table.segments = head.segments;
    region->table.heads = head.heads;
    look->state = LOG_NO_LOG;
    return true;
}

/* Its first word tells it from other logs. */
static bool look_is_lanes(const struct log_look *look)
{
    const struct tide_lanes_head *head = (const void *)(look->base + look->room.at);
    return look->room.size >= sizeof *head && atomic_load(&head->magic) == TIDE_LANES_MAGIC;
}

/* Its head may be damaged. */
static void look_lanes(struct log_look *look)
{
    const struct tide_logroom *room = &look->room;
    if (!tide_lanes_open(&look->lanes, TIDE_COH_NONCOHERENT, look->base + room->at, room->size,
                         &look->fault))
        return;
    const uint8_t *id = look->lanes.head->id;
    if (memcmp(id, room->id, sizeof room->id) != 0)
        look->fault = (struct tide_layout_fault){"log of another region: first byte of its id",
                                                 id[0], room->id[0], room->id[0]};
    else
        look->state = LOG_LANES;
}

static void look_log(struct log_look *look)
{
    struct tide_layout_fault *fault = &look->fault;
    int error = tide_logroom_check(&look->region, fault);
    if (error == -ENOENT)
        return;
    look->state = LOG_DAMAGED;
    if (error != 0)
        return;
    tide_peek_words(&look->room, tide_logroom_of(&look->region), sizeof look->room);
    const struct tide_logroom *room = &look->room;
    if (room->at >= look->region.size || room->size > look->region.size - room->at) {
        *fault = (struct tide_layout_fault){"bytes of the log", room->size, 1,
                                            look->region.size - TIDE_REGION_SEGMENT};
        return;
    }
    if (look_is_lanes(look)) {
        look_lanes(look);
        return;
    }
    if (!tide_peek_open(&look->peek, look->base + room->at, room->size, fault))
        return;
    const struct tide_layout_head *head = look->peek.map.head;
    tide_peek_region(&look->peek, look->base, look->region.size);
    if (memcmp(head->id, room->id, sizeof room->id) != 0)
        *fault = (struct tide_layout_fault){"log of another region: first byte of its id",
                                            head->id[0], room->id[0], room->id[0]};
    else
        look->state = LOG_THERE;
}

int log_look_any(struct log_look *look, const char *command, const char *region)
{
    memset((void *)look, 0, sizeof *look);
    look->command = command;
    look->fd = -1;
    if (!log_source(command, region, look->source))
        return EXIT_USAGE;
    snprintf(look->path, sizeof look->path, "%s", strchr(look->source, ':') + 1);
    char *delay = strstr(look->path, ",delay=");
    if (delay != NULL)
        *delay = '\0';
    look_last = look;
    signal(SIGBUS, look_signal);
    int code = look_stat(look);
    if (code != EXIT_DONE || look->state == LOG_NO_FILE)
        return code;
    code = look_map(look);
    if (code == EXIT_DONE && look_region(look))
        look_log(look);
    return code;
}

/* What there is instead of a region, in words. Of one that is cut off the head may be there. */
static void look_complain_region(const struct log_look *look)
{
    static struct tide_plot_head head;
    const void *base = look->base;
    char words[TIDE_REGION_TEXT] = "";
    struct tide_text why = {words, sizeof words, 0};
    if (base == NULL && pread(look->fd, &head, sizeof head, 0) == sizeof head)
        base = &head;
    tide_plot_check(base, look->size, 0, &why);
    if (strncmp(words, "no region: its size", 19) == 0)
        complain(look->command, "%s: %llu bytes; a region has at least %d", look->path,
                 (unsigned long long)look->size, TIDE_REGION_LEAST);
    else
        complain(look->command, "%s: %s", look->path, words[0] != '\0' ? words : "damaged");
}

static int look_complain(const struct log_look *look)
{
    const struct tide_layout_fault *fault = &look->fault;
    switch (look->state) {
    case LOG_NO_FILE:
        complain(look->command, "%s: there is no such file", look->path);
        return EXIT_ABSENT;
    case LOG_NO_REGION:
        look_complain_region(look);
        return EXIT_ERROR;
    case LOG_NO_LOG:
        complain(look->command, "%s: a region without a log (tidepool log create makes one)",
                 look->path);
        return EXIT_ABSENT;
    case LOG_LANES:
        complain(look->command,
                 "%s: a log in lanes (TIDE_LOG_NONCOHERENT): this command does not "
                 "know it",
                 look->path);
        return EXIT_ERROR;
    default:
        complain(look->command, "%s: no log that can be read: %s: %llu, allowed: %llu to %llu",
                 look->path, fault->what, (unsigned long long)fault->value,
                 (unsigned long long)fault->low, (unsigned long long)fault->high);
        return EXIT_ERROR;
    }
}

int log_look_open(struct log_look *look, const char *command, const char *region)
{
    int code = log_look_any(look, command, region);
    return code != EXIT_DONE || look->state == LOG_THERE ? code : look_complain(look);
}

int log_look_both(struct log_look *look, const char *command, const char *region)
{
    int code = log_look_any(look, command, region);
    return code != EXIT_DONE || look->state == LOG_LANES || look->state == LOG_THERE
               ? code
               : look_complain(look);
}

void log_look_close(struct log_look *look)
{
    if (look->base != NULL)
        munmap(look->base, look->size);
    if (look->fd >= 0)
        close(look->fd);
    look->base = NULL;
    look->fd = -1;
}

/* --- later --------------------------------------------------------------------------------- */

/* The better of two: whoever runs, then one of whom nobody knows, then one that died. */
static bool look_is_better(enum tide_owner_is is, enum tide_owner_is than)
{
    static const int rank[TIDE_OWNER_FOREIGN + 1] = {[TIDE_OWNER_NOBODY] = 0,
                                                     [TIDE_OWNER_DEAD] = 1,
                                                     [TIDE_OWNER_UNKNOWN] = 2,
                                                     [TIDE_OWNER_FOREIGN] = 3,
                                                     [TIDE_OWNER_ALIVE] = 4};
    return rank[is] > rank[than];
}

/* Of another boot: dead, unless somebody has the memory open. */
enum tide_owner_is log_look_judge(const struct log_look *look, const struct tide_owner *owner,
                                  struct tide_owner_seen *seen)
{
    enum tide_owner_is is = tide_owner_look(owner, seen);
    if (is != TIDE_OWNER_BEFORE)
        return is;
    if (tide_store_lock(look->fd, TIDE_STORE_EXCLUDE) == -EAGAIN)
        return TIDE_OWNER_UNKNOWN;
    tide_store_lock(look->fd, TIDE_STORE_UNLOCK);
    return TIDE_OWNER_DEAD;
}

uint32_t log_look_owner(const struct log_look *look, enum tide_owner_is *is)
{
    const struct tide_logroom *room = tide_logroom_of(&look->region);
    struct tide_owner_seen seen;
    uint32_t pid = 0;
    *is = TIDE_OWNER_NOBODY;
    for (uint32_t i = 0; i <= TIDE_LAYOUT_MEMBERS; i++) {
        enum tide_owner_is found =
            log_look_judge(look, i == 0 ? &room->owner : &room->crew[i - 1], &seen);
        if (look_is_better(found, *is)) {
            *is = found;
            pid = seen.pid;
        }
    }
    return pid;
}

enum tide_owner_is log_look_member(const struct log_look *look, uint64_t whose)
{
    const struct tide_logroom *room = tide_logroom_of(&look->region);
    struct tide_owner_seen seen;
    uint64_t member = (whose >> 32) - 1;
    if (member >= TIDE_LAYOUT_MEMBERS)
        return TIDE_OWNER_DEAD;
    enum tide_owner_is is = log_look_judge(look, &room->crew[member], &seen);
    return is == TIDE_OWNER_NOBODY || seen.pid != (uint32_t)whose ? TIDE_OWNER_DEAD : is;
}

bool log_look_is_mending(const struct log_look *look)
{
    const struct tide_logroom *room = tide_logroom_of(&look->region);
    return atomic_load(&room->state) == TIDE_LOGROOM_OPEN && atomic_load(&room->mending) != 0 &&
           atomic_load(&room->damaged) == 0;
}

bool log_look_same(const struct log_look *look)
{
    const struct tide_logroom *room = tide_logroom_of(&look->region);
    uint8_t id[sizeof room->id];
    tide_peek_words(id, room->id, sizeof id);
    return atomic_load(&room->magic) == TIDE_LOGROOM_MAGIC &&
           memcmp(id, look->room.id, sizeof id) == 0;
}

uint64_t log_shown(const struct log_look *look, uint64_t position)
{
    return position - (look->peek.map.level == 0);
}
