#!/usr/bin/env bash
# instr_written.sh - which lines two threads write on the fast paths: none of the same, and
# none that the other one reads. Recorded by valgrind: every load and store between two marks.
set -u
. "$(dirname "$0")/lib_prog.sh"

PROGRAM=$PROGS/prog_written

# Lines that a thread touches between its marks. $1: address of the marks. Output:
# THREAD KIND LINE COUNT, KIND is w or r. mawk has no hexadecimal numbers: a line is the
# address without its last digit, and that without its two low bits.
lines()
{
    awk -v marks="$1" '
        function line(address, n, last)
        {
            n = length(address)
            last = index("0123456789abcdef", substr(address, n - 1, 1)) - 1
            return substr(address, 1, n - 2) int(last / 4)
        }
        BEGIN { for (i = 0; i < 4; i++) mark[substr(marks, 1, length(marks) - 2) i] = i; on = -1 }
        $1 == "L" || $1 == "S" || $1 == "M" {
            sub(/^0+/, "", $2)
            sub(/,.*/, "", $2)
            at = line($2)
            if (at in mark) {
                on = mark[at] % 2 ? -1 : mark[at] / 2
                next
            }
            if (on < 0)
                next
            if ($1 != "L") count[on " w " at]++
            if ($1 != "S") count[on " r " at]++
        }
        END { for (key in count) print key, count[key] }' "$2"
}

# record MODE: $TMP/lines, OPERATIONS
record()
{
    local marks
    rm -f "$TMP/lines"
    OPERATIONS=
    [[ -p $TMP/pipe ]] || mkfifo "$TMP/pipe"
    grep -v '^I' "$TMP/pipe" >"$TMP/trace" & # the addresses of instructions are most of it
    bare env LD_PRELOAD="$SO" TIDEPOOL_OPTIONS="${OPTIONS:-}" valgrind --tool=lackey \
        --trace-mem=yes --log-file="$TMP/pipe" "$PROGRAM" "$1" || return 1
    wait
    read -r marks OPERATIONS <"$TMP/out" || return 1
    lines "$marks" "$TMP/trace" >"$TMP/lines"
}

# Stores of both threads to lines that both of them write, and the lines that one thread
# writes and the other one reads.
stores_to_common()
{
    awk '$2 == "w" { n[$3]++; sum[$3] += $4 } END { for (l in n) if (n[l] > 1) s += sum[l]
        print s + 0 }' "$TMP/lines"
}

crossed()
{
    awk '$2 == "w" { w[$3] = 1 } { touched[$3] = touched[$3] $1 }
        END { for (l in w) if (touched[l] ~ /0/ && touched[l] ~ /1/) n++
              print n + 0 }' "$TMP/lines"
}

written()
{
    awk -v who="$1" '$1 == who && $2 == "w" { n++ } END { print n + 0 }' "$TMP/lines"
}

# Both threads were recorded at work: their magazines alone are some lines.
recorded()
{
    (($(written 0) >= 15 && $(written 1) >= 15))
}

test_fast()
{
    local name="no shared line on the fast paths${OPTIONS:+, $OPTIONS}"
    if record fast && recorded && (($(crossed) == 0)); then
        ok "$name"
    else
        sort -k3,3 "$TMP/lines" | awk '{ print $1, $2, $3 "xx", $4 }' >"$TMP/seen"
        bad "$name: $(crossed) lines, thread 0 wrote $(written 0)" "$TMP/seen" "$TMP/err"
    fi
}

test_shared()
{
    if record shared && recorded &&
        (($(crossed) == 1 && $(stores_to_common) == 2 * OPERATIONS)); then
        ok 'a counter that both write is seen'
    else
        bad "a counter that both write is seen ($(crossed) lines, $(stores_to_common) stores)"
    fi
}

# Refill and flush of a magazine take shared words: a few stores for a batch of blocks.
test_batches()
{
    local stores
    if record batches && recorded; then
        stores=$(stores_to_common)
        echo "# $stores stores to lines that both threads write, $OPERATIONS blocks each"
        if ((stores > 0 && stores * 8 <= OPERATIONS)); then
            ok 'shared lines are written once per batch'
        else
            bad "shared lines are written once per batch: $stores stores, $OPERATIONS blocks"
        fi
    else
        bad 'shared lines are written once per batch: no record' "$TMP/err"
    fi
}

if ! command -v valgrind >/dev/null; then
    skip 'written lines' 'valgrind is not installed'
    exit 0
fi
need "$SO" "$PROGRAM"
test_fast
OPTIONS=header=shadow test_fast
test_shared
test_batches
finish
