#!/usr/bin/env bash
# tests/vm_hmem.sh: guests with memory that the firmware reserved (as it does with HBM and
# CXL): as a dax device, with logs whose processes are killed, as a node that comes at run time,
# as persistent memory, also after a second start, and as a device that two guests share.
set -u
. "$(dirname "$0")/lib_vm.sh"

FILES=("$BUILD/tidepool-broker" "$BUILD/tests/release/stress_killed"
    "$BUILD/tests/release/stress_crew")
need "${FILES[@]}"
guest hmem hmem
FILES=()
guest hmem-kmem hmem-kmem
guest pmem pmem
pair share hmem
pair reboot pmem again
finish
