# summary.awk - medians, spreads and ratios out of the rows of bench/compare.
#
# Read after tools/lib_measure.awk. Columns: round, allocator, point of the sweep (or empty),
# then the figures in the order of key[], last the checksum.
#
# -v form=table|json|plot -v order="NAME NAME" -v point=VALUE -v rounds=N -v command=TEXT
# plot: tab-separated name, point, median, min, max of Mops/s, median of the peak in MiB.
# Exit status 1: the checksums of this point differ, so the allocators did other work.

BEGIN {
    FS = ","
    key_count = split("mops_per_s mops_per_cpu_s wall_s cpu_s peak_rss_kib final_rss_kib " \
        "invol_switches", key, " ")
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

# The fastest, by the wall clock and by processor time, and the leanest.
function find_best(    k, a) {
    for (k = 1; k <= count; k++) {
        a = name[k]
        if (winner == "" || median[a, 1] > median[winner, 1]) winner = a
        if (winner_cpu == "" || median[a, 2] > median[winner_cpu, 2]) winner_cpu = a
        if (leanest == "" || median[a, 5] < median[leanest, 5]) leanest = a
    }
}

function ratio(a, i, to) {
    return median[to, i] > 0 ? median[a, i] / median[to, i] : 0
}

# A rate; small ones keep their digits.
function rate(value, digits) {
    return value >= 1 || value == 0 ? sprintf("%." digits "f", value) : sprintf("%.3g", value)
}

function print_table(    k, a, first, width, near) {
    width = 9
    for (k = 1; k <= count; k++) if (length(name[k]) > width) width = length(name[k])
    first = "%-" width "s"
    printf first " %9s %15s %8s %11s %8s %9s %10s\n", "allocator", "Mops/s", "min..max", \
        "of best", "Mops/CPU-s", "of best", "peak KiB", "x leanest"
    for (k = 1; k <= count; k++) {
        a = name[k]
        printf first " %9s %15s %7.3f%s %11s %7.3f%s %9d %9.3f%s\n", a, \
            rate(median[a, 1], 2), rate(low[a, 1], 1) ".." rate(high[a, 1], 1), \
            ratio(a, 1, winner), a == winner ? "*" : " ", \
            rate(median[a, 2], 2), ratio(a, 2, winner_cpu), \
            a == winner_cpu ? "*" : " ", median[a, 5], ratio(a, 5, leanest), \
            a == leanest ? "*" : " "
        if (a != winner && high[a, 1] >= low[winner, 1]) near = near " " a
    }
    if (near != "") print "within the spread of the best, " winner ":" near
}

function print_json(    k, a, i) {
    printf "{\"command\":%s,\"rounds\":%d,", json_quote(command), rounds
    if (point != "") printf "\"point\":%s,", json_quote(point)
    printf "\"best\":%s,\"leanest\":%s,\"allocators\":[", json_quote(winner), json_quote(leanest)
    for (k = 1; k <= count; k++) {
        a = name[k]
        printf "%s{\"allocator\":%s,\"runs\":%d", (k > 1 ? "," : ""), json_quote(a), runs[a]
        for (i = 1; i <= key_count; i++)
            printf ",\"%s\":{\"median\":%.6g,\"min\":%.6g,\"max\":%.6g}", key[i], median[a, i], \
                low[a, i], high[a, i]
        printf ",\"of_best\":%.4f,\"of_best_cpu\":%.4f,\"peak_of_leanest\":%.4f}", \
            ratio(a, 1, winner), ratio(a, 2, winner_cpu), ratio(a, 5, leanest)
    }
    print "]}"
}

function print_plot(    k, a) {
    for (k = 1; k <= count; k++) {
        a = name[k]
        printf "%s\t%s\t%.6g\t%.6g\t%.6g\t%.6g\n", a, point, median[a, 1], low[a, 1], high[a, 1], \
            median[a, 5] / 1024
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
