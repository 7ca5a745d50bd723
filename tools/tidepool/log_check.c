/* log_check.c - tidepool log check: is what is in a log's memory what it must be? */
#include "log.h"

#include "box/laneaudit.h"

enum { CHECK_JSON, CHECK_HELP, CHECK_MOST, CHECK_FLAGS };

static const struct flag check_flags[CHECK_FLAGS] = {
    [CHECK_JSON] = {"json", FLAG_PLAIN, false, 0},
    [CHECK_HELP] = {"help", FLAG_PLAIN, false, 'h'},
    [CHECK_MOST] = {"most", FLAG_VALUE, false, 0},
};

struct check {
    const struct log_look *look;
    struct json json;
    uint64_t most, told;
    bool as_json;
};

void log_check_help(void)
{
    fputs(
        "tidepool log check - verifies all that is in a log's memory\n"
        "\n"
        "usage: tidepool log check [--json] [--most=N] REGION\n"
        "\n"
        "Goes over all of it once, and writes nothing: the head and its geometry, every entry of\n"
        "the order index (its place, its message numbers, its client's numbers), every slot and\n"
        "where its payload lies, the frames of the messages and, where the log has them, the\n"
        "check sums; the sessions, readers and producers.\n"
        "\n"
        "One finding in each line:\n"
        "  error WORD: ...   no order of events explains it: the memory was damaged\n"
        "  note WORD: ...    what a process that ended in the middle leaves behind; while a\n"
        "                    repair that did not end is to be done again, also what that may have\n"
        "                    left half written\n"
        "\n"
        "Of a log that a process has open only what is committed is judged, and what a running\n"
        "process may be changing is left out; the last line says so. A log in lanes\n"
        "(TIDE_LOG_NONCOHERENT) is checked only when nobody has it open (3): no process of this\n"
        "host; of those of other hosts a note tells (node-held), for nobody here can judge them.\n"
        "\n"
        "Flags:\n"
        "  --most=N  tell that many findings; the sums count all. Default 1000\n"
        "  --json    one object (see JSON.md)\n"
        "\n"
        "Exit codes: 0 no errors; 1 errors; 2 usage; 3 there is nothing that could be checked.\n",
        stdout);
}

/* --- findings ---------------------------------------------------------------------------- */

static const char *const check_where[] = {"head",   "broker",   "place", "slot", "client",
                                          "reader", "producer", "lane",  "slot", "node"};

static void check_tell_text(const struct check *check, const struct tide_audit_finding *finding)
{
    printf("%s %s: ", finding->note ? "note" : "error", finding->word);
    if (finding->where == TIDE_AUDIT_SLOT)
        printf("broker %u, slot %llu", finding->table, (unsigned long long)finding->position);
    else if (finding->where == TIDE_AUDIT_LANE_SLOT)
        printf("lane %u, slot %llu", finding->table, (unsigned long long)finding->position);
    else if (finding->where == TIDE_AUDIT_PLACE)
        printf("place %llu", (unsigned long long)finding->position);
    else if (finding->where == TIDE_AUDIT_HEAD)
        printf("head");
    else
        printf("%s %u", check_where[finding->where], finding->table);
    (void)check;
    /* Without a range the words say it. */
    if ((int64_t)(finding->high - finding->low) < 0)
        printf(": %s\n", finding->what);
    else if (finding->low == finding->high)
        printf(": %s is %llu, must be %llu\n", finding->what, (unsigned long long)finding->found,
               (unsigned long long)finding->low);
    else
        printf(": %s is %llu, must be %llu to %llu\n", finding->what,
               (unsigned long long)finding->found, (unsigned long long)finding->low,
               (unsigned long long)finding->high);
}

static void check_tell_json(struct check *check, const struct tide_audit_finding *finding)
{
    struct json *json = &check->json;
    bool range = (int64_t)(finding->high - finding->low) >= 0;
    json_open(json, NULL, '{');
    json_text(json, "severity", finding->note ? "note" : "error");
    json_text(json, "word", finding->word);
    json_text(json, "where", check_where[finding->where]);
    if (finding->where == TIDE_AUDIT_HEAD || finding->where == TIDE_AUDIT_PLACE)
        json_null(json, "number");
    else
        json_number(json, "number", finding->table);
    if (finding->where == TIDE_AUDIT_SLOT || finding->where == TIDE_AUDIT_LANE_SLOT ||
        finding->where == TIDE_AUDIT_PLACE)
        json_number(json, "position", finding->position);
    else
        json_null(json, "position");
    json_text(json, "what", finding->what);
    json_number(json, "found", finding->found);
    if (range) {
        json_number(json, "least", finding->low);
        json_number(json, "most", finding->high);
    } else {
        json_null(json, "least");
        json_null(json, "most");
    }
    json_close(json, '}');
}

static void check_tell(void *who, const struct tide_audit_finding *finding)
{
    struct check *check = who;
    if (check->told++ >= check->most)
        return;
    if (check->as_json)
        check_tell_json(check, finding);
    else
        check_tell_text(check, finding);
}

/* --- all ------------------------------------------------------------------------------------ */

static void check_begin(struct check *check)
{
    if (!check->as_json)
        return;
    json_begin(&check->json, "log check");
    json_text(&check->json, "region", check->look->source);
    json_open(&check->json, "findings", '[');
}

static void check_end(struct check *check, const struct tide_audit *audit)
{
    if (check->as_json) {
        json_close(&check->json, ']');
        json_bool(&check->json, "live", audit->live);
        json_bool(&check->json, "unfinished", audit->mending);
        json_number(&check->json, "errors", audit->errors);
        json_number(&check->json, "notes", audit->notes);
        json_number(&check->json, "batches", audit->batches);
        json_number(&check->json, "messages", audit->messages);
        json_number(&check->json, "bytes", audit->bytes);
        json_close(&check->json, '}');
        return;
    }
    if (check->told > check->most)
        printf("... and %llu more\n", (unsigned long long)(check->told - check->most));
    printf("%s: %llu errors, %llu notes; %llu batches, %llu messages, %llu bytes of payload "
           "looked at\n",
           check->look->source, (unsigned long long)audit->errors, (unsigned long long)audit->notes,
           (unsigned long long)audit->batches, (unsigned long long)audit->messages,
           (unsigned long long)audit->bytes);
    enum tide_owner_is is;
    uint32_t pid = log_look_owner(check->look, &is);
    if (is == TIDE_OWNER_DEAD && check->look->state != LOG_DAMAGED)
        printf("process %u, which had the log open, ended without closing it\n", pid);
    if (audit->mending)
        printf("a repair of the log began and did not end: tidepool log repair does it again\n");
    if (audit->live)
        printf("the log is in use: only what is committed and does not change was judged\n");
}

/* Nobody has it open, or whoever had it is known to be dead. */
static bool check_is_live(const struct log_look *look)
{
    enum tide_owner_is is;
    log_look_owner(look, &is);
    return is != TIDE_OWNER_NOBODY && is != TIDE_OWNER_DEAD;
}

static void check_keep_quiet(void *who, const struct tide_audit_finding *finding)
{
    (void)who;
    (void)finding;
}

/* As nobody's log, unless somebody opened it before the end: then once more, as a live one. */
static bool check_is_quiet(const struct log_look *look)
{
    const struct tide_logroom *room = tide_logroom_of(&look->region);
    struct tide_audit audit = {
        .peek = &look->peek, .mending = log_look_is_mending(look), .tell = check_keep_quiet};
    uint64_t opens = atomic_load(&room->opens);
    if (check_is_live(look))
        return false;
    bool run = tide_audit_run(&audit);
    return !run || audit.errors == 0 ||
           (!check_is_live(look) && opens == atomic_load(&room->opens));
}

/* Whoever had it last left it in order. */
static bool check_is_closed(const struct log_look *look)
{
    const struct tide_logroom *room = tide_logroom_of(&look->region);
    enum tide_owner_is is;
    log_look_owner(look, &is);
    return is == TIDE_OWNER_NOBODY && atomic_load(&room->state) != TIDE_LOGROOM_OPEN;
}

static int check_log(struct check *check)
{
    struct tide_audit audit = {.peek = &check->look->peek, .tell = check_tell, .who = check};
    audit.live = !check_is_quiet(check->look);
    audit.closed = !audit.live && check_is_closed(check->look);
    audit.mending = !audit.live && log_look_is_mending(check->look);
    check_begin(check);
    if (!tide_audit_run(&audit)) {
        complain("log check", "there is not enough memory for the check");
        return EXIT_ERROR;
    }
    check_end(check, &audit);
    int code = finish_output();
    return code != EXIT_DONE ? code : audit.errors > 0 ? EXIT_ABSENT : EXIT_DONE;
}

/* A log in lanes: what others are writing cannot be told from damage. */
static int check_lanes(struct check *check)
{
    struct tide_audit audit = {.tell = check_tell, .who = check};
    enum tide_owner_is is;
    uint32_t pid = log_look_owner(check->look, &is);
    if (check_is_live(check->look)) {
        complain("log check", "%s: a log in lanes is checked when nobody has it open: process %u",
                 check->look->source, pid);
        return EXIT_ERROR;
    }
    audit.closed = check_is_closed(check->look);
    check_begin(check);
    if (!tide_laneaudit_run(&audit, &check->look->lanes)) {
        complain("log check", "there is not enough memory for the check");
        return EXIT_ERROR;
    }
    check_end(check, &audit);
    int code = finish_output();
    return code != EXIT_DONE ? code : audit.errors > 0 ? EXIT_ABSENT : EXIT_DONE;
}

/* A head that fits nothing is the one finding. */
static int check_damaged(struct check *check)
{
    const struct tide_layout_fault *fault = &check->look->fault;
    struct tide_audit audit = {.errors = 1};
    struct tide_audit_finding finding = {.word = "head",
                                         .what = fault->what,
                                         .found = fault->value,
                                         .low = fault->low,
                                         .high = fault->high};
    check_begin(check);
    check_tell(check, &finding);
    check_end(check, &audit);
    int code = finish_output();
    return code != EXIT_DONE ? code : EXIT_ABSENT;
}

static bool check_take(void *to, int flag, const char *value)
{
    struct check *check = to;
    if (flag == CHECK_MOST)
        return log_number("log check", "most", value, false, 0, INT64_MAX, &check->most);
    check->as_json = true;
    return true;
}

int log_check(char **argv)
{
    static struct log_look look;
    struct check check = {.look = &look, .most = 1000};
    struct flags flags = {"log check", check_flags, CHECK_FLAGS, argv, NULL};
    const char *region;
    int code = log_read_flags(&flags, CHECK_HELP, check_take, &check, &region);
    if (code != EXIT_DONE)
        return code;
    if (region == NULL) {
        log_check_help();
        return EXIT_DONE;
    }
    code = log_look_any(&look, "log check", region);
    if (code == EXIT_DONE && look.state == LOG_DAMAGED)
        code = check_damaged(&check);
    else if (code == EXIT_DONE && look.state == LOG_THERE)
        code = check_log(&check);
    else if (code == EXIT_DONE && look.state == LOG_LANES)
        code = check_lanes(&check);
    else {
        if (code == EXIT_DONE) {
            log_look_close(&look);
            code = log_look_open(&look, "log check", region);
        }
        code = code == EXIT_ABSENT ? EXIT_ERROR : code;
    }
    log_look_close(&look);
    return code;
}
