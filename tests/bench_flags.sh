#!/usr/bin/env bash
# bench_flags.sh - the flags of all benches: the same names, bad input refused with the reason.
set -u
. "$(dirname "$0")/lib_bench.sh"

COMMON=(--case --threads --ops --sizes --slots --seed --touch --expect-mix --json --quiet --help)

# refused PATTERN ARGUMENT...: by every bench, with exit 2, the reason and nothing on stdout.
refused()
{
    local pattern=$1 name status wrong=''
    shift
    for name in "${BENCHES[@]}"; do
        bench "$name" "$@"
        status=$?
        ((status == 2)) && grep -qe "$pattern" "$TMP/err" && [[ ! -s $TMP/out ]] ||
            wrong+=" $name($status)"
    done
    if [[ -z $wrong ]]; then ok "every bench refuses '$*'"; else bad "'$*':$wrong" "$TMP/err"; fi
}

# refuses BENCH PATTERN ARGUMENT...
refuses()
{
    ends "$1 refuses '${*:3}'" 2 err "$2" bench "$1" "${@:3}"
    [[ ! -s $TMP/out ]] || bad "$1 prints something although it refuses '${*:3}'" "$TMP/out"
}

test_common()
{
    refused unrecognized --bogus
    refused 'is no option' stray
    refused 'requires an argument' --threads
    refused 'requires an argument' --ops 5 --sizes
    refused 'threads: 0 is not within' --threads 0
    refused 'threads: empty entry' --threads 1,
    refused 'threads: empty list' --threads ''
    refused 'not a number' --threads 1-2
    refused 'not a number' --threads -1
    refused 'not within' --threads 99999
    refused 'ops: 0 is not within' --ops 0
    refused 'not a number' --ops 12x
    refused 'not within' --ops 99999999999999999999999999
    refused 'sizes: empty list' --sizes ''
    refused 'sizes: empty entry' --sizes 1024,,2048
    refused 'not a number' --sizes 4KB
    refused 'not a number' --sizes 4K-
    refused 'not within' --sizes 7
    refused 'not within' --sizes 5G
    refused '4K is not within 8192' --sizes 8K-4K
    refused 'slots: 0 is not within' --slots 0
    refused 'slots: empty list' --slots ''
    refused 'not a number' --seed abc
    refused 'not first, all or none' --touch some
    refused "no other case is named 'nowhere'" --case nowhere
    refused 'case: empty list' --case ''
    refused 'add up to 50 %' --expect-mix tiny=50
    refused "no tier named 'huge'" --expect-mix huge=100
}

test_help()
{
    local name flag wrong=''
    for name in "${BENCHES[@]}"; do
        bench "$name" --help || wrong+=" $name(status)"
        for flag in "${COMMON[@]}"; do
            grep -q -- "^  ${flag}[ ,]" "$TMP/out" || wrong+=" $name($flag)"
        done
        [[ ! -s $TMP/err ]] || wrong+=" $name(stderr)"
    done
    if [[ -z $wrong ]]; then
        ok 'every bench explains every flag'
    else
        bad "the help of$wrong"
    fi
}

test_own()
{
    refuses bench_frag 'bytes: 0 is not within' --bytes 0
    refuses bench_frag 'not within 0..100' --free 101
    refuses bench_frag 'not a number' --pause soon
    refuses bench_frag 'other-sizes: empty list' --other-sizes ''
    refuses bench_remote 'no other one' --case all --threads 1
    refuses bench_remote '3 threads are not pairs' --threads 3
    refuses bench_remote 'slots: 20000000 is not within' --slots 20M
    refuses bench_realloc 'one range is wanted' --sizes 4K
    refuses bench_realloc 'one range is wanted' --sizes 4K-8K,16K-32K
    refuses bench_header '512 is below 1024' --sizes 512
    refuses bench_header 'not within' --rounds 0
    refuses bench_header 'measures no allocator' --expect-mix mid=100
    refuses bench_header 'more than 16777216 blocks' --slots 17M
    refuses bench_header 'far-ns: 0 is not within' --far-ns 0
    refuses bench_stride 'for blocks of 4096' --sizes 8K
    refuses bench_stride 'not within' --rounds 100
    # Nothing runs when one of several cases cannot.
    refuses bench_remote 'not pairs' --threads 2,3 --ops 10 --json
    ends 'bench_start tells of a program that is not there' 1 err '/nowhere: No such file' \
        bench bench_start --ops 1 --program /nowhere
    ends 'and of one that fails' 1 err 'ended with status' \
        bench bench_start --ops 1 --program /bin/false
    ends 'and of an empty object that is not there' 1 err 'nowhere.so' \
        bench bench_start --ops 1 --empty nowhere.so
    ends 'bench_frag takes no more memory than there is' 1 err 'of memory are free' \
        bench bench_frag --bytes 16384G
}

test_common
test_help
test_own
finish
