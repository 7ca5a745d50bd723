/* json.c - see json.h */
#include "json.h"

#include <string.h>

#include <tidepool/version.h>

/* Bytes of the UTF-8 character at s, 0 when there is none. */
static int utf8_length(const unsigned char *s)
{
    int length = s[0] < 0x80                   ? 1
                 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2
                 : s[0] >= 0xe0 && s[0] < 0xf0 ? 3
                 : s[0] >= 0xf0 && s[0] < 0xf5 ? 4
                                               : 0;
    for (int i = 1; i < length; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    /* overlong forms, surrogates, and what lies above the last character */
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
        (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return length;
}

static void quoted(const char *text)
{
    const unsigned char *s = (const unsigned char *)text;
    putchar('"');
    while (*s != '\0') {
        int length = utf8_length(s);
        if (*s == '"' || *s == '\\')
            printf("\\%c", *s);
        else if (*s < 0x20 || *s == 0x7f)
            printf("\\u%04x", *s);
        else if (length == 0)
            fputs("\\ufffd", stdout);
        else
            fwrite(s, 1, (size_t)length, stdout);
        s += length == 0 ? 1 : length;
    }
    putchar('"');
}

static void member(struct json *json, const char *key)
{
    if (json->depth > 0 && json->line)
        fputs(json->more ? ", " : "", stdout);
    else if (json->depth > 0)
        printf("%s\n%*s", json->more ? "," : "", 2 * json->depth, "");
    if (key != NULL) {
        quoted(key);
        fputs(": ", stdout);
    }
    json->more = true;
}

void json_open(struct json *json, const char *key, char bracket)
{
    member(json, key);
    putchar(bracket);
    json->depth++;
    json->more = false;
}

void json_close(struct json *json, char bracket)
{
    json->depth--;
    if (json->more && !json->line)
        printf("\n%*s", 2 * json->depth, "");
    putchar(bracket);
    if (json->depth == 0)
        putchar('\n');
    json->more = true;
}

void json_begin(struct json *json, const char *command)
{
    json_open(json, NULL, '{');
    json_number(json, "schema", JSON_SCHEMA);
    json_text(json, "command", command);
    json_text(json, "version", tide_version());
}

void json_text(struct json *json, const char *key, const char *text)
{
    member(json, key);
    if (text != NULL)
        quoted(text);
    else
        fputs("null", stdout);
}

void json_number(struct json *json, const char *key, uint64_t number)
{
    member(json, key);
    printf("%llu", (unsigned long long)number);
}

void json_null(struct json *json, const char *key)
{
    json_text(json, key, NULL);
}

void json_bool(struct json *json, const char *key, bool value)
{
    member(json, key);
    fputs(value ? "true" : "false", stdout);
}
