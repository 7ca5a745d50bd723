/* doctor_options.c - see doctor_checks.h: TIDEPOOL_OPTIONS, and the source it asks for */
#include "doctor_checks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "box/pagemap.h"

static const char options[] = "options";

/* --- commands ---------------------------------------------------------------------- */

/* The value as the shell takes it: in quotes unless it is all letters, digits and the like. */
static void shell_quote(char *out, size_t size, const char *value)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "_=,.:/+-%@";
    size_t used = 0;
    if (value[strspn(value, plain)] == '\0') {
        snprintf(out, size, "%s", value);
        return;
    }
    out[used++] = '\'';
    for (; *value != '\0' && used + 6 < size; value++) {
        const char *piece = *value == '\'' ? "'\\''" : (char[]){*value, '\0'};
        used += (size_t)snprintf(out + used, size - used, "%s", piece);
    }
    out[used++] = '\'';
    out[used] = '\0';
}

void doctor_mend_option(const struct doctor *doctor, char text[DOCTOR_TEXT], const char *key,
                        const char *value)
{
    const struct settings *all = &doctor->info.settings;
    struct settings good = {0};
    char line[SETTING_TEXT], quoted[DOCTOR_TEXT];
    for (int i = 0; i < all->count; i++) {
        const struct setting *entry = &all->entry[i];
        bool bad = entry->error == -ENOENT || entry->error == -EINVAL || entry->value == NULL;
        if (!bad && strcmp(entry->key, key) != 0)
            settings_add(&good, entry->key, strlen(entry->key), entry->value, "doctor");
    }
    if (value != NULL)
        settings_add(&good, key, strlen(key), value, "doctor");
    if (!settings_write(&good, line) || line[0] == '\0') {
        doctor_say(text, "unset TIDEPOOL_OPTIONS");
        return;
    }
    shell_quote(quoted, sizeof quoted, line);
    doctor_say(text, "export TIDEPOOL_OPTIONS=%s", quoted);
}

void doctor_mend_access(char text[DOCTOR_TEXT], const char *path)
{
    char quoted[DOCTOR_TEXT / 2];
    shell_quote(quoted, sizeof quoted, path);
    doctor_say(text, "sudo setfacl -m u:$(id -u):rw %s", quoted);
}

/* --- bad values -------------------------------------------------------------------- */

static const char *consequence(void)
{
    return tide_option_values.strict != 0 ? "strict=1: the program aborts at its start" : NULL;
}

static void check_text(struct doctor *doctor)
{
    if (!doctor->info.too_long)
        return;
    struct finding *finding = doctor_find(doctor, DOCTOR_ERROR, options);
    doctor_say(finding->found, "TIDEPOOL_OPTIONS is longer than %d characters", SETTING_TEXT - 1);
    doctor_say(finding->means, "the library ignores all of it: every option has its default");
    doctor_say(finding->mend, "unset TIDEPOOL_OPTIONS");
}

/* All but a mid= with a value, which is the source's affair. */
static void check_values(struct doctor *doctor)
{
    const struct settings *settings = &doctor->info.settings;
    for (int i = 0; i < settings->count; i++) {
        const struct setting *entry = &settings->entry[i];
        if (entry->error == 0 || (strcmp(entry->key, "mid") == 0 && entry->value != NULL))
            continue;
        struct finding *finding = doctor_find(doctor, DOCTOR_ERROR, options);
        doctor_say(finding->found, "%s", entry->why);
        doctor_say(finding->means, "%s",
                   consequence() != NULL ? consequence() : "the library warns and goes on without");
        doctor_mend_option(doctor, finding->mend, entry->key, NULL);
    }
}

/* --- the source -------------------------------------------------------------------- */

/* What mid= names behind "dax:" or "file:", without the delay; false for other kinds. */
static bool named_path(const struct doctor *doctor, const char *kind, char path[DECIDE_LINE])
{
    const char *asked = doctor->info.decision.asked;
    size_t length = strlen(kind);
    if (strncmp(asked, kind, length) != 0)
        return false;
    const char *end = strstr(asked, ",delay=");
    snprintf(path, DECIDE_LINE, "%.*s",
             end != NULL ? (int)(end - asked - (ptrdiff_t)length) : DECIDE_LINE - 1,
             asked + length);
    return true;
}

static const struct dax_device *named_device(const struct doctor *doctor)
{
    char path[DECIDE_LINE];
    if (!named_path(doctor, "dax:", path))
        return NULL;
    const char *slash = strrchr(path, '/'), *name = slash != NULL ? slash + 1 : path;
    const struct machine *machine = &doctor->info.machine;
    for (int i = 0; i < machine->devices; i++)
        if (strcmp(machine->dax[i].name, name) == 0)
            return &machine->dax[i];
    return NULL;
}

static void mend_device(const struct doctor *doctor, char text[DOCTOR_TEXT],
                        const struct dax_device *device)
{
    char value[32];
    if (strcmp(device->mode, "system-ram") == 0 && device->target_node >= 0) {
        snprintf(value, sizeof value, "node:%d", device->target_node);
        doctor_mend_option(doctor, text, "mid", value);
    } else if (device->permission != NULL && strcmp(device->permission, "rw") != 0) {
        doctor_mend_file(text, device);
    } else {
        doctor_mend_device(text, device->name);
    }
}

static void mend_file(const struct doctor *doctor, char text[DOCTOR_TEXT], const char *path)
{
    char quoted[DOCTOR_TEXT / 2];
    struct stat status;
    shell_quote(quoted, sizeof quoted, path);
    if (stat(path, &status) != 0 ? errno == ENOENT : S_ISREG(status.st_mode) && status.st_size == 0)
        doctor_say(text, "fallocate -l 1G %s", quoted);
    else if (access(path, R_OK | W_OK) != 0 && errno == EACCES)
        doctor_mend_access(text, path);
    else
        doctor_mend_option(doctor, text, "mid", NULL);
}

/* A device that could be the node, but is not yet. */
static const struct dax_device *device_of(const struct machine *machine, unsigned node)
{
    for (int i = 0; i < machine->devices; i++)
        if (machine->dax[i].target_node == (int)node &&
            strcmp(machine->dax[i].mode, "system-ram") != 0)
            return &machine->dax[i];
    return NULL;
}

/* The first node of mid= that cannot be had. */
static void mend_nodes(const struct doctor *doctor, char text[DOCTOR_TEXT])
{
    const struct machine *machine = &doctor->info.machine;
    const char *at = doctor->info.decision.asked + strlen("node:");
    while (*at >= '0' && *at <= '9') {
        unsigned id = (unsigned)strtoul(at, (char **)&at, 10);
        const struct tide_node *node = machine_node(machine, (int)id);
        if (node != NULL && doctor_offline(machine, id) != 0) {
            doctor_mend_node(machine, text, (int)id);
            return;
        }
        if (node != NULL && node->has_memory && !machine_may_use(machine, id)) {
            doctor_mend_cpuset(machine, text);
            return;
        }
        if ((node == NULL || !node->has_memory) && device_of(machine, id) != NULL) {
            doctor_mend_device(text, device_of(machine, id)->name);
            return;
        }
        if (*at == '*')
            strtoul(at + 1, (char **)&at, 10);
        at += *at == ',' || *at == '+';
    }
    doctor_mend_option(doctor, text, "mid", NULL);
}

static void check_source(struct doctor *doctor)
{
    const struct decision *decision = &doctor->info.decision;
    const struct dax_device *device = named_device(doctor);
    char path[DECIDE_LINE];
    if (decision->error == 0)
        return;
    struct finding *finding = doctor_find(doctor, DOCTOR_ERROR, "source");
    doctor_say(finding->found, "mid=%s: %s", decision->asked, decision->mid.why);
    doctor_say(finding->means, "%s",
               consequence() != NULL ? consequence() : "nothing of Mid is in far memory");
    if (device != NULL)
        mend_device(doctor, finding->mend, device);
    else if (named_path(doctor, "file:", path))
        mend_file(doctor, finding->mend, path);
    else if (strncmp(decision->asked, "node:", 5) == 0)
        mend_nodes(doctor, finding->mend);
    else
        doctor_mend_option(doctor, finding->mend, "mid", NULL);
}

/* A file that the library takes, but that does not hold one segment. */
static void check_file(struct doctor *doctor)
{
    char path[DECIDE_LINE], quoted[DOCTOR_TEXT / 2];
    struct stat status;
    if (!named_path(doctor, "file:", path) || stat(path, &status) != 0 ||
        !S_ISREG(status.st_mode) || status.st_size == 0 || status.st_size >= 1 << TIDE_SHIFT_SMALL)
        return;
    struct finding *finding = doctor_find(doctor, DOCTOR_ERROR, "source");
    doctor_say(finding->found, "%s has %lld bytes", path, (long long)status.st_size);
    doctor_say(finding->means, "too small: a segment of Mid takes %d bytes", 1 << TIDE_SHIFT_SMALL);
    shell_quote(quoted, sizeof quoted, path);
    doctor_say(finding->mend, "fallocate -l 1G %s", quoted);
}

/* What Mid takes at once: a segment, or more where the memory is aligned so. */
static uint64_t cap_step(const struct doctor *doctor)
{
    uint64_t step = 1 << TIDE_SHIFT_SMALL, align = doctor->info.decision.mid.align;
    const struct dax_device *device = named_device(doctor);
    if (device != NULL && device->align > align)
        align = device->align;
    return align > step ? align : step;
}

static void check_cap(struct doctor *doctor)
{
    const struct tide_source *mid = &doctor->info.decision.mid;
    uint64_t cap = tide_option_values.cap, step = cap_step(doctor);
    char value[32], bytes[32];
    if (cap == 0 || cap % step == 0 || (!mid->far && named_device(doctor) == NULL))
        return;
    struct finding *finding = doctor_find(doctor, DOCTOR_WARNING, "cap");
    bytes_text(bytes, step);
    doctor_say(finding->found, "cap=%llu is no multiple of %s%s", (unsigned long long)cap, bytes,
               step > 1 << TIDE_SHIFT_SMALL ? ", the device's alignment" : "");
    if (cap < step)
        doctor_say(finding->means, "far memory is taken in steps of %s, so that %s", bytes,
                   mid->shared ? "one step is taken" : "none is taken");
    else
        doctor_say(finding->means,
                   "far memory is taken in steps of %s: the last %llu bytes are never used", bytes,
                   (unsigned long long)(cap % step));
    snprintf(value, sizeof value, "%llu",
             (unsigned long long)(cap < step ? step : cap - cap % step));
    doctor_mend_option(doctor, finding->mend, "cap", value);
}

/* A memfd is as large as it is told to be. */
static void check_memfd(struct doctor *doctor)
{
    const struct tide_source *mid = &doctor->info.decision.mid;
    if (!mid->shared || mid->capacity != 0 || tide_option_values.cap != 0)
        return;
    struct finding *finding = doctor_find(doctor, DOCTOR_ERROR, "source");
    doctor_say(finding->found, "mid=%s without cap=", doctor->info.decision.asked);
    doctor_say(finding->means, "it has no size of its own: near memory is used");
    doctor_mend_option(doctor, finding->mend, "cap", "1G");
}

void doctor_check_options(struct doctor *doctor)
{
    check_text(doctor);
    check_values(doctor);
    check_source(doctor);
    check_file(doctor);
    check_cap(doctor);
    check_memfd(doctor);
}
