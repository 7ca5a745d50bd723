#!/usr/bin/env bash
# measure_performance_simple.sh - runs a bench N times and says how fast and how steady it is.
#
#   tools/measure_performance_simple.sh [OPTION]... [-- BENCH [ARGUMENT]...]
#
#   --runs N       runs (NUM_ITERATIONS, default 10)
#   --timeout S    seconds that one run may take (RUN_SECONDS, default 300)
#   --so FILE      what is preloaded (default build/libtidepool.so); none: libc's malloc
#   --metric KEY   the figure to describe, a key of the bench's JSON (default mops_per_s, of the
#                  log gb_per_s)
#   --out DIR      where runs.csv, summary.csv and summary.json go (default
#                  build/measure/simple); every run is written as it ends
#   --require W    stable or moderate: status 1 if the verdict is worse
#   --self-test    checks the statistics and the reading of results
#   --help         this text
#
# BENCH is a program that takes --json and --quiet; by default bench_mid_mt_gap --ops 10M of the
# build directory (BUILD, default build). With one of ORDER (0, 4, 5), ACK (0 none, 1 ordered),
# MESSAGE_SIZE and TOTAL_MESSAGE_SIZE (bytes) it is bench_log --case ancestor: 4 brokers, ORDER 5,
# ACK 1, messages of 1024 bytes in batches of 1 MiB, for what is not set. They go to any bench of
# the log, bench_log*, and are refused with any other; those run without --so.
#
# Reported: mean, median, standard deviation and variance of the sample, p95 and p99 (nearest
# rank), and the coefficient of variation: below 10 % stable, below 20 % moderate, else unstable.
#
# Exit status: 0 all runs done; 1 a run failed, or --require is not met; 2 bad input. After an
# interruption (130 or 143) the runs so far are written and described.
set -u
. "$(dirname "${BASH_SOURCE[0]}")/lib_measure.sh"
. "$HOME_DIR/tools/lib_runs.sh"

RUNS=${NUM_ITERATIONS:-10}
LIMIT=${RUN_SECONDS:-300}
METRIC='' SO='' OUT=$BUILD/measure/simple REQUIRE=''

take()
{
    case $1 in
    --runs) RUNS=$2 ;;
    --timeout) LIMIT=$2 ;;
    --so) SO=$2 ;;
    --metric) METRIC=$2 ;;
    --out) OUT=$2 ;;
    --require) REQUIRE=$2 ;;
    esac
}

show()
{
    local status=0
    show_runs || status=1
    printf 'written to %s: runs.csv summary.csv summary.json\n' "$OUT"
    return $status
}

# ---- self-test ------------------------------------------------------------------------------

# self NAME WANT GOT
self()
{
    local trouble=
    [[ $3 == "$2" ]] || trouble="wanted $2, got $3"
    self_verdict "$1" "$trouble"
}

# cell COLUMN CSV: of the first row.
cell()
{
    awk -F, -v want="$1" 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == want) at = i }
        NR == 2 { print $at }' <<<"$2"
}

self_test()
{
    local csv log
    RESULTS=$WORK/runs.csv METRIC=mops_per_s
    printf '%s\n' mops_per_s 2 4 4 4 5 5 7 9 >"$RESULTS"
    csv=$(summarise -v form=csv)
    self 'the mean of 2 4 4 4 5 5 7 9 is 5' 5 "$(cell mean_mops_per_s "$csv")"
    self 'the median is 4.5' 4.5 "$(cell median_mops_per_s "$csv")"
    self 'the variance of the sample is 32/7' 4.57143 \
        "$(cell variance_mops_per_s_squared "$csv")"
    self 'the standard deviation is its root' 2.13809 "$(cell stdev_mops_per_s "$csv")"
    self 'p95 of eight is the largest' 9 "$(cell p95_mops_per_s "$csv")"
    self 'CV 42.8 % is unstable' unstable "$(cell verdict_text "$csv")"
    log=$'2031-07-04 09:41:58 mops_per_s: 58\n09:41:58 {"mops_per_s":58}\n{"mops_per_s":12.5}'
    self 'a time stamp is no result' 12.5 \
        "$(rows -v run_no=1 -v start=0 <<<"$log" | cut -d, -f5)"
}

# ------------------------------------------------------------------------------------------

parse_options '--runs --timeout --so --metric --out --require --' "$@"
check_runs ${WORDS+"${WORDS[@]}"}
make_work
trap_signals
run_all
show
