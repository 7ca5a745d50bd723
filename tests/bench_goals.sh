#!/usr/bin/env bash
# bench_goals.sh - bench/goals: its verdicts on canned figures, its rows on real ones.
set -u
. "$(dirname "$0")/lib_measuring.sh"

GOALS=bench/goals
need "$SO" "$BUILD/bench/bench_mid_mt_gap" "$BUILD/bench/bench_remote" "$BUILD/bench/instr_pair"
PLANTED=$TMP/build
ROWS=$TMP/goals.csv

# plant_build: a build directory with a library that is called tidepool, another allocator, and
# benches that print what the file figures says: WHO KEY=VALUE... for glibc, other and tidepool.
plant_build()
{
    local name
    mkdir -p "$PLANTED/bench"
    "${CC:-gcc}" -w -shared -fPIC -x c -o "$PLANTED/libtidepool.so" - <<<'int tide_tier_of;'
    "${CC:-gcc}" -w -shared -fPIC -x c -o "$TMP/other.so" - <<<'int other;'
    fake planted <<EOT
echo "\$*" >>'$TMP/words'
who=glibc
[[ \$LD_PRELOAD != *tidepool* ]] || who=tidepool\${TIDEPOOL_OPTIONS:+:\$TIDEPOOL_OPTIONS}
[[ \$LD_PRELOAD != *other* ]] || who=other
line=\$(grep -m 1 "^\$who " '$TMP/figures') || exit 7
printf '{"case":"c","mops_per_s":1,"wall_s":1,"cpu_s":1,"final_rss_kib":1,"invol_switches":0,'
[[ \$line == *mops_per_cpu_s* ]] || printf '"mops_per_cpu_s":1,'
[[ \$line == *peak_rss_kib* ]] || printf '"peak_rss_kib":2048,'
for word in \${line#* }; do printf '"%s":%s,' "\${word%=*}" "\${word#*=}"; done
echo '"checksum":"0"}'
EOT
    for name in bench_mid_mt_gap bench_frag bench_realloc; do
        cp "$TMP/bin/planted" "$PLANTED/bench/$name"
    done
}

# judged NAME STATUS PATTERN ROWS FIGURES [OPTION...]: what the table says of these figures.
judged()
{
    printf '%s\n' "$5" >"$TMP/figures"
    expect "$1" "$2" out "$3" env BUILD="$PLANTED" "$GOALS" --rounds 1 --rows "$4" \
        --allocs glibc,tidepool --csv "$ROWS" "${@:6}"
}

test_verdicts()
{
    judged 'a goal that is met' 0 \
        '^gap, 1 thread  *tidepool  *12.5  *12.5..12.5  *10 glibc  *1.250 1.25 x best  *met$' \
        '^gap, 1' $'glibc mops_per_cpu_s=10\ntidepool mops_per_cpu_s=12.5'
    has 'so is the one for memory' '^gap, 1 thread: peak KiB .* 1.000 1.05 x + 2 MiB met$'
    has 'both are counted' '^2 of 2 goals are met$'
    has 'the CSV has them' '^"gap, 1 thread",mops_per_cpu_s,tidepool,12.5,12.5,12.5,glibc,10,' \
        "$ROWS"
    judged 'a goal that is missed by a little' 1 '^gap, 1 thread .* 1.249 .* NOT MET$' \
        '^gap, 1' $'glibc mops_per_cpu_s=10\ntidepool mops_per_cpu_s=12.49'
    has 'is counted so' '^1 of 2 goals'
    judged 'the best of the others counts' 1 ' 12 other.so  *1.000 1.25 x best  *NOT MET$' \
        '^gap, 1' $'glibc mops_per_cpu_s=9\nother mops_per_cpu_s=12\ntidepool mops_per_cpu_s=12' \
        --so "$TMP/other.so"
    judged 'a peak may be 5 % and 2 MiB above the leanest' 0 \
        '^gap, 1 thread: peak KiB .* 4198 .* 1.05 x + 2 MiB met$' '^gap, 1' \
        $'glibc mops_per_cpu_s=1\nother peak_rss_kib=9999
tidepool mops_per_cpu_s=2 peak_rss_kib=4198' --so "$TMP/other.so"
    judged 'and not more' 1 '^gap, 1 thread: peak KiB .* 4199 .* NOT MET$' '^gap, 1' \
        $'glibc mops_per_cpu_s=1\ntidepool mops_per_cpu_s=2 peak_rss_kib=4199'
    judged 'a bound holds for ours alone' 0 '^idle memory.* 0.1 .* <= 0.1  *met$' '^idle' \
        $'glibc idle_of_peak=0.01\ntidepool idle_of_peak=0.1'
    judged 'and is missed above it' 1 '^idle memory.* <= 0.1  *NOT MET$' '^idle' \
        $'glibc idle_of_peak=1\ntidepool idle_of_peak=0.101'
    judged 'glibc is left out where the others are meant' 0 \
        '^realloc, 1 block.* 5 other.so  *2.000 2 x others  *met$' '^realloc, 1 b' \
        $'glibc mops_per_cpu_s=99\nother mops_per_cpu_s=5\ntidepool mops_per_cpu_s=10' \
        --so "$TMP/other.so"
    judged 'and the others where glibc is meant' 0 ' 5 glibc  *1.200 1 x glibc  *met$' \
        '^realloc, 64' \
        $'glibc mops_per_cpu_s=5\nother mops_per_cpu_s=50\ntidepool mops_per_cpu_s=6' \
        --so "$TMP/other.so"
}

test_variants()
{
    judged 'every one of ours is judged' 1 '^gap, 1 thread  *tidepool:mid=near+cache=1M .* NOT' \
        '^gap, 1' $'glibc mops_per_cpu_s=10\ntidepool:mid=near,cache=1M,strict=1 mops_per_cpu_s=11
tidepool mops_per_cpu_s=20' --tide mid=near,cache=1M
    has 'by the others, not by the rest of ours' '^gap, 1 thread  *tidepool  .* 2.000 .* met$'
    : >"$TMP/words"
    judged 'operations are scaled' 0 '^gap, 4' '^gap, 4' \
        $'glibc mops_per_cpu_s=1\ntidepool mops_per_cpu_s=2' --scale 10
    has 'in the command' '^--threads 4 --ops 200000 --json --quiet$' "$TMP/words"
    : >"$TMP/words"
    judged 'several rows' 0 '^6 of 6 goals' '^gap, [248]' \
        $'glibc mops_per_cpu_s=1\ntidepool mops_per_cpu_s=2' --rounds 3
    same 'each in its rounds' 18 "$(grep -c . "$TMP/words")"
}

test_failures()
{
    judged 'one that fails is told, the others are judged' 1 '^gap, 1 thread .* 1 glibc .* met$' \
        '^gap, 1' $'glibc mops_per_cpu_s=1\ntidepool mops_per_cpu_s=2' --so "$TMP/other.so"
    has 'with its words' 'other.so: round 1, exit status 7' err
    has 'and once more at the end' '^failed: gap, 1 thread: other.so: round 1, exit status 7'
    judged 'a goal is not met without a figure' 1 '^gap, 1 thread .* NOT MEASURED$' '^gap, 1' \
        'glibc mops_per_cpu_s=1'
    has 'the count says so' '^0 of 2 goals'
    judged 'a goal has no meaning without others' 1 'of 1 goals' '^gap, 1' \
        'tidepool mops_per_cpu_s=2'
    printf '%s\n' 'glibc mops_per_cpu_s=1' 'tidepool mops_per_cpu_s=2' >"$TMP/figures"
    expect 'who is not installed is told, and is a failure' 1 out 'not installed: jemalloc' env \
        BUILD="$PLANTED" COMPARE_LIBDIRS="$TMP" "$GOALS" --rounds 1 --rows '^gap, 1'
}

# of_log NAME STATUS PATTERN RATIO WRITTEN: what the table says of the log's bench, run alone.
of_log()
{
    {
        echo 'case,ratio_to_pipe,ratio_to_pipe_min,ratio_to_pipe_max,written_of_payload'
        echo "batch 1024 in 65536 pipe,1,1,1,0"
        echo "batch 1024 in 65536 level=5,$4,0.5,1.5,$5"
    } >"$TMP/log.csv"
    expect "$1" "$2" out "$3" env BUILD="$PLANTED" "$GOALS" --rounds 3 --rows '^log: b' \
        --allocs glibc,tidepool --csv "$ROWS"
}

test_log()
{
    fake bench_log <<<"echo \"\$LD_PRELOAD \$*\" >>'$TMP/words'
exec cat '$TMP/log.csv'"
    cp "$TMP/bin/bench_log" "$PLANTED/bench/bench_log"
    : >"$TMP/words"
    of_log 'a goal of the log that is met' 0 \
        '^log: batches.* log  *1.2  *0.5..1.5  *-  *>= 1.2  *met$' 1.2 1.1
    has 'and one that is an upper bound' '^log: bytes .* log  *1.1 .* <= 1.1  *met$'
    has 'its rounds are its own' '^ --rounds 3 --case batch .* --ops 400000 --csv --quiet$' \
        "$TMP/words"
    same 'two rows share a run' 1 "$(grep -c . "$TMP/words")"
    of_log 'a lower bound is missed' 1 '^log: batches.* 1.199 .* >= 1.2  *NOT MET$' 1.199 1.1
    of_log 'and an upper one' 1 '^log: bytes .* 1.101 .* <= 1.1  *NOT MET$' 1.2 1.101
    has 'one of two' '^1 of 2 goals'
    cp "$TMP/bin/planted" "$PLANTED/bench/bench_log"
    of_log 'a bench that fails is no goal met' 1 '^log: batches.* NOT MEASURED$' 1 1
}

test_real()
{
    run "$GOALS" --rows growth --seconds 1 --allocs glibc,tidepool
    has 'growth between two threads is that of ours alone' \
        '^producer/consumer, growth  *tidepool  *[01]\.[0-9]*  *[0-9.]*  *-  *<= 1.05 '
    if ! command -v valgrind >/dev/null; then
        skip 'instructions' 'valgrind is not installed'
        return
    fi
    run "$GOALS" --rows '^instructions, (gap|Mid)' --allocs glibc,tidepool
    has 'instructions are counted, not timed' '^instructions, gap  *tidepool  *[0-9.]* .* glibc '
    has 'once for all rows' '^instructions, Mid  *tidepool  *[0-9.]* .* glibc '
}

test_interruption()
{
    printf '%s\n' 'glibc mops_per_cpu_s=1' 'tidepool mops_per_cpu_s=2' >"$TMP/figures"
    fake hanging <<<"echo \$\$ >'$TMP/hanging.pid'; exec sleep 60"
    cp "$TMP/bin/hanging" "$PLANTED/bench/bench_frag"
    interrupted 'a signal in the second row' "$TMP/hanging.pid" env BUILD="$PLANTED" "$GOALS" \
        --rounds 1 --rows '^(gap, 1|idle)' --allocs glibc,tidepool
    has 'the rows so far are counted' '^2 of 2 goals'
}

test_input()
{
    expect 'refuses a pattern without rows' 2 err "no row matches 'nothing'" "$GOALS" --rows nothing
    expect 'refuses a pattern that is none' 2 err 'no regular expression' "$GOALS" --rows '['
    expect 'refuses no rounds' 2 err 'rounds: 0 is not within' "$GOALS" --rounds 0
    expect 'refuses an unknown option' 2 err "unknown option '--bogus'" "$GOALS" --bogus
    expect 'refuses a word' 2 err "'gap' is no option" "$GOALS" gap
    expect 'refuses to compare others alone' 2 err 'nothing to judge' "$GOALS" --allocs glibc
    expect 'refuses a file that cannot be written' 2 err 'cannot write' "$GOALS" \
        --csv "$TMP/absent/x"
    expect 'lists its rows' 0 out '^gap, 1 thread  *mops_per_cpu_s: 1.25 x best' "$GOALS" --list
    expect '--help tells the exit status' 0 out '^Exit status: 0 every goal is met' "$GOALS" --help
}

plant_build
test_verdicts
test_variants
test_failures
test_log
test_real
test_interruption
test_input
finish
