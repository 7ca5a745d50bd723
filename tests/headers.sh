#!/usr/bin/env bash
# headers.sh - each public header compiles alone, as C and as C++, with every
# compiler there is, without a warning; so does all of them, twice, in one file.
set -u
. "$(dirname "$0")/lib_prog.sh"

STRICT=(-Wall -Wextra -Wpedantic -pedantic-errors -Wundef -Werror -fsyntax-only -Iinclude)

# compiles NAME COMPILER LANGUAGE STANDARD: $TMP/x must pass.
compiles()
{
    local strict=("${STRICT[@]}")
    [[ $3 == c ]] && strict+=(-Wshadow -Wstrict-prototypes -Wmissing-prototypes)
    if "$2" -x "$3" -std="$4" "${strict[@]}" "$TMP/x" >"$TMP/err" 2>&1; then
        ok "$1 ($2, $4)"
    else
        bad "$1 ($2, $4)" "$TMP/err"
    fi
}

# can COMPILER LANGUAGE STANDARD: it knows that standard.
can()
{
    echo 'int x;' >"$TMP/empty"
    "$1" -x "$2" -std="$3" -fsyntax-only "$TMP/empty" >/dev/null 2>&1
}

# The same header twice, a use of its first name, and nothing else.
alone()
{
    printf '#include <tidepool/%s>\n#include <tidepool/%s>\nint unit_is_not_empty;\n' "$1" "$1"
}

all_names()
{
    cat <<'END'
#include <tidepool/tidepool.h>
int unit_uses(void *p);
int unit_uses(void *p)
{
    struct tide_stats stats;
    struct tide_tier_stats one;
    struct tide_option_info info;
    enum tide_tier tier = TIDE_TIER_MID;
    tide_heap_t *heap = tide_heap_create();
    struct tide_log_options log = TIDE_LOG_OPTIONS;
    size_t size = sizeof stats + sizeof one + sizeof info + sizeof tide_options + log.level;
    void *q = tide_heap_malloc(heap, size);
    tide_free(q);
    tide_free(p);
    tide_heap_destroy(heap);
    return (int)tier + TIDE_VERSION_MAJOR + (int)sizeof TIDE_VERSION_STRING;
}
END
}

each_standard()
{
    local compiler=$1 language=$2 standard header
    for standard in "${@:3}"; do
        if ! can "$compiler" "$language" "$standard"; then
            skip "headers ($compiler, $standard)" 'this compiler does not know it'
            continue
        fi
        for header in include/tidepool/*.h; do
            alone "${header##*/}" >"$TMP/x"
            compiles "${header##*/} alone" "$compiler" "$language" "$standard"
        done
        all_names >"$TMP/x"
        compiles 'all of them' "$compiler" "$language" "$standard"
    done
}

each_compiler()
{
    local compiler
    for compiler in gcc clang; do
        if command -v $compiler >/dev/null; then
            each_standard $compiler c c11 c17
        else
            skip "headers ($compiler)" 'it is not installed'
        fi
    done
    for compiler in g++ clang++; do
        if command -v $compiler >/dev/null; then
            each_standard $compiler c++ c++17
        else
            skip "headers ($compiler)" 'it is not installed'
        fi
    done
}

# A declaration without extern "C" would have a mangled name.
names_are_c()
{
    local object=$TMP/x.o
    if ! command -v g++ >/dev/null; then
        skip 'names are those of C' 'there is no C++ compiler (g++)'
        return
    fi
    all_names >"$TMP/x"
    g++ -x c++ -std=c++17 -Iinclude -c -o "$object" "$TMP/x" 2>"$TMP/err"
    nm -u "$object" >"$TMP/out"
    if grep -q ' tide_free$' "$TMP/out" && ! grep -q '_Z.*tide' "$TMP/out"; then
        ok 'names are those of C'
    else
        bad 'names are those of C' "$TMP/err" "$TMP/out"
    fi
}

# Every function that a header declares is in the library.
every_name_is_there()
{
    need "$SO"
    nm -D --defined-only "$SO" | awk '{print $3}' >"$TMP/there"
    local name
    grep -hv 'static inline' include/tidepool/*.h | grep -oE '\btide_[a-z_]+\(' | tr -d '(' |
        sort -u >"$TMP/names"
    grep -E 'tide_(version|free|heap_create|stats_json|option_set)$' "$TMP/names" >"$TMP/err"
    if (($(wc -l <"$TMP/err") != 5)); then
        bad 'the headers can be read for names' "$TMP/names"
        return
    fi
    while IFS= read -r name; do
        if grep -qx "$name" "$TMP/there"; then
            ok "$name is in the library"
        else
            bad "$name is in the library" "$TMP/there"
        fi
    done <"$TMP/names"
}

each_compiler
names_are_c
every_name_is_there
finish
