#!/bin/sh
# Installs what deploy/debian-packages.txt lists and this machine lacks. Does nothing where all is there, and says what to
# do where it cannot: not Debian, or neither root nor sudo.
set -eu
list=$(dirname "$0")/debian-packages.txt

missing=
for package in $(grep -v '^#' "$list"); do
        status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
        [ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null; then
        echo "not a Debian system: install the equivalents of these packages yourself:$missing" >&2
        exit 1
fi
as_root=
if [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo >/dev/null; then
                echo "neither root nor sudo here; as root run: apt-get install$missing" >&2
                exit 1
        fi
        as_root="sudo"
fi
echo "installing:$missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { $as_root env DEBIAN_FRONTEND=noninteractive apt-get update &&
        $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing; } >"$log" 2>&1; then
        tail -20 "$log" >&2
        exit 1
fi
