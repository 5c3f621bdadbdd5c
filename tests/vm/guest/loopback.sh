#!/bin/bash
# loopback.sh [--long] [PATTERN]: the loopback suite, unchanged, over VFIO: the function instead of a socket. PATTERN: these tests, also
# those that take long. With a second function (run.sh --devices 2) the host's directory is at hand (lab_host_at).
. "$LAB"
cat >/tmp/host-run <<'RUN'
#!/bin/bash
# SUBDIR COMMAND...: by the host, in that folder of the share.
. "$LAB"
dir=$1; shift
host "mkdir -p $(printf %q "./$dir") && cd $(printf %q "./$dir") && HOST_DIR=\$PWD && export HOST_DIR && $(printf '%q ' "$@")"
RUN
chmod +x /tmp/host-run
export LAB VFSDAX_LOOPBACK=pci VFSDAX_PCI_HOST_RUN=/tmp/host-run VFSDAX_SLOW=4
# What restarts or kills the back end, or speaks to its socket, is no matter of this transport: QEMU does not reconnect.
# Tests of the other themes that need a device of their own options skip.
options=(--quick) jobs='jobs\.fio' only=
for arg; do
    case $arg in
        --long) options+=(--long) jobs='jobs\.' ;;
        *) options=() only=$arg ;;
    esac
done
if lab_has_function 1; then
    VFSDAX_PCI_SOURCE=$(lab_function 0)
    export VFSDAX_PCI_SOURCE VFSDAX_PCI_HOST_DIR=/mnt/host
    lab_host_at /mnt/host || lab_die "the kernel cannot mount the second function"
fi
exec /src/tests/loopback/run.sh --build /build --jobs 1 --label vm/loopback \
    --only "/(${only:-data\.|write\.|names\.|locks\.|owner\.|coherence\.|$jobs|cache\.|posix\.|window\.})" "${options[@]}"
