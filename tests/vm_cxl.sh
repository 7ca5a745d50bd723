#!/usr/bin/env bash
# tests/vm_cxl.sh: guests with emulated CXL devices: one as a dax device, one as a node, two
# as nodes whose numbers are not dense, one that two guests share.
set -u
. "$(dirname "$0")/lib_vm.sh"

need "$BUILD/tidepool-broker"
FILES=("$BUILD/tidepool-broker")
guest cxl cxl
FILES=()
guest cxl-kmem cxl-kmem
guest cxl2-kmem cxl2-kmem
pair cxl-share cxl
finish
