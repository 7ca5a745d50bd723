/* words.c - see command.h: complaints, slips of the keyboard, figures for people */
#define _GNU_SOURCE
#include "command.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { WORD_MAX = 32 };

void complain(const char *command, const char *format, ...)
{
    char *line;
    va_list list;
    va_start(list, format);
    int length = vasprintf(&line, format, list);
    va_end(list);
    if (length < 0)
        return;
    fprintf(stderr, "tidepool%s%s: %s\n", command != NULL ? " " : "",
            command != NULL ? command : "", line);
    free(line);
}

static int least(int a, int b)
{
    return a < b ? a : b;
}

/* Letters to insert, drop, replace or swap with their neighbour to get from a to b. */
static int slips(const char *a, const char *b)
{
    int cost[WORD_MAX + 1][WORD_MAX + 1];
    int m = (int)strlen(a), n = (int)strlen(b);
    if (m > WORD_MAX || n > WORD_MAX)
        return WORD_MAX;
    for (int i = 0; i <= m; i++) {
        for (int j = 0; j <= n; j++) {
            if (i == 0 || j == 0) {
                cost[i][j] = i + j;
                continue;
            }
            int differ = a[i - 1] != b[j - 1];
            int best = least(cost[i - 1][j] + 1, cost[i][j - 1] + 1);
            best = least(best, cost[i - 1][j - 1] + differ);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                best = least(best, cost[i - 2][j - 2] + 1);
            cost[i][j] = best;
        }
    }
    return cost[m][n];
}

/* Of two names equally near, letters are forgotten rather than made up. */
static bool is_fuller(const char *name, const char *than)
{
    return strlen(name) > strlen(than);
}

const char *nearest_name(const char *word, const char *const *names, int count)
{
    const char *best = NULL;
    size_t length = strlen(word);
    int most = length < 4 ? 1 : length < 8 ? 2 : 3; /* more is no slip, but another word */
    for (int i = 0; i < count; i++) {
        int n = slips(word, names[i]);
        if (n > most || n >= (int)length ||
            (best != NULL && n == most && !is_fuller(names[i], best)))
            continue;
        best = names[i];
        most = n;
    }
    return best;
}

char *bytes_text(char *buf, uint64_t bytes)
{
    static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    int at = 0;
    uint64_t scale = 1;
    while (at < 6 && bytes / scale >= 1024) {
        scale *= 1024;
        at++;
    }
    if (bytes % scale == 0)
        snprintf(buf, 32, "%llu %s", (unsigned long long)(bytes / scale), unit[at]);
    else
        snprintf(buf, 32, "%.1f %s", (double)bytes / (double)scale, unit[at]);
    return buf;
}

char *count_text(char *buf, uint64_t count)
{
    char digits[32];
    int length = snprintf(digits, sizeof digits, "%llu", (unsigned long long)count);
    char *out = buf;
    for (int i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0)
            *out++ = ',';
        *out++ = digits[i];
    }
    *out = '\0';
    return buf;
}

int finish_output(void)
{
    bool failed = ferror(stdout) != 0;
    errno = 0;
    if (fflush(stdout) == 0 && !failed)
        return EXIT_DONE;
    complain(NULL, "cannot write the output: %s", errno != 0 ? strerror(errno) : "write error");
    return EXIT_ERROR;
}
