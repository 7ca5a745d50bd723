/* stat.c - tidepool stat: the counters of a running process */
#include "stat.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "box/clock.h"

enum { STAT_JSON, STAT_HELP, STAT_WATCH, STAT_COUNT, STAT_PAGES, STAT_FLAGS };

static const struct flag stat_flags[STAT_FLAGS] = {
    [STAT_JSON] = {"json", FLAG_PLAIN, false, 0},
    [STAT_HELP] = {"help", FLAG_PLAIN, false, 0},
    [STAT_WATCH] = {"watch", FLAG_VALUE, false, 'w'},
    [STAT_COUNT] = {"count", FLAG_VALUE, false, 'n'},
    [STAT_PAGES] = {"pages", FLAG_PLAIN, false, 'p'},
};

struct stat_wish {
    bool json, pages, help;
    double seconds; /* between samples; 0: one sample */
    long count;     /* 0: until the process ends */
    const char *target;
};

static void stat_help(void)
{
    fputs(
        "tidepool stat - what a running process holds, by tier\n"
        "\n"
        "usage: tidepool stat [--json] [--pages] [-w SECONDS [-n COUNT]] PID|FILE\n"
        "\n"
        "The process must keep counters, which is off by default:\n"
        "  tidepool run --counters -- PROGRAM        a nameless page, gone with the process\n"
        "  tidepool run --counters=/DIR -- PROGRAM   a file /DIR/tidepool.PID, which stays and "
        "can\n"
        "                                            be looked at after the end\n"
        "or TIDEPOOL_OPTIONS=counters=1. Only the same user and root can read them. Looking does\n"
        "not disturb the process: nothing is sent to it, and it does no more work than before.\n"
        "\n"
        "Flags:\n"
        "  -w, --watch=SECONDS  a sample every so often (0.1 and more), until the process ends;\n"
        "                       on a terminal the picture stays in place\n"
        "  -n, --count=COUNT    that many samples\n"
        "  -p, --pages          ask the kernel, too, on which nodes the pages of Mid are; it goes\n"
        "                       over all page tables of the process for it\n"
        "      --json           an object; with -w one in each line (see JSON.md)\n"
        "\n"
        "What the figures are. The process has no timer: a thread that leaves the allocator's\n"
        "slow path publishes all of them at once, at most every millisecond (less often where\n"
        "counting takes long). The first lines say how old they are. A process that computes or\n"
        "sleeps without allocating keeps its last figures, and they are still right but for what\n"
        "threads moved between themselves and their own caches.\n"
        "  live     blocks that the program has, and their sizes (of the class)\n"
        "  cached   free blocks that threads keep for themselves\n"
        "  mapped   address space in use by the tier's pages; the bar: # live, + cached, . rest\n"
        "  taken    blocks that left their pages since the start; one that a thread frees and\n"
        "           takes again from its cache counts once\n"
        "  far, near  of Mid's segments, what the source placed and what it did not: the\n"
        "           library's books. Where pages are in fact is what --pages tells\n"
        "  peak     the most bytes of segments and mappings in use at once\n"
        "\n"
        "Exit codes: 0 done (with -w: the process ended); 1 no such process, not permitted, no\n"
        "counters, or a process that is gone without an exit (its last figures are shown);\n"
        "2 usage; 3 a damaged page.\n",
        stdout);
}

/* --- what both forms need ------------------------------------------------------------- */

struct stat_tier stat_tier(const struct attach *attach, int index)
{
    const struct tide_stats *stats = &attach->page.figures.stats;
    const struct stat_tier tier[STAT_TIERS] = {{"Tiny", "tiny", &stats->tiny},
                                               {"Mid", "mid", &stats->mid},
                                               {"Large", "large", &stats->large}};
    return tier[index];
}

const char *stat_state(const struct attach *attach)
{
    if (attach->page.figures.state == TIDE_COUNTERS_ENDED)
        return "ended";
    return attach->alive ? "running" : "gone";
}

uint64_t stat_age(const struct attach *attach)
{
    uint64_t now = tide_clock_date(), then = attach->page.figures.time;
    return now > then ? now - then : 0;
}

char *stat_plain(char *buf, size_t size, const char *text)
{
    size_t i = 0;
    for (; text[i] != '\0' && i + 1 < size; i++)
        buf[i] = (unsigned char)text[i] < 0x20 || text[i] == 0x7f ? '?' : text[i];
    buf[i] = '\0';
    return buf;
}

/* --- flags ------------------------------------------------------------------------------ */

static bool stat_number(const char *flag, const char *text, double least, double most, double *out)
{
    char *end;
    *out = strtod(text, &end);
    if (end != text && *end == '\0' && *out >= least && *out <= most)
        return true;
    complain("stat", "--%s: '%s' is not allowed; allowed: %g..%g", flag, text, least, most);
    return false;
}

static bool stat_take(struct stat_wish *wish, int flag, const char *value)
{
    double number;
    switch (flag) {
    case STAT_JSON:
        wish->json = true;
        return true;
    case STAT_HELP:
        wish->help = true;
        return true;
    case STAT_PAGES:
        wish->pages = true;
        return true;
    case STAT_WATCH:
        return stat_number("watch", value, 0.1, 86400, &wish->seconds);
    default:
        if (!stat_number("count", value, 1, 1e9, &number))
            return false;
        wish->count = (long)number;
        return true;
    }
}

static int stat_read(struct stat_wish *wish, char **argv)
{
    struct flags flags = {"stat", stat_flags, STAT_FLAGS, argv + 1, NULL};
    int flag = FLAGS_END;
    for (;;) { /* flags may stand behind PID, too */
        while ((flag = flags_next(&flags)) >= 0)
            if (!stat_take(wish, flag, flags.value))
                return EXIT_USAGE;
        if (flag == FLAGS_BAD)
            return EXIT_USAGE;
        if (*flags.at == NULL || wish->help)
            break;
        if (wish->target != NULL) {
            complain("stat", "unexpected argument '%s'", *flags.at);
            return EXIT_USAGE;
        }
        wish->target = *flags.at++;
    }
    if (wish->target == NULL && !wish->help) {
        complain("stat", "no process (usage: tidepool stat [FLAGS] PID|FILE)");
        return EXIT_USAGE;
    }
    if (wish->count > 0 && wish->seconds == 0)
        wish->seconds = 1;
    return EXIT_DONE;
}

/* --- samples ------------------------------------------------------------------------------ */

static int stat_sample(struct attach *attach, const struct stat_wish *wish, bool first)
{
    int code = attach_sample(attach);
    if (code != EXIT_DONE)
        return code;
    if (wish->pages)
        attach_pages(attach);
    if (wish->json) {
        stat_json(attach, wish->seconds > 0);
    } else {
        if (wish->seconds > 0 && isatty(STDOUT_FILENO))
            fputs("\033[H\033[J", stdout);
        else if (!first)
            putchar('\n');
        stat_text(attach);
    }
    return finish_output();
}

static int stat_end(const struct attach *attach, const struct stat_wish *wish)
{
    const struct tide_counters_page *page = &attach->page;
    long pid = attach->pid != 0 ? attach->pid : (long)page->pid;
    bool ended = page->figures.state == TIDE_COUNTERS_ENDED;
    if (wish->seconds > 0) {
        complain("stat", "process %ld has ended", pid);
        return EXIT_DONE;
    }
    if (ended)
        return EXIT_DONE;
    complain("stat", "process %ld is gone without an exit: these are the last figures it left",
             pid);
    return EXIT_ABSENT;
}

static int stat_samples(struct attach *attach, const struct stat_wish *wish)
{
    double whole = (double)(time_t)wish->seconds; /* not negative */
    struct timespec pause = {(time_t)whole, (long)((wish->seconds - whole) * 1e9)};
    for (long i = 0;; i++) {
        int code = stat_sample(attach, wish, i == 0);
        if (code != EXIT_DONE)
            return i > 0 && !attach->alive && code == EXIT_ABSENT ? EXIT_DONE : code;
        if (!attach->alive)
            return stat_end(attach, wish);
        if (wish->seconds == 0 || i + 1 == wish->count)
            return EXIT_DONE;
        nanosleep(&pause, NULL);
    }
}

static int stat_run(int argc, char **argv)
{
    static struct attach attach;
    struct stat_wish wish = {0};
    (void)argc;
    int code = stat_read(&wish, argv);
    if (code != EXIT_DONE)
        return code;
    if (wish.help) {
        stat_help();
        return EXIT_DONE;
    }
    code = attach_open(&attach, wish.target);
    if (code == EXIT_DONE)
        code = stat_samples(&attach, &wish);
    attach_close(&attach);
    return code;
}

const struct command command_stat = {"stat", "what a running process holds, by tier", stat_run,
                                     stat_help};
