/* log_repair_lanes.c - tidepool log repair for a log in lanes */
#define _GNU_SOURCE
#include "log.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <tidepool/log.h>

#include "box/laneaudit.h"
#include "box/lanemend.h"

enum { LANES_MOST = 1000 };

/* What a repair comes to. */
struct lanes {
    enum tide_logroom_need need;
    struct tide_lanemend mend;
    struct tide_lanemend_change *change; /* the first LANES_MOST */
    uint64_t changes;
    uint64_t placed;
    uint64_t errors, left; /* what `check` finds, before and after */
};

/* --- what it comes to -------------------------------------------------------------------- */

static void lanes_keep_quiet(void *who, const struct tide_audit_finding *finding)
{
    (void)who;
    (void)finding;
}

/* What `check` says of it; UINT64_MAX: no memory. */
static uint64_t lanes_audit(const struct tide_lanes *map, bool closed)
{
    struct tide_audit audit = {.tell = lanes_keep_quiet, .closed = closed};
    return tide_laneaudit_run(&audit, map) ? audit.errors : UINT64_MAX;
}

static void lanes_note(void *who, const struct tide_lanemend_change *change)
{
    struct lanes *self = who;
    if (self->changes++ < LANES_MOST)
        self->change[self->changes - 1] = *change;
}

static void lanes_forget(void *who, const struct tide_lanemend_change *change)
{
    (void)who;
    (void)change;
}

static bool lanes_is_due(const struct lanes *self)
{
    return self->need != TIDE_LOGROOM_READY || self->changes != 0;
}

/* As whoever opens it gives places to what has none. */
static int lanes_open(struct lanes *self, const struct tide_lanes *map)
{
    struct tide_laneseq seq;
    uint64_t before = atomic_load(&map->head->committed);
    if (tide_laneseq_open(&seq, map) != 0)
        return -ENOMEM;
    for (uint64_t i = map->entries.size + map->clients + map->readers; i > 0; i--)
        if (tide_laneseq_step(&seq, map->slots.size) == 0)
            break;
    self->placed = atomic_load(&map->head->committed) - before;
    tide_laneseq_close(&seq);
    return 0;
}

/* All that is done to a log, here to a copy of it. 0 or -ENOMEM. */
static int lanes_try(struct lanes *self, const struct tide_lanes *map)
{
    self->errors = lanes_audit(map, self->need == TIDE_LOGROOM_READY);
    self->mend.map = map;
    self->mend.tell = lanes_note;
    self->mend.who = self;
    int error = tide_lanemend_run(&self->mend);
    if (error == 0 && lanes_is_due(self))
        error = lanes_open(self, map);
    self->left = lanes_audit(map, true);
    return self->left == UINT64_MAX || self->errors == UINT64_MAX ? -ENOMEM : error;
}

static int lanes_try_copy(struct lanes *self, const struct log_look *look)
{
    struct tide_layout_fault fault;
    struct tide_lanes map;
    unsigned char *base = log_copy(look);
    if (base == NULL)
        return -ENOMEM;
    int error = -EPROTO;
    if (tide_lanes_open(&map, TIDE_COH_NONCOHERENT, base + look->room.at, look->room.size, &fault))
        error = lanes_try(self, &map);
    munmap(base, look->size);
    return error;
}

/* --- words ------------------------------------------------------------------------------- */

struct lanes_figure {
    const char *name, *words;
    uint64_t count;
};

enum { LANES_FIGURES = 10 };

static void lanes_figures(const struct lanes *self, struct lanes_figure out[LANES_FIGURES])
{
    const uint64_t *count = self->mend.count;
    const struct lanes_figure list[LANES_FIGURES] = {
        {"kept", "batches keep their places", self->mend.kept},
        {"restored", "of them get new entries in the order index", count[TIDE_LANEMEND_RESTORED]},
        {"moved", "batches behind a hole get lower places", count[TIDE_LANEMEND_MOVED]},
        {"placed", "batches get a place behind the others", self->placed},
        {"fenced", "batches that their session refuses", count[TIDE_LANEMEND_FENCED]},
        {"head", "words of the head are put right", count[TIDE_LANEMEND_HEAD]},
        {"lines", "words of lanes, sessions, readers and nodes are put right",
         count[TIDE_LANEMEND_LINE]},
        {"slots", "slots are put right", count[TIDE_LANEMEND_SLOT]},
        {"wiped", "entries of no place are wiped", count[TIDE_LANEMEND_WIPED]},
        {"cut", "damaged batches are given up", count[TIDE_LANEMEND_CUT]},
    };
    memcpy(out, list, sizeof list);
}

static const char *const lanes_kinds[TIDE_LANEMEND_KINDS] = {"restored", "moved", "head",   "line",
                                                             "slot",     "wiped", "fenced", "cut"};

/* Where it is; those that a repair does not change are not there. */
static const char *lanes_where(const struct tide_lanemend_change *change)
{
    switch (change->where) {
    case TIDE_AUDIT_LANE:
        return "lane";
    case TIDE_AUDIT_SESSION:
        return "client";
    case TIDE_AUDIT_READER:
        return "reader";
    case TIDE_AUDIT_NODE:
        return "node";
    case TIDE_AUDIT_PLACE:
        return "place";
    case TIDE_AUDIT_LANE_SLOT:
        return "slot";
    default:
        return "head";
    }
}

static void lanes_change_text(const struct tide_lanemend_change *change)
{
    unsigned long long was = change->was, now = change->now, at = change->position;
    printf("    %s ", lanes_kinds[change->kind]);
    if (change->where == TIDE_AUDIT_LANE_SLOT)
        printf("lane %u, slot %llu", change->table, at);
    else if (change->kind == TIDE_LANEMEND_WIPED)
        printf("entry %llu", at);
    else if (change->where == TIDE_AUDIT_PLACE)
        printf("place %llu", at);
    else if (change->where != TIDE_AUDIT_HEAD)
        printf("%s %u", lanes_where(change), change->table);
    if (change->what != NULL)
        printf("%s%s: %llu, becomes %llu\n", change->where == TIDE_AUDIT_HEAD ? "" : ": ",
               change->what, was, now);
    else if (change->kind == TIDE_LANEMEND_MOVED)
        printf(": to place %llu\n", now);
    else if (change->kind == TIDE_LANEMEND_RESTORED)
        printf(": slot %llu, message %llu\n", was, now);
    else if (change->kind == TIDE_LANEMEND_WIPED)
        printf(": says place %llu\n", was);
    else
        printf("\n");
}

static void lanes_text(const struct log_look *look, const struct lanes *self, bool yes)
{
    struct lanes_figure figure[LANES_FIGURES];
    printf("%s: %s\n", look->source, log_left(self->need, true));
    if (!lanes_is_due(self)) {
        printf(self->errors == 0 ? "nothing to do\n" : "nothing that can be mended\n");
    } else {
        lanes_figures(self, figure);
        printf("%s:\n", yes ? "done" : "would be done (--yes does it)");
        for (int i = 0; i < LANES_FIGURES; i++)
            if (figure[i].count != 0 || i == 0)
                printf("  %-9s %8llu  %s\n", figure[i].name, (unsigned long long)figure[i].count,
                       figure[i].words);
        for (uint64_t i = 0; i < self->changes && i < LANES_MOST; i++)
            lanes_change_text(&self->change[i]);
        if (self->changes > LANES_MOST)
            printf("    ... and %llu more\n", (unsigned long long)(self->changes - LANES_MOST));
    }
    printf("errors: %llu, afterwards %llu\n", (unsigned long long)self->errors,
           (unsigned long long)self->left);
}

static void lanes_change_json(struct json *json, const struct tide_lanemend_change *change)
{
    bool placed = change->where == TIDE_AUDIT_PLACE || change->where == TIDE_AUDIT_LANE_SLOT;
    json_open(json, NULL, '{');
    json_text(json, "kind", lanes_kinds[change->kind]);
    json_text(json, "where", lanes_where(change));
    if (change->where == TIDE_AUDIT_HEAD || change->where == TIDE_AUDIT_PLACE)
        json_null(json, "number");
    else
        json_number(json, "number", change->table);
    if (placed)
        json_number(json, "position", change->position);
    else
        json_null(json, "position");
    if (change->what != NULL)
        json_text(json, "what", change->what);
    else
        json_null(json, "what");
    json_number(json, "was", change->was);
    json_number(json, "now", change->now);
    json_close(json, '}');
}

static void lanes_json(const struct log_look *look, const struct lanes *self, bool yes)
{
    struct lanes_figure figure[LANES_FIGURES];
    struct json json = {0};
    lanes_figures(self, figure);
    json_begin(&json, "log repair");
    json_text(&json, "region", look->source);
    json_text(&json, "left", log_left(self->need, false));
    json_bool(&json, "due", lanes_is_due(self));
    json_bool(&json, "done", yes && lanes_is_due(self));
    for (int i = 0; i < LANES_FIGURES; i++)
        json_number(&json, figure[i].name, figure[i].count);
    json_open(&json, "changes", '[');
    for (uint64_t i = 0; i < self->changes && i < LANES_MOST; i++)
        lanes_change_json(&json, &self->change[i]);
    json_close(&json, ']');
    json_number(&json, "errors_before", self->errors);
    json_number(&json, "errors", self->left);
    json_close(&json, '}');
}

/* --- doing it ---------------------------------------------------------------------------- */

/* Damage is mended while the log counts as abandoned: whoever opens it does the rest, also when
 * this process is killed now. */
static int lanes_mend(tide_region_t *region, const struct log_look *look, struct lanes *self)
{
    struct tide_layout_fault fault;
    struct tide_logroom_place place;
    struct tide_lanes map;
    uint32_t pid;
    bool leads;
    if (tide_logroom_take(region, &pid) != 0) {
        complain("log repair", "%s: the log is open in process %u", look->source, pid);
        return EXIT_ERROR;
    }
    int error = tide_logroom_find(region, &place, &fault);
    if (error == 0 &&
        !tide_lanes_open(&map, TIDE_COH_NONCOHERENT,
                         (unsigned char *)region->extent.base + place.at, place.size, &fault))
        error = -EPROTO;
    if (error == 0 && !self->mend.alone && tide_lanemend_held(&map, &leads) != UINT32_MAX)
        error = -EBUSY;
    if (error == 0) {
        tide_logroom_begin(region, true);
        self->mend.map = &map;
        self->mend.tell = lanes_forget;
        error = tide_lanemend_run(&self->mend);
    }
    tide_logroom_leave(region);
    if (error != 0)
        complain("log repair", "%s: the log changed meanwhile, or there is no memory",
                 look->source);
    return error != 0 ? EXIT_ERROR : EXIT_DONE;
}

static int lanes_do(const struct log_look *look, struct lanes *self, bool force)
{
    tide_region_t *region;
    tide_log_t *log;
    int code = log_open_region("log repair", look, force, &region);
    if (code != EXIT_DONE)
        return code;
    if (self->changes != 0 || self->need == TIDE_LOGROOM_OUTAGE)
        code = lanes_mend(region, look, self);
    if (code == EXIT_DONE && (tide_log_open(&log, region) != 0 || tide_log_close(log) != 0))
        code = log_complain("log repair", look->source);
    tide_region_close(region);
    return code;
}

/* Processes of other hosts, and those that attached, are in no table of this host's. */
static int lanes_check_nodes(const struct log_look *look)
{
    bool leads;
    uint32_t node = tide_lanemend_held(&look->lanes, &leads);
    if (node == UINT32_MAX)
        return EXIT_DONE;
    if (leads)
        complain("log repair",
                 "%s: a process that attached is the sequencer, and nobody here can tell whether "
                 "it runs; --force: it does not",
                 look->source);
    else
        complain("log repair",
                 "%s: a process has node %u, or did not leave it, and nobody here can tell whether "
                 "it runs; --force: it does not",
                 look->source, node);
    return EXIT_ERROR;
}

/* Without check sums nobody can tell what got to the medium. */
static int lanes_check_sums(const struct log_look *look, const struct lanes *self)
{
    if (self->need != TIDE_LOGROOM_OUTAGE || look->lanes.checksum)
        return EXIT_DONE;
    complain("log repair",
             "%s: cannot be put in order: the machine stopped, and the log has no check sums",
             look->source);
    return EXIT_ABSENT;
}

static int lanes_all(const struct log_look *look, struct lanes *self, const struct log_wish *wish)
{
    if (self->change == NULL || lanes_try_copy(self, look) != 0) {
        complain("log repair", "%s: no memory for the repair", look->source);
        return EXIT_ERROR;
    }
    uint64_t left = self->left;
    int code = wish->yes && lanes_is_due(self) ? lanes_do(look, self, wish->force) : EXIT_DONE;
    if (code != EXIT_DONE)
        return code;
    (wish->json ? lanes_json : lanes_text)(look, self, wish->yes);
    code = finish_output();
    if (code != EXIT_DONE)
        return code;
    return left != 0 || (!wish->yes && lanes_is_due(self)) ? EXIT_ABSENT : EXIT_DONE;
}

int log_repair_lanes(const struct log_look *look, const struct log_wish *wish)
{
    struct lanes self = {.need = tide_logroom_need(&look->region), .mend.alone = wish->force};
    int code = wish->force ? EXIT_DONE : lanes_check_nodes(look);
    if (code == EXIT_DONE)
        code = lanes_check_sums(look, &self);
    if (code != EXIT_DONE)
        return code;
    self.change = calloc(LANES_MOST, sizeof *self.change);
    code = lanes_all(look, &self, wish);
    free(self.change);
    return code;
}
