#!/bin/sh
# Runs Julia: `scripts/julia.sh ARGS…` is `julia ARGS…`, and installs Julia first where there is none.
#
# Debian 12 has no package of Julia, Debian 11 ("bullseye") has 1.5.3: the oldest version that the
# binding supports, and so the one to test against. It is taken from the Debian mirror this machine uses
# already, over lists and a sources file of our own, so that the machine's apt is left as it was.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
home=${CARGO_TARGET_DIR:-$root/target}/julia # what this script keeps
case $home in /*) ;; *) home=$PWD/$home ;; esac

say() { echo "julia.sh: $*" >&2; }
fail() { say "$*"; say "Or install Julia 1.5 or later by hand (https://julialang.org/downloads) so that it is on PATH."; exit 1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# Prints "[options] URI" of the first source in apt's configuration that has Debian's suite $1 and "main":
# of *.sources files (stanzas of fields) and of *.list files (a line each).
mirror_of() {
    for file in /etc/apt/sources.list.d/*.sources; do
        [ -f "$file" ] && awk -v suite="$1" '
            function finish(  options, i, n, names, found, main) {
                n = split(suites, names, " ")
                for (i = 1; i <= n; i++) if (names[i] == suite) found = 1
                main = (" " components " ") ~ / main /
                if (found && main && (" " types " ") ~ / deb / && tolower(enabled) != "no" && uri != "") {
                    if (signed ~ /^\//) options = "signed-by=" signed
                    if (tolower(trusted) == "yes") options = options (options ? " " : "") "trusted=yes"
                    print (options ? "[" options "] " : "") uri
                    done = 1; exit
                }
                types = suites = components = uri = signed = trusted = enabled = ""
            }
            /^#/ { next }
            /^[ \t]*$/ { finish(); next }
            { field = tolower($1); value = $0; sub(/^[^:]*:[ \t]*/, "", value) }
            field == "types:" { types = value }
            field == "suites:" { suites = value }
            field == "components:" { components = value }
            field == "uris:" { uri = $2 }
            field == "signed-by:" { signed = value }
            field == "trusted:" { trusted = value }
            field == "enabled:" { enabled = value }
            END { if (!done) finish() }' "$file"
    done
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ -f "$file" ] && awk -v suite="$1" '
            $1 == "deb" {
                options = ""; line = $0; sub(/^[ \t]*deb[ \t]+/, "", line)
                if (match(line, /^\[[^]]*\][ \t]+/)) {
                    options = substr(line, 1, RLENGTH); line = substr(line, RLENGTH + 1)
                }
                n = split(line, part, /[ \t]+/)
                for (i = 3; i <= n; i++) if (part[2] == suite && part[i] == "main") { print options part[1]; exit }
            }' "$file"
    done
    return 0
}

# apt-get with both suites in view, and nothing of the machine's lists or sources touched.
apt() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq \
        -o Dir::Etc::sourcelist="$home/apt/sources.list" -o Dir::Etc::sourceparts=- \
        -o Dir::State::lists="$home/apt/lists" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= \
        -o Acquire::Languages=none -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300 "$@"
}

# Reads the lists of this Debian's suite and of bullseye, once per run.
read_lists() {
    [ -z "${lists_read:-}" ] || return 0
    command -v apt-get >/dev/null 2>&1 || fail "Julia is missing, and so is apt-get."
    [ "$(id -u)" = 0 ] || command -v sudo >/dev/null 2>&1 || fail "Julia is missing; installing it needs root or sudo."
    suite=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    case $suite in
        bookworm | bullseye) ;;
        *) fail "Julia is missing, and Debian 11's package fits Debian 11 and 12, not this system (${suite:-unknown})." ;;
    esac
    source=$(mirror_of "$suite" | head -n 1)
    [ -n "$source" ] || fail "apt's sources name no mirror with \"$suite main\"."
    mkdir -p "$home/apt/lists/partial"
    printf 'deb %s %s main\n' "$source" bullseye "$source" "$suite" | sort -u >"$home/apt/sources.list"
    apt update >"$home/apt/log" 2>&1 || {
        cat "$home/apt/log" >&2
        fail "the mirror of apt's sources did not give the lists of Debian 11 (bullseye)."
    }
    lists_read=yes
}

install_julia() {
    say "installing Julia 1.5.3 from Debian 11"
    read_lists
    # This one's Pkg wants to find curl, even where there is nothing to download.
    apt install -y --no-install-recommends julia curl >"$home/apt/log" 2>&1 || {
        cat "$home/apt/log" >&2
        fail "apt-get could not install it."
    }
}

# Debian 11's libunwind, in a folder of its own. With the later one of Debian 12, this Julia crashes on every
# exception in a task.
install_libunwind() {
    say "unpacking Debian 11's libunwind beside it"
    read_lists
    version=$(apt-cache -o Dir::Etc::sourcelist="$home/apt/sources.list" -o Dir::Etc::sourceparts=- \
        -o Dir::State::lists="$home/apt/lists" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= \
        madison libunwind8 | awk -F '|' '$3 ~ / bullseye\// { gsub(/ /, "", $2); print $2; exit }')
    [ -n "$version" ] || fail "the lists of Debian 11 have no libunwind8."
    fresh=$(mktemp -d "$home/libunwind.XXXXXX")
    # Downloaded by whoever apt runs as, into a folder that must be theirs too.
    chmod 755 "$fresh"
    (cd "$fresh" && apt download "libunwind8=$version" >"$home/apt/log" 2>&1 && dpkg-deb -x ./*.deb .) || {
        cat "$home/apt/log" >&2
        rm -rf "$fresh"
        fail "could not download libunwind8 $version."
    }
    rm -f "$fresh"/*.deb
    # Whole or not at all: another run may be doing the same.
    mv -T "$fresh" "$home/libunwind" 2>/dev/null || rm -rf "$fresh"
}

command -v julia >/dev/null 2>&1 || install_julia

julia=$(command -v julia)
if [ "$(readlink -f "$julia")" = /usr/bin/julia ] && grep -qs '^VERSION_CODENAME=bookworm' /etc/os-release; then
    [ -d "$home/libunwind" ] || install_libunwind
    libraries=$(dirname "$(find "$home/libunwind/usr/lib" -name 'libunwind.so.8' | head -n 1)")
    export LD_LIBRARY_PATH="$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
fi
exec "$julia" "$@"
