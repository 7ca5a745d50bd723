# summary.awk - statistics of columns of one CSV file, for people, as CSV or as JSON.
#
# -v columns=A,B       the columns to describe; "": every one whose name ends in _per_s
# -v group=COLUMN      describes each value of this column apart, if the file has it
# -v form=text|csv|json|none
# -v advice=1          adds what to do about few runs and a wide spread
# -v require=WORD      stable or moderate: status 1 when a verdict is worse
# Rows that are broken are named on standard error and left out. Exit status: 0, 1 when a row
# was left out or a run failed, 2 when there is nothing to describe.

function complain(text) {
    printf "%s:%d: %s\n", FILENAME, FNR, text > "/dev/stderr"
}

function give_up(text) {
    printf "%s: %s\n", FILENAME == "" ? "input" : FILENAME, text > "/dev/stderr"
    gave_up = 1
    exit 2
}

# Fills column[1..] with the names to describe, and place[] with where they stand.
function read_header(    i, n, want, found) {
    width = csv_split($0, head)
    if (width < 1 || $0 ~ /^[ \t\r]*$/) give_up("no header in its first line")
    head_line = $0
    for (i = 1; i <= width; i++) {
        if (head[i] in place) give_up("two columns are called " head[i])
        place[head[i]] = i
        if (columns == "" && head[i] ~ /_per_s$/) column[++column_count] = head[i]
    }
    n = columns == "" ? 0 : csv_split(columns, want)
    for (i = 1; i <= n; i++) {
        if (!(want[i] in place)) give_up("no column " want[i] "; it has: " $0)
        column[++column_count] = want[i]
    }
    if (!column_count) give_up("no column ends in _per_s; name one with --column; it has: " $0)
}

function take_row(    i, name, key) {
    if (csv_split($0, cell) != width) {
        complain("not the " width " columns of the header, left out")
        broken++
        return
    }
    name = group in place ? cell[place[group]] : ""
    if ("status_text" in place && cell[place["status_text"]] != "ok") {
        failed++
        complain("run left out: " cell[place["status_text"]])
        return
    }
    for (i = 1; i <= column_count; i++) {
        if (!number_is(cell[place[column[i]]])) {
            complain(column[i] " is '" cell[place[column[i]]] "', which is no number: left out")
            broken++
            continue
        }
        key = column[i] SUBSEP name
        if (!(key in count)) order[i, ++groups[i]] = key
        count[key]++
        number[key, count[key]] = cell[place[column[i]]] + 0
    }
}

# ---- what it prints -----------------------------------------------------------------------

function bound_words(cv) {
    if (cv == "") return "one run tells nothing about the spread"
    if (!stat_at_least(cv, 10)) return "CV below 10 %"
    return stat_at_least(cv, 20) ? "CV 20 % or more" : "CV from 10 % to below 20 %"
}

function print_text(name, what, s) {
    printf "%s%s: %d run%s%s\n", name == "" ? "" : name ", ", what, s["n"], \
        s["n"] == 1 ? "" : "s", failed + broken ? " (" failed + broken " rows left out)" : ""
    printf "  mean     %-12s median   %-12s min %-12s max %s\n", stat_text(s["mean"]), \
        stat_text(s["median"]), stat_text(s["min"]), stat_text(s["max"])
    if (s["n"] > 1)
        printf "  stdev    %-12s variance %-12s (of a sample: divided by %d)\n", \
            stat_text(s["stdev"]), stat_text(s["variance"]), s["n"] - 1
    else
        print "  stdev    n/a: it takes two runs"
    printf "  p95      %-12s p99      %-12s %s\n", stat_text(s["p95"]), stat_text(s["p99"]), note
    printf "  CV       %-12s verdict  %s (%s)\n", \
        s["cv"] == "" ? "n/a" : sprintf("%.2f %%", s["cv"]), stat_verdict(s["cv"]), \
        bound_words(s["cv"])
}

function print_advice(s) {
    if (s["n"] < 5) printf "  advice   %d run%s: take at least 5, better 10\n", s["n"], \
        s["n"] == 1 ? "" : "s"
    if (s["cv"] != "" && s["cv"] > 15 + 0.0000005)
        print "  advice   CV above 15 %: look for what varies (other load on the machine, the\n" \
            "           processor's clock, threads that move), then measure again"
    else if (s["n"] >= 5 && s["cv"] != "")
        print "  advice   enough runs, and close enough to each other, to compare medians"
}

function print_csv(name, what, s,    i, key) {
    if (heading != what) {
        heading = what
        printf "metric_name,result_name,runs_count,left_out_count"
        n_keys = split("mean median stdev variance min max p95 p99", key, " ")
        for (i = 1; i <= n_keys; i++)
            printf ",%s_%s%s", key[i], what, key[i] == "variance" ? "_squared" : ""
        print ",cv_percent,verdict_text,note_text"
    }
    printf "%s,%s,%d,%d", csv_quote(what), csv_quote(name), s["n"], failed + broken
    printf ",%s,%s,%s,%s", stat_text(s["mean"]), stat_text(s["median"]), stat_text(s["stdev"]), \
        stat_text(s["variance"])
    printf ",%s,%s,%s,%s", stat_text(s["min"]), stat_text(s["max"]), stat_text(s["p95"]), \
        stat_text(s["p99"])
    printf ",%s,%s,%s\n", stat_text(s["cv"]), stat_verdict(s["cv"]), csv_quote(note)
}

function print_json(name, what, s,    i, n, key) {
    printf "%s{\"metric\":%s,\"result\":%s,\"runs\":%d,\"left_out\":%d", listed++ ? ",\n" : "[", \
        json_quote(what), json_quote(name), s["n"], failed + broken
    n = split("mean median stdev variance min max p95 p99", key, " ")
    for (i = 1; i <= n; i++) printf ",\"%s\":%s", key[i], json_number(s[key[i]])
    printf ",\"cv_percent\":%s,\"verdict\":%s,\"note\":%s}", json_number(s["cv"]), \
        json_quote(stat_verdict(s["cv"])), json_quote(note)
}

function describe(key,    i, part, list, s, verdict) {
    split(key, part, SUBSEP)
    for (i = 1; i <= count[key]; i++) list[i] = number[key, i]
    stat_describe(list, count[key], s)
    note = stat_rank_note(s["n"])
    if (form == "text") print_text(part[2], part[1], s)
    if (form == "csv") print_csv(part[2], part[1], s)
    if (form == "json") print_json(part[2], part[1], s)
    if (advice) print_advice(s)
    verdict = stat_verdict(s["cv"])
    if (require != "" && verdict != "stable" && verdict != require) too_wide = 1
}

FNR == 1 {
    read_header()
    next
}
$0 == head_line || /^[ \t\r]*$/ { next }
{ take_row() }

END {
    if (gave_up) exit 2
    for (i = 1; i <= column_count; i++)
        for (g = 1; g <= groups[i]; g++) {
            describe(order[i, g])
            any = 1
        }
    if (!any) give_up("no usable row")
    if (form == "json") print "]"
    if (failed + broken || too_wide) exit 1
}
