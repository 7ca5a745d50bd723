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
PRELOAD=''  # what run_limited preloads
SETTINGS='' # its TIDEPOOL_OPTIONS, instead of those of the environment
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

# need_number WHAT VALUE LOW HIGH: a whole number within the bounds, as the shell takes it: 010
# would be eight.
need_number()
{
    [[ $2 =~ ^(0|[1-9][0-9]{0,14})$ ]] || die "$1: '$2' is not a whole number"
    (($2 >= $3 && $2 <= $4)) || die "$1: $2 is not within $3..$4"
}

# parse_options OPTIONS WORD...: the command line. Each of the OPTIONS (between blanks) wants a
# value and goes with it to take(); one that is written with a ! wants none. --help and, if the
# script has self_test(), --self-test are done here. With `--` among the OPTIONS, what stands
# behind -- is set as WORDS. Other words go to operand(), if the script has it.
parse_options()
{
    local valued=" $1 " hint=
    shift
    WORDS=()
    [[ $valued != *' -- '* ]] || hint=' (the command stands behind --)'
    while (($# > 0)); do
        case $1 in
        --help)
            show_help
            exit 0
            ;;
        --self-test)
            declare -F self_test >/dev/null || die "unknown option '$1'; try --help"
            run_self_test
            ;;
        --)
            [[ -n $hint ]] || die "unknown option '--'; try --help"
            (($# > 1)) || die 'nothing stands behind --'
            WORDS=("${@:2}")
            return 0
            ;;
        -*)
            if [[ $valued == *" $1! "* ]]; then
                take "$1"
                shift
                continue
            fi
            [[ $valued == *" $1 "* ]] || die "unknown option '$1'$hint; try --help"
            if (($# < 2)) || [[ $2 == -- ]]; then die "$1 needs a value"; fi
            take "$1" "$2"
            shift
            ;;
        *)
            declare -F operand >/dev/null || die "'$1' is no option$hint; try --help"
            operand "$1"
            ;;
        esac
        shift
    done
}

# ---- self-tests ---------------------------------------------------------------------------

run_self_test()
{
    SELF_BAD=0
    make_work
    self_test
    exit $SELF_BAD
}

# self_verdict NAME TROUBLE [FILE]: trouble is what is wrong, or nothing; the file is shown then.
self_verdict()
{
    if [[ -z $2 ]]; then
        echo "ok - $SELF: $1"
        return 0
    fi
    echo "not ok - $SELF: $1 ($2)"
    [[ -z ${3:-} ]] || sed 's/^/#   /' "$3"
    SELF_BAD=1
}

# self_ends NAME STATUS WORDS COMMAND...: the command ends so, and a line that it prints has the
# words (a pattern).
self_ends()
{
    local status=0 trouble=
    ("${@:4}") >"$WORK/said" 2>&1 || status=$?
    if ((status != $2)) || ! grep -q -e "$3" "$WORK/said"; then
        trouble="status $status, wanted $2 and '$3'"
    fi
    self_verdict "$1" "$trouble" "$WORK/said"
}

# ---- what is measured -------------------------------------------------------------------

# statistics PROGRAM [-v NAME=VALUE]... [FILE]...: an awk program on top of the statistics.
statistics()
{
    awk -f "$STATISTICS" -f "$HOME_DIR/tools/measure/$1.awk" "${@:2}"
}

# is_log: the bench that was chosen is one of the log, which uses no allocator.
is_log()
{
    [[ ${BENCH[0]##*/} == bench_log* ]]
}

# Some setting of the log is in the environment.
has_log_settings()
{
    [[ -n ${ORDER+set}${ACK+set}${MESSAGE_SIZE+set}${TOTAL_MESSAGE_SIZE+set} ]]
}

# The log's settings belong to the log's benches: anywhere else they would be ignored, and a
# figure would be taken for what it is not. ACK: 0 none, 1 ordered.
log_settings()
{
    local name acks=(none ordered)
    LOG_FLAGS=()
    if ! is_log; then
        for name in ORDER ACK MESSAGE_SIZE TOTAL_MESSAGE_SIZE; do
            [[ -z ${!name+set} ]] ||
                die "$name=${!name} is for benches of the log; ${BENCH[0]##*/} is none: unset $name"
        done
        return 0
    fi
    if [[ -n ${ORDER+set} ]]; then
        [[ $ORDER =~ ^[045]$ ]] || die "ORDER: '$ORDER' is none of the levels 0, 4, 5"
        LOG_FLAGS+=(--levels "$ORDER")
    fi
    if [[ -n ${ACK+set} ]]; then
        [[ $ACK =~ ^[01]$ ]] || die "ACK: '$ACK' is neither 0 (none) nor 1 (ordered)"
        LOG_FLAGS+=(--ack "${acks[ACK]}")
    fi
    if [[ -n ${MESSAGE_SIZE+set} ]]; then
        need_number MESSAGE_SIZE "$MESSAGE_SIZE" 8 1073741824
        LOG_FLAGS+=(--sizes "$MESSAGE_SIZE")
    fi
    if [[ -n ${TOTAL_MESSAGE_SIZE+set} ]]; then
        need_number TOTAL_MESSAGE_SIZE "$TOTAL_MESSAGE_SIZE" 1 999999999999999
        LOG_FLAGS+=(--total "$TOTAL_MESSAGE_SIZE")
    fi
}

# choose_bench [WORD...]: sets BENCH to the words. By default the gap bench, long enough to time;
# or, when one of the log's settings is there, the log as its predecessor was set up: 4 brokers,
# level 5, ack ordered, messages of 1 KiB in batches of 1 MiB, for what is not set.
choose_bench()
{
    BENCH=("$@")
    if (($# == 0)); then
        BENCH=("$BUILD/bench/bench_mid_mt_gap" --ops 10M)
        if has_log_settings; then
            BENCH=("$BUILD/bench/bench_log" --case ancestor --rounds 1)
        fi
    fi
    command -v "${BENCH[0]}" >/dev/null || die "${BENCH[0]}: no such program (built already?)"
    log_settings
}

# choose_library FILE|none|'': sets PRELOAD to an absolute path, or to nothing for libc, as for
# the log.
choose_library()
{
    PRELOAD=
    [[ $1 != none ]] || return 0
    if [[ -z $1 ]] && is_log; then return 0; fi
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
    timeout -k 5 "$limit" env ${PRELOAD:+LD_PRELOAD="$PRELOAD"} \
        ${SETTINGS:+TIDEPOOL_OPTIONS="$SETTINGS"} "$@" >"$out" 2>"$err" </dev/null &
    CHILD=$!
    reap
}

# A line that overwrites itself on a terminal, else a line of its own.
progress()
{
    if [[ -t 2 ]]; then printf '\r%s\033[K' "$1" >&2; else printf '%s\n' "$1" >&2; fi
}

clear_line()
{
    [[ ! -t 2 ]] || printf '\r\033[K' >&2
}

# What a signal does: on_signal STATUS, which the script has.
trap_signals()
{
    trap 'on_signal 130' INT
    trap 'on_signal 143' TERM
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
