#!/bin/sh
# Installs what a make target needs and this machine lacks, from Debian's or Ubuntu's packages.
# Usage: scripts/setup.sh demo|test|hosts|foreign|bench|monitoring|deploy|dashboard|fuzz
set -eu

missing=  # to be installed
unpacked= # to be unpacked below target/, where it does nothing but lie there
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
    # Tests send signals with its kill.
    need procps test -x /bin/kill
    need redis-server redis-server --version
    # Debian does not put initdb on the path.
    need postgresql sh -c 'command -v initdb || ls /usr/lib/postgresql/*/bin/initdb'
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
monitoring)
    need python3 python3 --version
    # Installed, it would be a service that runs from now on and after every boot.
    prometheus --version >/dev/null 2>&1 || unpacked=prometheus
    ;;
deploy)
    need python3 python3 --version
    need python3-venv python3 -c 'import ensurepip'
    need nodejs node --version
    need npm npm --version
    # Only the program that verifies units; nothing of it is started.
    need systemd systemd-analyze --version
    # Units reload with its kill.
    need procps test -x /bin/kill
    ;;
dashboard)
    need python3 python3 --version
    need python3-venv python3 -c 'import ensurepip'
    need nodejs node --version
    need npm npm --version
    need chromium test -x /usr/bin/chromium
    ;;
foreign)
    need python3 python3 --version
    need python3-venv python3 -c 'import ensurepip'
    need nodejs node --version
    need npm npm --version
    ;;
bench)
    need python3 python3 --version
    need python3-venv python3 -c 'import ensurepip'
    need nodejs node --version
    need npm npm --version
    # zlib-sync is compiled.
    need g++ g++ --version
    need make make --version
    ;;
esac
[ -n "$missing$unpacked" ] || exit 0

echo "Missing on this machine:$missing $unpacked"
if ! command -v apt-get >/dev/null 2>&1; then
    echo "Install them with this system's package manager, then run this again." >&2
    exit 1
fi
sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
echo "Getting them with apt-get."
export DEBIAN_FRONTEND=noninteractive
# Another apt-get may be at work; the lists may be empty on a fresh machine, and need not be new on
# another.
install="$sudo apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends"
# shellcheck disable=SC2086
[ -z "$missing" ] || $install $missing >/dev/null 2>&1 || {
    $sudo apt-get -o DPkg::Lock::Timeout=300 update
    $install $missing
}
root=$(cd "$(dirname "$0")/.." && pwd)
for package in $unpacked; do
    folder=$root/target/$package
    rm -rf "$folder"
    mkdir -p "$folder"
    cd "$folder"
    apt-get download "$package" >/dev/null 2>&1 || {
        $sudo apt-get -o DPkg::Lock::Timeout=300 update
        apt-get download "$package"
    }
    dpkg-deb --extract "$package"_*.deb .
    rm "$package"_*.deb
done
