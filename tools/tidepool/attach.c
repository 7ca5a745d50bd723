/* attach.c - see attach.h */
#define _GNU_SOURCE
#include "attach.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char attach_link[] = "/memfd:" TIDE_COUNTERS_NAME;

static const char *attach_name(const struct attach *attach)
{
    static char name[32];
    snprintf(name, sizeof name, "process %ld", attach->pid);
    return attach->pid != 0 ? name : attach->path;
}

/* --- a page in a file ----------------------------------------------------------------- */

/* Who may have made the file: the user who asks. Root believes everybody's, as it may read
 * everything anyway. */
static int attach_check(const struct attach *attach, const struct stat *status)
{
    const char *name = attach_name(attach);
    if (!S_ISREG(status->st_mode)) {
        complain("stat", "%s: no regular file", name);
        return EXIT_ABSENT;
    }
    if (status->st_uid != geteuid() && geteuid() != 0) {
        complain("stat", "%s: belongs to another user (uid %u)", name, (unsigned)status->st_uid);
        return EXIT_ABSENT;
    }
    if ((status->st_mode & 022) != 0) {
        complain("stat", "%s: others may write to it (mode %03o): not believed", name,
                 (unsigned)status->st_mode & 07777);
        return EXIT_ABSENT;
    }
    if (status->st_size < TIDE_COUNTERS_BYTES) {
        complain("stat", "%s: cut off: %lld bytes, a page of counters has %d", name,
                 (long long)status->st_size, TIDE_COUNTERS_BYTES);
        return EXIT_ERROR;
    }
    return EXIT_DONE;
}

static int attach_file(struct attach *attach, int follow)
{
    struct stat status;
    attach->fd = open(attach->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY | follow);
    if (attach->fd < 0) {
        if (errno == ELOOP)
            complain("stat", "%s: a symbolic link, which is not followed", attach->path);
        else
            complain("stat", "%s: %s", attach->path, strerror(errno));
        return EXIT_ABSENT;
    }
    if (fstat(attach->fd, &status) != 0) {
        complain("stat", "%s: %s", attach_name(attach), strerror(errno));
        return EXIT_ERROR;
    }
    return attach_check(attach, &status);
}

/* --- the process ------------------------------------------------------------------------ */

/* Field `number` (from 3) of /proc/PID/stat; false when there is no such process. */
static bool process_field(long pid, int number, char *buf, size_t size)
{
    char path[64], line[1024];
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    FILE *file = fopen(path, "re");
    size_t got = file != NULL ? fread(line, 1, sizeof line - 1, file) : 0;
    if (file != NULL)
        fclose(file);
    line[got] = '\0';
    const char *at = strrchr(line, ')');
    for (int field = 2; at != NULL && field < number; field++)
        at = strchr(at + 1, ' ');
    if (at == NULL)
        return false;
    snprintf(buf, size, "%.*s", (int)strcspn(at + 1, " \n"), at + 1);
    return true;
}

static bool process_runs(long pid)
{
    char state[8];
    return process_field(pid, 3, state, sizeof state) && state[0] != 'Z' && state[0] != 'X';
}

/* The number by which the process knows itself; in a container it is another one. */
static uint64_t process_own_number(long pid)
{
    char path[64], *line = NULL;
    size_t size = 0;
    uint64_t number = (uint64_t)pid;
    snprintf(path, sizeof path, "/proc/%ld/status", pid);
    FILE *file = fopen(path, "re");
    while (file != NULL && getline(&line, &size, file) > 0)
        if (strncmp(line, "NSpid:", 6) == 0)
            number = strtoull(strrchr(line, '\t') + 1, NULL, 10);
    free(line);
    if (file != NULL)
        fclose(file);
    return number;
}

/* Is this process the one that made the page, or a child of it, or a later one with its
 * number? Of a file it is not known in which container its numbers count. */
static bool attach_is_alive(const struct attach *attach)
{
    char ticks[32];
    long pid = attach->pid != 0 ? attach->pid : (long)attach->page.pid;
    if (!process_runs(pid) || !process_field(pid, 22, ticks, sizeof ticks))
        return false;
    if (attach->pid != 0 && process_own_number(pid) != attach->page.pid)
        return false;
    return attach->page.ticks == 0 || strtoull(ticks, NULL, 10) == attach->page.ticks;
}

static int process_denied(const struct attach *attach)
{
    struct stat status;
    char path[64];
    snprintf(path, sizeof path, "/proc/%ld", attach->pid);
    if (stat(path, &status) == 0 && status.st_uid != geteuid())
        complain("stat",
                 "process %ld: of another user (uid %u), or one that gained rights; only that "
                 "user or root may look at it",
                 attach->pid, (unsigned)status.st_uid);
    else
        complain("stat", "process %ld: the kernel does not let this user look at it: %s",
                 attach->pid, strerror(EACCES));
    return EXIT_ABSENT;
}

/* --- what the process has mapped ---------------------------------------------------------- */

struct mapped {
    bool library;           /* libtidepool.so */
    char page[ATTACH_PATH]; /* the file of the page; "": none */
    uint64_t at;            /* where it is mapped */
};

/* One line of /proc/PID/maps: is its file a page of counters of ours? */
static bool mapped_is_page(const char *line, const char *name)
{
    const char *base = strrchr(name, '/');
    size_t length = sizeof TIDE_COUNTERS_FILE - 1;
    if (strstr(line, " rw-s ") == NULL || base == NULL)
        return false;
    if (strncmp(name, attach_link, sizeof attach_link - 1) == 0)
        return true;
    return strncmp(base + 1, TIDE_COUNTERS_FILE, length) == 0 &&
           strspn(base + 1 + length, "0123456789") == strlen(base + 1 + length);
}

static void mapped_read(long pid, struct mapped *found)
{
    char path[64], *line = NULL;
    size_t size = 0;
    memset(found, 0, sizeof *found);
    snprintf(path, sizeof path, "/proc/%ld/maps", pid);
    FILE *file = fopen(path, "re");
    while (file != NULL && getline(&line, &size, file) > 0) {
        const char *name = strchr(line, '/');
        line[strcspn(line, "\n")] = '\0';
        if (name == NULL)
            continue;
        found->library = found->library || strstr(name, "/libtidepool") != NULL;
        if (mapped_is_page(line, name)) {
            snprintf(found->page, sizeof found->page, "%s", name);
            found->at = strtoull(line, NULL, 16);
        }
    }
    free(line);
    if (file != NULL)
        fclose(file);
}

static int attach_none(const struct attach *attach, const struct mapped *found)
{
    if (!process_runs(attach->pid)) {
        complain("stat", "process %ld has ended", attach->pid);
    } else if (found->library) {
        complain("stat",
                 "process %ld runs on tidepool, but without the option counters (start it by: "
                 "tidepool run --counters -- PROGRAM)",
                 attach->pid);
    } else {
        complain("stat",
                 "process %ld does not run on tidepool: no libtidepool.so in it, no page "
                 "of counters",
                 attach->pid);
    }
    return EXIT_ABSENT;
}

/* The program closed the descriptor: the page is in its memory all the same. */
static int attach_memory(struct attach *attach, const struct mapped *found)
{
    attach->way = ATTACH_MEMORY;
    attach->offset = found->at;
    snprintf(attach->path, sizeof attach->path, "/proc/%ld/mem", attach->pid);
    attach->fd = open(attach->path, O_RDONLY | O_CLOEXEC);
    if (attach->fd >= 0)
        return EXIT_DONE;
    complain("stat",
             "process %ld has closed the descriptor of its page, and its memory may not be read: "
             "%s (kernel.yama.ptrace_scope); counters=/DIR does without",
             attach->pid, strerror(errno));
    return EXIT_ABSENT;
}

/* The descriptor of a nameless page; its number, -1 none, -2 not permitted. */
static int attach_descriptor(long pid)
{
    char path[64], link[128];
    int number = -1;
    snprintf(path, sizeof path, "/proc/%ld/fd", pid);
    DIR *directory = opendir(path);
    if (directory == NULL)
        return errno == EACCES || errno == EPERM ? -2 : -1;
    const struct dirent *entry;
    while (number < 0 && (entry = readdir(directory)) != NULL) {
        ssize_t length = readlinkat(dirfd(directory), entry->d_name, link, sizeof link - 1);
        link[length > 0 ? length : 0] = '\0';
        if (strncmp(link, attach_link, sizeof attach_link - 1) == 0)
            number = atoi(entry->d_name);
    }
    closedir(directory);
    return number;
}

static int attach_process(struct attach *attach)
{
    struct mapped found;
    if (!process_runs(attach->pid)) {
        complain("stat", "process %ld: there is no such process", attach->pid);
        return EXIT_ABSENT;
    }
    int number = attach_descriptor(attach->pid);
    if (number == -2)
        return process_denied(attach);
    if (number >= 0) {
        attach->way = ATTACH_NAMELESS;
        snprintf(attach->path, sizeof attach->path, "/proc/%ld/fd/%d", attach->pid, number);
        return attach_file(attach, 0);
    }
    mapped_read(attach->pid, &found);
    if (found.page[0] == '\0')
        return attach_none(attach, &found);
    if (strncmp(found.page, attach_link, sizeof attach_link - 1) == 0)
        return attach_memory(attach, &found);
    attach->way = ATTACH_FILE; /* its root directory may be another one */
    snprintf(attach->path, sizeof attach->path, "/proc/%ld/root%.4000s", attach->pid, found.page);
    return attach_file(attach, O_NOFOLLOW);
}

/* --- both --------------------------------------------------------------------------------- */

int attach_open(struct attach *attach, const char *target)
{
    memset(attach, 0, sizeof *attach);
    attach->fd = -1;
    if (target[0] != '\0' && target[strspn(target, "0123456789")] == '\0') {
        errno = 0;
        attach->pid = strtol(target, NULL, 10);
        if (attach->pid <= 0 || attach->pid > 1 << 30 || errno != 0) {
            complain("stat", "'%s' is no process id (a file of this name: ./%s)", target, target);
            return EXIT_USAGE;
        }
        return attach_process(attach);
    }
    attach->way = ATTACH_FILE;
    if (snprintf(attach->path, sizeof attach->path, "%s", target) >= (int)sizeof attach->path ||
        target[0] == '\0') {
        complain("stat", "'%.40s': no process id and no file", target);
        return EXIT_USAGE;
    }
    return attach_file(attach, O_NOFOLLOW);
}

/* Two copies with the same even turn: then nobody wrote between them, and the first is whole. */
static int attach_read(struct attach *attach)
{
    struct timespec pause = {0, 1000000};
    uint64_t turn = 0;
    off_t at = (off_t)(attach->offset + offsetof(struct tide_counters_page, figures.turn));
    for (int i = 0; i < 1000; i++) {
        ssize_t got = pread(attach->fd, &attach->page, sizeof attach->page, (off_t)attach->offset);
        if (got != (ssize_t)sizeof attach->page ||
            pread(attach->fd, &turn, sizeof turn, at) != (ssize_t)sizeof turn)
            return -1;
        if (turn == attach->page.figures.turn && turn % 2 == 0)
            return 1;
        nanosleep(&pause, NULL);
    }
    return 0;
}

/* Texts of the page end somewhere, whoever wrote it. */
static void attach_tame(struct tide_counters_page *page)
{
    page->library[sizeof page->library - 1] = '\0';
    page->header[sizeof page->header - 1] = '\0';
    page->full[sizeof page->full - 1] = '\0';
    page->source[sizeof page->source - 1] = '\0';
    page->why[sizeof page->why - 1] = '\0';
    page->program[sizeof page->program - 1] = '\0';
    if (page->figures.ranges > TIDE_COUNTERS_RANGES)
        page->figures.ranges = TIDE_COUNTERS_RANGES;
}

static int attach_judge(const struct attach *attach)
{
    const struct tide_counters_page *page = &attach->page;
    const char *name = attach_name(attach);
    if (page->magic != TIDE_COUNTERS_MAGIC) {
        complain("stat",
                 page->magic == 0 ? "%s: the page of counters was never finished"
                                  : "%s: no page of counters of tidepool",
                 name);
        return page->magic == 0 ? EXIT_ABSENT : EXIT_ERROR;
    }
    if (page->version != TIDE_COUNTERS_VERSION || page->size != TIDE_COUNTERS_BYTES) {
        complain("stat",
                 "%s: a page of version %u, made by another release of the library; this "
                 "command reads version %d",
                 name, page->version, TIDE_COUNTERS_VERSION);
        return EXIT_ABSENT;
    }
    return EXIT_DONE;
}

int attach_sample(struct attach *attach)
{
    bool was_there = attach->page.magic == TIDE_COUNTERS_MAGIC;
    int whole = attach_read(attach);
    if (whole < 0 && attach->way == ATTACH_MEMORY && !process_runs(attach->pid)) {
        attach->alive = false; /* the last sample stays */
        if (was_there)
            return EXIT_DONE;
    }
    int code = whole < 0 ? EXIT_ERROR : attach_judge(attach);
    if (whole < 0)
        complain("stat", "%s: the page of counters cannot be read: %s", attach_name(attach),
                 errno != 0 ? strerror(errno) : "it is cut off");
    if (code != EXIT_DONE)
        return code;
    if (whole == 0) {
        complain("stat", "%s: the figures were never whole: their writer was stopped half-way",
                 attach_name(attach));
        return EXIT_ERROR;
    }
    attach_tame(&attach->page);
    attach->alive = attach_is_alive(attach);
    if (attach->pid != 0 && !attach->alive && process_runs(attach->pid)) {
        complain("stat",
                 "process %ld has no page of its own yet, only that of the process it "
                 "came from (%llu)",
                 attach->pid, (unsigned long long)attach->page.pid);
        return EXIT_ABSENT;
    }
    return EXIT_DONE;
}

/* --- residency ---------------------------------------------------------------------------- */

static bool attach_is_mid(const struct attach *attach, uint64_t address)
{
    const struct tide_counters_figures *figures = &attach->page.figures;
    for (uint64_t i = 0; i < figures->ranges; i++)
        if (address - figures->mid[i].base < figures->mid[i].size)
            return true;
    return false;
}

/* "7f12... default anon=3 dirty=3 N0=2 N1=1 kernelpagesize_kB=4" */
static void attach_pages_line(struct attach *attach, const char *line)
{
    const char *kilobytes = strstr(line, "kernelpagesize_kB=");
    if (kilobytes == NULL || !attach_is_mid(attach, strtoull(line, NULL, 16)))
        return;
    uint64_t bytes = 1024 * strtoull(strchr(kilobytes, '=') + 1, NULL, 10);
    for (const char *at = strstr(line, " N"); at != NULL; at = strstr(at + 2, " N")) {
        char *end;
        unsigned long node = strtoul(at + 2, &end, 10);
        if (*end == '=' && node < ATTACH_NODES)
            attach->node_bytes[node] += bytes * strtoull(end + 1, NULL, 10);
    }
}

void attach_pages(struct attach *attach)
{
    char path[64], *line = NULL;
    size_t size = 0;
    long pid = attach->pid != 0 ? attach->pid : (long)attach->page.pid;
    memset(attach->node_bytes, 0, sizeof attach->node_bytes);
    snprintf(path, sizeof path, "/proc/%ld/numa_maps", pid);
    FILE *file = attach->alive ? fopen(path, "re") : NULL;
    attach->pages_known = file != NULL;
    while (file != NULL && getline(&line, &size, file) > 0)
        attach_pages_line(attach, line);
    free(line);
    if (file != NULL)
        fclose(file);
}

void attach_close(struct attach *attach)
{
    if (attach->fd >= 0)
        close(attach->fd);
    attach->fd = -1;
}
