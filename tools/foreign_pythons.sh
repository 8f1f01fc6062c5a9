#!/bin/sh
# Debian's Python for other machines, to run under qemu-user: s390x is big-endian, armhf is a router's.
#   tools/foreign_pythons.sh FOLDER      -> FOLDER/s390x, FOLDER/armhf; nothing of the system is changed
set -eu
folder=$(realpath -m "$1")
release=$(. /etc/os-release && echo "$VERSION_CODENAME")
for machine in s390x armhf; do
	root=$folder/$machine
	[ ! -x "$root/usr/bin/python3" ] || continue
	mkdir -p "$root.apt/lists/partial" "$root.apt/cache/archives/partial" "$root.apt/etc/apt.conf.d" "$root.apt/etc/preferences.d" "$root"
	: > "$root.apt/status"
	echo "deb http://deb.debian.org/debian $release main" > "$root.apt/etc/sources.list"
	apt() {
		apt-get -qq -o APT::Architecture=$machine -o APT::Architectures=$machine -o Dir::Etc="$root.apt/etc" \
			-o Dir::Etc::Parts="$root.apt/etc/apt.conf.d" -o Dir::Etc::Trusted=/etc/apt/trusted.gpg \
			-o Dir::Etc::TrustedParts=/etc/apt/trusted.gpg.d -o Dir::State="$root.apt" -o Dir::State::Lists="$root.apt/lists" \
			-o Dir::State::status="$root.apt/status" -o Dir::Cache="$root.apt/cache" "$@"
	}
	apt update
	apt install --download-only --no-install-recommends -y python3-minimal libpython3-stdlib
	for package in "$root.apt"/cache/archives/*.deb; do dpkg-deb -x "$package" "$root"; done
	rm -r "$root.apt"
done
