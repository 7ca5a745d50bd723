# report.awk - Markdown tables and data for pictures out of the CSV files of bench/compare.
#
# Read after tools/lib_measure.awk.
# -v form=tables  three tables of a sweep: speed, speed by processor time, peak memory
# -v form=plot    tab-separated allocator, value of the sweep, median, min, max of mops_per_s
# -v form=memory  a table of memory over time; reads allocator,time_s,rss_kib
# The best of a column is bold; ratios are to the best, which is the largest or the leanest.

BEGIN { FS = "," }

NR == 1 {
    for (i = 1; i <= NF; i++) place[$i] = i
    next
}

form == "memory" {
    a = $1
    if (!(a in runs)) name[++names] = a
    runs[a]++
    mib = $NF / 1024
    total[a] += mib
    if (mib > peak[a]) peak[a] = mib
    last[a] = mib
    until[a] = $(NF - 1)
    next
}

{
    a = $2
    p = $NF
    if (!(a in known)) name[++names] = a
    known[a] = 1
    if (!(p in seen)) point[++points] = p
    seen[p] = 1
    n = ++runs[a, p]
    split("mops_per_s mops_per_cpu_s peak_rss_kib", figure, " ")
    for (i in figure) cell[figure[i], a, p, n] = $place[figure[i]] + 0
}

# Fills s with the statistics of a figure.
function describe(what, a, p, s,    list, i) {
    for (i = 1; i <= runs[a, p]; i++) list[i] = cell[what, a, p, i]
    stat_describe(list, runs[a, p] + 0, s)
}

# The best median of a point; the smallest is the best if `small`.
function best_of(what, p, small,    i, s, best) {
    best = ""
    for (i = 1; i <= names; i++) {
        describe(what, name[i], p, s)
        if (s["median"] == "") continue
        if (best == "" || (small ? s["median"] < best : s["median"] > best)) best = s["median"]
    }
    return best
}

function text_of(value) {
    return value >= 100 ? sprintf("%.0f", value) : sprintf("%.3g", value)
}

function table_cell(what, a, p, best, unit,    s, text) {
    describe(what, a, p, s)
    if (s["median"] == "") return "failed"
    text = text_of(s["median"] / unit)
    if (s["median"] == best) text = "**" text "**"
    if (unit == 1) text = text " (" text_of(s["min"]) ".." text_of(s["max"]) ")"
    return text sprintf(" %.2f", best > 0 ? s["median"] / best : 0)
}

function table(title, what, small, unit,    i, k, best) {
    printf "\n%s\n\n| allocator |", title
    for (k = 1; k <= points; k++) printf " %s |", point[k]
    printf "\n|---|"
    for (k = 1; k <= points; k++) {
        printf "---|"
        best[k] = best_of(what, point[k], small)
    }
    print ""
    for (i = 1; i <= names; i++) {
        printf "| %s |", name[i]
        for (k = 1; k <= points; k++)
            printf " %s |", table_cell(what, name[i], point[k], best[k], unit)
        print ""
    }
}

function memory_table(    i, a) {
    print "\n| allocator | peak MiB | mean MiB | at the end MiB | seconds |\n|---|---|---|---|---|"
    for (i = 1; i <= names; i++) {
        a = name[i]
        printf "| %s | %.1f | %.1f | %.1f | %.1f |\n", a, peak[a], total[a] / runs[a], last[a], \
            until[a]
    }
}

function plot_rows(    i, k, s) {
    for (k = 1; k <= points; k++)
        for (i = 1; i <= names; i++) {
            describe("mops_per_s", name[i], point[k], s)
            if (s["median"] != "")
                printf "%s\t%s\t%.6g\t%.6g\t%.6g\n", name[i], point[k], s["median"], s["min"], \
                    s["max"]
        }
}

END {
    if (!names) exit 1
    if (form == "tables") {
        table("Million operations a second: median (min..max) ratio to the best", "mops_per_s", \
            0, 1)
        table("The same per second of processor time", "mops_per_cpu_s", 0, 1)
        table("Peak resident memory in MiB, ratio to the leanest", "peak_rss_kib", 1, 1024)
    }
    if (form == "memory") memory_table()
    if (form == "plot") plot_rows()
}
