# shellcheck shell=bash
# lib_vm.sh - for the scripts vm_*.sh: one topology each, all its tests in one boot.
#
#   guest NAME TOPOLOGY [FLAVOUR]   starts the guest with the commands of tests/vm/NAME.list:
#       `judge NAME.cases`: its verdicts are passed on, one for each case;
#       `test_BOX`: so are those of the unit tests;
#       `peer table FILE`: each row that it prints must be one of the page README.md;
#       what others print must be tests/vm/NAME.golden, figures of the machine aside
#   pair NAME TOPOLOGY [again]      starts two guests that share a device, for NAME.0.cases and
#       NAME.1.cases; again: one guest twice
#   together COUNT NAME TOPOLOGY    the same with so many guests, for NAME.0.cases and so on
#   suites BOX...                   the unit tests of these boxes are in the guests
#   bring NAME...                   unpacks Debian packages: their programs and libraries are
#       in the guests that are started then
#   FILES                           an array of other files to be there
#
# Where no guest can be made (no network, another processor) all is skipped with the reason;
# with CI=true that is a failure. GOLDEN=write writes the .golden file anew: read it then.

. "$(dirname "${BASH_SOURCE[0]}")/lib_prog.sh"

VM=$PWD/tests/vm
FILES=() SUITES=()
unset LD_PRELOAD

# A guest is slow where the machine is busy; it must end before tests/run loses patience.
COMMAND_SECONDS=$((${TEST_SECONDS:-600} * 9 / 20))

# cannot NAME FILE STATUS: ends the script. There is no guest, and the file says why.
cannot()
{
    local why
    why=$(grep -v '^$' "$2" | tail -n 1)
    if (($3 != 1)) || [[ ${CI:-} == true && $(uname -m) == x86_64 ]]; then
        bad "$1: a guest" "$2"
    else
        skip "$1: a guest" "${why:-it cannot be built}"
    fi
    finish
}

bring()
{
    local root=$BUILD/deps/root/vm-$1 file
    if ! tools/deps.sh unpack-all "$root" "$@" >"$TMP/got" 2>&1; then
        bad "get $*" "$TMP/got"
        finish
    fi
    for file in "$root"/usr/bin/* "$root"/lib/*/*.so.* "$root"/usr/lib/*/*.so.*; do
        [[ -f $file ]] && FILES+=("$file")
    done
}

suites()
{
    local box
    for box in "$@"; do
        need "$BUILD/tests/debug/test_$box"
        FILES+=("$BUILD/tests/debug/test_$box")
    done
    SUITES=("$@")
}

# boot TOPOLOGY FLAVOUR CASES LIST...: the console's lines go to $TMP/log.
boot()
{
    local program list
    local -a files=(${AGAIN:+-a} -f "$SO" -f "$BUILD/tidepool" -f "$BUILD/tests/vm/judge")
    files+=(-f "$BUILD/tests/prog_region")
    for program in $3; do
        files+=(-f "$VM/$program.cases")
    done
    ((${#SUITES[@]} == 0)) || files+=(-s) # the unit tests want a shell
    for list in "${@:4}"; do
        files+=(-l "$list")
    done
    for program in "$VM"/guest_*.c; do
        program=${program##*/guest_}
        files+=(-f "$BUILD/tests/vm/${program%.c}")
    done
    for program in "${FILES[@]}"; do
        files+=(-f "$program")
    done
    "$VM/run" -t "$1" -k "$2" -T "$COMMAND_SECONDS" -e LD_LIBRARY_PATH=/t "${files[@]}" \
        >"$TMP/log" 2>&1 </dev/null
}

# A second try where no guest came up: the machine may have been too busy.
come_up()
{
    local guests=$(($# - 3))
    boot "$@"
    (($(grep -c '^@@ready' "$TMP/log") == guests)) && return
    boot "$@"
    (($(grep -c '^@@ready' "$TMP/log") == guests))
}

# said PATTERN: what the guest's commands of this pattern printed, between their marks.
said()
{
    awk -v pattern="$1" '
        /^@@begin/ {
            command = $0
            sub(/^@@begin ([^ ]*=[^ ]* )*/, "", command)
            on = command ~ pattern
        }
        on
        /^@@end/ { on = 0 }' "$TMP/log"
}

pass_on()
{
    cat "$TMP/verdicts"
    FAILED=$((FAILED + $(grep -c '^not ok' "$TMP/verdicts")))
}

# The judge's verdicts are in the order of the cases; a case without one has failed, but for
# the one in whose course the guest was to be killed, and was.
verdicts()
{
    said '^judge ' >"$TMP/said"
    awk -v guest="$1" '
        FNR == NR {
            if ($0 ~ /^(#|$)/) next
            sub(/ *[|].*/, "")
            name[++cases] = $0
            next
        }
        /^(ok|not ok|skip) - / && said < cases {
            at = index($0, " - ")
            if (index(substr($0, at + 3), name[++said]) != 1) exit
            print substr($0, 1, at) "- " guest ": " substr($0, at + 3)
            judged = said
        }
        /^    \|/ { print }
        /^@@killed/ { killed = 1 }
        END {
            if (killed && judged < cases) print "ok - " guest ": " name[++judged]
            while (judged++ < cases) print "not ok - " guest ": " name[judged] " (no verdict)"
        }' "$VM/$1.cases" "$TMP/said" >"$TMP/verdicts"
    pass_on
}

# unit_verdicts GUEST BOX: of libcheck's log. The plan that it ends with tells how many.
unit_verdicts()
{
    said "test_$2\$" >"$TMP/said"
    awk -v name="$1: test_$2" '
        /^(ok|not ok) [0-9]+ - / {
            split($0, part, / [0-9]+ - /)
            test = part[2]
            sub(/^[^:]*:[^:]*:/, "", test)
            if (part[1] == "ok") sub(/: Passed$/, "", test)
            print part[1] " - " name ": " test
            done++
        }
        /^1\.\.[0-9]+$/ { plan = substr($0, 4) }
        END { if (!done || plan != done) print "not ok - " name ": " done + 0 " of its tests ran" }
        ' "$TMP/said" >"$TMP/verdicts"
    pass_on
}

# rows GUEST FILE: the table that people read says what has just happened.
rows()
{
    local row count=0
    while IFS= read -r row; do
        count=$((count + 1))
        printf '%s\n' "$row" >"$TMP/row"
        if grep -qxF -- "$row" README.md; then
            ok "$1: $row"
        else
            bad "$1: a row that is not in README.md" "$TMP/row"
        fi
    done < <(said '^peer table' | grep '^|')
    ((count == $(grep -c '^[^#]' "$VM/$2"))) || bad "$1: $count rows of $2" "$TMP/log"
}

# What the other commands said, without what differs between kernels and from boot to boot.
plain_words()
{
    said '^tidepool ' | sed -E \
        -e 's/^tidepool [0-9.]+, Linux [^, ]+/tidepool VERSION, Linux KERNEL/' \
        -e 's/^( *[0-9]+  [^ ]+ +)[0-9.]+ [KMG]iB +[0-9.]+ [KMG]iB /\1TOTAL FREE /' \
        -e 's/^( *"(version|kernel)": ).*/\1"TEXT",/' \
        -e 's/^( *"(total|free)": ).*/\1NUMBER,/'
}

golden()
{
    local file=$VM/$1.golden
    plain_words >"$TMP/words"
    [[ ${GOLDEN:-} == write ]] && cp "$TMP/words" "$file"
    if [[ -s $TMP/words ]] && diff "$file" "$TMP/words" >"$TMP/diff"; then
        ok "$1: what tidepool info and doctor say"
    else
        bad "$1: what tidepool info and doctor say" "$TMP/diff"
    fi
}

guest()
{
    local name=$1 topology=$2 flavour=${3:-backports} box
    need "$SO" "$BUILD/tidepool" "$BUILD/tests/prog_region"
    tests/vm/build "$flavour" >"$TMP/built" 2>&1 || cannot "$name" "$TMP/built" $?
    if ! come_up "$topology" "$flavour" "$name" "$VM/$name.list"; then
        bad "$name: the guest did not come up" "$TMP/log"
        return
    fi
    verdicts "$name"
    for box in ${SUITES[@]+"${SUITES[@]}"}; do
        unit_verdicts "$name" "$box"
    done
    ! grep -q '^peer ' "$VM/$name.list" || rows "$name" peers.cases
    ! grep -q 'tidepool ' "$VM/$name.list" || golden "$name"
    grep -q '^@@exit' "$TMP/log" || bad "$name: the guest died" "$TMP/log"
}

pair()
{
    AGAIN=${3:-} together 2 "$1" "$2"
}

together()
{
    local count=$1 name=$2 i AGAIN=${AGAIN:-} names=() lists=()
    need "$SO" "$BUILD/tidepool" "$BUILD/tests/prog_region"
    tests/vm/build backports >"$TMP/built" 2>&1 || cannot "$name" "$TMP/built" $?
    for ((i = 0; i < count; i++)); do
        echo "judge $name.$i.cases" >"$TMP/list.$i"
        names+=("$name.$i")
        lists+=("$TMP/list.$i")
    done
    if ! come_up "$3" backports "${names[*]}" "${lists[@]}"; then
        bad "$name: the guests did not come up" "$TMP/log"
        return
    fi
    awk -v out="$TMP/log." '$1 == "@@guest" { file = out $2; next } { print >file }' "$TMP/log"
    for ((i = 0; i < count; i++)); do
        mv "$TMP/log.$i" "$TMP/log"
        verdicts "$name.$i"
        grep -qE '^@@(exit|killed)' "$TMP/log" || bad "$name.$i: the guest died" "$TMP/log"
    done
}
