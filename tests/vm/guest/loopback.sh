#!/bin/bash
# The loopback suite, unchanged, over VFIO: the function instead of a socket.
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
# A git clone and a build under emulation take minutes: with --long only.
jobs='jobs\.fio' long=
for arg; do [ "$arg" != --long ] || { jobs='jobs\.' long=--long; }; done
exec /src/tests/loopback/run.sh --build /build --jobs 1 --quick --label vm/loopback \
    --only "/(data\.|write\.|names\.|locks\.|owner\.|coherence\.|$jobs|cache\.|posix\.|window\.)" $long
