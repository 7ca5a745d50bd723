# fold.awk - makes one line per sample out of what `perf script` prints: the weight, then the
# frames from the outermost to the innermost, all separated by tabs.
#
# A sample is a line that begins in the first column (command, thread, perhaps a time stamp,
# the weight, the name of the event and a colon), then a line per frame (address, symbol,
# object in brackets), innermost first, then an empty line. A frame is written SYMBOL@OBJECT.

# The number before the event's name: a time stamp ends with a colon and is no number.
function weight_of(    i) {
    i = NF
    while (i > 2 && $i !~ /:$/) i--
    return $(i - 1) ~ /^[0-9]+$/ ? $(i - 1) + 0 : 1
}

# The command may have blanks; what follows it is the number of the thread.
function command_of(    text) {
    text = $0
    sub(/[ \t]+[0-9]+(\/[0-9]+)?[ \t].*/, "", text)
    gsub(/[\t@]/, " ", text)
    return text
}

function frame_of(    text, object) {
    text = $0
    sub(/^[ \t]*[0-9a-f]+[ \t]*/, "", text)
    object = "?"
    if (match(text, / \([^()]*(\(deleted\))?\)( \(inlined\))?$/)) {
        object = substr(text, RSTART + 2)
        text = substr(text, 1, RSTART - 1)
        sub(/( \(deleted)?\).*/, "", object)
        sub(/.*\//, "", object)
    }
    sub(/\+0x[0-9a-f]+$/, "", text)
    gsub(/\t/, " ", text)
    gsub(/[\t@]/, "_", object)
    if (object == "inlined") object = "?"
    return (text == "" ? "[unknown]" : text) "@" object
}

# Outer frames that nobody knows are where the unwinding ended, not callers.
function flush_sample(    i, line) {
    if (!in_sample) return
    while (depth > 1 && frame[depth] == "[unknown]@[unknown]") depth--
    line = weight "\t" command "@command"
    for (i = depth; i >= 1; i--) line = line "\t" frame[i]
    print line
    in_sample = 0
}

/^#/ { next }
/^[ \t]*$/ {
    flush_sample()
    next
}
/^[^ \t]/ {
    flush_sample()
    weight = weight_of()
    command = command_of()
    depth = 0
    in_sample = 1
    next
}
in_sample { frame[++depth] = frame_of() }
END { flush_sample() }
