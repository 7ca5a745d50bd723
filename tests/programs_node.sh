#!/usr/bin/env bash
# programs_node.sh - Debian's node: its threads, workers and children.
#
# programs_node.js says what it does. Its processes end by exit, so each leaves statistics.
# Worker threads are no processes: the same run without them shows what they took.
set -u
. "$(dirname "$0")/lib_real.sh"

THREADS=4

# Debian's libnode reads parts of its JavaScript from /usr/share/nodejs. Those parts that
# lie in ROOT it shall read there: the name becomes a relative one of the same length, and
# node runs in ROOT.
relocate()
{
    local lib part
    local -a edits=()
    [[ -e $ROOT/.relocated ]] && return
    for part in "$ROOT"/usr/share/nodejs/*/; do
        part=$(basename "$part")
        edits+=(-e "s#/usr/share/nodejs/$part/#usr//share/nodejs/$part/#g")
    done
    for lib in "$ROOT"/usr/lib/*/libnode.so.*; do
        [[ -f $lib ]] || continue
        LC_ALL=C sed "${edits[@]}" "$lib" >"$TMP/lib" && mv "$TMP/lib" "$lib" || return
    done
    touch "$ROOT/.relocated"
}

node()
{
    "$1" "$2" env -C "$ROOT" node "$PWD/tests/programs_node.js" "$3"
}

# figures CASE: heaps, blocks and Mid blocks of the process that took most blocks.
figures()
{
    local pid blocks mid heaps
    IFS=$'\t' read -r pid blocks mid _ < <(table "$1" | sort -t $'\t' -k 2,2nr)
    heaps=$(sed -nE 's/.*"heaps":([0-9]+),"parked_heaps":([0-9]+).*/\1+\2/p' \
        "$STATS/stats.$1.$pid")
    echo "$((heaps)) $blocks $mid"
}

# Each worker had a heap of its own, and took as much as a process shall.
judge_workers()
{
    local -a with without
    read -ra with < <(figures work)
    read -ra without < <(figures alone)
    if ((with[0] - without[0] >= THREADS && with[1] - without[1] >= THREADS * 10000 &&
        with[2] - without[2] >= THREADS)); then
        ok "node: workers served ($((with[1] - without[1])) blocks, Mid $((with[2] - without[2])))"
    else
        bad "node: workers served: heaps, blocks, Mid ${with[*]}, without them ${without[*]}"
    fi
}

get nodejs
need "$SO"
relocate
node plain work "$THREADS"
node watched work "$THREADS"
same 'node: buffers, JSON, zlib, crypto, workers, children: equal' work
proof 'node: the process and its children served' work 100000 100 '*/node'
proof_maps 'node: every process had the library' work 5
node served alone 0
judge_workers
finish
