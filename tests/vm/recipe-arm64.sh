# shellcheck shell=bash
# What is different about a lab whose guests are arm64 (read after recipe.sh). Its tree is the host's as before: QEMU, a cross
# compiler, and vfsdax-device for the host. The guest's root lies in it, at /guest. No program of the guest's runs before the guest does, so
# its packages are unpacked only; what their scripts would have done, as far as somebody misses it, is done here.

RECIPE_PACKAGES=(
    busybox-static kmod e2fsprogs mmdebstrap
    gcc gcc-aarch64-linux-gnu libc6-dev make cmake ninja-build pkgconf
    {libfuse3,liburing,libpci,libcmocka,libseccomp,libcap-ng}-dev{,:arm64}
    virtiofsd
)
RECIPE_BACKPORTED=(qemu-system-arm qemu-system-common qemu-system-data)
RECIPE_GUEST_PACKAGES=(
    base-files base-passwd bash coreutils dash debianutils diffutils findutils grep gzip hostname libc-bin login mawk
    mount ncurses-bin passwd perl-base sed tar util-linux
    busybox-static kmod pciutils procps strace
    attr acl e2fsprogs fio fuse3 git jq
    gcc libc6-dev make
    libfuse3-4 liburing2 libpci3 libcmocka0 libseccomp2 libcap-ng0
)

# The cross libraries are of another architecture, which dpkg must know first.
recipe_install() {
    local tree=$1
    recipe_chroot "$tree" dpkg --add-architecture arm64
    recipe_chroot "$tree" apt-get -q update
    recipe_chroot "$tree" apt-get -q -y install "${RECIPE_PACKAGES[@]}" \
        "${RECIPE_BACKPORTED[@]/%//$RECIPE_BACKPORTS}"
}

# Kernels are kernel.sh's; here the root is made for which they are.
recipe_kernel() {
    local tree=$1 include
    include=$(IFS=,; echo "${RECIPE_GUEST_PACKAGES[*]}")
    recipe_chroot "$tree" mmdebstrap --mode=root --variant=extract --architectures=arm64 --include="$include" \
        --aptopt='Acquire::Languages "none"' --aptopt='APT::Install-Recommends "false"' \
        "$RECIPE_SUITE" /guest "$(head -n 1 "$tree/etc/apt/sources.list")"
    cp "$tree/guest/usr/share/base-passwd/passwd.master" "$tree/guest/etc/passwd"
    cp "$tree/guest/usr/share/base-passwd/group.master" "$tree/guest/etc/group"
    ln -s mawk "$tree/guest/usr/bin/awk"
}

recipe_image() {
    local tree=$1 image=$2
    recipe_finish "$tree/guest"
    recipe_mke2fs "$tree" -N 131072 -d "$tree/guest" "$image" "$RECIPE_DISK_SIZE"
}
