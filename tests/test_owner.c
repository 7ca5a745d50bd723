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

/* The word is there, the rest is not: nobody knows while that process runs. */
START_TEST(who_dies_before_all_is_written)
{
    struct tide_owner *owner = shared();
    int ready[2];
    char byte;
    ck_assert_int_eq(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        UNIT_NEED(take(owner));
        owner->started = 0;
        UNIT_NEED(write(ready[1], "x", 1) == 1);
        for (;;)
            pause();
    }
    ck_assert_int_eq((int)read(ready[0], &byte, 1), 1);
    ck_assert_int_eq(look(owner), TIDE_OWNER_UNKNOWN);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    ck_assert_int_eq(look(owner), TIDE_OWNER_DEAD);
    owner->word ^= UINT64_C(1) << 25; /* of another machine, or namespace: not known */
    ck_assert_int_eq(look(owner), TIDE_OWNER_UNKNOWN);
}
END_TEST

/* As a process of another boot, or of another machine, would have written it. */
static enum tide_owner_is look_at_stranger(uint64_t boot, uint64_t machine, uint64_t mine)
{
    struct tide_owner owner = {0};
    struct tide_owner_self self, other;
    struct tide_owner_seen seen;
    tide_owner_self(&self);
    self.machine = mine;
    tide_owner_sum(&self);
    other = self;
    other.boot[1] ^= boot;
    other.machine = machine;
    other.image ^= 1;
    other.pid = 4711;
    tide_owner_sum(&other);
    tide_owner_put(&owner, &other);
    enum tide_owner_is is = tide_owner_look_as(&owner, &self, &seen);
    ck_assert_uint_eq(seen.pid, 4711);
    owner.machine ^= 2; /* the sum is of the machine, too */
    if (boot != 0)
        ck_assert_int_eq(tide_owner_look_as(&owner, &self, &seen), TIDE_OWNER_UNKNOWN);
    other.space ^= 1; /* a pid of another namespace says nothing */
    tide_owner_sum(&other);
    tide_owner_put(&owner, &other);
    if (boot == 0)
        ck_assert_int_eq(tide_owner_look_as(&owner, &self, &seen), TIDE_OWNER_UNKNOWN);
    return is;
}

START_TEST(another_boot_and_another_machine)
{
    ck_assert_int_eq(look_at_stranger(1, 7, 7), TIDE_OWNER_DEAD);
    ck_assert_int_eq(look_at_stranger(1, 9, 7), TIDE_OWNER_FOREIGN);
    ck_assert_int_eq(look_at_stranger(1, 0, 7), TIDE_OWNER_BEFORE);
    ck_assert_int_eq(look_at_stranger(1, 9, 0), TIDE_OWNER_BEFORE);
    ck_assert_int_eq(look_at_stranger(1, 0, 0), TIDE_OWNER_BEFORE);
    ck_assert_int_ne(look_at_stranger(0, 9, 7), TIDE_OWNER_FOREIGN); /* a container's own id */
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
                                  who_dies_before_all_is_written,
                                  another_boot_and_another_machine,
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
