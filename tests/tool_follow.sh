#!/usr/bin/env bash
# tests/tool_follow.sh: `tidepool run --no-follow` and `--only=NAME`: which processes of a tree are
# served, through shells, env, posix_spawn, vfork and execve, and what they find around them.
# BUILD names the build directory (default: build).
set -u
. "$(dirname "$0")/lib_tool.sh"

need "$BUILD/libtidepool_follow.so"

# who [HOW [PROGRAM ARGUMENT...]]: prints "NAME served" or "NAME libc", NAME as it was started;
# then starts PROGRAM by system(3), posix_spawn with environ, with a copy of the pointers to main's
# strings, by vfork and execve with main's third argument, or in its own place.
build_who()
{
    cat >"$TMP/who.c" <<'C'
#define _GNU_SOURCE
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
static char *copy[1000];
static void tell(const char *name)
{
    char line[4096];
    const char *how = "libc";
    FILE *maps = fopen("/proc/self/maps", "r");
    while (fgets(line, sizeof line, maps) != NULL)
        if (strstr(line, "libtidepool.so") != NULL)
            how = "served";
    fclose(maps);
    printf("%s %s\n", strrchr(name, '/') != NULL ? strrchr(name, '/') + 1 : name, how);
    fflush(stdout);
}
static void start(const char *how, char **argv, char **env)
{
    pid_t pid = 0;
    char command[4096] = "";
    if (strcmp(how, "system") == 0) {
        for (; *argv != NULL; argv++)
            strcat(strcat(command, " "), *argv);
        system(command);
    } else if (strcmp(how, "spawn") == 0) {
        posix_spawn(&pid, argv[0], NULL, NULL, argv, environ);
    } else if (strcmp(how, "copy") == 0) {
        posix_spawn(&pid, argv[0], NULL, NULL, argv, copy);
    } else if (strcmp(how, "vfork") == 0) {
        pid = vfork();
        if (pid == 0) {
            execve(argv[0], argv, env);
            _exit(127);
        }
    } else {
        execve(argv[0], argv, env);
    }
    if (pid > 0)
        waitpid(pid, NULL, 0);
}
int main(int argc, char **argv, char **env)
{
    for (int i = 0; env[i] != NULL && i < 999; i++)
        copy[i] = env[i];
    tell(argv[0]);
    if (argc > 2)
        start(argv[1], argv + 2, env);
    return 0;
}
C
    mkdir -p "$TMP/bin"
    "${CC:-gcc}" -w -O0 -o "$TMP/bin/one" "$TMP/who.c" 2>"$TMP/err" || {
        bad 'a test program compiles' "$TMP/err"
        finish
    }
    cp "$TMP/bin/one" "$TMP/bin/two"
    cp "$TMP/bin/one" "$TMP/bin/three"
    ln -s one "$TMP/bin/alias"
    # shellcheck disable=SC2016 # the script expands it
    printf '#!/bin/sh\necho "$(cat /proc/$$/comm) $(grep -c %s /proc/$$/maps) $*"\n%s\n' \
        libtidepool.so "$TMP/bin/two" >"$TMP/bin/script"
    chmod +x "$TMP/bin/script"
}

# told NAME LINE...: what the processes of the last run said, in this order, and nothing else.
told()
{
    same "$1" "$(printf '%s\n' "${@:2}")" "$(cat "$TMP/out" "$TMP/err")"
}

test_no_follow()
{
    local how B=$TMP/bin
    for how in system spawn copy vfork exec; do
        run run -- "$B/one" $how "$B/two"
        told "$how: without the flag both are served" 'one served' 'two served'
        run run --no-follow -- "$B/one" $how "$B/two"
        told "$how: --no-follow serves the program alone" 'one served' 'two libc'
    done
    run run --no-follow -- sh -c "'$B/one'; exec '$B/two'"
    told '--no-follow: a shell is the program' 'one libc' 'two libc'
    run run --no-follow --stats -- "$B/one" system "$B/two"
    says '--no-follow --stats counts one process' 0 err '^tidepool: 1 process,'
}

# The environment of what a program starts is what it was before `run`; LINE... is that.
leaves()
{
    env -i PATH="$PATH" "${@:2}" env | sort >"$TMP/before"
    env -i PATH="$PATH" "${@:2}" "$TOOL" run --no-follow --mid=near --cache=1M -- env sh -c env |
        grep -vE '^(_|PWD|SHLVL|OLDPWD)=' | sort >"$TMP/out"
    grep -vE '^(_|PWD|SHLVL|OLDPWD)=' "$TMP/before" | diff - "$TMP/out" >"$TMP/err"
    STATUS=$?
    check "$1" $STATUS -eq 0
}

test_environment()
{
    local B=$TMP/bin
    leaves '--no-follow leaves the environment as it was' A=1
    leaves '... with an LD_PRELOAD' LD_PRELOAD=libm.so.6 A=1
    leaves '... of two libraries' LD_PRELOAD=libm.so.6:libc.so.6
    leaves '... with options' Z=2 TIDEPOOL_OPTIONS=cache=2M,retain=0 Y=3
    TIDEPOOL_OPTIONS=retain=1K run run --no-follow --cache=1M --stats-at-exit="$TMP/stats" -- \
        "$B/one"
    check '--no-follow: the program gets its options' \
        "$(grep -c '"cache":"1048576","retain":"1024"' "$TMP/stats")" -eq 1
    run run --no-follow -- "$TOOL" run -- "$B/one" spawn "$B/two"
    told 'a run in a run may follow again' 'one served' 'two served'
    run run --only=two -- "$TOOL" run -- "$B/one" spawn "$B/two"
    told '... and serve all again' 'one served' 'two served'
    run run -- "$TOOL" run --only=two -- "$B/one" spawn "$B/two"
    told '... or fewer' 'one libc' 'two served'
}

test_only()
{
    local how B=$TMP/bin
    for how in system spawn copy vfork exec; do
        run run --only=two -- "$B/one" $how "$B/two" $how "$B/three" $how "$B/two"
        told "$how: --only=two serves two, wherever it is" 'one libc' 'two served' 'three libc' \
            'two served'
    done
    run run --only=two --no-follow -- "$B/one" spawn "$B/two" spawn "$B/two" spawn "$B/three"
    told '--only and --no-follow: two, but not what it starts' 'one libc' 'two served' \
        'two libc' 'three libc'
    run run --only=one -- env A=1 nice "$B/one" system "$B/two"
    told '--only through env and nice' 'one served' 'two libc'
    run run --only=two -- "$B/one" spawn /usr/bin/env -i "$B/two"
    told 'what clears the environment ends it, as for any preload' 'one libc' 'two libc'
    run run --only=alias -- "$B/alias" spawn "$B/one"
    told 'a link is known by its name' 'alias served' 'one libc'
    run run --only=one -- "$B/alias"
    told '... and by that of the file' 'alias served'
    run run --only=script -- sh -c "'$B/script' a 'b  c'"
    check 'a script is known by its name, and keeps it' \
        "$(sed -n 's/^script \([0-9]*\) .*/\1/p' "$TMP/out")" -gt 0
    same '... with its arguments' 'a b  c' "$(sed -n 's/^script [0-9]* //p' "$TMP/out")"
    same '... and not what it starts' 'two libc' "$(tail -n 1 "$TMP/out")"
    run run --only=two --cache=1M --stats="$TMP/lines" -- "$B/one" spawn "$B/two"
    says '--only --stats counts one process' 0 err '^tidepool: 1 process,'
    check '... with its options' "$(grep -c '"cache":"1048576"' "$TMP/lines")" -eq 1
    run run --only=two -- "$B/one"
    told 'nobody of that name' 'one libc'
}

# A process that was executed once more is otherwise as it was: its arguments with argv[0], name,
# descriptors, directory, mask, ignored signals and variables.
test_unchanged()
{
    cat >"$TMP/inner.sh" <<'SH'
tr '\0' ' ' <"/proc/$$/cmdline"
cat "/proc/$$/comm"
readlink "/proc/$$/fd/7"
pwd
umask
trap
env | grep -vE '^(LD_PRELOAD|TIDEPOOL_FOLLOW|_|SHLVL)=' | sort
SH
    cat >"$TMP/outer.sh" <<'SH'
cd /tmp
exec 7<"$1"
umask 027
trap '' HUP
exec -a other "$2" "$1" a 'b  c'
SH
    cp "$(realpath /bin/bash)" "$TMP/bin/shell"
    bare env B=2 bash "$TMP/outer.sh" "$TMP/inner.sh" "$TMP/bin/shell"
    cp "$TMP/out" "$TMP/plain"
    check 'arguments, names, descriptors and the rest are told' \
        "$(grep -cE "^(other .* a b  c shell|$TMP/inner.sh|/tmp|0027|B=2|trap .*HUP)$" \
            "$TMP/plain")" -eq 6
    bare env B=2 "$TOOL" run --only=shell -- bash "$TMP/outer.sh" "$TMP/inner.sh" "$TMP/bin/shell"
    same '... and stay as they are' "$(cat "$TMP/plain")" "$(cat "$TMP/out")"
    # shellcheck disable=SC2016 # the shell that is served expands it
    run run --only=shell -- "$TMP/bin/shell" -c 'grep -c libtidepool.so /proc/$$/maps; :'
    check 'a shell with a getenv and a setenv of its own is served' "$(cat "$TMP/out")" -gt 0
    cat >"$TMP/gone.sh" <<'SH'
cp "$1" "$2"
exec 9<"$2"
rm "$2"
exec /proc/self/fd/9
SH
    run run --only=gone -- sh "$TMP/gone.sh" "$TMP/bin/one" "$TMP/bin/gone"
    told 'a file that is gone by now' '9 served'
}

test_bad_input()
{
    run run --only= -- true
    says 'no name: 2' 2 err '^tidepool run: --only=: the name of an executable is needed'
    run run --only=/bin/true -- true
    says 'a path: 2' 2 err 'without a directory'
    mkdir -p "$TMP/alone"
    cp "$TOOL" "$SO" "$TMP/alone"
    for flag in --no-follow --only=true; do
        bare "$TMP/alone/tidepool" run $flag -- true
        STATUS=$?
        says "$flag without its library: 1" 1 err 'libtidepool_follow.so is missing'
    done
    TIDEPOOL_FOLLOW=nonsense LD_PRELOAD=$BUILD/libtidepool_follow.so bare "$TMP/bin/one"
    told 'a variable that says nothing is ignored' 'one libc'
}

build_who
test_no_follow
test_environment
test_only
test_unchanged
test_bad_input
finish
