/*
 * prog_limits_load.c - malloc where a limit is near: takes until it is refused, frees,
 * and takes again.
 *
 * prog_limits_load fill LOW HIGH [ALIGN]   until NULL, three times; prints the bytes
 * prog_limits_load threads LOW HIGH        as fill, by four threads at once
 * prog_limits_load mixed                   a load of all tiers that must not be refused
 * prog_limits_load maps LEFT...            the same, or NULL with ENOMEM, while the process
 *                                          may have only LEFT more mappings
 * prog_limits_load wide LOW HIGH           as fill, once, by a process with much address space:
 *                                          of those the kernel wants to leave memory to others
 * prog_limits_load locked                  a load while all memory is locked; then it is
 *                                          not, and what is free goes back
 *
 * The second and third time must give nearly what the first one gave: nothing is lost.
 * Among threads it depends on who comes first.
 */
#define _GNU_SOURCE 1
#include "inject_block.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

enum { TIMES = 3, FILLERS = 4, WORKERS = 4, SHARE = 400 };

enum {
    MAPPINGS = 150,          /* at most, of a process with some threads */
    ENOUGH = 200,            /* so many more suffice for everything */
    EATEN = 1 << 20,         /* pages that are made mappings, at most */
    KEPT = 16 * MIB,         /* memory that may stay in the end, */
    KEPT_LOCKED = 128 * MIB, /* and with the threads' stacks, which were locked */
    LOCKED = 768 * MIB
};

static const size_t most = (size_t)3 << 30; /* no limit here allows as much */

static size_t page;

/* --- filling ---------------------------------------------------------------------------- */

/* A block names the next one and carries its size at its end. */
struct link {
    struct link *next;
    size_t size, check;
};

static size_t link_word(const struct link *link)
{
    return (uintptr_t)link ^ link->size;
}

static void link_mark(struct link *link, size_t size)
{
    link->size = size;
    link->check = link_word(link);
    memcpy((char *)link + size - sizeof size, &size, sizeof size);
}

static void link_drop(struct link *link)
{
    size_t last;
    if (link->check != link_word(link))
        die("block %p was overwritten", (void *)link);
    memcpy(&last, (char *)link + link->size - sizeof last, sizeof last);
    if (link->size >= 2 * sizeof *link && last != link->size)
        die("block %p of %zu bytes was overwritten at its end", (void *)link, link->size);
    free(link);
}

struct fill {
    size_t low, high, align, sum;
    struct link *first;
};

/* Takes until NULL. */
static void fill_up(struct fill *fill, uint64_t seed)
{
    for (;;) {
        size_t size = fill->low + next_random(&seed) % (fill->high - fill->low + 1);
        errno = 0;
        struct link *link = fill->align ? do_aligned_alloc(fill->align, size) : do_malloc(size);
        if (!link)
            break;
        link_mark(link, size);
        link->next = fill->first;
        fill->first = link;
        fill->sum += size;
        if (fill->sum > most)
            die("there is no limit");
    }
    if (errno != ENOMEM)
        die("NULL with errno %d", errno);
}

static void fill_drop(struct fill *fill)
{
    while (fill->first) {
        struct link *link = fill->first;
        fill->first = link->next;
        link_drop(link);
    }
    fill->sum = 0;
}

static void *filler(void *arg)
{
    fill_up(arg, (uintptr_t)arg);
    return NULL;
}

static size_t fill_together(struct fill *fills, size_t count)
{
    pthread_t thread[FILLERS];
    size_t sum = 0;
    for (size_t i = 1; i < count; i++)
        thread[i] = start(filler, &fills[i]);
    filler(&fills[0]);
    for (size_t i = 1; i < count; i++)
        pthread_join(thread[i], NULL);
    for (size_t i = 0; i < count; i++)
        sum += fills[i].sum;
    return sum;
}

static void be_filler(char **argv, size_t threads, int times)
{
    struct fill fills[FILLERS] = {0};
    size_t first = 0;
    for (size_t i = 0; i < threads; i++) {
        fills[i].low = strtoul(argv[0], NULL, 0);
        fills[i].high = strtoul(argv[1], NULL, 0);
        fills[i].align = argv[2] ? strtoul(argv[2], NULL, 0) : 0;
    }
    for (int time = 0; time < times; time++) {
        size_t sum = fill_together(fills, threads);
        if (time == 0)
            first = sum;
        if (sum < first / 10 * (threads > 1 ? 6 : 9))
            die("%zu bytes the first time, %zu bytes after they were freed", first, sum);
        for (size_t i = 0; i < threads; i++)
            fill_drop(&fills[i]);
    }
    char text[32];
    int length = snprintf(text, sizeof text, "%zu\n", first);
    if (write(STDOUT_FILENO, text, (size_t)length) != length)
        exit(1);
}

static void be_wide(char **argv)
{
    const size_t wide = (size_t)1 << 40;
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    if (mmap(NULL, wide, PROT_NONE, flags, -1, 0) == MAP_FAILED)
        die("mmap: errno %d", errno);
    be_filler(argv, 1, 1);
}

/* --- a load of all tiers ---------------------------------------------------------------- */

static bool may_fail;
static char *eaten; /* see eat_mappings */
static size_t eaten_pages;

static size_t mappings(void)
{
    static char text[16384];
    size_t lines = 0;
    ssize_t got;
    int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    while ((got = read(fd, text, sizeof text)) > 0)
        for (ssize_t i = 0; i < got; i++)
            lines += text[i] == '\n';
    close(fd);
    return lines;
}

static void share_of_load(size_t first)
{
    uint64_t state = first;
    for (size_t i = first; i < first + SHARE; i++) {
        size_t size = i % 40 ? mixed_size(&state) : 1100000 + i;
        bool done = i % 3 == 0   ? take(i, size)
                    : i % 3 == 1 ? take_zero(i, size)
                                 : take_aligned(i, 32 << i % 8, size);
        if (!done && !may_fail)
            die("%zu bytes are refused", size);
        if (i % 5 == 4)
            drop(i - 2);
    }
    malloc_trim(0);
    for (size_t i = first; i < first + SHARE; i++)
        if (slots[i].at && i % 50 == 0)
            resize(i, 2 * slots[i].size);
    for (size_t i = first; i < first + SHARE; i++)
        must_hold(&slots[i]);
}

static void *worker(void *arg)
{
    size_t first = (size_t)arg * SHARE;
    share_of_load(first);
    for (size_t i = first; i < first + SHARE / 2; i++)
        drop(i);
    return NULL;
}

/* Three rounds: each finds what the one before left. A thread that is refused its stack
 * is not missed. */
static void load(void)
{
    pthread_t thread[WORKERS];
    bool runs[WORKERS];
    for (int time = 0; time < TIMES; time++) {
        for (size_t i = 0; i < WORKERS; i++) {
            runs[i] = pthread_create(&thread[i], NULL, worker, (void *)(i + 1)) == 0;
            if (!runs[i] && !may_fail)
                die("a thread is refused");
        }
        worker(NULL);
        for (size_t i = 0; i < WORKERS; i++)
            if (runs[i])
                pthread_join(thread[i], NULL);
        check_all();
        if (eaten_pages == 0 && mappings() > MAPPINGS)
            die("%zu mappings", mappings());
        drop_all();
        malloc_trim(0);
    }
}

/* --- mappings --------------------------------------------------------------------------- */

/* Makes mappings, of one page each, until the process has as many as it may. */
static void eat_mappings(void)
{
    eaten = mmap(NULL, EATEN * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (eaten == MAP_FAILED)
        die("mmap: errno %d", errno);
    while (eaten_pages < EATEN && mprotect(eaten + eaten_pages * page, page, PROT_READ) == 0)
        eaten_pages += 2;
    if (eaten_pages == EATEN)
        give_up("a process may have more mappings than this test can make");
}

/* In a child, where the library has used little yet. */
static void with_mappings(size_t left)
{
    if (left >= eaten_pages)
        die("%zu mappings were made", eaten_pages);
    munmap(eaten + (eaten_pages - left) * page, (EATEN - eaten_pages + left) * page);
    may_fail = left < ENOUGH;
    load();
    if (left == 0 && nulls == 0)
        die("nothing was refused");
    munmap(eaten, eaten_pages * page);
    eaten_pages = 0;
    may_fail = false;
    nulls = 0;
    load();
    size_t bytes = anonymous();
    if (bytes > KEPT)
        die("%zu MiB are resident in the end", bytes / MIB);
}

static void each_number(char **argv)
{
    int status;
    eat_mappings();
    for (; *argv; argv++) {
        pid_t child = fork();
        if (child == 0) {
            with_mappings(strtoul(*argv, NULL, 0));
            _exit(0);
        }
        if (child < 0 || waitpid(child, &status, 0) != child || status)
            die("with %s mappings left: status %#x", *argv, (unsigned)status);
    }
}

/* --- locks and other limits ------------------------------------------------------------- */

static void while_locked(void)
{
    size_t before = anonymous();
    if (mlockall(MCL_CURRENT | MCL_FUTURE))
        give_up("mlockall is not allowed here");
    load();
    size_t locked = anonymous();
    if (locked > before + LOCKED)
        die("%zu MiB are locked after a load of few", (locked - before) / MIB);
    munlockall();
    malloc_trim(0);
    size_t bytes = anonymous();
    if (bytes > KEPT_LOCKED)
        die("%zu MiB are resident in the end", bytes / MIB);
}

int main(int argc, char **argv)
{
    page = (size_t)sysconf(_SC_PAGESIZE);
    if (argc > 3 && strcmp(argv[1], "fill") == 0)
        be_filler(argv + 2, 1, TIMES);
    else if (argc > 3 && strcmp(argv[1], "threads") == 0)
        be_filler(argv + 2, FILLERS, TIMES);
    else if (argc > 3 && strcmp(argv[1], "wide") == 0)
        be_wide(argv + 2);
    else if (argc == 2 && strcmp(argv[1], "mixed") == 0)
        load();
    else if (argc == 2 && strcmp(argv[1], "locked") == 0)
        while_locked();
    else if (argc > 2 && strcmp(argv[1], "maps") == 0)
        each_number(argv + 2);
    else
        die("arguments");
    return 0;
}
