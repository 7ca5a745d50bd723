# shellcheck shell=bash disable=SC2034
# lib_log.sh - for scripts that test `tidepool log`: small logs in files, a program that uses
# them, damage.

. "$(dirname "${BASH_SOURCE[0]}")/lib_tool.sh"

PROG=$PROGS/prog_logtool
need "$PROG"
LOG=$TMP/log
AT=524288 # of the log in such a region
PID=

# shellcheck disable=SC2317 # the trap calls it
stop_all()
{
    : >"$TMP/go"
    [[ -z $PID ]] || wait "$PID" 2>/dev/null
    rm -rf "$TMP"
}
trap stop_all EXIT

# ---- helpers ---------------------------------------------------------------------------------

# fresh FLAGS...: a small log in $LOG.
fresh()
{
    rm -f "$LOG"
    run log create --payload=4K --slots=16 --readers=4 --clients=4 "$@" "$LOG"
    ((STATUS == 0)) || bad "create $*" "$TMP/out" "$TMP/err"
}

# use ARGUMENT...: the program, to its end.
use()
{
    { LD_PRELOAD=$SO "$PROG" "file:$LOG" "$@" >"$TMP/out" 2>"$TMP/err"; } 2>/dev/null
    STATUS=$?
}

# begin ARGUMENT...: the program, until it is ready; sets PID.
begin()
{
    local i
    rm -f "$TMP/ready" "$TMP/go"
    LD_PRELOAD=$SO "$PROG" "$@" "$TMP/ready" "$TMP/go" >"$TMP/said" 2>&1 &
    PID=$!
    for ((i = 0; i < 600; i++)); do
        [[ -s $TMP/ready ]] && return
        kill -0 "$PID" 2>/dev/null || break
        sleep 0.1
    done
    bad "the program gets ready: $*" "$TMP/said"
}

# end NAME: the program is let go, and must have done all it should.
end()
{
    : >"$TMP/go"
    wait "$PID"
    STATUS=$?
    PID=
    cp "$TMP/said" "$TMP/err"
    check "$1" "$STATUS" -eq 0
}

# figure KEY: the first number or text of that name in the JSON of the last output.
figure()
{
    grep -o "\"$1\": [^,}]*" "$TMP/out" | head -n 1 | sed 's/^[^:]*: //; s/"//g'
}

# word OFFSET [BYTES]: a number of the file.
word()
{
    od -An -t "u${2:-8}" -j "$1" -N "${2:-8}" "$LOG" | tr -d ' '
}

# poke OFFSET VALUE [BYTES]: puts a number there, little-endian.
poke()
{
    local i text='' value=$2
    for ((i = 0; i < ${3:-8}; i++)); do
        text+=$(printf '\\x%02x' $((value & 255)))
        value=$((value >> 8))
    done
    printf "%b" "$text" | dd of="$LOG" bs=1 seek="$1" conv=notrunc 2>/dev/null
}

# part NAME: where a part of the log is in the file, as its head says.
part()
{
    local -A offset=([sessions]=152 [retired]=176 [index]=184 [slots]=192 [payload]=200)
    echo $((AT + $(word $((AT + ${offset[$1]})))))
}

# documented SUBCOMMAND: every member of the last output is in JSON.md.
documented()
{
    local key missing=''
    for key in $(grep -o '"[a-z_]*":' "$TMP/out" | tr -d '":' | sort -u); do
        grep -qw "$key" tools/tidepool/JSON.md || missing+=" $key"
    done
    same "JSON.md documents the members of log $1" '' "$missing"
}

# json_lines NAME COUNT
json_lines()
{
    local line good=0
    while IFS= read -r line; do
        printf '%s\n' "$line" >"$TMP/line"
        is_json "$TMP/line" && good=$((good + 1))
    done <"$TMP/out"
    same "$1" "0 $2 $2" "$STATUS $good $(wc -l <"$TMP/out" | tr -d ' ')"
}

# batches: the positions of the batches in the last output.
batches()
{
    sed -n 's/^batch \([0-9]*\),.*/\1/p' "$TMP/out" | tr '\n' ' ' | sed 's/ $//'
}

# ---- repairs ------------------------------------------------------------------------------------

# shellcheck disable=SC2034 # for the scripts that read this one
STATE=$((4096 + 256)) # of the area for a log: 0 closed, 1 open
# shellcheck disable=SC2034
BOOT=$((4096 + 280))

# told COUNT WORD: the last output has that figure.
told()
{
    check "... $2: $1" "$(sed -n "s/^  $2 *\([0-9]*\) .*/\1/p" "$TMP/out")" = "$1"
}

# mended TITLE KEPT FIGURE...: what a dry run says (it is in $TMP/dry), that it changes nothing, and
# that doing it says the same. A figure is "COUNT WORD".
mended()
{
    local title=$1 kept=$2 figure
    shift 2
    cp "$LOG" "$TMP/before"
    run log repair "$LOG"
    says "$title: would be done" 1 out '^would be done .--yes does it.:$'
    told "$kept" kept
    for figure; do
        # shellcheck disable=SC2086 # two words
        told $figure
    done
    check "... and nothing was" -z "$(cmp "$LOG" "$TMP/before" 2>&1)"
    cp "$TMP/out" "$TMP/dry"
    run log repair --yes "$LOG"
    says "$title: done" 0 out '^done:$'
    same '... all that was said' "$(grep '^  ' "$TMP/dry")" "$(grep '^  ' "$TMP/out")"
}
