#!/bin/sh
# Builds every example that is one program on the C ABI, and tries each against the simulated Discord;
# then tries what docs/c.md and docs/commands.md say.
# Usage: examples/test.sh [PREFIX]     PREFIX is where `make install PREFIX=...` went; target/capi by default
#
# What a host needs is installed by scripts/setup.sh, and with npm into a temporary directory. One line for
# each host; the exit code is 1 when one fails.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
prefix=${1:-$here/../target/capi}
[ -d "$prefix" ] || { echo "There is no $prefix; run \`make install PREFIX=$prefix\` first." >&2; exit 1; }
prefix=$(cd "$prefix" && pwd)
SHARDWRIGHT_LIBRARY=$prefix/lib/libshardwright.so
SHARDWRIGHT_PROGRAM=$prefix/bin/shardwright
PKG_CONFIG_PATH=$prefix/lib/pkgconfig${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}
export SHARDWRIGHT_LIBRARY SHARDWRIGHT_PROGRAM PKG_CONFIG_PATH

"$here/../scripts/setup.sh" hosts

# -- the hosts -----------------------------------------------------------------

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
failed=

build() { # build NAME COMMAND...: what it prints matters only when it fails
    name=$1
    shift
    ("$@") >"$work/log" 2>&1 && return # in a subshell: it may change the directory
    sed 's/^/    /' "$work/log" >&2
    echo "$name: FAILED: cannot be built" >&2
    failed="$failed $name"
    return 1
}

drive() { # drive NAME COMMAND...
    "$here/drive.py" "$@" || failed="$failed $1"
}

node_packages() {
    mkdir "$work/node" && cp "$here/node/"*.js* "$work/node" && cd "$work/node" &&
        npm ci --ignore-scripts --no-audit --no-fund
}

go_bot() {
    cd "$here/go" && test -z "$(gofmt -l .)" && go vet . &&
        go build -buildvcs=false -ldflags "-r $prefix/lib" -o "$work/go-bot" .
}

cmake_bots() {
    cmake -S "$here/cmake" -B "$work/cmake" -DCMAKE_PREFIX_PATH="$prefix" && cmake --build "$work/cmake"
}

if build c make -C "$here/c" PREFIX="$prefix" BUILD="$work/c"; then
    drive c "$work/c/ping_bot"
    drive c-libuv "$work/c/event_loop_uv"
    drive c-threads "$work/c/threads"
fi
if build cmake cmake_bots; then
    drive cmake "$work/cmake/bot"
    drive cmake-static "$work/cmake/bot_static"
fi
if build node node_packages; then drive node node "$work/node/bot.js"; fi
drive luajit luajit "$here/luajit/bot.lua"
drive ruby ruby -w "$here/ruby/bot.rb"
drive perl perl "$here/perl/bot.pl"
if build go go_bot; then drive go "$work/go-bot"; fi
if build csharp mcs -langversion:7.2 -warnaserror -r:Mono.Posix -out:"$work/bot.exe" "$here/csharp/bot.cs"; then
    drive csharp env LD_LIBRARY_PATH="$prefix/lib" mono "$work/bot.exe"
fi

# The doors for the tests of panics are not in what is shipped, neither exported nor hidden.
if nm "$prefix/lib/libshardwright.so" "$prefix/lib/libshardwright.a" 2>/dev/null | grep -E 'shard_test_|3ffi7testing'; then
    failed="$failed test-only-code"
fi

"$here/check_docs.py" "$prefix" || failed="$failed docs"

if [ -n "$failed" ]; then
    echo "Failed:$failed" >&2
    exit 1
fi
