# shellcheck shell=bash disable=SC2034
# lib_peers.sh - the allocators that ours is compared with: Debian's packages, the machine's
# own or unpacked under $BUILD/deps. For scripts that have read lib_prog.sh.

PEERS=(jemalloc mimalloc tcmalloc)

# find_peer NAME: prints where its shared object is, if need be after a download.
find_peer()
{
    local package file place
    case $1 in
    jemalloc) package=libjemalloc2 file=libjemalloc.so.2 ;;
    mimalloc) package=libmimalloc2.0 file=libmimalloc.so.2.0 ;;
    tcmalloc) package=libtcmalloc-minimal4 file=libtcmalloc_minimal.so.4 ;;
    *) return 1 ;;
    esac
    for place in /usr/lib/*-linux-gnu*; do
        [[ -e $place/$file ]] && printf '%s' "$place/$file" && return
    done
    tools/deps.sh unpack "$package" "$BUILD/deps/peers" >"$TMP/unpack" 2>&1
    find "$BUILD/deps/peers" -name "$file" -print -quit 2>/dev/null | grep .
}
