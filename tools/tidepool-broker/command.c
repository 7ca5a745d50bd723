/* command.c - see command.h */
#include "command.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "about.h"
#include "read.h"
#include "write.h"

/* Most used first: they are sought in this order. Arity as Redis tells it: below 0 a minimum. */
static const struct command commands[] = {
    {"xadd", -5, "write denyoom fast", 1, 1, 1, write_add},
    {"xread", -4, "readonly blocking movablekeys", 0, 0, 0, read_read},
    {"xrange", -4, "readonly", 1, 1, 1, read_range},
    {"xrevrange", -4, "readonly", 1, 1, 1, read_reverse},
    {"xlen", 2, "readonly fast", 1, 1, 1, read_length},
    {"ping", -1, "fast", 0, 0, 0, about_ping},
    {"xtrim", -4, "write", 1, 1, 1, write_trim},
    {"del", -2, "write", 1, -1, 1, write_del},
    {"echo", 2, "fast", 0, 0, 0, about_echo},
    {"hello", -1, "fast", 0, 0, 0, about_hello},
    {"client", -2, "", 0, 0, 0, about_client},
    {"command", -1, "", 0, 0, 0, about_command},
    {"info", -1, "", 0, 0, 0, about_info},
    {"config", -2, "admin", 0, 0, 0, about_config},
    {"quit", -1, "fast", 0, 0, 0, about_quit},
    {"shutdown", -1, "admin", 0, 0, 0, about_shutdown},
    {"xdel", -3, "write fast", 1, 1, 1, write_xdel},
};

enum { COMMANDS = sizeof commands / sizeof commands[0], COMMAND_LARGE = 16 << 10 };

const struct command *command_row(unsigned row)
{
    return row < COMMANDS ? &commands[row] : NULL;
}

bool text_is(struct text text, const char *word)
{
    return strlen(word) == text.size && strncasecmp(text.at, word, text.size) == 0;
}

bool text_number(struct text text, int64_t *number)
{
    if (resp_number(text.at, text.size, INT64_MIN, INT64_MAX, number))
        return true;
    command_error("ERR value is not an integer or out of range");
    return false;
}

void command_error(const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    server.errors++;
    out_error(&server.out, "%s", text);
}

void command_syntax(void)
{
    command_error("ERR syntax error");
}

const struct command *command_find(struct text name)
{
    for (unsigned i = 0; i < COMMANDS; i++)
        if (text_is(name, commands[i].name))
            return &commands[i];
    return NULL;
}

/* Names the command, and the beginning of what came with it. */
static void command_unknown(const struct request *request)
{
    char args[160];
    size_t len = 0;
    struct text name = request_arg(request, 0);
    args[0] = '\0';
    for (uint32_t i = 1; i < request_count(request) && len < 128; i++) {
        struct text arg = request_arg(request, i);
        size_t most = 128 - len;
        len += (size_t)snprintf(args + len, sizeof args - len, "'%.*s' ",
                                (int)(arg.size < most ? arg.size : most), arg.at);
    }
    command_error("ERR unknown command '%.*s', with args beginning with: %s",
                  (int)(name.size < 128 ? name.size : 128), name.at, args);
}

/* The reply behind the mark is large, and would be more than may wait: then it was not given.
 * Commands that write have small ones, and are not run twice. */
static bool command_waits(struct conn *conn, const struct command *command, struct out_mark mark)
{
    size_t total = server.out.total;
    if (conn->pending == 0 || conn->pending + total <= server.is.max_output ||
        total < mark.total + COMMAND_LARGE || strncmp(command->flags, "write", 5) == 0)
        return false;
    out_back(&server.out, mark);
    server.commands--;
    conn->full = true;
    return true;
}

bool command_run(struct conn *conn, const struct resp_args *args, const char *data, size_t size)
{
    struct request request = {args, data, size};
    if (args->count == 0)
        return true;
    server.commands++;
    const struct command *command = command_find(request_arg(&request, 0));
    /* Only appends are put off. */
    if (command == NULL || command->run != write_add)
        write_settle(conn);
    if (command == NULL) {
        command_unknown(&request);
        return true;
    }
    int64_t count = args->count;
    if (command->arity > 0 ? count != command->arity : count < -command->arity) {
        write_settle(conn);
        command_error("ERR wrong number of arguments for '%s' command", command->name);
        return true;
    }
    struct out_mark mark = out_mark(&server.out);
    command->run(conn, &request);
    return !command_waits(conn, command, mark);
}
