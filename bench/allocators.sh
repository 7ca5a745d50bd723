# shellcheck shell=bash disable=SC2034
# allocators.sh - the allocators that are compared, for bench/compare, bench/instr and bench/goals
# to read behind tools/lib_measure.sh; tests/lib_peers.sh takes find_peer from it.
#
# Sets names[i]; files[i], what is preloaded (nothing for glibc); options[i], its
# TIDEPOOL_OPTIONS (nothing: those of the environment); tiers[i], 1 if it has tide_tier_of; and
# missing[], what is not installed.

KNOWN='glibc tidepool jemalloc mimalloc tcmalloc'
ALLOCATOR_OPTIONS='--allocs --so --tide'

allocs='' extra=() variants=()
names=() files=() options=() tiers=() missing=()

# take_allocator OPTION VALUE: one of ALLOCATOR_OPTIONS.
take_allocator()
{
    case $1 in
    --allocs)
        allocs=${2//,/ }
        [[ $allocs == *[!\ ]* ]] || die '--allocs: empty list'
        ;;
    --so) extra+=("$2") ;;
    --tide)
        [[ $2 =~ ^[^[:space:]]+$ ]] || die "--tide: '$2' is no list of NAME=VALUE,..."
        variants+=("$2")
        ;;
    esac
}

# peer_package NAME: sets PACKAGE, Debian's, and OBJECTS, the names of its shared object.
peer_package()
{
    case $1 in
    jemalloc) PACKAGE=libjemalloc2 OBJECTS=(libjemalloc.so.2) ;;
    mimalloc) PACKAGE=libmimalloc2.0 OBJECTS=(libmimalloc.so.2.0 libmimalloc.so.3) ;;
    tcmalloc) PACKAGE=libtcmalloc-minimal4 OBJECTS=(libtcmalloc_minimal.so.4) ;;
    *) return 1 ;;
    esac
}

# find_peer NAME: prints where its shared object is: on this machine, or unpacked in deps/ of the
# build directory. COMPARE_LIBDIRS replaces the machine's directories.
find_peer()
{
    local directory object
    peer_package "$1" || return 1
    for object in "${OBJECTS[@]}"; do
        for directory in ${COMPARE_LIBDIRS-/usr/lib/*-linux-gnu* /lib/*-linux-gnu* /usr/lib64 \
            /usr/lib /usr/local/lib}; do
            [[ -e $directory/$object ]] && printf '%s\n' "$directory/$object" && return
        done
        [[ -d $BUILD/deps ]] && find "$BUILD/deps" -name "$object" -print -quit | grep . && return
    done
    return 1
}

# add NAME FILE [OPTIONS]
add()
{
    [[ " ${names[*]} " != *" $1 "* ]] || die "$1 is given twice"
    names+=("$1")
    files+=("$2")
    options+=("${3:-}")
}

add_tidepool()
{
    [[ -e $BUILD/libtidepool.so ]] || die "no $BUILD/libtidepool.so: run make first"
    add "$1" "$BUILD/libtidepool.so" "${2:-}"
}

# A Debian allocator that was asked for by name must be there.
add_peer()
{
    local path
    peer_package "$1" || die "--allocs: '$1' is none of ${KNOWN// /, }"
    if path=$(find_peer "$1"); then
        add "$1" "$path"
    elif [[ -n $allocs ]]; then
        die "$1: no ${OBJECTS[0]} found; install the package $PACKAGE"
    else
        missing+=("$1 (package $PACKAGE)")
    fi
}

# A --so file is called by its base name, or by its path if that name is taken.
add_file()
{
    local name
    [[ -r $1 && ! -d $1 ]] || die "--so: cannot read $1"
    name=$(basename "$1")
    [[ " ${names[*]} " != *" $name "* ]] || name=$1
    add "$name" "$(realpath "$1")"
}

choose_allocators()
{
    local name path value
    for name in ${allocs:-$KNOWN}; do
        case $name in
        glibc) add glibc '' ;;
        tidepool) add_tidepool tidepool ;;
        *) add_peer "$name" ;;
        esac
    done
    # A bad option ends such a run: else it would be measured as what it is not.
    for value in ${variants[@]+"${variants[@]}"}; do
        add_tidepool "tidepool:${value//,/+}" "$value,strict=1"
    done
    for path in ${extra[@]+"${extra[@]}"}; do add_file "$path"; done
    for path in "${files[@]}"; do
        [[ $path != *[:,\ \"\\]* ]] ||
            die "$path: a path to preload has no colon, comma, space, quote or backslash"
        if [[ -n $path ]] && grep -q tide_tier_of "$path"; then tiers+=(1); else tiers+=(''); fi
    done
    [[ -z ${LD_PRELOAD:-} ]] || say 'LD_PRELOAD of the environment is not used'
    unset LD_PRELOAD
}

# What was not measured, for the end.
tell_missing()
{
    local text
    for text in ${missing[@]+"${missing[@]}"}; do
        printf 'not measured, not installed: %s\n' "$text"
    done
}
