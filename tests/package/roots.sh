# shellcheck shell=bash
# Chroots of Debian releases, made with debootstrap and kept in build/distros; remove that folder to make them anew.
# To be sourced in the root of the tree.
[ "$(id -u)" = 0 ] || { echo "needs root for chroots"; exit 77; }
command -v debootstrap >/dev/null || { echo "debootstrap is not installed"; exit 77; }
roots=$PWD/build/distros
mkdir -p "$roots"

# What a new installation has, and no more: $roots/SUITE.tar.
fresh_root() { # SUITE
	local dir=$roots/$1.fresh
	[ ! -e "$roots/$1.tar" ] || return 0
	rm -rf "$dir"
	debootstrap --variant=minbase "$1" "$dir" >"$dir.log" 2>&1 || { tail -n 3 "$dir.log"; return 1; }
	tar -C "$dir" -cf "$roots/$1.tar.new" . && mv "$roots/$1.tar.new" "$roots/$1.tar" && rm -rf "$dir"
}
# A new $roots/NAME like it.
unpack_root() { # SUITE NAME
	rm -rf --one-file-system "${roots:?}/$2"
	mkdir "$roots/$2"
	tar -C "$roots/$2" -xf "$roots/$1.tar"
}
# In a mount and PID name space of its own: what the command mounts or starts ends with it. (A mount point, so that what
# it runs may change its root once more. Without the mounts of other tests, whose daemons it would keep alive.)
in_root() { # NAME COMMAND
	unshare -mpf --kill-child bash -ec 'awk "\$3 ~ /^fuse/ { print \$2 }" /proc/self/mounts | xargs -r umount -l
		mount --bind "$1" "$1"
		cd "$1"
		exec chroot . bash -ec "$2"' - "$roots/$1" "mount -t proc proc /proc; $2"
}
# What git knows of the tree, as $roots/NAME/src.
copy_sources() { # NAME
	rm -rf "${roots:?}/$1/src"
	mkdir "$roots/$1/src"
	git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$roots/$1/src/"
}
