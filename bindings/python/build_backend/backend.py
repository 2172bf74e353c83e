"""Builds the wheel and the source distribution, with the standard library and cargo.

A PEP 517 backend. The wheel has the Python files and the shared library, which is no extension
module: it fits every version of Python, so the tag is `py3-none-<platform>`.
"""

from __future__ import annotations

import ast
import base64
import gzip
import hashlib
import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Any, Optional

PACKAGE = Path(__file__).resolve().parents[1]
LIBRARY = "libshardwright.dylib" if sys.platform == "darwin" else "libshardwright.so"

# What cargo needs of the repository, for the source distribution.
RUST_FILES = ("Cargo.toml", "Cargo.lock", "build.rs", "README.md", "LICENSE-MIT", "LICENSE-APACHE")
RUST_FOLDERS = ("src", "crates", "include")

# No glibc older than that is told apart by tools that install wheels.
OLDEST_GLIBC = (2, 17)

# 1980, the first year that a zip file knows: the same sources make the same wheel.
ZIP_TIME = (1980, 1, 1, 0, 0, 0)


class BuildError(Exception):
    """What the person who builds has to do something about."""


# -- the hooks of PEP 517 --------------------------------------------------------------------------


def build_wheel(
    wheel_directory: str,
    config_settings: Optional[dict[str, Any]] = None,
    metadata_directory: Optional[str] = None,
) -> str:
    """Builds the library, unless SHARDWRIGHT_LIBRARY names one, and packs the wheel."""
    project = read_project()
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / LIBRARY
        shutil.copyfile(find_library(), library)
        strip(library)
        tag = f"py3-none-{platform_tag(library)}"
        files = {
            f"shardwright/{path.relative_to(PACKAGE / 'src/shardwright').as_posix()}": path.read_bytes()
            for path in python_files()
        }
        files[f"shardwright/{LIBRARY}"] = library.read_bytes()
    info = f"{project['name']}-{project['version']}.dist-info"
    for path in license_files():
        files[f"{info}/licenses/{path.name}"] = path.read_bytes()
    files[f"{info}/METADATA"] = metadata(project).encode()
    files[f"{info}/WHEEL"] = (
        f"Wheel-Version: 1.0\nGenerator: shardwright\nRoot-Is-Purelib: false\nTag: {tag}\n"
    ).encode()
    files[f"{info}/RECORD"] = record(files, f"{info}/RECORD").encode()

    name = f"{project['name']}-{project['version']}-{tag}.whl"
    with zipfile.ZipFile(Path(wheel_directory) / name, "w", zipfile.ZIP_DEFLATED) as wheel:
        for path_in_wheel, content in files.items():
            entry = zipfile.ZipInfo(path_in_wheel, ZIP_TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            is_library = path_in_wheel.endswith(LIBRARY)
            entry.external_attr = (0o100755 if is_library else 0o100644) << 16
            wheel.writestr(entry, content)
    return name


def build_sdist(sdist_directory: str, config_settings: Optional[dict[str, Any]] = None) -> str:
    """Packs the sources, those of the library below `rust/`."""
    project = read_project()
    root = rust_root()
    base = f"{project['name']}-{project['version']}"
    files: dict[str, bytes] = {"PKG-INFO": metadata(project).encode()}
    for path in (PACKAGE / "pyproject.toml", PACKAGE / "README.md", *python_files(), Path(__file__)):
        files[path.resolve().relative_to(PACKAGE).as_posix()] = path.read_bytes()
    rust = [root / name for name in RUST_FILES]
    for folder in RUST_FOLDERS:
        rust += sorted(path for path in (root / folder).rglob("*") if path.is_file())
    for path in rust:
        files[f"rust/{path.relative_to(root).as_posix()}"] = path.read_bytes()

    name = f"{base}.tar.gz"
    unpacked = io.BytesIO()
    with tarfile.open(mode="w", fileobj=unpacked, format=tarfile.PAX_FORMAT) as archive:
        for path_in_archive, content in files.items():
            entry = tarfile.TarInfo(f"{base}/{path_in_archive}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    (Path(sdist_directory) / name).write_bytes(gzip.compress(unpacked.getvalue(), mtime=0))
    return name


# -- the library -----------------------------------------------------------------------------------


def rust_root() -> Path:
    """The Rust workspace: inside a source distribution, or the repository that this lies in."""
    for root in (PACKAGE / "rust", PACKAGE.parents[1]):
        if (root / "Cargo.toml").is_file() and (root / "src/ffi").is_dir():
            return root
    raise BuildError(
        "the Rust sources are not here: install from a checkout (pip install ./bindings/python), or name "
        "a library that is built already in SHARDWRIGHT_LIBRARY"
    )


def find_library() -> Path:
    """The library to bundle, built if need be."""
    ready = os.environ.get("SHARDWRIGHT_LIBRARY")
    if ready:
        if not Path(ready).is_file():
            raise BuildError(f"SHARDWRIGHT_LIBRARY names {ready}, which is no file")
        return Path(ready)
    command = ["cargo", "build", "--release", "--locked", "--package", "shardwright", "--lib"]
    command += ["--message-format", "json-render-diagnostics"]
    root = rust_root()
    try:
        # cargo says where the library is, whatever its target directory or target.
        done = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, text=True, check=True)
    except FileNotFoundError:
        raise BuildError("cargo was not found; install Rust, see https://rustup.rs") from None
    except subprocess.CalledProcessError as error:
        raise BuildError(f"cargo failed with {error.returncode}; what it says is above") from None
    for line in reversed(done.stdout.splitlines()):
        message = json.loads(line)
        if message.get("reason") == "compiler-artifact" and "cdylib" in message["target"]["crate_types"]:
            return next(Path(name) for name in message["filenames"] if name.endswith(Path(LIBRARY).suffix))
    raise BuildError("cargo built no shared library")


def strip(library: Path) -> None:
    """Leaves out what only a debugger reads, where there is a tool for it."""
    tool = shutil.which("strip")
    if tool is not None and sys.platform != "darwin":
        subprocess.run([tool, "--strip-debug", str(library)], check=False)


def platform_tag(library: Path) -> str:
    """Which machines it runs on. On Linux: those with the newest glibc that it asks for, or a newer one."""
    override = os.environ.get("SHARDWRIGHT_PLATFORM")
    if override:
        return override
    if sys.platform == "linux" and platform.libc_ver()[0] == "glibc":
        asked = re.findall(rb"(?<=\0)GLIBC_(\d+)\.(\d+)(?=[.\0])", library.read_bytes())
        major, minor = max([OLDEST_GLIBC, *((int(major), int(minor)) for major, minor in asked)])
        return f"manylinux_{major}_{minor}_{platform.machine()}"
    return re.sub(r"[^0-9A-Za-z]", "_", sysconfig.get_platform())


# -- the files -------------------------------------------------------------------------------------


def python_files() -> list[Path]:
    """The package's own files."""
    source = PACKAGE / "src/shardwright"
    return sorted(path for path in source.rglob("*") if path.suffix == ".py" or path.name == "py.typed")


def license_files() -> list[Path]:
    """The licenses, where the sources are."""
    try:
        return sorted(rust_root().glob("LICENSE-*"))
    except BuildError:
        return []


def read_project() -> dict[str, Any]:
    """The `project` table of pyproject.toml. Its values are also Python's literals, and kept so:
    Python 3.9 has no TOML reader, and this needs nothing installed."""
    text = (PACKAGE / "pyproject.toml").read_text(encoding="utf-8")
    table = re.search(r"^\[project\]\n(.*?)^\[", text, re.MULTILINE | re.DOTALL)
    extras = re.search(r"^\[project\.optional-dependencies\]\n(.*?)^\[", text, re.MULTILINE | re.DOTALL)
    if table is None or extras is None:
        raise BuildError("pyproject.toml has no [project] table, or no optional dependencies")
    project = read_table(table[1])
    project["extras"] = read_table(extras[1])
    return project


def read_table(text: str) -> dict[str, Any]:
    """`key = value` pairs; a list may go over several lines."""
    pairs = re.findall(r"^([\w-]+) = (\".*?\"$|\[.*?\]$)", text, re.MULTILINE | re.DOTALL)
    return {key: ast.literal_eval(value) for key, value in pairs}


def metadata(project: dict[str, Any]) -> str:
    """The METADATA file: https://packaging.python.org/specifications/core-metadata/"""
    lines = [
        "Metadata-Version: 2.4",
        f"Name: {project['name']}",
        f"Version: {project['version']}",
        f"Summary: {project['description']}",
        f"Keywords: {','.join(project['keywords'])}",
        f"License-Expression: {project['license']}",
        *(f"License-File: {path.name}" for path in license_files()),
        *(f"Classifier: {classifier}" for classifier in project["classifiers"]),
        f"Requires-Python: {project['requires-python']}",
    ]
    for extra, requirements in project["extras"].items():
        lines.append(f"Provides-Extra: {extra}")
        lines += [f'Requires-Dist: {requirement}; extra == "{extra}"' for requirement in requirements]
    lines += ["Description-Content-Type: text/markdown", "", ""]
    readme: str = (PACKAGE / project["readme"]).read_text(encoding="utf-8")
    return "\n".join(lines) + readme


def record(files: dict[str, bytes], own_path: str) -> str:
    """The RECORD file: every file with its digest."""
    lines = []
    for path, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        lines.append(f"{path},sha256={digest},{len(content)}")
    return "\n".join([*lines, f"{own_path},,", ""])
