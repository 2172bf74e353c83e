#!/bin/sh
# Installs what a make target needs and this machine lacks, from Debian's or Ubuntu's packages.
# Usage: scripts/setup.sh demo|test
set -eu

missing=
need() { # need COMMAND PACKAGE
    command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}

if ! command -v cargo >/dev/null 2>&1; then
    echo "Rust is missing. Install it from https://rustup.rs, then run this again." >&2
    exit 1
fi

need gcc gcc
need pkg-config pkg-config
if [ "${1:-demo}" = test ]; then
    need g++ g++
    need nm binutils
    need valgrind valgrind
    need python3 python3
    python3 -c 'import ensurepip' 2>/dev/null || missing="$missing python3-venv"
    if ! cargo fmt --version >/dev/null 2>&1 || ! cargo clippy --version >/dev/null 2>&1; then
        echo "Adding rustfmt and clippy to this Rust."
        rustup component add rustfmt clippy
    fi
fi
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
# The lists may be empty on a fresh machine, and need not be new on another.
# shellcheck disable=SC2086
$sudo apt-get install -y --no-install-recommends $missing >/dev/null 2>&1 || {
    $sudo apt-get update
    $sudo apt-get install -y --no-install-recommends $missing
}
