#!/usr/bin/env bash
# tests/vm_stock.sh: the machine of vm_numa.sh with this Debian's own kernel.
set -u
. "$(dirname "$0")/lib_vm.sh"

if grep -q '^VERSION_CODENAME=bookworm$' /etc/os-release; then
    guest stock numa stock
else
    skip 'stock: a guest' "the cases are for Debian 12's kernel, 6.1"
fi
finish
