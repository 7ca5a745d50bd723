#!/usr/bin/env bash
# tests/tool_stat.sh: `tidepool stat`. Processes that keep counters, those that do not, those of
# somebody else, files of every kind of badness, watching.
# BUILD names the build directory (default: build).
set -u
. "$(dirname "$0")/lib_tool.sh"

PIDS=()

# A program that takes COUNT blocks of SIZE, says so by making the file READY, and waits until the
# file GO is there. "close" closes all descriptors first, "fork" waits in a child, too, "raw" in a
# child that no fork handler knows of, "run" ends through execve of /bin/sleep; "still" publishes
# nothing more when it is ready.
build_holder()
{
    cat >"$TMP/holder.c" <<'C'
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
static void *kept[100000];
static char path[4096];
static void make(const char *name, long number)
{
    FILE *file = fopen(name, "w");
    fprintf(file, "%ld\n", number);
    fclose(file);
}
int main(int argc, char **argv)
{
    int count = atoi(argv[1]), size = atoi(argv[2]);
    const char *ready = argv[3], *go = argv[4], *how = argc > 5 ? argv[5] : "";
    if (strcmp(how, "close") == 0)
        for (int fd = 3; fd < 1024; fd++)
            close(fd);
    if (strcmp(how, "fork") == 0 && fork() == 0) {
        snprintf(path, sizeof path, "%s.child", ready);
        ready = path;
    }
    if (strcmp(how, "raw") == 0 && syscall(SYS_fork) == 0) {
        for (; access(go, F_OK) != 0; usleep(20000))
            ;
        _exit(0);
    }
    for (int i = 0; i < count; i++)
        if ((kept[i] = malloc((size_t)size)) != NULL)
            memset(kept[i], 1, (size_t)size);
    for (int i = 0; i < 20; i++, usleep(2000))
        free(malloc(2000000));
    make(ready, (long)getpid());
    if (strcmp(how, "run") == 0)
        execl("/bin/sleep", "sleep", "60", (char *)NULL);
    for (; access(go, F_OK) != 0; usleep(20000))
        if (strcmp(how, "still") != 0)
            free(malloc(2000000)); /* through the slow path: new figures */
    return 0;
}
C
    "${CC:-gcc}" -w -O0 -o "$TMP/holder" "$TMP/holder.c" 2>"$TMP/err" || {
        bad 'a test program compiles' "$TMP/err"
        finish
    }
}

# shellcheck disable=SC2317 # the trap calls it
stop_all()
{
    local pid
    : >"$TMP/go"
    for pid in "${PIDS[@]}"; do
        kill "$pid" 2>/dev/null
        wait "$pid" 2>/dev/null
    done
    rm -rf "$TMP"
}
trap stop_all EXIT

# hold OPTIONS ARGUMENT...: starts the holder under preload; sets PID when it is ready.
hold()
{
    rm -f "$TMP/ready" "$TMP/ready.child"
    LD_PRELOAD=$SO TIDEPOOL_OPTIONS=$1 "$TMP/holder" "$2" "$3" "$TMP/ready" "$TMP/go" \
        "${@:4}" >/dev/null 2>&1 &
    PID=$!
    PIDS+=("$PID")
    until_true test -s "$TMP/ready"
}

# shellcheck disable=SC2317 # until_true calls it
# samples COUNT: the last command has written about so many moments by now.
samples()
{
    (($(grep -c '^process ' "$TMP/out") >= $1))
}

# shellcheck disable=SC2317 # as above
# replaced PID FILE: the process runs this program by now, and the loader is through with it.
replaced()
{
    [[ $(readlink "/proc/$1/exe") == "$2" ]] && "$TOOL" stat "$1" >/dev/null 2>&1
}

# figure KEY [FILE]: a number or text of the JSON in the last output.
figure()
{
    grep -o "\"$1\": [^,}]*" "${2:-$TMP/out}" | head -n 1 | sed 's/^[^:]*: //; s/"//g'
}

# tier NAME KEY: a number of a tier in the last output.
tier()
{
    sed -n "/\"$1\": {/,/}/p" "$TMP/out" | grep -o "\"$2\": [0-9]*" | head -n 1 | grep -o '[0-9]*$'
}

# counted COUNT [PID]: its last figures have so many blocks of Mid. New ones come when a hundred
# times of what the last took has gone by, which is long where others took the processor then.
# shellcheck disable=SC2317 # until_true calls it
counted()
{
    run stat --json "${2:-$PID}"
    (($(tier mid live_blocks) >= $1))
}

test_running()
{
    hold mid=near,delay=3,counters=1,cap=64M 700 9000
    until_true counted 700
    run stat "$PID"
    says 'stat PID names the process' 0 out "^process $PID \(holder\), running, tidepool [0-9.]+$"
    says '... its source' 0 out '^Mid is near,delay=3: .*; header shadow$'
    says '... how old the figures are' 0 out '^figures of [0-9:]+, [0-9.]+ s ago'
    says '... a picture of each tier' 0 out '^  Tiny  near \|[#+. ]{40}\|'
    says '... Mid, far' 0 out '^  Mid   far  \|##[#+. ]{38}\|'
    says '... the cap' 0 out 'cap  *64 MiB of far memory at most, then near'
    says '... and what did not fit' 0 out '^  spills  *[0-9]+ '
    run stat --json "$PID"
    json 'stat --json is valid'
    same '... schema' 1 "$(figure schema)"
    same '... process' "$PID" "$(figure pid)"
    same '... state' running "$(figure state)"
    same '... page' nameless "$(figure page)"
    same '... program' "$(realpath "$TMP/holder")" "$(figure program)"
    check '... blocks of Mid' "$(tier mid live_blocks)" -ge 700
    check '... bytes of Mid' "$(tier mid live_bytes)" -ge 6300000
    check '... little of Large' "$(tier large live_blocks)" -lt 50
    check '... far bytes' "$(figure mid_far_bytes)" -ge 6300000
    same '... the cap' 67108864 "$(figure cap)"
    same '... pages only when asked' null "$(figure mid_pages)"
    run stat --pages --json "$PID"
    if [[ -r /proc/self/numa_maps ]]; then
        check 'stat --pages: where the pages are' "$(figure bytes)" -ge 6300000
    else
        skip 'stat --pages' 'the kernel has no numa_maps'
    fi
    run stat -w 0.1 -n 3 --json "$PID"
    check 'stat -w -n 3 --json: three lines' "$(wc -l <"$TMP/out")" -eq 3
    tail -n 1 "$TMP/out" >"$TMP/line"
    check '... of valid JSON each' "$(is_json "$TMP/line" && echo valid)" = valid
    run stat "$PID" -w0.1 -n2
    check 'flags behind the process, too' "$(grep -c '^process ' "$TMP/out")" -eq 2
    check 'without a terminal nothing is cleared' -z "$(grep $'\033' "$TMP/out")"
    for key in $("$TOOL" stat --json "$PID" | grep -o '"[a-z_]*":' | tr -d '":' | sort -u); do
        check "JSON.md documents $key" -n "$(grep -w "$key" tools/tidepool/JSON.md)"
    done
}

test_watching()
{
    hold counters=1 10 100
    : >"$TMP/out" # of the command before; the next one may be slow to empty it
    "$TOOL" stat -w 0.1 "$PID" >"$TMP/out" 2>"$TMP/err" &
    local watcher=$!
    until_true samples 2
    kill "$PID"
    wait "$watcher"
    STATUS=$?
    says 'watching ends with the process: 0' 0 err "process $PID has ended"
    check '... after several samples' "$(samples 2 && echo yes)" = yes
    run stat "$PID"
    says 'an ended process: 1' 1 err "process $PID: there is no such process"
}

test_not_there()
{
    run stat $$
    says 'a process without the library: 1' 1 err "process $$ does not run on tidepool"
    hold mid=near 10 100
    run stat "$PID"
    says 'a process without the option: 1' 1 err 'without the option counters .*run --counters'
    hold counters=1 10 100 raw
    run stat "$(tr -d ' ' <"/proc/$PID/task/$PID/children")"
    says 'a child that has not allocated yet: 1' 1 err "no page of its own yet, only .*\($PID\)"
    hold counters=1 10 100 run
    until_true replaced "$PID" "$(realpath /bin/sleep)"
    run stat --json "$PID"
    same 'after an exec the new program has its page' "$(realpath /bin/sleep)" "$(figure program)"
    hold counters=1 321 9000 fork
    local child
    until_true test -s "$TMP/ready.child"
    child=$(cat "$TMP/ready.child")
    until_true counted 321 "$child"
    same 'a forked child has its own page' "$child" "$(figure pid)"
    check '... and figures' "$(tier mid live_blocks)" -ge 321
}

test_closed_descriptors()
{
    hold counters=1 123 9000 close
    until_true counted 123
    same 'a program that closes all descriptors: read from its memory' "0 memory" \
        "$STATUS $(figure page)"
    check '... with its figures' "$(tier mid live_blocks)" -ge 123
}

test_files()
{
    local file
    mkdir -p "$TMP/pages"
    hold "counters=$TMP/pages" 456 9000 still
    file=$TMP/pages/tidepool.$PID
    run stat --json "$file"
    same 'stat FILE' "running file $PID" "$(figure state) $(figure page) $(figure pid)"
    run stat --json "$PID"
    same 'stat PID finds the file' "running file $PID" \
        "$(figure state) $(figure page) $(figure pid)"
    cp "$file" "$TMP/copy"
    kill -9 "$PID"
    wait "$PID" 2>/dev/null
    run stat "$file"
    says 'a file whose process was killed: figures, and 1' 1 err 'gone without an exit'
    says '... marked so' 1 out "^process $PID \(holder\), gone"
    run run --counters="$TMP/pages" -- "$TMP/holder" 77 9000 "$TMP/ready" "$TMP/copy"
    file=$TMP/pages/tidepool.$(cat "$TMP/ready")
    run stat --json "$file"
    same 'after an exit: the last figures' "0 ended" "$STATUS $(figure state)"
    check '... all of them' "$(tier mid live_blocks)" -ge 77
    # another process with the number of one that is gone: this shell
    printf "%b" "$(printf '\\x%02x\\x%02x\\x%02x\\x%02x' $(($$ & 255)) $(($$ >> 8 & 255)) \
        $(($$ >> 16 & 255)) $(($$ >> 24 & 255)))" |
        dd of="$TMP/copy" bs=1 seek=16 conv=notrunc 2>/dev/null
    run stat "$TMP/copy"
    says 'a number that another process has by now: gone' 1 err "process $$ is gone"
}

test_bad_files()
{
    local file="$TMP/copy"
    head -c 4095 "$file" >"$TMP/short"
    : >"$TMP/empty"
    head -c 8192 /dev/zero >"$TMP/zero"
    head -c 8192 /dev/urandom >"$TMP/random"
    cp "$file" "$TMP/newer"
    printf '\002' | dd of="$TMP/newer" bs=1 seek=8 conv=notrunc 2>/dev/null
    cp "$file" "$TMP/odd"
    printf '\001' | dd of="$TMP/odd" bs=1 seek=1024 conv=notrunc 2>/dev/null
    cp "$file" "$TMP/words" # no text in it ends, and one has an escape in it
    head -c 512 /dev/zero | tr '\0' '\033' |
        dd of="$TMP/words" bs=1 seek=256 conv=notrunc 2>/dev/null
    ln -s "$file" "$TMP/link"
    mkfifo "$TMP/fifo"
    cp "$file" "$TMP/open"
    chmod 600 "$TMP"/{short,empty,zero,random,newer,odd,words}
    chmod 622 "$TMP/open"
    run stat "$TMP/short"
    says 'a file that is cut off: 3' 3 err '4095 bytes, a page of counters has 4096'
    run stat "$TMP/empty"
    says 'an empty file: 3' 3 err 'cut off: 0 bytes'
    run stat "$TMP/zero"
    says 'a page that was never finished: 1' 1 err 'never finished'
    run stat "$TMP/random"
    says 'any file: 3' 3 err 'no page of counters'
    run stat "$TMP/newer"
    says 'another version: 1' 1 err 'of version 2, made by another release.* reads version 1'
    run stat "$TMP/odd"
    says 'figures that were never whole: 3' 3 err 'never whole'
    run stat "$TMP/words"
    check 'texts of a stranger do not reach the terminal as they are' \
        -z "$(grep $'\033' "$TMP/out")" -a $STATUS -eq 1
    run stat "$TMP/link"
    says 'a symbolic link: 1' 1 err 'symbolic link, which is not followed'
    run stat "$TMP/fifo"
    says 'a pipe: 1, without waiting' 1 err 'no regular file'
    run stat "$TMP/open"
    says 'a file that others may write: 1' 1 err 'others may write to it .mode 622'
    run stat "$TMP/none"
    says 'no file: 1' 1 err 'No such file'
    run stat "$TMP"
    says 'a directory: 1' 1 err 'no regular file'
}

test_other_user()
{
    if ((EUID != 0)) || ! setpriv --reuid "$NOBODY" --clear-groups true 2>/dev/null; then
        skip 'processes of another user' 'needs root and setpriv'
        return
    fi
    chmod 755 "$TMP"
    cp "$TOOL" "$TMP/tidepool"
    hold counters=1 10 100
    bare setpriv --reuid "$NOBODY" --clear-groups "$TMP/tidepool" stat "$PID"
    STATUS=$?
    says 'the process of another user: 1' 1 err 'of another user .uid 0.*only that user or root'
    mkdir -p "$TMP/pages"
    chmod 755 "$TMP/pages"
    hold "counters=$TMP/pages" 10 100
    bare setpriv --reuid "$NOBODY" --clear-groups "$TMP/tidepool" stat "$TMP/pages/tidepool.$PID"
    STATUS=$?
    says 'the file of another user: 1' 1 err 'Permission denied'
    chmod 644 "$TMP/pages/tidepool.$PID"
    bare setpriv --reuid "$NOBODY" --clear-groups "$TMP/tidepool" stat "$TMP/pages/tidepool.$PID"
    STATUS=$?
    says '... even if it can be read: 1' 1 err 'belongs to another user .uid 0'
    # in a directory of everybody's, a link with the name of the page-to-be
    mkdir "$TMP/all"
    chmod 1777 "$TMP/all"
    echo precious >"$TMP/victim"
    chmod 666 "$TMP/victim"
    setpriv --reuid "$NOBODY" --clear-groups bash -c "
        for ((i = 1; i < 300; i++)); do ln -s '$TMP/victim' '$TMP/all/tidepool.'\$(($$ + i)); done"
    hold "counters=$TMP/all" 10 100
    same 'a planted link is not written through' precious "$(cat "$TMP/victim")"
}

# A set-uid program has no page, whoever asks for one.
test_set_uid()
{
    if ((EUID != 0)) || ! setpriv --reuid "$NOBODY" --clear-groups true 2>/dev/null; then
        skip 'set-uid programs keep no counters' 'needs root and setpriv'
        return
    fi
    cat >"$TMP/uid.c" <<'C'
#include <stdlib.h>
#include <unistd.h>
const char *tide_options = "counters=1";
int main(void)
{
    char link[64] = "";
    free(malloc(100000));
    for (int fd = 3; fd < 1024; fd++) {
        char path[64];
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        if (readlink(path, link, sizeof link - 1) > 0 && strstr(link, "tidepool-counters") != NULL)
            return 7;
    }
    return 0;
}
C
    need "$BUILD/libtidepool.a"
    "${CC:-gcc}" -w -include stdio.h -include string.h -o "$TMP/uid" "$TMP/uid.c" \
        "$BUILD/libtidepool.a" -pthread 2>"$TMP/err" || {
        bad 'a program with the library in it compiles' "$TMP/err"
        return
    }
    bare "$TMP/uid"
    same 'a program may ask for counters itself' 7 $?
    chmod 4755 "$TMP/uid"
    bare setpriv --reuid "$NOBODY" --clear-groups "$TMP/uid"
    same '... but not one with the rights of another' 0 $?
}

test_bad_input()
{
    run stat
    says 'no process: 2' 2 err 'no process .usage'
    run stat 0
    says 'no process id: 2' 2 err "'0' is no process id"
    run stat 99999999999999999999
    says 'no number: 2' 2 err 'is no process id'
    run stat ''
    says 'nothing: 2' 2 err 'no process id and no file'
    run stat 1 2
    says 'two processes: 2' 2 err "unexpected argument '2'"
    run stat -w 0 1
    says 'no time: 2' 2 err "watch: '0' is not allowed; allowed: 0.1..86400"
    run stat -w x 1
    says 'no number of seconds: 2' 2 err "watch: 'x' is not allowed"
    run stat -n 0 1
    says 'no count: 2' 2 err "count: '0' is not allowed"
    run stat -w
    says 'seconds missing: 2' 2 err '^tidepool stat: -w needs a value'
    run stat -x 1
    says 'an unknown flag: 2' 2 err "unknown flag '-x'"
    run run --counters=relative -- true
    says 'a directory that is not absolute: 2' 2 err "option counters: 'relative' is not allowed"
}

build_holder
test_running
test_watching
test_not_there
test_closed_descriptors
test_files
test_bad_files
test_other_user
test_set_uid
test_bad_input
finish
