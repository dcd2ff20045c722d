#!/bin/bash
# The Debian packages sweepd, sweep-worker and sweepctl, built on Debian 12 from this tree:
#
#   deploy/build-packages.sh OUTDIR
#
# Needs what deploy/debian/control lists under Build-Depends, and dpkg-dev; dpkg-buildpackage names what is missing. Nothing is
# written to the tree.
set -euo pipefail
[ $# -eq 1 ] && [ "${1#-}" = "$1" ] || { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }
root=$(cd "$(dirname "$0")/.." && pwd)
export PATH="/usr/sbin:/usr/bin:/sbin:/bin" LC_ALL=C.UTF-8
mkdir -p "$1"
out=$(cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# What a clone would hold: build folders and the like stay here.
if git -C "$root" rev-parse --is-inside-work-tree >/dev/null 2>&1; then
        git -C "$root" ls-files -z --cached --others --exclude-standard
else
        (cd "$root" && find . -path './build*' -prune -o \( -type f -o -type l \) -print0)
fi | (cd "$root" && while IFS= read -r -d '' path; do [ -e "$path" ] && printf '%s\0' "$path"; done) |
        tar -C "$root" --null -T - -cf - | (mkdir "$work/sweepd" && tar -C "$work/sweepd" -xf -)
cp -r "$work/sweepd/deploy/debian" "$work/sweepd/debian"

version=$(sed -n "s/^ *version: '\([^']*\)'.*/\1/p" "$root/meson.build" | head -1)
packaged=$(dpkg-parsechangelog -l "$work/sweepd/debian/changelog" -S Version)
[ "$version" = "$packaged" ] || { echo "meson.build says $version, deploy/debian/changelog $packaged" >&2; exit 1; }

cd "$work/sweepd"
DEB_BUILD_OPTIONS="noautodbgsym ${DEB_BUILD_OPTIONS:-}" dpkg-buildpackage --build=binary --unsigned-changes --no-pre-clean
mv "$work"/*.deb "$out/"
ls -l "$out"/*.deb
