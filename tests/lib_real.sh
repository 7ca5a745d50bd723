# shellcheck shell=bash disable=SC2034
# lib_real.sh - for scripts that run real programs under the preload (section `programs`).
#
# A case is one command that runs twice, in two arms: `plain` without the library and
# `served` under it. `same` compares what came out, `proof` looks at who was served.
#
#   get NAME...             Debian packages, and what they need that the machine lacks,
#                           into one tree: ROOT. Nothing is installed. Programs of the
#                           tree are found by plain, served, watched and launch alone.
#                           Name each package whose files a program seeks beside itself:
#                           of the others those that the machine has are not in the tree
#   plain CASE CMD...       runs; returns the exit status. Output is in
#   served CASE CMD...      $TMP/CASE.ARM.out and .err, the status in $TMP/CASE.ARM.status
#   watched CASE CMD...     as served (its arm, too), and every process is looked at when
#                           it ends. Only for commands that end by themselves
#   launch ARM CASE CMD...  a server in the background; sets PID; ended with the script
#   stop PID                ends it by TERM and returns its status
#
#   same NAME CASE [FILTER...]   both arms ended with 0 and said the same, after FILTER
#   proof NAME CASE [BLOCKS [MID [GLOB]]]
#                           the processes whose program matches GLOB (all) left statistics,
#                           at least one did, and each of them took at least BLOCKS blocks
#                           (10000), MID of them Mid (1)
#   proof_large NAME CASE COUNT [GLOB]   at least COUNT of the processes took 10000 blocks
#                           and one of Mid; the others may be small
#   proof_maps NAME CASE [COUNT]  after `watched`: at least COUNT processes (1), and all of
#                           them had the library mapped when they ended
#   proof_tree NAME PID [COUNT]   PID and its descendants, COUNT (1) in all, have it mapped
#   maps_served PID         status 0 if the process has the library mapped
#   table CASE              one line for each process: PID, blocks, Mid blocks, program
#
# A process that ends by _exit or a signal leaves no statistics: use the maps.
# What a script may set: SO (another copy of the library), STATS (a directory that the
# programs can write to), OPTIONS (more options for the library), EXTRA (an array of
# settings, NAME=value, for both arms).
#
# The names of cases and of programs in statistics hold no tabs.

. "$(dirname "${BASH_SOURCE[0]}")/lib_prog.sh"
. tests/lib_stop.sh

SO=$(realpath -m "$SO")
HERE=$PWD
STATS=$TMP
ROOT=
EXTRA=()
RUNNING=()
trap 'stop_all; rm -rf "$TMP"' EXIT
trap 'exit 143' TERM INT

get()
{
    ROOT=$BUILD/deps/root/$1
    if ! "$HERE/tools/deps.sh" unpack-all "$ROOT" "$@" >"$TMP/get" 2>&1; then
        bad "get $*" "$TMP/get"
        exit 1
    fi
}

# ---- running --------------------------------------------------------------------------

# Fills SETTINGS with the environment of an arm.
settings_of()
{
    local arm=$1 case=$2 dir libs=''
    SETTINGS=(-u LD_PRELOAD -u TIDEPOOL_OPTIONS)
    if [[ -n $ROOT ]]; then
        for dir in "$ROOT"/lib/*-linux-gnu "$ROOT"/usr/lib/*-linux-gnu; do
            [[ -d $dir ]] && libs+=${libs:+:}$dir
        done
        SETTINGS+=("PATH=$ROOT/usr/sbin:$ROOT/usr/bin:$ROOT/sbin:$ROOT/bin:$PATH")
        [[ -z $libs ]] || SETTINGS+=("LD_LIBRARY_PATH=$libs")
    fi
    SETTINGS+=("${EXTRA[@]}")
    [[ $arm == plain ]] && return
    SETTINGS+=("LD_PRELOAD=$SO"
        "TIDEPOOL_OPTIONS=stats_at_exit=$STATS/stats.$case.%p${OPTIONS:+,$OPTIONS}")
}

# run ARM CASE WRAPPER... -- CMD...
run()
{
    local arm=$1 case=$2 status
    local -a wrapper=()
    shift 2
    while [[ $1 != -- ]]; do
        wrapper+=("$1")
        shift
    done
    settings_of "$arm" "$case"
    bare "${wrapper[@]}" env "${SETTINGS[@]}" "${@:2}"
    status=$?
    mv "$TMP/out" "$TMP/$case.$arm.out"
    mv "$TMP/err" "$TMP/$case.$arm.err"
    echo "$status" >"$TMP/$case.$arm.status"
    return "$status"
}

plain()
{
    run plain "$1" -- "${@:2}"
}

served()
{
    run served "$1" -- "${@:2}"
}

# The watcher, unless this machine forbids tracing.
find_watcher()
{
    [[ -n ${WATCHER+set} ]] && return
    WATCHER=$TMP/watch
    if ! "${CC:-gcc}" -std=gnu17 -O1 -o "$WATCHER" "$HERE/tools/demo_watch.c" \
        >"$TMP/make" 2>&1; then
        bad 'build the watcher' "$TMP/make"
        exit 1
    fi
    "$WATCHER" "$SO" "$TMP/watch.log" true 2>/dev/null || WATCHER=''
}

watched()
{
    find_watcher
    rm -f "$TMP/$1.watch"
    run served "$1" ${WATCHER:+"$WATCHER" "$SO" "$TMP/$1.watch"} -- "${@:2}"
}

launch()
{
    local arm=$1 case=$2
    settings_of "$arm" "$case"
    env "${SETTINGS[@]}" "${@:3}" >"$TMP/$case.$arm.out" 2>"$TMP/$case.$arm.err" </dev/null &
    PID=$!
    RUNNING+=("$PID")
}

# ---- judging --------------------------------------------------------------------------

same()
{
    local name=$1 case=$2 arm kind
    shift 2
    for arm in plain served; do
        if [[ $(cat "$TMP/$case.$arm.status") != 0 ]]; then
            bad "$name ($arm: exit $(cat "$TMP/$case.$arm.status"))" \
                "$TMP/$case.$arm.out" "$TMP/$case.$arm.err"
            return 1
        fi
        for kind in out err; do
            "${@:-cat}" <"$TMP/$case.$arm.$kind" >"$TMP/$arm.$kind"
        done
    done
    for kind in out err; do
        if ! diff "$TMP/plain.$kind" "$TMP/served.$kind" >"$TMP/diff"; then
            bad "$name ($kind differs)" "$TMP/diff"
            return 1
        fi
    done
    ok "$name"
}

table()
{
    local file tier figures='.*"pid":([0-9]+),"program":"([^"]*)"'
    for tier in tiny mid large; do
        figures+='.*"'$tier'":\{[^[]*"taken_blocks":([0-9]+)'
    done
    for file in "$STATS/stats.$1".[0-9]*; do
        [[ ! -e $file ]] || sed -nE "s/$figures.*/\1\t\3\t\4\t\5\t\2/p" "$file"
    done | awk -F'\t' -v OFS='\t' '{ print $1, $2 + $3 + $4, $3, $5 }'
}

proof()
{
    local name=$1 case=$2 blocks=${3:-10000} mid=${4:-1} glob=${5:-*}
    local pid all far program count=0
    : >"$TMP/wrong"
    while IFS=$'\t' read -r pid all far program; do
        # shellcheck disable=SC2053 # it is a pattern
        [[ $program == $glob ]] || continue
        count=$((count + 1))
        ((all >= blocks && far >= mid)) ||
            echo "$pid: $all blocks, Mid $far: $program" >>"$TMP/wrong"
    done < <(table "$case")
    if ((count == 0)); then
        bad "$name: no process $glob left statistics"
    elif [[ -s $TMP/wrong ]]; then
        bad "$name: $(wc -l <"$TMP/wrong") of $count processes not served" "$TMP/wrong"
    else
        ok "$name ($count processes)"
    fi
}

proof_large()
{
    local name=$1 glob=${4:-*} pid all far program count=0
    while IFS=$'\t' read -r pid all far program; do
        # shellcheck disable=SC2053 # it is a pattern
        [[ $program == $glob ]] && ((all >= 10000 && far > 0)) && count=$((count + 1))
    done < <(table "$2")
    if ((count >= $3)); then
        ok "$name ($count processes)"
    else
        table "$2" >"$TMP/wrong"
        bad "$name: only $count processes" "$TMP/wrong"
    fi
}

proof_maps()
{
    local name=$1 log=$TMP/$2.watch count
    if [[ -z $WATCHER ]]; then
        skip "$name" 'no process may be traced here'
        return
    fi
    grep -v $'^[0-9]*\tyes\t' "$log" >"$TMP/wrong"
    count=$(wc -l <"$log")
    if [[ -s $TMP/wrong ]]; then
        bad "$name: $(wc -l <"$TMP/wrong") of $count processes without the library" "$TMP/wrong"
    elif ((count < ${3:-1})); then
        bad "$name: only $count processes" "$log"
    else
        ok "$name ($count processes)"
    fi
}

maps_served()
{
    grep -qE " r-x.* $SO\$" "/proc/$1/maps" 2>/dev/null
}

# PID and its descendants.
descendants()
{
    local child
    local -a children
    echo "$1"
    read -ra children -d '' < <(cat "/proc/$1"/task/*/children 2>/dev/null)
    for child in "${children[@]}"; do
        descendants "$child"
    done
}

proof_tree()
{
    local pid count=0
    : >"$TMP/wrong"
    for pid in $(descendants "$2"); do
        # One that has just ended has no map.
        if maps_served "$pid"; then
            count=$((count + 1))
        elif [[ -n $(head -c 1 "/proc/$pid/maps" 2>/dev/null) ]]; then
            tr '\0' ' ' <"/proc/$pid/cmdline" >>"$TMP/wrong"
            echo >>"$TMP/wrong"
        fi
    done
    if [[ -s $TMP/wrong ]]; then
        bad "$1: $(wc -l <"$TMP/wrong") processes without the library" "$TMP/wrong"
    elif ((count < ${3:-1})); then
        bad "$1: only $count processes are served"
    else
        ok "$1 ($count processes)"
    fi
}
