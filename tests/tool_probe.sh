#!/usr/bin/env bash
# tests/tool_probe.sh: --probe of `tidepool doctor` and `tidepool info` on this machine: figures,
# and that no more memory is taken than may be. BUILD names the build directory (default: build).
set -u
. "$(dirname "$0")/lib_tool.sh"

# A figure of the first node in the last output.
figure()
{
    sed -n "/\"probe\": \[/,\$s/^ *\"$1\": \([^,]*\).*/\1/p" "$TMP/out" | head -n 1
}

test_probe()
{
    run doctor --probe --json
    if [[ ! -d /sys/devices/system/node/node0 ]]; then
        skip 'this machine is measured' 'the kernel tells nothing about nodes'
        return
    fi
    if ((STATUS < 2)) && is_json "$TMP/out"; then
        ok 'doctor --probe --json is valid'
    else
        bad "doctor --probe --json is valid (exit $STATUS)" "$TMP/out" "$TMP/err"
    fi
    if [[ $(figure why) != null ]]; then
        skip 'figures of this machine' "node 0: $(figure why)"
        return
    fi
    same 'they are called measured' '"measured"' "$(figure performance_source)"
    check 'a latency' "$(figure latency_ns)" -gt 0
    check 'a bandwidth' "$(figure bandwidth_mib)" -gt 0
    check 'at most 64 MiB' "$(figure bytes)" -le $((64 << 20)) -a "$(figure bytes)" -gt 0
    run info --probe
    says 'info --probe shows them' 0 out ' [0-9]+ ns, [0-9]+ MiB/s \(measured: [0-9]+ MiB, [0-9]+ t'
    run info
    check 'info alone measures nothing' -z "$(grep measured "$TMP/out")"
    bare bash -c "ulimit -v 50000 && exec '$TOOL' doctor --probe"
    STATUS=$?
    says 'no room for it: it says so' 1 out 'not measured: the limits of this process leave no'
    if (($(nproc) < 2)); then
        skip 'without threads one reads alone' 'one processor: one thread reads anyhow'
        return
    fi
    as_other bash -c "ulimit -u 1 && exec '$TMP/tidepool' doctor --probe --json"
    same 'without threads one reads alone' 1 "$(figure threads)"
}

# A sandbox that refuses one system call.
test_sandbox()
{
    cat >"$TMP/refuse.c" <<'C'
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>
int main(int argc, char **argv)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)atoi(argv[1]), 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    struct sock_fprog filter = {sizeof code / sizeof code[0], code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter))
        return 77;
    execv(argv[2], argv + 2);
    return 1;
}
C
    if ! "${CC:-gcc}" -w -o "$TMP/refuse" "$TMP/refuse.c" 2>"$TMP/err"; then
        bad 'a test program compiles' "$TMP/err"
        return
    fi
    bare env TIDEPOOL_OPTIONS=mid=node:0 "$TMP/refuse" 9999 "$TOOL" doctor
    STATUS=$?
    if ((STATUS == 77)) || grep -q 'mid=node:0: ' "$TMP/out"; then
        skip 'a sandbox that refuses policies' 'no filter, or no node 0, here'
        return
    fi
    check 'no refused policy' -z "$(grep refused "$TMP/out")"
    bare env TIDEPOOL_OPTIONS=mid=node:0 "$TMP/refuse" "$(number_of mbind)" "$TOOL" doctor
    STATUS=$?
    says 'a sandbox that refuses policies' 1 out '^error .*found mbind for node:0 is refused: EPERM'
    says '... and what mends it' 1 out 'mend .*docker run --cap-add=SYS_NICE'
    bare "$TMP/refuse" "$(number_of move_pages)" "$TOOL" doctor --probe
    STATUS=$?
    check '... and a measurement that cannot be checked is none' \
        -n "$(grep 'not measured: the kernel puts no memory there' "$TMP/out")"
}

# The number of a system call.
number_of()
{
    printf '#include <sys/syscall.h>\nSYS_%s\n' "$1" | "${CC:-gcc}" -E -P - | tail -n 1
}

# A group of its own may not be had, and making one changes the machine: as tests/limits.sh.
test_probe_in_group()
{
    local top limit group=''
    if ((EUID != 0)) || [[ ${CI:-} != true && -z ${TEST_SYSCTL:-} ]]; then
        skip 'a measurement within a memory cgroup' 'needs root, and CI=true or TEST_SYSCTL=1'
        return
    fi
    for top in /sys/fs/cgroup/memory /sys/fs/cgroup; do
        limit=memory.max
        [[ $top == */memory ]] && limit=memory.limit_in_bytes
        group=$top/tidepool-test-$$
        mkdir "$group" 2>/dev/null || continue
        { echo 41943040 >"$group/$limit"; } 2>/dev/null && break
        rmdir "$group"
        group=
    done
    if [[ ! -d $group ]]; then
        skip 'a measurement within a memory cgroup' 'no cgroup can be made here'
        return
    fi
    bare bash -c "echo \$\$ >'$group/cgroup.procs' && exec '$TOOL' doctor --probe --json"
    STATUS=$?
    rmdir "$group"
    check 'a measurement within a memory cgroup of 40 MiB takes 10 at most' \
        $STATUS -lt 2 -a "$(figure bytes)" -le 10485760
}

test_probe
test_sandbox
test_probe_in_group
finish
