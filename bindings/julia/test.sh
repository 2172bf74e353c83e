#!/bin/sh
# Every check of the Julia package: Pkg.test(), in a fresh depot that is removed afterwards.
#
# Takes the library and the simulator from target/release, or from SHARDWRIGHT_LIBRARY and
# SHARDWRIGHT_PROGRAM. Arguments are the test files to run (`header life`), all without.
set -eu
cd "$(dirname "$0")"
root=$(cd ../.. && pwd)
: "${SHARDWRIGHT_LIBRARY:=$root/target/release/libshardwright.so}"
: "${SHARDWRIGHT_PROGRAM:=$root/target/release/shardwright}"
export SHARDWRIGHT_LIBRARY SHARDWRIGHT_PROGRAM
for file in "$SHARDWRIGHT_LIBRARY" "$SHARDWRIGHT_PROGRAM"; do
    [ -f "$file" ] || { echo "$file is missing; run \`make build\` first" >&2; exit 1; }
done

depot=$(mktemp -d)
trap 'rm -rf "$depot"' EXIT
trap 'exit 1' INT TERM
cp -r Shardwright "$depot/" # Pkg writes a manifest beside the project
export JULIA_DEPOT_PATH="$depot/depot" JULIA_PKG_SERVER='' JULIA_LOAD_PATH=@:@stdlib
export SHARDWRIGHT_REPOSITORY="$root"

echo "== Julia: tests"
# The package needs the standard library only, so no registry has to be fetched.
"$root/scripts/julia.sh" --project="$depot/Shardwright" --startup-file=no -e '
    using Pkg
    registries = isdefined(Pkg, :Registry) ? Pkg.Registry : Pkg.Types
    isdefined(registries, :DEFAULT_REGISTRIES) && empty!(registries.DEFAULT_REGISTRIES)
    isdefined(Pkg.Types, :DEFAULT_REGISTRIES) && empty!(Pkg.Types.DEFAULT_REGISTRIES)
    Pkg.test(test_args = ARGS)' "$@"
