"""Events: what a client hands out."""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Optional

from . import _ffi, _json
from ._leases import Hold, Lease


class EventKind(IntEnum):
    """What an event is about. A later library may add kinds: skip the ones you do not know."""

    DISPATCH = _ffi.SHARD_EVENT_DISPATCH
    """A gateway event: `name` is its name, `data` its `d`."""
    SHARD_STATE = _ffi.SHARD_EVENT_SHARD_STATE
    """A shard changed its state: `name` is the new one, `data` has `from`, `to`, `reason`, `close_code`."""
    REPLY = _ffi.SHARD_EVENT_REPLY
    """The answer to a command. The client hands it to whoever awaits it."""
    MESSAGE = _ffi.SHARD_EVENT_MESSAGE
    """A message of another process."""
    CALL = _ffi.SHARD_EVENT_CALL
    """A question of another process."""
    JOB = _ffi.SHARD_EVENT_JOB
    """Work."""
    OVERFLOW = _ffi.SHARD_EVENT_OVERFLOW
    """The queue was full: `status` events were dropped."""
    LOG = _ffi.SHARD_EVENT_LOG
    """A log line. The client hands it to `logging`."""
    FATAL = _ffi.SHARD_EVENT_FATAL
    """Discord refused a shard (or the token, without `shard_id`) for good: `data` has the `reason`."""
    GUILDS_COMPLETE = _ffi.SHARD_EVENT_GUILDS_COMPLETE
    """The guilds that READY listed have come, or are not waited for any more: `data` has `guilds`, `missing`
    and `missing_count`."""


KINDS: dict[int, EventKind] = {kind.value: kind for kind in EventKind}
UNPARSED = object()
"""Stands for data that nobody has asked for."""


class Event:
    """One event. `data` is parsed when it is first asked for; `raw` are the bytes as they came."""

    # Made by the hundred thousand: what few ask for stays in the struct's own tuple, see `_ffi`.
    __slots__ = ("_data", "_struct", "kind", "name", "raw")

    kind: int
    """An `EventKind`."""
    name: str
    """The name of a dispatch, the new state of a shard."""
    raw: bytes
    """JSON, as Discord sent it."""
    _struct: tuple[int, ...]
    _data: Any
    _lease: Optional[Lease] = None
    """Of a `LentEvent`."""

    def __init__(
        self,
        kind: int,
        name: str,
        raw: bytes,
        *,
        shard_id: Optional[int] = None,
        guild_id: Optional[int] = None,
        seq: int = 0,
        status: int = 0,
        command_id: int = 0,
        received_ns: int = 0,
        flags: int = 0,
    ) -> None:
        shard = _ffi.SHARD_NONE if shard_id is None else shard_id
        self.kind = KINDS.get(kind, kind)
        self.name = name
        self.raw = raw
        self._struct = (
            kind,
            shard,
            seq,
            guild_id or 0,
            command_id,
            received_ns,
            0,
            0,
            0,
            0,
            status,
            flags,
            0,
        )
        self._data = UNPARSED

    @property
    def shard_id(self) -> Optional[int]:
        """The shard it is about, if it is about one."""
        shard_id = self._struct[1]
        return None if shard_id == _ffi.SHARD_NONE else shard_id

    @property
    def seq(self) -> int:
        """The gateway's sequence number, else 0."""
        return self._struct[2]

    @property
    def guild_id(self) -> Optional[int]:
        """The guild, where the payload names one."""
        return self._struct[3] or None

    @property
    def command_id(self) -> int:
        """The command a REPLY belongs to, else 0."""
        return self._struct[4]

    @property
    def received_ns(self) -> int:
        """When it was taken from the socket: nanoseconds since 1970."""
        return self._struct[5]

    @property
    def status(self) -> int:
        """Depends on the kind."""
        return self._struct[10]

    @property
    def flags(self) -> int:
        """Bits, see `replayed`."""
        return self._struct[11]

    @property
    def data(self) -> Any:
        """The data, parsed. `ValueError` when Discord sent no JSON there; it is not validated before."""
        if self._data is UNPARSED:
            self._data = _json.loads(self.raw)
        return self._data

    @property
    def replayed(self) -> bool:
        """Whether it came after a resume, or with shards that took over: it may have come before."""
        return bool(self._struct[11] & _ffi.SHARD_EVENT_FLAG_REPLAYED)

    def hold(self) -> Hold:
        """For work that goes on when the handler or the loop is done with the event: with
        `delivery="at_least_once"` it counts as done only after the result's `done()`, or at the end of a
        `with` block around the work. With the default it does nothing."""
        return Hold(self._lease)

    def __repr__(self) -> str:
        kind = self.kind.name if isinstance(self.kind, EventKind) else str(self.kind)
        return f"<Event {kind} {self.name!r} shard={self.shard_id} seq={self.seq} {len(self.raw)} bytes>"


class LentEvent(Event):
    """One that the engine gets back when it is done."""

    __slots__ = ("_lease",)


def finish(event: Event) -> None:
    """Who took the event is done with it."""
    if event._lease is not None:
        event._lease.taker_done()
