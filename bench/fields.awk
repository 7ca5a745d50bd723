# fields.awk - the figures of each result that a run of a bench printed, for bench/compare.
#
# Read after tools/lib_measure.awk; -v columns=KEY,KEY,... Each line that is a whole JSON object
# is a result and becomes a line: its case (or nothing), then the values, separated by commas.
# Exit status: 1 when there is no result, or when one lacks a key.

BEGIN { columns_count = split(columns, column, ",") }

/^\{/ {
    if (!json_flat($0, value, kind)) next
    line = value["case"]
    gsub(/,/, " ", line)
    for (i = 1; i <= columns_count; i++) {
        if (value[column[i]] == "" || value[column[i]] ~ /,/) lacking = 1
        line = line "," value[column[i]]
    }
    print line
    results++
}

END { if (lacking || !results) exit 1 }
