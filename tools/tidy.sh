#!/usr/bin/env bash
# tools/tidy.sh - the rules of the house that a machine can check.
#
#   tools/tidy.sh [RULE...]    all rules, or those named: layers sizes cards
#                              tests format shell symbols words
#   tools/tidy.sh --format     rewrites the C files into the style of .clang-format
#   tools/tidy.sh --self-test  plants a violation of every rule in a tree of its own
#
# Run it by `make tidy`, which builds what the rules about symbols look at.
# ROOT and BUILD choose other trees; TIDY_NO_FORMAT=1 does without clang-format.
set -u

HOME_DIR=$(cd "$(dirname "$0")/.." && pwd)
ROOT=${ROOT:-$HOME_DIR}
BUILD=${BUILD:-build}
export LC_ALL=C

FILE_LINES=600
FUNCTION_LINES=70
INLINE_LINES=25
HEADER_EXPORTS=12
NAME_LENGTH=32
TEST_NAME_LENGTH=60 # the name of a test is a sentence, and nobody calls it
COLUMNS_MAX=100

# Boxes without a test file of their own, and why.
NO_TEST=(
    'def: constants and arithmetic; every test stands on them'
    'sys: one instruction; vmem and file test what the kernel answers'
    'cpu: one instruction per function; lock and remote test their effect'
    'override: one line per function; tests/entry.sh and tests/cxx.sh call them all'
)

CARD_WORDS=('owns' 'threads' 'invariant' 'uses' 'used by' 'not here' 'test')

# What libtidepool.so may need at run time.
NEEDED='^(libc\.so\.[0-9]+|ld-linux.*|libpthread\.so\.[0-9]+)$'

BAD=0

bad()
{
    printf '%s\n' "$1"
    BAD=$((BAD + 1))
}

# Counts and prints the lines on standard input as violations.
bad_lines()
{
    local text
    while IFS= read -r text; do
        bad "$text"
    done
}

c_files()
{
    find core include bench tests tools -name '*.[ch]' -o -name '*.cc' 2>/dev/null | sort
}

scripts()
{
    local file
    find tools tests bench .ci -type f ! -name '*.[ch]' ! -name '*.cc' 2>/dev/null | sort |
        while IFS= read -r file; do
            [[ $file == *.sh ]] || head -n 1 "$file" | grep -qE '^#!.*\b(bash|sh)$' &&
                printf '%s\n' "$file"
        done
}

# ---- sizes -----------------------------------------------------------------------
# Reads C files; prints `V violation`, `D name` for each function that a header of
# include/ declares, and one line of figures `S text`.
# A function is measured from its brace in column 0 to the closing one.

read -r -d '' MEASURE <<'AWK'
function over(what, n, top) { print "V " FILENAME ":" FNR ": " what ": " n ", at most " top }

# The line without comments; strings become "".
function strip(s,    out, at) {
    out = ""
    while (s != "") {
        if (in_comment) {
            at = index(s, "*/")
            if (!at) return out
            s = substr(s, at + 2)
            in_comment = 0
            continue
        }
        if (!match(s, /"|'|\/\*|\/\//)) return out s
        out = out substr(s, 1, RSTART - 1)
        s = substr(s, RSTART)
        if (s ~ /^\/[\/*]/) commented = 1
        if (substr(s, 1, 2) == "//") return out
        if (substr(s, 1, 2) == "/*") {
            in_comment = 1
            s = substr(s, 3)
        } else {
            if (!match(s, /^"([^"\\]|\\.)*"/) && !match(s, /^'([^'\\]|\\.)*'/)) return out
            s = substr(s, RLENGTH + 1)
            out = out "\"\""
        }
    }
    return out
}

function check_names(s,    name, top) {
    top = FILENAME ~ /^tests\// ? max_test_name : max_name
    while (match(s, /[A-Za-z_][A-Za-z0-9_]*/)) {
        name = substr(s, RSTART, RLENGTH)
        s = substr(s, RSTART + RLENGTH)
        if (length(name) <= top || (FILENAME, name) in seen) continue
        # mangled and reserved names, libc's and the kernel's constants are not ours
        if (name ~ /^(_|atomic_|pthread_)/ || (name ~ /^[A-Z0-9_]+$/ && name !~ /^TIDE_/)) continue
        seen[FILENAME, name] = 1
        over("length of the name " name, length(name), top)
    }
}

# A statement outside all braces, up to its semicolon.
function declare(s) {
    if (s ~ /^[ \t]*(typedef|static|_Static_assert|TIDE_INLINE|struct [a-z_]+ *$|enum|union)/) {
        if (s !~ /\(/ || s !~ /^[ \t]*(struct|enum|union)/) return
    }
    if (s !~ /\(/ || s ~ /=/ || s ~ /^[^(]*\(\*/) return
    exports++
    sub(/ *\(.*/, "", s)
    if (FILENAME ~ /^include\// && match(s, /[A-Za-z0-9_]+[ \t]*$/))
        print "D " substr(s, RSTART, RLENGTH)
}

# Follows braces; a body that follows ) ends its statement without a semicolon.
function follow(s) {
    while (match(s, /[;{}]/)) {
        c = substr(s, RSTART, 1)
        if (!depth) statement = statement substr(s, 1, RSTART - 1) " "
        s = substr(s, RSTART + 1)
        if (c == "{") depth++
        else if (c == "}") {
            if (depth) depth--
            if (!depth && statement ~ /\)[ \tA-Z_]*$/) statement = ""
        } else if (!depth) {
            declare(statement)
            statement = ""
        }
    }
    if (!depth) statement = statement s " "
}

function end_file() {
    if (file == "") return
    if (lines > max_file) print "V " file ": lines: " lines ", at most " max_file
    if (file ~ /^core\/box\/.*\.h$/ && exports > max_exports)
        print "V " file ": functions declared: " exports ", at most " max_exports
}

FNR == 1 {
    end_file()
    file = FILENAME
    in_comment = depth = exports = from = directive = 0
    statement = ""
}
{
    lines = FNR
    if (length($0) > max_columns) over("columns", length($0), max_columns)
    commented = in_comment
    code = strip($0)
    if ($0 !~ /^[ \t]*$/) { filled++; if (commented) comments++ }
    check_names(code)
    if (directive || code ~ /^[ \t]*#/) {
        directive = code ~ /\\$/
        next
    }
    if ($0 == "{") from = FNR
    if ($0 == "}" && from) {
        n = FNR - from + 1
        top = FILENAME ~ /^(core|include)\/.*\.h$/ ? max_inline : max_function
        if (n > top) over("lines of the function that ends here", n, top)
        sizes[n]++
        functions++
        from = 0
    }
    follow(code)
}
END {
    end_file()
    for (n = 1; n <= 1000 && functions; n++) {
        sum += sizes[n]
        if (sum * 2 >= functions) break
    }
    printf "S %d functions, median %d lines; %d %% of the lines have a comment\n", functions, n,
        filled ? comments * 100 / filled : 0
}
AWK

measure()
{
    local files
    mapfile -t files < <(c_files)
    ((${#files[@]} == 0)) && return
    awk -v max_file=$FILE_LINES -v max_function=$FUNCTION_LINES -v max_inline=$INLINE_LINES \
        -v max_exports=$HEADER_EXPORTS -v max_name=$NAME_LENGTH \
        -v max_test_name=$TEST_NAME_LENGTH -v max_columns=$COLUMNS_MAX "$MEASURE" "${files[@]}"
}

rule_sizes()
{
    local files
    bad_lines < <(measure | sed -n 's/^V //p')
    measure | sed -n 's/^S /tidy: /p'
    mapfile -t files < <(scripts; ls Makefile 2>/dev/null)
    ((${#files[@]} == 0)) && return
    bad_lines < <(awk -v max=$COLUMNS_MAX -v max_file=$FILE_LINES '
        length($0) > max { print FILENAME ":" FNR ": columns: " length($0) ", at most " max }
        FNR == max_file + 1 { print FILENAME ": more than " max_file " lines" }' "${files[@]}")
}

# ---- headers and tests -------------------------------------------------------------

rule_cards()
{
    local header word card
    for header in core/box/*.h; do
        card=$(sed '/\*\//q' "$header")
        if [[ $card != '/*'* ]]; then
            bad "$header: opens with no comment card"
            continue
        fi
        for word in "${CARD_WORDS[@]}"; do
            grep -qiE "^ \*[[:space:]]+$word([^a-z]|\$)" <<<"$card" ||
                bad "$header: the card lacks a line that opens with '$word'"
        done
    done
}

boxes()
{
    sed -e 's/#.*//' -e 's/  - .*//' -e '/^room/d' core/box/LAYERS
}

rule_tests()
{
    local box
    for box in $(boxes); do
        [[ -e tests/test_$box.c ]] && continue
        printf '%s\n' "${NO_TEST[@]}" | grep -q "^$box: " ||
            bad "core/box/LAYERS: box $box has no tests/test_$box.c"
    done
}

# ---- style ---------------------------------------------------------------------------

# Prints the clang-format to use; each release formats a little differently.
clang_format()
{
    local name
    for name in clang-format-14 clang-format; do
        if "$name" --version 2>/dev/null | grep -q 'version 14\.'; then
            printf '%s' "$name"
            return
        fi
    done
    return 1
}

rule_format()
{
    local tool files
    if ! tool=$(clang_format); then
        if [[ -n ${TIDY_NO_FORMAT:-} ]]; then
            echo 'tidy: STYLE IS NOT CHECKED: no clang-format 14, and TIDY_NO_FORMAT is set'
        else
            bad 'MISSING package clang-format (version 14); TIDY_NO_FORMAT=1 does without'
        fi
        return
    fi
    mapfile -t files < <(c_files)
    bad_lines < <("$tool" --style="file:$HOME_DIR/.clang-format" --dry-run --Werror \
        "${files[@]}" 2>&1 | grep ': error: ' | sort -u -t: -k1,1 |
        sed 's/^\([^:]*:[0-9]*\):.*/\1: style; make format/')
}

format_all()
{
    local tool files
    tool=$(clang_format) || {
        echo 'MISSING package clang-format (version 14)' >&2
        exit 1
    }
    mapfile -t files < <(c_files)
    "$tool" --style="file:$HOME_DIR/.clang-format" -i "${files[@]}"
}

rule_shell()
{
    local files
    mapfile -t files < <(scripts)
    ((${#files[@]} == 0)) && return
    if ! command -v shellcheck >/dev/null; then
        echo 'tidy: SCRIPTS ARE NOT CHECKED: package shellcheck is missing'
        return
    fi
    # Few files at a time, side by side: it is the rule that takes longest.
    bad_lines < <(printf '%s\0' "${files[@]}" |
        xargs -0 -n 6 -P "$(nproc)" shellcheck -x -P SCRIPTDIR -f gcc | sort)
}

# The words are written in two parts here, or this file would break its own rule.
rule_words()
{
    local files
    mapfile -t files < <(c_files; scripts; ls Makefile ./*.md core/box/LAYERS 2>/dev/null)
    bad_lines < <(grep -HnwE 'TO''DO|FIX''ME|X''XX' "${files[@]}" |
        sed 's/^\([^:]*:[0-9]*\):.*/\1: a note to self: do it, or leave it out/')
}

# ---- symbols ---------------------------------------------------------------------------

map_names()
{
    sed -n '/^global:/,/^local:/s/^ *\([A-Za-z_][A-Za-z0-9_]*\);$/\1/p' core/tidepool.map | sort
}

rule_symbols()
{
    local so=$BUILD/libtidepool.so api=$BUILD/libtidepool_api.a
    if [[ ! -e $so || ! -e $api ]]; then
        bad "$so or $api is missing: run make"
        return
    fi
    bad_lines < <(comm -13 <(map_names) <(nm -D --defined-only "$so" | awk '{print $3}' | sort) |
        sed 's/^/libtidepool.so: shows a symbol that core\/tidepool.map does not list: /')
    bad_lines < <(comm -23 <(map_names) <(nm -D --defined-only "$so" | awk '{print $3}' | sort) |
        sed 's/^/core\/tidepool.map: lists a symbol that libtidepool.so does not show: /')
    bad_lines < <(comm -13 <(map_names) <(measure | sed -n 's/^D //p' | sort) |
        sed 's/^/include\/tidepool: core\/tidepool.map does not list /')
    bad_lines < <(nm -g --defined-only "$api" | awk 'NF == 3 && $3 !~ /^tide_/ {
        print "libtidepool_api.a: shows " $3 ", which is not a tide_ name" }')
    bad_lines < <(LC_ALL=C readelf -dW "$so" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' |
        grep -vE "$NEEDED" | sed 's/^/libtidepool.so: needs more than libc: /')
}

rule_layers()
{
    local text
    while IFS= read -r text; do
        case $text in
        '    '*) printf '%s\n' "$text" ;;
        'layers: '*) ;;
        *) bad "$text" ;;
        esac
    done < <(ROOT=$ROOT BUILD=$BUILD "$HOME_DIR/tools/layers.sh")
}

# ---- self-test ---------------------------------------------------------------------------

put()
{
    mkdir -p "$(dirname "$TMP/$1")"
    printf '%s\n' "${@:2}" >"$TMP/$1"
}

repeat()
{
    local i
    for ((i = 0; i < $1; i++)); do
        printf '%b\n' "${2//@/$i}"
    done
}

plant_good()
{
    rm -rf "${TMP:?}"/* "$TMP/.ci"
    put core/box/LAYERS '# comment' 'room base' '  one  - the only one'
    put core/box/one.h '/*' ' * one.h - one.' ' *' ' * owns:      x' ' * threads:   x' \
        ' * invariant: x' ' * uses:      x' ' * used by:   x' ' * not here:  x' ' * test:      x' \
        ' */' '' 'struct one {' '    int (*call)(int);' '};' '' 'int tide_one(int x);'
    put core/box/one.c '#include "box/one.h"' '' 'int tide_one(int x)' '{' '    return x;' '}'
    put core/unity.c '#include "box/one.c"'
    put core/tidepool.map '{' 'global:' '    tide_a;' '    /* b */' '    malloc;' 'local:' \
        '    *;' '};'
    put include/tidepool/a.h '#define A(x) x' 'extern "C" {' '}' 'int tide_a(int x);'
    put tests/test_one.c '/* a test */' "static const char *s = \"/* '\\\" { */\";" "char c = '\"';"
    put tools/a.sh '#!/bin/sh' 'echo a'
    put so.c 'int tide_a(void) { return 0; }' 'int malloc(void) { return 0; }'
    put api.c 'int tide_a(void) { return 0; }'
}

build_planted()
{
    mkdir -p "$TMP/build"
    (
        cd "$TMP" || exit 1
        "${CC:-gcc}" -fno-builtin -shared -fPIC -o build/libtidepool.so so.c "$@" &&
            "${CC:-gcc}" -c -o build/api.o api.c &&
            rm -f build/libtidepool_api.a && ar rc build/libtidepool_api.a build/api.o
    )
}

# expect RULE NAME TEXT: the rule must fail on the planted tree, with TEXT in one
# violation; without TEXT it must pass.
expect()
{
    local rule=$1 name=$2 want=${3:-} out status
    out=$(ROOT=$TMP BUILD=$TMP/build "$HOME_DIR/tools/tidy.sh" "$rule" 2>&1)
    status=$?
    if [[ -z $want && $status -eq 0 ]] ||
        [[ -n $want && $status -eq 1 && $out == *"$want"*'tidy: 1 violation'* ]]; then
        echo "ok - tidy $rule: $name"
    else
        printf 'not ok - tidy %s: %s (exit %s)\n%s\n' "$rule" "$name" "$status" "$out"
        BAD=$((BAD + 1))
    fi
}

self_test_sizes()
{
    plant_good
    put core/box/one.h "$(cat "$TMP/core/box/one.h")" "$(repeat 11 'void f@(int\\n    a);')"
    put core/box/one.c 'int f(void)' '{' "$(repeat 68 ';')" '}'
    expect sizes 'sizes at their limits pass'
    put core/box/one.h "$(repeat 13 'int f@(void);')"
    expect sizes '13 functions in a header' 'core/box/one.h: functions declared: 13, at most 12'
    plant_good
    put core/box/one.c 'int f(void)' '{' "$(repeat 69 ';')" '}'
    expect sizes 'a function of 71 lines' 'core/box/one.c:72: lines of the function that ends'
    plant_good
    put core/box/one.h 'static inline int f(void)' '{' "$(repeat 24 ';')" '}'
    expect sizes 'an inline function of 26 lines' 'core/box/one.h:27: lines of the function'
    plant_good
    put tests/test_one.c "$(repeat 602 ';')"
    expect sizes 'a file of 602 lines' 'tests/test_one.c: lines: 602, at most 600'
    plant_good
    put core/box/one.c "int $(printf 'x%.0s' {1..33});"
    expect sizes 'a name of 33 characters' 'core/box/one.c:1: length of the name xxx'
    plant_good
    put tests/test_one.c "int $(printf 'x%.0s' {1..60});" "int $(printf 'y%.0s' {1..61});"
    expect sizes 'a test name of 61 characters' 'tests/test_one.c:2: length of the name yyy'
    plant_good
    put tests/test_one.c "/*$(printf ' %.0s' {1..97})*/"
    expect sizes 'a line of 101 columns' 'tests/test_one.c:1: columns: 101, at most 100'
    plant_good
    put tools/a.sh '#!/bin/sh' "# $(printf 'x%.0s' {1..99})"
    expect sizes 'a script line of 101 columns' 'tools/a.sh:2: columns: 101, at most 100'
}

self_test_files()
{
    plant_good
    expect cards 'a full card passes'
    put core/box/one.h "$(sed '/used by/d' "$TMP/core/box/one.h")"
    expect cards 'a card without used by' "the card lacks a line that opens with 'used by'"
    put core/box/one.h 'int tide_one(int x);'
    expect cards 'a header without a card' 'core/box/one.h: opens with no comment card'
    expect tests 'a test per box passes'
    rm "$TMP/tests/test_one.c"
    expect tests 'a box without a test' 'box one has no tests/test_one.c'
    plant_good
    expect words 'no notes to self passes'
    put tools/a.sh '#!/bin/sh' '# TO''DO: later'
    expect words 'a note to self' 'tools/a.sh:2: a note to self'
    plant_good
    put core/box/two.h 'int x;'
    expect layers 'what layers.sh finds' 'core/box/two.h: LAYERS knows no box'
}

self_test_style()
{
    plant_good
    if clang_format >/dev/null; then
        expect format 'the style passes'
        put core/box/one.c 'int f(void) {' '  return 0;' '}'
        expect format 'another style' 'core/box/one.c:1: style'
    else
        echo 'skip - tidy format: package clang-format (version 14) is missing'
    fi
    if command -v shellcheck >/dev/null; then
        expect shell 'a clean script passes'
        # shellcheck disable=SC2016 # the planted script expands it
        put tools/a.sh '#!/bin/sh' 'echo $1'
        expect shell 'an unquoted word' 'tools/a.sh:2'
    else
        echo 'skip - tidy shell: package shellcheck is missing'
    fi
}

self_test_symbols()
{
    plant_good
    build_planted
    expect symbols 'the listed symbols pass'
    put so.c 'int tide_a, malloc, extra;'
    build_planted
    expect symbols 'a symbol too many' 'does not list: extra'
    put so.c 'int tide_a;'
    build_planted
    expect symbols 'a symbol too few' 'libtidepool.so does not show: malloc'
    plant_good
    put include/tidepool/a.h 'void *tide_b(int x,' '    int y) ATTR(2);'
    build_planted
    expect symbols 'a public function that is not listed' 'core/tidepool.map does not list tide_b'
    plant_good
    put api.c 'int tide_a, free_sized;'
    build_planted
    expect symbols 'a name of libc in the api archive' 'libtidepool_api.a: shows free_sized'
    plant_good
    build_planted -Wl,--no-as-needed -lm
    expect symbols 'a library needed' 'libtidepool.so: needs more than libc: libm.so'
}

self_test()
{
    TMP=$(mktemp -d)
    trap 'rm -rf "$TMP"' EXIT
    self_test_sizes
    self_test_files
    self_test_style
    self_test_symbols
    ((BAD == 0))
}

RULES=(layers sizes cards tests format shell symbols words)
cd "$ROOT" || exit 2
[[ $BUILD == /* ]] || BUILD=$ROOT/$BUILD
case ${1:-} in
--self-test)
    self_test
    exit
    ;;
--format)
    format_all
    exit
    ;;
esac
(($# > 0)) && RULES=("$@")
for rule in "${RULES[@]}"; do
    declare -F "rule_$rule" >/dev/null || {
        echo "tidy: no rule $rule" >&2
        exit 2
    }
    "rule_$rule"
done
if ((BAD > 0)); then
    echo "tidy: $BAD violation$( ((BAD == 1)) || echo s)"
    exit 1
fi
echo "tidy: ${RULES[*]}: no violation"
