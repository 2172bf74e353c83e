"""The build backend: what is in the wheel and in the source distribution."""

from __future__ import annotations

import importlib.util
import re
import tarfile
import zipfile
from pathlib import Path
from types import ModuleType

import pytest
from simulator import REPOSITORY

import shardwright
from shardwright import _lib

PACKAGE = REPOSITORY / "bindings/python"


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The backend, with the library of these tests to bundle."""
    spec = importlib.util.spec_from_file_location("backend", PACKAGE / "build_backend/backend.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setenv("SHARDWRIGHT_LIBRARY", _lib.library()._name)
    return module


def test_the_versions_agree() -> None:
    in_project = re.search(r'^version = "(.*)"$', (PACKAGE / "pyproject.toml").read_text(), re.MULTILINE)
    in_cargo = re.search(r'^version = "(.*)"$', (REPOSITORY / "Cargo.toml").read_text(), re.MULTILINE)
    assert in_project is not None
    assert in_cargo is not None
    assert in_project[1] == in_cargo[1] == shardwright.__version__
    assert shardwright.library_version().startswith(f"shardwright/{shardwright.__version__} ")


def test_the_wheel(backend: ModuleType, tmp_path: Path) -> None:
    name = backend.build_wheel(str(tmp_path))
    assert re.fullmatch(r"shardwright-[\d.]+-py3-none-\w+\.whl", name)
    with zipfile.ZipFile(tmp_path / name) as wheel:
        names = wheel.namelist()
        metadata = wheel.read(next(n for n in names if n.endswith("METADATA"))).decode()
        record = wheel.read(next(n for n in names if n.endswith("RECORD"))).decode()
    assert {"shardwright/client.py", "shardwright/py.typed", f"shardwright/{backend.LIBRARY}"} <= set(names)
    assert [line.split(",")[0] for line in record.splitlines()] == names
    assert "Requires-Python: >=3.9\n" in metadata
    assert 'Requires-Dist: orjson; extra == "speed"' in metadata
    assert "# shardwright for Python" in metadata


def test_the_source_distribution_builds_anywhere(
    backend: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tarfile.open(tmp_path / backend.build_sdist(str(tmp_path))) as archive:
        names = {member.name.split("/", 1)[1] for member in archive.getmembers()}
        kwargs = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        archive.extractall(tmp_path, **kwargs)  # type: ignore[arg-type]
    assert {"PKG-INFO", "pyproject.toml", "build_backend/backend.py", "src/shardwright/_ffi.py"} <= names
    assert {
        "rust/Cargo.toml",
        "rust/Cargo.lock",
        "rust/src/ffi/mod.rs",
        "rust/crates/cli/Cargo.toml",
    } <= names
    unpacked = next(path for path in tmp_path.iterdir() if path.is_dir())
    monkeypatch.setattr(backend, "PACKAGE", unpacked)
    assert backend.rust_root() == unpacked / "rust"
    assert backend.build_wheel(str(tmp_path)).endswith(".whl")


def test_what_is_missing_is_said(
    backend: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHARDWRIGHT_LIBRARY", str(tmp_path / "nothing.so"))
    with pytest.raises(backend.BuildError, match="which is no file"):
        backend.find_library()
    monkeypatch.delenv("SHARDWRIGHT_LIBRARY")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(backend.BuildError, match="install Rust"):
        backend.find_library()
    monkeypatch.setattr(backend, "PACKAGE", tmp_path / "bindings/python")
    with pytest.raises(backend.BuildError, match="the Rust sources are not here"):
        backend.find_library()


def test_a_library_that_does_not_load_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = tmp_path / "wrong.so"
    wrong.write_text("no library")
    monkeypatch.setattr(_lib, "_library", None)
    monkeypatch.setenv("SHARDWRIGHT_LIBRARY", str(wrong))
    with pytest.raises(ImportError, match=r"SHARDWRIGHT_LIBRARY names .*wrong\.so, which does not load"):
        _lib.library()
    monkeypatch.setenv("SHARDWRIGHT_LIBRARY", "libc.so.6")
    with pytest.raises(ImportError, match="no shard_abi_version"):
        _lib.library()
