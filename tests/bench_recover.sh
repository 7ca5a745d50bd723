#!/usr/bin/env bash
# bench_recover.sh - bench/recover: its flags, its table and its JSON, and that its figures are of
# what their names say. Nothing here depends on how fast anything was.
set -u
. "$(dirname "$0")/lib_bench.sh"
need "$BUILD/bench/recover"

# few ARGUMENT...: a short run in a small region; its results are in $TMP/out.
few()
{
    bench recover --dir "$TMP" --sizes 16 --rounds 3 --batches 1024,4096 "$@"
}

# The values of a key in the results of the last run, in one line.
of()
{
    values "$1" "$TMP/out" | paste -sd' '
}

# rising KEY...: in no result is a value below that of the key before it.
# shellcheck disable=SC2317 # called through judge
rising()
{
    local key
    for key in "$@"; do
        values "$key" "$TMP/out" >"$TMP/column.$key"
    done
    paste -d' ' "${@/#/$TMP/column.}" | awk -v keys=$# '
        NF != keys { exit 1 }
        { for (i = 2; i <= NF; i++) if ($i + 0 < $(i - 1) + 0) wrong = 1 }
        END { exit wrong || NR == 0 }'
}

test_flags()
{
    local flag missing=''
    bench recover --help
    same 'help ends with 0' 0 $?
    for flag in sizes batches levels rounds dir outage among lanes whole json help; do
        grep -qe "--$flag" "$TMP/out" || missing+=" --$flag"
    done
    same 'the help has every flag' '' "$missing"
    judge 'the help says from when to when the reader waits' \
        grep -q 'from the beginning$' "$TMP/out"
    ends 'an unknown flag is refused' 2 err unrecognized bench recover --bogus
    judge '... with nothing on standard output' test ! -s "$TMP/out"
}

test_table()
{
    few --levels 5
    same 'a line for each size of the batches, with all columns' '12 9 9' \
        "$(awk '{ print NF }' "$TMP/out" | paste -sd' ')"
    few --levels 5 --among
    same '--among has four columns more' '17 13 13' \
        "$(awk '{ print NF }' "$TMP/out" | paste -sd' ')"
}

# json WAY LEVELS: one result for each level and size of the batches.
json()
{
    few --json "${@:3}"
    same "$1: ends well" 0 $?
    judge "$1: every line is JSON" test -z "$(json_lines "$TMP/out" || echo bad)"
    same "$1: levels" "$2" "$(of level)"
    same "$1: its name" "$1" "$(values case "$TMP/out" | sort -u)"
    judge "$1: least, median and most of opening it" rising open_least_ms open_ms open_most_ms
}

test_json()
{
    json killed '0 0 4 4 5 5'
    same 'without --among nobody reads' '' "$(of reader_ms)"
    json outage '4 4 5 5' --outage
    json killed '0 0 4 4 5 5' --whole
    json among '5 5' --among --whole --levels 5
    json lanes '4 4 5 5' --lanes
    json among '0 0 4 4 5 5' --among
    judge '... and of the reader' rising reader_least_ms reader_ms reader_most_ms
    # In each round the batch comes after the repair, and the kill before it.
    judge 'the reader has its batch after the log was opened' rising open_least_ms reader_least_ms
    judge '... in every round' rising open_most_ms reader_most_ms
    judge 'the kill is before that' rising open_ms reader_ms since_kill_ms
    same 'small batches are more' '' \
        "$(paste -d' ' <(values level "$TMP/out") <(values batch_bytes "$TMP/out") \
            <(values batches "$TMP/out") | awk '$1 == 0 { next }
                $2 == 1024 { many = $3 } $2 == 4096 && many < 2 * $3 { print }')"
    same 'the region is gone' '' "$(find "$TMP" -name 'recover.*')"
}

test_flags
test_table
test_json
finish
