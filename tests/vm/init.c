/*
 * init.c - process 1 of a test guest: makes far memory out of what QEMU gave, runs the
 * commands of /t/list and ends the guest.
 *
 * Linked statically; it needs no shell in the guest. The kernel's command line says what
 * to do:
 *   vm.modules=A,B     groups of modules to load, in the order of /modules/order
 *   vm.cxl=each|ways   a region for each CXL device, or one interleaved region
 *   vm.regions=N       CXL devices to wait for (default 1)
 *   vm.dax=devdax|kmem dax devices as character devices or as memory of a node
 *   vm.devices=N       dax devices to wait for (default 1)
 *   vm.mount=DEVICE    ext4 with dax on /mnt
 *   vm.seconds=N       limit for one command
 * Words KEY=VALUE in front of a command are for its environment alone.
 * What it prints for the one who started the guest: "@@ready", "@@begin COMMAND" and "@@end
 * RC COMMAND" around each command, "@@exit RC" (the first RC that is not 0) last; "@@failed
 * WHY" when the machine cannot be made, with exit 125.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CXL "/sys/bus/cxl/devices"
#define DAX "/sys/bus/dax"

enum { NOT_MADE = 125, TIMED_OUT = 124, EXIT_PORT = 0xf4, DEVICES = 16, TEXT = 512 };

static char cmdline[4096];

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void nap(void)
{
    usleep(10000);
}

/* Ends the guest: QEMU's exit device, else power off. */
static void leave(int code)
{
    printf("@@exit %d\n", code);
    fflush(stdout);
    sync();
    usleep(20000); /* the serial line is slow */
    if (ioperm(EXIT_PORT, 4, 1) == 0)
        outb((unsigned char)(code & 0x7f), EXIT_PORT);
    reboot(RB_POWER_OFF);
    for (;;)
        pause();
}

__attribute__((format(printf, 1, 2))) static void fail(const char *format, ...)
{
    va_list list;
    printf("@@failed ");
    va_start(list, format);
    vprintf(format, list);
    va_end(list);
    putchar('\n');
    leave(NOT_MADE);
}

/* --- small files ------------------------------------------------------------------ */

/* The first line of a file; "" when there is none. */
static char *line_of(char *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
static char *line_of(char *buf, const char *format, ...)
{
    char path[PATH_MAX];
    va_list list;
    va_start(list, format);
    vsnprintf(path, sizeof path, format, list);
    va_end(list);
    int fd = open(path, O_RDONLY);
    ssize_t got = fd < 0 ? 0 : read(fd, buf, TEXT - 1);
    if (fd >= 0)
        close(fd);
    buf[got > 0 ? got : 0] = '\0';
    buf[strcspn(buf, "\n")] = '\0';
    return buf;
}

/* Writes a value to a file of sysfs; 0 or -errno. */
static int put(const char *value, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int put(const char *value, const char *format, ...)
{
    char path[PATH_MAX];
    va_list list;
    va_start(list, format);
    vsnprintf(path, sizeof path, format, list);
    va_end(list);
    int fd = open(path, O_WRONLY);
    if (fd < 0)
        return -errno;
    int ret = write(fd, value, strlen(value)) < 0 ? -errno : 0;
    close(fd);
    return ret;
}

/* The value of a word KEY=VALUE of the command line. */
static char *option(char *buf, const char *key, const char *initial)
{
    size_t len = strlen(key);
    snprintf(buf, TEXT, "%s", initial);
    for (const char *at = cmdline; *at != '\0'; at += strspn(at, " \n")) {
        size_t word = strcspn(at, " \n");
        if (word > len && strncmp(at, key, len) == 0 && at[len] == '=')
            snprintf(buf, TEXT, "%.*s", (int)(word - len - 1), at + len + 1);
        at += word;
    }
    return buf;
}

static int option_number(const char *key, int initial)
{
    char buf[TEXT];
    option(buf, key, "");
    return buf[0] != '\0' ? atoi(buf) : initial;
}

/* --- modules ------------------------------------------------------------------------ */

static bool in_list(const char *list, const char *word)
{
    size_t len = strlen(word);
    for (const char *at = list; (at = strstr(at, word)) != NULL; at += len)
        if ((at == list || at[-1] == ',') && (at[len] == ',' || at[len] == '\0'))
            return true;
    return false;
}

/* Loads the groups; /modules/order has lines "GROUP FILE". */
static void load(const char *groups)
{
    char group[64], file[128], path[256];
    FILE *order = fopen("/modules/order", "r");
    while (order != NULL && fscanf(order, "%63s %127s", group, file) == 2) {
        if (!in_list(groups, group))
            continue;
        snprintf(path, sizeof path, "/modules/%s", file);
        int fd = open(path, O_RDONLY);
        if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) != 0 && errno != EEXIST))
            printf("@@note module %s: %s\n", file, strerror(errno));
        if (fd >= 0)
            close(fd);
    }
    if (order != NULL)
        fclose(order);
}

/* --- CXL ---------------------------------------------------------------------------- */

/* Numbers of endpoints and decoders differ from boot to boot; serial numbers do not. */
struct endpoint {
    int number, bridge;
    unsigned long long serial;
};

static int find_endpoints(struct endpoint *found)
{
    int count = 0;
    DIR *directory = opendir(CXL);
    const struct dirent *entry;
    while (directory != NULL && count < DEVICES && (entry = readdir(directory)) != NULL) {
        char link[PATH_MAX], real[PATH_MAX], text[TEXT];
        struct endpoint *at = &found[count];
        if (sscanf(entry->d_name, "endpoint%d", &at->number) != 1)
            continue;
        snprintf(link, sizeof link, CXL "/decoder%d.0", at->number);
        if (access(link, F_OK) != 0)
            continue;
        snprintf(link, sizeof link, CXL "/endpoint%d/uport", at->number);
        const char *bus = realpath(link, real) != NULL ? strstr(real, "pci0000:") : NULL;
        if (bus == NULL)
            continue;
        at->bridge = (int)strtol(bus + strlen("pci0000:"), NULL, 16);
        at->serial = strtoull(line_of(text, "%s/serial", link), NULL, 0);
        count++;
    }
    if (directory != NULL)
        closedir(directory);
    return count;
}

static int by_serial(const void *a, const void *b)
{
    const struct endpoint *x = a, *y = b;
    return x->serial < y->serial ? -1 : x->serial > y->serial;
}

/* The window (root decoder) whose target is this host bridge. */
static int find_window(int bridge)
{
    char text[TEXT];
    for (int i = 0; i < 8; i++) {
        line_of(text, CXL "/decoder0.%d/target_list", i);
        if (text[0] != '\0' && atoi(text) == bridge)
            return i;
    }
    fail("no window for host bridge %d", bridge);
    return -1;
}

/* The endpoint's decoder lends all its volatile memory; returns the bytes. */
static unsigned long long lend(const struct endpoint *endpoint)
{
    char size[TEXT];
    line_of(size, CXL "/endpoint%d/uport/ram/size", endpoint->number);
    if (put("ram", CXL "/decoder%d.0/mode", endpoint->number) != 0 ||
        put(size, CXL "/decoder%d.0/dpa_size", endpoint->number) != 0)
        fail("decoder%d.0 takes no memory", endpoint->number);
    return strtoull(size, NULL, 0);
}

/* One region over `ways` endpoints. */
static void make_region(const struct endpoint *endpoint, int ways)
{
    char region[TEXT], text[TEXT];
    int window = find_window(endpoint[0].bridge);
    unsigned long long size = 0;
    line_of(region, CXL "/decoder0.%d/create_ram_region", window);
    if (region[0] == '\0' || put(region, CXL "/decoder0.%d/create_ram_region", window) != 0)
        fail("window %d makes no region", window);
    snprintf(text, sizeof text, "%d", ways);
    put("256", CXL "/%s/interleave_granularity", region);
    put(text, CXL "/%s/interleave_ways", region);
    for (int i = 0; i < ways; i++)
        size += lend(&endpoint[i]);
    snprintf(text, sizeof text, "%llu", size);
    if (put(text, CXL "/%s/size", region) != 0)
        fail("%s does not become %llu bytes", region, size);
    for (int i = 0; i < ways; i++) {
        snprintf(text, sizeof text, "decoder%d.0", endpoint[i].number);
        if (put(text, CXL "/%s/target%d", region, i) != 0)
            fail("%s does not take %s", region, text);
    }
    int ret = put("1", CXL "/%s/commit", region);
    if (ret != 0)
        fail("%s: commit: %s (the processor must not say that it is virtual)", region,
             strerror(-ret));
    put(region, "/sys/bus/cxl/drivers/cxl_region/bind");
}

static void make_cxl(const char *how)
{
    struct endpoint endpoint[DEVICES];
    int want = option_number("vm.regions", 1), count = 0;
    for (double begin = now(); count < want && now() - begin < 30; nap())
        count = find_endpoints(endpoint);
    if (count < want)
        fail("%d of %d CXL devices appeared", count, want);
    qsort(endpoint, (size_t)count, sizeof endpoint[0], by_serial);
    if (strcmp(how, "ways") == 0)
        make_region(endpoint, count);
    else
        for (int i = 0; i < count; i++)
            make_region(&endpoint[i], 1);
}

/* --- dax ---------------------------------------------------------------------------- */

static int list_devices(char names[][64])
{
    int count = 0;
    DIR *directory = opendir(DAX "/devices");
    const struct dirent *entry;
    while (directory != NULL && count < DEVICES && (entry = readdir(directory)) != NULL)
        if (entry->d_name[0] != '.')
            snprintf(names[count++], 64, "%.60s", entry->d_name);
    if (directory != NULL)
        closedir(directory);
    return count;
}

/* Gives the device to the driver, unless it has it. */
static void bind_device(const char *name, const char *driver)
{
    char path[PATH_MAX], link[PATH_MAX] = "";
    snprintf(path, sizeof path, DAX "/devices/%s/driver", name);
    ssize_t len = readlink(path, link, sizeof link - 1);
    if (len > 0 && strstr(link, driver) != NULL)
        return;
    if (len > 0)
        put(name, "%s/unbind", path);
    int ret = put(name, DAX "/drivers/%s/new_id", driver);
    if (ret != 0)
        ret = put(name, DAX "/drivers/%s/bind", driver);
    if (ret != 0)
        fail("%s does not go to %s: %s", name, driver, strerror(-ret));
}

static void make_dax(const char *how)
{
    static char names[DEVICES][64];
    int want = option_number("vm.devices", 1), count = 0;
    for (double begin = now(); count < want && now() - begin < 30; nap())
        count = list_devices(names);
    if (count < want)
        fail("%d of %d dax devices appeared", count, want);
    bool kmem = strcmp(how, "kmem") == 0;
    if (kmem) {
        put("online_movable", "/sys/devices/system/memory/auto_online_blocks");
        load("kmem");
    }
    for (int i = 0; i < count; i++)
        bind_device(names[i], kmem ? "kmem" : "device_dax");
}

/* --- the machine --------------------------------------------------------------------- */

static void mount_first(void)
{
    static const char *const rows[][2] = {{"devtmpfs", "/dev"},  {"proc", "/proc"},
                                          {"sysfs", "/sys"},     {"tmpfs", "/tmp"},
                                          {"tmpfs", "/dev/shm"}, {"cgroup2", "/sys/fs/cgroup"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        mkdir(rows[i][1], 0777);
        mount("none", rows[i][1], rows[i][0], 0, "");
    }
    int console = open("/dev/console", O_RDWR);
    for (int fd = 0; console >= 0 && fd < 3; fd++)
        dup2(console, fd);
    setvbuf(stdout, NULL, _IOLBF, 0);
    int fd = open("/proc/cmdline", O_RDONLY);
    if (fd >= 0) {
        if (read(fd, cmdline, sizeof cmdline - 1) < 0)
            cmdline[0] = '\0';
        close(fd);
    }
}

static void make_machine(void)
{
    char text[TEXT];
    load(option(text, "vm.modules", ""));
    if (*option(text, "vm.cxl", "") != '\0')
        make_cxl(text);
    if (*option(text, "vm.dax", "") != '\0')
        make_dax(text);
    if (*option(text, "vm.mount", "") == '\0')
        return;
    mkdir("/mnt", 0755);
    double begin = now(); /* the device may be there before it is ready */
    while (mount(text, "/mnt", "ext4", 0, "dax=always") != 0) {
        if (now() - begin > 10)
            fail("mount %s: %s", text, strerror(errno));
        nap();
    }
}

/* --- commands ------------------------------------------------------------------------- */

static void read_environment(void)
{
    char line[1024];
    FILE *file = fopen("/t/env", "r");
    setenv("PATH", "/t:/bin", 1);
    setenv("HOME", "/tmp", 1);
    setenv("TMPDIR", "/tmp", 1);
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (line[0] != '\0')
            putenv(strdup(line));
    }
    if (file != NULL)
        fclose(file);
}

/* Starts one line, cut at blanks. */
static pid_t start(const char *line)
{
    char copy[1024], *words[64], *rest = copy, **word = words;
    int count = 0;
    snprintf(copy, sizeof copy, "%s", line);
    while (count < 63 && (words[count] = strsep(&rest, " ")) != NULL)
        count += words[count][0] != '\0';
    words[count] = NULL;
    pid_t child = fork();
    if (child == 0) {
        setsid();
        while (*word != NULL && strchr(*word, '=') != NULL)
            putenv(*word++);
        if (*word == NULL)
            _exit(0);
        execvp(*word, word);
        printf("%s: %s\n", *word, strerror(errno));
        _exit(127);
    }
    return child;
}

/* Runs one line; its exit code, 128 + the signal that ended it, or TIMED_OUT. */
static int run(const char *line, int seconds)
{
    int status = 0;
    double begin = now();
    pid_t child = start(line);
    for (;;) {
        pid_t ended = waitpid(-1, &status, WNOHANG); /* orphans end here, too */
        if (ended == child)
            return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
        if (ended <= 0 && now() - begin > seconds) {
            kill(-child, SIGKILL);
            waitpid(child, &status, 0);
            return TIMED_OUT;
        }
        if (ended <= 0)
            nap();
    }
}

int main(void)
{
    char line[1024];
    int first = 0;
    mount_first();
    make_machine();
    read_environment();
    if (chdir("/t") != 0)
        fail("no /t");
    FILE *list = fopen("/t/list", "r");
    if (list == NULL)
        fail("no /t/list");
    int seconds = option_number("vm.seconds", 120);
    printf("@@ready\n");
    while (fgets(line, sizeof line, list) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (line[0] == '\0')
            continue;
        printf("@@begin %s\n", line);
        int code = run(line, seconds);
        printf("@@end %d %s\n", code, line);
        first = first != 0 ? first : code;
    }
    leave(first);
}
