/*
 * prog_pitfall_limit.c - how much malloc gives before it says NULL.
 *
 * prog_pitfall_limit LOW HIGH   blocks of LOW..HIGH bytes, uniformly; prints
 * the sum of their sizes. To be run under a limit of the address space. Then
 * some blocks are freed, and malloc must work again.
 */
#include "pitfall.h"

enum { KEPT = 2000 };

static void *(*volatile do_malloc)(size_t) = malloc;

int main(int argc, char **argv)
{
    static void *kept[KEPT];
    static size_t sizes[KEPT];
    uint64_t state = 1, sum = 0, count = 0;
    if (argc != 3)
        die("arguments");
    size_t low = strtoul(argv[1], NULL, 0), high = strtoul(argv[2], NULL, 0);
    for (;;) {
        size_t size = low + next_random(&state) % (high - low + 1);
        errno = 0;
        void *block = do_malloc(size);
        if (!block)
            break;
        kept[count % KEPT] = block;
        sizes[count++ % KEPT] = size;
        sum += size;
    }
    if (errno != ENOMEM)
        die("NULL with errno %d", errno);
    for (int i = 0; i < KEPT; i++)
        free(kept[i]);
    for (int i = 0; i < KEPT / 4 * 3; i++) {
        if (kept[i] && !do_malloc(sizes[i]))
            die("nothing after %d blocks, though %d were freed", i, KEPT);
    }
    char text[32];
    int length = snprintf(text, sizeof text, "%llu\n", (unsigned long long)sum);
    return write(STDOUT_FILENO, text, (size_t)length) != length;
}
