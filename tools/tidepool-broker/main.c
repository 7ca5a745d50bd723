/* main.c - tidepool-broker: starts, listens, stops */
#include "server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "conn.h"
#include "streams.h"

struct server server;

enum { BACKLOG = 511, SIGNALS = 2, FILES_BESIDE = 64 };

static struct {
    uv_loop_t loop;
    uv_tcp_t tcp[OPTIONS_LISTEN];
    uv_pipe_t pipe;
    uv_signal_t signal[SIGNALS];
    uv_timer_t sweep;
    uv_prepare_t before;
    uv_check_t turn;
    bool stopped, pidfile, pipe_open;
} parts;

uint64_t server_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void server_say(const char *format, ...)
{
    va_list args;
    fputs("tidepool-broker: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}

/* ---- the end ---- */

static void close_handle(uv_handle_t *handle, void *with)
{
    (void)with;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

void server_stop(void)
{
    parts.stopped = true;
    uv_stop(&parts.loop);
}

static void on_signal(uv_signal_t *signal, int number)
{
    (void)signal;
    (void)number;
    server_stop();
}

static void clean_up(void)
{
    conn_close_all();
    uv_walk(&parts.loop, close_handle, NULL);
    uv_run(&parts.loop, UV_RUN_DEFAULT);
    uv_loop_close(&parts.loop);
    if (parts.pipe_open)
        unlink(server.is.unix_path);
    if (parts.pidfile)
        unlink(server.is.pidfile);
    streams_close();
    store_close();
    free(server.out.text);
    free(server.out.piece);
}

/* ---- listening ---- */

static void on_tcp(uv_stream_t *listener, int status)
{
    if (status == 0)
        conn_accept(listener, true);
}

static void on_pipe(uv_stream_t *listener, int status)
{
    if (status == 0)
        conn_accept(listener, false);
}

static bool listen_tcp(uv_tcp_t *tcp, const char *address)
{
    struct sockaddr_storage at;
    int length = sizeof at, port = server.port > 0 ? server.port : 0;
    int result = uv_ip4_addr(address, port, (struct sockaddr_in *)(void *)&at);
    if (result != 0)
        result = uv_ip6_addr(address, port, (struct sockaddr_in6 *)(void *)&at);
    if (result == 0)
        result = uv_tcp_init(&parts.loop, tcp);
    if (result == 0)
        result = uv_tcp_bind(tcp, (const struct sockaddr *)&at, 0);
    if (result == 0)
        result = uv_listen((uv_stream_t *)tcp, BACKLOG, on_tcp);
    if (result == 0)
        result = uv_tcp_getsockname(tcp, (struct sockaddr *)&at, &length);
    if (result != 0) {
        server_say("--listen %s, --port %d: %s", address, port, uv_strerror(result));
        return false;
    }
    server.port = ntohs(at.ss_family == AF_INET ? ((struct sockaddr_in *)(void *)&at)->sin_port
                                                : ((struct sockaddr_in6 *)(void *)&at)->sin6_port);
    return true;
}

/* A socket that a process left behind which was killed: nobody answers there. */
static void remove_stale(const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || strlen(path) >= sizeof at.sun_path)
        return;
    memcpy(at.sun_path, path, strlen(path));
    if (connect(fd, (const struct sockaddr *)&at, sizeof at) != 0 && errno == ECONNREFUSED)
        unlink(path);
    close(fd);
}

static bool listen_unix(void)
{
    const char *path = server.is.unix_path;
    remove_stale(path);
    int result = uv_pipe_init(&parts.loop, &parts.pipe, 0);
    if (result == 0)
        result = uv_pipe_bind(&parts.pipe, path);
    if (result == 0)
        result = uv_listen((uv_stream_t *)&parts.pipe, BACKLOG, on_pipe);
    if (result != 0)
        server_say("--unix %s: %s", path, uv_strerror(result));
    parts.pipe_open = result == 0;
    return result == 0;
}

static bool listen_all(void)
{
    server.port = server.is.port;
    for (unsigned i = 0; server.is.port != 0 && i < server.is.listens; i++)
        if (!listen_tcp(&parts.tcp[i], server.is.listen[i]))
            return false;
    if (server.is.port == -1)
        server.is.port = server.port;
    return server.is.unix_path == NULL || listen_unix();
}

/* ---- starting ---- */

/* A connection is a file: as many as were asked for, or as many as there may be. */
static void allow_files(void)
{
    struct rlimit limit;
    rlim_t want = server.is.max_connections + FILES_BESIDE;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= want)
        return;
    limit.rlim_cur = limit.rlim_max < want ? limit.rlim_max : want;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < want) {
        server.is.max_connections =
            limit.rlim_cur > 2 * FILES_BESIDE ? limit.rlim_cur - FILES_BESIDE : FILES_BESIDE;
        server_say("at most %llu connections: the process may open no more files (ulimit -n)",
                   (unsigned long long)server.is.max_connections);
    }
}

static bool write_pidfile(void)
{
    const char *path = server.is.pidfile;
    FILE *file = path != NULL ? fopen(path, "we") : NULL;
    if (path == NULL)
        return true;
    if (file == NULL || fprintf(file, "%ld\n", (long)getpid()) < 0 || fclose(file) != 0) {
        server_say("--pidfile %s: %s", path, strerror(errno));
        return false;
    }
    parts.pidfile = true;
    return true;
}

static void on_sweep(uv_timer_t *timer)
{
    (void)timer;
    conn_sweep(server.is.idle * 1000);
}

static void pause_a_moment(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb");
#endif
}

static void on_poll(uv_prepare_t *before)
{
    (void)before;
    uint64_t until = spin_until(&server.spin, uv_hrtime());
    while (uv_hrtime() < until)
        pause_a_moment();
    spin_polls(&server.spin, uv_hrtime());
}

/* All that can be read now was read. */
static void on_turn(uv_check_t *turn)
{
    (void)turn;
    conn_next_turn();
}

static void watch(void)
{
    static const int numbers[SIGNALS] = {SIGTERM, SIGINT};
    for (int i = 0; i < SIGNALS; i++) {
        uv_signal_init(&parts.loop, &parts.signal[i]);
        uv_signal_start(&parts.signal[i], on_signal, numbers[i]);
    }
    signal(SIGPIPE, SIG_IGN);
    uv_check_init(&parts.loop, &parts.turn);
    uv_check_start(&parts.turn, on_turn);
    server.spin.ns = server.is.spin * 1000;
    uv_prepare_init(&parts.loop, &parts.before);
    if (server.spin.ns > 0)
        uv_prepare_start(&parts.before, on_poll);
    uv_timer_init(&parts.loop, &parts.sweep);
    if (server.is.idle > 0)
        uv_timer_start(&parts.sweep, on_sweep, 500, 500);
}

static void tell_ready(void)
{
    printf("tidepool-broker: ready:");
    for (unsigned i = 0; server.port > 0 && i < server.is.listens; i++)
        printf(strchr(server.is.listen[i], ':') != NULL ? " [%s]:%d" : " %s:%d",
               server.is.listen[i], server.port);
    if (server.is.unix_path != NULL)
        printf(" %s", server.is.unix_path);
    putchar('\n');
    fflush(stdout);
}

int main(int argc, char **argv)
{
    char error[512];
    int read = options_read(&server.is, argc, argv);
    if (read != 0)
        return read == 1 ? 0 : 2;
    allow_files();
    /* To zero a huge page, or to find one, takes long, and all clients wait. A device has no
     * others: there each access would be SIGBUS. */
    if (strncmp(server.is.store.source, "dax:", 4) != 0)
        prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    if (!store_open(&server.is.store, error, sizeof error) || !streams_load(error, sizeof error)) {
        server_say("%s", error);
        streams_close();
        store_close();
        return 1;
    }
    if (server.is.store.durable && !store_lasts()) {
        server_say("--ack durable: %s is no medium that lasts: file: on a disk, or dax:",
                   server.is.store.source);
        store_close();
        return 1;
    }
    server.loop = &parts.loop;
    server.started = server_clock();
    if (uv_loop_init(&parts.loop) != 0) {
        server_say("no event loop");
        return 1;
    }
    watch();
    bool good = listen_all() && write_pidfile();
    if (good) {
        tell_ready();
        uv_run(&parts.loop, UV_RUN_DEFAULT);
    }
    clean_up();
    return good ? 0 : 1;
}
