#!/bin/sh
# Checks a built shared library of any processor: its soname has the interface's number, its stack is not executable, no code is
# relocated, and it exports the functions of the header and nothing else.
#
# usage: packaging/check-library.sh FILE
#   FILE   a libcausalclipseg.so, such as target/aarch64-unknown-linux-gnu/device/libcausalclipseg.so
# Needs readelf, which reads files of every processor. Prints every fault; the exit status is 1 if there is one.
set -eu

fail() {
    echo "error: $1" >&2
    exit 1
}

[ $# -eq 1 ] || fail "give one shared library: check-library.sh target/device/libcausalclipseg.so"
library=$1
here=$(cd "$(dirname "$0")" && pwd)
header=$here/../include/causalclipseg.h
command -v readelf >/dev/null || fail "readelf is not installed: install binutils"
machine=$(readelf -hW "$library" 2>/dev/null | sed -n 's/.*Machine: *//p')
[ -n "$machine" ] || fail "$library is not an ELF file: give a libcausalclipseg.so"

faults=0
fault() {
    echo "fault: $1" >&2
    faults=$((faults + 1))
}

abi=$(sed -n 's/^#define CCS_ABI_VERSION \([0-9]*\).*/\1/p' "$header")
soname=$(readelf -dW "$library" | sed -n 's/.*(SONAME).*\[\(.*\)\]/\1/p')
[ "$soname" = "libcausalclipseg.so.$abi" ] || fault "the soname is ${soname:-missing}, not libcausalclipseg.so.$abi"

stack=$(readelf -lW "$library" | awk '$1 == "GNU_STACK" { print $(NF - 1) }')
case $stack in
'') fault "there is no GNU_STACK, which some systems take for an executable stack" ;;
*E*) fault "the stack is executable ($stack)" ;;
esac
if readelf -dW "$library" | grep -q '(TEXTREL)'; then
    fault "code is relocated (TEXTREL), which needs writable code"
fi

# Symbols that others can link: defined, and not local. A symbol's version is no part of its name.
exported=$(readelf --dyn-syms -W "$library" |
    awk 'NF == 8 && $5 != "LOCAL" && $7 != "UND" && $7 != "Ndx" { sub(/@.*/, "", $8); print $8 }')
functions=$(sed -n 's/^[a-z][a-z0-9_ ]*[ *]\(ccs_[a-z0-9_]*\)(.*/\1/p' "$header" | sort -u)
for name in $exported; do
    echo "$functions" | grep -qx "$name" || fault "$name is exported, and the header does not declare it"
done
for name in $functions; do
    echo "$exported" | grep -qx "$name" || fault "$name is declared in the header, and not exported"
done

[ $faults -eq 0 ] || exit 1
echo "$library: $machine, $soname, stack $stack, $(echo "$exported" | wc -l) functions exported"
