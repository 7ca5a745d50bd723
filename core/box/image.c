/* image.c - see image.h */
#include "box/image.h"

#include <elf.h>

/* Most loaders relocate the pointers of the dynamic section in memory, some do
 * not, and nobody does for the vDSO: a value below the base is an offset. */
static const void *image_at(uintptr_t base, uintptr_t value)
{
    return (const void *)(value < base ? base + value : value);
}

static void image_entry(struct tide_image *image, const ElfW(Dyn) * entry)
{
    const void *at = image_at(image->base, entry->d_un.d_ptr);
    switch (entry->d_tag) {
    case DT_SYMTAB:
        image->symbols = at;
        break;
    case DT_STRTAB:
        image->strings = at;
        break;
    case DT_VERSYM:
        image->versions = at;
        break;
    case DT_GNU_HASH:
        image->gnu = at;
        break;
    case DT_HASH:
        image->sysv = at;
        break;
    default:
        break;
    }
}

struct tide_image tide_image_of(const struct dl_phdr_info *info)
{
    struct tide_image image = {.base = info->dlpi_addr};
    for (int i = 0; i < info->dlpi_phnum; i++) {
        if (info->dlpi_phdr[i].p_type != PT_DYNAMIC)
            continue;
        const ElfW(Dyn) *entry = (const void *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
        for (; entry->d_tag != DT_NULL; entry++)
            image_entry(&image, entry);
    }
    if (image.strings == NULL || (image.gnu == NULL && image.sysv == NULL))
        image.symbols = NULL;
    return image;
}

/* The address of symbol number `index` if it is a definition of `name`. */
static const void *image_match(const struct tide_image *image, uint32_t index, const char *name)
{
    const ElfW(Sym) *symbol = &image->symbols[index];
    if (symbol->st_shndx == SHN_UNDEF || symbol->st_value == 0)
        return NULL;
    if (image->versions != NULL && (image->versions[index] & 0x8000) != 0)
        return NULL; /* an old version, kept for old programs */
    if (strcmp(image->strings + symbol->st_name, name) != 0)
        return NULL;
    return (const void *)(image->base + symbol->st_value);
}

/* DT_GNU_HASH: four words, a Bloom filter (not needed here), buckets that hold
 * the first symbol of a chain, and one hash per symbol; bit 0 ends a chain. */
static const void *image_search_gnu(const struct tide_image *image, const char *name)
{
    uint32_t buckets = image->gnu[0], first = image->gnu[1], bloom = image->gnu[2];
    const uint32_t *bucket = (const uint32_t *)((const ElfW(Addr) *)(image->gnu + 4) + bloom);
    const uint32_t *chain = bucket + buckets;
    uint32_t hash = 5381;
    for (const char *c = name; *c != '\0'; c++)
        hash = hash * 33 + (unsigned char)*c;
    uint32_t index = buckets == 0 ? 0 : bucket[hash % buckets];
    if (index < first || index == 0)
        return NULL;
    for (;; index++) {
        uint32_t found = chain[index - first];
        const void *at = (found | 1) == (hash | 1) ? image_match(image, index, name) : NULL;
        if (at != NULL || (found & 1) != 0)
            return at;
    }
}

/* DT_HASH: two counts, buckets, and the next symbol of each symbol's chain. */
static const void *image_search_sysv(const struct tide_image *image, const char *name)
{
    uint32_t buckets = image->sysv[0], hash = 0;
    const uint32_t *bucket = image->sysv + 2, *next = bucket + buckets;
    for (const char *c = name; *c != '\0'; c++) {
        hash = (hash << 4) + (unsigned char)*c;
        hash = (hash ^ ((hash >> 24) & 0xf0)) & 0x0fffffff;
    }
    for (uint32_t i = buckets == 0 ? 0 : bucket[hash % buckets]; i != 0; i = next[i]) {
        const void *at = image_match(image, i, name);
        if (at != NULL)
            return at;
    }
    return NULL;
}

const void *tide_image_symbol(const struct tide_image *image, const char *name)
{
    if (image->symbols == NULL)
        return NULL;
    if (image->gnu != NULL)
        return image_search_gnu(image, name);
    return image_search_sysv(image, name);
}

bool tide_image_holds(const struct dl_phdr_info *info, const void *address)
{
    uintptr_t at = (uintptr_t)address - info->dlpi_addr;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        if (part->p_type == PT_LOAD && at - part->p_vaddr < part->p_memsz)
            return true;
    }
    return false;
}
