#!/usr/bin/env bash
# tools/deps.sh - gets the Debian packages that a target of the Makefile lacks.
#
#   tools/deps.sh TARGET...          installs what is missing for these targets
#   tools/deps.sh missing TARGET...  only names what is missing; 1 if anything is
#   tools/deps.sh list TARGET...     the packages of these targets
#   tools/deps.sh unpack NAME DEST   a binary package into the directory DEST
#   tools/deps.sh unpack-all DEST NAME...   the same with what they need and the machine lacks
#   tools/deps.sh unpack-backports DEST NAME...   unpack-all, from the suite of backports
#   tools/deps.sh unpack-foreign ARCH DEST NAME...   packages of another architecture, these alone
#   tools/deps.sh kernel DEST [backports]   this Debian's kernel for virtual machines, or
#                                    the one of its backports, with its modules
#   tools/deps.sh source NAME DEST   the upstream source of a source package into DEST
#
# Installs by apt-get as root or through sudo without a password; when neither
# is possible it prints the command to run and exits 3. When nothing is missing
# it does nothing and asks no network.
#
# What cannot be had is tried for again, with new package lists, after each of DEPS_PAUSES seconds
# (5 20 60): apt's own tries do not get over a connection that was refused once.
#
# The last six install nothing and need no root: they work under
# $BUILD/deps with package lists of their own, made from the machine's apt sources.
# The machine's configuration is only read. apt verifies what it downloads.
set -u

cd "$(dirname "$0")/.." || exit 2
BUILD=${BUILD:-build}
[[ $BUILD == /* ]] || BUILD=$PWD/$BUILD
DEPS=$BUILD/deps
BACKPORTS=''
read -ra PAUSES <<<"${DEPS_PAUSES-5 20 60}"
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8

# PACKAGE, PACKAGE|OTHER (either will do) or PACKAGE=COMMAND (a command of this
# name will do, wherever it came from).
packages_of()
{
    case $1 in
    build) echo 'gcc=gcc libc6-dev make=make' ;;
    tidy) echo 'gcc=gcc libc6-dev make=make binutils=objdump clang-format-14|clang-format
        shellcheck=shellcheck' ;;
    check) echo 'gcc=gcc g++=g++ libc6-dev make=make binutils=objdump check pkg-config=pkg-config
        valgrind=valgrind clang-format-14|clang-format shellcheck=shellcheck
        gnuplot-nox=gnuplot linux-perf=perf clang=clang libclang-rt-14-dev|libclang-rt-dev
        libbenchmark-dev spin=spin libuv1-dev' ;;
    broker) echo 'gcc=gcc libc6-dev make=make libuv1-dev' ;;
    extras) echo 'g++=g++ libbenchmark-dev libuv1-dev' ;;
    clang) echo 'clang=clang libclang-rt-14-dev|libclang-rt-dev' ;;
    ci) echo "$(packages_of check) $(packages_of clang)" ;;
    peers) echo 'gcc=gcc libc6-dev make=make libjemalloc2 libmimalloc2.0|libmimalloc3
        libtcmalloc-minimal4|libtcmalloc-minimal4t64' ;;
    bench) echo "$(packages_of peers) gnuplot-nox=gnuplot" ;;
    instr) echo "$(packages_of peers) valgrind=valgrind" ;;
    source) echo 'tar=tar xz-utils=xz bzip2=bzip2 gzip=gzip' ;;
    demo) echo "$(packages_of build) $(packages_of source) binutils=objdump" ;;
    *) return 1 ;;
    esac
}

say()
{
    printf 'deps: %s\n' "$*" >&2
}

# patiently COMMAND...: until it succeeds, with pauses; fails when there is none left.
patiently()
{
    local pause
    for pause in "${PAUSES[@]}"; do
        "$@" && return
        say "once more in $pause s"
        sleep "$pause"
    done
    "$@"
}

# ---- what is there ------------------------------------------------------------------

is_installed()
{
    [[ $(dpkg-query -W -f='${db:Status-Abbrev}' "$1" 2>/dev/null) == ?i* ]]
}

# present ENTRY: an entry of the table is satisfied.
present()
{
    local name
    [[ $1 == *=* ]] && command -v "${1#*=}" >/dev/null && return
    for name in ${1//|/ }; do
        is_installed "${name%%=*}" && return
    done
    return 1
}

# Fills LACKING with the entries that the targets lack.
find_lacking()
{
    local target entries entry
    LACKING=()
    for target in "$@"; do
        entries=$(packages_of "$target") || {
            say "no target $target"
            exit 2
        }
        for entry in $entries; do
            [[ " ${LACKING[*]:-} " == *" $entry "* ]] || present "$entry" || LACKING+=("$entry")
        done
    done
}

# The package names of LACKING; of two names the one that apt knows.
names_lacking()
{
    local entry name choice
    for entry in "${LACKING[@]}"; do
        choice=''
        for name in ${entry//|/ }; do
            name=${name%%=*}
            [[ -z $choice ]] && choice=$name
            if apt-cache show "$name" >/dev/null 2>&1; then
                choice=$name
                break
            fi
        done
        printf '%s\n' "$choice"
    done
}

# ---- install --------------------------------------------------------------------------

# Runs apt-get with the rights to change the machine; fails with 3 if there are none.
as_root()
{
    if ((EUID == 0)); then
        "$@"
    elif sudo -n true 2>/dev/null; then
        sudo -n DEBIAN_FRONTEND=noninteractive "$@"
    else
        return 3
    fi
}

# apt's talk is shown only when it fails.
apt_install()
{
    local log status
    log=$(mktemp)
    as_root apt-get -qq -y -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 \
        install --no-install-recommends "$@" </dev/null >"$log" 2>&1
    status=$?
    ((status == 0 || status == 3)) || cat "$log" >&2
    rm -f "$log"
    return $status
}

# With new lists; sets names anew.
install_anew()
{
    say 'trying again with new package lists'
    as_root apt-get -qq -o DPkg::Lock::Timeout=300 update </dev/null >&2
    mapfile -t names < <(names_lacking)
    apt_install "${names[@]}"
}

install_lacking()
{
    local names status
    find_lacking "$@"
    ((${#LACKING[@]} == 0)) && return 0
    mapfile -t names < <(names_lacking)
    say "installing ${names[*]}"
    if command -v apt-get >/dev/null; then
        apt_install "${names[@]}"
        status=$?
        if ((status != 0 && status != 3)); then
            patiently install_anew
            status=$?
        fi
        find_lacking "$@"
        ((status == 0 && ${#LACKING[@]} == 0)) && return 0
        ((status == 3)) || say "apt-get could not install ${LACKING[*]}"
    fi
    say 'MISSING packages; as root run:'
    echo "    apt-get update && apt-get install -y --no-install-recommends ${names[*]}" >&2
    return 3
}

report_missing()
{
    local target name status=0
    for target in "$@"; do
        find_lacking "$target"
        ((${#LACKING[@]} == 0)) && continue
        status=1
        while IFS= read -r name; do
            say "MISSING package $name (for: $target)"
        done < <(names_lacking)
    done
    ((status == 0)) || say "tools/deps.sh $* installs them"
    return $status
}

# ---- apt of our own -------------------------------------------------------------------

# The machine's apt sources as they are, or (kind deb-src) turned into sources of
# source packages, or (kind backports) with the suite of backports beside the main one.
# Files that apt ignores are ignored here too.
write_sources()
{
    local kind=$1 dir=$2 file types='Types: deb' line='deb' suite
    suite=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
    if [[ $kind == deb-src ]]; then
        types='Types: deb-src'
        line='deb-src'
    fi
    mkdir -p "$dir/sources.list.d"
    : >"$dir/sources.list"
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [[ -r $file ]] || continue
        sed -nE "s/^[[:space:]]*deb[[:space:]]+/$line /p" "$file" >>"$dir/sources.list"
    done
    for file in /etc/apt/sources.list.d/*.sources; do
        [[ -r $file ]] || continue
        sed -E "s/^Types:.*\\bdeb([[:space:]].*)?\$/$types/" "$file" \
            >"$dir/sources.list.d/${file##*/}"
    done
    if [[ $kind == backports ]]; then
        sed -i -E "s/^(Suites:.*[[:space:]])$suite([[:space:]]|\$)/\1$suite $suite-backports\2/" \
            "$dir"/sources.list.d/*.sources 2>/dev/null
        sed -i -E "p; s/([[:space:]])$suite([[:space:]])/\1$suite-backports\2/" "$dir/sources.list"
    fi
    if ! grep -rqsE "^(deb|Types)" "$dir/sources.list" "$dir/sources.list.d"; then
        say 'this machine has no apt sources to take packages from'
        return 1
    fi
}

# A configuration for apt that keeps everything it writes under $DEPS; of kind arch-ARCH: for
# packages of that architecture, whatever the machine is.
write_config()
{
    local dir=$1 arch=${2#arch-}
    mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial" "$dir/log"
    cat >"$dir/apt.conf" <<EOF
Dir::State "$dir";
Dir::State::lists "$dir/lists";
Dir::State::status "/var/lib/dpkg/status";
Dir::Cache "$dir/cache";
Dir::Log "$dir/log";
Dir::Etc::sourcelist "$dir/sources.list";
Dir::Etc::sourceparts "$dir/sources.list.d";
APT::Sandbox::User "$(id -un)";
Acquire::Languages "none";
Acquire::Retries "2";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
EOF
    [[ $2 != arch-* ]] ||
        printf 'APT::Architecture "%s";\nAPT::Architectures { "%s"; };\n' "$arch" "$arch" \
            >>"$dir/apt.conf"
}

# private_lists KIND: sets CONF to a configuration whose lists are there.
private_lists()
{
    local kind=$1 dir=$DEPS/apt/$1
    CONF=$dir/apt.conf
    [[ -e $dir/updated && -z ${2:-} ]] && return
    rm -rf "$dir"
    write_sources "$kind" "$dir" && write_config "$dir" "$kind" || return
    say "reading package lists ($kind)"
    if ! apt-get -c "$CONF" -qq update </dev/null >&2; then
        say 'some package lists could not be read'
    fi
    touch "$dir/updated"
}

# fetch KIND COMMAND...: runs an apt-get command in the current directory, if need
# be several times, with new lists.
fetch()
{
    private_lists "$1" || return
    apt-get -c "$CONF" -qq "${@:2}" </dev/null >&2 && return
    patiently fetch_anew "$@"
}

fetch_anew()
{
    private_lists "$1" again && apt-get -c "$CONF" -qq "${@:2}" </dev/null >&2
}

absolute()
{
    [[ $1 == /* ]] && printf '%s' "$1" || printf '%s/%s' "$PWD" "$1"
}

# One download at a time: two targets may want the same lists.
take_lock()
{
    mkdir -p "$DEPS"
    exec 9>"$DEPS/lock"
    flock 9
}

unpack()
{
    local name=$1 dest dir=$DEPS/archives/$1
    dest=$(absolute "$2")
    [[ -e $dest/.unpacked-$name ]] && return
    take_lock
    rm -rf "$dir"
    mkdir -p "$dir" "$dest"
    # The machine's own lists are enough when they know the package.
    if ! (cd "$dir" && apt-get -qq -o APT::Sandbox::User="$(id -un)" download "$name" \
        </dev/null >/dev/null 2>&1); then
        (cd "$dir" && fetch deb download "$name") || {
            say "MISSING package $name: it could not be downloaded"
            return 1
        }
    fi
    dpkg-deb -x "$dir"/*.deb "$dest" && touch "$dest/.unpacked-$name"
}

# plan OPTION... NAME...: what apt would do to install NAMES on this machine. While another
# apt-get is at work, packages are half installed and no plan can be made.
plan()
{
    local attempt words last=${ATTEMPTS:-6}
    for ((attempt = 1; attempt <= last; attempt++)); do
        words=$(apt-get -qq -s --no-install-recommends install "$@" </dev/null 2>&1) && break
        if [[ $words != *--fix-broken* ]] || ((attempt == last)); then
            printf '%s\n' "$words" >&2
            return 1
        fi
        sleep 10
    done
    printf '%s\n' "$words"
}

# download_all NAMES OPTION...: what apt would install for NAMES on this machine if it had
# none of them, into the current directory: what it has may be from a source that apt
# cannot download from. Never another libc: it would not suit the machine's loader.
download_all()
{
    local words
    local -a names options
    read -ra names <<<"$1"
    awk -v names=" $1 " 'BEGIN { RS = ""; ORS = "\n\n" }
        !index(names, " " substr($0, 10, index($0, "\n") - 10) " ")' /var/lib/dpkg/status >status
    options=("${@:2}" -o Dir::State::status="$PWD/status" -o Dir::Cache::pkgcache=
        -o Dir::Cache::srcpkgcache=)
    # Where others need a package that it has, apt takes such a machine for broken.
    if ! words=$(ATTEMPTS=1 plan "${options[@]}" "${names[@]}" 2>/dev/null); then
        options=("${@:2}")
        words=$(plan "${options[@]}" "${names[@]}") || return
    fi
    mapfile -t -O "${#names[@]}" names < <(
        awk '$1 == "Inst" && $2 !~ /^libc(6|-bin)(:|$)/ { print $2 }' <<<"$words")
    mapfile -t names < <(printf '%s\n' "${names[@]}" | sort -u)
    apt-get "${options[@]}" -qq -o APT::Sandbox::User="$(id -un)" download "${names[@]}" \
        </dev/null >&2
}

# As download_all; the machine's own lists are enough when they know everything.
download_somehow()
{
    if [[ -n $BACKPORTS ]]; then
        private_lists backports || return
        download_all "$1" -c "$CONF" -t "$BACKPORTS" 2>/dev/null && return
        patiently download_anew backports "$1" -c "$CONF" -t "$BACKPORTS"
        return
    fi
    download_all "$1" -o Acquire::Retries=2 2>/dev/null && return
    private_lists deb && download_all "$1" -c "$CONF" 2>/dev/null && return
    patiently download_anew deb "$1" -c "$CONF"
}

# download_anew KIND NAMES OPTION...
download_anew()
{
    private_lists "$1" again && download_all "${@:2}"
}

unpack_all()
{
    local dest dir key file wanted=${*:2}
    dest=$(absolute "$1")
    key=${wanted// /+}+${BACKPORTS:-all}
    dir=$DEPS/archives/$key
    [[ -e $dest/.unpacked-$key ]] && return
    take_lock
    if [[ ! -e $dir/complete ]]; then
        rm -rf "$dir"
        mkdir -p "$dir"
        (cd "$dir" && download_somehow "$wanted" && touch complete) || {
            say "MISSING of the packages $wanted: not all could be downloaded"
            return 1
        }
    fi
    mkdir -p "$dest"
    for file in "$dir"/*.deb; do
        dpkg-deb -x "$file" "$dest" || return
    done
    touch "$dest/.unpacked-$key"
}

unpack_foreign()
{
    local arch=$1 dest dir key file
    dest=$(absolute "$2")
    key=$arch-$(tr ' ' + <<<"${*:3}")
    dir=$DEPS/archives/$key
    [[ -e $dest/.unpacked-$key ]] && return
    take_lock
    rm -rf "$dir"
    mkdir -p "$dir" "$dest"
    if ! (cd "$dir" && fetch "arch-$arch" download "${@:3}"); then
        say "MISSING of the packages ${*:3} for $arch: not all could be downloaded"
        return 1
    fi
    for file in "$dir"/*.deb; do
        dpkg-deb -x "$file" "$dest" || return
    done
    touch "$dest/.unpacked-$key"
}

# kernel_name: the package behind the name that always means the newest kernel. An empty
# machine is assumed: one that has the kernel installed would have nothing to install.
kernel_name()
{
    apt-get -c "$CONF" -qq -s -o Dir::State::status=/dev/null ${BACKPORTS:+-t "$BACKPORTS"} \
        --no-install-recommends install "linux-image-cloud-$(dpkg --print-architecture)" \
        </dev/null | awk '$1 == "Inst" && $2 ~ /^linux-image-[0-9]/ { print $2; exit }'
}

# With new lists; sets name.
kernel_anew()
{
    private_lists backports again && name=$(kernel_name) && [[ -n $name ]]
}

unpack_kernel()
{
    local dest name dir=$DEPS/archives/kernel-${BACKPORTS:-stock}
    dest=$(absolute "$1")
    [[ -e $dest/.unpacked-kernel ]] && return
    take_lock
    private_lists backports || return
    name=$(kernel_name)
    [[ -n $name ]] || patiently kernel_anew
    rm -rf "$dir" "$dest"
    mkdir -p "$dir" "$dest"
    if [[ -z $name ]] || ! (cd "$dir" && fetch backports download "$name"); then
        say "MISSING the kernel ${name:-linux-image-cloud}: it could not be downloaded"
        return 1
    fi
    dpkg-deb -x "$dir"/*.deb "$dest" && touch "$dest/.unpacked-kernel"
    rm -rf "$dir"
}

# ---- source packages --------------------------------------------------------------------

# Checks the files in the current directory against the .dsc beside them.
verify_source()
{
    local sums
    sums=$(awk '/^Checksums-Sha256:/ { on = 1; next } /^[^ ]/ { on = 0 }
        on { print $1 "  " $3 }' ./*.dsc 2>/dev/null)
    [[ -n $sums ]] && sha256sum --quiet --strict -c <<<"$sums" >&2
}

# Unpacks the upstream archives, without Debian's changes: the main one into DEST,
# a further component into a directory of its name, a native package as it is.
unpack_source()
{
    local dest=$1 file part found=''
    for file in *.orig.tar.* *.orig-*.tar.* *.tar.*; do
        [[ -e $file && $file != *.asc && $file != *.debian.tar.* ]] || continue
        part=''
        if [[ $file == *.orig-*.tar.* ]]; then
            part=${file##*.orig-}
            part=/${part%.tar.*}
        elif [[ $file == *.orig.tar.* || -z $found ]]; then
            [[ $found == "$file" ]] && continue
        else
            continue
        fi
        found=${found:-$file}
        mkdir -p "$dest$part"
        tar -xf "$file" --strip-components=1 --no-same-owner -C "$dest$part" || return
    done
    [[ -n $found ]]
}

get_source()
{
    local name=$1 dest dir=$DEPS/src/$1
    dest=$(absolute "$2")
    [[ -e $dest/.source-$name ]] && return
    install_lacking source || return
    take_lock
    mkdir -p "$dir"
    if ! (cd "$dir" && verify_source); then
        rm -rf "${dir:?}"/*
        (cd "$dir" && fetch deb-src source --download-only --only-source "$name" &&
            verify_source) || {
            say "MISSING source package $name: it could not be downloaded"
            return 1
        }
    fi
    (cd "$dir" && unpack_source "$dest") && touch "$dest/.source-$name"
}

# ------------------------------------------------------------------------------------------

case ${1:-} in
'' | -h | --help | help)
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
list)
    find_lacking "${@:2}"
    for target in "${@:2}"; do
        packages_of "$target" | tr -s ' \n' '\n' | sed -E 's/[|=].*//'
    done | sort -u
    ;;
missing) report_missing "${@:2}" ;;
unpack | source)
    if (($# != 3)); then
        echo "usage: tools/deps.sh $1 NAME DEST" >&2
        exit 2
    fi
    if [[ $1 == unpack ]]; then unpack "$2" "$3"; else get_source "$2" "$3"; fi
    ;;
unpack-all)
    if (($# < 3)); then
        echo 'usage: tools/deps.sh unpack-all DEST NAME...' >&2
        exit 2
    fi
    unpack_all "${@:2}"
    ;;
unpack-foreign)
    if (($# < 4)); then
        echo 'usage: tools/deps.sh unpack-foreign ARCH DEST NAME...' >&2
        exit 2
    fi
    unpack_foreign "${@:2}"
    ;;
unpack-backports)
    BACKPORTS=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)-backports
    unpack_all "${@:2}"
    ;;
kernel)
    if (($# < 2)); then
        echo 'usage: tools/deps.sh kernel DEST [backports]' >&2
        exit 2
    fi
    [[ ${3:-} == backports ]] &&
        BACKPORTS=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)-backports
    unpack_kernel "$2"
    ;;
*) install_lacking "$@" ;;
esac
