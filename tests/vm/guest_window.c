/*
 * guest_window.c - with the checked words in a near table, neither malloc nor free touches
 * far memory.
 *
 * clean PAIRS   after a warm-up no one may touch the windows of Mid: so many pairs of
 *               malloc and free go on without a fault
 * faults PAIRS  the same must fault (the words are in front of the blocks)
 */
#include <setjmp.h>

#include "guest.h"

enum { LIVE = 24, CLASSES = 4, WINDOWS = 8, WARM_PAIRS = 2000 };

static sigjmp_buf faulted;
static char *volatile fault_at;

static struct {
    char *from, *to;
} window[WINDOWS];
static size_t windows;

static void on_fault(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)context;
    fault_at = info->si_addr;
    siglongjmp(faulted, 1);
}

/* So many pairs, always LIVE blocks alive; `touch`: as a program does. */
static void work(size_t pairs, bool touch, void (*seen)(char *))
{
    static const size_t sizes[CLASSES] = {2048, 5000, 12000, 32768};
    char *live[LIVE] = {NULL};
    for (size_t i = 0; i < pairs; i++) {
        char **slot = &live[i * 7 % LIVE];
        free(*slot);
        *slot = i % 8 == 3 ? memalign(512, sizes[i % CLASSES]) : malloc(sizes[i % CLASSES]);
        NEED(*slot != NULL, "no memory");
        if (touch)
            **slot = 1;
        if (seen != NULL)
            seen(*slot);
    }
    for (size_t i = 0; i < LIVE; i++)
        free(live[i]);
}

/* Keeps the mapping that holds p. */
static void keep_window(char *p)
{
    char line[512];
    unsigned long from, to;
    for (size_t i = 0; i < windows; i++)
        if (window[i].from <= p && p < window[i].to)
            return;
    FILE *file = fopen("/proc/self/maps", "r");
    NEED(file != NULL && windows < WINDOWS, "%zu windows", windows);
    while (fgets(line, sizeof line, file) != NULL) {
        NEED(sscanf(line, "%lx-%lx ", &from, &to) == 2, "%s", line);
        if (from <= (uintptr_t)p && (uintptr_t)p < to) {
            window[windows].from = (char *)from;
            window[windows++].to = (char *)to;
        }
    }
    fclose(file);
}

static void protect(int how)
{
    for (size_t i = 0; i < windows; i++)
        NEED(mprotect(window[i].from, (size_t)(window[i].to - window[i].from), how) == 0, "%s",
             strerror(errno));
}

/* The window is what lies far; a byte of it faults now. */
static bool byte_faults(const char *p)
{
    if (sigsetjmp(faulted, 1) != 0)
        return fault_at == p;
    (void)*(const volatile char *)p;
    return false;
}

/* True when all pairs were made without a fault. */
static bool closed_work(size_t pairs)
{
    volatile bool done = false;
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    work(WARM_PAIRS, true, NULL);
    work(WARM_PAIRS, true, keep_window);
    NEED(sigaction(SIGSEGV, &action, NULL) == 0, "%s", strerror(errno));
    protect(PROT_NONE);
    for (size_t i = 0; i < windows; i++)
        NEED(byte_faults(window[i].from + 100), "window %zu of %zu is open", i, windows);
    if (sigsetjmp(faulted, 1) == 0) {
        work(pairs, false, NULL);
        done = true;
    }
    protect(PROT_READ | PROT_WRITE);
    return done;
}

static void clean(char **arguments)
{
    NEED(closed_work(guest_number(arguments[0])), "a fault at %p", fault_at);
    work(WARM_PAIRS, true, NULL);
}

static void faults(char **arguments)
{
    NEED(!closed_work(guest_number(arguments[0])), "no fault");
    bool inside = false;
    for (size_t i = 0; i < windows; i++)
        inside |= window[i].from <= fault_at && fault_at < window[i].to;
    NEED(inside, "a fault at %p", fault_at);
    fflush(stdout);
    _exit(0); /* the library was left in the middle */
}

int main(int argc, char **argv)
{
    static const struct guest_case cases[] = {{"clean", clean}, {"faults", faults}, {NULL, NULL}};
    (void)argc;
    return guest_main(argv, cases);
}
