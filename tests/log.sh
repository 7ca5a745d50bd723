#!/usr/bin/env bash
# log.sh - the program in README's section about the log: it is short, compiles without a
# warning, and prints what the section says, whichever library it is linked with.
set -u
. "$(dirname "$0")/lib_prog.sh"

CC=${CC:-gcc}
SECTION=$TMP/section.md
API=$BUILD/libtidepool_api.a
ALL=$BUILD/libtidepool.a
need "$SO" "$API" "$ALL"

# The program, and the words that it is said to print.
read_section()
{
    awk '/^## / { inside = $0 == "## The shared log" } inside' README.md >"$SECTION"
    awk '/^```/ { inside = $0 == "```c"; next } inside' "$SECTION" >"$TMP/program.c"
    # shellcheck disable=SC2016 # a quote of Markdown
    SAID=$(sed -n 's/^It prints `\([^`]*\)`.*/\1/p' "$SECTION")
}

check_length()
{
    local lines
    lines=$(wc -l <"$TMP/program.c")
    if ((lines > 0 && lines <= 20)); then
        ok "the program has at most 20 lines"
    else
        bad "the program has $lines lines, not 1 to 20" "$TMP/program.c"
    fi
}

# runs NAME FLAGS...
runs()
{
    if ! "$CC" -std=gnu11 -Wall -Wextra -Werror -O2 -Iinclude -o "$TMP/program" \
        "$TMP/program.c" "${@:2}" -pthread >"$TMP/make" 2>&1; then
        bad "the program, $1: does not compile" "$TMP/make"
    elif bare "$TMP/program" && [[ -n $SAID && $(<"$TMP/out") == "$SAID" && ! -s $TMP/err ]]; then
        ok "the program, $1: prints what is said"
    else
        bad "the program, $1: prints something else than '$SAID'" "$TMP/out" "$TMP/err"
    fi
}

# Every call that the section names is in the header.
check_names()
{
    local name wrong=''
    while read -r name; do
        grep -q "\b$name\b" include/tidepool/log.h || wrong+=" $name"
    done < <(grep -o 'tide_log[a-z_]*\|TIDE_LOG_[A-Z_]*' "$SECTION" | sort -u)
    if [[ -z $wrong ]]; then
        ok 'what the section names is in the header'
    else
        bad "the section names what the header has not:$wrong"
    fi
}

read_section
check_length
runs 'linked with the functions alone' "$API"
runs 'linked with malloc too' "$ALL"
runs 'linked with the shared library' "$SO" -Wl,-rpath,"$BUILD"
check_names
finish
