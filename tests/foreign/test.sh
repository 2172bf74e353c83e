#!/bin/sh
# Tries the simulated Discord with other people's clients: discord.py, hikari, @discordjs/ws and twilight,
# as their registries have them and unmodified but for the base URLs. clients.py says what they go through.
# Usage: tests/foreign/test.sh [PREFIX]     PREFIX is where `make install PREFIX=...` went; target/capi by default
#
# Everything is installed below target/foreign, once. One line for each client; the exit code is 1 when one
# fails. Without its runtime a client is skipped, but with CI=true what is missing is installed.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
SHARDWRIGHT_PROGRAM=${SHARDWRIGHT_PROGRAM:-${1:-$root/target/capi}/bin/shardwright}
export SHARDWRIGHT_PROGRAM
[ -f "$SHARDWRIGHT_PROGRAM" ] || { echo "There is no $SHARDWRIGHT_PROGRAM; run \`make install PREFIX=target/capi\` first." >&2; exit 1; }
folder=$root/target/foreign
mkdir -p "$folder"

[ "${CI:-}" != true ] || "$root/scripts/setup.sh" foreign

# -- what there is -------------------------------------------------------------

if [ "${CI:-}" != true ] && ! python3 --version >/dev/null 2>&1; then
    echo "Other people's clients: skipped, this machine has no Python, which checks them" >&2
    exit 0
fi

names=
wanted() { # wanted NAME RUNTIME COMMAND...: the client is skipped when the command fails, except in CI
    name=$1
    runtime=$2
    shift 2
    if [ "${CI:-}" = true ] || "$@" >/dev/null 2>&1; then
        names="$names $name"
    else
        echo "$name: skipped, this machine has no $runtime" >&2
        return 1
    fi
}

installed() { # installed FILE: whether it says what was installed last
    cmp -s "$here/$1" "$folder/installed-$1"
}

failed() { # failed NAME...
    sed 's/^/    /' "$folder/log" >&2
    echo "$*: FAILED: cannot be installed" >&2
    exit 1
}

building=
trap 'test -z "$building" || kill "$building" 2>/dev/null || :' EXIT
trap 'exit 1' INT TERM

if wanted twilight "Rust (https://rustup.rs)" cargo --version; then
    CARGO_TARGET_DIR=$folder/twilight cargo build --quiet --locked --manifest-path "$here/twilight/Cargo.toml" &
    building=$!
fi

python=
for client in discord.py hikari; do
    if wanted "$client" "Python with venv" python3 -c 'import ensurepip'; then python=yes; fi
done
if [ -n "$python" ]; then
    installed requirements.txt || {
        python3 -m venv --clear "$folder/venv" &&
            "$folder/venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt" &&
            cp "$here/requirements.txt" "$folder/installed-requirements.txt"
    } >"$folder/log" 2>&1 || failed discord.py hikari
fi

node_18() {
    npm --version && node -e 'process.exit(parseInt(process.versions.node) < 18)'
}
if wanted @discordjs/ws "Node.js 18 with npm" node_18; then
    mkdir -p "$folder/node"
    cp "$here/package.json" "$here/discord_js_ws.mjs" "$folder/node"
    installed package.json || {
        (cd "$folder/node" && npm install --ignore-scripts --no-audit --no-fund --no-package-lock) &&
            cp "$here/package.json" "$folder/installed-package.json"
    } >"$folder/log" 2>&1 || failed @discordjs/ws
fi

if [ -n "$building" ]; then
    wait "$building" || { echo "twilight: FAILED: cannot be built" >&2; exit 1; }
    building=
fi

# -- the clients ---------------------------------------------------------------

[ -n "$names" ] || exit 0
# shellcheck disable=SC2086
exec python3 "$here/clients.py" "$folder" $names
