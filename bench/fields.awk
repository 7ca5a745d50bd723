# fields.awk - the figures of each result that a run of a bench printed, for bench/compare.
#
# Read after tools/lib_measure.awk; -v columns=KEY,KEY,... Each line that is a whole JSON object
# is a result and becomes a line: its case (or nothing), then the values, separated by commas.
# Exit status: 1 when there is no result, or when one lacks a key; 3 when what it lacks is a number
# called -v metric=KEY: the last line then tells the numbers that it has.

BEGIN { columns_count = split(columns, column, ",") }

# Entries of arrays are no figures.
function figures(    key, list, n, i, text) {
    for (key in value)
        if (kind[key] == "number" && key !~ /\.[0-9]+(\.|$)/) list[++n] = key
    number_sort(list, n)
    for (i = 1; i <= n; i++) text = text (i > 1 ? " " : "") list[i]
    return text
}

/^\{/ {
    if (!json_flat($0, value, kind)) next
    line = value["case"]
    gsub(/,/, " ", line)
    for (i = 1; i <= columns_count; i++) {
        if (value[column[i]] == "" || value[column[i]] ~ /,/) {
            if (column[i] == metric) lacking_metric = 1
            else lacking = 1
        }
        line = line "," value[column[i]]
    }
    if (metric != "" && kind[metric] != "number") lacking_metric = 1
    print line
    results++
    has = figures()
}

END {
    if (lacking || !results) exit 1
    if (lacking_metric) {
        print has
        exit 3
    }
}
