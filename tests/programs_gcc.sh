#!/usr/bin/env bash
# programs_gcc.sh - the machine's gcc and g++ build this project under the preload: what they
# write is the same byte for byte, and every process of the build was served.
set -u
. "$(dirname "$0")/lib_real.sh"
need "$SO"

unset MAKEFLAGS MFLAGS MAKELEVEL CFLAGS LDFLAGS
export CCACHE_DISABLE=1
TARGETS=(libtidepool.so tidepool tests/prog_cxx_forms tests/plug_cxx.so)

# build HOW ARM: by plain or watched; both arms write to the same place, since its name stands
# in what they write.
build()
{
    "$1" build make -s -j2 CC=gcc CXX=g++ CFLAGS="-O1 -g" BUILD="$TMP/build" \
        "${TARGETS[@]/#/$TMP/build/}"
    mv "$TMP/build" "$TMP/tree.$2"
    (cd "$TMP/tree.$2" && find . -type f -exec sha256sum {} + | sort -k2) >"$TMP/sums.$2"
}

compare_objects()
{
    local count
    count=$(grep -cE '\.(o|so|a)$|/(tidepool|prog_[a-z_]*)$' "$TMP/sums.plain")
    if ! diff "$TMP/sums.plain" "$TMP/sums.served" >"$TMP/diff"; then
        bad 'gcc: objects and programs are equal' "$TMP/diff"
    elif ((count < 10)); then
        bad "gcc: only $count objects and programs" "$TMP/sums.plain"
    else
        ok "gcc: objects and programs are equal ($count files)"
    fi
}

# prove TOOL BLOCKS MID: every process of this tool, whatever Debian calls its file.
prove()
{
    proof "gcc: $1, each of $2 blocks" build "$2" "$3" "*[/-]$1*([-.0-9])"
}

shopt -s extglob
build plain plain
build watched served
same 'gcc: the builds say the same' build
compare_objects
proof_maps 'gcc: every process had the library' build 60
prove gcc 100 1
prove g++ 100 1
prove cc1 1000 1
prove cc1plus 10000 1
prove as 100 1
prove collect2 50 0
prove ld.bfd 1000 1
prove make 1000 1
# Of the small files no compiler takes ten thousand blocks; the library is one large file.
proof_large 'gcc: cc1, 10000 blocks' build 2 '*/cc1'
proof_large 'gcc: as, 10000 blocks' build 2 '*[/-]as'
finish
