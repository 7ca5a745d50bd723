# shellcheck shell=bash disable=SC2034
# tools.sh - read by tests/vm/build and tests/vm/run: where things are.
#
# Sets BUILD (absolute) and VM; runs in the top directory.

BUILD=${BUILD:-build}
[[ $BUILD == /* ]] || BUILD=$PWD/$BUILD
VM=$BUILD/deps/vm

# unpacked ROOT NAME [ARGUMENT...]: a program of an unpacked package. In such a tree the
# links between programs may be absolute, so they are followed by name.
unpacked()
{
    local root=$1 name=$2 dir file=''
    shift 2
    for dir in usr/bin usr/sbin bin sbin; do
        [[ -e $root/$dir/$name || -L $root/$dir/$name ]] && file=$root/$dir/$name
    done
    [[ $(readlink "$file") == /* ]] && file=$root$(readlink "$file")
    (
        export LD_LIBRARY_PATH=$root/usr/lib/x86_64-linux-gnu:$root/lib/x86_64-linux-gnu
        exec -a "$name" "$file" "$@"
    )
}

tool()
{
    unpacked "$VM/tools" "$@"
}
