#!/usr/bin/env bash
# measure_performance_baseline.sh - a baseline of the shared log: N runs, all that each printed is
# kept, and it is told what went wrong.
#
#   tools/measure_performance_baseline.sh [OPTION]... [-- BENCH [ARGUMENT]...]
#
#   --runs N       runs (NUM_ITERATIONS, default 10)
#   --timeout S    seconds that one run may take (RUN_SECONDS, default 300)
#   --metric KEY   the figure to describe, a key of the bench's JSON (default gb_per_s)
#   --out DIR      where it writes (default build/measure/baseline): run_N.out and run_N.err, what
#                  run N printed; runs.csv, each run as it ends; summary.csv, summary.json
#   --require W    stable or moderate: status 1 if the verdict about the spread is worse
#   --self-test    checks what is called a success
#   --help         this text
#
# BENCH is a bench of the log that takes --json; by default bench_log of the build directory (BUILD,
# default build), set up as its predecessor was: 4 brokers, ORDER 5, ACK 1 (ordered; 0: none),
# MESSAGE_SIZE 1024 in batches of 1 MiB. These settings of the environment, and TOTAL_MESSAGE_SIZE
# (bytes of a round), change that.
#
# A run is a success when it ends well and in time, gives results, and its reader got batches from
# every broker. Reported besides: mean, median, standard deviation and variance of the sample, p95
# and p99 (nearest rank), and the coefficient of variation: below 10 % stable, below 20 %
# moderate, else unstable.
#
# Exit status: 0 every run was a success; 1 some were not, or --require is not met; 2 bad input.
# After an interruption (130 or 143) the runs so far are written and described.
set -u
. "$(dirname "${BASH_SOURCE[0]}")/lib_measure.sh"
. "$HOME_DIR/tools/lib_runs.sh"

RUNS=${NUM_ITERATIONS:-10}
LIMIT=${RUN_SECONDS:-300}
METRIC=gb_per_s SO=none OUT=$BUILD/measure/baseline REQUIRE=''
KEEP=1 BROKERS=1

take()
{
    case $1 in
    --runs) RUNS=$2 ;;
    --timeout) LIMIT=$2 ;;
    --metric) METRIC=$2 ;;
    --out) OUT=$2 ;;
    --require) REQUIRE=$2 ;;
    esac
}

# Runs that went wrong, one a line with the first reason, and the verdict. Status 1: some did.
verdict()
{
    statistics baseline -v runs="$RUNS" "$RESULTS"
}

show()
{
    local status=0
    show_runs || status=1
    verdict || status=1
    printf 'written to %s: run_*.out run_*.err runs.csv summary.csv summary.json\n' "$OUT"
    return $status
}

# ---- self-test ------------------------------------------------------------------------------

# seen LEVEL SEEN: a result of four brokers.
seen()
{
    printf '{"bench":"b","level":%s,"brokers":4,"brokers_seen":%s,"gb_per_s":1}\n' "$1" "$2"
}

# judged NAME STATUS WORDS: what is on standard input, as the output of the one run.
judged()
{
    rows -v header=1 </dev/null >"$RESULTS"
    rows -v run_no=1 -v start=0 >>"$RESULTS"
    self_ends "$1" "$2" "$3" verdict
}

self_test()
{
    RUNS=1 OUT=$WORK RESULTS=$WORK/runs.csv
    judged 'four of four brokers are a success' 0 '^verdict: success' < <(seen -1 0; seen 5 4)
    judged 'three of four are none' 1 'run 1: 3 of 4 brokers seen' < <(seen -1 0; seen 5 3)
    judged 'a bench that does not tell is none' 1 'does not tell' <<<'{"gb_per_s":1}'
    judged 'a time stamp is no result' 1 'no line with a JSON' <<<'09:41:58 {"gb_per_s":58}'
    RUNS=2
    judged 'a run that is missing is none' 1 '^verdict: failure (1 of 2 ' < <(seen 5 4)
}

# ------------------------------------------------------------------------------------------

parse_options '--runs --timeout --metric --out --require --' "$@"
((${#WORDS[@]} > 0)) || WORDS=("$BUILD/bench/bench_log" --case ancestor --rounds 1)
check_runs "${WORDS[@]}"
make_work
trap_signals
run_all
show
