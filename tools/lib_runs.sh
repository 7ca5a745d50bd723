# shellcheck shell=bash
# lib_runs.sh - N runs of a bench, each row written as its run ends, and what they say together;
# for measure_performance_*.sh and measure_mutex_contention.sh. Read after lib_measure.sh.
#
# shellcheck disable=SC2153 # STATUS is run_limited's
# The script sets RUNS, LIMIT, METRIC (or '': what the bench is about), SO, OUT and REQUIRE, and
# KEEP=1 to keep the whole output of each run, BROKERS=1 when every broker must be seen.

KEEP='' BROKERS='' MORE=''

# check_runs [BENCH WORD...]: looks at all that, chooses what runs, and begins runs.csv.
check_runs()
{
    need_number "--runs (NUM_ITERATIONS)" "$RUNS" 1 100000
    need_number "--timeout (RUN_SECONDS)" "$LIMIT" 1 1000000
    [[ -z $METRIC || $METRIC =~ ^[A-Za-z_][A-Za-z0-9_.]*$ ]] || die "--metric: '$METRIC' is no key"
    [[ -z $REQUIRE || $REQUIRE == stable || $REQUIRE == moderate ]] ||
        die "--require: '$REQUIRE' is neither stable nor moderate"
    choose_bench "$@"
    choose_library "$SO"
    if [[ -z $METRIC ]] && is_log; then METRIC=gb_per_s; fi
    METRIC=${METRIC:-mops_per_s}
    mkdir -p "$OUT" || die "$OUT: cannot be made"
    [[ -z $KEEP ]] || rm -f "$OUT"/run_*.out "$OUT"/run_*.err
    RESULTS=$OUT/runs.csv
    rows -v header=1 </dev/null >"$RESULTS" || die "$RESULTS: cannot be written"
}

rows()
{
    statistics rows -v metric="$METRIC" -v more="$MORE" -v brokers="$BROKERS" "$@"
}

# The library under test has tiers: then a bench that knows them must find them.
has_tiers()
{
    [[ -n $PRELOAD ]] && grep -q tide_tier_of "$PRELOAD"
}

run_all()
{
    local i start ours=0 words out=$WORK/out err=$WORK/err quiet=(--quiet)
    [[ -z $KEEP ]] || quiet=()
    if has_tiers; then ours=1; fi
    for ((i = 1; i <= RUNS; i += 1)); do
        start=$EPOCHREALTIME
        [[ -z $KEEP ]] || printf -v out '%s/run_%0*d.out' "$OUT" ${#RUNS} "$i"
        [[ -z $KEEP ]] || err=${out%.out}.err
        run_limited "$LIMIT" "$out" "$err" "${BENCH[@]}" --json ${quiet+"${quiet[@]}"} \
            ${LOG_FLAGS+"${LOG_FLAGS[@]}"}
        words=$(ending "$STATUS" "$LIMIT" "$err")
        rows -v run_no="$i" -v start="${start/,/.}" -v ending="${words//\\/\\\\}" -v ours=$ours \
            <"$out" >"$WORK/rows"
        cat "$WORK/rows" >>"$RESULTS"
        progress "$SELF: [$i/$RUNS] $(tail -n 1 "$WORK/rows" | cut -d, -f3-5)"
    done
}

summarise()
{
    statistics summary -v columns="$METRIC" -v group=result_name "$@" "$RESULTS"
}

# Shows what the runs so far gave. Status 1: something failed or is too wide.
show_runs()
{
    local status=0
    clear_line
    printf '%s, %s\n' "${BENCH[*]}${LOG_FLAGS+ ${LOG_FLAGS[*]}}" "${PRELOAD:-libc malloc}"
    summarise -v form=text -v require="$REQUIRE" || status=1
    summarise -v form=csv >"$OUT/summary.csv" 2>/dev/null || true
    summarise -v form=json >"$OUT/summary.json" 2>/dev/null || true
    return $status
}

# on_signal STATUS: keeps what there is.
on_signal()
{
    trap '' INT TERM
    stop_child
    say "interrupted; the runs so far:"
    show || true
    exit "$1"
}
