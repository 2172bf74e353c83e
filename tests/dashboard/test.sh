#!/bin/sh
# Drives the dashboard of a real cluster in Debian's Chromium, and uses its API: see run.py.
# Usage: tests/dashboard/test.sh [PREFIX]     PREFIX is where `make install PREFIX=...` went; target/capi by default
#
# Playwright, axe and what the programs need are installed below target/dashboard, once, from npm and PyPI.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
prefix=${1:-$root/target/capi}
. "$root/scripts/installed.sh"
"$root/scripts/setup.sh" dashboard

folder=$root/target/dashboard
mkdir -p "$folder"
. "$root/scripts/tools.sh"
tools "$here" "$folder"

PYTHONDONTWRITEBYTECODE=1
export PYTHONDONTWRITEBYTECODE
exec "$folder/venv/bin/python" "$here/run.py" "$folder/node/node_modules" "$prefix"
