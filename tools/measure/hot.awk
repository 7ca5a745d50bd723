# hot.awk - hot spots out of folded samples (fold.awk): the share of the time that is spent in
# a function itself, and in it and what it calls.
#
# -v form=text|csv, -v most=N rows of the text form. Above 5 % of its own: hot spot; above 20 %:
# target. The margin is that of 95 % confidence for so many samples. Status 1: no samples.

BEGIN {
    FS = "\t"
    column_names = "symbol_name,object_name,self_percent,self_margin_points,total_percent," \
        "self_samples_count,verdict_text"
}

{
    samples++
    all += $1
    self[$NF] += $1
    self_samples[$NF]++
    for (i = 2; i <= NF; i++)
        if (seen[$i] != NR) {
            seen[$i] = NR
            total[$i] += $1
        }
}

function verdict(percent) {
    if (percent > 20) return "target"
    return percent > 5 ? "hot spot" : ""
}

# What chance alone would move the share by, in points of percent.
function margin(share) {
    return 196 * sqrt(share * (1 - share) / samples)
}

# The functions by their own share, largest first: a selection sort of the first rows.
function rank(    name, i, k, best, swap) {
    for (name in self) order[++names] = name
    for (i = 1; i <= names && i <= rows; i++) {
        best = i
        for (k = i + 1; k <= names; k++)
            if (self[order[k]] > self[order[best]] || \
                (self[order[k]] == self[order[best]] && order[k] < order[best])) best = k
        swap = order[i]
        order[i] = order[best]
        order[best] = swap
    }
}

function row(key,    part, n, percent, what) {
    n = match(key, /@[^@]*$/)
    part[1] = substr(key, 1, n - 1)
    part[2] = substr(key, n + 1)
    percent = 100 * self[key] / all
    what = verdict(percent)
    if (form == "csv")
        printf "%s,%s,%.2f,%.2f,%.2f,%d,%s\n", csv_quote(part[1]), csv_quote(part[2]), percent, \
            margin(self[key] / all), 100 * total[key] / all, self_samples[key], what
    else if (percent >= 0.5)
        printf "%7.2f %6.2f %8.2f  %-9s %s (%s)\n", percent, margin(self[key] / all), \
            100 * total[key] / all, what, part[1], part[2]
}

END {
    if (form == "csv") print column_names
    if (!samples) {
        print "no samples: the command ended too soon, or used no processor time" > "/dev/stderr"
        exit 1
    }
    rows = form == "csv" ? names + 1000 : most
    rank()
    if (form == "text") {
        printf "%d samples%s\n", samples, samples < 400 ? \
            "; few: look at the margins, or profile for longer" : ""
        printf "%7s %6s %8s  %-9s %s\n", "self %", "+-", "total %", "verdict", "function (object)"
    }
    for (i = 1; i <= names && i <= rows; i++) row(order[i])
}
