"""Events on their way from the engine to whoever takes them.

A `Stream` keeps the events that were read and not yet taken, and hands replies and log lines to
where they belong. Who reads, and how one waits, is for its two kinds: `BlockingStream` here, and
`aio.AsyncStream`.
"""

from __future__ import annotations

import concurrent.futures
import logging
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from typing import Any, Callable, Optional

from . import _ffi
from ._core import Core
from .errors import FatalError, ShardError
from .events import Event, EventKind
from .reply import Replies

MAX_EVENTS = 1024
"""Events read ahead while nobody waits for a reply; then the engine's own queue fills."""
MAX_BYTES = 8 << 20
"""Their bytes."""
MAX_EVENTS_FOR_REPLY = 65_536
"""Events read ahead to get at a reply behind them. Then the replies fail, so that who waits goes on."""
MAX_BYTES_FOR_REPLY = 64 << 20
"""Their bytes."""

_MAX_WAIT_MS = 2**31 - 1

_log = logging.getLogger("shardwright")
_LEVELS = {
    _ffi.SHARD_LOG_ERROR: logging.ERROR,
    _ffi.SHARD_LOG_WARN: logging.WARNING,
    _ffi.SHARD_LOG_INFO: logging.INFO,
    _ffi.SHARD_LOG_DEBUG: logging.DEBUG,
    _ffi.SHARD_LOG_TRACE: 5,
}


class Stream(ABC):
    """What both kinds share. Whoever reads calls `take_in`; nothing here waits."""

    is_blocking = False
    """Whether replies are waited for without asyncio."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.replies = Replies(core)
        self.events: deque[Event] = deque()
        self.is_ended = False
        self.error: Optional[ShardError] = None
        """Why it ended, when that is the taker's to know."""
        self._bytes_at_most = 0
        self._fatal_shards: set[int] = set()

    @abstractmethod
    def wait_for(self, future: concurrent.futures.Future[Any], timeout: Optional[float]) -> bool:
        """Waits in this thread until a reply is there; false when that takes longer."""

    @abstractmethod
    def notify(self) -> None:
        """Something has changed that waiters look at. From any thread."""

    def end(self, error: Optional[ShardError]) -> None:
        """No event will come any more."""
        if not self.is_ended:
            self.error = self.error or error
            self.is_ended = True
        self.replies.close()
        self.notify()

    def _has_less_than(self, events: int, size: int) -> bool:
        if len(self.events) >= events:
            return False
        if self._bytes_at_most >= size:
            # Nobody counts what is taken, for that would cost each event something.
            self._bytes_at_most = sum([len(event.raw) for event in self.events.copy()])
        return self._bytes_at_most < size

    def is_full(self) -> bool:
        """Whether to leave further events with the engine."""
        if self._has_less_than(MAX_EVENTS, MAX_BYTES):
            return False
        if not self.replies:
            return True
        if self._has_less_than(MAX_EVENTS_FOR_REPLY, MAX_BYTES_FOR_REPLY):
            return False
        self.replies.give_up()
        return True

    def has_room(self) -> bool:
        """Whether enough was taken to read again: not at once, for reading in batches is cheaper."""
        return self._has_less_than(MAX_EVENTS // 2, MAX_BYTES // 2)

    def has_news(self) -> bool:
        """Whether there is an event to take, or the end."""
        return bool(self.events) or self.is_ended

    def read(self, timeout_ms: int) -> int:
        """Polls one batch and takes it in; how many events came."""
        try:
            self.core.check_process()
            batch = self.core.poll(timeout_ms)
        except ShardError as error:
            self.end(error)
            return 0
        if batch is None:
            self.end(None)
            return 0
        dispatch = EventKind.DISPATCH
        kept = [event for event in batch if event.kind is dispatch or self._is_for_taker(event)]
        if not self.events:
            self._bytes_at_most = 0
        self._bytes_at_most += sum([len(event.raw) for event in kept])
        self.events.extend(kept)
        return len(batch)

    def _is_for_taker(self, event: Event) -> bool:
        """Hands on what is not."""
        kind = event.kind
        if kind is EventKind.REPLY:
            self.replies.settle(event)
            return False
        if kind is EventKind.LOG:
            _write_log(event)
            return False
        if kind is EventKind.FATAL:
            self._note_fatal(event)
        return True

    def _note_fatal(self, event: Event) -> None:
        """A shard that Discord refuses is an event. When none is left, the stream ends with the error."""
        reason = event.data.get("reason", "Discord refused for good")
        if event.shard_id is not None:
            _log.error("shard %d: %s", event.shard_id, reason)
            self._fatal_shards.add(event.shard_id)
            if len(self._fatal_shards) < len(self.core.status()["shards"]):
                return
        else:
            _log.error("%s", reason)
        self.end(FatalError(_ffi.SHARD_E_FATAL, "SHARD_E_FATAL", reason))


def _write_log(event: Event) -> None:
    level = _LEVELS.get(event.status, logging.INFO)
    name = event.name.replace("::", ".")
    logging.getLogger(name).log(level, "%s", event.raw.decode("utf-8", "replace"))


class BlockingStream(Stream):
    """Without asyncio: the thread that waits reads, for all that wait. No thread of its own."""

    is_blocking = True

    def __init__(self, core: Core) -> None:
        super().__init__(core)
        self._changed = threading.Condition()
        self._is_reading = False

    def notify(self) -> None:
        with self._changed:
            self._changed.notify_all()
            is_reading = self._is_reading
        if is_reading and not self.core.is_freed:
            # What the reader waits for may have come about without an event.
            self.core.wake()

    def wait_for(self, future: concurrent.futures.Future[Any], timeout: Optional[float]) -> bool:
        return self.wait(future.done, timeout)

    def wait(self, done: Callable[[], bool], timeout: Optional[float]) -> bool:
        """Reads, or lets another thread read, until `done()`; false when that takes longer.

        Ctrl-C works in both: the poll ends when a signal handler ran, and so does a condition's wait.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            if done():
                return True
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return False
            # Inside the try from the first, for Ctrl-C may come between any two steps.
            mine = False
            try:
                with self._changed:
                    if done():
                        return True
                    if self._is_reading or self.is_ended:
                        self._changed.wait(left)
                        continue
                    mine = self._is_reading = True
                # When it is full, the replies behind it have just failed, and with them this wait ends.
                if not self.is_full():
                    self.read(-1 if left is None else min(int(left * 1000) + 1, _MAX_WAIT_MS))
            finally:
                if mine:
                    with self._changed:
                        self._is_reading = False
                        self._changed.notify_all()

    def wait_change(self, done: Callable[[], bool]) -> None:
        """Waits, without reading, until `notify` tells of something that makes `done()` true."""
        with self._changed:
            self._changed.wait_for(done)


class LendingBlockingStream(BlockingStream):
    """One whose events are taken in `_loops`, which tell when they are done."""
