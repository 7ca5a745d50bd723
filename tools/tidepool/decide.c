/* decide.c - see decide.h */
#define _GNU_SOURCE
#include "decide.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "box/vmem.h"

static void reject(struct decision *decision, const char *what, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void note(struct decision *decision, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void reject(struct decision *decision, const char *what, const char *format, ...)
{
    if (decision->rejections == DECIDE_REJECTED)
        return;
    struct rejection *rejection = &decision->rejected[decision->rejections++];
    va_list list;
    snprintf(rejection->what, sizeof rejection->what, "%s", what);
    va_start(list, format);
    vsnprintf(rejection->why, sizeof rejection->why, format, list);
    va_end(list);
}

static void note(struct decision *decision, const char *format, ...)
{
    if (decision->notes == DECIDE_NOTES)
        return;
    va_list list;
    va_start(list, format);
    vsnprintf(decision->note[decision->notes++], DECIDE_LINE, format, list);
    va_end(list);
}

/* --- the source ------------------------------------------------------------------- */

static void decide_source(struct decision *decision, const struct settings *settings,
                          const struct machine *machine)
{
    const struct setting *mid = settings_find(settings, "mid");
    tide_option_show("mid", decision->asked, sizeof decision->asked);
    decision->asked_by_default = mid == NULL;
    /* The table takes any text for mid, so a bad one is not replaced by the default:
     * the source box turns it into near memory. */
    if (mid != NULL && mid->error == -EINVAL && mid->value != NULL &&
        strlen(mid->value) < sizeof decision->asked)
        snprintf(decision->asked, sizeof decision->asked, "%s", mid->value);
    decision->error = tide_source_open_below(&decision->mid, decision->asked, machine->root,
                                             machine->allowed_given ? &machine->allowed : NULL);
    if (decision->error == 0 && !tide_option_values.shared_mid)
        decision->error = tide_source_keep_private(&decision->mid);
}

/* Tries the source's policy on some address space: a container may forbid the call. */
static void try_placing(struct decision *decision, const struct machine *machine)
{
    enum { TRY_BYTES = 1 << 21 };
    if (machine->fake || decision->mid.node < 0)
        return;
    void *area = tide_vmem_reserve(TRY_BYTES);
    if (area == NULL)
        return;
    int ret = tide_source_place(&decision->mid, area, TRY_BYTES);
    tide_vmem_unmap(area, TRY_BYTES);
    decision->placing = ret == 0 ? "ok" : strerrorname_np(-ret);
    if (ret != 0)
        note(decision,
             "the kernel refuses the memory policy (mbind: %s): Mid gets near memory, counted as "
             "mid_spills",
             decision->placing);
}

/* --- what was not taken ----------------------------------------------------------- */

/* Why mid=auto took another far node: the rule of tide_topo_far_node in words. */
static void reject_farther(struct decision *decision, const char *what,
                           const struct tide_node *node, const struct tide_node *taken)
{
    if (node->local && taken->local && node->latency != taken->latency && taken->latency != 0) {
        if (node->latency != 0)
            reject(decision, what, "its latency is %u ns, that of node %u is %u ns (HMAT)",
                   node->latency, taken->id, taken->latency);
        else
            reject(decision, what, "its latency is not known, that of node %u is %u ns (HMAT)",
                   taken->id, taken->latency);
    } else if (node->distance != taken->distance) {
        reject(decision, what, "its distance is %u, that of node %u is %u", node->distance,
               taken->id, taken->distance);
    } else if (taken->local && !node->local) {
        reject(decision, what, "as distant as node %u, which is of the own socket (HMAT)",
               taken->id);
    } else {
        reject(decision, what, "as near as node %u, which comes first", taken->id);
    }
}

static void reject_node(struct decision *decision, const struct machine *machine,
                        const struct tide_node *node)
{
    const struct tide_node *taken = machine_node(machine, decision->mid.node);
    bool is_auto = strncmp(decision->asked, "auto", 4) == 0;
    char what[32];
    snprintf(what, sizeof what, "node %u", node->id);
    if (node == taken || (decision->mid.nodes >> node->id & 1) != 0)
        return;
    if (!node->has_memory)
        reject(decision, what, "it has no memory");
    else if (!machine_may_use(machine, node->id))
        reject(decision, what, "this process may not use it (Mems_allowed_list: %s)",
               machine->mems_allowed);
    else if (!is_auto && machine_is_far(node))
        reject(decision, what, "far memory, but mid=%s asks for something else", decision->asked);
    else if (is_auto && node->has_cpu && taken != NULL)
        reject(decision, what, "it has processors: near memory, for Tiny and Large");
    else if (is_auto && node->has_cpu)
        reject(decision, what, "it has processors, so it counts as near memory");
    else if (is_auto && taken != NULL)
        reject_farther(decision, what, node, taken);
}

static void reject_device(struct decision *decision, const struct dax_device *device)
{
    const char *slash = strrchr(decision->mid.path, '/');
    if (decision->mid.ops == &tide_source_dax && slash != NULL &&
        strcmp(slash + 1, device->name) == 0)
        return; /* it was taken */
    if (strcmp(device->mode, "devdax") == 0)
        reject(decision, device->name,
               "a devdax mapping is shared with children after fork: no memory for malloc; as a "
               "node it were: daxctl reconfigure-device --mode=system-ram %s",
               device->name);
    else if (strcmp(device->mode, "system-ram") == 0 && device->target_node >= 0)
        reject(decision, device->name, "in system-ram mode: its memory is node %d",
               device->target_node);
    else
        reject(decision, device->name, "mode %s: it serves no memory to malloc", device->mode);
}

/* Nodes that were asked for and are not there. */
static void reject_absent(struct decision *decision, const struct machine *machine)
{
    char what[80], nodes[MACHINE_WORD];
    machine_memory_nodes(machine, nodes, sizeof nodes);
    const char *at = decision->asked + strlen("node:");
    while (*at >= '0' && *at <= '9') {
        char *end;
        long id = strtol(at, &end, 10);
        const struct tide_node *node = machine_node(machine, (int)id);
        snprintf(what, sizeof what, "node %ld", id);
        if (node == NULL || !node->has_memory)
            reject(decision, what, "it has no memory here; nodes with memory: %s",
                   nodes[0] != '\0' ? nodes : "the kernel names none");
        if (*end == '*')
            strtol(end + 1, &end, 10);
        at = end + (*end == ',' || *end == '+');
    }
}

static void list_rejected(struct decision *decision, const struct machine *machine)
{
    char what[80];
    if (decision->error == -ENODEV)
        reject_absent(decision, machine);
    if (decision->error == -EINVAL) {
        snprintf(what, sizeof what, "mid=%.60s", decision->asked);
        reject(decision, what, "it names no source");
    }
    for (int i = 0; i < machine->nodes; i++)
        reject_node(decision, machine, &machine->node[i]);
    for (int i = 0; i < machine->devices; i++)
        reject_device(decision, &machine->dax[i]);
}

/* --- the rest --------------------------------------------------------------------- */

static void decide_header(struct decision *decision)
{
    char asked[32];
    tide_option_show("header", asked, sizeof asked);
    bool by_rule = strcmp(asked, "auto") == 0;
    bool shadow = by_rule ? decision->mid.far : strcmp(asked, "shadow") == 0;
    decision->header = shadow ? "shadow" : "inband";
    if (!by_rule)
        decision->header_why = "as asked by the option header";
    else if (shadow)
        decision->header_why =
            "Mid is far: its checked words stand in a near table, so that malloc "
            "and free touch no far line";
    else
        decision->header_why = "Mid is near: the checked word stands in front of its block";
}

/* What the options about a full node and about moving pages come to here. */
static void note_placement(struct decision *decision, const struct machine *machine)
{
    char cap[32], full[32], migrate[32];
    tide_option_show("cap", cap, sizeof cap);
    tide_option_show("full", full, sizeof full);
    tide_option_show("migrate", migrate, sizeof migrate);
    bool far = decision->mid.node >= 0 || decision->mid.far;
    if (strcmp(cap, "0") != 0)
        note(decision,
             far ? "cap=%s: at most so many bytes of far memory"
                 : "cap=%s has no effect: Mid is near memory",
             cap);
    if (strcmp(full, "fail") == 0)
        note(decision, far ? "full=fail: when far memory is full malloc returns NULL (ENOMEM)"
                           : "full=fail has no effect: Mid is near memory");
    if (strcmp(migrate, "kernel") != 0)
        return;
    if (machine->fake) {
        note(decision, "migrate=kernel: whether the kernel takes it is known on the machine only");
        return;
    }
    tide_source_tune(&decision->mid, true, TIDE_THP_DEFAULT);
    if (decision->mid.migrate_why != NULL)
        note(decision, "migrate=kernel: %s", decision->mid.migrate_why);
    else
        note(decision, "migrate=kernel: the kernel may move hot pages to near memory");
}

static void add_notes(struct decision *decision, const struct machine *machine)
{
    int id = decision->mid.node;
    const struct tide_node *node = machine_node(machine, id);
    if (node != NULL && node->has_cpu)
        note(decision, "node %d has processors: it is near memory for those that run there", id);
    if (decision->mid.delay != 0)
        note(decision, "delay=%u is a model: results are no measurement of real far memory",
             decision->mid.delay);
    if (id >= 0 && machine->policy[0] != '\0' && strcmp(machine->policy, "default") != 0)
        note(decision, "Mid's own policy comes before the inherited one (%s)", machine->policy);
}

/* Puts all of a program's memory where Mid is. */
static void equal_numactl(struct decision *decision)
{
    char *out = decision->numactl;
    size_t size = sizeof decision->numactl;
    const struct tide_source *mid = &decision->mid;
    if (mid->node < 0)
        return;
    bool several = (mid->nodes & (mid->nodes - 1)) != 0;
    size_t used = (size_t)snprintf(out, size, "numactl --%s=",
                                   !several        ? "preferred"
                                   : mid->weighted ? "weighted-interleave"
                                                   : "interleave");
    const char *before = "";
    for (int node = 0; node < TIDE_SOURCE_NODES && used < size; node++) {
        if ((mid->nodes >> node & 1) == 0)
            continue;
        used += (size_t)snprintf(out + used, size - used, "%s%d", before, node);
        before = ",";
    }
}

/* Makes the node, when it comes from a dax device. */
static void equal_daxctl(struct decision *decision, const struct machine *machine)
{
    for (int i = 0; i < machine->devices; i++) {
        const struct dax_device *device = &machine->dax[i];
        if (decision->mid.node >= 0 && device->target_node == decision->mid.node &&
            strcmp(device->mode, "system-ram") == 0) {
            snprintf(decision->daxctl, sizeof decision->daxctl,
                     "daxctl reconfigure-device --mode=system-ram %s", device->name);
            return;
        }
    }
}

void decide(struct decision *decision, const struct settings *settings,
            const struct machine *machine)
{
    char number[32];
    memset(decision, 0, sizeof *decision);
    tide_option_show("tiny_max", number, sizeof number);
    decision->tiny_max = strtoull(number, NULL, 10);
    decide_source(decision, settings, machine);
    decide_header(decision);
    list_rejected(decision, machine);
    add_notes(decision, machine);
    note_placement(decision, machine);
    try_placing(decision, machine);
    equal_numactl(decision);
    equal_daxctl(decision, machine);
}
