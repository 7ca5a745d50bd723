/* test_owner.c - a lock that names its holder: who runs, who does not, who cannot be told. */
#include "unit_base.h"

#include <sys/syscall.h>

#include "box/owner.h"

/* In memory that children share. */
static struct tide_owner *shared(void)
{
    void *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(at, MAP_FAILED);
    return at;
}

static enum tide_owner_is look(const struct tide_owner *owner)
{
    struct tide_owner_seen seen;
    return tide_owner_look(owner, &seen);
}

static bool take(struct tide_owner *owner)
{
    struct tide_owner_seen seen;
    tide_owner_look(owner, &seen);
    return tide_owner_win(owner, &seen);
}

START_TEST(nobody_then_myself_then_nobody)
{
    struct tide_owner owner = {0};
    struct tide_owner_seen seen;
    ck_assert_int_eq(tide_owner_look(&owner, &seen), TIDE_OWNER_NOBODY);
    ck_assert(tide_owner_win(&owner, &seen));
    ck_assert(!tide_owner_win(&owner, &seen));
    ck_assert_int_eq(tide_owner_look(&owner, &seen), TIDE_OWNER_ALIVE);
    ck_assert_uint_eq(seen.pid, (unsigned)getpid());
    tide_owner_drop(&owner);
    ck_assert_int_eq(look(&owner), TIDE_OWNER_NOBODY);
}
END_TEST

START_TEST(a_child_lives_then_is_a_zombie_then_gone)
{
    struct tide_owner *owner = shared();
    int ready[2];
    ck_assert_int_eq(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        UNIT_NEED(take(owner) && write(ready[1], "x", 1) == 1);
        for (;;)
            pause();
    }
    char byte;
    siginfo_t info;
    ck_assert_int_eq((int)read(ready[0], &byte, 1), 1);
    ck_assert_int_eq(look(owner), TIDE_OWNER_ALIVE);
    kill(child, SIGKILL);
    ck_assert_int_eq(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
    ck_assert_int_eq(look(owner), TIDE_OWNER_DEAD);
    waitpid(child, NULL, 0);
    ck_assert_int_eq(look(owner), TIDE_OWNER_DEAD);
    ck_assert(take(owner));
    ck_assert_int_eq(look(owner), TIDE_OWNER_ALIVE);
}
END_TEST

/* What a holder writes, written by hand: the word's upper half is a sum of the fields, so the
 * sum is found by taking the lock with a look-alike of the fields in place. */
START_TEST(what_differs_is_not_ours)
{
    struct tide_owner owner = {0};
    ck_assert(take(&owner));
    struct tide_owner was = owner;
    owner.started++; /* the word is ours: another thread is about to write the rest */
    ck_assert_int_eq(look(&owner), TIDE_OWNER_ALIVE);
    owner.word ^= UINT64_C(1) << 40; /* the sum does not fit: half written, perhaps */
    ck_assert_int_eq(look(&owner), TIDE_OWNER_UNKNOWN);
    owner = was;
    owner.word ^= UINT64_C(1) << 40;
    ck_assert_int_eq(look(&owner), TIDE_OWNER_UNKNOWN);
    owner = was;
    ck_assert_int_eq(look(&owner), TIDE_OWNER_ALIVE);
}
END_TEST

START_TEST(the_boot_is_known_and_stays)
{
    uint64_t one[2], two[2];
    tide_owner_boot(one);
    tide_owner_boot(two);
    ck_assert(one[0] == two[0] && one[1] == two[1]);
    ck_assert(one[0] != 0 && one[1] != 0);
}
END_TEST

/* After exec the process is the same, and the program is not. */
START_TEST(another_program_in_the_same_process)
{
    char fd_text[16];
    int fd = (int)syscall(SYS_memfd_create, "owner", 0);
    ck_assert_int_eq(ftruncate(fd, 4096), 0);
    pid_t child = fork();
    if (child == 0) {
        struct tide_owner *owner = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        UNIT_NEED(take(owner) && look(owner) == TIDE_OWNER_ALIVE);
        snprintf(fd_text, sizeof fd_text, "%d", fd);
        setenv("OWNER_FD", fd_text, 1);
        execl("/proc/self/exe", "test_owner", (char *)NULL);
        _exit(98);
    }
    int status;
    waitpid(child, &status, 0);
    ck_assert_int_eq(status, 0);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {nobody_then_myself_then_nobody,
                                  a_child_lives_then_is_a_zombie_then_gone,
                                  what_differs_is_not_ours,
                                  the_boot_is_known_and_stays,
                                  another_program_in_the_same_process,
                                  NULL};
    if (getenv("OWNER_FD") != NULL) {
        struct tide_owner *owner =
            mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, atoi(getenv("OWNER_FD")), 0);
        return look(owner) == TIDE_OWNER_UNKNOWN ? 0 : 97;
    }
    return unit_main("owner", tests);
}
