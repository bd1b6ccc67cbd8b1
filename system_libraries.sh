#!/usr/bin/env bash
# See to shared libraries of the system that Python packages load but do not bring: install them where this may be done
# without asking (root on Debian or Ubuntu), else print the command that does and stop.
# usage: ./system_libraries.sh INTERPRETER LIBRARY...
set -euo pipefail

table="libEGL.so.1          libegl1         libglvnd
libGL.so.1           libgl1          libglvnd
libX11.so.6          libx11-6        libx11
libgomp.so.1         libgomp1        gcc-libs
libgthread-2.0.so.0  libglib2.0-0    glib2
libusb-1.0.so.0      libusb-1.0-0    libusb"

# Prints what column $1 of the table says of the missing libraries.
packages() {
    local library
    for library in $missing; do
        awk -v library="$library" -v column="$1" '$1 == library { printf "%s ", $column }' <<<"$table"
    done
}

# Packages for dnf and zypper may be named by what is in them.
contents() {
    local library
    for library in $missing; do printf "'%s()(64bit)' " "$library"; done
}

# Those of the libraries named that cannot be loaded. Python is asked because it looks where the packages will.
lacking() {
    "$python" -c '
import ctypes, sys
for name in sys.argv[1:]:
    try:
        ctypes.CDLL(name)
    except OSError:
        print(name)' "$@"
}

python=$1
shift
if [[ $(uname -s) != Linux ]]; then exit 0; fi # the packages for macOS need none
needed=$(lacking "$@")
if [[ -z $needed ]]; then exit 0; fi
# One command for all that may be needed later, too.
mapfile -t known < <(awk '{ print $1 }' <<<"$table")
missing=$(lacking "${known[@]}")

sudo=""
if [[ $(id -u) -ne 0 ]]; then sudo="sudo "; fi
if command -v apt-get >/dev/null; then
    read -r -a names <<<"$(packages 2)"
    if [[ -z $sudo ]]; then
        echo "installing system libraries: ${names[*]}"
        apt-get update
        DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${names[@]}"
        exit 0
    fi
    command="sudo apt-get update && sudo apt-get install -y ${names[*]}"
elif command -v dnf >/dev/null; then
    command="${sudo}dnf install $(contents)"
elif command -v zypper >/dev/null; then
    command="${sudo}zypper install $(contents)"
elif command -v pacman >/dev/null; then
    command="${sudo}pacman -S --needed $(packages 3)"
else
    command="(with the package manager of this system)"
fi
printf 'error: the system lacks libraries that OpenCV or Open3D needs: %s\ninstall them, then repeat this command:\n\n  %s\n\n' \
    "${needed//$'\n'/ }" "$command" >&2
exit 2
