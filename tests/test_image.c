/* test_image.c - see core/box/image.h */
#define _GNU_SOURCE 1
#include "box/image.h"

#include <search.h>

#include "unit_base.h"

struct look {
    const char *object, *symbol;
    const void *found;
    int objects;
};

static int visit(struct dl_phdr_info *info, size_t size, void *context)
{
    struct look *look = context;
    (void)size;
    if (strstr(info->dlpi_name, look->object) == NULL)
        return 0;
    struct tide_image image = tide_image_of(info);
    look->objects++;
    look->found = tide_image_symbol(&image, look->symbol);
    ck_assert(look->found == NULL || tide_image_holds(info, look->found));
    return 1;
}

static struct look search(const char *object, const char *symbol)
{
    struct look look = {object, symbol, NULL, 0};
    dl_iterate_phdr(visit, &look);
    return look;
}

START_TEST(finds_what_an_object_defines)
{
    struct look look = search("/libc.so", "lsearch"); /* nothing that a sanitizer replaces */
    ck_assert_int_eq(look.objects, 1);
    ck_assert_ptr_eq(look.found, (const void *)lsearch);
    ck_assert_ptr_eq(search("/libc.so", "hcreate").found, (const void *)hcreate);
}
END_TEST

START_TEST(finds_nothing_else)
{
    ck_assert_ptr_null(search("/libc.so", "tide_no_such_symbol").found);
    ck_assert_ptr_null(search("/libc.so", "").found);
    ck_assert_ptr_null(search("/ld-linux", "lsearch").found);
}
END_TEST

/* The vDSO's dynamic section is not relocated by anybody. */
START_TEST(reads_the_vdso)
{
    struct look look = search("vdso", "__vdso_clock_gettime");
    if (look.objects == 1)
        ck_assert_ptr_nonnull(look.found);
}
END_TEST

START_TEST(an_object_without_tables_has_no_symbols)
{
    struct tide_image image = {0};
    ck_assert_ptr_null(tide_image_symbol(&image, "malloc"));
}
END_TEST

static int outside(struct dl_phdr_info *info, size_t size, void *context)
{
    int local = 0;
    (void)size;
    ck_assert(!tide_image_holds(info, &local));
    ck_assert(!tide_image_holds(info, NULL));
    ++*(int *)context;
    return 0;
}

START_TEST(the_stack_is_in_no_object)
{
    int objects = 0;
    dl_iterate_phdr(outside, &objects);
    ck_assert_int_gt(objects, 1);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {finds_what_an_object_defines,
                                  finds_nothing_else,
                                  reads_the_vdso,
                                  an_object_without_tables_has_no_symbols,
                                  the_stack_is_in_no_object,
                                  NULL};
    return unit_main("image", tests);
}
