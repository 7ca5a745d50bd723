# summary.awk - medians, spreads and ratios out of the rows of bench/compare.
#
# Read after tools/lib_measure.awk. Columns: round, allocator, point of the sweep (or empty),
# then the figures -v keys=KEY,KEY,...,checksum.
#
# -v form=table|json|plot -v order="NAME NAME" -v point=VALUE -v rounds=N -v command=TEXT
# -v metric=KEY: compares this figure; without it the speed, by both clocks, and the peak.
# plot: tab-separated name, point, median, min, max of the figure, median of the peak in MiB.
# Exit status 1: the checksums of this point differ, so the allocators did other work.

BEGIN {
    FS = ","
    key_count = split(keys, key, ",") - 1
    for (i = 1; i <= key_count; i++) at[key[i]] = i
    figure = at[metric == "" ? "mops_per_s" : metric]
    cpu = at["mops_per_cpu_s"]
    peak = at["peak_rss_kib"]
    less = key[figure] !~ /_per_(cpu_)?s$/
}

NR > 1 && $3 == point {
    n = ++runs[$2]
    for (i = 1; i <= key_count; i++) cell[$2, n, i] = $(i + 3)
    if (sum != "" && $NF != sum) other = 1
    if (sum == "") sum = $NF
}

function measure(name,    i, k, list, s) {
    for (i = 1; i <= key_count; i++) {
        for (k = 1; k <= runs[name]; k++) list[k] = cell[name, k, i] + 0
        stat_describe(list, runs[name], s)
        median[name, i] = s["median"]
        low[name, i] = s["min"]
        high[name, i] = s["max"]
    }
}

# Of these two, who is better by a figure.
function better(a, b, i, less) {
    if (b == "") return a
    return (less ? median[a, i] < median[b, i] : median[a, i] > median[b, i]) ? a : b
}

function find_best(    k) {
    for (k = 1; k <= count; k++) {
        winner = better(name[k], winner, figure, less)
        winner_cpu = better(name[k], winner_cpu, cpu, 0)
        leanest = better(name[k], leanest, peak, 1)
    }
}

function ratio(a, i, to) {
    return median[to, i] > 0 ? median[a, i] / median[to, i] : 0
}

# A rate; small ones keep their digits.
function rate(value, digits) {
    return value >= 1 || value == 0 ? sprintf("%." digits "f", value) : sprintf("%.3g", value)
}

# Nobody outside the spread of the best is told.
function print_near(    k, a, near) {
    for (k = 1; k <= count; k++) {
        a = name[k]
        if (a == winner) continue
        if (less ? low[a, figure] <= high[winner, figure] : high[a, figure] >= low[winner, figure])
            near = near " " a
    }
    if (near != "") print "within the spread of the best, " winner ":" near
}

function print_speeds(    k, a) {
    printf first " %9s %15s %8s %11s %8s %9s %10s\n", "allocator", "Mops/s", "min..max", \
        "of best", "Mops/CPU-s", "of best", "peak KiB", "x leanest"
    for (k = 1; k <= count; k++) {
        a = name[k]
        printf first " %9s %15s %7.3f%s %11s %7.3f%s %9d %9.3f%s\n", a, \
            rate(median[a, figure], 2), \
            rate(low[a, figure], 1) ".." rate(high[a, figure], 1), \
            ratio(a, figure, winner), a == winner ? "*" : " ", \
            rate(median[a, cpu], 2), ratio(a, cpu, winner_cpu), \
            a == winner_cpu ? "*" : " ", median[a, peak], ratio(a, peak, leanest), \
            a == leanest ? "*" : " "
    }
}

function print_metric(    k, a, wide) {
    wide = length(metric) > 12 ? length(metric) : 12
    printf first " %" wide "s %25s %9s   (%s is better)\n", "allocator", metric, "min..max", \
        less ? "x best" : "of best", less ? "less" : "more"
    for (k = 1; k <= count; k++) {
        a = name[k]
        printf first " %" wide "s %25s %8.3f%s\n", a, stat_text(median[a, figure]), \
            stat_text(low[a, figure]) ".." stat_text(high[a, figure]), \
            ratio(a, figure, winner), a == winner ? "*" : " "
    }
}

function print_table(    k, width) {
    width = 9
    for (k = 1; k <= count; k++) if (length(name[k]) > width) width = length(name[k])
    first = "%-" width "s"
    if (metric == "") print_speeds()
    else print_metric()
    print_near()
}

function print_json(    k, a, i) {
    printf "{\"command\":%s,\"rounds\":%d,", json_quote(command), rounds
    if (point != "") printf "\"point\":%s,", json_quote(point)
    if (metric != "") printf "\"metric\":%s,", json_quote(metric)
    printf "\"best\":%s,\"leanest\":%s,\"allocators\":[", json_quote(winner), json_quote(leanest)
    for (k = 1; k <= count; k++) {
        a = name[k]
        printf "%s{\"allocator\":%s,\"runs\":%d", (k > 1 ? "," : ""), json_quote(a), runs[a]
        for (i = 1; i <= key_count; i++)
            printf ",\"%s\":{\"median\":%.6g,\"min\":%.6g,\"max\":%.6g}", key[i], median[a, i], \
                low[a, i], high[a, i]
        printf ",\"of_best\":%.4f,\"of_best_cpu\":%.4f,\"peak_of_leanest\":%.4f}", \
            ratio(a, figure, winner), ratio(a, cpu, winner_cpu), ratio(a, peak, leanest)
    }
    print "]}"
}

function print_plot(    k, a) {
    for (k = 1; k <= count; k++) {
        a = name[k]
        printf "%s\t%s\t%.6g\t%.6g\t%.6g\t%.6g\n", a, point, median[a, figure], low[a, figure], \
            high[a, figure], median[a, peak] / 1024
    }
}

END {
    wanted = split(order, want, " ")
    for (k = 1; k <= wanted; k++)
        if (want[k] in runs) {
            name[++count] = want[k]
            measure(want[k])
        }
    find_best()
    if (form == "table") print_table()
    if (form == "json") print_json()
    if (form == "plot") print_plot()
    if (other) exit 1
}
