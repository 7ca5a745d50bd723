# shellcheck shell=bash
# lib_tool.sh - for scripts that test the `tidepool` command. Reads lib_prog.sh; sets TOOL, and
# after each run STATUS. "$TMP/out" and "$TMP/err" hold what the last run said.

. "$(dirname "${BASH_SOURCE[0]}")/lib_prog.sh"

TOOL=$BUILD/tidepool
NOBODY=65534
need "$TOOL" "$SO"
unset LD_PRELOAD TIDEPOOL_LIBRARY TIDEPOOL_WARNED TMPDIR
: >"$TMP/out"
: >"$TMP/err"

# run ARGUMENT...: the command, with its output in $TMP/out and $TMP/err; sets STATUS.
run()
{
    bare "$TOOL" "$@"
    STATUS=$?
}

# as_other COMMAND...: as an ordinary user, who can run a copy of the command in $TMP.
as_other()
{
    local -a other=()
    ((EUID != 0)) || other=(setpriv --reuid "$NOBODY" --regid "$NOBODY" --clear-groups)
    chmod 755 "$TMP"
    cp "$TOOL" "$TMP/tidepool"
    bare "${other[@]}" "$@"
    STATUS=$?
}

# check NAME CONDITION...: a verdict on the last run, by the test command.
check()
{
    if [ "${@:2}" ]; then ok "$1"; else bad "$1 (exit $STATUS)" "$TMP/out" "$TMP/err"; fi
}

# says NAME STATUS FILE PATTERN: the last run ended so, and out or err has a matching line.
says()
{
    if ((STATUS == $2)) && grep -qE -e "$4" "$TMP/$3"; then
        ok "$1"
    else
        bad "$1 (exit $STATUS, expected $2 and '$4' in $3)" "$TMP/out" "$TMP/err"
    fi
}

# same NAME WANTED GOT
same()
{
    printf 'wanted: %s\ngot:    %s\n' "$2" "$3" >"$TMP/same"
    if [[ $2 == "$3" ]]; then ok "$1"; else bad "$1" "$TMP/same" "$TMP/err"; fi
}

is_json()
{
    if command -v python3 >/dev/null && python3 -c '' 2>/dev/null; then
        python3 -m json.tool "$1" >/dev/null
    else # pairs of brackets, and no member without a comma in front
        [[ $(tr -cd '{[' <"$1" | wc -c) == $(tr -cd '}]' <"$1" | wc -c) ]] &&
            ! grep -A 1 -E '[^,{[]$' "$1" | grep -qE '^ *("|[0-9{[])'
    fi
}

# json NAME: the last run wrote valid JSON and ended with 0.
json()
{
    if ((STATUS == 0)) && is_json "$TMP/out" && [[ ! -s $TMP/err ]]; then
        ok "$1"
    else
        bad "$1 (exit $STATUS)" "$TMP/out" "$TMP/err"
    fi
}

# has NAME LINE...: the last output has these lines one after the other, white space and
# commas at their ends aside.
has()
{
    local name=$1 want
    shift
    want=$(printf '%s\n' "$@")
    if [[ $'\n'$(sed -e 's/^ *//' -e 's/,$//' "$TMP/out")$'\n' == *$'\n'"$want"$'\n'* ]]; then
        ok "$name"
    else
        printf '%s\n' "$want" >"$TMP/want"
        bad "$name" "$TMP/want" "$TMP/out"
    fi
}

# ---- made-up machines ------------------------------------------------------------------------
# A directory in place of /sys (info --sysfs), or in place of /: with sys, proc and dev (--root).

# node DIRECTORY ID CPUS DISTANCES KIB FREE_KIB
node()
{
    local at=$1/devices/system/node/node$2
    mkdir -p "$at"
    echo "$3" >"$at/cpulist"
    echo "$4" >"$at/distance"
    printf 'Node %s %s %s kB\n' "$2" MemTotal: "$5" "$2" MemFree: "$6" >"$at/meminfo"
}

# masks DIRECTORY ONLINE HAS_CPU HAS_MEMORY
masks()
{
    local at=$1/devices/system/node
    echo "$2" >"$at/online"
    echo "$3" >"$at/has_cpu"
    echo "$4" >"$at/has_memory"
}

# dax DIRECTORY NAME SIZE ALIGN NODE DRIVER
dax()
{
    local at=$1/bus/dax/devices/$2
    mkdir -p "$at"
    echo "$3" >"$at/size"
    echo "$4" >"$at/align"
    echo "$5" >"$at/target_node"
    [[ -z $6 ]] || ln -s "../../drivers/$6" "$at/driver"
}

# hmat DIRECTORY ID NANOSECONDS MIB_A_SECOND INITIATOR
hmat()
{
    local at=$1/devices/system/node/node$2/access0/initiators
    mkdir -p "$at"
    echo "$3" >"$at/read_latency"
    echo "$4" >"$at/read_bandwidth"
    ln -s "../../../node$5" "$at/node$5"
}

# linux DIRECTORY [RELEASE]: what is not about nodes, of a machine on which nothing is wrong.
linux()
{
    local proc=$1/proc sys=$1/sys
    mkdir -p "$proc"/{self,sys/kernel,sys/vm} "$sys"/kernel/mm/{numa,transparent_hugepage} "$1/dev"
    echo "${2:-6.12.9}" >"$proc/sys/kernel/osrelease"
    echo 0 >"$proc/sys/kernel/numa_balancing"
    echo 0 >"$proc/sys/vm/overcommit_memory"
    echo 65530 >"$proc/sys/vm/max_map_count"
    echo false >"$sys/kernel/mm/numa/demotion_enabled"
    echo 'always [madvise] never' >"$sys/kernel/mm/transparent_hugepage/enabled"
    echo 0::/ >"$proc/self/cgroup"
    printf 'Name:\tprogram\nMems_allowed_list:\t0-63\n' >"$proc/self/status"
    printf 'MemTotal: 8388608 kB\nCommitLimit: 8388608 kB\nCommitted_AS: 1048576 kB\n' \
        >"$proc/meminfo"
    limits "$1" unlimited unlimited unlimited
}

# limits DIRECTORY DATA LOCKED ADDRESS_SPACE
limits()
{
    {
        printf '%-25s %-20s %-20s %s\n' Limit 'Soft Limit' 'Hard Limit' Units
        printf '%-25s %-20s %-20s %s\n' 'Max data size' "$2" unlimited bytes
        printf '%-25s %-20s %-20s %s\n' 'Max locked memory' "$3" unlimited bytes
        printf '%-25s %-20s %-20s %s\n' 'Max address space' "$4" unlimited bytes
    } >"$1/proc/self/limits"
}

# offline DIRECTORY NODE COUNT: memory blocks of 128 MiB, the first COUNT of 4 offline.
offline()
{
    local block all=$1/devices/system/memory
    mkdir -p "$all"
    echo 8000000 >"$all/block_size_bytes"
    for block in 0 1 2 3; do
        mkdir -p "$all/memory$2$block"
        if ((block < $3)); then echo offline; else echo online; fi >"$all/memory$2$block/state"
        ln -s "../../memory/memory$2$block" "$1/devices/system/node/node$2/memory$2$block"
    done
}
