#!/bin/sh
# Installs what a make target needs and this machine lacks, from Debian's or Ubuntu's packages.
# Usage: scripts/setup.sh demo|test|hosts|foreign|fuzz
set -eu

missing=
need() { # need PACKAGE COMMAND...: the package is missing when the command fails
    package=$1
    shift
    "$@" >/dev/null 2>&1 || missing="$missing $package"
}

if ! command -v cargo >/dev/null 2>&1; then
    echo "Rust is missing. Install it from https://rustup.rs, then run this again." >&2
    exit 1
fi

need gcc gcc --version
need pkg-config pkg-config --version
case ${1:-demo} in
test)
    need g++ g++ --version
    need binutils nm --version
    need valgrind valgrind --version
    need python3 python3 --version
    need python3-venv python3 -c 'import ensurepip'
    if ! cargo fmt --version >/dev/null 2>&1 || ! cargo clippy --version >/dev/null 2>&1; then
        echo "Adding rustfmt and clippy to this Rust."
        rustup component add rustfmt clippy
    fi
    ;;
fuzz)
    need g++ g++ --version
    ;;
hosts)
    need make make --version
    need libuv1-dev pkg-config --exists libuv
    need cmake cmake --version
    need nodejs node --version
    need npm npm --version
    need luajit luajit -v
    need ruby ruby -rfiddle -rjson -e ''
    need libffi-platypus-perl perl -MFFI::Platypus -MJSON::PP -e ''
    need golang-go go version
    need mono-mcs mcs --version
    need mono-runtime mono --version
    need libmono-posix4.0-cil test -e /usr/lib/mono/4.5/Mono.Posix.dll
    ;;
foreign)
    need python3 python3 --version
    need python3-venv python3 -c 'import ensurepip'
    need nodejs node --version
    need npm npm --version
    ;;
esac
[ -n "$missing" ] || exit 0

echo "Missing on this machine:$missing"
if ! command -v apt-get >/dev/null 2>&1; then
    echo "Install them with this system's package manager, then run this again." >&2
    exit 1
fi
sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
echo "Installing them with apt-get."
export DEBIAN_FRONTEND=noninteractive
# Another apt-get may be at work; the lists may be empty on a fresh machine, and need not be new on
# another.
install="$sudo apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends"
# shellcheck disable=SC2086
$install $missing >/dev/null 2>&1 || {
    $sudo apt-get -o DPkg::Lock::Timeout=300 update
    $install $missing
}
