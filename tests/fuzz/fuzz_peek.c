/*
 * fuzz_peek.c - a log whose memory anybody may have written to.
 *
 * The first byte of the input says which log (its level, who gives the places), the second
 * whether it counts as in use; then come changes of four bytes each: where (three bytes, of
 * the image behind the geometry; the third one's top bit: a word of 8 bytes, next to it) and
 * the value that is added there. All of the log is looked at, and audited.
 *
 * The oracle: the sanitizers (the image lies in a block of exactly its size), every finding
 * has its words, an image without a change has none, and nothing is written to it.
 *
 * Faults (FUZZ_PLANT): blind (changes count as none), write (a byte is written).
 */
#include "../audit_case.h"

#include "box/crc.h"

#include "fuzz.h"

enum { KINDS = 5, SHOWN = 8 };

static const struct tide_log_options kinds[KINDS] = {
    {.level = 0, .brokers = 2, .slots = 32, .payload = 8192, .checksum = 1},
    {.level = 5, .brokers = 2, .slots = 32, .payload = 8192, .checksum = 1},
    {.level = 4, .brokers = 2, .slots = 32, .payload = 8192, .clients = 2, .window = 16},
    {.level = 4, .brokers = 3, .slots = 31, .payload = 8128, .clients = 2, .sessions = 1},
    {.level = 5, .brokers = 2, .slots = 32, .payload = 8192, .sequencing = 1},
};

static unsigned char *image[KINDS];
static size_t image_size[KINDS];

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    fuzz_start();
    for (int i = 0; i < KINDS; i++)
        image[i] = audit_image(kinds[i], &image_size[i]);
    return 0;
}

static void change(unsigned char *copy, size_t size, struct fuzz_input *in)
{
    size_t at = fuzz_byte(in);
    at |= (size_t)fuzz_byte(in) << 8;
    unsigned char top = fuzz_byte(in), value = fuzz_byte(in);
    at |= (size_t)(top & 0x7f) << 16;
    at = TIDE_LAYOUT_GEOMETRY + at % (size - TIDE_LAYOUT_GEOMETRY - 8);
    uint64_t word = (uint64_t)(int64_t)(int8_t)value;
    FUZZ_TELL("%zu: %d%s", at, (int8_t)value, top & 0x80 ? ", a word" : "");
    if ((top & 0x80) == 0) {
        copy[at] = (unsigned char)(copy[at] + value);
        return;
    }
    at &= ~(size_t)7;
    uint64_t old;
    memcpy(&old, copy + at, sizeof old);
    word += old;
    memcpy(copy + at, &word, sizeof word);
}

static void audit_all(const struct tide_peek *peek, bool live, bool changed)
{
    struct tide_audit audit = {.peek = peek, .live = live, .tell = audit_no_tell};
    if (!tide_audit_run(&audit))
        fuzz_fail("no memory");
    if (!changed && audit.errors + audit.notes != 0)
        fuzz_fail("%llu findings in a log that is right",
                  (unsigned long long)(audit.errors + audit.notes));
    FUZZ_TELL("%llu errors, %llu notes", (unsigned long long)audit.errors,
              (unsigned long long)audit.notes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, data + size};
    struct tide_peek peek;
    struct tide_layout_fault fault;
    unsigned kind = fuzz_byte(&in) % KINDS;
    bool live = fuzz_byte(&in) & 1, changed = false;
    size_t bytes = image_size[kind];
    unsigned char *copy = aligned_alloc(4096, bytes);
    if (copy == NULL)
        return 0;
    memcpy(copy, image[kind], bytes);
    for (fuzz.step = 0; in.at < in.end; fuzz.step++) {
        change(copy, bytes, &in);
        changed = !fuzz_plays("blind");
    }
    if (!tide_peek_open(&peek, copy, bytes, &fault))
        fuzz_fail("no log: %s", fault.what);
    tide_peek_region(&peek, copy, bytes); /* batches by reference may be anywhere in it */
    uint32_t before = tide_crc(0, copy, bytes);
    audit_look(&peek);
    audit_all(&peek, live, changed);
    copy[bytes - 1] ^= fuzz_plays("write");
    if (tide_crc(0, copy, bytes) != before)
        fuzz_fail("the log was written to");
    free(copy);
    return 0;
}
