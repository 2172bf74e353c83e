#!/bin/sh
# Every check of the Python package, in a fresh virtual environment that is removed afterwards.
#
# Takes the library and the simulator from target/release, or from SHARDWRIGHT_LIBRARY and
# SHARDWRIGHT_PROGRAM. PYTHON names another interpreter. At the end cargo builds the library once more, as it
# does for who installs from a checkout: a minute or two the first time.
set -eu
cd "$(dirname "$0")"
root=$(cd ../.. && pwd)
: "${SHARDWRIGHT_LIBRARY:=$root/target/release/libshardwright.so}"
: "${SHARDWRIGHT_PROGRAM:=$root/target/release/shardwright}"
export SHARDWRIGHT_LIBRARY SHARDWRIGHT_PROGRAM
for file in "$SHARDWRIGHT_LIBRARY" "$SHARDWRIGHT_PROGRAM"; do
    [ -f "$file" ] || { echo "$file is missing; run \`make build\` first" >&2; exit 1; }
done

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM
"${PYTHON:-python3}" -m venv "$folder/venv"
PATH="$folder/venv/bin:$PATH"
export PYTHONDONTWRITEBYTECODE=1 MYPY_CACHE_DIR="$folder/mypy" RUFF_CACHE_DIR="$folder/ruff"

echo "== Python: the wheel"
pip install --quiet --disable-pip-version-check build pytest orjson uvloop mypy ruff auditwheel twine
python -m build --quiet --wheel --no-isolation --outdir "$folder/dist" .
pip install --quiet --disable-pip-version-check "$folder"/dist/*.whl
auditwheel show "$folder"/dist/*.whl | tee "$folder/auditwheel"
# What auditwheel finds is what the name says.
tag=$(sed -n 's/^with the following platform tag: "\(.*\)"\.$/\1/p' "$folder/auditwheel")
[ -f "$folder"/dist/*-"$tag".whl ] || { echo "the wheel is tagged wrongly, auditwheel says $tag" >&2; exit 1; }
twine check --strict "$folder"/dist/*.whl

echo "== Python: format, lints, types"
ruff format --quiet --check . ../../examples/python ../../examples/deploy
ruff check --quiet . ../../examples/python ../../examples/deploy
mypy

echo "== Python: tests"
# The library that is inside the wheel, not the one it was made from.
unset SHARDWRIGHT_LIBRARY
SHARDWRIGHT_WHEEL=1 pytest -p no:cacheprovider
echo "== Python: tests, without orjson"
pip uninstall --quiet --yes orjson
SHARDWRIGHT_WHEEL=1 pytest -p no:cacheprovider tests/test_bot.py tests/test_blocking.py
echo "== Python: pip install from the checkout, as the guide says"
"${PYTHON:-python3}" -m venv "$folder/fresh"
"$folder/fresh/bin/pip" install --quiet --disable-pip-version-check "$root/bindings/python"
"$folder/fresh/bin/pip" install --quiet --disable-pip-version-check pytest
SHARDWRIGHT_WHEEL=1 "$folder/fresh/bin/pytest" -p no:cacheprovider tests/test_docs.py -k ping_bot.py
