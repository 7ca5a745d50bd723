/* resp.c - see resp.h */
#include "resp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool resp_number(const char *text, size_t len, int64_t low, int64_t high, int64_t *number)
{
    bool minus = len > 0 && text[0] == '-';
    size_t i = minus;
    uint64_t value = 0, top = minus ? (uint64_t)INT64_MAX + 1 : INT64_MAX;
    if (i >= len || (text[i] == '0' && len > 1))
        return false;
    for (; i < len; i++) {
        unsigned digit = (unsigned)(unsigned char)text[i] - '0';
        if (digit > 9 || value > (top - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *number = minus ? (int64_t)(0 - value) : (int64_t)value;
    return *number >= low && *number <= high;
}

/* The reading of one request. */
struct reading {
    const char *data;
    size_t len;
    uint32_t most;
    char *error;
};

static enum resp_result resp_fail(const struct reading *in, const char *what)
{
    snprintf(in->error, RESP_ERROR_MAX, "Protocol error: %s", what);
    return RESP_BAD;
}

/* One argument more. */
static bool resp_keep(struct resp_args *args, size_t at, size_t size)
{
    if (args->count == args->room) {
        uint32_t room = args->room != 0 ? args->room * 2 : 64;
        struct resp_arg *arg = realloc(args->arg, room * sizeof *arg);
        if (arg == NULL)
            return false;
        args->arg = arg;
        args->room = room;
    }
    args->arg[args->count++] = (struct resp_arg){(uint32_t)at, (uint32_t)size};
    return true;
}

/* The number behind the sign at `at`, up to the end of its line; *at moves behind that. */
static enum resp_result resp_length(const struct reading *in, size_t *at, int64_t high,
                                    int64_t *number, const char *what)
{
    enum { LONGEST = 32 };
    const char *from = in->data + *at + 1;
    size_t left = in->len - *at - 1;
    const char *end = memchr(from, '\r', left < LONGEST ? left : LONGEST);
    if (end == NULL)
        return left < LONGEST ? RESP_MORE : resp_fail(in, what);
    size_t size = (size_t)(end - from);
    if (size + 1 == left)
        return RESP_MORE;
    if (end[1] != '\n' || !resp_number(from, size, -1, high, number))
        return resp_fail(in, what);
    *at += 1 + size + 2;
    return RESP_REQUEST;
}

static enum resp_result resp_bulk(const struct reading *in, struct resp_scan *scan,
                                  struct resp_args *args)
{
    size_t at = scan->at;
    int64_t size;
    if (at >= in->len)
        return RESP_MORE;
    if (in->data[at] != '$') {
        char what[32];
        unsigned char c = (unsigned char)in->data[at];
        snprintf(what, sizeof what, "expected '$', got '%c'", c >= ' ' && c < 127 ? c : '?');
        return resp_fail(in, what);
    }
    enum resp_result result = resp_length(in, &at, in->most, &size, "invalid bulk length");
    if (result != RESP_REQUEST)
        return result;
    if (size < 0)
        return resp_fail(in, "invalid bulk length");
    if (at + (size_t)size + 2 > in->most)
        return resp_fail(in, "request is larger than max-message");
    scan->need = (uint32_t)(at + (size_t)size + 2);
    if (in->len < scan->need)
        return RESP_MORE;
    if (memcmp(in->data + at + size, "\r\n", 2) != 0)
        return resp_fail(in, "no line end behind a bulk string");
    if (args != NULL && !resp_keep(args, at, (size_t)size))
        return RESP_MEMORY;
    scan->at = scan->need;
    scan->got++;
    return RESP_REQUEST;
}

static enum resp_result resp_array(const struct reading *in, struct resp_scan *scan,
                                   struct resp_args *args)
{
    enum resp_result result;
    bool fresh = scan->at == 0;
    if (fresh) {
        size_t at = 0;
        int64_t want;
        result = resp_length(in, &at, RESP_ARGS_MAX, &want, "invalid multibulk length");
        if (result != RESP_REQUEST)
            return result;
        scan->want = want > 0 ? (uint32_t)want : 0;
        scan->at = (uint32_t)at;
    }
    /* What is kept of a request in parts is only how far it goes. */
    while (scan->got < scan->want)
        if ((result = resp_bulk(in, scan, fresh ? args : NULL)) != RESP_REQUEST)
            return result;
    if (!fresh) {
        struct resp_scan again = {0, 0, 0, 0};
        return resp_array(in, &again, args);
    }
    return RESP_REQUEST;
}

/* ---- lines ---- */

static bool line_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* The byte that an escape in double quotes stands for; *at is on the backslash, and moves to
 * the last byte of it. */
static char line_escape(const char *text, size_t size, size_t *at)
{
    static const char names[] = "nrtba", bytes[] = "\n\r\t\b\a";
    size_t i = ++*at;
    unsigned value = 0;
    if (text[i] == 'x' && size - i > 2) {
        for (unsigned j = 1; j <= 2; j++) {
            char c = text[i + j];
            unsigned digit =
                c >= '0' && c <= '9' ? (unsigned)(c - '0') : ((unsigned)c | 32) - 'a' + 10;
            value = digit < 16 && (digit < 10) == (c <= '9') ? value * 16 + digit : 256;
        }
        if (value < 256) {
            *at += 2;
            return (char)value;
        }
    }
    const char *name = memchr(names, text[i], sizeof names - 1);
    return name != NULL ? bytes[name - names] : text[i];
}

/* The word at *at goes to `to` without its quotes; its size. -1: they do not match. */
static int64_t line_word(const char *text, size_t size, size_t *at, char *to)
{
    const char *first = to;
    char quote = '\0';
    for (; *at < size; ++*at) {
        char c = text[*at];
        bool more = *at + 1 < size;
        if (quote == '"' && c == '\\' && more) {
            *to++ = line_escape(text, size, at);
        } else if (quote == '\'' && c == '\\' && more && text[*at + 1] == '\'') {
            *to++ = text[++*at];
        } else if (quote != '\0' && c == quote) {
            ++*at;
            return !more || line_blank(text[*at]) ? to - first : -1;
        } else if (quote == '\0' && (c == ' ' || c == '\t' || c == '\r')) {
            break;
        } else if (quote == '\0' && (c == '"' || c == '\'')) {
            quote = c;
        } else {
            *to++ = c;
        }
    }
    return quote == '\0' ? to - first : -1;
}

static bool line_room(struct resp_args *args, size_t size)
{
    if (size <= args->typed_room)
        return true;
    char *typed = realloc(args->typed, size);
    if (typed == NULL)
        return false;
    args->typed = typed;
    args->typed_room = (uint32_t)size;
    return true;
}

/* Words between blanks, up to the end of the line. */
static enum resp_result resp_line(const struct reading *in, struct resp_scan *scan,
                                  struct resp_args *args)
{
    size_t most = in->most < RESP_LINE_MAX ? in->most : RESP_LINE_MAX, used = 0;
    const char *end = memchr(in->data, '\n', in->len < most ? in->len : most);
    if (end == NULL)
        return in->len < most ? RESP_MORE : resp_fail(in, "too big inline request");
    size_t size = (size_t)(end - in->data);
    if (!line_room(args, size + 1))
        return RESP_MEMORY;
    args->line = true;
    for (size_t at = 0;;) {
        while (at < size && line_blank(in->data[at]))
            at++;
        if (at == size)
            break;
        int64_t word = line_word(in->data, size, &at, args->typed + used);
        if (word < 0)
            return resp_fail(in, "unbalanced quotes in request");
        if (!resp_keep(args, used, (size_t)word))
            return RESP_MEMORY;
        used += (size_t)word;
    }
    scan->at = (uint32_t)size + 1;
    return RESP_REQUEST;
}

void resp_free(struct resp_args *args)
{
    free(args->arg);
    free(args->typed);
    *args = (struct resp_args){NULL, 0, 0, 0, NULL, false};
}

enum resp_result resp_next(struct resp_scan *scan, struct resp_args *args, const char *data,
                           size_t len, uint32_t most, size_t *used, char error[RESP_ERROR_MAX])
{
    struct reading in = {data, len, most, error};
    enum resp_result result;
    args->count = 0;
    args->line = false;
    if (len == 0)
        return RESP_MORE;
    result = data[0] == '*' ? resp_array(&in, scan, args) : resp_line(&in, scan, args);
    if (result == RESP_REQUEST) {
        *used = scan->at;
        *scan = (struct resp_scan){0, 0, 0, 0};
    }
    return result;
}
