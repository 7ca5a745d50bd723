/*
 * guest_peer.c - what people use today for far memory, and this library: the same work under
 * each of them, judged from outside.
 *
 * table FILE   for each line "TITLE | MIB | COMMAND" a row of a table: what comes of the work
 *              when the node is full, is missing, is taken away by cpuset, and given back. In
 *              both texts @ is the number of the node; PROGRAM in the command is the work
 * fill MIB     the work: so many MiB in blocks of 4 KiB
 * shrink MIB   so many in a group that loses the node then; as many more; the node comes back;
 *              as many more
 * weighted NODE PARTS COMMAND...   the command, its memory by weights: PARTS pages on the node
 *              for each page on node 0
 *
 * The work prints for each set of blocks: how many were wanted, were had, and are far. It knows
 * nothing of the library.
 */
#include "guest.h"

#include <sys/stat.h>

#define GROUPS "/sys/fs/cgroup"
#define GROUP GROUPS "/peer"
#define WEIGHTS "/sys/kernel/mm/mempolicy/weighted_interleave/node"

enum { BLOCK = 4096 - 16, FAR = 1, ABSENT = 7, SHRINK_MIB = 16, WEIGHTED = 6, WORDS = 64 };

/* --- the work ------------------------------------------------------------------------- */

static size_t far_blocks(char *const *block, size_t count)
{
    struct places places = {{0}, 0};
    for (size_t i = 0; i < count; i++)
        guest_where((char *)((uintptr_t)block[i] & -(uintptr_t)GUEST_PAGE), 1, &places);
    return places.node[FAR];
}

/* Takes blocks, writes to them, and keeps them. */
static void hold(size_t bytes)
{
    size_t wanted = bytes / GUEST_PAGE, had = 0;
    char **block = guest_map(wanted * sizeof *block);
    while (had < wanted && (block[had] = malloc(BLOCK)) != NULL)
        memset(block[had++], 1, BLOCK);
    printf("%zu %zu %zu\n", wanted, had, far_blocks(block, had));
    fflush(stdout);
}

static void fill(char **arguments)
{
    hold(guest_number(arguments[0]) * MIB);
}

static void shrink(char **arguments)
{
    char number[32];
    guest_write(GROUPS "/cgroup.subtree_control", "+cpuset");
    NEED(mkdir(GROUP, 0755) == 0 || errno == EEXIST, "%s: %s", GROUP, strerror(errno));
    guest_write(GROUP "/cpuset.mems", "0-1");
    snprintf(number, sizeof number, "%d", getpid());
    guest_write(GROUP "/cgroup.procs", number);
    hold(guest_number(arguments[0]) * MIB);
    guest_write(GROUP "/cpuset.mems", "0");
    hold(guest_number(arguments[0]) * MIB);
    guest_write(GROUP "/cpuset.mems", "0-1");
    hold(guest_number(arguments[0]) * MIB);
}

static void weighted(char **arguments)
{
    unsigned long node = guest_number(arguments[0]), nodes[2] = {1 | 1UL << node, 0};
    char path[128];
    snprintf(path, sizeof path, WEIGHTS "%lu", node);
    if (access(path, F_OK) == 0)
        guest_write(path, arguments[1]);
    NEED(syscall(SYS_set_mempolicy, WEIGHTED, nodes, 65) == 0, "%s", strerror(errno));
    execvp(arguments[2], arguments + 2);
    NEED(false, "%s: %s", arguments[2], strerror(errno));
}

/* --- the table -------------------------------------------------------------------------- */

struct row {
    char *title, *size, *command;
};

/* How a run ended, and what it said of each set of blocks. */
struct end {
    int status;
    size_t sets, wanted[3], had[3], far[3];
};

static void cut(char *line, struct row *row)
{
    char *column[3] = {line, NULL, NULL};
    line[strcspn(line, "\n")] = '\0';
    for (int i = 1; i < 3; i++) {
        char *bar = strstr(column[i - 1], " | ");
        NEED(bar != NULL, "%s", line);
        column[i] = bar + 3 + strspn(bar + 3, " ");
        while (bar > line && bar[-1] == ' ')
            bar--;
        *bar = '\0';
    }
    *row = (struct row){column[0], column[1], column[2]};
}

/* Appends text, each @ in it replaced by the number. */
static void append(char *to, size_t size, const char *text, int node)
{
    for (const char *at; (at = strchr(text, '@')) != NULL; text = at + 1) {
        size_t len = strlen(to);
        snprintf(to + len, size - len, "%.*s%d", (int)(at - text), text, node);
    }
    size_t len = strlen(to);
    snprintf(to + len, size - len, "%s", text);
}

static void become(const struct row *row, int node, const char *work)
{
    char line[1024] = "", *words[WORDS] = {NULL}, *rest = line, **word = words;
    const char *at = strstr(row->command, "PROGRAM");
    int count = 0;
    NEED(at != NULL, "no PROGRAM in %s", row->command);
    append(line, sizeof line, row->command, node);
    snprintf(strstr(line, "PROGRAM"), 64, "/t/peer %s", work);
    while (count < WORDS - 1 && (words[count] = strsep(&rest, " ")) != NULL)
        count += words[count][0] != '\0';
    words[count] = NULL;
    for (; *word != NULL && strchr(*word, '=') != NULL; word++)
        putenv(*word);
    execvp(*word, word);
    _exit(127);
}

static struct end run(const struct row *row, int node, const char *work)
{
    struct end end = {0};
    int ends[2];
    NEED(pipe(ends) == 0, "pipe: %s", strerror(errno));
    fflush(stdout);
    pid_t child = fork();
    NEED(child >= 0, "fork: %s", strerror(errno));
    if (child == 0) {
        dup2(ends[1], 1);
        dup2(open("/dev/null", O_WRONLY), 2);
        close(ends[0]);
        close(ends[1]);
        become(row, node, work);
    }
    close(ends[1]);
    FILE *file = fdopen(ends[0], "r");
    while (end.sets < 3 && fscanf(file, "%zu %zu %zu\n", &end.wanted[end.sets], &end.had[end.sets],
                                  &end.far[end.sets]) == 3)
        end.sets++;
    NEED(waitpid(child, &end.status, 0) == child, "%s", strerror(errno));
    fclose(file);
    return end;
}

/* What became of one set of blocks, in words. */
static const char *words_for(const struct end *end, size_t set, char *buf, size_t size)
{
    if (WIFSIGNALED(end->status) && end->sets <= set)
        snprintf(buf, size, "ends by SIG%s", sigabbrev_np(WTERMSIG(end->status)));
    else if (end->sets <= set)
        snprintf(buf, size, "does not start: exit %d", WEXITSTATUS(end->status));
    else if (end->had[set] < end->wanted[set])
        snprintf(buf, size, "`malloc` gives `NULL`");
    else if (end->far[set] == 0)
        snprintf(buf, size, "runs, near");
    else if (end->far[set] < end->wanted[set] * 9 / 10)
        snprintf(buf, size, "runs, a part near");
    else
        snprintf(buf, size, "runs, far");
    return buf;
}

static void print_row(const struct row *row)
{
    char title[512] = "", work[64], full[64], absent[64], taken[64], back[64];
    append(title, sizeof title, row->title, FAR);
    snprintf(work, sizeof work, "fill %s", row->size);
    struct end to_full = run(row, FAR, work);
    snprintf(work, sizeof work, "fill %d", SHRINK_MIB);
    struct end to_absent = run(row, ABSENT, work);
    snprintf(work, sizeof work, "shrink %d", SHRINK_MIB);
    struct end to_less = run(row, FAR, work);
    NEED(to_less.sets == 0 || to_less.far[0] > 0, "%s: nothing was far at first", title);
    printf("| %s | %s | %s | %s | %s |\n", title, words_for(&to_full, 0, full, sizeof full),
           words_for(&to_absent, 0, absent, sizeof absent),
           words_for(&to_less, 1, taken, sizeof taken), words_for(&to_less, 2, back, sizeof back));
}

static void table(char **arguments)
{
    char line[1024];
    struct row row;
    FILE *file = fopen(arguments[0], "r");
    NEED(file != NULL, "%s: %s", arguments[0], strerror(errno));
    while (fgets(line, sizeof line, file) != NULL) {
        if (line[0] == '#' || line[0] == '\n')
            continue;
        cut(line, &row);
        print_row(&row);
    }
    fclose(file);
}

int main(int argc, char **argv)
{
    static const struct guest_case cases[] = {
        {"table", table}, {"fill", fill}, {"shrink", shrink}, {"weighted", weighted}, {NULL, NULL}};
    NEED(argc > 2, "arguments are missing");
    return guest_choose(argv, cases);
}
