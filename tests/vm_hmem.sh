#!/usr/bin/env bash
# tests/vm_hmem.sh: guests with memory that the firmware reserved (as it does with HBM and
# CXL): as a dax device, as a node that comes at run time, as persistent memory, also after a
# second start, and as a device that two guests share.
set -u
. "$(dirname "$0")/lib_vm.sh"

guest hmem hmem
guest hmem-kmem hmem-kmem
guest pmem pmem
pair share hmem
pair reboot pmem again
finish
