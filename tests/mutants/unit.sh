#!/usr/bin/env bash
# mutants/unit.sh - one test out of a unit test program, for mutants that only those see.
#
#   tests/mutants/unit.sh '^PROGRAM: TEST$'
#
# PROGRAM is one of tests/test_*.c without its ending. It is made here of this tree, with the
# debug build of the boxes, wherever other programs of BUILD come from. The verdict is that of
# the test, `not ok` if it hangs or if the program does not build.
set -u
. "$(dirname "${BASH_SOURCE[0]}")/../lib_prog.sh"

NAME=${1#^}
NAME=${NAME%$}
PROGRAM=${NAME%%: *}
TEST=${NAME#*: }
CC=${CC:-gcc}
LIBRARY=$BUILD/libtidepool_api_dbg.a

if [[ ! -f tests/$PROGRAM.c ]]; then
    bad "$NAME"
    finish
fi

build()
{
    local -a check
    read -ra check <<<"$(pkg-config --cflags --libs check)"
    make -s -j2 BUILD="$BUILD" "$LIBRARY" &&
        "$CC" -std=gnu17 -w -O1 -g -pthread -DTIDE_DEBUG=1 -fno-builtin -Iinclude -Icore \
            -o "$TMP/program" "tests/$PROGRAM.c" "$LIBRARY" "${check[@]}"
}

if ! build >"$TMP/make" 2>&1; then
    bad "$NAME" "$TMP/make"
    finish
fi
# Tests that hang are ended before the program is.
LIMIT=${TEST_SECONDS:-500}
export CK_TAP_LOG_FILE_NAME=$TMP/tap CK_DEFAULT_TIMEOUT=$((LIMIT / 3 + 1))
bare "$TMP/program"
if grep -q "^ok .*:$TEST: " "$TMP/tap" && ! grep -q "^not ok .*:$TEST: " "$TMP/tap"; then
    ok "$NAME"
else
    bad "$NAME" "$TMP/tap"
fi
finish
