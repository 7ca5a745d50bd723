#!/usr/bin/env bash
# region.sh - regions over every source that a plain machine has, under the preload;
# malloc's own Mid in a file or memfd, which is refused unless shared_mid=1 says otherwise;
# that far memory is not touched by malloc and free; and the program in README.md.
#
#   tests/region.sh [VERDICT]   with one the release library alone, for mutants.sh
set -u
# shellcheck source=tests/lib_prog.sh
. "$(dirname "$0")/lib_prog.sh"
# shellcheck source=tests/lib_cases.sh
. tests/lib_cases.sh

PROG=${PROGS:?}/prog_region
DEBUG_SO=$BUILD/libtidepool_dbg.so
LIBRARIES=("$SO")
[[ -n ${1:-} ]] || LIBRARIES+=("$DEBUG_SO")
need "${LIBRARIES[@]}" "$PROG"

# ---- regions ---------------------------------------------------------------------------

run_sources()
{
    local library source
    local -a sources=(anon 'near,delay=50' auto memfd 'memfd,delay=50' "file:$TMP/region"
        "file:$TMP/region,delay=50" node:0)
    [[ -w /dev/shm ]] && sources+=("file:/dev/shm/${TMP##*/}")
    for library in "${LIBRARIES[@]}"; do
        for source in "${sources[@]}"; do
            cases "$source" env LD_PRELOAD="$library" "$PROG" "$source"
        done
    done
    rm -f "/dev/shm/${TMP##*/}"
}

# ---- malloc -----------------------------------------------------------------------------

# stat KEY: a figure of the process that ended last.
stat_of()
{
    sed -n "s/.*\"$1\":\"\\{0,1\\}\\([^,\"}]*\\).*/\\1/p" "$TMP/stats"
}

# mid OPTIONS COUNT SIZE: runs the program with them; figures to $TMP/stats.
mid()
{
    rm -f "$TMP/stats"
    OPTIONS="$1,stats_at_exit=$TMP/stats" preloaded "$PROG" mid "$2" "$3"
}

# says NAME PATTERN: exactly one line on stderr, and it is this one.
says()
{
    if (($(wc -l <"$TMP/err") == 1)) && grep -q "^tidepool: option 'mid': .*$2" "$TMP/err"; then
        ok "$1"
    else
        bad "$1" "$TMP/err"
    fi
}

# is NAME CONDITION: of the shell's arithmetic.
is()
{
    if (($2)); then
        ok "$1"
    else
        bad "$1: $2" "$TMP/out" "$TMP/err"
    fi
}

run_refused()
{
    truncate -s 32M "$TMP/mid"
    mid "mid=file:$TMP/mid" 100 3000
    says 'a file is no heap: one line' 'parent and child would write to the same blocks'
    is 'a file is no heap: near memory instead' "$? == 0 && $(stat_of mid_far_bytes) == 0"
    mid mid=memfd 100 3000
    says 'a memfd is no heap' 'shared_mid=1 allows it'
    OPTIONS="mid=file:$TMP/mid,strict=1" preloaded "$PROG" mid 1 3000
    is 'a file is no heap: strict' "$? == 134"
    mid "mid=file:$TMP/none,shared_mid=1" 100 3000
    says 'a file that is not there' 'does not exist: near memory is used'
    mid 'mid=memfd,shared_mid=1' 100 3000
    says 'a memfd without a size' 'has no size of its own: say cap='
    truncate -s 1000 "$TMP/small"
    mid "mid=file:$TMP/small,shared_mid=1" 100 3000
    says 'a file that is too small' 'has 1000 bytes, and not the 524288 that are asked for'
    mid "mid=$TMP,shared_mid=1" 10 3000
    says 'a text that is no source' 'no source (allowed'
    mid "mid=dax:/dev/dax99.0,shared_mid=1" 10 3000
    says 'a device that is not there' "'/dev/dax99.0' does not exist"
}

# Mid's blocks are in the file; what does not fit is near, or refused.
run_shared()
{
    local where
    truncate -s 32M "$TMP/mid"
    for where in "file:$TMP/mid" "file:$TMP/mid,delay=20" 'memfd,cap=32M'; do
        mid "mid=$where,shared_mid=1" 2000 3000
        is "$where: all blocks are in it" \
            "! $(wc -c <"$TMP/err") && $(stat_of mid_spills) == 0 && $(stat_of mid_refused) == 0"
        mid "mid=$where,shared_mid=1" 20000 3000
        is "$where: what is too much is near, and counted" \
            "! $(wc -c <"$TMP/err") && $(stat_of mid_spills) > 40"
        is "$where: no block is lost" "$(grep -c '^blocks 20000 mid 20000$' "$TMP/out") == 1"
        mid "mid=$where,shared_mid=1,full=fail" 20000 3000
        is "$where: or refused" "! $(wc -c <"$TMP/err") && $(stat_of mid_spills) == 0 &&
            $(sed -n 's/^blocks \([0-9]*\) .*/\1/p' "$TMP/out") > 8000 &&
            $(sed -n 's/^blocks \([0-9]*\) .*/\1/p' "$TMP/out") < 10500"
    done
    mid "mid=file:$TMP/mid,shared_mid=1,cap=4M,full=fail" 20000 3000
    is 'a cap below the size of the file' \
        "$(sed -n 's/^blocks \([0-9]*\) .*/\1/p' "$TMP/out") < 1400"
    is 'all of the file is allocated' "$(stat -c %b "$TMP/mid") * 512 >= 32 << 20"
}

# A program that another one starts has the same options, and must not get the same memory.
run_inherited()
{
    truncate -s 32M "$TMP/mid"
    exec 9<>"$TMP/mid"
    flock 9
    mid "mid=file:$TMP/mid,shared_mid=1" 100 3000
    exec 9>&-
    says 'a file that somebody else has' 'is in use by another process: near memory is used'
}

# ---- far memory is not touched ------------------------------------------------------------

# The program of the guests: after a warm-up no one may touch the windows of Mid.
run_untouched()
{
    local where
    truncate -s 32M "$TMP/mid"
    if ! bare "${CC:-gcc}" -std=gnu17 -g -Iinclude -o "$TMP/window" tests/vm/guest_window.c; then
        bad 'guest_window.c builds' "$TMP/err"
        return
    fi
    for where in near,header=shadow near,delay=1 memfd,cap=32M,shared_mid=1 \
        "file:$TMP/mid,shared_mid=1"; do
        OPTIONS="mid=$where" verdict "${where/"$TMP"\//}: 100000 pairs touch no far line" \
            "$TMP/window" clean 100000
    done
    for where in near memfd,cap=32M,shared_mid=1,header=inband; do
        OPTIONS="mid=$where" verdict "$where: words in front of the blocks are touched" \
            "$TMP/window" faults 100000
    done
}

# ---- README.md ------------------------------------------------------------------------------

# The first program of the section: it compiles, and does what the text says of it.
run_readme()
{
    local status
    awk '/^## /{ on = $0 == "## Regions" } on && /^```$/ { exit } code { print }
        on && /^```c$/ { code = 1 }' README.md >"$TMP/readme.c"
    is 'README.md: a program of at most 20 lines' "$(wc -l <"$TMP/readme.c") > 9 &&
        $(wc -l <"$TMP/readme.c") <= 20"
    if ! bare "${CC:-gcc}" -std=c11 -Wall -Wextra -Wpedantic -Werror -Iinclude -o "$TMP/readme" \
        "$TMP/readme.c" "$SO" -Wl,-rpath,"$BUILD"; then
        bad 'README.md: the program compiles' "$TMP/err"
        return
    fi
    bare "$TMP/readme"
    is 'README.md: it runs on a memfd' \
        "$? == 0 && $(grep -c '^memfd: 64 MiB, lent 2 MiB at 0x[1-9a-f]' "$TMP/out") == 1"
    bare "$TMP/readme" "file:$TMP/readme.pool"
    is 'README.md: on a file, which stays' \
        "$? == 0 && $(stat -c %s "$TMP/readme.pool") == 64 << 20"
    bare "$TMP/readme" "file:$TMP/readme.pool"
    status=$?
    is 'README.md: a second time it is told what is there' \
        "$status == 1 && $(grep -c 'there is a region in it already' "$TMP/err") == 1"
}

run_sources
run_refused
run_shared
run_inherited
run_untouched
run_readme
finish
