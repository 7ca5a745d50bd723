#!/usr/bin/env bash
# tests/tool_golden.sh: what `tidepool info` and `tidepool doctor` say on machines of every shape,
# word for word. The machines are files; tests/golden/SHAPE has the words.
#
#   GOLDEN=write tests/tool_golden.sh   writes them anew: read the difference before you commit it
#
# BUILD names the build directory (default: build).
# shellcheck disable=SC2317 # make_SHAPE: by name
set -u
. "$(dirname "$0")/lib_tool.sh"

WORDS=tests/golden

# ---- the machines ---------------------------------------------------------------------------

# One node, no far memory.
make_one()
{
    linux "$1"
    node "$1/sys" 0 0-3 10 8388608 4194304
    masks "$1/sys" 0 0 0
}

# A node without processors, of which the firmware says nothing.
make_far()
{
    linux "$1"
    node "$1/sys" 0 0-3 '10 20' 8388608 4194304
    node "$1/sys" 1 '' '20 10' 524288 262144
    masks "$1/sys" 0-1 0 0-1
}

# CXL memory as a devdax device that only root may open: no node yet.
make_devdax()
{
    make_one "$1"
    dax "$1/sys" dax0.0 268435456 2097152 1 device_dax
}

# The same as system RAM, with figures from the firmware.
make_kmem()
{
    make_far "$1"
    dax "$1/sys" dax0.0 536870912 2097152 1 kmem
    hmat "$1/sys" 0 90 68000 0
    hmat "$1/sys" 1 250 48000 0
}

# The same, but nobody has brought its memory in.
make_offline()
{
    make_far "$1"
    masks "$1/sys" 0-1 0 0
    node "$1/sys" 1 '' '20 10' 0 0
    dax "$1/sys" dax0.0 536870912 2097152 1 kmem
    offline "$1/sys" 1 4
}

# CXL memory without a region.
make_cxl()
{
    make_one "$1"
    mkdir -p "$1/sys/bus/cxl/devices/mem0/ram"
    echo 0x10000000 >"$1/sys/bus/cxl/devices/mem0/ram/size"
}

# Two sockets, each with CXL memory of its own; on the first there are two, and a device more.
make_sockets()
{
    linux "$1"
    node "$1/sys" 0 0-3 '10 21 14 14 24' 8388608 4194304
    node "$1/sys" 1 4-7 '21 10 24 24 14' 8388608 4194304
    node "$1/sys" 2 '' '14 24 10 16 26' 131072 65536
    node "$1/sys" 3 '' '14 24 16 10 26' 131072 65536
    node "$1/sys" 4 '' '24 14 26 26 10' 131072 65536
    masks "$1/sys" 0-4 0-1 0-4
    hmat "$1/sys" 0 90 68000 0
    hmat "$1/sys" 2 400 20000 0
    hmat "$1/sys" 3 250 48000 0
    hmat "$1/sys" 4 200 48000 1
    dax "$1/sys" dax1.0 134217728 2097152 3 kmem
    dax "$1/sys" dax2.0 134217728 2097152 -1 ''
}

# A far node that the cpuset leaves out, on an old kernel, with tight limits.
make_contained()
{
    make_far "$1"
    linux "$1" 5.10.0-28-amd64
    printf 'Mems_allowed_list:\t0\n' >"$1/proc/self/status"
    echo 0::/kube/pod >"$1/proc/self/cgroup"
    limits "$1" unlimited 65536 1073741824
    echo 2 >"$1/proc/sys/vm/overcommit_memory"
}

# ---- the words ------------------------------------------------------------------------------

# On a processor of node 0, where there are several: distances are counted from there.
PINNED=()
FIRST=$(sed 's/[^0-9].*//' /sys/devices/system/node/node0/cpulist 2>/dev/null)
if [[ -n $FIRST ]] && taskset -c "$FIRST" true 2>/dev/null; then
    PINNED=(taskset -c "$FIRST")
fi

# say SHAPE OPTIONS COMMAND...: what the commands say.
say()
{
    local words status
    for words in "${@:3}"; do
        echo "@@begin ${2:+TIDEPOOL_OPTIONS=$2 }tidepool $words"
        # shellcheck disable=SC2086 # words
        bare "${PINNED[@]}" env ${2:+TIDEPOOL_OPTIONS="$2"} "$TOOL" $words --root="$TMP/$1"
        status=$?
        sed -E -e 's/^tidepool [0-9.]+,/tidepool VERSION,/' \
            -e 's/^(  "version": ).*/\1"VERSION",/' "$TMP/out"
        cat "$TMP/err"
        echo "@@end $status"
    done
}

# shape NAME OPTIONS...: the machine of make_NAME, without options and in JSON, too; then in words
# with each of these options.
shape()
{
    local options
    "make_$1" "$TMP/$1"
    {
        say "$1" '' info 'info --json' doctor 'doctor --json'
        for options in "${@:2}"; do
            say "$1" "$options" info doctor
        done
    } >"$TMP/words"
    [[ ${GOLDEN:-} != write ]] || cp "$TMP/words" "$WORDS/$1"
    if diff "$WORDS/$1" "$TMP/words" >"$TMP/diff"; then
        ok "what info and doctor say: $1"
    else
        bad "what info and doctor say: $1" "$TMP/diff"
    fi
}

shape one mid=near,delay=250 mid=node:1
shape far mid=node:1,cap=64M,full=fail,migrate=kernel
shape devdax
shape kmem mid=node:0
shape offline mid=node:1
shape cxl
shape sockets mid=node:2,3
shape contained mid=node:1
finish
