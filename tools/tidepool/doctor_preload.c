/* doctor_preload.c - see doctor_checks.h: other malloc libraries in LD_PRELOAD
 *
 * What a library defines is read from its file; nothing is loaded. */
#include "doctor_checks.h"

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "program.h"

enum { DEFINES_MALLOC = 1, DEFINES_TIDEPOOL = 2 };

struct object {
    const char *bytes;
    size_t size;
};

static const void *part(const struct object *object, uint64_t offset, uint64_t size)
{
    if (offset > object->size || size > object->size - offset)
        return NULL;
    return object->bytes + offset;
}

/* What the names of one symbol table come to. */
static int symbols(const struct object *object, const ElfW(Shdr) * table, const ElfW(Shdr) * names)
{
    const ElfW(Sym) *symbol = part(object, table->sh_offset, table->sh_size);
    const char *text = part(object, names->sh_offset, names->sh_size);
    int defines = 0;
    if (symbol == NULL || text == NULL || names->sh_size == 0 || text[names->sh_size - 1] != '\0')
        return 0;
    for (size_t left = table->sh_size / sizeof *symbol; left > 0; left--, symbol++) {
        if (symbol->st_shndx == SHN_UNDEF || symbol->st_name >= names->sh_size)
            continue;
        if (strcmp(text + symbol->st_name, "malloc") == 0)
            defines |= DEFINES_MALLOC;
        else if (strcmp(text + symbol->st_name, "tide_version") == 0)
            defines |= DEFINES_TIDEPOOL;
    }
    return defines;
}

static int object_defines(const struct object *object)
{
    const ElfW(Ehdr) *header = part(object, 0, sizeof *header);
    if (header == NULL || memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 ||
        header->e_shentsize != sizeof(ElfW(Shdr)))
        return 0;
    const ElfW(Shdr) *section =
        part(object, header->e_shoff, (uint64_t)header->e_shnum * sizeof *section);
    for (unsigned i = 0; section != NULL && i < header->e_shnum; i++)
        if (section[i].sh_type == SHT_DYNSYM && section[i].sh_link < header->e_shnum)
            return symbols(object, &section[i], &section[section[i].sh_link]);
    return 0;
}

static int file_defines(const char *path)
{
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), defines = 0;
    if (fd < 0)
        return 0;
    if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_size > 0) {
        struct object object = {NULL, (size_t)status.st_size};
        void *bytes = mmap(NULL, object.size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (bytes != MAP_FAILED) {
            object.bytes = bytes;
            defines = object_defines(&object);
            munmap(bytes, object.size);
        }
    }
    close(fd);
    return defines;
}

/* The file that the loader takes for a word of LD_PRELOAD, as far as that is known here. */
static bool preload_find(const char *name, char path[PROGRAM_PATH])
{
    static const char usual[] = "/lib/x86_64-linux-gnu:/usr/lib/x86_64-linux-gnu:/lib64:/usr/lib64:"
                                "/lib:/usr/lib:/usr/local/lib";
    const char *asked = getenv("LD_LIBRARY_PATH");
    char places[PROGRAM_PATH];
    if (strchr(name, '/') != NULL) {
        snprintf(path, PROGRAM_PATH, "%s", name);
        return access(path, R_OK) == 0;
    }
    snprintf(places, sizeof places, "%s:%s", asked != NULL ? asked : "", usual);
    for (const char *at = places; *at != '\0'; at += strcspn(at, ":"), at += *at == ':') {
        int length = (int)strcspn(at, ":");
        snprintf(path, PROGRAM_PATH, "%.*s/%.255s", length, at, name);
        if (length > 0 && access(path, R_OK) == 0)
            return true;
    }
    return false;
}

static void report(struct doctor *doctor, const char *path, bool before, const char *rest)
{
    struct finding *finding = doctor_find(doctor, DOCTOR_WARNING, "preload");
    doctor_say(finding->found, "LD_PRELOAD has another malloc: %.500s", path);
    doctor_say(finding->means,
               before ? "it serves programs that are not started by `tidepool run`, which puts "
                        "tidepool in front of it"
                      : "it comes behind tidepool and is never asked");
    if (rest[0] != '\0')
        doctor_say(finding->mend, "export LD_PRELOAD=%.500s", rest);
    else
        doctor_say(finding->mend, "unset LD_PRELOAD");
}

void doctor_check_preload(struct doctor *doctor)
{
    const char *list = getenv("LD_PRELOAD");
    char rest[PROGRAM_PATH] = "", first[PROGRAM_PATH] = "", path[PROGRAM_PATH], name[PROGRAM_PATH];
    size_t used = 0;
    bool ours = false, before = false;
    while (list != NULL && *list != '\0') {
        int length = (int)strcspn(list, " :");
        snprintf(name, sizeof name, "%.*s", length, list);
        list += length + (list[length] != '\0');
        int defines = name[0] != '\0' && preload_find(name, path) ? file_defines(path) : 0;
        const char *base = strrchr(name, '/');
        bool libc = strncmp(base != NULL ? base + 1 : name, "libc.so", 7) == 0;
        if ((defines & DEFINES_MALLOC) == 0 || (defines & DEFINES_TIDEPOOL) != 0 || libc) {
            if (name[0] != '\0' && used < sizeof rest)
                used += (size_t)snprintf(rest + used, sizeof rest - used, "%s%s",
                                         used > 0 ? ":" : "", name);
            ours = ours || (defines & DEFINES_TIDEPOOL) != 0;
        } else if (first[0] == '\0') {
            snprintf(first, sizeof first, "%s", path);
            before = !ours;
        }
    }
    if (first[0] != '\0')
        report(doctor, first, before, rest);
}
