#!/usr/bin/env bash
# tests/vm_full.sh: the machine of vm_numa.sh with a far node that is full, missing or taken
# away: this library in every mode, and what people use today. A boot of its own, because some
# of the others are killed by the kernel for want of memory.
set -u
. "$(dirname "$0")/lib_vm.sh"

bring redis-server
bring numactl libmemkind0
FILES+=("$VM/work.redis" "$VM/peers.cases")
guest full numa
finish
