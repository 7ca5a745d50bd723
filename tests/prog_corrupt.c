/*
 * prog_corrupt.c - writes where it must not: past a block, in front of it,
 * into freed blocks, over headers. One case per run, see misuse.h; misuse.sh
 * knows how each must end.
 *
 * What it writes is mostly the address of the decoy: an allocator that takes
 * written bytes for a pointer of its own hands the decoy out or writes to it.
 */
#define _GNU_SOURCE 1
#include "misuse.h"

enum {
    NEIGHBOURS = 512,
    STALE = 4000,   /* blocks of the case retyped */
    BESIDE = 65536, /* up to here Large lies beside Tiny */
};

static unsigned char *blocks[NEIGHBOURS]; /* in the order of their addresses */
static size_t block_count;

/* ---- tools ---- */

static bool is_writable(uintptr_t from, uintptr_t end)
{
    char line[512], mode[8];
    uintptr_t low, high;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (maps && fgets(line, sizeof line, maps)) {
        if (sscanf(line, "%zx-%zx %7s", &low, &high, mode) == 3 && low <= from && from < high &&
            mode[1] == 'w')
            from = high;
    }
    if (maps)
        fclose(maps);
    return from >= end;
}

/* Fills memory with the address of the middle of the decoy. */
static void scribble(unsigned char *from, size_t length)
{
    uint64_t word = (uintptr_t)decoy + DECOY / 2;
    for (size_t i = 0; i < length; i++)
        from[i] = (unsigned char)(word >> i % 8 * 8);
}

static uint64_t word_of(const unsigned char *ptr)
{
    uint64_t word;
    memcpy(&word, ptr - sizeof word, sizeof word);
    return word;
}

static void word_set(unsigned char *ptr, uint64_t word)
{
    memcpy(ptr - sizeof word, &word, sizeof word);
}

/* True where 16 bytes in front of a block are its header. */
static bool has_header(void)
{
    return size >= 2048 && size <= 32768;
}

static void get_neighbours(void)
{
    block_count = size < 4096 ? NEIGHBOURS : 64;
    for (size_t i = 0; i < block_count; i++)
        blocks[i] = get(size);
    qsort(blocks, block_count, sizeof *blocks, by_address);
}

/* ---- overflow ---- */

/* `count` neighbours write `length` bytes past their usable size each; then all
 * of them are freed. The second is the first whose header is damaged. */
static void overflow(size_t count, size_t length)
{
    get_neighbours();
    size_t usable = do_usable(blocks[0]);
    unsigned char *end = blocks[count - 1] + usable + length;
    if (!is_writable((uintptr_t)blocks[0], (uintptr_t)end) || end > blocks[block_count - 1])
        stop(EXIT_SKIP, "no neighbours to write to");
    announce(blocks[1], usable);
    for (size_t i = 0; i < count; i++)
        scribble(blocks[i] + usable, length);
    for (size_t i = 0; i < block_count; i++)
        do_free(blocks[i]);
    go_on(NULL);
}

static void overflow_1(void)
{
    overflow(1, 1);
}

static void overflow_16(void)
{
    overflow(1, 16);
}

static void overflow_64_by_8(void)
{
    overflow(8, 64);
}

static void overflow_64k(void)
{
    overflow(1, 65536);
}

/* ---- underflow ---- */

/* A block that has one of its kind on both sides. */
static unsigned char *get_middle(void)
{
    get_neighbours();
    announce(blocks[1], do_usable(blocks[1]));
    return blocks[1];
}

static void underflow_16(void)
{
    unsigned char *ptr = get_middle();
    scribble(ptr - 16, 16);
    do_free(ptr);
    go_on(NULL);
}

static void underflow_zero(void)
{
    unsigned char *ptr = get_middle();
    ptr[-1] = 0;
    do_free(ptr);
    go_on(NULL);
}

/* ---- write after free ---- */

static void write_after_free(unsigned char byte)
{
    get_neighbours();
    size_t length = do_usable(blocks[0]);
    announce(blocks[0], length);
    for (size_t i = 0; i < block_count; i++)
        do_free(blocks[i]);
    for (size_t i = 0; i < block_count; i++) {
        if (!is_writable((uintptr_t)blocks[i], (uintptr_t)blocks[i] + length))
            stop(EXIT_SKIP, "the freed block is gone");
        if (byte)
            memset(blocks[i], byte, length);
        else
            scribble(blocks[i], length);
    }
    take_and_look(NULL); /* before anything is given back to the system */
    go_on(NULL);
}

static void late_garbage(void)
{
    write_after_free(0xa5);
}

static void late_pointer(void)
{
    write_after_free(0);
}

/* The block is written to after it was freed, and freed again. */
static void double_scribbled(void)
{
    unsigned char *ptr = get_middle();
    do_free(ptr);
    scribble(ptr, size);
    do_free(ptr);
    take_and_look(NULL);
    go_on(NULL);
}

/* ---- forged headers ---- */

/* Copies a block with its header to `to`, and frees that. `usable`: of the block
 * that `to` lies in. */
static void free_copy(unsigned char *to, size_t usable)
{
    unsigned char *ptr = get(size);
    size_t header = has_header() ? HEADER : 0;
    memset(ptr, 7, size);
    memcpy(to - header, ptr - header, header + (size < 4096 ? size : 4096));
    announce(to, usable);
    do_free(to);
    go_on(ptr);
}

static void forged_foreign(void)
{
    unsigned char *other =
        mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    free_copy(other + 8192 + HEADER, 0);
}

/* The copy lies in a live block of the same tier. */
static void forged_inside(void)
{
    unsigned char *outer = get(size < 1024 ? 2000 : size < 16384 ? 30000 : 2 * size + 8192);
    size_t skew = HEADER - (uintptr_t)outer % 32;
    free_copy(outer + 512 + skew % 32, do_usable(outer));
}

/* The header of a block that another thread made. */
static void *thread_word(void *unused)
{
    static uint64_t word;
    (void)unused;
    word = word_of(get(size));
    return &word;
}

static void forged_owner(void)
{
    unsigned char *ptr = get_announced(0);
    word_set(ptr, *(uint64_t *)in_thread(thread_word, NULL));
    do_free(ptr);
    go_on(NULL);
}

static void free_flipped(unsigned char *ptr, unsigned bit)
{
    word_set(ptr, word_of(ptr) ^ (uint64_t)1 << bit);
    do_free(ptr);
    go_on(NULL);
    exit(0);
}

/* Each bit in a child of its own. */
static void forged_bits(void)
{
    unsigned char *ptr = get_announced(0);
    int status;
    for (unsigned bit = 0; bit < 64; bit++) {
        pid_t pid = fork();
        if (pid == 0)
            free_flipped(ptr, bit);
        if (pid < 0 || waitpid(pid, &status, 0) != pid)
            stop(EXIT_SKIP, "no child");
        if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT) {
            printf("bit %u: status %#x\n", bit, (unsigned)status);
            exit(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : EXIT_UNSOUND);
        }
    }
    exit(128 + SIGABRT);
}

/* The header of the live block, put back after the block was freed. */
static void free_replayed(void)
{
    unsigned char *ptr = get_middle();
    uint64_t word = word_of(ptr);
    do_free(ptr);
    word_set(ptr, word);
    do_free(ptr);
}

/* Next comes a trim: all blocks go back to their pages. */
static void replayed(void)
{
    free_replayed();
    go_on(NULL);
}

/* Next comes a user, and then the block comes home a second time. */
static void replayed_held(void)
{
    unsigned char *ptr = get_middle(), *held;
    uint64_t inside[2], word = has_header() ? word_of(ptr) : 0;
    memcpy(inside, ptr, sizeof inside);
    do_free(ptr);
    memcpy(ptr, inside, sizeof inside);
    if (has_header())
        word_set(ptr, word);
    do_free(ptr);
    held = get(size);
    malloc_trim(0);
    take_and_look(held);
    go_on(held);
}

/* Next comes malloc: it finds the block twice where it takes blocks from. */
static void replayed_popped(void)
{
    free_replayed();
    unsigned char *one = get(size), *two = get(size);
    if (one == two)
        stop(EXIT_UNSOUND, "handed out twice");
    go_on(NULL);
}

static pthread_barrier_t barrier;

static void *free_and_wait(void *ptr)
{
    do_free(ptr);
    pthread_barrier_wait(&barrier); /* freed */
    pthread_barrier_wait(&barrier); /* freed again */
    return NULL;
}

static void *free_now(void *ptr)
{
    do_free(ptr);
    return NULL;
}

/* Two threads free the block, and what the first one wrote into it is taken back: the
 * block waits in two places until it comes home. */
static void replayed_remote(void)
{
    unsigned char *ptr = get_middle();
    uint64_t inside[2], word = has_header() ? word_of(ptr) : 0;
    pthread_t first;
    memcpy(inside, ptr, sizeof inside);
    pthread_barrier_init(&barrier, NULL, 2);
    if (pthread_create(&first, NULL, free_and_wait, ptr))
        stop(EXIT_SKIP, "no thread");
    pthread_barrier_wait(&barrier);
    memcpy(ptr, inside, sizeof inside);
    if (has_header())
        word_set(ptr, word);
    in_thread(free_now, ptr);
    pthread_barrier_wait(&barrier);
    pthread_join(first, NULL);
    go_on(NULL);
}

static unsigned char *old[STALE], *now[STALE];
static uint64_t words[STALE];

/* Makes and frees many blocks and remembers their headers; their memory goes back. */
static void *make_old(void *unused)
{
    (void)unused;
    for (size_t i = 0; i < STALE; i++) {
        old[i] = get(size);
        words[i] = has_header() ? word_of(old[i]) : 0;
    }
    for (size_t i = 0; i < STALE; i++)
        do_free(old[i]);
    malloc_trim(0);
    return NULL;
}

/* Blocks of `bytes` come where the old ones were. In one of them, `from` to `to` bytes
 * behind its start, an old header is put where it was, and its block is freed again. */
static void free_stale(size_t bytes, ptrdiff_t from, ptrdiff_t to)
{
    for (size_t i = 0; i < STALE; i++)
        now[i] = get(bytes);
    for (size_t i = 0; i < STALE; i++) {
        for (size_t k = 0; k < STALE; k++) {
            if (old[i] - now[k] < from || old[i] - now[k] > to)
                continue;
            announce(old[i], do_usable(now[k]));
            word_set(old[i], words[i]);
            do_free(old[i]);
            go_on(from > 0 ? now[k] : NULL);
            return;
        }
    }
    stop(EXIT_SKIP, "no block lies where one was before");
}

/* Of a greater class, whose blocks lie in memory of the same kind. */
static size_t greater(void)
{
    size_t more = size * 9 / 5;
    return size <= BESIDE && more > BESIDE ? BESIDE : more;
}

/* The memory serves another class; the old header is in the middle of a live block. */
static void retyped(void)
{
    make_old(NULL);
    free_stale(greater(), HEADER + 1, (ptrdiff_t)size);
}

/* A block of another class begins where one began before. */
static void retyped_start(void)
{
    make_old(NULL);
    free_stale(greater(), 0, 0);
}

/* The block has another owner now: the old header is right but for that. */
static void stale_owner(void)
{
    in_thread(make_old, NULL);
    free_stale(size, 0, 0);
}

#define CASE(name)                                                                                 \
    {                                                                                              \
#name, name                                                                                \
    }

static const struct misuse cases[] = {
    CASE(overflow_1),      CASE(overflow_16),     CASE(overflow_64_by_8), CASE(overflow_64k),
    CASE(underflow_16),    CASE(underflow_zero),  CASE(late_garbage),     CASE(late_pointer),
    CASE(forged_foreign),  CASE(forged_inside),   CASE(forged_owner),     CASE(forged_bits),
    CASE(replayed),        CASE(replayed_popped), CASE(double_scribbled), CASE(replayed_held),
    CASE(replayed_remote), CASE(retyped),         CASE(retyped_start),    CASE(stale_owner)};

int main(int argc, char **argv)
{
    return run_case(cases, sizeof cases / sizeof *cases, argc, argv);
}
