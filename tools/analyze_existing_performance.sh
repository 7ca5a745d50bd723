#!/usr/bin/env bash
# analyze_existing_performance.sh - statistics and advice from CSV files; runs nothing.
#
#   tools/analyze_existing_performance.sh [OPTION]... FILE...
#
#   --column NAME   the column to describe; may be given several times (default: every column
#                   whose name ends in _per_s)
#   --group NAME    describe each value of this column apart (default: result_name or
#                   allocator, whichever the file has)
#   --form F        text (default), csv or json; csv has a header line for each column described
#   --self-test     checks the statistics and the advice
#   --help          this text
#
# FILE is a CSV file with a header line: runs.csv of measure_performance_simple.sh, what
# bench/compare writes with --csv, or any other. A row that is broken (another number of
# columns, a word or a time stamp where a number belongs) is named and left out; so is a run
# whose status_text is not "ok".
#
# Advice: fewer than 5 runs: take more; CV above 15 %: look for what varies.
# Verdict: CV below 10 % stable, below 20 % moderate, else unstable.
#
# Exit status: 0 every row was used; 1 rows were left out; 2 bad input: no file, an empty one, no
# such column, no number in it.
set -u
. "$(dirname "${BASH_SOURCE[0]}")/lib_measure.sh"

COLUMN='' GROUP='' FORM=text
FILES=()

take()
{
    case $1 in
    --column) COLUMN+=${COLUMN:+,}$2 ;;
    --group) GROUP=$2 ;;
    --form) FORM=$2 ;;
    esac
}

operand()
{
    FILES+=("$1")
}

# The column that tells one series from another: the one asked for, else a known one.
group_of()
{
    local name
    if [[ -n $GROUP ]]; then
        head -n 1 "$1" | tr -d '\r' | tr , '\n' | grep -qxF -e "$GROUP" ||
            die "$1: no column $GROUP to group by"
        printf '%s' "$GROUP"
        return 0
    fi
    for name in result_name allocator; do
        if head -n 1 "$1" | tr -d '\r' | tr , '\n' | grep -qx "$name"; then
            printf '%s' "$name"
            return 0
        fi
    done
}

# analyze FILE: status as ours.
analyze()
{
    local group advice=0
    [[ -f $1 && -r $1 ]] || die "$1: no such file, or it cannot be read"
    [[ -s $1 ]] || die "$1: it is empty"
    group=$(group_of "$1") || exit
    [[ $FORM != text ]] || advice=1
    statistics summary -v columns="${COLUMN//\\/\\\\}" -v group="$group" -v form="$FORM" \
        -v advice=$advice "$1"
}

analyze_all()
{
    local file status worst=0
    for file in "${FILES[@]}"; do
        ((${#FILES[@]} == 1)) || [[ $FORM != text ]] || printf '== %s\n' "$file"
        status=0
        (analyze "$file") || status=$?
        ((status <= worst)) || worst=$status
    done
    return $worst
}

# ---- self-test ------------------------------------------------------------------------------

# says NAME STATUS WORDS FILE-LINE...: what a file with these lines must give.
says()
{
    printf '%s\n' "${@:4}" >"$WORK/f.csv"
    self_ends "${@:1:3}" analyze "$WORK/f.csv"
}

self_test()
{
    says 'four runs are too few' 0 'take at least 5' x_per_s 10 11 10 11
    says 'five that agree are enough' 0 'enough runs' x_per_s 10 11 10 11 10
    says 'CV 15.3 % is too wide' 0 'CV above 15 %' x_per_s 85 100 115 84 115
    says 'a time stamp is no number' 1 "is '12:30:55', which is no number" x_per_s 10 12:30:55
    says 'a header alone is nothing' 2 'no usable row' x_per_s
}

# ------------------------------------------------------------------------------------------

parse_options '--column --group --form' "$@"
[[ $FORM =~ ^(text|csv|json)$ ]] || die "--form: '$FORM' is none of text, csv, json"
((${#FILES[@]} > 0)) || die 'no file given; try --help'
analyze_all
