# shellcheck shell=bash
# lib_vm.sh - for the scripts vm_*.sh: one topology each, all its tests in one boot.
#
#   guest NAME TOPOLOGY [FLAVOUR]   starts the guest with the commands of tests/vm/NAME.list.
#       One of them is `judge NAME.cases`, whose verdicts are passed on, one for each case;
#       what the others print must be tests/vm/NAME.golden, figures of the machine aside
#   bring NAME...                   unpacks Debian packages: their programs and libraries are
#       in the guests that are started then
#   FILES                           an array of other files to be there
#
# Where no guest can be made (no network, another processor) all is skipped with the reason;
# with CI=true that is a failure. GOLDEN=write writes the .golden file anew: read it then.

. "$(dirname "${BASH_SOURCE[0]}")/lib_prog.sh"

VM=$PWD/tests/vm
FILES=()
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

# boot NAME TOPOLOGY FLAVOUR: the console's lines go to $TMP/log.
boot()
{
    local program
    local -a files=(-f "$SO" -f "$BUILD/tidepool" -f "$BUILD/tests/vm/judge" -f "$VM/$1.cases")
    for program in "$VM"/guest_*.c; do
        program=${program##*/guest_}
        files+=(-f "$BUILD/tests/vm/${program%.c}")
    done
    for program in "${FILES[@]}"; do
        files+=(-f "$program")
    done
    "$VM/run" -t "$2" -k "$3" -T "$COMMAND_SECONDS" -e LD_LIBRARY_PATH=/t "${files[@]}" \
        -l "$VM/$1.list" \
        >"$TMP/log" 2>&1 </dev/null
}

# The judge's verdicts are in the order of the cases; a case without one has failed.
verdicts()
{
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
        END {
            while (judged++ < cases) print "not ok - " guest ": " name[judged] " (no verdict)"
        }' "$VM/$1.cases" "$TMP/log" >"$TMP/verdicts"
    cat "$TMP/verdicts"
    FAILED=$((FAILED + $(grep -c '^not ok' "$TMP/verdicts")))
}

# What the other commands said, without what differs between kernels and from boot to boot.
plain_words()
{
    awk '/^@@begin/ { on = $2 != "judge" } on; /^@@end/ { on = 0 }' "$TMP/log" | sed -E \
        -e 's/^tidepool [0-9.]+, Linux [^,]+,/tidepool VERSION, Linux KERNEL,/' \
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
        ok "$1: what tidepool info says"
    else
        bad "$1: what tidepool info says" "$TMP/diff"
    fi
}

guest()
{
    local name=$1 topology=$2 flavour=${3:-backports}
    need "$SO" "$BUILD/tidepool"
    tests/vm/build "$flavour" >"$TMP/built" 2>&1 || cannot "$name" "$TMP/built" $?
    boot "$name" "$topology" "$flavour"
    if ! grep -q '^@@ready' "$TMP/log"; then
        boot "$name" "$topology" "$flavour"
    fi
    if ! grep -q '^@@ready' "$TMP/log"; then
        bad "$name: the guest did not come up" "$TMP/log"
        return
    fi
    verdicts "$name"
    golden "$name"
    grep -q '^@@exit' "$TMP/log" || bad "$name: the guest died" "$TMP/log"
}
