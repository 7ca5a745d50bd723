# shellcheck shell=bash
# lib_pitfalls.sh - for the scripts whose first argument says which of their verdicts
# are wanted; they read lib_prog.sh first.

WORDS=${1:-}

wanted()
{
    [[ "^$1\$" == *"$WORDS"* ]]
}

# section NAME: some verdict that begins with NAME may be wanted.
section()
{
    [[ $1 == *"$WORDS"* || $WORDS == "$1"* || $WORDS == "^$1"* ]]
}

# try NAME COMMAND...: a verdict, if it is wanted.
try()
{
    ! wanted "$1" || verdict "$@"
}

# conclude NAME STATUS [FILE...]
conclude()
{
    if (($2 == 0)); then
        ok "$1"
    else
        bad "$1" "${@:3}" "$TMP/out" "$TMP/err"
    fi
}

program()
{
    printf '%s' "$PROGS/prog_pitfall_$1"
}
