/* test_meta.c - the library's own memory: zeroed, apart, counted, never given twice. */
#include "box/meta.h"

#include <pthread.h>

#include "unit_base.h"

enum { CHUNK = 1 << 20, THREADS = 4, PIECES = 2000 };

static bool all_are(const char *at, size_t size, char value)
{
    return at[0] == value && memcmp(at, at + 1, size - 1) == 0;
}

START_TEST(pieces_are_zero_aligned_and_apart)
{
    static const size_t sizes[] = {1, 63, 64, 65, 100, 4096, 5000, 65536, 3};
    char *at[900];
    for (size_t i = 0; i < 900; i++) {
        size_t size = sizes[i % 9];
        at[i] = tide_meta_take(size);
        ck_assert_ptr_nonnull(at[i]);
        ck_assert_uint_eq((uintptr_t)at[i] % (2 * TIDE_LINE), 0);
        ck_assert(all_are(at[i], size, 0));
        memset(at[i], (int)(i % 255) + 1, size);
    }
    for (size_t i = 0; i < 900; i++)
        ck_assert(all_are(at[i], sizes[i % 9], (char)(i % 255 + 1)));
}
END_TEST

/* Two threads must not write to one line: that is what the alignment is for. */
START_TEST(a_piece_shares_no_line_with_the_next)
{
    char *one = tide_meta_take(1), *two = tide_meta_take(1);
    ck_assert_uint_eq((size_t)(two - one), 2 * TIDE_LINE);
}
END_TEST

START_TEST(bytes_are_those_taken_from_the_kernel)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    ck_assert_uint_eq(tide_meta_bytes(), 0);
    tide_meta_take(128);
    ck_assert_uint_eq(tide_meta_bytes(), CHUNK);
    for (int i = 1; i < CHUNK / 128; i++)
        tide_meta_take(128);
    ck_assert_uint_eq(tide_meta_bytes(), CHUNK);
    tide_meta_take(64);
    ck_assert_uint_eq(tide_meta_bytes(), 2 * CHUNK);
    char *large = tide_meta_take(3 * CHUNK + 1);
    ck_assert_uint_eq(tide_meta_bytes(), 5 * CHUNK + page);
    ck_assert(all_are(large, 3 * CHUNK + 1, 0));
    tide_meta_account(123);
    ck_assert_uint_eq(tide_meta_bytes(), 5 * CHUNK + page + 123);
}
END_TEST

static void take_under_limit(long unused)
{
    (void)unused;
    unit_limit(RLIMIT_AS, unit_status("VmSize") + CHUNK + CHUNK / 2);
    errno = 4321;
    UNIT_NEED(tide_meta_take(4 * CHUNK) == NULL);
    UNIT_NEED(tide_meta_bytes() == 0);
    UNIT_NEED(tide_meta_take(CHUNK) != NULL); /* a whole chunk fits */
    UNIT_NEED(tide_meta_bytes() == CHUNK);
    UNIT_NEED(tide_meta_take(100) != NULL); /* now only a piece of its own size */
    UNIT_NEED(tide_meta_bytes() < CHUNK + CHUNK / 2);
    int more = 0;
    while (tide_meta_take(4096) != NULL)
        UNIT_NEED(++more < CHUNK / 4096);
    UNIT_NEED(tide_meta_take(4096) == NULL);
    UNIT_NEED(errno == 4321);
    unit_limit(RLIMIT_AS, RLIM_INFINITY);
    UNIT_NEED(tide_meta_take(4096) != NULL); /* and it recovers */
}

START_TEST(without_memory_it_gives_null)
{
    unit_child_ok(take_under_limit, 0);
}
END_TEST

START_TEST(a_size_beyond_all_memory_gives_null)
{
    tide_meta_take(1);
    ck_assert_ptr_null(tide_meta_take((size_t)1 << 62));
    ck_assert_ptr_null(tide_meta_take(SIZE_MAX / 2));
}
END_TEST

static uint64_t *piece[THREADS][PIECES];

static void *take_many(void *arg)
{
    uint64_t **mine = arg;
    for (int i = 0; i < PIECES; i++) {
        mine[i] = tide_meta_take(200);
        if (mine[i] == NULL || *mine[i] != 0)
            return NULL;
        *mine[i] = (uint64_t)(uintptr_t)&mine[i];
    }
    return arg;
}

START_TEST(threads_get_different_pieces)
{
    pthread_t thread[THREADS];
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&thread[i], NULL, take_many, piece[i]), 0);
    for (int i = 0; i < THREADS; i++) {
        void *done = NULL;
        pthread_join(thread[i], &done);
        ck_assert_ptr_nonnull(done);
    }
    for (int i = 0; i < THREADS; i++)
        for (int j = 0; j < PIECES; j++)
            ck_assert_uint_eq(*piece[i][j], (uint64_t)(uintptr_t)&piece[i][j]);
}
END_TEST

static void *take_one(void *out)
{
    *(void *_Atomic *)out = tide_meta_take(64);
    return NULL;
}

START_TEST(fork_holds_its_lock)
{
    static void *_Atomic taken;
    pthread_t thread;
    tide_meta_fork(TIDE_FORK_PREPARE);
    ck_assert_int_eq(pthread_create(&thread, NULL, take_one, (void *)&taken), 0);
    usleep(30000);
    ck_assert_ptr_null(atomic_load(&taken));
    tide_meta_fork(TIDE_FORK_RELEASE);
    pthread_join(thread, NULL);
    ck_assert_ptr_nonnull(atomic_load(&taken));
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {pieces_are_zero_aligned_and_apart,
                                  a_piece_shares_no_line_with_the_next,
                                  bytes_are_those_taken_from_the_kernel,
                                  without_memory_it_gives_null,
                                  a_size_beyond_all_memory_gives_null,
                                  threads_get_different_pieces,
                                  fork_holds_its_lock,
                                  NULL};
    return unit_main("meta", tests);
}
