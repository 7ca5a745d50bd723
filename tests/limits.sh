#!/usr/bin/env bash
# limits.sh - malloc where the process or the machine is kept short: address space, data,
# commit, mappings, locks, and sandboxes that refuse or kill.
#
#   tests/limits.sh [WORD]   only verdicts with WORD in their names
#
# Two of them change settings of the whole machine for some seconds, and put them back:
# only as root, and only with CI=true or TEST_SYSCTL=1.
set -u
. "$(dirname "$0")/lib_prog.sh"

WORD=${1:-}
LOAD=$PROGS/prog_limits_load
FILTER=$PROGS/prog_limits_filter
VM=/proc/sys/vm
SIGSYS=159 # what a shell makes of it
need "$SO" "$LOAD" "$FILTER"

wanted()
{
    [[ $1 == *"$WORD"* ]]
}

try()
{
    ! wanted "$1" || verdict "$@"
}

# ---- one process ---------------------------------------------------------------------

# under FLAG KIB LIBRARY COMMAND...: with `ulimit FLAG KIB`.
under()
{
    # shellcheck disable=SC2016 # the inner shell expands it
    bare env LD_PRELOAD="$3" bash -c 'ulimit "$0" "$1" && exec "${@:2}"' "$1" "$2" "${@:4}"
}

# share NAME FLAG MIB PERCENT LOW HIGH [ALIGN]: so many per cent of what libc gives.
share()
{
    local libc ours
    wanted "$1" || return
    under "$2" $(($3 * 1024)) '' "$LOAD" fill "${@:5}" && libc=$(cat "$TMP/out")
    if ! under "$2" $(($3 * 1024)) "$SO" "$LOAD" fill "${@:5}" || [[ -s $TMP/err ]]; then
        bad "$1" "$TMP/out" "$TMP/err"
        return
    fi
    ours=$(cat "$TMP/out")
    if ((ours * 100 >= libc * $4)); then
        ok "$1"
    else
        bad "$1: $ours bytes, libc $libc, at least $4 % wanted"
    fi
}

# Where there is little, the library's own share is large.
run_shares()
{
    local row
    local -a part
    for row in 'space 64 55 -v' 'space 256 75 -v' 'data 64 55 -d' 'data 256 75 -d'; do
        read -ra part <<<"$row"
        set -- "${part[3]}" "${part[1]}" "${part[2]}"
        share "${part[0]}: only tiny in $2 MiB" "$@" 40 2047
        share "${part[0]}: only mid in $2 MiB" "$@" 2048 32768
        share "${part[0]}: only large in $2 MiB" "$@" 32769 1000000
        share "${part[0]}: all sizes in $2 MiB" "$@" 40 200000
        share "${part[0]}: only aligned in $2 MiB" "$@" 40 20000 4096
    done
}

run_threads()
{
    local name='space: four threads at once, in 256 MiB'
    wanted "$name" || return
    if under -v 262144 "$SO" "$LOAD" threads 40 200000 && [[ ! -s $TMP/err ]]; then
        ok "$name"
    else
        bad "$name" "$TMP/out" "$TMP/err"
    fi
}

run_maps()
{
    try 'maps: none left, some left, enough left' "$LOAD" maps 0 1 2 3 4 6 8 12 20 50 300
}

run_locks()
{
    try 'locks: all memory, threads' "$LOAD" locked
}

# ---- sandboxes -----------------------------------------------------------------------

# A filter that was closed after start: nothing but mmap, munmap, mprotect, madvise,
# mremap, futex and what ends a process. Each of them is needed.
run_filters()
{
    local call error name
    local OPTIONS=mid=near # far memory needs mbind when a window is opened
    try 'filter: kills all calls but a few' "$FILTER" kill
    try 'filter: the same, and threads start and end' "$FILTER" kill threads
    for call in mmap munmap mprotect madvise mremap futex; do
        name="filter: $call is on the list for a reason"
        wanted "$name" || continue
        preloaded "$FILTER" kill "-$call"
        if (($? == SIGSYS)); then
            ok "$name"
        else
            bad "$name" "$TMP/out" "$TMP/err"
        fi
    done
    for call in mmap munmap mprotect madvise mremap; do
        for error in EPERM ENOSYS; do
            try "filter: $call gives $error" "$FILTER" refuse "$call" "$error"
        done
    done
}

# ---- the whole machine ---------------------------------------------------------------

declare -A SAVED=()

# change NAME VALUE: a setting below /proc/sys/vm.
change()
{
    [[ -n ${SAVED[$1]:-} ]] || SAVED[$1]=$(cat "$VM/$1")
    echo "$2" >"$VM/$1"
}

# Of overcommit_kbytes and overcommit_ratio the one that is not 0 counts.
restore()
{
    local name
    for name in overcommit_memory max_map_count user_reserve_kbytes overcommit_kbytes \
        nr_hugepages; do
        [[ -n ${SAVED[$name]:-} ]] && echo "${SAVED[$name]}" >"$VM/$name"
    done
    [[ ${SAVED[overcommit_kbytes]:-1} != 0 ]] ||
        echo "${SAVED[overcommit_ratio]}" >"$VM/overcommit_ratio"
    SAVED=()
}

# may_change NAME: says why not.
may_change()
{
    if [[ ${CI:-} != true && ${TEST_SYSCTL:-} != 1 ]]; then
        skip "$1" 'changes a setting of the machine: TEST_SYSCTL=1 or CI=true allows it'
    elif ((EUID != 0)) || [[ ! -w $VM/overcommit_memory ]]; then
        skip "$1" 'only root can change settings of the machine'
    else
        return 0
    fi
    return 1
}

committed()
{
    awk '$1 == "Committed_AS:" { print $2 }' /proc/meminfo
}

# spare MIB: from a process with much address space, such as our programs, the kernel
# keeps user_reserve_kbytes, here 6 GiB, which the others have. So much is left for it.
spare()
{
    change user_reserve_kbytes $((6 << 20))
    change overcommit_kbytes $(($(committed) + (6 << 20) + ($1 << 10)))
    change overcommit_memory 2
}

# refused NAME LOW HIGH: takes until the kernel refuses to promise more.
refused()
{
    spare 512
    if preloaded "$LOAD" wide "${@:2}" && [[ ! -s $TMP/err ]] &&
        (($(cat "$TMP/out") >= 64 << 20)); then
        ok "$1"
    else
        bad "$1" "$TMP/out" "$TMP/err"
    fi
}

# overcommit_memory=2
run_commit()
{
    local name='commit: never more than there is'
    wanted "$name" && may_change "$name" || return
    SAVED[overcommit_ratio]=$(cat "$VM/overcommit_ratio")
    spare 3072
    verdict "$name: a load of all tiers" "$LOAD" mixed
    refused "$name: only tiny" 40 2047
    refused "$name: only mid" 2048 32768
    refused "$name: only large" 32769 1000000
    refused "$name: all sizes" 40 3000000
    restore
}

run_map_count()
{
    local name='map_count: a load of all tiers where 500 mappings are allowed'
    wanted "$name" && may_change "$name" || return
    change max_map_count 500
    verdict "$name" "$LOAD" mixed
    restore
}

# A region in a file on hugetlbfs: its pages are the alignment, and more than there are is an
# error when it is made, not a SIGBUS later.
run_huge_pages()
{
    local name='hugetlbfs' dir=$TMP/huge pages
    wanted "$name" && may_change "$name" || return
    mkdir "$dir"
    change nr_hugepages 24
    pages=$(cat "$VM/nr_hugepages")
    if ((pages < 24)) || ! mount -t hugetlbfs none "$dir" 2>"$TMP/err"; then
        skip "$name" "no huge pages or no mount here ($pages pages)"
        restore
        return
    fi
    verdict "$name: a region" "$PROGS/prog_region" "file:$dir/region"
    bare env LD_PRELOAD="$SO" "$PROGS/prog_region" "file:$dir/large" $((200 << 20))
    if [[ ! -e $dir/large ]] && grep -qE 'needs 209715200 more bytes, and ' "$TMP/out"; then
        ok "$name: more than there is"
    else
        bad "$name: more than there is" "$TMP/out" "$TMP/err"
    fi
    rm -f "$dir"/*
    umount "$dir"
    restore
}

trap 'umount "$TMP/huge" 2>/dev/null; restore; rm -rf "$TMP"' EXIT
trap 'exit 1' INT TERM HUP
run_shares
run_threads
run_maps
run_locks
run_filters
run_commit
run_map_count
run_huge_pages
finish
