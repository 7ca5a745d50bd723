#!/usr/bin/env bash
# programs_python.sh - python under the preload, every object a block of malloc: parts of its
# own test-suite end as without the library, test by test, and its workers were served.
set -u
. "$(dirname "$0")/lib_real.sh"
need "$SO"
get python3.11-minimal libpython3.11-minimal libpython3.11-stdlib libpython3.11-testsuite

# Tests change the user, and the statistics of those processes must be written too.
STATS=$TMP/stats
mkdir -m 1777 "$STATS"
chmod 711 "$TMP"
EXTRA=(PYTHONMALLOC=malloc "HOME=$TMP")

# Prints `OUTCOME NAME` for each test of a JUnit file.
cat >"$TMP/outcomes.py" <<'END'
import sys, xml.etree.ElementTree as tree
for test in tree.parse(sys.argv[1]).iter('testcase'):
    ends = {child.tag for child in test} & {'error', 'failure', 'skipped'}
    print(min(ends, default='passed'), test.get('name'))
END

# Workers of both kinds, each with three threads. Each works on texts of 2 to 32 KiB, which it
# writes as JSON, reads again and searches. One that was forked ends by _exit, and began with its
# parent's counts: it writes the statistics itself, before and after.
cat >"$TMP/pool.py" <<'END'
import ctypes, hashlib, json, multiprocessing, os, random, re, sys, threading

def report(case):
    write = getattr(ctypes.CDLL(None), 'tide_stats_json', None)
    if write:
        path = '%s/stats.%s.%d' % (os.environ['REPORTS'], case, os.getpid())
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        write(file)
        os.close(file)

def work(seed, results):
    chance = random.Random(seed)
    texts = ['%x ' % chance.getrandbits(64) * chance.randrange(120, 1900) for _ in range(100)]
    rows = [{'key': chance.random(), 'text': text} for text in texts]
    rows += [{'key': n, 'list': [chance.random() for _ in range(10)]} for n in range(2000)]
    again = json.loads(json.dumps(rows))
    found = [re.sub('[0-9]+', '#', row['text']) for row in again if 'text' in row]
    results[seed] = hashlib.sha256(repr((again == rows, found)).encode()).hexdigest()

def serve(number, forked, queue):
    if forked:
        report('begin')
    results = {}
    threads = [threading.Thread(target=work, args=(number * 10 + n, results)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    queue.put(results)
    queue.close()
    queue.join_thread()
    if forked:
        report('end')

def main():
    for method in 'fork', 'spawn':
        context = multiprocessing.get_context(method)
        queue = context.Queue()
        workers = [context.Process(target=serve, args=(number, method == 'fork', queue))
                   for number in range(3)]
        for worker in workers:
            worker.start()
        results = {}
        for worker in workers:
            results.update(queue.get())
        for worker in workers:
            worker.join()
            print(method, worker.exitcode)
        print(*sorted(results.items()), sep='\n')

if __name__ == '__main__':
    main()
END

# Sets SUMS to the counts of the served arm, for people, and PASSED.
sum_up()
{
    local file=$TMP/$1.served.tests
    PASSED=$(grep -c '^passed ' "$file")
    SUMS="$PASSED passed, $(grep -cE '^(failure|error) ' "$file") failed"
    SUMS+=", $(grep -c '^skipped ' "$file") skipped"
}

# outcomes FILE ARM CASE COMMAND...: runs the tests, and adds what came of each to FILE.tests, how
# python ended to FILE.ends.
outcomes()
{
    local file=$TMP/$1
    rm -f "$TMP/xml"
    "${@:2}"
    cat "$TMP/$3.${2/watched/served}.status" >>"$file.ends"
    plain outcomes python3.11 "$TMP/outcomes.py" "$TMP/xml"
    cat "$TMP/outcomes.plain.out" >>"$file.tests"
    sort -u -o "$file.tests" "$file.tests"
}

# differ CASE: what was not as without the library, in $TMP/diff; nothing is good.
differ()
{
    {
        grep -vxFf "$TMP/$1.plain.ends" "$TMP/$1.served.ends"
        grep -vx '[02]' "$TMP/$1.served.ends"
        comm -13 "$TMP/$1.plain.tests" "$TMP/$1.served.tests"
        diff <(cut -d' ' -f2- "$TMP/$1.plain.tests" | sort -u) \
            <(cut -d' ' -f2- "$TMP/$1.served.tests" | sort -u)
    } >"$TMP/diff"
    [[ -s $TMP/diff ]]
}

# suite CASE PASSED ARGUMENT...: at least PASSED tests pass. A test may fail on a machine that
# it does not suit; then it must fail without the library as well. Python's pool of processes was
# seen to hang for ever without the library, and a test that watches the clock may fail on a busy
# machine in one of two runs: where the arms differ, python runs once more without the library, and
# each end must be that of a run without it.
suite()
{
    local case=$1 least=$2
    local -a run=(python3.11 -m test --tempdir "$TMP" --junit-xml "$TMP/xml" "${@:3}")
    TEST_SECONDS=150 outcomes "$case.plain" plain "$case" "${run[@]}"
    outcomes "$case.served" watched "$case" "${run[@]}"
    ! differ "$case" || TEST_SECONDS=150 outcomes "$case.plain" plain "$case" "${run[@]}"
    sum_up "$case"
    if differ "$case"; then
        bad "python: $case, each test as without the library" "$TMP/diff" \
            "$TMP/$case.served.out" "$TMP/$case.served.err"
    elif ((PASSED < least)); then
        bad "python: $case, only $PASSED tests passed" "$TMP/$case.served.tests" \
            "$TMP/$case.served.err"
    else
        ok "python: $case, each test as without the library ($SUMS)"
    fi
}

# workers CASE PROCESSES LARGE: so many processes had the library, so many of those that ended
# by exit took ten thousand blocks. The others are `python -I`, which does not look at
# PYTHONMALLOC, and programs like `true`.
workers()
{
    proof_maps "python: $1, every process had the library" "$1" "$2"
    proof_large "python: $1, it and the children that exit" "$1" "$3" '*/python3.11'
    proof "python: $1, each python" "$1" 20 1 '*/python3.11'
}

# The forked workers: what each took between its two reports.
forked_workers()
{
    table begin | sort >"$TMP/begin"
    table end | sort >"$TMP/end"
    join -t $'\t' "$TMP/begin" "$TMP/end" | awk -F'\t' '
        { print $1 ": " $5 - $2 " blocks, Mid " $6 - $3 }
        $5 - $2 >= 10000 && $6 > $3 { good++ }
        END { exit good != 3 || NR != 3 }' >"$TMP/forked"
}

pool()
{
    EXTRA+=("REPORTS=$STATS")
    plain pool python3.11 "$TMP/pool.py"
    watched pool python3.11 "$TMP/pool.py"
    same 'python: the pool, the same output' pool
    # Six workers, their parent and the one that multiprocessing adds.
    proof_maps 'python: the pool, every process had the library' pool 8
    proof 'python: the pool, parent and spawned workers' pool
    proof_large 'python: the pool, all of them' pool 5
    if forked_workers; then
        ok 'python: the pool, each forked worker 10000 blocks'
    else
        bad 'python: the pool, each forked worker 10000 blocks' "$TMP/forked"
    fi
}

# Left out are tests that watch the clock, and those that kill a child before it has begun.
SKIP=(-i '*timeout*' -i '*_wait*' -i '*doctest*' -i '*failfast*' -i '*pipesize*'
    -i '*interrupt*' -i '*_dead' -i '*_fast_*' -i '*leaking*' -i '*repeated*' -i '*_race*')
POOLS=()
for CLASS in TestPool TestQueue TestLock TestSharedMemory TestSharedCTypes TestHeap; do
    POOLS+=(-m "WithProcesses$CLASS")
done

suite text 250 "${SKIP[@]}" -i TestTool test_json test_re
workers text 2 1
suite threads 100 "${SKIP[@]}" test_thread test_threading
workers threads 20 2
suite subprocess 60 "${SKIP[@]}" -m POSIXProcessTestCase -m RunFuncTestCase \
    -m ContextManagerTests -m CommandTests test_subprocess
workers subprocess 100 50
if plain lock python3.11 -c 'import multiprocessing; multiprocessing.Lock()'; then
    suite fork 30 "${SKIP[@]}" "${POOLS[@]}" -m WithManagerTestQueue test_multiprocessing_fork
    workers fork 20 2
    suite spawn 10 "${SKIP[@]}" -m WithProcessesTestQueue -m WithProcessesTestSharedCTypes \
        test_multiprocessing_spawn
    workers spawn 10 10
    pool
else
    skip 'python: multiprocessing' "no locks here: $(tail -n 1 "$TMP/lock.plain.err")"
fi
finish
