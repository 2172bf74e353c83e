#!/bin/sh
# Installs and builds what benches/bench.py measures, below target/bench, once.
# Usage: [QUICK=1] benches/install.sh [PREFIX]     PREFIX is where `make install PREFIX=...` went; target/capi by
# default. QUICK leaves out what takes minutes to compile: twilight and serenity.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/.." && pwd)
prefix=$(cd "${1:-$root/target/capi}" && pwd)
folder=$root/target/bench
mkdir -p "$folder/bin" "$folder/node"

installed() { # installed FILE: whether it says what was installed last
    cmp -s "$here/peers/$1" "$folder/installed-$1"
}

failed() { # failed WHAT
    sed 's/^/    /' "$folder/log" >&2
    echo "$1 cannot be installed" >&2
    exit 1
}

installed requirements.txt || {
    echo "Installing discord.py and hikari"
    {
        python3 -m venv --clear "$folder/venv" &&
            "$folder/venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/peers/requirements.txt" &&
            cp "$here/peers/requirements.txt" "$folder/installed-requirements.txt"
    } >"$folder/log" 2>&1 || failed "discord.py or hikari"
}

cp "$here/peers/discord_js_ws.mjs" "$here/peers/package.json" "$folder/node"
installed package.json || {
    echo "Installing @discordjs/ws"
    # Only zlib-sync is to run its script: it is compiled, with Debian's headers of Node.js where they are.
    [ ! -f /usr/include/node/node.h ] || export npm_config_nodedir=/usr
    {
        (cd "$folder/node" &&
            npm install --ignore-scripts --no-audit --no-fund --no-package-lock &&
            npm rebuild --foreground-scripts zlib-sync &&
            node -e 'require("zlib-sync").Inflate') &&
            cp "$here/peers/package.json" "$folder/installed-package.json"
    } >"$folder/log" 2>&1 || failed "@discordjs/ws"
}

# One package at a time, so that none gets the features of another; line by line, as cargo has them built.
build() { # build PROGRAM PACKAGE [ARGUMENT...]
    program=$1
    package=shardwright-bench-$2
    shift 2
    [ -f "$folder/bin/$program" ] || echo "Building $program (the first time takes some minutes)"
    cargo build --quiet --release --locked --manifest-path "$here/peers/Cargo.toml" --target-dir "$folder/peers" \
        --package "$package" "$@"
    cp "$folder/peers/release/$package" "$folder/bin/$program"
}
build reference reference
if [ -z "${QUICK:-}" ]; then
    # Twilight's compression is a feature.
    build twilight-none twilight
    build twilight-zlib twilight --features zlib
    build twilight-zstd twilight --features zstd
    build serenity serenity
    build twilight-fleet-none twilight-fleet
    build twilight-fleet-zlib twilight-fleet --features zlib
    build twilight-fleet-zstd twilight-fleet --features zstd
fi

for host in host fleet; do
    cc -O2 -std=c11 -D_DEFAULT_SOURCE -Wall -Wextra -pedantic -Werror "-I$prefix/include" "$here/hosts/$host.c" \
        -o "$folder/bin/$host" "-L$prefix/lib" "-Wl,-rpath,$prefix/lib" -lshardwright
done
