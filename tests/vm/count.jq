# What guest/count.sh printed, a line each -> what one operation costs, and the model. Its figures are explained in comparison.md.
def kvm: {insns_per_us: 3000, kick_us: 1, call_us: 0.7, wake_us: 2.5, register_us: 3, translation_us: 10, service_us: 5};
def nested: kvm + {kick_us: 4.4, call_us: 5, wake_us: 4.5, register_us: 15};
# Of one operation's counts. $polls: the device polls, so nobody kicks it; ours does as well, so nothing has to wake it.
def model($m; $polls): .insns / $m.insns_per_us + .regs * $m.register_us + (([.misses, .requests] | min) + .invalidations) * $m.translation_us + .requests * ($m.service_us
    + if $polls then 0 else $m.kick_us end + if $polls and (.driver | test("vfsdax|run|library")) then 0 else $m.call_us + $m.wake_us end);
def median: sort | .[length / 2 | floor];
# Accesses to devices whose names match, from one mark to another. (What has no name is the IOMMU; the APIC is KVM's own business.)
def devices($pattern; $a; $b): [$b, $a] | map([.devices | to_entries[] | select(.key | test($pattern)) | .value] | add // 0) | .[0] - .[1];
# What the device counted for one operation: without mounting, and without what was done before, if it was with the same driver: the
# library lets go of the device with each program.
def device($all): . as $r | [$all[] | select(.boot == $r.boot and .variant == $r.variant)]
    | (if $r.before == "" or $r.variant == "library" then map(select(.n == 0)) else map(select(.op == $r.before)) end | first | .device) as $base
    | $r.device | with_entries(.key as $k | .value = ([0, (.value - $base[$k]) / $r.n / $r.times] | max));
. as $all | map(select(.n > 0) | . as $r
    | ([range(0; (.marks | length) - 1) as $i | .marks[$i + 1].instructions - .marks[$i].instructions] | median) as $part
    | (devices("notify-virtio-user-fs"; .marks[0]; .marks[-1]) / .n) as $kicks
    # The pages came while it warmed up.
    | (if .variant == "tmpfs" or (.op == "read-4k-cached" and $kicks < 0.05) then {requests: 0, calls: 0, misses: 0, invalidations: 0} else device($all) end) as $d
    | {boot, op, driver: (if .variant == "tmpfs" then "tmpfs" else .variant + ", " + .boot end), insns: ($part * ((.marks | length) - 1) / .n), requests: $d.requests,
       $kicks, calls: $d.calls, regs: (devices("isr-virtio-user-fs|^ioapic|^anon"; .marks[0]; .marks[-1]) / .n), misses: $d.misses, invalidations: $d.invalidations}
    | . + {us: model(kvm; false), us_polls: model(kvm; true), us_nested: model(nested; false)})
| unique_by([.op, .driver]) | group_by(.op) | map(sort_by(.driver)) | sort_by(.[0].op as $o | ["read-4k", "read-4k-cached", "write-4k", "read-1m", "write+fsync", "getattr", "list", "lookup", "create", "unlink"] | index([$o])) | add
