#!/bin/sh
# Drives the dashboard that the environment names (see page.test.mjs and frames.test.mjs) in Debian's Chromium.
# Usage: DASHBOARD_URL=… tests/dashboard/run.sh [FILE…]     page.test.mjs by default
#
# Playwright and axe are installed below target/dashboard, once, from npm; pictures go there, too.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
"$root/scripts/setup.sh" dashboard

folder=$root/target/dashboard
mkdir -p "$folder/node"
cmp -s "$here/package-lock.json" "$folder/installed-package-lock.json" || {
    cp "$here/package.json" "$here/package-lock.json" "$here/.npmrc" "$folder/node" &&
        (cd "$folder/node" && npm ci --ignore-scripts --no-audit --no-fund) &&
        cp "$here/package-lock.json" "$folder/installed-package-lock.json"
} >"$folder/log" 2>&1 || {
    sed 's/^/    /' "$folder/log" >&2
    echo "the tools of tests/dashboard cannot be installed" >&2
    exit 1
}

cp "$here"/*.mjs "$folder/node"
SCREENSHOTS=$folder
export SCREENSHOTS
cd "$folder/node"
[ $# -gt 0 ] || set -- page.test.mjs
exec node --test --test-reporter=spec "$@"
