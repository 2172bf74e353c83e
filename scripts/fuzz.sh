#!/bin/sh
# Fuzzes each target of fuzz/ for so many seconds, one after another, and says every half minute how it
# goes. Ends at the first find.
#
# Usage: scripts/fuzz.sh run SECONDS [TARGET...]
#        scripts/fuzz.sh keep [TARGET...]   add to fuzz/corpus what reached something new
#
# The work is kept below target/fuzz and goes on from there the next time.
set -eu
cd "$(dirname "$0")/.."

# The sanitizer's flag is an unstable one, its runtime is part of every Rust.
export RUSTC_BOOTSTRAP=1
flags="-max_len=4096 -timeout=60 -rss_limit_mb=4096"

mode=$1
shift
seconds=0
if [ "$mode" = run ]; then
    seconds=$1
    shift
fi
if ! cargo fuzz --version >/dev/null 2>&1; then
    echo "Installing cargo-fuzz"
    cargo install --locked --quiet cargo-fuzz
fi
# shellcheck disable=SC2046
[ $# -gt 0 ] || set -- $(cargo fuzz list)
echo "Building the targets (the first time takes some minutes)"
cargo fuzz build 2>/dev/null || cargo fuzz build

run() { # run TARGET: one campaign in the background, its last words in the foreground
    log=target/fuzz/$1.log
    # shellcheck disable=SC2086
    cargo fuzz run "$1" "target/fuzz/$1" "fuzz/corpus/$1" -- $flags -dict=fuzz/words.dict \
        -max_total_time="$seconds" -print_final_stats=1 >"$log" 2>&1 &
    fuzzer=$!
    trap 'kill $fuzzer 2>/dev/null' EXIT
    waited=0
    while kill -0 $fuzzer 2>/dev/null; do
        sleep 1
        waited=$((waited + 1))
        if [ $((waited % 30)) -eq 0 ]; then
            echo "   $waited s: $(grep -a '^#' "$log" | tail -n 1 | sed 's/ lim:.*exec/ exec/; s/ L:.*//')"
        fi
    done
    trap - EXIT
    if ! wait $fuzzer; then
        grep -a -A 2 'panicked at\|ERROR:' "$log" | head -n 8 >&2
        echo "$1 fell. Its input is in fuzz/artifacts/$1; all it said is in $log." >&2
        exit 1
    fi
    grep -a 'cov:' "$log" | tail -n 1
}

for target; do
    mkdir -p "target/fuzz/$target"
    case $mode in
    run)
        echo "== $target: $seconds s"
        run "$target"
        ;;
    keep)
        # Without counters: what reached another place, not what reached it more often.
        # shellcheck disable=SC2086
        cargo fuzz run "$target" "fuzz/corpus/$target" "target/fuzz/$target" -- \
            $flags -set_cover_merge=1 -use_counters=0 >"target/fuzz/$target.log" 2>&1
        echo "$target: $(ls "fuzz/corpus/$target" | wc -l) inputs"
        ;;
    esac
done
