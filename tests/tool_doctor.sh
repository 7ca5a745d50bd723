#!/usr/bin/env bash
# tests/tool_doctor.sh: `tidepool doctor`: every finding on a machine that has the fault, and none
# on one that has not; permissions in `info`.
# BUILD names the build directory (default: build).
set -u
. "$(dirname "$0")/lib_tool.sh"

M=$TMP/m # the machine at hand

# ---- one machine after the other ------------------------------------------------------------

# fresh [RELEASE]: a machine with a far node, on which nothing is wrong.
fresh()
{
    rm -rf "$M"
    linux "$M" "$@"
    node "$M/sys" 0 0-3 '10 20' 8388608 4194304
    node "$M/sys" 1 '' '20 10' 524288 262144
    masks "$M/sys" 0-1 0 0-1
}

# near: the same without the far node.
near()
{
    fresh
    rm -rf "$M/sys/devices/system/node/node1"
    masks "$M/sys" 0 0 0
}

# doctor [OPTIONS]: of the machine at hand.
doctor()
{
    TIDEPOOL_OPTIONS=${1:-} run doctor --root="$M"
}

# finds NAME SEVERITY FOUND MEND: the last run has a finding with such lines; exit code 1, or 0
# for a note.
finds()
{
    local want=1
    [[ $2 != note ]] || want=0
    awk -v severity="$2" '
        /^(error|warning|note) / { on = $1 == severity }
        on && sub(/^[a-z]+ +found /, "") { f = $0 }
        on && /^ *mend/ { sub(/^ *mend */, ""); print f "|" $0 }' "$TMP/out" >"$TMP/pairs"
    if ((STATUS == want)) && grep -qE -e "^($3)[|]($4)\$" "$TMP/pairs"; then
        ok "$1"
    else
        bad "$1 (exit $STATUS, wanted $want and $2 '$3' | '$4')" "$TMP/out" "$TMP/err"
    fi
}

# sound NAME: the last run found nothing at all.
sound()
{
    if ((STATUS == 0)) && [[ ! -s $TMP/err ]] &&
        grep -q '^0 errors, 0 warnings, 0 notes: nothing to mend$' "$TMP/out"; then
        ok "$1"
    else
        bad "$1 (exit $STATUS)" "$TMP/out" "$TMP/err"
    fi
}

# ---- options --------------------------------------------------------------------------------

test_options()
{
    fresh
    doctor
    sound 'a machine with a far node: nothing to mend'
    says '... and what Mid is' 0 out '^Mid: node:1: the nearest memory node without processors$'
    doctor mid=node:1,cap=1M,tiny_max=1500
    sound 'good options: nothing to mend'
    doctor cahce=1M,tiny_max=1500
    finds 'an option that does not exist' error "unknown option 'cahce'; did you mean 'cache'\?" \
        'export TIDEPOOL_OPTIONS=tiny_max=1500'
    doctor retain=x
    finds 'a bad value' error "option retain: 'x' is not allowed; allowed: .*" \
        'unset TIDEPOOL_OPTIONS'
    says '... what it means' 1 out 'means the library warns and goes on without'
    doctor retain=x,strict=1
    says '... with strict=1' 1 out 'means strict=1: the program aborts at its start'
    doctor "cache=1M,mid"
    finds 'mid without a value' error 'option mid has no value; .*' \
        'export TIDEPOOL_OPTIONS=cache=1M'
    doctor "$(printf 'mid=near,stats_at_exit=%3000s' '' | tr ' ' x)"
    finds 'options that are too long' error 'TIDEPOOL_OPTIONS is longer than 2047 characters' \
        'unset TIDEPOOL_OPTIONS'
    doctor "cache=1X,stats_at_exit=/tmp/it's \$HOME"
    finds 'what is set again is quoted for the shell' error "option cache: '1X' .*" \
        "export TIDEPOOL_OPTIONS='stats_at_exit=/tmp/it'\\\\''s .HOME'"
}

test_sources()
{
    fresh
    doctor mid=far,cache=1M
    finds 'a source that does not exist' error 'mid=far: no source .*' \
        'export TIDEPOOL_OPTIONS=cache=1M'
    says '... what it means' 1 out 'means nothing of Mid is in far memory'
    doctor mid=node:7
    finds 'a node that is not there' error 'mid=node:7: the node asked for has no memory here.*' \
        'unset TIDEPOOL_OPTIONS'
    doctor mid=node:0,7
    finds 'one of two nodes' error 'mid=node:0,7: one of the nodes asked for has no memory.*' \
        'unset TIDEPOOL_OPTIONS'
    printf 'Mems_allowed_list:\t0\n' >"$M/proc/self/status"
    doctor mid=node:1
    finds 'a node that the process may not use' error 'mid=node:1: this process may not use .*' \
        'echo 0,1 >/sys/fs/cgroup/cpuset.mems .*'
    fresh
    masks "$M/sys" 0-1 0 0
    offline "$M/sys" 1 4
    doctor mid=node:1
    finds 'a node whose memory is offline' error 'mid=node:1: the node asked for has no memory.*' \
        'for s in /sys/devices/system/node/node1/memory\*/state; do .* done'
    near
    dax "$M/sys" dax0.0 268435456 2097152 1 kmem
    doctor mid=dax:/dev/dax0.0
    finds 'a device in system-ram mode' error 'mid=dax:/dev/dax0.0: .*' \
        'export TIDEPOOL_OPTIONS=mid=node:1'
    near
    dax "$M/sys" dax0.0 268435456 2097152 1 device_dax
    doctor mid=node:1
    finds 'a node that a device could be' error 'mid=node:1: the node asked for has no memory.*' \
        'daxctl reconfigure-device --mode=system-ram dax0.0'
    : >"$M/file"
    doctor mid=file:"$M/file"
    finds 'an empty file' error "mid=file:.*/file: .* is empty" 'fallocate -l 1G /.*/file'
    doctor mid=file:"$M/none"
    finds 'a file that is not there' error "mid=file:.*/none: .* does not exist" \
        'fallocate -l 1G /.*/none'
    head -c 100 /dev/zero >"$M/file"
    doctor mid=file:"$M/file"
    finds 'a file that is too small' error '/.*/file has 100 bytes' 'fallocate -l 1G /.*/file'
    head -c 524288 /dev/zero >"$M/file"
    doctor mid=file:"$M/file"
    check 'a file that is just large enough' -z "$(grep 'has 524288 bytes' "$TMP/out")"
}

# Where a device is a link to one that everybody has, and sysfs tells of it what is made up.
test_shared_sources()
{
    local link=$M/dev/dax0.0 numbers
    near
    numbers=$(stat -Lc %t:%T /dev/null)
    mkdir -p "$M/sys/dev/char/$numbers"
    echo 268435456 >"$M/sys/dev/char/$numbers/size"
    echo 2097152 >"$M/sys/dev/char/$numbers/align"
    dax "$M/sys" dax0.0 268435456 2097152 1 device_dax
    ln -s /dev/null "$link"
    doctor mid=dax:"$link",shared_mid=1
    sound 'a device that may be shared'
    says '... is what Mid is' 0 out '^Mid: dax:.*/dev/dax0.0: the device asked for$'
    doctor mid=dax:"$link"
    finds 'a device that may not' error 'mid=dax:.*: after a fork parent and child would write .*' \
        'daxctl reconfigure-device --mode=system-ram dax0.0'
    doctor mid=dax:"$link",shared_mid=1,cap=3M
    finds 'a cap that does not fit its alignment' warning \
        "cap=3145728 is no multiple of 2 MiB, the device's alignment" \
        'export TIDEPOOL_OPTIONS=mid=dax:.*,shared_mid=1,cap=2097152'
    ln -sfn ../../drivers/kmem "$M/sys/bus/dax/devices/dax0.0/driver"
    rm "$M/sys/dev/char/$numbers/align"
    doctor mid=dax:"$link",shared_mid=1
    finds 'the library tells of system-ram mode' error 'mid=dax:.*: .* is in system-ram mode: .*' \
        'export TIDEPOOL_OPTIONS=.*mid=node:1.*'
    near
    doctor mid=memfd,shared_mid=1,cap=1M
    sound 'a memfd'
    doctor mid=memfd,shared_mid=1
    finds 'a memfd without a size' error 'mid=memfd without cap=' \
        'export TIDEPOOL_OPTIONS=mid=memfd,shared_mid=1,cap=1G'
}

test_cap()
{
    fresh
    doctor cap=512K
    sound 'a cap of one segment'
    doctor cap=1000
    finds 'a cap below a segment' warning 'cap=1000 is no multiple of 512 KiB' \
        'export TIDEPOOL_OPTIONS=cap=524288'
    says '... what it means' 1 out 'in steps of 512 KiB, so that none is taken'
    doctor cap=1000000
    finds 'a misaligned cap' warning 'cap=1000000 is no multiple of 512 KiB' \
        'export TIDEPOOL_OPTIONS=cap=524288'
    says '... what it means' 1 out 'the last 475712 bytes are never used'
    doctor mid=near,cap=1000
    sound 'a cap of near memory is no matter'
    dax "$M/sys" dax0.0 268435456 2097152 -1 device_dax
    : >"$M/dev/dax0.0"
    doctor mid=dax:/dev/dax0.0,cap=3M
    finds 'a cap that is no multiple of the device alignment' warning \
        "cap=3145728 is no multiple of 2 MiB, the device's alignment" \
        'export TIDEPOOL_OPTIONS=.*cap=2097152'
}

# ---- devices and nodes ----------------------------------------------------------------------

test_devices()
{
    near
    dax "$M/sys" dax0.0 268435456 2097152 1 device_dax
    : >"$M/dev/dax0.0"
    chmod 600 "$M/dev/dax0.0"
    doctor
    finds 'a device in devdax mode' warning \
        'dax0.0 \(256 MiB\) is in devdax mode, not system-ram' \
        'daxctl reconfigure-device --mode=system-ram dax0.0'
    check '... that this user may open' -z "$(grep /dev/dax0.0 "$TMP/out")"
    run info --root="$M"
    says 'info shows the permission' 0 out '^  dax0.0 .* devdax  *1  *rw$'
    run info --root="$M" --json
    has '... in JSON, too' '"target_node": 1' '"permission": "rw"'
    rm "$M/dev/dax0.0"
    doctor mid=dax:/dev/dax0.0
    finds 'a device without a file that is asked for' error 'mid=dax:/dev/dax0.0: .*' \
        'udevadm trigger --subsystem-match=dax .*'
    doctor
    finds 'a device without a file' warning '/dev/dax0.0 does not exist' \
        'udevadm trigger --subsystem-match=dax .*--device=/dev/dax0.0\)'
    run info --root="$M"
    says '... in info' 0 out '^  dax0.0 .* absent$'
    near
    dax "$M/sys" dax2.0 4194304 4096 -1 ''
    doctor
    finds 'a device without a driver' warning 'dax2.0 \(4 MiB\) has no driver' \
        'daxctl reconfigure-device --mode=system-ram dax2.0'
    near
    dax "$M/sys" dax3.0 0 4096 -1 ''
    doctor
    sound 'a device without memory is no matter'
    dax "$M/sys" dax1.0 4194304 4096 5 kmem
    doctor
    finds 'system RAM of a node that is not online' warning \
        'dax1.0 is in system-ram mode, but node 5 is not online' 'daxctl online-memory dax1.0'
    fresh
    dax "$M/sys" dax1.0 4194304 4096 1 kmem
    doctor
    sound 'system RAM that is online'
    near
    mkdir -p "$M/sys/bus/cxl/devices/"{mem1,mem0}/ram
    echo 0x10000000 >"$M/sys/bus/cxl/devices/mem0/ram/size"
    echo 0x10000000 >"$M/sys/bus/cxl/devices/mem1/ram/size"
    doctor
    finds 'CXL memory without a region' warning \
        'CXL memory \(512 MiB, first: mem0\) belongs to no region' \
        'cxl create-region -m -t ram mem0 .*'
    mkdir "$M/sys/bus/cxl/devices/region0"
    doctor
    sound '... and with one'
}

# The kernel decides by the file's mode, so root has to become somebody else for this.
test_permission()
{
    as_other true
    if ((STATUS != 0)); then
        skip 'permissions on a device' 'root, and setpriv does not work'
        return
    fi
    near
    dax "$M/sys" dax0.0 268435456 2097152 1 device_dax
    : >"$M/dev/dax0.0"
    chmod 000 "$M/dev/dax0.0"
    as_other "$TMP/tidepool" doctor --root="$M"
    finds 'a device that this user may not open' warning \
        '/dev/dax0.0 may not be read and written by this user' \
        'sudo setfacl -m u:\$\(id -u\):rw /dev/dax0.0'
    as_other "$TMP/tidepool" info --root="$M" --json
    has '... in info' '"target_node": 1' '"permission": "none"'
    as_other env TIDEPOOL_OPTIONS=mid=dax:/dev/dax0.0 "$TMP/tidepool" doctor --root="$M"
    finds '... and is asked for' error 'mid=dax:/dev/dax0.0: .*' \
        'sudo setfacl -m u:\$\(id -u\):rw /dev/dax0.0'
    chmod 444 "$M/dev/dax0.0"
    as_other "$TMP/tidepool" doctor --root="$M"
    finds 'a device that can be read only' warning \
        '/dev/dax0.0 may not be written by this user' 'sudo setfacl .*'
    chmod 666 "$M/dev/dax0.0"
    as_other "$TMP/tidepool" doctor --root="$M"
    check 'a device that everybody may open' $STATUS -eq 1 -a -z "$(grep 'by this user' "$TMP/out")"
}

test_nodes()
{
    fresh
    offline "$M/sys" 1 0
    doctor
    sound 'all memory online'
    fresh
    offline "$M/sys" 1 3
    doctor
    finds 'some memory offline' warning 'node 1 has 384 MiB of memory offline, 512 MiB online' \
        'for s in /sys/devices/system/node/node1/memory\*/state; do .* done'
    dax "$M/sys" dax1.0 536870912 2097152 1 kmem
    doctor
    finds '... of a device' warning 'node 1 has 384 MiB of memory offline.*' \
        'daxctl online-memory dax1.0'
    fresh
    masks "$M/sys" 0-1 0 0
    doctor
    finds 'a node without memory' note 'node 1 has neither memory nor processors' 'daxctl list .*'
    fresh
    printf 'Mems_allowed_list:\t0\n' >"$M/proc/self/status"
    echo 0::/user.slice/it >"$M/proc/self/cgroup"
    doctor
    finds 'a cpuset without the far node' warning \
        'node 1 is far memory, but this process may use only 0' \
        'echo 0,1 >/sys/fs/cgroup/user.slice/it/cpuset.mems .*--cpuset-mems=0,1\)'
    printf '5:memory:/a\n4:cpuset:/old\n0::/new\n' >"$M/proc/self/cgroup"
    doctor
    finds '... of cgroup version 1' warning 'node 1 is far memory, .*' \
        'echo 0,1 >/sys/fs/cgroup/cpuset/old/cpuset.mems .*'
    fresh
    TIDEPOOL_OPTIONS='' run doctor --root="$M" --mems=0
    finds '... or as told' warning 'node 1 is far memory, .*only 0' 'echo 0,1 .*'
}

# ---- the kernel -----------------------------------------------------------------------------

test_migration()
{
    fresh
    echo 2 >"$M/proc/sys/kernel/numa_balancing"
    echo true >"$M/sys/kernel/mm/numa/demotion_enabled"
    doctor migrate=kernel
    sound 'migrate=kernel, and the kernel is told to move pages'
    doctor
    finds 'demotion without promotion' note 'demotion_enabled is true, migrate=pin' \
        'echo false >/sys/kernel/mm/numa/demotion_enabled'
    doctor mid=near
    sound '... is no matter to near memory'
    echo 1 >"$M/proc/sys/kernel/numa_balancing"
    doctor migrate=kernel
    finds 'balancing is for other nodes' warning 'kernel.numa_balancing is 1' \
        'sysctl -w kernel.numa_balancing=2'
    echo 2 >"$M/proc/sys/kernel/numa_balancing"
    echo false >"$M/sys/kernel/mm/numa/demotion_enabled"
    doctor migrate=kernel
    finds 'promotion without demotion' warning 'demotion_enabled is false, migrate=kernel' \
        'echo true >/sys/kernel/mm/numa/demotion_enabled'
    rm "$M/sys/kernel/mm/numa/demotion_enabled" "$M/proc/sys/kernel/numa_balancing"
    doctor migrate=kernel,cache=1M
    finds 'a kernel without balancing' warning 'this kernel has no kernel.numa_balancing' \
        'export TIDEPOOL_OPTIONS=cache=1M'
    doctor mid=near,migrate=kernel
    sound 'migrate=kernel of near memory is no matter'
    fresh 6.1.0-28-amd64
    echo 2 >"$M/proc/sys/kernel/numa_balancing"
    echo true >"$M/sys/kernel/mm/numa/demotion_enabled"
    doctor migrate=kernel
    finds 'a kernel that is too old for migrate=kernel' warning \
        'migrate=kernel: Linux 6.1.0-28-amd64 does not take the policy' 'boot Linux 6.12 or later.*'
    echo 5.10.0 >"$M/proc/sys/kernel/osrelease"
    doctor migrate=kernel
    finds '... even for MPOL_PREFERRED_MANY' warning \
        '.*Linux 5.10.0 does not take the policy \(it has no MPOL_PREFERRED_MANY, 5.15 has\)' \
        'boot Linux 6.12 or later.*'
    fresh 6.1.0
    doctor
    sound '... which is no matter to migrate=pin'
}

test_weights()
{
    fresh 6.8.1
    doctor 'mid=node:0*3+1*1'
    finds 'a kernel without weights' note 'Linux 6.8.1 has no weighted interleave \(6.9 has\)' \
        'boot Linux 6.9 or later.*'
    fresh
    doctor 'mid=node:0*3+1*1'
    finds 'weights that the machine does not have' note \
        "the machine's own weights are not those of node:0\*3\+1\*1" \
        'echo 3 >/sys/kernel/mm/mempolicy/weighted_interleave/node0; echo 1 >.*node1'
    doctor mid=node:0,1
    sound 'nodes without weights'
}

test_huge_pages()
{
    fresh
    doctor thp=always
    sound 'thp=always, and huge pages are to be had'
    echo 'always madvise [never]' >"$M/sys/kernel/mm/transparent_hugepage/enabled"
    doctor thp=always
    finds 'thp=always, but there are none' warning 'thp=always, but transparent .*' \
        'echo madvise >/sys/kernel/mm/transparent_hugepage/enabled'
    doctor
    sound '... which is no matter otherwise'
    echo '[always] madvise never' >"$M/sys/kernel/mm/transparent_hugepage/enabled"
    doctor cache=1M
    finds 'huge pages everywhere' note 'transparent huge pages are on for all memory .*' \
        'export TIDEPOOL_OPTIONS=cache=1M,thp=never'
    doctor thp=never
    sound '... but not here'
}

# ---- limits ---------------------------------------------------------------------------------

test_limits()
{
    fresh
    limits "$M" 1073741824 unlimited unlimited
    doctor
    finds 'a limit of data' warning 'data is limited to 1 GiB \(ulimit -d\); memory: 8 GiB' \
        'ulimit -S -d unlimited'
    limits "$M" unlimited unlimited 1073741824
    doctor
    finds 'a limit of address space' warning 'address space is limited to 1 GiB \(ulimit -v\).*' \
        'ulimit -S -v unlimited'
    limits "$M" unlimited unlimited 17179869184
    doctor
    finds '... above the memory' note 'address space is limited to 16 GiB .*' 'ulimit .*'
    limits "$M" unlimited 8388608 unlimited
    doctor
    finds 'a limit of locked memory' note 'locked memory is limited to 8 MiB \(ulimit -l\)' \
        'ulimit -S -l unlimited'
    fresh
    echo 500 >"$M/proc/sys/vm/max_map_count"
    doctor
    finds 'few mappings' warning 'vm.max_map_count is 500 \(usual: 65530\)' \
        'sysctl -w vm.max_map_count=65530'
    echo 262144 >"$M/proc/sys/vm/max_map_count"
    doctor
    sound 'many mappings'
    echo 2 >"$M/proc/sys/vm/overcommit_memory"
    doctor
    finds 'strict overcommit' note \
        'vm.overcommit_memory is 2: 7 GiB of 8 GiB are left to commit' \
        'sysctl -w vm.overcommit_memory=0'
    printf 'CommitLimit: 2097152 kB\nCommitted_AS: 2000000 kB\n' >"$M/proc/meminfo"
    doctor
    finds '... with little left' warning 'vm.overcommit_memory is 2: 94.9 MiB of 2 GiB .*' \
        'sysctl -w vm.overcommit_memory=0'
    echo 1 >"$M/proc/sys/vm/overcommit_memory"
    doctor
    sound 'overcommit that grants everything'
}

test_real_limits()
{
    bare bash -c "ulimit -S -v 400000 && exec '$TOOL' doctor"
    STATUS=$?
    says 'ulimit -v of this process' 1 out 'found address space is limited to 390.6 MiB'
    bare bash -c "ulimit -S -d 400000 && exec '$TOOL' doctor"
    STATUS=$?
    says 'ulimit -d of this process' 1 out 'found data is limited to 390.6 MiB'
    bare bash -c "ulimit -v 400000 && exec '$TOOL' doctor"
    STATUS=$?
    # shellcheck disable=SC2016 # it is the text
    says 'a hard limit needs root' 1 out 'mend  sudo prlimit --pid \$\$ --as=unlimited'
}

# ---- a second malloc ------------------------------------------------------------------------

# preload LIST: the command, with LD_PRELOAD=LIST.
preload()
{
    bare env LD_PRELOAD="$1" "$TOOL" doctor --root="$M"
    STATUS=$?
}

test_preload()
{
    fresh
    cat >"$TMP/own.c" <<'C'
void *__libc_malloc(unsigned long);
void *malloc(unsigned long n) { return __libc_malloc(n); }
C
    echo 'int harmless;' >"$TMP/other.c"
    if ! "${CC:-gcc}" -w -fno-builtin -shared -fPIC -o "$TMP/libown.so" "$TMP/own.c" ||
        ! "${CC:-gcc}" -w -shared -fPIC -o "$TMP/libother.so" "$TMP/other.c"; then
        bad 'test libraries compile'
        return
    fi
    preload "$TMP/libother.so"
    sound 'LD_PRELOAD without a malloc'
    preload "$SO"
    sound 'LD_PRELOAD with the library'
    preload libc.so.6
    sound 'LD_PRELOAD with libc'
    preload "$TMP/libother.so:$TMP/libown.so"
    finds 'LD_PRELOAD with another malloc' warning "LD_PRELOAD has another malloc: $TMP/libown.so" \
        "export LD_PRELOAD=$TMP/libother.so"
    says '... in front of the library' 1 out 'not started by .tidepool run., which puts'
    preload "$SO $TMP/libown.so"
    finds '... behind the library' warning "LD_PRELOAD has another malloc: .*" \
        "export LD_PRELOAD=$SO"
    says '... where it is never asked' 1 out 'behind tidepool and is never asked'
    bare env LD_LIBRARY_PATH="$TMP" LD_PRELOAD=libown.so "$TOOL" doctor --root="$M"
    STATUS=$?
    finds '... by a name without a path' warning "LD_PRELOAD has another malloc: $TMP/libown.so" \
        'unset LD_PRELOAD'
    cp "$TMP/libown.so" "$TMP/far.so" # its table of sections is beyond its end
    printf '\377\377\377\377\377\377\377\177' |
        dd of="$TMP/far.so" bs=1 seek=40 conv=notrunc 2>/dev/null
    printf '\177ELF garbage' >"$TMP/garbage.so"
    preload "$TMP/far.so:$TMP/garbage.so:$TMP/none.so:$TMP" # the loader has words for these
    check 'LD_PRELOAD with broken files and a directory' $STATUS -eq 0
}

# ---- the command ----------------------------------------------------------------------------

test_command()
{
    local key
    fresh
    offline "$M/sys" 1 2
    TIDEPOOL_OPTIONS=$'mid=a"\\\t\x01\xff,retain=x' run doctor --root="$M" --json
    if ((STATUS == 1)) && is_json "$TMP/out" && [[ ! -s $TMP/err ]]; then
        ok 'doctor --json with findings: valid JSON, exit code 1'
    else
        bad "doctor --json with findings: valid JSON, exit code 1 ($STATUS)" "$TMP/out" "$TMP/err"
    fi
    has '... how many' '"errors": 2' '"warnings": 1' '"notes": 0'
    for key in $(grep -o '"[a-z_]*":' "$TMP/out" | tr -d '":' | sort -u); do
        check "JSON.md documents $key" -n "$(grep -w "$key" tools/tidepool/JSON.md)"
    done
    while read -r key; do
        check "JSON.md documents the check $key" -n "$(grep "\`$key\`" tools/tidepool/JSON.md)"
    done < <(cat tools/tidepool/doctor_*.c | tr '\n' ' ' |
        grep -oE 'doctor_find\([^;]*"[a-z]+"\)' | sed 's/.*"\(.*\)".*/\1/' | sort -u)
    TIDEPOOL_OPTIONS=$'mid=a\x1b[2J' run doctor --root="$M"
    check 'no control characters reach the terminal' -z "$(grep $'\033' "$TMP/out")"
    run doctor --root="$M" --json
    has 'a finding in JSON' '"severity": "warning"' '"check": "node"' \
        '"found": "node 1 has 256 MiB of memory offline, 512 MiB online"' \
        '"means": "Mid gets that much less of it"'
    has '... and no probe' '"probe": null'
    run doctor extra
    says 'an argument: 2' 2 err "^tidepool doctor: unexpected argument 'extra'"
    run doctor --root="$TMP/none"
    says 'no such directory: 2' 2 err '^tidepool doctor: --root=.*: no such directory'
    run doctor --mems=x
    says 'no list of nodes: 2' 2 err '^tidepool doctor: --mems=x: no list of nodes'
    run doctor --prob
    says 'a slip: 2' 2 err "did you mean '--probe'"
    run doctor --probe --root="$M"
    says 'only this machine can be measured: 2' 2 err 'measures this machine'
    bare bash -c "'$TOOL' doctor >/dev/full"
    STATUS=$?
    check 'output that fails is an error' "$STATUS" -eq 3
}

test_options
test_sources
test_shared_sources
test_cap
test_devices
test_permission
test_nodes
test_migration
test_weights
test_huge_pages
test_limits
test_real_limits
test_preload
test_command
finish
