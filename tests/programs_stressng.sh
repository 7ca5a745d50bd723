#!/usr/bin/env bash
# programs_stressng.sh - Debian's stress-ng and its malloc stressor, with verification.
#
# Each block carries its own address; stress-ng looks at it before realloc and free, and
# fails when it changed. A bounded number of operations, so that it ends by itself.
#
# Its workers end by _exit, which leaves no statistics; plug_exitstats.so, preloaded too, has
# _exit write them. Of 2N + 1 processes N are workers; the others start those and wait for
# them, and take few blocks: what they have is what stress-ng takes to start, 400.
set -u
. "$(dirname "$0")/lib_real.sh"

WORKERS=2
PLUG=$PROGS/plug_exitstats.so

# Of what it says, without times and rates: complaints, the end, and whether each
# stressor did as much as it was told.
facts()
{
    awk -v least="$OPS" '
        $1 ~ /^stress-ng:/ { sub(/\[[0-9]+\]/, "[]") }
        /fail:|error:|warn:/ { print; next }
        /successful run completed/ { print "successful"; next }
        $4 == "malloc" && $5 + 0 > 0 { print $4, ($5 + 0 >= least ? "enough" : $5) }'
}

stressor()
{
    local arm=$1 case=$2
    local -a preload=()
    shift 2
    [[ $arm == plain ]] || preload=("LD_PRELOAD=$SO $PLUG")
    "$arm" "$case" env -C "$TMP" "${preload[@]}" stress-ng --malloc "$WORKERS" --malloc-ops "$OPS" \
        --verify --metrics-brief --temp-path "$TMP" "$@"
}

# workers NAME CASE: N processes with much, N + 1 with little, and no other.
workers()
{
    local big small
    table "$2" >"$TMP/table"
    big=$(awk -F'\t' '$2 >= 10000 && $3 >= 1000' "$TMP/table" | wc -l)
    small=$(awk -F'\t' '$2 >= 100 && $2 < 10000 && $3 > 0' "$TMP/table" | wc -l)
    if ((big == WORKERS && small == WORKERS + 1)); then
        ok "$1 ($big workers, $small others)"
    else
        bad "$1: $big workers, $small others" "$TMP/table"
    fi
}

# run_case NAME CASE OPTION...
run_case()
{
    local name=$1 case=$2
    shift 2
    stressor plain "$case" "$@"
    stressor served "$case" "$@"
    same "stress-ng $name: same results" "$case" facts
    if grep -q 'successful run completed' "$TMP/$case".served.{out,err} &&
        cat "$TMP/$case".served.{out,err} | facts | grep -qx 'malloc enough'; then
        ok "stress-ng $name: it verified $OPS operations"
    else
        bad "stress-ng $name: it verified $OPS operations" "$TMP/$case".served.{out,err}
    fi
    workers "stress-ng $name: served" "$case"
}

get stress-ng
need "$SO" "$PLUG"
OPS=100000
run_case 'up to 40 KiB' small --malloc-bytes 40K --malloc-max 4000 --malloc-touch
run_case 'threads' threads --malloc-bytes 16K --malloc-max 3000 --malloc-pthreads 3 \
    --malloc-zerofree
run_case 'up to 300 KiB' large --malloc-bytes 300K --malloc-max 500 --malloc-thresh 64K
finish
