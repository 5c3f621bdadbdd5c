#!/usr/bin/env bash
# results-plot.sh RESULTS.json >PICTURE.svg: what results.sh --plot draws: how many times as fast as the mount each way is, with its 95 %
# interval, on a logarithmic axis, and the median time of one operation. Legible on a light and a dark page.
set -euo pipefail
[ $# = 1 ] && [ -r "$1" ] || { echo "usage: results-plot.sh RESULTS.json >PICTURE.svg" >&2; exit 2; }
jq -r '
    (["title", "\(.mib) MiB in the page cache, one thread, one I/O at a time; \(.rounds) interleaved rounds of \(.seconds) s; Linux \(.kernel | split("-")[0]), \(.cpus) CPUs, load \(.load)"] | @tsv),
    (.rows | sort_by(.row | startswith("1 MiB"))[] | (["row", .row] | @tsv), (.ways | to_entries[] | ["way", .key, .value.p50_ns, .value.faster.value, .value.faster.low, .value.faster.high] | @tsv))' "$1" |
awk -F '\t' '
function x(v) { v = log(v) / log(2); v = v < LOW ? LOW : v > HIGH ? HIGH : v; return (v - LOW) / (HIGH - LOW) * WIDE }
function say(px, py, class, words) { gsub(/&/, "\\&amp;", words); gsub(/</, "\\&lt;", words); return sprintf("<text x=\"%.1f\" y=\"%.1f\" class=\"%s\">%s</text>\n", px, py, class, words) }
function time_of(ns) { return ns < 1000 ? sprintf("%.0f ns", ns) : ns < 9950 ? sprintf("%.1f µs", ns / 1000) : ns < 999500 ? sprintf("%.0f µs", ns / 1000) : sprintf("%.1f ms", ns / 1e6) }
function way(key, name, class) { ORDER[++n_ways] = key; NAME[key] = name; CLASS[key] = class }
function panel(i,  px, py, v, k, key, y, tick) {
    px = 24 + (i - 1) % 2 * 492; py = 76 + int((i - 1) / 2) * 246
    printf "%s", say(px, py + 12, "group", row[i])
    for (v = LOW; v <= HIGH; v += 2) {
        tick = px + LEFT + x(2 ^ v)
        printf "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\" class=\"%s\"/>\n", tick, tick, py + 24, py + 24 + n_ways * STEP, v ? "grid" : "one"
        printf "%s", say(tick, py + 40 + n_ways * STEP, "axis", v < 0 ? "1/" 2 ^ -v : 2 ^ v "×")
    }
    for (k = 1; k <= n_ways; k++) {
        key = ORDER[k]; y = py + 24 + (k - .5) * STEP
        if (!((i, key) in time)) continue
        printf "%s", say(px + LEFT - 66, y + 4.5, "label " (key == "mount" ? "b" : ""), NAME[key]) say(px + LEFT - 8, y + 4.5, "time", time_of(time[i, key]))
        if (key != "mount")
            printf "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\" class=\"ci %s\"/>\n", px + LEFT + x(low[i, key]), px + LEFT + x(high[i, key]), y, y, CLASS[key]
        printf "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"5\" class=\"dot %s\"/>\n", px + LEFT + x(ratio[i, key]), y, CLASS[key]
        if (key != "mount")
            printf "%s", say(px + LEFT + x(high[i, key]) + 9, y + 4.5, "value",
                ratio[i, key] < .095 ? sprintf("%.2f", ratio[i, key]) : ratio[i, key] < 9.95 ? sprintf("%.1f", ratio[i, key]) : sprintf("%.0f", ratio[i, key]))
    }
}
BEGIN {
    LEFT = 230; WIDE = 228; LOW = -4; HIGH = 6; STEP = 22
    way("map", "libvfsdax, by pointer", "lib"); way("lib", "libvfsdax, by copy", "lib"); way("run", "vfsdax-run", "run"); way("mount", "vfsdax-mount", "mount")
    way("queue", "… without a window", "mount"); way("passed", "… passed through", "mount"); way("pass", "passthrough_ll", "other"); way("host", "the file on the host", "other")
}
$1 == "title" { title = $2 }
$1 == "row" { row[++n_rows] = $2 }
$1 == "way" { time[n_rows, $2] = $3; ratio[n_rows, $2] = $4; low[n_rows, $2] = $5; high[n_rows, $2] = $6 }
END {
    height = 76 + int((n_rows + 1) / 2) * 246
    printf "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"1000\" height=\"%d\" viewBox=\"0 0 1000 %d\" role=\"img\" font-family=\"system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif\">\n", height, height
    print "<title>How fast each way to a file is, as a multiple of vfsdax-mount</title>"
    print "<style>.bg{fill:#fff}text{fill:#1c2430;font-size:13.5px}.title{font-size:18px;font-weight:600}.note{font-size:12.5px}.group{font-size:15px;font-weight:600}" \
        ".label,.time{text-anchor:end}.b,.value{font-weight:600}.axis{text-anchor:middle;font-size:12px}.time,.axis,.note{fill:#566173}.time{font-size:12.5px}" \
        ".grid{stroke:#dde2e9}.one{stroke:#5b6675;stroke-width:1.5}.ci{stroke-width:3;stroke-opacity:.55}.lib{fill:#1f7a43;stroke:#1f7a43}.run{fill:#7a3fb5;stroke:#7a3fb5}" \
        ".mount{fill:#2f62b5;stroke:#2f62b5}.other{fill:#7b8695;stroke:#7b8695}"
    print "@media (prefers-color-scheme: dark) {.bg{fill:#0d1117}text{fill:#e8edf3}.time,.axis,.note{fill:#a9b4c2}.grid{stroke:#2a323d}.one{stroke:#8b96a5}" \
        ".lib{fill:#4cc07a;stroke:#4cc07a}.run{fill:#b98af0;stroke:#b98af0}.mount{fill:#6aa0f5;stroke:#6aa0f5}.other{fill:#8b96a5;stroke:#8b96a5}\n  }</style>"
    printf "<rect class=\"bg\" width=\"1000\" height=\"%d\" rx=\"10\"/>\n", height
    printf "%s%s", say(24, 34, "title", "Median time of one operation, and how many times as fast as through the mount"), say(24, 56, "note", title)
    for (i = 1; i <= n_rows; i++) panel(i)
    print "</svg>"
}'
