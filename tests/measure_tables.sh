#!/usr/bin/env bash
# measure_tables.sh - tools/analyze_existing_performance.sh on CSV files of all sorts.
set -u
. "$(dirname "$0")/lib_measuring.sh"

ANALYZE=tools/analyze_existing_performance.sh
FILE=$TMP/data.csv

# table LINE...: the CSV file.
table()
{
    printf '%s\n' "$@" >"$FILE"
}

# values VALUE...: a file of one column.
values()
{
    table mops_per_s "$@"
}

# analyze NAME STATUS FILE PATTERN OPTION...
analyze()
{
    expect "${@:1:4}" "$ANALYZE" "${@:5}" "$FILE"
}

test_advice()
{
    values 7
    analyze 'one run: take more' 0 out '1 run: take at least 5'
    has 'one run: no verdict' 'verdict  unknown'
    values 10 10 10 10
    analyze 'four runs: take more' 0 out '4 runs: take at least 5'
    values 10 10 10 10 10
    analyze 'five equal runs are enough' 0 out 'enough runs'
    has 'and stable' 'CV       0.00 % .*stable'
    values 85 100 115
    analyze 'CV of 15 % is not above 15 %' 0 out 'CV       15.00 % '
    if grep -q 'CV above' "$TMP/out"; then
        bad 'so there is no advice about it' "$TMP/out"
    else
        ok 'so there is no advice about it'
    fi
    values 84.9 100 115.1
    analyze 'CV of 15.1 % is' 0 out 'CV above 15 %: look for what varies'
    values 90 100 110
    analyze 'CV of 10 % is moderate' 0 out 'verdict  moderate (CV from 10 %'
    values 80 100 120
    analyze 'CV of 20 % is unstable' 0 out 'verdict  unstable (CV 20 % or more)'
}

test_statistics()
{
    # shellcheck disable=SC2046 # the numbers are words
    values $(seq 1 10)
    analyze 'ten values: what p95 and p99 hide is said' 0 out 'p95 = p99 = max'
    has 'the spread of the sample 1..10' 'stdev    3.02765 .*variance 9.16667'
    # shellcheck disable=SC2046
    values $(seq 1 1000 | sort -r)
    analyze 'a thousand values in disorder' 0 out 'p95      950 .*p99      990 '
    has 'their mean and median' 'mean     500.5 .*median   500.5 .*min 1 .*max 1000'
    values 1000000001 1000000003
    analyze 'large values lose no digits in the variance' 0 out 'variance 2 '
    values -1 1
    analyze 'a mean of zero has no CV' 0 out 'CV       n/a'
    values 1e3 .5e1 +2. 7
    analyze 'numbers in other spellings' 0 out 'min 2 .*max 1000'
}

test_broken()
{
    : >"$FILE"
    analyze 'an empty file' 2 err 'it is empty'
    values
    analyze 'a header alone' 2 err 'no usable row'
    printf '\n1\n2\n' >"$FILE"
    analyze 'a first line without names' 2 err 'no header'
    table 'a_per_s,b' '1,2'
    analyze 'no such column' 2 err 'no column speed; it has: a_per_s,b' --column speed
    table 'a,b' '1,2'
    analyze 'no column that is a rate' 2 err 'name one with --column'
    table 'a_per_s,a_per_s' '1,2'
    analyze 'two columns of one name' 2 err 'two columns are called a_per_s'
    table 'a_per_s,b' '1,2' '3' '5,6,7' '9,8'
    analyze 'rows of another width are told and left out' 1 err ':3: not the 2 columns'
    has 'the others are used' 'a_per_s: 2 runs (2 rows left out)'
    values 10 09:41:58 2031-07-04 '' nan 12 1e 12MB
    analyze 'time stamps and words are no numbers' 1 err "'09:41:58', which is no number"
    has 'only the numbers count' 'mean     11 .*min 10 .*max 12'
    values seven
    analyze 'no number at all' 2 err 'no usable row'
    table 'a_per_s,b' '1,"2'
    analyze 'a quote that is never closed' 2 err ':2: not the 2 columns'
    expect 'a file that is not there' 2 err 'no such file' "$ANALYZE" "$TMP/absent.csv"
    expect 'a directory' 2 err 'no such file' "$ANALYZE" "$TMP"
}

test_formats()
{
    table $'b,"a_per_s"\r' $'x,1\r' $'"x, ""y""",3\r'
    analyze 'quotes and carriage returns' 0 out 'a_per_s: 2 runs'
    analyze 'a quoted cell as a group' 0 out '^x, "y", a_per_s: 1 run' --group b
    table 'result_name,status_text,a_per_s' 'x,ok,1' 'y,ok,5' 'x,exit status 7,' 'x,ok,3'
    analyze 'a run that failed is left out and told' 1 err ':4: run left out: exit status 7'
    has 'results are described apart' '^x, a_per_s: 2 runs'
    has 'each of them' '^y, a_per_s: 1 run'
    analyze 'as CSV' 1 out '^a_per_s,x,2,1,2,2,1.41421,2,1,3,3,3,70.7107,unstable,' --form csv
    cp "$TMP/out" "$TMP/out.csv"
    units 'its columns tell their units' "$TMP/out.csv"
    analyze 'as JSON' 1 out '^\[{"metric":"a_per_s","result":"x","runs":2,"left_out":1,"mean":2,' \
        --form json
    has 'what is not known is null' '"result":"y".*"stdev":null.*"cv_percent":null'
    table 'a_per_s,b_s,c_per_s' '1,2,3' '1,4,3'
    analyze 'every rate is described' 0 out '^c_per_s: 2 runs'
    analyze 'a column by name' 0 out '^b_s: 2 runs' --column b_s
    table a_per_s 1 2 a_per_s 3
    analyze 'a header in the middle is no row' 0 out 'a_per_s: 3 runs'
}

test_input()
{
    expect 'no file given' 2 err 'no file given' "$ANALYZE"
    values 1 2
    analyze 'an unknown form' 2 err "'xml' is none of" --form xml
    analyze 'an unknown option' 2 err "unknown option '--bogus'" --bogus
    analyze 'no such group' 2 err 'no column who to group by' --group who
    expect 'an option without value' 2 err 'needs a value' "$ANALYZE" --column
    expect '--help tells the exit status' 0 out '^Exit status: 0 every row' "$ANALYZE" --help
    : >"$TMP/empty.csv"
    analyze 'of several files the good ones are described' 2 out 'mops_per_s: 2 runs' \
        "$TMP/empty.csv"
}

# What bench/compare writes is read as it is.
test_compare()
{
    need "$SO" "$BUILD/bench/bench_mid_mt_gap"
    bench/compare --rounds 2 --allocs glibc,tidepool --csv "$FILE" -- \
        "$BUILD/bench/bench_mid_mt_gap" --ops 5k >"$TMP/out" 2>"$TMP/err"
    analyze 'the CSV of bench/compare' 0 out '^tidepool, mops_per_s: 2 runs'
}

self_tests "$ANALYZE"
test_advice
test_statistics
test_broken
test_formats
test_input
test_compare
finish
