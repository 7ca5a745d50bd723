/* doctor_kernel.c - see doctor_checks.h: what the kernel can do and is told to do */
#include "doctor_checks.h"

#include <string.h>

static const char newer[] = "boot Linux %s or later (Debian 12: apt install -t "
                            "bookworm-backports linux-image-amd64)";

/* False also when the release is not known. */
static bool older_than(const struct machine *machine, unsigned major, unsigned minor)
{
    unsigned have_major, have_minor;
    if (sscanf(machine->kernel, "%u.%u", &have_major, &have_minor) != 2)
        return false;
    return have_major < major || (have_major == major && have_minor < minor);
}

static bool any_far(const struct machine *machine)
{
    for (int i = 0; i < machine->nodes; i++)
        if (machine_is_far(&machine->node[i]))
            return true;
    return false;
}

/* --- policies ---------------------------------------------------------------------- */

static void check_placing(struct doctor *doctor)
{
    const char *placing = doctor->info.decision.placing;
    if (placing == NULL || strcmp(placing, "ok") == 0)
        return;
    struct finding *finding = doctor_find(doctor, DOCTOR_ERROR, "policy");
    doctor_say(finding->found, "mbind for %s is refused: %s", doctor->info.decision.mid.text,
               placing);
    doctor_say(finding->means, "Mid gets near memory, counted as mid_spills");
    doctor_say(finding->mend, "let the sandbox allow mbind, move_pages and set_mempolicy_home_node "
                              "(a container: docker run --cap-add=SYS_NICE)");
}

/* A policy that numactl or a parent left. */
static void check_inherited(struct doctor *doctor)
{
    const struct machine *machine = &doctor->info.machine;
    const char *policy = machine->policy;
    if (policy[0] == '\0' || strcmp(policy, "default") == 0 || strcmp(policy, "local") == 0 ||
        !any_far(machine) || strncmp(doctor->info.decision.asked, "auto", 4) != 0)
        return;
    struct finding *finding = doctor_find(doctor, DOCTOR_NOTE, "policy");
    doctor_say(finding->found, "this process was started under the memory policy %s", policy);
    doctor_say(finding->means, "mid=auto respects it: Mid is wherever the policy puts it");
    doctor_say(finding->mend, "numactl --localalloc PROGRAM");
}

static void check_weights(struct doctor *doctor)
{
    const struct tide_source *mid = &doctor->info.decision.mid;
    if (!mid->weighted || mid->by_kernel || (mid->nodes & (mid->nodes - 1)) == 0)
        return;
    struct finding *finding = doctor_find(doctor, DOCTOR_NOTE, "weights");
    doctor_say(finding->means, "the shares are laid out in runs of 4 MiB, each of them a mapping "
                               "of its own, instead of page by page");
    if (older_than(&doctor->info.machine, 6, 9)) {
        doctor_say(finding->found, "Linux %s has no weighted interleave (6.9 has)",
                   doctor->info.machine.kernel);
        doctor_say(finding->mend, newer, "6.9");
        return;
    }
    size_t used = 0;
    doctor_say(finding->found, "the machine's own weights are not those of %s", mid->text);
    for (int node = 0; node < TIDE_SOURCE_NODES && used + 100 < DOCTOR_TEXT; node++)
        if ((mid->nodes >> node & 1) != 0)
            used +=
                (size_t)snprintf(finding->mend + used, DOCTOR_TEXT - used,
                                 "%secho %d >/sys/kernel/mm/mempolicy/weighted_interleave/node%d",
                                 used > 0 ? "; " : "", mid->weight[node], node);
}

/* --- moving pages ------------------------------------------------------------------ */

/* On another machine the release is all there is to go by. */
static bool refuses_promotion(const struct doctor *doctor)
{
    if (doctor->info.machine.fake)
        return older_than(&doctor->info.machine, 6, 12);
    return doctor->info.decision.mid.migrate_why != NULL;
}

static void check_promotion(struct doctor *doctor)
{
    const struct machine *machine = &doctor->info.machine;
    const struct tide_source *mid = &doctor->info.decision.mid;
    if (mid->nodes == 0 || !refuses_promotion(doctor))
        return;
    struct finding *finding = doctor_find(doctor, DOCTOR_WARNING, "migrate");
    if ((mid->nodes & (mid->nodes - 1)) != 0) {
        doctor_say(finding->found, "migrate=kernel with several nodes (%s)", mid->text);
        doctor_say(finding->means, "only pages of one far node can be moved: these stay");
        doctor_mend_option(doctor, finding->mend, "migrate", NULL);
        return;
    }
    doctor_say(finding->found, "migrate=kernel: Linux %s does not take the policy%s",
               machine->kernel,
               older_than(machine, 5, 15) ? " (it has no MPOL_PREFERRED_MANY, 5.15 has)" : "");
    doctor_say(finding->means, "pages stay far, as with migrate=pin");
    doctor_say(finding->mend, newer, "6.12");
}

static void check_balancing(struct doctor *doctor)
{
    const struct machine *machine = &doctor->info.machine;
    char line[MACHINE_WORD];
    bool known = machine_line(line, "%s/sys/kernel/numa_balancing", machine->proc);
    if (doctor->info.decision.mid.nodes == 0 || strcmp(line, "2") == 0 || strcmp(line, "3") == 0)
        return;
    struct finding *finding = doctor_find(doctor, DOCTOR_WARNING, "migrate");
    doctor_say(finding->means, "migrate=kernel lets the kernel bring hot pages near, and it is "
                               "not told to look for them (2: between tiers of memory)");
    if (known) {
        doctor_say(finding->found, "kernel.numa_balancing is %s", line);
        doctor_say(finding->mend, "sysctl -w kernel.numa_balancing=2");
    } else {
        doctor_say(finding->found, "this kernel has no kernel.numa_balancing");
        doctor_mend_option(doctor, finding->mend, "migrate", NULL);
    }
}

/* Demotion gives room to promotion; without promotion it only takes from near memory. */
static void check_demotion(struct doctor *doctor, bool moves)
{
    char line[MACHINE_WORD];
    static const char file[] = "/sys/kernel/mm/numa/demotion_enabled";
    if (!machine_line(line, "%s/kernel/mm/numa/demotion_enabled", doctor->info.machine.sys) ||
        doctor->info.decision.mid.nodes == 0)
        return;
    bool on = strcmp(line, "true") == 0 || strcmp(line, "1") == 0;
    if (on == moves)
        return;
    struct finding *finding = doctor_find(doctor, moves ? DOCTOR_WARNING : DOCTOR_NOTE, "migrate");
    doctor_say(finding->found, "demotion_enabled is %s, migrate=%s", line,
               moves ? "kernel" : "pin");
    doctor_say(finding->means, moves ? "when near memory is full no cold page makes room: hot ones "
                                       "stay far"
                                     : "when near memory gets short the kernel moves cold pages of "
                                       "Tiny and Large to far memory, and pinned Mid never comes "
                                       "near");
    doctor_say(finding->mend, "echo %s >%s", moves ? "true" : "false", file);
}

static void check_huge(struct doctor *doctor)
{
    const char *thp = doctor->info.machine.thp;
    uint64_t asked = tide_option_values.thp;
    if (asked == TIDE_THP_ALWAYS && strcmp(thp, "never") == 0) {
        struct finding *finding = doctor_find(doctor, DOCTOR_WARNING, "thp");
        doctor_say(finding->found, "thp=always, but transparent huge pages are off (never)");
        doctor_say(finding->means, "Mid gets small pages");
        doctor_say(finding->mend, "echo madvise >/sys/kernel/mm/transparent_hugepage/enabled");
    } else if (asked == TIDE_THP_DEFAULT && strcmp(thp, "always") == 0 &&
               doctor->info.decision.mid.nodes != 0) {
        struct finding *finding = doctor_find(doctor, DOCTOR_NOTE, "thp");
        doctor_say(finding->found, "transparent huge pages are on for all memory (always)");
        doctor_say(finding->means, "Mid has them, too: a node gets memory back only when the "
                                   "kernel splits them");
        doctor_mend_option(doctor, finding->mend, "thp", "never");
    }
}

void doctor_check_kernel(struct doctor *doctor)
{
    bool moves = tide_option_values.migrate == TIDE_MIGRATE_KERNEL;
    check_placing(doctor);
    check_inherited(doctor);
    check_weights(doctor);
    if (moves) {
        check_promotion(doctor);
        check_balancing(doctor);
    }
    check_demotion(doctor, moves);
    check_huge(doctor);
}
