/*
 * test_foreign.c - memory that we never gave out: when a free of it is misuse, and when it
 * is one counted leak.
 */
#include "pool_case.h"

#include <dlfcn.h>

#include "box/foreign.h"
#include "box/option.h"
#include "box/stat.h"

static int data = 1;

static uint64_t leaks(void)
{
    return TIDE_STAT_GET(foreign_leaks);
}

static void must_be_excused(void *p)
{
    uint64_t before = leaks();
    ck_assert(tide_foreign_excuse(p));
    ck_assert_uint_eq(leaks(), before + 1);
    tide_free(p);
    ck_assert_uint_eq(leaks(), before + 2);
}

/* The first writable mapping of /proc/self/maps whose line holds `name`. */
static void *find_mapping(const char *name)
{
    char line[512], mode[8];
    unsigned long from;
    void *found = NULL;
    FILE *file = fopen("/proc/self/maps", "r");
    ck_assert_ptr_nonnull(file);
    while (found == NULL && fgets(line, sizeof line, file) != NULL)
        if (strstr(line, name) != NULL && sscanf(line, "%lx-%*x %7s", &from, mode) == 2 &&
            mode[1] == 'w')
            found = (void *)from;
    fclose(file);
    return found;
}

START_TEST(memory_of_the_loader_is_excused)
{
    void *p = find_mapping("/ld-linux");
    ck_assert_ptr_nonnull(p);
    must_be_excused(p);
    must_be_excused((char *)p + 16);
}
END_TEST

START_TEST(the_brk_heap_is_excused)
{
    char *p = sbrk(4096);
    ck_assert_ptr_ne(p, (void *)-1);
    must_be_excused(p + 64);
}
END_TEST

START_TEST(everything_is_excused_on_request)
{
    int local;
    ck_assert_int_eq(tide_option_set("foreign", "leak"), 0);
    must_be_excused(&local);
    must_be_excused(&data);
    must_be_excused((void *)0x1000);
    must_be_excused((void *)UINTPTR_MAX);
    ck_assert_int_eq(data, 1);
}
END_TEST

static void free_plain(void *p)
{
    tide_free(p);
}

static void realloc_plain(void *p)
{
    APART(tide_realloc(p, 100) == NULL);
}

/* There is no excuse for asking about foreign memory: nothing would leak. */
START_TEST(other_calls_are_never_excused)
{
    ck_assert_int_eq(tide_option_set("foreign", "leak"), 0);
    must_die(realloc_plain, &data,
             fault_line("foreign pointer", &data, "realloc", "none", 0, 0, "unknown"));
}
END_TEST

#if !SANITIZED
/* A sanitizer brings a malloc of its own: with it, everything is excused. */
START_TEST(strangers_are_not_excused)
{
    int local;
    char *page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    void *stranger[] = {&local,
                        &data,
                        page,
                        page + 16,
                        (void *)0x1000,
                        (void *)(uintptr_t)strangers_are_not_excused,
                        (void *)((uintptr_t)1 << 63),
                        (void *)UINTPTR_MAX};
    for (size_t i = 0; i < sizeof stranger / sizeof stranger[0]; i++) {
        ck_assert(!tide_foreign_excuse(stranger[i]));
        must_die(free_plain, stranger[i],
                 fault_line("foreign pointer", stranger[i], "free", "none", 0, 0, "unknown"));
    }
    ck_assert_uint_eq(leaks(), 0);
}
END_TEST

static void free_with_policy(void *policy)
{
    APART(tide_option_set("misuse", policy) == 0);
    tide_free(&data);
    APART(tide_diag_misuses() == 1);
    APART(leaks() == 0 && data == 1);
}

START_TEST(the_policy_of_misuse_is_apart_from_excuses)
{
    must_live(free_with_policy, "warn",
              fault_line("foreign pointer", &data, "free", "none", 0, 0, "unknown"));
    must_live(free_with_policy, "ignore", "");
}
END_TEST

/* A plugin with a malloc of its own is open: its blocks may come to us. */
START_TEST(a_second_malloc_excuses)
{
    char path[512];
    ssize_t len = readlink("/proc/self/exe", path, sizeof path - 64);
    ck_assert_int_gt(len, 0);
    path[len] = '\0';
    strcpy(strrchr(path, '/'), "/../plug_own_malloc.so");
    ck_assert(!tide_foreign_excuse(&data));
    void *plug = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    ck_assert_msg(plug != NULL, "%s", dlerror());
    must_be_excused(&data);
    dlclose(plug);
    ck_assert(!tide_foreign_excuse(&data));
}
END_TEST
#else
START_TEST(a_sanitizers_malloc_excuses)
{
    must_live(free_plain, &data, "");
    must_be_excused(&data);
}
END_TEST
#endif

int main(void)
{
    TCase *group = tcase_create("foreign");
    tcase_add_test(group, memory_of_the_loader_is_excused);
    tcase_add_test(group, the_brk_heap_is_excused);
    tcase_add_test(group, everything_is_excused_on_request);
    tcase_add_test(group, other_calls_are_never_excused);
#if !SANITIZED
    tcase_add_test(group, strangers_are_not_excused);
    tcase_add_test(group, the_policy_of_misuse_is_apart_from_excuses);
    tcase_add_test(group, a_second_malloc_excuses);
#else
    tcase_add_test(group, a_sanitizers_malloc_excuses);
#endif
    return run_group("foreign", group);
}
