#!/bin/sh
# A real Prometheus, with the files of examples/monitoring, scrapes a client: see check.py.
# Usage: tests/monitoring/test.sh [PREFIX]     PREFIX is where `make install PREFIX=...` went; target/capi by default
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
prefix=${1:-$root/target/capi}
: "${SHARDWRIGHT_LIBRARY:=$prefix/lib/libshardwright.so}"
: "${SHARDWRIGHT_PROGRAM:=$prefix/bin/shardwright}"
export SHARDWRIGHT_LIBRARY SHARDWRIGHT_PROGRAM
for file in "$SHARDWRIGHT_LIBRARY" "$SHARDWRIGHT_PROGRAM"; do
    [ -f "$file" ] || { echo "There is no $file; run \`make install PREFIX=target/capi\` first." >&2; exit 1; }
done

PATH=$PATH:$root/target/prometheus/usr/bin
export PATH PYTHONDONTWRITEBYTECODE=1
"$root/scripts/setup.sh" monitoring
exec python3 "$here/check.py"
