#!/usr/bin/env bash
# measure_layout.sh - tools/verify_cache_alignment.sh: the built library holds to the table, and
# a misalignment planted in the library's own sources is found.
set -u
. "$(dirname "$0")/lib_measuring.sh"

VERIFY=tools/verify_cache_alignment.sh
TABLE=tools/verify_cache_alignment.txt
need "$SO"

test_library()
{
    expect 'the library is as declared' 0 out '^verdict: as declared' "$VERIFY" --csv \
        "$TMP/layout.csv" "$SO"
    has 'the map tells lines and writers' \
        'line   82  byte  10496 .* inbox!  *written by all  *inbox$'
    has 'the CSV has them' '^tide_pages,inbox,10496,8,82,128,inbox!,all$' "$TMP/layout.csv"
    units 'its columns tell their units' "$TMP/layout.csv"
}

# The table must speak of all structs that the headers mark as shared between threads.
test_table()
{
    local name
    for name in tide_page tide_pages tide_heap tide_cache tide_magazine tide_outbox tide_batch \
        tide_window tide_logroom \
        tide_layout_{head,member,bell,broker,producer,reader,session,slot,entry} \
        tide_lanes_{head,session,reader,node,lane,slot,entry}; do
        if grep -q "^struct $name " "$TABLE"; then
            ok "the table has struct $name"
        else
            bad "the table has struct $name"
        fi
    done
}

# planted NAME FILE SED PATTERN: the library built from changed sources must not pass.
planted()
{
    rm -rf "$TMP/tree"
    mkdir "$TMP/tree"
    cp -r core include "$TMP/tree"
    sed -i "$3" "$TMP/tree/core/box/$2"
    if cmp -s "core/box/$2" "$TMP/tree/core/box/$2"; then
        bad "$1: nothing was planted"
        return
    fi
    if ! bare "${CC:-gcc}" -g -O0 -std=gnu17 -w -D_GNU_SOURCE -I"$TMP/tree/core" \
        -I"$TMP/tree/include" -fPIC -shared -pthread -ftls-model=initial-exec \
        -o "$TMP/planted.so" "$TMP/tree/core/unity.c"; then
        bad "$1: does not compile" "$TMP/err"
        return
    fi
    expect "$1" 1 err "$4" "$VERIFY" "$TMP/planted.so"
}

test_planted()
{
    planted 'an inbox beside the locked part is found' page.h \
        's/\(inbox\) __attribute__((aligned(2 \* TIDE_LINE)))/\1/' \
        'MISMATCH tide_pages.inbox: shares bytes'
    has 'and its offset' 'MISMATCH tide_pages.inbox: at byte [0-9]*, the table says 10496' err
    planted 'a member that pushes a magazine over its line is found' magazine.h \
        's/^    uint8_t headed;/    uint8_t headed; uint64_t more;/;/_Static_assert/d' \
        'MISMATCH tide_magazine.more: at byte 64, not in the table'
    planted 'a word of the log moved to the line of another writer is found' layout.h \
        '/_Static_assert/d;/^    uint64_t pad4\[15\];/d' \
        'MISMATCH tide_layout_head.committed: shares bytes 256\.\.383 with the group taken!'
    planted 'what detaches a reader beside its cursor is found' layout.h \
        '/_Static_assert/d;s/^    uint64_t pad0\[10\];/    uint64_t pad0[2];/' \
        'MISMATCH tide_layout_reader.fate: shares bytes 0\.\.127 with the group own!'
    planted 'a client and the sequencer on one line are found' lanes.h \
        '/_Static_assert/d;/^struct tide_lanes_session/,/^}/s/pad0\[15\]/pad0[3]/' \
        'MISMATCH tide_lanes_session.epoch: shares bytes 0\.\.127 with the group asked!'
}

# changed NAME SED PATTERN: the library against a changed table.
changed()
{
    sed "$2" "$TABLE" >"$TMP/table"
    if cmp -s "$TABLE" "$TMP/table"; then
        bad "$1: nothing was changed"
        return
    fi
    expect "$1" 1 err "$3" "$VERIFY" --table "$TMP/table" "$SO"
    has "$1: the verdict counts" '^verdict: [0-9]* mismatch'
}

test_changed()
{
    changed 'another size' 's/^struct tide_batch 512/struct tide_batch 576/' \
        'tide_batch: 512 bytes, the table says 576'
    changed 'another writer of one line' 's/^\( *used .*\)lock/\1thread/' \
        'tide_page.used: written by thread, others of the group free! by lock'
    changed 'another writer of a line of the log' 's/^\( *trimmed_base .*\)trimmer$/\1places/' \
        'tide_layout_head.trimmed_base: written by places, others of the group trimmed! by trimmer'
    changed 'a weaker alignment than declared' 's/^\(struct tide_window 128 aligned\) 64/\1 128/' \
        'tide_window: the compiler aligns it to 64, the table says 128'
    changed 'a member nobody declared' '/^    inbox_bytes/d' 'tide_pages.inbox_bytes: at byte 10504'
    changed 'an object somewhere else' 's/^object tide_windows  *64/object tide_windows 16777216/' \
        'tide_windows: its address is no multiple of 16777216'
}

test_input()
{
    expect 'an absent library' 2 err 'cannot be read' "$VERIFY" "$TMP/absent.so"
    expect 'no library at all' 2 err 'not verified\|no debug data\|Not an ELF\|Error' "$VERIFY" \
        "$TABLE"
    strip -g -o "$TMP/stripped.so" "$SO"
    expect 'a library without debug data' 2 err 'no debug data: build it with -g' "$VERIFY" \
        "$TMP/stripped.so"
    printf 'struct tide_page 128 somewhere 64 64\n' >"$TMP/table"
    expect 'a table that cannot be read' 2 err 'table:1: cannot read this line' "$VERIFY" \
        --table "$TMP/table" "$SO"
    printf '# nothing\n' >"$TMP/table"
    expect 'a table without structs' 2 err 'names no struct' "$VERIFY" --table "$TMP/table" "$SO"
    expect 'an absent table' 2 err 'cannot be read' "$VERIFY" --table "$TMP/absent" "$SO"
    expect 'an unknown option' 2 err "unknown option '--bogus'" "$VERIFY" --bogus
    expect 'two libraries' 2 err 'one library at a time' "$VERIFY" "$SO" "$SO"
    expect '--help tells the exit status' 0 out '^Exit status: 0 as declared' "$VERIFY" --help
    path_without readelf
    expect 'without readelf the package is named' 2 err 'install the package binutils' \
        env PATH="$BARE_PATH" "$VERIFY" "$SO"
}

self_tests "$VERIFY"
test_library
test_table
test_planted
test_changed
test_input
finish
