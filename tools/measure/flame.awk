# flame.awk - draws a flame graph, one SVG file, out of folded samples (fold.awk) that are sorted
# by their frames: `sort -t TAB -k 2` with LC_ALL=C.
#
# -v title=TEXT -v subtitle=TEXT. Time runs from left to right in no order but the alphabet's:
# a box is as wide as its share of the time, callers stand below, callees above. Pointing at a
# box tells its name, object and share.

BEGIN {
    FS = "\t"
    page_width = 1200
    row_height = 17
    margin = 10
    character = 6.6 # width of one in the font used
}

function escape(text) {
    gsub(/&/, "\\&amp;", text)
    gsub(/</, "\\&lt;", text)
    gsub(/>/, "\\&gt;", text)
    gsub(/"/, "\\&quot;", text)
    return text
}

# A number from the characters of a name, always the same.
function hash(text,    i, sum) {
    for (i = 1; i <= length(text); i++)
        sum = (sum * 31 + index("abcdefghijklmnopqrstuvwxyz_0123456789", \
            tolower(substr(text, i, 1)))) % 9973
    return sum
}

# Kernel, the library, the rest: each a colour of its own, names a little apart from each other.
function colour(name, object,    shade) {
    shade = hash(name) % 40
    if (object ~ /^\[/) return sprintf("rgb(%d,%d,%d)", 240 - shade, 130 + shade, 70)
    if (object ~ /tidepool/) return sprintf("rgb(%d,%d,%d)", 80 + shade, 190 + shade, 130)
    if (object ~ /\.so/) return sprintf("rgb(%d,%d,%d)", 130 + shade, 160 + shade, 225)
    return sprintf("rgb(%d,%d,%d)", 235, 200 + shade, 90 + shade)
}

function open_frame(level, text) {
    stack[level] = text
    from[level] = so_far
}

function close_frame(level) {
    boxes++
    box_text[boxes] = stack[level]
    box_level[boxes] = level
    box_from[boxes] = from[level]
    box_to[boxes] = so_far
    if (level > deepest) deepest = level
}

{
    same = 0
    while (same < depth && same + 2 <= NF && stack[same + 1] == $(same + 2)) same++
    for (level = depth; level > same; level--) close_frame(level)
    for (level = same + 1; level < NF; level++) open_frame(level, $(level + 1))
    depth = NF - 1
    so_far += $1
    samples++
}

function draw_box(i,    at, name, object, x, width, y, fits, label) {
    at = match(box_text[i], /@[^@]*$/)
    name = substr(box_text[i], 1, at - 1)
    object = substr(box_text[i], at + 1)
    x = margin + (page_width - 2 * margin) * box_from[i] / so_far
    width = (page_width - 2 * margin) * (box_to[i] - box_from[i]) / so_far
    if (width < 0.3) return
    y = top + (deepest - box_level[i]) * row_height
    fits = int((width - 6) / character)
    label = length(name) <= fits ? name : fits >= 4 ? substr(name, 1, fits - 2) ".." : ""
    printf "<g><title>%s (%s): %.2f %%</title>", escape(name), escape(object), \
        100 * (box_to[i] - box_from[i]) / so_far
    printf "<rect x=\"%.2f\" y=\"%d\" width=\"%.2f\" height=\"%d\" rx=\"1\" fill=\"%s\"/>", x, y, \
        width, row_height - 1, colour(name, object)
    if (label != "") printf "<text x=\"%.2f\" y=\"%d\">%s</text>", x + 3, y + 12, escape(label)
    print "</g>"
}

function legend(x, object, text) {
    printf "<rect x=\"%d\" y=\"46\" width=\"11\" height=\"11\" fill=\"%s\"/>", x, \
        colour("x", object)
    printf "<text x=\"%d\" y=\"56\">%s</text>\n", x + 16, text
}

END {
    for (level = depth; level > 0; level--) close_frame(level)
    top = 66
    height = top + (deepest + 1) * row_height + margin
    print "<?xml version=\"1.0\" encoding=\"UTF-8\"?>"
    printf "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" ", page_width, \
        height
    printf "viewBox=\"0 0 %d %d\" font-family=\"monospace\" font-size=\"11\">\n", page_width, height
    printf "<rect width=\"%d\" height=\"%d\" fill=\"#fdfdfb\"/>\n", page_width, height
    printf "<text x=\"%d\" y=\"20\" font-size=\"15\">%s</text>\n", margin, escape(title)
    printf "<text x=\"%d\" y=\"37\">%s; %d samples</text>\n", margin, escape(subtitle), samples
    legend(margin, "program", "program")
    legend(margin + 90, "libtidepool.so", "tidepool")
    legend(margin + 190, "lib.so", "other libraries")
    legend(margin + 330, "[kernel]", "kernel")
    for (i = 1; i <= boxes; i++) draw_box(i)
    print "</svg>"
}
