#!/bin/bash
# documents.sh: what the documents tell people to type in a guest, as it stands there (tests/documents.sh, mark "guest").
. "$LAB"
set -e
mount -t tmpfs none /mnt # (other tests have a folder there)
ln -sf "$(command -v vfsdax-mount)" /sbin/mount.vfsdax
cd /src
tests/documents.sh --take guest README.md docs/*.md tools/*/*.8 >/tmp/typed
grep -q vfsdax-mount /tmp/typed || lab_die "the documents have no block for a guest"
bash -exo pipefail /tmp/typed || lab_die "what the documents say does not work here"
[ "$(lab_driver "$(lab_function)")" = virtio-pci ] || lab_die "the function was not given back"
umount /mnt
