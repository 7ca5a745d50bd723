# shellcheck shell=bash disable=SC2034
# lib_peers.sh - the allocators that ours is compared with: Debian's packages, the machine's
# own or unpacked under $BUILD/deps. For scripts that have read lib_prog.sh.
. bench/allocators.sh

PEERS=(jemalloc mimalloc tcmalloc)

# need_peer NAME: prints where its shared object is, if need be after a download.
need_peer()
{
    find_peer "$1" && return
    peer_package "$1" || return
    tools/deps.sh unpack "$PACKAGE" "$BUILD/deps/peers" >"$TMP/unpack" 2>&1
    find_peer "$1"
}
