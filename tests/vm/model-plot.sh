#!/usr/bin/env bash
# model-plot.sh >PICTURE.svg: the model's table of comparison.md as a picture, so that the two cannot differ: what an operation takes in a
# guest under KVM (the mark) and in a nested one (the end of its line), on a logarithmic axis. Legible on a light and a dark page.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
awk -F ' *\\| *' '
function x(us) { return LEFT + (log(us) - log(LOW)) / (log(HIGH) - log(LOW)) * (RIGHT - LEFT) }
function say(px, py, class, words) { return sprintf("<text x=\"%.1f\" y=\"%.1f\" class=\"%s\">%s</text>\n", px, py, class, words) }
function mark(i, px, py) {
    if (SHAPE[i] == "square") return sprintf("<rect x=\"%.1f\" y=\"%.1f\" width=\"8\" height=\"8\" class=\"c%d\"/>\n", px - 4, py - 4, i)
    if (SHAPE[i] == "diamond") return sprintf("<path d=\"M%.1f %.1fl5.5 5.5l-5.5 5.5l-5.5 -5.5z\" class=\"c%d\"/>\n", px, py - 5.5, i)
    return sprintf("<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4.6\" class=\"c%d\"/>\n", px, py, i)
}
function operation(cell, label,  i, k, value, nested, py, px) {
    top = 96 + rows++ * STEP
    body = body sprintf("<line x1=\"24\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" class=\"grid\"/>\n", RIGHT + 30, top, top) say(LEFT - 18, top + STEP / 2 + 5, "label", label)
    for (i = 1; i <= 6; i++) {
        k = cell[i + 2]
        if (k == "") continue
        value = k + 0; nested = value
        if (match(k, /; [0-9.]+\)/)) nested = substr(k, RSTART + 2, RLENGTH - 3) + 0
        py = top + 10 + (i - 1) * 10.8; px = x(value)
        if (nested > value) body = body sprintf("<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\" class=\"n c%d\"/>\n", px, x(nested), py, py, i)
        body = body mark(i, px, py) say(px - 9, py + 3.6, "value", value < 10 ? value : sprintf("%.0f", value))
    }
}
BEGIN {
    LEFT = 180; RIGHT = 940; LOW = .5; HIGH = 1000; STEP = 74
    split("kernel, no IOMMU|kernel, iommu=pt|kernel, iommu.strict=1|kernel, dax=always|vfsdax-mount|libvfsdax", NAME, "|")
    split("square square square diamond circle circle", SHAPE, " ")
    split("read-4k read-4k-cached write-4k write+fsync getattr lookup create", ORDER, " ")
    split("direct read, 4 KiB|read again, 4 KiB|direct write, 4 KiB|write and fsync|getattr|look a name up|create a file", LABEL, "|")
}
/^\| µs \(polls; nested\) \|/ { on = 1; next }
on && !/^\|/ { on = 0 }
on { line[$2] = $0 }
END {
    for (o = 1; o in ORDER; o++) {
        if (!(ORDER[o] in line)) { print "model-plot.sh: comparison.md has no row " ORDER[o] >"/dev/stderr"; exit 1 }
        split(line[ORDER[o]], cell, FS); operation(cell, LABEL[o])
    }
    bottom = 96 + rows * STEP
    for (us = 1; us <= 1000; us *= 10) {
        grid = grid sprintf("<line x1=\"%.1f\" x2=\"%.1f\" y1=\"96\" y2=\"%.1f\" class=\"grid\"/>\n", x(us), x(us), bottom)
        body = body say(x(us), bottom + 18, "axis", us == 1000 ? "1 ms" : us " µs")
    }
    px = 24
    for (i = 1; i <= 6; i++) { legend = legend mark(i, px + 5, 76) say(px + 15, 80.5, "legend", NAME[i]); px += 34 + length(NAME[i]) * 7.4 }
    printf "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"980\" height=\"%d\" viewBox=\"0 0 980 %d\" role=\"img\" font-family=\"system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif\">\n", bottom + 32, bottom + 32
    print "<title>What an operation takes in a guest, by the model</title>"
    print "<style>.bg{fill:#fff}text{fill:#1c2430;font-size:13.5px}.title{font-size:18px;font-weight:600}.note,.axis{fill:#566173;font-size:12.5px}.axis{text-anchor:middle}" \
        ".label{text-anchor:end;font-size:14px}.value{text-anchor:end;font-size:10.5px;fill:#566173}.grid{stroke:#dde2e9}.n{stroke-width:2;stroke-opacity:.45}" \
        ".c1{fill:#9aa4b1;stroke:#9aa4b1}.c2{fill:#6b7685;stroke:#6b7685}.c3{fill:#343c47;stroke:#343c47}.c4{fill:#c77700;stroke:#c77700}.c5{fill:#2f62b5;stroke:#2f62b5}.c6{fill:#1f7a43;stroke:#1f7a43}"
    print "@media (prefers-color-scheme: dark) {.bg{fill:#0d1117}text{fill:#e8edf3}.note,.axis,.value{fill:#a9b4c2}.grid{stroke:#2a323d}" \
        ".c1{fill:#5d6875;stroke:#5d6875}.c2{fill:#8b96a5;stroke:#8b96a5}.c3{fill:#cfd6df;stroke:#cfd6df}.c4{fill:#f0a04b;stroke:#f0a04b}.c5{fill:#6aa0f5;stroke:#6aa0f5}.c6{fill:#4cc07a;stroke:#4cc07a}\n  }</style>"
    printf "<rect class=\"bg\" width=\"980\" height=\"%d\" rx=\"10\"/>\n", bottom + 32
    printf "%s%s%s%s%s</svg>\n", say(24, 32, "title", "What an operation takes in a guest under KVM"),
        say(24, 54, "note", "Counted instructions, exits and messages, priced by a model; not timed. The line goes to what it takes in a guest inside a guest."), legend, grid, body
}' comparison.md
