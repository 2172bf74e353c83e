"""Finds and loads the shared library, once per process and not before it is needed."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import sys
import threading
from pathlib import Path
from typing import Optional

from . import _ffi

_FILE_NAME = "libshardwright.dylib" if sys.platform == "darwin" else "libshardwright.so"

_lock = threading.Lock()
_library: Optional[ctypes.CDLL] = None


def library() -> ctypes.CDLL:
    """The library. `ImportError` lists every place that was tried."""
    global _library
    if _library is None:
        with _lock:
            if _library is None:
                _library = _load()
    return _library


def version() -> str:
    """The version of the loaded library, such as `shardwright/0.1.0 …`."""
    text: bytes = library().shard_version()
    return text.decode()


def _load() -> ctypes.CDLL:
    override = os.environ.get("SHARDWRIGHT_LIBRARY")
    if override:
        # No fallback: who names a library wants that one.
        try:
            return _open(override)
        except OSError as error:
            raise ImportError(f"SHARDWRIGHT_LIBRARY names {override}, which does not load: {error}") from None
    tried = []
    system = ctypes.util.find_library("shardwright")
    for candidate in (str(Path(__file__).with_name(_FILE_NAME)), system, _FILE_NAME):
        if candidate is None:
            continue
        try:
            return _open(candidate)
        except OSError as error:
            tried.append(f"\n  {candidate}: {error}")
    raise ImportError(
        "the shared library of Shardwright was not found; install the package with its library "
        "(pip install ./bindings/python) or name it in SHARDWRIGHT_LIBRARY. Tried:" + "".join(tried)
    )


def _open(path: str) -> ctypes.CDLL:
    # CDLL, never PyDLL: calls give up the GIL, so a waiting poll stops no other thread.
    loaded = ctypes.CDLL(path)
    try:
        loaded.shard_abi_version.restype = ctypes.c_uint32
        loaded.shard_abi_version.argtypes = []
        found = loaded.shard_abi_version()
    except AttributeError:
        raise ImportError(f"{path} is no Shardwright library: it has no shard_abi_version") from None
    if found >> 16 != _ffi.SHARD_ABI_VERSION >> 16:
        raise ImportError(
            f"{path} speaks version {found >> 16} of the ABI, this package speaks "
            f"{_ffi.SHARD_ABI_VERSION >> 16}; install versions that belong together"
        )
    try:
        _ffi.declare(loaded)
    except AttributeError as error:
        raise ImportError(f"{path} is older than this package: {error}") from None
    return loaded
