"""One client of the library: its handle, and every call on it as a method that raises.

It knows nothing of asyncio, iterators or handlers; that is `client`.
"""

from __future__ import annotations

import ctypes
import os
import struct
import weakref
from collections.abc import Iterator, Sequence
from typing import Any, Optional

from . import _ffi, _json, _lib
from ._copies import Names, copy_events
from ._leases import Leases
from .errors import ShardError, error_from
from .events import Event, LentEvent

MAX_BATCH = 256
"""Events copied by one call at most; more would make the boundary no cheaper."""

_LAYOUT = struct.Struct(_ffi.EVENT_LAYOUT)


def last_error(library: ctypes.CDLL, status: int) -> ShardError:
    """The exception for a call of this thread that has just failed."""
    size = library.shard_last_error(None, 0)
    buffer = ctypes.create_string_buffer(size + 1)
    library.shard_last_error(buffer, size + 1)
    return error_from(status, buffer.raw[:size].decode("utf-8", "replace"))


def _free(library: ctypes.CDLL, handle: int, pid: int, leases: Optional[Leases]) -> None:
    """Frees a client that nobody closed. Waits for nothing: it may be the garbage collector that calls."""
    if os.getpid() == pid:
        library.shard_client_stop(handle, _ffi.SHARD_STOP_ABORT, 0)
        library.shard_client_free(handle)
        if leases is not None:
            leases.end()


class Core:
    """A client of the library. Every method from any thread; `poll` from one at a time."""

    def __init__(self, config: dict[str, Any], batch: int = MAX_BATCH) -> None:
        library = _lib.library()
        text = _json.dumps(config)
        handle = library.shard_client_new(text, len(text))
        if not handle:
            raise last_error(library, library.shard_last_status())
        self._library = library
        self._handle: int = handle
        self._pid = os.getpid()
        self._batch = batch
        self._events = (_ffi.ShardEvent * batch)()
        self._view = memoryview(self._events).cast("B")
        self._names = Names()
        self.leases = Leases(library) if config.get("delivery") == "at_least_once" else None
        """The events that are not done, where that counts."""
        self._finalizer = weakref.finalize(self, _free, library, handle, self._pid, self.leases)

    @property
    def is_freed(self) -> bool:
        """Whether `free` was called."""
        return not self._finalizer.alive

    @property
    def is_forked(self) -> bool:
        """Whether this is another process than the one that made it."""
        return os.getpid() != self._pid

    def check_process(self) -> None:
        """Raises `ForkedError` in a forked child: parent and child would take each other's events."""
        if self.is_forked:
            raise error_from(
                _ffi.SHARD_E_FORKED,
                f"this client belongs to process {self._pid}; make a new one in this process",
            )

    def _check(self, status: int) -> int:
        if status < 0:
            raise last_error(self._library, status)
        return status

    def start(self) -> None:
        """Starts the shards, and returns at once."""
        self.check_process()
        self._check(self._library.shard_client_start(self._handle))

    def wait_ready(self, timeout_ms: int) -> bool:
        """Waits until every shard has been ready once; false when that takes longer."""
        while True:
            status = self._library.shard_client_wait_ready(self._handle, timeout_ms)
            if status == _ffi.SHARD_E_TIMEOUT:
                return False
            if status != _ffi.SHARD_E_INTERRUPTED:
                self._check(status)
                return True

    def stop(self, how: int, timeout_ms: int) -> bool:
        """Stops the shards; false when that takes longer. A client that was never started, or is freed
        already, has stopped."""
        self.check_process()
        status = self._library.shard_client_stop(self._handle, how, timeout_ms)
        if status in (_ffi.SHARD_E_TIMEOUT, _ffi.SHARD_E_INTERRUPTED):
            return False
        if status not in (_ffi.SHARD_E_STATE, _ffi.SHARD_E_INVALID_HANDLE):
            self._check(status)
        return True

    def free(self) -> None:
        """Frees the client, once; polls in other threads end."""
        if self._finalizer.detach() is not None and not self.is_forked:
            self._library.shard_client_free(self._handle)
            if self.leases is not None:
                self.leases.end()

    def poll(self, timeout_ms: int) -> Optional[Sequence[Event]]:
        """The next events, none when there were none in time or a signal came, `None` at the end.

        Each event's bytes are copied and the batch is given back at once, so that the engine's
        memory never waits for Python's garbage collector; with `leases` it gets dispatches back when
        they are done.
        """
        library, events = self._library, self._events
        count = library.shard_client_poll_events(self._handle, events, self._batch, timeout_ms)
        if count <= 0:
            if count in (0, _ffi.SHARD_E_INTERRUPTED):
                return []
            # Another thread may have freed the client under a waiting poll.
            if count in (_ffi.SHARD_E_CLOSED, _ffi.SHARD_E_INVALID_HANDLE):
                return None
            raise last_error(library, count)
        if self.leases is not None:
            return self._lend(count, self.leases)
        try:
            return copy_events(self._structs(count), self._names, Event)
        finally:
            library.shard_events_release(events, count)

    def _structs(self, count: int) -> Iterator[tuple[int, ...]]:
        return _LAYOUT.iter_unpack(self._view[: count * _LAYOUT.size])

    def _lend(self, count: int, leases: Leases) -> Sequence[Event]:
        structs = list(self._structs(count))
        dispatch = _ffi.SHARD_EVENT_DISPATCH
        # All at once and first, so that nothing is lost to an error or Ctrl-C in between.
        lent = leases.add([fields[12] for fields in structs if fields[0] == dispatch])
        try:
            events = copy_events(structs, self._names, LentEvent)
            leases_left = iter(lent)
            for event in events:
                event._lease = next(leases_left) if event.kind == dispatch else None
            return events
        finally:
            for polled in self._events[:count]:
                if polled.kind != dispatch:
                    self._library.shard_event_release(ctypes.byref(polled))

    def event_fd(self) -> int:
        """A descriptor of the caller's own that is readable while a poll would return at once."""
        return os.dup(self._check(self._library.shard_client_event_fd(self._handle)))

    def wake(self) -> None:
        """Lets one poll return."""
        self._library.shard_client_wake(self._handle)

    def send(self, command: bytes) -> int:
        """Sends a command; its id."""
        self.check_process()
        command_id = ctypes.c_uint64()
        status = self._library.shard_client_send_command(
            self._handle, command, len(command), ctypes.byref(command_id)
        )
        self._check(status)
        return command_id.value

    def cancel(self, command_id: int) -> None:
        """Ends a command; nothing happens when it has ended already."""
        self._library.shard_client_cancel(self._handle, command_id)

    def status(self) -> Any:
        """How the client is doing, parsed."""
        return _json.loads(self._text(self._library.shard_client_status_json))

    def metrics(self) -> str:
        """Its numbers in Prometheus' text format."""
        return self._text(self._library.shard_client_metrics_text).decode()

    def check_healthy(self) -> None:
        """Raises unless every shard is ready."""
        self.check_process()
        self._check(self._library.shard_client_healthy(self._handle))

    def _text(self, function: Any) -> bytes:
        self.check_process()
        size = ctypes.c_size_t()
        capacity = 4096
        # The text may grow between two calls, so its size is asked for until it fits.
        while True:
            buffer = ctypes.create_string_buffer(capacity)
            status = function(self._handle, buffer, capacity, ctypes.byref(size))
            if status == _ffi.SHARD_OK:
                return buffer.raw[: size.value]
            if status != _ffi.SHARD_E_BUFFER_TOO_SMALL:
                raise last_error(self._library, status)
            capacity = size.value + 1024


def shard_for_guild(guild_id: int, total_shards: int) -> int:
    """The shard that carries a guild when a bot has `total_shards`."""
    if total_shards < 1:
        raise ValueError(f"total_shards is {total_shards}; a bot has at least one shard")
    shard: int = _lib.library().shard_for_guild(guild_id, total_shards)
    return shard
