#!/usr/bin/env bash
# bench_peers.sh - every bench runs under every allocator that it is to be compared with, and
# does the same work. Debian's packages: the machine's, or unpacked under $BUILD/deps.
set -u
. "$(dirname "$0")/lib_bench.sh"
. "$(dirname "$0")/lib_peers.sh"

# What all results of a bench did, and their cases: the last word in work.
work_of()
{
    local args
    read -ra args <<<"$(small "$1")"
    bench "$1" "${args[@]}" --json --quiet || echo "status $?"
    json_lines "$TMP/out"
    [[ ! -s $TMP/err ]] || cat "$TMP/err"
    paste -d' ' <(values case "$TMP/out") <(values ops "$TMP/out") <(values checksum "$TMP/out") |
        grep -v '^given '
}

test_peer()
{
    local peer=$1 name object
    if ! object=$(need_peer "$peer"); then
        bad "$peer is not here, and its package cannot be had" "$TMP/unpack"
        return
    fi
    for name in "${ALLOCATING[@]}"; do
        PRELOAD=$object work_of "$name" >"$TMP/work"
        if cmp -s "$TMP/work" "$TMP/glibc.$name"; then
            ok "$name under $peer"
        else
            bad "$name under $peer" "$TMP/work" "$TMP/err"
        fi
    done
}

for name in "${ALLOCATING[@]}"; do
    PRELOAD='' work_of "$name" >"$TMP/glibc.$name"
    judge "$name under glibc" grep -q '[0-9a-f]\{16\}$' "$TMP/glibc.$name"
done
for name in "${PEERS[@]}"; do test_peer "$name"; done
finish
