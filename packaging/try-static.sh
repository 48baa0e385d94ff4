#!/bin/bash
# Runs a static command where nothing else is: in an empty folder as the root directory, as a container from scratch has it. Its masks
# must be those of another build of the same sources, byte for byte.
#
# usage: packaging/try-static.sh STATIC OTHER
#   STATIC   the static command, such as target/x86_64-unknown-linux-musl/device/causalclipseg
#   OTHER    a command that was linked with the system's C library, such as target/release/causalclipseg
# Needs root for chroot, and readelf. Changes nothing outside of a temporary folder.
set -euo pipefail

fail() {
    echo "error: $1" >&2
    exit 1
}
step() { printf '== %s\n' "$*"; }

[ $# -eq 2 ] || fail "give the static command and another build: try-static.sh target/x86_64-unknown-linux-musl/device/causalclipseg target/release/causalclipseg"
static=$1
other=$2
here=$(cd "$(dirname "$0")/.." && pwd)
for command in "$static" "$other"; do
    [ -x "$command" ] || fail "$command is not an executable file: build it as docs/packaging.md says"
done
[ "$(id -u)" = 0 ] || fail "chroot needs root: run it as root"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
mkdir -p "$root/data"

step "the file"
if readelf -lW "$static" | grep -q 'INTERP'; then fail "$static names a program loader: it is not static"; fi
if readelf -dW "$static" | grep '(NEEDED)'; then fail "$static needs shared libraries"; fi
stack=$(readelf -lW "$static" | awk '$1 == "GNU_STACK" { print $(NF - 1) }')
case $stack in '' | *E*) fail "the stack of $static is executable (${stack:-no GNU_STACK})" ;; esac
echo "$(stat -c %s "$static") bytes, no shared libraries, stack $stack"

step "in an empty root directory: no shell, no C library, no /proc, /dev, /sys, /tmp"
cp "$static" "$root/causalclipseg"
cp "$here/docs/images/phantom.png" "$root/data/"
inside() { chroot "$root" /causalclipseg "$@"; }
inside --version
inside verify >"$work/verified" || { cat "$work/verified"; fail "verify failed"; }
tail -n 1 "$work/verified"
prompts=(-p "a nodule near the bottom of the image" -p "a mass")
inside segment /data/phantom.png "${prompts[@]}" --format mask,json,overlay -o /data/results
mkdir "$work/results"
"$other" segment "$here/docs/images/phantom.png" "${prompts[@]}" --format mask,json,overlay -o "$work/results"
count=0
for file in "$work"/results/*.png; do
    cmp "$file" "$root/data/results/$(basename "$file")" || fail "$(basename "$file") differs between the two commands"
    count=$((count + 1))
done
[ $count -ge 2 ] || fail "only $count pictures were written"
echo "$count pictures are equal, byte for byte"

step "errors, and frames on standard input"
if inside segment /data/missing.png -p x -o /data 2>"$work/errors"; then fail "a missing file is not an error"; fi
cat "$work/errors"
[ "$(wc -l <"$work/errors")" = 1 ] || fail "an error has several lines"
head -c 192000 /dev/zero | tr '\0' 'Z' | inside stream - --raw 160x120:gray8 -p "a mass" --format json >"$work/stream"
grep -o '"processed": *[0-9]*' "$work/stream" || fail "the stream has no summary"
step "done"
