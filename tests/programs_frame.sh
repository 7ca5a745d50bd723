#!/usr/bin/env bash
# programs_frame.sh - the judges of lib_real.sh themselves: each must say `not ok` where a
# program was not served, told something else, or could not be fetched.
set -u
. "$(dirname "$0")/lib_real.sh"
need "$SO"

# Ten thousand hash keys and a few large strings; perl is on every Debian.
# shellcheck disable=SC2016 # it is perl
WORK='my %h; $h{$_ x 3} = "v" x ($_ % 3000) for 1 .. 20000; print scalar(keys %h), "\n"'

# says NAME VERDICT COMMAND...: the judge, called as given, says VERDICT. What it finds not
# ok is no failure of ours.
says()
{
    local failed=$FAILED
    "${@:3}" >"$TMP/verdict" 2>&1
    FAILED=$failed
    if [[ $(<"$TMP/verdict") == "$2 - "* ]]; then
        ok "$1"
    else
        bad "$1: wanted '$2'" "$TMP/verdict"
    fi
}

refuses()
{
    says "$1" 'not ok' "${@:2}"
}

judge_statistics()
{
    plain perl perl -e "$WORK"
    served perl perl -e "$WORK"
    says 'proof: a served program' ok proof x perl
    says 'same: equal output' ok same x perl
    refuses 'proof: more blocks than it took' proof x perl 100000000
    refuses 'proof: more Mid than it took' proof x perl 10000 100000000
    refuses 'proof: a program that did not run' proof x perl 1 0 '*/nothing'
    says 'proof_large: a served program' ok proof_large x perl 1 '*/perl'
    refuses 'proof_large: more processes than there were' proof_large x perl 2
    served small perl -e '1'
    refuses 'proof: one small process' proof x small
    refuses 'proof_large: one small process' proof_large x small 1
    says 'proof: a smaller bound' ok proof x small 100 0
}

# Without the library, and with one that is not there: ld.so says so and goes on.
judge_absence()
{
    local SO=
    served none perl -e "$WORK"
    refuses 'proof: no library' proof x none 1 0
    SO=$TMP/nothing.so
    served missing perl -e "$WORK"
    refuses 'proof: a library that is not there' proof x missing 1 0
    SO=$TMP/other.so
    "${CC:-gcc}" -shared -o "$SO" -x c /dev/null
    served other perl -e "$WORK"
    refuses 'proof: another library' proof x other 1 0
}

judge_results()
{
    # shellcheck disable=SC2016 # it is perl
    local differ='print exists $ENV{LD_PRELOAD} ? 1 : 0'
    plain out perl -e "$differ"
    served out perl -e "$differ"
    refuses 'same: another output' same x out
    says 'same: a filter that makes them equal' ok same x out tr 0 1
    plain status sh -c 'exit 0'
    served status sh -c 'exit 3'
    refuses 'same: another status' same x status
    plain error sh -c 'exit 0'
    served error sh -c 'echo word >&2'
    refuses 'same: another stderr' same x error
}

# A child that ends by _exit is seen; one that drops the preload is told from it.
judge_maps()
{
    # shellcheck disable=SC2016 # it is perl
    local fork='use POSIX; fork // die or POSIX::_exit(0); wait; print 1'
    find_watcher
    [[ -n $WATCHER ]] || {
        skip 'maps' 'no process may be traced here'
        return
    }
    watched tree sh -c "perl -e '$fork'; true"
    says 'proof_maps: all served, children too' ok proof_maps x tree 3
    refuses 'proof_maps: fewer than asked for' proof_maps x tree 4
    watched drop sh -c 'env -u LD_PRELOAD perl -e 1; true'
    refuses 'proof_maps: a process without' proof_maps x drop
}

# sleeper PID: waits until a child of PID has become `sleep`.
sleeper()
{
    local pid i
    for ((i = 0; i < 300; i++)); do
        for pid in $(descendants "$1"); do
            [[ $(cat "/proc/$pid/comm" 2>/dev/null) == sleep ]] && return
        done
        sleep 0.1
    done
}

judge_servers()
{
    local served dropped
    local -a all
    launch served server sh -c 'sleep 100 & wait'
    served=$PID
    sleeper "$served"
    says 'proof_tree: a server and its child' ok proof_tree x "$served" 2
    refuses 'proof_tree: fewer than asked for' proof_tree x "$served" 3
    launch served dropper sh -c 'env -u LD_PRELOAD sleep 100 & wait'
    dropped=$PID
    sleeper "$dropped"
    refuses 'proof_tree: a child without' proof_tree x "$dropped"
    launch plain server sleep 100
    sleeper "$PID"
    refuses 'proof_tree: the arm without' proof_tree x "$PID"
    stop "$PID"
    if (($? == 143)) && ! kill -0 "$PID" 2>/dev/null; then
        ok 'stop: it is gone'
    else
        bad 'stop: it is gone'
    fi
    mapfile -t all < <(descendants "$served"; descendants "$dropped")
    kill -TERM "${all[@]}"
}

# fake_apt BODY: what stands for apt-get from now on.
fake_apt()
{
    mkdir -p "$TMP/bin"
    printf '#!/bin/sh\n%s\n' "$1" >"$TMP/bin/apt-get"
    chmod +x "$TMP/bin/apt-get"
}

# fetches NAME: whether `get` brings the file of the package; what it says is in $TMP/said.
fetches()
{
    rm -rf "$TMP/deps/root"
    (BUILD=$TMP PATH=$TMP/bin:$PATH get "$1" && [[ -e $ROOT/usr/share/small ]]) >"$TMP/said" 2>&1
}

judge_get()
{
    mkdir -p "$TMP/small/DEBIAN" "$TMP/small/usr/share"
    touch "$TMP/small/usr/share/small"
    printf '%s\n' 'Package: small' 'Version: 1' 'Architecture: all' 'Maintainer: a <a@b.c>' \
        'Description: x' >"$TMP/small/DEBIAN/control"
    export DEPS_PAUSES='0 0 0'
    fake_apt 'exit 100'
    if ! fetches small && [[ $(<"$TMP/said") == 'not ok - get small'*MISSING* ]]; then
        ok 'get: no network is a failure'
    else
        bad 'get: no network is a failure' "$TMP/said"
    fi
    # A line for each download; the first five fail.
    : >"$TMP/tries"
    fake_apt "case \"\$*\" in *download*)
        echo >>'$TMP/tries'
        [ \$(wc -l <'$TMP/tries') -gt 5 ] || exit 100
        dpkg-deb -b '$TMP/small' small_1_all.deb ;;
    esac"
    if fetches small; then
        ok 'get: a package, when connections are refused for a while'
    else
        bad 'get: a package, when connections are refused for a while' "$TMP/said"
    fi
    fake_apt 'exit 100'
    if fetches small; then
        ok 'get: the second time without network'
    else
        bad 'get: the second time without network' "$TMP/said"
    fi
}

judge_statistics
judge_absence
judge_results
judge_maps
judge_servers
judge_get
finish
