#!/usr/bin/env bash
# self-test.sh: shows that the guest lab works: boots, VFIO, host and monitor commands, statuses, and that nothing is
# left behind. About a minute on an idle host, when the lab is built. Status 0, 1 (with what failed), or 77 (no guests here).
set -euo pipefail
# shellcheck source=tests/vm/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

FAILED=0

main() {
    [ $# -eq 0 ] || { vm_help; exit 2; }
    vm_need_root
    "$VM_DIR/build.sh"
    vm_find_lab
    # A temporary directory of its own, so that whatever a run leaves behind is seen.
    WORK=$(mktemp -d "${TMPDIR:-/tmp}/vm-self-test.XXXXXX")
    trap 'rm -rf "$WORK"' EXIT
    mkdir "$WORK/tmp"
    export TMPDIR=$WORK/tmp

    guest_checks_pass virtiofsd
    if has_vfsdax_device; then
        guest_checks_pass vfsdax-device
    else
        echo "skipped - guest_checks_pass with vfsdax-device: it is not built yet"
    fi
    check status_of_the_script_is_passed_on 42 'exit 42'
    output_arrives_whole
    check panic_is_a_failure_of_the_lab "$VM_STATUS_BROKEN" 'echo c >/proc/sysrq-trigger; sleep 60'
    said 'Kernel panic' panic_shows_the_console
    check script_that_hangs_is_timed_out "$VM_STATUS_TIMEOUT" 'echo before; sleep 1000' --timeout 5
    said before output_before_the_time_out_is_seen
    check words_of_the_command_line_arrive 0 'grep -q " self.test=1 iommu=pt " /proc/cmdline' --cmdline 'self.test=1 iommu=pt'
    check there_is_a_guest_without_an_iommu 0 '! [ -e /sys/class/iommu/dmar0 ]' --iommu none
    instructions_are_counted
    ends_without_a_trace TERM 143
    ends_without_a_trace KILL 137
    wrong_use_is_refused
    [ "$FAILED" = 0 ] || { echo "$FAILED failed"; exit 1; }
}

report() {
    local ok=$1
    shift
    if [ "$ok" = yes ]; then echo "ok - $*"; else echo "FAILED - $*"; FAILED=$((FAILED + 1)); fi
}

has_vfsdax_device() {
    vm_find_lab
    [ -n "$(find "$VM_PROJECT/build/release/tools" "$VM_GUEST_BUILD/tools" -type f -name vfsdax-device -perm -u+x \
        -print -quit 2>/dev/null)" ]
}

guest_checks_pass() {
    local backend=$1 status=0
    echo "# guest with $backend"
    "$VM_DIR/run.sh" --backend "$backend" --timeout 120 --env "SELF_TEST_BACKEND=$backend" \
        --env "SELF_TEST_KERNEL=$(basename "$VM_TREE"/usr/lib/modules/*)" \
        --env 'SELF_TEST_WORDS=three  words' "$VM_DIR/guest/self-test.sh" one 'two words' || status=$?
    report "$([ "$status" = 0 ] && echo yes)" "guest_checks_pass with $backend (status $status)"
    nothing_is_left "after $backend"
}

# check NAME STATUS COMMANDS [OPTION...]: a guest without a function that runs COMMANDS ends with STATUS.
check() {
    local name=$1 expected=$2 commands=$3 status=0
    shift 3
    write_script "$commands"
    "$VM_DIR/run.sh" --no-device "$@" "$WORK/script" >"$WORK/output" 2>&1 || status=$?
    [ "$status" = "$expected" ] || sed 's/^/# /' "$WORK/output"
    report "$([ "$status" = "$expected" ] && echo yes)" "$name (status $status)"
    nothing_is_left "$name"
}

write_script() {
    printf '#!/bin/bash\n. "$LAB"\n%s\n' "$1" >"$WORK/script"
    chmod +x "$WORK/script"
}

said() { report "$(grep -q "$1" "$WORK/output" && echo yes)" "$2"; }

# More than any pipe holds, and the last line without an end, right before the exit.
output_arrives_whole() {
    check output_does_not_hold_the_guest 0 'seq 200000; printf "the end"'
    report "$([ "$(cat "$WORK/output")" = "$(seq 200000; printf 'the end')" ] && echo yes)" output_arrives_whole
}

# A hundred copies of 4 KiB between the marks: some two thousand instructions each.
instructions_are_counted() {
    if ! [ -e "$VM_GUEST_BUILD/tests/vm/count/vm_count.so" ]; then
        echo "skipped - instructions_are_counted: the plugin is not built yet"
        return
    fi
    check what_a_program_does_is_counted 0 'mkdir /tmp/names && head -c 4M /dev/zero >/tmp/data &&
/build/tests/vm/count/vm_ops read-4k-cached /tmp 100 && host "tail -n 11 \$RUN/count" |
    jq -se "length == 11 and (.[10].instructions - .[0].instructions | . > 100000 and . < 1000000)"' --count
}

# ends_without_a_trace SIGNAL STATUS: of a run in the middle of its guest's work. KILL leaves the directory, which the
# next run removes.
ends_without_a_trace() {
    local signal=$1 expected=$2 status=0 runner tries
    write_script 'echo running; sleep 1000'
    "$VM_DIR/run.sh" --backend virtiofsd "$WORK/script" >"$WORK/output" 2>&1 &
    runner=$!
    for ((tries = 0; tries < 600; tries++)); do
        ! grep -q running "$WORK/output" || break
        sleep 0.1
    done
    kill "-$signal" "$runner"
    wait "$runner" 2>/dev/null || status=$?
    report "$([ "$status" = "$expected" ] && echo yes)" "SIG${signal}_ends_a_run (status $status)"
    if [ "$signal" = KILL ]; then
        sleep 1
        "$VM_DIR/run.sh" --no-device /bin/true >"$WORK/output" 2>&1 || report no "the run after SIGKILL works"
    fi
    nothing_is_left "after SIG$signal"
}

nothing_is_left() {
    local left
    left=$(ls -A "$TMPDIR"; grep -F "$TMPDIR" /proc/mounts || true; processes_of_runs)
    report "$([ -z "$left" ] && echo yes)" "nothing_is_left ($1)${left:+: $left}"
}

# Every process of a run has its directory, which lies in our TMPDIR, in its arguments.
processes_of_runs() {
    local cmdline
    for cmdline in /proc/[0-9]*/cmdline; do
        # shellcheck disable=SC2094 # nothing is written
        ! tr '\0' ' ' <"$cmdline" 2>/dev/null | grep -F "$TMPDIR/vfsdax-vm" || echo "$cmdline"
    done 2>/dev/null
}

wrong_use_is_refused() {
    local status=0
    "$VM_DIR/run.sh" --backend qemu /bin/true 2>/dev/null || status=$?
    report "$([ "$status" = 2 ] && echo yes)" "unknown_back_end_is_refused (status $status)"
    status=0
    "$VM_DIR/run.sh" --share /no/such/directory /bin/true 2>/dev/null || status=$?
    report "$([ "$status" = 2 ] && echo yes)" "missing_share_is_refused (status $status)"
}

main "$@"; exit
