#!/bin/sh
# Tries the recipes of examples/deploy, as far as they run without a cluster of machines: see check.py.
# Usage: tests/deploy/test.sh [PREFIX]     PREFIX is where `make install PREFIX=...` went; target/capi by default
#
# PM2 and what reads the files are installed below target/deploy, once, from npm and PyPI.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
prefix=${1:-$root/target/capi}
. "$root/scripts/installed.sh"
"$root/scripts/setup.sh" deploy

folder=$root/target/deploy
mkdir -p "$folder/node"

installed() { # installed FILE: whether it says what was installed last
    cmp -s "$here/$1" "$folder/installed-$1"
}

failed() {
    sed 's/^/    /' "$folder/log" >&2
    echo "the tools of tests/deploy cannot be installed" >&2
    exit 1
}

installed requirements.txt || {
    python3 -m venv --clear "$folder/venv" &&
        "$folder/venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt" &&
        cp "$here/requirements.txt" "$folder/installed-requirements.txt"
} >"$folder/log" 2>&1 || failed

installed package-lock.json || {
    cp "$here/package.json" "$here/package-lock.json" "$folder/node" &&
        (cd "$folder/node" && npm ci --ignore-scripts --no-audit --no-fund) &&
        cp "$here/package-lock.json" "$folder/installed-package-lock.json"
} >"$folder/log" 2>&1 || failed

PYTHONDONTWRITEBYTECODE=1
export PYTHONDONTWRITEBYTECODE
exec "$folder/venv/bin/python" "$here/check.py" "$folder/node/node_modules/.bin/pm2"
