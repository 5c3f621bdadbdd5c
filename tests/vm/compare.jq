# Results, one a line and round -> medians with their lowest and highest, and ratios to the column $base (the kernel's driver with iommu=pt), round by round.
def median: sort | if length == 0 then null elif length % 2 == 1 then .[length / 2 | floor] else (.[length / 2 - 1] + .[length / 2]) / 2 end;
def summary: map(select(. != null)) | if length == 0 then null else {median: median, low: min, high: max, n: length} end;
def column: .boot + "/" + .variant;
["pt/kernel", "none/kernel", "strict/kernel", "pt/kernel-dax", "pt/vfsdax", "strict/vfsdax", "pt/run", "pt/library", "cached/kernel", "cached/vfsdax"] as $order
| ["fio direct", "fio buffered", "fio mmap", "vfsdax-bench", "files"] as $groups
| map(select(.group != "reference")) as $all
| ($all | map(column) | unique) as $there
| {base: $base, rounds: ($rounds | tonumber), seconds: ($seconds | tonumber), columns: ($order | map(select(. as $c | $there | index($c)))),
   load: (map(.load) | summary),
   references: (map(select(.group == "reference")) | group_by([.row, .boot]) | map({row: .[0].row, boot: .[0].boot} + (map(.rate) | summary))),
   missing: ($all | map(select(.rate == null) | {boot, variant, group, row, round, why})),
   rows: ($all | group_by([.group, .row]) | map(. as $row
     | ($row | map(select(column == $base) | {key: (.round | tostring), value: .rate}) | from_entries) as $base
     | {group: .[0].group, row: .[0].row, unit: .[0].unit,
        rates: ($row | group_by(column) | map({key: (.[0] | column), value: (map(.rate) | summary)}) | from_entries),
        ratios: ($row | group_by(column)
          | map({key: (.[0] | column), value: (map($base[.round | tostring] as $b | if .rate and $b and $b > 0 then .rate / $b else null end) | summary)}) | from_entries)})
     | sort_by([(.group as $g | $groups | index($g)), .row])),
   results: .}
