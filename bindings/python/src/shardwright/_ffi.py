"""The C ABI as ctypes sees it: every constant, struct and function of `include/shardwright.h`.

Nothing is loaded here, see `_lib`. `tests/test_header.py` compares this file with the header.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_char_p, c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p
from typing import Any

SHARD_OK = 0
SHARD_E_INVALID_ARG = -1
SHARD_E_INVALID_HANDLE = -2
SHARD_E_INVALID_CONFIG = -3
SHARD_E_STATE = -4
SHARD_E_CLOSED = -5
SHARD_E_INTERRUPTED = -6
SHARD_E_UNKNOWN_SHARD = -7
SHARD_E_QUEUE_FULL = -8
SHARD_E_TOO_LARGE = -9
SHARD_E_BUFFER_TOO_SMALL = -10
SHARD_E_TIMEOUT = -11
SHARD_E_FATAL = -12
SHARD_E_FORKED = -13
SHARD_E_UNSUPPORTED = -14
SHARD_E_IO = -15
SHARD_E_NOT_FOUND = -16
SHARD_E_CANCELLED = -17
SHARD_E_PANIC = -127

SHARD_ABI_VERSION = 65536

SHARD_LOG_OFF = 0
SHARD_LOG_ERROR = 1
SHARD_LOG_WARN = 2
SHARD_LOG_INFO = 3
SHARD_LOG_DEBUG = 4
SHARD_LOG_TRACE = 5

SHARD_STOP_RESUMABLE = 0
SHARD_STOP_CLOSE = 1
SHARD_STOP_ABORT = 2

SHARD_NONE = 0xFFFFFFFF

SHARD_EVENT_DISPATCH = 1
SHARD_EVENT_SHARD_STATE = 2
SHARD_EVENT_REPLY = 3
SHARD_EVENT_MESSAGE = 4
SHARD_EVENT_CALL = 5
SHARD_EVENT_JOB = 6
SHARD_EVENT_OVERFLOW = 7
SHARD_EVENT_LOG = 8
SHARD_EVENT_FATAL = 9
SHARD_EVENT_GUILDS_COMPLETE = 10

SHARD_EVENT_FLAG_REPLAYED = 1


class ShardEvent(ctypes.Structure):
    """`shard_event`. Texts are addresses, not `c_char_p`: they have no NUL."""

    _fields_ = [
        ("kind", c_uint32),
        ("shard_id", c_uint32),
        ("seq", c_uint64),
        ("guild_id", c_uint64),
        ("command_id", c_uint64),
        ("received_ns", c_int64),
        ("name", c_void_p),
        ("name_len", c_size_t),
        ("data", c_void_p),
        ("data_len", c_size_t),
        ("status", c_int32),
        ("flags", c_uint32),
        ("owner", c_void_p),
        ("reserved", c_uint64 * 2),
    ]


# The fields above for `struct.iter_unpack`, which reads a batch several times faster than ctypes does.
EVENT_LAYOUT = "@IIQQQqPNPNiIP16x"

# `shard_log_fn`. This package takes log lines as events instead: no engine thread ever runs Python.
LOG_CALLBACK = ctypes.CFUNCTYPE(None, c_void_p, c_int32, c_void_p, c_size_t, c_void_p, c_size_t)

# A handle, not an address: never dereferenced, and checked by the library on every call.
_client = c_void_p
_event = POINTER(ShardEvent)
_size = POINTER(c_size_t)

# name: (restype, argtypes). Text that goes in is `c_char_p` (from bytes, with its length beside it).
FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "shard_abi_version": (c_uint32, []),
    "shard_version": (c_char_p, []),
    "shard_status_name": (c_char_p, [c_int32]),
    "shard_last_status": (c_int32, []),
    "shard_last_error": (c_size_t, [c_char_p, c_size_t]),
    "shard_for_guild": (c_uint32, [c_uint64, c_uint32]),
    "shard_set_log_callback": (c_int32, [LOG_CALLBACK, c_void_p, c_int32]),
    "shard_client_new": (_client, [c_char_p, c_size_t]),
    "shard_client_start": (c_int32, [_client]),
    "shard_client_wait_ready": (c_int32, [_client, c_int32]),
    "shard_client_stop": (c_int32, [_client, c_uint32, c_int32]),
    "shard_client_free": (None, [_client]),
    "poll_event": (c_int32, [_client, _event, c_int32]),
    "shard_client_poll_event": (c_int32, [_client, _event, c_int32]),
    "shard_client_poll_events": (c_int32, [_client, _event, c_size_t, c_int32]),
    "shard_event_release": (None, [_event]),
    "shard_events_release": (None, [_event, c_size_t]),
    "shard_client_event_fd": (c_int32, [_client]),
    "shard_client_wake": (c_int32, [_client]),
    "shard_event_get": (c_int32, [_event, c_char_p, c_size_t, POINTER(c_void_p), _size]),
    "send_command": (c_int32, [_client, c_char_p, c_size_t, POINTER(c_uint64)]),
    "shard_client_send_command": (c_int32, [_client, c_char_p, c_size_t, POINTER(c_uint64)]),
    "shard_client_cancel": (c_int32, [_client, c_uint64]),
    "shard_client_status_json": (c_int32, [_client, c_char_p, c_size_t, _size]),
    "shard_client_metrics_text": (c_int32, [_client, c_char_p, c_size_t, _size]),
    "shard_client_healthy": (c_int32, [_client]),
}


def declare(library: ctypes.CDLL) -> None:
    """Gives every function its types; without them ctypes would cut handles to 32 bits."""
    for name, (restype, argtypes) in FUNCTIONS.items():
        function = getattr(library, name)
        function.restype = restype
        function.argtypes = argtypes
