/* log_repair.c - tidepool log repair and recover: a log that nobody has open is put in order */
#define _GNU_SOURCE
#include "log.h"

#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include <tidepool/log.h>

#include "box/audit.h"
#include "box/medium.h"
#include "box/mend.h"

enum { REPAIR_YES, REPAIR_JSON, REPAIR_FORCE, REPAIR_HELP, REPAIR_FLAGS };

static const struct flag repair_flags[REPAIR_FLAGS] = {
    [REPAIR_YES] = {"yes", FLAG_PLAIN, false, 'y'},
    [REPAIR_JSON] = {"json", FLAG_PLAIN, false, 0},
    [REPAIR_FORCE] = {"force", FLAG_PLAIN, false, 0},
    [REPAIR_HELP] = {"help", FLAG_PLAIN, false, 'h'},
};

/* What a repair comes to. */
struct repair {
    enum tide_logroom_need need;
    struct tide_mend_damage damage;
    struct tide_mend_report report;
    uint64_t had;                   /* valid entries before it */
    uint64_t lost;                  /* of these: that the machine's stop took */
    uint64_t errors, left;          /* what `check` finds, before and after */
    struct tide_layout_fault fault; /* what: it cannot be done */
};

void log_repair_help(void)
{
    fputs(
        "tidepool log repair - puts a damaged or abandoned log in order\n"
        "\n"
        "usage: tidepool log repair [--yes] [--force] [--json] REGION\n"
        "\n"
        "  tidepool log repair /dev/shm/log         tells what it would do, and does nothing\n"
        "  tidepool log repair --yes /dev/shm/log   does it\n"
        "\n"
        "For a log that nobody has open. First all of it is done to a copy in this process's\n"
        "own memory, and what came of it is told:\n"
        "  kept      batches that keep their places and message numbers\n"
        "  restored  of these: their entries of the order index were damaged, and were written\n"
        "            anew from their slots, several too: as numbers of clients and messages tell\n"
        "  guessed   of these: places where another batch may have been as well\n"
        "  moved     batches behind a hole: the same order, lower places\n"
        "  placed    batches that were in the log and had no place yet: behind all others\n"
        "  padded    claims that were never committed\n"
        "  fenced    level 4: batches that their session refuses\n"
        "  head      words of the head that are put right\n"
        "  cut       batches that are given up: their bytes are damaged, or no slot has them\n"
        "  lost      batches that did not get to the medium before the machine stopped\n"
        "\n"
        "What a process left behind that was killed, or the machine when it stopped, the next\n"
        "tide_log_open, and `tidepool log recover`, put in order as well. Damage is what only\n"
        "this command mends, for it may have to give batches up. A head or an area that is\n"
        "damaged cannot be mended. Copy the region first, if it is dear to you. A repair that is\n"
        "killed is done again by the next one; until then the log may refuse to be opened.\n"
        "\n"
        "Of a log in lanes (TIDE_LOG_NONCOHERENT) each change is told, the first thousand of\n"
        "them with place or line; besides the above there are\n"
        "  lines     words of lanes, sessions, readers and nodes that are put right\n"
        "  slots     slots that are written anew from their entries, or are none\n"
        "  wiped     entries of no place\n"
        "Lost batches at its beginning are trimmed, so that others keep their places. After the\n"
        "machine stopped it can be repaired with check sums. It is refused while a process has,\n"
        "or has not left, one of its nodes but node 0 (--force: none has).\n"
        "\n"
        "Flags:\n"
        "  -y, --yes  do it\n"
        "  --force    also if a process of another machine had it open: see log recover\n"
        "  --json     one object (see JSON.md)\n"
        "\n"
        "Exit codes: 0 nothing to do, or it was done; 1 there is something to do, or something\n"
        "that cannot be mended; 2 usage; 3 error.\n",
        stdout);
}

void log_recover_help(void)
{
    fputs(
        "tidepool log recover - opens a log as its process would, and closes it\n"
        "\n"
        "usage: tidepool log recover [--force] [--json] REGION\n"
        "\n"
        "  tidepool log recover /srv/log    after a crash: in order, and on the disk\n"
        "\n"
        "What was left behind by a process that was killed, or by a machine that stopped, is put\n"
        "in order (tide_log_open), and put on the region's medium, if it has one. It tells how\n"
        "long that took and what is kept. A log that was closed stays as it is. In a log in lanes\n"
        "(TIDE_LOG_NONCOHERENT) what is visible gets its places.\n"
        "\n"
        "A log that a process of another machine (/etc/machine-id) has open, or had when the disk\n"
        "was put elsewhere or the backup was made, is refused: nobody here can tell whether that\n"
        "process runs. --force says that none does; where one does, the log is lost.\n"
        "\n"
        "Flags:\n"
        "  --force  also if a process of another machine had it open: none there has it now\n"
        "  --json   one object (see JSON.md)\n"
        "\n"
        "Exit codes: 0 done; 1 no such file, or no log in it; 2 usage; 3 error: the log is open,\n"
        "or cannot be put in order (tidepool log check and repair tell more).\n",
        stdout);
}

/* --- a copy ------------------------------------------------------------------------------ */

unsigned char *log_copy(const struct log_look *look)
{
    void *base = mmap(NULL, look->size, PROT_READ | PROT_WRITE, MAP_PRIVATE, look->fd, 0);
    if (base == MAP_FAILED) { /* a device */
        base = mmap(NULL, look->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (base == MAP_FAILED)
            return NULL;
        memcpy(base, look->base, look->size);
    }
    return base;
}

/* The region in memory of our own. */
static bool repair_copy(const struct log_look *look, struct log_look *copy)
{
    struct tide_layout_fault fault;
    unsigned char *base = log_copy(look);
    *copy = *look;
    if (base == NULL)
        return false;
    copy->base = base;
    copy->region.extent.base = (char *)base;
    copy->region.table.head = (void *)base;
    copy->region.table.entry = (void *)(base + TIDE_PLOT_AT);
    if (!tide_peek_open(&copy->peek, copy->base + look->room.at, look->room.size, &fault)) {
        munmap(base, look->size);
        return false;
    }
    tide_peek_region(&copy->peek, base, copy->region.size);
    return true;
}

static void repair_keep_quiet(void *who, const struct tide_audit_finding *finding)
{
    (void)who;
    (void)finding;
}

/* What `check` says of it; UINT64_MAX: no memory. */
static uint64_t repair_audit(const struct log_look *look, bool closed, bool mending)
{
    struct tide_audit audit = {
        .peek = &look->peek, .tell = repair_keep_quiet, .closed = closed, .mending = mending};
    return tide_audit_run(&audit) ? audit.errors : UINT64_MAX;
}

static uint64_t repair_count(const struct tide_logmap *map)
{
    uint64_t first = tide_coh_get(map->coh, &map->head->trimmed_place), count = 0;
    for (uint64_t i = 0; i < map->entries.size; i++)
        count += tide_order_see(map, first + i) != NULL;
    return count;
}

/* --- what it comes to -------------------------------------------------------------------- */

static bool repair_is_damaged(const struct repair *self)
{
    return self->damage.cut + self->damage.restored + self->damage.head != 0;
}

/* Damage: of a log that the machine left when it stopped, what is not whole is not kept anyway. */
static int repair_damage(struct repair *self, const struct tide_logmap *map)
{
    return self->need != TIDE_LOGROOM_OUTAGE ? tide_mend_cut(map, &self->damage) : 0;
}

/* All that is done to a log, here to a copy of it. 0 or -errno. */
static int repair_try(struct repair *self, const struct log_look *copy)
{
    const struct tide_logmap *map = &copy->peek.map;
    const struct tide_logroom_said said = tide_logroom_said(tide_logroom_of(&copy->region));
    const struct tide_mend_mark mark = {said.places, said.base, said.kept};
    self->need = tide_logroom_need(&copy->region);
    if (self->need == TIDE_LOGROOM_READY && tide_mend_is_due(map))
        self->need = TIDE_LOGROOM_KILLED;
    self->errors = repair_audit(copy, self->need == TIDE_LOGROOM_READY, log_look_is_mending(copy));
    self->had = repair_count(map);
    int error = repair_damage(self, map);
    uint64_t whole = repair_count(map);
    if (error == 0 && self->need == TIDE_LOGROOM_OUTAGE)
        error = tide_mend_outage(map, &mark, &self->fault);
    self->report.kept = whole;
    if (error == 0 && (self->need != TIDE_LOGROOM_READY || repair_is_damaged(self) || self->errors))
        error = tide_mend(map, &self->report, &self->fault);
    uint64_t still = self->report.kept + self->report.moved;
    self->lost = whole > still ? whole - still : 0;
    self->left = repair_audit(copy, true, false);
    return self->left == UINT64_MAX || self->errors == UINT64_MAX ? -ENOMEM : error;
}

static bool repair_is_due(const struct repair *self)
{
    return self->need != TIDE_LOGROOM_READY || repair_is_damaged(self) || self->left < self->errors;
}

/* --- words ------------------------------------------------------------------------------- */

const char *log_left(enum tide_logroom_need need, bool long_form)
{
    static const char *const words[] = {"closed", "killed", "outage"};
    static const char *const how[] = {"was closed",
                                      "was left by a process that ended without closing it",
                                      "was left by a machine that stopped"};
    return (long_form ? how : words)[need];
}

struct repair_figure {
    const char *name, *words;
    uint64_t count;
};

enum { REPAIR_FIGURES = 10 };

static void repair_figures(const struct repair *self, struct repair_figure out[REPAIR_FIGURES])
{
    const struct repair_figure list[REPAIR_FIGURES] = {
        {"kept", "batches keep their places", self->report.kept},
        {"restored", "of them get new entries in the order index", self->damage.restored},
        {"guessed", "of these: another batch may have been there", self->damage.guessed},
        {"moved", "batches behind a hole get lower places", self->report.moved},
        {"placed", "batches get a place behind the others", self->report.placed},
        {"padded", "claims that were never committed", self->report.padded},
        {"fenced", "batches that their session refuses", self->report.fenced},
        {"head", "words of the head are put right", self->damage.head},
        {"cut", "damaged batches are given up", self->damage.cut},
        {"lost", "batches did not get to the medium", self->lost},
    };
    memcpy(out, list, sizeof list);
}

static void repair_text(const struct log_look *look, const struct repair *self, bool yes)
{
    struct repair_figure figure[REPAIR_FIGURES];
    printf("%s: %s\n", look->source, log_left(self->need, true));
    if (!repair_is_due(self)) {
        printf(self->errors == 0 ? "nothing to do\n" : "nothing that can be mended\n");
    } else {
        repair_figures(self, figure);
        printf("%s:\n", yes ? "done" : "would be done (--yes does it)");
        for (int i = 0; i < REPAIR_FIGURES; i++)
            if (figure[i].count != 0 || i == 0)
                printf("  %-9s %8llu  %s\n", figure[i].name, (unsigned long long)figure[i].count,
                       figure[i].words);
    }
    printf("errors: %llu, afterwards %llu\n", (unsigned long long)self->errors,
           (unsigned long long)self->left);
}

static void repair_json(const struct log_look *look, const struct repair *self, bool yes)
{
    struct repair_figure figure[REPAIR_FIGURES];
    struct json json = {0};
    repair_figures(self, figure);
    json_begin(&json, "log repair");
    json_text(&json, "region", look->source);
    json_text(&json, "left", log_left(self->need, false));
    json_bool(&json, "due", repair_is_due(self));
    json_bool(&json, "done", yes && repair_is_due(self));
    for (int i = 0; i < REPAIR_FIGURES; i++)
        json_number(&json, figure[i].name, figure[i].count);
    json_number(&json, "errors_before", self->errors);
    json_number(&json, "errors", self->left);
    json_close(&json, '}');
}

/* --- doing it ---------------------------------------------------------------------------- */

int log_complain(const char *command, const char *source)
{
    char words[256];
    tide_log_explain(words, sizeof words);
    complain(command, "%s: %s", source, words);
    return EXIT_ERROR;
}

int log_open_region(const char *command, const struct log_look *look, bool force,
                    tide_region_t **region)
{
    struct tide_region_error error;
    if (tide_region_open(region, look->source, 0, &error) == 0) {
        if (force)
            tide_region_moved(*region);
        return EXIT_DONE;
    }
    complain(command, "%s", error.text);
    return EXIT_ERROR;
}

/* Damage is mended while the log counts as abandoned: whoever opens it does the rest. When this
 * process is killed now, another repair does all of it again. */
static int repair_damage_of(tide_region_t *region, const struct log_look *look, struct repair *self)
{
    struct tide_layout_fault fault;
    struct tide_logroom_place place;
    struct tide_logmap map;
    uint32_t pid;
    if (self->need == TIDE_LOGROOM_OUTAGE || !repair_is_due(self))
        return EXIT_DONE;
    if (tide_logroom_take(region, &pid) != 0) {
        complain("log repair", "%s: the log is open in process %u", look->source, pid);
        return EXIT_ERROR;
    }
    int error = tide_logroom_find(region, &place, &fault);
    if (error == 0 && !tide_logmap_open(&map, region->extent.base + place.at, place.size, &fault))
        error = -EPROTO;
    if (error == 0) {
        map.area = (unsigned char *)region->extent.base;
        map.area_size = region->size;
        if (self->need == TIDE_LOGROOM_READY)
            tide_logroom_begin(region, true);
        atomic_store(&tide_logroom_of(region)->mending, 1); /* all of it is to be put in order */
        error = tide_mend_cut(&map, &self->damage);
    }
    tide_logroom_leave(region);
    if (error != 0)
        complain("log repair", "%s: the log changed meanwhile, or there is no memory",
                 look->source);
    return error != 0 ? EXIT_ERROR : EXIT_DONE;
}

static int repair_do(const struct log_look *look, struct repair *self, bool force)
{
    tide_region_t *region;
    tide_log_t *log;
    int code = log_open_region("log repair", look, force, &region);
    if (code != EXIT_DONE)
        return code;
    code = repair_damage_of(region, look, self);
    if (code == EXIT_DONE && (tide_log_open(&log, region) != 0 || tide_log_close(log) != 0))
        code = log_complain("log repair", look->source);
    tide_region_close(region);
    return code;
}

static int repair_tell(const struct log_look *look, const struct repair *self, bool yes, bool json)
{
    (json ? repair_json : repair_text)(look, self, yes);
    int code = finish_output();
    if (code != EXIT_DONE)
        return code;
    return self->left != 0 || (!yes && repair_is_due(self)) ? EXIT_ABSENT : EXIT_DONE;
}

static int repair_log(const struct log_look *look, const struct log_wish *wish)
{
    struct repair self = {.fault = {NULL, 0, 0, 0}};
    struct log_look copy;
    if (!repair_copy(look, &copy)) {
        complain("log repair", "%s: no memory for a copy of the region", look->source);
        return EXIT_ERROR;
    }
    int error = repair_try(&self, &copy);
    munmap(copy.base, copy.size);
    if (error == -EUCLEAN) {
        const struct tide_layout_fault *fault = &self.fault;
        complain("log repair", "%s: cannot be put in order: %s: %llu, allowed: %llu to %llu",
                 look->source, fault->what, (unsigned long long)fault->value,
                 (unsigned long long)fault->low, (unsigned long long)fault->high);
        return EXIT_ABSENT;
    }
    if (error != 0) {
        complain("log repair", "%s: no memory for the repair", look->source);
        return EXIT_ERROR;
    }
    int code = wish->yes && repair_is_due(&self) ? repair_do(look, &self, wish->force) : EXIT_DONE;
    return code != EXIT_DONE ? code : repair_tell(look, &self, wish->yes, wish->json);
}

/* --- recover ----------------------------------------------------------------------------- */

struct recovered {
    double ms;
    bool repaired;
    uint64_t kept, earliest, end;
    struct tide_medium medium;
};

static double recover_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static void recover_tell(const struct log_look *look, const struct recovered *self, bool as_json)
{
    struct json json = {0};
    if (as_json) {
        json_begin(&json, "log recover");
        json_text(&json, "region", look->source);
        json_bool(&json, "repaired", self->repaired);
        json_number(&json, "microseconds", (uint64_t)(self->ms * 1e3));
        json_number(&json, "kept", self->kept);
        json_bool(&json, "durable", self->medium.way != TIDE_MEDIUM_NONE);
        json_text(&json, "why", self->medium.why);
        json_close(&json, '}');
        return;
    }
    printf("%s: %s in %.1f ms, %llu batches kept\n", look->source,
           self->repaired ? "put in order" : "was in order, opened and closed", self->ms,
           (unsigned long long)self->kept);
    if (self->medium.way != TIDE_MEDIUM_NONE)
        printf("it is on its medium\n");
    else
        printf("not durable: %s\n", self->medium.why);
}

/* Batches from the earliest to the end; at level 0 without those that were aborted. */
static uint64_t recover_count(const struct log_look *look)
{
    const struct tide_peek *peek = &look->peek;
    struct tide_layout_entry entry;
    uint64_t count = 0;
    if (look->state == LOG_LANES)
        return atomic_load(&look->lanes.head->committed) -
               atomic_load(&look->lanes.head->trimmed_place);
    for (uint32_t i = 0; i < (peek->map.level == 0 ? peek->map.brokers : 1); i++) {
        uint64_t at = tide_peek_earliest(peek, i), end = tide_peek_end(peek, i);
        for (; (int64_t)(end - at) > 0; at++)
            count += tide_peek_batch(peek, i, at, &entry) == TIDE_PEEK_THERE &&
                     (entry.flags & TIDE_LAYOUT_PAD) == 0;
    }
    return count;
}

/* Whoever has it open puts it in order, if need be. */
static int repair_check_owner(const struct log_look *look, const char *command, bool force)
{
    enum tide_owner_is is;
    uint32_t pid = log_look_owner(look, &is);
    if (is != TIDE_OWNER_ALIVE && (is != TIDE_OWNER_FOREIGN || force))
        return EXIT_DONE;
    if (is == TIDE_OWNER_FOREIGN)
        complain(
            command,
            "%s: process %u of another machine has the log open, or had it when it moved here; "
            "--force: no process there has it any more",
            look->source, pid);
    else
        complain(command, "%s: the log is open in process %u", look->source, pid);
    return EXIT_ERROR;
}

static int recover_log(const struct log_look *look, const struct log_wish *wish)
{
    struct recovered self = {.ms = 0};
    tide_region_t *region;
    tide_log_t *log;
    uint64_t repairs = atomic_load(&tide_logroom_of(&look->region)->repairs);
    int code = log_open_region("log recover", look, wish->force, &region);
    if (code != EXIT_DONE)
        return code;
    self.medium = tide_medium_of(region, "");
    double before = recover_now();
    if (tide_log_open(&log, region) != 0)
        code = log_complain("log recover", look->source);
    else if (tide_log_close(log) != 0)
        code = log_complain("log recover", look->source);
    self.ms = recover_now() - before;
    tide_region_close(region);
    if (code != EXIT_DONE)
        return code;
    self.repaired = atomic_load(&tide_logroom_of(&look->region)->repairs) != repairs;
    self.kept = recover_count(look);
    recover_tell(look, &self, wish->json);
    return finish_output();
}

/* --- both -------------------------------------------------------------------------------- */

static bool repair_take(void *to, int flag, const char *value)
{
    struct log_wish *wish = to;
    (void)value;
    *(flag == REPAIR_YES ? &wish->yes : flag == REPAIR_JSON ? &wish->json : &wish->force) = true;
    return true;
}

/* The flags from the second one on. */
static bool recover_take(void *to, int flag, const char *value)
{
    return repair_take(to, flag + REPAIR_JSON, value);
}

int log_repair(char **argv)
{
    static struct log_look look;
    struct log_wish wish = {false, false, false};
    struct flags flags = {"log repair", repair_flags, REPAIR_FLAGS, argv, NULL};
    const char *region;
    int code = log_read_flags(&flags, REPAIR_HELP, repair_take, &wish, &region);
    if (code != EXIT_DONE)
        return code;
    if (region == NULL) {
        log_repair_help();
        return EXIT_DONE;
    }
    code = log_look_both(&look, "log repair", region);
    if (code == EXIT_DONE)
        code = repair_check_owner(&look, "log repair", wish.force);
    if (code == EXIT_DONE)
        code = (look.state == LOG_LANES ? log_repair_lanes : repair_log)(&look, &wish);
    log_look_close(&look);
    return code;
}

int log_recover(char **argv)
{
    static struct log_look look;
    struct log_wish wish = {false, false, false};
    struct flags flags = {"log recover", repair_flags + REPAIR_JSON, REPAIR_FLAGS - REPAIR_JSON,
                          argv, NULL};
    const char *region;
    int code = log_read_flags(&flags, REPAIR_HELP - REPAIR_JSON, recover_take, &wish, &region);
    if (code != EXIT_DONE)
        return code;
    if (region == NULL) {
        log_recover_help();
        return EXIT_DONE;
    }
    code = log_look_both(&look, "log recover", region);
    if (code == EXIT_DONE)
        code = repair_check_owner(&look, "log recover", wish.force);
    if (code == EXIT_DONE)
        code = recover_log(&look, &wish);
    log_look_close(&look);
    return code;
}
