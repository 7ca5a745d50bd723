#!/usr/bin/env bash
# measure_compare.sh - bench/compare's sweeps, several results, memory over time and pictures;
# bench/plot; bench/report, whose figures are canned here.
set -u
. "$(dirname "$0")/lib_measuring.sh"

COMPARE=bench/compare
GAP=$BUILD/bench/bench_mid_mt_gap
ROWS=$TMP/rows.csv
need "$SO" "$GAP"
HAVE_GNUPLOT=1
command -v gnuplot >/dev/null || HAVE_GNUPLOT=0

# bench NAME: a made-up bench, its text from standard input. It sets M, its speed, C, its case,
# perhaps PEAK (KiB), and calls `result`.
bench()
{
    {
        cat <<'EOT'
result()
{
    printf '{"bench":"b","case":"%s","mops_per_s":%s,"mops_per_cpu_s":%s,"wall_s":1,' $C $M $M
    printf '"cpu_s":1,"peak_rss_kib":%d,"final_rss_kib":1,"invol_switches":0,' ${PEAK:-2048}
    printf '"checksum":"%s"}\n' $C
}
EOT
        cat
    } | fake "$1"
}

idle_library()
{
    "${CC:-gcc}" -w -shared -fPIC -x c -o "$TMP/idle.so" - <<<'int idle_allocator;'
}

# ---- bench/compare ------------------------------------------------------------------------

test_sweep()
{
    expect 'a sweep gives a table for each value' 0 out '--sizes 64: medians of the runs, 2' \
        "$COMPARE" --rounds 2 --allocs glibc,tidepool --sweep sizes=64,4K --csv "$ROWS" \
        --json "$TMP/rows.json" -- "$GAP" --ops 5k
    has 'the second one too' '--sizes 4K: medians'
    same 'all values run in every round, by turns' '64 64 4K 4K 64 64 4K 4K' \
        "$(column sizes "$ROWS")"
    same 'and begin with different allocators' 'glibc tidepool tidepool glibc' \
        "$(column allocator "$ROWS" | cut -d' ' -f1-4)"
    same 'the JSON has both points' 2 "$(grep -o '"point":"' "$TMP/rows.json" | wc -l)"
    bench crash <<'EOT'
[[ "$LD_PRELOAD $*" != *idle*"slots 2"* ]] || kill -SEGV $$
M=1 C=c
result
EOT
    expect 'a crash at one value' 1 err 'idle.so: round 1, slots 2, killed by SIGSEGV' \
        "$COMPARE" --rounds 2 --allocs glibc --so "$TMP/idle.so" --sweep slots=1,2,3 \
        --csv "$ROWS" -- "$TMP/bin/crash"
    has 'is in the summary' '^failed: idle.so: round 1, slots 2, killed by SIGSEGV'
    same 'the other values are measured' '1 3 1 3' \
        "$(column slots <(grep -e idle -e round "$ROWS"))"
    same 'and the other allocator at all of them' '1 2 3 1 2 3' \
        "$(column slots <(grep -e glibc -e round "$ROWS"))"
}

test_results()
{
    bench two <<'EOT'
C=up M=5
result
C=down M=$((N + 7))
result
EOT
    expect 'several results of one run' 0 out 'two up: medians of the runs' \
        "$COMPARE" --rounds 3 --allocs glibc --csv "$ROWS" -- "$TMP/bin/two"
    has 'have a table each, with their own median' '^glibc  *8.00  *7.0..9.0 '
    same 'and a column in the CSV' 'up down up down up down' "$(column case "$ROWS")"
    # In turn glibc, idle.so, idle.so, glibc: glibc has 20 and 40, idle.so 10 and 21.
    bench near <<'EOT'
V=(20 10 21 40) C=c
M=${V[N]}
result
EOT
    expect 'what is within the spread of the best is told' 0 out \
        '^within the spread of the best, glibc: idle.so' "$COMPARE" --rounds 2 \
        --allocs glibc --so "$TMP/idle.so" -- "$TMP/bin/near"
    bench far <<'EOT'
V=(20 10 19 40) C=c
M=${V[N]}
result
EOT
    run "$COMPARE" --rounds 2 --allocs glibc --so "$TMP/idle.so" -- "$TMP/bin/far"
    same 'and what is not is not' 0 "$(grep -c 'within the spread' "$TMP/out")"
}

test_metric()
{
    bench figures <<'EOT'
M=1
for C in a b; do
    result | sed "s/}/,\"idle_rss_kib\":$((40 - 10 * N)),\"rows_per_s\":$((N + 1)),\"o\":\"x\"}/"
done
EOT
    expect 'another figure is compared' 0 out 'idle_rss_kib .* x best *(less is better)' \
        "$COMPARE" --rounds 1 --allocs glibc --so "$TMP/idle.so" --metric idle_rss_kib \
        --csv "$ROWS" --json "$TMP/rows.json" -- "$TMP/bin/figures"
    has 'less is better' '^idle.so  *30  *30..30  *1.000\*'
    has 'the others have their ratio' '^glibc  *40  *40..40  *1.333 $'
    same 'it is a column of the CSV' '40 40 30 30' "$(column idle_rss_kib "$ROWS")"
    has 'and in the JSON' '"idle_rss_kib":{"median":40,' "$TMP/rows.json"
    has 'which names it' '"metric":"idle_rss_kib","best":"idle.so"' "$TMP/rows.json"
    rm "$TMP/figures.runs"
    expect 'of a rate more is better' 0 out '^idle.so  *2 .* 1.000\*' "$COMPARE" --rounds 1 \
        --allocs glibc --so "$TMP/idle.so" --metric rows_per_s -- "$TMP/bin/figures"
    expect 'an unknown figure is refused with those that there are' 2 err \
        "no figure 'speed' in its JSON, which has: cpu_s final_rss_kib idle_rss_kib invol_sw" \
        "$COMPARE" --allocs glibc --metric speed -- "$TMP/bin/figures"
    expect 'so is one that is no number' 2 err "no figure 'o' in" \
        "$COMPARE" --allocs glibc --metric o -- "$TMP/bin/figures"
    expect 'and what is no key' 2 err "'a b' is no key" "$COMPARE" --metric 'a b' -- "$GAP"
    bench lacking <<'EOT'
M=1 C=c
result | sed "s/}/,\"f$N\":1}/"
EOT
    expect 'a figure that only some have fails' 1 err "idle.so: round 1: no figure 'f0' in" \
        "$COMPARE" --rounds 1 --allocs glibc --so "$TMP/idle.so" --metric f0 -- "$TMP/bin/lacking"
    has 'the results are kept' '^glibc  *1 '
}

test_tide()
{
    expect 'tidepool with other options' 0 out '^tidepool:tiny_max=1023+cache=1M  *[0-9]' \
        "$COMPARE" --rounds 1 --allocs tidepool --tide tiny_max=1023,cache=1M --csv "$ROWS" -- \
        "$GAP" --ops 5k --sizes 1024
    expect 'its options hold for it' 0 out '^tidepool:tiny_max=1023 ' \
        "$COMPARE" --rounds 1 --allocs glibc --tide tiny_max=1023 --expect-mix mid=100 -- \
        "$GAP" --ops 5k --sizes 1024
    expect 'and for nobody else' 1 err 'tidepool: .*mid served 0.00 %' "$COMPARE" --rounds 1 \
        --allocs tidepool --tide tiny_max=1023 --expect-mix mid=100 -- \
        "$GAP" --ops 5k --sizes 1024
    expect 'an option that it does not know is told' 1 err "unknown option 'colour'" "$COMPARE" \
        --rounds 1 --allocs glibc --tide colour=red -- "$GAP" --ops 5k
    has 'the results are kept' '^glibc '
    expect 'refuses no options' 2 err "'' is no list" "$COMPARE" --tide '' -- "$GAP"
    expect 'refuses the same ones twice' 2 err 'tidepool:cache=1M is given twice' "$COMPARE" \
        --tide cache=1M --tide cache=1M -- "$GAP"
}

# Rounds go on until the next one does not fit.
test_seconds()
{
    bench naps <<'EOT'
M=1 C=c
sleep 0.5
result
EOT
    expect 'three rounds are the least' 0 out 'medians of the runs, 3 ' "$COMPARE" --seconds 1 \
        --allocs glibc -- "$TMP/bin/naps"
    rm "$TMP/naps.runs"
    run "$COMPARE" --seconds 4 --allocs glibc -- "$TMP/bin/naps"
    same 'as many as fit, at most' 1 "$(($(cat "$TMP/naps.runs") <= 8 &&
        $(cat "$TMP/naps.runs") >= 3))"
    expect 'and no more than are wanted' 0 out 'medians of the runs, 2 ' "$COMPARE" --seconds 60 \
        --rounds 2 --allocs glibc -- "$TMP/bin/naps"
    bench dead <<<'exit 9'
    TEST_SECONDS=60 expect 'it ends when nobody is left' 1 err 'exit status 9' "$COMPARE" \
        --seconds 1000 --allocs glibc -- "$TMP/bin/dead"
    same 'who failed did not run again' 1 "$(cat "$TMP/dead.runs")"
}

# The samples of one allocator, times in order.
test_memory()
{
    # While it is watched it goes on until it has been seen four times.
    bench sleeper <<EOT
M=1 C=c
who=glibc
[[ \$LD_PRELOAD != *idle* ]] || who=idle.so
for ((i = 0; i < 300; i++)); do
    [[ \$* != *--json* ]] && ((\$(grep -c "^\$who," '$TMP/memory.csv') < 4)) || break
    sleep 0.1
done
result
EOT
    expect 'memory over time is watched' 0 "$TMP/memory.csv" '^allocator,time_s,rss_kib' \
        "$COMPARE" --rounds 1 --allocs glibc --so "$TMP/idle.so" --memory "$TMP/memory.csv" -- \
        "$TMP/bin/sleeper"
    same 'of every allocator, more than once, upwards in time' 'glibc idle.so' "$(awk -F, '
        NR > 1 { if (++n[$1] == 1) last = -1; if ($2 <= last || $3 <= 0) print "bad " $0
            last = $2; if (n[$1] == 4) printf "%s%s", out++ ? " " : "", $1 }' "$TMP/memory.csv")"
    bench watched <<'EOT'
M=1 C=c
[[ " $* " == *" --json "* ]] || exit 9
result
EOT
    expect 'a run that fails while it is watched is told' 1 err 'memory over time: exit status 9' \
        "$COMPARE" --rounds 1 --allocs glibc --memory "$TMP/memory.csv" -- "$TMP/bin/watched"
    has 'the results are kept' '^glibc  *1.00'
}

test_pictures()
{
    path_without gnuplot
    expect 'without gnuplot it ends before the first run' 2 err 'install the package gnuplot-nox' \
        env PATH="$BARE_PATH" "$COMPARE" --plot "$TMP/plot" -- "$GAP"
    fake gnuplot <<<'echo "line 3: bad" >&2; exit 1'
    PATH=$TMP/bin:$PATH expect 'a gnuplot that fails is told, the results are kept' 1 out \
        '^glibc ' "$COMPARE" --rounds 1 --allocs glibc --plot "$TMP/plot" -- "$GAP" --ops 1k
    has 'with its words' 'gnuplot could not draw .*speed: line 3: bad' err
    rm "$TMP/bin/gnuplot"
    if ((!HAVE_GNUPLOT)); then
        skip 'pictures' 'package gnuplot-nox is not installed'
        return
    fi
    expect 'a sweep is drawn' 0 "$TMP/plot/speed.svg" '>tidepool<' "$COMPARE" --rounds 2 \
        --allocs glibc,tidepool --sweep sizes=64,4K --plot "$TMP/plot" -- "$GAP" --ops 5k
    has 'with its values' '>4K<' "$TMP/plot/speed.svg"
    same 'also as PNG' "$(printf '\211PNG')" "$(head -c 4 "$TMP/plot/speed.png")"
    has 'and memory over time' '>resident memory in MiB<' "$TMP/plot/memory.svg"
    has 'the data can be drawn again' '^EOD' "$TMP/plot/speed.gp"
}

test_input()
{
    local sweep
    for sweep in sizes sizes= =1 'sizes=1,,2' 'sizes=1 2' '--sizes=1'; do
        expect "refuses --sweep '$sweep'" 2 err 'is not FLAG=VALUE' "$COMPARE" --sweep "$sweep" -- \
            "$GAP"
    done
    expect 'refuses a memory file that cannot be written' 2 err 'cannot write' "$COMPARE" \
        --memory "$TMP/absent/m.csv" -- "$GAP"
    printf '%s\t' a 1 2 1 3 >"$TMP/data"
    expect 'bench/plot refuses an unknown kind' 2 err "'pie' is no kind" bench/plot pie \
        "$TMP/data" "$TMP/p"
    if ((HAVE_GNUPLOT)); then
        : >"$TMP/nothing"
        expect 'bench/plot refuses no data' 2 err 'no data' bench/plot bars "$TMP/nothing" \
            "$TMP/p"
        expect 'bench/plot draws bars' 0 "$TMP/p.svg" ">it's &lt;b><" bench/plot bars \
            "$TMP/data" "$TMP/p" --title "it's <b>"
    fi
}

# ---- bench/report -------------------------------------------------------------------------

# A build directory with benches that print canned results.
plant_build()
{
    PLANTED=$TMP/build
    mkdir -p "$PLANTED/bench"
    cp "$TMP/idle.so" "$PLANTED/libtidepool.so"
    bench planted <<'EOT'
M=10 C=c
[[ $LD_PRELOAD != *tidepool* ]] || M=20 PEAK=3072
[[ "$LD_PRELOAD $*" != *tidepool*"threads 8"* ]] || exit 5
result
EOT
    cp "$TMP/bin/planted" "$PLANTED/bench/bench_mid_mt_gap"
    bench planted <<'EOT'
M=1 C=c
sleep 0.2
result
EOT
    cp "$TMP/bin/planted" "$PLANTED/bench/bench_frag"
}

# report NAME STATUS FILE PATTERN OPTION...
report()
{
    expect "${@:1:4}" env BUILD="$PLANTED" COMPARE_LIBDIRS="$TMP" \
        PATH="${REPORT_PATH:-$PATH}" bench/report --rounds 2 --ops 1000 "${@:5}"
}

test_report()
{
    local page=$TMP/build/bench/report/report.md
    plant_build
    path_without gnuplot
    REPORT_PATH=$BARE_PATH report 'a report of a failing run' 1 "$page" '^## Memory over time'
    has 'the best of a column is bold, with its spread and ratio' \
        '^| tidepool .* | \*\*20\*\* (20..20) 1.00 |' "$page"
    has 'the other has its ratio' '^| glibc .* | 10 (10..10) 0.50 |' "$page"
    has 'a failed point stands in the table' '^| tidepool .* failed |$' "$page"
    has 'and below it' '^\* failed: tidepool: round 1, threads 8, exit status 5' "$page"
    has 'a missing allocator is named' 'not installed: jemalloc (package libjemalloc2)' "$page"
    has 'so are missing pictures' 'No pictures: gnuplot is not installed' "$page"
    has 'few rounds are called rough' '^Rough: only 2 rounds; more BENCH_SECONDS' "$page"
    has 'every table has its command' '^    bench/compare --rounds 2 --sweep threads=1,2' "$page"
    has 'the machine is described' '^| processor | .* usable |' "$page"
    has 'peaks are in MiB, the leanest is the best' '^| glibc | \*\*2\*\* 1.00 |' "$page"
    has 'the others have their ratio' '^| tidepool | 3 1.50 |' "$page"
    has 'memory over time has a table' '^| allocator | peak MiB | mean MiB' "$page"
    rm "$PLANTED/bench/bench_frag"
    report 'a bench that is not built is named' 1 "$page" '^\* chapter memory: bench_frag is not' \
        --chapters memory
}

test_report_pictures()
{
    local dir=$TMP/page
    ((HAVE_GNUPLOT)) || return
    report 'a report with pictures' 0 "$dir/report.md" '^!\[Speed by block size\](size.svg)' \
        --chapters size --out "$dir"
    has 'the picture is there' '>64K<' "$dir/size.svg"
    same 'also as PNG' "$(printf '\211PNG')" "$(head -c 4 "$dir/size.png")"
}

# It finds out by itself how many operations and rounds there is time for.
test_report_time()
{
    local page=$TMP/timed/report.md words
    bench planted <<'EOT'
M=1 C=c
result | sed 's/"wall_s":1/"wall_s":0.0031/'
EOT
    cp "$TMP/bin/planted" "$PLANTED/bench/bench_mid_mt_gap"
    expect 'a report in a given time' 0 "$page" 'shortest run was timed for 3 ms; more BENCH_S' \
        env BUILD="$PLANTED" PATH="$BARE_PATH" BENCH_SECONDS=3 bench/report --allocs glibc \
        --chapters threads --out "$TMP/timed"
    words=$(grep -o -m 1 -e '--seconds [0-9]* .*--ops [0-9]*' "$page")
    within 'the rounds have no more time than that' 1 3 "${words#*--seconds }"
    within 'operations are at least what a clock can tell' 200000 1000000000 "${words##*--ops }"
    same 'the page tells how many rounds there were' 1 \
        "$(grep -cE '^([3-9]|[1-9][0-9]+) rounds\.$' "$page")"
}

# within NAME LOW HIGH TEXT: the number that the text begins with.
within()
{
    local number=${4%%[!0-9]*}
    same "$1" 1 "$((${number:-0} >= $2 && ${number:-0} <= $3))"
}

# The second chapter never ends; the first one must be in the page.
test_report_interruption()
{
    local dir=$TMP/stopped
    bench planted <<EOT
[[ "\$*" != *--threads* ]] || { echo \$\$ >'$TMP/hanging.pid'; exec sleep 60; }
M=1 C=c
result
EOT
    cp "$TMP/bin/planted" "$PLANTED/bench/bench_mid_mt_gap"
    interrupted 'a signal in the second chapter' "$TMP/hanging.pid" env BUILD="$PLANTED" \
        PATH="$BARE_PATH" bench/report --rounds 1 --ops 9 --allocs glibc --out "$dir"
    has 'the chapters so far are in the page' '^| glibc | \*\*1\*\* (1..1) 1.00' "$dir/report.md"
    has 'it says that others are missing' '^\* interrupted: chapters are missing' "$dir/report.md"
}

test_report_input()
{
    expect 'report refuses an unknown chapter' 2 err "no chapter 'all'" bench/report \
        --chapters all
    expect 'report refuses zero seconds' 2 err 'not within' bench/report --seconds 0
    expect 'report refuses an empty list of chapters' 2 err 'chapters: empty list' bench/report \
        --chapters ''
    expect 'no number begins with a nought: the shell takes it for an octal one' 2 err \
        "'010' is not a whole number" bench/report --rounds 010
    expect 'report refuses an unknown option' 2 err "unknown option '--bogus'" bench/report \
        --bogus 1
    report 'report refuses what compare refuses' 2 err "'hoard' is none of" --allocs hoard \
        --chapters size --out "$TMP/refused"
    same 'before anything is done' no "$([[ -e $TMP/refused ]] && echo yes || echo no)"
    report 'so with no allocators' 2 err 'allocs: empty list' --allocs ''
    report 'and with an object that is not there' 2 err 'cannot read' --so "$TMP/nowhere.so"
    expect 'report --help tells the exit status' 0 out 'Exit status: 0, 1 something failed' \
        bench/report --help
}

idle_library
test_sweep
test_results
test_metric
test_tide
test_seconds
test_memory
test_pictures
test_input
test_report
test_report_pictures
test_report_time
test_report_interruption
test_report_input
finish
