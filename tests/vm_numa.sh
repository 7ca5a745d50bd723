#!/usr/bin/env bash
# tests/vm_numa.sh: the library in a guest with three memory nodes, two of them without
# processors. All kernel interfaces are real.
set -u
. "$(dirname "$0")/lib_vm.sh"

bring sqlite3
suites source numa topo residency region region_heap regions source_file store share
need "$BUILD/tidepool-broker"
FILES+=("$VM/work.sql" "$BUILD/tidepool-broker")
guest numa numa
finish
