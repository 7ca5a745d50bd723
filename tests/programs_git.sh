#!/usr/bin/env bash
# programs_git.sh - Debian's git makes a repository, clones, checks, packs and reads it.
#
# Both arms import the same stream: some thousand blobs in versions that differ by a line,
# so that packing finds deltas. Refs, objects and contents must then be equal; the
# bytes of a pack need not be, with threads that search deltas.
#
# git itself names its processes: it writes a trace for each, with the process id in the
# name of the file. Each must have left statistics. git allocates little and keeps
# much: it takes objects from slabs of its own, and what it frees at once comes from a
# magazine again, which counts once. So the bound of 10^4 holds for the processes that have
# the work, and a small one, below what git takes to start, for all others.
set -u
. "$(dirname "$0")/lib_real.sh"

COMMITS=2400
FILES=100

# The stream for git fast-import. Files of 10 to 190 lines: blobs from 1 to 20 KiB.
stream()
{
    awk -v commits="$COMMITS" -v files="$FILES" '
    function draw() { return state = state * 16807 % 2147483647 }
    function words(n,    text) {
        while (n-- > 0)
            text = text sprintf("%x ", draw())
        return text "\n"
    }
    function put(file,    text, i) {
        for (i = 0; i < lines[file]; i++)
            text = text line[file, i]
        printf "M 100644 inline dir%d/file%d\ndata %d\n%s\n", file % 7, file, length(text), text
    }
    function tag(commit) {
        printf "tag v%d\nfrom :%d\ntagger T <t@t> %d +0000\ndata 6\na tag\n\n", commit, commit,
            1700000000 + commit
    }
    BEGIN {
        state = 12345
        for (f = 0; f < files; f++)
            for (lines[f] = 10 + f % 10 * 20; i < lines[f]; i++)
                line[f, i] = words(4 + i % 9)
        for (c = 1; c <= commits; c++) {
            printf "commit refs/heads/%s\nmark :%d\n", c % 10 ? "main" : "side", c
            printf "committer C <c@c> %d +0000\ndata 12\ncommit %04d\n\n", 1700000000 + c, c
            if (c > 1)
                printf "from :%d\n", c - 1
            for (k = 0; k < (c > 1 ? 8 : files); k++) {
                f = c > 1 ? (c * 8 + k * 7) % files : k
                line[f, draw() % lines[f]] = words(5)
                put(f)
            }
            if (c % 50 == 0)
                tag(c)
        }
    }'
}

# settings KEY VALUE...: git's configuration by environment; nothing of the machine's.
settings()
{
    local i=0
    EXTRA=("HOME=$TMP" GIT_CONFIG_NOSYSTEM=1 "GIT_EXEC_PATH=$ROOT/usr/lib/git-core"
        "GIT_TEMPLATE_DIR=$ROOT/usr/share/git-core/templates" "GIT_CONFIG_COUNT=$(($# / 2))"
        GIT_PAGER=cat GIT_ATTR_NOSYSTEM=1 XDG_CONFIG_HOME="$TMP")
    while (($# > 0)); do
        EXTRA+=("GIT_CONFIG_KEY_$i=$1" "GIT_CONFIG_VALUE_$i=$2")
        shift 2
        i=$((i + 1))
    done
}

# both CASE CMD...: in both arms, each in a directory of its own.
both()
{
    local case=$1
    shift
    plain "$case" env -C "$TMP/plain" "$@"
    mkdir -p "$TMP/trace.$case"
    watched "$case" env -C "$TMP/served" GIT_TRACE2_EVENT="$TMP/trace.$case" "$@"
}

# Without the names of the two directories.
# shellcheck disable=SC2317 # `same` calls it
anywhere()
{
    sed -E "s#$TMP/(plain|served)#DIR#g"
}

# Joins git's own list of the processes of a case with our statistics, into $TMP/joined:
# PID, blocks, Mid blocks (- without statistics), and the command.
join_trace()
{
    local file pid name
    table "$1" >"$TMP/table"
    for file in "$TMP/trace.$1"/*; do
        pid=$((16#${file##*-P}))
        name=$(sed -nE 's/.*"event":"cmd_name".*"name":"([^"]*)".*/\1/p' "$file" | tail -n 1)
        awk -F'\t' -v pid="$pid" -v name="${name:-unknown}" '
            $1 == pid { blocks = $2; mid = $3 }
            END { print pid, blocks == "" ? "-" : blocks, mid == "" ? "-" : mid, name }
        ' "$TMP/table"
    done >"$TMP/joined"
}

# every NAME CASE COUNT: at least so many processes of git, and all were served.
every()
{
    join_trace "$2"
    awk '$2 == "-" || $2 < 100 || $3 < 1' "$TMP/joined" >"$TMP/wrong"
    if [[ -s $TMP/wrong ]]; then
        bad "$1: processes not served (id, blocks, Mid, command)" "$TMP/wrong"
    elif (($(wc -l <"$TMP/joined") < $3)); then
        bad "$1: fewer than $3 processes" "$TMP/joined"
    else
        ok "$1 ($(wc -l <"$TMP/joined") processes)"
    fi
}

# did NAME CASE COMMAND BLOCKS: a process with this command took so many blocks.
did()
{
    local best
    join_trace "$2"
    best=$(awk -v name="$3" '$4 == name && $3 > 0 && $2 + 0 > best { best = $2 }
        END { print best + 0 }' "$TMP/joined")
    if ((best >= $4)); then
        ok "$1 ($best blocks)"
    else
        bad "$1: it took $best blocks, wanted $4" "$TMP/joined"
    fi
}

# Everything that a reader can ask for, in one text.
read_all()
{
    cat <<'READ'
set -e
git show-ref --head
git cat-file --batch-check --batch-all-objects
git log --format='%H %T %P %D' --all
git status --short --branch
READ
}

work()
{
    both import sh -c "git init -q -b main --bare origin &&
        git -C origin fast-import --quiet <'$TMP/stream'"
    same 'git fast-import: equal' import
    # The path of the served arm is the same text in both.
    plain clone git clone -q "file://$TMP/plain/origin" "$TMP/plain/copy"
    mkdir "$TMP/trace.clone"
    watched clone env GIT_TRACE2_EVENT="$TMP/trace.clone" \
        git clone -q "file://$TMP/served/origin" "$TMP/served/copy"
    same 'git clone: equal' clone anywhere
    both fsck git -C copy fsck --strict --full
    same 'git fsck --strict: equal' fsck
    both repack git -C copy repack -adfq --threads=2 --depth=50 --window=20
    same 'git repack -adf with threads: equal' repack
    both gc git -C copy gc -q --prune=now
    same 'git gc: equal' gc
    both recheck git -C copy fsck --strict --full
    same 'git fsck after repack and gc: equal' recheck
}

look()
{
    both refs env -C copy sh -c "$(read_all)"
    same 'the same refs and objects' refs
    both contents git -C copy cat-file --batch --batch-all-objects
    same 'the same contents' contents
    both log git -C copy log -p --stat --all
    same 'git log -p: equal' log
    both grep git -C copy grep -n '3f[0-9a]* ' main origin/side
    same 'git grep with threads: equal' grep
    both blame git -C copy blame dir2/file9
    same 'git blame: equal' blame
}

# There must be something to compare: objects, deltas in the pack of the served arm.
substance()
{
    local objects deltas
    objects=$(grep -cE '^[0-9a-f]{40} (blob|tree|commit|tag) ' "$TMP/refs.served.out")
    served deltas git verify-pack -v "$TMP"/served/copy/.git/objects/pack/*.idx
    deltas=$(grep -cE '^[0-9a-f]{40} \w+ +[0-9]+ [0-9]+ [0-9]+ [0-9]+ ' "$TMP/deltas.served.out")
    if ((objects > 10000 && deltas > 5000)); then
        ok "the repository holds $objects objects, $deltas as deltas"
    else
        bad "the repository holds $objects objects, $deltas as deltas" "$TMP/deltas.served.err"
    fi
}

proofs()
{
    local case
    every 'git fast-import: served' import 2
    every 'git clone: all served, remote side and checkout workers too' clone 7
    every 'git fsck: all served' fsck 1
    every 'git repack: all served' repack 2
    every 'git gc: all served' gc 5
    did 'git fast-import works on our blocks' import fast-import 10000
    did 'git pack-objects of clone works on our blocks' clone pack-objects 5000
    did 'git index-pack works on our blocks' clone index-pack 1000
    did 'git fsck works on our blocks' fsck fsck 5000
    did 'git pack-objects of repack works on our blocks' repack pack-objects 10000
    did 'git cat-file works on our blocks' contents cat-file 10000
    did 'git log works on our blocks' log log 10000
    for case in clone gc; do
        proof_maps "git $case: every process had the library" "$case" 5
    done
}

get git
need "$SO"
mkdir "$TMP/plain" "$TMP/served"
stream >"$TMP/stream"
settings pack.threads 2 index.threads 2 grep.threads 2 checkout.workers 2 \
    checkout.thresholdForParallelism 1 gc.auto 0 maintenance.auto false \
    core.preloadIndex true
work
look
substance
proofs
finish
