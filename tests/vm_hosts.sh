#!/usr/bin/env bash
# tests/vm_hosts.sh: three guests that share an emulated CXL device have one log on it; then one
# whose sequencer's machine stands still, or is killed.
set -u
. "$(dirname "$0")/lib_vm.sh"

together 3 hosts cxl
finish
