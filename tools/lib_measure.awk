# lib_measure.awk - statistics, CSV and JSON for the measuring tools.
#
# Read with `awk -f tools/lib_measure.awk -f program`, or put in front of a program text. Plain
# POSIX awk: Debian's mawk is enough. Names of the functions begin with what they are about.

# ---- numbers ------------------------------------------------------------------------------

# A whole number or a decimal one and nothing else: "12:30:55" and "1e" are none.
function number_is(text) {
    return text ~ /^[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?$/
}

# Sorts list[1..n] upwards: a heap sort, since the lists of long logs are long.
function number_sort(list, n,    i, last) {
    for (i = int(n / 2); i >= 1; i--) number_sink(list, i, n)
    for (last = n; last > 1; last--) {
        i = list[1]
        list[1] = list[last]
        list[last] = i
        number_sink(list, 1, last - 1)
    }
}

function number_sink(list, at, last,    child, value) {
    value = list[at]
    while ((child = 2 * at) <= last) {
        if (child < last && list[child + 1] > list[child]) child++
        if (list[child] <= value) break
        list[at] = list[child]
        at = child
    }
    list[at] = value
}

# ---- statistics ---------------------------------------------------------------------------

# The smallest value that at least `percent` of the sorted list are not above (nearest rank).
function stat_rank(list, n, percent) {
    return list[int((percent * n + 99) / 100)]
}

function stat_median(list, n) {
    return n % 2 ? list[(n + 1) / 2] : (list[n / 2] + list[n / 2 + 1]) / 2
}

# Sorts list[1..n] and fills s: n min max mean median p95 p99; variance and stdev are the
# sample's (divisor n - 1), cv is in percent. What the numbers do not give is "".
function stat_describe(list, n, s,    i, sum, squares) {
    split("n min max mean median p95 p99 variance stdev cv", stat_key, " ")
    for (i in stat_key) s[stat_key[i]] = ""
    s["n"] = n
    if (n < 1) return
    number_sort(list, n)
    for (i = 1; i <= n; i++) sum += list[i]
    s["min"] = list[1]
    s["max"] = list[n]
    s["mean"] = sum / n
    s["median"] = stat_median(list, n)
    s["p95"] = stat_rank(list, n, 95)
    s["p99"] = stat_rank(list, n, 99)
    if (n < 2) return
    for (i = 1; i <= n; i++) squares += (list[i] - s["mean"]) * (list[i] - s["mean"])
    s["variance"] = squares / (n - 1)
    s["stdev"] = sqrt(s["variance"])
    if (s["mean"] > 0) s["cv"] = 100 * s["stdev"] / s["mean"]
}

# Bounds are compared after rounding to a millionth: 10 % is 10 % whatever the last bit says.
function stat_at_least(value, bound) {
    return value + 0.0000005 >= bound
}

function stat_verdict(cv) {
    if (cv == "") return "unknown"
    if (!stat_at_least(cv, 10)) return "stable"
    return stat_at_least(cv, 20) ? "unstable" : "moderate"
}

# What p95 and p99 cannot say about n values, as words; "" when they say it.
function stat_rank_note(n) {
    if (n < 20) return "p95 = p99 = max: 20 runs are the fewest that tell p95 from max, 100 p99"
    if (n < 100) return "p99 = max: 100 runs are the fewest that tell them apart"
    return ""
}

# A value with six significant digits, and never with an exponent in the usual range; "" as "".
function stat_text(value) {
    if (value == "") return ""
    if (value >= 100000 || value <= -100000) return sprintf("%.0f", value)
    return sprintf("%.6g", value)
}

# ---- CSV ----------------------------------------------------------------------------------

# Splits a CSV line into field[1..]; quotes as RFC 4180 has them. Returns how many, or -1 when
# a quote is open at the end.
function csv_split(line, field,    n, at, text, char, open) {
    sub(/\r$/, "", line)
    if (line !~ /"/) return split(line, field, ",") + (line == "")
    n = 1
    text = ""
    for (at = 1; at <= length(line); at++) {
        char = substr(line, at, 1)
        if (open && char == "\"" && substr(line, at + 1, 1) == "\"") {
            text = text char
            at++
        } else if (char == "\"") {
            open = !open
        } else if (char == "," && !open) {
            field[n++] = text
            text = ""
        } else {
            text = text char
        }
    }
    field[n] = text
    return open ? -1 : n
}

function csv_quote(text) {
    if (text !~ /[",]/) return text
    gsub(/"/, "\"\"", text)
    return "\"" text "\""
}

# ---- JSON ---------------------------------------------------------------------------------

function json_quote(text) {
    gsub(/["\\]/, "\\\\&", text)
    return "\"" text "\""
}

# A number, or null for "".
function json_number(value) {
    return value == "" ? "null" : stat_text(value)
}

# Fills value["key"] and value["outer.inner"] from the text of one JSON object; entries of an
# array get their place as key. kind[] tells what a value was: string, number or word (true,
# false, null). Returns 1, or 0 when the text is not one whole object.
function json_flat(text, value, kind,    key) {
    for (key in value) delete value[key]
    for (key in kind) delete kind[key]
    json_text = text
    json_bad = 0
    if (substr(text, 1, 1) != "{") return 0
    json_value("", value, kind)
    return !json_bad && json_text ~ /^[ \t\r]*$/
}

# Drops blanks and then `length_of` characters.
function json_skip(length_of) {
    json_text = substr(json_text, length_of + 1)
    sub(/^[ \t]+/, "", json_text)
}

function json_string(    text) {
    if (!match(json_text, /^"([^"\\]|\\.)*"/)) {
        json_bad = 1
        return ""
    }
    text = substr(json_text, 2, RLENGTH - 2)
    json_skip(RLENGTH)
    gsub(/\\"/, "\"", text)
    gsub(/\\\\/, "\\", text)
    return text
}

function json_value(path, value, kind,    first) {
    first = substr(json_text, 1, 1)
    if (first == "{" || first == "[") {
        json_list(path, first == "{", value, kind)
    } else if (first == "\"") {
        value[path] = json_string()
        kind[path] = "string"
    } else if (match(json_text, /^[-+.0-9a-zA-Z]+/)) {
        value[path] = substr(json_text, 1, RLENGTH)
        kind[path] = number_is(value[path]) ? "number" : "word"
        if (kind[path] == "word" && value[path] !~ /^(true|false|null)$/) json_bad = 1
        json_skip(RLENGTH)
    } else {
        json_bad = 1
    }
}

# What stands between braces or brackets.
function json_list(path, named, value, kind,    at, key, close_with) {
    close_with = named ? "}" : "]"
    json_skip(1)
    if (substr(json_text, 1, 1) == close_with) {
        json_skip(1)
        return
    }
    for (at = 1; !json_bad; at++) {
        key = at
        if (named) {
            key = json_string()
            if (json_bad || substr(json_text, 1, 1) != ":") {
                json_bad = 1
                return
            }
            json_skip(1)
        }
        json_value(path == "" ? key : path "." key, value, kind)
        if (substr(json_text, 1, 1) == close_with) {
            json_skip(1)
            return
        }
        if (substr(json_text, 1, 1) != ",") json_bad = 1
        json_skip(1)
    }
}
