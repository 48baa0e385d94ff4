#!/bin/sh
# Installs the C library: headers, libraries, causalclipseg.pc for pkg-config, a package for CMake.
#
# usage: packaging/install.sh BUILT PREFIX
#   BUILT    the folder with libcausalclipseg.so or libcausalclipseg.a, such as target/device
#   PREFIX   gets include/, lib/, lib/pkgconfig/ and lib/cmake/; an absolute path, such as /usr/local
#   DESTDIR  in the environment: prepended to PREFIX for copying, but not in the installed files' contents
#   LIBDIR   in the environment: a folder below PREFIX in place of lib, such as lib/x86_64-linux-gnu
set -eu

fail() {
    echo "error: $1" >&2
    exit 1
}

[ $# -eq 2 ] || fail "give where the library was built and where to install it: install.sh target/device /usr/local"
built=$1
prefix=${2%/}
libdir=${LIBDIR:-lib}
case $prefix in
/*) ;;
*) fail "$2 is not an absolute path, which programs need to find it from any folder: give one that begins with /" ;;
esac
case $libdir in
/* | *..* | */) fail "LIBDIR is $libdir: give a folder below $prefix, such as lib/x86_64-linux-gnu" ;;
esac
here=$(cd "$(dirname "$0")" && pwd)
include=$here/../include
abi=$(sed -n 's/^#define CCS_ABI_VERSION \([0-9]*\).*/\1/p' "$include/causalclipseg.h")
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$here/../Cargo.toml" | head -n 1)
[ -n "$abi" ] && [ -n "$version" ] || fail "the header or Cargo.toml beside this script has no version: check out the complete repository"
shared=$built/libcausalclipseg.so
static=$built/libcausalclipseg.a
[ -f "$shared" ] || [ -f "$static" ] ||
    fail "$built holds no libcausalclipseg: build it as docs/embedding.md says, or name another folder"
if [ -f "$shared" ] && command -v readelf >/dev/null; then
    soname=$(readelf -dW "$shared" | sed -n 's/.*(SONAME).*\[\(.*\)\]/\1/p')
    [ "$soname" = "libcausalclipseg.so.$abi" ] ||
        fail "$shared is of interface ${soname:-unknown}, and the header of $abi: build the library from this checkout"
fi

root=${DESTDIR:-}$prefix
lib=$root/$libdir
mkdir -p "$root/include" "$lib/pkgconfig" "$lib/cmake/causalclipseg"
cp "$include/causalclipseg.h" "$include/causalclipseg.hpp" "$root/include/"
if [ -f "$static" ]; then
    cp "$static" "$lib/"
fi
if [ -f "$shared" ]; then
    # Named by its interface number: programs built with an older header keep the library that they were linked with. Copied under a
    # temporary name and renamed, since a running program has the old file mapped.
    cp "$shared" "$lib/.libcausalclipseg.so.$abi.new"
    mv -f "$lib/.libcausalclipseg.so.$abi.new" "$lib/libcausalclipseg.so.$abi"
    ln -sf "libcausalclipseg.so.$abi" "$lib/libcausalclipseg.so"
fi
# From the CMake package up to the prefix.
up=$(echo "$libdir/cmake/causalclipseg" | sed 's|[^/][^/]*|..|g')
fill() {
    sed -e "s|@PREFIX@|$prefix|" -e "s|@LIBDIR@|$libdir|" -e "s|@VERSION@|$version|" -e "s|@ABI@|$abi|" -e "s|@UP@|$up|" \
        "$here/$1.in" >"$2/$1"
}
fill causalclipseg.pc "$lib/pkgconfig"
fill causalclipsegConfig.cmake "$lib/cmake/causalclipseg"
fill causalclipsegConfigVersion.cmake "$lib/cmake/causalclipseg"
echo "causalclipseg $version, interface $abi, installed below $root"
