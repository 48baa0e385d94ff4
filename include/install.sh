#!/bin/sh
# Installs the C library: headers, libraries, and causalclipseg.pc for pkg-config.
#
# usage: include/install.sh BUILT PREFIX
#   BUILT    where cargo left libcausalclipseg.so or libcausalclipseg.a, such as target/device
#   PREFIX   gets include/, lib/ and lib/pkgconfig/; an absolute path, such as /usr/local
#   DESTDIR  in the environment: put before PREFIX where files are copied to, and not into what they say
set -eu

fail() {
    echo "error: $1" >&2
    exit 1
}

[ $# -eq 2 ] || fail "give where the library was built and where to install it: install.sh target/device /usr/local"
built=$1
prefix=${2%/}
case $prefix in
/*) ;;
*) fail "$2 is no absolute path, and programs look for it from anywhere: give one that begins with /" ;;
esac
here=$(dirname "$0")
abi=$(sed -n 's/^#define CCS_ABI_VERSION \([0-9]*\).*/\1/p' "$here/causalclipseg.h")
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$here/../Cargo.toml" | head -n 1)
[ -n "$abi" ] && [ -n "$version" ] || fail "the header or Cargo.toml beside this script names no version: check it out whole"
[ -f "$built/libcausalclipseg.so" ] || [ -f "$built/libcausalclipseg.a" ] ||
    fail "$built holds no libcausalclipseg: build it as docs/embedding.md says, or name another folder"

root=${DESTDIR:-}$prefix
mkdir -p "$root/include" "$root/lib/pkgconfig"
cp "$here/causalclipseg.h" "$here/causalclipseg.hpp" "$root/include/"
if [ -f "$built/libcausalclipseg.a" ]; then
    cp "$built/libcausalclipseg.a" "$root/lib/"
fi
if [ -f "$built/libcausalclipseg.so" ]; then
    # By the number of its interface: programs built with an older header keep the library that they were linked with.
    cp "$built/libcausalclipseg.so" "$root/lib/libcausalclipseg.so.$abi"
    ln -sf "libcausalclipseg.so.$abi" "$root/lib/libcausalclipseg.so"
fi
sed -e "s|@PREFIX@|$prefix|" -e "s|@VERSION@|$version|" "$here/causalclipseg.pc.in" \
    >"$root/lib/pkgconfig/causalclipseg.pc"
echo "causalclipseg $version installed below $root"
