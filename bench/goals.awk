# goals.awk - medians of one figure against a goal, for bench/goals.
#
# Read after tools/lib_measure.awk. -v form=rows: reads the CSV of bench/compare or bench/instr and
# prints for each of ours, separated by tabs: row, figure, ours, median, min, max, the best of the
# others, its median, min, max, ratio, goal, verdict. A bench that tells medians of its own rounds
# tells their min and max in columns FIGURE_min and FIGURE_max. Other forms print such lines: table, csv, and
# the headings of both, head, csv_head.
# -v name -v figure -v goal -v case_name -v run -v names="NAME NAME" -v tiers="1,,1": who is ours.

BEGIN {
    FS = form == "rows" ? "," : "\t"
    count = split(names, list, " ")
    split(tiers, is_ours, ",")
    width = 8
    for (i = 1; i <= count; i++)
        if (is_ours[i] && length(list[i]) > width) width = length(list[i])
    layout = "%-38s %-" width "s %8s %19s %8s %-9s %6s %-14s %s\n"
    if (form == "head")
        printf layout, "row", "ours", "median", "min..max", "others", "best of", "ratio", "goal", ""
    if (form == "csv_head")
        print "row_text,figure_name,ours_name,ours_median,ours_min,ours_max,best_name," \
            "best_median,best_min,best_max,ratio,goal_text,verdict_text"
    if (form ~ /head$/) exit
}

form == "table" {
    printf layout, $1, $3, short($4), short($5) ".." short($6), short($8), $7, $11, $12, \
        $13 == "met" ? "met" : "NOT " ($4 == "" ? "MEASURED" : "MET")
}

form == "csv" {
    line = csv_quote($1)
    for (i = 2; i <= NF; i++) line = line "," csv_quote($i)
    print line
}

function short(value) {
    if (value == "") return "-"
    return value >= 1000 ? sprintf("%.0f", value) : sprintf("%.4g", value)
}

# ---- rows ---------------------------------------------------------------------------------

form == "rows" && FNR == 1 {
    for (i = 1; i <= NF; i++) {
        place[$i] = i
        if ($i == "allocator" || $i == "allocator_name") who = i
        if ($i == "case" || $i == "case_name") which = i
    }
    at = place[figure]
    next
}

# The headings of several files of one kind in one.
form == "rows" && $who ~ /^allocator(_name)?$/ { next }

form == "rows" && at && (case_name == "" || $which == case_name) {
    sample[$who, ++samples[$who]] = $at + 0
    if ((figure "_min") in place) {
        least[$who] = $place[figure "_min"]
        most[$who] = $place[figure "_max"]
    }
}

function describe(who,    values, i, s) {
    for (i = 1; i <= samples[who]; i++) values[i] = sample[who, i]
    stat_describe(values, samples[who] + 0, s)
    median[who] = s["median"]
    low[who] = who in least && samples[who] == 1 ? least[who] : s["min"]
    high[who] = who in most && samples[who] == 1 ? most[who] : s["max"]
}

# Of the others: those that the goal compares with.
function best_other(less, except, only,    i, who, best) {
    for (i = 1; i <= count; i++) {
        who = list[i]
        if (is_ours[i] || !samples[who] || who == except || (only != "" && who != only)) continue
        if (best == "" || (less ? median[who] < median[best] : median[who] > median[best]))
            best = who
    }
    return best
}

function verdict(ours, best,    words) {
    split(goal, words, " ")
    if (median[ours] == "") return "failed"
    if (words[1] == "<=") return median[ours] <= words[2] + 0 ? "met" : "not met"
    if (words[1] == ">=") return median[ours] >= words[2] + 0 ? "met" : "not met"
    if (best == "") return "no other"
    if (goal == "leanest")
        return median[ours] <= 1.05 * median[best] + 2048 ? "met" : "not met"
    return median[ours] >= words[1] * median[best] ? "met" : "not met"
}

function print_row(ours, best,    text, ratio) {
    text = goal == "leanest" ? "1.05 x + 2 MiB" : goal
    ratio = best != "" && median[ours] != "" && median[best] > 0 ? \
        sprintf("%.3f", median[ours] / median[best]) : ""
    printf "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", \
        goal == "leanest" ? name ": peak KiB" : name, figure, ours, median[ours], low[ours], \
        high[ours], best, median[best], low[best], high[best], ratio, text, verdict(ours, best)
}

END {
    if (form != "rows") exit
    for (i = 1; i <= count; i++) describe(list[i])
    best = best_other(goal ~ /^<=/ || goal == "leanest", goal ~ /others$/ ? "glibc" : "", \
        goal ~ /glibc$/ ? "glibc" : "")
    if (goal == "leanest" && best == "") exit # a run without memory, or of ours alone
    for (k = 1; k <= count; k++) if (is_ours[k]) print_row(list[k], best)
}
