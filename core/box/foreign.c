/* foreign.c - see foreign.h */
#include "box/foreign.h"

#include "box/file.h"
#include "box/image.h"
#include "box/stat.h"

static _Atomic int foreign_policy TIDE_START_DATA;

void tide_foreign_policy(enum tide_foreign policy)
{
    atomic_store_explicit(&foreign_policy, (int)policy, memory_order_relaxed);
}

struct foreign_reader {
    int fd;
    long have, at;
    char buf[1024];
};

/* The next line of the file, cut at len - 1 characters. False at the end. */
static bool foreign_line(struct foreign_reader *reader, char *line, size_t len)
{
    size_t out = 0;
    bool any = false;
    for (;;) {
        if (reader->at == reader->have) {
            reader->have = tide_file_get(reader->fd, reader->buf, sizeof reader->buf);
            reader->at = 0;
            if (reader->have <= 0) {
                reader->have = 0;
                break;
            }
        }
        char c = reader->buf[reader->at++];
        any = true;
        if (c == '\n')
            break;
        if (out + 1 < len)
            line[out++] = c;
    }
    line[out] = '\0';
    return any;
}

static const char *foreign_hex(const char *at, uintptr_t *out)
{
    uintptr_t value = 0;
    for (;; at++) {
        unsigned digit = *at >= '0' && *at <= '9'   ? (unsigned)(*at - '0')
                         : *at >= 'a' && *at <= 'f' ? (unsigned)(*at - 'a' + 10)
                                                    : 16;
        if (digit == 16)
            break;
        value = value << 4 | digit;
    }
    *out = value;
    return at;
}

/* Is p in the brk heap, or in writable memory of the dynamic loader? */
static bool foreign_in_startup_memory(uintptr_t p)
{
    struct foreign_reader reader = {.fd = tide_file_open("/proc/self/maps")};
    char line[512];
    bool found = false;
    if (reader.fd < 0)
        return false;
    while (!found && foreign_line(&reader, line, sizeof line)) {
        uintptr_t from, to;
        const char *at = foreign_hex(line, &from);
        if (*at != '-')
            continue;
        at = foreign_hex(at + 1, &to);
        if (p < from || p >= to)
            continue;
        bool writable = at[0] == ' ' && at[1] == 'r' && at[2] == 'w';
        found = strstr(at, "[heap]") != NULL || (writable && strstr(at, "/ld-linux") != NULL);
        break;
    }
    tide_file_close(reader.fd);
    return found;
}

struct foreign_search {
    bool found;
};

/* A loaded object that defines malloc and free, and is neither us nor the C library
 * nor its loader, serves a part of the program: a plugin opened with RTLD_DEEPBIND, or
 * an allocator that was linked in. */
static int foreign_visit(struct dl_phdr_info *info, size_t size, void *context)
{
    struct foreign_search *search = context;
    const char *name = info->dlpi_name != NULL ? info->dlpi_name : "";
    (void)size;
    if (strstr(name, "/libc.so") != NULL || strstr(name, "/ld-linux") != NULL ||
        tide_image_holds(info, &tide_stat))
        return 0;
    struct tide_image image = tide_image_of(info);
    if (image.symbols != NULL)
        search->found = tide_image_symbol(&image, "malloc") != NULL &&
                        tide_image_symbol(&image, "free") != NULL;
    return search->found;
}

static bool foreign_second_malloc(void)
{
    struct foreign_search search = {false};
    dl_iterate_phdr(foreign_visit, &search);
    return search.found;
}

bool tide_foreign_excuse(const void *p)
{
    bool excused =
        atomic_load_explicit(&foreign_policy, memory_order_relaxed) == TIDE_FOREIGN_LEAK ||
        foreign_in_startup_memory((uintptr_t)p) || foreign_second_malloc();
    if (excused)
        TIDE_STAT_ADD(foreign_leaks, 1);
    return excused;
}
