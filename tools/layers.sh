#!/usr/bin/env bash
# tools/layers.sh - holds the boxes of core/box to the order in core/box/LAYERS.
#
#   tools/layers.sh              checks includes, unity list and linker symbols
#   tools/layers.sh --unity      prints the includes that core/unity.c must have
#   tools/layers.sh --self-test  plants violations in a tree of its own
#
# The symbols are those of the debug build (one object per file), so run it by
# `make tidy`, or after `make debug`. A box file is named after its box: NAME.h,
# NAME.c, or NAME_part.c. ROOT and BUILD in the environment choose other trees.
set -u

HOME_DIR=$(cd "$(dirname "$0")/.." && pwd)
ROOT=${ROOT:-$HOME_DIR}
BUILD=${BUILD:-build}

# The boxes that may enter the kernel: nobody else includes box/sys.h or has a
# system call instruction of its own.
SYS_USERS=' sys vmem numa file clock lock park store owner '

# Functions that only touch the bytes they are given, or errno. Compilers emit
# calls to some of them unasked.
EVERYWHERE=' memcpy memmove memset memcmp memchr memrchr bcmp strlen strnlen strcmp strncmp
 strchr strrchr strstr strspn strcspn __errno_location
 __popcountdi2 _GLOBAL_OFFSET_TABLE_ __stack_chk_fail '
EVERYWHERE=${EVERYWHERE//$'\n'/ }

ORDER=core/box/LAYERS
declare -A LINE ROOM USES OWNER MAY_IMPORT
BOXES=()
BAD=0

bad()
{
    printf '%s: %s\n' "$1" "$2"
    BAD=$((BAD + 1))
}

# ---- LAYERS --------------------------------------------------------------------

read_room()
{
    local name=$1 uses=$2 other
    for other in $uses; do
        [[ -n ${USES[$other]+x} ]] ||
            bad "$ORDER" "room $name may not use $other: no such room above it"
    done
    USES[$name]=" $uses "
}

read_layers()
{
    local text box room='' number=0
    while IFS= read -r text; do
        number=$((number + 1))
        text=${text%%#*}
        text=${text%%  - *}
        if [[ $text =~ ^room[[:space:]]+([a-z0-9_]+)[[:space:]]*(:(.*))?$ ]]; then
            room=${BASH_REMATCH[1]}
            read_room "$room" "${BASH_REMATCH[3]}"
            continue
        fi
        for box in $text; do
            [[ -n $room ]] || bad "$ORDER" "box $box stands in no room"
            [[ -z ${LINE[$box]+x} ]] || bad "$ORDER" "box $box is listed twice"
            LINE[$box]=$number
            ROOM[$box]=$room
            BOXES+=("$box")
        done
    done < <(cat $ORDER)
}

# Sets BOX to the box that a file belongs to; fails if there is none.
box_of()
{
    BOX=${1##*/}
    BOX=${BOX%.?}
    while [[ -z ${LINE[$BOX]+x} ]]; do
        [[ $BOX == *_* ]] || return 1
        BOX=${BOX%_*}
    done
}

may_use()
{
    local from=$1 to=$2
    [[ $from == "$to" ]] && return 0
    if [[ ${ROOM[$from]} == "${ROOM[$to]}" ]]; then
        ((LINE[$to] < LINE[$from]))
        return
    fi
    [[ ${USES[${ROOM[$from]}]} == *" ${ROOM[$to]} "* ]]
}

why_not()
{
    local from=$1 to=$2
    if [[ ${ROOM[$from]} != "${ROOM[$to]}" ]]; then
        printf 'room %s may not use room %s' "${ROOM[$from]}" "${ROOM[$to]}"
    elif ((LINE[$from] == LINE[$to])); then
        printf '%s and %s are siblings' "$from" "$to"
    else
        printf '%s stands below %s in LAYERS' "$to" "$from"
    fi
}

# ---- files and includes ----------------------------------------------------------

check_files()
{
    local box file
    for box in "${BOXES[@]}"; do
        compgen -G "core/box/$box.[ch]" >/dev/null ||
            bad "$ORDER" "box $box has neither core/box/$box.h nor core/box/$box.c"
    done
    for file in core/box/*.[ch]; do
        box_of "$file" || bad "$file" "LAYERS knows no box of this name"
    done
}

check_include()
{
    local file=$1 number=$2 what=$3 from to
    box_of "$file" || return 0
    from=$BOX
    if [[ $what != box/*.h ]]; then
        bad "$file:$number" "includes \"$what\": a box includes \"box/NAME.h\" and <headers> only"
        return
    fi
    if [[ ! -e core/$what ]] || ! box_of "$what"; then
        bad "$file:$number" "includes \"$what\": there is no such box"
        return
    fi
    to=$BOX
    if ! may_use "$from" "$to"; then
        bad "$file:$number" "includes \"$what\": $(why_not "$from" "$to")"
    elif [[ $to == sys && $SYS_USERS != *" $from "* ]]; then
        bad "$file:$number" "includes \"box/sys.h\": only$SYS_USERS""may enter the kernel"
    fi
}

check_includes()
{
    local file number text
    while IFS=: read -r file number text; do
        [[ $text =~ \"(.*)\" ]] && check_include "$file" "$number" "${BASH_REMATCH[1]}"
    done < <(grep -HnE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' core/box/*.[ch])
    while IFS=: read -r file number text; do
        box_of "$file"
        [[ $BOX == sys ]] ||
            bad "$file:$number" "has a system call instruction: that is the business of box sys"
    done < <(grep -HnE '"(syscall|svc)\b' core/box/*.[ch])
}

# ---- the unity files ---------------------------------------------------------------

print_unity()
{
    local box file
    for box in "${BOXES[@]}"; do
        [[ $box == override ]] && continue
        for file in core/box/"$box".c core/box/"$box"_*.c; do
            [[ -e $file ]] && box_of "$file" && [[ $BOX == "$box" ]] &&
                printf '#include "box/%s"\n' "${file##*/}"
        done
    done
}

check_unity()
{
    local text
    while IFS= read -r text; do
        case $text in
        '<'*) bad core/unity.c "lacks, or has in another place: ${text#< }" ;;
        '>'*) bad core/unity.c "has, or has in another place: ${text#> }" ;;
        esac
    done < <(diff <(print_unity) <(grep '^#include' core/unity.c))
    text=$(grep '^#include' core/unity_override.c | tr '\n' ' ')
    [[ $text == '#include "unity.c" #include "box/override.c" ' ]] ||
        bad core/unity_override.c 'must include "unity.c" and then "box/override.c", nothing else'
}

# ---- symbols -----------------------------------------------------------------------

# All symbols of the debug objects, as lines of: stem, name, kind.
symbols()
{
    local file stem
    for file in core/box/*.c; do
        stem=$(basename "${file%.c}")
        nm -P "$BUILD/debug/obj/$stem.o" | sed "s/^/$stem /"
    done
}

read_imports()
{
    local box names name
    [[ -e tools/libc-imports.txt ]] || return 0
    while IFS=: read -r box names; do
        for name in $names; do
            MAY_IMPORT[$box/$name]=unused
        done
    done < <(sed 's/#.*//' tools/libc-imports.txt)
}

check_import()
{
    local file=$1 box=$2 name=$3 kind=$4
    if [[ $name == tide_* && $kind == U ]]; then
        bad "$file" "uses $name, which no box defines"
    elif [[ $EVERYWHERE == *" $name "* ]]; then
        return
    elif [[ -n ${MAY_IMPORT[$box/$name]+x} ]]; then
        MAY_IMPORT[$box/$name]=used
    else
        bad "$file" "imports $name from outside; if box $box must, add to tools/libc-imports.txt:" \
            && printf '    %s: %s\n' "$box" "$name"
    fi
}

check_symbols()
{
    local file stem name kind box key
    for file in core/box/*.c; do
        stem=$(basename "${file%.c}")
        [[ -e $BUILD/debug/obj/$stem.o ]] || bad "$file" "has no debug object: run make debug"
    done
    ((BAD == 0)) || return
    local -a table
    mapfile -t table < <(symbols)
    for key in "${table[@]}"; do
        read -r stem name kind _ <<<"$key"
        [[ $kind == [ABCDGRSTVW] ]] && box_of "$stem" && OWNER[$name]=$BOX
    done
    for key in "${table[@]}"; do
        read -r stem name kind _ <<<"$key"
        [[ $kind == [Uwv] ]] || continue
        box_of "$stem"
        box=$BOX
        if [[ -z ${OWNER[$name]+x} ]]; then
            check_import "core/box/$stem.c" "$box" "$name" "$kind"
        elif ! may_use "$box" "${OWNER[$name]}"; then
            bad "core/box/$stem.c" \
                "uses $name of box ${OWNER[$name]}: $(why_not "$box" "${OWNER[$name]}")"
        fi
    done
    for key in "${!MAY_IMPORT[@]}"; do
        [[ ${MAY_IMPORT[$key]} == used ]] ||
            bad tools/libc-imports.txt "box ${key%%/*} does not import ${key#*/}: remove it"
    done
}

check_all()
{
    check_files
    ((BAD == 0)) || return
    check_includes
    check_unity
    read_imports
    check_symbols
}

# ---- self-test -----------------------------------------------------------------------

put()
{
    mkdir -p "$(dirname "$TMP/$1")"
    printf '%s\n' "${@:2}" >"$TMP/$1"
}

# A small tree without fault: def; one and two (siblings); three; override.
plant_good()
{
    rm -rf "${TMP:?}"/*
    put core/box/LAYERS 'room base' '  def sys' '  one two  - siblings' 'room top : base' \
        '  three' '  override'
    put core/box/def.h '#define DEF 1'
    put core/box/sys.h '#define SYS 1'
    put core/box/one.h '#include "box/def.h"' 'int tide_one(void);'
    put core/box/one.c '#include "box/one.h"' 'int puts(const char *);' \
        'int tide_one(void) { return puts("one"); }'
    put core/box/two.h 'int tide_two(void);'
    put core/box/two.c '#include "box/two.h"' 'int tide_two(void) { return 2; }'
    put core/box/three.h 'int tide_three(void);'
    put core/box/three.c '#include "box/three.h"' '#include "box/one.h"' \
        'int tide_three(void) { return tide_one(); }'
    put core/box/three_part.c 'int tide_three_part(void) { return 3; }'
    put core/box/override.c 'int over(void) { return 0; }'
    put core/unity.c '#include "box/one.c"' '#include "box/two.c"' '#include "box/three.c"' \
        '#include "box/three_part.c"'
    put core/unity_override.c '#include "unity.c"' '#include "box/override.c"'
    put tools/libc-imports.txt '# comment' 'one: puts'
}

run_planted()
{
    local file
    mkdir -p "$TMP/build/debug/obj"
    for file in "$TMP"/core/box/*.c; do
        "${CC:-gcc}" -I"$TMP/core" -O1 -c -o "$TMP/build/debug/obj/$(basename "${file%.c}").o" \
            "$file" 2>/dev/null
    done
    ROOT=$TMP BUILD=$TMP/build "$HOME_DIR/tools/layers.sh" 2>&1
}

# expect NAME TEXT: the planted tree must fail, and say TEXT; empty TEXT: must pass.
expect()
{
    local name=$1 want=$2 out status
    out=$(run_planted)
    status=$?
    if [[ -z $want && $status -eq 0 ]] ||
        [[ -n $want && $status -eq 1 && $out == *"$want"* ]]; then
        echo "ok - layers: $name"
    else
        printf 'not ok - layers: %s (exit %s)\n%s\n' "$name" "$status" "$out"
        BAD=$((BAD + 1))
    fi
}

self_test_includes()
{
    plant_good
    put core/box/def.h '#include "box/three.h"'
    expect 'include of a room above' 'core/box/def.h:1: includes "box/three.h": room base may not'
    plant_good
    put core/box/two.h '#include "box/one.h"'
    expect 'include of a sibling' 'core/box/two.h:1: includes "box/one.h": two and one are'
    plant_good
    put core/box/def.h '#include "box/one.h"'
    expect 'include of a later line' 'includes "box/one.h": one stands below def'
    plant_good
    put core/box/three_part.c '#include "three.h"'
    expect 'include without box/' 'core/box/three_part.c:1: includes "three.h": a box includes'
    plant_good
    put core/box/three.h '#include "box/sys.h"'
    expect 'include of sys' 'core/box/three.h:1: includes "box/sys.h": only sys vmem'
    plant_good
    put core/box/three.h '#define CALL __asm__("syscall")'
    expect 'system call instruction' 'core/box/three.h:1: has a system call instruction'
}

self_test_rest()
{
    plant_good
    put core/box/one.c 'int tide_three(void);' 'int tide_one(void) { return tide_three(); }'
    expect 'symbol of a room above' 'core/box/one.c: uses tide_three of box three: room base may'
    plant_good
    put core/box/two.c 'int tide_one(void);' 'int tide_two(void) { return tide_one(); }'
    expect 'symbol of a sibling' 'core/box/two.c: uses tide_one of box one: two and one are'
    plant_good
    put core/box/two.c 'int tide_no(void);' 'int tide_two(void) { return tide_no(); }'
    expect 'symbol of nobody' 'core/box/two.c: uses tide_no, which no box defines'
    plant_good
    put core/box/two.c 'int rand(void);' 'int tide_two(void) { return rand(); }'
    expect 'import that is not listed' '    two: rand'
    plant_good
    put tools/libc-imports.txt 'one: puts' 'two: rand'
    expect 'import that nobody needs' 'box two does not import rand: remove it'
    plant_good
    put core/unity.c '#include "box/two.c"' '#include "box/one.c"' '#include "box/three.c"' \
        '#include "box/three_part.c"'
    expect 'unity in another order' 'core/unity.c: lacks, or has in another place'
    plant_good
    put core/box/four.h ''
    expect 'file without a box' 'core/box/four.h: LAYERS knows no box'
    plant_good
    rm "$TMP/core/box/def.h"
    expect 'box without a file' 'box def has neither'
    plant_good
    put core/box/LAYERS 'room base : top' '  def sys' '  one two' 'room top : base' '  three' \
        '  override'
    expect 'room that uses a later one' 'room base may not use top'
}

self_test()
{
    TMP=$(mktemp -d)
    trap 'rm -rf "$TMP"' EXIT
    plant_good
    expect 'a tree without fault passes' ''
    self_test_includes
    self_test_rest
    ((BAD == 0))
}

case ${1:-} in
--self-test)
    self_test
    exit
    ;;
--unity | '') ;;
*)
    echo "usage: tools/layers.sh [--unity | --self-test]" >&2
    exit 2
    ;;
esac
[[ $BUILD == /* ]] || BUILD=$HOME_DIR/$BUILD
cd "$ROOT" || exit 2
read_layers
if [[ ${1:-} == --unity ]]; then
    print_unity
    exit
fi
check_all
((BAD == 0)) && exit 0
echo "layers: $BAD violations"
exit 1
