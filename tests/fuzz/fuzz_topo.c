/*
 * fuzz_topo.c - hostile files below a made-up /sys/devices/system/node.
 *
 * The first line of the input is the list of online nodes, the next ones those with
 * memory and with processors; then come pairs of lines for node 0, 1, ... : meminfo and
 * distance. A line that begins with '-' is a file that is not there.
 *
 * The oracle reads a list by sets of numbers, as sysfs documents it, and demands of the
 * rest what must hold for any text: nodes that are online, a far node that has memory and
 * no processor and is not farther than another, a source that agrees with it.
 *
 * Faults (FUZZ_PLANT): list (a node too many), far (any node counts as far).
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "box/source.h"
#include "box/topo.h"

#include "fuzz.h"

enum { NODES = 6, PATH_ROOM = 160 };

static char root[64];
static const char *const top[] = {"online", "has_memory", "has_cpu"};
static char memory_text[512]; /* what has_memory says */

/* ---- the made-up directory ---- */

/* Returns the line and moves *text behind it; NULL at the end. */
static char *line_next(char **text)
{
    char *line = *text, *end;
    if (line == NULL)
        return NULL;
    end = strchr(line, '\n');
    *text = end != NULL ? end + 1 : NULL;
    if (end != NULL)
        *end = '\0';
    return line;
}

/* A file of the text, or none. */
static void file_put(const char *path, const char *text)
{
    if (text == NULL || text[0] == '-') {
        unlink(path);
        return;
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    size_t len = strlen(text);
    if (fd < 0 || write(fd, text, len) != (ssize_t)len || write(fd, "\n", 1) != 1)
        fuzz_fail("%s cannot be written: errno %d", path, errno);
    close(fd);
}

static void tree_write(char *text)
{
    char path[PATH_ROOM];
    for (unsigned i = 0; i < 3; i++) {
        char *line = line_next(&text);
        snprintf(path, sizeof path, "%s/%s", root, top[i]);
        file_put(path, line);
        if (i == 1)
            snprintf(memory_text, sizeof memory_text, "%s",
                     line != NULL && line[0] != '-' ? line : "");
    }
    for (unsigned node = 0; node < NODES; node++) {
        snprintf(path, sizeof path, "%s/node%u/meminfo", root, node);
        file_put(path, line_next(&text));
        snprintf(path, sizeof path, "%s/node%u/distance", root, node);
        file_put(path, line_next(&text));
    }
}

static void tree_remove(void)
{
    char path[PATH_ROOM], none[] = "-\n-\n-\n-\n-\n-\n-\n-\n-\n-\n-\n-\n-\n-\n-";
    tree_write(none);
    for (unsigned node = 0; node < NODES; node++) {
        snprintf(path, sizeof path, "%s/node%u", root, node);
        rmdir(path);
    }
    rmdir(root);
}

static void tree_make(void)
{
    const char *place = getenv("TMPDIR");
    char path[PATH_ROOM];
    snprintf(root, sizeof root, "%.40s/tide_topo.XXXXXX", place != NULL ? place : "/tmp");
    if (mkdtemp(root) == NULL)
        fuzz_fail("no directory %s", root);
    for (unsigned node = 0; node < NODES; node++) {
        snprintf(path, sizeof path, "%s/node%u", root, node);
        if (mkdir(path, 0700) != 0)
            fuzz_fail("no directory %s", path);
    }
    atexit(tree_remove);
}

/* ---- the oracle ---- */

/* "0-3,8": true with the numbers below 64 in *mask. Ends at a newline too; one comma at
 * the end is let pass. */
static bool list_read(const char *text, uint64_t *mask)
{
    *mask = 0;
    while (*text != '\0' && *text != '\n') {
        char *end;
        if (*text < '0' || *text > '9')
            return false;
        unsigned long long from = strtoull(text, &end, 10), to = from;
        if (*end == '-') {
            if (end[1] < '0' || end[1] > '9')
                return false;
            to = strtoull(end + 1, &end, 10);
        }
        if (to < from || (*end != ',' && *end != '\0' && *end != '\n'))
            return false;
        for (unsigned long long i = from; i <= to && i < 64; i++)
            *mask |= (uint64_t)1 << i;
        text = *end == ',' ? end + 1 : end;
    }
    return true;
}

/* Numbers of six digits and more are no nodes: they may be refused or taken. */
static bool list_is_odd(const char *text)
{
    size_t run = 0;
    for (; *text != '\0' && *text != '\n'; text++) {
        run = *text >= '0' && *text <= '9' ? run + 1 : 0;
        if (run > 5)
            return true;
    }
    return false;
}

static void try_list(const char *text)
{
    char *exact = strdup(text);
    uint64_t mask, want = 0;
    int result = tide_topo_parse_list(exact, &mask);
    bool good = list_read(exact, &want);
    if (fuzz_plays("list") && want != 0)
        want |= (uint64_t)1 << 63;
    if (!list_is_odd(exact) && (result != (good ? 0 : -EINVAL) || (good && mask != want)))
        fuzz_fail("list '%s' gave %d, %#llx; should be %s, %#llx", exact, result,
                  (unsigned long long)mask, good ? "good" : "bad", (unsigned long long)want);
    free(exact);
}

/* ---- what must hold for any directory ---- */

static void check_far(const struct tide_node *nodes, int count, int far)
{
    const struct tide_node *best = NULL;
    for (int i = 0; i < count; i++)
        if ((int)nodes[i].id == far)
            best = &nodes[i];
    if (far < -1 || (far >= 0 && (best == NULL || !best->has_memory || best->has_cpu)))
        fuzz_fail("node %d is no far node", far);
    for (int i = 0; best != NULL && i < count; i++)
        if (nodes[i].has_memory && !nodes[i].has_cpu && nodes[i].distance != 0 &&
            (best->distance == 0 || nodes[i].distance < best->distance))
            fuzz_fail("node %d is far, but node %u is nearer", far, nodes[i].id);
}

static void check_node(struct tide_source *source, unsigned node)
{
    const uint64_t all = UINT64_MAX;
    char text[32];
    snprintf(text, sizeof text, "node:%u", node);
    int result = tide_source_open_below(source, text, root, &all);
    if (result != (tide_topo_has_memory(root, node) ? 0 : -ENODEV))
        fuzz_fail("%s gave %d", text, result);
    if (source->node != (result == 0 ? (int)node : -1))
        fuzz_fail("%s is node %d", text, source->node);
    snprintf(text, sizeof text, "node:%u*2+%u*1", node, (node + 1) % 64);
    result = tide_source_open_below(source, text, root, &all);
    if (result != (tide_topo_has_memory(root, node) && tide_topo_has_memory(root, (node + 1) % 64)
                       ? 0
                       : -ENODEV))
        fuzz_fail("%s gave %d", text, result);
}

/* `allowed`: the nodes that the process may use. */
static void check_source(int far, uint64_t allowed)
{
    struct tide_source source;
    int result = tide_source_open_below(&source, "auto", root, &allowed);
    int want = tide_topo_far_node(root, allowed);
    if (result != 0 || source.node != want || source.far != (want >= 0))
        fuzz_fail("auto is node %d, but the far node is %d", source.node, want);
    if (want >= 0 && (allowed >> want & 1) == 0)
        fuzz_fail("node %d is far, but not allowed", want);
    if (far >= 0 && (allowed >> far & 1) != 0 && want != far)
        fuzz_fail("node %d is far, with leave for it and others %d", far, want);
    for (unsigned node = 0; node <= NODES; node++)
        check_node(&source, node < NODES ? node : 63);
}

static void check_tree(void)
{
    struct tide_node nodes[TIDE_TOPO_NODES];
    uint64_t memory;
    int few = tide_topo_read(root, nodes, 2);
    int count = tide_topo_read(root, nodes, TIDE_TOPO_NODES);
    if (count < 0 || count > TIDE_TOPO_NODES || few != count)
        fuzz_fail("%d nodes, with room for two of them %d", count, few);
    for (int i = 0; i < count; i++) {
        if (nodes[i].id >= TIDE_TOPO_NODES || (i > 0 && nodes[i].id <= nodes[i - 1].id))
            fuzz_fail("node %u in place %d", nodes[i].id, i);
        if (nodes[i].has_memory != tide_topo_has_memory(root, nodes[i].id) ||
            nodes[i].has_cpu != tide_topo_has_cpu(root, nodes[i].id))
            fuzz_fail("node %u is told in two ways", nodes[i].id);
        FUZZ_TELL("node %u: cpu %d, memory %d, %llu bytes, distance %u", nodes[i].id,
                  nodes[i].has_cpu, nodes[i].has_memory, (unsigned long long)nodes[i].total,
                  nodes[i].distance);
    }
    if (!list_is_odd(memory_text) && strlen(memory_text) < 500)
        for (unsigned node = 0; node < 70; node += 1 + node / 2) {
            bool want = list_read(memory_text, &memory) && node < 64 && (memory >> node & 1) != 0;
            if (tide_topo_has_memory(root, node) != want)
                fuzz_fail("has_memory is '%s', but node %u is told otherwise", memory_text, node);
        }
    int far = fuzz_plays("far") ? 1 : tide_topo_far_node(root, UINT64_MAX);
    check_far(nodes, count, far);
    check_source(far, UINT64_MAX);
    check_source(far, 0x35);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    fuzz_start();
    tree_make();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1), *lines;
    memcpy(text, data, size);
    text[size] = '\0';
    lines = strdup(text);
    for (char *rest = lines, *line; (line = line_next(&rest)) != NULL;)
        try_list(line);
    free(lines);
    tree_write(text);
    check_tree();
    free(text);
    return 0;
}
