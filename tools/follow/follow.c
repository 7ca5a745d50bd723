/*
 * follow.c - libtidepool_follow.so: which processes of a tree get libtidepool.so.
 *
 * `tidepool run --no-follow` and `--only=NAME` preload this small library. It has no malloc:
 * a process that is not to be served keeps libc's, untouched. Before main() it
 *   --no-follow   takes itself, libtidepool.so and the options out of the environment, so
 *                 that whatever the program starts finds it as it was before `run`;
 *   --only=NAME   executes the process once more with libtidepool.so in front, when the name of
 *                 its executable is NAME; other processes just pass the environment on.
 *
 * TIDEPOOL_FOLLOW="MODE:LIBRARY:NAME" tells what is wanted: MODE is of the letters n (no
 * follow), o (only NAME) and a (executed again). TIDEPOOL_OPTIONS_BEFORE is what
 * TIDEPOOL_OPTIONS was before `run`. Strings of the environment are changed where they are, so
 * that a copy of the pointers, as main()'s third argument, sees it, too.
 */
#define _GNU_SOURCE
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

static const char own_name[] = "libtidepool_follow.so";

/* What TIDEPOOL_FOLLOW says. */
struct wish {
    bool no_follow, only, again;
    char library[PATH_MAX];
    char name[NAME_MAX + 1];
};

/* --- the environment -------------------------------------------------------------------- */

static bool is_variable(const char *entry, const char *name)
{
    size_t length = strlen(name);
    return strncmp(entry, name, length) == 0 && entry[length] == '=';
}

/* Without libc's getenv: a shell may have one of its own under that name, for its variables. */
static char *variable(const char *name)
{
    for (char **entry = environ; entry != NULL && *entry != NULL; entry++)
        if (is_variable(*entry, name))
            return strchr(*entry, '=') + 1;
    return NULL;
}

/* Takes the variable out without a move of the others in memory. */
static void forget(const char *name)
{
    char **to = environ;
    for (char **from = environ; *from != NULL; from++)
        if (!is_variable(*from, name))
            *to++ = *from;
    *to = NULL;
}

/* Takes one entry out of LD_PRELOAD: the one that ends like this. */
static void forget_preload(const char *end)
{
    char *list = variable("LD_PRELOAD");
    size_t length = strlen(end);
    for (char *at = list; at != NULL && *at != '\0';) {
        size_t span = strcspn(at, ": ");
        if (span >= length && memcmp(at + span - length, end, length) == 0) {
            char *next = at + span + (at[span] != '\0');
            memmove(at, next, strlen(next) + 1);
            break;
        }
        at += span + (at[span] != '\0');
    }
    if (list == NULL)
        return;
    size_t left = strlen(list);
    if (left > 0 && (list[left - 1] == ':' || list[left - 1] == ' '))
        list[left - 1] = '\0';
    if (list[0] == '\0')
        forget("LD_PRELOAD");
}

/* TIDEPOOL_OPTIONS_BEFORE=text becomes TIDEPOOL_OPTIONS=text. */
static void restore_options(void)
{
    static const char before[] = "TIDEPOOL_OPTIONS_BEFORE=", now[] = "TIDEPOOL_OPTIONS=";
    forget("TIDEPOOL_OPTIONS");
    for (char **entry = environ; *entry != NULL; entry++) {
        if (strncmp(*entry, before, sizeof before - 1) != 0)
            continue;
        const char *text = *entry + sizeof before - 1;
        memcpy(*entry, now, sizeof now - 1);
        memmove(*entry + sizeof now - 1, text, strlen(text) + 1);
    }
}

static void stop_following(const struct wish *wish)
{
    /* The library reads its options at the first call: now, before they are gone. */
    void *volatile first = malloc(1);
    free(first);
    forget_preload(wish->library);
    forget_preload(own_name);
    restore_options();
    forget("TIDEPOOL_FOLLOW");
}

/* --- the wish ---------------------------------------------------------------------------- */

/* "MODE:LIBRARY:NAME"; false when it is something else, which is left alone. */
static bool read_wish(struct wish *wish)
{
    const char *text = getauxval(AT_SECURE) == 0 ? variable("TIDEPOOL_FOLLOW") : NULL;
    size_t mode = text != NULL ? strcspn(text, ":") : 0;
    if (text == NULL || text[mode] != ':')
        return false;
    const char *library = text + mode + 1;
    size_t length = strcspn(library, ":");
    if (library[length] != ':' || length >= sizeof wish->library ||
        strlen(library + length + 1) >= sizeof wish->name)
        return false;
    wish->no_follow = memchr(text, 'n', mode) != NULL;
    wish->only = memchr(text, 'o', mode) != NULL;
    wish->again = memchr(text, 'a', mode) != NULL;
    memcpy(wish->library, library, length);
    wish->library[length] = '\0';
    strcpy(wish->name, library + length + 1);
    return true;
}

static const char *base_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

/* The name of the file, or the one it was started by: a link, a script. */
static bool is_wanted(const struct wish *wish, const char *file)
{
    const char *started = (const char *)getauxval(AT_EXECFN);
    return strcmp(base_of(file), wish->name) == 0 ||
           (started != NULL && strcmp(base_of(started), wish->name) == 0);
}

/* --- once more ----------------------------------------------------------------------------- */

static const char self[] = "/proc/self/exe";

static void find_file(char path[PATH_MAX])
{
    static const char gone[] = " (deleted)";
    ssize_t length = readlink(self, path, PATH_MAX - 1);
    path[length > 0 ? length : 0] = '\0';
    size_t end = strlen(path), tail = sizeof gone - 1;
    if (end > tail && strcmp(path + end - tail, gone) == 0)
        path[end - tail] = '\0';
}

/* The path, or the kernel's own link when another file is there by now. */
static void mend_file(char path[PATH_MAX])
{
    struct stat real, named;
    if (stat(self, &real) != 0 || stat(path, &named) != 0 || real.st_dev != named.st_dev ||
        real.st_ino != named.st_ino)
        strcpy(path, self);
}

/* What the next image finds: LD_PRELOAD with the library in front, the mark "again", and the
 * name that the kernel gave the process (of the script, or the link, that it was started by). */
struct next {
    char preload[2 * PATH_MAX], follow[PATH_MAX + NAME_MAX + 32], comm[64];
};

static bool describe_next(const struct wish *wish, struct next *next)
{
    const char *list = variable("LD_PRELOAD");
    char comm[16] = "";
    if (list == NULL || strlen(wish->library) + strlen(list) + 16 > sizeof next->preload)
        return false;
    prctl(PR_GET_NAME, comm);
    stpcpy(stpcpy(stpcpy(stpcpy(next->preload, "LD_PRELOAD="), wish->library), ":"), list);
    char *at = stpcpy(stpcpy(next->follow, "TIDEPOOL_FOLLOW="), wish->no_follow ? "noa:" : "oa:");
    stpcpy(stpcpy(stpcpy(at, wish->library), ":"), wish->name);
    stpcpy(stpcpy(next->comm, "TIDEPOOL_COMM="), comm);
    return true;
}

/* Returns when it cannot be done: the process goes on with libc's malloc. */
static void execute_again(const struct wish *wish, char **argv)
{
    static struct next next;
    char path[PATH_MAX];
    size_t count = 0;
    find_file(path);
    if (!is_wanted(wish, path) || !describe_next(wish, &next))
        return;
    mend_file(path);
    while (environ[count] != NULL)
        count++;
    char **env = calloc(count + 2, sizeof *env);
    if (env == NULL)
        return;
    for (size_t i = 0; i < count; i++)
        env[i] = is_variable(environ[i], "LD_PRELOAD")        ? next.preload
                 : is_variable(environ[i], "TIDEPOOL_FOLLOW") ? next.follow
                                                              : environ[i];
    env[count] = next.comm;
    execve(path, argv, env);
    free(env);
}

static void take_comm(void)
{
    const char *comm = variable("TIDEPOOL_COMM");
    if (comm != NULL)
        prctl(PR_SET_NAME, comm);
    forget("TIDEPOOL_COMM");
}

/* After that: for what this process starts, the environment is as it was. */
static void arrive(const struct wish *wish)
{
    char *mark = variable("TIDEPOOL_FOLLOW");
    take_comm();
    if (wish->no_follow) {
        stop_following(wish);
        return;
    }
    forget_preload(wish->library);
    mark = memchr(mark, 'a', strcspn(mark, ":"));
    memmove(mark, mark + 1, strlen(mark));
}

__attribute__((constructor)) static void follow(int argc, char **argv, char **envp)
{
    static struct wish wish;
    (void)argc;
    (void)envp;
    if (!read_wish(&wish))
        return;
    if (wish.again)
        arrive(&wish);
    else if (wish.only)
        execute_again(&wish, argv);
    else if (wish.no_follow)
        stop_following(&wish);
}
