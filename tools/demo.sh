#!/usr/bin/env bash
# The main job: compiles git (a Debian source package) first with the system's malloc, then
# under the preloaded library, and shows that nothing differs and that every process was
# served; then runs the gap bench and the shared log, and tells where the bytes went. All output is
# in build/demo.
set -u
export LC_ALL=C

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$(realpath "${BUILD:-$root/build}")
export BUILD=$build
demo=$build/demo
source=$demo/source
library=$build/libtidepool.so
package=git
files='' # compiled in the first pass
at_least_files=200
at_least_lines=200000
limit=1800 # seconds for one compile pass

# What is compiled, and how: nothing that names a time, a host or a directory, and none of the
# optional libraries.
jobs=$(nproc)
targets=(objects git)
settings=(CC=gcc NO_OPENSSL=1 NO_CURL=1 NO_EXPAT=1 NO_GETTEXT=1 NO_TCLTK=1 NO_PERL=1
    NO_PYTHON=1 COMPUTE_HEADER_DEPENDENCIES=no)

usage()
{
    cat <<'TEXT'
Usage: tools/demo.sh [--help]
Needs a finished `make`. Compiles the Debian source package git without and with the library,
compares every object, checks every process, runs bench_mid_mt_gap under each allocator, and
appends to a shared log of four brokers, whose reader checks the order.
BUILD names the build directory (default: build); results land in its demo/.
TIDEPOOL_OPTIONS of the environment holds for the compile pass under the library.
DEMO_NO_TRACE=1 does without tracing, as on a machine that forbids it.
Exit status: 0 everything holds, 1 something does not, 2 the demo could not run.
TEXT
}

case ${1-} in
    '') ;;
    --help) usage; exit 0 ;;
    *) printf 'demo: unknown argument %s; try --help\n' "$1" >&2; exit 2 ;;
esac

# ---- saying and failing -----------------------------------------------------------------

disproofs=()

step() { printf '\n== %s\n' "$*"; }

# Something that the demo set out to show does not hold.
disproof()
{
    disproofs+=("$*")
    printf 'FAILED: %s\n' "$*"
}

cannot()
{
    printf 'demo: %s\n' "$*" >&2
    exit 2
}

# Up to ten lines of standard input, and how many more there are.
some_of()
{
    awk 'NR <= 10 { print "    " $0 } END { if (NR > 10) print "    ... " NR - 10 " more" }'
}

# A counter that overwrites itself, on a terminal only.
counter() { if [ -t 1 ]; then printf '\r  %s\033[K' "$1"; fi; }

# ---- 0. what is needed ------------------------------------------------------------------

prepare()
{
    local need
    for need in gcc make awk realpath; do
        command -v "$need" >/dev/null || cannot "$need is not installed (tools/deps.sh demo)"
    done
    for need in "$library" "$build/tidepool" "$build/bench/bench_mid_mt_gap" \
        "$build/bench/bench_log"; do
        [ -e "$need" ] || cannot "no $need: run make first"
    done
    case $build in
        *[:,\ ]*) cannot "$build: to be preloaded, a path has no colon, comma or space" ;;
    esac
    [ ${#build} -le 220 ] || cannot "the path $build is too long for the option stats_at_exit"
    unset LD_PRELOAD
    mkdir -p "$demo" || cannot "cannot write to $demo"
    rm -rf "$demo/stats" "$demo/glibc" "$demo/tidepool" "$demo"/*.log "$demo"/*.txt \
        "$demo"/compare.* "$demo/held"*
    mkdir -p "$demo/stats"
}

# Fetches the source and zlib (git's only need) once; installs nothing but what unpacking needs.
fetch()
{
    step "2a. Somebody else's code: the Debian source package $package"
    "$root/tools/deps.sh" source "$package" "$source" || cannot "no source package $package"
    "$root/tools/deps.sh" unpack zlib1g-dev "$demo/zlib" || cannot "no package zlib1g-dev"
    [ -e "$source/Makefile" ] || cannot "no Makefile in $source"
    zlib=$(find "$demo/zlib" -name libz.a -print -quit)
    [ -n "$zlib" ] || cannot "no libz.a in $demo/zlib"
    settings+=("EXTLIBS=$zlib")
    headers=$(find "$demo/zlib" \( -name zlib.h -o -name zconf.h \) -printf '-isystem %h\n' |
        sort -u | paste -sd' ')
    [ -n "$headers" ] || cannot "no zlib.h in $demo/zlib"
    settings+=("CFLAGS=-O1 -g0 -w $headers")
    dsc=$(find "$build/deps/src/$package" -name '*.dsc' -print -quit 2>/dev/null)
    printf '  %s\n' "${dsc:+$(basename "$dsc" .dsc), }unpacked into $source"
    printf '  %s\n' "make -j$jobs ${targets[*]}, $(gcc --version | head -n 1), -O1 -g0"
}

# ---- 2. compiling -----------------------------------------------------------------------

# The watcher, unless this machine forbids tracing.
build_watcher()
{
    watcher=$demo/watch
    gcc -std=gnu17 -O1 -o "$watcher" "$root/tools/demo_watch.c" || cannot "cannot build the watcher"
    traced=yes
    if [ -n "${DEMO_NO_TRACE:-}" ] || ! "$watcher" "$library" "$demo/watch.log" true; then
        traced=
        printf '  no process may be traced here: maps are looked at in one held compile only\n'
    fi
}

building=''
stop_build() { [ -z "$building" ] || kill -TERM -- "-$building" 2>/dev/null; }
trap stop_build EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Compiles the copy of the tree named $1; further arguments are the environment of the build.
compile()
{
    local name=$1 pid status=0 count
    local -a command
    shift
    mkdir -p "$demo/$name"
    cp -R "$source/." "$demo/$name" || cannot "cannot copy the source"
    command=(env -i "PATH=$PATH" "HOME=$demo" "TMPDIR=${TMPDIR:-/tmp}" LC_ALL=C CCACHE_DISABLE=1
        "$@" timeout "$limit" make -C "$demo/$name" "-j$jobs" "${targets[@]}" "${settings[@]}")
    if [ -n "$traced" ]; then
        command=("$watcher" "$library" "$demo/$name.processes.log" "${command[@]}")
    fi
    TIMEFORMAT='%R %U %S'
    set -m # a process group of its own, which stop_build can end as a whole
    { time "${command[@]}" >"$demo/$name.make.log" 2>&1; } 2>"$demo/$name.time.txt" &
    pid=$! building=$!
    set +m
    while kill -0 "$pid" 2>/dev/null; do
        count=$(grep -c '^ *CC ' "$demo/$name.make.log" 2>/dev/null)
        counter "${count:-0} ${files:+of $files }files compiled"
        sleep 0.5
    done
    wait "$pid" || status=$?
    building=''
    counter ''
    [ -t 1 ] && printf '\r'
    if [ $status -ne 0 ]; then
        disproof "the build in $demo/$name ended with status $status; $name.make.log ends with"
        tail -n 8 "$demo/$name.make.log" | some_of
    fi
    read -r wall user system < <(tail -n 1 "$demo/$name.time.txt")
    cpu=$(awk -v u="$user" -v s="$system" 'BEGIN { printf "%.2f", u + s }')
    printf '  %s: %s s, %s CPU seconds\n' "$name" "$wall" "$cpu"
}

# The C files that were really compiled, from make's own words.
compiled_files()
{
    sed -n 's/^ *CC \(.*\)\.o$/\1.c/p' "$demo/$1.make.log" | sort
}

count_code()
{
    (cd "$demo/glibc" && compiled_files glibc | xargs wc -l | awk '
        $2 != "total" { files++; lines += $1 } END { print files + 0, lines + 0 }') 2>/dev/null
}

compile_twice()
{
    step "2b. Compiling it with the system's malloc"
    find "$source" -type f -exec cat {} + >/dev/null # both passes find the files in memory
    compile glibc
    cpu_glibc=$cpu wall_glibc=$wall
    read -r files lines < <(count_code)
    printf '  %s C files, %s lines (the .c files alone, headers not counted)\n' "$files" "$lines"
    if [ "$files" -lt $at_least_files ] || [ "$lines" -lt $at_least_lines ]; then
        disproof "less than $at_least_files files and $at_least_lines lines were compiled"
    fi
    step "2c. Compiling it under the library"
    options=${TIDEPOOL_OPTIONS:+$TIDEPOOL_OPTIONS,}stats_at_exit=$demo/stats/%p.json
    compile tidepool "LD_PRELOAD=$library" "TIDEPOOL_OPTIONS=$options"
    cpu_tidepool=$cpu wall_tidepool=$wall
    cpu_ratio=$(awk -v a="$cpu_tidepool" -v b="$cpu_glibc" 'BEGIN { printf "%.3f", a / b }')
    printf '  CPU seconds under the library / without: %s (one pass each, on whatever else ran)\n' \
        "$cpu_ratio"
}

# ---- 2d. the objects --------------------------------------------------------------------

products()
{
    (cd "$demo/$1" && find . \( -name '*.o' -o -name '*.a' -o -name git -type f -perm -u+x \) \
        -print | sort)
}

compare_objects()
{
    local name different="$demo/different.txt"
    step "2d. Are the objects equal, byte by byte?"
    products glibc >"$demo/products.glibc.txt"
    products tidepool >"$demo/products.tidepool.txt"
    {
        comm -3 "$demo/products.glibc.txt" "$demo/products.tidepool.txt" | tr -d '\t'
        comm -12 "$demo/products.glibc.txt" "$demo/products.tidepool.txt" | while read -r name; do
            cmp -s "$demo/glibc/$name" "$demo/tidepool/$name" || printf '%s\n' "$name"
        done
    } >"$different"
    objects=$(grep -c '\.o$' "$demo/products.tidepool.txt")
    if [ "$objects" -ne "$files" ]; then
        disproof "$files files were compiled, but there are $objects objects"
    fi
    if [ -s "$different" ]; then
        disproof "$(wc -l <"$different") files differ between glibc/ and tidepool/ of $demo"
        some_of <"$different"
    else
        printf '  all %s files equal: %s objects, %s archives, the linked program\n' \
            "$(wc -l <"$demo/products.glibc.txt")" "$objects" \
            "$(grep -c '\.a$' "$demo/products.glibc.txt")"
    fi
}

# ---- 2e. the processes ------------------------------------------------------------------

# Without tracing: one compile whose source arrives through a pipe that stays open, so that
# driver, compiler and assembler all wait while their maps are read.
held_compile()
{
    local held=$demo/held pid seen='' child map
    mkfifo "$held.pipe" || cannot "cannot make a named pipe"
    LD_PRELOAD=$library gcc -pipe -O1 -x c -c -o "$held.o" - <"$held.pipe" &
    pid=$!
    exec 9>"$held.pipe"
    for _ in $(seq 50); do
        seen=$(cat "/proc/$pid/task/$pid/children")
        [ "$(wc -w <<<"$seen")" -eq 2 ] && break
        sleep 0.1
    done
    sleep 0.2 # each has called exec and waits for input
    for child in $pid $seen; do
        map=no
        grep -q " r-x.* $library\$" "/proc/$child/maps" && map=yes
        printf '%s\t%s\t%s\theld.c\n' "$child" "$map" "$(readlink "/proc/$child/exe")"
    done >"$demo/tidepool.processes.log"
    printf 'int held;\n' >&9
    exec 9>&-
    wait "$pid" || disproof "the held compile failed"
    rm -f "$held.pipe" "$held.o"
    [ "$(wc -l <"$demo/tidepool.processes.log")" -eq 3 ] ||
        disproof "the held compile did not show driver, compiler and assembler"
}

# Holds the processes that were seen against the statistics they left. Prints a table of
# programs, then lines that begin with "!" for what is wrong.
judge_processes()
{
    # shellcheck disable=SC2016
    local program='
        function base(path) { sub(/.*\//, "", path); return path }
        function is_tool(name) {
            return name ~ /^(.*-)?(gcc|cpp|as|ld|ar|ranlib)([-.].*)?$/ ||
                name ~ /^(cc1|collect2|lto.*)$/
        }
        function work(command) {
            if (!match(command, /[^ ]+\.[co]( |$)/)) return ""
            return ": " substr(command, RSTART, RLENGTH)
        }
        FILENAME ~ /\.json$/ {
            if (!match($0, /"pid": *[0-9]+/)) { print "! no pid in " FILENAME; next }
            pid = substr($0, RSTART, RLENGTH); sub(/.*[^0-9]/, "", pid)
            match($0, /"program": *"[^"]*"/)
            name = substr($0, RSTART, RLENGTH); sub(/"$/, "", name); name = base(name)
            left[pid, name]++; wrote[name]++; names[name] = 1
            next
        }
        {
            name = base($3); names[name] = 1; seen[name]++
            if ($2 == "yes") mapped[name]++
            else if (is_tool(name)) print "! not in the map of " name ", pid " $1 work($4)
            else other = other " " name
            if (traced && is_tool(name) && left[$1, name]-- < 1)
                print "! no statistics from " name ", pid " $1 work($4)
        }
        END {
            printf "  %-28s %9s %9s %9s\n", "program", \
                traced ? "processes" : "seen", "by map", "by stats"
            for (name in names) if (is_tool(name)) {
                tools += seen[name]; stats += wrote[name]
                printf "  %-28s %9d %9d %9d\n", name, seen[name], mapped[name], wrote[name]
                if (name == "cc1" || name ~ /^(.*-)?as$/) {
                    found++
                    if (wrote[name] != files)
                        print "! " files " files, but statistics from " wrote[name] + 0 " x " name
                }
                if (name ~ /gcc/) drivers += wrote[name]
            } else { helpers += seen[name]; served += mapped[name] }
            printf "  %-28s %9d %9d         -\n", "make,shells,others", helpers, served
            if (found != 2 || drivers < files) print "! driver, compiler or assembler are missing"
            if (other != "") print "  not_served_helpers:" other
            print tools, stats >totals
        }'
    find "$demo/stats" -name '*.json' -print0 | xargs -0r cat >"$demo/all.json"
    awk -F'\t' -v traced="$traced" -v files="$files" -v totals="$demo/totals.txt" "$program" \
        "$demo/all.json" "$demo/tidepool.processes.log"
}

check_processes()
{
    local verdict=$demo/processes.txt wrong
    step "2e. Was every compiler process served by the library?"
    if [ -n "$traced" ]; then
        wrong=$(awk -F'\t' '$2 == "yes"' "$demo/glibc.processes.log" | wc -l)
        [ "$wrong" -eq 0 ] || disproof "$wrong processes had the library in the pass without"
    else
        held_compile
    fi
    judge_processes >"$verdict"
    grep '^  program' "$verdict"
    grep -v -e '^!' -e '^  program' "$verdict" | sort -k2,2nr
    read -r processes witnessed <"$demo/totals.txt"
    if grep -q '^!' "$verdict"; then
        disproof "not every compiler process was served; all of them in $verdict"
        grep '^!' "$verdict" | sort -r | some_of
    elif [ -n "$traced" ]; then
        printf '  all %s compiler processes had the library in their map at their end and left\n' \
            "$processes"
        printf '  statistics; none had it in the pass without\n'
    else
        printf '  %s compiler processes left statistics; driver, compiler and assembler of\n' \
            "$witnessed"
        printf '  one held compile had the library in their maps\n'
    fi
}

# ---- 3. the bench, 4. the bytes, 5. the log ---------------------------------------------

bench()
{
    local -a arguments=(--rounds 5 --csv "$demo/compare.csv" --json "$demo/compare.json"
        --expect-mix "tiny=25,mid=75" -- "$build/bench/bench_mid_mt_gap" --ops 5M)
    step "3. bench_mid_mt_gap: 1, 2, 4, 8 KiB, 256 slots, one thread; allocators in turn"
    "$root/bench/compare" "${arguments[@]}" || disproof "bench/compare failed"
    ratios=$(tr '{' '\n' <"$demo/compare.json" 2>/dev/null | awk '
        /"allocator":/ { split($0, part, "\""); name = part[4] }
        /"median":/ && !(name in mops) { split($0, part, /[:,]/); mops[name] = part[2] + 0 }
        END {
            for (name in mops)
                if (name != "tidepool" && mops[name] > mops[peer]) peer = name
            if (mops["tidepool"] && mops["glibc"])
                printf "tidepool / glibc %.2f", mops["tidepool"] / mops["glibc"]
            if (mops["tidepool"] && peer != "")
                printf ", tidepool / the fastest other (%s) %.2f", peer, \
                    mops["tidepool"] / mops[peer]
        }')
    [ -z "$ratios" ] || printf '  Mops/s: %s\n' "$ratios"
}

# Sums the tiers over the statistics of all processes that were served: for each tier its own
# figures, and from its classes the bytes of the blocks that were taken.
bytes()
{
    step "4. Where the bytes went: all $(wc -l <"$demo/all.json") processes that left statistics"
    awk '
        function figure(text, key) {
            if (!match(text, "\"" key "\": *[0-9]+")) return 0
            text = substr(text, RSTART, RLENGTH)
            sub(/.*[^0-9]/, "", text)
            return text + 0
        }
        function add_tier(t, name,    text, i, n, class) {
            if (!match($0, "\"" name "\": *[{]")) return
            text = substr($0, RSTART)
            sub(/\].*/, "", text)
            n = split(text, class, "[{]")
            for (i = 1; i <= keys; i++) sum[t, i] += figure(class[2], key[i])
            for (i = 3; i <= n; i++)
                taken[t] += figure(class[i], "size") * figure(class[i], "taken_blocks")
        }
        BEGIN {
            tiers = split("tiny mid large", tier, " ")
            keys = split("taken_blocks live_blocks live_bytes cached_bytes mapped_bytes", key, " ")
        }
        { for (t = 1; t <= tiers; t++) add_tier(t, tier[t]) }
        END {
            printf "  %-6s %14s %12s %14s %12s %12s %12s\n", "tier", "blocks taken", "MiB taken", \
                "blocks live", "MiB live", "MiB cached", "MiB mapped"
            for (t = 1; t <= tiers; t++)
                printf "  %-6s %14.0f %12.1f %14.0f %12.1f %12.1f %12.1f\n", tier[t], sum[t, 1], \
                    taken[t] / 1048576, sum[t, 2], sum[t, 3] / 1048576, sum[t, 4] / 1048576, \
                    sum[t, 5] / 1048576
            print "  taken: blocks that left their pages (one that is used again from a magazine"
            print "  counts once); live, cached, mapped (address space): at the end of each process"
            exit !(sum[1, 1] + sum[2, 1] + sum[3, 1])
        }' "$demo/all.json" || disproof "the statistics tell of no block at all"
}

# The reader of the bench ends it when a batch is out of its turn, or a byte is another one.
shared_log()
{
    local -a command=("$build/bench/bench_log" --case ancestor --total 512M --quiet --csv)
    step "5. The shared log: four brokers, order level 5, messages of 1 KiB in batches of 1 MiB"
    "${command[@]}" >"$demo/log.csv" || disproof "the order of the log, or what was read, is wrong"
    log_speed=$(awk -F, '
        NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next }
        $at["level"] == 5 && $at["brokers_seen"] == 4 {
            printf "%.2f GB/s, %.2f times the pipe", $at["gb_per_s"], $at["ratio_to_pipe"]
        }' "$demo/log.csv")
    if [ -z "$log_speed" ]; then
        disproof "the reader of the log did not get batches from all four brokers"
        return
    fi
    printf '  a reader got every batch of all four brokers in one gap-free order, in place, and\n'
    printf '  read every byte: %s. The pipe: one core copies as\n' "$log_speed"
    printf '  much into a ring of 64 MiB and another one reads it, without any order or log\n'
}

summary()
{
    local line
    step "Summary (files in $demo)"
    printf '  compiled       %s C files, %s lines of %s; %s s and %s s\n' "$files" "$lines" \
        "$package" "$wall_glibc" "$wall_tidepool"
    printf '  CPU seconds    %s without, %s under the library (ratio %s)\n' "$cpu_glibc" \
        "$cpu_tidepool" "$cpu_ratio"
    printf '  bench          %s\n' "${ratios:-no result}"
    printf '  shared log     %s\n' "${log_speed:-no result}"
    if [ ${#disproofs[@]} -eq 0 ]; then
        printf '  everything holds: equal objects, every compiler process served\n'
        return 0
    fi
    for line in "${disproofs[@]}"; do printf '  FAILED         %s\n' "$line"; done
    return 1
}

prepare
step "1. What the library sees on this machine"
"$build/tidepool" info || disproof "tidepool info failed"
fetch
build_watcher
compile_twice
compare_objects
check_processes
bench
bytes
shared_log
summary
