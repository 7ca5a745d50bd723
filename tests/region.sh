#!/usr/bin/env bash
# region.sh - regions over every source that a plain machine has, under the preload; and
# malloc's own Mid in a file or memfd, which is refused unless shared_mid=1 says otherwise.
set -u
# shellcheck source=tests/lib_prog.sh
. "$(dirname "$0")/lib_prog.sh"
# shellcheck source=tests/lib_cases.sh
. tests/lib_cases.sh

PROG=${PROGS:?}/prog_region
DEBUG_SO=$BUILD/libtidepool_dbg.so
need "$SO" "$DEBUG_SO" "$PROG"

# ---- regions ---------------------------------------------------------------------------

run_sources()
{
    local library source
    local -a sources=(anon 'near,delay=50' auto memfd 'memfd,delay=50' "file:$TMP/region"
        "file:$TMP/region,delay=50" node:0)
    [[ -w /dev/shm ]] && sources+=("file:/dev/shm/${TMP##*/}")
    for library in "$SO" "$DEBUG_SO"; do
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

run_sources
run_refused
run_shared
run_inherited
finish
