# Sourced by tests of what `make install PREFIX=$prefix` installed: exports where its library and its program are,
# unless SHARDWRIGHT_LIBRARY and SHARDWRIGHT_PROGRAM name others, and ends with an error when they are not there.
: "${SHARDWRIGHT_LIBRARY:=$prefix/lib/libshardwright.so}"
: "${SHARDWRIGHT_PROGRAM:=$prefix/bin/shardwright}"
export SHARDWRIGHT_LIBRARY SHARDWRIGHT_PROGRAM
for file in "$SHARDWRIGHT_LIBRARY" "$SHARDWRIGHT_PROGRAM"; do
    [ -f "$file" ] || { echo "There is no $file; run \`make install PREFIX=target/capi\` first." >&2; exit 1; }
done
