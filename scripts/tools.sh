# Sourced by tests that need programs from PyPI and npm.

tools_failed() { # tools_failed TEST FOLDER
    sed 's/^/    /' "$2/log" >&2
    echo "the tools of $1 cannot be installed" >&2
    exit 1
}

# tools TEST FOLDER: installs what requirements.txt and package-lock.json of a test name below FOLDER/venv and
# FOLDER/node, unless that was done before.
tools() {
    cmp -s "$1/requirements.txt" "$2/installed-requirements.txt" || {
        python3 -m venv --clear "$2/venv" &&
            "$2/venv/bin/pip" install --quiet --disable-pip-version-check -r "$1/requirements.txt" &&
            cp "$1/requirements.txt" "$2/installed-requirements.txt"
    } >"$2/log" 2>&1 || tools_failed "$1" "$2"
    cmp -s "$1/package-lock.json" "$2/installed-package-lock.json" || {
        mkdir -p "$2/node" &&
            cp "$1/package.json" "$1/package-lock.json" "$2/node" &&
            (cd "$2/node" && npm ci --ignore-scripts --no-audit --no-fund) &&
            cp "$1/package-lock.json" "$2/installed-package-lock.json"
    } >"$2/log" 2>&1 || tools_failed "$1" "$2"
}
