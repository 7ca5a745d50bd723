/*
 * json.h - writing JSON to stdout: objects and arrays, one member a line.
 *
 * A key is NULL for the elements of an array and for the outermost value. What is
 * no UTF-8 in a text becomes the replacement character, so the output is always
 * valid.
 */
#ifndef TIDEPOOL_JSON_H
#define TIDEPOOL_JSON_H

#include "command.h"

struct json {
    int depth;
    bool more; /* the next member needs a comma in front */
    bool line; /* all in one line */
};

enum { JSON_SCHEMA = 1 }; /* of JSON.md; a member that goes or means something else: one more */

/* Opens the outermost object, with what all of them begin with. */
void json_begin(struct json *json, const char *command);

void json_open(struct json *json, const char *key, char bracket);
void json_close(struct json *json, char bracket);
void json_text(struct json *json, const char *key, const char *text); /* NULL: null */
void json_number(struct json *json, const char *key, uint64_t number);
void json_null(struct json *json, const char *key);
void json_bool(struct json *json, const char *key, bool value);

#endif
