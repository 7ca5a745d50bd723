#!/usr/bin/env bash
# measure_mutex_contention.sh - how often clients of the shared log get in each other's way, counted
# inside the library: perf cannot see a lock that never reaches the kernel.
#
#   tools/measure_mutex_contention.sh [OPTION]... [-- BENCH [ARGUMENT]...]
#
#   --runs N       runs (NUM_ITERATIONS, default 5); each has all forms in turn
#   --clients N    threads that append (CLIENTS, default 4), 1 to 64
#   --timeout S    seconds that one run may take (RUN_SECONDS, default 300)
#   --out DIR      where it writes (default build/measure/contention): runs.csv, each run as it
#                  ends; contention.csv, a row for each form
#   --self-test    checks the verdicts
#   --help         this text
#
# The forms: level 4 with one mutex around "is it this client's turn?" and "take the next place",
# level 4 lock-free, and level 5, which has neither. Counted are the times that the mutex, or a
# client's session, was found taken, and compare-and-swaps for room in a ring that were lost.
#
# BENCH is a bench of the log that takes --json; by default bench_log of the build directory (BUILD,
# default build): 4 brokers, messages of 1 KiB in batches of 4 KiB. MESSAGE_SIZE and
# TOTAL_MESSAGE_SIZE (bytes of a round) of the environment change that.
#
# Verdict, by the median for the mutex: below 100 per second the lock-free form is not needed, from
# 100 to 1000 consider it, above 1000 use it.
#
# Exit status: 0 counted; 1 a run failed, or a form was not measured; 2 bad input. After an
# interruption (130 or 143) the runs so far are written and described.
set -u
. "$(dirname "${BASH_SOURCE[0]}")/lib_measure.sh"
. "$HOME_DIR/tools/lib_runs.sh"

RUNS=${NUM_ITERATIONS:-5}
CLIENTS=${CLIENTS:-4}
LIMIT=${RUN_SECONDS:-300}
METRIC=contention_per_s SO=none OUT=$BUILD/measure/contention REQUIRE=''
MORE='contention claim_retries gb_per_s level'

take()
{
    case $1 in
    --runs) RUNS=$2 ;;
    --clients) CLIENTS=$2 ;;
    --timeout) LIMIT=$2 ;;
    --out) OUT=$2 ;;
    esac
}

check_input()
{
    need_number "--clients (CLIENTS)" "$CLIENTS" 1 64
    [[ -z ${ORDER+set} ]] || die "ORDER=$ORDER: the levels are 4 and 5 here; unset ORDER"
    ((${#WORDS[@]} > 0)) || WORDS=("$BUILD/bench/bench_log" --case sessions --sessions both
        --levels "5,4" --threads "$CLIENTS" --rounds 3)
    check_runs "${WORDS[@]}"
}

show()
{
    local status=0
    clear_line
    printf '%s\n' "${BENCH[*]}${LOG_FLAGS+ ${LOG_FLAGS[*]}}"
    statistics contention -v csv="$OUT/contention.csv" "$RESULTS" || status=1
    printf 'written to %s: runs.csv contention.csv\n' "$OUT"
    return $status
}

# ---- self-test ------------------------------------------------------------------------------

# judged NAME STATUS WORDS MUTEX...: runs whose mutex was found taken so often in a second.
judged()
{
    local n=0 value zero='"contention":0,"claim_retries":0'
    rows -v header=1 </dev/null >"$RESULTS"
    for value in "${@:4}"; do
        n=$((n + 1))
        rows -v run_no=$n -v start=0 >>"$RESULTS" <<EOT
{"case":"level=5","level":5,$zero,"contention_per_s":0,"gb_per_s":2}
{"case":"level=4","level":4,$zero,"contention_per_s":9,"gb_per_s":2}
{"case":"level=4 mutex","level":4,$zero,"contention_per_s":$value,"gb_per_s":1}
EOT
    done
    self_ends "$1" "$2" "$3" show
}

self_test()
{
    BENCH=(self-test) OUT=$WORK RESULTS=$WORK/runs.csv
    judged '99.9 a second: not needed' 0 '^verdict: .*99.9.* lock-free form is not needed' 99.9
    judged '100: consider' 0 '^verdict: .* consider the lock-free form' 100
    judged '1000: consider' 0 '^verdict: .* consider the lock-free form' 1000
    judged '1001: use it' 0 '^verdict: .* use the lock-free form' 1001
    judged 'the median counts' 0 '^verdict: .* 50 .* not needed' 9 50 99999
    judged 'no number is no verdict' 1 '^verdict: none' '"09:41:58"'
}

# ------------------------------------------------------------------------------------------

parse_options '--runs --clients --timeout --out --' "$@"
check_input
make_work
trap_signals
run_all
show
