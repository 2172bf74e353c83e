#!/bin/sh
# A real Prometheus, with the files of examples/monitoring, scrapes a client: see check.py.
# Usage: tests/monitoring/test.sh [PREFIX]     PREFIX is where `make install PREFIX=...` went; target/capi by default
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
prefix=${1:-$root/target/capi}
. "$root/scripts/installed.sh"

PATH=$PATH:$root/target/prometheus/usr/bin
export PATH PYTHONDONTWRITEBYTECODE=1
"$root/scripts/setup.sh" monitoring
exec python3 "$here/check.py"
