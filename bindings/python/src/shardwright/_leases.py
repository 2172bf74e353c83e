"""Events that are the engine's until their work is done: `delivery="at_least_once"`.

The engine counts an event as done when it gets it back. So each dispatch has a `Lease`, which gives it
back when the last who works on it is done: the loop that took it, its handlers, and every `Hold`.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Optional

from . import _ffi
from .errors import ClosedError


class Leases:
    """All events of one client that are not done."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self._pid = os.getpid()
        # Reentrant: the garbage collector may end a lost client at any step of this thread.
        self._lock = threading.RLock()
        self._open: set[Lease] = set()

    def __len__(self) -> int:
        return len(self._open)

    def add(self, owners: Iterable[int]) -> list[Lease]:
        """Leases for polled events with these `owner`s, each with one holder: who takes the event."""
        leases = [Lease(self, owner) for owner in owners]
        with self._lock:
            self._open.update(leases)
        return leases

    def end(self) -> None:
        """Gives all of them back. For a client that was freed: the engine counts nothing any more."""
        with self._lock:
            left, self._open = self._open, set()
        for lease in left:
            self._give_back(lease)

    def _give_back(self, lease: Lease) -> None:
        # The engine's memory and locks are not a forked child's.
        if os.getpid() == self._pid:
            event = _ffi.ShardEvent(owner=lease._owner)
            self._library.shard_event_release(ctypes.byref(event))


class Lease:
    """One event that is not done."""

    __slots__ = ("_holders", "_is_taken", "_leases", "_owner")

    def __init__(self, leases: Leases, owner: int) -> None:
        self._leases = leases
        self._owner = owner
        self._holders = 1
        self._is_taken = True

    def hold(self) -> None:
        """One more works on it. Too late when it is done already."""
        with self._leases._lock:
            if self in self._leases._open:
                self._holders += 1

    def done(self) -> None:
        """One of them is done; with the last one the event is."""
        leases = self._leases
        with leases._lock:
            self._holders -= 1
            if self._holders > 0 or self not in leases._open:
                return
            leases._open.remove(self)
        leases._give_back(self)

    def taker_done(self) -> None:
        """Who took it is one of them, and done only once."""
        with self._leases._lock:
            was_taken, self._is_taken = self._is_taken, False
        if was_taken:
            self.done()


class Hold:
    """Keeps an event from being done until `done()`, or the end of a `with` block; see `Event.hold`."""

    __slots__ = ("_lease", "_lock")

    def __init__(self, lease: Optional[Lease]) -> None:
        self._lease = lease
        if lease is not None:
            self._lock = lease._leases._lock
            lease.hold()

    def done(self) -> None:
        """The work is done. From any thread, and again without effect."""
        if self._lease is None:
            return
        with self._lock:
            lease, self._lease = self._lease, None
        if lease is not None:
            lease.done()

    def __enter__(self) -> Hold:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        # Cancelled, interrupted or in need of a client that had stopped: then it was not done. Any other
        # error is a way to be done.
        was_cut_off = isinstance(error, ClosedError) or not (error is None or isinstance(error, Exception))
        if not was_cut_off:
            self.done()
