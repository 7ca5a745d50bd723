#!/usr/bin/env bash
# fuzz.sh - the fuzz harnesses of tests/fuzz: they find planted faults, they go through
# the corpus under several options, and they fuzz on from there.
#
# FUZZ_SECONDS: how long the fuzzer of the API runs, default 120; those of the texts run
# beside it. FUZZ_SEED: any number; by default the time. What they find is kept under
# $BUILD/fuzz (see tests/fuzz/lib.sh).
set -u
. "$(dirname "$0")/lib_prog.sh"
. tests/fuzz/lib.sh

LENGTH=${FUZZ_SECONDS:-120}
SEED=${FUZZ_SEED:-$(date +%s)}
for NAME in "${HARNESSES[@]}"; do
    need "$FUZZERS/fuzz_$NAME" "$FUZZERS/replay_$NAME"
done

# planted NAME FAULT PATTERN: the corpus shows what FUZZ_PLANT breaks.
planted()
{
    replay "$1" "$2" '' "$CORPUS/$1"
    if (($? == 134)) && grep -qE "^fuzz: FAIL .*$3" "$TMP/err"; then
        ok "fuzz: $1: the corpus finds a planted fault: $2"
    else
        bad "fuzz: $1: the corpus finds a planted fault: $2" "$TMP/out" "$TMP/err"
    fi
}

# corpus NAME [OPTIONS]
corpus()
{
    local title="fuzz: $1: the corpus${2:+ under $2}"
    if replay "$1" '' "${2:-}" "$CORPUS/$1"; then
        ok "$title ($(sed -n 's/^fuzz: //p' "$TMP/out"))"
    else
        bad "$title (exit $?)" "$TMP/err"
    fi
}

planted api twice 'overlap: new block'
planted api short 'overlap: new block|live bytes|live blocks'
planted api byte 'was overwritten at'
planted api lose 'of [0-9]+ kept bytes'
planted api zero 'is not zero at'
planted api align 'is not aligned to'
planted api tier 'is on tier'
planted api keep 'live (blocks|bytes) of'
planted api errno 'set errno'
planted api null 'NULL for'
planted api books 'live blocks of'
planted api quiet 'misuse: the library says'
planted option value 'tiny_max=1022 gave -22, not 0'
planted option keep "not 'taken'"
planted option told 'but should be'
planted peek blind 'findings in a log that is right'
planted peek write 'was written to'
planted topo list 'should be'
planted topo far 'no far node|nearer'
planted hostile refuse 'a log that nobody changed has'
planted hostile flush 'are flushed, outside the region'
planted hostile behind 'stopped by the sanitizer'
planted hostile beside 'is beside the payload of client'
planted resp lose 'in parts of'
planted resp long 'argument [0-9]+ at|written again'

corpus api
corpus api tiny_max=1023,header=shadow
corpus api cache=16K,retain=0
corpus api mid=near,delay=20
corpus api mid=node:0,full=fail
corpus api mid=node:0,cap=1M
corpus option
corpus peek
corpus topo
corpus resp
corpus hostile

{
    fuzz option $((LENGTH / 4)) "$SEED" '' "$KEPT/option.log"
    echo $? >"$TMP/option"
    fuzz hostile $((LENGTH / 4)) "$SEED" '' "$KEPT/hostile.log"
    echo $? >"$TMP/hostile"
    fuzz peek $((LENGTH / 6)) "$SEED" '' "$KEPT/peek.log"
    echo $? >"$TMP/peek"
    fuzz topo $((LENGTH / 6)) "$SEED" '' "$KEPT/topo.log"
    echo $? >"$TMP/topo"
    fuzz resp $((LENGTH / 6)) "$SEED" '' "$KEPT/resp.log"
    echo $? >"$TMP/resp"
} &
fuzz api "$LENGTH" "$SEED" '' "$KEPT/api.log"
STATUS=$?
wait
fuzz_verdict api "$STATUS" "$KEPT/api.log" "fuzz: api, seed $SEED"
fuzz_verdict option "$(cat "$TMP/option")" "$KEPT/option.log" "fuzz: option, seed $SEED"
fuzz_verdict peek "$(cat "$TMP/peek")" "$KEPT/peek.log" "fuzz: peek, seed $SEED"
fuzz_verdict hostile "$(cat "$TMP/hostile")" "$KEPT/hostile.log" "fuzz: hostile, seed $SEED"
fuzz_verdict topo "$(cat "$TMP/topo")" "$KEPT/topo.log" "fuzz: topo, seed $SEED"
fuzz_verdict resp "$(cat "$TMP/resp")" "$KEPT/resp.log" "fuzz: resp, seed $SEED"
finish
