/* about.c - see about.h; INFO is in info.c */
#include "about.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tidepool/version.h>

static void string_of(const char *text)
{
    out_string(&server.out, text, strlen(text));
}

static void wrong_count(const char *name)
{
    command_error("ERR wrong number of arguments for '%s' command", name);
}

static void unknown_sub(const char *command, struct text sub)
{
    command_error("ERR unknown subcommand '%.*s' of %s", (int)(sub.size < 128 ? sub.size : 128),
                  sub.at, command);
}

void about_ping(struct conn *conn, const struct request *request)
{
    (void)conn;
    if (request_count(request) > 2)
        wrong_count("ping");
    else if (request_count(request) == 1)
        out_status(&server.out, "PONG");
    else
        out_string(&server.out, request_arg(request, 1).at, request_arg(request, 1).size);
}

void about_echo(struct conn *conn, const struct request *request)
{
    (void)conn;
    out_string(&server.out, request_arg(request, 1).at, request_arg(request, 1).size);
}

/* ---- HELLO, CLIENT ---- */

/* A name has no blanks and nothing that a terminal would take for a command. */
static bool about_name(struct conn *conn, struct text name)
{
    for (size_t i = 0; i < name.size; i++)
        if (name.at[i] < '!' || name.at[i] > '~') {
            command_error("ERR Client names cannot contain spaces, newlines or special "
                          "characters.");
            return false;
        }
    char *copy = name.size <= 1024 ? strndup(name.at, name.size) : NULL;
    if (copy == NULL) {
        command_error("ERR a client name of %zu bytes: at most 1024", name.size);
        return false;
    }
    free(conn->name);
    conn->name = copy;
    return true;
}

void about_hello(struct conn *conn, const struct request *request)
{
    int64_t version = 2;
    uint32_t count = request_count(request);
    if (count > 1) {
        struct text text = request_arg(request, 1);
        if (!resp_number(text.at, text.size, INT64_MIN, INT64_MAX, &version)) {
            command_error("ERR Protocol version is not an integer or out of range");
            return;
        }
        if (version != 2) {
            command_error("NOPROTO unsupported protocol version");
            return;
        }
    }
    for (uint32_t i = 2; i < count; i += 2) {
        struct text word = request_arg(request, i);
        if (!text_is(word, "setname") || i + 1 == count) {
            command_error("ERR Syntax error in HELLO option '%.*s'",
                          (int)(word.size < 128 ? word.size : 128), word.at);
            return;
        }
        if (!about_name(conn, request_arg(request, i + 1)))
            return;
    }
    out_array(&server.out, 14);
    string_of("server");
    string_of("tidepool-broker");
    string_of("version");
    string_of(TIDE_VERSION_STRING);
    string_of("proto");
    out_integer(&server.out, 2);
    string_of("id");
    out_integer(&server.out, (int64_t)conn->id);
    string_of("mode");
    string_of("standalone");
    string_of("role");
    string_of("master");
    string_of("modules");
    out_array(&server.out, 0);
}

void about_client(struct conn *conn, const struct request *request)
{
    struct text sub = request_arg(request, 1);
    uint32_t count = request_count(request);
    if (text_is(sub, "id") && count == 2) {
        out_integer(&server.out, (int64_t)conn->id);
    } else if (text_is(sub, "getname") && count == 2) {
        if (conn->name != NULL && conn->name[0] != '\0')
            string_of(conn->name);
        else
            out_text(&server.out, "$-1");
    } else if (text_is(sub, "setname") && count == 3) {
        if (about_name(conn, request_arg(request, 2)))
            out_status(&server.out, "OK");
    } else if (text_is(sub, "id") || text_is(sub, "getname") || text_is(sub, "setname")) {
        char name[32];
        snprintf(name, sizeof name, "client|%.*s", (int)sub.size, sub.at);
        for (char *at = name; *at != '\0'; at++)
            *at = (char)(*at >= 'A' && *at <= 'Z' ? *at + 32 : *at);
        wrong_count(name);
    } else {
        unknown_sub("CLIENT", sub);
    }
}

/* ---- COMMAND ---- */

static void command_show(const struct command *command)
{
    uint32_t flags = command->flags[0] != '\0';
    for (const char *at = command->flags; *at != '\0'; at++)
        flags += *at == ' ';
    out_array(&server.out, 10);
    string_of(command->name);
    out_integer(&server.out, command->arity);
    out_array(&server.out, flags);
    for (const char *at = command->flags; *at != '\0'; at += strspn(at, " ")) {
        char flag[32];
        size_t len = strcspn(at, " ");
        snprintf(flag, sizeof flag, "%.*s", (int)len, at);
        out_status(&server.out, flag);
        at += len;
    }
    out_integer(&server.out, command->first);
    out_integer(&server.out, command->last);
    out_integer(&server.out, command->step);
    for (int i = 0; i < 4; i++) /* categories, hints, keys, subcommands: none are told */
        out_array(&server.out, 0);
}

void about_command(struct conn *conn, const struct request *request)
{
    int64_t all = 0;
    uint32_t count = request_count(request);
    struct text sub = count > 1 ? request_arg(request, 1) : (struct text){"", 0};
    (void)conn;
    while (command_row((unsigned)all) != NULL)
        all++;
    if (count == 1 || (text_is(sub, "info") && count == 2)) {
        out_array(&server.out, all);
        for (unsigned i = 0; i < all; i++)
            command_show(command_row(i));
    } else if (text_is(sub, "count") && count == 2) {
        out_integer(&server.out, all);
    } else if (text_is(sub, "info")) {
        out_array(&server.out, count - 2);
        for (uint32_t i = 2; i < count; i++) {
            const struct command *command = command_find(request_arg(request, i));
            if (command != NULL)
                command_show(command);
            else
                out_array(&server.out, -1);
        }
    } else if (text_is(sub, "docs")) {
        out_array(&server.out, 0); /* there are none */
    } else {
        unknown_sub("COMMAND", sub);
    }
}

/* ---- CONFIG ---- */

static bool row_wanted(const struct request *request, const char *name)
{
    char pattern[64];
    for (uint32_t i = 2; i < request_count(request); i++) {
        struct text text = request_arg(request, i);
        if (text.size >= sizeof pattern)
            continue;
        memcpy(pattern, text.at, text.size);
        pattern[text.size] = '\0';
        if (fnmatch(pattern, name, FNM_CASEFOLD) == 0)
            return true;
    }
    return false;
}

/* The longest value is a path, of at most 4095 bytes, behind `file:`. */
enum { ABOUT_VALUE = 4096 + 64 };

void about_config(struct conn *conn, const struct request *request)
{
    struct text sub = request_arg(request, 1);
    const char *name;
    char value[ABOUT_VALUE];
    int64_t rows = 0;
    (void)conn;
    if (!text_is(sub, "get")) {
        command_error("ERR CONFIG %.*s is not supported: options are given when the broker "
                      "starts",
                      (int)(sub.size < 128 ? sub.size : 128), sub.at);
        return;
    }
    if (request_count(request) < 3) {
        wrong_count("config|get");
        return;
    }
    for (unsigned i = 0; options_row(&server.is, i, &name, value, sizeof value); i++)
        rows += row_wanted(request, name);
    out_array(&server.out, rows * 2);
    for (unsigned i = 0; options_row(&server.is, i, &name, value, sizeof value); i++)
        if (row_wanted(request, name)) {
            string_of(name);
            string_of(value);
        }
}

/* ---- the end ---- */

void about_quit(struct conn *conn, const struct request *request)
{
    (void)request;
    out_status(&server.out, "OK");
    conn->last = true;
}

void about_shutdown(struct conn *conn, const struct request *request)
{
    for (uint32_t i = 1; i < request_count(request); i++) {
        struct text word = request_arg(request, i);
        if (!text_is(word, "nosave") && !text_is(word, "save") && !text_is(word, "now") &&
            !text_is(word, "force")) {
            command_syntax();
            return;
        }
    }
    conn->last = true;
    server_stop();
}
