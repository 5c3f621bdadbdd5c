#!/bin/bash
# The guest's half of tests/vm/self-test.sh, with SELF_TEST_BACKEND as the function's back end. One line a check, the
# status is the number of checks that failed.
# shellcheck source=tests/vm/guest/lab.sh
. "$LAB"

FAILED=0
# `"$@"` in the condition, so that no check is ended by another one's failure.
check() {
    local name=$1
    shift
    if "$@"; then echo "ok - $name"; else echo "FAILED - $name"; FAILED=$((FAILED + 1)); fi
}

kernel_is_that_of_the_lab() { [ "$(uname -r)" = "$SELF_TEST_KERNEL" ] && [ -d "/usr/lib/modules/$SELF_TEST_KERNEL" ]; }
two_cpus() { [ "$(nproc)" = 2 ]; }
project_is_at_src() { [ -x /src/tests/vm/run.sh ] && [ -d /build ]; }
arguments_and_environment_arrive() { [ "$1|$2|$SELF_TEST_WORDS" = 'one|two words|three  words' ]; }
function_is_the_only_virtio_fs() { [ "$(lab_functions | wc -l)" = 1 ] && [ -n "$FUNCTION" ]; }
function_has_an_iommu_group_of_its_own() {
    [ "$(ls "/sys/kernel/iommu_groups/$(lab_iommu_group "$FUNCTION")/devices")" = "$FUNCTION" ]
}
vfio_takes_the_function_and_gives_it_back() {
    bind_vfio "$FUNCTION" && [ -c "/dev/vfio/$(lab_iommu_group "$FUNCTION")" ] &&
        bind_virtio "$FUNCTION" && [ "$(lab_driver "$FUNCTION")" = virtio-pci ]
}
host_command_gives_output_and_status() {
    local output status=0
    output=$(host 'echo "first  line"; echo second; exit 3') || status=$?
    [ "$status" = 3 ] && [ "$output" = $'first  line\nsecond' ]
}
monitor_command_answers() {
    [[ $(monitor info status) == *running* ]] && ! monitor no-such-command >/dev/null
}

kernel_mounts_the_share() { mount -t virtiofs -o "$1" share /mnt/share; }
files_pass_both_ways() {
    host 'echo from the host >host-file' && [ "$(cat /mnt/share/host-file)" = 'from the host' ] &&
        echo from the guest >/mnt/share/guest-file && [ "$(host cat guest-file)" = 'from the guest' ]
}
# What is read must be what the host has. A multiple of 2 MiB: that is what the kernel maps, and QEMU maps nothing past
# the end of a file, so over this device the kernel's DAX reads no other file (EINVAL).
file_is_identical_through_the_mount() {
    host 'head -c 8M /dev/urandom >noise'
    [ "$(cd /mnt/share && sha256sum noise)" = "$(host sha256sum noise)" ]
}
dax_is_in_use() { dmesg | grep -q 'virtiofs.*Cache len' && grep -q ' /mnt/share virtiofs .*dax=always' /proc/mounts; }
share_is_unmounted() { umount /mnt/share; }

function_is_gone() { [ ! -e "/sys/bus/pci/devices/$FUNCTION" ]; }
function_can_be_unplugged() { monitor device_del vfs0 && lab_wait 20 function_is_gone; }

FUNCTION=$(lab_function)
check kernel_is_that_of_the_lab kernel_is_that_of_the_lab
check two_cpus two_cpus
check project_is_at_src project_is_at_src
check arguments_and_environment_arrive arguments_and_environment_arrive "$@"
check function_is_the_only_virtio_fs function_is_the_only_virtio_fs
check function_has_an_iommu_group_of_its_own function_has_an_iommu_group_of_its_own
check vfio_takes_the_function_and_gives_it_back vfio_takes_the_function_and_gives_it_back
check host_command_gives_output_and_status host_command_gives_output_and_status
check monitor_command_answers monitor_command_answers
check kernel_mounts_the_share kernel_mounts_the_share dax=never
check files_pass_both_ways files_pass_both_ways
check file_is_identical_through_the_mount file_is_identical_through_the_mount
check share_is_unmounted share_is_unmounted
if [ "$SELF_TEST_BACKEND" = vfsdax-device ]; then
    check kernel_mounts_the_share_with_dax kernel_mounts_the_share dax=always
    check dax_is_in_use dax_is_in_use
    check file_is_identical_through_the_window file_is_identical_through_the_mount
    check share_is_unmounted share_is_unmounted
fi
check function_can_be_unplugged function_can_be_unplugged
exit "$FAILED"
