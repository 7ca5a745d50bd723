/* log_expel.c - tidepool log expel: who has a log open, and how one of them loses it */
#define _GNU_SOURCE
#include "log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <tidepool/log.h>

enum { EXPEL_FORCE, EXPEL_JSON, EXPEL_HELP, EXPEL_FLAGS };

static const struct flag expel_flags[EXPEL_FLAGS] = {
    [EXPEL_FORCE] = {"force", FLAG_PLAIN, false, 0},
    [EXPEL_JSON] = {"json", FLAG_PLAIN, false, 0},
    [EXPEL_HELP] = {"help", FLAG_PLAIN, false, 'h'},
};

struct expel_wish {
    bool force, json;
};

void log_expel_help(void)
{
    fputs(
        "tidepool log expel - who has a log open, and how one of them loses it\n"
        "\n"
        "usage: tidepool log expel [--json] REGION\n"
        "       tidepool log expel [--force] [--json] REGION PROCESS\n"
        "\n"
        "  tidepool log expel /dev/shm/log                 the processes that have it open\n"
        "  tidepool log expel /dev/shm/log 4711            4711 has it no more, if it is stopped\n"
        "  tidepool log expel --force /dev/shm/log 4711    also if it runs\n"
        "\n"
        "A process that ended needs nothing of this: the others find out by themselves. This is\n"
        "for one that lives and does harm: it is stopped (SIGSTOP, a debugger, a frozen "
        "container)\n"
        "or hangs, and its readers keep the rings full, or its claims keep the order waiting.\n"
        "\n"
        "Expelled, it is treated as if it had ended: its readers hold nobody back, what it "
        "claimed\n"
        "and did not commit is dropped, its sessions are ended. What it appended stays. All its\n"
        "calls answer -ESTALE from then on, and what its readers were reading is gone: a program\n"
        "that is well has to open the log anew. So --force is needed where it is not stopped.\n"
        "\n"
        "One that was stopped in the middle of a call cannot be expelled, for nobody knows what "
        "it\n"
        "will still write: let it run (kill -CONT), or kill it.\n"
        "\n"
        "  number    its place among the 32 processes that can have the log open\n"
        "  state     alive; stopped; dead: ended without closing the log; expelled: until it ends\n"
        "            or closes the log; unknown: in another container, nobody here can tell\n"
        "  started   when the process began; when it opened the log is written nowhere\n"
        "  clients, readers   that it has open\n"
        "  also      lends blocks (it alone may append by reference); syncs: it writes the "
        "medium;\n"
        "            locks: it makes, opens, closes or repairs the log at this moment\n"
        "\n"
        "Without PROCESS it only reads. With it, the log is opened for a moment, as one more of\n"
        "its processes.\n"
        "\n"
        "Flags:\n"
        "  --force  also a process that runs, or of which nobody can tell\n"
        "  --json   one object (see JSON.md)\n"
        "\n"
        "Exit codes: 0 done; 1 no such process has the log open; 2 usage; 3 refused, or an error\n",
        stdout);
}

/* --- who has it --------------------------------------------------------------------------- */

struct expel_member {
    uint32_t number, pid, clients, readers;
    enum tide_owner_is is;
    bool stopped, expelled, lends, syncs, locks;
    int64_t started; /* seconds since 1970; 0: not known */
    char name[32];
};

struct expel_list {
    struct expel_member member[TIDE_LAYOUT_MEMBERS];
    uint32_t count;
};

/* One line of a file of /proc, without its end. */
static bool expel_line(const char *path, char *line, size_t size)
{
    FILE *file = fopen(path, "re");
    bool there = file != NULL && fgets(line, (int)size, file) != NULL;
    if (file != NULL)
        fclose(file);
    if (there)
        line[strcspn(line, "\n")] = '\0';
    return there;
}

/* When the machine began, in seconds since 1970; 0: nobody tells. */
static int64_t expel_boot(void)
{
    char line[4096];
    long long seconds = 0;
    FILE *file = fopen("/proc/stat", "re");
    while (file != NULL && seconds == 0 && fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, "btime ", 6) == 0)
            seconds = strtoll(line + 6, NULL, 10);
    if (file != NULL)
        fclose(file);
    return seconds;
}

/* What the kernel says of a process that runs where we do. */
static void expel_kernel(struct expel_member *member, uint64_t ticks)
{
    char path[40], line[1024];
    int64_t boot = expel_boot();
    snprintf(path, sizeof path, "/proc/%u/comm", member->pid);
    if (expel_line(path, line, sizeof line))
        snprintf(member->name, sizeof member->name, "%.31s", line);
    snprintf(path, sizeof path, "/proc/%u/stat", member->pid);
    const char *end = expel_line(path, line, sizeof line) ? strrchr(line, ')') : NULL;
    member->stopped = end != NULL && (strncmp(end, ") T", 3) == 0 || strncmp(end, ") t", 3) == 0);
    if (boot != 0 && ticks != 0)
        member->started = boot + (int64_t)(ticks / (uint64_t)sysconf(_SC_CLK_TCK));
}

/* How many clients and readers are this member's. */
static void expel_handles(const struct log_look *look, struct expel_member *member)
{
    const struct tide_logmap *map = &look->peek.map;
    uint64_t whose = tide_layout_whose(member->number, member->pid);
    struct tide_layout_producer producer;
    struct tide_layout_reader reader;
    for (uint32_t i = 0; i < map->producers; i++) {
        tide_peek_words(&producer, &map->producer[i], sizeof producer);
        member->clients += producer.owner == whose;
    }
    for (uint32_t i = 0; i < map->readers; i++) {
        tide_peek_words(&reader, &map->reader[i], sizeof reader);
        member->readers += reader.owner == whose;
    }
}

static void expel_look(const struct log_look *look, struct expel_list *list)
{
    const struct tide_logroom *room = tide_logroom_of(&look->region);
    const struct tide_layout_head *head = look->peek.map.head;
    struct tide_owner_seen seen, lock;
    bool locked = tide_owner_look(&room->owner, &lock) != TIDE_OWNER_NOBODY;
    list->count = 0;
    for (uint32_t i = 0; i < TIDE_LAYOUT_MEMBERS; i++) {
        enum tide_owner_is is = log_look_judge(look, &room->crew[i], &seen);
        struct expel_member *member = &list->member[list->count];
        if (is == TIDE_OWNER_NOBODY)
            continue;
        list->count++;
        *member = (struct expel_member){.number = i, .pid = seen.pid, .is = is};
        member->expelled = atomic_load(&head->member[i].standing) == TIDE_LAYOUT_EXPELLED;
        member->lends = atomic_load(&head->lender) == i + 1;
        member->syncs = atomic_load(&room->syncer) == i + 1;
        member->locks = locked && lock.word == seen.word;
        expel_handles(look, member);
        if (is == TIDE_OWNER_ALIVE)
            expel_kernel(member, atomic_load(&room->crew[i].started));
    }
}

static const char *expel_state(const struct expel_member *member)
{
    static const char *const word[] = {
        [TIDE_OWNER_NOBODY] = "nobody", [TIDE_OWNER_DEAD] = "dead",
        [TIDE_OWNER_ALIVE] = "alive",   [TIDE_OWNER_UNKNOWN] = "unknown",
        [TIDE_OWNER_BEFORE] = "dead",   [TIDE_OWNER_FOREIGN] = "foreign"};
    if (member->expelled && member->is != TIDE_OWNER_DEAD)
        return "expelled";
    return member->stopped ? "stopped" : word[member->is];
}

static void expel_text(const struct log_look *look, const struct expel_list *list)
{
    if (list->count == 0) {
        printf("%s: nobody has it open\n", look->source);
        return;
    }
    printf("%s: %u of %d processes\n\nnumber  process  state     started              clients  "
           "readers  program\n",
           look->source, list->count, TIDE_LAYOUT_MEMBERS);
    for (uint32_t i = 0; i < list->count; i++) {
        const struct expel_member *member = &list->member[i];
        char started[32] = "-", name[4 * sizeof member->name + 1];
        time_t when = (time_t)member->started;
        struct tm local;
        if (when != 0 && localtime_r(&when, &local) != NULL)
            strftime(started, sizeof started, "%Y-%m-%d %H:%M:%S", &local);
        log_escape(name, (const unsigned char *)member->name, strlen(member->name));
        printf("%6u  %7u  %-8s  %-19s  %7u  %7u  %s%s%s%s\n", member->number, member->pid,
               expel_state(member), started, member->clients, member->readers,
               name[0] != '\0' ? name : "-", member->lends ? "; lends blocks" : "",
               member->syncs ? "; syncs" : "", member->locks ? "; locks" : "");
    }
}

static void expel_json(const struct log_look *look, const struct expel_list *list, uint32_t pid)
{
    struct json json = {0};
    json_begin(&json, "log expel");
    json_text(&json, "region", look->source);
    if (pid != 0)
        json_number(&json, "expelled", pid);
    else
        json_null(&json, "expelled");
    json_open(&json, "processes", '[');
    for (uint32_t i = 0; i < list->count; i++) {
        const struct expel_member *member = &list->member[i];
        json_open(&json, NULL, '{');
        json_number(&json, "number", member->number);
        json_number(&json, "pid", member->pid);
        json_text(&json, "state", expel_state(member));
        if (member->started != 0)
            json_number(&json, "started", (uint64_t)member->started);
        else
            json_null(&json, "started");
        json_text(&json, "program", member->name[0] != '\0' ? member->name : NULL);
        json_number(&json, "clients", member->clients);
        json_number(&json, "readers", member->readers);
        json_bool(&json, "lends", member->lends);
        json_bool(&json, "syncs", member->syncs);
        json_bool(&json, "locks", member->locks);
        json_close(&json, '}');
    }
    json_close(&json, ']');
    json_close(&json, '}');
}

/* --- expelling ------------------------------------------------------------------------------- */

/* The member of that id that is best to expel: one that lives before one that does not. */
static const struct expel_member *expel_find(const struct expel_list *list, uint32_t pid)
{
    const struct expel_member *found = NULL;
    for (uint32_t i = 0; i < list->count; i++) {
        const struct expel_member *member = &list->member[i];
        bool lives = member->is != TIDE_OWNER_DEAD && !member->expelled;
        if (member->pid == pid && (found == NULL || lives))
            found = member;
    }
    return found;
}

/* EXIT_DONE: it may be expelled; else an exit code after a complaint. */
static int expel_may(const struct log_look *look, const struct expel_list *list, uint32_t pid,
                     bool force)
{
    const struct expel_member *member = expel_find(list, pid);
    const char *source = look->source;
    if (member == NULL) {
        complain("log expel",
                 "%s: process %u does not have it open (%u have: tidepool log expel %s)", source,
                 pid, list->count, look->path);
        return EXIT_ABSENT;
    }
    if (member->is == TIDE_OWNER_DEAD) {
        complain("log expel",
                 "%s: process %u ended; whoever has the log, or opens it next (tidepool log "
                 "recover), puts it in order",
                 source, pid);
        return EXIT_ABSENT;
    }
    if (member->expelled) {
        complain("log expel", "%s: process %u was expelled already", source, pid);
        return EXIT_ABSENT;
    }
    if (member->stopped || force)
        return EXIT_DONE;
    if (member->is == TIDE_OWNER_UNKNOWN || member->is == TIDE_OWNER_FOREIGN)
        complain("log expel",
                 "%s: whether process %u runs nobody here can tell; --force expels it all the same",
                 source, pid);
    else
        complain(
            "log expel",
            "%s: process %u (%s) runs: all calls of its clients (%u) and readers (%u) would fail; "
            "--force expels it all the same",
            source, pid, member->name, member->clients, member->readers);
    return EXIT_ERROR;
}

static int expel_complain(const struct log_look *look, int error, uint32_t pid)
{
    char words[256];
    tide_log_explain(words, sizeof words);
    if (error == -EBUSY)
        complain("log expel",
                 "%s: process %u is in the middle of a call, or syncs: let it run (kill -CONT %u) "
                 "and try again, or kill it; or others repair the log just now",
                 look->source, pid, pid);
    else
        complain("log expel", "%s: %s", look->source, words);
    return error == -ESRCH ? EXIT_ABSENT : EXIT_ERROR;
}

/* As one more process that has it open. */
static int expel_do(const struct log_look *look, uint32_t pid)
{
    struct tide_region_error why;
    tide_region_t *region;
    tide_log_t *log;
    int code = EXIT_DONE;
    if (tide_region_open(&region, look->source, 0, &why) != 0) {
        complain("log expel", "%s", why.text);
        return EXIT_ERROR;
    }
    int error = tide_log_open(&log, region);
    if (error != 0) {
        code = expel_complain(look, 0, pid);
    } else {
        error = tide_log_expel(log, pid);
        if (error != 0)
            code = expel_complain(look, error, pid);
        if (tide_log_close(log) != 0 && code == EXIT_DONE)
            code = expel_complain(look, 0, pid);
    }
    tide_region_close(region);
    return code;
}

static int expel_one(const struct log_look *look, const struct expel_wish *wish, uint32_t pid)
{
    struct expel_list before, now;
    expel_look(look, &before);
    int code = expel_may(look, &before, pid, wish->force);
    if (code == EXIT_DONE)
        code = expel_do(look, pid);
    if (code != EXIT_DONE)
        return code;
    expel_look(look, &now);
    const struct expel_member *member = expel_find(&before, pid);
    if (wish->json)
        expel_json(look, &now, pid);
    else
        printf("expelled process %u, with its clients (%u) and readers (%u)\n", pid,
               member->clients, member->readers);
    return finish_output();
}

static int expel_show(const struct log_look *look, const struct expel_wish *wish)
{
    struct expel_list list;
    expel_look(look, &list);
    if (wish->json)
        expel_json(look, &list, 0);
    else
        expel_text(look, &list);
    return finish_output();
}

/* --- the command line ------------------------------------------------------------------------ */

static bool expel_take(void *to, int flag, const char *value)
{
    struct expel_wish *wish = to;
    (void)value;
    if (flag == EXPEL_FORCE)
        wish->force = true;
    else
        wish->json = true;
    return true;
}

int log_expel(char **argv)
{
    static struct log_look look;
    struct expel_wish wish = {0};
    struct flags flags = {"log expel", expel_flags, EXPEL_FLAGS, argv, NULL};
    const char *words[2];
    uint64_t pid = 0;
    int code = log_read_words(&flags, EXPEL_HELP, expel_take, &wish, words, 2);
    if (code != EXIT_DONE)
        return code;
    if (words[0] == NULL) {
        log_expel_help();
        return EXIT_DONE;
    }
    if (words[1] != NULL && !log_number("log expel", NULL, words[1], false, 1, 4194304, &pid))
        return EXIT_USAGE;
    if (wish.force && pid == 0) {
        complain("log expel", "--force: of which process? (tidepool log expel %s)", words[0]);
        return EXIT_USAGE;
    }
    code = log_look_open(&look, "log expel", words[0]);
    if (code == EXIT_DONE)
        code = pid != 0 ? expel_one(&look, &wish, (uint32_t)pid) : expel_show(&look, &wish);
    log_look_close(&look);
    return code;
}
