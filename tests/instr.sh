#!/usr/bin/env bash
# instr.sh - bench/instr counts what it says, and our own counts keep to tests/instr.budgets.
set -u
. "$(dirname "$0")/lib_bench.sh"
. "$(dirname "$0")/lib_peers.sh"

PROGRAM=$BUILD/bench/instr_pair
CASES=(tiny/64 tiny/512 mid/2048 mid/4096 mid/16384 gap/1+2+4+8K gap/1K-8K tiny/8-2047 mid/2K-32K
    large/64K)
export BUILD

# instr ARGUMENT...: output to $TMP/out and $TMP/err. DIR: another build directory. OPTIONS.
instr()
{
    bare env BUILD="${DIR:-$BUILD}" ${OPTIONS:+TIDEPOOL_OPTIONS="$OPTIONS"} bench/instr "$@"
}

# The counts of an allocator in a CSV file, in one line.
counts()
{
    awk -F, -v name="$1" '$1 == name { printf "%s%s", n++ ? " " : "", $3 }' "$2"
}

# A build directory whose library does not serve, and without the Debian allocators.
make_idle()
{
    make_so idle <<<'int idle;'
    mkdir -p "$TMP/idle/bench"
    mv "$TMP/idle.so" "$TMP/idle/libtidepool.so"
    ln -s "$PROGRAM" "$TMP/idle/bench"
}

# ---- bad input --------------------------------------------------------------------------

test_input()
{
    ends 'an unknown option' 2 err "unknown option '--speed'" instr --speed
    ends 'an option without its value' 2 err 'csv needs a value' instr --csv
    ends 'no pairs' 2 err 'pairs: 0 is not within' instr --pairs 0
    ends 'pairs that are no number' 2 err "pairs: 'many' is not a whole number" instr --pairs many
    ends 'an empty list of allocators' 2 err 'allocs: empty list' instr --allocs ''
    ends 'an allocator that it does not know' 2 err "'heap' is none of" instr --allocs heap
    ends 'an object that is not there' 2 err 'cannot read' instr --so "$TMP/nowhere.so"
    ends 'budgets that are not there' 2 err 'cannot read' instr --budgets "$TMP/nowhere"
    ends 'a CSV file that cannot be written' 2 err 'cannot write' instr --csv "$TMP/no/file"
    DIR=$TMP/no ends 'no build' 2 err 'run make first' instr
    ends 'help' 0 out '^  --budgets FILE' instr --help
    mkdir -p "$TMP/bin"
    ln -sf /bin/* /usr/bin/* "$TMP/bin" 2>/dev/null
    rm -f "$TMP/bin/valgrind"
    PATH=$TMP/bin ends 'no valgrind' 2 err 'install the package valgrind' instr
    ends 'the program takes no other words' 2 err 'no such argument' bare "$PROGRAM" more
    ends 'and no bad number' 2 err 'not a number' bare "$PROGRAM" --pairs few
}

# ---- whose blocks -----------------------------------------------------------------------

test_proof()
{
    local name
    make_idle
    DIR=$TMP/idle COMPARE_LIBDIRS='' ends 'a library that does not serve is no result' 1 err \
        'tidepool: exit status 1: .*malloc is that of libc.so.6' instr --pairs 100
    judge 'other results are kept' grep -qE '^case +glibc$' "$TMP/out"
    for name in 'jemalloc (package libjemalloc2)' 'tcmalloc (package libtcmalloc-minimal4)'; do
        judge "not installed is told: $name" \
            grep -qF "not measured, not installed: $name" "$TMP/out"
    done
    # The library's own word, pointer by pointer.
    OPTIONS=tiny_max=1023 ends 'blocks of another tier are no result' 1 err \
        'tiny/8-2047: a block of [0-9]* bytes is in tier mid' \
        instr --allocs tidepool --pairs 100
    make_so libtidepool_like <<<'void *__libc_malloc(unsigned long);
        void *malloc(unsigned long size) { return __libc_malloc(size); }'
    ends 'a malloc that does not know tide_tier_of is not tidepool' 1 err \
        'does not say that it is tidepool' instr --allocs glibc --so "$TMP/libtidepool_like.so" \
        --pairs 100
}

# ---- what is counted --------------------------------------------------------------------

# plant NAME N: an allocator whose malloc is N + 6 instructions, and whose free is 1. It never
# takes anything back. The shell that starts valgrind runs on it too, and wants the whole family.
plant()
{
    {
        cat <<'END'
.macro begin name
.globl \name
.type \name,@function
\name:
.endm
.text
begin free
    ret
.size free,.-free
begin calloc
    imul %rsi, %rdi
    jmp malloc
.size calloc,.-calloc
begin realloc
    push %rdi
    mov %rsi, %rdi
    call malloc
    mov %rsi, %rcx
    mov %rax, %rdi
    pop %rsi
    test %rsi, %rsi
    je 1f
    rep movsb
1:  ret
.size realloc,.-realloc
.lcomm pool, 0x20000000
.data
next: .quad pool
.section .note.GNU-stack,"",@progbits
.text
begin malloc
END
        printf '.rept %d\nnop\n.endr\n' "$2"
        cat <<'END'
    mov next(%rip), %rax
    lea 31(%rdi), %rdx
    and $-16, %rdx
    add %rax, %rdx
    mov %rdx, next(%rip)
    ret
.size malloc,.-malloc
END
    } >"$TMP/$1.s"
    "${CC:-gcc}" -shared -nostdlib -o "$TMP/$1.so" "$TMP/$1.s" || bad "plant $1"
}

test_planted()
{
    local few many want=''
    if [[ $(uname -m) != x86_64 ]]; then
        skip 'planted counts' "their code is for x86-64, not for $(uname -m)"
        return
    fi
    plant few 10
    plant many 35
    instr --allocs glibc --so "$TMP/few.so" --so "$TMP/many.so" --pairs 100 --csv "$TMP/planted"
    few=$(counts few.so "$TMP/planted")
    many=$(counts many.so "$TMP/planted")
    read -ra few <<<"$few"
    for ((i = 0; i < ${#CASES[@]}; i += 1)); do
        want+="${want:+ }$(awk -v few="${few[i]:-0}" 'BEGIN { printf "%.1f", few + 25 }')"
    done
    same '25 instructions more are 25 more in each case' "$want" "$many"
    # 17 planted ones, and the calls: mov, call and jump, twice.
    judge 'and the loop is not counted' awk -v n="${few[0]:-0}" 'BEGIN { exit !(n > 18 && n < 26) }'
}

test_peers()
{
    local name
    for name in "${PEERS[@]}"; do
        need_peer "$name" >"$TMP/peer" || bad "$name cannot be had" "$TMP/unpack"
    done
    instr --allocs "$(IFS=,; echo "${PEERS[*]}")" --pairs 100 --csv "$TMP/peers"
    for name in "${PEERS[@]}"; do
        # shellcheck disable=SC2016 # the dollars are awk's
        judge "counts of $name" awk -F, -v name="$name" -v cases=${#CASES[@]} '
            $1 == name && $3 > 20 { n++ } END { exit n != cases }' "$TMP/peers"
    done
}

# ---- our own ----------------------------------------------------------------------------

# Budgets are for code of one compiler.
budgets_fit()
{
    local flags
    read -r flags <"$BUILD/flags"
    [[ $(uname -m) == x86_64 && $flags == 'gcc g++ -O2 -g '* && $(gcc -dumpversion) == 12* ]]
}

test_budgets()
{
    local first
    instr --allocs tidepool --csv "$TMP/csv" --json "$TMP/json" --budgets tests/instr.budgets
    local status=$?
    same 'the cases' "${CASES[*]}" "$(awk -F, 'NR > 1 { printf "%s%s", n++ ? " " : "", $2 }' \
        "$TMP/csv")"
    judge 'JSON' json_lines "$TMP/json"
    same 'CSV and JSON tell the same' "$(counts tidepool "$TMP/csv")" \
        "$(tr '}' '\n' <"$TMP/json" | sed -n 's/.*"instructions_per_pair"://p' | tr '\n' ' ' |
            sed 's/ $//')"
    if budgets_fit; then
        judge 'tidepool keeps to its budgets' test $status -eq 0
    else
        skip 'tidepool keeps to its budgets' 'they are for x86-64 and gcc 12 -O2 -g'
    fi
    first=$(counts tidepool "$TMP/csv")
    first=${first%% *}
    awk -v least="$first" '$1 == "tiny/64" { $2 = least - 1 }
        $1 == "mid/4096" { next } { print }' tests/instr.budgets >"$TMP/lower"
    echo 'huge/1G 5' >>"$TMP/lower"
    ends 'a lower budget fails' 1 err "tiny/64: $first instructions, the budget is" \
        instr --allocs tidepool --pairs 500 --budgets "$TMP/lower"
    judge 'and so does a case without a budget' grep -q 'mid/4096: no budget' "$TMP/err"
    judge 'and a budget without a case' grep -q 'huge/1G: a budget, but no count' "$TMP/err"
}

need "$PROGRAM"
test_input
if ! command -v valgrind >/dev/null; then
    skip 'counts' 'valgrind is not installed'
    finish
fi
test_proof
test_planted
test_peers
test_budgets
finish
