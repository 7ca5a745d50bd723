#!/usr/bin/env bash
# models.sh - the protocols of the log as Spin models (tests/models/*.pml): each is searched
# through, all its states; and each twin of it, which has one rule left out, must fail, by the
# assertion that the rule is for.
#
#   tests/models.sh [^NAME$]    all, or the verdict of this name
#
# Without spin they are skipped: a program that is only used does not need them.
set -u
. "$(dirname "$0")/lib_prog.sh"

MEBIBYTES=400 # a search that wants more has grown beyond what it is worth
ONLY=${1:-}

# The rows: model, settings, `-` or a part of the assertion that must fail.
ROWS='claim    -              -
claim    -DTIME         sent[
claim    -DSTORE        cursor==head
claim    -DNOTE         fenced[me]
claim    -DREUSE        (a==b)
session  -              -
session  -DRESEND       -
session  -DDROP_FIRST   closed
session  -DNO_EPOCH     epoch_of[
session  -DWIN_FIRST    at==number[
session  -DTAKE_FIRST,-DRESEND taken==
door     -              -
door     -DNO_BARRIER   count==
door     -DUNASKED      count==
door     -DNO_LOOK      list==
door     -DUNANSWERED   list==
door     -DAGAIN        count==
crew     -              -
crew     -DNO_BARRIER   inside[
crew     -DNO_LOOK      inside[
crew     -DNO_WAIT      inside[
crew     -DONCE         left[
crew     -DALL          left[
order    -              -
order    -DEARLY        filled
order    -DPASS         filled
order    -DBACK         committed<=place
order    -DUNGATED      cursor>'

# search MODEL SETTING...: all states, or as many as it takes to find an error.
search()
{
    local dir=$TMP/$1
    rm -rf "$dir"
    mkdir -p "$dir"
    cp "tests/models/$1.pml" "$dir" && cd "$dir" || return
    spin -a "${@:2}" "$1.pml" >"$TMP/out" 2>&1 &&
        gcc -O1 -w -DSAFETY -DCOLLAPSE -DMEMLIM=$MEBIBYTES -o pan pan.c >>"$TMP/out" 2>&1 &&
        timeout "${TEST_SECONDS:-500}" ./pan -m5000 -c1 >"$TMP/out" 2>&1
    cd - >/dev/null || return
}

# is_searched_through: it was finished, and saw states enough to mean something.
is_searched_through()
{
    local states
    states=$(sed -n 's/^ *\([0-9]*\) states, stored.*/\1/p' "$TMP/out")
    grep -q 'errors: 0$' "$TMP/out" && ! grep -Eq '^error:|limit|too small' "$TMP/out" &&
        ((${states:-0} > 10000))
}

fails_by()
{
    grep -q 'errors: 1$' "$TMP/out" && grep 'assertion violated' "$TMP/out" | grep -qF -- "$1"
}

# row MODEL SETTINGS FAILS-BY
row()
{
    local -a settings=()
    local name="$1: holds" twin=''
    [[ $2 == - ]] || IFS=, read -ra settings <<<"$2"
    [[ $2 == -DRESEND ]] && name="$1: holds when batches are sent twice"
    [[ $3 == - ]] || twin=${settings[0]#-D} name="$1: fails as ${settings[0]#-D}"
    [[ -n $ONLY && $ONLY != "^$name\$" ]] && return
    search "$1" ${settings+"${settings[@]}"}
    if [[ -z $twin ]] && is_searched_through; then
        ok "$name"
    elif [[ -n $twin ]] && fails_by "$3"; then
        ok "$name"
    else
        bad "$name" "$TMP/out"
    fi
}

# Each twin that a model speaks of has a row, and the other way round.
check_twins()
{
    local said rows name='each twin has a row'
    [[ -n $ONLY && $ONLY != "^$name\$" ]] && return
    said=$(awk '/^#if/ { gsub(/[^A-Z_]/, " "); n = split($0, words)
        sub(/.*\//, "", FILENAME); sub(/\.pml/, "", FILENAME)
        for (i = 1; i <= n; i++) print FILENAME, words[i] }' tests/models/*.pml | sort -u)
    rows=$(awk '{ gsub("-D", ""); n = split($2, names, ","); for (i = 1; i <= n; i++)
        if (names[i] != "-") print $1, names[i] }' <<<"$ROWS" | sort -u)
    if [[ -n $said && $said == "$rows" ]]; then
        ok "$name"
    else
        diff <(echo "$said") <(echo "$rows") >"$TMP/twins"
        bad "$name" "$TMP/twins"
    fi
}

if ! command -v spin >/dev/null || ! command -v gcc >/dev/null; then
    skip 'models' 'spin and gcc are not installed (tools/deps.sh check installs both)'
    finish
fi
check_twins
while read -r model settings fails; do
    row "$model" "$settings" "$fails"
done <<<"$ROWS"
finish
