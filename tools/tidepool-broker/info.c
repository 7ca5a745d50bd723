/* info.c - INFO: figures of the server; see about.h */
#include "about.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <tidepool/version.h>

#include "streams.h"

struct info {
    char text[4096];
    size_t len;
};

static void info_line(struct info *info, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void info_line(struct info *info, const char *format, ...)
{
    va_list args;
    size_t room = sizeof info->text - info->len;
    va_start(args, format);
    int len = vsnprintf(info->text + info->len, room, format, args);
    va_end(args);
    if (len > 0 && (size_t)len + 2 < room) {
        info->len += (size_t)len;
        memcpy(info->text + info->len, "\r\n", 2);
        info->len += 2;
    }
}

static void info_number(struct info *info, const char *name, uint64_t number)
{
    info_line(info, "%s:%llu", name, (unsigned long long)number);
}

/* Bytes of this process in memory. */
static uint64_t info_resident(void)
{
    unsigned long long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file == NULL)
        return 0;
    if (fscanf(file, "%*u %llu", &pages) != 1)
        pages = 0;
    fclose(file);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void info_server(struct info *info)
{
    info_line(info, "server_name:tidepool-broker");
    info_line(info, "tidepool_version:" TIDE_VERSION_STRING);
    info_line(info, "multiplexing_api:libuv-%s", uv_version_string());
    info_number(info, "process_id", (uint64_t)getpid());
    info_number(info, "tcp_port", (uint64_t)server.port);
    info_number(info, "uptime_in_seconds", (server_clock() - server.started) / 1000);
}

static void info_clients(struct info *info)
{
    info_number(info, "connected_clients", server.connections);
    info_number(info, "blocked_clients", server.blocked);
    info_number(info, "maxclients", server.is.max_connections);
}

static void info_memory(struct info *info)
{
    struct streams_stat streams = streams_stat();
    info_number(info, "used_memory_rss", info_resident());
    info_number(info, "index_bytes", streams.bytes);
    info_number(info, "connection_buffer_bytes", server.buffers);
    info_line(info, "mem_allocator:tidepool-" TIDE_VERSION_STRING);
}

static void info_stats(struct info *info)
{
    info_number(info, "total_connections_received", server.accepted);
    info_number(info, "total_commands_processed", server.commands);
    info_number(info, "total_error_replies", server.errors);
    info_number(info, "total_net_input_bytes", server.bytes_in);
    info_number(info, "total_net_output_bytes", server.bytes_out);
    info_number(info, "rejected_connections", server.refused);
    info_number(info, "connections_closed_idle", server.closed_idle);
    info_number(info, "connections_closed_buffers", server.closed_buffers);
    info_number(info, "connections_closed_protocol", server.closed_protocol);
    info_number(info, "spins", server.spin.waits);
    info_number(info, "spins_that_paid", server.spin.paid);
}

static void info_log(struct info *info)
{
    streams_commit();
    struct tide_log_stat log = store_stat();
    struct streams_stat streams = streams_stat();
    info_number(info, "log_level", log.level);
    info_number(info, "log_brokers", log.brokers);
    info_number(info, "log_size_bytes", log.size);
    info_number(info, "log_payload_bytes", log.payload * log.brokers);
    info_number(info, "log_payload_used_bytes", store_used());
    info_number(info, "log_earliest_position", log.earliest);
    info_number(info, "log_committed_position", log.committed);
    info_number(info, "log_messages", log.messages);
    info_line(info, "log_source:%s", server.is.store.source);
    info_line(info, "log_ack:%s", server.is.store.durable ? "durable" : "ordered");
    info_number(info, "log_durable_position", store_durable());
    info_number(info, "entries_added", streams.added);
    info_number(info, "entries_trimmed", streams.trimmed);
    info_number(info, "log_reclaims", streams.reclaims);
    info_number(info, "log_entries_moved", streams.moved);
}

static void info_keyspace(struct info *info)
{
    struct streams_stat streams = streams_stat();
    info_number(info, "streams", streams.streams);
    info_number(info, "entries", streams.entries);
    info_number(info, "runs", streams.runs);
}

static const struct {
    const char *name, *title;
    void (*write)(struct info *info);
} sections[] = {
    {"server", "Server", info_server}, {"clients", "Clients", info_clients},
    {"memory", "Memory", info_memory}, {"stats", "Stats", info_stats},
    {"log", "Log", info_log},          {"keyspace", "Keyspace", info_keyspace},
};

void about_info(struct conn *conn, const struct request *request)
{
    struct info info = {.len = 0};
    (void)conn;
    for (size_t i = 0; i < sizeof sections / sizeof sections[0]; i++) {
        bool wanted = request_count(request) == 1;
        for (uint32_t j = 1; j < request_count(request); j++) {
            struct text word = request_arg(request, j);
            wanted = wanted || text_is(word, sections[i].name) || text_is(word, "all") ||
                     text_is(word, "everything") || text_is(word, "default");
        }
        if (!wanted)
            continue;
        if (info.len > 0)
            info_line(&info, "%s", "");
        info_line(&info, "# %s", sections[i].title);
        sections[i].write(&info);
    }
    out_string(&server.out, info.text, info.len);
}
