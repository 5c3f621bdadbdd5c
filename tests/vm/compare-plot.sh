#!/usr/bin/env bash
# compare-plot.sh REPORT.json >PICTURE.svg: what compare.sh --plot draws: for each row the rates of all columns as multiples of the kernel's
# driver with iommu=pt, median and lowest to highest, on a logarithmic axis.
set -euo pipefail
jq -r '
    (["title", .rounds, .seconds, (.kernel // "")] | @tsv),
    (.rows[] | (["row", .group, .row, .unit, (.rates["pt/kernel"].median // 0)] | @tsv),
        (.ratios | to_entries[] | select(.value and .key != "pt/kernel") | ["ratio", .key, .value.median, .value.low, .value.high] | @tsv))' "$1" |
awk -F '\t' '
function x(ratio,  v) { # clipped to the axis
    v = log(ratio) / log(2)
    v = v < LOW ? LOW : v > HIGH ? HIGH : v
    return LEFT + (v - LOW) / (HIGH - LOW) * (RIGHT - LEFT)
}
function escape(text) { gsub(/&/, "\\&amp;", text); gsub(/</, "\\&lt;", text); return text }
function text(px, py, class, words) { body = body sprintf("<text x=\"%.1f\" y=\"%.1f\" class=\"%s\">%s</text>\n", px, py, class, escape(words)) }
function mark(key, px, py,  c) { # each series has a colour and a shape
    c = COLOUR[key]
    if (SHAPE[key] == "circle") return sprintf("<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" fill=\"%s\"/>\n", px, py, c)
    if (SHAPE[key] == "ring") return sprintf("<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3.3\" fill=\"#fff\" stroke=\"%s\" stroke-width=\"1.6\"/>\n", px, py, c)
    if (SHAPE[key] == "square") return sprintf("<rect x=\"%.1f\" y=\"%.1f\" width=\"7\" height=\"7\" fill=\"%s\"/>\n", px - 3.5, py - 3.5, c)
    return sprintf("<path d=\"M%.1f %.1fl4.5 4.5l-4.5 4.5l-4.5 -4.5z\" fill=\"%s\"/>\n", px, py - 4.5, c)
}
function series(key, name, colour, shape) { ORDER[++n_series] = key; NAME[key] = name; COLOUR[key] = colour; SHAPE[key] = shape }
BEGIN {
    LEFT = 330; RIGHT = 1000; LOW = -5; HIGH = 8; STEP = 6; y = 118
    series("pt/vfsdax", "vfsdax, mounted", "#c2255c", "circle"); series("pt/library", "libvfsdax", "#e8590c", "diamond")
    series("pt/run", "vfsdax-run", "#2b8a3e", "diamond")
    series("pt/kernel-dax", "kernel, dax=always", "#1971c2", "circle"); series("none/kernel", "kernel, no IOMMU", "#868e96", "square")
    series("strict/kernel", "kernel, iommu.strict=1", "#343a40", "square"); series("strict/vfsdax", "vfsdax, iommu.strict=1", "#c2255c", "ring")
}
$1 == "title" { rounds = $2; seconds = $3 }
$1 == "row" {
    if (used) y = top + height
    if ($2 != group) { group = $2; y += 14; text(24, y + 14, "group", group); y += 22 }
    top = y; height = 24; used = 1; n = 0
    text(LEFT - 96, top + 16, "label", $3)
    text(LEFT - 16, top + 16, "rate", ($5 >= 100 ? sprintf("%.0f", $5) : sprintf("%.3g", $5)) " " $4)
    stripes = stripes sprintf("<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#f1f3f5\"/>\n", 24, RIGHT + 16, top + height, top + height)
    tops[++n_rows] = top
}
$1 == "ratio" && ($2 in NAME) {
    for (i = 1; ORDER[i] != $2; i++);
    # Squares and rings stand a little above and below, so that what is equal can be seen.
    py = tops[n_rows] + 12 + (SHAPE[$2] == "square" ? -5 : SHAPE[$2] == "ring" ? 5 : $2 == "pt/kernel-dax" ? 2 : $2 == "pt/library" ? -2 : $2 == "pt/run" ? 1 : 0)
    here[$2] = 1
    points = points sprintf("<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"%s\" stroke-width=\"2\" stroke-opacity=\".45\"/>\n", x($4), x($5), py, py, COLOUR[$2])
    points = points mark($2, x($3), py) sprintf("<title>%s: %.2f (%.2f to %.2f)</title>\n", NAME[$2], $3, $4, $5)
}
END {
    bottom = top + height + 8
    for (v = LOW; v <= HIGH; v++) {
        px = LEFT + (v - LOW) / (HIGH - LOW) * (RIGHT - LEFT)
        grid = grid sprintf("<line x1=\"%.1f\" x2=\"%.1f\" y1=\"124\" y2=\"%.1f\" stroke=\"%s\" stroke-width=\"%s\"/>\n", px, px, bottom, v ? "#e9ecef" : "#212529", v ? 1 : 1.5)
        label = v < 0 ? "1/" 2 ^ -v : 2 ^ v "×"
        text(px, 118, v ? "axis" : "axis one", v ? label : "1")
        text(px, bottom + 18, v ? "axis" : "axis one", v ? label : "1")
    }
    text(24, 34, "title", "virtiofs in a guest: how fast, as a multiple of the kernel driver with iommu=pt")
    text(24, 56, "note", "right of 1: faster. " rounds (rounds == 1 ? " round" : " rounds") " of " seconds " s a measurement, median and lowest to highest; the grey figure is the kernel driver. An emulated guest:")
    text(24, 72, "note", "ratios only, and exits are too cheap, copies too dear. Squares and rings are of other boots than the 1 they are compared with, and less sure.")
    px = 24
    for (i = 1; i <= n_series; i++) {
        if (!(ORDER[i] in here)) continue
        legend = legend mark(ORDER[i], px + 5, 92)
        text(px + 15, 96, "legend", NAME[ORDER[i]])
        px += 34 + length(NAME[ORDER[i]]) * 6.5
    }
    printf "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"1040\" height=\"%d\" viewBox=\"0 0 1040 %d\" font-family=\"system-ui, Helvetica, Arial, sans-serif\">\n", bottom + 34, bottom + 34
    print "<style>.title{font-size:19px;font-weight:600;fill:#212529}.note{font-size:12px;fill:#495057}.legend{font-size:12.5px;fill:#212529}" \
        ".group{font-size:13px;font-weight:600;fill:#212529}.label{font-size:13px;fill:#212529;text-anchor:end}.rate{font-size:11px;fill:#868e96;text-anchor:end}" \
        ".axis{font-size:11.5px;fill:#868e96;text-anchor:middle}.one{fill:#212529;font-weight:600}</style>"
    print "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>"
    printf "%s%s%s%s%s</svg>\n", stripes, grid, body, legend, points
}'
