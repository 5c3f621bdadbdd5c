#!/bin/bash
# The loopback suite, unchanged, over VFIO: the function instead of a socket.
. "$LAB"
cat >/tmp/host-run <<'RUN'
#!/bin/bash
# SUBDIR COMMAND...: by the host, in that folder of the share.
. "$LAB"
dir=$1; shift
host "cd $(printf %q "./$dir") && HOST_DIR=\$PWD && export HOST_DIR && $(printf '%q ' "$@")"
RUN
chmod +x /tmp/host-run
export LAB VFSDAX_LOOPBACK=pci VFSDAX_PCI_HOST_RUN=/tmp/host-run VFSDAX_SLOW=4
exec /src/tests/loopback/run.sh --build /build --jobs 1 --quick --label vm/loopback "$@"
