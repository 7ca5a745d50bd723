#!/usr/bin/env bash
# tools/fastpath.sh - what malloc and free cost when nothing is in the way.
#
#   tools/fastpath.sh [LIBRARY]    checks libtidepool.so (default: $BUILD's)
#   tools/fastpath.sh --show [LIBRARY]  the instructions of every straight way
#   tools/fastpath.sh --self-test  checks planted functions
#
# Reads the machine code and follows every way from the entry, through direct
# and conditional jumps, until a return. A way that calls, jumps out of the
# function, comes back to an address or traps is a slow one. What is left are the
# straight ways: there must be at least two in each function (a Tiny block and a
# Mid block), the longest must keep to the budget, and none may lock the bus or
# enter the kernel. Prints one TAP-like line per function.
#
# shellcheck disable=SC2016 # the dollars in quotes are the assembler's
set -u

FASTPATH_MALLOC=${FASTPATH_MALLOC:-32}
FASTPATH_FREE=${FASTPATH_FREE:-44}
# A return after fewer instructions did no work, as free(NULL).
FASTPATH_LEAST=6

cd "$(dirname "$0")/.." || exit 2
BAD=0

# Reads `ADDRESS INSTRUCTION` lines of one function; prints the number of straight
# ways, the lengths of the shortest and the longest, and what is forbidden on them;
# with show=1 also the ways.
read -r -d '' WALK <<'AWK'
{
    at[NR] = $1
    index_of[$1] = NR
    $1 = ""
    sub(/^ /, "")
    text[NR] = $0
}

function ends(way, length_now,    i, n, part) {
    if (++returns > 20000) { overflow = 1; return }
    if (length_now < least) return
    straight++
    if (length_now > longest) longest = length_now
    if (!shortest || length_now < shortest) shortest = length_now
    n = split(way, part, " ")
    if (show) {
        printf "---- way %d, %d instructions\n", straight, length_now
        for (i = 1; i <= n; i++) printf "%3d  %s  %s\n", i, at[part[i]], text[part[i]]
    }
    for (i = 1; i <= n; i++)
        if (text[part[i]] ~ /^lock |^xchg .*\(|^syscall|^sysenter|^int /)
            forbidden[at[part[i]] ": " text[part[i]]] = 1
}

# A target inside the function as an index, or 0.
function target(s) {
    sub(/^[^ ]+ +/, "", s)
    sub(/ .*/, "", s)
    return (s in index_of) ? index_of[s] : 0
}

function walk(i, way, length_now,    s) {
    if (overflow || !(i in text) || on_way[i]) return
    if (++steps > 2000000) overflow = 1
    s = text[i]
    if (s ~ /^(bnd |notrack )?call|^ud2|^hlt|^int3/) return
    if (s ~ /^(repz |bnd )*ret/) { ends(way " " i, length_now + 1); return }
    on_way[i] = 1
    if (s ~ /^(bnd |notrack )?jmp/) {
        if (s !~ /\*/ && target(s)) walk(target(s), way " " i, length_now + 1)
    } else {
        if (s ~ /^j/ && target(s)) walk(target(s), way " " i, length_now + 1)
        walk(i + 1, way " " i, length_now + 1)
    }
    on_way[i] = 0
}

END {
    if (NR) walk(1, "", 0)
    printf "%d %d %d %d\n", overflow ? -1 : straight, shortest, longest, NR
    for (i in forbidden) print i
}
AWK

# The code of an exported function, one `ADDRESS INSTRUCTION` per line.
code_of()
{
    local lib=$1 name=$2 start size
    read -r start size < <(nm -DS --defined-only "$lib" |
        awk -v name="$name" '$4 == name { print $1, $2; exit }')
    [[ -n ${size:-} ]] || return 1
    objdump -d --no-show-raw-insn --start-address=$((16#$start)) \
        --stop-address=$((16#$start + 16#$size)) "$lib" |
        sed -n 's/^ *\([0-9a-f]*\):[[:space:]]*\(.*\)/\1 \2/p' | sed 's/[[:space:]]\+/ /g'
}

fail()
{
    echo "not ok - fast path: $*"
    BAD=$((BAD + 1))
}

check()
{
    local lib=$1 name=$2 budget=$3 straight shortest longest total
    local -a code result
    mapfile -t code < <(code_of "$lib" "$name")
    if ((${#code[@]} == 0)); then
        fail "$lib has no function $name"
        return
    fi
    mapfile -t result < <(printf '%s\n' "${code[@]}" | awk -v least=$FASTPATH_LEAST "$WALK")
    read -r straight shortest longest total <<<"${result[0]}"
    local figures="$straight straight ways of $shortest to $longest instructions"
    figures+=" (budget $budget; function $total)"
    if ((straight < 0)); then
        fail "$name: too many ways to a return: not a straight path"
    elif ((straight < 1)); then
        fail "$name: $figures: no way without a call"
    elif ((longest > budget)); then
        fail "$name: $figures: over the budget"
    elif ((${#result[@]} > 1)); then
        fail "$name: forbidden on a straight way: ${result[*]:1}"
    else
        echo "ok - fast path: $name: $figures"
    fi
}

show()
{
    local name
    for name in malloc free; do
        echo "==== $name"
        code_of "$1" "$name" | awk -v least=$FASTPATH_LEAST -v show=1 "$WALK"
    done
}

check_library()
{
    if [[ $(uname -m) != x86_64 ]]; then
        echo "skip - fast path: only x86-64 code is understood, not $(uname -m)"
        return
    fi
    if [[ ! -e $1 ]]; then
        fail "$1 is missing: run make"
        return
    fi
    check "$1" malloc "$FASTPATH_MALLOC"
    check "$1" free "$FASTPATH_FREE"
}

# ---- self-test -----------------------------------------------------------------

# plant NAME BODY...: a library with these functions in assembler.
plant()
{
    {
        echo '.text'
        printf '%s\n' "$@"
        echo '.section .note.GNU-stack,"",@progbits'
    } >"$TMP/a.s"
    "${CC:-gcc}" -shared -nostdlib -o "$TMP/a.so" "$TMP/a.s"
}

function_of()
{
    printf '%s\n' ".globl $1" ".type $1,@function" "$1:" "${@:2}" ".size $1,.-$1"
}

# So many plain instructions.
work()
{
    local i
    for ((i = 0; i < $1; i++)); do
        echo 'incq %rax'
    done
}

# Two straight ways, of 9 and of 16 instructions, among slow ones.
GOOD=('cmpq $2048,%rdi' 'ja 1f' "$(work 6)" 'ret' '1: cmpq $9,%rsi' 'je slow@PLT' 'jmp 2f' 'ud2'
    '2:' "$(work 8)" 'testq %rax,%rax' 'jne 3f' 'ret' '3: call slow@PLT' 'ret')

# expect NAME TEXT BODY...: malloc with this body gives a line with TEXT.
expect()
{
    local name=$1 want=$2 out
    plant "$(function_of malloc "${@:3}")" "$(function_of free "${GOOD[@]}")"
    out=$(check "$TMP/a.so" malloc 20)
    if [[ $out == *"$want"* ]]; then
        echo "ok - fastpath: $name"
    else
        printf 'not ok - fastpath: %s\n%s\n' "$name" "$out"
        MISSED=$((MISSED + 1))
    fi
}

self_test()
{
    TMP=$(mktemp -d)
    MISSED=0
    trap 'rm -rf "$TMP"' EXIT
    if [[ $(uname -m) != x86_64 ]]; then
        echo "skip - fastpath: only x86-64 code is understood, not $(uname -m)"
        return
    fi
    expect 'two straight ways pass' 'ok - fast path: malloc: 2 straight ways of 9 to 16 ' \
        "${GOOD[@]}"
    expect 'one way alone' '1 straight ways' "$(work 9)" 'ret'
    expect 'a call on each way' 'not ok - fast path: malloc: 0 straight' 'cmpq $1,%rdi' 'ja 1f' \
        "$(work 6)" 'call slow@PLT' 'ret' '1:' "$(work 6)" 'call slow@PLT' 'ret'
    expect 'a jump out of the function' '1 straight ways' 'cmpq $1,%rdi' 'ja 1f' "$(work 6)" \
        'ret' '1:' "$(work 6)" 'jmp slow@PLT'
    expect 'an indirect jump' '0 straight ways' "$(work 9)" 'jmp *%rax'
    expect 'a loop without end' '0 straight ways' "$(work 9)" '1: jmp 1b'
    expect 'a return that did nothing' '1 straight ways' 'testq %rdi,%rdi' 'jne 1f' 'ret' '1:' \
        "$(work 9)" 'ret'
    expect 'over the budget' '2 straight ways of 9 to 21 instructions' 'cmpq $1,%rdi' 'ja 1f' \
        "$(work 6)" 'ret' '1:' "$(work 18)" 'ret'
    expect 'a locked instruction' 'forbidden on a straight way' \
        "${GOOD[@]/testq %rax,%rax/lock incq (%rdi)}"
    expect 'an exchange with memory' ': xchg' "${GOOD[@]/testq %rax,%rax/xchgq %rax,(%rdi)}"
    expect 'a system call' ': syscall' "${GOOD[@]/testq %rax,%rax/syscall}"
    expect 'an exchange of registers passes' 'ok - fast path: malloc: 2' \
        "${GOOD[@]/testq %rax,%rax/xchgq %rax,%rdi}"
    ((MISSED == 0))
}

case ${1:-} in
--self-test)
    self_test
    exit
    ;;
--show)
    show "${2:-${BUILD:-build}/libtidepool.so}"
    exit
    ;;
esac
check_library "${1:-${BUILD:-build}/libtidepool.so}"
((BAD == 0))
