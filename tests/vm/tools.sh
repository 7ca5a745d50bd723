# shellcheck shell=bash disable=SC2034
# tools.sh - read by tests/vm/build and tests/vm/run: where things are.
#
# Sets BUILD (absolute) and VM; runs in the top directory.

BUILD=${BUILD:-build}
[[ $BUILD == /* ]] || BUILD=$PWD/$BUILD
VM=$BUILD/deps/vm

# A program of the unpacked tools, or the machine's own. In an unpacked tree the links
# between programs may be absolute, so they are followed by name.
tool()
{
    local root=$VM/tools name=$1 dir file=''
    for dir in usr/bin usr/sbin bin sbin; do
        [[ -e $root/$dir/$name || -L $root/$dir/$name ]] && file=$root/$dir/$name
    done
    if [[ -z $file ]]; then
        PATH=$PATH:/usr/sbin:/sbin "$@"
        return
    fi
    [[ $(readlink "$file") == /* ]] && file=$root$(readlink "$file")
    (
        export LD_LIBRARY_PATH=$root/usr/lib/x86_64-linux-gnu:$root/lib/x86_64-linux-gnu
        exec -a "$name" "$file" "${@:2}"
    )
}
