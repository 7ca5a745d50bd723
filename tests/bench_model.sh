#!/usr/bin/env bash
# bench_model.sh - bench_header and bench_stride: what the model says of itself. Nothing here
# depends on how fast anything was.
set -u
. "$(dirname "$0")/lib_bench.sh"

ARGS=(--ops 2k --slots 3000 --rounds 2 --json --quiet)

# figures KEY CASE ARGUMENT...: a figure of the four ways of a case, on one line.
figures()
{
    bench bench_header --case "$2" "${ARGS[@]}" "${@:3}"
    values "$1" "$TMP/out" | paste -sd' '
}

# above NUMBER NUMBER...: every number is above the first.
# shellcheck disable=SC2317 # called through judge
above()
{
    local least=$1 number
    shift
    for number in "$@"; do
        ((number > least)) || return 1
    done
}

test_header()
{
    local name wrong='' hops more
    # A model whose checks check nothing would make every way equally cheap.
    for name in local-hot local-cold-near-idle local-frozen-far-used local-cold-spin-idle \
        remote-hot remote-cold-far-idle; do
        [[ $(figures catches_double_free $name) == '0 1 1 0' ]] || wrong+=" $name"
    done
    if [[ -z $wrong ]]; then
        ok 'inband and shadow notice a block that is freed twice'
    else
        bad "another way notices a double free, or none:$wrong" "$TMP/err"
    fi
    same 'the ways have their names' 'none inband shadow registry' \
        "$(figures case local-hot | sed 's/local-hot arm=//g')"
    same 'near memory is not delayed' '0 0 0 0' "$(figures far_hops local-cold-near-idle)"
    same 'spin is no chain' '0 0 0 0' "$(figures far_hops local-cold-spin-idle)"
    read -ra hops <<<"$(figures far_hops local-cold-far-idle --far-ns 1)"
    same 'a chain has one line more at least' '1 1 1 1' "${hops[*]}"
    read -ra more <<<"$(figures far_spin_ns local-cold-spin-idle --far-ns 5000)"
    judge 'spin waits for what is not near' above 1000 "${more[@]}"
    ends 'more hops than the model has are refused' 2 err 'cold lines of' \
        bench bench_header --case local-cold-far-idle "${ARGS[@]}" --far-ns 100000
    bench bench_header --case local-hot,remote-hot --ops 2k --rounds 2
    judge 'the table has every way' test "$(grep -cE '^  (none|inband|shadow|registry) ' \
        "$TMP/out")" -eq 8
    same 'two threads that free do twice the work' '8192 8192 8192 8192' \
        "$(figures ops local-cold-near-used --ops 2048 --threads 2)"
    bench bench_header "${ARGS[@]}" --case local-cold-near-used --sizes 1K,2K-32K --slots 40
    same 'blocks of several sizes' 4 "$(wc -l <"$TMP/out")"
}

test_stride()
{
    bench bench_stride --slots 64 --ops 2k --rounds 2 --case small --json --quiet
    same 'the strides' '4096 4128 8192 4160' "$(values stride_bytes "$TMP/out" | paste -sd' ')"
    same 'small pages are small' '0 0 0 0' "$(values huge_kib "$TMP/out" | paste -sd' ')"
    judge 'every way has a price' above 0 "$(values visit_ns "$TMP/out" | tr -d . |
        sed 's/^0*//' | sort -n | head -n 1)"
}

test_header
test_stride
finish
