# shellcheck shell=bash disable=SC2034
# lib_measure.sh - what the measuring scripts of this directory share; read by them, not run.
#
# Sets HOME_DIR (the source tree), BUILD (absolute), WORK (a directory that goes away) and SELF.
# Exit status of every measuring script: 0 done, 1 something failed or is not as it must be,
# 2 bad input or a tool that is not here. Safe under `set -e`, which users may have on.

HOME_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BUILD=${BUILD:-$HOME_DIR/build}
[[ $BUILD == /* ]] || BUILD=$PWD/$BUILD
SELF=${0##*/}
STATISTICS=$HOME_DIR/tools/lib_measure.awk
CHILD=
export LC_ALL=C

say()
{
    printf '%s: %s\n' "$SELF" "$*" >&2
}

die()
{
    say "$*"
    exit 2
}

# The comment at the top of the script is its help.
show_help()
{
    sed -n '2,/^set -u/{/^set -u/d;s/^# \{0,1\}//p}' "$0"
}

# Sets WORK; on_exit, if the script has it, runs first.
make_work()
{
    WORK=$(mktemp -d) || die 'no place for temporary files'
    trap 'if declare -F on_exit >/dev/null; then on_exit; fi; rm -rf "$WORK"' EXIT
}

# need_number WHAT VALUE LOW HIGH: a whole number within the bounds.
need_number()
{
    [[ $2 =~ ^[0-9]{1,15}$ ]] || die "$1: '$2' is not a whole number"
    ((10#$2 >= $3 && 10#$2 <= $4)) || die "$1: $2 is not within $3..$4"
}

# need_value OPTION COUNT: an option that wants a value is followed by one.
need_value()
{
    (($2 >= 2)) || die "$1 needs a value"
}

# statistics PROGRAM [-v NAME=VALUE]... [FILE]...: an awk program on top of the statistics.
statistics()
{
    awk -f "$STATISTICS" -f "$HOME_DIR/tools/measure/$1.awk" "${@:2}"
}

# ---- what is measured -------------------------------------------------------------------

# The log's settings belong to the log's benches: anywhere else they would be ignored, and a
# figure would be taken for what it is not.
log_settings()
{
    local name
    LOG_FLAGS=()
    if [[ ${BENCH[0]##*/} != bench_log* ]]; then
        for name in ORDER ACK MESSAGE_SIZE TOTAL_MESSAGE_SIZE; do
            [[ -z ${!name+set} ]] ||
                die "$name=${!name} is for benches of the log; ${BENCH[0]##*/} is none: unset $name"
        done
        return 0
    fi
    need_number ORDER "${ORDER:-5}" 0 5
    need_number ACK "${ACK:-1}" 0 2
    need_number MESSAGE_SIZE "${MESSAGE_SIZE:-1024}" 1 1073741824
    LOG_FLAGS=(--order "${ORDER:-5}" --ack "${ACK:-1}" --message-size "${MESSAGE_SIZE:-1024}")
    if [[ -n ${TOTAL_MESSAGE_SIZE+set} ]]; then
        need_number TOTAL_MESSAGE_SIZE "$TOTAL_MESSAGE_SIZE" 1 999999999999999
        LOG_FLAGS+=(--total-message-size "$TOTAL_MESSAGE_SIZE")
    fi
}

# choose_bench [WORD...]: sets BENCH to the words, or to the gap bench, long enough to time.
choose_bench()
{
    BENCH=("$@")
    (($# > 0)) || BENCH=("$BUILD/bench/bench_mid_mt_gap" --ops 10M)
    command -v "${BENCH[0]}" >/dev/null || die "${BENCH[0]}: no such program (built already?)"
    log_settings
}

# choose_library FILE|none|'': sets PRELOAD to an absolute path, or to nothing for libc.
choose_library()
{
    PRELOAD=
    [[ $1 != none ]] || return 0
    PRELOAD=${1:-$BUILD/libtidepool.so}
    [[ -f $PRELOAD && -r $PRELOAD ]] || die "$PRELOAD: cannot be read (run make, or --so FILE|none)"
    PRELOAD=$(realpath "$PRELOAD")
    [[ $PRELOAD != *[:,\ ]* ]] || die "$PRELOAD: a path to preload has no colon, comma or space"
}

# ---- one run ------------------------------------------------------------------------------

# run_limited SECONDS OUT ERR COMMAND...: runs it with the library preloaded; sets STATUS.
# In the background, so that a signal to us is acted on at once; see stop_child.
run_limited()
{
    local limit=$1 out=$2 err=$3
    shift 3
    BEGAN=$SECONDS
    timeout -k 5 "$limit" env ${PRELOAD:+LD_PRELOAD="$PRELOAD"} "$@" >"$out" 2>"$err" </dev/null &
    CHILD=$!
    reap
}

# Waits for what runs now; sets STATUS. The shell says nothing when it dies by a signal.
reap()
{
    STATUS=0
    { wait "$CHILD" || STATUS=$?; } 2>/dev/null
    CHILD=
}

# Ends what runs now: timeout hands the signal on to its command.
stop_child()
{
    [[ -n $CHILD ]] || return 0
    kill -TERM "$CHILD" 2>/dev/null || true
    reap
}

# ending STATUS LIMIT ERR: in words how a run ended; nothing if it ended well.
ending()
{
    local last=
    if [[ -s $3 ]]; then last=$(grep -m 1 'cannot be preloaded' "$3") || last=; fi
    if [[ -n $last ]]; then
        printf 'the library does not load: %s' "$last"
        return 0
    fi
    (($1 != 0)) || return 0
    if (($1 == 124 || ($1 == 137 && SECONDS - BEGAN >= $2))); then
        printf 'still running after %s s' "$2"
    elif (($1 > 128)) && kill -l $(($1 - 128)) >/dev/null 2>&1; then
        printf 'killed by SIG%s' "$(kill -l $(($1 - 128)))"
    else
        printf 'exit status %s' "$1"
    fi
    if [[ -s $3 ]]; then last=$(grep -v '^$' "$3" | tail -n 1) || last=; fi
    [[ -z $last ]] || printf ': %s' "$last"
}
