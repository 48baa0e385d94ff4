#!/bin/bash
# Installs the packages of debian.sh into a clean Debian and uses them there: the command segments and verifies, a C program that was
# built against the -dev package runs, an upgrade to the same version works, and a removal leaves no files.
#
# usage: packaging/try-debian.sh DEBS [SUITE]
#   DEBS    the folder with the three .deb files
#   SUITE   a Debian release, bookworm by default
#   ROOT    in the environment: an unpacked clean root to copy instead of one that debootstrap makes
# Needs root, debootstrap and a mirror, or ROOT.
set -euo pipefail

fail() {
    echo "error: $1" >&2
    exit 1
}

[ $# -ge 1 ] || fail "give the folder with the packages: try-debian.sh out"
debs=$(cd "$1" && pwd)
suite=${2:-bookworm}
here=$(cd "$(dirname "$0")/.." && pwd)
[ "$(id -u)" = 0 ] || fail "installing into a separate root directory needs root: run it as root"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
if [ -n "${ROOT:-}" ]; then
    cp -a "$ROOT" "$root"
else
    command -v debootstrap >/dev/null || fail "debootstrap is not installed: install it, or name a clean root in ROOT"
    # No device files: the root is used by chroot alone.
    debootstrap --variant=minbase "$suite" "$root" >"$work/log" 2>&1 || { tail -n 5 "$work/log" >&2; fail "debootstrap failed"; }
fi
inside() { chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C "$@"; }
step() { printf '== %s\n' "$*"; }

step "install, in any order, into $suite"
mkdir "$root/debs"
cp "$debs"/*.deb "$root/debs/"
# A minimal root lacks libc6-dev, so the -dev package is unpacked and linked outside of it.
inside sh -c 'dpkg -i /debs/causalclipseg_*.deb /debs/libcausalclipseg[0-9]*.deb'
inside sh -c 'dpkg --force-depends -i /debs/libcausalclipseg-dev_*.deb' 2>&1 | grep -v warning || true
inside dpkg -V causalclipseg

step "the command"
inside causalclipseg --version
inside causalclipseg verify
printf 'P5\n160 120\n255\n' >"$root/root/scan.pgm"
head -c 19200 /dev/zero | tr '\0' 'Z' >>"$root/root/scan.pgm"
{
    printf 'ObjectType = Image\nNDims = 2\nDimSize = 160 120\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n'
    tail -c 19200 "$root/root/scan.pgm"
} >"$root/root/scan.mha"
inside sh -c 'cd /root && causalclipseg segment scan.mha -p "a mass" -o results && ls results'
[ -f "$root/usr/share/man/man1/causalclipseg-segment.1.gz" ] || fail "a manual page is missing"
gzip -dc "$root/usr/share/man/man1/causalclipseg.1.gz" | grep -q '^\.SH' || fail "the manual page is not valid"
for file in bash-completion/completions/causalclipseg zsh/vendor-completions/_causalclipseg fish/vendor_completions.d/causalclipseg.fish; do
    grep -q segment "$root/usr/share/$file" || fail "the completions in $file are missing"
done
bash -n "$root/usr/share/bash-completion/completions/causalclipseg"

step "the library: a program that was linked with the -dev package"
lib=$(echo "$root"/usr/lib/*/libcausalclipseg.so)
PKG_CONFIG_LIBDIR=$(dirname "$lib")/pkgconfig
export PKG_CONFIG_LIBDIR PKG_CONFIG_SYSROOT_DIR=$root
# shellcheck disable=SC2046
cc "$here/examples/segment.c" $(pkg-config --cflags --libs causalclipseg) -o "$root/root/segment"
cp "$here/models/tiny.ccs" "$root/root/"
inside ldconfig -p | grep causalclipseg
inside sh -c 'cd /root && ./segment tiny.ccs scan.pgm "a mass" mask.pgm && test -s mask.pgm'

step "upgrade to the same version, and removal"
inside sh -c 'dpkg -i /debs/causalclipseg_*.deb /debs/libcausalclipseg[0-9]*.deb' >/dev/null
inside sh -c 'dpkg -r libcausalclipseg-dev && dpkg -P causalclipseg && dpkg -P $(dpkg-query -W -f "\${Package} " "libcausalclipseg[0-9]*")'
left=$(find "$root/usr" "$root/etc" -path '*doc*' -prune -o -name '*causalclipseg*' -print)
[ -z "$left" ] || fail "removed packages left $left"
step "done"
