# baseline.awk - which runs of runs.csv went wrong, and the verdict about all of them.
#
# -v runs=N            as many were wanted
# Exit status: 0 every run was a success, 1 some were not.

FNR == 1 {
    n = csv_split($0, head)
    for (i = 1; i <= n; i++) place[head[i]] = i
    next
}

{
    csv_split($0, cell)
    run = cell[place["run_no"]] + 0
    done[run] = 1
    if (cell[place["status_text"]] != "ok" && !(run in wrong)) wrong[run] = cell[place["status_text"]]
}

END {
    for (i = 1; i <= runs; i++) {
        if (i in wrong) printf "run %d: %s\n", i, wrong[i]
        good += (i in done) && !(i in wrong)
    }
    printf "verdict: %s (%d of %d runs ended in time with results, all brokers seen)\n", \
        good == runs ? "success" : "failure", good, runs
    exit good < runs
}
