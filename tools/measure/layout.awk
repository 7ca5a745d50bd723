# layout.awk - holds the structs and objects of a library to a table of cache lines.
#
# awk -f layout.awk [-v form=text|csv] from=table TABLE from=symbols FILE from=dwarf FILE
# SYMBOLS is the output of `readelf -sW`, DWARF that of `readelf -W --debug-dump=info`. The rules
# are told in verify_cache_alignment.sh. Prints the layout; mismatches go to standard error.
# Exit status: 0 as declared, 1 mismatches, 2 a table that cannot be read, or no debug data.

function bad(text) {
    print "MISMATCH " text > "/dev/stderr"
    mismatches++
}

function give_up(text) {
    print text > "/dev/stderr"
    gave_up = 1
    exit 2
}

# ---- the table ----------------------------------------------------------------------------

function whole(text) {
    return text ~ /^[0-9]+$/
}

function read_table() {
    sub(/#.*/, "")
    if (NF == 0) return
    if ($1 == "struct" && NF == 6 && whole($3) && $4 ~ /^(aligned|placed)$/ && whole($5) && \
        whole($6) && $6 > 0) {
        current = $2
        structs[++struct_count] = current
        want_size[current] = $3
        want_kind[current] = $4
        want_start[current] = $5
        unit[current] = $6
    } else if ($1 == "object" && NF == 4 && whole($3) && $3 > 0) {
        objects[++object_count] = $2
        object_align[$2] = $3
        object_writer[$2] = $4
        current = ""
    } else if (NF == 4 && current != "" && whole($2)) {
        n = ++want_members[current]
        want_name[current, n] = $1
        want_at[current, n] = $2
        group[current, n] = $3
        writer[current, n] = $4
        declared[current, $1] = 1
    } else {
        give_up(FILENAME ":" FNR ": cannot read this line: " $0)
    }
}

# ---- debug data ---------------------------------------------------------------------------

# The value of an attribute without what readelf says about how it is stored.
function attribute(    text) {
    text = $0
    sub(/^[^:]*: /, "", text)
    sub(/^.*offset: 0x[0-9a-f]+\): /, "", text)
    sub(/^\([a-z0-9_]+\) ?/, "", text)
    sub(/[ \t]+$/, "", text)
    return text
}

function reference(    text) {
    text = attribute()
    sub(/^[^<]*<0x/, "", text)
    sub(/>.*/, "", text)
    return text
}

# A struct's members are chained to it in the order of the file.
function read_dwarf(    depth) {
    if ($2 == "Abbrev" && match($0, /^ *<[0-9a-f]+><[0-9a-f]+>/)) {
        split($1, word, /[<>]+/)
        depth = word[2]
        die = word[3]
        tag[die] = $NF
        gsub(/[()]/, "", tag[die])
        above[depth] = die
        if (tag[die] == "DW_TAG_member" || tag[die] == "DW_TAG_subrange_type") {
            owner = above[depth - 1]
            child[owner, ++children[owner]] = die
        }
    } else if ($2 == "DW_AT_name") {
        name[die] = attribute()
    } else if ($2 == "DW_AT_byte_size") {
        bytes[die] = attribute() + 0
        if (tag[die] == "DW_TAG_structure_type" && !(name[die] in found)) found[name[die]] = die
    } else if ($2 == "DW_AT_type") {
        type[die] = reference()
    } else if ($2 ~ /^DW_AT_data_member_location/) {
        at[die] = attribute() + 0
    } else if ($2 == "DW_AT_alignment") {
        alignment[die] = attribute() + 0
    } else if ($2 == "DW_AT_upper_bound") {
        elements[die] = attribute() + 1
    } else if ($2 == "DW_AT_count") {
        elements[die] = attribute() + 0
    }
}

function size_of(die,    i, total) {
    if (tag[die] == "DW_TAG_array_type") {
        total = size_of(type[die])
        for (i = 1; i <= children[die]; i++) total *= elements[child[die, i]]
        return total
    }
    if (die in bytes) return bytes[die]
    return die in type ? size_of(type[die]) : 0
}

# What the compiler guarantees for every instance of a type.
function align_of(die,    i, most, here) {
    most = die in alignment ? alignment[die] : 1
    here = 1
    if (tag[die] ~ /structure_type|union_type/) {
        for (i = 1; i <= children[die]; i++) {
            here = align_of(child[die, i])
            if (here > most) most = here
        }
    } else if (tag[die] ~ /base_type|pointer_type|enumeration_type/) {
        here = bytes[die]
    } else if (die in type) {
        here = align_of(type[die])
    }
    return here > most ? here : most
}

# ---- structs ------------------------------------------------------------------------------

function check_members(s, die,    i, m, n) {
    for (i = 1; i <= children[die]; i++) {
        m = child[die, i]
        member_of[s, name[m]] = m
        if (!((s, name[m]) in declared))
            bad(s "." name[m] ": at byte " at[m] ", not in the table: who writes it?")
    }
    for (n = 1; n <= want_members[s]; n++) {
        if (!((s, want_name[s, n]) in member_of)) {
            bad(s "." want_name[s, n] ": in the table, but the struct has no such member")
            continue
        }
        m = member_of[s, want_name[s, n]]
        if (at[m] != want_at[s, n])
            bad(s "." name[m] ": at byte " at[m] ", the table says " want_at[s, n])
        check_lines(s, n, at[m], size_of(type[m]))
    }
}

# Bytes first..first+size-1 of member n: nobody else's line, nobody else's group.
function check_lines(s, n, first, size,    g, line, last, other) {
    g = group[s, n]
    last = int((first + (size ? size : 1) - 1) / unit[s])
    for (line = int(first / unit[s]); line <= last; line++) {
        other = (s, line) in line_group ? line_group[s, line] : g
        if (other != g)
            bad(s "." want_name[s, n] ": shares bytes " line * unit[s] ".." \
                (line + 1) * unit[s] - 1 " with the group " other)
        line_group[s, line] = other
        if (g ~ /!$/ && (s, g) in group_line && group_line[s, g] != line)
            bad(s "." want_name[s, n] ": the group " g " must lie in one line of " unit[s])
        group_line[s, g] = line
    }
    if ((s, g) in group_writer && group_writer[s, g] != writer[s, n])
        bad(s "." want_name[s, n] ": written by " writer[s, n] ", others of the group " g " by " \
            group_writer[s, g])
    if (!((s, g) in group_writer)) group_writer[s, g] = writer[s, n]
}

function check_struct(s,    die, aligned) {
    if (!(s in found)) {
        bad(s ": the library has no such struct")
        return
    }
    die = found[s]
    aligned = align_of(die)
    if (bytes[die] != want_size[s])
        bad(s ": " bytes[die] " bytes, the table says " want_size[s])
    if (want_kind[s] == "aligned" && aligned != want_start[s])
        bad(s ": the compiler aligns it to " aligned ", the table says " want_start[s])
    if (bytes[die] % want_start[s])
        bad(s ": of two that lie side by side the second does not start at a multiple of " \
            want_start[s])
    check_members(s, die)
    show_struct(s, die, aligned)
}

function show_struct(s, die, aligned,    i, m, n, who) {
    if (form == "text")
        printf "struct %s: %d bytes, aligned to %d, lines of %d\n", s, bytes[die], aligned, unit[s]
    for (n = 1; n <= want_members[s]; n++) who[want_name[s, n]] = n
    for (i = 1; i <= children[die]; i++) {
        m = child[die, i]
        n = who[name[m]]
        if (form == "text")
            printf "  line %4d  byte %6d  size %6d  %-14s written by %-8s %s\n", \
                int(at[m] / unit[s]), at[m], size_of(type[m]), n ? group[s, n] : "?", \
                n ? writer[s, n] : "?", name[m]
        else
            printf "%s,%s,%d,%d,%d,%d,%s,%s\n", s, name[m], at[m], size_of(type[m]), \
                int(at[m] / unit[s]), unit[s], n ? group[s, n] : "", n ? writer[s, n] : ""
    }
}

# ---- objects ------------------------------------------------------------------------------

function hex(text,    i, value) {
    text = tolower(text)
    for (i = 1; i <= length(text); i++)
        value = value * 16 + index("0123456789abcdef", substr(text, i, 1)) - 1
    return value
}

function size_number(text) {
    return text ~ /^0x/ ? hex(substr(text, 3)) : text + 0
}

function read_symbol() {
    if ($4 != "OBJECT" || $7 == "UND" || $8 in address) return
    address[$8] = hex($2)
    length_of[$8] = size_number($3)
}

# Every line of an object, against what stands there already.
function check_object(o,    line, last, i, n, other) {
    if (!(o in address)) {
        bad(o ": the library has no such object")
        return
    }
    if (address[o] % object_align[o])
        bad(o ": its address is no multiple of " object_align[o])
    last = int((address[o] + length_of[o] - 1) / 64)
    for (line = int(address[o] / 64); line <= last; line++) {
        for (i = 1; i <= here[line]; i++) {
            other = standing[line, i]
            if (object_writer[other] != object_writer[o])
                bad(o ": written by " object_writer[o] ", shares a line with " other \
                    ", written by " object_writer[other])
        }
        standing[line, ++here[line]] = o
    }
    if (form == "text")
        printf "object %-22s %8d bytes, first line %6d  written by %s\n", o, length_of[o], \
            int(address[o] / 64), object_writer[o]
}

from == "table" { read_table() }
from == "symbols" { read_symbol() }
from == "dwarf" && ($2 ~ /^DW_AT_(name|b|t|da|al|u|co)/ || $2 == "Abbrev") { read_dwarf() }

END {
    if (gave_up) exit 2
    if (!struct_count) give_up("the table names no struct")
    if (die == "") give_up("no debug data: build it with -g, and do not strip it")
    if (form == "csv")
        print "struct_name,member_name,offset_bytes,size_bytes,line_no,line_bytes,group_name," \
            "writer_name"
    for (i = 1; i <= struct_count; i++) check_struct(structs[i])
    for (i = 1; i <= object_count; i++) check_object(objects[i])
    if (mismatches) exit 1
}
