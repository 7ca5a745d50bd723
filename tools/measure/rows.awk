# rows.awk - the rows of runs.csv out of what one run of a bench printed.
#
# -v metric=KEY run_no=N start=UNIX_SECONDS ending=WORDS ours=0|1
# Only whole lines that are a JSON object count; whatever else a program prints (log lines with
# time stamps, tables) is no result. ours=1: a run of whose results tidepool served none, as they
# say, has failed. With -v header=1 it prints the header only.

# The columns behind the metric: JSON key, name in the CSV.
function set_columns() {
    not_ours = "tidepool did not serve it (a bench of no allocator needs --so none)"
    extra_count = split(more " wall_s cpu_s peak_rss_kib final_rss_kib invol_switches", extra, " ")
    extra_column["invol_switches"] = "invol_switches_count"
    extra_column["level"] = "level_no"
    extra_column["contention"] = "contention_count"
    extra_column["claim_retries"] = "claim_retries_count"
}

function print_header(    i) {
    printf "run_no,start_unix_s,status_text,result_name,%s", csv_quote(metric)
    for (i = 1; i <= extra_count; i++)
        if (extra[i] != metric)
            printf ",%s", extra[i] in extra_column ? extra_column[extra[i]] : extra[i]
    print ""
}

function cells_of(values,    i, text) {
    text = values[metric]
    for (i = 1; i <= extra_count; i++)
        if (extra[i] != metric) text = text "," values[extra[i]]
    return text
}

# What a result is called: its bench and whatever of it differs from line to line.
function name_of(values,    i, n, key, name) {
    name = "bench" in values ? values["bench"] : "result"
    n = split("arm case phase load pattern name", key, " ")
    for (i = 1; i <= n; i++)
        if (key[i] in values) name = name "/" values[key[i]]
    if (++names[name] > 1) name = name "#" names[name]
    return name
}

# In words which brokers are missing; the pipe, level -1, has none.
function missing_brokers(values) {
    if (values["level"] + 0 < 0 || kind["brokers_seen"] != "number") return ""
    told++
    if (values["brokers_seen"] + 0 >= values["brokers"] + 0) return ""
    return values["brokers_seen"] " of " values["brokers"] " brokers seen"
}

BEGIN {
    set_columns()
    if (header) {
        print_header()
        exit
    }
}

/^\{/ {
    if (!json_flat($0, value, kind)) next
    n = ++results
    status[n] = ending
    if (status[n] == "" && kind[metric] != "number")
        status[n] = "the result has no number " metric
    if (status[n] == "" && brokers) status[n] = missing_brokers(value)
    result_name[n] = name_of(value)
    if (kind["tier_ops"] == "word") asked++
    row[n] = cells_of(value)
}

# Some arm of a bench may do without the library, but not all of them.
END {
    if (header) exit
    if (!results) {
        split("", value)
        status[++results] = ending == "" ? "it printed no line with a JSON object" : ending
        row[1] = cells_of(value)
    }
    for (n = 1; n <= results; n++) {
        if (status[n] == "" && brokers && !told) status[n] = "it does not tell which brokers it saw"
        if (status[n] == "" && ours && asked == results) status[n] = not_ours
        if (status[n] != "") sub(/^[^,]*/, "", row[n])
        printf "%d,%.3f,%s,%s,%s\n", run_no, start, csv_quote(status[n] == "" ? "ok" : status[n]), \
            csv_quote(result_name[n]), row[n]
    }
}
