# contention.awk - how often clients of the log got in each other's way, out of runs.csv.
#
# -v csv=FILE          gets a row for each form
# Exit status: 0, or 1 when a run failed or one of the forms was not measured.

function form_of(level, result) {
    if (level == 5) return 1
    if (level == 4 && result ~ /mutex$/) return 3
    return level == 4 && result !~ /reordered$/ ? 2 : 0
}

function medians(form,    i, list, s) {
    split("contention_per_s gb_per_s contention_count claim_retries_count", key, " ")
    for (k = 1; k <= 4; k++) {
        for (i = 1; i <= count[form]; i++) list[i] = number[form, key[k], i]
        stat_describe(list, count[form] + 0, s)
        median[form, k] = s["median"]
        least[form, k] = s["min"]
        most[form, k] = s["max"]
    }
}

function advice(per_s) {
    if (!stat_at_least(per_s, 100)) return "the lock-free form is not needed"
    return per_s > 1000 ? "use the lock-free form" : "consider the lock-free form"
}

FNR == 1 {
    n = csv_split($0, head)
    for (i = 1; i <= n; i++) place[head[i]] = i
    next
}

{
    csv_split($0, cell)
    if (cell[place["status_text"]] != "ok") {
        printf "run %d: %s\n", cell[place["run_no"]], cell[place["status_text"]]
        failed = 1
        next
    }
    form = form_of(cell[place["level_no"]], cell[place["result_name"]])
    count[form]++
    for (name in place) number[form, name, count[form]] = cell[place[name]] + 0
}

END {
    split("level 5,level 4 lock-free,level 4 mutex", title, ",")
    printf "%-18s %18s %20s %14s %14s %10s\n", "form", "contention (1/s)", "min..max", \
        "found taken", "swaps lost", "GB/s"
    print "form_name,runs_count,contention_per_s,contention_min_per_s,contention_max_per_s," \
        "contention_count,claim_retries_count,gb_per_s" >csv
    for (form = 1; form <= 3; form++) {
        if (!count[form]) {
            printf "%-18s not measured\n", title[form]
            failed = 1
            continue
        }
        medians(form)
        printf "%-18s %18s %20s %14s %14s %10s\n", title[form], stat_text(median[form, 1]), \
            stat_text(least[form, 1]) ".." stat_text(most[form, 1]), stat_text(median[form, 3]), \
            stat_text(median[form, 4]), stat_text(median[form, 2])
        printf "%s,%d,%s,%s,%s,%s,%s,%s\n", title[form], count[form], stat_text(median[form, 1]), \
            stat_text(least[form, 1]), stat_text(most[form, 1]), stat_text(median[form, 3]), \
            stat_text(median[form, 4]), stat_text(median[form, 2]) >csv
    }
    print "medians of the runs; found taken and swaps lost: in the rounds that count, together"
    if (count[3])
        printf "verdict: with the mutex %s per second: %s\n", stat_text(median[3, 1]), \
            advice(median[3, 1])
    else
        print "verdict: none, the mutex was not measured"
    exit failed
}
