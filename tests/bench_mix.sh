#!/usr/bin/env bash
# bench_mix.sh - which tier serves a bench, as the library tells for every pointer: what each
# bench claims holds, and a moved border between Tiny and Mid is seen by all of them.
set -u
. "$(dirname "$0")/lib_bench.sh"
export PRELOAD=$SO

# serves NAME "TINY MID LARGE" BENCH ARGUMENT...: the counts of the first result; + is any count
# but 0.
serves()
{
    local counts wanted
    bench "${@:3}" --json --quiet
    counts=$(sed -n '1s/.*"tier_ops":{"none":0,\([a-z0-9":,]*\)}.*/\1/p' "$TMP/out" |
        tr -d 'a-z":' | tr , ' ')
    wanted=^${2//+/[1-9][0-9]*}\$
    if grep -qx "$wanted" <<<"$counts"; then ok "$1"; else bad "$1: $counts" "$TMP/err"; fi
}

# Tiny ends at 1023 instead of 2047.
moved()
{
    OPTIONS=tiny_max=1023 "$@"
}

test_claims()
{
    serves 'bench_mid: all of Mid, of every pointer' '0 4000 0' bench_mid --ops 4k --case all
    serves 'bench_mid: so is the upper half' '0 4000 0' bench_mid --ops 4k --case upper
    serves 'bench_tiny: all of Tiny' '4000 0 0' bench_tiny --ops 4k
    serves 'bench_sets: all of Mid, of two threads' '0 8000 0' \
        bench_sets --ops 4k --slots 9 --threads 2
    serves 'bench_remote: every block of every source' '3000 0 0' \
        bench_remote --case all --threads 3 --ops 1k --sizes 8-2047
    serves 'bench_churn: every block of every thread' '0 0 480' \
        bench_churn --ops 20 --slots 8 --threads 3 --sizes 33K
    serves 'bench_frag: fill is of Mid, refill of Large' '0 25 1' \
        bench_frag --bytes 100K --free 90 --sizes 4K --other-sizes 90K --pause 0
    serves 'bench_realloc: growth goes through all tiers' '+ + +' \
        bench_realloc --case small --slots 1 --ops 36 --sizes 16-128K
    PRELOAD=$SO bench bench_start --ops 1 --sizes 100,2047-2048,40K --json --quiet
    same 'bench_start: what the probe was given' '{"none":0,"tiny":3,"mid":1,"large":2}}' \
        "$(tail -n 1 "$TMP/out" | sed 's/.*"tier_ops"://')"
    for name in bench_header bench_stride; do
        read -ra args <<<"$(small $name)"
        bench $name "${args[@]}" --json --quiet
        same "$name asks no allocator" null "$(values tier_ops "$TMP/out" | sort -u)"
    done
}

test_moved_border()
{
    local mix=tiny=33.3,mid=66.7,tolerance=4
    ends 'with tiny_max=1023 bench_tiny is not all of Tiny' 1 err 'tiny served 4[0-9]\..* claimed' \
        moved bench bench_tiny --ops 20k
    ends 'but what is expected then' 0 out 'served by mid .*(5[0-9]\.' \
        moved bench bench_tiny --ops 20k --expect-mix tiny=49.7,mid=50.3,tolerance=2
    ends 'bench_mid with sizes of its own notices it' 1 err 'mid served 100.00 %, claimed were 0' \
        moved bench bench_mid --case all --sizes 1K-2047 --ops 5k --expect-mix tiny=100
    ends 'bench_mid itself does not mind' 0 out 'served by mid *5000 ' \
        moved bench bench_mid --case all --ops 5k
    ends 'bench_remote notices it' 1 err 'claimed were 44.44' \
        moved bench bench_remote --case pair --ops 20k
    ends 'and has a third of Tiny then' 0 out 'served by tiny' \
        moved bench bench_remote --case pair --ops 20k --expect-mix $mix
    ends 'bench_churn notices it' 1 err 'claimed were 44.44' moved bench bench_churn --ops 400
    ends 'and has a third of Tiny then' 0 out 'served by tiny' \
        moved bench bench_churn --ops 400 --expect-mix $mix
    serves 'bench_frag: 1500 bytes are Tiny' '20 0 0' bench_frag --bytes 30000 --free 0 --pause 0 \
        --sizes 1500 --other-sizes 1500
    moved serves 'unless the border is moved' '0 20 0' bench_frag --bytes 30000 --free 0 --pause 0 \
        --sizes 1500 --other-sizes 1500
    serves 'bench_realloc: up to 2047 bytes all is Tiny' '+ 0 0' \
        bench_realloc --case small --slots 1 --ops 41 --sizes 1025-2047
    moved serves 'and all is Mid when the border is moved' '0 + 0' \
        bench_realloc --case small --slots 1 --ops 41 --sizes 1025-2047
    OPTIONS=tiny_max=1023 bench bench_start --ops 1 --sizes 1500 --json --quiet
    judge 'bench_start: the probe sees it too' \
        grep -q '"case":"given".*"tiny":0,"mid":2,' "$TMP/out"
}

# Without the library nothing can be claimed, and nothing is.
test_others()
{
    local name args
    export PRELOAD=
    for name in "${ALLOCATING[@]}"; do
        read -ra args <<<"$(small "$name")"
        ends "$name: no claim without tidepool" 1 err 'this is not tidepool' \
            bench "$name" "${args[@]}" --expect-mix tiny=100
    done
    make_so deaf <<'C'
int tide_tier_of(const void *block) { return (unsigned long)block >> 5 & 1 ? 2 : 0; }
C
    PRELOAD=$TMP/deaf.so
    for name in bench_mid bench_remote bench_churn bench_realloc; do
        read -ra args <<<"$(small "$name")"
        ends "$name: pointers in no tier are noticed" 1 err 'returned pointers are in no tier' \
            bench "$name" "${args[@]}" --sizes 2000-3000
    done
}

test_claims
test_moved_border
test_others
finish
