#!/usr/bin/env bash
# tests/tool_info.sh: `tidepool info`. What it says about this machine, about made-up ones
# (--sysfs), and about bad options. BUILD names the build directory (default: build).
set -u
. "$(dirname "$0")/lib_tool.sh"

# ---- info -----------------------------------------------------------------------------------

make_machines()
{
    node "$TMP/one" 0 0-3 10 1048576 524288
    masks "$TMP/one" 0 0 0
    node "$TMP/two" 0 0-3 '10 20' 8388608 4194304
    node "$TMP/two" 1 '' '20 10' 131072 65536
    masks "$TMP/two" 0-1 0 0-1
    node "$TMP/four" 0 0-3 '10 40 20 30' 8388608 4194304
    node "$TMP/four" 2 '' '40 10 40 40' 131072 65536
    node "$TMP/four" 3 '' '20 40 10 40' 131072 65536
    node "$TMP/four" 5 '' '30 40 40 10' 0 0
    masks "$TMP/four" 0,2-3,5 0 0,2-3
    dax "$TMP/four" dax0.0 268435456 2097152 -1 device_dax
    dax "$TMP/four" dax10.0 134217728 4096 3 kmem
    dax "$TMP/four" dax2.0 4096 4096 -1 ''
    # two sockets, each with CXL memory of its own; on node 0 there are two
    node "$TMP/sockets" 0 0-3 '10 21 14 14 24' 8388608 4194304
    node "$TMP/sockets" 1 4-7 '21 10 24 24 14' 8388608 4194304
    node "$TMP/sockets" 2 '' '14 24 10 16 26' 131072 65536
    node "$TMP/sockets" 3 '' '14 24 16 10 26' 131072 65536
    node "$TMP/sockets" 4 '' '24 14 26 26 10' 131072 65536
    masks "$TMP/sockets" 0-4 0-1 0-4
    hmat "$TMP/sockets" 0 90 68000 0
    hmat "$TMP/sockets" 2 400 20000 0
    hmat "$TMP/sockets" 3 250 48000 0
    hmat "$TMP/sockets" 4 200 48000 1
    dax "$TMP/sockets" dax1.0 134217728 2097152 3 kmem
    mkdir "$TMP/none"
}

test_info_here()
{
    local key
    run info
    says 'info shows the tiers' 0 out '^  \| Tiny   up to 2047 B '
    says 'info shows the version' 0 out '^tidepool [0-9.]*, Linux '
    run info --json
    json 'info --json is valid'
    for key in $(grep -o '"[a-z_]*":' "$TMP/out" | tr -d '":' | sort -u); do
        check "JSON.md documents $key" -n "$(grep -w "$key" tools/tidepool/JSON.md)"
    done
    TIDEPOOL_OPTIONS=mid=near run info
    says 'info follows mid=near' 0 out '^  Mid  *near: near memory, as asked'
    says '... with the header in band' 0 out '^ *header *inband: '
    TIDEPOOL_OPTIONS=mid=near,delay=99,header=inband,tiny_max=1023 run info
    says 'info follows delay' 0 out 'modelled: near, 99 ns a miss'
    says '... and header' 0 out '^ *header *inband: as asked'
    says '... and tiny_max' 0 out '\| Mid    1024 B \.\. 32 KiB'
    says '... and calls it a model' 0 out 'delay=99 is a model'
    if [[ ! -d /sys/devices/system/node/node7 ]]; then
        TIDEPOOL_OPTIONS=mid=node:7 run info
        says 'info says that near memory replaces node 7' 0 out 'Mid .* near memory is used$'
        says '... because it has no memory' 0 out 'not taken *node 7: it has no memory here'
        says '... in the picture, too' 0 out '^  \| Mid    2048 B \.\. 32 KiB'
    else
        skip 'info says that near memory replaces node 7' 'this machine has a node 7'
    fi
    bare bash -c "ulimit -v 400000; '$TOOL' info"
    STATUS=$?
    says 'info tells of a limit' 0 out 'RLIMIT_AS\) *390.6 MiB'
}

test_info_bad_options()
{
    local odd=$'cahce=1,mid=a"\\\t\x01\xff\xc3\xa9,retain=x,strict=1,verbose=1,stats_at_exit='
    TIDEPOOL_OPTIONS=$odd$TMP/info.json run info --json
    json 'bad options and odd bytes: valid JSON, no abort, nothing on stderr'
    check '... and each is told' "$(grep -c '"option":' "$TMP/out")" -eq 3
    TIDEPOOL_OPTIONS=$odd$TMP/info.json run info
    says 'in words: a bad source' 0 out '^  Mid  *near: no source'
    says 'in words: an unknown option' 0 out "unknown option 'cahce'; did you mean 'cache'"
    says 'in words: a bad value' 0 out "option retain: 'x' is not allowed"
    check 'the command writes no statistics about itself' ! -e "$TMP/info.json"
    TIDEPOOL_OPTIONS=mid,tiny_max=1100 run info
    says 'an entry without a value leaves the default' 0 out 'asked for *mid=auto'
    TIDEPOOL_OPTIONS=$(printf 'mid=near,stats_at_exit=%3000s' '' | tr ' ' x) run info
    says 'options that are too long are ignored, as by the library' 0 out 'asked for *mid=auto'
    says '... and it says so' 0 out 'too long'
}

test_info_machines()
{
    make_machines
    run info --sysfs="$TMP/one" --json
    json 'one node: valid JSON'
    has 'one node: Mid is near' '"asked": "auto"' '"source": "near"' '"node": null' '"far": false'
    run info --sysfs="$TMP/none"
    says 'no nodes: it says so' 0 out 'the kernel tells nothing about nodes'
    run info --sysfs="$TMP/two"
    says 'two nodes: two boxes' 0 out '^  near memory  *far: node 1, no CPUs$'
    says '... Mid in the far one' 0 out '^  \| Tiny .*\|  \| Mid    2048 B \.\. 32 KiB *\|$'
    says '... the node in the list' 0 out \
        '^ *1  none  *128 MiB  *64 MiB  20  far  *unknown \(distance decides\)$'
    says '... the near one, too' 0 out '^ *0  0-3  *8 GiB  *4 GiB  10  *unknown'
    says '... and why' 0 out '^  Mid  *node:1: the nearest memory node without processors$'
    says '... and why not the other' 0 out 'not taken *node 0: it has processors'
    says '... and the same by numactl' 0 out 'numactl --preferred=1 PROGRAM'
    TIDEPOOL_OPTIONS=mid=near run info --sysfs="$TMP/two"
    says 'two nodes, mid=near: far memory is not taken' 0 out 'node 1: far memory, but mid=near'
    check '... and nothing is to be placed' -z "$(grep numactl "$TMP/out")"
    TIDEPOOL_OPTIONS=mid=node:0 run info --sysfs="$TMP/two"
    says 'mid=node:0: told to be near' 0 out 'node 0 has processors'
    TIDEPOOL_OPTIONS=mid=node:7 run info --sysfs="$TMP/two" --json
    has 'mid=node:7: rejected' '"what": "node 7"' \
        '"why": "it has no memory here; nodes with memory: 0,1"'
    run info --sysfs="$TMP/two" --mems=0
    says 'two nodes, one allowed: near' 0 out '^  Mid  *near: no memory node without processors for'
    says '... and why not the far one' 0 out 'node 1: this process may not use it'
    TIDEPOOL_OPTIONS=mid=node:1 run info --sysfs="$TMP/two" --mems=0 --json
    has 'mid=node:1, not allowed' \
        '"why": "this process may not use it (Mems_allowed_list: 0)"'
    run info --sysfs="$TMP/two" --mems=x
    says 'mems: no list' 2 err 'mems=x: no list of nodes'
    TIDEPOOL_OPTIONS='mid=node:2*3+3*1' run info --sysfs="$TMP/four" --json
    has 'four nodes, two by shares' '"source": "node:2*3+3*1"'
    TIDEPOOL_OPTIONS=mid=node:3,5 run info --sysfs="$TMP/four" --json
    has 'four nodes, two asked for, one without memory' '"what": "node 5"' \
        '"why": "it has no memory here; nodes with memory: 0,2,3"'
    TIDEPOOL_OPTIONS=mid=node:2,cap=32M,full=fail,migrate=kernel run info --sysfs="$TMP/four"
    says 'cap is told' 0 out 'cap=33554432: at most so many bytes of far memory'
    says 'full=fail is told' 0 out 'full=fail: when far memory is full malloc returns NULL'
    says 'migrate=kernel is told' 0 out 'migrate=kernel: whether the kernel takes it is known'
    TIDEPOOL_OPTIONS=mid=near,cap=1M,full=fail,migrate=kernel run info
    says 'near memory has no cap' 0 out 'cap=1048576 has no effect: Mid is near memory'
    says '... is never full' 0 out 'full=fail has no effect: Mid is near memory'
    says '... and nothing moves' 0 out 'migrate=kernel: Mid is near memory'
    run info --sysfs="$TMP/four" --json
    json 'four nodes: valid JSON'
    has 'four nodes: all far ones' '"far_nodes": [' 2 3 ']'
    has '... the nearest is taken' '"source": "node:3"' '"node": 3' '"far": true' '"delay_ns": 0'
    has '... the other is farther' '"what": "node 2"' \
        '"why": "its distance is 40, that of node 3 is 20"'
    has '... one has no memory' '"what": "node 5"' '"why": "it has no memory"'
    has '... numactl' '"numactl": "numactl --preferred=3"' \
        '"daxctl": "daxctl reconfigure-device --mode=system-ram dax10.0"'
    has 'dax: a devdax device' '"name": "dax0.0"' '"size": 268435456' '"align": 2097152' \
        '"mode": "devdax"' '"target_node": null'
    has 'dax: one that is memory' '"name": "dax10.0"' '"size": 134217728' '"align": 4096' \
        '"mode": "system-ram"' '"target_node": 3'
    run info --sysfs="$TMP/four"
    says 'dax: none is taken' 0 out ' dax0.0: a devdax mapping is shared'
    says 'dax: unbound' 0 out '^  dax2.0  *4 KiB  *4 KiB  unbound  *none  *-$'
}

test_info_latency()
{
    run info --sysfs="$TMP/sockets"
    says 'two sockets: the quickest of the own one' 0 out '^  Mid  *node:3: the nearest'
    says '... its figures, with their source' 0 out \
        '^ *3  none .* 14  far  *250 ns, 48000 MiB/s \(HMAT\)$'
    says '... those of another socket are not from here' 0 out \
        '^ *4 .* 24  far  *200 ns, 48000 MiB/s \(HMAT, from the nodes next to it\)$'
    says '... what is slower' 0 out 'node 2: its latency is 400 ns, that of node 3 is 250 ns .HMAT'
    says '... what is more distant' 0 out 'node 4: its distance is 24, that of node 3 is 14'
    says '... numactl' 0 out 'same place *numactl --preferred=3 PROGRAM'
    says '... daxctl' 0 out 'daxctl reconfigure-device --mode=system-ram dax1.0 '
    run info --sysfs="$TMP/sockets" --json
    json 'two sockets: valid JSON'
    has '... figures' '"distance": 14' '"latency_ns": 400' '"bandwidth_mib": 20000' \
        '"performance_source": "hmat"' '"local": true' '"far": true'
    has '... of the other socket' '"distance": 24' '"latency_ns": 200' '"bandwidth_mib": 48000' \
        '"performance_source": "hmat"' '"local": false' '"far": true'
    has '... and the commands' '"numactl": "numactl --preferred=3"' \
        '"daxctl": "daxctl reconfigure-device --mode=system-ram dax1.0"'
    run info --sysfs="$TMP/sockets" --mems=0,1,4
    says '... one is left' 0 out '^  Mid  *node:4: the nearest'
    TIDEPOOL_OPTIONS=mid=node:2,3 run info --sysfs="$TMP/sockets"
    says 'two nodes in turn: numactl' 0 out 'numactl --interleave=2,3 PROGRAM'
    TIDEPOOL_OPTIONS='mid=node:2*3+3*1' run info --sysfs="$TMP/sockets"
    says 'two nodes by shares: numactl' 0 out 'numactl --weighted-interleave=2,3 PROGRAM'
}

# The decision without what depends on the real kernel and on dax devices, and without commas.
plain_decision()
{
    sed -n '/"decision"/,$p' |
        sed -e '/"what": "dax/,+1d' -e '/"placing"/d' -e '/"daxctl"/d' -e '/[{}]/d' \
        -e '/refuses the memory policy/d' -e 's/,$//' -e 's/: \[\]$/: [/' -e '/^ *\]$/d'
}

# The rules under --sysfs against the library's own: a made-up machine mounted over this one's.
test_info_mounted()
{
    local machine options below=/devices/system/node nodes=/sys/devices/system/node
    if ! unshare -rm mount --bind "$TMP/two$below" $nodes 2>/dev/null; then
        skip 'decisions agree with the library' 'nothing can be mounted here'
        return
    fi
    for machine in one two four sockets; do
        for options in mid=auto mid=near mid=node:0 mid=node:3 mid=node:1,delay=9 mid=auto,delay=7 \
            mid=node:2,header=inband mid=bad; do
            TIDEPOOL_OPTIONS=$options "$TOOL" info --json --sysfs="$TMP/$machine" |
                plain_decision >"$TMP/made-up"
            TIDEPOOL_OPTIONS=$options unshare -rm sh -c "
                mount --bind '$TMP/$machine$below' $nodes && '$TOOL' info --json --mems=0-63" |
                plain_decision >"$TMP/mounted"
            if [[ -s $TMP/mounted ]] && diff "$TMP/made-up" "$TMP/mounted" >"$TMP/diff"; then
                ok "decisions agree with the library: machine $machine, $options"
            else
                bad "decisions agree with the library: machine $machine, $options" "$TMP/diff"
            fi
        done
    done
}

test_info_here
test_info_bad_options
test_info_machines
test_info_latency
test_info_mounted
finish
