/* doctor_show.c - see doctor_checks.h: the text for people, and JSON */
#include "doctor_checks.h"
#include "json.h"

#include <string.h>

#include <tidepool/version.h>

#include "stat.h"

static const char *const severities[DOCTOR_SEVERITIES] = {"note", "warning", "error"};

static void line(const char *name, const char *what, const char *text)
{
    char plain[DOCTOR_TEXT];
    printf("%-9s%-6s%s\n", name, what, stat_plain(plain, sizeof plain, text));
}

static void count(int number, const char *what, const char *after)
{
    printf("%d %s%s%s", number, what, number == 1 ? "" : "s", after);
}

static void probe_lines(const struct info *info)
{
    char text[256];
    for (int i = 0; i < info->machine.nodes; i++)
        if (info->probe[i].asked)
            printf("node %-4u %s\n", info->machine.node[i].id,
                   probe_text(&info->probe[i], text, sizeof text));
    if (info->machine.nodes > 0 && info->probe[0].asked)
        putchar('\n');
}

void doctor_text(const struct doctor *doctor)
{
    const struct decision *decision = &doctor->info.decision;
    printf("tidepool %s, Linux %s\nMid: %s: %s\n\n", tide_version(), doctor->info.machine.kernel,
           decision->mid.text, decision->mid.why);
    for (int severity = DOCTOR_ERROR; severity >= DOCTOR_NOTE; severity--) {
        for (int i = 0; i < doctor->findings; i++) {
            const struct finding *finding = &doctor->finding[i];
            if ((int)finding->severity != severity)
                continue;
            line(severities[severity], "found", finding->found);
            line("", "means", finding->means);
            line("", "mend", finding->mend);
            putchar('\n');
        }
    }
    probe_lines(&doctor->info);
    count(doctor->count[DOCTOR_ERROR], "error", ", ");
    count(doctor->count[DOCTOR_WARNING], "warning", ", ");
    count(doctor->count[DOCTOR_NOTE], "note", "");
    if (doctor->count[DOCTOR_ERROR] + doctor->count[DOCTOR_WARNING] == 0)
        fputs(": nothing to mend", stdout);
    putchar('\n');
}

static void probe_list(struct json *json, const struct info *info)
{
    if (info->machine.nodes == 0 || !info->probe[0].asked) {
        json_null(json, "probe");
        return;
    }
    json_open(json, "probe", '[');
    for (int i = 0; i < info->machine.nodes; i++) {
        json_open(json, NULL, '{');
        json_number(json, "node", info->machine.node[i].id);
        probe_json(json, &info->probe[i]);
        json_close(json, '}');
    }
    json_close(json, ']');
}

void doctor_json(const struct doctor *doctor)
{
    struct json json = {0};
    const struct decision *decision = &doctor->info.decision;
    const char *kernel = doctor->info.machine.kernel;
    json_begin(&json, "doctor");
    json_text(&json, "kernel", kernel[0] != '\0' ? kernel : NULL);
    json_open(&json, "mid", '{');
    json_text(&json, "asked", decision->asked);
    json_text(&json, "source", decision->mid.text);
    json_text(&json, "why", decision->mid.why);
    json_close(&json, '}');
    json_number(&json, "errors", (uint64_t)doctor->count[DOCTOR_ERROR]);
    json_number(&json, "warnings", (uint64_t)doctor->count[DOCTOR_WARNING]);
    json_number(&json, "notes", (uint64_t)doctor->count[DOCTOR_NOTE]);
    json_open(&json, "findings", '[');
    for (int i = 0; i < doctor->findings; i++) {
        const struct finding *finding = &doctor->finding[i];
        json_open(&json, NULL, '{');
        json_text(&json, "severity", severities[finding->severity]);
        json_text(&json, "check", finding->check);
        json_text(&json, "found", finding->found);
        json_text(&json, "means", finding->means);
        json_text(&json, "mend", finding->mend);
        json_close(&json, '}');
    }
    json_close(&json, ']');
    probe_list(&json, &doctor->info);
    json_close(&json, '}');
}
