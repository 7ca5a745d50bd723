#!/usr/bin/env bash
# entry_start.sh - what a process pays for the library at its start, by what is in the file: how
# many mappings it has, what is searched for by name, which pages the start writes. Page faults
# themselves depend on the machine.
set -u
. "$(dirname "$0")/lib_prog.sh"

make -s BUILD="$BUILD" "$SO" >"$TMP/make" 2>&1 || bad 'start: the library' "$TMP/make"

two_mappings()
{
    readelf -lW "$SO" | awk '$1 == "LOAD"' >"$TMP/loads"
    [[ $(wc -l <"$TMP/loads") == 2 ]]
}

# Of what it exports, it searches for the eight operators that a program may replace.
searches()
{
    readelf --dyn-syms -W "$SO" | awk '$7 ~ /^[0-9]+$/ { print $8 }' | sort >"$TMP/has"
    readelf -rW "$SO" | awk '$3 ~ /_(GLOB_DAT|JUMP_SL|JUMP_SLOT|64|ABS64)$/ { print $5 }' |
        sed 's/@.*//' | sort -u | comm -12 - "$TMP/has" >"$TMP/searched"
    sed -n 's/^ *\(_Z[nd][^;]*\);$/\1/p' core/replaceable.map | sort >"$TMP/replaceable"
    [[ $(wc -l <"$TMP/has") -gt 100 ]] && diff "$TMP/replaceable" "$TMP/searched" >"$TMP/diff"
}

# The loader writes the end of the file's last page (there .bss begins), so it is that one.
one_page()
{
    nm "$SO" | awk '
        $3 ~ /^(life_(lock|ready|key)|option_(lock|loaded)|tide_option_values|tide_key)$/ ||
        $3 ~ /^(segment_(mid|cap|retain)|(diag|foreign)_policy|magazine_budget)$/ ||
        $3 ~ /^(tide_lock_forker|tide_counters_on|tide_logapi_drainer)$/ {
            print substr($1, 1, length($1) - 3), $3
        }' >"$TMP/pages"
    readelf -SW "$SO" | sed -n 's/.* \.bss  *NOBITS  *\([0-9a-f]*\)... .*/\1 .bss/p' >>"$TMP/pages"
    [[ $(wc -l <"$TMP/pages") == 17 && $(cut -d' ' -f1 "$TMP/pages" | sort -u | wc -l) == 1 ]]
}

# verdict STATUS NAME FILE
verdict()
{
    if (($1 == 0)); then ok "$2"; else bad "$2" "$3"; fi
}

two_mappings
verdict $? 'start: two mappings' "$TMP/loads"
searches
verdict $? 'start: no search for its own functions' "$TMP/diff"
one_page
verdict $? 'start: all that is written is in one page' "$TMP/pages"
finish
