# shellcheck shell=bash
# lib_cases.sh - for scripts whose programs print the verdicts themselves; they
# read lib_prog.sh first.

# cases NAME COMMAND...: passes on the verdicts that the command prints; it must
# print some, say nothing on stderr and end with 0 exactly if all are good.
cases()
{
    local name=$1 status failed
    bare "${@:2}"
    status=$?
    grep -E '^(ok|not ok|skip|#)' "$TMP/out"
    failed=$(grep -c '^not ok' "$TMP/out")
    FAILED=$((FAILED + failed))
    if ((status != 0 && failed == 0)) || ((status == 0 && failed != 0)) || [[ -s $TMP/err ]] ||
        ! grep -qE '^(ok|skip)' "$TMP/out"; then
        bad "$name: ends well (exit $status)" "$TMP/out" "$TMP/err"
    fi
}

# has_static FILE COMPILER: the static library is there.
has_static()
{
    [[ $("$2" -print-file-name="$1") == */* ]]
}
