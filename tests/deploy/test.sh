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
mkdir -p "$folder"
. "$root/scripts/tools.sh"
tools "$here" "$folder"

PYTHONDONTWRITEBYTECODE=1
export PYTHONDONTWRITEBYTECODE
exec "$folder/venv/bin/python" "$here/check.py" "$folder/node/node_modules/.bin/pm2"
