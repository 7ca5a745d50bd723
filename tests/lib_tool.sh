# shellcheck shell=bash
# lib_tool.sh - for scripts that test the `tidepool` command. Reads lib_prog.sh; sets TOOL, and
# after each run STATUS. "$TMP/out" and "$TMP/err" hold what the last run said.

. "$(dirname "${BASH_SOURCE[0]}")/lib_prog.sh"

TOOL=$BUILD/tidepool
need "$TOOL" "$SO"
unset LD_PRELOAD TIDEPOOL_LIBRARY TIDEPOOL_WARNED TMPDIR
: >"$TMP/out"
: >"$TMP/err"

# run ARGUMENT...: the command, with its output in $TMP/out and $TMP/err; sets STATUS.
run()
{
    bare "$TOOL" "$@"
    STATUS=$?
}

# check NAME CONDITION...: a verdict on the last run, by the test command.
check()
{
    if [ "${@:2}" ]; then ok "$1"; else bad "$1 (exit $STATUS)" "$TMP/out" "$TMP/err"; fi
}

# says NAME STATUS FILE PATTERN: the last run ended so, and out or err has a matching line.
says()
{
    if ((STATUS == $2)) && grep -qE -e "$4" "$TMP/$3"; then
        ok "$1"
    else
        bad "$1 (exit $STATUS, expected $2 and '$4' in $3)" "$TMP/out" "$TMP/err"
    fi
}

# same NAME WANTED GOT
same()
{
    printf 'wanted: %s\ngot:    %s\n' "$2" "$3" >"$TMP/same"
    if [[ $2 == "$3" ]]; then ok "$1"; else bad "$1" "$TMP/same" "$TMP/err"; fi
}

is_json()
{
    if command -v python3 >/dev/null && python3 -c '' 2>/dev/null; then
        python3 -m json.tool "$1" >/dev/null
    else # pairs of brackets, and no member without a comma in front
        [[ $(tr -cd '{[' <"$1" | wc -c) == $(tr -cd '}]' <"$1" | wc -c) ]] &&
            ! grep -A 1 -E '[^,{[]$' "$1" | grep -qE '^ *("|[0-9{[])'
    fi
}

# json NAME: the last run wrote valid JSON and ended with 0.
json()
{
    if ((STATUS == 0)) && is_json "$TMP/out" && [[ ! -s $TMP/err ]]; then
        ok "$1"
    else
        bad "$1 (exit $STATUS)" "$TMP/out" "$TMP/err"
    fi
}

# has NAME LINE...: the last output has these lines one after the other, white space and
# commas at their ends aside.
has()
{
    local name=$1 want
    shift
    want=$(printf '%s\n' "$@")
    if [[ $'\n'$(sed -e 's/^ *//' -e 's/,$//' "$TMP/out")$'\n' == *$'\n'"$want"$'\n'* ]]; then
        ok "$name"
    else
        printf '%s\n' "$want" >"$TMP/want"
        bad "$name" "$TMP/want" "$TMP/out"
    fi
}
