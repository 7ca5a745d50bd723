/* program.c - see program.h: programs */
#define _GNU_SOURCE
#include "program.h"

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#if __SIZEOF_POINTER__ == 8
enum { OWN_CLASS = ELFCLASS64 };
#else
enum { OWN_CLASS = ELFCLASS32 };
#endif

static bool is_executable(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 && S_ISREG(status.st_mode) && access(path, X_OK) == 0;
}

bool program_find(const char *name, char path[PROGRAM_PATH])
{
    const char *list = getenv("PATH");
    if (strchr(name, '/') != NULL) {
        snprintf(path, PROGRAM_PATH, "%s", name);
        return is_executable(path);
    }
    if (list == NULL)
        list = "/bin:/usr/bin"; /* what execvp takes */
    for (;; list++) {
        int length = (int)strcspn(list, ":");
        snprintf(path, PROGRAM_PATH, "%.*s%s%s", length, list, length > 0 ? "/" : "", name);
        if (is_executable(path))
            return true;
        list += length;
        if (*list == '\0')
            return false;
    }
}

static uint16_t own_machine(void)
{
    ElfW(Ehdr) own;
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? 0 : read(fd, &own, sizeof own);
    if (fd >= 0)
        close(fd);
    return got == (ssize_t)sizeof own ? own.e_machine : EM_NONE;
}

static enum program_kind elf_kind(int fd, const ElfW(Ehdr) * header)
{
    bool dynamic = false, loader = false;
    if (header->e_ident[EI_CLASS] != OWN_CLASS || header->e_machine != own_machine())
        return PROGRAM_OTHER;
    for (unsigned i = 0; i < header->e_phnum; i++) {
        ElfW(Phdr) part;
        off_t at = (off_t)(header->e_phoff + i * sizeof part);
        if (pread(fd, &part, sizeof part, at) != (ssize_t)sizeof part)
            return PROGRAM_UNKNOWN;
        dynamic = dynamic || part.p_type == PT_DYNAMIC;
        loader = loader || part.p_type == PT_INTERP;
    }
    if (loader)
        return PROGRAM_DYNAMIC;
    return header->e_type == ET_DYN && dynamic ? PROGRAM_SHARED : PROGRAM_STATIC;
}

enum program_kind program_kind(const char *path, char interpreter[PROGRAM_PATH])
{
    union {
        ElfW(Ehdr) header;
        char text[256];
    } start;
    enum program_kind kind = PROGRAM_UNKNOWN;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? 0 : read(fd, &start, sizeof start - 1);
    if (got >= (ssize_t)sizeof start.header && memcmp(start.text, ELFMAG, SELFMAG) == 0) {
        kind = elf_kind(fd, &start.header);
    } else if (got > 2 && memcmp(start.text, "#!", 2) == 0) {
        start.text[got] = '\0';
        char *word = start.text + 2 + strspn(start.text + 2, " \t");
        snprintf(interpreter, PROGRAM_PATH, "%.*s", (int)strcspn(word, " \t\n"), word);
        kind = PROGRAM_SCRIPT;
    }
    if (fd >= 0)
        close(fd);
    return kind;
}

/* The kernel starts it with other rights: the loader then refuses to preload. */
static bool gains_rights(const char *path)
{
    struct stat status;
    char ignored[64];
    if (stat(path, &status) != 0)
        return false;
    if ((status.st_mode & S_ISUID) != 0 && status.st_uid != getuid())
        return true;
    if ((status.st_mode & S_ISGID) != 0 && (status.st_mode & S_IXGRP) != 0 &&
        status.st_gid != getgid())
        return true;
    return getuid() != 0 && getxattr(path, "security.capability", ignored, sizeof ignored) > 0;
}

void program_warn(const char *path)
{
    char interpreter[PROGRAM_PATH] = "", next[PROGRAM_PATH];
    enum program_kind kind = program_kind(path, interpreter);
    for (int depth = 0; kind == PROGRAM_SCRIPT && depth < 4; depth++) {
        path = strcpy(next, interpreter);
        kind = program_kind(path, interpreter);
    }
    const char *base = strrchr(path, '/');
    base = base != NULL ? base + 1 : path;
    bool is_loader = strncmp(base, "ld-linux", 8) == 0 || strncmp(base, "ld.so", 5) == 0;
    if (kind == PROGRAM_STATIC || (kind == PROGRAM_SHARED && !is_loader))
        complain("run", "warning: %s is statically linked: it keeps its own malloc", path);
    else if (kind == PROGRAM_OTHER)
        complain("run", "warning: %s is for another processor: it keeps its own malloc", path);
    else if (gains_rights(path))
        complain("run", "warning: %s is set-uid or the like: it keeps its own malloc", path);
}
