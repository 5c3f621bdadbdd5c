# What guest/count.sh printed, a line each -> what one operation costs, and the model. Its figures are explained in README.md.
def model: {insns_per_us: 3000, kick_us: 1, call_us: 0.7, wake_us: 2.5, register_us: 3, translation_us: 10, service_us: 5};
def median: sort | .[length / 2 | floor];
# Accesses to devices whose names match, from one mark to another.
def devices($pattern; $a; $b): [$b, $a] | map([.devices | to_entries[] | select(.key | test($pattern)) | .value] | add // 0) | .[0] - .[1];
# What the device counted for one operation: without mounting, and without what was done before.
def device($all): . as $r | [$all[] | select(.boot == $r.boot and .variant == $r.variant)]
    | (if $r.before == "" then map(select(.n == 0)) else map(select(.op == $r.before)) end | first | .device) as $base
    | $r.device | with_entries(.key as $k | .value = ([0, (.value - $base[$k]) / $r.n / $r.times] | max));
. as $all | map(select(.n > 0) | . as $r
    | (if .variant != "tmpfs" then device($all) else {kicks: 0, calls: 0, misses: 0, invalidations: 0} end) as $d
    | ([range(0; (.marks | length) - 1) as $i | .marks[$i + 1].instructions - .marks[$i].instructions] | median) as $part
    | ($part * ((.marks | length) - 1) / .n) as $insns
    | (devices("isr-virtio-user-fs|^ioapic|iommu"; .marks[0]; .marks[-1]) / .n) as $regs
    | model as $m
    | ($insns / $m.insns_per_us + $d.kicks * ($m.kick_us + $m.service_us) + ($d.misses + $d.invalidations) * $m.translation_us + $regs * $m.register_us) as $us
    | {boot, op, driver: (if .variant == "tmpfs" then "tmpfs" else .variant + ", " + .boot end), insns: $insns, kicks: $d.kicks,
       calls: $d.calls, regs: $regs, misses: $d.misses, invalidations: $d.invalidations,
       us: ($us + $d.kicks * ($m.call_us + $m.wake_us)), us_polls: (if .variant == "vfsdax" or .variant == "library" then $us else null end)})
| group_by(.op) | map(sort_by(.driver)) | sort_by(.[0].op as $o | ["read-4k", "read-4k-cached", "write-4k", "read-1m", "write+fsync", "getattr", "lookup", "create", "unlink"] | index([$o])) | add
