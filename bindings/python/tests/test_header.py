"""The raw layer against the header: every function, constant and struct, as a C compiler sees them."""

from __future__ import annotations

import ctypes
import re
import struct
import subprocess
from pathlib import Path

import pytest
from simulator import REPOSITORY

from shardwright import _ffi, _lib

HEADER = REPOSITORY / "include/shardwright.h"
FUNCTION = re.compile(r"^(?!typedef)[\w ]+?[ *](\w+)\(([^)]*)\);", re.MULTILINE)
CONSTANT = re.compile(r"^#define (SHARD_\w+) (\S+)$", re.MULTILINE)

KINDS = {
    "void": None,
    "int32_t": ctypes.c_int32,
    "shard_status": ctypes.c_int32,
    "uint32_t": ctypes.c_uint32,
    "uint64_t": ctypes.c_uint64,
    "size_t": ctypes.c_size_t,
    "const char *": ctypes.c_char_p,
    "char *": ctypes.c_char_p,
    "void *": ctypes.c_void_p,
    "struct shard_client *": ctypes.c_void_p,
    "struct shard_event *": ctypes.POINTER(_ffi.ShardEvent),
    "uint64_t *": ctypes.POINTER(ctypes.c_uint64),
    "size_t *": ctypes.POINTER(ctypes.c_size_t),
    "const char **": ctypes.POINTER(ctypes.c_void_p),
    "shard_log_fn": _ffi.LOG_CALLBACK,
}


def header() -> str:
    return re.sub(r"//.*", "", HEADER.read_text())


def functions() -> dict[str, tuple[str, list[str]]]:
    """Each function's return type and the types of its arguments, as written."""
    found = {}
    for match in FUNCTION.finditer(header()):
        name = match[1]
        returns = match[0].split(name + "(")[0].strip()
        arguments = [] if match[2].strip() == "void" else match[2].split(",")
        types = [re.sub(r"\w+$", "", " ".join(argument.split())).strip() for argument in arguments]
        found[name] = (returns, types)
    return found


def test_the_header_is_read_as_a_whole() -> None:
    declared = len(re.findall(r"^[^/#\n]*\);$", header().replace(",\n", ","), re.MULTILINE)) - 1
    assert len(functions()) == declared == len(_ffi.FUNCTIONS)


@pytest.mark.parametrize("name", sorted(functions()))
def test_every_function_has_its_types(name: str) -> None:
    returns, arguments = functions()[name]
    function = getattr(_lib.library(), name)
    assert function.restype is KINDS[returns], f"{name} returns {returns}"
    assert list(function.argtypes) == [KINDS[argument] for argument in arguments], f"{name}{arguments}"


def probe(tmp_path: Path, lines: list[str]) -> list[int]:
    """What a C program prints, one number for each line."""
    prints = "\n".join(f'  printf("%lld\\n", (long long)({line}));' for line in lines)
    source = tmp_path / "probe.c"
    source.write_text(
        '#include <stddef.h>\n#include <stdio.h>\n#include "shardwright.h"\n'
        f"int main(void) {{\n{prints}\n  return 0;\n}}\n"
    )
    binary = tmp_path / "probe"
    command = ["gcc", "-std=c11", "-Wall", "-I", str(HEADER.parent), str(source), "-o", str(binary)]
    subprocess.run(command, check=True)
    output = subprocess.run([str(binary)], check=True, capture_output=True, text=True).stdout
    return [int(line) for line in output.split()]


def test_constants_are_the_headers(tmp_path: Path) -> None:
    names = [name for name, _ in CONSTANT.findall(HEADER.read_text())]
    assert len(names) >= 40
    ours = {name for name in vars(_ffi) if name.startswith("SHARD_")}
    assert ours == set(names)
    assert probe(tmp_path, names) == [getattr(_ffi, name) for name in names]


def test_the_struct_is_the_headers(tmp_path: Path) -> None:
    text = header()
    body = text[text.index("typedef struct shard_event {") : text.index("} shard_event;")]
    names = re.findall(r"(\w+)(?:\[\d+\])?;", body)
    assert names == [field[0] for field in _ffi.ShardEvent._fields_]
    lines = ["sizeof(shard_event)"]
    ours = [ctypes.sizeof(_ffi.ShardEvent)]
    for name in names:
        lines += [f"offsetof(shard_event, {name})", f"sizeof(((shard_event *)0)->{name})"]
        field = getattr(_ffi.ShardEvent, name)
        ours += [field.offset, field.size]
    assert probe(tmp_path, lines) == ours


def test_the_batch_layout_is_the_structs() -> None:
    event = _ffi.ShardEvent(1, 2, 3, 4, 5, -6, 7, 8, 9, 10, -11, 12, 13)
    assert struct.calcsize(_ffi.EVENT_LAYOUT) == ctypes.sizeof(event)
    assert struct.unpack(_ffi.EVENT_LAYOUT, bytes(event)) == (1, 2, 3, 4, 5, -6, 7, 8, 9, 10, -11, 12, 13)
