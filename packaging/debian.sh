#!/bin/sh
# Makes Debian packages of the built files: causalclipseg (command, manual, completions), libcausalclipsegN (the shared library of
# interface N) and libcausalclipseg-dev (headers, static library, pkg-config, CMake).
#
# usage: packaging/debian.sh COMMAND LIBRARIES OUT
#   COMMAND    the causalclipseg command, such as target/release/causalclipseg
#   LIBRARIES  the folder with libcausalclipseg.so and .a, such as target/device
#   OUT        gets the three .deb files
#   MAINTAINER, SOURCE_DATE_EPOCH in the environment: as Debian uses them
# Needs dpkg-deb, gzip and readelf. Changes nothing outside of OUT and a temporary folder.
set -eu

fail() {
    echo "error: $1" >&2
    exit 1
}

[ $# -eq 3 ] || fail "give the command, the folder of the libraries and where the packages go: debian.sh target/release/causalclipseg target/device out"
command=$1
libraries=$2
out=$3
here=$(cd "$(dirname "$0")" && pwd)
for tool in dpkg dpkg-deb gzip readelf; do
    command -v "$tool" >/dev/null || fail "$tool is not installed: install dpkg, gzip and binutils"
done
[ -x "$command" ] || fail "$command is not an executable file: build it with cargo build --release"
[ -f "$libraries/libcausalclipseg.so" ] ||
    fail "$libraries has no libcausalclipseg.so: build it with cargo build -p causalclipseg-capi --profile device"

version=$("$command" --version | awk '{print $2}')
abi=$(sed -n 's/^#define CCS_ABI_VERSION \([0-9]*\).*/\1/p' "$here/../include/causalclipseg.h")
arch=$(dpkg --print-architecture)
case $(readelf -hW "$command" | sed -n 's/.*Machine: *//p') in
*X86-64*) arch=amd64 multiarch=x86_64-linux-gnu ;;
AArch64*) arch=arm64 multiarch=aarch64-linux-gnu ;;
*) multiarch=$(dpkg-architecture -qDEB_HOST_MULTIARCH 2>/dev/null || echo "$arch-linux-gnu") ;;
esac
maintainer=${MAINTAINER:-the causalclipseg project <causalclipseg@example.org>}
: "${SOURCE_DATE_EPOCH:=$(git -C "$here" log -1 --format=%ct 2>/dev/null || echo 0)}"
export SOURCE_DATE_EPOCH

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"

# The newest version of the C library that these files require.
libc_of() {
    for file in "$@"; do readelf -VW "$file"; done | grep -o 'GLIBC_[0-9.]*' | sed 's/GLIBC_//' | sort -uV | tail -n 1
}

# name, section, description, dependencies
control() {
    mkdir -p "$work/$1/DEBIAN" "$work/$1/usr/share/doc/$1"
    cat >"$work/$1/DEBIAN/control" <<END
Package: $1
Source: causalclipseg
Version: $version
Architecture: $arch
Maintainer: $maintainer
Section: $2
Priority: optional
Installed-Size: 0
Depends: $4
Description: $3
 causalclipseg marks lesions in ultrasound images from a sentence that says
 what to look for, on the CPU of an ultrasound cart or a small board.
 .
 Research software; not a medical device.
END
    {
        echo "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/"
        echo
        echo "Files: *"
        echo "Copyright: $(sed -n 's/^Copyright (c) //p' "$here/../LICENSE")"
        echo "License: MIT"
        sed -n '5,$p' "$here/../LICENSE" | sed -e 's/^$/./' -e 's/^/ /'
    } >"$work/$1/usr/share/doc/$1/copyright"
    gzip -9n <"$here/../CHANGELOG.md" >"$work/$1/usr/share/doc/$1/changelog.gz"
}

finish() {
    (
        cd "$work/$1"
        find . -type d -exec chmod 755 {} +
        find . -type f ! -path './usr/bin/*' -exec chmod 644 {} +
        size=$(du -sk --exclude=DEBIAN . | cut -f 1)
        sed -i "s/^Installed-Size: .*/Installed-Size: $size/" DEBIAN/control
        find . -type f ! -path './DEBIAN/*' -printf '%P\n' | LC_ALL=C sort | xargs md5sum >DEBIAN/md5sums
        find . -newermt "@$SOURCE_DATE_EPOCH" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
    )
    dpkg-deb --build --root-owner-group -Zxz "$work/$1" "$out/${1}_${version}_$arch.deb" >/dev/null
    echo "$out/${1}_${version}_$arch.deb"
}

# Installs the library with install.sh, then moves its files to the packages.
DESTDIR=$work/stage LIBDIR=lib/$multiarch "$here/install.sh" "$libraries" /usr >/dev/null
lib=usr/lib/$multiarch
runtime=libcausalclipseg$abi
control "$runtime" libs "text-prompted lesion segmentation (shared library)" \
    "libc6 (>= $(libc_of "$libraries/libcausalclipseg.so")), libgcc-s1"
mkdir -p "$work/$runtime/$lib"
mv "$work/stage/$lib/libcausalclipseg.so.$abi" "$work/$runtime/$lib/"
echo "libcausalclipseg $abi $runtime (>= $version)" >"$work/$runtime/DEBIAN/shlibs"
echo "activate-noawait ldconfig" >"$work/$runtime/DEBIAN/triggers"
echo "Multi-Arch: same" >>"$work/$runtime/DEBIAN/control"
finish "$runtime"

control libcausalclipseg-dev libdevel "text-prompted lesion segmentation (development files)" "$runtime (= $version), libc6-dev"
cp -a "$work/stage/usr" "$work/libcausalclipseg-dev/"
finish libcausalclipseg-dev

control causalclipseg science "text-prompted lesion segmentation (command)" "libc6 (>= $(libc_of "$command")), libgcc-s1"
tree=$work/causalclipseg/usr
mkdir -p "$tree/bin" "$tree/share/man/man1" "$tree/share/bash-completion/completions" \
    "$tree/share/zsh/vendor-completions" "$tree/share/fish/vendor_completions.d"
cp "$command" "$tree/bin/causalclipseg"
chmod 755 "$tree/bin/causalclipseg"
"$command" completions bash >"$tree/share/bash-completion/completions/causalclipseg"
"$command" completions zsh >"$tree/share/zsh/vendor-completions/_causalclipseg"
"$command" completions fish >"$tree/share/fish/vendor_completions.d/causalclipseg.fish"
"$command" man | gzip -9n >"$tree/share/man/man1/causalclipseg.1.gz"
for name in $("$command" --help | sed -n '/^Commands:/,/^$/s/^  \([a-z][a-z-]*\) .*/\1/p'); do
    [ "$name" = help ] || "$command" man "$name" | gzip -9n >"$tree/share/man/man1/causalclipseg-$name.1.gz"
done
finish causalclipseg
