/* diag.c - see diag.h */
#include "box/diag.h"

#include <stdlib.h>

#include "box/file.h"

enum { DIAG_STDERR = 2, DIAG_LINE = 512 };

static _Atomic int diag_policy TIDE_START_DATA;
static _Atomic uint64_t diag_misuses;

void tide_text_add(struct tide_text *text, const char *string)
{
    while (*string != '\0' && text->len + 1 < text->size)
        text->buf[text->len++] = *string++;
    text->buf[text->len] = '\0';
}

void tide_text_quote(struct tide_text *text, const char *string)
{
    enum { MOST = 64 };
    for (int i = 0; i < MOST && *string != '\0'; i++, string++) {
        unsigned char c = (unsigned char)*string;
        char plain[2] = {c < 0x20 || c == 0x7f ? '?' : *string, '\0'};
        tide_text_add(text, plain);
    }
    if (*string != '\0')
        tide_text_add(text, "...");
}

void tide_text_number(struct tide_text *text, uint64_t value, unsigned base)
{
    char digits[24];
    size_t at = sizeof digits;
    digits[--at] = '\0';
    do {
        digits[--at] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value != 0);
    tide_text_add(text, digits + at);
}

void tide_diag_policy(enum tide_misuse policy)
{
    atomic_store_explicit(&diag_policy, (int)policy, memory_order_relaxed);
}

uint64_t tide_diag_misuses(void)
{
    return atomic_load_explicit(&diag_misuses, memory_order_relaxed);
}

void tide_diag_say(const char *string)
{
    char line[DIAG_LINE];
    struct tide_text text = {line, sizeof line - 1, 0};
    tide_text_add(&text, "tidepool: ");
    tide_text_add(&text, string);
    line[text.len++] = '\n';
    tide_file_put(DIAG_STDERR, line, text.len);
}

TIDE_COLD _Noreturn void tide_diag_fatal(const char *string)
{
    tide_diag_say(string);
    abort();
}

TIDE_COLD void tide_diag_misuse(const struct tide_fault *fault)
{
    int policy = atomic_load_explicit(&diag_policy, memory_order_relaxed);
    atomic_fetch_add_explicit(&diag_misuses, 1, memory_order_relaxed);
    if (policy == TIDE_MISUSE_IGNORE)
        return;
    char line[DIAG_LINE];
    struct tide_text text = {line, sizeof line, 0};
    tide_text_add(&text, fault->what);
    tide_text_add(&text, ": 0x");
    tide_text_number(&text, fault->addr, 16);
    tide_text_add(&text, " in ");
    tide_text_add(&text, fault->call);
    tide_text_add(&text, ": tier=");
    tide_text_add(&text, fault->tier);
    tide_text_add(&text, " size=");
    tide_text_number(&text, fault->size, 10);
    tide_text_add(&text, " owner=");
    tide_text_number(&text, fault->owner, 10);
    tide_text_add(&text, " state=");
    tide_text_add(&text, fault->state);
    if (policy == TIDE_MISUSE_ABORT)
        tide_diag_fatal(line);
    tide_diag_say(line);
}
