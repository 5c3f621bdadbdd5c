# shellcheck shell=bash
# What the guest tree is made of. Everything named RECIPE_* or recipe_* is part of the tree's fingerprint (common.sh):
# change it and the next run builds a new tree. Nothing here depends on this machine but the mirror, which is passed in.

RECIPE_SUITE=trixie
RECIPE_BACKPORTS=trixie-backports

# From the release itself. A guest runs the loopback suite (git clone, a small build, fio, xattrs, locks), programs of
# others (loopback/intercept.sh), and the compiler that makes ours: the tree's libfuse is newer than a Debian 12 host's.
RECIPE_PACKAGES=(
    busybox-static kmod pciutils procps strace
    attr acl e2fsprogs fio fuse3 git jq
    lmdb-utils python3 redis-tools ripgrep rsync sqlite3
    gcc libc6-dev make cmake ninja-build pkgconf
    libfuse3-dev liburing-dev libpci-dev libcmocka-dev libseccomp-dev libcap-ng-dev
    virtiofsd
)
# Newer than the release: QEMU >= 11.1 has SHMEM for vhost-user, and it runs on the host from this tree.
RECIPE_BACKPORTED=(qemu-system-x86 qemu-system-common qemu-system-data seabios)
# Unpacked rather than installed: a guest without an initrd has no use for initramfs-tools, its hooks and its triggers.
RECIPE_KERNEL=linux-image-cloud-amd64

# The guest's disk: room for tests to write in; only blocks that are used take space.
RECIPE_DISK_SIZE=8G

# recipe_configure TREE MIRROR: apt and dpkg settings, before anything is installed by them. Pages nobody reads in a
# guest stay out, except libfuse's examples: passthrough_ll is a yardstick of the benchmarks.
recipe_configure() {
    local tree=$1 mirror=$2 key=/usr/share/keyrings/debian-archive-keyring.gpg
    printf 'deb [signed-by=%s] %s %s main\n' "$key" "$mirror" "$RECIPE_SUITE" \
        "$key" "$mirror" "$RECIPE_BACKPORTS" >"$tree/etc/apt/sources.list"
    cat >"$tree/etc/apt/apt.conf.d/90lab" <<'CONF'
APT::Install-Recommends "false";
Acquire::Languages "none";
Acquire::Retries "3";
CONF
    cat >"$tree/etc/dpkg/dpkg.cfg.d/lab" <<'CONF'
force-unsafe-io
path-exclude=/usr/share/doc/*
path-include=/usr/share/doc/libfuse3-dev/*
path-exclude=/usr/share/man/*
path-exclude=/usr/share/info/*
path-exclude=/usr/share/locale/*
path-exclude=/usr/share/lintian/*
path-exclude=/usr/share/cmake-*/Help/*
path-exclude=/usr/share/fio/*
CONF
    printf '#!/bin/sh\nexit 101\n' >"$tree/usr/sbin/policy-rc.d"
    chmod 755 "$tree/usr/sbin/policy-rc.d"
}

# recipe_chroot TREE COMMAND...
recipe_chroot() {
    local tree=$1
    shift
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive HOME=/root \
        ${http_proxy:+http_proxy="$http_proxy"} chroot "$tree" "$@"
}

recipe_install() {
    local tree=$1
    recipe_chroot "$tree" apt-get -q update
    recipe_chroot "$tree" apt-get -q -y install "${RECIPE_PACKAGES[@]}" \
        "${RECIPE_BACKPORTED[@]/%//$RECIPE_BACKPORTS}"
}

# recipe_kernel TREE VMLINUZ: modules go into the tree, the kernel, which QEMU reads, beside it.
# The kernel package named by the meta package, and whatever linux-* package that one needs (modules may be split off).
recipe_kernel() {
    local tree=$1 vmlinuz=$2 names deb modules
    names=$(recipe_chroot "$tree" apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts \
        --no-breaks --no-replaces --no-enhances "$RECIPE_KERNEL/$RECIPE_BACKPORTS" |
        grep -E '^linux-(image|modules|binary)-[0-9].*cloud-amd64$' | sort -u)
    [ -n "$names" ] || { echo "no kernel package behind $RECIPE_KERNEL" >&2; return 1; }
    mkdir -p "$tree/var/cache/kernel"
    # shellcheck disable=SC2016,SC2086 # the inner shell expands its own arguments; one word a package
    recipe_chroot "$tree" sh -c 'cd /var/cache/kernel && exec apt-get -q -o APT::Sandbox::User=root download "$@"' sh \
        $(printf "%s/$RECIPE_BACKPORTS " $names)
    for deb in "$tree"/var/cache/kernel/*.deb; do
        recipe_chroot "$tree" dpkg-deb -x "${deb#"$tree"}" /var/cache/kernel/x
    done
    mv "$tree/var/cache/kernel/x/usr/lib/modules" "$tree/usr/lib/modules"
    mv "$tree"/usr/lib/modules/*/vmlinuz "$vmlinuz"
    modules=$(echo "$tree"/usr/lib/modules/*)
    # The package has no list of what is built in; modprobe must not fail for what a test may ask of it.
    printf 'kernel/fs/fuse/%s.ko\n' fuse virtiofs >"$modules/modules.builtin"
    touch "$modules/modules.order" "$modules/modules.builtin.modinfo"
    recipe_chroot "$tree" depmod "${modules##*/}"
}

# Mount points that every guest uses, and a user who is not root.
recipe_finish() {
    local tree=$1
    mkdir -p "$tree"/lab "$tree"/src "$tree"/build "$tree"/mnt/share
    echo 'guest:x:1000:1000::/home/guest:/bin/bash' >>"$tree/etc/passwd"
    echo 'guest:x:1000:' >>"$tree/etc/group"
    echo 'guest:*:20000:0:99999:7:::' >>"$tree/etc/shadow"
    install -d -o 1000 -g 1000 "$tree/home/guest"
    ln -sf /proc/self/mounts "$tree/etc/mtab"
    echo vfsdax-guest >"$tree/etc/hostname"
    printf '127.0.0.1 localhost vfsdax-guest\n' >"$tree/etc/hosts"
    printf 'user_allow_other\n' >"$tree/etc/fuse.conf"
    rm -rf "$tree"/var/cache/apt/* "$tree"/var/lib/apt/lists/* "$tree"/var/cache/kernel "$tree"/var/cache/debconf/*-old
    rm -rf "$tree"/var/log/* "$tree"/usr/share/{man,info,locale,lintian} "$tree"/usr/sbin/policy-rc.d
    mkdir -p "$tree"/var/cache/apt/archives/partial "$tree"/var/lib/apt/lists/partial
}

# recipe_image TREE IMAGE: the tree as an ext4 disk. The cloud kernel has NVMe and ext4 built in, so a guest boots from it
# without an initrd; and a root that is no virtio-fs leaves the function under test the only one in the guest.
recipe_image() {
    local tree=$1 image=$2
    recipe_mke2fs "$tree" -N 131072 -d "$tree" "$image" "$RECIPE_DISK_SIZE"
}

# recipe_mke2fs TREE ARGS: the tree's own mke2fs. No journal: a guest's disk is thrown away.
recipe_mke2fs() {
    local tree=$1
    shift
    "$tree/lib64/ld-linux-x86-64.so.2" --inhibit-cache --library-path "$tree/usr/lib/x86_64-linux-gnu" \
        "$tree/usr/sbin/mke2fs" -q -F -t ext4 -b 4096 -O ^has_journal,^resize_inode -m 0 \
        -E lazy_itable_init=1,root_owner=0:0,nodiscard "$@"
}
